//! NumPy arrays: whether their header announces objects, which are pickles, or bytes that are not there.
//!
//! Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use super::problem::{Checked, refused, refused_at};
use super::source::Source;
use super::zip;

/// What an array begins with.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header, bytes: NumPy itself refuses to evaluate more than 10,000.
const HEADER_MAX_BYTES: usize = 64 * 1024;

const HELP: &str = "save arrays of numbers, or the table as Parquet; numpy.save(path, array, allow_pickle=False) \
                    refuses objects";

/// Checks the header of an array.
pub(super) fn check(source: &Source<'_>) -> Checked<()> {
    let head = source.head(12 + HEADER_MAX_BYTES as u64)?;
    check_head(&head).map_err(|problem| problem.help(HELP))
}

fn check_head(head: &[u8]) -> Checked<()> {
    let (len, start) = match *head {
        [_, _, _, _, _, _, 1, _, a, b, ..] => (usize::from(u16::from_le_bytes([a, b])), 10),
        [_, _, _, _, _, _, 2 | 3, _, a, b, c, d, ..] => {
            let len = u32::from_le_bytes([a, b, c, d]);
            (usize::try_from(len).unwrap_or(usize::MAX), 12)
        }
        _ => return Err(refused_at(6, "it is no NumPy array of a known version")),
    };
    let header = head.get(start..).and_then(|rest| rest.get(..len));
    let header = header.ok_or_else(|| refused_at(6, "its header is longer than the file"))?;
    let text = String::from_utf8_lossy(header);
    if !(text.trim_start().starts_with('{') && text.contains("'descr'")) {
        return Err(refused_at(start as u64, "its header is no description of an array"));
    }
    if is_of_objects(&text) {
        return Err(refused_at(
            start as u64,
            "it is a NumPy array of objects, which is a Python pickle",
        ));
    }
    Ok(())
}

/// Whether a type in the description is `O`, alone or in a structure.
fn is_of_objects(header: &str) -> bool {
    let quoted = header.split(['\'', '"']).skip(1).step_by(2);
    quoted.into_iter().any(|text| {
        let text = text.trim_start_matches(['|', '<', '>', '=']);
        text == "O"
            || text == "object"
            || (text.starts_with('O') && text[1..].bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Checks the arrays of an archive of arrays, as far as they are not packed.
pub(super) fn check_archive(source: &Source<'_>, entries: &[zip::Entry]) -> Checked<()> {
    for entry in entries.iter().filter(|entry| entry.name.ends_with(".npy")) {
        let head = zip::head(source, entry, 4_096)?;
        if let Some(head) = head
            && head.starts_with(MAGIC)
            && is_of_objects(&String::from_utf8_lossy(head.get(10..).unwrap_or_default()))
        {
            let why = format!("its array `{}` is of objects, which is a Python pickle", entry.name);
            return Err(refused(why).help(HELP));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_in_plain_and_structured_types() {
        for (header, objects) in [
            ("{'descr': '|O', 'shape': (1,), }", true),
            ("{'descr': 'O', 'shape': (1,), }", true),
            ("{'descr': [('a', '<f4'), ('b', '|O8')], }", true),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", false),
            ("{'descr': [('Order', '<i8')], }", false),
        ] {
            assert_eq!(is_of_objects(header), objects, "{header}");
        }
    }
}
