//! Worker processes and what runs in them. The only crate that knows a compiler, a model runtime or a file format.
//!
//! Two halves meet here. The *parent* half runs inside the node and blocks: [`Spawner`] starts a process for each
//! inspection, [`Examiner`] keeps one for files that no manifest describes yet, [`Compiler`] has code compiled once in a
//! process of its own and keeps the result, and [`Workers`] keep processes ready that run it. It hands them open files
//! over a socket pair, and kills them when they are late. It parses nothing that a package's author wrote; what a worker
//! says is outside data too, capped and checked. The *worker* half ([`worker_main`]) shuts itself in first (a network and
//! a file tree with nothing in them, limits, no new rights, Landlock, seccomp; see [`Level`]) and then serves its node
//! until the node hangs up.
//!
//! | limit | who enforces it |
//! |---|---|
//! | wall time of a call | the worker's alarm, which says what is done and ends the process; the parent by SIGKILL [`KILL_GRACE_MS`] later |
//! | compile time | the parent by SIGKILL: nothing interrupts a compiler |
//! | memory of compiling | `RLIMIT_DATA` of the process: [`COMPILE_MEMORY_BYTES`] |
//! | processor time of a worker | `RLIMIT_CPU`, which the parent moves for each loan |
//! | memory of all that run | the parent: [`WorkersSettings`] |
//! | memory of a record | modules: counted by the engine; graphs: `RLIMIT_DATA` of the process, which adds the engine's own |
//! | output of a record | the engine while it is written; the parent by its frame cap and again on arrival |
//! | memory of a file's check | `RLIMIT_DATA` of the process: [`EXAMINE_MEMORY_BYTES`] |
//! | time of a file's check | the parent by SIGKILL: ten seconds, and a second for each 8 MiB |
//! | life of a worker | the node: it drops the [`RunWorker`] or [`Lent`] or uses its [`Killer`]; [`Workers`] end those that wait too long |
//!
//! Deterministic by construction: a guest has no environment, no files, no sockets, a clock that starts at zero and
//! randomness that follows from the seed; a fresh instance for each record.
//!
//! Graphs run in the engine built in, or in the onnxruntime library of the machine: the [`Spawner`] that a node starts a
//! worker with says which. Such a worker loads the library before it shuts itself in, and this process never does.
//!
//! Linux only: seccomp, Landlock and descriptors over sockets have no portable form.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod channel;
mod compare;
mod engine;
mod facts;
mod failure;
mod formats;
mod isolation;
mod message;
mod parent;
mod value;
mod worker;

#[doc(hidden)]
pub use crate::engine::wasm::measure::{Measured, measure_command, measure_component};
pub use crate::engine::{engine_names, onnx_lacks};
pub use crate::failure::{Failure, Fault, TEXT_MAX_BYTES, TrapCode};
#[doc(hidden)]
pub use crate::formats::examine_in_process;
pub use crate::isolation::{Isolation, Level, UnknownLevel};
pub use crate::message::{CallLimits, CodeReport, TensorInfo};
pub use crate::parent::{
    Batch, COMPILE_CACHE_BYTES, COMPILE_MAX_MS, COMPILE_MEMORY_BYTES, Compiled, Compiler,
    CompilerSettings, CompilerStats, EXAMINE_MEMORY_BYTES, EngineInfo, Engines, Examiner,
    INSPECTION_FACTS_MAX, InspectLimits, Inspection, KILL_GRACE_MS, Killer, Lent, LibraryProblem,
    OnnxRuntime, PackageFiles, RunWorker, Scored, Spawner, TestOutcome, Took, UNIT_TEST_SEED,
    Wanted, Warm, Workers, WorkersSettings, WorkersStats, cache_key, run_tests, unit_test_inputs,
};
pub use crate::worker::worker_main;
#[doc(hidden)]
pub use crate::worker::{bring_up_onnxruntime, try_to_break_out};
