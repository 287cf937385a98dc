//! What a node keeps, as the API tells it and changes it.

use serde::{Deserialize, Serialize};

use crate::hash::PackageId;
use crate::name::Reference;

/// `GET /store`: what takes how much room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreReport {
    /// Folder of the store.
    pub path: String,
    /// Room that is free on its file system, bytes.
    pub free_bytes: u64,
    /// Size of its file system, bytes.
    pub disk_bytes: u64,
    /// Room that content never takes, bytes.
    pub reserve_bytes: u64,
    /// Database file, bytes.
    pub catalogue_bytes: u64,
    /// Records.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// Blobs, whole ones.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Blobs of which parts are here.
    pub partials: u64,
    /// Verified bytes of those.
    pub partial_bytes: u64,
    /// Packages by the reason they are here for. One file may belong to several.
    pub packages: Vec<StoreShare>,
    /// Bytes that `POST /store/gc` would free.
    pub reclaimable_bytes: u64,
    /// Bytes that replicas of others' packages may take.
    pub replica_max_bytes: u64,
}

/// Packages that are in a store for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreShare {
    /// Why.
    pub reason: KeptFor,
    /// How many.
    pub packages: u64,
    /// Bytes of their files.
    pub bytes: u64,
}

/// Why a package is in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeptFor {
    /// This org published it here: kept.
    Published,
    /// A person wants it kept.
    Pinned,
    /// A copy for the federation: kept while this node is one of those that should have it.
    Replica,
    /// Fetched for a person or a job: goes when room is needed, or when it was not used for long.
    Cached,
}

/// `GET /store/packages`: one package that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPackage {
    /// The package.
    pub package_id: PackageId,
    /// Releases of it that the catalogue knows.
    pub refs: Vec<Reference>,
    /// Why it is here.
    pub reason: KeptFor,
    /// Bytes of its files.
    pub bytes: u64,
    /// When it was last fetched or run, milliseconds since 1970.
    pub used_ms: u64,
}

/// `POST /store/gc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GcRequest {
    /// Report only.
    pub dry_run: bool,
    /// Drop cached packages not used for this long, seconds; `None` takes the node's setting.
    pub unused_s: Option<u64>,
}

/// The answer to `POST /store/gc`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcReport {
    /// Cached packages that were dropped.
    pub packages: Vec<PackageId>,
    /// Blobs that went.
    pub blobs: u64,
    /// Partial blobs that went.
    pub partials: u64,
    /// Bytes that became free.
    pub freed_bytes: u64,
}

/// `POST /store/scrub`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScrubRequest {
    /// Fetch what is damaged from other holders.
    pub repair: bool,
    /// Read no faster than this, bytes per second; `None` as fast as the disk goes.
    pub bytes_per_s: Option<u64>,
}

/// The answer to `POST /store/scrub`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubReport {
    /// Rows that were checked.
    pub rows: u64,
    /// Blobs that were checked.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong, in words; at most [`SCRUB_MAX_PROBLEMS`](crate::limits::SCRUB_MAX_PROBLEMS).
    pub problems: Vec<String>,
    /// How many things are wrong.
    pub found: u64,
    /// Things that are only left over and do no harm; among the problems in words, not among those found.
    #[serde(default)]
    pub harmless: u64,
    /// Of them, how many were put right.
    pub repaired: u64,
    /// How long it took, seconds.
    pub seconds: u64,
}

/// `POST /store/backup`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupRequest {
    /// Records, receipts and identity only; content can be fetched again from other holders.
    pub without_content: bool,
}

/// The answer to `POST /store/backup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupMade {
    /// The folder with the copy, inside the node's home.
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
}
