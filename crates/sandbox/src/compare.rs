//! Whether an output is the one that a unit test expects. Runs in workers only.

use guildhall_protocol::interface::{
    ElementType, PortType, Prediction, PredictionType, PredictionValue, TensorType,
};
use serde_json::Value;

use crate::value::check_predictions;

/// How much of a text is shown before and behind the first byte that differs, bytes.
const AROUND_BYTES: usize = 24;

/// The first difference in words, or `None`. Tolerance 0 compares bytes.
pub(crate) fn difference(
    port_type: &PortType,
    found: &[u8],
    expected: &[u8],
    tolerance: f64,
) -> Option<String> {
    if found == expected {
        return None;
    }
    let differs = if tolerance <= 0.0 {
        bytes(found, expected)
    } else {
        match port_type {
            PortType::Tensor(tensor) => tensors(tensor, found, expected, tolerance),
            PortType::Prediction(port) => predictions(port, found, expected, tolerance),
            PortType::Json(_) => {
                match (serde_json::from_slice(found), serde_json::from_slice(expected)) {
                    (Ok(found), Ok(expected)) => json(&found, &expected, tolerance),
                    _ => Err("one of both is not JSON".into()),
                }
            }
            _ => bytes(found, expected),
        }
    };
    differs.err()
}

fn bytes(found: &[u8], expected: &[u8]) -> Result<(), String> {
    let at = found.iter().zip(expected).position(|(a, b)| a != b);
    let shown = || {
        let at = at.unwrap_or(found.len().min(expected.len()));
        match (around(found, at), around(expected, at)) {
            (Some(found), Some(expected)) => format!(": `{found}`, expected `{expected}`"),
            _ => String::new(),
        }
    };
    if found.len() != expected.len() {
        return Err(format!("{} bytes, expected {}{}", found.len(), expected.len(), shown()));
    }
    match at {
        Some(at) => Err(format!("byte {at} differs{}", shown())),
        None => Ok(()),
    }
}

/// The text around a place, on one line, if it is one that people can read.
fn around(bytes: &[u8], at: usize) -> Option<String> {
    let is_begin = |at: &usize| bytes.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    let start = (0..=at.saturating_sub(AROUND_BYTES)).rev().find(is_begin)?;
    let end = (at.saturating_add(AROUND_BYTES)..bytes.len()).find(is_begin).unwrap_or(bytes.len());
    let text = std::str::from_utf8(bytes.get(start..end)?).ok()?;
    let text = text.replace('\n', "\\n");
    if text.chars().any(char::is_control) {
        return None;
    }
    let dots = |is_cut: bool| if is_cut { "..." } else { "" };
    Some(format!("{}{text}{}", dots(start > 0), dots(end < bytes.len())))
}

fn number(
    at: impl std::fmt::Display,
    found: f64,
    expected: f64,
    tolerance: f64,
) -> Result<(), String> {
    let same = found == expected || (found.is_nan() && expected.is_nan());
    if same || (found - expected).abs() <= tolerance {
        Ok(())
    } else {
        Err(format!("{at} is {found}, expected {expected} within {tolerance}"))
    }
}

fn tensors(
    tensor: &TensorType,
    found: &[u8],
    expected: &[u8],
    tolerance: f64,
) -> Result<(), String> {
    if found.len() != expected.len() {
        return bytes(found, expected);
    }
    let width = tensor.dtype.len_bytes().and_then(|len| usize::try_from(len).ok()).unwrap_or(1);
    for (at, (a, b)) in found.chunks(width).zip(expected.chunks(width)).enumerate() {
        match (element(tensor.dtype, a), element(tensor.dtype, b)) {
            (Some(a), Some(b)) => number(format_args!("element {at}"), a, b, tolerance)?,
            _ => return bytes(found, expected),
        }
    }
    Ok(())
}

/// One element as a number; integers of 64 bits lose what a tolerance does not see.
#[expect(clippy::cast_precision_loss, reason = "compared with a tolerance anyway")]
fn element(dtype: ElementType, bytes: &[u8]) -> Option<f64> {
    Some(match dtype {
        ElementType::Bool | ElementType::U8 => f64::from(*bytes.first()?),
        ElementType::I8 => f64::from(i8::from_le_bytes(bytes.try_into().ok()?)),
        ElementType::U16 => f64::from(u16::from_le_bytes(bytes.try_into().ok()?)),
        ElementType::I16 => f64::from(i16::from_le_bytes(bytes.try_into().ok()?)),
        ElementType::U32 => f64::from(u32::from_le_bytes(bytes.try_into().ok()?)),
        ElementType::I32 => f64::from(i32::from_le_bytes(bytes.try_into().ok()?)),
        ElementType::U64 => u64::from_le_bytes(bytes.try_into().ok()?) as f64,
        ElementType::I64 => i64::from_le_bytes(bytes.try_into().ok()?) as f64,
        ElementType::F16 => half(u16::from_le_bytes(bytes.try_into().ok()?)),
        ElementType::F32 => f64::from(f32::from_le_bytes(bytes.try_into().ok()?)),
        ElementType::F64 => f64::from_le_bytes(bytes.try_into().ok()?),
        _ => return None,
    })
}

