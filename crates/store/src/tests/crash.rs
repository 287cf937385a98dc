//! Power cuts: every prefix of the writes to the database file, with a random part of what was not yet synced.
//!
//! How many images are looked at can be chosen with `GUILDHALL_CRASH_IMAGES`.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{self, PIECE_BYTES, Shape};

use super::disk::{Disk, Event, start};
use super::{author, bytes_of, id_of, load, stage};
use crate::blob::{BlobAt, known_pieces};
use crate::layout::Layout;
use crate::row::{BlobRow, PartialRow};
use crate::shared::Shared;
use crate::shelf::Directory;
use crate::table::{BLOBS, PARTIALS, RECORDS, parse_hash, parse_record_key, unseal};
use crate::{Batch, ReadError, Store, WriteError};

/// Images looked at by default: a few seconds.
const IMAGES: usize = 3_000;

/// Batches of the workload.
const BATCHES: u64 = 14;

/// A blob with a file, of two pieces, and one that lives in its row.
fn blobs_of(number: u64) -> (Vec<u8>, Vec<u8>) {
    let large = bytes_of(PIECE_BYTES as usize + 20_000, number % 3);
    (large, bytes_of(300, number))
}

/// Three records that belong together, the middle one over its predecessor of the batch before; two blobs; and every
/// third time, the large blob of the batch before goes.
fn batch(store: &Store, number: u64) -> Batch {
    let mut batch = Batch::new();
    for (log, seq) in [(1, number), (2, 0), (3, number)] {
        let bytes = [log, number as u8].repeat(400);
        batch.put_record(author(log), seq, id_of(&bytes), bytes);
    }
    let (large, small) = blobs_of(number);
    if number % 3 == 2 {
        batch.forget_blob(Hash::of(&blobs_of(number - 1).0));
    }
    batch.add_blob(stage(store, &large));
    batch.add_blob(stage(store, &small));
    batch
}

/// Saves one piece more of a blob that is coming in.
fn checkpoint(store: &Store, number: u64) {
    let blob = bytes_of(3 * PIECE_BYTES as usize, 77);
    let partial = store.partial(Hash::of(&blob), blob.len() as u64).expect("opens");
    super::partials::fill(&partial, &blob, &[number % 3]);
    partial.checkpoint().expect("saves");
}

#[test]
fn after_a_power_cut_what_was_acknowledged_is_there_and_batches_are_whole() {
    let dir = super::folder();
    let disk = Disk::recording();
    let store = start(dir.path(), &disk, true);
    let events_so_far = || disk.state.lock().expect("lock").events.len();
    let created_at = events_so_far();
    let (mut acknowledged_at, mut saved_at) = (Vec::new(), Vec::new());
    for number in 0..BATCHES {
        store.commit_blocking(batch(&store, number)).expect("commits");
        acknowledged_at.push(events_so_far());
        if number < 3 {
            checkpoint(&store, number);
            saved_at.push(events_so_far());
        }
    }
    drop(store);
    let events = disk.state.lock().expect("lock").events.clone();
    let wanted = std::env::var("GUILDHALL_CRASH_IMAGES").ok();
    let wanted = wanted.and_then(|text| text.parse().ok()).unwrap_or(IMAGES);
    let cuts = events.len() - created_at;
    let mut random = 1_u64;
    let mut images = 0;
    // What is certainly on the disk, and what came after that.
    let base = Disk::default();
    let mut pending: Vec<&Event> = Vec::new();
    for (index, event) in events.iter().enumerate() {
        if matches!(event, Event::Sync) {
            let mut state = base.state.lock().expect("lock");
            pending.drain(..).for_each(|event| state.apply(event));
        } else {
            pending.push(event);
        }
        let cut = index + 1;
        if cut < created_at {
            continue;
        }
        let before = |marks: &[usize]| marks.iter().filter(|at| **at <= cut).count() as u64;
        let done = (before(&acknowledged_at), before(&saved_at));
        for _ in 0..(wanted / cuts).max(1) {
            let image = torn(&base, &pending, &mut random);
            check_image(dir.path(), &image, done);
            images += 1;
        }
    }
    assert!(images > 100, "{images} images");
}

