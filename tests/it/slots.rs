//! The queue for slots, as runs see it: short ones on a full node, from one member and from several.

use std::time::Instant;

use guildhall_testkit::protocol::api::{RunReport, RunState};
use guildhall_testkit::{
    Lab, Node, Package, holds_listings, lend, publish_ok, records, request, run_request, stage,
};

use crate::lab;

/// Short runs that are started at once.
const RUNS: usize = 8;

/// What a record of the stage that is measured counts to: some 50 ms of work.
const ROUNDS: u32 = 25_000_000;

async fn publish(lab: &Lab, node: &Node, name: &str, wat: &str) {
    let stage = Package::stage(name, wat).contract(20_000, 1 << 24, 60_000);
    publish_ok(node, &lab.write(&stage)).await;
}

/// Starts as many runs at once and waits for all of them.
async fn at_once(node: &Node, count: usize, reference: &str, on: &str) -> Vec<RunReport> {
    let wanted = request(reference, records(["x"]), on);
    let runs = (0..count).map(|_| run_request(node, &wanted));
    let reports = futures::future::join_all(runs).await;
    for report in &reports {
        assert_eq!(report.state, RunState::Completed, "{:?}\n{}", report.failure, node.log_tail());
    }
    reports
}

/// ```text
///   lab-a (publishes)   lab-b (one slot) ◀──8 runs── lab-c
/// ```
#[tokio::test]
#[ignore = "a measurement: prints how long short runs wait for a slot that is free"]
async fn how_long_a_slot_is_idle_while_short_runs_wait() {
    let lab = lab();
    let [a, b, c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    lend(&b, 1, &[&a, &c]).await;
    publish(&lab, &a, "slow", &stage::slow_echo(ROUNDS)).await;
    holds_listings(&[&b, &c], 1).await;
    for (who, node, slots, on) in [("another node", &c, 1.0, "lab-b"), ("itself", &b, 2.0, "local")]
    {
        // The first run compiles; what is measured are those that find everything in place.
        at_once(node, 1, "lab-a/slow", on).await;
        for round in 0..3 {
            let began = Instant::now();
            let reports = at_once(node, RUNS, "lab-a/slow", on).await;
            let seen = began.elapsed().as_secs_f64();
            let total = reports.iter().map(|report| report.seconds).fold(0.0, f64::max);
            let worked: u64 =
                reports.iter().flat_map(|report| &report.executors).map(|one| one.wall_us).sum();
            #[expect(clippy::cast_precision_loss, reason = "a time for people")]
            let worked = worked as f64 / 1e6;
            let mut each: Vec<f64> = reports.iter().map(|report| report.seconds).collect();
            each.sort_by(f64::total_cmp);
            println!(
                "{RUNS} runs from {who}, round {round}: total {total:.3} s (seen after {seen:.3} s), \
                 worked {worked:.3} s, each slot idle {:.3} s; runs took {each:.3?}",
                total - worked / slots
            );
        }
    }
}
