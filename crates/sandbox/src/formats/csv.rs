//! Comma- and tab-separated values: RFC 4180 with a header line, in UTF-8, every line of the same number of cells.
//!
//! The file is read once; of it only the header, the current row and a verdict for each column are held.

use std::collections::HashSet;

use guildhall_protocol::facts::{FACTS_MAX_ITEMS, Facts, TableFacts};
use guildhall_protocol::interface::{Column, ElementType};

use super::problem::{Checked, Problem, refused_at};
use super::source::Source;
use super::utf8::Utf8;

/// Longest row, bytes, and so the longest cell: readers hold a row whole.
const ROW_MAX_BYTES: usize = 1 << 20;

/// Most columns: tables of genes have some 60,000.
const COLUMNS_MAX: usize = 65_536;

/// Longest cell that may be a number, bytes; the longest double takes 327 digits, and nobody writes it out.
const NUMBER_MAX_BYTES: usize = 64;

/// What some programs put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

const HELP: &str = "save it as UTF-8 with a header line whose names are unique and not empty, and the same number of \
                    cells on every line; in pandas: to_csv(path, index=False)";

/// Checks a table and settles the types of its columns.
pub(super) fn check(source: &Source<'_>, delimiter: u8) -> Checked<Facts> {
    table(source, delimiter).map(Facts::Csv).map_err(|problem| problem.help(HELP))
}

fn table(source: &Source<'_>, delimiter: u8) -> Checked<TableFacts> {
    let mut rows = Rows::new(source, delimiter);
    let Some(header) = rows.next()? else {
        return Err(refused_at(0, "it has no header line"));
    };
    let names: Vec<String> = header.cells().map(str::to_owned).collect();
    check_names(&names)?;
    let mut columns = vec![Verdict::default(); names.len()];
    let mut count = 0_u64;
    while let Some(row) = rows.next()? {
        if row.ends.len() != names.len() {
            let (found, wanted) = (row.ends.len(), names.len());
            let why = format!("line {}: {found} cells, but the header has {wanted}", row.line);
            return Err(refused_at(row.start, why));
        }
        for (column, cell) in columns.iter_mut().zip(row.cells()) {
            column.see(cell);
        }
        count = count.saturating_add(1);
    }
    let columns = names
        .into_iter()
        .zip(columns)
        .take(FACTS_MAX_ITEMS)
        .map(|(name, verdict)| Column { name, dtype: verdict.dtype() })
        .collect();
    Ok(TableFacts { columns, rows: Some(count) })
}

fn check_names(names: &[String]) -> Checked<()> {
    if names.len() > COLUMNS_MAX {
        let why = format!("{} columns, at most {COLUMNS_MAX} are taken", names.len());
        return Err(refused_at(0, why));
    }
    let mut seen = HashSet::new();
    for (at, name) in names.iter().enumerate() {
        if name.trim().is_empty() {
            return Err(refused_at(0, format!("line 1: column {} has no name", at + 1)));
        }
        if !seen.insert(name) {
            return Err(refused_at(0, format!("line 1: column `{name}` is there twice")));
        }
    }
    Ok(())
}

/// One row, its quotes undone.
struct Row<'a> {
    text: &'a str,
    /// Where each cell ends in `text`.
    ends: &'a [usize],
    line: u64,
    start: u64,
}

impl Row<'_> {
    fn cells(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends).map(|(start, end)| self.text.get(start..*end).unwrap_or_default())
    }
}

/// Where in a row the next byte is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    CellStart,
    Plain,
    Quoted,
    /// Behind a quote inside quotes: the end, or half of a doubled one.
    Quote,
}

struct Rows<'a> {
    reader: super::source::Reader<'a>,
    delimiter: u8,
    line: u64,
    text: String,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    is_first: bool,
}

impl<'a> Rows<'a> {
    fn new(source: &Source<'a>, delimiter: u8) -> Self {
        Self {
            reader: source.reader(),
            delimiter,
            line: 1,
            text: String::new(),
            bytes: Vec::new(),
            ends: Vec::new(),
            is_first: true,
        }
    }

