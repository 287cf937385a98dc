//! Comparisons of two sets: any difference is found, and no peer makes them hold or do more than they may.

mod common;

use std::collections::BTreeSet;

use common::authors;
use guildhall_protocol::cbor::{decode, encode};
use guildhall_protocol::limits::MESSAGE_MAX_BYTES;
use guildhall_protocol::wire::{
    CELL_BYTES, CELLS_PER_PAGE, COMPARE_CELLS_MAX, Cells, Compare, CompareKey, CompareSet,
    FIND_MAX, FindElements, LogHead, Request, Response, decode_message,
};
use guildhall_protocol::{Hash, PublicKey, RecordId};
use guildhall_sync::reconcile::{
    AHEAD_MAX_MS, Difference, ELEMENTS_MAX, ELEMENTS_PER_MS, Element, Elements, Failure, Heads,
    Initiator, OPEN_EVERY_MS, PAGES_MAX, Refused, Responder, SESSION_LIFE_MS, SESSIONS_MAX, Step,
};
use guildhall_sync::{Logs, Pull, Schedule};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use serde_bytes::ByteBuf;

/// Probes that come with the first cells.
const PROBES: usize = 160;

/// Requests of one comparison at the most: all pages, and one for names.
const STEPS_MAX: usize = PAGES_MAX as usize + 1;

#[derive(Clone, Debug)]
struct Set<E> {
    held: Vec<E>,
    missing: Vec<E>,
}

impl<E: Element> Elements for Set<E> {
    type Element = E;

    fn held(&self) -> impl Iterator<Item = E> {
        self.held.iter().copied()
    }

    fn missing(&self) -> impl Iterator<Item = E> {
        self.missing.iter().copied()
    }
}

fn set<E>(held: impl IntoIterator<Item = E>) -> Set<E> {
    Set { held: held.into_iter().collect(), missing: Vec::new() }
}

