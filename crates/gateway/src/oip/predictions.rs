//! Lists of predictions as tensors: a row for each input value of a record that they are about.

use std::num::NonZeroU64;

use guildhall_protocol::interface::{
    ElementType, Prediction, PredictionKind, PredictionType, PredictionValue,
};

use super::error::OutputProblem;
use super::outputs::{Made, OutputData, in_front};

/// The predictions about one input value, the best first.
type Row<'p> = Vec<&'p Prediction>;

/// The type of the elements that values of predictions become.
pub(super) const fn dtype(kind: PredictionKind) -> ElementType {
    match kind {
        PredictionKind::Text | PredictionKind::Class => ElementType::Text,
        PredictionKind::Number | PredictionKind::Vector => ElementType::F64,
    }
}

/// The best value for each input value of each record, or so many of the best classes. An input value about which
/// nothing is predicted has an empty text, or NaN.
pub(super) fn values(
    kind: &PredictionType,
    lists: &[Vec<Prediction>],
    is_batch: bool,
    classes: Option<NonZeroU64>,
) -> Result<Made, OutputProblem> {
    let (mut shape, rows) = rows(lists, is_batch)?;
    if let Some(most) = classes {
        return Ok(classified(kind, shape, &rows, most));
    }
    let best = rows.iter().map(|row| row.first().map(|prediction| &prediction.value));
    let data = match kind.value {
        PredictionKind::Text | PredictionKind::Class => {
            let texts = best.map(|value| text_of(value).as_bytes().to_vec()).collect();
            OutputData::Texts { texts, is_text: true }
        }
        PredictionKind::Number => {
            let number = |value: Option<&PredictionValue>| match value {
                Some(PredictionValue::Number(number)) => *number,
                _ => f64::NAN,
            };
            OutputData::Fixed(best.flat_map(|value| number(value).to_le_bytes()).collect())
        }
        PredictionKind::Vector => {
            let vector = |value: Option<&PredictionValue>| match value {
                Some(PredictionValue::Vector(vector)) => vector.clone(),
                _ => Vec::new(),
            };
            let vectors: Vec<Vec<f64>> = best.map(vector).collect();
            let width = vectors.first().map(Vec::len).unwrap_or_default();
            if let Some(other) = vectors.iter().find(|vector| vector.len() != width) {
                let (one, other) = (vec![width as u64], vec![other.len() as u64]);
                return Err(OutputProblem::Ragged { one, other });
            }
            shape.push(width as u64);
            OutputData::Fixed(vectors.concat().into_iter().flat_map(f64::to_le_bytes).collect())
        }
    };
    Ok((dtype(kind.value), shape, data))
}

fn text_of(value: Option<&PredictionValue>) -> &str {
    match value {
        Some(PredictionValue::Text(text) | PredictionValue::Class(text)) => text,
        _ => "",
    }
}

/// How sure the model is of each best value, between 0 and 1; NaN where it does not say.
pub(super) fn confidence(lists: &[Vec<Prediction>], is_batch: bool) -> Result<Made, OutputProblem> {
    let (shape, rows) = rows(lists, is_batch)?;
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is meant")]
    let sure = |row: &Row<'_>| {
        row.first().and_then(|prediction| prediction.confidence).unwrap_or(f64::NAN) as f32
    };
    let bytes = rows.iter().flat_map(|row| sure(row).to_le_bytes()).collect();
    Ok((ElementType::F32, shape, OutputData::Fixed(bytes)))
}

/// Triton's form of classes, `SCORE:INDEX:LABEL`, for as many as there are at most; shorter rows end with empty texts.
fn classified(
    kind: &PredictionType,
    mut shape: Vec<u64>,
    rows: &[Row<'_>],
    most: NonZeroU64,
) -> Made {
    let most = usize::try_from(most.get()).unwrap_or(usize::MAX);
    let width = rows.iter().map(Vec::len).max().unwrap_or_default().min(most);
    let text = |prediction: &&Prediction| match &prediction.value {
        PredictionValue::Class(class) => {
            let index = kind.labels.iter().position(|label| label == class).unwrap_or_default();
            let score = prediction.confidence.unwrap_or(f64::NAN);
            format!("{score:.6}:{index}:{class}").into_bytes()
        }
        _ => Vec::new(),
    };
    let padded = |row: &Row<'_>| {
        let mut texts: Vec<Vec<u8>> = row.iter().take(width).map(text).collect();
        texts.resize(width, Vec::new());
        texts
    };
    shape.push(width as u64);
    let texts = rows.iter().flat_map(padded).collect();
    (ElementType::Text, shape, OutputData::Texts { texts, is_text: true })
}

/// The rows of all records, and their shape: one for each record, or as many as each has. A record without predictions
/// has one empty row among others, and none by itself.
fn rows(
    lists: &[Vec<Prediction>],
    is_batch: bool,
) -> Result<(Vec<u64>, Vec<Row<'_>>), OutputProblem> {
    let mut all = Vec::new();
    let mut each: Option<usize> = None;
    for (at, list) in lists.iter().enumerate() {
        let mut rows = rows_of(list).ok_or(OutputProblem::NoPredictions { at })?;
        if is_batch && rows.is_empty() {
            rows.push(Vec::new());
        }
        match each {
            Some(one) if one != rows.len() => {
                let (one, other) = (vec![one as u64], vec![rows.len() as u64]);
                return Err(OutputProblem::Ragged { one, other });
            }
            _ => each = Some(rows.len()),
        }
        all.append(&mut rows);
    }
    let each = each.unwrap_or_default();
    let shape = match (is_batch, each) {
        (true, 1) => in_front(lists.len(), &[]),
        (true, each) => in_front(lists.len(), &[each as u64]),
        (false, each) => in_front(each, &[]),
    };
    Ok((shape, all))
}

/// Predictions by the input value that they are about. `None` when one is about a value behind more than there are
/// predictions: a number is not believed to make rows of nothing.
fn rows_of(list: &[Prediction]) -> Option<Vec<Row<'_>>> {
    let last = list.iter().map(|prediction| prediction.input).max();
    let count = match last {
        None => 0,
        Some(last) => usize::try_from(last).ok()?.checked_add(1)?,
    };
    if count > list.len() {
        return None;
    }
    let mut rows: Vec<Row<'_>> = vec![Vec::new(); count];
    for prediction in list {
        rows.get_mut(usize::try_from(prediction.input).ok()?)?.push(prediction);
    }
    let sure = |prediction: &Prediction| prediction.confidence.unwrap_or_default();
    // The first of equals stays first.
    rows.iter_mut().for_each(|row| row.sort_by(|one, other| sure(other).total_cmp(&sure(one))));
    Some(rows)
}
