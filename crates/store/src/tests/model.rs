use std::collections::BTreeMap;

use guildhall_protocol::{Hash, PackageId};
use proptest::prelude::*;

use super::{author, id_of, open};
use crate::{Batch, Collection, Store};

#[derive(Debug, Clone)]
enum Step {
    Record(u8, u64, Vec<u8>),
    Package(u8, Vec<u8>),
    DropPackage(u8),
    Document(u8, Vec<u8>),
    DropDocument(u8),
}

/// What a store should hold.
#[derive(Default)]
struct Model {
    records: BTreeMap<(u8, u64), Vec<u8>>,
    packages: BTreeMap<u8, Vec<u8>>,
    documents: BTreeMap<u8, Vec<u8>>,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        3 => (0..3_u8, 0..4_u64, bytes()).prop_map(|(log, seq, b)| Step::Record(log, seq, b)),
        1 => (0..3_u8, bytes()).prop_map(|(name, b)| Step::Package(name, b)),
        1 => (0..3_u8).prop_map(Step::DropPackage),
        1 => (0..3_u8, bytes()).prop_map(|(key, b)| Step::Document(key, b)),
        1 => (0..3_u8).prop_map(Step::DropDocument),
    ]
}

fn package(name: u8) -> PackageId {
    PackageId(Hash::of(&[name]))
}

impl Model {
    fn apply(&mut self, step: Step, batch: &mut Batch) {
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
        }
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
        batches in prop::collection::vec((prop::collection::vec(step(), 0..8), any::<bool>()), 1..8)
    ) {
        let dir = tempfile::tempdir().expect("dir");
        let mut store = open(dir.path());
        let mut model = Model::default();
        for (steps, reopen) in batches {
            let mut batch = Batch::new();
            for step in steps {
                model.apply(step, &mut batch);
            }
            store.commit_blocking(batch).expect("commits");
            if reopen {
                drop(store);
                store = open(dir.path());
            }
            model.check(&store);
        }
    }
}
