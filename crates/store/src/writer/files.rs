//! What the writer thread does to files: before a transaction it puts blobs into place, after it removes and moves what
//! rows no longer name.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use guildhall_protocol::Hash;

use crate::batch::{Batch, Operation};
use crate::blob::{Content, StagedBlob};
use crate::error::WriteError;
use crate::shared::Shared;
use crate::shelf::Shelf;

fn failed(path: PathBuf) -> impl FnOnce(io::Error) -> WriteError {
    move |source| WriteError::Blob { path, source: Arc::new(source) }
}

/// Brings a batch's staged blobs to a shelf that is elsewhere, before the batch is queued. Blocking.
pub(crate) fn prepare_blobs(shelf: &dyn Shelf, batch: &mut Batch) -> Result<(), WriteError> {
    let mut prepared = Vec::new();
    for operation in &batch.operations {
        let Operation::AddBlob(staged) = operation else { continue };
        let Some(from) = staged.path() else { continue };
        let done = shelf.prepare(from, &staged.hash(), staged.len_bytes());
        prepared.extend(done.map_err(failed(shelf.name(&staged.hash())))?);
    }
    batch.prepared.append(&mut prepared);
    Ok(())
}

/// Moves a batch's staged blobs into place and makes that durable, before any row names them.
pub(super) fn place_blobs(shelf: &dyn Shelf, batch: &mut Batch) -> Result<(), WriteError> {
    let mut placed = BTreeSet::new();
    let mut last = PathBuf::new();
    for operation in &mut batch.operations {
        let Operation::AddBlob(staged) = operation else { continue };
        let (hash, len_bytes) = (staged.hash(), staged.len_bytes());
        let Some(from) = staged.path() else { continue };
        last = shelf.name(&hash);
        let moved = shelf.place(from, &hash, len_bytes).map_err(failed(last.clone()))?;
        if moved && let Content::File { temp, .. } = &mut staged.content {
            temp.moved();
        }
        placed.insert(hash);
    }
    shelf.settle(&placed).map_err(failed(last))
}

/// What follows from a transaction for files, once it is on disk: until then a row may still name them. Files that stay
/// behind are harmless, and a sweep removes them.
#[derive(Debug, Default)]
pub(super) struct Effects {
    blobs: BTreeSet<Hash>,
    partials: BTreeSet<Hash>,
    demoted: BTreeSet<Hash>,
    /// What was added. Held until the commit: a shelf that is elsewhere leaves the files here, and nobody is to open a
    /// partial blob meanwhile that is whole now.
    added: Vec<StagedBlob>,
}

impl Effects {
    pub(super) fn forget_blob(&mut self, hash: Hash) {
        // Demoted just before, its file is an unfinished blob's.
        if !self.demoted.contains(&hash) {
            self.blobs.insert(hash);
        }
    }

    pub(super) fn added(&mut self, staged: StagedBlob) {
        self.added.push(staged);
    }

    pub(super) fn keep_blob(&mut self, hash: Hash) {
        self.blobs.remove(&hash);
        self.demoted.remove(&hash);
    }

    pub(super) fn forget_partial(&mut self, hash: Hash) {
        if self.demoted.remove(&hash) {
            self.blobs.insert(hash);
        }
        self.partials.insert(hash);
    }

    pub(super) fn keep_partial(&mut self, hash: Hash) {
        self.partials.remove(&hash);
    }

    pub(super) fn demote(&mut self, hash: Hash) {
        self.partials.remove(&hash);
        self.demoted.insert(hash);
    }

    pub(super) fn carry_out(self, shared: &Shared) {
        let stays = |path: PathBuf, result: io::Result<()>| {
            if let Err(error) = result
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "a file stays until the next sweep");
            }
        };
        for mut staged in self.added {
            keep(shared, &mut staged, &stays);
        }
        for hash in &self.partials {
            let path = shared.layout.partial_file(hash);
            let removed = shared.layout.faults.step().and_then(|()| fs::remove_file(&path));
            stays(path, removed);
        }
        for hash in &self.demoted {
            let target = shared.layout.partial_file(hash);
            stays(target.clone(), shared.shelf.take(hash, &target));
        }
        if !self.blobs.is_empty() {
            shared.shelf.remove(&self.blobs, &mut |hash, error| {
                stays(shared.shelf.name(hash), Err(error));
            });
        }
    }
}

/// Lets the shelf have a file that it did not need to have before the commit; else removes it.
fn keep(shared: &Shared, staged: &mut StagedBlob, stays: &impl Fn(PathBuf, io::Result<()>)) {
    let (hash, len_bytes) = (staged.hash(), staged.len_bytes());
    let gone = match staged.path() {
        Some(path) if shared.shelf.is_far() => shared.shelf.keep(path, &hash, len_bytes),
        _ => return,
    };
    match &mut staged.content {
        Content::File { temp, .. } if gone => temp.moved(),
        Content::Partial { path, .. } if !gone => stays(path.clone(), fs::remove_file(&*path)),
        _ => {}
    }
}
