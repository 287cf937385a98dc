//! Lending, as the API tells and takes it.

use serde::{Deserialize, Serialize};

use crate::body::HardwareOffer;
use crate::hash::RunId;
use crate::name::OrgName;

/// `PUT /offer`: the status afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferChange {
    /// What to lend from now on; `None` lends nothing.
    pub offer: Option<HardwareOffer>,
}

/// `PUT /drain`: what is lent, afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainChange {
    /// Whether to finish what there is and take no more; holds until it is changed again, over restarts too.
    pub draining: bool,
}

/// `GET /offer`: what a node has, what it lends of it, and what others use of that now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lending {
    /// What the machine and the node have.
    pub has: Machine,
    /// What is lent; `None` lends nothing.
    pub offer: Option<HardwareOffer>,
    /// Whether the node finishes what it has and takes no more.
    pub draining: bool,
    /// Jobs of other nodes that hold a slot, the oldest first.
    pub jobs: Vec<LentJob>,
    /// Jobs of the node's own runs, which are no part of what it lends.
    pub own_jobs: u64,
    /// Each org that the quotas are about or that used something within 24 hours, in order of name.
    pub orgs: Vec<OrgUse>,
    /// The processes that execute code, for others and for this node.
    #[serde(default)]
    pub workers: WorkersReport,
}

/// A node's workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkersReport {
    /// How many are at work.
    pub busy: u64,
    /// How many wait with code in them for the next job of the same org.
    pub warm: u64,
    /// How many wait without code.
    pub blank: u64,
    /// What all of them together may take, bytes.
    pub memory_bytes: u64,
    /// What those at work may take, bytes.
    pub busy_bytes: u64,
    /// What those that are warm hold, bytes.
    pub warm_bytes: u64,
    /// Stages that a warm one took since the node's start.
    pub from_warm: u64,
    /// Stages that a blank one took.
    pub from_blank: u64,
    /// Stages that a process had to be started for.
    pub started: u64,
}

/// What a machine and its node have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor cores that the node may use.
    pub cores: u32,
    /// Memory that the node may use, bytes; `None` where the system does not say.
    pub memory_bytes: Option<u64>,
    /// GPUs by name, as far as the system tells.
    #[serde(default)]
    pub gpus: Vec<String>,
    /// Engines it can execute with.
    pub engines: Vec<String>,
    /// What its workers are kept in.
    pub isolation: Vec<String>,
    /// What that amounts to; see [`isolation`](mod@crate::isolation).
    pub isolation_level: u8,
}

/// A job of another node that holds a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LentJob {
    /// The org it is for.
    pub org: OrgName,
    /// The requester's node, as the overlay writes it.
    pub peer_id: String,
    /// The run.
    pub run: RunId,
    /// Whether it began; if not, the promise waits to be redeemed.
    pub is_open: bool,
    /// Cores that are counted for it.
    pub cores: u32,
    /// Memory that is counted for it, bytes.
    pub memory_bytes: u64,
}

/// What one org has and had of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrgUse {
    /// The org.
    pub org: OrgName,
    /// Slots it holds.
    pub slots: u64,
    /// Runs that wait for a slot.
    pub waiting: u64,
    /// Core-seconds it used within the last 24 hours, rounded up.
    pub used_core_seconds: u64,
    /// Core-seconds it may use within 24 hours; `None` where there is no bound.
    pub quota_core_seconds_per_day: Option<u64>,
}
