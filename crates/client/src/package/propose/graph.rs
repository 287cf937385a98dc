//! The ports that a graph's tensors make: a record's part of each, and predictions where something says what they mean.

use guildhall_protocol::facts::{ClassifierFacts, OnnxFacts, TensorFacts};
use guildhall_protocol::interface::{
    Column, Dim, ElementType, Interface, Port, PortType, PredictionKind, PredictionType, TableType,
    TensorType,
};
use guildhall_protocol::limits::{INTERFACE_MAX_PORTS, LABELS_MAX, TENSOR_MAX_RANK};
use guildhall_protocol::manifest::{Binding, OnnxCode};
use guildhall_protocol::name::FileName;

/// Longest name of a port.
const PORT_NAME_MAX_BYTES: usize = 64;

/// Ports for a graph's tensors; else why it cannot be run.
pub(super) fn ports(
    model: &FileName,
    facts: &OnnxFacts,
    labels: &[String],
) -> Result<(Interface, OnnxCode), String> {
    if let Some(first) = facts.external.first() {
        return Err(format!("its weights lie in other files, such as `{first}`"));
    }
    let batch = Batch::of(&facts.inputs);
    let mut inputs = Side::default();
    if let Some(table) = table_of_columns(&facts.inputs) {
        inputs.ports.push(port("rows", PortType::Table(table)));
        inputs.bindings = facts
            .inputs
            .iter()
            .map(|input| Binding { port: "rows".to_owned(), tensor: input.name.clone() })
            .collect();
    } else {
        for input in &facts.inputs {
            let Some(tensor) = &input.tensor else {
                return Err(format!("its input `{}` is no tensor", input.name));
            };
            inputs.add(&input.name, PortType::Tensor(batch.record_of(tensor)))?;
        }
    }
    let outputs = match &facts.classifier {
        Some(classes) => class_port(classes, labels),
        None => graph_outputs(facts, batch, labels)?,
    };
    if inputs.ports.is_empty() || outputs.ports.is_empty() {
        return Err("it has no input, or no output that is a tensor".to_owned());
    }
    let code = OnnxCode {
        model: model.clone(),
        engine: None,
        inputs: inputs.bindings,
        outputs: outputs.bindings,
    };
    Ok((Interface { inputs: inputs.ports, outputs: outputs.ports }, code))
}

fn port(name: &str, port_type: PortType) -> Port {
    Port { name: name.to_owned(), port_type, optional: false, location: None }
}

/// The table that graphs of named columns take: several inputs, each one value of a row.
fn table_of_columns(inputs: &[TensorFacts]) -> Option<TableType> {
    let column = |input: &TensorFacts| {
        let tensor = input.tensor.as_ref()?;
        let is_one = matches!(tensor.dims.as_slice(), [Dim::Free | Dim::Named(_), Dim::Fixed(1)]);
        is_one.then(|| Column { name: input.name.clone(), dtype: tensor.dtype })
    };
    let columns: Option<Vec<Column>> = inputs.iter().map(column).collect();
    columns.filter(|columns| columns.len() > 1).map(|columns| TableType { columns })
}

/// One port for a classifier's label and scores. Names that something else gives stand for the graph's numbers, one
/// for each.
fn class_port(classes: &ClassifierFacts, given: &[String]) -> Side {
    let are_numbers = classes.labels.iter().all(|label| label.parse::<i64>().is_ok());
    let labels = if are_numbers && given.len() == classes.labels.len() {
        given
    } else {
        classes.labels.as_slice()
    };
    let prediction =
        PredictionType { value: PredictionKind::Class, labels: labels.to_vec(), location: None };
    let name = "prediction";
    let tensors = classes.label.iter().chain(&classes.scores);
    let bound = tensors.map(|tensor| Binding { port: name.to_owned(), tensor: tensor.clone() });
    Side { ports: vec![port(name, PortType::Prediction(prediction))], bindings: bound.collect() }
}

