//! What a node's HTTP API under `/api/v1` takes and returns, as JSON. The gateway serves these types, the client reads
//! them.

mod find;
mod infer;
mod lend;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use find::*;
pub use infer::*;
pub use lend::*;

use crate::body::{Claims, HardwareOffer, Suggested, Visibility};
use crate::contract::LimitSet;
use crate::hash::{FederationId, Hash, PackageId, RecordId, RunId};
use crate::key::PublicKey;
use crate::manifest::{Kind, Manifest};
use crate::name::{Category, CategoryPrefix, FileName, OrgName, PackageName, Reference, Version};
use crate::receipt::{JobStatement, RunStatement};

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

/// `POST /runs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRequest {
    /// A pipeline, model or algorithm.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// The records.
    pub input: RunInput,
    /// Where.
    #[serde(default)]
    pub on: Placement,
    /// Limits the requester asks for.
    #[serde(default)]
    pub limits: LimitSet,
    /// How long it may wait for a free slot, milliseconds; a minute unless it says something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_ms: Option<u64>,
    /// Least level of isolation that the executing nodes must have.
    #[serde(default)]
    pub isolation: u8,
    /// Most shares that it may be spread over; as many as help unless it says something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares_max: Option<u32>,
    /// The query that led to it, if one did: it was of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_id: Option<Hash>,
}

impl RunRequest {
    /// A run of this over these records, wherever it may be.
    #[must_use]
    pub fn new(reference: Reference, input: RunInput) -> Self {
        Self {
            reference,
            input,
            on: Placement::default(),
            limits: LimitSet::default(),
            queue_ms: None,
            isolation: 0,
            shares_max: None,
            query_id: None,
        }
    }
}

/// Where a run's records come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunInput {
    /// The records of a data package.
    Package(Reference),
    /// Files of the requester.
    Records(Vec<InputRecord>),
}

/// One record that a requester sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// A name to find the output by.
    pub name: String,
    /// The value of the only input port that has to be fed, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Values by port, as JSON of the type of the port.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, serde_json::Value>,
}

impl InputRecord {
    /// A record with a single value, base64.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Some(value.into()), values: BTreeMap::new() }
    }
}

/// Where a run should be executed.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Placement {
    /// This node if it lends its hardware, else the best one that offers.
    #[default]
    Auto,
    /// This node.
    Local,
    /// A node of this org.
    Org(OrgName),
    /// The node with this peer id.
    Node(String),
}

impl From<Placement> for String {
    fn from(placement: Placement) -> Self {
        match placement {
            Placement::Auto => "auto".to_owned(),
            Placement::Local => "local".to_owned(),
            Placement::Org(org) => org.to_string(),
            Placement::Node(peer_id) => peer_id,
        }
    }
}

impl std::str::FromStr for Placement {
    type Err = crate::name::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "local" => Self::Local,
            // Peer ids of Ed25519 keys start like this and are longer than any org's name.
            peer if peer.starts_with("12D3Koo") => Self::Node(peer.to_owned()),
            org => Self::Org(org.parse()?),
        })
    }
}

impl TryFrom<String> for Placement {
    type Error = crate::name::NameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The answer to `POST /runs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The run.
    pub run_id: RunId,
}

/// Nodes that a run's report names: more than a run has shares at once, by far.
pub const EXECUTORS_SHOWN_MAX: usize = 256;

/// Receipts that a run's report shows. A share has one, and a run over days may have thousands of shares; the report is
/// kept in memory and read as a whole.
pub const RECEIPTS_SHOWN_MAX: usize = 256;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `GET /runs/{id}`: how a run is doing or did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The run.
    pub run_id: RunId,
    /// What was run.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// How far it is.
    pub state: RunState,
    /// The node that executes, the first one where there are several.
    pub executed_on: Option<ExecutedOn>,
    /// Every node that executes or did, with its share: the first [`EXECUTORS_SHOWN_MAX`].
    #[serde(default)]
    pub executors: Vec<ExecutorShare>,
    /// Shares of further nodes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub executors_left_out: u64,
    /// Records that came out so far, in order.
    pub records: u64,
    /// Of those, records that a stage failed on.
    #[serde(default)]
    pub failed: u64,
    /// Records there are, once that is known.
    #[serde(default)]
    pub total: Option<u64>,
    /// How long it will still take at today's rate, seconds, once that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_seconds: Option<f64>,
    /// Since it was started, or until it ended, seconds.
    pub seconds: f64,
    /// Share of records whose predicted class is the data package's label.
    pub accuracy: Option<f64>,
    /// Why it failed.
    pub failure: Option<RunFailure>,
    /// Receipts, one a share of a node that executed: the first [`RECEIPTS_SHOWN_MAX`]. All of them are on disk.
    pub receipts: Vec<ReceiptReport>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub receipts_left_out: u64,
    /// Records whose node left, or was given up, without signing for them: nobody can be held to these results.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unsigned: u64,
    /// What happened, in words, oldest first.
    pub log: Vec<String>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// On its way.
    Running,
    /// Every record came out, or failed alone.
    Completed,
    /// It ended early.
    Failed,
    /// A person ended it. What came out is kept, and it can be resumed.
    Cancelled,
    /// This node stopped while it was under way. What came out is kept, and it can be resumed.
    Interrupted,
}

/// A node that executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutedOn {
    /// Its org.
    pub org: OrgName,
    /// Its key as the overlay writes it.
    pub peer_id: String,
}

/// A node's share of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorShare {
    /// The node.
    #[serde(flatten)]
    pub node: ExecutedOn,
    /// Records that it scored.
    pub records: u64,
    /// Parts that it scored them in.
    pub parts: u64,
    /// Wall time it says it took for them, microseconds.
    pub wall_us: u64,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFailure {
    /// A stable word for the cause, for example `timeout`.
    pub cause: String,
    /// In words.
    pub message: String,
    /// The stage, from 0, when one failed.
    pub stage: Option<u32>,
    /// The record, from 0, when one failed.
    pub record: Option<u64>,
    /// The limit that was reached, milliseconds; timeouts only.
    pub limit_ms: Option<u64>,
    /// When the worker was stopped, milliseconds; timeouts only.
    pub stopped_after_ms: Option<u64>,
}

/// A receipt, checked by the node that reports it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReceiptReport {
    /// The executor's peer id.
    pub executor: String,
    /// The requester's peer id.
    pub requester: String,
    /// Whether both signatures hold and the outputs are the ones received.
    pub verified: bool,
    /// The run, as the requester signed it.
    pub run: RunStatement,
    /// The jobs, as the executor signed them.
    pub jobs: Vec<JobStatement>,
}

/// One line of `GET /runs/{id}/outputs`, as newline-delimited JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputLine {
    /// Position among the records.
    pub index: u64,
    /// The input record's name.
    pub name: String,
    /// The value: JSON as it is, text as a string, everything else as base64.
    pub value: OutputValue,
}

/// An output value in a form that JSON can hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputValue {
    /// A prediction list.
    Predictions(Vec<crate::interface::Prediction>),
    /// Text or JSON as text.
    Text(String),
    /// A tensor's numbers, nested by dimension.
    Tensor(serde_json::Value),
    /// Anything else.
    Base64(String),
    /// One of these for each output port, where there are several.
    Ports(BTreeMap<String, OutputValue>),
    /// No value: a stage failed on the record.
    Failed(RecordFailure),
}

/// Why a record has no value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordFailure {
    /// The stage, from 0.
    pub stage: u32,
    /// A stable word for the cause, for example `timeout`.
    pub cause: String,
    /// In words.
    pub message: String,
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
