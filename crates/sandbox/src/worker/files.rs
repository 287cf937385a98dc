//! Files of a package as a worker sees them: a read-only descriptor and what the manifest says about it.

use std::fs::File;
use std::io::Read;

use guildhall_protocol::hash::Hash;
use guildhall_protocol::manifest::FileEntry;

use crate::failure::Failure;
use crate::formats;

/// Bytes read at once while hashing: large enough that system calls do not count, small enough for a worker's stack
/// of limits.
const CHUNK_BYTES: usize = 64 * 1024;

/// Checks length, hash and format of a file, without keeping it.
pub(super) fn check(file: File, entry: &FileEntry) -> Result<(), Failure> {
    let mut head = Vec::new();
    let mut last = None;
    read(file, entry, |chunk| {
        let missing = formats::HEAD_BYTES.saturating_sub(head.len());
        head.extend(chunk.iter().take(missing));
        last = chunk.last().copied().or(last);
    })?;
    match formats::refusal(entry, &head, last) {
        Some(why) => Err(Failure::RefusedFormat { file: entry.name.to_string(), why }),
        None => Ok(()),
    }
}

/// Reads a whole file of at most `max_bytes` and checks that it is what the manifest says.
pub(super) fn load(file: File, entry: &FileEntry, max_bytes: u64) -> Result<Vec<u8>, Failure> {
    if entry.len_bytes > max_bytes {
        let why = format!("{} bytes of code, at most {max_bytes} are taken", entry.len_bytes);
        return Err(Failure::RefusedFormat { file: entry.name.to_string(), why });
    }
    let mut bytes = Vec::new();
    read(file, entry, |chunk| bytes.extend_from_slice(chunk))?;
    Ok(bytes)
}

/// Hands out the file in chunks and fails unless its length and hash are the entry's.
fn read(file: File, entry: &FileEntry, mut each: impl FnMut(&[u8])) -> Result<(), Failure> {
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
