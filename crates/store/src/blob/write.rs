//! Blobs on their way in, byte by byte.

use std::fs::File;
use std::io::Write as _;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{self, Cv, GROUP_BYTES, GROUPS_PER_PIECE};

use crate::batch::Batch;
use crate::error::BlobError;
use crate::layout::{Layout, TempFile};
use crate::partial::Begun;
use crate::shared::Shared;
use crate::store::Store;

use super::COPY_BUFFER_BYTES;
use super::import::Import;
use super::tree::{Tree, TreeBuilder};

/// Takes a blob's bytes. Blocking: use it on a blocking thread. Dropping it removes what was written. A blob of one
/// group never touches the disk before its batch is committed.
#[derive(Debug)]
pub struct BlobWriter {
    shared: Arc<Shared>,
    /// Created when the bytes no longer fit one group.
    file: Option<(TempFile, File)>,
    /// What is not yet hashed and written: less than [`COPY_BUFFER_BYTES`].
    buffer: Vec<u8>,
    tree: TreeBuilder,
    /// The groups of the piece that is coming in.
    groups: Vec<Cv>,
    expected: Option<Hash>,
    len_bytes: u64,
    /// Bytes that were hashed and written.
    written_bytes: u64,
    max_len_bytes: u64,
    /// Set by the first error: what was hashed may not be what is in the file.
    failed: bool,
}

/// A whole blob, synced if it has a file, that waits for [`Batch::add_blob`]. Dropping it removes its file, unless it
/// was received as a [`Partial`](crate::Partial).
#[derive(Debug)]
#[must_use = "a staged blob is removed unless a batch adds it"]
pub struct StagedBlob {
    hash: Hash,
    len_bytes: u64,
    pub(crate) content: Content,
}

/// Where the bytes of a staged blob are.
#[derive(Debug)]
pub(crate) enum Content {
    /// At most one group: here.
    Inline(Vec<u8>),
    /// In `tmp/`, with the tree that is to be written.
    File { temp: TempFile, tree: Tree },
    /// In `partial/`, with its tree already in the catalogue. Until this is dropped nobody opens it as a partial blob.
    Partial { path: PathBuf, _begun: Arc<Begun> },
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

