//! What stages of either form see of the world: a clock and randomness that are the same in every run, and what they say
//! on stderr. No environment, no file, no socket.
//!
//! Clocks are virtual: they start at zero, each look moves them on a little, and waiting for a time moves the clock there
//! instead of taking it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand_core::TryRng;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

use crate::failure::TEXT_MAX_BYTES;

/// How far a look at a clock moves it, nanoseconds: loops that wait for the time to pass end.
const LOOK_NANOS: u64 = 1_000;

/// Longest request for randomness in one call, bytes.
const RANDOM_MAX_BYTES: u64 = 1024 * 1024;

/// A world without stdin, stdout and arguments; both forms add what they have of these. What the guest says on stderr
/// arrives in the pipe, as far as a failure shows it.
pub(super) fn world(seed: u64, clock: &VirtualClock) -> (WasiCtxBuilder, MemoryOutputPipe) {
    let stderr = MemoryOutputPipe::new(TEXT_MAX_BYTES);
    let mut builder = WasiCtxBuilder::new();
    builder
        .stderr(stderr.clone())
        .secure_random(SeededRandom::new(seed))
        .insecure_random(SeededRandom::new(seed))
        .insecure_random_seed(seed.into())
        .max_random_size(RANDOM_MAX_BYTES)
        .wall_clock(clock.clone())
        .monotonic_clock(clock.clone());
    (builder, stderr)
}

/// Nanoseconds since the guest's beginning of time; all clocks of one call are this one.
#[derive(Clone, Default)]
pub(super) struct VirtualClock(Arc<Time>);

#[derive(Default)]
struct Time {
    nanos: AtomicU64,
    /// The nearest moment that something waits for, if it is still to come.
    wished: AtomicU64,
}

impl VirtualClock {
    /// The time, without moving it.
    pub(super) fn nanos(&self) -> u64 {
        self.0.nanos.load(Ordering::Relaxed)
    }

    fn look(&self) -> u64 {
        self.0.nanos.fetch_add(LOOK_NANOS, Ordering::Relaxed)
    }

    /// Moves the clock there, unless it is later already.
    pub(super) fn wait_until(&self, nanos: u64) {
        self.0.nanos.fetch_max(nanos, Ordering::Relaxed);
    }

    /// Moves the clock on by this much.
    pub(super) fn wait(&self, nanos: u64) {
        self.wait_until(self.nanos().saturating_add(nanos));
    }

    /// Says that something waits for this moment.
    pub(super) fn wish(&self, nanos: u64) {
        let wished = self.wished();
        if wished <= self.nanos() || nanos < wished {
            self.0.wished.store(nanos, Ordering::Relaxed);
        }
    }

    /// The nearest moment that something waits for; past ones mean nothing.
    pub(super) fn wished(&self) -> u64 {
        self.0.wished.load(Ordering::Relaxed)
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
