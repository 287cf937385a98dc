//! Blobs that come in piece by piece, in any order, from any number of places, and go on after a kill.
//!
//! ```text
//! partial/<hash>      the bytes, at their places; what has not come is a hole
//! row of `partials`   the length, and which pieces are in the file
//! rows of `trees`     the CVs of those pieces' groups, and of all pieces
//! ```
//!
//! Every group is checked before it is written. A piece counts as saved when the file was synced and then the row
//! written, so after a power cut a piece in the row is in the file. What else is in the file is ignored and written
//! over. A blob whose pieces are all saved needs no second look: [`Partial::stage`] only renames.
//!
//! All calls block: use them on blocking threads. A [`Partial`] may be used from several threads at once.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{self, Cv, Shape};

use crate::batch::Batch;
use crate::blob::{Content, StagedBlob, join};
use crate::error::BlobError;
use crate::row::PartialRow;
use crate::shared::Shared;
use crate::store::Store;
use crate::table::PIECE_LIST;

mod open;
mod piece;

pub use open::PartialInfo;
pub(crate) use open::remove_strays;
pub use piece::PieceWriter;

/// Pieces whose rows go into one batch: 8 MiB of CVs, well within a batch's bound.
const PIECES_PER_BATCH: usize = 1024;

/// A blob that is not whole yet, open for writing. Dropping it keeps what was saved by [`Partial::checkpoint`].
#[derive(Debug)]
pub struct Partial {
    store: Store,
    inner: Arc<Inner>,
}

/// What pieces being written share.
#[derive(Debug)]
struct Inner {
    begun: Arc<Begun>,
    shape: Shape,
    file: File,
    path: PathBuf,
    state: Mutex<State>,
    /// Held while saving, so that a row never says less than the one before it.
    saving: Mutex<()>,
}

/// Keeps a second [`Partial`] of the same blob from being opened.
#[derive(Debug)]
pub(crate) struct Begun {
    shared: Arc<Shared>,
    hash: Hash,
}

#[derive(Debug)]
struct State {
    /// CVs of all pieces, once known; empty for a blob of one piece, whose hash is its CV.
    list: Option<Vec<Cv>>,
    list_saved: bool,
    pieces: Vec<Piece>,
    /// The groups of written pieces.
    unsaved: BTreeMap<usize, Vec<Cv>>,
    /// After a failed sync nobody knows what is in the file. Opening it again knows what was saved before.
    failed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Missing,
    Written,
    Saved,
}

impl Begun {
    pub(crate) fn take(shared: &Arc<Shared>, hash: Hash) -> Result<Self, BlobError> {
        let mut begun = shared.begun.lock().unwrap_or_else(PoisonError::into_inner);
        match begun.insert(hash) {
            true => Ok(Self { shared: Arc::clone(shared), hash }),
            false => Err(BlobError::Busy { hash }),
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut begun = self.shared.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.remove(&self.hash);
    }
}

impl Inner {
    fn hash(&self) -> Hash {
        self.begun.hash
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Partial {
    /// The blob's name.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.inner.hash()
    }

    /// How the blob is cut.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.inner.shape
    }

    /// The pieces that are not here and verified, in order; those being written just now are among them.
    #[must_use]
    pub fn missing(&self) -> Vec<u64> {
        let state = self.inner.state();
        let missing = |piece: &Piece| *piece == Piece::Missing;
        (0..).zip(&state.pieces).filter(|(_, piece)| missing(piece)).map(|(at, _)| at).collect()
    }

    /// The CVs of the pieces, once known; none for a blob of one piece.
    #[must_use]
    pub fn piece_cvs(&self) -> Option<Vec<Cv>> {
        self.inner.state().list.clone()
    }

    /// Takes the CVs of all pieces, if they lead to the blob's hash. Nothing to do for a blob of one piece.
    ///
    /// # Errors
    /// [`BlobError::WrongTree`].
    pub fn set_piece_cvs(&self, cvs: Vec<Cv>) -> Result<(), BlobError> {
        let hash = self.inner.hash();
        if cvs.len() as u64 != self.inner.shape.pieces() || tree::root(&cvs) != Some(hash) {
            return Err(BlobError::WrongTree { hash });
        }
        let mut state = self.inner.state();
        if state.list.is_none() {
            state.list = Some(cvs);
            state.list_saved = false;
        }
        Ok(())
    }

    /// Starts writing a piece whose groups have these CVs. Several may write one piece at once, as when a slow sender
    /// is overtaken: all write the same bytes, and the first to finish counts.
    ///
    /// # Errors
    /// [`BlobError::WrongTree`] if the CVs do not lead to the piece's; [`BlobError::Incomplete`] if that is not known
    /// yet; [`BlobError::Interrupted`] after a failed
    /// [`Partial::checkpoint`].
    pub fn piece_writer(&self, index: u64, groups: Vec<Cv>) -> Result<PieceWriter, BlobError> {
        PieceWriter::start(&self.inner, index, groups)
    }

