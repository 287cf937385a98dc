//! Executors that lie: members' nodes that lend hardware, take a run's parts, and then say nothing, too much, what is
//! wrong, or too late. The run completes with every record once and in order all the same, through a node that is
//! honest: in most of these tests the requester's own, which is asked last.

use data_encoding::BASE64;
use guildhall_testkit::hostile::{Hostile, Work};
use guildhall_testkit::protocol::api::{InferRequest, RunReport, RunRequest, RunState};
use guildhall_testkit::protocol::contract::LimitSet;
use guildhall_testkit::{
    Lab, Node, NotYet, PATIENCE, Package, bytes_of, converge, forget_peak, holds_listings, lend,
    peak_bytes, publish_ok, records, request, rss_bytes, run_request, stage, start,
};
use serde_json::json;

use crate::lab;

/// What a lie may cost the victim's memory, bytes: some frames of 8 MiB and what a run takes by itself.
const RISE_MAX_BYTES: u64 = 64 << 20;

const RECORDS: usize = 24;

/// Of the stage that is run: milliseconds for a record, memory and output in bytes.
const CONTRACT: (u64, u64, u64) = (1_000, 1 << 24, 60_000);

/// Records in a call of a contract that says nothing about them.
pub(crate) const BATCH_MAX: u64 = 64;

fn producer() -> LimitSet {
    let (scoring_ms, memory_bytes, output_bytes) = CONTRACT;
    LimitSet {
        scoring_ms: Some(scoring_ms),
        memory_bytes: Some(memory_bytes),
        output_bytes: Some(output_bytes),
        batch_max: Some(BATCH_MAX),
        ..LimitSet::default()
    }
}

fn package(wat: &str) -> Package {
    let (scoring_ms, memory_bytes, output_bytes) = CONTRACT;
    Package::stage("echo", wat).contract(scoring_ms, memory_bytes, output_bytes)
}

fn values(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("record {at:05}")).collect()
}

/// A federation of an honest org that publishes and runs, and one whose own node is gone and whose keys are in the
/// wrong hands.
pub(crate) async fn two(lab: &Lab) -> (Node, Node) {
    let [a, mut x] = lab.federation(["lab-a", "lab-x"]).await;
    publish_ok(&a, &lab.write(&package(&stage::echo()))).await;
    x.kill().await.expect("it is killed");
    (a, x)
}

/// A node of `org` that executes like this and whose offer `a` has seen.
pub(crate) async fn hostile(a: &Node, org: &Node, number: u8, work: Work) -> Hostile {
    hostile_within(a, org, number, work, producer()).await
}

/// The same, of a stage whose producer set these limits.
pub(crate) async fn hostile_within(
    a: &Node,
    org: &Node,
    number: u8,
    work: Work,
    producer: LimitSet,
) -> Hostile {
    let node = Hostile::executor_of(org.home(), number, work, producer).await;
    node.meet(a).await;
    let peer_id = node.peer_id();
    let seen = converge(PATIENCE, "its offer is seen", async || {
        let peers = a.client().peers().await?;
        let peer = peers.into_iter().find(|peer| peer.peer_id == peer_id);
        let is_seen = peer.as_ref().is_some_and(|peer| peer.admitted && peer.offer.is_some());
        is_seen.then_some(()).ok_or_else(|| NotYet::saw(format!("{peer:?}")))
    });
    seen.await.unwrap_or_else(|error| panic!("{error}\n{}", a.log_tail()));
    node
}

/// Each record's output is the record, once and in order.
async fn is_whole(work: Work, node: &Node, report: &RunReport, count: usize) {
    assert_eq!(report.state, RunState::Completed, "{work:?}: {report:?}\n{}", node.log_tail());
    let outputs = node.client().run_outputs(report.run_id).await.expect("outputs");
    let came: Vec<_> = outputs.iter().map(|line| (line.index, bytes_of(&line.value))).collect();
    let sent: Vec<_> =
        (0..).zip(values(count)).map(|(at, value)| (at, value.into_bytes())).collect();
    assert_eq!(came, sent, "{work:?}: each record exactly once, in order");
}

fn records_of(report: &RunReport, peer_id: &str) -> u64 {
    let shares = report.executors.iter().filter(|share| share.node.peer_id == peer_id);
    shares.map(|share| share.records).sum()
}

