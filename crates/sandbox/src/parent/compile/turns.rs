//! Whose turn it is to compile.
//!
//! Compiling takes a core for up to [`COMPILE_MAX_MS`](super::super::COMPILE_MAX_MS), so few compile at once and the
//! rest wait. Those who ask take turns: whoever was served longest ago is next, so an org that brings fifty modules made
//! to be slow waits for itself and holds another org up by one of them. The same code is compiled by one at a time; who
//! waited for it finds the result.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use guildhall_protocol::hash::Hash;

/// Most that wait. Each holds a thread of the node and a file; beyond it, the next is refused.
const WAITING_MAX: usize = 64;

/// Most of one asker that wait, so that one alone cannot fill the queue.
const WAITING_OF_ONE_MAX: usize = 16;

/// Longest wait, milliseconds: a dozen of the slowest compilations. After it, somebody else's node is the better one.
const WAIT_MAX_MS: u64 = 120_000;

/// Most askers whose last turn is remembered; the longest ago is forgotten first, which is as if it were never.
const SERVED_MAX: usize = 1_024;

/// The queue.
#[derive(Debug)]
pub(super) struct Turns {
    at_once: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: Vec<Hash>,
    waiting: Vec<Ticket>,
    tickets: u64,
    /// When each asker had its last turn, counted in tickets.
    served: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Ticket {
    number: u64,
    asker: String,
    key: Hash,
}

/// A turn; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    key: Hash,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Busy {
    #[error("too much code waits to be compiled here")]
    Full,
    #[error("code waited {} s to be compiled here and did not get its turn", WAIT_MAX_MS / 1000)]
    Late,
}

impl Turns {
    /// A queue for so many at once, at least one.
    pub(super) fn new(at_once: usize) -> Self {
        Self { at_once: at_once.max(1), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits for a turn to compile `key` for `asker`.
    pub(super) fn wait(&self, asker: &str, key: Hash) -> Result<Turn<'_>, Busy> {
        let until = Instant::now() + Duration::from_millis(WAIT_MAX_MS);
        let mut state = self.lock();
        let number = state.enter(asker, key)?;
        while state.running.len() >= self.at_once || state.next() != Some(number) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.waiting.retain(|ticket| ticket.number != number);
                drop(state);
                self.changed.notify_all();
                return Err(Busy::Late);
            }
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.start(number);
        drop(state);
        // Another one may fit beside it.
        self.changed.notify_all();
        Ok(Turn { turns: self, key })
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, asker: &str, key: Hash) -> Result<u64, Busy> {
        let own = self.waiting.iter().filter(|ticket| ticket.asker == asker).count();
        if self.waiting.len() >= WAITING_MAX || own >= WAITING_OF_ONE_MAX {
            return Err(Busy::Full);
        }
        self.tickets += 1;
        let number = self.tickets;
        self.waiting.push(Ticket { number, asker: asker.to_owned(), key });
        Ok(number)
    }

    /// The ticket whose turn it is: of the asker served longest ago, the oldest that nobody compiles already.
    fn next(&self) -> Option<u64> {
        self.waiting
            .iter()
            .filter(|ticket| !self.running.contains(&ticket.key))
            .min_by_key(|ticket| (self.served.get(&ticket.asker).copied(), ticket.number))
            .map(|ticket| ticket.number)
    }

    fn start(&mut self, number: u64) {
        let Some(at) = self.waiting.iter().position(|ticket| ticket.number == number) else {
            return;
        };
        let ticket = self.waiting.remove(at);
        self.running.push(ticket.key);
        self.tickets += 1;
        self.served.insert(ticket.asker, self.tickets);
        if self.served.len() > SERVED_MAX {
            let longest_ago = self.served.iter().min_by_key(|(_, at)| **at);
            if let Some(asker) = longest_ago.map(|(asker, _)| asker.clone()) {
                self.served.remove(&asker);
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        if let Some(at) = state.running.iter().position(|key| *key == self.key) {
            state.running.swap_remove(at);
        }
        drop(state);
        self.turns.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::sync_channel;
    use std::thread;

    use super::*;

    fn key(number: u8) -> Hash {
        Hash::of(&[number])
    }

    /// Waits until as many tickets wait.
    fn until_waiting(turns: &Turns, count: usize) {
        while turns.waiting() != count {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn askers_take_turns_whatever_one_of_them_brings() {
        let turns = Arc::new(Turns::new(1));
        let first = turns.wait("bomber", key(0)).unwrap();
        let (sender, order) = sync_channel(16);
        let mut threads = Vec::new();
        for (number, asker) in (1..).zip(["bomber", "bomber", "bomber", "honest", "bomber"]) {
            let (turns_there, sender) = (Arc::clone(&turns), sender.clone());
            threads.push(thread::spawn(move || {
                let _turn = turns_there.wait(asker, key(number)).unwrap();
                sender.send(number).unwrap();
            }));
            until_waiting(&turns, usize::from(number));
        }
        drop((first, sender));
        assert_eq!(order.iter().collect::<Vec<_>>(), [4, 1, 2, 3, 5]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn the_same_code_is_compiled_by_one_at_a_time() {
        let turns = Arc::new(Turns::new(4));
        let first = turns.wait("a", key(0)).unwrap();
        let other = turns.wait("b", key(1)).unwrap();
        let there = Arc::clone(&turns);
        let second = thread::spawn(move || drop(there.wait("b", key(0)).unwrap()));
        until_waiting(&turns, 1);
        drop(other);
        assert_eq!(turns.waiting(), 1);
        drop(first);
        second.join().unwrap();
        assert_eq!(turns.waiting(), 0);
    }

    #[test]
    fn a_full_queue_refuses_and_no_asker_fills_it_alone() {
        let mut state = State::default();
        for number in 0..WAITING_OF_ONE_MAX {
            state.enter("greedy", key(u8::try_from(number).unwrap())).unwrap();
        }
        assert_eq!(state.enter("greedy", key(0)), Err(Busy::Full));
        for number in WAITING_OF_ONE_MAX..WAITING_MAX {
            state.enter(&number.to_string(), key(0)).unwrap();
        }
        assert_eq!(state.enter("honest", key(0)), Err(Busy::Full));
    }

    #[test]
    fn what_is_remembered_of_askers_is_bounded() {
        let mut state = State::default();
        for number in 0..2 * SERVED_MAX {
            let ticket = state.enter(&number.to_string(), key(0)).unwrap();
            state.start(ticket);
        }
        assert_eq!(state.served.len(), SERVED_MAX);
        assert!(!state.served.contains_key("0"));
    }
}
