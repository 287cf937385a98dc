//! Records in the rows of CSV or TSV with a header.
//!
//! Columns that are called like ports feed them. Otherwise, where one tensor of numbers is to be fed, a row is a value
//! of it: all columns of numbers, in order. A column of texts, or the first one if it is called like an index, names the
//! record.

use std::collections::BTreeMap;

use guildhall_protocol::interface::{ElementType, Port, PortType, TensorType};
use guildhall_protocol::values::{csv, number_of, rows_of};
use serde_json::Value;

use super::form::Target;
use super::record::{Entry, Given};
use crate::cli::table::{clipped, counted};
use crate::cli::{Failure, exit};

/// Names of a first column that counts or names the rows, in lower case; pandas writes an empty one.
const INDEX_NAMES: [&str; 7] = ["", "id", "index", "name", "row", "record", "unnamed: 0"];

/// Most names of columns in a note or an error.
const COLUMNS_SHOWN: usize = 12;

/// Longest part of a cell in an error, characters.
const CELL_SHOWN_CHARS: usize = 24;

/// A file that was read: its columns, and its rows of as many cells.
struct Sheet<'t> {
    name: &'t str,
    columns: Vec<Column>,
    rows: Vec<csv::Row<'t>>,
}

/// A column, and what is in it.
struct Column {
    name: String,
    /// The first cell that is no number, and its line; `None` where all are, and at least one is there.
    text: Option<(String, u64)>,
}

fn bad(name: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(exit::USAGE, format!("{name}: {why}"))
}

/// A tab where the header has one, and a comma otherwise.
fn delimiter(text: &str) -> char {
    let header = text.lines().next().unwrap_or_default();
    if header.contains('\t') { '\t' } else { ',' }
}

impl<'t> Sheet<'t> {
    fn read(name: &'t str, text: &'t str) -> Result<Self, Failure> {
        let mut rows = csv::Reader::new(text, delimiter(text));
        let header = rows.next().ok_or_else(|| bad(name, "the header line is missing"))?;
        let header = header.map_err(|error| bad(name, error))?;
        let names: Vec<String> =
            header.cells.iter().map(|cell| cell.text.trim().to_owned()).collect();
        let is_number = |name: &String| number_of(name).is_some();
        if names.iter().all(is_number) {
            return Err(bad(
                name,
                "the first line holds numbers, where a header names the columns",
            )
            .with_help(format!("printf 'a,b,c\\n' | cat - {name}, with a name for each column")));
        }
        let rows = rows.collect::<Result<Vec<_>, _>>().map_err(|error| bad(name, error))?;
        if let Some(row) = rows.iter().find(|row| row.cells.len() != names.len()) {
            let (found, wanted) = (counted(row.cells.len(), "cell"), names.len());
            return Err(bad(name, format!("line {} has {found}, the header {wanted}", row.line)));
        }
        let column = |(at, name): (usize, String)| {
            let cells =
                rows.iter().filter_map(|row| row.cells.get(at).map(|cell| (row.line, cell)));
            let mut filled = cells.filter(|(_, cell)| !cell.text.trim().is_empty()).peekable();
            let nothing = filled.peek().is_none().then(|| (String::new(), 0));
            let other = filled.find(|(_, cell)| number(&cell.text).is_none());
            let text = other.map(|(line, cell)| (cell.text.clone().into_owned(), line)).or(nothing);
            Column { name, text }
        };
        let columns = names.into_iter().enumerate().map(column).collect();
        Ok(Self { name, columns, rows })
    }

