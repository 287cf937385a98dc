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
//! in each; what does not fit becomes a run. An idle session keeps a slot of its executor for [`IDLE_MAX`],
//! unless this node wants the slot for something else: then the session ends.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use guildhall_pipeline::Placed;
use guildhall_protocol::api::{ExecutedOn, InferRequest};
use guildhall_protocol::contract::Limits;
use guildhall_protocol::wire::{PartRecords, PortValue, RecordEnd, RecordFrame, RecordResult};
use guildhall_protocol::{PackageId, PublicKey, RunId, cbor};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::request::Job;
use super::share::{GOODBYE_MAX, News, Order, Share};
use crate::app::{App, lock};

/// Records of one request that go through a session; what has more is a run, which spreads them.
pub(super) const REQUEST_MAX_RECORDS: usize = 64;

/// Bytes of one request's values that go through a session, for the same reason.
pub(super) const REQUEST_MAX_BYTES: usize = 1 << 20;

/// Records of several requests that are scored together: enough for every engine to be busy, and whoever asked first
/// does not wait for a crowd.
const PART_MAX_RECORDS: usize = 64;

/// Bytes of several requests' values that are sent together.
const PART_MAX_BYTES: usize = 4 << 20;

/// Parts on their way: one that is scored, and one that waits there.
const PARTS_AHEAD: usize = 2;

/// Requests that wait in one session; the next becomes a run.
const ASKS_WAITING_MAX: usize = 256;

/// Requests in a session from which another one for the same is worth opening.
const CROWD: usize = 8;

/// Sessions for the same package, place and limits.
const LIKE_SESSIONS_MAX: usize = 4;

/// Sessions of this node.
const SESSIONS_MAX: usize = 64;

/// How long a session waits for the next request.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// How long a session lives, however often it is asked: its receipt should not be a long time coming.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// Nodes that are asked for a session; the run that comes next asks more.
const NODES_MAX: usize = 3;

/// After a further session was not to be had, how long none is tried.
const CROWDED: Duration = Duration::from_secs(2);

/// What a session serves: requests that agree in this are served by the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(Vec<u8>);

impl Key {
    /// `stage` is what the request calls the package.
    pub(super) fn of(stage: &str, package: PackageId, request: &InferRequest) -> Self {
        let InferRequest { on, limits, isolation, .. } = request;
        Self(cbor::encode(&(stage, package, on, limits, isolation)))
    }
}

