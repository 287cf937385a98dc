//! Which engines this machine has: those built in, and onnxruntime when its library is found and works.
//!
//! The node itself never loads that library. It looks for a file, and asks a worker that is started for it; what works
//! there is what is advertised. Nothing is ever downloaded.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use guildhall_protocol::manifest::Code;
use serde::{Deserialize, Serialize};

use super::process::{Process, Wait};
use super::{ONNX_ALLOWANCE_BYTES, Spawner};
use crate::engine::{engine_names, onnxruntime};
use crate::failure::{Failure, excerpt};
use crate::message::{Reply, Request, RuntimeSetup, Setup};

/// Writable memory that the library takes once it is loaded and has run something, bytes. Version 1.32 takes 9 MB; the
/// rest is for other builds of it, and for what it holds in another order for the processor's sake.
const LIBRARY_BYTES: u64 = 64 << 20;

/// Writable memory for each of its threads, bytes: the stack that the system gives a thread, usually 8 MiB of which a
/// part is used, and a heap of its own.
const THREAD_BYTES: u64 = 16 << 20;

/// Processor time of a worker that only says what there is, seconds: loading takes a tenth of one.
const ASKED_CPU_SECONDS: u64 = 20;

/// Most providers that are taken from an answer: a handful exist. Each is cut to the length of any foreign text.
const PROVIDERS_MAX: usize = 16;

/// File name of the library, to which versions are appended.
const LIBRARY_NAME: &str = "libonnxruntime.so";

/// Where systems, distributions and the library's own archive put it. `LD_LIBRARY_PATH` comes before them.
const USUAL_FOLDERS: [&str; 8] = [
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/opt/onnxruntime/lib",
    "/opt/onnxruntime/lib64",
];

/// Most entries of a folder that are looked at: system folders have some thousand.
const FOLDER_ENTRIES_MAX: usize = 100_000;

/// What the linker writes before the version into the table of a library's symbols.
const VERSION_MARK: &[u8] = b"\0VERS_";

/// Longest version, bytes; and so what chunks of the file overlap by.
const VERSION_MAX_BYTES: usize = 32;

/// Bytes of the file that are looked through at once.
const CHUNK_BYTES: usize = 1 << 20;

/// An engine as a node may advertise it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineInfo {
    /// Its name: what a stage is given to.
    pub name: String,
    /// Its version; the program's own for what is built in.
    pub version: String,
    /// What it runs on, `cpu` first.
    pub providers: Vec<String>,
}

impl EngineInfo {
    /// The names to advertise: its own, and for each provider beyond the processor `name/provider`.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        let added = self.providers.iter().filter(|provider| *provider != "cpu");
        let qualified = added.map(|provider| format!("{}/{provider}", self.name));
        std::iter::once(self.name.clone()).chain(qualified)
    }
}

/// What this machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engines {
    /// What works, the built-in ones first.
    pub engines: Vec<EngineInfo>,
    /// Why the library that the [`Spawner`] knows is of no use; the spawner should then forget it.
    pub problem: Option<LibraryProblem>,
}

/// Why a library cannot be used, for the person who configured it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("onnxruntime at {path} is not used: {why}")]
pub struct LibraryProblem {
    /// Where it is.
    pub path: String,
    /// What is wrong, printable.
    pub why: String,
}

/// An onnxruntime library on this machine, and how workers use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxRuntime {
    setup: RuntimeSetup,
}

impl OnnxRuntime {
    /// The library in this file, for one thread and no CUDA.
    ///
    /// # Errors
    /// A [`LibraryProblem`] if it is no file or not named by its whole path. Whether it works is for
    /// [`Spawner::engines`] to find out.
    pub fn at(path: &Path) -> Result<Self, LibraryProblem> {
        let shown = excerpt(path.as_os_str().as_encoded_bytes());
        let problem = |why: &str| LibraryProblem { path: shown.clone(), why: why.to_owned() };
        let library = path.to_str().ok_or_else(|| problem("its path is not UTF-8"))?.to_owned();
        if !path.is_absolute() {
            return Err(problem("its path has to be absolute"));
        }
        match fs::metadata(path) {
            Ok(file) if file.is_file() => {}
            Ok(_) => return Err(problem("it is no file")),
            Err(error) => return Err(problem(&error.to_string())),
        }
        Ok(Self { setup: RuntimeSetup { library, threads: 1, cuda: false } })
    }

