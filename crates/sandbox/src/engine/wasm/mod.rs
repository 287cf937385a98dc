//! The `wasm` engine: WASI preview 1 commands in wasmtime. One value in on stdin, one value out on stdout.
//!
//! Every record gets a new store and a new instance, so nothing of one record can reach the next. Epoch interruption
//! ends guests at their limit; where it does not reach (one bulk instruction, the compiler) the node's SIGKILL does.

mod gate;
mod host;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use guildhall_protocol::contract::Determinism;
use guildhall_protocol::wire::PortValue;
use wasmtime::{
    Config, Engine as Machine, InstancePre, Linker, Module, OptLevel, Store, Trap,
    WasmBacktraceDetails,
};
use wasmtime_wasi::I32Exit;

use self::host::Host;
use super::{Call, Engine, Input, LoadedStage, Outputs};
use crate::failure::{Failure, TrapCode, excerpt};
use crate::message::{CallLimits, CodeReport, StageSpec};
use crate::worker::Alarm;

/// Stack of a guest, bytes: wasmtime's default, pinned because a guest can tell.
const STACK_MAX_BYTES: usize = 512 * 1024;

/// Longest arguments made from a stage's config, bytes.
const ARGUMENTS_MAX_BYTES: usize = 64 * 1024;

/// Executes [`guildhall_protocol::manifest::Code::Command`].
pub(super) struct Wasm;

impl Engine for Wasm {
    fn name(&self) -> &'static str {
        "wasm"
    }

    fn code_max_bytes(&self) -> u64 {
        gate::MODULE_MAX_BYTES
    }

    fn inspect(&self, stage: &StageSpec, code: Vec<u8>) -> Result<CodeReport, Failure> {
        let imports = gate::check(&code)?;
        Command::compile(stage, &code)?;
        Ok(CodeReport { imports, ..CodeReport::default() })
    }

    fn load(&self, stage: &StageSpec, code: Vec<u8>) -> Result<Box<dyn LoadedStage>, Failure> {
        gate::check(&code)?;
        Ok(Box::new(Command::compile(stage, &code)?))
    }
}

/// A machine that does the same everywhere and stops when told to.
fn machine(determinism: Determinism) -> wasmtime::Result<Machine> {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(STACK_MAX_BYTES)
        // One worker compiles one module once; images of memories would need writable files.
        .memory_init_cow(false)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(determinism == Determinism::Bitwise)
        // Nobody reads them: a failure is a code.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(None)
        // What a stage has no use for, or what differs between processors.
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_component_model(false);
    Machine::new(&config)
}

/// A compiled command, ready to be instantiated.
struct Command {
    machine: Machine,
    instance: InstancePre<Host>,
    arguments: Vec<String>,
    output_port: String,
    memory_bytes: u64,
    /// `wasmtime-wasi` blocks on a runtime. Nothing of ours ever waits, so one without threads or timers will do.
    runtime: tokio::runtime::Runtime,
}

