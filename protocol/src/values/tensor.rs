//! Tensors: nested lists, or one flat list where only one shape can be meant, or `{"shape", "data" or "base64"}`.
//!
//! The list that comes is looked through once; its lengths must agree at every level. Then the shape is matched with the
//! port's dimensions: as it is, with one dimension of 1 more or less in front (a batch of one), or, for a flat list, by
//! the number of values.

use data_encoding::BASE64;
use serde_json::{Map, Value};

use super::error::{Fault, Problem};
use super::{DimSizes, Plain, element_named, media, number};
use crate::interface::{Dim, ElementType, PortType, TensorType};
use crate::limits::{TENSOR_MAX_RANK, VALUE_MAX_BYTES};

/// Most elements that are written as nested lists, which take some 32 bytes of memory each; more go as base64.
const NESTED_MAX_ELEMENTS: u64 = 1024 * 1024;

/// Most lists that are written around no elements at all.
const EMPTY_MAX_LISTS: u64 = 4_096;

/// Fields of a tensor that is written as an object.
const FIELDS: [&str; 4] = ["dtype", "shape", "data", "base64"];

pub(super) fn from_json(
    tensor: &TensorType,
    json: &Value,
    sizes: &mut DimSizes,
) -> Result<Plain, Fault> {
    let (shape, elements) = match json {
        Value::Object(fields) => of_object(tensor, fields)?,
        json => nested(tensor.dtype, json)?,
    };
    let dims = resolve(&tensor.dims, &shape, elements.count, sizes)
        .ok_or_else(|| misfit(tensor, &shape, sizes))?;
    for (dim, size) in tensor.dims.iter().zip(&dims) {
        if let Dim::Named(name) = dim {
            sizes.insert(name.clone(), *size);
        }
    }
    let dims = says_dims(&tensor.dims).then_some(dims);
    Ok(Plain { bytes: elements.finish(), dims })
}

/// Whether a value of such a tensor says its dimensions, because its length does not tell them all.
pub(super) fn says_dims(dims: &[Dim]) -> bool {
    let open = dims.iter().filter(|dim| !matches!(dim, Dim::Fixed(_))).count();
    // From a length of 0 an open dimension follows only if it is the one that is 0.
    open > 1 || (open == 1 && dims.contains(&Dim::Fixed(0)))
}

/// Elements in plain form as they are collected.
struct Elements {
    dtype: ElementType,
    bytes: Vec<u8>,
    count: u64,
}

impl Elements {
    fn new(dtype: ElementType) -> Self {
        Self { dtype, bytes: Vec::new(), count: 0 }
    }

    fn push(&mut self, json: &Value) -> Result<(), Problem> {
        if self.dtype == ElementType::Text {
            if !json.is_string() {
                return Err(Problem::expected("a text", json));
            }
            self.bytes.push(if self.count == 0 { b'[' } else { b',' });
            self.bytes.extend_from_slice(json.to_string().as_bytes());
        } else {
            number::push(self.dtype, json, &mut self.bytes)?;
        }
        self.count = self.count.saturating_add(1);
        match self.bytes.len() > VALUE_MAX_BYTES {
            true => Err(Problem::TooLong),
            false => Ok(()),
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.dtype == ElementType::Text {
            self.bytes.extend_from_slice(if self.count == 0 { b"[]" } else { b"]" });
        }
        self.bytes
    }
}

/// Walks nested lists; the first way down settles the shape.
fn nested(dtype: ElementType, json: &Value) -> Result<(Vec<u64>, Elements), Fault> {
    let mut shape = Vec::new();
    let mut elements = Elements::new(dtype);
    walk(json, 0, &mut shape, &mut elements)?;
    Ok((shape, elements))
}

fn walk(
    json: &Value,
    level: usize,
    shape: &mut Vec<u64>,
    elements: &mut Elements,
) -> Result<(), Fault> {
    let Value::Array(items) = json else {
        if level < shape.len() {
            return Err(Problem::expected("a list", json).into());
        }
        return Ok(elements.push(json)?);
    };
    let found = items.len() as u64;
    match shape.get(level) {
        Some(expected) if *expected == found => {}
        Some(expected) => return Err(Problem::Ragged { found, expected: *expected }.into()),
        None if elements.count > 0 => {
            let expected = if elements.dtype == ElementType::Text { "a text" } else { "a number" };
            return Err(Problem::expected(expected, json).into());
        }
        // One level more than a type can have may be a batch of one around it.
        None if level > TENSOR_MAX_RANK => {
            return Err(Problem::TooDeep { most: TENSOR_MAX_RANK }.into());
        }
        None => shape.push(found),
    }
    let below = level.saturating_add(1);
    for (at, item) in items.iter().enumerate() {
        walk(item, below, shape, elements).map_err(|fault| fault.within(at))?;
    }
    Ok(())
}

fn of_object(
    tensor: &TensorType,
    fields: &Map<String, Value>,
) -> Result<(Vec<u64>, Elements), Fault> {
    if let Some(name) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(Problem::Field { name: name.clone(), known: FIELDS.to_vec() }.into());
    }
    if let Some(dtype) = fields.get("dtype") {
        let named = dtype.as_str().and_then(element_named);
        if named != Some(tensor.dtype) {
            let found = dtype.as_str().map_or_else(|| dtype.to_string(), str::to_owned);
            let problem = Problem::Dtype { found, expected: tensor.dtype };
            return Err(Fault::from(problem).within("dtype"));
        }
    }
    let shape = fields.get("shape").map(given_shape).transpose()?;
    let (found, elements) = match (fields.get("data"), fields.get("base64")) {
        (Some(data), None) => nested(tensor.dtype, data).map_err(|fault| fault.within("data"))?,
        (None, Some(text)) => {
            of_base64(tensor.dtype, text).map_err(|fault| fault.within("base64"))?
        }
        (Some(_), Some(_)) => return Err(Problem::Both("data", "base64").into()),
        (None, None) => return Err(Problem::Lacks("data or base64").into()),
    };
    let Some(shape) = shape else { return Ok((found, elements)) };
    let volume = shape.iter().try_fold(1_u64, |volume, size| volume.checked_mul(*size));
    if volume != Some(elements.count) {
        let problem = Problem::Count { count: elements.count, shape: shown(&shape) };
        return Err(problem.into());
    }
    Ok((shape, elements))
}

