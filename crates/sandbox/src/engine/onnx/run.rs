//! Records through a plan: stacked into one run where the graph takes any number of rows, else one by one.
//!
//! A stacked run must change nothing. Its size is bounded by the stage's memory; when it fails, its records go one by
//! one, so that a bad one fails alone; and the first is checked against a run of its own: a graph whose rows
//! influence each other (a mean over the batch, say) is never stacked again.

use std::sync::Arc;

use guildhall_protocol::interface::PortType;
use tract_onnx::prelude::{
    DatumType, IntoTValue as _, IntoTensor as _, TVec, Tensor, TypedRunnableModel,
};

use super::bind::{Feed, GraphInput, GraphOutput, Parts};
use super::table::Table;
use super::tensor;
use crate::engine::{Call, Input, LoadedStage, Outputs};
use crate::failure::Failure;
use crate::value::check_tensor;
use crate::worker::Alarm;
use guildhall_protocol::wire::PortValue;

/// Most rows of one run: the fixed cost of a run is small against this many, and a deadline is looked at in between.
const STACK_MAX_ROWS: usize = 1_024;

/// What part of a stage's memory the tensors of a stacked run may take; the rest holds weights and scratch.
const STACK_MEMORY_SHARE: u64 = 4;

/// How far a stacked run's numbers may be from those of a run alone, relative to their size: kernels for one row and
/// for many sum in different orders.
const STACK_TOLERANCE: f64 = 1e-3;

/// A graph that is ready, with the ports that its inputs and outputs belong to.
pub(super) struct Graph {
    pub(super) plan: Arc<TypedRunnableModel>,
    /// In the plan's order.
    pub(super) inputs: Vec<GraphInput>,
    pub(super) outputs: Vec<GraphOutput>,
    /// The plan takes any number of rows.
    pub(super) takes_any: bool,
    /// Records may be stacked.
    pub(super) stacks: bool,
    /// A stacked run gave what a run alone gives.
    pub(super) is_proven: bool,
    pub(super) memory_bytes: u64,
    /// What the tensors of one row take, bytes, as far as the plan knows.
    pub(super) row_bytes: u64,
}

/// A record's tensors in the plan's order, and how many rows of its first dimension they have.
struct Ready {
    tensors: TVec<Tensor>,
    rows: usize,
}

impl Ready {
    /// Whether the two can be one: the same dimensions behind the first.
    fn fits(&self, other: &Self) -> bool {
        let behind = |tensor: &Tensor| tensor.shape().get(1..).map(<[usize]>::to_vec);
        self.tensors.iter().map(behind).eq(other.tensors.iter().map(behind))
    }

    fn len_bytes(&self) -> u64 {
        let bytes = |tensor: &Tensor| tensor.len() * tensor.datum_type().size_of();
        self.tensors.iter().map(bytes).sum::<usize>() as u64
    }
}

fn bad_input(why: impl Into<String>) -> Failure {
    Failure::BadInput { why: why.into() }
}

fn bad_output(why: impl Into<String>) -> Failure {
    Failure::BadOutput { why: why.into() }
}

impl LoadedStage for Graph {
    fn score(&mut self, call: Call, alarm: &Alarm) -> Vec<Result<Outputs, Failure>> {
        let Call { records, limits, progress } = call;
        let _deadline = progress.deadline(alarm, limits.scoring_ms);
        let mut left = records.into_iter().map(|record| self.feed(record));
        let mut left = left.by_ref().collect::<Vec<_>>().into_iter().peekable();
        while let Some(record) = left.next() {
            let first = match record {
                Ok(first) => first,
                Err(failure) => {
                    progress.push(Err(failure));
                    continue;
                }
            };
            let rows_max = self.rows_max(&first);
            let (mut rows, mut group) = (first.rows, vec![first]);
            while self.stacks
                && let Some(Ok(next)) = left.next_if(|next| {
                    let first = group.first();
                    next.as_ref().is_ok_and(|next| {
                        rows.saturating_add(next.rows) <= rows_max
                            && first.is_some_and(|first| first.fits(next))
                    })
                })
            {
                rows += next.rows;
                group.push(next);
            }
            progress.score_together(group.len() > 1);
            self.run_group(&group).into_iter().for_each(|result| progress.push(result));
        }
        progress.finish()
    }
}

