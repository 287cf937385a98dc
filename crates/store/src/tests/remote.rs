//! Blobs elsewhere, with objects in memory: what is where, and what happens when it is not.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Barrier};

use guildhall_protocol::Hash;
use guildhall_protocol::tree::PIECE_BYTES;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::partials::fill;
use super::{add, bytes_of, file_of, folder, stage};
use crate::backend::{Place, Spot};
use crate::database::{builder, create_catalogue};
use crate::error::BlobDamage;
use crate::layout::Layout;
use crate::remote::Remote;
use crate::writer::prepare_blobs;
use crate::{Batch, BlobError, OpenError, RemoteFault, ScrubItem, Store};

/// A blob of three pieces, sent in two parts.
const LEN: usize = 2 * PIECE_BYTES as usize + 300_000;

type Objects = Arc<dyn ObjectStore>;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(work)
}

fn objects() -> Objects {
    Arc::new(InMemory::new())
}

/// Storage of this prefix.
pub(super) fn place(layout: &Arc<Layout>, objects: &Objects, prefix: &str, cache: u64) -> Place {
    let spot = Spot { endpoint: "memory".into(), bucket: "b".into(), prefix: prefix.into() };
    let remote = Remote::new(Arc::clone(objects), spot, cache, layout).expect("is ready");
    remote.probe().expect("works");
    Place::Remote(Box::new(remote))
}

/// [`Store::open_with`], with these objects.
fn try_open(dir: &Path, objects: &Objects, prefix: &str, cache: u64) -> Result<Store, OpenError> {
    let layout = Layout::new(dir);
    let lock = layout.lock()?;
    layout.prepare()?;
    let layout = Arc::new(layout);
    let place = place(&layout, objects, prefix, cache);
    let path = layout.catalogue();
    if !path.exists() {
        create_catalogue(&layout, place.new_binding().expect("random").as_ref())?;
    }
    Store::start_at(layout, lock, Box::new(move || Ok(builder().open(&path)?)), place)
}

fn open(dir: &Path, objects: &Objects) -> Store {
    try_open(dir, objects, "p/q", 1 << 30).expect("opens")
}

fn key(hash: &Hash) -> Key {
    let hex = hash.to_hex();
    Key::from(format!("p/q/{}/{hex}", &hex[..2]))
}

fn is_there(objects: &Objects, hash: &Hash) -> bool {
    block_on(objects.head(&key(hash))).is_ok()
}

fn cached(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir.join("cache")).expect("lists");
    entries.map(|entry| entry.expect("entry").file_name().into_string().expect("text")).collect()
}

/// Replaces an object.
fn overwrite(objects: &Objects, hash: &Hash, change: impl FnOnce(&mut Vec<u8>)) {
    let found = block_on(async { objects.get(&key(hash)).await?.bytes().await });
    let mut bytes = found.expect("is there").to_vec();
    change(&mut bytes);
    block_on(objects.put(&key(hash), bytes.into())).expect("puts");
}

fn drop_cache(store: &Store, hash: &Hash) {
    store.inner.shared.shelf.doubt(hash);
}

#[test]
fn a_large_blob_is_an_object_and_everything_else_stays_here() {
    let (dir, objects) = (folder(), objects());
    let store = open(dir.path(), &objects);
    let (small, large) = (bytes_of(16 * 1024, 1), bytes_of(LEN, 2));
    let hashes = [add(&store, &small), add(&store, &large)];
    assert!(!is_there(&objects, &hashes[0]) && is_there(&objects, &hashes[1]));
    assert!(!file_of(dir.path(), &hashes[1]).exists());
    assert_eq!(cached(dir.path()), BTreeSet::from([hashes[1].to_hex()]), "it is kept at hand");
    for local_copy in [true, false] {
        let look = || {
            if !local_copy {
                drop_cache(&store, &hashes[1])
            }
        };
        look();
        let mut out = vec![0; 70_000];
        let offset = PIECE_BYTES as usize - 1000;
        let read = store.read_blob_at(&hashes[1], offset as u64, &mut out).expect("reads");
        assert_eq!(out[..read], large[offset..][..70_000]);
        let read = store.read_blob_at(&hashes[1], LEN as u64 - 10, &mut out).expect("reads");
        assert_eq!(out[..read], large[LEN - 10..]);
        assert_eq!(store.read_blob_at(&hashes[1], LEN as u64, &mut out).expect("reads"), 0);
        look();
        assert_eq!(store.probe_blob(&hashes[1]).expect("is there"), LEN as u64);
        assert_eq!(cached(dir.path()).is_empty(), !local_copy, "nothing was fetched for that");
        assert_eq!(store.read_blob(&hashes[1], u64::MAX).expect("reads"), large);
    }
    let (mut file, len_bytes) = store.open_blob(&hashes[1]).expect("opens");
    let mut batch = Batch::new();
    batch.forget_blob(hashes[1]);
    store.commit_blocking(batch).expect("commits");
    assert!(!is_there(&objects, &hashes[1]) && cached(dir.path()).is_empty());
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("reads");
    assert!(bytes == large && len_bytes == LEN as u64, "who has it open keeps reading");
}

