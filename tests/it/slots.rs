//! The queue for slots, as runs see it: short ones on a full node, from one member and from several; who goes away while
//! it waits.
#![allow(clippy::print_stdout, reason = "what is measured is read by a person")]

use std::time::Instant;

use guildhall_testkit::protocol::RunId;
use guildhall_testkit::protocol::api::{RunReport, RunState};
use guildhall_testkit::{
    Lab, Node, NotYet, PATIENCE, Package, at_work, converge, holds_listings, lend, publish_ok,
    records, request, run_request, stage, start,
};

use crate::lab;

/// Short runs that are started at once.
const RUNS: usize = 8;

/// What a record of the stage that is measured counts to: some 50 ms of work.
const ROUNDS: u32 = 125_000_000;

async fn publish(lab: &Lab, node: &Node, name: &str, wat: &str) {
    let stage = Package::stage(name, wat).contract(60_000, 1 << 24, 60_000);
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

/// A run on `on` that ends when it is cancelled.
async fn occupy(node: &Node, on: &str) -> RunId {
    start(node, &request("lab-a/endless", records(["x"]), on)).await
}

async fn cancel(node: &Node, run: RunId) {
    let cancelled = node.client().cancel_run(run).await;
    cancelled.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()));
}

/// Waits until as many runs of each org wait for `lender`, and of no other.
async fn waiting(lender: &Node, wanted: &[(&str, u64)]) {
    let what = format!("those wait: {wanted:?}");
    let seen = converge(PATIENCE, &what, async || {
        let lending = lender.client().lending().await?;
        let waits = lending.orgs.iter().filter(|one| one.waiting > 0);
        let waits: Vec<_> = waits.map(|one| (one.org.as_str(), one.waiting)).collect();
        if waits == wanted { Ok(()) } else { Err(NotYet::saw(format!("{waits:?}"))) }
    });
    seen.await.unwrap_or_else(|error| panic!("{error}\n{}", lender.log_tail()));
}

/// Waits until nobody has a slot of `lender`, nor waits for one.
async fn all_free(lender: &Node) {
    waiting(lender, &[]).await;
    let seen = converge(PATIENCE, "every slot is free", async || {
        let lending = lender.client().lending().await?;
        let is_free = lending.jobs.is_empty() && lending.own_jobs == 0;
        is_free.then_some(()).ok_or_else(|| NotYet::saw(format!("{:?}", lending.jobs)))
    });
    seen.await.unwrap_or_else(|error| panic!("{error}\n{}", lender.log_tail()));
}

async fn completed(node: &Node, run: RunId) -> RunReport {
    let ended = tokio::time::timeout(PATIENCE, node.client().wait_run(run, |_| {})).await;
    let ended = ended.unwrap_or_else(|_| panic!("the run did not end\n{}", node.log_tail()));
    let report = ended.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()));
    assert_eq!(report.state, RunState::Completed, "{:?}\n{}", report.failure, node.log_tail());
    report
}

/// The numbers under which the executor signed the jobs of these runs, which must complete.
async fn numbers(node: &Node, runs: Vec<RunId>) -> Vec<u64> {
    let mut numbers = Vec::new();
    for run in runs {
        let report = completed(node, run).await;
        let signed = report.receipts.iter().flat_map(|receipt| &receipt.jobs);
        numbers.extend(signed.map(|job| job.number));
    }
    numbers
}

