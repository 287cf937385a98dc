//! Who is let in to ask, and what becomes of those who lie.

use guildhall_core::{CallId, DelegatedKey, Effect, Event, GossipId, ReplyId};
use guildhall_protocol::contract::Hardware;
use guildhall_protocol::limits::DELEGATION_MAX_LIFE_MS;
use guildhall_protocol::record::{Body, Position, Record};
use guildhall_protocol::statement::{Role, Signed};
use guildhall_protocol::wire::{
    Compare, CompareKey, CompareSet, FindElements, Hello, OfferRequest, Reason, Request, Response,
};
use guildhall_protocol::{Hash, PackageId, PublicKey, RunId};
use serde_bytes::ByteBuf;

use crate::fixture::{
    DAY_MS, START_MS, connect_all, federation, founding, identity, in_category, listed, publish,
    secret, stranger,
};
use guildhall_sim::World;

const ALL: &[&str] = &["*"];

/// What node 0 answers to a request of `peer`.
fn answer(world: &mut World, peer: PublicKey, request: Request) -> (Response, Vec<Effect>) {
    let now_ms = world.now_ms;
    let event = Event::Request { peer, reply: ReplyId(7), request };
    let mut effects = world.nodes[0].core.handle(now_ms, event);
    let is_answer = |effect: &Effect| matches!(effect, Effect::Respond { reply: ReplyId(7), .. });
    let at = effects.iter().position(is_answer).expect("an answer");
    match effects.remove(at) {
        Effect::Respond { response, .. } => (response, effects),
        _ => unreachable!(),
    }
}

/// Who is let in, and for which org.
fn admitted(effects: &[Effect]) -> Vec<(PublicKey, PublicKey)> {
    let admitted = effects.iter().filter_map(|effect| match effect {
        Effect::Admit { peer, org } => Some((*peer, *org)),
        _ => None,
    });
    admitted.collect()
}

fn hello(world: &World, delegation: Signed) -> Hello {
    let federation = world.nodes[0].core.federation().id();
    Hello { federation, delegation, addresses: Vec::new(), now_ms: None }
}

fn assert_refused(world: &mut World, peer: PublicKey, hello: Hello, word: &str) {
    let (response, effects) = answer(world, peer, Request::Hello(hello));
    let Response::Refused(refusal) = response else { panic!("{response:?}") };
    assert_eq!(refusal.reason, Reason::NotAdmitted);
    assert!(refusal.detail.contains(word), "{}", refusal.detail);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Admit { .. })));
    assert!(world.nodes[0].core.authority(&peer).is_none());
}

// alpha --- a stranger
#[test]
fn a_peer_that_is_not_admitted_is_refused_everything_but_hello_and_join() {
    let mut world = federation(1, &[ALL, ALL]);
    let peer = world.nodes[1].key();
    let now_ms = world.now_ms;
    let _effects = world.nodes[0].core.handle(now_ms, Event::Connected { peer });
    let offer = OfferRequest {
        run: RunId(Hash::of(b"run")),
        stages: vec![PackageId(Hash::of(b"package"))],
        engines: Vec::new(),
        memory_bytes: 0,
        hardware: Hardware::default(),
        isolation: 0,
        queue_ms: None,
        hold_ms: 0,
    };
    let key = CompareKey::from_bytes([7; 32]);
    let set = CompareSet::Heads;
    let short_ids = ByteBuf::from(vec![7; 8]);
    for request in [
        Request::Heads { after: None },
        Request::Compare(Compare { set, key, from: 0, count: 16 }),
        Request::FindElements(FindElements { set, key, short_ids }),
        Request::Pull { author: peer, from_seq: 0 },
        Request::Query(Box::new(in_category("vision"))),
        Request::Offer(Box::new(offer)),
    ] {
        let (response, _) = answer(&mut world, peer, request);
        let Response::Refused(refusal) = response else { panic!("{response:?}") };
        assert_eq!(refusal.reason, Reason::NotAdmitted);
        assert!(refusal.detail.contains("hello"), "{}", refusal.detail);
    }
    let (response, _) = answer(&mut world, peer, Request::Join { records: Vec::new() });
    assert!(matches!(response, Response::Refused(refusal) if refusal.reason == Reason::BadInvite));
    let good = hello(&world, identity("bravo").node.delegation);
    let (response, effects) = answer(&mut world, peer, Request::Hello(good.clone()));
    assert!(matches!(response, Response::Hello(_)));
    assert_eq!(admitted(&effects), [(peer, identity("bravo").root)], "with whose node it is");
    let (_, effects) = answer(&mut world, peer, Request::Hello(good));
    assert_eq!(admitted(&effects), [], "nothing new");
    let (response, _) = answer(&mut world, peer, Request::Heads { after: None });
    assert!(matches!(response, Response::Heads(_)));
    let first = Request::Compare(Compare { set, key, from: 0, count: 16 });
    let (response, _) = answer(&mut world, peer, first);
    assert!(matches!(response, Response::Cells(_)));
}

