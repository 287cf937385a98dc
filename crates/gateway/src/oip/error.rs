//! What is wrong with a request, and errors in the protocol's form: `{"error": "..."}`.

use axum::Json;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use guildhall_protocol::api::{ErrorBody, INFER_MAX_RECORDS};
use guildhall_protocol::interface::ElementType;
use guildhall_protocol::limits::{TENSOR_MAX_RANK, VALUE_MAX_BYTES};
use guildhall_protocol::values::{Problem, ValueError};
use serde_json::json;

use super::outputs::OUTPUTS_MAX_BYTES;
use super::request::{JSON_MAX_BYTES, TENSORS_MAX};
use super::tensor::TEXTS_MAX;
use super::{datatype, metadata};
use crate::error::ApiError;

/// How much of a foreign name an error repeats, characters.
const QUOTED_MAX_CHARS: usize = 64;

/// A request that cannot be answered, or outputs that the protocol has no form for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Fault {
    #[error("the request is not what the protocol says: {0}")]
    Json(String),
    #[error("Inference-Header-Content-Length is not a number of bytes")]
    HeaderLength,
    #[error("the JSON is said to have {claimed} bytes, but the body has {found}")]
    HeaderBeyondBody { claimed: u64, found: usize },
    #[error("the JSON is longer than {JSON_MAX_BYTES} bytes; send tensors as binary data")]
    JsonTooLong,
    #[error("more than {TENSORS_MAX} {0}")]
    TooMany(&'static str),
    #[error("there are no inputs")]
    NoInputs,
    #[error("parameter {name}: {why}")]
    Parameter { name: &'static str, why: String },
    #[error("{len_bytes} bytes of the body belong to no input")]
    LeftOver { len_bytes: usize },
    #[error("more than {TEXTS_MAX} elements of BYTES")]
    TooManyTexts,
    #[error("input {}: {problem}", quoted(.input))]
    Input { input: String, problem: Box<InputProblem> },
    #[error("output {}: {problem}", quoted(.output))]
    Output { output: String, problem: Box<OutputProblem> },
    #[error("input {one} has {first} records, input {other} has {second}")]
    Records { one: String, first: u64, other: String, second: u64 },
    #[error("a request scores 1 to {INFER_MAX_RECORDS} records, not {0}")]
    RecordCount(u64),
    #[error("what came out is longer than {OUTPUTS_MAX_BYTES} bytes; ask for fewer records")]
    OutputsTooLong,
}

/// What is wrong with one input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum InputProblem {
    #[error("there is no such input; the inputs are {}", .0.join(", "))]
    Unknown(Vec<String>),
    #[error("it is missing; it is {datatype} of shape {}", metadata::shown(.shape))]
    Missing { datatype: &'static str, shape: Vec<i64> },
    #[error("it is there twice")]
    Twice,
    #[error("{} is no datatype here; there are {}", quoted(.0), datatype::names())]
    Datatype(String),
    #[error("its datatype is {found}, but this input is {expected}")]
    OtherDatatype { found: &'static str, expected: &'static str },
    #[error("more than {} dimensions", TENSOR_MAX_RANK + 1)]
    Rank,
    #[error("its shape has more elements than there are numbers for")]
    Volume,
    #[error("its shape is {}, but this input is {}", shown(.found), metadata::shown(.expected))]
    Shape { found: Vec<u64>, expected: Vec<i64> },
    #[error("{found} values for a shape of {expected}")]
    Count { found: u64, expected: u64 },
    #[error("its lists are not nested like its shape")]
    Nesting,
    #[error("{expected} bytes of binary data are due, {found} are left in the body")]
    CutOff { expected: u64, found: usize },
    #[error("its shape takes {expected} bytes, but binary_data_size is {found}")]
    Length { found: u64, expected: u64 },
    #[error("its BYTES end in the middle of an element")]
    Element,
    #[error("a BOOL is neither 0 nor 1")]
    Bool,
    #[error("it has neither data nor binary_data_size")]
    NoData,
    #[error("it has both data and binary_data_size")]
    TwoData,
    #[error("there is no shared memory here")]
    SharedMemory,
    #[error("parameter {name}: {why}")]
    Parameter { name: &'static str, why: &'static str },
    #[error("element {at}: {problem}")]
    Number { at: u64, problem: Problem },
    #[error("element {at} is no UTF-8")]
    Utf8 { at: usize },
    #[error("element {at} is no JSON: {why}")]
    NoJson { at: usize, why: String },
    #[error("record {at}: {problem}")]
    Value { at: usize, problem: ValueError },
    #[error("a value of it is longer than {VALUE_MAX_BYTES} bytes")]
    TooLong,
}

/// What is wrong with one output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OutputProblem {
    #[error("there is no such output; the outputs are {}", .0.join(", "))]
    Unknown(Vec<String>),
    #[error("it is asked for twice")]
    Twice,
    #[error("parameter {name}: {why}")]
    Parameter { name: &'static str, why: &'static str },
    #[error("classification is for outputs of classes with a label set")]
    NoClasses,
    #[error("there is no shared memory here")]
    SharedMemory,
    #[error("record {at} has no value for it")]
    Absent { at: usize },
    #[error("what came out for record {at} is no {dtype}", dtype = datatype::name(*.dtype))]
    NotOfType { at: usize, dtype: ElementType },
    #[error("what came out for record {at} is no list of predictions")]
    NoPredictions { at: usize },
    #[error("records differ in shape ({} and {}); send them one by one", shown(.one), shown(.other))]
    Ragged { one: Vec<u64>, other: Vec<u64> },
    #[error("element {at} is no UTF-8; ask for it as binary data")]
    Utf8 { at: usize },
}

