//! A holder that stops in the middle of things: a search goes on without it, says so, and misses nothing that others
//! hold.

use guildhall_testkit::protocol::api::{AskOutcome, SearchAnswer, Via};
use guildhall_testkit::protocol::manifest::Kind;
use guildhall_testkit::protocol::query::Query;
use guildhall_testkit::{
    Node, NotYet, PATIENCE, Package, acquainted, bring_in, converge, holds_listings, pause,
    publish_ok, resume,
};

use crate::lab;

fn of_kind(kind: Option<Kind>) -> Query {
    Query { category: "vision".parse().ok(), kind, ..Query::default() }
}

fn outcome(answer: &SearchAnswer, org: &str) -> Option<AskOutcome> {
    answer.nodes.iter().find(|asked| asked.org.as_str() == org).map(|asked| asked.outcome)
}

/// Searches until both holders have a part in the answer.
async fn both_answer(asker: &Node, query: &Query) -> SearchAnswer {
    let found = converge(PATIENCE, "both holders answer", async || {
        let answer = asker.client().search(query).await?;
        let is_whole = answer.via == Via::Dht && answer.asked == 2 && answer.answered == 2;
        if is_whole { Ok(answer) } else { Err(NotYet::saw(format!("{answer:?}"))) }
    });
    found.await.unwrap_or_else(|error| panic!("{error}\n{}", asker.log_tail()))
}

/// ```text
///   lab-a (all; one listing) ──┐
///                              ├── both asked by ── lab-c (follows audio only)
///   lab-b (all; one listing) ──┘
///   paused while it is asked
/// ```
#[tokio::test]
async fn a_holder_that_is_stopped_during_a_query_is_named_and_the_answer_lacks_nothing() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let b = lab.found("lab-b").await;
    let c = lab.found_following("lab-c", &["audio"]).await;
    bring_in(&a, &b).await;
    bring_in(&a, &c).await;
    acquainted(&[&a, &b, &c]).await;
    publish_ok(&a, &lab.write(&Package::data("images").files(1, 100, 1))).await;
    publish_ok(&b, &lab.write(&Package::data("photos").files(1, 100, 2))).await;
    holds_listings(&[&a, &b], 2).await;
    let whole = both_answer(&c, &of_kind(None)).await;
    assert_eq!(whole.results.len(), 2);

    pause(&b);
    let answer = c.client().search(&of_kind(Some(Kind::Data))).await.expect("c answers");
    let mut found: Vec<String> =
        answer.results.iter().map(|result| result.reference.to_string()).collect();
    found.sort();
    assert_eq!(found, ["lab-a/images@1.0.0", "lab-b/photos@1.0.0"]);
    assert_eq!((answer.asked, answer.answered), (2, 1), "{answer:?}");
    assert_eq!(outcome(&answer, "lab-a"), Some(AskOutcome::Answered));
    assert_eq!(outcome(&answer, "lab-b"), Some(AskOutcome::Late));
    assert!(answer.notes.iter().any(|note| note.contains("lab-b")), "{:?}", answer.notes);
    assert_eq!(answer.age_s, Some(0));

    // What it says when it goes on counts for the next answer; nobody has to be asked for it twice.
    resume(&b);
    let again = both_answer(&c, &of_kind(Some(Kind::Data))).await;
    assert_eq!(again.results.len(), 2);
}
