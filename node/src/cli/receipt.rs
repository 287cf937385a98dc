//! Runs as people read them: outputs, how it went, and the receipts with every limit and who set it.

use guildhall_client::package::ByteSize;
use guildhall_protocol::api::{
    ExecutedOn, OutputLine, OutputValue, ReceiptReport, RunReport, RunState,
};
use guildhall_protocol::contract::{Limit, Limits, Party};
use guildhall_protocol::interface::{Prediction, PredictionValue};
use guildhall_protocol::receipt::{JobStatement, Outcome};
use serde_json::Value;

use super::period::duration_text;
use super::table::counted;
use super::{Failure, Table, exit};

/// Longest part of a text output that is shown in a table, characters.
const SHOWN_MAX_CHARS: usize = 72;

/// Most predictions of one record that are shown in a table.
const PREDICTIONS_SHOWN: usize = 4;

/// Most numbers of a tensor that are shown in a table.
const NUMBERS_SHOWN: usize = 8;

/// The essential of an output value, on one line.
pub(super) fn value_text(value: &OutputValue) -> String {
    match value {
        OutputValue::Predictions(predictions) => {
            let each = predictions.iter().map(|prediction| prediction_text(&prediction.value));
            each.collect::<Vec<_>>().join(" ")
        }
        OutputValue::Text(text) => text.clone(),
        OutputValue::Base64(text) => text.clone(),
        OutputValue::Tensor(numbers) => numbers.to_string(),
        OutputValue::Ports(ports) => {
            let each = ports.iter().map(|(port, value)| format!("{port}={}", value_text(value)));
            each.collect::<Vec<_>>().join(" ")
        }
        OutputValue::Failed(failure) => format!("failed: {}: {}", failure.cause, failure.message),
    }
}

/// The first outputs as a table.
pub(super) fn outputs_table(outputs: &[OutputLine]) -> Table {
    let mut table = Table::with_head(["RECORD", "OUTPUT"]);
    for line in outputs {
        table.row([line.name.clone(), shown(&line.value)]);
    }
    table
}

