//! Bytes that nobody meant: whatever a peer sends, a node goes on.

use guildhall_core::{CallId, Core, Effect, Event, GossipId, ReplyId, Verdict};
use guildhall_protocol::record::Record;
use guildhall_protocol::wire::{
    Compare, CompareKey, CompareSet, FindElements, LogHead, Request, Response, decode_message,
};
use guildhall_protocol::{Hash, PublicKey, cbor};
use proptest::prelude::*;
use serde_bytes::ByteBuf;

use crate::fixture::{START_MS, connect_all, federation, in_category, publish, stranger};
use guildhall_sim::World;

const ALL: &[&str] = &["*"];

fn pair() -> World {
    let mut world = federation(1, &[ALL, &["nlp"]]);
    connect_all(&mut world);
    publish(&mut world, 0, "digits", "vision/ocr");
    world.run_for(1_000);
    world
}

/// Bytes that look like a record up to some flips and cuts.
fn damaged(record: &Record, flips: &[(usize, u8)], cut: usize) -> Vec<u8> {
    let mut bytes = record.bytes().to_vec();
    for (at, flip) in flips {
        let at = at % bytes.len();
        bytes[at] ^= flip;
    }
    bytes.truncate(bytes.len() - cut % bytes.len());
    bytes
}

fn verdict_of(effects: &[Effect]) -> Verdict {
    let verdicts: Vec<Verdict> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Verdict { verdict, .. } => Some(*verdict),
            _ => None,
        })
        .collect();
    assert_eq!(verdicts.len(), 1, "one message, one verdict");
    verdicts[0]
}

fn check_invariants(core: &Core, records: u64) {
    assert_eq!(core.logs().records(), records, "nothing was taken in");
    assert_eq!(core.federation().members().count(), 2);
}

fn gossip(core: &mut Core, from: PublicKey, bytes: Vec<u8>) -> Verdict {
    let event = Event::Gossip { from, message: GossipId(0), bytes };
    verdict_of(&core.handle(START_MS, event))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_by_gossip_are_rejected(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..20),
    ) {
        let mut world = federation(1, &[ALL, ALL]);
        let from = world.nodes[1].key();
        let records = world.nodes[0].core.logs().records();
        for bytes in messages {
            prop_assert_eq!(gossip(&mut world.nodes[0].core, from, bytes), Verdict::Reject);
        }
        check_invariants(&world.nodes[0].core, records);
    }

    #[test]
    fn damaged_records_by_gossip_and_pulls_change_nothing(
        flips in prop::collection::vec((any::<usize>(), 1_u8..), 1..4),
        cut in prop_oneof![Just(0_usize), any::<usize>()],
        which in any::<prop::sample::Index>(),
    ) {
        let mut world = pair();
        let stored: Vec<Record> = world.nodes[0].store.values().cloned().collect();
        let bytes = damaged(which.get(&stored), &flips, cut);
        prop_assume!(Record::open(&bytes).is_err());
        let from = world.nodes[0].key();
        let records = world.nodes[1].core.logs().records();
        prop_assert_eq!(gossip(&mut world.nodes[1].core, from, bytes.clone()), Verdict::Reject);
        world.nodes[0].tamper = Some(Box::new(move |_, response| match response {
            Response::Records { .. } => Response::Records { records: vec![ByteBuf::from(bytes.clone())] },
            Response::Found { .. } => Response::Found { listings: vec![ByteBuf::from(bytes.clone())] },
            Response::Heads(mut heads) => {
                heads.iter_mut().for_each(|head| head.len = u64::MAX);
                heads.push(LogHead { author: stranger("nobody"), len: u64::MAX });
                Response::Heads(heads)
            }
            other => other,
        }));
        world.run_for(20_000);
        let found = world.search(1, &in_category("vision"));
        prop_assert!(found.results.is_empty());
        check_invariants(&world.nodes[1].core, records);
    }

    #[test]
    fn whatever_decodes_as_a_request_is_answered_once(
        flips in prop::collection::vec((any::<usize>(), any::<u8>()), 0..3),
        author in any::<[u8; 32]>(),
        from_seq in any::<u64>(),
        junk in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..4),
        which in 0..7_usize,
    ) {
        let mut world = pair();
        let (set, key) = (CompareSet::Heads, CompareKey::from_bytes(author));
        let author = PublicKey::from_bytes(author);
        let request = match which {
            0 => Request::Pull { author, from_seq },
            1 => Request::Join { records: junk.into_iter().map(ByteBuf::from).collect() },
            2 => Request::Query(Box::new(in_category("vision/ocr"))),
            3 => Request::Heads { after: None },
            4 => Request::Compare(Compare { set, key, from: 0, count: 16 }),
            5 => {
                let short_ids = ByteBuf::from(junk.concat());
                Request::FindElements(FindElements { set, key, short_ids })
            }
            _ => Request::Hello(guildhall_protocol::wire::Hello {
                federation: guildhall_protocol::FederationId(Hash::of(b"x")),
                delegation: crate::fixture::founding("mallory"),
                addresses: vec!["nonsense".into()],
                now_ms: None,
            }),
        };
        let mut bytes = cbor::encode(&request);
        for (at, flip) in flips {
            let at = at % bytes.len();
            bytes[at] ^= flip;
        }
        let Ok(request) = decode_message::<Request>(&bytes) else { return Ok(()) };
        let records = world.nodes[0].core.logs().records();
        for peer in [world.nodes[1].key(), stranger("somebody")] {
            let event = Event::Request { peer, reply: ReplyId(1), request: request.clone() };
            let effects = world.nodes[0].core.handle(START_MS, event);
            let answers = effects.iter().filter(|effect| matches!(
                effect,
                Effect::Respond { .. } | Effect::RespondRecords { .. } | Effect::RespondListings { .. }
            ));
            prop_assert_eq!(answers.count(), 1);
        }
        check_invariants(&world.nodes[0].core, records);
    }

    #[test]
    fn whatever_decodes_as_a_response_to_any_call_is_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        call in 0_u64..40,
        kind in 0..5_usize,
    ) {
        let mut world = pair();
        let response = match kind {
            0 => Response::Heads(vec![LogHead { author: stranger("x"), len: u64::MAX }]),
            1 => Response::Records { records: vec![ByteBuf::from(bytes)] },
            2 => Response::Found { listings: vec![ByteBuf::from(bytes)] },
            3 => Response::Joined { founding: crate::fixture::founding("mallory") },
            _ => match decode_message::<Response>(&bytes) {
                Ok(response) => response,
                Err(_) => return Ok(()),
            },
        };
        let records = world.nodes[0].core.logs().records();
        // A greeting, a comparison and a pull are under way when it comes.
        let peer = stranger("y");
        let mut effects = world.nodes[0].core.handle(START_MS, Event::Connected { peer });
        for _ in 0..16 {
            effects.extend(world.nodes[0].core.handle(START_MS, Event::Tick));
        }
        let open = effects.iter().filter_map(|effect| match effect {
            Effect::Call { call, .. } => Some(*call),
            _ => None,
        });
        for call in open.collect::<Vec<_>>().into_iter().chain([CallId(call)]) {
            let event = Event::Response { call, result: Ok(response.clone()) };
            let _effects = world.nodes[0].core.handle(START_MS, event);
        }
        check_invariants(&world.nodes[0].core, records);
    }
}
