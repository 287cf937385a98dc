//! The stages of a job, one worker each, and the thread that moves parts through them.
//!
//! Records go through depth first: what one call of a stage yields passes all later stages before the next call, so a
//! job never holds more than a call's outputs for each stage. Each call keeps its stage's limits: a record that the
//! call's time ran out on in the midst of others gets a call of its own, and when an engine that cannot interrupt
//! itself had to be killed, its records are tried again by halves. So a record fails by itself or not at all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use guildhall_pipeline::lease::User;
use guildhall_pipeline::{Feed, feeds};
use guildhall_protocol::contract::{Determinism, Limits};
use guildhall_protocol::limits::VALUE_MAX_BYTES;
use guildhall_protocol::manifest::{FileEntry, Manifest};
use guildhall_protocol::receipt::{EdgeHasher, Used};
use guildhall_protocol::wire::{
    JobFailure, JobStage, PartEnd, PartFrame, PartRecords, PortValue, RecordEnd, RecordFrame,
    RecordResult, ResultsFrame,
};
use guildhall_protocol::{Hash, PackageId};
use guildhall_sandbox::{Batch, CallLimits, Failure, Isolation, Killer, RunWorker};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::shorten;
use crate::app::leases::Hold;
use crate::app::{App, lock};

/// Most records in one call, whatever the producer allows: enough for every engine to be busy, and a call's records stay
/// far below a frame's bookkeeping.
const CALL_MAX_RECORDS: usize = 1_024;

/// Results that wait to be sent together, bytes; a part's last ones never wait.
const RESULTS_FLUSH_BYTES: usize = 1024 * 1024;

/// Results of one call that wait at most, bytes: what fits into a frame with the rest of it.
const RESULTS_MAX_BYTES: usize = VALUE_MAX_BYTES;

/// Records of a data package that are read before they are scored, bytes; a longer one is read alone.
const READ_AHEAD_BYTES: usize = 2 * 1024 * 1024;

/// Every stage of a job.
pub(super) struct Chain {
    pub(super) stages: Vec<StageRun>,
    pub(super) records: Option<PackageRecords>,
    /// To whose account goes what it takes, once that is known.
    pub(super) user: Option<User>,
}

/// The records of a data package, for jobs whose parts name positions.
pub(super) struct PackageRecords {
    pub(super) files: Vec<FileEntry>,
    /// Port of the first stage that they go into.
    pub(super) port: String,
    /// Files of a data package that is not here in full.
    pub(super) _stay: Hold,
}

/// One stage: its worker, and what has to be said about it in the receipt.
pub(super) struct StageRun {
    pub(super) stage: JobStage,
    pub(super) manifest: Arc<Manifest>,
    pub(super) engine: String,
    pub(super) determinism: Determinism,
    pub(super) limits: Limits,
    pub(super) account: Account,
    seed: u64,
    /// Which output of the stage before goes into which input; none for the first stage.
    feeds: Option<BTreeMap<String, String>>,
    batch_max: usize,
    worker: RunWorker,
    killer: SharedKiller,
}

/// Kills a stage's worker, whichever it is by then.
#[derive(Clone)]
pub(super) struct SharedKiller(Arc<Mutex<Killer>>);

impl SharedKiller {
    pub(super) fn kill(&self) {
        lock(&self.0).kill();
    }
}

/// What a statement says about the parts that are over.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) input: EdgeHasher,
    pub(super) output: EdgeHasher,
    pub(super) records: u64,
    pub(super) failed: u64,
    pub(super) used: Used,
}

/// What comes out of the last stage.
pub(super) enum Produced {
    Results(ResultsFrame),
    /// The job cannot go on.
    Failed(JobFailure),
}

/// Why a chain stops in the middle of a part.
enum Stop {
    /// The job's time is over, or nobody takes the results.
    Over,
    /// A stage cannot go on.
    Failed(JobFailure),
}

impl Account {
    fn new(nonce: &Hash) -> Self {
        let edge = || EdgeHasher::new(nonce);
        Self { input: edge(), output: edge(), records: 0, failed: 0, used: Used::default() }
    }

    fn call(&mut self, batch: &Batch) {
        self.used.calls += 1;
        self.used.wall_us = self.used.wall_us.saturating_add(batch.wall_us);
        self.used.longest_us = self.used.longest_us.max(batch.wall_us);
        self.used.memory_peak_bytes = self.used.memory_peak_bytes.max(batch.memory_peak_bytes);
    }
}