async fn three(lab: &Lab) -> [Node; 3] {
    let [a, b, c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    lend(&b, 1, &[&a, &c]).await;
    publish(lab, &a, "echo", &stage::echo()).await;
    publish(lab, &a, "endless", &stage::endless()).await;
    holds_listings(&[&b, &c], 2).await;
    [a, b, c]
}

/// ```text
///   lab-a ──3 runs──▶ lab-b (one slot) ◀──1 endless run, then 8 runs── lab-c
/// ```
#[tokio::test]
async fn many_short_runs_on_a_full_node_all_complete_and_members_take_turns() {
    let lab = lab();
    let [a, b, c] = three(&lab).await;
    let endless = occupy(&c, "lab-b").await;
    at_work(&b).await;
    let echo = request("lab-a/echo", records(["x"]), "lab-b");
    let mut of_c = Vec::new();
    for _ in 0..RUNS {
        of_c.push(start(&c, &echo).await);
    }
    waiting(&b, &[("lab-c", RUNS as u64)]).await;
    let mut of_a = Vec::new();
    for _ in 0..3 {
        of_a.push(start(&a, &echo).await);
    }
    waiting(&b, &[("lab-a", 3), ("lab-c", RUNS as u64)]).await;
    cancel(&c, endless).await;

    // The executor numbers what it signs, so the numbers tell who was served when.
    let (of_a, of_c) = (numbers(&a, of_a).await, numbers(&c, of_c).await);
    let last = of_a.iter().max().expect("there are three");
    let behind = of_c.iter().filter(|number| *number > last).count();
    assert!(behind >= 3, "lab-a came last and has its turns: {of_a:?}, lab-c: {of_c:?}");
    all_free(&b).await;
}

/// ```text
///   lab-a (is cancelled, waits, is killed) ──run──▶ lab-b (one slot, drains) ◀──endless runs── lab-c
/// ```
#[tokio::test]
async fn who_waits_hears_that_a_node_drains_and_who_goes_away_holds_up_nobody() {
    let lab = lab();
    let [a, b, c] = three(&lab).await;
    let endless = occupy(&c, "lab-b").await;
    at_work(&b).await;
    let echo = request("lab-a/echo", records(["x"]), "lab-b");
    let run = start(&a, &echo).await;
    waiting(&b, &[("lab-a", 1)]).await;
    b.client().drain(true).await.expect("it drains");
    let heard = converge(PATIENCE, "the run hears that the node drains", async || {
        let log = a.client().run(run).await?.log;
        let is_said = log.iter().any(|line| line.contains("takes no more"));
        is_said.then_some(()).ok_or_else(|| NotYet::saw(log.join("\n")))
    });
    heard.await.unwrap_or_else(|error| panic!("{error}"));
    b.client().drain(false).await.expect("it takes jobs again");
    let waits = converge(PATIENCE, "the run waits again", async || {
        let log = a.client().run(run).await?.log;
        let last = |words: &str| log.iter().rposition(|line| line.contains(words));
        let is_held = last("place") > last("takes no more");
        is_held.then_some(()).ok_or_else(|| NotYet::saw(log.join("\n")))
    });
    waits.await.unwrap_or_else(|error| panic!("{error}"));

    // Cancelled while its question is held; the slot is free then, and the next run has it.
    cancel(&a, run).await;
    cancel(&c, endless).await;
    completed(&c, start(&c, &echo).await).await;
    all_free(&b).await;

    let endless = occupy(&c, "lab-b").await;
    at_work(&b).await;
    start(&a, &echo).await;
    waiting(&b, &[("lab-a", 1)]).await;
    let mut a = a;
    a.kill().await.expect("it is killed");
    waiting(&b, &[]).await;
    cancel(&c, endless).await;
    completed(&c, start(&c, &echo).await).await;
    all_free(&b).await;
}

/// ```text
///   lab-a (runs on itself, more than it has slots)
/// ```
#[tokio::test]
async fn own_runs_wait_for_own_slots_and_those_that_are_cancelled_leave_nothing() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    publish(&lab, &a, "echo", &stage::echo()).await;
    publish(&lab, &a, "endless", &stage::endless()).await;
    let occupied = [occupy(&a, "local").await, occupy(&a, "local").await];
    let full = converge(PATIENCE, "both slots are taken", async || {
        let own_jobs = a.client().lending().await?.own_jobs;
        if own_jobs == 2 { Ok(()) } else { Err(NotYet::saw(format!("{own_jobs}"))) }
    });
    full.await.unwrap_or_else(|error| panic!("{error}"));
    let echo = request("lab-a/echo", records(["x"]), "local");
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(start(&a, &echo).await);
    }
    let wait = converge(PATIENCE, "all wait", async || {
        for run in &runs {
            let log = a.client().run(*run).await?.log;
            if !log.iter().any(|line| line.contains("place")) {
                return Err(NotYet::saw(log.join("\n")));
            }
        }
        Ok(())
    });
    wait.await.unwrap_or_else(|error| panic!("{error}"));
    for run in runs.drain(..2) {
        cancel(&a, run).await;
    }
    for run in occupied {
        cancel(&a, run).await;
    }
    for run in runs {
        completed(&a, run).await;
    }
    all_free(&a).await;
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