/// The disk after a cut: of what was not synced, each write is lost, torn or complete.
fn torn(base: &Disk, pending: &[&Event], random: &mut u64) -> Disk {
    let image = Disk::default();
    let mut state = image.state.lock().expect("lock");
    state.content.clone_from(&base.state.lock().expect("lock").content);
    for event in pending {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        match event {
            Event::Write(offset, bytes) => {
                let kept = match *random >> 62 {
                    0 => 0,
                    1 => bytes.len() / 2,
                    _ => bytes.len(),
                };
                state.apply(&Event::Write(*offset, bytes[..kept].to_vec()));
            }
            event => state.apply(event),
        }
    }
    drop(state);
    image
}

/// Looks at an image without starting a store on it, which would take longer than looking.
fn check_image(dir: &Path, image: &Disk, (acknowledged, saved): (u64, u64)) {
    let lock = File::open(dir.join("lock")).expect("opens");
    let database = image.database().expect("opens");
    let medium = Box::new(|| unreachable!("nothing fails"));
    let layout = Arc::new(Layout::new(dir));
    let shelf = Box::new(Directory(Arc::clone(&layout)));
    let shared = Shared::new(layout, shelf, lock, database, medium);
    let mut seqs: [Vec<u64>; 2] = [Vec::new(), Vec::new()];
    let mut overwritten = Vec::new();
    shared
        .for_each_row(RECORDS, |key, value| {
            let (found, seq) = parse_record_key(key).expect("a key of ours");
            let payload = unseal(RECORDS, key, value).expect("intact");
            match found.as_bytes()[0] {
                1 => seqs[0].push(seq),
                3 => seqs[1].push(seq),
                _ => overwritten = payload[32..].to_vec(),
            }
        })
        .expect("reads");
    let batches = seqs[0].len() as u64;
    assert!(batches >= acknowledged, "{batches} of {acknowledged} acknowledged batches");
    assert!(batches <= acknowledged + 1, "only the one under way may be there unacknowledged");
    assert_eq!(seqs[0], (0..batches).collect::<Vec<_>>());
    assert_eq!(seqs[1], seqs[0]);
    if let Some(last) = batches.checked_sub(1) {
        assert_eq!(overwritten, [2, last as u8].repeat(400));
    }
    check_blobs(&shared, batches);
    check_partials(&shared, saved);
    shared.close().expect("closes");
}

/// Exactly the blobs of these batches have rows, the small ones their bytes and the large ones their whole tree.
fn check_blobs(shared: &Shared, batches: u64) {
    let mut expected = std::collections::BTreeSet::new();
    for number in 0..batches {
        let (large, small) = hashes_of(number);
        if number % 3 == 2 {
            expected.remove(&hashes_of(number - 1).0);
        }
        expected.extend([large, small]);
    }
    let mut found = std::collections::BTreeSet::new();
    shared
        .for_each_row(BLOBS, |key, value| {
            let hash = parse_hash(key).expect("a key of ours");
            match unseal(BLOBS, key, value).and_then(BlobRow::parse).expect("intact") {
                BlobRow::Inline(bytes) => assert_eq!(Hash::of(bytes), hash),
                BlobRow::File { len_bytes } => check_tree(shared, &hash, Shape::of(len_bytes)),
            }
            found.insert(hash);
        })
        .expect("reads");
    assert_eq!(found, expected);
}

fn hashes_of(number: u64) -> (Hash, Hash) {
    use std::sync::LazyLock;
    static HASHES: LazyLock<Vec<(Hash, Hash)>> = LazyLock::new(|| {
        let hash = |number| {
            let (large, small) = blobs_of(number);
            (Hash::of(&large), Hash::of(&small))
        };
        (0..=BATCHES).map(hash).collect()
    });
    HASHES[number as usize]
}

