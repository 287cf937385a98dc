//! `show`: a release as a page. [`page`] lays it out, [`snippets`] has the lines to copy, [`reading`] shows its texts
//! with [`markdown`] and [`notebook`].

mod markdown;
mod notebook;
mod page;
mod reading;
mod snippets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use clap::Args;
use guildhall_client::Client;
use guildhall_protocol::PackageId;
use guildhall_protocol::api::Unlisted;
use guildhall_protocol::name::{FileName, Reference};
use guildhall_protocol::query::Query;

use self::reading::Wanted;
use super::{Context, Failure, exit};

/// Packages that are looked up by id to be named: the stages of a usual pipeline.
const NAMED_MAX: usize = 16;

pub(super) use self::page::{instead, reviews_table, yanked};

/// `guild show`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    /// org/name, org/name@version or b3:HASH
    #[arg(value_name = "REF", value_parser = named)]
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
    let detail = match client.show(&args.reference).await {
        Ok(detail) => detail,
        Err(error) => return Err(explained(&client, &args.reference, error).await),
    };
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
    let snippets = match page::yanked(&detail) {
        Some(_) => Vec::new(),
        None => snippets::of(&detail, client.url(), context.globals.token.is_some()),
    };
    let stages = detail.manifest.iter().flat_map(|manifest| &manifest.stages);
    let stages: Vec<PackageId> = stages.map(|stage| stage.package).collect();
    let used = if stages.is_empty() { &detail.listing.uses } else { &stages };
    let names = names(&client, used).await;
    output.lines(page::lines(&detail, &names, &snippets, output.columns()))
}

/// What packages are called, as far as this node knows, and which were taken back. Nobody else is asked about those that
/// are listed.
async fn names(client: &Client, packages: &[PackageId]) -> BTreeMap<PackageId, String> {
    let mut names = BTreeMap::new();
    for package in packages.iter().take(NAMED_MAX) {
        let reference = Some(Reference::Package(*package));
        let query = Query { reference, local: true, limit: 1, ..Query::default() };
        // A page without names is a page too.
        let Ok(answer) = client.search(&query).await else { continue };
        let name = match answer.results.first() {
            Some(found) => Some(found.reference.to_string()),
            // What is found no more still has a page.
            None => client.show(&Reference::Package(*package)).await.ok().map(|detail| {
                let why = yanked(&detail).map(|yanked| format!(" (taken back: {})", yanked.why));
                format!("{}{}", detail.reference, why.unwrap_or_default())
            }),
        };
        names.extend(name.map(|name| (*package, name)));
    }
    names
}

/// The failure for a reference that leads nowhere; it says so when the release only waits to be listed.
pub(super) async fn explained(
    client: &Client,
    reference: &Reference,
    error: guildhall_client::Error,
) -> Failure {
    let is_unknown = error.code() == Some("unknown_reference");
    let waiting = if is_unknown { client.unlisted().await.unwrap_or_default() } else { Vec::new() };
    match waiting.iter().find(|one| is_meant(reference, one)) {
        Some(one) => {
            let message = format!("{} is published and not listed yet", one.reference);
            Failure::new(exit::NOT_FOUND, message)
                .with_help(format!("guild list {}", one.reference))
        }
        None => error.into(),
    }
}

/// Whether a reference, perhaps without a version, means this release.
fn is_meant(reference: &Reference, one: &Unlisted) -> bool {
    match (reference, &one.reference) {
        (Reference::Package(package), _) => *package == one.package_id,
        (
            Reference::Named { org, name, version },
            Reference::Named { org: o, name: n, version: v },
        ) => org == o && name == n && (version.is_none() || version == v),
        _ => false,
    }
}

/// Reads a reference; a bare word is no reference, and may be one to search for.
///
/// # Errors
/// When it is none; a bare word with the search for it.
pub(super) fn named(text: &str) -> Result<Reference, String> {
    text.parse::<Reference>().map_err(|error| {
        let is_word = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '-');
        match is_word {
            true => format!("{error}; guild search {text} looks for the word"),
            false => error.to_string(),
        }
    })
}
