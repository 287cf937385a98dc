//! The worker's side: shuts itself in, then answers the node's requests one after another until the node hangs up.
//!
//! One worker serves one package and one job, or one examination of files. It holds no key, sees no file but those handed
//! to it, and trusts the node and nothing else. A panic in an engine is answered like any failure, and then the worker
//! ends.

mod escape;
mod files;
mod isolate;
mod namespaces;
mod raw;
mod watch;

use std::any::Any;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use guildhall_protocol::interface::{Dim, Interface, PortType};
use guildhall_protocol::limits::FRAME_MAX_BYTES;
use guildhall_protocol::manifest::Code;
use guildhall_protocol::name::FileName;
use guildhall_protocol::wire::PortValue;
use rustix::time::{ClockId, clock_gettime};

pub use self::escape::try_to_break_out;
pub(crate) use self::watch::Alarm;
use crate::channel::{Channel, ChannelError};
use crate::compare;
use crate::engine::onnxruntime::{self, OnnxRuntime, check_one_thread};
use crate::engine::progress::{Progress, Results};
use crate::engine::wasm::{Compiled, Wasm};
use crate::engine::{Brought, Call, Engines, Input, LoadedStage, Outputs, onnx};
use crate::failure::{Failure, excerpt};
use crate::isolation::Isolation;
use crate::message::{
    CallLimits, PIECE_BYTES, RecordEnd, Reply, Request, RuntimeSetup, Setup, StageSpec,
};
use crate::value::{DimSizes, check_side};

/// Exit code when a person started it by hand.
const NOT_FOR_PEOPLE: u8 = 2;

/// Exit status of a worker whose call took too long and said so; nobody reads it.
const TIME_OVER: i32 = 4;

/// How tract begins its panic when the process has no memory left.
pub(crate) const ALLOCATION_FAILED: &str = "failed to allocate";

/// What an answer takes beside its records, bytes, with room to spare.
const FRAME_SPARE_BYTES: usize = 32 * 1024;

/// What an output takes in a frame beside its bytes: its port's name, its dimensions, and what CBOR adds.
const VALUE_FRAME_BYTES: usize = 256;

/// What a bounded failure takes in a frame at most: three texts and their names.
const FAILURE_MAX_BYTES: usize = 4 * crate::failure::TEXT_MAX_BYTES;

