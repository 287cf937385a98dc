//! Scoring a few records in one request: a run that is waited for, answered, and forgotten but for its receipt.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use guildhall_gateway::ApiError;
use guildhall_protocol::api::{
    INFER_MAX_RECORDS, InferAnswer, InferRecord, InferRequest, InputRecord, OutputValue, RunInput,
    RunReport, RunRequest, RunState,
};
use guildhall_protocol::interface::Port;
use guildhall_protocol::name::Reference;
use guildhall_protocol::values;
use serde_json::{Value, json};

use super::super::App;

impl App {
    /// Scores the records of one request.
    pub(in crate::app) async fn infer(
        self: &Arc<Self>,
        reference: Reference,
        request: InferRequest,
    ) -> Result<InferAnswer, ApiError> {
        let bad = |why: String| ApiError::failed("bad_input", why);
        let (given, is_single) = match (request.inputs, request.records) {
            (Some(one), None) => (vec![one], true),
            (None, Some(several)) => (several, false),
            _ => return Err(bad("one record is `inputs`, several are `records`".to_owned())),
        };
        if given.is_empty() || given.len() > INFER_MAX_RECORDS {
            return Err(bad(format!("a request scores 1 to {INFER_MAX_RECORDS} records"))
                .with_help("guild run REF --input FILE"));
        }
        let package = self.resolve(&reference).await?;
        let plan = self.plan_of(&reference, package).await?;
        let record = |(at, json): (usize, &Value)| {
            // Looked at twice, so that what is wrong is said of the record and not of the run that it would have made.
            let inputs = &plan.interface.inputs;
            let values = values::by_port(inputs, json)
                .and_then(|values| values::record_from_json(inputs, &values).map(|_| values))
                .map_err(|error| {
                    let ports = inputs
                        .iter()
                        .map(|port| format!("input {}: {}", port.name, port.port_type));
                    let place = if is_single { String::new() } else { format!("record {at}: ") };
                    bad(format!("{place}{error}")).with_details(ports)
                })?;
            Ok(InputRecord { name: at.to_string(), value: None, values })
        };
        let records = given.iter().enumerate().map(record).collect::<Result<_, ApiError>>()?;
        let run = self
            .start_run(RunRequest {
                on: request.on,
                limits: request.limits,
                queue_ms: request.queue_ms,
                isolation: request.isolation,
                ..RunRequest::new(reference, RunInput::Records(records))
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

fn answer(
    report: RunReport,
    mut ends: Vec<InferRecord>,
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
    let outputs = match ends.pop() {
        Some(InferRecord::Outputs(outputs)) if is_single => Some(outputs),
        Some(last) => {
            ends.push(last);
            None
        }
        None => None,
    };
    Ok(InferAnswer {
        run_id: report.run_id,
        executed_on: report.executed_on,
        seconds: report.seconds,
        outputs,
        records: ends,
    })
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
