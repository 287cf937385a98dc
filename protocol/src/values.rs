//! Values of ports as JSON, both ways: what people write into requests and files becomes the plain form that stages
//! take, and what stages yield becomes JSON again.
//!
//! The forms are for people and described in `docs/values.md`. Reading is strict about types and lenient about shape
//! where only one can be meant. JSON is foreign: nothing here panics on it, and nothing that is written grows beyond
//! [`VALUE_MAX_BYTES`]. What [`to_json`] writes of a valid value, [`from_json`] reads back as the same value.
//!
//! Left to others: whether bytes are a picture or sound (workers look at them), and JSON schemas.

pub mod csv;
mod error;
mod media;
mod number;
mod output;
mod predictions;
mod table;
mod tensor;
mod typed;

use std::collections::BTreeMap;

use serde_json::Value;

use self::error::Fault;
pub use self::error::{Problem, ValueError, nearest};
pub use self::number::{element_named, number_of};
pub use self::output::{to_json, to_output};
pub use self::tensor::rows_of;
pub use self::typed::{element_json, push_element, tensor_dims, tensor_value, to_terse_json};
use crate::interface::{Port, PortType};
use crate::limits::VALUE_MAX_BYTES;
use crate::wire::PortValue;

/// Sizes of named dimensions, as far as values of one record settled them.
pub type DimSizes = BTreeMap<String, u64>;

/// Deepest nesting of a JSON value: where common parsers stop.
const JSON_MAX_DEPTH: usize = 127;

/// The plain form of one value, before it has a port.
struct Plain {
    bytes: Vec<u8>,
    dims: Option<Vec<u64>>,
}

impl From<Vec<u8>> for Plain {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, dims: None }
    }
}

/// Reads one port's value by itself.
///
/// # Errors
/// [`ValueError`], with the place in the value and what was expected there.
pub fn from_json(port: &Port, json: &Value) -> Result<PortValue, ValueError> {
    from_json_with(port, json, &mut DimSizes::new())
}

/// Reads one port's value among others of its record, whose named dimensions are in `sizes`.
///
/// # Errors
/// [`ValueError`], with the place in the value and what was expected there.
pub fn from_json_with(
    port: &Port,
    json: &Value,
    sizes: &mut DimSizes,
) -> Result<PortValue, ValueError> {
    let read = match &port.port_type {
        PortType::Tensor(tensor) => tensor::from_json(tensor, json, sizes),
        PortType::Table(table) => table::from_json(table, json).map(Plain::from),
        PortType::Text => text(json).map(Plain::from),
        PortType::Json(_) => any(json).map(Plain::from),
        PortType::Image(types)
        | PortType::Audio(types)
        | PortType::Video(types)
        | PortType::Bytes(types) => media::from_json(types, json).map(Plain::from),
        PortType::Prediction(kind) => predictions::from_json(kind, json).map(Plain::from),
    };
    let fitting = read.and_then(|plain| match plain.bytes.len() > VALUE_MAX_BYTES {
        true => Err(Problem::TooLong.into()),
        false => Ok(plain),
    });
    let Plain { bytes, dims } = fitting.map_err(|fault| fault.at_port(port))?;
    Ok(PortValue { port: port.name.clone(), bytes, dims })
}

/// Reads a record whose values are given by port. They come back in the order of `ports`. An optional port may be left
/// out or be `null`.
///
/// # Errors
/// [`ValueError`]: the first port that is wrong, unknown or missing.
pub fn record_from_json(
    ports: &[Port],
    values: &BTreeMap<String, Value>,
) -> Result<Vec<PortValue>, ValueError> {
    for name in values.keys() {
        if !ports.iter().any(|port| port.name == *name) {
            return Err(ValueError::no_port(name, ports));
        }
    }
    let mut sizes = DimSizes::new();
    let mut record = Vec::new();
    for port in ports {
        match values.get(&port.name) {
            None | Some(Value::Null) if port.optional => {}
            None => {
                let (port, port_type) = (port.name.clone(), port.port_type.to_string());
                return Err(ValueError::Missing { port, port_type });
            }
            Some(json) => record.push(from_json_with(port, json, &mut sizes)?),
        }
    }
    match PortValue::len_bytes(&record) > VALUE_MAX_BYTES {
        true => Err(ValueError::RecordTooLong),
        false => Ok(record),
    }
}

/// The ports and values of a record that is written as one JSON value: an object of values by port or, where only one
/// port can be meant, its value bare. An object whose names are all ports is taken as the former.
///
/// # Errors
/// [`ValueError`] when a bare value could be for several ports, or names of an object are no ports.
pub fn by_port(ports: &[Port], json: &Value) -> Result<BTreeMap<String, Value>, ValueError> {
    let is_port = |name: &String| ports.iter().any(|port| port.name == *name);
    let only = only_port(ports);
    match (json, only) {
        (Value::Object(fields), _) if !fields.is_empty() && fields.keys().all(is_port) => {
            Ok(fields.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        (_, Some(port)) => Ok(BTreeMap::from([(port.name.clone(), json.clone())])),
        (Value::Object(fields), None) => match fields.keys().find(|name| !is_port(name)) {
            Some(unknown) => Err(ValueError::no_port(unknown, ports)),
            None => Ok(BTreeMap::new()),
        },
        (other, None) => {
            let ports = ports.iter().map(|port| port.name.clone()).collect();
            Err(ValueError::NotByPort { found: error::found(other), ports })
        }
    }
}

/// The port that a value without a port's name is for: the only one, or the only one that a run may not leave out.
#[must_use]
pub fn only_port(ports: &[Port]) -> Option<&Port> {
    let mut required = ports.iter().filter(|port| !port.optional);
    match (ports, required.next(), required.next()) {
        ([port], _, _) => Some(port),
        (_, only, None) => only,
        _ => None,
    }
}

fn text(json: &Value) -> Result<Vec<u8>, Fault> {
    match json {
        Value::String(text) => Ok(text.clone().into_bytes()),
        other => Err(Problem::expected("a text", other).into()),
    }
}

fn any(json: &Value) -> Result<Vec<u8>, Fault> {
    if depth_exceeds(json, JSON_MAX_DEPTH) {
        return Err(Problem::TooDeep { most: JSON_MAX_DEPTH }.into());
    }
    let mut bytes = Bounded::default();
    // Values of JSON can all be written as JSON, so that only the bound can stop it.
    serde_json::to_writer(&mut bytes, json).map_err(|_| Problem::TooLong)?;
    Ok(bytes.0)
}

fn depth_exceeds(json: &Value, most: usize) -> bool {
    let deeper = |inner: &Value| match most.checked_sub(1) {
        Some(rest) => depth_exceeds(inner, rest),
        None => true,
    };
    match json {
        Value::Array(items) => items.iter().any(deeper),
        Value::Object(fields) => fields.values().any(deeper),
        _ => false,
    }
}

/// Takes what is written up to [`VALUE_MAX_BYTES`], and fails beyond.
#[derive(Default)]
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len().saturating_add(bytes.len()) > VALUE_MAX_BYTES {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
