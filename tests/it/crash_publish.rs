//! A node dies in the middle of a publication: what was acknowledged is there, what was not is absent or complete.

use std::collections::BTreeMap;
use std::time::Duration;

use guildhall_testkit::protocol::api::{Detail, Published};
use guildhall_testkit::protocol::name::Reference;
use guildhall_testkit::{Lab, Node, Package, publish, publish_ok};

use crate::lab;

/// Kills in the long test.
const KILLS: u64 = 10;

async fn shown(node: &Node, reference: &str) -> Option<Detail> {
    let reference: Reference = reference.parse().expect("a reference");
    match node.client().show(&reference).await {
        Ok(detail) => Some(detail),
        Err(error) => {
            assert_eq!(error.code(), Some("unknown_reference"), "{error}");
            None
        }
    }
}

/// Everything that a listing promises is here: the package is complete and every file has its bytes.
async fn is_complete(lab: &Lab, node: &Node, detail: &Detail) {
    assert!(detail.held, "{} is listed and not here", detail.reference);
    let out = lab.path(&format!("out-{}", detail.listing_id));
    let (reference, out) = (detail.reference.to_string(), out.to_str().expect("UTF-8"));
    let got = lab.cli(node.home()).json(["get", &reference, "-o", out, "--force"]).await;
    assert_eq!(got["fetched_bytes"], 0, "{got}");
}

/// ```text
///   lab-a   (killed while it publishes, restarted)
/// ```
#[tokio::test]
async fn a_publication_cut_off_by_sigkill_is_absent_or_complete_and_can_be_repeated() {
    let lab = lab();
    let mut a = lab.found("lab-a").await;
    let reference = "lab-a/large@1.0.0";
    let folder = lab.write(&Package::data("large").files(12, 200_000, 5));
    let mut ids = Vec::new();
    for wait_ms in [0, 40, 120, 250] {
        let client = a.client().clone();
        let publishing = publish(&client, &folder);
        let killing = async {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            a.kill().await.expect("it is killed");
        };
        let (published, ()) = tokio::join!(publishing, killing);
        a.restart().await.unwrap_or_else(|error| panic!("{error}"));
        let found = shown(&a, reference).await;
        if let Some(detail) = &found {
            is_complete(&lab, &a, detail).await;
            ids.push((detail.package_id, detail.listing_id));
        }
        if let Ok(published) = published {
            let detail = found.expect("it was acknowledged");
            assert_eq!(published.listing_id, Some(detail.listing_id));
            assert_eq!(published.package_id, detail.package_id);
        }
    }
    let again = publish_ok(&a, &folder).await;
    ids.push((again.package_id, again.listing_id.expect("it is listed")));
    ids.dedup();
    assert_eq!(ids.len(), 1, "the same publication has the same ids: {ids:?}");
    is_complete(&lab, &a, &shown(&a, reference).await.expect("it is listed")).await;
    assert_eq!(a.client().status().await.expect("it answers").listings, 1);
}

/// Publishes one package after the other until the node is gone; adds those that were acknowledged.
async fn publish_until_it_dies(
    lab: &Lab,
    client: &guildhall_testkit::client::Client,
    next: &mut u64,
    acknowledged: &mut BTreeMap<String, Published>,
) {
    loop {
        *next += 1;
        let package = Package::data(&format!("images-{next}")).files(2, 2_000, *next);
        match publish(client, &lab.write(&package)).await {
            Ok(published) => acknowledged.insert(published.reference.to_string(), published),
            Err(_) => return,
        };
    }
}

/// ```text
///   lab-a   (killed ten times while it publishes)
/// ```
#[tokio::test]
async fn nothing_acknowledged_is_lost_in_ten_kills() {
    let lab = lab();
    let mut a = lab.found("lab-a").await;
    let (mut next, mut acknowledged) = (0, BTreeMap::new());
    for kill in 0..KILLS {
        // Spread over what one publication takes, and the same in every run of the test.
        let wait = Duration::from_millis(30 + kill * 67 % 400);
        let client = a.client().clone();
        let killing = async {
            tokio::time::sleep(wait).await;
            a.kill().await.expect("it is killed");
        };
        let publishing = publish_until_it_dies(&lab, &client, &mut next, &mut acknowledged);
        tokio::join!(publishing, killing);
        a.restart().await.unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        for (reference, published) in &acknowledged {
            let detail = shown(&a, reference).await;
            let detail = detail.unwrap_or_else(|| panic!("kill {kill}: {reference} is lost"));
            assert_eq!(Some(detail.listing_id), published.listing_id);
            assert!(detail.held && detail.manifest.is_some(), "kill {kill}: {reference}");
        }
    }
    assert!(acknowledged.len() >= 3, "the kills leave too little time: {}", acknowledged.len());
    for reference in acknowledged.keys() {
        let detail = shown(&a, reference).await.expect("it was there a moment ago");
        is_complete(&lab, &a, &detail).await;
    }
    // The logs go on where they stopped: another org gets all of it.
    let listings = a.client().status().await.expect("it answers").listings;
    let b = lab.found("lab-b").await;
    guildhall_testkit::bring_in(&a, &b).await;
    guildhall_testkit::holds_listings(&[&b], listings).await;
}
