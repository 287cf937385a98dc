//! Batches: a run's records are split into parts, and the parts are spread over several executors.
//!
//! ```text
//!   handle_input --> [read ahead] --poll: Send--> [in flight] --handle_result--> [kept] --poll: Deliver-->
//!                          ^                          |
//!                          +--- handle_gone, handle_part_over, a failure that is the executor's own
//! ```
//!
//! Every record is delivered exactly once and in order, whether it came or failed. How large a part is follows from
//! what earlier parts of the same executor took, so that a call stays under the producer's limit also when costs
//! stray or a machine slows down (`cost`), and so that all executors finish together. What a slow or silent executor
//! holds goes to a faster one too when that one has nothing better to do; the first result counts.
//!
//! Bounds: [`WINDOW_RECORDS`] and [`WINDOW_BYTES`] between the first record that is not delivered and the last one
//! dispatched, [`READ_AHEAD_RECORDS`] and [`READ_AHEAD_BYTES`] of inputs beyond, [`EXECUTORS_MAX`] executors with
//! `1 +` [`AHEAD_PARTS_SHORT`] parts each, two of which may hold the same record. At a bound nothing is sent or wanted.
//!
//! No IO, clock or randomness; the same calls give the same actions. Left to the caller: the bytes of inputs and
//! results, opening and ending jobs, receipts, and giving an executor up that broke the protocol or fell silent.

mod cost;
mod error;
mod executor;
mod input;
mod progress;
mod result;
mod send;
mod window;

use std::collections::{BTreeMap, BTreeSet};

use executor::{Executor, Phase};
use window::Window;

pub use error::{InputError, Violation};
pub use progress::{ExecutorProgress, Progress};

/// Time that a part is meant to take, milliseconds: long against the cost of a message, short against the patience
/// of somebody who watches the progress, and little is lost with a node.
pub const TARGET_MS: u64 = 200;

/// A part is predicted to take at most one in this many of the producer's limit: then a part with a record that needs
/// all of the limit alone is five per cent over, and an executor that suddenly becomes ten times slower is still well
/// under it with what it has.
pub const LIMIT_PARTS: u64 = 20;

/// How many times more records a part may have than the largest one that is over, so that a wrong first impression
/// does little harm.
pub const GROWTH_MAX: usize = 4;

/// Parts that wait at an executor behind the one it scores, so that it never idles for a round trip.
pub const AHEAD_PARTS: usize = 2;

/// The same where the last part is long: one is enough, and less is lost when it turns out slow.
pub const AHEAD_PARTS_LONG: usize = 1;

/// The same where what waits is shorter than [`AHEAD_SHORT_US`]: dear records make parts short, and a node far away
/// would idle. [`Spec::ahead_max`] may allow fewer.
pub const AHEAD_PARTS_SHORT: usize = 8;

/// A round trip between continents, microseconds, and some time for both sides.
pub const AHEAD_SHORT_US: u64 = 200_000;

/// What a long part is, microseconds: five round trips half around the world.
const LONG_PART_US: f64 = 1_000_000.0;

/// Most records between the first one that is not delivered and the last one dispatched.
pub const WINDOW_RECORDS: u64 = 65_536;

/// Most bytes of inputs in flight and results kept there. What is in flight when it is reached may add its results,
/// as far as these are longer than those before.
pub const WINDOW_BYTES: usize = 64 * 1024 * 1024;

/// Most records read beyond the window: a second's work of eight executors that score two thousand a second each.
pub const READ_AHEAD_RECORDS: u64 = 16_384;

/// Most bytes of inputs read beyond the window, one record more at most.
pub const READ_AHEAD_BYTES: usize = 16 * 1024 * 1024;

/// Most executors of a run, those that left included while their place is not needed. More are closed at once.
pub const EXECUTORS_MAX: usize = 64;

/// How often a record that failed by an executor's own trouble is tried again. Three machines are rarely broken in
/// the same way; then it is the record.
pub const RETRIES_MAX: usize = 2;

/// Failures in a row, of all executors, after which the stage is taken for broken.
pub const FAILED_IN_A_ROW_MAX: u32 = 100;

/// Failures in a row by its own trouble after which an executor is closed while there is another.
pub const FAULTS_IN_A_ROW_MAX: u32 = 8;