/// Ports for outputs of graphs that say nothing of classes.
fn graph_outputs(facts: &OnnxFacts, batch: Batch, labels: &[String]) -> Result<Side, String> {
    let mut outputs = Side::default();
    // What no port can carry is not bound.
    let carried = facts.outputs.iter().filter_map(|output| Some((output, output.tensor.as_ref()?)));
    let number =
        PredictionType { value: PredictionKind::Number, labels: Vec::new(), location: None };
    let typed: Vec<_> = carried
        .map(|(output, tensor)| {
            let is_number = facts.number.as_ref() == Some(&output.name);
            let port_type = match is_number {
                true => PortType::Prediction(number.clone()),
                false => output_type(tensor, batch, labels),
            };
            (output, tensor, port_type)
        })
        .collect();
    let has_classes = typed.iter().any(|(.., port)| matches!(port, PortType::Prediction(_)));
    let has_scores = typed.iter().any(|(_, tensor, _)| is_float(tensor.dtype));
    for (output, tensor, port_type) in typed {
        let is_prediction = matches!(port_type, PortType::Prediction(_));
        let is_index = !is_float(tensor.dtype) && batch.record_of(tensor).dims.is_empty();
        // One whole number a record beside scores says again which of them is highest.
        if is_prediction || !(has_classes || is_index && has_scores) {
            outputs.add(&output.name, port_type)?;
        }
    }
    Ok(outputs)
}

/// One side of an interface while it is put together.
#[derive(Default)]
struct Side {
    ports: Vec<Port>,
    bindings: Vec<Binding>,
}

impl Side {
    fn add(&mut self, tensor: &str, port_type: PortType) -> Result<(), String> {
        if self.ports.len() == INTERFACE_MAX_PORTS {
            return Err(format!("it has more than {INTERFACE_MAX_PORTS} tensors on one side"));
        }
        if let PortType::Tensor(shape) = &port_type
            && shape.dims.len() > TENSOR_MAX_RANK
        {
            return Err(format!("no port can carry its tensor `{tensor}`"));
        }
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' }
        };
        let mut name: String = tensor.chars().take(PORT_NAME_MAX_BYTES - 4).map(plain).collect();
        if name.is_empty() || self.ports.iter().any(|port| port.name == name) {
            name = format!("{name}_{}", self.ports.len());
        }
        self.bindings.push(Binding { port: name.clone(), tensor: tensor.to_owned() });
        self.ports.push(Port { name, port_type, optional: false, location: None });
        Ok(())
    }
}

/// Whether the graph leaves it open how many records go in at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batch {
    /// The first dimension of every input is open, and it is the batch; so is that of an output.
    Open,
    /// A first dimension that is open is something else: a count of what comes out, or the length of an input.
    No,
}

impl Batch {
    fn of(inputs: &[TensorFacts]) -> Self {
        let is_open = |input: &TensorFacts| {
            let first = input.tensor.as_ref().and_then(|tensor| tensor.dims.first());
            matches!(first, Some(Dim::Free | Dim::Named(_)))
        };
        if inputs.iter().all(is_open) { Self::Open } else { Self::No }
    }

    /// One record's part of a tensor. A first dimension of 1 says nothing, so it is left out too.
    fn record_of(self, tensor: &TensorType) -> TensorType {
        let dims = match (self, tensor.dims.as_slice()) {
            (_, [Dim::Fixed(1), rest @ ..])
            | (Self::Open, [Dim::Free | Dim::Named(_), rest @ ..]) => rest,
            (_, all) => all,
        };
        TensorType { dtype: tensor.dtype, dims: dims.to_vec() }
    }
}

fn is_float(dtype: ElementType) -> bool {
    matches!(dtype, ElementType::F16 | ElementType::F32 | ElementType::F64)
}

/// One score for each label is a prediction; everything else stays a tensor.
fn output_type(tensor: &TensorType, batch: Batch, labels: &[String]) -> PortType {
    let record = batch.record_of(tensor);
    let is_row = match record.dims.as_slice() {
        [Dim::Fixed(count)] => *count == labels.len() as u64,
        // Behind a batch it is a row whose length nobody wrote down; alone, it is a count of what was found.
        [Dim::Free | Dim::Named(_)] => record.dims.len() < tensor.dims.len(),
        _ => false,
    };
    if is_float(record.dtype) && is_row && (1..=LABELS_MAX).contains(&labels.len()) {
        return PortType::Prediction(PredictionType {
            value: PredictionKind::Class,
            labels: labels.to_vec(),
            location: None,
        });
    }
    PortType::Tensor(record)
}
