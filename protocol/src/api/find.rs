//! Finding and judging: answers to queries, what is known of one release, reviews, yanks, demand, and how is ranked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::body::{Listing, Unmet};
use crate::hash::{Hash, PackageId, RecordId};
use crate::manifest::Manifest;
use crate::name::{Category, CategoryPrefix, OrgName, Reference, Version};
use crate::query::{PageMark, ReviewSummary, Suggestion};

use super::ListingDraft;

/// The answer to `POST /search`, whose body is a [`Query`](crate::query::Query).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchAnswer {
    /// Names the query when something is later fetched or run because of it.
    pub query_id: Hash,
    /// Ranked results.
    pub results: Vec<Suggestion>,
    /// Versions of listings that answer the query, on all pages.
    #[serde(default)]
    pub total: u64,
    /// What [`Query::page`](crate::query::Query::page) is to be for the next page; `None` on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<PageMark>,
    /// How it was found.
    pub via: Via,
    /// Nodes that were asked.
    pub asked: u64,
    /// Nodes that answered in time.
    pub answered: u64,
    /// Holders of the category that the DHT named.
    pub holders: u64,
    /// Each node that was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<AskedNode>,
    /// How old the oldest part of the answer may be, seconds: since this node last compared its records with another, or
    /// since a holder was asked whose answer is remembered. `None` when this node never heard from another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<u64>,
    /// Set when the node heard nothing from another org for so long that the answer may be out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<super::Stale>,
    /// How many answers there are of each kind, category and so on, if they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facets: Vec<Facet>,
    /// Words, names and categories that may have been meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub did_you_mean: Vec<Correction>,
    /// When nothing was found: what was nearest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<Near>,
    /// When nothing was found: how much each part of the query excludes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Excluded>,
    /// What was left out or went wrong, in words.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// This node's catalogue alone.
    Local,
    /// Holders found in the DHT.
    Dht,
    /// Members that say they follow the category.
    Members,
}

/// A node that was asked for a query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AskedNode {
    /// Its org.
    pub org: OrgName,
    /// Its key, as the overlay writes it.
    pub peer_id: String,
    /// What became of it.
    pub outcome: AskOutcome,
    /// Listings it named that verified.
    #[serde(default)]
    pub listings: u64,
    /// Listings it named that did not verify, or are no answer to the query.
    #[serde(default)]
    pub refused: u64,
    /// How long it took, milliseconds; of a remembered answer, how old that is.
    #[serde(default)]
    pub ms: u64,
}

/// What became of asking a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AskOutcome {
    /// It answered in time.
    Answered,
    /// It answered the same question a moment ago; that was taken.
    Remembered,
    /// It did not answer in time.
    Late,
    /// It could not be reached, or broke off.
    Unreachable,
    /// It refused.
    Refused,
}

/// The values of one dimension among the answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facet {
    /// `kind`, `category`, `org`, `licence`, `input`, `output` or `engine`.
    pub name: String,
    /// The most frequent values. Counted as if the query did not ask for one of them, so that they can be compared.
    pub values: Vec<FacetValue>,
}

/// One value of a dimension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FacetValue {
    /// As a query writes it.
    pub value: String,
    /// Versions of listings that have it.
    pub count: u64,
}

/// Something that may have been meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// What was asked for.
    pub asked: String,
    /// What is there.
    pub meant: String,
}

/// A listing that misses a query by little.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Near {
    /// The listing.
    pub suggestion: Suggestion,
    /// What it does not meet, in words: what was asked for, and what it has.
    pub misses: Vec<String>,
}

/// How much one part of a query excludes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// The part, as a query writes it, for example `latency<50ms`.
    pub criterion: String,
    /// Answers there would be without it.
    pub without: u64,
}

/// `GET /categories`: a category and how much is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryCount {
    /// The category.
    pub category: Category,
    /// Names listed in it.
    pub listings: u64,
    /// Whether it is in the vocabulary, or marked as an extension by `x-`.
    pub known: bool,
    /// What it is for; empty for those that are not in the vocabulary.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// `GET /show?ref=`: everything a node knows about one release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// `org/name@version`.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// The producer's org.
    pub org: OrgName,
    /// The listing, as it was signed.
    pub listing: Listing,
    /// The listing's record.
    pub listing_id: RecordId,
    /// When it was listed, by the producer's clock, milliseconds since 1970.
    #[serde(default)]
    pub time_ms: u64,
    /// The package.
    pub package_id: PackageId,
    /// Whether the complete package is here.
    pub held: bool,
    /// The manifest, when it is here.
    pub manifest: Option<Manifest>,
    /// Every version of the same name that was not yanked, highest first.
    pub versions: Vec<Version>,
    /// Versions that were yanked, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub yanked: Vec<Yanked>,
    /// Orgs known to hold the package.
    pub holders: Vec<OrgName>,
    /// Reviews in one line.
    #[serde(default)]
    pub rating: ReviewSummary,
    /// What orgs say of it, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reviews: Vec<ReviewShown>,
    /// An older listing of another producer whose name this one could be taken for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looks_like: Option<Reference>,
    /// Names among those listed in its main category, and its place there by [`Suggestion::score`] without a query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
}

