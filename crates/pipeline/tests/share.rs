//! One node's share of a run: parts there and back, and receipts that are held against them.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up should panic")]

mod common;

use common::{package, secret};
use guildhall_pipeline::share::{
    CannotSend, Ending, PARTS_AHEAD_MAX, Phase, Spec, State, Violation,
};
use guildhall_protocol::contract::{Determinism, LimitSet, Limits, NodeLimits, Party};
use guildhall_protocol::limits::{JOB_ERROR_MAX_BYTES, VALUE_MAX_BYTES};
use guildhall_protocol::receipt::{EdgeHasher, JobStatement, Outcome, Receipt, Used};
use guildhall_protocol::statement::Signed;
use guildhall_protocol::wire::{
    JobFailure, PartEnd, PartRecords, PortValue, RecordEnd, RecordFrame, RecordResult, ResultsFrame,
};
use guildhall_protocol::{Hash, RunId, SecretKey};
use proptest::prelude::*;

const STAGES: [&str; 2] = ["prepare", "score"];

fn spec() -> Spec {
    Spec {
        run: RunId(Hash::of(b"run")),
        nonce: Hash::of(b"nonce"),
        requester: secret("requester").public(),
        executor: secret("executor").public(),
        packages: STAGES.map(package).to_vec(),
        limits: vec![LimitSet::default(); 2],
        asked: LimitSet::default(),
        outputs: vec!["v".to_owned()],
    }
}

fn limits() -> Limits {
    Limits::smallest(LimitSet::default(), NodeLimits::default(), LimitSet::default())
}

fn value(n: u64) -> Vec<PortValue> {
    vec![PortValue::new("v", n.to_le_bytes())]
}

fn record(index: u64) -> RecordFrame {
    RecordFrame { index, values: value(index) }
}

fn part(records: impl IntoIterator<Item = u64>) -> PartRecords {
    PartRecords::Values(records.into_iter().map(record).collect())
}

fn failure(stage: u32, record: u64, cause: &str) -> JobFailure {
    let detail = String::new();
    JobFailure { stage, record, cause: cause.into(), detail, stopped_after_ms: None }
}

fn came(index: u64) -> RecordResult {
    RecordResult { index, end: RecordEnd::Values(value(index + 100)) }
}

fn failed(index: u64) -> RecordResult {
    RecordResult { index, end: RecordEnd::Failed(failure(1, index, "trap")) }
}

fn results(part: u64, records: Vec<RecordResult>, is_over: bool) -> ResultsFrame {
    ResultsFrame { part, records, end: is_over.then(PartEnd::default) }
}

fn ready() -> State {
    let mut state = State::new(spec());
    state.handle_ready(vec![limits(); 2]).unwrap();
    state
}

fn commitment(records: impl IntoIterator<Item = (u64, Vec<PortValue>)>) -> Hash {
    let mut hasher = EdgeHasher::new(&Hash::of(b"nonce"));
    for (index, values) in records {
        hasher.record(index, &values);
    }
    hasher.commitment()
}

/// What an honest executor signs after these records went in, and these of them came out of the second stage.
fn statements(went_in: &[u64], came_out: &[u64]) -> Vec<JobStatement> {
    let count = |list: &[u64]| u64::try_from(list.len()).unwrap();
    let statement = |stage: u32, input, output, records| JobStatement {
        run: RunId(Hash::of(b"run")),
        stage,
        package: package(STAGES[usize::try_from(stage).unwrap()]),
        executor: secret("executor").public(),
        requester: secret("requester").public(),
        engine: "wasm 1".into(),
        determinism: Determinism::Bitwise,
        isolation: Vec::new(),
        limits: limits(),
        input,
        output,
        records,
        failed: 0,
        used: Used::default(),
        outcome: Outcome::Completed,
        number: u64::from(stage),
        before: None,
        time_ms: 0,
    };
    let between = Hash::of(b"between");
    let input = commitment(went_in.iter().map(|n| (*n, value(*n))));
    let output = commitment(came_out.iter().map(|n| (*n, value(*n + 100))));
    let last = statement(1, between, output, count(came_out));
    let failed = count(went_in) - count(came_out);
    vec![statement(0, input, between, count(went_in)), JobStatement { failed, ..last }]
}

