//! Blobs on their way in.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Read as _, Write as _};
use std::path::PathBuf;

use guildhall_protocol::Hash;

use crate::batch::Batch;
use crate::error::BlobError;
use crate::layout::TempFile;
use crate::store::Store;

use super::COPY_BUFFER_BYTES;

/// Takes a blob's bytes. Blocking: use it on a blocking thread. Dropping it removes what was written.
#[derive(Debug)]
pub struct BlobWriter {
    temp: TempFile,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    expected: Option<Hash>,
    len_bytes: u64,
    max_len_bytes: u64,
    /// Set by the first error: what was hashed may not be what is in the file.
    failed: bool,
}

/// A whole, synced blob that waits in `tmp/` for [`Batch::add_blob`]. Dropping it removes its file.
#[derive(Debug)]
#[must_use = "a staged blob is removed unless a batch adds it"]
pub struct StagedBlob {
    hash: Hash,
    len_bytes: u64,
    pub(crate) file: TempFile,
}

/// A blob that is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlob {
    /// Its name.
    pub hash: Hash,
    /// Its length, bytes.
    pub len_bytes: u64,
}

impl BlobWriter {
    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`BlobError::TooLong`] beyond the agreed length, before anything of `bytes` is written; [`BlobError::Io`].
    /// After an error every further call fails with [`BlobError::Interrupted`].
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let result = if self.failed { Err(BlobError::Interrupted) } else { self.append(bytes) };
        self.failed = result.is_err();
        result
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let len_bytes = self.len_bytes.saturating_add(bytes.len() as u64);
        if len_bytes > self.max_len_bytes {
            return Err(BlobError::TooLong { max_len_bytes: self.max_len_bytes });
        }
        self.file.write_all(bytes).map_err(BlobError::io(self.temp.path()))?;
        self.hasher.update(bytes);
        self.len_bytes = len_bytes;
        Ok(())
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Checks the hash and syncs the file.
    ///
    /// # Errors
    /// [`BlobError::HashMismatch`] if another blob was announced; [`BlobError::Io`]; [`BlobError::Interrupted`]
    /// after an error of [`BlobWriter::write_all`].
    pub fn finish(self) -> Result<StagedBlob, BlobError> {
        let Self { temp, file, hasher, expected, len_bytes, failed, .. } = self;
        if failed {
            return Err(BlobError::Interrupted);
        }
        let hash = Hash::from(hasher.finalize());
        if let Some(expected) = expected
            && expected != hash
        {
            return Err(BlobError::HashMismatch { expected, found: hash });
        }
        let file = file.into_inner().map_err(|error| error.into_error());
        let synced = file.and_then(|file| file.sync_all());
        synced.map_err(BlobError::io(temp.path()))?;
        Ok(StagedBlob { hash, len_bytes, file: temp })
    }
}

impl StagedBlob {
    /// The blob's name.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The blob's length, bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }
}

impl Store {
    /// Starts a blob of at most `max_len_bytes`. With `expected`, only those bytes will be accepted. Nothing limits how
    /// many writers are open, or how full the disk gets: that is for the caller, who knows [`Store::usage`].
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn blob_writer(
        &self,
        expected: Option<Hash>,
        max_len_bytes: u64,
    ) -> Result<BlobWriter, BlobError> {
        let path = self.inner.shared.layout.next_temp_file();
        let (temp, file) = TempFile::create(path.clone()).map_err(BlobError::io(&path))?;
        Ok(BlobWriter {
            temp,
            file: BufWriter::with_capacity(COPY_BUFFER_BYTES, file),
            hasher: blake3::Hasher::new(),
            expected,
            len_bytes: 0,
            max_len_bytes,
            failed: false,
        })
    }

    /// Stores `bytes` as a blob: staged on a blocking thread, then committed.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn put_blob(&self, bytes: Vec<u8>) -> Result<StoredBlob, BlobError> {
        let store = self.clone();
        self.stage_and_commit(move || {
            let mut writer = store.blob_writer(None, bytes.len() as u64)?;
            writer.write_all(&bytes)?;
            writer.finish()
        })
        .await
    }

    /// Stores a copy of the file at `path` as a blob: copied on a blocking thread, then committed. A file that grows
    /// meanwhile is refused.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn put_blob_file(&self, path: PathBuf) -> Result<StoredBlob, BlobError> {
        let store = self.clone();
        self.stage_and_commit(move || {
            let mut source = File::open(&path).map_err(BlobError::io(&path))?;
            let len_bytes = source.metadata().map_err(BlobError::io(&path))?.len();
            let mut writer = store.blob_writer(None, len_bytes)?;
            let mut buffer = vec![0; COPY_BUFFER_BYTES];
            loop {
                let read = match source.read(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    read => read.map_err(BlobError::io(&path))?,
                };
                match buffer.get(..read) {
                    None | Some([]) => return writer.finish(),
                    Some(bytes) => writer.write_all(bytes)?,
                }
            }
        })
        .await
    }

    async fn stage_and_commit(
        &self,
        stage: impl FnOnce() -> Result<StagedBlob, BlobError> + Send + 'static,
    ) -> Result<StoredBlob, BlobError> {
        let staged = tokio::task::spawn_blocking(stage).await;
        let staged = staged.map_err(|_| BlobError::Interrupted)??;
        let stored = StoredBlob { hash: staged.hash, len_bytes: staged.len_bytes };
        let mut batch = Batch::new();
        batch.add_blob(staged);
        self.commit(batch).await?;
        Ok(stored)
    }
}