#[test]
fn a_hello_that_does_not_hold_is_refused_and_says_why() {
    let mut world = federation(2, &[ALL, ALL]);
    let bravo = identity("bravo");
    let peer = bravo.node.public();
    let root = secret("root of bravo");
    let node = || secret("node of bravo");
    let issue = |role, issued_ms, expires_ms| {
        DelegatedKey::issue(&root, node(), role, issued_ms, expires_ms).delegation
    };

    let good = hello(&world, bravo.node.delegation.clone());
    assert_refused(&mut world, stranger("thief"), good.clone(), "another key");

    let elsewhere = federation_id_of("mallory");
    let foreign = Hello { federation: elsewhere, ..good.clone() };
    assert_refused(&mut world, peer, foreign, "another federation");

    let expired = hello(&world, issue(Role::Node, START_MS - 2 * DAY_MS, START_MS - DAY_MS));
    assert_refused(&mut world, peer, expired, "expired");

    let producer = hello(&world, issue(Role::Producer, START_MS, START_MS + DAY_MS));
    assert_refused(&mut world, peer, producer, "role");

    let early = hello(&world, issue(Role::Node, START_MS + DAY_MS, START_MS + 2 * DAY_MS));
    assert_refused(&mut world, peer, early, "future");

    let long = hello(&world, issue(Role::Node, START_MS, START_MS + DELEGATION_MAX_LIFE_MS + 1));
    assert_refused(&mut world, peer, long, "90 days");

    let outsider = identity("mallory");
    let unknown = hello(&world, outsider.node.delegation.clone());
    assert_refused(&mut world, outsider.node.public(), unknown, "not a member");

    let mut forged = good.clone();
    forged.delegation.statement[10] ^= 1;
    assert_refused(&mut world, peer, forged, "delegation");
}

fn federation_id_of(org: &str) -> guildhall_protocol::FederationId {
    guildhall_protocol::statement::Founding::id(&founding(org))
}

// alpha --- bravo: the answer to alpha's hello arrives after the connection ended
#[test]
fn a_late_answer_to_a_hello_does_not_bring_a_peer_back() {
    let mut world = federation(3, &[ALL, ALL]);
    let peer = world.nodes[1].key();
    let now_ms = world.now_ms;
    let good = hello(&world, identity("bravo").node.delegation);
    let core = &mut world.nodes[0].core;
    let effects = core.handle(now_ms, Event::Connected { peer });
    let call = effects.iter().find_map(|effect| match effect {
        Effect::Call { call, request: Request::Hello(_), .. } => Some(*call),
        _ => None,
    });
    let call: CallId = call.unwrap();
    let _effects = core.handle(now_ms, Event::Disconnected { peer });
    let effects = core.handle(now_ms, Event::Response { call, result: Ok(Response::Hello(good)) });
    assert!(effects.is_empty(), "{effects:?}");
    assert!(!core.is_connected(&peer) && core.authority(&peer).is_none());
    let dialled = (0..10).any(|_| {
        let effects = core.handle(now_ms, Event::Tick);
        effects.iter().any(|effect| matches!(effect, Effect::Dial { .. }))
    });
    assert!(dialled, "it is known to be away");
}

