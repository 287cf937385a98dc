//! Tests on real directories.

mod backup;
mod blobs;
mod crash;
mod damage;
mod disk;
mod faults;
mod import;
mod model;
mod open;
mod partials;
#[cfg(feature = "s3")]
mod remote;
mod rows;
mod scrub;
mod sweep;

use std::path::{Path, PathBuf};

use guildhall_protocol::{Hash, PublicKey, RecordId};

use crate::{Batch, StagedBlob, Store};

/// A folder for a test, in memory where there is such a place: these tests prove what is written in which order, which
/// no real disk shows.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a folder")
}

/// The key of the log number `number`.
fn author(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

/// Bytes that are unlike all other seeds'.
fn bytes_of(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A staged blob, written in chunks that are no multiple of anything.
fn stage(store: &Store, bytes: &[u8]) -> StagedBlob {
    let mut writer = store.blob_writer(None, u64::MAX).expect("writer");
    for chunk in bytes.chunks(100_003) {
        writer.write_all(chunk).expect("writes");
    }
    writer.finish().expect("finishes")
}

/// Adds a blob.
fn add(store: &Store, bytes: &[u8]) -> Hash {
    let staged = stage(store, bytes);
    let hash = staged.hash();
    let mut batch = Batch::new();
    batch.add_blob(staged);
    store.commit_blocking(batch).expect("commits");
    hash
}

/// Where a blob's file is.
fn file_of(dir: &Path, hash: &Hash) -> PathBuf {
    let hex = hash.to_hex();
    dir.join("blobs").join(&hex[..2]).join(&hex)
}

/// The id that [`record_batch`] gives to these bytes.
fn id_of(bytes: &[u8]) -> RecordId {
    RecordId(Hash::of(bytes))
}

fn open(dir: &Path) -> Store {
    Store::open(dir).expect("opens")
}

/// A batch with one record whose bytes are unlike all others'.
fn record_batch(log: u8, seq: u64) -> (Batch, Vec<u8>) {
    let bytes = format!("record {seq} of log {log} {}", "x".repeat(usize::from(log))).into_bytes();
    let mut batch = Batch::new();
    batch.put_record(author(log), seq, id_of(&bytes), bytes.clone());
    (batch, bytes)
}

/// Commits the record of [`record_batch`].
fn put(store: &Store, log: u8, seq: u64) -> Vec<u8> {
    let (batch, bytes) = record_batch(log, seq);
    store.commit_blocking(batch).expect("commits");
    bytes
}

/// All records, as the fold at start sees them.
fn load(store: &Store) -> (Vec<(PublicKey, u64, Vec<u8>)>, crate::LoadReport) {
    let mut records = Vec::new();
    let report = store
        .for_each_record(|record| records.push((record.author, record.seq, record.bytes)))
        .expect("scans");
    (records, report)
}
