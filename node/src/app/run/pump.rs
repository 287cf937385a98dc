//! The two directions of a job's stream, and its clock.
//!
//! Nothing here is dropped in the middle of a frame while the stream is still of use: when the job's time is over, the
//! workers are killed and fed no more, but the frame that is being read is read to its end, and what the workers had
//! scored is sent. So the reason and the receipt still reach the requester.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use guildhall_protocol::limits::VALUE_MAX_BYTES;
use guildhall_protocol::statement::Signed;
use guildhall_protocol::wire::{
    ExecutorFrame, JobFailure, PART_MAX_RECORDS, PartFrame, PartRecords, PortValue, RequesterFrame,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::App;
use super::super::frames::{self, FrameError};
use super::chain::{Chain, Produced};
use super::stage::SharedKiller;

/// Parts that wait for the workers. When full, the other side of the stream waits.
const PARTS_WAITING_MAX: usize = 4;

/// Frames with results that wait for the stream. When full, the workers wait.
const RESULTS_WAITING_MAX: usize = 16;

/// How long the requester may take for its next part when everything it sent is scored; whoever opens a job to send
/// nothing loses the slot then.
pub(super) const STALL_MAX: Duration = Duration::from_secs(60);

/// How long a requester may take to read what was scored when the job's time was over.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Stops the workers of a job when it is dropped, unless the job ended in good order.
struct Workers(Vec<SharedKiller>);

impl Workers {
    fn kill(&self) {
        self.0.iter().for_each(SharedKiller::kill);
    }

    /// They have ended what they had to do, and may be used again.
    fn release(&mut self) {
        self.0.clear();
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where parts go on their way to the workers, and how many are not over yet.
pub(super) struct ToWorkers {
    parts: mpsc::Sender<PartFrame>,
    unfinished: Arc<AtomicUsize>,
}

/// Where parts come from, for the workers.
pub(super) struct Parts {
    parts: mpsc::Receiver<PartFrame>,
    unfinished: Arc<AtomicUsize>,
}

/// A bounded way to the workers.
pub(super) fn parts() -> (ToWorkers, Parts) {
    let (sender, receiver) = mpsc::channel(PARTS_WAITING_MAX);
    let unfinished = Arc::new(AtomicUsize::new(0));
    let to_workers = ToWorkers { parts: sender, unfinished: Arc::clone(&unfinished) };
    (to_workers, Parts { parts: receiver, unfinished })
}

/// Takes the requester's frames until it has signed the job. Parts go to the workers, in order, while they take them;
/// those that come after a failure or after the end of the job's time (`over`) are read and dropped, so that the
/// requester is never stuck while sending. `records` says how many the job's data package has, if its parts name
/// positions in one.
pub(super) async fn take_frames(
    reader: &mut (impl AsyncRead + Unpin),
    to_workers: ToWorkers,
    records: Option<u64>,
    over: &CancellationToken,
) -> Result<Signed, FrameError> {
    let unfinished = Arc::clone(&to_workers.unfinished);
    let mut to_workers = Some(to_workers);
    let mut may_come = true;
    let mut next = 0;
    loop {
        let frame = {
            let mut receiving = pin!(next_frame(reader, may_come.then_some(&*unfinished)));
            tokio::select! {
                biased;
                () = over.cancelled(), if to_workers.is_some() => {
                    to_workers = None;
                    receiving.await
                }
                frame = &mut receiving => frame,
            }
        };
        match frame? {
            RequesterFrame::Part(part)
                if may_come && part.part == next && is_sound(&part.records, records) =>
            {
                next += 1;
                if !hand_over(part, to_workers.as_ref(), over).await {
                    to_workers = None;
                }
            }
            RequesterFrame::End if may_come => {
                may_come = false;
                to_workers = None;
            }
            RequesterFrame::Countersigned(run) => return Ok(run),
            _ => return Err(FrameError::Order),
        }
    }
}

/// Whether these records can be scored: ascending, not too many, of the kind that the job has, none too long.
fn is_sound(part: &PartRecords, in_package: Option<u64>) -> bool {
    let positions = part.positions();
    let is_ascending = positions.windows(2).all(|pair| pair.first() < pair.last());
    let fits = match (part, in_package) {
        (PartRecords::Values(records), None) => {
            records.iter().all(|one| PortValue::len_bytes(&one.values) <= VALUE_MAX_BYTES)
        }
        (PartRecords::Positions(_), Some(count)) => {
            positions.last().is_none_or(|last| *last < count)
        }
        _ => false,
    };
    !positions.is_empty() && positions.len() <= PART_MAX_RECORDS && is_ascending && fits
}

/// The next frame. With `unfinished`, a part is due whenever there is none.
async fn next_frame(
    reader: &mut (impl AsyncRead + Unpin),
    unfinished: Option<&AtomicUsize>,
) -> Result<RequesterFrame, FrameError> {
    let mut receiving = pin!(frames::receive(reader));
    let received = loop {
        match tokio::time::timeout(STALL_MAX, &mut receiving).await {
            Ok(received) => break received?,
            // The job's own time bounds these waits.
            Err(_) if unfinished.is_none_or(|count| count.load(Ordering::Relaxed) > 0) => {}
            Err(_) => return Err(timed_out()),
        }
    };
    received.ok_or_else(|| FrameError::Io(std::io::ErrorKind::UnexpectedEof.into()))
}

/// Hands a part to the workers; `false` when they take no more.
async fn hand_over(
    part: PartFrame,
    to_workers: Option<&ToWorkers>,
    over: &CancellationToken,
) -> bool {
    let Some(ToWorkers { parts, unfinished }) = to_workers else { return false };
    unfinished.fetch_add(1, Ordering::Relaxed);
    tokio::select! {
        biased;
        () = over.cancelled() => false,
        sent = parts.send(part) => sent.is_ok(),
    }
}

/// Scores the parts that come, and sends what comes out, until the job cannot go on, no part is left, or the job's time
/// is over, which this says with `over`. Returns the stages as they ended, and the failure, which the requester has been
/// told.
pub(super) async fn score(
    app: &Arc<App>,
    chain: Chain,
    parts: Parts,
    over: &CancellationToken,
    writer: &mut (impl AsyncWrite + Unpin),
) -> Result<(Chain, Option<JobFailure>), FrameError> {
    let total_ms =
        chain.stages.iter().map(|stage| stage.limits.total_ms.value).min().unwrap_or_default();
    let mut workers = Workers(chain.killers());
    let (outputs, from_workers) = mpsc::channel::<Produced>(RESULTS_WAITING_MAX);
    let Parts { parts, unfinished } = parts;
    let (theirs, ended) = (Arc::clone(app), over.clone());
    let scoring =
        tokio::task::spawn_blocking(move || chain.score_all(&theirs, parts, &outputs, &ended));
    let clock = async {
        tokio::time::sleep(Duration::from_millis(total_ms)).await;
        over.cancel();
        workers.kill();
        tokio::time::sleep(DRAIN_MAX).await;
    };
    let (failure, last) = {
        let mut clock = pin!(clock);
        tokio::select! {
            biased;
            answered = answer(writer, from_workers, &unfinished) => answered?,
            () = &mut clock => return Err(timed_out()),
        }
    };
    // It has nobody to send to any more.
    let chain = scoring.await.map_err(|error| FrameError::Io(std::io::Error::other(error)))?;
    workers.release();
    if failure.is_some() || !over.is_cancelled() {
        return Ok((chain, failure));
    }
    let failure = JobFailure {
        stage: 0,
        record: last.map_or(0, |last| last.saturating_add(1)),
        cause: "total_timeout".to_owned(),
        detail: format!("the whole job took longer than {total_ms} ms"),
        stopped_after_ms: Some(total_ms),
    };
    frames::send(writer, &ExecutorFrame::Failed(failure.clone())).await?;
    Ok((chain, Some(failure)))
}

/// Sends what the workers produce until they end. Returns the failure that ended the job, if one did, and the last
/// record that was sent.
async fn answer(
    writer: &mut (impl AsyncWrite + Unpin),
    mut from_workers: mpsc::Receiver<Produced>,
    unfinished: &AtomicUsize,
) -> Result<(Option<JobFailure>, Option<u64>), FrameError> {
    let (mut failure, mut last) = (None, None);
    while let Some(produced) = from_workers.recv().await {
        match produced {
            Produced::Results(results) => {
                last = results.records.last().map(|record| record.index).or(last);
                let is_over = results.end.is_some();
                frames::send(writer, &ExecutorFrame::Results(results)).await?;
                if is_over {
                    unfinished.fetch_sub(1, Ordering::Relaxed);
                }
            }
            // At once, so that the requester stops sending.
            Produced::Failed(failed) => {
                frames::send(writer, &ExecutorFrame::Failed(failed.clone())).await?;
                failure = Some(failed);
            }
        }
    }
    Ok((failure, last))
}

pub(super) fn timed_out() -> FrameError {
    FrameError::Io(std::io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::receipt::RunStatement;
    use guildhall_protocol::wire::RecordFrame;
    use guildhall_protocol::{Hash, RunId, SecretKey};
    use tokio::io::{AsyncWriteExt as _, DuplexStream};

    use super::*;

    /// A part of one record.
    fn part(number: u64) -> RequesterFrame {
        let values = vec![PortValue::new("in", vec![7; 1_000])];
        let records = PartRecords::Values(vec![RecordFrame { index: number, values }]);
        RequesterFrame::Part(PartFrame { part: number, records })
    }

    fn signed() -> Signed {
        let secret = SecretKey::from_seed(&[1; 32]);
        let requester = secret.public();
        let run = RunId(Hash::of(b"run"));
        Signed::new(&RunStatement { run, requester, jobs: Vec::new(), time_ms: 0 }, &secret)
    }

    async fn send_all(stream: &mut DuplexStream, items: &[RequesterFrame]) {
        for item in items {
            frames::send(stream, item).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_job_whose_time_is_over_in_the_middle_of_a_record_stays_in_frame() {
        let (mut theirs, mut ours) = tokio::io::duplex(64 * 1024);
        let (to_workers, mut inputs) = parts();
        let over = CancellationToken::new();
        let taking = take_frames(&mut ours, to_workers, None, &over);
        let run = signed();
        let sending = async {
            let mut bytes = Vec::new();
            frames::write(&mut bytes, &part(0)).await.unwrap();
            let (first, rest) = bytes.split_at(500);
            theirs.write_all(first).await.unwrap();
            tokio::task::yield_now().await;
            over.cancel();
            assert!(inputs.parts.recv().await.is_none(), "the workers are fed no more");
            theirs.write_all(rest).await.unwrap();
            let rest = [part(1), RequesterFrame::End, RequesterFrame::Countersigned(run.clone())];
            send_all(&mut theirs, &rest).await;
        };
        let (taken, ()) = tokio::join!(taking, sending);
        assert_eq!(taken.unwrap(), run);
    }

    #[tokio::test]
    async fn records_after_a_failure_are_dropped_and_the_requester_is_never_stuck() {
        // Room for two records, so that a requester that is not read waits at the third.
        let (mut theirs, mut ours) = tokio::io::duplex(2_100);
        let (to_workers, mut inputs) = parts();
        let over = CancellationToken::new();
        let taking = take_frames(&mut ours, to_workers, None, &over);
        let run = signed();
        let sending = async {
            send_all(&mut theirs, &[part(0)]).await;
            assert_eq!(inputs.parts.recv().await.unwrap().part, 0);
            // A stage failed, so the workers' thread ends.
            drop(inputs);
            let more: Vec<_> = (1..=2 * PARTS_WAITING_MAX as u64).map(part).collect();
            send_all(&mut theirs, &more).await;
            let rest = [RequesterFrame::End, RequesterFrame::Countersigned(run.clone())];
            send_all(&mut theirs, &rest).await;
        };
        let (taken, ()) = tokio::join!(taking, sending);
        assert_eq!(taken.unwrap(), run);
    }

    #[tokio::test(start_paused = true)]
    async fn a_requester_that_sends_nothing_loses_its_job_and_one_that_has_ended_may_wait() {
        let (_theirs, mut ours) = tokio::io::duplex(64 * 1024);
        let (to_workers, _inputs) = parts();
        let over = CancellationToken::new();
        let started = tokio::time::Instant::now();
        let taken = take_frames(&mut ours, to_workers, None, &over).await;
        let timed_out = |error| matches!(error, FrameError::Io(error) if error.kind() == std::io::ErrorKind::TimedOut);
        assert!(taken.is_err_and(timed_out));
        assert_eq!(started.elapsed().as_secs(), STALL_MAX.as_secs());

        let (mut theirs, mut ours) = tokio::io::duplex(64 * 1024);
        let (to_workers, _inputs) = parts();
        let taking = async move { take_frames(&mut ours, to_workers, None, &over).await };
        let run = signed();
        let sending = async {
            send_all(&mut theirs, &[part(0), RequesterFrame::End]).await;
            tokio::time::sleep(STALL_MAX * 10).await;
            send_all(&mut theirs, &[RequesterFrame::Countersigned(run.clone())]).await;
        };
        let (taken, ()) = tokio::join!(taking, sending);
        assert_eq!(taken.unwrap(), run);
    }

    #[tokio::test]
    async fn frames_out_of_order_and_a_stream_that_ends_are_errors() {
        let cases: [&[RequesterFrame]; 5] = [
            &[part(1)],
            &[part(0), part(0)],
            &[RequesterFrame::End, part(0)],
            &[RequesterFrame::End, RequesterFrame::End],
            &[part(0), RequesterFrame::End],
        ];
        for (case, frames) in cases.into_iter().enumerate() {
            let (mut theirs, mut ours) = tokio::io::duplex(64 * 1024);
            let (to_workers, _inputs) = parts();
            send_all(&mut theirs, frames).await;
            drop(theirs);
            let over = CancellationToken::new();
            let taken = take_frames(&mut ours, to_workers, None, &over).await;
            assert!(taken.is_err(), "case {case}");
        }
        for in_package in [Some(5), None] {
            let (mut theirs, mut ours) = tokio::io::duplex(64 * 1024);
            let positions = PartRecords::Positions(vec![3, 5]);
            let frame = RequesterFrame::Part(PartFrame { part: 0, records: positions });
            send_all(&mut theirs, &[frame]).await;
            let (to_workers, _inputs) = parts();
            let over = CancellationToken::new();
            let taken = take_frames(&mut ours, to_workers, in_package, &over).await;
            assert!(matches!(taken, Err(FrameError::Order)), "the package has {in_package:?}");
        }
    }
}
