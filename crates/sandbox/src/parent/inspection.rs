//! Inspection of a whole package in a worker of its own: every file intact and of a harmless format, the code such that
//! it could run here. The package's unit tests are another worker's business ([`super::run_tests`]).

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::time::Instant;

use guildhall_protocol::manifest::Code;
use serde::{Deserialize, Serialize};

use super::process::{Process, Wait};
use super::{
    COMPILE_MAX_MS, ONNX_ALLOWANCE_BYTES, PackageFiles, Spawner, StageLimits, WASM_ALLOWANCE_BYTES,
    onnx_allowance_bytes,
};
use crate::failure::Failure;
use crate::message::{CodeReport, Isolation, Reply, Request, Setup};

/// Slowest hashing that still counts as working, bytes of a package for each second of processor time.
const BYTES_PER_CPU_SECOND: u64 = 50 << 20;

/// Processor time granted for everything but hashing, seconds.
const CPU_SLACK_SECONDS: u64 = 60;

/// Limits of an inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InspectLimits {
    /// Longest time for checking and compiling the code, milliseconds.
    pub compile_ms: u64,
    /// Memory that a graph may take when it is loaded, beside the engine's own, bytes.
    pub memory_bytes: u64,
}

impl Default for InspectLimits {
    /// [`COMPILE_MAX_MS`] and 1 GiB, as a node has them for running.
    fn default() -> Self {
        Self { compile_ms: COMPILE_MAX_MS, memory_bytes: 1 << 30 }
    }
}

/// What an inspection found. That it exists means that everything was in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Files whose bytes are the manifest's.
    pub files: usize,
    /// Their length together, bytes.
    pub len_bytes: u64,
    /// The engine that can run the code, if there is code.
    pub engine: Option<String>,
    /// What the code imports, takes and gives, if there is code.
    pub code: Option<CodeReport>,
    /// How well the inspecting worker was shut in.
    pub isolation: Isolation,
    /// Wall time of the inspection, microseconds.
    pub wall_us: u64,
}

impl Spawner {
    /// Inspects every file of a package, and its code.
    ///
    /// # Errors
    /// The first [`Failure`], in order of the manifest's files, then of the code.
    pub fn inspect(
        &self,
        package: &PackageFiles<'_>,
        limits: &InspectLimits,
    ) -> Result<Inspection, Failure> {
        let started = Instant::now();
        let manifest = package.manifest;
        let code = manifest.code.as_ref().map(|_| package.code()).transpose()?;
        // Only a graph is loaded whole; a module is compiled, and that is the engine's own memory.
        let (memory_bytes, allowance_bytes) = match code {
            Some((Code::Onnx(_), entry, _)) => (limits.memory_bytes, onnx_allowance_bytes(entry)),
            Some(_) => (0, WASM_ALLOWANCE_BYTES),
            None => (0, ONNX_ALLOWANCE_BYTES),
        };
        let setup = Setup {
            data_bytes: memory_bytes.saturating_add(allowance_bytes),
            cpu_seconds: (manifest.len_bytes() / BYTES_PER_CPU_SECOND)
                .saturating_add(limits.compile_ms / 1000)
                .saturating_add(CPU_SLACK_SECONDS),
        };
        let mut process = Process::start(self, setup, setup.data_bytes)?;
        for entry in &manifest.files {
            let file = package.open(entry)?;
            let request = Request::CheckFile { entry: entry.clone() };
            let wait = Wait::File { len_bytes: entry.len_bytes };
            match process.request(&request, Some(file.as_fd()), wait)? {
                Reply::Checked => {}
                _ => return Err(process.broke_protocol()),
            }
        }
        let report = match code {
            Some((_, entry, contract)) => {
                let stage_limits = StageLimits {
                    scoring_ms: contract.scoring_ms,
                    memory_bytes: contract.memory_bytes,
                    output_bytes: contract.output_bytes,
                    seed: 0,
                };
                let stage = Box::new(package.stage(stage_limits, &BTreeMap::new())?);
                let file = package.open(entry)?;
                let wait = Wait::Compile { limit_ms: limits.compile_ms };
                match process.request(&Request::Inspect { stage }, Some(file.as_fd()), wait)? {
                    Reply::Inspected(report) => Some(report),
                    _ => return Err(process.broke_protocol()),
                }
            }
            None => None,
        };
        Ok(Inspection {
            files: manifest.files.len(),
            len_bytes: manifest.len_bytes(),
            engine: code.map(|(code, _, _)| code.engine().to_owned()),
            code: report.map(CodeReport::bounded),
            isolation: process.isolation(),
            wall_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        })
    }
}
