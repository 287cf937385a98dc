//! Which tensors of the graph belong to which ports, and whether they agree.
//!
//! A port of a tensor feeds one input. A port of a table feeds one input for each column, by name, or one input with all
//! of its columns. A prediction port of classes takes scores, or labels, or both. Every other port takes one output.

use std::collections::BTreeMap;

use guildhall_protocol::interface::{
    Dim, ElementType, Port, PortType, PredictionKind, PredictionType, TableType, TensorType,
};
use guildhall_protocol::manifest::{Binding, OnnxCode};
use tract_onnx::prelude::{DatumType, InferenceFact, InferenceModel, TDim, TVec, TypedFact};
use tract_onnx::tract_hir::infer::Factoid as _;

use super::{in_tract, invalid, tensor};
use crate::failure::Failure;
use crate::message::{CodeReport, StageSpec, TensorInfo};

/// An input of the graph, and what feeds it.
pub(super) struct GraphInput {
    pub(super) port: String,
    pub(super) feed: Feed,
}

pub(super) enum Feed {
    Tensor {
        tensor: TensorType,
        /// The graph wants one dimension more than the port has.
        is_batched: bool,
    },
    Columns {
        names: Vec<String>,
        dtype: ElementType,
        /// The graph takes one dimension: the rows.
        is_flat: bool,
    },
}

/// The first dimension that inputs get.
#[derive(Clone)]
pub(super) enum Batch {
    One,
    Any(TDim),
}

impl Batch {
    fn dim(&self) -> TDim {
        match self {
            Self::One => TDim::Val(1),
            Self::Any(dim) => dim.clone(),
        }
    }
}

/// What is known of an input: what feeds it, its type, and whether the graph takes any number of rows.
struct Agreed {
    feed: Feed,
    fact: InferenceFact,
    takes_any: bool,
}

fn port<'a>(side: &'a [Port], binding: &Binding) -> Result<&'a Port, Failure> {
    side.iter().find(|port| port.name == binding.port).ok_or_else(|| {
        invalid(format!("it is bound to port `{}`, which does not exist", binding.port))
    })
}

/// Makes the bound tensors the graph's inputs, with the ports' types and shapes. Says also whether all of them take any
/// number of rows.
pub(super) fn inputs(
    model: &mut InferenceModel,
    stage: &StageSpec,
    onnx: &OnnxCode,
    batch: &Batch,
    report: &mut CodeReport,
) -> Result<(Vec<GraphInput>, bool), Failure> {
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
    let mut all_take_any = true;
    for (at, binding) in onnx.inputs.iter().enumerate() {
        let port = port(&stage.interface.inputs, binding)?;
        let fact = model.input_fact(at).map_err(in_tract("an input is missing"))?;
        report
            .inputs
            .push(TensorInfo { name: binding.tensor.clone(), shape: fact.format_dt_shape() });
        let agreed = match &port.port_type {
            PortType::Tensor(tensor) => of_tensor(model, fact, tensor, batch),
            PortType::Table(table) => {
                let is_only = onnx.inputs.iter().filter(|b| b.port == binding.port).count() == 1;
                of_table(fact, table, &binding.tensor, is_only, batch)
            }
            other => return Err(invalid(format!("port `{}` is a {other}", port.name))),
        };
        let Agreed { feed, fact, takes_any } =
            agreed.map_err(|why| invalid(format!("input `{}`: {why}", binding.tensor)))?;
        all_take_any &= takes_any;
        model.set_input_fact(at, fact).map_err(in_tract("an input does not take its type"))?;
        inputs.push(GraphInput { port: port.name.clone(), feed });
    }
    Ok((inputs, all_take_any))
}

fn rank(graph: &InferenceFact) -> Option<usize> {
    graph.shape.rank().concretize().and_then(|rank| usize::try_from(rank).ok())
}

/// The sizes that the graph itself fixes.
fn fixed(graph: &InferenceFact) -> Vec<Option<i64>> {
    graph.shape.dims().map(|dim| dim.concretize().and_then(|dim| dim.to_i64().ok())).collect()
}

