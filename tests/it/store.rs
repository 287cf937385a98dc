//! `guild store`: what is kept, making room, damage, pins, copies.

use std::fs;

use guildhall_testkit::protocol::api::{GcRequest, KeptFor, ScrubRequest};
use guildhall_testkit::protocol::name::Reference;
use guildhall_testkit::{
    Node, NotYet, PATIENCE, Package, acquainted, bring_in, bytes_of, converge, damage,
    holds_listings, lend, publish_ok, run, stage,
};

use crate::lab;

fn everything() -> GcRequest {
    GcRequest { dry_run: false, unused_s: Some(0) }
}

/// ```text
///   lab-a ◀──get── lab-b (drops it, keeps what is pinned)
/// ```
#[tokio::test]
async fn room_is_made_of_what_nobody_needs_and_of_nothing_else() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    for (name, seed) in [("one", 31), ("two", 32)] {
        // Both share a file.
        let package =
            Package::data(name).files(2, 100_000, seed).file("same.txt", "x".repeat(50_000));
        publish_ok(&a, &lab.write(&package)).await;
    }
    holds_listings(&[&b], 2).await;
    let cli = lab.cli(b.home());
    cli.ok(["store", "pin", "lab-a/one"]).await;
    let two: Reference = "lab-a/two".parse().expect("a reference");
    let fetched = b.client().fetch(&two).await.expect("it is fetched");

    let would = b.client().collect(&GcRequest { dry_run: true, unused_s: Some(0) }).await;
    let would = would.expect("b answers");
    assert_eq!(would.packages, [fetched.package_id], "what is pinned stays");
    // What came within the last hour is not swept: it may belong to a publication under way.
    let report = b.client().collect(&everything()).await.expect("b answers");
    assert_eq!(report.packages, would.packages);
    let held = b.client().held().await.expect("b answers");
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].reason, KeptFor::Pinned);
    assert_eq!(held[0].refs[0].to_string(), "lab-a/one@1.0.0");
    // The shared file is still whole.
    let out = lab.path("out");
    cli.ok(["get", "lab-a/one", "-o", out.to_str().expect("UTF-8")]).await;
    assert_eq!(fs::read(out.join("same.txt")).expect("it was written").len(), 50_000);

    // A producer's own packages never go.
    let report = a.client().collect(&everything()).await.expect("a answers");
    assert_eq!(report.packages, []);
    assert_eq!(a.client().packages().await.expect("a answers").len(), 2);

    let said = cli.ok(["store", "unpin", "lab-a/one"]).await;
    assert!(said.contains("cached"), "{said}");
    let said = cli.ok(["store", "df"]).await;
    assert!(said.contains("cached") && said.contains("could go"), "{said}");
    cli.fails(3, ["store", "unpin", "lab-a/two"]).await;
}

/// The outputs of a run are nobody's package, and are kept as long as the run is remembered.
#[tokio::test]
async fn outputs_of_runs_are_not_swept_away() {
    let lab = lab();
    let mut a = lab.found("lab-a").await;
    lend(&a, 1, &[]).await;
    let echo = Package::stage("echo", &stage::echo()).contract(5_000, 1 << 24, 65_536);
    publish_ok(&a, &lab.write(&echo)).await;
    let long = "x".repeat(40_000);
    let done = run(&a, "lab-a/echo", [long.as_str()], "local").await;
    assert!(a.stop().await.expect("a stops"));
    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    a.client().collect(&everything()).await.expect("a answers");
    let outputs = a.client().run_outputs(done.run_id).await.expect("they are there");
    assert_eq!(bytes_of(&outputs[0].value), long.as_bytes());
}

/// After a restart nothing is under way, so that what a dropped package left behind is freed at once.
#[tokio::test]
async fn freed_bytes_leave_the_disk() {
    let lab = lab();
    let [a, mut b] = lab.federation(["lab-a", "lab-b"]).await;
    publish_ok(&a, &lab.write(&Package::data("big").files(4, 1 << 20, 33))).await;
    holds_listings(&[&b], 1).await;
    let big: Reference = "lab-a/big".parse().expect("a reference");
    b.client().fetch(&big).await.expect("it is fetched");
    assert!(b.stop().await.expect("b stops"));
    b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    assert!(damage::blob_files(b.home()) >= 4);
    let report = b.client().collect(&everything()).await.expect("b answers");
    assert!(report.freed_bytes >= 4 << 20, "{report:?}");
    assert_eq!(damage::blob_files(b.home()), 0);
    acquainted(&[&a, &b]).await;
    b.client().fetch(&big).await.expect("it is fetched again");
}

/// ```text
///   lab-a (good) ◀──repairs── lab-b (two files damaged)
/// ```
#[tokio::test]
async fn a_scrub_finds_every_damaged_file_and_repairs_it_from_another_holder() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let folder = lab.write(&Package::data("images").files(5, 5 << 20, 34));
    publish_ok(&a, &folder).await;
    holds_listings(&[&b], 1).await;
    let images: Reference = "lab-a/images".parse().expect("a reference");
    let fetched = b.client().fetch(&images).await.expect("it is fetched");
    let clean = b.client().scrub(&ScrubRequest::default()).await.expect("b answers");
    assert_eq!(clean.found, 0, "{clean:?}");
    assert!(clean.bytes >= 25 << 20);

    for file in fetched.manifest.files.iter().take(2) {
        damage::flip_blob(b.home(), &file.hash);
    }
    let cli = lab.cli(b.home());
    let said = cli.fails(1, ["store", "scrub"]).await;
    assert!(said.contains("guild store scrub --repair"), "{said}");
    let report = b.client().scrub(&ScrubRequest { repair: true, bytes_per_s: None }).await;
    let report = report.expect("b answers");
    assert_eq!((report.found, report.repaired), (2, 2), "{report:?}");
    cli.ok(["store", "scrub"]).await;
    let out = lab.path("out");
    cli.ok(["get", "lab-a/images", "-o", out.to_str().expect("UTF-8")]).await;
    for number in 0..5 {
        let name = format!("files/{number:03}.bin");
        let (sent, came) = (fs::read(folder.join(&name)), fs::read(out.join(&name)));
        assert!(sent.expect("it was published") == came.expect("it was fetched"), "{name}");
    }
}

