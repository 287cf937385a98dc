//! Drives a run: opens shares on nodes, gives them parts, takes results, delivers them in order.
//!
//! Decisions are the schedule's ([`guildhall_pipeline::batch`]); this is its shell. It begins with the best node and
//! takes more while that would save time: other nodes that may execute, and further slots of the same ones. A node that
//! was asked and does not become ready, or has become ready and falls silent, is not waited for: another one is asked
//! beside it, of another org if there is one, and what comes first counts. Where all are busy, one holds the run's
//! question for a slot ([`nodes`](super::nodes)).

mod grow;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use guildhall_overlay::peer_id_string;
use guildhall_pipeline::batch::{self, Accepted, Action, Fault, Outcome};
use guildhall_pipeline::{Placed, share};
use guildhall_protocol::PublicKey;
use guildhall_protocol::api::{
    EXECUTORS_SHOWN_MAX, ExecutorShare, RECEIPTS_SHOWN_MAX, ReceiptReport, RunFailure,
};
use guildhall_protocol::contract::Limits;
use guildhall_protocol::limits::FRAME_MAX_BYTES;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::wire::{
    JobFailure, PART_MAX_RECORDS, PartEnd, PortValue, RecordEnd, RecordResult,
};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::super::App;
use super::input::Input;
use super::nodes::Nodes;
use super::outputs::Outputs;
use super::request::{Job, failure};
use super::share::{Ended, News, Order};
use super::{Entry, shorten};

/// News that wait to be heard. When full, shares wait.
const NEWS_WAITING_MAX: usize = 64;

/// When a busy node is asked again unless it says something else.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Longest wait between two looks at the schedule.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When it is asked again at the earliest, whatever it says.
const ASK_AGAIN_MIN: Duration = Duration::from_millis(50);

/// How long after the requester's limit for the whole run the nodes may take to say that it is reached.
const TOTAL_GRACE: Duration = Duration::from_secs(5);

/// How long the end of a run waits for nodes whose work others have done.
const OVERTAKEN_MAX: Duration = Duration::from_secs(1);

/// Round trip from which a node is far, microseconds: more than within one building.
const FAR_US: u64 = 5_000;

/// What a part's records may take in their frame, bytes; the rest is for names and numbers.
const PART_MAX_BYTES: usize = FRAME_MAX_BYTES - FRAME_MAX_BYTES / 8;

/// Both ends of a channel.
type Channel<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

/// How a run ended, as far as its shares decide.
pub(super) enum End {
    /// Every record came out or failed alone.
    Done,
    /// It cannot go on.
    Failed(RunFailure),
}

/// A run under way.
pub(super) struct Runner<'a> {
    app: &'a Arc<App>,
    job: &'a Arc<Job>,
    entry: &'a Entry,
    input: &'a Input,
    outputs: &'a mut Outputs,
    /// Lengths of the records that the schedule does not know yet.
    lens: std::vec::IntoIter<usize>,
    schedule: batch::State,
    began: Instant,
    nodes: Nodes,
    shares: BTreeMap<u32, Running>,
    next_share: u32,
    /// Ends of records that are not delivered yet. The schedule bounds how many.
    waiting: BTreeMap<u64, RecordEnd>,
    grown: Option<Instant>,
    /// Ends every share when the runner is dropped.
    _over: DropGuard,
    token: CancellationToken,
    news: Channel<(u32, News)>,
    receipts: Channel<ReceiptReport>,
    /// The last thing that went wrong on a node.
    last: Option<RunFailure>,
}

/// A share that was started.
struct Running {
    node: PublicKey,
    org: OrgName,
    orders: mpsc::Sender<Order>,
    opened: Instant,
    is_ready: bool,
    /// Its node holds the question for a slot, or is asked to.
    is_held: bool,
    /// Ends it.
    over: CancellationToken,
    /// What the schedule calls the parts that are with it, oldest first.
    parts: VecDeque<u64>,
    part_results: u64,
    /// Results of it that counted, for which it has not signed.
    kept: u64,
    limits: Vec<Limits>,
}