    fn append(&mut self, mut bytes: &[u8]) -> Result<(), BlobError> {
        let len_bytes = self.len_bytes.saturating_add(bytes.len() as u64);
        if len_bytes > self.max_len_bytes {
            return Err(BlobError::TooLong { max_len_bytes: self.max_len_bytes });
        }
        self.len_bytes = len_bytes;
        while !bytes.is_empty() {
            let room = COPY_BUFFER_BYTES.saturating_sub(self.buffer.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() >= COPY_BUFFER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Hashes and writes what is buffered: whole groups, except at the end of the blob.
    fn flush(&mut self) -> Result<(), BlobError> {
        let layout = &self.shared.layout;
        let (temp, file) = match &mut self.file {
            Some(open) => open,
            none => none.insert(layout.create_temp()?),
        };
        let written = layout.faults.step().and_then(|()| file.write_all(&self.buffer));
        written.map_err(BlobError::io(temp.path()))?;
        let groups = tree::group_cvs(self.written_bytes, &self.buffer);
        self.written_bytes = self.written_bytes.saturating_add(self.buffer.len() as u64);
        self.buffer.clear();
        self.groups.extend(groups);
        // A piece is a whole number of buffers.
        if self.groups.len() as u64 >= GROUPS_PER_PIECE {
            let groups = mem::take(&mut self.groups);
            self.tree.push(layout, &groups)?;
        }
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
    pub fn finish(mut self) -> Result<StagedBlob, BlobError> {
        if self.failed {
            return Err(BlobError::Interrupted);
        }
        if self.len_bytes <= GROUP_BYTES {
            let staged = StagedBlob::inline(mem::take(&mut self.buffer));
            return staged.expect(self.expected);
        }
        if !self.buffer.is_empty() {
            self.flush()?;
        }
        let Self { shared, file, mut tree, groups, expected, len_bytes, .. } = self;
        tree.push(&shared.layout, &groups)?;
        let (hash, tree) = tree.finish(len_bytes).ok_or(BlobError::Interrupted)?;
        let (temp, file) = file.ok_or(BlobError::Interrupted)?;
        if expected.is_none_or(|expected| expected == hash) {
            let synced = shared.layout.faults.step().and_then(|()| file.sync_all());
            synced.map_err(BlobError::io(temp.path()))?;
        }
        StagedBlob::new(hash, len_bytes, Content::File { temp, tree }).expect(expected)
    }
}

impl StagedBlob {
    pub(crate) fn new(hash: Hash, len_bytes: u64, content: Content) -> Self {
        Self { hash, len_bytes, content }
    }

    /// A blob of at most one group.
    pub(crate) fn inline(bytes: Vec<u8>) -> Self {
        Self::new(Hash::of(&bytes), bytes.len() as u64, Content::Inline(bytes))
    }

    fn expect(self, expected: Option<Hash>) -> Result<Self, BlobError> {
        match expected {
            Some(expected) if expected != self.hash => {
                Err(BlobError::HashMismatch { expected, found: self.hash })
            }
            _ => Ok(self),
        }
    }

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

    /// Its file, if it has one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.content {
            Content::Inline(_) => None,
            Content::File { temp, .. } => Some(temp.path()),
            Content::Partial { path, .. } => Some(path),
        }
    }

    /// What it holds in memory, bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        match &self.content {
            Content::Inline(bytes) => bytes.len(),
            Content::File { tree, .. } => tree.memory_bytes(),
            Content::Partial { .. } => 0,
        }
    }
}

impl Store {
    /// Starts a blob of at most `max_len_bytes`. With `expected`, only those bytes will be accepted. Nothing limits how
    /// many writers are open, or how full the disk gets: that is for the caller, who knows [`Store::usage`].
    ///
    /// # Errors
    /// None now; the file is created when the first bytes are written.
    pub fn blob_writer(
        &self,
        expected: Option<Hash>,
        max_len_bytes: u64,
    ) -> Result<BlobWriter, BlobError> {
        Ok(BlobWriter {
            shared: Arc::clone(&self.inner.shared),
            file: None,
            buffer: Vec::new(),
            tree: TreeBuilder::new(),
            groups: Vec::new(),
            expected,
            len_bytes: 0,
            written_bytes: 0,
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

    /// Stores a copy of the file at `path` as a blob: [`Store::import_file`] on a blocking thread, then a commit. A
    /// file that grows meanwhile is refused.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn put_blob_file(&self, path: PathBuf) -> Result<StoredBlob, BlobError> {
        let store = self.clone();
        self.stage_and_commit(move || store.import_file(&path, Import::Copy)).await
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

/// Collects pieces that come in no order.
#[derive(Debug)]
pub(super) struct Collected {
    tree: TreeBuilder,
    next: u64,
    /// Pieces that are ahead: about as many as there are threads.
    ahead: std::collections::BTreeMap<u64, Vec<Cv>>,
}

impl Collected {
    pub(super) fn new() -> Self {
        Self { tree: TreeBuilder::new(), next: 0, ahead: std::collections::BTreeMap::new() }
    }

    pub(super) fn push(
        &mut self,
        layout: &Layout,
        index: u64,
        groups: Vec<Cv>,
    ) -> Result<(), BlobError> {
        self.ahead.insert(index, groups);
        while let Some(groups) = self.ahead.remove(&self.next) {
            self.tree.push(layout, &groups)?;
            self.next = self.next.saturating_add(1);
        }
        Ok(())
    }

    pub(super) fn finish(self, len_bytes: u64) -> Option<(Hash, Tree)> {
        self.tree.finish(len_bytes)
    }
}
