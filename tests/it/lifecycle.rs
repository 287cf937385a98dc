//! How a node ends, and what ends with it.

use guildhall_testkit::{
    NotYet, PATIENCE, Package, at_work, converge, has_ended, publish_ok, records, request, stage,
    start, workers_of,
};

use crate::lab;

/// A job that goes on for a minute unless somebody stops it.
fn endless() -> Package {
    Package::stage("endless", &stage::endless()).contract(60_000, 1 << 24, 1_000)
}

async fn workers(node: &guildhall_testkit::Node) -> Vec<u32> {
    at_work(node).await;
    workers_of(node)
}

async fn are_gone(workers: &[u32]) {
    let gone = converge(PATIENCE, "the workers are gone", async || {
        let left: Vec<_> = workers.iter().filter(|pid| !has_ended(**pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(NotYet::saw(format!("{left:?} still run"))) }
    });
    gone.await.unwrap_or_else(|error| panic!("{error}"));
}

/// ```text
///   lab-a   (told to stop with SIGTERM, idle and at work)
/// ```
#[tokio::test]
async fn up_stops_cleanly_on_sigterm_and_takes_its_workers_along() {
    let lab = lab();
    let mut a = lab.found("lab-a").await;
    let api = a.home().join("api");
    assert_eq!(std::fs::read_to_string(&api).expect("the address").trim(), a.ready().api);
    assert!(a.stop().await.expect("it is told"), "it exits with 0: {}", a.log_tail());
    assert!(!api.exists(), "the address is taken away");
    let cli = lab.cli(a.home());
    let said = cli.fails(5, ["status"]).await;
    assert!(said.contains("is not up") && said.contains("guild up --home"), "{said}");

    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    publish_ok(&a, &lab.write(&endless())).await;
    let run = start(&a, &request("lab-a/endless", records(["x"]), "local")).await;
    let workers = workers(&a).await;
    assert!(a.stop().await.expect("it is told"), "also at work: {}", a.log_tail());
    are_gone(&workers).await;
    assert!(!api.exists());

    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    let report = a.client().run(run).await.expect("the run is remembered");
    assert_eq!(report.failure.expect("it was cut off").cause, "interrupted");
    assert_eq!(a.client().status().await.expect("it answers").listings, 1);
}

/// ```text
///   lab-a   (SIGKILL while a worker loops)
/// ```
#[tokio::test]
async fn workers_do_not_outlive_a_node_that_is_killed() {
    let lab = lab();
    let mut a = lab.found("lab-a").await;
    publish_ok(&a, &lab.write(&endless())).await;
    start(&a, &request("lab-a/endless", records(["x"]), "local")).await;
    let workers = workers(&a).await;
    a.kill().await.expect("it is killed");
    are_gone(&workers).await;
    // The address that it could not take away misleads nobody.
    let said = lab.cli(a.home()).fails(5, ["status"]).await;
    assert!(said.contains("guild up --home"), "{said}");
    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(a.client().status().await.expect("it answers").listings, 1);
}
