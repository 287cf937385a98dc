//! Blobs on their way out.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{Cv, Shape};
use rustix::fs::{MemfdFlags, SealFlags};

use crate::error::{BlobDamage, BlobError, ReadError, Row};
use crate::row::BlobRow;
use crate::shared::Shared;
use crate::shelf::Unopened;
use crate::store::Store;
use crate::table::{BLOBS, PIECE_LIST, TREES, parse_hash, tree_key, unseal};

use super::hash::Source;

/// Where a blob's bytes are.
#[derive(Debug)]
pub(crate) enum BlobAt {
    /// Here.
    Inline(Vec<u8>),
    /// In a file.
    File { len_bytes: u64 },
}

impl Shared {
    /// Where a blob is, from its row.
    pub(crate) fn blob_at(&self, hash: &Hash) -> Result<Option<BlobAt>, ReadError> {
        let row = || Row::Blob(*hash);
        self.read(|transaction| {
            let table = transaction.open_table(BLOBS)?;
            let Some(value) = table.get(hash.as_bytes().as_slice())? else { return Ok(None) };
            let payload = unseal(BLOBS, hash.as_bytes(), value.value());
            match payload.and_then(BlobRow::parse) {
                Some(BlobRow::File { len_bytes }) => Ok(Some(BlobAt::File { len_bytes })),
                Some(BlobRow::Inline(bytes)) => Ok(Some(BlobAt::Inline(bytes.to_vec()))),
                None => Err(ReadError::Corrupt { what: row() }),
            }
        })
    }

    /// A row of a blob's tree.
    pub(crate) fn tree_row(&self, hash: &Hash, piece: u32) -> Result<Option<Vec<Cv>>, ReadError> {
        let what =
            || Row::Tree { hash: *hash, piece: (piece != PIECE_LIST).then_some(u64::from(piece)) };
        let Some(payload) = self.payload(TREES, &tree_key(hash, piece), what)? else {
            return Ok(None);
        };
        let cvs = Cv::list(&payload);
        cvs.map(Some).ok_or_else(|| ReadError::Corrupt { what: what() })
    }
}