    /// The columns that are called like ports.
    fn named<'p>(&self, ports: &'p [Port]) -> Vec<(usize, &'p Port)> {
        let column = |port: &Port| self.columns.iter().position(|column| column.name == port.name);
        ports.iter().filter_map(|port| Some((column(port)?, port))).collect()
    }

    fn numeric(&self) -> Vec<usize> {
        let all = self.columns.iter().enumerate();
        all.filter(|(_, column)| column.text.is_none()).map(|(at, _)| at).collect()
    }

    /// The column that names the records: one of texts that comes first or is called so, or a first index.
    fn naming(&self, used: &[usize]) -> Option<usize> {
        let is_index =
            |column: &Column| INDEX_NAMES.contains(&column.name.to_ascii_lowercase().as_str());
        let free = self.columns.iter().enumerate().filter(|(at, _)| !used.contains(at));
        let mut naming =
            free.filter(|(at, column)| is_index(column) || (*at == 0 && column.text.is_some()));
        naming.next().map(|(at, _)| at)
    }

    /// Names of columns, for people.
    fn names(&self, columns: &[usize]) -> String {
        let names = columns.iter().filter_map(|at| self.columns.get(*at));
        let mut shown: Vec<_> = names
            .take(COLUMNS_SHOWN)
            .map(|column| clipped(&column.name, CELL_SHOWN_CHARS))
            .collect();
        if let Some(more) = columns.len().checked_sub(COLUMNS_SHOWN).filter(|more| *more > 0) {
            shown.push(format!("and {more} more"));
        }
        shown.join(", ")
    }

    /// What the columns are, below an error.
    fn explain(&self, failure: Failure) -> Failure {
        let numeric = self.numeric();
        let mut texts = self.columns.iter().enumerate().filter_map(|(at, column)| {
            let (text, line) = column.text.as_ref()?;
            let name = self.names(&[at]);
            Some(match line {
                0 => format!("{name} (empty)"),
                line => format!("{name} ({:?} in line {line})", clipped(text, CELL_SHOWN_CHARS)),
            })
        });
        let mut failure = failure;
        if !numeric.is_empty() {
            failure = failure.with_cause(format!("columns of numbers: {}", self.names(&numeric)));
        }
        let shown: Vec<_> = texts.by_ref().take(COLUMNS_SHOWN).collect();
        match (shown.as_slice(), texts.count()) {
            ([], _) => failure,
            (shown, 0) => failure.with_cause(format!("other columns: {}", shown.join(", "))),
            (shown, more) => {
                failure.with_cause(format!("other columns: {}, and {more} more", shown.join(", ")))
            }
        }
    }

    /// The records, with what each row gives.
    fn entries(
        &self,
        used: &[usize],
        given: impl Fn(&csv::Row<'_>) -> Result<BTreeMap<String, Given>, Failure>,
    ) -> Result<Vec<Entry>, Failure> {
        let naming = self.naming(used);
        let entry = |row: &csv::Row<'_>| {
            let own = naming.and_then(|at| row.cells.get(at)).map(|cell| cell.text.trim());
            let own = own.filter(|own| !own.is_empty()).map(str::to_owned);
            Ok(Entry {
                name: own.unwrap_or_else(|| format!("{}:{}", self.name, row.line)),
                place: format!("{}, line {}", self.name, row.line),
                values: given(row)?,
            })
        };
        self.rows.iter().map(entry).collect()
    }

    /// Says which columns are not used at all.
    fn left_out(&self, used: &[usize]) -> String {
        let naming = self.naming(used);
        let is_left = |at: &usize| !used.contains(at) && Some(*at) != naming;
        let left: Vec<usize> = (0..self.columns.len()).filter(is_left).collect();
        match left.as_slice() {
            [] => String::new(),
            left => format!("; left out: {}", self.names(left)),
        }
    }
}

/// What a cell of numbers is.
fn number(text: &str) -> Option<Value> {
    match text.trim() {
        "true" | "True" | "TRUE" => Some(true.into()),
        "false" | "False" | "FALSE" => Some(false.into()),
        text => number_of(text),
    }
}

/// The rows as records.
pub(super) fn records(
    name: &str,
    text: &str,
    target: &Target<'_>,
) -> Result<(Vec<Entry>, String), Failure> {
    let sheet = Sheet::read(name, text)?;
    let tensor = target.port.as_ref().and_then(|port| match &port.port_type {
        PortType::Tensor(tensor) if tensor.dtype != ElementType::Text => Some((port, tensor)),
        _ => None,
    });
    let named = sheet.named(&target.open);
    let is_covered = target
        .open
        .iter()
        .all(|port| port.optional || named.iter().any(|(_, other)| other.name == port.name));
    // One column is called like a port with many numbers: then it is one of them, unless it holds all as JSON.
    let is_row = tensor.is_some_and(|(port, tensor)| {
        let column = named.iter().find(|(_, other)| other.name == port.name);
        let holds_all = column.is_some_and(|(at, _)| !sheet.numeric().contains(at));
        !holds_all && rows_of(tensor) != Some(1)
    });
    match tensor {
        Some((port, tensor)) if is_row || named.is_empty() => row_values(&sheet, port, tensor),
        _ if is_covered && !named.is_empty() => by_name(&sheet, &named),
        _ => {
            let ports: Vec<_> = target.open.iter().map(|port| port.name.as_str()).collect();
            let message = format!("no columns for the inputs {}", ports.join(", "));
            let failure = sheet.explain(bad(name, message));
            Err(failure.with_help("call the columns like the inputs, or say --as raw"))
        }
    }
}

