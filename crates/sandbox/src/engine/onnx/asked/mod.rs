//! A graph that a stage's code asks by itself, through wasi-nn: tensors in, tensors out, no ports.
//!
//! A plan holds for shapes. The first one leaves open what the graph leaves open. Where tract cannot make such a plan, or
//! cannot run it, one for the very shapes that were asked for is made and kept, [`FIXED_MAX`] of them. Which plan answers
//! depends on the graph and the tensors alone, and all of it happens on the thread that asks: the same tensors give the
//! same bytes, as long as the processor offers the same instructions.
//!
//! Tensors are foreign here, and so is the graph. Nothing of either ends the process but the system, when it has no more
//! memory; what makes tract panic is an answer like any other.

#[cfg(test)]
mod tests;
mod value;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use guildhall_protocol::interface::ElementType;
use tract_onnx::Onnx;
use tract_onnx::pb::{GraphProto, ModelProto, type_proto};
use tract_onnx::prelude::{
    DatumType, Framework as _, InferenceFact, InferenceModel, InferenceModelExt as _,
    IntoRunnable as _, IntoTValue as _, IntoTensor as _, TDim, TVec, Tensor, TypedRunnableModel,
};
use tract_onnx::tract_hir::infer::Factoid as _;

use self::value::value;
pub(crate) use self::value::{RANK_MAX, Value, check_len, one_nan};
use super::source::Source;
use super::{in_tract, invalid, reader, tensor};
use crate::failure::Failure;
use crate::worker::ALLOCATION_FAILED;

/// Plans for shapes of their own that are kept: full batches and what is left over. Each may hold the weights once more.
const FIXED_MAX: usize = 2;

/// How often a graph is in memory: as decoded, and in each plan. Loading takes less.
pub(crate) const COPIES: u64 = 2 + FIXED_MAX as u64;

/// ONNX's number for texts.
const ONNX_STRING: i32 = 8;

type Plan = Arc<TypedRunnableModel>;

/// Plans for shapes, the last used at the end.
type Fixed = Vec<(Vec<Vec<usize>>, Plan)>;

/// Why a graph gave no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A tensor is not what the graph takes.
    Argument(String),
    /// The graph or tract failed over it.
    Failed(String),
    /// There was no memory left for it.
    Memory,
}

/// A graph that is ready to be asked.
pub(crate) struct Model {
    graph: InferenceModel,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    open: Option<Plan>,
    fixed: Mutex<Fixed>,
}

/// What the graph says of an input.
struct Input {
    name: String,
    dtype: Option<DatumType>,
    /// None where it does not even say how many there are.
    dims: Option<Vec<Option<usize>>>,
}

struct Output {
    name: String,
    /// Its place among a plan's outputs; none if it is one of texts, which wasi-nn has no tensors for.
    at: Option<usize>,
}

impl Model {
    /// Reads a graph and plans it as far as its own shapes allow.
    ///
    /// # Errors
    /// [`Failure::InvalidModel`], [`Failure::MemoryLimit`].
    pub(crate) fn load(bytes: &[u8]) -> Result<Self, Failure> {
        let read = caught(|| Self::read(bytes)).unwrap_or_else(|trouble| {
            Err(match trouble {
                // The node knows the limit.
                Trouble::Memory => Failure::MemoryLimit { limit_bytes: 0 },
                Trouble::Argument(why) | Trouble::Failed(why) => invalid(why),
            })
        });
        let mut model = read?;
        model.open = model.open_plan()?;
        Ok(model)
    }

    fn read(mut bytes: &[u8]) -> Result<Self, Failure> {
        let reader = reader();
        let proto = reader.proto_model_for_read(&mut bytes);
        Self::of(&reader, proto.map_err(in_tract("it is no ONNX file"))?)
    }

    fn of(reader: &Onnx, proto: ModelProto) -> Result<Self, Failure> {
        let graph = proto.graph.as_ref().ok_or_else(|| invalid("it has no graph"))?;
        let names = output_names(graph);
        let wanted: Vec<&str> =
            names.iter().filter(|(_, says)| *says).map(|(name, _)| name.as_str()).collect();
        let Source { proto, outputs: sources, .. } = Source::new(reader, proto, &wanted)?;
        let mut distinct: Vec<&String> = Vec::new();
        for source in &sources {
            if !distinct.contains(&source) {
                distinct.push(source);
            }
        }
        let mut places =
            sources.iter().map(|source| distinct.iter().position(|other| *other == source));
        let outputs = names
            .iter()
            .map(|(name, says)| Output {
                name: name.clone(),
                at: if *says { places.next().flatten() } else { None },
            })
            .collect();
        let graph = reader.model_for_proto_model(&proto).map_err(in_tract("it cannot be read"))?;
        let inputs = inputs(&graph)?;
        Ok(Self { graph, inputs, outputs, open: None, fixed: Mutex::default() })
    }

