//! A graph that a stage's code asks by itself, in the library: tensors in, tensors out, no ports.
//!
//! The counterpart of [`crate::engine::onnx::Model`], for graphs that the engine built in cannot run and whose package
//! names this one. Tensors are those of wasi-nn, in the same forms. It all happens on the thread that asks.

use std::sync::{Mutex, PoisonError};

use guildhall_protocol::contract::Determinism;
use guildhall_protocol::interface::ElementType;
use ort::ErrorCode;
use ort::session::Session;
use ort::value::DynValue;

use super::session::{Options, failure, open};
use super::{OnnxRuntime, tensor};
use crate::engine::graph::{Elements, Fact, FactKind, Parts, Stacked, Yielded};
use crate::engine::onnx::{Trouble, Value, check_len, one_nan};
use crate::failure::Failure;

/// A graph that is ready to be asked.
pub(crate) struct Model {
    /// Running it takes it for itself; nobody else ever waits, as a worker has one call at a time.
    session: Mutex<Session>,
    /// Names in the graph's order, and what it says of each.
    inputs: Vec<(String, Fact)>,
    outputs: Vec<String>,
}

impl OnnxRuntime {
    /// A graph for code to ask.
    ///
    /// # Errors
    /// [`Failure::InvalidModel`], [`Failure::MemoryLimit`].
    pub(crate) fn asked(&self, bytes: &[u8], determinism: Determinism) -> Result<Model, Failure> {
        // Code has one core, and what its model takes is the code's.
        let is_exact = determinism == Determinism::Bitwise;
        let options = Options { threads: 1, ..self.options(is_exact) };
        let session = open(&self.environment, options, bytes)
            .map_err(|error| failure(&error, |why| self.blame(&why)))?;
        let mut inputs = Vec::new();
        for outlet in session.inputs() {
            let name = outlet.name().to_owned();
            let fact = tensor::fact(outlet.dtype())
                .map_err(|why| super::invalid(&format!("input `{name}`: {why}")))?;
            inputs.push((name, fact));
        }
        let outputs = session.outputs().iter().map(|outlet| outlet.name().to_owned()).collect();
        Ok(Model { session: Mutex::new(session), inputs, outputs })
    }
}

impl Model {
    /// How many tensors it takes.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// The place of the input of this name.
    pub(crate) fn input(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|(other, _)| other == name)
    }

    /// The name of the output at this place.
    pub(crate) fn output(&self, at: usize) -> Option<&str> {
        self.outputs.get(at).map(String::as_str)
    }

    /// The outputs for these inputs, in the graph's order each; none for outputs that wasi-nn has no tensors for.
    ///
    /// # Errors
    /// [`Trouble`]. The model is as it was.
    pub(crate) fn run(&self, given: &[Option<&Value>]) -> Result<Vec<Option<Value>>, Trouble> {
        let mut tensors = Vec::with_capacity(self.inputs.len());
        for (at, (name, fact)) in self.inputs.iter().enumerate() {
            let value = given.get(at).copied().flatten();
            let made = value.ok_or_else(|| "there is no tensor for it".to_owned());
            let made = made.and_then(|value| to_library(value, fact));
            let made = made.map_err(|why| Trouble::Argument(format!("input `{name}`: {why}")))?;
            tensors.push((name.as_str(), made));
        }
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = session.run(tensors).map_err(|error| trouble(&error))?;
        let value = |name: &String| {
            let Some(found) = found.remove(name) else { return Ok(None) };
            let wrong = |why: String| Trouble::Failed(format!("output `{name}`: {why}"));
            tensor::from_library(found).and_then(from_library).map_err(wrong)
        };
        self.outputs.iter().map(value).collect()
    }
}

/// The library's form of a tensor, if it is one that the graph takes.
fn to_library(value: &Value, fact: &Fact) -> Result<DynValue, String> {
    let Value { dtype, dims, bytes } = value;
    check_len(*dtype, dims, bytes.len())?;
    let fits = fact.dims.as_ref().is_none_or(|wanted| {
        let same = |(wanted, given): (&Option<u64>, &u32)| {
            wanted.is_none_or(|wanted| wanted == u64::from(*given))
        };
        wanted.len() == dims.len() && wanted.iter().zip(dims).all(same)
    });
    // wasi-nn has no truth values; a byte each is what everybody uses.
    let is_truth = fact.kind == FactKind::Numbers(ElementType::Bool) && *dtype == ElementType::U8;
    let dtype = if is_truth { ElementType::Bool } else { *dtype };
    if !fits || fact.kind != FactKind::Numbers(dtype) {
        return Err(format!("the graph takes {fact}, the tensor has {dtype:?} {dims:?}"));
    }
    if is_truth && bytes.iter().any(|byte| *byte > 1) {
        return Err("a truth value is 0 or 1".into());
    }
    let sizes = dims.iter().map(|dim| usize::try_from(*dim));
    let dims = sizes.collect::<Result<_, _>>().map_err(|_| "it has too many elements")?;
    tensor::to_library(Stacked { dims, parts: Parts::Numbers(dtype, vec![bytes]) })
}

