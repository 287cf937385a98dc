//! Keys with two writers: proven by whoever sees both sides, known to all, and out of the listings.

use guildhall_core::{Effect, Event, GossipId};
use guildhall_protocol::body::{ForkProof, Listing};
use guildhall_protocol::record::{Body, Position, Record};
use guildhall_protocol::wire::{Hello, Request, Response};
use guildhall_protocol::{PublicKey, RecordId, cbor};
use serde_bytes::ByteBuf;

use crate::fixture::{
    START_MS, assert_restart_changes_nothing, connect_all, federation, id_of, identity, listed,
    listing, members, publish,
};
use guildhall_sim::World;

const ALL: &[&str] = &["*"];

/// What alpha's producer signs on another machine.
fn twin(world: &World, at: Position, name: &str) -> Record {
    let producer = identity("alpha").producer;
    let bytes = cbor::encode(&listing(id_of(world, 0), name, "vision/ocr"));
    let body = Body { record_type: "listing", version: 1, bytes: &bytes };
    Record::write(&producer.secret, &producer.delegation, at, &body, START_MS).unwrap()
}

fn behind(record: &Record) -> Position {
    Position { seq: record.header().seq + 1, prev: Some(record.id()) }
}

fn hear(world: &mut World, node: usize, record: &Record) {
    let from = world.nodes[(node + 1) % world.nodes.len()].key();
    let bytes = record.bytes().to_vec();
    world.hear(node, from, bytes);
}

fn quarantined(world: &World, node: usize) -> Vec<(PublicKey, u64)> {
    world.nodes[node].core.forks().map(|forked| (forked.author, forked.seq)).collect()
}

fn ids(world: &World, node: usize, author: PublicKey) -> Vec<RecordId> {
    let logs = world.nodes[node].core.logs();
    (0..logs.len_of(&author)).filter_map(|seq| logs.id_at(&author, seq)).collect()
}

/// alpha, bravo, charlie and delta, where bravo has heard another second record of alpha's producer than the others.
fn split(world: &mut World) -> (Record, PublicKey) {
    connect_all(world);
    let first = publish(world, 0, "first", "vision/ocr");
    let author = first.header().author;
    world.run_for(1_000);
    for (a, b) in [(0, 1), (1, 2), (1, 3)] {
        world.cut(a, b);
    }
    let one = publish(world, 0, "one-side", "vision/ocr");
    publish(world, 0, "more", "vision/ocr");
    let other = twin(world, behind(&first), "other-side");
    hear(world, 1, &other);
    world.run_for(1_000);
    assert_eq!(ids(world, 1, author), [first.id(), other.id()]);
    assert_eq!(ids(world, 2, author)[..2], [first.id(), one.id()]);
    world.heal();
    (first, author)
}

#[test]
fn a_fork_is_proven_to_all_as_soon_as_two_nodes_that_saw_both_sides_meet() {
    for seed in 0..20 {
        let mut world = federation(seed, &[ALL, ALL, ALL, ALL]);
        let (first, author) = split(&mut world);
        let met = world.now_ms;
        let is_known = |world: &World| (0..4).all(|node| quarantined(world, node) == [(author, 1)]);
        assert!(world.converge(30_000, is_known), "seed {seed}: {:?}", quarantined(&world, 2));
        assert!(world.now_ms - met < 30_000);
        world.run_for(40_000);
        for node in 0..4 {
            assert_eq!(ids(&world, node, author), [first.id()], "all have the same of the log");
            assert!(
                listed(&world.nodes[node].core, "vision").is_empty(),
                "and none of its listings"
            );
            assert_restart_changes_nothing(&world, node);
        }
        let heads: Vec<_> = world.nodes.iter().map(|node| node.core.logs().heads()).collect();
        assert!(heads.iter().all(|one| *one == heads[0]));
    }
}

#[test]
fn a_quarantine_holds_over_a_restart_and_the_org_goes_on_under_another_key() {
    let mut world = federation(3, &[ALL, ALL, ALL, ALL]);
    let (_, author) = split(&mut world);
    world.run_for(60_000);
    for node in 0..4 {
        world.restart(node, |_| {});
        assert_eq!(quarantined(&world, node), [(author, 1)]);
        assert!(listed(&world.nodes[node].core, "vision").is_empty());
    }
    world.run_for(20_000);
    world.rekey_producer(0, "another producer of alpha");
    publish(&mut world, 0, "again", "vision/ocr");
    world.run_for(20_000);
    for node in 0..4 {
        assert_eq!(listed(&world.nodes[node].core, "vision"), ["alpha/again@1.0.0"]);
    }
}

