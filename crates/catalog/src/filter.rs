//! Filters: what a listing must be to answer a query at all. Every filter narrows, in any mix.
//!
//! Filters on latency and accuracy leave out listings that claim nothing: an unknown value meets no bound. A listing
//! without a contract meets a bound on memory only when nothing of it is executed, as with data and notebooks.

use guildhall_protocol::body::{AccuracyClaim, Claims, LatencyClaim};
use guildhall_protocol::interface::Port;
use guildhall_protocol::name::Reference;
use guildhall_protocol::query::{Query, Side, TypeQuery};

use crate::entry::Entry;

/// Whether `entry` passes every filter of `query`. The text is no filter here; see [`rank`](crate::rank()).
#[must_use]
pub fn matches(query: &Query, entry: &Entry) -> bool {
    let listing = &entry.listing;
    let ports = |asked: &Option<TypeQuery>, ports: &[Port], side| {
        let meets = |asked: &TypeQuery| ports.iter().any(|p| asked.matches(&p.port_type, side));
        asked.as_ref().is_none_or(meets)
    };
    query.kind.is_none_or(|kind| listing.kind == kind)
        && query
            .category
            .as_ref()
            .is_none_or(|prefix| listing.categories.iter().any(|one| one.is_within(prefix)))
        && query.reference.as_ref().is_none_or(|reference| is_meant(reference, entry))
        && ports(&query.input, &listing.interface.inputs, Side::Input)
        && ports(&query.output, &listing.interface.outputs, Side::Output)
        && query.max_latency_ms.is_none_or(|max| {
            best_latency(&listing.claims).is_some_and(|claim| claim.p50_ms <= max)
        })
        && query.min_accuracy.is_none_or(|min| {
            best_accuracy(&listing.claims).is_some_and(|claim| claim.value >= min)
        })
        && query.max_memory_bytes.is_none_or(|max| match &listing.contract {
            Some(contract) => contract.memory_bytes <= max,
            None => listing.engines.is_empty(),
        })
}

/// Whether `reference` means `entry`.
fn is_meant(reference: &Reference, entry: &Entry) -> bool {
    match reference {
        Reference::Named { org, name, version } => {
            *org == entry.org
                && *name == entry.listing.release.name
                && version.as_ref().is_none_or(|version| version == entry.version())
        }
        Reference::Package(package) => *package == entry.package(),
    }
}

/// The highest declared accuracy; the first of equal ones. Values outside 0 to 1 count as not declared.
pub(crate) fn best_accuracy(claims: &Claims) -> Option<&AccuracyClaim> {
    claims.accuracy.iter().filter(|claim| (0.0..=1.0).contains(&claim.value)).reduce(
        |best, claim| {
            if claim.value > best.value { claim } else { best }
        },
    )
}

/// The lowest declared latency; the first of equal ones. Negative and infinite values count as not declared.
pub(crate) fn best_latency(claims: &Claims) -> Option<&LatencyClaim> {
    let usable = |claim: &&LatencyClaim| claim.p50_ms.is_finite() && claim.p50_ms >= 0.0;
    claims
        .latency
        .iter()
        .filter(usable)
        .reduce(|best, claim| if claim.p50_ms < best.p50_ms { claim } else { best })
}
