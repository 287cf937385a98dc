use std::fs;

use guildhall_protocol::{Hash, PackageId};

use super::{author, id_of, load, open, put, record_batch};
use crate::counters::Counters;
use crate::database::put_counters;
use crate::table::{FORMAT_KEY, FORMAT_VERSION, META, seal};
use crate::{Batch, Collection, OpenError, ReadError, Row, Store, WriteError};

#[test]
fn everything_written_is_there_after_reopening() {
    let dir = super::folder();
    let nested = dir.path().join("deep/store");
    let store = open(&nested);
    let record = put(&store, 1, 7);
    let package = PackageId(Hash::of(b"manifest"));
    let mut batch = Batch::new();
    batch.put_package(package, b"manifest".to_vec());
    batch.put_document(Collection::Runs, b"run", b"state".to_vec());
    let mut writer = store.blob_writer(Some(Hash::of(b"blob")), 4).expect("writer");
    writer.write_all(b"blob").expect("writes");
    batch.add_blob(writer.finish().expect("finishes"));
    store.commit_blocking(batch).expect("commits");
    let usage = store.usage().expect("usage");
    store.close_blocking().expect("closes");

    let store = open(&nested);
    let found = store.record(&author(1), 7).expect("reads").expect("is there");
    assert_eq!((found.bytes, found.id), (record.clone(), id_of(&record)));
    let found = store.record_by_id(&id_of(&record)).expect("reads").expect("is there");
    assert_eq!((found.author, found.seq), (author(1), 7));
    assert_eq!(store.package(&package).expect("reads"), Some(b"manifest".to_vec()));
    assert_eq!(store.packages().expect("reads"), [package]);
    assert_eq!(store.document(Collection::Runs, b"run").expect("reads"), Some(b"state".to_vec()));
    assert_eq!(store.read_blob(&Hash::of(b"blob"), 4).expect("reads"), b"blob");
    assert_eq!(store.usage().expect("usage").records, usage.records);
    assert_eq!((usage.records, usage.packages, usage.documents, usage.blobs), (1, 1, 1, 1));
    assert_eq!(usage.record_bytes, record.len() as u64);
    assert_eq!((usage.package_bytes, usage.blob_bytes), (8, 4));
}

#[test]
fn what_a_killed_process_left_is_cleared_at_open() {
    let dir = super::folder();
    let store = open(dir.path());
    put(&store, 1, 0);
    drop(store);
    fs::write(dir.path().join("tmp/17"), b"half a blob").expect("writes");
    fs::write(dir.path().join("incoming/file"), b"never adopted").expect("writes");
    fs::create_dir_all(dir.path().join("incoming/a/b")).expect("creates");
    let stray = dir.path().join("partial").join(Hash::of(b"x").to_hex());
    fs::write(&stray, b"without a row").expect("writes");
    fs::write(dir.path().join("catalogue.redb.new"), b"half a catalogue").expect("writes");
    let store = open(dir.path());
    for emptied in ["tmp", "incoming", "partial"] {
        assert_eq!(fs::read_dir(dir.path().join(emptied)).expect("lists").count(), 0);
    }
    assert_eq!(load(&store).0.len(), 1);
    drop(store);

    // Killed while the first catalogue was prepared: there is only the half one.
    fs::remove_file(dir.path().join("catalogue.redb")).expect("removes");
    fs::write(dir.path().join("catalogue.redb.new"), b"half a catalogue").expect("writes");
    assert_eq!(load(&open(dir.path())).0.len(), 0);
    assert!(!dir.path().join("catalogue.redb.new").exists());
}

