//! Engines: what executes code inside a worker. The variant of [`Code`] decides which one.

mod onnx;
mod wasm;

use guildhall_protocol::manifest::Code;
use guildhall_protocol::wire::PortValue;

use crate::failure::Failure;
use crate::message::{CallLimits, CodeReport, StageSpec};
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
    /// Scores the records of a call, in their order, under one deadline for all of them. There may be fewer results
    /// than records: an engine that can interrupt itself stops by the alarm when the call's time is over, and the record
    /// it was at has timed out. For the others the node has SIGKILL. A record that fails does not end the call.
    fn score(&mut self, call: Call, alarm: &Alarm) -> Vec<Result<Outputs, Failure>>;
}

/// Records to be scored, and under what.
pub(crate) struct Call {
    pub(crate) records: Vec<Input>,
    pub(crate) limits: CallLimits,
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
