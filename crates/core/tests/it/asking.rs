//! Whom a question is put to, how long for, and what is remembered of the answers.

use guildhall_core::{Event, Found, NodeAsked};
use guildhall_protocol::Hash;
use guildhall_protocol::api::{AskOutcome, Via};
use guildhall_protocol::query::Query;
use guildhall_protocol::wire::{Reason, Refusal, Request, Response};

use crate::fixture::{
    DAY_MS, ORGS, another_node, connect_all, federation, founding, in_category, publish, settings,
};
use guildhall_sim::World;

const ALL: &[&str] = &["*"];
const VISION: &[&str] = &["vision"];
const TEXT: &[&str] = &["nlp"];

/// Longer than a request may take.
const FOR_EVER_MS: u64 = DAY_MS;

/// `holders` nodes that follow vision, and last one that does not and is connected with them all; the first listed
/// `digits`.
fn holders(count: usize) -> (World, usize) {
    let follows: Vec<&[&str]> = std::iter::repeat_n(VISION, count).chain([TEXT]).collect();
    let mut world = federation(7, &follows);
    connect_all(&mut world);
    publish(&mut world, 0, "digits", "vision/ocr");
    world.run_for(2_000);
    (world, count)
}

fn references(found: &Found) -> Vec<String> {
    found.results.iter().map(|suggestion| suggestion.reference.to_string()).collect()
}

fn outcomes(found: &Found) -> Vec<AskOutcome> {
    found.nodes.iter().map(|asked| asked.outcome).collect()
}

fn queries(world: &World) -> u64 {
    world.asked.get("query").copied().unwrap_or_default()
}

/// The nodes in the order in which a question is put to them.
fn order(count: usize, query: &Query) -> Vec<usize> {
    let (mut world, asker) = holders(count);
    (0..count).for_each(|node| world.nodes[node].ponders_ms = FOR_EVER_MS);
    let found = world.search(asker, query);
    found.nodes.iter().map(|asked| world.index_of(&asked.node).unwrap()).collect()
}

fn start(world: &mut World, node: usize, query: &Query, name: &str) -> Hash {
    let ask = Hash::of(name.as_bytes());
    world.drive(node, Event::Search { ask, query: Box::new(query.clone()) });
    ask
}

#[test]
fn three_holders_are_asked_and_no_more_while_they_answer() {
    let (mut world, asker) = holders(6);
    let found = world.search(asker, &in_category("vision"));
    assert_eq!((found.via, found.holders), (Via::Dht, 6));
    assert_eq!((found.asked, found.answered, queries(&world)), (3, 3, 3));
    assert_eq!(outcomes(&found), [AskOutcome::Answered; 3]);
    assert!(found.nodes.iter().all(|asked| asked.listings == 1 && asked.refused == 0));
    assert_eq!(references(&found), ["alpha/digits@1.0.0"]);
    assert_eq!(found.age_s, Some(0));
    assert!(found.notes.is_empty(), "{:?}", found.notes);
}

#[test]
fn each_node_in_the_answer_is_named_with_its_org() {
    let (mut world, asker) = holders(3);
    let found = world.search(asker, &in_category("vision"));
    let mut orgs: Vec<&str> = found.nodes.iter().map(|asked| asked.org.as_str()).collect();
    orgs.sort_unstable();
    assert_eq!(orgs, &ORGS[..3]);
}

#[test]
fn a_slow_holder_has_another_one_asked_besides_and_is_not_waited_for() {
    let query = in_category("vision");
    let first = order(6, &query)[0];
    let (mut world, asker) = holders(6);
    world.nodes[first].ponders_ms = FOR_EVER_MS;
    let from_ms = world.now_ms;
    let found = world.search(asker, &query);
    assert_eq!((found.asked, found.answered), (4, 3));
    assert_eq!(outcomes(&found)[0], AskOutcome::Late);
    assert_eq!(references(&found), ["alpha/digits@1.0.0"]);
    assert!(world.now_ms - from_ms < 2_000, "the deadline is not waited for");
    assert!(found.notes.is_empty(), "three are enough: {:?}", found.notes);
}

#[test]
fn a_holder_that_refuses_has_another_one_asked_at_once() {
    let query = in_category("vision");
    let first = order(6, &query)[0];
    let (mut world, asker) = holders(6);
    world.nodes[first].tamper = Some(Box::new(|request, response| match request {
        Request::Query(_) => Response::Refused(Refusal::new(Reason::Busy, "later")),
        _ => response,
    }));
    let found = world.search(asker, &query);
    assert_eq!((found.asked, found.answered), (4, 3));
    assert_eq!(outcomes(&found)[0], AskOutcome::Refused);
}

