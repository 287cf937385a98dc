//! Answers that nobody may believe: unrelated, replaced, contradicting and endless ones. Each is counted for the node
//! that gave it, none is taken in, and what is true beside it counts.

use guildhall_catalog::Asked;
use guildhall_core::{Effect, Event, Found, NodeAsked, ReplyId, Settings};
use guildhall_protocol::api::AskOutcome;
use guildhall_protocol::body::{Listing, RecordBody};
use guildhall_protocol::limits::QUERY_MAX_RESULTS;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::query::Query;
use guildhall_protocol::record::{Body, Position, Record};
use guildhall_protocol::wire::{Request, Response};
use guildhall_protocol::{Hash, RecordId, cbor};
use serde_bytes::ByteBuf;

use crate::fixture::{
    connect_all, federation, id_of, identity, in_category, listed, listing, publish,
};
use guildhall_sim::World;

const VISION: &[&str] = &["vision"];
const TEXT: &[&str] = &["nlp"];

/// alpha and bravo (vision) --- charlie (nlp), who asks; alpha listed `digits`
fn three() -> World {
    let mut world = federation(21, &[VISION, VISION, TEXT]);
    connect_all(&mut world);
    publish(&mut world, 0, "digits", "vision/ocr");
    world.run_for(1_000);
    world
}

fn references(found: &Found) -> Vec<String> {
    found.results.iter().map(|suggestion| suggestion.reference.to_string()).collect()
}

/// Bravo answers every query with this, besides what it knows.
fn lie(world: &mut World, lies: Vec<ByteBuf>) {
    world.nodes[1].tamper = Some(Box::new(move |request, response| match (request, response) {
        (Request::Query(_), Response::Found { mut listings }) => {
            listings.extend(lies.iter().cloned());
            Response::Found { listings }
        }
        (_, response) => response,
    }));
}

fn bytes(record: &Record) -> ByteBuf {
    ByteBuf::from(record.bytes())
}

fn of_bravo(found: &Found) -> NodeAsked {
    found.nodes.iter().find(|asked| asked.org.as_str() == "bravo").unwrap().clone()
}

/// A listing at any position of its producer's log.
fn signed(org: &str, seq: u64, listing: &Listing) -> Record {
    let producer = identity(org).producer;
    let bytes = cbor::encode(listing);
    let body = Body { record_type: Listing::TYPE, version: Listing::VERSION, bytes: &bytes };
    let prev = (seq > 0).then(|| RecordId(Hash::of(&seq.to_le_bytes())));
    let position = Position { seq, prev };
    let at_ms = crate::fixture::START_MS;
    Record::write(&producer.secret, &producer.delegation, position, &body, at_ms).unwrap()
}

#[test]
fn true_listings_that_are_no_answer_are_refused_by_each_criterion_and_not_kept() {
    type Change<T> = fn(&mut T);
    let criteria: [(&str, Change<Query>, Change<Listing>); 5] = [
        ("category", |_| {}, |it| it.categories = vec!["audio/speech".parse().unwrap()]),
        ("kind", |it| it.kind = Some(Kind::Model), |it| it.kind = Kind::Notebook),
        ("org", |it| it.org = Some("alpha".parse().unwrap()), |_| {}),
        ("licence", |it| it.licence = Some("mit".into()), |it| it.licence = "GPL-3.0".into()),
        ("accuracy", |it| it.min_accuracy = Some(0.5), |it| it.claims.accuracy.clear()),
    ];
    for (criterion, narrow, change) in criteria {
        let mut world = three();
        let mut unrelated = listing(id_of(&world, 0), "unrelated", "vision/ocr");
        change(&mut unrelated);
        lie(&mut world, vec![bytes(&signed("bravo", 0, &unrelated))]);
        let mut query = in_category("vision");
        narrow(&mut query);
        let found = world.search(2, &query);
        assert_eq!(references(&found), ["alpha/digits@1.0.0"], "{criterion}");
        let bravo = of_bravo(&found);
        assert_eq!((bravo.listings, bravo.refused), (1, 1), "{criterion}");
        assert!(found.notes[0].contains("1 were no answer"), "{:?}", found.notes);
        assert_eq!(world.nodes[2].core.catalog().len(), 1, "{criterion}");
    }
}