    /// A plan that leaves open what the graph leaves open; none where tract has none for this graph. A graph that leaves
    /// nothing open has no other, so it has to have this one.
    fn open_plan(&self) -> Result<Option<Plan>, Failure> {
        let is_settled = |input: &Input| {
            input.dtype.is_some()
                && input.dims.as_ref().is_some_and(|dims| dims.iter().all(Option::is_some))
        };
        let facts: Option<Vec<InferenceFact>> =
            (0..self.inputs.len()).map(|at| self.open_fact(at)).collect();
        let Some(facts) = facts else { return Ok(None) };
        match caught(|| self.plan(facts)).and_then(|made| made) {
            Ok(plan) => Ok(Some(plan)),
            Err(Trouble::Memory) => Err(Failure::MemoryLimit { limit_bytes: 0 }),
            Err(Trouble::Failed(why) | Trouble::Argument(why))
                if self.inputs.iter().all(is_settled) =>
            {
                Err(invalid(why))
            }
            Err(_) => Ok(None),
        }
    }

    /// The fact of an input with a symbol wherever the graph says no size.
    fn open_fact(&self, at: usize) -> Option<InferenceFact> {
        let input = self.inputs.get(at)?;
        let fact = self.graph.input_fact(at).ok()?;
        input.dims.as_ref()?;
        let dims: TVec<TDim> = fact
            .shape
            .dims()
            .map(|dim| {
                dim.concretize()
                    .unwrap_or_else(|| TDim::Sym(self.graph.new_sym_with_prefix("open")))
            })
            .collect();
        Some(InferenceFact::dt_shape(input.dtype?, dims))
    }

    fn plan(&self, facts: Vec<InferenceFact>) -> Result<Plan, Trouble> {
        let failed = |error| Trouble::Failed(format!("it cannot be planned: {error:#}"));
        let mut graph = self.graph.clone();
        for (at, fact) in facts.into_iter().enumerate() {
            graph.set_input_fact(at, fact).map_err(failed)?;
        }
        graph.into_optimized().and_then(|graph| graph.into_runnable()).map_err(failed)
    }

    /// How many tensors it takes.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// The place of the input of this name.
    pub(crate) fn input(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|input| input.name == name)
    }

    /// The name of the output at this place.
    pub(crate) fn output(&self, at: usize) -> Option<&str> {
        self.outputs.get(at).map(|output| output.name.as_str())
    }

    /// The outputs for these inputs, in the graph's order each; none for outputs that wasi-nn has no tensors for.
    ///
    /// # Errors
    /// [`Trouble`]. The model is as it was.
    pub(crate) fn run(&self, given: &[Option<&Value>]) -> Result<Vec<Option<Value>>, Trouble> {
        let mut tensors: TVec<Tensor> = TVec::new();
        for (at, input) in self.inputs.iter().enumerate() {
            let at_input =
                |why: String| Trouble::Argument(format!("input `{}`: {why}", input.name));
            let value = given.get(at).copied().flatten();
            let value = value.ok_or_else(|| at_input("there is no tensor for it".into()))?;
            let made = caught(|| input.tensor(value))?;
            tensors.push(made.map_err(at_input)?);
        }
        if let Some(plan) = &self.open {
            match caught(|| ask(plan, tensors.clone())).and_then(|answer| answer) {
                Ok(found) => return self.values(&found),
                Err(Trouble::Memory) => return Err(Trouble::Memory),
                // A plan for these very shapes may do what this one cannot.
                Err(_) => {}
            }
        }
        let plan = self.fixed_plan(&tensors)?;
        let found = caught(|| ask(&plan, tensors)).and_then(|answer| answer)?;
        self.values(&found)
    }

    fn fixed_plan(&self, tensors: &[Tensor]) -> Result<Plan, Trouble> {
        let shapes: Vec<Vec<usize>> =
            tensors.iter().map(|tensor| tensor.shape().to_vec()).collect();
        let mut kept = self.fixed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(other, _)| *other == shapes) {
            let found = kept.remove(at);
            let plan = Arc::clone(&found.1);
            kept.push(found);
            return Ok(plan);
        }
        // Before the new one is made, so that there are never more.
        if kept.len() >= FIXED_MAX {
            kept.remove(0);
        }
        let facts = tensors
            .iter()
            .map(|tensor| InferenceFact::dt_shape(tensor.datum_type(), tensor.shape()))
            .collect();
        let plan = caught(|| self.plan(facts)).and_then(|made| made)?;
        kept.push((shapes, Arc::clone(&plan)));
        Ok(plan)
    }

    fn values(&self, found: &[Tensor]) -> Result<Vec<Option<Value>>, Trouble> {
        let value = |output: &Output| -> Result<Option<Value>, Trouble> {
            let Some(tensor) = output.at.and_then(|at| found.get(at)) else { return Ok(None) };
            let made = caught(|| value(tensor))?;
            made.map_err(|why| Trouble::Failed(format!("output `{}`: {why}", output.name)))
        };
        self.outputs.iter().map(value).collect()
    }
}

