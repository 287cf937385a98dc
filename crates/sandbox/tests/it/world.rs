//! What a guest sees of the world, by guests that write down what they see.

use std::collections::BTreeMap;

use crate::package::{Package, patient, record, spawner};

/// A command that calls one function of preview 1 with these arguments and writes 64 bytes of memory from 64 on, with
/// the result's error number in the last 4. Byte 0 holds an iovec for it.
fn witness(import: &str, parameters: &str, calls: &str) -> Package {
    Package::text(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "{import}" (func $see (param {parameters}) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "\40\00\00\00\40\00\00\00")
            (data (i32.const 512) "/etc/passwd")
            (func (export "_start")
                {calls}
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    ))
}

fn seen(package: &Package) -> Vec<u8> {
    package.score(&patient(), b"").unwrap().outputs[0].bytes.clone()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn the_environment_is_empty() {
    // This test's own environment is not; nor is the worker's parent's.
    let package = witness(
        "environ_sizes_get",
        "i32 i32",
        "(i32.store (i32.const 124) (call $see (i32.const 64) (i32.const 68)))",
    );
    assert_eq!(seen(&package), [0; 64]);
}

#[test]
fn clocks_start_at_zero_and_show_no_real_time() {
    for clock in [0, 1] {
        let look = |to: u32| {
            format!("(drop (call $see (i32.const {clock}) (i64.const 1) (i32.const {to})))")
        };
        let looks = format!("{}{}", look(64), look(72));
        let package = witness("clock_time_get", "i32 i64 i32", &looks);
        let bytes = seen(&package);
        assert_eq!(u64_at(&bytes, 0), 0);
        assert_eq!(u64_at(&bytes, 8), 1_000, "each look moves it on by the same");
        assert_eq!(seen(&package), bytes);
    }
}

#[test]
fn sleeping_an_hour_takes_virtual_time_only() {
    // One subscription at 256: clock 1, one hour, relative. Its event goes to 64, the number of events to 96.
    let package = witness(
        "poll_oneoff",
        "i32 i32 i32 i32",
        "(i64.store (i32.const 256) (i64.const 77))
         (i32.store (i32.const 272) (i32.const 1))
         (i64.store (i32.const 280) (i64.const 3600000000000))
         (i32.store (i32.const 124)
            (call $see (i32.const 256) (i32.const 64) (i32.const 1) (i32.const 96)))",
    );
    let bytes = seen(&package);
    assert_eq!((u64_at(&bytes, 0), bytes[32], bytes[60]), (77, 1, 0));
    let outside = witness(
        "poll_oneoff",
        "i32 i32 i32 i32",
        "(i32.store (i32.const 124)
            (call $see (i32.const 65530) (i32.const -1) (i32.const 1) (i32.const -1)))",
    );
    assert_eq!(seen(&outside)[60], 21, "pointers outside memory are a fault of the guest");
}

#[test]
fn randomness_follows_from_the_seed() {
    let package =
        witness("random_get", "i32 i32", "(drop (call $see (i32.const 64) (i32.const 32)))");
    let with = |seed| {
        let files = package.files();
        let mut worker = spawner().start(&files, &patient(), &BTreeMap::new(), seed).unwrap();
        let mut score = || worker.score(record(b"")).unwrap().outputs[0].bytes.clone();
        let (first, second) = (score(), score());
        assert_eq!(first, second, "a record's bytes do not depend on the records before it");
        first
    };
    assert_ne!(with(1)[..32], [0; 32]);
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
}

#[test]
fn no_path_leads_anywhere() {
    let calls: String = (3..8)
        .map(|folder| {
            format!(
                "(i32.store8 (i32.const {})
                    (call $see (i32.const {folder}) (i32.const 0) (i32.const 512) (i32.const 11)
                        (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 128)))",
                64 + folder
            )
        })
        .collect();
    let package = witness("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32", &calls);
    let bytes = seen(&package);
    assert!(bytes[3..8].iter().all(|error| *error != 0), "{bytes:?}");
}

#[test]
fn a_stages_config_becomes_its_arguments_in_order_of_key() {
    let package =
        witness("args_get", "i32 i32", "(drop (call $see (i32.const 256) (i32.const 64)))");
    let config = [("threshold", "0.5"), ("mode", "fast")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let files = package.files();
    let mut worker = spawner().start(&files, &patient(), &config.into(), 0).unwrap();
    let bytes = worker.score(record(b"")).unwrap().outputs[0].bytes.clone();
    assert!(bytes.starts_with(b"stage\0--mode=fast\0--threshold=0.5\0"));
}

#[test]
fn nothing_of_one_record_is_left_for_the_next() {
    let package = Package::text(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (global $calls (mut i32) (i32.const 0))
            (data (i32.const 0) "\40\00\00\00\40\00\00\00")
            (func (export "_start")
                (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
                (i32.store (i32.const 64) (global.get $calls))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
    );
    let mut worker = package.start(&patient()).unwrap();
    let mut score = |input: &[u8]| worker.score(record(input)).unwrap().outputs[0].bytes.clone();
    for canary in [b'a', b'b', b'c'] {
        let bytes = score(&[canary; 64]);
        assert_eq!(bytes[..64], [0; 64], "memory is new before anything is read");
        assert_eq!(bytes[64..68], [1, 0, 0, 0], "globals are new");
        assert_eq!(bytes[68..], [canary; 60]);
    }
}