/// ```text
///   lab-a (backed up, lost) ═══restored with new keys═══▶ lab-a again ── lab-b
/// ```
#[tokio::test]
async fn a_node_is_restored_from_its_backup_with_new_keys() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    publish_ok(&a, &lab.write(&Package::data("kept").files(2, 40_000, 35))).await;
    holds_listings(&[&b], 1).await;
    let copy = lab.path("backup");
    let copy_text = copy.to_str().expect("UTF-8");
    let cli = lab.cli(a.home());
    cli.ok(["store", "backup", copy_text]).await;
    cli.fails(4, ["store", "backup", copy_text]).await;
    assert!(!copy.join("keys").exists(), "no secret is in it");
    let old_peer = a.ready().peer_id.clone();
    drop(a);

    let home = lab.path("lab-a-again");
    let root_key = lab.path("lab-a.root.key");
    let root_key = root_key.to_str().expect("UTF-8");
    let restored = lab.cli(&home);
    restored.ok(["store", "restore", copy_text, "--root-key", root_key]).await;
    restored.fails(4, ["store", "restore", copy_text, "--root-key", root_key]).await;
    let again = Node::start(lab.options("lab-a-again")).await;
    let again = again.unwrap_or_else(|error| panic!("{error}"));
    assert_ne!(again.ready().peer_id, old_peer);
    let status = again.client().status().await.expect("it answers");
    assert_eq!((status.org.as_str(), status.listings, status.packages), ("lab-a", 1, 1));

    // It finds the federation again, and publishes on.
    let addresses = b.client().status().await.expect("b answers").addresses;
    drop(again);
    let home_text = home.to_str().expect("UTF-8");
    let config = fs::read_to_string(home.join("config.toml")).expect("it has one");
    let peers = format!("peers = {addresses:?}\n");
    let config = config.lines().filter(|line| !line.starts_with("peers")).collect::<Vec<_>>();
    fs::write(home.join("config.toml"), format!("{peers}{}\n", config.join("\n")))
        .expect(home_text);
    let again = Node::start(lab.options("lab-a-again")).await;
    let again = again.unwrap_or_else(|error| panic!("{error}"));
    publish_ok(&again, &lab.write(&Package::data("next").files(1, 10, 36))).await;
    holds_listings(&[&b], 2).await;
}

/// A publication that fails says why, where, and what to do, and it can be read later.
#[tokio::test]
async fn a_refused_publication_can_be_read_about_later() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let pickle =
        b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.";
    let folder = lab.write(&Package::data("bad").file("weights.bin", pickle.to_vec()));
    let cli = lab.cli(a.home());
    let said = cli.fails(4, ["publish", folder.to_str().expect("UTF-8")]).await;
    assert!(said.contains("weights.bin"), "{said}");
    let logs = a.client().tests().await.expect("a answers");
    assert_eq!(logs.len(), 1);
    let failed = logs[0].checks.iter().find(|check| !check.passed).expect("one failed");
    assert_eq!(failed.file.as_ref().map(ToString::to_string).as_deref(), Some("weights.bin"));
    assert!(failed.fix.is_some(), "{failed:?}");
    let id = logs[0].package_id.0.to_hex();
    let shown = cli.ok(["runs", &id[..12]]).await;
    assert!(shown.contains("FAILED") && shown.contains("fix:"), "{shown}");
}

/// ```text
///   lab-a publishes, wants 3 copies:  lab-b and two of lab-c, lab-d follow; one of them dies
/// ```
#[tokio::test]
async fn copies_are_kept_by_as_many_orgs_as_the_producer_wants_and_replaced_when_one_is_lost() {
    let lab = lab();
    let mut nodes = Vec::new();
    for org in ["lab-a", "lab-b", "lab-c", "lab-d"] {
        nodes.push(lab.found_copying(org).await);
    }
    for node in nodes.iter().skip(1) {
        bring_in(&nodes[0], node).await;
    }
    acquainted(&nodes.iter().collect::<Vec<_>>()).await;
    publish_ok(&nodes[0], &lab.write(&Package::data("kept").files(3, 30_000, 37))).await;
    let copies = async |asked: &Node, count: usize| {
        let reference: Reference = "lab-a/kept".parse().expect("a reference");
        let what = format!("{count} orgs hold it");
        converge(2 * PATIENCE, &what, async || {
            match asked.client().show(&reference).await?.holders {
                holders if holders.len() == count => Ok(holders),
                holders => Err(NotYet::saw(format!("{holders:?}"))),
            }
        })
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", asked.log_tail()))
    };
    let holders = copies(&nodes[0], 3).await;
    let at = nodes.iter().position(|node| {
        let home = node.home().file_name().and_then(|name| name.to_str());
        home != Some("lab-a") && holders.iter().any(|org| Some(org.as_str()) == home)
    });
    let mut lost = nodes.remove(at.expect("somebody else holds it"));
    lost.kill().await.expect("it is killed");
    let after = copies(&nodes[0], 3).await;
    assert_ne!(after, holders, "another one holds it now");
}
