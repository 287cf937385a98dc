//! Starts that must not succeed: each ends with a cause, an exit code, and a way out where a command is one.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use guildhall_testkit::{Cli, Lab};

use crate::{GUILD, lab};

/// `guild up` with free ports unless `arguments` say otherwise; it must refuse.
async fn refused(lab: &Lab, org: &str, arguments: &[&str]) -> String {
    let mut line = vec!["up"];
    for (flag, free) in [("--api", "127.0.0.1:0"), ("--listen", "/ip4/127.0.0.1/tcp/0")] {
        if !arguments.contains(&flag) {
            line.extend([flag, free]);
        }
    }
    line.extend(arguments);
    let said = lab.cli(&lab.path(org)).run(line).await;
    assert_ne!(said.code, 0, "it started: {}", said.stdout);
    assert!(said.code > 0, "a signal ended it: {}", said.stderr);
    assert!(said.stdout.is_empty(), "it said it was ready: {}", said.stdout);
    assert!(said.stderr.contains("error: "), "no cause: {}", said.stderr);
    assert!(!said.stderr.contains("backtrace"), "{}", said.stderr);
    assert!(!lab.path(org).join("api").exists(), "it left an address behind");
    said.stderr
}

async fn init(lab: &Lab, org: &str) {
    let (home, root) = (lab.path(org), lab.path(&format!("{org}.root")));
    let (home, root) = (home.to_str().expect("UTF-8"), root.to_str().expect("UTF-8"));
    Cli::new(GUILD, None).ok(["init", "--org", org, "--home", home, "--root-out", root]).await;
}

#[track_caller]
fn names(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

/// ```text
///   somebody ──listens on──▶ port ◀── lab-a wants it
/// ```
#[tokio::test]
async fn a_port_in_use_is_named_for_the_api_and_for_the_overlay() {
    let lab = lab();
    init(&lab, "lab-a").await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let api = format!("127.0.0.1:{port}");
    let said = refused(&lab, "lab-a", &["--api", &api]).await;
    names(&said, &[&api, "help: guild up --api 127.0.0.1:0"]);
    let listen = format!("/ip4/127.0.0.1/tcp/{port}");
    let said = refused(&lab, "lab-a", &["--listen", &listen]).await;
    names(&said, &[&listen, "help: guild up --listen"]);
    let said = refused(&lab, "lab-a", &["--listen", "no address"]).await;
    names(&said, &["no address"]);
}

/// ```text
///   lab-a (up) ◀── a second `up` in the same home
/// ```
#[tokio::test]
async fn a_second_node_in_the_same_home_is_refused_and_the_first_goes_on() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let line = ["up", "--api", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"];
    let said = lab.cli(a.home()).run(line).await;
    assert_eq!(said.code, 1, "{}", said.stderr);
    names(&said.stderr, &["error: a node is running in", "help: "]);
    let status = lab.cli(a.home()).json(["status"]).await;
    assert_eq!(status["peer_id"], a.ready().peer_id, "the first one is still found");
}

/// ```text
///   store of lab-a  under  keys of lab-b
/// ```
#[tokio::test]
async fn a_home_of_another_identity_is_refused_and_nothing_in_it_is_lost() {
    let lab = lab();
    let mut a = lab.found("lab-a").await;
    let package = guildhall_testkit::Package::data("images").files(1, 100, 1);
    guildhall_testkit::publish_ok(&a, &lab.write(&package)).await;
    a.stop().await.expect("a stops");
    init(&lab, "lab-b").await;
    let (keys_a, keys_b) = (lab.path("lab-a/keys"), lab.path("lab-b/keys"));

    // All keys of another node.
    fs::rename(&keys_a, lab.path("kept")).expect("the keys are put away");
    copy_keys(&keys_b, &keys_a);
    names(&refused(&lab, "lab-a", &[]).await, &["another node's key", "help: guild init"]);

    // One key of another node beside this node's delegation.
    fs::remove_dir_all(&keys_a).expect("the folder is ours");
    copy_keys(&lab.path("kept"), &keys_a);
    fs::copy(keys_b.join("node.key"), keys_a.join("node.key")).expect("the key is swapped");
    names(&refused(&lab, "lab-a", &[]).await, &["node.delegation", "another identity"]);

    fs::remove_dir_all(&keys_a).expect("the folder is ours");
    fs::rename(lab.path("kept"), &keys_a).expect("the keys are put back");
    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(a.client().status().await.expect("it answers").listings, 1);
}

fn copy_keys(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("keys") {
        let path = entry.expect("a key").path();
        fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
    }
}

/// ```text
///   lab-a   (one thing wrong at a time)
/// ```
#[tokio::test]
async fn what_is_wrong_in_a_home_is_named_with_its_file() {
    let lab = lab();
    names(&refused(&lab, "nowhere", &[]).await, &["there is no node in", "help: guild init"]);
    assert!(!lab.path("nowhere").exists(), "nothing is made by looking");

    init(&lab, "lab-a").await;
    let key = lab.path("lab-a/keys/producer.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("the mode is set");
    names(&refused(&lab, "lab-a", &[]).await, &["producer.key", "644", "help: chmod 600"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("the mode is set");

    let good = fs::read(&key).expect("the key");
    fs::write(&key, "no key at all").expect("the key is broken");
    names(&refused(&lab, "lab-a", &[]).await, &["producer.key", "64 hex digits"]);
    fs::write(&key, good).expect("the key is mended");

    let delegation = lab.path("lab-a/keys/node.delegation");
    let good = fs::read(&delegation).expect("the delegation");
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&delegation, flipped).expect("a byte is flipped");
    names(&refused(&lab, "lab-a", &[]).await, &["node.delegation"]);
    fs::write(&delegation, good).expect("it is mended");

    let config = lab.path("lab-a/config.toml");
    let good = fs::read_to_string(&config).expect("the configuration");
    for (bad, words) in [
        (format!("{good}\nfolows = [\"audio\"]\n"), ["config.toml", "folows"]),
        ("org = \n".to_owned(), ["config.toml", "line 1"]),
        (good.replace("org = \"lab-a\"", "org = \"Lab_A\""), ["config.toml", "org"]),
    ] {
        fs::write(&config, bad).expect("the configuration is broken");
        names(&refused(&lab, "lab-a", &[]).await, &words);
    }
    fs::write(&config, good).expect("the configuration is mended");

    let said = refused(&lab, "lab-a", &["--api", "0.0.0.0:0"]).await;
    names(&said, &["needs a token", "help: guild up"]);
}

/// ```text
///   lab-a (API on 0.0.0.0, with a token)
/// ```
#[tokio::test]
async fn an_api_with_a_token_answers_only_to_it() {
    let lab = lab();
    let options = lab.options("lab-a").env("GUILD_TOKEN", "open sesame");
    let a = guildhall_testkit::Node::create(&"lab-a".parse().expect("a name"), options).await;
    let a = a.unwrap_or_else(|error| panic!("{error}"));
    let cli = lab.cli(a.home());
    let said = cli.fails(4, ["status"]).await;
    assert!(said.contains("token"), "{said}");
    cli.fails(4, ["status", "--token", "open barley"]).await;
    let status = cli.json(["status", "--token", "open sesame"]).await;
    assert_eq!(status["org"], "lab-a");
}
