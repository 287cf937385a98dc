//! Sessions for single requests: who joins which, whose end makes room, and that no bound is exceeded whatever happens.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up should panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::secret;
use guildhall_pipeline::sessions::{
    Book, CROWD, CROWDED_MS, Id, LIKE_SESSIONS_MAX, Opened, SESSIONS_MAX, SILENT_MAX, SILENT_MS,
    Turn,
};
use guildhall_protocol::{Hash, PublicKey, RunId};
use proptest::prelude::*;

/// Keys that random requests have: more than there may be sessions, so that the bound is met.
const KEYS: u8 = 100;

/// Nodes that random sessions are with.
const NODES: usize = 3;

fn run(number: u64) -> RunId {
    RunId(Hash::of(&number.to_le_bytes()))
}

fn node(number: usize) -> PublicKey {
    secret(&format!("node {number}")).public()
}

/// A session for `key` with a node, ready to serve.
fn opened(book: &mut Book<u8, ()>, key: u8, number: u64, with: PublicKey) -> Id {
    let Opened::New(id) = book.open(&key, run(number), true, ()) else { panic!("none is opened") };
    book.handle_asking(id, with);
    book.handle_ready(id);
    assert_eq!(book.check_invariants(), Ok(()));
    id
}

#[test]
fn whoever_asks_the_same_joins_and_another_is_opened_only_beside_a_crowd() {
    let mut book = Book::default();
    assert_eq!(book.ask(0, &1), Turn::Open { beside: None });
    let first = opened(&mut book, 1, 1, node(0));
    for _ in 0..CROWD {
        assert_eq!(book.ask(0, &1), Turn::Joined(first));
    }
    assert_eq!(book.ask(0, &1), Turn::Open { beside: Some(first) });
    let second = opened(&mut book, 1, 2, node(0));
    assert_eq!(book.ask(0, &1), Turn::Joined(second), "the one with less to do");
    // Who opens the first one for something does not open a second one.
    assert_eq!(book.open(&1, run(3), false, ()), Opened::Other(second));
}

#[test]
fn after_a_further_session_was_not_to_be_had_none_is_tried_for_a_while() {
    let mut book = Book::default();
    let first = opened(&mut book, 1, 1, node(0));
    while book.ask(0, &1) == Turn::Joined(first) {}
    let second = opened(&mut book, 1, 2, node(1));
    book.handle_over(10, second, false);
    assert_eq!(book.ask(10 + CROWDED_MS - 1, &1), Turn::Joined(first));
    assert_eq!(book.ask(10 + CROWDED_MS, &1), Turn::Open { beside: Some(first) });
}

#[test]
fn a_session_that_signs_is_found_by_its_run_and_takes_no_request() {
    let mut book = Book::default();
    let id = opened(&mut book, 1, 1, node(0));
    book.handle_closing(id);
    assert_eq!(book.of_run(run(1)), Some(id));
    assert!(!book.join(id));
    assert_eq!(book.ask(0, &1), Turn::Open { beside: None });
    // The node's answer may cross with the decision that it ends.
    book.handle_ready(id);
    assert!(!book.join(id));
    book.handle_over(0, id, true);
    assert_eq!((book.of_run(run(1)), book.len()), (None, 0));
}

#[test]
fn room_is_made_by_what_signs_then_what_is_idle_and_each_slot_is_promised_once() {
    let mut book = Book::default();
    let asked = |number| node(number);
    let busy = opened(&mut book, 1, 1, asked(0));
    assert!(book.join(busy));
    let idle = opened(&mut book, 2, 2, asked(0));
    let signing = opened(&mut book, 3, 3, asked(0));
    book.handle_closing(signing);
    let scoring = opened(&mut book, 4, 4, asked(0));
    assert!(book.join(scoring));
    book.handle_closing(scoring);
    opened(&mut book, 5, 5, asked(1));
    let Opened::New(opening) = book.open(&6, run(6), false, ()) else { panic!("it is opened") };
    book.handle_asking(opening, asked(0));

    let room: Vec<_> = std::iter::from_fn(|| book.make_room(asked(0))).collect();
    assert_eq!(room, [signing, idle, scoring], "and neither one in use nor one that has no slot");
    assert!(!book.join(idle), "what makes room takes no request");
    assert_eq!(book.check_invariants(), Ok(()));
    assert_eq!(book.ask(0, &1), Turn::Joined(busy));
}