#[test]
fn a_hello_that_is_faster_than_the_news_of_its_connection_counts() {
    let mut world = federation(4, &[ALL, ALL]);
    let peer = world.nodes[1].key();
    let good = hello(&world, identity("bravo").node.delegation);
    answer(&mut world, peer, Request::Hello(good));
    let now_ms = world.now_ms;
    let _effects = world.nodes[0].core.handle(now_ms, Event::Connected { peer });
    assert!(world.nodes[0].core.authority(&peer).is_some());
}

// alpha --- bravo, over and over, in other orders
#[test]
fn two_members_compare_their_logs_within_seconds_whichever_hello_is_first() {
    for seed in 0..50 {
        let mut world = federation(seed, &[ALL, ALL]);
        publish(&mut world, 0, "digits", "vision/ocr");
        publish(&mut world, 1, "names", "nlp/ner");
        world.connect(0, 1);
        let both =
            |world: &World| world.nodes.iter().all(|node| listed(&node.core, "*").len() == 2);
        assert!(world.converge(3_000, both), "seed {seed}");
    }
}

/// A listing's record at a position of alpha's producer log, by alpha's own key.
fn record_at(position: Position, name: &str) -> Record {
    let producer = identity("alpha").producer;
    let listing = crate::fixture::listing(federation_id_of("alpha"), name, "vision/ocr");
    let bytes = guildhall_protocol::cbor::encode(&listing);
    let body = Body { record_type: "listing", version: 1, bytes: &bytes };
    Record::write(&producer.secret, &producer.delegation, position, &body, START_MS).unwrap()
}

// alpha, on two machines --- bravo --- charlie
#[test]
fn a_forked_log_is_noted_and_stops_and_nothing_else_does() {
    let mut world = federation(5, &[ALL, ALL, ALL]);
    world.cut(0, 2);
    connect_all(&mut world);
    let first = publish(&mut world, 0, "digits", "vision/ocr");
    world.run_for(1_000);
    let twin = record_at(Position::default(), "twin");
    assert_ne!(first.id(), twin.id());
    let from = world.nodes[0].key();
    let gossip = |record: &Record| Event::Gossip {
        from,
        message: GossipId(0),
        bytes: record.bytes().to_vec(),
    };
    let now_ms = world.now_ms;
    let effects = world.nodes[1].core.handle(now_ms, gossip(&twin));
    assert!(format!("{effects:?}").contains("two records at position 0"), "{effects:?}");
    let next = record_at(Position { seq: 1, prev: Some(first.id()) }, "next");
    let effects = world.nodes[1].core.handle(now_ms, gossip(&next));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Store(_))));
    assert_eq!(world.nodes[1].core.logs().len_of(&first.header().author), 1);
    assert!(world.nodes[1].core.logs().fork_of(&first.header().author).is_some());

    publish(&mut world, 1, "names", "nlp/ner");
    world.describe(0);
    world.run_for(60_000);
    assert_eq!(listed(&world.nodes[2].core, "nlp"), ["bravo/names@1.0.0"]);
    assert_eq!(listed(&world.nodes[1].core, "vision"), ["alpha/digits@1.0.0"]);
}

#[test]
fn a_record_from_the_future_or_under_a_delegation_that_ran_out_is_not_taken() {
    let mut world = federation(6, &[ALL, ALL]);
    let record = record_at(Position::default(), "digits");
    let from = world.nodes[1].key();
    for now_ms in [START_MS - 6 * 60_000, record.delegation().expires_ms] {
        let bytes = record.bytes().to_vec();
        let event = Event::Gossip { from, message: GossipId(0), bytes };
        let effects = world.nodes[1].core.handle(now_ms, event);
        assert!(format!("{effects:?}").contains("verdict: Ignore"), "nobody here is to blame");
        assert!(format!("{effects:?}").contains("is not taken"));
        assert_eq!(world.nodes[1].core.logs().len_of(&record.header().author), 0);
    }
}

#[test]
fn an_answer_to_a_call_that_nobody_made_changes_nothing() {
    let mut world = federation(7, &[ALL, ALL]);
    let records = world.nodes[0].core.logs().records();
    for result in [Ok(Response::Heads(Vec::new())), Err("gone".to_owned())] {
        let event = Event::Response { call: CallId(u64::MAX), result };
        assert!(world.nodes[0].core.handle(START_MS, event).is_empty());
    }
    assert_eq!(world.nodes[0].core.logs().records(), records);
}
