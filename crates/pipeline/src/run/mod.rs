//! The requester's side of a run: what was sent, what came back, and whether the receipts say the same.
//!
//! ```text
//!           start_attempt           handle_ready           handle_finished
//!   [idle] --------------> [asked] --------------> [ready] ----------------> [ended]
//!     ^ ^                     |    handle_failed      |                         ^
//!     | |                     +-----------+-----------+                         |
//!     | |  handle_finished,               v         handle_finished,            |
//!     | +- the executor's trouble --- [failed] ---- anybody else's trouble -----+
//!     +--- give_up, from any
//!          but [ended]
//! ```
//!
//! A failure that is the executor's own ([`Ending::Elsewhere`]) ends the attempt with a receipt and leaves the run
//! open: another node may be asked. What the producer or the requester is to blame for ends the run.
//!
//! A run may take several attempts, each on one node from its first record on. Every record is delivered exactly once
//! and in order: what an earlier attempt delivered is a duplicate in a later one. The receipt of the last attempt
//! counts only if it covers all that was delivered, also by earlier attempts.
//!
//! Bounds: [`JOB_MAX_RECORDS`] records, [`VALUE_MAX_BYTES`] a record, [`ATTEMPTS_MAX`] attempts. Nothing is kept but
//! counters and two hashes, however long the run is. A [`Violation`] means that the executor broke the protocol: give
//! the attempt up, and try another node.

mod error;
mod quote;
mod receipt;

use std::fmt;

use guildhall_protocol::contract::{LimitSet, Limits};
use guildhall_protocol::limits::{JOB_ERROR_MAX_BYTES, JOB_MAX_RECORDS, VALUE_MAX_BYTES};
use guildhall_protocol::receipt::EdgeHasher;
use guildhall_protocol::statement::Signed;
use guildhall_protocol::wire::JobFailure;
use guildhall_protocol::{Hash, PackageId, PublicKey, RunId};

pub use error::{CannotStart, InputError, Violation};
pub use receipt::{Ending, Verified};

/// Nodes that are tried for one run. If four cannot do it, the fifth will hardly do better, and somebody is waiting.
pub const ATTEMPTS_MAX: u32 = 4;

/// Longest word for the cause of a failure that is kept, bytes; what executors say is a fourth of it.
const CAUSE_MAX_BYTES: usize = 64;

/// What a run is about; it stays the same over all attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The run.
    pub run: RunId,
    /// Key of the edge commitments.
    pub nonce: Hash,
    /// The requester's node.
    pub requester: PublicKey,
    /// Packages of the stages, in order.
    pub packages: Vec<PackageId>,
    /// What the stages' producers allow, in the same order: the smaller of contract and listing.
    pub limits: Vec<LimitSet>,
    /// What the requester asked for.
    pub asked: LimitSet,
    /// How many records there are, when that is known from the start; a streamed input tells with
    /// [`State::handle_input_end`].
    pub records: Option<u64>,
    /// Whether the input is streamed, so that its commitment is known here and checked against the receipt.
    pub streamed: bool,
}

/// Where an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No attempt is under way.
    Idle,
    /// A node was asked and is fetching packages and starting workers.
    Asked,
    /// Records come.
    Ready,
    /// A stage failed; the receipt is awaited.
    Failed,
    /// The receipt was verified and is final. Nothing follows.
    Ended,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "no attempt is under way",
            Self::Asked => "the executor is not ready yet",
            Self::Ready => "records are coming",
            Self::Failed => "a stage has failed",
            Self::Ended => "the run has ended",
        })
    }
}

/// What to do with a record that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is the next one: deliver it.
    Deliver,
    /// It was delivered already: drop it.
    Duplicate,
}

/// The state of one run.
#[derive(Clone, Debug)]
pub struct State {
    spec: Spec,
    phase: Phase,
    attempts: u32,
    /// Everything streamed to executors, each record once.
    sent: Edge,
    /// Whether no more input follows.
    input_ended: bool,
    /// Everything delivered, over all attempts.
    delivered: Edge,
    attempt: Attempt,
}

/// What belongs to the attempt under way.
#[derive(Clone, Debug)]
struct Attempt {
    executor: Option<PublicKey>,
    limits: Option<Vec<Limits>>,
    /// Everything this executor sent.
    received: Edge,
    failure: Option<JobFailure>,
}

/// Records in order from 0, and the commitment to them.
#[derive(Clone, Debug)]
struct Edge {
    hasher: EdgeHasher,
    next: u64,
}

impl Edge {
    fn new(nonce: &Hash) -> Self {
        Self { hasher: EdgeHasher::new(nonce), next: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.hasher.record(self.next, bytes);
        self.next = self.next.saturating_add(1);
    }
}

impl Attempt {
    fn new(executor: Option<PublicKey>, nonce: &Hash) -> Self {
        Self { executor, limits: None, received: Edge::new(nonce), failure: None }
    }
}

impl State {
    /// A run that was not started yet.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        let edge = || Edge::new(&spec.nonce);
        Self {
            phase: Phase::Idle,
            attempts: 0,
            sent: edge(),
            input_ended: !spec.streamed,
            delivered: edge(),
            attempt: Attempt::new(None, &spec.nonce),
            spec,
        }
    }

