//! Tensors as rows of numbers, and class labels as nodes write them.

use std::borrow::Cow;

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// Most numbers that one kernel puts out: a backstop against parameters that multiply. 4 GiB of `f32`.
const OUTPUT_MAX_ELEMENTS: usize = 1 << 30;

/// The elements of a tensor of `T`.
pub(super) fn slice<T: Datum>(tensor: &Tensor) -> TractResult<&[T]> {
    tensor.try_as_plain_ram()?.as_slice::<T>()
}

/// The elements as single-precision numbers.
pub(super) fn floats(tensor: &Tensor) -> TractResult<Cow<'_, [f32]>> {
    if tensor.datum_type() == DatumType::F32 {
        return Ok(Cow::Borrowed(slice::<f32>(tensor)?));
    }
    if tensor.datum_type() == DatumType::String {
        bail!("it takes numbers, not texts");
    }
    let cast = tensor.cast_to::<f32>()?;
    Ok(Cow::Owned(slice::<f32>(&cast)?.to_vec()))
}

/// The only input.
pub(super) fn only<T>(inputs: &[T]) -> TractResult<&T> {
    match inputs {
        [one] => Ok(one),
        other => bail!("it takes one input, not {}", other.len()),
    }
}

/// Rows and columns; a single dimension is one row.
pub(super) fn table(tensor: &Tensor) -> TractResult<(usize, usize)> {
    match tensor.shape() {
        [columns] => Ok((1, *columns)),
        [rows, columns] => Ok((*rows, *columns)),
        other => bail!("it takes rows and columns, not {} dimensions", other.len()),
    }
}

/// How many numbers a result has.
pub(super) fn volume(sizes: &[usize]) -> TractResult<usize> {
    sizes
        .iter()
        .try_fold(1_usize, |product, size| product.checked_mul(*size))
        .filter(|volume| *volume <= OUTPUT_MAX_ELEMENTS)
        .context("its output is too large")
}

/// A tensor of these elements.
pub(super) fn made<T: Datum>(shape: &[usize], elements: Vec<T>) -> TractResult<Tensor> {
    Ok(tract_ndarray::ArrayD::from_shape_vec(shape, elements)?.into_tensor())
}

/// The classes of a classifier, in the order of its scores.
#[derive(Clone, Debug)]
pub(super) enum Labels {
    Numbers(Vec<i64>),
    Texts(Vec<String>),
}

impl Labels {
    /// From the two attributes of which a node has one.
    pub(super) fn read(node: &NodeProto, numbers: &str, texts: &str) -> TractResult<Self> {
        let numbers = node.get_attr_opt_slice::<i64>(numbers)?.unwrap_or_default();
        let texts = node.get_attr_opt_vec::<String>(texts)?.unwrap_or_default();
        match (numbers, texts.as_slice()) {
            ([], []) => bail!("it has no class labels"),
            (numbers, []) => Ok(Self::Numbers(numbers.to_vec())),
            ([], _) => Ok(Self::Texts(texts)),
            _ => bail!("its class labels are numbers and texts at once"),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Numbers(labels) => labels.len(),
            Self::Texts(labels) => labels.len(),
        }
    }

    pub(super) const fn dtype(&self) -> DatumType {
        match self {
            Self::Numbers(_) => DatumType::I64,
            Self::Texts(_) => DatumType::String,
        }
    }

    /// The labels with these positions, as a tensor of one dimension.
    pub(super) fn pick(&self, positions: &[usize]) -> TractResult<Tensor> {
        let beyond = "a class that has no label";
        match self {
            Self::Numbers(labels) => {
                let picked = positions.iter().map(|at| labels.get(*at).copied());
                made(&[positions.len()], picked.collect::<Option<Vec<_>>>().context(beyond)?)
            }
            Self::Texts(labels) => {
                let picked = positions.iter().map(|at| labels.get(*at).cloned());
                made(&[positions.len()], picked.collect::<Option<Vec<_>>>().context(beyond)?)
            }
        }
    }
}
