//! Which links a node keeps: all in a small federation, a few of its own choice in a large one, whoever surrounds it.

use std::collections::BTreeSet;

use guildhall_core::{Effect, Event, Identity, ReplyId};
use guildhall_protocol::body::Confirmation;
use guildhall_protocol::record::Record;
use guildhall_protocol::wire::{Hello, Reason, Request, Response};
use guildhall_protocol::{Hash, PublicKey};

use crate::fixture::{DAY_MS, another_node, founding, identity, listed, publish, settings};
use guildhall_sim::World;

const ALL: &[&str] = &["*"];

/// An org, and who invited it: an earlier one, by its place.
type Invited = (String, usize);

fn invited(prefix: &str, count: usize, by: usize) -> impl Iterator<Item = Invited> {
    (0..count).map(move |number| (format!("{prefix}-{number}"), by))
}

/// The records with which orgs come into the federation of the first, and their nodes describe themselves.
fn records_of(orgs: &[Invited]) -> Vec<Record> {
    let mut apart = World::new(1);
    for (org, _) in orgs {
        apart.add((identity(org), settings(org, ALL)), founding(&orgs[0].0), []);
    }
    for (index, (_, by)) in orgs.iter().enumerate().skip(1) {
        let invite = apart.invite(*by, DAY_MS);
        let acceptance = apart.nodes[index].core.acceptance(&invite);
        let acceptance = apart.write_as_node(index, &acceptance).id();
        let federation = invite.federation;
        let confirmation = Confirmation { federation, admission: invite.admission, acceptance };
        apart.write_as_node(*by, &confirmation);
    }
    apart.nodes.iter().flat_map(|node| node.store.values().cloned()).collect()
}

/// The first records of further nodes of an org.
fn nodes_of(world: &World, org: &str, count: usize) -> (Vec<Identity>, Vec<Record>) {
    let mut apart = World::new(2);
    let founding = world.nodes[0].founding.clone();
    let who: Vec<Identity> = (0..count).map(|number| another_node(org, number)).collect();
    for one in &who {
        apart.add((one.clone(), settings(org, ALL)), founding.clone(), []);
    }
    (who, apart.nodes.iter().flat_map(|node| node.store.values().cloned()).collect())
}

/// Whom node 0 dials in as many ticks, when nobody answers or, `answering`, whoever is dialled.
fn dialled(world: &mut World, ticks: u64, answering: bool) -> Vec<PublicKey> {
    let mut dialled = Vec::new();
    for _ in 0..ticks {
        let effects = tick(world);
        for peer in effects {
            dialled.push(peer);
            if answering {
                let now_ms = world.now_ms;
                let _greets = world.nodes[0].core.handle(now_ms, Event::Connected { peer });
            }
        }
    }
    dialled
}

fn tick(world: &mut World) -> Vec<PublicKey> {
    let now_ms = world.now_ms;
    let effects = world.nodes[0].core.handle(now_ms, Event::Tick);
    let dial = |effect| match effect {
        Effect::Dial { peer, .. } => Some(peer),
        _ => None,
    };
    effects.into_iter().filter_map(dial).collect()
}

/// The target, node 0, alone with the records of all.
fn target(records: Vec<Record>, org: &str, seed: &str) -> World {
    let mut world = World::new(3);
    let mut settings = settings(org, ALL);
    settings.link_seed = Hash::of(seed.as_bytes());
    world.add((identity(org), settings), founding("alpha"), records);
    world
}

fn say_hello(world: &mut World, who: &Identity) -> Response {
    let (peer, now_ms) = (who.node.public(), world.now_ms);
    let core = &mut world.nodes[0].core;
    let _greets = core.handle(now_ms, Event::Connected { peer });
    let federation = core.federation().id();
    let hello = Hello {
        federation,
        delegation: who.node.delegation.clone(),
        addresses: Vec::new(),
        now_ms: None,
    };
    let event = Event::Request { peer, reply: ReplyId(7), request: Request::Hello(hello) };
    let answer = |effect| match effect {
        Effect::Respond { reply: ReplyId(7), response } => Some(response),
        _ => None,
    };
    core.handle(now_ms, event).into_iter().find_map(answer).expect("an answer")
}

#[test]
fn a_node_of_a_small_federation_dials_everybody() {
    let orgs: Vec<Invited> =
        [("alpha".to_owned(), 0)].into_iter().chain(invited("lab", 30, 0)).collect();
    let mut world = target(records_of(&orgs), "alpha", "any");
    let dialled: BTreeSet<PublicKey> = dialled(&mut world, 40, true).into_iter().collect();
    assert_eq!(dialled.len(), 30);
}

#[test]
fn a_node_that_was_just_started_does_not_take_others_for_away() {
    let orgs: Vec<Invited> = invited("org", 5, 0).collect();
    let mut world = target(records_of(&orgs), "org-1", "a secret");
    assert!(!world.nodes[0].core.knows_who_is_away());
    dialled(&mut world, 40, false);
    assert!(world.nodes[0].core.knows_who_is_away());
}

