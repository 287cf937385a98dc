//! Interface types: what flows between stages. Which output fits which input is in [`fit`](crate::fit).
//!
//! Plain form, the bytes of one value: *tensor* its elements in little-endian row-major order, and a tensor of text the
//! JSON list of its texts in row-major order; *table* CSV with a header line; *text* UTF-8; *json* and *prediction* JSON;
//! *image*, *audio*, *video* and *bytes* as their media type says.

mod syntax;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cbor::DecodeError;
pub use crate::fit::{Misfit, fits};
use crate::limits::{INTERFACE_MAX_PORTS, LABELS_MAX, TENSOR_MAX_RANK};
pub(crate) use syntax::element_named;
pub use syntax::{TYPE_TEXT_MAX_BYTES, TypeError};

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
    /// Numbers or texts in a fixed number of dimensions.
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
    /// Texts of any length each.
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

    #[test]
    fn dimensions_read_as_number_name_or_any() {
        let dims: Vec<Dim> = serde_json::from_str(r#"[64, "n", "?"]"#).unwrap();
        assert_eq!(dims, [Dim::Fixed(64), Dim::Named("n".into()), Dim::Free]);
        let bytes = crate::cbor::encode(&dims);
        assert_eq!(crate::cbor::decode::<Vec<Dim>>(&bytes, 64), Ok(dims));
    }
}
