//! Executing a job: packages fetched, a worker for each stage, records through them one by one, statements signed.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use guildhall_overlay::{Stream, peer_id_string};
use guildhall_pipeline as pipeline;
use guildhall_pipeline::lease::{Opened, User};
use guildhall_protocol::contract::{LimitSet, Limits, NodeLimits};
use guildhall_protocol::manifest::FileEntry;
use guildhall_protocol::receipt::{JobStatement, Outcome, Receipt, RunStatement};
use guildhall_protocol::statement::Signed;
use guildhall_protocol::wire::{
    ExecutorFrame, JobFailure, JobInput, JobSpec, Reason, Refusal, RequesterFrame,
};
use guildhall_protocol::{Hash, PublicKey, cbor};
use guildhall_store::{Batch, Collection, ReadError, Store};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::super::App;
use super::super::frames::{self, FrameError};
use super::chain::{Chain, PackageRecords};
use super::input::record_files;
use super::stage::{StageRun, Unprepared, Whom};
use super::{pump, receipt_key, shorten};
use crate::app::fetch::Purpose;
use crate::clock;

/// How long the holder of a lease may take to say what it wants on the stream it opened.
const START_MAX: Duration = Duration::from_secs(10);

/// How long the requester may take to sign the run after the last frame.
const COUNTERSIGN_MAX: Duration = Duration::from_secs(10);

/// Where the head of this node's chain of job statements is kept.
const CHAIN_HEAD: &[u8] = b"statements";

/// The end of this node's chain of job statements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::app) struct ChainHead {
    /// Statements signed so far.
    number: u64,
    /// Hash of the last one.
    before: Option<Hash>,
}

