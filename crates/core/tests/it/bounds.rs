//! What one peer can make a node do or keep, however much it sends.

use guildhall_core::{CallId, Core, Effect, Event, GossipId, ReplyId, Verdict};
use guildhall_protocol::record::{Body, Position, Record};
use guildhall_protocol::wire::{
    HEADS_PER_PAGE, Hello, LogHead, Reason, Refusal, Request, Response,
};
use guildhall_protocol::{Hash, PublicKey};

use crate::fixture::{
    DAY_MS, START_MS, add_alone, connect_all, federation, identity, in_category, members, publish,
};
use guildhall_sim::World;

const ALL: &[&str] = &["*"];

/// The first record of a log of an org that nobody knows.
fn of_stranger(number: u64) -> Record {
    let producer = identity_of(number);
    let body = Body { record_type: "later", version: 1, bytes: b"x" };
    let (secret, delegation) = (&producer.secret, &producer.delegation);
    Record::write(secret, delegation, Position::default(), &body, START_MS).unwrap()
}

fn identity_of(number: u64) -> guildhall_core::DelegatedKey {
    identity(&format!("stranger-{number}")).producer
}

fn calls(effects: &[Effect], peer: PublicKey) -> Vec<(CallId, &Request)> {
    let call = |effect| match effect {
        &Effect::Call { call, peer: to, ref request } if to == peer => Some((call, request)),
        _ => None,
    };
    effects.iter().filter_map(call).collect()
}

fn heads_calls(effects: &[Effect], peer: PublicKey) -> Vec<(CallId, Option<PublicKey>)> {
    let asked = |(call, request): (CallId, &Request)| match request {
        Request::Heads { after } => Some((call, *after)),
        _ => None,
    };
    calls(effects, peer).into_iter().filter_map(asked).collect()
}

fn gossip(core: &mut Core, from: PublicKey, record: &Record) -> Vec<Effect> {
    let bytes = record.bytes().to_vec();
    core.handle(START_MS, Event::Gossip { from, message: GossipId(0), bytes })
}

/// Alpha, with as many logs of strangers as it takes, sent by bravo; not connected.
fn full_of_strangers() -> (World, usize) {
    let mut world = federation(1, &[ALL, ALL]);
    let from = world.nodes[1].key();
    let core = &mut world.nodes[0].core;
    let before = core.logs().heads().len();
    let mut notes = 0;
    for number in 0..300 {
        let effects = gossip(core, from, &of_stranger(number));
        notes += effects.iter().filter(|effect| matches!(effect, Effect::Note(_))).count();
    }
    assert_eq!(notes, 1, "it is said, and not over and over");
    let kept = core.logs().heads().len() - before;
    (world, kept)
}

#[test]
fn logs_of_strangers_are_bounded_and_members_are_not_kept_out_by_them() {
    let (mut world, kept) = full_of_strangers();
    assert_eq!(kept, 256);
    let from = world.nodes[1].key();
    let effects = gossip(&mut world.nodes[0].core, from, &of_stranger(1_000));
    assert!(matches!(effects[0], Effect::Verdict { verdict: Verdict::Ignore, .. }));
    assert_eq!(effects.len(), 1);
    let record = publish(&mut world, 1, "digits", "vision/ocr");
    gossip(&mut world.nodes[0].core, from, &record);
    assert_eq!(world.nodes[0].core.logs().len_of(&record.header().author), 1);
}

// bravo --- xray, whom bravo invited; later alpha --- bravo
#[test]
fn a_node_with_no_room_for_strangers_learns_of_a_new_member_all_the_same() {
    let (mut world, _) = full_of_strangers();
    let newcomer = add_alone(&mut world, "xray", ALL);
    world.cut(0, newcomer);
    let invite = world.invite(1, DAY_MS);
    world.join(newcomer, 1, &invite).unwrap();
    assert!(world.converge(5_000, |world| members(world, 1).len() == 3));
    world.connect(0, 1);
    assert!(world.converge(40_000, |world| members(world, 0).len() == 3));
}

