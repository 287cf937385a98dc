use std::fs;
use std::path::Path;

use guildhall_protocol::tree::{self, PIECE_BYTES};
use guildhall_protocol::{Hash, PackageId, RecordId};

use super::{author, bytes_of, id_of, load, open, put, stage};
use crate::table::{
    BLOBS, Collection, PACKAGES, PIECE_LIST, RECORD_IDS, RECORDS, TREES, Table, record_key,
    tree_key,
};
use crate::{Batch, BlobError, OpenError, ReadError, Row, Store};

/// What [`fill`] writes: enough rows for a tree of several levels.
const RECORDS_FILLED: u64 = 300;

/// Blobs that live in rows, and as many with files.
const BLOBS_FILLED: u64 = 40;

fn raw(store: &Store, table: Table, key: &[u8]) -> Option<Vec<u8>> {
    store
        .inner
        .shared
        .read(|transaction| {
            let row = transaction.open_table(table)?.get(key)?;
            Ok(row.map(|value| value.value().to_vec()))
        })
        .expect("reads")
}

fn put_raw(store: &Store, table: Table, key: &[u8], value: &[u8]) {
    store
        .inner
        .shared
        .write(|transaction| {
            transaction.open_table(table)?.insert(key, value)?;
            Ok(())
        })
        .expect("writes");
}

