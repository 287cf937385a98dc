//! Inspection of a whole package in a worker of its own: every file intact and of a harmless format, the code such that
//! it could run here. The package's unit tests are another worker's business ([`super::run_tests`]).

use std::collections::{BTreeMap, HashSet};
use std::os::fd::AsFd as _;
use std::time::Instant;

use guildhall_protocol::facts::Facts;
use guildhall_protocol::manifest::{Code, FileEntry, Manifest, UnitTest};
use guildhall_protocol::name::FileName;
use serde::{Deserialize, Serialize};

use super::examiner::EXAMINE_MEMORY_BYTES;
use super::process::{Process, Wait};
use super::{
    BACKGROUND_NICE, COMPILE_MAX_MS, COMPILE_MEMORY_BYTES, ONNX_ALLOWANCE_BYTES, PackageFiles,
    Spawner, further_compile_ms, models_allowance_bytes, onnx_allowance_bytes,
};
use crate::facts;
use crate::failure::Failure;
use crate::isolation::Isolation;
use crate::message::{CodeReport, Reply, Request, Role, Setup};

/// Slowest hashing and parsing that still counts as working, bytes of a package for each second of processor time.
const BYTES_PER_CPU_SECOND: u64 = 8 << 20;

/// Processor time granted for everything but hashing and parsing, seconds.
const CPU_SLACK_SECONDS: u64 = 60;

/// Most files whose facts an inspection keeps. Nobody reads more, and a package may have 65,536 files.
pub const INSPECTION_FACTS_MAX: usize = 256;

/// Most bytes that the kept facts take together, roughly: they are held until the package is listed.
const FACTS_MAX_BYTES: usize = 8 << 20;

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// Files whose bytes are the manifest's.
    pub files: usize,
    /// Their length together, bytes.
    pub len_bytes: u64,
    /// The engine that can run the code, if there is code.
    pub engine: Option<String>,
    /// What the code imports, takes and gives, if there is code.
    pub code: Option<CodeReport>,
    /// What the first [`INSPECTION_FACTS_MAX`] files that say something about themselves say; in order of the
    /// manifest, graphs first.
    #[serde(default)]
    pub facts: Vec<(FileName, Facts)>,
    /// How well the inspecting worker was shut in.
    pub isolation: Isolation,
    /// Wall time of the inspection, microseconds.
    pub wall_us: u64,
}

impl Spawner {
    /// Inspects every file of a package, and its code.
    ///
    /// # Errors
    /// The first [`Failure`]: of the graphs, of the other files in order of the manifest, of the code.
    pub fn inspect(
        &self,
        package: &PackageFiles<'_>,
        limits: &InspectLimits,
    ) -> Result<Inspection, Failure> {
        let started = Instant::now();
        let manifest = package.manifest;
        let code = manifest.code.as_ref().map(|_| package.code()).transpose()?;
        let models_bytes = package.models_bytes()?;
        let engine = code.map(|(code, ..)| (self.engine_of(code), code));
        // Only a graph is loaded whole; a module is compiled, and that is the engine's own memory.
        let (memory_bytes, allowance_bytes) = match code {
            Some((Code::Onnx(_), entry, _)) => (limits.memory_bytes, onnx_allowance_bytes(entry)),
            Some(_) => (
                0,
                COMPILE_MEMORY_BYTES
                    .saturating_add(models_bytes)
                    .saturating_add(models_allowance_bytes(models_bytes)),
            ),
            None => (0, ONNX_ALLOWANCE_BYTES),
        };
        let code_bytes = code.map_or(0, |(_, entry, _)| entry.len_bytes);
        let code_bytes = code_bytes.saturating_add(models_bytes);
        let compile_ms = limits.compile_ms.saturating_add(further_compile_ms(code_bytes));
        let setup = Setup {
            data_bytes: memory_bytes
                .saturating_add(allowance_bytes)
                .saturating_add(engine.map_or(0, |(engine, code)| self.library_bytes(engine, code)))
                .max(EXAMINE_MEMORY_BYTES),
            cpu_seconds: (manifest.len_bytes() / BYTES_PER_CPU_SECOND)
                .saturating_add(compile_ms / 1000)
                .saturating_add(CPU_SLACK_SECONDS),
            cpu_moves: false,
            nice: BACKGROUND_NICE,
            self_test: false,
        };
        let runtime = engine.and_then(|(engine, code)| self.runtime_for(engine, code));
        let mut process = Process::start_with(self, setup, runtime, setup.data_bytes)?;
        let facts = check_files(&mut process, package)?;
        let report = match code {
            Some((code, entry, contract)) => {
                let engine = self.engine_of(code);
                let stage = package.stage(engine, contract.memory_bytes, &BTreeMap::new())?;
                let stage = Box::new(stage);
                let file = package.open(entry)?;
                package.bring_models(&mut process)?;
                let wait = Wait::Compile { limit_ms: compile_ms };
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
            engine: engine.map(|(engine, _)| engine.to_owned()),
            code: report.map(CodeReport::bounded),
            facts,
            isolation: process.isolation(),
            wall_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        })
    }
}

