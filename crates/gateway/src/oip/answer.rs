//! The body of an answer: JSON, and behind it the bytes of the tensors that go out as binary data.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use guildhall_protocol::values;
use serde::Serialize;
use serde_json::Value;

use super::datatype;
use super::error::{Fault, OutputProblem};
use super::outputs::{Output, OutputData};

/// What is said beside the outputs.
#[derive(Serialize)]
pub(super) struct Head<'a> {
    pub(super) model_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    pub(super) parameters: BTreeMap<&'static str, String>,
}

/// An answer as it is sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// Length of the JSON, bytes, when there is more behind it.
    pub(super) json_bytes: Option<usize>,
}

/// Writes an answer. Each output comes with whether it is binary data.
pub(super) fn write(head: &Head<'_>, outputs: &[(Output, bool)]) -> Result<Body, Fault> {
    let mut json = serde_json::to_vec(head).map_err(|error| Fault::Json(error.to_string()))?;
    // The outputs go into the object, behind what is in it.
    json.pop();
    json.extend_from_slice(b",\"outputs\":[");
    let mut binary = Vec::new();
    for (at, (output, is_binary)) in outputs.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        let own = if *is_binary {
            let start = binary.len();
            push_binary(output, &mut binary);
            Some(binary.len().saturating_sub(start))
        } else {
            None
        };
        push_json(output, own, &mut json)?;
    }
    json.extend_from_slice(b"]}");
    let json_bytes = outputs.iter().any(|(_, is_binary)| *is_binary).then_some(json.len());
    json.append(&mut binary);
    Ok(Body { bytes: json, json_bytes })
}

fn push_binary(output: &Output, to: &mut Vec<u8>) {
    match &output.data {
        OutputData::Fixed(bytes) => to.extend_from_slice(bytes),
        OutputData::Texts { texts, .. } => {
            for text in texts {
                // A value is far shorter than four bytes can count.
                let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
                to.extend_from_slice(&len.to_le_bytes());
                to.extend_from_slice(text);
            }
        }
    }
}

fn push_json(output: &Output, binary: Option<usize>, to: &mut Vec<u8>) -> Result<(), Fault> {
    let Output { name, dtype, shape, data } = output;
    to.extend_from_slice(b"{\"name\":");
    push_value(&Value::from(name.as_str()), to)?;
    to.extend_from_slice(b",\"datatype\":");
    push_value(&Value::from(datatype::name(*dtype)), to)?;
    to.extend_from_slice(b",\"shape\":");
    push_value(&Value::from(shape.as_slice()), to)?;
    if let Some(size) = binary {
        to.extend_from_slice(
            format!(",\"parameters\":{{\"binary_data_size\":{size}}}}}").as_bytes(),
        );
        return Ok(());
    }
    to.extend_from_slice(b",\"data\":[");
    match data {
        OutputData::Fixed(bytes) => {
            let len = dtype.len_bytes().and_then(|len| usize::try_from(len).ok()).unwrap_or(1);
            for (at, element) in bytes.chunks(len).enumerate() {
                let json = values::element_json(*dtype, element).ok_or_else(|| {
                    Fault::output(name, OutputProblem::NotOfType { at, dtype: *dtype })
                })?;
                push_item(at, &json, to)?;
            }
        }
        OutputData::Texts { texts, is_text } => {
            for (at, text) in texts.iter().enumerate() {
                let text = match (std::str::from_utf8(text), is_text) {
                    (Ok(text), true) => text.to_owned(),
                    (Err(_), true) => return Err(Fault::output(name, OutputProblem::Utf8 { at })),
                    (_, false) => BASE64.encode(text),
                };
                push_item(at, &Value::String(text), to)?;
            }
        }
    }
    to.extend_from_slice(b"]}");
    Ok(())
}

fn push_item(at: usize, json: &Value, to: &mut Vec<u8>) -> Result<(), Fault> {
    if at > 0 {
        to.push(b',');
    }
    push_value(json, to)
}

fn push_value(json: &Value, to: &mut Vec<u8>) -> Result<(), Fault> {
    serde_json::to_writer(to, json).map_err(|error| Fault::Json(error.to_string()))
}
