//! One node's share of a run: stream, parts there, results back, signatures. How it comes by its lease is in
//! [`asking`](super::asking).
//!
//! Each share is a task of its own. It is told what to send and when to end ([`Order`]), and tells what comes back
//! ([`News`]); which records go where is decided by whoever holds the other ends.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use guildhall_overlay::{StreamKind, peer_id_string};
use guildhall_pipeline::lease::OPEN_GRACE_MS;
use guildhall_pipeline::share::{Ending, PARTS_AHEAD_MAX, Phase, Spec, State, Verified};
use guildhall_protocol::api::{ExecutedOn, ReceiptReport};
use guildhall_protocol::contract::Limits;
use guildhall_protocol::receipt::Receipt;
use guildhall_protocol::statement::Signed;
use guildhall_protocol::wire::{
    ExecutorFrame, JobFailure, Lease, PartEnd, PartRecords, Reason, RecordResult, Refusal,
    RequesterFrame,
};
use guildhall_protocol::{PublicKey, cbor};
use guildhall_store::{Batch, Collection};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::super::App;
use super::super::frames::{self, FrameError};
use super::asking::spec;
use super::receipt_key;
use super::request::Job;
use crate::clock;

/// How long an executor may take until it is ready: it fetches packages and compiles them. As long as its lease gives it.
const READY_MAX: Duration = Duration::from_millis(OPEN_GRACE_MS);

/// How long an executor may stay silent while a part is with it, unless its calls may take longer.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// What a part may take on its way beyond what its calls may.
const PART_GRACE: Duration = Duration::from_secs(60);

/// How long an executor may take to sign when it was told that nothing follows, and to read the countersignature.
pub(super) const GOODBYE_MAX: Duration = Duration::from_secs(10);

/// After how long a node is asked again that let the run wait as long as its limits allow, milliseconds: the run has no
/// place there any more, and waits anew if it still may.
const WAIT_ANEW_MS: u64 = 5_000;

/// Bytes on their way through memory when a run is executed on the node that asked for it.
const PIPE_BYTES: usize = 256 * 1024;

/// What a share is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Send these records as the next part.
    Send(PartRecords),
    /// No part follows.
    Close,
}

/// What a share tells.
#[derive(Debug)]
pub(super) enum News {
    /// The executor held the question, and now promised a slot.
    Leased,
    /// The executor is ready; parts may be sent.
    Ready { on: ExecutedOn, limits: Vec<Limits> },
    /// Records of the oldest part that is not over came out or failed, and whether each failure is the executor's own
    /// trouble; perhaps the part is over.
    Results { records: Vec<(RecordResult, bool)>, end: Option<PartEnd> },
    /// Nothing follows.
    Ended(Ended),
}

/// How a share ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Everything that was sent was answered and signed for.
    Completed,
    /// The node could not begin now; asking again after a while is worth it, and at once if its turn `is_near`, so that the node holds the
    /// question.
    Busy { why: String, after_ms: Option<u64>, is_near: bool },
    /// This node could not do it or go on; another may.
    Elsewhere { why: String, failure: Option<JobFailure> },
    /// The job is at fault, and another node would not help.
    Failed(JobFailure),
    /// This node cannot keep what comes.
    Here(String),
}

impl From<ShareError> for Ended {
    fn from(error: ShareError) -> Self {
        match error {
            ShareError::Busy { why, after_ms, is_near, .. } => {
                Self::Busy { why, after_ms, is_near }
            }
            ShareError::Waited(why) => {
                Self::Busy { why, after_ms: Some(WAIT_ANEW_MS), is_near: false }
            }
            ShareError::Here(why) => Self::Here(why),
            why => Self::Elsewhere { why: why.to_string(), failure: None },
        }
    }
}

/// One share.
pub(super) struct Share {
    pub(super) app: Arc<App>,
    pub(super) job: Arc<Job>,
    pub(super) node: PublicKey,
    /// How long the node may hold the question for a slot; zero wants an answer at once.
    pub(super) hold: Duration,
    /// What its news are told with.
    pub(super) id: u32,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) news: mpsc::Sender<(u32, News)>,
    /// Cancelled when nobody wants it any more: its stream is dropped, which ends the executor's workers.
    pub(super) over: CancellationToken,
    /// Takes each receipt.
    pub(super) receipts: mpsc::Sender<ReceiptReport>,
}

impl Share {
    /// Asks the node, sends what it is told to, and ends when it is told to or cannot go on.
    pub(super) async fn run(mut self) {
        let over = self.over.clone();
        let ended = tokio::select! {
            biased;
            () = over.cancelled() => return,
            ended = self.try_run() => ended,
        };
        let ended = ended.unwrap_or_else(Ended::from);
        let _nobody_listens = self.news.send((self.id, News::Ended(ended))).await;
    }

