//! One attempt at a run on one node: lease, stream, records there, records back, signatures.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use guildhall_overlay::{StreamKind, peer_id_string};
use guildhall_pipeline::lease::OPEN_GRACE_MS;
use guildhall_pipeline::run::{Accepted, Ending, State, Verified};
use guildhall_protocol::api::{ExecutedOn, ReceiptReport, RunFailure};
use guildhall_protocol::contract::Limits;
use guildhall_protocol::receipt::Receipt;
use guildhall_protocol::statement::Signed;
use guildhall_protocol::wire::{
    ExecutorFrame, JobFailure, JobInput, JobSpec, Lease, RecordFrame, Request, RequesterFrame,
    Response,
};
use guildhall_protocol::{PublicKey, cbor};
use guildhall_store::{Batch, Collection};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tracing::{debug, warn};

use super::super::App;
use super::super::frames::{self, FrameError};
use super::Entry;
use super::input::Input;
use super::outputs::Outputs;
use super::request::{Prepared, failure};
use super::{receipt_key, shorten};
use crate::clock;

/// How long an executor may take until it is ready: it fetches packages and compiles them. As long as its lease gives it.
const READY_MAX: Duration = Duration::from_millis(OPEN_GRACE_MS);

/// How long an executor may stay silent once it is ready, unless one record may take longer.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// What one record may take on its way beyond what the stages may score, and a whole run beyond its total.
const RUN_GRACE: Duration = Duration::from_secs(60);

/// How long an executor that has finished may take to read what was still being sent, and the countersignature.
const GOODBYE_MAX: Duration = Duration::from_secs(10);

/// Bytes on their way through memory when a run is executed on the node that asked for it.
const PIPE_BYTES: usize = 256 * 1024;

/// One attempt.
pub(super) struct Attempt<'a> {
    pub(super) app: &'a Arc<App>,
    pub(super) prepared: &'a Prepared,
    pub(super) entry: &'a Entry,
    pub(super) node: PublicKey,
}

/// How an attempt ended.
pub(super) enum Ended {
    /// Every record came out, and the receipt holds.
    Completed,
    /// The run itself is at fault; another node would not help.
    Failed(RunFailure),
    /// This node could not do it; another one may. With the stage if one failed, by the node's own trouble.
    Elsewhere(RunFailure),
}

