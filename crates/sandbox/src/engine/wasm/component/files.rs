//! `wasi:filesystem` for components: the package's folder at `/`, where the contract imports it, and nothing else.
//!
//! The folder is the one that plain stages have ([`crate::engine::wasm::folder`]): bytes in memory, no file of the machine
//! behind any of them. Its types are wasmtime's, its calls are ours: a handle of the guest stands for a [`Handle`] in the
//! call's table, which bounds how many there are.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types as shared};
use wasmtime_wasi::p2::bindings::sync::filesystem::types;
use wasmtime_wasi::p2::bindings::sync::io::streams;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::p2::{FsError, FsResult};

use super::blob::INLINE_MAX_BYTES;
use super::world::World;
use crate::engine::wasm::folder::{Errno, Facts, Folder, Node};

/// The name under which the folder is there.
const NAME: &str = "/";

/// How the kind of a file is numbered in [`Facts`].
const FILE: u8 = 4;

type Fd = Resource<types::Descriptor>;
type Listing = Resource<types::DirectoryEntryStream>;

/// Makes the package's folder available, where there is one.
pub(super) fn add_to_linker(linker: &mut Linker<World>) -> wasmtime::Result<()> {
    types::add_to_linker::<World, Place>(linker, World::files)?;
    preopens::add_to_linker::<World, Place>(linker, World::files)
}

struct Place;

impl HasData for Place {
    type Data<'a> = Files<'a>;
}

/// What a call sees of files.
pub(super) struct Files<'a> {
    pub(super) folder: Option<&'a Arc<Folder>>,
    pub(super) table: &'a mut ResourceTable,
}

/// Something open.
#[derive(Clone)]
struct Handle {
    path: String,
    node: Node,
}

/// A folder that is being listed, and how far. Lists themselves are not kept: a guest may hold many.
struct Names {
    path: String,
    next: usize,
}

impl Files<'_> {
    fn folder(&self) -> FsResult<Arc<Folder>> {
        // Without a folder nobody has a descriptor.
        self.folder.cloned().ok_or_else(|| refused(Errno::BadDescriptor))
    }

    fn push(&mut self, handle: Handle) -> wasmtime::Result<Fd> {
        // The table refuses when it is full, which ends the guest.
        Ok(Resource::new_own(self.table.push(handle)?.rep()))
    }

    fn handle(&self, fd: &Fd) -> FsResult<Handle> {
        let handle = self.table.get(&Resource::<Handle>::new_borrow(fd.rep()));
        Ok(handle.map_err(trap)?.clone())
    }

    /// Where a path leads from here.
    fn at(&self, fd: &Fd, path: &str) -> FsResult<Handle> {
        let Handle { path: base, node: Node::Folder } = self.handle(fd)? else {
            return Err(refused(Errno::NotFolder));
        };
        let (path, node) = self.folder()?.resolve(&base, path.as_bytes()).map_err(refused)?;
        Ok(Handle { path, node })
    }

    fn facts(&self, handle: &Handle) -> FsResult<Facts> {
        Ok(self.folder()?.facts(&handle.path, &handle.node))
    }

    /// What a file has from this place on.
    fn rest(&self, fd: &Fd, offset: u64) -> FsResult<wasmtime_wasi_io::bytes::Bytes> {
        let Handle { node: Node::File(place), .. } = self.handle(fd)? else {
            return Err(refused(Errno::IsFolder));
        };
        let bytes = self.folder()?.bytes(place);
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes.slice(from..))
    }

    /// The answer to everything that would change something at a path, or at what is open.
    fn unchanged<T>(&self, fd: &Fd) -> FsResult<T> {
        self.handle(fd)?;
        Err(refused(Errno::ReadOnly))
    }
}

fn trap(error: impl Into<wasmtime::Error>) -> FsError {
    FsError::trap(error)
}

fn refused(errno: Errno) -> FsError {
    match errno {
        Errno::BadDescriptor => shared::ErrorCode::BadDescriptor,
        Errno::IsFolder => shared::ErrorCode::IsDirectory,
        Errno::NameTooLong => shared::ErrorCode::NameTooLong,
        Errno::NoEntry => shared::ErrorCode::NoEntry,
        Errno::NotFolder => shared::ErrorCode::NotDirectory,
        Errno::NotPermitted => shared::ErrorCode::NotPermitted,
        Errno::ReadOnly => shared::ErrorCode::ReadOnly,
        _ => shared::ErrorCode::Invalid,
    }
    .into()
}

