//! A run's state: records exactly once and in order, over several attempts, and receipts that are held against them.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up should panic")]

mod common;

use common::{package, secret};
use guildhall_pipeline::run::{
    ATTEMPTS_MAX, Accepted, CannotStart, Ending, InputError, Phase, Spec, State, Violation,
};
use guildhall_protocol::contract::{LimitSet, Limits, NodeLimits, Party};
use guildhall_protocol::limits::{JOB_ERROR_MAX_BYTES, VALUE_MAX_BYTES};
use guildhall_protocol::receipt::{EdgeHasher, JobStatement, Outcome, Receipt, Used};
use guildhall_protocol::statement::Signed;
use guildhall_protocol::wire::JobFailure;
use guildhall_protocol::{Hash, RunId, SecretKey};
use proptest::prelude::*;

const STAGES: [&str; 2] = ["prepare", "score"];

fn spec(records: Option<u64>, streamed: bool) -> Spec {
    Spec {
        run: RunId(Hash::of(b"run")),
        nonce: Hash::of(b"nonce"),
        requester: secret("requester").public(),
        packages: STAGES.map(package).to_vec(),
        limits: vec![LimitSet::default(); 2],
        asked: LimitSet::default(),
        records,
        streamed,
    }
}

fn limits() -> Limits {
    Limits::smallest(LimitSet::default(), NodeLimits::default(), LimitSet::default())
}

fn commitment<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Hash {
    let mut hasher = EdgeHasher::new(&Hash::of(b"nonce"));
    for (index, record) in records.into_iter().enumerate() {
        hasher.record(u64::try_from(index).unwrap(), record);
    }
    hasher.commitment()
}

/// What an honest executor signs after it took `input` in and gave `output` out.
fn statements(executor: &SecretKey, input: &[Vec<u8>], output: &[Vec<u8>]) -> Vec<JobStatement> {
    let edge = |records: &[Vec<u8>]| commitment(records.iter().map(Vec::as_slice));
    let statement = |stage: u32, input, output_hash| JobStatement {
        run: RunId(Hash::of(b"run")),
        stage,
        package: package(STAGES[usize::try_from(stage).unwrap()]),
        executor: executor.public(),
        requester: secret("requester").public(),
        engine: "wasm 1".into(),
        isolation: Vec::new(),
        limits: limits(),
        input,
        output: output_hash,
        records: u64::try_from(output.len()).unwrap(),
        used: Used::default(),
        outcome: Outcome::Completed,
        time_ms: 0,
    };
    let between = Hash::of(b"between");
    vec![statement(0, edge(input), between), statement(1, between, edge(output))]
}

fn sign(executor: &SecretKey, jobs: &[JobStatement]) -> Vec<Signed> {
    jobs.iter().map(|job| Signed::new(job, executor)).collect()
}

fn values(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|n| vec![n; usize::from(n)]).collect()
}

fn index(n: usize) -> u64 {
    u64::try_from(n).unwrap()
}

/// A state with everything sent and `output` received from `executor`.
fn received(executor: &SecretKey, output: &[Vec<u8>]) -> State {
    let mut state = State::new(spec(None, true));
    for (n, value) in values(3).iter().enumerate() {
        state.handle_input(index(n), value).unwrap();
    }
    state.handle_input_end();
    attempt(&mut state, executor, output);
    state
}

fn attempt(state: &mut State, executor: &SecretKey, output: &[Vec<u8>]) {
    state.start_attempt(executor.public()).unwrap();
    state.handle_ready(vec![limits(); 2]).unwrap();
    for (n, value) in output.iter().enumerate() {
        state.handle_record(index(n), value).unwrap();
    }
}

