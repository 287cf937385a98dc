//! CSV as columns of tensors. The bytes are a requester's: each complaint says in which line and column.

use guildhall_protocol::interface::ElementType;
use tract_onnx::prelude::Tensor;

use super::tensor;

/// Most rows of one record's table: each leads to a prediction, and an output is read as a whole.
const ROWS_MAX: usize = 1_000_000;

/// How much of a cell a complaint repeats, characters.
const SHOWN_MAX_CHARS: usize = 40;

/// What some programs put before UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A table's cells, its header apart.
pub(super) struct Table {
    header: Vec<String>,
    /// Each row with the line that it begins on.
    rows: Vec<(usize, Vec<String>)>,
}

impl Table {
    /// Reads RFC 4180 with a header line.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))?;
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let mut lines = Lines { text, line: 1 };
        let header = lines.row()?.ok_or("there is no header line")?;
        let mut rows: Vec<(usize, Vec<String>)> = Vec::new();
        loop {
            let line = lines.line;
            let Some(row) = lines.row()? else { break };
            if row.len() != header.len() {
                let (found, wanted) = (row.len(), header.len());
                return Err(format!("line {line}: {found} cells, but the header has {wanted}"));
            }
            if rows.len() == ROWS_MAX {
                return Err(format!("more than {ROWS_MAX} rows"));
            }
            rows.push((line, row));
        }
        let header = header.into_iter().map(|name| name.trim().to_owned()).collect();
        Ok(Self { header, rows })
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The columns of these names, side by side, as rows of numbers or texts.
    pub(super) fn columns(&self, names: &[String], dtype: ElementType) -> Result<Tensor, String> {
        let places = names
            .iter()
            .map(|name| {
                let at = self.header.iter().position(|found| found == name);
                at.map(|at| (at, name)).ok_or_else(|| format!("there is no column `{name}`"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let shape = [self.rows.len(), names.len()];
        let cells = self.rows.iter().flat_map(|(line, row)| {
            places.iter().map(move |(at, name)| {
                (*line, name.as_str(), row.get(*at).map_or("", String::as_str))
            })
        });
        match dtype {
            ElementType::Text => {
                let texts: Vec<String> = cells.map(|(.., cell)| cell.to_owned()).collect();
                tensor::made(&shape, texts)
            }
            ElementType::F64 => made(&shape, cells.map(float), |value: f64| value),
            dtype if dtype == ElementType::F32 || dtype == ElementType::F16 => {
                #[expect(clippy::cast_possible_truncation, reason = "the graph takes no more")]
                let single = made(&shape, cells.map(float), |value: f64| value as f32)?;
                cast(&single, dtype)
            }
            dtype => cast(&made(&shape, cells.map(integer), |value: i64| value)?, dtype),
        }
    }
}

fn made<S, T: tract_onnx::prelude::Datum>(
    shape: &[usize],
    cells: impl Iterator<Item = Result<S, String>>,
    narrow: impl Fn(S) -> T,
) -> Result<Tensor, String> {
    let values = cells.map(|cell| cell.map(&narrow)).collect::<Result<Vec<T>, String>>()?;
    tensor::made(shape, values)
}

fn cast(tensor: &Tensor, dtype: ElementType) -> Result<Tensor, String> {
    let dtype = tensor::datum_type(dtype).ok_or("its type has no tensor")?;
    let cast = tensor.cast_to_dt(dtype).map_err(|error| format!("{error:#}"))?;
    Ok(cast.into_owned())
}

/// A number; an empty cell is one that is missing, NaN.
fn float((line, column, cell): (usize, &str, &str)) -> Result<f64, String> {
    let cell = cell.trim();
    if cell.is_empty() {
        return Ok(f64::NAN);
    }
    cell.parse().map_err(|_| wrong(line, column, cell, "number"))
}

/// A whole number, or a truth value.
fn integer((line, column, cell): (usize, &str, &str)) -> Result<i64, String> {
    let cell = cell.trim();
    match cell {
        "true" | "True" | "TRUE" => Ok(1),
        "false" | "False" | "FALSE" => Ok(0),
        _ => cell.parse().map_err(|_| wrong(line, column, cell, "whole number")),
    }
}

fn wrong(line: usize, column: &str, cell: &str, what: &str) -> String {
    let shown: String = cell.chars().take(SHOWN_MAX_CHARS).collect();
    format!("line {line}, column `{column}`: `{shown}` is no {what}")
}

/// What is left of the text, and on which line it begins.
struct Lines<'a> {
    text: &'a str,
    line: usize,
}

impl Lines<'_> {
    /// The next row; empty lines are none.
    fn row(&mut self) -> Result<Option<Vec<String>>, String> {
        while let Some(rest) =
            self.text.strip_prefix('\n').or_else(|| self.text.strip_prefix("\r\n"))
        {
            self.text = rest;
            self.line += 1;
        }
        if self.text.is_empty() {
            return Ok(None);
        }
        let mut row = Vec::new();
        loop {
            row.push(self.cell()?);
            if let Some(rest) = self.text.strip_prefix(',') {
                self.text = rest;
            } else {
                let rest = self.text.strip_prefix("\r\n").or(self.text.strip_prefix('\n'));
                if let Some(rest) = rest {
                    self.text = rest;
                    self.line += 1;
                }
                return Ok(Some(row));
            }
        }
    }

    fn cell(&mut self) -> Result<String, String> {
        let Some(mut rest) = self.text.strip_prefix('"') else {
            let end = self.text.find([',', '\n']).unwrap_or(self.text.len());
            let (cell, rest) = self.text.split_at_checked(end).unwrap_or((self.text, ""));
            // The line's end is `\n` or `\r\n`; the latter's first half is no part of the cell.
            let (cell, rest) = match cell.strip_suffix('\r') {
                Some(inner) if !rest.starts_with(',') => (inner, rest),
                _ => (cell, rest),
            };
            self.text = rest;
            return Ok(cell.to_owned());
        };
        let start = self.line;
        let mut cell = String::new();
        loop {
            let Some((inside, behind)) = rest.split_once('"') else {
                return Err(format!("line {start}: a quote is not closed"));
            };
            cell.push_str(inside);
            self.line += inside.matches('\n').count();
            match behind.strip_prefix('"') {
                Some(more) => {
                    cell.push('"');
                    rest = more;
                }
                None if behind.is_empty() || behind.starts_with([',', '\n', '\r']) => {
                    self.text = behind;
                    return Ok(cell);
                }
                None => return Err(format!("line {}: text behind a closed quote", self.line)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str, dtype: ElementType) -> String {
        let table = match Table::read(text.as_bytes()) {
            Ok(table) => table,
            Err(why) => return why,
        };
        table.columns(&["a".into()], dtype).unwrap_err()
    }

    #[test]
    fn cells_become_numbers_and_texts() {
        let table = Table::read(b"\xef\xbb\xbfb,a\r\n\"x, \"\"y\"\"\n2\",1.5\r\n\nz,\r\n").unwrap();
        assert_eq!(table.len(), 2);
        let numbers = table.columns(&["a".into()], ElementType::F32).unwrap();
        let numbers = numbers.try_as_plain_ram().unwrap();
        let numbers = numbers.as_slice::<f32>().unwrap();
        assert!(numbers[0] == 1.5 && numbers[1].is_nan());
        let texts = table.columns(&["b".into()], ElementType::Text).unwrap();
        let texts = texts.try_as_plain_ram().unwrap();
        assert_eq!(texts.as_slice::<String>().unwrap(), ["x, \"y\"\n2", "z"]);
    }

    #[test]
    fn a_complaint_says_where() {
        let float = ElementType::F32;
        assert_eq!(complaint("a\n1\nx\n", float), "line 3, column `a`: `x` is no number");
        assert_eq!(complaint("a\n1\n1,2\n", float), "line 3: 2 cells, but the header has 1");
        assert_eq!(complaint("b\n1\n", float), "there is no column `a`");
        assert_eq!(complaint("a\n\"1\n", float), "line 2: a quote is not closed");
        assert_eq!(complaint("a\n\"\n1\"2\n", float), "line 3: text behind a closed quote");
        assert_eq!(
            complaint("a\n1.5\n", ElementType::I64),
            "line 2, column `a`: `1.5` is no whole number"
        );
        assert!(complaint("", float).contains("no header"));
    }
}
