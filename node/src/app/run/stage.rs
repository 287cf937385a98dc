//! One stage of a job: its worker, the calls it gets, and what has to be said about it in the receipt.
//!
//! Each call keeps the stage's limits: a record that the call's time ran out on in the midst of others gets a call of
//! its own, and when an engine that cannot interrupt itself had to be killed, its records are tried again by halves. So a
//! record fails by itself or not at all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use guildhall_pipeline::{Feed, feeds};
use guildhall_protocol::contract::{CALL_MAX_RECORDS, Determinism, Limits};
use guildhall_protocol::isolation::Level;
use guildhall_protocol::manifest::{Code, FileEntry, Manifest, ONNXRUNTIME};
use guildhall_protocol::receipt::{EdgeHasher, Used};
use guildhall_protocol::wire::{JobStage, PortValue, RecordFrame};
use guildhall_protocol::{Hash, PackageId};
use guildhall_sandbox::{
    Batch, CallLimits, Failure, Isolation, Killer, Lent, PackageFiles, Wanted,
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::app::{App, lock};

/// Whom a job is executed for.
#[derive(Clone, Debug)]
pub(super) struct Whom {
    /// The org, by its root key: what one org's worker has seen, no other org's job meets.
    pub(super) org: String,
    /// The engines that it may use.
    pub(super) engines: Vec<String>,
}

/// One stage: its worker, and what has to be said about it in the receipt.
pub(super) struct StageRun {
    pub(super) manifest: Arc<Manifest>,
    pub(super) determinism: Determinism,
    pub(super) limits: Limits,
    pub(super) account: Account,
    stage: JobStage,
    whom: Whom,
    seed: u64,
    /// Which output of the stage before goes into which input; none for the first stage.
    feeds: Option<BTreeMap<String, String>>,
    batch_max: usize,
    /// The engine's name.
    engine: String,
    /// None while another takes the place of one that was killed.
    worker: Option<Lent>,
    isolation: Isolation,
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
    /// A stage with its worker; `before` is the manifest of the stage that feeds it, if one does. Blocks while the worker
    /// gets its code.
    pub(super) fn start(
        app: &App,
        stage: JobStage,
        manifest: Arc<Manifest>,
        before: Option<&Manifest>,
        limits: Limits,
        (whom, nonce): (Whom, &Hash),
    ) -> Result<Self, Unprepared> {
        let contract = manifest.contract.as_ref();
        let fed = before.map(|before| feeds(&before.interface.outputs, &manifest.interface.inputs));
        let fed = fed.transpose();
        let fed = fed.map_err(|_| Unprepared::Unable(format!("{} is not fed", stage.package)))?;
        let names = |feed: &Feed<'_>| (feed.from.name.clone(), feed.to.name.clone());
        let feeds = fed.map(|fed| fed.iter().map(names).collect());
        let determinism = contract.map_or(Determinism::None, |one| one.determinism);
        let batch_max = limits.batch_max.value.clamp(1, CALL_MAX_RECORDS);
        let batch_max = usize::try_from(batch_max).unwrap_or(1);
        let seed = seed(nonce);
        let (worker, engine) =
            app.take_worker(&stage, &manifest, &limits, &whom, seed).map_err(|failure| {
                let why = format!("{}: {failure}", stage.package);
                match failure {
                    Failure::Busy { .. } => Unprepared::Busy(why),
                    _ => Unprepared::Unable(why),
                }
            })?;
        Ok(Self {
            determinism,
            limits,
            account: Account::new(nonce),
            seed,
            feeds,
            batch_max,
            engine,
            isolation: worker.isolation(),
            killer: SharedKiller(Arc::new(Mutex::new(worker.killer()))),
            worker: Some(worker),
            stage,
            whom,
            manifest,
        })
    }

    /// The package that is executed.
    pub(super) const fn package(&self) -> PackageId {
        self.stage.package
    }

    /// Its engine, as the receipt states it.
    pub(super) fn engine(&self, app: &App) -> String {
        let own = app.engines.versioned(&self.engine);
        // What ran its models says as much about the results.
        match self.manifest.code.as_ref().is_some_and(Code::models_need_library) {
            true => format!("{own} {}", app.engines.versioned(ONNXRUNTIME)),
            false => own,
        }
    }

    /// What its worker is kept in.
    pub(super) const fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Kills its worker from another thread.
    pub(super) fn killer(&self) -> SharedKiller {
        self.killer.clone()
    }

    /// The stage is over in good order, and its worker may serve the same org again.
    pub(super) fn give_back(self) {
        if let Some(worker) = self.worker {
            worker.give_back();
        }
    }

    /// Scores the first of `records` in one call, as many as the call reaches; at least one.
    pub(super) fn call(
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
            let worker = match self.worker.take() {
                Some(worker) => worker,
                None => self.another(app)?,
            };
            let worker = self.worker.insert(worker);
            match worker.score_all(chunk, &limits) {
                Ok(batch) => {
                    self.account.call(&batch);
                    let mut ends = batch.records;
                    if ends.len() > 1 && matches!(ends.last(), Some(Err(Failure::Timeout { .. }))) {
                        ends.pop();
                    }
                    if !worker.is_alive() {
                        // Its time was over; the next call gets another.
                        self.worker = None;
                    }
                    return Ok(ends);
                }
                Err(failure) if over.is_cancelled() => return Err(failure),
                Err(failure) => {
                    if !worker.is_alive() {
                        // Gone before the next one is asked for, and with it what it might take.
                        self.worker = None;
                        self.worker = Some(self.another(app)?);
                    }
                    if most <= 1 {
                        return Ok(vec![Err(failure)]);
                    }
                    most /= 2;
                }
            }
        }
    }

    /// A worker in the place of one that had to be killed.
    fn another(&self, app: &App) -> Result<Lent, Failure> {
        let Self { stage, manifest, limits, whom, seed, .. } = self;
        let (worker, _) = app.take_worker(stage, manifest, limits, whom, *seed)?;
        // Whoever ends the job either kills this one, or has said so before the next look.
        *lock(&self.killer.0) = worker.killer();
        Ok(worker)
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

/// Why a job is not begun.
#[derive(Debug)]
pub(super) enum Unprepared {
    /// It may be possible in a moment.
    Busy(String),
    /// It is not possible here.
    Unable(String),
}

impl App {
    /// A worker with a stage's code, warm if there is one, and the name of the engine in it. Blocks.
    fn take_worker(
        &self,
        stage: &JobStage,
        manifest: &Manifest,
        limits: &Limits,
        whom: &Whom,
        seed: u64,
    ) -> Result<(Lent, String), Failure> {
        let code = manifest.code.as_ref().map_or("", |code| code.engine());
        let asked = stage.engine.as_deref().unwrap_or(code);
        let determinism = manifest.contract.as_ref().map_or(Determinism::None, |c| c.determinism);
        let engine = self.engines.choose(asked, determinism, &whom.engines);
        let open = |file: &FileEntry| self.open_file(file);
        let take = |engine: &str| {
            self.workers.take(&Wanted {
                id: stage.package,
                package: &PackageFiles { manifest, open: &open },
                org: &whom.org,
                engine: Some(engine),
                limits,
                config: &stage.config,
                seed,
                least: Level::None,
            })
        };
        let taken = match take(&engine) {
            Ok(worker) => Ok((worker, engine)),
            // What one engine for graphs does not load, or not within the limits, another may.
            Err(failure) if engine != asked && !is_final(&failure) => {
                info!(%failure, package = %stage.package, engine, asked, "another engine is tried");
                take(asked).map(|worker| (worker, asked.to_owned()))
            }
            Err(failure) => Err(failure),
        };
        if let Err(Failure::FileMismatch { .. } | Failure::MissingFile { .. }) = taken {
            self.doubt(&stage.package);
        }
        taken
    }
}

/// Whether no engine could help.
const fn is_final(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::FileMismatch { .. } | Failure::MissingFile { .. } | Failure::Busy { .. }
    )
}

/// The seed follows from the run, so that a second execution of it draws the same numbers.
pub(super) fn seed(nonce: &Hash) -> u64 {
    nonce.as_bytes().iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}

/// What a worker is kept in, by the names that nodes advertise.
pub(in crate::app) fn isolation_names(isolation: Isolation) -> Vec<String> {
    isolation.names().into_iter().map(str::to_owned).collect()
}