/// Runs where every executor is like this but the requester's own node, and says how it went.
async fn endures(a: &mut Node, x: &Node, number: u8, work: Work) -> RunReport {
    let liar = hostile(a, x, number, work).await;
    forget_peak(a);
    let before = rss_bytes(a);
    let report = run_request(a, &request("lab-a/echo", records(values(RECORDS)), "auto")).await;
    let rise = peak_bytes(a).saturating_sub(before);
    is_whole(work, a, &report, RECORDS).await;
    assert!(liar.jobs().0 > 0, "{work:?}: it was asked");
    assert!(rise <= RISE_MAX_BYTES, "{work:?}: {rise} bytes");
    assert!(a.is_running().expect("it can be asked"), "{work:?}");
    // What it kept back changes nothing any more.
    liar.let_go();
    let over = converge(PATIENCE, "nothing is open there", async || {
        let (_, jobs, over) = liar.jobs();
        let stays =
            matches!(work, Work::NeverReady | Work::Mute | Work::HugeFrame | Work::Unsigned);
        (jobs == over || stays).then_some(()).ok_or_else(|| NotYet::saw(format!("{jobs} {over}")))
    });
    over.await.unwrap_or_else(|error| panic!("{work:?}: {error}\n{}", a.log_tail()));
    is_whole(work, a, &report, RECORDS).await;
    report
}

/// The control for all others: a node that is played like the liars and does not lie is the one that does the run.
///
/// ```text
///   lab-a (publishes, runs) ──▶ lab-x (one that behaves)
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_is_played_and_does_not_lie_does_the_run_and_signs() {
    let lab = lab();
    let (mut a, x) = two(&lab).await;
    let report = endures(&mut a, &x, 1, Work::Honest).await;
    assert_eq!(report.executed_on.as_ref().map(|on| on.org.as_str()), Some("lab-x"));
    assert_eq!((report.receipts.len(), report.unsigned), (1, 0), "{report:?}");
    assert!(report.receipts[0].verified);
}

/// ```text
///   lab-a (publishes, runs, executes at last) ──▶ lab-x (liars, one after the other)
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_breaks_the_protocol_is_dropped_and_another_does_the_run() {
    let lab = lab();
    let (mut a, x) = two(&lab).await;
    let works = [
        (Work::Unasked, "not the next of its part"),
        (Work::Again, "not the next of its part"),
        (Work::TooLong, "at most 60000 are allowed"),
        (Work::ManyPorts, "other values than the output ports have"),
        (Work::Endless, "nothing in them"),
        (Work::HugeFrame, "longer than it may be"),
        (Work::OtherLimits, "which was not agreed"),
        (Work::HangsUp(0), "it went away"),
        (Work::HangsUp(2), "it went away"),
        (Work::BusyForEver, "not in your life"),
    ];
    for (number, (work, says)) in (1..).zip(works) {
        let report = endures(&mut a, &x, number, work).await;
        assert!(report.log.iter().any(|line| line.contains(says)), "{work:?}: {:?}", report.log);
        let on: Vec<_> = report.executors.iter().map(|share| share.node.org.as_str()).collect();
        assert!(on.contains(&"lab-a"), "{work:?}: {report:?}");
        assert!(report.receipts.iter().all(|receipt| receipt.verified), "{work:?}");
    }
}

/// ```text
///   lab-a (publishes, runs, executes at last) ──▶ lab-x (says nothing, or too late)
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_falls_silent_with_a_part_is_overtaken_within_seconds() {
    let lab = lab();
    let (mut a, x) = two(&lab).await;
    for (number, work) in (1..).zip([Work::Mute, Work::Late, Work::Drip]) {
        let report = endures(&mut a, &x, number, work).await;
        let own = records_of(&report, &a.ready().peer_id);
        assert_eq!(own, RECORDS as u64, "{work:?}: {report:?}");
    }
}

/// ```text
///   lab-a (publishes, runs, executes at last) ──▶ lab-x (takes the lease and says nothing, or too late)
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_never_becomes_ready_is_not_waited_for() {
    let lab = lab();
    let (mut a, x) = two(&lab).await;
    for (number, work) in (1..).zip([Work::NeverReady, Work::LateReady, Work::Unanswered]) {
        let report = endures(&mut a, &x, number, work).await;
        assert_eq!(report.receipts.len(), 1, "{work:?}: {report:?}");
    }
}

/// ```text
///   lab-a (publishes, runs, executes at last) ──▶ lab-x (signs something else, or nothing)
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_that_an_executor_does_not_sign_for_are_counted_and_said() {
    let lab = lab();
    let (mut a, x) = two(&lab).await;
    let works = [
        (Work::OtherResults, "signed another output"),
        (Work::OtherRun, "signed another run"),
        (Work::OtherKey, "statement of the receipt does not hold"),
        (Work::Unsigned, "has not signed for 24"),
    ];
    for (number, (work, says)) in (1..).zip(works) {
        let report = endures(&mut a, &x, number, work).await;
        assert!(report.log.iter().any(|line| line.contains(says)), "{work:?}: {:?}", report.log);
        assert_eq!(report.unsigned, RECORDS as u64, "{work:?}: {report:?}");
        assert!(report.receipts.is_empty(), "{work:?}: {report:?}");
    }
}

