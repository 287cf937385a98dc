use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use guildhall_protocol::Hash;
use guildhall_protocol::tree::PIECE_BYTES;

use super::partials::fill;
use super::{add, bytes_of, file_of, open, stage};
use crate::table::{TREES, seal, tree_key};
use crate::{Batch, ScrubItem, Store};

const PIECE: usize = PIECE_BYTES as usize;

/// Everything that a scrub reports.
pub(super) fn scrubbed(store: &Store) -> Vec<ScrubItem> {
    let mut items = Vec::new();
    let report = store.scrub(None, &AtomicBool::new(false), |item| items.push(item));
    assert_eq!(report.expect("scrubs").problems, items.len() as u64);
    items
}

/// Writes a row of a tree whose blob is not here.
pub(super) fn stray_tree(store: &Store, hash: &Hash) {
    let key = tree_key(hash, 3);
    let write = store.inner.shared.write(|transaction| {
        let value = seal(TREES, &key, &[&[1; 32]]);
        transaction.open_table(TREES)?.insert(key.as_slice(), value.as_slice())?;
        Ok(())
    });
    write.expect("writes");
}

#[test]
fn a_sweep_removes_what_is_not_live_and_nothing_else() {
    let dir = super::folder();
    let store = open(dir.path());
    let (keep, go) = (bytes_of(PIECE + 1, 1), bytes_of(2 * PIECE, 2));
    let live: BTreeSet<Hash> = [add(&store, &keep), add(&store, b"small, live")].into();
    let gone = [add(&store, &go), add(&store, b"small, not live")];
    let (wanted, unwanted, open_one) =
        (bytes_of(3 * PIECE, 3), bytes_of(3 * PIECE, 4), bytes_of(3 * PIECE, 5));
    let hold = |blob: &[u8]| {
        let partial = store.partial(Hash::of(blob), blob.len() as u64).expect("opens");
        fill(&partial, blob, &[1]);
        partial.checkpoint().expect("saves");
        partial
    };
    drop((hold(&wanted), hold(&unwanted)));
    let still_open = hold(&open_one);
    stray_tree(&store, &Hash::of(b"nobody"));
    let stray = file_of(dir.path(), &Hash::of(b"stray"));
    fs::write(&stray, vec![0; 1000]).expect("writes");

    let live = |hash: &Hash| live.contains(hash) || *hash == Hash::of(&wanted);
    let swept = store.sweep(&live).expect("sweeps");
    assert_eq!((swept.blobs, swept.blob_bytes), (2, 2 * PIECE_BYTES + 15));
    assert_eq!((swept.partials, swept.partial_bytes), (1, PIECE_BYTES));
    assert_eq!((swept.trees, swept.files, swept.file_bytes), (1, 1, 1000));
    for hash in &gone {
        assert!(!store.has_blob(hash).expect("reads") && !file_of(dir.path(), hash).exists());
    }
    assert!(!stray.exists());
    assert_eq!(store.read_blob(&Hash::of(&keep), 1 << 30).expect("reads"), keep);
    assert_eq!(store.partials().expect("lists").len(), 2);
    assert_eq!(still_open.missing(), [0, 2]);
    drop(still_open);
    assert_eq!(scrubbed(&store), []);
    let again = store.sweep(&live).expect("sweeps");
    assert_eq!((again.blobs, again.partials, again.trees, again.files), (0, 1, 0, 0));
    let usage = store.usage().expect("usage");
    assert_eq!((usage.blobs, usage.partials), (2, 1));
}

#[test]
fn a_blob_marked_before_its_batch_is_never_swept_from_under_it() {
    let dir = super::folder();
    let store = open(dir.path());
    let live = Mutex::new(BTreeSet::new());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let swept = store.sweep(&|hash| live.lock().expect("lock").contains(hash));
                let _counts = swept.expect("sweeps");
            }
        });
        for seed in 0..40 {
            let blob = bytes_of(30_000, seed % 5);
            let hash = Hash::of(&blob);
            live.lock().expect("lock").insert(hash);
            if !store.has_blob(&hash).expect("reads") {
                let mut batch = Batch::new();
                batch.add_blob(stage(&store, &blob));
                store.commit_blocking(batch).expect("commits");
            }
            store.verify_blob(&hash).expect("is there and whole");
            live.lock().expect("lock").remove(&hash);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let _counts = store.sweep(&|_| false).expect("sweeps");
    assert_eq!((store.usage().expect("usage").blobs, scrubbed(&store)), (0, vec![]));
}

#[test]
fn more_than_fit_one_step_are_all_removed() {
    let dir = super::folder();
    let store = open(dir.path());
    let mut batch = Batch::new();
    for number in 0..5000_u64 {
        batch.add_blob(stage(&store, &number.to_be_bytes()));
    }
    store.commit_blocking(batch).expect("commits");
    let asked = RefCell::new(0);
    let swept = store.sweep(&|hash| {
        *asked.borrow_mut() += 1;
        hash.as_bytes()[0] < 8
    });
    assert_eq!(swept.expect("sweeps").blobs + store.usage().expect("usage").blobs, 5000);
    assert!(*asked.borrow() > 5000);
    store.for_each_blob(|hash, _| assert!(hash.as_bytes()[0] < 8)).expect("lists");
}
