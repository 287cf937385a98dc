//! The body of a request: JSON, and behind it the bytes of the tensors that are sent as binary data.

use std::num::NonZeroU64;

use guildhall_protocol::api::Placement;
use guildhall_protocol::interface::ElementType;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::datatype;
use super::error::{Fault, InputProblem, OutputProblem};
use super::tensor::{Head, TEXTS_MAX, Tensor};

/// Longest body, bytes: that of a run's own records.
pub(super) const BODY_MAX_BYTES: usize = crate::body::RUN_MAX_BYTES;

/// Longest JSON of a request, bytes. A number in it takes some twenty times the memory that it takes on the wire, which
/// is what the other bytes of a body do not.
pub(super) const JSON_MAX_BYTES: usize = crate::body::JSON_MAX_BYTES;

/// Most inputs, and most outputs that are asked for: each of an interface's ports, and what predictions have beside
/// their values.
pub(super) const TENSORS_MAX: usize = 2 * guildhall_protocol::limits::INTERFACE_MAX_PORTS;

/// A request, checked for itself.
#[derive(Debug, PartialEq)]
pub(super) struct Request<'b> {
    /// The client's own name for it, which the answer repeats.
    pub(super) id: Option<String>,
    pub(super) inputs: Vec<Tensor<'b>>,
    /// What is asked for; all outputs if nothing is named.
    pub(super) outputs: Vec<Wanted>,
    /// Outputs that are not named come as binary data.
    pub(super) binary_outputs: bool,
    /// How long it may take, milliseconds.
    pub(super) timeout_ms: Option<NonZeroU64>,
    /// Where.
    pub(super) on: Placement,
}

/// An output that is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    /// As binary data; `None` when the request says nothing of this output.
    pub(super) binary: Option<bool>,
    /// As so many of the best classes.
    pub(super) classes: Option<NonZeroU64>,
}

/// A request as it is written. What a client leaves out, it may also say to be null.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
    #[serde(default)]
    inputs: Vec<WrittenInput>,
    #[serde(default)]
    outputs: Option<Vec<WrittenOutput>>,
}

#[derive(Deserialize)]
struct WrittenInput {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
    #[serde(default)]
    data: Option<Value>,
}

#[derive(Deserialize)]
struct WrittenOutput {
    name: String,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
}

/// Reads a body. `json_bytes` is what the header `Inference-Header-Content-Length` says; without it all is JSON.
pub(super) fn read(body: &[u8], json_bytes: Option<u64>) -> Result<Request<'_>, Fault> {
    let (json, mut binary) = match json_bytes {
        None => (body, [].as_slice()),
        Some(claimed) => {
            let split = usize::try_from(claimed).ok().and_then(|at| body.split_at_checked(at));
            split.ok_or(Fault::HeaderBeyondBody { claimed, found: body.len() })?
        }
    };
    if json.len() > JSON_MAX_BYTES {
        return Err(Fault::JsonTooLong);
    }
    let written: Written =
        serde_json::from_slice(json).map_err(|error| Fault::Json(error.to_string()))?;
    if written.inputs.is_empty() {
        return Err(Fault::NoInputs);
    }
    if written.inputs.len() > TENSORS_MAX {
        return Err(Fault::TooMany("inputs"));
    }
    let outputs = written.outputs.unwrap_or_default();
    if outputs.len() > TENSORS_MAX {
        return Err(Fault::TooMany("outputs"));
    }
    let mut texts_left = TEXTS_MAX;
    let mut inputs = Vec::new();
    for input in written.inputs {
        inputs.push(read_input(input, &mut binary, &mut texts_left)?);
    }
    if !binary.is_empty() {
        return Err(Fault::LeftOver { len_bytes: binary.len() });
    }
    let parameters = &written.parameters.unwrap_or_default();
    check_sequence(parameters)?;
    Ok(Request {
        id: written.id,
        inputs,
        outputs: outputs.into_iter().map(read_output).collect::<Result<_, _>>()?,
        binary_outputs: truth(parameters, "binary_data_output")
            .map_err(|(name, why)| Fault::Parameter { name, why: why.to_owned() })?
            .unwrap_or_default(),
        timeout_ms: timeout_ms(parameters)?,
        on: placement(parameters)?,
    })
}

