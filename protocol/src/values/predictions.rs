//! Predictions: their JSON list as it stands in the plain form, checked for its shape.
//!
//! Whether classes are in the label set is for whoever executes, who has the whole set.

use serde::Deserialize as _;
use serde_json::Value;

use super::Bounded;
use super::error::{Fault, Problem};
use crate::interface::{
    Location, LocationKind, Prediction, PredictionKind, PredictionType, PredictionValue,
};

pub(super) fn from_json(expected: &PredictionType, json: &Value) -> Result<Vec<u8>, Fault> {
    let Value::Array(items) = json else {
        return Err(Problem::expected("a list of predictions", json).into());
    };
    for (at, item) in items.iter().enumerate() {
        check(expected, item).map_err(|problem| Fault::from(problem).within(at))?;
    }
    let mut bytes = Bounded::default();
    serde_json::to_writer(&mut bytes, json).map_err(|_| Problem::TooLong)?;
    Ok(bytes.0)
}

fn check(expected: &PredictionType, item: &Value) -> Result<(), Problem> {
    let prediction =
        Prediction::deserialize(item).map_err(|error| Problem::Prediction(error.to_string()))?;
    let kind = match &prediction.value {
        PredictionValue::Text(_) => PredictionKind::Text,
        PredictionValue::Class(_) => PredictionKind::Class,
        PredictionValue::Number(_) => PredictionKind::Number,
        PredictionValue::Vector(_) => PredictionKind::Vector,
    };
    if kind != expected.value {
        let (expected, found) = (format!("a {}", expected.value), format!("a {kind}"));
        return Err(Problem::Unlike { expected, found });
    }
    if prediction.confidence.is_some_and(|confidence| !(0.0..=1.0).contains(&confidence)) {
        return Err(Problem::Prediction("a confidence is not between 0 and 1".to_owned()));
    }
    let location = prediction.location.as_ref().map(|location| match location {
        Location::Box(_) => LocationKind::Box,
        Location::TextWindow(_) => LocationKind::TextWindow,
        Location::FrameIndices(_) => LocationKind::FrameIndices,
    });
    match location == expected.location {
        true => Ok(()),
        false => Err(Problem::Prediction(match expected.location {
            Some(_) => "its location is missing, or of another kind than the port's".to_owned(),
            None => "the port's predictions have no location".to_owned(),
        })),
    }
}
