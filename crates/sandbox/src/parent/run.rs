//! A worker that executes one package, record after record.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::time::Instant;

use guildhall_protocol::contract::Limits;
use guildhall_protocol::limits::VALUE_MAX_BYTES;
use guildhall_protocol::wire::PortValue;
use serde::{Deserialize, Serialize};

use super::process::{Killer, Process, Wait};
use super::{COMPILE_MAX_MS, PackageFiles, Spawner, allowance_bytes};
use crate::failure::Failure;
use crate::message::{CallLimits, Isolation, RecordEnd, Reply, Request, Setup};

/// Processor time granted beyond the job's wall time, seconds: start, compiling, rounding. A backstop for a process
/// that nobody kills, not a limit that anyone should meet.
const CPU_SLACK_SECONDS: u64 = 60;

/// A run worker with loaded code. Dropping it kills the process.
#[derive(Debug)]
pub struct RunWorker {
    process: Process,
    output_ports: Vec<String>,
    memory_bytes: u64,
    /// For calls that say nothing else.
    limits: CallLimits,
}

/// What scoring one record gave and took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scored {
    /// One value for each output port, checked against the interface by the worker.
    pub outputs: Vec<PortValue>,
    /// From handing the record over until its outputs were here, microseconds.
    pub wall_us: u64,
    /// Processor time of the engine's thread, microseconds, by the worker's own account.
    pub cpu_us: u64,
    /// Most memory the stage held, bytes: a module's own memory in this record, a graph's process so far.
    pub memory_peak_bytes: u64,
}

/// What a call over several records gave and took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The outputs of each record or why it failed, in the records' order. When there are fewer than records, the call's
    /// time was over or the answer full; the others were not touched and may be asked for again. There is at least one.
    pub records: Vec<Result<Vec<PortValue>, Failure>>,
    /// From handing the records over until the answer was here, microseconds.
    pub wall_us: u64,
    /// Processor time of the engine's thread, microseconds, by the worker's own account.
    pub cpu_us: u64,
    /// Most memory the stage held, bytes: a module's own memory in one record, a graph's process so far.
    pub memory_peak_bytes: u64,
}

impl Spawner {
    /// Starts a worker and makes the package's code ready in it. `seed` is where the stage's randomness comes from in
    /// calls that name none.
    ///
    /// # Errors
    /// Any [`Failure`] of starting, checking, compiling and loading; none of scoring.
    pub fn start(
        &self,
        package: &PackageFiles<'_>,
        limits: &Limits,
        config: &BTreeMap<String, String>,
        seed: u64,
    ) -> Result<RunWorker, Failure> {
        let (code, entry, _) = package.code()?;
        let memory_bytes = limits.memory_bytes.value;
        // An output travels in one frame, whatever the parties agreed on.
        let output_bytes = limits.output_bytes.value.min(VALUE_MAX_BYTES as u64);
        let stage = package.stage(self.engine_of(code), memory_bytes, config)?;
        let file = package.open(entry)?;
        let setup = Setup {
            data_bytes: memory_bytes
                .saturating_add(allowance_bytes(code, entry))
                .saturating_add(self.library_bytes(code)),
            cpu_seconds: (limits.total_ms.value / 1000)
                .saturating_mul(self.threads_for(code))
                .saturating_add(CPU_SLACK_SECONDS),
        };
        let mut process = Process::start_with(self, setup, self.runtime_for(code), memory_bytes)?;
        let request = Request::Load { stage: Box::new(stage) };
        let wait = Wait::Compile { limit_ms: COMPILE_MAX_MS };
        match process.request(&request, Some(file.as_fd()), wait)? {
            Reply::Loaded => {}
            _ => return Err(process.broke_protocol()),
        }
        let ports = &package.manifest.interface.outputs;
        Ok(RunWorker {
            process,
            output_ports: ports.iter().map(|port| port.name.clone()).collect(),
            memory_bytes,
            limits: CallLimits { scoring_ms: limits.scoring_ms.value, output_bytes, seed },
        })
    }
}

