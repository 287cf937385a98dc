//! How records get everywhere: by gossip, by comparison, and with the bodies that a node follows.

use guildhall_core::Verdict;
use guildhall_protocol::record::Record;
use guildhall_protocol::wire::{Request, Response};
use serde_bytes::ByteBuf;

use crate::fixture::{
    DAY_MS, add_alone, assert_restart_changes_nothing, connect_all, federation, listed, members,
    publish,
};
use guildhall_sim::World;

const ALL: &[&str] = &["*"];
const VISION: &[&str] = &["vision"];
const TEXT: &[&str] = &["nlp"];

fn heads_are_equal(world: &World) -> bool {
    let heads: Vec<_> = world.nodes.iter().map(|node| node.core.logs().heads()).collect();
    heads.iter().all(|one| *one == heads[0])
}

// alpha --- bravo --- charlie --- delta, a line
#[test]
fn a_listing_reaches_every_follower_by_gossip_over_others() {
    let mut world = federation(1, &[ALL, ALL, ALL, VISION]);
    for (a, b) in [(0, 2), (0, 3), (1, 3)] {
        world.cut(a, b);
    }
    connect_all(&mut world);
    let pulls = world.asked["heads"];
    publish(&mut world, 0, "digits", "vision/ocr");
    world.run_for(600);
    for node in 0..4 {
        assert_eq!(listed(&world.nodes[node].core, "vision/ocr"), ["alpha/digits@1.0.0"]);
        assert_restart_changes_nothing(&world, node);
    }
    assert_eq!(world.asked["heads"], pulls, "nobody had to compare logs");
}

// alpha --- bravo, later charlie
#[test]
fn a_late_joiner_gets_what_was_listed_before_by_pulls() {
    let mut world = World::new(2);
    let [a, b, c] = ["alpha", "bravo", "charlie"].map(|org| add_alone(&mut world, org, ALL));
    let invite = world.invite(a, DAY_MS);
    world.join(b, a, &invite).unwrap();
    for number in 0..11 {
        publish(&mut world, a, &format!("model-{number}"), "vision/ocr");
        publish(&mut world, b, &format!("text-{number}"), "nlp/ner");
    }
    world.run_for(1_000);
    let invite = world.invite(a, DAY_MS);
    world.join(c, a, &invite).unwrap();
    assert!(world.converge(5_000, |world| {
        let core = &world.nodes[c].core;
        listed(core, "vision").len() == 11 && listed(core, "nlp").len() == 11
    }));
    assert_restart_changes_nothing(&world, c);
}

// alpha --- bravo, all gossip is lost
#[test]
fn what_gossip_loses_the_periodic_comparison_brings() {
    let mut world = federation(3, &[ALL, ALL]);
    connect_all(&mut world);
    world.weather.gossip_loss_percent = 100;
    publish(&mut world, 0, "digits", "vision/ocr");
    world.run_for(1_000);
    assert!(listed(&world.nodes[1].core, "vision").is_empty());
    assert!(world.converge(16_000, |world| !listed(&world.nodes[1].core, "vision").is_empty()));
}

// alpha --- bravo: one record is lost, the next one arrives
#[test]
fn a_gap_that_gossip_shows_is_filled_at_once() {
    let mut world = federation(4, &[ALL, ALL]);
    connect_all(&mut world);
    world.weather.gossip_loss_percent = 100;
    publish(&mut world, 0, "first", "vision/ocr");
    world.weather.gossip_loss_percent = 0;
    publish(&mut world, 0, "second", "vision/ocr");
    world.run_for(600);
    assert_eq!(listed(&world.nodes[1].core, "vision").len(), 2);
}

// alpha --- bravo (nlp only)
#[test]
fn a_node_that_does_not_follow_keeps_headers_only_of_gossip_and_of_pulls() {
    let mut world = federation(5, &[ALL, TEXT]);
    let before = publish(&mut world, 0, "earlier", "vision/ocr");
    connect_all(&mut world);
    let after = publish(&mut world, 0, "later", "vision/ocr");
    let read = publish(&mut world, 0, "names", "nlp/ner");
    world.run_for(1_000);
    let kept = |record: &Record| {
        let at = (record.header().author, record.header().seq);
        world.nodes[1].store[&at].body().is_some()
    };
    assert!(heads_are_equal(&world));
    assert!(!kept(&before) && !kept(&after) && kept(&read));
    assert_eq!(listed(&world.nodes[1].core, "nlp"), ["alpha/names@1.0.0"]);
    assert_eq!(world.nodes[1].core.logs().without_body(&before.header().author), [0, 1]);
    assert_restart_changes_nothing(&world, 1);
}

