//! Flatbuffers, as far as Arrow's messages need them: every place is checked when it is followed, nothing is copied.
//!
//! Source: <https://flatbuffers.dev/internals/>. A table begins with a signed offset back to its vtable, which has the
//! table's fields as offsets from the table, 0 for a field that is not there.

use super::super::problem::{Checked, Problem, refused_at};

/// Bytes that hold one flatbuffer, and where they begin in the file.
#[derive(Clone, Copy)]
pub(super) struct Flat<'a> {
    bytes: &'a [u8],
    base: u64,
}

/// A table of it.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    flat: Flat<'a>,
    at: usize,
    vtable: usize,
    vtable_len: usize,
}

/// A vector of it.
#[derive(Clone, Copy)]
pub(super) struct Vector<'a> {
    flat: Flat<'a>,
    /// Where its first element is.
    at: usize,
    pub(super) len: usize,
}

impl<'a> Flat<'a> {
    pub(super) const fn new(bytes: &'a [u8], base: u64) -> Self {
        Self { bytes, base }
    }

    fn wrong(&self, at: usize) -> Problem {
        let at = at.min(self.bytes.len()) as u64;
        refused_at(self.base.saturating_add(at), "its metadata points outside itself")
    }

    fn array<const N: usize>(&self, at: usize) -> Checked<[u8; N]> {
        self.bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk::<N>())
            .copied()
            .ok_or_else(|| self.wrong(at))
    }

    fn u32(&self, at: usize) -> Checked<usize> {
        let found = u32::from_le_bytes(self.array(at)?);
        usize::try_from(found).map_err(|_| self.wrong(at))
    }

    /// Follows the offset that stands at `at`.
    fn follow(&self, at: usize) -> Checked<usize> {
        let to = at.checked_add(self.u32(at)?).filter(|to| *to < self.bytes.len());
        to.ok_or_else(|| self.wrong(at))
    }

    /// The table that the buffer is.
    pub(super) fn root(&self) -> Checked<Table<'a>> {
        self.table(self.follow(0)?)
    }

    fn table(&self, at: usize) -> Checked<Table<'a>> {
        let back = i32::from_le_bytes(self.array(at)?);
        let vtable = i64::try_from(at)
            .ok()
            .and_then(|at| at.checked_sub(i64::from(back)))
            .and_then(|vtable| usize::try_from(vtable).ok())
            .ok_or_else(|| self.wrong(at))?;
        let vtable_len = usize::from(u16::from_le_bytes(self.array(vtable)?));
        let end = vtable.checked_add(vtable_len).filter(|end| *end <= self.bytes.len());
        if end.is_none() || vtable_len < 4 {
            return Err(self.wrong(vtable));
        }
        Ok(Table { flat: *self, at, vtable, vtable_len })
    }
}

impl<'a> Table<'a> {
    /// Where the field of this number is, if it is there.
    fn field(&self, number: usize) -> Checked<Option<usize>> {
        let slot = 4 + 2 * number;
        if slot + 2 > self.vtable_len {
            return Ok(None);
        }
        let offset = u16::from_le_bytes(self.flat.array(self.vtable.saturating_add(slot))?);
        Ok((offset > 0).then(|| self.at.saturating_add(usize::from(offset))))
    }

    /// A byte, 0 if it is not there.
    pub(super) fn u8(&self, number: usize) -> Checked<u8> {
        match self.field(number)? {
            Some(at) => self.flat.array(at).map(|[byte]| byte),
            None => Ok(0),
        }
    }

    /// A number of 16 bits, 0 if it is not there.
    pub(super) fn i16(&self, number: usize) -> Checked<i16> {
        match self.field(number)? {
            Some(at) => self.flat.array(at).map(i16::from_le_bytes),
            None => Ok(0),
        }
    }

    /// A number of 32 bits, 0 if it is not there.
    pub(super) fn i32(&self, number: usize) -> Checked<i32> {
        match self.field(number)? {
            Some(at) => self.flat.array(at).map(i32::from_le_bytes),
            None => Ok(0),
        }
    }

    /// A count of 64 bits, 0 if it is not there; a negative one is wrong.
    pub(super) fn count(&self, number: usize) -> Checked<u64> {
        match self.field(number)? {
            Some(at) => {
                let found = self.flat.array(at).map(i64::from_le_bytes)?;
                u64::try_from(found).map_err(|_| self.flat.wrong(at))
            }
            None => Ok(0),
        }
    }

    /// A table.
    pub(super) fn table(&self, number: usize) -> Checked<Option<Table<'a>>> {
        let Some(at) = self.field(number)? else { return Ok(None) };
        self.flat.table(self.flat.follow(at)?).map(Some)
    }

    /// A vector whose elements take so many bytes each.
    pub(super) fn vector(&self, number: usize, width: usize) -> Checked<Option<Vector<'a>>> {
        let Some(at) = self.field(number)? else { return Ok(None) };
        let at = self.flat.follow(at)?;
        let len = self.flat.u32(at)?;
        let start = at.saturating_add(4);
        let end = len.checked_mul(width).and_then(|bytes| start.checked_add(bytes));
        match end {
            Some(end) if end <= self.flat.bytes.len() => {
                Ok(Some(Vector { flat: self.flat, at: start, len }))
            }
            _ => Err(self.flat.wrong(at)),
        }
    }

    /// A text, empty if it is not there.
    pub(super) fn text(&self, number: usize) -> Checked<String> {
        let Some(vector) = self.vector(number, 1)? else { return Ok(String::new()) };
        let end = vector.at.saturating_add(vector.len);
        let bytes = self.flat.bytes.get(vector.at..end).unwrap_or_default().to_vec();
        String::from_utf8(bytes).map_err(|_| self.flat.wrong(vector.at))
    }
}

impl<'a> Vector<'a> {
    /// The table that an element points to.
    pub(super) fn table(&self, index: usize) -> Checked<Table<'a>> {
        let at = self.at.saturating_add(index.saturating_mul(4));
        self.flat.table(self.flat.follow(at)?)
    }

    /// `N` bytes of a structure that is an element of `width` bytes, from `offset` on.
    pub(super) fn part<const N: usize>(
        &self,
        index: usize,
        width: usize,
        offset: usize,
    ) -> Checked<[u8; N]> {
        self.flat.array(self.at.saturating_add(index.saturating_mul(width)).saturating_add(offset))
    }
}
