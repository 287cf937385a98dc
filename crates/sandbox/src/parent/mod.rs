//! The node's side: starts workers, asks them, kills them. Everything here blocks; the node calls it from threads that
//! may wait.

mod compile;
mod engines;
mod examiner;
mod inspection;
mod process;
mod run;
mod unit_tests;
mod warm;

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use guildhall_protocol::contract::{Contract, Import};
use guildhall_protocol::manifest::{Code, FileEntry, Manifest, NamedModel, UnitTest};
use guildhall_protocol::name::FileName;

pub use self::compile::{
    COMPILE_CACHE_BYTES, COMPILE_MEMORY_BYTES, Compiled, Compiler, CompilerSettings, CompilerStats,
    cache_key,
};
pub use self::engines::{EngineInfo, Engines, LibraryProblem, OnnxRuntime};
pub use self::examiner::{EXAMINE_MEMORY_BYTES, Examiner};
pub use self::inspection::{INSPECTION_FACTS_MAX, InspectLimits, Inspection};
pub use self::process::{KILL_GRACE_MS, Killer};
use self::process::{Process, Wait};
pub use self::run::{Batch, RunWorker, Scored};
pub use self::unit_tests::{
    TestOutcome, Took, UNIT_TEST_SEED, inputs as unit_test_inputs, run_tests,
};
pub use self::warm::{Lent, Wanted, Warm, Workers, WorkersSettings, WorkersStats};
use crate::engine::onnx::MODEL_COPIES;
use crate::failure::Failure;
use crate::isolation::Isolation;
use crate::message::{Reply, Request, Setup, StageSpec};

/// Longest time to check, compile and load a package's code of up to [`COMPILE_QUICK_BYTES`], milliseconds. What real
/// compilers emit takes a tenth of it; modules of some hundred kilobytes that are made to be slow take minutes.
pub const COMPILE_MAX_MS: u64 = 10_000;

/// Code that compiles within [`COMPILE_MAX_MS`] however it was made, unless it was made to be slow, bytes.
const COMPILE_QUICK_BYTES: u64 = 4 << 20;

/// Further time for each further mebibyte, milliseconds. Components that bring their language along have 11 to 18 MiB
/// and take ten seconds of a core; the rest is for slow and busy machines.
const COMPILE_MS_PER_MIB: u64 = 3_000;

/// Longest time however long the code is, milliseconds.
const COMPILE_LONGEST_MS: u64 = 90_000;

/// Time to check, compile and load code of this length beyond [`COMPILE_MAX_MS`], milliseconds.
const fn further_compile_ms(len_bytes: u64) -> u64 {
    let further = (len_bytes.saturating_sub(COMPILE_QUICK_BYTES) >> 20) * COMPILE_MS_PER_MIB;
    if further < COMPILE_LONGEST_MS - COMPILE_MAX_MS {
        further
    } else {
        COMPILE_LONGEST_MS - COMPILE_MAX_MS
    }
}

/// Writable memory that a compiled module may take beside the guest's own, bytes, apart from the compiled code: the
/// engine, its tables, and room for one record's input and output in each of the forms that they pass through.
const WASM_ALLOWANCE_BYTES: u64 = 256 << 20;

/// How often compiled code is in memory while it is loaded: as read, and as mapped.
const COMPILED_COPIES: u64 = 2;

/// Writable memory of the graph engine beside the graph, bytes.
const ONNX_ALLOWANCE_BYTES: u64 = 64 << 20;

/// Processor time of the worker that tries out its own jail, seconds: it needs milliseconds.
const SELF_TEST_SECONDS: u64 = 10;

/// How far workers that inspect or compile stand back when others want the processor: the node's own requests and
/// records being scored come first, and nobody waits for an inspection with a stopwatch.
const BACKGROUND_NICE: u8 = 10;

/// How often a graph's bytes are in memory while it is loaded: as read, as decoded, as planned.
const ONNX_COPIES: u64 = 3;

