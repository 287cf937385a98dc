//! A component reads files of its own package by `wasi:filesystem`, and names sockets without getting any.

use guildhall_protocol::contract::Import;
use guildhall_protocol::interface::PortType;
use guildhall_protocol::manifest::{Code, ComponentCode};
use guildhall_sandbox::{Failure, InspectLimits};

use crate::encode::{Parts, component};
use crate::package::{PATIENT_MS, Package, limits, patient, record, spawner};

const GERMAN: &[u8] = b"der die das und ist nicht ein";

/// One page, and what the package has for it to read.
const MEMORY_BYTES: u64 = 65_536;

/// Answers a path with what the file has, or with a letter for the error that opening or reading it gives.
fn reader() -> Vec<u8> {
    let items = r#"(import "wasi:filesystem/preopens@0.2.0" "get-directories"
            (func $folders (param i32)))
        (import "wasi:filesystem/types@0.2.0" "[method]descriptor.open-at"
            (func $open (param i32 i32 i32 i32 i32 i32 i32)))
        (import "wasi:filesystem/types@0.2.0" "[method]descriptor.read"
            (func $read (param i32 i64 i64 i32)))
        (func $failed (param $result i32) (param $code i32)
            (i32.store8 (i32.const 2600) (i32.add (local.get $code) (i32.const 65)))
            (i32.store8 (local.get $result) (i32.const 1))
            (i32.store offset=4 (local.get $result) (i32.const 1))
            (i32.store offset=8 (local.get $result) (i32.const 2600))
            (i32.store offset=12 (local.get $result) (i32.const 1)))"#;
    let each = "(call $folders (i32.const 2700))
        (if (i32.eqz (i32.load (i32.const 2704)))
            (then (call $failed (local.get $result) (i32.const 37)) (return)))
        (call $open (i32.load (i32.load (i32.const 2700))) (i32.const 0)
            (i32.load offset=16 (local.get $value)) (i32.load offset=20 (local.get $value))
            (i32.const 0) (i32.const 1) (i32.const 2720))
        (if (i32.load8_u (i32.const 2720)) (then
            (call $failed (local.get $result) (i32.load8_u (i32.const 2724))) (return)))
        (call $read (i32.load (i32.const 2724)) (i64.const 1000000) (i64.const 0)
            (i32.const 2740))
        (if (i32.load8_u (i32.const 2740)) (then
            (call $failed (local.get $result) (i32.load8_u (i32.const 2744))) (return)))
        (i32.store offset=16 (local.get $value) (i32.load (i32.const 2744)))
        (i32.store offset=20 (local.get $value) (i32.load (i32.const 2748)))";
    component(Parts { items, each, ..Parts::default() })
}

fn package(code: &[u8], imports: Vec<Import>) -> Package {
    let files: [(&str, &[u8]); 5] = [
        ("README.md", b"# Words"),
        ("stage.wasm", code),
        ("tests/1.in", b"in"),
        ("tests/1.out", b"out"),
        ("words/de.txt", GERMAN),
    ];
    let mut package = Package::of_files(&files)
        .with_command("stage.wasm", PortType::Text, PortType::Text)
        .with_tests(&[("1", "tests/1.in", "tests/1.out")], 0.0);
    let component = "stage.wasm".parse().unwrap();
    package.manifest.code = Some(Code::Component(ComponentCode { component, models: vec![] }));
    package.manifest.contract.as_mut().unwrap().imports = imports;
    package.checked()
}

#[test]
fn a_component_reads_the_files_of_its_package_and_nothing_else() {
    let package = package(&reader(), vec![Import::PackageFiles]);
    spawner().inspect(&package.files(), &InspectLimits::default()).unwrap();
    let mut worker = package.start(&patient()).unwrap();
    for _ in 0..2 {
        let scored = worker.score(record(b"words/de.txt")).unwrap();
        assert_eq!(scored.outputs[0].bytes, GERMAN);
        let files = (GERMAN.len() + b"# Words".len()) as u64;
        assert_eq!(scored.memory_peak_bytes, MEMORY_BYTES + files);
        let scored = worker.score(record(b"./words/../README.md")).unwrap();
        assert_eq!(scored.outputs[0].bytes, b"# Words");
    }
    let (is_directory, no_entry, not_directory, not_permitted) = (14, 20, 24, 31);
    for (path, code) in [
        ("words", is_directory),
        ("words/fr.txt", no_entry),
        ("stage.wasm", no_entry),
        ("tests/1.out", no_entry),
        ("words/de.txt/", not_directory),
        ("..", not_permitted),
        ("../../../etc/passwd", not_permitted),
        ("/etc/passwd", not_permitted),
        ("/words/de.txt", not_permitted),
    ] {
        let why = char::from(b'A' + code).to_string();
        assert_eq!(worker.score(record(path.as_bytes())), Err(Failure::Stage { why }), "{path}");
    }
}

#[test]
fn a_component_whose_contract_does_not_say_so_finds_no_folder_and_files_count_as_memory() {
    let plain = package(&reader(), vec![]).score(&patient(), b"words/de.txt");
    assert_eq!(plain.unwrap_err(), Failure::Stage { why: "f".into() });
    let package = package(&reader(), vec![Import::PackageFiles]);
    let limit_bytes = MEMORY_BYTES + 10;
    let failed = package.score(&limits(PATIENT_MS, limit_bytes, 1 << 20), b"README.md");
    assert_eq!(failed.unwrap_err(), Failure::MemoryLimit { limit_bytes });
    let failed = package.start(&limits(PATIENT_MS, 20, 1 << 20)).unwrap_err();
    assert_eq!(failed, Failure::MemoryLimit { limit_bytes: 20 });
    package.spoil("words/de.txt", |bytes| bytes[0] ^= 1);
    let failed = package.start(&patient()).unwrap_err();
    assert!(matches!(failed, Failure::FileMismatch { file, .. } if file == "words/de.txt"));
}

#[test]
fn sockets_that_a_component_may_name_end_it_when_they_are_called() {
    let items = r#"(import "wasi:sockets/instance-network@0.2.0" "instance-network"
        (func $network (result i32)))"#;
    let each = "(if (i32.load offset=20 (local.get $value)) (then (drop (call $network))))";
    let code = component(Parts { items, each, ..Parts::default() });
    let module = "wasi:sockets".to_owned();
    let refused = package(&code, vec![]).start(&patient()).unwrap_err();
    assert!(matches!(&refused, Failure::ForbiddenImport { module: found, .. } if *found == module));
    for import in [Import::PackageFiles, Import::WasiNn] {
        let package = package(&code, vec![import]);
        let report = spawner().inspect(&package.files(), &InspectLimits::default()).unwrap();
        assert!(report.code.unwrap().imports.iter().any(|name| name.contains("wasi:sockets/")));
        let mut worker = package.start(&patient()).unwrap();
        assert_eq!(worker.score(record(b"")).unwrap().outputs[0].bytes, b"");
        let name = "instance-network@0.2.0 instance-network".to_owned();
        let called = Failure::ForbiddenImport { module: module.clone(), name };
        assert_eq!(worker.score(record(b"call")).unwrap_err(), called);
    }
}