impl Fault {
    pub(super) fn input(input: impl Into<String>, problem: InputProblem) -> Self {
        Self::Input { input: input.into(), problem: Box::new(problem) }
    }

    pub(super) fn output(output: impl Into<String>, problem: OutputProblem) -> Self {
        Self::Output { output: output.into(), problem: Box::new(problem) }
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        let message = fault.to_string();
        match fault {
            Fault::JsonTooLong => Self::too_large("body_too_large", message),
            Fault::OutputsTooLong => Self::failed("outputs_too_long", message),
            Fault::Output { problem, .. } => match *problem {
                OutputProblem::Absent { .. }
                | OutputProblem::NotOfType { .. }
                | OutputProblem::NoPredictions { .. }
                | OutputProblem::Ragged { .. }
                | OutputProblem::Utf8 { .. } => Self::failed("bad_output", message),
                _ => Self::invalid("bad_request", message),
            },
            _ => Self::invalid("bad_input", message),
        }
    }
}

/// Whether a request is for this face, whose clients read errors in the protocol's form.
pub(crate) fn is_below(uri: &Uri) -> bool {
    uri.path().strip_prefix("/oip").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A response of another part of the gateway in the form of the protocol: its error, if it is one, in one text.
pub(crate) fn worded(mut response: Response) -> Response {
    let Some(body) = response.extensions_mut().remove::<ErrorBody>() else { return response };
    let ErrorBody { message, help, details, .. } = body;
    let mut text = message;
    for detail in details {
        text.push_str("; ");
        text.push_str(&detail);
    }
    if let Some(help) = help {
        text.push_str(" (help: ");
        text.push_str(&help);
        text.push(')');
    }
    (response.status(), Json(json!({ "error": text }))).into_response()
}

/// A foreign name, as much of it as an error repeats.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String =
        text.chars().take(QUOTED_MAX_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTED_MAX_CHARS).is_some() {
        shown.push_str("...");
    }
    shown
}

fn shown(shape: &[u64]) -> String {
    let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("[{}]", sizes.join(", "))
}
