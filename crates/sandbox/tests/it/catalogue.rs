//! The catalogue of bad WebAssembly: each kind is made here and ends in the failure that names it, in the worker and
//! nowhere else. What is valid and harmless in spite of its looks has to run.

use guildhall_protocol::contract::{Determinism, Limits};
use guildhall_protocol::interface::PortType;
use guildhall_sandbox::{Failure, InspectLimits, Inspection, TrapCode};

use crate::component::package as full;
use crate::encode::{Parts, component};
use crate::package::{PATIENT_MS, Package, any_bytes, limits, patient, record, spawner};

fn inspect(package: &Package) -> Result<Inspection, Failure> {
    spawner().inspect(&package.files(), &InspectLimits::default())
}

fn command(code: &[u8]) -> Package {
    Package::command(code, any_bytes(), any_bytes())
}

/// A command of these items whose `_start` is `body`, in the flat form.
fn text(items: &str, body: &str) -> Vec<u8> {
    let text =
        format!(r#"(module {items} (memory (export "memory") 2) (func (export "_start") {body}))"#);
    wat::parse_str(text).unwrap()
}

/// A section as it stands in a module: its number, its length, its bytes.
fn section(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut section = vec![number];
    let mut len = bytes.len();
    while len > 127 {
        section.push((len & 127) as u8 | 128);
        len >>= 7;
    }
    section.push(len as u8);
    section.extend_from_slice(bytes);
    section
}

fn with_section(mut module: Vec<u8>, number: u8, bytes: &[u8]) -> Vec<u8> {
    module.extend(section(number, bytes));
    module
}

#[test]
fn shapes_beyond_any_use_are_refused_before_they_are_compiled() {
    let many = |count: usize, item: &str| item.repeat(count);
    let custom =
        |len: usize| with_section(text("", ""), 0, &[&[1, b'x'][..], &vec![0; len]].concat());
    for (what, code) in [
        ("functions", text(&many(100_001, "(func)"), "")),
        ("types", text(&many(20_001, "(type (func))"), "")),
        ("globals", text(&many(100_001, "(global i32 (i32.const 0))"), "")),
        ("data segments", text(&many(100_001, "(data \"\")"), "")),
        ("element segments", text(&many(100_001, "(elem func)"), "")),
        ("locals", text("", &format!("(local {})", many(20_001, "i32 ")))),
        ("blocks", text("", &format!("{}{}", many(20_001, "block "), many(20_001, "end ")))),
        ("loops", text("", &format!("{}{}", many(65, "loop "), many(65, "end ")))),
        ("branches", text("", &format!("i32.const 0 br_table {}", many(200_002, "0 ")))),
        ("bytes in one function", text("", &many(2_200_000, "nop "))),
        ("custom section", custom(33 << 20)),
        ("entries in one table", text("(table 100001 funcref)", "")),
        ("tables", text(&many(33, "(table 1 funcref)"), "")),
    ] {
        let failure = inspect(&command(&code)).unwrap_err();
        let why = failure.to_string();
        // Some are beyond what the format's own reader takes.
        let is_of_code =
            matches!(failure, Failure::InvalidModule { .. } | Failure::RefusedFormat { .. });
        assert!(is_of_code, "{what}: {failure:?}");
        assert!(why.contains(what), "{what}: {why}");
    }
    // The same bounds hold for every module inside a component.
    let inside = format!("(component (core module {}))", many(20_001, "(type (func))"));
    let failure = inspect(&full(&wat::parse_str(inside).unwrap(), PortType::Text)).unwrap_err();
    assert!(failure.to_string().contains("types"), "{failure}");
}

#[test]
fn what_only_looks_bad_runs() {
    let garbage = with_section(text("", ""), 0, b"\x04name\xff\xff\xff\xff\x0f");
    let tail = text(
        "(func $f (param i32) (if (local.get 0) (then (return_call $f (i32.sub (local.get 0) (i32.const 1))))))",
        "(call $f (i32.const 100000))",
    );
    let start = text("(func $s) (start $s)", "");
    for code in [garbage, tail, start, text("", "")] {
        let package = command(&code);
        inspect(&package).unwrap();
        assert!(package.score(&patient(), b"").is_ok());
    }
}

#[test]
fn broken_modules_are_invalid_wherever_they_break() {
    // One function whose body has no bytes, not even for its locals.
    let empty_body = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 0, 0]),
        section(3, &[1, 0]),
        section(10, &[1, 0]),
    ]
    .concat();
    let whole = text("(data (i32.const 0) \"abc\")", "i32.const 1 drop");
    let mut broken =
        vec![empty_body, b"\0asm".to_vec(), b"\0asm\x0d\0\x01\0\xff".to_vec(), Vec::new()];
    broken.extend((9..whole.len()).step_by(7).map(|len| whole[..len].to_vec()));
    let stage = component(Parts::default());
    let parts: Vec<_> = (1..40).map(|part| stage[..stage.len() * part / 40].to_vec()).collect();
    for code in &broken {
        let failure = command(code).start(&patient()).unwrap_err();
        let is_invalid =
            matches!(failure, Failure::InvalidModule { .. } | Failure::FileMismatch { .. });
        assert!(is_invalid, "{failure:?}");
    }
    for code in &parts {
        let failure = full(code, PortType::Text).start(&patient()).unwrap_err();
        let is_invalid =
            matches!(failure, Failure::InvalidModule { .. } | Failure::ForbiddenImport { .. });
        assert!(is_invalid, "{failure:?}");
    }
}

