//! Compiling, apart from running: a fresh jailed worker turns code into machine code, and the node keeps that.
//!
//! # Why the output of a compile worker may be run
//!
//! A compiler reads what a stranger wrote, and wasmtime does not promise to compile hostile code safely. So a compile
//! worker may be taken over by the code that it compiles, and what it then hands over is whatever that code wants to be
//! run, with none of WebAssembly's own walls. The node accepts it all the same, for these reasons:
//!
//! - it runs in a run worker only, and that is shut in exactly as the compile worker was: what it could do there, it
//!   could have done while it was compiled;
//! - each compile worker sees one file and then ends, and the node files its output under the hash of that very file
//!   (with the engine's fingerprint and the determinism class). It can spoil the result of the code that it is itself,
//!   and of no other;
//! - a run worker serves one package for one org, so code without walls sees the records of that org for that package,
//!   which it was given anyway;
//! - what it answers is outside data on its way through the node, as every answer of a run worker is.
//!
//! What is lost if it happens is determinism, and fairness between calls of one org. Nothing reads compiled code in the
//! node's own process: it is copied, sealed, and handed over as a descriptor.
//!
//! # What it costs
//!
//! At most [`COMPILE_MEMORY_BYTES`] and [`COMPILE_MAX_MS`] a piece of code, behind everything else that wants the
//! processor, half of the cores at once, in turns by who asks (see [`turns`]). What failed is remembered (see
//! [`failures`]).

mod cache;
mod failures;
mod turns;

use std::collections::BTreeMap;
use std::io;
use std::mem::{Discriminant, discriminant};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use guildhall_protocol::contract::Determinism;
use guildhall_protocol::hash::Hash;
use guildhall_protocol::manifest::Code;
use serde::{Deserialize, Serialize};

use self::cache::Cache;
pub use self::cache::Compiled;
use self::failures::Failures;
use self::turns::Turns;
use super::process::{Process, Wait};
use super::{BACKGROUND_NICE, COMPILE_MAX_MS, PackageFiles, Spawner, further_compile_ms};
use crate::engine::wasm::{Granted, Wasm};
use crate::failure::Failure;
use crate::message::{PIECE_BYTES, Reply, Request, Setup, StageSpec};

/// Writable memory of a compile worker, bytes. CPython as WebAssembly takes a quarter of it; modules made to be slow
/// take gigabytes.
pub const COMPILE_MEMORY_BYTES: u64 = 1 << 30;

/// Longest compiled code that is taken, bytes: about four times what CPython becomes.
const COMPILED_MAX_BYTES: u64 = 256 << 20;

/// Processor time granted to a compile worker beyond [`COMPILE_MAX_MS`], seconds: starting, and handing over. It works on
/// one thread, so the wall clock stops it first.
const CPU_SLACK_SECONDS: u64 = 10;

/// What the keys of compiled code are derived for.
const KEY_CONTEXT: &str = "guildhall 1 key of compiled code";

/// What the node's own key for [`Compiler::open`] may be derived for; see [`cache_key`].
const NODE_CONTEXT: &str = "guildhall 1 node's key of its compile cache";

/// Length of compiled code that a node keeps if it is not told otherwise, bytes: a hundred large stages.
pub const COMPILE_CACHE_BYTES: u64 = 1 << 30;

/// The key for [`CompilerSettings::key`] from a secret that this node keeps anyway. Nothing about the secret follows
/// from it.
#[must_use]
pub fn cache_key(node_secret: &[u8]) -> [u8; 32] {
    blake3::derive_key(NODE_CONTEXT, node_secret)
}

/// Where a [`Compiler`] keeps what it made.
#[derive(Clone)]
pub struct CompilerSettings {
    /// A folder of its own; it is made if need be, readable by nobody else.
    pub folder: PathBuf,
    /// What its files are sealed with, from [`cache_key`]. Another key makes everything be compiled again.
    pub key: [u8; 32],
    /// Most bytes of compiled code in it; [`COMPILE_CACHE_BYTES`] is a good measure.
    pub max_bytes: u64,
}

impl std::fmt::Debug for CompilerSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { folder, max_bytes, key: _ } = self;
        f.debug_struct("CompilerSettings")
            .field("folder", folder)
            .field("max_bytes", max_bytes)
            .finish_non_exhaustive()
    }
}

