//! The plain form: a WASI preview 1 command, one value in on stdin, one value out on stdout, one run for each record.

use std::cell::RefCell;
use std::collections::BTreeMap;

use guildhall_protocol::wire::PortValue;
use wasmtime::{Engine as Machine, InstancePre, Linker, Module, Store};
use wasmtime_wasi::I32Exit;

use super::preview1::{self, Host, Terms};
use super::verdict::judge;
use super::{Own, folder, nn_module};
use crate::engine::{Call, Input, LoadedStage, Outputs};
use crate::failure::Failure;
use crate::message::{CallLimits, StageSpec};
use crate::worker::Alarm;

/// Longest arguments made from a stage's config, bytes.
const ARGUMENTS_MAX_BYTES: usize = 64 * 1024;

/// A compiled command, ready to be instantiated.
pub(super) struct Command {
    machine: Machine,
    instance: InstancePre<Host>,
    arguments: Vec<String>,
    output_port: String,
    memory_bytes: u64,
    own: Own,
    /// `wasmtime-wasi` blocks on a runtime. Nothing of ours ever waits, so one without threads or timers will do.
    runtime: tokio::runtime::Runtime,
    /// What the last record's run wrote to stderr.
    said: RefCell<Vec<u8>>,
}

impl Command {
    /// Checks what can be checked before a record comes, and links the module to its world.
    pub(super) fn new(
        stage: &StageSpec,
        machine: Machine,
        module: &Module,
        own: Own,
    ) -> Result<Self, Failure> {
        let broken = |what: String| Failure::Internal { why: what };
        let output_port = match stage.interface.outputs.as_slice() {
            [port] => port.name.clone(),
            _ => return Err(Failure::InvalidModule { why: "a command has one output".into() }),
        };
        let arguments = arguments(&stage.config)?;
        let mut linker = Linker::new(&machine);
        preview1::add_to_linker(&mut linker).map_err(|error| broken(error.to_string()))?;
        if own.folder.is_some() {
            folder::add_to_linker(&mut linker).map_err(|error| broken(error.to_string()))?;
        }
        if own.models.is_some() {
            nn_module::add_to_linker(&mut linker).map_err(|error| broken(error.to_string()))?;
        }
        let instance = linker.instantiate_pre(module).map_err(super::invalid)?;
        let runtime = super::runtime()?;
        let memory_bytes = stage.memory_bytes;
        let said = RefCell::default();
        Ok(Self { machine, instance, arguments, output_port, memory_bytes, own, runtime, said })
    }

    fn record(&self, input: Input, limits: &CallLimits) -> Result<Outputs, Failure> {
        let input = input.values.into_iter().next().map(|value| value.bytes).unwrap_or_default();
        let terms = Terms {
            arguments: &self.arguments,
            seed: limits.seed,
            memory_bytes: self.memory_bytes,
            output_bytes: limits.output_bytes,
            own: &self.own,
        };
        let Some(host) = Host::new(input, &terms) else {
            return Err(Failure::MemoryLimit { limit_bytes: self.memory_bytes });
        };
        let mut store = Store::new(&self.machine, host);
        store.limiter(|host| &mut host.limit);
        let ended = self.instance.instantiate(&mut store).and_then(|instance| {
            instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())
        });
        let host = store.data();
        *self.said.borrow_mut() = host.stderr.contents().to_vec();
        let bytes = host.stdout.contents();
        if bytes.len() as u64 > limits.output_bytes {
            return Err(Failure::OutputLimit { limit_bytes: limits.output_bytes });
        }
        match ended {
            Ok(()) => {}
            Err(error) if error.downcast_ref::<I32Exit>().is_some_and(|exit| exit.0 == 0) => {}
            Err(error) => {
                let stderr = &host.stderr;
                return Err(judge(&error, &host.limit, stderr, limits.output_bytes));
            }
        }
        Ok(Outputs {
            values: vec![PortValue::new(self.output_port.clone(), bytes)],
            memory_peak_bytes: Some(host.limit.peak_bytes()),
            metrics: Vec::new(),
        })
    }
}

impl LoadedStage for Command {
    fn score(&mut self, call: Call, alarm: &Alarm) -> Vec<Result<Outputs, Failure>> {
        let Call { records, limits, progress } = call;
        let _deadline = progress.deadline(alarm, limits.scoring_ms);
        let _entered = self.runtime.enter();
        for input in records {
            progress.push(self.record(input, &limits));
        }
        progress.finish()
    }

    fn said(&self) -> Vec<u8> {
        self.said.borrow().clone()
    }
}

/// `stage`, then the config as `--key=value`, in order of key.
fn arguments(config: &BTreeMap<String, String>) -> Result<Vec<String>, Failure> {
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
