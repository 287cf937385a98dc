//! T41: a disk that is full. What would not fit is refused with the reason and exit code 6, nothing is lost, the node
//! lives and takes records, and room can be made.
//!
//! Each test mounts a small file system in memory, which takes root; without it they say so and test nothing.

use std::fs;
use std::path::Path;

use guildhall_testkit::protocol::api::{GcRequest, ScrubRequest};
use guildhall_testkit::protocol::name::Reference;
use guildhall_testkit::{
    Lab, Node, Package, SmallDisk, acquainted, bring_in, closely, holds_listings, pause,
    publish_ok, resume,
};

use crate::lab;

/// A piece, bytes.
const PIECE: usize = 4 << 20;

/// A mebibyte.
const MIB: u64 = 1 << 20;

/// What a node leaves free for records.
const RESERVE: u64 = 512 * MIB;

/// The disk: the reserve, and room for some content.
const DISK: u64 = RESERVE + 128 * MIB;

/// Two orgs in one federation; the second one's home is on a small disk. `None` where nothing can be mounted.
async fn on_a_small_disk(lab: &Lab) -> Option<(Node, Node, SmallDisk)> {
    let Some(disk) = SmallDisk::mount(lab.path("lab-b"), DISK) else {
        say("no file system can be mounted here: a full disk is not tested");
        return None;
    };
    let [a, b] = [lab.found("lab-a").await, lab.found("lab-b").await];
    bring_in(&a, &b).await;
    acquainted(&[&a, &b]).await;
    Some((a, b, disk))
}

#[expect(clippy::print_stderr, reason = "a test that tests nothing says so")]
fn say(what: &str) {
    eprintln!("{what}");
}

fn named(text: &str) -> Reference {
    text.parse().expect("a reference")
}

async fn is_undamaged(node: &Node) {
    let report = node.client().scrub(&ScrubRequest::default()).await.expect("it answers");
    let damaged: Vec<_> = report.problems.iter().filter(|p| !p.ends_with("harmless")).collect();
    assert!(damaged.is_empty(), "{damaged:?}");
}

fn same_file(left: &Path, right: &Path) {
    let read = |path: &Path| fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(read(left) == read(right), "{} differs from {}", right.display(), left.display());
}

/// ```text
///   lab-a (32 MiB, and small things) ◀──get── lab-b (less room than that beside the reserve)
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t41_what_does_not_fit_beside_the_reserve_is_refused_and_room_can_be_made() {
    let lab = lab();
    let Some((a, mut b, disk)) = on_a_small_disk(&lab).await else { return };
    let large = lab.write(&Package::data("large").files(1, 8 * PIECE, 61));
    publish_ok(&a, &large).await;
    let medium = lab.write(&Package::data("medium").files(3, 2 * PIECE, 62));
    publish_ok(&a, &medium).await;
    holds_listings(&[&b], 2).await;
    b.client().fetch(&named("lab-a/medium")).await.expect("there is room");
    b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    acquainted(&[&a, &b]).await;

    disk.fill(RESERVE + 20 * MIB);
    let cli = lab.cli(b.home());
    let out = lab.path("out");
    let get = ["get", "lab-a/large", "-o", out.to_str().expect("UTF-8")];
    let said = cli.fails(6, get).await;
    assert!(said.contains("guild store gc"), "{said}");
    let error = b.client().upload_bytes(vec![1; 8 * PIECE]).await.expect_err("no room");
    assert_eq!(error.code(), Some("disk_full"), "{error}");

    // Records still come, and what is small enough is taken.
    publish_ok(&a, &lab.write(&Package::data("small").files(2, 1_000, 64))).await;
    holds_listings(&[&b], 3).await;
    b.client().fetch(&named("lab-a/small")).await.expect("it is small");
    publish_ok(&b, &lab.write(&Package::data("mine").files(2, 1_000, 65))).await;
    is_undamaged(&b).await;

    // Making room is enough.
    let free = disk.free_bytes();
    let everything = GcRequest { dry_run: false, unused_s: Some(0) };
    b.client().collect(&everything).await.expect("room is made");
    assert!(disk.free_bytes() >= free + 23 * MIB, "{} of {free}", disk.free_bytes());
    cli.ok(get).await;
    same_file(&large.join("files/000.bin"), &out.join("files/000.bin"));
    assert!(b.is_running().expect("it can be asked"), "{}", b.log_tail());
    drop(b);
}

