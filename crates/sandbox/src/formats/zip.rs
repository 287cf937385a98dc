//! Zip archives: what their central directory names. Nothing is unpacked.
//!
//! Source: PKWARE's APPNOTE.TXT, sections 4.3.7, 4.3.12 and 4.3.16.

use super::problem::{Checked, Problem, refused, refused_at};
use super::source::Source;

/// Bytes at the end in which the end record lies: itself and the longest comment.
const TAIL_BYTES: u64 = 22 + 65_535;

/// Longest central directory, bytes; 65,535 entries, the most without zip64, take some 6 MiB.
const DIRECTORY_MAX_BYTES: u64 = 16 << 20;

/// What the end record begins with.
const END: &[u8; 4] = b"PK\x05\x06";

/// A file inside.
pub(super) struct Entry {
    pub(super) name: String,
    /// How it is packed; 0 is not.
    pub(super) method: u16,
    /// Where its local header is.
    pub(super) at: u64,
}

/// What the end record says.
struct End {
    at: u64,
    directory_bytes: u64,
    directory_at: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn end_of(source: &Source<'_>) -> Checked<Option<End>> {
    let (start, tail) = source.tail(TAIL_BYTES)?;
    for at in (0..tail.len().saturating_sub(21)).rev() {
        let Some(record) = tail.get(at..).filter(|rest| rest.starts_with(END)) else { continue };
        let (Some(size), Some(offset), Some(comment)) =
            (u32_at(record, 12), u32_at(record, 16), u16_at(record, 20))
        else {
            continue;
        };
        let at = start.saturating_add(at as u64);
        let fits = record.len() >= 22 + usize::from(comment);
        // Whatever stands in front of an archive, its directory lies before its end record.
        if fits && (u64::from(size) <= at || size == u32::MAX) {
            let end = End { at, directory_bytes: size.into(), directory_at: offset.into() };
            return Ok(Some(end));
        }
    }
    Ok(None)
}

/// Where an archive at the end of the file has its end record, whatever the file begins with.
pub(super) fn hidden_at(source: &Source<'_>) -> Checked<Option<u64>> {
    Ok(end_of(source)?.map(|end| end.at))
}

/// Whether the file holds anything that makes a zip of it for common readers.
pub(super) fn entries(source: &Source<'_>) -> Checked<Vec<Entry>> {
    let end = end_of(source)?
        .ok_or_else(|| refused("it begins like a zip archive and does not end like one"))?;
    let wrong = |why: &str| -> Problem { refused_at(end.at, format!("its directory {why}")) };
    if end.directory_bytes > DIRECTORY_MAX_BYTES && end.directory_bytes != u64::from(u32::MAX) {
        return Err(wrong("is too long"));
    }
    let (size, offset) = match zip64(source, &end)? {
        Some(place) => place,
        None => (end.directory_bytes, end.directory_at),
    };
    if size > DIRECTORY_MAX_BYTES {
        return Err(wrong("is too long"));
    }
    // Readers look where the directory must be, in front of its end, not where it claims to be.
    if offset.checked_add(size).is_none_or(|stop| stop > end.at) {
        return Err(wrong("lies outside the file"));
    }
    let bytes = source.bytes(offset, size)?;
    let mut found = Vec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let entry = entry(rest).ok_or_else(|| wrong("cannot be read"))?;
        rest = rest.get(entry.1..).unwrap_or_default();
        found.push(entry.0);
    }
    Ok(found)
}

/// Size and place of the directory of a large archive.
fn zip64(source: &Source<'_>, end: &End) -> Checked<Option<(u64, u64)>> {
    let Some(at) = end.at.checked_sub(20) else { return Ok(None) };
    let locator = source.bytes(at, 20)?;
    if !locator.starts_with(b"PK\x06\x07") {
        return Ok(None);
    }
    let u64_at = |bytes: &[u8], at: usize| {
        bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().map(u64::from_le_bytes)
    };
    let record_at = u64_at(&locator, 8).unwrap_or(u64::MAX);
    let record = source.bytes(record_at, 56)?;
    match (u64_at(&record, 40), u64_at(&record, 48)) {
        (Some(size), Some(offset)) if record.starts_with(b"PK\x06\x06") => Ok(Some((size, offset))),
        _ => Err(refused_at(record_at, "its directory cannot be read")),
    }
}

/// The first entry of the directory's rest, and how many bytes it takes there.
fn entry(rest: &[u8]) -> Option<(Entry, usize)> {
    if !rest.starts_with(b"PK\x01\x02") {
        return None;
    }
    let name_len = usize::from(u16_at(rest, 28)?);
    let len = 46 + name_len + usize::from(u16_at(rest, 30)?) + usize::from(u16_at(rest, 32)?);
    let name = rest.get(46..46 + name_len)?;
    rest.get(..len)?;
    let entry = Entry {
        name: String::from_utf8_lossy(name).to_ascii_lowercase(),
        method: u16_at(rest, 10)?,
        at: u32_at(rest, 42)?.into(),
    };
    Some((entry, len))
}

/// The first bytes of an entry's content, if it is not packed.
pub(super) fn head(source: &Source<'_>, entry: &Entry, len_bytes: u64) -> Checked<Option<Vec<u8>>> {
    if entry.method != 0 || entry.at == u64::from(u32::MAX) {
        return Ok(None);
    }
    let local = source.bytes(entry.at, 30)?;
    let (Some(name), Some(extra)) = (u16_at(&local, 26), u16_at(&local, 28)) else {
        return Ok(None);
    };
    let at = entry.at.saturating_add(30).saturating_add(u64::from(name) + u64::from(extra));
    let left = source.len_bytes().saturating_sub(at);
    Ok(Some(source.bytes(at.min(source.len_bytes()), left.min(len_bytes))?))
}