fn read_input<'b>(
    written: WrittenInput,
    binary: &mut &'b [u8],
    texts_left: &mut u64,
) -> Result<Tensor<'b>, Fault> {
    let WrittenInput { name, shape, datatype: said, parameters, data } = written;
    let parameters = parameters.unwrap_or_default();
    let wrong = |problem: InputProblem| Fault::input(&name, problem);
    let dtype = datatype::named(&said).ok_or_else(|| wrong(InputProblem::Datatype(said)))?;
    if parameters.contains_key("shared_memory_region") {
        return Err(wrong(InputProblem::SharedMemory));
    }
    let name_of = "binary_data_size";
    let size = match parameters.get(name_of) {
        None => None,
        Some(size) => Some(size.as_u64().ok_or_else(|| {
            wrong(InputProblem::Parameter { name: name_of, why: "it is no number of bytes" })
        })?),
    };
    match (data, size) {
        (Some(_), Some(_)) => Err(wrong(InputProblem::TwoData)),
        (None, None) => Err(wrong(InputProblem::NoData)),
        (Some(data), None) => Head::new(name, dtype, shape, texts_left)?.of_json(data),
        (None, Some(size)) => {
            let split = usize::try_from(size).ok().and_then(|at| binary.split_at_checked(at));
            let (own, rest) = split.ok_or_else(|| {
                wrong(InputProblem::CutOff { expected: size, found: binary.len() })
            })?;
            *binary = rest;
            Head::new(name, dtype, shape, texts_left)?.of_bytes(own)
        }
    }
}

fn read_output(written: WrittenOutput) -> Result<Wanted, Fault> {
    let WrittenOutput { name, parameters } = written;
    let parameters = parameters.unwrap_or_default();
    let wrong = |problem: OutputProblem| Fault::output(&name, problem);
    if parameters.contains_key("shared_memory_region") {
        return Err(wrong(OutputProblem::SharedMemory));
    }
    let binary = truth(&parameters, "binary_data")
        .map_err(|(name, why)| wrong(OutputProblem::Parameter { name, why }))?;
    let classes = match parameters.get("classification") {
        None => None,
        // Triton's clients send 0 for an output that is not to be one.
        Some(count) => {
            let why = "it is no number of classes";
            let problem = OutputProblem::Parameter { name: "classification", why };
            NonZeroU64::new(count.as_u64().ok_or_else(|| wrong(problem))?)
        }
    };
    Ok(Wanted { name, binary, classes })
}

fn truth(
    parameters: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<bool>, (&'static str, &'static str)> {
    match parameters.get(name) {
        None => Ok(None),
        Some(Value::Bool(truth)) => Ok(Some(*truth)),
        Some(_) => Err((name, "it is neither true nor false")),
    }
}

/// Every request stands for itself here: one that counts on an earlier one would get a wrong answer.
fn check_sequence(parameters: &Map<String, Value>) -> Result<(), Fault> {
    let name = "sequence_id";
    match parameters.get(name) {
        None => Ok(()),
        Some(id) if id.as_u64() == Some(0) || id.as_str() == Some("") => Ok(()),
        Some(_) => Err(Fault::Parameter { name, why: "no model here keeps a state".to_owned() }),
    }
}

/// Triton's `timeout` counts microseconds.
fn timeout_ms(parameters: &Map<String, Value>) -> Result<Option<NonZeroU64>, Fault> {
    let name = "timeout";
    let Some(timeout) = parameters.get(name) else { return Ok(None) };
    let timeout_us = timeout.as_u64().ok_or_else(|| Fault::Parameter {
        name,
        why: "it is no number of microseconds".to_owned(),
    })?;
    Ok(NonZeroU64::new(timeout_us.div_ceil(1000)))
}

fn placement(parameters: &Map<String, Value>) -> Result<Placement, Fault> {
    let name = "on";
    let wrong = |why: String| Fault::Parameter { name, why };
    match parameters.get(name) {
        None => Ok(Placement::default()),
        Some(Value::String(place)) => place
            .parse()
            .map_err(|error: guildhall_protocol::name::NameError| wrong(error.to_string())),
        Some(_) => Err(wrong("it is auto, local, an org or a node".to_owned())),
    }
}

impl Request<'_> {
    /// Whether this output is to be binary data.
    pub(super) fn is_binary(&self, output: &str) -> bool {
        let wanted = self.outputs.iter().find(|wanted| wanted.name == output);
        wanted.and_then(|wanted| wanted.binary).unwrap_or(self.binary_outputs)
    }
}

/// The type that elements of a port have that is no tensor.
pub(super) const ELEMENTS: ElementType = ElementType::Text;