fn check_tree(shared: &Shared, hash: &Hash, shape: Shape) {
    let pieces = known_pieces(shared, hash, shape).expect("the list of pieces is there and right");
    for (number, cv) in (0_u32..).zip(pieces) {
        let groups = shared.tree_row(hash, number).expect("reads").expect("is there");
        assert_eq!(tree::merge(&groups), Some(cv));
    }
}

/// What was saved of the partial blob is in its row, with its tree.
fn check_partials(shared: &Shared, saved: u64) {
    shared
        .for_each_row(PARTIALS, |key, value| {
            let hash = parse_hash(key).expect("a key of ours");
            let row = unseal(PARTIALS, key, value).and_then(PartialRow::parse).expect("intact");
            let here = row.saved.iter().filter(|saved| **saved).count() as u64;
            assert!(here == saved || here == saved + 1, "{here} pieces, {saved} acknowledged");
            let list = known_pieces(shared, &hash, row.shape);
            for (number, saved) in (0_u32..).zip(&row.saved) {
                if *saved {
                    let groups = shared.tree_row(&hash, number).expect("reads").expect("is there");
                    let list = list.as_ref().expect("the list of pieces is there and right");
                    assert_eq!(tree::merge(&groups), list.get(number as usize).copied());
                }
            }
        })
        .expect("reads");
}

#[test]
fn a_full_disk_fails_writes_until_there_is_room_and_loses_nothing() {
    let dir = super::folder();
    let disk = Disk::default();
    let store = start(dir.path(), &disk, true);
    let record = |number: u64| {
        let mut batch = Batch::new();
        let bytes = vec![number as u8; 3000];
        batch.put_record(author(1), number, id_of(&bytes), bytes);
        batch
    };
    store.commit_blocking(record(0)).expect("commits");
    disk.state.lock().expect("lock").full = true;
    for _ in 0..3 {
        let failed = store.commit_blocking(record(1)).expect_err("is full");
        assert!(failed.is_no_space(), "{failed}");
        assert!(matches!(failed, WriteError::NoSpace { .. }));
        let read = store.record(&author(1), 0);
        let known = matches!(read, Ok(Some(_)) | Err(ReadError::Database { .. }));
        assert!(known, "never a wrong answer");
    }
    disk.state.lock().expect("lock").full = false;
    for number in 1..4 {
        store.commit_blocking(record(number)).expect("there is room again");
    }
    let (records, report) = load(&store);
    assert!(report.is_complete());
    assert_eq!(records.len(), 4);
    store.close_blocking().expect("closes");
    let again = start(dir.path(), &disk, false);
    assert_eq!(load(&again).0, records);
    assert!(matches!(again.inner.shared.blob_at(&Hash::of(b"")), Ok(None::<BlobAt>)));
}

#[test]
fn after_a_failed_read_the_next_batch_is_written_and_reads_work_again() {
    let dir = super::folder();
    let disk = Disk::default();
    let store = start(dir.path(), &disk, true);
    let mut batch = Batch::new();
    for seq in 0..2000 {
        let bytes = vec![seq as u8; 500];
        batch.put_record(author(1), seq, id_of(&bytes), bytes);
    }
    store.commit_blocking(batch).expect("commits");
    store.close_blocking().expect("closes");
    let store = start(dir.path(), &disk, false);
    disk.state.lock().expect("lock").unreadable = true;
    let failed = (0..2000).any(|seq| match store.record(&author(1), seq) {
        Ok(found) => found.expect("is there").bytes != vec![seq as u8; 500],
        Err(error) => matches!(error, ReadError::Database { .. }),
    });
    assert!(failed, "some row was not in memory");
    disk.state.lock().expect("lock").unreadable = false;
    store.commit_blocking(Batch::new()).expect("nothing was wrong with writing");
    assert_eq!(load(&store).0.len(), 2000);
}
