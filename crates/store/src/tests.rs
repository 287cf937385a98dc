//! Tests on real directories.

mod blobs;
mod crash;
mod damage;
mod model;
mod open;
mod rows;

use std::path::Path;

use guildhall_protocol::{Hash, PublicKey, RecordId};

use crate::{Batch, Store};

/// The key of the log number `number`.
fn author(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
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
        .for_each_record(|author, seq, bytes| records.push((author, seq, bytes.to_vec())))
        .expect("scans");
    (records, report)
}
