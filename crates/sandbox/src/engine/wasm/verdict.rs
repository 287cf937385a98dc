//! When a call is over, and why a guest ended as it did. The same for both forms.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wasmtime::{Engine as Machine, Trap};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

use super::limit::Limit;
use crate::failure::{Failure, TrapCode, excerpt};
use crate::worker::Alarm;

/// How wasmtime says that a guest handed over more bytes at once than it may.
const TOO_MUCH_AT_ONCE: &str = "fuel allocated for hostcalls has been exhausted";

/// The one deadline of a call. Dropping it takes the alarm back.
pub(super) struct Deadline<'a> {
    alarm: &'a Alarm,
    started: Instant,
    limit_ms: u64,
    is_over: Arc<AtomicBool>,
}

impl<'a> Deadline<'a> {
    /// Interrupts what runs on this machine when the time is over.
    pub(super) fn start(alarm: &'a Alarm, machine: &Machine, limit_ms: u64) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (machine, rung) = (machine.clone(), Arc::clone(&is_over));
        alarm.arm(Duration::from_millis(limit_ms), move || {
            rung.store(true, Ordering::SeqCst);
            machine.increment_epoch();
        });
        Self { alarm, started: Instant::now(), limit_ms, is_over }
    }

    /// Whether the time is over. Ask it after a store got its epoch deadline and before its guest runs: an alarm that
    /// rang earlier does not reach that store any more.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.is_over.load(Ordering::SeqCst) { Err(self.timeout()) } else { Ok(()) }
    }

    /// When the call began.
    pub(super) const fn started(&self) -> Instant {
        self.started
    }

    fn timeout(&self) -> Failure {
        let stopped_after_ms = u64::try_from(self.started.elapsed().as_millis());
        Failure::Timeout {
            limit_ms: self.limit_ms,
            stopped_after_ms: stopped_after_ms.unwrap_or(u64::MAX),
        }
    }

    /// Why a guest ended, in order of what explains most.
    pub(super) fn judge(
        &self,
        error: &wasmtime::Error,
        limit: &Limit,
        stderr: &MemoryOutputPipe,
        output_bytes: u64,
    ) -> Failure {
        let trap = error.downcast_ref::<Trap>().copied();
        if trap == Some(Trap::Interrupt) {
            return self.timeout();
        }
        if limit.was_refused() {
            return Failure::MemoryLimit { limit_bytes: limit.max_bytes() };
        }
        if let Some(I32Exit(code)) = error.downcast_ref() {
            return Failure::Exited { code: *code, stderr_excerpt: excerpt(&stderr.contents()) };
        }
        if trap.is_none() && error.root_cause().to_string().contains(TOO_MUCH_AT_ONCE) {
            return Failure::OutputLimit { limit_bytes: output_bytes };
        }
        Failure::Trap { code: trap.map_or(TrapCode::Other, trap_code) }
    }
}

impl Drop for Deadline<'_> {
    fn drop(&mut self) {
        self.alarm.disarm();
    }
}

fn trap_code(trap: Trap) -> TrapCode {
    match trap {
        Trap::UnreachableCodeReached => TrapCode::Unreachable,
        Trap::MemoryOutOfBounds | Trap::HeapMisaligned => TrapCode::MemoryOutOfBounds,
        Trap::TableOutOfBounds => TrapCode::TableOutOfBounds,
        Trap::IndirectCallToNull | Trap::BadSignature | Trap::NullReference => {
            TrapCode::BadIndirectCall
        }
        Trap::IntegerDivisionByZero => TrapCode::DivisionByZero,
        Trap::IntegerOverflow => TrapCode::IntegerOverflow,
        Trap::BadConversionToInteger => TrapCode::BadConversion,
        Trap::StackOverflow => TrapCode::StackOverflow,
        _ => TrapCode::Other,
    }
}
