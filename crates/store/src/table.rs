//! Tables, keys and the seal every value carries.
//!
//! | table | key | payload |
//! |---|---|---|
//! | `meta` | `format` | version, u32 |
//! | `meta` | `counters` | record count, record bytes, package bytes, blob bytes, u64 each |
//! | `meta` | `backend` | where the blobs are, if not in the directory; see `backend` |
//! | `records` | author (32), seq (u64) | record id (32), record bytes |
//! | `record_ids` | record id (32) | author (32), seq (u64) |
//! | `packages` | package id (32) | manifest bytes |
//! | `blobs` | hash (32) | 0, then the bytes of a blob of one group; or 1, then the length of its file, u64 |
//! | `trees` | hash (32), piece (u32) | the CVs of the piece's groups, 32 bytes each; only for blobs with a file |
//! | `trees` | hash (32), `FFFFFFFF` | the CVs of the pieces, 32 bytes each; only for more than one piece |
//! | `partials` | hash (32) | length, u64; a bit for each piece, lowest first: set if it is in the file |
//! | `documents.<collection>` | chosen by the caller | chosen by the caller |
//!
//! All integers are big endian. A stored value is its seal (32), then the payload. The seal is the BLAKE3 hash of the
//! table's name, NUL, the key's length as u32, the key and the payload, so that a value moved to another row or table
//! does not pass. The one exception is a blob that lives in its row: its seal is its key, which is the hash of its bytes
//! already.

use crate::row::TAG_INLINE;
use guildhall_protocol::{Hash, PublicKey};
use redb::{TableDefinition, TableHandle as _};

/// The format this program writes, and the only one it reads. Format 1 had no trees; nobody kept anything in it that
/// was worth a migration.
pub const FORMAT_VERSION: u32 = 2;

/// Every table maps bytes to bytes.
pub(crate) type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

pub(crate) const META: Table = Table::new("meta");
pub(crate) const RECORDS: Table = Table::new("records");
pub(crate) const RECORD_IDS: Table = Table::new("record_ids");
pub(crate) const PACKAGES: Table = Table::new("packages");
pub(crate) const BLOBS: Table = Table::new("blobs");
pub(crate) const TREES: Table = Table::new("trees");
pub(crate) const PARTIALS: Table = Table::new("partials");

/// All tables but `meta`, in the order of a walk over everything. `blobs` comes before `trees`, so that a copy knows
/// whose trees to take.
pub(crate) fn all_tables() -> Vec<Table> {
    let fixed = [RECORDS, RECORD_IDS, PACKAGES, BLOBS, TREES, PARTIALS];
    fixed.into_iter().chain(Collection::ALL.map(Collection::table)).collect()
}

/// In place of a piece's number: the row of `trees` with the CVs of all pieces. No blob has that many pieces.
pub(crate) const PIECE_LIST: u32 = u32::MAX;

/// Row of `meta` with the format version. Its place and form never change, so that any version can refuse any other.
pub(crate) const FORMAT_KEY: &[u8] = b"format";

/// Row of `meta` that says where blobs are, if that is elsewhere.
pub(crate) const BACKEND_KEY: &[u8] = b"backend";

/// Row of `meta` with the totals.
pub(crate) const COUNTERS_KEY: &[u8] = b"counters";

/// Length of the seal before every payload, bytes.
pub(crate) const SEAL_BYTES: usize = 32;

/// Length of a record's key, bytes.
pub(crate) const RECORD_KEY_BYTES: usize = 40;

/// Length of the key of a row of `trees`, bytes.
pub(crate) const TREE_KEY_BYTES: usize = 36;

/// A kind of document. Each has a table of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collection {
    /// What jobs did, signed.
    Receipts,
    /// Executions of pipelines, for resuming and for the list of runs.
    Runs,
    /// What this node knows about itself: whose it is, where it listed, what waits to be listed, what it counted.
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
    let is_right = match inline_blob(table, payload) {
        Some(bytes) => seal == key && *seal == *blake3::hash(bytes).as_bytes(),
        None => *seal == seal_of(table, key, payload),
    };
    is_right.then_some(payload)
}

/// The stored value of a blob that lives in its row: its key is the hash of its bytes, and so its seal.
pub(crate) fn seal_inline(hash: &Hash, bytes: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(SEAL_BYTES.saturating_add(1).saturating_add(bytes.len()));
    value.extend_from_slice(hash.as_bytes());
    value.push(TAG_INLINE);
    value.extend_from_slice(bytes);
    value
}

/// The bytes of a blob that lives in its row.
fn inline_blob(table: Table, payload: &[u8]) -> Option<&[u8]> {
    match payload.split_first() {
        Some((&TAG_INLINE, bytes)) if table.name() == BLOBS.name() => Some(bytes),
        _ => None,
    }
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

/// The key of a row of `trees`.
pub(crate) fn tree_key(hash: &Hash, piece: u32) -> [u8; TREE_KEY_BYTES] {
    let mut key = [0; TREE_KEY_BYTES];
    if let Some((first, last)) = key.split_first_chunk_mut::<32>() {
        *first = *hash.as_bytes();
        last.copy_from_slice(&piece.to_be_bytes());
    }
    key
}

/// The reverse of [`tree_key`]; `None` for anything else.
pub(crate) fn parse_tree_key(key: &[u8]) -> Option<(Hash, u32)> {
    let (hash, piece) = key.split_first_chunk::<32>()?;
    Some((Hash::from_bytes(*hash), piece.try_into().ok().map(u32::from_be_bytes)?))
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
