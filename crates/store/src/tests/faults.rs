//! Every operation on storage fails once, over a workload that does everything: nothing is lost, nothing is wrong, and
//! afterwards everything works again.

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{PIECE_BYTES, Shape};

use super::disk::{Disk, start};
use super::partials::fill;
use super::{author, bytes_of, id_of, load};
use crate::{Batch, BlobError, Import, ScrubItem, StagedBlob, Store};

/// Small enough that hundreds of runs take seconds: two pieces, the second of a few groups.
const LEN: usize = PIECE_BYTES as usize + 40_000;

/// What was acknowledged.
#[derive(Default)]
struct Acknowledged {
    records: Vec<(u64, Vec<u8>)>,
    blobs: Vec<Hash>,
    errors: Vec<BlobError>,
}

impl Acknowledged {
    fn commit(&mut self, store: &Store, seq: u64, staged: Result<StagedBlob, BlobError>) {
        let bytes = vec![seq as u8; 500];
        let mut batch = Batch::new();
        batch.put_record(author(1), seq, id_of(&bytes), bytes.clone());
        let staged = staged.map_err(|error| self.errors.push(error)).ok();
        let hash = staged.as_ref().map(StagedBlob::hash);
        if let Some(staged) = staged {
            batch.add_blob(staged);
        }
        match store.commit_blocking(batch) {
            Ok(()) => {
                self.records.push((seq, bytes));
                self.blobs.extend(hash);
            }
            Err(error) => self.errors.push(error.into()),
        }
    }
}

struct Inputs {
    files: Vec<std::path::PathBuf>,
    large: Vec<u8>,
}

fn inputs(dir: &Path) -> Inputs {
    let files = (0..3).map(|seed| {
        let path = dir.join(format!("source {seed}"));
        std::fs::write(&path, bytes_of(60_000, seed)).expect("writes");
        path
    });
    Inputs { files: files.collect(), large: bytes_of(LEN, 9) }
}

/// Imports, streams, receives, forgets, sweeps.
fn work(store: &Store, inputs: &Inputs) -> Acknowledged {
    let mut done = Acknowledged::default();
    for (seq, path) in (0..).zip(&inputs.files) {
        done.commit(store, seq, store.import_file(path, Import::Copy));
    }
    let streamed = || {
        let mut writer = store.blob_writer(None, 1 << 30)?;
        writer.write_all(&inputs.large[..300_000])?;
        writer.finish()
    };
    done.commit(store, 10, streamed());
    for seq in 20..55 {
        done.commit(store, seq, Ok(StagedBlob::inline(seq.to_be_bytes().to_vec())));
    }
    let received = |pieces: &[u64], end: bool| {
        let partial = store.partial(Hash::of(&inputs.large), LEN as u64)?;
        let missing = partial.missing();
        let wanted: Vec<_> = pieces.iter().copied().filter(|at| missing.contains(at)).collect();
        try_fill(&partial, &inputs.large, &wanted)?;
        partial.checkpoint()?;
        if end { partial.stage().map(Some) } else { Ok(None) }
    };
    if let Err(error) = received(&[1], false) {
        done.errors.push(error);
    }
    match received(&[0, 1], true) {
        Ok(Some(staged)) => done.commit(store, 12, Ok(staged)),
        Ok(None) => {}
        Err(error) => done.errors.push(error),
    }
    let gone = done.blobs.first().copied();
    if let Err(error) = store.sweep(&|hash| Some(*hash) != gone) {
        done.errors.push(error.into());
    }
    done.blobs.retain(|hash| Some(*hash) != gone);
    done
}

/// [`fill`], but with the errors.
fn try_fill(partial: &crate::Partial, blob: &[u8], pieces: &[u64]) -> Result<(), BlobError> {
    fill(partial, blob, &[]);
    for index in pieces {
        let span = Shape::of(blob.len() as u64).piece(*index);
        let bytes = &blob[span.offset as usize..][..span.len_bytes as usize];
        let groups = guildhall_protocol::tree::group_cvs(span.offset, bytes);
        let mut writer = partial.piece_writer(*index, groups)?;
        for (number, group) in (0..).zip(bytes.chunks(16 * 1024)) {
            writer.write_group(number, group)?;
        }
        writer.finish()?;
    }
    Ok(())
}

