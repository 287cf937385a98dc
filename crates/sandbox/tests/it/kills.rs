//! Workers killed at every step. The node always gets a failure that says so, nothing is left of the worker, and the next
//! one works.
//!
//! Counting children and descriptors needs a process in which nothing else happens, so each test is run by another one
//! in a process of its own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use guildhall_sandbox::{Failure, RunWorker, Spawner};

use crate::misdeeds::hostile_modules;
use crate::package::{Package, any_bytes, limits, model, patient, prepare, record, spawner};
use crate::warm::echo;

/// Runs an ignored test in a process, a folder and a temporary folder of its own, and passes its verdict on.
#[track_caller]
pub(crate) fn apart(test: &str) {
    let (here, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env("TMPDIR", temporary.path())
        .current_dir(here.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

/// This process's children, dead and alive.
fn children() -> Vec<i32> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path().join("children");
        // A thread that ended meanwhile has none.
        let listed = fs::read_to_string(path).unwrap_or_default();
        found.extend(listed.split_whitespace().map(|id| id.parse::<i32>().unwrap()));
    }
    found
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse().unwrap()
}

fn kill_children() {
    for child in children() {
        let child = rustix::process::Pid::from_raw(child).unwrap();
        let _died_meanwhile = rustix::process::kill_process(child, rustix::process::Signal::KILL);
    }
}

/// Whatever a killed worker leads to, it is the node's trouble and nobody's fault.
#[track_caller]
fn is_clean(failure: &Failure) {
    let is_expected = matches!(failure, Failure::WorkerDied { .. } | Failure::Internal { .. });
    assert!(is_expected && !failure.is_fault_of_package(), "{failure:?}");
    assert!(failure.to_string().len() <= 4096);
}

/// The whole life of a worker, with an answer of three mebibytes at its end and a question as long.
fn life(package: &Package, long: &Package, input: &[u8]) -> Result<(), Failure> {
    let mut worker = package.start(&patient())?;
    worker.score(record(&[b'a'; 64]))?;
    drop(worker);
    let mut worker = long.start(&limits(60_000, 256 << 20, 4 << 20))?;
    worker.score(record(input))?;
    Ok(())
}

/// Reads its input whole and says as much.
fn long() -> Package {
    Package::text(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 60)
            (data (i32.const 0) "\40\00\00\00\00\00\30\00")
            (func (export "_start")
                (loop
                    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
                    (br_if 0 (i32.load (i32.const 8))))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
    )
}

#[test]
fn a_worker_killed_at_any_moment_is_a_failure_and_leaves_nothing() {
    apart("kills::at_any_moment");
}

#[test]
#[ignore = "run by `a_worker_killed_at_any_moment_is_a_failure_and_leaves_nothing` in a process of its own"]
fn at_any_moment() {
    let (package, long) = (echo(), long());
    let input = vec![b'x'; 3 << 20];
    let started = std::time::Instant::now();
    life(&package, &long, &input).unwrap();
    let whole_us = u64::try_from(started.elapsed().as_micros()).unwrap();
    let before = descriptors();
    let mut killed = 0;
    // Points in time over the whole life, the same in every run as far as the machine is.
    for step in 0..60_u64 {
        let is_over = AtomicBool::new(false);
        let wait = Duration::from_micros(whole_us * step / 55);
        let ended = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(wait);
                if !is_over.load(Ordering::Relaxed) {
                    kill_children();
                }
            });
            let ended = life(&package, &long, &input);
            is_over.store(true, Ordering::Relaxed);
            ended
        });
        if let Err(failure) = ended {
            is_clean(&failure);
            killed += 1;
        }
        assert!(children().is_empty(), "a zombie or a worker is left");
        assert_eq!(descriptors(), before, "a descriptor is left");
    }
    assert!(killed >= 15, "{killed} of 60 were hit");
    life(&package, &long, &input).unwrap();
}

#[test]
fn what_stops_in_the_middle_of_its_own_words_is_a_failure_and_leaves_nothing() {
    apart("kills::in_the_middle");
}

#[test]
#[ignore = "run by `what_stops_in_the_middle_of_its_own_words_is_a_failure_and_leaves_nothing` in a process of its own"]
fn in_the_middle() {
    let package = model();
    let before = descriptors();
    for script in [
        "kill -KILL $$",
        "head -c 1 >/dev/null; kill -KILL $$",
        "head -c 40 >/dev/null; kill -SEGV $$",
        "exec <&-; sleep 0.1",
        "printf '\\001' >&0; kill -KILL $$",
        "printf '\\377\\000\\000\\000half' >&0; kill -KILL $$",
        "printf '\\004\\000\\000\\000\\377\\377\\377\\377' >&0",
        "exit 7",
    ] {
        let args = ["-c", script].map(OsString::from);
        let spawner = Spawner::new("/bin/sh", args);
        let failure = spawner.start(&package.files(), &patient(), &BTreeMap::new(), 0).unwrap_err();
        is_clean(&failure);
        assert!(children().is_empty(), "{script}");
        assert_eq!(descriptors(), before, "{script}");
    }
    assert!(model().score(&patient(), &[0; 256]).is_ok());
}

#[test]
fn thirty_kinds_of_hostile_code_eight_at_once_leave_the_node_as_it_was() {
    apart("kills::hostile_at_once");
}

#[test]
#[ignore = "run by `thirty_kinds_of_hostile_code_eight_at_once_leave_the_node_as_it_was` in a process of its own"]
fn hostile_at_once() {
    let modules = hostile_modules();
    assert!(modules.len() >= 30, "{}", modules.len());
    let round = |modules: &[(String, Vec<u8>)]| {
        for (name, module) in modules {
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        let package = Package::command(module, any_bytes(), any_bytes());
                        let quick = limits(200, 16 << 20, 1 << 16);
                        let ended = package
                            .start(&quick)
                            .and_then(|mut worker: RunWorker| worker.score(record(&[b'!'; 64])));
                        let failure = ended.expect_err(name);
                        assert!(failure.to_string().len() <= 4096, "{name}");
                    });
                }
            });
        }
    };
    // Threads and allocator have reached their size after a few.
    round(&modules[..4]);
    let (before_kib, before) = (resident_kib(), descriptors());
    round(&modules);
    let grown_kib = resident_kib().saturating_sub(before_kib);
    assert!(grown_kib < 16 * 1024, "the node grew by {grown_kib} KiB");
    assert!(children().is_empty());
    assert_eq!(descriptors(), before);
    assert!(prepare().start(&patient()).is_ok(), "the node is none the worse");
    assert!(spawner().isolation().is_ok());
}