impl<'a> Runner<'a> {
    pub(super) fn new(
        app: &'a Arc<App>,
        job: &'a Arc<Job>,
        entry: &'a Entry,
        (input, outputs): (&'a Input, &'a mut Outputs),
        placed: Vec<Placed>,
    ) -> Self {
        let lens = input.lens();
        let scoring = job.plan.limits.iter().filter_map(|limits| limits.scoring_ms).min();
        let asked = job.limits.scoring_ms;
        let schedule = batch::State::new(batch::Spec {
            records: Some(lens.len() as u64),
            first: outputs.now().records,
            scoring_ms: scoring.into_iter().chain(asked).min().unwrap_or(u64::MAX),
            batch_max: job.limits.batch_max.unwrap_or(u64::MAX).min(job.plan.batch_max),
            part_max_records: PART_MAX_RECORDS,
            part_max_bytes: PART_MAX_BYTES,
            ahead_max: ahead_max(&placed),
        });
        let first = usize::try_from(outputs.now().records).unwrap_or(usize::MAX);
        let mut lens = lens.into_iter();
        lens.by_ref().take(first).for_each(drop);
        let token = CancellationToken::new();
        Self {
            app,
            job,
            entry,
            input,
            outputs,
            lens,
            schedule,
            began: Instant::now(),
            nodes: Nodes::new(placed),
            shares: BTreeMap::new(),
            next_share: 0,
            waiting: BTreeMap::new(),
            grown: None,
            _over: token.clone().drop_guard(),
            token,
            news: mpsc::channel(NEWS_WAITING_MAX),
            receipts: mpsc::channel(NEWS_WAITING_MAX),
            last: None,
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Runs until every record is delivered or nothing more can be done. Dropping it at any moment ends every share.
    pub(super) async fn run(&mut self) -> End {
        // The executors keep it too, and their word comes with a receipt.
        let total = self.job.limits.total_ms.map(Duration::from_millis);
        let deadline = total.map(|total| total.saturating_add(TOTAL_GRACE));
        loop {
            match self.act().await {
                Ok(None) => {}
                Ok(Some(end)) => return self.wind_up(end).await,
                Err(failed) => return End::Failed(failed),
            }
            if deadline.is_some_and(|deadline| self.began.elapsed() >= deadline) {
                let total_ms = self.job.limits.total_ms.unwrap_or_default();
                let message = format!("the whole run took longer than {total_ms} ms");
                let limit_ms = Some(total_ms);
                return self
                    .wind_up(End::Failed(RunFailure {
                        limit_ms,
                        ..failure("total_timeout", message)
                    }))
                    .await;
            }
            if let Err(failed) = self.grow() {
                return End::Failed(failed);
            }
            let patience = self.patience(deadline);
            tokio::select! {
                biased;
                news = self.news.1.recv() => {
                    if let Some((share, news)) = news
                        && let Err(end) = self.hear(share, news)
                    {
                        return self.wind_up(End::Failed(end)).await;
                    }
                }
                receipt = self.receipts.1.recv() => self.take_receipt(receipt),
                () = tokio::time::sleep(patience) => {}
            }
        }
    }

    /// Does what the schedule wants done.
    async fn act(&mut self) -> Result<Option<End>, RunFailure> {
        loop {
            while self.schedule.wants_input() {
                match self.lens.next() {
                    Some(len) => drop(self.schedule.handle_input(len)),
                    None => self.schedule.handle_input_end(),
                }
            }
            let Some(action) = self.schedule.poll(self.now_us()) else {
                self.tell_progress();
                return self.cut_if_due().await.map(|()| None);
            };
            match action {
                Action::Send { executor, part, records } => {
                    if let Some(share) = self.shares.get_mut(&executor) {
                        share.parts.push_back(part);
                    }
                    let records = self.input.part(&records);
                    self.order(executor, Order::Send(records));
                }
                Action::Close { executor } => self.order(executor, Order::Close),
                Action::Deliver { record } => {
                    let Some(end) = self.waiting.remove(&record) else { continue };
                    self.outputs.deliver(record, &end).map_err(storage)?;
                }
                Action::GiveUp { .. } => return Ok(Some(End::Failed(self.gave_up()))),
                Action::Done => {
                    self.tell_progress();
                    return Ok(Some(End::Done));
                }
            }
        }
    }

    fn order(&mut self, executor: u32, order: Order) {
        let Some(share) = self.shares.get(&executor) else { return };
        // The schedule never has more parts ahead than fit; a share that is gone says so itself.
        if let Err(error) = share.orders.try_send(order) {
            debug!(%error, executor, "a share takes no order");
        }
    }

    fn gave_up(&self) -> RunFailure {
        let first = self.outputs.now().first_failure.as_ref();
        let row = batch::FAILED_IN_A_ROW_MAX;
        match first {
            Some(first) => {
                let mut failed = self.explain(first, &[]);
                let message = format!(
                    "{row} records in a row failed, so the others are not tried; the first: {}",
                    failed.message
                );
                failed.message = shorten(&message);
                failed
            }
            None => failure("gave_up", format!("{row} records in a row failed")),
        }
    }

    async fn cut_if_due(&mut self) -> Result<(), RunFailure> {
        if !self.outputs.is_due() {
            return Ok(());
        }
        let tally = self.outputs.cut().await.map_err(storage)?.clone();
        self.entry.keep(tally);
        self.app.save_run(self.entry).await;
        Ok(())
    }

    /// What a share tells. Fails the run when it cannot go on.
    fn hear(&mut self, id: u32, news: News) -> Result<(), RunFailure> {
        let now_us = self.now_us();
        match news {
            News::Leased => {
                if let Some(share) = self.shares.get_mut(&id) {
                    share.is_held = false;
                }
                Ok(())
            }
            News::Ready { on, limits } => {
                // It may have been dropped while it became ready.
                let Some(share) = self.shares.get_mut(&id) else { return Ok(()) };
                (share.is_ready, share.limits) = (true, limits);
                self.nodes.note_ready();
                self.drop_held();
                self.entry.update(|report| {
                    report.executed_on.get_or_insert_with(|| on.clone());
                    if report.executors.iter().any(|share| share.node == on) {
                    } else if report.executors.len() < EXECUTORS_SHOWN_MAX {
                        let none = ExecutorShare { node: on, records: 0, parts: 0, wall_us: 0 };
                        report.executors.push(none);
                    } else {
                        report.executors_left_out += 1;
                    }
                });
                self.schedule.handle_ready(id, now_us);
                Ok(())
            }
            News::Results { records, end } => {
                if let Err(violation) = self.take_results(id, records, end) {
                    self.give_up(id, &violation.to_string());
                }
                Ok(())
            }
            News::Ended(ended) => self.take_end(id, ended),
        }
    }

    /// Drops the share whose question is held: another one is ready.
    fn drop_held(&mut self) {
        let now_us = self.now_us();
        for (id, share) in self.shares.extract_if(.., |_, share| share.is_held) {
            share.over.cancel();
            self.schedule.handle_gone(id, now_us);
        }
    }

    fn take_results(
        &mut self,
        id: u32,
        records: Vec<(RecordResult, bool)>,
        end: Option<PartEnd>,
    ) -> Result<(), batch::Violation> {
        let now_us = self.now_us();
        // The share has checked that they are of the oldest part.
        let part = self.shares.get(&id).and_then(|share| share.parts.front().copied());
        let Some(part) = part else { return Ok(()) };
        let count = records.len() as u64;
        for (result, is_executors) in records {
            let (outcome, len_bytes) = match &result.end {
                RecordEnd::Values(values) => (Outcome::Came, PortValue::len_bytes(values)),
                _ if is_executors => (Outcome::Failed { fault: Fault::Executor }, 0),
                RecordEnd::Failed(failed) => {
                    let said = failed.cause.len() + failed.detail.len();
                    (Outcome::Failed { fault: Fault::Record }, said)
                }
                _ => (Outcome::Failed { fault: Fault::Record }, 0),
            };
            let taken =
                self.schedule.handle_result(id, part, result.index, outcome, len_bytes, now_us)?;
            if taken == Accepted::Keep {
                self.waiting.insert(result.index, result.end);
                if let Some(share) = self.shares.get_mut(&id) {
                    share.kept += 1;
                }
            }
        }
        let Some(share) = self.shares.get_mut(&id) else { return Ok(()) };
        share.part_results += count;
        if end.is_some() {
            share.parts.pop_front();
        }
        if let Some(PartEnd { wall_us }) = end {
            let (node, count) =
                (peer_id_string(&share.node), std::mem::take(&mut share.part_results));
            self.entry.update(|report| {
                let share = report.executors.iter_mut().find(|share| share.node.peer_id == node);
                if let Some(share) = share {
                    share.records += count;
                    share.parts += 1;
                    share.wall_us = share.wall_us.saturating_add(wall_us);
                }
            });
            self.schedule.handle_part_over(id, part, wall_us, now_us)?;
        }
        Ok(())
    }

    /// Drops a share that broke the protocol.
    fn give_up(&mut self, id: u32, why: &str) {
        if let Some(share) = self.shares.remove(&id) {
            self.failed_on(&share, why, None);
            self.schedule.handle_gone(id, self.now_us());
        }
    }

    fn failed_on(&mut self, share: &Running, why: &str, failed: Option<RunFailure>) {
        self.entry.log(&format!("{} did not do it: {why}", peer_id_string(&share.node)));
        self.nodes.note_failed(share.node, share.org.clone());
        // With a failure of the job comes a receipt; whatever else ended it, nothing is signed.
        if failed.is_none() {
            self.note_unsigned(share);
        }
        self.last = Some(failed.unwrap_or_else(|| failure("no_executor", shorten(why))));
    }

    /// Counts the results of a share that was not signed for.
    fn note_unsigned(&self, share: &Running) {
        if share.kept > 0 {
            let node = peer_id_string(&share.node);
            self.entry.log(&format!("{node} has not signed for {} of its results", share.kept));
            self.entry
                .update(|report| report.unsigned = report.unsigned.saturating_add(share.kept));
        }
    }

    fn take_end(&mut self, id: u32, ended: Ended) -> Result<(), RunFailure> {
        let Some(share) = self.shares.remove(&id) else { return Ok(()) };
        self.schedule.handle_gone(id, self.now_us());
        match ended {
            Ended::Completed => Ok(()),
            Ended::Busy { why, after_ms, is_near } => {
                let after = after_ms.map_or(ASK_AGAIN, Duration::from_millis).max(ASK_AGAIN_MIN);
                self.nodes.note_busy(share.node, Instant::now() + after, is_near);
                let is_new = self.last.as_ref().is_none_or(|last| last.message != why);
                if is_new {
                    self.entry.log(&format!("{} is busy: {why}", peer_id_string(&share.node)));
                }
                self.last = Some(failure("busy", shorten(&why)));
                Ok(())
            }
            Ended::Elsewhere { why, failure } => {
                let failed = failure.map(|failure| self.explain(&failure, &share.limits));
                self.failed_on(&share, &why, failed);
                Ok(())
            }
            Ended::Failed(failed) => Err(self.explain(&failed, &share.limits)),
            Ended::Here(why) => {
                Err(failure("storage", format!("this node cannot keep the results: {why}")))
            }
        }
    }

    fn take_receipt(&self, receipt: Option<ReceiptReport>) {
        if let Some(receipt) = receipt {
            self.entry.update(|report| match report.receipts.len() < RECEIPTS_SHOWN_MAX {
                true => report.receipts.push(receipt),
                false => report.receipts_left_out = report.receipts_left_out.saturating_add(1),
            });
        }
    }

    /// Ends the shares that are left and takes their receipts. Who never became ready has nothing to sign.
    async fn wind_up(&mut self, end: End) -> End {
        self.shares.retain(|_, share| share.is_ready);
        for share in self.shares.values() {
            let _gone = share.orders.try_send(Order::Close);
        }
        let until = Instant::now() + super::share::GOODBYE_MAX;
        let soon = Instant::now() + OVERTAKEN_MAX;
        while !self.shares.is_empty() {
            // Who still works on what others have done already is not waited for as long as who has only to sign.
            let is_signing = self.shares.values().any(|share| share.parts.is_empty());
            let until = if is_signing { until } else { soon };
            let patience = until.saturating_duration_since(Instant::now());
            tokio::select! {
                biased;
                receipt = self.receipts.1.recv() => self.take_receipt(receipt),
                news = self.news.1.recv() => match news {
                    Some((id, News::Ended(ended))) => self.part_with(id, ended),
                    Some((id, News::Results { end: Some(_), .. })) => {
                        if let Some(share) = self.shares.get_mut(&id) {
                            share.parts.pop_front();
                        }
                    }
                    _ => {}
                },
                () = tokio::time::sleep(patience) => break,
            }
        }
        while let Ok(receipt) = self.receipts.1.try_recv() {
            self.take_receipt(Some(receipt));
        }
        for share in std::mem::take(&mut self.shares).into_values() {
            self.note_unsigned(&share);
        }
        end
    }

    /// A share ends when nothing is wanted of it any more but that it signs.
    fn part_with(&mut self, id: u32, ended: Ended) {
        let Some(share) = self.shares.remove(&id) else { return };
        if let Ended::Busy { why, .. }
        | Ended::Elsewhere { why, failure: None }
        | Ended::Here(why) = ended
        {
            self.entry.log(&format!("{} did not sign: {why}", peer_id_string(&share.node)));
            self.note_unsigned(&share);
        }
    }

    fn tell_progress(&self) {
        let (tally, progress) = (self.outputs.now(), self.schedule.progress());
        self.entry.update(|report| {
            (report.records, report.failed) = (tally.records, tally.failed);
            report.accuracy = tally.accuracy();
            report.left_seconds = progress.left_us.map(us_to_seconds);
        });
    }

    fn patience(&self, deadline: Option<Duration>) -> Duration {
        let wake = self
            .schedule
            .next_wake_us()
            .map(|at| Duration::from_micros(at).saturating_sub(self.began.elapsed()));
        let free = match self.has_no_slot() {
            true => self.nodes.next_free(&self.asked()),
            false => None,
        };
        let free = free.map(|at| at.saturating_duration_since(Instant::now()));
        let end = deadline.map(|deadline| deadline.saturating_sub(self.began.elapsed()));
        wake.into_iter().chain(free).chain(end).fold(LOOK_EVERY, Duration::min)
    }

    /// A stage's failure in the words of a run's.
    pub(super) fn explain(&self, failed: &JobFailure, limits: &[Limits]) -> RunFailure {
        explain(&self.job.plan.names, failed, limits)
    }
}

/// How many parts may wait at each node: few where all are near, so that less is with one that shows to be slow.
fn ahead_max(placed: &[Placed]) -> usize {
    match placed.iter().any(|placed| placed.rtt_us.is_some_and(|rtt_us| rtt_us >= FAR_US)) {
        true => share::PARTS_AHEAD_MAX - 1,
        false => batch::AHEAD_PARTS,
    }
}

/// A stage's failure in the words of a run's.
pub(super) fn explain(names: &[String], failed: &JobFailure, limits: &[Limits]) -> RunFailure {
    let stage = usize::try_from(failed.stage).unwrap_or(usize::MAX);
    let name = names.get(stage).map_or("?", String::as_str);
    let limits = limits.get(stage);
    let limit_ms = match failed.cause.as_str() {
        "timeout" => limits.map(|limits| limits.scoring_ms.value),
        "total_timeout" => limits.map(|limits| limits.total_ms.value),
        _ => None,
    };
    let message = format!("stage `{name}`, record {}: {}", failed.record, failed.detail);
    RunFailure {
        message: shorten(&message),
        cause: shorten(&failed.cause),
        stage: Some(failed.stage),
        record: Some(failed.record),
        limit_ms,
        stopped_after_ms: failed.stopped_after_ms,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a time for people")]
fn us_to_seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn storage(error: super::outputs::OutputError) -> RunFailure {
    failure("storage", format!("this node cannot keep the results: {error}"))
}