/// Everything acknowledged is there, and nothing is wrong.
fn check(store: &Store, done: &Acknowledged) {
    let (records, report) = load(store);
    assert!(report.is_complete());
    for (seq, bytes) in &done.records {
        assert!(records.contains(&(author(1), *seq, bytes.clone())), "record {seq} is lost");
    }
    for hash in &done.blobs {
        store.verify_blob(hash).expect("is there and whole");
    }
    let harmless = |item: &ScrubItem| {
        use ScrubItem::{StalePartial, StrayFile, StrayTree};
        matches!(item, StrayFile { .. } | StrayTree { .. } | StalePartial { .. })
    };
    let scrubbed = store.scrub(None, &AtomicBool::new(false), |item| {
        assert!(harmless(&item), "{item:?}");
    });
    assert!(scrubbed.is_ok());
}

/// Opens a store, new or again.
type Start<'a> = &'a dyn Fn(&Path, &Disk, bool) -> Store;
type OwnStart = Box<dyn Fn(&Path, &Disk, bool) -> Store>;

fn run(
    (dir, start): (&Path, Start<'_>),
    inputs: &Inputs,
    number: u64,
    length: u64,
    kind: io::ErrorKind,
) -> (u64, bool) {
    let home = dir.join(format!("{number}"));
    std::fs::create_dir(&home).expect("creates");
    let disk = Disk::default();
    let store = start(&home, &disk, true);
    let first = disk.faults.count();
    disk.faults.fail(first + number..first + number + length, kind);
    let done = work(&store, inputs);
    let count = disk.faults.count() - first;
    disk.faults.heal();
    for error in &done.errors {
        let named = error.is_no_space() == (kind == io::ErrorKind::StorageFull);
        let other = matches!(error, BlobError::Interrupted | BlobError::Incomplete { .. });
        let read = matches!(error, BlobError::Read(_));
        assert!(named || other || read, "operation {number}: {error:?}");
    }
    store.commit_blocking(Batch::new()).expect("takes writes again");
    check(&store, &done);
    let again = work(&store, inputs);
    assert!(again.errors.is_empty(), "operation {number}: {:?}", again.errors);
    check(&store, &again);
    let _counts = store.sweep(&|_| true).expect("sweeps");
    check(&store, &again);
    drop(store);
    let store = start(&home, &disk, false);
    check(&store, &again);
    drop(store);
    std::fs::remove_dir_all(&home).expect("removes");
    (count, done.errors.is_empty())
}

#[test]
fn whichever_operation_fails_nothing_is_lost_and_everything_works_again() {
    fail_each(23, &|| Box::new(start));
}

#[cfg(feature = "s3")]
#[test]
fn the_same_holds_for_blobs_elsewhere() {
    // A prime of its own, so that other operations are hit.
    fail_each(61, &|| {
        let objects: std::sync::Arc<dyn object_store::ObjectStore> =
            std::sync::Arc::new(object_store::memory::InMemory::new());
        Box::new(move |dir, disk, fresh| super::disk::start_far(dir, disk, fresh, &objects))
    });
}

/// Each run has a place of its own to start at.
fn fail_each(step: usize, place: &dyn Fn() -> OwnStart) {
    let dir = super::folder();
    let inputs = inputs(dir.path());
    let run = |number, length, kind| run((dir.path(), &*place()), &inputs, number, length, kind);
    let (count, untouched) = run(u64::MAX / 2, 1, io::ErrorKind::Other);
    assert!(untouched && count >= 400, "{count} operations");
    // All of them with GUILDHALL_FAULT_STEP=1.
    let chosen = std::env::var("GUILDHALL_FAULT_STEP").ok().and_then(|text| text.parse().ok());
    let step = chosen.unwrap_or(step);
    let mut failed = 0;
    for number in (0..count).step_by(step) {
        let full = number % 2 == 0;
        let kind = if full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        // A disk stays full for a while; other errors strike once.
        let length = if full { 25 } else { 1 };
        failed += u64::from(!run(number, length, kind).1);
    }
    assert!(failed > count / step as u64 / 2, "{failed} runs of {count} had an error");
}
