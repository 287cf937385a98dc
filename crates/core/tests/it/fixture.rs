//! Who and what the tests are about: orgs with keys from their names, listings, and worlds that have come together.

use std::collections::BTreeMap;
use std::sync::Arc;

use guildhall_catalog::text::MemoryIndex;
use guildhall_catalog::{Asked, Catalog, Shelf};
use guildhall_core::{Core, DelegatedKey};
use guildhall_federation::State;
use guildhall_protocol::body::{Confirmation, Listing};
use guildhall_protocol::limits::DELEGATION_MAX_LIFE_MS;
use guildhall_protocol::query::Query;
use guildhall_protocol::record::{Body, Position, Record};
use guildhall_protocol::statement::Role;
use guildhall_protocol::{FederationId, PublicKey};
use guildhall_sim::World;

pub(crate) use guildhall_sim::orgs::{
    DAY_MS, START_MS, another_node, founding, identity, listing, secret, settings,
};

/// Whatever is in a category; as many as there are.
pub(crate) fn in_category(category: &str) -> Query {
    Query { category: Some(category.parse().unwrap()), limit: 100, ..Query::default() }
}

/// The first `len` records of the log of a further producer of an org; nothing that anybody evaluates.
pub(crate) fn log_of(org: &str, number: u32, len: u64) -> Vec<Record> {
    let root = secret(&format!("root of {org}"));
    let key = secret(&format!("producer {number} of {org}"));
    let until = START_MS - DAY_MS + DELEGATION_MAX_LIFE_MS;
    let key = DelegatedKey::issue(&root, key, Role::Producer, START_MS - DAY_MS, until);
    let body = Body { record_type: "later", version: 1, bytes: b"x" };
    let mut prev = None;
    let record = |seq| {
        let at = Position { seq, prev };
        let record = Record::write(&key.secret, &key.delegation, at, &body, START_MS).unwrap();
        prev = Some(record.id());
        record
    };
    (0..len).map(record).collect()
}

/// As many further logs of an org's producers, of one record each.
pub(crate) fn logs_of(org: &str, count: u32) -> Vec<Record> {
    (0..count).flat_map(|number| log_of(org, number, 1)).collect()
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

/// Asserts that a node started from its store would know what it knows now, with a snapshot of the catalogue as it was
/// after half of its records, and without one.
pub(crate) fn assert_restart_changes_nothing(world: &World, node: usize) {
    let node = &world.nodes[node];
    let old = &node.core;
    let records: Vec<&Record> = node.store.values().collect();
    let shelf: Arc<dyn Shelf> = Arc::new(Records(node.store.clone()));
    let empty = || {
        let mut catalog = Catalog::default();
        catalog.set_shelf(Arc::clone(&shelf));
        catalog
    };
    let before = started(node, empty(), &records[..records.len() / 2]);
    let mut snapshot = Vec::new();
    before.catalog().save(before.federation().id(), &mut snapshot).unwrap();
    let restored = Catalog::restore(
        before.federation().id(),
        &mut snapshot.as_slice(),
        Arc::clone(&shelf),
        |_| Ok(Box::new(MemoryIndex::default())),
    );
    for catalog in [empty(), restored.unwrap()] {
        let new = started(node, catalog, &records);
        assert_eq!(new.federation(), old.federation());
        assert_eq!(new.logs().heads(), old.logs().heads());
        assert_eq!(new.logs().records(), old.logs().records());
        assert_eq!(new.nodes().collect::<Vec<_>>(), old.nodes().collect::<Vec<_>>());
        assert_eq!(catalogued(&new), catalogued(old));
        let demand = |core: &Core| core.demand_report(&[], world.now_ms).federation;
        assert_eq!(demand(&new), demand(old));
    }
}

/// A core that starts with this catalogue from these records, as a node does.
fn started(node: &guildhall_sim::Node, catalog: Catalog, records: &[&Record]) -> Core {
    let old = &node.core;
    let state = State::found(node.founding.clone()).unwrap();
    let mut new = Core::new(old.identity().clone(), old.settings().clone(), state);
    new.set_catalog(catalog);
    let mut left = Vec::new();
    for record in records {
        let header = record.header();
        let is_known = new.is_restored_at(&header.author, header.seq, &record.id());
        if is_known && new.restore_record(&header.author, header.seq, &record.id()) {
            continue;
        }
        new.load_member(record);
        if !new.is_restored(record) {
            left.push(record);
        }
    }
    for record in left {
        // What it would say in the DHT was said.
        let _provided = new.load(record);
    }
    let _provided = new.finish_load();
    new
}

/// The records of a node, as its catalogue reads them.
#[derive(Debug)]
struct Records(BTreeMap<(PublicKey, u64), Record>);

impl Shelf for Records {
    fn listing(&self, author: &PublicKey, seq: u64) -> Option<Listing> {
        self.0.get(&(*author, seq))?.body_as::<Listing>()?.ok()
    }
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