    /// The next row that is not an empty line.
    fn next(&mut self) -> Checked<Option<Row<'_>>> {
        if std::mem::take(&mut self.is_first) && self.reader.chunk()?.starts_with(BYTE_ORDER_MARK) {
            self.reader.consume(BYTE_ORDER_MARK.len());
        }
        let (start, line) = loop {
            let (start, line) = (self.reader.position(), self.line);
            self.text.clear();
            self.bytes.clear();
            self.ends.clear();
            let is_there = self.read(start)?;
            if !is_there {
                return Ok(None);
            }
            if !(self.bytes.is_empty() && self.ends.len() == 1) {
                break (start, line);
            }
        };
        let mut utf8 = Utf8::default();
        if utf8.push(&self.bytes).is_err() || !utf8.is_whole() {
            return Err(wrong(line, start, "it is not UTF-8"));
        }
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => self.text.push_str(text),
            Err(_) => return Err(wrong(line, start, "it is not UTF-8")),
        }
        if self.ends.iter().any(|end| !self.text.is_char_boundary(*end)) {
            return Err(wrong(line, start, "it is not UTF-8"));
        }
        Ok(Some(Row { text: &self.text, ends: &self.ends, line, start }))
    }

    /// Reads a row into `bytes` and `ends`; false at the end of the file.
    fn read(&mut self, start: u64) -> Checked<bool> {
        let line = self.line;
        let mut state = State::CellStart;
        let mut is_empty = true;
        loop {
            let Some(byte) = self.reader.next_byte()? else {
                if state == State::Quoted {
                    return Err(wrong(line, start, "a quote is never closed"));
                }
                if !is_empty {
                    self.ends.push(self.bytes.len());
                }
                return Ok(!is_empty);
            };
            is_empty = false;
            if byte == b'\n' {
                self.line = self.line.saturating_add(1);
            }
            state = match (state, byte) {
                (State::CellStart, b'"') => State::Quoted,
                (State::Quoted, b'"') => State::Quote,
                (State::Quote, b'"') => {
                    self.bytes.push(b'"');
                    State::Quoted
                }
                (State::Quoted, _) => {
                    self.bytes.push(byte);
                    State::Quoted
                }
                (_, b'\n') => {
                    self.ends.push(self.bytes.len());
                    return Ok(true);
                }
                (_, b'\r') if self.reader.chunk()?.first().is_none_or(|next| *next == b'\n') => {
                    state
                }
                (_, found) if found == self.delimiter => {
                    self.ends.push(self.bytes.len());
                    State::CellStart
                }
                (State::Quote, _) => {
                    return Err(wrong(line, start, "something follows a closing quote"));
                }
                (_, 0) => return Err(wrong(line, start, "a zero byte")),
                (State::CellStart | State::Plain, _) => {
                    self.bytes.push(byte);
                    State::Plain
                }
            };
            if self.bytes.len().saturating_add(self.ends.len()) > ROW_MAX_BYTES {
                let why = format!("the row is longer than {ROW_MAX_BYTES} bytes");
                return Err(wrong(line, start, &why));
            }
        }
    }
}

fn wrong(line: u64, start: u64, why: &str) -> Problem {
    refused_at(start, format!("line {line}: {why}"))
}

/// What the cells of a column can all be.
#[derive(Clone, Copy)]
struct Verdict {
    is_empty: bool,
    bool: bool,
    i64: bool,
    f64: bool,
}

impl Default for Verdict {
    fn default() -> Self {
        Self { is_empty: true, bool: true, i64: true, f64: true }
    }
}

impl Verdict {
    fn see(&mut self, cell: &str) {
        if cell.is_empty() || !(self.bool || self.i64 || self.f64) {
            return;
        }
        self.is_empty = false;
        let is_short = cell.len() <= NUMBER_MAX_BYTES;
        self.bool &= matches!(cell, "true" | "false" | "True" | "False" | "TRUE" | "FALSE");
        // `007` is a name that a number would change.
        let digits = cell.strip_prefix('-').unwrap_or(cell).as_bytes();
        let is_padded = matches!(digits, [b'0', b'0'..=b'9', ..]) || cell.starts_with('+');
        self.i64 &= is_short && !is_padded && cell.parse::<i64>().is_ok();
        self.f64 &= is_short && !is_padded && cell.parse::<f64>().is_ok();
    }

    fn dtype(self) -> ElementType {
        match self {
            Self { is_empty: true, .. } => ElementType::Text,
            Self { bool: true, .. } => ElementType::Bool,
            Self { i64: true, .. } => ElementType::I64,
            Self { f64: true, .. } => ElementType::F64,
            _ => ElementType::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<TableFacts, Problem> {
        super::table(&Source::of_bytes(text.as_bytes()), b',')
    }

    #[test]
    fn types_follow_from_all_cells() {
        let found =
            table("\u{feff}a,b,c,d,e,f\r\n1,0.5,true,x,,007\r\n-2,1,False,,,8\r\n").unwrap();
        let types: Vec<_> = found.columns.iter().map(|column| column.dtype).collect();
        use ElementType::{Bool, F64, I64, Text};
        assert_eq!(types, [I64, F64, Bool, Text, Text, Text]);
        assert_eq!((found.rows, found.columns[0].name.as_str()), (Some(2), "a"));
    }

    #[test]
    fn quotes_hold_delimiters_lines_and_quotes() {
        let found = table("a,\"b \"\"c\"\",\n\"\n\"1,5\",\"x\ny\"\n\n2,3").unwrap();
        assert_eq!(found.columns[1].name, "b \"c\",\n");
        assert_eq!(found.rows, Some(2));
    }

    #[test]
    fn a_broken_row_is_named_by_its_line() {
        for (text, why) in [
            ("", "no header"),
            ("a,b\n1,2\n3\n", "line 3: 1 cells"),
            ("a,b\n1,2,3\n", "line 2: 3 cells"),
            ("a,,b\n", "column 2 has no name"),
            ("a,a\n", "`a` is there twice"),
            ("a\n\"open", "line 2: a quote"),
            ("a\n\"x\"y\n", "follows a closing quote"),
            ("a\n\0\n", "zero byte"),
        ] {
            let problem = format!("{:?}", table(text).unwrap_err());
            assert!(problem.contains(why), "{text:?}: {problem}");
        }
        assert!(super::table(&Source::of_bytes(b"a\n\xff\n"), b',').is_err());
        let long = format!("a\n{}\n", "x".repeat(ROW_MAX_BYTES + 1));
        assert!(table(&long).is_err());
    }
}
