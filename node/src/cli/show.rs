//! `show`: a release as a page. [`page`] lays it out, [`snippets`] has the lines to copy, [`reading`] shows its texts
//! with [`markdown`] and [`notebook`].

mod markdown;
mod notebook;
mod page;
mod reading;
mod snippets;
#[cfg(test)]
mod tests;

use clap::Args;
use guildhall_protocol::name::{FileName, Reference};

use self::reading::Wanted;
use super::{Context, Failure};

pub(super) use self::page::reviews_table;

/// `guild show`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    /// org/name, org/name@version or b3:HASH
    #[arg(value_name = "REF")]
    pub(crate) reference: Reference,
    /// The text that explains how to use it
    #[arg(long, conflicts_with = "notebook")]
    pub(crate) readme: bool,
    /// A notebook of it as text: the one of this name, or the first; nothing is executed
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    pub(crate) notebook: Option<Option<FileName>>,
}

pub(super) async fn show(context: &Context, args: &ShowArgs) -> Result<(), Failure> {
    let output = &context.output;
    let client = context.client().await?;
    let detail = client.show(&args.reference).await?;
    let wanted = match &args.notebook {
        Some(name) => Some(Wanted::Notebook(name.clone())),
        None => args.readme.then_some(Wanted::Readme),
    };
    if let Some(wanted) = wanted {
        return reading::show(context, &client, &detail, &wanted).await;
    }
    if output.is_json() {
        return output.json(&detail);
    }
    if output.is_quiet() {
        return output.line(&detail.package_id.to_string());
    }
    let snippets = snippets::of(&detail, client.url(), context.globals.token.is_some());
    output.lines(page::lines(&detail, &snippets, output.columns()))
}