#[test]
fn a_record_of_a_quarantined_key_is_taken_by_nobody_who_heard_of_the_fork_first() {
    let mut world = federation(4, &[ALL, ALL]);
    let first = twin(&world, Position::default(), "first");
    let other = twin(&world, Position::default(), "other");
    let proof = ForkProof::of(id_of(&world, 0), &first, &other).unwrap();
    let proof = world.write_as_node(1, &proof);
    hear(&mut world, 0, &proof);
    assert_eq!(quarantined(&world, 0).len(), 1);
    for record in [&first, &other] {
        hear(&mut world, 0, record);
    }
    assert!(ids(&world, 0, first.header().author).is_empty());
    assert!(listed(&world.nodes[0].core, "vision").is_empty());
}

#[test]
fn two_records_that_fit_each_other_prove_nothing() {
    let mut world = federation(5, &[ALL, ALL, ALL]);
    let first = twin(&world, Position::default(), "first");
    let second = twin(&world, behind(&first), "second");
    let federation = id_of(&world, 0);
    assert_eq!(ForkProof::of(federation, &first, &second), None);
    assert_eq!(ForkProof::of(federation, &first, &first), None);
    let bytes = |record: &Record| ByteBuf::from(record.without_body().bytes());
    let lies = [
        (bytes(&first), bytes(&second)),
        (bytes(&second), bytes(&first)),
        (bytes(&first), bytes(&first)),
        (bytes(&first), ByteBuf::from(b"no record".to_vec())),
    ];
    for (first, second) in lies {
        let proof = world.write_as_node(1, &ForkProof { federation, first, second });
        hear(&mut world, 0, &proof);
        assert!(quarantined(&world, 0).is_empty());
    }
}

#[test]
fn the_earliest_fork_of_a_key_holds_in_whatever_order_the_proofs_come() {
    for order in [[0, 1], [1, 0]] {
        let mut world = federation(6, &[ALL, ALL, ALL]);
        let federation = id_of(&world, 0);
        let first = twin(&world, Position::default(), "first");
        let second = twin(&world, behind(&first), "second");
        let late = ForkProof::of(federation, &second, &twin(&world, behind(&first), "late"));
        let early = ForkProof::of(federation, &first, &twin(&world, Position::default(), "early"));
        let proofs = [late.unwrap(), early.unwrap()];
        for at in order {
            let proof = world.write_as_node(1 + at, &proofs[at]);
            hear(&mut world, 0, &proof);
        }
        assert_eq!(quarantined(&world, 0), [(first.header().author, 0)]);
    }
}

// alpha confirmed charlie's acceptance in one history and nobody's in the other
#[test]
fn who_came_in_by_a_forked_log_is_a_member_for_nobody_and_its_node_is_refused() {
    let mut world = federation(7, &[ALL, ALL, ALL]);
    connect_all(&mut world);
    world.run_for(1_000);
    let alpha = identity("alpha");
    let log = alpha.node.public();
    let confirmed = world.nodes[1]
        .store
        .values()
        .filter(|record| record.header().author == log)
        .filter(|record| record.header().record_type == "confirmation")
        .max_by_key(|record| record.header().seq)
        .cloned()
        .unwrap();
    let at = Position { seq: confirmed.header().seq, prev: confirmed.header().prev };
    let body = Body { record_type: "later", version: 1, bytes: b"x" };
    let other =
        Record::write(&alpha.node.secret, &alpha.node.delegation, at, &body, START_MS).unwrap();
    assert_eq!(members(&world, 1), ["alpha", "bravo", "charlie"]);
    hear(&mut world, 1, &other);
    world.run_for(5_000);
    assert_eq!(members(&world, 1), ["alpha", "bravo"]);
    assert_eq!(world.nodes[1].forgotten, [identity("charlie").root].into());
    assert!(world.nodes[1].core.authority(&log).is_none());
    let hello = Hello {
        federation: id_of(&world, 1),
        delegation: alpha.node.delegation.clone(),
        addresses: Vec::new(),
        now_ms: None,
    };
    world.connect(0, 1);
    match world.ask(0, 1, &Request::Hello(hello)) {
        Ok(Response::Refused(why)) => assert!(why.detail.contains("two writers"), "{}", why.detail),
        other => panic!("{other:?}"),
    }
}

#[test]
fn honest_logs_are_never_in_quarantine() {
    let mut world = federation(8, &[ALL, ALL, ALL]);
    world.weather.gossip_loss_percent = 30;
    connect_all(&mut world);
    for number in 0..40 {
        publish(&mut world, number % 3, &format!("model-{number}"), "vision/ocr");
        world.run_for(300);
        if number % 10 == 9 {
            world.restart(number % 3, |_| {});
        }
    }
    world.run_for(30_000);
    assert!((0..3).all(|node| quarantined(&world, node).is_empty()));
    let is_asked = |effect: &Effect| matches!(effect, Effect::ProveFork(_));
    let again = publish(&mut world, 0, "again", "vision/ocr");
    let event = Event::Gossip {
        from: world.nodes[0].key(),
        message: GossipId(0),
        bytes: again.bytes().to_vec(),
    };
    let now_ms = world.now_ms;
    assert!(!world.nodes[1].core.handle(now_ms, event).iter().any(is_asked));
    assert!(again.body_as::<Listing>().is_some());
}
