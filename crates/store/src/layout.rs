//! The directory: names, creation, the lock that keeps a second process out.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use guildhall_protocol::Hash;

use crate::error::{BlobError, OpenError};
use crate::faults::Faults;

/// Paths inside a store's directory.
#[derive(Debug)]
pub(crate) struct Layout {
    dir: PathBuf,
    /// Numbers temporary files. `tmp/` is empty at start and ours alone, so a counter is unique.
    next_temp: AtomicU64,
    pub(crate) faults: Faults,
}

impl Layout {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf(), next_temp: AtomicU64::new(0), faults: Faults::default() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn catalogue(&self) -> PathBuf {
        self.dir.join("catalogue.redb")
    }

    /// Where a new catalogue is prepared before it is renamed: a half-created one is never found.
    pub(crate) fn new_catalogue(&self) -> PathBuf {
        self.dir.join("catalogue.redb.new")
    }

    pub(crate) fn next_temp_file(&self) -> PathBuf {
        let number = self.next_temp.fetch_add(1, Ordering::Relaxed);
        self.temp_dir().join(number.to_string())
    }

    /// Creates the next temporary file.
    pub(crate) fn create_temp(&self) -> Result<(TempFile, File), BlobError> {
        let path = self.next_temp_file();
        TempFile::create(path.clone(), &self.faults).map_err(BlobError::io(&path))
    }

    /// The folder where others put files to be adopted.
    pub(crate) fn incoming_dir(&self) -> PathBuf {
        self.dir.join("incoming")
    }

    /// The folder of blobs that are not whole yet.
    pub(crate) fn partial_dir(&self) -> PathBuf {
        self.dir.join("partial")
    }

    pub(crate) fn partial_file(&self, hash: &Hash) -> PathBuf {
        self.partial_dir().join(hash.to_hex())
    }

    /// The folder of blobs that are kept elsewhere and were fetched.
    #[cfg(feature = "s3")]
    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.dir.join("cache")
    }

    /// The folder a blob's file is in, named by the first hash byte so that none grows too long.
    pub(crate) fn blob_dir(&self, hash: &Hash) -> PathBuf {
        let [first, ..] = hash.as_bytes();
        self.shard_dir(*first)
    }

    pub(crate) fn blob_file(&self, hash: &Hash) -> PathBuf {
        self.blob_dir(hash).join(hash.to_hex())
    }

    /// Creates what is missing and takes the lock, which holds while the returned file is open.
    pub(crate) fn lock(&self) -> Result<File, OpenError> {
        let existed = self.dir.is_dir();
        fs::create_dir_all(&self.dir).map_err(OpenError::io(&self.dir))?;
        if !existed && let Some(parent) = self.dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_dir(parent).map_err(OpenError::io(parent))?;
        }
        let path = self.dir.join("lock");
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(OpenError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: self.dir.clone() }),
            Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
        }
    }

    /// Makes all folders exist, so that nobody creates one later, and empties `tmp/` and `incoming/`. Only with the lock
    /// held: another process's temporary files are not ours to remove.
    pub(crate) fn prepare(&self) -> Result<(), OpenError> {
        let blobs = self.blobs_dir();
        let mut created = create_dir(&blobs)?;
        for dir in [self.temp_dir(), self.incoming_dir()] {
            created |= create_dir(&dir)?;
            clear(&dir)?;
        }
        created |= create_dir(&self.partial_dir())?;
        for first in 0..=u8::MAX {
            created |= create_dir(&self.shard_dir(first))?;
        }
        if created {
            sync_dir(&blobs).map_err(OpenError::io(&blobs))?;
            sync_dir(&self.dir).map_err(OpenError::io(&self.dir))?;
        }
        Ok(())
    }

    pub(crate) fn blobs_dir(&self) -> PathBuf {
        self.dir.join("blobs")
    }

    fn temp_dir(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    pub(crate) fn shard_dir(&self, first: u8) -> PathBuf {
        self.blobs_dir().join(format!("{first:02x}"))
    }
}

/// Makes renames and new files in `dir` survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Whether the directory had to be created.
pub(crate) fn create_dir(path: &Path) -> Result<bool, OpenError> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(OpenError::Io { path: path.to_path_buf(), source }),
    }
}

/// Removes everything in `dir`. A client may have made folders in `incoming/`.
fn clear(dir: &Path) -> Result<(), OpenError> {
    for entry in fs::read_dir(dir).map_err(OpenError::io(dir))? {
        let entry = entry.map_err(OpenError::io(dir))?;
        let path = entry.path();
        // Does not follow links.
        let removed = match entry.file_type().map_err(OpenError::io(&path))?.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.map_err(OpenError::io(&path))?;
    }
    Ok(())
}

/// A file in `tmp/` that is removed when dropped, unless it was moved into place.
#[derive(Debug)]
pub(crate) struct TempFile {
    path: PathBuf,
    moved: bool,
}

impl TempFile {
    /// Creates the file at a path nobody else uses.
    pub(crate) fn create(path: PathBuf, faults: &Faults) -> io::Result<(Self, File)> {
        faults.step()?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok((Self { path, moved: false }, file))
    }

    /// Moves another's file to a path nobody else uses.
    pub(crate) fn take(from: &Path, path: PathBuf, faults: &Faults) -> io::Result<Self> {
        faults.step()?;
        fs::rename(from, &path)?;
        Ok(Self { path, moved: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// It was renamed, and is no temporary file any more.
    pub(crate) fn moved(&mut self) {
        self.moved = true;
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // A file that cannot be removed now is removed at the next start.
        if !self.moved
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "temporary file stays until the next start");
        }
    }
}
