//! Local files on their way in: hashed with several threads, and cloned, copied or adopted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{Cv, Shape};
use rustix::fs::OFlags;

use crate::error::BlobError;
use crate::layout::{Layout, TempFile};
use crate::store::Store;

use super::hash::{Visit, hash_file};
use super::tree::Tree;
use super::write::{Collected, Content, StagedBlob};

/// How a file comes into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Import {
    /// The file stays where it is. Its blocks are shared if the file system can, else copied; either way the hash is
    /// of what is in the store, even if the file changes meanwhile.
    Copy,
    /// The file lies in [`Store::incoming_dir`] and is moved; the path is its bare name there. Who still has it open
    /// for writing can damage the blob, as can the owner of the file: for files from the node's own user.
    Adopt {
        /// Whether the file may have another name elsewhere. Who has that can damage the blob.
        linked: bool,
    },
}

/// While copying, what was written is synced every so many pieces (64 MiB): the disk works while other threads read
/// and hash, instead of all at the end.
const PIECES_PER_SYNC: u64 = 16;

impl Store {
    /// The folder where a client on this machine may put files to be adopted. On the same file system as the store,
    /// empty at every start.
    #[must_use]
    pub fn incoming_dir(&self) -> PathBuf {
        self.inner.shared.layout.incoming_dir()
    }

    /// Brings a file in, ready for [`Batch::add_blob`](crate::Batch::add_blob). Blocking for as long as reading and
    /// syncing it takes; uses up to [`HASH_THREADS_MAX`](crate::HASH_THREADS_MAX) threads.
    ///
    /// # Errors
    /// [`BlobError::NotImportable`], [`BlobError::TooLong`] if it grew meanwhile, [`BlobError::Io`],
    /// [`BlobError::NoSpace`]. A file that was to be adopted may be gone after an error.
    pub fn import_file(&self, path: &Path, mode: Import) -> Result<StagedBlob, BlobError> {
        match mode {
            Import::Copy => self.copy_in(path),
            Import::Adopt { linked } => self.adopt(path, linked),
        }
    }

    /// Removes a file from [`Store::incoming_dir`] that is not to be adopted. The path is its bare name there.
    ///
    /// # Errors
    /// [`BlobError::NotImportable`] for anything but a name; [`BlobError::Io`].
    pub fn discard_incoming(&self, name: &Path) -> Result<(), BlobError> {
        let path = self.incoming_path(name)?;
        fs::remove_file(&path).map_err(BlobError::io(&path))
    }

    fn copy_in(&self, path: &Path) -> Result<StagedBlob, BlobError> {
        let layout = &self.inner.shared.layout;
        let source = open_plain(path, OFlags::empty())?;
        let len_bytes = source.metadata().map_err(BlobError::io(path))?.len();
        let shape = Shape::of(len_bytes);
        if shape.is_one_group() {
            return read_inline(source, path, len_bytes);
        }
        let (temp, file) = layout.create_temp()?;
        layout.faults.step().map_err(BlobError::io(temp.path()))?;
        let cloned = rustix::fs::ioctl_ficlone(&file, &source).is_ok();
        let (hash, tree) = if cloned {
            let found_bytes = file.metadata().map_err(BlobError::io(temp.path()))?.len();
            if found_bytes != len_bytes {
                return Err(BlobError::TooLong { max_len_bytes: len_bytes });
            }
            hashed(layout, &file, temp.path(), shape, None)?
        } else {
            let hashed = hashed(layout, &source, path, shape, Some((&file, temp.path())))?;
            // Where the source ends now: a longer one is not the file whose import was asked for.
            let more = source.read_at(&mut [0], len_bytes).map_err(BlobError::io(path))?;
            if more > 0 {
                return Err(BlobError::TooLong { max_len_bytes: len_bytes });
            }
            hashed
        };
        sync(layout, &file, &temp)?;
        Ok(StagedBlob::new(hash, len_bytes, Content::File { temp, tree }))
    }

    /// Where a file of this name is in the folder for incoming ones.
    fn incoming_path(&self, name: &Path) -> Result<PathBuf, BlobError> {
        let plain = name.to_str().filter(|text| is_plain_name(text));
        let plain = plain.ok_or_else(|| BlobError::NotImportable {
            path: name.to_path_buf(),
            why: "it is no plain file name",
        })?;
        Ok(self.inner.shared.layout.incoming_dir().join(plain))
    }

