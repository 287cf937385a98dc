//! Scoring a few records in one request: through a [session](super::sessions) where that comes about, else by a run that
//! is waited for, answered, and forgotten but for its receipt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;
use guildhall_gateway::ApiError;
use guildhall_pipeline::Plan;
use guildhall_protocol::PackageId;
use guildhall_protocol::api::{
    INFER_MAX_RECORDS, InferAnswer, InferRecord, InferRequest, InputRecord, OutputValue, RunInput,
    RunReport, RunRequest, RunState,
};
use guildhall_protocol::interface::Port;
use guildhall_protocol::name::Reference;
use guildhall_protocol::values;
use guildhall_protocol::wire::{PortValue, RecordEnd};
use serde_json::{Value, json};

use super::super::App;
use super::outputs::readable;
use super::request::stage_name;
use super::runner::explain;
use super::session::Answered;
use super::sessions::{Key, REQUEST_MAX_BYTES, REQUEST_MAX_RECORDS};

impl App {
    /// Scores the records of one request.
    pub(in crate::app) async fn infer(
        self: &Arc<Self>,
        reference: Reference,
        request: InferRequest,
    ) -> Result<InferAnswer, ApiError> {
        let began = Instant::now();
        let bad = |why: String| ApiError::failed("bad_input", why);
        let mut request = request;
        let (given, is_single) = match (request.inputs.take(), request.records.take()) {
            (Some(one), None) => (vec![one], true),
            (None, Some(several)) => (several, false),
            _ => return Err(bad("one record is `inputs`, several are `records`".to_owned())),
        };
        if given.is_empty() || given.len() > INFER_MAX_RECORDS {
            return Err(bad(format!("a request scores 1 to {INFER_MAX_RECORDS} records"))
                .with_help("guild run REF --input FILE"));
        }
        let package = self.resolve(&reference).await?;
        let plan = self.recent_plan(&reference, package).await?;
        let record = |(at, json): (usize, &Value)| {
            let inputs = &plan.interface.inputs;
            let by_port = values::by_port(inputs, json);
            let both = by_port.and_then(|by_port| {
                let values = values::record_from_json(inputs, &by_port)?;
                Ok((by_port, values))
            });
            both.map_err(|error| {
                let ports =
                    inputs.iter().map(|port| format!("input {}: {}", port.name, port.port_type));
                let place = if is_single { String::new() } else { format!("record {at}: ") };
                bad(format!("{place}{error}")).with_details(ports)
            })
        };
        let records = given.iter().enumerate().map(record).collect::<Result<Vec<_>, ApiError>>()?;
        let (by_port, records): (Vec<_>, Vec<_>) = records.into_iter().unzip();

        let in_session = self.score_in_session(&reference, package, &plan, &request, records);
        if let Some(answered) = in_session.await {
            let seconds = began.elapsed().as_secs_f64();
            return answered_in_session(&plan, answered, seconds, is_single);
        }
        let named = by_port.into_iter().enumerate();
        let records =
            named.map(|(at, values)| InputRecord { name: at.to_string(), value: None, values });
        let run = self
            .start_run(RunRequest {
                on: request.on,
                limits: request.limits,
                isolation: request.isolation,
                ..RunRequest::new(reference, RunInput::Records(records.collect()))
            })
            .await?;
        self.run_ended(run).await?;
        let report = self.run_report(run)?;
        let mut lines = self.run_outputs(run)?;
        let mut ends = Vec::new();
        while let Some(line) = lines.next().await {
            ends.push(end_of(&plan.interface.outputs, line?.value));
        }
        drop(lines);
        self.forget_run(run).await;
        answer(report, ends, is_single)
    }
}

impl App {
    /// Scores a request's records in a session, if they are few; `None` when that did not come about.
    pub(super) async fn score_in_session(
        self: &Arc<Self>,
        reference: &Reference,
        package: PackageId,
        plan: &Plan,
        request: &InferRequest,
        records: Vec<Vec<PortValue>>,
    ) -> Option<Answered> {
        if !is_for_a_session(&records) {
            return None;
        }
        let key = Key::of(stage_name(reference), package, request);
        let opening = async || self.opening(plan, request).await;
        let answered = self.ask_session(&key, records, opening).await?;
        self.used(None, package).await;
        Some(answered)
    }
}

/// Whether a request is short enough to share a session with others.
fn is_for_a_session(records: &[Vec<PortValue>]) -> bool {
    let len_bytes: usize = records.iter().map(|values| PortValue::len_bytes(values)).sum();
    records.len() <= REQUEST_MAX_RECORDS && len_bytes <= REQUEST_MAX_BYTES
}

fn answered_in_session(
    plan: &Plan,
    answered: Answered,
    seconds: f64,
    is_single: bool,
) -> Result<InferAnswer, ApiError> {
    if is_single && let Some(RecordEnd::Failed(failed)) = answered.ends.first() {
        let failure = explain(&plan.names, failed, &answered.limits);
        return Err(ApiError::failed(&failure.cause, failure.message));
    }
    let ports = &plan.interface.outputs;
    let ends = answered.ends.iter().map(|end| end_of(ports, readable(ports, end))).collect();
    let (outputs, records) = one_or_several(ends, is_single);
    let (run_id, executed_on) = (answered.run, Some(answered.on));
    Ok(InferAnswer { run_id, executed_on, seconds, outputs, records })
}

fn answer(
    report: RunReport,
    ends: Vec<InferRecord>,
    is_single: bool,
) -> Result<InferAnswer, ApiError> {
    let is_whole = report.total == Some(report.records);
    if !is_whole || is_single && report.state != RunState::Completed {
        let failure = report.failure;
        let cause = failure.as_ref().map_or("failed", |failure| failure.cause.as_str());
        let why = failure.as_ref().map_or("it did not end", |failure| failure.message.as_str());
        return Err(match cause {
            "no_executor" | "interrupted" => ApiError::unavailable(cause, why),
            _ => ApiError::failed(cause, why),
        });
    }
    let (outputs, records) = one_or_several(ends, is_single);
    Ok(InferAnswer {
        run_id: report.run_id,
        executed_on: report.executed_on,
        seconds: report.seconds,
        outputs,
        records,
    })
}

/// The outputs of the only record where one was asked for, else each record's end.
fn one_or_several(
    mut ends: Vec<InferRecord>,
    is_single: bool,
) -> (Option<BTreeMap<String, Value>>, Vec<InferRecord>) {
    match ends.pop() {
        Some(InferRecord::Outputs(outputs)) if is_single => (Some(outputs), ends),
        Some(last) => {
            ends.push(last);
            (None, ends)
        }
        None => (None, ends),
    }
}

fn end_of(ports: &[Port], value: OutputValue) -> InferRecord {
    match value {
        OutputValue::Failed(failure) => InferRecord::Failed(failure),
        OutputValue::Ports(values) => {
            let each = values.into_iter().map(|(port, value)| (port, plain(value)));
            InferRecord::Outputs(each.collect())
        }
        value => {
            let port = ports.first().map(|port| port.name.clone()).unwrap_or_default();
            InferRecord::Outputs(BTreeMap::from([(port, plain(value))]))
        }
    }
}

fn plain(value: OutputValue) -> Value {
    match value {
        OutputValue::Predictions(predictions) => json!(predictions),
        OutputValue::Text(text) => json!(text),
        OutputValue::Tensor(numbers) => numbers,
        OutputValue::Base64(base64) => json!({ "base64": base64 }),
        OutputValue::Ports(_) | OutputValue::Failed(_) => Value::Null,
    }
}
