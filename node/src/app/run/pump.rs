//! The two directions of a job's stream, and its clock.
//!
//! Nothing here is dropped in the middle of a frame while the stream is still of use: when the job's time is over, the
//! workers are killed and fed no more, but the frame that is being read is read to its end, and what the workers had
//! scored is sent. So the reason and the receipt still reach the requester.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use guildhall_protocol::manifest::FileEntry;
use guildhall_protocol::statement::Signed;
use guildhall_protocol::wire::{ExecutorFrame, JobFailure, RecordFrame, RequesterFrame};
use guildhall_sandbox::Killer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::super::App;
use super::super::frames::{self, FrameError};
use super::stages::{Chain, Produced};

/// Records on their way into or out of the workers. When full, the other side of the stream waits.
const RECORDS_WAITING_MAX: usize = 16;

/// How long the requester may take for its next record while one is awaited. It has all of them from the start, so
/// this is the longest time on the way for one frame; whoever opens a job to send nothing loses the slot then.
pub(super) const STALL_MAX: Duration = Duration::from_secs(60);

/// How long a requester may take to read what was scored when the job's time was over.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Stops the workers of a job when it is dropped, however the job ends.
pub(super) struct Workers(pub(super) Vec<Killer>);

impl Workers {
    fn kill(&self) {
        self.0.iter().for_each(Killer::kill);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Records for the workers, bounded.
pub(super) fn records() -> (mpsc::Sender<RecordFrame>, mpsc::Receiver<RecordFrame>) {
    mpsc::channel(RECORDS_WAITING_MAX)
}

/// Takes the requester's frames until it has signed the run. Records go to the workers, in order, while `to_workers`
/// takes them; those that come after a failure or after the end of the job's time (`over`) are read and dropped, so
/// that the requester is never stuck while sending. Without `to_workers` the requester has no records to send.
pub(super) async fn take_frames(
    reader: &mut (impl AsyncRead + Unpin),
    mut to_workers: Option<mpsc::Sender<RecordFrame>>,
    over: &CancellationToken,
) -> Result<Signed, FrameError> {
    let mut may_come = to_workers.is_some();
    let mut next = 0;
    loop {
        let frame = {
            let mut receiving = pin!(next_frame(reader, may_come));
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
            RequesterFrame::Record(record) if may_come && record.index == next => {
                next += 1;
                if !hand_over(record, to_workers.as_ref(), over).await {
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

async fn next_frame(
    reader: &mut (impl AsyncRead + Unpin),
    is_record_due: bool,
) -> Result<RequesterFrame, FrameError> {
    let received = match is_record_due {
        true => tokio::time::timeout(STALL_MAX, frames::receive(reader))
            .await
            .map_err(|_| timed_out())?,
        // The job's own time bounds this wait.
        false => frames::receive(reader).await,
    };
    received?.ok_or_else(|| FrameError::Io(std::io::ErrorKind::UnexpectedEof.into()))
}

/// Hands a record to the workers; `false` when they take no more.
async fn hand_over(
    record: RecordFrame,
    to_workers: Option<&mpsc::Sender<RecordFrame>>,
    over: &CancellationToken,
) -> bool {
    let Some(to_workers) = to_workers else { return false };
    tokio::select! {
        biased;
        () = over.cancelled() => false,
        sent = to_workers.send(record) => sent.is_ok(),
    }
}

/// Feeds the records of a data package.
pub(super) async fn feed_files(
    app: &Arc<App>,
    files: Vec<FileEntry>,
    to_workers: mpsc::Sender<RecordFrame>,
    over: &CancellationToken,
) -> Result<(), FrameError> {
    let here = |why: String| FrameError::Io(std::io::Error::other(why));
    for (index, file) in (0..).zip(files) {
        let app = Arc::clone(app);
        // Reading checks the hash, which is too long for a thread that serves others.
        let read =
            tokio::task::spawn_blocking(move || app.store.read_blob(&file.hash, file.len_bytes));
        let value = read.await.map_err(|error| here(error.to_string()))?;
        let value = value.map_err(|error| here(error.to_string()))?;
        if !hand_over(RecordFrame { index, value }, Some(&to_workers), over).await {
            debug!(index, "no further record of the data package is fed");
            break;
        }
    }
    Ok(())
}

/// Scores what comes in `inputs`, and sends what comes out, until a stage fails, no input is left, or the job's time is
/// over, which this says with `over`. Returns the stages as they ended, and the failure, which the requester has been told.
pub(super) async fn score(
    chain: Chain,
    inputs: mpsc::Receiver<RecordFrame>,
    over: &CancellationToken,
    writer: &mut (impl AsyncWrite + Unpin),
) -> Result<(Chain, Option<JobFailure>), FrameError> {
    let total_ms =
        chain.stages.iter().map(|stage| stage.limits.total_ms.value).min().unwrap_or_default();
    let workers = Workers(chain.killers());
    let (outputs, from_workers) = mpsc::channel::<Produced>(RECORDS_WAITING_MAX);
    let scoring = tokio::task::spawn_blocking(move || chain.score_all(inputs, &outputs));
    let clock = async {
        tokio::time::sleep(Duration::from_millis(total_ms)).await;
        over.cancel();
        workers.kill();
        tokio::time::sleep(DRAIN_MAX).await;
    };
    let failure = tokio::select! {
        biased;
        failure = answer(writer, from_workers, over) => failure?,
        () = clock => return Err(timed_out()),
    };
    // It has nobody to send to any more.
    let chain = scoring.await.map_err(|error| FrameError::Io(std::io::Error::other(error)))?;
    if failure.is_some() || !over.is_cancelled() {
        return Ok((chain, failure));
    }
    let failure = JobFailure {
        stage: chain.at_stage(),
        record: chain.records(),
        cause: "total_timeout".to_owned(),
        detail: format!("the whole job took longer than {total_ms} ms"),
        stopped_after_ms: Some(total_ms),
    };
    frames::send(writer, &ExecutorFrame::Failed(failure.clone())).await?;
    Ok((chain, Some(failure)))
}

/// Sends what the workers produce until they end.
async fn answer(
    writer: &mut (impl AsyncWrite + Unpin),
    mut from_workers: mpsc::Receiver<Produced>,
    over: &CancellationToken,
) -> Result<Option<JobFailure>, FrameError> {
    let mut failure = None;
    while let Some(produced) = from_workers.recv().await {
        match produced {
            Produced::Record(record) => {
                frames::send(writer, &ExecutorFrame::Record(record)).await?
            }
            // That is how a killed worker looks.
            Produced::Failed(_) if over.is_cancelled() => {}
            // At once, so that the requester stops sending.
            Produced::Failed(failed) => {
                frames::send(writer, &ExecutorFrame::Failed(failed.clone())).await?;
                failure = Some(failed);
            }
        }
    }
    Ok(failure)
}

pub(super) fn timed_out() -> FrameError {
    FrameError::Io(std::io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::receipt::RunStatement;
    use guildhall_protocol::{Hash, RunId, SecretKey};
    use tokio::io::{AsyncWriteExt as _, DuplexStream};

    use super::*;

    fn record(index: u64) -> RequesterFrame {
        RequesterFrame::Record(RecordFrame { index, value: vec![7; 1_000] })
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
        let (to_workers, mut inputs) = records();
        let over = CancellationToken::new();
        let taking = take_frames(&mut ours, Some(to_workers), &over);
        let run = signed();
        let sending = async {
            let mut bytes = Vec::new();
            frames::write(&mut bytes, &record(0)).await.unwrap();
            let (first, rest) = bytes.split_at(500);
            theirs.write_all(first).await.unwrap();
            tokio::task::yield_now().await;
            over.cancel();
            assert!(inputs.recv().await.is_none(), "the workers are fed no more");
            theirs.write_all(rest).await.unwrap();
            let rest = [record(1), RequesterFrame::End, RequesterFrame::Countersigned(run.clone())];
            send_all(&mut theirs, &rest).await;
        };
        let (taken, ()) = tokio::join!(taking, sending);
        assert_eq!(taken.unwrap(), run);
    }

    #[tokio::test]
    async fn records_after_a_failure_are_dropped_and_the_requester_is_never_stuck() {
        // Room for two records, so that a requester that is not read waits at the third.
        let (mut theirs, mut ours) = tokio::io::duplex(2_100);
        let (to_workers, mut inputs) = records();
        let over = CancellationToken::new();
        let taking = take_frames(&mut ours, Some(to_workers), &over);
        let run = signed();
        let sending = async {
            send_all(&mut theirs, &[record(0)]).await;
            assert_eq!(inputs.recv().await.unwrap().index, 0);
            // A stage failed, so the workers' thread ends.
            drop(inputs);
            let more: Vec<_> = (1..=2 * RECORDS_WAITING_MAX as u64).map(record).collect();
            send_all(&mut theirs, &more).await;
            let rest = [RequesterFrame::End, RequesterFrame::Countersigned(run.clone())];
            send_all(&mut theirs, &rest).await;
        };
        let (taken, ()) = tokio::join!(taking, sending);
        assert_eq!(taken.unwrap(), run);
    }

    #[tokio::test(start_paused = true)]
    async fn a_requester_that_sends_nothing_loses_its_job_and_one_that_has_ended_may_wait() {
        let (mut theirs, mut ours) = tokio::io::duplex(64 * 1024);
        let (to_workers, _inputs) = records();
        let over = CancellationToken::new();
        send_all(&mut theirs, &[record(0)]).await;
        let started = tokio::time::Instant::now();
        let taken = take_frames(&mut ours, Some(to_workers), &over).await;
        let timed_out = |error| matches!(error, FrameError::Io(error) if error.kind() == std::io::ErrorKind::TimedOut);
        assert!(taken.is_err_and(timed_out));
        assert_eq!(started.elapsed().as_secs(), STALL_MAX.as_secs());

        let (mut theirs, mut ours) = tokio::io::duplex(64 * 1024);
        let (to_workers, _inputs) = records();
        let taking = async move { take_frames(&mut ours, Some(to_workers), &over).await };
        let run = signed();
        let sending = async {
            send_all(&mut theirs, &[record(0), RequesterFrame::End]).await;
            tokio::time::sleep(STALL_MAX * 10).await;
            send_all(&mut theirs, &[RequesterFrame::Countersigned(run.clone())]).await;
        };
        let (taken, ()) = tokio::join!(taking, sending);
        assert_eq!(taken.unwrap(), run);
    }

    #[tokio::test]
    async fn frames_out_of_order_and_a_stream_that_ends_are_errors() {
        let cases: [&[RequesterFrame]; 5] = [
            &[record(1)],
            &[record(0), record(0)],
            &[RequesterFrame::End, record(0)],
            &[RequesterFrame::End, RequesterFrame::End],
            &[record(0), RequesterFrame::End],
        ];
        for (case, frames) in cases.into_iter().enumerate() {
            let (mut theirs, mut ours) = tokio::io::duplex(64 * 1024);
            let (to_workers, _inputs) = records();
            send_all(&mut theirs, frames).await;
            drop(theirs);
            let over = CancellationToken::new();
            let taken = take_frames(&mut ours, Some(to_workers), &over).await;
            assert!(taken.is_err(), "case {case}");
        }
        let (mut theirs, mut ours) = tokio::io::duplex(64 * 1024);
        send_all(&mut theirs, &[record(0)]).await;
        let taken = take_frames(&mut ours, None, &CancellationToken::new()).await;
        assert!(matches!(taken, Err(FrameError::Order)), "a data package's records are not sent");
    }
}