    fn adopt(&self, name: &Path, linked: bool) -> Result<StagedBlob, BlobError> {
        let layout = &self.inner.shared.layout;
        let refused = |why| BlobError::NotImportable { path: name.to_path_buf(), why };
        let path = self.incoming_path(name)?;
        let file = open_plain(&path, OFlags::NOFOLLOW)?;
        let metadata = file.metadata().map_err(BlobError::io(&path))?;
        if metadata.nlink() > 1 && !linked {
            return Err(refused("it has another name"));
        }
        // Out of the clients' reach first; what is hashed from here on is what has our name.
        let temp = TempFile::take(&path, layout.next_temp_file(), &layout.faults);
        let temp = temp.map_err(BlobError::io(&path))?;
        let moved = fs::symlink_metadata(temp.path()).map_err(BlobError::io(temp.path()))?;
        if (moved.dev(), moved.ino()) != (metadata.dev(), metadata.ino()) {
            return Err(refused("it was exchanged meanwhile"));
        }
        let len_bytes = file.metadata().map_err(BlobError::io(temp.path()))?.len();
        let shape = Shape::of(len_bytes);
        if shape.is_one_group() {
            return read_inline(file, temp.path(), len_bytes);
        }
        let (hash, tree) = hashed(layout, &file, temp.path(), shape, None)?;
        sync(layout, &file, &temp)?;
        Ok(StagedBlob::new(hash, len_bytes, Content::File { temp, tree }))
    }
}

/// Whether this names a file in a folder, and nothing hidden or elsewhere.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

/// Opens a file for reading, if it is a regular one. Never waits, as opening a pipe would.
fn open_plain(path: &Path, flags: OFlags) -> Result<File, BlobError> {
    let flags = (flags | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    let mut options = OpenOptions::new();
    // The kernel's flag bits all lie below the sign bit.
    let flags = i32::try_from(flags).unwrap_or(0);
    let file = options.read(true).custom_flags(flags).open(path).map_err(BlobError::io(path))?;
    if !file.metadata().map_err(BlobError::io(path))?.is_file() {
        let path = path.to_path_buf();
        return Err(BlobError::NotImportable { path, why: "it is no regular file" });
    }
    Ok(file)
}

fn read_inline(file: File, path: &Path, len_bytes: u64) -> Result<StagedBlob, BlobError> {
    let mut bytes = Vec::new();
    let read = file.take(len_bytes.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(BlobError::io(path))?;
    match (bytes.len() as u64).cmp(&len_bytes) {
        std::cmp::Ordering::Greater => Err(BlobError::TooLong { max_len_bytes: len_bytes }),
        std::cmp::Ordering::Less => Err(BlobError::io(path)(io::ErrorKind::UnexpectedEof.into())),
        std::cmp::Ordering::Equal => Ok(StagedBlob::inline(bytes)),
    }
}

fn sync(layout: &Layout, file: &File, temp: &TempFile) -> Result<(), BlobError> {
    let synced = layout.faults.step().and_then(|()| file.sync_all());
    synced.map_err(BlobError::io(temp.path()))
}

/// Hashes `file`, and writes what was read into `copy`.
fn hashed(
    layout: &Layout,
    file: &File,
    path: &Path,
    shape: Shape,
    copy: Option<(&File, &Path)>,
) -> Result<(Hash, Tree), BlobError> {
    let collect = Collect { layout, copy, collected: Mutex::new(Collected::new()) };
    hash_file(file, path, shape, &collect)?;
    let collected = collect.collected.into_inner().unwrap_or_else(PoisonError::into_inner);
    collected.finish(shape.len_bytes()).ok_or(BlobError::Interrupted)
}

struct Collect<'a> {
    layout: &'a Layout,
    copy: Option<(&'a File, &'a Path)>,
    collected: Mutex<Collected>,
}

impl Visit for Collect<'_> {
    fn slice(&self, offset: u64, bytes: &[u8]) -> Result<(), BlobError> {
        let Some((file, path)) = self.copy else { return Ok(()) };
        let written = self.layout.faults.step().and_then(|()| file.write_all_at(bytes, offset));
        written.map_err(BlobError::io(path))
    }

    fn piece(&self, index: u64, groups: Vec<Cv>) -> Result<(), BlobError> {
        if let Some((file, path)) = self.copy
            && index % PIECES_PER_SYNC == PIECES_PER_SYNC - 1
        {
            let synced = self.layout.faults.step().and_then(|()| file.sync_data());
            synced.map_err(BlobError::io(path))?;
        }
        let mut collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        collected.push(self.layout, index, groups)
    }
}
