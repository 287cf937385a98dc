//! Contracts: the limits under which a producer lets its package be run, and the smallest of three parties' limits.

use serde::{Deserialize, Serialize};

use crate::cbor::DecodeError;

/// Most records in one scoring call, whoever allows more: enough for every engine to be busy, and a call's records stay
/// far below a frame's bookkeeping.
pub const CALL_MAX_RECORDS: u64 = 1_024;

/// The producer's signed limits. Part of the manifest, so pinned by the package id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contract {
    /// Wall time for scoring one record, milliseconds.
    pub scoring_ms: u64,
    /// The hardware on which `scoring_ms` was measured, for people.
    pub measured_on: String,
    /// Memory a stage may hold, bytes.
    pub memory_bytes: u64,
    /// Scratch storage, bytes. No engine offers any yet, so 0 is the only value that every node accepts.
    #[serde(default)]
    pub scratch_bytes: u64,
    /// Longest output for one record, bytes.
    pub output_bytes: u64,
    /// Most records in one scoring call.
    pub batch_max: u32,
    /// Wall time of a whole job, milliseconds; none leaves it to the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<u64>,
    /// How long a run may wait for a slot, milliseconds, where a late answer is worth nothing; none leaves it to the
    /// node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_ms: Option<u64>,
    /// Interfaces of the host that the code may use beyond stdin, stdout and stderr.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<Import>,
    /// What the node must have.
    #[serde(default, skip_serializing_if = "Hardware::is_any")]
    pub hardware: Hardware,
    /// What a second execution may differ in.
    pub determinism: Determinism,
}

impl Contract {
    /// Checks that every limit allows some work.
    ///
    /// # Errors
    /// [`DecodeError::Rule`] with the limit that is zero.
    pub fn check(&self) -> Result<(), DecodeError> {
        let zero = [
            ("scoring_ms", self.scoring_ms == 0),
            ("memory_bytes", self.memory_bytes == 0),
            ("output_bytes", self.output_bytes == 0),
            ("batch_max", self.batch_max == 0),
            ("total_ms", self.total_ms == Some(0)),
        ];
        match zero.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(DecodeError::Rule {
                what: "contract",
                why: format!("{name} is 0, so nothing could run"),
            }),
            None => Ok(()),
        }
    }
}

/// An interface of the host that a contract may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Import {
    /// Command-line arguments: the stage's config as `--key=value`.
    Arguments,
    /// The package's own files, read-only.
    PackageFiles,
    /// A clock that starts at zero and shows no real time.
    VirtualClock,
    /// Random numbers that follow from the run's seed.
    SeededRandomness,
    /// Inference with the package's own models.
    WasiNn,
}

/// Hardware that a package needs.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hardware {
    /// Processor cores.
    pub cores: u32,
    /// Memory of a GPU, bytes; 0 when none is needed.
    pub gpu_memory_bytes: u64,
}

impl Hardware {
    /// Whether every node has it.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self == Self::default()
    }
}

/// What a second execution of the same input may differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Determinism {
    /// Nothing: the same bytes on every machine.
    Bitwise,
    /// Rounding: numbers within the tolerance of the package's tests.
    Numeric,
    /// Anything.
    None,
}

/// Limits for running one stage, each wanted by one party. `None` means that this party sets none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitSet {
    /// Wall time for scoring one record, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scoring_ms: Option<u64>,
    /// Wall time of the whole job, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<u64>,
    /// Memory, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Longest output for one record, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// Most records in one scoring call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_max: Option<u64>,
    /// How long a run may wait for a slot, milliseconds; 0 is not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_ms: Option<u64>,
}

impl From<&Contract> for LimitSet {
    fn from(contract: &Contract) -> Self {
        Self {
            scoring_ms: Some(contract.scoring_ms),
            total_ms: contract.total_ms,
            memory_bytes: Some(contract.memory_bytes),
            output_bytes: Some(contract.output_bytes),
            batch_max: Some(contract.batch_max.into()),
            queue_ms: contract.queue_ms,
        }
    }
}

/// Who set a limit that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// The package's contract.
    Producer,
    /// The executing node's policy.
    Node,
    /// What the requester asked for.
    Requester,
}

/// A limit in force, and who set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The value, in the unit of its field.
    pub value: u64,
    /// The party whose value was the smallest.
    pub set_by: Party,
}

impl Limit {
    /// Stands for a limit that a statement says nothing about: the node set none. No requester agrees to it where anybody
    /// sets one.
    pub const UNSTATED: Self = Self { value: u64::MAX, set_by: Party::Node };

    const fn unstated() -> Self {
        Self::UNSTATED
    }
}