/// What a [`Compiler`] has done since its start, and what it keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompilerStats {
    /// Compiled code on disk.
    pub kept: usize,
    /// Its length, bytes.
    pub kept_bytes: u64,
    /// Code that is known not to compile.
    pub known_failures: usize,
    /// Who waits for a turn.
    pub waiting: usize,
    /// How often compiled code was there already.
    pub found: u64,
    /// How often a compile worker was started.
    pub compiled: u64,
    /// How often a known failure was answered without compiling.
    pub refused: u64,
}

/// What compiled code of this form and class depends on.
type Fingerprint = (Discriminant<Code>, Determinism, [u8; 32]);

/// Compiles code once and keeps it. Clones share everything; callers block.
#[derive(Clone, Debug)]
pub struct Compiler {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    spawner: Spawner,
    cache: Option<Cache>,
    failures: Failures,
    turns: Turns,
    /// Making one takes as long as starting an engine. As many as there are forms of code times determinism classes.
    fingerprints: Mutex<Vec<Fingerprint>>,
    found: AtomicU64,
    compiled: AtomicU64,
    refused: AtomicU64,
}

impl Compiler {
    /// A compiler that keeps its work in a folder.
    ///
    /// # Errors
    /// If the folder cannot be made or read.
    pub fn open(spawner: Spawner, settings: CompilerSettings) -> io::Result<Self> {
        let CompilerSettings { folder, key, max_bytes } = settings;
        let cache = Cache::open(folder.clone(), &key, max_bytes)?;
        Ok(Self::new(spawner, Some(cache), Failures::open(folder, &key)))
    }

    /// A compiler that keeps nothing but failures, and those until it is dropped.
    #[must_use]
    pub fn without_folder(spawner: Spawner) -> Self {
        Self::new(spawner, None, Failures::in_memory())
    }

