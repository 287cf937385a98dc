//! How listings reach those who were not there, and those who do not keep them.

use guildhall_testkit::protocol::api::Via;
use guildhall_testkit::protocol::query::Query;
use guildhall_testkit::{
    Node, NotYet, PATIENCE, Package, acquainted, bring_in, converge, holds_listings, publish_ok,
};

use crate::lab;

async fn references(node: &Node) -> Vec<String> {
    let answer = node.client().search(&Query::default()).await.expect("it answers");
    let mut found: Vec<_> = answer.results.iter().map(|r| r.reference.to_string()).collect();
    found.sort();
    found
}

/// ```text
///   lab-a ──invites──▶ lab-b ──invites──▶ lab-c (joins last)
///   2 listings         1 listing
/// ```
#[tokio::test]
async fn a_chain_of_invites_makes_one_federation_and_the_late_joiner_gets_everything() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let b = lab.found("lab-b").await;
    let c = lab.found("lab-c").await;
    // Published before anybody is there to hear of it.
    publish_ok(&a, &lab.write(&Package::data("first").files(1, 100, 1))).await;
    publish_ok(&b, &lab.write(&Package::data("own").files(1, 100, 2))).await;
    bring_in(&a, &b).await;
    publish_ok(&a, &lab.write(&Package::data("second").files(1, 100, 3))).await;
    bring_in(&b, &c).await;
    acquainted(&[&a, &b, &c]).await;
    holds_listings(&[&a, &b, &c], 3).await;
    let all = ["lab-a/first@1.0.0", "lab-a/second@1.0.0", "lab-b/own@1.0.0"];
    for node in [&a, &b, &c] {
        assert_eq!(references(node).await, all);
    }
    // And what comes now reaches all by gossip.
    publish_ok(&c, &lab.write(&Package::data("third").files(1, 100, 4))).await;
    holds_listings(&[&a, &b], 4).await;
    let fetched = a.client().fetch(&"lab-c/third".parse().expect("a reference")).await;
    assert_eq!(fetched.expect("c serves it").fetched_files, 1);
}

/// ```text
///   lab-a (publishes)   lab-b (stopped or killed meanwhile, on other ports afterwards)
/// ```
#[tokio::test]
async fn a_node_that_was_away_catches_up_when_it_is_back() {
    let lab = lab();
    let [a, mut b] = lab.federation(["lab-a", "lab-b"]).await;
    publish_ok(&a, &lab.write(&Package::data("before").files(1, 100, 1))).await;
    holds_listings(&[&b], 1).await;
    assert!(b.stop().await.expect("b stops"), "{}", b.log_tail());
    for number in 0..3 {
        let package = Package::data(&format!("meanwhile-{number}")).files(1, 100, 10 + number);
        publish_ok(&a, &lab.write(&package)).await;
    }
    b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    acquainted(&[&a, &b]).await;
    holds_listings(&[&b], 4).await;

    // Both were away, and both come back elsewhere: the one that starts second still finds the first.
    let mut a = a;
    b.kill().await.expect("b is killed");
    publish_ok(&a, &lab.write(&Package::data("last").files(1, 100, 20))).await;
    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    // b knows only a's old address and a only b's; neither answers, until somebody tells them.
    let line = lab.cli(a.home()).ok(["invite"]).await;
    let rejoined = lab.cli(b.home()).run(["join", &line]).await;
    assert_eq!(rejoined.code, 0, "{}", rejoined.stderr);
    let caught_up = converge(PATIENCE, "b has the last listing", async || {
        match b.client().status().await?.listings {
            5 => Ok(()),
            listings => Err(NotYet::saw(format!("{listings} listings"))),
        }
    });
    caught_up.await.unwrap_or_else(|error| panic!("{error}\n{}", b.log_tail()));
}

/// ```text
///   lab-a (publishes vision)   lab-b (follows all)   lab-c (follows audio only)
///                                    ▲                    │
///                                    └──── found in DHT ──┘
/// ```
#[tokio::test]
async fn a_node_that_does_not_follow_a_category_finds_it_through_the_dht_and_verifies_it() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let b = lab.found("lab-b").await;
    let c = lab.found_following("lab-c", &["audio"]).await;
    bring_in(&a, &b).await;
    bring_in(&a, &c).await;
    acquainted(&[&a, &b, &c]).await;
    let published = publish_ok(&a, &lab.write(&Package::data("images").files(2, 100, 1))).await;
    let speech = Package::data_in("speech", "audio/speech-recognition").files(1, 100, 2);
    publish_ok(&a, &lab.write(&speech)).await;
    holds_listings(&[&b], 2).await;
    holds_listings(&[&c], 1).await;

    let category = |text: &str| Query {
        category: Some(text.parse().expect("a category")),
        ..Query::default()
    };
    let own = c.client().search(&category("audio")).await.expect("c answers");
    assert_eq!((own.via, own.results.len()), (Via::Local, 1));

    let found = converge(PATIENCE, "c finds the images through the DHT", async || {
        let answer = c.client().search(&category("vision")).await?;
        if answer.via == Via::Dht && answer.results.len() == 1 {
            return Ok(answer);
        }
        Err(NotYet::saw(format!("{answer:?}")))
    });
    let answer = found.await.unwrap_or_else(|error| panic!("{error}\n{}", c.log_tail()));
    assert!(answer.holders >= 1 && answer.answered >= 1, "{answer:?}");
    let result = &answer.results[0];
    assert_eq!(Some(result.listing_id), published.listing_id);
    assert!(!result.terms.is_empty(), "each score has its terms");
    // What was found is the signed record itself: the asking node serves it, and can act on it.
    let fetched =
        c.client().fetch(&result.reference).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(fetched.package_id, published.package_id);
    for file in &fetched.manifest.files {
        assert!(c.client().has_blob(file.hash).await.expect("c answers"));
    }

    // Named, it is found without a category.
    let d = lab.cli(c.home()).json(["show", "lab-a/images"]).await;
    assert_eq!(d["package_id"], published.package_id.to_string());
}
