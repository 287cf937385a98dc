//! Single elements of tensors and cells of tables: JSON or text to little-endian bytes and back.

use serde_json::{Number, Value};

use super::error::Problem;
use crate::interface::{self, ElementType};

/// How JSON, which has no such numbers, writes them.
const NOT_FINITE: [(&str, f64); 3] =
    [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)];

/// Digits that tell all 16-bit floats apart.
const F16_DIGITS: usize = 5;

/// The element type of this name: ours, numpy's, or that of the Open Inference Protocol.
#[must_use]
pub fn element_named(name: &str) -> Option<ElementType> {
    match name.to_ascii_lowercase().as_str() {
        "fp16" => Some(ElementType::F16),
        "fp32" => Some(ElementType::F32),
        "fp64" => Some(ElementType::F64),
        "str" | "bytes" => Some(ElementType::Text),
        written => interface::element_named(written),
    }
}

/// The number that a text is, as JSON: a whole one exactly, one that is not finite as the text that stands for it.
/// `None` for other texts and for numbers beyond 64 bits.
#[must_use]
pub fn number_of(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    if let Ok(whole) = text.parse::<u64>() {
        return Some(whole.into());
    }
    let number = text.parse::<f64>().ok()?;
    // A number that is too large comes out infinite, which it is not.
    let is_digits = text.bytes().any(|byte| byte.is_ascii_digit());
    (number.is_finite() || !is_digits).then(|| float(number, number.to_string()))
}

/// Adds one element; `dtype` is not text.
pub(super) fn push(dtype: ElementType, json: &Value, to: &mut Vec<u8>) -> Result<(), Problem> {
    macro_rules! whole {
        ($type:ty) => {{
            let whole = whole(json)?;
            let number = <$type>::try_from(whole).map_err(|_| out_of_range(json, dtype))?;
            to.extend_from_slice(&number.to_le_bytes());
        }};
    }
    match dtype {
        ElementType::Bool => to.push(u8::from(truth(json)?)),
        ElementType::U8 => whole!(u8),
        ElementType::I8 => whole!(i8),
        ElementType::U16 => whole!(u16),
        ElementType::I16 => whole!(i16),
        ElementType::U32 => whole!(u32),
        ElementType::I32 => whole!(i32),
        ElementType::U64 => whole!(u64),
        ElementType::I64 => whole!(i64),
        ElementType::F16 => {
            let number = any_float(json)?;
            let bits = f16_bits(number);
            if number.is_finite() && f16_value(bits).is_infinite() {
                return Err(out_of_range(json, dtype));
            }
            to.extend_from_slice(&bits.to_le_bytes());
        }
        ElementType::F32 => {
            let number = any_float(json)?;
            #[expect(clippy::cast_possible_truncation, reason = "rounding is what is meant")]
            let short = number as f32;
            if number.is_finite() && short.is_infinite() {
                return Err(out_of_range(json, dtype));
            }
            to.extend_from_slice(&short.to_le_bytes());
        }
        ElementType::F64 => to.extend_from_slice(&any_float(json)?.to_le_bytes()),
        ElementType::Text => return Err(Problem::expected("a number", json)),
    }
    Ok(())
}

fn out_of_range(json: &Value, dtype: ElementType) -> Problem {
    Problem::OutOfRange { number: json.to_string(), dtype }
}

fn truth(json: &Value) -> Result<bool, Problem> {
    match json {
        Value::Bool(truth) => Ok(*truth),
        Value::Number(number) if number.as_u64() == Some(0) => Ok(false),
        Value::Number(number) if number.as_u64() == Some(1) => Ok(true),
        other => Err(Problem::expected("true or false", other)),
    }
}

fn whole(json: &Value) -> Result<i128, Problem> {
    let wrong = || Problem::expected("a whole number", json);
    let Value::Number(number) = json else { return Err(wrong()) };
    if let Some(whole) = number.as_i64() {
        return Ok(whole.into());
    }
    if let Some(whole) = number.as_u64() {
        return Ok(whole.into());
    }
    match number.as_f64() {
        #[expect(clippy::cast_possible_truncation, reason = "what is cut is out of any range")]
        Some(float) if float.fract() == 0.0 => Ok(float as i128),
        _ => Err(wrong()),
    }
}

