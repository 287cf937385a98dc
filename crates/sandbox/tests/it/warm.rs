//! Workers that wait: for whom they are kept, and what ends them.
//!
//! ```text
//! test (the node's place) --take--> Workers --+-- warm worker of the same org and package
//!                         <-give--            +-- blank worker, or a new one
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use guildhall_protocol::contract::Limits;
use guildhall_protocol::{Hash, PackageId};
use guildhall_sandbox::{Compiler, Failure, Lent, Level, Wanted, Workers, WorkersSettings};

use crate::package::{PATIENT_MS, Package, any_bytes, limits, model, patient, record, spawner};
use crate::process::{converge, endless};

fn workers(memory_bytes: u64) -> Workers {
    let compiler = Compiler::without_folder(spawner());
    Workers::start(spawner(), compiler, WorkersSettings { memory_bytes }).unwrap()
}

/// A command that repeats its first 64 bytes, or crashes when they begin with `!`.
pub(crate) fn echo() -> Package {
    Package::text(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "\40\00\00\00\40\00\00\00")
            (func (export "_start")
                (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
                (if (i32.eq (i32.load8_u (i32.const 64)) (i32.const 33)) (then unreachable))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
    )
}

fn id(package: &Package) -> PackageId {
    PackageId(package.manifest.files.first().map_or(Hash::of(b""), |file| file.hash))
}

fn take_as(
    workers: &Workers,
    package: &Package,
    org: &str,
    limits: &Limits,
    config: &BTreeMap<String, String>,
) -> Result<Lent, Failure> {
    workers.take(&Wanted {
        engine: None,
        id: id(package),
        package: &package.files(),
        org,
        limits,
        config,
        seed: 0,
        least: Level::None,
    })
}

fn take(workers: &Workers, package: &Package, org: &str) -> Lent {
    take_as(workers, package, org, &patient(), &BTreeMap::new()).unwrap()
}

/// Takes, scores once, gives back; which process it was.
fn use_once(workers: &Workers, package: &Package, org: &str) -> u32 {
    let mut lent = take(workers, package, org);
    assert!(lent.score(record(&[b'a'; 64])).is_ok());
    let process = lent.process_id();
    lent.give_back();
    process
}

/// A limit of a process as the kernel has it: soft and hard.
fn limit_of(process: u32, name: &str) -> (String, String) {
    let all = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = all.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let mut words = line.split_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

#[test]
fn a_worker_is_kept_for_the_same_org_package_config_and_memory_only() {
    let workers = workers(4 << 30);
    let package = echo();
    let first = use_once(&workers, &package, "a");
    assert_eq!(use_once(&workers, &package, "a"), first);
    assert_ne!(use_once(&workers, &package, "b"), first, "another org");
    let other = model();
    let lent = take(&workers, &other, "a");
    assert_ne!(lent.process_id(), first, "another package");
    drop(lent);
    let config = BTreeMap::from([("mode".to_owned(), "fast".to_owned())]);
    let lent = take_as(&workers, &package, "a", &patient(), &config).unwrap();
    assert_ne!(lent.process_id(), first, "another config");
    drop(lent);
    let less = limits(PATIENT_MS, 16 << 20, 1000);
    let lent = take_as(&workers, &package, "a", &less, &BTreeMap::new()).unwrap();
    assert_ne!(lent.process_id(), first, "another limit");
    drop(lent);
    // Time and output are a matter of the call.
    let quick = limits(20 * PATIENT_MS, patient().memory_bytes.value, 10);
    let mut lent = take_as(&workers, &package, "a", &quick, &BTreeMap::new()).unwrap();
    assert_eq!(lent.process_id(), first);
    let failure = lent.score(record(&[b'a'; 64])).unwrap_err();
    assert_eq!(failure, Failure::OutputLimit { limit_bytes: 10 });
    lent.give_back();
    let stats = workers.stats();
    assert_eq!((stats.reused, stats.busy, stats.busy_bytes, stats.unclean), (2, 0, 0, 0));
    let warm: Vec<_> = stats.warm.iter().map(|warm| (warm.org.as_str(), warm.calls)).collect();
    assert_eq!(warm, [("b", 1), ("a", 3)]);
    assert!(stats.warm.iter().all(|warm| warm.held_bytes > 0 && warm.engine == "wasm"));
}

#[test]
fn two_at_once_get_two_workers() {
    let workers = workers(4 << 30);
    let package = echo();
    let (first, second) = (take(&workers, &package, "a"), take(&workers, &package, "a"));
    assert_ne!(first.process_id(), second.process_id());
    assert_eq!(workers.stats().busy, 2);
    first.give_back();
    second.give_back();
    assert_eq!((workers.stats().busy, workers.stats().warm.len()), (0, 2));
}

#[test]
fn a_crash_of_the_guest_leaves_its_worker_and_a_timeout_or_a_kill_does_not() {
    let workers = workers(4 << 30);
    let package = echo();
    let mut lent = take(&workers, &package, "a");
    let first = lent.process_id();
    assert!(matches!(lent.score(record(b"!")), Err(Failure::Trap { .. })));
    assert!(matches!(lent.score(vec![]), Err(Failure::BadInput { .. })));
    lent.give_back();
    assert_eq!(use_once(&workers, &package, "a"), first);

    let endless = endless();
    let quick = limits(100, patient().memory_bytes.value, 1000);
    let mut lent = take_as(&workers, &endless, "a", &quick, &BTreeMap::new()).unwrap();
    assert!(matches!(lent.score(record(b"")), Err(Failure::Timeout { .. })));
    lent.give_back();
    let lent = take(&workers, &package, "a");
    assert_eq!(lent.process_id(), first);
    lent.killer().kill();
    lent.give_back();
    let stats = workers.stats();
    assert_eq!((stats.unclean, stats.warm.len(), stats.busy_bytes), (2, 0, 0));
    assert!(!Path::new(&format!("/proc/{first}")).exists());
}

#[test]
fn a_worker_that_dies_while_it_waits_is_replaced() {
    let workers = workers(4 << 30);
    let package = echo();
    let lent = take(&workers, &package, "a");
    let (first, killer) = (lent.process_id(), lent.killer());
    lent.give_back();
    killer.kill();
    assert_ne!(use_once(&workers, &package, "a"), first);
    assert_eq!(workers.stats().reused, 0);
}

#[test]
fn a_blank_worker_becomes_as_small_as_its_stage_and_another_takes_its_place() {
    let workers = workers(2 << 30);
    converge("no blank workers", || workers.stats().blank == 2);
    let package = echo();
    let lent = take(&workers, &package, "a");
    assert_eq!((workers.stats().from_blank, workers.stats().cold), (1, 0));
    let (soft, hard) = limit_of(lent.process_id(), "Max data size");
    assert_eq!(soft, hard);
    let data_bytes: u64 = hard.parse().unwrap();
    assert!(data_bytes >= patient().memory_bytes.value && data_bytes < 1 << 30, "{data_bytes}");
    let seconds = |process| limit_of(process, "Max cpu time").0.parse::<u64>().unwrap();
    let process = lent.process_id();
    assert!(seconds(process) >= patient().total_ms.value / 1000);
    lent.give_back();
    assert!(seconds(process) < 60, "{} s while it waits", seconds(process));
    let lent = take(&workers, &package, "a");
    assert_eq!(lent.process_id(), process);
    assert!(seconds(process) >= patient().total_ms.value / 1000);
    converge("no new blank worker", || workers.stats().blank == 2);
    drop(lent);
}

#[test]
fn memory_is_lent_up_to_the_budget_and_those_who_wait_make_room() {
    let workers = workers(700 << 20);
    let package = echo();
    // Each counts with 256 MiB and what its engine takes.
    let (first, second) = (take(&workers, &package, "a"), take(&workers, &package, "b"));
    let failure = take_as(&workers, &package, "c", &patient(), &BTreeMap::new()).unwrap_err();
    assert!(matches!(&failure, Failure::Busy { why } if why.contains("memory")), "{failure}");
    assert!(!failure.is_fault_of_package());
    drop(second);
    let third = take(&workers, &package, "c");
    drop(third);
    first.give_back();
    assert_eq!(workers.stats().warm.len(), 1);
    let most = limits(PATIENT_MS, 668 << 20, 1000);
    let lent = take_as(&workers, &package, "d", &most, &BTreeMap::new()).unwrap();
    assert_eq!(workers.stats().warm.len(), 0, "it made room");
    drop(lent);
    let more = limits(PATIENT_MS, 669 << 20, 1000);
    let failure = take_as(&workers, &package, "d", &more, &BTreeMap::new()).unwrap_err();
    assert!(matches!(failure, Failure::Unsupported { .. }), "{failure}");
    assert_eq!(workers.stats().busy_bytes, 0);
}

#[test]
fn a_level_that_workers_do_not_have_is_refused() {
    let (workers, package) = (workers(1 << 30), echo());
    let take = |least| {
        workers.take(&Wanted {
            engine: None,
            id: id(&package),
            package: &package.files(),
            org: "a",
            limits: &patient(),
            config: &BTreeMap::new(),
            seed: 0,
            least,
        })
    };
    let here = spawner().isolation().unwrap().level();
    for level in Level::ALL {
        match take(level) {
            Ok(lent) => assert!(level <= here && lent.isolation().level() >= level),
            Err(failure) => {
                assert!(
                    level > here && matches!(failure, Failure::Unsupported { .. }),
                    "{failure}"
                );
            }
        }
    }
}

#[test]
fn nobody_is_left_when_the_workers_go() {
    let workers = workers(1 << 30);
    converge("no blank workers", || workers.stats().blank == 2);
    let package = echo();
    let process = use_once(&workers, &package, "a");
    let lent = take(&workers, &package, "b");
    let busy = lent.process_id();
    drop(workers);
    assert!(!Path::new(&format!("/proc/{process}")).exists());
    assert!(Path::new(&format!("/proc/{busy}")).exists());
    lent.give_back();
    assert!(!Path::new(&format!("/proc/{busy}")).exists());
}

#[test]
fn code_that_does_not_compile_costs_no_worker_and_no_memory() {
    let workers = workers(1 << 30);
    let broken = Package::command(b"\0asm\x01\0\0\0", any_bytes(), any_bytes());
    for _ in 0..3 {
        let failure = take_as(&workers, &broken, "a", &patient(), &BTreeMap::new()).unwrap_err();
        assert!(matches!(failure, Failure::InvalidModule { .. }), "{failure}");
    }
    let stats = workers.stats();
    assert_eq!((stats.busy, stats.busy_bytes, stats.cold + stats.from_blank), (0, 0, 0));
}