fn given_shape(json: &Value) -> Result<Vec<u64>, Fault> {
    let wrong = |json: &Value| Fault::from(Problem::expected("a list of sizes", json));
    let Value::Array(items) = json else { return Err(wrong(json).within("shape")) };
    // One more than a type can have may be a batch of one around it.
    if items.len() > TENSOR_MAX_RANK.saturating_add(1) {
        return Err(Fault::from(Problem::TooDeep { most: TENSOR_MAX_RANK }).within("shape"));
    }
    let size = |(at, item): (usize, &Value)| {
        let size = item.as_u64();
        size.ok_or_else(|| {
            Fault::from(Problem::expected("a size", item)).within(at).within("shape")
        })
    };
    items.iter().enumerate().map(size).collect()
}

/// Bare bytes: a flat list as far as their shape goes.
fn of_base64(dtype: ElementType, json: &Value) -> Result<(Vec<u64>, Elements), Fault> {
    let bytes = media::base64(json)?;
    let Some(element_bytes) = dtype.len_bytes() else {
        return Err(Problem::Dtype { found: "bytes".to_owned(), expected: dtype }.into());
    };
    let len_bytes = bytes.len() as u64;
    let count = len_bytes.checked_div(element_bytes).unwrap_or_default();
    if count.checked_mul(element_bytes) != Some(len_bytes) {
        let found = format!("{len_bytes} bytes");
        return Err(
            Problem::Unlike { expected: format!("a whole number of {dtype}"), found }.into()
        );
    }
    if dtype == ElementType::Bool && bytes.iter().any(|byte| *byte > 1) {
        let found = "another byte".to_owned();
        return Err(Problem::Unlike { expected: "a bool of 0 or 1".to_owned(), found }.into());
    }
    Ok((vec![count], Elements { dtype, bytes, count }))
}

/// All dimensions, if only one shape of the type can be meant.
fn resolve(dims: &[Dim], shape: &[u64], count: u64, sizes: &DimSizes) -> Option<Vec<u64>> {
    if is_of(dims, shape, sizes) {
        return Some(shape.to_vec());
    }
    if shape.len() <= 1 {
        return of_count(dims, count, sizes);
    }
    if let [1, rest @ ..] = shape
        && is_of(dims, rest, sizes)
    {
        return Some(rest.to_vec());
    }
    let batch: Vec<u64> = std::iter::once(1).chain(shape.iter().copied()).collect();
    is_of(dims, &batch, sizes).then_some(batch)
}

fn is_of(dims: &[Dim], shape: &[u64], sizes: &DimSizes) -> bool {
    let mut seen = DimSizes::new();
    dims.len() == shape.len()
        && dims.iter().zip(shape).all(|(dim, size)| match dim {
            Dim::Fixed(wanted) => wanted == size,
            Dim::Free => true,
            Dim::Named(name) => {
                let earlier = sizes.get(name).copied().or(seen.insert(name.clone(), *size));
                earlier.is_none_or(|earlier| earlier == *size)
            }
        })
}

/// The shape that so many elements make, if at most one dimension is open.
fn of_count(dims: &[Dim], count: u64, sizes: &DimSizes) -> Option<Vec<u64>> {
    let settled = |dim: &Dim| match dim {
        Dim::Fixed(size) => Some(*size),
        Dim::Named(name) => sizes.get(name).copied(),
        Dim::Free => None,
    };
    let mut known = 1_u64;
    let mut open = 0_usize;
    for dim in dims {
        match settled(dim) {
            Some(size) => known = known.checked_mul(size)?,
            None => open = open.saturating_add(1),
        }
    }
    let size = match open {
        0 if known == count => 0,
        1 if known > 0 && count.is_multiple_of(known) => count.checked_div(known)?,
        _ => return None,
    };
    Some(dims.iter().map(|dim| settled(dim).unwrap_or(size)).collect())
}

