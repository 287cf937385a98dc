//! Publishing without a listing: tested and kept, found by nobody, fetched by its id, listed later.

use guildhall_testkit::client::Error;
use guildhall_testkit::client::package::read_dir;
use guildhall_testkit::protocol::api::{GcRequest, ListRequest, PublishRequest, Published};
use guildhall_testkit::protocol::name::Reference;
use guildhall_testkit::{Node, Package, acquainted, holds_listings, publish_ok, stage};

use crate::lab;

/// Sends the package in a folder and publishes it without a listing.
async fn store(node: &Node, folder: &std::path::Path) -> Result<Published, Error> {
    let draft = read_dir(folder).expect("a package");
    draft.upload(node.client(), |_| {}).await.expect("it is sent");
    let request = draft.request(false).expect("it keeps every rule");
    node.client().publish(&PublishRequest { unlisted: true, ..request }).await
}

fn list(reference: &str) -> ListRequest {
    let reference = reference.parse().expect("a reference");
    ListRequest { reference, categories: None, summary: None, keywords: None }
}

async fn drafts(node: &Node) -> Vec<String> {
    let unlisted = node.client().unlisted().await.expect("it answers");
    unlisted.into_iter().map(|it| it.reference.to_string()).collect()
}

/// ```text
///   lab-a (a draft; gc, restart, then listed) ──▶ lab-b (fetches it by its id first)
/// ```
#[tokio::test]
async fn an_unlisted_package_survives_gc_and_a_restart_and_is_listed_later() {
    let lab = lab();
    let [mut a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let folder = lab.write(&Package::data("pictures").files(3, 40_000, 7));
    let stored = store(&a, &folder).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(stored.listing_id, None);
    assert_eq!(drafts(&a).await, ["lab-a/pictures@1.0.0"]);
    assert_eq!(a.client().status().await.expect("it answers").listings, 0);

    assert!(a.stop().await.expect("it stops"));
    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(drafts(&a).await, ["lab-a/pictures@1.0.0"]);
    let everything = GcRequest { unused_s: Some(0), ..GcRequest::default() };
    let swept = a.client().collect(&everything).await.expect("it sweeps");
    assert_eq!((swept.packages.len(), swept.blobs), (0, 0), "{swept:?}");
    acquainted(&[&a, &b]).await;
    let fetched = b.client().fetch(&Reference::Package(stored.package_id)).await;
    let fetched = fetched.unwrap_or_else(|error| panic!("{error}\n{}", b.log_tail()));
    assert_eq!(fetched.manifest.files.len(), 3);

    let renamed = ListRequest { summary: Some("Pictures".to_owned()), ..list("lab-a/pictures") };
    let listed = a.client().list(&renamed).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((listed.package_id, listed.listing_id.is_some()), (stored.package_id, true));
    holds_listings(&[&a, &b], 1).await;
    let shown = b.client().show(&"lab-a/pictures".parse().expect("a reference")).await;
    assert_eq!(shown.expect("it is found").listing.summary, "Pictures");
    assert_eq!(drafts(&a).await, Vec::<String>::new());

    // Again is no error, changing it is.
    let again = a.client().list(&list("lab-a/pictures")).await.expect("it is listed");
    assert_eq!(again.listing_id, listed.listing_id);
    let changed = a.client().list(&renamed).await.expect_err("it is listed");
    assert_eq!(changed.code(), Some("already_listed"));
    assert_eq!(a.client().status().await.expect("it answers").listings, 1);
}

/// ```text
///   lab-a   (alone)
/// ```
#[tokio::test]
async fn a_version_stands_for_its_package_whether_it_is_listed_or_not() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let folder = |seed: u64| {
        let _old = std::fs::remove_dir_all(lab.path("package-pictures-1.0.0"));
        lab.write(&Package::data("pictures").files(2, 20_000, seed))
    };
    let stored = store(&a, &folder(1)).await.unwrap_or_else(|error| panic!("{error}"));
    let records = a.client().status().await.expect("it answers").records;
    let again = store(&a, &folder(1)).await.expect("the same again is no error");
    assert_eq!(again.package_id, stored.package_id);
    assert_eq!(a.client().status().await.expect("it answers").records, records, "nothing is new");

    let other = folder(2);
    let refused = store(&a, &other).await.expect_err("the version is taken");
    assert_eq!(refused.code(), Some("version_taken"), "{refused}");
    let refused = guildhall_testkit::publish(a.client(), &other).await;
    assert!(refused.expect_err("the version is taken").to_string().contains("never changes"));
    assert_eq!(drafts(&a).await, ["lab-a/pictures@1.0.0"]);

    // Publishing the draft's own package lists it; its release is signed already.
    let published = publish_ok(&a, &folder(1)).await;
    assert_eq!(published.package_id, stored.package_id);
    assert!(published.listing_id.is_some());
    assert_eq!(drafts(&a).await, Vec::<String>::new());
    assert_eq!(a.client().status().await.expect("it answers").records, records + 1);
}

/// ```text
///   lab-a   (alone)
/// ```
#[tokio::test]
async fn what_fails_its_checks_is_no_draft_and_what_is_no_draft_is_not_listed() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let wrong = Package::stage("odd", &stage::echo())
        .contract(5_000, 1 << 24, 65_536)
        .test("wrong", b"this", b"that");
    let refused = store(&a, &lab.write(&wrong)).await.expect_err("a check fails");
    assert_eq!(refused.code(), Some("checks_failed"), "{refused}");
    assert_eq!(drafts(&a).await, Vec::<String>::new());
    for reference in ["lab-a/odd", "lab-a/odd@1.0.0", "lab-b/odd", &format!("b3:{:064}", 0)] {
        let unknown = a.client().list(&list(reference)).await.expect_err("there is none");
        assert_eq!(unknown.code(), Some("unknown_draft"), "{reference}: {unknown}");
    }
    // The highest version is meant when none is named.
    for version in ["1.0.0", "1.2.0", "1.10.0"] {
        let package = Package::data("pictures").files(1, 1_000, 3);
        let folder = lab.write(&package.at(version));
        store(&a, &folder).await.unwrap_or_else(|error| panic!("{error}"));
    }
    let listed = a.client().list(&list("lab-a/pictures")).await.expect("it is listed");
    assert_eq!(listed.reference.to_string(), "lab-a/pictures@1.10.0");
    assert_eq!(drafts(&a).await.len(), 2);
    let bad = ListRequest { summary: Some("x".repeat(100_000)), ..list("lab-a/pictures@1.0.0") };
    let bad = a.client().list(&bad).await.expect_err("that is no listing");
    assert_eq!(bad.code(), Some("bad_listing"));
    assert_eq!(drafts(&a).await.len(), 2);
}
