use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use guildhall_protocol::tree::PIECE_BYTES;
use guildhall_protocol::{Hash, PackageId};
use proptest::prelude::*;

use super::partials::fill;
use super::sweep::scrubbed;
use super::{author, bytes_of, file_of, id_of, open, stage};
use crate::{Batch, Collection, ScrubItem, Store};

#[derive(Debug, Clone)]
enum Step {
    Record(u8, u64, Vec<u8>),
    Package(u8, Vec<u8>),
    DropPackage(u8),
    Document(u8, Vec<u8>),
    DropDocument(u8),
    Blob(u8),
    DropBlob(u8),
}

/// What a store should hold.
#[derive(Default)]
struct Model {
    records: BTreeMap<(u8, u64), Vec<u8>>,
    packages: BTreeMap<u8, Vec<u8>>,
    documents: BTreeMap<u8, Vec<u8>>,
    blobs: BTreeSet<u8>,
    /// Pieces saved of the blob that comes in pieces; none if it is not there.
    partial: Option<BTreeSet<u64>>,
}

/// Things done between batches.
#[derive(Debug, Clone)]
enum Upkeep {
    Nothing,
    Reopen,
    /// Receives a piece, and saves it or not.
    Piece(u64, bool),
    /// Adds the blob that comes in pieces, if it is whole.
    Finish,
    /// Removes blobs whose number is below this, and the one that comes in pieces.
    Sweep(u8),
}

fn upkeep() -> impl Strategy<Value = Upkeep> {
    prop_oneof![
        1 => Just(Upkeep::Nothing),
        1 => Just(Upkeep::Reopen),
        4 => (0..2_u64, any::<bool>()).prop_map(|(piece, save)| Upkeep::Piece(piece, save)),
        2 => Just(Upkeep::Finish),
        1 => (0..5_u8).prop_map(Upkeep::Sweep),
    ]
}

/// Blobs in rows, in files, and of several pieces.
fn blob(number: u8) -> Vec<u8> {
    let len = [100, 16 * 1024, 50_000, PIECE_BYTES as usize + 1, PIECE_BYTES as usize + 30_000];
    bytes_of(len[usize::from(number)], number.into())
}

/// The one that comes in pieces.
const COMING: u8 = 4;

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        3 => (0..3_u8, 0..4_u64, bytes()).prop_map(|(log, seq, b)| Step::Record(log, seq, b)),
        1 => (0..3_u8, bytes()).prop_map(|(name, b)| Step::Package(name, b)),
        1 => (0..3_u8).prop_map(Step::DropPackage),
        1 => (0..3_u8, bytes()).prop_map(|(key, b)| Step::Document(key, b)),
        1 => (0..3_u8).prop_map(Step::DropDocument),
        2 => (0..4_u8).prop_map(Step::Blob),
        1 => (0..4_u8).prop_map(Step::DropBlob),
    ]
}

fn package(name: u8) -> PackageId {
    PackageId(Hash::of(&[name]))
}

impl Model {
    fn apply(&mut self, step: Step, store: &Store, batch: &mut Batch) {
        match step {
            Step::Record(log, seq, mut bytes) => {
                bytes.extend([log, seq as u8]);
                batch.put_record(author(log), seq, id_of(&bytes), bytes.clone());
                self.records.insert((log, seq), bytes);
            }
            Step::Package(name, bytes) => {
                batch.put_package(package(name), bytes.clone());
                self.packages.insert(name, bytes);
            }
            Step::DropPackage(name) => {
                batch.delete_package(package(name));
                self.packages.remove(&name);
            }
            Step::Document(key, bytes) => {
                batch.put_document(Collection::ErrorLogs, &[key], bytes.clone());
                self.documents.insert(key, bytes);
            }
            Step::DropDocument(key) => {
                batch.delete_document(Collection::ErrorLogs, &[key]);
                self.documents.remove(&key);
            }
            Step::Blob(number) => {
                batch.add_blob(stage(store, &blob(number)));
                self.blobs.insert(number);
            }
            Step::DropBlob(number) => {
                batch.forget_blob(Hash::of(&blob(number)));
                self.blobs.remove(&number);
            }
        }
    }

