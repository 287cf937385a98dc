//! Which workers are kept, and which have to go. Decides only: it knows no process, and whoever calls it ends what it
//! gives out.

use std::time::{Duration, Instant};

/// Most workers that wait with code in them, whatever memory they take: each is a process.
pub(super) const IDLE_MAX: usize = 64;

/// How long a worker may wait for its next call. Most code that is used again is used again within minutes.
pub(super) const IDLE_MAX_TIME: Duration = Duration::from_mins(10);

/// How long a worker may live. What leaks in an engine, and whoever found a way to stay in one, goes with it.
pub(super) const LIFE_MAX_TIME: Duration = Duration::from_mins(60);

/// Most calls of one worker, for the same reason.
pub(super) const CALLS_MAX: u64 = 100_000;

/// A worker that waits.
#[derive(Debug)]
pub(super) struct Idle<K, W> {
    pub(super) key: K,
    pub(super) worker: W,
    /// What it holds while it waits.
    pub(super) held_bytes: u64,
    pub(super) calls: u64,
    pub(super) born: Instant,
    pub(super) since: Instant,
}

impl<K, W> Idle<K, W> {
    /// Whether it has served for long enough.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        self.calls >= CALLS_MAX
            || now.saturating_duration_since(self.born) >= LIFE_MAX_TIME
            || now.saturating_duration_since(self.since) >= IDLE_MAX_TIME
    }
}

/// Workers that wait, and memory promised to those that work.
#[derive(Debug)]
pub(super) struct State<K, W> {
    budget_bytes: u64,
    /// The longest unused first.
    idle: Vec<Idle<K, W>>,
    busy: usize,
    busy_bytes: u64,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// Others work; later there will be.
    Now,
    /// It is more than there is.
    Ever,
}

impl<K: PartialEq, W> State<K, W> {
    pub(super) const fn new(budget_bytes: u64) -> Self {
        Self { budget_bytes, idle: Vec::new(), busy: 0, busy_bytes: 0 }
    }

    pub(super) fn idle(&self) -> &[Idle<K, W>] {
        &self.idle
    }

    pub(super) const fn busy(&self) -> usize {
        self.busy
    }

    pub(super) const fn busy_bytes(&self) -> u64 {
        self.busy_bytes
    }

    pub(super) fn idle_bytes(&self) -> u64 {
        self.idle.iter().map(|idle| idle.held_bytes).sum()
    }

    /// Promises memory to a worker for this key, and gives out one that waits for it, if there is one. Whoever has to go
    /// for it is in `gone`.
    pub(super) fn take(
        &mut self,
        key: &K,
        need_bytes: u64,
        now: Instant,
        gone: &mut Vec<Idle<K, W>>,
    ) -> Result<Option<Idle<K, W>>, NoRoom> {
        if need_bytes > self.budget_bytes {
            return Err(NoRoom::Ever);
        }
        if self.busy_bytes.saturating_add(need_bytes) > self.budget_bytes {
            return Err(NoRoom::Now);
        }
        self.drop_spent(now, gone);
        // The last used, so that the others grow old.
        let found = self.idle.iter().rposition(|idle| idle.key == *key);
        let found = found.map(|at| self.idle.remove(at));
        self.busy += 1;
        self.busy_bytes = self.busy_bytes.saturating_add(need_bytes);
        self.shrink(gone);
        Ok(found)
    }

    /// Takes a promise back.
    pub(super) fn release(&mut self, need_bytes: u64) {
        self.busy = self.busy.saturating_sub(1);
        self.busy_bytes = self.busy_bytes.saturating_sub(need_bytes);
    }

    /// Keeps a worker, unless it has served for long enough. Whoever has to go is in `gone`.
    pub(super) fn put(&mut self, idle: Idle<K, W>, now: Instant, gone: &mut Vec<Idle<K, W>>) {
        if idle.is_spent(now) {
            gone.push(idle);
            return;
        }
        self.idle.push(idle);
        if self.idle.len() > IDLE_MAX {
            gone.push(self.idle.remove(0));
        }
        self.shrink(gone);
    }

    /// Gives out whoever has waited, lived or served for long enough.
    pub(super) fn drop_spent(&mut self, now: Instant, gone: &mut Vec<Idle<K, W>>) {
        gone.extend(self.idle.extract_if(.., |idle| idle.is_spent(now)));
    }

    /// Gives out everybody who waits.
    pub(super) fn drop_idle(&mut self, gone: &mut Vec<Idle<K, W>>) {
        gone.append(&mut self.idle);
    }

