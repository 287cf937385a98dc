//! What data conditioning can make of a value, by pairs of families.
//!
//! A conversion is conceivable when it is customary and needs neither a trained model nor a choice that only a person
//! can make. It is judged by the types alone; a particular value may still fail, a text that is no number for one.

use super::Conversion::{
    Check, Columns, Decode, Elements, Encode, Extract, Labels, Reshape, Round, Score, Structure,
};
use super::{Adaptation, Conversion, Misfit, media, shape};
use crate::interface::{
    Column, Dim, ElementType, JsonType, PortType, PredictionKind, PredictionType, TableType,
    TensorType,
};

/// Columns that a table of predictions may have.
const PREDICTION_COLUMNS: [&str; 9] =
    ["input", "value", "text", "class", "label", "number", "score", "confidence", "location"];

type Steps = Result<Vec<Adaptation>, Misfit>;

/// The conversions between two types that do not fit as they are.
pub(super) fn adapt(output: &PortType, input: &PortType) -> Steps {
    use PortType::{Audio, Bytes, Image, Json, Prediction, Table, Tensor, Text, Video};
    match (output, input) {
        (Tensor(from), Tensor(to)) => tensors(from, to),
        (Image(from), Image(to)) | (Audio(from), Audio(to)) | (Video(from), Video(to)) => {
            media::format(from, to)
        }
        (Bytes(_), Bytes(_)) => Err(super::fits(output, input).err().unwrap_or_else(unlike)),
        (_, Bytes(to)) => media::into_bytes(output, to),
        (Bytes(from), _) => media::of_bytes(from, input),
        (Image(_) | Audio(_) | Video(_), Tensor(to)) => decoded(output, to),
        (Tensor(from), Image(_) | Audio(_) | Video(_)) => encoded(from, input),
        (Video(_), Audio(_)) => one(Extract, "the sound is taken out of the video"),
        // Without a schema on the input, the values would fit as they are.
        (Json(_), Json(_)) => one(Check, "the JSON must meet the input's schema"),
        (Json(_), Table(_)) => one(Structure, "a list of objects becomes a table"),
        (Json(_), Text) => one(Structure, "JSON goes as its text"),
        (Json(_), Tensor(_)) => one(Structure, "nested lists of numbers become a tensor"),
        (Json(_), Prediction(_)) => one(Check, "the JSON must be a list of predictions"),
        (Text, Json(JsonType { schema: None })) => one(Structure, "the text becomes a JSON string"),
        (Text, Json(to)) => {
            let mut steps = one(Structure, "the text is read as JSON")?;
            steps.extend(checked(to));
            Ok(steps)
        }
        (Text, Table(to)) => text_to_table(to),
        (Text, Prediction(to)) => text_to_prediction(to),
        (Table(from), Table(to)) => tables(from, to),
        (Table(from), Tensor(to)) => table_to_tensor(from, to),
        (Tensor(from), Table(to)) => tensor_to_table(from, to),
        (Table(_), Text) => one(Structure, "the table goes as CSV text"),
        (Table(_), Json(to)) => {
            let mut steps = one(Structure, "the table becomes a list of objects")?;
            steps.extend(checked(to));
            Ok(steps)
        }
        (Tensor(_), Json(to)) => {
            let mut steps = one(Structure, "the tensor becomes nested lists of numbers")?;
            steps.extend(checked(to));
            Ok(steps)
        }
        (Tensor(from), Prediction(to)) => tensor_to_prediction(from, to),
        (Prediction(from), Prediction(to)) => predictions(from, to),
        (Prediction(_), Json(to)) => {
            let mut steps = one(Structure, "the predictions go as JSON")?;
            steps.extend(checked(to));
            Ok(steps)
        }
        (Prediction(from), Text) => prediction_to_text(from),
        (Prediction(_), Table(to)) => prediction_to_table(to),
        (Prediction(from), Tensor(to)) => prediction_to_tensor(from, to),
        (Image(_) | Audio(_) | Video(_), Text | Json(_) | Table(_) | Prediction(_)) => {
            Err(needs_model(output, input))
        }
        (Text | Json(_) | Table(_) | Prediction(_), Image(_) | Audio(_) | Video(_))
        | (Text, Tensor(_)) => Err(needs_model(output, input)),
        (from, to) => Err(Misfit(format!("{from} is not {to}"))),
    }
}

