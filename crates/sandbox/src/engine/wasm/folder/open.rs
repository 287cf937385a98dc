//! What a record has open: stdin, stdout, stderr, the folder, and what it opened in it.

use std::sync::Arc;

use super::{Errno, Facts, Folder, Node};

/// Most files and folders that a record has open beside the first, which is always there.
const OPEN_MAX: usize = 64;

/// The folder's descriptor: the first behind stdin, stdout and stderr, where programs look for it.
pub(super) const ROOT: u32 = 3;

/// Something open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Handle {
    /// stdin, stdout, stderr.
    Stream,
    Folder {
        path: String,
    },
    File {
        place: usize,
        at: u64,
    },
}

/// What a record has open.
pub(in crate::engine::wasm) struct Open {
    folder: Option<Arc<Folder>>,
    input: Vec<u8>,
    input_at: usize,
    /// By number, from [`ROOT`] on.
    handles: Vec<Option<Handle>>,
}

impl Open {
    /// Nothing but the folder; `input` is what stdin gives.
    pub(in crate::engine::wasm) fn new(folder: Option<Arc<Folder>>, input: Vec<u8>) -> Self {
        let root = Handle::Folder { path: String::new() };
        Self { folder, input, input_at: 0, handles: vec![Some(root)] }
    }

    pub(super) fn handle(&self, fd: u32) -> Result<&Handle, Errno> {
        if fd < ROOT {
            return Ok(&Handle::Stream);
        }
        let place = usize::try_from(fd - ROOT).map_err(|_| Errno::BadDescriptor)?;
        self.handles.get(place).and_then(Option::as_ref).ok_or(Errno::BadDescriptor)
    }

    fn handle_mut(&mut self, fd: u32) -> Option<&mut Handle> {
        let place = usize::try_from(fd.checked_sub(ROOT)?).ok()?;
        self.handles.get_mut(place)?.as_mut()
    }

    pub(super) fn close(&mut self, fd: u32) -> Result<(), Errno> {
        self.handle(fd)?;
        let place = fd.checked_sub(ROOT).and_then(|place| usize::try_from(place).ok());
        // Streams stay: stdout is read when the record is over.
        if let Some(handle) = place.and_then(|place| self.handles.get_mut(place)) {
            *handle = None;
        }
        Ok(())
    }

    /// Where a path leads from a folder that is open, without dots.
    fn resolve(&self, fd: u32, path: &[u8]) -> Result<(String, Node), Errno> {
        let Handle::Folder { path: base } = self.handle(fd)? else { return Err(Errno::NotFolder) };
        let folder = self.folder.as_ref().ok_or(Errno::BadDescriptor)?;
        folder.resolve(base, path)
    }

    /// Opens what is at this path for reading.
    pub(super) fn open(&mut self, fd: u32, path: &[u8], wants_folder: bool) -> Result<u32, Errno> {
        let handle = match self.resolve(fd, path)? {
            (path, Node::Folder) => Handle::Folder { path },
            (_, Node::File(_)) if wants_folder => return Err(Errno::NotFolder),
            (_, Node::File(place)) => Handle::File { place, at: 0 },
        };
        let free = self.handles.iter().position(Option::is_none);
        let place = free.unwrap_or(self.handles.len());
        if place > OPEN_MAX {
            return Err(Errno::TooManyOpen);
        }
        let number = u32::try_from(place).map_err(|_| Errno::TooManyOpen)?;
        match self.handles.get_mut(place) {
            Some(slot) => *slot = Some(handle),
            None => self.handles.push(Some(handle)),
        }
        Ok(number.saturating_add(ROOT))
    }

    /// What is left to read of something open, from this place on or from where it stands.
    pub(super) fn rest(&self, fd: u32, at: Option<u64>) -> Result<&[u8], Errno> {
        match (self.handle(fd)?, at) {
            (Handle::Folder { .. }, _) => Err(Errno::IsFolder),
            (Handle::Stream, Some(_)) => Err(Errno::NoSeek),
            (Handle::Stream, None) if fd == 0 => {
                Ok(self.input.get(self.input_at..).unwrap_or_default())
            }
            (Handle::Stream, None) => Err(Errno::BadDescriptor),
            (Handle::File { place, at: stands }, at) => {
                let bytes = self.folder.as_ref().map_or(&[][..], |folder| folder.file(*place));
                let from = usize::try_from(at.unwrap_or(*stands)).unwrap_or(usize::MAX);
                Ok(bytes.get(from..).unwrap_or_default())
            }
        }
    }

    /// So much of it was read.
    pub(super) fn advance(&mut self, fd: u32, by: usize) {
        if fd == 0 {
            self.input_at = self.input_at.saturating_add(by);
        } else if let Some(Handle::File { at, .. }) = self.handle_mut(fd) {
            *at = at.saturating_add(by as u64);
        }
    }

    /// Moves where a file stands; says where that is.
    pub(super) fn seek(&mut self, fd: u32, offset: i64, whence: u32) -> Result<u64, Errno> {
        let len_bytes = self.facts(fd)?.len_bytes;
        let stands = match self.handle(fd)? {
            Handle::Stream => return Err(Errno::NoSeek),
            Handle::Folder { .. } => return Err(Errno::IsFolder),
            Handle::File { at, .. } => *at,
        };
        let base = match whence {
            0 => 0,
            1 => stands,
            2 => len_bytes,
            _ => return Err(Errno::Invalid),
        };
        let to = base.checked_add_signed(offset).ok_or(Errno::Invalid)?;
        if let Some(Handle::File { at, .. }) = self.handle_mut(fd) {
            *at = to;
        }
        Ok(to)
    }

    pub(super) fn facts(&self, fd: u32) -> Result<Facts, Errno> {
        match self.handle(fd)? {
            Handle::Stream => Ok(Facts { kind: 0, number: u64::from(fd), len_bytes: 0 }),
            Handle::Folder { path } => Ok(Facts::of(path, None)),
            Handle::File { place, .. } => {
                let folder = self.folder.as_ref().ok_or(Errno::BadDescriptor)?;
                Ok(folder.facts("", &Node::File(*place)))
            }
        }
    }

    /// What is known of what a path leads to.
    pub(super) fn facts_at(&self, fd: u32, path: &[u8]) -> Result<Facts, Errno> {
        let (path, node) = self.resolve(fd, path)?;
        let folder = self.folder.as_ref().ok_or(Errno::BadDescriptor)?;
        Ok(folder.facts(&path, &node))
    }

    /// The names in a folder that is open, itself and the one around it first.
    pub(super) fn names(&self, fd: u32) -> Result<Vec<(String, Facts)>, Errno> {
        let Handle::Folder { path } = self.handle(fd)? else { return Err(Errno::NotFolder) };
        let folder = self.folder.as_ref().ok_or(Errno::BadDescriptor)?;
        let around = path.rsplit_once('/').map_or("", |(around, _)| around);
        let own =
            [(".".to_owned(), Facts::of(path, None)), ("..".to_owned(), Facts::of(around, None))];
        let found = folder.names(path).into_iter().map(|(name, is_folder)| {
            let full = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            (name.to_owned(), Facts::of(&full, (!is_folder).then_some(0)))
        });
        Ok(own.into_iter().chain(found).collect())
    }
}