#[test]
fn beyond_the_bound_a_request_for_something_new_opens_nothing_and_what_is_there_goes_on() {
    let mut book = Book::default();
    for number in 0..SESSIONS_MAX {
        // Two requests were told to open one before either did, as the last place shows.
        assert_eq!(book.ask(0, &(number as u8)), Turn::Open { beside: None });
        opened(&mut book, number as u8, number as u64, node(0));
    }
    assert_eq!(book.ask(0, &200), Turn::Full);
    assert_eq!(book.open(&200, run(200), false, ()), Opened::Full, "room was there when it asked");
    let first = book.of_run(run(0)).unwrap();
    for _ in 0..2 * CROWD {
        assert_eq!(book.ask(0, &0), Turn::Joined(first), "not one more, however crowded");
    }
    // One that signs still has its task, its stream and perhaps its slot.
    book.handle_closing(first);
    assert_eq!(book.ask(0, &200), Turn::Full);
    book.handle_over(0, first, true);
    assert_eq!(book.ask(0, &200), Turn::Open { beside: None });
}

#[test]
fn silent_nodes_are_left_alone_for_a_while_and_only_so_many_are_remembered() {
    let mut book = Book::<u8, ()>::default();
    book.note_silent(5, node(0));
    assert!(book.is_silent(4 + SILENT_MS, &node(0)));
    assert!(!book.is_silent(5 + SILENT_MS, &node(0)));
    for number in 0..=SILENT_MAX {
        book.note_silent(10 + number as u64, node(number));
        assert_eq!(book.check_invariants(), Ok(()));
    }
    assert!(!book.is_silent(10_000, &node(0)), "the first is forgotten");
    assert!(book.is_silent(10_000, &node(SILENT_MAX)));
}

/// Something that happens to a book. Numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    Ask(u8),
    /// One of those that were told to open a session does so.
    Open(usize),
    Leave(usize),
    Asking(usize, usize),
    Ready(usize),
    Closing(usize),
    Over(usize, bool),
    MakeRoom(usize),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let which = any::<usize>;
    prop_oneof![
        // Few keys are crowded, many are asked once.
        8 => prop_oneof![0..3_u8, 0..KEYS].prop_map(Step::Ask),
        8 => which().prop_map(Step::Open),
        2 => which().prop_map(Step::Leave),
        3 => (which(), 0..NODES).prop_map(|(one, node)| Step::Asking(one, node)),
        3 => which().prop_map(Step::Ready),
        1 => which().prop_map(Step::Closing),
        1 => (which(), any::<bool>()).prop_map(|(one, came)| Step::Over(one, came)),
        1 => (0..NODES).prop_map(Step::MakeRoom),
        1 => any::<u16>().prop_map(Step::Wait),
    ]
}

/// A book, and what its callers know.
struct Play {
    nodes: [PublicKey; NODES],
    book: Book<u8, u64>,
    now_ms: u64,
    runs: u64,
    /// Requests that were told to open a session: for what, and whether beside another.
    opening: Vec<(u8, bool)>,
    /// Requests that joined, and where.
    joined: Vec<Id>,
    live: BTreeMap<Id, Known>,
    promised: BTreeSet<Id>,
}

/// What is known of a session that is not over.
struct Known {
    key: u8,
    run: u64,
    is_closing: bool,
}

impl Play {
    fn new() -> Self {
        Self {
            nodes: std::array::from_fn(node),
            book: Book::default(),
            now_ms: 0,
            runs: 0,
            opening: Vec::new(),
            joined: Vec::new(),
            live: BTreeMap::new(),
            promised: BTreeSet::new(),
        }
    }

    fn one(&self, which: usize) -> Option<Id> {
        self.live.keys().nth(which % self.live.len().max(1)).copied()
    }

