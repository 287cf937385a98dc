//! One worker process as the node sees it: started, asked, late, dead.
//!
//! Whatever goes wrong with the process ends it; a failure that the worker itself reports does not.

use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Spawner;
use crate::channel::{Channel, ChannelError};
use crate::failure::{Failure, TEXT_MAX_BYTES, excerpt};
use crate::message::{Isolation, Reply, Request, RuntimeSetup, Setup};

/// How long after a record's limit the worker is killed, milliseconds: time for an engine that interrupts itself to do
/// so and answer, which keeps its worker.
pub const KILL_GRACE_MS: u64 = 50;

/// Longest time for a worker to start and shut itself in, milliseconds. It takes a few; the rest is for loaded machines.
const START_MAX_MS: u64 = 10_000;

/// Longest time for an answer that needs no work, milliseconds.
const ANSWER_MAX_MS: u64 = 10_000;

/// Slowest reading of a file that still counts as working, bytes a millisecond (8 MiB/s): it is hashed, then parsed.
const READ_BYTES_PER_MS: u64 = 8 * 1024;

/// Longest wait for anything, milliseconds: 30 days. A limit may be any number; a point in time may not.
const WAIT_MAX_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// What the runtimes of Rust and C++ say when an allocation fails, before they abort.
const OUT_OF_MEMORY: [&str; 2] = ["memory allocation of", "'std::bad_alloc'"];

/// What keeps Microsoft's own builds of onnxruntime, from 1.29 on, from making an identifier and a database in the home
/// folder and sending reports over the network; the call that turns it off comes too late for that. The second is what it
/// was called for a while.
const NO_TELEMETRY: [(&str, &str); 2] =
    [("ORT_DISABLE_TELEMETRY", "1"), ("ORT_TELEMETRY_DISABLED", "1")];

/// What an answer is waited for with, and what it means if it does not come.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    /// A matter of moments.
    Answer,
    /// A file of this length is read.
    File { len_bytes: u64 },
    /// Code is checked and compiled.
    Compile { limit_ms: u64 },
    /// A record is scored.
    Score { limit_ms: u64 },
}

impl Wait {
    pub(super) fn limit(self) -> Duration {
        let limit_ms = match self {
            Self::Answer => ANSWER_MAX_MS,
            Self::File { len_bytes } => ANSWER_MAX_MS.saturating_add(len_bytes / READ_BYTES_PER_MS),
            Self::Compile { limit_ms } => limit_ms,
            Self::Score { limit_ms } => limit_ms.saturating_add(KILL_GRACE_MS),
        };
        Duration::from_millis(limit_ms.min(WAIT_MAX_MS))
    }

    /// What it means that the worker was killed this long after it was asked.
    fn late(self, after: Duration) -> Failure {
        match self {
            Self::Answer | Self::File { .. } => {
                Failure::WorkerDied { why: "it did not answer and was killed".into() }
            }
            Self::Compile { limit_ms } => Failure::CompileTimeout { limit_ms },
            Self::Score { limit_ms } => {
                Failure::Timeout { limit_ms, stopped_after_ms: millis(after) }
            }
        }
    }

