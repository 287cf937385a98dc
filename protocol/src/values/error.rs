//! What is wrong with a value, in the words of the person who wrote it: port, place, what was expected, what came.

use serde_json::Value;

use super::csv::CsvError;
use crate::interface::{ElementType, Port};
use crate::limits::VALUE_MAX_BYTES;

/// How much of a text an error repeats, characters.
const QUOTED_MAX_CHARS: usize = 40;

/// Longest name that is compared letter by letter, bytes: as long as a port's name may be.
const COMPARED_MAX_BYTES: usize = 64;

/// Letters of a name for each that may differ in a proposal.
const LETTERS_PER_DIFFERENCE: usize = 3;

/// JSON that is no value of its port, or no record of its interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// A value is not of its port's type.
    #[error("port {port}{}: {problem}", place(at))]
    Wrong {
        /// The port.
        port: String,
        /// Where in the value, as a JSON pointer; empty for the whole value.
        at: String,
        /// What is wrong there.
        problem: Problem,
    },
    /// A name that no port has.
    #[error("there is no port {name}; {}", proposal(.nearest.as_deref(), .ports))]
    NoPort {
        /// The name.
        name: String,
        /// The port that was probably meant.
        nearest: Option<String>,
        /// All ports.
        ports: Vec<String>,
    },
    /// A port that must have a value has none.
    #[error("port {port} has no value; its type is {port_type}")]
    Missing {
        /// The port.
        port: String,
        /// Its type, for people.
        port_type: String,
    },
    /// A bare value where several ports have to be fed.
    #[error("values are named by port ({}), but {found} came", .ports.join(", "))]
    NotByPort {
        /// What came.
        found: String,
        /// All ports.
        ports: Vec<String>,
    },
    /// The values of a record are too long together.
    #[error("the record is longer than {VALUE_MAX_BYTES} bytes")]
    RecordTooLong,
}

/// What is wrong at a place of a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the texts are the documentation")]
pub enum Problem {
    #[error("{expected} is expected, found {found}")]
    Unlike { expected: String, found: String },
    #[error("{number} is out of the range of {dtype}")]
    OutOfRange { number: String, dtype: ElementType },
    #[error("{found}, but its type is {port_type}")]
    Shape { found: String, port_type: String },
    #[error("{found}, where the lists before it have {expected}")]
    Ragged { found: u64, expected: u64 },
    #[error("dimension {name} is {found} here and {earlier} in an earlier port of the record")]
    Named { name: String, found: u64, earlier: u64 },
    #[error("{count} values do not make the shape {shape}")]
    Count { count: u64, shape: String },
    #[error("more than {most} levels of lists")]
    TooDeep { most: usize },
    #[error("the value is longer than {VALUE_MAX_BYTES} bytes")]
    TooLong,
    #[error("its dtype is {found}, but the port's is {expected}")]
    Dtype { found: String, expected: ElementType },
    #[error("`{name}` is no field here; {}", .known.join(", "))]
    Field { name: String, known: Vec<&'static str> },
    #[error("{0} is missing")]
    Lacks(&'static str),
    #[error("{0} and {1} are both there")]
    Both(&'static str, &'static str),
    #[error("no base64: {0}")]
    Base64(String),
    #[error("its media type is {found}, but the port takes {taken}")]
    MediaType { found: String, taken: String },
    #[error("column {column} is missing; the columns are {}", listed(.found))]
    Column { column: String, found: Vec<String> },
    #[error("column {column} has {found} values, the first one has {expected}")]
    ColumnLength { column: String, found: usize, expected: usize },
    #[error("column {column} stands there twice")]
    ColumnTwice { column: String },
    #[error("line {line}, column {column}: {problem}")]
    Cell { line: u64, column: String, problem: Box<Problem> },
    #[error("line {line} has {found} cells, the header {expected}")]
    RowLength { line: u64, found: usize, expected: usize },
    #[error("not CSV: {0}")]
    Csv(#[from] CsvError),
    #[error("no prediction: {0}")]
    Prediction(String),
}

impl Problem {
    pub(super) fn expected(expected: impl Into<String>, json: &Value) -> Self {
        Self::Unlike { expected: expected.into(), found: found(json) }
    }
}

/// A problem on its way to the port that it belongs to.
#[derive(Debug)]
pub(super) struct Fault {
    problem: Problem,
    /// The place, innermost step first.
    steps: Vec<String>,
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self { problem, steps: Vec::new() }
    }
}

impl Fault {
    /// The problem is inside this item or field.
    pub(super) fn within(mut self, step: impl ToString) -> Self {
        self.steps.push(step.to_string());
        self
    }

    pub(super) fn at_port(self, port: &Port) -> ValueError {
        let escaped = |step: &String| format!("/{}", step.replace('~', "~0").replace('/', "~1"));
        let at = self.steps.iter().rev().map(escaped).collect();
        ValueError::Wrong { port: port.name.clone(), at, problem: self.problem }
    }
}

impl ValueError {
    pub(super) fn no_port(name: &str, ports: &[Port]) -> Self {
        let names: Vec<String> = ports.iter().map(|port| port.name.clone()).collect();
        let nearest = nearest(name, names.iter().map(String::as_str)).map(str::to_owned);
        Self::NoPort { name: clipped(name), nearest, ports: names }
    }
}

fn place(at: &str) -> String {
    if at.is_empty() { String::new() } else { format!(", at {at}") }
}

fn proposal(nearest: Option<&str>, ports: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("the ports are {}", listed(ports)),
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(QUOTED_MAX_CHARS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// What a JSON value is, in few words.
pub(super) fn found(json: &Value) -> String {
    match json {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("{:?}", clipped(text)),
        Value::Array(items) if items.is_empty() => "an empty list".to_owned(),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(fields) if fields.is_empty() => "an empty object".to_owned(),
        Value::Object(fields) => {
            let names: Vec<_> = fields.keys().take(3).map(|name| clipped(name)).collect();
            let more = if fields.len() > names.len() { ", ..." } else { "" };
            format!("an object of {}{more}", names.join(", "))
        }
    }
}

/// The name that `text` was probably meant to be: the one that differs in the fewest letters, if those are few.
#[must_use]
pub fn nearest<'n>(text: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let most = text.chars().count().div_ceil(LETTERS_PER_DIFFERENCE);
    let asked = text.to_lowercase();
    let scored = names.into_iter().filter_map(|name| {
        let difference = difference(&asked, &name.to_lowercase())?;
        (difference <= most).then_some((difference, name))
    });
    scored.min_by_key(|(difference, _)| *difference).map(|(_, name)| name)
}

/// Letters to insert, drop or change; `None` for texts that are too long to compare.
fn difference(a: &str, b: &str) -> Option<usize> {
    if a.len() > COMPARED_MAX_BYTES || b.len() > COMPARED_MAX_BYTES {
        return None;
    }
    // One row of the usual table: what it takes from the letters of `a` so far to each beginning of `b`.
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (line, from) in a.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line.saturating_add(1);
        let mut next = vec![left];
        for (above, to) in row.iter().skip(1).zip(b.chars()) {
            let changed = diagonal.saturating_add(usize::from(from != to));
            left = changed.min(above.saturating_add(1)).min(left.saturating_add(1));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied()
}
