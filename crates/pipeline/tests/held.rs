//! Questions that are held: whose turn is near, and what happens when each of them asks whenever a slot becomes free.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up should panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{org, package, secret};
use guildhall_pipeline::lease::{
    Asker, Book, GRANTED_PER_NODE_MAX, HOLD_MAX_MS, HOLD_PLACES_MAX, PLACE_GRACE_MS, Policy,
    RETRY_MS,
};
use guildhall_protocol::body::HardwareOffer;
use guildhall_protocol::contract::{Hardware, LimitSet};
use guildhall_protocol::wire::{JobInput, JobSpec, JobStage, Lease, OfferRequest, Reason, Refusal};
use guildhall_protocol::{Hash, PublicKey, RunId};
use proptest::prelude::*;

fn run(number: u64) -> RunId {
    RunId(Hash::of(&number.to_le_bytes()))
}

/// A node that lends some slots.
struct Lender {
    book: Book,
    offer: HardwareOffer,
    next: u64,
}

impl Lender {
    fn new(slots: u32) -> Self {
        let offer = HardwareOffer { slots, ..HardwareOffer::default() };
        Self { book: Book::default(), offer, next: 0 }
    }

    /// The org's node asks and lets its question be held.
    fn ask(&mut self, now_ms: u64, name: &str, number: u64) -> Result<Lease, Refusal> {
        let request = OfferRequest {
            run: run(number),
            stages: vec![package("a")],
            engines: Vec::new(),
            memory_bytes: 1 << 20,
            hardware: Hardware::default(),
            isolation: 0,
            queue_ms: None,
            hold_ms: HOLD_MAX_MS,
        };
        let policy = Policy { offer: Some(&self.offer), engines: &[], isolation: 0 };
        self.next += 1;
        let lease = Hash::of(&self.next.to_le_bytes());
        let (asker, node) = (org(name), node(name));
        self.book.grant(now_ms, &request, policy, (Asker::Member(&asker), node), lease)
    }

    /// The same; a lease is opened at once.
    fn take(&mut self, now_ms: u64, name: &str, number: u64) -> Result<Lease, Refusal> {
        let lease = self.ask(now_ms, name, number)?;
        let spec = JobSpec {
            lease: lease.lease,
            run: lease.run,
            nonce: lease.lease,
            stages: vec![JobStage {
                package: package("a"),
                engine: None,
                config: BTreeMap::new(),
                listing: LimitSet::default(),
            }],
            limits: LimitSet::default(),
            input: JobInput::Stream,
            holders: Vec::new(),
        };
        self.book.open(now_ms, &spec, node(name)).unwrap();
        Ok(lease)
    }

    fn is_near(&self, now_ms: u64, name: &str, number: u64) -> bool {
        self.book.is_near(now_ms, Asker::Member(&org(name)), node(name), run(number))
    }

    fn waiting(&self, now_ms: u64, name: &str) -> usize {
        self.book.standings(now_ms).get(&Some(org(name))).map_or(0, |one| one.waiting)
    }
}

fn node(name: &str) -> PublicKey {
    secret(name).public()
}

#[test]
fn the_first_places_are_near_and_who_leaves_makes_the_others_come_nearer() {
    let mut lender = Lender::new(1);
    lender.take(0, "holder", 0).unwrap();
    let last = HOLD_PLACES_MAX as u64 + 1;
    for number in 1..=last {
        let refusal = lender.ask(0, "lab", number).unwrap_err();
        assert_eq!(refusal.reason, Reason::Busy);
        // The first that is not near should be back when it may be.
        assert!(number < last || refusal.retry_after_ms == Some(RETRY_MS), "{refusal:?}");
        assert_eq!(lender.is_near(0, "lab", number), number < last, "{number}");
    }
    assert!(!lender.is_near(0, "lab", 99) && !lender.is_near(0, "mercy", 1), "never asked");
    lender.book.leave(Asker::Member(&org("lab")), node("lab"), run(1));
    assert_eq!(lender.waiting(0, "lab"), HOLD_PLACES_MAX);
    assert!(lender.ask(1, "lab", last).is_err());
    assert!(lender.is_near(1, "lab", last));
}