#[test]
fn a_blob_that_came_in_pieces_becomes_an_object_and_its_file_goes() {
    let (dir, objects) = (folder(), objects());
    let store = try_open(dir.path(), &objects, "p/q", 0).expect("opens");
    let blob = bytes_of(LEN, 3);
    let hash = Hash::of(&blob);
    let partial = store.partial(hash, LEN as u64).expect("begins");
    fill(&partial, &blob, &[0, 1, 2]);
    let mut batch = Batch::new();
    batch.add_blob(partial.stage().expect("whole"));
    drop(partial);
    store.commit_blocking(batch).expect("commits");
    assert!(is_there(&objects, &hash));
    for empty in ["partial", "cache", "tmp"] {
        assert_eq!(fs::read_dir(dir.path().join(empty)).expect("lists").count(), 0, "{empty}");
    }
    assert_eq!(store.read_blob(&hash, u64::MAX).expect("reads"), blob);
    assert!(cached(dir.path()).is_empty(), "a cache of nothing keeps nothing");
}

#[test]
fn an_object_that_changed_is_found_refused_and_mended_from_its_good_pieces() {
    let (dir, objects) = (folder(), objects());
    let store = open(dir.path(), &objects);
    let blob = bytes_of(LEN, 4);
    let hash = add(&store, &blob);
    overwrite(&objects, &hash, |bytes| bytes[PIECE_BYTES as usize + 5] ^= 1);
    let damage = BlobDamage::Content { pieces: 1, first_offset: PIECE_BYTES };
    let mut found = Vec::new();
    let report = store.scrub(None, &AtomicBool::new(false), |item| found.push(item));
    assert_eq!(report.expect("scrubs").problems, 1);
    assert_eq!(found, [ScrubItem::Blob { hash, damage }], "though the local copy was good");
    assert!(matches!(store.verify_blob(&hash), Err(BlobError::Damaged { .. })));
    assert!(matches!(store.open_blob(&hash), Err(BlobError::Damaged { .. })));
    assert!(cached(dir.path()).is_empty());
    assert_eq!(store.damaged_pieces(&hash).expect("looks"), [1]);

    let partial = store.repair(&hash).expect("repairs");
    assert_eq!(partial.missing(), [1]);
    assert!(!is_there(&objects, &hash), "it is an unfinished blob here now");
    fill(&partial, &blob, &[1]);
    let mut batch = Batch::new();
    batch.add_blob(partial.stage().expect("whole"));
    drop(partial);
    store.commit_blocking(batch).expect("commits");
    store.verify_blob(&hash).expect("is good again");
    assert_eq!(store.read_blob(&hash, u64::MAX).expect("reads"), blob);

    overwrite(&objects, &hash, |bytes| bytes.truncate(PIECE_BYTES as usize + 7));
    let cut = |error| matches!(error, BlobError::Damaged { damage: BlobDamage::Length { .. }, .. });
    assert!(cut(store.verify_blob(&hash).expect_err("is cut")));
    assert_eq!(store.repair(&hash).expect("repairs").missing(), [1, 2]);
}

#[test]
fn an_object_that_is_gone_is_a_damaged_blob() {
    let (dir, objects) = (folder(), objects());
    let store = open(dir.path(), &objects);
    let hash = add(&store, &bytes_of(LEN, 5));
    block_on(objects.delete(&key(&hash))).expect("deletes");
    let gone = |error| matches!(error, BlobError::Damaged { damage: BlobDamage::FileMissing, .. });
    assert!(gone(store.verify_blob(&hash).expect_err("is gone")));
    assert!(gone(store.open_blob(&hash).expect_err("is gone")));
    assert!(gone(store.read_blob_at(&hash, 0, &mut [0]).expect_err("is gone")));
    assert_eq!(store.repair(&hash).expect("repairs").missing(), [0, 1, 2]);
}