/// Parts in a row that others were faster with, at least with half of their records, after which an executor is closed
/// while there is another. More than it has at a time, so that one dear record with others behind it is not enough.
pub const OVERTAKEN_MAX: u32 = 10;

/// Parts in a row that are over without a result after which an executor breaks the protocol.
pub const FRUITLESS_MAX: u32 = 3;

/// An executor is late when nothing came for this many times the predicted rest of its first part, and the floor:
/// then executors without work look after its records. That costs nobody but them.
const LATE_FACTOR: f64 = 2.0;
const LATE_FLOOR_US: u64 = 20_000;

/// An executor is overdue when nothing came for this many times the predicted rest of its first part, and what the
/// producer allows a call, as far as that is between these two: then its records come before fresh ones, since they
/// hold the results behind them back. A dear record may take all of its limit, and to score it twice costs as much
/// again; but nobody should look at a bar that stands still for long.
const OVERDUE_FACTOR: f64 = 4.0;
const OVERDUE_LEAST_US: f64 = 500_000.0;
const OVERDUE_MOST_US: f64 = 10_000_000.0;

/// From when on the rate that was seen of an executor counts beside the one that it tells, microseconds: several parts
/// and round trips.
const SEEN_FROM_US: u64 = 2_000_000;

/// What a run's records are and what limits a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// How many records there are, those before `first` included, when that is known from the start.
    pub records: Option<u64>,
    /// Records before it are delivered already.
    pub first: u64,
    /// The producers' limit of one call in milliseconds, the smallest of the stages.
    pub scoring_ms: u64,
    /// Most records of a call that the producers allow, the smallest of the stages.
    pub batch_max: u64,
    /// Most records of a part.
    pub part_max_records: usize,
    /// Most bytes of a part's inputs, and of its results as far as they can be predicted. A single record may be
    /// longer.
    pub part_max_bytes: usize,
    /// Most parts that may wait at an executor behind the one it scores. [`AHEAD_PARTS`] is best where nodes are near;
    /// up to [`AHEAD_PARTS_SHORT`] keep those far away busy, and more is with an executor that shows to be slow.
    pub ahead_max: usize,
}

/// Whose trouble a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The record's or the stage's: it would fail elsewhere too.
    Record,
    /// The executor's: another may do better.
    Executor,
}

/// What became of a record on an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its result came.
    Came,
    /// It failed.
    Failed {
        /// Whose trouble that is.
        fault: Fault,
    },
}

/// What to do with a result or a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is the record's first: keep it until the record is delivered.
    Keep,
    /// The record has its result already: drop it.
    Duplicate,
    /// The record is tried elsewhere: drop it.
    Retry,
}

/// What the caller is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these records to an executor as one part.
    Send {
        /// To whom.
        executor: u32,
        /// The part's number, never used twice in a run.
        part: u64,
        /// The records' positions, ascending.
        records: Vec<u64>,
    },
    /// Hand over what was kept of this record. They come in order, each exactly once.
    Deliver {
        /// Its position.
        record: u64,
    },
    /// End this executor's job: nothing more is sent to it, and what it still says is not needed.
    Close {
        /// The executor.
        executor: u32,
    },
    /// Every record is delivered. Nothing follows.
    Done,
    /// [`FAILED_IN_A_ROW_MAX`] records failed one after the other: the stage is broken. Nothing follows.
    GiveUp {
        /// Results so far.
        came: u64,
        /// Failures so far.
        failed: u64,
        /// The record whose failure was the last straw.
        last: u64,
    },
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Running,
    /// Too many failed; this one was the last.
    Broken(u64),
    /// The last action was polled.
    Ended,
}

/// How long results are, so that neither parts nor the window promise too many.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Outputs {
    mean_bytes: f64,
    stray_bytes: f64,
    seen: bool,
}

/// The state of one run's batches.
#[derive(Clone, Debug)]
pub struct State {
    spec: Spec,
    limit_us: f64,
    window: Window,
    input_ended: bool,
    executors: BTreeMap<u32, Executor>,
    /// Those whose `Close` was not polled yet.
    closing: BTreeSet<u32>,
    next_part: u64,
    outputs: Outputs,
    came: u64,
    failed: u64,
    failed_in_a_row: u32,
    ending: Ending,
    polled_us: u64,
}

