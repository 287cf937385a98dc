//! The `onnx` engine: ONNX graphs in tract. Graph tensors are bound to ports by name.
//!
//! Only the bound outputs are kept, so operators that lead nowhere else need no support. A graph cannot be interrupted
//! from inside; the node kills the worker at the limit. Records share nothing but the plan, which is immutable.

mod tensor;

use std::sync::Arc;

use guildhall_protocol::interface::{Dim, Port, PortType, TensorType};
use guildhall_protocol::manifest::{Binding, Code, OnnxCode};
use guildhall_protocol::wire::PortValue;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    Framework as _, InferenceFact, InferenceModel, InferenceModelExt as _, IntoRunnable as _, TDim,
    TVec, TractError, TypedFact, TypedRunnableModel,
};
use tract_onnx::tract_hir::infer::Factoid as _;

use super::{Call, Engine, Input, LoadedStage, Outputs};
use crate::failure::Failure;
use crate::message::{CodeReport, StageSpec, TensorInfo};
use crate::value::check_tensor;
use crate::worker::Alarm;

/// Largest graph file, bytes: half of what its own format can hold, and more than this engine is good for.
const MODEL_MAX_BYTES: u64 = 1 << 30;

/// Executes [`Code::Onnx`].
pub(super) struct Onnx;

impl Engine for Onnx {
    fn name(&self) -> &'static str {
        "onnx"
    }

    fn code_max_bytes(&self) -> u64 {
        MODEL_MAX_BYTES
    }

    fn inspect(&self, stage: &StageSpec, code: Vec<u8>) -> Result<CodeReport, Failure> {
        prepare(stage, code).map(|(_, report)| report)
    }

    fn load(&self, stage: &StageSpec, code: Vec<u8>) -> Result<Box<dyn LoadedStage>, Failure> {
        prepare(stage, code).map(|(graph, _)| Box::new(graph) as Box<dyn LoadedStage>)
    }
}

/// A graph that is ready, and the ports that its inputs and outputs belong to, in the plan's order.
struct Graph {
    plan: Arc<TypedRunnableModel>,
    inputs: Vec<GraphInput>,
    outputs: Vec<Port>,
}

struct GraphInput {
    port: String,
    tensor: TensorType,
    /// The graph wants one dimension more than the port has.
    is_batched: bool,
}

fn invalid(why: impl Into<String>) -> Failure {
    Failure::InvalidModel { why: why.into() }
}

fn in_tract(what: &'static str) -> impl Fn(TractError) -> Failure {
    move |error| invalid(format!("{what}: {error:#}"))
}

fn prepare(stage: &StageSpec, code: Vec<u8>) -> Result<(Graph, CodeReport), Failure> {
    let Code::Onnx(onnx) = &stage.code else { return Err(invalid("it is not a graph")) };
    // Shapes that the graph states for anything but inputs are hints, and contradict the batch of one.
    let reader = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let proto: ModelProto = reader
        .proto_model_for_read(&mut code.as_slice())
        .map_err(in_tract("it is no ONNX file"))?;
    drop(code);
    let output_names: Vec<String> = proto
        .graph
        .iter()
        .flat_map(|graph| &graph.output)
        .map(|output| output.name.clone())
        .collect();
    let mut model = reader.model_for_proto_model(&proto).map_err(in_tract("it cannot be read"))?;
    drop(proto);
    let mut report = CodeReport::default();
    let inputs = bind_inputs(&mut model, stage, onnx, &mut report)?;
    let outputs = bind_outputs(&mut model, stage, onnx, &output_names)?;
    let model = model.into_optimized().map_err(in_tract("its types and shapes do not work out"))?;
    for (at, (port, binding)) in outputs.iter().zip(&onnx.outputs).enumerate() {
        let fact = model.output_fact(at).map_err(in_tract("an output is missing"))?;
        check_output(port, fact)
            .map_err(|why| invalid(format!("output `{}`: {why}", binding.tensor)))?;
        report
            .outputs
            .push(TensorInfo { name: binding.tensor.clone(), shape: format!("{fact:?}") });
    }
    let plan = model.into_runnable().map_err(in_tract("it cannot be planned"))?;
    Ok((Graph { plan, inputs, outputs }, report))
}

