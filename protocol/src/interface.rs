//! Interface types: what flows between stages, and which output fits which input.
//!
//! Plain form, the bytes of one value: *tensor* its elements in little-endian row-major order; *table* CSV with a
//! header line; *text* UTF-8; *json* and *prediction* JSON; *image*, *audio*, *video* and *bytes* as their media type
//! says.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cbor::DecodeError;
use crate::limits::{INTERFACE_MAX_PORTS, LABELS_MAX, TENSOR_MAX_RANK};

/// Typed, named inputs and outputs of an algorithm, model, data package or pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// What goes in, per record.
    pub inputs: Vec<Port>,
    /// What comes out, per record.
    pub outputs: Vec<Port>,
}

/// One named, typed place of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Name, unique among the ports of its side.
    pub name: String,
    /// What flows through.
    #[serde(rename = "type")]
    pub port_type: PortType,
    /// Input only: a run may leave it out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// Input only: values may say which part of themselves is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationKind>,
}

/// What a port carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PortType {
    /// Numbers in a fixed number of dimensions.
    Tensor(TensorType),
    /// Rows of named columns.
    Table(TableType),
    /// UTF-8 text.
    Text,
    /// A picture in one of these media types; none listed means any.
    Image(MediaTypes),
    /// Sound in one of these media types; none listed means any.
    Audio(MediaTypes),
    /// Moving pictures in one of these media types; none listed means any.
    Video(MediaTypes),
    /// JSON; the schema, if given, is a JSON Schema document as text.
    Json(JsonType),
    /// Any other bytes of these media types; none listed means any.
    Bytes(MediaTypes),
    /// A list of predictions.
    Prediction(PredictionType),
}

/// A tensor's element type and dimensions, outermost first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorType {
    /// Type of every element.
    pub dtype: ElementType,
    /// Dimensions, outermost first.
    pub dims: Vec<Dim>,
}

/// Type of a tensor's elements or of a table's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the documentation")]
#[non_exhaustive]
pub enum ElementType {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
    /// Columns only.
    Text,
}

impl ElementType {
    /// Length of one element, bytes; `None` for text.
    #[must_use]
    pub const fn len_bytes(self) -> Option<u64> {
        match self {
            Self::Bool | Self::U8 | Self::I8 => Some(1),
            Self::U16 | Self::I16 | Self::F16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text => None,
        }
    }
}

/// One dimension of a tensor: written `64`, or a name that must mean one number throughout a record, or `"?"` for any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenDim", into = "WrittenDim")]
pub enum Dim {
    /// Exactly this many.
    Fixed(u64),
    /// The same number wherever the name stands.
    Named(String),
    /// Any number.
    Free,
}

/// How a [`Dim`] is written: a number or a text.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenDim {
    Number(u64),
    Text(String),
}

impl From<WrittenDim> for Dim {
    fn from(written: WrittenDim) -> Self {
        match written {
            WrittenDim::Number(count) => Self::Fixed(count),
            WrittenDim::Text(text) if text == "?" => Self::Free,
            WrittenDim::Text(name) => Self::Named(name),
        }
    }
}

impl From<Dim> for WrittenDim {
    fn from(dim: Dim) -> Self {
        match dim {
            Dim::Fixed(count) => Self::Number(count),
            Dim::Named(name) => Self::Text(name),
            Dim::Free => Self::Text("?".into()),
        }
    }
}

/// A table's columns.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableType {
    /// Columns in order.
    pub columns: Vec<Column>,
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Header.
    pub name: String,
    /// Type of its cells.
    pub dtype: ElementType,
}

/// Media types that a port yields or takes.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MediaTypes {
    /// For example `image/png`; empty means any.
    pub media_types: Vec<String>,
}

/// JSON with or without a schema.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JsonType {
    /// JSON Schema as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
}

/// What a list of predictions holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictionType {
    /// Kind of every prediction's value.
    pub value: PredictionKind,
    /// The label set, in the order of a model's scores; for classes only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Where in the input each prediction is, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationKind>,
}

/// Kind of a prediction's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum PredictionKind {
    Text,
    Class,
    Number,
    Vector,
}

/// How a part of an input is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocationKind {
    /// A rectangle in an image, pixels.
    Box,
    /// A range of a text, bytes.
    TextWindow,
    /// Frames of a video or audio, indices.
    FrameIndices,
}

/// One prediction, as it stands in the JSON of a prediction value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Which input value of the record it is about, from 0.
    pub input: u64,
    /// What is predicted.
    pub value: PredictionValue,
    /// Where in the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// Between 0 and 1, if the model says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
}

/// A prediction's value, `{"class": "7"}` in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum PredictionValue {
    Text(String),
    Class(String),
    Number(f64),
    Vector(Vec<f64>),
}

