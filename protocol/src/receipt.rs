//! Receipts: what each job of a run did, signed by the executor's node, and the run, signed by the requester's node.
//!
//! Both sides compute the *edge commitment* of a list of records as BLAKE3 in keyed mode with the run's nonce as the
//! key over, for each record in order: its index and its number of values, then for each value the length and the bytes
//! of its port's name, its number of dimensions (0 where they follow from the length) and each of them, its length and
//! its bytes; every number takes 8 little-endian bytes. The nonce keeps a commitment from being guessed by someone who
//! was not there. What leaves one stage enters the next, so adjacent jobs sign the same commitment; a record that a
//! stage fails on does not leave it.
//!
//! The statements of one executor form a chain: each names the hash of the one before, so that none can be left out or
//! dated back without showing a fork.

use serde::{Deserialize, Serialize};

use crate::contract::{Determinism, Limits};
use crate::hash::{Hash, PackageId, RunId};
use crate::key::{Domain, PublicKey};
use crate::limits::PIPELINE_MAX_STAGES;
use crate::statement::{Signed, Statement, StatementError};
use crate::wire::PortValue;

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
    pub fn record(&mut self, index: u64, values: &[PortValue]) {
        self.number(index).count(values.len());
        for value in values {
            self.count(value.port.len()).hasher.update(value.port.as_bytes());
            let dims = value.dims.as_deref().unwrap_or_default();
            self.count(dims.len());
            for dim in dims {
                self.number(*dim);
            }
            self.count(value.bytes.len()).hasher.update(&value.bytes);
        }
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.hasher.update(&number.to_le_bytes());
        self
    }

    fn count(&mut self, count: usize) -> &mut Self {
        self.number(u64::try_from(count).unwrap_or(u64::MAX))
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
    /// The engine and its version, for example `wasm/0.1.0`: of Guildhall for engines that are built in.
    pub engine: String,
    /// What a second execution may differ in.
    pub determinism: Determinism,
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
    /// Records that it failed on.
    pub failed: u64,
    /// What it used.
    pub used: Used,
    /// How it ended.
    pub outcome: Outcome,
    /// How many statements the executor's node signed before this one.
    pub number: u64,
    /// Hash of the statement before, none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Hash>,
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
    /// How long the run waited for the node's slot, milliseconds.
    #[serde(default)]
    pub queued_ms: u64,
    /// Sum of the wall time of its scorings, microseconds.
    pub wall_us: u64,
    /// Longest call, microseconds.
    pub longest_us: u64,
    /// Calls that scored its records.
    #[serde(default)]
    pub calls: u64,
    /// Most memory its worker held, bytes.
    pub memory_peak_bytes: u64,
    /// Bytes that came out.
    pub output_bytes: u64,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every record that reached it was scored, or failed alone.
    Completed,
    /// The records so far were scored; the job ended because of another stage.
    Stopped,
    /// It ended the job.
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
