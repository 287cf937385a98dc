//! The machines that stages run on: how wasmtime is set up for each form and determinism class, and what tells two
//! set-ups apart.
//!
//! Every setting that a compiled stage depends on is made here, so that code compiled in one worker loads in another.
//! What the classes cost: *exact* (`bitwise`) makes every NaN the same one, which a loop of floating-point arithmetic
//! feels; *fast* (`numeric`, `none`) leaves NaNs as the processor makes them. Neither checks the time in loops, which
//! doubles what small ones cost: a stage that outlives its time takes its worker with it. Both leave bounds checks to
//! guard pages. Relaxed SIMD, threads and everything else that differs between processors is off in both.

use std::hash::{Hash as _, Hasher};

use guildhall_protocol::contract::Determinism;
use guildhall_protocol::manifest::Code;
use wasmtime::{
    Config, Engine as Machine, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails,
};

use super::limit::{INSTANCES_MAX, MEMORIES_MAX, TABLE_ENTRIES_MAX, TABLES_MAX};
use crate::failure::Failure;

/// Stack of a guest, bytes: wasmtime's default, pinned because a guest can tell.
const STACK_MAX_BYTES: usize = 512 * 1024;

/// Address space kept for one memory, bytes: all that 32-bit pointers reach. Reserved, not used; what a stage may use
/// is counted by [`super::limit::Limit`].
const MEMORY_RESERVED_BYTES: usize = 1 << 32;

/// What wasmtime keeps of its own about one instance at most, bytes: wasmtime's default, enough for a module of some
/// hundred thousand functions.
const INSTANCE_MAX_BYTES: usize = 1 << 20;

/// The two forms of stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A WASI preview 1 command.
    Plain,
    /// A component.
    Full,
}

impl Form {
    /// The form of this code, if it is a stage in WebAssembly.
    pub(super) fn of(code: &Code) -> Result<Self, Failure> {
        match code {
            Code::Command(_) => Ok(Self::Plain),
            Code::Component(_) => Ok(Self::Full),
            _ => Err(Failure::Internal { why: "this engine takes WebAssembly only".into() }),
        }
    }
}

/// A machine that does the same everywhere and stops when told to.
pub(super) fn machine(form: Form, determinism: Determinism) -> Result<Machine, Failure> {
    let mut config = config(form, determinism);
    config.allocation_strategy(pool(form));
    Machine::new(&config).map_err(|error| Failure::Internal { why: format!("{error:#}") })
}

fn config(form: Form, determinism: Determinism) -> Config {
    let mut config = Config::new();
    config
        .max_wasm_stack(STACK_MAX_BYTES)
        // Memories start as copy-on-write images of the compiled file where it is one; else they are copied.
        .memory_init_cow(true)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(determinism == Determinism::Bitwise)
        // Nobody reads them: a failure is a code.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(None)
        // What a stage has no use for, or what differs between processors. Garbage collection also because of
        // RUSTSEC-2026-0570.
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_component_model(form == Form::Full)
        // Toolchains link adapters with memories of their own, each in a module with one.
        .wasm_multi_memory(false);
    config
}

/// Slots for one call: a worker has one at a time, and its instances give theirs back when it ends. Slots are zeroed
/// before they are used again.
fn pool(form: Form) -> PoolingAllocationConfig {
    let (instances, memories, tables) = match form {
        Form::Plain => (1, 1, TABLES_MAX),
        Form::Full => (INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX),
    };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(instances)
        .total_component_instances(1)
        .total_memories(memories)
        .total_tables(tables)
        // Neither is used: nothing collects garbage, and guests run on their caller's stack.
        .total_gc_heaps(0)
        .total_stacks(1)
        .max_core_instances_per_component(instances)
        .max_memories_per_component(memories)
        .max_tables_per_component(tables)
        .max_memories_per_module(1)
        .max_tables_per_module(tables)
        .max_core_instance_size(INSTANCE_MAX_BYTES)
        .max_component_instance_size(INSTANCE_MAX_BYTES)
        .max_memory_size(MEMORY_RESERVED_BYTES)
        .table_elements(TABLE_ENTRIES_MAX);
    pool
}

/// What compiled code depends on besides its source: the version and settings of wasmtime, the processor, and the class.
/// Code compiled under one fingerprint loads under the same fingerprint only.
pub(super) fn fingerprint(form: Form, determinism: Determinism) -> Result<[u8; 32], Failure> {
    let machine = machine(form, determinism)?;
    let mut hasher = Blake3(blake3::Hasher::new_derive_key("guildhall 1 wasm machine"));
    machine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.write(format!("{form:?} {determinism:?}").as_bytes());
    Ok(*hasher.0.finalize().as_bytes())
}

/// A [`Hasher`] whose whole state counts.
struct Blake3(blake3::Hasher);

impl Hasher for Blake3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Nobody asks for it; the long hash is taken instead.
    fn finish(&self) -> u64 {
        let hash = self.0.finalize();
        hash.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_forms_and_classes_apart_and_is_the_same_twice() {
        let all = [
            (Form::Plain, Determinism::Bitwise),
            (Form::Plain, Determinism::Numeric),
            (Form::Full, Determinism::Bitwise),
            (Form::Full, Determinism::Numeric),
        ];
        let found: Vec<_> =
            all.iter().map(|(form, class)| fingerprint(*form, *class).unwrap()).collect();
        for (at, one) in found.iter().enumerate() {
            assert!(!found.get(..at).unwrap().contains(one), "{at}");
        }
        assert_eq!(fingerprint(Form::Full, Determinism::Numeric).unwrap(), *found.last().unwrap());
    }
}