    /// Those who wait make room for those who work, the longest unused first.
    fn shrink(&mut self, gone: &mut Vec<Idle<K, W>>) {
        while !self.idle.is_empty()
            && self.busy_bytes.saturating_add(self.idle_bytes()) > self.budget_bytes
        {
            gone.push(self.idle.remove(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Kept = State<&'static str, u32>;

    fn idle(
        key: &'static str,
        worker: u32,
        held_bytes: u64,
        now: Instant,
    ) -> Idle<&'static str, u32> {
        Idle { key, worker, held_bytes, calls: 0, born: now, since: now }
    }

    fn numbers(gone: &[Idle<&'static str, u32>]) -> Vec<u32> {
        gone.iter().map(|idle| idle.worker).collect()
    }

    #[test]
    fn a_worker_serves_its_own_key_only_and_the_last_used_comes_first() {
        let (mut state, now, mut gone) = (Kept::new(100), Instant::now(), Vec::new());
        for (key, worker) in [("a", 1), ("b", 2), ("a", 3)] {
            state.put(idle(key, worker, 1, now), now, &mut gone);
        }
        let mut take = |key| state.take(&key, 10, now, &mut gone).unwrap().map(|idle| idle.worker);
        assert_eq!(
            [take("c"), take("a"), take("a"), take("a"), take("b")],
            [None, Some(3), Some(1), None, Some(2)]
        );
        assert_eq!((state.busy(), state.busy_bytes()), (5, 50));
        for _ in 0..5 {
            state.release(10);
        }
        assert_eq!((state.busy(), state.busy_bytes(), gone.len()), (0, 0, 0));
    }

    #[test]
    fn memory_goes_to_those_who_work_and_never_beyond_the_budget() {
        let (mut state, now, mut gone) = (Kept::new(100), Instant::now(), Vec::new());
        for worker in 1..=4 {
            state.put(idle("a", worker, 25, now), now, &mut gone);
        }
        assert!(gone.is_empty());
        assert!(state.take(&"b", 30, now, &mut gone).unwrap().is_none());
        assert_eq!(numbers(&gone), [1, 2], "the longest unused");
        assert_eq!(state.take(&"b", 71, now, &mut gone).unwrap_err(), NoRoom::Now);
        assert_eq!(state.take(&"b", 101, now, &mut gone).unwrap_err(), NoRoom::Ever);
        assert_eq!(numbers(&gone), [1, 2], "a refusal costs nobody anything");
        assert!(state.take(&"b", 70, now, &mut gone).unwrap().is_none());
        assert_eq!(numbers(&gone), [1, 2, 3, 4]);
        state.put(idle("a", 5, 1, now), now, &mut gone);
        assert_eq!(numbers(&gone), [1, 2, 3, 4, 5]);
        state.release(70);
        state.put(idle("a", 6, 70, now), now, &mut gone);
        assert_eq!((state.idle().len(), state.idle_bytes()), (1, 70));
    }

    #[test]
    fn who_has_served_lived_or_waited_long_enough_goes() {
        let (mut state, now, mut gone) = (Kept::new(100), Instant::now(), Vec::new());
        state.put(Idle { calls: CALLS_MAX, ..idle("a", 1, 1, now) }, now, &mut gone);
        assert_eq!(numbers(&gone), [1]);
        state.put(idle("a", 2, 1, now), now, &mut gone);
        let later = now + IDLE_MAX_TIME;
        state.put(Idle { since: later, ..idle("a", 3, 1, now) }, later, &mut gone);
        state.drop_spent(later, &mut gone);
        assert_eq!(numbers(&gone), [1, 2]);
        let end = now + LIFE_MAX_TIME;
        assert!(state.take(&"a", 1, end, &mut gone).unwrap().is_none());
        assert_eq!(numbers(&gone), [1, 2, 3]);
    }

    #[test]
    fn the_number_of_those_who_wait_is_bounded() {
        let (mut state, now, mut gone) = (Kept::new(u64::MAX), Instant::now(), Vec::new());
        for worker in 0..100 {
            state.put(idle("a", worker, 0, now), now, &mut gone);
        }
        assert_eq!(state.idle().len(), IDLE_MAX);
        assert_eq!(gone.len(), 100 - IDLE_MAX);
        state.drop_idle(&mut gone);
        assert_eq!((state.idle().len(), gone.len()), (0, 100));
    }
}
