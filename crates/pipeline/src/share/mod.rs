//! One node's share of a run, as the requester's node sees it: what was sent, what came back, and whether the receipt
//! says the same.
//!
//! ```text
//!           handle_ready           handle_finished
//!   [asked] ------------> [ready] -----------------> [ended]
//!      |                     |                          ^
//!      +------ handle_failed +--> [failed] -------------+
//! ```
//!
//! Records are sent in parts and come back part by part; what the executor signs covers the parts that are over, and
//! nothing else. Which records go where, and which are sent again elsewhere, is [`batch`](crate::batch)'s business.
//!
//! Bounds: nothing is kept but counters, two hashes, and the parts on their way, which are at most
//! [`PARTS_AHEAD_MAX`]. A [`Violation`] means that the executor broke the protocol: give it up, and what it has not
//! finished goes to another node.

mod error;
mod quote;
mod receipt;

use std::collections::VecDeque;
use std::fmt;

use guildhall_protocol::contract::{LimitSet, Limits};
use guildhall_protocol::limits::{JOB_ERROR_MAX_BYTES, TENSOR_MAX_RANK, VALUE_MAX_BYTES};
use guildhall_protocol::receipt::EdgeHasher;
use guildhall_protocol::statement::Signed;
use guildhall_protocol::wire::{
    JobFailure, PART_MAX_RECORDS, PartEnd, PartFrame, PartRecords, PortValue, RecordEnd,
    RecordFrame, RecordResult, ResultsFrame,
};
use guildhall_protocol::{Hash, PackageId, PublicKey, RunId};

pub use error::{CannotSend, Violation};
pub use receipt::{Ending, Verified};

/// Parts that may be on their way to one executor: one that is scored, one that waits there, and some on the wire.
pub const PARTS_AHEAD_MAX: usize = 8;

/// Longest word for the cause of a failure that is kept, bytes; what executors say is a fourth of it.
const CAUSE_MAX_BYTES: usize = 64;

/// What a share is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The run.
    pub run: RunId,
    /// Key of the edge commitments.
    pub nonce: Hash,
    /// The requester's node.
    pub requester: PublicKey,
    /// The executor's node.
    pub executor: PublicKey,
    /// Packages of the stages, in order.
    pub packages: Vec<PackageId>,
    /// What the stages' producers allow, in the same order: the smaller of contract and listing.
    pub limits: Vec<LimitSet>,
    /// What the requester asked for.
    pub asked: LimitSet,
    /// Output ports of the last stage. A record that comes out has a value for each and nothing else.
    pub outputs: Vec<String>,
}

/// Where a share stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The node was asked and is fetching packages and starting workers.
    Asked,
    /// Parts go there and come back.
    Ready,
    /// The executor cannot go on; the receipt is awaited.
    Failed,
    /// The receipt was verified. Nothing follows.
    Ended,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "the executor is not ready yet",
            Self::Ready => "records are coming",
            Self::Failed => "the executor said that it cannot go on",
            Self::Ended => "the job has ended",
        })
    }
}

/// The state of one share.
#[derive(Clone, Debug)]
pub struct State {
    spec: Spec,
    phase: Phase,
    /// Whether the records were sent with their values.
    is_streamed: bool,
    limits: Option<Vec<Limits>>,
    /// Parts sent and not over yet, oldest first.
    sent: VecDeque<Sent>,
    next_part: u64,
    /// What went in with the parts that are over.
    input: EdgeHasher,
    /// What came out of them.
    output: EdgeHasher,
    /// Records of parts that are over: those that came out, and those that failed.
    came: u64,
    failed: u64,
    failure: Option<JobFailure>,
}

/// A part on its way.
#[derive(Clone, Debug)]
struct Sent {
    part: u64,
    positions: Vec<u64>,
    /// The values, unless the executor has them from a data package.
    values: Option<Vec<RecordFrame>>,
    /// Records whose end came so far.
    reached: usize,
    came: u64,
    failed: u64,
    /// What came out up to here, in case the part is ended.
    output: EdgeHasher,
}