impl Attempt<'_> {
    pub(super) async fn run(&self, state: &mut State, outputs: &mut Outputs) -> Ended {
        match self.try_run(state, outputs).await {
            Ok(ended) => ended,
            // Another node would not help against trouble on this one.
            Err(AttemptError::Here(why)) => Ended::Failed(failure(
                "storage",
                format!("this node cannot keep the results: {why}"),
            )),
            Err(why) => {
                state.give_up();
                // It may quote the other node.
                Ended::Elsewhere(failure("no_executor", shorten(&why.to_string())))
            }
        }
    }

    async fn try_run(
        &self,
        state: &mut State,
        outputs: &mut Outputs,
    ) -> Result<Ended, AttemptError> {
        let lease = self.lease().await?;
        let org = {
            let core = self.app.core();
            let me = core.identity();
            match self.node == me.node.public() {
                true => Some(me.org.clone()),
                false => core.authority(&self.node).map(|authority| authority.org.clone()),
            }
        };
        let org =
            org.ok_or_else(|| AttemptError::Refused("it is no longer connected".to_owned()))?;
        state.start_attempt(self.node).map_err(|error| AttemptError::Refused(error.to_string()))?;
        let on = ExecutedOn { org, peer_id: peer_id_string(&self.node) };
        self.entry.update(|report| report.executed_on = Some(on));
        if self.node == self.app.overlay.me() {
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            let (app, me) = (Arc::clone(self.app), self.node);
            self.app.tasks.spawn("own-job", async move {
                if let Err(error) = app.execute(me, theirs).await {
                    debug!(%error, "a job of our own ended early");
                }
            });
            self.talk(lease, state, outputs, ours).await
        } else {
            let stream = self.app.overlay.open_stream(self.node, StreamKind::Job).await;
            let stream = stream.map_err(|error| AttemptError::Refused(error.to_string()))?;
            self.talk(lease, state, outputs, stream).await
        }
    }

    /// Asks the node for its hardware.
    async fn lease(&self) -> Result<Lease, AttemptError> {
        let offer = self.prepared.plan.offer_request(self.prepared.run);
        if self.node == self.app.overlay.me() {
            let granted = self.app.core().grant_own(clock::now_ms(), &offer);
            return granted.map_err(|refusal| AttemptError::Refused(refusal.detail));
        }
        match self.app.request(self.node, &Request::Offer(Box::new(offer))).await {
            Ok(Response::Lease(lease)) => Ok(lease),
            Ok(Response::Refused(refusal)) => Err(AttemptError::Refused(refusal.detail)),
            Ok(_) => Err(AttemptError::Refused("it answered something else".to_owned())),
            Err(why) => Err(AttemptError::Refused(why)),
        }
    }

    async fn talk(
        &self,
        lease: Lease,
        state: &mut State,
        outputs: &mut Outputs,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    ) -> Result<Ended, AttemptError> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let prepared = self.prepared;
        let spec = JobSpec {
            lease: lease.lease,
            run: prepared.run,
            nonce: prepared.nonce,
            stages: prepared.plan.stages.clone(),
            limits: prepared.limits,
            input: match &prepared.input {
                Input::Package { package, .. } => JobInput::Package(*package),
                Input::Records(_) => JobInput::Stream,
            },
            holders: prepared.holders.clone(),
        };
        let asking = async {
            frames::send(&mut writer, &RequesterFrame::Start(Box::new(spec))).await?;
            frames::receive(&mut reader).await
        };
        let limits = match within(READY_MAX, asking).await? {
            ExecutorFrame::Ready { limits } => limits,
            ExecutorFrame::Refused(refusal) => return Err(AttemptError::Refused(refusal.detail)),
            _ => return Err(AttemptError::Order),
        };
        state.handle_ready(limits.clone())?;
        if let Input::Records(records) = &prepared.input {
            for (index, (_, value)) in (0..).zip(records) {
                state
                    .handle_input(index, value)
                    .map_err(|error| AttemptError::Refused(error.to_string()))?;
            }
            state.handle_input_end();
        }
        let total = times(&limits, |limits| limits.total_ms.value).min().unwrap_or_default();
        let exchanged = self.exchange(&limits, state, outputs, (&mut reader, &mut writer));
        let exchanged = tokio::time::timeout(total.saturating_add(RUN_GRACE), exchanged).await;
        let (jobs, verified, is_in_frame) = exchanged.map_err(|_| AttemptError::Late(total))??;
        self.conclude(&limits, verified, jobs, outputs, is_in_frame.then_some(&mut writer)).await
    }

    /// Records there and back until the executor has signed. Also says whether the stream there is between two frames,
    /// so that more can be sent.
    async fn exchange(
        &self,
        limits: &[Limits],
        state: &mut State,
        outputs: &mut Outputs,
        (reader, writer): (&mut (impl AsyncRead + Unpin), &mut (impl AsyncWrite + Unpin)),
    ) -> Result<(Vec<Signed>, Verified, bool), AttemptError> {
        // A record passes every stage before the next one comes out.
        let scoring = times(limits, |limits| limits.scoring_ms.value);
        let scoring = scoring.fold(RUN_GRACE, Duration::saturating_add);
        let silence = SILENCE_MAX.max(scoring);
        let stop = AtomicBool::new(false);
        let sending = self.send_records(writer, &stop);
        let receiving = self.receive(state, outputs, reader, silence, &stop);
        let ((jobs, verified), is_in_frame) = until_received(sending, receiving).await?;
        Ok((jobs, verified, is_in_frame))
    }

    async fn send_records(
        &self,
        writer: &mut (impl AsyncWrite + Unpin),
        stop: &AtomicBool,
    ) -> Result<(), FrameError> {
        let Input::Records(records) = &self.prepared.input else { return Ok(()) };
        for (index, (_, value)) in (0..).zip(records) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let record = RecordFrame { index, value: value.clone() };
            frames::send(writer, &RequesterFrame::Record(record)).await?;
        }
        frames::send(writer, &RequesterFrame::End).await
    }

    /// Takes outputs until the executor has signed. Tells `stop` when no record needs to be sent any more.
    async fn receive(
        &self,
        state: &mut State,
        outputs: &mut Outputs,
        reader: &mut (impl AsyncRead + Unpin),
        silence: Duration,
        stop: &AtomicBool,
    ) -> Result<(Vec<Signed>, Verified), AttemptError> {
        loop {
            match within(silence, frames::receive(reader)).await? {
                ExecutorFrame::Record(record) => {
                    if state.handle_record(record.index, &record.value)? == Accepted::Deliver {
                        outputs
                            .deliver(record.index, &record.value)
                            .map_err(|error| AttemptError::Here(error.to_string()))?;
                        let records = state.delivered();
                        self.entry.update(|report| report.records = records);
                    }
                }
                ExecutorFrame::Failed(failure) => {
                    state.handle_failed(failure)?;
                    stop.store(true, Ordering::Relaxed);
                }
                ExecutorFrame::Finished { jobs } => {
                    stop.store(true, Ordering::Relaxed);
                    let verified = state.handle_finished(&jobs)?;
                    return Ok((jobs, verified));
                }
                ExecutorFrame::Refused(refusal) => {
                    return Err(AttemptError::Refused(refusal.detail));
                }
                _ => return Err(AttemptError::Order),
            }
        }
    }

    /// Signs the run, sends the signature, keeps the receipt and says how it ended.
    async fn conclude(
        &self,
        limits: &[Limits],
        verified: Verified,
        jobs: Vec<Signed>,
        outputs: &Outputs,
        writer: Option<&mut (impl AsyncWrite + Unpin)>,
    ) -> Result<Ended, AttemptError> {
        let statement = verified.run_statement(clock::now_ms());
        let run = Signed::new(&statement, &self.app.core().identity().node.secret);
        let receipt = Receipt { jobs, run: run.clone() };
        let mut batch = Batch::new();
        batch.put_document(
            Collection::Receipts,
            &receipt_key(self.prepared.run, &verified.requester),
            cbor::encode(&receipt),
        );
        let kept = self.app.store.commit(batch).await;
        kept.map_err(|error| AttemptError::Here(error.to_string()))?;
        self.say_goodbye(run, writer).await;
        let report = ReceiptReport {
            executor: peer_id_string(&self.node),
            requester: peer_id_string(&verified.requester),
            verified: receipt.verify().is_ok(),
            run: statement,
            jobs: verified.jobs,
        };
        let accuracy = outputs.accuracy();
        self.entry.update(|run| {
            run.receipts.push(report);
            run.accuracy = accuracy;
        });
        Ok(match verified.ending {
            Ending::Completed => Ended::Completed,
            Ending::Failed(failure) => Ended::Failed(self.explain(limits, &failure)),
            Ending::Elsewhere(failure) => Ended::Elsewhere(self.explain(limits, &failure)),
        })
    }

    /// Sends the run's signature, if the stream can take it. The receipt is kept here whether it arrives or not.
    async fn say_goodbye(&self, run: Signed, writer: Option<&mut (impl AsyncWrite + Unpin)>) {
        let said = async {
            let writer = writer.ok_or(AttemptError::Gone)?;
            frames::send(writer, &RequesterFrame::Countersigned(run)).await?;
            // Everything was said; the executor may be gone already.
            let _closed = writer.shutdown().await;
            Ok::<_, AttemptError>(())
        };
        let said = tokio::time::timeout(GOODBYE_MAX, said).await;
        if let Err(error) = said.unwrap_or(Err(AttemptError::Silent(GOODBYE_MAX))) {
            warn!(%error, run = %self.prepared.run, "the executor did not get the countersignature");
        }
    }

    fn explain(&self, limits: &[Limits], failure: &JobFailure) -> RunFailure {
        let stage = usize::try_from(failure.stage).unwrap_or(usize::MAX);
        let names = &self.prepared.plan.names;
        let name = names.get(stage).map_or("?", String::as_str);
        let limits = limits.get(stage);
        let limit_ms = match failure.cause.as_str() {
            "timeout" => limits.map(|limits| limits.scoring_ms.value),
            "total_timeout" => limits.map(|limits| limits.total_ms.value),
            _ => None,
        };
        RunFailure {
            message: shorten(&format!(
                "stage `{name}`, record {}: {}",
                failure.record, failure.detail
            )),
            cause: shorten(&failure.cause),
            stage: Some(failure.stage),
            record: Some(failure.record),
            limit_ms,
            stopped_after_ms: failure.stopped_after_ms,
        }
    }
}

