//! What a graph yields, as a list of predictions.
//!
//! Class names come from what the graph says where it says them (a tensor of text, a map from class to score), and from
//! the port's labels otherwise: in the order of a row of scores, or named by a whole number that is itself a label
//! (`7` for the label `7`) or else the place of one.

use guildhall_protocol::interface::{
    ElementType, Prediction, PredictionKind, PredictionType, PredictionValue,
};

use super::{Elements, Fact, FactKind, Yielded};

/// Whether such a tensor can become such predictions.
pub(super) fn check(port: &PredictionType, fact: &Fact) -> Result<(), String> {
    if port.location.is_some() {
        return Err("a graph's predictions have no location".into());
    }
    let last = fact.dims.as_ref().and_then(|dims| dims.last().copied().flatten());
    match (port.value, fact.kind) {
        (PredictionKind::Class, FactKind::Numbers(dtype)) => {
            if port.labels.is_empty() {
                return Err("its port has no label set".into());
            }
            let labels = port.labels.len();
            match last {
                Some(scores) if is_float(dtype) && scores != labels as u64 => {
                    Err(format!("{scores} scores for {labels} labels"))
                }
                _ if dtype == ElementType::Bool => Err("a bool is no score".into()),
                _ => Ok(()),
            }
        }
        (PredictionKind::Class | PredictionKind::Text, FactKind::Texts)
        | (PredictionKind::Class | PredictionKind::Vector, FactKind::Scores) => Ok(()),
        (PredictionKind::Number | PredictionKind::Vector, FactKind::Numbers(dtype))
            if dtype != ElementType::Bool =>
        {
            Ok(())
        }
        (kind, _) => Err(format!("{fact} makes no prediction of a {kind}")),
    }
}

const fn is_float(dtype: ElementType) -> bool {
    matches!(dtype, ElementType::F16 | ElementType::F32 | ElementType::F64)
}

/// The JSON form of predictions: one for each row of a tensor, or for each list of scores.
pub(super) fn to_json(port: &PredictionType, yielded: Yielded) -> Result<Vec<u8>, String> {
    let found: Vec<(PredictionValue, Option<f64>)> = match yielded {
        Yielded::Scores(scores) => {
            scores.into_iter().map(|scores| of_scores(port, scores)).collect::<Result<_, _>>()?
        }
        Yielded::Tensor { elements: Elements::Texts(texts), .. } => {
            let value = |text| match port.value {
                PredictionKind::Class => Ok((PredictionValue::Class(text), None)),
                PredictionKind::Text => Ok((PredictionValue::Text(text), None)),
                kind => Err(format!("text makes no prediction of a {kind}")),
            };
            texts.into_iter().map(value).collect::<Result<_, _>>()?
        }
        Yielded::Tensor { dims, elements: Elements::Numbers(dtype, bytes) } => {
            of_numbers(port, dtype, &dims, &bytes)?
        }
    };
    let predictions: Vec<Prediction> = found
        .into_iter()
        .zip(0..)
        .map(|((value, confidence), input)| Prediction { input, value, location: None, confidence })
        .collect();
    serde_json::to_vec(&predictions).map_err(|error| error.to_string())
}

fn of_scores(
    port: &PredictionType,
    scores: Vec<(String, f64)>,
) -> Result<(PredictionValue, Option<f64>), String> {
    let (classes, row): (Vec<String>, Vec<f64>) = scores.into_iter().unzip();
    match port.value {
        PredictionKind::Class if !row.is_empty() => Ok(best(&row, &classes)),
        PredictionKind::Vector if port.labels.is_empty() => {
            Ok((PredictionValue::Vector(row), None))
        }
        PredictionKind::Vector => {
            let score_of = |label: &String| {
                let at = classes.iter().position(|class| class == label)?;
                row.get(at).copied()
            };
            let scores: Option<Vec<f64>> = port.labels.iter().map(score_of).collect();
            let scores = scores.ok_or("a label has no score")?;
            Ok((PredictionValue::Vector(scores), None))
        }
        kind => Err(format!("{} scores make no prediction of a {kind}", row.len())),
    }
}

