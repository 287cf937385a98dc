//! Code that would not compile, so that it is not tried again and again.
//!
//! Kept in memory and in one small file, so that a restart does not pay for it again. What the code itself is to blame
//! for is remembered long; what a busy machine may be to blame for is forgotten soon, so that its mistakes heal.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use guildhall_protocol::cbor;
use guildhall_protocol::hash::Hash;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Most failures that are remembered; the one to be forgotten first makes room. About a megabyte with the longest texts.
const FAILURES_MAX: usize = 1_024;

/// Longest file that is read back, bytes.
const FILE_MAX_BYTES: usize = 4 << 20;

/// How long invalid code is remembered, seconds: a week. It stays invalid for this engine, and the key names the engine.
const INVALID_SECONDS: u64 = 7 * 24 * 3600;

/// How long code is remembered that took too much time or memory, seconds: an hour. A machine that was very busy refuses
/// honest code for no longer, and a bomb costs ten seconds an hour.
const TOO_MUCH_SECONDS: u64 = 3600;

/// How long code is remembered whose compiler died, seconds: ten minutes. It may have been the kernel's choice of what to
/// kill.
const DIED_SECONDS: u64 = 600;

/// Name of the file.
const FILE: &str = "failures.cbor";

/// What the sealing key of the file is derived for.
const SEAL_CONTEXT: &str = "guildhall 1 seal of compile failures";

/// Length of the seal before the rows, bytes.
const SEAL_BYTES: usize = 32;

/// The memory of failures.
#[derive(Debug)]
pub(super) struct Failures {
    /// Folder and sealing key, if there is a file.
    file: Option<(PathBuf, [u8; 32])>,
    rows: Mutex<BTreeMap<Hash, Row>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    key: Hash,
    failure: Failure,
    /// Seconds since 1970.
    until: u64,
}

impl Failures {
    /// A memory that ends with this process.
    pub(super) const fn in_memory() -> Self {
        Self { file: None, rows: Mutex::new(BTreeMap::new()) }
    }