fn sign(executor: &SecretKey, jobs: &[JobStatement]) -> Vec<Signed> {
    jobs.iter().map(|job| Signed::new(job, executor)).collect()
}

/// A share with the parts [3, 4, 5] and [9], of which record 4 failed.
fn scored() -> (State, Vec<JobStatement>) {
    let mut state = ready();
    assert_eq!(state.send(part([3, 4, 5])).unwrap().part, 0);
    assert_eq!(state.send(part([9])).unwrap().part, 1);
    state.handle_results(results(0, vec![came(3)], false)).unwrap();
    state.handle_results(results(0, vec![failed(4), came(5)], true)).unwrap();
    state.handle_results(results(1, vec![came(9)], true)).unwrap();
    (state, statements(&[3, 4, 5, 9], &[3, 5, 9]))
}

#[test]
fn an_honest_share_ends_with_a_receipt_that_others_can_verify() {
    let (mut state, jobs) = scored();
    let verified = state.handle_finished(&sign(&secret("executor"), &jobs)).unwrap();
    assert_eq!((verified.ending.clone(), state.phase()), (Ending::Completed, Phase::Ended));
    let run = Signed::new(&verified.run_statement(7), &secret("requester"));
    let jobs = sign(&secret("executor"), &jobs);
    let (_, signed_jobs) = Receipt { jobs, run }.verify().unwrap();
    assert_eq!(signed_jobs, verified.jobs);
    assert!(state.handle_finished(&[]).is_err(), "it ends once");
    assert!(state.send(part([10])).is_err());
}

#[test]
fn every_lie_in_a_receipt_is_found() {
    type Lie = fn(&mut Vec<JobStatement>);
    let lies: Vec<(&str, Lie)> = vec![
        ("run", |jobs| jobs.iter_mut().for_each(|job| job.run = RunId(Hash::of(b"other")))),
        ("package", |jobs| jobs[1].package = package("other")),
        ("requester", |jobs| jobs[0].requester = secret("other").public()),
        ("limit", |jobs| jobs[1].limits.memory_bytes.value += 1),
        ("input", |jobs| jobs[0].input = Hash::of(b"other")),
        ("output", |jobs| jobs[1].output = Hash::of(b"other")),
        ("number of records", |jobs| jobs[0].records = 2),
        ("number of records", |jobs| jobs[0].failed = 1),
        ("number of records", |jobs| jobs[1].records = 4),
        ("number of records", |jobs| jobs[1].failed = 0),
        ("length of text", |jobs| jobs[0].engine = "x".repeat(65)),
        ("length of text", |jobs| jobs[0].isolation = vec!["seccomp".into(); 17]),
        ("outcome", |jobs| {
            jobs[0].outcome = Outcome::Failed { cause: "timeout".into(), record: 1 };
        }),
    ];
    for (expected, lie) in lies {
        let (mut state, mut jobs) = scored();
        lie(&mut jobs);
        match state.handle_finished(&sign(&secret("executor"), &jobs)) {
            Err(Violation::Signed { what, .. }) => assert_eq!(what, expected),
            other => panic!("{expected}: {other:?}"),
        }
        assert_eq!(state.phase(), Phase::Ready, "a refused receipt ends nothing");
    }
}

#[test]
fn receipts_that_are_no_row_of_this_shares_stages_are_refused() {
    let refuse = |jobs: &[Signed]| scored().0.handle_finished(jobs).unwrap_err();
    let (_, honest) = scored();
    let signed = sign(&secret("executor"), &honest);
    assert_eq!(refuse(&signed[..1]), Violation::Stages { expected: 2, found: 1 });
    assert_eq!(refuse(&[]), Violation::Stages { expected: 2, found: 0 });
    let swapped = [signed[1].clone(), signed[0].clone()];
    assert!(matches!(refuse(&swapped), Violation::Receipt(_)));
    assert!(matches!(refuse(&sign(&secret("another"), &honest)), Violation::Receipt(_)));
    let mut by_another = honest;
    by_another.iter_mut().for_each(|job| job.executor = secret("another").public());
    let by_another = sign(&secret("another"), &by_another);
    assert_eq!(refuse(&by_another), Violation::Signed { stage: 0, what: "executor" });
}

