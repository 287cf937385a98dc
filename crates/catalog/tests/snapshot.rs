//! A catalogue that was put on disk and read again answers as before; a damaged one is given up.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up should panic")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{entry, key, package, with};
use guildhall_catalog::rank::Ranking;
use guildhall_catalog::text::MemoryIndex;
use guildhall_catalog::{Asked, Catalog, Entry, RestoreError, Shelf};
use guildhall_protocol::body::{Listing, Yank};
use guildhall_protocol::query::Query;
use guildhall_protocol::{FederationId, Hash, PublicKey};
use guildhall_samples::Generator;

/// Records on disk, as far as the catalogue reads them.
#[derive(Debug, Default)]
struct Disk(BTreeMap<(PublicKey, u64), Listing>);

impl Shelf for Disk {
    fn listing(&self, author: &PublicKey, seq: u64) -> Option<Listing> {
        self.0.get(&(*author, seq)).cloned()
    }
}

fn filled(count: usize) -> (Catalog, Arc<Disk>) {
    let entries: Vec<Entry> = Generator::new(7)
        .take(count)
        .map(|made| Entry {
            org: made.org,
            root: made.root,
            listing: Arc::new(made.listing),
            listing_id: made.listing_id,
            seq: made.seq,
            author: made.author,
            time_ms: made.time_ms,
        })
        .collect();
    let place = |entry: &Entry| ((entry.author, entry.seq), (*entry.listing).clone());
    let disk = Arc::new(Disk(entries.iter().map(place).collect()));
    let mut catalog = Catalog::default();
    catalog.set_shelf(Arc::clone(&disk) as Arc<dyn Shelf>);
    catalog.set_day(20_000);
    for entry in entries {
        catalog.insert(entry, true);
    }
    (catalog, disk)
}

fn federation() -> FederationId {
    FederationId(Hash::of(b"federation"))
}

fn saved(catalog: &Catalog) -> Vec<u8> {
    let mut bytes = Vec::new();
    catalog.save(federation(), &mut bytes).unwrap();
    bytes
}

fn restored(bytes: &[u8], disk: &Arc<Disk>) -> Result<Catalog, RestoreError> {
    let shelf = Arc::clone(disk) as Arc<dyn Shelf>;
    Catalog::restore(federation(), &mut &*bytes, shelf, |_| Ok(Box::new(MemoryIndex::default())))
}

/// What a catalogue answers to many questions, and all that it lists.
fn seen(catalog: &Catalog) -> Vec<String> {
    let mut generator = Generator::new(7);
    let queries = generator.queries().take(200).chain([Query::default()]);
    let mut seen: Vec<String> = queries
        .map(|query| {
            // One word each: how several are weighed is an estimate, which also counts what was removed.
            let text = query.text.and_then(|text| text.split(' ').next().map(str::to_owned));
            let query = Query { facets: true, text, ..query };
            let answer = catalog.search(&query, Asked::default());
            format!("{:?} {:?} {}", answer.results, answer.facets, answer.total)
        })
        .collect();
    let line = |brief: guildhall_catalog::Brief<'_>| {
        format!("{:?} {:?} {:?}", brief.reference(), brief.listing_id(), brief.entry().is_some())
    };
    seen.extend(catalog.briefs().map(line));
    seen.extend(catalog.category_counts().iter().map(|one| format!("{one:?}")));
    seen.push(format!("{}", catalog.len()));
    seen
}

#[test]
fn a_restored_catalogue_answers_as_before_and_goes_on() {
    let (mut catalog, disk) = filled(600);
    let renamed = *catalog.orgs().next().unwrap().0;
    catalog.rename_org(&renamed, &"renamed".parse().unwrap());
    let gone = *catalog.orgs().last().unwrap().0;
    catalog.remove_org(&gone);
    let used = catalog.briefs().next().unwrap().package();
    assert!((0..5).all(|_| catalog.used(used)));
    catalog.set_holders(used, 2);
    let mut ranking = Ranking::default();
    ranking.weights.set("usage", 5.0).unwrap();
    catalog.set_ranking(ranking);
    catalog.set_home(renamed);
    let mut again = restored(&saved(&catalog), &disk).unwrap();
    assert_eq!(seen(&again), seen(&catalog));
    for catalog in [&mut catalog, &mut again] {
        catalog.insert(entry("lab/digits@1.0.0"), true);
        catalog.insert(entry("lab/digits@1.1.0"), true);
        let yank = Yank {
            name: "digits".parse().unwrap(),
            version: "1.1.0".parse().unwrap(),
            package: package("lab/digits@1.1.0"),
            why: "wrong".into(),
        };
        catalog.yank(key("lab"), yank, 1);
    }
    let reference = "lab/digits".parse().unwrap();
    assert_eq!(again.resolve(&reference), catalog.resolve(&reference));
}

#[test]
fn what_is_on_no_disk_is_not_in_a_snapshot() {
    let (mut catalog, disk) = filled(50);
    let before = catalog.len();
    catalog.insert(with("lab/looked-up@1.0.0", |l| l.replicas = 0), false);
    let again = restored(&saved(&catalog), &disk).unwrap();
    assert_eq!(again.len(), before);
    assert!(again.resolve(&"lab/looked-up".parse().unwrap()).is_err());
}

#[test]
fn listings_whose_records_are_gone_are_left_out() {
    let (catalog, disk) = filled(100);
    let mut again = restored(&saved(&catalog), &disk).unwrap();
    let kept = again.places().filter(|(_, seq, _)| *seq == 0).count();
    let gone = again.retain(|_, seq, _| seq == 0);
    assert_eq!(gone + kept, 100);
    assert_eq!(again.briefs().count(), again.len());
    assert_eq!(again.places().count(), kept);
}

#[test]
fn a_damaged_snapshot_is_given_up_whatever_is_wrong_with_it() {
    let (catalog, disk) = filled(40);
    let bytes = saved(&catalog);
    for at in (0..bytes.len()).step_by(bytes.len() / 300) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        assert!(restored(&damaged, &disk).is_err(), "byte {at} is changed");
        assert!(restored(&bytes[..at], &disk).is_err(), "it ends at byte {at}");
    }
    assert!(restored(&bytes, &disk).is_ok());
}

#[test]
fn a_snapshot_that_counts_mostly_what_was_replaced_is_given_up() {
    let (mut catalog, disk) = filled(10);
    for seq in 0..20_000 {
        catalog.insert(Entry { seq, ..entry("lab/digits@1.0.0") }, true);
    }
    let again = restored(&saved(&catalog), &disk);
    assert!(matches!(again, Err(RestoreError::Worn)), "{again:?}");
}

#[test]
fn listings_beyond_the_newest_are_read_from_the_shelf() {
    let (catalog, _) = filled(guildhall_catalog::RESIDENT_MAX + 500);
    assert!(catalog.briefs().all(|brief| brief.entry().is_some()));
    let everything = catalog.search(&Query { limit: 100, ..Query::default() }, Asked::default());
    assert_eq!(everything.results.len(), 100);
}
