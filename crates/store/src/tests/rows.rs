use std::fs;

use guildhall_protocol::{Hash, PackageId};

use super::{author, id_of, load, open, put, record_batch};
use crate::{
    BATCH_MAX_BYTES, Batch, Collection, DOCUMENT_KEY_MAX_BYTES, ROW_MAX_BYTES, WriteError,
};

#[test]
fn a_replaced_record_is_not_found_by_its_old_id() {
    let dir = super::folder();
    let store = open(dir.path());
    let old = put(&store, 1, 3);
    let mut batch = Batch::new();
    batch.put_record(author(1), 3, id_of(b"new"), b"new".to_vec());
    store.commit_blocking(batch).expect("commits");
    assert_eq!(store.record_by_id(&id_of(&old)).expect("reads"), None);
    let found = store.record_by_id(&id_of(b"new")).expect("reads").expect("is there");
    assert_eq!(found.bytes, b"new");
    // The same id again, with other bytes: an erased body.
    let mut batch = Batch::new();
    batch.put_record(author(1), 3, id_of(b"new"), b"erased".to_vec());
    store.commit_blocking(batch).expect("commits");
    let found = store.record_by_id(&id_of(b"new")).expect("reads").expect("is there");
    assert_eq!(found.bytes, b"erased");
    let usage = store.usage().expect("usage");
    assert_eq!((usage.records, usage.record_bytes), (1, 6));
}

#[test]
fn a_stretch_of_a_log_keeps_its_bounds() {
    let dir = super::folder();
    let store = open(dir.path());
    let mut batch = Batch::new();
    for (log, seq) in [(1, 0), (1, 1), (1, 2), (1, 255), (1, 256), (1, u64::MAX), (0, 9), (2, 0)] {
        let bytes = vec![log; 100];
        batch.put_record(author(log), seq, id_of(&[log, seq as u8, (seq >> 8) as u8]), bytes);
    }
    store.commit_blocking(batch).expect("commits");
    let seqs = |from, count, bytes| {
        let records = store.records_of(&author(1), from, count, bytes).expect("reads");
        assert!(records.iter().all(|record| record.author == author(1)));
        records.into_iter().map(|record| record.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(0, 99, 9999), [0, 1, 2, 255, 256, u64::MAX]);
    assert_eq!(seqs(2, 3, 9999), [2, 255, 256]);
    assert_eq!(seqs(0, 99, 299), [0, 1], "a third record would be over");
    assert_eq!(seqs(1, 99, 1), [1], "one always fits");
    assert_eq!(seqs(3, 1, 100), [255]);
    assert_eq!(seqs(257, 99, 9999), [u64::MAX]);
    assert_eq!(seqs(0, 0, 9999), [0_u64; 0]);
    assert_eq!(store.records_of(&author(3), 0, 9, 999).expect("reads"), []);
}

#[test]
fn the_scan_shows_all_records_in_order_over_many_pages() {
    let dir = super::folder();
    let store = open(dir.path());
    let mut batch = Batch::new();
    for seq in 0..2500_u64 {
        let bytes = seq.to_be_bytes().to_vec();
        batch.put_record(author((seq % 3) as u8), seq, id_of(&bytes), bytes);
    }
    for seq in 5000..5003_u64 {
        batch.put_record(author(0), seq, id_of(&seq.to_be_bytes()), vec![1; 3 * 1024 * 1024]);
    }
    store.commit_blocking(batch).expect("commits");
    let (records, report) = load(&store);
    assert_eq!((records.len(), report.loaded), (2503, 2503));
    assert!(report.is_complete());
    assert!(records.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1)));
}

