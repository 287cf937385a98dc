//! When a run opens another share, and with which node.
//!
//! One is opened when none has a slot, when those that have do nothing, or when it would save time. Where every node is
//! busy, one of them holds the question for a slot; see [`nodes`](super::super::nodes).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guildhall_overlay::peer_id_string;
use guildhall_pipeline::lease::HOLD_MAX_MS;
use guildhall_pipeline::{Placed, share};
use guildhall_protocol::PublicKey;
use guildhall_protocol::api::RunFailure;
use tokio::sync::mpsc;

use super::super::request::failure;
use super::super::share::Share;
use super::{Runner, Running};

/// Shares of one run at once, however long it would take.
const SHARES_MAX: usize = 32;

/// Time left from which another share is worth opening: it costs round trips and a worker's start.
const GROW_FROM: Duration = Duration::from_secs(2);

/// Least time between two shares being opened because of the time left: what the last one brings shows first.
const GROW_EVERY: Duration = Duration::from_millis(250);

/// How long the first node that was asked may take to become ready before another is asked too; each further one is
/// given twice as long. Most are ready within a second. Who has to fetch a large model first takes longer, and then a
/// few nodes fetch it in vain: the price for not waiting on a node that never answers.
const READY_PATIENCE: Duration = Duration::from_secs(4);

/// Doublings of [`READY_PATIENCE`]; what is beyond is as long as nodes may take at all.
const READY_DOUBLINGS_MAX: u32 = 7;

/// How long a node may hold the run's question for a slot; see there.
const HOLD_MAX: Duration = Duration::from_millis(HOLD_MAX_MS);

/// The least time for which holding it is worth a question.
const HOLD_MIN: Duration = Duration::from_millis(100);

impl Runner<'_> {
    /// Opens another share if none has a slot, those that have do nothing, or it would save time.
    pub(super) fn grow(&mut self) -> Result<(), RunFailure> {
        let now = Instant::now();
        if self.has_no_slot() {
            return self.ask_for_slot(now);
        }
        let is_stuck = self.is_stuck(now);
        if !is_stuck && !self.wants_more(now) {
            return Ok(());
        }
        let with = self.asked();
        let next = match is_stuck {
            true => self.nodes.next_other(&with, now),
            false => self.nodes.next(&with, now),
        };
        if let Some(placed) = next.cloned() {
            self.open(placed, Duration::ZERO);
        }
        Ok(())
    }

    /// Whether there is no share but one whose question is held, perhaps.
    pub(super) fn has_no_slot(&self) -> bool {
        self.shares.values().all(|share| share.is_held)
    }

    /// Asks who was not asked yet; else one that holds the question; and beside it the others when they said.
    fn ask_for_slot(&mut self, now: Instant) -> Result<(), RunFailure> {
        let with = self.asked();
        let end = now + self.queue().saturating_sub(self.began.elapsed());
        let hold = HOLD_MAX.min(end.saturating_duration_since(now));
        let to_hold = match with.is_empty() && hold >= HOLD_MIN {
            true => self.nodes.next_to_hold(now),
            false => None,
        };
        let (next, hold) = match to_hold {
            Some(placed) => (Some(placed), hold),
            None => (self.nodes.next_other(&with, now), Duration::ZERO),
        };
        if let Some(placed) = next.cloned() {
            self.open(placed, hold);
            return Ok(());
        }
        // Nobody is free before then, so nobody is waited for.
        let is_free_before = self.nodes.next_free(&[]).is_none_or(|at| at < end);
        if !with.is_empty() || self.nodes.is_any_left() && now < end && is_free_before {
            return Ok(());
        }
        Err(match self.last.take() {
            // A stage that failed on the last node says more than that no node is left.
            Some(last) if last.stage.is_some() => last,
            Some(last) => failure(
                "no_executor",
                format!("no node did the run; the last one said: {}", last.message),
            ),
            None => failure("no_executor", "there was no node to ask".to_owned()),
        })
    }

    /// The nodes of the shares.
    pub(super) fn asked(&self) -> Vec<PublicKey> {
        self.shares.values().map(|share| share.node).collect()
    }

    /// How long the run waits for a free slot.
    fn queue(&self) -> Duration {
        let queue_ms = self.job.plan.queue_ms(&self.job.limits);
        Duration::from_millis(queue_ms.unwrap_or_default())
    }

    fn shares_max(&self) -> usize {
        let asked = self.job.shares_max.and_then(|max| usize::try_from(max).ok());
        asked.map_or(SHARES_MAX, |max| max.clamp(1, SHARES_MAX))
    }

    /// Whether nothing is to be expected of any share: those that are ready are overdue, and the others had their time
    /// to become ready.
    fn is_stuck(&self, now: Instant) -> bool {
        let unready = self.shares.values().filter(|share| !share.is_ready).count();
        let doublings = u32::try_from(unready.saturating_sub(1)).unwrap_or(u32::MAX);
        let patience = match unready {
            0 => GROW_EVERY,
            _ => READY_PATIENCE.saturating_mul(1 << doublings.min(READY_DOUBLINGS_MAX)),
        };
        !self.shares.is_empty()
            && self.shares.len() < self.shares_max()
            && self.schedule.is_stalled(self.now_us())
            && self.grown.is_none_or(|last| now.saturating_duration_since(last) >= patience)
    }

    fn wants_more(&self, now: Instant) -> bool {
        let most = self.shares_max();
        let time_left = self.schedule.progress().left_us.map(Duration::from_micros);
        self.shares.len() < most
            && self
                .shares
                .values()
                .all(|share| share.is_ready || share.opened.elapsed() >= READY_PATIENCE)
            && time_left.is_some_and(|left| left >= GROW_FROM)
            && self.grown.is_none_or(|last| now.saturating_duration_since(last) >= GROW_EVERY)
    }

    /// Opens a share on a node, which may hold the question for so long.
    fn open(&mut self, Placed { node, org, why, .. }: Placed, hold: Duration) {
        let id = self.next_share;
        self.next_share += 1;
        self.grown = Some(Instant::now());
        let over = self.token.child_token();
        let (orders, to_share) = mpsc::channel(share::PARTS_AHEAD_MAX + 1);
        let share = Share {
            app: Arc::clone(self.app),
            job: Arc::clone(self.job),
            node,
            hold,
            id,
            orders: to_share,
            over: over.clone(),
            news: self.news.0.clone(),
            receipts: self.receipts.0.clone(),
        };
        self.entry.log(&format!("{}: {why}", peer_id_string(&node)));
        self.app.tasks.spawn("share", share.run());
        let running = Running {
            node,
            org,
            orders,
            opened: Instant::now(),
            is_ready: false,
            is_held: !hold.is_zero(),
            over,
            parts: VecDeque::new(),
            part_results: 0,
            kept: 0,
            limits: Vec::new(),
        };
        self.shares.insert(id, running);
    }
}