#[test]
fn a_part_that_is_over_early_counts_as_far_as_it_came() {
    let mut state = ready();
    state.send(part([0, 1, 2])).unwrap();
    state.send(part([3])).unwrap();
    let early = Err(Violation::Incomplete { parts: 2 });
    let jobs = sign(&secret("executor"), &statements(&[], &[]));
    assert_eq!(state.handle_finished(&jobs).map(drop), early);
    state.handle_results(results(0, vec![came(0)], true)).unwrap();
    state.handle_results(results(1, vec![came(3)], true)).unwrap();
    let jobs = sign(&secret("executor"), &statements(&[0, 3], &[0, 3]));
    assert!(state.handle_finished(&jobs).is_ok());
}

#[test]
fn after_a_failure_only_the_parts_that_are_over_are_signed_for() {
    let mut state = ready();
    state.send(part([0, 1])).unwrap();
    state.send(part([2, 3])).unwrap();
    state.handle_results(results(0, vec![came(0), came(1)], true)).unwrap();
    state.handle_results(results(1, vec![came(2)], false)).unwrap();
    state.handle_failed(failure(1, 3, "total_timeout")).unwrap();
    let mut jobs = statements(&[0, 1], &[0, 1]);
    let silent = state.handle_finished(&sign(&secret("executor"), &jobs));
    assert_eq!(silent.map(drop), Err(Violation::Signed { stage: 1, what: "outcome" }));
    jobs[1].outcome = Outcome::Failed { cause: "total_timeout".into(), record: 3 };
    jobs[0].outcome = Outcome::Stopped;
    let verified = state.handle_finished(&sign(&secret("executor"), &jobs)).unwrap();
    assert_eq!(verified.ending, Ending::Elsewhere(failure(1, 3, "total_timeout")));
}

#[test]
fn frames_out_of_turn_are_violations() {
    let mut state = State::new(spec());
    let asked = Violation::Phase { phase: Phase::Asked };
    assert_eq!(state.handle_results(results(0, vec![], true)), Err(asked.clone()));
    assert_eq!(state.handle_finished(&[]), Err(asked));
    assert_eq!(state.send(part([0])), Err(CannotSend::NotNow { phase: Phase::Asked }));
    let wrong = state.handle_ready(vec![limits()]);
    assert_eq!(wrong, Err(Violation::Stages { expected: 2, found: 1 }));
    state.handle_ready(vec![limits(); 2]).unwrap();
    assert!(matches!(state.handle_ready(Vec::new()), Err(Violation::Phase { .. })));

    for bad in [part([]), part([1, 1]), part([2, 1])] {
        assert_eq!(state.send(bad), Err(CannotSend::Records));
    }
    state.send(part([4, 7])).unwrap();
    state.send(part([8])).unwrap();
    let next = state.handle_results(results(1, vec![came(8)], true));
    assert_eq!(next, Err(Violation::Part { part: 1 }));
    let skipped = state.handle_results(results(0, vec![came(7)], false));
    assert_eq!(skipped, Err(Violation::OutOfOrder { expected: Some(4), index: 7 }));
    let long = vec![PortValue::new("v", vec![0; VALUE_MAX_BYTES + 1])];
    let long = RecordResult { index: 4, end: RecordEnd::Values(long) };
    let long = state.handle_results(results(0, vec![long], false));
    assert!(matches!(long, Err(Violation::TooLong { index: 4, .. })), "{long:?}");
    let nothing = state.handle_results(results(0, vec![], false));
    assert_eq!(nothing, Err(Violation::Nothing { part: 0 }));
    let nowhere = RecordResult { index: 4, end: RecordEnd::Failed(failure(2, 4, "trap")) };
    let nowhere = state.handle_results(results(0, vec![nowhere], false));
    assert_eq!(nowhere, Err(Violation::NoSuchStage { stage: 2 }));
    state.handle_results(results(0, vec![came(4), came(7)], false)).unwrap();
    let more = state.handle_results(results(0, vec![came(8)], false));
    assert_eq!(more, Err(Violation::OutOfOrder { expected: None, index: 8 }));
}