/// The sessions of a node.
#[derive(Default)]
pub(in crate::app) struct Sessions {
    open: Mutex<BTreeMap<Key, Alike>>,
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

/// A request's records on their way.
struct Ask {
    records: Vec<Vec<PortValue>>,
    len_bytes: usize,
    answer: oneshot::Sender<Answered>,
}

/// What a session answers.
pub(super) struct Answered {
    pub(super) run: RunId,
    pub(super) on: ExecutedOn,
    /// The limits in force, a stage each.
    pub(super) limits: Arc<[Limits]>,
    /// Each record's end, in order. Failures call their record by its place in the request.
    pub(super) ends: Vec<RecordEnd>,
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
            for placed in opening.placed.iter().take(NODES_MAX) {
                *lock(&node) = Some(placed.node);
                let session = Session::begin(&app, &job, placed, &close);
                let closing = || app.sessions.remove(&key, id, true);
                came_about = tokio::select! {
                    biased;
                    () = app.tasks.token().cancelled() => true,
                    came_about = session.serve(&mut asks, closing) => came_about,
                };
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

/// A session with one node.
struct Session {
    run: RunId,
    orders: mpsc::Sender<Order>,
    news: mpsc::Receiver<(u32, News)>,
    close: CancellationToken,
    /// Dropping it ends the share, and with it the executor's workers.
    _over: tokio_util::sync::DropGuard,
    /// The index of the next record.
    next: u64,
    sent: VecDeque<Part>,
}

/// A part on its way, and whose records are in it.
struct Part {
    first: u64,
    asks: Vec<(usize, oneshot::Sender<Answered>)>,
    ends: Vec<RecordEnd>,
}

/// Why a session goes on no more.
enum Stop {
    /// It was good as long as it lasted.
    Over,
    /// The share ended by itself.
    Gone,
}

impl Session {
    fn begin(app: &Arc<App>, job: &Arc<Job>, placed: &Placed, close: &CancellationToken) -> Self {
        let (orders, to_share) = mpsc::channel(PARTS_AHEAD + 1);
        let (to_us, news) = mpsc::channel(PARTS_AHEAD + 1);
        // A session's receipt is found by its run; nobody watches it come.
        let (receipts, _) = mpsc::channel(1);
        let over = CancellationToken::new();
        let share = Share {
            app: Arc::clone(app),
            job: Arc::clone(job),
            node: placed.node,
            id: 0,
            orders: to_share,
            over: over.clone(),
            news: to_us,
            receipts,
        };
        app.tasks.spawn("share", share.run());
        Self {
            run: job.run,
            orders,
            news,
            close: close.clone(),
            _over: over.drop_guard(),
            next: 0,
            sent: VecDeque::new(),
        }
    }

    /// Serves requests until the session is over; `closing` is called when no more are taken. Says whether the session
    /// came about: if not, another node may be asked.
    async fn serve(mut self, asks: &mut mpsc::Receiver<Ask>, closing: impl Fn()) -> bool {
        let Some((_, News::Ready { on, limits })) = self.news.recv().await else { return false };
        let limits: Arc<[Limits]> = limits.into();
        let total_ms = limits.iter().map(|limits| limits.total_ms.value).min().unwrap_or_default();
        // The executor ends it at its limit; what is left then is for what is on its way.
        let life = LIFE_MAX.min(Duration::from_millis(total_ms / 2));
        let stop = self.exchange(asks, (&on, &limits), Instant::now() + life, closing).await;
        if let Stop::Gone = stop {
            debug!(run = %self.run, "a session was cut off");
            return true;
        }
        let _gone = self.orders.send(Order::Close).await;
        let goodbye = async { while self.news.recv().await.is_some() {} };
        let _late = tokio::time::timeout(GOODBYE_MAX, goodbye).await;
        true
    }

    async fn exchange(
        &mut self,
        asks: &mut mpsc::Receiver<Ask>,
        (on, limits): (&ExecutedOn, &Arc<[Limits]>),
        end: Instant,
        closing: impl Fn(),
    ) -> Stop {
        let mut is_closing = false;
        let mut held = None;
        loop {
            let now = Instant::now();
            if !is_closing && (now >= end || self.close.is_cancelled()) {
                closing();
                asks.close();
                is_closing = true;
            }
            let may_send = self.sent.len() < PARTS_AHEAD;
            let patience = IDLE_MAX.min(end.saturating_duration_since(now));
            tokio::select! {
                biased;
                news = self.news.recv() => match news {
                    Some((_, News::Results { records, end })) => {
                        self.take(records);
                        if end.is_some() {
                            self.answer(on, limits);
                        }
                    }
                    _ => return Stop::Gone,
                },
                ask = next(asks, &mut held), if may_send => match ask {
                    Some(ask) => {
                        let part = self.part(ask, asks, &mut held);
                        if self.orders.send(Order::Send(part)).await.is_err() {
                            return Stop::Gone;
                        }
                    }
                    None if self.sent.is_empty() => return Stop::Over,
                    // What is on its way comes first.
                    None => match self.news.recv().await {
                        Some((_, News::Results { records, end })) => {
                            self.take(records);
                            if end.is_some() {
                                self.answer(on, limits);
                            }
                        }
                        _ => return Stop::Gone,
                    },
                },
                () = self.close.cancelled(), if !is_closing => {}
                () = tokio::time::sleep(patience), if !is_closing && self.sent.is_empty() => {
                    closing();
                    asks.close();
                    is_closing = true;
                }
            }
        }
    }

    /// The records of this request and of others that wait, as one part. The first that does not fit is `held`.
    fn part(
        &mut self,
        first: Ask,
        asks: &mut mpsc::Receiver<Ask>,
        held: &mut Option<Ask>,
    ) -> PartRecords {
        let start = self.next;
        let (mut records, mut whose, mut len_bytes) = (Vec::new(), Vec::new(), 0);
        let mut ask = first;
        loop {
            len_bytes += ask.len_bytes;
            whose.push((ask.records.len(), ask.answer));
            for values in ask.records {
                records.push(RecordFrame { index: self.next, values });
                self.next += 1;
            }
            let Ok(waiting) = asks.try_recv() else { break };
            let is_full = records.len() + waiting.records.len() > PART_MAX_RECORDS
                || len_bytes + waiting.len_bytes > PART_MAX_BYTES;
            if is_full {
                *held = Some(waiting);
                break;
            }
            ask = waiting;
        }
        self.sent.push_back(Part { first: start, asks: whose, ends: Vec::new() });
        PartRecords::Values(records)
    }

    /// The share has checked that results are of the oldest part, in order, each once.
    fn take(&mut self, records: Vec<(RecordResult, bool)>) {
        let Some(part) = self.sent.front_mut() else { return };
        part.ends.extend(records.into_iter().map(|(result, _)| result.end));
    }

    /// The oldest part is over: everybody who asked hears of it. Whose records it did not reach hears nothing, and asks
    /// in another way.
    fn answer(&mut self, on: &ExecutedOn, limits: &Arc<[Limits]>) {
        let Some(part) = self.sent.pop_front() else { return };
        let mut ends = part.ends.into_iter();
        let mut first = part.first;
        for (count, answer) in part.asks {
            let mut theirs: Vec<RecordEnd> = ends.by_ref().take(count).collect();
            for end in &mut theirs {
                if let RecordEnd::Failed(failure) = end {
                    failure.record = failure.record.saturating_sub(first);
                }
            }
            first += count as u64;
            if theirs.len() == count {
                let (run, on, limits) = (self.run, on.clone(), Arc::clone(limits));
                let _gone = answer.send(Answered { run, on, limits, ends: theirs });
            }
        }
    }
}

/// The next request: one that did not fit before, or one that comes. `None` when none comes any more.
async fn next(asks: &mut mpsc::Receiver<Ask>, held: &mut Option<Ask>) -> Option<Ask> {
    match held.take() {
        Some(ask) => Some(ask),
        None => asks.recv().await,
    }
}