#[test]
fn a_place_lasts_for_as_long_as_its_question_is_held_and_who_left_holds_up_nobody() {
    let mut lender = Lender::new(1);
    let first = lender.take(0, "holder", 0).unwrap();
    assert!(lender.ask(0, "gone", 1).is_err() && lender.ask(0, "lab", 2).is_err());
    let held_ms = HOLD_MAX_MS + PLACE_GRACE_MS;
    assert_eq!(lender.waiting(held_ms - 1, "lab"), 1);
    assert_eq!(lender.waiting(held_ms, "lab"), 0);
    lender.book.leave(Asker::Member(&org("gone")), node("gone"), run(1));
    lender.book.close(&first.lease);
    assert!(lender.ask(1, "lab", 2).is_ok(), "no slot is kept for who left");
}

#[test]
fn a_node_with_leases_to_open_is_near_and_told_to_come_soon() {
    let mut lender = Lender::new(100);
    for number in 0..GRANTED_PER_NODE_MAX as u64 {
        assert!(lender.ask(0, "lab", number).is_ok());
    }
    let refusal = lender.ask(0, "lab", 9).unwrap_err();
    assert_eq!((refusal.reason, refusal.retry_after_ms), (Reason::Busy, Some(RETRY_MS)));
    assert!(lender.is_near(0, "lab", 9) && !lender.is_near(0, "mercy", 9));
}

/// A run that waits or is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waits,
    Works(Hash),
    Gone,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Runs of some orgs, one of which has most of them, end and give up at random; after each such event everybody who
    /// waits asks, in any order. Then no slot is free that somebody who waits may have, nobody got one while an org
    /// waited that held fewer, and nothing is left of who went away.
    #[test]
    fn when_all_who_wait_ask_at_every_event_no_slot_is_idle_and_orgs_take_turns(
        (slots, orgs, of_flood, seed) in (1..4_u32, 1..4_usize, 1..5_u64, any::<u64>()),
    ) {
        let mut lender = Lender::new(slots);
        let mut random = seed | 1;
        let mut draw = move |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % below.max(1) as u64).unwrap()
        };
        let mut runs: Vec<(String, u64, State)> = (0..of_flood)
            .map(|number| ("flood".to_owned(), number, State::Waits))
            .chain((0..orgs).map(|of| (format!("org-{of}"), 100 + of as u64, State::Waits)))
            .collect();
        let mut asked: BTreeSet<u64> = BTreeSet::new();
        let share = if slots > 1 { slots as usize - 1 } else { 1 };
        for event in 0..40_u64 {
            let now_ms = event * 100;
            let mut order: Vec<usize> = (0..runs.len()).collect();
            for place in 0..order.len() {
                let other = draw(order.len());
                order.swap(place, other);
            }
            for at in order {
                let (name, number, state) = runs[at].clone();
                if state != State::Waits {
                    continue;
                }
                let works = |name: &str| {
                    let of_org = runs.iter().filter(|(org, _, _)| org == name);
                    of_org.filter(|(_, _, state)| matches!(state, State::Works(_))).count()
                };
                match lender.take(now_ms, &name, number) {
                    Ok(lease) => {
                        let fewer = runs.iter().find(|(org, number, state)| {
                            let is_in = *state == State::Waits && asked.contains(number);
                            is_in && works(org) < works(&name)
                        });
                        prop_assert!(fewer.is_none(), "{name} before {fewer:?}");
                        runs[at].2 = State::Works(lease.lease);
                    }
                    Err(refusal) => {
                        prop_assert_eq!(refusal.reason, Reason::Busy);
                        prop_assert!(lender.is_near(now_ms, &name, number));
                        asked.insert(number);
                    }
                }
            }
            let mut held: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
            for (name, _, state) in &runs {
                let (works, waits) = held.entry(name).or_default();
                *works += usize::from(matches!(state, State::Works(_)));
                *waits += usize::from(*state == State::Waits);
            }
            let taken: usize = held.values().map(|(works, _)| works).sum();
            prop_assert!(taken <= slots as usize);
            for (name, (works, waits)) in &held {
                prop_assert_eq!(lender.waiting(now_ms, name), *waits);
                let may_have = taken < slots as usize && *works < share;
                prop_assert!(!may_have || *waits == 0, "{name} waits, a slot is free: {runs:?}");
            }
            // One that works ends, one that waits goes away, one that went away comes with another run.
            let at = draw(runs.len());
            runs[at].2 = match runs[at].2 {
                State::Works(lease) => {
                    lender.book.close(&lease);
                    State::Gone
                }
                State::Waits if draw(3) == 0 => {
                    let (name, number, _) = &runs[at];
                    lender.book.leave(Asker::Member(&org(name)), node(name), run(*number));
                    State::Gone
                }
                State::Waits => State::Waits,
                State::Gone => {
                    runs[at].1 += 1_000;
                    State::Waits
                }
            };
        }
    }
}
