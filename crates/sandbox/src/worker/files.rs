//! Files of a package as a worker sees them: a read-only descriptor and what the manifest says about it.

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};

use guildhall_protocol::facts::Facts;
use guildhall_protocol::hash::Hash;
use guildhall_protocol::manifest::{FileEntry, Kind};
use guildhall_protocol::name::FileName;

use crate::failure::Failure;
use crate::formats::{self, Source, Subject};
use crate::message::Role;

/// Bytes read at once while hashing: large enough that system calls do not count, small enough for a worker's stack
/// of limits.
const CHUNK_BYTES: usize = 64 * 1024;

/// Checks length, hash, format and structure of a file, without keeping it.
pub(super) fn check(
    file: &File,
    entry: &FileEntry,
    kind: Kind,
    role: Role,
) -> Result<Facts, Failure> {
    read(file, entry, |_| {})?;
    let subject =
        Subject { name: &entry.name, media_type: &entry.media_type, kind: Some(kind), role };
    formats::examine(&subject, &Source::of_file(file, entry.len_bytes))
}

/// Checks format and structure of a file that no manifest describes yet. What it will be for is not known, so formats are
/// refused only where no purpose would allow them.
pub(super) fn examine(
    mut file: &File,
    name: &FileName,
    media_type: &str,
    kind: Option<Kind>,
) -> Result<Facts, Failure> {
    let len_bytes = file
        .seek(SeekFrom::End(0))
        .map_err(|error| Failure::MissingFile { file: name.to_string(), why: error.to_string() })?;
    let subject = Subject { name, media_type, kind, role: Role::Named };
    formats::examine(&subject, &Source::of_file(file, len_bytes))
}

/// Reads a whole file of at most `max_bytes` and checks that it is what the manifest says.
pub(super) fn load(file: &File, entry: &FileEntry, max_bytes: u64) -> Result<Vec<u8>, Failure> {
    if entry.len_bytes > max_bytes {
        let why = format!("{} bytes of code, at most {max_bytes} are taken", entry.len_bytes);
        let file = entry.name.to_string();
        return Err(Failure::RefusedFormat { file, why, offset: None, help: None });
    }
    let mut bytes = Vec::new();
    read(file, entry, |chunk| bytes.extend_from_slice(chunk))?;
    Ok(bytes)
}

/// Reads a whole file that the node vouches for.
pub(super) fn read_all(mut file: &File) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    match file.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Failure::Internal { why: format!("reading compiled code: {error}") }),
    }
}

/// Hands out the file in chunks and fails unless its length and hash are the entry's.
fn read(file: &File, entry: &FileEntry, mut each: impl FnMut(&[u8])) -> Result<(), Failure> {
    let mismatch = |why: String| Failure::FileMismatch { file: entry.name.to_string(), why };
    // One byte more than it should have shows that it is too long, without reading the rest.
    let mut file = file.take(entry.len_bytes.saturating_add(1));
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut len_bytes = 0_u64;
    loop {
        let len = file.read(&mut buffer).map_err(|error| Failure::MissingFile {
            file: entry.name.to_string(),
            why: error.to_string(),
        })?;
        let chunk = buffer.get(..len).unwrap_or_default();
        if chunk.is_empty() {
            break;
        }
        len_bytes += chunk.len() as u64;
        hasher.update(chunk);
        each(chunk);
    }
    if len_bytes > entry.len_bytes {
        return Err(mismatch(format!("it is longer than {} bytes", entry.len_bytes)));
    }
    if len_bytes < entry.len_bytes {
        return Err(mismatch(format!("{len_bytes} bytes instead of {}", entry.len_bytes)));
    }
    let found = Hash::from(hasher.finalize());
    if found != entry.hash {
        return Err(mismatch(format!("its hash is {found}")));
    }
    Ok(())
}
