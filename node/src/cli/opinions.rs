//! `list`, `yank`, `review`, `reviews`: what is said of a release once it is there.

use clap::Args;
use guildhall_protocol::api::{
    ListRequest, ReviewRequest, ReviewShown, Unlisted, YankRequest, Yanked,
};
use guildhall_protocol::limits::OPINION_MAX_BYTES;
use guildhall_protocol::name::{Category, Reference};
use guildhall_protocol::vocabulary;

use super::category::{self, Given};
use super::federation::list as commas;
use super::period::date;
use super::show::{explained, reviews_table};
use super::table::clipped;
use super::{Context, Failure, Table, exit};

/// Characters of a reason that are repeated to who gave it.
const REASON_SHOWN: usize = 200;

/// `guild list`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListArgs {
    /// What was published with --unlisted: org/name, or org/name@version; without it, what there is
    #[arg(value_name = "REF")]
    pub(crate) reference: Option<Reference>,
    /// Instead of the categories that it was published with; may be repeated, the most fitting first
    #[arg(long, value_name = "CATEGORY", requires = "reference", value_parser = category::category)]
    pub(crate) category: Vec<Given<Category>>,
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
    #[arg(value_name = "REF", value_parser = super::show::named)]
    pub(crate) reference: Reference,
    /// 1 to 5, more is better
    #[arg(long, value_name = "N", value_parser = stars)]
    pub(crate) stars: u8,
    /// Why; everybody in the federation can read it, with your organisation's name
    #[arg(value_name = "TEXT")]
    pub(crate) text: Vec<String>,
}

/// `guild reviews`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReviewsArgs {
    /// org/name, org/name@version or b3:HASH
    #[arg(value_name = "REF", value_parser = super::show::named)]
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

fn stars(text: &str) -> Result<u8, String> {
    let stars = text.parse().ok().filter(|stars| (1..=5).contains(stars));
    stars.ok_or_else(|| "a whole number from 1 to 5 is needed".to_owned())
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
    category::tell(output, &args.category);
    let categories: Vec<Category> = args.category.into_iter().map(|given| given.value).collect();
    for one in &categories {
        category::warn_of(output, one.as_str(), vocabulary::is_known(one));
    }
    let request = ListRequest {
        reference,
        categories: Some(categories).filter(|given| !given.is_empty()),
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
    let client = context.client().await?;
    // What is replaced is told; that it is not known stops nothing.
    let before = client.reviews(&request.reference).await.unwrap_or_default();
    let shown = match client.review(&request).await {
        Ok(shown) => shown,
        Err(error) => return Err(explained(&client, &request.reference, error).await),
    };
    if output.is_json() {
        return output.json(&shown);
    }
    if output.is_quiet() {
        return Ok(());
    }
    output.line(&format!("{} gives {} {} of 5", shown.org, request.reference, shown.stars))?;
    let own = before.iter().find(|review| review.org == shown.org);
    output.note(&in_place_of(own, &shown));
    if shown.own {
        output.warning("it is your own package, so the review is shown and does not count");
    }
    Ok(())
}

/// What becomes of the review that the organisation gave before.
fn in_place_of(before: Option<&ReviewShown>, now: &ReviewShown) -> String {
    let Some(before) = before else {
        return "a later review of your organisation would take its place".to_owned();
    };
    let text = match (before.text.is_empty(), now.text.is_empty()) {
        (false, true) => "; its text is gone with it, because this one has none",
        _ => "",
    };
    let (stars, when) = (before.stars, date(before.time_ms));
    format!("it takes the place of the one of {when} with {stars} of 5{text}")
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
    let client = context.client().await?;
    let yanked = match client.yank(&request).await {
        Ok(yanked) => yanked,
        Err(error) => return Err(explained(&client, &request.reference, error).await),
    };
    if output.is_json() {
        return output.json(&yanked);
    }
    if output.is_quiet() {
        return output.line(&yanked.package_id.to_string());
    }
    output.line(&taken_back(&yanked, &args.why))?;
    output.note(
        "it is found and run no more, and those who hold it are told; next: guild publish DIR",
    );
    Ok(())
}

/// What became of it. The first reason holds.
fn taken_back(yanked: &Yanked, why: &str) -> String {
    let reference = &yanked.reference;
    if yanked.why == why {
        return format!("{reference} is taken back: {}", clipped(why, REASON_SHOWN));
    }
    let (when, first) = (date(yanked.time_ms), clipped(&yanked.why, REASON_SHOWN));
    format!("{reference} was taken back already, on {when}: {first}; that reason stays")
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

    #[test]
    fn what_was_said_before_is_told() {
        let review = |stars, text: &str| ReviewShown {
            org: "lab-c".parse().unwrap(),
            stars,
            text: text.to_owned(),
            time_ms: 1_795_392_000_000,
            own: false,
        };
        let first = in_place_of(None, &review(4, ""));
        assert_eq!(first, "a later review of your organisation would take its place");
        assert_eq!(
            in_place_of(Some(&review(2, "slow")), &review(4, "")),
            "it takes the place of the one of 2026-11-23 with 2 of 5; its text is gone with it, \
             because this one has none"
        );
        assert!(in_place_of(Some(&review(2, "slow")), &review(4, "fast")).ends_with("2 of 5"));

        let yanked = Yanked {
            reference: "lab-a/x1@1.0.0".parse().unwrap(),
            package_id: format!("b3:{}", "0".repeat(64)).parse().unwrap(),
            why: "wrong labels".to_owned(),
            time_ms: 1_795_392_000_000,
        };
        assert_eq!(
            taken_back(&yanked, "wrong labels"),
            "lab-a/x1@1.0.0 is taken back: wrong labels"
        );
        assert_eq!(
            taken_back(&yanked, "another"),
            "lab-a/x1@1.0.0 was taken back already, on 2026-11-23: wrong labels; that reason stays"
        );
    }
}
