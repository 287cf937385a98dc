//! What is in the index on disk: the schema, the bytes of a term, and the note that goes with every commit.
//!
//! A document is one listing. It has its number, as a fast field, and its terms. A term is put once for each listing,
//! under the best of the fields it stands in, because that field alone decides what the hit is worth:
//!
//! ```text
//! term  = the stem, UTF-8 | 0x00 | one byte: place of the field in Field::ALL
//! note  = "guildhall-text <FORMAT> kept-below <number> sum <checksum of the text before, hex>"
//! ```
//!
//! Terms are letters and digits, so 0x00 ends them, and terms with their fields sort as the terms do.

use guildhall_catalog::words::{Field, FieldSet};
use tantivy::TantivyDocument;
use tantivy::schema::{BytesOptions, FAST, Schema};

/// Raise it when a directory written by older code must not be used: another schema, other bytes of a term, or other
/// stems and fields in [`guildhall_catalog::words`].
pub(crate) const FORMAT: u32 = 1;

/// Name of the field with the number of a listing.
pub(crate) const NUMBER: &str = "number";

/// Name of the field with its terms.
const TERMS: &str = "terms";

/// Ends a term.
const END: u8 = 0;

/// Greater than every byte of UTF-8: ends the range of terms with a common start.
const AFTER_ALL: u8 = 0xff;

/// The schema and its two fields.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    /// As tantivy writes it.
    pub(crate) schema: Schema,
    /// Number of the listing.
    pub(crate) number: tantivy::schema::Field,
    /// Its terms.
    pub(crate) terms: tantivy::schema::Field,
}

impl Format {
    pub(crate) fn new() -> Self {
        let mut schema = Schema::builder();
        let number = schema.add_u64_field(NUMBER, FAST);
        // Neither norms nor frequencies: a hit is worth what its field says.
        let terms = schema.add_bytes_field(TERMS, BytesOptions::default().set_indexed());
        Self { schema: schema.build(), number, terms }
    }

    /// A document without terms.
    pub(crate) fn document(&self, number: u32) -> TantivyDocument {
        let mut document = TantivyDocument::new();
        document.add_u64(self.number, u64::from(number));
        document
    }
}

/// The bytes of `term` in `fields`; `None` for no field, which no listing has.
pub(crate) fn term_bytes(term: &str, fields: FieldSet) -> Option<Vec<u8>> {
    let best = fields.best()?;
    let place = Field::ALL.iter().position(|field| *field == best)?;
    let mut bytes = Vec::with_capacity(term.len() + 2);
    bytes.extend_from_slice(term.as_bytes());
    bytes.extend([END, u8::try_from(place).ok()?]);
    Some(bytes)
}

/// The term and the field that `bytes` stand for; `None` when we did not write them.
pub(crate) fn read_term(bytes: &[u8]) -> Option<(&str, Field)> {
    let (term, field) = bytes.split_last_chunk::<2>()?;
    let [END, place] = *field else { return None };
    Some((std::str::from_utf8(term).ok()?, *Field::ALL.get(usize::from(place))?))
}

/// Terms that are `stem` itself: from the first bytes on, below the second.
pub(crate) fn whole_range(stem: &str) -> (Vec<u8>, Vec<u8>) {
    let ended = |byte| [stem.as_bytes(), &[byte]].concat();
    (ended(END), ended(END + 1))
}

/// Terms that begin with `start`, itself included.
pub(crate) fn started_range(start: &str) -> (Vec<u8>, Vec<u8>) {
    ([start.as_bytes(), &[END]].concat(), [start.as_bytes(), &[AFTER_ALL]].concat())
}

/// The note of a commit.
pub(crate) fn note(kept_below: u32) -> String {
    let text = format!("guildhall-text {FORMAT} kept-below {kept_below}");
    let sum = checksum(&text);
    format!("{text} sum {sum:016x}")
}

/// Reads the note of a commit; `None` when it is of another version or damaged.
pub(crate) fn read_note(note: &str) -> Option<u32> {
    let (text, sum) = note.rsplit_once(" sum ")?;
    let right = u64::from_str_radix(sum, 16).ok()? == checksum(text);
    let kept_below = text.strip_prefix(&format!("guildhall-text {FORMAT} kept-below "))?;
    right.then(|| kept_below.parse().ok()).flatten()
}

/// FNV-1a, 64 bits: tantivy has checksums in all files but the one that holds the note.
fn checksum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_is_kept_under_its_best_field_and_read_again() {
        let fields = [Field::Summary, Field::Keyword].into_iter().collect();
        let bytes = term_bytes("größe", fields).unwrap();
        assert_eq!(bytes, "größe\0\u{1}".as_bytes());
        assert_eq!(read_term(&bytes), Some(("größe", Field::Keyword)));
        assert_eq!(read_term(b"x"), None);
        assert_eq!(read_term(b"x\0\x09"), None);
        assert_eq!(term_bytes("x", FieldSet::default()), None);
    }

    #[test]
    fn a_note_with_one_other_character_is_no_note() {
        let written = note(4096);
        assert_eq!(read_note(&written), Some(4096));
        for at in 0..written.len() {
            let mut bytes = written.clone().into_bytes();
            bytes[at] ^= 1;
            assert_eq!(read_note(&String::from_utf8(bytes).unwrap()), None, "at {at}");
        }
    }

    #[test]
    fn started_terms_lie_between_the_bounds_and_whole_ones_too() {
        let (from, below) = started_range("dig");
        let (whole_from, whole_below) = whole_range("dig");
        let name = FieldSet::from_iter([Field::Name]);
        for term in ["dig", "digit", "digé", "dig9"] {
            let bytes = term_bytes(term, name).unwrap();
            assert!(from <= bytes && bytes < below, "{term}");
            assert_eq!(whole_from <= bytes && bytes < whole_below, term == "dig", "{term}");
        }
        for term in ["di", "dih", "e"] {
            let bytes = term_bytes(term, name).unwrap();
            assert!(bytes < from || bytes >= below, "{term}");
        }
    }
}