#[test]
fn a_damaged_local_copy_is_fetched_again() {
    let (dir, objects) = (folder(), objects());
    let store = open(dir.path(), &objects);
    let blob = bytes_of(LEN, 6);
    let hash = add(&store, &blob);
    let copy = dir.path().join("cache").join(hash.to_hex());
    let mut bytes = fs::read(&copy).expect("is there");
    bytes[100] ^= 1;
    fs::write(&copy, bytes).expect("writes");
    assert_eq!(store.read_blob(&hash, u64::MAX).expect("reads"), blob);
    store.verify_blob(&hash).expect("the object is good");
}

#[test]
fn a_sweep_removes_objects_without_rows_but_not_what_is_on_its_way() {
    let (dir, objects) = (folder(), objects());
    let store = open(dir.path(), &objects);
    let kept = add(&store, &bytes_of(LEN, 7));
    let stray = Hash::of(b"nobody's");
    block_on(objects.put(&key(&stray), vec![1; 100].into())).expect("puts");
    let mut batch = Batch::new();
    batch.add_blob(stage(&store, &bytes_of(LEN, 8)));
    let coming = Hash::of(&bytes_of(LEN, 8));
    prepare_blobs(&*store.inner.shared.shelf, &mut batch).expect("sends");
    let swept = store.sweep(&|_| true).expect("sweeps");
    assert_eq!((swept.files, swept.file_bytes, swept.blobs), (1, 100, 0));
    assert!(!is_there(&objects, &stray) && is_there(&objects, &kept));
    assert!(is_there(&objects, &coming), "sent, but its row is not written yet");
    store.inner.writer.commit_blocking(batch).expect("commits");
    store.verify_blob(&coming).expect("is there");
    let swept = store.sweep(&|hash| *hash == kept).expect("sweeps");
    assert_eq!(swept.blobs, 1);
    assert!(!is_there(&objects, &coming));
}

#[test]
fn a_blob_that_is_forgotten_after_it_was_sent_again_is_sent_once_more() {
    let (dir, objects) = (folder(), objects());
    let store = open(dir.path(), &objects);
    let blob = bytes_of(LEN, 9);
    let hash = add(&store, &blob);
    let mut again = Batch::new();
    again.add_blob(stage(&store, &blob));
    prepare_blobs(&*store.inner.shared.shelf, &mut again).expect("sends");
    let mut forget = Batch::new();
    forget.forget_blob(hash);
    store.commit_blocking(forget).expect("commits");
    assert!(!is_there(&objects, &hash));
    store.inner.writer.commit_blocking(again).expect("commits");
    assert!(is_there(&objects, &hash));
    store.verify_blob(&hash).expect("is there");
}

#[test]
fn a_batch_that_is_dropped_leaves_an_object_that_a_sweep_removes() {
    let (dir, objects) = (folder(), objects());
    let store = open(dir.path(), &objects);
    let mut batch = Batch::new();
    let staged = stage(&store, &bytes_of(LEN, 10));
    let hash = staged.hash();
    batch.add_blob(staged);
    prepare_blobs(&*store.inner.shared.shelf, &mut batch).expect("sends");
    drop(batch);
    assert!(is_there(&objects, &hash));
    assert_eq!(store.sweep(&|_| true).expect("sweeps").files, 1);
    assert!(!is_there(&objects, &hash));
}

#[test]
fn a_store_opens_only_with_the_place_that_it_was_made_with() {
    let (dir, objects) = (folder(), objects());
    let far = dir.path().join("far");
    drop(open(&far, &objects));
    drop(open(&far, &objects));
    let other = |result: Result<Store, OpenError>| match result.expect_err("is refused") {
        OpenError::OtherBackend { made, asked } => (made, asked),
        error => panic!("{error}"),
    };
    let here = "its own directory".to_owned();
    let (made, asked) = other(Store::open(&far));
    assert!(made.contains("bucket `b`, prefix `p/q`") && asked == here, "{made}, {asked}");
    let (_, asked) = other(try_open(&far, &objects, "elsewhere", 0));
    assert!(asked.contains("prefix `elsewhere`"), "{asked}");
    let near = dir.path().join("near");
    drop(Store::open(&near).expect("opens"));
    let (made, asked) = other(try_open(&near, &objects, "new", 0));
    assert!(made == here && asked.contains("prefix `new`"), "{made}, {asked}");

    let not_ours = |result: Result<Store, OpenError>| match result.expect_err("is refused") {
        OpenError::NotOurs { why, .. } => why,
        error => panic!("{error}"),
    };
    let second = dir.path().join("second");
    assert!(not_ours(try_open(&second, &objects, "p/q", 0)).contains("another store"));
    assert!(not_ours(try_open(&far, &self::objects(), "p/q", 0)).contains("emptied"));
}

