//! One executor: the parts it has, in the order it scores them, what it costs and what it achieved.

use std::collections::VecDeque;

use super::cost::Cost;
use super::{
    AHEAD_PARTS, AHEAD_PARTS_LONG, AHEAD_PARTS_SHORT, AHEAD_SHORT_US, LATE_FACTOR, LATE_FLOOR_US,
    LONG_PART_US, OVERDUE_FACTOR, OVERDUE_LEAST_US, OVERDUE_MOST_US, SEEN_FROM_US,
};

/// Whether an executor gets work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It may take parts.
    Ready,
    /// It gets no more and what still comes of it is dropped.
    Closed,
    /// It left. What it achieved is remembered.
    Gone,
}

/// Records sent together.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) id: u64,
    pub(super) records: Vec<u64>,
    pub(super) len_bytes: usize,
    /// How many of them have come or failed.
    pub(super) next: usize,
    pub(super) predicted_us: f64,
    /// Whether its records were with another executor already.
    pub(super) is_copy: bool,
    /// How many of its records another executor scored first.
    pub(super) lost: usize,
}

impl Part {
    /// The records that have not come yet.
    pub(super) fn rest(&self) -> &[u64] {
        self.records.get(self.next..).unwrap_or_default()
    }

    /// Predicted time for the rest.
    pub(super) fn rest_us(&self) -> f64 {
        self.predicted_us * self.rest().len() as f64 / self.records.len().max(1) as f64
    }
}

/// One executor.
#[derive(Clone, Debug)]
pub(super) struct Executor {
    pub(super) phase: Phase,
    pub(super) cost: Cost,
    /// In the order in which they were sent, which is the order in which they are scored.
    pub(super) parts: VecDeque<Part>,
    /// Records of its largest part that is over.
    pub(super) largest: usize,
    /// When the first part began or last showed a result.
    pub(super) active_us: u64,
    /// Parts in a row that others were faster with.
    pub(super) overtaken: u32,
    /// Parts in a row of which nothing came.
    pub(super) fruitless: u32,
    /// Failures in a row that were its own trouble.
    pub(super) faults: u32,
    /// Results that counted.
    pub(super) scored: u64,
    pub(super) parts_over: u64,
    pub(super) wall_us: u64,
    /// When its first part was sent, and what had counted by then.
    pub(super) since: Option<(u64, u64)>,
}

impl Executor {
    pub(super) fn new(limit_us: f64) -> Self {
        Self {
            phase: Phase::Ready,
            cost: Cost::new(limit_us),
            parts: VecDeque::new(),
            largest: 0,
            active_us: 0,
            overtaken: 0,
            fruitless: 0,
            faults: 0,
            scored: 0,
            parts_over: 0,
            wall_us: 0,
            since: None,
        }
    }

    /// Comes back after it left: what it achieved counts on, how fast it is must be seen again.
    pub(super) fn revive(&mut self, limit_us: f64) {
        let old = std::mem::replace(self, Self::new(limit_us));
        self.scored = old.scored;
        self.parts_over = old.parts_over;
        self.wall_us = old.wall_us;
    }

    /// Records a second. What it says of its own time, but no more than what was seen of it once that is long enough
    /// to tell: one that is slow and says that it is not must not keep others from being asked.
    pub(super) fn rate(&self, now_us: u64) -> f64 {
        let told = self.cost.mean_us().map_or(0.0, |mean_us| 1e6 / mean_us);
        let Some((since_us, scored)) = self.since else { return told };
        let spent_us = now_us.saturating_sub(since_us);
        if spent_us < SEEN_FROM_US {
            return told;
        }
        told.min(self.scored.saturating_sub(scored) as f64 * 1e6 / spent_us as f64)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Whether another part may be sent to it.
    pub(super) fn has_room(&self, ahead_max: usize) -> bool {
        let is_long = self.parts.back().is_some_and(|part| part.predicted_us >= LONG_PART_US);
        let waiting_us: f64 = self.parts.iter().skip(1).map(Part::rest_us).sum();
        let ahead = if is_long {
            AHEAD_PARTS_LONG
        } else if waiting_us < AHEAD_SHORT_US as f64 {
            AHEAD_PARTS_SHORT
        } else {
            AHEAD_PARTS
        };
        self.is_ready() && self.parts.len() < 1 + ahead.min(ahead_max)
    }

    /// Predicted time until all its parts are over, microseconds.
    pub(super) fn backlog_us(&self, now_us: u64) -> f64 {
        let spent_us = now_us.saturating_sub(self.active_us) as f64;
        let mut parts = self.parts.iter();
        let first_us = parts.next().map_or(0.0, |part| (part.rest_us() - spent_us).max(0.0));
        first_us + parts.map(Part::rest_us).sum::<f64>()
    }

    /// From when on it is slower than idle executors should watch.
    pub(super) fn late_at_us(&self) -> Option<u64> {
        self.due_us(LATE_FACTOR, LATE_FLOOR_US)
    }

    /// From when on others should do its work before fresh work.
    pub(super) fn overdue_at_us(&self) -> Option<u64> {
        let floor_us = self.cost.limit_us.clamp(OVERDUE_LEAST_US, OVERDUE_MOST_US);
        self.due_us(OVERDUE_FACTOR, floor_us as u64)
    }

    pub(super) fn is_overdue(&self, now_us: u64) -> bool {
        self.is_ready() && self.overdue_at_us().is_some_and(|due_us| due_us <= now_us)
    }

    fn due_us(&self, factor: f64, floor_us: u64) -> Option<u64> {
        let first = self.parts.front()?;
        let patience_us = (factor * first.rest_us()) as u64;
        Some(self.active_us.saturating_add(patience_us).saturating_add(floor_us))
    }

    pub(super) fn position_of(&self, part: u64) -> Option<usize> {
        self.parts.iter().position(|known| known.id == part)
    }
}