impl StageRun {
    /// A stage with its worker; `before` is the manifest of the stage that feeds it, if one does.
    pub(super) fn new(
        stage: JobStage,
        manifest: Arc<Manifest>,
        before: Option<&Manifest>,
        limits: Limits,
        worker: RunWorker,
        nonce: &Hash,
    ) -> Result<Self, String> {
        let engine = manifest
            .code
            .as_ref()
            .map(|code| format!("{}/{}", code.engine(), env!("CARGO_PKG_VERSION")));
        let contract = manifest.contract.as_ref();
        let fed = before.map(|before| feeds(&before.interface.outputs, &manifest.interface.inputs));
        let fed = fed.transpose().map_err(|_| format!("{} is not fed", stage.package))?;
        let names = |feed: &Feed<'_>| (feed.from.name.clone(), feed.to.name.clone());
        Ok(Self {
            engine: engine.unwrap_or_default(),
            determinism: contract.map_or(Determinism::None, |one| one.determinism),
            limits,
            account: Account::new(nonce),
            seed: seed(nonce),
            feeds: fed.map(|fed| fed.iter().map(names).collect()),
            batch_max: contract
                .and_then(|one| usize::try_from(one.batch_max).ok())
                .unwrap_or(1)
                .clamp(1, CALL_MAX_RECORDS),
            killer: SharedKiller(Arc::new(Mutex::new(worker.killer()))),
            worker,
            stage,
            manifest,
        })
    }

    /// The package that is executed.
    pub(super) const fn package(&self) -> PackageId {
        self.stage.package
    }

    /// Scores the first of `records` in one call, as many as the call reaches; at least one.
    fn call(
        &mut self,
        app: &App,
        records: &[RecordFrame],
        over: &CancellationToken,
    ) -> Result<Vec<Result<Vec<PortValue>, Failure>>, Failure> {
        let limits = CallLimits {
            scoring_ms: self.limits.scoring_ms.value,
            output_bytes: self.limits.output_bytes.value,
            seed: self.seed,
        };
        let mut most = records.len().min(self.batch_max);
        loop {
            if over.is_cancelled() {
                return Err(Failure::WorkerDied { why: "the job is over".to_owned() });
            }
            let chunk = records.iter().take(most).map(|record| self.fed(record)).collect();
            match self.worker.score_all(chunk, &limits) {
                Ok(batch) => {
                    self.account.call(&batch);
                    let mut ends = batch.records;
                    if ends.len() > 1 && matches!(ends.last(), Some(Err(Failure::Timeout { .. }))) {
                        ends.pop();
                    }
                    return Ok(ends);
                }
                Err(failure) if over.is_cancelled() => return Err(failure),
                Err(failure) => {
                    if !self.worker.is_alive() {
                        let seed = self.seed;
                        let (stage, manifest, limits) = (&self.stage, &self.manifest, &self.limits);
                        self.worker = app.start_worker(stage, manifest, limits, seed)?;
                        // Whoever ends the job either kills this one, or has said so before the next look.
                        *lock(&self.killer.0) = self.worker.killer();
                    }
                    if most <= 1 {
                        return Ok(vec![Err(failure)]);
                    }
                    most /= 2;
                }
            }
        }
    }

    /// A record as the stage before yields it, under the names of this one's inputs. What feeds nothing ends here.
    fn fed(&self, record: &RecordFrame) -> Vec<PortValue> {
        let Some(feeds) = &self.feeds else { return record.values.clone() };
        let rename = |value: &PortValue| {
            let port = feeds.get(&value.port)?.clone();
            Some(PortValue { port, ..value.clone() })
        };
        record.values.iter().filter_map(rename).collect()
    }
}

/// The seed follows from the run, so that a second execution of it draws the same numbers.
pub(super) fn seed(nonce: &Hash) -> u64 {
    nonce.as_bytes().iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}

/// Results on their way out, in order.
struct Sink<'a> {
    outputs: &'a mpsc::Sender<Produced>,
    part: u64,
    waiting: Vec<RecordResult>,
    waiting_bytes: usize,
    mark: Mark,
}

/// A point at which every stage had done with the same records.
struct Mark {
    accounts: Vec<Account>,
    /// Results that waited then.
    settled: usize,
    /// Results of later records were sent already, so there is no way back to it.
    is_torn: bool,
}