fn corrupt<T>(result: Result<T, ReadError>) -> Option<Row> {
    match result {
        Err(ReadError::Corrupt { what }) => Some(what),
        _ => None,
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_value_is_noticed_in_every_table() {
    let dir = super::folder();
    let store = open(dir.path());
    let record = put(&store, 1, 5);
    let (id, package, blob) = (id_of(&record), PackageId(Hash::of(b"p")), Hash::of(b"b"));
    let mut batch = Batch::new();
    batch.put_package(package, b"manifest".to_vec());
    batch.put_document(Collection::Runs, b"key", b"document".to_vec());
    batch.add_blob(stage(&store, b"b"));
    let large = bytes_of(PIECE_BYTES as usize + 40_000, 1);
    let large_hash = Hash::of(&large);
    batch.add_blob(stage(&store, &large));
    store.commit_blocking(batch).expect("commits");

    let place = record_key(&author(1), 5);
    let document = Row::Document { collection: Collection::Runs, key: b"key".to_vec() };
    let (list, groups) = (tree_key(&large_hash, PIECE_LIST), tree_key(&large_hash, 1));
    let cases: [(Table, &[u8], Row); 7] = [
        (RECORDS, &place, Row::Record { author: author(1), seq: 5 }),
        (RECORD_IDS, id.0.as_bytes(), Row::RecordId(id)),
        (PACKAGES, package.0.as_bytes(), Row::Package(package)),
        (Collection::Runs.table(), b"key", document),
        (BLOBS, blob.as_bytes(), Row::Blob(blob)),
        (TREES, &list, Row::Tree { hash: large_hash, piece: None }),
        (TREES, &groups, Row::Tree { hash: large_hash, piece: Some(1) }),
    ];
    let read = |row: &Row| match row {
        Row::Record { author, seq } => corrupt(store.record(author, *seq)),
        Row::RecordId(id) => corrupt(store.record_by_id(id)),
        Row::Package(id) => corrupt(store.package(id)),
        Row::Document { collection, key } => corrupt(store.document(*collection, key)),
        Row::Blob(hash) => corrupt(store.blob_len(hash)),
        Row::Tree { hash, piece: Some(piece) } => corrupt(store.group_cvs(hash, *piece)),
        Row::Tree { hash, piece: None } => corrupt(store.piece_cvs(hash)),
        Row::Partial(_) | Row::Counters | Row::Unknown { .. } => None,
    };
    for (table, key, row) in cases {
        assert_eq!(read(&row), None, "intact at first");
        let good = raw(&store, table, key).expect("is there");
        for bit in (0..good.len() * 8).step_by(7) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            put_raw(&store, table, key, &bad);
            assert_eq!(read(&row), Some(row.clone()), "bit {bit} of {row}");
        }
        for bad in [&good[..good.len() - 1], &good[..31], &[]] {
            put_raw(&store, table, key, bad);
            assert_eq!(read(&row), Some(row.clone()));
        }
        put_raw(&store, table, key, &good);
        assert_eq!(read(&row), None);
    }
}

#[test]
fn a_value_under_another_key_or_in_another_table_is_refused() {
    let dir = super::folder();
    let store = open(dir.path());
    put(&store, 1, 5);
    let record = raw(&store, RECORDS, &record_key(&author(1), 5)).expect("is there");
    put_raw(&store, RECORDS, &record_key(&author(1), 6), &record);
    assert!(corrupt(store.record(&author(1), 6)).is_some());
    let mut batch = Batch::new();
    batch.put_document(Collection::Cache, b"key", b"harmless".to_vec());
    store.commit_blocking(batch).expect("commits");
    let value = raw(&store, Collection::Cache.table(), b"key").expect("is there");
    put_raw(&store, Collection::Identity.table(), b"key", &value);
    assert!(corrupt(store.document(Collection::Identity, b"key")).is_some());
    let page = store.documents(Collection::Identity, None, 9).expect("lists");
    assert_eq!((page.documents, page.corrupt), (vec![], vec![b"key".to_vec()]));
}

#[test]
fn damaged_and_hidden_records_are_reported_skipped_and_repaired() {
    let dir = super::folder();
    let store = open(dir.path());
    for seq in 0..6 {
        put(&store, 1, seq);
    }
    put_raw(&store, RECORDS, &record_key(&author(1), 2), &[0; 70]);
    store
        .inner
        .shared
        .write(|transaction| {
            let mut table = transaction.open_table(RECORDS)?;
            table.remove(record_key(&author(1), 4).as_slice())?;
            Ok(())
        })
        .expect("writes");
    let (records, report) = load(&store);
    assert_eq!(records.iter().map(|(_, seq, _)| *seq).collect::<Vec<_>>(), [0, 1, 3, 5]);
    assert_eq!((report.loaded, report.corrupt_total, report.missing), (4, 1, 1));
    assert_eq!(report.corrupt, [(author(1), 2)]);
    assert!(!report.is_complete());

    let seqs = |from| {
        let records = store.records_of(&author(1), from, 9, 9999);
        records.map(|records| records.iter().map(|record| record.seq).collect::<Vec<_>>())
    };
    assert_eq!(seqs(0).expect("ends before the damage"), [0, 1]);
    assert_eq!(corrupt(seqs(2)), Some(Row::Record { author: author(1), seq: 2 }));
    assert_eq!(seqs(3).expect("goes on behind it"), [3, 5]);

    put(&store, 1, 2);
    assert_eq!(seqs(2).expect("is repaired"), [2, 3, 5]);
    put_raw(&store, RECORDS, b"no key of ours", &[0; 70]);
    let (_, report) = load(&store);
    assert_eq!((report.corrupt.len(), report.corrupt_total), (0, 1));
}

/// Writes known rows; [`check`] knows them too.
fn fill(dir: &Path) {
    let store = open(dir);
    let mut batch = Batch::new();
    for seq in 0..RECORDS_FILLED {
        batch.put_record(author(7), seq, filled_id(seq), filled_bytes(seq));
        batch.put_document(Collection::Receipts, &seq.to_be_bytes(), filled_bytes(seq));
    }
    batch.put_package(PackageId(Hash::of(b"large")), vec![3; 50_000]);
    for seq in 0..BLOBS_FILLED {
        batch.add_blob(stage(&store, &bytes_of(500, seq)));
        batch.add_blob(stage(&store, &bytes_of(60_000, seq)));
    }
    store.commit_blocking(batch).expect("commits");
    store.close_blocking().expect("closes");
}

fn filled_id(seq: u64) -> RecordId {
    RecordId(Hash::of(&seq.to_be_bytes()))
}

fn filled_bytes(seq: u64) -> Vec<u8> {
    seq.to_be_bytes().repeat(20)
}

/// Reads everything every way; panics on wrong bytes. Returns how many answers were errors, and how many were "not
/// here".
fn check(store: &Store) -> (usize, usize) {
    let (mut errors, mut absent) = (0, 0);
    let mut count = |answer: Result<Option<Vec<u8>>, ReadError>, expected: &[u8]| match answer {
        Ok(Some(bytes)) => assert_eq!(bytes, expected, "wrong bytes were returned"),
        Ok(None) => absent += 1,
        Err(_) => errors += 1,
    };
    for seq in 0..RECORDS_FILLED {
        let expected = filled_bytes(seq);
        let record = store.record(&author(7), seq);
        count(record.map(|record| record.map(|record| record.bytes)), &expected);
        let record = store.record_by_id(&filled_id(seq));
        count(record.map(|record| record.map(|record| record.bytes)), &expected);
        count(store.document(Collection::Receipts, &seq.to_be_bytes()), &expected);
    }
    count(store.package(&PackageId(Hash::of(b"large"))), &[3; 50_000]);
    for (seq, len) in (0..BLOBS_FILLED).flat_map(|seq| [(seq, 500), (seq, 60_000)]) {
        {
            let blob = bytes_of(len, seq);
            match store.read_blob(&Hash::of(&blob), 1 << 20) {
                Ok(bytes) => assert_eq!(bytes, blob, "wrong bytes were returned"),
                Err(BlobError::Missing { .. }) => absent += 1,
                Err(_) => errors += 1,
            }
            match store.group_cvs(&Hash::of(&blob), 0) {
                Ok(Some(cvs)) => assert_eq!(cvs, tree::group_cvs(0, &blob), "a wrong tree"),
                Ok(None) => {}
                Err(_) => errors += 1,
            }
        }
    }
    let seen = store.for_each_record(|found| {
        let is_right = found.author == author(7) && found.bytes == filled_bytes(found.seq);
        assert!(is_right, "wrong record in the scan");
    });
    match seen {
        Ok(report) if report.is_complete() => assert_eq!(report.loaded, RECORDS_FILLED),
        Ok(_) | Err(_) => errors += 1,
    }
    if let Ok(records) = store.records_of(&author(7), 0, 1000, 1 << 20) {
        assert!(records.iter().all(|record| record.bytes == filled_bytes(record.seq)));
    }
    (errors, absent)
}

#[test]
fn flipped_bits_in_the_database_file_never_give_wrong_data() {
    let dir = super::folder();
    fill(dir.path());
    let catalogue = dir.path().join("catalogue.redb");
    let whole = fs::read(&catalogue).expect("reads");
    let used = whole.iter().rposition(|byte| *byte != 0).expect("is not empty");
    let (mut refused, mut noticed, mut absent) = (0, 0, 0);
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..150 {
        let mut damaged = whole.clone();
        for _ in 0..4 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let position = usize::try_from(random >> 8).expect("fits") % used;
            damaged[position] ^= 1 << (random % 8);
        }
        fs::write(&catalogue, &damaged).expect("writes");
        match Store::open(dir.path()) {
            Err(OpenError::Corrupt { .. } | OpenError::Database { .. }) => refused += 1,
            Err(OpenError::NewerFormat { .. }) => panic!("the format row is sealed"),
            Err(error) => panic!("{error:?}"),
            Ok(store) => {
                let (errors, missing) = check(&store);
                noticed += usize::from(errors > 0);
                absent += missing;
            }
        }
    }
    assert!(refused + noticed > 10, "the damage was real: {refused} {noticed} {absent}");
}

#[test]
fn a_damaged_blob_row_does_not_pass_for_a_missing_blob() {
    let dir = super::folder();
    let store = open(dir.path());
    put_raw(&store, BLOBS, Hash::of(b"b").as_bytes(), &[0; 40]);
    let found = store.open_blob(&Hash::of(b"b"));
    assert!(matches!(found, Err(BlobError::Read(ReadError::Corrupt { .. }))));
    assert_eq!(store.for_each_blob(|_, _| panic!("no blob")).expect("lists"), 1);
}