// alpha --- bravo (nlp only, later vision too)
#[test]
fn a_node_that_starts_to_follow_a_category_gets_the_bodies_it_left_out() {
    let mut world = federation(6, &[ALL, TEXT]);
    connect_all(&mut world);
    for number in 0..9 {
        publish(&mut world, 0, &format!("model-{number}"), "vision/ocr");
    }
    publish(&mut world, 0, "sound", "audio/speech");
    world.run_for(2_000);
    assert!(listed(&world.nodes[1].core, "vision").is_empty());
    world.restart(1, |settings| settings.follows.push("vision".parse().unwrap()));
    world.connect(0, 1);
    let done = world.converge(40_000, |world| listed(&world.nodes[1].core, "vision").len() == 9);
    assert!(done, "{:?}", listed(&world.nodes[1].core, "vision"));
    let producer = world.nodes[0].core.identity().producer.public();
    assert_eq!(world.nodes[1].core.logs().without_body(&producer), [9], "audio is not followed");
    assert_restart_changes_nothing(&world, 1);
    // What its author's org leaves out is settled, and never asked for again.
    world.run_for(60_000);
    let pulls = world.asked["pull"];
    world.run_for(300_000);
    assert_eq!(world.asked["pull"], pulls);
}

// alpha --- bravo (nlp only) --- charlie (vision), and no link from charlie to alpha until later
#[test]
fn bodies_that_a_node_on_the_way_left_out_come_from_one_that_has_them() {
    for seed in 0..10 {
        let mut world = federation(seed, &[ALL, TEXT, VISION]);
        publish(&mut world, 0, "digits", "vision/ocr");
        world.cut(0, 2);
        world.cut(1, 2);
        world.connect(0, 1);
        world.run_for(3_000);
        world.mend(1, 2);
        world.run_for(5_000);
        assert!(heads_are_equal(&world), "seed {seed}");
        assert!(listed(&world.nodes[2].core, "vision").is_empty(), "bravo has the header only");
        world.heal();
        let done = world.converge(60_000, |world| {
            listed(&world.nodes[2].core, "vision") == ["alpha/digits@1.0.0"]
        });
        assert!(done, "seed {seed}");
        assert_restart_changes_nothing(&world, 2);
    }
}

// alpha --- bravo --- charlie: bravo leaves bodies out of what it passes on
#[test]
fn gossip_without_its_body_is_kept_but_not_passed_on() {
    let mut world = federation(7, &[ALL, ALL]);
    connect_all(&mut world);
    world.weather.gossip_loss_percent = 100;
    let record = publish(&mut world, 0, "digits", "vision/ocr");
    let from = world.nodes[0].key();
    let gossip = |bytes: &[u8]| guildhall_core::Event::Gossip {
        from,
        message: guildhall_core::GossipId(0),
        bytes: bytes.to_vec(),
    };
    let now_ms = world.now_ms;
    let core = &mut world.nodes[1].core;
    let effects = core.handle(now_ms, gossip(record.without_body().bytes()));
    assert!(format!("{effects:?}").contains("verdict: Ignore"));
    assert_eq!(core.logs().len_of(&record.header().author), 1);
    let effects = core.handle(now_ms, gossip(record.bytes()));
    assert!(format!("{effects:?}").contains("verdict: Accept"), "the whole one is news");
    assert_eq!(listed(core, "vision"), ["alpha/digits@1.0.0"]);
}

// alpha --- bravo --- charlie; bravo answers pulls with nothing
#[test]
fn a_peer_that_holds_records_back_does_not_keep_another_from_giving_them() {
    let mut world = federation(8, &[ALL, ALL, ALL]);
    world.cut(0, 2);
    world.cut(1, 2);
    publish(&mut world, 0, "digits", "vision/ocr");
    world.connect(0, 1);
    world.run_for(3_000);
    world.nodes[1].tamper = Some(Box::new(|request, response| match request {
        Request::Pull { .. } => Response::Records { records: Vec::new() },
        _ => response,
    }));
    world.mend(1, 2);
    world.run_for(60_000);
    assert!(listed(&world.nodes[2].core, "vision").is_empty());
    assert!(world.asked["pull"] < 30, "an empty answer is not asked for again at once");
    world.heal();
    assert!(world.converge(30_000, |world| !listed(&world.nodes[2].core, "vision").is_empty()));
}

// alpha --- bravo, whose answers are another log's records and broken bytes
#[test]
fn pulled_records_of_another_log_or_with_a_flipped_bit_are_left_out() {
    let mut world = federation(9, &[ALL, ALL, ALL]);
    let foreign = publish(&mut world, 1, "foreign", "vision/ocr");
    publish(&mut world, 0, "digits", "vision/ocr");
    let other = foreign.bytes().to_vec();
    world.cut(0, 2);
    world.cut(1, 2);
    world.connect(0, 1);
    world.run_for(3_000);
    world.nodes[1].tamper = Some(Box::new(move |request, response| match (request, response) {
        (Request::Pull { .. }, Response::Records { records }) if !records.is_empty() => {
            let mut broken = records[0].clone();
            let middle = broken.len() / 2;
            broken[middle] ^= 1;
            Response::Records { records: vec![broken, ByteBuf::from(other.clone())] }
        }
        (_, response) => response,
    }));
    let before = world.nodes[2].core.logs().records();
    world.mend(1, 2);
    world.run_for(40_000);
    let taken = world.nodes[2].core.logs().records() - before;
    assert!(taken <= 1, "only the foreign listing, when its own log was asked for");
    assert!(world.nodes[2].notes.iter().any(|note| note.contains("refused")));
}

