//! Inspection: what passes, and what is refused with which reason.

use guildhall_sandbox::{Failure, InspectLimits, Inspection};

use crate::package::{Package, any_bytes, digit_classes, example, floats, model, prepare, spawner};

fn inspect(package: &Package) -> Result<Inspection, Failure> {
    spawner().inspect(&package.files(), &InspectLimits::default())
}

#[test]
fn the_examples_are_in_order() {
    let package = prepare();
    let found = inspect(&package).unwrap();
    assert_eq!(found.files, package.manifest.files.len());
    assert_eq!(found.engine.as_deref(), Some("wasm"));
    let imports = found.code.unwrap().imports;
    assert_eq!(imports.len(), 3);
    assert!(imports.iter().all(|import| import.starts_with("wasi_snapshot_preview1 ")));

    let found = inspect(&model()).unwrap();
    assert_eq!(found.engine.as_deref(), Some("onnx"));
    let code = found.code.unwrap();
    assert_eq!((code.inputs.len(), code.outputs.len()), (1, 1));
    assert_eq!(code.inputs[0].name, "X");

    let found = inspect(&example("images")).unwrap();
    assert_eq!((found.engine, found.code), (None, None));
    assert!(found.files > 360);
}

#[test]
fn a_changed_file_is_named() {
    let flip = |bytes: &mut Vec<u8>| bytes[0] ^= 1;
    let grow = |bytes: &mut Vec<u8>| bytes.push(0);
    let shrink = |bytes: &mut Vec<u8>| bytes.truncate(3);
    for change in [flip, grow, shrink] {
        let package = Package::of_files(&[("a.bin", b"first"), ("folder/b.bin", b"second")]);
        assert!(inspect(&package).is_ok());
        package.spoil("folder/b.bin", change);
        match inspect(&package).unwrap_err() {
            Failure::FileMismatch { file, .. } => assert_eq!(file, "folder/b.bin"),
            other => panic!("{other:?}"),
        }
    }
    let package = model();
    package.spoil("model.onnx", |bytes| bytes[100] ^= 1);
    let limits = crate::package::patient();
    let failure = package.start(&limits).unwrap_err();
    assert!(matches!(failure, Failure::FileMismatch { .. }), "a run worker checks its code too");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let mut package = Package::of_files(&[("a.bin", b"first")]);
    package.manifest.files[0].name = "b.bin".parse().unwrap();
    match inspect(&package).unwrap_err() {
        Failure::MissingFile { file, .. } => assert_eq!(file, "b.bin"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn formats_that_execute_when_read_are_refused() {
    for (name, bytes) in [("model.pkl", &b"x"[..]), ("weights", b"\x80\x04\x95\x05.")] {
        let package = Package::of_files(&[(name, bytes)]);
        match inspect(&package).unwrap_err() {
            Failure::RefusedFormat { file, .. } => assert_eq!(file, name),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn forbidden_imports_are_refused() {
    let package = Package::text(
        r#"(module (import "wasi_snapshot_preview1" "sock_send"
                (func (param i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1) (func (export "_start")))"#,
    );
    assert_eq!(
        inspect(&package).unwrap_err(),
        Failure::ForbiddenImport {
            module: "wasi_snapshot_preview1".into(),
            name: "sock_send".into()
        }
    );
    let package = Package::text(
        r#"(module (import "env" "foo" (func))
            (memory (export "memory") 1) (func (export "_start")))"#,
    );
    assert!(matches!(inspect(&package).unwrap_err(), Failure::ForbiddenImport { .. }));
}

/// Whether the code is to blame: as a file of its format, or as something that an engine runs.
fn is_of_code(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::RefusedFormat { .. }
            | Failure::InvalidModule { .. }
            | Failure::InvalidModel { .. }
    )
}

#[test]
fn modules_that_are_none_or_use_what_stages_lack_are_invalid() {
    let start = r#"(memory (export "memory") 1) (func (export "_start")"#;
    for module in [
        b"not a module".to_vec(),
        b"\0asm\x01\0\0\0\xff\xff\xff".to_vec(),
        wat::parse_str("(component)").unwrap(),
        wat::parse_str(r#"(module (memory (export "memory") 1))"#).unwrap(),
        wat::parse_str(r#"(module (memory (export "memory") i64 1) (func (export "_start")))"#).unwrap(),
        wat::parse_str(format!("(module (memory 1) {start}))")).unwrap(),
        wat::parse_str(r#"(module (memory (export "memory") 1 1 shared) (func (export "_start")))"#)
            .unwrap(),
        wat::parse_str(format!("(module (type (struct)) {start}))")).unwrap(),
        wat::parse_str(format!(
            "(module {start} (drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))))"
        ))
        .unwrap(),
        wat::parse_str(format!("(module (tag) {start} (throw 0)))")).unwrap(),
    ] {
        let failure = inspect(&Package::command(&module, any_bytes(), any_bytes())).unwrap_err();
        assert!(is_of_code(&failure), "{failure:?}");
    }
}

#[test]
fn graphs_that_are_none_or_do_not_match_the_interface_are_invalid() {
    let whole = std::fs::read(format!("{}/model/model.onnx", crate::package::DIGITS)).unwrap();
    let of = |bytes: &[u8], input: (&str, u64), output: (&str, _)| {
        let input = (input.0, floats(input.1));
        Package::of_files(&[("model.onnx", bytes)]).with_graph("model.onnx", input, output)
    };
    let right = ("probabilities", digit_classes());
    assert!(inspect(&of(&whole, ("X", 64), right.clone())).is_ok());
    assert!(inspect(&of(&whole, ("X", 64), ("probabilities", floats(10)))).is_ok());
    assert!(inspect(&of(&whole, ("X", 64), ("label", digit_classes()))).is_ok());
    for (what, package) in [
        ("cut short", of(&whole[..whole.len() / 2], ("X", 64), right.clone())),
        ("garbage", of(b"onnx?", ("X", 64), right.clone())),
        ("empty", of(b"", ("X", 64), right.clone())),
        ("no such input", of(&whole, ("Y", 64), right.clone())),
        ("no such output", of(&whole, ("X", 64), ("scores", digit_classes()))),
        ("wrong length", of(&whole, ("X", 63), right)),
        ("wrong length out", of(&whole, ("X", 64), ("probabilities", floats(9)))),
        ("a label is no row of numbers", of(&whole, ("X", 64), ("label", floats(10)))),
    ] {
        let failure = inspect(&package).unwrap_err();
        assert!(is_of_code(&failure), "{what}: {failure:?}");
    }
}

/// 600 nested loops over 1,000 locals, each setting eight of them from others: 46 KB that compile for 11 seconds.
fn nested_loops() -> Vec<u8> {
    let sets = |depth: usize| -> String {
        (0..8)
            .map(|n| {
                let (to, from) = ((depth * 8 + n) % 1000, (depth * 31 + n * 97) % 1000);
                format!("(local.set {to} (i32.add (local.get {from}) (local.get {to})))")
            })
            .collect()
    };
    let open: String = (0..600).map(|depth| format!("(loop {}", sets(depth))).collect();
    let close: String = (0..600).map(|n| format!("(br_if 0 (local.get {n})))")).collect();
    bomb(1000, &format!("{open}{close}"))
}

/// One loop around a ladder of if-blocks, each setting four of as many locals.
pub(crate) fn ladder(rungs: usize) -> Vec<u8> {
    let body: String = (0..rungs)
        .map(|rung| {
            let set = |n: usize| {
                let (to, from) = ((rung * 4 + n) % rungs, (rung * 7 + n * 13) % rungs);
                format!("(local.set {to} (local.get {from}))")
            };
            format!("(if (local.get {rung}) (then {}{}{}{}))", set(0), set(1), set(2), set(3))
        })
        .collect();
    bomb(rungs, &format!("(loop {body} (br 0))"))
}

fn bomb(locals: usize, body: &str) -> Vec<u8> {
    let locals = "i32 ".repeat(locals);
    wat::parse_str(format!(
        r#"(module (memory (export "memory") 1) (func (export "_start") (local {locals}) {body}))"#
    ))
    .unwrap()
}

#[test]
fn compile_bombs_are_refused_or_stopped() {
    let loops = Package::command(&nested_loops(), any_bytes(), any_bytes());
    assert!(matches!(inspect(&loops).unwrap_err(), Failure::InvalidModule { .. }));

    // Nothing gives this shape away before compiling. What stops it is the compiler's memory or its deadline.
    let bomb = Package::command(&ladder(4000), any_bytes(), any_bytes());
    let failure = inspect(&bomb).unwrap_err();
    let is_stopped =
        matches!(failure, Failure::MemoryLimit { .. } | Failure::CompileTimeout { .. });
    assert!(is_stopped, "{failure}");
    let limits = InspectLimits { compile_ms: 20, ..InspectLimits::default() };
    let failure = spawner().inspect(&bomb.files(), &limits).unwrap_err();
    assert_eq!(failure, Failure::CompileTimeout { limit_ms: 20 });
    assert!(inspect(&prepare()).is_ok(), "the node is none the worse");
}
