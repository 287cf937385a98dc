//! Blobs on their way out.

use std::fs::File;
use std::io::{self, Read as _};

use guildhall_protocol::Hash;

use crate::error::{BlobDamage, BlobError, ReadError, Row};
use crate::store::Store;
use crate::table::{BLOBS, parse_hash, parse_u64, unseal};

impl Store {
    /// Whether there is a row for this blob. Blocking, short; the file is not looked at.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn has_blob(&self, hash: &Hash) -> Result<bool, ReadError> {
        Ok(self.blob_len(hash)?.is_some())
    }

    /// The blob's length in bytes, from its row. Blocking, short; the file is not looked at.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn blob_len(&self, hash: &Hash) -> Result<Option<u64>, ReadError> {
        let row = || Row::Blob(*hash);
        match self.inner.shared.payload(BLOBS, hash.as_bytes(), row)? {
            None => Ok(None),
            Some(payload) => {
                let len_bytes = parse_u64(&payload);
                len_bytes.map(Some).ok_or_else(|| ReadError::Corrupt { what: row() })
            }
        }
    }

    /// Shows every blob and its length to `visit`, in order of their hashes. Blocks for as long as that takes. Damaged
    /// rows are skipped; their number is returned.
    ///
    /// # Errors
    /// [`ReadError`] if the table itself cannot be read.
    pub fn for_each_blob(&self, mut visit: impl FnMut(Hash, u64)) -> Result<u64, ReadError> {
        let mut corrupt = 0_u64;
        self.inner.shared.for_each_row(BLOBS, |key, value| {
            let len_bytes = unseal(BLOBS, key, value).and_then(parse_u64);
            match (parse_hash(key), len_bytes) {
                (Some(hash), Some(len_bytes)) => visit(hash, len_bytes),
                _ => corrupt = corrupt.saturating_add(1),
            }
        })?;
        Ok(corrupt)
    }

    /// Opens the blob's file for reading, with its length in bytes, which the file has at this moment. Its bytes are
    /// not checked: whoever hands them on must know their hash, or call [`Store::verify_blob`].
    ///
    /// # Errors
    /// [`BlobError::Missing`] without a row, [`BlobError::Damaged`] if the file does not go with the row.
    pub fn open_blob(&self, hash: &Hash) -> Result<(File, u64), BlobError> {
        let hash = *hash;
        let expected_bytes = self.blob_len(&hash)?.ok_or(BlobError::Missing { hash })?;
        let path = self.inner.shared.layout.blob_file(&hash);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // It may have been forgotten since the row was read.
                return Err(if self.has_blob(&hash)? {
                    BlobError::Damaged { hash, damage: BlobDamage::FileMissing }
                } else {
                    BlobError::Missing { hash }
                });
            }
            Err(source) => return Err(BlobError::Io { path, source }),
        };
        let found_bytes = file.metadata().map_err(BlobError::io(&path))?.len();
        if found_bytes != expected_bytes {
            let damage = BlobDamage::Length { expected_bytes, found_bytes };
            return Err(BlobError::Damaged { hash, damage });
        }
        Ok((file, expected_bytes))
    }

    /// The blob's bytes, checked. Blocking: use it on a blocking thread.
    ///
    /// # Errors
    /// [`BlobError::TooLong`] if it has more than `max_len_bytes`, before anything is read; [`BlobError::Missing`];
    /// [`BlobError::Damaged`].
    pub fn read_blob(&self, hash: &Hash, max_len_bytes: u64) -> Result<Vec<u8>, BlobError> {
        let (file, len_bytes) = self.open_blob(hash)?;
        let too_long = || BlobError::TooLong { max_len_bytes };
        if len_bytes > max_len_bytes {
            return Err(too_long());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(len_bytes).map_err(|_| too_long())?);
        let path = self.inner.shared.layout.blob_file(hash);
        file.take(len_bytes).read_to_end(&mut bytes).map_err(BlobError::io(&path))?;
        if Hash::of(&bytes) != *hash {
            return Err(BlobError::Damaged { hash: *hash, damage: BlobDamage::Content });
        }
        Ok(bytes)
    }

    /// Reads the whole file and checks it. Blocking: use it on a blocking thread.
    ///
    /// # Errors
    /// [`BlobError::Missing`]; [`BlobError::Damaged`], upon which [`Batch::forget_blob`](crate::Batch::forget_blob)
    /// makes room for a good copy.
    pub fn verify_blob(&self, hash: &Hash) -> Result<(), BlobError> {
        let (file, _) = self.open_blob(hash)?;
        let path = self.inner.shared.layout.blob_file(hash);
        let mut hasher = blake3::Hasher::new();
        // Reads through a buffer of 64 KiB.
        hasher.update_reader(file).map_err(BlobError::io(&path))?;
        if Hash::from(hasher.finalize()) != *hash {
            return Err(BlobError::Damaged { hash: *hash, damage: BlobDamage::Content });
        }
        Ok(())
    }
}
