//! Listings for the tests: a plain model, and ways to change it.

use std::sync::Arc;

use guildhall_catalog::Entry;
use guildhall_protocol::body::{AccuracyClaim, Claims, LatencyClaim, Listing, Release, Suggested};
use guildhall_protocol::contract::{Contract, Determinism, Hardware};
use guildhall_protocol::interface::{
    Interface, MediaTypes, Port, PortType, PredictionKind, PredictionType,
};
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::{FederationId, Hash, PackageId, PublicKey, RecordId};

/// A port without anything special.
pub(crate) fn port(name: &str, port_type: PortType) -> Port {
    Port { name: name.into(), port_type, optional: false, location: None }
}

/// An image port of these media types.
pub(crate) fn image(media_types: &[&str]) -> PortType {
    let media_types = media_types.iter().map(|one| (*one).to_owned()).collect();
    PortType::Image(MediaTypes { media_types })
}

/// A package id made from a word.
pub(crate) fn package(seed: &str) -> PackageId {
    PackageId(Hash::of(seed.as_bytes()))
}

/// A key made from a word.
pub(crate) fn key(seed: &str) -> PublicKey {
    PublicKey::from_bytes(*Hash::of(seed.as_bytes()).as_bytes())
}

/// A well-described image classifier `org/name@version`, whose package, author and listing id follow from its name.
pub(crate) fn entry(reference: &str) -> Entry {
    let (path, version) = reference.split_once('@').unwrap();
    let (org, name) = path.split_once('/').unwrap();
    let prediction = PredictionType {
        value: PredictionKind::Class,
        labels: vec!["0".into(), "1".into()],
        location: None,
    };
    let listing = Listing {
        federation: FederationId(Hash::of(b"federation")),
        release: Release {
            name: name.parse().unwrap(),
            version: version.parse().unwrap(),
            package: package(reference),
        },
        kind: Kind::Model,
        categories: vec!["vision/image-classification".parse().unwrap()],
        summary: "Reads handwritten numerals.".into(),
        keywords: vec!["mnist".into(), "ocr".into()],
        interface: Interface {
            inputs: vec![port("image", image(&["image/png"]))],
            outputs: vec![port("class", PortType::Prediction(prediction))],
        },
        engines: vec!["onnx".into()],
        contract: Some(Contract {
            scoring_ms: 50,
            measured_on: "2 cores".into(),
            memory_bytes: 64 << 20,
            scratch_bytes: 0,
            output_bytes: 1 << 16,
            batch_max: 1,
            total_ms: None,
            queue_ms: None,
            imports: Vec::new(),
            hardware: Hardware::default(),
            determinism: Determinism::Bitwise,
        }),
        len_bytes: 1000,
        claims: Claims {
            accuracy: vec![AccuracyClaim {
                metric: "accuracy".into(),
                dataset: "UCI digits held-out".into(),
                value: 0.981,
            }],
            latency: vec![LatencyClaim { p50_ms: 0.4, hardware: "2 x86 cores".into() }],
        },
        suggested: Suggested::default(),
        uses: Vec::new(),
        documentation: Some("README.md".parse().unwrap()),
        examples: vec!["example.ipynb".parse().unwrap()],
        licence: "MIT".into(),
        visibility: guildhall_protocol::body::Visibility::Federation,
        replicas: 3,
    };
    Entry {
        org: org.parse().unwrap(),
        root: key(org),
        listing: Arc::new(listing),
        listing_id: RecordId(Hash::of(format!("listing of {reference}").as_bytes())),
        seq: 0,
        author: key(&format!("producer of {org}")),
        time_ms: 0,
    }
}

/// `entry(reference)` with a changed listing.
pub(crate) fn with(reference: &str, change: impl FnOnce(&mut Listing)) -> Entry {
    let mut entry = entry(reference);
    change(Arc::make_mut(&mut entry.listing));
    entry
}
