//! The stages of a job, one worker each, and the thread that moves parts through them.
//!
//! Records go through depth first: what one call of a stage yields passes all later stages before the next call, so a
//! job never holds more than a call's outputs for each stage.

use std::time::Instant;

use guildhall_pipeline::lease::User;
use guildhall_protocol::limits::VALUE_MAX_BYTES;
use guildhall_protocol::manifest::FileEntry;
use guildhall_protocol::wire::{
    JobFailure, PartEnd, PartFrame, PartRecords, PortValue, RecordEnd, RecordFrame, RecordResult,
    ResultsFrame,
};
use guildhall_sandbox::Failure;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::shorten;
use super::stage::{Account, SharedKiller, StageRun, isolation_names};
use crate::app::App;
use crate::app::leases::Hold;

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

    /// The job is over in good order: its workers may serve the same org again.
    pub(super) fn give_back(self) {
        self.stages.into_iter().for_each(StageRun::give_back);
    }

    /// Handles to stop every worker from another thread.
    pub(super) fn killers(&self) -> Vec<SharedKiller> {
        self.stages.iter().map(StageRun::killer).collect()
    }

    /// What the weakest of the workers is kept in.
    pub(super) fn isolation(&self) -> Vec<String> {
        let mut levels = self.stages.iter().map(|stage| isolation_names(stage.isolation()));
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
        Failure::Busy { .. } => "busy",
        _ => "internal",
    }
}