impl Sink<'_> {
    /// Every stage has done with the same records.
    fn settle(&mut self, accounts: Vec<Account>) -> Result<(), Stop> {
        if self.waiting_bytes > RESULTS_FLUSH_BYTES {
            self.flush(None)?;
        }
        self.mark = Mark { accounts, settled: self.waiting.len(), is_torn: false };
        Ok(())
    }

    fn push(&mut self, index: u64, end: RecordEnd) -> Result<(), Stop> {
        let len_bytes = match &end {
            RecordEnd::Values(values) => PortValue::len_bytes(values),
            _ => 0,
        };
        if self.waiting_bytes.saturating_add(len_bytes) > RESULTS_MAX_BYTES {
            self.flush(None)?;
            self.mark.is_torn = true;
        }
        self.waiting_bytes = self.waiting_bytes.saturating_add(len_bytes);
        self.waiting.push(RecordResult { index, end });
        Ok(())
    }

    fn flush(&mut self, end: Option<PartEnd>) -> Result<(), Stop> {
        if self.waiting.is_empty() && end.is_none() {
            return Ok(());
        }
        self.waiting_bytes = 0;
        let records = std::mem::take(&mut self.waiting);
        let frame = ResultsFrame { part: self.part, records, end };
        self.outputs.blocking_send(Produced::Results(frame)).map_err(|_| Stop::Over)
    }
}

impl Chain {
    /// Scores parts until none comes, the job cannot go on, or its time is `over`. Blocks; runs on a thread of its own.
    /// What it returns has in its accounts the parts that are over, and nothing else.
    pub(super) fn score_all(
        mut self,
        app: &App,
        mut parts: mpsc::Receiver<PartFrame>,
        outputs: &mpsc::Sender<Produced>,
        over: &CancellationToken,
    ) -> Self {
        while let Some(part) = parts.blocking_recv() {
            let started = Instant::now();
            let scored = self.score(app, part, outputs, over);
            if let Some(user) = &self.user {
                app.count_use(user, started.elapsed());
            }
            let Err(stop) = scored else { continue };
            if let Stop::Failed(failure) = stop {
                let _nobody_listens = outputs.blocking_send(Produced::Failed(failure));
            }
            break;
        }
        self
    }

    fn score(
        &mut self,
        app: &App,
        part: PartFrame,
        outputs: &mpsc::Sender<Produced>,
        over: &CancellationToken,
    ) -> Result<(), Stop> {
        let started = Instant::now();
        let before = self.accounts();
        let mark = Mark { accounts: before.clone(), settled: 0, is_torn: false };
        let (waiting, waiting_bytes) = (Vec::new(), 0);
        let mut sink = Sink { outputs, part: part.part, waiting, waiting_bytes, mark };
        let scored = self.score_records(app, part.records, &mut sink, over);
        if scored.is_err() {
            // What every stage has done with the same records stays, if nothing beyond it was sent.
            let is_torn = sink.mark.is_torn;
            sink.waiting.truncate(sink.mark.settled);
            self.go_back(if is_torn { before } else { std::mem::take(&mut sink.mark.accounts) });
            if is_torn {
                return scored;
            }
        }
        let wall_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        sink.flush(Some(PartEnd { wall_us }))?;
        scored
    }

    fn accounts(&self) -> Vec<Account> {
        self.stages.iter().map(|stage| stage.account.clone()).collect()
    }

    /// What was taken since then was taken all the same.
    fn go_back(&mut self, to: Vec<Account>) {
        for (stage, account) in self.stages.iter_mut().zip(to) {
            let used = stage.account.used;
            stage.account = Account { used, ..account };
        }
    }

    fn score_records(
        &mut self,
        app: &App,
        records: PartRecords,
        sink: &mut Sink<'_>,
        over: &CancellationToken,
    ) -> Result<(), Stop> {
        match records {
            PartRecords::Values(records) => self.advance(app, 0, records, sink, over),
            // Read as they are scored: a part's files may be more than what one call takes.
            PartRecords::Positions(positions) => {
                let (mut records, mut len_bytes) = (Vec::new(), 0_usize);
                for index in positions {
                    let record = self.read(app, index).map_err(Stop::Failed)?;
                    let record_bytes = PortValue::len_bytes(&record.values);
                    if len_bytes.saturating_add(record_bytes) > READ_AHEAD_BYTES {
                        self.advance(app, 0, std::mem::take(&mut records), sink, over)?;
                        len_bytes = 0;
                    }
                    len_bytes = len_bytes.saturating_add(record_bytes);
                    records.push(record);
                }
                self.advance(app, 0, records, sink, over)
            }
            _ => Err(Stop::Over),
        }
    }

