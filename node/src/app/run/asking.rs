//! Asking a node for a slot: to be answered at once, or letting it hold the question until one is free. What comes too
//! late to be wanted is given back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use guildhall_overlay::{StreamKind, peer_id_string};
use guildhall_pipeline::lease::RETRY_MAX_MS;
use guildhall_protocol::PublicKey;
use guildhall_protocol::wire::{
    JobSpec, Lease, OfferRequest, Reason, Refusal, Request, RequesterFrame, Response,
};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;
use tracing::debug;

use super::super::App;
use super::super::frames;
use super::request::Job;
use super::share::{GOODBYE_MAX, News, Share, ShareError, refused};

/// How long a share without a slot waits for a session of this node to give its one up. Signing is a round trip and a
/// write to disk; who takes longer is in trouble, and the share itself should not be taken for late.
const ROOM_MAX: Duration = Duration::from_secs(2);

/// How often a share whose question is held looks whether an idle session of this node has the slot that it waits for.
const SESSIONS_EVERY: Duration = Duration::from_millis(250);

impl Share {
    /// Asks the node for its hardware, to be answered at once. Where only a slot is missing, room is made if it can be.
    pub(super) async fn lease_now(&self) -> Result<Lease, ShareError> {
        let end = Instant::now() + ROOM_MAX;
        loop {
            let lease = self.lease(Duration::ZERO).await;
            let is_full = matches!(
                lease,
                Err(ShareError::Busy { reason: Reason::Busy, .. } | ShareError::Waited(_))
            );
            if !is_full {
                return lease;
            }
            // It may be a slot that waits for requests of this very node, or is about to be free as a session signs.
            let left = end.saturating_duration_since(Instant::now());
            let room = tokio::time::timeout(left, self.app.give_up_session(self.node));
            if !room.await.unwrap_or(false) {
                return lease;
            }
        }
    }

    /// Asks the node for its hardware and lets it hold the question. Sessions of this node that become idle meanwhile
    /// give way.
    pub(super) async fn lease_held(&self) -> Result<Lease, ShareError> {
        let giving_way = async {
            loop {
                self.app.give_up_session(self.node).await;
                tokio::time::sleep(SESSIONS_EVERY).await;
            }
        };
        let lease = tokio::select! {
            biased;
            lease = self.lease(self.hold) => lease?,
            never = giving_way => never,
        };
        self.tell(News::Leased).await?;
        Ok(lease)
    }

    async fn lease(&self, hold: Duration) -> Result<Lease, ShareError> {
        let mut offer =
            self.job.plan.offer_request(self.job.run, &self.job.limits, self.job.isolation);
        let turn = if hold.is_zero() { None } else { self.app.slots.try_ask() };
        if turn.is_some() {
            offer.hold_ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
        }
        let asked = Instant::now();
        let answer = match self.node == self.app.overlay.me() {
            true => self.app.lease_own(&offer).await,
            false => self.ask(offer).await?,
        };
        answer.map_err(|refusal| {
            let is_near = is_near(&refusal, hold, asked.elapsed());
            match refused(refusal) {
                ShareError::Busy { reason, why, after_ms, .. } => {
                    ShareError::Busy { reason, why, after_ms, is_near }
                }
                other => other,
            }
        })
    }

    /// Asks another node. A lease that comes when this share is not wanted any more is given back.
    async fn ask(&self, offer: OfferRequest) -> Result<Result<Lease, Refusal>, ShareError> {
        let (to_share, answered) = oneshot::channel();
        let (app, job, node) = (Arc::clone(&self.app), Arc::clone(&self.job), self.node);
        self.app.tasks.spawn("ask-for-slot", async move {
            let asking = async {
                let answer = app.request(node, &Request::Offer(Box::new(offer))).await;
                if let Err(Ok(Response::Lease(lease))) = to_share.send(answer) {
                    give_back(&app, &job, node, &lease).await;
                }
            };
            tokio::select! {
                biased;
                () = app.tasks.token().cancelled() => {}
                () = asking => {}
            }
        });
        match answered.await.map_err(|_| ShareError::Gone)? {
            Ok(Response::Lease(lease)) => Ok(Ok(lease)),
            Ok(Response::Refused(refusal)) => Ok(Err(refusal)),
            Ok(_) => Err(ShareError::Refused("it answered something else".to_owned())),
            Err(why) => Err(ShareError::Refused(why)),
        }
    }
}

/// What the node is told that has the lease.
pub(super) fn spec(job: &Job, lease: &Lease) -> JobSpec {
    JobSpec {
        lease: lease.lease,
        run: job.run,
        nonce: job.nonce,
        stages: job.plan.stages.clone(),
        limits: job.limits,
        input: job.input.clone(),
        holders: job.holders.clone(),
    }
}

/// Gives a lease back that nobody wants any more: its job is begun and over. A slot that nobody opens would not be free
/// for seconds.
async fn give_back(app: &App, job: &Job, node: PublicKey, lease: &Lease) {
    let giving_back = async {
        let mut stream = app.overlay.open_stream(node, StreamKind::Job).await.ok()?;
        let start = RequesterFrame::Start(Box::new(spec(job, lease)));
        frames::send(&mut stream, &start).await.ok()?;
        stream.shutdown().await.ok()
    };
    if !matches!(tokio::time::timeout(GOODBYE_MAX, giving_back).await, Ok(Some(()))) {
        debug!(run = %job.run, node = peer_id_string(&node), "a lease was not given back; it runs out");
    }
}

/// Whether the node that refused may hold the question, so that asking it again at once is worth it: a busy node that
/// tells a time that queues tell has one, and what it held, it will hold again. What should have been held and was refused at
/// once would be again: its turn is not near.
fn is_near(refusal: &Refusal, hold: Duration, took: Duration) -> bool {
    refusal.reason == Reason::Busy
        && match hold {
            Duration::ZERO => {
                refusal.retry_after_ms.is_some_and(|after_ms| after_ms <= RETRY_MAX_MS)
            }
            hold => took >= hold / 2,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_asked_again_at_once_only_if_it_held_the_question_or_may_do_so() {
        let busy = |retry_after_ms| Refusal { retry_after_ms, ..Refusal::new(Reason::Busy, "") };
        let (now, hold) = (Duration::ZERO, Duration::from_secs(2));
        assert!(is_near(&busy(Some(250)), now, now));
        assert!(!is_near(&busy(None), now, now), "it has no queue");
        assert!(!is_near(&busy(Some(RETRY_MAX_MS + 1)), now, now), "nor this one");
        assert!(is_near(&busy(Some(250)), hold, hold));
        assert!(!is_near(&busy(Some(250)), hold, now), "it did not hold it");
        let quota = Refusal { reason: Reason::Quota, ..busy(Some(250)) };
        assert!(!is_near(&quota, now, now) && !is_near(&quota, hold, hold));
    }
}
