//! Holders that lie: members' nodes that say a correct hello and then send what is wrong, too much, too little or
//! nothing. Threats T01, T07, T08.

use std::path::Path;
use std::time::{Duration, Instant};

use guildhall_testkit::hostile::{Deed, Hostile, Truth};
use guildhall_testkit::protocol::api::{Published, ScrubRequest};
use guildhall_testkit::protocol::name::Reference;
use guildhall_testkit::{
    Lab, Node, Package, acquainted, file_bytes, forget_peak, holds_listings, peak_bytes,
    publish_ok, rss_bytes,
};

use crate::lab;

/// A piece, bytes.
const PIECE: usize = 4 << 20;

/// What a lie may cost the victim's memory, bytes.
const RISE_MAX_BYTES: u64 = 16 << 20;

/// How long a fetch from one silent holder may take: eight seconds a try, three tries, and a busy machine.
const SILENCE_MAX: Duration = Duration::from_secs(45);

fn reference() -> Reference {
    "lab-a/content".parse().expect("a reference")
}

/// One large file, one of a single piece, and some small ones.
fn content(seed: u64) -> Package {
    Package::data("content")
        .files(1, 6 * PIECE + 12_345, seed)
        .file("middle.bin", vec![7; PIECE - 1])
        .file("one.txt", "one".repeat(1_000))
        .file("two.txt", "two".repeat(2_000))
}

async fn truth_of(holder: &Node, published: &Published, folder: &Path) -> Truth {
    let manifest = holder.client().manifest(published.package_id).await.expect("it is here");
    Truth::of(&manifest, folder)
}

/// What was fetched is what was published, and nothing in the store is damaged.
async fn is_right(lab: &Lab, node: &Node, folder: &Path, out: &str) {
    let out = lab.path(out);
    lab.cli(node.home()).ok(["get", "lab-a/content", "-o", out.to_str().expect("UTF-8")]).await;
    for name in ["files/000.bin", "middle.bin", "one.txt", "two.txt"] {
        let (sent, came) = (std::fs::read(folder.join(name)), std::fs::read(out.join(name)));
        assert!(sent.expect("it was published") == came.expect("it was fetched"), "{name}");
    }
    is_undamaged(node).await;
}

async fn is_undamaged(node: &Node) {
    let report = node.client().scrub(&ScrubRequest::default()).await.expect("it answers");
    assert_eq!(report.found, 0, "{report:?}");
}

/// Four nodes of one org lie, each in its own way; three times.
///
/// ```text
///   lab-a (honest) ◀──┐
///   lab-x (4 liars) ◀─┴── lab-c
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t08_a_fetch_among_four_liars_ends_with_the_right_bytes() {
    let lab = lab();
    let [a, mut x, c] = lab.federation(["lab-a", "lab-x", "lab-c"]).await;
    let folder = lab.write(&content(71));
    let published = publish_ok(&a, &folder).await;
    holds_listings(&[&c], 1).await;
    let truth = truth_of(&a, &published, &folder).await;
    x.kill().await.expect("it is killed");
    let rounds = [
        [Deed::WrongGroup(0), Deed::WrongList, Deed::OtherTree, Deed::BreaksOff],
        [Deed::Longer(1), Deed::Endless, Deed::EndlessList, Deed::Missing],
        [Deed::Gibberish, Deed::HugeFrame, Deed::OtherReply, Deed::Unasked],
    ];
    let mut victim = c;
    for (round, deeds) in rounds.into_iter().enumerate() {
        let mut liars = Vec::new();
        for (number, deed) in (1..).zip(deeds) {
            let liar = Hostile::another_of(x.home(), number, truth.clone(), deed).await;
            liar.meet(&victim).await;
            liar.claim(published.package_id).await;
            liars.push((deed, liar));
        }
        let fetched = victim.client().fetch(&reference()).await;
        let fetched =
            fetched.unwrap_or_else(|error| panic!("{deeds:?}: {error}\n{}", victim.log_tail()));
        assert!(fetched.from.iter().any(|org| org.as_str() == "lab-a"), "{:?}", fetched.from);
        for (deed, liar) in &liars {
            // One stream in which it lies, and at most two more if it may have been an accident.
            let most = if *deed == Deed::BreaksOff { 3 } else { 1 };
            assert!((1..=most).contains(&liar.streams()), "{deed:?}: {} streams", liar.streams());
        }
        is_right(&lab, &victim, &folder, &format!("out-{round}")).await;
        drop(liars);
        // Another victim that has nothing yet.
        if round + 1 < rounds.len() {
            let name = ["lab-d", "lab-e"][round];
            victim = lab.found(name).await;
            guildhall_testkit::bring_in(&a, &victim).await;
            acquainted(&[&victim, &a]).await;
            holds_listings(&[&victim], 1).await;
        }
    }
}