/// A node that is ten times slower than it should be and says that it takes no time at all.
///
/// ```text
///   lab-a (publishes, runs) ──▶ lab-x (slow)
///                           ──▶ lab-b (lends, executes)
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_is_slow_and_denies_it_does_not_keep_others_from_the_work() {
    const MANY: usize = 200;
    let lab = lab();
    let [a, b, mut x] = lab.federation(["lab-a", "lab-b", "lab-x"]).await;
    publish_ok(&a, &lab.write(&package(&stage::echo()))).await;
    holds_listings(&[&b], 1).await;
    lend(&b, 1, &[&a]).await;
    x.kill().await.expect("it is killed");
    let work = Work::Slow(400);
    let slow = hostile(&a, &x, 1, work).await;
    let report = run_request(&a, &request("lab-a/echo", records(values(MANY)), "auto")).await;
    is_whole(work, &a, &report, MANY).await;
    let by_slow = records_of(&report, &slow.peer_id());
    assert!(by_slow < MANY as u64 / 2, "{by_slow} of {MANY} records are the slow one's");
}

/// ```text
///   lab-a (publishes, runs) ──▶ lab-x (says nothing)
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_on_a_silent_node_alone_ends_when_its_time_is_over_or_it_is_cancelled() {
    let lab = lab();
    let (a, x) = two(&lab).await;
    let silent = hostile(&a, &x, 1, Work::Mute).await;
    let on = request("lab-a/echo", records(values(RECORDS)), "lab-x");
    let limits = LimitSet { total_ms: Some(500), ..LimitSet::default() };
    let report = run_request(&a, &RunRequest { limits, ..on.clone() }).await;
    assert_eq!(report.state, RunState::Failed);
    assert_eq!(report.failure.expect("it fails").cause, "total_timeout");

    let run = start(&a, &on).await;
    let asked = converge(PATIENCE, "it was asked", async || {
        let (_, jobs, _) = silent.jobs();
        (jobs == 2).then_some(()).ok_or_else(|| NotYet::saw(format!("{jobs} jobs")))
    });
    asked.await.unwrap_or_else(|error| panic!("{error}"));
    a.client().cancel_run(run).await.expect("it is under way");
    let ended = tokio::time::timeout(PATIENCE, a.client().wait_run(run, |_| {})).await;
    assert_eq!(ended.expect("it ends").expect("a answers").state, RunState::Cancelled);
    drop(silent);

    let busy = hostile(&a, &x, 2, Work::BusyForEver).await;
    let report = run_request(&a, &on).await;
    let failed = report.failure.expect("nobody is left");
    assert_eq!(failed.cause, "no_executor");
    assert!(failed.message.contains("not in your life"), "{}", failed.message);
    assert_eq!(busy.jobs().0, 1, "it is not asked again and again");
}

/// ```text
///   lab-a (publishes, asks) ──▶ lab-x (one that does not answer, or not as it should)
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_requests_are_answered_whatever_the_node_does_that_was_asked_first() {
    let lab = lab();
    let (a, x) = two(&lab).await;
    let reference = "lab-a/echo".parse().expect("a reference");
    let record = json!({ "base64": BASE64.encode(b"a record") });
    let works = [Work::Honest, Work::NeverReady, Work::Mute, Work::TooLong, Work::HangsUp(0)];
    for (number, work) in (20..).zip(works) {
        let liar = hostile(&a, &x, number, work).await;
        for _ in 0..2 {
            let request = InferRequest { inputs: Some(record.clone()), ..InferRequest::default() };
            let answer = a.client().infer(&reference, &request).await;
            let answer =
                answer.unwrap_or_else(|error| panic!("{work:?}: {error}\n{}", a.log_tail()));
            let outputs = answer.outputs.expect("one record");
            assert_eq!(outputs.values().next(), Some(&record), "{work:?}");
            let by = answer.executed_on.expect("it says where").org.to_string();
            assert_eq!(by == "lab-x", work == Work::Honest, "{work:?}: by {by}");
            // So that the next request does not find a session with whoever answered this one.
            let receipt = a.client().run_receipt(answer.run_id).await;
            assert!(receipt.is_ok(), "{work:?}: {receipt:?}");
        }
        assert!(liar.jobs().0 > 0, "{work:?}: it was asked");
        liar.let_go();
        // So that the next one is asked first.
        drop(liar);
        let gone = converge(PATIENCE, "it is gone", async || {
            let peers = a.client().peers().await?;
            let there = peers.iter().filter(|peer| peer.admitted && peer.offer.is_some()).count();
            (there == 0).then_some(()).ok_or_else(|| NotYet::saw(format!("{there} lend")))
        });
        gone.await.unwrap_or_else(|error| panic!("{work:?}: {error}"));
    }
}
