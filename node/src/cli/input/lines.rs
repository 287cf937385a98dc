//! Records as JSON, in lines or in a list, and texts in lines.

use std::collections::BTreeMap;

use guildhall_protocol::interface::PortType;
use guildhall_protocol::values::{by_port, from_json};
use serde_json::Value;

use super::at;
use super::form::Target;
use super::record::{Entry, Given};
use crate::cli::table::counted;
use crate::cli::{Failure, exit};

/// Fields of a record that name it, where no port is called like that.
const NAMES: [&str; 2] = ["name", "id"];

/// What was read, and what it was read from.
type Read = Result<(Vec<Entry>, String), Failure>;

/// The lines of a text that are not empty, with their numbers from 1.
fn filled(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let numbered = text.lines().enumerate().map(|(at, line)| (at.saturating_add(1), line));
    numbered.filter(|(_, line)| !line.trim().is_empty())
}

fn parsed(place: &str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::new(exit::USAGE, format!("{place}: not JSON")).with_cause(error.to_string())
    })
}

/// A record in each line.
pub(super) fn json_lines(name: &str, text: &str, target: &Target<'_>) -> Read {
    let record = |(line, text): (usize, &str)| {
        let place = format!("{name}, line {line}");
        entry(&format!("{name}:{line}"), &place, parsed(&place, text)?, target)
    };
    let entries = filled(text).map(record).collect::<Result<_, _>>()?;
    Ok((entries, ", one a line".to_owned()))
}

/// The lines as rows of one table.
pub(super) fn table(name: &str, text: &str) -> Result<Given, Failure> {
    let row = |(line, text)| parsed(&format!("{name}, line {line}"), text);
    filled(text).map(row).collect::<Result<_, _>>().map(|rows| Given::Json(Value::Array(rows)))
}

/// A list of records, or one record.
pub(super) fn json(name: &str, text: &str, target: &Target<'_>) -> Read {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let json = parsed(name, text)?;
    let one = || ", the whole file".to_owned();
    // What is a value as a whole is one: a list of numbers for a tensor, say.
    let is_value = target.port.as_ref().is_some_and(|port| from_json(port, &json).is_ok());
    match json {
        Value::Array(items) if !is_value => {
            let record = |(at, item)| {
                entry(&format!("{name}[{at}]"), &format!("{name}, item {at}"), item, target)
            };
            let entries = items.into_iter().enumerate().map(record).collect::<Result<_, _>>()?;
            Ok((entries, ", one an item".to_owned()))
        }
        json => Ok((vec![entry(name, name, json, target)?], one())),
    }
}

fn entry(name: &str, place: &str, json: Value, target: &Target<'_>) -> Result<Entry, Failure> {
    let (own, json) = without_name(json, target);
    let values = by_port(&target.open, &json).map_err(|error| at(place, &error))?;
    let values: BTreeMap<_, _> =
        values.into_iter().map(|(port, json)| (port, Given::Json(json))).collect();
    let name = own.unwrap_or_else(|| name.to_owned());
    Ok(Entry { name, place: place.to_owned(), values })
}

/// Takes the name out of an object whose other fields are ports.
fn without_name(json: Value, target: &Target<'_>) -> (Option<String>, Value) {
    let Value::Object(mut fields) = json else { return (None, json) };
    let is_port = |name: &str| target.open.iter().any(|port| port.name == name);
    let name = NAMES.into_iter().find(|name| fields.contains_key(*name) && !is_port(name));
    let others_are_ports = fields.len() > 1
        && fields.keys().all(|field| Some(field.as_str()) == name || is_port(field));
    let taken = name.filter(|_| others_are_ports).and_then(|name| match fields.get(name) {
        Some(Value::String(text)) => Some((name, text.clone())),
        Some(Value::Number(number)) => Some((name, number.to_string())),
        _ => None,
    });
    if let Some((name, _)) = &taken {
        fields.remove(*name);
    }
    (taken.map(|(_, text)| text), Value::Object(fields))
}

/// A text in each line.
pub(super) fn texts(name: &str, text: &str, target: &Target<'_>) -> Read {
    let port = target.single(name)?;
    if let Some(wrong) = target.port.as_ref().filter(|port| port.port_type != PortType::Text) {
        let message = format!("lines are texts, and port {port} is {}", wrong.port_type);
        return Err(Failure::new(exit::USAGE, message));
    }
    let record = |(line, text): (usize, &str)| {
        let place = format!("{name}, line {line}");
        let given = Given::Json(Value::String(text.to_owned()));
        Entry::one(&format!("{name}:{line}"), &place, port, given)
    };
    let entries: Vec<_> = filled(text).map(record).collect();
    let empty = text.lines().count().saturating_sub(entries.len());
    let left_out = match empty {
        0 => String::new(),
        empty => format!("; {} left out", counted(empty, "empty line")),
    };
    Ok((entries, format!(", one a line{left_out}")))
}
