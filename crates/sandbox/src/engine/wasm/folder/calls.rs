//! Calls of preview 1 about descriptors and paths, for stages that see their package's files. They take the place of
//! `wasmtime-wasi`'s, which know files of the machine only.

use wasmtime::{Caller, Linker};

use super::open::{Handle, ROOT};
use super::{Errno, Facts};
use crate::engine::wasm::guest;
use crate::engine::wasm::preview1::Host;

/// Most buffers of one read.
const BUFFERS_MAX: u32 = 1_024;

/// Rights of a file: to read, seek, tell, advise, and ask for its facts.
const FILE_RIGHTS: u64 = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 7 | 1 << 21;

/// Rights of a folder: to open, list, and ask for facts.
const FOLDER_RIGHTS: u64 = 1 << 13 | 1 << 14 | 1 << 18 | 1 << 21;

/// Rights of a stream: to read, write, and be waited for.
const STREAM_RIGHTS: u64 = 1 << 1 | 1 << 6 | 1 << 21 | 1 << 27;

/// The right to write, which whoever wants to write asks for.
const WRITE: u64 = 1 << 6;

/// Opening that would change something: make, make only, cut.
const CHANGES: u32 = 1 | 4 | 8;

/// Opening of folders only.
const FOLDER_ONLY: u32 = 2;

/// The name under which the folder is there.
const NAME: &[u8] = b"/";

/// The module that the calls are imported from.
const MODULE: &str = "wasi_snapshot_preview1";

type Guest<'a> = Caller<'a, Host>;

/// Puts the calls in the place of those that are there.
pub(in crate::engine::wasm) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.func_wrap(
        MODULE,
        "fd_advise",
        |caller: Guest<'_>, fd: u32, _: u64, _: u64, _: u32| {
            number(caller.data().open.handle(fd).map(|_| ()))
        },
    )?;
    linker.func_wrap(MODULE, "fd_close", |mut caller: Guest<'_>, fd: u32| {
        number(caller.data_mut().open.close(fd))
    })?;
    linker.func_wrap(MODULE, "fd_fdstat_get", |caller: Guest<'_>, fd: u32, to: u32| {
        number(descriptor(caller, fd, to))
    })?;
    linker.func_wrap(MODULE, "fd_fdstat_set_flags", |caller: Guest<'_>, fd: u32, _: u32| {
        number(caller.data().open.handle(fd).map(|_| ()))
    })?;
    linker.func_wrap(MODULE, "fd_filestat_get", |caller: Guest<'_>, fd: u32, to: u32| {
        let facts = caller.data().open.facts(fd);
        number(facts.and_then(|facts| put(caller, to, &filestat(&facts))))
    })?;
    readings(linker)?;
    paths(linker)
}

/// Calls that read what is open.
fn readings(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        MODULE,
        "fd_pread",
        |caller: Guest<'_>, fd: u32, buffers: u32, count: u32, at: u64, out: u32| {
            number(read(caller, fd, (buffers, count), Some(at), out))
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_read",
        |caller: Guest<'_>, fd: u32, buffers: u32, count: u32, out: u32| {
            number(read(caller, fd, (buffers, count), None, out))
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_readdir",
        |caller: Guest<'_>, fd: u32, to: u32, room: u32, cookie: u64, out: u32| {
            number(list(caller, fd, (to, room), cookie, out))
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_seek",
        |caller: Guest<'_>, fd: u32, offset: i64, whence: u32, out: u32| {
            number(seek(caller, fd, offset, whence, out))
        },
    )?;
    linker.func_wrap(MODULE, "fd_tell", |caller: Guest<'_>, fd: u32, out: u32| {
        // From where it stands, by nothing.
        number(seek(caller, fd, 0, 1, out))
    })?;
    Ok(())
}

