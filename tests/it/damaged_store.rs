//! Bytes flip in the rows of a stopped node's store.

use std::collections::BTreeMap;

use guildhall_testkit::protocol::query::Query;
use guildhall_testkit::{
    LaunchError, Node, NotYet, PATIENCE, Package, converge, damage, holds_listings, publish_ok,
};

use crate::lab;

/// Listings in this test: enough for the rows to fill several pages.
const LISTINGS: u64 = 6;

/// Places in the file at which a byte is flipped, each in a copy of its own.
const PLACES: usize = 10;

async fn listings(
    node: &Node,
) -> Result<BTreeMap<String, String>, guildhall_testkit::client::Error> {
    let answer = node.client().search(&Query { limit: 100, ..Query::default() }).await?;
    let named = answer.results.iter().map(|r| (r.reference.to_string(), r.listing_id.to_string()));
    Ok(named.collect())
}

/// redb panics on some damage; the store catches that and ends in words. Nothing else may panic.
#[track_caller]
fn only_redb_panicked(log: &str) {
    for line in log.lines().filter(|line| line.contains("panicked at")) {
        assert!(line.contains("/redb-"), "{line}\n{log}");
    }
}

/// Waits until a node has these listings and no others.
async fn until_listings(node: &Node, whole: &BTreeMap<String, String>, what: &str) {
    let same = converge(PATIENCE, what, async || {
        let seen = listings(node).await?;
        if seen == *whole { Ok(()) } else { Err(NotYet::saw(format!("{seen:?}"))) }
    });
    same.await.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()));
}

/// ```text
///   lab-a (good) ◀──repairs itself from── lab-b (a flipped byte in its rows)
/// ```
#[tokio::test]
async fn a_flipped_byte_in_the_rows_is_refused_or_repaired_and_never_believed() {
    let lab = lab();
    let [a, mut b] = lab.federation(["lab-a", "lab-b"]).await;
    for number in 0..LISTINGS {
        let package = Package::data(&format!("images-{number}")).files(1, 500, number);
        publish_ok(&a, &lab.write(&package)).await;
    }
    holds_listings(&[&b], LISTINGS).await;
    let whole = listings(&a).await.expect("a answers");
    assert!(b.stop().await.expect("b stops"), "{}", b.log_tail());

    let file = damage::catalogue_file(b.home());
    let good = std::fs::read(&file).expect("the rows");
    // Places that hold something: a flip in an unused page tells nothing.
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    let (mut refused, mut started) = (0, 0);
    for place in 0..PLACES {
        let at = used[(used.len() - 1) * place / (PLACES - 1)];
        std::fs::write(&file, &good).expect("the good rows are put back");
        damage::flip(&file, at);
        match b.restart().await {
            Ok(()) => {
                started += 1;
                let what = format!("the same listings with byte {at} flipped");
                until_listings(&b, &whole, &what).await;
                b.kill().await.expect("b is killed");
            }
            Err(LaunchError::Ended { log, .. }) => {
                refused += 1;
                assert!(log.contains("error: "), "byte {at}: {log}");
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
        only_redb_panicked(&std::fs::read_to_string(b.log()).expect("the log"));
    }
    assert_eq!(refused + started, PLACES);

    // With the good rows it is as if nothing had been.
    std::fs::write(&file, &good).expect("the good rows are put back");
    b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    holds_listings(&[&b], LISTINGS).await;
}

/// ```text
///   lab-a (good; then gone) ◀──repairs itself from── lab-b (one record damaged wherever it stands)
/// ```
#[tokio::test]
async fn a_flipped_byte_in_a_record_is_reported_and_repaired_on_disk_from_a_peer() {
    let lab = lab();
    let [mut a, mut b] = lab.federation(["lab-a", "lab-b"]).await;
    for number in 0..3 {
        let package = Package::data(&format!("images-{number}")).files(1, 500, number);
        publish_ok(&a, &lab.write(&package)).await;
    }
    holds_listings(&[&b], 3).await;
    let whole = listings(&a).await.expect("a answers");
    let shown = a.client().show(&"lab-a/images-1".parse().expect("a reference")).await;
    let listing_id = shown.expect("it is listed").listing_id;
    let record = b.client().record(listing_id).await.expect("b has the record");
    assert!(b.stop().await.expect("b stops"), "{}", b.log_tail());

    let file = damage::catalogue_file(b.home());
    let rows = std::fs::read(&file).expect("the rows");
    let places: Vec<usize> =
        (0..rows.len() - record.len()).filter(|at| rows[*at..].starts_with(&record)).collect();
    assert!(!places.is_empty(), "the record is stored as it was signed");
    places.iter().for_each(|at| damage::flip(&file, at + record.len() / 2));

    b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    let log = std::fs::read_to_string(b.log()).expect("the log");
    assert!(log.contains("records are damaged; peers will be asked for them"), "{log}");
    until_listings(&b, &whole, "the damaged listing comes from a").await;

    // What was repaired is on disk: with nobody to ask, it is still there.
    a.stop().await.expect("a stops");
    b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(listings(&b).await.expect("b answers"), whole);
}

/// ```text
///   lab-a (alone)   rows cut to half, to nothing, to noise
/// ```
#[tokio::test]
async fn rows_that_are_no_rows_any_more_are_refused_in_words() {
    let lab = lab();
    let mut a = lab.found("lab-a").await;
    publish_ok(&a, &lab.write(&Package::data("images").files(1, 500, 1))).await;
    a.stop().await.expect("a stops");
    let file = damage::catalogue_file(a.home());
    let good = std::fs::read(&file).expect("the rows");

    let noise: Vec<u8> = (0..good.len()).map(|n| (n * 37 % 251) as u8).collect();
    for bad in [&good[..good.len() / 2], b"not a database", &noise] {
        std::fs::write(&file, bad).expect("the bad rows are written");
        let said = guildhall_testkit::refused_start(lab.options("lab-a")).await;
        assert!(said.contains("error: "), "{said}");
    }
    std::fs::write(&file, &good).expect("the good rows are put back");
    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(a.client().status().await.expect("it answers").listings, 1);
}
