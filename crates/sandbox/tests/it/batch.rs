//! Several records in one call: each has its own end, one deadline for all.

use guildhall_protocol::wire::PortValue;
use guildhall_sandbox::{CallLimits, Failure};

use crate::package::{PATIENT_MS, Package, any_bytes, model, patient, record};

const LIMITS: CallLimits = CallLimits { scoring_ms: PATIENT_MS, output_bytes: 2 << 20, seed: 7 };

/// Loops for ever at `L`, leaves with code 3 at `X`, says two mebibytes at `B`, and repeats anything else.
fn moody() -> Package {
    Package::text(
        r#"(module
        (import "wasi_snapshot_preview1" "fd_read"
            (func $read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 40)
        (func (export "_start") (local $first i32)
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 1))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (local.set $first (i32.load8_u (i32.const 64)))
            (if (i32.eq (local.get $first) (i32.const 76)) (then (loop (br 0))))
            (if (i32.eq (local.get $first) (i32.const 88)) (then (call $exit (i32.const 3))))
            (if (i32.eq (local.get $first) (i32.const 66))
                (then (i32.store (i32.const 4) (i32.const 2097152))))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
    )
}

fn records(letters: &str) -> Vec<Vec<PortValue>> {
    letters.bytes().map(|letter| record(&[letter])).collect()
}

/// Each end in one letter: what came out first, or what went wrong.
fn ends(found: &[Result<Vec<PortValue>, Failure>]) -> String {
    let letter = |end: &Result<Vec<PortValue>, Failure>| match end {
        Ok(values) => char::from(values[0].bytes[0]),
        Err(Failure::Exited { code: 3, .. }) => '3',
        Err(Failure::Timeout { .. }) => 'T',
        Err(Failure::BadInput { .. }) => '?',
        Err(other) => panic!("{other:?}"),
    };
    found.iter().map(letter).collect()
}

#[test]
fn a_record_that_fails_does_not_touch_the_others() {
    let mut worker = moody().start(&patient()).unwrap();
    let found = worker.score_all(records("aXbXc"), &LIMITS).unwrap();
    assert_eq!(ends(&found.records), "a3b3c");
    let mut wrong = records("ab");
    wrong.insert(1, vec![]);
    let found = worker.score_all(wrong, &LIMITS).unwrap();
    assert_eq!(ends(&found.records), "a?b");
}

#[test]
fn a_record_that_gives_up_is_not_said_to_have_wanted_memory() {
    // The module has 2.5 MiB; its worker takes more than 3 MiB.
    let mut limits = patient();
    limits.memory_bytes.value = 3 << 20;
    let mut worker = moody().start(&limits).unwrap();
    assert_eq!(ends(&worker.score_all(records("X"), &LIMITS).unwrap().records), "3");
    assert_eq!(ends(&worker.score_all(records("XX"), &LIMITS).unwrap().records), "33");
    assert_eq!(ends(&worker.score_all(records("a"), &LIMITS).unwrap().records), "a");
}

#[test]
fn when_the_time_is_over_what_is_done_counts_and_the_rest_is_not_touched() {
    let mut worker = moody().start(&patient()).unwrap();
    let quick = CallLimits { scoring_ms: 2_000, ..LIMITS };
    let found = worker.score_all(records("abLcd"), &quick).unwrap();
    assert_eq!(ends(&found.records), "abT");
    assert!(!worker.is_alive(), "nothing of it runs any more");
}

#[test]
fn an_answer_takes_as_many_records_as_fit_and_at_least_one() {
    let mut worker = moody().start(&patient()).unwrap();
    let found = worker.score_all(records("BBBa"), &LIMITS).unwrap();
    assert_eq!(ends(&found.records), "B");
    let found = worker.score_all(records("aBa"), &LIMITS).unwrap();
    assert_eq!(ends(&found.records), "aBa");
    let found = worker.score_all(records("B"), &CallLimits { output_bytes: 1 << 20, ..LIMITS });
    let found = found.unwrap();
    assert_eq!(found.records, [Err(Failure::OutputLimit { limit_bytes: 1 << 20 })]);
}

#[test]
fn a_graph_scores_records_as_it_scores_each_of_them() {
    let mut worker = model().start(&patient()).unwrap();
    let picture = |seed: u8| -> Vec<u8> {
        (0..64_u8).flat_map(|at| f32::from((at ^ seed) % 17).to_le_bytes()).collect()
    };
    let all: Vec<_> = (0..9).map(|seed| record(&picture(seed))).collect();
    let together = worker.score_all(all.clone(), &LIMITS).unwrap();
    let one_by_one: Vec<_> =
        all.into_iter().map(|one| Ok(worker.score(one).unwrap().outputs)).collect();
    assert_eq!(together.records, one_by_one);
}

#[test]
fn a_worker_takes_no_more_than_a_frame_and_says_so() {
    let echo = moody();
    assert_eq!(echo.manifest.interface.inputs[0].port_type, any_bytes());
    let mut worker = echo.start(&patient()).unwrap();
    let too_much = vec![record(&vec![b'a'; 3 << 20]); 2];
    let failure = worker.score_all(too_much, &LIMITS).unwrap_err();
    assert!(matches!(failure, Failure::BadInput { .. }), "{failure}");
    assert!(worker.is_alive());
}
