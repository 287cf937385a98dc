//! What a guest sees of the world: a value on stdin, stdout, stderr, arguments, a clock and randomness that are the same
//! in every run. No environment, no file, no socket.
//!
//! `wasmtime-wasi` provides preview 1. Two things differ from it: clocks are virtual (they start at zero, and each look
//! moves them on a little), and waiting for a time moves the clock there instead of taking it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand_core::TryRng;
use wasmtime::{Caller, Extern, Linker, ResourceLimiter};
use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_sync};
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

use crate::failure::TEXT_MAX_BYTES;

/// How far a look at a clock moves it, nanoseconds: loops that wait for the time to pass end.
const LOOK_NANOS: u64 = 1_000;

/// Longest request for randomness in one call, bytes.
const RANDOM_MAX_BYTES: u64 = 1024 * 1024;

/// Most table entries a guest may grow its tables to, each; an entry takes 8 bytes of ours.
const TABLE_ENTRIES_MAX: usize = 1_000_000;

/// Most subscriptions in one `poll_oneoff`.
const SUBSCRIPTIONS_MAX: u32 = 1_024;

/// Everything of one record's execution that is not the guest's own memory.
pub(super) struct Host {
    wasi: WasiP1Ctx,
    pub(super) memory: MemoryLimit,
    pub(super) stdout: MemoryOutputPipe,
    pub(super) stderr: MemoryOutputPipe,
    clock: VirtualClock,
}

impl Host {
    /// A world for one record.
    pub(super) fn new(
        input: Vec<u8>,
        arguments: &[String],
        seed: u64,
        memory_bytes: u64,
        output_bytes: u64,
    ) -> Self {
        // One byte more than allowed tells too long from just long enough.
        let room = usize::try_from(output_bytes).unwrap_or(usize::MAX).saturating_add(1);
        let stdout = MemoryOutputPipe::new(room);
        let stderr = MemoryOutputPipe::new(TEXT_MAX_BYTES);
        let clock = VirtualClock::default();
        let wasi = WasiCtxBuilder::new()
            .args(arguments)
            .stdin(MemoryInputPipe::new(input))
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .secure_random(SeededRandom::new(seed))
            .insecure_random(SeededRandom::new(seed))
            .insecure_random_seed(seed.into())
            .max_random_size(RANDOM_MAX_BYTES)
            .wall_clock(clock.clone())
            .monotonic_clock(clock.clone())
            .build_p1();
        let memory = MemoryLimit { max_bytes: memory_bytes, peak_bytes: 0, was_refused: false };
        Self { wasi, memory, stdout, stderr, clock }
    }
}

/// Makes preview 1 available to modules, with our way of waiting.
pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    add_to_linker_sync(linker, |host: &mut Host| &mut host.wasi)?;
    linker.allow_shadowing(true);
    linker.func_wrap("wasi_snapshot_preview1", "poll_oneoff", poll_oneoff)?;
    Ok(())
}

/// Counts a guest's memory and refuses what exceeds its limit.
pub(super) struct MemoryLimit {
    max_bytes: u64,
    pub(super) peak_bytes: u64,
    /// The guest wanted more than it may have; if it then fails, that is why.
    pub(super) was_refused: bool,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let desired = desired as u64;
        if desired > self.max_bytes {
            self.was_refused = true;
            return Ok(false);
        }
        self.peak_bytes = self.peak_bytes.max(desired);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // The process is at its own limit, which is the stage's and the engine's together.
        self.was_refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ENTRIES_MAX)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        16
    }

    fn memories(&self) -> usize {
        1
    }
}

/// Nanoseconds since the guest's beginning of time; all clocks of one record are this one.
#[derive(Clone, Default)]
struct VirtualClock(Arc<AtomicU64>);

impl VirtualClock {
    fn look(&self) -> u64 {
        self.0.fetch_add(LOOK_NANOS, Ordering::Relaxed)
    }

    fn wait_until(&self, nanos: u64) {
        self.0.fetch_max(nanos, Ordering::Relaxed);
    }

