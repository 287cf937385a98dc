//! Making room at the worst moments, and files that a client slips into the store's folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use guildhall_testkit::protocol::Hash;
use guildhall_testkit::protocol::api::{AdoptRequest, GcRequest, ScrubRequest};
use guildhall_testkit::protocol::name::Reference;
use guildhall_testkit::{Node, Package, acquainted, holds_listings, publish_ok};

use crate::lab;

/// Starts of the node, each of which forgets what was used lately, so that nothing but the work itself protects files.
const ROUNDS: u64 = 4;

/// How long a request by hand may take that must not wait for anybody.
const PROMPT: Duration = Duration::from_secs(10);

const EVERYTHING: GcRequest = GcRequest { dry_run: false, unused_s: Some(0) };

fn named(text: &str) -> Reference {
    text.parse().expect("a reference")
}

/// Whatever the node says that it holds is here in full.
async fn is_whole(node: &Node) {
    for held in node.client().held().await.expect("it answers") {
        let reference = Reference::Package(held.package_id);
        let got = node.client().fetch(&reference).await;
        let got = got.unwrap_or_else(|error| panic!("{reference}: {error}\n{}", node.log_tail()));
        assert_eq!(got.fetched_files, 0, "{:?} lacked files", held.refs);
    }
    let report = node.client().scrub(&ScrubRequest::default()).await.expect("it answers");
    let damaged: Vec<_> = report.problems.iter().filter(|p| !p.ends_with("harmless")).collect();
    assert!(damaged.is_empty(), "{damaged:?}");
}

/// ```text
///   lab-a (two packages that share files) ◀──get, gc, pin, publish at once── lab-b
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_that_is_made_in_the_middle_of_everything_takes_nothing_that_is_needed() {
    let lab = lab();
    let [a, mut b] = lab.federation(["lab-a", "lab-b"]).await;
    for (name, seed) in [("one", 97), ("two", 98)] {
        let shared = Package::data(name).files(60, 30_000, 99);
        // Files of their own come last, so that the shared ones are looked at first.
        let own = Package::data("own").files(1, 6 << 20, seed);
        let folder = lab.write(&shared);
        let own = lab.write(&own.at(&format!("1.0.{seed}")));
        fs::create_dir(folder.join("own")).expect("it is made");
        fs::copy(own.join("files/000.bin"), folder.join("own/large.bin")).expect("it is copied");
        publish_ok(&a, &folder).await;
    }
    holds_listings(&[&b], 2).await;
    b.client().fetch(&named("lab-a/one")).await.expect("it is fetched");
    for round in 0..ROUNDS {
        b.restart().await.unwrap_or_else(|error| panic!("{error}"));
        acquainted(&[&a, &b]).await;
        let client = b.client().clone();
        let own = Package::data(&format!("own-{round}")).files(4, 60_000, 200 + round);
        let own = lab.write(&own);
        let wanted = named(if round % 2 == 0 { "lab-a/two" } else { "lab-a/one" });
        let fetching = client.fetch(&wanted);
        let making_room = async {
            let mut made = 0_u64;
            for _ in 0..12 {
                client.collect(&EVERYTHING).await.expect("room is made");
                made += 1;
                tokio::time::sleep(Duration::from_millis(20 + 10 * round)).await;
            }
            made
        };
        let pinning = async {
            let mut pinned = None;
            for _ in 0..20 {
                if let Some(held) = client.held().await.expect("it answers").first() {
                    // It may be gone by now.
                    let set = client.set_pin(held.package_id, true).await;
                    pinned = set.ok().map(|held| held.package_id).or(pinned);
                }
            }
            pinned
        };
        let publishing = publish_ok(&b, &own);
        let (fetched, _, pinned, published) =
            tokio::join!(fetching, making_room, pinning, publishing);
        fetched.unwrap_or_else(|error| panic!("{error}\n{}", b.log_tail()));
        is_whole(&b).await;
        let held = b.client().held().await.expect("it answers");
        let has = |package| held.iter().any(|held| held.package_id == package);
        assert!(has(published.package_id), "what was published is gone");
        if let Some(pinned) = pinned {
            assert!(has(pinned), "what was pinned is gone");
            b.client().set_pin(pinned, false).await.expect("it is here");
        }
        b.restart().await.unwrap_or_else(|error| panic!("{error}"));
        is_whole(&b).await;
    }
}

/// A client on this machine may have the node take over files that it puts into one folder, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_plain_files_of_the_folder_for_them_are_adopted() {
    let lab = lab();
    let mut a = lab.found("lab-a").await;
    let incoming = a.home().join("store/incoming");
    assert!(incoming.is_dir());
    let secret = lab.path("secret.txt");
    fs::write(&secret, "a secret of somebody else".repeat(2_000)).expect("it is written");
    let outside = lab.path("lab-a.root.key");
    symlink(&secret, incoming.join("link")).expect("a link");
    symlink("../catalogue.redb", incoming.join("inside")).expect("a link");
    symlink("nowhere", incoming.join("dangling")).expect("a link");
    fs::hard_link(&secret, incoming.join("hard")).expect("a link");
    fs::create_dir(incoming.join("folder")).expect("it is made");
    fs::write(incoming.join("folder/file"), "x").expect("it is written");
    fs::write(incoming.join(".hidden"), "x").expect("it is written");
    let made = Command::new("mkfifo").arg(incoming.join("pipe")).status();
    assert!(made.expect("mkfifo runs").success());
    // Only root may make one; the name is refused either way.
    let _device = Command::new("mknod").arg(incoming.join("zero")).args(["c", "1", "5"]).output();
    let up = "../".repeat(12) + "etc/passwd";
    let absolute = outside.to_str().expect("UTF-8").to_owned();
    let long = "x".repeat(10_000);
    let names = [
        "link",
        "inside",
        "dangling",
        "hard",
        "folder",
        "folder/file",
        ".hidden",
        "pipe",
        "zero",
        "",
        ".",
        "..",
        "../catalogue.redb",
        "../../keys/node.key",
        &up,
        &absolute,
        "a\0b",
        "missing",
        "folder/../../catalogue.redb",
        &long,
    ];
    for name in names {
        let request = AdoptRequest { name: name.to_owned(), linked: false };
        let adopting = tokio::time::timeout(PROMPT, a.client().adopt(&request)).await;
        let adopted = adopting.unwrap_or_else(|_| panic!("{name:?} makes the node wait"));
        assert!(adopted.is_err(), "{name:?} is adopted: {adopted:?}");
    }
    let linked = AdoptRequest { name: "link".to_owned(), linked: true };
    assert!(a.client().adopt(&linked).await.is_err(), "a link is never followed");
    let hash = Hash::of(&fs::read(&secret).expect("it is there"));
    assert!(!a.client().has_blob(hash).await.expect("it answers"));
    assert_eq!(fs::read(&secret).expect("it is there").len(), 50_000);

    fs::write(incoming.join("good"), "good".repeat(20_000)).expect("it is written");
    let good = AdoptRequest { name: "good".to_owned(), linked: false };
    assert_eq!(a.client().adopt(&good).await.expect("it is adopted").len_bytes, 80_000);
    assert!(a.is_running().expect("it can be asked"), "{}", a.log_tail());
    assert!(a.stop().await.expect("it is told to stop"));
    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
}
