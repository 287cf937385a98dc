//! Sessions: shares that stay open for requests of a few records each.
//!
//! A run asks for a lease, opens a stream, puts code into workers, and signs at the end. Somebody who asks a model again
//! and again would pay for that with every request. So the first request opens a session with a node, later ones for the
//! same package, place and limits go through it, and those that come while it is busy are scored together. It ends when
//! nobody asks for a while, and before its time is over; only then both sides sign, and one receipt stands for all of
//! its requests.
//!
//! Whatever goes wrong with a session, the request that it was for becomes a run of its own, which knows how to wait, to
//! go elsewhere, and to say why not. So nothing here explains failures but those of single records.
//!
//! Bounds: [`SESSIONS_MAX`] of a node, [`LIKE_SESSIONS_MAX`] of them for the same, [`ASKS_WAITING_MAX`] requests waiting
//! in each; what does not fit becomes a run. An idle session keeps a slot of its executor for a few seconds,
//! unless this node wants the slot for something else: then the session ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use guildhall_pipeline::Placed;
use guildhall_protocol::api::InferRequest;
use guildhall_protocol::contract::LimitSet;
use guildhall_protocol::wire::PortValue;
use guildhall_protocol::{PackageId, PublicKey, RunId, cbor};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::request::Job;
use super::session::{Answered, Ask, Served, Session};
use crate::app::{App, lock};

/// Records of one request that go through a session; what has more is a run, which spreads them.
pub(super) const REQUEST_MAX_RECORDS: usize = 64;

/// Bytes of one request's values that go through a session, for the same reason.
pub(super) const REQUEST_MAX_BYTES: usize = 1 << 20;

/// Requests that wait in one session; the next becomes a run.
const ASKS_WAITING_MAX: usize = 256;

/// Requests in a session from which another one for the same is worth opening.
const CROWD: usize = 8;

/// Sessions for the same package, place and limits.
const LIKE_SESSIONS_MAX: usize = 4;

/// Sessions of this node.
const SESSIONS_MAX: usize = 64;

/// Nodes that are asked for a session; the run that comes next asks more.
const NODES_MAX: usize = 3;

/// How long no session is opened with a node that was silent.
const SILENT: Duration = Duration::from_mins(1);

/// After a further session was not to be had, how long none is tried.
const CROWDED: Duration = Duration::from_secs(2);

/// What a session serves: requests that agree in this are served by the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(Vec<u8>);

impl Key {
    /// `stage` is what the request calls the package.
    pub(super) fn of(stage: &str, package: PackageId, request: &InferRequest) -> Self {
        let InferRequest { on, limits, isolation, .. } = request;
        // A session waits for no slot, however long the request may.
        let limits = LimitSet { queue_ms: None, ..*limits };
        Self(cbor::encode(&(stage, package, on, limits, isolation)))
    }
}

/// The sessions of a node.
#[derive(Default)]
pub(in crate::app) struct Sessions {
    open: Mutex<BTreeMap<Key, Alike>>,
    /// Nodes that said nothing when they should have, and until when they are left alone. No more than there are nodes.
    silent: Mutex<BTreeMap<PublicKey, Instant>>,
    next: AtomicUsize,
}

/// Sessions for the same.
#[derive(Default)]
struct Alike {
    sessions: Vec<Handle>,
    /// A further one is tried again then.
    crowded_until: Option<Instant>,
}

/// A session, for those who ask.
#[derive(Clone)]
struct Handle {
    id: usize,
    run: RunId,
    asks: mpsc::Sender<Ask>,
    /// The node that it is with, or that is being asked.
    node: Arc<Mutex<Option<PublicKey>>>,
    /// Requests that wait or are being scored.
    load: Arc<AtomicUsize>,
    /// Cancelled by whoever wants its receipt now.
    close: CancellationToken,
    /// Cancelled when its receipt is there, or there will be none.
    ended: CancellationToken,
}

/// What it takes to open a session.
pub(super) struct Opening {
    pub(super) job: Job,
    pub(super) placed: Vec<Placed>,
}

impl Sessions {
    /// The least busy session for this, if there is one; and whether another one should be opened.
    fn find(&self, key: &Key) -> (Option<Handle>, bool) {
        let mut open = lock(&self.open);
        let count: usize = open.values().map(|alike| alike.sessions.len()).sum();
        let room = count < SESSIONS_MAX;
        let Some(alike) = open.get_mut(key) else { return (None, room) };
        let load = |handle: &&Handle| handle.load.load(Ordering::Relaxed);
        let least = alike.sessions.iter().min_by_key(load).cloned();
        let Some(handle) = least else { return (None, room) };
        let is_crowded = load(&&handle) >= CROWD
            && alike.sessions.len() < LIKE_SESSIONS_MAX
            && alike.crowded_until.is_none_or(|until| until <= Instant::now());
        (Some(handle), room && is_crowded)
    }

