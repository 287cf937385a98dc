//! Stages that misbehave: each failure is named and signed for, and the executor goes on serving.

use guildhall_testkit::protocol::api::{OutputValue, RunReport, RunRequest, RunState};
use guildhall_testkit::protocol::contract::{Limit, LimitSet, Party};
use guildhall_testkit::protocol::receipt::Outcome;
use guildhall_testkit::{
    Node, NotYet, PATIENCE, Package, bytes_of, converge, holds_listings, lend, publish_ok, records,
    request, run, run_request, stage,
};

use crate::lab;

/// Limit for one record of the moody stage, milliseconds: its good moods take less than one.
const SCORING_MS: u64 = 1_500;

/// Four floats: 16 bytes.
const FOUR: &str = "{ tensor = { dtype = \"f32\", dims = [4] } }";

/// Runs a bad record between good ones, checks report and receipt, then runs a good one on the same node.
async fn fails(requester: &Node, executor: &Node, mood: &str, cause: &str) -> RunReport {
    let report = run(requester, "lab-a/moody", ["good", mood, "good"], "lab-b").await;
    assert_eq!(report.state, RunState::Completed, "{mood}: {report:?}");
    assert_eq!((report.records, report.failed), (3, 1), "{mood}");
    let failure = report.failure.as_ref().expect("it says why a record failed");
    assert_eq!(failure.cause, cause, "{}", failure.message);
    assert_eq!((failure.stage, failure.record), (Some(0), Some(1)), "{}", failure.message);
    let outputs = requester.client().run_outputs(report.run_id).await.expect("outputs");
    let is_failed: Vec<bool> =
        outputs.iter().map(|line| matches!(line.value, OutputValue::Failed(_))).collect();
    assert_eq!(is_failed, [false, true, false], "the good records came out, in order");

    let [receipt] = report.receipts.as_slice() else { panic!("one receipt: {report:?}") };
    assert!(receipt.verified);
    assert_eq!(receipt.executor, executor.ready().peer_id);
    assert_eq!(receipt.jobs[0].outcome, Outcome::Completed);
    assert_eq!((receipt.jobs[0].records, receipt.jobs[0].failed), (2, 1));
    for node in [requester, executor] {
        // The executor keeps it after it answered.
        let kept = converge(PATIENCE, "both keep the receipt", async || {
            Ok(node.client().run_receipt(report.run_id).await?)
        });
        let (_, jobs) = kept.await.expect("both keep it").verify().expect("it holds");
        assert_eq!((jobs[0].records, jobs[0].failed), (2, 1));
    }

    let good = run(requester, "lab-a/moody", ["good"], "lab-b").await;
    assert_eq!(good.state, RunState::Completed, "after {mood}: {:?}", good.failure);
    report
}

/// ```text
///   lab-a (publishes)   lab-b (executes) ◀──run── lab-c
/// ```
#[tokio::test]
async fn every_misbehaviour_has_its_cause_and_leaves_the_executor_serving() {
    let lab = lab();
    let [a, mut b, c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    lend(&b, 1, &[&c]).await;
    let bytes = "{ bytes = {} }";
    let moody = Package::typed_stage("moody", &stage::moody(), bytes, FOUR);
    publish_ok(&a, &lab.write(&moody.contract(SCORING_MS, 1 << 24, 1_000))).await;
    holds_listings(&[&b, &c], 1).await;

    let looped = fails(&c, &b, "loop", "timeout").await.failure.expect("checked");
    assert_eq!(looped.limit_ms, Some(SCORING_MS));
    let stopped_after_ms = looped.stopped_after_ms.expect("a timeout says when");
    assert!((SCORING_MS..SCORING_MS + 2_000).contains(&stopped_after_ms), "{stopped_after_ms}");

    let hog = fails(&c, &b, "memory", "memory").await.failure.expect("checked");
    assert!(hog.message.contains(&(1 << 24).to_string()), "{}", hog.message);
    fails(&c, &b, "trap", "trap").await;
    let exited = fails(&c, &b, "x", "exited").await.failure.expect("checked");
    assert!(exited.message.contains("exit code 1"), "{}", exited.message);
    assert!(exited.message.contains("it hurts"), "{}", exited.message);
    let long = fails(&c, &b, "out", "output_limit").await.failure.expect("checked");
    assert!(long.message.contains("1000 bytes"), "{}", long.message);
    fails(&c, &b, "wrong", "bad_output").await;

    assert!(b.is_running().expect("it can be asked"), "{}", b.log_tail());
    let idle =
        converge(PATIENCE, "b has no job left", async || match b.client().status().await?.jobs {
            0 => Ok(()),
            jobs => Err(NotYet::saw(format!("{jobs} jobs"))),
        });
    idle.await.unwrap_or_else(|error| panic!("{error}"));
}

/// ```text
///   lab-a (publishes, executes its own)
/// ```
#[tokio::test]
async fn a_failure_in_the_middle_of_a_pipeline_names_the_stage() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let contract = |package: Package| package.contract(5_000, 1 << 24, 1_000);
    publish_ok(&a, &lab.write(&contract(Package::stage("echo", &stage::echo())))).await;
    publish_ok(&a, &lab.write(&contract(Package::stage("moody", &stage::moody())))).await;
    let stages = [("first", "self/echo"), ("then", "self/moody"), ("last", "self/echo")];
    publish_ok(&a, &lab.write(&Package::pipeline("three", &stages))).await;

    let good = run(&a, "lab-a/three", ["good", "fine"], "local").await;
    assert_eq!(good.state, RunState::Completed, "{:?}", good.failure);
    let outputs = a.client().run_outputs(good.run_id).await.expect("outputs");
    assert_eq!(bytes_of(&outputs[1].value), [0; 16]);
    let edges: Vec<_> = good.receipts[0].jobs.iter().map(|job| (job.input, job.output)).collect();
    assert_eq!((edges[0].1, edges[1].1), (edges[1].0, edges[2].0), "adjacent jobs agree");

    let bad = run(&a, "lab-a/three", ["good", "trap", "fine"], "local").await;
    let failure = bad.failure.expect("it fails");
    assert_eq!((failure.cause.as_str(), failure.stage, failure.record), ("trap", Some(1), Some(1)));
    assert!(failure.message.contains("`then`"), "{}", failure.message);
    let counts = bad.receipts[0].jobs.iter().map(|job| (job.records, job.failed));
    assert_eq!(counts.collect::<Vec<_>>(), [(3, 0), (2, 1), (2, 0)]);
}

