//! A node dies in the middle of a fetch.

use guildhall_testkit::protocol::name::Reference;
use guildhall_testkit::{
    Node, Package, closely, damage, holds_listings, pause, publish_ok, resume,
};

use crate::lab;

/// Files of the package that is fetched.
const FILES: u64 = 40;

/// Length of each, bytes.
const FILE_BYTES: usize = 1 << 20;

/// Blobs after which at least one commit is over: a node keeps what it fetched every 8 MiB.
const MANY: usize = 12;

/// Waits until a node's store has files of this many blobs.
async fn until_blobs(node: &Node, count: usize) {
    let home = node.home().to_owned();
    closely("some blobs are there", move || damage::blob_files(&home) >= count).await;
}

/// ```text
///   lab-a (40 files of 1 MiB; pauses while b dies) ◀──get── lab-b (killed, restarted)
/// ```
#[tokio::test]
async fn a_fetch_that_was_cut_off_by_sigkill_goes_on_where_it_was() {
    let lab = lab();
    let [a, mut b] = lab.federation(["lab-a", "lab-b"]).await;
    let folder = lab.write(&Package::data("large").files(40, FILE_BYTES, 11));
    let published = publish_ok(&a, &folder).await;
    holds_listings(&[&b], 1).await;
    let reference: Reference = "lab-a/large".parse().expect("a reference");

    let before = damage::blob_files(b.home());
    let client = b.client().clone();
    let fetching = client.fetch(&reference);
    let killing = async {
        until_blobs(&b, before + MANY).await;
        pause(&a);
        b.kill().await.expect("b is killed");
        resume(&a);
    };
    let (fetched, ()) = tokio::join!(fetching, killing);
    fetched.expect_err("the node that was asked is dead");

    b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    let status = b.client().status().await.expect("b answers");
    assert_eq!((status.listings, status.packages), (1, 0), "the package is not complete yet");
    guildhall_testkit::acquainted(&[&a, &b]).await;
    let fetched = b.client().fetch(&reference).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(fetched.package_id, published.package_id);
    assert!(fetched.fetched_files > 0, "it was complete before the kill");
    assert!(fetched.fetched_files < FILES, "it began anew: {} files", fetched.fetched_files);

    let out = lab.path("out");
    lab.cli(b.home()).ok(["get", "lab-a/large", "-o", out.to_str().expect("UTF-8")]).await;
    for number in 0..FILES {
        let name = format!("files/{number:03}.bin");
        let (sent, came) = (std::fs::read(folder.join(&name)), std::fs::read(out.join(&name)));
        assert!(sent.expect("it was published") == came.expect("it was fetched"), "{name}");
    }
}

/// ```text
///   lab-a (killed while it serves, restarted) ◀──get── lab-b
/// ```
#[tokio::test]
async fn a_holder_that_dies_is_named_and_the_fetch_goes_on_when_it_is_back() {
    let lab = lab();
    let [mut a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let folder = lab.write(&Package::data("large").files(40, FILE_BYTES, 12));
    publish_ok(&a, &folder).await;
    holds_listings(&[&b], 1).await;
    let reference: Reference = "lab-a/large".parse().expect("a reference");

    let before = damage::blob_files(b.home());
    let fetching = b.client().fetch(&reference);
    let killing = async {
        until_blobs(&b, before + MANY).await;
        a.kill().await.expect("a is killed");
    };
    let (fetched, ()) = tokio::join!(fetching, killing);
    let error = fetched.expect_err("the only holder is gone");
    assert_eq!(error.code(), Some("not_fetched"), "{error}");
    assert!(error.to_string().contains("lab-a"), "{error}");
    assert_eq!(b.client().status().await.expect("b is alive").packages, 0);

    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    guildhall_testkit::acquainted(&[&a, &b]).await;
    let fetched = b.client().fetch(&reference).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(fetched.fetched_files > 0 && fetched.fetched_files < FILES, "{fetched:?}");
}

/// ```text
///   lab-a (killed while it serves) ◀──get── lab-c ──goes on with──▶ lab-b (has a copy)
/// ```
#[tokio::test]
async fn another_holder_takes_over_when_one_dies_in_the_middle() {
    let lab = lab();
    let [a, b, c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    let folder = lab.write(&Package::data("large").files(40, FILE_BYTES, 13));
    publish_ok(&a, &folder).await;
    holds_listings(&[&b, &c], 1).await;
    let reference: Reference = "lab-a/large".parse().expect("a reference");
    b.client().fetch(&reference).await.unwrap_or_else(|error| panic!("{error}"));

    let before = damage::blob_files(c.home());
    let mut holders = [a, b];
    let fetching = c.client().fetch(&reference);
    let killing = async {
        until_blobs(&c, before + MANY).await;
        holders[0].kill().await.expect("a is killed");
    };
    let (fetched, ()) = tokio::join!(fetching, killing);
    let fetched = fetched.unwrap_or_else(|error| panic!("{error}\n{}", c.log_tail()));
    assert_eq!(fetched.fetched_files, FILES, "nothing was fetched twice or left out");
    assert!(fetched.from.iter().any(|org| org.as_str() == "lab-b"), "{:?}", fetched.from);
}
