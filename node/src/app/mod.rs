//! The shell around [`Core`]: carries events in and effects out, and does what takes time: moving blobs, testing
//! packages, executing jobs.
//!
//! One task ([`drive`]) owns the overlay's events. Everything else that wants a decision locks the core for as long as
//! `handle` takes, which is never across an await.

mod api;
mod drive;
mod effects;
mod fetch;
mod frames;
mod join;
mod publish;
mod run;
mod serve;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use guildhall_core::{Core, Event, Found};
use guildhall_overlay::Overlay;
use guildhall_protocol::record::Record;
use guildhall_protocol::{Hash, PackageId, RunId};
use guildhall_sandbox::Spawner;
use guildhall_store::Store;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::home::Home;
use crate::tasks::Tasks;

pub(crate) use start::{Options, start};

/// Events that wait for the driving task: responses, DHT answers and ticks. When full, who has one waits.
const EVENTS_MAX: usize = 1_024;

/// Requests to peers under way at once; further ones wait for their turn.
const CALLS_MAX: usize = 256;

/// Streams served to peers at once; further ones are closed at once, and the peer turns to another holder.
const SERVED_MAX: usize = 64;

/// Workers that inspect or test packages at once: each may take a core and a gigabyte.
const INSPECTIONS_MAX: usize = 2;

/// What all parts of a running node share.
pub(crate) struct App {
    core: Mutex<Core>,
    pub(crate) store: Store,
    pub(crate) overlay: Overlay,
    pub(crate) spawner: Spawner,
    pub(crate) home: Home,
    pub(crate) tasks: Tasks,
    /// Where the API listens, as a URL.
    pub(crate) url: String,
    started: std::time::Instant,
    events: mpsc::Sender<Event>,
    asks: Mutex<BTreeMap<Hash, oneshot::Sender<Found>>>,
    /// Held while a record is written, from its position in the log to its evaluation.
    writing: tokio::sync::Mutex<()>,
    /// Held while a publication runs, so that one name and version is checked and written by one at a time.
    publishing: tokio::sync::Mutex<()>,
    calls: Arc<Semaphore>,
    served: Arc<Semaphore>,
    inspections: Arc<Semaphore>,
    /// Blobs of complete packages: what members may fetch.
    shared_blobs: Mutex<BTreeSet<Hash>>,
    /// Packages being fetched, so that nobody fetches one twice at once.
    fetching: Mutex<BTreeMap<PackageId, Arc<tokio::sync::Mutex<()>>>>,
    runs: Mutex<BTreeMap<RunId, Arc<run::Entry>>>,
    /// Jobs being executed here.
    jobs: std::sync::atomic::AtomicU64,
}

/// Locks a mutex whose data stays valid even if a holder panicked: the panic stops the node anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl App {
    /// The core, for a look or a decision. Never held across an await.
    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }

    /// Writes a record of ours: signed, on disk, in its log, announced, in this order.
    pub(crate) async fn write(
        self: &Arc<Self>,
        write: impl FnOnce(&Core) -> Result<Record, guildhall_protocol::record::RecordError>,
    ) -> Result<Record, WriteError> {
        let _alone = self.writing.lock().await;
        let record = write(&self.core())?;
        self.keep(std::slice::from_ref(&record)).await?;
        self.drive(Event::Wrote(Box::new(record.clone())), effects::Context::default()).await;
        Ok(record)
    }

    /// Writes a new node record if the newest one is no longer true.
    pub(crate) async fn describe(self: &Arc<Self>) -> Result<(), WriteError> {
        let body = self.core().new_node_body();
        if let Some(body) = body {
            self.write(|core| core.write_as_node(&body, crate::clock::now_ms())).await?;
        }
        Ok(())
    }
}

/// Why a record of ours was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Record(#[from] guildhall_protocol::record::RecordError),
    #[error("the record could not be kept: {0}")]
    Store(#[from] guildhall_store::WriteError),
}