fn of_numbers(
    port: &PredictionType,
    dtype: ElementType,
    dims: &[usize],
    bytes: &[u8],
) -> Result<Vec<(PredictionValue, Option<f64>)>, String> {
    if port.value == PredictionKind::Class && !is_float(dtype) {
        let name = |number| Ok((PredictionValue::Class(label(number, &port.labels)?), None));
        return integers(dtype, bytes)?.into_iter().map(name).collect();
    }
    let numbers = numbers(dtype, bytes)?;
    let width = match port.value {
        PredictionKind::Class => port.labels.len(),
        PredictionKind::Vector => dims.last().copied().unwrap_or(1),
        PredictionKind::Number => 1,
        PredictionKind::Text => return Err("numbers make no prediction of a text".into()),
    };
    if width == 0 || !numbers.len().is_multiple_of(width) {
        return Err(format!("{} numbers do not make rows of {width}", numbers.len()));
    }
    let value = |row: &[f64]| match port.value {
        PredictionKind::Class => best(row, &port.labels),
        PredictionKind::Vector => (PredictionValue::Vector(row.to_vec()), None),
        _ => (PredictionValue::Number(row.first().copied().unwrap_or_default()), None),
    };
    Ok(numbers.chunks(width).map(value).collect())
}

/// The class with the highest score, the first of equals. A score between 0 and 1 is taken for its probability.
fn best(row: &[f64], labels: &[String]) -> (PredictionValue, Option<f64>) {
    let mut at = 0;
    for (other, score) in row.iter().enumerate() {
        if row.get(at).is_none_or(|best| score > best || best.is_nan()) {
            at = other;
        }
    }
    let class = labels.get(at).cloned().unwrap_or_default();
    let confidence = row.get(at).copied().filter(|score| (0.0..=1.0).contains(score));
    (PredictionValue::Class(class), confidence)
}

/// The label that a whole number names.
fn label(number: i128, labels: &[String]) -> Result<String, String> {
    let itself = number.to_string();
    if labels.contains(&itself) {
        return Ok(itself);
    }
    usize::try_from(number)
        .ok()
        .and_then(|at| labels.get(at).cloned())
        .ok_or_else(|| format!("class {number} is neither a label nor the place of one"))
}

/// Calls `$each` with every element of `$bytes`, as the Rust type of its element type.
macro_rules! for_elements {
    ($dtype:expr, $bytes:expr, { $($name:ident => $type:ty),* $(,)? }, $each:expr) => {
        match $dtype {
            $(ElementType::$name => {
                let chunks = $bytes.chunks_exact(size_of::<$type>());
                let element = |chunk: &[u8]| {
                    <$type>::from_le_bytes(chunk.try_into().unwrap_or_default())
                };
                Ok(chunks.map(element).map($each).collect())
            })*
            other => Err(format!("{other:?} is no such number")),
        }
    };
}

fn integers(dtype: ElementType, bytes: &[u8]) -> Result<Vec<i128>, String> {
    for_elements!(dtype, bytes, {
        U8 => u8, I8 => i8, U16 => u16, I16 => i16, U32 => u32, I32 => i32, U64 => u64, I64 => i64,
    }, i128::from)
}

/// The elements as numbers. A single-precision number becomes the double that prints the same, not the one that is
/// nearest: 0.1, not 0.10000000149.
#[expect(
    clippy::cast_precision_loss,
    reason = "a prediction is a double, whatever the graph counts in"
)]
fn numbers(dtype: ElementType, bytes: &[u8]) -> Result<Vec<f64>, String> {
    let same_print = |value: f32| value.to_string().parse().unwrap_or_else(|_| f64::from(value));
    match dtype {
        ElementType::F16 => {
            let half =
                |chunk: &[u8]| half::f16::from_le_bytes(chunk.try_into().unwrap_or_default());
            Ok(bytes.chunks_exact(2).map(half).map(|value| same_print(value.to_f32())).collect())
        }
        ElementType::F32 => for_elements!(dtype, bytes, { F32 => f32 }, same_print),
        ElementType::F64 => for_elements!(dtype, bytes, { F64 => f64 }, |value| value),
        _ => Ok(integers(dtype, bytes)?.into_iter().map(|value| value as f64).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_score_names_the_class() {
        let labels: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let class = |name: &str| PredictionValue::Class(name.into());
        assert_eq!(best(&[0.1, 0.7, 0.2], &labels), (class("b"), Some(0.7)));
        assert_eq!(best(&[0.4, 0.4, 0.2], &labels), (class("a"), Some(0.4)));
        assert_eq!(best(&[-3.0, 9.5, 2.0], &labels), (class("b"), None));
        assert_eq!(best(&[f64::NAN, 0.5, 0.2], &labels), (class("b"), Some(0.5)));
    }

    #[test]
    fn numbers_print_as_the_graph_would_print_them() {
        assert_eq!(numbers(ElementType::F32, &0.1_f32.to_le_bytes()), Ok(vec![0.1]));
        assert_eq!(numbers(ElementType::U8, &[7, 255]), Ok(vec![7.0, 255.0]));
        assert_eq!(numbers(ElementType::F16, &[0x00, 0x3c]), Ok(vec![1.0]));
        assert!(numbers(ElementType::Bool, &[1]).is_err());
    }
}