#[test]
fn words_do_not_make_a_listing_unrelated() {
    let mut world = three();
    let query = Query { text: Some("whales".into()), share_text: true, ..in_category("vision") };
    let unlike = signed("bravo", 0, &listing(id_of(&world, 0), "unlike", "vision/ocr"));
    lie(&mut world, vec![bytes(&unlike)]);
    assert_eq!(of_bravo(&world.search(2, &query)).refused, 0);
}

#[test]
fn a_listing_that_was_replaced_is_refused_once_the_newer_one_is_known() {
    let mut world = three();
    let old = listing(id_of(&world, 0), "numerals", "vision/ocr");
    let new = Listing { summary: "better".into(), ..old.clone() };
    let (old, new) = (signed("alpha", 7, &old), signed("alpha", 8, &new));
    lie(&mut world, vec![bytes(&new), bytes(&old)]);
    let found = world.search(2, &in_category("vision"));
    assert_eq!((of_bravo(&found).listings, of_bravo(&found).refused), (2, 1));
    assert!(found.notes[0].contains("1 had been replaced"), "{:?}", found.notes);
    let summaries: Vec<&str> = found.results.iter().map(|it| it.summary.as_str()).collect();
    assert!(summaries.contains(&"better"), "{summaries:?}");
    assert_eq!(summaries.len(), 2);
}

#[test]
fn of_two_listings_at_one_place_of_a_log_the_second_is_refused() {
    let mut world = three();
    let one = signed("bravo", 5, &listing(id_of(&world, 0), "one", "vision/ocr"));
    let other = signed("bravo", 5, &listing(id_of(&world, 0), "other", "vision/ocr"));
    lie(&mut world, vec![bytes(&one), bytes(&other)]);
    let found = world.search(2, &in_category("vision"));
    assert_eq!(of_bravo(&found).refused, 1);
    assert!(found.notes[0].contains("1 contradicted"), "{:?}", found.notes);
    let mut references = references(&found);
    references.sort();
    assert_eq!(references, ["alpha/digits@1.0.0", "bravo/one@1.0.0"]);
}

#[test]
fn an_endless_answer_is_looked_at_up_to_its_bound_and_the_rest_is_counted() {
    let mut world = three();
    lie(&mut world, vec![ByteBuf::from(vec![7; 10]); 50_000]);
    let found = world.search(2, &in_category("vision"));
    let bravo = of_bravo(&found);
    assert_eq!((bravo.outcome, bravo.listings, bravo.refused), (AskOutcome::Answered, 1, 50_000));
    let beyond = 50_001 - QUERY_MAX_RESULTS;
    assert!(found.notes[0].contains(&format!("{beyond} came on top")), "{:?}", found.notes);
    assert_eq!(references(&found), ["alpha/digits@1.0.0"]);
    assert_eq!(world.asked["query"], 2, "and nobody asks it for more");
}

#[test]
fn a_liar_is_not_asked_for_its_next_page() {
    let mut world = three();
    let long = ByteBuf::from(vec![7; 60_000]);
    lie(&mut world, vec![long; 16]);
    let found = world.search(2, &in_category("vision"));
    assert_eq!((of_bravo(&found).listings, of_bravo(&found).refused), (1, 16));
    assert_eq!(world.asked["query"], 2);
}

#[test]
fn one_listing_over_and_over_is_one_listing() {
    let mut world = three();
    let digits = world.nodes[0].store.values().find(|it| it.header().record_type == Listing::TYPE);
    let digits = bytes(digits.unwrap());
    lie(&mut world, vec![digits; QUERY_MAX_RESULTS - 1]);
    let found = world.search(2, &in_category("vision"));
    assert_eq!((of_bravo(&found).listings, of_bravo(&found).refused), (1, 0));
}

/// What a node tells alpha of vision.
fn told(world: &mut World, node: usize) -> Vec<RecordId> {
    let request = Request::Query(Box::new(in_category("vision")));
    let event = Event::Request { peer: world.nodes[0].key(), reply: ReplyId(1), request };
    let now_ms = world.now_ms;
    let effects = world.nodes[node].core.handle(now_ms, event);
    let told = effects.into_iter().find_map(|effect| match effect {
        Effect::RespondListings { listings, .. } => Some(listings),
        _ => None,
    });
    told.unwrap()
}

