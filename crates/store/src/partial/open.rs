//! Opening partial blobs, and listing them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{self, Cv};

use crate::batch::Batch;
use crate::blob::groups_of;
use crate::error::{BlobError, OpenError, ReadError, Row};
use crate::layout::sync_dir;
use crate::row::PartialRow;
use crate::shared::Shared;
use crate::store::Store;
use crate::table::{PARTIALS, PIECE_LIST, parse_hash, unseal};

use super::{Begun, Inner, Partial, Piece, State};

/// A blob that is not whole yet, in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialInfo {
    /// Its name.
    pub hash: Hash,
    /// Its length when whole, bytes.
    pub len_bytes: u64,
    /// Bytes of the pieces that are here, verified and saved.
    pub saved_bytes: u64,
}

impl Store {
    /// Begins a blob of this length that comes in piece by piece, or goes on with it.
    ///
    /// # Errors
    /// [`BlobError::Busy`] if it is open already, or staged; [`BlobError::WrongTree`] if it is too short to have a
    /// tree ([`GROUP_BYTES`](guildhall_protocol::tree::GROUP_BYTES)) or too long for any disk; the disk's errors.
    pub fn partial(&self, hash: Hash, len_bytes: u64) -> Result<Partial, BlobError> {
        let shared = &self.inner.shared;
        let new = PartialRow::new(len_bytes).ok_or(BlobError::WrongTree { hash })?;
        let begun = Begun::take(shared, hash)?;
        let found = self.partial_row(&hash)?;
        let mut row = match found.clone() {
            Some(found) if found.shape == new.shape => found,
            // One of the lengths is a lie. All pieces but the last are the same under both.
            Some(found) if found.shape.pieces() == new.shape.pieces() => {
                let mut row = new;
                for (saved, before) in row.saved.iter_mut().zip(&found.saved) {
                    *saved = *before;
                }
                if let Some(last) = row.saved.last_mut() {
                    *last = false;
                }
                row
            }
            _ => new,
        };
        let list = known_list(shared, &hash, &row)?;
        if list.is_none() {
            row.saved.fill(false);
        }
        let path = shared.layout.partial_file(&hash);
        let file = match open_file(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.new_file(&hash, &path, &mut row, list.as_deref())?
            }
            Err(error) => return Err(BlobError::io(&path)(error)),
        };
        let sized = shared.layout.faults.step().and_then(|()| file.set_len(len_bytes));
        sized.map_err(BlobError::io(&path))?;
        if found.as_ref() != Some(&row) {
            let mut batch = Batch::new();
            batch.save_partial(hash, row.encode(), Vec::new());
            self.commit_blocking(batch)?;
        }
        let piece = |saved: &bool| if *saved { Piece::Saved } else { Piece::Missing };
        let state = State {
            list_saved: list.is_some(),
            list,
            pieces: row.saved.iter().map(piece).collect(),
            unsaved: BTreeMap::new(),
            failed: false,
        };
        let inner = Inner {
            begun: Arc::new(begun),
            shape: row.shape,
            file,
            path,
            state: Mutex::new(state),
            saving: Mutex::new(()),
        };
        Ok(Partial { store: self.clone(), inner: Arc::new(inner) })
    }

    /// The blobs that are not whole yet, in order of their hashes. Damaged rows are skipped. Blocking, short.
    ///
    /// # Errors
    /// [`ReadError`] if the table itself cannot be read.
    pub fn partials(&self) -> Result<Vec<PartialInfo>, ReadError> {
        let mut partials = Vec::new();
        self.inner.shared.for_each_row(PARTIALS, |key, value| {
            let row = unseal(PARTIALS, key, value).and_then(PartialRow::parse);
            if let (Some(hash), Some(row)) = (parse_hash(key), row) {
                let len_bytes = row.shape.len_bytes();
                partials.push(PartialInfo { hash, len_bytes, saved_bytes: row.saved_bytes() });
            }
        })?;
        Ok(partials)
    }

    /// A damaged row is as good as none: what it said of the file is unknown.
    fn partial_row(&self, hash: &Hash) -> Result<Option<PartialRow>, ReadError> {
        let what = || Row::Partial(*hash);
        match self.inner.shared.payload(PARTIALS, hash.as_bytes(), what) {
            Ok(payload) => Ok(payload.as_deref().and_then(PartialRow::parse)),
            Err(ReadError::Corrupt { what }) => {
                tracing::warn!(%what, "a damaged row; receiving the blob starts anew");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// There is no file. It may lie among the complete ones: moved there by a batch that then failed, or not yet moved
    /// back when a damaged blob was to be mended. What is found there is checked.
    fn new_file(
        &self,
        hash: &Hash,
        path: &Path,
        row: &mut PartialRow,
        list: Option<&[Cv]>,
    ) -> Result<File, BlobError> {
        let shared = &self.inner.shared;
        let mut taken = false;
        if row.saved.contains(&true) {
            self.inner.writer.hold(|| {
                let unnamed = matches!(self.blob_len(hash), Ok(None));
                taken = unnamed && shared.shelf.take(hash, path).is_ok();
                Batch::new()
            })?;
        }
        if taken {
            let file = open_file(path).map_err(BlobError::io(path))?;
            for (index, saved) in (0_u64..).zip(&mut row.saved) {
                *saved = *saved && is_right(&file, path, hash, row.shape, index, list);
            }
            return Ok(file);
        }
        row.saved.fill(false);
        shared.layout.faults.step().map_err(BlobError::io(path))?;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(path);
        let file = file.map_err(BlobError::io(path))?;
        let dir = shared.layout.partial_dir();
        let synced = shared.layout.faults.step().and_then(|()| sync_dir(&dir));
        synced.map_err(BlobError::io(&dir))?;
        Ok(file)
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Whether a piece in a file is the blob's.
fn is_right(
    file: &File,
    path: &Path,
    hash: &Hash,
    shape: tree::Shape,
    index: u64,
    list: Option<&[Cv]>,
) -> bool {
    let Ok(groups) = groups_of(file, path, shape.piece(index)) else { return false };
    if shape.pieces() == 1 {
        return tree::root(&groups) == Some(*hash);
    }
    let expected = usize::try_from(index).ok().and_then(|index| list?.get(index));
    expected.is_some() && tree::merge(&groups).as_ref() == expected
}

/// The CVs of all pieces, if their row is there and right; none for a blob of one piece.
fn known_list(
    shared: &Shared,
    hash: &Hash,
    row: &PartialRow,
) -> Result<Option<Vec<Cv>>, ReadError> {
    if row.shape.pieces() == 1 {
        return Ok(Some(Vec::new()));
    }
    match shared.tree_row(hash, PIECE_LIST) {
        Ok(list) => Ok(list.filter(|cvs| {
            cvs.len() as u64 == row.shape.pieces() && tree::root(cvs) == Some(*hash)
        })),
        Err(ReadError::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes files in `partial/` that have no row: left by a kill between the two. Only before the store is used.
pub(crate) fn remove_strays(shared: &Shared) -> Result<(), OpenError> {
    let dir = shared.layout.partial_dir();
    for entry in fs::read_dir(&dir).map_err(OpenError::io(&dir))? {
        let path = entry.map_err(OpenError::io(&dir))?.path();
        let hash = path.file_name().and_then(|name| name.to_str()).and_then(|n| n.parse().ok());
        let row = |hash: Hash| {
            shared.read(|transaction| {
                Ok(transaction.open_table(PARTIALS)?.get(hash.as_bytes().as_slice())?.is_some())
            })
        };
        // What cannot be looked up stays.
        if !hash.is_none_or(|hash| row(hash).unwrap_or(true)) {
            fs::remove_file(&path).map_err(OpenError::io(&path))?;
        }
    }
    Ok(())
}
