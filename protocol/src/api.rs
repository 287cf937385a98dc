//! What a node's HTTP API under `/api/v1` takes and returns, as JSON. The gateway serves these types, the client reads
//! them.

mod find;
mod infer;
mod lend;
mod run;
mod state;
mod store;

use serde::{Deserialize, Serialize};

pub use find::*;
pub use infer::*;
pub use lend::*;
pub use run::*;
pub use state::*;
pub use store::*;

use crate::body::{Claims, HardwareOffer, Suggested, Visibility};
use crate::hash::{FederationId, Hash, PackageId, RecordId};
use crate::key::PublicKey;
use crate::manifest::{Kind, Manifest};
use crate::name::{Category, CategoryPrefix, FileName, OrgName, PackageName, Reference, Version};

/// `GET /status`: who and how a node is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The node's org.
    pub org: OrgName,
    /// The org's root key.
    pub root: PublicKey,
    /// The node's key.
    pub node: PublicKey,
    /// The node's key as the overlay writes it.
    pub peer_id: String,
    /// Base URL of this API.
    pub api: String,
    /// The folder with configuration, keys and store.
    pub home: String,
    /// Where the overlay listens, each with the peer id.
    pub addresses: Vec<String>,
    /// The federation it is in.
    pub federation: FederationStatus,
    /// Categories whose listings it keeps.
    pub follows: Vec<CategoryPrefix>,
    /// Hardware it lends.
    pub offer: Option<HardwareOffer>,
    /// Engines it can execute with.
    pub engines: Vec<String>,
    /// What its workers are kept in.
    pub isolation: Vec<String>,
    /// Whether it finishes what it has and takes no more jobs of others.
    #[serde(default)]
    pub draining: bool,
    /// Connected and admitted peers.
    pub peers: u64,
    /// Records held.
    pub records: u64,
    /// Listings in the catalogue.
    pub listings: u64,
    /// Complete packages held.
    pub packages: u64,
    /// Jobs being executed for others or itself.
    pub jobs: u64,
    /// What concerns content here: [`Notice`]s that `GET /notices` tells.
    #[serde(default)]
    pub notices: u64,
    /// Since this node last heard from another, seconds; `None` when it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_s: Option<u64>,
    /// Set when nothing was heard from another org for so long that answers may be out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<Stale>,
    /// How much of what there is is here.
    #[serde(default)]
    pub completeness: Completeness,
    /// Connected peers whose records differed when they were last compared, the longest first.
    #[serde(default)]
    pub disagreeing: Vec<Disagreement>,
    /// What waits, where something does.
    #[serde(default)]
    pub queued: Vec<Queued>,
    /// What was given up since the start, where something was.
    #[serde(default)]
    pub dropped: Vec<Dropped>,
    /// Where the clocks of other orgs stand, if any said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockDifference>,
    /// Whether others reach this node.
    #[serde(default)]
    pub reachability: Reachability,
    /// Version of the software.
    pub software: String,
    /// Since the start, seconds.
    pub uptime_s: u64,
}

/// The federation a node is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FederationStatus {
    /// Its id.
    pub id: FederationId,
    /// What people call it.
    pub name: String,
    /// Its orgs.
    pub members: Vec<OrgName>,
}

/// `GET /peers`: one other node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// As the overlay writes its key.
    pub peer_id: String,
    /// Its org, when it is a member.
    pub org: Option<OrgName>,
    /// Whether a connection is open.
    pub connected: bool,
    /// Whether the node is admitted as a member's.
    pub admitted: bool,
    /// The connection's address, or the first one of its node record.
    pub address: Option<String>,
    /// Categories whose listings it keeps.
    pub follows: Vec<CategoryPrefix>,
    /// Hardware it lends.
    pub offer: Option<HardwareOffer>,
    /// Engines it can execute with.
    pub engines: Vec<String>,
    /// Whether it finishes what it has and takes no more jobs of others.
    #[serde(default)]
    pub draining: bool,
}

/// `POST /invites`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InviteRequest {
    /// How long the invite holds, seconds; at most seven days.
    pub expires_in_s: Option<u64>,
}

/// The answer to `POST /invites`, and the body of `POST /join`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteText {
    /// What [`Invite::to_text`](crate::wire::Invite::to_text) writes.
    pub invite: String,
}

/// `PUT /follows`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follows {
    /// Categories to follow from now on.
    pub follows: Vec<CategoryPrefix>,
}

/// The answer to `POST /blobs`, whose body is the blob's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobStored {
    /// BLAKE3 of the bytes.
    pub hash: Hash,
    /// Length, bytes.
    pub len_bytes: u64,
}

/// `POST /publish`: a package whose blobs the node already has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishRequest {
    /// The manifest to seal.
    pub manifest: Manifest,
    /// How it is to be listed.
    pub listing: ListingDraft,
    /// Test only: nothing is signed or listed.
    #[serde(default)]
    pub dry_run: bool,
    /// Store and sign the release, and list it later: see [`ListRequest`].
    #[serde(default)]
    pub unlisted: bool,
    /// Publish it although its name could be taken for another producer's.
    #[serde(default)]
    pub although_alike: bool,
}

