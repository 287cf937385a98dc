//! Executing a job: packages fetched, a worker for each stage, records through them one by one, statements signed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use guildhall_overlay::{Stream, peer_id_string};
use guildhall_protocol::contract::{LimitSet, Limits, NodeLimits};
use guildhall_protocol::limits::JOB_ERROR_MAX_BYTES;
use guildhall_protocol::manifest::{FileEntry, Manifest};
use guildhall_protocol::receipt::{JobStatement, Outcome, Receipt, RunStatement};
use guildhall_protocol::statement::Signed;
use guildhall_protocol::wire::{
    ExecutorFrame, JobFailure, JobInput, JobSpec, JobStage, Reason, RecordFrame, Refusal,
    RequesterFrame,
};
use guildhall_protocol::{Hash, PublicKey, cbor};
use guildhall_sandbox::PackageFiles;
use guildhall_store::{Batch, Collection};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::super::App;
use super::super::frames::{self, FrameError};
use super::input::record_files;
use super::stages::{Chain, Produced, StageRun};
use crate::clock;

/// How long the holder of a lease may take to say what it wants on the stream it opened.
const START_MAX: Duration = Duration::from_secs(10);

/// How long the requester may take to sign the run after the last frame.
const COUNTERSIGN_MAX: Duration = Duration::from_secs(10);

/// Records on their way into or out of the workers. When full, the other side of the stream waits.
const RECORDS_WAITING_MAX: usize = 16;

impl App {
    /// Executes a job for a member's node, on a stream that it opened.
    pub(in crate::app) fn serve_job(self: &Arc<Self>, peer: PublicKey, stream: Stream) {
        let app = Arc::clone(self);
        self.tasks.spawn("job", async move {
            if let Err(error) = app.execute(peer, stream).await {
                debug!(%error, peer = peer_id_string(&peer), "a job's stream ended early");
            }
        });
    }