impl Graph {
    /// A record as the plan takes it.
    fn feed(&self, record: Input) -> Result<Ready, Failure> {
        let Input { values, sizes } = record;
        let mut tables: Vec<(&str, Table)> = Vec::new();
        let mut tensors = TVec::new();
        let mut rows = 1;
        for input in &self.inputs {
            let Some(value) = values.iter().find(|value| value.port == input.port) else {
                let why = format!("port `{}` has no value, and graphs need all", input.port);
                return Err(bad_input(why));
            };
            let at_port = |why: String| bad_input(format!("port `{}`: {why}", input.port));
            match &input.feed {
                Feed::Tensor { tensor, is_batched } => {
                    let mut shape =
                        check_tensor(tensor, value, &mut sizes.clone()).map_err(at_port)?;
                    if *is_batched {
                        shape.insert(0, 1);
                    }
                    let made = tensor::from_bytes(tensor.dtype, &shape, &value.bytes);
                    tensors.push(made.map_err(at_port)?);
                }
                Feed::Columns { names, dtype, is_flat } => {
                    if !tables.iter().any(|(port, _)| *port == input.port) {
                        tables.push((&input.port, Table::read(&value.bytes).map_err(at_port)?));
                    }
                    let table = tables.iter().find(|(port, _)| *port == input.port);
                    let Some((_, table)) = table else { continue };
                    rows = table.len();
                    if rows == 0 {
                        return Err(at_port("its table has no rows".into()));
                    }
                    let columns = table.columns(names, *dtype).map_err(at_port)?;
                    let flat = |tensor: Tensor| match is_flat {
                        true => tensor.into_shape(&[rows]).map_err(|error| format!("{error:#}")),
                        false => Ok(tensor),
                    };
                    tensors.push(flat(columns).map_err(at_port)?);
                }
            }
        }
        Ok(Ready { tensors, rows })
    }

    /// How many rows like these may go into one run.
    fn rows_max(&self, ready: &Ready) -> usize {
        let row_bytes = self.row_bytes.max(ready.len_bytes() / ready.rows.max(1) as u64).max(1);
        let fitting = self.memory_bytes / STACK_MEMORY_SHARE / row_bytes;
        usize::try_from(fitting).unwrap_or(usize::MAX).clamp(1, STACK_MAX_ROWS)
    }

    fn run_group(&mut self, group: &[Ready]) -> Vec<Result<Outputs, Failure>> {
        if group.len() > 1
            && let Ok(stacked) = self.run_stacked(group)
        {
            if self.is_proven {
                return stacked.iter().map(|tensors| self.values(tensors)).collect();
            }
            // Of several that succeed together, the last is the one that the others could have changed most.
            if let (Some(record), Some(found)) = (group.last(), stacked.last())
                && let Ok(alone) = self.run_alone(record)
            {
                self.is_proven = is_near(&alone, found);
                self.stacks = self.is_proven;
                if self.is_proven {
                    return stacked.iter().map(|tensors| self.values(tensors)).collect();
                }
            }
        }
        group
            .iter()
            .map(|record| self.run_alone(record).and_then(|out| self.values(&out)))
            .collect()
    }

    fn run(&self, tensors: TVec<Tensor>) -> Result<Vec<Tensor>, Failure> {
        let results = self
            .plan
            .run(tensors.into_iter().map(Tensor::into_tvalue).collect())
            .map_err(|error| bad_output(format!("the graph failed: {error:#}")))?;
        Ok(results.into_iter().map(|result| result.into_tensor()).collect())
    }

