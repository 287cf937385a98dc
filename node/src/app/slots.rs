//! Questions for slots that wait at this node: of other nodes and of its own runs.
//!
//! Who waits for what is decided by the core's queue for slots (`guildhall_pipeline::lease`). Here are the questions
//! that it says are worth holding. Each looks whether it is its turn whenever something became free ([`Slots::wake`]): a
//! job that is over, a lease that was opened, an offer that changed; and now and then ([`LOOK_EVERY`]), because a lease
//! that nobody opened and a slot that was kept in vain are free by the time that passed. So it does not matter in which
//! order they look, and nothing is lost when one of them goes away: its place goes with it.
//!
//! Bounds: [`HELD_MAX`] questions of other nodes, [`HELD_PER_ORG_MAX`] of them of one org; beyond, they are refused as
//! busy at once, as without this. Those of own runs are as many as the queue calls near. And this node itself lets
//! [`ASKED_MAX`] of its questions be held by others; beyond, they ask to be answered at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use guildhall_core::NotNow;
use guildhall_overlay::Reply;
use guildhall_protocol::wire::{Lease, OfferRequest, Refusal, Response};
use guildhall_protocol::{Hash, PublicKey, RunId, cbor};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;
use tracing::debug;

use super::{App, lock};
use crate::clock;

/// Questions of other nodes that are held at once: those of eight orgs. Each looks at the queue when a slot becomes
/// free, some microseconds, or some hundred where a thousand wait.
const HELD_MAX: usize = 64;

/// Of those, questions of one org: as many as have a place near the front when nobody else waits.
const HELD_PER_ORG_MAX: usize = guildhall_pipeline::lease::HOLD_PLACES_MAX;

/// Questions of this node that others hold at once. Each takes one of the requests that may be on their way, of which
/// the larger part is for everything else.
const ASKED_MAX: usize = 64;

/// How often a question looks for what nobody tells: as often as its asker would ask if it were not held.
const LOOK_EVERY: Duration = Duration::from_millis(guildhall_pipeline::lease::RETRY_MS);

/// The questions that wait, and what wakes them.
pub(super) struct Slots {
    /// Changes whenever something may have become free; how it changes says nothing.
    freed: watch::Sender<()>,
    /// How many are held, by the key of their org's root.
    held: Mutex<BTreeMap<PublicKey, usize>>,
    /// Of this node, at others.
    asked: Semaphore,
}

impl Default for Slots {
    fn default() -> Self {
        let (held, asked) = (Mutex::default(), Semaphore::new(ASKED_MAX));
        Self { freed: watch::Sender::new(()), held, asked }
    }
}

impl Slots {
    /// Lets every question look whether it is its turn.
    pub(super) fn wake(&self) {
        self.freed.send_replace(());
    }

    /// Room for a question of this node at another one; `None` when it should be answered at once.
    pub(super) fn try_ask(&self) -> Option<SemaphorePermit<'_>> {
        self.asked.try_acquire().ok()
    }

    fn try_hold(&self, root: PublicKey) -> bool {
        let mut held = lock(&self.held);
        let of_org = held.get(&root).copied().unwrap_or_default();
        if held.values().sum::<usize>() >= HELD_MAX || of_org >= HELD_PER_ORG_MAX {
            return false;
        }
        held.insert(root, of_org + 1);
        true
    }

    fn release(&self, root: &PublicKey) {
        let mut held = lock(&self.held);
        if let Some(count) = held.get_mut(root) {
            *count -= 1;
            if *count == 0 {
                held.remove(root);
            }
        }
    }

    /// Asks until there is a lease, a refusal that waiting does not change, or the time is over that the first of the
    /// answers gives it. Dropping it between two questions leaves nothing but the place in the queue.
    async fn hold(&self, mut ask: impl FnMut() -> Result<Lease, NotNow>) -> Result<Lease, Refusal> {
        // Before asking, so that nothing becomes free unseen between the two.
        let mut freed = self.freed.subscribe();
        let mut until = None;
        loop {
            let hold_ms = match ask() {
                Ok(lease) => return Ok(lease),
                Err(NotNow { refusal, hold_ms: 0 }) => return Err(refusal),
                Err(NotNow { hold_ms, .. }) => hold_ms,
            };
            let until =
                *until.get_or_insert_with(|| Instant::now() + Duration::from_millis(hold_ms));
            let next = until.min(Instant::now() + LOOK_EVERY);
            let _free_or_time_to_look = tokio::time::timeout_at(next, freed.changed()).await;
            if Instant::now() >= until {
                return ask().map_err(|not_now| not_now.refusal);
            }
        }
    }
}

/// A run whose question waits. Unless it is answered, it does not wait any more when this is dropped.
struct Waiting<'a> {
    app: &'a App,
    peer: Option<PublicKey>,
    run: RunId,
    is_answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.app.core().leave_queue(self.peer, self.run);
            self.app.slots.wake();
        }
    }
}