    /// A memory with a file. One that is damaged or not this node's is forgotten.
    pub(super) fn open(folder: PathBuf, key: &[u8; 32]) -> Self {
        let sealing_key = blake3::derive_key(SEAL_CONTEXT, key);
        let rows = match read(&folder, &sealing_key) {
            Ok(rows) => rows,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::info!(%error, "remembered compile failures are forgotten");
                Vec::new()
            }
        };
        let rows = rows.into_iter().take(FAILURES_MAX).map(|row| (row.key, row)).collect();
        Self { file: Some((folder, sealing_key)), rows: Mutex::new(rows) }
    }

    /// What this code failed with, if that still counts.
    pub(super) fn find(&self, key: &Hash) -> Option<Failure> {
        self.find_at(key, now())
    }

    /// Remembers a failure, if it is one that would come again.
    pub(super) fn remember(&self, key: Hash, failure: &Failure) {
        self.remember_at(key, failure, now());
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn find_at(&self, key: &Hash, now: u64) -> Option<Failure> {
        let mut rows = self.lock();
        if rows.get(key)?.until <= now {
            rows.remove(key);
        }
        rows.get(key).map(|row| row.failure.clone())
    }

    fn remember_at(&self, key: Hash, failure: &Failure, now: u64) {
        let Some(seconds) = lasts(failure) else { return };
        let row = Row { key, failure: failure.clone(), until: now.saturating_add(seconds) };
        let mut rows = self.lock();
        rows.retain(|_, row| row.until > now);
        rows.insert(key, row);
        if rows.len() > FAILURES_MAX {
            let first = rows.values().min_by_key(|row| row.until).map(|row| row.key);
            if let Some(first) = first {
                rows.remove(&first);
            }
        }
        if let Some((folder, sealing_key)) = &self.file
            && let Err(error) = write(folder, sealing_key, &rows)
        {
            tracing::warn!(%error, "compile failures are remembered until the next start only");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Hash, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a failure counts, seconds; none if it says nothing about the code.
const fn lasts(failure: &Failure) -> Option<u64> {
    match failure {
        Failure::InvalidModule { .. } | Failure::ForbiddenImport { .. } => Some(INVALID_SECONDS),
        Failure::CompileTimeout { .. } | Failure::MemoryLimit { .. } => Some(TOO_MUCH_SECONDS),
        Failure::WorkerDied { .. } => Some(DIED_SECONDS),
        _ => None,
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn read(folder: &std::path::Path, sealing_key: &[u8; 32]) -> io::Result<Vec<Row>> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let path = folder.join(FILE);
    if fs::metadata(&path)?.len() > FILE_MAX_BYTES as u64 {
        return Err(invalid("the file is too long"));
    }
    let bytes = fs::read(path)?;
    let (seal, rows) =
        bytes.split_first_chunk::<SEAL_BYTES>().ok_or_else(|| invalid("the file is too short"))?;
    if blake3::keyed_hash(sealing_key, rows) != blake3::Hash::from_bytes(*seal) {
        return Err(invalid("the file's seal is not this node's"));
    }
    cbor::decode(rows, FILE_MAX_BYTES).map_err(|error| invalid(&error.to_string()))
}

fn write(
    folder: &std::path::Path,
    sealing_key: &[u8; 32],
    rows: &BTreeMap<Hash, Row>,
) -> io::Result<()> {
    let rows = cbor::encode(&rows.values().collect::<Vec<_>>());
    let seal = blake3::keyed_hash(sealing_key, &rows);
    let unfinished = folder.join("failures.part");
    fs::write(&unfinished, [seal.as_bytes().as_slice(), &rows].concat())?;
    fs::rename(unfinished, folder.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn too_slow() -> Failure {
        Failure::CompileTimeout { limit_ms: 10_000 }
    }

    #[test]
    fn failures_survive_a_restart_and_expire() {
        let folder = tempfile::tempdir().unwrap();
        let failures = Failures::open(folder.path().into(), &KEY);
        let invalid = Failure::InvalidModule { why: "type mismatch".into() };
        failures.remember_at(Hash::of(b"bomb"), &too_slow(), 1000);
        failures.remember_at(Hash::of(b"invalid"), &invalid, 1000);
        failures.remember_at(Hash::of(b"busy"), &Failure::Internal { why: "no".into() }, 1000);
        let again = Failures::open(folder.path().into(), &KEY);
        assert_eq!(again.len(), 2);
        assert_eq!(again.find_at(&Hash::of(b"bomb"), 1000 + 3599), Some(too_slow()));
        assert_eq!(again.find_at(&Hash::of(b"bomb"), 1000 + 3600), None);
        assert_eq!(again.find_at(&Hash::of(b"invalid"), 1000 + 3600), Some(invalid));
        assert_eq!(again.find_at(&Hash::of(b"busy"), 1000), None);
    }

    #[test]
    fn a_damaged_or_foreign_file_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        Failures::open(folder.path().into(), &KEY).remember_at(Hash::of(b"a"), &too_slow(), 1000);
        assert_eq!(Failures::open(folder.path().into(), &[8; 32]).len(), 0);
        let path = folder.path().join(FILE);
        let good = fs::read(&path).unwrap();
        for at in [0, 31, 32, good.len() - 1] {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert_eq!(Failures::open(folder.path().into(), &KEY).len(), 0, "byte {at}");
        }
        fs::write(&path, b"short").unwrap();
        assert_eq!(Failures::open(folder.path().into(), &KEY).len(), 0);
        fs::write(&path, good).unwrap();
        assert_eq!(Failures::open(folder.path().into(), &KEY).len(), 1);
    }

    #[test]
    fn no_more_are_remembered_than_the_bound() {
        let failures = Failures::in_memory();
        for number in 0..FAILURES_MAX as u64 + 10 {
            failures.remember_at(Hash::of(&number.to_le_bytes()), &too_slow(), 1000 + number);
        }
        assert_eq!(failures.len(), FAILURES_MAX);
        let first = Hash::of(&0_u64.to_le_bytes());
        assert_eq!(failures.find_at(&first, 2000), None, "the first to expire made room");
    }
}
