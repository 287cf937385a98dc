//! Blobs that a client brings: one by one, many small ones at once, or as a file that it put into the store's folder.

use std::path::Path;
use std::sync::Arc;

use guildhall_gateway::{Answer, ApiError, Upload};
use guildhall_protocol::api::{AdoptRequest, BlobQuery, BlobStored, BlobsKnown};
use guildhall_protocol::limits::BLOB_QUERY_MAX;
use guildhall_store::{Batch, BlobError, Import, StagedBlob};

use super::{App, disk};

/// Largest blob that a client may upload, bytes: what fits the disks that nodes have, many times over.
const BLOB_MAX_BYTES: u64 = 1 << 40;

/// Longest blob in a batch, bytes; larger ones gain nothing from it.
const BATCHED_MAX_BYTES: u64 = 1 << 20;

/// Bytes of one batch, which become one commit, and blobs in it.
const BATCH_MAX_BYTES: u64 = 64 << 20;
const BATCH_MAX_BLOBS: usize = 16_384;

impl App {
    /// Takes one blob as it comes.
    pub(super) async fn store_upload(&self, upload: &mut Upload) -> Answer<BlobStored> {
        let mut writer = self.store.blob_writer(None, BLOB_MAX_BYTES).map_err(blob_error)?;
        while let Some(bytes) = upload.chunk().await? {
            // What came so far is on the disk already.
            disk::check_room(&self.home.store(), bytes.len() as u64)
                .map_err(|full| disk_full(full.to_string()))?;
            tokio::task::block_in_place(|| writer.write_all(&bytes)).map_err(blob_error)?;
        }
        let staged = tokio::task::block_in_place(|| writer.finish()).map_err(blob_error)?;
        self.keep_staged(vec![staged]).await?.pop().ok_or_else(|| ApiError::internal("no blob"))
    }

    /// Takes many small blobs, each behind its length, and commits them together.
    pub(super) async fn store_uploads(&self, upload: &mut Upload) -> Answer<Vec<BlobStored>> {
        let mut splitter = Splitter::default();
        let mut staged = Vec::new();
        while let Some(chunk) = upload.chunk().await? {
            if upload.taken_bytes() > BATCH_MAX_BYTES {
                let message = format!("a batch has at most {BATCH_MAX_BYTES} bytes");
                return Err(ApiError::too_large("batch_too_long", message));
            }
            splitter.take(&chunk, |blob| {
                if staged.len() >= BATCH_MAX_BLOBS {
                    let message = format!("a batch has at most {BATCH_MAX_BLOBS} blobs");
                    return Err(ApiError::too_large("batch_too_long", message));
                }
                staged.push(tokio::task::block_in_place(|| self.stage(blob)).map_err(blob_error)?);
                Ok(())
            })?;
        }
        splitter.finish()?;
        disk::check_room(&self.home.store(), 0).map_err(|full| disk_full(full.to_string()))?;
        self.keep_staged(staged).await
    }

    fn stage(&self, bytes: &[u8]) -> Result<StagedBlob, BlobError> {
        let mut writer = self.store.blob_writer(None, bytes.len() as u64)?;
        writer.write_all(bytes)?;
        writer.finish()
    }

    async fn keep_staged(&self, staged: Vec<StagedBlob>) -> Answer<Vec<BlobStored>> {
        let mut batch = Batch::new();
        let mut stored = Vec::with_capacity(staged.len());
        for blob in staged {
            self.leases.mark(blob.hash());
            stored.push(BlobStored { hash: blob.hash(), len_bytes: blob.len_bytes() });
            batch.add_blob(blob);
        }
        self.store.commit(batch).await.map_err(|error| write_error(&error))?;
        Ok(stored)
    }

    /// Which blobs are here and undamaged. Each is read and hashed: a client that sends what is damaged mends it.
    pub(super) async fn known_blobs(self: &Arc<Self>, query: BlobQuery) -> Answer<BlobsKnown> {
        if query.hashes.len() > BLOB_QUERY_MAX {
            let message = format!("at most {BLOB_QUERY_MAX} blobs in one question");
            return Err(ApiError::too_large("too_many_blobs", message));
        }
        let app = Arc::clone(self);
        let known = tokio::task::spawn_blocking(move || {
            let mut known = query.hashes;
            known.retain(|hash| {
                app.leases.mark(*hash);
                app.store.verify_blob(hash).is_ok()
            });
            known
        });
        let known = known.await.map_err(|error| ApiError::internal(error.to_string()))?;
        Ok(BlobsKnown { known })
    }

