//! Between the plain form of values and tract's tensors. Both are little-endian and row-major.

use guildhall_protocol::interface::{
    ElementType, Prediction, PredictionKind, PredictionType, PredictionValue,
};
use tract_onnx::prelude::{Datum, DatumType, IntoTensor, Tensor, tract_ndarray};

use super::bind::Classes;

/// How far probabilities of single precision may be from adding up to 1.
const SUM_TOLERANCE: f64 = 1e-3;

/// How far a probability that was added up in single precision may be outside 0 to 1.
const EDGE_TOLERANCE: f64 = 1e-5;

/// tract's name for an element type.
pub(super) const fn datum_type(dtype: ElementType) -> Option<DatumType> {
    Some(match dtype {
        ElementType::Bool => DatumType::Bool,
        ElementType::U8 => DatumType::U8,
        ElementType::I8 => DatumType::I8,
        ElementType::U16 => DatumType::U16,
        ElementType::I16 => DatumType::I16,
        ElementType::U32 => DatumType::U32,
        ElementType::I32 => DatumType::I32,
        ElementType::U64 => DatumType::U64,
        ElementType::I64 => DatumType::I64,
        ElementType::F16 => DatumType::F16,
        ElementType::F32 => DatumType::F32,
        ElementType::F64 => DatumType::F64,
        ElementType::Text => DatumType::String,
        _ => return None,
    })
}

/// Our name for one of tract's element types.
pub(super) fn element_type(dtype: DatumType) -> Option<ElementType> {
    use ElementType::{Bool, F16, F32, F64, I8, I16, I32, I64, Text, U8, U16, U32, U64};
    [Bool, U8, I8, U16, I16, U32, I32, U64, I64, F16, F32, F64, Text]
        .into_iter()
        .find(|ours| datum_type(*ours) == Some(dtype))
}

fn said(error: tract_onnx::prelude::TractError) -> String {
    format!("{error:#}")
}

/// A tensor of these elements.
pub(super) fn made<T: Datum>(shape: &[usize], elements: Vec<T>) -> Result<Tensor, String> {
    let array = tract_ndarray::ArrayD::from_shape_vec(shape, elements);
    array.map(IntoTensor::into_tensor).map_err(|error| error.to_string())
}

/// A tensor of this shape; `bytes` was checked against it.
pub(super) fn from_bytes(
    dtype: ElementType,
    shape: &[usize],
    bytes: &[u8],
) -> Result<Tensor, String> {
    if dtype == ElementType::Text {
        let texts: Vec<String> = serde_json::from_slice(bytes)
            .map_err(|error| format!("not a list of texts: {error}"))?;
        return made(shape, texts);
    }
    let dtype = datum_type(dtype).ok_or("its type has no tensor")?;
    let mut tensor = Tensor::zero_dt(dtype, shape).map_err(said)?;
    let mut plain = tensor.try_as_plain_ram_mut().map_err(said)?;
    let room = plain.as_bytes_mut();
    if room.len() != bytes.len() {
        return Err(format!("{} bytes for a tensor of {}", bytes.len(), room.len()));
    }
    room.copy_from_slice(bytes);
    Ok(tensor)
}

/// The plain form of a tensor. Exporters are not strict about the precision of numbers with a fraction; the port is.
pub(super) fn to_bytes(tensor: &Tensor, wanted: ElementType) -> Result<Vec<u8>, String> {
    if tensor.datum_type() == DatumType::String {
        let plain = tensor.try_as_plain_ram().map_err(said)?;
        let texts = plain.as_slice::<String>().map_err(said)?;
        return serde_json::to_vec(texts).map_err(|error| error.to_string());
    }
    let wanted = datum_type(wanted).ok_or("its type has no tensor")?;
    let cast = tensor.cast_to_dt(wanted).map_err(said)?;
    let plain = cast.try_as_plain_ram().map_err(said)?;
    Ok(plain.as_bytes().to_vec())
}

