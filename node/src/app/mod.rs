//! The shell around [`Core`]: carries events in and effects out, and does what takes time: moving blobs, testing
//! packages, executing jobs.
//!
//! One task ([`drive`]) owns the overlay's events. Everything else that wants a decision locks the core for as long as
//! `handle` takes, which is never across an await.

mod allowance;
mod answers;
mod api;
mod demand;
mod disk;
mod drafts;
mod drive;
mod effects;
mod fetch;
mod find;
mod forks;
mod frames;
mod freshness;
mod held;
mod housekeeping;
mod index;
mod join;
mod keeper;
mod leases;
mod lend;
mod load;
mod notices;
mod patterns;
mod publish;
mod reach;
mod replicas;
mod run;
mod slots;
mod start;
mod state;
mod test_logs;
mod transfer;
mod turns;
mod upkeep;
mod uploads;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use guildhall_core::{Core, Event, Found, PageFault};
use guildhall_overlay::Overlay;
use guildhall_protocol::api::Stale;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::{Hash, PublicKey, RunId};
use guildhall_sandbox::Workers;
use guildhall_store::Store;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::engines::Engines;
use crate::home::Home;
use crate::tasks::Tasks;

pub(crate) use disk::disk_room;
pub(crate) use start::{Options, adopt_store, start};

/// Events that wait for the driving task: responses, DHT answers and ticks. When full, who has one waits.
const EVENTS_MAX: usize = 1_024;

/// Requests to peers under way at once; further ones wait for their turn.
const CALLS_MAX: usize = 256;

/// Hellos under way at once; further ones wait for their turn.
const HELLOS_MAX: usize = 64;

/// Blob streams served to peers at once; further ones wait for a while.
const SERVED_MAX: usize = 64;

/// Workers that inspect or test packages at once: each may take a core and a gigabyte.
const INSPECTIONS_MAX: usize = 2;

/// What all parts of a running node share.
pub(crate) struct App {
    core: Mutex<Core>,
    /// Where the catalogue is kept.
    index: Mutex<index::Index>,
    pub(crate) store: Store,
    pub(crate) overlay: Overlay,
    /// What code is executed with.
    pub(crate) engines: Engines,
    /// Workers that are kept ready for it.
    workers: Workers,
    pub(crate) home: Home,
    pub(crate) tasks: Tasks,
    /// Where the API listens, as a URL.
    pub(crate) url: String,
    started: std::time::Instant,
    events: mpsc::Sender<Event>,
    asks: Mutex<BTreeMap<Hash, oneshot::Sender<Result<Found, PageFault>>>>,
    /// Held while a record is written, from its position in the log to its evaluation; taken through [`App::writer`],
    /// after `publishing` where both are.
    writing: tokio::sync::Mutex<()>,
    /// Held while a publication runs, so that one name and version is checked and written by one at a time.
    publishing: tokio::sync::Mutex<()>,
    /// Held while the node joins a federation.
    joining: tokio::sync::Mutex<()>,
    /// Whether the newest node record is known not to be true and was not replaced.
    undescribed: AtomicBool,
    /// How stale the node was at the last tick; what every answer says, while the core is busy too.
    stale: Mutex<Option<Stale>>,
    /// Addresses that are dialled while no peer is admitted.
    static_peers: Mutex<Vec<String>>,
    calls: Arc<Semaphore>,
    hellos: Arc<Semaphore>,
    /// Answers to peers that are being read from the store.
    reads: Arc<Semaphore>,
    /// What answering other orgs' requests took.
    allowances: allowance::Allowances,
    keeper: keeper::Keeper,
    served: Arc<Semaphore>,
    /// Of those, how many each peer has, and how many each org by its root key.
    served_by: Mutex<BTreeMap<PublicKey, usize>>,
    inspections: Arc<Semaphore>,
    /// Held by what looks at everything that is kept, or removes or copies it: one of these at a time.
    chores: tokio::sync::Mutex<()>,
    /// Held from reading to writing a row that says why a package is here, and until members may fetch it, or not.
    holding: tokio::sync::Mutex<()>,
    /// What the keeper allows content to take.
    content: crate::config::Content,
    /// Categories whose demand the org wants to be told of.
    subscriptions: Mutex<Vec<CategoryPrefix>>,
    /// What a person here should hear of.
    notices: notices::Notices,
    /// When to look at whose copies.
    replicas: replicas::Schedule,
    /// Copies being made.
    copies: replicas::Copies,
    /// Blobs that clients brought and that belong to no package yet.
    leases: leases::Leases,
    /// Blobs of complete packages: what members may fetch.
    shared_blobs: Mutex<BTreeSet<Hash>>,
    /// Packages and large files being fetched, so that nobody fetches one twice at once.
    fetching: turns::Fetching,
    /// Told whenever a peer was admitted.
    admitted: watch::Sender<()>,
    /// Streams of this node to each holder.
    turns: Mutex<transfer::Turns>,
    /// Downloads that people can watch.
    transfers: transfer::Transfers,
    /// Whose turn it is to be sent something.
    uplink: Arc<transfer::Uplink>,
    /// Blobs that were hashed since the start, and found good; as many as there are blobs at most.
    checked: Mutex<BTreeSet<Hash>>,
    /// Packages held here of which a file was not what it should be, until they are hashed again.
    doubted: Mutex<BTreeSet<guildhall_protocol::PackageId>>,
    runs: Mutex<BTreeMap<RunId, Arc<run::Entry>>>,
    /// Plans of single requests, for those that follow at once.
    plans: Mutex<run::Plans>,
    /// Shares that stay open for single requests.
    sessions: run::Sessions,
    /// Questions for slots that wait here.
    slots: slots::Slots,
    /// Jobs being executed here.
    jobs: AtomicU64,
    /// Others used something of what is lent that is not on disk yet.
    used: AtomicBool,
    /// The end of the chain of what this node signed as an executor.
    statements: tokio::sync::Mutex<run::ChainHead>,
}

/// Locks a mutex whose data stays valid even if a holder panicked: the panic stops the node anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl App {
    /// Whether members may have a blob: it belongs to a package that is here in full.
    pub(crate) fn is_shared(&self, hash: &Hash) -> bool {
        lock(&self.shared_blobs).contains(hash)
    }

    /// The core, for a look or a decision. Never held across an await.
    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }
}
