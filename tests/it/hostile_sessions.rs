//! Sessions whose other end takes its time: what is asked while one signs, and requests when there are as many as there
//! may be.

use data_encoding::BASE64;
use guildhall_testkit::hostile::{Hostile, Work};
use guildhall_testkit::protocol::api::{InferAnswer, InferRequest, RunRequest, RunState};
use guildhall_testkit::protocol::contract::LimitSet;
use guildhall_testkit::{
    NotYet, PATIENCE, Package, converge, publish_ok, records, request, stage, start, waits,
};
use serde_json::json;

use crate::hostile_executors::{BATCH_MAX, hostile, hostile_within, two};
use crate::lab;

/// Sessions of a node that there may be.
const SESSIONS_MAX: usize = 64;

/// A request for one record, to be scored there.
fn one(on: &str) -> InferRequest {
    let record = json!({ "base64": BASE64.encode(b"a record") });
    let on = on.parse().expect("a place");
    InferRequest { inputs: Some(record), on, ..InferRequest::default() }
}

/// ```text
///   lab-a (publishes, asks) ──▶ lab-x (one slot, signs when it is let go)
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_and_a_slot_are_waited_for_while_a_session_signs_because_nobody_asks() {
    let lab = lab();
    let (a, x) = two(&lab).await;
    let slow = hostile(&a, &x, 1, Work::SignsLate).await;
    let reference = "lab-a/echo".parse().expect("a reference");
    let answer = a.client().infer(&reference, &one("lab-x")).await;
    let answer = answer.unwrap_or_else(|error| panic!("{error}\n{}", a.log_tail()));
    let signing = converge(PATIENCE, "it signs, by itself", async || {
        slow.is_signing().then_some(()).ok_or_else(|| NotYet::saw(format!("{:?}", slow.jobs())))
    });
    signing.await.unwrap_or_else(|error| panic!("{error}\n{}", a.log_tail()));

    let client = a.client().clone();
    let mut question = tokio::task::JoinSet::new();
    question.spawn(async move { client.run_receipt(answer.run_id).await });
    // It does not want to wait for others, but what is about to be free is no wait.
    let on_x = request("lab-a/echo", records(vec!["a record"]), "lab-x");
    let run = start(&a, &RunRequest { limits: waits(0), ..on_x }).await;
    let asked = converge(PATIENCE, "it is asked for the slot", async || {
        let (offers, ..) = slow.jobs();
        (offers == 2).then_some(()).ok_or_else(|| NotYet::saw(format!("{offers} offers")))
    });
    asked.await.unwrap_or_else(|error| panic!("{error}\n{}", a.log_tail()));
    assert!(question.try_join_next().is_none(), "nothing is signed yet");
    slow.let_go();
    let receipt = question.join_next().await.expect("it is asked").expect("it does not panic");
    let receipt = receipt.unwrap_or_else(|error| panic!("{error}\n{}", a.log_tail()));
    let (_, jobs) = receipt.verify().expect("both have signed");
    assert_eq!(jobs.iter().map(|job| job.records).collect::<Vec<_>>(), [1]);
    let report = tokio::time::timeout(PATIENCE, a.client().wait_run(run, |_| {})).await;
    let report = report.expect("it ends").expect("a answers");
    assert_eq!(report.state, RunState::Completed, "{report:?}\n{}", a.log_tail());
}

/// ```text
///                           ┌─▶ lab-x (two nodes that take records and say nothing)
///   lab-a (publishes, asks) ┴─▶ itself
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_bound_on_sessions_a_request_becomes_a_run_and_is_answered() {
    /// Milliseconds that a record may take: as long as this, a session with a silent node lasts.
    const SCORING_MS: u64 = 60_000;
    let lab = lab();
    let (a, x) = two(&lab).await;
    let package = Package::stage("patient", &stage::echo());
    publish_ok(&a, &lab.write(&package.contract(SCORING_MS, 1 << 24, 60_000))).await;
    let limits = LimitSet {
        scoring_ms: Some(SCORING_MS),
        memory_bytes: Some(1 << 24),
        output_bytes: Some(60_000),
        batch_max: Some(BATCH_MAX),
        ..LimitSet::default()
    };
    let silent = [
        hostile_within(&a, &x, 1, Work::Mute, limits).await,
        hostile_within(&a, &x, 2, Work::Mute, limits).await,
    ];
    let reference = "lab-a/patient".parse().expect("a reference");
    let jobs = |silent: &[Hostile]| silent.iter().map(|node| node.jobs().1).sum::<usize>();
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..SESSIONS_MAX {
        let (client, reference) = (a.client().clone(), Clone::clone(&reference));
        let on = silent[number % silent.len()].peer_id();
        // What differs in its limits does not share a session.
        let output_bytes = Some(50_000 + number as u64);
        let limits = LimitSet { output_bytes, ..LimitSet::default() };
        waiting.spawn(async move {
            let request = InferRequest { limits, ..one(&on) };
            client.infer(&reference, &request).await.map(drop)
        });
    }
    let open = converge(PATIENCE, "all are open", async || {
        let jobs = jobs(&silent);
        (jobs == SESSIONS_MAX).then_some(()).ok_or_else(|| NotYet::saw(format!("{jobs} jobs")))
    });
    open.await.unwrap_or_else(|error| panic!("{error}\n{}", a.log_tail()));

    let infer = async || {
        let answer = a.client().infer(&reference, &one("lab-a")).await;
        answer.unwrap_or_else(|error| panic!("{error}\n{}", a.log_tail()))
    };
    let by_own = |answer: &InferAnswer| {
        assert_eq!(answer.executed_on.as_ref().expect("it says where").org.as_str(), "lab-a");
        answer.run_id
    };
    let runs = [by_own(&infer().await), by_own(&infer().await)];
    assert_ne!(runs[0], runs[1], "a run for each, where a session would be shared");
    assert_eq!(waiting.len(), SESSIONS_MAX, "and all sessions are there still");
    assert_eq!(jobs(&silent), SESSIONS_MAX);

    // One that ends makes room for one.
    drop(silent);
    let shared = converge(PATIENCE, "a session comes about again", async || {
        let runs = [by_own(&infer().await), by_own(&infer().await)];
        (runs[0] == runs[1]).then_some(()).ok_or_else(|| NotYet::saw(format!("{runs:?}")))
    });
    shared.await.unwrap_or_else(|error| panic!("{error}\n{}", a.log_tail()));
}