fn kind(facts: &Facts) -> types::DescriptorType {
    match facts.kind {
        FILE => types::DescriptorType::RegularFile,
        _ => types::DescriptorType::Directory,
    }
}

fn stat(facts: &Facts) -> types::DescriptorStat {
    // As plain stages see it: one name, and all times zero.
    let zero = Some(Datetime { seconds: 0, nanoseconds: 0 });
    types::DescriptorStat {
        type_: kind(facts),
        link_count: 1,
        size: facts.len_bytes,
        data_access_timestamp: zero,
        data_modification_timestamp: zero,
        status_change_timestamp: zero,
    }
}

const fn hash(facts: &Facts) -> types::MetadataHashValue {
    types::MetadataHashValue { lower: facts.number, upper: 0 }
}

impl preopens::Host for Files<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Fd, String)>> {
        if self.folder.is_none() {
            return Ok(Vec::new());
        }
        let root = self.push(Handle { path: String::new(), node: Node::Folder })?;
        Ok(vec![(root, NAME.to_owned())])
    }
}

impl types::Host for Files<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<types::ErrorCode> {
        Ok(error.downcast()?.into())
    }

    fn filesystem_error_code(
        &mut self,
        _error: Resource<streams::Error>,
    ) -> wasmtime::Result<Option<types::ErrorCode>> {
        // Reading bytes in memory does not fail.
        Ok(None)
    }
}

impl types::HostDirectoryEntryStream for Files<'_> {
    fn read_directory_entry(&mut self, names: Listing) -> FsResult<Option<types::DirectoryEntry>> {
        let folder = self.folder()?;
        let names = self.table.get_mut(&Resource::<Names>::new_borrow(names.rep()));
        let names = names.map_err(trap)?;
        let found = folder.names(&names.path).into_iter().nth(names.next);
        names.next = names.next.saturating_add(1);
        Ok(found.map(|(name, is_folder)| types::DirectoryEntry {
            type_: match is_folder {
                true => types::DescriptorType::Directory,
                false => types::DescriptorType::RegularFile,
            },
            name: name.to_owned(),
        }))
    }

    fn drop(&mut self, names: Listing) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Names>::new_own(names.rep()))?;
        Ok(())
    }
}