#[test]
fn a_record_that_waits_in_front_of_an_unknown_log_leaves_nothing_behind() {
    let mut world = federation(2, &[ALL, ALL]);
    let from = world.nodes[1].key();
    for number in 0..100 {
        let producer = identity_of(number);
        let body = Body { record_type: "later", version: 1, bytes: &[7; 10_000] };
        let at = Position { seq: 5, prev: Some(of_stranger(number).id()) };
        let record =
            Record::write(&producer.secret, &producer.delegation, at, &body, START_MS).unwrap();
        gossip(&mut world.nodes[0].core, from, &record);
    }
    assert_eq!(world.nodes[0].core.logs().waiting().records, 0);
}

fn page(from: u32, count: usize) -> Vec<LogHead> {
    let key = |number: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        PublicKey::from_bytes(bytes)
    };
    (from..).take(count).map(|number| LogHead { author: key(number), len: 1 }).collect()
}

/// Alpha, which has just asked bravo which logs it has.
fn comparing() -> (World, PublicKey, CallId) {
    let mut world = federation(3, &[ALL, ALL]);
    let peer = world.nodes[1].key();
    let hello = hello(&world);
    let request = Event::Request { peer, reply: ReplyId(0), request: Request::Hello(hello) };
    let effects = world.nodes[0].core.handle(START_MS, request);
    let asked = heads_calls(&effects, peer);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].1, None);
    (world, peer, asked[0].0)
}

fn hello(world: &World) -> Hello {
    let federation = world.nodes[0].core.federation().id();
    let delegation = identity("bravo").node.delegation;
    Hello { federation, delegation, addresses: Vec::new(), now_ms: None }
}

#[test]
fn heads_are_asked_for_page_by_page_until_a_short_one() {
    let (mut world, peer, mut call) = comparing();
    let core = &mut world.nodes[0].core;
    for number in 0..3 {
        let heads = page(number * HEADS_PER_PAGE as u32, HEADS_PER_PAGE);
        let last = heads.last().unwrap().author;
        let result = Ok(Response::Heads(heads));
        let effects = core.handle(START_MS, Event::Response { call, result });
        let asked = heads_calls(&effects, peer);
        assert_eq!(asked.iter().map(|(_, after)| *after).collect::<Vec<_>>(), [Some(last)]);
        call = asked[0].0;
    }
    let result = Ok(Response::Heads(page(1 << 30, 5)));
    let effects = core.handle(START_MS, Event::Response { call, result });
    assert!(heads_calls(&effects, peer).is_empty());
}

#[test]
fn a_peer_that_makes_up_logs_without_end_is_not_asked_without_end() {
    let (mut world, peer, mut call) = comparing();
    let core = &mut world.nodes[0].core;
    let mut pages = 0;
    loop {
        let heads = page(pages * HEADS_PER_PAGE as u32, HEADS_PER_PAGE);
        let result = Ok(Response::Heads(heads));
        let effects = core.handle(START_MS, Event::Response { call, result });
        pages += 1;
        match heads_calls(&effects, peer).first() {
            Some((next, _)) => call = *next,
            None => break,
        }
    }
    assert_eq!(pages, 128);
}

#[test]
fn a_page_that_does_not_go_on_behind_the_last_one_ends_the_comparison() {
    let mut unordered = page(0, HEADS_PER_PAGE);
    unordered.swap(3, 4);
    for bad in [page(0, HEADS_PER_PAGE), unordered, page(9_000, HEADS_PER_PAGE + 1)] {
        let (mut world, peer, call) = comparing();
        let core = &mut world.nodes[0].core;
        let result = Ok(Response::Heads(page(0, HEADS_PER_PAGE)));
        let effects = core.handle(START_MS, Event::Response { call, result });
        let call = heads_calls(&effects, peer)[0].0;
        let result = Ok(Response::Heads(bad));
        let effects = core.handle(START_MS, Event::Response { call, result });
        assert!(heads_calls(&effects, peer).is_empty());
        assert!(format!("{effects:?}").contains("no page"), "{effects:?}");
    }
}

