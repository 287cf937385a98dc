//! Removing what nothing needs any more.
//!
//! What is live the caller knows, from manifests, pins and uploads in progress. It is asked while the writer thread
//! stands still, right before each batch of removals: everything committed before has happened, nothing committed later
//! has. **The caller's rule:** mark a blob as live *before* looking whether it is here and before committing the batch
//! that adds or needs it. Then a sweep never takes a blob from under a commit: either the sweep asks after the mark, or
//! the blob is gone before the caller looks.

use std::collections::BTreeSet;
use std::fs;

use guildhall_protocol::Hash;

use crate::batch::Batch;
use crate::error::{Fault, ReadError, WriteError};
use crate::row::PartialRow;
use crate::store::Store;
use crate::table::{BLOBS, PARTIALS, TREES, Table, parse_hash, parse_tree_key, unseal};

/// Most removals that are decided and written at a time: a few milliseconds for which other writes wait.
const REMOVALS_MAX: usize = 512;

/// Rows looked at between removals, and their bytes.
const PAGE_MAX_ROWS: usize = 4096;
const PAGE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub struct Sweep {
    /// Blobs, with their rows and files.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Blobs that were not whole.
    pub partials: u64,
    /// The bytes of them that were here.
    pub partial_bytes: u64,
    /// Trees of blobs that are not here.
    pub trees: u64,
    /// Files without a row.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
}

/// Something that may go: how it is removed, and what that counts for.
#[derive(Clone, Copy)]
enum Candidate {
    Blob { hash: Hash, len_bytes: u64 },
    Partial { hash: Hash, saved_bytes: u64 },
    Tree { hash: Hash },
    File { hash: Hash, len_bytes: u64 },
}

impl Store {
    /// Removes blobs and partial blobs that are not live, trees without a blob, and files without a row, in bounded
    /// steps. What `live` must know: it has to answer true for a blob from before its caller looks whether the
    /// blob is here, or commits the batch that adds or needs it. It is called more than once for a blob, on
    /// this thread, and not for partial blobs that are open. Blocking, for as long as listing all blobs takes.
    ///
    /// # Errors
    /// [`WriteError`]; what was removed until then stays removed. [`WriteError::Failed`] also if the tables cannot be
    /// read.
    pub fn sweep(&self, live: &dyn Fn(&Hash) -> bool) -> Result<Sweep, WriteError> {
        let mut swept = Sweep::default();
        self.sweep_table(BLOBS, live, &mut swept, |key, value, candidates| {
            let Some(hash) = parse_hash(key) else { return };
            // A damaged row is not removed: its blob may be needed, and is missed when it is.
            let row = unseal(BLOBS, key, value).and_then(crate::row::BlobRow::parse);
            if let Some(row) = row {
                candidates.push(Candidate::Blob { hash, len_bytes: row.len_bytes() });
            }
        })?;
        self.sweep_table(PARTIALS, live, &mut swept, |key, value, candidates| {
            let Some(hash) = parse_hash(key) else { return };
            let row = unseal(PARTIALS, key, value).and_then(PartialRow::parse);
            let saved_bytes = row.map_or(0, |row| row.saved_bytes());
            candidates.push(Candidate::Partial { hash, saved_bytes });
        })?;
        let mut last = None;
        self.sweep_table(TREES, live, &mut swept, |key, _, candidates| {
            if let Some((hash, _)) = parse_tree_key(key)
                && last != Some(hash)
            {
                last = Some(hash);
                candidates.push(Candidate::Tree { hash });
            }
        })?;
        self.sweep_files(live, &mut swept)?;
        self.sweep_partial_files()?;
        Ok(swept)
    }

