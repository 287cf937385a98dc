//! Whether one listing answers a query: the rules of every criterion, for a listing by itself.
//!
//! The catalogue answers from sets and comes to the same results; here is what it is measured by, and what decides on
//! listings that other nodes name.
//!
//! Bounds leave out listings that claim nothing: an unknown value meets no bound. A listing without a contract meets a
//! bound on memory only when nothing of it is executed, as with data and notebooks.

use guildhall_protocol::body::{AccuracyClaim, Claims, LatencyClaim, Listing};
use guildhall_protocol::contract::Hardware;
use guildhall_protocol::fit::{fit, interface_fit};
use guildhall_protocol::interface::{Interface, Port};
use guildhall_protocol::name::Reference;
use guildhall_protocol::query::{Gap, Query, Side, TypeQuery};

use crate::entry::Entry;

/// Whether `entry` meets every criterion of `query` but two: its words, and whether it can be run on the asking node.
#[must_use]
pub fn matches(query: &Query, entry: &Entry) -> bool {
    let listing = &*entry.listing;
    let interface = &listing.interface;
    let hardware = hardware_of(listing);
    query.kind.is_none_or(|kind| listing.kind == kind)
        && query
            .category
            .as_ref()
            .is_none_or(|prefix| listing.categories.iter().any(|one| one.is_within(prefix)))
        && query.reference.as_ref().is_none_or(|reference| is_meant(reference, entry))
        && query.input.as_ref().is_none_or(|asked| worth_of(asked, Side::Input, interface) > 0.0)
        && query.output.as_ref().is_none_or(|asked| worth_of(asked, Side::Output, interface) > 0.0)
        && query.org.as_ref().is_none_or(|org| *org == entry.org)
        && query.licence.as_ref().is_none_or(|asked| permits(&licence(&listing.licence), asked))
        && query.max_latency_ms.is_none_or(|max| {
            best_latency(&listing.claims).is_some_and(|claim| claim.p50_ms <= max)
        })
        && query.min_accuracy.is_none_or(|min| {
            best_accuracy(&listing.claims, query.metric.as_deref())
                .is_some_and(|claim| claim.value >= min)
        })
        && query.max_memory_bytes.is_none_or(|max| memory_of(listing) <= max)
        && query.cores.is_none_or(|cores| hardware.cores <= cores)
        && query.gpu_memory_bytes.is_none_or(|bytes| hardware.gpu_memory_bytes <= bytes)
        && query.max_len_bytes.is_none_or(|max| listing.len_bytes <= max)
        && query.engine.as_ref().is_none_or(|engine| listing.engines.contains(engine))
        && (query.fits.is_empty() || gap_worth(&query.fits, interface) > 0.0)
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

/// A licence as it is compared: without regard to case, and its alternatives in order.
pub(crate) fn licence(text: &str) -> String {
    let text = text.trim().to_lowercase();
    let mut choices: Vec<&str> = alternatives(&text).map(str::trim).collect();
    choices.sort_unstable();
    choices.dedup();
    choices.join(" or ")
}

/// What a licence leaves to choose from. Parentheses bind alternatives to something else; such an expression stays whole.
pub(crate) fn alternatives(licence: &str) -> impl Iterator<Item = &str> {
    let is_whole = licence.contains(['(', ')']);
    let whole = is_whole.then_some(licence);
    let choices = (!is_whole).then(|| licence.split(" or "));
    whole.into_iter().chain(choices.into_iter().flatten())
}

/// Whether a licence, as it is compared, is what is asked for or offers it as an alternative.
pub(crate) fn permits(known: &str, asked: &str) -> bool {
    let asked = licence(asked);
    known == asked || alternatives(known).any(|one| one == asked)
}

/// Memory that running it needs: nothing when nothing is executed, everything when nothing is said.
pub(crate) fn memory_of(listing: &Listing) -> u64 {
    match &listing.contract {
        Some(contract) => contract.memory_bytes,
        None if listing.engines.is_empty() => 0,
        None => u64::MAX,
    }
}

/// Processor and GPU that running it needs.
pub(crate) fn hardware_of(listing: &Listing) -> &Hardware {
    listing.contract.as_ref().map_or(&listing.suggested.hardware, |contract| &contract.hardware)
}

/// How well some port meets `asked`, 0 to 1.
pub(crate) fn worth_of(asked: &TypeQuery, side: Side, interface: &Interface) -> f64 {
    let ports = crate::sets::ports(side, interface).iter();
    ports.map(|port| asked.worth(&port.port_type, side)).fold(0.0, f64::max)
}

/// How well an interface fills a gap, 0 to 1: the worse of its sides.
pub(crate) fn gap_worth(gap: &Gap, interface: &Interface) -> f64 {
    let into = gap.input.as_ref().map(|given| {
        let given = Port {
            name: "input".to_owned(),
            port_type: given.clone(),
            optional: false,
            location: None,
        };
        let fit = interface_fit(&[given], &interface.inputs);
        let takes_it = fit.feeds.iter().any(|feed| feed.output.is_some());
        if takes_it && fit.is_possible() { fit.worth() } else { 0.0 }
    });
    let out = gap.output.as_ref().map(|wanted| {
        let worths = interface.outputs.iter().map(|port| fit(&port.port_type, wanted).worth());
        worths.fold(0.0, f64::max)
    });
    let sides = [into, out].into_iter().flatten();
    sides.reduce(f64::min).unwrap_or(1.0)
}

/// The highest declared accuracy by `metric`, or by any; the first of equal ones. Values outside 0 to 1 count as not
/// declared.
pub(crate) fn best_accuracy<'a>(
    claims: &'a Claims,
    metric: Option<&str>,
) -> Option<&'a AccuracyClaim> {
    let metric = metric.map(str::to_lowercase);
    let is_by = |claim: &&AccuracyClaim| {
        (0.0..=1.0).contains(&claim.value)
            && metric.as_ref().is_none_or(|metric| claim.metric.to_lowercase() == *metric)
    };
    let better = |best: &'a AccuracyClaim, claim| -> &'a AccuracyClaim {
        let claim: &'a AccuracyClaim = claim;
        if claim.value > best.value { claim } else { best }
    };
    claims.accuracy.iter().take(crate::row::CLAIMS_MAX).filter(is_by).reduce(better)
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
