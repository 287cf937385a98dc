//! Modules that misbehave: each ends with the failure that names its misbehaviour, and never with the node's trouble.

use guildhall_sandbox::{Failure, RunWorker, TrapCode};

use crate::package::{PATIENT_MS, Package, any_bytes, floats, limits, model, patient, record};

/// A command whose `_start` is `body`; `$out` writes memory to stdout, `$err` to stderr.
fn command(body: &str) -> Package {
    Package::text(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 2)
            (table 4 funcref)
            (type $nothing (func))
            (data (i32.const 1024) "it hurts\1b[31m")
            (func $to (param $fd i32) (param $at i32) (param $len i32) (result i32)
                (i32.store (i32.const 0) (local.get $at))
                (i32.store (i32.const 4) (local.get $len))
                (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
            (func $deeper (result i32) (i32.add (call $deeper) (i32.const 1)))
            (func (export "_start") {body}))"#
    ))
}

#[track_caller]
fn fails(package: &Package, expected: &Failure) {
    assert_eq!(package.score(&patient(), b"").unwrap_err(), *expected);
    assert!(expected.is_fault_of_package());
}

#[test]
fn endless_loops_of_several_kinds_are_stopped_at_the_limit() {
    for body in [
        "(loop (br 0))",
        "(loop (drop (call $to (i32.const 1) (i32.const 0) (i32.const 0))) (br 0))",
        "(loop (memory.fill (i32.const 16) (i32.const 1) (i32.const 131000)) (br 0))",
        "(loop (drop (memory.grow (i32.const 0))) (br 0))",
    ] {
        let package = command(body);
        let mut worker = package.start(&limits(100, 16 << 20, 1000)).unwrap();
        match worker.score(record(b"")) {
            Err(Failure::Timeout { limit_ms: 100, stopped_after_ms }) => {
                assert!(stopped_after_ms >= 100, "{body}: {stopped_after_ms}");
            }
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn traps_are_named() {
    for (body, code) in [
        ("unreachable", TrapCode::Unreachable),
        ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", TrapCode::DivisionByZero),
        ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", TrapCode::IntegerOverflow),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", TrapCode::BadConversion),
        ("(drop (i32.load (i32.const 0x7fffffff)))", TrapCode::MemoryOutOfBounds),
        ("(call_indirect (type $nothing) (i32.const 9))", TrapCode::TableOutOfBounds),
        ("(call_indirect (type $nothing) (i32.const 1))", TrapCode::BadIndirectCall),
        ("(drop (call $deeper))", TrapCode::StackOverflow),
    ] {
        fails(&command(body), &Failure::Trap { code });
    }
}

#[test]
fn wanting_too_much_memory_is_told_apart_from_crashing() {
    let limit_bytes = 16 << 20;
    let limits = limits(PATIENT_MS, limit_bytes, 1000);
    let grow = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))";
    let hog = command(&format!("{grow} unreachable"));
    assert_eq!(hog.score(&limits, b"").unwrap_err(), Failure::MemoryLimit { limit_bytes });
    let polite = command(&format!("{grow} (call $exit (i32.const 70))"));
    assert_eq!(polite.score(&limits, b"").unwrap_err(), Failure::MemoryLimit { limit_bytes });
    let frugal = command(grow);
    let scored = frugal.score(&limits, b"").unwrap();
    assert!(scored.memory_peak_bytes <= limit_bytes);
    assert!(scored.memory_peak_bytes > limit_bytes - 17 * 65536);
    let large =
        Package::text(r#"(module (memory (export "memory") 1000) (func (export "_start")))"#);
    assert_eq!(large.score(&limits, b"").unwrap_err(), Failure::MemoryLimit { limit_bytes });
}

#[test]
fn an_output_may_be_as_long_as_the_limit_and_no_longer() {
    let limits = limits(PATIENT_MS, 16 << 20, 1000);
    let write = |len: u32| {
        command(&format!("(drop (call $to (i32.const 1) (i32.const 0) (i32.const {len})))"))
    };
    assert_eq!(write(1000).score(&limits, b"").unwrap().outputs[0].bytes.len(), 1000);
    let too_long = Failure::OutputLimit { limit_bytes: 1000 };
    assert_eq!(write(1001).score(&limits, b"").unwrap_err(), too_long);
    let for_ever =
        command("(loop (drop (call $to (i32.const 1) (i32.const 0) (i32.const 65536))) (br 0))");
    let quick = limits_of(2_000, 1000);
    assert!(matches!(
        for_ever.score(&quick, b"").unwrap_err(),
        Failure::OutputLimit { limit_bytes: 1000 }
    ));
}

fn limits_of(scoring_ms: u64, output_bytes: u64) -> guildhall_protocol::contract::Limits {
    limits(scoring_ms, 16 << 20, output_bytes)
}

#[test]
fn limits_may_be_any_number() {
    let package = command("(drop (call $to (i32.const 1) (i32.const 0) (i32.const 5)))");
    let scored = package.score(&limits(u64::MAX, u64::MAX, u64::MAX), b"").unwrap();
    assert_eq!(scored.outputs[0].bytes.len(), 5);
    // Longer than what a frame carries, though every party would allow it.
    let long = command(
        "(drop (memory.grow (i32.const 100)))
         (drop (call $to (i32.const 1) (i32.const 16) (i32.const 5000000)))",
    );
    let failure = long.score(&limits(PATIENT_MS, u64::MAX, u64::MAX), b"").unwrap_err();
    assert!(matches!(failure, Failure::OutputLimit { .. }), "{failure}");
}

#[test]
fn an_exit_code_comes_with_what_was_said_made_printable() {
    let exit = "(drop (call $to (i32.const 2) (i32.const 1024) (i32.const 13))) (call $exit (i32.const 1))";
    let said = "it hurts\u{fffd}[31m".to_owned();
    fails(&command(exit), &Failure::Exited { code: 1, stderr_excerpt: said });
    let chatty = command(
        "(drop (call $to (i32.const 2) (i32.const 1024) (i32.const 60000))) (call $exit (i32.const 7))",
    );
    match chatty.score(&patient(), b"").unwrap_err() {
        Failure::Exited { code: 7, stderr_excerpt } => assert!(stderr_excerpt.len() <= 1024),
        other => panic!("{other:?}"),
    }
    let content = command("(call $exit (i32.const 0))");
    assert!(content.score(&patient(), b"").is_ok());
}

#[test]
fn forbidden_imports_are_refused_when_a_worker_starts() {
    for (module, name) in [
        ("wasi_snapshot_preview1", "sock_send"),
        ("wasi_snapshot_preview1", "path_unlink_file"),
        ("env", "foo"),
        ("wasi_nn", "load"),
        ("wasi:http/outgoing-handler@0.2.0", "handle"),
    ] {
        let package = Package::text(&format!(
            r#"(module (import "{module}" "{name}" (func))
                (memory (export "memory") 1) (func (export "_start")))"#
        ));
        let expected = Failure::ForbiddenImport { module: module.into(), name: name.into() };
        assert_eq!(package.start(&patient()).unwrap_err(), expected);
    }
}

