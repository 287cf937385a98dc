//! Nodes that tract would compute wrongly, in other words.
//!
//! Recurrent nodes that run backwards become nodes that run forwards over reversed time; those that run both ways become
//! one of each. tract takes the direction and gives wrong numbers for some of them.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::invalid;
use crate::failure::Failure;

/// The first operator set whose Slice has steps.
const SLICE_WITH_STEPS: i64 = 10;

/// Where a recurrent node's sequence lengths stand among its inputs.
const LENGTHS_AT: usize = 4;

/// Inputs that have a part for each direction, besides the sequence itself: weights, biases, first states.
const PER_DIRECTION: [usize; 6] = [1, 2, 3, 5, 6, 7];

/// Rewrites a graph in place.
pub(super) fn rewrite(graph: &mut GraphProto, opset: i64) -> Result<(), Failure> {
    let mut nodes = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node) {
        if node.op_type == "SpaceToDepth" && text(&node, "mode").is_some_and(|mode| mode != "DCR") {
            return Err(invalid("the engine `onnx` lacks SpaceToDepth in the mode CRD"));
        }
        if is_backward(&node) {
            Recurrent { node, opset, made: &mut nodes, weights: &mut graph.initializer }
                .rewrite()?;
        } else {
            nodes.push(node);
        }
    }
    graph.node = nodes;
    Ok(())
}

/// A recurrent node that does not only run forwards.
pub(super) fn is_backward(node: &NodeProto) -> bool {
    matches!(node.op_type.as_str(), "LSTM" | "GRU" | "RNN")
        && text(node, "direction").is_some_and(|direction| direction != "forward")
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn text<'a>(node: &'a NodeProto, name: &str) -> Option<&'a str> {
    attribute(node, name).and_then(|attribute| std::str::from_utf8(&attribute.s).ok())
}

struct Recurrent<'a> {
    node: NodeProto,
    opset: i64,
    made: &'a mut Vec<NodeProto>,
    weights: &'a mut Vec<TensorProto>,
}

impl Recurrent<'_> {
    fn rewrite(&mut self) -> Result<(), Failure> {
        let operator = self.node.op_type.clone();
        let refused = |why: &str| invalid(format!("the engine `onnx` lacks {operator} {why}"));
        let directions: &[bool] = match text(&self.node, "direction") {
            Some("reverse") => &[true],
            Some("bidirectional") => &[false, true],
            _ => return Err(refused("of an unknown direction")),
        };
        if self.opset < SLICE_WITH_STEPS {
            return Err(refused("that runs backwards, in operator sets before 10"));
        }
        if self.node.input.get(LENGTHS_AT).is_some_and(|name| !name.is_empty()) {
            return Err(refused("that runs backwards over sequences of different lengths"));
        }
        if attribute(&self.node, "layout").is_some_and(|layout| layout.i != 0) {
            return Err(refused("that runs backwards, with the batch in front"));
        }
        let has_parameters = ["activation_alpha", "activation_beta"]
            .iter()
            .any(|name| attribute(&self.node, name).is_some_and(|list| !list.floats.is_empty()));
        if has_parameters && directions.len() > 1 {
            return Err(refused("that runs both ways, with parameters of activations"));
        }
        let outputs = self.node.output.clone();
        let mut parts: Vec<Vec<String>> = vec![Vec::new(); outputs.len()];
        for (at, is_reverse) in directions.iter().enumerate() {
            let made = self.one_way(at, directions.len(), *is_reverse)?;
            for (parts, made) in parts.iter_mut().zip(made) {
                parts.push(made);
            }
        }
        for (at, (output, parts)) in outputs.into_iter().zip(parts).enumerate() {
            if !output.is_empty() {
                // All outputs but the sequence itself have their directions in front.
                let axis = i64::from(at == 0);
                self.push("Concat", parts, output, Some(("axis", axis)));
            }
        }
        Ok(())
    }

    /// One direction as a node that runs forwards; the names of its outputs.
    fn one_way(
        &mut self,
        at: usize,
        count: usize,
        is_reverse: bool,
    ) -> Result<Vec<String>, Failure> {
        let mut node = self.node.clone();
        let name = format!("{}/way {at}", self.name());
        let place = i64::try_from(at).unwrap_or(i64::MAX);
        for input in PER_DIRECTION {
            if let Some(whole) = node.input.get_mut(input).filter(|name| !name.is_empty())
                && count > 1
            {
                let part = format!("{name}/input {input}");
                self.slice(whole, &part, [place, place + 1, 0, 1]);
                *whole = part;
            }
        }
        if let Some(sequence) = node.input.first_mut().filter(|_| is_reverse) {
            let reversed = format!("{name}/reversed");
            self.slice(sequence, &reversed, [-1, i64::MIN, 0, -1]);
            *sequence = reversed;
        }
        node.attribute.retain(|attribute| attribute.name != "direction");
        for list in node.attribute.iter_mut().filter(|list| list.name == "activations") {
            let share = list.strings.len() / count;
            list.strings = list.strings.iter().skip(at * share).take(share).cloned().collect();
        }
        let mut outputs = Vec::new();
        for (at, output) in node.output.iter_mut().enumerate() {
            if !output.is_empty() {
                *output = format!("{name}/output {at}");
            }
            outputs.push(output.clone());
        }
        node.name.clone_from(&name);
        self.made.push(node);
        if let Some(sequence) = outputs.first_mut().filter(|name| is_reverse && !name.is_empty()) {
            let back = format!("{sequence}/reversed");
            self.slice(sequence, &back, [-1, i64::MIN, 0, -1]);
            *sequence = back;
        }
        Ok(outputs)
    }

    fn name(&self) -> String {
        let output = self.node.output.iter().find(|output| !output.is_empty());
        output.cloned().unwrap_or_else(|| self.node.name.clone())
    }

    /// A slice of a tensor: start, end, axis and step.
    fn slice(&mut self, whole: &str, part: &str, numbers: [i64; 4]) {
        let mut inputs = vec![whole.to_owned()];
        for (what, number) in ["start", "end", "axis", "step"].iter().zip(numbers) {
            let name = format!("{part}/{what}");
            self.weights.push(TensorProto {
                name: name.clone(),
                dims: vec![1],
                data_type: DataType::Int64 as i32,
                int64_data: vec![number],
                ..TensorProto::default()
            });
            inputs.push(name);
        }
        self.push("Slice", inputs, part.to_owned(), None);
    }

    fn push(
        &mut self,
        operator: &str,
        input: Vec<String>,
        output: String,
        attribute: Option<(&str, i64)>,
    ) {
        let attribute = attribute.map(|(name, i)| AttributeProto {
            name: name.to_owned(),
            r#type: AttributeType::Int as i32,
            i,
            ..AttributeProto::default()
        });
        self.made.push(NodeProto {
            name: format!("{output}/{operator}"),
            op_type: operator.to_owned(),
            input,
            output: vec![output],
            attribute: attribute.into_iter().collect(),
            ..NodeProto::default()
        });
    }
}