impl Store {
    /// Whether there is a row for this blob. Blocking, short; the file is not looked at.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn has_blob(&self, hash: &Hash) -> Result<bool, ReadError> {
        Ok(self.blob_len(hash)?.is_some())
    }

    /// For each of these blobs, whether there is a row for it; damaged ones count. One look for all of them. Blocking,
    /// short.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn have_blobs(&self, hashes: &[Hash]) -> Result<Vec<bool>, ReadError> {
        self.inner.shared.read(|transaction| {
            let table = transaction.open_table(BLOBS)?;
            let has = |hash: &Hash| Ok(table.get(hash.as_bytes().as_slice())?.is_some());
            hashes.iter().map(has).collect()
        })
    }

    /// Appends those of these blobs that live in their rows to `out`, checked, one after the other, and says for each
    /// how long it is; `None` for one that is not here, is damaged, or is a file. One look for all of them. Blocking,
    /// short.
    ///
    /// # Errors
    /// [`ReadError`] if the table itself cannot be read.
    pub fn read_small_blobs(
        &self,
        hashes: &[Hash],
        out: &mut Vec<u8>,
    ) -> Result<Vec<Option<u32>>, ReadError> {
        self.inner.shared.read(|transaction| {
            let table = transaction.open_table(BLOBS)?;
            let mut lens = Vec::with_capacity(hashes.len());
            for hash in hashes {
                let value = table.get(hash.as_bytes().as_slice())?;
                let payload =
                    value.as_ref().and_then(|v| unseal(BLOBS, hash.as_bytes(), v.value()));
                let Some(BlobRow::Inline(bytes)) = payload.and_then(BlobRow::parse) else {
                    lens.push(None);
                    continue;
                };
                out.extend_from_slice(bytes);
                lens.push(u32::try_from(bytes.len()).ok());
            }
            Ok(lens)
        })
    }

    /// The blob's length in bytes, from its row. Blocking, short; the file is not looked at.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn blob_len(&self, hash: &Hash) -> Result<Option<u64>, ReadError> {
        Ok(self.inner.shared.blob_at(hash)?.map(|at| match at {
            BlobAt::Inline(bytes) => bytes.len() as u64,
            BlobAt::File { len_bytes } => len_bytes,
        }))
    }

    /// Shows every blob and its length to `visit`, in order of their hashes. Blocks for as long as that takes. Damaged
    /// rows are skipped; their number is returned.
    ///
    /// # Errors
    /// [`ReadError`] if the table itself cannot be read.
    pub fn for_each_blob(&self, mut visit: impl FnMut(Hash, u64)) -> Result<u64, ReadError> {
        let mut corrupt = 0_u64;
        self.inner.shared.for_each_row(BLOBS, |key, value| {
            let row = unseal(BLOBS, key, value).and_then(BlobRow::parse);
            match (parse_hash(key), row) {
                (Some(hash), Some(row)) => visit(hash, row.len_bytes()),
                _ => corrupt = corrupt.saturating_add(1),
            }
        })?;
        Ok(corrupt)
    }

    /// The CVs of a blob's pieces; `None` if the blob is not here or has only one piece. Blocking, short.
    ///
    /// # Errors
    /// [`ReadError`]; `Corrupt` names the row of the tree, also if it is gone.
    pub fn piece_cvs(&self, hash: &Hash) -> Result<Option<Vec<Cv>>, ReadError> {
        match self.shape_of(hash)? {
            Some(shape) if shape.pieces() > 1 => self.tree_of(hash, None, shape.pieces()).map(Some),
            _ => Ok(None),
        }
    }

    /// The CVs of the groups of one piece; `None` if the blob is not here, has only one group, or has no such piece.
    /// Blocking, short.
    ///
    /// # Errors
    /// [`ReadError`]; `Corrupt` names the row of the tree, also if it is gone.
    pub fn group_cvs(&self, hash: &Hash, piece: u64) -> Result<Option<Vec<Cv>>, ReadError> {
        match self.shape_of(hash)? {
            Some(shape) if piece < shape.pieces() => {
                self.tree_of(hash, Some(piece), shape.piece(piece).groups()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// How a blob is cut that has a tree.
    fn shape_of(&self, hash: &Hash) -> Result<Option<Shape>, ReadError> {
        match self.inner.shared.blob_at(hash)? {
            Some(BlobAt::File { len_bytes }) => Ok(Some(Shape::of(len_bytes))),
            _ => Ok(None),
        }
    }

    fn tree_of(&self, hash: &Hash, piece: Option<u64>, count: u64) -> Result<Vec<Cv>, ReadError> {
        let number = piece.map_or(Some(PIECE_LIST), |piece| u32::try_from(piece).ok());
        let row = match number {
            Some(number) => self.inner.shared.tree_row(hash, number)?,
            None => None,
        };
        row.filter(|cvs| cvs.len() as u64 == count)
            .ok_or(ReadError::Corrupt { what: Row::Tree { hash: *hash, piece } })
    }

    /// Whether the blob's file is where it should be, with the length it should have; returns that. Blocking, short:
    /// nothing is read, or fetched from elsewhere.
    ///
    /// # Errors
    /// As [`Store::open_blob`].
    pub fn probe_blob(&self, hash: &Hash) -> Result<u64, BlobError> {
        let shared = &self.inner.shared;
        match shared.blob_at(hash)?.ok_or(BlobError::Missing { hash: *hash })? {
            BlobAt::Inline(bytes) => Ok(bytes.len() as u64),
            BlobAt::File { len_bytes } => match shared.shelf.source(hash, len_bytes) {
                Ok(_) => Ok(len_bytes),
                Err(why) => Err(self.unopened(hash, why)?),
            },
        }
    }

    /// Opens the blob for reading, with its length in bytes, which the file has at this moment. The bytes of a file are
    /// not checked: whoever hands them on must know their hash or their tree, or call [`Store::verify_blob`]. A blob
    /// that lives in its row comes as a file in memory that nobody can change. One that is stored elsewhere is fetched
    /// first, unless it was lately, which blocks for as long as that takes.
    ///
    /// # Errors
    /// [`BlobError::Missing`] without a row, [`BlobError::Damaged`] if the file does not go with the row.
    pub fn open_blob(&self, hash: &Hash) -> Result<(File, u64), BlobError> {
        let shared = &self.inner.shared;
        match shared.blob_at(hash)?.ok_or(BlobError::Missing { hash: *hash })? {
            BlobAt::File { len_bytes } => Ok((self.open_file(hash, len_bytes)?, len_bytes)),
            BlobAt::Inline(bytes) => {
                let len_bytes = bytes.len() as u64;
                let file = file_in_memory(&bytes).map_err(BlobError::io(Path::new("memfd")))?;
                Ok((file, len_bytes))
            }
        }
    }

    /// Opens a blob's file, which should have this length.
    pub(crate) fn open_file(&self, hash: &Hash, expected_bytes: u64) -> Result<File, BlobError> {
        let opened = self.inner.shared.shelf.open(hash, expected_bytes);
        opened.or_else(|why| Err(self.unopened(hash, why)?))
    }

    /// A blob's bytes as they are stored, for checking them. What this node has of a blob that is stored elsewhere is
    /// not trusted any more.
    pub(crate) fn source(&self, hash: &Hash, len_bytes: u64) -> Result<Box<dyn Source>, BlobError> {
        let shelf = &self.inner.shared.shelf;
        shelf.doubt(hash);
        shelf.source(hash, len_bytes).or_else(|why| Err(self.unopened(hash, why)?))
    }

    /// What to say of a file that does not open.
    pub(crate) fn unopened(&self, hash: &Hash, why: Unopened) -> Result<BlobError, ReadError> {
        let hash = *hash;
        Ok(match why {
            // It may have been forgotten since the row was read.
            Unopened::Missing if !self.has_blob(&hash)? => BlobError::Missing { hash },
            Unopened::Missing => BlobError::Damaged { hash, damage: BlobDamage::FileMissing },
            Unopened::Damaged(damage) => BlobError::Damaged { hash, damage },
            Unopened::Io(error) => BlobError::io(&self.inner.shared.shelf.name(&hash))(error),
        })
    }

    /// Reads up to `out.len()` bytes from `offset` on; less only at the blob's end. Not checked: whoever hands them on
    /// checks them against [`Store::group_cvs`]. Blocking.
    ///
    /// # Errors
    /// [`BlobError::Missing`]; [`BlobError::Damaged`] if the file is gone; [`BlobError::Io`].
    pub fn read_blob_at(
        &self,
        hash: &Hash,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize, BlobError> {
        let shared = &self.inner.shared;
        match shared.blob_at(hash)?.ok_or(BlobError::Missing { hash: *hash })? {
            BlobAt::File { .. } => match shared.shelf.read_at(hash, offset, out) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Err(BlobError::Damaged { hash: *hash, damage: BlobDamage::FileMissing })
                }
                read => read.map_err(BlobError::io(&shared.shelf.name(hash))),
            },
            BlobAt::Inline(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let bytes = bytes.get(start..).unwrap_or_default();
                let len = bytes.len().min(out.len());
                if let (Some(out), Some(bytes)) = (out.get_mut(..len), bytes.get(..len)) {
                    out.copy_from_slice(bytes);
                }
                Ok(len)
            }
        }
    }

    /// The blob's bytes, checked. Blocking: use it on a blocking thread.
    ///
    /// # Errors
    /// [`BlobError::TooLong`] if it has more than `max_len_bytes`, before anything is read; [`BlobError::Missing`];
    /// [`BlobError::Damaged`].
    pub fn read_blob(&self, hash: &Hash, max_len_bytes: u64) -> Result<Vec<u8>, BlobError> {
        let shared = &self.inner.shared;
        let too_long = || BlobError::TooLong { max_len_bytes };
        let bytes = match shared.blob_at(hash)?.ok_or(BlobError::Missing { hash: *hash })? {
            BlobAt::Inline(bytes) if bytes.len() as u64 > max_len_bytes => return Err(too_long()),
            // Its row was checked against its hash.
            BlobAt::Inline(bytes) => return Ok(bytes),
            BlobAt::File { len_bytes } if len_bytes > max_len_bytes => return Err(too_long()),
            BlobAt::File { len_bytes } => {
                let bytes = self.read_file(hash, len_bytes)?;
                // A local copy of what is elsewhere may be what is wrong.
                match Hash::of(&bytes) != *hash && shared.shelf.doubt(hash) {
                    true => self.read_file(hash, len_bytes)?,
                    false => bytes,
                }
            }
        };
        if Hash::of(&bytes) != *hash {
            // Which of its pieces, nobody looked.
            let damage = BlobDamage::Content {
                pieces: Shape::of(bytes.len() as u64).pieces(),
                first_offset: 0,
            };
            return Err(BlobError::Damaged { hash: *hash, damage });
        }
        Ok(bytes)
    }

    fn read_file(&self, hash: &Hash, len_bytes: u64) -> Result<Vec<u8>, BlobError> {
        let file = self.open_file(hash, len_bytes)?;
        let room = usize::try_from(len_bytes);
        let room = room.map_err(|_| BlobError::TooLong { max_len_bytes: usize::MAX as u64 })?;
        let mut bytes = Vec::with_capacity(room);
        let read = file.take(len_bytes).read_to_end(&mut bytes);
        read.map_err(BlobError::io(&self.inner.shared.shelf.name(hash)))?;
        Ok(bytes)
    }
}

/// A file that exists only in memory and can no longer be changed, read from its beginning.
fn file_in_memory(bytes: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("blob", flags)?);
    file.write_all(bytes)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    file.rewind()?;
    Ok(file)
}
