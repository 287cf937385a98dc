//! Questions about categories that a node does not follow: asked over the DHT's hints, answered by members, verified.

use std::collections::BTreeSet;

use guildhall_protocol::api::{AskOutcome, Via};
use guildhall_protocol::record::Record;
use guildhall_protocol::wire::{Request, Response};
use serde_bytes::ByteBuf;

use crate::fixture::{
    assert_restart_changes_nothing, connect_all, federation, identity, in_category, listed,
    listing, publish, stranger,
};
use guildhall_sim::World;
use guildhall_sim::orgs::{another_node, founding, settings};

const ALL: &[&str] = &["*"];
const VISION: &[&str] = &["vision"];
const TEXT: &[&str] = &["nlp"];

/// alpha (everything) --- bravo (vision) --- charlie (nlp); alpha listed `digits`, of which charlie has the header.
fn three() -> World {
    let mut world = federation(1, &[ALL, VISION, TEXT]);
    connect_all(&mut world);
    publish(&mut world, 0, "digits", "vision/ocr");
    world.run_for(1_000);
    assert!(listed(&world.nodes[2].core, "vision").is_empty());
    world
}

fn references(found: &guildhall_core::Found) -> Vec<String> {
    found.results.iter().map(|suggestion| suggestion.reference.to_string()).collect()
}

#[test]
fn a_node_that_follows_the_category_answers_by_itself() {
    let mut world = three();
    let asked = world.asked.get("query").copied();
    let found = world.search(1, &in_category("vision/ocr"));
    assert_eq!((found.via, found.asked), (Via::Local, 0));
    assert_eq!(references(&found), ["alpha/digits@1.0.0"]);
    assert_eq!(world.asked.get("query").copied(), asked);
}

#[test]
fn a_node_that_does_not_follow_finds_a_listing_at_the_holders_that_the_dht_names() {
    let mut world = three();
    let found = world.search(2, &in_category("vision"));
    assert_eq!(found.via, Via::Dht);
    assert_eq!((found.holders, found.asked, found.answered), (2, 2, 2));
    assert_eq!(references(&found), ["alpha/digits@1.0.0"]);
    assert!(found.notes.is_empty(), "{:?}", found.notes);
    let suggestion = &found.results[0];
    assert!(!suggestion.terms.is_empty());
    let sum: f64 = suggestion.terms.iter().map(|term| term.contribution()).sum();
    assert!((sum - suggestion.score).abs() < 1e-9, "the terms explain the score");
    assert_restart_changes_nothing(&world, 2);
}

#[test]
fn strangers_who_push_themselves_into_the_dht_change_nothing() {
    let mut world = three();
    let honest = world.search(2, &in_category("vision"));
    for providers in world.dht.values_mut() {
        providers.extend((0..50).map(|number| stranger(&format!("junk {number}"))));
    }
    let found = world.search(2, &in_category("vision"));
    assert_eq!((found.via, found.holders), (honest.via, honest.holders));
    assert_eq!(references(&found), references(&honest));
    let nodes = |found: &guildhall_core::Found| -> Vec<_> {
        found.nodes.iter().map(|asked| asked.node).collect()
    };
    assert_eq!(nodes(&found), nodes(&honest));
}

#[test]
fn a_dht_of_strangers_only_leaves_it_to_the_members_own_words() {
    let mut world = three();
    for providers in world.dht.values_mut() {
        *providers = (0..50).map(|number| stranger(&format!("junk {number}"))).collect();
    }
    let found = world.search(2, &in_category("vision"));
    assert_eq!((found.via, found.holders), (Via::Members, 0));
    assert_eq!(references(&found), ["alpha/digits@1.0.0"]);
}

