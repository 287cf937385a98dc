//! A medium in memory that remembers what was done to it, and can be told to fail.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use redb::{Builder, Database, StorageBackend};

use crate::Store;
use crate::database::initialise;
use crate::error::Fault;
use crate::faults::Faults;
use crate::layout::Layout;

/// What was done.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

/// See the module. Clones are the same medium.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) state: Arc<Mutex<DiskState>>,
    pub(super) faults: Faults,
}

#[derive(Debug, Default)]
pub(super) struct DiskState {
    pub(super) content: Vec<u8>,
    pub(super) events: Vec<Event>,
    pub(super) full: bool,
    /// Whether reads fail.
    pub(super) unreadable: bool,
    /// Whether events are kept.
    pub(super) recording: bool,
}

impl DiskState {
    pub(super) fn apply(&mut self, event: &Event) {
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
}

impl Disk {
    /// One that keeps what is done to it.
    pub(super) fn recording() -> Self {
        let disk = Self::default();
        disk.state.lock().expect("lock").recording = true;
        disk
    }

    fn record(&self, event: Event) -> io::Result<()> {
        self.faults.step()?;
        let mut state = self.state.lock().expect("lock");
        if state.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.apply(&event);
        if state.recording {
            state.events.push(event);
        }
        Ok(())
    }

    pub(super) fn database(&self) -> Result<Database, Fault> {
        // Hardly any cache: what a test reads comes from here, also where a debug build has looked at everything before.
        Ok(Builder::new().set_cache_size(64 * 1024).create_with_backend(self.clone())?)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().expect("lock").content.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock().expect("lock");
        if state.unreadable {
            return Err(io::ErrorKind::Other.into());
        }
        let start = usize::try_from(offset).expect("fits");
        let bytes = state.content.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.record(Event::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.record(Event::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.record(Event::Write(offset, data.to_vec()))
    }
}

/// A store in `dir` with its catalogue on `disk`.
pub(super) fn start(dir: &Path, disk: &Disk, fresh: bool) -> Store {
    let mut layout = Layout::new(dir);
    layout.faults = disk.faults.clone();
    let lock = File::create(dir.join("lock")).expect("creates");
    layout.prepare().expect("prepares");
    if fresh {
        let database = disk.database().expect("opens");
        initialise(&database).expect("initialises");
        database.close().expect("closes");
    }
    let disk = disk.clone();
    Store::start(layout, lock, Box::new(move || disk.database())).expect("starts")
}

/// The same with blobs in `objects`.
#[cfg(feature = "s3")]
pub(super) fn start_far(
    dir: &Path,
    disk: &Disk,
    fresh: bool,
    objects: &Arc<dyn object_store::ObjectStore>,
) -> Store {
    let mut layout = Layout::new(dir);
    layout.faults = disk.faults.clone();
    let lock = File::create(dir.join("lock")).expect("creates");
    layout.prepare().expect("prepares");
    let layout = Arc::new(layout);
    let place = super::remote::place(&layout, objects, "", 1 << 30);
    if fresh {
        let database = disk.database().expect("opens");
        initialise(&database).expect("initialises");
        let binding = place.new_binding().expect("random").expect("elsewhere");
        crate::database::write(&database, |transaction| binding.put(transaction)).expect("writes");
        database.close().expect("closes");
    }
    let disk = disk.clone();
    Store::start_at(layout, lock, Box::new(move || disk.database()), place).expect("starts")
}
