//! How long a stage takes to start and end in a warm process, beside wasmtime alone. For benchmarks only: figures in
//! nanoseconds, one for each call, in the order of the calls.

use std::collections::BTreeMap;
use std::time::Instant;

use guildhall_protocol::contract::Determinism;
use guildhall_protocol::hash::Hash;
use guildhall_protocol::interface::{Interface, Port, PortType};
use guildhall_protocol::manifest::{Code, CommandCode, ComponentCode, FileEntry};
use guildhall_protocol::name::FileName;
use guildhall_protocol::wire::PortValue;
use wasmtime::component::{Component, Linker as ComponentLinker};
use wasmtime::{
    Config, Engine as Machine, InstanceAllocationStrategy, Linker, Module, PoolingAllocationConfig,
    Store,
};

use super::{Compiled, Wasm};
use crate::engine::progress::Progress;
use crate::engine::{Brought, Call, Input};
use crate::failure::Failure;
use crate::message::{CallLimits, StageSpec};
use crate::value::DimSizes;
use crate::worker::Alarm;

/// Calls before the first that counts.
const WARM_UP: usize = 200;

/// Calls of a stage and the same code in wasmtime alone.
#[derive(Debug)]
pub struct Measured {
    /// Our whole call of one record: store, instance, world, deadline, conversions.
    pub ours_ns: Vec<u64>,
    /// A new store, a new instance, and the call of one export without imports, in a pool, from compiled code.
    pub wasmtime_ns: Vec<u64>,
    /// Checking and compiling ours, nanoseconds.
    pub compile_ns: u64,
    /// Loading what was compiled, nanoseconds.
    pub load_ns: u64,
    /// Length of what was compiled, bytes.
    pub compiled_bytes: usize,
}

/// Measures a command without imports, `calls` times each, one of ours after one of wasmtime's.
///
/// # Errors
/// [`Failure`] if it is no such command.
pub fn measure_command(
    module: &[u8],
    determinism: Determinism,
    calls: usize,
) -> Result<Measured, Failure> {
    let file: FileName = "stage.wasm".parse().map_err(internal)?;
    let code = CommandCode { module: file.clone(), models: Vec::new() };
    let stage = stage(Code::Command(code), file, determinism);
    let machine = bare()?;
    let module_of_wasmtime = Module::from_binary(&machine, module).map_err(internal)?;
    let pre = Linker::<()>::new(&machine).instantiate_pre(&module_of_wasmtime).map_err(internal)?;
    measure(&stage, module, calls, || {
        let mut store = Store::new(&machine, ());
        let instance = pre.instantiate(&mut store)?;
        instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())
    })
}

/// Measures a component that takes and gives a text. wasmtime alone calls its export `peer`, which takes and gives
/// nothing; both are components without other imports than our own types.
///
/// # Errors
/// [`Failure`] if they are no such components.
pub fn measure_component(
    component: &[u8],
    peer: &[u8],
    determinism: Determinism,
    calls: usize,
) -> Result<Measured, Failure> {
    let file: FileName = "stage.wasm".parse().map_err(internal)?;
    let code = ComponentCode { component: file.clone(), models: Vec::new() };
    let stage = stage(Code::Component(code), file, determinism);
    let machine = bare()?;
    let peer = Component::from_binary(&machine, peer).map_err(internal)?;
    let pre = ComponentLinker::<()>::new(&machine).instantiate_pre(&peer).map_err(internal)?;
    measure(&stage, component, calls, || {
        let mut store = Store::new(&machine, ());
        let instance = pre.instantiate(&mut store)?;
        let peer = instance.get_typed_func::<(), ()>(&mut store, "peer")?;
        peer.call(&mut store, ())
    })
}

fn measure(
    stage: &StageSpec,
    code: &[u8],
    calls: usize,
    peer: impl Fn() -> wasmtime::Result<()>,
) -> Result<Measured, Failure> {
    let started = Instant::now();
    let compiled = Wasm::precompile(stage, code)?;
    let (compile_ns, compiled_bytes) = (elapsed_ns(started), compiled.len());
    let started = Instant::now();
    let mut loaded = Wasm::load_compiled(stage, Compiled::Bytes(compiled), Brought::default())?;
    let load_ns = elapsed_ns(started);
    let alarm = Alarm::start().map_err(internal)?;
    let (ours_ns, wasmtime_ns) = (Vec::new(), Vec::new());
    let mut measured = Measured { ours_ns, wasmtime_ns, compile_ns, load_ns, compiled_bytes };
    // What is measured a few times only takes long enough to need no warming up.
    let warm_up = WARM_UP.min(calls / 10);
    for at in 0..calls.saturating_add(warm_up) {
        let started = Instant::now();
        peer().map_err(internal)?;
        let wasmtime_ns = elapsed_ns(started);
        let call = Call {
            records: vec![Input {
                values: vec![PortValue::new("in", b"x".as_slice())],
                sizes: DimSizes::new(),
            }],
            limits: CallLimits { scoring_ms: 60_000, output_bytes: 1 << 20, seed: 7 },
            progress: Progress::patient(),
        };
        let started = Instant::now();
        let results = loaded.score(call, &alarm);
        let ours_ns = elapsed_ns(started);
        results.into_iter().next().unwrap_or_else(|| Err(internal("no result")))?;
        if at >= warm_up {
            measured.ours_ns.push(ours_ns);
            measured.wasmtime_ns.push(wasmtime_ns);
        }
    }
    Ok(measured)
}

fn elapsed_ns(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// wasmtime as its authors would set it up for many short calls.
fn bare() -> Result<Machine, Failure> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(8).total_tables(8).total_core_instances(8).total_stacks(1);
    let mut config = Config::new();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Machine::new(&config).map_err(internal)
}

fn stage(code: Code, file: FileName, determinism: Determinism) -> StageSpec {
    let text = |name: &str| Port {
        name: name.into(),
        port_type: PortType::Text,
        optional: false,
        location: None,
    };
    let file =
        FileEntry { name: file, len_bytes: 0, hash: Hash::of(b""), media_type: String::new() };
    StageSpec {
        interface: Interface { inputs: vec![text("in")], outputs: vec![text("out")] },
        engine: code.engine().to_owned(),
        code,
        file,
        determinism,
        imports: Vec::new(),
        memory_bytes: 512 << 20,
        config: BTreeMap::new(),
    }
}

fn internal(error: impl ToString) -> Failure {
    Failure::Internal { why: error.to_string() }
}
