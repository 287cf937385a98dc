//! `POST /listings/{ref}/infer`: records in, results out, in one request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ExecutedOn, Placement, RecordFailure};
use crate::RunId;
use crate::contract::LimitSet;

/// Records that one request scores; more are a run.
pub const INFER_MAX_RECORDS: usize = 1_024;

/// What is to be scored: one record as `inputs`, or several as `records`.
///
/// A record is an object of values by port, as JSON of each port's type ([`values`](crate::values)); where only one port
/// has to be fed, its value alone will do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InferRequest {
    /// One record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Value>,
    /// Several, at most [`INFER_MAX_RECORDS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<Vec<Value>>,
    /// Where.
    #[serde(default)]
    pub on: Placement,
    /// Limits the requester asks for.
    #[serde(default)]
    pub limits: LimitSet,
    /// Least level of isolation that the executing node must have.
    #[serde(default)]
    pub isolation: u8,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InferAnswer {
    /// Names the receipt: `GET /runs/{id}/receipt`.
    pub run_id: RunId,
    /// Where it was scored.
    pub executed_on: Option<ExecutedOn>,
    /// From the request until the answer, seconds.
    pub seconds: f64,
    /// The record's outputs by port, where `inputs` was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<BTreeMap<String, Value>>,
    /// Each record's end, in order, where `records` was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<InferRecord>,
}

/// How one of several records ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InferRecord {
    /// Its outputs by port.
    Outputs(BTreeMap<String, Value>),
    /// A stage failed on it; the others are not affected.
    Failed(RecordFailure),
}