    fn new(spawner: Spawner, cache: Option<Cache>, failures: Failures) -> Self {
        // Half of the cores: the other half is for records, which somebody waits for.
        let at_once = thread::available_parallelism().map_or(1, |cores| cores.get() / 2);
        let shared = Shared {
            spawner,
            cache,
            failures,
            turns: Turns::new(at_once),
            fingerprints: Mutex::default(),
            found: AtomicU64::new(0),
            compiled: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The package's code compiled, or nothing if its engine needs no compiling. `asker` is the org for which it is done;
    /// askers take turns.
    ///
    /// # Errors
    /// [`Failure::InvalidModule`], [`Failure::ForbiddenImport`], [`Failure::CompileTimeout`] or
    /// [`Failure::MemoryLimit`] of the code, possibly remembered; [`Failure::Internal`] if too many wait or the node has
    /// a trouble of its own.
    pub fn compiled(
        &self,
        package: &PackageFiles<'_>,
        asker: &str,
    ) -> Result<Option<Compiled>, Failure> {
        let shared = &*self.shared;
        let Some(stage) = stage_to_compile(package)? else { return Ok(None) };
        let key = shared.key(&stage)?;
        if let Some(found) = shared.find(&key)? {
            return Ok(Some(found));
        }
        let busy = |why: turns::Busy| Failure::Internal { why: why.to_string() };
        let _turn = shared.turns.wait(asker, key).map_err(busy)?;
        // Somebody else may have been at it meanwhile.
        if let Some(found) = shared.find(&key)? {
            return Ok(Some(found));
        }
        shared.compiled.fetch_add(1, Ordering::Relaxed);
        match shared.spawner.compile(package, stage) {
            Ok(pieces) => shared.keep(&key, &pieces).map(Some),
            Err(failure) => {
                tracing::info!(code = %key, %failure, "code does not compile");
                shared.failures.remember(key, &failure);
                Err(failure)
            }
        }
    }

    /// What it keeps and has done.
    #[must_use]
    pub fn stats(&self) -> CompilerStats {
        let shared = &*self.shared;
        let size = shared.cache.as_ref().map(Cache::size).unwrap_or_default();
        CompilerStats {
            kept: size.files,
            kept_bytes: size.len_bytes,
            known_failures: shared.failures.len(),
            waiting: shared.turns.waiting(),
            found: shared.found.load(Ordering::Relaxed),
            compiled: shared.compiled.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    /// What compiled code is kept under: the hash of its source, and all else that it depends on.
    fn key(&self, stage: &StageSpec) -> Result<Hash, Failure> {
        let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
        hasher.update(stage.file.hash.as_bytes());
        hasher.update(&self.fingerprint(stage)?);
        // The same code is refused for one contract and compiled for another.
        hasher.update(Granted::of(stage).mark());
        Ok(hasher.finalize().into())
    }

    fn fingerprint(&self, stage: &StageSpec) -> Result<[u8; 32], Failure> {
        let (form, class) = (discriminant(&stage.code), stage.determinism);
        let mut known = self.fingerprints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.iter().find(|known| (known.0, known.1) == (form, class)) {
            return Ok(found.2);
        }
        let made = Wasm::fingerprint(stage)?;
        known.push((form, class, made));
        Ok(made)
    }

    /// What is known of this code: compiled, a failure, or nothing.
    fn find(&self, key: &Hash) -> Result<Option<Compiled>, Failure> {
        if let Some(compiled) = self.cache.as_ref().and_then(|cache| cache.find(key)) {
            self.found.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(compiled));
        }
        match self.failures.find(key) {
            Some(failure) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(failure)
            }
            None => Ok(None),
        }
    }

    /// Keeps it on disk, or in memory for this once if that does not work.
    fn keep(&self, key: &Hash, pieces: &[Vec<u8>]) -> Result<Compiled, Failure> {
        match self.cache.as_ref().map(|cache| cache.keep(key, pieces)) {
            Some(Ok(Some(kept))) => return Ok(kept),
            Some(Ok(None)) => tracing::info!(code = %key, "compiled code is too long to be kept"),
            Some(Err(error)) => tracing::warn!(%error, "compiled code is not kept"),
            None => {}
        }
        in_memory(pieces)
    }
}

impl Spawner {
    /// Compiles code in a worker of its own and keeps nothing. Nothing if its engine needs no compiling.
    pub(super) fn compile_once(
        &self,
        package: &PackageFiles<'_>,
    ) -> Result<Option<Compiled>, Failure> {
        let Some(stage) = stage_to_compile(package)? else { return Ok(None) };
        self.compile(package, stage).and_then(|pieces| in_memory(&pieces)).map(Some)
    }

    /// Compiles code in a worker of its own.
    fn compile(
        &self,
        package: &PackageFiles<'_>,
        stage: StageSpec,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let file = package.open(&stage.file)?;
        let limit_ms = COMPILE_MAX_MS.saturating_add(further_compile_ms(stage.file.len_bytes));
        let setup = Setup {
            data_bytes: COMPILE_MEMORY_BYTES,
            cpu_seconds: (limit_ms / 1000).saturating_add(CPU_SLACK_SECONDS),
            cpu_moves: false,
            nice: BACKGROUND_NICE,
            self_test: false,
        };
        let mut process = Process::start(self, setup, COMPILE_MEMORY_BYTES)?;
        let request = Request::Compile { stage: Box::new(stage) };
        let wait = Wait::Compile { limit_ms };
        let len_bytes = match process.request(&request, Some(file.as_fd()), wait)? {
            Reply::Compiled { len_bytes } => len_bytes,
            _ => return Err(process.broke_protocol()),
        };
        if len_bytes > COMPILED_MAX_BYTES {
            let why =
                format!("compiled, it takes {len_bytes} bytes; {COMPILED_MAX_BYTES} are taken");
            return Err(Failure::InvalidModule { why });
        }
        let (mut pieces, mut at) = (Vec::new(), 0);
        while at < len_bytes {
            let bytes = match process.request(&Request::Piece { at }, None, Wait::Answer)? {
                Reply::Piece { bytes } => bytes,
                _ => return Err(process.broke_protocol()),
            };
            let expected = (len_bytes - at).min(PIECE_BYTES);
            if bytes.len() as u64 != expected {
                return Err(process.broke_protocol());
            }
            at += expected;
            pieces.push(bytes);
        }
        Ok(pieces)
    }
}

/// What a compile worker has to know of a package, if its code is compiled at all. Limits and config of a run are not
/// part of it: they change nothing about the result.
fn stage_to_compile(package: &PackageFiles<'_>) -> Result<Option<StageSpec>, Failure> {
    match package.code()?.0 {
        Code::Onnx(_) => Ok(None),
        code => package.stage(code.engine(), 0, &BTreeMap::new()).map(Some),
    }
}

fn in_memory(pieces: &[Vec<u8>]) -> Result<Compiled, Failure> {
    Compiled::of_bytes(pieces)
        .map_err(|error| Failure::Internal { why: format!("holding compiled code: {error}") })
}
