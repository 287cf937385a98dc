//! Who takes part: orgs with keys that follow from their names, and the records with which they become a federation.

use guildhall_core::{DelegatedKey, Identity, Settings};
use guildhall_protocol::body::{
    AccuracyClaim, Claims, Confirmation, Listing, Release, Suggested, Visibility,
};
use guildhall_protocol::interface::Interface;
use guildhall_protocol::limits::DELEGATION_MAX_LIFE_MS;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::record::Record;
use guildhall_protocol::statement::{Founding, Role, Signed};
use guildhall_protocol::{FederationId, Hash, PackageId, SecretKey};

use crate::World;

/// When every world begins, milliseconds since 1970.
pub const START_MS: u64 = 1_800_000_000_000;

/// A day, milliseconds.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A key made from words.
#[must_use]
pub fn secret(words: &str) -> SecretKey {
    SecretKey::from_seed(Hash::of(words.as_bytes()).as_bytes())
}

/// A further key of an org.
#[must_use]
pub fn delegated(org: &str, words: &str, role: Role) -> DelegatedKey {
    let root = secret(&format!("root of {org}"));
    let until = START_MS - DAY_MS + DELEGATION_MAX_LIFE_MS;
    DelegatedKey::issue(&root, secret(words), role, START_MS - DAY_MS, until)
}

/// The keys of an org's only node.
#[must_use]
pub fn identity(org: &str) -> Identity {
    Identity {
        org: org.parse().unwrap(),
        root: secret(&format!("root of {org}")).public(),
        node: delegated(org, &format!("node of {org}"), Role::Node),
        producer: delegated(org, &format!("producer of {org}"), Role::Producer),
    }
}

/// The keys of a further node of an org, which its producer does not use.
#[must_use]
pub fn another_node(org: &str, number: usize) -> Identity {
    let node = delegated(org, &format!("node {number} of {org}"), Role::Node);
    Identity { node, ..identity(org) }
}

/// The keys of a further node of an org, with a producer key of its own.
#[must_use]
pub fn another_site(org: &str, number: usize) -> Identity {
    let producer = delegated(org, &format!("producer {number} of {org}"), Role::Producer);
    Identity { producer, ..another_node(org, number) }
}

/// What an org's keeper decided: it follows these categories and lends nothing.
#[must_use]
pub fn settings(org: &str, follows: &[&str]) -> Settings {
    Settings {
        follows: follows.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        offer: None,
        engines: vec!["onnx".into()],
        isolation: vec!["rlimits".into()],
        draining: false,
        software: "guildhall/test".into(),
        lease_seed: Hash::of(org.as_bytes()),
        compare_seed: Hash::of(format!("comparisons of {org}").as_bytes()),
        link_seed: Hash::of(format!("links of {org}").as_bytes()),
    }
}

/// The federation that an org founds.
#[must_use]
pub fn founding(org: &str) -> Signed {
    let root = secret(&format!("root of {org}"));
    let founding = Founding {
        name: format!("guild of {org}"),
        root: root.public(),
        org: org.parse().unwrap(),
        admit: 1,
        change: 1,
        time_ms: START_MS,
        nonce: Hash::of(org.as_bytes()),
    };
    Signed::new(&founding, &root)
}

/// A well-described listing `name@1.0.0` in a category.
#[must_use]
pub fn listing(federation: FederationId, name: &str, category: &str) -> Listing {
    Listing {
        federation,
        release: Release {
            name: name.parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            package: PackageId(Hash::of(name.as_bytes())),
        },
        kind: Kind::Model,
        categories: vec![category.parse().unwrap()],
        summary: format!("{name} in {category}"),
        keywords: Vec::new(),
        interface: Interface::default(),
        engines: vec!["onnx".into()],
        contract: None,
        len_bytes: 1000,
        claims: Claims {
            accuracy: vec![AccuracyClaim {
                metric: "accuracy".into(),
                dataset: "held-out".into(),
                value: 0.9,
            }],
            latency: Vec::new(),
        },
        suggested: Suggested::default(),
        uses: Vec::new(),
        documentation: None,
        examples: Vec::new(),
        licence: "MIT".into(),
        visibility: Visibility::Federation,
        replicas: 3,
    }
}

/// The records with which `orgs` are members of the federation of the first, which invited all others, and with which
/// their nodes describe themselves.
#[must_use]
pub fn membership(orgs: &[String], follows: &[&str]) -> Vec<Record> {
    let mut apart = World::new(1);
    for org in orgs {
        apart.add((identity(org), settings(org, follows)), founding(&orgs[0]), []);
    }
    for index in 1..orgs.len() {
        let invite = apart.invite(0, DAY_MS);
        let acceptance = apart.nodes[index].core.acceptance(&invite);
        let acceptance = apart.write_as_node(index, &acceptance).id();
        let federation = invite.federation;
        let confirmation = Confirmation { federation, admission: invite.admission, acceptance };
        apart.write_as_node(0, &confirmation);
    }
    apart.nodes.iter().flat_map(|node| node.store.values().cloned()).collect()
}
