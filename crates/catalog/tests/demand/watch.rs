//! When a query counts as unmet.

use guildhall_catalog::demand::{OPEN_MAX, Saved, Watch};
use guildhall_protocol::cbor;
use guildhall_protocol::name::Reference;
use guildhall_protocol::query::{PageMark, Query};
use proptest::prelude::*;

use crate::{DAY_MS, HOUR_MS, MINUTE_MS, START_MS, counted, id, package, query, unmet};

/// What is kept of one query for text in `vision/ocr`.
const SAVED: &str = "a46873696e63655f6d731b000001a3185c50006766726f6d5f6d731b000001a3185c50006764\
     726f7070656400656b696e64738182a26863617465676f72796a766973696f6e2f6f6372666f75747075746474657874\
     a465746f74616c016770656e64696e67017070656e64696e675f73696e63655f6d731b000001a3185c5000676c617374\
     5f6d731b000001a3185c5000";

#[test]
fn a_query_that_found_nothing_is_unmet_at_once() {
    let mut watch = Watch::default();
    watch.handle_answer(id(1), &query("vision/ocr", "runes"), &[], START_MS);
    assert_eq!(counted(&watch), [unmet("vision/ocr", 1)]);
    assert_eq!((watch.report().open, watch.report().dropped), (0, 0));
    assert_eq!(watch.report().since_ms, START_MS);
}

#[test]
fn a_query_of_which_nothing_came_is_unmet_after_an_hour() {
    let mut watch = Watch::default();
    watch.handle_answer(id(1), &query("vision/ocr", "runes"), &[package(1)], START_MS);
    watch.poll(START_MS + HOUR_MS - 1);
    assert_eq!((counted(&watch).len(), watch.report().open), (0, 1));
    watch.poll(START_MS + HOUR_MS);
    assert_eq!((counted(&watch), watch.report().open), (vec![unmet("vision/ocr", 1)], 0));
}

#[test]
fn using_something_under_the_querys_id_or_what_it_showed_meets_it() {
    let by_id = |watch: &mut Watch| watch.handle_used(Some(id(1)), package(9), START_MS + 1);
    let by_package = |watch: &mut Watch| watch.handle_used(None, package(2), START_MS + 1);
    let by_both = |watch: &mut Watch| watch.handle_used(Some(id(7)), package(1), START_MS + 1);
    for used in [by_id as fn(&mut Watch), by_package, by_both] {
        let mut watch = Watch::default();
        let found = [package(1), package(2)];
        watch.handle_answer(id(1), &query("vision/ocr", "runes"), &found, START_MS);
        used(&mut watch);
        assert_eq!(watch.report().open, 0);
        watch.poll(START_MS + DAY_MS);
        assert_eq!(counted(&watch), []);
    }
}

#[test]
fn using_something_else_or_too_late_meets_nothing() {
    let mut watch = Watch::default();
    watch.handle_answer(id(1), &query("vision/ocr", "runes"), &[package(1)], START_MS);
    watch.handle_used(Some(id(2)), package(2), START_MS + 1);
    assert_eq!(watch.report().open, 1);
    watch.handle_used(Some(id(1)), package(1), START_MS + HOUR_MS);
    assert_eq!(counted(&watch), [unmet("vision/ocr", 1)]);
}

#[test]
fn the_same_query_again_within_the_hour_counts_once() {
    let mut watch = Watch::default();
    for (number, text) in (0..).zip(["old runes", "Old  Runes ", "OLD RUNES"]) {
        let at_ms = START_MS + number * MINUTE_MS;
        watch.handle_answer(id(number), &query("vision/ocr", text), &[], at_ms);
    }
    assert_eq!(counted(&watch), [unmet("vision/ocr", 1)]);
    let again = START_MS + HOUR_MS;
    watch.handle_answer(id(4), &query("vision/ocr", "old runes"), &[], again);
    assert_eq!(counted(&watch), [unmet("vision/ocr", 2)]);
}

#[test]
fn a_further_page_belongs_to_its_query_and_meets_it_under_its_own_id() {
    let mut watch = Watch::default();
    let first = query("vision/ocr", "runes");
    let page = PageMark { query: id(1), offset: 20 };
    let second = Query { page: Some(page), facets: true, limit: 5, ..first.clone() };
    watch.handle_answer(id(1), &first, &[package(1)], START_MS);
    watch.handle_answer(id(2), &second, &[package(2)], START_MS + 1);
    assert_eq!(watch.report().open, 1);
    watch.handle_used(Some(id(2)), package(9), START_MS + 2);
    assert_eq!(watch.report().open, 0);
    // A page of a query that nobody knows any more is no query.
    let mut empty = Watch::default();
    empty.handle_answer(id(2), &second, &[], START_MS);
    assert_eq!(counted(&empty), []);
}

