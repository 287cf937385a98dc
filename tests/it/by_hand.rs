//! Two orgs, one invite, every command as a person types it.

use std::path::Path;

use guildhall_testkit::{Cli, Node, NotYet, PATIENCE, Package, converge, holds_listings, stage};
use serde_json::{Value, json};

use crate::{GUILD, lab};

#[track_caller]
fn has_keys(value: &Value, keys: &[&str]) {
    let object = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
    for key in keys {
        assert!(object.contains_key(*key), "`{key}` is missing in {value}");
    }
}

/// ```text
///   lab-a ──invite──▶ lab-b
///   publishes         searches, shows, gets, runs on lab-a
/// ```
#[tokio::test]
async fn two_orgs_do_the_main_job_by_hand() {
    let lab = lab();
    let (home_a, home_b) = (lab.path("a"), lab.path("b"));
    for (org, home) in [("lab-a", &home_a), ("lab-b", &home_b)] {
        let root_out = lab.path(&format!("{org}.root"));
        let bare = Cli::new(GUILD, None);
        let made = bare
            .json(["init", "--org", org, "--home", text(home), "--root-out", text(&root_out)])
            .await;
        has_keys(&made, &["org", "root", "peer_id", "home", "root_key"]);
        assert!(root_out.is_file() && !home.join("keys/root.key").exists());
    }
    // `up` prints one line of JSON when it is ready; launch reads `{"api", "peer_id", "addresses"}` of it.
    let a = Node::start(lab.options("a")).await.expect("a starts");
    let b = Node::start(lab.options("b")).await.expect("b starts");
    let (cli_a, cli_b) = (lab.cli(&home_a), lab.cli(&home_b));

    let invite = cli_a.ok(["invite"]).await;
    assert_eq!(invite.lines().count(), 1, "one string: {invite}");
    let joined = cli_b.json(["join", &invite]).await;
    let mut members = joined["federation"]["members"].as_array().expect("a list").clone();
    members.sort_by_key(ToString::to_string);
    assert_eq!(members, ["lab-a", "lab-b"]);

    let offered = cli_a.json(["node", "offer", "--slots", "2"]).await;
    assert_eq!(offered["offer"]["slots"], 2);
    let connected = converge(PATIENCE, "b sees a's offer", async || {
        let peers = cli_b.json(["peers"]).await;
        match &peers[0] {
            peer if peer["admitted"] == true && peer["offer"]["slots"] == 2 => Ok(peer.clone()),
            peer => Err(NotYet::saw(peer.to_string())),
        }
    });
    let peer = connected.await.expect("they are connected");
    assert_eq!(peer["org"], "lab-a");
    assert_eq!(peer["peer_id"], a.ready().peer_id);

    let echo = Package::stage("echo", &stage::echo())
        .contract(5_000, 1 << 24, 65_536)
        .test("1", b"hello", b"hello");
    let folder = lab.write(&echo);
    let published = cli_a.json(["publish", text(&folder)]).await;
    has_keys(&published, &["ref", "package_id", "listing_id"]);
    assert_eq!(published["ref"], "lab-a/echo@1.0.0");
    holds_listings(&[&b], 1).await;

    find_and_fetch(&cli_b, &published, &folder, &lab.path("got")).await;
    run_it(&cli_b, &a, &lab.path("input"), &lab.path("output")).await;

    let status = cli_b.json(["status"]).await;
    has_keys(&status, &["org", "peer_id", "api", "addresses", "federation", "listings", "peers"]);
    assert_eq!((&status["listings"], &status["peers"]), (&json!(1), &json!(1)));
    // What people read names the same things.
    assert!(cli_b.ok(["status"]).await.contains(&b.ready().peer_id));
    assert!(cli_b.ok(["peers"]).await.contains("lab-a"));
    let lent = cli_a.json(["node", "offer", "--none"]).await;
    assert_eq!(lent["offer"], Value::Null);
}

async fn find_and_fetch(cli: &Cli, published: &Value, folder: &Path, got: &Path) {
    let found = cli.json(["search", "echo", "--kind", "algorithm"]).await;
    has_keys(&found, &["query_id", "results", "asked", "answered"]);
    let [result] = found["results"].as_array().expect("a list").as_slice() else {
        panic!("one result: {found}")
    };
    has_keys(result, &["ref", "kind", "package_id", "score", "terms"]);
    assert_eq!(result["package_id"], published["package_id"]);
    let terms = result["terms"].as_array().expect("the terms of the score");
    assert!(!terms.is_empty());
    assert_eq!(cli.ok(["search", "echo", "--format", "quiet"]).await, "lab-a/echo@1.0.0");

    let shown = cli.json(["show", "lab-a/echo"]).await;
    assert_eq!(shown["listing_id"], published["listing_id"]);
    assert_eq!(shown["holders"], json!(["lab-a"]));

    let fetched = cli.json(["get", "lab-a/echo", "-o", text(got)]).await;
    has_keys(&fetched, &["ref", "package_id", "dir", "files", "from"]);
    assert_eq!(fetched["from"], json!(["lab-a"]));
    for file in ["stage.wasm", "tests/1.in"] {
        let (sent, came) = (std::fs::read(folder.join(file)), std::fs::read(got.join(file)));
        assert_eq!(sent.expect("it was published"), came.expect("it was fetched"));
    }
    let again = cli.json(["get", "lab-a/echo", "-o", text(got)]).await;
    assert_eq!((&again["fetched_bytes"], &again["written"]), (&json!(0), &json!(0)));
}

async fn run_it(cli: &Cli, executor: &Node, input: &Path, output: &Path) {
    std::fs::write(input, "hello").expect("the input is written");
    let arguments =
        ["run", "lab-a/echo", "--input", text(input), "--on", "lab-a", "-o", text(output)];
    let ran = cli.json(arguments).await;
    has_keys(&ran, &["run_id", "executed_on", "outputs", "receipts"]);
    assert_eq!(ran["executed_on"]["peer_id"], executor.ready().peer_id);
    assert_eq!(ran["outputs"][0]["value"], json!({ "base64": "aGVsbG8=" }));
    assert_eq!(ran["receipts"][0]["verified"], true);
    assert_eq!(ran["receipts"][0]["executor"], executor.ready().peer_id);
    assert_eq!(std::fs::read_to_string(output).expect("-o").lines().count(), 1);
    let runs = cli.json(["runs"]).await;
    assert_eq!(runs[0]["run_id"], ran["run_id"]);
    assert_eq!(runs[0]["state"], "completed");
    let run_id = ran["run_id"].as_str().expect("an id");
    let one = cli.json(["runs", run_id]).await;
    assert_eq!(one["outputs"], ran["outputs"]);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}
