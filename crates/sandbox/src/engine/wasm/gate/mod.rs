//! What is refused before the compiler sees any code: imports that stages do not get, and shapes beyond any use.
//!
//! The caps keep absurd code cheap to refuse. They do not make compiling safe: valid modules of a few kilobytes can keep
//! a compiler busy for minutes, and what real compilers emit comes close to them. The guard against those is that the
//! node kills a worker that compiles too long.

mod component;
mod module;

use wasmparser::BinaryReaderError;

use guildhall_protocol::contract::Import;

use super::machine::Form;
use crate::failure::Failure;
use crate::message::StageSpec;

/// Longest code, bytes. CPython as WebAssembly is about 30 MiB.
pub(super) const CODE_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Imports that depend on the contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Granted {
    /// wasi-nn.
    nn: bool,
    /// A component may name WASI's sockets, behind which there is nothing ([`super::component`]).
    pub(super) closed_sockets: bool,
}

impl Granted {
    /// What the contract of this stage grants.
    ///
    /// componentize-py leaves out sockets only together with all of WASI, wasi-nn and files included, so whoever may use
    /// one of these may name sockets too. Everybody else is told at publication that there are none.
    pub(crate) fn of(stage: &StageSpec) -> Self {
        let nn = stage.may(Import::WasiNn);
        Self { nn, closed_sockets: nn || stage.may(Import::PackageFiles) }
    }

    /// Tells two grants apart: code that is refused under one may be taken under another.
    pub(crate) const fn mark(self) -> &'static [u8] {
        match self {
            Self { nn: true, .. } => b"wasi-nn",
            Self { closed_sockets: true, .. } => b"sockets",
            Self { .. } => b"",
        }
    }
}

/// Checks code of this form and lists its imports, as a person would name them.
pub(super) fn check(form: Form, code: &[u8], granted: Granted) -> Result<Vec<String>, Failure> {
    match form {
        Form::Plain => module::check(code, granted.nn),
        Form::Full => component::check(code, granted),
    }
}

fn invalid(error: BinaryReaderError) -> Failure {
    Failure::InvalidModule { why: error.to_string() }
}

fn refused(why: impl Into<String>) -> Failure {
    Failure::InvalidModule { why: why.into() }
}

fn at_most(what: &str, count: u64, max: u64) -> Result<(), Failure> {
    if count <= max {
        Ok(())
    } else {
        Err(refused(format!("{count} {what}, at most {max} are taken")))
    }
}
