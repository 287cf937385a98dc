//! Where complete blob files are. The rows say which blobs there are; a shelf only holds files by their hash.
//!
//! Only the writer thread places and removes; every thread reads. The one shelf now is a directory. One in
//! S3-compatible storage fits behind the same trait: `place` uploads, `settle` has nothing to do, `open` fetches to a
//! local cache file, `read_at` asks for a range.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guildhall_protocol::Hash;

use crate::layout::{Layout, sync_dir};

/// A place for complete blob files.
pub(crate) trait Shelf: fmt::Debug + Send + Sync {
    /// Where the blob's file is, for messages.
    fn name(&self, hash: &Hash) -> PathBuf;

    /// Takes the file at `staged` as this blob's, over the one that is there. Afterwards nothing is at `staged`.
    fn place(&self, staged: &Path, hash: &Hash, len_bytes: u64) -> io::Result<()>;

    /// Makes what was placed survive a power cut.
    fn settle(&self, placed: &BTreeSet<Hash>) -> io::Result<()>;

    /// A local file with the blob's bytes.
    fn open(&self, hash: &Hash) -> io::Result<File>;

    /// Up to `out.len()` bytes from `offset` on; less at the end.
    fn read_at(&self, hash: &Hash, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.open(hash)?.read_at(out, offset)
    }

    /// Gives the blob's file away, to `target`.
    fn take(&self, hash: &Hash, target: &Path) -> io::Result<()>;

    /// Removes the blob's file, if it is there. Who has it open keeps reading.
    fn remove(&self, hash: &Hash) -> io::Result<()>;

    /// Files whose hash begins with this byte, with their lengths, in no order. Files whose names are no hashes are
    /// not listed.
    fn list(&self, first: u8) -> io::Result<Vec<(Hash, u64)>>;
}

/// Files in `blobs/`.
#[derive(Debug)]
pub(crate) struct Directory(pub(crate) Arc<Layout>);

impl Shelf for Directory {
    fn name(&self, hash: &Hash) -> PathBuf {
        self.0.blob_file(hash)
    }

    fn place(&self, staged: &Path, hash: &Hash, _: u64) -> io::Result<()> {
        self.0.faults.step()?;
        fs::rename(staged, self.0.blob_file(hash))
    }

    fn settle(&self, placed: &BTreeSet<Hash>) -> io::Result<()> {
        let dirs: BTreeSet<PathBuf> = placed.iter().map(|hash| self.0.blob_dir(hash)).collect();
        dirs.iter().try_for_each(|dir| {
            self.0.faults.step()?;
            sync_dir(dir)
        })
    }

    fn open(&self, hash: &Hash) -> io::Result<File> {
        File::open(self.0.blob_file(hash))
    }

    fn take(&self, hash: &Hash, target: &Path) -> io::Result<()> {
        self.0.faults.step()?;
        fs::rename(self.0.blob_file(hash), target)
    }

    fn remove(&self, hash: &Hash) -> io::Result<()> {
        self.0.faults.step()?;
        match fs::remove_file(self.0.blob_file(hash)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn list(&self, first: u8) -> io::Result<Vec<(Hash, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.0.shard_dir(first))? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(hash) = name.to_str().and_then(|name| name.parse::<Hash>().ok()) {
                // Gone meanwhile is as if it had never been there.
                let len_bytes = entry.metadata().map_or(0, |metadata| metadata.len());
                files.push((hash, len_bytes));
            }
        }
        Ok(files)
    }
}
