//! A worker that executes one package, record after record.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::time::Instant;

use guildhall_protocol::contract::Limits;
use guildhall_protocol::limits::VALUE_MAX_BYTES;
use serde::{Deserialize, Serialize};

use super::process::{Killer, Process, Wait};
use super::{COMPILE_MAX_MS, PackageFiles, Spawner, StageLimits, allowance_bytes};
use crate::failure::Failure;
use crate::isolation::Isolation;
use crate::message::{PortValue, Reply, Request, Setup};

/// Processor time granted beyond the job's wall time, seconds: start, compiling, rounding. A backstop for a process
/// that nobody kills, not a limit that anyone should meet.
const CPU_SLACK_SECONDS: u64 = 60;

/// A run worker with loaded code. Dropping it kills the process.
#[derive(Debug)]
pub struct RunWorker {
    process: Process,
    output_ports: Vec<String>,
    scoring_ms: u64,
    memory_bytes: u64,
    output_bytes: u64,
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

impl Spawner {
    /// Starts a worker for one job and makes the package's code ready in it. `seed` is where the stage's randomness
    /// comes from; the same seed gives the same bytes in every record.
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
        let stage_limits =
            StageLimits { scoring_ms: limits.scoring_ms.value, memory_bytes, output_bytes, seed };
        let stage = package.stage(stage_limits, config)?;
        let file = package.open(entry)?;
        let setup = Setup {
            data_bytes: memory_bytes.saturating_add(allowance_bytes(code, entry)),
            cpu_seconds: (limits.total_ms.value / 1000).saturating_add(CPU_SLACK_SECONDS),
            nice: 0,
            self_test: false,
        };
        let mut process = Process::start(self, setup, memory_bytes)?;
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
            scoring_ms: limits.scoring_ms.value,
            memory_bytes,
            output_bytes,
        })
    }
}

impl RunWorker {
    /// Scores one record: a value for each input port.
    ///
    /// # Errors
    /// Any [`Failure`]. After some of them the worker is dead: ask [`RunWorker::is_alive`].
    pub fn score(&mut self, inputs: Vec<PortValue>) -> Result<Scored, Failure> {
        let started = Instant::now();
        let wait = Wait::Score { limit_ms: self.scoring_ms };
        let reply = self.process.request(&Request::Score { inputs }, None, wait)?;
        let Reply::Scored { outputs, cpu_us, memory_peak_bytes } = reply else {
            return Err(self.process.broke_protocol());
        };
        let wall_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.check(&outputs)?;
        let memory_peak_bytes =
            memory_peak_bytes.unwrap_or_else(|| self.process.memory_peak_bytes());
        // The kernel stops a graph only when it takes the engine's share too; what it took beyond its own shows now.
        if memory_peak_bytes > self.memory_bytes {
            return Err(Failure::MemoryLimit { limit_bytes: self.memory_bytes });
        }
        Ok(Scored { outputs, wall_us, cpu_us, memory_peak_bytes })
    }

    /// A worker has checked all this; a broken one may not have.
    fn check(&mut self, outputs: &[PortValue]) -> Result<(), Failure> {
        let len_bytes: usize = outputs.iter().map(|value| value.bytes.len()).sum();
        let is_complete = self.output_ports.len() == outputs.len()
            && self.output_ports.iter().all(|port| outputs.iter().any(|value| value.port == *port));
        if is_complete && len_bytes as u64 <= self.output_bytes {
            return Ok(());
        }
        Err(self.process.broke_protocol())
    }

    /// Compares the last record's output with what it should be; the first difference in words, or none.
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