impl App {
    /// Holds the question of another node until there is an answer, if there is room.
    pub(super) fn hold_offer(
        self: &Arc<Self>,
        mut reply: Reply,
        (peer, root): (PublicKey, PublicKey),
        offer: Box<OfferRequest>,
        refusal: Refusal,
    ) {
        if !self.slots.try_hold(root) {
            super::answers::send(reply, &Response::Refused(refusal));
            return;
        }
        let app = Arc::clone(self);
        self.tasks.spawn("hold-offer", async move {
            let mut waiting =
                Waiting { app: &app, peer: Some(peer), run: offer.run, is_answered: false };
            let ask = || app.core().grant_again(clock::now_ms(), peer, &offer);
            let answer = tokio::select! {
                biased;
                // Nothing is granted from here on.
                () = app.tasks.token().cancelled() => Some(Err(refusal)),
                () = reply.gone() => None,
                answer = app.slots.hold(ask) => Some(answer),
            };
            app.slots.release(&root);
            let Some(answer) = answer else { return };
            waiting.is_answered = true;
            let lease = answer.as_ref().ok().map(|lease| lease.lease);
            let response = answer.map_or_else(Response::Refused, Response::Lease);
            if let Err(error) = reply.send(cbor::encode(&response)) {
                debug!(%error, "who waited for a slot went away");
                lease.inspect(|lease| app.close_lease(lease));
            }
        });
    }

    /// This node's own hardware for a run of its own: as soon as there is a slot, or the time is over that the question
    /// gives it.
    pub(super) async fn lease_own(&self, offer: &OfferRequest) -> Result<Lease, Refusal> {
        let mut waiting = Waiting { app: self, peer: None, run: offer.run, is_answered: false };
        let answer = self.slots.hold(|| self.core().grant_own(clock::now_ms(), offer)).await;
        waiting.is_answered = true;
        answer
    }

    /// Frees the slot of a job that is over, for whoever waits.
    pub(super) fn close_lease(&self, lease: &Hash) {
        if self.core().close_lease(lease) {
            self.slots.wake();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::cell::Cell;
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use guildhall_protocol::SecretKey;
    use guildhall_protocol::wire::Reason;

    use super::*;

    fn lease() -> Lease {
        let run = RunId(Hash::of(b"run"));
        Lease { lease: run.0, run, open_within_ms: 1, warm: 0, held: 0, load_percent: 0 }
    }

    fn not_now(hold_ms: u64) -> NotNow {
        NotNow { refusal: Refusal::new(Reason::Busy, "taken"), hold_ms }
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_asked_when_something_is_free_and_not_in_between() {
        let (slots, asked, is_free) = (Slots::default(), Cell::new(0), Cell::new(false));
        let ask = || {
            asked.set(asked.get() + 1);
            if is_free.get() { Ok(lease()) } else { Err(not_now(2_000)) }
        };
        let mut held = pin!(slots.hold(ask));
        let mut look = || held.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(look().is_pending() && look().is_pending());
        assert_eq!(asked.get(), 1);
        // Something became free, for somebody else.
        slots.wake();
        assert!(look().is_pending());
        assert_eq!(asked.get(), 2);
        is_free.set(true);
        assert!(look().is_pending(), "nobody said so");
        slots.wake();
        assert_eq!(look(), Poll::Ready(Ok(lease())));
    }

    #[tokio::test(start_paused = true)]
    async fn what_becomes_free_by_the_time_that_passes_is_seen_before_the_question_ends() {
        let (slots, asked) = (Slots::default(), Cell::new(0));
        let ask = || {
            asked.set(asked.get() + 1);
            if asked.get() == 4 { Ok(lease()) } else { Err(not_now(2_000)) }
        };
        assert_eq!(slots.hold(ask).await, Ok(lease()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_becomes_free_while_a_question_is_asked_is_not_missed() {
        let (slots, asked) = (Slots::default(), Cell::new(0));
        let ask = || {
            asked.set(asked.get() + 1);
            slots.wake();
            if asked.get() == 3 { Ok(lease()) } else { Err(not_now(2_000)) }
        };
        assert_eq!(slots.hold(ask).await, Ok(lease()));
        assert_eq!(asked.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_ends_with_the_last_refusal_when_its_time_is_over_or_waiting_is_in_vain() {
        let (slots, asked) = (Slots::default(), Cell::new(0_u64));
        let ask = || {
            asked.set(asked.get() + 1);
            // Whatever later answers say, the time is that of the first.
            let detail = format!("refusal {}", asked.get());
            Err(NotNow { refusal: Refusal::new(Reason::Busy, detail), hold_ms: 500 * asked.get() })
        };
        let began = Instant::now();
        let refusal = slots.hold(ask).await.unwrap_err();
        assert_eq!(
            (refusal.detail.as_str(), began.elapsed()),
            ("refusal 3", Duration::from_millis(500))
        );

        let drained = Cell::new(false);
        let ask = || {
            let hold_ms = if drained.replace(true) { 0 } else { 2_000 };
            Err(not_now(hold_ms))
        };
        let mut held = pin!(slots.hold(ask));
        let mut look = || held.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(look().is_pending());
        slots.wake();
        assert!(matches!(look(), Poll::Ready(Err(_))), "at once");
    }

    #[test]
    fn one_org_cannot_have_every_question_held() {
        let slots = Slots::default();
        let root = |seed: u8| SecretKey::from_seed(&[seed; 32]).public();
        let held = |seed| (0..100).filter(|_| slots.try_hold(root(seed))).count();
        assert_eq!(held(1), HELD_PER_ORG_MAX);
        assert_eq!(held(2), HELD_PER_ORG_MAX);
        slots.release(&root(1));
        assert_eq!(held(1), 1);
        let others: usize = (3..50).map(held).sum();
        assert_eq!(others + 2 * HELD_PER_ORG_MAX, HELD_MAX);
    }
}
