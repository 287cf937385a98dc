//! Runs: what this node asked for ([`request`]) and what it executes for others and itself ([`execute`]).
//!
//! Both ends speak the frames of `guildhall_protocol::wire` over a stream. A run on this node uses the same frames over
//! a pipe in memory, so there is one way to execute, not two.

mod attempt;
mod execute;
mod input;
mod outputs;
mod pump;
mod report;
mod request;
mod stages;

use std::sync::Mutex;
use std::time::Instant;

use guildhall_protocol::api::{RunReport, RunState};
use guildhall_protocol::limits::JOB_ERROR_MAX_BYTES;
use guildhall_protocol::{Hash, PublicKey, RunId};
use serde::{Deserialize, Serialize};

use super::{App, lock};
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

    /// A line may quote what a peer said.
    fn log(&self, line: &str) {
        let line = shorten(line);
        self.update(|report| match report.log.len() {
            len if len < LOG_MAX_LINES => report.log.push(line),
            LOG_MAX_LINES => report.log.push("further lines are left out".to_owned()),
            _ => {}
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

/// Where a run's receipt is kept. Another node may give its run the same id, and must not replace this one's receipt.
fn receipt_key(run: RunId, requester: &PublicKey) -> [u8; 64] {
    let mut key = [0; 64];
    let (first, second) = key.split_at_mut(32);
    first.copy_from_slice(run.0.as_bytes());
    second.copy_from_slice(requester.as_bytes());
    key
}

/// Cuts a text that goes to a peer or came from one to what a job may say, in one line without control characters.
fn shorten(text: &str) -> String {
    let cut = text.get(..text.floor_char_boundary(JOB_ERROR_MAX_BYTES)).unwrap_or_default();
    cut.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

impl App {
    /// The outputs of all runs that are remembered.
    pub(super) fn run_outputs_kept(&self) -> Vec<Hash> {
        let runs: Vec<_> = lock(&self.runs).values().cloned().collect();
        runs.iter().filter_map(|run| lock(&run.state).outputs).collect()
    }
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::SecretKey;

    use super::*;

    #[test]
    fn what_a_peer_says_is_one_bounded_line() {
        assert_eq!(shorten("two\nlines \u{1b}[31m"), "two lines  [31m");
        let long = "é".repeat(JOB_ERROR_MAX_BYTES);
        assert_eq!(shorten(&long).len(), JOB_ERROR_MAX_BYTES / 2 * 2);
    }

    #[test]
    fn receipts_of_one_run_id_by_two_requesters_have_two_places() {
        let run = RunId(Hash::of(b"run"));
        let key = |seed: u8| receipt_key(run, &SecretKey::from_seed(&[seed; 32]).public());
        assert_ne!(key(1), key(2));
        assert!(key(1).starts_with(run.0.as_bytes()));
    }
}
