//! How a node is: how complete, how fresh, who disagrees, what waits and what was dropped; and what `guild doctor` finds.

use serde::{Deserialize, Serialize};

use crate::name::{CategoryPrefix, OrgName};

/// Header of every answer of a node that is stale: a [`Stale`] as JSON.
pub const STALE_HEADER: &str = "guild-stale";

/// A node heard nothing from another org for a day or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stale {
    /// For how long, seconds.
    pub heard_s: u64,
    /// Whether it therefore executes only code of its own org: after 7 days.
    pub refuses: bool,
}

/// How much of what there is is here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completeness {
    /// Records here, of every log: headers replicate everywhere.
    pub records_held: u64,
    /// Records that are here or that a connected peer says to have. Nothing of the latter is proven.
    pub records_known: u64,
    /// Records here with their bodies.
    pub bodies_held: u64,
    /// Records whose bodies are not here and may be of a category that is followed; they are being asked for.
    pub bodies_missing: u64,
    /// What is followed.
    pub follows: Vec<Followed>,
}

/// One thing that a node follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// What.
    pub category: CategoryPrefix,
    /// Listings of it in the catalogue; one in several categories counts in each.
    pub listings: u64,
}

/// A connected peer whose records differed from those here when they were last compared. While records spread this is
/// nothing unusual; a difference that lasts is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disagreement {
    /// The node, as the overlay writes it.
    pub peer_id: String,
    /// Its org.
    pub org: OrgName,
    /// For how long every comparison has found a difference, seconds.
    pub since_s: u64,
    /// Records that it said to have and that were not here.
    pub missing_here: u64,
    /// Records that were here and that it did not say to have.
    pub missing_there: u64,
}

/// Something that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// What, in words.
    pub what: String,
    /// How many wait.
    pub count: u64,
    /// How many may.
    pub bound: u64,
}

/// Something that was given up since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// What, in words.
    pub what: String,
    /// Why.
    pub why: String,
    /// How many.
    pub count: u64,
}

/// Where the clocks of other orgs stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockDifference {
    /// Median of the others' clocks less this node's, milliseconds; to within a second or two.
    pub off_ms: i64,
    /// Orgs that said what time it is.
    pub orgs: u64,
}

/// Whether others reach a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reachability {
    /// As far as is known.
    #[serde(default)]
    pub state: Reach,
    /// Addresses at which others confirmed to have reached it.
    #[serde(default)]
    pub confirmed: Vec<String>,
    /// Relays through which it is reached.
    #[serde(default)]
    pub relays: Vec<String>,
}

/// Whether others reach a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Nobody tried yet.
    #[default]
    Unknown,
    /// Others reach it.
    Public,
    /// Others do not, but through a relay.
    Private,
}
