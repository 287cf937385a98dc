//! The files of a package folder: which belong to it, under which name, with which hash.
//!
//! Files and folders whose names begin with a dot stay out, and so do the description and what `.guildignore` names. A
//! link is taken as the file it points to when that is a file of the same folder; every other link is an error, so that
//! nothing outside is published by accident. Secret keys are an error too, wherever they lie, unless they are ignored.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use guildhall_protocol::Hash;
use guildhall_protocol::limits::PACKAGE_MAX_FILES;
use guildhall_protocol::manifest::FileEntry;
use guildhall_protocol::name::FileName;
use guildhall_protocol::tree::{self, Cv, PIECE_BYTES, Shape};

use super::draft::DraftFile;
use super::error::PackageError;
use super::ignore::Ignore;
use super::{DESCRIPTION_FILE, media_type};

/// How the names of an organisation's root key and of a home's node key end.
const SECRET_ENDINGS: [&str; 2] = [".root.key", "/keys/node.key"];

/// Threads that hash at once: more do not read a common disk faster.
const HASHERS_MAX: usize = 8;

/// Bytes read from a file at once: BLAKE3 is at its fastest from 128 KiB on.
const CHUNK_BYTES: usize = 256 * 1024;

/// Length from which one file is hashed by several threads, bytes: sixteen pieces.
const LARGE_BYTES: u64 = 16 * PIECE_BYTES;

/// How far reading a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The folder was walked; these many bytes are to be hashed.
    Found {
        /// Files.
        files: usize,
        /// Their length together, bytes.
        bytes: u64,
    },
    /// So many more bytes were hashed.
    Hashed {
        /// Since the last one.
        bytes: u64,
    },
}

/// Gets every [`Reading`], from several threads.
pub type OnReading<'a> = &'a (dyn Fn(Reading) + Sync);

/// A file of the folder, before it is hashed.
struct Found {
    name: FileName,
    path: PathBuf,
    len_bytes: u64,
}

/// Finds and hashes every file below `dir`, sorted by name.
pub(super) fn read(dir: &Path, seen: OnReading<'_>) -> Result<Vec<DraftFile>, PackageError> {
    let root = dir.canonicalize().map_err(|source| io_error(dir, source))?;
    let mut walk = Walk { root: &root, ignore: Ignore::read(dir)?, found: Vec::new() };
    // Names are at most 255 bytes long, which bounds the depth.
    walk.folder(dir, "")?;
    let mut found = walk.found;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let bytes = found.iter().fold(0_u64, |sum, file| sum.saturating_add(file.len_bytes));
    seen(Reading::Found { files: found.len(), bytes });
    hash_all(&found, seen)
}

struct Walk<'a> {
    root: &'a Path,
    ignore: Ignore,
    found: Vec<Found>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str) -> Result<(), PackageError> {
        for entry in fs::read_dir(folder).map_err(|source| io_error(folder, source))? {
            let path = entry.map_err(|source| io_error(folder, source))?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .ok_or_else(|| PackageError::NotUtf8 { path: path.clone() })?;
            if name.starts_with('.') || (prefix.is_empty() && name == DESCRIPTION_FILE) {
                continue;
            }
            let name = format!("{prefix}{name}");
            let metadata = fs::symlink_metadata(&path).map_err(|source| io_error(&path, source))?;
            if self.ignore.leaves_out(&name, metadata.is_dir()) {
                continue;
            }
            let name: FileName =
                name.parse().map_err(|source| PackageError::Name { path: path.clone(), source })?;
            self.entry(path, name, &metadata)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: PathBuf,
        name: FileName,
        metadata: &Metadata,
    ) -> Result<(), PackageError> {
        // With the slash a whole part is compared, also at the top.
        if SECRET_ENDINGS.iter().any(|ending| format!("/{name}").ends_with(ending)) {
            return Err(PackageError::Secret { path });
        }
        let (path, len_bytes) = if metadata.is_symlink() {
            self.link(path)?
        } else if metadata.is_dir() {
            return self.folder(&path, &format!("{name}/"));
        } else if metadata.is_file() {
            (path, metadata.len())
        } else {
            return Err(PackageError::Special { path });
        };
        if self.found.len() == PACKAGE_MAX_FILES {
            let dir = self.root.to_owned();
            return Err(PackageError::TooMany { dir, max: PACKAGE_MAX_FILES });
        }
        self.found.push(Found { name, path, len_bytes });
        Ok(())
    }

    /// The file that a link points to, and its length.
    fn link(&self, path: PathBuf) -> Result<(PathBuf, u64), PackageError> {
        let target = path.canonicalize().ok().filter(|target| target.starts_with(self.root));
        let file = target.and_then(|target| match fs::metadata(&target) {
            Ok(found) if found.is_file() => Some((target, found.len())),
            _ => None,
        });
        file.ok_or(PackageError::Link { path })
    }
}

