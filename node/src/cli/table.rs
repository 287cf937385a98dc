//! Aligned columns for people.

use std::fmt::Display;

/// Space between two columns.
const GAP: &str = "  ";

/// Rows of cells that are aligned when they are shown. Cells are counted in characters, not in what a terminal makes
/// of them; names and numbers are ASCII, and free text stands in the last column.
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
        self.rows.push(cells.map(|cell| super::escape(&cell).into_owned()).into());
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
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
            cells.join(GAP).trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
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
    fn long_ids_and_texts_are_cut_where_they_tell_least() {
        let peer_id = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        assert_eq!(short_peer(peer_id), "..4kx6nXTN");
        assert_eq!(short_peer("kx6nXTN4"), "kx6nXTN4");
        assert_eq!(clipped("äöü", 3), "äöü");
        assert_eq!(clipped("äöü", 2), "äö...");
    }
}
