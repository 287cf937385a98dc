//! Downloads from holders that lack files, fall silent, break off and lie.

use std::collections::{BTreeMap, BTreeSet};

use guildhall_protocol::tree::{GROUP_BYTES, PIECE_BYTES, Shape};
use guildhall_protocol::{Hash, PublicKey};
use guildhall_sync::download::{Fault, Next, STEAL_AFTER_MS, State, Task, Wanted};
use proptest::prelude::*;

fn key(n: u8) -> PublicKey {
    PublicKey::from_bytes([n; 32])
}

fn wanted(n: u32, len_bytes: u64) -> Wanted {
    let missing = (0..Shape::of(len_bytes).pieces()).collect();
    Wanted { hash: Hash::of(&n.to_be_bytes()), len_bytes, missing, is_listed: false }
}

fn given(state: &mut State, holder: u8, now_ms: u64) -> Task {
    match state.next(key(holder), now_ms) {
        Next::Do(task) => task,
        other => panic!("nothing to do: {other:?}"),
    }
}

#[test]
fn small_files_travel_together_and_large_ones_in_pieces_after_their_list() {
    let mut blobs: Vec<Wanted> = (0..300).map(|n| wanted(n, 4_096)).collect();
    blobs.push(wanted(300, 3 * PIECE_BYTES));
    blobs.push(wanted(301, GROUP_BYTES + 1));
    let mut state = State::new(blobs);
    state.handle_holder(key(1));
    assert_eq!(given(&mut state, 1, 0), Task::List(300));
    assert_eq!(given(&mut state, 1, 0), Task::Batch(0));
    assert_eq!(state.batch(0).len(), 256);
    assert_eq!(given(&mut state, 1, 0), Task::Batch(1));
    assert_eq!(state.batch(1).len(), 44);
    assert_eq!(given(&mut state, 1, 0), Task::Piece(301, 0));
    assert_eq!(state.next(key(1), 0), Next::Wait);
    state.handle_list(300, &[1, 2]);
    assert_eq!(given(&mut state, 1, 0), Task::Piece(300, 1));
    assert_eq!(given(&mut state, 1, 0), Task::Piece(300, 2));
    for task in [Task::Batch(0), Task::Batch(1), Task::Piece(301, 0), Task::Piece(300, 1)] {
        assert!(state.handle_done(task));
    }
    assert!(!state.is_complete());
    assert!(state.handle_done(Task::Piece(300, 2)));
    assert!(state.is_complete());
    assert_eq!(state.next(key(1), 0), Next::Leave);
}

#[test]
fn an_idle_holder_takes_over_what_a_silent_one_has_and_the_first_to_finish_counts() {
    let mut state = State::new(vec![wanted(0, PIECE_BYTES)]);
    for holder in [1, 2, 3] {
        state.handle_holder(key(holder));
    }
    let task = given(&mut state, 1, 0);
    assert_eq!(state.next(key(2), STEAL_AFTER_MS - 1), Next::Wait, "not late yet");
    assert_eq!(state.next(key(1), STEAL_AFTER_MS), Next::Wait, "nobody steals from itself");
    assert_eq!(given(&mut state, 2, STEAL_AFTER_MS), task);
    assert_eq!(state.next(key(3), 9 * STEAL_AFTER_MS), Next::Wait, "two copies are enough");
    assert!(state.is_wanted(task));
    assert!(state.handle_done(task));
    assert!(!state.is_wanted(task));
    assert!(!state.handle_done(task), "the slow one was late");
}

#[test]
fn what_a_holder_lacks_is_asked_of_others_and_the_rest_of_it() {
    let mut state = State::new((0..4).map(|n| wanted(n, 10)).collect());
    state.handle_holder(key(1));
    assert_eq!(given(&mut state, 1, 0), Task::Batch(0));
    state.handle_batch(key(1), 0, &[1, 3]);
    assert_eq!(state.next(key(1), 0), Next::Leave, "it lacks all that is left");
    assert_eq!(state.stuck_at(), Some(1));
    state.handle_holder(key(2));
    assert_eq!(state.stuck_at(), None);
    let Task::Batch(second) = given(&mut state, 2, 0) else { panic!("no batch") };
    assert_eq!(state.batch(second), [1, 3]);
    state.handle_batch(key(2), second, &[3]);
    assert_eq!(state.stuck_at(), Some(3));
    // The first one lacks 3 too; a third has it.
    state.handle_holder(key(3));
    let Task::Batch(third) = given(&mut state, 3, 0) else { panic!("no batch") };
    state.handle_batch(key(3), third, &[]);
    assert!(state.is_complete());
}

#[test]
fn a_liar_is_not_asked_again_and_one_that_breaks_off_is_forgiven_twice() {
    let mut state = State::new(vec![wanted(0, PIECE_BYTES), wanted(1, PIECE_BYTES)]);
    state.handle_holder(key(1));
    state.handle_holder(key(2));
    given(&mut state, 1, 0);
    state.handle_fault(key(1), Fault::Lied);
    assert_eq!(state.next(key(1), 0), Next::Leave);
    for _ in 0..2 {
        assert_eq!(given(&mut state, 2, 0), Task::Piece(0, 0), "what the liar had is free again");
        state.handle_fault(key(2), Fault::Lost);
    }
    assert!(!state.is_given_up(&key(2)));
    state.handle_fault(key(2), Fault::Lost);
    assert!(state.is_given_up(&key(2)));
    assert_eq!(state.stuck_at(), Some(0));
    // Adding it again forgives nothing.
    state.handle_holder(key(2));
    assert_eq!(state.next(key(2), 0), Next::Leave);
}