impl types::HostDescriptor for Files<'_> {
    fn read_via_stream(&mut self, fd: Fd, offset: u64) -> FsResult<Resource<streams::InputStream>> {
        let pipe: streams::InputStream = Box::new(MemoryInputPipe::new(self.rest(&fd, offset)?));
        self.table.push(pipe).map_err(trap)
    }

    fn read(&mut self, fd: Fd, len: u64, offset: u64) -> FsResult<(Vec<u8>, bool)> {
        let rest = self.rest(&fd, offset)?;
        let most = usize::try_from(len).unwrap_or(usize::MAX).min(INLINE_MAX_BYTES);
        let now = rest.get(..most).unwrap_or(&rest);
        Ok((now.to_vec(), now.len() == rest.len()))
    }

    fn read_directory(&mut self, fd: Fd) -> FsResult<Listing> {
        let Handle { path, node: Node::Folder } = self.handle(&fd)? else {
            return Err(refused(Errno::NotFolder));
        };
        let names = self.table.push(Names { path, next: 0 }).map_err(trap)?;
        Ok(Resource::new_own(names.rep()))
    }

    fn open_at(
        &mut self,
        fd: Fd,
        _follow: types::PathFlags,
        path: String,
        how: types::OpenFlags,
        flags: types::DescriptorFlags,
    ) -> FsResult<Fd> {
        let changes =
            types::OpenFlags::CREATE | types::OpenFlags::EXCLUSIVE | types::OpenFlags::TRUNCATE;
        if how.intersects(changes) || flags.contains(types::DescriptorFlags::WRITE) {
            return self.unchanged(&fd);
        }
        let found = self.at(&fd, &path)?;
        if how.contains(types::OpenFlags::DIRECTORY) && found.node != Node::Folder {
            return Err(refused(Errno::NotFolder));
        }
        self.push(found).map_err(trap)
    }

    fn drop(&mut self, fd: Fd) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Handle>::new_own(fd.rep()))?;
        Ok(())
    }

    fn get_flags(&mut self, fd: Fd) -> FsResult<types::DescriptorFlags> {
        self.handle(&fd)?;
        Ok(types::DescriptorFlags::READ)
    }

    fn get_type(&mut self, fd: Fd) -> FsResult<types::DescriptorType> {
        let handle = self.handle(&fd)?;
        Ok(kind(&self.facts(&handle)?))
    }

    fn stat(&mut self, fd: Fd) -> FsResult<types::DescriptorStat> {
        let handle = self.handle(&fd)?;
        Ok(stat(&self.facts(&handle)?))
    }

    fn stat_at(
        &mut self,
        fd: Fd,
        _follow: types::PathFlags,
        path: String,
    ) -> FsResult<types::DescriptorStat> {
        let handle = self.at(&fd, &path)?;
        Ok(stat(&self.facts(&handle)?))
    }

    fn metadata_hash(&mut self, fd: Fd) -> FsResult<types::MetadataHashValue> {
        let handle = self.handle(&fd)?;
        Ok(hash(&self.facts(&handle)?))
    }

    fn metadata_hash_at(
        &mut self,
        fd: Fd,
        _follow: types::PathFlags,
        path: String,
    ) -> FsResult<types::MetadataHashValue> {
        let handle = self.at(&fd, &path)?;
        Ok(hash(&self.facts(&handle)?))
    }

    fn is_same_object(&mut self, one: Fd, other: Fd) -> wasmtime::Result<bool> {
        let path = |fd: &Fd| self.handle(fd).map(|handle| handle.path);
        match (path(&one), path(&other)) {
            (Ok(one), Ok(other)) => Ok(one == other),
            _ => Err(wasmtime::Error::msg("no such descriptor")),
        }
    }

    fn readlink_at(&mut self, fd: Fd, path: String) -> FsResult<String> {
        // A package has no links.
        self.at(&fd, &path)?;
        Err(refused(Errno::Invalid))
    }

    fn advise(&mut self, fd: Fd, _: u64, _: u64, _: types::Advice) -> FsResult<()> {
        self.handle(&fd).map(drop)
    }

    fn sync_data(&mut self, fd: Fd) -> FsResult<()> {
        self.handle(&fd).map(drop)
    }

    fn sync(&mut self, fd: Fd) -> FsResult<()> {
        self.handle(&fd).map(drop)
    }

    // Everything from here on would change something.

    fn write_via_stream(&mut self, fd: Fd, _: u64) -> FsResult<Resource<streams::OutputStream>> {
        self.unchanged(&fd)
    }

    fn append_via_stream(&mut self, fd: Fd) -> FsResult<Resource<streams::OutputStream>> {
        self.unchanged(&fd)
    }

    fn set_size(&mut self, fd: Fd, _: u64) -> FsResult<()> {
        self.unchanged(&fd)
    }

    fn set_times(
        &mut self,
        fd: Fd,
        _: types::NewTimestamp,
        _: types::NewTimestamp,
    ) -> FsResult<()> {
        self.unchanged(&fd)
    }

    fn write(&mut self, fd: Fd, _: Vec<u8>, _: u64) -> FsResult<u64> {
        self.unchanged(&fd)
    }

    fn create_directory_at(&mut self, fd: Fd, _: String) -> FsResult<()> {
        self.unchanged(&fd)
    }

    fn set_times_at(
        &mut self,
        fd: Fd,
        _: types::PathFlags,
        _: String,
        _: types::NewTimestamp,
        _: types::NewTimestamp,
    ) -> FsResult<()> {
        self.unchanged(&fd)
    }

    fn link_at(
        &mut self,
        fd: Fd,
        _: types::PathFlags,
        _: String,
        _: Fd,
        _: String,
    ) -> FsResult<()> {
        self.unchanged(&fd)
    }

    fn remove_directory_at(&mut self, fd: Fd, _: String) -> FsResult<()> {
        self.unchanged(&fd)
    }

    fn rename_at(&mut self, fd: Fd, _: String, _: Fd, _: String) -> FsResult<()> {
        self.unchanged(&fd)
    }

    fn symlink_at(&mut self, fd: Fd, _: String, _: String) -> FsResult<()> {
        self.unchanged(&fd)
    }

    fn unlink_file_at(&mut self, fd: Fd, _: String) -> FsResult<()> {
        self.unchanged(&fd)
    }
}
