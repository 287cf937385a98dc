//! From tensors to records: which input is for which port, how many records there are, and the plain form of each
//! value.
//!
//! A port's type says what one record has. A tensor with one dimension more in front, or with any number where the type
//! has a 1 in front, is a value for each of as many records. A type whose first dimension is open takes all rows as one
//! value.

use std::borrow::Cow;

use guildhall_protocol::api::INFER_MAX_RECORDS;
use guildhall_protocol::interface::{Dim, ElementType, Interface, Port, PortType, TensorType};
use guildhall_protocol::limits::VALUE_MAX_BYTES;
use guildhall_protocol::values::{self, DimSizes};
use guildhall_protocol::wire::PortValue;
use serde_json::Value;

use super::error::{Fault, InputProblem};
use super::request::ELEMENTS;
use super::tensor::{Data, Tensor};
use super::{datatype, metadata};

/// The records of a request.
#[derive(Debug, PartialEq)]
pub(super) struct Records {
    /// The values of each, in the order of the ports.
    pub(super) values: Vec<Vec<PortValue>>,
    /// The tensors had a dimension for the records, and so shall what comes out.
    pub(super) is_batch: bool,
}

/// How a tensor is read.
struct Reading {
    /// How many records it has a value for; `None` when it is one value without a dimension for records.
    count: Option<u64>,
    /// Dimensions of each value.
    dims: Vec<u64>,
}

/// Makes records of the inputs.
pub(super) fn bind(interface: &Interface, inputs: Vec<Tensor<'_>>) -> Result<Records, Fault> {
    let ports = &interface.inputs;
    for (at, input) in inputs.iter().enumerate() {
        let name = &input.name;
        if !ports.iter().any(|port| port.name == *name) {
            let known = ports.iter().map(|port| port.name.clone()).collect();
            return Err(Fault::input(name, InputProblem::Unknown(known)));
        }
        if inputs.iter().take(at).any(|other| other.name == *name) {
            return Err(Fault::input(name, InputProblem::Twice));
        }
    }
    let mut sizes = DimSizes::new();
    let mut read = Vec::new();
    for port in ports {
        match inputs.iter().find(|input| input.name == port.name) {
            Some(input) => read.push((port, input, reading(port, input, &mut sizes)?)),
            None if port.optional => {}
            None => {
                let (datatype, shape) = metadata::of_input(port);
                let problem = InputProblem::Missing { datatype, shape };
                return Err(Fault::input(&port.name, problem));
            }
        }
    }
    let (count, is_batch) = counted(&read)?;
    let mut records: Vec<Vec<PortValue>> = (0..count).map(|_| Vec::new()).collect();
    for (port, input, Reading { dims, .. }) in &read {
        let each = split(port, input, dims, count)?;
        records.iter_mut().zip(each).for_each(|(record, value)| record.push(value));
    }
    Ok(Records { values: records, is_batch })
}