#[test]
fn skipping_a_file_of_many_pieces_that_a_holder_lacks_finds_the_next_one() {
    let mut big = wanted(0, 1_000_000 * PIECE_BYTES);
    big.is_listed = true;
    let mut state = State::new(vec![big, wanted(1, PIECE_BYTES)]);
    state.handle_holder(key(1));
    state.handle_missing(key(1), 0);
    assert_eq!(given(&mut state, 1, 0), Task::Piece(1, 0));
}

/// How a holder of the simulation behaves.
#[derive(Clone, Debug)]
struct Nature {
    /// Blobs that it has, as bits.
    has: u32,
    lies_after: Option<u8>,
    breaks_every: Option<u8>,
    is_silent: bool,
}

fn nature() -> impl Strategy<Value = Nature> {
    let rarely = |range| prop_oneof![3 => Just(None), 1 => proptest::option::of(range)];
    (any::<u32>(), rarely(0_u8..5), rarely(1_u8..5), proptest::bool::weighted(0.2)).prop_map(
        |(has, lies_after, breaks_every, is_silent)| Nature {
            has,
            lies_after,
            breaks_every,
            is_silent,
        },
    )
}

/// Lets the holders work until nothing moves any more. Returns how often each task was done.
fn simulate(state: &mut State, natures: &[Nature], order: &[u8]) -> BTreeMap<Task, u32> {
    let mut done: BTreeMap<Task, u32> = BTreeMap::new();
    let mut held: Vec<BTreeSet<Task>> = vec![BTreeSet::new(); natures.len()];
    let mut turns = vec![0_u8; natures.len()];
    let mut liars = BTreeSet::new();
    let mut now_ms = 0;
    for step in 0..20_000_usize {
        if state.is_complete() {
            break;
        }
        now_ms += 100;
        let at = usize::from(order[step % order.len()]) % natures.len();
        let (nature, holder) = (&natures[at], key(at as u8));
        let next = state.next(holder, now_ms);
        assert!(!(liars.contains(&at) && matches!(next, Next::Do(_))), "a liar was asked");
        if let Next::Do(task) = next {
            assert!(held[at].insert(task), "one task twice at one holder");
        }
        if nature.is_silent {
            // The shell waits for some time only.
            turns[at] = turns[at].wrapping_add(1);
            if !held[at].is_empty() && turns[at].is_multiple_of(20) {
                state.handle_fault(holder, Fault::Lost);
                held[at].clear();
            }
            continue;
        }
        let Some(task) = held[at].pop_first() else { continue };
        turns[at] = turns[at].wrapping_add(1);
        if nature.lies_after.is_some_and(|after| turns[at] > after) {
            liars.insert(at);
            state.handle_fault(holder, Fault::Lied);
            held[at].clear();
        } else if nature.breaks_every.is_some_and(|every| turns[at].is_multiple_of(every)) {
            state.handle_fault(holder, Fault::Lost);
            held[at].clear();
        } else {
            work(state, nature, holder, task, &mut done);
        }
    }
    done
}

fn work(
    state: &mut State,
    nature: &Nature,
    holder: PublicKey,
    task: Task,
    done: &mut BTreeMap<Task, u32>,
) {
    let has = |blob: u32| nature.has & (1 << (blob % 32)) != 0;
    let counted = match task {
        Task::Batch(number) => {
            let missing: Vec<u32> =
                state.batch(number).iter().copied().filter(|blob| !has(*blob)).collect();
            let wanted = state.is_wanted(task);
            state.handle_batch(holder, number, &missing);
            wanted
        }
        Task::List(blob) | Task::Piece(blob, _) if !has(blob) => {
            state.handle_missing(holder, blob);
            return;
        }
        Task::List(blob) => {
            let wanted = state.is_wanted(task);
            let pieces =
                Shape::of(state.blob(blob).expect("a blob of this download").len_bytes).pieces();
            state.handle_list(blob, &(0..pieces).collect::<Vec<_>>());
            wanted
        }
        Task::Piece(..) => state.handle_done(task),
    };
    if counted {
        *done.entry(task).or_default() += 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_download_ends_if_honest_holders_have_everything_and_is_stuck_otherwise(
        lens in proptest::collection::vec(0_u64..4 * PIECE_BYTES, 1..12),
        natures in proptest::collection::vec(nature(), 1..6),
        order in proptest::collection::vec(any::<u8>(), 50..100),
    ) {
        // Every holder gets its turn.
        let order: Vec<u8> = order.into_iter().chain(0..6).collect();
        let blobs: Vec<Wanted> = (0..).zip(&lens).map(|(n, len)| wanted(n, *len)).collect();
        let mut state = State::new(blobs);
        for n in 0..natures.len() {
            state.handle_holder(key(n as u8));
        }
        let done = simulate(&mut state, &natures, &order);
        prop_assert!(done.values().all(|times| *times == 1), "a part was counted twice");
        let good = |n: &&Nature| n.lies_after.is_none() && n.breaks_every.is_none() && !n.is_silent;
        let everything = (0..lens.len() as u32)
            .all(|blob| natures.iter().filter(good).any(|n| n.has & (1 << (blob % 32)) != 0));
        if everything {
            prop_assert!(state.is_complete(), "{state:?}");
        } else if !state.is_complete() {
            prop_assert!(state.stuck_at().is_some(), "{state:?}");
        }
    }
}
