//! From records to tensors: every output of an interface with its datatype and shape, and the elements that came out.
//!
//! A list of predictions is no tensor. Where each is about one input value of the record and says no place in it, the
//! output of the port's name has the best value for each, and `PORT.confidence` beside it how sure the model is. Other
//! lists, and values of all other types, are elements of `BYTES`, one for each record.

use guildhall_protocol::interface::{
    Dim, ElementType, Interface, Port, PortType, Prediction, PredictionKind, PredictionType,
    TensorType,
};
use guildhall_protocol::values;
use guildhall_protocol::wire::PortValue;

use super::error::{Fault, OutputProblem};
use super::metadata;
use super::predictions;
use super::records::is_own_batch;
use super::request::{ELEMENTS, Wanted};

/// Longest outputs of one answer, bytes: as long as the longest body that a request may have.
pub(super) const OUTPUTS_MAX_BYTES: usize = super::request::BODY_MAX_BYTES;

/// What is put behind a port's name for how sure the model is of its predictions.
const CONFIDENCE: &str = ".confidence";

/// An output that a model has.
pub(super) struct Declared<'i> {
    pub(super) name: String,
    pub(super) port: &'i Port,
    pub(super) dtype: ElementType,
    /// With -1 for any number.
    pub(super) shape: Vec<i64>,
    source: Source<'i>,
}

/// What an output is made of.
#[derive(Clone, Copy)]
enum Source<'i> {
    Tensor(&'i TensorType),
    Predictions(&'i PredictionType),
    Confidence,
    /// The value as it is.
    Element,
}

/// A tensor that goes out.
#[derive(Debug, PartialEq)]
pub(super) struct Output {
    pub(super) name: String,
    pub(super) dtype: ElementType,
    pub(super) shape: Vec<u64>,
    pub(super) data: OutputData,
}

/// Elements that go out, as many as the shape says.
#[derive(Debug, PartialEq)]
pub(super) enum OutputData {
    /// In plain form.
    Fixed(Vec<u8>),
    /// One by one. Those that are no text are base64 in JSON.
    Texts { texts: Vec<Vec<u8>>, is_text: bool },
}

impl<'i> Declared<'i> {
    /// The label set, if it has one.
    pub(super) fn labels(&self) -> Option<&'i [String]> {
        match self.source {
            Source::Predictions(kind) if !kind.labels.is_empty() => Some(&kind.labels),
            _ => None,
        }
    }
}

/// Every output of an interface.
pub(super) fn declared(interface: &Interface) -> Vec<Declared<'_>> {
    // A model that takes all rows at once has a prediction for each, and yields one value of any other kind.
    let rows = match interface.inputs.iter().any(is_own_batch) {
        true => vec![Dim::Free],
        false => Vec::new(),
    };
    let output = |port, source, dtype, dims: &[Dim]| Declared {
        name: source_name(port, source),
        port,
        dtype,
        shape: metadata::of_output(interface, dims),
        source,
    };
    let mut all = Vec::new();
    for port in &interface.outputs {
        match &port.port_type {
            PortType::Tensor(tensor) => {
                all.push(output(port, Source::Tensor(tensor), tensor.dtype, &tensor.dims));
            }
            PortType::Prediction(kind) if kind.location.is_none() => {
                let width = (kind.value == PredictionKind::Vector).then_some(Dim::Free);
                let dims: Vec<Dim> = rows.iter().cloned().chain(width).collect();
                let dtype = predictions::dtype(kind.value);
                all.push(output(port, Source::Predictions(kind), dtype, &dims));
                if !is_taken(interface, port) {
                    all.push(output(port, Source::Confidence, ElementType::F32, &rows));
                }
            }
            _ => all.push(output(port, Source::Element, ELEMENTS, &rows)),
        }
    }
    all
}

fn source_name(port: &Port, source: Source<'_>) -> String {
    match source {
        Source::Confidence => format!("{}{CONFIDENCE}", port.name),
        _ => port.name.clone(),
    }
}

/// Whether another port has the name that the confidence of this one would have; then it is left out.
fn is_taken(interface: &Interface, port: &Port) -> bool {
    let name = source_name(port, Source::Confidence);
    interface.outputs.iter().any(|other| other.name == name)
}

/// Checks that what is asked for is there, before anything is scored.
pub(super) fn check_wanted(interface: &Interface, wanted: &[Wanted]) -> Result<(), Fault> {
    let declared = declared(interface);
    for (at, one) in wanted.iter().enumerate() {
        let wrong = |problem: OutputProblem| Err(Fault::output(&one.name, problem));
        let Some(found) = declared.iter().find(|output| output.name == one.name) else {
            let known = declared.iter().map(|output| output.name.clone()).collect();
            return wrong(OutputProblem::Unknown(known));
        };
        if wanted.iter().take(at).any(|other| other.name == one.name) {
            return wrong(OutputProblem::Twice);
        }
        if one.classes.is_some() && found.labels().is_none() {
            return wrong(OutputProblem::NoClasses);
        }
    }
    Ok(())
}

