//! Runs: what this node asked for and what it executes for others and itself.
//!
//! - The requester's side: [`request`] checks and plans, [`runner`] drives, [`nodes`] are whom it may ask, [`share`] is one
//!   node's share, [`asking`] how it comes by a slot, [`outputs`] what came out, [`report`] what is told and kept. [`infer`] and [`score`] answer single
//!   requests, through [`sessions`] if that comes about; [`session`] is one of them.
//! - The executor's side: [`execute`] is a job from its lease to its receipt, [`pump`] its stream, [`chain`] its stages
//!   one behind the other, [`stage`] one of them.
//!
//! Both ends speak the frames of `guildhall_protocol::wire` over a stream. A run on this node uses the same frames over
//! a pipe in memory, so there is one way to execute, not two.

mod asking;
mod chain;
mod execute;
mod infer;
mod input;
mod nodes;
mod outputs;
mod pump;
mod report;
mod request;
mod runner;
mod score;
mod session;
mod sessions;
mod share;
mod stage;

use std::sync::Mutex;
use std::time::Instant;

use guildhall_protocol::api::{Placement, RunReport, RunState};
use guildhall_protocol::contract::LimitSet;
use guildhall_protocol::limits::JOB_ERROR_MAX_BYTES;
use guildhall_protocol::receipt::Receipt;
use guildhall_protocol::{Hash, PackageId, PublicKey, RunId};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{App, lock};
pub(super) use execute::ChainHead;
pub(super) use request::Plans;
pub(super) use sessions::Sessions;
pub(super) use stage::isolation_names;

/// Runs that are remembered; the oldest that ended is forgotten when another starts.
const RUNS_MAX: usize = 1_000;

/// Lines of what happened that a run keeps.
const LOG_MAX_LINES: usize = 256;

/// A run that this node asked for.
pub(crate) struct Entry {
    id: RunId,
    started: Instant,
    /// Time that earlier starts took, seconds.
    before_seconds: f64,
    /// A person ended it.
    cancel: CancellationToken,
    /// It is over, and its state is on disk.
    ended: CancellationToken,
    state: Mutex<Kept>,
}

/// What is kept of a run on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    report: RunReport,
    /// What came out.
    #[serde(default)]
    tally: outputs::Tally,
    /// What it takes to go on, until it is done.
    #[serde(default)]
    resume: Option<Resume>,
    /// When it was started, milliseconds since 1970.
    started_ms: u64,
}

/// What it takes to go on with a run that was interrupted.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Resume {
    /// The package that is run, whatever its name stands for by then.
    package: PackageId,
    input: ResumeInput,
    on: Placement,
    limits: LimitSet,
    isolation: u8,
    shares_max: Option<u32>,
}

/// Where a run's records are.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ResumeInput {
    Package(PackageId),
    /// In this blob.
    Records(Hash),
}

impl Entry {
    /// A run with what is kept of it, from now on.
    fn of(kept: Kept) -> Self {
        Self {
            id: kept.report.run_id,
            started: Instant::now(),
            before_seconds: kept.report.seconds,
            cancel: CancellationToken::new(),
            ended: CancellationToken::new(),
            state: Mutex::new(kept),
        }
    }

    /// Changes the report and notes what happened.
    fn update(&self, change: impl FnOnce(&mut RunReport)) {
        let mut kept = lock(&self.state);
        if kept.report.state == RunState::Running {
            kept.report.seconds = self.seconds();
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
            report.seconds = self.seconds();
        }
        report
    }

    fn seconds(&self) -> f64 {
        self.before_seconds + self.started.elapsed().as_secs_f64()
    }

    /// What is on disk of the outputs by now.
    fn keep(&self, tally: outputs::Tally) {
        lock(&self.state).tally = tally;
    }
}

/// Where a share's receipt is kept: its run, the requester, and the receipt's own hash. Another node may give its run
/// the same id, and a run has a receipt for each share.
fn receipt_key(run: RunId, requester: &PublicKey, receipt: &Receipt) -> Vec<u8> {
    let mut key = run.0.as_bytes().to_vec();
    key.extend_from_slice(requester.as_bytes());
    key.extend_from_slice(receipt.run.hash().as_bytes());
    key
}

/// Cuts a text that goes to a peer or came from one to what a job may say, in one line without control characters.
fn shorten(text: &str) -> String {
    let cut = text.get(..text.floor_char_boundary(JOB_ERROR_MAX_BYTES)).unwrap_or_default();
    cut.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

impl App {
    /// The outputs of all runs that are remembered, and the inputs of those that may go on.
    pub(super) fn run_blobs_kept(&self) -> Vec<Hash> {
        let runs: Vec<_> = lock(&self.runs).values().cloned().collect();
        let blobs = |run: &std::sync::Arc<Entry>| {
            let kept = lock(&run.state);
            let input = match kept.resume.as_ref().map(|resume| resume.input) {
                Some(ResumeInput::Records(hash)) => Some(hash),
                _ => None,
            };
            kept.tally.segments.iter().copied().chain(input).collect::<Vec<_>>()
        };
        runs.iter().flat_map(blobs).collect()
    }
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::SecretKey;
    use guildhall_protocol::receipt::RunStatement;
    use guildhall_protocol::statement::Signed;

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
        let key = |seed: u8| {
            let secret = SecretKey::from_seed(&[seed; 32]);
            let requester = secret.public();
            let statement = RunStatement { run, requester, jobs: Vec::new(), time_ms: 0 };
            let receipt = Receipt { jobs: Vec::new(), run: Signed::new(&statement, &secret) };
            receipt_key(run, &requester, &receipt)
        };
        assert_ne!(key(1), key(2));
        assert!(key(1).starts_with(run.0.as_bytes()));
    }
}