#[test]
fn parts_on_their_way_are_bounded() {
    let mut state = ready();
    for n in 0..PARTS_AHEAD_MAX {
        state.send(part([u64::try_from(n).unwrap()])).unwrap();
    }
    assert_eq!(state.parts_ahead(), PARTS_AHEAD_MAX);
    assert_eq!(state.send(part([99])), Err(CannotSend::NotNow { phase: Phase::Ready }));
}

#[test]
fn what_an_executor_says_is_kept_within_bounds() {
    let mut state = ready();
    state.send(part([0])).unwrap();
    let long = JobFailure {
        cause: "x".repeat(1000),
        detail: "é".repeat(JOB_ERROR_MAX_BYTES),
        record: 77,
        ..failure(0, 0, "")
    };
    let result = RecordResult { index: 0, end: RecordEnd::Failed(long) };
    let (found, _) = state.handle_results(results(0, vec![result], true)).unwrap();
    let RecordEnd::Failed(found) = &found[0].end else { panic!("{found:?}") };
    assert_eq!((found.cause.len(), found.record), (64, 0));
    assert!(found.detail.len() <= JOB_ERROR_MAX_BYTES);
    assert!(found.detail.capacity() <= JOB_ERROR_MAX_BYTES, "the rest is given back");
}

#[test]
fn values_are_those_of_the_output_ports_within_the_limit_that_was_quoted() {
    let tight = NodeLimits { output_bytes: 8, ..NodeLimits::default() };
    let quoted = Limits::smallest(LimitSet::default(), tight, LimitSet::default());
    let taken = |values: Vec<PortValue>| {
        let mut state = State::new(spec());
        state.handle_ready(vec![limits(), quoted]).unwrap();
        state.send(part([0])).unwrap();
        let result = RecordResult { index: 0, end: RecordEnd::Values(values) };
        state.handle_results(results(0, vec![result], true)).map(drop)
    };
    let named = |port: &str, len| PortValue::new(port, vec![0; len]);
    assert_eq!(taken(vec![named("v", 8)]), Ok(()));
    let long = Violation::TooLong { index: 0, len_bytes: 9, max_bytes: 8 };
    assert_eq!(taken(vec![named("v", 9)]), Err(long));
    let ports = Err(Violation::Ports { index: 0 });
    assert_eq!(taken(vec![]), ports);
    assert_eq!(taken(vec![named("w", 1)]), ports);
    assert_eq!(taken(vec![named("v", 1), named("v", 1)]), ports);
    let flat = PortValue { dims: Some(vec![1; 17]), ..named("v", 1) };
    assert_eq!(taken(vec![flat]), ports);
}

/// Producer 50 ms, 1 MiB and 16 records in a call, requester 40 ms, 400 ms in all and 5 s of waiting.
fn bounded() -> Spec {
    let producer = LimitSet {
        scoring_ms: Some(50),
        memory_bytes: Some(1 << 20),
        batch_max: Some(16),
        ..LimitSet::default()
    };
    let asked = LimitSet {
        scoring_ms: Some(40),
        total_ms: Some(400),
        queue_ms: Some(5_000),
        ..LimitSet::default()
    };
    Spec { limits: vec![producer; 2], asked, ..spec() }
}

/// A node that allows next to nothing.
const TIGHT: NodeLimits = NodeLimits {
    scoring_ms: 1,
    total_ms: 1,
    memory_bytes: 1,
    output_bytes: 1,
    batch_max: 1,
    queue_ms: 1,
};