#[test]
fn what_was_looked_up_is_passed_on_once_it_is_on_disk() {
    let mut world = three();
    world.run_for(16_000);
    world.weather.gossip_loss_percent = 100;
    let record = publish(&mut world, 0, "numerals", "vision/ocr");
    assert_eq!(world.search(2, &in_category("vision")).results.len(), 2);
    assert!(!told(&mut world, 2).contains(&record.id()), "it is in memory alone");
    let core = &mut world.nodes[2].core;
    let settings = Settings { follows: vec!["vision".parse().unwrap()], ..core.settings().clone() };
    core.set_settings(settings);
    world.describe(2);
    world.run_for(120_000);
    assert!(world.nodes[2].store.values().any(|it| it.id() == record.id() && it.body().is_some()));
    assert!(told(&mut world, 2).contains(&record.id()));
}

#[test]
fn what_was_looked_up_is_not_passed_on_as_ones_own() {
    let mut world = three();
    let beyond = signed("bravo", 9, &listing(id_of(&world, 0), "beyond", "vision/ocr"));
    lie(&mut world, vec![bytes(&beyond)]);
    assert_eq!(world.search(2, &in_category("vision")).results.len(), 2);
    let told = told(&mut world, 2);
    let digits = world.nodes[0].store.values().find(|it| it.header().record_type == Listing::TYPE);
    assert_eq!(told, [digits.unwrap().id()], "it is on disk here, the other is not");
}

#[test]
fn a_liar_is_replaced_by_another_holder() {
    let follows: [&[&str]; 5] = [VISION, VISION, VISION, VISION, TEXT];
    let mut world = federation(22, &follows);
    connect_all(&mut world);
    publish(&mut world, 0, "digits", "vision/ocr");
    world.run_for(1_000);
    for node in 0..4 {
        world.nodes[node].tamper = Some(Box::new(|request, response| match request {
            Request::Query(_) => Response::Found { listings: vec![ByteBuf::from([1])] },
            _ => response,
        }));
    }
    let found = world.search(4, &in_category("vision"));
    assert_eq!((found.asked, found.answered), (4, 4), "three liars are not enough");
    assert!(found.nodes.iter().all(|asked| asked.refused == 1));
    assert!(found.results.is_empty());
}

/// Listings as long as they may be, so that some twenty fill a message.
fn publish_long(world: &mut World, node: usize, count: usize) {
    for number in 0..count {
        let mut long = listing(id_of(world, node), &format!("long-{number:03}"), "vision/ocr");
        long.keywords = vec!["k".repeat(800); 60];
        world.publish(node, &long);
    }
}

#[test]
fn an_answer_longer_than_a_message_comes_page_by_page() {
    let mut world = federation(23, &[VISION, TEXT]);
    publish_long(&mut world, 0, 50);
    connect_all(&mut world);
    let before = world.asked.get("query").copied().unwrap_or_default();
    let found = world.search(1, &in_category("vision"));
    assert_eq!((found.results.len(), found.nodes[0].listings), (50, 50));
    assert_eq!(world.asked["query"] - before, 3);
    assert!(found.notes.is_empty(), "{:?}", found.notes);
}

#[test]
fn a_holder_that_knows_no_pages_is_asked_for_a_second_one_only_and_the_answer_says_so() {
    let mut world = federation(24, &[VISION, TEXT]);
    publish_long(&mut world, 0, 50);
    connect_all(&mut world);
    let first = world.nodes[0].core.catalog().find(&in_category("vision"), Asked::default());
    let store = &world.nodes[0].store;
    let record = |id| store.values().find(|record| record.id() == id).map(bytes);
    let page: Vec<ByteBuf> = first.iter().filter_map(|it| record(*it)).take(19).collect();
    world.nodes[0].tamper = Some(Box::new(move |request, response| match request {
        Request::Query(_) => Response::Found { listings: page.clone() },
        _ => response,
    }));
    let found = world.search(1, &in_category("vision"));
    assert_eq!((found.nodes[0].listings, found.nodes[0].refused), (19, 0));
    assert_eq!(world.asked["query"], 2);
    assert!(found.notes[0].contains("may know more"), "{:?}", found.notes);
}

#[test]
fn a_holder_with_more_answers_than_are_told_says_so_in_the_answer() {
    let mut world = federation(25, &[VISION, TEXT]);
    for number in 0..130 {
        publish(&mut world, 0, &format!("model-{number:03}"), "vision/ocr");
    }
    connect_all(&mut world);
    let found = world.search(1, &in_category("vision"));
    assert_eq!(found.nodes[0].listings, QUERY_MAX_RESULTS as u64);
    assert!(found.notes[0].contains("may know more"), "{:?}", found.notes);
    assert_eq!(listed(&world.nodes[1].core, "vision").len(), QUERY_MAX_RESULTS);
}
