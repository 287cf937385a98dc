//! Fetching an object by ranges, and checking it on the way.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{self, Cv, Shape};
use object_store::ObjectStoreExt as _;

use crate::error::{BlobDamage, RemoteError, RemoteFault};
use crate::layout::TempFile;
use crate::shelf::Unopened;

use super::Link;
use super::calls::CALL_MAX;

/// Ranges of an object that are asked for at a time, a piece each: together they fill a line that one alone does not.
const RANGES_AT_ONCE: u64 = 4;

const FETCHING: &str = "fetching a blob";

impl Link {
    /// Fetches an object of this length and shows its pieces to `each` with their offsets, in no order. Blocking.
    pub(super) fn fetch(
        &self,
        hash: &Hash,
        len_bytes: u64,
        each: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let _turn = self.turns.take();
        let shape = Shape::of(len_bytes);
        let count = if len_bytes == 0 { 0 } else { shape.pieces() };
        let answers = self.calls.batch(usize::try_from(RANGES_AT_ONCE).unwrap_or(1));
        let (mut next, mut running) = (0, 0_u64);
        while next < count || running > 0 {
            if next < count && running < RANGES_AT_ONCE {
                let span = shape.piece(next);
                let (objects, key) = (Arc::clone(&self.objects), self.key(hash));
                let range = span.offset..span.offset.saturating_add(span.len_bytes);
                let request = async move { objects.get_range(&key, range).await };
                answers.start(&self.calls, (FETCHING, CALL_MAX), span, request);
                next = next.saturating_add(1);
                running = running.saturating_add(1);
                continue;
            }
            let (span, bytes) = answers.next(FETCHING)?;
            running = running.saturating_sub(1);
            let bytes = bytes?;
            if bytes.len() as u64 != span.len_bytes {
                let cause = format!("{} bytes came of {}", bytes.len(), span.len_bytes);
                return Err(RemoteError::new(RemoteFault::Protocol, FETCHING, &cause).into());
            }
            self.layout.faults.step()?;
            each(span.offset, &bytes)?;
        }
        Ok(())
    }

    /// Fetches a blob into a new file in `tmp/`, synced, if it has its hash.
    pub(super) fn fetch_checked(
        &self,
        hash: &Hash,
        len_bytes: u64,
    ) -> Result<(TempFile, File), Unopened> {
        let shape = Shape::of(len_bytes);
        let (temp, file) = TempFile::create(self.layout.next_temp_file(), &self.layout.faults)?;
        let count = usize::try_from(shape.pieces()).map_err(io::Error::other)?;
        let mut pieces = vec![Cv::from_bytes([0; 32]); count];
        let mut first = Vec::new();
        self.fetch(hash, len_bytes, &mut |offset, bytes| {
            file.write_all_at(bytes, offset)?;
            let groups = tree::group_cvs(offset, bytes);
            let at = usize::try_from(offset / tree::PIECE_BYTES).unwrap_or(usize::MAX);
            if let (Some(piece), Some(cv)) = (pieces.get_mut(at), tree::merge(&groups)) {
                *piece = cv;
            }
            if offset == 0 {
                first = groups;
            }
            Ok(())
        })?;
        let root = if count == 1 { tree::root(&first) } else { tree::root(&pieces) };
        if root != Some(*hash) {
            // Which of them, nobody looked.
            let damage = BlobDamage::Content { pieces: shape.pieces(), first_offset: 0 };
            return Err(Unopened::Damaged(damage));
        }
        file.sync_all()?;
        Ok((temp, file))
    }
}