fn quoted(node: NodeLimits) -> Limits {
    let spec = bounded();
    Limits::smallest(spec.limits[0], node, spec.asked)
}

#[test]
fn quoted_limits_are_never_looser_than_agreed_and_name_the_right_party() {
    type Change = fn(&mut Limits);
    for honest in [NodeLimits::default(), TIGHT] {
        assert_eq!(State::new(bounded()).handle_ready(vec![quoted(honest); 2]), Ok(()));
    }
    let lies: [(&str, Change); 8] = [
        ("records in one call", |limits| limits.batch_max.value = 17),
        ("time to wait for a slot", |limits| limits.queue_ms.set_by = Party::Producer),
        ("time for one record", |limits| limits.scoring_ms.value = 41),
        ("time for one record", |limits| limits.scoring_ms.set_by = Party::Producer),
        ("time for the whole job", |limits| limits.total_ms.value = 401),
        ("time for the whole job", |limits| limits.total_ms.set_by = Party::Producer),
        ("memory", |limits| limits.memory_bytes.value = 2 << 20),
        ("output for one record", |limits| limits.output_bytes.set_by = Party::Requester),
    ];
    for (expected, lie) in lies {
        let mut limits = quoted(NodeLimits::default());
        lie(&mut limits);
        let error = State::new(bounded()).handle_ready(vec![limits; 2]).unwrap_err();
        match error {
            Violation::Limit { what, stage: 0, .. } => assert_eq!(what, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn the_executors_own_trouble_is_told_from_anybody_elses() {
    let node = NodeLimits::default();
    // As tight as the requester's own wish: another node would stop it as well.
    let tie = NodeLimits { scoring_ms: 40, total_ms: 400, ..node };
    let cases = [
        ("worker_died", node, true),
        ("internal", node, true),
        ("compile_timeout", node, true),
        ("timeout", TIGHT, true),
        ("timeout", node, false),
        ("timeout", tie, false),
        ("total_timeout", TIGHT, true),
        ("total_timeout", tie, false),
        ("memory", TIGHT, true),
        ("memory", node, false),
        ("output_limit", TIGHT, true),
        ("trap", TIGHT, false),
        ("bad_input", TIGHT, false),
        ("whatever", TIGHT, false),
    ];
    for (cause, policy, is_executors) in cases {
        let mut state = State::new(bounded());
        state.handle_ready(vec![quoted(policy); 2]).unwrap();
        assert_eq!(state.is_executors(&failure(1, 1, cause)), is_executors, "{cause} {policy:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever parts go and however they come back: a receipt over exactly what is over is taken, any other is not.
    #[test]
    fn only_a_receipt_over_what_is_over_is_taken(
        parts in prop::collection::vec((1..4_u64, 0..4_usize, any::<u8>()), 0..6),
        lie in any::<bool>(),
    ) {
        let mut state = ready();
        let (mut next, mut went_in, mut came_out) = (0, Vec::new(), Vec::new());
        for (number, (count, reached, failing)) in (0..).zip(parts) {
            let records: Vec<u64> = (next..next + count).collect();
            next += count + 1;
            state.send(part(records.iter().copied())).unwrap();
            let reached = &records[..reached.min(records.len())];
            let fails = |n: &u64| failing >> (n % 8) & 1 == 1;
            let ends = reached.iter().map(|n| if fails(n) { failed(*n) } else { came(*n) });
            state.handle_results(results(number, ends.collect(), true)).unwrap();
            went_in.extend_from_slice(reached);
            came_out.extend(reached.iter().copied().filter(|n| !fails(n)));
        }
        let mut jobs = statements(&went_in, &came_out);
        if lie {
            jobs[1].output = commitment([(999, value(999))]);
        }
        let ended = state.handle_finished(&sign(&secret("executor"), &jobs));
        prop_assert_eq!(ended.is_ok(), !lie, "{:?}", ended);
    }
}
