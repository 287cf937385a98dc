//! Logs compared in cells: what it costs, and what becomes of it with peers that do not know it, are busy, or lie.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use guildhall_core::{CallId, Core, Effect, Event, ReplyId, Settings};
use guildhall_protocol::wire::{Hello, LogHead, Reason, Refusal, Request, Response};
use guildhall_protocol::{Hash, PublicKey, cbor};
use proptest::prelude::*;
use serde_bytes::ByteBuf;

use crate::fixture::{
    START_MS, another_node, connect_all, federation, listed, log_of, logs_of, publish,
};
use guildhall_sim::{Tamper, World};

const ALL: &[&str] = &["*"];
const TEXT: &[&str] = &["nlp"];

/// Logs that alpha and bravo both have in [`differing`].
const SAME: u32 = 20;

/// How long two nodes may take to become equal: two rounds of comparing.
const EQUAL_MS: u64 = 40_000;

fn is_equal(world: &World) -> bool {
    world.nodes[0].core.logs().heads() == world.nodes[1].core.logs().heads()
}

fn asked(world: &World, name: &str) -> u64 {
    world.asked.get(name).copied().unwrap_or_default()
}

/// Bytes of comparing in cells, both ways.
fn cells_bytes(world: &World) -> u64 {
    ["compare", "find"].iter().filter_map(|name| world.bytes.get(name)).sum()
}

/// alpha and bravo, not connected, with `same` logs that both have; ten of them have grown at alpha and five at bravo,
/// and each has three logs that the other has not.
fn differing(seed: u64, same: u32) -> World {
    let mut world = federation(seed, &[ALL, ALL]);
    let both = logs_of("alpha", same);
    for node in [0, 1] {
        world.give(node, &both);
    }
    for number in 0..10 {
        world.give(0, &log_of("alpha", number, 3)[1..]);
    }
    for number in 10..15 {
        world.give(1, &log_of("alpha", number, 2)[1..]);
    }
    for number in 0..3 {
        world.give(0, &log_of("alpha", 100_000 + number, 1));
        world.give(1, &log_of("bravo", number, 1));
    }
    world
}

// alpha --- bravo
#[test]
fn nodes_with_many_logs_become_equal_at_a_cost_that_follows_the_difference() {
    let cost = |same: u32| {
        let mut world = differing(40, same);
        world.connect(0, 1);
        assert!(world.converge(EQUAL_MS, is_equal), "{same} logs");
        let apart = cells_bytes(&world);
        world.run_for(3_000);
        let (bytes, requests) = (cells_bytes(&world), asked(&world, "compare"));
        world.run_for(60_000);
        let rounds = asked(&world, "compare") - requests;
        assert!(rounds >= 6, "both go on comparing: {rounds}");
        let each = (cells_bytes(&world) - bytes) / rounds;
        assert!(each < 600, "{each} bytes where nothing differs");
        assert_eq!(asked(&world, "heads"), 0);
        apart
    };
    let (few, many) = (cost(30), cost(1_500));
    // Twenty-one differences, seen from either side, at some 60 bytes each and two requests.
    assert!(few < 8_000 && many < 8_000, "{few} and {many} bytes; pages take {}", 2 * 1_500 * 50);
}

// alpha --- bravo, who has nothing more than alpha
#[test]
fn a_node_with_few_logs_asks_for_pages() {
    let mut world = federation(41, &[ALL, ALL]);
    world.give(0, &logs_of("alpha", 200));
    connect_all(&mut world);
    assert!(world.converge(EQUAL_MS, is_equal));
    assert!(asked(&world, "heads") > 0);
}

/// Bravo answers requests of comparisons in cells with this, and says how often it was asked.
fn answering(
    world: &mut World,
    answer: impl Fn(u32, &Request, Response) -> Response + 'static,
) -> Rc<Cell<u32>> {
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    let tamper: Tamper = Box::new(move |request, response| match request {
        Request::Compare(_) | Request::FindElements(_) => {
            counted.set(counted.get() + 1);
            answer(counted.get(), request, response)
        }
        _ => response,
    });
    world.nodes[1].tamper = Some(tamper);
    count
}

fn refused(reason: Reason, retry_after_ms: Option<u64>) -> Response {
    Response::Refused(Refusal { retry_after_ms, ..Refusal::new(reason, "no") })
}

