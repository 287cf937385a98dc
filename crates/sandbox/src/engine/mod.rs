//! Engines: what executes code inside a worker. The variant of [`Code`] decides which ones can, and the node which of
//! them does.

pub(crate) mod graph;
pub(crate) mod onnx;
pub(crate) mod onnxruntime;
pub(crate) mod progress;
pub(crate) mod wasm;

use std::sync::Arc;

use guildhall_protocol::manifest::Code;
use guildhall_protocol::wire::PortValue;

use crate::failure::Failure;
use crate::message::{CallLimits, CodeReport, StageSpec};
use crate::value::DimSizes;
use crate::worker::Alarm;

use self::onnxruntime::OnnxRuntime;
use self::progress::Progress;

/// One way of executing code. Engines hold nothing of a stage.
pub(crate) trait Engine {
    /// The name that nodes advertise.
    fn name(&self) -> &'static str;

    /// Longest code that it takes, bytes.
    fn code_max_bytes(&self) -> u64;

    /// Checks the code as strictly as [`Engine::load`] does and says what it found.
    fn inspect(
        &self,
        stage: &StageSpec,
        code: Vec<u8>,
        own: Brought,
    ) -> Result<CodeReport, Failure>;

    /// Makes the code ready for records.
    fn load(
        &self,
        stage: &StageSpec,
        code: Vec<u8>,
        own: Brought,
    ) -> Result<Box<dyn LoadedStage>, Failure>;
}

/// What a stage may use of its package beside its code, as the node handed it over: bytes that are the manifest's.
#[derive(Default)]
pub(crate) struct Brought {
    /// Graphs that code may ask, by the name that it asks for.
    pub(crate) models: Vec<(String, Vec<u8>)>,
    /// Files that code may read, by their name in the package.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// The library that the worker was started with, for models that name it.
    pub(crate) library: Option<Arc<OnnxRuntime>>,
}

/// Code that is ready for records. No record leaves anything behind that a later one could see.
pub(crate) trait LoadedStage {
    /// Scores the records of a call, in their order, under one deadline for all of them. There may be fewer results
    /// than records: an engine that can interrupt itself stops by the alarm when the call's time is over, and the record
    /// it was at has timed out. The others have their [`Progress`] told by the alarm, which ends the process. A record
    /// that fails does not end the call.
    fn score(&mut self, call: Call, alarm: &Alarm) -> Vec<Result<Outputs, Failure>>;

    /// Whether other threads than the one that asks work on records.
    fn is_threaded(&self) -> bool {
        false
    }

    /// The beginning of what the last record's code wrote to stderr; nothing where an engine has no such thing. It may
    /// quote the record, so only the stage's own developer is shown all of it.
    fn said(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// Records to be scored, and under what.
pub(crate) struct Call {
    pub(crate) records: Vec<Input>,
    pub(crate) limits: CallLimits,
    pub(crate) progress: Progress,
}

/// A record whose values were checked against the interface.
pub(crate) struct Input {
    pub(crate) values: Vec<PortValue>,
    /// Sizes of its named dimensions.
    pub(crate) sizes: DimSizes,
}

/// What a record led to; not yet checked against the interface.
pub(crate) struct Outputs {
    pub(crate) values: Vec<PortValue>,
    /// Figures that the stage reported, in order; a call's are on its first record that has outputs.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "workers do not say them to the node yet; nobody else may hear them"
        )
    )]
    pub(crate) metrics: Vec<(String, f64)>,
    /// Most memory the stage held, bytes, if the engine counts it.
    pub(crate) memory_peak_bytes: Option<u64>,
}

const ENGINES: [&dyn Engine; 2] = [&wasm::Wasm, &onnx::Onnx];

/// Names of the engines built into this binary. What a machine has besides is for
/// [`Spawner::engines`](crate::Spawner::engines) to find out.
#[must_use]
pub fn engine_names() -> Vec<&'static str> {
    ENGINES.iter().map(|engine| engine.name()).collect()
}

/// Which of a graph's operators, as its facts list them, the engine `onnx` lacks; where there are none, it can run the
/// graph as far as that goes. Operators that lead to no bound output do not matter in the end.
#[must_use]
pub fn onnx_lacks(operators: &[String]) -> Vec<String> {
    onnx::lacks(operators)
}

/// Whether an engine of this name takes such code.
fn takes(engine: &str, code: &Code) -> bool {
    engine == code.engine() || (engine == onnxruntime::NAME && matches!(code, Code::Onnx(_)))
}

/// What a worker executes code with: the engines built in, and the library that it was started with.
pub(crate) struct Engines {
    onnxruntime: Option<Arc<OnnxRuntime>>,
}

impl Engines {
    pub(crate) fn new(onnxruntime: Option<OnnxRuntime>) -> Self {
        Self { onnxruntime: onnxruntime.map(Arc::new) }
    }

    /// The library that it was started with.
    pub(crate) fn library(&self) -> Option<Arc<OnnxRuntime>> {
        self.onnxruntime.clone()
    }

    /// The engine that the node chose for this stage.
    pub(crate) fn of(&self, stage: &StageSpec) -> Result<&dyn Engine, Failure> {
        let wanted = stage.engine.as_str();
        let unsupported = |what: String| Failure::Unsupported { what };
        if !takes(wanted, &stage.code) {
            let own = stage.code.engine();
            return Err(unsupported(format!("engine `{wanted}` takes no code for `{own}`")));
        }
        let added = self.onnxruntime.as_deref().map(|engine| engine as &dyn Engine);
        ENGINES
            .into_iter()
            .map(|engine| engine as &dyn Engine)
            .chain(added)
            .find(|engine| engine.name() == wanted)
            .ok_or_else(|| unsupported(format!("it has no engine `{wanted}`")))
    }

    /// Where the library runs graphs; nothing if there is none.
    pub(crate) fn providers(&self) -> Vec<String> {
        self.onnxruntime.as_deref().map(OnnxRuntime::providers).unwrap_or_default()
    }
}