fn unlike() -> Misfit {
    Misfit("they are different bytes".into())
}

fn needs_model(output: &PortType, input: &PortType) -> Misfit {
    Misfit(format!("{} becomes {} by a model only", output.family(), input.family()))
}

fn step(conversion: Conversion, why: impl Into<String>) -> Adaptation {
    Adaptation { conversion, why: why.into() }
}

#[expect(clippy::unnecessary_wraps, reason = "an arm of a match whose other arms may fail")]
fn one(conversion: Conversion, why: impl Into<String>) -> Steps {
    Ok(vec![step(conversion, why)])
}

/// Numbers of one type as numbers of another; nothing when they are the same.
fn elements(from: ElementType, to: ElementType) -> Result<Option<Adaptation>, Misfit> {
    use ElementType::{Bool, F16, F32, F64, Text};
    let is_float = |dtype| matches!(dtype, F16 | F32 | F64);
    match (from, to) {
        _ if from == to => Ok(None),
        (Text, _) => Ok(Some(step(Elements, format!("text is read as {to}")))),
        (_, Text) => Ok(Some(step(Elements, format!("{from} is written as text")))),
        (_, Bool) => Err(Misfit(format!("which {from} mean true is not said"))),
        _ if is_float(from) && !is_float(to) => {
            Ok(Some(step(Round, format!("{from} is rounded to {to}"))))
        }
        _ => Ok(Some(step(Elements, format!("{from} becomes {to}")))),
    }
}

fn tensors(from: &TensorType, to: &TensorType) -> Steps {
    let mut steps: Vec<_> = elements(from.dtype, to.dtype)?.into_iter().collect();
    steps.extend(reshaped(&from.dims, &to.dims)?);
    Ok(steps)
}

fn reshaped(from: &[Dim], to: &[Dim]) -> Steps {
    shape::reshape(from, to)
        .ok_or_else(|| Misfit(format!("shape {} is not {}", shape::shown(from), shape::shown(to))))
}

/// What a file of a family is as numbers: the element type that every decoder yields.
fn native(family: &PortType) -> ElementType {
    match family {
        PortType::Audio(_) => ElementType::F32,
        _ => ElementType::U8,
    }
}

/// Whether a tensor of this shape can be a file of this family: height and width of pictures with or without colours,
/// samples of sound with or without channels, frames of a video; a batch may be around them.
fn is_shape_of(family: &PortType, dims: &[Dim]) -> bool {
    match family {
        PortType::Image(_) => shape::is_picture(dims),
        PortType::Audio(_) => (1..=3).contains(&dims.len()),
        _ => (4..=5).contains(&dims.len()),
    }
}

fn decoded(output: &PortType, to: &TensorType) -> Steps {
    let family = output.family();
    let mut steps = vec![step(Decode, format!("{family} becomes numbers"))];
    if !is_shape_of(output, &to.dims) {
        let is_flat = matches!(output, PortType::Image(_)) && to.dims.len() == 1;
        if !is_flat {
            return Err(misshapen(family, &to.dims));
        }
        let why = format!("its pixels are put in a row ({})", shape::shown(&to.dims));
        steps.push(step(Reshape, why));
    }
    steps.extend(elements(native(output), to.dtype)?);
    Ok(steps)
}

fn misshapen(family: &str, dims: &[Dim]) -> Misfit {
    Misfit(format!("a tensor of shape {} is no {family}", shape::shown(dims)))
}

fn encoded(from: &TensorType, input: &PortType) -> Steps {
    let family = input.family();
    if !is_shape_of(input, &from.dims) {
        return Err(misshapen(family, &from.dims));
    }
    let mut steps = Vec::new();
    if from.dtype != native(input) {
        steps.push(step(Elements, format!("{} becomes {}", from.dtype, native(input))));
    }
    steps.push(step(Encode, format!("the numbers become {input}")));
    Ok(steps)
}

