//! Fit: whether values of an output may flow into an input, by themselves or by way of an adapter.
//!
//! Search, runs and pipelines share this notion. [`fits`] is the strict answer, for values as they are; [`fit`] tells
//! how far two types are apart: [`Fit::Equal`] and [`Fit::Widening`] are exactly the pairs that [`fits`] allows,
//! [`Fit::NeedsAdapter`] names the conversions that data conditioning would have to do, and [`Fit::Impossible`] says why
//! none is conceivable without a model's work or a person's choice. Whether such an adapter exists, and whether it is
//! used, others decide.
//!
//! Laws, which `tests/fit.rs` holds: a type is equal to itself; what [`fits`] through a middle fits directly. An adapter
//! does not pass on: a class becomes text and text becomes JSON, each in one step, while a picture becomes a tensor and a
//! tensor a prediction, and still no picture becomes a prediction without a model. A name that stands for two dimensions
//! of an input is not compared here: the values are, when they come.

mod adapt;
mod media;
mod ports;
mod shape;

use std::fmt;

use crate::interface::{MediaTypes, PortType, PredictionType, TensorType};
pub use ports::{Feed, InterfaceFit, interface_fit};

/// Worth of a fit where values flow as they are, but the input takes more than the output yields.
const WIDENING: f64 = 0.9;
/// Worth of a fit that needs one conversion; `n` of them are worth an `n`th of it.
const ADAPTER: f64 = 0.5;

/// How an output and an input go together. See the [module's page](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// They are the same type.
    Equal,
    /// Values flow as they are: the input takes them and more.
    Widening,
    /// Values flow once these conversions, at least one, are done in this order.
    NeedsAdapter(Vec<Adaptation>),
    /// Values cannot flow.
    Impossible(Misfit),
}

/// One conversion of values on their way from an output to an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adaptation {
    /// What is done.
    pub conversion: Conversion,
    /// What becomes what, in words.
    pub why: String,
}

/// Conversions that data conditioning is known for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Conversion {
    /// The same bytes go by another type: text as `text/plain` bytes.
    Rename,
    /// The same bytes go on once they are seen to be what is asked: JSON that meets a schema.
    Check,
    /// Numbers take another element type that holds them, or nearly.
    Elements,
    /// Numbers are rounded.
    Round,
    /// Dimensions of 1 come or go.
    Batch,
    /// The same elements stand in another shape.
    Reshape,
    /// Colours stand elsewhere, or are more or fewer.
    Colours,
    /// A picture is scaled.
    Scale,
    /// A row is padded or cut.
    Length,
    /// A file of its family takes another format: GIF as PNG.
    Format,
    /// A file becomes numbers.
    Decode,
    /// Numbers become a file.
    Encode,
    /// The sound is taken out of a video.
    Extract,
    /// Columns are renamed or left out.
    Columns,
    /// Values take another structure: a table as JSON.
    Structure,
    /// Labels stand in another order or are more.
    Labels,
    /// The highest score becomes a class.
    Score,
}

impl Conversion {
    /// What it counts: 2 where something is lost on purpose, otherwise 1.
    #[must_use]
    pub const fn cost(self) -> u32 {
        match self {
            Self::Round | Self::Extract | Self::Score | Self::Columns => 2,
            _ => 1,
        }
    }
}

impl Fit {
    /// Whether values flow as they are.
    #[must_use]
    pub const fn is_direct(&self) -> bool {
        matches!(self, Self::Equal | Self::Widening)
    }

    /// Whether values flow, by an adapter if need be.
    #[must_use]
    pub const fn is_possible(&self) -> bool {
        !matches!(self, Self::Impossible(_))
    }

    /// 1 for equal types, 0.9 where the input takes more, 0.5 over the conversions' cost with an adapter, 0 if nothing
    /// flows.
    #[must_use]
    pub fn worth(&self) -> f64 {
        match self {
            Self::Equal => 1.0,
            Self::Widening => WIDENING,
            Self::NeedsAdapter(steps) => {
                let cost = steps
                    .iter()
                    .fold(0_u32, |sum, step| sum.saturating_add(step.conversion.cost()));
                ADAPTER / f64::from(cost.max(1))
            }
            Self::Impossible(_) => 0.0,
        }
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal => f.write_str("is the same type"),
            Self::Widening => f.write_str("fits as it is"),
            Self::NeedsAdapter(steps) => {
                f.write_str("fits with an adapter: ")?;
                for (place, step) in steps.iter().enumerate() {
                    let separator = if place == 0 { "" } else { ", then " };
                    write!(f, "{separator}{step}")?;
                }
                Ok(())
            }
            Self::Impossible(why) => write!(f, "does not fit: {why}"),
        }
    }
}

impl fmt::Display for Adaptation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// How values of `output` come into a port of type `input`.
#[must_use]
pub fn fit(output: &PortType, input: &PortType) -> Fit {
    if output == input {
        return Fit::Equal;
    }
    if fits(output, input).is_ok() {
        return Fit::Widening;
    }
    match adapt::adapt(output, input) {
        Ok(steps) => Fit::NeedsAdapter(steps),
        Err(why) => Fit::Impossible(why),
    }
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
    if from.dtype == to.dtype && shape::fits(&from.dims, &to.dims) {
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
