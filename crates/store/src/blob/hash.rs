//! Hashing a file with several threads: each takes the next piece, reads it a slice at a time, and hashes the slice
//! while it is in the processor's cache.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use guildhall_protocol::tree::{self, Cv, Shape, Span};

use crate::error::BlobError;

/// Most threads that hash one file. More would only take processors from the rest of the node.
pub const HASH_THREADS_MAX: usize = 8;

/// What is read, hashed and perhaps written at a time: small enough to stay in the second-level cache in between,
/// large enough that system calls cost nothing beside it.
const SLICE_BYTES: usize = 256 * 1024;

/// Bytes at offsets: a file, or what is elsewhere.
pub(crate) trait Source: fmt::Debug + Send + Sync {
    /// Fills `out` from `offset` on.
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;

    /// How much is best read at a time, bytes: a divisor of a piece.
    fn slice_bytes(&self) -> usize {
        SLICE_BYTES
    }
}

impl Source for File {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, out, offset)
    }
}

/// What happens to slices and pieces on the way.
pub(crate) trait Visit: Sync {
    /// A slice was read. Stops everything with an error.
    fn slice(&self, offset: u64, bytes: &[u8]) -> Result<(), BlobError>;

    /// A piece was read whole: the CVs of its groups. In no order.
    fn piece(&self, index: u64, groups: Vec<Cv>) -> Result<(), BlobError>;
}

/// Reads all pieces of `file` and shows them to `visit`. The file must have more than one group.
pub(crate) fn hash_file(
    file: &dyn Source,
    path: &Path,
    shape: Shape,
    visit: &impl Visit,
) -> Result<(), BlobError> {
    let pieces = shape.pieces();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(HASH_THREADS_MAX);
    let threads = usize::try_from(pieces).unwrap_or(usize::MAX).min(threads);
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let failed = Mutex::new(None);
    let work = || {
        let mut buffer = vec![0; file.slice_bytes()];
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= pieces {
                break;
            }
            let done = hash_piece(file, path, shape.piece(index), &mut buffer, visit);
            if let Err(error) = done.and_then(|groups| visit.piece(index, groups)) {
                stop.store(true, Ordering::Relaxed);
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn hash_piece(
    file: &dyn Source,
    path: &Path,
    span: Span,
    buffer: &mut [u8],
    visit: &impl Visit,
) -> Result<Vec<Cv>, BlobError> {
    let mut groups = Vec::with_capacity(usize::try_from(span.groups()).unwrap_or(0));
    let (mut offset, end) = (span.offset, span.offset.saturating_add(span.len_bytes));
    while offset < end {
        let len = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(buffer.len());
        let slice = buffer.get_mut(..len).unwrap_or_default();
        file.read_exact_at(slice, offset).map_err(BlobError::io(path))?;
        visit.slice(offset, slice)?;
        groups.extend(tree::group_cvs(offset, slice));
        offset = offset.saturating_add(len as u64);
    }
    Ok(groups)
}

/// The CVs of the groups of one piece in a file.
pub(crate) fn groups_of(file: &dyn Source, path: &Path, span: Span) -> Result<Vec<Cv>, BlobError> {
    hash_piece(file, path, span, &mut vec![0; file.slice_bytes()], &Ignore)
}

/// Looks at nothing.
struct Ignore;

impl Visit for Ignore {
    fn slice(&self, _: u64, _: &[u8]) -> Result<(), BlobError> {
        Ok(())
    }

    fn piece(&self, _: u64, _: Vec<Cv>) -> Result<(), BlobError> {
        Ok(())
    }
}
