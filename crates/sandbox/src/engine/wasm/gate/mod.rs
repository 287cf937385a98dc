//! What is refused before the compiler sees any code: imports that stages do not get, and shapes beyond any use.
//!
//! The caps keep absurd code cheap to refuse. They do not make compiling safe: valid modules of a few kilobytes can keep
//! a compiler busy for minutes, and what real compilers emit comes close to them. The guard against those is that the
//! node kills a worker that compiles too long.

mod component;
mod module;

use wasmparser::BinaryReaderError;

use super::machine::Form;
use crate::failure::Failure;

/// Longest code, bytes. CPython as WebAssembly is about 30 MiB.
pub(super) const CODE_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Checks code of this form and lists its imports, as a person would name them. wasi-nn is among them only where the
/// contract says so.
pub(super) fn check(form: Form, code: &[u8], has_nn: bool) -> Result<Vec<String>, Failure> {
    match form {
        Form::Plain => module::check(code, has_nn),
        Form::Full => component::check(code, has_nn),
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