// alpha --- bravo, who does not know cells
#[test]
fn a_peer_that_does_not_know_the_request_is_asked_for_pages_at_once_and_remembered() {
    let mut world = differing(42, SAME);
    let count = answering(&mut world, |_, _, _| refused(Reason::Invalid, None));
    world.connect(0, 1);
    assert!(world.converge(EQUAL_MS, is_equal));
    world.run_for(60_000);
    assert_eq!(count.get(), 1, "once in a connection");
    assert!(asked(&world, "heads") >= 4);
    world.disconnect(0, 1);
    world.connect(0, 1);
    world.run_for(3_000);
    assert_eq!(count.get(), 2, "it may be a newer version by now");
}

// alpha --- bravo, who is busy twice
#[test]
fn a_peer_that_is_busy_is_waited_for_as_long_as_it_says() {
    let mut world = differing(43, SAME);
    let count = answering(&mut world, |count, _, response| match count {
        1 | 2 => refused(Reason::Busy, Some(4_000)),
        _ => response,
    });
    world.connect(0, 1);
    world.run_for(3_500);
    assert_eq!(count.get(), 1, "not before its time");
    world.run_for(4_000);
    assert_eq!(count.get(), 2);
    assert!(world.converge(EQUAL_MS, is_equal));
    assert!(count.get() >= 3);
    assert_eq!(asked(&world, "heads"), 0, "it was waited for");
}

// alpha --- bravo, who is always busy
#[test]
fn a_peer_that_stays_busy_is_asked_for_pages_in_the_end() {
    let mut world = differing(44, SAME);
    let count = answering(&mut world, |_, _, _| refused(Reason::Busy, Some(u64::MAX)));
    world.connect(0, 1);
    world.run_for(50_000);
    assert_eq!(asked(&world, "heads"), 0);
    assert!(world.converge(60_000, is_equal));
    assert_eq!(asked(&world, "heads"), 1);
    assert_eq!(count.get(), 5);
    world.run_for(60_000);
    assert!(asked(&world, "heads") <= 2, "and waited for again afterwards");
}

// alpha --- bravo, who forgets comparisons
#[test]
fn a_comparison_that_is_over_at_the_peer_goes_on_in_pages() {
    let mut world = differing(45, SAME);
    let _count = answering(&mut world, |_, request, response| match request {
        Request::Compare(asked) if asked.from == 0 => response,
        _ => refused(Reason::Unknown, None),
    });
    world.connect(0, 1);
    assert!(world.converge(EQUAL_MS, is_equal));
    assert!(asked(&world, "heads") > 0);
}

