//! `categories`: the vocabulary, and how much is listed in each.

use clap::Args;
use guildhall_protocol::api::CategoryCount;
use guildhall_protocol::name::CategoryPrefix;

use super::table::counted;
use super::{Context, Failure, Table, exit};

/// `guild categories`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CategoriesArgs {
    /// Only those that begin so, for example vision
    #[arg(value_name = "PREFIX")]
    pub(crate) prefix: Option<CategoryPrefix>,
    /// Also those in which nothing is listed
    #[arg(long)]
    pub(crate) all: bool,
}

pub(super) async fn categories(context: &Context, args: &CategoriesArgs) -> Result<(), Failure> {
    let output = &context.output;
    let all = context.client().await?.categories().await?;
    let within = |count: &&CategoryCount| {
        args.prefix.as_ref().is_none_or(|prefix| count.category.is_within(prefix))
    };
    let chosen: Vec<&CategoryCount> = all.iter().filter(within).collect();
    if let (Some(prefix), []) = (&args.prefix, chosen.as_slice()) {
        return Err(Failure::new(exit::NOT_FOUND, format!("there is no category {prefix}"))
            .with_help("guild categories --all"));
    }
    let shown: Vec<&CategoryCount> =
        chosen.iter().filter(|count| args.all || count.listings > 0).copied().collect();
    if output.is_json() {
        return output.json(&shown);
    }
    if output.is_quiet() {
        return shown.iter().try_for_each(|count| output.line(count.category.as_str()));
    }
    for row in table(&shown).rows_within(output.columns()) {
        output.lines(row)?;
    }
    let empty = chosen.len().saturating_sub(shown.len());
    if empty > 0 {
        let hidden = counted(empty, "category").replace("categorys", "categories");
        output.note(&format!("{hidden} without a listing: guild categories --all"));
    }
    Ok(())
}

fn table(counts: &[&CategoryCount]) -> Table {
    let mut table = Table::with_head(["CATEGORY", "LISTINGS", "WHAT FOR"]);
    for count in counts {
        let what = match (count.known, count.description.is_empty()) {
            (false, _) => "not in the vocabulary".to_owned(),
            (true, true) => String::new(),
            (true, false) => count.description.clone(),
        };
        table.row([count.category.to_string(), count.listings.to_string(), what]);
    }
    table
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_category_stands_with_its_count_and_what_it_is_for() {
        let count = |category: &str, known, description: &str| CategoryCount {
            category: category.parse().unwrap(),
            listings: 12,
            known,
            description: description.to_owned(),
        };
        let counts =
            [count("vision/ocr", true, "Text in pictures"), count("vision/odd", false, "")];
        assert_eq!(
            table(&counts.iter().collect::<Vec<_>>()).lines(),
            [
                "CATEGORY    LISTINGS  WHAT FOR",
                "vision/ocr  12        Text in pictures",
                "vision/odd  12        not in the vocabulary",
            ]
        );
    }
}