/// Hashes files on several threads, each one the next file that nobody has taken.
fn hash_all(found: &[Found], seen: OnReading<'_>) -> Result<Vec<DraftFile>, PackageError> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(HASHERS_MAX).min(found.len()).max(1);
    let next = AtomicUsize::new(0);
    // The failure of the first file in order of name, so that the same folder always says the same.
    let failed: Mutex<Option<(usize, PackageError)>> = Mutex::new(None);
    let fail = |at: usize, error: PackageError| {
        let mut first = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if first.as_ref().is_none_or(|(earlier, _)| at < *earlier) {
            *first = Some((at, error));
        }
        // Nobody starts another file.
        next.store(found.len(), Ordering::Relaxed);
    };
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = found.get(at) else { return done };
            match hash(file, seen) {
                Ok(file) => done.push((at, file)),
                Err(error) => fail(at, error),
            }
        }
    };
    let mut done: Vec<(usize, DraftFile)> = thread::scope(|scope| {
        let hashers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for hasher in hashers {
            match hasher.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    if let Some((_, error)) = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    {
        return Err(error);
    }
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, file)| file).collect())
}

fn hash(found: &Found, seen: OnReading<'_>) -> Result<DraftFile, PackageError> {
    let Found { name, path, .. } = found;
    let (hash, len_bytes) = hash_seen(path, |bytes| seen(Reading::Hashed { bytes }))
        .map_err(|source| io_error(path, source))?;
    let media_type = media_type(name.as_str()).to_owned();
    let entry = FileEntry { name: name.clone(), len_bytes, hash, media_type };
    Ok(DraftFile { path: path.clone(), entry })
}

/// The BLAKE3 hash and the length, bytes, of a file.
///
/// # Errors
/// When it cannot be read.
pub fn hash_file(path: &Path) -> io::Result<(Hash, u64)> {
    hash_seen(path, |_| {})
}

fn hash_seen(path: &Path, seen: impl Fn(u64) + Sync) -> io::Result<(Hash, u64)> {
    let mut file = File::open(path)?;
    let shape = Shape::of(file.metadata()?.len());
    if shape.len_bytes() >= LARGE_BYTES {
        return Ok((hash_large(&file, shape, seen)?, shape.len_bytes()));
    }
    // A short file needs no long buffer, and packages of many files are made of short ones.
    let len = usize::try_from(file.metadata()?.len()).unwrap_or(CHUNK_BYTES);
    let mut chunk = vec![0; len.saturating_add(1).min(CHUNK_BYTES)];
    let mut hasher = blake3::Hasher::new();
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok((hasher.finalize().into(), hasher.count())),
            Ok(read) => {
                hasher.update(chunk.get(..read).unwrap_or_default());
                seen(read as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Hashes the pieces of a large file on several threads. A file that changes its length meanwhile is an error.
fn hash_large(file: &File, shape: Shape, seen: impl Fn(u64) + Sync) -> io::Result<Hash> {
    let cores = thread::available_parallelism().map_or(1, usize::from).min(HASHERS_MAX);
    let next = AtomicU64::new(0);
    let work = || {
        let (mut done, mut bytes) = (Vec::new(), Vec::new());
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            let span = shape.piece(piece);
            if span.len_bytes == 0 {
                return Ok(done);
            }
            bytes.resize(usize::try_from(span.len_bytes).unwrap_or(0), 0);
            file.read_exact_at(&mut bytes, span.offset)?;
            let cv = tree::merge(&tree::group_cvs(span.offset, &bytes));
            done.extend(cv.map(|cv| (piece, cv)));
            seen(span.len_bytes);
        }
    };
    let mut pieces: Vec<(u64, Cv)> = thread::scope(|scope| {
        let hashers: Vec<_> = (1..cores).map(|_| scope.spawn(work)).collect();
        let mut done: io::Result<Vec<_>> = work();
        for hasher in hashers {
            let more = hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done = done.and_then(|mut done| {
                done.extend(more?);
                Ok(done)
            });
        }
        done
    })?;
    pieces.sort_by_key(|(piece, _)| *piece);
    let cvs: Vec<Cv> = pieces.into_iter().map(|(_, cv)| cv).collect();
    tree::root(&cvs).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
}

fn io_error(path: &Path, source: io::Error) -> PackageError {
    PackageError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_has_the_hash_of_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        let mut bytes = vec![0; usize::try_from(LARGE_BYTES).unwrap() + 70_001];
        blake3::Hasher::new().update(b"seed").finalize_xof().fill(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let seen_bytes = AtomicU64::new(0);
        let add = |bytes| {
            seen_bytes.fetch_add(bytes, Ordering::Relaxed);
        };
        assert_eq!(hash_seen(&path, add).unwrap(), (Hash::of(&bytes), bytes.len() as u64));
        assert_eq!(seen_bytes.into_inner(), bytes.len() as u64);
    }
}
