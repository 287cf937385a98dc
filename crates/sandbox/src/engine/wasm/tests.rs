//! Compiling and loading as two steps, and what a call reports that no worker passes on yet.

#[path = "../../../tests/it/encode.rs"]
mod encode;
mod languages;

use std::collections::BTreeMap;
use std::io::{Seek as _, Write as _};

use guildhall_protocol::contract::Determinism;
use guildhall_protocol::hash::Hash;
use guildhall_protocol::interface::{Interface, Port, PortType};
use guildhall_protocol::manifest::{Code, CommandCode, ComponentCode, FileEntry};
use guildhall_protocol::wire::PortValue;

use self::encode::Parts;
use super::component::Full;
use super::machine::{Form, machine};
use super::{Compiled, Own, Wasm, precompiled};
use crate::engine::progress::Progress;
use crate::engine::{Brought, Call, Engine as _, Input, LoadedStage, Outputs};
use crate::failure::Failure;
use crate::message::{CallLimits, StageSpec};
use crate::value::DimSizes;
use crate::worker::Alarm;

/// A command that copies up to 16 bytes of stdin, from behind data that came with the module.
const COPY: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\10\00\00\00")
  (func (export "_start")
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))))"#;

fn stage(code: Code, determinism: Determinism) -> StageSpec {
    let text = |name: &str| Port {
        name: name.into(),
        port_type: PortType::Text,
        optional: false,
        location: None,
    };
    let file = FileEntry {
        name: code.file().clone(),
        len_bytes: 0,
        hash: Hash::of(b""),
        media_type: "application/wasm".into(),
    };
    StageSpec {
        interface: Interface { inputs: vec![text("in")], outputs: vec![text("out")] },
        engine: code.engine().to_owned(),
        code,
        file,
        determinism,
        imports: Vec::new(),
        memory_bytes: 1 << 20,
        config: BTreeMap::new(),
    }
}

fn command(determinism: Determinism) -> StageSpec {
    let code = CommandCode { module: "m.wasm".parse().unwrap(), models: Vec::new() };
    stage(Code::Command(code), determinism)
}

/// The full form, text to text.
fn component(memory_bytes: u64) -> StageSpec {
    let code = ComponentCode { component: "m.wasm".parse().unwrap(), models: Vec::new() };
    StageSpec { memory_bytes, ..stage(Code::Component(code), Determinism::Bitwise) }
}

fn load(stage: &StageSpec, code: &[u8]) -> Full {
    load_with(stage, code, Brought::default())
}

fn load_with(stage: &StageSpec, code: &[u8], brought: Brought) -> Full {
    let compiled = Wasm::precompile(stage, code).unwrap();
    let machine = machine(Form::Full, stage.determinism).unwrap();
    let component = precompiled::component(&machine, Compiled::Bytes(compiled)).unwrap();
    let own = Own::load(stage, brought).unwrap();
    Full::new(stage, machine, &component, own).unwrap()
}

fn score_all(mut loaded: Full, texts: &[&str]) -> Vec<Result<Outputs, Failure>> {
    let input =
        |text: &&str| Input { values: vec![PortValue::new("in", *text)], sizes: DimSizes::new() };
    let limits = CallLimits { scoring_ms: 60_000, output_bytes: 1024, seed: 7 };
    let call =
        Call { records: texts.iter().map(input).collect(), limits, progress: Progress::patient() };
    loaded.score(call, &Alarm::start().unwrap())
}

fn score(loaded: &mut dyn LoadedStage, text: &str) -> String {
    let values = vec![PortValue::new("in", text)];
    let records = vec![Input { values, sizes: DimSizes::new() }];
    let limits = CallLimits { scoring_ms: 60_000, output_bytes: 1024, seed: 7 };
    let mut results = loaded
        .score(Call { records, limits, progress: Progress::patient() }, &Alarm::start().unwrap());
    let outputs = results.remove(0).unwrap();
    String::from_utf8(outputs.values.into_iter().next().unwrap().bytes).unwrap()
}

fn file(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

#[test]
fn code_compiled_once_loads_from_memory_and_from_a_file_and_works_again_and_again() {
    let stage = command(Determinism::Bitwise);
    let compiled = Wasm::precompile(&stage, &wat::parse_str(COPY).unwrap()).unwrap();
    for form in [Compiled::Bytes(compiled.clone()), Compiled::File(file(&compiled))] {
        let mut loaded = Wasm::load_compiled(&stage, form, Brought::default()).unwrap();
        for text in ["one", "two"] {
            // The instance before has overwritten the length.
            assert_eq!(score(loaded.as_mut(), text).trim_end_matches('\0'), text);
        }
    }
}

#[test]
fn code_of_another_form_or_version_is_refused_and_classes_have_fingerprints_of_their_own() {
    let exact = command(Determinism::Bitwise);
    let fast = command(Determinism::Numeric);
    let full = component(1 << 20);
    let mut compiled = Wasm::precompile(&exact, &wat::parse_str(COPY).unwrap()).unwrap();
    assert!(
        Wasm::load_compiled(&full, Compiled::Bytes(compiled.clone()), Brought::default()).is_err()
    );
    let version = compiled.windows(6).position(|part| part == b"48.0.8");
    if let Some(at) = version {
        compiled[at] = b'5';
        assert!(
            Wasm::load_compiled(&exact, Compiled::Bytes(compiled), Brought::default()).is_err()
        );
    }
    assert!(
        Wasm::load_compiled(&exact, Compiled::Bytes(b"\0asm".to_vec()), Brought::default())
            .is_err()
    );
    // wasmtime would take it: how NaNs look is no question of safety.
    assert_ne!(Wasm::fingerprint(&exact), Wasm::fingerprint(&fast));
    assert_ne!(Wasm::fingerprint(&exact), Wasm::fingerprint(&full));
}

#[test]
fn loading_from_source_refuses_what_the_gate_refuses() {
    let stage = command(Determinism::Bitwise);
    let code = wat::parse_str(r#"(module (import "env" "x" (func)))"#).unwrap();
    assert!(Wasm::precompile(&stage, &code).is_err());
    assert!(Wasm.load(&stage, code, Brought::default()).is_err());
}

#[test]
fn figures_are_taken_in_order_by_rule_and_up_to_their_number() {
    // Each record reports one figure under its own text, 100 times.
    let parts = Parts {
        items: r#"(import "guildhall:stage/host@0.1.0" "metric"
            (func $metric (param i32 i32 f64)))"#,
        each: "(loop
            (call $metric (i32.load offset=16 (local.get $value))
                (i32.load offset=20 (local.get $value))
                (f64.convert_i32_u (local.get $a)))
            (local.set $a (i32.add (local.get $a) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $a) (i32.const 100))))",
        ..Parts::default()
    };
    let stage = component(1 << 20);
    let loaded = load(&stage, &encode::component(parts));
    let long = "x".repeat(65);
    let results = score_all(loaded, &["loss", "no spaces", "", &long, "a.b-C_1", "third"]);
    let all: Vec<_> = results.iter().map(|result| &result.as_ref().unwrap().metrics).collect();
    assert!(all.iter().skip(1).all(|figures| figures.is_empty()));
    let figures = all[0];
    assert_eq!(figures.len(), 256, "and the rest is ignored");
    assert_eq!(figures[0], ("loss".to_owned(), 0.0));
    assert_eq!(figures[199], ("a.b-C_1".to_owned(), 99.0));
    assert_eq!(figures[200], ("third".to_owned(), 0.0));
}