/// The limits under which a stage is executed: the smallest of the three parties', quoted in the receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wall time for scoring one record, milliseconds.
    pub scoring_ms: Limit,
    /// Wall time of the whole job, milliseconds.
    pub total_ms: Limit,
    /// Memory, bytes.
    pub memory_bytes: Limit,
    /// Longest output for one record, bytes.
    pub output_bytes: Limit,
    /// Most records in one scoring call. Statements that were signed before this was quoted have [`Limit::UNSTATED`].
    #[serde(default = "Limit::unstated")]
    pub batch_max: Limit,
    /// How long a run may wait for a slot of the node, milliseconds; the same holds.
    #[serde(default = "Limit::unstated")]
    pub queue_ms: Limit,
}

impl Limits {
    /// The smallest of each limit. A tie names the earlier of producer, node, requester. `node` is complete because a
    /// node always has a policy.
    #[must_use]
    pub fn smallest(producer: LimitSet, node: NodeLimits, requester: LimitSet) -> Self {
        let least = |producer: Option<u64>, node: u64, requester: Option<u64>| {
            let mut limit = Limit { value: node, set_by: Party::Node };
            if let Some(value) = producer
                && value <= limit.value
            {
                limit = Limit { value, set_by: Party::Producer };
            }
            match requester {
                Some(value) if value < limit.value => Limit { value, set_by: Party::Requester },
                _ => limit,
            }
        };
        Self {
            scoring_ms: least(producer.scoring_ms, node.scoring_ms, requester.scoring_ms),
            total_ms: least(producer.total_ms, node.total_ms, requester.total_ms),
            memory_bytes: least(producer.memory_bytes, node.memory_bytes, requester.memory_bytes),
            output_bytes: least(producer.output_bytes, node.output_bytes, requester.output_bytes),
            batch_max: least(producer.batch_max, node.batch_max, requester.batch_max),
            queue_ms: least(producer.queue_ms, node.queue_ms, requester.queue_ms),
        }
    }
}

/// A node's own limits for anything it executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeLimits {
    /// Wall time for scoring one record, milliseconds.
    pub scoring_ms: u64,
    /// Wall time of a whole job, milliseconds.
    pub total_ms: u64,
    /// Memory of one stage, bytes.
    pub memory_bytes: u64,
    /// Longest output for one record, bytes.
    pub output_bytes: u64,
    /// Most records in one scoring call.
    pub batch_max: u64,
    /// How long a run may wait for a slot, milliseconds; 0 is not at all.
    pub queue_ms: u64,
}

impl Default for NodeLimits {
    /// One minute a record, an hour a job, 1 GiB, what fits inline into a frame, the most records that engines gain
    /// from, and ten minutes of waiting.
    fn default() -> Self {
        Self {
            scoring_ms: 60_000,
            total_ms: 3_600_000,
            memory_bytes: 1 << 30,
            output_bytes: u64::try_from(crate::limits::VALUE_MAX_BYTES).unwrap_or(u64::MAX),
            batch_max: CALL_MAX_RECORDS,
            queue_ms: 600_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_wins_and_names_its_party() {
        let producer =
            LimitSet { scoring_ms: Some(50), memory_bytes: Some(1 << 20), ..LimitSet::default() };
        let requester =
            LimitSet { scoring_ms: Some(50), total_ms: Some(10), ..LimitSet::default() };
        let limits = Limits::smallest(producer, NodeLimits::default(), requester);
        assert_eq!(limits.scoring_ms, Limit { value: 50, set_by: Party::Producer });
        assert_eq!(limits.total_ms, Limit { value: 10, set_by: Party::Requester });
        assert_eq!(limits.memory_bytes, Limit { value: 1 << 20, set_by: Party::Producer });
        assert_eq!(limits.output_bytes.set_by, Party::Node);
        assert_eq!(limits.batch_max, Limit { value: CALL_MAX_RECORDS, set_by: Party::Node });
    }

    #[test]
    fn a_statement_from_before_a_limit_was_quoted_can_be_read() {
        #[derive(Serialize)]
        struct Older {
            scoring_ms: Limit,
            total_ms: Limit,
            memory_bytes: Limit,
            output_bytes: Limit,
        }
        let of = |value| Limit { value, set_by: Party::Producer };
        let older =
            Older { scoring_ms: of(1), total_ms: of(2), memory_bytes: of(3), output_bytes: of(4) };
        let limits: Limits = crate::cbor::decode(&crate::cbor::encode(&older), 1_000).unwrap();
        assert_eq!((limits.scoring_ms, limits.output_bytes), (of(1), of(4)));
        assert_eq!((limits.batch_max, limits.queue_ms), (Limit::UNSTATED, Limit::UNSTATED));
        let text = serde_json::to_string(&older).unwrap();
        assert_eq!(serde_json::from_str::<Limits>(&text).unwrap(), limits, "as runs are kept");
    }
}