#[test]
fn a_second_open_is_refused_until_the_first_is_closed() {
    let dir = super::folder();
    let store = open(dir.path());
    let mut writer = store.blob_writer(None, 1 << 20).expect("writer");
    writer.write_all(&vec![1; 300_000]).expect("writes");
    assert!(
        matches!(Store::open(dir.path()), Err(OpenError::Locked { dir: d }) if d == dir.path())
    );
    let staged = writer.finish().expect("the refused open did not touch our temporary files");
    let mut batch = Batch::new();
    batch.add_blob(staged);
    store.commit_blocking(batch).expect("commits");

    let clone = store.clone();
    drop(store);
    assert!(Store::open(dir.path()).is_err(), "a clone still has it");
    clone.close_blocking().expect("closes");
    let again = open(dir.path());
    assert!(clone.close_blocking().is_ok(), "closing twice is harmless");
    assert!(matches!(clone.usage(), Err(ReadError::Closed)));
    assert!(matches!(clone.commit_blocking(record_batch(1, 1).0), Err(WriteError::Closed)));
    drop(again);
    drop(open(dir.path()));
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = super::folder();
    let store = open(dir.path());
    write_format(&store, &seal(META, FORMAT_KEY, &[&(FORMAT_VERSION + 1).to_be_bytes()]));
    drop(store);
    let refused = Store::open(dir.path());
    assert!(matches!(refused, Err(OpenError::NewerFormat { found, supported: FORMAT_VERSION })
            if found == FORMAT_VERSION + 1));
    assert!(Store::open(dir.path()).is_err(), "and the lock is free again");
}

#[test]
fn an_older_format_is_refused_and_says_what_to_do() {
    let dir = super::folder();
    let store = open(dir.path());
    write_format(&store, &seal(META, FORMAT_KEY, &[&1_u32.to_be_bytes()]));
    drop(store);
    let refused = Store::open(dir.path()).expect_err("is too old");
    assert!(matches!(refused, OpenError::OlderFormat { found: 1, supported: FORMAT_VERSION }));
    assert!(refused.to_string().contains("make a new home"));
}

#[test]
fn a_damaged_catalogue_is_refused_as_damaged() {
    let dir = super::folder();
    let store = open(dir.path());
    write_format(&store, &[1; 36]);
    drop(store);
    assert!(matches!(Store::open(dir.path()), Err(OpenError::Corrupt { .. })));

    let catalogue = dir.path().join("catalogue.redb");
    let whole = fs::read(&catalogue).expect("reads");
    for content in [&b"not a database"[..], &whole[..100], &whole[..5000], &[]] {
        fs::write(&catalogue, content).expect("writes");
        let refused = Store::open(dir.path());
        assert!(matches!(refused, Err(OpenError::Corrupt { .. })), "{refused:?}");
    }
}

#[test]
fn damaged_totals_are_counted_again() {
    let dir = super::folder();
    let store = open(dir.path());
    let record = put(&store, 1, 0);
    store
        .inner
        .shared
        .write(|transaction| {
            put_counters(transaction, Counters::default())?;
            transaction.open_table(META)?.insert(&b"counters"[..], &[9_u8; 64][..])?;
            Ok(())
        })
        .expect("writes");
    let damaged = store.usage();
    assert!(matches!(damaged, Err(ReadError::Corrupt { what: Row::Counters })));
    drop(store);
    let usage = open(dir.path()).usage().expect("usage");
    assert_eq!((usage.records, usage.record_bytes), (1, record.len() as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_writes_what_was_queued_and_tells_the_others() {
    let dir = super::folder();
    let store = open(dir.path());
    let mut tasks = tokio::task::JoinSet::new();
    for seq in 0..300_u64 {
        let store = store.clone();
        tasks.spawn(async move { (seq, store.commit(record_batch(1, seq).0).await) });
        if seq % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
    store.close().await.expect("closes");
    let mut written = Vec::new();
    while let Some(done) = tasks.join_next().await {
        match done.expect("joins") {
            (seq, Ok(())) => written.push(seq),
            (_, Err(WriteError::Closed)) => {}
            (_, Err(error)) => panic!("{error}"),
        }
    }
    written.sort_unstable();
    let (records, report) = load(&open(dir.path()));
    assert!(report.is_complete());
    assert_eq!(records.iter().map(|(_, seq, _)| *seq).collect::<Vec<_>>(), written);
}

fn write_format(store: &Store, value: &[u8]) {
    store
        .inner
        .shared
        .write(|transaction| {
            transaction.open_table(META)?.insert(FORMAT_KEY, value)?;
            Ok(())
        })
        .expect("writes");
}