/// A result as code gets it: of the type that wasi-nn has for it, with one form of NaN. None for texts.
fn from_library(yielded: Yielded) -> Result<Option<Value>, String> {
    let (dims, dtype, bytes) = match yielded {
        Yielded::Tensor { dims, elements: Elements::Numbers(dtype, bytes) } => (dims, dtype, bytes),
        Yielded::Tensor { elements: Elements::Texts(_), .. } => return Ok(None),
        Yielded::Scores(rows) => {
            // What a ZipMap was made of: the scores in the order of the classes.
            let columns = rows.first().map_or(0, Vec::len);
            let scores = rows.iter().flatten();
            #[expect(clippy::cast_possible_truncation, reason = "they were single before")]
            let bytes = scores.flat_map(|(_, score)| (*score as f32).to_le_bytes()).collect();
            (vec![rows.len(), columns], ElementType::F32, bytes)
        }
    };
    let (dtype, mut bytes) = widened(dtype, bytes)?;
    one_nan(dtype, &mut bytes);
    let dims = dims.into_iter().map(u32::try_from);
    let dims = dims.collect::<Result<_, _>>().map_err(|_| "it has too many elements")?;
    Ok(Some(Value { dtype, dims, bytes }))
}

/// Elements in a type that wasi-nn has a name for, as the engine built in widens them.
fn widened(dtype: ElementType, bytes: Vec<u8>) -> Result<(ElementType, Vec<u8>), String> {
    let to_i32 = |each: &mut dyn Iterator<Item = i32>| each.flat_map(i32::to_le_bytes).collect();
    Ok(match dtype {
        ElementType::Bool => (ElementType::U8, bytes),
        ElementType::I8 => {
            let mut each = bytes.iter().map(|byte| i32::from(byte.cast_signed()));
            (ElementType::I32, to_i32(&mut each))
        }
        ElementType::I16 => {
            let mut each =
                bytes.as_chunks::<2>().0.iter().map(|two| i32::from(i16::from_le_bytes(*two)));
            (ElementType::I32, to_i32(&mut each))
        }
        ElementType::U16 => {
            let mut each =
                bytes.as_chunks::<2>().0.iter().map(|two| i32::from(u16::from_le_bytes(*two)));
            (ElementType::I32, to_i32(&mut each))
        }
        ElementType::U32 => {
            let each = bytes.as_chunks::<4>().0.iter();
            let each = each.map(|four| i64::from(u32::from_le_bytes(*four)));
            (ElementType::I64, each.flat_map(i64::to_le_bytes).collect())
        }
        ElementType::U64 => return Err("wasi-nn has no tensors of u64".into()),
        named => (named, bytes),
    })
}

fn trouble(error: &ort::Error) -> Trouble {
    let why = match failure(error, |why| super::invalid(&why)) {
        Failure::InvalidModel { why } => why,
        _ => return Trouble::Memory,
    };
    match error.code() {
        ErrorCode::InvalidArgument => {
            Trouble::Argument(format!("the graph does not take it: {why}"))
        }
        _ => Trouble::Failed(format!("the graph failed: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_types_that_wasi_nn_has() {
        let found = |dtype, bytes: &[u8]| widened(dtype, bytes.to_vec());
        assert_eq!(found(ElementType::Bool, &[1, 0]), Ok((ElementType::U8, vec![1, 0])));
        let minus = (-2_i32).to_le_bytes().to_vec();
        assert_eq!(found(ElementType::I8, &[0xfe]), Ok((ElementType::I32, minus.clone())));
        assert_eq!(found(ElementType::I16, &[0xfe, 0xff]), Ok((ElementType::I32, minus)));
        let long = 65_534_i32.to_le_bytes().to_vec();
        assert_eq!(found(ElementType::U16, &[0xfe, 0xff]), Ok((ElementType::I32, long)));
        let long = u32::MAX.to_le_bytes();
        let wide = i64::from(u32::MAX).to_le_bytes().to_vec();
        assert_eq!(found(ElementType::U32, &long), Ok((ElementType::I64, wide)));
        assert!(found(ElementType::U64, &[0; 8]).is_err());
        let scores = vec![vec![("cat".to_owned(), 0.25), ("dog".to_owned(), 0.75)]];
        let value = from_library(Yielded::Scores(scores)).unwrap().unwrap();
        assert_eq!((value.dtype, value.dims), (ElementType::F32, vec![1, 2]));
        assert_eq!(value.bytes, [0.25_f32.to_le_bytes(), 0.75_f32.to_le_bytes()].concat());
    }
}
