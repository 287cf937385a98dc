//! Outputs as rows of CSV: a row for each prediction, and one for every other value.

use guildhall_protocol::api::{OutputLine, OutputValue};
use guildhall_protocol::interface::Prediction;
use guildhall_protocol::values::csv::write_row;

use crate::cli::receipt::{prediction_text, value_text};

/// The columns. They are always the same, so that files of different runs fit each other.
const HEAD: [&str; 6] = ["name", "port", "value", "confidence", "location", "failure"];

/// The header line.
pub(super) fn head() -> String {
    let mut text = String::new();
    write_row(&mut text, HEAD.map(Some));
    text
}

/// The rows of one record; none of them has a port where there is only one.
pub(super) fn of(line: &OutputLine) -> String {
    let mut text = String::new();
    match &line.value {
        OutputValue::Ports(ports) => {
            ports.iter().for_each(|(port, value)| add(&mut text, &line.name, Some(port), value));
        }
        value => add(&mut text, &line.name, None, value),
    }
    text
}

fn add(text: &mut String, name: &str, port: Option<&str>, value: &OutputValue) {
    match value {
        // A record without predictions is a row as well: it was scored.
        OutputValue::Predictions(predictions) if predictions.is_empty() => {
            write_row(text, [Some(name), port, None, None, None, None]);
        }
        OutputValue::Predictions(predictions) => {
            predictions.iter().for_each(|prediction| row(text, name, port, prediction));
        }
        OutputValue::Failed(failure) => {
            let why = format!("{}: {}", failure.cause, failure.message);
            write_row(text, [Some(name), port, None, None, None, Some(&why)]);
        }
        value => {
            write_row(text, [Some(name), port, Some(&value_text(value)), None, None, None]);
        }
    }
}

fn row(text: &mut String, name: &str, port: Option<&str>, prediction: &Prediction) {
    let value = prediction_text(&prediction.value);
    let confidence = prediction.confidence.map(|confidence| confidence.to_string());
    let location = prediction.location.as_ref();
    let location = location.and_then(|location| serde_json::to_string(location).ok());
    let cells = [Some(name), port, Some(&value), confidence.as_deref(), location.as_deref(), None];
    write_row(text, cells);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_prediction_is_a_row_and_every_record_has_one() {
        let rows = |value: serde_json::Value| {
            let line = json!({"index": 0, "name": "a,b", "value": value});
            of(&serde_json::from_value(line).unwrap())
        };
        let predictions = json!({"predictions": [
            {"input": 0, "value": {"class": "cat"}, "confidence": 0.5, "location": {"box": [0, 1, 2, 3]}},
            {"input": 0, "value": {"number": 1.5}},
        ]});
        assert_eq!(head(), "name,port,value,confidence,location,failure\n");
        assert_eq!(
            rows(predictions),
            "\"a,b\",,cat,0.5,\"{\"\"box\"\":[0.0,1.0,2.0,3.0]}\",\n\"a,b\",,1.5,,,\n"
        );
        assert_eq!(rows(json!({"predictions": []})), "\"a,b\",,,,,\n");
        let failed = json!({"failed": {"stage": 0, "cause": "timeout", "message": "too slow"}});
        assert_eq!(rows(failed), "\"a,b\",,,,,timeout: too slow\n");
        let ports = json!({"ports": {"x": {"text": "t"}, "y": {"tensor": [1, 2]}}});
        assert_eq!(rows(ports), "\"a,b\",x,t,,,\n\"a,b\",y,\"[1,2]\",,,\n");
    }
}