#[test]
fn at_the_deadline_there_is_an_answer_that_names_everybody_who_was_silent() {
    let (mut world, asker) = holders(6);
    (0..6).for_each(|node| world.nodes[node].ponders_ms = FOR_EVER_MS);
    let found = world.search(asker, &in_category("vision"));
    assert_eq!((found.asked, found.answered), (6, 0));
    assert_eq!(outcomes(&found), [AskOutcome::Late; 6]);
    assert!(found.results.is_empty());
    assert!(found.nodes.iter().all(|asked| asked.ms > 0));
    assert!(found.notes[0].starts_with("6 nodes did not answer"), "{:?}", found.notes);
    assert!(found.age_s.is_some(), "what is known here has an age");
}

#[test]
fn nodes_that_keep_a_part_are_asked_besides_three_that_keep_the_whole() {
    let follows: [&[&str]; 5] = [&["vision/ocr"], ALL, &["vision/depth"], VISION, TEXT];
    let mut world = federation(9, &follows);
    connect_all(&mut world);
    let found = world.search(4, &in_category("vision"));
    assert_eq!((found.asked, found.answered), (4, 4), "two alone are not enough");
    let found = world.search(4, &in_category("vision/ocr"));
    assert_eq!((found.asked, found.answered), (3, 3), "depth has nothing of it");
    assert!(found.nodes.iter().all(|asked| asked.org.as_str() != "charlie"));
}

#[test]
fn no_org_alone_gives_the_answer_however_many_nodes_it_has() {
    let follows: [&[&str]; 4] = [VISION, VISION, VISION, TEXT];
    let mut world = federation(13, &follows);
    for number in 0..12 {
        let who = (another_node("bravo", number), settings("bravo", VISION));
        let records: Vec<_> = world.nodes[0].store.values().cloned().collect();
        world.add(who, founding("alpha"), records);
    }
    connect_all(&mut world);
    publish(&mut world, 0, "digits", "vision/ocr");
    world.run_for(20_000);
    let found = world.search(3, &in_category("vision"));
    assert_eq!(found.holders, 15);
    let mut orgs: Vec<&str> = found.nodes.iter().map(|asked| asked.org.as_str()).collect();
    orgs.sort_unstable();
    assert_eq!(orgs, ["alpha", "bravo", "charlie"]);
}

#[test]
fn an_org_is_asked_for_what_it_listed_whatever_it_follows() {
    let mut world = federation(10, &[TEXT, VISION, &["audio"]]);
    connect_all(&mut world);
    publish(&mut world, 0, "whisper", "audio/speech");
    world.run_for(1_000);
    let query = Query { org: Some("alpha".parse().unwrap()), ..Query::default() };
    let found = world.search(1, &query);
    assert_eq!(found.nodes[0].org.as_str(), "alpha");
    assert_eq!(references(&found), ["alpha/whisper@1.0.0"]);
}

#[test]
fn a_category_that_nobody_holds_is_answered_at_once_with_nobody_asked() {
    let (mut world, asker) = holders(3);
    world.run_for(20_000);
    let found = world.search(asker, &in_category("robotics/grasping"));
    assert_eq!((found.via, found.asked, queries(&world)), (Via::Members, 0, 0));
    assert!(found.results.is_empty());
    assert!(found.age_s.is_some_and(|age_s| age_s < 20), "{:?}", found.age_s);
}

#[test]
fn a_query_for_this_node_alone_asks_nobody_although_others_know_more() {
    let (mut world, asker) = holders(3);
    let query = Query { local: true, ..in_category("vision") };
    let found = world.search(asker, &query);
    assert_eq!((found.via, found.asked, queries(&world)), (Via::Local, 0, 0));
    assert!(found.results.is_empty());
}

#[test]
fn a_repeated_question_asks_nobody_and_has_the_same_answer() {
    let (mut world, asker) = holders(6);
    let query = in_category("vision");
    let first = world.search(asker, &query);
    world.run_for(9_000);
    world.dht_is_silent = true;
    let refined = Query { text: Some("digits".into()), limit: 5, facets: true, ..query };
    let again = world.search(asker, &refined);
    assert_eq!(references(&again), references(&first));
    assert_eq!(queries(&world), 3, "the words stay here, so it is the same question");
    assert_eq!(outcomes(&again), [AskOutcome::Remembered; 3]);
    assert_eq!((again.via, again.holders), (first.via, first.holders));
    assert_eq!((again.asked, again.answered), (3, 3));
    assert_eq!(again.age_s, Some(9));
    assert!(again.nodes.iter().all(|asked| (8_000..10_000).contains(&asked.ms)), "{again:?}");
}