/// ```text
///   lab-a (publishes, executes its own)
/// ```
#[tokio::test]
async fn a_requester_may_ask_for_less_time_and_the_receipt_says_so() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let endless = Package::stage("endless", &stage::endless()).contract(30_000, 1 << 24, 1_000);
    publish_ok(&a, &lab.write(&endless)).await;
    let mut wanted = request("lab-a/endless", records(["x"]), "local");
    wanted.limits.scoring_ms = Some(300);
    let report = run_request(&a, &wanted).await;
    let failure = report.failure.expect("it fails");
    assert_eq!((failure.cause.as_str(), failure.limit_ms), ("timeout", Some(300)));

    wanted.limits.scoring_ms = None;
    wanted.limits.total_ms = Some(400);
    let report = run_request(&a, &wanted).await;
    let failure = report.failure.expect("it fails");
    assert_eq!((failure.cause.as_str(), failure.limit_ms), ("total_timeout", Some(400)));
    assert!(report.receipts[0].verified);
}

/// ```text
///   lab-a (publishes, executes its own)
/// ```
#[tokio::test]
async fn a_receipt_quotes_the_smallest_of_every_limit_and_whose_it_was() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let contract = "[contract]\nscoring_ms = 5000\nmeasured_on = \"a test\"\nmemory = 16777216\n\
                    output = 1000\nbatch_max = 4\ntotal_ms = 90000\nqueue_ms = 30000\n\
                    determinism = \"bitwise\"";
    publish_ok(&a, &lab.write(&Package::stage("echo", &stage::echo()).table(contract))).await;
    let mut wanted = request("lab-a/echo", records(["1", "2", "3", "4", "5", "6"]), "local");
    let of = async |wanted: &RunRequest| {
        let report = run_request(&a, wanted).await;
        assert_eq!(report.state, RunState::Completed, "{:?}", report.failure);
        report.receipts[0].jobs[0].clone()
    };
    let quoted = |value, set_by| Limit { value, set_by };
    let job = of(&wanted).await;
    assert_eq!(job.limits.scoring_ms, quoted(5_000, Party::Producer));
    assert_eq!(job.limits.total_ms, quoted(90_000, Party::Producer));
    assert_eq!(job.limits.memory_bytes, quoted(1 << 24, Party::Producer));
    assert_eq!(job.limits.output_bytes, quoted(1_000, Party::Producer));
    assert_eq!(job.limits.batch_max, quoted(4, Party::Producer));
    assert_eq!(job.limits.queue_ms, quoted(30_000, Party::Producer));
    assert!(job.used.calls >= 2, "six records in calls of four: {}", job.used.calls);

    wanted.limits = LimitSet { batch_max: Some(1), queue_ms: Some(2_000), ..LimitSet::default() };
    let job = of(&wanted).await;
    assert_eq!(job.limits.batch_max, quoted(1, Party::Requester));
    assert_eq!(job.limits.queue_ms, quoted(2_000, Party::Requester));
    assert_eq!(job.used.calls, 6, "each record has a call of its own");
}

/// ```text
///   lab-a (publishes, executes) ◀──run── lab-b
/// ```
#[tokio::test]
async fn a_job_that_is_stopped_while_records_come_and_go_still_has_its_receipt() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    lend(&a, 1, &[&b]).await;
    let slow = Package::stage("slow", &stage::slow_echo(10_000_000));
    publish_ok(&a, &lab.write(&slow.contract(20_000, 1 << 24, 60_000))).await;
    holds_listings(&[&b], 1).await;

    // More than fits on the way, so the requester is in the middle of a record whenever the time is over.
    let values = (0..400).map(|number| format!("{number:050000}"));
    let mut wanted = request("lab-a/slow", records(values), "lab-a");
    wanted.limits.total_ms = Some(700);
    let report = run_request(&b, &wanted).await;
    let failure = report.failure.expect("it takes too long");
    assert_eq!(failure.cause, "total_timeout", "{} {:?}", failure.message, report.log);
    let [receipt] = report.receipts.as_slice() else { panic!("no receipt: {:?}", report.log) };
    assert!(receipt.verified);
    let outputs = b.client().run_outputs(report.run_id).await.expect("outputs");
    assert_eq!(receipt.jobs[0].records, outputs.len() as u64, "it is signed for what came");
    b.client().run_receipt(report.run_id).await.expect("the requester keeps it");
    let kept = converge(PATIENCE, "the executor keeps it", async || {
        a.client().run_receipt(report.run_id).await.map(drop).map_err(NotYet::from)
    });
    kept.await.unwrap_or_else(|error| panic!("{error}"));
}
