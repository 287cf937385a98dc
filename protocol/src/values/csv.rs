//! CSV as RFC 4180 has it, read and written: `,` or another character between cells, `"` around those that need it.
//!
//! Read are also `\n` alone as the end of a line, a byte order mark, and quotes inside of cells that do not begin with
//! one. Empty lines are no rows. Nothing is trimmed and nothing guessed.

use std::borrow::Cow;

/// Most cells of one row: tables of genes have some 60,000 columns.
pub const CELLS_MAX: usize = 65_536;

/// The text is no CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CsvError {
    /// A quote that opens and never closes.
    #[error("the quote that opens in line {line} is not closed")]
    Open {
        /// Where it opens, from 1.
        line: u64,
    },
    /// Something between the closing quote and the end of the cell.
    #[error("something follows a closing quote in line {line}")]
    AfterQuote {
        /// Where, from 1.
        line: u64,
    },
    /// More cells than [`CELLS_MAX`].
    #[error("line {line} has more than {CELLS_MAX} cells")]
    Cells {
        /// Where, from 1.
        line: u64,
    },
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<'t> {
    /// The line that it begins in, from 1.
    pub line: u64,
    /// Its cells.
    pub cells: Vec<Cell<'t>>,
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell<'t> {
    /// What is in it.
    pub text: Cow<'t, str>,
    /// Whether there were quotes around it: what is empty without them is missing.
    pub quoted: bool,
}

impl Cell<'_> {
    /// Whether there is nothing in the cell, not even an empty text.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.text.is_empty() && !self.quoted
    }
}

/// Reads rows one after another; ends with the first error.
#[derive(Debug, Clone)]
pub struct Reader<'t> {
    rest: &'t str,
    delimiter: char,
    line: u64,
}

impl<'t> Reader<'t> {
    /// Reads `text`, whose cells are separated by `delimiter`.
    #[must_use]
    pub fn new(text: &'t str, delimiter: char) -> Self {
        Self { rest: text.strip_prefix('\u{feff}').unwrap_or(text), delimiter, line: 1 }
    }

    fn row(&mut self) -> Result<Row<'t>, CsvError> {
        let mut row = Row { line: self.line, cells: Vec::new() };
        loop {
            if row.cells.len() >= CELLS_MAX {
                return Err(CsvError::Cells { line: row.line });
            }
            let (cell, is_last) = self.cell()?;
            row.cells.push(cell);
            if is_last {
                return Ok(row);
            }
        }
    }

    /// The next cell, and whether its row ends with it.
    fn cell(&mut self) -> Result<(Cell<'t>, bool), CsvError> {
        let quoted = self.rest.strip_prefix('"');
        let text = match quoted {
            Some(rest) => self.quoted(rest)?,
            None => {
                let delimiter = self.delimiter;
                let end = self.rest.find([delimiter, '\n']).unwrap_or(self.rest.len());
                let (text, rest) = self.rest.split_at(end);
                self.rest = rest;
                // `\r` belongs to the end of the line.
                let is_end = !rest.starts_with(delimiter);
                Cow::Borrowed(text.strip_suffix('\r').filter(|_| is_end).unwrap_or(text))
            }
        };
        let cell = Cell { text, quoted: quoted.is_some() };
        if let Some(rest) = self.rest.strip_prefix(self.delimiter) {
            self.rest = rest;
            return Ok((cell, false));
        }
        let ended = self.rest.strip_prefix("\r\n").or_else(|| self.rest.strip_prefix('\n'));
        match ended {
            Some(rest) => {
                self.rest = rest;
                self.line = self.line.saturating_add(1);
                Ok((cell, true))
            }
            None if self.rest.trim_start_matches('\r').is_empty() => {
                self.rest = "";
                Ok((cell, true))
            }
            None => Err(CsvError::AfterQuote { line: self.line }),
        }
    }

    /// What stands between quotes, from behind the first one.
    fn quoted(&mut self, mut rest: &'t str) -> Result<Cow<'t, str>, CsvError> {
        let open = CsvError::Open { line: self.line };
        let mut text = Cow::Borrowed("");
        loop {
            let (part, behind) = rest.split_once('"').ok_or(open)?;
            let lines = part.bytes().filter(|byte| *byte == b'\n').count();
            self.line = self.line.saturating_add(lines as u64);
            match &mut text {
                empty if empty.is_empty() => text = Cow::Borrowed(part),
                text => text.to_mut().push_str(part),
            }
            match behind.strip_prefix('"') {
                Some(behind) => {
                    text.to_mut().push('"');
                    rest = behind;
                }
                None => {
                    self.rest = behind;
                    return Ok(text);
                }
            }
        }
    }
}

