//! Content between real nodes: several holders, parts, other versions, many small files, some files only.

use std::fs;
use std::path::Path;

use guildhall_testkit::protocol::Hash;
use guildhall_testkit::protocol::name::Reference;
use guildhall_testkit::{
    Node, Package, acquainted, closely, damage, holds_listings, pause, publish_ok, resume,
};

use crate::lab;

/// A piece, bytes: what is asked for and resumed.
const PIECE: usize = 4 << 20;

/// A group, bytes: what is checked on arrival.
const GROUP: usize = 16 << 10;

async fn fetch(node: &Node, reference: &str) -> guildhall_testkit::protocol::api::Fetched {
    let reference: Reference = reference.parse().expect("a reference");
    node.client().fetch(&reference).await.unwrap_or_else(|error| panic!("{error}"))
}

fn same_file(left: &Path, right: &Path) {
    let read =
        |path: &Path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(read(left) == read(right), "{} differs from {}", right.display(), left.display());
}

/// ```text
///   lab-a (publishes) ◀──parts── lab-c ──parts──▶ lab-b (has it too)
/// ```
#[tokio::test]
async fn a_large_file_comes_from_two_orgs_at_once() {
    let lab = lab();
    let [a, b, c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    let folder = lab.write(&Package::data("large").files(1, 8 * PIECE + 12_345, 21));
    publish_ok(&a, &folder).await;
    holds_listings(&[&b, &c], 1).await;
    fetch(&b, "lab-a/large").await;

    let fetched = fetch(&c, "lab-a/large").await;
    assert_eq!(fetched.from.len(), 2, "{:?}", fetched.from);
    let out = lab.path("out");
    lab.cli(c.home()).ok(["get", "lab-a/large", "-o", out.to_str().expect("UTF-8")]).await;
    same_file(&folder.join("files/000.bin"), &out.join("files/000.bin"));
}

/// ```text
///   lab-a (one piece damaged on disk) ◀──parts── lab-c ──parts──▶ lab-b (good)
/// ```
#[tokio::test]
async fn a_holder_that_sends_one_bad_part_is_left_and_nothing_bad_is_kept() {
    let lab = lab();
    let [a, b, c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    let folder = lab.write(&Package::data("large").files(1, 6 * PIECE, 22));
    let published = publish_ok(&a, &folder).await;
    holds_listings(&[&b, &c], 1).await;
    fetch(&b, "lab-a/large").await;
    let manifest = a.client().manifest(published.package_id).await.expect("it is here");
    damage::flip(&damage::blob_file(a.home(), &manifest.files[0].hash), 5 * PIECE + 7);
    damage::flip(&damage::blob_file(a.home(), &manifest.files[0].hash), 9);

    fetch(&c, "lab-a/large").await;
    let out = lab.path("out");
    lab.cli(c.home()).ok(["get", "lab-a/large", "-o", out.to_str().expect("UTF-8")]).await;
    same_file(&folder.join("files/000.bin"), &out.join("files/000.bin"));
}

/// ```text
///   lab-a (one file of 16 pieces; pauses while b dies) ◀──get── lab-b (killed, restarted)
/// ```
#[tokio::test]
async fn one_large_file_goes_on_where_a_kill_cut_it_off() {
    let lab = lab();
    let [a, mut b] = lab.federation(["lab-a", "lab-b"]).await;
    let len = 32 * PIECE;
    let folder = lab.write(&Package::data("large").files(1, len, 23));
    publish_ok(&a, &folder).await;
    holds_listings(&[&b], 1).await;

    let reference: Reference = "lab-a/large".parse().expect("a reference");
    let client = b.client().clone();
    let watching = b.client().clone();
    let fetching = client.fetch(&reference);
    let killing = async {
        // Parts are saved every 32 MiB.
        loop {
            let report = watching.store().await.expect("b answers");
            if report.partial_bytes >= (8 * PIECE) as u64 {
                break;
            }
        }
        pause(&a);
        b.kill().await.expect("b is killed");
        resume(&a);
    };
    let (fetched, ()) = tokio::join!(fetching, killing);
    fetched.expect_err("the node that was asked is dead");

    b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    acquainted(&[&a, &b]).await;
    let fetched = fetch(&b, "lab-a/large").await;
    let most = (len - 8 * PIECE + PIECE) as u64;
    assert!(fetched.fetched_bytes <= most, "{} bytes came again", fetched.fetched_bytes);
    let out = lab.path("out");
    lab.cli(b.home()).ok(["get", "lab-a/large", "-o", out.to_str().expect("UTF-8")]).await;
    same_file(&folder.join("files/000.bin"), &out.join("files/000.bin"));
}

/// ```text
///   lab-a (1.0.0, then 1.1.0 with one byte changed) ◀──get── lab-b
/// ```
#[tokio::test]
async fn a_second_version_moves_only_the_groups_that_changed() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let len = 6 * PIECE + 777;
    let folder = lab.write(&Package::data("large").files(1, len, 24));
    publish_ok(&a, &folder).await;
    holds_listings(&[&b], 1).await;
    let first = fetch(&b, "lab-a/large").await;
    assert!(first.fetched_bytes >= len as u64);

    let next = lab.write(&Package::data("large").files(1, len, 24).at("1.1.0"));
    let file = next.join("files/000.bin");
    let mut bytes = fs::read(&file).expect("it was written");
    bytes[4 * PIECE + 5 * GROUP + 3] ^= 1;
    fs::write(&file, &bytes).expect("it is ours");
    publish_ok(&a, &next).await;
    holds_listings(&[&b], 2).await;
    let second = fetch(&b, "lab-a/large@1.1.0").await;
    // The list of pieces, the list of one piece's groups, one group, and the end of the frame.
    let most = (7 * 32 + 256 * 32 + GROUP) as u64;
    assert!(second.fetched_bytes <= most, "{} bytes came", second.fetched_bytes);
    assert_eq!(second.reused_bytes, (len - GROUP) as u64);
    let out = lab.path("out");
    let arguments = ["get", "lab-a/large@1.1.0", "-o", out.to_str().expect("UTF-8")];
    lab.cli(b.home()).ok(arguments).await;
    same_file(&file, &out.join("files/000.bin"));
}

/// ```text
///   lab-a (3,000 files) ◀──get── lab-b
/// ```
#[tokio::test]
async fn thousands_of_small_files_arrive_whole() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let mut package = Package::data("small");
    for number in 0..3_000_u32 {
        let name = format!("part-{}/{number}.txt", number % 7);
        package = package.file(&name, format!("file {number}").repeat(number as usize % 40));
    }
    let folder = lab.write(&package);
    publish_ok(&a, &folder).await;
    holds_listings(&[&b], 1).await;
    let fetched = fetch(&b, "lab-a/small").await;
    assert_eq!(fetched.manifest.files.len(), 3_000);
    let out = lab.path("out");
    lab.cli(b.home()).ok(["get", "lab-a/small", "-o", out.to_str().expect("UTF-8")]).await;
    for number in (0..3_000).step_by(97) {
        let name = format!("part-{}/{number}.txt", number % 7);
        same_file(&folder.join(&name), &out.join(&name));
    }
    let empty = Hash::of(b"");
    assert!(fetched.manifest.files.iter().any(|file| file.hash == empty), "an empty file too");
}

