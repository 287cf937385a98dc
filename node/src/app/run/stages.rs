//! The workers of a job, one for each stage, and the thread that moves records through them.

use guildhall_protocol::contract::Limits;
use guildhall_protocol::manifest::Manifest;
use guildhall_protocol::receipt::{EdgeHasher, Used};
use guildhall_protocol::wire::{JobFailure, PortValue, RecordFrame};
use guildhall_protocol::{Hash, PackageId};
use guildhall_sandbox::{Failure, Isolation, Killer, RunWorker};
use tokio::sync::mpsc;

use super::shorten;
use crate::app::leases::Hold;

/// Every stage of a job.
pub(super) struct Chain {
    pub(super) stages: Vec<StageRun>,
    /// Files of a data package that is not here in full, and that records are read from.
    pub(super) _records_stay: Option<Hold>,
}

/// One stage: its worker, and what has to be said about it in the receipt.
pub(super) struct StageRun {
    pub(super) package: PackageId,
    pub(super) engine: String,
    pub(super) limits: Limits,
    pub(super) input: EdgeHasher,
    pub(super) output: EdgeHasher,
    pub(super) records: u64,
    pub(super) used: Used,
    input_port: String,
    worker: RunWorker,
}

/// What comes out of the last stage.
pub(super) enum Produced {
    Record(RecordFrame),
    Failed(JobFailure),
}

impl StageRun {
    pub(super) fn new(
        package: PackageId,
        manifest: &Manifest,
        limits: Limits,
        worker: RunWorker,
        nonce: &Hash,
    ) -> Result<Self, String> {
        let inputs = &manifest.interface.inputs;
        let fed = inputs.iter().find(|port| !port.optional).or(inputs.first());
        let input_port = fed.ok_or_else(|| format!("{package} has no input"))?.name.clone();
        let engine = manifest
            .code
            .as_ref()
            .map(|code| format!("{}/{}", code.engine(), env!("CARGO_PKG_VERSION")));
        Ok(Self {
            package,
            engine: engine.unwrap_or_default(),
            limits,
            input: EdgeHasher::new(nonce),
            output: EdgeHasher::new(nonce),
            records: 0,
            used: Used::default(),
            input_port,
            worker,
        })
    }

    fn score(&mut self, index: u64, value: Vec<u8>) -> Result<Vec<u8>, Failure> {
        self.input.record(index, &value);
        let inputs = vec![PortValue::new(self.input_port.clone(), value)];
        let scored = self.worker.score(inputs)?;
        let value =
            scored.outputs.into_iter().next().map(|output| output.bytes).unwrap_or_default();
        self.output.record(index, &value);
        self.records += 1;
        self.used.wall_us = self.used.wall_us.saturating_add(scored.wall_us);
        self.used.longest_us = self.used.longest_us.max(scored.wall_us);
        self.used.memory_peak_bytes = self.used.memory_peak_bytes.max(scored.memory_peak_bytes);
        self.used.output_bytes = self.used.output_bytes.saturating_add(value.len() as u64);
        Ok(value)
    }
}

impl Chain {
    /// Scores records until none comes, one fails, or nobody takes the outputs. Blocks; runs on a thread of its own.
    pub(super) fn score_all(
        mut self,
        mut inputs: mpsc::Receiver<RecordFrame>,
        outputs: &mpsc::Sender<Produced>,
    ) -> Self {
        while let Some(record) = inputs.blocking_recv() {
            let produced = self.score(record);
            let failed = matches!(produced, Produced::Failed(_));
            if outputs.blocking_send(produced).is_err() || failed {
                break;
            }
        }
        self
    }

    fn score(&mut self, record: RecordFrame) -> Produced {
        let RecordFrame { index, mut value } = record;
        for (stage, running) in (0_u32..).zip(&mut self.stages) {
            match running.score(index, value) {
                Ok(next) => value = next,
                Err(failure) => {
                    return Produced::Failed(JobFailure {
                        stage,
                        record: index,
                        cause: cause_of(&failure).to_owned(),
                        detail: shorten(&failure.to_string()),
                        stopped_after_ms: match failure {
                            Failure::Timeout { stopped_after_ms, .. } => Some(stopped_after_ms),
                            _ => None,
                        },
                    });
                }
            }
        }
        Produced::Record(RecordFrame { index, value })
    }

    /// Handles to stop every worker from another thread.
    pub(super) fn killers(&self) -> Vec<Killer> {
        self.stages.iter().map(|stage| stage.worker.killer()).collect()
    }

    /// What the weakest of the workers is kept in.
    pub(super) fn isolation(&self) -> Vec<String> {
        let mut levels = self.stages.iter().map(|stage| isolation_names(stage.worker.isolation()));
        let first = levels.next().unwrap_or_default();
        levels.fold(first, |weakest, level| {
            weakest.into_iter().filter(|name| level.contains(name)).collect()
        })
    }

    /// The first stage that has scored fewer records than the one before it: where a stopped job was.
    pub(super) fn at_stage(&self) -> u32 {
        let counts = self.stages.iter().map(|stage| stage.records);
        let least = counts.clone().min().unwrap_or_default();
        let at = counts.take_while(|count| *count > least).count();
        u32::try_from(at).unwrap_or_default()
    }

    /// Records that came out of the last stage.
    pub(super) fn records(&self) -> u64 {
        self.stages.last().map_or(0, |stage| stage.records)
    }
}

/// What a worker is kept in, by the names that nodes advertise.
pub(in crate::app) fn isolation_names(isolation: Isolation) -> Vec<String> {
    let Isolation { rlimits, no_new_privs, seccomp, landlock } = isolation;
    [
        ("rlimits", rlimits),
        ("no-new-privs", no_new_privs),
        ("seccomp", seccomp),
        ("landlock", landlock),
    ]
    .into_iter()
    .filter(|(_, holds)| *holds)
    .map(|(name, _)| name.to_owned())
    .collect()
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
