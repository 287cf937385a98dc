//! Compiled code on disk: one file for each key, and beside it a seal that only this node can make.
//!
//! ```text
//! {key in hex}.cwasm = compiled bytes
//! {key in hex}.seal  = BLAKE3, keyed with a key derived from the node's, over: key, 32 bytes | compiled bytes
//! ```
//!
//! Whoever loads compiled code executes it, so a file is used only after its seal was checked over all of it, through
//! the descriptor that the worker then gets. What fails the check is removed and compiled again. Files are written beside
//! and moved into place, the seal last; nothing is synced, because a torn pair fails its check like any other. The seal
//! is a file of its own because workers map the code as it is.
//!
//! The seal is against other programs' files, broken disks and copies from elsewhere. Whoever can change a file *while*
//! it is used has this node's rights on this folder, and with them its key.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use guildhall_protocol::hash::Hash;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// Length of a seal, bytes.
const SEAL_BYTES: usize = 32;

/// What the sealing key is derived for.
const SEAL_CONTEXT: &str = "guildhall 1 seal of compiled code";

/// Most files. At a few kilobytes each they would slow down the folder long before they filled it.
const FILES_MAX: usize = 4_096;

/// Bytes read at once while checking.
const CHUNK_BYTES: usize = 64 * 1024;

/// Ending of compiled code.
const CODE: &str = "cwasm";

/// Ending of a seal.
const SEAL: &str = "seal";

/// Ending of a file that is being written.
const UNFINISHED: &str = "part";

/// Compiled code, checked and open for reading.
#[derive(Debug)]
pub struct Compiled {
    pub(in crate::parent) file: File,
    pub(in crate::parent) len_bytes: u64,
}

impl Compiled {
    /// Length of the compiled code, bytes.
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Code that is kept nowhere: a file in memory that nobody can change any more.
    pub(super) fn of_bytes(pieces: &[Vec<u8>]) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(memfd_create(c"compiled", flags)?);
        let mut len_bytes = 0;
        for piece in pieces {
            file.write_all(piece)?;
            len_bytes += piece.len() as u64;
        }
        fcntl_add_seals(
            &file,
            SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
        )?;
        Ok(Self { file, len_bytes })
    }
}

/// The folder of compiled code.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    sealing_key: [u8; 32],
    max_bytes: u64,
    /// One writes at a time; the number tells unfinished files apart.
    writing: Mutex<u64>,
}

/// What a folder holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) files: usize,
    pub(super) len_bytes: u64,
}

struct Entry {
    path: PathBuf,
    len_bytes: u64,
    used: SystemTime,
}

impl Cache {
    /// Opens a folder, makes it if need be, and removes what a crash left unfinished.
    pub(super) fn open(folder: PathBuf, key: &[u8; 32], max_bytes: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        for path in files(&folder, UNFINISHED)? {
            remove(&path, "it was never finished");
        }
        let sealing_key = blake3::derive_key(SEAL_CONTEXT, key);
        let cache = Self { folder, sealing_key, max_bytes, writing: Mutex::new(0) };
        cache.make_room(0)?;
        Ok(cache)
    }

    /// The code under this key, if it is here and whole.
    pub(super) fn find(&self, key: &Hash) -> Option<Compiled> {
        let path = self.path(key, CODE);
        let file = File::open(&path).ok()?;
        let problem = match self.check(key, &file) {
            Ok(Some(len_bytes)) => {
                // What was used last goes last. Where that cannot be noted, it goes when it is old.
                let _as_it_was = file.set_modified(SystemTime::now());
                return Some(Compiled { file, len_bytes });
            }
            Ok(None) => "its seal is not this node's".to_owned(),
            Err(error) => error.to_string(),
        };
        // Not while somebody puts a new pair into place.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        Self::remove(&path, &problem);
        None
    }