/// Makes tensors of what came out: those that are asked for, or all.
pub(super) fn collect(
    interface: &Interface,
    records: &[Vec<PortValue>],
    is_batch: bool,
    wanted: &[Wanted],
) -> Result<Vec<Output>, Fault> {
    let mut outputs = Vec::new();
    let mut left_bytes = OUTPUTS_MAX_BYTES;
    for declared in declared(interface) {
        let one = wanted.iter().find(|wanted| wanted.name == declared.name);
        if one.is_none() && !wanted.is_empty() {
            continue;
        }
        let values = values_of(declared.port, records)?;
        let spent: usize = values.iter().map(|value| value.bytes.len()).sum();
        left_bytes = left_bytes.checked_sub(spent).ok_or(Fault::OutputsTooLong)?;
        let wrong = |problem: OutputProblem| Fault::output(&declared.name, problem);
        let made = match declared.source {
            Source::Tensor(tensor) => stacked(tensor, &values, is_batch),
            Source::Element => Ok(elements(declared.port, &values)),
            Source::Confidence => {
                parsed(&values).and_then(|lists| predictions::confidence(&lists, is_batch))
            }
            Source::Predictions(kind) => parsed(&values).and_then(|lists| {
                let classes = one.and_then(|one| one.classes);
                predictions::values(kind, &lists, is_batch, classes)
            }),
        };
        let (dtype, shape, data) = made.map_err(wrong)?;
        outputs.push(Output { name: declared.name.clone(), dtype, shape, data });
    }
    Ok(outputs)
}

/// What an output is made into.
pub(super) type Made = (ElementType, Vec<u64>, OutputData);

fn values_of<'r>(port: &Port, records: &'r [Vec<PortValue>]) -> Result<Vec<&'r PortValue>, Fault> {
    let value = |(at, record): (usize, &'r Vec<PortValue>)| {
        let own = record.iter().find(|value| value.port == port.name);
        own.ok_or_else(|| Fault::output(&port.name, OutputProblem::Absent { at }))
    };
    records.iter().enumerate().map(value).collect()
}

/// Values of one shape behind each other.
fn stacked(
    tensor: &TensorType,
    values: &[&PortValue],
    is_batch: bool,
) -> Result<Made, OutputProblem> {
    let dtype = tensor.dtype;
    let mut shape: Option<Vec<u64>> = None;
    let mut fixed = Vec::new();
    let mut texts = Vec::new();
    for (at, value) in values.iter().enumerate() {
        let wrong = OutputProblem::NotOfType { at, dtype };
        let dims = values::tensor_dims(tensor, value).ok_or_else(|| wrong.clone())?;
        match &shape {
            Some(one) if *one != dims => {
                return Err(OutputProblem::Ragged { one: one.clone(), other: dims });
            }
            _ => shape = Some(dims),
        }
        if dtype == ElementType::Text {
            let own: Vec<String> = serde_json::from_slice(&value.bytes).map_err(|_| wrong)?;
            texts.extend(own.into_iter().map(String::into_bytes));
        } else {
            fixed.extend_from_slice(&value.bytes);
        }
    }
    let dims = shape.unwrap_or_default();
    let shape = match (is_batch, tensor.dims.first(), dims.as_slice()) {
        (false, ..) => dims,
        // Where the model has its batch, the records follow each other.
        (true, Some(Dim::Fixed(1)), [_, inner @ ..]) => in_front(values.len(), inner),
        (true, _, dims) => in_front(values.len(), dims),
    };
    let data = match dtype {
        ElementType::Text => OutputData::Texts { texts, is_text: true },
        _ => OutputData::Fixed(fixed),
    };
    Ok((dtype, shape, data))
}

/// A shape with the number of records in front.
pub(super) fn in_front(count: usize, inner: &[u64]) -> Vec<u64> {
    std::iter::once(count as u64).chain(inner.iter().copied()).collect()
}

fn elements(port: &Port, values: &[&PortValue]) -> Made {
    let is_text = matches!(
        port.port_type,
        PortType::Text | PortType::Json(_) | PortType::Table(_) | PortType::Prediction(_)
    );
    let texts: Vec<Vec<u8>> = values.iter().map(|value| value.bytes.clone()).collect();
    (ELEMENTS, in_front(texts.len(), &[]), OutputData::Texts { texts, is_text })
}

fn parsed(values: &[&PortValue]) -> Result<Vec<Vec<Prediction>>, OutputProblem> {
    let list = |(at, value): (usize, &&PortValue)| {
        serde_json::from_slice(&value.bytes).map_err(|_| OutputProblem::NoPredictions { at })
    };
    values.iter().enumerate().map(list).collect()
}
