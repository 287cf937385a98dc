use std::fs;
use std::io::Read as _;
use std::path::Path;

use guildhall_protocol::Hash;

use super::{add, file_of, open, stage};
use crate::{Batch, BlobDamage, BlobError, COPY_BUFFER_BYTES, Store};

fn forget(store: &Store, hash: Hash) {
    let mut batch = Batch::new();
    batch.forget_blob(hash);
    store.commit_blocking(batch).expect("commits");
}

fn temp_files(dir: &Path) -> usize {
    fs::read_dir(dir.join("tmp")).expect("lists").count()
}

#[test]
fn a_blob_is_visible_only_when_its_batch_is_committed() {
    let dir = super::folder();
    let store = open(dir.path());
    let bytes = vec![42; 200_000];
    let staged = stage(&store, &bytes);
    let hash = staged.hash();
    assert_eq!((hash, staged.len_bytes()), (Hash::of(&bytes), 200_000));
    assert!(!store.has_blob(&hash).expect("reads"));
    assert!(matches!(store.open_blob(&hash), Err(BlobError::Missing { .. })));
    let mut batch = Batch::new();
    batch.add_blob(staged);
    store.commit_blocking(batch).expect("commits");
    assert_eq!(store.blob_len(&hash).expect("reads"), Some(200_000));
    assert!(file_of(dir.path(), &hash).is_file());
    assert_eq!(temp_files(dir.path()), 0);
    let (mut file, len_bytes) = store.open_blob(&hash).expect("opens");
    let mut found = Vec::new();
    file.read_to_end(&mut found).expect("reads");
    assert_eq!((found.len() as u64, found), (len_bytes, bytes.clone()));
    assert_eq!(store.read_blob(&hash, 200_000).expect("reads"), bytes);
    store.verify_blob(&hash).expect("is whole");
    let mut blobs = Vec::new();
    let corrupt = store.for_each_blob(|hash, len| blobs.push((hash, len))).expect("lists");
    assert_eq!((blobs, corrupt), (vec![(hash, 200_000)], 0));
}

#[test]
fn abandoned_writers_and_blobs_leave_no_file() {
    let dir = super::folder();
    let store = open(dir.path());
    let bytes = vec![1; COPY_BUFFER_BYTES];
    let mut writer = store.blob_writer(None, 1 << 20).expect("writer");
    writer.write_all(&bytes).expect("writes");
    assert_eq!(temp_files(dir.path()), 1);
    drop(writer);
    assert_eq!(temp_files(dir.path()), 0);
    let staged = stage(&store, &bytes);
    let mut batch = Batch::new();
    batch.add_blob(staged);
    assert_eq!(temp_files(dir.path()), 1);
    drop(batch);
    assert_eq!(temp_files(dir.path()), 0);
}

#[test]
fn bytes_that_were_not_announced_are_refused() {
    let dir = super::folder();
    let store = open(dir.path());
    let mut writer = store.blob_writer(Some(Hash::of(b"expected")), 100).expect("writer");
    writer.write_all(b"Expected").expect("writes");
    let refused = writer.finish();
    assert!(matches!(refused, Err(BlobError::HashMismatch { expected, found })
        if expected == Hash::of(b"expected") && found == Hash::of(b"Expected")));
    assert_eq!(temp_files(dir.path()), 0);
}

#[test]
fn a_writer_takes_its_limit_and_not_a_byte_more() {
    let dir = super::folder();
    let store = open(dir.path());
    let mut writer = store.blob_writer(None, 5).expect("writer");
    writer.write_all(b"12345").expect("fits");
    writer.write_all(b"").expect("fits");
    assert_eq!(writer.len_bytes(), 5);
    let refused = writer.write_all(b"6");
    assert!(matches!(refused, Err(BlobError::TooLong { max_len_bytes: 5 })));
    assert!(matches!(writer.write_all(b""), Err(BlobError::Interrupted)));
    assert!(matches!(writer.finish(), Err(BlobError::Interrupted)), "a cut-off blob is no blob");
    let hash = add(&store, b"12345");
    assert!(matches!(store.read_blob(&hash, 4), Err(BlobError::TooLong { max_len_bytes: 4 })));
}