/// How many records there are, and whether they have a dimension of their own.
fn counted(read: &[(&Port, &Tensor<'_>, Reading)]) -> Result<(usize, bool), Fault> {
    let mut first: Option<(&Port, u64)> = None;
    for (port, _, reading) in read {
        let count = reading.count.unwrap_or(1);
        match first {
            None => first = Some((port, count)),
            Some((one, expected)) if expected != count => {
                let (one, other) = (one.name.clone(), port.name.clone());
                return Err(Fault::Records { one, first: expected, other, second: count });
            }
            Some(_) => {}
        }
    }
    let count = first.map(|(_, count)| count).unwrap_or_default();
    let is_batch = read.iter().any(|(_, _, reading)| reading.count.is_some())
        && !read.iter().any(|(port, _, reading)| reading.count.is_none() && is_own_batch(port));
    match usize::try_from(count) {
        Ok(records) if (1..=INFER_MAX_RECORDS).contains(&records) => Ok((records, is_batch)),
        _ => Err(Fault::RecordCount(count)),
    }
}

/// Whether the rows of such a port's value are what others call a batch.
pub(super) fn is_own_batch(port: &Port) -> bool {
    let PortType::Tensor(tensor) = &port.port_type else { return false };
    matches!(tensor.dims.first(), Some(Dim::Named(_) | Dim::Free))
}

fn reading(port: &Port, input: &Tensor<'_>, sizes: &mut DimSizes) -> Result<Reading, Fault> {
    let wrong = |problem: InputProblem| Fault::input(&port.name, problem);
    let expected = match &port.port_type {
        PortType::Tensor(tensor) => tensor.dtype,
        _ => ELEMENTS,
    };
    if expected != input.dtype {
        let (found, expected) = (datatype::name(input.dtype), datatype::name(expected));
        return Err(wrong(InputProblem::OtherDatatype { found, expected }));
    }
    let read = match &port.port_type {
        PortType::Tensor(tensor) => tensor_reading(tensor, &input.shape, sizes),
        _ => match input.shape.as_slice() {
            [] => Some(Reading { count: None, dims: Vec::new() }),
            // Some clients send texts as a column.
            [count] | [count, 1] => Some(Reading { count: Some(*count), dims: Vec::new() }),
            _ => None,
        },
    };
    read.ok_or_else(|| {
        let (_, expected) = metadata::of_input(port);
        wrong(InputProblem::Shape { found: input.shape.clone(), expected })
    })
}

fn tensor_reading(tensor: &TensorType, shape: &[u64], sizes: &mut DimSizes) -> Option<Reading> {
    let dims = tensor.dims.as_slice();
    // A dimension of 1 in front is where models have their batch.
    if let ([Dim::Fixed(1), inner @ ..], [count, rest @ ..]) = (dims, shape)
        && fits(inner, rest, sizes)
    {
        let dims = std::iter::once(1).chain(rest.iter().copied()).collect();
        return Some(Reading { count: Some(*count), dims });
    }
    if fits(dims, shape, sizes) {
        return Some(Reading { count: None, dims: shape.to_vec() });
    }
    match shape {
        [count, rest @ ..] if fits(dims, rest, sizes) => {
            Some(Reading { count: Some(*count), dims: rest.to_vec() })
        }
        _ => None,
    }
}

/// Whether a shape is one of these dimensions; if so, the sizes of named ones are settled.
fn fits(dims: &[Dim], shape: &[u64], sizes: &mut DimSizes) -> bool {
    if dims.len() != shape.len() {
        return false;
    }
    let mut settled = sizes.clone();
    let fits = dims.iter().zip(shape).all(|(dim, size)| match dim {
        Dim::Fixed(wanted) => wanted == size,
        Dim::Free => true,
        Dim::Named(name) => settled.entry(name.clone()).or_insert(*size) == size,
    });
    if fits {
        *sizes = settled;
    }
    fits
}

/// The values of one input, a record each.
fn split(
    port: &Port,
    input: &Tensor<'_>,
    dims: &[u64],
    count: usize,
) -> Result<Vec<PortValue>, Fault> {
    let wrong = |problem: InputProblem| Fault::input(&port.name, problem);
    match (&port.port_type, &input.data) {
        (PortType::Tensor(tensor), Data::Fixed(bytes)) => {
            let len = bytes.len().checked_div(count).unwrap_or_default();
            if len > VALUE_MAX_BYTES {
                return Err(wrong(InputProblem::TooLong));
            }
            let value = |at: usize| {
                let start = at.saturating_mul(len);
                let own = bytes.get(start..start.saturating_add(len)).unwrap_or_default();
                values::tensor_value(&port.name, tensor, own.to_vec(), dims)
            };
            Ok((0..count).map(value).collect())
        }
        (PortType::Tensor(tensor), Data::Texts(texts)) => {
            let len = texts.len().checked_div(count).unwrap_or_default();
            let value = |at: usize| {
                let own = texts.iter().enumerate().skip(at.saturating_mul(len)).take(len);
                let own: Vec<&str> =
                    own.map(|(at, text)| utf8(at, text)).collect::<Result<_, _>>()?;
                let plain = serde_json::to_vec(&own).unwrap_or_default();
                if plain.len() > VALUE_MAX_BYTES {
                    return Err(InputProblem::TooLong);
                }
                Ok(values::tensor_value(&port.name, tensor, plain, dims))
            };
            (0..count).map(value).collect::<Result<_, _>>().map_err(wrong)
        }
        (_, Data::Texts(texts)) => {
            let value = |(at, text): (usize, &Cow<'_, [u8]>)| {
                element(port, at, text, input.is_written).map_err(wrong)
            };
            texts.iter().enumerate().map(value).collect()
        }
        // Numbers have been refused by their datatype.
        (_, Data::Fixed(_)) => Ok(Vec::new()),
    }
}

fn utf8(at: usize, bytes: &[u8]) -> Result<&str, InputProblem> {
    std::str::from_utf8(bytes).map_err(|_| InputProblem::Utf8 { at })
}

/// One value of a port that is no tensor, from an element of `BYTES`. Pictures and the like are base64 where they came
/// in JSON; tables are CSV or JSON; JSON and predictions are JSON as a text.
fn element(
    port: &Port,
    at: usize,
    bytes: &[u8],
    is_written: bool,
) -> Result<PortValue, InputProblem> {
    if bytes.len() > VALUE_MAX_BYTES {
        return Err(InputProblem::TooLong);
    }
    let parsed = || {
        serde_json::from_slice::<Value>(bytes)
            .map_err(|error| InputProblem::NoJson { at, why: error.to_string() })
    };
    let text = || utf8(at, bytes).map(|text| Value::String(text.to_owned()));
    let json = match &port.port_type {
        PortType::Json(_) | PortType::Prediction(_) => parsed()?,
        PortType::Table(_) if matches!(bytes.trim_ascii_start().first(), Some(b'[' | b'{')) => {
            parsed()?
        }
        PortType::Table(_) | PortType::Text => text()?,
        _ if is_written => text()?,
        _ => return Ok(PortValue::new(port.name.clone(), bytes)),
    };
    values::from_json(port, &json).map_err(|problem| InputProblem::Value { at, problem })
}

/// The type of a tensor's elements, or of those that stand for a value of another type.
pub(super) fn dtype_of(port: &Port) -> ElementType {
    match &port.port_type {
        PortType::Tensor(tensor) => tensor.dtype,
        _ => ELEMENTS,
    }
}