fn any_float(json: &Value) -> Result<f64, Problem> {
    let wrong = || Problem::expected("a number", json);
    match json {
        Value::Number(number) => number.as_f64().ok_or_else(wrong),
        Value::String(text) => NOT_FINITE
            .iter()
            .find(|(name, _)| name == text)
            .map(|(_, number)| *number)
            .ok_or_else(wrong),
        Value::Null => Err(Problem::Unlike {
            expected: "a number".to_owned(),
            found: "null (one that is missing is \"NaN\")".to_owned(),
        }),
        _ => Err(wrong()),
    }
}

/// One element as JSON; `None` when the bytes are no element of this type.
pub(super) fn read(dtype: ElementType, bytes: &[u8]) -> Option<Value> {
    macro_rules! whole {
        ($type:ty) => {
            Some(<$type>::from_le_bytes(bytes.try_into().ok()?).into())
        };
    }
    match dtype {
        ElementType::Bool => match bytes {
            [0] => Some(Value::Bool(false)),
            [1] => Some(Value::Bool(true)),
            _ => None,
        },
        ElementType::U8 => whole!(u8),
        ElementType::I8 => whole!(i8),
        ElementType::U16 => whole!(u16),
        ElementType::I16 => whole!(i16),
        ElementType::U32 => whole!(u32),
        ElementType::I32 => whole!(i32),
        ElementType::U64 => whole!(u64),
        ElementType::I64 => whole!(i64),
        ElementType::F16 => {
            let bits = u16::from_le_bytes(bytes.try_into().ok()?);
            let number = f16_value(bits);
            Some(float(number, f16_text(bits, number)))
        }
        ElementType::F32 => {
            let number = f32::from_le_bytes(bytes.try_into().ok()?);
            Some(float(number.into(), number.to_string()))
        }
        ElementType::F64 => {
            let number = f64::from_le_bytes(bytes.try_into().ok()?);
            Some(float(number, number.to_string()))
        }
        ElementType::Text => None,
    }
}

/// A float as JSON, written like `shortest`, which is the shortest text that means it among floats of its size.
fn float(number: f64, shortest: String) -> Value {
    let shown = shortest.parse().ok().and_then(Number::from_f64);
    let name = || {
        let found = NOT_FINITE.iter().find(|(_, other)| *other == number);
        found.map_or("NaN", |(name, _)| name)
    };
    shown.map_or_else(|| Value::String(name().to_owned()), Value::Number)
}

/// The nearest 16-bit float, to even where two are as near.
fn f16_bits(number: f64) -> u16 {
    /// Half way between the largest one and what would be the next.
    const OVERFLOWS: f64 = 65_520.0;
    /// Smallest one with a full mantissa: 2^-14.
    const NORMAL_MIN: f64 = 6.103_515_625e-5;
    /// 1 / smallest one above zero: 2^24.
    const STEPS: f64 = 16_777_216.0;
    let sign = if number.is_sign_negative() { 0x8000 } else { 0 };
    let size = number.abs();
    let bits = if number.is_nan() {
        0x7e00
    } else if size >= OVERFLOWS {
        0x7c00
    } else {
        // Within one power of two, neighbours are equally far apart: 2^-24 up to the second one.
        let exponent = if size < NORMAL_MIN { 0 } else { stored_exponent(size) };
        let steps = size * STEPS / 2_f64.powi(i32::from(exponent.saturating_sub(1)));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 2048"
        )]
        let mantissa = steps.round_ties_even() as u16;
        // A mantissa that was rounded up to the next power of two carries into the exponent, which is right.
        match exponent {
            0 => mantissa,
            exponent => mantissa.saturating_sub(1024).saturating_add(exponent << 10),
        }
    };
    bits | sign
}

/// The exponent that a 16-bit float of this size stores; only called for 2^-14 and more.
fn stored_exponent(size: f64) -> u16 {
    /// What 64-bit floats add to an exponent (1023), less what 16-bit ones add (15).
    const BIAS: u64 = 1008;
    u16::try_from((size.to_bits() >> 52).saturating_sub(BIAS)).unwrap_or_default()
}

fn f16_value(bits: u16) -> f64 {
    let mantissa = f64::from(bits & 0x03ff);
    let exponent = i32::from(bits >> 10 & 0x1f);
    let size = match exponent {
        0 => mantissa * 2_f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (1.0 + mantissa / 1024.0) * 2_f64.powi(exponent.saturating_sub(15)),
    };
    if bits & 0x8000 == 0 { size } else { -size }
}

