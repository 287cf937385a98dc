//! A command reads files of its own package, and nothing else of anything.

use guildhall_protocol::contract::Import;
use guildhall_sandbox::{Failure, InspectLimits};

use crate::caller::{Caller, DATA, INPUT, listed, numbers};
use crate::package::{PATIENT_MS, Package, any_bytes, limits, patient, record, spawner};
use crate::sample::Random;

/// Asks for the files of its package.
const CALLER: Caller = Caller {
    imports: r#"(import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read"
        (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_seek"
        (func $seek (param i32 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_filestat_get"
        (func $stat (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_filestat_get"
        (func $path_stat (param i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_readdir"
        (func $list (param i32 i32 i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_prestat_get"
        (func $prestat (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_pread"
        (func $pread (param i32 i32 i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_fdstat_get"
        (func $fdstat (param i32 i32) (result i32)))"#,
    call: r#"(if (i32.eq (local.get $op) (i32.const 0)) (then (return (call $read
            (local.get $a) (local.get $b) (local.get $c) (local.get $d)))))
        (if (i32.eq (local.get $op) (i32.const 1)) (then (return (call $open
            (local.get $a) (local.get $b) (local.get $c) (local.get $d) (local.get $e)
            (i64.extend_i32_u (local.get $f)) (i64.const 0) (local.get $g) (local.get $h)))))
        (if (i32.eq (local.get $op) (i32.const 2)) (then (return (call $close (local.get $a)))))
        (if (i32.eq (local.get $op) (i32.const 3)) (then (return (call $seek
            (local.get $a) (i64.extend_i32_s (local.get $b)) (local.get $c) (local.get $d)))))
        (if (i32.eq (local.get $op) (i32.const 4)) (then (return (call $stat
            (local.get $a) (local.get $b)))))
        (if (i32.eq (local.get $op) (i32.const 5)) (then (return (call $path_stat
            (local.get $a) (local.get $b) (local.get $c) (local.get $d) (local.get $e)))))
        (if (i32.eq (local.get $op) (i32.const 6)) (then (return (call $list
            (local.get $a) (local.get $b) (local.get $c) (i64.extend_i32_u (local.get $d))
            (local.get $e)))))
        (if (i32.eq (local.get $op) (i32.const 7)) (then (return (call $prestat
            (local.get $a) (local.get $b)))))
        (if (i32.eq (local.get $op) (i32.const 8)) (then (return (call $pread
            (local.get $a) (local.get $b) (local.get $c) (i64.extend_i32_u (local.get $d))
            (local.get $e)))))
        (call $fdstat (local.get $a) (local.get $b))"#,
    width: 9,
    say: SAY,
    pages: 8,
};

/// One past the caller's memory.
const END: u32 = CALLER.pages * 65_536;

/// Free memory of the caller: where numbers go, and where bytes go.
const OUT: u32 = 4_096;
const BYTES: u32 = 8_192;

const READ: u32 = 0;
const OPEN: u32 = 1;
const CLOSE: u32 = 2;
const SEEK: u32 = 3;
const STAT: u32 = 4;
const STAT_AT: u32 = 5;
const LIST: u32 = 6;
const PRESTAT: u32 = 7;
const PREAD: u32 = 8;
const SAY: u32 = 9;

/// Error numbers of preview 1.
const OK: u32 = 0;
const BAD: u32 = 8;
const FAULT: u32 = 21;
const INVALID: u32 = 28;
const IS_FOLDER: u32 = 31;
const TOO_MANY: u32 = 33;
const NONE: u32 = 44;
const NO_FOLDER: u32 = 54;
const NOT_PERMITTED: u32 = 63;
const READ_ONLY: u32 = 69;
const NO_SEEK: u32 = 70;

type Nine = [u32; 9];

/// A call with fewer arguments.
fn call<const N: usize>(numbers: [u32; N]) -> Nine {
    let mut all = [0; 9];
    all[..N].copy_from_slice(&numbers);
    all
}

/// Opens a path in [`PATHS`] from a descriptor.
fn open(fd: u32, path: usize) -> Nine {
    call([OPEN, fd, 1, at(path), len(path), 0, 0, 0, OUT])
}

/// What the calls' pointers reach: a buffer of 16 bytes at [`BYTES`], one of everything, and paths.
const PATHS: [&str; 16] = [
    "words/de.txt",
    "words",
    "./words/../words/en.txt",
    "nothing",
    "..",
    "/words/de.txt",
    "",
    "words/de.txt/",
    "words/../../x",
    "stage.wasm",
    "tests/1.in",
    "words/de.txt/more",
    ".",
    "words//de.txt",
    "tests",
    "README.md",
];

fn len(path: usize) -> u32 {
    u32::try_from(PATHS[path].len()).unwrap()
}

/// Where a path lies: each has 64 bytes, behind the buffers.
fn at(path: usize) -> u32 {
    DATA + 64 + 64 * u32::try_from(path).unwrap()
}

fn input(calls: &[Nine]) -> Vec<u8> {
    let mut bytes = listed(calls);
    for number in [BYTES, 16, BYTES, END - BYTES] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.resize((DATA - INPUT) as usize + 64, 0);
    for path in PATHS {
        let mut path = path.as_bytes().to_vec();
        path.resize(64, 0);
        bytes.extend(path);
    }
    bytes
}

const GERMAN: &[u8] = b"der die das und ist nicht ein";

fn package() -> Package {
    let module = CALLER.module();
    let files: [(&str, &[u8]); 6] = [
        ("README.md", b"# Words"),
        ("stage.wasm", &module),
        ("tests/1.in", b"in"),
        ("tests/1.out", b"out"),
        ("words/de.txt", GERMAN),
        ("words/en.txt", b"the of and"),
    ];
    let mut package = Package::of_files(&files)
        .with_command("stage.wasm", any_bytes(), any_bytes())
        .with_tests(&[("1", "tests/1.in", "tests/1.out")], 0.0);
    package.manifest.contract.as_mut().unwrap().imports = vec![Import::PackageFiles];
    package
}

/// Error numbers of these calls in one record, in order.
fn errors(calls: &[Nine]) -> Vec<u32> {
    let scored = package().score(&patient(), &input(calls)).unwrap();
    numbers(&scored.outputs[0].bytes)
}

#[test]
fn a_command_opens_lists_and_reads_the_files_of_its_package() {
    spawner().inspect(&package().files(), &InspectLimits::default()).unwrap();
    let calls = [
        call([PRESTAT, 3, OUT]),
        call([SAY, OUT, 8]),
        open(3, 0),
        call([SAY, OUT, 4]),
        call([READ, 4, DATA, 1, OUT]),
        call([SAY, BYTES, 16]),
        call([READ, 4, DATA, 1, OUT]),
        call([SAY, OUT, 4]),
        call([SAY, BYTES, 13]),
        call([READ, 4, DATA, 1, OUT]),
        call([SAY, OUT, 4]),
        call([PREAD, 4, DATA, 1, 4, OUT]),
        call([SAY, BYTES, 3]),
        call([SEEK, 4, (-3_i32).cast_unsigned(), 2, OUT]),
        call([READ, 4, DATA, 1, OUT]),
        call([SAY, BYTES, 3]),
        call([STAT, 4, OUT]),
        call([SAY, OUT + 16, 1]),
        call([SAY, OUT + 32, 8]),
    ];
    let scored = package().score(&patient(), &input(&calls)).unwrap();
    let expected = [
        &[0; 4][..],
        &[0, 0, 0, 0, 1, 0, 0, 0],
        &[0; 4],
        &[4, 0, 0, 0],
        &[0; 4],
        &GERMAN[..16],
        &[0; 4],
        &[13, 0, 0, 0],
        &GERMAN[16..],
        &[0; 4],
        &[0; 4],
        &[0; 4],
        b"die",
        &[0; 4],
        &[0; 4],
        b"ein",
        &[0; 4],
        &[4],
        &[29, 0, 0, 0, 0, 0, 0, 0],
    ];
    assert_eq!(scored.outputs[0].bytes, expected.concat());
    // Its memory and the three files that it may read.
    let files = (GERMAN.len() + b"the of and".len() + b"# Words".len()) as u64;
    assert_eq!(scored.memory_peak_bytes, u64::from(END) + files);
}

#[test]
fn a_folder_is_listed_in_order_and_in_parts() {
    let names = |bytes: &[u8]| -> Vec<(String, u8)> {
        let mut names = Vec::new();
        let mut rest = bytes;
        while let Some((head, behind)) = rest.split_at_checked(24) {
            let len = u32::from_le_bytes(head[16..20].try_into().unwrap()) as usize;
            let Some((name, behind)) = behind.split_at_checked(len) else { break };
            names.push((String::from_utf8(name.to_vec()).unwrap(), head[20]));
            rest = behind;
        }
        names
    };
    let listed = |calls: &[Nine]| {
        let scored = package().score(&patient(), &input(calls)).unwrap();
        let bytes = scored.outputs[0].bytes.clone();
        let (errors, bytes) = bytes.split_at(4 * (calls.len() - 2));
        assert!(numbers(errors).iter().all(|errno| *errno == OK));
        let (used, bytes) = bytes.split_at(4);
        let used = numbers(used)[0] as usize;
        names(&bytes[..used])
    };
    let all = |fd, cookie, room| {
        [call([LIST, fd, BYTES, room, cookie, OUT]), call([SAY, OUT, 4]), call([SAY, BYTES, 512])]
    };
    let entry = |name: &str, kind| (name.to_owned(), kind);
    let top = [entry(".", 3), entry("..", 3), entry("README.md", 4), entry("words", 3)];
    assert_eq!(listed(&all(3, 0, 512)), top, "neither code nor tests");
    assert_eq!(listed(&all(3, 2, 512)), top[2..]);
    assert_eq!(listed(&all(3, 2, 40)), top[2..3], "the second is cut off");
    assert!(listed(&all(3, 99, 512)).is_empty());
    let below = [[open(3, 1)].as_slice(), &all(4, 2, 512)].concat();
    assert_eq!(listed(&below), [entry("de.txt", 4), entry("en.txt", 4)]);
}

#[test]
fn paths_lead_nowhere_else_and_nothing_is_changed() {
    let stat = |path: usize| call([STAT_AT, 3, 1, at(path), len(path), OUT]);
    let with = |how: u32, rights: u32| call([OPEN, 3, 1, at(0), len(0), how, rights, 0, OUT]);
    let calls = [
        (open(3, 0), OK),
        (open(3, 1), OK),
        (open(3, 2), OK),
        (open(3, 3), NONE),
        (open(3, 4), NOT_PERMITTED),
        (open(3, 5), NOT_PERMITTED),
        (open(3, 6), NONE),
        (open(3, 7), NO_FOLDER),
        (open(3, 8), NOT_PERMITTED),
        (open(3, 9), NONE),
        (open(3, 10), NONE),
        (open(3, 11), NONE),
        (open(3, 12), OK),
        (open(3, 13), OK),
        (open(3, 14), NONE),
        (stat(0), OK),
        (stat(1), OK),
        (stat(9), NONE),
        (stat(4), NOT_PERMITTED),
        // From a file, from a stream, from nothing.
        (open(4, 0), NO_FOLDER),
        (open(0, 0), NO_FOLDER),
        (open(60, 0), BAD),
        // From a folder in it and back.
        (open(5, 4), OK),
        (call([OPEN, 5, 1, at(4), 1_000_000, 0, 0, 0, OUT]), FAULT),
        (call([OPEN, 5, 1, at(4), 4_097, 0, 0, 0, OUT]), 37),
        // Make, make only, cut, write; a file as a folder.
        (with(1, 0), READ_ONLY),
        (with(4, 0), READ_ONLY),
        (with(8, 0), READ_ONLY),
        (with(0, 64), READ_ONLY),
        (with(2, 0), NO_FOLDER),
        (call([OPEN, 3, 1, at(0), len(0), 0, 0, 0, END - 3]), FAULT),
        (call([READ, 5, DATA, 1, OUT]), IS_FOLDER),
        (call([READ, 1, DATA, 1, OUT]), BAD),
        (call([READ, 4, DATA, 5_000, OUT]), INVALID),
        (call([READ, 4, END - 4, 1, OUT]), FAULT),
        (call([SEEK, 0, 0, 1, OUT]), NO_SEEK),
        (call([SEEK, 4, u32::MAX, 0, OUT]), INVALID),
        (call([SEEK, 4, 0, 3, OUT]), INVALID),
        (call([PRESTAT, 4, OUT]), BAD),
        (call([PRESTAT, 0, OUT]), BAD),
        (call([LIST, 4, BYTES, 10, 0, OUT]), NO_FOLDER),
        (call([LIST, 3, END - 9, 10, 0, OUT]), FAULT),
        (call([CLOSE, 4]), OK),
        (call([CLOSE, 4]), BAD),
        (call([READ, 4, DATA, 1, OUT]), BAD),
        (open(3, 15), OK),
    ];
    let asked: Vec<Nine> = calls.iter().map(|(call, _)| *call).collect();
    let found = errors(&asked);
    for (at, (call, expected)) in calls.iter().enumerate() {
        assert_eq!(found[at], *expected, "call {at}: {call:?}");
    }
}

#[test]
fn what_a_record_has_open_is_bounded_and_ends_with_it() {
    let mut worker = package().start(&patient()).unwrap();
    let many = vec![open(3, 0); 66];
    for _ in 0..2 {
        let scored = worker.score(record(&input(&many))).unwrap();
        let found = numbers(&scored.outputs[0].bytes);
        assert_eq!(found[..64], [OK; 64]);
        assert_eq!(found[64..], [TOO_MANY; 2]);
    }
    let scored = worker.score(record(&input(&[call([CLOSE, 4])]))).unwrap();
    assert_eq!(numbers(&scored.outputs[0].bytes), [BAD]);
}

#[test]
fn calls_with_any_numbers_leave_the_worker_alone() {
    let mut worker = package().start(&patient()).unwrap();
    let mut random = Random(5);
    for round in 0..60 {
        let interesting = [0, 1, 2, 3, 4, 5, 16, OUT, DATA, END - 1, END, 1 << 31, u32::MAX];
        let calls: Vec<Nine> = (0..200)
            .map(|_| {
                if random.below(3) == 0 {
                    return open(3, random.below(PATHS.len()));
                }
                let mut call = [0; 9];
                call[0] = [READ, OPEN, CLOSE, SEEK, STAT, STAT_AT, LIST, PRESTAT, PREAD, 10]
                    [random.below(10)];
                call[1..].fill_with(|| match random.below(3) {
                    0 => random.next() as u32,
                    1 => random.below(8) as u32,
                    _ => interesting[random.below(interesting.len())],
                });
                // Its own program and the calls to come would be another test.
                for number in &mut call[2..] {
                    if (16..DATA).contains(number) && *number != OUT {
                        *number = OUT;
                    }
                }
                call
            })
            .collect();
        match worker.score(record(&input(&calls))) {
            Ok(scored) => assert_eq!(scored.outputs[0].bytes.len(), 4 * calls.len()),
            // It may have read over its own list of calls; that is between the two.
            Err(Failure::Trap { .. } | Failure::OutputLimit { .. }) => {}
            Err(other) => panic!("round {round}: {other}"),
        }
        assert!(worker.is_alive());
    }
}

#[test]
fn files_are_for_those_whose_contract_says_so_and_count_as_memory() {
    let mut plain = package();
    plain.manifest.contract.as_mut().unwrap().imports.clear();
    let scored = plain.score(&patient(), &input(&[call([PRESTAT, 3, OUT]), open(3, 0)])).unwrap();
    assert_eq!(numbers(&scored.outputs[0].bytes), [BAD, BAD]);
    let memory = limits(PATIENT_MS, u64::from(END) + 10, 1 << 20);
    let failed = package().score(&memory, &input(&[])).unwrap_err();
    assert_eq!(failed, Failure::MemoryLimit { limit_bytes: u64::from(END) + 10 });
    let failed = package().start(&limits(PATIENT_MS, 20, 1 << 20)).unwrap_err();
    assert_eq!(failed, Failure::MemoryLimit { limit_bytes: 20 });
    let spoilt = package();
    spoilt.spoil("words/de.txt", |bytes| bytes[0] ^= 1);
    let failed = spoilt.start(&patient()).unwrap_err();
    assert!(matches!(failed, Failure::FileMismatch { file, .. } if file == "words/de.txt"));
}
