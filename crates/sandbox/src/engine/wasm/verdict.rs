//! Why a guest ended as it did. The same for both forms.

use wasmtime::Trap;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

use super::limit::Limit;
use crate::failure::{Failure, TrapCode, excerpt};

/// How wasmtime says that a guest handed over more bytes at once than it may.
const TOO_MUCH_AT_ONCE: &str = "fuel allocated for hostcalls has been exhausted";

/// A guest called something that is there by name only.
#[derive(Debug, thiserror::Error)]
#[error("stages do not get `{module}` `{name}`")]
pub(super) struct Closed {
    pub(super) module: String,
    pub(super) name: String,
}

/// Why a guest ended, in order of what explains most.
pub(super) fn judge(
    error: &wasmtime::Error,
    limit: &Limit,
    stderr: &MemoryOutputPipe,
    output_bytes: u64,
) -> Failure {
    let trap = error.downcast_ref::<Trap>().copied();
    if limit.was_refused() {
        return Failure::MemoryLimit { limit_bytes: limit.max_bytes() };
    }
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Failure::Exited { code: *code, stderr_excerpt: excerpt(&stderr.contents()) };
    }
    if let Some(Closed { module, name }) = error.downcast_ref() {
        return Failure::ForbiddenImport { module: module.clone(), name: name.clone() };
    }
    if trap.is_none() && error.root_cause().to_string().contains(TOO_MUCH_AT_ONCE) {
        return Failure::OutputLimit { limit_bytes: output_bytes };
    }
    Failure::Trap { code: trap.map_or(TrapCode::Other, trap_code) }
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
