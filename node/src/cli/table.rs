//! Aligned columns for people.

use std::fmt::Display;

use super::screen::{cut, padded, width, wrapped};

/// Space between two columns.
const GAP: &str = "  ";

/// Least columns of the last column; where less is left, it goes below its row.
const LAST_LEAST_COLUMNS: usize = 28;

/// What a last column below its row begins with.
const BELOW: &str = "    ";

/// Rows of cells that are aligned when they are shown. Free text stands in the last column.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without a head: names on the left, values on the right.
    #[must_use]
    pub(crate) fn plain() -> Self {
        Self::default()
    }

    /// A table with a head.
    #[must_use]
    pub(crate) fn with_head<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).into()] }
    }

    /// Adds a row. Cells are escaped here, because an escaped cell is longer.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.cells(cells.into());
    }

    /// Adds a row of any length.
    pub(crate) fn cells(&mut self, cells: Vec<String>) {
        let escaped = cells.iter().map(|cell| super::escape(cell).into_owned());
        self.rows.push(escaped.collect());
    }

    /// Adds a row of a name and a value, unless the value is empty.
    pub(crate) fn field(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.row([name.to_owned(), value]);
        }
    }

    /// The rows as lines, without white space at their ends.
    #[must_use]
    pub(crate) fn lines(&self) -> Vec<String> {
        self.rows_within(None).into_iter().flatten().collect()
    }

    /// The lines of each row where there are so many columns: the last cell is cut, or, where next to nothing would be
    /// left of it, stands below its row.
    #[must_use]
    pub(crate) fn rows_within(&self, columns: Option<usize>) -> Vec<Vec<String>> {
        let widths = self.widths();
        let (last, others) = widths.split_last().unwrap_or((&0, &[]));
        let before: usize = others.iter().map(|width| width + GAP.len()).sum();
        let room = columns.map(|columns| columns.saturating_sub(before));
        let is_below = room.is_some_and(|room| room < LAST_LEAST_COLUMNS.min(*last));
        let line = |cells: &[String]| {
            let cells: Vec<String> =
                cells.iter().zip(&widths).map(|(cell, &width)| padded(cell, width)).collect();
            cells.join(GAP).trim_end().to_owned()
        };
        let lines = |row: &Vec<String>| match row.split_last() {
            Some((text, cells)) if is_below && row.len() == widths.len() => {
                let below = columns.unwrap_or_default().saturating_sub(BELOW.len());
                let text = Some(text).filter(|text| !text.is_empty());
                let text = text.map(|text| format!("{BELOW}{}", cut(text, below)));
                std::iter::once(line(cells)).chain(text).collect()
            }
            Some((text, cells)) if row.len() == widths.len() => {
                let text = room.map_or_else(|| text.clone(), |room| cut(text, room));
                let cells: Vec<String> = cells.iter().cloned().chain([text]).collect();
                vec![line(&cells)]
            }
            _ => vec![line(row)],
        };
        self.rows.iter().map(lines).collect()
    }

    /// The lines of each row where there are so many columns: the last cell goes on below itself, or, where next to nothing
    /// would be left for it, below its row.
    #[must_use]
    pub(crate) fn rows_wrapped(&self, columns: Option<usize>) -> Vec<Vec<String>> {
        let Some(columns) = columns else { return self.rows_within(None) };
        let widths = self.widths();
        let (last, others) = widths.split_last().unwrap_or((&0, &[]));
        let before: usize = others.iter().map(|width| width + GAP.len()).sum();
        let is_below = columns.saturating_sub(before) < LAST_LEAST_COLUMNS.min(*last);
        let indent = if is_below { BELOW.len() } else { before };
        let lines = |row: &Vec<String>| {
            let cells: Vec<String> =
                row.iter().zip(others).map(|(cell, &width)| padded(cell, width)).collect();
            let head = cells.join(GAP);
            let text = row.get(others.len()).map(String::as_str).unwrap_or_default();
            let text = wrapped(text, columns.saturating_sub(indent));
            let mut text = text.into_iter();
            let first = if is_below { None } else { text.next() };
            let first = match first {
                Some(first) if head.is_empty() => first,
                Some(first) => format!("{head}{GAP}{first}"),
                None => head.trim_end().to_owned(),
            };
            let rest = text.map(|line| format!("{}{line}", " ".repeat(indent)));
            std::iter::once(first).chain(rest).collect()
        };
        self.rows.iter().map(lines).collect()
    }

    /// The columns that each column takes.
    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| width(cell)).max().unwrap_or_default()
        };
        (0..columns).map(widest).collect()
    }
}

/// The first `most` characters of a text, with dots where something is left out.
pub(crate) fn clipped(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The last characters of a peer id, which tell nodes apart; the first ones are the same for all.
pub(crate) fn short_peer(peer_id: &str) -> String {
    const SHOWN: usize = 8;
    match peer_id.char_indices().rev().nth(SHOWN - 1) {
        Some((at, _)) if at > 0 => format!("..{}", peer_id.get(at..).unwrap_or_default()),
        _ => peer_id.to_owned(),
    }
}

/// A number and what it counts: `1 file`, `2 files`.
pub(crate) fn counted(count: impl Display, what: &str) -> String {
    let count = count.to_string();
    format!("{count} {what}{}", if count == "1" { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_escaped() {
        let mut table = Table::with_head(["REF", "KIND"]);
        table.row(["lab-a/digits@1.0.0".into(), "model".into()]);
        table.row(["ä\n".into(), String::new()]);
        assert_eq!(
            table.lines(),
            ["REF                 KIND", "lab-a/digits@1.0.0  model", "ä\\n"]
        );
    }

    #[test]
    fn a_table_fits_where_it_stands() {
        let mut table = Table::with_head(["REF", "KIND", "SUMMARY"]);
        table.row(["lab-a/digits@1.0.0".into(), "model".into(), "Reads digits ".repeat(9)]);
        let rows = table.rows_within(Some(60));
        assert_eq!(rows[0], ["REF                 KIND   SUMMARY"]);
        assert_eq!(rows[1], ["lab-a/digits@1.0.0  model  Reads digits Reads digits Read..."]);
        let rows = table.rows_within(Some(40));
        assert_eq!(rows[0], ["REF                 KIND", "    SUMMARY"]);
        assert_eq!(
            rows[1],
            ["lab-a/digits@1.0.0  model", "    Reads digits Reads digits Reads d..."]
        );
        assert!(table.rows_within(None)[1][0].ends_with("Reads digits"));
    }

    #[test]
    fn a_text_that_must_be_read_whole_goes_on_below_itself() {
        let mut table = Table::with_head(["DATE", "TEXT"]);
        table.row(["2026-11-23".into(), "labels 4 and 9 are swapped, and so are 1 and 7".into()]);
        assert_eq!(
            table.rows_wrapped(Some(44))[1],
            ["2026-11-23  labels 4 and 9 are swapped, and", "            so are 1 and 7"]
        );
        assert_eq!(
            table.rows_wrapped(Some(30))[1],
            ["2026-11-23", "    labels 4 and 9 are", "    swapped, and so are 1 and", "    7"]
        );
        assert_eq!(table.rows_wrapped(None), table.rows_within(None));
    }

    #[test]
    fn long_ids_and_texts_are_cut_where_they_tell_least() {
        let peer_id = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        assert_eq!(short_peer(peer_id), "..4kx6nXTN");
        assert_eq!(short_peer("kx6nXTN4"), "kx6nXTN4");
        assert_eq!(clipped("äöü", 3), "äöü");
        assert_eq!(clipped("äöü", 2), "äö...");
    }
}