#[test]
fn an_honest_run_ends_with_a_receipt_that_others_can_verify() {
    let (executor, output) = (secret("executor"), values(3));
    let mut state = received(&executor, &output);
    let jobs = sign(&executor, &statements(&executor, &values(3), &output));
    let verified = state.handle_finished(&jobs).unwrap();
    assert_eq!(verified.ending, Ending::Completed);
    assert_eq!((state.phase(), state.delivered()), (Phase::Ended, 3));

    let run = Signed::new(&verified.run_statement(7), &secret("requester"));
    let (_, signed_jobs) = Receipt { jobs, run }.verify().unwrap();
    assert_eq!(signed_jobs, verified.jobs);
    assert!(state.handle_finished(&[]).is_err(), "it ends once");
    assert!(state.handle_record(3, b"").is_err());
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
        ("number of records", |jobs| jobs[1].records = 4),
        ("length of text", |jobs| jobs[0].engine = "x".repeat(65)),
        ("length of text", |jobs| jobs[0].isolation = vec!["seccomp".into(); 17]),
        ("outcome", |jobs| {
            jobs[0].outcome = Outcome::Failed { cause: "timeout".into(), record: 1 };
        }),
    ];
    let (executor, output) = (secret("executor"), values(3));
    for (expected, lie) in lies {
        let mut state = received(&executor, &output);
        let mut jobs = statements(&executor, &values(3), &output);
        lie(&mut jobs);
        match state.handle_finished(&sign(&executor, &jobs)) {
            Err(Violation::Signed { what, .. }) => assert_eq!(what, expected),
            other => panic!("{expected}: {other:?}"),
        }
        assert_eq!(state.phase(), Phase::Ready, "a refused receipt ends nothing");
    }
}

#[test]
fn receipts_that_are_no_row_of_this_runs_stages_are_refused() {
    let (executor, output) = (secret("executor"), values(3));
    let honest = statements(&executor, &values(3), &output);
    let refuse = |jobs: &[Signed]| received(&executor, &output).handle_finished(jobs).unwrap_err();
    let signed = sign(&executor, &honest);
    assert_eq!(refuse(&signed[..1]), Violation::Stages { expected: 2, found: 1 });
    assert_eq!(refuse(&[]), Violation::Stages { expected: 2, found: 0 });
    let swapped = [signed[1].clone(), signed[0].clone()];
    assert!(matches!(refuse(&swapped), Violation::Receipt(_)));
    let forged = sign(&secret("another"), &honest);
    assert!(matches!(refuse(&forged), Violation::Receipt(_)));
    let another = secret("another");
    let by_another = sign(&another, &statements(&another, &values(3), &output));
    assert_eq!(refuse(&by_another), Violation::Signed { stage: 0, what: "executor" });

    let fewer = &values(3)[..2];
    let mut state = received(&executor, fewer);
    let jobs = sign(&executor, &statements(&executor, &values(3), fewer));
    let error = state.handle_finished(&jobs).unwrap_err();
    assert_eq!(error, Violation::Incomplete { received: 2, expected: 3 });
}

#[test]
fn frames_out_of_turn_and_too_many_records_are_violations() {
    let executor = secret("executor");
    let mut state = State::new(spec(Some(2), false));
    assert!(matches!(state.handle_record(0, b"x"), Err(Violation::Phase { phase: Phase::Idle })));
    state.start_attempt(executor.public()).unwrap();
    let again = state.start_attempt(executor.public());
    assert_eq!(again, Err(CannotStart::Phase { phase: Phase::Asked }));
    assert!(matches!(state.handle_record(0, b"x"), Err(Violation::Phase { .. })));
    assert!(matches!(state.handle_finished(&[]), Err(Violation::Phase { .. })));
    let wrong = state.handle_ready(vec![limits()]);
    assert_eq!(wrong, Err(Violation::Stages { expected: 2, found: 1 }));
    state.handle_ready(vec![limits(); 2]).unwrap();
    assert!(matches!(state.handle_ready(Vec::new()), Err(Violation::Phase { .. })));

    let skipped = state.handle_record(1, b"x");
    assert_eq!(skipped, Err(Violation::OutOfOrder { expected: 0, index: 1 }));
    let long = vec![0; VALUE_MAX_BYTES + 1];
    assert!(matches!(state.handle_record(0, &long), Err(Violation::TooLong { .. })));
    assert_eq!(state.handle_record(0, b"x"), Ok(Accepted::Deliver));
    assert_eq!(state.handle_record(0, b"x"), Ok(Accepted::Duplicate));
    assert_eq!(state.handle_record(1, b"y"), Ok(Accepted::Deliver));
    assert_eq!(state.handle_record(2, b"z"), Err(Violation::TooMany { expected: 2 }));
}