/// The shortest text that means this 16-bit float.
fn f16_text(bits: u16, number: f64) -> String {
    let mut texts = (0..F16_DIGITS).map(|digits| format!("{number:.digits$e}"));
    let is_same = |text: &String| text.parse().is_ok_and(|read| f16_bits(read) == bits);
    texts.find(is_same).unwrap_or_else(|| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bit_floats_come_back_and_round_to_the_nearest() {
        for bits in 0..=u16::MAX {
            let number = f16_value(bits);
            if !number.is_nan() {
                assert_eq!(f16_bits(number), bits, "{bits:#x} {number}");
                let json = read(ElementType::F16, &bits.to_le_bytes()).unwrap();
                let mut back = Vec::new();
                push(ElementType::F16, &json, &mut back).unwrap();
                assert_eq!(back, bits.to_le_bytes(), "{bits:#x} {json}");
            }
        }
        // 1 + 2^-11 lies half way between 1 and its neighbour: the even one is 1.
        assert_eq!(f16_bits(1.0 + 2_f64.powi(-11)), 0x3c00);
        assert_eq!(f16_bits(1.0 + 3.0 * 2_f64.powi(-11)), 0x3c02);
        assert_eq!((f16_bits(65_519.0), f16_bits(65_520.0)), (0x7bff, 0x7c00));
        assert_eq!(f16_bits(2_f64.powi(-25)), 0);
        assert_eq!(read(ElementType::F16, &0x2e66_u16.to_le_bytes()).unwrap().to_string(), "0.1");
    }

    #[test]
    fn floats_are_written_short() {
        let json = read(ElementType::F32, &0.1_f32.to_le_bytes()).unwrap();
        assert_eq!(json.to_string(), "0.1");
        let json = read(ElementType::F32, &(-0.0_f32).to_le_bytes()).unwrap();
        assert_eq!(json.to_string(), "-0.0");
        let json = read(ElementType::F64, &f64::NEG_INFINITY.to_le_bytes()).unwrap();
        assert_eq!(json, "-Infinity");
    }

    #[test]
    fn texts_are_numbers_exactly_or_not_at_all() {
        assert_eq!(number_of(" 18446744073709551615 "), Some(u64::MAX.into()));
        assert_eq!(number_of("-9223372036854775808"), Some(i64::MIN.into()));
        assert_eq!(number_of("1e400"), None);
        assert_eq!(number_of("nan"), Some("NaN".into()));
        assert_eq!(number_of("-inf"), Some("-Infinity".into()));
        for text in ["", "abc", "1,5", "0x10", "1 2"] {
            assert_eq!(number_of(text), None, "{text}");
        }
    }

    #[test]
    fn whole_numbers_stay_whole_and_in_range() {
        let push = |dtype, json: &str| {
            let mut to = Vec::new();
            push(dtype, &serde_json::from_str(json).unwrap(), &mut to).map(|()| to)
        };
        assert_eq!(push(ElementType::I8, "-128"), Ok(vec![0x80]));
        assert_eq!(push(ElementType::U8, "3.0"), Ok(vec![3]));
        assert!(push(ElementType::U8, "256").is_err() && push(ElementType::U8, "-1").is_err());
        assert!(push(ElementType::I64, "1.5").is_err());
        assert_eq!(push(ElementType::U64, "1e3"), Ok(1000_u64.to_le_bytes().to_vec()));
        assert!(
            push(ElementType::U64, "1e300").is_err() && push(ElementType::I64, "1e300").is_err()
        );
        assert_eq!(push(ElementType::U64, "18446744073709551615"), Ok(vec![0xff; 8]));
        assert!(
            push(ElementType::F32, "1e39").is_err() && push(ElementType::F16, "65520").is_err()
        );
        assert_eq!(push(ElementType::F32, "\"NaN\""), Ok(f32::NAN.to_le_bytes().to_vec()));
        assert!(
            push(ElementType::F32, "\"nan\"").is_err() && push(ElementType::F64, "null").is_err()
        );
        assert!(push(ElementType::F64, "true").is_err() && push(ElementType::Bool, "2").is_err());
    }
}
