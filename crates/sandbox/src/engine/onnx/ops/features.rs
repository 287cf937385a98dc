//! Operators that prepare features: scale, fill, pick and join.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::rows::{floats, made, only, slice, volume};
use super::{Kernel, Meta};

/// `ai.onnx.ml.Scaler`: subtracts an offset, multiplies by a scale.
#[derive(Debug)]
pub(super) struct Scaler {
    offset: Vec<f32>,
    scale: Vec<f32>,
}

impl Kernel for Scaler {
    const NAME: &'static str = "Scaler";

    fn build(_: &ParsingContext<'_>, node: &NodeProto) -> TractResult<Self> {
        let read = |name: &str, usual: f32| -> TractResult<Vec<f32>> {
            let given = node.get_attr_opt_vec::<f32>(name)?.unwrap_or_default();
            Ok(if given.is_empty() { vec![usual] } else { given })
        };
        Ok(Self { offset: read("offset", 0.0)?, scale: read("scale", 1.0)? })
    }

    fn outputs(&self, inputs: &[Meta]) -> TractResult<Vec<Meta>> {
        Ok(vec![Meta::new(DatumType::F32, only(inputs)?.shape.iter().cloned())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(inputs)?;
        let values = floats(input)?;
        let columns = input.shape().last().copied().unwrap_or(1);
        let offset = columnwise(&self.offset, columns)?;
        let scale = columnwise(&self.scale, columns)?;
        let scaled = values
            .chunks(columns.max(1))
            .flat_map(|row| {
                row.iter()
                    .zip(&offset)
                    .zip(&scale)
                    .map(|((value, offset), scale)| (value - offset) * scale)
            })
            .collect();
        Ok(vec![made(input.shape(), scaled)?])
    }
}

/// One parameter for each column, or one for all.
fn columnwise<T: Clone>(given: &[T], columns: usize) -> TractResult<Vec<T>> {
    match given {
        [one] => Ok(vec![one.clone(); columns]),
        all if all.len() == columns => Ok(all.to_vec()),
        all => bail!("{} parameters for {columns} columns", all.len()),
    }
}

/// `ai.onnx.ml.Imputer`: fills what is missing.
#[derive(Debug)]
pub(super) struct Imputer {
    floats: Vec<f32>,
    integers: Vec<i64>,
    missing_float: f32,
    missing_integer: i64,
}

impl Kernel for Imputer {
    const NAME: &'static str = "Imputer";

    fn build(_: &ParsingContext<'_>, node: &NodeProto) -> TractResult<Self> {
        let made = Self {
            floats: node.get_attr_opt_vec("imputed_value_floats")?.unwrap_or_default(),
            integers: node.get_attr_opt_vec("imputed_value_int64s")?.unwrap_or_default(),
            missing_float: node.get_attr_opt("replaced_value_float")?.unwrap_or(f32::NAN),
            missing_integer: node.get_attr_opt("replaced_value_int64")?.unwrap_or(0),
        };
        if made.floats.is_empty() == made.integers.is_empty() {
            bail!("it fills with numbers of one type, and says which");
        }
        Ok(made)
    }

    fn outputs(&self, inputs: &[Meta]) -> TractResult<Vec<Meta>> {
        Ok(vec![only(inputs)?.clone()])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(inputs)?;
        let columns = input.shape().last().copied().unwrap_or(1);
        let filled = match input.datum_type() {
            DatumType::I64 => {
                let by = columnwise(&self.integers, columns)?;
                let is_missing = |value: &i64| *value == self.missing_integer;
                made(input.shape(), fill(slice::<i64>(input)?, &by, is_missing))?
            }
            DatumType::F64 => {
                let by: Vec<f64> =
                    columnwise(&self.floats, columns)?.into_iter().map(f64::from).collect();
                let missing = f64::from(self.missing_float);
                let is_missing = |value: &f64| is_same(*value, missing);
                made(input.shape(), fill(slice::<f64>(input)?, &by, is_missing))?
            }
            DatumType::F32 => {
                let by = columnwise(&self.floats, columns)?;
                let missing = f64::from(self.missing_float);
                let is_missing = |value: &f32| is_same(f64::from(*value), missing);
                made(input.shape(), fill(slice::<f32>(input)?, &by, is_missing))?
            }
            other => bail!("it does not fill {other:?}"),
        };
        Ok(vec![filled])
    }
}

fn is_same(value: f64, missing: f64) -> bool {
    value.total_cmp(&missing).is_eq() || value == missing || value.is_nan() && missing.is_nan()
}

fn fill<T: Copy>(values: &[T], by: &[T], is_missing: impl Fn(&T) -> bool) -> Vec<T> {
    values
        .chunks(by.len().max(1))
        .flat_map(|row| {
            row.iter()
                .zip(by)
                .map(|(value, fill)| if is_missing(value) { *fill } else { *value })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// `ai.onnx.ml.Binarizer`: one where a value is above the threshold, zero elsewhere.
#[derive(Debug)]
pub(super) struct Binarizer {
    threshold: f32,
}

impl Kernel for Binarizer {
    const NAME: &'static str = "Binarizer";

    fn build(_: &ParsingContext<'_>, node: &NodeProto) -> TractResult<Self> {
        Ok(Self { threshold: node.get_attr_opt("threshold")?.unwrap_or(0.0) })
    }

    fn outputs(&self, inputs: &[Meta]) -> TractResult<Vec<Meta>> {
        Ok(vec![only(inputs)?.clone()])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(inputs)?;
        let above = |value: &f32| if *value > self.threshold { 1.0 } else { 0.0 };
        let values: Vec<f32> = floats(input)?.iter().map(above).collect();
        let tensor = made(input.shape(), values)?;
        Ok(vec![tensor.cast_to_dt(input.datum_type())?.into_owned()])
    }
}

/// `ai.onnx.ml.Normalizer`: each row divided by its norm.
#[derive(Debug)]
pub(super) struct Normalizer {
    norm: Norm,
}

#[derive(Clone, Copy, Debug)]
enum Norm {
    Max,
    L1,
    L2,
}

impl Kernel for Normalizer {
    const NAME: &'static str = "Normalizer";

    fn build(_: &ParsingContext<'_>, node: &NodeProto) -> TractResult<Self> {
        let norm = match node.get_attr_opt::<&str>("norm")?.unwrap_or("MAX") {
            "MAX" => Norm::Max,
            "L1" => Norm::L1,
            "L2" => Norm::L2,
            other => bail!("no norm is named `{other}`"),
        };
        Ok(Self { norm })
    }

    fn outputs(&self, inputs: &[Meta]) -> TractResult<Vec<Meta>> {
        Ok(vec![Meta::new(DatumType::F32, only(inputs)?.shape.iter().cloned())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(inputs)?;
        let mut values = floats(input)?.into_owned();
        for row in values.chunks_mut(input.shape().last().copied().unwrap_or(1).max(1)) {
            let norm = match self.norm {
                Norm::Max => row.iter().copied().fold(0.0, |top, value| value.abs().max(top)),
                Norm::L1 => row.iter().map(|value| value.abs()).sum(),
                Norm::L2 => row.iter().map(|value| value * value).sum::<f32>().sqrt(),
            };
            if norm != 0.0 {
                row.iter_mut().for_each(|value| *value /= norm);
            }
        }
        Ok(vec![made(input.shape(), values)?])
    }
}

/// `ai.onnx.ml.FeatureVectorizer`: columns of several tensors side by side.
#[derive(Debug)]
pub(super) struct FeatureVectorizer;

impl Kernel for FeatureVectorizer {
    const NAME: &'static str = "FeatureVectorizer";

    fn build(_: &ParsingContext<'_>, _: &NodeProto) -> TractResult<Self> {
        Ok(Self)
    }

    fn outputs(&self, inputs: &[Meta]) -> TractResult<Vec<Meta>> {
        let mut width = 0.to_dim();
        let mut height = None;
        for input in inputs {
            let (rows, columns) = input.table()?;
            width += columns;
            height.get_or_insert(rows);
        }
        let height = height.context("it has no input")?;
        Ok(vec![Meta::new(DatumType::F32, [height, width])])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let mut parts = Vec::new();
        for input in inputs {
            let (rows, columns) = super::rows::table(input)?;
            parts.push((rows, columns, floats(input)?));
        }
        let height = parts.first().map(|(rows, ..)| *rows).context("it has no input")?;
        if parts.iter().any(|(rows, ..)| *rows != height) {
            bail!("its inputs have different numbers of rows");
        }
        let width = parts.iter().map(|(_, columns, _)| *columns).sum();
        let mut joined: Vec<f32> = Vec::with_capacity(volume(&[height, width])?);
        for row in 0..height {
            for (_, columns, values) in &parts {
                joined.extend(values.iter().skip(row * columns).take(*columns));
            }
        }
        Ok(vec![made(&[height, width], joined)?])
    }
}

/// `ai.onnx.ml.ArrayFeatureExtractor`: the elements at some places of the last dimension.
#[derive(Debug)]
pub(super) struct ArrayFeatureExtractor;

impl Kernel for ArrayFeatureExtractor {
    const NAME: &'static str = "ArrayFeatureExtractor";

    fn build(_: &ParsingContext<'_>, _: &NodeProto) -> TractResult<Self> {
        Ok(Self)
    }

    fn outputs(&self, inputs: &[Meta]) -> TractResult<Vec<Meta>> {
        let [values, places] = inputs else { bail!("it takes values and places") };
        let count: TDim = places.shape.iter().product();
        let mut shape = values.shape.clone();
        if shape.pop().is_none() {
            bail!("a single value has no places");
        }
        if shape.is_empty() {
            shape.push(1.to_dim());
        }
        shape.push(count);
        Ok(vec![Meta { dtype: values.dtype, shape }])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let [values, places] = inputs else { bail!("it takes values and places") };
        let places = places.cast_to::<i64>()?;
        let places = slice::<i64>(&places)?;
        let width = values.shape().last().copied().context("a single value has no places")?;
        let places: Option<Vec<usize>> = places
            .iter()
            .map(|place| usize::try_from(*place).ok().filter(|place| *place < width))
            .collect();
        let places = places.with_context(|| format!("a place beyond {width} columns"))?;
        let mut shape: TVec<usize> = values.shape().iter().copied().rev().skip(1).collect();
        shape.reverse();
        if shape.is_empty() {
            shape.push(1);
        }
        shape.push(places.len());
        volume(&shape)?;
        dispatch_datum!(picked(values.datum_type())(values, width, &places, &shape))
            .map(|tensor| vec![tensor])
    }
}

fn picked<T: Datum>(
    values: &Tensor,
    width: usize,
    places: &[usize],
    shape: &[usize],
) -> TractResult<Tensor> {
    let picked: Vec<T> = slice::<T>(values)?
        .chunks(width.max(1))
        .flat_map(|row| places.iter().filter_map(|place| row.get(*place).cloned()))
        .collect();
    made(shape, picked)
}