#[test]
fn inputs_and_outputs_must_be_what_the_ports_say() {
    let echo = command("(drop (call $to (i32.const 1) (i32.const 1024) (i32.const 12)))");
    let mut worker = retyped(&echo, 3).start(&patient()).unwrap();
    assert_eq!(worker.score(record(b"")).unwrap().outputs[0].bytes.len(), 12);
    let mut worker = retyped(&echo, 4).start(&patient()).unwrap();
    let failure = worker.score(record(b"")).unwrap_err();
    assert!(matches!(&failure, Failure::BadOutput { .. }), "{failure}");
    assert!(worker.is_alive());

    let mut worker: RunWorker = model().start(&patient()).unwrap();
    let failure = worker.score(record(&[0; 63 * 4])).unwrap_err();
    assert!(matches!(&failure, Failure::BadInput { .. }), "{failure}");
    let failure = worker.score(vec![]).unwrap_err();
    assert!(matches!(&failure, Failure::BadInput { .. }), "{failure}");
    let huge = vec![0; 5 << 20];
    let failure = worker.score(record(&huge)).unwrap_err();
    assert!(matches!(&failure, Failure::BadInput { .. }), "{failure}");
    assert!(worker.score(record(&[0; 64 * 4])).is_ok(), "the worker is none the worse");
}

/// The same code with an output of `count` floats.
fn retyped(package: &Package, count: u64) -> Package {
    let entry = &package.manifest.files[0];
    let mut module = Vec::new();
    std::io::Read::read_to_end(&mut (package.files().open)(entry).unwrap(), &mut module).unwrap();
    Package::command(&module, any_bytes(), floats(count))
}
