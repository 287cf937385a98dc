//! Lending hardware and executing jobs: offers, leases, and the frames of a job stream.
//!
//! A run's records are scored in *parts*. The requester's node sends a part, the executor's scores its records in calls
//! that keep each stage's limits, and sends what became of each record; a part is over with the frame that carries its
//! [`PartEnd`]. Parts are scored in the order they were sent, so that both sides compute the same commitments; several
//! may be on their way. One job is one node's share of a run: a run on several nodes has several jobs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::contract::{Hardware, LimitSet, Limits};
use crate::hash::{Hash, PackageId, RunId};
use crate::key::PublicKey;
use crate::statement::Signed;

/// Most records in one part: what a frame holds of small ones, and few enough to be sent again.
pub const PART_MAX_RECORDS: usize = 4_096;

/// A requester's node asks for hardware.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfferRequest {
    /// The run.
    pub run: RunId,
    /// Packages of the stages, in order.
    pub stages: Vec<PackageId>,
    /// Engines that the stages need; see [`provides`](crate::manifest::provides).
    pub engines: Vec<String>,
    /// Most memory that one stage's contract asks for, bytes.
    pub memory_bytes: u64,
    /// Processor and GPU that satisfy every stage.
    #[serde(default, skip_serializing_if = "Hardware::is_any")]
    pub hardware: Hardware,
    /// Least level of isolation that the requester accepts, as nodes advertise it.
    #[serde(default)]
    pub isolation: u8,
    /// How long the run may wait for a slot, milliseconds: the smallest of what the contracts and the requester allow;
    /// none leaves it to the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_ms: Option<u64>,
    /// How long the node may keep the question while no slot is free, milliseconds: it is answered when one is, or after
    /// that time. A node may answer earlier; 0 is at once.
    #[serde(default, skip_serializing_if = "is_at_once")]
    pub hold_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_at_once(hold_ms: &u64) -> bool {
    *hold_ms == 0
}

/// A node's promise to execute a job, for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Names the lease when the job stream opens; unguessable.
    pub lease: Hash,
    /// The run it is for.
    pub run: RunId,
    /// How long the requester may take to open the job stream, milliseconds from now.
    pub open_within_ms: u64,
    /// Stages for which a worker with loaded code waits.
    #[serde(default)]
    pub warm: u32,
    /// Packages of the run that are complete at the node.
    #[serde(default)]
    pub held: u32,
    /// Share of the node's slots that are taken, percent.
    #[serde(default)]
    pub load_percent: u8,
}

/// What the requester's node sends on a job stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RequesterFrame {
    /// First frame.
    Start(Box<JobSpec>),
    /// Records to score.
    Part(PartFrame),
    /// No part follows.
    End,
    /// The requester's signature under this job, after `Finished`.
    Countersigned(Signed),
}

/// What the executor's node sends on a job stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExecutorFrame {
    /// Every package is here and its worker is up; parts may come.
    Ready {
        /// Limits in force, a stage each.
        limits: Vec<Limits>,
    },
    /// What became of records of a part; a part's results take one frame or several.
    Results(ResultsFrame),
    /// The job cannot go on; nothing follows but `Finished`. The parts that are over stay scored.
    Failed(JobFailure),
    /// All is done: a [`JobStatement`](crate::receipt::JobStatement) a stage, in order, over the parts that are over.
    Finished {
        /// Signed job statements.
        jobs: Vec<Signed>,
    },
    /// The job never started.
    Refused(Refusal),
}

/// What an executor is to do. Sent by the holder of a lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The lease.
    pub lease: Hash,
    /// The run.
    pub run: RunId,
    /// Key of the edge commitments; known to the run's nodes only.
    pub nonce: Hash,
    /// Stages in order.
    pub stages: Vec<JobStage>,
    /// Limits that the requester asks for.
    pub limits: LimitSet,
    /// Where the records come from.
    pub input: JobInput,
    /// Nodes that hold the packages, as far as the requester knows.
    pub holders: Vec<PublicKey>,
}

/// One stage of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStage {
    /// Its package.
    pub package: PackageId,
    /// The engine that has to execute it; none leaves it to the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Its settings.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// Limits of the listing where it is tighter than the manifest.
    #[serde(default)]
    pub listing: LimitSet,
}

/// Where a job's records come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobInput {
    /// The requester sends them on the stream.
    Stream,
    /// They are the records of a data package, which the executor fetches.
    Package(PackageId),
}

/// Records that are sent together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartFrame {
    /// Number of the part in this job, from 0, one more each time.
    pub part: u64,
    /// Its records, in ascending order.
    pub records: PartRecords,
}

/// The records of a part, at most [`PART_MAX_RECORDS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PartRecords {
    /// With their values; jobs with [`JobInput::Stream`].
    Values(Vec<RecordFrame>),
    /// By position among the records of the data package; jobs with [`JobInput::Package`].
    Positions(Vec<u64>),
}

impl PartRecords {
    /// The positions of its records among those of the run.
    #[must_use]
    pub fn positions(&self) -> Vec<u64> {
        match self {
            Self::Values(records) => records.iter().map(|record| record.index).collect(),
            Self::Positions(positions) => positions.clone(),
        }
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Values(records) => records.len(),
            Self::Positions(positions) => positions.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One record: a value for each port that has one, in the order of the interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordFrame {
    /// Position among the records of the run, from 0.
    pub index: u64,
    /// Its values.
    pub values: Vec<PortValue>,
}

/// The bytes of one value, and the port that they belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortValue {
    /// Port of the interface.
    pub port: String,
    /// Plain form of the value, as [`interface`](crate::interface) defines it.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// All dimensions of a tensor whose type leaves more than one of them open; else they follow from the length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dims: Option<Vec<u64>>,
}

impl PortValue {
    /// A value whose length says all about its shape.
    #[must_use]
    pub fn new(port: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { port: port.into(), bytes: bytes.into(), dims: None }
    }

    /// Bytes of these values together.
    #[must_use]
    pub fn len_bytes(values: &[Self]) -> usize {
        values.iter().map(|value| value.bytes.len()).sum()
    }
}

/// What became of records of a part, in the part's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultsFrame {
    /// The part.
    pub part: u64,
    /// The next of its records.
    pub records: Vec<RecordResult>,
    /// The part is over. Records of it that no frame mentioned were not touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<PartEnd>,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordResult {
    /// Position among the records of the run.
    pub index: u64,
    /// Its end.
    pub end: RecordEnd,
}

/// How a record ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecordEnd {
    /// What came out of the last stage.
    Values(Vec<PortValue>),
    /// A stage failed on it; other records are not affected.
    Failed(JobFailure),
}

/// What a part took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartEnd {
    /// Wall time of all stages together, microseconds.
    pub wall_us: u64,
}

/// A stage failed on a record, or at one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFailure {
    /// Which stage, from 0.
    pub stage: u32,
    /// Which record, from 0.
    pub record: u64,
    /// A stable word for the cause, for example `timeout`, `trap`, `memory`, `output`.
    pub cause: String,
    /// In words, bounded to [`JOB_ERROR_MAX_BYTES`](crate::limits::JOB_ERROR_MAX_BYTES).
    pub detail: String,
    /// For timeouts: how long the record had been scored when its worker was stopped, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_after_ms: Option<u64>,
}