    /// Keeps compiled code under a key and opens it. What has not been used for longest makes room.
    pub(super) fn keep(&self, key: &Hash, pieces: &[Vec<u8>]) -> io::Result<Option<Compiled>> {
        let len_bytes = pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        if len_bytes > self.max_bytes {
            return Ok(None);
        }
        {
            let mut number = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            *number += 1;
            self.make_room(len_bytes)?;
            let unfinished = self.folder.join(format!("{}.{UNFINISHED}", *number));
            if let Err(error) = self.write(&unfinished, key, pieces) {
                let _never_made = fs::remove_file(&unfinished);
                return Err(error);
            }
        }
        Ok(self.find(key))
    }

    /// What is kept.
    pub(super) fn size(&self) -> Size {
        let entries = self.entries().unwrap_or_default();
        Size { files: entries.len(), len_bytes: entries.iter().map(|entry| entry.len_bytes).sum() }
    }

    fn write(&self, path: &Path, key: &Hash, pieces: &[Vec<u8>]) -> io::Result<()> {
        let mut hasher = self.hasher(key);
        let mut file = File::create(path)?;
        for piece in pieces {
            hasher.update(piece);
            file.write_all(piece)?;
        }
        fs::rename(path, self.path(key, CODE))?;
        fs::write(path, hasher.finalize().as_bytes())?;
        fs::rename(path, self.path(key, SEAL))
    }

    /// Length of the code in a file whose seal is right.
    fn check(&self, key: &Hash, file: &File) -> io::Result<Option<u64>> {
        let mut seal = [0; SEAL_BYTES];
        match File::open(self.path(key, SEAL)) {
            Ok(mut sealed) => sealed.read_exact(&mut seal)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut hasher = self.hasher(key);
        let mut code = file;
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut len_bytes = 0;
        loop {
            let len = code.read(&mut buffer)?;
            if len == 0 {
                break;
            }
            hasher.update(buffer.get(..len).unwrap_or_default());
            len_bytes += len as u64;
        }
        // Compared in constant time.
        Ok((hasher.finalize() == blake3::Hash::from_bytes(seal)).then_some(len_bytes))
    }

    fn hasher(&self, key: &Hash) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.sealing_key);
        hasher.update(key.as_bytes());
        hasher
    }

    fn path(&self, key: &Hash, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", key.to_hex()))
    }

    fn entries(&self) -> io::Result<Vec<Entry>> {
        let paths = files(&self.folder, CODE)?;
        // One that has just been removed is none.
        let entry = |path: PathBuf| {
            let data = fs::metadata(&path).ok()?;
            Some(Entry { path, len_bytes: data.len(), used: data.modified().ok()? })
        };
        Ok(paths.into_iter().filter_map(entry).collect())
    }

    /// Removes files, longest unused first, until one of this length fits.
    fn make_room(&self, len_bytes: u64) -> io::Result<()> {
        let mut entries = self.entries()?;
        entries.sort_by_key(|entry| entry.used);
        let mut total_bytes: u64 = entries.iter().map(|entry| entry.len_bytes).sum();
        let mut left = entries.len();
        for entry in entries {
            if total_bytes.saturating_add(len_bytes) <= self.max_bytes && left < FILES_MAX {
                break;
            }
            Self::remove(&entry.path, "the room is needed");
            total_bytes = total_bytes.saturating_sub(entry.len_bytes);
            left -= 1;
        }
        Ok(())
    }

    /// Removes compiled code and its seal.
    fn remove(code: &Path, why: &str) {
        remove(code, why);
        remove(&code.with_extension(SEAL), why);
    }
}

/// Files of a folder with this ending.
fn files(folder: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == ending) {
            found.push(path);
        }
    }
    Ok(found)
}