#[test]
fn nothing_comes_out_that_was_not_sent_in() {
    let mut state = State::new(spec(None, true));
    state.handle_input(0, b"a").unwrap();
    attempt(&mut state, &secret("executor"), &[vec![1]]);
    assert_eq!(state.handle_record(1, b"y"), Err(Violation::TooMany { expected: 1 }));
    let gap = state.handle_input(2, b"c");
    assert_eq!(gap, Err(InputError::OutOfOrder { expected: 1, index: 2 }));
    state.handle_input(1, b"b").unwrap();
    assert_eq!(state.handle_record(1, b"y"), Ok(Accepted::Deliver));
    state.handle_input_end();
    assert!(state.handle_input(2, b"c").is_err());
    assert!(state.handle_input(0, b"a").is_ok(), "sent again for a later attempt");
    assert_eq!(state.records(), Some(2));
}

#[test]
fn a_failure_is_kept_within_bounds_and_its_receipt_must_say_so() {
    let (executor, output) = (secret("executor"), values(1));
    let failure = |cause: &str| JobFailure {
        stage: 1,
        record: 1,
        cause: cause.into(),
        detail: "é".repeat(JOB_ERROR_MAX_BYTES),
        stopped_after_ms: Some(51),
    };
    let failed = |claimed: &str, signed: Outcome| {
        let mut state = received(&executor, &output);
        state.handle_failed(failure(claimed)).unwrap();
        assert!(state.handle_record(1, b"").is_err(), "nothing follows a failure");
        let mut jobs = statements(&executor, &values(2), &output);
        jobs[1].outcome = signed;
        state.handle_finished(&sign(&executor, &jobs))
    };
    let timeout = Outcome::Failed { cause: "timeout".into(), record: 1 };
    match failed("timeout", timeout.clone()).unwrap().ending {
        Ending::Elsewhere(failure) => {
            assert_eq!((failure.cause.as_str(), failure.stopped_after_ms), ("timeout", Some(51)));
            assert!(failure.detail.len() <= JOB_ERROR_MAX_BYTES);
        }
        ending => panic!("{ending:?}"),
    }
    for signed in [
        Outcome::Completed,
        Outcome::Failed { cause: "timeout".into(), record: 0 },
        Outcome::Failed { cause: "trap".into(), record: 1 },
    ] {
        let error = failed("timeout", signed).unwrap_err();
        assert_eq!(error, Violation::Signed { stage: 1, what: "outcome" });
    }
    let endless = "x".repeat(10_000);
    let error =
        failed(&endless, Outcome::Failed { cause: endless.clone(), record: 1 }).unwrap_err();
    assert_eq!(error, Violation::Signed { stage: 1, what: "length of text" });
    let kept = &endless[..64];
    assert!(failed(&endless, Outcome::Failed { cause: kept.to_owned(), record: 1 }).is_ok());
    let mut state = received(&executor, &output);
    let nowhere = state.handle_failed(JobFailure { stage: 2, ..failure("trap") });
    assert_eq!(nowhere, Err(Violation::NoSuchStage { stage: 2 }));
}

#[test]
fn a_later_attempt_delivers_the_rest_and_must_agree_with_what_was_delivered() {
    let (first, second, output) = (secret("first"), secret("second"), values(3));
    let mut other = output.clone();
    other[0] = b"something else".to_vec();
    for (later, agrees) in [(&output, true), (&other, false)] {
        let mut state = received(&first, &output[..2]);
        assert_eq!(state.delivered(), 2);
        state.give_up();
        assert_eq!((state.phase(), state.executor()), (Phase::Idle, None));
        state.start_attempt(second.public()).unwrap();
        state.handle_ready(vec![limits(); 2]).unwrap();
        let accepted: Vec<_> = later
            .iter()
            .enumerate()
            .map(|(n, value)| state.handle_record(index(n), value).unwrap())
            .collect();
        let expected = [Accepted::Duplicate, Accepted::Duplicate, Accepted::Deliver];
        assert_eq!(accepted, expected);
        let jobs = sign(&second, &statements(&second, &values(3), later));
        let found = state.handle_finished(&jobs).map(|verified| verified.ending);
        assert_eq!(found, if agrees { Ok(Ending::Completed) } else { Err(Violation::Differs) });
    }
}

/// A run of two stages whose producers allow 50 ms and 1 MiB, asked for with at most 40 ms a record and 400 ms in all.
fn bounded() -> Spec {
    let producer =
        LimitSet { scoring_ms: Some(50), memory_bytes: Some(1 << 20), ..LimitSet::default() };
    let asked = LimitSet { scoring_ms: Some(40), total_ms: Some(400), ..LimitSet::default() };
    Spec { limits: vec![producer; 2], asked, ..spec(Some(3), false) }
}

