//! A byte of a blob flips on a disk: nobody takes the damaged bytes for the content.

use guildhall_testkit::protocol::Hash;
use guildhall_testkit::protocol::api::{Published, RunState};
use guildhall_testkit::protocol::name::Reference;
use guildhall_testkit::{
    Lab, Node, Package, acquainted, bytes_of, damage, holds_listings, lend, publish_ok, run, stage,
};

use crate::lab;

/// Hash of a published package's file.
async fn file_hash(node: &Node, published: &Published, name: &str) -> Hash {
    let manifest = node.client().manifest(published.package_id).await.expect("it is here");
    let file = manifest.files.iter().find(|file| file.name.as_str() == name);
    file.unwrap_or_else(|| panic!("{name} is in the package")).hash
}

/// `a` publishes three files of data; returns the one whose blob is going to be damaged.
async fn publish_images(lab: &Lab, a: &Node, all: &[&Node]) -> (Published, Hash) {
    let folder = lab.write(&Package::data("images").files(3, 20_000, 7));
    let published = publish_ok(a, &folder).await;
    holds_listings(all, 1).await;
    let hash = file_hash(a, &published, "files/001.bin").await;
    (published, hash)
}

/// ```text
///   lab-a (only copy, damaged) ◀──get── lab-b
/// ```
#[tokio::test]
async fn a_damaged_only_copy_is_refused_with_a_clear_error_and_can_be_mended() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let (published, hash) = publish_images(&lab, &a, &[&b]).await;
    damage::flip_blob(a.home(), &hash);

    let cli = lab.cli(b.home());
    let out = lab.path("out");
    let arguments = ["get", "lab-a/images", "-o", out.to_str().expect("UTF-8")];
    let said = cli.fails(6, arguments).await;
    assert!(said.contains(&hash.to_hex()), "it names what could not be had: {said}");
    assert!(said.contains("lab-a: what it sends is not what was asked for"), "{said}");
    assert!(!damage::blob_file(b.home(), &hash).exists(), "nothing damaged is kept");
    for node in [&a, &b] {
        assert_eq!(node.client().status().await.expect("it is alive").listings, 1);
    }

    // Publishing the same folder again brings the good bytes back.
    let again = publish_ok(&a, &lab.path("package-images-1.0.0")).await;
    assert_eq!(again.listing_id, published.listing_id);
    cli.ok(arguments).await;
}

/// ```text
///   lab-a (damaged) ◀──get── lab-c ──get──▶ lab-b (good)
/// ```
#[tokio::test]
async fn another_holder_is_used_when_one_copy_is_damaged() {
    let lab = lab();
    let [a, b, c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    let (published, hash) = publish_images(&lab, &a, &[&b, &c]).await;
    let reference = Reference::Package(published.package_id);
    b.client().fetch(&reference).await.expect("b fetches while a's copy is good");
    damage::flip_blob(a.home(), &hash);

    let fetched = c.client().fetch(&reference).await.expect("b has good copies");
    assert_eq!(fetched.fetched_files, 3);
    assert!(fetched.from.iter().any(|org| org.as_str() == "lab-b"), "{:?}", fetched.from);
    let good = std::fs::read(damage::blob_file(b.home(), &hash)).expect("b's copy");
    let came = std::fs::read(damage::blob_file(c.home(), &hash)).expect("c's copy");
    assert_eq!(good, came);
}

/// ```text
///   lab-a (package) ◀──fetch── lab-b (executes; its copy gets damaged) ◀──run── lab-c
/// ```
#[tokio::test]
async fn an_executor_drops_a_damaged_package_and_fetches_it_again_before_a_job() {
    let lab = lab();
    let [a, mut b, c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    lend(&b, 1, &[&c]).await;
    let echo = stage::padded(&stage::echo(), 20_000);
    let echo = Package::stage("echo", &echo).contract(5_000, 1 << 24, 65_536);
    let published = publish_ok(&a, &lab.write(&echo)).await;
    holds_listings(&[&b, &c], 1).await;
    let first = run(&c, "lab-a/echo", ["one"], "lab-b").await;
    assert_eq!(first.state, RunState::Completed, "{:?}", first.failure);
    let hash = file_hash(&b, &published, "stage.wasm").await;
    // While a worker has the code in it, or compiled code is kept, the blob is not read.
    b.kill().await.expect("it is killed");
    damage::flip_blob(b.home(), &hash);
    std::fs::remove_dir_all(b.home().join("compiled")).expect("compiled code was kept");
    b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    acquainted(&[&a, &b, &c]).await;
    works_again(&a, &b, &c, &hash).await;
}

/// `c` runs on `b`, whose copy of a blob is damaged; afterwards it is `a`'s again.
async fn works_again(a: &Node, b: &Node, c: &Node, hash: &Hash) {
    let second = run(c, "lab-a/echo", ["two"], "lab-b").await;
    assert_eq!(second.state, RunState::Completed, "{:?} {:?}", second.failure, second.log);
    assert!(second.receipts[0].verified);
    let outputs = c.client().run_outputs(second.run_id).await.expect("outputs");
    assert_eq!(bytes_of(&outputs[0].value), b"two");
    let good = std::fs::read(damage::blob_file(a.home(), hash)).expect("a's copy");
    let mended = std::fs::read(damage::blob_file(b.home(), hash)).expect("b's copy");
    assert_eq!(good, mended, "the damaged copy was replaced");
}

/// ```text
///   lab-a (good) ◀──get── lab-b (its own copy gets damaged)
/// ```
#[tokio::test]
async fn an_own_damaged_copy_is_fetched_again_instead_of_handed_out() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let (_, hash) = publish_images(&lab, &a, &[&b]).await;
    let cli = lab.cli(b.home());
    let (first, second) = (lab.path("first"), lab.path("second"));
    cli.ok(["get", "lab-a/images", "-o", first.to_str().expect("UTF-8")]).await;

    damage::flip_blob(b.home(), &hash);
    let got = cli.json(["get", "lab-a/images", "-o", second.to_str().expect("UTF-8")]).await;
    assert_eq!(got["from"], serde_json::json!(["lab-a"]), "the good bytes came over the network");
    let name = "files/001.bin";
    let good = std::fs::read(first.join(name)).expect("before the damage");
    assert_eq!(good, std::fs::read(second.join(name)).expect("after it"));
}