fn of_tensor(
    model: &InferenceModel,
    graph: &InferenceFact,
    port: &TensorType,
    batch: &Batch,
) -> Result<Agreed, String> {
    let dtype = tensor::datum_type(port.dtype).ok_or("its port's type has no tensor")?;
    if let Some(other) = graph.datum_type.concretize().filter(|found| *found != dtype) {
        return Err(format!("the graph takes {other:?}, its port {dtype:?}"));
    }
    let is_batched = match rank(graph) {
        Some(rank) if rank == port.dims.len() + 1 => true,
        Some(rank) if rank != port.dims.len() => {
            return Err(format!("the graph has {rank} dimensions, its port {}", port.dims.len()));
        }
        _ => false,
    };
    let theirs = fixed(graph);
    let takes_any = is_batched && theirs.first().is_some_and(Option::is_none);
    let first = is_batched.then(|| if takes_any { batch.dim() } else { TDim::Val(1) });
    let dims = port.dims.iter().map(|dim| match dim {
        Dim::Fixed(size) => TDim::Val(i64::try_from(*size).unwrap_or(i64::MAX)),
        Dim::Named(name) => TDim::Sym(model.sym(name)),
        Dim::Free => TDim::Sym(model.new_sym_with_prefix("free")),
    });
    let dims: TVec<TDim> = first.into_iter().chain(dims).collect();
    for (at, (ours, theirs)) in dims.iter().zip(theirs).enumerate() {
        if let (TDim::Val(ours), Some(theirs)) = (ours, theirs)
            && *ours != theirs
        {
            return Err(format!("dimension {at} is {theirs} in the graph and {ours} at its port"));
        }
    }
    let feed = Feed::Tensor { tensor: port.clone(), is_batched };
    Ok(Agreed { feed, fact: InferenceFact::dt_shape(dtype, dims), takes_any })
}

fn of_table(
    graph: &InferenceFact,
    table: &TableType,
    name: &str,
    is_only: bool,
    batch: &Batch,
) -> Result<Agreed, String> {
    let dtype = graph.datum_type.concretize().ok_or("the graph does not say its type")?;
    let dtype = tensor::element_type(dtype).ok_or("no column has the graph's type")?;
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
    };
    let column = table
        .columns
        .iter()
        .find(|column| column.name == name)
        .or_else(|| table.columns.iter().find(|column| plain(&column.name) == plain(name)));
    let names: Vec<String> = match column {
        Some(column) => vec![column.name.clone()],
        None if is_only && !table.columns.is_empty() => {
            table.columns.iter().map(|column| column.name.clone()).collect()
        }
        None => return Err("its port has no column of this name".into()),
    };
    let theirs = fixed(graph);
    let is_flat = theirs.len() == 1;
    if !(is_flat && names.len() == 1 || theirs.len() == 2) {
        return Err(format!("{} columns do not make {} dimensions", names.len(), theirs.len()));
    }
    let width = i64::try_from(names.len()).unwrap_or(i64::MAX);
    if let Some(wanted) = theirs.get(1).copied().flatten().filter(|wanted| *wanted != width) {
        return Err(format!("the graph takes {wanted} columns, its port gives {width}"));
    }
    let rows = theirs.first().copied().flatten();
    if let Some(rows) = rows.filter(|rows| *rows != 1) {
        return Err(format!("the graph takes {rows} rows, and a table has any number"));
    }
    let takes_any = rows.is_none();
    let first = if takes_any { batch.dim() } else { TDim::Val(1) };
    let dims: TVec<TDim> =
        std::iter::once(first).chain((!is_flat).then_some(TDim::Val(width))).collect();
    let datum = tensor::datum_type(dtype).ok_or("no column has the graph's type")?;
    let fact = InferenceFact::dt_shape(datum, dims);
    Ok(Agreed { feed: Feed::Columns { names, dtype, is_flat }, fact, takes_any })
}

/// An output port, and where among the graph's outputs its value lies.
pub(super) struct GraphOutput {
    pub(super) port: Port,
    pub(super) parts: Parts,
}

pub(super) enum Parts {
    /// One tensor, as the port's type says.
    One(usize),
    Class(Classes),
}

/// What a class comes from.
pub(super) struct Classes {
    pub(super) label: Option<usize>,
    pub(super) scores: Option<usize>,
    /// The port's names of classes, in the order of scores.
    pub(super) names: Vec<String>,
    /// The graph's names of them, as labels come; the same order.
    pub(super) keys: Vec<String>,
}