fn misfit(tensor: &TensorType, shape: &[u64], sizes: &DimSizes) -> Fault {
    let named = tensor.dims.iter().zip(shape).find_map(|(dim, size)| match dim {
        Dim::Named(name) if tensor.dims.len() == shape.len() => sizes
            .get(name)
            .filter(|earlier| *earlier != size)
            .map(|earlier| (name, *size, *earlier)),
        _ => None,
    });
    if let Some((name, found, earlier)) = named {
        return Problem::Named { name: name.clone(), found, earlier }.into();
    }
    let port_type = PortType::Tensor(tensor.clone()).to_string();
    Problem::Shape { found: worded(tensor.dtype, shape), port_type }.into()
}

/// A shape in words, as far as there are any: `3 rows of 5 numbers`.
fn worded(dtype: ElementType, shape: &[u64]) -> String {
    let what = if dtype == ElementType::Text { "text" } else { "number" };
    let counted =
        |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    match shape {
        [] => format!("a single {what}"),
        [count] => counted(*count, what),
        [rows, columns] => format!("{} of {}", counted(*rows, "row"), counted(*columns, what)),
        shape => format!("{what}s of shape {}", shown(shape)),
    }
}

fn shown(shape: &[u64]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}

/// The dimensions that a value has, by itself or by its length; `None` when its bytes are not of the type.
pub(super) fn dims_of(tensor: &TensorType, count: u64, given: Option<&[u64]>) -> Option<Vec<u64>> {
    match given {
        None => of_count(&tensor.dims, count, &DimSizes::new()),
        Some(dims) => {
            let volume = dims.iter().try_fold(1_u64, |volume, size| volume.checked_mul(*size));
            let is_right = is_of(&tensor.dims, dims, &DimSizes::new()) && volume == Some(count);
            is_right.then(|| dims.to_vec())
        }
    }
}

/// A tensor as JSON; `None` when the bytes are not of its type.
pub(super) fn to_json(tensor: &TensorType, bytes: &[u8], given: Option<&[u64]>) -> Option<Value> {
    let texts: Vec<Value>;
    let (count, element_bytes) = match tensor.dtype.len_bytes() {
        Some(len) => ((bytes.len() as u64).checked_div(len)?, usize::try_from(len).ok()?),
        None => {
            texts = serde_json::from_slice::<Vec<String>>(bytes)
                .ok()?
                .into_iter()
                .map(Value::String)
                .collect();
            let dims = dims_of(tensor, texts.len() as u64, given)?;
            return lists(tensor, &dims, texts.into_iter());
        }
    };
    if count.checked_mul(element_bytes as u64) != Some(bytes.len() as u64) {
        return None;
    }
    let dims = dims_of(tensor, count, given)?;
    if count > NESTED_MAX_ELEMENTS {
        let object = serde_json::json!({
            "dtype": tensor.dtype, "shape": dims, "base64": BASE64.encode(bytes),
        });
        return Some(object);
    }
    let elements: Option<Vec<Value>> = bytes
        .chunks_exact(element_bytes)
        .map(|element| number::read(tensor.dtype, element))
        .collect();
    lists(tensor, &dims, elements?.into_iter())
}

/// Elements as nested lists. Without elements, lists may not show the whole shape, or be many around nothing: then an
/// object says it.
fn lists(
    tensor: &TensorType,
    dims: &[u64],
    mut elements: std::vec::IntoIter<Value>,
) -> Option<Value> {
    if let Some(at) = dims.iter().position(|size| *size == 0) {
        let around = dims.iter().take(at).try_fold(1_u64, |lists, size| lists.checked_mul(*size));
        let shown: Vec<u64> = dims.iter().take(at.saturating_add(1)).copied().collect();
        let meant = resolve(&tensor.dims, &shown, 0, &DimSizes::new());
        if meant.as_deref() != Some(dims) || around.is_none_or(|lists| lists > EMPTY_MAX_LISTS) {
            let dtype = tensor.dtype;
            return Some(serde_json::json!({ "dtype": dtype, "shape": dims, "data": [] }));
        }
    }
    lists_of(dims, &mut elements)
}

fn lists_of(dims: &[u64], elements: &mut std::vec::IntoIter<Value>) -> Option<Value> {
    match dims.split_first() {
        None => elements.next(),
        Some((size, inner)) => {
            (0..*size).map(|_| lists_of(inner, elements)).collect::<Option<_>>().map(Value::Array)
        }
    }
}

/// How many numbers a row for this tensor has, when each row is a value: the product of its dimensions, of which a
/// single open one in front of others counts as 1. `None` when any number will do.
#[must_use]
pub fn rows_of(tensor: &TensorType) -> Option<u64> {
    let fixed = |dims: &[Dim]| {
        dims.iter().try_fold(1_u64, |volume, dim| match dim {
            Dim::Fixed(size) => volume.checked_mul(*size),
            Dim::Named(_) | Dim::Free => None,
        })
    };
    match tensor.dims.as_slice() {
        [Dim::Named(_) | Dim::Free, inner @ ..] if !inner.is_empty() => fixed(inner),
        dims => fixed(dims),
    }
}