    /// What it means that the request does not fit into a frame.
    fn too_long(self, len_bytes: u64) -> Failure {
        match self {
            Self::Score { .. } | Self::Answer => {
                Failure::BadInput { why: format!("{len_bytes} bytes are too long for one record") }
            }
            Self::File { .. } | Self::Compile { .. } => Failure::Unsupported {
                what: format!("its interface and config take {len_bytes} bytes"),
            },
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A worker process. Dropping it kills and reaps it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    channel: Channel,
    killer: Killer,
    isolation: Isolation,
    /// The limit to name when it runs out of memory: the stage's, without the engine's own, bytes.
    memory_bytes: u64,
    /// What the process itself takes before it holds anything of a package, bytes.
    baseline_bytes: u64,
    is_dead: bool,
}

impl Process {
    /// Starts a worker and waits until it has shut itself in.
    pub(super) fn start(
        spawner: &Spawner,
        setup: Setup,
        memory_bytes: u64,
    ) -> Result<Self, Failure> {
        Self::start_with(spawner, setup, None, memory_bytes)
    }

    /// Starts a worker that loads a foreign library first, and waits until it has shut itself in.
    pub(super) fn start_with(
        spawner: &Spawner,
        setup: Setup,
        runtime: Option<RuntimeSetup>,
        memory_bytes: u64,
    ) -> Result<Self, Failure> {
        let broken = |error: std::io::Error| Failure::Internal {
            why: format!("starting a worker: {error}"),
        };
        let (channel, theirs) = Channel::pair().map_err(broken)?;
        let child = Command::new(&spawner.program)
            .args(&spawner.args)
            .env_clear()
            .envs(runtime.iter().flat_map(|_| NO_TELEMETRY))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(broken)?;
        let killer = Killer::of(&child);
        let mut process = Self {
            child,
            channel,
            killer: Killer::none(),
            isolation: Isolation::default(),
            memory_bytes,
            baseline_bytes: 0,
            is_dead: false,
        };
        process.killer = killer.map_err(|errno| broken(errno.into()))?;
        let until = Some(Instant::now() + Duration::from_millis(START_MAX_MS));
        let ready = process
            .channel
            .send(&(setup, runtime), None, until)
            .and_then(|()| process.channel.receive::<Reply>(until));
        match ready {
            Ok(Reply::Ready(isolation)) => process.isolation = isolation,
            Ok(_) => return Err(process.broke_protocol()),
            Err(error) => return Err(process.failed(error, Wait::Answer, Instant::now())),
        }
        process.baseline_bytes = process.status_bytes("RssAnon:").unwrap_or(0);
        tracing::debug!(pid = process.child.id(), ?process.isolation, "worker started");
        Ok(process)
    }

    pub(super) fn isolation(&self) -> Isolation {
        self.isolation
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn killer(&self) -> Killer {
        self.killer.clone()
    }

    /// Asks and waits for the answer.
    pub(super) fn request(
        &mut self,
        request: &Request,
        file: Option<BorrowedFd<'_>>,
        wait: Wait,
    ) -> Result<Reply, Failure> {
        if self.is_dead {
            return Err(Failure::WorkerDied { why: "it was stopped before".into() });
        }
        let asked = Instant::now();
        let until = Some(asked + wait.limit());
        match self.channel.send(request, file, until) {
            Ok(()) => {}
            // Nothing was sent, so the worker is as it was.
            Err(ChannelError::TooLong { len_bytes }) => return Err(wait.too_long(len_bytes)),
            Err(error) => return Err(self.failed(error, wait, asked)),
        }
        match self.channel.receive(until) {
            Ok(Reply::Failed(failure)) => Err(self.in_our_numbers(failure, asked)),
            Ok(Reply::GaveUp(failure)) => {
                self.end();
                Err(self.in_our_numbers(failure, asked))
            }
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.failed(error, wait, asked)),
        }
    }

    /// A worker's own failure with the limits and times that this side knows better, and its texts made harmless.
    pub(super) fn in_our_numbers(&self, failure: Failure, asked: Instant) -> Failure {
        match failure {
            Failure::Timeout { limit_ms, .. } => {
                Failure::Timeout { limit_ms, stopped_after_ms: millis(asked.elapsed()) }
            }
            Failure::MemoryLimit { .. } => Failure::MemoryLimit { limit_bytes: self.memory_bytes },
            other => other.bounded(),
        }
    }

    /// Ends the process because of `error` and says what that means.
    fn failed(&mut self, error: ChannelError, wait: Wait, asked: Instant) -> Failure {
        let status = self.end();
        match error {
            ChannelError::Deadline => wait.late(asked.elapsed()),
            ChannelError::Closed | ChannelError::Io(_) => self.post_mortem(status),
            ChannelError::TooLong { .. } | ChannelError::Decode(_) => {
                Failure::WorkerDied { why: format!("it broke the protocol: {error}") }.bounded()
            }
        }
    }

    /// Ends the process because it answered something else than was asked.
    pub(super) fn broke_protocol(&mut self) -> Failure {
        self.end();
        Failure::WorkerDied { why: "it broke the protocol: not the answer to the request".into() }
    }

    /// Why a process that closed its end died.
    fn post_mortem(&mut self, status: Option<ExitStatus>) -> Failure {
        let mut last_words = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            // Its only writer is dead, so this ends.
            let _partly_is_fine = stderr.take(TEXT_MAX_BYTES as u64).read_to_end(&mut last_words);
        }
        let last_words = excerpt(&last_words);
        if OUT_OF_MEMORY.iter().any(|words| last_words.contains(words)) {
            return Failure::MemoryLimit { limit_bytes: self.memory_bytes };
        }
        let ended = match status {
            Some(status) => match status.signal() {
                Some(signal) => format!("signal {signal}"),
                None => format!("exit status {}", status.code().unwrap_or_default()),
            },
            None => "no trace".into(),
        };
        let why = if last_words.is_empty() { ended } else { format!("{ended}: {last_words}") };
        Failure::WorkerDied { why }.bounded()
    }

    /// Most memory of the process so far beyond what an idle worker holds, bytes. The kernel keeps no peak without the
    /// pages of the program's file, so today's are taken off: slightly too many if some came after the peak.
    pub(super) fn memory_peak_bytes(&self) -> u64 {
        let peak = self.status_bytes("VmHWM:").unwrap_or(0);
        let of_file = self.status_bytes("RssFile:").unwrap_or(0);
        peak.saturating_sub(of_file).saturating_sub(self.baseline_bytes)
    }

    /// A size from the kernel's own account of the process, bytes.
    fn status_bytes(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }

    /// Whether it still can be asked.
    pub(super) fn is_alive(&mut self) -> bool {
        if !self.is_dead && !matches!(self.child.try_wait(), Ok(None)) {
            self.is_dead = true;
        }
        !self.is_dead
    }

    /// Kills and reaps. If the process was dying already, the status is its own.
    pub(super) fn end(&mut self) -> Option<ExitStatus> {
        self.is_dead = true;
        let _already_dead = self.child.kill();
        self.child.wait().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Kills a worker from another thread, while its owner waits for an answer. Killing a dead one does nothing.
#[derive(Clone, Debug)]
pub struct Killer {
    /// A descriptor, not a number: the number may belong to another process by then.
    process: Option<Arc<OwnedFd>>,
}

impl Killer {
    fn of(child: &Child) -> Result<Self, rustix::io::Errno> {
        let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        Ok(Self { process: Some(Arc::new(process)) })
    }

    const fn none() -> Self {
        Self { process: None }
    }

    /// Kills the worker. Whoever waits for it gets [`Failure::WorkerDied`].
    pub fn kill(&self) {
        if let Some(process) = &self.process {
            let _already_dead = pidfd_send_signal(process.as_fd(), Signal::KILL);
        }
    }
}
