//! What is looked for in vain: watched at the node that was asked, told once a day, added up by the others.

use guildhall_core::{Core, Event};
use guildhall_federation::State;
use guildhall_protocol::api::DemandReport;
use guildhall_protocol::body::{Demand, RecordBody as _, Unmet};
use guildhall_protocol::query::Query;
use guildhall_protocol::record::Record;
use guildhall_protocol::{FederationId, Hash, PackageId, cbor};

use crate::fixture::{
    DAY_MS, START_MS, add_alone, assert_restart_changes_nothing, connect_all, federation, founding,
    id_of, identity, in_category, publish, settings,
};
use guildhall_sim::World;

const ALL: &[&str] = &["*"];
const TEXT: &[&str] = &["nlp"];

const HOUR_MS: u64 = 60 * 60 * 1000;

/// alpha --- bravo (nlp), both for some time.
fn two() -> World {
    let mut world = federation(1, &[ALL, TEXT]);
    connect_all(&mut world);
    world
}

/// Asks a node for as many different things in a category.
fn ask(world: &mut World, node: usize, category: &str, times: u64) {
    for number in 0..times {
        let text = Some(format!("words that nobody else may see {number}"));
        world.search(node, &Query { text, ..in_category(category) });
    }
}

fn report(world: &World, node: usize) -> DemandReport {
    let follows = &["vision".parse().unwrap()];
    world.nodes[node].core.demand_report(follows, world.now_ms)
}

/// What a node heard of the others: category, count, orgs.
fn heard(world: &World, node: usize) -> Vec<(String, u32, u64)> {
    let shown = report(world, node).federation.into_iter();
    shown.map(|it| (it.unmet.category.to_string(), it.unmet.count, it.orgs)).collect()
}

/// The demand records that a node has of another.
fn records(world: &World, node: usize, of: usize) -> Vec<Record> {
    let author = world.nodes[of].key();
    let log = world.nodes[node].store.range((author, 0)..=(author, u64::MAX));
    let is_demand = |record: &&Record| record.header().record_type == Demand::TYPE;
    log.map(|(_, record)| record).filter(is_demand).cloned().collect()
}

/// The end of the day, and some seconds for the news to travel.
fn next_day(world: &mut World) {
    world.skip(DAY_MS);
    world.run_for(3_000);
}

#[test]
fn what_is_missed_here_is_told_once_a_day_and_says_nothing_of_who_asked() {
    let mut world = two();
    ask(&mut world, 0, "vision/object-detection", 5);
    ask(&mut world, 0, "audio/classification", 2);
    let here = report(&world, 0);
    assert_eq!(here.here.iter().map(|unmet| unmet.count).collect::<Vec<_>>(), [5, 2]);
    assert_eq!((here.federation.len(), here.least), (0, 3));
    assert!(records(&world, 0, 0).is_empty(), "the day is not over");

    next_day(&mut world);
    assert_eq!(heard(&world, 1), [("vision/object-detection".to_owned(), 4, 1)]);
    assert!(report(&world, 1).federation[0].subscribed);
    assert_eq!(world.nodes[1].demanded, ["alpha: 4 vision/object-detection"]);
    assert_eq!(heard(&world, 0), [], "one's own is no news");
    let [record] = &records(&world, 1, 0)[..] else { panic!("one record") };
    assert!(!record.bytes().windows(12).any(|bytes| bytes == b"words that n"));

    next_day(&mut world);
    assert_eq!(records(&world, 1, 0).len(), 1, "there is nothing more to say");
    assert_restart_changes_nothing(&world, 1);
}

#[test]
fn a_query_after_which_something_is_used_is_met() {
    let mut world = two();
    publish(&mut world, 0, "digits", "vision/object-detection");
    ask(&mut world, 0, "vision/object-detection", 1);
    let found = world.search(0, &in_category("vision"));
    let package = found.results[0].package_id;
    world.search(0, &Query { max_len_bytes: Some(1 << 20), ..in_category("vision") });
    assert_eq!(report(&world, 0).open, 2);
    world.drive(0, Event::Used { query_id: None, package });
    assert_eq!(report(&world, 0).open, 0);
    world.search(0, &Query { max_len_bytes: Some(1 << 21), ..in_category("vision") });
    world.skip(HOUR_MS);
    world.run_for(2_000);
    let here = report(&world, 0);
    let counts: Vec<_> =
        here.here.iter().map(|unmet| (unmet.category.as_str(), unmet.count)).collect();
    assert_eq!(
        counts,
        [("vision", 1), ("vision/object-detection", 1)],
        "of one nothing came in time"
    );
}

#[test]
fn using_something_under_a_querys_id_meets_that_query() {
    let mut world = two();
    publish(&mut world, 0, "digits", "vision/object-detection");
    let (ask, query) = (Hash::of(b"the question"), Box::new(in_category("vision")));
    world.drive(0, Event::Search { ask, query });
    assert_eq!(report(&world, 0).open, 1);
    let package = PackageId(Hash::of(b"what it led to"));
    world.drive(0, Event::Used { query_id: Some(Hash::of(b"another")), package });
    assert_eq!(report(&world, 0).open, 1);
    world.drive(0, Event::Used { query_id: Some(ask), package });
    assert_eq!(report(&world, 0).open, 0);
}

