//! Real worker processes against real and hostile packages.
//!
//! ```text
//! test (the node's place) --socket pair--> sandbox-worker --> wasmtime or tract --> guest
//! ```
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batch;
mod between;
mod caller;
mod catalogue;
mod compile;
mod component;
mod digits;
mod encode;
mod examine;
mod files;
mod folder;
mod good;
mod graphs;
mod hostile;
mod inspect;
mod kills;
mod leaks;
mod misdeeds;
mod mutations;
mod nn;
mod onnxruntime;
mod package;
mod process;
mod refused;
mod sample;
mod sklearn;
mod torch;
mod warm;
mod world;