    async fn try_run(&mut self) -> Result<Ended, ShareError> {
        let lease = match self.hold {
            Duration::ZERO => self.lease_now().await?,
            _ => self.lease_held().await?,
        };
        let me = self.app.overlay.me();
        if self.node == me {
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            let app = Arc::clone(&self.app);
            self.app.tasks.spawn("own-job", async move {
                if let Err(error) = app.execute(me, theirs).await {
                    debug!(%error, "a job of our own ended early");
                }
            });
            self.talk(lease, ours).await
        } else {
            let stream = self.app.overlay.open_stream(self.node, StreamKind::Job).await;
            let stream = stream.map_err(|error| ShareError::Refused(error.to_string()))?;
            self.talk(lease, stream).await
        }
    }

    async fn talk(
        &mut self,
        lease: Lease,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    ) -> Result<Ended, ShareError> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let on = self.executed_on()?;
        let job = Arc::clone(&self.job);
        let mut state = State::new(Spec {
            run: job.run,
            nonce: job.nonce,
            requester: self.app.overlay.me(),
            executor: self.node,
            packages: job.plan.stages.iter().map(|stage| stage.package).collect(),
            limits: job.plan.limits.clone(),
            asked: job.limits,
            outputs: job.plan.interface.outputs.iter().map(|port| port.name.clone()).collect(),
        });
        let spec = spec(&job, &lease);
        let asking = async {
            frames::send(&mut writer, &RequesterFrame::Start(Box::new(spec))).await?;
            frames::receive(&mut reader).await
        };
        let limits = match within(READY_MAX, asking).await? {
            ExecutorFrame::Ready { limits } => limits,
            ExecutorFrame::Refused(refusal) => return Err(refused(refusal)),
            _ => return Err(ShareError::Order),
        };
        state.handle_ready(limits.clone())?;
        self.tell(News::Ready { on, limits }).await?;
        // Frames are written by themselves, so that neither side waits for the other while sending.
        let (frames_out, to_write) = mpsc::channel(PARTS_AHEAD_MAX + 2);
        let mut writing = pin!(write_frames(&mut writer, to_write));
        let mut is_written = false;
        let exchanging = self.exchange(&mut state, &mut reader, frames_out.clone());
        let exchanged = {
            let mut exchanging = pin!(exchanging);
            loop {
                tokio::select! {
                    biased;
                    exchanged = &mut exchanging => break exchanged?,
                    // A send that breaks shows on the other half too, with the executor's reason if it gave one.
                    _broken = &mut writing, if !is_written => is_written = true,
                }
            }
        };
        let (jobs, verified) = exchanged;
        let run = self.keep(&verified, jobs).await?;
        if !is_written {
            let _full = frames_out.try_send(RequesterFrame::Countersigned(run));
            drop(frames_out);
            if tokio::time::timeout(GOODBYE_MAX, writing).await.map_or(true, |sent| sent.is_err()) {
                warn!(run = %self.job.run, "the executor did not get the countersignature");
            }
        }
        Ok(match verified.ending {
            Ending::Completed => Ended::Completed,
            Ending::Failed(failure) => Ended::Failed(failure),
            Ending::Elsewhere(failure) => {
                Ended::Elsewhere { why: failure.detail.clone(), failure: Some(failure) }
            }
        })
    }

    fn executed_on(&self) -> Result<ExecutedOn, ShareError> {
        let core = self.app.core();
        let me = core.identity();
        let org = match self.node == me.node.public() {
            true => Some(me.org.clone()),
            false => core.authority(&self.node).map(|authority| authority.org.clone()),
        };
        let org = org.ok_or_else(|| ShareError::Refused("it is no longer connected".to_owned()))?;
        Ok(ExecutedOn { org, peer_id: peer_id_string(&self.node) })
    }

    /// Parts there and results back until the executor has signed.
    async fn exchange(
        &mut self,
        state: &mut State,
        reader: &mut (impl AsyncRead + Unpin),
        frames_out: mpsc::Sender<RequesterFrame>,
    ) -> Result<(Vec<Signed>, Verified), ShareError> {
        let silence = silence_max(state.limits());
        let mut is_closed = false;
        loop {
            let mut receiving = pin!(frames::receive::<ExecutorFrame>(reader));
            let frame = loop {
                let is_due = state.parts_ahead() > 0 || is_closed || state.phase() != Phase::Ready;
                tokio::select! {
                    biased;
                    frame = &mut receiving => break frame?.ok_or(ShareError::Gone)?,
                    order = self.orders.recv(), if !is_closed => {
                        let frame = match order {
                            Some(Order::Send(records)) => {
                                let part = state.send(records);
                                RequesterFrame::Part(part.map_err(|error| ShareError::Refused(error.to_string()))?)
                            }
                            Some(Order::Close) => { is_closed = true; RequesterFrame::End }
                            // Whoever gave orders is gone, and so is the reason to go on.
                            None => return Err(ShareError::Gone),
                        };
                        frames_out.send(frame).await.map_err(|_| ShareError::Gone)?;
                    }
                    () = tokio::time::sleep(silence), if is_due => return Err(ShareError::Silent(silence)),
                }
            };
            match frame {
                ExecutorFrame::Results(results) => {
                    let (records, end) = state.handle_results(results)?;
                    let fault = |result: RecordResult| {
                        let is_executors = match &result.end {
                            guildhall_protocol::wire::RecordEnd::Failed(failure) => {
                                state.is_executors(failure)
                            }
                            _ => false,
                        };
                        (result, is_executors)
                    };
                    let records = records.into_iter().map(fault).collect();
                    self.tell(News::Results { records, end }).await?;
                }
                ExecutorFrame::Failed(failure) => {
                    state.handle_failed(failure)?;
                    is_closed = true;
                }
                ExecutorFrame::Finished { jobs } => {
                    let verified = state.handle_finished(&jobs)?;
                    return Ok((jobs, verified));
                }
                ExecutorFrame::Refused(refusal) => return Err(refused(refusal)),
                _ => return Err(ShareError::Order),
            }
        }
    }

    pub(super) async fn tell(&self, news: News) -> Result<(), ShareError> {
        self.news.send((self.id, news)).await.map_err(|_| ShareError::Gone)
    }

    /// Signs the share and keeps the receipt, whether the executor takes the signature or not.
    async fn keep(&self, verified: &Verified, jobs: Vec<Signed>) -> Result<Signed, ShareError> {
        let statement = verified.run_statement(clock::now_ms());
        let run = Signed::new(&statement, &self.app.core().identity().node.secret);
        let receipt = Receipt { jobs, run: run.clone() };
        let mut batch = Batch::new();
        let key = receipt_key(self.job.run, &verified.requester, &receipt);
        batch.put_document(Collection::Receipts, &key, cbor::encode(&receipt));
        let kept = self.app.store.commit(batch).await;
        kept.map_err(|error| ShareError::Here(error.to_string()))?;
        let report = ReceiptReport {
            executor: peer_id_string(&self.node),
            requester: peer_id_string(&verified.requester),
            verified: receipt.verify().is_ok(),
            run: statement,
            jobs: verified.jobs.clone(),
        };
        let _nobody_listens = self.receipts.send(report).await;
        Ok(run)
    }
}

