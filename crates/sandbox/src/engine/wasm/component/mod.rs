//! The full form: a component with the interface in `wit/stage.wit`. One instance scores all records of a call.

mod bindings;
mod blob;
mod description;
mod files;
mod nn;
mod sockets;
mod values;
mod world;

use std::cell::RefCell;
use std::time::Instant;

use guildhall_protocol::contract::Determinism;
use guildhall_protocol::interface::Interface;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine as Machine, Store};

use self::bindings::{Stage, StagePre, types};
use self::world::{Terms, World};
use super::Own;
use super::gate::Granted;
use super::verdict::judge;
use crate::engine::{Call, Input, LoadedStage, Outputs};
use crate::failure::{Failure, excerpt};
use crate::message::{CallLimits, StageSpec};
use crate::worker::Alarm;

/// Longest config of a stage, bytes, keys and values together.
const CONFIG_MAX_BYTES: usize = 64 * 1024;

/// Most bytes of outputs that a worker holds for one call, whatever its records may have each. An answer is one frame
/// of 4 MiB, so that more would be scored again anyway.
const CALL_OUTPUT_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What the shapes and names of outputs take beside their bytes, bytes.
const RESULT_SPARE_BYTES: u64 = 4 * 1024 * 1024;

/// Longest time for `describe`, milliseconds. It has nothing to do but start the language's runtime.
const DESCRIBE_MAX_MS: u64 = 5_000;

/// A compiled component, ready to be instantiated.
pub(super) struct Full {
    machine: Machine,
    stage: StagePre<World>,
    interface: Interface,
    config: Vec<(String, String)>,
    determinism: Determinism,
    memory_bytes: u64,
    own: Own,
    /// `wasmtime-wasi` blocks on a runtime. Nothing of ours ever waits, so one without threads or timers will do.
    runtime: tokio::runtime::Runtime,
    /// What the last call wrote to stderr.
    said: RefCell<Vec<u8>>,
}

impl Full {
    /// Checks what can be checked before a record comes, and links the component to its world.
    pub(super) fn new(
        stage: &StageSpec,
        machine: Machine,
        component: &Component,
        own: Own,
    ) -> Result<Self, Failure> {
        let len_bytes: usize =
            stage.config.iter().map(|(key, value)| key.len() + value.len()).sum();
        if len_bytes > CONFIG_MAX_BYTES {
            let why = format!("a stage's config is at most {CONFIG_MAX_BYTES} bytes");
            return Err(Failure::BadInput { why });
        }
        let mut linker = Linker::new(&machine);
        world::add_to_linker(&mut linker)
            .map_err(|error| Failure::Internal { why: error.to_string() })?;
        if own.models.is_some() {
            nn::add_to_linker(&mut linker)
                .map_err(|error| Failure::Internal { why: error.to_string() })?;
        }
        if Granted::of(stage).closed_sockets {
            sockets::add_to_linker(&mut linker, &machine, component).map_err(super::invalid)?;
        }
        let instance = linker.instantiate_pre(component).map_err(super::invalid)?;
        Ok(Self {
            stage: StagePre::new(instance).map_err(super::invalid)?,
            machine,
            interface: stage.interface.clone(),
            config: stage.config.clone().into_iter().collect(),
            determinism: stage.determinism,
            memory_bytes: stage.memory_bytes,
            own,
            runtime: super::runtime()?,
            said: RefCell::default(),
        })
    }

    /// Asks the component for its interface and compares it with the manifest's.
    pub(super) fn check_description(&self, interface: &Interface) -> Result<(), Failure> {
        let limits =
            CallLimits { scoring_ms: DESCRIBE_MAX_MS, output_bytes: RESULT_SPARE_BYTES, seed: 0 };
        // A component that does not answer is ended with whoever compiles it.
        let said = self.call(&limits, RESULT_SPARE_BYTES, Instant::now(), |stage, store| {
            stage.guildhall_stage_scoring().call_describe(store)
        });
        description::compare(&said?.0, interface).map_err(|why| Failure::InvalidModule { why })
    }

