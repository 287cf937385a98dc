//! Workers that are ready: blank ones, which have shut themselves in and wait for code, and warm ones, which wait with
//! code in them for the next call of the same org to the same package.
//!
//! Whoever scores takes a worker ([`Workers::take`]), uses it, and gives it back ([`Lent::give_back`]). Dropping it
//! instead kills it, so an error on the way never leaves a doubtful worker behind. One that reported anything unclean, or
//! had to be killed, is not kept even when it is given back.
//!
//! # Limits
//!
//! | what | how |
//! |---|---|
//! | memory of all | a budget: what stages may take while they work, what workers hold while they wait. Those who wait make room |
//! | memory of one | `RLIMIT_DATA`: a blank worker starts with the budget, and the node takes it down to the stage's before anything foreign gets in |
//! | processor time | `RLIMIT_CPU`, set by the node: while it is lent, what the job may take; while it waits, [`IDLE_CPU_SECONDS`]. Only the soft limit moves, so the node can raise it again; the worker cannot, the call is not on its list |
//! | life | so many calls, an hour, ten minutes without a call (see [`state`]) |
//! | number | 64 that wait warm, two blank ones; those who work are bounded by the memory |
//!
//! One thread of its own refills the blank ones and ends those that have waited long enough.

mod loan;
mod state;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use guildhall_protocol::PackageId;
use guildhall_protocol::contract::Limits;
use serde::{Deserialize, Serialize};

pub use self::loan::Lent;
use self::loan::Loan;
use self::state::{Idle, State};
use super::process::Process;
use super::run::cpu_seconds;
use super::{Compiled, Compiler, PackageFiles, RunWorker, Spawner, allowance_bytes};
use crate::failure::Failure;
use crate::isolation::Level;
use crate::message::Setup;

/// Blank workers that are kept ready: two stages can start at once without waiting, and each costs a few megabytes.
const BLANK: usize = 2;

/// Memory that is counted for a worker beside what its stage may take, bytes: the engine and the process.
const BESIDE_BYTES: u64 = 32 << 20;

/// Processor time that a worker may have while nobody asks it anything, seconds. Waiting takes none; the kernel counts
/// in whole seconds.
const IDLE_CPU_SECONDS: u64 = 2;

/// Processor time for starting and shutting itself in, seconds: it takes milliseconds.
const START_CPU_SECONDS: u64 = 10;

/// How often the thread looks after those who wait, if nobody calls it.
const LOOK_AFTER: Duration = Duration::from_secs(30);

/// Shortest and longest wait before another blank worker is tried after one that did not start.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// What a node lends to workers.
#[derive(Clone, Copy, Debug)]
pub struct WorkersSettings {
    /// Memory for all of them together, bytes.
    pub memory_bytes: u64,
}

/// A worker that is wanted.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The package's name, which says all about its files.
    pub id: PackageId,
    /// Its manifest and files.
    pub package: &'a PackageFiles<'a>,
    /// The org that it is for.
    pub org: &'a str,
    /// The engine that has to execute it, if it matters; else the one that the spawner has for such code.
    pub engine: Option<&'a str>,
    /// Limits in force. Memory is fixed for a worker; the others hold for calls that name none.
    pub limits: &'a Limits,
    /// The stage's config.
    pub config: &'a BTreeMap<String, String>,
    /// Where the stage's randomness comes from in calls that name no seed.
    pub seed: u64,
    /// How well it has to be shut in at least.
    pub least: Level,
}

impl<'a> Wanted<'a> {
    /// The engine that executes it.
    fn engine_on(&self, spawner: &Spawner) -> Result<&'a str, Failure> {
        match self.engine {
            Some(engine) => Ok(engine),
            None => Ok(spawner.engine_of(self.package.code()?.0)),
        }
    }
}

/// What a worker is warm for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    package: PackageId,
    org: String,
    config: BTreeMap<String, String>,
    engine: String,
    memory_bytes: u64,
}

/// Keeps workers ready. Clones share them. Dropping the last one ends those that wait; those that are lent end with
/// whoever has them.
#[derive(Clone, Debug)]
pub struct Workers {
    keeper: Arc<Keeper>,
}

/// What ends with the last [`Workers`]: the thread, and those who wait.
#[derive(Debug)]
struct Keeper {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    spawner: Spawner,
    compiler: Compiler,
    budget_bytes: u64,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    state: State<Key, RunWorker>,
    blank: Vec<Process>,
    counts: Counts,
    is_closed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    from_blank: u64,
    cold: u64,
    reused: u64,
    unclean: u64,
    ended: u64,
}