/// Writes frames until none comes, then ends the stream's half.
async fn write_frames(
    writer: &mut (impl AsyncWrite + Unpin),
    mut frames_in: mpsc::Receiver<RequesterFrame>,
) -> Result<(), FrameError> {
    while let Some(frame) = frames_in.recv().await {
        frames::send(writer, &frame).await?;
    }
    // Everything was said; the executor may be gone already.
    let _closed = writer.shutdown().await;
    Ok(())
}

/// How long an executor may be silent while something of it is due: every stage may take its time for a call.
fn silence_max(limits: &[Limits]) -> Duration {
    let calls = limits.iter().map(|limits| Duration::from_millis(limits.scoring_ms.value));
    SILENCE_MAX.max(calls.fold(PART_GRACE, Duration::saturating_add))
}

pub(super) fn refused(refusal: Refusal) -> ShareError {
    match refusal.reason {
        reason @ (Reason::Busy | Reason::Quota | Reason::Draining) => {
            let (why, after_ms) = (refusal.detail, refusal.retry_after_ms);
            ShareError::Busy { reason, why, after_ms, is_near: false }
        }
        Reason::QueueTimeout => ShareError::Waited(refusal.detail),
        _ => ShareError::Refused(refusal.detail),
    }
}

/// The next frame, unless the executor is silent for so long.
async fn within(
    silence: Duration,
    frame: impl Future<Output = Result<Option<ExecutorFrame>, FrameError>>,
) -> Result<ExecutorFrame, ShareError> {
    match tokio::time::timeout(silence, frame).await {
        Ok(frame) => frame?.ok_or(ShareError::Gone),
        Err(_) => Err(ShareError::Silent(silence)),
    }
}

/// Why a share ended without a receipt.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShareError {
    #[error("{0}")]
    Refused(String),
    #[error("{why}")]
    Busy { reason: Reason, why: String, after_ms: Option<u64>, is_near: bool },
    /// The run waited for its slots as long as it may.
    #[error("{0}")]
    Waited(String),
    #[error("it went away")]
    Gone,
    #[error("it was silent for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("it sent a frame out of turn")]
    Order,
    #[error(transparent)]
    Violation(#[from] guildhall_pipeline::share::Violation),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("this node cannot keep the results: {0}")]
    Here(String),
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_bounded() {
        let silent = within(SILENCE_MAX, pending()).await;
        assert!(matches!(silent, Err(ShareError::Silent(SILENCE_MAX))));
        let gone = within(SILENCE_MAX, ready(Ok(None))).await;
        assert!(matches!(gone, Err(ShareError::Gone)));
    }

    #[test]
    fn a_node_where_a_run_waited_in_vain_is_busy_and_has_not_failed() {
        let refusal = Refusal::new(Reason::QueueTimeout, "all 1 slots are taken");
        let ended = Ended::from(refused(refusal));
        assert!(matches!(ended, Ended::Busy { after_ms: Some(WAIT_ANEW_MS), .. }), "{ended:?}");
        let ended = Ended::from(refused(Refusal::new(Reason::Unable, "no such engine")));
        assert!(matches!(ended, Ended::Elsewhere { .. }), "{ended:?}");
    }
}