#[test]
fn an_oversized_part_refuses_the_whole_batch() {
    let dir = super::folder();
    let store = open(dir.path());
    let spoil: [fn(&mut Batch); 4] = [
        |batch| batch.put_package(PackageId(Hash::of(b"p")), vec![0; ROW_MAX_BYTES + 1]),
        |batch| batch.put_document(Collection::Cache, b"k", vec![0; ROW_MAX_BYTES + 1]),
        |batch| batch.put_document(Collection::Cache, &[0; DOCUMENT_KEY_MAX_BYTES + 1], vec![]),
        |batch| {
            for key in 0..=(BATCH_MAX_BYTES / ROW_MAX_BYTES) as u8 {
                batch.put_document(Collection::Cache, &[key], vec![0; ROW_MAX_BYTES]);
            }
        },
    ];
    for spoil in spoil {
        let (mut batch, _) = record_batch(1, 1);
        spoil(&mut batch);
        assert!(matches!(store.commit_blocking(batch), Err(WriteError::TooLarge { .. })));
    }
    assert_eq!(load(&store).0, []);
    let mut batch = Batch::new();
    batch.put_document(Collection::Cache, &[0; DOCUMENT_KEY_MAX_BYTES], vec![7; ROW_MAX_BYTES]);
    store.commit_blocking(batch).expect("the bounds themselves are allowed");
    let found = store.document(Collection::Cache, &[0; DOCUMENT_KEY_MAX_BYTES]).expect("reads");
    assert_eq!(found, Some(vec![7; ROW_MAX_BYTES]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fails_has_no_effect_and_spares_the_others() {
    let dir = super::folder();
    let store = open(dir.path());
    let lost = vec![1; 20_000];
    let mut writer = store.blob_writer(None, 1 << 20).expect("writer");
    writer.write_all(&lost).expect("writes");
    let staged = writer.finish().expect("finishes");
    for entry in fs::read_dir(dir.path().join("tmp")).expect("lists") {
        fs::remove_file(entry.expect("entry").path()).expect("removes");
    }
    let (mut bad, _) = record_batch(1, 0);
    bad.add_blob(staged);
    bad.put_document(Collection::Runs, b"bad", vec![]);
    let (good, bytes) = record_batch(2, 0);
    let (bad, good) = tokio::join!(store.commit(bad), store.commit(good));
    assert!(matches!(bad, Err(WriteError::Blob { .. })), "{bad:?}");
    good.expect("the other batch is written");
    assert_eq!(load(&store).0, [(author(2), 0, bytes)]);
    assert_eq!(store.document(Collection::Runs, b"bad").expect("reads"), None);
    assert!(!store.has_blob(&Hash::of(&lost)).expect("reads"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_of_many_tasks_all_become_durable() {
    let dir = super::folder();
    let store = open(dir.path());
    let mut tasks = tokio::task::JoinSet::new();
    for log in 0..40_u8 {
        let store = store.clone();
        tasks.spawn(async move {
            for seq in 0..10 {
                let (mut batch, bytes) = record_batch(log, seq);
                batch.put_document(Collection::Identity, &[log], vec![seq as u8]);
                store.commit(batch).await.expect("commits");
                let found = store.record(&author(log), seq).expect("reads");
                assert_eq!(found.expect("acknowledged, so visible").bytes, bytes);
            }
        });
    }
    tasks.join_all().await;
    store.close().await.expect("closes");
    let store = open(dir.path());
    let (records, report) = load(&store);
    assert!(report.is_complete());
    assert_eq!(records.len(), 400);
    let page = store.documents(Collection::Identity, None, 100).expect("reads");
    let expected = (0..40).map(|log| (vec![log], vec![9])).collect::<Vec<_>>();
    assert_eq!(page.documents, expected);
}

#[test]
fn collections_are_separate_and_listed_page_by_page() {
    let dir = super::folder();
    let store = open(dir.path());
    let mut batch = Batch::new();
    for (collection, name) in Collection::ALL.into_iter().zip(0..) {
        batch.put_document(collection, b"same key", vec![name]);
    }
    for key in 0..5 {
        batch.put_document(Collection::Receipts, &[key], vec![key; 3]);
    }
    batch.delete_document(Collection::Receipts, &[2]);
    batch.delete_document(Collection::Receipts, b"never there");
    store.commit_blocking(batch).expect("commits");
    for (collection, name) in Collection::ALL.into_iter().zip(0..) {
        assert_eq!(store.document(collection, b"same key").expect("reads"), Some(vec![name]));
    }
    let mut after = None;
    let mut pages = Vec::new();
    loop {
        let page = store.documents(Collection::Receipts, after.as_deref(), 2).expect("reads");
        assert!(page.corrupt.is_empty());
        pages.push(page.documents.into_iter().map(|(key, _)| key).collect::<Vec<_>>());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [vec![vec![0], vec![1]], vec![vec![3], vec![4]], vec![b"same key".to_vec()]]);
    assert_eq!(store.usage().expect("usage").documents, 9);
}

#[test]
fn a_deleted_package_is_gone_and_no_longer_counted() {
    let dir = super::folder();
    let store = open(dir.path());
    let id = PackageId(Hash::of(b"p"));
    let mut batch = Batch::new();
    batch.put_package(id, b"longer".to_vec());
    batch.put_package(id, b"short".to_vec());
    store.commit_blocking(batch).expect("commits");
    assert_eq!(store.usage().expect("usage").package_bytes, 5);
    let mut batch = Batch::new();
    batch.delete_package(id);
    store.commit_blocking(batch).expect("commits");
    assert_eq!(store.package(&id).expect("reads"), None);
    let usage = store.usage().expect("usage");
    assert_eq!((usage.packages, usage.package_bytes), (0, 0));
}