/// Sends and receives side by side until everything is received, and says whether everything was sent then. An error
/// while receiving ends both at once: what is still being sent is of no use, and perhaps nobody reads it. A send that
/// breaks shows on the other half too, with the executor's reason if it gave one.
async fn until_received<T>(
    sending: impl Future<Output = Result<(), FrameError>>,
    receiving: impl Future<Output = Result<T, AttemptError>>,
) -> Result<(T, bool), AttemptError> {
    let (mut sending, mut receiving) = (pin!(sending), pin!(receiving));
    let mut sent = None;
    let received = loop {
        tokio::select! {
            biased;
            received = &mut receiving => break received?,
            done = &mut sending, if sent.is_none() => sent = Some(done.is_ok()),
        }
    };
    let is_sent = match sent {
        Some(is_ok) => is_ok,
        None => matches!(tokio::time::timeout(GOODBYE_MAX, sending).await, Ok(Ok(()))),
    };
    Ok((received, is_sent))
}

/// The next frame, unless the executor is silent for so long.
async fn within(
    silence: Duration,
    frame: impl Future<Output = Result<Option<ExecutorFrame>, FrameError>>,
) -> Result<ExecutorFrame, AttemptError> {
    match tokio::time::timeout(silence, frame).await {
        Ok(frame) => frame?.ok_or(AttemptError::Gone),
        Err(_) => Err(AttemptError::Silent(silence)),
    }
}