    fn upkeep(&mut self, what: &Upkeep, store: &Store) {
        let coming = blob(COMING);
        let open_it = || store.partial(Hash::of(&coming), coming.len() as u64).expect("opens");
        match what {
            Upkeep::Nothing | Upkeep::Reopen => {}
            Upkeep::Piece(piece, save) => {
                let partial = open_it();
                let saved = self.partial.get_or_insert_default();
                let missing = (0..2).filter(|piece| !saved.contains(piece)).collect::<Vec<_>>();
                assert_eq!(partial.missing(), missing);
                if missing.contains(piece) {
                    fill(&partial, &coming, &[*piece]);
                    if *save {
                        partial.checkpoint().expect("saves");
                        saved.insert(*piece);
                    }
                }
            }
            Upkeep::Finish => {
                let whole = self.partial.get_or_insert_default().len() == 2;
                let staged = open_it().stage();
                assert_eq!(staged.is_ok(), whole);
                if let Ok(staged) = staged {
                    let mut batch = Batch::new();
                    batch.add_blob(staged);
                    store.commit_blocking(batch).expect("commits");
                    self.blobs.insert(COMING);
                    self.partial = None;
                }
            }
            Upkeep::Sweep(below) => {
                let hashes: Vec<_> =
                    (*below..=COMING).map(|number| Hash::of(&blob(number))).collect();
                let swept = store.sweep(&|hash| hashes[..hashes.len() - 1].contains(hash));
                let swept = swept.expect("sweeps");
                let before = self.blobs.len();
                self.blobs.retain(|number| number >= below && *number != COMING);
                assert_eq!(swept.blobs, (before - self.blobs.len()) as u64);
                assert_eq!(swept.partials, u64::from(self.partial.take().is_some()));
                assert_eq!((swept.trees, swept.files), (0, 0), "nothing is left lying about");
            }
        }
    }

    fn check_blobs(&self, dir: &Path, store: &Store) {
        for number in 0..=COMING {
            let bytes = blob(number);
            let here = self.blobs.contains(&number);
            let hash = Hash::of(&bytes);
            assert_eq!(store.has_blob(&hash).expect("reads"), here);
            assert_eq!(file_of(dir, &hash).exists(), here && bytes.len() > 16 * 1024);
            if here {
                assert_eq!(store.read_blob(&hash, 1 << 30).expect("reads"), bytes);
            }
        }
        let saved: Vec<_> = store.partials().expect("lists");
        assert_eq!(saved.len(), usize::from(self.partial.is_some()));
        let stale = |item: &ScrubItem| matches!(item, ScrubItem::StalePartial { .. });
        assert!(scrubbed(store).iter().all(stale));
    }

    fn check(&self, store: &Store) {
        let (records, report) = super::load(store);
        assert!(report.is_complete());
        let expected = self.records.iter().map(|((log, seq), b)| (author(*log), *seq, b.clone()));
        assert_eq!(records, expected.collect::<Vec<_>>());
        for ((log, seq), bytes) in &self.records {
            let found = store.record_by_id(&id_of(bytes)).expect("reads").expect("is there");
            assert_eq!((found.author, found.seq), (author(*log), *seq));
        }
        for name in 0..3 {
            let found = store.package(&package(name)).expect("reads");
            assert_eq!(found.as_ref(), self.packages.get(&name));
        }
        let page = store.documents(Collection::ErrorLogs, None, 99).expect("reads");
        let expected = self.documents.iter().map(|(key, b)| (vec![*key], b.clone()));
        assert_eq!(page.documents, expected.collect::<Vec<_>>());
        let usage = store.usage().expect("usage");
        let sum = |lens: &mut dyn Iterator<Item = usize>| lens.sum::<usize>() as u64;
        assert_eq!(usage.records, self.records.len() as u64);
        assert_eq!(usage.record_bytes, sum(&mut self.records.values().map(Vec::len)));
        assert_eq!(usage.packages, self.packages.len() as u64);
        assert_eq!(usage.package_bytes, sum(&mut self.packages.values().map(Vec::len)));
        assert_eq!(usage.documents, self.documents.len() as u64);
    }
}

proptest! {
    // Each case is a few dozen fsyncs.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_store_holds_what_a_map_would(
        batches in prop::collection::vec((prop::collection::vec(step(), 0..8), upkeep()), 1..8)
    ) {
        let dir = super::folder();
        let mut store = open(dir.path());
        let mut model = Model::default();
        for (steps, what) in batches {
            let mut batch = Batch::new();
            for step in steps {
                model.apply(step, &store, &mut batch);
            }
            store.commit_blocking(batch).expect("commits");
            model.upkeep(&what, &store);
            if matches!(what, Upkeep::Reopen) {
                drop(store);
                store = open(dir.path());
            }
            model.check(&store);
            model.check_blobs(dir.path(), &store);
        }
    }
}
