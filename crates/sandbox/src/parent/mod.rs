//! The node's side: starts workers, asks them, kills them. Everything here blocks; the node calls it from threads that
//! may wait.

mod engines;
mod examiner;
mod inspection;
mod process;
mod run;
mod unit_tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use guildhall_protocol::contract::{Contract, Import};
use guildhall_protocol::manifest::{Code, FileEntry, Manifest};

pub use self::engines::{EngineInfo, Engines, LibraryProblem, OnnxRuntime};
pub use self::examiner::{EXAMINE_MEMORY_BYTES, Examiner};
pub use self::inspection::{INSPECTION_FACTS_MAX, InspectLimits, Inspection};
use self::process::Process;
pub use self::process::{KILL_GRACE_MS, Killer};
pub use self::run::{Batch, RunWorker, Scored};
pub use self::unit_tests::{TestOutcome, run_tests};
use crate::failure::Failure;
use crate::message::{Isolation, Setup, StageSpec};

/// Longest time to check, compile and load a package's code, milliseconds. What real compilers emit takes a tenth of it;
/// modules made to be slow take minutes.
pub const COMPILE_MAX_MS: u64 = 10_000;

/// Writable memory that compiling and running a module may take beside the guest's own, bytes. A worker that inspects
/// has the same, so what passes inspection also loads.
const WASM_ALLOWANCE_BYTES: u64 = 1 << 30;

/// Writable memory of the graph engine beside the graph, bytes.
const ONNX_ALLOWANCE_BYTES: u64 = 64 << 20;

/// How often a graph's bytes are in memory while it is loaded: as read, as decoded, as planned.
const ONNX_COPIES: u64 = 3;

/// A package as a worker needs it: its manifest, and a way to open its files read-only, each time from the start.
#[derive(Clone, Copy)]
pub struct PackageFiles<'a> {
    /// The manifest; it has passed `Manifest::open` or `Manifest::check`.
    pub manifest: &'a Manifest,
    /// Opens one of its files for reading.
    pub open: &'a dyn Fn(&FileEntry) -> io::Result<File>,
}

impl PackageFiles<'_> {
    fn open(&self, entry: &FileEntry) -> Result<File, Failure> {
        (self.open)(entry).map_err(|error| {
            Failure::MissingFile { file: entry.name.to_string(), why: error.to_string() }.bounded()
        })
    }

    /// The code, its file and its contract; a failure says why there is nothing to execute.
    fn code(&self) -> Result<(&Code, &FileEntry, &Contract), Failure> {
        let unsupported = |what: &str| Failure::Unsupported { what: what.into() };
        let code = self.manifest.code.as_ref().ok_or_else(|| unsupported("it has no code"))?;
        let contract =
            self.manifest.contract.as_ref().ok_or_else(|| unsupported("it has no contract"))?;
        let file = self.manifest.file(code.file()).ok_or_else(|| Failure::MissingFile {
            file: code.file().to_string(),
            why: "it is not in the manifest".into(),
        })?;
        if contract.scratch_bytes > 0 {
            return Err(unsupported("no engine offers scratch storage"));
        }
        for import in &contract.imports {
            match import {
                Import::Arguments | Import::VirtualClock | Import::SeededRandomness => {}
                Import::PackageFiles => {
                    return Err(unsupported("no engine shows a stage its package's files"));
                }
                Import::WasiNn => return Err(unsupported("no engine offers wasi-nn to modules")),
                _ => return Err(unsupported("it wants an interface that no engine knows")),
            }
        }
        Ok((code, file, contract))
    }

    fn stage(
        &self,
        engine: &str,
        memory_bytes: u64,
        config: &BTreeMap<String, String>,
    ) -> Result<StageSpec, Failure> {
        let (code, file, contract) = self.code()?;
        Ok(StageSpec {
            interface: self.manifest.interface.clone(),
            code: code.clone(),
            engine: engine.to_owned(),
            file: file.clone(),
            determinism: contract.determinism,
            memory_bytes,
            config: config.clone(),
        })
    }
}

/// Writable memory that the engine may take beside what the stage may, bytes.
fn allowance_bytes(code: &Code, file: &FileEntry) -> u64 {
    match code {
        Code::Onnx(_) => onnx_allowance_bytes(file),
        _ => WASM_ALLOWANCE_BYTES,
    }
}

/// Writable memory for the graph engine and for loading this file, bytes.
fn onnx_allowance_bytes(file: &FileEntry) -> u64 {
    ONNX_ALLOWANCE_BYTES.saturating_add(file.len_bytes.saturating_mul(ONNX_COPIES))
}

/// Starts workers.
#[derive(Clone, Debug)]
pub struct Spawner {
    program: PathBuf,
    args: Vec<OsString>,
    onnxruntime: Option<OnnxRuntime>,
}

impl Spawner {
    /// Workers are `program` with `args`, which calls [`crate::worker_main`].
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, args: impl IntoIterator<Item = OsString>) -> Self {
        Self { program: program.into(), args: args.into_iter().collect(), onnxruntime: None }
    }

    /// Workers are this very program with `args`, even if its file is replaced while it runs.
    #[must_use]
    pub fn this_program(args: impl IntoIterator<Item = OsString>) -> Self {
        Self::new("/proc/self/exe", args)
    }

    /// How well workers are shut in on this machine. Starts one to find out.
    ///
    /// # Errors
    /// [`Failure::Internal`] or [`Failure::WorkerDied`] if none starts.
    pub fn isolation(&self) -> Result<Isolation, Failure> {
        let setup = Setup { data_bytes: ONNX_ALLOWANCE_BYTES, cpu_seconds: 1 };
        Process::start(self, setup, 0).map(|process| process.isolation())
    }
}