    /// The first library in the usual places: `LD_LIBRARY_PATH`, then where systems and distributions put it. Not
    /// searched: environments of Python, whose library goes with them and comes and goes; name it by its path.
    #[must_use]
    pub fn find() -> Option<Self> {
        let listed = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let folders = std::env::split_paths(&listed).filter(|folder| folder.is_absolute());
        let folders = folders.chain(USUAL_FOLDERS.iter().map(PathBuf::from));
        folders.filter_map(|folder| library_in(&folder)).find_map(|path| Self::at(&path).ok())
    }

    /// Lets a stage use so many cores; none means one.
    #[must_use]
    pub fn with_threads(mut self, threads: u16) -> Self {
        self.setup.threads = threads.max(1);
        self
    }

    /// Sends stages to a CUDA device. Only where [`Spawner::engines`] named that provider.
    #[must_use]
    pub fn with_cuda(mut self, cuda: bool) -> Self {
        self.setup.cuda = cuda;
        self
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        Path::new(&self.setup.library)
    }
}

/// The library in a folder: the plain name, else the last of those with a version.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let plain = folder.join(LIBRARY_NAME);
    if plain.is_file() {
        return Some(plain);
    }
    let is_versioned = |name: &OsString| {
        let name = name.to_str().and_then(|name| name.strip_prefix(LIBRARY_NAME));
        name.is_some_and(|rest| {
            rest.starts_with('.') && rest.chars().all(|c| c == '.' || c.is_ascii_digit())
        })
    };
    let numbers = |name: &OsString| -> Vec<u64> {
        let name = name.to_string_lossy();
        name.split('.').filter_map(|part| part.parse().ok()).collect()
    };
    let entries = fs::read_dir(folder).ok()?.take(FOLDER_ENTRIES_MAX).filter_map(Result::ok);
    let names = entries.map(|entry| entry.file_name()).filter(is_versioned);
    names.max_by_key(numbers).map(|name| folder.join(name))
}

impl Spawner {
    /// Lets workers for graphs use this library instead of the engine built in, or that engine again. A node that has
    /// both keeps a spawner for each.
    #[must_use]
    pub fn with_onnxruntime(mut self, onnxruntime: Option<OnnxRuntime>) -> Self {
        self.onnxruntime = onnxruntime;
        self
    }

    /// The library that workers for graphs use, if any.
    #[must_use]
    pub fn onnxruntime(&self) -> Option<&OnnxRuntime> {
        self.onnxruntime.as_ref()
    }

    /// The engine that workers of this spawner execute such code with, unless they are told which.
    #[must_use]
    pub fn engine_of<'c>(&self, code: &'c Code) -> &'c str {
        match (code, &self.onnxruntime) {
            (Code::Onnx(_), Some(_)) => onnxruntime::NAME,
            _ => code.engine(),
        }
    }

    /// Which engines this machine has. Starts a worker to find out, if a library is known. It runs a small graph on each
    /// provider, shut in as every worker is.
    #[must_use]
    pub fn engines(&self) -> Engines {
        let built_in = |name: &str| EngineInfo {
            name: name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            providers: vec!["cpu".to_owned()],
        };
        let mut engines: Vec<_> = engine_names().into_iter().map(built_in).collect();
        let Some(library) = &self.onnxruntime else { return Engines { engines, problem: None } };
        let problem = match self.ask(library) {
            Ok(info) => {
                engines.push(info);
                None
            }
            Err(failure) => Some(LibraryProblem {
                path: excerpt(library.setup.library.as_bytes()),
                why: failure.to_string(),
            }),
        };
        Engines { engines, problem }
    }

    fn ask(&self, library: &OnnxRuntime) -> Result<EngineInfo, Failure> {
        let setup = Setup {
            data_bytes: ONNX_ALLOWANCE_BYTES.saturating_add(memory_of(library)),
            cpu_seconds: ASKED_CPU_SECONDS,
            cpu_moves: false,
            nice: 0,
            self_test: false,
        };
        let mut process = Process::start_with(self, setup, Some(library.setup.clone()), 0)?;
        let reply = process.request(&Request::Providers, None, Wait::Answer)?;
        let Reply::Providers { mut providers } = reply else {
            return Err(process.broke_protocol());
        };
        providers.truncate(PROVIDERS_MAX);
        providers.iter_mut().for_each(|name| *name = excerpt(name.as_bytes()));
        let version = version_of(library.path()).ok().flatten();
        let version = version.unwrap_or_else(|| "unknown".to_owned());
        Ok(EngineInfo { name: onnxruntime::NAME.to_owned(), version, providers })
    }

    /// What a worker has to load before it can be this engine, or run the models of this code. One that is not there is
    /// for the worker to miss.
    pub(super) fn runtime_for(&self, engine: &str, code: &Code) -> Option<RuntimeSetup> {
        self.library_for(engine, code).map(|library| library.setup.clone())
    }

    fn library_for(&self, engine: &str, code: &Code) -> Option<&OnnxRuntime> {
        let is_needed = engine == onnxruntime::NAME || code.models_need_library();
        self.onnxruntime.as_ref().filter(|_| is_needed)
    }

    /// How many threads this engine may work on at once, and so how much faster than the wall clock processor time may
    /// go. Models of code run on its own thread.
    pub(super) fn threads_for(&self, engine: &str) -> u64 {
        let library = self.onnxruntime.as_ref().filter(|_| engine == onnxruntime::NAME);
        library.map_or(1, |library| u64::from(library.setup.threads))
    }

    /// Writable memory that the library takes, bytes.
    pub(super) fn library_bytes(&self, engine: &str, code: &Code) -> u64 {
        self.library_for(engine, code).map_or(0, memory_of)
    }
}

