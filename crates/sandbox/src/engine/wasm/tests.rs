//! Compiling and loading as two steps, and what a call reports that no worker passes on yet.

use std::collections::BTreeMap;
use std::io::{Seek as _, Write as _};

use guildhall_protocol::contract::Determinism;
use guildhall_protocol::hash::Hash;
use guildhall_protocol::interface::{Interface, Port, PortType};
use guildhall_protocol::manifest::{Code, CommandCode, ComponentCode, FileEntry};
use guildhall_protocol::wire::PortValue;

use super::{Compiled, Wasm};
use crate::engine::{Call, Engine as _, Input, LoadedStage};
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
        code,
        file,
        determinism,
        memory_bytes: 1 << 20,
        config: BTreeMap::new(),
    }
}

fn command(determinism: Determinism) -> StageSpec {
    stage(Code::Command(CommandCode { module: "m.wasm".parse().unwrap() }), determinism)
}

fn score(loaded: &mut dyn LoadedStage, text: &str) -> String {
    let values = vec![PortValue::new("in", text)];
    let records = vec![Input { values, sizes: DimSizes::new() }];
    let limits = CallLimits { scoring_ms: 60_000, output_bytes: 1024, seed: 7 };
    let mut results = loaded.score(Call { records, limits }, &Alarm::start().unwrap());
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
        let mut loaded = Wasm::load_compiled(&stage, form).unwrap();
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
    let full = stage(
        Code::Component(ComponentCode { component: "m.wasm".parse().unwrap(), models: Vec::new() }),
        Determinism::Bitwise,
    );
    let mut compiled = Wasm::precompile(&exact, &wat::parse_str(COPY).unwrap()).unwrap();
    assert!(Wasm::load_compiled(&full, Compiled::Bytes(compiled.clone())).is_err());
    let version = compiled.windows(6).position(|part| part == b"48.0.8");
    if let Some(at) = version {
        compiled[at] = b'5';
        assert!(Wasm::load_compiled(&exact, Compiled::Bytes(compiled)).is_err());
    }
    assert!(Wasm::load_compiled(&exact, Compiled::Bytes(b"\0asm".to_vec())).is_err());
    // wasmtime would take it: how NaNs look is no question of safety.
    assert_ne!(Wasm::fingerprint(&exact), Wasm::fingerprint(&fast));
    assert_ne!(Wasm::fingerprint(&exact), Wasm::fingerprint(&full));
}

#[test]
fn loading_from_source_refuses_what_the_gate_refuses() {
    let stage = command(Determinism::Bitwise);
    let code = wat::parse_str(r#"(module (import "env" "x" (func)))"#).unwrap();
    assert!(Wasm::precompile(&stage, &code).is_err());
    assert!(Wasm.load(&stage, code).is_err());
}