fn port<'a>(side: &'a [Port], binding: &Binding) -> Result<&'a Port, Failure> {
    side.iter().find(|port| port.name == binding.port).ok_or_else(|| {
        invalid(format!("it is bound to port `{}`, which does not exist", binding.port))
    })
}

/// Makes the bound tensors the graph's inputs, with the ports' types and shapes.
fn bind_inputs(
    model: &mut InferenceModel,
    stage: &StageSpec,
    onnx: &OnnxCode,
    report: &mut CodeReport,
) -> Result<Vec<GraphInput>, Failure> {
    let outlets = model.input_outlets().map_err(in_tract("its inputs are missing"))?;
    let names: Vec<String> =
        outlets.iter().map(|outlet| model.node(outlet.node).name.clone()).collect();
    if let Some(free) = names.iter().find(|name| !onnx.inputs.iter().any(|b| b.tensor == **name)) {
        return Err(invalid(format!("its input `{free}` is bound to no port")));
    }
    if let Some(binding) = onnx.inputs.iter().find(|binding| !names.contains(&binding.tensor)) {
        return Err(invalid(format!("it has no input `{}`", binding.tensor)));
    }
    model
        .set_input_names(onnx.inputs.iter().map(|binding| &binding.tensor))
        .map_err(in_tract("its inputs are missing"))?;
    let mut inputs = Vec::new();
    for (at, binding) in onnx.inputs.iter().enumerate() {
        let port = port(&stage.interface.inputs, binding)?;
        let PortType::Tensor(tensor) = &port.port_type else {
            return Err(invalid(format!("port `{}` is no tensor", port.name)));
        };
        let fact = model.input_fact(at).map_err(in_tract("an input is missing"))?;
        report
            .inputs
            .push(TensorInfo { name: binding.tensor.clone(), shape: fact.format_dt_shape() });
        let (fact, is_batched) = agree(model, fact, tensor)
            .map_err(|why| invalid(format!("input `{}`: {why}", binding.tensor)))?;
        model.set_input_fact(at, fact).map_err(in_tract("an input does not take its type"))?;
        inputs.push(GraphInput { port: port.name.clone(), tensor: tensor.clone(), is_batched });
    }
    Ok(inputs)
}

/// The fact that graph and port agree on, and whether the graph has a batch dimension in front.
fn agree(
    model: &InferenceModel,
    graph: &InferenceFact,
    port: &TensorType,
) -> Result<(InferenceFact, bool), String> {
    let dtype = tensor::datum_type(port.dtype).ok_or("its port's type has no tensor")?;
    if let Some(other) = graph.datum_type.concretize().filter(|found| *found != dtype) {
        return Err(format!("the graph takes {other:?}, its port {dtype:?}"));
    }
    let rank = graph.shape.rank().concretize().and_then(|rank| usize::try_from(rank).ok());
    let is_batched = match rank {
        Some(rank) if rank == port.dims.len() + 1 => true,
        Some(rank) if rank != port.dims.len() => {
            return Err(format!("the graph has {rank} dimensions, its port {}", port.dims.len()));
        }
        _ => false,
    };
    let batch = is_batched.then(|| TDim::Val(1));
    let dims = port.dims.iter().map(|dim| match dim {
        Dim::Fixed(size) => TDim::Val(i64::try_from(*size).unwrap_or(i64::MAX)),
        Dim::Named(name) => TDim::Sym(model.sym(name)),
        Dim::Free => TDim::Sym(model.new_sym_with_prefix("free")),
    });
    let dims: TVec<TDim> = batch.into_iter().chain(dims).collect();
    for (at, (ours, theirs)) in dims.iter().zip(graph.shape.dims()).enumerate() {
        let theirs = theirs.concretize().and_then(|dim| dim.to_i64().ok());
        if let (TDim::Val(ours), Some(theirs)) = (ours, theirs)
            && *ours != theirs
        {
            return Err(format!("dimension {at} is {theirs} in the graph and {ours} at its port"));
        }
    }
    Ok((InferenceFact::dt_shape(dtype, dims), is_batched))
}

