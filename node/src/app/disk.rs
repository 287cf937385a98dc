//! Room on the disk: what comes from others is refused before the disk is full. A database that meets a full disk can
//! do nothing any more, not even forget something.

use std::path::Path;

use tracing::warn;

/// Bytes that content never takes: room for records, receipts and a transaction that copies its pages.
pub(super) const RESERVE_BYTES: u64 = 512 * 1024 * 1024;

/// The room of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Bytes that may be written.
    pub(super) free_bytes: u64,
    /// Bytes altogether.
    pub(super) all_bytes: u64,
}

/// The room on the disk of `folder`, if the system tells.
pub(super) fn room(folder: &Path) -> Option<Room> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(Room {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        all_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
    })
}

/// Of the disk of `folder` what is free, what there is, and what content leaves, bytes; if the system tells.
pub(crate) fn disk_room(folder: &Path) -> Option<(u64, u64, u64)> {
    let Room { free_bytes, all_bytes } = room(folder)?;
    Some((free_bytes, all_bytes, RESERVE_BYTES))
}

/// Whether `needed_bytes` fit on the disk of `folder` and leave the reserve free.
pub(super) fn check_room(folder: &Path, needed_bytes: u64) -> Result<(), Full> {
    match rustix::fs::statvfs(folder) {
        Ok(stat) => check(stat.f_bavail.saturating_mul(stat.f_frsize), needed_bytes),
        Err(error) => {
            // Not knowing is no reason to refuse everything; a write that fails says so itself.
            warn!(%error, folder = %folder.display(), "the room on the disk is not known");
            Ok(())
        }
    }
}

fn check(free_bytes: u64, needed_bytes: u64) -> Result<(), Full> {
    match free_bytes.checked_sub(needed_bytes) {
        Some(left) if left >= RESERVE_BYTES => Ok(()),
        _ => Err(Full { free_bytes, needed_bytes }),
    }
}

/// The disk has no room for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the disk has {free_bytes} bytes free, of which {RESERVE_BYTES} stay free; {needed_bytes} more do not fit"
)]
pub(crate) struct Full {
    free_bytes: u64,
    needed_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_never_given_away() {
        assert_eq!(check(RESERVE_BYTES, 0), Ok(()));
        assert_eq!(check(RESERVE_BYTES + 9, 9), Ok(()));
        for (free_bytes, needed_bytes) in
            [(RESERVE_BYTES - 1, 0), (RESERVE_BYTES + 9, 10), (5, 10), (u64::MAX, u64::MAX)]
        {
            assert_eq!(check(free_bytes, needed_bytes), Err(Full { free_bytes, needed_bytes }));
        }
    }

    #[test]
    fn a_real_disk_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_room(folder.path(), u64::MAX).is_err());
    }
}