    /// All records at once; their outputs apart again.
    fn run_stacked(&self, group: &[Ready]) -> Result<Vec<Vec<Tensor>>, Failure> {
        let trouble = |error: tract_onnx::prelude::TractError| bad_output(format!("{error:#}"));
        let mut stacked = TVec::new();
        for at in 0..self.inputs.len() {
            let parts: Vec<&Tensor> =
                group.iter().filter_map(|record| record.tensors.get(at)).collect();
            stacked.push(Tensor::stack_tensors(0, &parts).map_err(trouble)?);
        }
        let rows: usize = group.iter().map(|record| record.rows).sum();
        let results = self.run(stacked)?;
        let mut apart = Vec::with_capacity(group.len());
        let mut from = 0;
        for record in group {
            let to = from + record.rows;
            let mut part = Vec::with_capacity(results.len());
            for result in &results {
                if result.shape().first() != Some(&rows) {
                    return Err(bad_output("an output has not as many rows as went in"));
                }
                part.push(result.slice(0, from, to).map_err(trouble)?);
            }
            apart.push(part);
            from = to;
        }
        Ok(apart)
    }

    /// One record by itself; row by row where the plan takes one only.
    fn run_alone(&self, record: &Ready) -> Result<Vec<Tensor>, Failure> {
        if self.takes_any || record.rows == 1 {
            return self.run(record.tensors.clone());
        }
        let trouble = |error: tract_onnx::prelude::TractError| bad_output(format!("{error:#}"));
        let mut columns: Vec<Vec<Tensor>> = Vec::new();
        for row in 0..record.rows {
            let tensors = record
                .tensors
                .iter()
                .map(|tensor| tensor.slice(0, row, row + 1))
                .collect::<Result<TVec<_>, _>>()
                .map_err(trouble)?;
            let results = self.run(tensors)?;
            columns.resize_with(results.len(), Vec::new);
            for (column, result) in columns.iter_mut().zip(results) {
                column.push(result);
            }
        }
        columns.iter().map(|parts| Tensor::stack_tensors(0, parts).map_err(trouble)).collect()
    }

    /// The ports' values of one record.
    fn values(&self, results: &[Tensor]) -> Result<Outputs, Failure> {
        let missing = || bad_output("an output is missing");
        let mut values = Vec::new();
        for output in &self.outputs {
            let port = &output.port;
            let (bytes, dims) = match (&output.parts, &port.port_type) {
                (Parts::Class(classes), _) => {
                    let label = classes.label.and_then(|at| results.get(at));
                    let scores = classes.scores.and_then(|at| results.get(at));
                    (tensor::to_classes(classes, label, scores), None)
                }
                (Parts::One(at), PortType::Prediction(prediction)) => {
                    let result = results.get(*at).ok_or_else(missing)?;
                    (tensor::to_predictions(prediction, result), None)
                }
                (Parts::One(at), PortType::Tensor(wanted)) => {
                    let result = results.get(*at).ok_or_else(missing)?;
                    let batch = result.shape().len().saturating_sub(wanted.dims.len());
                    let dims = result.shape().iter().skip(batch).map(|dim| *dim as u64).collect();
                    (tensor::to_bytes(result, wanted.dtype), Some(dims))
                }
                (Parts::One(_), other) => (Err(format!("a graph gives no {other}")), None),
            };
            let bytes = bytes.map_err(|why| bad_output(format!("port `{}`: {why}", port.name)))?;
            values.push(PortValue { port: port.name.clone(), bytes, dims });
        }
        Ok(Outputs { values, memory_peak_bytes: None, metrics: Vec::new() })
    }
}

/// Whether two runs gave the same, give or take rounding.
fn is_near(one: &[Tensor], other: &[Tensor]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| {
            if one.shape() != other.shape() || one.datum_type() != other.datum_type() {
                return false;
            }
            if !one.datum_type().is_float() {
                return one == other;
            }
            let numbers = |tensor: &Tensor| -> Option<Vec<f64>> {
                let cast = tensor.cast_to_dt(DatumType::F64).ok()?;
                let plain = cast.try_as_plain_ram().ok()?;
                plain.as_slice::<f64>().ok().map(<[f64]>::to_vec)
            };
            let (Some(one), Some(other)) = (numbers(one), numbers(other)) else { return false };
            let size = one.iter().map(|value| value.abs()).filter(|v| v.is_finite());
            let scale = size.fold(1e-6, f64::max);
            one.iter().zip(&other).all(|(one, other)| {
                one.total_cmp(other).is_eq()
                    || one.is_nan() && other.is_nan()
                    || (one - other).abs() <= STACK_TOLERANCE * scale
            })
        })
}
