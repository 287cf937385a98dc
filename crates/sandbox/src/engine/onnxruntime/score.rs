//! Records through a session, as many at once as the graph takes.
//!
//! Records of the same shape go through in one run when every input's batch dimension is open. If such a run fails, or
//! what comes out has no share for each record, it is halved until the record is found that cannot be scored; the others
//! have their results. A stage that has to give the same bytes everywhere is never stacked: a library may choose its
//! kernels by size, and a record's bytes must not depend on its neighbours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use guildhall_protocol::interface::Port;
use guildhall_protocol::wire::PortValue;
use ort::ErrorCode;
use ort::session::{RunOptions, Session};

use super::session::{Options, failure};
use super::tensor;
use crate::engine::graph::{Slot, Yielded};
use crate::engine::{Call, Input, LoadedStage, Outputs};
use crate::failure::Failure;
use crate::worker::Alarm;

/// Most records in one run. Beyond it the gain is gone, and what lies between two operators takes memory for each.
const STACK_MAX_RECORDS: usize = 64;

/// A session that is ready, and the ports that its tensors belong to.
pub(super) struct Graph {
    session: Session,
    inputs: Vec<(String, Slot)>,
    outputs: Vec<(String, Port)>,
    is_threaded: bool,
    /// Several records may share a run. No longer so once a graph gave something else than a share for each.
    is_open: bool,
}

/// A record with the shapes of its values, in the order of the graph's inputs.
struct Ready {
    values: Vec<PortValue>,
    shapes: Vec<Vec<usize>>,
}

/// The end of a call's time, on which a run is told to end.
struct Deadline {
    options: RunOptions,
    is_over: AtomicBool,
    limit_ms: u64,
}

impl Deadline {
    fn timeout(&self) -> Failure {
        // How long it took is the node's to say.
        Failure::Timeout { limit_ms: self.limit_ms, stopped_after_ms: self.limit_ms }
    }
}

impl LoadedStage for Graph {
    fn score(&mut self, call: Call, alarm: &Alarm) -> Vec<Result<Outputs, Failure>> {
        let limit_ms = call.limits.scoring_ms;
        let options = match RunOptions::new() {
            Ok(options) => options,
            Err(error) => return vec![Err(Failure::Internal { why: error.to_string() })],
        };
        let deadline = Arc::new(Deadline { options, is_over: AtomicBool::new(false), limit_ms });
        let rings = Arc::clone(&deadline);
        alarm.arm(Duration::from_millis(limit_ms), move || {
            rings.is_over.store(true, Ordering::Release);
            // If it cannot be told, the node kills it.
            let _untold = rings.options.terminate();
        });
        let results = self.score_all(call.records, &deadline);
        alarm.disarm();
        results
    }

    fn is_threaded(&self) -> bool {
        self.is_threaded
    }
}

impl Graph {
    pub(super) fn new(
        session: Session,
        inputs: Vec<(String, Slot)>,
        outputs: Vec<(String, Port)>,
        is_shared: bool,
        options: &Options,
    ) -> Self {
        let is_open =
            is_shared && !options.is_exact && inputs.iter().all(|(_, slot)| slot.is_open());
        Self { session, inputs, outputs, is_threaded: options.threads > 1, is_open }
    }

    /// Results in the records' order, up to the one at which time was over.
    fn score_all(
        &mut self,
        records: Vec<Input>,
        deadline: &Deadline,
    ) -> Vec<Result<Outputs, Failure>> {
        let mut results = Vec::with_capacity(records.len());
        let mut group: Vec<Ready> = Vec::new();
        for record in records {
            match self.ready(record) {
                Ok(ready) => {
                    let fits = self.is_open
                        && group.len() < STACK_MAX_RECORDS
                        && group.first().is_none_or(|first| first.shapes == ready.shapes);
                    if !fits {
                        results.extend(self.score_group(&std::mem::take(&mut group), deadline));
                    }
                    group.push(ready);
                }
                Err(failure) => {
                    results.extend(self.score_group(&std::mem::take(&mut group), deadline));
                    if !is_late(&results) {
                        results.push(Err(failure));
                    }
                }
            }
            if is_late(&results) {
                return results;
            }
        }
        results.extend(self.score_group(&group, deadline));
        results
    }

    fn ready(&self, record: Input) -> Result<Ready, Failure> {
        let shape = |(_, slot): &(String, Slot)| {
            let value = slot.value(&record.values)?;
            slot.shape(value, &record.sizes)
        };
        let shapes: Result<Vec<_>, String> = self.inputs.iter().map(shape).collect();
        let shapes = shapes.map_err(|why| Failure::BadInput { why })?;
        Ok(Ready { values: record.values, shapes })
    }

