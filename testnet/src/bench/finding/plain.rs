//! Listings and queries without our words for them: what the peers index and are asked.

use guildhall_catalog::words::{Field, Terms, Wanted};
use guildhall_protocol::body::Listing;
use guildhall_protocol::interface::{Port, PortType};
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::query::{Query, TypeQuery};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The day on which everything is asked, in days since 1970; the generated listings are older.
pub(super) const DAY: u32 = 19_675;

/// What stands for "any" among media types.
const ANY: &str = "*";

/// A listing, flat.
pub(super) struct Plain {
    /// Its place in the order of insertion.
    pub(super) number: u32,
    pub(super) kind: &'static str,
    /// Each category and everything that it lies in.
    pub(super) categories: Vec<String>,
    /// Each family of an input port, and each family with a media type.
    pub(super) takes: Vec<String>,
    /// The same of output ports.
    pub(super) yields: Vec<String>,
    pub(super) latency_ms: Option<f64>,
    pub(super) accuracy: Option<f64>,
    pub(super) memory_bytes: u64,
    /// The column that answers without words are ordered by: `docs/ranking.md`'s nine terms of every query.
    pub(super) standing: f64,
    /// Stems of name, keywords, categories and summary: the terms that our index has, so that nobody cuts words better.
    pub(super) words: [String; 4],
    /// The listing itself, CBOR.
    pub(super) body: Vec<u8>,
}

impl Plain {
    pub(super) fn new(number: u32, listing: &Listing, time_ms: u64, body: Vec<u8>) -> Self {
        let mut categories: Vec<String> = Vec::new();
        for category in &listing.categories {
            let starts = std::iter::successors(Some(category.as_str()), |path| {
                path.rsplit_once('/').map(|(start, _)| start)
            });
            categories.extend(starts.map(str::to_owned));
        }
        categories.sort_unstable();
        categories.dedup();
        let accuracies = listing.claims.accuracy.iter().map(|claim| claim.value);
        let latencies = listing.claims.latency.iter().map(|claim| claim.p50_ms);
        let accuracy = accuracies.reduce(f64::max).map(rounded);
        let latency_ms = latencies.reduce(f64::min).map(rounded);
        Self {
            number,
            kind: listing.kind.as_str(),
            categories,
            takes: tokens(&listing.interface.inputs),
            yields: tokens(&listing.interface.outputs),
            latency_ms,
            accuracy,
            memory_bytes: match &listing.contract {
                Some(contract) => contract.memory_bytes,
                None if listing.engines.is_empty() => 0,
                None => u64::MAX,
            },
            standing: standing(listing, time_ms, accuracy, latency_ms),
            words: words(listing),
            body,
        }
    }
}

/// As the catalogue keeps claims: with 24 bits.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
fn rounded(value: f64) -> f64 {
    f64::from(value as f32)
}

fn tokens(ports: &[Port]) -> Vec<String> {
    let mut tokens = Vec::new();
    for port in ports {
        let family = port.port_type.family();
        tokens.push(family.to_owned());
        let (PortType::Image(types)
        | PortType::Audio(types)
        | PortType::Video(types)
        | PortType::Bytes(types)) = &port.port_type
        else {
            continue;
        };
        let any = types.media_types.is_empty().then_some(ANY);
        let media = types.media_types.iter().map(String::as_str).chain(any);
        tokens.extend(media.map(|media| format!("{family} {media}")));
    }
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

/// The formula of a listing that nobody used, holds or reviewed, of an org that nothing is said about.
fn standing(
    listing: &Listing,
    time_ms: u64,
    accuracy: Option<f64>,
    latency_ms: Option<f64>,
) -> f64 {
    let is_measured = matches!(listing.kind, Kind::Model | Kind::Pipeline);
    let undeclared = if is_measured { 0.0 } else { 0.5 };
    let latency = latency_ms.map_or(undeclared, |ms| 100.0 / (100.0 + ms));
    let days = u64::from(DAY).saturating_sub(time_ms / DAY_MS);
    let freshness = 365.0 / (365.0 + days as f64);
    let has_licence = !listing.licence.is_empty() && listing.licence != "unknown";
    let there = [
        !listing.summary.is_empty(),
        listing.documentation.is_some(),
        !listing.examples.is_empty(),
        has_licence,
    ];
    let documentation = there.iter().filter(|one| **one).count() as f64 / 4.0;
    let version = &listing.release.version;
    let stability = match (version.pre.is_empty(), version.major) {
        (false, _) => 0.25,
        (true, 0) => 0.5,
        (true, _) => 1.0,
    };
    let terms = [
        (0.15, accuracy.unwrap_or(undeclared)),
        (0.07, latency),
        (0.04, 0.0),
        (0.03, 0.0),
        (0.05, 0.5),
        (0.04, 0.5),
        (0.03, freshness),
        (0.06, documentation),
        (0.03, stability),
    ];
    let weights: f64 = terms.iter().map(|(weight, _)| weight).sum();
    terms.iter().map(|(weight, value)| weight * value).sum::<f64>() / weights
}

fn words(listing: &Listing) -> [String; 4] {
    let terms = Terms::of(listing);
    Field::ALL.map(|field| {
        let there = terms.iter().filter(|(_, fields)| fields.iter().any(|one| one == field));
        there.map(|(term, _)| term).collect::<Vec<_>>().join(" ")
    })
}

/// One criterion of a query.
#[derive(Clone, Debug)]
pub(super) enum Filter {
    Kind(&'static str),
    Category(String),
    /// One of these on an input.
    Takes(Vec<String>),
    /// One of these on an output.
    Yields(Vec<String>),
    LatencyAtMost(f64),
    AccuracyAtLeast(f64),
    MemoryAtMost(u64),
}

/// A query, flat.
#[derive(Clone, Debug)]
pub(super) struct PlainQuery {
    pub(super) filters: Vec<Filter>,
    /// Stems, any of which answers.
    pub(super) words: Vec<String>,
}

impl PlainQuery {
    pub(super) fn new(query: &Query) -> Self {
        let port = |asked: &TypeQuery| {
            let (family, media) = asked.parts().unwrap_or_default();
            match media {
                None => vec![family.to_owned()],
                Some(media) => vec![format!("{family} {media}"), format!("{family} {ANY}")],
            }
        };
        let filters = [
            query.kind.map(|kind| Filter::Kind(kind.as_str())),
            query.category.as_ref().map(|prefix| Filter::Category(prefix.as_str().to_owned())),
            query.input.as_ref().map(|asked| Filter::Takes(port(asked))),
            query.output.as_ref().map(|asked| Filter::Yields(port(asked))),
            query.max_latency_ms.map(|max| Filter::LatencyAtMost(rounded(max))),
            query.min_accuracy.map(|min| Filter::AccuracyAtLeast(rounded(min))),
            query.max_memory_bytes.map(Filter::MemoryAtMost),
        ];
        let wanted = Wanted::new(query.text.as_deref());
        let words = wanted.words().iter().map(|word| word.stem.clone()).collect();
        Self { filters: filters.into_iter().flatten().collect(), words }
    }
}
