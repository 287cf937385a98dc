//! Scoring with values in their plain form: what the faces of a node need that have a form of their own for values.

use guildhall_protocol::RunId;
use guildhall_protocol::api::{ExecutedOn, Placement, RecordFailure};
use guildhall_protocol::contract::LimitSet;
use guildhall_protocol::interface::Interface;
use guildhall_protocol::name::Reference;
use guildhall_protocol::wire::PortValue;

/// A listing or package that can be scored with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scorable {
    /// Exactly this: a version, or a package's id.
    pub reference: Reference,
    /// What it takes and yields, per record.
    pub interface: Interface,
    /// Engines that its stages need.
    pub engines: Vec<String>,
}

/// Records to be scored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoreRequest {
    /// The values of each record, by port; at most as many records as
    /// [`INFER_MAX_RECORDS`](guildhall_protocol::api::INFER_MAX_RECORDS).
    pub records: Vec<Vec<PortValue>>,
    /// Where.
    pub on: Placement,
    /// Limits the requester asks for.
    pub limits: LimitSet,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Names the receipt.
    pub run_id: RunId,
    /// Where it was scored.
    pub executed_on: Option<ExecutedOn>,
    /// Each record's values or why it has none, in order.
    pub records: Vec<Result<Vec<PortValue>, RecordFailure>>,
}