    /// Calls something in a fresh instance.
    fn call<T>(
        &self,
        limits: &CallLimits,
        output_bytes: u64,
        started: Instant,
        ask: impl FnOnce(&Stage, &mut Store<World>) -> wasmtime::Result<T>,
    ) -> Result<(T, Store<World>), Failure> {
        let terms = Terms {
            seed: limits.seed,
            memory_bytes: self.memory_bytes,
            output_bytes,
            determinism: self.determinism,
            own: &self.own,
        };
        let Some(world) = World::new(&terms, started, limits.scoring_ms) else {
            return Err(Failure::MemoryLimit { limit_bytes: self.memory_bytes });
        };
        let mut store = Store::new(&self.machine, world);
        store.limiter(|world| &mut world.limit);
        // Tensors go through the guest's memory, which they cannot exceed.
        let tensors_bytes = self.own.models.as_ref().map_or(0, |_| self.memory_bytes);
        let at_once = output_bytes.max(tensors_bytes).saturating_add(RESULT_SPARE_BYTES);
        store.set_hostcall_fuel(usize::try_from(at_once).unwrap_or(usize::MAX));
        let _entered = self.runtime.enter();
        let answer = self.stage.instantiate(&mut store).and_then(|stage| ask(&stage, &mut store));
        *self.said.borrow_mut() = store.data().stderr.contents().to_vec();
        match answer {
            Ok(answer) => Ok((answer, store)),
            Err(error) => {
                let World { limit, stderr, .. } = store.data();
                Err(judge(&error, limit, stderr, output_bytes))
            }
        }
    }

    /// Scores records in one instance. An error is one of the whole call.
    fn run(
        &self,
        records: Vec<Input>,
        limits: &CallLimits,
        started: Instant,
    ) -> Result<Vec<Result<Outputs, Failure>>, Failure> {
        let count = records.len();
        let output_bytes =
            limits.output_bytes.saturating_mul(count as u64).min(CALL_OUTPUT_MAX_BYTES);
        let output_bytes = output_bytes.max(limits.output_bytes);
        let (answers, mut store) = self.call(limits, output_bytes, started, |stage, store| {
            let batch = self.batch(records, store)?;
            stage.guildhall_stage_scoring().call_run(store, &self.config, &batch)
        })?;
        if answers.len() != count {
            let why = format!("it gave {} results for {count} records", answers.len());
            return Err(Failure::BadOutput { why });
        }
        let world = store.data_mut();
        let mut metrics = std::mem::take(&mut world.metrics);
        let memory_peak_bytes = Some(world.limit.peak_bytes());
        Ok(answers
            .into_iter()
            .map(|answer| {
                let values = match answer {
                    Ok(values) => values::from_guest(&self.interface, values, &mut world.table)
                        .map_err(|why| Failure::BadOutput { why })?,
                    Err(error) => return Err(said(error)),
                };
                // Figures belong to the call; the first record that has outputs carries them.
                let metrics = std::mem::take(&mut metrics);
                Ok(Outputs { values, memory_peak_bytes, metrics })
            })
            .collect())
    }

    fn batch(
        &self,
        records: Vec<Input>,
        store: &mut Store<World>,
    ) -> wasmtime::Result<Vec<Vec<types::NamedValue>>> {
        let table = &mut store.data_mut().table;
        records
            .into_iter()
            .map(|record| {
                values::to_guest(&self.interface, record.values, &record.sizes, table)
                    .map_err(wasmtime::Error::msg)
            })
            .collect()
    }
}

fn copy(record: &Input) -> Input {
    Input { values: record.values.clone(), sizes: record.sizes.clone() }
}

/// A record's failure in the stage's own words.
fn said(error: types::StageError) -> Failure {
    match error {
        types::StageError::BadInput(why) => Failure::BadInput { why: excerpt(why.as_bytes()) },
        types::StageError::Failed(why) => Failure::Stage { why: excerpt(why.as_bytes()) },
    }
}

impl LoadedStage for Full {
    /// When something ends the whole call, nobody knows which record it was. With more than one of them each is scored
    /// alone then, in an instance of its own, as far as the time reaches.
    fn score(&mut self, call: Call, alarm: &Alarm) -> Vec<Result<Outputs, Failure>> {
        let Call { records, limits, progress } = call;
        let deadline = progress.deadline(alarm, limits.scoring_ms);
        let started = deadline.started();
        if records.len() > 1 {
            progress.score_together(true);
            if let Ok(results) = self.run(records.iter().map(copy).collect(), &limits, started) {
                results.into_iter().for_each(|result| progress.push(result));
                return progress.finish();
            }
            progress.score_together(false);
        }
        for record in records {
            match self.run(vec![record], &limits, started) {
                Ok(one) => one.into_iter().for_each(|result| progress.push(result)),
                Err(failure) => progress.push(Err(failure)),
            }
        }
        progress.finish()
    }

    fn said(&self) -> Vec<u8> {
        self.said.borrow().clone()
    }
}
