//! Plain text: UTF-8 without the control characters that no editor writes.

use super::problem::{Checked, refused_at};
use super::source::Source;
use super::utf8::Utf8;

const HELP: &str = "save it as UTF-8";

/// Checks that a file is text.
pub(super) fn check(source: &Source<'_>) -> Checked<()> {
    match first_odd_byte(source)? {
        None => Ok(()),
        Some(at) => Err(refused_at(at, "it is no text in UTF-8").help(HELP)),
    }
}

/// Where a file stops being text; none if it is one. It is read as far as that, so other files are soon told apart.
pub(super) fn first_odd_byte(source: &Source<'_>) -> Checked<Option<u64>> {
    let mut reader = source.reader();
    let mut utf8 = Utf8::default();
    loop {
        let start = reader.position();
        let chunk = reader.chunk()?;
        if chunk.is_empty() {
            return Ok((!utf8.is_whole()).then_some(start));
        }
        let odd = |byte: &u8| matches!(byte, 0..=8 | 11 | 14..=26 | 28..=31 | 127);
        let wrong = utf8.push(chunk).err().or_else(|| chunk.iter().position(odd));
        if let Some(at) = wrong {
            return Ok(Some(start.saturating_add(at as u64)));
        }
        let len = chunk.len();
        reader.consume(len);
    }
}