fn remove(path: &Path, why: &str) {
    match fs::remove_file(path) {
        Ok(()) => tracing::info!(path = %path.display(), why, "compiled code removed"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), why, %error, "compiled code not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn read(compiled: &Compiled) -> Vec<u8> {
        use std::os::unix::fs::FileExt as _;
        let mut bytes = vec![0; usize::try_from(compiled.len_bytes).unwrap()];
        compiled.file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn what_was_kept_is_found_again_and_cannot_be_written_through_its_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("a/b"), &KEY, 1 << 20).unwrap();
        let key = Hash::of(b"code");
        assert!(cache.find(&key).is_none());
        let kept = cache.keep(&key, &[b"ab".to_vec(), b"c".to_vec()]).unwrap().unwrap();
        assert_eq!(read(&kept), b"abc");
        assert!((&kept.file).write_all(b"x").is_err());
        let again = Cache::open(folder.path().join("a/b"), &KEY, 1 << 20).unwrap();
        assert_eq!(read(&again.find(&key).unwrap()), b"abc");
        assert_eq!(again.size(), Size { files: 1, len_bytes: 3 });
    }

    #[test]
    fn a_damaged_foreign_or_renamed_file_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().into(), &KEY, 1 << 20).unwrap();
        let (key, other) = (Hash::of(b"code"), Hash::of(b"other"));
        let (path, seal) = (cache.path(&key, CODE), cache.path(&key, SEAL));
        let keep = || cache.keep(&key, &[vec![3; 1000]]).unwrap().unwrap();
        let spoil = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
            drop(keep());
            let mut bytes = fs::read(path).unwrap();
            change(&mut bytes);
            fs::write(path, bytes).unwrap();
        };
        for (path_to, at) in [(&path, 0), (&path, 500), (&path, 999), (&seal, 0), (&seal, 31)] {
            spoil(path_to, &|bytes| bytes[at] ^= 1);
            assert!(cache.find(&key).is_none(), "byte {at}");
            assert!(!path.exists() && !seal.exists(), "byte {at}");
        }
        for (path_to, len) in [(&path, 0), (&path, 999), (&seal, 0), (&seal, 31)] {
            spoil(path_to, &|bytes| bytes.truncate(len));
            assert!(cache.find(&key).is_none(), "{len} bytes");
        }
        spoil(&path, &|bytes| bytes.push(3));
        assert!(cache.find(&key).is_none(), "a byte more");
        drop(keep());
        fs::remove_file(&seal).unwrap();
        assert!(cache.find(&key).is_none(), "no seal");
        drop(keep());
        fs::rename(&path, cache.path(&other, CODE)).unwrap();
        fs::rename(&seal, cache.path(&other, SEAL)).unwrap();
        assert!(cache.find(&other).is_none(), "code under another key's name");
        drop(keep());
        let foreign = Cache::open(folder.path().into(), &[8; 32], 1 << 20).unwrap();
        assert!(foreign.find(&key).is_none(), "another node's key");
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room_and_what_never_fits_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().into(), &KEY, 1000).unwrap();
        let key = |number: u8| Hash::of(&[number]);
        let used = |number: u8, ago: u64| {
            let at = SystemTime::now() - Duration::from_secs(ago);
            File::open(cache.path(&key(number), CODE)).unwrap().set_modified(at).unwrap();
        };
        for number in 0..3 {
            drop(cache.keep(&key(number), &[vec![number; 300]]).unwrap().unwrap());
            used(number, 1000 - u64::from(number));
        }
        assert!(cache.find(&key(0)).is_some(), "and now it was used last");
        drop(cache.keep(&key(3), &[vec![3; 300]]).unwrap().unwrap());
        assert!(cache.find(&key(1)).is_none());
        for number in [0, 2, 3] {
            assert_eq!(read(&cache.find(&key(number)).unwrap()), vec![number; 300]);
        }
        assert!(cache.keep(&key(4), &[vec![4; 1001]]).unwrap().is_none());
        assert_eq!(cache.size().files, 3);
        // A smaller bound holds from the next start on, and leftovers of a crash go.
        fs::write(folder.path().join("9.part"), b"half").unwrap();
        let smaller = Cache::open(folder.path().into(), &KEY, 300).unwrap();
        assert_eq!(smaller.size().files, 1);
        assert!(!folder.path().join("9.part").exists());
    }

    #[test]
    fn code_that_is_kept_nowhere_cannot_be_changed() {
        let compiled = Compiled::of_bytes(&[b"ab".to_vec(), b"c".to_vec()]).unwrap();
        assert_eq!(read(&compiled), b"abc");
        assert!((&compiled.file).write_all(b"x").is_err());
        assert!(compiled.file.set_len(1).is_err());
    }
}
