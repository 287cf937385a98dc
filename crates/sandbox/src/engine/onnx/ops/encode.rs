//! Operators that turn categories into numbers and back.

use std::collections::HashMap;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::tract_hir::internal::*;

use super::rows::{floats, made, only, slice, volume};
use super::{Kernel, Meta};

/// A category as a key: floats by their bits, with one NaN and one zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Text(String),
    Integer(i64),
    Float(u64),
}

fn float_key(value: f64) -> Key {
    Key::Float(match value {
        value if value.is_nan() => f64::NAN.to_bits(),
        0.0 => 0.0_f64.to_bits(),
        value => value.to_bits(),
    })
}

/// The elements of a tensor as keys.
fn keys(tensor: &Tensor) -> TractResult<Vec<Key>> {
    Ok(match tensor.datum_type() {
        DatumType::String => slice::<String>(tensor)?.iter().cloned().map(Key::Text).collect(),
        DatumType::F64 => slice::<f64>(tensor)?.iter().map(|value| float_key(*value)).collect(),
        dtype if dtype.is_float() => {
            floats(tensor)?.iter().map(|value| float_key(f64::from(*value))).collect()
        }
        _ => {
            let cast = tensor.cast_to::<i64>()?;
            slice::<i64>(&cast)?.iter().copied().map(Key::Integer).collect()
        }
    })
}

/// `ai.onnx.ml.LabelEncoder`: each element replaced by what belongs to it.
#[derive(Debug)]
pub(super) struct LabelEncoder {
    places: HashMap<Key, usize>,
    /// What belongs to the keys, and behind it what belongs to all others.
    values: Tensor,
    /// Keys are texts, or numbers with or without a fraction.
    takes: DatumType,
}

impl Kernel for LabelEncoder {
    const NAME: &'static str = "LabelEncoder";

    fn build(ctx: &ParsingContext<'_>, node: &NodeProto) -> TractResult<Self> {
        if let Some(classes) = node.get_attr_opt_vec::<String>("classes_strings")? {
            bail!("the {} classes of an old version need a newer export", classes.len());
        }
        let keys_tensor = list(ctx, node, "keys")?.context("it has no keys")?;
        let values = list(ctx, node, "values")?.context("it has no values")?;
        if keys_tensor.len() != values.len() {
            bail!("{} keys for {} values", keys_tensor.len(), values.len());
        }
        let fallback = fallback(ctx, node, values.datum_type())?;
        let values = values.into_shape(&[keys_tensor.len()])?;
        let values = Tensor::stack_tensors(0, &[values, fallback])?;
        let mut places = HashMap::new();
        for (at, key) in keys(&keys_tensor)?.into_iter().enumerate() {
            places.entry(key).or_insert(at);
        }
        Ok(Self { places, values, takes: keys_tensor.datum_type() })
    }