impl Input {
    /// The tensor for this input, if it is one that the graph takes.
    fn tensor(&self, value: &Value) -> Result<Tensor, String> {
        let Value { dtype, dims, bytes } = value;
        check_len(*dtype, dims, bytes.len())?;
        let shape: Vec<usize> =
            dims.iter().map(|dim| usize::try_from(*dim).unwrap_or(usize::MAX)).collect();
        if let Some(theirs) = &self.dims {
            let fits = theirs.len() == shape.len()
                && theirs
                    .iter()
                    .zip(&shape)
                    .all(|(wanted, given)| wanted.is_none_or(|w| w == *given));
            if !fits {
                let sizes = theirs.iter().map(|dim| dim.map_or("?".into(), |dim| dim.to_string()));
                let sizes = sizes.collect::<Vec<String>>().join(", ");
                return Err(format!("the graph takes [{sizes}], the tensor has {dims:?}"));
            }
        }
        // wasi-nn has no truth values; a byte each is what everybody uses.
        let is_truth = self.dtype == Some(DatumType::Bool) && *dtype == ElementType::U8;
        let dtype = if is_truth { ElementType::Bool } else { *dtype };
        let datum = tensor::datum_type(dtype).ok_or("its type has no tensor")?;
        if let Some(wanted) = self.dtype.filter(|wanted| *wanted != datum) {
            return Err(format!("the graph takes {wanted:?}, the tensor has {datum:?}"));
        }
        if is_truth && bytes.iter().any(|byte| *byte > 1) {
            return Err("a truth value is 0 or 1".into());
        }
        tensor::from_bytes(dtype, &shape, bytes)
    }
}

/// The graph's outputs by name, and whether wasi-nn has tensors for them.
fn output_names(graph: &GraphProto) -> Vec<(String, bool)> {
    let says = |value: Option<&type_proto::Value>| match value {
        Some(type_proto::Value::TensorType(tensor)) => tensor.elem_type != ONNX_STRING,
        // Lists of maps are scores behind a ZipMap, and who says nothing gives numbers.
        _ => true,
    };
    let output = graph.output.iter();
    output
        .map(|output| {
            let value = output.r#type.as_ref().and_then(|named| named.value.as_ref());
            (output.name.clone(), says(value))
        })
        .collect()
}

fn inputs(graph: &InferenceModel) -> Result<Vec<Input>, Failure> {
    let outlets = graph.input_outlets().map_err(in_tract("its inputs are missing"))?;
    let mut inputs = Vec::new();
    for (at, outlet) in outlets.iter().enumerate() {
        let fact = graph.input_fact(at).map_err(in_tract("an input is missing"))?;
        let rank = fact.shape.rank().concretize();
        let dims = fact.shape.dims().map(|dim| {
            dim.concretize()
                .and_then(|dim| dim.to_i64().ok())
                .and_then(|dim| usize::try_from(dim).ok())
        });
        inputs.push(Input {
            name: graph.node(outlet.node).name.clone(),
            dtype: fact.datum_type.concretize(),
            dims: rank.map(|_| dims.collect()),
        });
    }
    Ok(inputs)
}

fn ask(plan: &Plan, tensors: TVec<Tensor>) -> Result<Vec<Tensor>, Trouble> {
    let answer = plan.run(tensors.into_iter().map(|tensor| tensor.into_tvalue()).collect());
    let found = answer.map_err(|error| Trouble::Failed(format!("the graph failed: {error:#}")))?;
    Ok(found.into_iter().map(|found| found.into_tensor()).collect())
}

/// What tract does, with its panics as answers.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Trouble> {
    // Plans are immutable, and what a run had of its own went with it.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| trouble(&*panic))
}

fn trouble(panic: &(dyn Any + Send)) -> Trouble {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
    if text.starts_with(ALLOCATION_FAILED) {
        return Trouble::Memory;
    }
    Trouble::Failed(format!("the engine gave up: {text}"))
}
