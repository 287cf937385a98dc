//! Compiled code that was kept: the only place where bytes become executable without a compiler having just made them,
//! and so the only place of this crate with `unsafe`.
//!
//! wasmtime trusts such bytes: whoever can change them executes what they like in the worker. Three things stand in
//! front of that. The node authenticates what it kept with a key that no worker has, and by the [`fingerprint`] under
//! which it was compiled; the bytes are handed over in a file that nobody can change any more; and the worker that
//! loads them is shut in like any other.
//!
//! [`fingerprint`]: super::machine::fingerprint
#![expect(
    unsafe_code,
    reason = "loading compiled code has no safe form; this module is reviewed for it"
)]

use std::fs::File;
use std::io::Read as _;

use wasmtime::component::Component;
use wasmtime::{Engine as Machine, Module};

use crate::failure::Failure;

/// Compiled code as a worker gets it.
///
/// Whoever makes one says with it: these bytes came out of [`super::precompile`] under the fingerprint of this machine,
/// were authenticated since, and cannot be changed while the worker has them (a file that is sealed, or that nobody may
/// write to).
pub(crate) enum Compiled {
    /// In memory.
    Bytes(Vec<u8>),
    /// In a file. Modules are mapped from it, so that instances share its pages until they write to them.
    File(File),
}

/// A module from compiled code.
pub(super) fn module(machine: &Machine, compiled: Compiled) -> Result<Module, Failure> {
    let loaded = match compiled {
        // SAFETY: `Compiled` says that these bytes are wasmtime's own, authenticated by the node; what of version and
        // settings differs from this machine's is found and refused by wasmtime.
        Compiled::Bytes(bytes) => unsafe { Module::deserialize(machine, bytes) },
        // SAFETY: as above, and the file does not change while it is mapped.
        Compiled::File(file) => unsafe { Module::deserialize_open_file(machine, file) },
    };
    loaded.map_err(stale)
}

/// A component from compiled code.
pub(super) fn component(machine: &Machine, compiled: Compiled) -> Result<Component, Failure> {
    let bytes = match compiled {
        Compiled::Bytes(bytes) => bytes,
        // wasmtime maps components only from paths, and a worker can open none.
        Compiled::File(mut file) => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(|error| Failure::Internal {
                why: format!("the compiled code cannot be read: {error}"),
            })?;
            bytes
        }
    };
    // SAFETY: as in `module`.
    unsafe { Component::deserialize(machine, bytes) }.map_err(stale)
}

/// It was compiled by another version or with other settings: the node compiles it again.
fn stale(error: wasmtime::Error) -> Failure {
    Failure::Internal { why: format!("the compiled code does not load here: {error:#}") }
}