/// Each row is a value of one tensor.
fn row_values(
    sheet: &Sheet<'_>,
    port: &Port,
    tensor: &TensorType,
) -> Result<(Vec<Entry>, String), Failure> {
    let mut used = sheet.numeric();
    let wanted = rows_of(tensor).and_then(|count| usize::try_from(count).ok());
    if let Some(wanted) = wanted
        && used.len() == wanted.saturating_add(1)
        && used.first() == Some(&0)
        && sheet
            .columns
            .first()
            .is_some_and(|first| INDEX_NAMES.contains(&first.name.to_ascii_lowercase().as_str()))
    {
        used.remove(0);
    }
    if wanted.is_some_and(|wanted| wanted != used.len()) || used.is_empty() {
        let takes = wanted.map_or("numbers".to_owned(), |wanted| counted(wanted, "number"));
        let has = counted(used.len(), "column");
        let message =
            format!("port {} takes {takes} a row, and there are {has} of numbers", port.name);
        let message = message.replace("there are 1 ", "there is 1 ");
        return Err(sheet.explain(bad(sheet.name, message)));
    }
    let is_float = matches!(tensor.dtype, ElementType::F16 | ElementType::F32 | ElementType::F64);
    let empty = std::cell::Cell::new(0_usize);
    let cell = |row: &csv::Row<'_>, at: usize| {
        let text = row.cells.get(at).map(|cell| cell.text.trim()).unwrap_or_default();
        match number(text) {
            Some(json) => Ok(json),
            None if is_float => {
                empty.set(empty.get().saturating_add(1));
                Ok(Value::from("NaN"))
            }
            None => {
                let column = sheet.names(&[at]);
                let why = format!(
                    "line {}: {column} is empty, and {} has no such number",
                    row.line, tensor.dtype
                );
                Err(bad(sheet.name, why))
            }
        }
    };
    let entries = sheet.entries(&used, |row| {
        let numbers = used.iter().map(|at| cell(row, *at)).collect::<Result<Vec<_>, _>>()?;
        Ok(BTreeMap::from([(port.name.clone(), Given::Json(Value::Array(numbers)))]))
    })?;
    let mut what = format!(
        " of {} from {} {}",
        counted(used.len(), "number"),
        if used.len() == 1 { "column" } else { "columns" },
        sheet.names(&used)
    );
    what.push_str(&sheet.left_out(&used));
    if empty.get() > 0 {
        what.push_str(&format!("; {} taken as NaN", counted(empty.get(), "empty cell")));
    }
    Ok((entries, what))
}

/// Columns feed the ports that they are called like.
fn by_name(sheet: &Sheet<'_>, named: &[(usize, &Port)]) -> Result<(Vec<Entry>, String), Failure> {
    let used: Vec<usize> = named.iter().map(|(at, _)| *at).collect();
    let entries = sheet.entries(&used, |row| {
        let value = |(at, port): &(usize, &Port)| {
            let cell = row.cells.get(*at)?;
            if cell.text.is_empty() && port.optional {
                return None;
            }
            Some((port.name.clone(), Given::Json(cell_value(&port.port_type, cell))))
        };
        Ok(named.iter().filter_map(value).collect())
    })?;
    let columns = if used.len() == 1 { "column" } else { "columns" };
    Ok((entries, format!(" from {columns} {}{}", sheet.names(&used), sheet.left_out(&used))))
}

/// A cell as JSON of the port's type: what looks like JSON is, where the type wants more than a text.
fn cell_value(port_type: &PortType, cell: &csv::Cell<'_>) -> Value {
    let text = || Value::String(cell.text.clone().into_owned());
    match port_type {
        PortType::Text => text(),
        PortType::Tensor(TensorType { dtype: ElementType::Text, .. }) => {
            serde_json::from_str(&cell.text).unwrap_or_else(|_| text())
        }
        PortType::Tensor(_) => number(&cell.text)
            .or_else(|| serde_json::from_str(&cell.text).ok())
            .unwrap_or_else(text),
        PortType::Json(_) | PortType::Prediction(_) => {
            serde_json::from_str(&cell.text).unwrap_or_else(|_| text())
        }
        _ => text(),
    }
}

/// The whole file as one table: CSV as it is, and tabs made into commas.
pub(super) fn table(name: &str, text: String) -> Result<Given, Failure> {
    if delimiter(&text) == ',' {
        return Ok(Given::Bytes(text.into_bytes()));
    }
    let mut csv = String::new();
    for row in csv::Reader::new(&text, '\t') {
        let row = row.map_err(|error| bad(name, error))?;
        let cells = row.cells.iter().map(|cell| (!cell.is_missing()).then_some(&*cell.text));
        csv::write_row(&mut csv, cells);
    }
    Ok(Given::Bytes(csv.into_bytes()))
}
