//! Joining twice, and finding back into a federation.

use guildhall_testkit::client::Error;
use guildhall_testkit::protocol::api::InviteRequest;
use guildhall_testkit::protocol::wire::Invite;
use guildhall_testkit::{Package, acquainted, bring_in, holds_listings, publish_ok};

use crate::lab;

/// ```text
///   lab-a ◀──join, twice at once── lab-b (has listed something before)
/// ```
#[tokio::test]
async fn two_joins_at_once_bring_an_org_in_once_and_list_everything_again_once() {
    let lab = lab();
    let (a, b) = (lab.found("lab-a").await, lab.found("lab-b").await);
    publish_ok(&b, &lab.write(&Package::data("images").files(1, 500, 1))).await;
    let text = a.client().invite(&InviteRequest::default()).await.expect("an invite");

    let joins = tokio::join!(b.client().join(&text), b.client().join(&text));
    let joins = [joins.0, joins.1];
    assert!(joins.iter().any(Result::is_ok), "{joins:?}\n{}", b.log_tail());
    for refused in joins.iter().filter_map(|join| join.as_ref().err()) {
        assert!(
            matches!(refused, Error::Api { body, .. } if body.code == "joining"),
            "{refused:?}"
        );
    }
    holds_listings(&[&a, &b], 1).await;
    let records = b.client().status().await.expect("it answers").records;
    // Once more, as a member: nothing is left to be done, and nothing is written.
    b.client().join(&text).await.expect("it is a member");
    assert_eq!(b.client().status().await.expect("it answers").records, records);
    let config = std::fs::read_to_string(b.home().join("config.toml")).expect("the configuration");
    for address in Invite::from_text(&text).expect("it reads").addresses {
        assert_eq!(config.matches(&address).count(), 1, "{address} in {config}");
    }
}

/// ```text
///   lab-a (at a new port) ◀──peers in config.toml── lab-b (at a new port)
/// ```
#[tokio::test]
async fn nodes_that_all_moved_find_each_other_by_a_static_peer() {
    let lab = lab();
    let (mut a, mut b) = (lab.found("lab-a").await, lab.found("lab-b").await);
    bring_in(&a, &b).await;
    acquainted(&[&a, &b]).await;
    let before = a.ready().addresses.clone();
    assert!(b.stop().await.expect("b stops"), "{}", b.log_tail());
    assert!(a.stop().await.expect("a stops"), "{}", a.log_tail());
    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    let config = b.home().join("config.toml");
    let mut text = std::fs::read_to_string(&config).expect("the configuration");
    for (before, now) in before.iter().zip(&a.ready().addresses) {
        assert_ne!(before, now, "the system picked the same port again");
        text = text.replace(before, now);
    }
    std::fs::write(&config, text).expect("the configuration is written");
    b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    acquainted(&[&a, &b]).await;
}
