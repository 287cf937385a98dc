//! What a graph's outputs mean: which of them is a class, and of which label set.
//!
//! Graphs of classical models say so themselves, in the attributes of ZipMap and of the classifiers. Only nodes that can
//! lead from there to an output are remembered, and no more of them than a budget holds: beyond it nothing is said.

use guildhall_protocol::facts::{ClassifierFacts, TensorFacts};
use guildhall_protocol::interface::{Dim, ElementType, TensorType};

/// Bytes of names that are remembered: graphs of classical models have some dozen nodes.
const BUDGET_BYTES: usize = 4 << 20;

/// How far an output is followed back through operators that keep its columns.
const STEPS_MAX: usize = 8;

/// Operators that neither change which column is whose nor what a label means.
const PASSING: [&str; 7] =
    ["Cast", "Identity", "Reshape", "Normalizer", "Softmax", "Sigmoid", "Squeeze"];

/// A node as far as it matters here.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) operator: String,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    /// The classes that its attributes name.
    pub(super) labels: Vec<String>,
}

impl Seen {
    fn is_zip_map(&self) -> bool {
        self.operator == "ZipMap"
    }

    fn is_classifier(&self) -> bool {
        self.is_zip_map() || self.operator.ends_with("Classifier")
    }

    fn len_bytes(&self) -> usize {
        let names = self.inputs.iter().chain(&self.outputs).chain(&self.labels);
        names.map(|name| name.len() + size_of::<String>()).sum::<usize>() + size_of::<Self>()
    }
}

/// The nodes of the outermost graph that may say something.
#[derive(Debug, Default)]
pub(super) struct Meaning {
    nodes: Vec<Seen>,
    taken_bytes: usize,
    predicts_numbers: bool,
}

impl Meaning {
    pub(super) fn see(&mut self, node: Seen) {
        self.predicts_numbers |= node.operator.ends_with("Regressor");
        if !(node.is_classifier() || PASSING.contains(&node.operator.as_str())) {
            return;
        }
        self.taken_bytes = self.taken_bytes.saturating_add(node.len_bytes());
        if self.taken_bytes <= BUDGET_BYTES {
            self.nodes.push(node);
        }
    }

    /// The node with classes that this output comes from.
    fn origin(&self, output: &str) -> Option<&Seen> {
        let mut name = output;
        for _ in 0..STEPS_MAX {
            let made = |node: &&Seen| node.outputs.iter().any(|output| output == name);
            let node = self.nodes.iter().find(made)?;
            if node.is_classifier() {
                return Some(node).filter(|node| !node.labels.is_empty());
            }
            name = node.inputs.first()?;
        }
        None
    }

    /// What the outputs say of classes.
    pub(super) fn classifier(&self, outputs: &[TensorFacts]) -> Option<ClassifierFacts> {
        if self.taken_bytes > BUDGET_BYTES {
            return None;
        }
        let labels = outputs.iter().find_map(|output| self.origin(&output.name))?.labels.clone();
        let is = |output: &TensorFacts, wanted: fn(ElementType) -> bool| {
            output.tensor.as_ref().is_some_and(|tensor| wanted(tensor.dtype))
        };
        let is_label = |dtype| matches!(dtype, ElementType::I64 | ElementType::Text);
        let is_float = |dtype| matches!(dtype, ElementType::F32 | ElementType::F64);
        let has_scores = |output: &&TensorFacts| {
            let origin = self.origin(&output.name);
            origin.is_some_and(|node| node.is_zip_map() || is(output, is_float))
        };
        let label = outputs.iter().find(|output| is(output, is_label));
        let scores = outputs.iter().find(has_scores);
        let name = |output: Option<&TensorFacts>| output.map(|output| output.name.clone());
        Some(ClassifierFacts { label: name(label), scores: name(scores), labels })
    }

    /// The one output, if it is one number a row of a model that predicts numbers.
    pub(super) fn number(&self, outputs: &[TensorFacts], producer: &str) -> Option<String> {
        let [output] = outputs else { return None };
        let TensorType { dtype, dims } = output.tensor.as_ref()?;
        let is_one = matches!(dims.as_slice(), [_] | [_, Dim::Fixed(1)]);
        let is_float = matches!(dtype, ElementType::F32 | ElementType::F64);
        let is_meant = self.predicts_numbers || producer == "skl2onnx";
        (is_one && is_float && is_meant).then(|| output.name.clone())
    }
}