/// What the `guild worker` command does: serve the node at the other end of stdin.
#[must_use]
pub fn worker_main() -> ExitCode {
    if let Err(error) = raw::close_inherited() {
        complain(&format!("closing what it inherited: {error}"));
        return ExitCode::FAILURE;
    }
    let stdin = std::io::stdin();
    let is_socket = rustix::net::sockopt::socket_type(&stdin).is_ok();
    let channel = stdin.as_fd().try_clone_to_owned().map(Channel::from_descriptor).map(Arc::new);
    let served = match channel {
        Ok(channel) if is_socket => serve(&channel),
        _ => {
            complain("this command is started by the node, not by people; try `guild up`");
            return ExitCode::from(NOT_FOR_PEOPLE);
        }
    };
    match served {
        Ok(()) | Err(ServeError::Channel(ChannelError::Closed)) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// The node reads the beginning of a dead worker's stderr.
fn complain(what: &str) {
    let _nobody_listens = writeln!(std::io::stderr(), "{what}");
}

#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("{0}")]
    Channel(#[from] ChannelError),
    #[error("a worker cannot shut itself in: {0}")]
    Isolation(#[from] std::io::Error),
    #[error("{library} cannot be used: {0}", library = onnxruntime::NAME)]
    Library(String),
    #[error("an engine panicked")]
    Panic,
}

fn serve(channel: &Arc<Channel>) -> Result<(), ServeError> {
    let (setup, runtime): (Setup, Option<RuntimeSetup>) = channel.receive(None)?;
    let onnxruntime = runtime.as_ref().map(bring_up).transpose()?;
    let parent = escape::parent();
    let isolation = isolate::shut_in(&setup)?;
    watch::end_with(channel.watch()?)?;
    let mut worker = Worker {
        channel: Arc::clone(channel),
        alarm: Alarm::start()?,
        engines: Engines::new(onnxruntime),
        isolation,
        parent,
        stage: None,
        brought: Brought::default(),
        compiled: Vec::new(),
        outputs: Vec::new(),
    };
    std::panic::set_hook(Box::new(|_| {}));
    channel.send(&Reply::Ready(isolation), None, None)?;
    loop {
        let (request, file) = channel.receive_with_file::<Request>()?;
        let blame = Blame::of(&request);
        match catch_unwind(AssertUnwindSafe(|| worker.handle(request, file))) {
            Ok(Ok(reply)) => channel.send(&reply, None, None)?,
            Ok(Err(failure)) => channel.send(&Reply::Failed(failure.bounded()), None, None)?,
            Err(panic) => {
                let failure = blame.for_panic(&*panic).bounded();
                channel.send(&Reply::GaveUp(failure), None, None)?;
                return Err(ServeError::Panic);
            }
        }
    }
}

/// Loads the foreign library that this worker is for, while nothing else is in the process and nothing is confined yet.
fn bring_up(setup: &RuntimeSetup) -> Result<OnnxRuntime, ServeError> {
    let runtime = OnnxRuntime::load(setup).map_err(ServeError::Library)?;
    // Limits, Landlock and seccomp confine the thread that asks for them, and those that it starts.
    check_one_thread()?;
    Ok(runtime)
}

/// For a test: what comes before the jail in a worker for the library at this path. The library stays.
#[doc(hidden)]
pub fn bring_up_onnxruntime(library: &str) -> bool {
    let setup = RuntimeSetup { library: library.to_owned(), threads: 1, cuda: false };
    bring_up(&setup).map(std::mem::forget).is_ok()
}

/// What a panic means, by what the worker was doing.
enum Blame {
    Module,
    Model,
    File(FileName),
    Worker,
}

impl Blame {
    fn of(request: &Request) -> Self {
        match request {
            Request::Inspect { stage }
            | Request::Compile { stage }
            | Request::Load { stage }
            | Request::LoadCompiled { stage } => match stage.code {
                Code::Command(_) | Code::Component(_) => Self::Module,
                _ => Self::Model,
            },
            Request::CheckFile { entry, .. }
            | Request::Model { entry, .. }
            | Request::File { entry } => Self::File(entry.name.clone()),
            Request::Examine { name, .. } => Self::File(name.clone()),
            _ => Self::Worker,
        }
    }

    fn for_panic(self, panic: &(dyn Any + Send)) -> Failure {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("an engine panicked");
        if text.starts_with(ALLOCATION_FAILED) {
            // The node knows the limit.
            return Failure::MemoryLimit { limit_bytes: 0 };
        }
        let why = format!("the engine gave up: {text}");
        match self {
            Self::Module => Failure::InvalidModule { why },
            Self::Model => Failure::InvalidModel { why },
            Self::File(name) => Failure::RefusedFormat {
                file: name.to_string(),
                why: "its structure cannot be made out".into(),
                offset: None,
                help: None,
            },
            Self::Worker => Failure::WorkerDied { why },
        }
    }
}

struct Worker {
    channel: Arc<Channel>,
    alarm: Alarm,
    engines: Engines,
    isolation: Isolation,
    /// The node's process, which must be out of reach.
    parent: i32,
    stage: Option<Stage>,
    /// What came ahead of the code that may use it.
    brought: Brought,
    /// Compiled code to be handed over.
    compiled: Vec<u8>,
    /// Outputs of the last call's first record, for comparisons.
    outputs: Vec<PortValue>,
}

struct Stage {
    interface: Arc<Interface>,
    loaded: Box<dyn LoadedStage>,
}

impl Worker {
    fn handle(&mut self, request: Request, file: Option<OwnedFd>) -> Result<Reply, Failure> {
        let file = || {
            file.map(File::from)
                .ok_or_else(|| Failure::Internal { why: "a request came without its file".into() })
        };
        match request {
            Request::CheckFile { entry, kind, role } => {
                let facts = files::check(&file()?, &entry, kind, role)?;
                Ok(Reply::Checked(Box::new(facts)))
            }
            Request::Examine { name, media_type, kind } => {
                let facts = files::examine(&file()?, &name, &media_type, kind)?;
                Ok(Reply::Checked(Box::new(facts)))
            }
            Request::Model { name, entry } => {
                let bytes = files::load(&file()?, &entry, onnx::MODEL_MAX_BYTES)?;
                self.brought.models.push((name, bytes));
                Ok(Reply::Taken)
            }
            Request::File { entry } => {
                let bytes = files::load(&file()?, &entry, entry.len_bytes)?;
                self.brought.files.push((entry.name.to_string(), bytes));
                Ok(Reply::Taken)
            }
            Request::Inspect { stage } => {
                let own = self.take_brought();
                let engine = self.engines.of(&stage)?;
                let code = files::load(&file()?, &stage.file, engine.code_max_bytes())?;
                engine.inspect(&stage, code, own).map(Reply::Inspected)
            }
            Request::Load { stage } => {
                let own = self.take_brought();
                let engine = self.engines.of(&stage)?;
                let code = files::load(&file()?, &stage.file, engine.code_max_bytes())?;
                let loaded = engine.load(&stage, code, own)?;
                let StageSpec { interface, .. } = *stage;
                self.stage = Some(Stage { interface: Arc::new(interface), loaded });
                Ok(Reply::Loaded)
            }
            Request::Providers => Ok(Reply::Providers { providers: self.engines.providers() }),
            Request::Compile { stage } => {
                let engine = self.engines.of(&stage)?;
                let code = files::load(&file()?, &stage.file, engine.code_max_bytes())?;
                self.compiled = Wasm::precompile(&stage, &code)?;
                Ok(Reply::Compiled { len_bytes: self.compiled.len() as u64 })
            }
            Request::Piece { at } => self.piece(at),
            Request::LoadCompiled { stage } => {
                let compiled = match self.isolation.empty_root {
                    true => Compiled::File(file()?),
                    // Mapping a file takes a call that is not on the list then.
                    false => Compiled::Bytes(files::read_all(&file()?)?),
                };
                let own = self.take_brought();
                let loaded = Wasm::load_compiled(&stage, compiled, own)?;
                let StageSpec { interface, .. } = *stage;
                self.stage = Some(Stage { interface: Arc::new(interface), loaded });
                Ok(Reply::Loaded)
            }
            Request::BreakOut => {
                let worked = escape::worked(self.parent).into_iter().map(str::to_owned).collect();
                Ok(Reply::BrokeOut { worked })
            }
            Request::Score { records, limits } => self.score(records, &limits),
            Request::Said => {
                let stage = self.stage.as_ref().ok_or_else(nothing_loaded)?;
                Ok(Reply::Said { bytes: stage.loaded.said() })
            }
            Request::Compare { expected, tolerance } => self.compare(&expected, tolerance),
        }
    }

    fn take_brought(&mut self) -> Brought {
        Brought { library: self.engines.library(), ..std::mem::take(&mut self.brought) }
    }

    fn piece(&self, at: u64) -> Result<Reply, Failure> {
        let rest = usize::try_from(at).ok().and_then(|at| self.compiled.get(at..));
        let rest = rest.ok_or_else(|| Failure::Internal { why: "no such piece".into() })?;
        let len = usize::try_from(PIECE_BYTES).unwrap_or(usize::MAX).min(rest.len());
        Ok(Reply::Piece { bytes: rest.get(..len).unwrap_or_default().to_vec() })
    }

    fn score(
        &mut self,
        records: Vec<Vec<PortValue>>,
        limits: &CallLimits,
    ) -> Result<Reply, Failure> {
        self.outputs.clear();
        let stage = self.stage.as_mut().ok_or_else(nothing_loaded)?;
        // A record that is not what the interface says never reaches the engine.
        let mut ends: Vec<Option<RecordEnd>> = Vec::with_capacity(records.len());
        let (mut checked, mut sizes_of) = (Vec::new(), Vec::new());
        for values in records {
            let mut sizes = DimSizes::new();
            match check_side(&stage.interface.inputs, &values, &mut sizes) {
                Ok(()) => {
                    sizes_of.push((ends.len(), sizes.clone()));
                    checked.push(Input { values, sizes });
                    ends.push(None);
                }
                Err(why) => ends.push(Some(RecordEnd::Failed(Failure::BadInput { why }.bounded()))),
            }
        }
        let is_threaded = stage.loaded.is_threaded();
        let interface = Arc::clone(&stage.interface);
        let answer = Arc::new(Answer { interface, limits: *limits, ends, sizes_of });
        let progress = Progress::new({
            let (channel, answer) = (Arc::clone(&self.channel), Arc::clone(&answer));
            let began_us = processor_time_us(true);
            move |said| {
                let cpu_us = processor_time_us(true).saturating_sub(began_us);
                let reply = match said {
                    Ok(results) => answer.reply(results, cpu_us, true),
                    Err(failure) => Reply::GaveUp(failure.bounded()),
                };
                // The node may be gone, and ends this process itself if it hears nothing.
                let _unheard = channel.send(&reply, None, None);
                std::process::exit(TIME_OVER);
            }
        });
        let started_us = processor_time_us(is_threaded);
        let call = Call { records: checked, limits: *limits, progress };
        let results = stage.loaded.score(call, &self.alarm);
        let cpu_us = processor_time_us(is_threaded).saturating_sub(started_us);
        let reply = answer.reply(results, cpu_us, false);
        if let Reply::Scored { records, .. } = &reply
            && let Some(RecordEnd::Outputs(values)) = records.first()
        {
            self.outputs.clone_from(values);
        }
        Ok(reply)
    }

    fn compare(&self, expected: &PortValue, tolerance: f64) -> Result<Reply, Failure> {
        let stage = self.stage.as_ref().ok_or_else(nothing_loaded)?;
        let port = stage.interface.outputs.iter().find(|port| port.name == expected.port);
        let found = self.outputs.iter().find(|value| value.port == expected.port);
        let difference = match (port, found) {
            (Some(port), Some(found)) => {
                compare::difference(&port.port_type, &found.bytes, &expected.bytes, tolerance)
            }
            _ => Some("there is no output to compare".into()),
        };
        Ok(Reply::Compared { difference: difference.map(|text| excerpt(text.as_bytes())) })
    }
}

/// What it takes to answer a call, once there are results.
struct Answer {
    interface: Arc<Interface>,
    limits: CallLimits,
    /// Records that never reached the engine have their end already.
    ends: Vec<Option<RecordEnd>>,
    /// The places of the others, and the sizes of their named dimensions.
    sizes_of: Vec<(usize, DimSizes)>,
}

impl Answer {
    fn reply(&self, results: Results, cpu_us: u64, is_last: bool) -> Reply {
        let (mut ends, mut memory_peak_bytes) = (self.ends.clone(), None);
        for (result, (at, sizes)) in results.into_iter().zip(&self.sizes_of) {
            let end = result.and_then(|outputs| {
                memory_peak_bytes = memory_peak_bytes.max(outputs.memory_peak_bytes);
                self.check_outputs(outputs, &mut sizes.clone())
            });
            if let Some(place) = ends.get_mut(*at) {
                *place = Some(match end {
                    Ok(values) => RecordEnd::Outputs(values),
                    Err(failure) => RecordEnd::Failed(failure.bounded()),
                });
            }
        }
        Reply::Scored { records: fitting(ends), cpu_us, memory_peak_bytes, is_last }
    }

    fn check_outputs(
        &self,
        outputs: Outputs,
        sizes: &mut DimSizes,
    ) -> Result<Vec<PortValue>, Failure> {
        let mut values = outputs.values;
        let len_bytes: usize = values.iter().map(|value| value.bytes.len()).sum();
        if len_bytes as u64 > self.limits.output_bytes {
            return Err(Failure::OutputLimit { limit_bytes: self.limits.output_bytes });
        }
        check_side(&self.interface.outputs, &values, sizes)
            .map_err(|why| Failure::BadOutput { why })?;
        for value in &mut values {
            let port = self.interface.outputs.iter().find(|port| port.name == value.port);
            if port.is_none_or(|port| !has_open_dims(&port.port_type)) {
                value.dims = None;
            }
        }
        Ok(values)
    }
}

/// Whether a value's length does not say all about its shape.
fn has_open_dims(port_type: &PortType) -> bool {
    match port_type {
        PortType::Tensor(tensor) => {
            tensor.dims.iter().filter(|dim| !matches!(dim, Dim::Fixed(_))).count() > 1
        }
        _ => false,
    }
}

/// The records up to the first that was not reached, as many as fit into a frame, but at least one.
fn fitting(ends: Vec<Option<RecordEnd>>) -> Vec<RecordEnd> {
    let mut room = FRAME_MAX_BYTES.saturating_sub(FRAME_SPARE_BYTES);
    let mut taken = Vec::new();
    for end in ends.into_iter().map_while(|end| end) {
        let len_bytes = match &end {
            RecordEnd::Outputs(values) => {
                values.iter().map(|value| value.bytes.len() + VALUE_FRAME_BYTES).sum()
            }
            RecordEnd::Failed(_) => FAILURE_MAX_BYTES,
        };
        if len_bytes > room && !taken.is_empty() {
            break;
        }
        room = room.saturating_sub(len_bytes);
        taken.push(end);
    }
    taken
}

fn nothing_loaded() -> Failure {
    Failure::Internal { why: "a record came before its stage".into() }
}

/// Processor time of this thread so far, microseconds, or of all of them. Most engines work on the thread that asks them;
/// the process's own clock only moves with the kernel's ticks, because it has a limit.
fn processor_time_us(is_threaded: bool) -> u64 {
    let time = clock_gettime(match is_threaded {
        true => ClockId::ProcessCPUTime,
        false => ClockId::ThreadCPUTime,
    });
    let micros = time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000);
    u64::try_from(micros).unwrap_or_default()
}
