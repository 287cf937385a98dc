//! Between the plain form of values and tract's tensors. Both are little-endian and row-major.

use guildhall_protocol::interface::{
    ElementType, Prediction, PredictionKind, PredictionType, PredictionValue,
};
use tract_onnx::prelude::{DatumType, Tensor};

/// tract's name for an element type.
pub(super) fn datum_type(dtype: ElementType) -> Option<DatumType> {
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
        _ => return None,
    })
}

/// A tensor of this shape; `bytes` has the length that the shape asks for.
pub(super) fn from_bytes(
    dtype: ElementType,
    shape: &[usize],
    bytes: &[u8],
) -> Result<Tensor, String> {
    let dtype = datum_type(dtype).ok_or("its type has no tensor")?;
    let mut tensor = Tensor::zero_dt(dtype, shape).map_err(|error| format!("{error:#}"))?;
    let mut plain = tensor.try_as_plain_ram_mut().map_err(|error| format!("{error:#}"))?;
    let room = plain.as_bytes_mut();
    if room.len() != bytes.len() {
        return Err(format!("{} bytes for a tensor of {}", bytes.len(), room.len()));
    }
    room.copy_from_slice(bytes);
    Ok(tensor)
}

/// The plain form of a tensor.
pub(super) fn to_bytes(tensor: &Tensor) -> Result<Vec<u8>, String> {
    let plain = tensor.try_as_plain_ram().map_err(|error| format!("{error:#}"))?;
    Ok(plain.as_bytes().to_vec())
}

/// Whether a tensor of this type and these dimensions can become such predictions; `None` is a size that only a record
/// decides.
pub(super) fn check_scores(
    port: &PredictionType,
    dtype: DatumType,
    dims: &[Option<u64>],
) -> Result<(), String> {
    if port.location.is_some() {
        return Err("a graph's predictions have no location".into());
    }
    let last = dims.last().copied().flatten();
    match port.value {
        PredictionKind::Text => Err("a graph's predictions are no text".into()),
        PredictionKind::Class if !dtype.is_float() => {
            Err(format!("classes need one score each, not {dtype:?}"))
        }
        PredictionKind::Class if port.labels.is_empty() => Err("its port has no label set".into()),
        PredictionKind::Class if last.is_some_and(|last| last != port.labels.len() as u64) => {
            let scores = last.unwrap_or_default();
            Err(format!("{scores} scores for {} labels", port.labels.len()))
        }
        _ if dtype.is_float() || dtype.is_integer() => Ok(()),
        _ => Err(format!("{dtype:?} is no number")),
    }
}

/// The JSON form of predictions, one for each row of the tensor.
pub(super) fn to_predictions(port: &PredictionType, tensor: &Tensor) -> Result<Vec<u8>, String> {
    let numbers = numbers(tensor)?;
    let width = match port.value {
        PredictionKind::Class => port.labels.len(),
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
            let (value, confidence) = match port.value {
                PredictionKind::Class => best(row, &port.labels),
                PredictionKind::Vector => (PredictionValue::Vector(row.to_vec()), None),
                _ => (PredictionValue::Number(row.first().copied().unwrap_or_default()), None),
            };
            Prediction { input, value, location: None, confidence }
        })
        .collect();
    serde_json::to_vec(&predictions).map_err(|error| error.to_string())
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

/// The tensor's elements. A single-precision number becomes the double that prints the same, not the one that is
/// nearest: 0.1, not 0.10000000149.
fn numbers(tensor: &Tensor) -> Result<Vec<f64>, String> {
    let describe = |error: tract_onnx::prelude::TractError| format!("{error:#}");
    if tensor.datum_type() == DatumType::F32 {
        let plain = tensor.try_as_plain_ram().map_err(describe)?;
        let values = plain.as_slice::<f32>().map_err(describe)?;
        let same_print =
            |value: &f32| value.to_string().parse().unwrap_or_else(|_| f64::from(*value));
        return Ok(values.iter().map(same_print).collect());
    }
    let cast = tensor.cast_to::<f64>().map_err(describe)?;
    let plain = cast.try_as_plain_ram().map_err(describe)?;
    plain.as_slice::<f64>().map(<[f64]>::to_vec).map_err(describe)
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
    fn rows_become_predictions_in_json() {
        let port = PredictionType {
            value: PredictionKind::Class,
            labels: vec!["a".into(), "b".into()],
            location: None,
        };
        let bytes: Vec<u8> =
            [0.9_f32, 0.1, 0.25, 0.75].iter().flat_map(|v| v.to_le_bytes()).collect();
        let tensor = from_bytes(ElementType::F32, &[2, 2], &bytes).unwrap();
        assert_eq!(to_bytes(&tensor).unwrap(), bytes);
        assert_eq!(
            String::from_utf8(to_predictions(&port, &tensor).unwrap()).unwrap(),
            r#"[{"input":0,"value":{"class":"a"},"confidence":0.9},{"input":1,"value":{"class":"b"},"confidence":0.75}]"#
        );
    }

    #[test]
    fn scores_must_match_the_labels() {
        let port = PredictionType {
            value: PredictionKind::Class,
            labels: vec!["a".into(), "b".into()],
            location: None,
        };
        assert!(check_scores(&port, DatumType::F32, &[Some(1), Some(2)]).is_ok());
        assert!(check_scores(&port, DatumType::F32, &[Some(1), Some(3)]).is_err());
        assert!(check_scores(&port, DatumType::I64, &[Some(1)]).is_err());
    }
}