#[test]
fn a_node_that_was_away_and_follows_something_else_hears_of_it_too() {
    let mut world = two();
    world.cut(0, 1);
    ask(&mut world, 0, "vision/object-detection", 8);
    next_day(&mut world);
    assert_eq!(heard(&world, 1), []);
    world.mend(0, 1);
    assert!(world.converge(30_000, |world| !heard(world, 1).is_empty()));
    assert_eq!(heard(&world, 1), [("vision/object-detection".to_owned(), 8, 1)]);
}

#[test]
fn what_several_orgs_miss_is_added_up() {
    let mut world = federation(2, &[ALL, ALL, ALL]);
    connect_all(&mut world);
    ask(&mut world, 0, "vision/object-detection", 4);
    ask(&mut world, 1, "vision/object-detection", 9);
    ask(&mut world, 1, "vision/depth-estimation", 3);
    next_day(&mut world);
    assert_eq!(
        heard(&world, 2),
        [
            ("vision/object-detection".to_owned(), 12, 2),
            ("vision/depth-estimation".to_owned(), 2, 1)
        ]
    );
    assert_eq!(heard(&world, 0).len(), 2, "what bravo missed");
}

#[test]
fn what_does_not_reach_the_disk_is_told_later() {
    let mut world = two();
    ask(&mut world, 0, "vision/object-detection", 4);
    world.nodes[0].is_silent = true;
    next_day(&mut world);
    assert_eq!(heard(&world, 1), []);
    ask(&mut world, 0, "vision/depth-estimation", 4);
    world.nodes[0].is_silent = false;
    world.run_for(90_000);
    assert_eq!(heard(&world, 1).len(), 2);
    assert_eq!(records(&world, 1, 0).len(), 1);
}

#[test]
fn a_restart_loses_no_counts_and_tells_nothing_twice() {
    let mut world = two();
    ask(&mut world, 0, "vision/object-detection", 4);
    let saved = world.nodes[0].core.save_demand();
    next_day(&mut world);
    assert_eq!(world.nodes[1].demanded.len(), 1);

    // Saved before it was told.
    let old = &world.nodes[0];
    let mut core = Core::new(
        old.core.identity().clone(),
        old.core.settings().clone(),
        State::found(old.founding.clone()).unwrap(),
    );
    core.restore_demand(saved);
    old.store.values().for_each(|record| core.load_member(record));
    for record in old.store.values() {
        let effects = core.load(record);
        assert!(!format!("{effects:?}").contains("Demanded"));
    }
    let later = world.now_ms + 2 * DAY_MS;
    let effects = core.handle(later, Event::Tick);
    assert!(!format!("{effects:?}").contains("Tell"), "{effects:?}");
    assert_eq!(core.demand_report(&[], later).here[0].count, 4);

    let at_bravo = world.nodes[1].demanded.clone();
    world.restart(1, |_| {});
    assert_eq!(heard(&world, 1).len(), 1);
    assert_eq!(world.nodes[1].demanded, at_bravo, "it is no news any more");
}

#[test]
fn a_record_for_another_federation_or_of_a_stranger_does_not_count() {
    let mut world = two();
    let unmet = Unmet {
        category: "vision/object-detection".parse().unwrap(),
        kind: None,
        input: None,
        output: None,
        count: 64,
    };
    let from_ms = START_MS - DAY_MS;
    let federation = FederationId(Hash::of(b"another"));
    let demand = Demand { federation, from_ms, until_ms: START_MS, unmet: vec![unmet] };
    world.write_as_node(0, &demand);
    world.run_for(2_000);
    assert_eq!(records(&world, 1, 0).len(), 1, "it is kept");
    assert_eq!(heard(&world, 1), []);

    // echo is no member; bravo gets its record by gossip.
    let mut apart = World::new(3);
    let echo = apart.add((identity("echo"), settings("echo", ALL)), founding("alpha"), []);
    let record = apart.write_as_node(echo, &Demand { federation: id_of(&world, 1), ..demand });
    let from = world.nodes[0].key();
    let (message, bytes) = (guildhall_core::GossipId(0), record.bytes().to_vec());
    let now_ms = world.now_ms;
    let _effects = world.nodes[1].core.handle(now_ms, Event::Gossip { from, message, bytes });
    assert_eq!(heard(&world, 1), []);
}

#[test]
fn what_was_counted_goes_along_into_another_federation() {
    let mut world = World::new(4);
    let alone = add_alone(&mut world, "alpha", ALL);
    ask(&mut world, alone, "vision/object-detection", 4);
    let old = &world.nodes[alone].core;
    let mut new = Core::new(
        old.identity().clone(),
        old.settings().clone(),
        State::found(founding("bravo")).unwrap(),
    );
    new.succeed(old);
    assert_eq!(new.demand_report(&[], world.now_ms).here, report(&world, alone).here);
    assert_eq!(cbor::encode(&new.save_demand()), cbor::encode(&old.save_demand()));
}

#[test]
fn a_category_that_only_the_one_who_asks_has_named_is_not_told() {
    let mut world = two();
    publish(&mut world, 1, "cells", "x-lab/cells");
    world.run_for(1_000);
    ask(&mut world, 0, "vision/x-what-somebody-typed", 4);
    ask(&mut world, 0, "x-nobody-may-know/this", 4);
    ask(&mut world, 0, "x-lab/cells", 4);
    ask(&mut world, 0, "vision/image-clasification", 4);
    next_day(&mut world);
    let heard = heard(&world, 1);
    assert_eq!(heard, [("vision".to_owned(), 8, 1), ("x-lab/cells".to_owned(), 4, 1)]);
    assert_eq!(report(&world, 0).here.len(), 4, "here it is known exactly");
}
