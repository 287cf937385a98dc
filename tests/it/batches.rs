//! Runs over many records: spread over nodes, cancelled, interrupted, resumed.

use guildhall_testkit::protocol::api::{RunReport, RunState};
use guildhall_testkit::{
    Node, PATIENCE, Package, bytes_of, holds_listings, lend, publish_ok, records, request, stage,
    start, until_records,
};

use crate::lab;

/// Rounds that a slow stage counts for one record: some milliseconds.
const ROUNDS: u32 = 10_000_000;

fn slow(rounds: u32) -> Package {
    Package::stage("slow", &stage::slow_echo(rounds)).contract(20_000, 1 << 24, 1_000)
}

fn values(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("record {at:05}")).collect()
}

async fn ended(node: &Node, run: guildhall_testkit::protocol::RunId) -> RunReport {
    let ended = tokio::time::timeout(PATIENCE, node.client().wait_run(run, |_| {})).await;
    ended.expect("it ends").expect("the node answers")
}

/// Each record's output is the record, once and in order.
async fn is_whole(node: &Node, report: &RunReport, count: usize) {
    assert_eq!(report.state, RunState::Completed, "{:?} {:?}", report.failure, report.log);
    let outputs = node.client().run_outputs(report.run_id).await.expect("outputs");
    let came: Vec<_> = outputs.iter().map(|line| (line.index, bytes_of(&line.value))).collect();
    let sent: Vec<_> =
        (0..).zip(values(count)).map(|(at, value)| (at, value.into_bytes())).collect();
    assert_eq!(came, sent, "each record exactly once, in order");
}

/// ```text
///   lab-a (publishes)   lab-b (lends) ◀──┐
///                       lab-c (lends) ◀──┴─run── lab-d
/// ```
#[tokio::test]
async fn a_long_run_is_spread_over_nodes_and_every_share_has_a_receipt() {
    const RECORDS: usize = 400;
    let lab = lab();
    let [a, b, c, d] = lab.federation(["lab-a", "lab-b", "lab-c", "lab-d"]).await;
    lend(&b, 1, &[&d]).await;
    lend(&c, 1, &[&d]).await;
    publish_ok(&a, &lab.write(&slow(6 * ROUNDS))).await;
    holds_listings(&[&d], 1).await;
    let run = start(&d, &request("lab-a/slow", records(values(RECORDS)), "auto")).await;
    let report = ended(&d, run).await;
    is_whole(&d, &report, RECORDS).await;
    let shares: Vec<_> = report.executors.iter().map(|share| share.records).collect();
    assert!(shares.len() >= 2 && shares.iter().all(|records| *records > 0), "{report:?}");
    let signed: u64 = report.receipts.iter().map(|receipt| receipt.jobs[0].records).sum();
    assert!(signed >= RECORDS as u64, "receipts for {signed} of {RECORDS} records");
    assert!(report.receipts.iter().all(|receipt| receipt.verified));
}

/// ```text
///   lab-a (publishes, executes its own)
/// ```
#[tokio::test]
async fn a_cancelled_run_keeps_what_came_out_and_goes_on_behind_it() {
    const RECORDS: usize = 200;
    let lab = lab();
    let a = lab.found("lab-a").await;
    publish_ok(&a, &lab.write(&slow(ROUNDS))).await;
    let run = start(&a, &request("lab-a/slow", records(values(RECORDS)), "local")).await;
    until_records(&a, run, 5).await;
    a.client().cancel_run(run).await.expect("it is under way");
    let report = ended(&a, run).await;
    assert_eq!(report.state, RunState::Cancelled);
    let kept = a.client().run_outputs(run).await.expect("outputs").len();
    assert!((5..RECORDS).contains(&kept), "{kept} outputs");
    assert_eq!(report.records, kept as u64);
    assert!(a.client().cancel_run(run).await.is_err(), "it is over");

    a.client().resume_run(run).await.expect("it can go on");
    let report = ended(&a, run).await;
    is_whole(&a, &report, RECORDS).await;
    let again = a.client().resume_run(run).await.expect_err("it is complete");
    assert_eq!(again.code(), Some("not_resumable"));
}

/// ```text
///   lab-a (publishes)   lab-b (lends) ◀──run── lab-c (killed)
/// ```
#[tokio::test]
async fn a_run_whose_requester_was_killed_is_resumed_after_its_start() {
    const RECORDS: usize = 150;
    let lab = lab();
    let [a, b, mut c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    lend(&b, 1, &[&c]).await;
    publish_ok(&a, &lab.write(&slow(ROUNDS))).await;
    holds_listings(&[&b, &c], 1).await;
    let run = start(&c, &request("lab-a/slow", records(values(RECORDS)), "auto")).await;
    until_records(&c, run, 5).await;
    c.kill().await.expect("it is killed");
    c.restart().await.unwrap_or_else(|error| panic!("{error}"));
    let report = c.client().run(run).await.expect("the run is remembered");
    assert_eq!(report.state, RunState::Interrupted);
    c.client().resume_run(run).await.expect("it can go on");
    let report = ended(&c, run).await;
    is_whole(&c, &report, RECORDS).await;
}
