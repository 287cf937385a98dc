//! The `onnxruntime` engine: ONNX graphs in the library of that name, when the machine has it.
//!
//! The library is foreign C++ that reads `/proc`, `/sys` and its own files when it comes up, so a worker that is started
//! for it loads it *before* it shuts itself in: [`OnnxRuntime::load`] runs while nothing foreign is near, and makes and
//! runs a graph of our own, so that everything the library does only once is done. It must not leave threads behind:
//! those would stay outside the jail, and the worker gives up if there are any. (Microsoft's builds start one that sends
//! reports, unless the environment tells them not to; the node's side of this crate does.) Whatever comes later, a package's graph
//! and the threads of its session, is inside. The node's own process never loads it.
//!
//! Graphs come as bytes, in the ONNX format only: no files beside them, no libraries of operators, nothing is written.
//! Bindings, batches and predictions are those of every engine of graphs, see [`graph`](super::graph).
//!
//! | what | how |
//! |---|---|
//! | threads | as many as the node gives to a stage; with one, none but the caller's; idle ones sleep, they do not spin |
//! | memory | the library's own arena, which asks for less when `RLIMIT_DATA` says no; a refusal is [`Failure::MemoryLimit`] |
//! | time | the alarm asks the run to end between two operators; the node kills what does not |
//! | what it would print | dropped: nobody reads a worker's stderr while it lives |

mod asked;
mod score;
mod session;
mod tensor;

use std::fs;
use std::io;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;

use guildhall_protocol::manifest::{Binding, Code, OnnxCode};
use ort::environment::Environment;
use ort::ep::{CUDA, ExecutionProvider as _};
use ort::logging::LogLevel;
use ort::session::{RunOptions, Session};
use ort::value::Tensor;

pub(crate) use self::asked::Model;
use self::score::Graph;
use self::session::{Options, open};
use super::graph::{Slot, check_output};
use super::{Brought, Engine, LoadedStage};
use crate::failure::Failure;
use crate::message::{CodeReport, RuntimeSetup, StageSpec, TensorInfo};

/// The name that nodes advertise.
pub(crate) const NAME: &str = "onnxruntime";

/// The provider for NVIDIA's devices, as nodes advertise it.
const CUDA_NAME: &str = "cuda";

/// Largest graph file, bytes: a protocol buffer ends at 2 GiB, and it is in memory twice while it is read.
const MODEL_MAX_BYTES: u64 = 1 << 30;

/// Where the kernel lists the threads of this process.
const THREADS: &str = "/proc/self/task";

/// The smallest graph: `y = Identity(x)`, one float32 each, operator set 13. In the words of the format: version 7; a
/// graph `g` of that node, input `x` and output `y`; the operator set.
const IDENTITY: &[u8] = b"\x08\x07:7\n\x10\n\x01x\x12\x01y\"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\
      \x12\x04\n\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r";

/// The loaded library.
pub(crate) struct OnnxRuntime {
    environment: Environment,
    threads: usize,
    is_on_cuda: bool,
}

impl OnnxRuntime {
    /// Loads the library and brings it up. Nothing may be confined yet, and the process must have one thread.
    ///
    /// # Errors
    /// Why it is of no use here, in words.
    pub(crate) fn load(setup: &RuntimeSetup) -> Result<Self, String> {
        let path = Path::new(&setup.library);
        if !path.is_absolute() {
            return Err("its path is not absolute".into());
        }
        // The binding panics where a library has the entry point and nothing behind it.
        catch_unwind(|| Self::bring_up(path, setup))
            .unwrap_or_else(|_| Err("it is no such library".into()))
    }

    fn bring_up(path: &Path, setup: &RuntimeSetup) -> Result<Self, String> {
        let environment = ort::init_from(path)
            .map_err(|error| error.to_string())?
            .with_name("guildhall")
            .with_telemetry(false)
            .with_logger(Arc::new(|_, _, _, _, _| {}))
            .build()
            .map_err(|error| error.to_string())?;
        // Otherwise it writes every message, only to have it dropped.
        environment.set_log_level(LogLevel::Fatal);
        let threads = usize::from(setup.threads).max(1);
        let runtime = Self { environment, threads, is_on_cuda: setup.cuda };
        // On one thread, whatever sessions get later: this one lives outside the jail.
        runtime.try_identity(Options { threads: 1, ..runtime.options(false) })?;
        Ok(runtime)
    }

    fn options(&self, is_exact: bool) -> Options {
        Options { threads: self.threads, is_on_cuda: self.is_on_cuda, is_exact }
    }

    /// Runs a graph of our own.
    fn try_identity(&self, options: Options) -> Result<(), String> {
        let in_words = |error: ort::Error| error.to_string();
        let mut session =
            open(&self.environment, Options { is_on_cuda: false, ..options }, IDENTITY)
                .map_err(in_words)?;
        Self::run_identity(&mut session).map_err(in_words)
    }

    fn run_identity(session: &mut Session) -> ort::Result<()> {
        let x = Tensor::from_array(([1_usize], vec![1.0_f32]))?;
        session.run_with_options(vec![("x", x)], &RunOptions::new()?).map(drop)
    }

