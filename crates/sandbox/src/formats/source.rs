//! Bytes of a file under check: read where a format says so, never as a whole, and never more than was asked for.
//!
//! Every length that comes from the file is compared with what is left of the file before anything is allocated.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use super::problem::{Checked, Problem, refused_at};

/// Bytes that a [`Reader`] holds at once: large enough that system calls do not count.
const BUFFER_BYTES: usize = 64 * 1024;

/// A file of known length that can be read anywhere.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    bytes: Bytes<'a>,
    len_bytes: u64,
}

#[derive(Clone, Copy)]
enum Bytes<'a> {
    File(&'a File),
    Memory(&'a [u8]),
}

impl<'a> Source<'a> {
    /// A file, of which this many bytes count.
    pub(crate) const fn of_file(file: &'a File, len_bytes: u64) -> Self {
        Self { bytes: Bytes::File(file), len_bytes }
    }

    /// Bytes in memory.
    pub(crate) const fn of_bytes(bytes: &'a [u8]) -> Self {
        Self { bytes: Bytes::Memory(bytes), len_bytes: bytes.len() as u64 }
    }

    /// Length, bytes.
    pub(crate) const fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Fills `buffer` from `offset` on; what is not there is an unexpected end.
    fn fill(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self.bytes {
            Bytes::File(file) => file.read_exact_at(buffer, offset),
            Bytes::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let found = bytes
                    .get(start..)
                    .and_then(|rest| rest.get(..buffer.len()))
                    .ok_or(io::ErrorKind::UnexpectedEof)?;
                buffer.copy_from_slice(found);
                Ok(())
            }
        }
    }

    /// These bytes, which must lie inside the file.
    pub(crate) fn bytes(&self, offset: u64, len_bytes: u64) -> Checked<Vec<u8>> {
        let is_inside = offset.checked_add(len_bytes).is_some_and(|end| end <= self.len_bytes);
        match usize::try_from(len_bytes) {
            Ok(len) if is_inside => {
                let mut found = vec![0; len];
                self.fill(offset, &mut found)?;
                Ok(found)
            }
            _ => Err(refused_at(
                offset.min(self.len_bytes),
                format!("{len_bytes} bytes are announced, but the file ends before"),
            )),
        }
    }

    /// The first bytes, as many of `len_bytes` as there are.
    pub(crate) fn head(&self, len_bytes: u64) -> Checked<Vec<u8>> {
        self.bytes(0, len_bytes.min(self.len_bytes))
    }

    /// The last bytes, as many of `len_bytes` as there are, and where they begin.
    pub(crate) fn tail(&self, len_bytes: u64) -> Checked<(u64, Vec<u8>)> {
        let len_bytes = len_bytes.min(self.len_bytes);
        let start = self.len_bytes.saturating_sub(len_bytes);
        Ok((start, self.bytes(start, len_bytes)?))
    }

    /// Reads from the start to the end.
    pub(crate) fn reader(&self) -> Reader<'a> {
        self.reader_of(0, self.len_bytes)
    }

    /// Reads a range; what of it lies outside the file is an unexpected end.
    pub(crate) fn reader_of(&self, start: u64, end: u64) -> Reader<'a> {
        Reader { source: *self, at: start, end, buffer: Vec::new(), used: 0 }
    }
}

/// Reads a range of a file in order, with small steps at little cost.
pub(crate) struct Reader<'a> {
    source: Source<'a>,
    /// The file's offset behind the buffer.
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were handed out.
    used: usize,
}