    /// Moves records through the stages from `at` on.
    fn advance(
        &mut self,
        app: &App,
        at: usize,
        records: Vec<RecordFrame>,
        sink: &mut Sink<'_>,
        over: &CancellationToken,
    ) -> Result<(), Stop> {
        if at >= self.stages.len() {
            let push =
                |record: RecordFrame| sink.push(record.index, RecordEnd::Values(record.values));
            return records.into_iter().try_for_each(push);
        }
        let mut records = records;
        while !records.is_empty() {
            if over.is_cancelled() {
                return Err(Stop::Over);
            }
            if at == 0 {
                sink.settle(self.accounts())?;
            }
            let Some(stage) = self.stages.get_mut(at) else { return Err(Stop::Over) };
            let index = records.first().map(|record| record.index).unwrap_or_default();
            let ends = stage.call(app, &records, over).map_err(|failure| {
                if over.is_cancelled() {
                    Stop::Over
                } else {
                    Stop::Failed(job_failure(at, index, &failure))
                }
            })?;
            let rest = records.split_off(ends.len().min(records.len()));
            let mut came = Vec::new();
            for (record, end) in std::mem::replace(&mut records, rest).into_iter().zip(ends) {
                let Some(stage) = self.stages.get_mut(at) else { return Err(Stop::Over) };
                let account = &mut stage.account;
                account.input.record(record.index, &record.values);
                match end {
                    Ok(values) => {
                        account.output.record(record.index, &values);
                        account.records += 1;
                        let len_bytes = PortValue::len_bytes(&values) as u64;
                        account.used.output_bytes =
                            account.used.output_bytes.saturating_add(len_bytes);
                        came.push(RecordFrame { index: record.index, values });
                    }
                    Err(failure) => {
                        account.failed += 1;
                        self.advance(app, at + 1, std::mem::take(&mut came), sink, over)?;
                        let failure = job_failure(at, record.index, &failure);
                        sink.push(record.index, RecordEnd::Failed(failure))?;
                    }
                }
            }
            self.advance(app, at + 1, came, sink, over)?;
        }
        Ok(())
    }

    /// A record of the data package.
    fn read(&self, app: &App, index: u64) -> Result<RecordFrame, JobFailure> {
        let failed = |detail: String| JobFailure {
            stage: 0,
            record: index,
            cause: "bad_file".to_owned(),
            detail: shorten(&detail),
            stopped_after_ms: None,
        };
        let records = self.records.as_ref().ok_or_else(|| failed("there are none".to_owned()))?;
        let file = usize::try_from(index).ok().and_then(|at| records.files.get(at));
        let file = file.ok_or_else(|| failed("the package has no such record".to_owned()))?;
        // Reading checks the hash.
        let value = app.store.read_blob(&file.hash, file.len_bytes);
        let value = value.map_err(|error| failed(error.to_string()))?;
        Ok(RecordFrame { index, values: vec![PortValue::new(records.port.clone(), value)] })
    }

    /// Handles to stop every worker from another thread.
    pub(super) fn killers(&self) -> Vec<SharedKiller> {
        self.stages.iter().map(|stage| stage.killer.clone()).collect()
    }

    /// What the weakest of the workers is kept in.
    pub(super) fn isolation(&self) -> Vec<String> {
        let mut levels = self.stages.iter().map(|stage| isolation_names(stage.worker.isolation()));
        let first = levels.next().unwrap_or_default();
        levels.fold(first, |weakest, level| {
            weakest.into_iter().filter(|name| level.contains(name)).collect()
        })
    }
}

fn job_failure(stage: usize, record: u64, failure: &Failure) -> JobFailure {
    JobFailure {
        stage: u32::try_from(stage).unwrap_or(u32::MAX),
        record,
        cause: cause_of(failure).to_owned(),
        detail: shorten(&failure.to_string()),
        stopped_after_ms: match failure {
            Failure::Timeout { stopped_after_ms, .. } => Some(*stopped_after_ms),
            _ => None,
        },
    }
}

/// What a worker is kept in, by the names that nodes advertise.
pub(in crate::app) fn isolation_names(isolation: Isolation) -> Vec<String> {
    isolation.names().into_iter().map(str::to_owned).collect()
}

/// A stable word for the cause of a failure, for programs.
fn cause_of(failure: &Failure) -> &'static str {
    match failure {
        Failure::Timeout { .. } => "timeout",
        Failure::MemoryLimit { .. } => "memory",
        Failure::OutputLimit { .. } => "output_limit",
        Failure::Trap { .. } => "trap",
        Failure::Exited { .. } => "exited",
        Failure::ForbiddenImport { .. } => "forbidden_import",
        Failure::InvalidModule { .. } | Failure::InvalidModel { .. } => "invalid_code",
        Failure::CompileTimeout { .. } => "compile_timeout",
        Failure::BadInput { .. } => "bad_input",
        Failure::BadOutput { .. } => "bad_output",
        Failure::FileMismatch { .. }
        | Failure::RefusedFormat { .. }
        | Failure::MissingFile { .. } => "bad_file",
        Failure::WorkerDied { .. } => "worker_died",
        _ => "internal",
    }
}