/// Whether a tensor of this type can become such predictions; classes are another matter.
pub(super) fn check_scores(port: &PredictionType, dtype: DatumType) -> Result<(), String> {
    if port.location.is_some() {
        return Err("a graph's predictions have no location".into());
    }
    match (port.value, dtype) {
        (PredictionKind::Text, DatumType::String) => Ok(()),
        (PredictionKind::Text, _) => Err(format!("{dtype:?} is no text")),
        _ if dtype.is_float() || dtype.is_integer() => Ok(()),
        _ => Err(format!("{dtype:?} is no number")),
    }
}

/// The JSON form of classes, one for each row, from labels or scores or both.
pub(super) fn to_classes(
    classes: &Classes,
    label: Option<&Tensor>,
    scores: Option<&Tensor>,
) -> Result<Vec<u8>, String> {
    let width = classes.names.len();
    let scores = scores.map(numbers).transpose()?;
    let rows: Vec<&[f64]> = scores.iter().flat_map(|scores| scores.chunks(width)).collect();
    if scores.as_ref().is_some_and(|scores| !scores.len().is_multiple_of(width)) {
        return Err(format!("the scores do not make rows of {width}"));
    }
    let winners: Vec<usize> = match label {
        Some(label) => {
            let labels = label_texts(label)?;
            let place = |text: &String| {
                let at = classes.keys.iter().position(|key| key == text);
                at.ok_or_else(|| format!("class `{text}` is not in the label set"))
            };
            labels.iter().map(place).collect::<Result<_, _>>()?
        }
        None => rows.iter().map(|row| best(row)).collect(),
    };
    if scores.is_some() && winners.len() != rows.len() {
        return Err(format!("{} labels for {} rows of scores", winners.len(), rows.len()));
    }
    let predictions = winners.iter().zip(0..).map(|(winner, input)| {
        let row = usize::try_from(input).ok().and_then(|at| rows.get(at));
        let confidence = row.and_then(|row| confidence(row, *winner, label.is_some()));
        let class = classes.names.get(*winner).cloned().unwrap_or_default();
        Prediction { input, value: PredictionValue::Class(class), location: None, confidence }
    });
    serde_json::to_vec(&predictions.collect::<Vec<_>>()).map_err(|error| error.to_string())
}

/// Labels as the label set has them; numbers become their decimal text.
fn label_texts(label: &Tensor) -> Result<Vec<String>, String> {
    if label.datum_type() == DatumType::String {
        let plain = label.try_as_plain_ram().map_err(said)?;
        return plain.as_slice::<String>().map(<[String]>::to_vec).map_err(said);
    }
    let cast = label.cast_to::<i64>().map_err(said)?;
    let plain = cast.try_as_plain_ram().map_err(said)?;
    let numbers = plain.as_slice::<i64>().map_err(said)?;
    Ok(numbers.iter().map(ToString::to_string).collect())
}

/// A winner's score where the row holds probabilities. Beside labels scores may be distances, so there they have to
/// add up to 1 as well.
fn confidence(row: &[f64], winner: usize, is_beside_label: bool) -> Option<f64> {
    let is_probability = |score: &f64| (-EDGE_TOLERANCE..=1.0 + EDGE_TOLERANCE).contains(score);
    let score = row.get(winner).copied().filter(is_probability)?;
    let sum: f64 = row.iter().sum();
    let are_probabilities = row.iter().all(is_probability) && (sum - 1.0).abs() < SUM_TOLERANCE;
    (!is_beside_label || are_probabilities).then_some(score.clamp(0.0, 1.0))
}

/// The JSON form of predictions, one for each row of the tensor.
pub(super) fn to_predictions(port: &PredictionType, tensor: &Tensor) -> Result<Vec<u8>, String> {
    if port.value == PredictionKind::Text {
        let texts = label_texts(tensor)?.into_iter().zip(0..).map(|(text, input)| {
            let value = PredictionValue::Text(text);
            Prediction { input, value, location: None, confidence: None }
        });
        return serde_json::to_vec(&texts.collect::<Vec<_>>()).map_err(|error| error.to_string());
    }
    let numbers = numbers(tensor)?;
    let width = match port.value {
        PredictionKind::Vector => tensor.shape().last().copied().unwrap_or(1),
        _ => 1,
    };
    if width == 0 || !numbers.len().is_multiple_of(width) {
        return Err(format!("{} numbers do not make rows of {width}", numbers.len()));
    }
    let predictions: Vec<Prediction> = numbers
        .chunks(width)
        .zip(0..)
        .map(|(row, input)| {
            let value = match port.value {
                PredictionKind::Vector => PredictionValue::Vector(row.to_vec()),
                _ => PredictionValue::Number(row.first().copied().unwrap_or_default()),
            };
            Prediction { input, value, location: None, confidence: None }
        })
        .collect();
    serde_json::to_vec(&predictions).map_err(|error| error.to_string())
}

