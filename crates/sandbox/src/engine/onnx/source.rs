//! The graph as it lies in its file, made ready for tract: cut to what the bound outputs need, without ZipMap, and with
//! everything named that no engine here could run.
//!
//! ZipMap turns rows of scores into lists of maps from class to score. Ports say that better: the scores stay a tensor,
//! and the classes go into [`Source::labels`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tract_onnx::Onnx;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto};

use super::invalid;
use super::rewrite::{is_backward, rewrite};
use crate::failure::Failure;

/// Most labels that are remembered; as many as a port has.
const LABELS_MAX: usize = guildhall_protocol::limits::LABELS_MAX;

/// Most operators that a refusal names.
const NAMED_MAX: usize = 24;

/// Deepest nesting of graphs, as in the check of the file.
const DEPTH_MAX: usize = 16;

/// The operator that goes away.
pub(super) const ZIP_MAP: &str = "ZipMap";

/// How far labels follow a tensor through operators that keep its columns.
const STEPS_MAX: usize = 8;

/// Operators that neither change which column is whose nor what a label means.
const PASSING: [&str; 7] =
    ["Cast", "Identity", "Reshape", "Normalizer", "Softmax", "Sigmoid", "Squeeze"];

/// A graph that is ready for tract.
pub(super) struct Source {
    pub(super) proto: ModelProto,
    /// For each bound output the tensor of the graph that stands for it, in the bindings' order.
    pub(super) outputs: Vec<String>,
    /// The classes of bound outputs, in the order of their scores, as far as the graph says them; by bound name.
    pub(super) labels: BTreeMap<String, Vec<String>>,
}

impl Source {
    /// Cuts `proto` to what `outputs` need.
    pub(super) fn new(
        reader: &Onnx,
        mut proto: ModelProto,
        outputs: &[&str],
    ) -> Result<Self, Failure> {
        let opset = proto
            .opset_import
            .iter()
            .find(|set| matches!(set.domain.as_str(), "" | "ai.onnx"))
            .map_or(0, |set| set.version);
        let graph = proto.graph.as_mut().ok_or_else(|| invalid("it has no graph"))?;
        for wanted in outputs {
            if !graph.output.iter().any(|output| output.name == **wanted) {
                return Err(invalid(format!("it has no output `{wanted}`")));
            }
        }
        let mut labels = BTreeMap::new();
        let mut sources = Vec::new();
        for name in outputs {
            if let Some(found) = labels_of(graph, name) {
                labels.insert((*name).to_owned(), found);
            }
            sources.push(behind_zip_map(graph, name));
        }
        cut(graph, &sources)?;
        let missing = missing_operators(reader, graph);
        if !missing.is_empty() {
            let named: Vec<_> = missing.iter().take(NAMED_MAX).map(String::as_str).collect();
            let more = if missing.len() > NAMED_MAX { " and others" } else { "" };
            let list = named.join(", ");
            return Err(invalid(format!("the engine `onnx` lacks its operators {list}{more}")));
        }
        rewrite(graph, opset)?;
        let mut seen = BTreeSet::new();
        let distinct = sources.iter().filter(|name| seen.insert((*name).clone()));
        graph.output = distinct
            .map(|name| ValueInfoProto { name: name.clone(), ..ValueInfoProto::default() })
            .collect();
        Ok(Self { proto, outputs: sources, labels })
    }
}

fn producer<'a>(graph: &'a GraphProto, tensor: &str) -> Option<&'a NodeProto> {
    graph.node.iter().find(|node| node.output.iter().any(|output| output == tensor))
}

fn is_zip_map(node: &NodeProto) -> bool {
    node.op_type == ZIP_MAP
}

/// The tensor that a list of maps was made of; any other tensor is itself.
fn behind_zip_map(graph: &GraphProto, name: &str) -> String {
    let made_of = producer(graph, name).filter(|node| is_zip_map(node));
    made_of.and_then(|node| node.input.first()).map_or_else(|| name.to_owned(), Clone::clone)
}