impl State {
    /// A share whose executor was sent the job.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        let edge = || EdgeHasher::new(&spec.nonce);
        Self {
            phase: Phase::Asked,
            is_streamed: true,
            limits: None,
            sent: VecDeque::new(),
            next_part: 0,
            input: edge(),
            output: edge(),
            came: 0,
            failed: 0,
            failure: None,
            spec,
        }
    }

    /// The executor is ready and tells the limits in force, a stage each. None may be looser than what the producer
    /// and the requester agreed to.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn handle_ready(&mut self, limits: Vec<Limits>) -> Result<(), Violation> {
        self.expect(Phase::Asked)?;
        if limits.len() != self.spec.packages.len() {
            return Err(Violation::Stages {
                expected: self.spec.packages.len(),
                found: limits.len(),
            });
        }
        for (stage, limits) in limits.iter().enumerate() {
            quote::check(&self.spec, stage, limits)?;
        }
        self.limits = Some(limits);
        self.phase = Phase::Ready;
        Ok(())
    }

    /// Makes the next part of these records.
    ///
    /// # Errors
    /// [`CannotSend`]; all of them are mistakes on this side, or mean that the executor is not ready for it.
    pub fn send(&mut self, records: PartRecords) -> Result<PartFrame, CannotSend> {
        let positions = records.positions();
        let is_ascending = positions.windows(2).all(|pair| pair.first() < pair.last());
        if self.phase != Phase::Ready || self.sent.len() >= PARTS_AHEAD_MAX {
            return Err(CannotSend::NotNow { phase: self.phase });
        }
        if positions.is_empty() || positions.len() > PART_MAX_RECORDS || !is_ascending {
            return Err(CannotSend::Records);
        }
        self.is_streamed &= matches!(records, PartRecords::Values(_));
        let part = self.next_part;
        self.next_part = self.next_part.saturating_add(1);
        self.sent.push_back(Sent {
            part,
            positions,
            values: match &records {
                PartRecords::Values(values) => Some(values.clone()),
                _ => None,
            },
            reached: 0,
            came: 0,
            failed: 0,
            output: self.output.clone(),
        });
        Ok(PartFrame { part, records })
    }

    /// Results came. Returns them with causes and details cut to their bounds, and what the part took if it is over.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn handle_results(
        &mut self,
        frame: ResultsFrame,
    ) -> Result<(Vec<RecordResult>, Option<PartEnd>), Violation> {
        self.expect(Phase::Ready)?;
        if frame.records.is_empty() && frame.end.is_none() {
            return Err(Violation::Nothing { part: frame.part });
        }
        let stages = self.spec.packages.len();
        let terms =
            Terms { stages, outputs: &self.spec.outputs, max_bytes: self.output_max_bytes() };
        let Some(sent) = self.sent.front_mut().filter(|sent| sent.part == frame.part) else {
            return Err(Violation::Part { part: frame.part });
        };
        let mut results = frame.records;
        for result in &mut results {
            sent.take(result, &terms)?;
        }
        if frame.end.is_some()
            && let Some(sent) = self.sent.pop_front()
        {
            self.conclude(&sent);
        }
        Ok((results, frame.end))
    }

    /// Longest output of one record by the limits that the executor quoted.
    fn output_max_bytes(&self) -> usize {
        let quoted = self.limits().last().map(|limits| limits.output_bytes.value);
        let quoted = quoted.and_then(|bytes| usize::try_from(bytes).ok());
        quoted.unwrap_or(VALUE_MAX_BYTES).min(VALUE_MAX_BYTES)
    }

    /// Takes a part that is over into what has to be signed.
    fn conclude(&mut self, sent: &Sent) {
        for record in sent.values.iter().flatten().take(sent.reached) {
            self.input.record(record.index, &record.values);
        }
        self.output = sent.output.clone();
        // Parts come back in the order they were sent, so the next one goes on from here.
        if let Some(next) = self.sent.front_mut() {
            next.output = self.output.clone();
        }
        self.came = self.came.saturating_add(sent.came);
        self.failed = self.failed.saturating_add(sent.failed);
    }

    /// The executor cannot go on, perhaps from the start. Cause and detail are cut to their bounds.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn handle_failed(&mut self, mut failure: JobFailure) -> Result<(), Violation> {
        if self.phase != Phase::Asked {
            self.expect(Phase::Ready)?;
        }
        bound(&mut failure, self.spec.packages.len())?;
        self.failure = Some(failure);
        self.phase = Phase::Failed;
        Ok(())
    }

    /// The executor says that all is done, and signs for it. The share ends only if everything it signed is what was
    /// agreed, sent and received here.
    ///
    /// # Errors
    /// [`Violation`] with the first thing that does not hold.
    pub fn handle_finished(&mut self, jobs: &[Signed]) -> Result<Verified, Violation> {
        if self.phase != Phase::Failed {
            self.expect(Phase::Ready)?;
        }
        let verified = receipt::verify(self, jobs)?;
        self.phase = Phase::Ended;
        Ok(verified)
    }

    /// Whether a failure, of the job or of a record, is the executing node's own trouble, so that another node may do
    /// better: its worker broke, or the stage ran into a limit that this node alone set so low.
    #[must_use]
    pub fn is_executors(&self, failure: &JobFailure) -> bool {
        quote::is_executors(&self.spec, self.limits.as_deref(), failure)
    }

    /// Where it stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The executor's node.
    #[must_use]
    pub const fn executor(&self) -> PublicKey {
        self.spec.executor
    }

    /// The limits in force, a stage each, once the executor is ready.
    #[must_use]
    pub fn limits(&self) -> &[Limits] {
        self.limits.as_deref().unwrap_or_default()
    }

    /// Parts on their way.
    #[must_use]
    pub fn parts_ahead(&self) -> usize {
        self.sent.len()
    }

    fn expect(&self, phase: Phase) -> Result<(), Violation> {
        if self.phase == phase { Ok(()) } else { Err(Violation::Phase { phase: self.phase }) }
    }
}

