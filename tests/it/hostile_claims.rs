//! What members say about content that is not theirs to say: lengths of others' files, manifests that are none.

use guildhall_testkit::hostile::{Deed, Hostile, Truth};
use guildhall_testkit::protocol::name::Reference;
use guildhall_testkit::protocol::{Hash, PackageId};
use guildhall_testkit::{Package, holds_listings, publish_ok};

use crate::lab;

/// A piece, bytes.
const PIECE: usize = 4 << 20;

/// Somebody's package names a file of another one, with a length that the file does not have, and serves the first
/// pieces of it, which are right. The real one is fetched all the same.
///
/// ```text
///   lab-x (same file, other length) ◀──1.── lab-c ──2.──▶ lab-a
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t08_a_wrong_length_in_anothers_package_does_not_spoil_a_file() {
    let lab = lab();
    let [a, mut x, c] = lab.federation(["lab-a", "lab-x", "lab-c"]).await;
    let folder = lab.write(&Package::data("content").files(1, 2 * PIECE + 70_000, 91));
    let published = publish_ok(&a, &folder).await;
    holds_listings(&[&c], 1).await;
    let mut manifest = a.client().manifest(published.package_id).await.expect("it is here");
    let mut truth = Truth::of(&manifest, &folder);
    manifest.files[0].len_bytes += 1 << 20;
    let (spoiled, bytes) = manifest.seal();
    truth.add_manifest(spoiled, bytes);
    x.kill().await.expect("it is killed");
    let liar = Hostile::node_of(x.home(), truth, Deed::Longer(1 << 20)).await;
    liar.meet(&c).await;
    liar.claim(spoiled).await;
    let error = c.client().fetch(&Reference::Package(spoiled)).await.expect_err("nobody has it");
    assert_eq!(error.code(), Some("not_fetched"), "{error}");
    assert!(liar.requests() > 3, "it was asked for pieces");

    let fetched = c.client().fetch(&"lab-a/content".parse().expect("a reference")).await;
    fetched.unwrap_or_else(|error| panic!("{error}\n{}", c.log_tail()));
    let out = lab.path("out");
    lab.cli(c.home()).ok(["get", "lab-a/content", "-o", out.to_str().expect("UTF-8")]).await;
    let name = "files/000.bin";
    let (sent, came) = (std::fs::read(folder.join(name)), std::fs::read(out.join(name)));
    assert!(sent.expect("it was published") == came.expect("it was fetched"));
}

/// What a package's id names has its hash and is no manifest, or one that breaks a rule: nothing of it is kept.
///
/// ```text
///   lab-x (serves bytes that are no manifest) ◀── lab-c
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t01_bytes_with_the_right_hash_that_are_no_manifest_are_not_kept() {
    let lab = lab();
    let [mut x, c] = lab.federation(["lab-x", "lab-c"]).await;
    x.kill().await.expect("it is killed");
    let mut truth = Truth::default();
    let all = [b"".to_vec(), b"no manifest".to_vec(), vec![0x9f; 40_000], vec![0xa0; 5 << 20]];
    let packages = all.map(|bytes| {
        let package = PackageId(Hash::of(&bytes));
        truth.add_manifest(package, bytes);
        package
    });
    let too_long = PackageId(Hash::of(&vec![1; 9 << 20]));
    truth.add_manifest(too_long, vec![1; 9 << 20]);
    let liar = Hostile::node_of(x.home(), truth, Deed::Honest).await;
    liar.meet(&c).await;
    for package in packages.into_iter().chain([too_long]) {
        liar.claim(package).await;
        let error = c.client().fetch(&Reference::Package(package)).await.expect_err("it is none");
        assert!(["not_fetched", "bad_manifest"].contains(&error.code().unwrap_or("")), "{error}");
        assert!(!c.client().has_blob(package.0).await.expect("c answers"), "{error}");
    }
    assert_eq!(c.client().packages().await.expect("c answers"), []);
    assert_eq!(c.client().store().await.expect("c answers").partials, 0);
}
