//! The `onnx` engine: ONNX graphs in tract, with operators of our own where tract has none or slow ones.
//!
//! Graph tensors are bound to ports by name. Only the bound outputs are kept, so operators that lead nowhere else need no
//! support. A graph cannot be interrupted from inside; its worker ends at the limit. Records share nothing
//! but the plan, which is immutable; several of them go through it at once where the graph takes any number of rows.

mod asked;
#[cfg(test)]
mod bench;
mod bind;
#[cfg(test)]
mod operators;
mod ops;
mod rewrite;
mod run;
mod source;
mod table;
mod tensor;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use guildhall_protocol::contract::Determinism;
use guildhall_protocol::manifest::{Code, OnnxCode};
use tract_onnx::Onnx as Reader;
use tract_onnx::prelude::{
    Framework as _, InferenceModel, InferenceModelExt as _, IntoRunnable as _, SymbolValues, TDim,
    TractError, TypedFact, TypedModel,
};

pub(crate) use self::asked::{
    COPIES as MODEL_COPIES, Model, RANK_MAX, Trouble, Value, check_len, one_nan,
};
use self::bind::Batch;
use self::run::Graph;
use self::source::Source;
use super::{Brought, Engine, LoadedStage};
use crate::failure::Failure;
use crate::message::{CodeReport, StageSpec, TensorInfo};

/// Largest graph file, bytes: half of what its own format can hold, and more than this engine is good for.
pub(crate) const MODEL_MAX_BYTES: u64 = 1 << 30;

/// The name of the batch among the graph's dimensions; ports' names have no space in them.
const BATCH: &str = "the rows";

/// Executes [`Code::Onnx`].
pub(super) struct Onnx;

impl Engine for Onnx {
    fn name(&self) -> &'static str {
        "onnx"
    }

    fn code_max_bytes(&self) -> u64 {
        MODEL_MAX_BYTES
    }

    fn inspect(
        &self,
        stage: &StageSpec,
        code: Vec<u8>,
        _own: Brought,
    ) -> Result<CodeReport, Failure> {
        prepare(stage, code).map(|(_, report)| report)
    }

    fn load(
        &self,
        stage: &StageSpec,
        code: Vec<u8>,
        _own: Brought,
    ) -> Result<Box<dyn LoadedStage>, Failure> {
        prepare(stage, code).map(|(graph, _)| Box::new(graph) as Box<dyn LoadedStage>)
    }
}

fn invalid(why: impl Into<String>) -> Failure {
    Failure::InvalidModel { why: why.into() }
}

fn in_tract(what: &'static str) -> impl Fn(TractError) -> Failure {
    move |error| invalid(format!("{what}: {error:#}"))
}

fn reader() -> Reader {
    // Shapes that the graph states for anything but inputs are hints, and contradict the batch of one.
    let mut reader = tract_onnx::onnx()
        .with_ignore_output_shapes(true)
        .with_ignore_output_types(true)
        .with_ignore_value_info(true);
    ops::register(&mut reader.op_register);
    reader
}

/// Which of these operators, by domain and name, the engine has no code for.
pub(super) fn lacks(operators: &[String]) -> Vec<String> {
    let known = reader().op_register.0;
    let has = |operator: &str| {
        let name = operator.rsplit('.').next().unwrap_or(operator);
        known.contains_key(name) || name == source::ZIP_MAP
    };
    operators.iter().filter(|operator| !has(operator)).cloned().collect()
}

/// Which operators of a graph the engine has no code for, each once; none where it cannot even be read.
pub(super) fn lacking(mut bytes: &[u8]) -> Vec<String> {
    let found = catch_unwind(AssertUnwindSafe(|| reader().proto_model_for_read(&mut bytes)));
    let Ok(Ok(proto)) = found else { return Vec::new() };
    let nodes = proto.graph.map(|graph| graph.node).unwrap_or_default();
    let names = nodes.into_iter().map(|node| match node.domain.as_str() {
        "" | "ai.onnx" => node.op_type,
        domain => format!("{domain}.{}", node.op_type),
    });
    let names: BTreeSet<String> = names.collect();
    lacks(&names.into_iter().collect::<Vec<_>>())
}

/// What all plans of a graph have in common.
struct Parts<'a> {
    stage: &'a StageSpec,
    onnx: &'a OnnxCode,
    outputs: Vec<String>,
    labels: std::collections::BTreeMap<String, Vec<String>>,
}

