//! Elements and shapes of tensors, for faces of a node that have a form of their own for them: single elements from
//! JSON and back, and a tensor's value from its elements and dimensions.
//!
//! Nothing here decides what a request means. The shape that is given is taken as it is; whether it is the port's is
//! for the caller.

use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use super::{Problem, number, output, tensor};
use crate::interface::{ElementType, PortType, TensorType};
use crate::wire::PortValue;

/// Adds one element, written as JSON, in plain form; `dtype` is not text.
///
/// # Errors
/// [`Problem`]: what was expected, and what came.
pub fn push_element(dtype: ElementType, json: &Value, to: &mut Vec<u8>) -> Result<(), Problem> {
    number::push(dtype, json, to)
}

/// One element in plain form as JSON; `None` when the bytes are no element of this type, which is not text.
#[must_use]
pub fn element_json(dtype: ElementType, bytes: &[u8]) -> Option<Value> {
    number::read(dtype, bytes)
}

/// A tensor's value from elements in plain form and all dimensions, which are kept where the type leaves more open than
/// the length tells.
#[must_use]
pub fn tensor_value(port: &str, tensor: &TensorType, bytes: Vec<u8>, dims: &[u64]) -> PortValue {
    let dims = tensor::says_dims(&tensor.dims).then(|| dims.to_vec());
    PortValue { port: port.to_owned(), bytes, dims }
}

/// All dimensions of a tensor's value; `None` when the value is not of the type.
#[must_use]
pub fn tensor_dims(tensor: &TensorType, value: &PortValue) -> Option<Vec<u64>> {
    let len_bytes = value.bytes.len() as u64;
    let count = match tensor.dtype.len_bytes() {
        Some(len) => len_bytes.is_multiple_of(len).then(|| len_bytes.checked_div(len))??,
        None => serde_json::from_slice::<Vec<String>>(&value.bytes).ok()?.len() as u64,
    };
    tensor::dims_of(tensor, count, value.dims.as_deref())
}

/// A value as JSON that [`from_json`](super::from_json) reads back, in the form that takes the least work: tensors of
/// numbers as base64, tables as CSV.
#[must_use]
pub fn to_terse_json(port_type: &PortType, value: &PortValue) -> Value {
    let base64 = || Value::String(BASE64.encode(&value.bytes));
    match port_type {
        PortType::Tensor(tensor) if tensor.dtype != ElementType::Text => {
            let mut object = Map::from_iter([("base64".to_owned(), base64())]);
            if let Some(dims) = tensor_dims(tensor, value) {
                object.insert("shape".to_owned(), json!(dims));
            }
            Value::Object(object)
        }
        PortType::Table(_) => match String::from_utf8(value.bytes.clone()) {
            Ok(csv) => Value::String(csv),
            Err(_) => json!({ "base64": base64() }),
        },
        other => output::to_json(other, value),
    }
}