fn memory_of(library: &OnnxRuntime) -> u64 {
    LIBRARY_BYTES.saturating_add(THREAD_BYTES.saturating_mul(library.setup.threads.into()))
}

/// The version that a library says of itself, without loading it: its symbols are marked with it.
fn version_of(path: &Path) -> io::Result<Option<String>> {
    let mut file = File::open(path)?;
    let mut window: Vec<u8> = Vec::new();
    loop {
        let had = window.len();
        let read = file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut window)?;
        let found = window
            .windows(VERSION_MARK.len())
            .enumerate()
            .filter(|(_, bytes)| *bytes == VERSION_MARK)
            .find_map(|(at, _)| version_at(window.get(at + VERSION_MARK.len()..)?));
        if found.is_some() || read == 0 {
            return Ok(found);
        }
        // A mark may lie across two chunks.
        let keep = (VERSION_MARK.len() + VERSION_MAX_BYTES).min(had + read);
        window.drain(..window.len() - keep);
    }
}

/// A version that ends with a zero byte.
fn version_at(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().take(VERSION_MAX_BYTES).position(|byte| *byte == 0)?;
    let version = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let is_version = version.contains('.')
        && version.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+'));
    is_version.then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_name_comes_first_and_then_the_last_version() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| fs::write(folder.path().join(name), b"").unwrap();
        let found = || {
            let path = library_in(folder.path())?;
            Some(path.file_name().unwrap().to_str().unwrap().to_owned())
        };
        assert_eq!(found(), None);
        put("libonnxruntime.so.old");
        put("libonnxruntime_providers_shared.so");
        assert_eq!(found(), None);
        put("libonnxruntime.so.1.9.0");
        put("libonnxruntime.so.1.32.0");
        assert_eq!(found().as_deref(), Some("libonnxruntime.so.1.32.0"));
        put("libonnxruntime.so");
        assert_eq!(found().as_deref(), Some("libonnxruntime.so"));
    }

    #[test]
    fn what_is_no_file_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        let why = |path: &Path| OnnxRuntime::at(path).unwrap_err().to_string();
        assert!(why(folder.path()).ends_with("is not used: it is no file"));
        assert!(why(&folder.path().join("none.so")).contains("No such file"));
        assert!(why(Path::new("none.so")).contains("absolute"));
    }

    #[test]
    fn a_version_is_found_wherever_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library");
        for before in [0, 9, CHUNK_BYTES - 10, CHUNK_BYTES - 3, 2 * CHUNK_BYTES] {
            let mut bytes = vec![b'x'; before];
            bytes.extend_from_slice(b"\0VERS_\0VERS_1.32.0\0rest");
            fs::write(&path, &bytes).unwrap();
            assert_eq!(version_of(&path).unwrap().as_deref(), Some("1.32.0"), "{before}");
        }
        fs::write(&path, b"\0VERS_1.32.0").unwrap();
        assert_eq!(version_of(&path).unwrap(), None);
    }

    #[test]
    fn providers_beyond_the_processor_are_advertised_by_name() {
        let info = EngineInfo {
            name: "onnxruntime".into(),
            version: "1.32.0".into(),
            providers: vec!["cpu".into(), "cuda".into()],
        };
        assert_eq!(info.names().collect::<Vec<_>>(), ["onnxruntime", "onnxruntime/cuda"]);
    }
}
