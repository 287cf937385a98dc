//! Tensors between code that asks and tract.

use guildhall_protocol::interface::ElementType;
use tract_onnx::prelude::{DatumType, Tensor};

use crate::engine::onnx::tensor;

/// Most dimensions of a tensor; as many as values of ports have.
pub(crate) const RANK_MAX: usize = 16;

/// Types that wasi-nn has a name for.
const NAMED: [ElementType; 6] = [
    ElementType::F16,
    ElementType::F32,
    ElementType::F64,
    ElementType::U8,
    ElementType::I32,
    ElementType::I64,
];

/// A tensor as code hands it over: one of the [`NAMED`] types, little-endian, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) dtype: ElementType,
    pub(crate) dims: Vec<u32>,
    pub(crate) bytes: Vec<u8>,
}

/// Checks that a tensor of this type and shape has so many bytes.
pub(crate) fn check_len(dtype: ElementType, dims: &[u32], len_bytes: usize) -> Result<(), String> {
    let size = tensor::datum_type(dtype)
        .filter(|_| NAMED.contains(&dtype))
        .ok_or("tensors of this type are not taken")?
        .size_of();
    if dims.len() > RANK_MAX {
        return Err(format!("{} dimensions, at most {RANK_MAX} are taken", dims.len()));
    }
    if dims.contains(&0) {
        return Err("a dimension is 0".into());
    }
    let mut sizes = dims.iter().map(|dim| usize::try_from(*dim).ok());
    let wanted = sizes.try_fold(size, |len: usize, dim| len.checked_mul(dim?));
    if wanted == Some(len_bytes) {
        return Ok(());
    }
    Err(format!("its dimensions {dims:?} do not make {len_bytes} bytes"))
}

/// A result as code gets it: of the type that wasi-nn has for it, with one form of NaN. None for texts.
pub(super) fn value(tensor: &Tensor) -> Result<Option<Value>, String> {
    let dtype = match tensor.datum_type() {
        DatumType::String => return Ok(None),
        DatumType::Bool | DatumType::U8 => ElementType::U8,
        DatumType::I8 | DatumType::I16 | DatumType::U16 | DatumType::I32 => ElementType::I32,
        DatumType::U32 | DatumType::I64 | DatumType::TDim => ElementType::I64,
        DatumType::F16 => ElementType::F16,
        DatumType::F32 => ElementType::F32,
        DatumType::F64 => ElementType::F64,
        other => return Err(format!("wasi-nn has no tensors of {other:?}")),
    };
    let dims = tensor.shape().iter().map(|dim| u32::try_from(*dim));
    let dims = dims.collect::<Result<_, _>>().map_err(|_| "it has too many elements")?;
    let mut bytes = tensor::to_bytes(tensor, dtype)?;
    one_nan(dtype, &mut bytes);
    Ok(Some(Value { dtype, dims, bytes }))
}

/// Makes every NaN the same one: which of them an operation gives depends on the processor.
pub(crate) fn one_nan(dtype: ElementType, bytes: &mut [u8]) {
    match dtype {
        ElementType::F16 => each(bytes, |two: [u8; 2]| {
            let is_nan = u16::from_le_bytes(two) & 0x7fff > 0x7c00;
            is_nan.then_some(0x7e00_u16.to_le_bytes())
        }),
        ElementType::F32 => each(bytes, |four: [u8; 4]| {
            let is_nan = u32::from_le_bytes(four) & 0x7fff_ffff > 0x7f80_0000;
            is_nan.then_some(0x7fc0_0000_u32.to_le_bytes())
        }),
        ElementType::F64 => each(bytes, |eight: [u8; 8]| {
            let is_nan = u64::from_le_bytes(eight) & (u64::MAX >> 1) > 0x7ff0_0000_0000_0000;
            is_nan.then_some(0x7ff8_0000_0000_0000_u64.to_le_bytes())
        }),
        _ => {}
    }
}

fn each<const N: usize>(bytes: &mut [u8], other: impl Fn([u8; N]) -> Option<[u8; N]>) {
    let (elements, _) = bytes.as_chunks_mut::<N>();
    for element in elements {
        if let Some(new) = other(*element) {
            *element = new;
        }
    }
}