/// The place of the highest score, the first of equals.
fn best(row: &[f64]) -> usize {
    let mut at = 0;
    for (other, score) in row.iter().enumerate() {
        if row.get(at).is_none_or(|best| score > best || best.is_nan()) {
            at = other;
        }
    }
    at
}

/// The tensor's elements. A single-precision number becomes the double that prints the same, not the one that is
/// nearest: 0.1, not 0.10000000149.
fn numbers(tensor: &Tensor) -> Result<Vec<f64>, String> {
    if tensor.datum_type() == DatumType::F32 {
        let plain = tensor.try_as_plain_ram().map_err(said)?;
        let values = plain.as_slice::<f32>().map_err(said)?;
        let same_print =
            |value: &f32| value.to_string().parse().unwrap_or_else(|_| f64::from(*value));
        return Ok(values.iter().map(same_print).collect());
    }
    let cast = tensor.cast_to::<f64>().map_err(said)?;
    let plain = cast.try_as_plain_ram().map_err(said)?;
    plain.as_slice::<f64>().map(<[f64]>::to_vec).map_err(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(names: &[&str]) -> Classes {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Classes { label: None, scores: Some(0), keys: names.clone(), names }
    }

    fn json(classes: &Classes, label: Option<Tensor>, scores: &[f32], rows: usize) -> String {
        let scores = Tensor::from_shape(&[rows, scores.len() / rows], scores).unwrap();
        String::from_utf8(to_classes(classes, label.as_ref(), Some(&scores)).unwrap()).unwrap()
    }

    #[test]
    fn the_best_score_names_the_class() {
        assert_eq!([best(&[0.1, 0.7, 0.2]), best(&[0.4, 0.4, 0.2])], [1, 0]);
        assert_eq!([best(&[-3.0, 9.5, 2.0]), best(&[f64::NAN, 0.5, 0.2])], [1, 1]);
        assert_eq!(confidence(&[0.1, 0.7, 0.2], 1, false), Some(0.7));
        assert_eq!(confidence(&[-3.0, 9.5, 2.0], 1, false), None);
    }

    #[test]
    fn rows_become_predictions_in_json() {
        assert_eq!(
            json(&classes(&["a", "b"]), None, &[0.9, 0.1, 0.25, 0.75], 2),
            r#"[{"input":0,"value":{"class":"a"},"confidence":0.9},{"input":1,"value":{"class":"b"},"confidence":0.75}]"#
        );
    }

    #[test]
    fn a_label_decides_even_against_the_scores() {
        let label = Tensor::from_shape(&[1], &[7_i64]).unwrap();
        let mut classes = classes(&["a", "b"]);
        classes.keys = vec!["5".into(), "7".into()];
        assert_eq!(
            json(&classes, Some(label.clone()), &[0.75, 0.25], 1),
            r#"[{"input":0,"value":{"class":"b"},"confidence":0.25}]"#
        );
        let distances = json(&classes, Some(label), &[0.75, 0.5], 1);
        assert_eq!(distances, r#"[{"input":0,"value":{"class":"b"}}]"#);
        let label = Tensor::from_shape(&[1], &[6_i64]).unwrap();
        assert!(to_classes(&classes, Some(&label), None).unwrap_err().contains("class `6`"));
    }

    #[test]
    fn texts_travel_as_json() {
        let tensor = from_bytes(ElementType::Text, &[2, 1], br#"["a","\u00e4"]"#).unwrap();
        assert_eq!(to_bytes(&tensor, ElementType::Text).unwrap(), "[\"a\",\"\u{e4}\"]".as_bytes());
        assert!(from_bytes(ElementType::Text, &[2], br#"["a"]"#).is_err());
        assert!(from_bytes(ElementType::Text, &[1], b"[1]").is_err());
    }
}
