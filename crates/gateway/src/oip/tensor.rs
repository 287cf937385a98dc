//! One tensor as it comes: JSON lists, or bytes behind the JSON.
//!
//! Elements of one length become the plain form that ports take, little-endian and row-major, which is also what the
//! protocol sends. `BYTES` are counted lengths and contents.

use std::borrow::Cow;

use guildhall_protocol::interface::ElementType;
use guildhall_protocol::limits::TENSOR_MAX_RANK;
use guildhall_protocol::values;
use serde_json::Value;

use super::error::{Fault, InputProblem};

/// Elements of `BYTES` in one request: a thousand texts for each record. Each takes some bytes of memory more than it
/// has in the body.
pub(super) const TEXTS_MAX: u64 = 1024 * 1024;

/// Length in front of every element of `BYTES`, bytes.
const LENGTH_BYTES: usize = 4;

/// An input as it came.
#[derive(Debug, PartialEq)]
pub(super) struct Tensor<'b> {
    pub(super) name: String,
    pub(super) dtype: ElementType,
    pub(super) shape: Vec<u64>,
    pub(super) data: Data<'b>,
    /// It came as JSON, where bytes have to be written as text.
    pub(super) is_written: bool,
}

/// A tensor's elements, as many as its shape says.
#[derive(Debug, PartialEq)]
pub(super) enum Data<'b> {
    /// In plain form.
    Fixed(Cow<'b, [u8]>),
    /// One by one.
    Texts(Vec<Cow<'b, [u8]>>),
}

/// What a request says of a tensor, checked for itself.
pub(super) struct Head {
    pub(super) name: String,
    dtype: ElementType,
    shape: Vec<u64>,
    volume: u64,
}

impl Head {
    /// Takes what a request says. `texts_left` is how many elements of `BYTES` the request may still have.
    pub(super) fn new(
        name: String,
        dtype: ElementType,
        shape: Vec<u64>,
        texts_left: &mut u64,
    ) -> Result<Self, Fault> {
        let wrong = |problem: InputProblem| Fault::input(&name, problem);
        // One more than a type can have may be the records.
        if shape.len() > TENSOR_MAX_RANK.saturating_add(1) {
            return Err(wrong(InputProblem::Rank));
        }
        // An empty dimension makes a tensor empty, however large the others are; they count all the same.
        let volume = shape.iter().try_fold(1_u64, |volume, size| volume.checked_mul(*size));
        let is_counted = shape.iter().try_fold(1_u64, |all, size| all.checked_mul((*size).max(1)));
        let (Some(volume), Some(_)) = (volume, is_counted) else {
            return Err(wrong(InputProblem::Volume));
        };
        if dtype == ElementType::Text {
            *texts_left = texts_left.checked_sub(volume).ok_or(Fault::TooManyTexts)?;
        }
        Ok(Self { name, dtype, shape, volume })
    }

    fn wrong(&self, problem: InputProblem) -> Fault {
        Fault::input(&self.name, problem)
    }

    fn filled(self, data: Data<'_>, is_written: bool) -> Tensor<'_> {
        Tensor { name: self.name, dtype: self.dtype, shape: self.shape, data, is_written }
    }

    /// The tensor from the bytes that stand behind the JSON for it.
    pub(super) fn of_bytes(self, bytes: &[u8]) -> Result<Tensor<'_>, Fault> {
        let found = bytes.len() as u64;
        let Some(element_bytes) = self.dtype.len_bytes() else {
            let texts = self.texts(bytes)?;
            return Ok(self.filled(Data::Texts(texts), false));
        };
        let expected = self.volume.checked_mul(element_bytes);
        let expected = expected.ok_or_else(|| self.wrong(InputProblem::Volume))?;
        if expected != found {
            return Err(self.wrong(InputProblem::Length { found, expected }));
        }
        if self.dtype == ElementType::Bool && bytes.iter().any(|byte| *byte > 1) {
            return Err(self.wrong(InputProblem::Bool));
        }
        Ok(self.filled(Data::Fixed(Cow::Borrowed(bytes)), false))
    }

    fn texts<'b>(&self, mut bytes: &'b [u8]) -> Result<Vec<Cow<'b, [u8]>>, Fault> {
        let mut texts = Vec::new();
        while !bytes.is_empty() {
            let (length, rest) = bytes
                .split_first_chunk::<LENGTH_BYTES>()
                .ok_or_else(|| self.wrong(InputProblem::Element))?;
            let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
            let (text, rest) =
                rest.split_at_checked(length).ok_or_else(|| self.wrong(InputProblem::Element))?;
            if texts.len() as u64 >= self.volume {
                let found = (texts.len() as u64).saturating_add(1);
                return Err(self.wrong(InputProblem::Count { found, expected: self.volume }));
            }
            texts.push(Cow::Borrowed(text));
            bytes = rest;
        }
        self.check_count(texts.len() as u64)?;
        Ok(texts)
    }

    fn check_count(&self, found: u64) -> Result<(), Fault> {
        match found == self.volume {
            true => Ok(()),
            false => Err(self.wrong(InputProblem::Count { found, expected: self.volume })),
        }
    }

    /// The tensor from a list of all its elements, or from lists in lists like its shape.
    pub(super) fn of_json(self, json: Value) -> Result<Tensor<'static>, Fault> {
        let mut plain = Vec::new();
        let mut texts: Vec<Cow<'static, [u8]>> = Vec::new();
        let mut count = 0_u64;
        let mut put = |json: Value| {
            if count == self.volume {
                let found = count.saturating_add(1);
                return Err(InputProblem::Count { found, expected: self.volume });
            }
            let at = count;
            match (self.dtype, json) {
                (ElementType::Text, Value::String(text)) => {
                    texts.push(Cow::Owned(text.into_bytes()));
                }
                (ElementType::Text, other) => {
                    let found = other.to_string().chars().take(40).collect();
                    let problem = values::Problem::Unlike { expected: "a text".to_owned(), found };
                    return Err(InputProblem::Number { at, problem });
                }
                (dtype, json) => values::push_element(dtype, &json, &mut plain)
                    .map_err(|problem| InputProblem::Number { at, problem })?,
            }
            count = count.saturating_add(1);
            Ok(())
        };
        let walked = flatten(&self.shape, json, &mut put);
        walked.map_err(|problem| self.wrong(problem))?;
        self.check_count(count)?;
        let data = match self.dtype {
            ElementType::Text => Data::Texts(texts),
            _ => Data::Fixed(Cow::Owned(plain)),
        };
        Ok(self.filled(data, true))
    }
}

/// Hands out all elements in their order.
fn flatten(
    shape: &[u64],
    json: Value,
    put: &mut impl FnMut(Value) -> Result<(), InputProblem>,
) -> Result<(), InputProblem> {
    match json {
        Value::Array(items) if items.iter().any(Value::is_array) => {
            nested(shape, Value::Array(items), put)
        }
        Value::Array(items) => items.into_iter().try_for_each(put),
        single if shape.is_empty() => put(single),
        _ => Err(InputProblem::Nesting),
    }
}

/// The depth is that of the shape at most, which is bounded.
fn nested(
    shape: &[u64],
    json: Value,
    put: &mut impl FnMut(Value) -> Result<(), InputProblem>,
) -> Result<(), InputProblem> {
    match (shape.split_first(), json) {
        (Some((size, inner)), Value::Array(items)) if items.len() as u64 == *size => {
            items.into_iter().try_for_each(|item| nested(inner, item, put))
        }
        (None, element) if !element.is_array() => put(element),
        _ => Err(InputProblem::Nesting),
    }
}