/// A part of an input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    /// Left, top, width, height, pixels.
    Box([f64; 4]),
    /// First byte and one past the last.
    TextWindow([u64; 2]),
    /// Indices of frames.
    FrameIndices(Vec<u64>),
}

/// Decides whether values of `output` may flow into a port of type `input`.
///
/// # Errors
/// [`Misfit`] says what does not fit, in words for the person who composes a pipeline.
pub fn fits(output: &PortType, input: &PortType) -> Result<(), Misfit> {
    use PortType::{Audio, Bytes, Image, Json, Prediction, Table, Tensor, Text, Video};
    match (output, input) {
        (Tensor(from), Tensor(to)) => tensor_fits(from, to),
        (Table(from), Table(to)) => match to.columns.iter().find(|c| !from.columns.contains(c)) {
            Some(missing) => {
                Err(Misfit(format!("column `{}` ({}) is missing", missing.name, missing.dtype)))
            }
            None => Ok(()),
        },
        (Text, Text) => Ok(()),
        (Image(from), Image(to))
        | (Audio(from), Audio(to))
        | (Video(from), Video(to))
        | (Bytes(from), Bytes(to)) => media_fits(from, to),
        (Json(from), Json(to)) if to.schema.is_none() || from.schema == to.schema => Ok(()),
        (Json(_), Json(_)) => Err(Misfit("the JSON schemas differ".into())),
        (Prediction(from), Prediction(to)) => prediction_fits(from, to),
        (from, to) => Err(Misfit(format!("{from} is not {to}"))),
    }
}

fn tensor_fits(from: &TensorType, to: &TensorType) -> Result<(), Misfit> {
    let shaped = |a: &Dim, b: &Dim| !matches!(b, Dim::Fixed(_)) || a == b;
    let same_rank = from.dims.len() == to.dims.len();
    if from.dtype == to.dtype
        && same_rank
        && from.dims.iter().zip(&to.dims).all(|(a, b)| shaped(a, b))
    {
        return Ok(());
    }
    Err(Misfit(format!(
        "{} is not {}",
        PortType::Tensor(from.clone()),
        PortType::Tensor(to.clone())
    )))
}

fn media_fits(from: &MediaTypes, to: &MediaTypes) -> Result<(), Misfit> {
    let takes = |media: &String| to.media_types.contains(media);
    if to.media_types.is_empty()
        || (!from.media_types.is_empty() && from.media_types.iter().all(takes))
    {
        return Ok(());
    }
    let list = |types: &MediaTypes| match types.media_types.as_slice() {
        [] => "any media type".to_owned(),
        types => types.join(", "),
    };
    Err(Misfit(format!("{} may come, but only {} is taken", list(from), list(to))))
}

fn prediction_fits(from: &PredictionType, to: &PredictionType) -> Result<(), Misfit> {
    if from.value != to.value {
        Err(Misfit(format!("predictions of {} are not predictions of {}", from.value, to.value)))
    } else if !to.labels.is_empty() && from.labels != to.labels {
        Err(Misfit("the label sets differ".into()))
    } else if to.location.is_some() && from.location != to.location {
        Err(Misfit("the predictions do not say where they are".into()))
    } else {
        Ok(())
    }
}

/// Why an output does not fit an input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misfit(pub String);

impl Interface {
    /// Checks the bounds and that names are unique on each side.
    ///
    /// # Errors
    /// [`DecodeError::Rule`] with the rule that is broken.
    pub fn check(&self) -> Result<(), DecodeError> {
        let rule = |why: String| DecodeError::Rule { what: "interface", why };
        for side in [&self.inputs, &self.outputs] {
            if side.len() > INTERFACE_MAX_PORTS {
                return Err(rule(format!("more than {INTERFACE_MAX_PORTS} ports on one side")));
            }
            let mut names: Vec<_> = side.iter().map(|port| port.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            if names.len() != side.len() || names.iter().any(|name| !is_identifier(name)) {
                return Err(rule(
                    "port names are unique and made of A-Z, a-z, 0-9, `_`, `-`, `.`".into(),
                ));
            }
            side.iter().try_for_each(|port| match &port.port_type {
                PortType::Tensor(tensor) if tensor.dims.len() > TENSOR_MAX_RANK => {
                    Err(rule(format!("a tensor of more than {TENSOR_MAX_RANK} dimensions")))
                }
                PortType::Tensor(TensorType { dtype: ElementType::Text, .. }) => {
                    Err(rule("a tensor of text".into()))
                }
                PortType::Prediction(prediction) if prediction.labels.len() > LABELS_MAX => {
                    Err(rule(format!("more than {LABELS_MAX} labels")))
                }
                _ => Ok(()),
            })?;
        }
        Ok(())
    }

    /// The input port of this name.
    #[must_use]
    pub fn input(&self, name: &str) -> Option<&Port> {
        self.inputs.iter().find(|port| port.name == name)
    }
}

/// Whether `name` may name a port, a stage, a unit test or a type of record.
pub(crate) fn is_identifier(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

impl TensorType {
    /// Length of one value, bytes, when every dimension is fixed.
    #[must_use]
    pub fn fixed_len_bytes(&self) -> Option<u64> {
        self.dims.iter().try_fold(self.dtype.len_bytes()?, |len, dim| match dim {
            Dim::Fixed(count) => len.checked_mul(*count),
            Dim::Named(_) | Dim::Free => None,
        })
    }
}

/// Shows a unit variant as it is written in manifests.
macro_rules! lower_case_display {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&format!("{self:?}").to_lowercase())
            }
        }
    )*};
}