#[test]
fn looking_up_a_release_browsing_and_asking_only_here_are_no_demand() {
    let mut watch = Watch::default();
    let reference: Reference = "lab-a/digits".parse().unwrap();
    let lookup = Query { reference: Some(reference), ..Query::default() };
    let here = Query { local: true, ..query("vision/ocr", "runes") };
    for asked in [lookup, here, Query::default(), Query { limit: 7, ..Query::default() }] {
        watch.handle_answer(id(1), &asked, &[], START_MS);
    }
    assert_eq!((counted(&watch), watch.report().open), (vec![], 0));
}

#[test]
fn a_flood_of_queries_is_bounded_and_what_is_dropped_is_counted() {
    let mut watch = Watch::default();
    let most = OPEN_MAX as u64;
    for number in 0..most + 50 {
        let asked = query("vision/ocr", &number.to_string());
        watch.handle_answer(id(number), &asked, &[package(1)], START_MS);
    }
    assert_eq!((watch.report().open, watch.report().dropped), (most, 50));
    watch.check_invariants().unwrap();
    watch.handle_used(None, package(1), START_MS + 1);
    assert_eq!(watch.report().open, 0);
    let many: Vec<_> = (0..300).map(package).collect();
    watch.poll(START_MS + HOUR_MS);
    watch.handle_answer(id(1), &query("vision/ocr", "all"), &many, START_MS + HOUR_MS);
    assert_eq!((watch.report().open, watch.report().dropped), (0, 51));
}

#[test]
fn a_clock_that_is_set_back_loses_queries_and_counts_none_twice() {
    let mut watch = Watch::default();
    watch.handle_answer(id(1), &query("vision/ocr", "runes"), &[package(1)], START_MS);
    watch.poll(START_MS - DAY_MS);
    assert_eq!((counted(&watch).len(), watch.report().open, watch.report().dropped), (0, 0, 1));
    watch.poll(START_MS + DAY_MS);
    assert_eq!(counted(&watch), []);
}

#[test]
fn counts_survive_a_restart_and_repetitions_after_it_are_not_counted() {
    let mut watch = Watch::default();
    let asked = query("vision/ocr", "runes");
    watch.handle_answer(id(1), &asked, &[], START_MS);
    let mut again = Watch::restore(watch.save());
    assert_eq!(counted(&again), counted(&watch));
    again.handle_answer(id(2), &asked, &[], START_MS + MINUTE_MS);
    assert_eq!(counted(&again), [unmet("vision/ocr", 1)]);
    again.handle_answer(id(3), &asked, &[], START_MS + HOUR_MS);
    assert_eq!(counted(&again), [unmet("vision/ocr", 2)]);
}

#[derive(Clone, Debug)]
enum Step {
    Ask { text: u8, category: u8, found: Vec<u8> },
    Use { query: Option<u8>, package: u8 },
    Wait { minutes: u64 },
    SetBack { minutes: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12_u8, 0..3_u8, prop::collection::vec(0..6_u8, 0..3))
            .prop_map(|(text, category, found)| Step::Ask { text, category, found }),
        2 => (prop::option::of(0..40_u8), 0..8_u8)
            .prop_map(|(query, package)| Step::Use { query, package }),
        2 => (1..90_u64).prop_map(|minutes| Step::Wait { minutes }),
        1 => (1..90_u64).prop_map(|minutes| Step::SetBack { minutes }),
    ]
}

proptest! {
    #[test]
    fn what_is_asked_is_open_met_counted_or_dropped_and_never_counted_more_often(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let (mut watch, mut now_ms, mut asked) = (Watch::default(), START_MS, 0_u64);
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Ask { text, category, found } => {
                    let found: Vec<_> = found.into_iter().map(|n| package(n.into())).collect();
                    let category = format!("vision/x-{category}");
                    let asked_for = query(&category, &text.to_string());
                    watch.handle_answer(id(number), &asked_for, &found, now_ms);
                    asked += 1;
                }
                Step::Use { query, package: used } => {
                    watch.handle_used(query.map(|n| id(n.into())), package(used.into()), now_ms);
                }
                Step::Wait { minutes } => now_ms += minutes * MINUTE_MS,
                Step::SetBack { minutes } => now_ms -= minutes * MINUTE_MS,
            }
            watch.poll(now_ms);
            prop_assert_eq!(watch.check_invariants(), Ok(()));
            let report = watch.report();
            prop_assert!(watch.counted() + report.open + report.dropped <= asked);
            let restored = Watch::restore(watch.save());
            prop_assert_eq!(restored.report().unmet, report.unmet);
        }
    }
}

#[test]
fn counts_that_an_earlier_node_kept_are_read() {
    let mut watch = Watch::default();
    let asked = Query { output: Some("text".parse().unwrap()), ..query("vision/ocr", "runes") };
    watch.handle_answer(id(1), &asked, &[], START_MS);
    let bytes = cbor::encode(&watch.save());
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, SAVED);
    let saved: Saved = cbor::decode(&bytes, 1_000).unwrap();
    assert_eq!(Watch::restore(saved).report(), watch.report());
}