#[test]
fn shared_words_make_another_question() {
    let (mut world, asker) = holders(3);
    let query = in_category("vision");
    world.search(asker, &query);
    let shared = Query { text: Some("digits".into()), share_text: true, ..query };
    world.search(asker, &shared);
    assert_eq!(queries(&world), 6);
}

#[test]
fn an_answer_is_forgotten_after_half_a_minute() {
    let (mut world, asker) = holders(3);
    world.search(asker, &in_category("vision"));
    world.run_for(31_000);
    let again = world.search(asker, &in_category("vision"));
    assert_eq!(outcomes(&again), [AskOutcome::Answered; 3]);
    assert_eq!(queries(&world), 6);
}

#[test]
fn a_listing_that_is_heard_of_ends_what_is_remembered_of_its_questions_only() {
    let (mut world, asker) = holders(3);
    let (vision, ocr) = (in_category("vision/depth"), in_category("vision/ocr"));
    world.search(asker, &vision);
    world.search(asker, &ocr);
    publish(&mut world, 1, "numerals", "vision/ocr");
    world.run_for(1_000);
    let found = world.search(asker, &ocr);
    assert_eq!(outcomes(&found), [AskOutcome::Answered; 3]);
    assert_eq!(found.results.len(), 2);
    let other = world.search(asker, &vision);
    assert_eq!(outcomes(&other), [AskOutcome::Remembered; 3]);
}

#[test]
fn what_a_holder_says_right_after_a_new_listing_is_not_remembered_for_long() {
    let (mut world, asker) = holders(1);
    let query = in_category("vision");
    world.search(asker, &query);
    // The asker hears of it before the holder has taken it in.
    world.nodes[0].tamper = Some(Box::new(|request, response| match request {
        Request::Query(_) => Response::Found { listings: Vec::new() },
        _ => response,
    }));
    publish(&mut world, 0, "numerals", "vision/ocr");
    world.run_for(200);
    assert_eq!(world.search(asker, &query).results.len(), 1);
    world.nodes[0].tamper = None;
    world.run_for(4_000);
    assert_eq!(world.search(asker, &query).results.len(), 2);
}

#[test]
fn nodes_that_keep_parts_are_all_asked_at_once() {
    let ocr: &[&str] = &["vision/ocr"];
    let mut world = federation(12, &[ocr, ocr, ocr, ocr, ocr, TEXT]);
    connect_all(&mut world);
    (0..5).for_each(|node| world.nodes[node].ponders_ms = 900);
    start(&mut world, 5, &in_category("vision"), "parts");
    assert!(world.converge(1_000, |world| queries(world) > 0));
    assert_eq!(queries(&world), 5);
}

#[test]
fn the_same_question_asked_twice_at_once_is_put_to_the_holders_once() {
    let (mut world, asker) = holders(4);
    let query = in_category("vision");
    let named = Query { text: Some("digits".into()), ..query.clone() };
    let asks = [start(&mut world, asker, &query, "one"), start(&mut world, asker, &named, "two")];
    let answered =
        |world: &World| asks.iter().all(|ask| world.nodes[asker].found.contains_key(ask));
    assert!(world.converge(5_000, answered));
    assert_eq!(queries(&world), 3);
    let [one, two] = asks.map(|ask| world.nodes[asker].found[&ask].clone());
    assert_eq!(references(&one), references(&two));
    let score = |found: &Found| found.results[0].score;
    assert_ne!(score(&one), score(&two), "each is ranked by its own words");
}

/// alpha and bravo, which know each other's listings by their headers only --- charlie, who asks
fn two_halves() -> World {
    let mut world = federation(11, &[VISION, VISION, TEXT]);
    connect_all(&mut world);
    world.cut(0, 1);
    world.weather.gossip_loss_percent = 100;
    publish(&mut world, 0, "digits", "vision/ocr");
    publish(&mut world, 1, "numerals", "vision/ocr");
    world.run_for(20_000);
    world
}

fn of(world: &World, found: &Found, node: usize) -> NodeAsked {
    let key = world.nodes[node].key();
    found.nodes.iter().find(|asked| asked.node == key).unwrap().clone()
}

#[test]
fn what_comes_too_late_for_one_answer_is_in_the_next() {
    let mut world = two_halves();
    world.nodes[1].ponders_ms = 7_000;
    let found = world.search(2, &in_category("vision"));
    assert_eq!(references(&found), ["alpha/digits@1.0.0"]);
    assert_eq!(of(&world, &found, 1).outcome, AskOutcome::Late);
    let asked = queries(&world);
    let found = world.search(2, &in_category("vision"));
    assert_eq!(of(&world, &found, 1).outcome, AskOutcome::Late, "nobody waits for it twice");
    world.run_for(7_000);
    let found = world.search(2, &in_category("vision"));
    assert_eq!(found.results.len(), 2);
    assert_eq!(outcomes(&found), [AskOutcome::Remembered; 2]);
    assert_eq!(queries(&world), asked, "one call is enough");
}

