//! What `guild demo --format json` prints. Everything in it was read back from the nodes.

use guildhall_protocol::PackageId;
use guildhall_protocol::api::{ExecutedOn, Via};
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::{OrgName, Reference};
use guildhall_protocol::query::Term;
use serde::Serialize;

/// The whole demo.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) nodes: Vec<NodeSeen>,
    pub(super) published: Vec<PublishedSeen>,
    pub(super) spread: Spread,
    pub(super) lookup: Lookup,
    pub(super) suggestions: Vec<SuggestionSeen>,
    pub(super) run: RunSeen,
    pub(super) timeout: Timeout,
    pub(super) receipts: Vec<ReceiptSeen>,
    pub(super) restart: Restart,
}

/// One node, at the end of the demo.
#[derive(Clone, Debug, Serialize)]
pub(super) struct NodeSeen {
    pub(super) org: OrgName,
    pub(super) peer_id: String,
    pub(super) api: String,
    pub(super) home: String,
}

/// One package, as its producer's node lists it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct PublishedSeen {
    pub(super) kind: Kind,
    #[serde(rename = "ref")]
    pub(super) reference: Reference,
    pub(super) package_id: PackageId,
}

/// How far the listings got.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Spread {
    /// Whether every node that follows the category has every listing, also the node that joined late.
    pub(super) all_nodes: bool,
    /// From the producer's answer to `publish` until every follower had the listing that came by gossip.
    pub(super) seconds: f64,
}

/// How the node that does not follow the category found it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Lookup {
    pub(super) via: Via,
    pub(super) holders: u64,
    pub(super) seconds: f64,
}

/// One ranked suggestion.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SuggestionSeen {
    #[serde(rename = "ref")]
    pub(super) reference: Reference,
    pub(super) score: f64,
    pub(super) terms: Vec<Term>,
}

/// The run on another org's hardware.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RunSeen {
    pub(super) executed_on: ExecutedOn,
    pub(super) records: u64,
    /// Of the outputs that the requester's node gave out.
    pub(super) accuracy: f64,
    /// Of the predictions that onnxruntime made beforehand.
    pub(super) reference_accuracy: f64,
    pub(super) seconds: f64,
}

/// The stage that never ends.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Timeout {
    pub(super) limit_ms: u64,
    pub(super) stopped_after_ms: u64,
    /// Whether the executing node, the same process, went on serving and executing.
    pub(super) node_alive: bool,
}

/// A receipt, verified by the demo itself from the bytes.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ReceiptSeen {
    pub(super) executor: String,
    pub(super) requester: String,
    pub(super) verified: bool,
}

/// What the killed node has after its restart; the same as before.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Restart {
    pub(super) listings: u64,
    pub(super) packages: u64,
}
