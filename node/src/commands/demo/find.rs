//! Step 4: a node that does not follow the category finds it through the DHT.

use std::time::{Duration, Instant};

use guildhall_client::Client;
use guildhall_launch::{NotYet, converge};
use guildhall_protocol::api::{SearchAnswer, Via};
use guildhall_protocol::query::{Query, Suggestion};

use super::broken::{Broken, Expect as _, ensure};
use super::lab::{FOLLOWED_ELSEWHERE, Lab, REQUESTER};
use super::narrator::{Narrator, time};
use super::report::{Lookup, PublishedSeen, SuggestionSeen};
use super::spread::join;
use crate::cli::Table;

/// What the requester looks for.
pub(super) const CATEGORY: &str = "vision/image-classification";
/// In these words.
pub(super) const WORDS: &str = "handwritten digits";

/// How long the DHT may take to know the holders: they announce themselves when they have peers.
const FIND_MAX: Duration = Duration::from_secs(20);

/// How far a score may be from the sum of its terms: both are sums of the same numbers.
const SUM_TOLERANCE: f64 = 1e-9;

/// Lets the requester join, and search.
pub(super) async fn run(
    narrator: &Narrator<'_>,
    lab: &Lab,
    published: &[PublishedSeen],
) -> Result<(Lookup, Vec<SuggestionSeen>), Broken> {
    narrator.step(&format!(
        "{REQUESTER} follows `{FOLLOWED_ELSEWHERE}` alone, and looks for `{WORDS}` in {CATEGORY}"
    ));
    let requester = lab.requester.client();
    let begun = Instant::now();
    join(lab.producer.client(), requester, REQUESTER).await?;
    let records = knows_logs_alone(lab.producer.client(), requester).await?;
    narrator.tell(format_args!(
        "it joins with an invite, and pulls {records} signed records and none of the listings  {}",
        time(begun.elapsed())
    ));
    let (answer, took) = look_up(requester, &expected(published)?).await?;
    narrator.tell(format_args!(
        "the DHT names {} holders; {} of {} asked answer; every listing verified  {}",
        answer.holders,
        answer.answered,
        answer.asked,
        time(took)
    ));
    check(&answer.results)?;
    show(narrator, &answer.results);
    let lookup = Lookup { via: answer.via, holders: answer.holders, seconds: took.as_secs_f64() };
    let suggestions = answer.results.into_iter().map(|suggestion| SuggestionSeen {
        reference: suggestion.reference,
        score: suggestion.score,
        terms: suggestion.terms,
    });
    Ok((lookup, suggestions.collect()))
}

/// Waits until the requester has as many records as the producer, and checks that it keeps none of the listings.
async fn knows_logs_alone(producer: &Client, requester: &Client) -> Result<u64, Broken> {
    let what = format!("{REQUESTER} has every log of the federation, and none of the listings");
    let look = async || -> Result<u64, NotYet> {
        let (all, own) = (producer.status().await?, requester.status().await?);
        match own.listings {
            0 if own.records == all.records => Ok(own.records),
            listings => Err(NotYet::saw(format!(
                "{} of {} records, {listings} listings",
                own.records, all.records
            ))),
        }
    };
    converge(FIND_MAX, &what, look).await.expected(&what)
}

/// What has to be found: everything that was published in the category.
fn expected(published: &[PublishedSeen]) -> Result<Vec<&PublishedSeen>, Broken> {
    use guildhall_protocol::manifest::Kind;
    let expected: Vec<_> = published
        .iter()
        .filter(|seen| matches!(seen.kind, Kind::Model | Kind::Data | Kind::Pipeline))
        .collect();
    ensure(expected.len() == 3, "a model, a data package and a pipeline were published", || {
        format!("{} of them", expected.len())
    })?;
    Ok(expected)
}

/// Searches until the DHT is the way, and says how long that search took.
async fn look_up(
    requester: &Client,
    expected: &[&PublishedSeen],
) -> Result<(SearchAnswer, Duration), Broken> {
    let query =
        Query { text: Some(WORDS.to_owned()), category: CATEGORY.parse().ok(), ..Query::default() };
    let what = format!("{REQUESTER} finds holders of {CATEGORY} through the DHT, and they answer");
    let look = async || -> Result<(SearchAnswer, Duration), NotYet> {
        let begun = Instant::now();
        let answer = requester.search(&query).await?;
        let took = begun.elapsed();
        if answer.via != Via::Dht || answer.holders == 0 || answer.answered == 0 {
            let SearchAnswer { via, holders, asked, answered, .. } = &answer;
            return Err(NotYet::saw(format!(
                "via {via:?}, {holders} holders, {answered} of {asked} answered"
            )));
        }
        let found = |seen: &&&PublishedSeen| {
            answer.results.iter().any(|result| {
                result.reference == seen.reference && result.package_id == seen.package_id
            })
        };
        match expected.iter().find(|seen| !found(seen)) {
            Some(missing) => {
                Err(NotYet::saw(format!("no {}; {}", missing.reference, answer.notes.join("; "))))
            }
            None => Ok((answer, took)),
        }
    };
    converge(FIND_MAX, &what, look).await.expected(&what)
}

/// The order is that of the scores, and the scores are what their terms say.
fn check(results: &[Suggestion]) -> Result<(), Broken> {
    ensure(
        results.is_sorted_by(|a, b| a.score >= b.score),
        "suggestions are ranked by score",
        || results.iter().map(|result| result.score.to_string()).collect::<Vec<_>>().join(", "),
    )?;
    for result in results {
        let sum: f64 = result.terms.iter().map(|term| term.contribution()).sum();
        let explained = !result.terms.is_empty() && (sum - result.score).abs() <= SUM_TOLERANCE;
        ensure(
            explained,
            format!("the terms of {} add up to its score", result.reference),
            || format!("a score of {} and terms of {sum}", result.score),
        )?;
    }
    Ok(())
}

fn show(narrator: &Narrator<'_>, results: &[Suggestion]) {
    for result in results {
        let terms = result.terms.iter();
        let terms: Vec<String> =
            terms.map(|term| format!("{} {:.2}", term.name, term.contribution())).collect();
        narrator.tell(format_args!("{:.2}  {}, {}", result.score, result.reference, result.kind));
        narrator.tell(format_args!("      = {}", terms.join(" + ")));
    }
    if let Some(best) = results.first() {
        narrator.tell(format_args!("why {} comes first:", best.reference));
        let mut table = Table::plain();
        for term in &best.terms {
            table.row([
                format!("  {}", term.name),
                format!("{:.2} x {:.2}", term.value, term.weight),
                term.why.clone(),
            ]);
        }
        narrator.table(&table);
    }
}
