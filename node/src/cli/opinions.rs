//! `list`, `yank`, `review`, `reviews`: what is said of a release once it is there.

use clap::Args;
use guildhall_protocol::api::{ListRequest, ReviewRequest, Unlisted, YankRequest};
use guildhall_protocol::limits::OPINION_MAX_BYTES;
use guildhall_protocol::name::{Category, Reference};

use super::federation::list as commas;
use super::period::date;
use super::show::reviews_table;
use super::{Context, Failure, Table, exit};

/// `guild list`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListArgs {
    /// What was published with --unlisted: org/name, or org/name@version; without it, what there is
    #[arg(value_name = "REF")]
    pub(crate) reference: Option<Reference>,
    /// Instead of the categories that it was published with; may be repeated, the most fitting first
    #[arg(long, value_name = "CATEGORY", requires = "reference")]
    pub(crate) category: Vec<Category>,
    /// Instead of the sentence that it was published with
    #[arg(long, value_name = "SENTENCE", requires = "reference")]
    pub(crate) summary: Option<String>,
    /// Instead of the keywords that it was published with; may be repeated
    #[arg(long, value_name = "WORD", requires = "reference")]
    pub(crate) keyword: Vec<String>,
}

/// `guild review`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReviewArgs {
    /// What is reviewed: org/name, org/name@version or b3:HASH
    #[arg(value_name = "REF")]
    pub(crate) reference: Reference,
    /// 1 to 5, more is better
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    pub(crate) stars: u8,
    /// Why; everybody in the federation can read it, with your organisation's name
    #[arg(value_name = "TEXT")]
    pub(crate) text: Vec<String>,
}

/// `guild reviews`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReviewsArgs {
    /// org/name, org/name@version or b3:HASH
    #[arg(value_name = "REF")]
    pub(crate) reference: Reference,
}

/// `guild yank`.
#[derive(Clone, Debug, Args)]
pub(crate) struct YankArgs {
    /// The version that is taken back: org/name@version
    #[arg(value_name = "REF", value_parser = one_version)]
    pub(crate) reference: Reference,
    /// Why, for those who hold it
    #[arg(long, value_name = "TEXT", value_parser = said)]
    pub(crate) why: String,
}