#[test]
fn heads_are_served_page_by_page() {
    let (mut world, peer, _) = comparing();
    let core = &mut world.nodes[0].core;
    let others = core.logs().heads().len();
    for number in 0..HEADS_PER_PAGE as u64 {
        let _effects = core.load(&of_stranger(number));
    }
    let mut ask = |after| {
        let request = Request::Heads { after };
        let event = Event::Request { peer, reply: ReplyId(0), request };
        match core.handle(START_MS, event).remove(0) {
            Effect::Respond { response: Response::Heads(heads), .. } => heads,
            other => panic!("{other:?}"),
        }
    };
    let first = ask(None);
    assert_eq!(first.len(), HEADS_PER_PAGE);
    let second = ask(first.last().map(|head| head.author));
    assert_eq!(second.len(), others);
    let all: Vec<LogHead> = first.into_iter().chain(second).collect();
    assert_eq!(all, core.logs().heads());
}

#[test]
fn a_peer_that_is_slow_to_answer_is_greeted_once() {
    let mut world = federation(4, &[ALL, ALL]);
    let peer = world.nodes[1].key();
    let core = &mut world.nodes[0].core;
    let mut effects = core.handle(START_MS, Event::Connected { peer });
    for _ in 0..30 {
        effects.extend(core.handle(START_MS, Event::Tick));
    }
    let greetings = calls(&effects, peer);
    assert_eq!(greetings.len(), 1, "{greetings:?}");
    let result = Err("it took too long".to_owned());
    let call = greetings[0].0;
    let _effects = core.handle(START_MS, Event::Response { call, result });
    let again = core.handle(START_MS, Event::Tick);
    assert_eq!(calls(&again, peer).len(), 1, "and again once that is over");
}

#[test]
fn a_member_that_repeats_its_hello_is_compared_with_once_a_tick_at_most() {
    let (mut world, peer, call) = comparing();
    let hello = hello(&world);
    let core = &mut world.nodes[0].core;
    let repeat = |core: &mut Core| {
        let request = Request::Hello(hello.clone());
        core.handle(START_MS, Event::Request { peer, reply: ReplyId(0), request })
    };
    let mut effects: Vec<Effect> = (0..50).flat_map(|_| repeat(core)).collect();
    effects.extend(core.handle(START_MS, Event::Tick));
    assert!(heads_calls(&effects, peer).is_empty(), "one is under way");
    let result = Ok(Response::Heads(Vec::new()));
    let _effects = core.handle(START_MS, Event::Response { call, result });
    let effects: Vec<Effect> = (0..50).flat_map(|_| repeat(core)).collect();
    assert!(heads_calls(&effects, peer).is_empty());
    let effects = core.handle(START_MS, Event::Tick);
    assert_eq!(heads_calls(&effects, peer).len(), 1);
}

#[test]
fn a_peer_that_is_too_busy_for_a_pull_is_asked_again_soon() {
    let (mut world, peer, call) = comparing();
    let core = &mut world.nodes[0].core;
    let head = page(7, 1)[0];
    let result = Ok(Response::Heads(vec![head]));
    let effects = core.handle(START_MS, Event::Response { call, result });
    let call = calls(&effects, peer)[0].0;
    let result = Ok(Response::Refused(Refusal::new(Reason::Busy, "later")));
    let effects = core.handle(START_MS, Event::Response { call, result });
    assert!(calls(&effects, peer).is_empty(), "not at once");
    let effects = core.handle(START_MS, Event::Tick);
    assert_eq!(heads_calls(&effects, peer).len(), 1);
}

#[test]
fn a_verdict_does_not_wait_for_the_disk() {
    let mut world = federation(5, &[ALL, ALL]);
    let record = publish(&mut world, 1, "digits", "vision/ocr");
    let from = world.nodes[1].key();
    let effects = gossip(&mut world.nodes[0].core, from, &record);
    assert!(matches!(effects[0], Effect::Verdict { verdict: Verdict::Accept, .. }));
    assert!(matches!(effects[1], Effect::Store(_)), "{effects:?}");
}

#[test]
fn a_question_is_answered_although_the_clock_is_set_back() {
    let mut world = federation(6, &[&["nlp"], ALL]);
    connect_all(&mut world);
    let core = &mut world.nodes[0].core;
    let query = Box::new(in_category("vision"));
    let ask = Hash::of(b"ask");
    let _effects = core.handle(START_MS + DAY_MS, Event::Search { ask, query });
    let answered = (0..4).any(|_| {
        let effects = core.handle(START_MS, Event::Tick);
        effects.iter().any(|effect| matches!(effect, Effect::Answer { .. }))
    });
    assert!(answered);
}
