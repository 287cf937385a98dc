//! Writing one piece of a partial blob.

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use guildhall_protocol::tree::{self, Cv, Span};

use crate::error::BlobError;

use super::{Inner, Piece};

/// Groups that lie side by side are written together up to this many bytes: a system call and a disk operation for
/// sixteen groups.
const WRITE_BYTES: usize = 256 * 1024;

/// Takes the groups of a piece, in any order. Dropping it before [`PieceWriter::finish`] leaves the piece missing.
#[derive(Debug)]
pub struct PieceWriter {
    inner: Arc<Inner>,
    index: usize,
    span: Span,
    groups: Vec<Cv>,
    written: Vec<bool>,
    /// Checked groups that lie side by side and are not in the file yet.
    buffer: Vec<u8>,
    /// Where they begin in the blob.
    buffer_offset: u64,
}

impl PieceWriter {
    pub(super) fn start(
        inner: &Arc<Inner>,
        index: u64,
        groups: Vec<Cv>,
    ) -> Result<Self, BlobError> {
        let hash = inner.hash();
        let wrong = || BlobError::WrongTree { hash };
        let span = inner.shape.piece(index);
        let number = usize::try_from(index).map_err(|_| wrong())?;
        if index >= inner.shape.pieces() || groups.len() as u64 != span.groups() {
            return Err(wrong());
        }
        let state = inner.state();
        if state.failed {
            return Err(BlobError::Interrupted);
        }
        let right = if inner.shape.pieces() == 1 {
            tree::root(&groups) == Some(hash)
        } else {
            let list = state.list.as_ref().ok_or(BlobError::Incomplete { hash })?;
            tree::merge(&groups).as_ref() == list.get(number)
        };
        if !right {
            return Err(wrong());
        }
        drop(state);
        Ok(Self {
            inner: Arc::clone(inner),
            index: number,
            span,
            written: vec![false; groups.len()],
            groups,
            buffer: Vec::new(),
            buffer_offset: span.offset,
        })
    }

    /// The piece this writes.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index as u64
    }

    /// The groups that have not come yet.
    #[must_use]
    pub fn missing(&self) -> Vec<u64> {
        (0..).zip(&self.written).filter(|(_, written)| !**written).map(|(at, _)| at).collect()
    }

    /// Takes a group, by its number in the piece, if it is the right one. A second time it is ignored.
    ///
    /// # Errors
    /// [`BlobError::WrongGroup`] if these are other bytes: nothing of them is written. [`BlobError::Io`] or
    /// [`BlobError::NoSpace`]: the piece must be started again.
    pub fn write_group(&mut self, index: u64, bytes: &[u8]) -> Result<(), BlobError> {
        let wrong = || BlobError::WrongGroup {
            hash: self.inner.hash(),
            piece: self.index as u64,
            group: index,
        };
        let number = usize::try_from(index).map_err(|_| wrong())?;
        let expected = self.groups.get(number).ok_or_else(wrong)?;
        let group = self.span.group(index);
        let right = bytes.len() as u64 == group.len_bytes
            && !bytes.is_empty()
            && tree::group_cv(group.offset, bytes) == *expected;
        if !right {
            return Err(wrong());
        }
        if self.written.get(number) == Some(&true) {
            return Ok(());
        }
        let buffer_end = self.buffer_offset.saturating_add(self.buffer.len() as u64);
        if group.offset != buffer_end || self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
            self.buffer_offset = group.offset;
        }
        self.buffer.extend_from_slice(bytes);
        if let Some(written) = self.written.get_mut(number) {
            *written = true;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BlobError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.inner.begun.shared.layout.faults.step();
        let written =
            written.and_then(|()| self.inner.file.write_all_at(&self.buffer, self.buffer_offset));
        if written.is_err() {
            // No group counts any more.
            self.written.fill(false);
        }
        self.buffer.clear();
        written.map_err(BlobError::io(&self.inner.path))
    }

    /// Writes what is still in memory; then the piece is verified, and the next checkpoint saves it.
    ///
    /// # Errors
    /// [`BlobError::Incomplete`] if groups are missing; [`BlobError::Io`] or [`BlobError::NoSpace`].
    pub fn finish(mut self) -> Result<(), BlobError> {
        self.flush()?;
        if !self.written.iter().all(|written| *written) {
            return Err(BlobError::Incomplete { hash: self.inner.hash() });
        }
        let groups = std::mem::take(&mut self.groups);
        let mut state = self.inner.state();
        if state.failed {
            return Err(BlobError::Interrupted);
        }
        if state.pieces.get(self.index) == Some(&Piece::Missing) {
            state.set(self.index, Piece::Written);
            state.unsaved.insert(self.index, groups);
        }
        Ok(())
    }
}
