//! What a new version of a file has in common with one that is here: equal bytes at equal places have equal CVs.

use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{self, Cv};
use guildhall_store::{BlobError, Partial, Store};
use guildhall_sync::download::BlobIndex;
use tracing::debug;

use super::download::{Download, Target};
use crate::app::lock;

/// Threads that copy from another version of a file: more do not read a common disk faster.
const COPIERS_MAX: usize = 8;

impl Download {
    /// Copies what is equal from another version of a file. Whatever goes wrong, the holder has it too.
    pub(super) fn take_from_base(&self, blob: BlobIndex, partial: &Partial, cvs: &[Cv]) {
        let store = &self.app().store;
        let Some(base) = self.target(blob).and_then(Target::base) else { return };
        let Ok(Some(base_cvs)) = store.piece_cvs(&base) else { return };
        let is_equal = |piece: &u64| {
            let at = usize::try_from(*piece).unwrap_or(usize::MAX);
            cvs.get(at).is_some() && cvs.get(at) == base_cvs.get(at)
        };
        let pieces: Vec<u64> = partial.missing().into_iter().filter(is_equal).collect();
        let Ok((file, _)) = store.open_blob(&base) else { return self.forget_base(blob) };
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                let bytes = copy_piece(store, (&base, &file), partial, *piece)?;
                self.progress.add_reused(bytes);
                self.progress.add_done(bytes);
            }
            Ok::<(), BlobError>(())
        };
        let threads = thread::available_parallelism().map_or(1, usize::from).min(COPIERS_MAX);
        let copied = thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mine = work();
            others.into_iter().fold(mine, |done, other| {
                let other = other.join().unwrap_or(Err(BlobError::Interrupted));
                done.and(other)
            })
        });
        if let Err(error) = copied {
            debug!(%error, %base, "another version of a file is damaged here");
            self.forget_base(blob);
        }
    }

    pub(super) fn forget_base(&self, blob: BlobIndex) {
        if let Some(target) = self.target(blob) {
            *lock(&target.base) = None;
        }
    }

    /// What another version of the file has at a piece's place.
    pub(super) fn base_groups(&self, blob: BlobIndex, piece: u64) -> Option<(Hash, Vec<Cv>)> {
        let base = self.target(blob)?.base()?;
        let cvs = tokio::task::block_in_place(|| self.app().store.group_cvs(&base, piece));
        Some((base, cvs.ok()??))
    }
}

/// Copies one piece of a blob that is here. Bytes copied.
fn copy_piece(
    store: &Store,
    (base, file): (&Hash, &File),
    partial: &Partial,
    piece: u64,
) -> Result<u64, BlobError> {
    use std::os::unix::fs::FileExt as _;
    let incomplete = || BlobError::Interrupted;
    let cvs = store.group_cvs(base, piece)?.ok_or_else(incomplete)?;
    let span = partial.shape().piece(piece);
    let mut writer = partial.piece_writer(piece, cvs)?;
    let mut bytes = vec![0; usize::try_from(span.len_bytes).unwrap_or(0)];
    file.read_exact_at(&mut bytes, span.offset).map_err(|_| incomplete())?;
    let group = usize::try_from(tree::GROUP_BYTES).unwrap_or(usize::MAX);
    for (index, bytes) in (0..).zip(bytes.chunks(group)) {
        writer.write_group(index, bytes)?;
    }
    writer.finish()?;
    Ok(span.len_bytes)
}
