//! Sending a file: small ones in one request, larger ones in parts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use guildhall_protocol::Hash;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload};

use crate::error::{RemoteError, RemoteFault};

use super::Link;
use super::calls::{CALL_MAX, Requests};

/// Length of a part, bytes, and the longest blob that goes in one request: above the 5 MiB that every server wants, and
/// little to send again.
pub(super) const PART_BYTES: u64 = 8 * 1024 * 1024;

/// Parts of a blob that are on their way at a time: together they fill a line that one alone does not.
const PARTS_AT_ONCE: u64 = 4;

/// Most parts of an object, by the rules of S3. Longer blobs have longer parts.
const PARTS_MAX: u64 = 10_000;

/// Longest object, bytes, by the rules of S3: 5 TiB.
const OBJECT_MAX_BYTES: u64 = 5 << 40;

const SENDING: &str = "sending a blob";

/// How long parts are: as few different lengths as possible, because some servers want all but the last to be equal.
fn part_bytes(len_bytes: u64) -> u64 {
    let least = len_bytes.div_ceil(PARTS_MAX);
    least.next_multiple_of(1024 * 1024).max(PART_BYTES)
}

impl Link {
    /// Sends the first bytes of a file. Blocking.
    pub(super) fn upload(&self, file: &File, hash: &Hash, len_bytes: u64) -> io::Result<()> {
        let _turn = self.turns.take();
        let (objects, key) = (Arc::clone(&self.objects), self.key(hash));
        if len_bytes > OBJECT_MAX_BYTES {
            let cause = "the blob is longer than an object may be";
            return Err(RemoteError::new(RemoteFault::NoSpace, SENDING, cause).into());
        }
        if len_bytes <= PART_BYTES {
            let bytes = read(file, 0, len_bytes)?;
            let put = async move { objects.put(&key, bytes).await.map(drop) };
            return Ok(self.calls.run(SENDING, put)?);
        }
        let begun = async move { objects.put_multipart(&key).await };
        let mut upload = self.calls.run(SENDING, begun)?;
        let sent = self.send_parts(&mut *upload, file, len_bytes);
        let (upload, ended) = match sent {
            Ok(()) => {
                let end = async move {
                    let done = upload.complete().await.map(drop);
                    // A failure is an answer here, so that the upload comes back.
                    Ok((upload, done))
                };
                let (upload, done) = self.calls.run(SENDING, end)?;
                (upload, done.map_err(|error| super::calls::sort(SENDING, &error).into()))
            }
            Err(error) => (upload, Err(error)),
        };
        if ended.is_err() {
            self.abort(upload, hash);
        }
        ended
    }

    fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        file: &File,
        len_bytes: u64,
    ) -> io::Result<()> {
        let part = part_bytes(len_bytes);
        let at_once = (PARTS_AT_ONCE * PART_BYTES / part).max(1);
        let parts: Requests<(), ()> = self.calls.batch(usize::try_from(at_once).unwrap_or(1));
        let (mut offset, mut running) = (0, 0_u64);
        while offset < len_bytes || running > 0 {
            if offset < len_bytes && running < at_once {
                self.layout.faults.step()?;
                let len = part.min(len_bytes.saturating_sub(offset));
                let request = upload.put_part(read(file, offset, len)?);
                parts.start(&self.calls, (SENDING, CALL_MAX), (), request);
                offset = offset.saturating_add(len);
                running = running.saturating_add(1);
            } else {
                parts.next(SENDING)?.1?;
                running = running.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Has the server forget the parts. What it does not hear, its own rules for unfinished uploads have to remove.
    fn abort(&self, mut upload: Box<dyn MultipartUpload>, hash: &Hash) {
        let aborted = self.calls.ask("giving up", async move { upload.abort().await });
        if let Err(error) = aborted {
            tracing::warn!(%hash, %error, "parts of an unfinished upload stay at the server");
        }
    }
}

fn read(file: &File, offset: u64, len_bytes: u64) -> io::Result<PutPayload> {
    let len = usize::try_from(len_bytes).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::{OBJECT_MAX_BYTES, PART_BYTES, PARTS_MAX, part_bytes};

    #[test]
    fn parts_are_neither_too_many_nor_too_small() {
        for len_bytes in
            [PART_BYTES + 1, PART_BYTES * PARTS_MAX, PART_BYTES * PARTS_MAX + 1, OBJECT_MAX_BYTES]
        {
            let part = part_bytes(len_bytes);
            assert!(part >= PART_BYTES && len_bytes.div_ceil(part) <= PARTS_MAX, "{len_bytes}");
        }
        assert_eq!(part_bytes(PART_BYTES * PARTS_MAX), PART_BYTES);
    }
}