/// Class labels as a node writes them; numbers become their decimal text.
fn node_labels(node: &NodeProto) -> Option<Vec<String>> {
    let of = |names: [&str; 2]| {
        node.attribute.iter().find(|attribute| names.contains(&attribute.name.as_str()))
    };
    let texts = |attribute: &AttributeProto| -> Option<Vec<String>> {
        let texts = attribute.strings.iter().map(|text| String::from_utf8(text.clone()).ok());
        texts.collect()
    };
    let numbers = |attribute: &AttributeProto| {
        attribute.ints.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    of(["classlabels_strings", "classlabels_strings"])
        .and_then(texts)
        .filter(|labels| !labels.is_empty())
        .or_else(|| of(["classlabels_int64s", "classlabels_ints"]).map(numbers))
        .filter(|labels| (1..=LABELS_MAX).contains(&labels.len()))
}

/// The classes that an output speaks of, if the way to it says so.
fn labels_of(graph: &GraphProto, name: &str) -> Option<Vec<String>> {
    let mut name = name.to_owned();
    for _ in 0..STEPS_MAX {
        let node = producer(graph, &name)?;
        if is_zip_map(node) || node.op_type.ends_with("Classifier") {
            return node_labels(node);
        }
        if node.op_type == "ArrayFeatureExtractor" {
            return initializer_labels(graph, node.input.first()?);
        }
        if !PASSING.contains(&node.op_type.as_str()) {
            return None;
        }
        name.clone_from(node.input.first()?);
    }
    None
}

/// Classes that lie in the graph as a tensor, which the best score's place picks from.
fn initializer_labels(graph: &GraphProto, name: &str) -> Option<Vec<String>> {
    let tensor = graph.initializer.iter().find(|tensor| tensor.name == *name)?;
    let labels: Option<Vec<String>> = if !tensor.string_data.is_empty() {
        tensor.string_data.iter().map(|text| String::from_utf8(text.clone()).ok()).collect()
    } else if !tensor.int64_data.is_empty() {
        Some(tensor.int64_data.iter().map(ToString::to_string).collect())
    } else if !tensor.int32_data.is_empty() {
        Some(tensor.int32_data.iter().map(ToString::to_string).collect())
    } else {
        let numbers = tensor
            .raw_data
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| i64::from_le_bytes(*bytes).to_string());
        (tensor.data_type == 7).then(|| numbers.collect())
    };
    labels.filter(|labels| (1..=LABELS_MAX).contains(&labels.len()))
}

/// Keeps the nodes that lead to these tensors.
fn cut(graph: &mut GraphProto, wanted: &[String]) -> Result<(), Failure> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (at, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            makers.insert(output, at);
        }
    }
    let given: BTreeSet<&str> = graph
        .input
        .iter()
        .map(|input| input.name.as_str())
        .chain(graph.initializer.iter().map(|tensor| tensor.name.as_str()))
        .collect();
    let mut needed = vec![false; graph.node.len()];
    let mut left: Vec<&str> = wanted.iter().map(String::as_str).collect();
    while let Some(name) = left.pop() {
        let Some(at) = makers.get(name).copied() else {
            if given.contains(name) {
                continue;
            }
            return Err(invalid(format!("nothing in it yields `{name}`")));
        };
        let Some(is_new) = needed.get_mut(at).filter(|seen| !**seen) else { continue };
        *is_new = true;
        let Some(node) = graph.node.get(at) else { continue };
        left.extend(node.input.iter().map(String::as_str).filter(|name| !name.is_empty()));
        // Graphs inside a node may use any tensor around them; what they make themselves is not among the makers.
        let mut inner = Vec::new();
        inner_inputs(node, &mut inner, 0);
        left.extend(inner.into_iter().filter(|name| makers.contains_key(name)));
    }
    let mut needed = needed.into_iter();
    graph.node.retain(|_| needed.next().unwrap_or(false));
    Ok(())
}

fn inner_graphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

fn inner_inputs<'a>(node: &'a NodeProto, found: &mut Vec<&'a str>, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    for graph in inner_graphs(node) {
        found.extend(graph.output.iter().map(|output| output.name.as_str()));
        for node in &graph.node {
            found.extend(node.input.iter().map(String::as_str));
            inner_inputs(node, found, depth + 1);
        }
    }
}

/// The operators of a graph that nobody here has, in order of name, each once.
fn missing_operators(reader: &Onnx, graph: &GraphProto) -> BTreeSet<String> {
    let mut missing = BTreeSet::new();
    let mut left = vec![(graph, 0)];
    while let Some((graph, depth)) = left.pop() {
        for node in &graph.node {
            if !reader.op_register.0.contains_key(&node.op_type) {
                missing.insert(match node.domain.as_str() {
                    "" | "ai.onnx" => node.op_type.clone(),
                    domain => format!("{domain}.{}", node.op_type),
                });
            }
            if depth > 0 && is_backward(node) {
                missing.insert(format!("{} that runs backwards inside another node", node.op_type));
            }
            if depth < DEPTH_MAX {
                left.extend(inner_graphs(node).map(|graph| (graph, depth + 1)));
            }
        }
    }
    missing
}
