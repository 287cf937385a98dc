//! One session: requests in, parts to its node, answers out, until nobody asks for a while or its time is over.
//!
//! The node that it is with is not trusted to answer: what takes many times as long as its like did is taken for silent,
//! and the session ends. Whoever waited for it asks in another way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guildhall_pipeline::Placed;
use guildhall_protocol::RunId;
use guildhall_protocol::api::ExecutedOn;
use guildhall_protocol::contract::Limits;
use guildhall_protocol::wire::{PartRecords, PortValue, RecordEnd, RecordFrame, RecordResult};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::request::Job;
use super::share::{GOODBYE_MAX, News, Order, Share};
use crate::app::App;

/// Records of several requests that are scored together: enough for every engine to be busy, and whoever asked first
/// does not wait for a crowd.
const PART_MAX_RECORDS: usize = 64;

/// Bytes of several requests' values that are sent together.
const PART_MAX_BYTES: usize = 4 << 20;

/// Parts on their way: one that is scored, and one that waits there.
const PARTS_AHEAD: usize = 2;

/// How long a session waits for the next request.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// How long a session lives, however often it is asked: its receipt should not be a long time coming.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// How long a node may take until a session with it is ready. Code that has to be fetched and compiled first may take
/// longer; the run that the request becomes then waits for it, and asks others meanwhile.
const READY_MAX: Duration = Duration::from_secs(4);

/// How often a part may take as long as its like did before its node is taken for silent.
const SLOW_FACTOR: u32 = 8;

/// And what it may take beyond that, however short the others were: machines stumble.
const SLOW_GRACE: Duration = Duration::from_secs(2);

/// A request's records on their way.
pub(super) struct Ask {
    pub(super) records: Vec<Vec<PortValue>>,
    pub(super) len_bytes: usize,
    pub(super) answer: oneshot::Sender<Answered>,
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

/// A session with one node.
pub(super) struct Session {
    run: RunId,
    orders: mpsc::Sender<Order>,
    news: mpsc::Receiver<(u32, News)>,
    close: CancellationToken,
    /// Dropping it ends the share, and with it the executor's workers.
    _over: DropGuard,
    /// The index of the next record.
    next: u64,
    sent: VecDeque<Part>,
    /// When the oldest part was sent, or the one before it was over.
    since: Instant,
    /// The longest time for a record in any part so far.
    slowest: Option<Duration>,
}

/// A part on its way, and whose records are in it.
struct Part {
    first: u64,
    asks: Vec<(usize, oneshot::Sender<Answered>)>,
    /// Each record's end, and whether it failed by the node's own trouble.
    ends: Vec<(RecordEnd, bool)>,
}

impl Part {
    /// How many records are in it.
    fn count(&self) -> usize {
        self.asks.iter().map(|(count, _)| count).sum()
    }
}

/// What changes in a session's life, for those who might join it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// The node is ready.
    Ready,
    /// No more requests are taken.
    Closing,
}

/// How a session went.
pub(super) enum Served {
    /// It was good as long as it lasted.
    Over,
    /// It was cut off.
    Gone,
    /// The node could not begin.
    NotReady,
    /// The node said nothing when it should have.
    Silent { was_ready: bool },
}

impl Session {
    pub(super) fn begin(
        app: &Arc<App>,
        job: &Arc<Job>,
        placed: &Placed,
        close: &CancellationToken,
    ) -> Self {
        let (orders, to_share) = mpsc::channel(PARTS_AHEAD + 1);
        let (to_us, news) = mpsc::channel(PARTS_AHEAD + 1);
        // A session's receipt is found by its run; nobody watches it come.
        let (receipts, _) = mpsc::channel(1);
        let over = CancellationToken::new();
        let share = Share {
            app: Arc::clone(app),
            job: Arc::clone(job),
            node: placed.node,
            // Who asks for the session becomes a run if there is none now, and that waits.
            hold: Duration::ZERO,
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
            since: Instant::now(),
            slowest: None,
        }
    }

    /// Serves requests until the session is over, and tells what changes meanwhile.
    pub(super) async fn serve(
        mut self,
        asks: &mut mpsc::Receiver<Ask>,
        tell: impl Fn(Change),
    ) -> Served {
        let (on, limits) = match tokio::time::timeout(READY_MAX, self.news.recv()).await {
            Ok(Some((_, News::Ready { on, limits }))) => (on, limits),
            Ok(_) => return Served::NotReady,
            Err(_) => return Served::Silent { was_ready: false },
        };
        tell(Change::Ready);
        let limits: Arc<[Limits]> = limits.into();
        let total_ms = limits.iter().map(|limits| limits.total_ms.value).min().unwrap_or_default();
        // The executor ends it at its limit; what is left then is for what is on its way.
        let life = LIFE_MAX.min(Duration::from_millis(total_ms / 2));
        let served = self.exchange(asks, (&on, &limits), Instant::now() + life, tell).await;
        if !matches!(served, Served::Over) {
            debug!(run = %self.run, "a session was cut off");
            return served;
        }
        let _gone = self.orders.send(Order::Close).await;
        let goodbye = async { while self.news.recv().await.is_some() {} };
        let _late = tokio::time::timeout(GOODBYE_MAX, goodbye).await;
        Served::Over
    }

