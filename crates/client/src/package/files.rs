//! The files of a package folder: which belong to it, under which name, with which hash.
//!
//! Files and folders whose names begin with a dot stay out, and so does the description. A link is taken as the file
//! it points to when that is a file of the same folder; every other link is an error, so that nothing outside is
//! published by accident. Secret keys are an error too, wherever they lie.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use guildhall_protocol::Hash;
use guildhall_protocol::limits::PACKAGE_MAX_FILES;
use guildhall_protocol::manifest::FileEntry;
use guildhall_protocol::name::FileName;

use super::error::PackageError;
use super::{DESCRIPTION_FILE, media_type};

/// How the names of an organisation's root key and of a home's node key end.
const SECRET_ENDINGS: [&str; 2] = [".root.key", "/keys/node.key"];

/// A file of the folder, before it is hashed.
struct Found {
    name: FileName,
    path: PathBuf,
}

/// Finds and hashes every file below `dir`, sorted by name.
pub(super) fn read(dir: &Path) -> Result<Vec<(PathBuf, FileEntry)>, PackageError> {
    let root = dir.canonicalize().map_err(|source| io_error(dir, source))?;
    let mut walk = Walk { root: &root, found: Vec::new() };
    // Names are at most 255 bytes long, which bounds the depth.
    walk.folder(dir, "")?;
    let mut found = walk.found;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.into_iter().map(hash).collect()
}

struct Walk<'a> {
    root: &'a Path,
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
            let name: FileName = format!("{prefix}{name}")
                .parse()
                .map_err(|source| PackageError::Name { path: path.clone(), source })?;
            self.entry(path, name)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: PathBuf, name: FileName) -> Result<(), PackageError> {
        // With the slash a whole part is compared, also at the top.
        if SECRET_ENDINGS.iter().any(|ending| format!("/{name}").ends_with(ending)) {
            return Err(PackageError::Secret { path });
        }
        let metadata = fs::symlink_metadata(&path).map_err(|source| io_error(&path, source))?;
        let path = if metadata.is_symlink() { self.link(path)? } else { path };
        if metadata.is_dir() {
            return self.folder(&path, &format!("{name}/"));
        }
        if !metadata.is_symlink() && !metadata.is_file() {
            return Err(PackageError::Special { path });
        }
        if self.found.len() == PACKAGE_MAX_FILES {
            let dir = self.root.to_owned();
            return Err(PackageError::TooMany { dir, max: PACKAGE_MAX_FILES });
        }
        self.found.push(Found { name, path });
        Ok(())
    }

    /// The file that a link points to.
    fn link(&self, path: PathBuf) -> Result<PathBuf, PackageError> {
        match path.canonicalize() {
            Ok(target)
                if target.starts_with(self.root)
                    && fs::metadata(&target).as_ref().is_ok_and(Metadata::is_file) =>
            {
                Ok(target)
            }
            _ => Err(PackageError::Link { path }),
        }
    }
}

fn hash(found: Found) -> Result<(PathBuf, FileEntry), PackageError> {
    let Found { name, path } = found;
    let (hash, len_bytes) = hash_file(&path).map_err(|source| io_error(&path, source))?;
    let media_type = media_type(name.as_str()).to_owned();
    Ok((path, FileEntry { name, len_bytes, hash, media_type }))
}

/// The BLAKE3 hash and the length, bytes, of a file.
///
/// # Errors
/// When it cannot be read.
pub fn hash_file(path: &Path) -> io::Result<(Hash, u64)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok((hasher.finalize().into(), hasher.count()))
}

fn io_error(path: &Path, source: io::Error) -> PackageError {
    PackageError::Io { path: path.to_owned(), source }
}
