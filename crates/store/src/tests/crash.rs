//! Power cuts: every prefix of the writes to the database file, with a random part of what was not yet synced.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use redb::{Builder, StorageBackend};

use super::{author, id_of, load};
use crate::layout::Layout;
use crate::store::initialise;
use crate::{Batch, ReadError, Store, WriteError};

#[derive(Debug, Clone)]
enum Event {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

/// A medium in memory that remembers what was done to it, and can be told to fail.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<DiskState>>);

#[derive(Debug, Default)]
struct DiskState {
    content: Vec<u8>,
    events: Vec<Event>,
    full: bool,
}

impl DiskState {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Write(offset, bytes) => {
                let start = usize::try_from(*offset).expect("fits");
                let end = start + bytes.len();
                if self.content.len() < end {
                    self.content.resize(end, 0);
                }
                self.content[start..end].copy_from_slice(bytes);
            }
            Event::SetLen(len) => self.content.resize(usize::try_from(*len).expect("fits"), 0),
            Event::Sync => {}
        }
    }

    fn record(&mut self, event: Event) -> io::Result<()> {
        if self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.apply(&event);
        self.events.push(event);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().expect("lock").content.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().expect("lock");
        let start = usize::try_from(offset).expect("fits");
        let bytes = state.content.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().expect("lock").record(Event::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.lock().expect("lock").record(Event::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.lock().expect("lock").record(Event::Write(offset, data.to_vec()))
    }
}

fn start(dir: &Path, disk: Disk, fresh: bool) -> Store {
    let layout = Layout::new(dir);
    let lock = File::create(dir.join("lock")).expect("creates");
    layout.prepare().expect("prepares");
    let database = Builder::new().create_with_backend(disk).expect("opens");
    if fresh {
        initialise(&database).expect("initialises");
    }
    Store::start(layout, lock, database).expect("starts")
}

/// Three records that belong together; the middle one overwrites its predecessor of the batch before.
fn batch(number: u64) -> Batch {
    let mut batch = Batch::new();
    for (log, seq) in [(1, number), (2, 0), (3, number)] {
        let bytes = [log, number as u8].repeat(400);
        batch.put_record(author(log), seq, id_of(&bytes), bytes);
    }
    batch
}

#[test]
fn after_a_power_cut_what_was_acknowledged_is_there_and_batches_are_whole() {
    let dir = tempfile::tempdir().expect("dir");
    let disk = Disk::default();
    let store = start(dir.path(), disk.clone(), true);
    let events_so_far = || disk.0.lock().expect("lock").events.len();
    let created_at = events_so_far();
    let mut acknowledged_at = Vec::new();
    for number in 0..10 {
        store.commit_blocking(batch(number)).expect("commits");
        acknowledged_at.push(events_so_far());
    }
    let events = disk.0.lock().expect("lock").events.clone();
    drop(store);

    let mut random = 1_u64;
    let mut images = 0;
    for cut in created_at..=events.len() {
        let synced = events[..cut].iter().rposition(|event| matches!(event, Event::Sync));
        for _ in 0..3 {
            let image = Disk::default();
            let mut state = image.0.lock().expect("lock");
            for (index, event) in events[..cut].iter().enumerate() {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                match event {
                    Event::Write(offset, bytes) if synced.is_none_or(|synced| index > synced) => {
                        // Lost, torn, or complete.
                        let kept = match random >> 62 {
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
            let acknowledged = acknowledged_at.iter().filter(|at| **at <= cut).count() as u64;
            check_image(dir.path(), image, acknowledged);
            images += 1;
        }
    }
    assert!(images > 100, "{images} images");
}

fn check_image(dir: &Path, image: Disk, acknowledged: u64) {
    let store = start(dir, image, false);
    let (records, report) = load(&store);
    assert!(report.is_complete(), "{report:?}");
    let seqs = |log| {
        let log = records.iter().filter(move |(found, ..)| *found == author(log));
        log.map(|(_, seq, _)| *seq).collect::<Vec<_>>()
    };
    let batches = seqs(1).len() as u64;
    assert!(batches >= acknowledged, "{batches} of {acknowledged} acknowledged batches");
    assert!(batches <= acknowledged + 1, "only the one under way may be there unacknowledged");
    assert_eq!(seqs(1), (0..batches).collect::<Vec<_>>());
    assert_eq!(seqs(3), seqs(1));
    if let Some(last) = batches.checked_sub(1) {
        let found = store.record(&author(2), 0).expect("reads").expect("is there");
        assert_eq!(found.bytes, [2, last as u8].repeat(400));
    }
    assert_eq!(store.usage().expect("usage").records, records.len() as u64);
}

#[test]
fn a_full_disk_fails_this_and_every_later_write_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let disk = Disk::default();
    let store = start(dir.path(), disk.clone(), true);
    store.commit_blocking(batch(0)).expect("commits");
    disk.0.lock().expect("lock").full = true;
    let failed = store.commit_blocking(batch(1)).expect_err("is full");
    let WriteError::Failed { source } = &failed else { panic!("{failed}") };
    assert_eq!(source.io_kind(), Some(io::ErrorKind::StorageFull));
    disk.0.lock().expect("lock").full = false;
    for number in 2..5 {
        let refused = store.commit_blocking(batch(number));
        assert!(matches!(refused, Err(WriteError::Failed { .. })));
    }
    let read = store.record(&author(1), 0);
    assert!(matches!(read, Ok(Some(_)) | Err(ReadError::Database { .. })), "never a wrong answer");
    assert!(matches!(store.close_blocking(), Err(WriteError::Failed { .. })));
    drop(store);
    check_image(dir.path(), disk, 1);
}