/// The check of a schema, if there is one.
fn checked(to: &JsonType) -> Option<Adaptation> {
    let why = "the result must meet the input's JSON schema";
    to.schema.is_some().then(|| step(Check, why))
}

fn tables(from: &TableType, to: &TableType) -> Steps {
    let bare = |name: &str| -> String {
        name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let mut steps = Vec::new();
    for column in to.columns.iter().filter(|column| !from.columns.contains(column)) {
        let same = |other: &&Column| other.name == column.name;
        let alike = |other: &&Column| bare(&other.name) == bare(&column.name);
        let columns = from.columns.iter();
        let found = columns.clone().find(same).or_else(|| columns.clone().find(alike));
        let Some(found) = found else {
            return Err(Misfit(format!("column `{}` ({}) is missing", column.name, column.dtype)));
        };
        if found.name != column.name {
            let why = format!("column `{}` is called `{}`", found.name, column.name);
            steps.push(step(Structure, why));
        }
        let change = elements(found.dtype, column.dtype)?;
        steps.extend(change.map(|change| {
            step(change.conversion, format!("column `{}`: {}", column.name, change.why))
        }));
    }
    Ok(steps)
}

/// Whether the innermost dimension of a row or of rows takes `count` numbers.
fn takes_rows(dims: &[Dim], count: usize) -> bool {
    let rows = match dims {
        [last] | [_, last] => last,
        _ => return false,
    };
    match rows {
        Dim::Fixed(wanted) => u64::try_from(count) == Ok(*wanted),
        Dim::Named(_) | Dim::Free => true,
    }
}

fn table_to_tensor(from: &TableType, to: &TensorType) -> Steps {
    let is_number = |column: &&Column| column.dtype != ElementType::Text;
    let numbers: Vec<_> = from.columns.iter().filter(is_number).collect();
    if numbers.is_empty() {
        return Err(Misfit("the table has no columns of numbers".into()));
    }
    if !takes_rows(&to.dims, numbers.len()) {
        let dims = shape::shown(&to.dims);
        return Err(Misfit(format!("rows of {} numbers are not shape {dims}", numbers.len())));
    }
    if to.dtype == ElementType::Bool && numbers.iter().any(|c| c.dtype != ElementType::Bool) {
        return Err(Misfit("which numbers mean true is not said".into()));
    }
    let mut steps = vec![step(Structure, format!("rows become a tensor of {}", to.dtype))];
    if numbers.len() < from.columns.len() {
        steps.push(step(Columns, "columns of text are left out"));
    }
    Ok(steps)
}

fn tensor_to_table(from: &TensorType, to: &TableType) -> Steps {
    let dims = shape::shown(&from.dims);
    if !matches!(from.dims.len(), 1 | 2) {
        return Err(Misfit(format!("shape {dims} is no rows")));
    }
    if !to.columns.is_empty() && !takes_rows(&from.dims, to.columns.len()) {
        return Err(Misfit(format!("shape {dims} is not rows of {} columns", to.columns.len())));
    }
    let mut steps = one(Structure, "the tensor becomes rows")?;
    for column in &to.columns {
        if let Some(change) = elements(from.dtype, column.dtype)?
            && !steps.contains(&change)
        {
            steps.push(change);
        }
    }
    Ok(steps)
}

fn text_to_table(to: &TableType) -> Steps {
    match to.columns.as_slice() {
        [Column { dtype: ElementType::Text, name }] => {
            one(Structure, format!("the text becomes a row with `{name}`"))
        }
        _ => Err(Misfit("which part of the text goes into which column is not said".into())),
    }
}

fn text_to_prediction(to: &PredictionType) -> Steps {
    match to {
        PredictionType { value: PredictionKind::Text, location: None, .. } => {
            one(Structure, "the text becomes a prediction")
        }
        to => Err(Misfit(format!("a text is no prediction of a {}", to.value))),
    }
}

fn tensor_to_prediction(from: &TensorType, to: &PredictionType) -> Steps {
    if to.location.is_some() {
        return Err(Misfit("a tensor does not say where predictions are".into()));
    }
    let inner = match from.dims.split_first() {
        Some((Dim::Fixed(1) | Dim::Named(_) | Dim::Free, rest)) if !rest.is_empty() => rest,
        _ => from.dims.as_slice(),
    };
    let dims = shape::shown(&from.dims);
    match (to.value, inner) {
        (PredictionKind::Class, _) if to.labels.is_empty() => {
            Err(Misfit("which score belongs to which class is not said: the labels lack".into()))
        }
        (PredictionKind::Class, inner) if takes_rows(inner, to.labels.len()) => {
            one(Score, "the class with the highest score is taken")
        }
        (PredictionKind::Class, _) => {
            let count = to.labels.len();
            Err(Misfit(format!("shape {dims} is not scores of {count} labels")))
        }
        (PredictionKind::Vector, [_]) => one(Structure, "the row becomes a prediction"),
        (PredictionKind::Number, [] | [Dim::Fixed(1)]) => {
            one(Structure, "the number becomes a prediction")
        }
        (value, _) => Err(Misfit(format!("shape {dims} is no prediction of a {value}"))),
    }
}

fn predictions(from: &PredictionType, to: &PredictionType) -> Steps {
    use PredictionKind::{Class, Number, Text, Vector};
    if to.location.is_some() && from.location != to.location {
        return Err(Misfit("the predictions do not say where they are".into()));
    }
    match (from.value, to.value) {
        (a, b) if a == b => labels(&from.labels, &to.labels),
        (Class | Number, Text) => one(Structure, format!("the {} is written as text", from.value)),
        (Text, Class) => one(Check, "the texts must be labels"),
        (Number, Vector) => one(Structure, "the number becomes a vector of one"),
        (Vector, Class) if !to.labels.is_empty() => {
            one(Score, "the class with the highest score is taken")
        }
        (a, b) => Err(Misfit(format!("predictions of {a} are not predictions of {b}"))),
    }
}

fn labels(from: &[String], to: &[String]) -> Steps {
    if from.is_empty() {
        return one(Check, "the classes must be among the input's labels");
    }
    match from.iter().find(|label| !to.contains(label)) {
        Some(unknown) => Err(Misfit(format!("label `{unknown}` is not taken"))),
        None => one(Labels, format!("{} labels are {} of the input's", from.len(), to.len())),
    }
}

fn prediction_to_text(from: &PredictionType) -> Steps {
    match from.value {
        PredictionKind::Vector => Err(Misfit("a vector is no text".into())),
        value => one(Structure, format!("the {value} is written as text")),
    }
}

fn prediction_to_table(to: &TableType) -> Steps {
    let known = |column: &&Column| PREDICTION_COLUMNS.contains(&column.name.as_str());
    match to.columns.iter().find(|column| !known(column)) {
        Some(unknown) => Err(Misfit(format!("predictions have no column `{}`", unknown.name))),
        None => one(Structure, "the predictions become rows"),
    }
}

fn prediction_to_tensor(from: &PredictionType, to: &TensorType) -> Steps {
    let count = match from.value {
        PredictionKind::Number => Some(1),
        PredictionKind::Vector => None,
        value => return Err(Misfit(format!("a {value} is no number"))),
    };
    let fits = match count {
        Some(count) => to.dims.is_empty() || takes_rows(&to.dims, count),
        None => matches!(to.dims.len(), 1 | 2),
    };
    if !fits {
        let dims = shape::shown(&to.dims);
        return Err(Misfit(format!("predictions of a {} are not shape {dims}", from.value)));
    }
    let mut steps = one(Structure, format!("the {} becomes a tensor", from.value))?;
    steps.extend(elements(ElementType::F64, to.dtype)?);
    Ok(steps)
}