    /// Bytes that were verified and written since the last checkpoint, and would be lost in a crash.
    #[must_use]
    pub fn unsaved_bytes(&self) -> u64 {
        let state = self.inner.state();
        state.unsaved.keys().map(|index| self.inner.shape.piece(*index as u64).len_bytes).sum()
    }

    /// Makes what was verified so far survive a crash.
    ///
    /// # Errors
    /// [`BlobError::Io`] or [`BlobError::NoSpace`] if the file could not be synced: then this [`Partial`] is of no
    /// more use, and opening it again knows what was saved before. [`BlobError::Write`] if the row could not be
    /// written: calling it again is right.
    pub fn checkpoint(&self) -> Result<(), BlobError> {
        let inner = &self.inner;
        let _one_at_a_time = inner.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let (pieces, list) = {
            let state = inner.state();
            if state.failed {
                return Err(BlobError::Interrupted);
            }
            let list = state.list.as_ref().filter(|cvs| !state.list_saved && !cvs.is_empty());
            let pieces: Vec<_> = state.unsaved.iter().map(|(at, cvs)| (*at, join(cvs))).collect();
            (pieces, list.map(|cvs| join(cvs)))
        };
        if pieces.is_empty() && list.is_none() {
            return Ok(());
        }
        self.sync(&pieces)?;
        let mut tree: Vec<_> = list.map(|cvs| (PIECE_LIST, cvs)).into_iter().collect();
        if pieces.is_empty() {
            self.save(&[], tree)?;
            inner.state().list_saved = true;
            return Ok(());
        }
        let (batches, rest) = pieces.as_chunks::<PIECES_PER_BATCH>();
        for batch in batches.iter().map(<[_; PIECES_PER_BATCH]>::as_slice).chain([rest]) {
            self.save(batch, std::mem::take(&mut tree))?;
            inner.state().list_saved = true;
        }
        Ok(())
    }

    /// Syncs the file. If that fails nobody knows which of the pieces are on disk.
    fn sync(&self, pieces: &[(usize, Vec<u8>)]) -> Result<(), BlobError> {
        let inner = &self.inner;
        let faults = &self.store.inner.shared.layout.faults;
        let synced = faults.step().and_then(|()| inner.file.sync_data());
        if synced.is_err() {
            let mut state = inner.state();
            state.failed = true;
            for (index, _) in pieces {
                state.set(*index, Piece::Missing);
            }
            state.unsaved.clear();
        }
        synced.map_err(BlobError::io(&inner.path))
    }

    fn save(
        &self,
        pieces: &[(usize, Vec<u8>)],
        tree: Vec<(u32, Vec<u8>)>,
    ) -> Result<(), BlobError> {
        let inner = &self.inner;
        let mut tree = tree;
        let mut row = PartialRow { shape: inner.shape, saved: inner.state().saved() };
        for (index, cvs) in pieces {
            if let Some(saved) = row.saved.get_mut(*index) {
                *saved = true;
            }
            tree.push((u32::try_from(*index).unwrap_or(PIECE_LIST), cvs.clone()));
        }
        if !tree.is_empty() {
            let mut batch = Batch::new();
            batch.save_partial(inner.hash(), row.encode(), tree);
            self.store.commit_blocking(batch)?;
        }
        let mut state = inner.state();
        for (index, _) in pieces {
            state.unsaved.remove(index);
            state.set(*index, Piece::Saved);
        }
        Ok(())
    }

    /// The whole blob, ready for [`Batch::add_blob`]. Until that is committed it is a partial blob.
    ///
    /// # Errors
    /// [`BlobError::Incomplete`] if pieces are missing; as [`Partial::checkpoint`].
    pub fn stage(&self) -> Result<StagedBlob, BlobError> {
        self.checkpoint()?;
        let inner = &self.inner;
        let hash = inner.hash();
        if !inner.state().pieces.iter().all(|piece| *piece == Piece::Saved) {
            return Err(BlobError::Incomplete { hash });
        }
        let synced = self.store.inner.shared.layout.faults.step();
        synced.and_then(|()| inner.file.sync_all()).map_err(BlobError::io(&inner.path))?;
        let content =
            Content::Partial { path: inner.path.clone(), _begun: Arc::clone(&inner.begun) };
        Ok(StagedBlob::new(hash, inner.shape.len_bytes(), content))
    }
}

impl State {
    fn set(&mut self, index: usize, to: Piece) {
        if let Some(piece) = self.pieces.get_mut(index) {
            *piece = to;
        }
    }

    fn saved(&self) -> Vec<bool> {
        self.pieces.iter().map(|piece| *piece == Piece::Saved).collect()
    }
}