/// One limit of each stage, as a time.
fn times(limits: &[Limits], of: impl Fn(&Limits) -> u64) -> impl Iterator<Item = Duration> {
    limits.iter().map(move |limits| Duration::from_millis(of(limits)))
}

/// Why an attempt ended without a receipt.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("{0}")]
    Refused(String),
    #[error("it went away")]
    Gone,
    #[error("it was silent for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("it did not end the run within {} s", 
        .0.saturating_add(RUN_GRACE).as_secs())]
    Late(Duration),
    #[error("it sent a frame out of turn")]
    Order,
    #[error(transparent)]
    Violation(#[from] guildhall_pipeline::run::Violation),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("this node cannot keep the results: {0}")]
    Here(String),
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_executor_that_reads_nothing_cannot_hold_the_requester_up() {
        let started = Instant::now();
        let broken = until_received::<()>(pending(), ready(Err(AttemptError::Gone))).await;
        assert!(matches!(broken, Err(AttemptError::Gone)));
        assert!(started.elapsed().is_zero(), "a receive that breaks ends both");
        let (_, is_sent) = until_received(pending(), ready(Ok(()))).await.unwrap();
        assert!(!is_sent, "nothing may follow a half-sent frame");
        assert_eq!(started.elapsed(), GOODBYE_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_still_being_sent_at_the_end_is_sent_and_a_broken_send_is_told_by_the_other_half()
     {
        let slow = async {
            sleep(GOODBYE_MAX / 2).await;
            Ok(())
        };
        assert!(until_received(slow, ready(Ok(()))).await.unwrap().1);
        let late = async {
            sleep(GOODBYE_MAX * 9).await;
            Ok(7)
        };
        let (received, is_sent) =
            until_received(ready(Err(FrameError::Order)), late).await.unwrap();
        assert_eq!((received, is_sent), (7, false));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_bounded() {
        let silent = within(SILENCE_MAX, pending()).await;
        assert!(matches!(silent, Err(AttemptError::Silent(SILENCE_MAX))));
        let gone = within(SILENCE_MAX, ready(Ok(None))).await;
        assert!(matches!(gone, Err(AttemptError::Gone)));
    }
}
