use std::fs;

use guildhall_protocol::tree::PIECE_BYTES;
use guildhall_protocol::{Hash, PackageId};

use super::sweep::scrubbed;
use super::{add, bytes_of, load, open, put};
use crate::{BackupError, Batch, Collection, Store};

fn filled(dir: &std::path::Path) -> (Store, [Vec<u8>; 3]) {
    let store = open(dir);
    put(&store, 1, 1);
    let mut batch = Batch::new();
    batch.put_package(PackageId(Hash::of(b"p")), vec![1; 100]);
    batch.put_document(Collection::Runs, b"key", b"document".to_vec());
    store.commit_blocking(batch).expect("commits");
    let blobs = [bytes_of(2 * PIECE_BYTES as usize + 1, 1), bytes_of(50_000, 2), vec![7; 10]];
    for blob in &blobs {
        assert_eq!(add(&store, blob), Hash::of(blob));
    }
    let partial = store.partial(Hash::of(b"coming"), 100_000).expect("opens");
    drop(partial);
    (store, blobs)
}

#[test]
fn a_backup_opens_scrubs_clean_and_has_everything_but_what_is_not_whole() {
    let dir = super::folder();
    let (store, blobs) = filled(&dir.path().join("store"));
    let into = dir.path().join("backup");
    store.backup(&into, true).expect("copies");
    assert!(matches!(store.backup(&into, true), Err(BackupError::Exists { .. })));
    assert!(!dir.path().join("backup.partial").exists());
    let copy = open(&into);
    assert_eq!(scrubbed(&copy), []);
    assert_eq!(load(&copy), load(&store));
    for blob in &blobs {
        assert_eq!(copy.read_blob(&Hash::of(blob), 1 << 30).expect("reads"), *blob);
    }
    let (mut expected, found) = (store.usage().expect("usage"), copy.usage().expect("usage"));
    (expected.partials, expected.catalogue_file_bytes) = (0, found.catalogue_file_bytes);
    assert_eq!(found, expected);
    // What happens to one does not happen to the other.
    let mut batch = Batch::new();
    batch.forget_blob(Hash::of(&blobs[0]));
    copy.commit_blocking(batch).expect("commits");
    store.verify_blob(&Hash::of(&blobs[0])).expect("is here");
}

#[test]
fn a_backup_without_blobs_has_those_in_rows_and_scrubs_clean() {
    let dir = super::folder();
    let (store, blobs) = filled(&dir.path().join("store"));
    let into = dir.path().join("backup");
    store.backup(&into, false).expect("copies");
    let copy = open(&into);
    assert_eq!(scrubbed(&copy), []);
    assert_eq!(copy.usage().expect("usage").blobs, 1);
    assert_eq!(copy.read_blob(&Hash::of(&blobs[2]), 99).expect("reads"), blobs[2]);
    assert_eq!(load(&copy), load(&store));
}

#[test]
fn what_an_interrupted_backup_left_is_removed_and_what_is_not_ours_stays() {
    let dir = super::folder();
    let (store, _) = filled(&dir.path().join("store"));
    let (into, beside) = (dir.path().join("backup"), dir.path().join("backup.partial"));
    fs::create_dir(&beside).expect("creates");
    fs::write(beside.join("somebody's"), b"file").expect("writes");
    assert!(matches!(store.backup(&into, true), Err(BackupError::Exists { .. })));
    assert!(beside.join("somebody's").exists() && !into.exists());
    fs::write(beside.join("lock"), b"").expect("writes");
    store.backup(&into, true).expect("copies");
    assert!(!into.join("somebody's").exists() && !beside.exists());
}

#[test]
fn a_backup_taken_while_blobs_come_and_go_is_sound() {
    let dir = super::folder();
    let (store, _) = filled(&dir.path().join("store"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut seed = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                seed += 1;
                let hash = add(&store, &bytes_of(40_000, seed % 7));
                let mut batch = Batch::new();
                if seed % 2 == 0 {
                    batch.forget_blob(hash);
                }
                store.commit_blocking(batch).expect("commits");
            }
        });
        for number in 0..6 {
            let into = dir.path().join(number.to_string());
            store.backup(&into, true).expect("copies");
            assert_eq!(scrubbed(&open(&into)), []);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
