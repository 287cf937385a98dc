//! Runs: what this node asked for ([`request`]) and what it executes for others and itself ([`execute`]).
//!
//! Both ends speak the frames of `guildhall_protocol::wire` over a stream. A run on this node uses the same frames over
//! a pipe in memory, so there is one way to execute, not two.

mod attempt;
mod execute;
mod input;
mod outputs;
mod report;
mod request;
mod stages;

use std::sync::Mutex;
use std::time::Instant;

use guildhall_protocol::api::{RunReport, RunState};
use guildhall_protocol::{Hash, RunId};
use serde::{Deserialize, Serialize};

use super::lock;
pub(super) use stages::isolation_names;

/// Runs that are remembered; the oldest that ended is forgotten when another starts.
const RUNS_MAX: usize = 1_000;

/// Lines of what happened that a run keeps.
const LOG_MAX_LINES: usize = 256;

/// A run that this node asked for.
pub(crate) struct Entry {
    id: RunId,
    started: Instant,
    state: Mutex<Kept>,
}

/// What is kept of a run on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    report: RunReport,
    /// The blob with a line for each output record.
    outputs: Option<Hash>,
    /// When it was started, milliseconds since 1970.
    started_ms: u64,
}

impl Entry {
    /// Changes the report and notes what happened.
    fn update(&self, change: impl FnOnce(&mut RunReport)) {
        let mut kept = lock(&self.state);
        if kept.report.state == RunState::Running {
            kept.report.seconds = self.started.elapsed().as_secs_f64();
        }
        change(&mut kept.report);
    }

    fn log(&self, line: String) {
        self.update(|report| {
            match report.log.len() {
                len if len < LOG_MAX_LINES => report.log.push(line),
                LOG_MAX_LINES => report.log.push("further lines are left out".to_owned()),
                _ => {}
            }
        });
    }

    fn report(&self) -> RunReport {
        let mut report = lock(&self.state).report.clone();
        if report.state == RunState::Running {
            report.seconds = self.started.elapsed().as_secs_f64();
        }
        report
    }
}