    fn join(&mut self, key: u8, id: Id) {
        let known = &self.live[&id];
        assert_eq!((known.key, known.is_closing), (key, false), "a session for it that takes it");
        self.joined.push(id);
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Ask(key) => match self.book.ask(self.now_ms, &key) {
                Turn::Joined(id) => self.join(key, id),
                Turn::Open { beside } => self.opening.push((key, beside.is_some())),
                Turn::Full => assert_eq!(self.live.len(), SESSIONS_MAX),
            },
            Step::Open(which) => {
                if self.opening.is_empty() {
                    return;
                }
                let (key, is_further) = self.opening.swap_remove(which % self.opening.len());
                self.runs += 1;
                match self.book.open(&key, run(self.runs), is_further, self.runs) {
                    Opened::New(id) => {
                        let known = Known { key, run: self.runs, is_closing: false };
                        assert!(self.live.insert(id, known).is_none(), "a number twice");
                        assert!(self.book.join(id));
                        self.join(key, id);
                    }
                    Opened::Other(id) => {
                        assert!(self.book.join(id));
                        self.join(key, id);
                    }
                    Opened::Full => assert_eq!(self.live.len(), SESSIONS_MAX),
                }
            }
            Step::Leave(which) => {
                if !self.joined.is_empty() {
                    let id = self.joined.swap_remove(which % self.joined.len());
                    self.book.leave(id);
                }
            }
            Step::MakeRoom(number) => {
                if let Some(id) = self.book.make_room(self.nodes[number]) {
                    assert!(self.promised.insert(id), "one slot for two");
                    self.live.get_mut(&id).unwrap().is_closing = true;
                }
            }
            Step::Wait(ms) => self.now_ms += u64::from(ms),
            Step::Asking(which, number) => {
                let with = self.nodes[number];
                self.with(which, |book, id, _| book.handle_asking(id, with));
            }
            Step::Ready(which) => self.with(which, |book, id, _| book.handle_ready(id)),
            Step::Closing(which) => self.with(which, |book, id, known| {
                book.handle_closing(id);
                known.is_closing = true;
            }),
            Step::Over(which, came_about) => {
                let Some(id) = self.one(which) else { return };
                self.book.handle_over(self.now_ms, id, came_about);
                self.live.remove(&id);
            }
        }
    }

    fn with(&mut self, which: usize, change: impl FnOnce(&mut Book<u8, u64>, Id, &mut Known)) {
        let Some(id) = self.one(which) else { return };
        change(&mut self.book, id, self.live.get_mut(&id).unwrap());
    }

    fn check(&self) {
        assert_eq!(self.book.check_invariants(), Ok(()));
        assert!(self.book.len() <= SESSIONS_MAX);
        assert_eq!(self.book.len(), self.live.len());
    }

    fn check_each(&self) {
        for (id, known) in &self.live {
            assert_eq!(self.book.of_run(run(known.run)), Some(*id), "a receipt is asked for");
            assert_eq!(self.book.handle(*id), Some(&known.run));
        }
        for key in 0..KEYS {
            let like = self.live.values().filter(|known| known.key == key && !known.is_closing);
            assert!(like.count() <= LIKE_SESSIONS_MAX, "for {key}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_bound_is_exceeded_and_no_slot_promised_twice_in_whatever_order_things_happen(
        steps in prop::collection::vec(step(), 0..800),
    ) {
        let mut play = Play::new();
        for (number, step) in steps.iter().enumerate() {
            play.take(step);
            play.check();
            if number % 16 == 0 {
                play.check_each();
            }
        }
        // Once all have left and nothing is open, nothing is kept.
        for id in std::mem::take(&mut play.joined) {
            play.book.leave(id);
        }
        for id in std::mem::take(&mut play.live).into_keys() {
            play.book.handle_over(play.now_ms, id, true);
        }
        prop_assert!(play.book.is_empty());
        prop_assert_eq!(play.book.check_invariants(), Ok(()));
    }

    #[test]
    fn a_node_without_use_gives_all_its_slots_back(
        steps in prop::collection::vec(step(), 0..400),
    ) {
        let mut play = Play::new();
        steps.iter().for_each(|step| play.take(step));
        for id in std::mem::take(&mut play.joined) {
            play.book.leave(id);
        }
        // All are ready, with node 0, and nobody waits for any of them.
        let left: BTreeSet<Id> = play.live.keys().copied().collect();
        for id in &left {
            play.book.handle_asking(*id, node(0));
            play.book.handle_ready(*id);
        }
        let room: BTreeSet<Id> =
            std::iter::from_fn(|| play.book.make_room(node(0))).collect();
        let free: BTreeSet<Id> = left.difference(&play.promised).copied().collect();
        prop_assert_eq!(room, free);
    }
}
