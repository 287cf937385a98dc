//! wasi-nn, as far as both forms share it: the models that a stage may ask, and how a failed request is told.
//!
//! A stage gets its package's own models and nothing else: they are read and planned before its code is, and asked for by
//! the names that the manifest gives them. What it hands over as a model itself is refused.
//!
//! A model runs in the engine built in. One for which the manifest names `onnxruntime` runs in that library, in the same
//! worker, which was started with it; placement sends such a stage only to nodes that have it.
//!
//! This is written out here, not taken from wasmtime's own crate for wasi-nn: that one ends the process over a pointer
//! outside a module's memory, holds any number of sessions and tensors, and has one error for all that backends refuse.
//!
//! # Limits
//!
//! | what | how |
//! |---|---|
//! | memory | the models' files and every tensor that the host holds count as the stage's own memory |
//! | time | the call's deadline; tract cannot be interrupted, so where it takes too long the worker ends, as with every guest |
//! | sessions | [`SESSIONS_MAX`] for each record of a module; those of components count among the host's things |

use std::sync::Arc;

use guildhall_protocol::contract::Import;
use guildhall_protocol::manifest::ONNXRUNTIME;

use super::limit::Limit;
use crate::engine::onnx::{self, Trouble, Value};
use crate::engine::onnxruntime::{self, OnnxRuntime};
use crate::failure::{Failure, excerpt};
use crate::message::StageSpec;

/// Most sessions of one record. Code has one for each model; the first form of wasi-nn has no way to end one.
pub(super) const SESSIONS_MAX: usize = 64;

/// Most operators that a refusal names: one is reason enough.
const OPERATORS_SHOWN: usize = 5;

/// The models that a stage may ask. They stay as they are, so that all calls share them.
pub(super) struct Models {
    named: Vec<(String, Model)>,
    len_bytes: u64,
}

impl Models {
    /// Reads and plans what the node handed over; none for a stage whose contract does not import wasi-nn.
    ///
    /// # Errors
    /// [`Failure::InvalidModel`] with the model's name, [`Failure::MemoryLimit`].
    pub(super) fn load(
        stage: &StageSpec,
        brought: Vec<(String, Vec<u8>)>,
        library: Option<&OnnxRuntime>,
    ) -> Result<Option<Arc<Self>>, Failure> {
        if !stage.may(Import::WasiNn) {
            return Ok(None);
        }
        let len_bytes = brought.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        if len_bytes > stage.memory_bytes {
            return Err(Failure::MemoryLimit { limit_bytes: stage.memory_bytes });
        }
        let mut named = Vec::new();
        for (name, bytes) in brought {
            let model = Model::load(stage, &name, &bytes, library);
            let model = model.map_err(|failure| match failure {
                Failure::InvalidModel { why } => {
                    Failure::InvalidModel { why: format!("model `{name}`: {why}") }
                }
                Failure::MemoryLimit { .. } => {
                    Failure::MemoryLimit { limit_bytes: stage.memory_bytes }
                }
                other => other,
            })?;
            named.push((name, model));
        }
        Ok(Some(Arc::new(Self { named, len_bytes })))
    }

    /// The place of the model of this name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.named.iter().position(|(other, _)| other == name)
    }

    /// The model at this place.
    pub(super) fn at(&self, place: usize) -> Option<&Model> {
        self.named.get(place).map(|(_, model)| model)
    }

    /// Counts the models' files as memory of a call; false if there is no room for them.
    pub(super) fn count(models: Option<&Arc<Self>>, limit: &mut Limit) -> bool {
        models.is_none_or(|models| limit.take(models.len_bytes))
    }
}

/// A model in the engine that it needs.
pub(super) enum Model {
    BuiltIn(onnx::Model),
    Library(onnxruntime::Model),
}

impl Model {
    fn load(
        stage: &StageSpec,
        name: &str,
        bytes: &[u8],
        library: Option<&OnnxRuntime>,
    ) -> Result<Self, Failure> {
        let named = stage.code.models().iter().find(|model| model.name == name);
        if named.and_then(|model| model.engine.as_deref()) != Some(ONNXRUNTIME) {
            return onnx::Model::load(bytes).map(Self::BuiltIn).map_err(|failure| {
                let lacking = onnx::lacking(bytes);
                match failure {
                    // What is missing says more than where planning stopped.
                    Failure::InvalidModel { .. } if !lacking.is_empty() => lacks(&lacking),
                    other => other,
                }
            });
        }
        let library = library.ok_or_else(|| Failure::Unsupported {
            what: format!("model `{name}` needs the engine `{ONNXRUNTIME}`"),
        })?;
        library.asked(bytes, stage.determinism).map(Self::Library)
    }

    /// How many tensors it takes.
    pub(super) fn inputs(&self) -> usize {
        match self {
            Self::BuiltIn(model) => model.inputs(),
            Self::Library(model) => model.inputs(),
        }
    }

    /// The place of the input of this name.
    pub(super) fn input(&self, name: &str) -> Option<usize> {
        match self {
            Self::BuiltIn(model) => model.input(name),
            Self::Library(model) => model.input(name),
        }
    }

    /// The name of the output at this place.
    pub(super) fn output(&self, at: usize) -> Option<&str> {
        match self {
            Self::BuiltIn(model) => model.output(at),
            Self::Library(model) => model.output(at),
        }
    }

    fn run(&self, given: &[Option<&Value>]) -> Result<Vec<Option<Value>>, Trouble> {
        match self {
            Self::BuiltIn(model) => model.run(given),
            Self::Library(model) => model.run(given),
        }
    }
}

/// A model has operators that the engine built in does not have.
fn lacks(operators: &[String]) -> Failure {
    let named = operators.iter().take(OPERATORS_SHOWN).map(|operator| format!("`{operator}`"));
    let named = named.collect::<Vec<_>>().join(", ");
    let why = format!(
        "the engine built in has no {named}; `engine = \"{ONNXRUNTIME}\"` beside the model asks for the library that may, \
         on nodes that have it"
    );
    Failure::InvalidModel { why }
}

/// What can be wrong with a request; both forms have a name for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Argument,
    Runtime,
    Unsupported,
    TooLarge,
    NotFound,
}

/// A model's outputs, none for those that wasi-nn has no tensors for; or what was wrong and why, in words.
pub(super) type Asked = Result<Vec<Option<Value>>, (Wrong, String)>;

/// Asks a model and counts what it gives as memory of the call.
///
/// # Errors
/// One of wasmtime's, where the call cannot go on.
pub(super) fn ask(
    model: &Model,
    given: &[Option<&Value>],
    limit: &mut Limit,
) -> wasmtime::Result<Asked> {
    let found = match model.run(given) {
        Ok(found) => found,
        Err(Trouble::Argument(why)) => return Ok(Err((Wrong::Argument, excerpt(why.as_bytes())))),
        Err(Trouble::Failed(why)) => return Ok(Err((Wrong::Runtime, excerpt(why.as_bytes())))),
        Err(Trouble::Memory) => {
            // The process is at its own limit, which is the stage's and the engines' together.
            limit.refuse();
            return Err(wasmtime::Error::msg("a model wants more memory than there is"));
        }
    };
    let len_bytes = found.iter().flatten().map(len_bytes).fold(0, u64::saturating_add);
    if limit.take(len_bytes) {
        return Ok(Ok(found));
    }
    Ok(Err((Wrong::TooLarge, format!("its outputs take {len_bytes} bytes"))))
}

/// What a tensor counts as memory, bytes.
pub(super) fn len_bytes(value: &Value) -> u64 {
    value.bytes.len() as u64
}
