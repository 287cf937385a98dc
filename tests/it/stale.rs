//! A node that heard nothing from another organisation for long, and `guild doctor` before, meanwhile and after.

use std::path::Path;

use guildhall_store::{Batch, Collection, Store};
use guildhall_testkit::protocol::api::{RunState, STALE_HEADER};
use guildhall_testkit::protocol::{FederationId, cbor};
use guildhall_testkit::{
    Lab, Node, NotYet, PATIENCE, Package, converge, holds_listings, pause, publish_ok, records,
    request, resume, run, stage,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::lab;

const HOUR_MS: u64 = 60 * 60 * 1_000;

/// What a stopped node keeps of the others' silence.
#[derive(Deserialize, Serialize)]
struct Silence {
    federation: FederationId,
    silence_ms: u64,
    at: At,
}

#[derive(Deserialize, Serialize)]
struct At {
    time_ms: u64,
    steady_ms: u64,
    boot: Option<String>,
}

/// Lets the home of a stopped node lie for a while: others are silent for so much longer when it starts.
async fn lie_for(home: &Path, ms: u64) {
    let store = Store::open(&home.join("store")).expect("nobody uses it");
    let kept = store.document(Collection::Identity, b"silence").expect("it is read");
    let kept = kept.expect("a node that stops keeps it");
    let mut kept: Silence = cbor::decode(&kept, 4_096).expect("it is read");
    kept.silence_ms += ms;
    let mut batch = Batch::new();
    batch.put_document(Collection::Identity, b"silence", cbor::encode(&kept));
    store.commit(batch).await.expect("it is written");
    store.close().await.expect("it is closed");
}

/// Packages of the same files and contract would be one package.
async fn publish_echo(lab: &Lab, node: &Node, name: &str, scoring_ms: u64) {
    let echo = Package::stage(name, &stage::echo()).contract(scoring_ms, 1 << 24, 60_000);
    publish_ok(node, &lab.write(&echo)).await;
}

/// What `guild doctor` says of one thing, and how it ends.
async fn doctor(lab: &Lab, node: &Node, check: &str) -> (i32, Option<(String, String)>) {
    let said = lab.cli(node.home()).run_json(["doctor"]).await;
    let report = said.json();
    let checks = report["checks"].as_array().expect("a list");
    for one in checks {
        let helped = one["help"].is_string();
        assert_eq!(one["state"] != "ok", helped, "what is wrong can be put right: {one}");
    }
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let found = checks.iter().find(|one| one["check"] == check);
    (said.code, found.map(|one| (text(&one["state"]), text(&one["saw"]))))
}

async fn code_of_refusal(node: &Node, reference: &str) -> String {
    match node.client().start_run(&request(reference, records(["x"]), "local")).await {
        Err(guildhall_testkit::client::Error::Api { body, .. }) => {
            assert!(body.message.contains("from another org"), "{}", body.message);
            assert_eq!(body.help.as_deref(), Some("guild doctor"));
            body.code
        }
        other => panic!("it was not refused in words: {other:?}"),
    }
}

/// ```text
///   lab-a ── lab-b, then alone for 25 hours, then for 8 days, then together again
/// ```
#[tokio::test]
async fn a_node_that_hears_nobody_says_so_then_runs_its_own_code_only_until_it_hears_again() {
    let lab = lab();
    let [mut a, b] = lab.federation(["lab-a", "lab-b"]).await;
    publish_echo(&lab, &a, "ours", 5_000).await;
    publish_echo(&lab, &b, "theirs", 6_000).await;
    holds_listings(&[&a], 2).await;
    assert_eq!(run(&a, "lab-b/theirs", ["x"], "local").await.state, RunState::Completed);
    let (code, links) = doctor(&lab, &a, "links").await;
    assert_eq!((code, links.map(|it| it.0).as_deref()), (0, Some("ok")));
    let status = a.client().status().await.expect("it answers");
    assert_eq!((status.stale, status.completeness.follows[0].listings), (None, 2));
    assert!(status.clock.is_some_and(|clock| clock.off_ms.abs() < 60_000), "{:?}", status.clock);

    // Its address stays its own.
    pause(&b);
    assert!(a.stop().await.expect("it is told"), "{}", a.log_tail());
    lie_for(a.home(), 25 * HOUR_MS).await;
    let (code, node) = doctor(&lab, &a, "node").await;
    assert_eq!((code, node.map(|it| it.0).as_deref()), (0, Some("warning")), "it is not up");
    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    let cli = lab.cli(a.home());
    let said = cli.run_json(["search"]).await;
    assert_eq!(said.json()["stale"]["refuses"], false);
    assert!(said.stderr.contains("nothing was heard from another organisation for 1 d 1 h"));
    let list = guildhall_testkit::http::send(&a, "GET", "/api/v1/packages", "", b"").await;
    assert!(list.header(STALE_HEADER).is_some(), "{}", list.head);
    let (code, fresh) = doctor(&lab, &a, "freshness").await;
    assert_eq!((code, fresh.map(|it| it.0).as_deref()), (1, Some("warning")), "no link is one");
    assert_eq!(run(&a, "lab-b/theirs", ["x"], "local").await.state, RunState::Completed);

    assert!(a.stop().await.expect("it is told"), "{}", a.log_tail());
    lie_for(a.home(), 7 * 24 * HOUR_MS).await;
    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(code_of_refusal(&a, "lab-b/theirs").await, "stale");
    assert_eq!(run(&a, "lab-a/ours", ["x"], "local").await.state, RunState::Completed);
    let (code, fresh) = doctor(&lab, &a, "freshness").await;
    assert_eq!((code, fresh.map(|it| it.0).as_deref()), (1, Some("problem")));

    resume(&b);
    let fresh = converge(PATIENCE, "a hears b", async || {
        let stale = a.client().status().await?.stale;
        if stale.is_none() { Ok(()) } else { Err(NotYet::saw(format!("{stale:?}"))) }
    });
    fresh.await.unwrap_or_else(|error| panic!("{error}\n{}", a.log_tail()));
    assert_eq!(run(&a, "lab-b/theirs", ["x"], "local").await.state, RunState::Completed);
}
