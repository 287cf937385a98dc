//! Requests to records and records to answers, without a node.

mod any;
mod reading;
mod writing;

use guildhall_protocol::interface::{Interface, Port, PortType};
use serde_json::Value;

use super::answer::{Body, Head};

fn port(name: &str, written: &str) -> Port {
    let port_type: PortType = written.parse().expect(written);
    Port { name: name.into(), port_type, optional: false, location: None }
}

/// Inputs and outputs, `name: type` each.
fn interface(inputs: &[(&str, &str)], outputs: &[(&str, &str)]) -> Interface {
    let side = |side: &[(&str, &str)]| side.iter().map(|(name, of)| port(name, of)).collect();
    Interface { inputs: side(inputs), outputs: side(outputs) }
}

fn f32s(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// A body with these bytes behind its JSON, and the length of the JSON.
fn body(json: &Value, binary: &[u8]) -> (Vec<u8>, u64) {
    let json = json.to_string().into_bytes();
    let len = json.len() as u64;
    ([json, binary.to_vec()].concat(), len)
}

/// Reads an answer as a client does.
fn parsed(body: &Body) -> (Value, Vec<u8>) {
    let (json, binary) = body.bytes.split_at(body.json_bytes.unwrap_or(body.bytes.len()));
    (serde_json::from_slice(json).expect("JSON"), binary.to_vec())
}

fn head() -> Head<'static> {
    Head {
        model_name: "lab-a/m",
        model_version: None,
        id: Some("x"),
        parameters: [("run_id", "r".into())].into(),
    }
}