impl RunWorker {
    /// Scores one record, a value for each input port, under the limits that the worker was started with.
    ///
    /// # Errors
    /// Any [`Failure`]. After some of them the worker is dead: ask [`RunWorker::is_alive`].
    pub fn score(&mut self, inputs: Vec<PortValue>) -> Result<Scored, Failure> {
        let limits = self.limits;
        let Batch { records, wall_us, cpu_us, memory_peak_bytes } =
            self.score_all(vec![inputs], &limits)?;
        let first = records.into_iter().next();
        let outputs = first.unwrap_or_else(|| Err(self.process.broke_protocol()))?;
        Ok(Scored { outputs, wall_us, cpu_us, memory_peak_bytes })
    }

    /// Scores records in one call, under limits for this call: one deadline for all of them.
    ///
    /// # Errors
    /// A [`Failure`] of the whole call, such as a worker that had to be killed; nothing is known of its records then.
    /// What fails a single record is in the [`Batch`].
    pub fn score_all(
        &mut self,
        records: Vec<Vec<PortValue>>,
        limits: &CallLimits,
    ) -> Result<Batch, Failure> {
        let started = Instant::now();
        let asked = records.len();
        let wait = Wait::Score { limit_ms: limits.scoring_ms };
        let output_bytes = limits.output_bytes.min(VALUE_MAX_BYTES as u64);
        let limits = CallLimits { output_bytes, ..*limits };
        let request = Request::Score { records, limits };
        let reply = self.process.request(&request, None, wait)?;
        let Reply::Scored { records, cpu_us, memory_peak_bytes } = reply else {
            return Err(self.process.broke_protocol());
        };
        let wall_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let is_possible = |end: &RecordEnd| match end {
            RecordEnd::Outputs(outputs) => self.is_complete(outputs, output_bytes),
            RecordEnd::Failed(_) => true,
        };
        let is_in_bounds = records.len() <= asked && (asked == 0 || !records.is_empty());
        if !is_in_bounds || !records.iter().all(is_possible) {
            return Err(self.process.broke_protocol());
        }
        let memory_peak_bytes =
            memory_peak_bytes.unwrap_or_else(|| self.process.memory_peak_bytes());
        // The kernel stops a graph only when it takes the engine's share too; what it took beyond its own shows now.
        if memory_peak_bytes > self.memory_bytes {
            return Err(Failure::MemoryLimit { limit_bytes: self.memory_bytes });
        }
        let in_our_numbers = |end| match end {
            RecordEnd::Outputs(outputs) => Ok(outputs),
            RecordEnd::Failed(failure) => Err(self.process.in_our_numbers(failure, started)),
        };
        let records = records.into_iter().map(in_our_numbers).collect();
        Ok(Batch { records, wall_us, cpu_us, memory_peak_bytes })
    }

    /// A worker has checked all this; a broken one may not have.
    fn is_complete(&self, outputs: &[PortValue], most_bytes: u64) -> bool {
        let len_bytes: usize = outputs.iter().map(|value| value.bytes.len()).sum();
        self.output_ports.len() == outputs.len()
            && self.output_ports.iter().all(|port| outputs.iter().any(|value| value.port == *port))
            && len_bytes as u64 <= most_bytes
    }

    /// Compares the output of the last call's first record with what it should be; the first difference in words, or none.
    pub(super) fn compare(
        &mut self,
        expected: PortValue,
        tolerance: f64,
    ) -> Result<Option<String>, Failure> {
        match self.process.request(&Request::Compare { expected, tolerance }, None, Wait::Answer)? {
            Reply::Compared { difference } => Ok(difference),
            _ => Err(self.process.broke_protocol()),
        }
    }

    /// Whether it can score another record.
    pub fn is_alive(&mut self) -> bool {
        self.process.is_alive()
    }

    /// Kills and reaps the process.
    pub fn kill(&mut self) {
        self.process.end();
    }

    /// A handle to kill it while another thread waits in [`RunWorker::score`].
    #[must_use]
    pub fn killer(&self) -> Killer {
        self.process.killer()
    }

    /// How well it is shut in.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        self.process.isolation()
    }

    /// The system's number of the process, for logs.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }
}