/// T17: what keeps a compiler busy is refused by its shape or stopped with its worker, alone and inside a component.
#[test]
fn t17_compile_bombs_end_with_their_worker() {
    let locals = "i32 ".repeat(2_000);
    let close: String = (0..2_000)
        .map(|n| format!("local.get {n} local.set {} local.get {n} br_if 0 end ", (n * 7) % 2_000))
        .collect();
    let c1 = format!("(local {locals}) {}{close}", "block ".repeat(2_000));
    let rungs = 3_000;
    let ladder: String = (0..rungs)
        .map(|rung| {
            let sets: String = (0..4)
                .map(|n| {
                    format!(
                        "local.get {} local.set {} ",
                        (rung * 7 + n * 13) % rungs,
                        (rung * 4 + n) % rungs
                    )
                })
                .collect();
            format!("local.get {rung} if {sets} end ")
        })
        .collect();
    let c5 = format!("(local {}) loop {ladder} br 0 end", "i32 ".repeat(rungs));
    let limits = InspectLimits { compile_ms: 1_000, ..InspectLimits::default() };
    for body in [&c1, &c5] {
        let inside = component(Parts { items: &format!("(func {body})"), ..Parts::default() });
        for package in [command(&text("", body)), full(&inside, PortType::Text)] {
            match spawner().inspect(&package.files(), &limits) {
                Ok(_) | Err(Failure::CompileTimeout { .. } | Failure::MemoryLimit { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// T18: loops of every kind that a guest can make.
#[test]
fn t18_loops_of_many_kinds_are_stopped() {
    let clock = r#"(import "wasi_snapshot_preview1" "clock_time_get" (func $now (param i32 i64 i32) (result i32)))"#;
    let sleep = r#"(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))"#;
    let random = r#"(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))"#;
    for (items, body) in [
        ("", "(loop (br 0))"),
        ("", "(loop (br_if 0 (i32.const 1)))"),
        ("", "(loop (br_table 0 0 (i32.const 5)))"),
        ("", "(loop (loop (br_if 0 (i32.const 0))) (br 0))"),
        ("(func $f (return_call $f))", "(call $f)"),
        ("(func $f (return_call $g)) (func $g (return_call $f))", "(call $f)"),
        (
            "(type $t (func)) (table 1 funcref) (elem (i32.const 0) $f) (func $f (return_call_indirect (type $t) (i32.const 0)))",
            "(call $f)",
        ),
        ("(func $f) ", "(loop (call $f) (br 0))"),
        ("", "(local v128) (loop (local.set 0 (i32x4.add (local.get 0) (local.get 0))) (br 0))"),
        ("", "(loop (memory.copy (i32.const 0) (i32.const 9) (i32.const 131000)) (br 0))"),
        (
            "(table 9999 funcref)",
            "(loop (table.fill 0 (i32.const 0) (ref.null func) (i32.const 9999)) (br 0))",
        ),
        ("(func $s (loop (br 0))) (start $s)", ""),
        (clock, "(loop (drop (call $now (i32.const 1) (i64.const 0) (i32.const 0))) (br 0))"),
        (
            sleep,
            "(loop (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128))) (br 0))",
        ),
        (random, "(loop (drop (call $random (i32.const 0) (i32.const 64))) (br 0))"),
    ] {
        let package = command(&text(items, body));
        match package.score(&limits(100, 16 << 20, 1000), b"") {
            Err(Failure::Timeout { limit_ms: 100, stopped_after_ms }) => {
                assert!(stopped_after_ms >= 100);
            }
            other => panic!("{items} {body}: {other:?}"),
        }
    }
}

/// T19 and T20: bulk work, growth and recursion end inside their limits.
#[test]
fn t20_growth_and_recursion_end_inside_their_limits() {
    let limit_bytes = 64 << 20;
    let limits: Limits = limits(PATIENT_MS, limit_bytes, 1000);
    let oob = Failure::Trap { code: TrapCode::MemoryOutOfBounds };
    let table = Failure::Trap { code: TrapCode::TableOutOfBounds };
    let deep = Failure::Trap { code: TrapCode::StackOverflow };
    let memory = Failure::MemoryLimit { limit_bytes };
    let huge = "(i32.const 0) (i32.const 0) (i32.const -1)";
    let recursion = "(func $f (result i64) (i64.add (call $f) (i64.const 1)))";
    let wide = format!(
        "(func $f (param {p}) (call $f {a}))",
        p = "i64 ".repeat(500),
        a = "(i64.const 1) ".repeat(500)
    );
    for (items, body, expected) in [
        ("", format!("(memory.fill {huge})"), &oob),
        ("", format!("(memory.copy {huge})"), &oob),
        ("(data $d \"x\")", format!("(memory.init $d {huge})"), &oob),
        (
            "(table 9 funcref)",
            "(table.fill 0 (i32.const 0) (ref.null func) (i32.const -1))".into(),
            &table,
        ),
        (
            "(table 9 funcref)",
            "(table.copy (i32.const 0) (i32.const 1) (i32.const -1))".into(),
            &table,
        ),
        (
            "(table 9 funcref) (elem $e func)",
            "(table.init $e (i32.const 0) (i32.const 0) (i32.const 5))".into(),
            &table,
        ),
        (
            "",
            "(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable"
                .into(),
            &memory,
        ),
        (recursion, "(drop (call $f))".into(), &deep),
        (wide.as_str(), format!("(call $f {})", "(i64.const 1) ".repeat(500)), &deep),
    ] {
        let failure = command(&text(items, &body)).score(&limits, b"").unwrap_err();
        assert_eq!(failure, *expected, "{body}");
    }
    // Tables stop growing at their bound, and the guest is told.
    let grow =
        "(loop (br_if 0 (i32.ne (table.grow 0 (ref.null func) (i32.const 1000)) (i32.const -1))))
        (if (i32.gt_u (table.size 0) (i32.const 100000)) (then unreachable))";
    assert!(command(&text("(table 0 funcref)", grow)).score(&limits, b"").is_ok());
    // Inside a component it is the same.
    for (body, expected) in [
        (format!("(memory.fill {huge})"), &oob),
        (
            "(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable"
                .into(),
            &memory,
        ),
        ("(drop (call $f))".to_owned(), &deep),
    ] {
        let code = component(Parts { items: recursion, body: &body, ..Parts::default() });
        assert_eq!(full(&code, PortType::Text).score(&limits, b"").unwrap_err(), *expected);
    }
}

/// T22: our own host functions with arguments that nobody would send.
#[test]
fn t22_host_functions_take_any_arguments() {
    // A linear congruential generator; every fourth number stays small, so that some calls get far.
    let random = "(global $seed (mut i64) (i64.const 42))
        (func $any (result i32)
            (global.set $seed (i64.add (i64.mul (global.get $seed) (i64.const 6364136223846793005))
                (i64.const 1442695040888963407)))
            (if (result i32) (i64.eqz (i64.and (global.get $seed) (i64.const 0x3000000000)))
                (then (i32.wrap_i64 (i64.shr_u (global.get $seed) (i64.const 33))))
                (else (i32.and (i32.wrap_i64 (i64.shr_u (global.get $seed) (i64.const 40))) (i32.const 0xffff)))))";
    let plain = format!(
        r#"(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        {random}"#
    );
    let calls = "(local $n i32) (loop
        (i32.store (i32.and (call $any) (i32.const 0xffff)) (call $any))
        (drop (call $poll (call $any) (call $any) (i32.and (call $any) (i32.const 2047)) (call $any)))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $n) (i32.const 100000))))";
    command(&text(&plain, calls)).score(&patient(), b"").unwrap();

    let own = format!(
        r#"(import "guildhall:stage/types@0.1.0" "[constructor]blob" (func $blob (result i32)))
        (import "guildhall:stage/types@0.1.0" "[method]blob.len" (func $len (param i32) (result i64)))
        (import "guildhall:stage/types@0.1.0" "[method]blob.read" (func $read (param i32 i64 i32 i32)))
        (import "guildhall:stage/types@0.1.0" "[method]blob.append" (func $append (param i32 i32 i32 i32)))
        (import "guildhall:stage/types@0.1.0" "[resource-drop]blob" (func $drop (param i32)))
        (import "guildhall:stage/host@0.1.0" "progress" (func $progress (param i64 i64)))
        (import "guildhall:stage/host@0.1.0" "metric" (func $metric (param i32 i32 f64)))
        (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $in (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
        (import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $forget (param i32)))
        {random}
        (data (i32.const 4096) "loss")
        (func $wide (result i64) (i64.mul (i64.extend_i32_s (call $any)) (i64.extend_i32_s (call $any))))"#
    );
    // Handles and pointers are checked by the engine, which ends the guest; what is left to us are numbers.
    let body = "(local.set $a (call $blob)) (loop
        (call $append (local.get $a) (i32.const 0) (i32.and (call $any) (i32.const 15)) (i32.const 4160))
        (call $read (local.get $a) (call $wide) (i32.and (call $any) (i32.const 31)) (i32.const 4160))
        (global.set $free (i32.const 16384))
        (drop (call $len (local.get $a)))
        (call $progress (call $wide) (call $wide))
        (call $metric (i32.const 4096) (i32.and (call $any) (i32.const 63)) (f64.reinterpret_i64 (call $wide)))
        (local.set $b (call $in (call $wide)))
        (call $block (local.get $b))
        (call $forget (local.get $b))
        (if (i64.gt_u (call $len (local.get $a)) (i64.const 100000)) (then
            (call $drop (local.get $a)) (local.set $a (call $blob))))
        (local.set $long (i64.add (local.get $long) (i64.const 1)))
        (br_if 0 (i64.lt_u (local.get $long) (i64.const 12500))))";
    let code = component(Parts { items: &own, body, ..Parts::default() });
    let scored = full(&code, PortType::Text).score(&patient(), b"done").unwrap();
    assert_eq!(scored.outputs[0].bytes, b"done");
    // A handle or a pointer that is none ends the guest and nobody else.
    for body in [
        "(drop (call $len (i32.const 77)))",
        "(call $drop (i32.const 0))",
        "(call $block (call $blob))",
        "(call $metric (i32.const -1) (i32.const 5) (f64.const 0))",
        "(call $metric (i32.const 600) (i32.const -1) (f64.const 0))",
        "(call $read (call $blob) (i64.const 0) (i32.const 1) (i32.const -4))",
        "(call $append (call $blob) (i32.const 0) (i32.const -1) (i32.const 4160))",
        "(loop (drop (call $blob)) (br 0))",
        "(loop (drop (call $in (i64.const 1))) (br 0))",
    ] {
        let code = component(Parts { items: &own, body, ..Parts::default() });
        let mut worker = full(&code, PortType::Text).start(&patient()).unwrap();
        let failure = worker.score(record(b"x")).unwrap_err();
        let is_guests = matches!(failure, Failure::Trap { .. } | Failure::OutputLimit { .. });
        assert!(is_guests && worker.is_alive(), "{body}: {failure:?}");
    }
}

/// T23: memory is zero at the start of every run, whatever filled it before.
#[test]
fn t23_no_canary_is_left_in_memory() {
    let scan = text(
        "",
        "(local $at i32)
        (drop (memory.grow (i32.const 254)))
        (loop
            (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if 0 (i32.lt_u (local.get $at) (i32.const 16777216))))
        (memory.fill (i32.const 0) (i32.const 0xca) (i32.const 16777216))",
    );
    let mut worker = command(&scan).start(&limits(PATIENT_MS, 16 << 20, 1000)).unwrap();
    for _ in 0..100 {
        worker.score(record(b"")).unwrap();
    }
}

/// T24: numbers that processors make differently come out the same.
#[test]
fn t24_nans_are_one_in_the_exact_class() {
    let write = r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (data (i32.const 0) "\40\00\00\00\18\00\00\00")"#;
    let body = "
        (f32.store (i32.const 64) (f32.div (f32.const 0) (f32.const 0)))
        (f32.store (i32.const 68) (f32.add (f32.const nan:0x200001) (f32.const 1)))
        (f32.store (i32.const 72) (f32.sqrt (f32.const -1)))
        (f32.store (i32.const 76) (f32.mul (f32.const -nan:0x1) (f32.const 2)))
        (f64.store (i32.const 80) (f64.sub (f64.const inf) (f64.const inf)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))";
    let code = text(write, body);
    let expected = [
        [0x7fc0_0000_u32.to_le_bytes(); 4].concat(),
        0x7ff8_u64.rotate_left(48).to_le_bytes().to_vec(),
    ]
    .concat();
    let exact = command(&code);
    assert_eq!(exact.score(&patient(), b"").unwrap().outputs[0].bytes, expected);
    let mut fast = command(&code);
    fast.manifest.contract.as_mut().unwrap().determinism = Determinism::None;
    assert_eq!(fast.score(&patient(), b"").unwrap().outputs[0].bytes.len(), 24);
}

/// T25: whatever leads outside is refused, when it is published and when it would be run.
#[test]
fn t25_imports_outside_the_table_are_refused_twice() {
    let preview1 = [
        "sock_accept",
        "sock_recv",
        "sock_send",
        "sock_shutdown",
        "path_create_directory",
        "path_filestat_set_times",
        "path_link",
        "path_readlink",
        "path_remove_directory",
        "path_rename",
        "path_symlink",
        "path_unlink_file",
        "fd_allocate",
        "fd_datasync",
        "fd_fdstat_set_rights",
        "fd_filestat_set_size",
        "fd_filestat_set_times",
        "fd_pwrite",
        "fd_renumber",
        "fd_sync",
        "proc_raise",
        "thread_spawn",
        "",
    ];
    let others = [
        ("wasi_unstable", "fd_write"),
        ("wasi_snapshot_preview2", "fd_write"),
        ("wasi_ephemeral_nn", "load"),
        ("wasi_ephemeral_crypto", "open"),
        ("env", "system"),
        ("env", "memory_base"),
        ("wasi", "thread-spawn"),
        ("wasi_http", "request"),
        ("", "x"),
        ("wasi:sockets/tcp@0.2.0", "connect"),
        ("guildhall:stage/host@0.1.0", "progress"),
        ("wasi_snapshot_preview1\\00", "fd_write"),
        ("WASI_snapshot_preview1", "fd_write"),
    ];
    let full_form = [
        "wasi:sockets/tcp@0.2.0",
        "wasi:sockets/udp@0.2.3",
        "wasi:sockets/network@0.2.0",
        "wasi:sockets/ip-name-lookup@0.2.0",
        "wasi:http/types@0.2.0",
        "wasi:http/outgoing-handler@0.2.0",
        "wasi:keyvalue/store@0.2.0",
        "wasi:logging/logging",
        "wasi:config/store@0.2.0",
        "wasi:cli/stdin@0.3.0",
        "wasi:cli/run@0.2.0",
        "wasi:blobstore/container@0.2.0",
        "guildhall:stage/host@0.2.0",
        "guildhall:stage/types@1.0.0",
        "docs:adder/add@0.1.0",
    ];
    let plain = preview1.iter().map(|name| ("wasi_snapshot_preview1", *name)).chain(others);
    let packages: Vec<_> = plain
        .map(|(module, name)| {
            command(&text(&format!("(import \"{module}\" \"{name}\" (func))"), ""))
        })
        .chain(full_form.iter().map(|import| {
            let text = format!("(component (import \"{import}\" (instance)))");
            full(&wat::parse_str(text).unwrap(), PortType::Text)
        }))
        .collect();
    assert!(packages.len() >= 50, "{}", packages.len());
    for package in &packages {
        let published = inspect(package).unwrap_err();
        assert!(matches!(published, Failure::ForbiddenImport { .. }), "{published:?}");
        assert_eq!(package.start(&patient()).unwrap_err(), published);
    }
}