/// ```text
///   lab-a (weights/, docs/) ◀──get --include── lab-b
/// ```
#[tokio::test]
async fn a_part_of_a_package_is_fetched_by_pattern() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let package = Package::data("parts")
        .file("weights/one.bin", vec![1; 100_000])
        .file("weights/two.bin", vec![2; 100_000])
        .file("docs/long.txt", vec![b'x'; 100_000]);
    let folder = lab.write(&package);
    publish_ok(&a, &folder).await;
    holds_listings(&[&b], 1).await;

    let cli = lab.cli(b.home());
    let out = lab.path("out");
    let out_text = out.to_str().expect("UTF-8");
    cli.ok(["get", "lab-a/parts", "--include", "weights/*", "-o", out_text]).await;
    same_file(&folder.join("weights/one.bin"), &out.join("weights/one.bin"));
    same_file(&folder.join("weights/two.bin"), &out.join("weights/two.bin"));
    assert!(!out.join("docs").exists());
    assert_eq!(b.client().packages().await.expect("b answers"), [], "it is not here in full");

    let said = cli.fails(3, ["get", "lab-a/parts", "--include", "*.onnx", "-o", out_text]).await;
    assert!(said.contains("docs/long.txt"), "it says what there is: {said}");
    let fetched = fetch(&b, "lab-a/parts").await;
    assert!(fetched.fetched_bytes < 150_000, "what was there is not fetched again");
}

/// ```text
///   lab-a (killed while it sends) ◀──parts── lab-c ──parts──▶ lab-b
/// ```
#[tokio::test]
async fn a_holder_that_dies_in_the_middle_is_replaced_by_another() {
    let lab = lab();
    let [mut a, b, c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    let folder = lab.write(&Package::data("large").files(1, 24 * PIECE, 25));
    publish_ok(&a, &folder).await;
    holds_listings(&[&b, &c], 1).await;
    fetch(&b, "lab-a/large").await;

    let reference: Reference = "lab-a/large".parse().expect("a reference");
    let fetching = c.client().fetch(&reference);
    let watched = c.client().clone();
    let killing = async {
        loop {
            let transfers = watched.transfers().await.expect("c answers");
            if transfers.iter().any(|transfer| transfer.done_bytes > 0) {
                break;
            }
        }
        a.kill().await.expect("a is killed");
    };
    let (fetched, ()) = tokio::join!(fetching, killing);
    fetched.unwrap_or_else(|error| panic!("{error}\n{}", c.log_tail()));
    let out = lab.path("out");
    lab.cli(c.home()).ok(["get", "lab-a/large", "-o", out.to_str().expect("UTF-8")]).await;
    same_file(&folder.join("files/000.bin"), &out.join("files/000.bin"));
}

/// Ctrl-C leaves a state that the same command goes on from.
#[tokio::test]
async fn a_get_that_was_interrupted_is_repeated_to_the_end() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let folder = lab.write(&Package::data("large").files(1, 24 * PIECE, 26));
    publish_ok(&a, &folder).await;
    holds_listings(&[&b], 1).await;
    let reference: Reference = "lab-a/large".parse().expect("a reference");
    let watched = b.client().clone();
    let started = async {
        loop {
            let transfers = watched.transfers().await.expect("b answers");
            if transfers.iter().any(|transfer| transfer.done_bytes >= PIECE as u64) {
                break;
            }
        }
    };
    // Who asked goes away in the middle, as at Ctrl-C.
    tokio::select! {
        fetched = b.client().fetch(&reference) => panic!("it was too fast: {fetched:?}"),
        () = started => {}
    }
    let store = b.client().clone();
    closely("nothing is being fetched any more", {
        let home = b.home().to_owned();
        move || home.exists()
    })
    .await;
    let fetched = store.fetch(&reference).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(fetched.fetched_bytes <= (24 * PIECE) as u64);
    let out = lab.path("out");
    lab.cli(b.home()).ok(["get", "lab-a/large", "-o", out.to_str().expect("UTF-8")]).await;
    same_file(&folder.join("files/000.bin"), &out.join("files/000.bin"));
}