/// Keeps only the bound outputs.
fn bind_outputs(
    model: &mut InferenceModel,
    stage: &StageSpec,
    onnx: &OnnxCode,
    names: &[String],
) -> Result<Vec<Port>, Failure> {
    if let Some(binding) = onnx.outputs.iter().find(|binding| !names.contains(&binding.tensor)) {
        return Err(invalid(format!("it has no output `{}`", binding.tensor)));
    }
    let outlets = model.output_outlets().map_err(in_tract("its outputs are missing"))?.to_vec();
    let bound: Vec<_> = onnx
        .outputs
        .iter()
        .filter_map(|binding| names.iter().position(|name| *name == binding.tensor))
        .filter_map(|at| outlets.get(at).copied())
        .collect();
    model.select_output_outlets(&bound).map_err(in_tract("its outputs are missing"))?;
    onnx.outputs.iter().map(|binding| port(&stage.interface.outputs, binding).cloned()).collect()
}

/// Checks what can be known of an output before anything runs.
fn check_output(port: &Port, fact: &TypedFact) -> Result<(), String> {
    let dims: Vec<Option<u64>> = fact
        .shape
        .iter()
        .map(|dim| dim.to_i64().ok().and_then(|size| u64::try_from(size).ok()))
        .collect();
    match &port.port_type {
        PortType::Tensor(tensor) => {
            let dtype = tensor::datum_type(tensor.dtype);
            if dtype != Some(fact.datum_type) {
                return Err(format!("the graph gives {:?}, its port {dtype:?}", fact.datum_type));
            }
            let shown = match dims.len().checked_sub(tensor.dims.len()) {
                Some(0) => dims.as_slice(),
                Some(1) if dims.first().is_some_and(|batch| batch.is_none_or(|size| size == 1)) => {
                    dims.get(1..).unwrap_or_default()
                }
                _ => {
                    return Err(format!(
                        "the graph gives {} dimensions, its port {}",
                        dims.len(),
                        tensor.dims.len()
                    ));
                }
            };
            for (found, wanted) in shown.iter().zip(&tensor.dims) {
                if let (Some(found), Dim::Fixed(wanted)) = (found, wanted)
                    && found != wanted
                {
                    return Err(format!("a dimension is {found}, its port says {wanted}"));
                }
            }
            Ok(())
        }
        PortType::Prediction(prediction) => {
            tensor::check_scores(prediction, fact.datum_type, &dims)
        }
        other => Err(format!("a graph gives no {other}")),
    }
}

impl LoadedStage for Graph {
    fn score(&mut self, call: Call, _alarm: &Alarm) -> Vec<Result<Outputs, Failure>> {
        call.records.into_iter().map(|record| self.score_one(record)).collect()
    }
}

impl Graph {
    fn score_one(&self, record: Input) -> Result<Outputs, Failure> {
        let Input { values: inputs, sizes } = record;
        let mut tensors = TVec::new();
        for input in &self.inputs {
            let Some(value) = inputs.iter().find(|value| value.port == input.port) else {
                let why = format!("port `{}` has no value, and graphs need all", input.port);
                return Err(Failure::BadInput { why });
            };
            let mut shape = check_tensor(&input.tensor, value, &mut sizes.clone())
                .map_err(|why| Failure::BadInput { why })?;
            if input.is_batched {
                shape.insert(0, 1);
            }
            let tensor = tensor::from_bytes(input.tensor.dtype, &shape, &value.bytes)
                .map_err(|why| Failure::BadInput { why })?;
            tensors.push(tensor.into());
        }
        let results = self
            .plan
            .run(tensors)
            .map_err(|error| Failure::BadOutput { why: format!("the graph failed: {error:#}") })?;
        let mut values = Vec::new();
        for (port, result) in self.outputs.iter().zip(results) {
            let (bytes, dims) = match &port.port_type {
                PortType::Prediction(prediction) => {
                    (tensor::to_predictions(prediction, &result), None)
                }
                PortType::Tensor(tensor) => {
                    let batch = result.shape().len().saturating_sub(tensor.dims.len());
                    let dims = result.shape().iter().skip(batch).map(|dim| *dim as u64).collect();
                    (tensor::to_bytes(&result), Some(dims))
                }
                _ => (tensor::to_bytes(&result), None),
            };
            let bytes = bytes.map_err(|why| Failure::BadOutput { why })?;
            values.push(PortValue { port: port.name.clone(), bytes, dims });
        }
        Ok(Outputs { values, memory_peak_bytes: None })
    }
}