    /// Begins an attempt on a node that granted a lease.
    ///
    /// # Errors
    /// [`CannotStart`] when another attempt is under way, the run has ended, or there were enough attempts.
    pub fn start_attempt(&mut self, executor: PublicKey) -> Result<(), CannotStart> {
        if self.phase != Phase::Idle {
            return Err(CannotStart::Phase { phase: self.phase });
        }
        if self.attempts >= ATTEMPTS_MAX {
            return Err(CannotStart::Attempts);
        }
        self.attempts += 1;
        self.attempt = Attempt::new(Some(executor), &self.spec.nonce);
        self.phase = Phase::Asked;
        Ok(())
    }

    /// Ends the attempt under way: the node refused, vanished, was too slow or broke the protocol.
    /// What it delivered stays delivered.
    pub fn give_up(&mut self) {
        if self.phase != Phase::Ended {
            self.attempt = Attempt::new(None, &self.spec.nonce);
            self.phase = Phase::Idle;
        }
    }

    /// Takes note of an input record that is being sent. A later attempt sends the same records again from 0; only a
    /// record that was never sent counts.
    ///
    /// # Errors
    /// [`InputError`]; all of them are mistakes on this side.
    pub fn handle_input(&mut self, index: u64, bytes: &[u8]) -> Result<(), InputError> {
        if index < self.sent.next {
            return Ok(());
        }
        if self.input_ended || index > self.sent.next {
            return Err(InputError::OutOfOrder { expected: self.sent.next, index });
        }
        if bytes.len() > VALUE_MAX_BYTES || index >= JOB_MAX_RECORDS {
            return Err(InputError::TooMuch { index, len_bytes: bytes.len() });
        }
        self.sent.push(bytes);
        Ok(())
    }

    /// Takes note that no further input follows.
    pub fn handle_input_end(&mut self) {
        if !self.input_ended {
            self.input_ended = true;
            self.spec.records = Some(self.sent.next);
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
        self.attempt.limits = Some(limits);
        self.phase = Phase::Ready;
        Ok(())
    }

    /// An output record came.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn handle_record(&mut self, index: u64, bytes: &[u8]) -> Result<Accepted, Violation> {
        self.expect(Phase::Ready)?;
        let received = &mut self.attempt.received;
        if index < received.next {
            return Ok(Accepted::Duplicate);
        }
        if index > received.next {
            return Err(Violation::OutOfOrder { expected: received.next, index });
        }
        let known = if self.input_ended { self.spec.records } else { Some(self.sent.next) };
        let expected = known.unwrap_or(JOB_MAX_RECORDS).min(JOB_MAX_RECORDS);
        if index >= expected {
            return Err(Violation::TooMany { expected });
        }
        if bytes.len() > VALUE_MAX_BYTES {
            return Err(Violation::TooLong { index, len_bytes: bytes.len() });
        }
        received.push(bytes);
        if index < self.delivered.next {
            return Ok(Accepted::Duplicate);
        }
        self.delivered.push(bytes);
        Ok(Accepted::Deliver)
    }

    /// A stage failed, perhaps before the executor was ready. Cause and detail are cut to their bounds.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn handle_failed(&mut self, mut failure: JobFailure) -> Result<(), Violation> {
        if self.phase != Phase::Asked {
            self.expect(Phase::Ready)?;
        }
        let stages = self.spec.packages.len();
        if usize::try_from(failure.stage).map_or(true, |stage| stage >= stages) {
            return Err(Violation::NoSuchStage { stage: failure.stage });
        }
        cut(&mut failure.cause, CAUSE_MAX_BYTES);
        cut(&mut failure.detail, JOB_ERROR_MAX_BYTES);
        self.attempt.failure = Some(failure);
        self.phase = Phase::Failed;
        Ok(())
    }

    /// The executor says that all is done, and signs for it. The attempt ends only if everything it signed is what was
    /// agreed, sent and received here; the run ends with it, unless [`Ending::Elsewhere`] says that another node may
    /// do better.
    ///
    /// # Errors
    /// [`Violation`] with the first thing that does not hold.
    pub fn handle_finished(&mut self, jobs: &[Signed]) -> Result<Verified, Violation> {
        if self.phase != Phase::Failed {
            self.expect(Phase::Ready)?;
        }
        let verified = receipt::verify(self, jobs)?;
        match verified.ending {
            Ending::Elsewhere(_) => self.give_up(),
            Ending::Completed | Ending::Failed(_) => self.phase = Phase::Ended,
        }
        Ok(verified)
    }

    /// Where the run stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The node of the attempt under way.
    #[must_use]
    pub const fn executor(&self) -> Option<PublicKey> {
        self.attempt.executor
    }

    /// Attempts so far.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Records delivered so far, over all attempts.
    #[must_use]
    pub const fn delivered(&self) -> u64 {
        self.delivered.next
    }

    /// How many records there are, once that is known.
    #[must_use]
    pub const fn records(&self) -> Option<u64> {
        self.spec.records
    }

    fn expect(&self, phase: Phase) -> Result<(), Violation> {
        if self.phase == phase { Ok(()) } else { Err(Violation::Phase { phase: self.phase }) }
    }
}

/// Cuts `text` to at most `max_bytes`, at a letter's end.
fn cut(text: &mut String, max_bytes: usize) {
    text.truncate(text.floor_char_boundary(max_bytes));
}