fn prepare(stage: &StageSpec, code: Vec<u8>) -> Result<(Graph, CodeReport), Failure> {
    let Code::Onnx(onnx) = &stage.code else { return Err(invalid("it is not a graph")) };
    let reader = reader();
    let proto = reader
        .proto_model_for_read(&mut code.as_slice())
        .map_err(in_tract("it is no ONNX file"))?;
    drop(code);
    let wanted: Vec<&str> = onnx.outputs.iter().map(|binding| binding.tensor.as_str()).collect();
    let Source { proto, outputs, labels } = Source::new(&reader, proto, &wanted)?;
    let model = reader.model_for_proto_model(&proto).map_err(in_tract("it cannot be read"))?;
    drop(proto);
    let parts = Parts { stage, onnx, outputs, labels };
    let any = Batch::Any(TDim::Sym(model.sym(BATCH)));
    // The same bits in every run means the same order of sums, so no stacking.
    if stage.determinism != Determinism::Bitwise {
        let model = model.clone();
        // tract panics over some operators with a batch of unknown size, recurrent ones among them; one row works.
        let planned = catch_unwind(AssertUnwindSafe(|| parts.plan(model, &any)));
        if let Ok(Ok(Some(made))) = planned {
            return Ok(made);
        }
    }
    parts.plan(model, &Batch::One)?.ok_or_else(|| invalid("it cannot be planned"))
}

impl Parts<'_> {
    /// The graph planned for one row or for any number of them; none where it does not take any number.
    fn plan(
        &self,
        mut model: InferenceModel,
        batch: &Batch,
    ) -> Result<Option<(Graph, CodeReport)>, Failure> {
        let mut report = CodeReport::default();
        let (inputs, all_take_any) =
            bind::inputs(&mut model, self.stage, self.onnx, batch, &mut report)?;
        let takes_any = matches!(batch, Batch::Any(_));
        if takes_any && !all_take_any {
            return Ok(None);
        }
        let model =
            model.into_optimized().map_err(in_tract("its types and shapes do not work out"))?;
        let mut facts: Vec<TypedFact> = Vec::new();
        for at in 0..model.outputs.len() {
            let fact = model.output_fact(at).map_err(in_tract("an output is missing"))?;
            if let Batch::Any(rows) = batch
                && fact.shape.iter().next() != Some(rows)
            {
                return Ok(None);
            }
            facts.push(fact.clone());
        }
        let outputs = bind::outputs(self.stage, self.onnx, &self.outputs, &facts, &self.labels)?;
        for (binding, source) in self.onnx.outputs.iter().zip(&self.outputs) {
            let mut distinct: Vec<&String> = Vec::new();
            for name in &self.outputs {
                if !distinct.contains(&name) {
                    distinct.push(name);
                }
            }
            let at = distinct.iter().position(|name| *name == source);
            let fact = at.and_then(|at| facts.get(at));
            report.outputs.push(TensorInfo {
                name: binding.tensor.clone(),
                shape: fact.map(|fact| format!("{fact:?}")).unwrap_or_default(),
            });
        }
        let row_bytes = row_bytes(&model);
        let plan = model.into_runnable().map_err(in_tract("it cannot be planned"))?;
        let graph = Graph {
            plan,
            inputs,
            outputs,
            takes_any,
            stacks: takes_any,
            is_proven: false,
            memory_bytes: self.stage.memory_bytes,
            row_bytes,
        };
        Ok(Some((graph, report)))
    }
}

/// What all tensors of a run with one row take together, bytes: more than it holds at any one time. Dimensions that only
/// a record knows count as 1.
fn row_bytes(model: &TypedModel) -> u64 {
    let mut one = SymbolValues::default();
    for symbol in model.symbols.all_symbols() {
        one = one.with(&symbol, 1);
    }
    let facts = model.nodes().iter().filter(|node| !node.inputs.is_empty());
    let bytes = facts.flat_map(|node| &node.outputs).map(|outlet| {
        let sizes = outlet.fact.shape.iter().map(|dim| dim.eval_to_i64(&one).unwrap_or(1));
        let volume = sizes
            .fold(1_u64, |volume, size| volume.saturating_mul(u64::try_from(size).unwrap_or(1)));
        volume.saturating_mul(outlet.fact.datum_type.size_of() as u64)
    });
    bytes.fold(0, u64::saturating_add)
}
