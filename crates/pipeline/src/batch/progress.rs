//! What can be told about a run: how far it is, how fast, how long it still takes.

use super::State;

/// How far a run is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Records delivered, those before the first of this run included.
    pub delivered: u64,
    /// Records that have their result, delivered or not.
    pub came: u64,
    /// Records that failed for good, delivered or not.
    pub failed: u64,
    /// How many records there are, when that is known.
    pub records: Option<u64>,
    /// Records that executors have or that wait for one again.
    pub in_flight: usize,
    /// Each executor, those that left included.
    pub executors: Vec<ExecutorProgress>,
    /// Estimated time until all have their result, microseconds, when it can be told.
    pub left_us: Option<u64>,
}

/// What one executor achieved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExecutorProgress {
    /// The executor.
    pub executor: u32,
    /// Whether it gets work.
    pub is_ready: bool,
    /// Records whose result is its.
    pub records: u64,
    /// Parts that are over.
    pub parts: u64,
    /// Time in the engine, as it says, microseconds.
    pub wall_us: u64,
    /// Records a second by its latest parts, or by what came since its first one if that is less; 0 as long as nothing
    /// is known.
    pub rate: f64,
}

impl State {
    /// How far the run is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let records = self.total();
        let executors = self.executors.iter().map(|(id, known)| ExecutorProgress {
            executor: *id,
            is_ready: known.is_ready(),
            records: known.scored,
            parts: known.parts_over,
            wall_us: known.wall_us,
            rate: known.rate(self.polled_us),
        });
        let executors: Vec<_> = executors.collect();
        let rate: f64 =
            executors.iter().filter(|known| known.is_ready).map(|known| known.rate).sum();
        let left = records.map(|records| {
            records.saturating_sub(self.window.high).saturating_add(self.window.open as u64)
        });
        let left_us = match left {
            Some(0) => Some(0),
            Some(left) if rate > 0.0 => Some((left as f64 / rate * 1e6) as u64),
            _ => None,
        };
        Progress {
            delivered: self.window.next,
            came: self.came,
            failed: self.failed,
            records,
            in_flight: self.window.open,
            executors,
            left_us,
        }
    }

    /// How many records there are, when that is known.
    pub(super) fn total(&self) -> Option<u64> {
        if self.input_ended { Some(self.window.known()) } else { self.spec.records }
    }
}
