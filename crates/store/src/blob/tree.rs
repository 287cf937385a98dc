//! The tree of a blob while the blob comes in: the CVs of its groups and pieces, until a batch writes their rows.
//!
//! The tree of a large blob would take much memory (2 MB a gigabyte), so beyond [`PIECES_IN_MEMORY_MAX`] pieces the
//! groups' CVs wait in a file in `tmp/`.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{self, Cv, GROUPS_PER_PIECE, Shape};

use crate::error::{BlobError, Fault};
use crate::layout::{Layout, TempFile};

/// Bytes of a CV.
pub(crate) const CV_BYTES: usize = 32;

/// Bytes of the CVs of a full piece.
pub(crate) const PIECE_CVS_BYTES: u64 = GROUPS_PER_PIECE * CV_BYTES as u64;

/// A tree of at most this many pieces stays in memory: 128 KiB of CVs, for a blob of 64 MiB.
const PIECES_IN_MEMORY_MAX: usize = 16;

/// A whole tree that waits for its rows to be written.
#[derive(Debug)]
pub(crate) struct Tree {
    shape: Shape,
    /// CVs of all pieces.
    pieces: Vec<Cv>,
    groups: Groups,
}

#[derive(Debug)]
enum Groups {
    /// The CVs of each piece's groups, side by side.
    Memory(Vec<Vec<u8>>),
    /// The same, a piece every [`PIECE_CVS_BYTES`].
    Spilled { file: File, _temp: TempFile },
}

impl Tree {
    /// Pieces of the blob.
    pub(crate) fn piece_count(&self) -> u64 {
        self.shape.pieces()
    }

    /// The CVs of the groups of a piece, side by side: the payload of its row.
    pub(crate) fn groups(&self, piece: u64) -> Result<Vec<u8>, Fault> {
        match &self.groups {
            Groups::Memory(pieces) => {
                let groups = usize::try_from(piece).ok().and_then(|piece| pieces.get(piece));
                groups.cloned().ok_or(Fault::inconsistent("a tree lacks a piece"))
            }
            Groups::Spilled { file, .. } => {
                let len = usize::try_from(self.shape.piece(piece).groups()).unwrap_or(0);
                let mut bytes = vec![0; len.saturating_mul(CV_BYTES)];
                let offset = piece.saturating_mul(PIECE_CVS_BYTES);
                file.read_exact_at(&mut bytes, offset).map_err(Fault::io)?;
                Ok(bytes)
            }
        }
    }

    /// The CVs of the pieces, side by side, if there is more than one.
    pub(crate) fn piece_list(&self) -> Option<Vec<u8>> {
        (self.pieces.len() > 1).then(|| join(&self.pieces))
    }

    /// What its rows will take, about.
    pub(crate) fn rows_bytes(&self) -> u64 {
        self.piece_count().saturating_mul(PIECE_CVS_BYTES)
    }

    /// What it takes in memory, bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let groups = match &self.groups {
            Groups::Memory(pieces) => pieces.iter().map(Vec::len).sum(),
            Groups::Spilled { .. } => 0,
        };
        groups.saturating_add(self.pieces.len().saturating_mul(CV_BYTES))
    }
}

/// CVs side by side.
pub(crate) fn join(cvs: &[Cv]) -> Vec<u8> {
    cvs.iter().flat_map(|cv| *cv.as_bytes()).collect()
}

/// Takes the groups of a blob's pieces, piece by piece.
#[derive(Debug)]
pub(crate) struct TreeBuilder {
    pieces: Vec<Cv>,
    groups: Groups,
    /// The groups of a blob with one piece: they lead to its hash.
    first: Vec<Cv>,
}

impl TreeBuilder {
    pub(crate) fn new() -> Self {
        Self { pieces: Vec::new(), groups: Groups::Memory(Vec::new()), first: Vec::new() }
    }

    /// Takes the groups of the next piece.
    pub(crate) fn push(&mut self, layout: &Layout, groups: &[Cv]) -> Result<(), BlobError> {
        let Some(cv) = tree::merge(groups) else { return Ok(()) };
        if self.pieces.is_empty() {
            self.first = groups.to_vec();
        }
        self.spill_if_large(layout)?;
        match &mut self.groups {
            Groups::Memory(pieces) => pieces.push(join(groups)),
            Groups::Spilled { file, _temp } => {
                let offset = (self.pieces.len() as u64).saturating_mul(PIECE_CVS_BYTES);
                let written = layout.faults.step();
                let written = written.and_then(|()| file.write_all_at(&join(groups), offset));
                written.map_err(BlobError::io(_temp.path()))?;
            }
        }
        self.pieces.push(cv);
        Ok(())
    }

    fn spill_if_large(&mut self, layout: &Layout) -> Result<(), BlobError> {
        let Groups::Memory(pieces) = &self.groups else { return Ok(()) };
        if pieces.len() < PIECES_IN_MEMORY_MAX {
            return Ok(());
        }
        let (temp, file) = layout.create_temp()?;
        let path: PathBuf = temp.path().to_path_buf();
        layout.faults.step().map_err(BlobError::io(&path))?;
        file.write_all_at(&pieces.concat(), 0).map_err(BlobError::io(&path))?;
        self.groups = Groups::Spilled { file, _temp: temp };
        Ok(())
    }

    /// The blob's hash and tree. `None` if that is no blob of this length with more than one group.
    pub(crate) fn finish(self, len_bytes: u64) -> Option<(Hash, Tree)> {
        let shape = Shape::of(len_bytes);
        let whole = shape.pieces() == self.pieces.len() as u64;
        let hash = match self.pieces.len() {
            1 => tree::root(&self.first),
            _ => tree::root(&self.pieces),
        };
        let hash = hash.filter(|_| whole && !shape.is_one_group())?;
        Some((hash, Tree { shape, pieces: self.pieces, groups: self.groups }))
    }
}