/// Most files that code may read: a lexicon, some tables. Each is held whole.
const READABLE_MAX: usize = 1_024;

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
                // A graph has no use for it; code finds the models that the manifest names.
                Import::WasiNn => {}
                Import::PackageFiles if !matches!(code, Code::Onnx(_)) => {}
                Import::PackageFiles => {
                    return Err(unsupported("a graph has no use for its package's files"));
                }
                _ => return Err(unsupported("it wants an interface that no engine knows")),
            }
        }
        Ok((code, file, contract))
    }

    /// The models that the code may load by name, in the manifest's order.
    fn models(&self) -> Result<Vec<(&NamedModel, &FileEntry)>, Failure> {
        let entry = |model: &'_ NamedModel| self.manifest.file(&model.model);
        let models = self.manifest.code.as_ref().map_or(&[][..], Code::models);
        let found = models.iter().map(|model| match entry(model) {
            Some(entry) => Ok((model, entry)),
            None => Err(Failure::MissingFile {
                file: model.model.to_string(),
                why: "it is not in the manifest".into(),
            }),
        });
        found.collect()
    }

    /// How long the files of the models are together, bytes.
    fn models_bytes(&self) -> Result<u64, Failure> {
        let models = self.models()?;
        Ok(models.iter().fold(0, |sum, (_, entry)| sum.saturating_add(entry.len_bytes)))
    }

    /// The files that the code may read: all but itself, the models that it asks by name, and what unit tests name, so
    /// that it cannot read what is expected of it.
    fn readable(&self) -> Result<Vec<&FileEntry>, Failure> {
        let (code, _, contract) = self.code()?;
        if !contract.imports.contains(&Import::PackageFiles) {
            return Ok(Vec::new());
        }
        let values = |test: &'_ UnitTest| -> Vec<FileName> {
            test.inputs.iter().chain(&test.outputs).map(|value| value.file.clone()).collect()
        };
        let expected: HashSet<FileName> = self.manifest.tests.iter().flat_map(values).collect();
        let files = self.manifest.files.iter();
        let files: Vec<_> = files
            .filter(|entry| !code.uses(&entry.name) && !expected.contains(&entry.name))
            .collect();
        if files.len() > READABLE_MAX {
            let what = format!("{} files to be read by code, at most {READABLE_MAX}", files.len());
            return Err(Failure::Unsupported { what });
        }
        Ok(files)
    }

    /// Hands over models, ahead of the code that may ask them.
    fn bring_models(&self, process: &mut Process) -> Result<(), Failure> {
        for (model, entry) in self.models()? {
            let name = model.name.clone();
            self.bring(process, entry, &Request::Model { name, entry: entry.clone() })?;
        }
        Ok(())
    }

    /// Hands over models and files, ahead of the code, if they fit into its memory.
    fn bring_all(&self, process: &mut Process, memory_bytes: u64) -> Result<(), Failure> {
        let files = self.readable()?;
        let files_bytes = files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.len_bytes));
        if self.models_bytes()?.saturating_add(files_bytes) > memory_bytes {
            return Err(Failure::MemoryLimit { limit_bytes: memory_bytes });
        }
        self.bring_models(process)?;
        for entry in files {
            self.bring(process, entry, &Request::File { entry: entry.clone() })?;
        }
        Ok(())
    }

    fn bring(
        &self,
        process: &mut Process,
        entry: &FileEntry,
        request: &Request,
    ) -> Result<(), Failure> {
        let file = self.open(entry)?;
        let wait = Wait::File { len_bytes: entry.len_bytes };
        match process.request(request, Some(file.as_fd()), wait)? {
            Reply::Taken => Ok(()),
            _ => Err(process.broke_protocol()),
        }
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
            imports: contract.imports.clone(),
            memory_bytes,
            config: config.clone(),
        })
    }
}

/// Writable memory that the engine may take beside what the stage may, bytes. Models of code count as the stage's memory
/// once; what they take beyond that is here.
fn allowance_bytes(file: &FileEntry, compiled: Option<&Compiled>, models_bytes: u64) -> u64 {
    match compiled {
        None => onnx_allowance_bytes(file),
        Some(compiled) => WASM_ALLOWANCE_BYTES
            .saturating_add(compiled.len_bytes().saturating_mul(COMPILED_COPIES))
            .saturating_add(models_allowance_bytes(models_bytes)),
    }
}

/// Writable memory for the graph engine inside a stage in WebAssembly, bytes.
const fn models_allowance_bytes(models_bytes: u64) -> u64 {
    match models_bytes {
        0 => 0,
        len => ONNX_ALLOWANCE_BYTES.saturating_add(len.saturating_mul(MODEL_COPIES)),
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
    /// What held when it was tried out; shared by clones.
    tested: Arc<OnceLock<Isolation>>,
}

impl Spawner {
    /// Workers are `program` with `args`, which calls [`crate::worker_main`].
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, args: impl IntoIterator<Item = OsString>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().collect(),
            onnxruntime: None,
            tested: Arc::default(),
        }
    }

    /// Workers are this very program with `args`, even if its file is replaced while it runs.
    #[must_use]
    pub fn this_program(args: impl IntoIterator<Item = OsString>) -> Self {
        Self::new("/proc/self/exe", args)
    }

    /// How well workers are shut in on this machine. Starts one that tries out each layer, and then tries to break out
    /// of all of them; what did not hold is not in the answer, nor in what later workers of this spawner say of
    /// themselves.
    ///
    /// # Errors
    /// [`Failure::Internal`] or [`Failure::WorkerDied`] if none starts.
    pub fn isolation(&self) -> Result<Isolation, Failure> {
        let setup = Setup {
            data_bytes: ONNX_ALLOWANCE_BYTES,
            cpu_seconds: SELF_TEST_SECONDS,
            cpu_moves: false,
            nice: 0,
            self_test: true,
        };
        let mut process = Process::start(self, setup, 0)?;
        let mut isolation = process.isolation();
        if isolation.seccomp {
            let reply = process.request(&Request::BreakOut, None, Wait::Answer)?;
            let Reply::BrokeOut { worked } = reply else { return Err(process.broke_protocol()) };
            if !worked.is_empty() {
                tracing::warn!(?worked, "the filter of system calls does not hold on this machine");
                isolation.seccomp = false;
            }
        }
        let _said_before = self.tested.set(isolation);
        Ok(isolation)
    }

    /// What a worker says of itself, whatever was tried out. For the benchmark: it starts a worker and ends it.
    ///
    /// # Errors
    /// As [`Spawner::isolation`].
    #[doc(hidden)]
    pub fn isolation_untested(&self) -> Result<Isolation, Failure> {
        let setup = Setup {
            data_bytes: ONNX_ALLOWANCE_BYTES,
            cpu_seconds: SELF_TEST_SECONDS,
            cpu_moves: false,
            nice: 0,
            self_test: false,
        };
        Process::start(self, setup, 0).map(|process| process.isolation())
    }

    /// What a worker says of itself, without what was tried out and did not hold.
    fn held(&self, said: Isolation) -> Isolation {
        self.tested.get().map_or(said, |tested| said.and(*tested))
    }
}