fn peer(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

fn key(number: u8) -> CompareKey {
    CompareKey::from_bytes([number; 32])
}

fn head(author: u32, len: u64) -> LogHead {
    let author = Hash::of(&author.to_be_bytes());
    LogHead { author: PublicKey::from_bytes(*author.as_bytes()), len }
}

fn id(number: u32) -> RecordId {
    RecordId(Hash::of(&number.to_be_bytes()))
}

/// An end, and the requests that it took.
type Run<E> = (Result<Difference<E>, Failure>, usize);

/// One comparison over messages as they are sent, `answer` at the other end.
fn run<E: Element>(
    key: CompareKey,
    ours: &Set<E>,
    mut answer: impl FnMut(Request) -> Response,
) -> Run<E> {
    let (mut initiator, first) = match Initiator::start(key, ours) {
        Ok(started) => started,
        Err(failure) => return (Err(failure), 0),
    };
    let mut request = Request::Compare(first);
    for steps in 1..=STEPS_MAX {
        let sent = encode(&request);
        assert!(sent.len() < MESSAGE_MAX_BYTES / 8, "{} bytes", sent.len());
        let answered = encode(&answer(decode_message(&sent).expect("a request")));
        assert!(answered.len() < MESSAGE_MAX_BYTES / 2, "{} bytes", answered.len());
        let step = match decode(&answered, MESSAGE_MAX_BYTES).expect("an answer") {
            Response::Cells(cells) => initiator.handle_cells(&cells, ours),
            Response::Elements(bytes) => initiator.handle_elements(&bytes),
            other => panic!("{other:?}"),
        };
        request = match step {
            Step::Compare(asked) => Request::Compare(asked),
            Step::Find(asked) => Request::FindElements(asked),
            Step::Done(difference) => return (Ok(difference), steps),
            Step::Failed(failure) => return (Err(failure), steps),
        };
    }
    panic!("a comparison ends after {STEPS_MAX} requests at the latest");
}

/// An honest other end.
fn honest<E: Element>(theirs: &Set<E>) -> impl FnMut(Request) -> Response {
    let mut responder = Responder::default();
    move |request| match request {
        Request::Compare(asked) => {
            Response::Cells(responder.handle_compare(0, peer(1), &asked, theirs).expect("granted"))
        }
        Request::FindElements(asked) => {
            Response::Elements(responder.handle_find(0, peer(1), &asked, theirs).expect("granted"))
        }
        other => panic!("{other:?}"),
    }
}

fn sorted<E: Element>(elements: &[E]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = elements.iter().map(|e| e.to_bytes().as_ref().to_vec()).collect();
    all.sort_unstable();
    all
}

#[test]
fn equal_sets_take_one_small_answer_whatever_their_size() {
    for count in [0, 1, 10, 20_000] {
        let ours = set((0..count).map(|number| head(number, 3)));
        let mut other = honest(&ours);
        let mut bytes = 0;
        let (difference, steps) = run(key(1), &ours, |request| {
            let response = other(request);
            bytes += encode(&response).len();
            response
        });
        let none = Difference { theirs: vec![], ours: vec![], unnamed: 0 };
        assert_eq!((difference, steps), (Ok(none), 1));
        assert!(bytes < 400, "{bytes} bytes");
    }
}

#[test]
fn a_hundred_logs_that_grew_among_many_cost_less_than_64_bytes_each() {
    let ours = set((0..20_000).map(|number| head(number, 3)));
    let mut theirs = ours.clone();
    theirs.held.iter_mut().step_by(200).for_each(|head| head.len += 2);
    let grown: Vec<LogHead> = theirs.held.iter().copied().step_by(200).collect();
    let mut totals = Vec::new();
    for number in 0..15 {
        let mut other = honest(&theirs);
        let mut bytes = 0;
        let (difference, steps) = run(key(number), &ours, |request| {
            let sent = encode(&request).len();
            let response = other(request);
            bytes += sent + encode(&response).len();
            response
        });
        let difference = difference.expect("few");
        assert_eq!(sorted(&difference.theirs), sorted(&grown), "guessed from ours");
        assert!(steps <= 4, "{steps}");
        totals.push(bytes);
    }
    totals.sort_unstable();
    assert!(totals[7] <= 6_400, "{totals:?}");
}

/// What is found leads to the pulls that pages of heads would have led to.
#[test]
fn logs_that_are_longer_at_a_peer_are_pulled() {
    let logs = |lens: [usize; 3]| {
        let mut logs = Logs::default();
        for (author, len) in authors().iter().zip(lens) {
            author.records.iter().take(len).for_each(|record| drop(logs.offer(record)));
        }
        logs
    };
    let (ours, theirs) = (logs([5, 9, 0]), logs([7, 3, 2]));
    let (mine, other) = (set(Heads(&ours).held()), set(Heads(&theirs).held()));
    let (difference, _) = run(key(1), &mine, honest(&other));
    let difference = difference.expect("few");
    assert_eq!((difference.theirs.len(), difference.ours.len()), (3, 2));
    let mut schedule = Schedule::default();
    schedule.handle_heads(peer(1), None, &difference.theirs, &ours);
    let pull = |number: usize, from_seq| {
        let author = authors()[number].key;
        Pull { peer: peer(1), author, from_seq }
    };
    let mut expected = [pull(0, 5), pull(2, 0)];
    expected.sort_by_key(|pull| pull.author);
    assert_eq!(schedule.poll_pulls(&ours), expected);
}

#[test]
fn a_peer_without_anything_and_one_with_far_more_end_in_pages_after_one_answer() {
    let many = set((0..40_000).map(|number| head(number, 1)));
    let none = set::<LogHead>([]);
    assert_eq!(run(key(1), &many, honest(&none)), (Err(Failure::TooDifferent), 1));
    assert_eq!(run(key(1), &none, honest(&many)), (Err(Failure::TooDifferent), 1));
}

#[test]
fn what_is_known_to_be_missing_is_named_without_asking() {
    let mut ours = set((0..500).map(id));
    let theirs = set((0..520).map(id));
    let (plain, steps) = run(key(3), &ours, honest(&theirs));
    ours.missing = (500..600).map(id).collect();
    let (known, fewer) = run(key(3), &ours, honest(&theirs));
    assert_eq!(fewer + 1, steps);
    assert_eq!(sorted(&known.expect("few").theirs), sorted(&plain.expect("few").theirs));
}

#[test]
fn more_names_than_fit_a_request_are_left_to_the_next_comparison() {
    let (ours, theirs) = (set::<RecordId>([]), set((0..9_500).map(id)));
    let (difference, _) = run(key(1), &ours, honest(&theirs));
    let difference = difference.expect("fits the cells");
    assert_eq!((difference.theirs.len(), difference.unnamed), (FIND_MAX, 9_500 - FIND_MAX));
}

#[test]
fn a_set_that_is_too_large_is_not_summed_up() {
    struct Endless;
    impl Elements for Endless {
        type Element = RecordId;
        fn held(&self) -> impl Iterator<Item = RecordId> {
            let mut pulled = 0;
            std::iter::repeat_with(move || {
                pulled += 1;
                assert!(pulled <= ELEMENTS_MAX + 1, "it stops at its bound");
                RecordId(Hash::from_bytes([0; 32]))
            })
        }
    }
    assert!(matches!(Initiator::start(key(1), &Endless), Err(Failure::TooLarge)));
    let mut responder = Responder::default();
    let refused = responder.handle_compare(0, peer(1), &open(1, CompareSet::Bodies), &Endless);
    assert_eq!(refused, Err(Refused::TooLarge));
    assert_eq!(responder.sessions(), 0);
}

fn open(number: u8, set: CompareSet) -> Compare {
    Compare { set, key: key(number), from: 0, count: 16 }
}

/// Cells as an honest peer would send them, to be spoilt.
fn cells_of(theirs: &Set<LogHead>, asked: &Compare) -> Cells {
    Responder::default()
        .handle_compare(0, peer(1), &Compare { from: 0, ..*asked }, theirs)
        .expect("granted")
}

#[test]
fn answers_of_another_length_than_asked_for_are_garbage() {
    let ours = set((0..100).map(|number| head(number, 3)));
    let spoil: [fn(&mut Cells); 5] = [
        |page| page.cells.truncate(16 * CELL_BYTES - 1),
        |page| page.cells.extend([0; CELL_BYTES]),
        |page| page.cells.clear(),
        |page| page.probes.truncate(PROBES - 1),
        |page| page.probes.push(0),
    ];
    for spoil in spoil {
        let (mut initiator, asked) = Initiator::start(key(1), &ours).expect("few");
        let mut page = cells_of(&ours, &asked);
        spoil(&mut page);
        assert_eq!(initiator.handle_cells(&page, &ours), Step::Failed(Failure::Garbage));
        // It is over: even a good answer changes nothing.
        let page = cells_of(&ours, &asked);
        assert_eq!(initiator.handle_cells(&page, &ours), Step::Failed(Failure::Garbage));
        assert_eq!(initiator.handle_elements(&[]), Step::Failed(Failure::Garbage));
    }
}

#[test]
fn an_empty_first_cell_before_others_is_garbage() {
    let ours = set((0..100).map(|number| head(number, 3)));
    let (mut initiator, asked) = Initiator::start(key(1), &ours).expect("few");
    let mut page = cells_of(&ours, &asked);
    page.cells[CELL_BYTES + 3] ^= 1;
    assert_eq!(initiator.handle_cells(&page, &ours), Step::Failed(Failure::Garbage));
}

/// The same element in each cell: taken out of one, it would come back in the next, for ever.
#[test]
fn one_element_in_every_cell_is_garbage_and_no_loop() {
    let ours: Set<LogHead> = set([]);
    let (mut initiator, asked) = Initiator::start(key(1), &ours).expect("few");
    let mut page = cells_of(&set([head(1, 1)]), &asked);
    let first = page.cells[..CELL_BYTES].to_vec();
    page.cells = ByteBuf::from(first.repeat(16));
    assert_eq!(initiator.handle_cells(&page, &ours), Step::Failed(Failure::Garbage));
}

#[test]
fn an_element_that_was_not_asked_for_or_comes_twice_is_garbage() {
    let (ours, theirs) = (set::<RecordId>([]), set((0..4).map(id)));
    for other in [vec![id(9)], vec![id(1), id(1)]] {
        let mut answer = honest(&theirs);
        let (ended, _) = run(key(1), &ours, |request| match request {
            Request::FindElements(_) => {
                let bytes = other.iter().flat_map(Element::to_bytes).collect::<Vec<u8>>();
                Response::Elements(ByteBuf::from(bytes))
            }
            request => answer(request),
        });
        assert_eq!(ended, Err(Failure::Garbage));
    }
}

#[test]
fn a_peer_that_names_nothing_is_heard_with_what_is_left() {
    let (ours, theirs) = (set::<RecordId>([]), set((0..4).map(id)));
    let mut answer = honest(&theirs);
    let (ended, _) = run(key(1), &ours, |request| match request {
        Request::FindElements(_) => Response::Elements(ByteBuf::new()),
        request => answer(request),
    });
    assert_eq!(ended, Ok(Difference { theirs: vec![], ours: vec![], unnamed: 4 }));
}

/// Zero cells that never end, with probes that promise an end.
#[test]
fn a_peer_whose_cells_never_settle_is_given_up_within_the_pages() {
    let ours = set((0..100).map(|number| head(number, 3)));
    let mut asked_for = 0;
    let (ended, steps) = run(key(1), &ours, |request| {
        let Request::Compare(asked) = request else { panic!("nothing to find") };
        asked_for += asked.count;
        let count = usize::try_from(asked.count).expect("few");
        // Two elements in each: nothing to be read out.
        let cells = [[7; CELL_BYTES - 1].as_slice(), &[101]].concat().repeat(count);
        let probes = if asked.from == 0 { vec![0; PROBES] } else { Vec::new() };
        Response::Cells(Cells { cells: ByteBuf::from(cells), probes: ByteBuf::from(probes) })
    });
    assert_eq!(ended, Err(Failure::TooDifferent));
    assert!(steps <= PAGES_MAX as usize && asked_for <= COMPARE_CELLS_MAX, "{steps} {asked_for}");
}

#[test]
fn requests_outside_the_rules_are_refused_and_cost_nothing() {
    let ours = set((0..100).map(|number| head(number, 3)));
    let mut responder = Responder::default();
    let first = open(1, CompareSet::Heads);
    for asked in [
        Compare { count: 0, ..first },
        Compare { count: CELLS_PER_PAGE + 1, ..first },
        Compare { from: COMPARE_CELLS_MAX, ..first },
        Compare { from: u32::MAX, count: u32::MAX, ..first },
        Compare { set: CompareSet::Bodies, ..first },
    ] {
        assert_eq!(responder.handle_compare(0, peer(1), &asked, &ours), Err(Refused::Invalid));
    }
    let behind = Compare { from: 16, ..first };
    assert_eq!(responder.handle_compare(0, peer(1), &behind, &ours), Err(Refused::NotOpen));
    let find = |short_ids: Vec<u8>| FindElements {
        set: CompareSet::Heads,
        key: key(1),
        short_ids: ByteBuf::from(short_ids),
    };
    for bytes in [0, 7, 9, 8 * (FIND_MAX + 1)] {
        let asked = find(vec![0; bytes]);
        assert_eq!(responder.handle_find(0, peer(1), &asked, &ours), Err(Refused::Invalid));
    }
    assert_eq!(responder.handle_find(0, peer(1), &find(vec![0; 8]), &ours), Err(Refused::NotOpen));
    assert_eq!(responder, Responder::default());
}

#[test]
fn a_comparison_has_its_requests_and_no_more() {
    let ours = set((0..100).map(|number| head(number, 3)));
    let mut responder = Responder::default();
    let first = open(1, CompareSet::Heads);
    assert!(responder.handle_compare(0, peer(1), &first, &ours).is_ok());
    let next = Compare { from: 16, ..first };
    for _ in 1..PAGES_MAX {
        assert!(responder.handle_compare(0, peer(1), &next, &ours).is_ok());
    }
    assert_eq!(responder.handle_compare(0, peer(1), &next, &ours), Err(Refused::NotOpen));
    let short_ids = ByteBuf::from([1; 16]);
    let find = FindElements { set: CompareSet::Heads, key: key(1), short_ids };
    assert!(responder.handle_find(0, peer(1), &find, &ours).is_ok());
    assert_eq!(responder.handle_find(0, peer(1), &find, &ours), Err(Refused::NotOpen));
    // Another peer does not get at it with the same key.
    let other = responder.handle_compare(0, peer(2), &next, &ours);
    assert_eq!(other, Err(Refused::NotOpen));
}

#[test]
fn a_peer_opens_comparisons_no_oftener_than_it_may() {
    let ours = set([head(1, 1)]);
    let from_ms = 1_000_000;
    let mut responder = Responder::default();
    assert!(responder.handle_compare(from_ms, peer(1), &open(1, CompareSet::Heads), &ours).is_ok());
    let again = open(2, CompareSet::Heads);
    let refused = responder.handle_compare(from_ms + 1_000, peer(1), &again, &ours);
    assert_eq!(refused, Err(Refused::Busy { retry_after_ms: OPEN_EVERY_MS - 1_000 }));
    assert!(responder.handle_compare(from_ms + OPEN_EVERY_MS, peer(1), &again, &ours).is_ok());
    // A clock that is set back does not lock it out.
    assert!(responder.handle_compare(10, peer(1), &open(3, CompareSet::Heads), &ours).is_ok());
    assert_eq!(responder.sessions(), 1);
}

#[test]
fn large_sets_make_everybody_wait_for_their_share_of_the_processor() {
    let ours = set((0..50_000).map(|number| head(number, 3)));
    let each_ms = 2 * 50_000 / ELEMENTS_PER_MS;
    let mut responder = Responder::default();
    let mut opened = 0;
    let refused = loop {
        let asked = open(opened, CompareSet::Heads);
        match responder.handle_compare(7, peer(opened), &asked, &ours) {
            Ok(_) => opened += 1,
            Err(refused) => break refused,
        }
    };
    let ahead_ms = u64::from(opened) * each_ms;
    assert!(ahead_ms > AHEAD_MAX_MS && ahead_ms <= AHEAD_MAX_MS + each_ms, "{opened}");
    let retry_after_ms = ahead_ms - AHEAD_MAX_MS;
    assert_eq!(refused, Refused::Busy { retry_after_ms });
    let later = open(opened, CompareSet::Heads);
    let at_ms = 7 + retry_after_ms;
    assert!(responder.handle_compare(at_ms - 1, peer(opened), &later, &ours).is_err());
    assert!(responder.handle_compare(at_ms, peer(opened), &later, &ours).is_ok());
}

#[test]
fn only_so_many_comparisons_are_open_and_their_time_ends() {
    let ours = set([head(1, 1)]);
    let mut responder = Responder::default();
    let many = u8::try_from(SESSIONS_MAX).expect("few");
    for number in 0..many {
        let asked = open(number, CompareSet::Heads);
        assert!(responder.handle_compare(0, peer(number), &asked, &ours).is_ok());
    }
    let last = open(many, CompareSet::Heads);
    let refused = responder.handle_compare(500, peer(many), &last, &ours);
    assert_eq!(refused, Err(Refused::Busy { retry_after_ms: SESSION_LIFE_MS - 500 }));
    assert_eq!(responder.sessions(), SESSIONS_MAX);
    assert!(responder.kept_bytes() <= 16 * 1024 * 1024);
    assert!(responder.handle_compare(SESSION_LIFE_MS, peer(many), &last, &ours).is_ok());
    assert_eq!(responder.sessions(), 1);
}

/// What changes in a peer's set while it is compared does not show; what changes in ours is left out.
#[test]
fn a_set_that_changes_meanwhile_is_compared_as_it_was() {
    let ours = set((0..200).map(|number| head(number, 3)));
    let mut theirs = set((100..300).map(|number| head(number, 3)));
    let mut responder = Responder::default();
    let (mut initiator, first) = Initiator::start(key(1), &ours).expect("few");
    let page = responder.handle_compare(0, peer(1), &first, &theirs).expect("granted");
    let mut step = initiator.handle_cells(&page, &ours);
    theirs.held.extend((300..350).map(|number| head(number, 3)));
    theirs.held.retain(|gone| *gone != head(299, 3));
    let fewer = set(ours.held.iter().copied().skip(1));
    let difference = loop {
        step = match step {
            Step::Compare(asked) => {
                let page = responder.handle_compare(0, peer(1), &asked, &theirs).expect("granted");
                initiator.handle_cells(&page, &fewer)
            }
            Step::Find(asked) => {
                let found = responder.handle_find(0, peer(1), &asked, &theirs).expect("granted");
                initiator.handle_elements(&found)
            }
            Step::Done(difference) => break difference,
            Step::Failed(why) => panic!("{why}"),
        };
    };
    assert_eq!((difference.theirs.len(), difference.unnamed), (99, 1));
    assert_eq!(difference.ours.len(), 99);
}

/// What a hostile peer answers, made from an honest answer and arbitrary bytes.
fn spoilt(honest: Response, how: u8, bytes: &[u8]) -> Response {
    let spoil = |good: &mut ByteBuf| match how % 5 {
        0 => good.iter_mut().zip(bytes).for_each(|(good, bad)| *good ^= bad),
        1 => good.iter_mut().zip(bytes.iter().cycle()).for_each(|(good, bad)| *good = *bad),
        2 => good.chunks_mut(CELL_BYTES).skip(1).step_by(2).for_each(|cell| cell.fill(0)),
        3 => good.reverse(),
        _ => good.truncate(bytes.len()),
    };
    match honest {
        Response::Cells(mut page) => {
            spoil(&mut page.cells);
            if how & 0x80 != 0 {
                spoil(&mut page.probes);
            }
            Response::Cells(page)
        }
        Response::Elements(mut elements) => {
            spoil(&mut elements);
            Response::Elements(elements)
        }
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any two sets: what only one side has is found, or it is said that they differ too much.
    #[test]
    fn any_two_sets_become_known_differences(
        both in btree_set(any::<u32>(), 0..600),
        only_ours in btree_set(any::<u32>(), 0..200),
        only_theirs in btree_set(any::<u32>(), 0..400),
        seed in any::<u8>(),
    ) {
        let ours: BTreeSet<u32> = both.union(&only_ours).copied().collect();
        let theirs: BTreeSet<u32> = both.union(&only_theirs).copied().collect();
        let ids = |numbers: Vec<u32>| set(numbers.into_iter().map(id));
        let (mine, other) = (ids(ours.iter().copied().collect()), ids(theirs.iter().copied().collect()));
        let (difference, _) = run(key(seed), &mine, honest(&other));
        let difference = difference.expect("few");
        let missing = ids(theirs.difference(&ours).copied().collect());
        let extra = ids(ours.difference(&theirs).copied().collect());
        prop_assert_eq!(sorted(&difference.theirs), sorted(&missing.held));
        prop_assert_eq!(sorted(&difference.ours), sorted(&extra.held));
        prop_assert_eq!(difference.unnamed, 0);
    }

    /// Logs that grew by anything, shrank, came and went.
    #[test]
    fn any_two_catalogues_become_known_differences(
        lens in vec((0u64..400, 0u64..400), 0..300),
        seed in any::<u8>(),
    ) {
        let heads = |lens: Vec<u64>| {
            let numbered = (0u32..).zip(lens).filter(|(_, len)| *len > 0);
            set(numbered.map(|(author, len)| head(author, len)).collect::<Vec<_>>())
        };
        let ours = heads(lens.iter().map(|(ours, _)| *ours).collect());
        let theirs = heads(lens.iter().map(|(_, theirs)| *theirs).collect());
        let (difference, _) = run(key(seed), &ours, honest(&theirs));
        let difference = difference.expect("few");
        let missing: Vec<LogHead> =
            theirs.held.iter().copied().filter(|head| !ours.held.contains(head)).collect();
        prop_assert_eq!(sorted(&difference.theirs), sorted(&missing));
    }

    /// `run` itself checks how many requests it takes and how long they are.
    #[test]
    fn a_peer_that_sends_anything_ends_within_the_bounds(
        counts in (0u32..300, 0u32..300),
        spoils in vec((any::<u8>(), vec(any::<u8>(), 1..300)), STEPS_MAX),
        seed in any::<u8>(),
    ) {
        let ours = set((0..counts.0).map(|number| head(number, 3)));
        let theirs = set((0..counts.1).map(|number| head(number, u64::from(number % 4))));
        let mut answer = honest(&theirs);
        let mut spoils = spoils.iter();
        let (ended, _) = run(key(seed), &ours, |request| {
            let honest = answer(request);
            spoils.next().map_or(honest.clone(), |(how, bytes)| spoilt(honest, *how, bytes))
        });
        if let Ok(difference) = ended {
            let claimed = difference.theirs.len() + difference.ours.len() + difference.unnamed;
            prop_assert!(claimed <= COMPARE_CELLS_MAX as usize);
        }
    }

    /// Whatever peers ask in whatever order, the answering side keeps to its bounds.
    #[test]
    fn peers_that_ask_anything_stay_within_the_bounds(
        asks in vec((any::<(u8, u8, bool)>(), 0u32..20_000, 0u32..9_000, 0u64..30_000), 0..60),
    ) {
        let ours = set((0..50).map(|number| head(number, 3)));
        let mut responder = Responder::default();
        for ((number, with, finds), from, count, now_ms) in asks {
            let key = key(with % 3);
            if finds {
                let short_ids = ByteBuf::from(vec![with; from as usize]);
                let asked = FindElements { set: CompareSet::Heads, key, short_ids };
                let answer = responder.handle_find(now_ms, peer(number % 80), &asked, &ours);
                prop_assert!(answer.is_err() || answer.is_ok_and(|bytes| bytes.len() <= 40 * FIND_MAX));
            } else {
                let from = from.saturating_sub(10_000);
                let asked = Compare { set: CompareSet::Heads, key, from, count };
                if let Ok(page) = responder.handle_compare(now_ms, peer(number % 80), &asked, &ours) {
                    prop_assert_eq!(page.cells.len(), count as usize * CELL_BYTES);
                    prop_assert_eq!(page.probes.len(), if from == 0 { PROBES } else { 0 });
                }
            }
            prop_assert!(responder.sessions() <= SESSIONS_MAX);
            prop_assert!(responder.kept_bytes() <= SESSIONS_MAX * COMPARE_CELLS_MAX as usize * CELL_BYTES);
        }
    }
}