// alpha --- bravo, whose cells are none
#[test]
fn a_peer_that_lies_in_cells_costs_no_more_than_the_pages_that_follow() {
    type Lie = fn(&Request, Response) -> Response;
    let lies: [(&str, Lie); 4] = [
        ("another length", |_, response| match response {
            Response::Cells(mut page) => {
                page.cells.push(0);
                Response::Cells(page)
            }
            other => other,
        }),
        ("an answer to something else", |_, _| Response::Records { records: Vec::new() }),
        ("names instead of cells", |_, _| Response::Elements(ByteBuf::from(vec![7; 40]))),
        ("names that were not asked for", |request, response| match request {
            Request::FindElements(_) => Response::Elements(ByteBuf::from(vec![7; 400])),
            _ => response,
        }),
    ];
    for (lie, tell) in lies {
        let mut world = differing(46, SAME);
        let count = answering(&mut world, move |_, request, response| tell(request, response));
        world.connect(0, 1);
        assert!(world.converge(EQUAL_MS, is_equal), "{lie}");
        world.run_for(60_000);
        assert!(count.get() <= 9, "{lie}: it is not asked for cells again, {}", count.get());
        let notes = world.nodes[0].notes.iter().filter(|note| note.contains("pages"));
        assert_eq!(notes.count(), 1, "{lie}: {:?}", world.nodes[0].notes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_peer_sends_as_cells_nothing_is_lost(
        // Zeros say that there is nothing, which a peer may say.
        noise in prop::collection::vec(1_u8.., 1..64),
        from in 1..6_u32,
    ) {
        let mut world = differing(47, SAME);
        let _count = answering(&mut world, move |count, _, response| match response {
            Response::Cells(mut page) if count >= from => {
                let noise = noise.iter().cycle();
                page.cells.iter_mut().zip(noise).for_each(|(byte, noise)| *byte = *noise);
                Response::Cells(page)
            }
            other => other,
        });
        world.connect(0, 1);
        prop_assert!(world.converge(2 * EQUAL_MS, is_equal));
        let heads = world.nodes[0].core.logs().heads();
        world.run_for(30_000);
        prop_assert_eq!(world.nodes[0].core.logs().heads(), heads);
    }
}

// alpha --- bravo (nlp only, later vision too)
#[test]
fn bodies_that_were_left_out_are_found_missing_by_a_comparison_in_cells_too() {
    let mut world = federation(48, &[ALL, TEXT]);
    let both = logs_of("alpha", SAME);
    world.give(0, &both);
    world.give(1, &both);
    connect_all(&mut world);
    for number in 0..9 {
        publish(&mut world, 0, &format!("model-{number}"), "vision/ocr");
    }
    world.run_for(2_000);
    assert!(listed(&world.nodes[1].core, "vision").is_empty());
    world.restart(1, |settings| settings.follows.push("vision".parse().unwrap()));
    world.connect(0, 1);
    let done = world.converge(60_000, |world| listed(&world.nodes[1].core, "vision").len() == 9);
    assert!(done, "{:?}", listed(&world.nodes[1].core, "vision"));
    assert_eq!(asked(&world, "heads"), 0);
}

/// The keys of the comparisons that alpha begins with twenty peers, with this seed.
fn keys(seed: &str) -> BTreeSet<Vec<u8>> {
    let mut world = federation(51, &[ALL]);
    world.give(0, &logs_of("alpha", SAME));
    let core = &mut world.nodes[0].core;
    let compare_seed = Hash::of(seed.as_bytes());
    core.set_settings(Settings { compare_seed, ..core.settings().clone() });
    let effects = greeted_by_twenty(core);
    let key = |effect: &Effect| match effect {
        Effect::Call { request: Request::Compare(asked), .. } => Some(cbor::encode(&asked.key)),
        _ => None,
    };
    effects.iter().filter_map(key).collect()
}

#[test]
fn no_two_comparisons_have_the_same_key_and_the_seed_decides() {
    let (one, other) = (keys("one"), keys("other"));
    assert_eq!((one.len(), other.len()), (8, 8));
    assert!(one.is_disjoint(&other));
}

/// Peers that were asked for cells.
fn compared(effects: &[Effect]) -> Vec<(CallId, PublicKey)> {
    let compared = |effect: &Effect| match effect {
        Effect::Call { call, peer, request: Request::Compare(_) } => Some((*call, *peer)),
        _ => None,
    };
    effects.iter().filter_map(compared).collect()
}

/// Twenty nodes of alpha's org say hello to its first one.
fn greeted_by_twenty(core: &mut Core) -> Vec<Effect> {
    let federation = core.federation().id();
    let hello = |number| {
        let node = another_node("alpha", number).node;
        let addresses = Vec::new();
        let delegation = node.delegation.clone();
        let hello = Hello { federation, delegation, addresses, now_ms: None };
        let (peer, request) = (node.public(), Request::Hello(hello));
        core.handle(START_MS, Event::Request { peer, reply: ReplyId(0), request })
    };
    (0..20).flat_map(hello).collect()
}

#[test]
fn eight_peers_are_compared_with_at_once_and_all_in_turn() {
    let mut world = federation(49, &[ALL]);
    world.give(0, &logs_of("alpha", SAME));
    let core = &mut world.nodes[0].core;
    let mut open = compared(&greeted_by_twenty(core));
    assert_eq!(open.len(), 8);
    assert!(compared(&core.handle(START_MS, Event::Tick)).is_empty(), "the others wait");
    let mut all: Vec<PublicKey> = open.iter().map(|(_, peer)| *peer).collect();
    while all.len() < 20 {
        for (call, _) in std::mem::take(&mut open) {
            // They never answer, which makes them due again at once.
            let event = Event::Response { call, result: Err("too late".into()) };
            let _effects = core.handle(START_MS, event);
        }
        open = compared(&core.handle(START_MS, Event::Tick));
        assert_eq!(open.len(), 8);
        let before = all.len();
        all.extend(open.iter().map(|(_, peer)| *peer));
        all.sort();
        all.dedup();
        assert!(all.len() == 20 || all.len() == before + 8, "who waits longest is first");
    }
}

#[test]
fn a_peer_that_goes_away_in_the_middle_leaves_room_for_another() {
    let mut world = federation(50, &[ALL]);
    world.give(0, &logs_of("alpha", SAME));
    let core = &mut world.nodes[0].core;
    let open = compared(&greeted_by_twenty(core));
    for (_, peer) in &open[..3] {
        let _effects = core.handle(START_MS, Event::Disconnected { peer: *peer });
    }
    let next = compared(&core.handle(START_MS, Event::Tick));
    assert_eq!(next.len(), 3);
    let result = Ok(Response::Heads(vec![LogHead { author: open[0].1, len: 1 }]));
    let late = core.handle(START_MS, Event::Response { call: open[0].0, result });
    assert!(late.is_empty(), "what comes late from who is gone changes nothing");
}