impl State {
    /// Nothing is read and nobody is ready.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        Self {
            limit_us: spec.scoring_ms.max(1) as f64 * 1_000.0,
            window: Window::new(spec.first),
            input_ended: spec.records.is_some_and(|records| records <= spec.first),
            spec,
            executors: BTreeMap::new(),
            closing: BTreeSet::new(),
            next_part: 0,
            outputs: Outputs::default(),
            came: 0,
            failed: 0,
            failed_in_a_row: 0,
            ending: Ending::Running,
            polled_us: 0,
        }
    }

    /// What to do next; call it until there is nothing, after each input and at [`State::next_wake_us`].
    pub fn poll(&mut self, now_us: u64) -> Option<Action> {
        self.polled_us = now_us;
        if self.ending == Ending::Ended {
            return None;
        }
        if let Some(record) = self.window.deliver() {
            return Some(Action::Deliver { record });
        }
        let all_ended = self.input_ended && self.window.known() == self.window.next;
        let is_over = all_ended || self.ending != Ending::Running;
        if is_over {
            let ready = self.executors.iter().filter(|(_, executor)| executor.is_ready());
            for id in ready.map(|(id, _)| *id).collect::<Vec<_>>() {
                self.close(id);
            }
        }
        if let Some(executor) = self.closing.pop_first() {
            return Some(Action::Close { executor });
        }
        if !is_over {
            return self.send(now_us);
        }
        let ending = std::mem::replace(&mut self.ending, Ending::Ended);
        Some(match ending {
            Ending::Broken(last) => Action::GiveUp { came: self.came, failed: self.failed, last },
            Ending::Running | Ending::Ended => Action::Done,
        })
    }

    /// Checks what must always hold; for tests.
    ///
    /// # Errors
    /// What does not.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.window.check_invariants()?;
        if self.executors.len() > EXECUTORS_MAX {
            return Err("there are too many executors");
        }
        let mut held = 0;
        for (id, executor) in self.executors.iter().filter(|(_, executor)| executor.is_ready()) {
            if executor.parts.len() > 1 + AHEAD_PARTS_SHORT.min(self.spec.ahead_max) {
                return Err("an executor has too many parts");
            }
            for part in &executor.parts {
                let is_held = |position: &&u64| {
                    let holders = self.window.record(**position).map(|record| &record.holders);
                    holders.is_some_and(|holders| holders.contains(&(*id, part.id)))
                };
                held += part.rest().iter().filter(is_held).count();
            }
        }
        let mut counted = 0;
        for position in self.window.next..self.window.high {
            let holders = self.window.record(position).map_or(0, |record| record.holders.len());
            if holders > 2 {
                return Err("a record is with more than two");
            }
            counted += holders;
        }
        if held == counted { Ok(()) } else { Err("a record is with somebody who has no such part") }
    }
}

impl Outputs {
    /// Weight of the newest result: some fifty are remembered.
    const NEWEST: f64 = 0.02;

    fn learn(&mut self, bytes: usize) {
        let bytes = bytes as f64;
        if !self.seen {
            *self = Self { mean_bytes: bytes, stray_bytes: 0.0, seen: true };
        }
        let stray_bytes = (bytes - self.mean_bytes).abs();
        self.stray_bytes += Self::NEWEST * (stray_bytes - self.stray_bytes);
        self.mean_bytes += Self::NEWEST * (bytes - self.mean_bytes);
    }

    /// What `count` results hardly exceed.
    fn predicted_bytes(&self, count: usize) -> usize {
        // Four mean deviations are some three standard ones; saturates.
        ((self.mean_bytes + 4.0 * self.stray_bytes) * count as f64) as usize
    }
}

impl State {
    /// Ends an executor's share: its records wait for others.
    fn close(&mut self, id: u32) {
        self.drop_parts(id, Phase::Closed);
        self.closing.insert(id);
    }

    fn drop_parts(&mut self, id: u32, phase: Phase) {
        let Some(executor) = self.executors.get_mut(&id) else { return };
        executor.phase = phase;
        for part in std::mem::take(&mut executor.parts) {
            for position in part.rest() {
                self.window.release(*position, id, part.id);
            }
        }
    }

    /// Whether anybody but this executor may take parts.
    fn has_other(&self, id: u32) -> bool {
        self.executors.iter().any(|(other, executor)| *other != id && executor.is_ready())
    }
}