impl Command {
    fn compile(stage: &StageSpec, code: &[u8]) -> Result<Self, Failure> {
        let invalid = |error: wasmtime::Error| Failure::InvalidModule { why: format!("{error:#}") };
        let broken = |what: String| Failure::Internal { why: what };
        let output_port = match stage.interface.outputs.as_slice() {
            [port] => port.name.clone(),
            _ => return Err(Failure::InvalidModule { why: "a command has one output".into() }),
        };
        let arguments = arguments(&stage.config)?;
        let machine = machine(stage.determinism).map_err(|error| broken(error.to_string()))?;
        let module = Module::from_binary(&machine, code).map_err(invalid)?;
        let mut linker = Linker::new(&machine);
        host::add_to_linker(&mut linker).map_err(|error| broken(error.to_string()))?;
        let instance = linker.instantiate_pre(&module).map_err(invalid)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| broken(error.to_string()))?;
        Ok(Self {
            machine,
            instance,
            arguments,
            output_port,
            memory_bytes: stage.memory_bytes,
            runtime,
        })
    }

    /// Why a guest ended, in order of what explains most.
    fn judge(
        &self,
        ended: Result<(), wasmtime::Error>,
        host: &Host,
        limits: &CallLimits,
        took: Duration,
    ) -> Result<(), Failure> {
        let ended = match ended {
            Err(error) if error.downcast_ref::<I32Exit>().is_some_and(|exit| exit.0 == 0) => Ok(()),
            other => other,
        };
        if host.stdout.contents().len() as u64 > limits.output_bytes {
            return Err(Failure::OutputLimit { limit_bytes: limits.output_bytes });
        }
        let Err(error) = ended else { return Ok(()) };
        let trap = error.downcast_ref::<Trap>().copied();
        if trap == Some(Trap::Interrupt) {
            let stopped_after_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            return Err(Failure::Timeout { limit_ms: limits.scoring_ms, stopped_after_ms });
        }
        if host.memory.was_refused {
            return Err(Failure::MemoryLimit { limit_bytes: self.memory_bytes });
        }
        if let Some(I32Exit(code)) = error.downcast_ref() {
            let stderr_excerpt = excerpt(&host.stderr.contents());
            return Err(Failure::Exited { code: *code, stderr_excerpt });
        }
        Err(Failure::Trap { code: trap.map_or(TrapCode::Other, trap_code) })
    }
}

/// `stage`, then the config as `--key=value`, in order of key.
fn arguments(config: &std::collections::BTreeMap<String, String>) -> Result<Vec<String>, Failure> {
    let settings = config.iter().map(|(key, value)| format!("--{key}={value}"));
    let arguments: Vec<_> = std::iter::once("stage".to_owned()).chain(settings).collect();
    let len_bytes: usize = arguments.iter().map(String::len).sum();
    if len_bytes > ARGUMENTS_MAX_BYTES || arguments.iter().any(|text| text.contains('\0')) {
        return Err(Failure::BadInput {
            why: format!("a stage's config is at most {ARGUMENTS_MAX_BYTES} bytes without NUL"),
        });
    }
    Ok(arguments)
}

impl LoadedStage for Command {
    fn score(&mut self, call: Call, alarm: &Alarm) -> Vec<Result<Outputs, Failure>> {
        let started = Instant::now();
        let is_over = Arc::new(AtomicBool::new(false));
        let (machine, over) = (self.machine.clone(), Arc::clone(&is_over));
        alarm.arm(Duration::from_millis(call.limits.scoring_ms), move || {
            over.store(true, Ordering::SeqCst);
            machine.increment_epoch();
        });
        let mut results = Vec::with_capacity(call.records.len());
        for record in call.records {
            let Some(result) = self.score_one(record, &call.limits, started, &is_over) else {
                break;
            };
            let timed_out = matches!(result, Err(Failure::Timeout { .. }));
            results.push(result);
            if timed_out {
                break;
            }
        }
        alarm.disarm();
        results
    }
}

impl Command {
    /// `None` when the call's time was over before the record began.
    fn score_one(
        &self,
        record: Input,
        limits: &CallLimits,
        started: Instant,
        is_over: &AtomicBool,
    ) -> Option<Result<Outputs, Failure>> {
        let input = record.values.into_iter().next().map(|value| value.bytes).unwrap_or_default();
        let host =
            Host::new(input, &self.arguments, limits.seed, self.memory_bytes, limits.output_bytes);
        let mut store = Store::new(&self.machine, host);
        store.limiter(|host| &mut host.memory);
        // First the deadline, then the look: an alarm in between is either seen here or moves the epoch past it.
        store.set_epoch_deadline(1);
        if is_over.load(Ordering::SeqCst) {
            return None;
        }
        let _entered = self.runtime.enter();
        let ended = self.instance.instantiate(&mut store).and_then(|instance| {
            instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())
        });
        let host = store.data();
        Some(self.judge(ended, host, limits, started.elapsed()).map(|()| {
            let bytes = host.stdout.contents().to_vec();
            Outputs {
                values: vec![PortValue::new(self.output_port.clone(), bytes)],
                memory_peak_bytes: Some(host.memory.peak_bytes),
            }
        }))
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