/// What a record's end has to keep to.
struct Terms<'a> {
    stages: usize,
    outputs: &'a [String],
    max_bytes: usize,
}

impl Terms<'_> {
    /// Each port once and none beside. Names and dimensions are not counted by whoever keeps results, so they must be
    /// those that are known.
    fn are_kept_by(&self, values: &[PortValue]) -> bool {
        let has = |port: &String| values.iter().any(|value| value.port == *port);
        let rank = |value: &PortValue| value.dims.as_ref().map_or(0, Vec::len);
        values.len() == self.outputs.len()
            && self.outputs.iter().all(has)
            && values.iter().all(|value| rank(value) <= TENSOR_MAX_RANK)
    }
}

impl Sent {
    /// The next record's end.
    fn take(&mut self, result: &mut RecordResult, terms: &Terms<'_>) -> Result<(), Violation> {
        let expected = self.positions.get(self.reached).copied();
        let index = result.index;
        if expected != Some(index) {
            return Err(Violation::OutOfOrder { expected, index });
        }
        match &mut result.end {
            RecordEnd::Values(values) => {
                let (len_bytes, max_bytes) = (PortValue::len_bytes(values), terms.max_bytes);
                if len_bytes > max_bytes {
                    return Err(Violation::TooLong { index, len_bytes, max_bytes });
                }
                if !terms.are_kept_by(values) {
                    return Err(Violation::Ports { index });
                }
                self.output.record(index, values);
                self.came = self.came.saturating_add(1);
            }
            RecordEnd::Failed(failure) => {
                bound(failure, terms.stages)?;
                failure.record = index;
                self.failed = self.failed.saturating_add(1);
            }
            _ => return Err(Violation::Unknown),
        }
        self.reached = self.reached.saturating_add(1);
        Ok(())
    }
}

/// Checks the stage of a failure and cuts its texts.
fn bound(failure: &mut JobFailure, stages: usize) -> Result<(), Violation> {
    if usize::try_from(failure.stage).map_or(true, |stage| stage >= stages) {
        return Err(Violation::NoSuchStage { stage: failure.stage });
    }
    cut(&mut failure.cause, CAUSE_MAX_BYTES);
    cut(&mut failure.detail, JOB_ERROR_MAX_BYTES);
    Ok(())
}

/// Cuts `text` to at most `max_bytes`, at a letter's end, and gives back the memory of the rest: a peer's text may have
/// been as long as a frame.
fn cut(text: &mut String, max_bytes: usize) {
    text.truncate(text.floor_char_boundary(max_bytes));
    text.shrink_to_fit();
}
