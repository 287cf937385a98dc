//! What the reports of many orgs add up to.

use guildhall_catalog::demand::{Aggregate, Missed, REPORTED_MS, Source};
use guildhall_protocol::body::{Demand, Unmet};
use guildhall_protocol::{FederationId, Hash, PublicKey, SecretKey};
use proptest::prelude::*;

use crate::{DAY_MS, START_MS, unmet};

fn key(words: &str) -> PublicKey {
    SecretKey::from_seed(Hash::of(words.as_bytes()).as_bytes()).public()
}

/// A record of a node, as many days after the start as its position says.
fn said(org: &str, node: &str, seq: u64, unmet: &[Unmet]) -> (Source, Demand) {
    let until_ms = START_MS + seq * DAY_MS;
    let source = Source { root: key(org), author: key(node), seq, time_ms: until_ms };
    let federation = FederationId(Hash::of(b"federation"));
    let (from_ms, unmet) = (until_ms - DAY_MS, unmet.to_vec());
    (source, Demand { federation, from_ms, until_ms, unmet })
}

fn hear(aggregate: &mut Aggregate, (source, demand): (Source, Demand)) -> Vec<Unmet> {
    aggregate.handle_record(source, &demand)
}

fn report(aggregate: &Aggregate, now_ms: u64) -> Vec<(Unmet, u64)> {
    let missed = aggregate.report(&key("me"), now_ms).into_iter();
    missed.map(|Missed { unmet, orgs, .. }| (unmet, orgs)).collect()
}

#[test]
fn orgs_are_counted_and_what_their_nodes_missed_is_added_up() {
    let mut all = Aggregate::default();
    let (ocr, speech) = (|count| unmet("vision/ocr", count), |count| unmet("audio/speech", count));
    assert_eq!(hear(&mut all, said("a", "a1", 1, &[ocr(4), speech(32)])), [ocr(4), speech(32)]);
    assert_eq!(hear(&mut all, said("a", "a2", 1, &[ocr(2)])), [], "the org had missed it");
    assert_eq!(hear(&mut all, said("b", "b1", 2, &[ocr(8)])), [ocr(8)], "another org had not");
    hear(&mut all, said("me", "me1", 1, &[ocr(64)]));
    assert_eq!(report(&all, START_MS + 3 * DAY_MS), [(ocr(14), 2), (speech(32), 1)]);
    let missed = all.report(&key("me"), START_MS + 3 * DAY_MS);
    assert_eq!(missed[0].until_ms, START_MS + 2 * DAY_MS);
}

#[test]
fn a_newer_record_of_a_node_takes_the_place_of_an_older_one_in_any_order() {
    let mut all = Aggregate::default();
    hear(&mut all, said("a", "a1", 5, &[unmet("vision/ocr", 8)]));
    hear(&mut all, said("a", "a1", 3, &[unmet("vision/ocr", 64)]));
    assert_eq!(report(&all, START_MS + 6 * DAY_MS), [(unmet("vision/ocr", 8), 1)]);
}

#[test]
fn what_was_missed_a_month_ago_counts_no_longer() {
    let mut all = Aggregate::default();
    hear(&mut all, said("a", "a1", 0, &[unmet("vision/ocr", 8)]));
    assert_eq!(report(&all, START_MS + REPORTED_MS - 1).len(), 1);
    assert_eq!(report(&all, START_MS + REPORTED_MS).len(), 0);
    all.poll(START_MS + REPORTED_MS);
    assert!(all.is_empty());
    let news = hear(&mut all, said("a", "a1", 31, &[unmet("vision/ocr", 8)]));
    assert_eq!(news.len(), 1, "it is news again");
}

#[test]
fn an_org_that_left_is_forgotten_with_what_it_said() {
    let mut all = Aggregate::default();
    hear(&mut all, said("a", "a1", 1, &[unmet("vision/ocr", 8)]));
    hear(&mut all, said("b", "b1", 1, &[unmet("vision/ocr", 2)]));
    all.remove_org(&key("a"));
    assert_eq!(report(&all, START_MS + DAY_MS), [(unmet("vision/ocr", 2), 1)]);
}

#[test]
fn a_lie_weighs_no_more_than_one_org() {
    let mut all = Aggregate::default();
    let liar = [unmet("vision/lies", u32::MAX), unmet("vision/lies", u32::MAX)];
    hear(&mut all, said("liar", "l1", 1, &liar));
    hear(&mut all, said("liar", "l2", 1, &liar));
    for org in ["a", "b"] {
        hear(&mut all, said(org, org, 1, &[unmet("vision/ocr", 2)]));
    }
    let report = report(&all, START_MS + DAY_MS);
    assert_eq!(report[0], (unmet("vision/ocr", 4), 2), "two orgs come before one");
    assert!(report[1].0.count <= 1 << 20);
    // A record that speaks of the future ends no later than it was written.
    let (source, demand) = said("liar", "l1", 2, &[unmet("vision/ocr", 2)]);
    all.handle_record(source, &Demand { until_ms: u64::MAX, ..demand });
    assert!(all.report(&key("me"), START_MS).iter().all(|m| m.until_ms <= source.time_ms));
}

#[test]
fn what_one_org_says_and_what_all_say_is_bounded() {
    let mut all = Aggregate::default();
    let flood = |day: u64| -> Vec<Unmet> {
        (0..256).map(|number| unmet(&format!("x-{day}/x-{number}"), 4)).collect()
    };
    for seq in 1..10 {
        hear(&mut all, said("flood", "f1", seq, &flood(seq)));
    }
    assert_eq!(all.len(), 1_024);
    let newest = unmet("x-9/x-0", 4);
    assert!(report(&all, START_MS + 9 * DAY_MS).iter().any(|(unmet, _)| *unmet == newest));
    for org in 0..70 {
        for seq in 1..5 {
            let (name, flood) = (format!("org {org}"), flood(seq));
            hear(&mut all, said(&name, &name, seq, &flood));
        }
    }
    assert!(all.len() <= 65_536, "{}", all.len());
    assert!(all.len() > 40_000, "only the oldest give way: {}", all.len());
}

proptest! {
    #[test]
    fn records_in_any_order_make_the_same_aggregate(
        says in prop::collection::vec((0..3_u8, 0..2_u8, 1..6_u64, 0..4_u8, 0..6_u32), 0..30),
        seed in any::<u64>()
    ) {
        let mut records: Vec<(Source, Demand)> = Vec::new();
        for (org, node, seq, category, count) in says {
            let (org, node) = (format!("org {org}"), format!("node {org} {node}"));
            let record = said(&org, &node, seq, &[unmet(&format!("x-{category}"), 1 << count)]);
            // A log has one record at a position.
            if !records.iter().any(|(it, _)| (it.author, it.seq) == (record.0.author, record.0.seq)) {
                records.push(record);
            }
        }
        let (mut one, mut other) = (Aggregate::default(), Aggregate::default());
        records.iter().cloned().for_each(|record| drop(hear(&mut one, record)));
        records.sort_by_key(|(it, _)| Hash::of(format!("{seed} {:?} {}", it.author, it.seq).as_bytes()));
        records.into_iter().for_each(|record| drop(hear(&mut other, record)));
        prop_assert_eq!(one, other);
    }
}