    /// All records of a group in one run, or in halves if that does not work.
    fn score_group(
        &mut self,
        group: &[Ready],
        deadline: &Deadline,
    ) -> Vec<Result<Outputs, Failure>> {
        if group.is_empty() {
            return Vec::new();
        }
        let failed = match self.run(group, deadline) {
            Ok(results) => return results,
            Err(failure) => failure,
        };
        if group.len() == 1 || matches!(failed, Failure::Timeout { .. }) {
            return vec![Err(failed)];
        }
        let (first, second) = group.split_at(if self.is_open { group.len() / 2 } else { 1 });
        let mut results = self.score_group(first, deadline);
        if !is_late(&results) {
            results.extend(self.score_group(second, deadline));
        }
        results
    }

    /// One run. An error concerns all of the group; what is wrong with one record's share is in its place.
    fn run(
        &mut self,
        group: &[Ready],
        deadline: &Deadline,
    ) -> Result<Vec<Result<Outputs, Failure>>, Failure> {
        if deadline.is_over.load(Ordering::Acquire) {
            return Err(deadline.timeout());
        }
        let mut shares: Vec<Vec<PortValue>> = group.iter().map(|_| Vec::new()).collect();
        let mut failures: Vec<Option<Failure>> = group.iter().map(|_| None).collect();
        for (port, yielded) in self.yielded(group, deadline)? {
            let parts = if group.len() == 1 {
                vec![yielded]
            } else {
                yielded.split(group.len()).map_err(|why| {
                    self.is_open = false;
                    Failure::BadOutput { why }
                })?
            };
            for ((part, share), failure) in parts.into_iter().zip(&mut shares).zip(&mut failures) {
                match part.into_value(&port) {
                    Ok(value) => share.push(value),
                    Err(why) => {
                        let why = format!("port `{}`: {why}", port.name);
                        failure.get_or_insert(Failure::BadOutput { why });
                    }
                }
            }
        }
        let result = |(values, failure): (Vec<PortValue>, Option<Failure>)| match failure {
            Some(failure) => Err(failure),
            None => Ok(Outputs { values, memory_peak_bytes: None, metrics: Vec::new() }),
        };
        Ok(shares.into_iter().zip(failures).map(result).collect())
    }

    /// What a run of these records yields, for each port.
    fn yielded(
        &mut self,
        group: &[Ready],
        deadline: &Deadline,
    ) -> Result<Vec<(Port, Yielded)>, Failure> {
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for (at, (name, slot)) in self.inputs.iter().enumerate() {
            let bad = |why| Failure::BadInput { why };
            let shape = group.first().and_then(|first| first.shapes.get(at));
            let shape = shape.map(Vec::as_slice).unwrap_or_default();
            let values: Result<Vec<_>, _> =
                group.iter().map(|ready| slot.value(&ready.values)).collect();
            let stacked = slot.stack(&values.map_err(bad)?, shape).map_err(bad)?;
            inputs.push((name.as_str(), tensor::to_library(stacked).map_err(bad)?));
        }
        let ran = self.session.run_with_options(inputs, &deadline.options);
        let mut outputs = ran.map_err(|error| match deadline.is_over.load(Ordering::Acquire) {
            true => deadline.timeout(),
            false => of_run(&error),
        })?;
        let mut yielded = Vec::with_capacity(self.outputs.len());
        for (name, port) in &self.outputs {
            let value = outputs.remove(name).ok_or_else(|| Failure::BadOutput {
                why: format!("the graph did not yield `{name}`"),
            })?;
            let value = tensor::from_library(value).map_err(|why| Failure::BadOutput {
                why: format!("port `{}`: {why}", port.name),
            })?;
            yielded.push((port.clone(), value));
        }
        Ok(yielded)
    }
}

/// What an error of a run means. What an operator refuses was fed to it.
fn of_run(error: &ort::Error) -> Failure {
    let is_of_input = error.code() == ErrorCode::InvalidArgument;
    failure(error, |why| match is_of_input {
        true => Failure::BadInput { why: format!("the graph does not take it: {why}") },
        false => Failure::BadOutput { why: format!("the graph failed: {why}") },
    })
}

/// Whether the call's time is over.
fn is_late(results: &[Result<Outputs, Failure>]) -> bool {
    matches!(results.last(), Some(Err(Failure::Timeout { .. })))
}
