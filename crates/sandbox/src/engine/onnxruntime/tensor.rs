//! Between the plain form of values and the library's. Both are little-endian and row-major.

use guildhall_protocol::interface::ElementType;
use half::f16;
use ort::value::{DynMap, DynSequence, DynValue, Shape, Tensor, TensorElementType, ValueType};

use crate::engine::graph::{Elements, Fact, FactKind, Parts, Stacked, Yielded};

/// Our name for one of the library's element types.
fn element_type(dtype: TensorElementType) -> Option<ElementType> {
    Some(match dtype {
        TensorElementType::Bool => ElementType::Bool,
        TensorElementType::Uint8 => ElementType::U8,
        TensorElementType::Int8 => ElementType::I8,
        TensorElementType::Uint16 => ElementType::U16,
        TensorElementType::Int16 => ElementType::I16,
        TensorElementType::Uint32 => ElementType::U32,
        TensorElementType::Int32 => ElementType::I32,
        TensorElementType::Uint64 => ElementType::U64,
        TensorElementType::Int64 => ElementType::I64,
        TensorElementType::Float16 => ElementType::F16,
        TensorElementType::Float32 => ElementType::F32,
        TensorElementType::Float64 => ElementType::F64,
        _ => return None,
    })
}

/// What the library says of a tensor of the graph. No dimensions may mean that it does not know them.
pub(super) fn fact(value_type: &ValueType) -> Result<Fact, String> {
    match value_type {
        ValueType::Tensor { ty, shape, .. } => {
            let kind = match ty {
                TensorElementType::String => FactKind::Texts,
                _ => FactKind::Numbers(
                    element_type(*ty).ok_or_else(|| format!("{ty} has no plain form"))?,
                ),
            };
            let dims = shape.iter().map(|size| u64::try_from(*size).ok()).collect();
            Ok(Fact { kind, dims: (!shape.is_empty()).then_some(dims) })
        }
        ValueType::Sequence(inner) if inner.is_map() => {
            Ok(Fact { kind: FactKind::Scores, dims: None })
        }
        other => Err(format!("a {other} has no plain form")),
    }
}

/// Calls `$body` with `$name` as the Rust type of an element type.
macro_rules! for_type {
    ($dtype:expr, $name:ident => $body:expr) => {
        match $dtype {
            ElementType::U8 => {
                type $name = u8;
                $body
            }
            ElementType::I8 => {
                type $name = i8;
                $body
            }
            ElementType::U16 => {
                type $name = u16;
                $body
            }
            ElementType::I16 => {
                type $name = i16;
                $body
            }
            ElementType::U32 => {
                type $name = u32;
                $body
            }
            ElementType::I32 => {
                type $name = i32;
                $body
            }
            ElementType::U64 => {
                type $name = u64;
                $body
            }
            ElementType::I64 => {
                type $name = i64;
                $body
            }
            ElementType::F16 => {
                type $name = f16;
                $body
            }
            ElementType::F32 => {
                type $name = f32;
                $body
            }
            ElementType::F64 => {
                type $name = f64;
                $body
            }
            other => Err(format!("{other:?} has no tensor")),
        }
    };
}

/// The library's form of stacked records.
pub(super) fn to_library(stacked: Stacked<'_>) -> Result<DynValue, String> {
    let in_words = |error: ort::Error| error.to_string();
    let dims = stacked.dims;
    match stacked.parts {
        Parts::Texts(texts) => {
            let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
            let tensor = Tensor::from_string_array((dims, texts.as_slice()));
            tensor.map(|tensor| tensor.into_dyn()).map_err(in_words)
        }
        Parts::Numbers(ElementType::Bool, parts) => {
            let bools: Vec<bool> = parts.concat().into_iter().map(|byte| byte != 0).collect();
            Tensor::from_array((dims, bools)).map(|tensor| tensor.into_dyn()).map_err(in_words)
        }
        Parts::Numbers(dtype, parts) => for_type!(dtype, T => {
            let read = |chunk: &[u8]| T::from_le_bytes(chunk.try_into().unwrap_or_default());
            let len = parts.iter().map(|part| part.len() / size_of::<T>()).sum();
            let mut elements: Vec<T> = Vec::with_capacity(len);
            for part in parts {
                elements.extend(part.chunks_exact(size_of::<T>()).map(read));
            }
            Tensor::from_array((dims, elements)).map(|tensor| tensor.into_dyn()).map_err(in_words)
        }),
    }
}

