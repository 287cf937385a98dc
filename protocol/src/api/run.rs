//! Runs, as the API takes them and tells of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::contract::LimitSet;
use crate::hash::{Hash, RunId};
use crate::name::{OrgName, Reference};
use crate::receipt::{JobStatement, RunStatement};

/// `POST /runs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRequest {
    /// A pipeline, model or algorithm.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// The records.
    pub input: RunInput,
    /// Where.
    #[serde(default)]
    pub on: Placement,
    /// Limits the requester asks for. It waits a minute for a free slot unless they say something else.
    #[serde(default)]
    pub limits: LimitSet,
    /// Least level of isolation that the executing nodes must have.
    #[serde(default)]
    pub isolation: u8,
    /// Most shares that it may be spread over; as many as help unless it says something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares_max: Option<u32>,
    /// The query that led to it, if one did: it was of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_id: Option<Hash>,
}

impl RunRequest {
    /// A run of this over these records, wherever it may be.
    #[must_use]
    pub fn new(reference: Reference, input: RunInput) -> Self {
        Self {
            reference,
            input,
            on: Placement::default(),
            limits: LimitSet::default(),
            isolation: 0,
            shares_max: None,
            query_id: None,
        }
    }
}

/// Where a run's records come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunInput {
    /// The records of a data package.
    Package(Reference),
    /// Files of the requester.
    Records(Vec<InputRecord>),
}

/// One record that a requester sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// A name to find the output by.
    pub name: String,
    /// The value of the only input port that has to be fed, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Values by port, as JSON of the type of the port.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, serde_json::Value>,
}

impl InputRecord {
    /// A record with a single value, base64.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Some(value.into()), values: BTreeMap::new() }
    }
}

/// Where a run should be executed.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Placement {
    /// This node if it lends its hardware, else the best one that offers.
    #[default]
    Auto,
    /// This node.
    Local,
    /// A node of this org.
    Org(OrgName),
    /// The node with this peer id.
    Node(String),
}

impl From<Placement> for String {
    fn from(placement: Placement) -> Self {
        match placement {
            Placement::Auto => "auto".to_owned(),
            Placement::Local => "local".to_owned(),
            Placement::Org(org) => org.to_string(),
            Placement::Node(peer_id) => peer_id,
        }
    }
}

impl std::str::FromStr for Placement {
    type Err = crate::name::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "local" => Self::Local,
            // Peer ids of Ed25519 keys start like this and are longer than any org's name.
            peer if peer.starts_with("12D3Koo") => Self::Node(peer.to_owned()),
            org => Self::Org(org.parse()?),
        })
    }
}

impl TryFrom<String> for Placement {
    type Error = crate::name::NameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The answer to `POST /runs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The run.
    pub run_id: RunId,
}

/// Nodes that a run's report names: more than a run has shares at once, by far.
pub const EXECUTORS_SHOWN_MAX: usize = 256;

/// Receipts that a run's report shows. A share has one, and a run over days may have thousands of shares; the report is
/// kept in memory and read as a whole.
pub const RECEIPTS_SHOWN_MAX: usize = 256;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `GET /runs/{id}`: how a run is doing or did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The run.
    pub run_id: RunId,
    /// What was run.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// How far it is.
    pub state: RunState,
    /// The node that executes, the first one where there are several.
    pub executed_on: Option<ExecutedOn>,
    /// Every node that executes or did, with its share: the first [`EXECUTORS_SHOWN_MAX`].
    #[serde(default)]
    pub executors: Vec<ExecutorShare>,
    /// Shares of further nodes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub executors_left_out: u64,
    /// Records that came out so far, in order.
    pub records: u64,
    /// Of those, records that a stage failed on.
    #[serde(default)]
    pub failed: u64,
    /// Records there are, once that is known.
    #[serde(default)]
    pub total: Option<u64>,
    /// How long it will still take at today's rate, seconds, once that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_seconds: Option<f64>,
    /// Since it was started, or until it ended, seconds.
    pub seconds: f64,
    /// Share of records whose predicted class is the data package's label.
    pub accuracy: Option<f64>,
    /// Why it failed.
    pub failure: Option<RunFailure>,
    /// Receipts, one a share of a node that executed: the first [`RECEIPTS_SHOWN_MAX`]. All of them are on disk.
    pub receipts: Vec<ReceiptReport>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub receipts_left_out: u64,
    /// Records whose node left, or was given up, without signing for them: nobody can be held to these results.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unsigned: u64,
    /// What happened, in words, oldest first.
    pub log: Vec<String>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// On its way.
    Running,
    /// Every record came out, or failed alone.
    Completed,
    /// It ended early.
    Failed,
    /// A person ended it. What came out is kept, and it can be resumed.
    Cancelled,
    /// This node stopped while it was under way. What came out is kept, and it can be resumed.
    Interrupted,
}

/// A node that executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutedOn {
    /// Its org.
    pub org: OrgName,
    /// Its key as the overlay writes it.
    pub peer_id: String,
}

/// A node's share of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorShare {
    /// The node.
    #[serde(flatten)]
    pub node: ExecutedOn,
    /// Records that it scored.
    pub records: u64,
    /// Parts that it scored them in.
    pub parts: u64,
    /// Wall time it says it took for them, microseconds.
    pub wall_us: u64,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFailure {
    /// A stable word for the cause, for example `timeout`.
    pub cause: String,
    /// In words.
    pub message: String,
    /// The stage, from 0, when one failed.
    pub stage: Option<u32>,
    /// The record, from 0, when one failed.
    pub record: Option<u64>,
    /// The limit that was reached, milliseconds; timeouts only.
    pub limit_ms: Option<u64>,
    /// When the worker was stopped, milliseconds; timeouts only.
    pub stopped_after_ms: Option<u64>,
}

/// A receipt, checked by the node that reports it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReceiptReport {
    /// The executor's peer id.
    pub executor: String,
    /// The requester's peer id.
    pub requester: String,
    /// Whether both signatures hold and the outputs are the ones received.
    pub verified: bool,
    /// The run, as the requester signed it.
    pub run: RunStatement,
    /// The jobs, as the executor signed them.
    pub jobs: Vec<JobStatement>,
}

/// One line of `GET /runs/{id}/outputs`, as newline-delimited JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputLine {
    /// Position among the records.
    pub index: u64,
    /// The input record's name.
    pub name: String,
    /// The value: JSON as it is, text as a string, everything else as base64.
    pub value: OutputValue,
}

/// An output value in a form that JSON can hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputValue {
    /// A prediction list.
    Predictions(Vec<crate::interface::Prediction>),
    /// Text or JSON as text.
    Text(String),
    /// A tensor's numbers, nested by dimension.
    Tensor(serde_json::Value),
    /// Anything else.
    Base64(String),
    /// One of these for each output port, where there are several.
    Ports(BTreeMap<String, OutputValue>),
    /// No value: a stage failed on the record.
    Failed(RecordFailure),
}

/// Why a record has no value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordFailure {
    /// The stage, from 0.
    pub stage: u32,
    /// A stable word for the cause, for example `timeout`.
    pub cause: String,
    /// In words.
    pub message: String,
}