#[test]
fn a_backup_has_its_blobs_with_it() {
    let (dir, objects) = (folder(), objects());
    let store = open(&dir.path().join("store"), &objects);
    let blobs = [bytes_of(LEN, 11), bytes_of(100_000, 12), bytes_of(100, 13)];
    let hashes = blobs.each_ref().map(|blob| add(&store, blob));
    let damaged = add(&store, &bytes_of(200_000, 14));
    overwrite(&objects, &damaged, |bytes| bytes.truncate(10));
    store.backup(&dir.path().join("copy"), true).expect("copies");
    drop(store);
    let copy = Store::open(&dir.path().join("copy")).expect("opens without the storage");
    for hash in hashes {
        copy.verify_blob(&hash).expect("is there");
    }
    assert!(!copy.has_blob(&damaged).expect("looks"), "what is damaged is left out");
}

#[test]
fn local_copies_stay_within_their_bound_and_the_least_used_goes_first() {
    let (dir, objects) = (folder(), objects());
    let open = || try_open(dir.path(), &objects, "p/q", 250_000).expect("opens");
    let store = open();
    let blobs = [1, 2, 3].map(|seed| bytes_of(100_000, seed));
    let [a, b, c] = blobs.each_ref().map(|blob| add(&store, blob));
    let names = |hashes: [&Hash; 2]| BTreeSet::from(hashes.map(Hash::to_hex));
    assert_eq!(cached(dir.path()), names([&b, &c]));
    for hash in [&b, &a] {
        store.open_blob(hash).expect("opens");
    }
    assert_eq!(cached(dir.path()), names([&a, &b]), "b was used after c");
    store.open_blob(&b).expect("opens");
    drop(store);
    fs::write(dir.path().join("cache/readme"), b"somebody's").expect("writes");
    let store = open();
    store.open_blob(&c).expect("opens");
    fs::remove_file(dir.path().join("cache/readme")).expect("was left alone");
    assert_eq!(cached(dir.path()), names([&b, &c]), "the order outlives the process");
    let large = bytes_of(300_000, 4);
    let hash = add(&store, &large);
    assert_eq!(store.read_blob(&hash, u64::MAX).expect("reads"), large);
    assert!(!cached(dir.path()).contains(&hash.to_hex()), "larger than all the room");
}

#[test]
fn of_several_that_open_a_blob_one_fetches() {
    let (dir, objects) = (folder(), objects());
    let store = open(dir.path(), &objects);
    let blob = bytes_of(LEN, 15);
    let hash = add(&store, &blob);
    drop_cache(&store, &hash);
    let before = fs::read_dir(dir.path().join("tmp")).expect("lists").count();
    let barrier = Barrier::new(8);
    let inodes: BTreeSet<u64> = std::thread::scope(|scope| {
        let open = || {
            use std::os::unix::fs::MetadataExt as _;
            barrier.wait();
            let (file, _) = store.open_blob(&hash).expect("opens");
            file.metadata().expect("metadata").ino()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().expect("ends")).collect()
    });
    assert_eq!(inodes.len(), 1, "all have the same file");
    assert_eq!(fs::read_dir(dir.path().join("tmp")).expect("lists").count(), before);
}

#[test]
fn errors_say_whose_fault_they_are() {
    let error = |fault| crate::RemoteError::new(fault, "doing", "cause");
    let io = |fault| std::io::Error::from(error(fault));
    let blob = |fault| BlobError::io(Path::new("x"))(io(fault));
    assert!(blob(RemoteFault::NoSpace).is_no_space());
    for fault in [RemoteFault::Transient, RemoteFault::Forbidden, RemoteFault::NoBucket] {
        assert_eq!(blob(fault).remote_fault(), Some(fault));
        assert!(!blob(fault).is_no_space());
        let kind = io(fault).kind();
        assert_ne!(kind, std::io::ErrorKind::NotFound, "the blob is not lost: {fault:?}");
    }
    assert_eq!(io(RemoteFault::Missing).kind(), std::io::ErrorKind::NotFound);
    assert!(RemoteFault::Transient.is_transient() && RemoteFault::NoBucket.is_ours());
}