// alpha --- bravo, who restarts while it pulls a long log
#[test]
fn a_node_that_restarts_in_the_middle_of_a_pull_goes_on_where_it_stopped() {
    for seed in 0..10 {
        let mut world = federation(seed, &[ALL, ALL]);
        for number in 0..30 {
            publish(&mut world, 0, &format!("model-{number}"), "vision/ocr");
        }
        world.connect(0, 1);
        let producer = world.nodes[0].core.identity().producer.public();
        assert!(world.converge(10_000, |w| w.nodes[1].core.logs().len_of(&producer) >= 8));
        world.restart(1, |_| {});
        let kept = world.nodes[1].core.logs().len_of(&producer);
        assert!((8..30).contains(&kept), "seed {seed}: {kept}");
        let done = world.converge(20_000, |w| w.nodes[1].core.logs().len_of(&producer) == 30);
        assert!(done, "seed {seed}: it finds its peer again by itself");
        assert_restart_changes_nothing(&world, 1);
    }
}

// alpha --- bravo --- charlie: charlie's key is new to alpha
#[test]
fn records_of_an_org_that_come_before_its_acceptance_count_once_it_is_a_member() {
    let mut world = federation(10, &[ALL, ALL]);
    let newcomer = add_alone(&mut world, "xray", ALL);
    let invite = world.invite(0, DAY_MS);
    // What the newcomer will have written, put together without the others.
    let acceptance = world.nodes[newcomer].core.acceptance(&invite);
    let acceptance = world.write_as_node(newcomer, &acceptance);
    let listing = crate::fixture::listing(invite.federation, "early", "vision/ocr");
    let listing = world.publish(newcomer, &listing);
    let own = world.nodes[newcomer].key();
    let log: Vec<Record> = world.nodes[newcomer]
        .store
        .range((own, 0)..=(own, u64::MAX))
        .map(|(_, r)| r.clone())
        .collect();
    assert_eq!(log.last().map(Record::id), Some(acceptance.id()));
    let from = world.nodes[0].key();
    let core = &mut world.nodes[1].core;
    let admission = core.logs().len_of(&from);
    let mut verdicts = Vec::new();
    for record in std::iter::once(&listing).chain(&log) {
        let message = guildhall_core::GossipId(0);
        let bytes = record.bytes().to_vec();
        let event = guildhall_core::Event::Gossip { from, message, bytes };
        for effect in core.handle(crate::fixture::START_MS, event) {
            if let guildhall_core::Effect::Verdict { verdict, .. } = effect {
                verdicts.push(verdict);
            }
        }
    }
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Accept), "strangers' are relayed");
    assert!(listed(core, "vision").is_empty());
    assert_eq!(members(&world, 1), ["alpha", "bravo"], "bravo has not seen the admission");
    assert_eq!(world.nodes[1].core.logs().len_of(&from), admission);
    let confirmation = guildhall_protocol::body::Confirmation {
        federation: invite.federation,
        admission: invite.admission,
        acceptance: acceptance.id(),
    };
    world.write_as_node(0, &confirmation);
    world.connect(0, 1);
    assert!(world.converge(5_000, |world| members(world, 1).len() == 3));
    assert_eq!(listed(&world.nodes[1].core, "vision"), ["xray/early@1.0.0"]);
}

#[test]
fn a_record_whose_delegation_ran_out_still_fills_a_body_that_was_left_out() {
    let mut world = federation(11, &[ALL, TEXT]);
    connect_all(&mut world);
    publish(&mut world, 0, "digits", "vision/ocr");
    world.run_for(1_000);
    let record = world.nodes[0].store.values().find(|r| r.header().record_type == "listing");
    let record = record.unwrap().clone();
    world.restart(1, |settings| settings.follows = vec!["*".parse().unwrap()]);
    let later = record.delegation().expires_ms + 1;
    let from = world.nodes[0].key();
    let event = guildhall_core::Event::Gossip {
        from,
        message: guildhall_core::GossipId(0),
        bytes: record.bytes().to_vec(),
    };
    let _effects = world.nodes[1].core.handle(later, event);
    assert_eq!(listed(&world.nodes[1].core, "vision"), ["alpha/digits@1.0.0"]);
}
