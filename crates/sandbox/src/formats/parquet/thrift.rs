//! Thrift's compact protocol, as far as Parquet's metadata needs it: no allocation by announced counts, bounded depth.
//!
//! Source: <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>.

use super::super::problem::{Checked, Problem, refused_at};

/// Deepest nesting of structures and lists; Parquet's own nests eight deep.
const DEPTH_MAX: u32 = 32;

/// What kind of value follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    True,
    False,
    Byte,
    I16,
    I32,
    I64,
    Double,
    Binary,
    List,
    Set,
    Map,
    Struct,
    Uuid,
}

impl Kind {
    const fn of(nibble: u8) -> Option<Self> {
        Some(match nibble {
            1 => Self::True,
            2 => Self::False,
            3 => Self::Byte,
            4 => Self::I16,
            5 => Self::I32,
            6 => Self::I64,
            7 => Self::Double,
            8 => Self::Binary,
            9 => Self::List,
            10 => Self::Set,
            11 => Self::Map,
            12 => Self::Struct,
            13 => Self::Uuid,
            _ => return None,
        })
    }
}

/// Reads values one after another.
pub(super) struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the bytes begin in the file.
    base: u64,
    depth: u32,
}

impl<'a> Thrift<'a> {
    pub(super) const fn new(bytes: &'a [u8], base: u64) -> Self {
        Self { bytes, at: 0, base, depth: 0 }
    }

    /// Place in the file.
    pub(super) const fn position(&self) -> u64 {
        self.base.saturating_add(self.at as u64)
    }

    /// Bytes that were not read.
    pub(super) const fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    fn wrong(&self, why: &str) -> Problem {
        refused_at(self.position(), format!("its metadata: {why}"))
    }

    fn take(&mut self, len: usize) -> Checked<&'a [u8]> {
        let found = self.bytes.get(self.at..).and_then(|rest| rest.get(..len));
        let found = found.ok_or_else(|| self.wrong("it ends in the middle"))?;
        self.at = self.at.saturating_add(len);
        Ok(found)
    }

    fn byte(&mut self) -> Checked<u8> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    fn varint(&mut self) -> Checked<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.wrong("a number is too long"))
    }

    fn zigzag(&mut self) -> Checked<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Fails unless the value is of the kind that the format has at this place.
    pub(super) fn expect(&self, found: Kind, wanted: Kind) -> Checked<()> {
        if found == wanted { Ok(()) } else { Err(self.wrong("a field is of the wrong type")) }
    }

    /// A number of any width.
    pub(super) fn integer(&mut self, kind: Kind) -> Checked<i64> {
        match kind {
            Kind::Byte => Ok(i64::from(self.byte()?.cast_signed())),
            Kind::I16 | Kind::I32 | Kind::I64 => self.zigzag(),
            _ => Err(self.wrong("a field is no number")),
        }
    }

    /// A text.
    pub(super) fn text(&mut self, kind: Kind, max_bytes: usize) -> Checked<String> {
        self.expect(kind, Kind::Binary)?;
        let len = self.varint()?;
        let len = usize::try_from(len).ok().filter(|len| *len <= max_bytes);
        let len = len.ok_or_else(|| self.wrong("a name is too long"))?;
        let bytes = self.take(len)?.to_vec();
        String::from_utf8(bytes).map_err(|_| self.wrong("a name is not UTF-8"))
    }

    fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> Checked<T>) -> Checked<T> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > DEPTH_MAX {
            return Err(self.wrong("it is nested too deeply"));
        }
        let result = inside(self);
        self.depth = self.depth.saturating_sub(1);
        result
    }

    /// Reads a structure; `field` reads or skips each field's value.
    pub(super) fn structure(
        &mut self,
        mut field: impl FnMut(&mut Self, i16, Kind) -> Checked<()>,
    ) -> Checked<()> {
        self.deeper(|thrift| {
            let mut id = 0_i16;
            loop {
                let head = thrift.byte()?;
                if head == 0 {
                    return Ok(());
                }
                let kind = Kind::of(head & 0x0f);
                let kind = kind.ok_or_else(|| thrift.wrong("a field of no type"))?;
                let next = match head >> 4 {
                    0 => i16::try_from(thrift.zigzag()?).ok(),
                    delta => id.checked_add(i16::from(delta)),
                };
                id = next.ok_or_else(|| thrift.wrong("a field's number is out of range"))?;
                field(thrift, id, kind)?;
            }
        })
    }

    /// Reads a list of values of one kind.
    pub(super) fn list(
        &mut self,
        kind: Kind,
        of: Kind,
        mut each: impl FnMut(&mut Self) -> Checked<()>,
    ) -> Checked<()> {
        self.expect(kind, Kind::List)?;
        let (found, count) = self.list_head()?;
        if count > 0 {
            self.expect(found, of)?;
        }
        self.deeper(|thrift| (0..count).try_for_each(|_| each(thrift)))
    }

    fn list_head(&mut self) -> Checked<(Kind, u64)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        // Each element takes a byte at least.
        if count > self.left() as u64 {
            return Err(self.wrong("a list is longer than its file"));
        }
        match Kind::of(head & 0x0f) {
            Some(kind) => Ok((kind, count)),
            None if count == 0 => Ok((Kind::Byte, 0)),
            None => Err(self.wrong("a list of no type")),
        }
    }

    /// Passes over a field's value.
    pub(super) fn skip(&mut self, kind: Kind) -> Checked<()> {
        match kind {
            // In a field, the kind is the value.
            Kind::True | Kind::False => Ok(()),
            _ => self.skip_element(kind),
        }
    }

    fn skip_element(&mut self, kind: Kind) -> Checked<()> {
        match kind {
            Kind::True | Kind::False | Kind::Byte => self.take(1).map(drop),
            Kind::I16 | Kind::I32 | Kind::I64 => self.varint().map(drop),
            Kind::Double => self.take(8).map(drop),
            Kind::Uuid => self.take(16).map(drop),
            Kind::Binary => {
                let len = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                self.take(len).map(drop)
            }
            Kind::List | Kind::Set => {
                let (kind, count) = self.list_head()?;
                self.deeper(|thrift| (0..count).try_for_each(|_| thrift.skip_element(kind)))
            }
            Kind::Map => self.skip_map(),
            Kind::Struct => self.structure(|thrift, _, kind| thrift.skip(kind)),
        }
    }

    fn skip_map(&mut self) -> Checked<()> {
        let count = self.varint()?;
        if count == 0 {
            return Ok(());
        }
        if count > self.left() as u64 {
            return Err(self.wrong("a map is longer than its file"));
        }
        let kinds = self.byte()?;
        let (Some(key), Some(value)) = (Kind::of(kinds >> 4), Kind::of(kinds & 0x0f)) else {
            return Err(self.wrong("a map of no type"));
        };
        self.deeper(|thrift| {
            (0..count).try_for_each(|_| {
                thrift.skip_element(key)?;
                thrift.skip_element(value)
            })
        })
    }
}