/// The only holder lies: the fetch fails soon, with the reason, and costs no memory.
///
/// ```text
///   lab-a (its node is replaced by a liar) ◀── lab-c
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t07_lies_about_lengths_and_endless_data_cost_no_memory_and_leave_nothing() {
    let lab = lab();
    let [mut a, c] = lab.federation(["lab-a", "lab-c"]).await;
    // What a fetch takes at all is not what is measured.
    publish_ok(&a, &lab.write(&Package::data("warm").files(1, 6 * PIECE, 72))).await;
    let folder = lab.write(&content(73));
    let published = publish_ok(&a, &folder).await;
    holds_listings(&[&c], 2).await;
    c.client().fetch(&"lab-a/warm".parse().expect("a reference")).await.expect("it is fetched");
    let truth = truth_of(&a, &published, &folder).await;
    a.kill().await.expect("it is killed");
    let deeds = [
        Deed::WrongGroup(3),
        Deed::WrongList,
        Deed::OtherTree,
        Deed::Longer(1),
        Deed::Longer(1 << 30),
        Deed::Endless,
        Deed::EndlessList,
        Deed::Gibberish,
        Deed::HugeFrame,
        Deed::OtherReply,
        Deed::Unasked,
        Deed::Missing,
        Deed::BreaksOff,
    ];
    forget_peak(&c);
    let (before, of_files) = (rss_bytes(&c), file_bytes(&c));
    for deed in deeds {
        let liar = Hostile::node_of(a.home(), truth.clone(), deed).await;
        liar.meet(&c).await;
        let begun = Instant::now();
        let error = c.client().fetch(&reference()).await.expect_err("nobody has it");
        assert_eq!(error.code(), Some("not_fetched"), "{deed:?}: {error}");
        assert!(error.to_string().contains("lab-a: ") || deed == Deed::Missing, "{error}");
        assert!(begun.elapsed() < SILENCE_MAX, "{deed:?} took {:?}", begun.elapsed());
        let most = if deed == Deed::BreaksOff { 7 } else { 3 };
        assert!(liar.streams() <= most, "{deed:?}: {} streams", liar.streams());
    }
    let read_in = file_bytes(&c).saturating_sub(of_files);
    let rise = peak_bytes(&c).saturating_sub(before).saturating_sub(read_in);
    assert!(rise <= RISE_MAX_BYTES, "{rise} bytes more");
    assert_eq!(c.client().packages().await.expect("c answers").len(), 1);
    is_undamaged(&c).await;

    // The same node tells the truth at last.
    let honest = Hostile::node_of(a.home(), truth, Deed::Honest).await;
    honest.meet(&c).await;
    let fetched = c.client().fetch(&reference()).await;
    fetched.unwrap_or_else(|error| panic!("{error}\n{}", c.log_tail()));
    drop(honest);
    is_right(&lab, &c, &folder, "out").await;
}

/// ```text
///   lab-a (silent, or a byte a second) ◀── lab-c, lab-d, lab-e
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t07_a_silent_or_dripping_only_holder_ends_the_fetch_in_bounded_time() {
    let lab = lab();
    let [mut a, c, d, e] = lab.federation(["lab-a", "lab-c", "lab-d", "lab-e"]).await;
    let folder = lab.write(&content(74));
    let published = publish_ok(&a, &folder).await;
    holds_listings(&[&c, &d, &e], 1).await;
    let truth = truth_of(&a, &published, &folder).await;
    a.kill().await.expect("it is killed");
    let deeds = [Deed::Silent, Deed::SilentAboutAll, Deed::Drip];
    let tries = [&c, &d, &e].into_iter().zip(1..).zip(deeds).map(|((victim, number), deed)| {
        let (home, truth) = (a.home(), truth.clone());
        async move {
            let liar = Hostile::another_of(home, number, truth, deed).await;
            liar.meet(victim).await;
            liar.claim(published.package_id).await;
            let begun = Instant::now();
            let error = victim.client().fetch(&reference()).await.expect_err("nobody has it");
            assert_eq!(error.code(), Some("not_fetched"), "{deed:?}: {error}");
            assert!(error.to_string().contains("lab-a: it "), "{deed:?}: {error}");
            assert!(begun.elapsed() < SILENCE_MAX, "{deed:?} took {:?}", begun.elapsed());
            assert!(liar.streams() <= 7, "{deed:?}: {} streams", liar.streams());
            let status = victim.client().status().await.expect("it is alive");
            assert_eq!((status.listings, status.packages), (1, 0));
        }
    });
    futures_of(tries).await;
}

/// Runs what does not depend on each other at once.
async fn futures_of<F: Future<Output = ()>>(all: impl Iterator<Item = F>) {
    let [one, two, three]: [F; 3] =
        all.collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("three of them"));
    tokio::join!(one, two, three);
}