/// A file that the command line puts into the store's folder itself counts like one that it sends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t41_a_publication_on_this_machine_leaves_the_reserve_alone() {
    let lab = lab();
    let Some((_a, b, disk)) = on_a_small_disk(&lab).await else { return };
    disk.fill(RESERVE + 20 * MIB);
    let cli = lab.cli(b.home());
    let own = lab.write(&Package::data("own").files(1, 8 * PIECE, 63));
    let own = own.to_str().expect("UTF-8").to_owned();
    let said = cli.fails(6, ["publish", &own, "--yes"]).await;
    assert!(said.contains("guild store gc"), "{said}");
    cli.run(["store", "gc"]).await;
    assert!(disk.free_bytes() >= RESERVE, "{} bytes are free", disk.free_bytes());
}

/// Another program takes everything, the reserve too, while nothing happens here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t41_a_node_on_a_disk_without_a_byte_lives_and_loses_nothing() {
    let lab = lab();
    let Some((a, mut b, disk)) = on_a_small_disk(&lab).await else { return };
    let folder = lab.write(&Package::data("kept").files(3, 200_000, 66));
    publish_ok(&b, &folder).await;
    let medium = lab.write(&Package::data("medium").files(3, PIECE, 67));
    publish_ok(&a, &medium).await;
    holds_listings(&[&a, &b], 2).await;

    disk.fill(0);
    let cli = lab.cli(b.home());
    let out = lab.path("out");
    let out_text = out.to_str().expect("UTF-8").to_owned();
    cli.fails(6, ["get", "lab-a/medium", "-o", &out_text]).await;
    let refused = lab.write(&Package::data("refused").files(3, 90_000, 68));
    let refused_text = refused.to_str().expect("UTF-8").to_owned();
    cli.fails(6, ["publish", &refused_text, "--yes"]).await;
    // A record that cannot be kept comes again when there is room.
    publish_ok(&a, &lab.write(&Package::data("later").files(1, 100, 69))).await;
    // What is here can be read, and others get it.
    a.client().fetch(&named("lab-b/kept")).await.expect("it is served");
    cli.ok(["get", "lab-b/kept", "-o", &out_text]).await;
    same_file(&folder.join("files/001.bin"), &out.join("files/001.bin"));
    assert!(b.is_running().expect("it can be asked"), "{}", b.log_tail());
    // It may be made without room, and need not; it says which.
    let said = cli.run(["store", "gc"]).await;
    assert!([0, 6].contains(&said.code), "{}{}", said.stdout, said.stderr);

    disk.empty();
    let listed = b.client().status().await.expect("it answers").listings;
    assert!(listed >= 2, "{listed}");
    cli.ok(["store", "gc"]).await;
    publish_ok(&b, &refused).await;
    b.client().fetch(&named("lab-a/medium")).await.unwrap_or_else(|error| panic!("{error}"));
    holds_listings(&[&a, &b], 4).await;
    is_undamaged(&b).await;

    // After a crash on a full disk it starts when there is room again, with everything.
    disk.fill(0);
    b.kill().await.expect("it is killed");
    disk.empty();
    b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    let status = b.client().status().await.expect("it answers");
    assert_eq!((status.listings, status.packages), (4, 3));
    is_undamaged(&b).await;
}

/// The disk fills while a large file is coming in.
///
/// ```text
///   lab-a (64 MiB; pauses while the disk fills) ◀──get── lab-b
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t41_a_disk_that_fills_during_a_fetch_ends_it_and_it_goes_on_later() {
    let lab = lab();
    let Some((a, mut b, disk)) = on_a_small_disk(&lab).await else { return };
    let folder = lab.write(&Package::data("large").files(1, 16 * PIECE, 70));
    publish_ok(&a, &folder).await;
    holds_listings(&[&b], 1).await;
    let reference = named("lab-a/large");
    let begun = disk.free_bytes();
    let client = b.client().clone();
    let fetching = client.fetch(&reference);
    let filling = async {
        let path = disk.path().to_owned();
        closely("some of it is there", move || {
            let stat = rustix::fs::statvfs(&path).expect("it is mounted");
            stat.f_bavail * stat.f_frsize + 8 * MIB < begun
        })
        .await;
        pause(&a);
        disk.fill(0);
        resume(&a);
    };
    let (fetched, ()) = tokio::join!(fetching, filling);
    let error = fetched.expect_err("there is no room");
    assert_eq!(error.code(), Some("disk_full"), "{error}");
    assert!(b.is_running().expect("it can be asked"), "{}", b.log_tail());

    disk.empty();
    let fetched = b.client().fetch(&reference).await;
    fetched.unwrap_or_else(|error| panic!("{error}\n{}", b.log_tail()));
    let out = lab.path("out");
    lab.cli(b.home()).ok(["get", "lab-a/large", "-o", out.to_str().expect("UTF-8")]).await;
    same_file(&folder.join("files/000.bin"), &out.join("files/000.bin"));
    is_undamaged(&b).await;
}
