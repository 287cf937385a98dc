//! Engines: what executes code inside a worker. The variant of [`Code`] decides which one.

mod onnx;
mod wasm;

use guildhall_protocol::manifest::Code;

use crate::failure::Failure;
use crate::message::{CodeReport, PortValue, StageSpec};
use crate::value::DimSizes;
use crate::worker::Alarm;

/// One way of executing code. Engines hold no state of their own.
pub(crate) trait Engine {
    /// The name that nodes advertise.
    fn name(&self) -> &'static str;

    /// Longest code that it takes, bytes.
    fn code_max_bytes(&self) -> u64;

    /// Checks the code as strictly as [`Engine::load`] does and says what it found.
    fn inspect(&self, stage: &StageSpec, code: Vec<u8>) -> Result<CodeReport, Failure>;

    /// Makes the code ready for records.
    fn load(&self, stage: &StageSpec, code: Vec<u8>) -> Result<Box<dyn LoadedStage>, Failure>;
}

/// Code that is ready for records. No record leaves anything behind that a later one could see.
pub(crate) trait LoadedStage {
    /// Scores one record whose inputs were checked against the interface; `sizes` are its named dimensions. An engine
    /// that can interrupt itself does so at the stage's limit by the alarm; for the others the node has SIGKILL.
    fn score(
        &mut self,
        inputs: Vec<PortValue>,
        sizes: &DimSizes,
        alarm: &Alarm,
    ) -> Result<Outputs, Failure>;
}

/// What a record led to; not yet checked against the interface.
pub(crate) struct Outputs {
    pub(crate) values: Vec<PortValue>,
    /// Most memory the stage held, bytes, if the engine counts it.
    pub(crate) memory_peak_bytes: Option<u64>,
}

const ENGINES: [&dyn Engine; 2] = [&wasm::Wasm, &onnx::Onnx];

/// Names of the engines built into this binary, as nodes advertise them.
#[must_use]
pub fn engine_names() -> Vec<&'static str> {
    ENGINES.iter().map(|engine| engine.name()).collect()
}

/// The engine for this code.
pub(crate) fn of(code: &Code) -> Result<&'static dyn Engine, Failure> {
    let wanted = code.engine();
    ENGINES
        .into_iter()
        .find(|engine| engine.name() == wanted)
        .ok_or_else(|| Failure::Unsupported { what: format!("it has no engine `{wanted}`") })
}
