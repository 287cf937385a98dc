//! A worker that executes one package, record after record.

use std::collections::BTreeMap;
use std::io::Seek as _;
use std::os::fd::AsFd as _;
use std::time::Instant;

use guildhall_protocol::contract::Limits;
use guildhall_protocol::limits::VALUE_MAX_BYTES;
use guildhall_protocol::wire::PortValue;
use serde::{Deserialize, Serialize};

use super::process::{Killer, Process, Wait};
use super::{COMPILE_MAX_MS, Compiled, PackageFiles, Spawner, allowance_bytes, further_compile_ms};
use crate::failure::Failure;
use crate::isolation::Isolation;
use crate::message::{CallLimits, RecordEnd, Reply, Request, Setup};

/// Processor time granted beyond the job's wall time, seconds: start, compiling, rounding. A backstop for a process
/// that nobody kills, not a limit that anyone should meet.
const CPU_SLACK_SECONDS: u64 = 60;

/// Most of a stage's stderr that is handed on, bytes: some screens of text. An engine may keep less.
const SAID_MAX_BYTES: usize = 64 * 1024;

/// A run worker with loaded code. Dropping it kills the process.
#[derive(Debug)]
pub struct RunWorker {
    process: Process,
    output_ports: Vec<String>,
    memory_bytes: u64,
    /// For calls that say nothing else.
    limits: CallLimits,
    /// Calls so far.
    calls: u64,
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
        let compiled = self.compile_once(package)?;
        let memory_bytes = limits.memory_bytes.value;
        let (code, entry, _) = package.code()?;
        let engine = self.engine_of(code);
        let allowance_bytes = allowance_bytes(entry, compiled.as_ref(), package.models_bytes()?)
            .saturating_add(self.library_bytes(engine, code));
        let setup = Setup {
            data_bytes: memory_bytes.saturating_add(allowance_bytes),
            cpu_seconds: cpu_seconds(limits, self.threads_for(engine)),
            cpu_moves: false,
            nice: 0,
            self_test: false,
        };
        let runtime = self.runtime_for(engine, code);
        let process = Process::start_with(self, setup, runtime, memory_bytes)?;
        RunWorker::load(process, package, engine, compiled, limits, config, seed)
    }
}

/// Processor time that calls under these limits may take together, on so many threads, seconds.
pub(super) const fn cpu_seconds(limits: &Limits, threads: u64) -> u64 {
    (limits.total_ms.value / 1000).saturating_mul(threads).saturating_add(CPU_SLACK_SECONDS)
}

/// What a call may take if it says nothing else.
pub(super) fn call_limits(limits: &Limits, seed: u64) -> CallLimits {
    // An output travels in one frame, whatever the parties agreed on.
    let output_bytes = limits.output_bytes.value.min(VALUE_MAX_BYTES as u64);
    CallLimits { scoring_ms: limits.scoring_ms.value, output_bytes, seed }
}

impl RunWorker {
    /// Makes a package's code ready in a worker that has none yet and is as confined as the stage has to be.
    pub(super) fn load(
        mut process: Process,
        package: &PackageFiles<'_>,
        engine: &str,
        compiled: Option<Compiled>,
        limits: &Limits,
        config: &BTreeMap<String, String>,
        seed: u64,
    ) -> Result<Self, Failure> {
        let (_, entry, _) = package.code()?;
        let memory_bytes = limits.memory_bytes.value;
        let stage = Box::new(package.stage(engine, memory_bytes, config)?);
        let (request, mut file) = match compiled {
            Some(compiled) => (Request::LoadCompiled { stage }, compiled.file),
            None => (Request::Load { stage }, package.open(entry)?),
        };
        // Who read it before left it somewhere.
        file.rewind().map_err(|error| Failure::MissingFile {
            file: entry.name.to_string(),
            why: error.to_string(),
        })?;
        package.bring_all(&mut process, memory_bytes)?;
        let len_bytes = entry.len_bytes.saturating_add(package.models_bytes()?);
        let limit_ms = COMPILE_MAX_MS.saturating_add(further_compile_ms(len_bytes));
        let wait = Wait::Compile { limit_ms };
        match process.request(&request, Some(file.as_fd()), wait)? {
            Reply::Loaded => {}
            _ => return Err(process.broke_protocol()),
        }
        let ports = &package.manifest.interface.outputs;
        Ok(Self {
            process,
            output_ports: ports.iter().map(|port| port.name.clone()).collect(),
            memory_bytes,
            limits: call_limits(limits, seed),
            calls: 0,
        })
    }

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
        self.calls = self.calls.saturating_add(1);
        let reply = self.process.request(&request, None, wait)?;
        let Reply::Scored { records, cpu_us, memory_peak_bytes, is_last } = reply else {
            return Err(self.process.broke_protocol());
        };
        if is_last {
            // Nothing of it runs any more when this returns.
            self.process.end();
        }
        let wall_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let is_possible = |end: &RecordEnd| match end {
            RecordEnd::Outputs(outputs) => self.is_complete(outputs, output_bytes),
            RecordEnd::Failed(_) => true,
        };
        let is_in_bounds = records.len() <= asked && (asked == 0 || !records.is_empty());
        if !is_in_bounds || !records.iter().all(is_possible) {
            return Err(self.process.broke_protocol());
        }
        // An engine that counts says nothing of records that failed, and what the process takes is none of theirs.
        let has_outputs = records.iter().any(|end| matches!(end, RecordEnd::Outputs(_)));
        let memory_peak_bytes = match memory_peak_bytes {
            Some(bytes) => bytes,
            None if has_outputs => self.process.memory_peak_bytes(),
            None => 0,
        };
        // The kernel stops a graph only when it takes the engine's share too; what it took beyond its own shows now.
        if memory_peak_bytes > self.memory_bytes {
            self.process.note(&Failure::MemoryLimit { limit_bytes: self.memory_bytes });
            return Err(Failure::MemoryLimit { limit_bytes: self.memory_bytes });
        }
        for end in &records {
            if let RecordEnd::Failed(failure) = end {
                self.process.note(failure);
            }
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

    /// The beginning of what the code wrote to stderr in the last record, for its own developer: it may quote the input.
    /// Empty when the worker had to be killed.
    ///
    /// # Errors
    /// [`Failure::WorkerDied`] if the worker broke its rules.
    pub fn said(&mut self) -> Result<Vec<u8>, Failure> {
        if !self.is_alive() {
            return Ok(Vec::new());
        }
        match self.process.request(&Request::Said, None, Wait::Answer)? {
            Reply::Said { mut bytes } => {
                bytes.truncate(SAID_MAX_BYTES);
                Ok(bytes)
            }
            _ => Err(self.process.broke_protocol()),
        }
    }

    /// What the next calls may take that say nothing else.
    pub(super) fn set_limits(&mut self, limits: CallLimits) {
        self.limits = limits;
    }

    /// Calls since it was loaded, or since they were last forgotten.
    pub(super) const fn calls(&self) -> u64 {
        self.calls
    }

    /// Counts from nothing again.
    pub(super) fn forget_calls(&mut self) {
        self.calls = 0;
    }

    /// The process, for those who keep workers.
    pub(super) fn process(&mut self) -> &mut Process {
        &mut self.process
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