/// Checks every file and keeps what they say about themselves.
fn check_files(
    process: &mut Process,
    package: &PackageFiles<'_>,
) -> Result<Vec<(FileName, Facts)>, Failure> {
    let manifest = package.manifest;
    let mut roles = Roles::of(manifest);
    let (mut kept, mut kept_bytes) = (Vec::new(), 0_usize);
    // Graphs first: they name the files that hold their weights.
    let is_graph = |entry: &&FileEntry| entry.name.as_str().ends_with(".onnx");
    let graphs = manifest.files.iter().filter(is_graph);
    for entry in graphs.chain(manifest.files.iter().filter(|entry| !is_graph(entry))) {
        let file = package.open(entry)?;
        let role = roles.role(entry);
        let request = Request::CheckFile { entry: entry.clone(), kind: manifest.kind, role };
        let wait = Wait::File { len_bytes: entry.len_bytes };
        let facts = match process.request(&request, Some(file.as_fd()), wait)? {
            Reply::Checked(facts) => facts::bounded(*facts),
            _ => return Err(process.broke_protocol()),
        };
        if let Facts::Onnx(onnx) = &facts {
            roles.add_weights(&entry.name, &onnx.external);
        }
        let cost_bytes = kept_bytes.saturating_add(facts::cost_bytes(&facts));
        let says_something = !matches!(facts, Facts::Opaque | Facts::Text | Facts::Json);
        if says_something && kept.len() < INSPECTION_FACTS_MAX && cost_bytes <= FACTS_MAX_BYTES {
            kept_bytes = cost_bytes;
            kept.push((entry.name.clone(), facts));
        }
    }
    Ok(kept)
}

/// What the manifest has its files for.
struct Roles<'a> {
    manifest: &'a Manifest,
    vectors: HashSet<&'a FileName>,
    /// Files that graphs keep their weights in; bounded by the worker's answer for each graph.
    weights: HashSet<String>,
}

impl<'a> Roles<'a> {
    fn of(manifest: &'a Manifest) -> Self {
        let files = |test: &'a UnitTest| test.inputs.iter().chain(&test.outputs);
        let vectors = manifest.tests.iter().flat_map(files).map(|value| &value.file).collect();
        Self { manifest, vectors, weights: HashSet::new() }
    }

    /// Names of a graph are relative to its folder.
    fn add_weights(&mut self, graph: &FileName, names: &[String]) {
        let folder = graph.as_str().rsplit_once('/').map(|(folder, _)| folder);
        self.weights.extend(names.iter().map(|name| match folder {
            Some(folder) => format!("{folder}/{name}"),
            None => name.clone(),
        }));
    }

    fn role(&self, entry: &FileEntry) -> Role {
        let name = &entry.name;
        if self.vectors.contains(name) {
            return Role::Vector;
        }
        let is_code = self.manifest.code.as_ref().is_some_and(|code| code.uses(name));
        let is_record = self.manifest.records.as_ref().is_some_and(|records| {
            let below = name.as_str().strip_prefix(records.folder.as_str());
            records.labels.as_ref() == Some(name) || below.is_some_and(|rest| rest.starts_with('/'))
        });
        if is_code || is_record || self.weights.contains(name.as_str()) {
            Role::Named
        } else {
            Role::Plain
        }
    }
}
