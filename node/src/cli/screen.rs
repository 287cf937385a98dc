//! Text in the columns of a terminal: how wide it is, how it is cut and wrapped.
//!
//! Widths are those of Unicode, so Chinese takes two columns a character and a mark on a letter none. Everything here
//! expects text that was escaped before, and keeps it so.

use std::io;

use terminal_size::{Width, terminal_size_of};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns below which nothing is squeezed any further; no terminal that people work in is narrower.
const LEAST_COLUMNS: usize = 40;

/// What stands where something was cut off.
const CUT: &str = "...";

/// Columns of prose: longer lines are hard to read, and where nobody says how wide the place is they are these.
pub(crate) const PROSE_COLUMNS: usize = 100;

/// Columns of the terminal that stdout is; `None` when it is none, and nothing needs to be cut.
pub(crate) fn columns() -> Option<usize> {
    let (Width(columns), _) = terminal_size_of(io::stdout())?;
    Some(usize::from(columns).max(LEAST_COLUMNS))
}

/// Columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// A text with spaces behind it, so that it takes at least `columns`.
pub(crate) fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// The beginning of a text that takes at most `columns`, with dots where something is left out.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(CUT.len());
    let end = fitting(text, room);
    format!("{}{CUT}", text.get(..end).unwrap_or_default().trim_end())
}

/// A text in lines of at most `columns`, broken at blanks; only a word that is longer than a line is broken inside.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && width(&line) + 1 + width(word) > columns {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        let mut rest = word;
        while width(rest) > columns {
            // At least one character, or a wide one would never fit into a single column.
            let one = rest.chars().next().map_or(0, char::len_utf8);
            let (part, behind) = rest.split_at(fitting(rest, columns).max(one));
            lines.push(part.to_owned());
            rest = behind;
        }
        line.push_str(rest);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// Where the part of a text ends that takes at most `columns`.
fn fitting(text: &str, columns: usize) -> usize {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += c.width().unwrap_or_default();
        if taken > columns {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_fits_and_says_that_it_was_cut() {
        assert_eq!(cut("digits", 6), "digits");
        assert_eq!(cut("handwritten digits", 12), "handwritt...");
        assert_eq!(cut("some small words", 8), "some...");
        // Two columns a character.
        assert_eq!(cut("数字数字数字", 8), "数字...");
        assert_eq!(cut("abc", 0), "...");
    }

    #[test]
    fn lines_are_broken_at_blanks_and_only_long_words_inside() {
        assert_eq!(wrapped("one two  three\nfour", 9), ["one two", "three", "four"]);
        assert_eq!(wrapped("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(wrapped("数字", 1), ["数", "字"]);
        assert!(wrapped("  ", 9).is_empty());
        for line in wrapped(&"word 数字 ".repeat(50), 17) {
            assert!(width(&line) <= 17, "{line}");
        }
    }

    #[test]
    fn padding_counts_columns_and_not_characters() {
        assert_eq!(padded("数", 4), "数  ");
        assert_eq!(padded("long", 2), "long");
    }
}
