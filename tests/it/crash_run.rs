//! An executor dies in the middle of a run.

use std::collections::BTreeSet;

use guildhall_testkit::protocol::api::RunState;
use guildhall_testkit::{
    NotYet, PATIENCE, Package, at_rest, bytes_of, converge, has_ended, holds_listings, lend,
    publish_ok, records, request, stage, start, until_records, workers_of,
};

use crate::lab;

/// Records of a run that is long enough to be interrupted.
const RECORDS: usize = 60;

/// Rounds that a slow stage counts for one record: some 20 ms.
const ROUNDS: u32 = 10_000_000;

fn slow() -> Package {
    Package::stage("slow", &stage::slow_echo(ROUNDS)).contract(20_000, 1 << 24, 1_000)
}

fn values() -> Vec<String> {
    (0..RECORDS).map(|number| format!("record {number}")).collect()
}

/// ```text
///   lab-a (publishes)   lab-b (lends, killed)  ◀──run── lab-d
///                       lab-c (lends, goes on) ◀──
/// ```
#[tokio::test]
async fn a_run_moves_to_another_node_when_its_executor_is_killed() {
    let lab = lab();
    let [a, b, c, d] = lab.federation(["lab-a", "lab-b", "lab-c", "lab-d"]).await;
    lend(&b, 1, &[&d]).await;
    lend(&c, 1, &[&d]).await;
    publish_ok(&a, &lab.write(&slow())).await;
    holds_listings(&[&b, &c, &d], 1).await;

    let run = start(&d, &request("lab-a/slow", records(values()), "auto")).await;
    let report = until_records(&d, run, 3).await;
    assert_eq!(report.state, RunState::Running, "it is too short to be interrupted");
    let on = report.executed_on.expect("somebody does it").peer_id;
    let mut executors = [b, c];
    let place = executors.iter().position(|node| node.ready().peer_id == on).expect("b or c");
    executors[place].kill().await.expect("it is killed");

    let ended = tokio::time::timeout(PATIENCE, d.client().wait_run(run, |_| {})).await;
    let report = ended.expect("it ends").expect("d answers");
    assert_eq!(report.state, RunState::Completed, "{:?} {:?}", report.failure, report.log);
    let other = executors[1 - place].ready().peer_id.clone();
    let shares: Vec<_> = report.executors.iter().map(|share| &share.node.peer_id).collect();
    assert_eq!(shares, [&on, &other]);
    assert!(report.receipts.iter().any(|receipt| receipt.verified && receipt.executor == other));
    let outputs = d.client().run_outputs(run).await.expect("outputs");
    let came: Vec<_> = outputs.iter().map(|line| (line.index, bytes_of(&line.value))).collect();
    let sent: Vec<_> = (0..).zip(values()).map(|(at, value)| (at, value.into_bytes())).collect();
    assert_eq!(came, sent, "each record exactly once, in order");

    executors[place].restart().await.unwrap_or_else(|error| panic!("{error}"));
    let status = executors[place].client().status().await.expect("it answers");
    assert_eq!((status.listings, status.packages), (1, 1), "it still has everything");
}

/// ```text
///   lab-a (publishes)   lab-b (lends, killed) ◀──run── lab-c
/// ```
#[tokio::test]
async fn a_run_without_another_node_fails_with_a_cause_and_the_requester_goes_on() {
    let lab = lab();
    let [a, mut b, c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    lend(&b, 1, &[&c]).await;
    publish_ok(&a, &lab.write(&slow())).await;
    holds_listings(&[&b, &c], 1).await;

    let run = start(&c, &request("lab-a/slow", records(values()), "lab-b")).await;
    until_records(&c, run, 2).await;
    let workers: BTreeSet<u32> = workers_of(&b).into_iter().collect();
    assert!(!workers.is_empty());
    b.kill().await.expect("it is killed");

    let ended = tokio::time::timeout(PATIENCE, c.client().wait_run(run, |_| {})).await;
    let report = ended.expect("it ends").expect("c answers");
    assert_eq!(report.state, RunState::Failed);
    let failure = report.failure.expect("it says why");
    assert_eq!(failure.cause, "no_executor", "{}", failure.message);
    let gone = converge(PATIENCE, "the workers are gone", async || {
        let left: Vec<_> = workers.iter().filter(|pid| !has_ended(**pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(NotYet::saw(format!("{left:?}"))) }
    });
    gone.await.unwrap_or_else(|error| panic!("{error}"));

    b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    lend(&b, 1, &[&c]).await;
    let again = guildhall_testkit::run(&c, "lab-a/slow", ["once more"], "lab-b").await;
    assert_eq!(again.state, RunState::Completed, "{:?}", again.failure);
    let kept = c.client().run(run).await.expect("the failed run is remembered");
    assert_eq!(kept.state, RunState::Failed);
}

/// ```text
///   lab-a (publishes)   lab-b (lends) ◀──run── lab-c (killed)
/// ```
#[tokio::test]
async fn a_requester_that_is_killed_finds_its_run_as_interrupted_and_frees_the_slot() {
    let lab = lab();
    let [a, b, mut c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    lend(&b, 1, &[&a, &c]).await;
    publish_ok(&a, &lab.write(&slow())).await;
    holds_listings(&[&b, &c], 1).await;
    let run = start(&c, &request("lab-a/slow", records(values()), "lab-b")).await;
    until_records(&c, run, 2).await;
    c.kill().await.expect("it is killed");

    let free =
        converge(PATIENCE, "the slot is free", async || match b.client().status().await?.jobs {
            0 => Ok(()),
            jobs => Err(NotYet::saw(format!("{jobs} jobs"))),
        });
    free.await.unwrap_or_else(|error| panic!("{error}\n{}", b.log_tail()));
    at_rest(&b).await;
    c.restart().await.unwrap_or_else(|error| panic!("{error}"));
    let report = c.client().run(run).await.expect("the run is remembered");
    assert_eq!(report.failure.expect("it did not end well").cause, "interrupted");
    let other = guildhall_testkit::run(&a, "lab-a/slow", ["x"], "lab-b").await;
    assert_eq!(other.state, RunState::Completed, "{:?}", other.failure);
}
