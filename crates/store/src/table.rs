//! Tables, keys and the seal every value carries.
//!
//! | table | key | payload |
//! |---|---|---|
//! | `meta` | `format` | version, u32 |
//! | `meta` | `counters` | record count, record bytes, package bytes, blob bytes, u64 each |
//! | `records` | author (32), seq (u64) | record id (32), record bytes |
//! | `record_ids` | record id (32) | author (32), seq (u64) |
//! | `packages` | package id (32) | manifest bytes |
//! | `blobs` | hash (32) | file length, u64 |
//! | `documents.<collection>` | chosen by the caller | chosen by the caller |
//!
//! All integers are big endian. A stored value is its seal (32), then the payload. The seal is the BLAKE3 hash of the
//! table's name, NUL, the key's length as u32, the key and the payload, so that a value moved to another row or table
//! does not pass.

use guildhall_protocol::{Hash, PublicKey};
use redb::{TableDefinition, TableHandle as _};

/// The format this program writes, and the newest it reads. Older ones would be migrated one step at a time at open;
/// there are none yet.
pub const FORMAT_VERSION: u32 = 1;

/// Every table maps bytes to bytes.
pub(crate) type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

pub(crate) const META: Table = Table::new("meta");
pub(crate) const RECORDS: Table = Table::new("records");
pub(crate) const RECORD_IDS: Table = Table::new("record_ids");
pub(crate) const PACKAGES: Table = Table::new("packages");
pub(crate) const BLOBS: Table = Table::new("blobs");

/// Row of `meta` with the format version. Its place and form never change, so that any version can refuse any other.
pub(crate) const FORMAT_KEY: &[u8] = b"format";

/// Row of `meta` with the totals.
pub(crate) const COUNTERS_KEY: &[u8] = b"counters";

/// Length of the seal before every payload, bytes.
pub(crate) const SEAL_BYTES: usize = 32;

/// Length of a record's key, bytes.
pub(crate) const RECORD_KEY_BYTES: usize = 40;

/// A kind of document. Each has a table of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collection {
    /// What jobs did, signed.
    Receipts,
    /// Executions of pipelines, for resuming and for the list of runs.
    Runs,
    /// What this node knows about itself: delegations, the federations it is in.
    Identity,
    /// Why a publication was refused.
    ErrorLogs,
    /// What can be computed or fetched again.
    Cache,
}

impl Collection {
    /// All collections, in the order of their tables.
    pub const ALL: [Self; 5] =
        [Self::Receipts, Self::Runs, Self::Identity, Self::ErrorLogs, Self::Cache];

    pub(crate) const fn table(self) -> Table {
        match self {
            Self::Receipts => Table::new("documents.receipts"),
            Self::Runs => Table::new("documents.runs"),
            Self::Identity => Table::new("documents.identity"),
            Self::ErrorLogs => Table::new("documents.error_logs"),
            Self::Cache => Table::new("documents.cache"),
        }
    }
}

/// The stored value for a payload given in parts.
pub(crate) fn seal(table: Table, key: &[u8], payload: &[&[u8]]) -> Vec<u8> {
    let len = payload.iter().map(|part| part.len()).sum::<usize>();
    let mut value = Vec::with_capacity(SEAL_BYTES.saturating_add(len));
    value.extend_from_slice(&[0; SEAL_BYTES]);
    for part in payload {
        value.extend_from_slice(part);
    }
    if let Some((space, payload)) = value.split_first_chunk_mut::<SEAL_BYTES>() {
        *space = seal_of(table, key, payload);
    }
    value
}

/// The payload of a stored value, if it is what was written under this key.
pub(crate) fn unseal<'v>(table: Table, key: &[u8], value: &'v [u8]) -> Option<&'v [u8]> {
    let (seal, payload) = value.split_first_chunk::<SEAL_BYTES>()?;
    (*seal == seal_of(table, key, payload)).then_some(payload)
}

fn seal_of(table: Table, key: &[u8], payload: &[u8]) -> [u8; SEAL_BYTES] {
    let key_len = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut hasher = blake3::Hasher::new();
    hasher.update(table.name().as_bytes()).update(&[0]).update(&key_len.to_be_bytes());
    hasher.update(key).update(payload);
    *hasher.finalize().as_bytes()
}

/// The key of a record's row: logs lie together, in order.
pub(crate) fn record_key(author: &PublicKey, seq: u64) -> [u8; RECORD_KEY_BYTES] {
    let mut key = [0; RECORD_KEY_BYTES];
    if let Some((first, last)) = key.split_first_chunk_mut::<32>() {
        *first = *author.as_bytes();
        last.copy_from_slice(&seq.to_be_bytes());
    }
    key
}

/// The reverse of [`record_key`]; `None` for anything else.
pub(crate) fn parse_record_key(key: &[u8]) -> Option<(PublicKey, u64)> {
    let (author, seq) = key.split_first_chunk::<32>()?;
    Some((PublicKey::from_bytes(*author), parse_u64(seq)?))
}

pub(crate) fn parse_u64(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

pub(crate) fn parse_hash(bytes: &[u8]) -> Option<Hash> {
    bytes.try_into().ok().map(Hash::from_bytes)
}

/// Totals that no table length gives, kept in one row and updated in the transaction that changes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) records: u64,
    pub(crate) record_bytes: u64,
    pub(crate) package_bytes: u64,
    pub(crate) blob_bytes: u64,
}

impl Counters {
    pub(crate) fn encode(self) -> [u8; 32] {
        let fields = [self.records, self.record_bytes, self.package_bytes, self.blob_bytes];
        let mut bytes = [0; 32];
        for (space, field) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(fields) {
            *space = field.to_be_bytes();
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (fields, []) = bytes.as_chunks::<8>() else { return None };
        let [records, record_bytes, package_bytes, blob_bytes] = fields else { return None };
        Some(Self {
            records: u64::from_be_bytes(*records),
            record_bytes: u64::from_be_bytes(*record_bytes),
            package_bytes: u64::from_be_bytes(*package_bytes),
            blob_bytes: u64::from_be_bytes(*blob_bytes),
        })
    }
}
