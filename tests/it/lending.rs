//! Lending by the command line: who is refused and why, in words that the requester reads; what outlives a kill.

use guildhall_testkit::protocol::api::{RunRequest, RunState};
use guildhall_testkit::{
    Cli, Node, NotYet, PATIENCE, Package, converge, holds_listings, publish_ok, records, request,
    run, stage, waits,
};
use serde_json::Value;

use crate::lab;

/// Longest time for a record of the endless stage, milliseconds: more than the core-second of the quota below.
const SCORING_MS: u64 = 1_500;

async fn lending(cli: &Cli) -> Value {
    cli.json(["node", "offer"]).await
}

/// Tries to run on lab-b until what comes of it holds `words`: other nodes hear of an offer a moment later.
async fn refused_with(requester: &Node, words: &str) {
    let known = converge(PATIENCE, words, async || {
        let wanted = request("lab-a/echo", records(["x"]), "lab-b");
        // It does not wait for better times.
        let wanted = RunRequest { limits: waits(0), ..wanted };
        match requester.client().start_run(&wanted).await {
            Err(guildhall_testkit::client::Error::Api { body, .. }) => {
                let said = format!("{} {}", body.message, body.details.join(" "));
                if said.contains(words) { Ok(()) } else { Err(NotYet::saw(said)) }
            }
            Ok(started) => {
                let report = requester.client().wait_run(started, |_| {}).await?;
                let said = report.failure.map_or_else(String::new, |failure| failure.message);
                if said.contains(words) { Ok(()) } else { Err(NotYet::saw(said)) }
            }
            Err(error) => Err(NotYet::saw(error.to_string())),
        }
    });
    known.await.unwrap_or_else(|error| panic!("{error}\n{}", requester.log_tail()));
}

async fn runs(requester: &Node) {
    let done = converge(PATIENCE, "lab-b executes", async || {
        let report = run(requester, "lab-a/echo", ["x"], "lab-b").await;
        match report.state {
            RunState::Completed => Ok(()),
            state => Err(NotYet::saw(format!("{state:?}: {:?}", report.failure))),
        }
    });
    done.await.unwrap_or_else(|error| panic!("{error}\n{}", requester.log_tail()));
}

/// ```text
///   lab-a (publishes, runs) ──run──▶ lab-b (lends, is killed)
/// ```
#[tokio::test]
async fn an_offer_and_its_quotas_bind_and_outlive_a_kill() {
    let lab = lab();
    let [a, mut b] = lab.federation(["lab-a", "lab-b"]).await;
    let echo = Package::stage("echo", &stage::echo()).contract(5_000, 1 << 24, 60_000);
    publish_ok(&a, &lab.write(&echo)).await;
    let endless = Package::stage("endless", &stage::endless());
    publish_ok(&a, &lab.write(&endless.contract(SCORING_MS, 1 << 24, 1_000))).await;
    holds_listings(&[&b], 2).await;
    let cli = lab.cli(b.home());

    assert_eq!(lending(&cli).await["offer"], Value::Null, "nothing is lent by default");
    let said = cli.ok(["node", "offer"]).await;
    assert!(said.contains("lends") && said.contains("nothing") && said.contains("core"), "{said}");
    refused_with(&a, "lends no hardware").await;

    let said = cli.ok(["node", "offer", "--slots", "2", "--to", "lab-c"]).await;
    assert!(said.contains("nothing -> 2 slots") && said.contains("to: lab-c"), "{said}");
    refused_with(&a, "does not lend to lab-a").await;
    let said = cli.fails(4, ["node", "offer", "--engines", "abacus"]).await;
    assert!(said.contains("no engine `abacus`"), "{said}");
    // A core-second a day.
    cli.ok(["node", "offer", "--to-all", "--quota", "0.0003", "--time-per-job", "30m"]).await;
    runs(&a).await;

    // It uses up the quota, and runs to its end all the same.
    let report = run(&a, "lab-a/endless", ["x"], "lab-b").await;
    assert_eq!(report.failure.expect("it fails").cause, "timeout");
    refused_with(&a, "of the 1 core-seconds that it may use").await;
    let before = converge(PATIENCE, "no job is left", async || {
        let lending = lending(&cli).await;
        if lending["jobs"] == serde_json::json!([]) {
            Ok(lending)
        } else {
            Err(NotYet::saw(lending.to_string()))
        }
    });
    let before = before.await.unwrap_or_else(|error| panic!("{error}"));
    assert!(before["orgs"][0]["used_core_seconds"].as_u64() >= Some(2), "{before}");

    b.kill().await.expect("it is killed");
    b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    let after = lending(&cli).await;
    assert_eq!(after["offer"], before["offer"]);
    assert_eq!(after["orgs"][0]["used_core_seconds"], before["orgs"][0]["used_core_seconds"]);
    refused_with(&a, "of the 1 core-seconds that it may use").await;
    cli.ok(["node", "offer", "--quota", "none"]).await;
    runs(&a).await;
}

/// ```text
///   lab-a (publishes, runs) ──run──▶ lab-b (lends, drains, is killed)
/// ```
#[tokio::test]
async fn a_drained_node_finishes_takes_no_more_and_stays_so_until_it_is_told() {
    let lab = lab();
    let [a, mut b] = lab.federation(["lab-a", "lab-b"]).await;
    let echo = Package::stage("echo", &stage::echo()).contract(5_000, 1 << 24, 60_000);
    publish_ok(&a, &lab.write(&echo)).await;
    let endless = Package::stage("endless", &stage::endless());
    publish_ok(&a, &lab.write(&endless.contract(4_000, 1 << 24, 1_000))).await;
    holds_listings(&[&b], 2).await;
    let cli = lab.cli(b.home());
    cli.ok(["node", "offer", "--slots", "2"]).await;
    runs(&a).await;

    let wanted = request("lab-a/endless", records(["x"]), "lab-b");
    let started = a.client().start_run(&wanted).await.expect("it starts");
    let busy = converge(PATIENCE, "the job is there", async || {
        let jobs = lending(&cli).await["jobs"].as_array().map_or(0, Vec::len);
        if jobs == 1 { Ok(()) } else { Err(NotYet::saw(format!("{jobs} jobs"))) }
    });
    busy.await.unwrap_or_else(|error| panic!("{error}"));
    let said = cli.ok(["node", "drain", "--wait"]).await;
    assert!(said.contains("no job of others is left"), "{said}");
    let ended = converge(PATIENCE, "the run ends by itself", async || {
        let report = a.client().run(started).await?;
        report.failure.map(|failure| failure.cause).ok_or_else(|| NotYet::saw("it runs"))
    });
    assert_eq!(ended.await.unwrap_or_else(|error| panic!("{error}")), "timeout");
    refused_with(&a, "takes no more").await;
    assert!(cli.ok(["status"]).await.contains("draining"));

    b.kill().await.expect("it is killed");
    b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(lending(&cli).await["draining"], true);
    refused_with(&a, "takes no more").await;
    let own = run(&b, "lab-a/echo", ["x"], "local").await;
    assert_eq!(own.state, RunState::Completed, "its own runs go on: {:?}", own.failure);
    assert_eq!(cli.ok(["node", "drain", "--stop"]).await, "takes jobs again");
    runs(&a).await;
}
