//! Receipts: what each job of a run did, signed by the executor's node, and the run, signed by the requester's node.
//!
//! Both sides compute the *edge commitment* of a list of records as BLAKE3 in keyed mode with the run's nonce as the
//! key over, for each record in order: its index and its length as 8 little-endian bytes each, then its bytes. The
//! nonce keeps a commitment from being guessed by someone who was not there. What leaves one stage enters the next, so
//! adjacent jobs sign the same commitment.

use serde::{Deserialize, Serialize};

use crate::contract::Limits;
use crate::hash::{Hash, PackageId, RunId};
use crate::key::{Domain, PublicKey};
use crate::limits::PIPELINE_MAX_STAGES;
use crate::statement::{Signed, Statement, StatementError};

/// Computes an edge commitment while records pass by.
#[derive(Clone, Debug)]
pub struct EdgeHasher {
    hasher: blake3::Hasher,
}

impl EdgeHasher {
    /// Starts with the run's nonce.
    #[must_use]
    pub fn new(nonce: &Hash) -> Self {
        Self { hasher: blake3::Hasher::new_keyed(nonce.as_bytes()) }
    }

    /// Takes the next record in.
    pub fn record(&mut self, index: u64, bytes: &[u8]) {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.hasher.update(&index.to_le_bytes()).update(&len.to_le_bytes()).update(bytes);
    }

    /// The commitment to everything taken in so far.
    #[must_use]
    pub fn commitment(&self) -> Hash {
        self.hasher.finalize().into()
    }
}

/// What one job did. Signed by the executor's node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatement {
    /// The run it belongs to.
    pub run: RunId,
    /// Which stage of the run, from 0.
    pub stage: u32,
    /// The package that was executed.
    pub package: PackageId,
    /// The executor's node; it signs.
    pub executor: PublicKey,
    /// The requester's node.
    pub requester: PublicKey,
    /// The engine, and the version of Guildhall that has it, for example `wasm/0.1.0`.
    pub engine: String,
    /// What kept the worker in.
    pub isolation: Vec<String>,
    /// The limits that were in force, and who set each.
    pub limits: Limits,
    /// Commitment to the records that went in.
    pub input: Hash,
    /// Commitment to the records that came out.
    pub output: Hash,
    /// Records that came out.
    pub records: u64,
    /// What it used.
    pub used: Used,
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended by the executor's clock, milliseconds since 1970.
    pub time_ms: u64,
}

impl Statement for JobStatement {
    const DOMAIN: Domain<'static> = Domain { name: "receipt/job", version: 1 };

    fn signer(&self) -> PublicKey {
        self.executor
    }
}

/// Resources that a job used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Used {
    /// Sum of the wall time of its scorings, microseconds.
    pub wall_us: u64,
    /// Longest scoring, microseconds.
    pub longest_us: u64,
    /// Most memory its worker held, bytes.
    pub memory_peak_bytes: u64,
    /// Bytes that came out.
    pub output_bytes: u64,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every record was scored.
    Completed,
    /// The records so far were scored; the run ended because another stage failed.
    Stopped,
    /// It was stopped or failed.
    Failed {
        /// A stable word for the cause, for example `timeout`.
        cause: String,
        /// The record at which it happened.
        record: u64,
    },
}

/// The requester's word on a whole run. Signed by the requester's node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStatement {
    /// The run.
    pub run: RunId,
    /// The requester's node; it signs.
    pub requester: PublicKey,
    /// Hashes of the job statements' bytes, in order of stage.
    pub jobs: Vec<Hash>,
    /// When, milliseconds since 1970.
    pub time_ms: u64,
}

impl Statement for RunStatement {
    const DOMAIN: Domain<'static> = Domain { name: "receipt/run", version: 1 };

    fn signer(&self) -> PublicKey {
        self.requester
    }
}

/// A run's receipt: every job signed by its executor, and all of them by the requester.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`JobStatement`]s in order of stage.
    pub jobs: Vec<Signed>,
    /// The [`RunStatement`].
    pub run: Signed,
}

impl Receipt {
    /// Checks every signature, that the run names exactly these jobs, and that adjacent jobs share their edge.
    ///
    /// # Errors
    /// [`ReceiptError`] with the first thing that does not hold.
    pub fn verify(&self) -> Result<(RunStatement, Vec<JobStatement>), ReceiptError> {
        let run: RunStatement = self.run.open()?;
        if self.jobs.is_empty() || self.jobs.len() > PIPELINE_MAX_STAGES {
            return Err(ReceiptError::Jobs);
        }
        if self.jobs.iter().map(Signed::hash).ne(run.jobs.iter().copied()) {
            return Err(ReceiptError::Jobs);
        }
        let jobs = open_jobs(&self.jobs)?;
        match jobs.iter().find(|job| job.run != run.run || job.requester != run.requester) {
            Some(_) => Err(ReceiptError::Jobs),
            None => Ok((run, jobs)),
        }
    }
}

/// Opens signed job statements and checks that they are the stages of one run, in order, edge to edge.
///
/// # Errors
/// [`ReceiptError`] with the first thing that does not hold.
pub fn open_jobs(jobs: &[Signed]) -> Result<Vec<JobStatement>, ReceiptError> {
    let jobs: Vec<JobStatement> = jobs.iter().map(Signed::open).collect::<Result<_, _>>()?;
    for (stage, pair) in jobs.windows(2).enumerate() {
        if let [before, after] = pair
            && (before.output != after.input || before.run != after.run)
        {
            return Err(ReceiptError::Edge { stage });
        }
    }
    match jobs.iter().zip(0_u32..).find(|(job, stage)| job.stage != *stage) {
        Some(_) => Err(ReceiptError::Jobs),
        None => Ok(jobs),
    }
}

/// Why a receipt was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// A statement is unreadable or not signed by the node it names.
    #[error("a statement of the receipt does not hold: {0}")]
    Statement(#[from] StatementError),
    /// The run names other jobs than these.
    #[error("the run statement and the jobs do not belong together")]
    Jobs,
    /// What left one stage is not what entered the next.
    #[error("what left stage {stage} is not what entered the next one")]
    Edge {
        /// The earlier stage.
        stage: usize,
    },
}