#[test]
fn a_node_that_was_silent_holds_up_one_search_and_not_the_next_ones() {
    let mut world = two_halves();
    world.nodes[1].ponders_ms = FOR_EVER_MS;
    let from_ms = world.now_ms;
    world.search(2, &in_category("vision"));
    assert!(world.now_ms - from_ms > 2_500, "the first waits for it");
    let from_ms = world.now_ms;
    let found = world.search(2, &in_category("vision/ocr"));
    assert_eq!(of(&world, &found, 1).outcome, AskOutcome::Late);
    assert_eq!(of(&world, &found, 0).outcome, AskOutcome::Answered);
    assert!(world.now_ms - from_ms < 1_000, "the second does not");
    assert!(found.notes[0].contains("1 node did not answer: bravo"), "{:?}", found.notes);
    // Where nobody else answers, both are waited for all the same.
    world.nodes[0].ponders_ms = FOR_EVER_MS;
    world.search(2, &in_category("vision/pose"));
    world.nodes[1].ponders_ms = 1_500;
    let found = world.search(2, &in_category("vision/depth"));
    assert_eq!(of(&world, &found, 1).outcome, AskOutcome::Answered);
    // And one has answered, so that it is waited for again.
    world.nodes[0].ponders_ms = 0;
    let found = world.search(2, &in_category("vision/segmentation"));
    assert_eq!(of(&world, &found, 1).outcome, AskOutcome::Answered);
}

#[test]
fn a_holder_that_failed_is_asked_again_after_a_while_and_once_it_is_back() {
    let mut world = two_halves();
    world.cut(2, 1);
    let found = world.search(2, &in_category("vision"));
    assert_eq!(of(&world, &found, 1).outcome, AskOutcome::Unreachable);
    let from_ms = world.now_ms;
    let found = world.search(2, &in_category("vision"));
    assert_eq!(of(&world, &found, 1).outcome, AskOutcome::Unreachable);
    assert!(world.now_ms - from_ms < 1_000, "it is not waited for again at once");
    world.mend(2, 1);
    world.run_for(1_000);
    let found = world.search(2, &in_category("vision"));
    assert_eq!(of(&world, &found, 1).outcome, AskOutcome::Answered);
    assert_eq!(found.results.len(), 2);
}

#[test]
fn what_is_known_by_comparison_has_the_age_of_the_last_one() {
    let (mut world, _) = holders(2);
    world.run_for(20_000);
    world.cut(0, 1);
    world.cut(0, 2);
    world.run_for(60_000);
    let found = world.search(0, &in_category("vision"));
    assert_eq!(found.via, Via::Local);
    assert!(found.age_s.is_some_and(|age_s| (58..=76).contains(&age_s)), "{:?}", found.age_s);
    let mut alone = World::new(1);
    let node = crate::fixture::add_alone(&mut alone, "alpha", ALL);
    assert_eq!(alone.search(node, &in_category("vision")).age_s, None);
}

#[test]
fn an_org_that_asks_too_much_is_told_so_and_others_are_served() {
    let (mut world, asker) = holders(2);
    let mut refused = 0;
    for number in 0..200 {
        let query = Box::new(Query { max_len_bytes: Some(number), ..in_category("vision") });
        let peer = world.nodes[asker].key();
        let reply = guildhall_core::ReplyId(number);
        let event = Event::Request { peer, reply, request: Request::Query(query) };
        let now_ms = world.now_ms;
        for effect in world.nodes[0].core.handle(now_ms, event) {
            if let guildhall_core::Effect::Respond { response: Response::Refused(why), .. } = effect
            {
                assert_eq!(why.reason, Reason::Busy);
                assert!(why.detail.contains("a second"), "{}", why.detail);
                refused += 1;
            }
        }
    }
    assert!(refused > 100, "{refused}");
    let found = world.search(asker, &in_category("vision"));
    assert_eq!(of(&world, &found, 0).outcome, AskOutcome::Refused);
    let root = world.nodes[asker].core.identity().root;
    let core = &world.nodes[0].core;
    let served = core.queries_served().find(|(org, _)| **org == root).unwrap().1;
    assert_eq!(served.refused, refused + 1);
    assert_eq!(served.answered + served.refused, 201);
    world.run_for(11_000);
    let found = world.search(asker, &in_category("vision"));
    assert_eq!(of(&world, &found, 0).outcome, AskOutcome::Answered);
}