    /// Where graphs run: each provider that ran one just now, inside the jail. CUDA wants devices and system calls that
    /// a worker does not have as it is, so it shows up only where that has changed.
    pub(crate) fn providers(&self) -> Vec<String> {
        let mut providers = vec!["cpu".to_owned()];
        if CUDA::is_available().unwrap_or(false) {
            let on_cuda = Options { is_on_cuda: true, ..self.options(false) };
            let ran = open(&self.environment, on_cuda, IDENTITY)
                .and_then(|mut session| Self::run_identity(&mut session));
            if ran.is_ok() {
                providers.push(CUDA_NAME.to_owned());
            }
        }
        providers
    }
}

/// Fails unless this process has one thread: others would not be shut in with it.
pub(crate) fn check_one_thread() -> io::Result<()> {
    match fs::read_dir(THREADS)?.count() {
        1 => Ok(()),
        count => Err(io::Error::other(format!("{count} threads, of which one would be confined"))),
    }
}

impl Engine for OnnxRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn code_max_bytes(&self) -> u64 {
        MODEL_MAX_BYTES
    }

    fn inspect(
        &self,
        stage: &StageSpec,
        code: Vec<u8>,
        _own: Brought,
    ) -> Result<CodeReport, Failure> {
        self.prepare(stage, code).map(|(_, report)| report)
    }

    fn load(
        &self,
        stage: &StageSpec,
        code: Vec<u8>,
        _own: Brought,
    ) -> Result<Box<dyn LoadedStage>, Failure> {
        self.prepare(stage, code).map(|(graph, _)| Box::new(graph) as Box<dyn LoadedStage>)
    }
}

impl OnnxRuntime {
    /// What it means that a graph did not become a session: a device that is missing is not the graph's fault.
    fn blame(&self, why: &str) -> Failure {
        if self.is_on_cuda && !self.providers().iter().any(|provider| provider == CUDA_NAME) {
            return Failure::Unsupported {
                what: format!("its workers reach no CUDA device: {why}"),
            };
        }
        invalid(why)
    }

    fn prepare(&self, stage: &StageSpec, code: Vec<u8>) -> Result<(Graph, CodeReport), Failure> {
        let Code::Onnx(onnx) = &stage.code else { return Err(invalid("it is not a graph")) };
        let is_exact = stage.determinism == guildhall_protocol::contract::Determinism::Bitwise;
        let options = self.options(is_exact);
        let session = open(&self.environment, options, &code)
            .map_err(|error| session::failure(&error, |why| self.blame(&why)))?;
        drop(code);
        let mut report = CodeReport::default();
        let inputs = bind_inputs(&session, stage, onnx, &mut report)?;
        let (mut outputs, mut is_shared) = (Vec::new(), true);
        for binding in &onnx.outputs {
            let port = port(&stage.interface.outputs, binding)?;
            let outlet = session
                .outputs()
                .iter()
                .find(|outlet| outlet.name() == binding.tensor)
                .ok_or_else(|| invalid(&format!("it has no output `{}`", binding.tensor)))?;
            let wrong = |why: String| invalid(&format!("output `{}`: {why}", binding.tensor));
            let fact = tensor::fact(outlet.dtype()).map_err(wrong)?;
            check_output(port, &fact).map_err(wrong)?;
            is_shared &= fact.may_be_shared();
            report
                .outputs
                .push(TensorInfo { name: binding.tensor.clone(), shape: fact.to_string() });
            outputs.push((binding.tensor.clone(), port.clone()));
        }
        Ok((Graph::new(session, inputs, outputs, is_shared, &options), report))
    }
}

/// The graph's inputs, each with the port that feeds it.
fn bind_inputs(
    session: &Session,
    stage: &StageSpec,
    onnx: &OnnxCode,
    report: &mut CodeReport,
) -> Result<Vec<(String, Slot)>, Failure> {
    let names: Vec<&str> = session.inputs().iter().map(ort::value::Outlet::name).collect();
    if let Some(binding) = onnx.inputs.iter().find(|b| !names.contains(&b.tensor.as_str())) {
        return Err(invalid(&format!("it has no input `{}`", binding.tensor)));
    }
    let mut inputs = Vec::new();
    for outlet in session.inputs() {
        let name = outlet.name();
        let binding = onnx
            .inputs
            .iter()
            .find(|binding| binding.tensor == name)
            .ok_or_else(|| invalid(&format!("its input `{name}` is bound to no port")))?;
        let wrong = |why: String| invalid(&format!("input `{name}`: {why}"));
        let fact = tensor::fact(outlet.dtype()).map_err(wrong)?;
        report.inputs.push(TensorInfo { name: name.to_owned(), shape: fact.to_string() });
        let slot = Slot::agree(port(&stage.interface.inputs, binding)?, &fact).map_err(wrong)?;
        inputs.push((name.to_owned(), slot));
    }
    Ok(inputs)
}

fn port<'a>(
    side: &'a [guildhall_protocol::interface::Port],
    binding: &Binding,
) -> Result<&'a guildhall_protocol::interface::Port, Failure> {
    side.iter().find(|port| port.name == binding.port).ok_or_else(|| {
        invalid(&format!("it is bound to port `{}`, which does not exist", binding.port))
    })
}

fn invalid(why: &str) -> Failure {
    Failure::InvalidModel { why: why.to_owned() }
}
