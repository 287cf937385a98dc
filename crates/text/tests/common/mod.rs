//! Listings with given words, and what an index finds.

#![allow(dead_code, clippy::unwrap_used, reason = "every test uses a part of it, and may panic")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use guildhall_catalog::text::TextIndex;
use guildhall_catalog::words::{Terms, Wanted};
use guildhall_protocol::body::{Claims, Listing, Release, Suggested, Visibility};
use guildhall_protocol::interface::Interface;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::{FederationId, Hash, PackageId};
use roaring::RoaringBitmap;

/// The terms of a listing with these words, and with "test", which stands before its category.
pub(crate) fn terms(name: &str, keywords: &[&str], category: &str, summary: &str) -> Terms {
    Terms::of(&Listing {
        federation: FederationId(Hash::of(b"federation")),
        release: Release {
            name: name.parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            package: PackageId(Hash::of(name.as_bytes())),
        },
        kind: Kind::Data,
        categories: vec![format!("test/{category}").parse().unwrap()],
        summary: summary.into(),
        keywords: keywords.iter().map(|word| (*word).to_owned()).collect(),
        interface: Interface { inputs: Vec::new(), outputs: Vec::new() },
        engines: Vec::new(),
        contract: None,
        len_bytes: 1,
        claims: Claims { accuracy: Vec::new(), latency: Vec::new() },
        suggested: Suggested::default(),
        uses: Vec::new(),
        documentation: None,
        examples: Vec::new(),
        licence: "MIT".into(),
        visibility: Visibility::Federation,
        replicas: 1,
    })
}

/// A listing whose summary says `words`.
pub(crate) fn says(words: &str) -> Terms {
    terms("xx", &[], "task", words)
}

/// What a query finds; fails when a listing is found twice.
pub(crate) fn found(
    index: &dyn TextIndex,
    wanted: &Wanted,
    within: Option<&RoaringBitmap>,
) -> BTreeMap<u32, f32> {
    let mut found = BTreeMap::new();
    index.find(wanted, within, &mut |number, value| {
        assert_eq!(found.insert(number, value), None, "{number} is found twice");
    });
    found
}

/// The numbers that have `word`.
pub(crate) fn numbers(index: &dyn TextIndex, word: &str) -> Vec<u32> {
    found(index, &Wanted::new(Some(word)), None).into_keys().collect()
}

/// Waits until `holds`.
pub(crate) fn converge(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