impl ChainHead {
    /// What is on disk; the beginning where nothing is.
    pub(in crate::app) fn load(store: &Store) -> Result<Self, ReadError> {
        let bytes = store.document(Collection::Identity, CHAIN_HEAD)?;
        Ok(bytes.and_then(|bytes| cbor::decode(&bytes, bytes.len()).ok()).unwrap_or_default())
    }
}

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
            let refusal =
                Refusal::new(Reason::Invalid, "a job begins with a `start` frame, at once");
            return frames::send(&mut writer, &ExecutorFrame::Refused(refusal)).await;
        };
        let opened_ms = clock::now_ms();
        let opened = self.core().open_lease(opened_ms, &spec, peer);
        // So few leases of one node may wait to be opened that its other questions may wait for this.
        self.slots.wake();
        let opened = match opened {
            Ok(opened) => opened,
            Err(refusal) => {
                return frames::send(&mut writer, &ExecutorFrame::Refused(refusal)).await;
            }
        };
        let time = Duration::from_millis(opened.until_ms.saturating_sub(opened_ms));
        self.jobs.fetch_add(1, Ordering::Relaxed);
        let executing = self.execute_leased(peer, &spec, opened, (&mut reader, &mut writer));
        let done = tokio::select! {
            biased;
            () = self.tasks.token().cancelled() => Ok(()),
            done = tokio::time::timeout(time, executing) => done.unwrap_or_else(|_| Err(pump::timed_out())),
        };
        self.jobs.fetch_sub(1, Ordering::Relaxed);
        self.close_lease(&spec.lease);
        self.keep_usage().await;
        done
    }

    /// Dropping it at any moment stops the workers.
    async fn execute_leased<R, W>(
        self: &Arc<Self>,
        peer: PublicKey,
        spec: &JobSpec,
        opened: Opened,
        (reader, writer): (&mut R, &mut W),
    ) -> Result<(), FrameError>
    where
        R: AsyncRead + Send + Unpin,
        W: AsyncWrite + Send + Unpin,
    {
        let mut chain = match self.prepare(peer, spec, &opened).await {
            Ok(prepared) => prepared,
            Err(unprepared) => {
                info!(run = %spec.run, ?unprepared, "a job is not started");
                let refusal = match unprepared {
                    Unprepared::Busy(why) => Refusal::new(Reason::Busy, shorten(&why)),
                    Unprepared::Unable(why) => Refusal::new(Reason::Unable, shorten(&why)),
                };
                return frames::send(writer, &ExecutorFrame::Refused(refusal)).await;
            }
        };
        chain.user = Some(opened.user);
        let limits = chain.stages.iter().map(|stage| stage.limits).collect();
        frames::send(writer, &ExecutorFrame::Ready { limits }).await?;

        let (jobs, signed) = self.exchange(peer, spec, chain, (reader, writer)).await?;
        self.keep_receipt(peer, spec, jobs, signed).await;
        // The requester may have hung up already; everything was said.
        let _closed = writer.shutdown().await;
        Ok(())
    }

    /// Parts in, results out, statements, and the requester's signature if it comes. Both directions of the stream go
    /// on side by side, so that neither end waits for the other while sending.
    async fn exchange<R, W>(
        self: &Arc<Self>,
        peer: PublicKey,
        spec: &JobSpec,
        chain: Chain,
        (reader, writer): (&mut R, &mut W),
    ) -> Result<(Vec<Signed>, Option<Signed>), FrameError>
    where
        R: AsyncRead + Send + Unpin,
        W: AsyncWrite + Send + Unpin,
    {
        let over = CancellationToken::new();
        let (to_workers, parts) = pump::parts();
        let in_package = chain.records.as_ref().map(|records| records.files.len() as u64);
        let scoring = async {
            let (chain, failure) = pump::score(self, chain, parts, &over, writer).await?;
            if let Some(failure) = &failure {
                info!(run = %spec.run, stage = failure.stage, cause = failure.cause, "a job ended early");
            }
            let jobs = self.sign_jobs(peer, spec, &chain, failure.as_ref()).await;
            // Nothing of this node is held any more: the slot is free before the requester knows.
            self.take_back(chain).await;
            self.close_lease(&spec.lease);
            frames::send(writer, &ExecutorFrame::Finished { jobs: jobs.clone() }).await?;
            Ok::<_, FrameError>(jobs)
        };
        let mut taking = pin!(pump::take_frames(reader, to_workers, in_package, &over));
        let mut scoring = pin!(scoring);
        let mut signed = None;
        let jobs = loop {
            tokio::select! {
                biased;
                taken = &mut taking, if signed.is_none() => signed = Some(taken?),
                jobs = &mut scoring => break jobs?,
            }
        };
        if signed.is_none() {
            let taken = tokio::time::timeout(COUNTERSIGN_MAX, taking).await;
            signed = taken.ok().and_then(Result::ok);
        }
        Ok((jobs, signed))
    }

    /// Gets every package and starts a worker for each stage.
    async fn prepare(
        self: &Arc<Self>,
        peer: PublicKey,
        spec: &JobSpec,
        opened: &Opened,
    ) -> Result<Chain, Unprepared> {
        let unable = |why: &str| Unprepared::Unable(why.to_owned());
        let gone = || unable("the requester is no member any more");
        let whom = self.whom(&peer, &opened.user).ok_or_else(gone)?;
        let node =
            self.core().settings().offer.as_ref().map_or_else(NodeLimits::default, |o| o.limits);
        // Room was promised for what was asked for.
        let memory_bytes = node.memory_bytes.min(opened.memory_bytes);
        let node = NodeLimits { memory_bytes, ..node };
        let prepared = match self.try_prepare(spec, node, &whom).await {
            // A file was damaged after it was hashed. Everything is hashed once more, and what is bad is replaced.
            Err(_) if spec.stages.iter().any(|stage| self.is_doubted(&stage.package)) => {
                self.try_prepare(spec, node, &whom).await
            }
            prepared => prepared,
        };
        let mut chain = prepared?;
        let queue_ms = chain.stages.iter().map(|stage| stage.limits.queue_ms.value).min();
        if queue_ms.is_some_and(|queue_ms| opened.queued_ms > queue_ms) {
            return Err(unable("the run waited longer for its slot than its limits allow"));
        }
        for stage in &mut chain.stages {
            stage.account.used.queued_ms = opened.queued_ms;
        }
        Ok(chain)
    }

    /// Whom a job is for.
    fn whom(&self, peer: &PublicKey, user: &User) -> Option<Whom> {
        let core = self.core();
        let settings = core.settings();
        if user.org.is_none() {
            let org = core.identity().root.to_string();
            return Some(Whom { org, engines: settings.engines.clone() });
        }
        let org = core.authority(peer)?.root.to_string();
        let offer = settings.offer.as_ref();
        let lent = offer.map(|offer| offer.lent_engines(&settings.engines));
        Some(Whom { org, engines: lent.unwrap_or_default() })
    }

    async fn try_prepare(
        self: &Arc<Self>,
        spec: &JobSpec,
        node: NodeLimits,
        whom: &Whom,
    ) -> Result<Chain, Unprepared> {
        let unable = Unprepared::Unable;
        let files = match spec.input {
            JobInput::Package(package) => {
                Some(self.fetch_records(package, &spec.holders).await.map_err(unable)?)
            }
            _ => None,
        };
        let mut manifests = Vec::new();
        for stage in &spec.stages {
            let manifest = self.complete_package(stage.package, &spec.holders).await;
            manifests.push(Arc::new(manifest.map_err(|error| unable(error.to_string()))?));
        }
        let first = manifests.first().map(|manifest| pipeline::fed_port(&manifest.interface));
        let port = first.and_then(Result::ok).map(|port| port.name.clone());
        let (stages, nonce, requested) = (spec.stages.clone(), spec.nonce, spec.limits);
        let (app, whom) = (Arc::clone(self), whom.clone());
        let started = tokio::task::spawn_blocking(move || {
            let before = [None].into_iter().chain(manifests.iter().map(Some));
            let stages = stages.into_iter().zip(&manifests).zip(before);
            let started = stages.map(|((stage, manifest), before)| {
                let contract = manifest.contract.as_ref().map(LimitSet::from).unwrap_or_default();
                let producer = pipeline::tighter(contract, stage.listing);
                let limits = Limits::smallest(producer, node, requested);
                let (manifest, before) = (Arc::clone(manifest), before.map(|one| &**one));
                StageRun::start(&app, stage, manifest, before, limits, (whom.clone(), &nonce))
            });
            started.collect::<Result<Vec<_>, _>>()
        });
        let stages = started.await.map_err(|error| unable(error.to_string()))??;
        let records = match files {
            Some(files) => {
                let hashes: Vec<_> = files.iter().map(|file| file.hash).collect();
                let port = port
                    .ok_or_else(|| unable("the first stage does not take one value".to_owned()))?;
                Some(PackageRecords { files, port, _stay: self.leases.hold(hashes) })
            }
            None => None,
        };
        Ok(Chain { stages, records, user: None })
    }

    /// Gets the records of a data package, and nothing else of it: who scores records has no need to see the right
    /// answers. That keeps an honest executor from having them at hand. It is no secret from a dishonest one: every
    /// member may fetch the labels, as any other file.
    async fn fetch_records(
        self: &Arc<Self>,
        package: guildhall_protocol::PackageId,
        holders: &[PublicKey],
    ) -> Result<Vec<FileEntry>, String> {
        let manifest =
            self.fetch_manifest(package, holders).await.map_err(|error| error.to_string())?;
        let files = record_files(&manifest)?;
        let fetched = self.fetch_files(package, &files, holders, Purpose::Job).await;
        fetched.map(|()| files).map_err(|error| error.to_string())
    }

    /// Takes the workers of a job that is over back, to be used again.
    async fn take_back(self: &Arc<Self>, chain: Chain) {
        let app = Arc::clone(self);
        let taken = tokio::task::spawn_blocking(move || {
            chain.give_back();
            app.tell_warm();
        });
        if let Err(error) = taken.await {
            warn!(%error, "workers of a job were not taken back");
        }
    }

    /// A statement for each stage, signed by this node, each behind the one it signed before. That they were signed is
    /// on disk before anybody sees them: a chain that was written twice would look like a fork.
    async fn sign_jobs(
        &self,
        peer: PublicKey,
        spec: &JobSpec,
        chain: &Chain,
        failure: Option<&JobFailure>,
    ) -> Vec<Signed> {
        let isolation = chain.isolation();
        let key = self.core().identity().node.secret.clone();
        let mut head = self.statements.lock().await;
        let mut signed = Vec::new();
        for (stage, ran) in (0_u32..).zip(&chain.stages) {
            let statement = JobStatement {
                run: spec.run,
                stage,
                package: ran.package(),
                executor: key.public(),
                requester: peer,
                engine: ran.engine(self),
                determinism: ran.determinism,
                isolation: isolation.clone(),
                limits: ran.limits,
                input: ran.account.input.commitment(),
                output: ran.account.output.commitment(),
                records: ran.account.records,
                failed: ran.account.failed,
                used: ran.account.used,
                outcome: match failure {
                    Some(failure) if failure.stage == stage => {
                        Outcome::Failed { cause: failure.cause.clone(), record: failure.record }
                    }
                    Some(_) => Outcome::Stopped,
                    None => Outcome::Completed,
                },
                number: head.number,
                before: head.before,
                time_ms: clock::now_ms(),
            };
            let statement = Signed::new(&statement, &key);
            *head = ChainHead { number: head.number + 1, before: Some(statement.hash()) };
            signed.push(statement);
        }
        let mut batch = Batch::new();
        batch.put_document(Collection::Identity, CHAIN_HEAD, cbor::encode(&*head));
        if let Err(error) = self.store.commit(batch).await {
            warn!(%error, "the head of the chain of statements is not on disk");
        }
        signed
    }

    /// Keeps the receipt that the requester's signature under the run completes.
    async fn keep_receipt(
        &self,
        peer: PublicKey,
        spec: &JobSpec,
        jobs: Vec<Signed>,
        run: Option<Signed>,
    ) {
        let Some(run) = run else {
            warn!(run = %spec.run, peer = peer_id_string(&peer), "the requester did not sign the run");
            return;
        };
        let receipt = Receipt { jobs, run };
        match receipt.verify() {
            Ok((RunStatement { requester, .. }, _)) if requester == peer => {
                let mut batch = Batch::new();
                let key = receipt_key(spec.run, &peer, &receipt);
                batch.put_document(Collection::Receipts, &key, cbor::encode(&receipt));
                if let Err(error) = self.store.commit(batch).await {
                    warn!(%error, run = %spec.run, "the receipt is not kept");
                }
            }
            Ok(_) => warn!(run = %spec.run, "the run is signed by another node than its requester"),
            Err(error) => warn!(%error, run = %spec.run, "the requester's signature does not hold"),
        }
    }
}
