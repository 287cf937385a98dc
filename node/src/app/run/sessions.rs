//! Sessions: shares that stay open for requests of a few records each.
//!
//! A run asks for a lease, opens a stream, puts code into workers, and signs at the end. Somebody who asks a model again
//! and again would pay for that with every request. So the first request opens a session with a node, later ones for the
//! same package, place and limits go through it, and those that come while it is busy are scored together. It ends when
//! nobody asks for a while, and before its time is over; only then both sides sign, and one receipt stands for all of
//! its requests.
//!
//! Who joins which session is the [book](guildhall_pipeline::sessions)'s to say; this opens and ends them. A session
//! that signs is still in the book, so whoever asks for its receipt or its slot waits for it.
//!
//! Whatever goes wrong with a session, the request that it was for becomes a run of its own, which knows how to wait, to
//! go elsewhere, and to say why not. So nothing here explains failures but those of single records.
//!
//! Bounds: those of the book, and [`ASKS_WAITING_MAX`] requests waiting in each session; what does not fit becomes a
//! run. An idle session keeps a slot of its executor for a few seconds, unless this node wants the slot for something
//! else: then the session ends.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use guildhall_pipeline::Placed;
use guildhall_pipeline::sessions::{Book, Id, Opened, Turn};
use guildhall_protocol::api::InferRequest;
use guildhall_protocol::contract::LimitSet;
use guildhall_protocol::wire::PortValue;
use guildhall_protocol::{PackageId, PublicKey, RunId, cbor};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::request::Job;
use super::session::{Answered, Ask, Change, Served, Session};
use crate::app::{App, lock};

/// Records of one request that go through a session; what has more is a run, which spreads them.
pub(super) const REQUEST_MAX_RECORDS: usize = 64;

/// Bytes of one request's values that go through a session, for the same reason.
pub(super) const REQUEST_MAX_BYTES: usize = 1 << 20;

/// Requests that wait in one session; the next becomes a run.
const ASKS_WAITING_MAX: usize = 256;

/// Nodes that are asked for a session; the run that comes next asks more.
const NODES_MAX: usize = 3;

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
pub(in crate::app) struct Sessions {
    book: Mutex<Book<Key, Handle>>,
    /// The book's times are counted from then.
    began: Instant,
}

/// A session, for those who ask.
#[derive(Clone)]
struct Handle {
    asks: mpsc::Sender<Ask>,
    /// Cancelled by whoever wants its receipt or its slot now.
    close: CancellationToken,
    /// Cancelled when its receipt is there, or there will be none.
    ended: CancellationToken,
}

/// What it takes to open a session.
pub(super) struct Opening {
    pub(super) job: Job,
    pub(super) placed: Vec<Placed>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { book: Mutex::default(), began: Instant::now() }
    }
}

impl Sessions {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn book(&self) -> MutexGuard<'_, Book<Key, Handle>> {
        lock(&self.book)
    }

    /// The place of a request that is counted in this session; `None` if the session was over before.
    fn seat(&self, id: Id) -> Option<Seat<'_>> {
        let asks = self.book().handle(id)?.asks.clone();
        Some(Seat { sessions: self, id, asks })
    }

    /// Counts a request in this session, unless that takes none any more.
    fn join(&self, id: Id) -> Option<Seat<'_>> {
        let is_joined = self.book().join(id);
        if is_joined { self.seat(id) } else { None }
    }

    /// The session that `which` names, which takes no more requests from now on.
    fn closing(&self, which: impl FnOnce(&mut Book<Key, Handle>) -> Option<Id>) -> Option<Handle> {
        let mut book = self.book();
        let id = which(&mut book)?;
        book.handle_closing(id);
        book.handle(id).cloned()
    }
}

/// A request that is counted in a session while it waits.
struct Seat<'a> {
    sessions: &'a Sessions,
    id: Id,
    asks: mpsc::Sender<Ask>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.sessions.book().leave(self.id);
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
        let turn = self.sessions.book().ask(self.sessions.now_ms(), key);
        let seat = match turn {
            Turn::Joined(id) => self.sessions.seat(id)?,
            Turn::Full => return None,
            Turn::Open { beside } => {
                let opened = match opening().await {
                    Some(opening) => self.open_session(key, opening, beside.is_some()),
                    None => None,
                };
                // A crowded one is ready at least.
                beside.and_then(|id| self.sessions.join(id)).or(opened)?
            }
        };
        let len_bytes = records.iter().map(|values| PortValue::len_bytes(values)).sum();
        let (answer, answered) = oneshot::channel();
        seat.asks.try_send(Ask { records, len_bytes, answer }).ok()?;
        answered.await.ok()
    }

    /// Ends the session of a run, and waits until its receipt is there.
    pub(in crate::app) async fn close_session(&self, run: RunId) {
        if let Some(handle) = self.sessions.closing(|book| book.of_run(run)) {
            handle.close.cancel();
            handle.ended.cancelled().await;
        }
    }

    /// Waits for the end of a session with a node, and brings it about if need be, so that its slot is free for somebody
    /// who needs it. `false` if there is none that could go.
    pub(super) async fn give_up_session(&self, node: PublicKey) -> bool {
        let Some(handle) = self.sessions.closing(|book| book.make_room(node)) else { return false };
        handle.close.cancel();
        handle.ended.cancelled().await;
        true
    }

    /// Opens a session and takes a place in it, or in that of others who were faster.
    fn open_session(
        self: &Arc<Self>,
        key: &Key,
        opening: Opening,
        is_further: bool,
    ) -> Option<Seat<'_>> {
        let (asks, taken) = mpsc::channel(ASKS_WAITING_MAX);
        let (close, ended) = (CancellationToken::new(), CancellationToken::new());
        let handle = Handle { asks, close: close.clone(), ended: ended.clone() };
        let opened = self.sessions.book().open(key, opening.job.run, is_further, handle);
        match opened {
            Opened::New(id) => {
                let seat = self.sessions.join(id);
                // Whoever waits for the end does not wait for a task that never ran.
                let (app, ended) = (Arc::clone(self), ended.drop_guard());
                self.tasks.spawn("session", async move {
                    let _ended = ended;
                    app.hold_session(id, opening, taken, &close).await;
                });
                seat
            }
            Opened::Other(id) => self.sessions.join(id),
            Opened::Full => None,
        }
    }

    /// Asks one node after the other until one serves, and is there until that is over.
    async fn hold_session(
        self: &Arc<Self>,
        id: Id,
        opening: Opening,
        mut asks: mpsc::Receiver<Ask>,
        close: &CancellationToken,
    ) {
        let (job, mut came_about) = (Arc::new(opening.job), false);
        let now_ms = || self.sessions.now_ms();
        let book = || self.sessions.book();
        let asked = opening.placed.iter().filter(|one| !book().is_silent(now_ms(), &one.node));
        for placed in asked.take(NODES_MAX) {
            book().handle_asking(id, placed.node);
            let session = Session::begin(self, &job, placed, close);
            let tell = |change: Change| match change {
                Change::Ready => book().handle_ready(id),
                Change::Closing => book().handle_closing(id),
            };
            let served = tokio::select! {
                biased;
                () = self.tasks.token().cancelled() => Served::Over,
                served = session.serve(&mut asks, tell) => served,
            };
            if let Served::Silent { .. } = served
                && placed.node != self.overlay.me()
            {
                book().note_silent(now_ms(), placed.node);
            }
            came_about = !matches!(served, Served::NotReady | Served::Silent { was_ready: false });
            if came_about {
                break;
            }
        }
        book().handle_over(now_ms(), id, came_about);
    }
}
