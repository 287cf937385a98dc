//! Values as JSON, for people and programs that take answers.
//!
//! Values come from other nodes: what is not of its port's type is shown as the bytes it is.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{table, tensor};
use crate::api::OutputValue;
use crate::interface::{MediaTypes, Port, PortType};
use crate::wire::PortValue;

/// A value as JSON: tensors as nested lists, tables as lists of objects, media as `{"base64", "media_type"}`, where the
/// media type is there if the port has only one. Bytes that are not of the type are `{"base64"}`.
#[must_use]
pub fn to_json(port_type: &PortType, value: &PortValue) -> Value {
    let bytes = value.bytes.as_slice();
    let readable = match port_type {
        PortType::Tensor(tensor) => tensor::to_json(tensor, bytes, value.dims.as_deref()),
        PortType::Table(table) => table::to_json(table, bytes),
        PortType::Text => text(bytes).map(Value::String),
        PortType::Json(_) | PortType::Prediction(_) => serde_json::from_slice(bytes).ok(),
        PortType::Image(types)
        | PortType::Audio(types)
        | PortType::Video(types)
        | PortType::Bytes(types) => Some(media(types, bytes)),
    };
    readable.unwrap_or_else(|| json!({ "base64": BASE64.encode(bytes) }))
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn media(types: &MediaTypes, bytes: &[u8]) -> Value {
    let base64 = BASE64.encode(bytes);
    match types.media_types.as_slice() {
        [only] => json!({ "base64": base64, "media_type": only }),
        _ => json!({ "base64": base64 }),
    }
}

/// What came out for a record, as the outputs of a run have it: the value of the only port by itself, those of several
/// by port.
#[must_use]
pub fn to_output(ports: &[Port], values: &[PortValue]) -> OutputValue {
    let output = |value: &PortValue| {
        let port = ports.iter().find(|port| port.name == value.port);
        one(port.map(|port| &port.port_type), value)
    };
    match (ports, values) {
        ([_], [value]) => output(value),
        _ => {
            let ports = values.iter().map(|value| (value.port.clone(), output(value)));
            OutputValue::Ports(ports.collect::<BTreeMap<_, _>>())
        }
    }
}

fn one(port_type: Option<&PortType>, value: &PortValue) -> OutputValue {
    let bytes = value.bytes.as_slice();
    let readable = match port_type {
        Some(PortType::Prediction(_)) => {
            serde_json::from_slice(bytes).ok().map(OutputValue::Predictions)
        }
        Some(PortType::Text | PortType::Json(_) | PortType::Table(_)) => {
            text(bytes).map(OutputValue::Text)
        }
        Some(PortType::Tensor(tensor)) => {
            tensor::to_json(tensor, bytes, value.dims.as_deref()).map(OutputValue::Tensor)
        }
        _ => None,
    };
    readable.unwrap_or_else(|| OutputValue::Base64(BASE64.encode(bytes)))
}
