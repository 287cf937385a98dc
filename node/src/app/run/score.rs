//! Scoring with values in their plain form, for faces of the gateway that have a form of their own for values.
//!
//! In a session values stay as they are. Where none comes about, this goes through [`infer`](App::infer): values become
//! JSON that is read back at once, and so does what comes out.

use std::sync::Arc;

use guildhall_gateway::{Answer, ApiError, Scorable, ScoreRequest, Scored};
use guildhall_protocol::api::{InferRecord, InferRequest, RecordFailure};
use guildhall_protocol::interface::{Port, PortType};
use guildhall_protocol::name::Reference;
use guildhall_protocol::values;
use guildhall_protocol::wire::{PortValue, RecordEnd};
use serde_json::{Map, Value};

use super::super::App;
use super::outputs::record_failure;
use super::session::Answered;

impl App {
    /// What can be scored with under a reference.
    pub(in crate::app) async fn scorable(
        self: &Arc<Self>,
        reference: Reference,
    ) -> Answer<Scorable> {
        let package = self.resolve(&reference).await?;
        let exact = match reference {
            Reference::Named { .. } => {
                let core = self.core();
                // It has just been found; if it is gone by now, the name as it was asked for will do.
                let entry = core.catalog().resolve(&reference);
                entry.map_or(reference, |entry| entry.reference())
            }
            package => package,
        };
        let plan = self.recent_plan(&exact, package).await?;
        Ok(Scorable {
            reference: exact,
            interface: plan.interface.clone(),
            engines: plan.engines.clone(),
        })
    }

    /// Scores records whose values are in their plain form.
    pub(in crate::app) async fn score(
        self: &Arc<Self>,
        of: &Scorable,
        request: ScoreRequest,
    ) -> Answer<Scored> {
        let Scorable { reference, interface, .. } = of;
        let ScoreRequest { records, on, limits } = request;
        let request = InferRequest { on, limits, ..InferRequest::default() };
        let package = self.resolve(reference).await?;
        let plan = self.recent_plan(reference, package).await?;
        let in_session =
            self.score_in_session(reference, package, &plan, &request, records.clone()).await;
        if let Some(Answered { run, on, ends, .. }) = in_session {
            let records = ends.into_iter().map(plain).collect();
            return Ok(Scored { run_id: run, executed_on: Some(on), records });
        }
        let records = records.iter().map(|record| written(&interface.inputs, record)).collect();
        let request = InferRequest { records: Some(records), ..request };
        let answer = self.infer(reference.clone(), request).await?;
        let end = |end: InferRecord| match end {
            InferRecord::Outputs(values) => {
                let each = values.iter().map(|(port, value)| read(&interface.outputs, port, value));
                each.collect::<Answer<Vec<_>>>().map(Ok)
            }
            InferRecord::Failed(failure) => Ok(Err(failure)),
        };
        Ok(Scored {
            run_id: answer.run_id,
            executed_on: answer.executed_on,
            records: answer.records.into_iter().map(end).collect::<Answer<_>>()?,
        })
    }
}

/// A record's end in plain form.
fn plain(end: RecordEnd) -> Result<Vec<PortValue>, RecordFailure> {
    match end {
        RecordEnd::Values(values) => Ok(values),
        other => Err(record_failure(&other)),
    }
}

/// A record as `infer` takes it.
fn written(ports: &[Port], record: &[PortValue]) -> Value {
    let value = |value: &PortValue| {
        let port = ports.iter().find(|port| port.name == value.port)?;
        Some((port.name.clone(), values::to_terse_json(&port.port_type, value)))
    };
    Value::Object(record.iter().filter_map(value).collect::<Map<_, _>>())
}

/// A value as `infer` shows it, in plain form again.
fn read(ports: &[Port], name: &str, value: &Value) -> Answer<PortValue> {
    let bad = |why: String| {
        ApiError::failed("bad_output", format!("what came out at port {name}: {why}"))
    };
    let port = ports.iter().find(|port| port.name == name);
    let port = port.ok_or_else(|| bad("there is no such port".to_owned()))?;
    match (&port.port_type, value) {
        // These are shown as the text that they are.
        (PortType::Json(_) | PortType::Text | PortType::Table(_), Value::String(text)) => {
            Ok(PortValue::new(name, text.as_bytes()))
        }
        _ => values::from_json(port, value).map_err(|error| bad(error.to_string())),
    }
}
