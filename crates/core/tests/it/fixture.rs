//! Who and what the tests are about: orgs with keys from their names, listings, and worlds that have come together.

use guildhall_catalog::Asked;
use guildhall_core::{Core, DelegatedKey, Identity, Settings};
use guildhall_federation::State;
use guildhall_protocol::body::{
    AccuracyClaim, Claims, Confirmation, Listing, Release, Suggested, Visibility,
};
use guildhall_protocol::interface::Interface;
use guildhall_protocol::limits::DELEGATION_MAX_LIFE_MS;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::query::Query;
use guildhall_protocol::record::Record;
use guildhall_protocol::statement::{Founding, Role, Signed};
use guildhall_protocol::{FederationId, Hash, PackageId, PublicKey, SecretKey};

use crate::world::World;

/// When every world begins, milliseconds since 1970.
pub(crate) const START_MS: u64 = 1_800_000_000_000;

pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A key made from words.
pub(crate) fn secret(words: &str) -> SecretKey {
    SecretKey::from_seed(Hash::of(words.as_bytes()).as_bytes())
}

/// The keys of an org's only node.
pub(crate) fn identity(org: &str) -> Identity {
    let root = secret(&format!("root of {org}"));
    let issue = |role, what: &str| {
        let key = secret(&format!("{what} of {org}"));
        let until = START_MS - DAY_MS + DELEGATION_MAX_LIFE_MS;
        DelegatedKey::issue(&root, key, role, START_MS - DAY_MS, until)
    };
    Identity {
        org: org.parse().unwrap(),
        root: root.public(),
        node: issue(Role::Node, "node"),
        producer: issue(Role::Producer, "producer"),
    }
}

pub(crate) fn settings(org: &str, follows: &[&str]) -> Settings {
    Settings {
        follows: follows.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        offer: None,
        engines: vec!["onnx".into()],
        isolation: vec!["rlimits".into()],
        software: "guildhall/test".into(),
        lease_seed: Hash::of(org.as_bytes()),
    }
}

/// The federation that an org founds.
pub(crate) fn founding(org: &str) -> Signed {
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

/// A well-described listing `name@version` in a category.
pub(crate) fn listing(federation: FederationId, name: &str, category: &str) -> Listing {
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

/// Whatever is in a category; as many as there are.
pub(crate) fn in_category(category: &str) -> Query {
    Query { category: Some(category.parse().unwrap()), limit: 100, ..Query::default() }
}

/// Adds a node that is alone in the federation that its org founded.
pub(crate) fn add_alone(world: &mut World, org: &str, follows: &[&str]) -> usize {
    world.add((identity(org), settings(org, follows)), founding(org), [])
}

/// Names of the orgs of [`federation`], in order.
pub(crate) const ORGS: [&str; 7] =
    ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf"];

/// Nodes of as many orgs as `follows` has entries, all in the federation of the first, which invited the others; not
/// connected, and each with every record up to here.
pub(crate) fn federation(seed: u64, follows: &[&[&str]]) -> World {
    let who = |index: usize| (identity(ORGS[index]), settings(ORGS[index], follows[index]));
    let mut apart = World::new(seed);
    for index in 0..follows.len() {
        apart.add(who(index), founding(ORGS[0]), []);
    }
    for index in 1..follows.len() {
        let invite = apart.invite(0, DAY_MS);
        let acceptance = apart.nodes[index].core.acceptance(&invite);
        let acceptance = apart.write_as_node(index, &acceptance).id();
        let federation = invite.federation;
        let confirmation = Confirmation { federation, admission: invite.admission, acceptance };
        apart.write_as_node(0, &confirmation);
    }
    let records: Vec<Record> =
        apart.nodes.iter().flat_map(|node| node.store.values().cloned()).collect();
    let mut together = World::new(seed);
    for index in 0..follows.len() {
        together.add(who(index), founding(ORGS[0]), records.iter().cloned());
    }
    together
}

/// Connects every two nodes that are not cut off from each other, and lets them greet and compare.
pub(crate) fn connect_all(world: &mut World) {
    for a in 0..world.nodes.len() {
        for b in 0..a {
            world.connect(a, b);
        }
    }
    world.run_for(3_000);
}

/// The federation's id at a node.
pub(crate) fn id_of(world: &World, node: usize) -> FederationId {
    world.nodes[node].core.federation().id()
}

/// Lets a node list `name` in `category`.
pub(crate) fn publish(world: &mut World, node: usize, name: &str, category: &str) -> Record {
    let listing = listing(id_of(world, node), name, category);
    world.publish(node, &listing)
}

/// Names of the members that a node sees, in order.
pub(crate) fn members(world: &World, node: usize) -> Vec<String> {
    let members = world.nodes[node].core.federation().members();
    let mut names: Vec<String> = members.map(|(_, member)| member.org.to_string()).collect();
    names.sort();
    names
}

/// What a node's own catalogue finds in a category: references, best first.
pub(crate) fn listed(core: &Core, category: &str) -> Vec<String> {
    let found = core.catalog().search(&in_category(category), Asked::default());
    found.results.into_iter().map(|suggestion| suggestion.reference.to_string()).collect()
}

/// Asserts that a node started from its store would know what it knows now.
pub(crate) fn assert_restart_changes_nothing(world: &World, node: usize) {
    let node = &world.nodes[node];
    let old = &node.core;
    let state = State::found(node.founding.clone()).unwrap();
    let mut new = Core::new(old.identity().clone(), old.settings().clone(), state);
    node.store.values().for_each(|record| new.load_member(record));
    for record in node.store.values() {
        // What it would say in the DHT was said.
        let _provided = new.load(record);
    }
    assert_eq!(new.federation(), old.federation());
    assert_eq!(new.logs().heads(), old.logs().heads());
    assert_eq!(new.nodes().collect::<Vec<_>>(), old.nodes().collect::<Vec<_>>());
    assert_eq!(catalogued(&new), catalogued(old));
    let demand = |core: &Core| core.demand_report(&[], world.now_ms).federation;
    assert_eq!(demand(&new), demand(old));
}

/// Everything that is shown of a catalogue.
pub(crate) fn catalogued(core: &Core) -> Vec<String> {
    let line = |brief: guildhall_catalog::Brief<'_>| {
        let reference = brief.reference().unwrap();
        format!("{reference} {:?} {}", brief.listing_id(), brief.yanked().is_some())
    };
    core.catalog().briefs().map(line).collect()
}

/// The key of a node that nobody knows.
pub(crate) fn stranger(words: &str) -> PublicKey {
    secret(words).public()
}