/// An IEEE 754 half-precision number.
fn half(bits: u16) -> f64 {
    let fraction = f64::from(bits & 0x03ff);
    let exponent = i32::from((bits >> 10) & 0x1f);
    let magnitude = match exponent {
        0 => fraction * f64::powi(2.0, -24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * f64::powi(2.0, exponent - 25),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

fn predictions(
    port: &PredictionType,
    found: &[u8],
    expected: &[u8],
    tolerance: f64,
) -> Result<(), String> {
    let found = check_predictions(port, found)?;
    let expected = check_predictions(port, expected)
        .map_err(|why| format!("the expected value itself is wrong: {why}"))?;
    if found.len() != expected.len() {
        return Err(format!("{} predictions, expected {}", found.len(), expected.len()));
    }
    for (at, (a, b)) in found.iter().zip(&expected).enumerate() {
        prediction(a, b, tolerance).map_err(|why| format!("prediction {at}: {why}"))?;
    }
    Ok(())
}

fn prediction(found: &Prediction, expected: &Prediction, tolerance: f64) -> Result<(), String> {
    match (&found.value, &expected.value) {
        (PredictionValue::Number(a), PredictionValue::Number(b)) => {
            number("the number", *a, *b, tolerance)?;
        }
        (PredictionValue::Vector(a), PredictionValue::Vector(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                number(format_args!("element {at}"), *a, *b, tolerance)?;
            }
        }
        (a, b) if a == b => {}
        (a, b) => return Err(format!("{}, expected {}", shown(a), shown(b))),
    }
    if found.input != expected.input || found.location != expected.location {
        return Err("it is about another part of the input".into());
    }
    match (found.confidence, expected.confidence) {
        (Some(a), Some(b)) => number("the confidence", a, b, tolerance),
        (None, None) => Ok(()),
        _ => Err("only one of both has a confidence".into()),
    }
}

/// A predicted value in words, as short as people need it to tell two apart.
fn shown(value: &PredictionValue) -> String {
    match value {
        PredictionValue::Class(class) => format!("class `{class}`"),
        PredictionValue::Text(text) => format!("text `{text}`"),
        PredictionValue::Number(number) => format!("number {number}"),
        PredictionValue::Vector(numbers) => format!("a vector of {}", numbers.len()),
    }
}

/// Recursion is bounded: `serde_json` refuses more than 128 levels.
fn json(found: &Value, expected: &Value, tolerance: f64) -> Result<(), String> {
    match (found, expected) {
        (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => number("a number", a, b, tolerance),
            _ => Err("a number is out of range".into()),
        },
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).try_for_each(|(a, b)| json(a, b, tolerance))
        }
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => {
            b.iter().try_for_each(|(key, b)| match a.get(key) {
                Some(a) => json(a, b, tolerance).map_err(|why| format!("`{key}`: {why}")),
                None => Err(format!("`{key}` is missing")),
            })
        }
        (a, b) if a == b => Ok(()),
        _ => Err("the JSON values differ".into()),
    }
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::interface::{Dim, JsonType, PredictionKind};

    use super::*;

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn numbers_may_differ_by_the_tolerance_and_by_nothing_without_one() {
        let port = PortType::Tensor(TensorType { dtype: ElementType::F32, dims: vec![Dim::Free] });
        let (a, b) = (floats(&[1.0, f32::NAN]), floats(&[1.0005, f32::NAN]));
        assert_eq!(difference(&port, &a, &b, 1e-3), None);
        assert!(difference(&port, &a, &b, 1e-4).unwrap().starts_with("element 0 is 1,"));
        assert_eq!(difference(&port, &a, &b, 0.0).unwrap(), "byte 0 differs");
        assert!(difference(&port, &a, &floats(&[1.0]), 1.0).is_some());
    }

    #[test]
    fn where_texts_differ_is_shown_with_what_stands_around_it() {
        let text = |a: &str, b: &str| bytes(a.as_bytes(), b.as_bytes()).unwrap_err();
        assert_eq!(text("the cat", "the dog"), "byte 4 differs: `the cat`, expected `the dog`");
        assert_eq!(text("a\n", "a"), "2 bytes, expected 1: `a\\n`, expected `a`");
        let long = "ä".repeat(40);
        let (a, b) = (format!("{long}x{long}"), format!("{long}y{long}"));
        let shown = format!("...{0}x{0}...", "ä".repeat(12));
        assert!(
            text(&a, &b).starts_with(&format!("byte 80 differs: `{shown}`")),
            "{}",
            text(&a, &b)
        );
        assert_eq!(bytes(&[0, 1], &[0, 2]).unwrap_err(), "byte 1 differs");
    }

    #[test]
    fn classes_must_be_equal_and_confidences_near() {
        let port = PortType::Prediction(PredictionType {
            value: PredictionKind::Class,
            labels: vec![],
            location: None,
        });
        let value = |class: &str, confidence: f64| {
            format!(r#"[{{"input":0,"value":{{"class":"{class}"}},"confidence":{confidence}}}]"#)
                .into_bytes()
        };
        assert_eq!(difference(&port, &value("7", 0.5), &value("7", 0.5001), 1e-3), None);
        assert!(difference(&port, &value("7", 0.5), &value("7", 0.6), 1e-3).is_some());
        assert_eq!(
            difference(&port, &value("7", 0.5), &value("8", 0.5), 1.0).unwrap(),
            "prediction 0: class `7`, expected class `8`"
        );
    }

    #[test]
    fn json_is_compared_by_structure() {
        let port = PortType::Json(JsonType::default());
        let (a, b): (&[u8], &[u8]) = (br#"{"a":[1.0],"b":"x"}"#, br#"{ "b": "x", "a": [1.01] }"#);
        assert_eq!(difference(&port, a, b, 0.1), None);
        assert_eq!(
            difference(&port, a, b, 0.001).unwrap(),
            "`a`: a number is 1, expected 1.01 within 0.001"
        );
    }

    #[test]
    fn half_precision_numbers_are_read() {
        for (bits, value) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, f64::powi(2.0, -24)), (0x7bff, 65504.0)]
        {
            assert!((half(bits) - value).abs() < f64::EPSILON, "{bits:x}");
        }
        assert!(half(0x7e00).is_nan() && half(0xfc00).is_infinite());
    }
}
