//! Members that list much and serve it badly: others' packages are copied all the same, and fetched when a person asks.

use std::time::Duration;

use guildhall_testkit::hostile::{Deed, Hostile, Truth};
use guildhall_testkit::protocol::body::Listing;
use guildhall_testkit::protocol::name::Reference;
use guildhall_testkit::protocol::record::Record;
use guildhall_testkit::{
    Node, NotYet, PATIENCE, Package, acquainted, bring_in, converge, holds_listings, publish_ok,
};

use crate::lab;

/// A piece, bytes. At the slowest pace one takes a minute.
const PIECE: usize = 4 << 20;

/// Within which time an honest package is copied: a first look, another one, and a busy machine.
const COPIED_MAX: Duration = PATIENCE.saturating_mul(2);

async fn is_copied(node: &Node, reference: &str) {
    let reference: Reference = reference.parse().expect("a reference");
    let copied = converge(COPIED_MAX, "it is copied", async || {
        let held = node.client().held().await?;
        let found = held.iter().any(|held| {
            held.refs.iter().any(|held| held.to_string() == format!("{reference}@1.0.0"))
        });
        found.then_some(()).ok_or_else(|| NotYet::saw(format!("{held:?}")))
    });
    copied.await.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()));
}

/// Two orgs say that they hold a package, know its manifest, and have none of its files: they do not count.
///
/// ```text
///   lab-a (wants three copies) ◀──copy── lab-c    lab-x, lab-y (only say that they have it)
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_only_says_that_it_holds_a_package_does_not_count_as_a_copy() {
    let lab = lab();
    let [a, mut x, mut y] = lab.federation(["lab-a", "lab-x", "lab-y"]).await;
    let folder = lab.write(&Package::data("wanted").files(3, 100_000, 94));
    let published = publish_ok(&a, &folder).await;
    let manifest = a.client().manifest(published.package_id).await.expect("it is here");
    x.kill().await.expect("it is killed");
    y.kill().await.expect("it is killed");
    let (package, bytes) = manifest.seal();
    let mut truth = Truth::default();
    truth.add_manifest(package, bytes);
    let c = lab.found_copying("lab-c").await;
    bring_in(&a, &c).await;
    acquainted(&[&a, &c]).await;
    let mut liars = Vec::new();
    for home in [x.home(), y.home()] {
        let liar = Hostile::node_of(home, truth.clone(), Deed::Honest).await;
        liar.meet(&c).await;
        liar.claim(package).await;
        liars.push(liar);
    }
    is_copied(&c, "lab-a/wanted").await;
    assert!(liars.iter().all(|liar| liar.requests() > 0), "they were asked");
}

/// Somebody else lists the same package, with a length that it does not have, and asks for the most copies.
///
/// ```text
///   lab-a (wants copies) ◀──copy── lab-c ◀──a false listing of it── lab-x
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_false_listing_of_a_package_keeps_nobody_from_copying_it() {
    let lab = lab();
    let [a, mut x] = lab.federation(["lab-a", "lab-x"]).await;
    let folder = lab.write(&Package::data("wanted").files(3, 100_000, 93));
    let published = publish_ok(&a, &folder).await;
    let listing = published.listing_id.expect("it is listed");
    let record = a.client().record(listing).await.expect("it is here");
    let record = Record::open(&record).expect("a record");
    let mut listing = record.body_as::<Listing>().expect("a listing").expect("a good one");
    listing.release.name = "stolen".parse().expect("a name");
    listing.len_bytes = 1;
    listing.replicas = 255;
    x.kill().await.expect("it is killed");
    let c = lab.found_copying("lab-c").await;
    bring_in(&a, &c).await;
    let liar = Hostile::node_of(x.home(), Truth::default(), Deed::Missing).await;
    liar.list(x.home(), &listing);
    liar.meet(&c).await;
    holds_listings(&[&c], 2).await;
    is_copied(&c, "lab-a/wanted").await;
}

/// ```text
///   lab-x (16 MiB, as slowly as may be) ◀──copy── lab-c ──copy──▶ lab-a (honest, listed later)
///                                                       ──get───▶ lab-a (a file that lab-x names too)
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_producer_holds_up_neither_copies_of_others_nor_who_asks_for_its_files() {
    let lab = lab();
    let [a, mut x] = lab.federation(["lab-a", "lab-x"]).await;
    let slow = Package::data("slow").files(1, 4 * PIECE, 95);
    let folder = lab.write(&slow);
    let published = publish_ok(&x, &folder).await;
    holds_listings(&[&a], 1).await;
    let manifest = x.client().manifest(published.package_id).await.expect("it is here");
    x.kill().await.expect("it is killed");
    let c = lab.found_copying("lab-c").await;
    bring_in(&a, &c).await;
    acquainted(&[&a, &c]).await;
    holds_listings(&[&c], 1).await;
    let liar = Hostile::node_of(x.home(), Truth::of(&manifest, &folder), Deed::Slow).await;
    liar.meet(&c).await;
    liar.claim(published.package_id).await;
    let begun = converge(PATIENCE, "the slow one is being copied", async || {
        let transfers = c.client().transfers().await?;
        let found = transfers.iter().any(|transfer| transfer.package_id == published.package_id);
        found.then_some(()).ok_or_else(|| NotYet::saw(format!("{transfers:?}")))
    });
    begun.await.unwrap_or_else(|error| panic!("{error}\n{}", c.log_tail()));

    // The same file, from somebody who has it and a good line.
    let same = Package::data("same").files(1, 4 * PIECE, 95).file("more.txt", "more");
    publish_ok(&a, &lab.write(&same)).await;
    publish_ok(&a, &lab.write(&Package::data("other").files(2, 100_000, 96))).await;
    holds_listings(&[&c], 3).await;
    is_copied(&c, "lab-a/other").await;
    let same: Reference = "lab-a/same".parse().expect("a reference");
    let fetched = tokio::time::timeout(PATIENCE, c.client().fetch(&same)).await;
    let fetched = fetched.unwrap_or_else(|_| panic!("it waits: {}", c.log_tail()));
    fetched.unwrap_or_else(|error| panic!("{error}\n{}", c.log_tail()));
}
