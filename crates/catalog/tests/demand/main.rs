//! Demand: which queries count as unmet, what is published of them, and what the reports of many orgs add up to.

#![expect(
    clippy::unwrap_used,
    reason = "a test may panic, and its shared parts are not tests to clippy"
)]

mod aggregate;
mod publish;
mod watch;

use guildhall_catalog::demand::{Need, Watch};
use guildhall_protocol::body::Unmet;
use guildhall_protocol::query::Query;
use guildhall_protocol::{Hash, PackageId};

/// When every test begins, milliseconds since 1970.
const START_MS: u64 = 1_800_000_000_000;

const MINUTE_MS: u64 = 60 * 1000;

const HOUR_MS: u64 = 60 * MINUTE_MS;

const DAY_MS: u64 = 24 * HOUR_MS;

/// Words in a category.
fn query(category: &str, text: &str) -> Query {
    let text = (!text.is_empty()).then(|| text.to_owned());
    Query { category: Some(category.parse().unwrap()), text, ..Query::default() }
}

fn id(number: u64) -> Hash {
    Hash::of(&number.to_be_bytes())
}

fn package(number: u64) -> PackageId {
    PackageId(Hash::of(format!("package {number}").as_bytes()))
}

/// Asks for as many different things in a category, all in vain.
fn miss(watch: &mut Watch, category: &str, times: u64, now_ms: u64) {
    for number in 0..times {
        let words = format!("{now_ms} {number}");
        watch.handle_answer(id(number), &query(category, &words), &[], now_ms);
    }
}

/// What a node says was missed in a category, whatever the kind and types.
fn unmet(category: &str, count: u32) -> Unmet {
    Need::of(&query(category, "")).unmet(count)
}

/// What a watch has counted.
fn counted(watch: &Watch) -> Vec<Unmet> {
    watch.report().unmet.into_iter().map(|(unmet, _)| unmet).collect()
}