fn shown(value: &OutputValue) -> String {
    match value {
        OutputValue::Predictions(predictions) => {
            let mut each: Vec<String> =
                predictions.iter().take(PREDICTIONS_SHOWN).map(with_confidence).collect();
            if let Some(more) = predictions.len().checked_sub(PREDICTIONS_SHOWN).filter(|n| *n > 0)
            {
                each.push(format!("and {more} more"));
            }
            each.join(", ")
        }
        OutputValue::Text(text) => short(text),
        OutputValue::Tensor(numbers) => tensor(numbers),
        OutputValue::Ports(ports) => {
            let each = ports.iter().map(|(port, value)| format!("{port}: {}", shown(value)));
            each.collect::<Vec<_>>().join("; ")
        }
        OutputValue::Failed(failure) => {
            short(&format!("failed: {}: {}", failure.cause, failure.message))
        }
        OutputValue::Base64(text) => {
            let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
            format!("{} bytes", (text.len() / 4 * 3).saturating_sub(padding))
        }
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX_CHARS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The first numbers of a tensor and, where it is more than a short row, its shape.
fn tensor(numbers: &Value) -> String {
    let mut shape = Vec::new();
    let mut inner = numbers;
    while let Value::Array(items) = inner {
        shape.push(items.len());
        let Some(first) = items.first() else { break };
        inner = first;
    }
    // A large one comes as an object with its shape and bytes.
    if let Value::Object(fields) = numbers {
        let shown = |name: &str| fields.get(name).map(ToString::to_string).unwrap_or_default();
        return format!("{} of shape {}", shown("dtype").replace('"', ""), shown("shape"));
    }
    let mut first = Vec::new();
    leaves(numbers, &mut first);
    let first = first.join(", ");
    match shape.as_slice() {
        [] | [0..=NUMBERS_SHOWN] => first,
        shape => {
            let shape: Vec<_> = shape.iter().map(ToString::to_string).collect();
            format!("{first}, ... (shape {})", shape.join("x"))
        }
    }
}

/// The first numbers or texts of nested lists.
fn leaves(json: &Value, found: &mut Vec<String>) {
    match json {
        _ if found.len() >= NUMBERS_SHOWN => {}
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::String(text) => found.push(short(text)),
        other => found.push(other.to_string()),
    }
}

pub(super) fn prediction_text(value: &PredictionValue) -> String {
    match value {
        PredictionValue::Text(text) | PredictionValue::Class(text) => text.clone(),
        PredictionValue::Number(number) => number.to_string(),
        PredictionValue::Vector(numbers) => {
            numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
    }
}

fn with_confidence(prediction: &Prediction) -> String {
    let value = match &prediction.value {
        PredictionValue::Vector(numbers) => format!("vector of {}", numbers.len()),
        value => prediction_text(value),
    };
    match prediction.confidence {
        Some(confidence) => format!("{value} ({confidence:.3})"),
        None => value,
    }
}

/// How a run went, without its outputs.
pub(super) fn report_table(report: &RunReport) -> Table {
    let mut table = Table::plain();
    table.field("run", report.run_id.to_string());
    table.field("ref", report.reference.to_string());
    table.field("state", state(report.state));
    match report.executors.as_slice() {
        [] | [_] => {
            let on = report.executed_on.as_ref().map(executor).unwrap_or_default();
            table.field("executed on", on);
        }
        several => {
            for share in several {
                let records = counted(share.records, "record");
                table.field("executed on", format!("{}: {records}", executor(&share.node)));
            }
            if report.executors_left_out > 0 {
                let shares = counted(report.executors_left_out, "share");
                table.field("executed on", format!("and {shares} of other nodes"));
            }
        }
    }
    let of = report.total.filter(|total| *total != report.records);
    let of = of.map(|total| format!(" of {total}")).unwrap_or_default();
    let failed = match report.failed {
        0 => String::new(),
        failed => format!(", {failed} of them failed"),
    };
    table.field("records", format!("{}{of}{failed}", report.records));
    table.field("time", format!("{:.3} s", report.seconds));
    if report.unsigned > 0 {
        let records = counted(report.unsigned, "record");
        table.field("not signed for", format!("{records}: the node left or lied about them"));
    }
    let accuracy = report.accuracy.map(|accuracy| format!("{accuracy:.4} of the labels"));
    table.field("accuracy", accuracy.unwrap_or_default());
    table
}

pub(super) const fn state(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Completed => "completed",
        RunState::Failed => "failed",
        RunState::Cancelled => "cancelled",
        RunState::Interrupted => "interrupted",
    }
}

pub(super) fn executor(node: &ExecutedOn) -> String {
    format!("{} ({})", node.org, node.peer_id)
}

/// A receipt: who signed, and whether it holds.
pub(super) fn receipt_table(receipt: &ReceiptReport) -> Table {
    let mut table = Table::plain();
    table.field("executor", receipt.executor.clone());
    table.field("requester", receipt.requester.clone());
    let verified = "yes: both signatures hold, and the outputs are those received";
    table.field("verified", if receipt.verified { verified } else { "NO" });
    table
}

/// What each job of a receipt did.
pub(super) fn jobs_table(jobs: &[JobStatement]) -> Table {
    let mut table = Table::with_head([
        "STAGE", "PACKAGE", "ENGINE", "RECORDS", "TIME", "LONGEST", "MEMORY", "OUTPUT", "OUTCOME",
    ]);
    for job in jobs {
        let package = job.package.to_string();
        table.row([
            job.stage.to_string(),
            package.get(..15).unwrap_or(&package).to_owned(),
            job.engine.clone(),
            job.records.to_string(),
            milliseconds(job.used.wall_us),
            milliseconds(job.used.longest_us),
            ByteSize(job.used.memory_peak_bytes).to_string(),
            ByteSize(job.used.output_bytes).to_string(),
            match &job.outcome {
                Outcome::Completed => "completed".to_owned(),
                Outcome::Stopped => "stopped".to_owned(),
                Outcome::Failed { cause, record } => format!("{cause} at record {record}"),
            },
        ]);
    }
    table
}

/// The limits each job ran under, and whose they were.
pub(super) fn limits_table(jobs: &[JobStatement]) -> Table {
    let mut table =
        Table::with_head(["STAGE", "A RECORD", "A CALL", "IN ALL", "WAIT", "MEMORY", "OUTPUT"]);
    for job in jobs {
        let Limits { scoring_ms, total_ms, memory_bytes, output_bytes, batch_max, queue_ms } =
            job.limits;
        let shown = |limit: Limit, text: &dyn Fn(u64) -> String| match limit {
            Limit::UNSTATED => "-".to_owned(),
            Limit { value, set_by } => format!("{} ({})", text(value), party(set_by)),
        };
        let time = |limit| shown(limit, &duration_text);
        let size = |limit| shown(limit, &|bytes| ByteSize(bytes).to_string());
        table.row([
            job.stage.to_string(),
            time(scoring_ms),
            shown(batch_max, &|records| counted(records, "record")),
            time(total_ms),
            time(queue_ms),
            size(memory_bytes),
            size(output_bytes),
        ]);
    }
    table
}

const fn party(party: Party) -> &'static str {
    match party {
        Party::Producer => "producer",
        Party::Node => "node",
        Party::Requester => "requester",
    }
}

fn milliseconds(us: u64) -> String {
    format!("{}.{:03} ms", us / 1000, us % 1000)
}

/// The failure of a run, if it failed, with the file of the record that failed when its name is known.
pub(super) fn failure(report: &RunReport, names: &[String]) -> Option<Failure> {
    let (what, help) = match report.state {
        RunState::Running => return None,
        RunState::Completed if report.failed == 0 => return None,
        RunState::Completed => {
            ("records failed; the first", format!("guild runs {}", report.run_id))
        }
        RunState::Failed if report.records == 0 || report.total == Some(report.records) => {
            ("the run failed", format!("guild runs {}", report.run_id))
        }
        RunState::Failed => ("the run failed", format!("guild runs resume {}", report.run_id)),
        RunState::Cancelled => ("it did not end", format!("guild runs resume {}", report.run_id)),
        RunState::Interrupted => ("it did not end", format!("guild runs resume {}", report.run_id)),
    };
    let Some(cause) = &report.failure else {
        return Some(Failure::new(exit::FAILED, what).with_help(help));
    };
    let message = match report.state {
        RunState::Completed => {
            let of = format!("{} of {}", report.failed, report.records);
            format!("{of} {what}: {}: {}", cause.cause, cause.message)
        }
        _ => format!("{what}: {}: {}", cause.cause, cause.message),
    };
    let mut failure = Failure::new(exit_code(&cause.cause), message).with_help(help);
    let record = cause.record.and_then(|record| usize::try_from(record).ok());
    if let Some(name) = record.and_then(|record| names.get(record)) {
        failure = failure.with_cause(format!("input {name}"));
    }
    Some(failure)
}

/// The exit code of a run that failed for this cause: nodes that are busy or away may do it later.
fn exit_code(cause: &str) -> u8 {
    match cause {
        "no_executor" => exit::TRY_LATER,
        _ => exit::FAILED,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn class(class: &str, confidence: Option<f64>) -> Prediction {
        let value = PredictionValue::Class(class.into());
        Prediction { input: 0, value, location: None, confidence }
    }

    #[test]
    fn a_failure_names_the_file_and_says_whether_to_try_again() {
        let report = |cause: &str| {
            let failure = serde_json::json!({
                "cause": cause, "message": "stage `1`, record 1: too slow", "stage": 0, "record": 1,
                "limit_ms": 200, "stopped_after_ms": 1200,
            });
            serde_json::from_value::<RunReport>(serde_json::json!({
                "run_id": "0".repeat(64), "ref": "lab-a/digits", "state": "failed", "executed_on": null,
                "records": 1, "seconds": 1.0, "accuracy": null, "failure": failure,
                "receipts": [], "log": [],
            }))
            .unwrap()
        };
        let names = ["a.txt".to_owned(), "b.txt".to_owned()];
        let slow = failure(&report("timeout"), &names).unwrap();
        assert_eq!(slow.code, exit::FAILED);
        assert_eq!(slow.causes, ["input b.txt"], "the message says all else");
        let alone = failure(&report("no_executor"), &[]).unwrap();
        assert_eq!((alone.code, alone.causes.len()), (exit::TRY_LATER, 0));
    }

    #[test]
    fn values_are_short_in_tables_and_whole_for_scripts() {
        let value = OutputValue::Predictions(vec![class("7", Some(0.98765)), class("1", None)]);
        assert_eq!(shown(&value), "7 (0.988), 1");
        assert_eq!(value_text(&value), "7 1");
        let tensor = |json| shown(&OutputValue::Tensor(json));
        assert_eq!(tensor(serde_json::json!([0.1, "NaN"])), "0.1, NaN");
        let large = serde_json::json!(vec![[1, 2, 3]; 4]);
        assert_eq!(tensor(large), "1, 2, 3, 1, 2, 3, 1, 2, ... (shape 4x3)");
        let bytes = serde_json::json!({"dtype": "f32", "shape": [2, 2], "base64": ""});
        assert_eq!(tensor(bytes), "f32 of shape [2,2]");
        let many = OutputValue::Predictions(vec![class("x", None); 6]);
        assert_eq!(shown(&many), "x, x, x, x, and 2 more");
        let long = OutputValue::Text("ä".repeat(100));
        assert_eq!(shown(&long).chars().count(), SHOWN_MAX_CHARS + 3);
        for bytes in [0, 1, 2, 3, 256] {
            let text = data_encoding::BASE64.encode(&vec![0; bytes]);
            assert_eq!(shown(&OutputValue::Base64(text)), format!("{bytes} bytes"));
        }
    }
}
