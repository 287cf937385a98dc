//! The package's files as a stage sees them: a folder at `/` that cannot be changed, in memory. What plain stages call is
//! here too; components have [their own way](super::component) of asking the same folder.
//!
//! In it is every file of the package but its code, the models that code asks by name, and the files that its unit tests
//! name: a stage that could read what is expected of it would pass any test. The node hands the files over before the
//! code; no file of the machine is behind any of them.
//!
//! What a record has open is its own and ends with it. Everything here follows from the package and the calls alone.

mod calls;
mod open;

use std::collections::BTreeSet;
use std::sync::Arc;

use guildhall_protocol::contract::Import;
use wasmtime_wasi_io::bytes::Bytes;

pub(super) use self::calls::add_to_linker;
pub(super) use self::open::Open;
use super::limit::Limit;
use crate::failure::Failure;
use crate::message::StageSpec;

/// Longest path, bytes: as Linux has it.
const PATH_MAX_BYTES: usize = 4_096;

/// The files, by name.
pub(super) struct Folder {
    /// In order of name.
    files: Vec<(String, Bytes)>,
    len_bytes: u64,
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Folder,
    /// Its place.
    File(usize),
}

/// Why a request is refused; the numbers are preview 1's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Errno {
    Success = 0,
    BadDescriptor = 8,
    Fault = 21,
    Invalid = 28,
    IsFolder = 31,
    TooManyOpen = 33,
    NameTooLong = 37,
    NoEntry = 44,
    NotFolder = 54,
    NotPermitted = 63,
    ReadOnly = 69,
    NoSeek = 70,
}

/// What is known of a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// As preview 1 numbers kinds: 0 unknown, 3 folder, 4 file.
    pub(super) kind: u8,
    /// Says which one it is, the same in every run.
    pub(super) number: u64,
    pub(super) len_bytes: u64,
}

impl Facts {
    /// Facts of a file of this length, or of a folder.
    fn of(path: &str, len: Option<usize>) -> Self {
        let number = blake3::hash(path.as_bytes()).as_bytes().first_chunk().copied();
        Self {
            kind: if len.is_some() { 4 } else { 3 },
            number: number.map_or(0, u64::from_le_bytes),
            len_bytes: len.unwrap_or_default() as u64,
        }
    }
}

impl Folder {
    /// The files that the node handed over; none for a stage whose contract does not import them.
    ///
    /// # Errors
    /// [`Failure::MemoryLimit`]: they count as memory of the stage.
    pub(super) fn load(
        stage: &StageSpec,
        files: Vec<(String, Vec<u8>)>,
    ) -> Result<Option<Arc<Self>>, Failure> {
        if !stage.may(Import::PackageFiles) {
            return Ok(None);
        }
        let folder = Self::of(files);
        if folder.len_bytes > stage.memory_bytes {
            return Err(Failure::MemoryLimit { limit_bytes: stage.memory_bytes });
        }
        Ok(Some(Arc::new(folder)))
    }

    /// A folder of these files.
    pub(super) fn of(files: Vec<(String, Vec<u8>)>) -> Self {
        let mut files: Vec<_> =
            files.into_iter().map(|(name, bytes)| (name, Bytes::from(bytes))).collect();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        let len_bytes = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        Self { files, len_bytes }
    }

    /// Counts the files as memory of a call; false if there is no room for them.
    pub(super) fn count(folder: Option<&Arc<Self>>, limit: &mut Limit) -> bool {
        folder.is_none_or(|folder| limit.take(folder.len_bytes))
    }

    /// What is at a path without dots and slashes to spare; the empty one is the folder itself.
    fn find(&self, path: &str) -> Option<Node> {
        if let Ok(at) = self.files.binary_search_by(|(name, _)| name.as_str().cmp(path)) {
            return Some(Node::File(at));
        }
        let is_folder = path.is_empty() || self.below(path).next().is_some();
        is_folder.then_some(Node::Folder)
    }

    /// Where a path leads from the folder `base`, without dots.
    pub(super) fn resolve(&self, base: &str, path: &[u8]) -> Result<(String, Node), Errno> {
        if path.len() > PATH_MAX_BYTES {
            return Err(Errno::NameTooLong);
        }
        let path = std::str::from_utf8(path).map_err(|_| Errno::NoEntry)?;
        if path.is_empty() {
            return Err(Errno::NoEntry);
        }
        if path.starts_with('/') {
            return Err(Errno::NotPermitted);
        }
        let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop().ok_or(Errno::NotPermitted)?),
                part => parts.push(part),
            }
        }
        let found = parts.join("/");
        let node = self.find(&found).ok_or(Errno::NoEntry)?;
        if path.ends_with('/') && node != Node::Folder {
            return Err(Errno::NotFolder);
        }
        Ok((found, node))
    }

    /// What is known of what a path led to.
    pub(super) fn facts(&self, path: &str, node: &Node) -> Facts {
        match node {
            Node::Folder => Facts::of(path, None),
            Node::File(at) => self
                .files
                .get(*at)
                .map_or(Facts::of("", None), |(name, bytes)| Facts::of(name, Some(bytes.len()))),
        }
    }

    /// What is in a file. Copies share it.
    pub(super) fn bytes(&self, at: usize) -> Bytes {
        self.files.get(at).map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    }

    fn file(&self, at: usize) -> &[u8] {
        self.files.get(at).map_or(&[], |(_, bytes)| bytes)
    }

    /// What is left of the names of the files below a folder.
    fn below<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        self.files.iter().filter_map(move |(name, _)| match path {
            "" => Some(name.as_str()),
            _ => name.strip_prefix(path)?.strip_prefix('/'),
        })
    }

    /// The names in a folder, in order, each with what it is.
    pub(super) fn names<'a>(&'a self, path: &'a str) -> Vec<(&'a str, bool)> {
        let names: BTreeSet<(&str, bool)> = self
            .below(path)
            .filter_map(|rest| match rest.find('/') {
                Some(end) => Some((rest.get(..end)?, true)),
                None => Some((rest, false)),
            })
            .collect();
        names.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> Folder {
        let files = names.iter().map(|name| ((*name).to_owned(), name.as_bytes().to_vec()));
        Folder::of(files.collect())
    }

    #[test]
    fn folders_are_where_files_are_below_them() {
        let folder = folder(&["a/b/c", "a/b-c", "a/d", "e", "ab"]);
        assert_eq!(folder.find(""), Some(Node::Folder));
        for path in ["a", "a/b"] {
            assert_eq!(folder.find(path), Some(Node::Folder), "{path}");
        }
        for path in ["b", "a/b/", "a/b/d", "e/f", "A"] {
            assert_eq!(folder.find(path), None, "{path}");
        }
        let Some(Node::File(at)) = folder.find("a/b/c") else { panic!() };
        assert_eq!(folder.file(at), b"a/b/c");
        assert_eq!(folder.names(""), [("a", true), ("ab", false), ("e", false)]);
        assert_eq!(folder.names("a"), [("b", true), ("b-c", false), ("d", false)]);
        assert_eq!(folder.names("a/b"), [("c", false)]);
        assert!(folder.names("e").is_empty());
    }
}