    async fn exchange(
        &mut self,
        asks: &mut mpsc::Receiver<Ask>,
        (on, limits): (&ExecutedOn, &Arc<[Limits]>),
        end: Instant,
        tell: impl Fn(Change),
    ) -> Served {
        let (mut is_closing, mut held) = (false, None);
        let worst = limits.iter().map(|limits| Duration::from_millis(limits.scoring_ms.value));
        let worst = worst.fold(Duration::ZERO, Duration::saturating_add);
        loop {
            let now = Instant::now();
            if !is_closing && (now >= end || self.close.is_cancelled()) {
                tell(Change::Closing);
                asks.close();
                is_closing = true;
            }
            let may_take =
                self.sent.len() < PARTS_AHEAD && !(is_closing && asks.is_empty() && held.is_none());
            if !may_take && self.sent.is_empty() {
                return Served::Over;
            }
            let patience = match self.due(worst) {
                Some(due) => due.saturating_duration_since(now),
                None => IDLE_MAX.min(end.saturating_duration_since(now)),
            };
            tokio::select! {
                biased;
                news = self.news.recv() => match news {
                    Some((_, News::Results { records, end })) => {
                        self.take(records);
                        if end.is_some() {
                            self.answer(on, limits);
                        }
                    }
                    _ => return Served::Gone,
                },
                ask = next(asks, &mut held), if may_take => if let Some(ask) = ask {
                    let part = self.part(ask, asks, &mut held);
                    if self.orders.send(Order::Send(part)).await.is_err() {
                        return Served::Gone;
                    }
                },
                () = self.close.cancelled(), if !is_closing => {}
                () = tokio::time::sleep(patience) => {
                    if self.due(worst).is_some_and(|due| due <= Instant::now()) {
                        return Served::Silent { was_ready: true };
                    }
                    if self.sent.is_empty() && !is_closing {
                        tell(Change::Closing);
                        asks.close();
                        is_closing = true;
                    }
                }
            }
        }
    }

    /// When the node is taken for silent, if something is with it: by what its records took so far, else by what they
    /// may take.
    fn due(&self, worst: Duration) -> Option<Instant> {
        let part = self.sent.front()?;
        let expected = match self.slowest {
            Some(slowest) => slowest.saturating_mul(SLOW_FACTOR).min(worst),
            None => worst,
        };
        let records = u32::try_from(part.count()).unwrap_or(u32::MAX);
        Some(self.since + SLOW_GRACE + expected.saturating_mul(records))
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
        if self.sent.is_empty() {
            self.since = Instant::now();
        }
        self.sent.push_back(Part { first: start, asks: whose, ends: Vec::new() });
        PartRecords::Values(records)
    }

    /// The share has checked that results are of the oldest part, in order, each once.
    fn take(&mut self, records: Vec<(RecordResult, bool)>) {
        let Some(part) = self.sent.front_mut() else { return };
        part.ends.extend(records.into_iter().map(|(result, is_nodes)| (result.end, is_nodes)));
    }

    /// The oldest part is over: everybody who asked hears of it. Whose records it did not reach hears nothing, as where
    /// the node itself was in trouble, and asks in another way.
    fn answer(&mut self, on: &ExecutedOn, limits: &Arc<[Limits]>) {
        let Some(part) = self.sent.pop_front() else { return };
        let records = u32::try_from(part.count()).unwrap_or(u32::MAX).max(1);
        let took = self.since.elapsed() / records;
        self.slowest = Some(self.slowest.map_or(took, |slowest| slowest.max(took)));
        self.since = Instant::now();
        let mut ends = part.ends.into_iter();
        let mut first = part.first;
        for (count, answer) in part.asks {
            let theirs: Vec<_> = ends.by_ref().take(count).collect();
            let is_nodes_fault = theirs.iter().any(|(_, is_nodes)| *is_nodes);
            let mut theirs: Vec<RecordEnd> = theirs.into_iter().map(|(end, _)| end).collect();
            for end in &mut theirs {
                if let RecordEnd::Failed(failure) = end {
                    failure.record = failure.record.saturating_sub(first);
                }
            }
            first += count as u64;
            if theirs.len() == count && !is_nodes_fault {
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
