//! One worker process as the node sees it: started, asked, late, dead.
//!
//! Whatever goes wrong with the process ends it; a failure that the worker itself reports does not.

use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, pidfd_open, pidfd_send_signal, prlimit,
};

use super::Spawner;
use crate::channel::{Channel, ChannelError};
use crate::failure::{Failure, TEXT_MAX_BYTES, excerpt};
use crate::isolation::Isolation;
use crate::message::{Reply, Request, RuntimeSetup, Setup};

/// How long after a call's limit the worker is killed, milliseconds: time to say what it has done by then, and for an
/// engine that interrupts itself to do so, which keeps its worker.
pub const KILL_GRACE_MS: u64 = 10;

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

/// Whether a worker that reports this is as it was before: the engine noticed, ended the guest, and went on. A guest that
/// ran out of time or memory went on too, but it was at its limits, and so were parts of the engine that are seldom
/// there; its worker serves nobody else.
const fn is_clean(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::BadInput { .. }
            | Failure::BadOutput { .. }
            | Failure::OutputLimit { .. }
            | Failure::Exited { .. }
            | Failure::Trap { .. }
    )
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
    /// Whether it can still be asked.
    is_dead: bool,
    /// Whether something happened after which nobody else should get it.
    is_spoiled: bool,
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
            is_spoiled: false,
        };
        process.killer = killer.map_err(|errno| broken(errno.into()))?;
        let until = Some(Instant::now() + Duration::from_millis(START_MAX_MS));
        let ready = process
            .channel
            .send(&(setup, runtime), None, until)
            .and_then(|()| process.channel.receive::<Reply>(until));
        match ready {
            Ok(Reply::Ready(isolation)) => process.isolation = spawner.held(isolation),
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
            Ok(Reply::Failed(failure)) => {
                self.is_spoiled |= !is_clean(&failure);
                Err(self.in_our_numbers(failure, asked))
            }
            Ok(Reply::GaveUp(failure)) => {
                self.end();
                Err(self.in_our_numbers(failure, asked))
            }
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.failed(error, wait, asked)),
        }
    }

    /// Takes writable memory away down to `data_bytes`, of which the stage has `memory_bytes`. Neither the worker nor the
    /// node can give it back.
    pub(super) fn confine(&mut self, data_bytes: u64, memory_bytes: u64) -> Result<(), Failure> {
        self.memory_bytes = memory_bytes;
        let limit = Some(data_bytes);
        self.limit(Resource::Data, Rlimit { current: limit, maximum: limit })
    }

    /// Lets it have so much more processor time than it has had; a process that uses more ends. Where the system does not
    /// say what it has had, it may have any.
    pub(super) fn allow_cpu(&mut self, seconds: u64) -> Result<(), Failure> {
        // What it inherited from this process.
        let maximum = getrlimit(Resource::Cpu).maximum;
        let until = self.cpu_seconds().map(|used| used.saturating_add(seconds));
        let current = match (until, maximum) {
            (Some(until), Some(maximum)) => Some(until.min(maximum)),
            (until, maximum) => until.or(maximum),
        };
        self.limit(Resource::Cpu, Rlimit { current, maximum })
    }

    fn limit(&mut self, resource: Resource, limit: Rlimit) -> Result<(), Failure> {
        match prlimit(Some(Pid::from_child(&self.child)), resource, limit) {
            Ok(_) => Ok(()),
            Err(_) if !self.is_alive() => {
                Err(self.failed(ChannelError::Closed, Wait::Answer, Instant::now()))
            }
            Err(errno) => {
                self.end();
                Err(Failure::Internal { why: format!("limiting a worker: {errno}") })
            }
        }
    }

    /// Processor time it has had, seconds, rounded up.
    pub(super) fn cpu_seconds(&self) -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        // The name in parentheses may hold anything; user and system time are the 12th and 13th field after it.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let user: u64 = fields.nth(11)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        let ticks = rustix::param::clock_ticks_per_second();
        Some(user.saturating_add(system).div_ceil(ticks.max(1)))
    }

    /// Memory that it holds of its own now, bytes.
    pub(super) fn resident_bytes(&self) -> u64 {
        self.status_bytes("RssAnon:").unwrap_or(0)
    }

    /// Whether somebody else may get it: it lives, and nothing happened in it but what stages do every day.
    pub(super) fn is_clean(&mut self) -> bool {
        !self.is_spoiled && self.is_alive()
    }

    /// Notes what happened to a record.
    pub(super) fn note(&mut self, failure: &Failure) {
        self.is_spoiled |= !is_clean(failure);
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
        if !self.is_dead && self.killer.was_used() {
            self.end();
        }
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
    target: Option<Arc<Target>>,
}

#[derive(Debug)]
struct Target {
    /// A descriptor, not a number: the number may belong to another process by then.
    process: OwnedFd,
    /// A process lives on for a moment after it was killed.
    is_killed: AtomicBool,
}

impl Killer {
    fn of(child: &Child) -> Result<Self, rustix::io::Errno> {
        let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        Ok(Self { target: Some(Arc::new(Target { process, is_killed: AtomicBool::new(false) })) })
    }

    const fn none() -> Self {
        Self { target: None }
    }

    /// Kills the worker. Whoever waits for it gets [`Failure::WorkerDied`].
    pub fn kill(&self) {
        if let Some(target) = &self.target {
            target.is_killed.store(true, Ordering::Relaxed);
            let _already_dead = pidfd_send_signal(target.process.as_fd(), Signal::KILL);
        }
    }

    fn was_used(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.is_killed.load(Ordering::Relaxed))
    }
}
