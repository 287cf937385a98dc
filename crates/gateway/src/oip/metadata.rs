//! What a model takes and yields, as the protocol says it: names, datatypes, and shapes with -1 for any number.

use guildhall_protocol::interface::{Dim, Interface, Port};
use guildhall_protocol::name::Version;
use serde_json::{Value, json};

use super::datatype;
use super::outputs::{self, Declared};
use super::path::ModelPath;
use super::records::{dtype_of, is_own_batch};
use crate::score::Scorable;

/// What any number is called.
const ANY: i64 = -1;

/// What `platform` says of every model: which engine runs it is beside it, and may differ between nodes.
const PLATFORM: &str = "guildhall";

/// Datatype and shape of an input, with the dimension for records in front.
pub(super) fn of_input(port: &Port) -> (&'static str, Vec<i64>) {
    let shape = match &port.port_type {
        guildhall_protocol::interface::PortType::Tensor(tensor) => batched(&tensor.dims),
        _ => vec![ANY],
    };
    (datatype::name(dtype_of(port)), shape)
}

/// The shape with which records follow each other: where the type has a 1 or an open dimension in front, that one.
pub(super) fn batched(dims: &[Dim]) -> Vec<i64> {
    match dims {
        [Dim::Fixed(1) | Dim::Named(_) | Dim::Free, inner @ ..] => {
            std::iter::once(ANY).chain(inner.iter().map(size)).collect()
        }
        dims => std::iter::once(ANY).chain(dims.iter().map(size)).collect(),
    }
}

fn size(dim: &Dim) -> i64 {
    match dim {
        Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
        Dim::Named(_) | Dim::Free => ANY,
    }
}

/// The shape of an output: with a dimension for records, unless the model takes all rows at once.
pub(super) fn of_output(interface: &Interface, dims: &[Dim]) -> Vec<i64> {
    match interface.inputs.iter().any(is_own_batch) {
        true => dims.iter().map(size).collect(),
        false => match dims {
            [Dim::Fixed(1), ..] => batched(dims),
            dims => std::iter::once(ANY).chain(dims.iter().map(size)).collect(),
        },
    }
}

/// A shape for people.
pub(super) fn shown(shape: &[i64]) -> String {
    let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("[{}]", sizes.join(", "))
}

/// `GET /oip/v2/models/{model}`.
pub(super) fn model(path: &ModelPath, scorable: &Scorable, versions: &[Version]) -> Value {
    let input = |port: &Port| {
        let (datatype, shape) = of_input(port);
        let mut parameters = json!({ "type": port.port_type.to_string() });
        if port.optional {
            parameters["optional"] = Value::Bool(true);
        }
        json!({ "name": port.name, "datatype": datatype, "shape": shape, "parameters": parameters })
    };
    let inputs: Vec<Value> = scorable.interface.inputs.iter().map(input).collect();
    let output = |output: &Declared<'_>| {
        let mut parameters = json!({ "type": output.port.port_type.to_string() });
        if let Some(labels) = output.labels() {
            parameters["labels"] = json!(labels);
        }
        json!({
            "name": output.name, "datatype": datatype::name(output.dtype), "shape": output.shape,
            "parameters": parameters,
        })
    };
    let outputs: Vec<Value> = outputs::declared(&scorable.interface).iter().map(output).collect();
    json!({
        "name": path.name, "versions": versions, "platform": PLATFORM,
        "inputs": inputs, "outputs": outputs,
        "parameters": { "engines": scorable.engines.join(" ") },
    })
}
