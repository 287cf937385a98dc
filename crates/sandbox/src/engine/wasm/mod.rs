//! The `wasm` engine: stages in wasmtime. The plain form is a WASI preview 1 command with one value on stdin and one on
//! stdout; the full form is a component with the interface in `wit/stage.wit`.
//!
//! Compiling and loading are two steps: [`Wasm::precompile`] makes code that a worker can keep, [`Wasm::load_compiled`]
//! takes it, and [`Wasm::fingerprint`] says which code fits. [`Engine::load`] does both in one process.
//!
//! Every call gets a new store and new instances (the plain form: every record), so nothing of one can reach the next.
//! Guests run without checks of the time, which cost more than many a loop does: when a call's is over, its worker ends
//! ([`progress`](super::progress)).

mod command;
mod component;
mod folder;
mod gate;
mod guest;
mod limit;
mod machine;
pub(crate) mod measure;
mod nn;
mod nn_module;
mod precompiled;
mod preview1;
#[cfg(test)]
mod tests;
mod verdict;
mod world;

use std::sync::Arc;

use wasmtime::Module;
use wasmtime::component::Component;

use self::command::Command;
use self::component::Full;
use self::folder::Folder;
pub(crate) use self::gate::Granted;
use self::machine::{Form, machine};
use self::nn::Models;
pub(crate) use self::precompiled::Compiled;
use super::{Brought, Engine, LoadedStage};
use crate::failure::Failure;
use crate::message::{CodeReport, StageSpec};

/// Executes [`guildhall_protocol::manifest::Code::Command`] and [`guildhall_protocol::manifest::Code::Component`].
pub(crate) struct Wasm;

impl Wasm {
    /// Checks the code and compiles it. The result loads on machines with the same [`Wasm::fingerprint`].
    ///
    /// # Errors
    /// [`Failure::InvalidModule`], [`Failure::ForbiddenImport`].
    pub(crate) fn precompile(stage: &StageSpec, code: &[u8]) -> Result<Vec<u8>, Failure> {
        let form = Form::of(&stage.code)?;
        gate::check(form, code, Granted::of(stage))?;
        let machine = machine(form, stage.determinism)?;
        match form {
            Form::Plain => machine.precompile_module(code),
            Form::Full => machine.precompile_component(code),
        }
        .map_err(invalid)
    }

    /// Makes compiled code ready for records. Nothing of it is checked again: see [`Compiled`].
    ///
    /// # Errors
    /// [`Failure::Internal`] if it was compiled by something else; compile it again then.
    pub(crate) fn load_compiled(
        stage: &StageSpec,
        compiled: Compiled,
        own: Brought,
    ) -> Result<Box<dyn LoadedStage>, Failure> {
        let form = Form::of(&stage.code)?;
        let own = Own::load(stage, own)?;
        let machine = machine(form, stage.determinism)?;
        match form {
            Form::Plain => {
                let module = precompiled::module(&machine, compiled)?;
                Ok(Box::new(Command::new(stage, machine, &module, own)?))
            }
            Form::Full => {
                let component = precompiled::component(&machine, compiled)?;
                Ok(Box::new(Full::new(stage, machine, &component, own)?))
            }
        }
    }

    /// What compiled code depends on besides its source: the key under which it may be kept.
    ///
    /// # Errors
    /// [`Failure::Internal`] if this process cannot set up wasmtime.
    pub(crate) fn fingerprint(stage: &StageSpec) -> Result<[u8; 32], Failure> {
        machine::fingerprint(Form::of(&stage.code)?, stage.determinism)
    }
}

impl Engine for Wasm {
    fn name(&self) -> &'static str {
        "wasm"
    }

    fn code_max_bytes(&self) -> u64 {
        gate::CODE_MAX_BYTES
    }

    fn inspect(
        &self,
        stage: &StageSpec,
        code: Vec<u8>,
        own: Brought,
    ) -> Result<CodeReport, Failure> {
        let form = Form::of(&stage.code)?;
        let imports = gate::check(form, &code, Granted::of(stage))?;
        let own = Own::load(stage, own)?;
        let machine = machine(form, stage.determinism)?;
        match form {
            Form::Plain => {
                let module = Module::from_binary(&machine, &code).map_err(invalid)?;
                Command::new(stage, machine, &module, own)?;
            }
            Form::Full => {
                let component = Component::from_binary(&machine, &code).map_err(invalid)?;
                Full::new(stage, machine, &component, own)?.check_description(&stage.interface)?;
            }
        }
        Ok(CodeReport { imports, ..CodeReport::default() })
    }

    fn load(
        &self,
        stage: &StageSpec,
        code: Vec<u8>,
        own: Brought,
    ) -> Result<Box<dyn LoadedStage>, Failure> {
        let compiled = Self::precompile(stage, &code)?;
        drop(code);
        Self::load_compiled(stage, Compiled::Bytes(compiled), own)
    }
}

/// What a stage may use of its package, ready; what its contract does not import is not there.
struct Own {
    models: Option<Arc<Models>>,
    folder: Option<Arc<Folder>>,
}

impl Own {
    fn load(stage: &StageSpec, brought: Brought) -> Result<Self, Failure> {
        let Brought { models, files, library } = brought;
        let folder = Folder::load(stage, files)?;
        Ok(Self { models: Models::load(stage, models, library.as_deref())?, folder })
    }
}

fn invalid(error: wasmtime::Error) -> Failure {
    Failure::InvalidModule { why: format!("{error:#}") }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| Failure::Internal { why: error.to_string() })
}