/// What a producer writes of a listing; the rest follows from the manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListingDraft {
    /// Name within the org.
    pub name: PackageName,
    /// Version.
    pub version: Version,
    /// Where it belongs, the most fitting first.
    pub categories: Vec<Category>,
    /// One sentence.
    pub summary: String,
    /// Words it should be found by.
    #[serde(default)]
    pub keywords: Vec<String>,
    /// What the producer says it reaches.
    #[serde(default)]
    pub claims: Claims,
    /// What it should be run or trained with.
    #[serde(default)]
    pub suggested: Suggested,
    /// The file that explains how to use it.
    #[serde(default)]
    pub documentation: Option<FileName>,
    /// Files that show it in use.
    #[serde(default)]
    pub examples: Vec<FileName>,
    /// Who may see it.
    #[serde(default)]
    pub visibility: Visibility,
    /// Orgs that should hold a copy; `None` means the default of 3.
    #[serde(default)]
    pub replicas: Option<u8>,
}

/// The answer to `POST /publish`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// `org/name@version`.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// Kind of content.
    pub kind: Kind,
    /// The package.
    pub package_id: PackageId,
    /// The listing's record; `None` after a dry run, or when it is to be listed later.
    pub listing_id: Option<RecordId>,
    /// What was tested, in order.
    pub checks: Vec<Check>,
}

/// One thing that was tested before a package is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What, for example `files and code` or `test 1`.
    pub name: String,
    /// Whether it held.
    pub passed: bool,
    /// What was found, in words.
    pub detail: String,
    /// The file that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileName>,
    /// Where in the file, bytes from its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What would put it right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    /// A check that is about no file in particular.
    #[must_use]
    pub fn new(name: &str, passed: bool, detail: String) -> Self {
        Self { name: name.to_owned(), passed, detail, file: None, offset: None, fix: None }
    }
}

/// `POST /fetch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// What to fetch.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// Only files whose names match one of these patterns (`*` within a folder, `**` across folders, `?` one
    /// character); none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// The query that led to it, if one did: it was of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_id: Option<Hash>,
}

/// The answer to `POST /fetch`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fetched {
    /// `org/name@version`, or the id when it was asked for by id.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// The package.
    pub package_id: PackageId,
    /// Its manifest.
    pub manifest: Manifest,
    /// Names of the files that were asked for; all of the manifest's unless patterns were given.
    pub included: Vec<FileName>,
    /// Bytes that came over the network.
    pub fetched_bytes: u64,
    /// Files that came over the network, in whole or in part; the others were here.
    pub fetched_files: u64,
    /// Bytes that were taken from another version of a file that was here.
    pub reused_bytes: u64,
    /// Orgs they came from.
    pub from: Vec<OrgName>,
    /// How long it took, seconds.
    pub seconds: f64,
}

/// `GET /transfers`: a package that is being fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The package.
    pub package_id: PackageId,
    /// Bytes of its files that were asked for.
    pub total_bytes: u64,
    /// Of them, bytes that are here and verified.
    pub done_bytes: u64,
    /// Files that were asked for.
    pub total_files: u64,
    /// Of them, files that are complete.
    pub done_files: u64,
    /// Whom it comes from.
    pub sources: Vec<TransferSource>,
}

/// One holder that a package comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferSource {
    /// Its org.
    pub org: OrgName,
    /// Its node, as the overlay writes it.
    pub peer_id: String,
    /// Bytes it sent so far.
    pub bytes: u64,
    /// Why it is no longer asked, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gave_up: Option<String>,
}

/// `POST /blobs/known`: which of these blobs need not be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobQuery {
    /// At most [`BLOB_QUERY_MAX`](crate::limits::BLOB_QUERY_MAX).
    pub hashes: Vec<Hash>,
}

/// The answer to `POST /blobs/known`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobsKnown {
    /// Those that are here.
    pub known: Vec<Hash>,
}

/// `POST /blobs/incoming`: takes over a file that the client, on the same machine, put into the store's folder for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptRequest {
    /// Name of the file in that folder.
    pub name: String,
    /// The file has another name elsewhere, and whoever has that promises not to change it.
    #[serde(default)]
    pub linked: bool,
}

/// `GET /tests`: why a package was not listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestLog {
    /// Names the log: the package that failed.
    pub package_id: PackageId,
    /// What it was to be listed as.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// When, milliseconds since 1970.
    pub time_ms: u64,
    /// Everything that was tested, in order.
    pub checks: Vec<Check>,
}

/// What every failed request returns, with a fitting HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A stable word, for example `unknown_reference`.
    pub code: String,
    /// The cause, in one sentence.
    pub message: String,
    /// What the person can do, as a command where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// More lines: which file, which check, which node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}