/// Finds each port's tensors among the plan's outputs and checks what can be known before anything runs.
pub(super) fn outputs(
    stage: &StageSpec,
    onnx: &OnnxCode,
    sources: &[String],
    facts: &[TypedFact],
    labels: &BTreeMap<String, Vec<String>>,
) -> Result<Vec<GraphOutput>, Failure> {
    let mut distinct: Vec<&str> = Vec::new();
    for name in sources {
        if !distinct.contains(&name.as_str()) {
            distinct.push(name);
        }
    }
    for binding in &onnx.outputs {
        port(&stage.interface.outputs, binding)?;
    }
    let mut outputs = Vec::new();
    for port in &stage.interface.outputs {
        let bound: Vec<(usize, &TypedFact, &Binding)> = onnx
            .outputs
            .iter()
            .zip(sources)
            .filter(|(binding, _)| binding.port == port.name)
            .filter_map(|(binding, source)| {
                let at = distinct.iter().position(|name| *name == source.as_str())?;
                Some((at, facts.get(at)?, binding))
            })
            .collect();
        let parts = match (&port.port_type, bound.as_slice()) {
            (PortType::Prediction(prediction), bound)
                if prediction.value == PredictionKind::Class =>
            {
                of_classes(prediction, bound, labels).map(Parts::Class)
            }
            (_, [(at, fact, _)]) => check_output(&port.port_type, fact).map(|()| Parts::One(*at)),
            (_, []) => Err("no output is bound to it".to_owned()),
            _ => Err("several outputs are bound to it".to_owned()),
        };
        let named = bound.first().map_or(port.name.as_str(), |(.., binding)| &binding.tensor);
        let parts = parts.map_err(|why| invalid(format!("output `{named}`: {why}")))?;
        outputs.push(GraphOutput { port: port.clone(), parts });
    }
    Ok(outputs)
}

/// The sizes of an output that are known; none for those that only a record decides.
fn known_dims(fact: &TypedFact) -> Vec<Option<u64>> {
    let known = |dim: &TDim| dim.to_i64().ok().and_then(|size| u64::try_from(size).ok());
    fact.shape.iter().map(known).collect()
}

fn of_classes(
    port: &PredictionType,
    bound: &[(usize, &TypedFact, &Binding)],
    labels: &BTreeMap<String, Vec<String>>,
) -> Result<Classes, String> {
    if port.location.is_some() {
        return Err("a graph's predictions have no location".into());
    }
    if port.labels.is_empty() {
        return Err("its port has no label set".into());
    }
    let said = bound.iter().find_map(|(.., binding)| labels.get(&binding.tensor));
    let keys = said.cloned().unwrap_or_else(|| port.labels.clone());
    let names = if keys.iter().all(|key| port.labels.contains(key)) {
        keys.clone()
    } else if keys.len() == port.labels.len() && keys.iter().all(|key| key.parse::<i64>().is_ok()) {
        // Numbers have no meaning of their own: the port's names stand in their order.
        port.labels.clone()
    } else {
        let odd = keys.iter().find(|key| !port.labels.contains(key)).cloned().unwrap_or_default();
        return Err(format!("the graph's class `{odd}` is not in the port's label set"));
    };
    let (mut label, mut scores) = (None, None);
    for (at, fact, _) in bound {
        let place = if fact.datum_type.is_float() { &mut scores } else { &mut label };
        if place.replace(*at).is_some() {
            return Err("several outputs of one kind are bound to one port".into());
        }
        let last = known_dims(fact).last().copied().flatten();
        let fits = last.is_none_or(|last| last == names.len() as u64);
        if fact.datum_type.is_float() && !fits {
            if bound.len() == 1 {
                let found = last.unwrap_or_default();
                return Err(format!("{found} scores for {} labels", names.len()));
            }
            // Distances that are not one for each class say nothing that a prediction has a place for.
            scores = None;
        }
        if fact.datum_type == DatumType::Bool {
            return Err("a truth value is no class".into());
        }
    }
    if label.is_none() && scores.is_none() {
        return Err("neither scores nor labels are bound to it".into());
    }
    Ok(Classes { label, scores, names, keys })
}

/// Checks what can be known of an output before anything runs.
fn check_output(port: &PortType, fact: &TypedFact) -> Result<(), String> {
    let dims = known_dims(fact);
    match port {
        PortType::Tensor(tensor) => {
            let dtype = tensor::datum_type(tensor.dtype);
            let are_floats = fact.datum_type.is_float() && dtype.is_some_and(|d| d.is_float());
            // tract counts in numbers that may hold symbols; a run makes them plain.
            let is_count = fact.datum_type == DatumType::TDim && dtype == Some(DatumType::I64);
            if dtype != Some(fact.datum_type) && !are_floats && !is_count {
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
        PortType::Prediction(prediction) => tensor::check_scores(prediction, fact.datum_type),
        other => Err(format!("a graph gives no {other}")),
    }
}