#[test]
fn a_node_of_a_large_federation_keeps_a_few_links_and_replaces_those_that_break() {
    let orgs: Vec<Invited> =
        [("alpha".to_owned(), 0)].into_iter().chain(invited("lab", 80, 0)).collect();
    let mut world = target(records_of(&orgs), "alpha", "any");
    let first = dialled(&mut world, 60, true);
    assert_eq!(first.len(), 24, "one dial each, and then no more");
    for peer in &first {
        let now_ms = world.now_ms;
        let _gone = world.nodes[0].core.handle(now_ms, Event::Disconnected { peer: *peer });
    }
    let second: BTreeSet<PublicKey> = dialled(&mut world, 120, false).into_iter().collect();
    assert_eq!(second.len(), 80, "while all are away, everybody is tried in turn");
}

#[test]
fn the_order_is_another_one_for_each_secret() {
    let orgs: Vec<Invited> =
        [("alpha".to_owned(), 0)].into_iter().chain(invited("lab", 80, 0)).collect();
    let records = records_of(&orgs);
    let chosen = |seed: &str| -> BTreeSet<PublicKey> {
        dialled(&mut target(records.clone(), "alpha", seed), 60, true).into_iter().collect()
    };
    assert_eq!(chosen("one"), chosen("one"));
    assert!(chosen("one").intersection(&chosen("another")).count() < 24);
}

// two hundred nodes of one org against one node
#[test]
fn an_org_with_many_nodes_neither_crowds_out_the_others_nor_is_dialled_more_than_they_are() {
    let orgs: Vec<Invited> = [("alpha".to_owned(), 0)]
        .into_iter()
        .chain(invited("lab", 7, 0))
        .chain([("mallory".to_owned(), 0)])
        .collect();
    let mut world = target(records_of(&orgs), "alpha", "any");
    let (attackers, records) = nodes_of(&world, "mallory", 200);
    world.give(0, &records);
    let mut refused = 0;
    for attacker in &attackers {
        if let Response::Refused(why) = say_hello(&mut world, attacker) {
            assert_eq!(why.reason, Reason::Busy);
            assert!(why.detail.contains("64 links to nodes of one org"), "{}", why.detail);
            refused += 1;
        }
    }
    assert_eq!(refused, 200 - 64);
    let dialled: BTreeSet<PublicKey> = dialled(&mut world, 60, true).into_iter().collect();
    for number in 0..7 {
        let lab = identity(&format!("lab-{number}"));
        assert!(dialled.contains(&lab.node.public()), "lab-{number} is dialled");
        assert!(matches!(say_hello(&mut world, &lab), Response::Hello(_)));
    }
    let own = crate::fixture::another_node("alpha", 1);
    assert!(matches!(say_hello(&mut world, &own), Response::Hello(_)));
    assert_eq!(world.nodes[0].core.peers_admitted(), 64 + 7 + 1);
}

// two hundred orgs that one member brought in against one node
#[test]
fn orgs_that_one_member_brings_in_do_not_surround_a_node() {
    let orgs: Vec<Invited> = [("alpha".to_owned(), 0)]
        .into_iter()
        .chain(invited("lab", 7, 0))
        .chain([("mallory".to_owned(), 0)])
        .chain(invited("sock", 200, 8))
        .collect();
    let records = records_of(&orgs);
    let honest: BTreeSet<PublicKey> =
        orgs[..8].iter().map(|(org, _)| identity(org).node.public()).collect();
    let mut fewest = usize::MAX;
    for number in 0..50 {
        let mut world = target(records.clone(), "lab-0", &format!("secret {number}"));
        let dialled: BTreeSet<PublicKey> = dialled(&mut world, 60, true).into_iter().collect();
        fewest = fewest.min(dialled.intersection(&honest).count());
    }
    assert!(fewest >= 2, "{fewest} links to orgs that are no socks");
}

#[test]
fn a_record_reaches_everybody_in_a_federation_in_which_nobody_is_linked_to_all() {
    let orgs: Vec<Invited> =
        [("alpha".to_owned(), 0)].into_iter().chain(invited("lab", 59, 0)).collect();
    let records = records_of(&orgs);
    let mut world = World::new(4);
    for (org, _) in &orgs {
        world.add((identity(org), settings(org, ALL)), founding("alpha"), records.iter().cloned());
    }
    world.run_for(40_000);
    let links = |me: usize| (0..60).filter(|other| world.is_linked(me, *other)).count();
    let most = (0..60).map(links).max().unwrap();
    assert!((0..60).all(|me| links(me) >= 24), "everybody has the links it wants");
    assert!(most < 59, "and nobody has all: {most}");
    publish(&mut world, 7, "digits", "vision/ocr");
    world.run_for(2_000);
    let reached = (0..60).filter(|me| !listed(&world.nodes[*me].core, "vision").is_empty()).count();
    assert_eq!(reached, 60);
}
