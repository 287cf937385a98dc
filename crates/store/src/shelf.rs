//! Where complete blob files are. The rows say which blobs there are; a shelf only holds files by their hash.
//!
//! Only the writer thread places and removes; every thread reads. There are two: [`Directory`], and with the feature
//! `s3` one in S3-compatible storage (`remote`). For the second, what takes long is done ahead of the writer thread
//! ([`Shelf::prepare`]), and files are fetched before they are opened.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guildhall_protocol::Hash;

use crate::blob::Source;
use crate::error::BlobDamage;
use crate::layout::{Layout, sync_dir};

/// What was brought ahead for a batch; tells the shelf when it is dropped that the batch is through, or gone.
pub(crate) type Prepared = Box<dyn fmt::Debug + Send + Sync>;

/// A place for complete blob files.
pub(crate) trait Shelf: fmt::Debug + Send + Sync {
    /// Where the blob's file is, for messages.
    fn name(&self, hash: &Hash) -> PathBuf;

    /// Whether [`Shelf::prepare`] does something, which then takes long.
    fn is_far(&self) -> bool {
        false
    }

    /// Brings the file at `staged` to where it will be, before the batch that adds it is queued. On the caller's thread,
    /// and possibly of several at a time.
    fn prepare(&self, _: &Path, _: &Hash, _: u64) -> io::Result<Option<Prepared>> {
        Ok(None)
    }

    /// Takes the file at `staged` as this blob's, over the one that is there. Says whether nothing is at `staged`
    /// afterwards; else it stays until [`Shelf::keep`].
    fn place(&self, staged: &Path, hash: &Hash, len_bytes: u64) -> io::Result<bool>;

    /// Makes what was placed survive a power cut.
    fn settle(&self, placed: &BTreeSet<Hash>) -> io::Result<()>;

    /// After the commit: may have the file that stayed at `staged`. Says whether nothing is there afterwards.
    fn keep(&self, _: &Path, _: &Hash, _: u64) -> bool {
        false
    }

    /// A local file with the blob's bytes, which are as many.
    fn open(&self, hash: &Hash, len_bytes: u64) -> Result<File, Unopened>;

    /// The bytes where they really are, for who wants to check them.
    fn source(&self, hash: &Hash, len_bytes: u64) -> Result<Box<dyn Source>, Unopened>;

    /// Up to `out.len()` bytes from `offset` on; less at the end.
    fn read_at(&self, hash: &Hash, offset: u64, out: &mut [u8]) -> io::Result<usize>;

    /// What is there of a blob that may be damaged, in a local file of whatever length. While the second value lives,
    /// [`Shelf::take`] gives away that very file.
    fn draft(&self, hash: &Hash) -> Result<(File, Option<Prepared>), Unopened>;

    /// Makes a copy of the file at `target`, synced, where nothing is yet; or another name of it.
    fn copy_out(&self, hash: &Hash, target: &Path) -> Result<(), Unopened>;

    /// Somebody found wrong bytes: drops local copies of a blob that is elsewhere. Whether there were any.
    fn doubt(&self, _: &Hash) -> bool {
        false
    }

    /// Gives the blob's file away, to `target`.
    fn take(&self, hash: &Hash, target: &Path) -> io::Result<()>;

    /// Removes the blobs' files, those that are there, and tells `failed` which stay. Who has one open keeps reading.
    fn remove(&self, hashes: &BTreeSet<Hash>, failed: &mut dyn FnMut(&Hash, io::Error));

    /// Files whose hash begins with this byte, with their lengths, in no order. Files whose names are no hashes are
    /// not listed, nor are those that were prepared for a batch that is on its way.
    fn list(&self, first: u8) -> io::Result<Vec<(Hash, u64)>>;
}

/// Why a blob's file could not be opened.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// It is not there.
    Missing,
    /// It is there, and wrong.
    Damaged(BlobDamage),
    /// Nobody knows.
    Io(io::Error),
}

impl From<io::Error> for Unopened {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Io(error),
        }
    }
}

/// Files in `blobs/`.
#[derive(Debug)]
pub(crate) struct Directory(pub(crate) Arc<Layout>);

impl Shelf for Directory {
    fn name(&self, hash: &Hash) -> PathBuf {
        self.0.blob_file(hash)
    }

    fn place(&self, staged: &Path, hash: &Hash, _: u64) -> io::Result<bool> {
        self.0.faults.step()?;
        fs::rename(staged, self.0.blob_file(hash))?;
        Ok(true)
    }

    fn settle(&self, placed: &BTreeSet<Hash>) -> io::Result<()> {
        let dirs: BTreeSet<PathBuf> = placed.iter().map(|hash| self.0.blob_dir(hash)).collect();
        dirs.iter().try_for_each(|dir| {
            self.0.faults.step()?;
            sync_dir(dir)
        })
    }

    fn open(&self, hash: &Hash, expected_bytes: u64) -> Result<File, Unopened> {
        let file = File::open(self.0.blob_file(hash))?;
        let found_bytes = file.metadata()?.len();
        if found_bytes != expected_bytes {
            return Err(Unopened::Damaged(BlobDamage::Length { expected_bytes, found_bytes }));
        }
        Ok(file)
    }

    fn source(&self, hash: &Hash, len_bytes: u64) -> Result<Box<dyn Source>, Unopened> {
        Ok(Box::new(self.open(hash, len_bytes)?))
    }

    fn read_at(&self, hash: &Hash, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        File::open(self.0.blob_file(hash))?.read_at(out, offset)
    }

    fn draft(&self, hash: &Hash) -> Result<(File, Option<Prepared>), Unopened> {
        Ok((File::open(self.0.blob_file(hash))?, None))
    }

    fn copy_out(&self, hash: &Hash, target: &Path) -> Result<(), Unopened> {
        let from = self.0.blob_file(hash);
        if fs::hard_link(&from, target).is_ok() {
            return Ok(());
        }
        let mut source = File::open(&from)?;
        let mut target = File::create(target)?;
        if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
            io::copy(&mut source, &mut target)?;
        }
        Ok(target.sync_all()?)
    }

    fn take(&self, hash: &Hash, target: &Path) -> io::Result<()> {
        self.0.faults.step()?;
        fs::rename(self.0.blob_file(hash), target)
    }

    fn remove(&self, hashes: &BTreeSet<Hash>, failed: &mut dyn FnMut(&Hash, io::Error)) {
        for hash in hashes {
            let removed =
                self.0.faults.step().and_then(|()| fs::remove_file(self.0.blob_file(hash)));
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => failed(hash, error),
                _ => {}
            }
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