/// What [`Workers`] have and have done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkersStats {
    /// Memory for all together, bytes.
    pub memory_bytes: u64,
    /// What those who work may take together, bytes.
    pub busy_bytes: u64,
    /// What those who wait hold together, bytes.
    pub idle_bytes: u64,
    /// How many work.
    pub busy: usize,
    /// How many wait without code.
    pub blank: usize,
    /// Those who wait with code, the longest unused first.
    pub warm: Vec<Warm>,
    /// Calls for a worker that a warm one answered.
    pub reused: u64,
    /// Calls for a worker that a blank one answered.
    pub from_blank: u64,
    /// Calls for a worker for which a process had to be started.
    pub cold: u64,
    /// Workers that were not kept because of what happened in them.
    pub unclean: u64,
    /// Workers that were ended because of their age, or to make room.
    pub ended: u64,
}

/// A worker that waits with code in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warm {
    /// What it is warm for.
    pub package: PackageId,
    /// For whom.
    pub org: String,
    /// The engine in it.
    pub engine: String,
    /// What it holds, bytes.
    pub held_bytes: u64,
    /// Calls so far.
    pub calls: u64,
    /// How long it has waited, milliseconds.
    pub idle_ms: u64,
}

impl Workers {
    /// Starts the thread that keeps blank workers ready.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        spawner: Spawner,
        compiler: Compiler,
        settings: WorkersSettings,
    ) -> std::io::Result<Self> {
        let inner = Inner {
            state: State::new(settings.memory_bytes),
            blank: Vec::new(),
            counts: Counts::default(),
            is_closed: false,
        };
        let shared = Arc::new(Shared {
            spawner,
            compiler,
            budget_bytes: settings.memory_bytes,
            inner: Mutex::new(inner),
            changed: Condvar::new(),
        });
        let kept = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("workers".into()).spawn(move || kept.look_after())?;
        Ok(Self { keeper: Arc::new(Keeper { shared, thread: Mutex::new(Some(thread)) }) })
    }

    /// A worker with this package's code in it: one that waits for it, or a blank one, or a new one. Blocks while code is
    /// compiled and loaded.
    ///
    /// # Errors
    /// Any [`Failure`] of compiling, starting and loading; [`Failure::Unsupported`] if it wants more memory than there
    /// is for all, or to be shut in better than workers are here; [`Failure::Busy`] if others have the memory now.
    pub fn take(&self, wanted: &Wanted<'_>) -> Result<Lent, Failure> {
        let shared = &self.keeper.shared;
        let key = Key {
            package: wanted.id,
            org: wanted.org.to_owned(),
            config: wanted.config.clone(),
            engine: wanted.engine_on(&shared.spawner)?.to_owned(),
            memory_bytes: wanted.limits.memory_bytes.value,
        };
        let (mut loan, warm) = Loan::make(shared, key)?;
        let warm = warm.and_then(|warm| loan.renew(warm, wanted));
        let worker = match warm {
            Some(worker) => worker,
            None => {
                let compiled = shared.compiler.compiled(wanted.package, wanted.org)?;
                shared.load(wanted, compiled)?
            }
        };
        let level = worker.isolation().level();
        if level < wanted.least {
            let what =
                format!("workers are shut in at level `{level}` here, not `{}`", wanted.least);
            return Err(Failure::Unsupported { what });
        }
        Ok(Lent::new(worker, loan))
    }

    /// What there is, for the node's status and its offers.
    #[must_use]
    pub fn stats(&self) -> WorkersStats {
        let now = Instant::now();
        let inner = self.keeper.shared.lock();
        let warm = |idle: &Idle<Key, RunWorker>| Warm {
            package: idle.key.package,
            org: idle.key.org.clone(),
            engine: idle.key.engine.clone(),
            held_bytes: idle.held_bytes,
            calls: idle.calls,
            idle_ms: u64::try_from(now.saturating_duration_since(idle.since).as_millis())
                .unwrap_or(u64::MAX),
        };
        let Counts { from_blank, cold, reused, unclean, ended } = inner.counts;
        WorkersStats {
            memory_bytes: self.keeper.shared.budget_bytes,
            busy_bytes: inner.state.busy_bytes(),
            idle_bytes: inner.state.idle_bytes(),
            busy: inner.state.busy(),
            blank: inner.blank.len(),
            warm: inner.state.idle().iter().map(warm).collect(),
            reused,
            from_blank,
            cold,
            unclean,
            ended,
        }
    }

    /// Ends everybody who waits with code, as when a node takes no more work.
    pub fn end_idle(&self) {
        let mut gone = Vec::new();
        self.keeper.shared.lock().state.drop_idle(&mut gone);
        self.keeper.shared.end(gone);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends workers, outside the lock: it takes a moment.
    fn end(&self, gone: Vec<Idle<Key, RunWorker>>) {
        if !gone.is_empty() {
            self.lock().counts.ended += gone.len() as u64;
        }
    }

    /// Puts code into a blank worker, or into a new one if there is none that could hold it.
    fn load(&self, wanted: &Wanted<'_>, compiled: Option<Compiled>) -> Result<RunWorker, Failure> {
        let (code, entry, _) = wanted.package.code()?;
        let engine = wanted.engine_on(&self.spawner)?;
        let memory_bytes = wanted.limits.memory_bytes.value;
        let models_bytes = wanted.package.models_bytes()?;
        let data_bytes = memory_bytes
            .saturating_add(allowance_bytes(entry, compiled.as_ref(), models_bytes))
            .saturating_add(self.spawner.library_bytes(engine, code));
        // A foreign library is loaded before a worker shuts itself in, so blank ones come too late for it.
        let runtime = self.spawner.runtime_for(engine, code);
        let blank_one = match runtime {
            None => self.blank_for(data_bytes),
            Some(_) => None,
        };
        let mut process = match blank_one {
            Some(process) => {
                self.lock().counts.from_blank += 1;
                process
            }
            None => {
                self.lock().counts.cold += 1;
                Process::start_with(&self.spawner, blank(data_bytes), runtime, memory_bytes)?
            }
        };
        process.confine(data_bytes, memory_bytes)?;
        process.allow_cpu(cpu_seconds(wanted.limits, self.spawner.threads_for(engine)))?;
        let Wanted { package, limits, config, seed, .. } = *wanted;
        RunWorker::load(process, package, engine, compiled, limits, config, seed)
    }

    /// A blank worker that lives and may take this much.
    fn blank_for(&self, data_bytes: u64) -> Option<Process> {
        if data_bytes > self.blank_bytes() {
            return None;
        }
        loop {
            let taken = self.lock().blank.pop();
            self.changed.notify_all();
            let mut process = taken?;
            if process.is_clean() {
                return Some(process);
            }
        }
    }

    /// What a blank worker may take before it is known what for.
    fn blank_bytes(&self) -> u64 {
        self.budget_bytes.saturating_add(super::WASM_ALLOWANCE_BYTES)
    }

    /// The thread's life.
    fn look_after(&self) {
        let mut retry = RETRY.0;
        let mut inner = self.lock();
        while !inner.is_closed {
            let mut gone = Vec::new();
            inner.state.drop_spent(Instant::now(), &mut gone);
            let is_wanted = inner.blank.len() < BLANK;
            drop(inner);
            self.end(gone);
            let started =
                is_wanted.then(|| Process::start(&self.spawner, blank(self.blank_bytes()), 0));
            inner = self.lock();
            let wait = match started {
                None => LOOK_AFTER,
                Some(Ok(process)) => {
                    retry = RETRY.0;
                    if !inner.is_closed {
                        inner.blank.push(process);
                    }
                    continue;
                }
                Some(Err(failure)) => {
                    tracing::warn!(%failure, "no blank worker");
                    let wait = retry;
                    retry = retry.saturating_mul(2).min(RETRY.1);
                    wait
                }
            };
            // Nobody may have taken a blank one, or closed, while the lock was open.
            if !inner.is_closed && (!is_wanted || wait < LOOK_AFTER || inner.blank.len() >= BLANK) {
                inner = self
                    .changed
                    .wait_timeout(inner, wait)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        }
    }
}

/// How a worker starts that does not know its stage yet.
const fn blank(data_bytes: u64) -> Setup {
    Setup { data_bytes, cpu_seconds: START_CPU_SECONDS, cpu_moves: true, nice: 0, self_test: false }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut gone = Vec::new();
        let blank = {
            let mut inner = self.shared.lock();
            inner.is_closed = true;
            inner.state.drop_idle(&mut gone);
            std::mem::take(&mut inner.blank)
        };
        self.shared.changed.notify_all();
        self.shared.end(gone);
        drop(blank);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks after workers panicked");
        }
    }
}