    fn outputs(&self, inputs: &[Meta]) -> TractResult<Vec<Meta>> {
        let input = only(inputs)?;
        if (input.dtype == DatumType::String) != (self.takes == DatumType::String) {
            bail!("its keys are {:?}, its input is {:?}", self.takes, input.dtype);
        }
        Ok(vec![Meta::new(self.values.datum_type(), input.shape.iter().cloned())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(inputs)?;
        let last = self.values.len().saturating_sub(1);
        let same = if self.takes.is_float() && !input.datum_type().is_float() {
            input.cast_to::<f32>()?
        } else if !self.takes.is_float() && input.datum_type().is_float() {
            input.cast_to::<i64>()?
        } else {
            std::borrow::Cow::Borrowed(*input)
        };
        let found: Vec<usize> =
            keys(&same)?.iter().map(|key| self.places.get(key).copied().unwrap_or(last)).collect();
        dispatch_datum!(looked_up(self.values.datum_type())(&self.values, &found, input.shape()))
            .map(|tensor| vec![tensor])
    }
}

fn looked_up<T: Datum>(values: &Tensor, found: &[usize], shape: &[usize]) -> TractResult<Tensor> {
    let values = slice::<T>(values)?;
    made(shape, found.iter().filter_map(|at| values.get(*at).cloned()).collect())
}

/// The keys or values, in whichever attribute they are.
fn list(ctx: &ParsingContext<'_>, node: &NodeProto, side: &str) -> TractResult<Option<Tensor>> {
    if let Some(tensor) = node.get_attr_opt::<&TensorProto>(&format!("{side}_tensor"))? {
        let tensor = ctx.load_tensor(tensor)?;
        let len = tensor.len();
        return Ok(Some(tensor.into_shape(&[len])?));
    }
    if let Some(texts) = node.get_attr_opt_vec::<String>(&format!("{side}_strings"))? {
        return Ok(Some(tensor1(&texts)));
    }
    if let Some(numbers) = node.get_attr_opt_slice::<i64>(&format!("{side}_int64s"))? {
        return Ok(Some(tensor1(numbers)));
    }
    Ok(node.get_attr_opt_slice::<f32>(&format!("{side}_floats"))?.map(tensor1))
}

/// What belongs to a key that is not there.
fn fallback(ctx: &ParsingContext<'_>, node: &NodeProto, dtype: DatumType) -> TractResult<Tensor> {
    if let Some(tensor) = node.get_attr_opt::<&TensorProto>("default_tensor")? {
        let tensor = ctx.load_tensor(tensor)?;
        if tensor.len() != 1 || tensor.datum_type() != dtype {
            bail!("its default is not one {dtype:?}");
        }
        return tensor.into_shape(&[1]);
    }
    Ok(match dtype {
        DatumType::String => {
            let text = node.get_attr_opt::<String>("default_string")?;
            tensor1(&[text.unwrap_or_else(|| "_Unused".to_owned())])
        }
        DatumType::I64 => tensor1(&[node.get_attr_opt::<i64>("default_int64")?.unwrap_or(-1)]),
        dtype if dtype.is_float() => {
            let number = node.get_attr_opt::<f32>("default_float")?.unwrap_or(-0.0);
            tensor1(&[number]).cast_to_dt(dtype)?.into_owned()
        }
        dtype => Tensor::zero_dt(dtype, &[1])?,
    })
}

/// `ai.onnx.ml.OneHotEncoder`: a column for each category.
#[derive(Debug)]
pub(super) struct OneHotEncoder {
    places: HashMap<Key, usize>,
    width: usize,
    zeros: bool,
    takes_texts: bool,
}

impl Kernel for OneHotEncoder {
    const NAME: &'static str = "OneHotEncoder";

    fn build(_: &ParsingContext<'_>, node: &NodeProto) -> TractResult<Self> {
        let numbers = node.get_attr_opt_vec::<i64>("cats_int64s")?.unwrap_or_default();
        let texts = node.get_attr_opt_vec::<String>("cats_strings")?.unwrap_or_default();
        if numbers.is_empty() == texts.is_empty() {
            bail!("its categories are numbers or texts, and at least one");
        }
        let takes_texts = numbers.is_empty();
        let all: Vec<Key> =
            numbers.into_iter().map(Key::Integer).chain(texts.into_iter().map(Key::Text)).collect();
        let width = all.len();
        let mut places = HashMap::new();
        for (at, key) in all.into_iter().enumerate() {
            places.entry(key).or_insert(at);
        }
        let zeros = node.get_attr_opt::<i64>("zeros")?.unwrap_or(1) != 0;
        Ok(Self { places, width, zeros, takes_texts })
    }

    fn outputs(&self, inputs: &[Meta]) -> TractResult<Vec<Meta>> {
        let input = only(inputs)?;
        if (input.dtype == DatumType::String) != self.takes_texts {
            bail!("its categories are of another type than its input, {:?}", input.dtype);
        }
        let width = self.width.to_dim();
        Ok(vec![Meta::new(DatumType::F32, input.shape.iter().cloned().chain([width]))])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(inputs)?;
        let same = if input.datum_type().is_float() {
            input.cast_to::<i64>()?
        } else {
            std::borrow::Cow::Borrowed(*input)
        };
        let mut ones = vec![0.0_f32; volume(&[input.len(), self.width])?];
        for (row, key) in ones.chunks_mut(self.width).zip(keys(&same)?) {
            match self.places.get(&key).and_then(|at| row.get_mut(*at)) {
                Some(cell) => *cell = 1.0,
                None if self.zeros => {}
                None => bail!("the category {key:?} is unknown"),
            }
        }
        let shape: Vec<usize> = input.shape().iter().copied().chain([self.width]).collect();
        Ok(vec![made(&shape, ones)?])
    }
}