impl<'t> Iterator for Reader<'t> {
    type Item = Result<Row<'t>, CsvError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let behind = self.rest.strip_prefix("\r\n").or_else(|| self.rest.strip_prefix('\n'));
            let Some(behind) = behind else { break };
            self.rest = behind;
            self.line = self.line.saturating_add(1);
        }
        if self.rest.is_empty() {
            return None;
        }
        let row = self.row();
        if row.is_err() {
            self.rest = "";
        }
        Some(row)
    }
}

/// Adds one row and its end of line. `None` is a missing cell; an empty text gets quotes, so that both come back.
pub fn write_row<'c>(to: &mut String, cells: impl IntoIterator<Item = Option<&'c str>>) {
    let begin = to.len();
    for (at, cell) in cells.into_iter().enumerate() {
        if at > 0 {
            to.push(',');
        }
        match cell {
            None => {}
            Some(text) if needs_quotes(text) => {
                to.push('"');
                to.push_str(&text.replace('"', "\"\""));
                to.push('"');
            }
            Some(text) => to.push_str(text),
        }
    }
    // One missing cell alone would be an empty line, which is no row.
    if to.len() == begin {
        to.push_str("\"\"");
    }
    to.push('\n');
}

fn needs_quotes(text: &str) -> bool {
    text.is_empty()
        || text.contains([',', '"', '\n', '\r'])
        || text.starts_with([' ', '\u{feff}'])
        || text.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, delimiter: char) -> Vec<Vec<String>> {
        let texts = |row: Row<'_>| row.cells.iter().map(|cell| cell.text.to_string()).collect();
        Reader::new(text, delimiter).map(|row| texts(row.unwrap())).collect()
    }

    #[test]
    fn rows_are_read_as_spreadsheets_and_programs_write_them() {
        let expected = [vec!["a", "b"], vec!["1", "x, \"y\"\nz"], vec!["", ""], vec!["2", "c\"d"]];
        for text in [
            "a,b\n1,\"x, \"\"y\"\"\nz\"\n,\n2,c\"d\n",
            "\u{feff}a,b\r\n\r\n1,\"x, \"\"y\"\"\nz\"\r\n,\r\n2,c\"d",
        ] {
            assert_eq!(rows(text, ','), expected);
        }
        assert_eq!(rows("a\tb,c\n", '\t'), [["a", "b,c"]]);
        assert_eq!(rows("\n\n", ','), Vec::<Vec<String>>::new());
        assert_eq!(rows("a,", ','), [["a", ""]]);
        assert_eq!(rows("\"\"\"\"", ','), [["\""]]);
    }

    #[test]
    fn what_is_broken_says_in_which_line() {
        let error = |text: &str| Reader::new(text, ',').find_map(Result::err);
        assert_eq!(error("a\n\"b\nc"), Some(CsvError::Open { line: 2 }));
        assert_eq!(error("a\n\"b\n\"c,d"), Some(CsvError::AfterQuote { line: 3 }));
        let wide = ",".repeat(CELLS_MAX);
        assert_eq!(error(&wide), Some(CsvError::Cells { line: 1 }));
        assert_eq!(error(&wide[1..]), None);
        let lines: Vec<_> =
            Reader::new("a\n\n\"b\nb\"\nc\n", ',').map(|row| row.unwrap().line).collect();
        assert_eq!(lines, [1, 3, 5]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let cells = [Some("a"), None, Some(""), Some("x,\"\r\n"), Some(" y "), Some("\u{feff}")];
        for first in 0..cells.len() {
            let cells = &cells[first..];
            let mut text = String::new();
            write_row(&mut text, cells.iter().copied());
            let read: Vec<_> = Reader::new(&text, ',').collect();
            let [Ok(row)] = read.as_slice() else { panic!("{text:?}") };
            let found: Vec<_> =
                row.cells.iter().map(|cell| (!cell.is_missing()).then_some(&*cell.text)).collect();
            assert_eq!(found, cells, "{text:?}");
        }
    }
}