    /// Takes a new session in, unless others did so meanwhile: then theirs is returned.
    fn add(&self, key: &Key, handle: Handle, is_further: bool) -> Result<(), Handle> {
        let mut open = lock(&self.open);
        let sessions = &mut open.entry(key.clone()).or_default().sessions;
        let most = if is_further { LIKE_SESSIONS_MAX } else { 1 };
        match sessions.first() {
            Some(first) if sessions.len() >= most => Err(first.clone()),
            _ => {
                sessions.push(handle);
                Ok(())
            }
        }
    }

    /// Takes a session out that takes no more requests. `came_about` says whether it ever did.
    fn remove(&self, key: &Key, id: usize, came_about: bool) {
        let mut open = lock(&self.open);
        let Some(alike) = open.get_mut(key) else { return };
        alike.sessions.retain(|handle| handle.id != id);
        if !came_about {
            alike.crowded_until = Some(Instant::now() + CROWDED);
        }
        if alike.sessions.is_empty() {
            open.remove(key);
        }
    }

    /// The oldest session with a node that nobody waits for.
    fn idle_on(&self, node: PublicKey) -> Option<Handle> {
        let open = lock(&self.open);
        let idle = open.values().flat_map(|alike| &alike.sessions).filter(|handle| {
            handle.load.load(Ordering::Relaxed) == 0 && *lock(&handle.node) == Some(node)
        });
        idle.min_by_key(|handle| handle.id).cloned()
    }

    fn note_silent(&self, node: PublicKey) {
        let now = Instant::now();
        let mut silent = lock(&self.silent);
        silent.retain(|_, until| *until > now);
        silent.insert(node, now + SILENT);
    }

    fn is_silent(&self, node: PublicKey) -> bool {
        lock(&self.silent).get(&node).is_some_and(|until| *until > Instant::now())
    }

    fn of_run(&self, run: RunId) -> Option<Handle> {
        let open = lock(&self.open);
        open.values().flat_map(|alike| &alike.sessions).find(|handle| handle.run == run).cloned()
    }
}

impl App {
    /// Scores a request's records in a session, which `opening` describes if there is none yet. `None` when that did not
    /// come about, for whatever reason.
    pub(super) async fn ask_session(
        self: &Arc<Self>,
        key: &Key,
        records: Vec<Vec<PortValue>>,
        opening: impl AsyncFnOnce() -> Option<Opening>,
    ) -> Option<Answered> {
        let len_bytes = records.iter().map(|values| PortValue::len_bytes(values)).sum();
        let (answer, answered) = oneshot::channel();
        let ask = Ask { records, len_bytes, answer };
        let (found, another) = self.sessions.find(key);
        let handle = match found {
            Some(handle) if !another => handle,
            // There are as many as there may be.
            None if !another => return None,
            found => match opening().await {
                Some(opening) => {
                    let opened = self.open_session(key, opening, found.is_some());
                    found.unwrap_or(opened)
                }
                None => found?,
            },
        };
        let _counted = Counted::new(&handle.load);
        handle.asks.try_send(ask).ok()?;
        answered.await.ok()
    }

    /// Ends the session of a run, and waits until its receipt is there.
    pub(in crate::app) async fn close_session(&self, run: RunId) {
        if let Some(handle) = self.sessions.of_run(run) {
            handle.close.cancel();
            handle.ended.cancelled().await;
        }
    }

    /// Ends a session with a node that nobody waits for, so that its slot is free for somebody who does. `false` if there
    /// is none.
    pub(super) async fn give_up_idle_session(&self, node: PublicKey) -> bool {
        let Some(handle) = self.sessions.idle_on(node) else { return false };
        handle.close.cancel();
        handle.ended.cancelled().await;
        true
    }

    fn open_session(self: &Arc<Self>, key: &Key, opening: Opening, is_further: bool) -> Handle {
        let (asks, taken) = mpsc::channel(ASKS_WAITING_MAX);
        let handle = Handle {
            id: self.sessions.next.fetch_add(1, Ordering::Relaxed),
            run: opening.job.run,
            asks,
            node: Arc::default(),
            load: Arc::default(),
            close: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        if let Err(others) = self.sessions.add(key, handle.clone(), is_further) {
            return others;
        }
        let (app, key, theirs) = (Arc::clone(self), key.clone(), handle.clone());
        self.tasks.spawn("session", async move {
            let Handle { id, node, close, ended, .. } = theirs;
            let _ended = ended.drop_guard();
            let (job, mut asks, mut came_about) = (Arc::new(opening.job), taken, false);
            let asked = opening.placed.iter().filter(|one| !app.sessions.is_silent(one.node));
            for placed in asked.take(NODES_MAX) {
                *lock(&node) = Some(placed.node);
                let session = Session::begin(&app, &job, placed, &close);
                let closing = || app.sessions.remove(&key, id, true);
                let served = tokio::select! {
                    biased;
                    () = app.tasks.token().cancelled() => Served::Over,
                    served = session.serve(&mut asks, closing) => served,
                };
                if let Served::Silent { .. } = served
                    && placed.node != app.overlay.me()
                {
                    app.sessions.note_silent(placed.node);
                }
                came_about =
                    !matches!(served, Served::NotReady | Served::Silent { was_ready: false });
                if came_about {
                    break;
                }
            }
            app.sessions.remove(&key, id, came_about);
        });
        handle
    }
}

/// Counts a request while it waits.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
