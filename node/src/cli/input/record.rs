//! Records as they are collected, each as the node will read it, within what one request can carry.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use guildhall_client::package::ByteSize;
use guildhall_protocol::api::InputRecord;
use guildhall_protocol::interface::{Port, PortType};
use guildhall_protocol::limits::{JOB_MAX_RECORDS, VALUE_MAX_BYTES};
use guildhall_protocol::values::{only_port, record_from_json};
use serde_json::{Value, json};

use super::at;
use crate::cli::{Failure, exit};

/// Most bytes of records in one request, with base64 and the JSON around them: what a gateway takes, less a margin
/// for the rest of the request.
pub(super) const REQUEST_MAX_BYTES: usize = 63 * 1024 * 1024;

/// What to do with more than a request can carry.
pub(super) const PUBLISH_IT: &str = "publish it as a data package, and run over its reference";

/// The command for it.
pub(super) const PUBLISH_HELP: &str = "guild publish DIR";

/// What one port of a record gets.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Given {
    /// A file as it is.
    Bytes(Vec<u8>),
    /// JSON of the port's type.
    Json(Value),
}

/// A record, or part of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Entry {
    /// A name to find the output by.
    pub(super) name: String,
    /// Where it stands, for errors.
    pub(super) place: String,
    /// What it has, by port.
    pub(super) values: BTreeMap<String, Given>,
}

impl Entry {
    /// One that feeds one port.
    pub(super) fn one(name: &str, place: &str, port: &str, given: Given) -> Self {
        let values = BTreeMap::from([(port.to_owned(), given)]);
        Self { name: name.to_owned(), place: place.to_owned(), values }
    }

    /// About as many bytes as it takes.
    pub(super) fn len_bytes(&self) -> usize {
        let len = |given: &Given| match given {
            Given::Bytes(bytes) => bytes.len(),
            Given::Json(_) => 0,
        };
        self.values.values().map(len).sum()
    }

    /// Adds what another one has for other ports; its name too, if it is the one that names the record.
    pub(super) fn take(&mut self, other: Self, names: bool) -> Result<(), Failure> {
        if names {
            self.name = other.name;
        }
        if names || self.place.is_empty() {
            self.place = other.place;
        }
        for (port, given) in other.values {
            if self.values.insert(port.clone(), given).is_some() {
                let message = format!("{}: port {port} is fed twice", self.place);
                return Err(Failure::new(exit::USAGE, message));
            }
        }
        Ok(())
    }
}

/// What is to be sent.
pub(super) struct Records<'p> {
    ports: &'p [Port],
    records: Vec<InputRecord>,
    request_bytes: usize,
}

impl<'p> Records<'p> {
    pub(super) fn new(ports: &'p [Port]) -> Self {
        Self { ports, records: Vec::new(), request_bytes: 0 }
    }

    /// Checks a record and adds it.
    pub(super) fn add(&mut self, entry: Entry) -> Result<(), Failure> {
        let record = sent(self.ports, entry)?;
        let bytes = serde_json::to_vec(&record)
            .map_err(|error| Failure::from_error(exit::FAILED, &error))?;
        // A comma between it and the next one.
        self.request_bytes += bytes.len() + 1;
        let most = usize::try_from(JOB_MAX_RECORDS).unwrap_or(usize::MAX);
        if self.request_bytes > REQUEST_MAX_BYTES || self.records.len() >= most {
            return Err(too_much());
        }
        self.records.push(record);
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<InputRecord> {
        self.records
    }
}

pub(super) fn too_much() -> Failure {
    let most = ByteSize(u64::try_from(REQUEST_MAX_BYTES).unwrap_or(u64::MAX));
    let message =
        format!("this is more than one run can be sent, {most} and {JOB_MAX_RECORDS} records");
    Failure::new(exit::REFUSED, message).with_cause(PUBLISH_IT).with_help(PUBLISH_HELP)
}

/// A record in the form that is sent: the value of the only port in its plain form, several as JSON.
fn sent(ports: &[Port], entry: Entry) -> Result<InputRecord, Failure> {
    let Entry { name, place, values } = entry;
    let is_only =
        |port: &str| ports.is_empty() || only_port(ports).is_some_and(|only| only.name == port);
    if let (1, Some((port, Given::Bytes(bytes)))) = (values.len(), values.first_key_value())
        && is_only(port)
    {
        if bytes.len() > VALUE_MAX_BYTES {
            return Err(too_long(&place));
        }
        let value = Some(BASE64.encode(bytes));
        return Ok(InputRecord { name, value, values: BTreeMap::new() });
    }
    let mut record = BTreeMap::new();
    for (port, given) in values {
        let json = match given {
            Given::Json(json) => json,
            Given::Bytes(bytes) if bytes.len() > VALUE_MAX_BYTES => return Err(too_long(&place)),
            Given::Bytes(bytes) => {
                let port = ports.iter().find(|candidate| candidate.name == port);
                as_json(port.map(|port| &port.port_type), bytes)
                    .map_err(|why| Failure::new(exit::USAGE, format!("{place}: {why}")))?
            }
        };
        record.insert(port, json);
    }
    let read = record_from_json(ports, &record).map_err(|error| at(&place, &error))?;
    // The only value goes in its plain form, which is shorter and needs no parsing, where that says all.
    Ok(match read.as_slice() {
        [only] if only.dims.is_none() && is_only(&only.port) => {
            let value = Some(BASE64.encode(&only.bytes));
            InputRecord { name, value, values: BTreeMap::new() }
        }
        _ => InputRecord { name, value: None, values: record },
    })
}

fn too_long(place: &str) -> Failure {
    let most = ByteSize(u64::try_from(VALUE_MAX_BYTES).unwrap_or(u64::MAX));
    Failure::new(exit::REFUSED, format!("{place} is longer than a record may be, {most}"))
}

/// The content of a file as JSON of the port's type.
fn as_json(port_type: Option<&PortType>, bytes: Vec<u8>) -> Result<Value, String> {
    let not_json = |error: serde_json::Error| format!("not JSON: {error}");
    match port_type {
        Some(PortType::Text | PortType::Table(_)) => String::from_utf8(bytes)
            .map(Value::String)
            .map_err(|error| format!("not UTF-8: {}", error.utf8_error())),
        Some(PortType::Json(_) | PortType::Prediction(_)) => {
            serde_json::from_slice(&bytes).map_err(not_json)
        }
        _ => Ok(json!({ "base64": BASE64.encode(&bytes) })),
    }
}