lower_case_display!(ElementType, PredictionKind);

impl fmt::Display for PortType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let media = |f: &mut fmt::Formatter<'_>, what: &str, types: &MediaTypes| {
            if types.media_types.is_empty() {
                f.write_str(what)
            } else {
                write!(f, "{what}({})", types.media_types.join("|"))
            }
        };
        match self {
            Self::Tensor(tensor) => {
                write!(f, "tensor({}", tensor.dtype)?;
                for dim in &tensor.dims {
                    match dim {
                        Dim::Fixed(count) => write!(f, ", {count}")?,
                        Dim::Named(name) => write!(f, ", {name}")?,
                        Dim::Free => write!(f, ", ?")?,
                    }
                }
                f.write_str(")")
            }
            Self::Table(table) => write!(f, "table({} columns)", table.columns.len()),
            Self::Text => f.write_str("text"),
            Self::Image(types) => media(f, "image", types),
            Self::Audio(types) => media(f, "audio", types),
            Self::Video(types) => media(f, "video", types),
            Self::Json(_) => f.write_str("json"),
            Self::Bytes(types) => media(f, "bytes", types),
            Self::Prediction(prediction) => match prediction.labels.len() {
                0 => write!(f, "prediction({})", prediction.value),
                labels => write!(f, "prediction({}, {labels} labels)", prediction.value),
            },
        }
    }
}

impl PortType {
    /// The name of the family: `tensor`, `table`, `text` and so on; what a query filters on.
    #[must_use]
    pub const fn family(&self) -> &'static str {
        match self {
            Self::Tensor(_) => "tensor",
            Self::Table(_) => "table",
            Self::Text => "text",
            Self::Image(_) => "image",
            Self::Audio(_) => "audio",
            Self::Video(_) => "video",
            Self::Json(_) => "json",
            Self::Bytes(_) => "bytes",
            Self::Prediction(_) => "prediction",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dtype: ElementType, dims: &[Dim]) -> PortType {
        PortType::Tensor(TensorType { dtype, dims: dims.to_vec() })
    }

    #[test]
    fn a_tensor_fits_where_every_fixed_dimension_is_met() {
        use Dim::{Fixed, Free, Named};
        let batch = || Named("n".into());
        let from = tensor(ElementType::F32, &[Fixed(3), Fixed(64)]);
        for (to, expected) in [
            (tensor(ElementType::F32, &[batch(), Fixed(64)]), true),
            (tensor(ElementType::F32, &[Free, Free]), true),
            (tensor(ElementType::F32, &[batch(), Fixed(65)]), false),
            (tensor(ElementType::F64, &[batch(), Fixed(64)]), false),
            (tensor(ElementType::F32, &[Fixed(64)]), false),
            (PortType::Text, false),
        ] {
            assert_eq!(fits(&from, &to).is_ok(), expected, "{to}");
        }
        let free = tensor(ElementType::F32, &[Free]);
        assert!(fits(&free, &tensor(ElementType::F32, &[Fixed(64)])).is_err());
    }

    #[test]
    fn media_types_must_all_be_taken() {
        let image = |types: &[&str]| {
            PortType::Image(MediaTypes {
                media_types: types.iter().map(|t| (*t).to_owned()).collect(),
            })
        };
        assert!(fits(&image(&["image/png"]), &image(&["image/png", "image/jpeg"])).is_ok());
        assert!(fits(&image(&["image/png", "image/gif"]), &image(&["image/png"])).is_err());
        assert!(fits(&image(&[]), &image(&["image/png"])).is_err());
        assert!(fits(&image(&["image/png"]), &image(&[])).is_ok());
        let misfit = fits(&image(&["image/gif"]), &image(&["image/png"])).unwrap_err();
        assert_eq!(misfit.to_string(), "image/gif may come, but only image/png is taken");
    }

    #[test]
    fn dimensions_read_as_number_name_or_any() {
        let dims: Vec<Dim> = serde_json::from_str(r#"[64, "n", "?"]"#).unwrap();
        assert_eq!(dims, [Dim::Fixed(64), Dim::Named("n".into()), Dim::Free]);
        let bytes = crate::cbor::encode(&dims);
        assert_eq!(crate::cbor::decode::<Vec<Dim>>(&bytes, 64), Ok(dims));
    }
}
