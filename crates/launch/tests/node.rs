//! Nodes are started, stopped and cleaned up after, however the program behaves. `fake-guild.sh` stands in for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use guildhall_launch::{Error, Init, Node, NotYet, Options, converge, init};
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);

fn fake() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake-guild.sh")
}

async fn started(behaviour: &str) -> (TempDir, Result<Node, Error>) {
    let dir = tempfile::tempdir().expect("a folder for the home");
    let options = Options::new(fake(), dir.path().join("home")).env("FAKE", behaviour);
    let org = "lab-a".parse().expect("a good name");
    let node = Node::create(&org, options).await;
    (dir, node)
}

/// Whether a process runs; one that has ended and was not waited for does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

async fn gone(pid: u32) {
    let look = async || match runs(pid) {
        true => Err(NotYet::saw("it runs")),
        false => Ok(()),
    };
    converge(DEADLINE, "the process is gone", look).await.expect("it ends");
}

#[tokio::test]
async fn a_node_is_ready_killed_started_again_and_stopped() {
    let (_dir, node) = started("obedient").await;
    let mut node = node.expect("it starts");
    let first = node.pid().expect("it runs");
    assert_eq!(node.ready().peer_id, first.to_string());
    assert_eq!(node.client().url(), "http://127.0.0.1:1");

    node.kill().await.expect("it is killed");
    assert!(!node.is_running().expect("it was waited for") && !runs(first));
    assert_eq!(node.pid(), None);

    node.restart().await.expect("it starts again");
    let second = node.pid().expect("it runs");
    assert_ne!(node.ready().peer_id, first.to_string());
    assert!(node.stop().await.expect("it is stopped"), "it stopped by itself");
    assert!(!runs(second));
    assert!(node.stop().await.expect("stopping twice is no error"));
    assert_eq!(node.log_tail().lines().count(), 2, "one log for both: {}", node.log_tail());
}

#[tokio::test]
async fn a_running_node_is_stopped_before_it_starts_again() {
    let (_dir, node) = started("obedient").await;
    let mut node = node.expect("it starts");
    let first = node.pid().expect("it runs");
    node.restart().await.expect("it starts again");
    assert!(!runs(first) && node.is_running().expect("it can be looked at"));
}

#[tokio::test]
async fn a_dropped_node_is_killed_with_its_workers() {
    let (dir, node) = started("parent").await;
    let node = node.expect("it starts");
    let pid = node.pid().expect("it runs");
    let worker = std::fs::read_to_string(dir.path().join("home/worker")).expect("a worker");
    let worker = worker.trim().parse().expect("a process id");
    assert!(runs(pid) && runs(worker));
    drop(node);
    assert!(!runs(pid), "another node may use its home at once");
    gone(worker).await;
}

#[tokio::test]
async fn a_node_that_ends_at_once_is_an_error_with_its_last_words() {
    let (_dir, node) = started("broken").await;
    let error = node.expect_err("it cannot start");
    let Error::Ended { status, log, .. } = &error else { panic!("{error}") };
    assert_eq!(status.code(), Some(7));
    assert!(log.contains("no store"), "{log}");
}

#[tokio::test]
async fn a_node_that_says_something_else_is_refused() {
    for behaviour in ["chatty", "endless"] {
        let (_dir, node) = started(behaviour).await;
        let error = node.expect_err("it never says that it is ready");
        assert!(matches!(error, Error::BadReady { .. }), "{error}");
    }
}

#[tokio::test]
async fn what_init_says_is_part_of_the_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = Init {
        program: fake(),
        org: "refused".parse().expect("a good name"),
        home: dir.path().join("home"),
        root_out: dir.path().join("root.key"),
    };
    let error = init(&options).await.expect_err("it is refused");
    assert!(error.to_string().contains("the name is taken"), "{error}");
    let nowhere = Init { program: "/nowhere/guild".into(), ..options };
    assert!(matches!(init(&nowhere).await, Err(Error::Program { .. })));
}