#[test]
fn a_damaged_file_is_noticed_forgotten_and_replaced() {
    let dir = super::folder();
    let store = open(dir.path());
    let bytes = (0..100_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>();
    let hash = add(&store, &bytes);
    let path = file_of(dir.path(), &hash);
    let damage = |result: Result<(), BlobError>| match result {
        Err(BlobError::Damaged { hash: found, damage }) if found == hash => Some(damage),
        _ => None,
    };
    for position in [0, 65_536, 99_999] {
        let mut flipped = bytes.clone();
        flipped[position] ^= 1;
        fs::write(&path, flipped).expect("writes");
        let content = Some(BlobDamage::Content { pieces: 1, first_offset: 0 });
        assert_eq!(damage(store.verify_blob(&hash)), content);
        let read = store.read_blob(&hash, 1 << 20).map(drop);
        assert_eq!(damage(read), content);
    }
    fs::write(&path, &bytes[1..]).expect("writes");
    let expected = BlobDamage::Length { expected_bytes: 100_000, found_bytes: 99_999 };
    assert_eq!(damage(store.open_blob(&hash).map(drop)), Some(expected));
    fs::remove_file(&path).expect("removes");
    assert_eq!(damage(store.verify_blob(&hash)), Some(BlobDamage::FileMissing));

    fs::write(&path, b"bad").expect("writes");
    forget(&store, hash);
    assert!(!path.exists());
    assert!(matches!(store.verify_blob(&hash), Err(BlobError::Missing { .. })));
    assert_eq!(store.usage().expect("usage").blob_bytes, 0);
    assert_eq!(add(&store, &bytes), hash);
    store.verify_blob(&hash).expect("is whole again");
    assert_eq!(store.usage().expect("usage").blob_bytes, 100_000);
}

#[test]
fn a_file_without_a_row_is_replaced_by_a_good_one() {
    let dir = super::folder();
    let store = open(dir.path());
    let good = vec![7; 50_000];
    let hash = Hash::of(&good);
    fs::write(file_of(dir.path(), &hash), b"left over from a crash").expect("writes");
    assert!(!store.has_blob(&hash).expect("reads"));
    add(&store, &good);
    add(&store, &good);
    assert_eq!(store.read_blob(&hash, 50_000).expect("reads"), good);
    let usage = store.usage().expect("usage");
    assert_eq!((usage.blobs, usage.blob_bytes), (1, 50_000), "one blob, however often it comes");
}

#[test]
fn forgetting_and_adding_in_one_transaction_ends_as_the_last_says() {
    let dir = super::folder();
    let store = open(dir.path());
    let hash = add(&store, &[5; 40_000]);
    let mut batch = Batch::new();
    batch.forget_blob(hash);
    batch.add_blob(stage(&store, &[5; 40_000]));
    store.commit_blocking(batch).expect("commits");
    store.verify_blob(&hash).expect("is there");
    let mut batch = Batch::new();
    batch.add_blob(stage(&store, &[5; 40_000]));
    batch.forget_blob(hash);
    store.commit_blocking(batch).expect("commits");
    assert!(matches!(store.verify_blob(&hash), Err(BlobError::Missing { .. })));
    assert!(!file_of(dir.path(), &hash).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forgetting_while_others_import_never_loses_a_named_file() {
    let dir = super::folder();
    let store = open(dir.path());
    let hash = Hash::of(&[3; 20_000]);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..40 {
        let store = store.clone();
        tasks.spawn(async move {
            if number % 2 == 0 {
                store.put_blob(vec![3; 20_000]).await.expect("stores");
            } else {
                let mut batch = Batch::new();
                batch.forget_blob(hash);
                store.commit(batch).await.expect("commits");
            }
            // Whatever the order was, a row never outlives its file.
            match store.verify_blob(&hash) {
                Ok(()) | Err(BlobError::Missing { .. }) => {}
                Err(BlobError::Damaged { damage: BlobDamage::FileMissing, .. }) => {
                    // Forgotten between two looks and imported again: it must be whole now or gone.
                }
                Err(error) => panic!("{error}"),
            }
        });
    }
    tasks.join_all().await;
    let row = store.has_blob(&hash).expect("reads");
    assert_eq!(row, file_of(dir.path(), &hash).exists());
    store.put_blob(vec![3; 20_000]).await.expect("stores");
    store.verify_blob(&hash).expect("is whole");
}

#[tokio::test]
async fn bytes_and_files_are_stored_in_one_call() {
    let dir = super::folder();
    let store = open(&dir.path().join("store"));
    let empty = store.put_blob(Vec::new()).await.expect("stores");
    assert_eq!((empty.hash, empty.len_bytes), (Hash::of(b""), 0));
    assert_eq!(store.read_blob(&empty.hash, 0).expect("reads"), b"");
    let bytes = vec![9; 300_000];
    let source = dir.path().join("source");
    fs::write(&source, &bytes).expect("writes");
    let stored = store.put_blob_file(source.clone()).await.expect("stores");
    assert_eq!((stored.hash, stored.len_bytes), (Hash::of(&bytes), 300_000));
    assert_eq!(fs::read(source).expect("reads"), bytes, "the source stays");
    let missing = store.put_blob_file(dir.path().join("nothing")).await;
    assert!(matches!(missing, Err(BlobError::Io { .. })));
    store.close().await.expect("closes");
    let refused = store.put_blob(vec![1; 20_000]).await;
    assert!(matches!(refused, Err(BlobError::Write(_))));
    assert_eq!(temp_files(&dir.path().join("store")), 0);
}
