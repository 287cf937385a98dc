//! Listings that come while queries run, on one catalogue behind one lock, as the node has it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use guildhall_catalog::{Asked, Catalog, Entry};
use guildhall_protocol::query::Query;

use super::timing::Times;

/// Listings a second, and queries a second.
pub(super) const PER_SECOND: usize = 1_000;

/// How long it goes on.
const SECONDS: usize = 5;

/// How many listings it takes.
pub(super) const LISTINGS: usize = PER_SECOND * SECONDS;

/// Threads that ask: one for each processor of the smallest machine that we look at.
const ASKING_THREADS: usize = 2;

/// What was reached.
pub(super) struct Reached {
    pub(super) inserts: Side,
    pub(super) queries: Side,
}

/// One of both.
pub(super) struct Side {
    pub(super) per_second: f64,
    /// Microseconds of each, the wait for the lock included.
    pub(super) times: Times,
}

/// Lets `entries` come in and `queries` be asked, at [`PER_SECOND`] each.
pub(super) fn run(catalog: &Mutex<Catalog>, entries: Vec<Entry>, queries: &[Query]) -> Reached {
    let start = Instant::now();
    let entries: Vec<Mutex<Option<Entry>>> =
        entries.into_iter().map(|entry| Mutex::new(Some(entry))).collect();
    let insert = |at: usize| {
        let entry = entries.get(at).and_then(|one| lock(one).take());
        if let Some(entry) = entry {
            lock(catalog).insert(entry, true);
        }
    };
    let ask = |at: usize| {
        if let Some(query) = queries.get(at % queries.len().max(1)) {
            // The answer is made and dropped; making it is what is measured.
            let _answer = lock(catalog).search(query, Asked::default());
        }
    };
    std::thread::scope(|scope| {
        let inserting = scope.spawn(|| paced(start, 1, insert));
        let queries = paced(start, ASKING_THREADS, ask);
        let inserts = inserting.join().unwrap_or_else(|_| Side::none());
        Reached { inserts, queries }
    })
}

impl Side {
    fn none() -> Self {
        Self { per_second: 0.0, times: Times::default() }
    }
}

/// Does `act` [`PER_SECOND`] times a second with so many threads. A time begins when the act was due, so that waiting
/// behind a slow one counts, or, where the thread slept until then, when it woke up.
fn paced(start: Instant, threads: usize, act: impl Fn(usize) + Sync) -> Side {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut times = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= LISTINGS {
                return times;
            }
            let due = start + Duration::from_secs(at as u64) / PER_SECOND as u32;
            let left = due.saturating_duration_since(Instant::now());
            let begun = if left.is_zero() {
                due
            } else {
                std::thread::sleep(left);
                Instant::now()
            };
            act(at);
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    };
    let times: Vec<f64> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|one| one.join().unwrap_or_default()).collect()
    });
    let per_second = times.len() as f64 / start.elapsed().as_secs_f64();
    Side { per_second, times: times.into_iter().collect() }
}

/// A panic elsewhere ends the benchmark anyway.
pub(super) fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