    fn wait(&self, nanos: u64) {
        self.wait_until(self.0.load(Ordering::Relaxed).saturating_add(nanos));
    }
}

impl HostWallClock for VirtualClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(LOOK_NANOS)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.look())
    }
}

impl HostMonotonicClock for VirtualClock {
    fn resolution(&self) -> u64 {
        LOOK_NANOS
    }

    fn now(&self) -> u64 {
        self.look()
    }
}

/// BLAKE3's output stream, keyed by the seed.
struct SeededRandom(blake3::OutputReader);

impl SeededRandom {
    fn new(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("guildhall 1 stage randomness");
        hasher.update(&seed.to_le_bytes());
        Self(hasher.finalize_xof())
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }
}

impl TryRng for SeededRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.array()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.array()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

/// Error numbers of preview 1.
mod errno {
    pub(super) const SUCCESS: i32 = 0;
    pub(super) const FAULT: i32 = 21;
    pub(super) const INVALID: i32 = 28;
}

/// One `subscription` of preview 1: 48 bytes, of which these matter.
struct Subscription {
    userdata: [u8; 8],
    /// 0 clock, 1 readable, 2 writable.
    kind: u8,
    timeout_nanos: u64,
    is_absolute: bool,
}

impl Subscription {
    const LEN_BYTES: usize = 48;

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            userdata: bytes.get(0..8)?.try_into().ok()?,
            kind: *bytes.get(8)?,
            timeout_nanos: u64::from_le_bytes(bytes.get(24..32)?.try_into().ok()?),
            is_absolute: bytes.get(40)? & 1 == 1,
        })
    }

    /// The `event` that answers it: 32 bytes, no error, nothing to say about sizes.
    fn event(&self) -> [u8; 32] {
        let mut event = [0; 32];
        for (to, from) in event.iter_mut().zip(self.userdata) {
            *to = from;
        }
        if let Some(kind) = event.get_mut(10) {
            *kind = self.kind;
        }
        event
    }
}

/// `poll_oneoff`: streams are always ready; if only clocks are waited for, the first of them is moved to.
fn poll_oneoff(
    mut caller: Caller<'_, Host>,
    input: u32,
    output: u32,
    count: u32,
    written: u32,
) -> i32 {
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return errno::INVALID;
    }
    match try_poll(&mut caller, input, output, count, written) {
        Some(()) => errno::SUCCESS,
        None => errno::FAULT,
    }
}

/// `None` if a pointer leads outside the guest's memory.
fn try_poll(
    caller: &mut Caller<'_, Host>,
    input: u32,
    output: u32,
    count: u32,
    written: u32,
) -> Option<()> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory)?;
    let (input, output, written) = (
        usize::try_from(input).ok()?,
        usize::try_from(output).ok()?,
        usize::try_from(written).ok()?,
    );
    let len = usize::try_from(count).ok()?.checked_mul(Subscription::LEN_BYTES)?;
    let bytes = memory.data(&*caller).get(input..input.checked_add(len)?)?;
    let wanted: Vec<_> =
        bytes.chunks(Subscription::LEN_BYTES).map(Subscription::read).collect::<Option<_>>()?;
    let mut ready: Vec<&Subscription> = wanted.iter().filter(|one| one.kind != 0).collect();
    if ready.is_empty() {
        let clock = caller.data().clock.clone();
        let now = clock.0.load(Ordering::Relaxed);
        let due = |one: &Subscription| match one.is_absolute {
            true => one.timeout_nanos.saturating_sub(now),
            false => one.timeout_nanos,
        };
        let first = wanted.iter().min_by_key(|one| due(one))?;
        clock.wait(due(first));
        ready.push(first);
    }
    let events: Vec<u8> = ready.iter().flat_map(|one| one.event()).collect();
    let number = u32::try_from(ready.len()).ok()?.to_le_bytes();
    let data = memory.data_mut(caller);
    data.get_mut(output..output.checked_add(events.len())?)?.copy_from_slice(&events);
    data.get_mut(written..written.checked_add(number.len())?)?.copy_from_slice(&number);
    Some(())
}