/// A whole name with all its versions is never taken back by accident.
fn one_version(text: &str) -> Result<Reference, String> {
    match text.parse::<Reference>() {
        Ok(reference @ Reference::Named { version: Some(_), .. }) => Ok(reference),
        Ok(_) => Err("one version is taken back at a time: org/name@version".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn said(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("those who hold it want to know why".to_owned());
    }
    fits(text.to_owned())
}

fn fits(text: String) -> Result<String, String> {
    match text.len() <= OPINION_MAX_BYTES {
        true => Ok(text),
        false => Err(format!("at most {OPINION_MAX_BYTES} bytes, and this has {}", text.len())),
    }
}

pub(super) async fn list(context: &Context, args: ListArgs) -> Result<(), Failure> {
    let output = &context.output;
    let client = context.client().await?;
    let Some(reference) = args.reference else {
        return unlisted(context, &client.unlisted().await?);
    };
    let request = ListRequest {
        reference,
        categories: Some(args.category).filter(|given| !given.is_empty()),
        summary: args.summary,
        keywords: Some(args.keyword).filter(|given| !given.is_empty()),
    };
    let listed = client.list(&request).await?;
    if output.is_json() {
        return output.json(&listed);
    }
    if output.is_quiet() {
        return output.line(&listed.reference.to_string());
    }
    output.line(&format!("{} is listed", listed.reference))?;
    output.note(&format!("next: guild show {}", listed.reference));
    Ok(())
}

fn unlisted(context: &Context, unlisted: &[Unlisted]) -> Result<(), Failure> {
    let output = &context.output;
    if output.is_json() {
        return output.json(unlisted);
    }
    if output.is_quiet() {
        return unlisted.iter().try_for_each(|one| output.line(&one.reference.to_string()));
    }
    if unlisted.is_empty() {
        output.note("everything that was published here is listed");
        return Ok(());
    }
    let mut table = Table::with_head(["REF", "SINCE", "CATEGORIES", "SUMMARY"]);
    for one in unlisted {
        table.row([
            one.reference.to_string(),
            date(one.time_ms),
            commas(&one.draft.categories),
            one.draft.summary.clone(),
        ]);
    }
    for row in table.rows_within(output.columns()) {
        output.lines(row)?;
    }
    output.note("next: guild list REF");
    Ok(())
}

pub(super) async fn review(context: &Context, args: ReviewArgs) -> Result<(), Failure> {
    let output = &context.output;
    let text = fits(args.text.join(" ")).map_err(|why| Failure::new(exit::USAGE, why))?;
    let request = ReviewRequest { reference: args.reference, stars: args.stars, text };
    let shown = context.client().await?.review(&request).await?;
    if output.is_json() {
        return output.json(&shown);
    }
    if output.is_quiet() {
        return Ok(());
    }
    output.line(&format!(
        "{} gives {} {} of 5; a later review takes its place",
        shown.org, request.reference, shown.stars
    ))?;
    if shown.own {
        output.warning("it is your own package, so the review is shown and does not count");
    }
    Ok(())
}

pub(super) async fn reviews(context: &Context, args: &ReviewsArgs) -> Result<(), Failure> {
    let output = &context.output;
    let reviews = context.client().await?.reviews(&args.reference).await?;
    if output.is_json() {
        return output.json(&reviews);
    }
    if output.is_quiet() {
        return reviews.iter().try_for_each(|review| output.line(&review.stars.to_string()));
    }
    if reviews.is_empty() {
        output.note(&format!("none yet; guild review {} --stars N TEXT", args.reference));
        return Ok(());
    }
    output.table(&reviews_table(&reviews))
}

pub(super) async fn yank(context: &Context, args: &YankArgs) -> Result<(), Failure> {
    let output = &context.output;
    let request = YankRequest { reference: args.reference.clone(), why: args.why.clone() };
    let yanked = context.client().await?.yank(&request).await?;
    if output.is_json() {
        return output.json(&yanked);
    }
    if output.is_quiet() {
        return output.line(&yanked.package_id.to_string());
    }
    output.line(&format!("{} is taken back: {}", yanked.reference, yanked.why))?;
    output.note(
        "it is found and run no more, and those who hold it are told; next: guild publish DIR",
    );
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn one_version_is_taken_back_at_a_time_and_with_a_reason() {
        let line = ["guild", "yank", "lab-a/x1@1.0.0", "--why", "wrong labels"];
        match Cli::try_parse_from(line).unwrap().command {
            Command::Yank(args) => assert_eq!(args.why, "wrong labels"),
            other => panic!("{other:?}"),
        }
        let long = "x".repeat(OPINION_MAX_BYTES + 1);
        for (reference, why) in [
            ("lab-a/x1", "wrong"),
            ("b3:12", "wrong"),
            ("lab-a/x1@1.0.0", " "),
            ("lab-a/x1@1.0.0", &long),
        ] {
            let line = ["guild", "yank", reference, "--why", why];
            assert!(Cli::try_parse_from(line).unwrap_err().use_stderr(), "{reference}");
        }
        assert!(Cli::try_parse_from(["guild", "yank", "lab-a/x1@1.0.0"]).is_err());
    }

    #[test]
    fn stars_are_one_to_five() {
        for (stars, is_right) in
            [("0", false), ("1", true), ("5", true), ("6", false), ("-1", false)]
        {
            let line = ["guild", "review", "lab-a/x1", "--stars", stars, "works", "well"];
            assert_eq!(Cli::try_parse_from(line).is_ok(), is_right, "{stars}");
        }
    }
}