// alpha (everything), charlie (nlp), and 45 nodes of bravo that say they keep everything, lie, and are all that the DHT names
#[test]
fn a_member_whose_many_nodes_have_the_dht_to_themselves_hides_nothing_and_slips_nothing_in() {
    let mut world = three();
    let lies = lies(&world);
    let records: Vec<Record> = world.nodes[0].store.values().cloned().collect();
    for number in 0..45 {
        let who = (another_node("bravo", number), settings("bravo", ALL));
        let hostile = world.add(who, founding("alpha"), records.iter().cloned());
        let lies = lies.clone();
        world.nodes[hostile].tamper =
            Some(Box::new(move |request, response| match (request, response) {
                (Request::Query(_), Response::Found { .. }) => {
                    Response::Found { listings: lies.clone() }
                }
                (_, response) => response,
            }));
        (0..3).for_each(|other| world.connect(hostile, other));
    }
    world.run_for(10_000);
    let hostile: BTreeSet<_> = world.nodes[3..].iter().map(|node| node.key()).collect();
    world.dht.values_mut().for_each(|providers| providers.clone_from(&hostile));
    for (asker, category) in [(2, "vision"), (2, "vision/ocr")] {
        let found = world.search(asker, &in_category(category));
        assert_eq!(found.via, Via::Dht, "its nodes are members' nodes");
        assert!(found.holders > 30, "{} of them", found.holders);
        assert_eq!(references(&found), ["alpha/digits@1.0.0"]);
        assert!(found.nodes.iter().any(|asked| asked.refused > 0), "the liars were asked too");
    }
}

#[test]
fn an_empty_dht_leaves_it_to_the_members_own_words() {
    let mut world = three();
    world.dht.clear();
    let found = world.search(2, &in_category("vision/ocr"));
    assert_eq!((found.via, found.asked, found.answered), (Via::Members, 2, 2));
    assert_eq!(references(&found), ["alpha/digits@1.0.0"]);
}

#[test]
fn a_dht_that_does_not_answer_is_given_up_in_time_to_ask_the_members() {
    let mut world = three();
    world.dht_is_silent = true;
    let from = world.now_ms;
    let found = world.search(2, &in_category("vision/ocr"));
    assert_eq!(found.via, Via::Members);
    assert_eq!(references(&found), ["alpha/digits@1.0.0"]);
    assert!(world.now_ms - from < 4_000);
    assert!(found.notes.iter().any(|note| note.contains("DHT")), "{:?}", found.notes);
}

#[test]
fn a_member_that_follows_a_part_of_the_category_is_asked_too() {
    let mut world = federation(2, &[TEXT, &["vision/ocr"], &["audio"]]);
    connect_all(&mut world);
    publish(&mut world, 1, "digits", "vision/ocr");
    world.run_for(1_000);
    world.dht.clear();
    let found = world.search(2, &in_category("vision"));
    assert_eq!((found.via, found.asked), (Via::Members, 1));
    assert_eq!(references(&found), ["bravo/digits@1.0.0"]);
}

#[test]
fn a_category_is_not_its_namesake_with_more_letters() {
    let mut world = federation(3, &[&["vision"], &["audio"]]);
    connect_all(&mut world);
    let found = world.search(1, &in_category("visionary"));
    assert_eq!((found.via, found.asked), (Via::Members, 0));
}

#[test]
fn a_holder_that_is_away_is_dialled_and_asked() {
    let mut world = three();
    for other in [0, 1] {
        world.disconnect(2, other);
    }
    let found = world.search(2, &in_category("vision"));
    assert_eq!(found.answered, 2);
    assert_eq!(references(&found), ["alpha/digits@1.0.0"]);
}

#[test]
fn a_holder_that_cannot_be_reached_is_named_in_the_answer() {
    let mut world = three();
    world.cut(2, 0);
    let found = world.search(2, &in_category("vision"));
    assert_eq!((found.asked, found.answered), (2, 1));
    assert_eq!(references(&found), ["alpha/digits@1.0.0"]);
    assert!(found.notes.iter().any(|note| note.contains("did not answer")), "{:?}", found.notes);
}

/// Listings that nobody may believe: of a stranger, with a flipped bit, without its body, of another federation, not a
/// listing.
fn lies(world: &World) -> Vec<ByteBuf> {
    let mut other = World::new(99);
    let mallory = crate::fixture::add_alone(&mut other, "mallory", ALL);
    let id = world.nodes[0].core.federation().id();
    let of_stranger = other.publish(mallory, &listing(id, "fake", "vision/ocr"));
    let bravo = &world.nodes[1].core;
    let elsewhere = listing(other.nodes[mallory].core.federation().id(), "fake", "vision/ocr");
    let elsewhere = bravo.write_as_producer(&elsewhere, world.now_ms).unwrap();
    let true_one = world.nodes[0].store.values().find(|r| r.header().record_type == "listing");
    let true_one: &Record = true_one.unwrap();
    let mut broken = true_one.bytes().to_vec();
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    let node = world.nodes[0].store.values().find(|r| r.header().record_type == "node").unwrap();
    [of_stranger.bytes(), &broken, true_one.without_body().bytes(), elsewhere.bytes(), node.bytes()]
        .map(ByteBuf::from)
        .into()
}