    /// Executes a job on any stream. The job ends when the stream does.
    pub(super) async fn execute(
        self: &Arc<Self>,
        peer: PublicKey,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    ) -> Result<(), FrameError> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let first = tokio::time::timeout(START_MAX, frames::receive::<RequesterFrame>(&mut reader));
        let Ok(Ok(Some(RequesterFrame::Start(spec)))) = first.await else {
            let refusal = Refusal::new(Reason::Invalid, "a job begins with a `start` frame, at once");
            return frames::send(&mut writer, &ExecutorFrame::Refused(refusal)).await;
        };
        let opened = self.core().open_lease(clock::now_ms(), &spec, peer);
        if let Err(refusal) = opened {
            return frames::send(&mut writer, &ExecutorFrame::Refused(refusal)).await;
        }
        self.jobs.fetch_add(1, Ordering::Relaxed);
        let done = tokio::select! {
            biased;
            () = self.tasks.token().cancelled() => Ok(()),
            done = self.execute_leased(peer, &spec, &mut reader, &mut writer) => done,
        };
        self.jobs.fetch_sub(1, Ordering::Relaxed);
        self.core().close_lease(&spec.lease);
        done
    }

    async fn execute_leased<R, W>(
        self: &Arc<Self>,
        peer: PublicKey,
        spec: &JobSpec,
        reader: &mut R,
        writer: &mut W,
    ) -> Result<(), FrameError>
    where
        R: AsyncRead + Send + Unpin,
        W: AsyncWrite + Send + Unpin,
    {
        let chain = match self.prepare(spec).await {
            Ok(chain) => chain,
            Err(detail) => {
                info!(run = %spec.run, detail, "a job is not started");
                let refusal = Refusal::new(Reason::Unable, shorten(&detail));
                return frames::send(writer, &ExecutorFrame::Refused(refusal)).await;
            }
        };
        let limits: Vec<Limits> = chain.stages.iter().map(|stage| stage.limits).collect();
        let total_ms = limits.iter().map(|limits| limits.total_ms.value).min().unwrap_or_default();
        let isolation = chain.isolation();
        frames::send(writer, &ExecutorFrame::Ready { limits }).await?;

        let inputs = match spec.input {
            JobInput::Package(package) => {
                let manifest = self.manifest(package).ok().flatten();
                let files = manifest.and_then(|manifest| record_files(&manifest).ok());
                Some(files.unwrap_or_default())
            }
            _ => None,
        };
        let (chain, failure) = self.pump(chain, inputs, total_ms, reader, writer).await?;
        if let Some(failure) = &failure {
            info!(run = %spec.run, stage = failure.stage, cause = failure.cause, "a stage failed");
        }
        let jobs = self.sign_jobs(peer, spec, &chain, failure.as_ref(), &isolation);
        frames::send(writer, &ExecutorFrame::Finished { jobs: jobs.clone() }).await?;
        self.await_countersignature(peer, spec, jobs, reader).await;
        // The requester may have hung up already; everything was said.
        let _closed = writer.shutdown().await;
        Ok(())
    }

    /// Gets every package and starts a worker for each stage.
    async fn prepare(self: &Arc<Self>, spec: &JobSpec) -> Result<Chain, String> {
        if let JobInput::Package(package) = spec.input {
            let manifest = self.complete_package(package, &spec.holders).await;
            record_files(&manifest.map_err(|error| error.to_string())?)?;
        }
        let mut manifests = Vec::new();
        for stage in &spec.stages {
            let manifest = self.complete_package(stage.package, &spec.holders).await;
            manifests.push(manifest.map_err(|error| error.to_string())?);
        }
        let node = self.core().settings().offer.as_ref().map_or_else(NodeLimits::default, |o| o.limits);
        let (stages, nonce, requested) = (spec.stages.clone(), spec.nonce, spec.limits);
        let app = Arc::clone(self);
        let started = tokio::task::spawn_blocking(move || {
            let stages = stages.iter().zip(&manifests);
            let started = stages.map(|(stage, manifest)| {
                app.start_stage(stage, manifest, node, requested, &nonce)
            });
            started.collect::<Result<Vec<_>, _>>()
        });
        let stages = started.await.map_err(|error| error.to_string())??;
        Ok(Chain { stages })
    }

    fn start_stage(
        &self,
        stage: &JobStage,
        manifest: &Manifest,
        node: NodeLimits,
        requested: LimitSet,
        nonce: &Hash,
    ) -> Result<StageRun, String> {
        let contract = manifest.contract.as_ref().map(LimitSet::from).unwrap_or_default();
        let limits = Limits::smallest(tighter(contract, stage.listing), node, requested);
        let open = |file: &FileEntry| self.open_file(file);
        let files = PackageFiles { manifest, open: &open };
        // The seed follows from the run, so that a second execution of it draws the same numbers.
        let seed = nonce.as_bytes().iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte));
        let worker = self
            .spawner
            .start(&files, &limits, &stage.config, seed)
            .map_err(|failure| format!("{}: {failure}", stage.package))?;
        StageRun::new(stage.package, manifest, limits, worker, nonce)
    }

    /// Moves records from the input through the stages to the requester until one fails or none is left.
    async fn pump<R, W>(
        self: &Arc<Self>,
        chain: Chain,
        files: Option<Vec<FileEntry>>,
        total_ms: u64,
        reader: &mut R,
        writer: &mut W,
    ) -> Result<(Chain, Option<JobFailure>), FrameError>
    where
        R: AsyncRead + Send + Unpin,
        W: AsyncWrite + Send + Unpin,
    {
        let (to_workers, inputs) = mpsc::channel::<RecordFrame>(RECORDS_WAITING_MAX);
        let (outputs, mut from_workers) = mpsc::channel::<Produced>(RECORDS_WAITING_MAX);
        let killers = chain.killers();
        let scoring = tokio::task::spawn_blocking(move || chain.score_all(inputs, &outputs));
        let feeding = async {
            match files {
                Some(files) => self.feed_files(&files, to_workers).await,
                None => feed_stream(reader, to_workers).await,
            }
        };
        let answering = async {
            let mut failure = None;
            while let Some(produced) = from_workers.recv().await {
                match produced {
                    Produced::Record(record) => {
                        frames::send(writer, &ExecutorFrame::Record(record)).await?;
                    }
                    // At once, so that the requester stops sending.
                    Produced::Failed(failed) => {
                        frames::send(writer, &ExecutorFrame::Failed(failed.clone())).await?;
                        failure = Some(failed);
                    }
                }
            }
            Ok::<_, FrameError>(failure)
        };
        let deadline = Duration::from_millis(total_ms);
        let moved = tokio::time::timeout(deadline, async {
            tokio::try_join!(async { feeding.await.map(drop) }, answering).map(|((), failure)| failure)
        });
        let moved = moved.await;
        if !matches!(moved, Ok(Ok(_))) {
            killers.iter().for_each(guildhall_sandbox::Killer::kill);
        }
        // Both channels are gone by now, so the workers' thread ends.
        drop(from_workers);
        let chain = scoring.await.map_err(|error| FrameError::Io(std::io::Error::other(error)))?;
        match moved {
            Ok(moved) => Ok((chain, moved?)),
            Err(_) => {
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
        }
    }

    /// Feeds the records of a data package.
    async fn feed_files(
        &self,
        files: &[FileEntry],
        to_workers: mpsc::Sender<RecordFrame>,
    ) -> Result<(), FrameError> {
        for (index, file) in (0..).zip(files) {
            let value = self
                .store
                .read_blob(&file.hash, file.len_bytes)
                .map_err(|error| FrameError::Io(std::io::Error::other(error.to_string())))?;
            if to_workers.send(RecordFrame { index, value }).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// A statement for each stage, signed by this node.
    fn sign_jobs(
        &self,
        peer: PublicKey,
        spec: &JobSpec,
        chain: &Chain,
        failure: Option<&JobFailure>,
        isolation: &[String],
    ) -> Vec<Signed> {
        let core = self.core();
        let key = &core.identity().node.secret;
        let statements = (0_u32..).zip(&chain.stages).map(|(stage, ran)| JobStatement {
            run: spec.run,
            stage,
            package: ran.package,
            executor: key.public(),
            requester: peer,
            engine: ran.engine.clone(),
            isolation: isolation.to_vec(),
            limits: ran.limits,
            input: ran.input.commitment(),
            output: ran.output.commitment(),
            records: ran.records,
            used: ran.used,
            outcome: match failure {
                Some(failure) if failure.stage == stage => {
                    Outcome::Failed { cause: failure.cause.clone(), record: failure.record }
                }
                Some(_) => Outcome::Stopped,
                None => Outcome::Completed,
            },
            time_ms: clock::now_ms(),
        });
        statements.map(|statement| Signed::new(&statement, key)).collect()
    }

    /// Waits for the requester's signature under the run, and keeps the receipt that it completes.
    async fn await_countersignature(
        &self,
        peer: PublicKey,
        spec: &JobSpec,
        jobs: Vec<Signed>,
        reader: &mut (impl AsyncRead + Unpin),
    ) {
        let signed = tokio::time::timeout(COUNTERSIGN_MAX, async {
            loop {
                match frames::receive::<RequesterFrame>(reader).await {
                    // Records that were under way when a stage failed.
                    Ok(Some(RequesterFrame::Record(_) | RequesterFrame::End)) => {}
                    Ok(Some(RequesterFrame::Countersigned(run))) => return Some(run),
                    _ => return None,
                }
            }
        });
        let Ok(Some(run)) = signed.await else {
            warn!(run = %spec.run, peer = peer_id_string(&peer), "the requester did not sign the run");
            return;
        };
        let receipt = Receipt { jobs, run };
        match receipt.verify() {
            Ok((RunStatement { requester, .. }, _)) if requester == peer => {
                let mut batch = Batch::new();
                batch.put_document(Collection::Receipts, spec.run.0.as_bytes(), cbor::encode(&receipt));
                if let Err(error) = self.store.commit(batch).await {
                    warn!(%error, run = %spec.run, "the receipt is not kept");
                }
            }
            Ok(_) => warn!(run = %spec.run, "the run is signed by another node than its requester"),
            Err(error) => warn!(%error, run = %spec.run, "the requester's signature does not hold"),
        }
    }
}

/// Feeds the records that come on the stream, in order; ends at `End`. After the workers stopped taking records, those
/// still under way are read and dropped, so that the requester is never stuck while sending.
async fn feed_stream(
    reader: &mut (impl AsyncRead + Unpin),
    to_workers: mpsc::Sender<RecordFrame>,
) -> Result<(), FrameError> {
    let mut next = 0;
    loop {
        match frames::receive::<RequesterFrame>(reader).await? {
            Some(RequesterFrame::Record(record)) if record.index == next => {
                next += 1;
                if to_workers.send(record).await.is_err() {
                    debug!("a record after the failed one is dropped");
                }
            }
            Some(RequesterFrame::End) => return Ok(()),
            Some(_) => return Err(FrameError::Order),
            None => return Err(FrameError::Io(std::io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

/// The smaller of two sets of limits, where either sets one.
fn tighter(a: LimitSet, b: LimitSet) -> LimitSet {
    let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
    LimitSet {
        scoring_ms: least(a.scoring_ms, b.scoring_ms),
        total_ms: least(a.total_ms, b.total_ms),
        memory_bytes: least(a.memory_bytes, b.memory_bytes),
        output_bytes: least(a.output_bytes, b.output_bytes),
    }
}

/// Cuts a text to what a job may send back.
pub(super) fn shorten(text: &str) -> String {
    let mut end = text.len().min(JOB_ERROR_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