/// Calls about the folder, and about paths in it.
fn paths(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "fd_prestat_get", |caller: Guest<'_>, fd: u32, to: u32| {
        let len = u32::try_from(NAME.len()).unwrap_or_default();
        // A folder, and how long its name is.
        let said = [[0; 4], len.to_le_bytes()].concat();
        number(root(&caller, fd).and_then(|()| put(caller, to, &said)))
    })?;
    linker.func_wrap(
        MODULE,
        "fd_prestat_dir_name",
        |caller: Guest<'_>, fd: u32, to: u32, room: u32| {
            let fits = usize::try_from(room).is_ok_and(|room| room >= NAME.len());
            let fits = if fits { Ok(()) } else { Err(Errno::NameTooLong) };
            number(root(&caller, fd).and(fits).and_then(|()| put(caller, to, NAME)))
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_filestat_get",
        |caller: Guest<'_>, fd: u32, _: u32, path: u32, len: u32, to: u32| {
            number(facts_at(caller, fd, (path, len), to))
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_open",
        |caller: Guest<'_>,
         fd: u32,
         _follow: u32,
         path: u32,
         len: u32,
         how: u32,
         rights: u64,
         _inherited: u64,
         _flags: u32,
         out: u32| { number(open(caller, fd, (path, len), (how, rights), out)) },
    )?;
    Ok(())
}

fn number(result: Result<(), Errno>) -> i32 {
    result.err().unwrap_or(Errno::Success) as i32
}

fn put(mut caller: Guest<'_>, to: u32, bytes: &[u8]) -> Result<(), Errno> {
    let memory = guest::memory(&mut caller).ok_or(Errno::Fault)?;
    guest::put(memory.data_mut(&mut caller), to, bytes).ok_or(Errno::Fault)
}

/// Whether this is the folder that is there from the beginning.
fn root(caller: &Guest<'_>, fd: u32) -> Result<(), Errno> {
    match caller.data().open.handle(fd) {
        Ok(Handle::Folder { path }) if fd == ROOT && path.is_empty() => Ok(()),
        _ => Err(Errno::BadDescriptor),
    }
}

fn descriptor(caller: Guest<'_>, fd: u32, to: u32) -> Result<(), Errno> {
    let open = &caller.data().open;
    let (own, inherited) = match open.handle(fd)? {
        Handle::Stream => (STREAM_RIGHTS, 0),
        Handle::Folder { .. } => (FOLDER_RIGHTS, FOLDER_RIGHTS | FILE_RIGHTS),
        Handle::File { .. } => (FILE_RIGHTS, 0),
    };
    let kind = u64::from(open.facts(fd)?.kind);
    let said = [kind, own, inherited].map(u64::to_le_bytes).concat();
    put(caller, to, &said)
}

/// 64 bytes: device, number, kind, links, length, and three times, all of them zero.
fn filestat(facts: &Facts) -> [u8; 64] {
    let mut said = [0; 64];
    let words = [0, facts.number, u64::from(facts.kind), 1, facts.len_bytes];
    for (to, from) in said.iter_mut().zip(words.iter().flat_map(|word| word.to_le_bytes())) {
        *to = from;
    }
    said
}

fn facts_at(mut caller: Guest<'_>, fd: u32, path: (u32, u32), to: u32) -> Result<(), Errno> {
    let memory = guest::memory(&mut caller).ok_or(Errno::Fault)?;
    let path = guest::bytes(memory.data(&caller), path.0, path.1).ok_or(Errno::Fault)?;
    let facts = caller.data().open.facts_at(fd, path)?;
    put(caller, to, &filestat(&facts))
}