    fn sweep_table(
        &self,
        table: Table,
        live: &dyn Fn(&Hash) -> bool,
        swept: &mut Sweep,
        mut pick: impl FnMut(&[u8], &[u8], &mut Vec<Candidate>),
    ) -> Result<(), WriteError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let shared = &self.inner.shared;
            let page = shared.page(table, after.as_deref(), PAGE_MAX_ROWS, PAGE_MAX_BYTES);
            let page = page.map_err(read_failed)?;
            let mut candidates = Vec::new();
            for (key, value) in &page.rows {
                pick(key, value, &mut candidates);
            }
            // Few are to go, mostly; the rest is not asked about a second time.
            candidates.retain(|candidate| self.is_removable(candidate, live));
            for some in candidates.chunks(REMOVALS_MAX) {
                self.remove(some, live, swept)?;
            }
            if !page.more {
                return Ok(());
            }
            after = page.rows.into_iter().next_back().map(|(key, _)| key);
        }
    }

    /// Files in `blobs/` without a row.
    fn sweep_files(
        &self,
        live: &dyn Fn(&Hash) -> bool,
        swept: &mut Sweep,
    ) -> Result<(), WriteError> {
        for first in 0..=u8::MAX {
            let Ok(files) = self.inner.shared.shelf.list(first) else {
                tracing::warn!(first, "a folder of blobs cannot be listed");
                continue;
            };
            let files = files.into_iter();
            let mut candidates: Vec<_> =
                files.map(|(hash, len_bytes)| Candidate::File { hash, len_bytes }).collect();
            candidates.retain(|candidate| self.is_removable(candidate, live));
            for some in candidates.chunks(REMOVALS_MAX) {
                self.remove(some, live, swept)?;
            }
        }
        Ok(())
    }

    /// Files in `partial/` without a row, left when one could not be removed.
    fn sweep_partial_files(&self) -> Result<(), WriteError> {
        let dir = self.inner.shared.layout.partial_dir();
        let Ok(entries) = fs::read_dir(&dir) else { return Ok(()) };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let hashes: BTreeSet<Hash> = names.filter_map(|name| name.parse().ok()).collect();
        let stray =
            |hash: &Hash| !self.is_open(hash) && self.has_row(PARTIALS, hash) == Some(false);
        if !hashes.iter().any(stray) {
            return Ok(());
        }
        self.inner.writer.hold(|| {
            let mut batch = Batch::new();
            for hash in hashes.into_iter().filter(stray).take(REMOVALS_MAX) {
                batch.forget_partial(hash);
            }
            batch
        })
    }

    /// Decides with the writer standing still, and removes.
    fn remove(
        &self,
        candidates: &[Candidate],
        live: &dyn Fn(&Hash) -> bool,
        swept: &mut Sweep,
    ) -> Result<(), WriteError> {
        let mut now = *swept;
        self.inner.writer.hold(|| {
            let mut batch = Batch::new();
            for candidate in candidates.iter().filter(|found| self.is_removable(found, live)) {
                candidate.remove(&mut batch, &mut now);
            }
            batch
        })?;
        *swept = now;
        Ok(())
    }

    /// Whether this can go, as things are.
    fn is_removable(&self, candidate: &Candidate, live: &dyn Fn(&Hash) -> bool) -> bool {
        let gone = |table, hash| self.has_row(table, hash) == Some(false);
        match candidate {
            Candidate::Blob { hash, .. } => !live(hash),
            // One that is open is being received. Where the whole blob is here, the rest is of no use.
            Candidate::Partial { hash, .. } => {
                !self.is_open(hash) && (!live(hash) || self.has_row(BLOBS, hash) == Some(true))
            }
            Candidate::Tree { hash } => gone(BLOBS, hash) && gone(PARTIALS, hash),
            // One with a row in `partials` is to be moved back.
            Candidate::File { hash, .. } => gone(BLOBS, hash) && gone(PARTIALS, hash),
        }
    }

    fn is_open(&self, hash: &Hash) -> bool {
        let begun = &self.inner.shared.begun;
        begun.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(hash)
    }

    /// `None` if nobody knows.
    fn has_row(&self, table: Table, hash: &Hash) -> Option<bool> {
        let key = hash.as_bytes().as_slice();
        let shared = &self.inner.shared;
        shared.read(|transaction| Ok(transaction.open_table(table)?.get(key)?.is_some())).ok()
    }
}

impl Candidate {
    fn remove(&self, batch: &mut Batch, swept: &mut Sweep) {
        let count = |number: &mut u64, more: u64| *number = number.saturating_add(more);
        match *self {
            Self::Blob { hash, len_bytes } => {
                batch.forget_blob(hash);
                count(&mut swept.blobs, 1);
                count(&mut swept.blob_bytes, len_bytes);
            }
            Self::Partial { hash, saved_bytes } => {
                batch.forget_partial(hash);
                count(&mut swept.partials, 1);
                count(&mut swept.partial_bytes, saved_bytes);
            }
            Self::Tree { hash } => {
                batch.drop_tree(hash);
                count(&mut swept.trees, 1);
            }
            Self::File { hash, len_bytes } => {
                batch.remove_stray(hash);
                count(&mut swept.files, 1);
                count(&mut swept.file_bytes, len_bytes);
            }
        }
    }
}

fn read_failed(error: ReadError) -> WriteError {
    match error {
        ReadError::Closed => WriteError::Closed,
        ReadError::Database { source } => WriteError::from_fault(source),
        ReadError::Corrupt { .. } => {
            WriteError::Failed { source: Fault::inconsistent("a row is damaged") }
        }
    }
}
