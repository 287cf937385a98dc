//! Pictures, sound, video and other bytes: base64, bare or in a `data:` URL, or an object that says its media type.

use data_encoding::BASE64;
use serde_json::{Map, Value};

use super::error::{Fault, Problem};
use crate::interface::MediaTypes;
use crate::limits::VALUE_MAX_BYTES;

/// Fields of bytes that are written as an object.
const FIELDS: [&str; 2] = ["base64", "media_type"];

/// What a value that is no bytes at all is told.
const EXPECTED: &str = "base64, a data: URL or {\"base64\": ...}";

pub(super) fn from_json(types: &MediaTypes, json: &Value) -> Result<Vec<u8>, Fault> {
    match json {
        Value::String(text) => match data_url(text) {
            Some(url) => {
                let (media_type, body) = url?;
                check_type(types, media_type)?;
                Ok(decode(body)?)
            }
            None => Ok(decode(text)?),
        },
        Value::Object(fields) => of_object(types, fields),
        other => Err(Problem::expected(EXPECTED, other).into()),
    }
}

fn of_object(types: &MediaTypes, fields: &Map<String, Value>) -> Result<Vec<u8>, Fault> {
    if let Some(name) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(Problem::Field { name: name.clone(), known: FIELDS.to_vec() }.into());
    }
    match fields.get("media_type") {
        None | Some(Value::Null) => {}
        Some(Value::String(media_type)) => {
            check_type(types, media_type)
                .map_err(|fault| Fault::from(fault).within("media_type"))?;
        }
        Some(other) => {
            return Err(Fault::from(Problem::expected("a text", other)).within("media_type"));
        }
    }
    let text = fields.get("base64").ok_or(Problem::Lacks("base64"))?;
    base64(text).map_err(|problem| Fault::from(problem).within("base64"))
}

/// The media type and the base64 of a `data:` URL.
fn data_url(text: &str) -> Option<Result<(&str, &str), Problem>> {
    let rest = text.strip_prefix("data:")?;
    let wrong = || Problem::Base64("a data: URL has `;base64,` before its content".to_owned());
    let Some((head, body)) = rest.split_once(',') else { return Some(Err(wrong())) };
    let Some(head) = head.strip_suffix(";base64") else { return Some(Err(wrong())) };
    let media_type = head.split(';').next().unwrap_or_default();
    Some(Ok((media_type, body)))
}

/// A media type that is said must be one that the port takes; none that is said is left to who looks at the bytes.
fn check_type(types: &MediaTypes, said: &str) -> Result<(), Problem> {
    let is_same = |taken: &String| taken.eq_ignore_ascii_case(said);
    if said.is_empty() || types.media_types.is_empty() || types.media_types.iter().any(is_same) {
        return Ok(());
    }
    let taken = types.media_types.join(" or ");
    Err(Problem::MediaType { found: said.to_owned(), taken })
}

pub(super) fn base64(json: &Value) -> Result<Vec<u8>, Problem> {
    match json {
        Value::String(text) => decode(text),
        other => Err(Problem::expected("base64", other)),
    }
}

/// Reads base64; white space in it, which some tools write, does no harm.
fn decode(text: &str) -> Result<Vec<u8>, Problem> {
    let wrong = |error: data_encoding::DecodeError| Problem::Base64(error.to_string());
    let stripped: Vec<u8>;
    let text = match text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        true => {
            stripped = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
            stripped.as_slice()
        }
        false => text.as_bytes(),
    };
    // Base64 has four letters for three bytes, so that this bounds what is decoded.
    if text.len() / 4 > VALUE_MAX_BYTES / 3 + 1 {
        return Err(Problem::TooLong);
    }
    BASE64.decode(text).map_err(wrong)
}