impl Reader<'_> {
    /// Where the next byte is in the file.
    pub(crate) fn position(&self) -> u64 {
        self.at.saturating_sub(self.buffered().len() as u64)
    }

    /// Bytes until the range ends.
    pub(crate) fn left(&self) -> u64 {
        self.end.saturating_sub(self.position())
    }

    fn buffered(&self) -> &[u8] {
        self.buffer.get(self.used..).unwrap_or_default()
    }

    /// The next bytes, some of them; none at the end. They stay next until [`Reader::consume`].
    pub(crate) fn chunk(&mut self) -> Checked<&[u8]> {
        if self.used >= self.buffer.len() {
            let missing = self.end.saturating_sub(self.at);
            let len = usize::try_from(missing).unwrap_or(usize::MAX).min(BUFFER_BYTES);
            self.buffer.resize(len, 0);
            self.used = 0;
            if let Err(error) = self.source.fill(self.at, &mut self.buffer) {
                self.buffer.clear();
                return Err(error.into());
            }
            self.at = self.at.saturating_add(len as u64);
        }
        Ok(self.buffered())
    }

    /// Moves on inside the last chunk.
    pub(crate) fn consume(&mut self, len: usize) {
        self.used = self.used.saturating_add(len).min(self.buffer.len());
    }

    /// The next byte; none at the end.
    pub(crate) fn next_byte(&mut self) -> Checked<Option<u8>> {
        let byte = self.chunk()?.first().copied();
        if byte.is_some() {
            self.consume(1);
        }
        Ok(byte)
    }

    /// The next byte, which must be there.
    pub(crate) fn byte(&mut self) -> Checked<u8> {
        let position = self.position();
        self.next_byte()?.ok_or_else(|| ends(position))
    }

    /// The next `N` bytes, which must be there.
    pub(crate) fn array<const N: usize>(&mut self) -> Checked<[u8; N]> {
        let mut found = [0; N];
        for byte in &mut found {
            *byte = self.byte()?;
        }
        Ok(found)
    }

    /// A little-endian number.
    pub(crate) fn u32(&mut self) -> Checked<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A little-endian number.
    pub(crate) fn u64(&mut self) -> Checked<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next bytes as a vector; `len_bytes` comes from the file, `max_bytes` from us.
    pub(crate) fn vector(&mut self, len_bytes: u64, max_bytes: u64) -> Checked<Vec<u8>> {
        let position = self.position();
        if len_bytes > max_bytes {
            let why = format!("{len_bytes} bytes where at most {max_bytes} are taken");
            return Err(refused_at(position, why));
        }
        if len_bytes > self.left() {
            return Err(ends(position));
        }
        let mut found = vec![0; usize::try_from(len_bytes).unwrap_or(usize::MAX)];
        self.read_exact(&mut found)?;
        Ok(found)
    }

    /// Moves on without looking.
    pub(crate) fn skip(&mut self, len_bytes: u64) -> Checked<()> {
        if len_bytes > self.left() {
            return Err(ends(self.position()));
        }
        let buffered = self.buffered().len();
        match usize::try_from(len_bytes) {
            Ok(len) if len <= buffered => self.consume(len),
            _ => {
                self.at = self.position().saturating_add(len_bytes);
                self.buffer.clear();
                self.used = 0;
            }
        }
        Ok(())
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let chunk = self.chunk().map_err(|problem| match problem {
            Problem::Unreadable(error) => error,
            Problem::Refused(_) => io::ErrorKind::UnexpectedEof.into(),
        })?;
        let len = chunk.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..len), chunk.get(..len)) {
            to.copy_from_slice(from);
        }
        self.consume(len);
        Ok(len)
    }
}

fn ends(position: u64) -> Problem {
    refused_at(position, "it ends in the middle")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_knows_where_it_is_and_where_it_ends() {
        let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
        let source = Source::of_bytes(&bytes);
        let mut reader = source.reader_of(10, 150_000);
        assert_eq!(reader.byte().unwrap(), 10);
        reader.skip(70_000).unwrap();
        assert_eq!(reader.position(), 70_011);
        assert_eq!(reader.byte().unwrap(), bytes[70_011]);
        assert_eq!(reader.vector(3, 3).unwrap(), &bytes[70_012..70_015]);
        assert!(reader.vector(4, 3).is_err());
        assert!(reader.skip(80_000).is_err());
        reader.skip(reader.left()).unwrap();
        assert_eq!(reader.next_byte().unwrap(), None);
        assert!(reader.byte().is_err());
    }

    #[test]
    fn an_announced_length_is_compared_with_the_file_before_memory_is_taken() {
        let source = Source::of_bytes(b"short");
        assert!(source.bytes(0, u64::MAX).is_err());
        assert!(source.bytes(u64::MAX, 1).is_err());
        assert!(source.reader().vector(1 << 40, u64::MAX).is_err());
        assert_eq!(source.tail(2).unwrap(), (3, b"rt".to_vec()));
    }
}