/// How a listing stands in its main category.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The category.
    pub category: Category,
    /// Its place, from 1.
    pub place: u64,
    /// Of how many.
    pub of: u64,
}

/// A version that its producer took back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Yanked {
    /// `org/name@version`.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// The package.
    pub package_id: PackageId,
    /// Why.
    pub why: String,
    /// When, by the producer's clock, milliseconds since 1970.
    pub time_ms: u64,
}

/// A review as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewShown {
    /// Who.
    pub org: OrgName,
    /// 1 to 5.
    pub stars: u8,
    /// In words.
    pub text: String,
    /// When, by the reviewer's clock, milliseconds since 1970.
    pub time_ms: u64,
    /// Whether it is the producer's own, which does not count.
    #[serde(default)]
    pub own: bool,
}

/// `POST /reviews`: what this node's org thinks. A second one replaces the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewRequest {
    /// What is reviewed.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// 1 to 5.
    pub stars: u8,
    /// In words.
    #[serde(default)]
    pub text: String,
}

/// `POST /yanks`: takes a version of this org back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct YankRequest {
    /// `org/name@version`.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// Why, for those who hold it.
    pub why: String,
}

/// `GET /unlisted`: a package that was published without a listing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unlisted {
    /// `org/name@version`.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// The package.
    pub package_id: PackageId,
    /// How it would be listed.
    pub draft: ListingDraft,
    /// When it was stored, milliseconds since 1970.
    pub time_ms: u64,
}

/// `POST /list`: lists what was published without a listing. What is `None` is as it was drafted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListRequest {
    /// `org/name@version`, or `org/name` for the highest one that is not listed.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// Instead of the drafted categories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categories: Option<Vec<Category>>,
    /// Instead of the drafted sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Instead of the drafted keywords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keywords: Option<Vec<String>>,
}

/// `GET /demand`: what was asked for and led to nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DemandReport {
    /// At this node, exactly, since it started counting.
    pub here: Vec<Unmet>,
    /// Since when, milliseconds since 1970.
    pub here_since_ms: u64,
    /// What other orgs report, the most frequent first.
    pub federation: Vec<DemandShown>,
    /// Categories whose demand this node's org wants to be told of.
    pub subscriptions: Vec<CategoryPrefix>,
    /// Queries that are still open: something may yet come of them.
    pub open: u64,
    /// Queries that could not be watched because too many were open.
    pub dropped: u64,
    /// Fewest queries of one kind that are published.
    pub least: u32,
}

/// One kind of unmet query in the federation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DemandShown {
    /// What was missed; the count is the sum over the orgs.
    pub unmet: Unmet,
    /// Orgs that report it.
    pub orgs: u64,
    /// End of the latest period in which it was missed, milliseconds since 1970.
    pub until_ms: u64,
    /// Whether it lies in a category that was subscribed to.
    pub subscribed: bool,
}

/// `PUT /demand/subscriptions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriptions {
    /// Categories to be told of from now on.
    pub categories: Vec<CategoryPrefix>,
}

/// `GET` and `PUT /ranking`: how this org ranks.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ranking {
    /// The weight of each term by its name, 0 to 100. A `PUT` changes the ones it names.
    pub weights: BTreeMap<String, f64>,
    /// How far each org is trusted, 0 to 1; 0.5 for the others, 1 for one's own. A `PUT` changes the ones it names.
    pub trust: BTreeMap<OrgName, f64>,
}

/// `GET /notices`: something that concerns content here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What kind: `yanked` or `demand`.
    pub kind: String,
    /// What it is about, if a release.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// In words.
    pub text: String,
    /// When, milliseconds since 1970.
    pub time_ms: u64,
}

/// The answer to `POST /store/reindex`: the catalogue was built from the records.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reindexed {
    /// Listings in it.
    pub listings: u64,
    /// How long it took, seconds.
    pub seconds: f64,
}
