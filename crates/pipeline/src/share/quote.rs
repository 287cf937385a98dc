//! The limits that an executor quotes: may it, and whose trouble is a stage that ran into one.

use guildhall_protocol::contract::{Limit, LimitSet, Limits, Party};
use guildhall_protocol::wire::JobFailure;

use super::{Spec, Violation};

/// One limit of a stage: its name, what is quoted, and what the producer and the requester set.
type Row = (&'static str, Limit, Option<u64>, Option<u64>);

/// Checks the limits quoted for one stage against what `Limits::smallest` makes of any node's policy: nothing is
/// larger than the producer's and the requester's, and what is smaller is the node's own.
pub(super) fn check(spec: &Spec, stage: usize, quoted: &Limits) -> Result<(), Violation> {
    for (what, limit, producer, asked) in rows(spec, stage, quoted) {
        let holds = match (least(producer, asked), limit.set_by) {
            (None, set_by) => set_by == Party::Node,
            (Some(agreed), _) if limit.value > agreed => false,
            (Some(agreed), set_by) if limit.value < agreed => set_by == Party::Node,
            // A tie names the earlier of producer, node, requester.
            (Some(agreed), Party::Producer) => producer == Some(agreed),
            (Some(agreed), Party::Node | Party::Requester) => producer != Some(agreed),
        };
        if !holds {
            return Err(Violation::Limit { stage, what, value: limit.value });
        }
    }
    Ok(())
}

/// Whether a failure is the executing node's own trouble, so that another node may do better: its worker broke, or the
/// stage ran into a limit that this node alone set so low.
pub(super) fn is_executors(spec: &Spec, limits: Option<&[Limits]>, failure: &JobFailure) -> bool {
    let stage = usize::try_from(failure.stage).unwrap_or(usize::MAX);
    let what = match failure.cause.as_str() {
        "worker_died" | "internal" | "compile_timeout" | "busy" => return true,
        "timeout" => SCORING,
        "total_timeout" => TOTAL,
        "memory" => MEMORY,
        "output_limit" => OUTPUT,
        _ => return false,
    };
    let Some(quoted) = limits.and_then(|limits| limits.get(stage)) else { return false };
    rows(spec, stage, quoted).into_iter().any(|(name, limit, producer, asked)| {
        name == what && least(producer, asked).is_none_or(|agreed| limit.value < agreed)
    })
}

const SCORING: &str = "time for one record";
const TOTAL: &str = "time for the whole job";
const MEMORY: &str = "memory";
const OUTPUT: &str = "output for one record";

const BATCH: &str = "records in one call";
const QUEUE: &str = "time to wait for a slot";

fn rows(spec: &Spec, stage: usize, quoted: &Limits) -> [Row; 6] {
    let LimitSet { scoring_ms, total_ms, memory_bytes, output_bytes, batch_max, queue_ms } =
        spec.limits.get(stage).copied().unwrap_or_default();
    let asked = &spec.asked;
    [
        (SCORING, quoted.scoring_ms, scoring_ms, asked.scoring_ms),
        (TOTAL, quoted.total_ms, total_ms, asked.total_ms),
        (MEMORY, quoted.memory_bytes, memory_bytes, asked.memory_bytes),
        (OUTPUT, quoted.output_bytes, output_bytes, asked.output_bytes),
        (BATCH, quoted.batch_max, batch_max, asked.batch_max),
        (QUEUE, quoted.queue_ms, queue_ms, asked.queue_ms),
    ]
}

fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}
