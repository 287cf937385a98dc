//! What a file is taken for: one value as it is, or records in a form that people keep data in.

use std::path::Path;

use clap::ValueEnum;
use guildhall_protocol::interface::{Port, PortType};
use guildhall_protocol::values::{csv, only_port};

use super::record::{Entry, Given};
use super::{lines, npy, rows};
use crate::cli::table::counted;
use crate::cli::{Failure, exit};

/// What a file is, whatever its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum As {
    /// A header line, then a record in each row
    Csv,
    /// A record in each line, as JSON
    Jsonl,
    /// A list of records, or one, as JSON
    Json,
    /// An array of numpy; records along its first axis, or one
    Npy,
    /// One value, as it is
    Raw,
    /// A text in each line
    Lines,
}

/// The ports that an input may feed.
pub(super) struct Target<'p> {
    /// All inputs of the interface; none when it is not known.
    pub(super) ports: &'p [Port],
    /// Those that this input may feed.
    pub(super) open: Vec<Port>,
    /// The one that it feeds if its content names none.
    pub(super) port: Option<Port>,
}

impl<'p> Target<'p> {
    /// The target of an input that `named` a port, or none; `taken` are those that any input named.
    pub(super) fn new(ports: &'p [Port], named: Option<&str>, taken: &[String]) -> Self {
        let is_open = |port: &&Port| match named {
            Some(named) => port.name == named,
            None => !taken.contains(&port.name),
        };
        let open: Vec<Port> = ports.iter().filter(is_open).cloned().collect();
        let port = only_port(&open).cloned();
        Self { ports, open, port }
    }

    fn port_type(&self) -> Option<&PortType> {
        self.port.as_ref().map(|port| &port.port_type)
    }

    /// The port for what names none.
    pub(super) fn single(&self, name: &str) -> Result<&str, Failure> {
        match &self.port {
            Some(port) => Ok(&port.name),
            None if self.ports.is_empty() => Ok(""),
            None => {
                let names: Vec<_> = self.open.iter().map(|port| port.name.as_str()).collect();
                let message = format!("which input is {name} for? There are {}", names.join(", "));
                Err(Failure::new(exit::USAGE, message).with_help("--input PORT=FILE, for each"))
            }
        }
    }
}

/// What the name of a file and the type of the port say.
pub(super) fn of_name(path: &Path, bytes: &[u8], target: &Target<'_>) -> Result<As, Failure> {
    use PortType::{Audio, Bytes, Image, Json, Prediction, Tensor, Text, Video};
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let port_type = target.port_type();
    if target.ports.is_empty() {
        return Ok(As::Raw);
    }
    Ok(match (extension.as_str(), port_type) {
        ("csv" | "tsv", Some(Image(_) | Audio(_) | Video(_) | Bytes(_))) => As::Raw,
        // A text may be CSV; one that has a column for texts is not meant as one.
        ("csv" | "tsv", Some(Text)) if !has_column(bytes, &extension, target) => As::Raw,
        ("csv" | "tsv", _) => As::Csv,
        ("jsonl" | "ndjson", Some(Image(_) | Audio(_) | Video(_) | Bytes(_))) => As::Raw,
        ("jsonl" | "ndjson", _) => As::Jsonl,
        ("json", Some(Text | Json(_) | Prediction(_) | Bytes(_))) => As::Raw,
        ("json", _) => As::Json,
        ("npy", Some(Tensor(_)) | None) => As::Npy,
        ("npz", Some(Tensor(_)) | None) => {
            let message = format!("{} holds several arrays", path.display());
            return Err(Failure::new(exit::USAGE, message)
                .with_cause("save the one that is meant by itself, as .npy")
                .with_help(
                    "python3 -c \"import numpy as n; n.save('x.npy', n.load('x.npz')['NAME'])\"",
                ));
        }
        _ => As::Raw,
    })
}

fn has_column(bytes: &[u8], extension: &str, target: &Target<'_>) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let delimiter = if extension == "tsv" { '\t' } else { ',' };
    let header = csv::Reader::new(&text, delimiter).next().and_then(Result::ok);
    let cells = header.iter().flat_map(|row| row.cells.iter());
    cells.into_iter().any(|cell| target.open.iter().any(|port| port.name == cell.text.trim()))
}

/// The records of a file.
pub(super) fn entries(
    name: &str,
    bytes: Vec<u8>,
    form: As,
    target: &Target<'_>,
    notes: &mut Vec<String>,
) -> Result<Vec<Entry>, Failure> {
    let is_table = matches!(target.port_type(), Some(PortType::Table(_)));
    let (entries, what) = match form {
        As::Raw => {
            let given = Given::Bytes(bytes);
            return Ok(vec![Entry::one(name, name, target.single(name)?, given)]);
        }
        As::Csv if is_table => {
            let given = rows::table(name, text(name, bytes)?)?;
            return Ok(vec![Entry::one(name, name, target.single(name)?, given)]);
        }
        As::Csv => rows::records(name, &text(name, bytes)?, target)?,
        As::Jsonl if is_table => {
            let given = lines::table(name, &text(name, bytes)?)?;
            return Ok(vec![Entry::one(name, name, target.single(name)?, given)]);
        }
        As::Jsonl => lines::json_lines(name, &text(name, bytes)?, target)?,
        As::Json => lines::json(name, &text(name, bytes)?, target)?,
        As::Lines => lines::texts(name, &text(name, bytes)?, target)?,
        As::Npy => npy::records(name, &bytes, target)?,
    };
    if entries.is_empty() {
        return Err(Failure::new(exit::USAGE, format!("there are no records in {name}")));
    }
    notes.push(format!("{name}: {}{what}", counted(entries.len(), "record")));
    Ok(entries)
}

fn text(name: &str, bytes: Vec<u8>) -> Result<String, Failure> {
    let is_utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    String::from_utf8(bytes).map_err(|error| {
        let cause = error.utf8_error().to_string();
        let failure = Failure::new(exit::USAGE, format!("{name} is not UTF-8")).with_cause(cause);
        match is_utf16 {
            true => failure.with_help("iconv -f UTF-16 -t UTF-8 FILE"),
            false => failure.with_help("iconv -f LATIN1 -t UTF-8 FILE"),
        }
    })
}
