//! `categories`: the vocabulary, and how much is listed in each.

use clap::Args;
use guildhall_protocol::api::CategoryCount;
use guildhall_protocol::vocabulary;

use super::table::counted;
use super::{Context, Failure, Table, category, exit};

/// `guild categories`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CategoriesArgs {
    /// Only those whose names begin so, for example vision or vision/im; also a word that means one, such as ocr
    #[arg(value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,
    /// Also those in which nothing is listed
    #[arg(long)]
    pub(crate) all: bool,
}

pub(super) async fn categories(context: &Context, args: &CategoriesArgs) -> Result<(), Failure> {
    let output = &context.output;
    let all = context.client().await?.categories().await?;
    let asked = args.prefix.as_deref().unwrap_or_default();
    let (chosen, start) = chosen(&all, asked)?;
    if start != asked.trim().to_lowercase() {
        output.note(&category::read_as(asked, &start));
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
        let within = if start.is_empty() { String::new() } else { format!("{start} ") };
        output.note(&format!("{hidden} without a listing: guild categories {within}--all"));
    }
    Ok(())
}

/// Those whose names begin with what is asked for, and that beginning: another one where a word was given that means a
/// category.
fn chosen<'a>(
    all: &'a [CategoryCount],
    asked: &str,
) -> Result<(Vec<&'a CategoryCount>, String), Failure> {
    let begin_with = |start: &str| -> Vec<&'a CategoryCount> {
        let counts = all.iter();
        counts.filter(|count| start == "*" || count.category.as_str().starts_with(start)).collect()
    };
    let start = asked.trim().to_lowercase();
    let found = begin_with(&start);
    if !found.is_empty() {
        return Ok((found, start));
    }
    if let Some(entry) = vocabulary::meant(asked) {
        return Ok((begin_with(entry.name), entry.name.to_owned()));
    }
    let failure = Failure::new(exit::NOT_FOUND, format!("there is no category {asked}"));
    Err(match (category::near(asked), vocabulary::nearest(asked).first()) {
        (Some(near), Some(first)) => failure
            .with_cause(format!("did you mean {near}?"))
            .with_help(format!("guild categories {first}")),
        _ => failure.with_help("guild categories --all"),
    })
}

fn table(counts: &[&CategoryCount]) -> Table {
    let mut table = Table::with_head(["CATEGORY", "LISTINGS", "WHAT FOR"]);
    for count in counts {
        let what = match (count.known, count.description.is_empty()) {
            (false, _) => "not in the vocabulary".to_owned(),
            (true, true) => "a producer's own name".to_owned(),
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

    fn count(category: &str, known: bool, description: &str) -> CategoryCount {
        CategoryCount {
            category: category.parse().unwrap(),
            listings: 12,
            known,
            description: description.to_owned(),
        }
    }

    #[test]
    fn a_category_stands_with_its_count_and_what_it_is_for() {
        let counts = [
            count("vision/depth-estimation", true, "Says how far"),
            count("vision/x-runes", true, ""),
            count("vision/odd", false, ""),
        ];
        assert_eq!(
            table(&counts.iter().collect::<Vec<_>>()).lines(),
            [
                "CATEGORY                 LISTINGS  WHAT FOR",
                "vision/depth-estimation  12        Says how far",
                "vision/x-runes           12        a producer's own name",
                "vision/odd               12        not in the vocabulary",
            ]
        );
    }

    #[test]
    fn the_start_of_a_name_will_do_and_a_word_that_means_one_and_slips_are_told() {
        let all = [
            count("vision/image-classification", true, ""),
            count("vision/image-to-text/ocr", true, ""),
            count("audio/text-to-speech", true, ""),
        ];
        let found = |asked: &str| {
            let (found, start) = chosen(&all, asked).unwrap();
            (found.len(), start)
        };
        assert_eq!(found(""), (3, String::new()));
        assert_eq!(found("visio"), (2, "visio".to_owned()));
        assert_eq!(found("Vision/image"), (2, "vision/image".to_owned()));
        assert_eq!(found("ocr"), (1, "vision/image-to-text/ocr".to_owned()));
        let slip = chosen(&all, "vision/image-classificaton").unwrap_err();
        assert_eq!(slip.code, exit::NOT_FOUND);
        assert!(slip.causes[0].contains("vision/image-classification"), "{slip:?}");
        assert_eq!(slip.help.as_deref(), Some("guild categories vision/image-classification"));
    }
}