fn open(
    mut caller: Guest<'_>,
    fd: u32,
    path: (u32, u32),
    (how, rights): (u32, u64),
    out: u32,
) -> Result<(), Errno> {
    if how & CHANGES != 0 || rights & WRITE != 0 {
        return Err(Errno::ReadOnly);
    }
    let memory = guest::memory(&mut caller).ok_or(Errno::Fault)?;
    let (data, host) = memory.data_and_store_mut(&mut caller);
    // Else it would be open, and nobody would know its number.
    guest::bytes(data, out, 4).ok_or(Errno::Fault)?;
    let path = guest::bytes(data, path.0, path.1).ok_or(Errno::Fault)?;
    let opened = host.open.open(fd, path, how & FOLDER_ONLY != 0)?;
    guest::put(data, out, &opened.to_le_bytes()).ok_or(Errno::Fault)
}

fn seek(mut caller: Guest<'_>, fd: u32, offset: i64, whence: u32, out: u32) -> Result<(), Errno> {
    let stands = caller.data_mut().open.seek(fd, offset, whence)?;
    put(caller, out, &stands.to_le_bytes())
}

/// Reads into the guest's buffers, in order, as far as they and the bytes go.
fn read(
    mut caller: Guest<'_>,
    fd: u32,
    (buffers, count): (u32, u32),
    at: Option<u64>,
    out: u32,
) -> Result<(), Errno> {
    if count > BUFFERS_MAX {
        return Err(Errno::Invalid);
    }
    let memory = guest::memory(&mut caller).ok_or(Errno::Fault)?;
    let (data, host) = memory.data_and_store_mut(&mut caller);
    guest::bytes(data, out, 4).ok_or(Errno::Fault)?;
    let described = guest::bytes(data, buffers, count.saturating_mul(8)).ok_or(Errno::Fault)?;
    let (words, _) = described.as_chunks::<4>();
    let words: Vec<u32> = words.iter().copied().map(u32::from_le_bytes).collect();
    let mut rest = host.open.rest(fd, at)?;
    let mut done = 0_usize;
    let (buffers, _) = words.as_chunks::<2>();
    for [to, room] in buffers {
        guest::bytes(data, *to, *room).ok_or(Errno::Fault)?;
        let len = usize::try_from(*room).unwrap_or(usize::MAX).min(rest.len());
        let (now, later) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        guest::put(data, *to, now).ok_or(Errno::Fault)?;
        done = done.saturating_add(len);
        rest = later;
    }
    if at.is_none() {
        host.open.advance(fd, done);
    }
    let done = u32::try_from(done).map_err(|_| Errno::Invalid)?;
    guest::put(data, out, &done.to_le_bytes()).ok_or(Errno::Fault)
}

/// Writes the names of a folder from this one on, as far as there is room; one that is cut off says that there are more.
fn list(
    mut caller: Guest<'_>,
    fd: u32,
    (to, room): (u32, u32),
    cookie: u64,
    out: u32,
) -> Result<(), Errno> {
    let names = caller.data().open.names(fd)?;
    let memory = guest::memory(&mut caller).ok_or(Errno::Fault)?;
    let data = memory.data_mut(&mut caller);
    guest::bytes(data, to, room).ok_or(Errno::Fault)?;
    let most = usize::try_from(room).map_err(|_| Errno::Fault)?;
    let from = usize::try_from(cookie).unwrap_or(usize::MAX);
    let mut said = Vec::new();
    for (at, (name, facts)) in names.iter().enumerate().skip(from) {
        let next = (at as u64).saturating_add(1);
        let len = u32::try_from(name.len()).map_err(|_| Errno::NameTooLong)?;
        said.extend_from_slice(&next.to_le_bytes());
        said.extend_from_slice(&facts.number.to_le_bytes());
        said.extend_from_slice(&len.to_le_bytes());
        said.extend_from_slice(&[facts.kind, 0, 0, 0]);
        said.extend_from_slice(name.as_bytes());
        if said.len() >= most {
            said.truncate(most);
            break;
        }
    }
    let len = u32::try_from(said.len()).map_err(|_| Errno::Fault)?;
    guest::put(data, to, &said).ok_or(Errno::Fault)?;
    guest::put(data, out, &len.to_le_bytes()).ok_or(Errno::Fault)
}