    /// Takes over a file that a client on this machine put into the store's folder for that.
    pub(super) async fn adopt_file(&self, request: AdoptRequest) -> Answer<BlobStored> {
        let AdoptRequest { name, linked } = request;
        if let Err(full) = disk::check_room(&self.home.store(), 0) {
            // The copy is on this disk already and has taken the room that others need.
            if let Err(error) = self.store.discard_incoming(Path::new(&name)) {
                tracing::warn!(%error, name, "a file that is not adopted stays until the next start");
            }
            return Err(disk_full(full.to_string()));
        }
        let import = || {
            let path = self.store.incoming_dir().join(&name);
            // A copy's bytes are on this disk already, and so are those of a link.
            let len_bytes = std::fs::symlink_metadata(path).map_or(0, |found| found.len());
            if len_bytes > BLOB_MAX_BYTES {
                return Err(BlobError::TooLong { max_len_bytes: BLOB_MAX_BYTES });
            }
            self.store.import_file(Path::new(&name), Import::Adopt { linked })
        };
        let staged = tokio::task::block_in_place(import).map_err(blob_error)?;
        self.keep_staged(vec![staged]).await?.pop().ok_or_else(|| ApiError::internal("no blob"))
    }
}

/// Takes blobs apart that come behind their lengths.
#[derive(Default)]
struct Splitter {
    rest: Vec<u8>,
}

impl Splitter {
    /// Hands out every blob that is whole.
    fn take(&mut self, chunk: &[u8], mut blob: impl FnMut(&[u8]) -> Answer<()>) -> Answer<()> {
        self.rest.extend_from_slice(chunk);
        let mut at = 0_usize;
        while let Some((len, behind)) =
            self.rest.get(at..).and_then(|rest| rest.split_first_chunk::<4>())
        {
            let len = u64::from(u32::from_be_bytes(*len));
            if len > BATCHED_MAX_BYTES {
                let message = format!("a blob in a batch has at most {BATCHED_MAX_BYTES} bytes");
                return Err(ApiError::too_large("blob_too_long", message));
            }
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let Some(bytes) = behind.get(..len) else { break };
            blob(bytes)?;
            at = at.saturating_add(4).saturating_add(len);
        }
        self.rest.drain(..at);
        Ok(())
    }

    fn finish(self) -> Answer<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid("bad_batch", "the batch ends in the middle of a blob"))
    }
}

/// There is no room; `why` says for what.
pub(super) fn disk_full(why: String) -> ApiError {
    ApiError::full("disk_full", why).with_help("guild store gc")
}

pub(super) fn write_error(error: &guildhall_store::WriteError) -> ApiError {
    match error.is_no_space() {
        true => disk_full(error.to_string()),
        false => ApiError::internal(error.to_string()),
    }
}

pub(super) fn blob_error(error: BlobError) -> ApiError {
    match error {
        BlobError::Missing { hash } => {
            ApiError::not_found("unknown_blob", format!("{hash} is not here"))
        }
        BlobError::TooLong { max_len_bytes } => ApiError::too_large(
            "blob_too_long",
            format!("a blob has at most {max_len_bytes} bytes"),
        ),
        error @ BlobError::NotImportable { .. } => {
            ApiError::invalid("not_importable", error.to_string())
        }
        error if error.is_no_space() => disk_full(error.to_string()),
        error => ApiError::internal(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Answer<Vec<Vec<u8>>> {
        let mut splitter = Splitter::default();
        let mut blobs = Vec::new();
        for chunk in chunks {
            splitter.take(chunk, |blob| {
                blobs.push(blob.to_vec());
                Ok(())
            })?;
        }
        splitter.finish().map(|()| blobs)
    }

    #[test]
    fn blobs_come_apart_wherever_the_chunks_end() {
        let all = [&[0, 0, 0, 2][..], b"ab", &[0, 0, 0, 0], &[0, 0, 0, 1], b"c"].concat();
        for at in 0..all.len() {
            let (left, right) = all.split_at(at);
            let blobs = split(&[left, right]).unwrap();
            assert_eq!(blobs, [b"ab".to_vec(), Vec::new(), b"c".to_vec()], "cut at {at}");
        }
        assert!(split(&[&all[..all.len() - 1]]).is_err(), "the last blob is not whole");
        assert!(split(&[&[0xff; 8]]).is_err(), "a length beyond the bound");
    }
}