/// What came out, in our form.
pub(super) fn from_library(value: DynValue) -> Result<Yielded, String> {
    let in_words = |error: ort::Error| error.to_string();
    match value.dtype().clone() {
        ValueType::Tensor { ty: TensorElementType::String, .. } => {
            let (shape, texts) = value.try_extract_strings().map_err(in_words)?;
            Ok(Yielded::Tensor { dims: sizes(shape)?, elements: Elements::Texts(texts) })
        }
        ValueType::Tensor { ty, .. } => {
            let dtype = element_type(ty).ok_or_else(|| format!("{ty} has no plain form"))?;
            if dtype == ElementType::Bool {
                let (shape, bools) = value.try_extract_tensor::<bool>().map_err(in_words)?;
                let bytes = bools.iter().map(|is_set| u8::from(*is_set)).collect();
                let elements = Elements::Numbers(dtype, bytes);
                return Ok(Yielded::Tensor { dims: sizes(shape)?, elements });
            }
            for_type!(dtype, T => {
                let (shape, elements) = value.try_extract_tensor::<T>().map_err(in_words)?;
                let mut bytes = Vec::with_capacity(size_of_val(elements));
                for element in elements {
                    bytes.extend_from_slice(&element.to_le_bytes());
                }
                let elements = Elements::Numbers(dtype, bytes);
                Ok(Yielded::Tensor { dims: sizes(shape)?, elements })
            })
        }
        ValueType::Sequence(_) => {
            let maps: DynSequence = value.downcast().map_err(in_words)?;
            let maps = maps.try_extract_sequence().map_err(in_words)?;
            maps.iter().map(scores).collect::<Result<_, _>>().map(Yielded::Scores)
        }
        other => Err(format!("a {other} has no plain form")),
    }
}

fn sizes(shape: &Shape) -> Result<Vec<usize>, String> {
    let size = |size: &i64| usize::try_from(*size).map_err(|_| "a size is negative".to_owned());
    shape.iter().map(size).collect()
}

/// A map from class to score; classes that are numbers become their decimal form. Ordered as the library has it, which is
/// by class.
fn scores(map: &DynMap) -> Result<Vec<(String, f64)>, String> {
    let in_words = |error: ort::Error| error.to_string();
    let ValueType::Map { key, value } = map.dtype() else {
        return Err("a list of something else than maps".into());
    };
    // A single-precision score becomes the double that prints the same.
    let widen = |score: f32| score.to_string().parse().unwrap_or_else(|_| f64::from(score));
    match (key, value) {
        (TensorElementType::String, TensorElementType::Float32) => {
            let scores = map.try_extract_key_values::<String, f32>().map_err(in_words)?;
            Ok(scores.into_iter().map(|(class, score)| (class, widen(score))).collect())
        }
        (TensorElementType::Int64, TensorElementType::Float32) => {
            let scores = map.try_extract_key_values::<i64, f32>().map_err(in_words)?;
            Ok(scores.into_iter().map(|(class, score)| (class.to_string(), widen(score))).collect())
        }
        (TensorElementType::String, TensorElementType::Float64) => {
            map.try_extract_key_values::<String, f64>().map_err(in_words)
        }
        (TensorElementType::Int64, TensorElementType::Float64) => {
            let scores = map.try_extract_key_values::<i64, f64>().map_err(in_words)?;
            Ok(scores.into_iter().map(|(class, score)| (class.to_string(), score)).collect())
        }
        (key, value) => Err(format!("a map from {key} to {value} has no plain form")),
    }
}