/// What a node with this policy quotes.
fn quoted(node: NodeLimits) -> Limits {
    let spec = bounded();
    Limits::smallest(spec.limits[0], node, spec.asked)
}

#[test]
fn quoted_limits_are_never_looser_than_agreed_and_name_the_right_party() {
    let ready = |limits: Limits| {
        let mut state = State::new(bounded());
        state.start_attempt(secret("executor").public()).unwrap();
        state.handle_ready(vec![quoted(NodeLimits::default()), limits])
    };
    let node = NodeLimits::default();
    let honest = [
        node,
        NodeLimits { scoring_ms: 40, total_ms: 400, memory_bytes: 1 << 20, ..node },
        NodeLimits { scoring_ms: 1, total_ms: 1, memory_bytes: 1, output_bytes: 1 },
        NodeLimits { total_ms: u64::MAX, output_bytes: u64::MAX, ..node },
    ];
    for policy in honest {
        assert_eq!(ready(quoted(policy)), Ok(()), "{policy:?}");
    }
    type Lie = fn(&mut Limits);
    let lies: Vec<(&str, Lie)> = vec![
        ("time for one record", |limits| limits.scoring_ms.value = 41),
        ("time for one record", |limits| limits.scoring_ms.set_by = Party::Producer),
        ("time for the whole job", |limits| limits.total_ms.value = 401),
        ("time for the whole job", |limits| limits.total_ms.value = 399),
        ("memory", |limits| limits.memory_bytes.value += 1),
        ("memory", |limits| limits.memory_bytes.set_by = Party::Node),
        ("output for one record", |limits| limits.output_bytes.set_by = Party::Requester),
    ];
    for (expected, lie) in lies {
        let mut limits = quoted(node);
        lie(&mut limits);
        match ready(limits) {
            Err(Violation::Limit { stage: 1, what, .. }) => assert_eq!(what, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn the_executors_own_trouble_leaves_the_run_open_and_anybody_elses_ends_it() {
    let node = NodeLimits::default();
    let tight = NodeLimits { scoring_ms: 1, total_ms: 1, memory_bytes: 1, output_bytes: 1 };
    // As tight as the requester's own wish: another node would stop it as well.
    let tie = NodeLimits { scoring_ms: 40, total_ms: 400, ..node };
    let cases = [
        ("worker_died", node, true),
        ("internal", node, true),
        ("compile_timeout", node, true),
        ("timeout", tight, true),
        ("timeout", node, false),
        ("timeout", tie, false),
        ("total_timeout", tight, true),
        ("total_timeout", tie, false),
        ("memory", tight, true),
        ("memory", node, false),
        ("output_limit", tight, true),
        ("trap", tight, false),
        ("bad_input", tight, false),
        ("whatever", tight, false),
    ];
    let (executor, output) = (secret("executor"), values(1));
    for (cause, policy, goes_on) in cases {
        let mut state = State::new(bounded());
        state.start_attempt(executor.public()).unwrap();
        state.handle_ready(vec![quoted(policy); 2]).unwrap();
        state.handle_record(0, &output[0]).unwrap();
        let failure = JobFailure {
            stage: 1,
            record: 1,
            cause: cause.into(),
            detail: String::new(),
            stopped_after_ms: None,
        };
        state.handle_failed(failure.clone()).unwrap();
        let mut jobs = statements(&executor, &values(2), &output);
        jobs.iter_mut().for_each(|job| job.limits = quoted(policy));
        jobs[1].outcome = Outcome::Failed { cause: cause.into(), record: 1 };
        let verified = state.handle_finished(&sign(&executor, &jobs)).unwrap();
        let (ending, phase) = match goes_on {
            true => (Ending::Elsewhere(failure), Phase::Idle),
            false => (Ending::Failed(failure), Phase::Ended),
        };
        assert_eq!((verified.ending, state.phase()), (ending, phase), "{cause} under {policy:?}");
        assert_eq!(state.delivered(), 1, "what was delivered stays delivered");
        assert_eq!(state.start_attempt(secret("next").public()).is_ok(), goes_on);
    }
}

#[test]
fn attempts_are_bounded() {
    let mut state = State::new(spec(Some(1), false));
    for _ in 0..ATTEMPTS_MAX {
        state.start_attempt(secret("executor").public()).unwrap();
        state.give_up();
    }
    let more = state.start_attempt(secret("executor").public());
    assert_eq!(more, Err(CannotStart::Attempts));
}

#[derive(Clone, Debug)]
enum Command {
    Start,
    Ready,
    Input(u64),
    InputEnd,
    Record(u64),
    Fail,
    GiveUp,
    Finish { honest: bool },
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        3 => Just(Command::Start),
        4 => Just(Command::Ready),
        6 => (0..6_u64).prop_map(Command::Input),
        1 => Just(Command::InputEnd),
        12 => (0..6_u64).prop_map(Command::Record),
        1 => Just(Command::Fail),
        1 => Just(Command::GiveUp),
        2 => any::<bool>().prop_map(|honest| Command::Finish { honest }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever comes in whatever order: each record is delivered once, in order, and never before it was sent; and
    /// only a receipt for exactly what was delivered ends the run.
    #[test]
    fn records_are_delivered_once_and_in_order(
        commands in prop::collection::vec(command(), 1..150),
    ) {
        let executor = secret("executor");
        let mut state = State::new(spec(None, true));
        let (mut sent, mut delivered): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
        let (mut ended, mut input_ended, mut failed) = (false, false, false);
        let mut in_attempt = 0_usize;
        let value = |n: u64| n.to_le_bytes().to_vec();
        for command in commands {
            match command {
                Command::Start => {
                    if state.start_attempt(executor.public()).is_ok() {
                        (in_attempt, failed) = (0, false);
                    }
                }
                Command::Ready => {
                    let _ = state.handle_ready(vec![limits(); 2]);
                }
                Command::Input(n) => {
                    let is_new = n == index(sent.len());
                    let taken = state.handle_input(n, &value(n)).is_ok();
                    prop_assert_eq!(taken, n < index(sent.len()) || (is_new && !input_ended));
                    if taken && is_new {
                        sent.push(value(n));
                    }
                }
                Command::InputEnd => {
                    state.handle_input_end();
                    input_ended = true;
                }
                Command::Record(n) => match state.handle_record(n, &value(n)) {
                    Ok(accepted) => {
                        prop_assert!(n < index(sent.len()), "came out before it went in");
                        prop_assert!(n <= index(in_attempt));
                        in_attempt = in_attempt.max(usize::try_from(n).unwrap() + 1);
                        if accepted == Accepted::Deliver {
                            prop_assert_eq!(n, index(delivered.len()), "in order, exactly once");
                            delivered.push(value(n));
                        } else {
                            prop_assert!(n < index(delivered.len()));
                        }
                    }
                    Err(_) => prop_assert!(
                        state.phase() != Phase::Ready
                            || n > index(in_attempt)
                            || n >= index(sent.len())
                    ),
                },
                Command::Fail => {
                    let failure = JobFailure {
                        stage: 1,
                        record: 0,
                        cause: "trap".into(),
                        detail: String::new(),
                        stopped_after_ms: None,
                    };
                    failed |= state.handle_failed(failure).is_ok();
                }
                Command::GiveUp => {
                    state.give_up();
                }
                Command::Finish { honest } => {
                    let output = &delivered[..in_attempt.min(delivered.len())];
                    let mut jobs = statements(&executor, &sent, output);
                    if failed {
                        jobs[1].outcome = Outcome::Failed { cause: "trap".into(), record: 0 };
                    }
                    if !honest {
                        jobs[1].output = Hash::of(b"a lie");
                    }
                    let phase = state.phase();
                    let found = state.handle_finished(&sign(&executor, &jobs));
                    let whole = input_ended && in_attempt == sent.len();
                    let may = honest
                        && match phase {
                            Phase::Ready => whole,
                            Phase::Failed => true,
                            _ => false,
                        };
                    prop_assert_eq!(found.is_ok(), may, "{:?} {:?}", phase, found);
                    ended |= found.is_ok();
                }
            }
            prop_assert_eq!(state.delivered(), index(delivered.len()));
            prop_assert_eq!(state.phase() == Phase::Ended, ended, "ended stays ended");
            prop_assert!(state.attempts() <= ATTEMPTS_MAX);
        }
    }
}
