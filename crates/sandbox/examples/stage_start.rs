//! Prints how long an empty stage takes in a warm process, beside wasmtime alone.
//!
//! `cargo run --release -p guildhall-sandbox --example stage_start [COMPONENT]`, where a COMPONENT takes and gives a
//! text, such as `tests/fixtures/component` built as `engine/wasm/tests/languages.rs` does.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people")]

#[path = "../tests/it/encode.rs"]
mod encode;

use guildhall_protocol::contract::Determinism;
use guildhall_sandbox::{Measured, measure_command, measure_component};

/// Enough for a median that stays where it is.
const CALLS: usize = 5_000;

const PEER: &str = r#"(component
    (core module $m (memory (export "memory") 1) (func (export "peer")))
    (core instance $i (instantiate $m))
    (func (export "peer") (canon lift (core func $i "peer"))))"#;

fn main() {
    let command = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;
    let command = wat::parse_str(command).unwrap();
    let component = encode::component(encode::Parts::default());
    let peer = wat::parse_str(PEER).unwrap();
    if let Some(path) = std::env::args().nth(1) {
        let component = std::fs::read(&path).unwrap();
        show(&path, &measure_component(&component, &peer, Determinism::Bitwise, 20).unwrap());
        return;
    }
    for (class, determinism) in [("exact", Determinism::Bitwise), ("fast", Determinism::Numeric)] {
        show(&format!("plain, {class}"), &measure_command(&command, determinism, CALLS).unwrap());
        show(
            &format!("full, {class}"),
            &measure_component(&component, &peer, determinism, CALLS).unwrap(),
        );
    }
}

fn show(what: &str, measured: &Measured) {
    let at = |all: &[u64], part: usize| {
        let mut all = all.to_vec();
        all.sort_unstable();
        all[all.len() * part / 100]
    };
    let (ours, theirs) = (&measured.ours_ns, &measured.wasmtime_ns);
    println!(
        "{what}: compiled in {} ms to {} bytes, loaded in {} us",
        measured.compile_ns / 1_000_000,
        measured.compiled_bytes,
        measured.load_ns / 1_000,
    );
    println!(
        "{what}: ours p50 {} ns, p99 {} ns; wasmtime alone p50 {} ns, p99 {} ns; {:.2} x",
        at(ours, 50),
        at(ours, 99),
        at(theirs, 50),
        at(theirs, 99),
        at(ours, 50) as f64 / at(theirs, 50) as f64,
    );
}