#[test]
fn forged_and_foreign_listings_are_left_out_with_a_note_and_the_honest_ones_stay() {
    let mut world = three();
    let lies = lies(&world);
    let count = lies.len();
    world.nodes[1].tamper = Some(Box::new(move |request, response| match (request, response) {
        (Request::Query(_), Response::Found { .. }) => Response::Found { listings: lies.clone() },
        (_, response) => response,
    }));
    let found = world.search(2, &in_category("vision"));
    assert_eq!(references(&found), ["alpha/digits@1.0.0"]);
    assert_eq!(found.answered, 2);
    let note = format!("{count} listings ({count} did not verify) of a node of bravo");
    assert!(found.notes.iter().any(|said| said.starts_with(&note)), "{:?}", found.notes);
    let bravo = world.nodes[1].key();
    let liar = found.nodes.iter().find(|asked| asked.node == bravo).unwrap();
    assert_eq!((liar.outcome, liar.listings), (AskOutcome::Answered, 0));
    assert_eq!(liar.refused, count as u64);
    assert_restart_changes_nothing(&world, 2);
}

#[test]
fn a_listing_that_its_log_does_not_have_is_left_out() {
    let mut world = three();
    // Another record of alpha's own at the same position: alpha's log here says otherwise.
    let producer = identity("alpha").producer;
    let twin = listing(world.nodes[0].core.federation().id(), "twin", "vision/ocr");
    let bytes = guildhall_protocol::cbor::encode(&twin);
    let body =
        guildhall_protocol::record::Body { record_type: "listing", version: 1, bytes: &bytes };
    let position = guildhall_protocol::record::Position::default();
    let now_ms = world.now_ms;
    let twin = Record::write(&producer.secret, &producer.delegation, position, &body, now_ms);
    let twin = ByteBuf::from(twin.unwrap().bytes());
    world.nodes[1].tamper = Some(Box::new(move |request, response| match (request, response) {
        (Request::Query(_), Response::Found { .. }) => {
            Response::Found { listings: vec![twin.clone()] }
        }
        (_, response) => response,
    }));
    let found = world.search(2, &in_category("vision"));
    assert_eq!(references(&found), ["alpha/digits@1.0.0"]);
    let note = "1 listing (1 contradicted their author's log) of a node of bravo";
    assert!(found.notes.iter().any(|said| said.starts_with(note)), "{:?}", found.notes);
}

#[test]
fn free_text_stays_on_the_asking_node() {
    let mut world = three();
    for node in [0, 1] {
        world.nodes[node].tamper = Some(Box::new(|request, response| {
            if let Request::Query(query) = request {
                assert_eq!(query.text, None);
            }
            response
        }));
    }
    publish(&mut world, 0, "numerals", "vision/ocr");
    world.run_for(1_000);
    let query =
        guildhall_protocol::query::Query { text: Some("digits".into()), ..in_category("vision") };
    let found = world.search(2, &query);
    assert_eq!(references(&found)[0], "alpha/digits@1.0.0");
}

#[test]
fn a_question_without_a_category_goes_to_the_members() {
    let mut world = three();
    let query = guildhall_protocol::query::Query::default();
    let found = world.search(2, &query);
    assert_eq!(found.via, Via::Members);
    assert_eq!(references(&found), ["alpha/digits@1.0.0"]);
}

#[test]
fn more_questions_than_are_kept_open_are_answered_from_here_and_say_so() {
    let mut world = three();
    world.dht_is_silent = true;
    for number in 0_u64..256 {
        let ask = guildhall_protocol::Hash::of(&number.to_le_bytes());
        let query = Box::new(in_category("vision"));
        world.drive(2, guildhall_core::Event::Search { ask, query });
    }
    let found = world.search(2, &in_category("vision"));
    assert_eq!(found.via, Via::Local);
    assert!(found.notes[0].contains("too many"), "{:?}", found.notes);
    world.run_for(5_000);
    assert_eq!(world.nodes[2].found.len(), 256, "none is forgotten");
}
