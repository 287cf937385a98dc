//! Who comes in, and what a stranger gets: words, and nothing else.

use guildhall_testkit::client::Error;
use guildhall_testkit::protocol::api::InviteRequest;
use guildhall_testkit::protocol::name::Reference;
use guildhall_testkit::protocol::query::Query;
use guildhall_testkit::{
    Node, NotYet, PATIENCE, Package, acquainted, bring_in, converge, holds_listings, publish_ok,
};

use crate::lab;

/// A join that must be refused; returns the stable word and what was said.
async fn refused(node: &Node, invite: &str) -> (String, String) {
    match node.client().join(invite).await {
        Err(Error::Api { body, .. }) => {
            assert!(body.help.is_some(), "no help: {body:?}");
            (body.code.clone(), body.message.clone())
        }
        other => panic!("it was not refused in words: {other:?}"),
    }
}

async fn invite(node: &Node, expires_in_s: Option<u64>) -> String {
    node.client().invite(&InviteRequest { expires_in_s }).await.expect("an invite")
}

/// A node is alone in its own federation and knows nothing of another one.
async fn has_nothing(node: &Node) {
    let status = node.client().status().await.expect("it is alive");
    assert_eq!(status.federation.members.len(), 1);
    assert_eq!((status.listings, status.packages, status.peers), (0, 0, 0));
    let found = node.client().search(&Query::default()).await.expect("it answers");
    assert!(found.results.is_empty());
}

/// ```text
///   lab-a ◀── lab-b (member)
///     ▲
///     └────── lab-x (has a used invite, so it knows the address and dials)
/// ```
#[tokio::test]
async fn a_stranger_that_dials_is_not_admitted_and_gets_neither_answers_nor_bytes() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let folder = lab.write(&Package::data("secret").files(2, 1_000, 1));
    let published = publish_ok(&a, &folder).await;
    let used = invite(&a, None).await;
    let b = lab.found("lab-b").await;
    b.client().join(&used).await.expect("the first use");
    acquainted(&[&a, &b]).await;

    let x = lab.found("lab-x").await;
    let (code, said) = refused(&x, &used).await;
    assert_eq!(code, "not_admitted");
    assert!(said.contains("used"), "{said}");

    // It is connected now, or was; it keeps saying hello, and it stays a stranger.
    let seen = converge(PATIENCE, "a has looked at the stranger", async || {
        let log = std::fs::read_to_string(a.log())?;
        log.contains("may not join").then_some(()).ok_or_else(|| NotYet::saw("no word of it"))
    });
    seen.await.unwrap_or_else(|error| panic!("{error}\n{}", a.log_tail()));
    for peer in a.client().peers().await.expect("a answers") {
        let is_stranger = peer.peer_id == x.ready().peer_id;
        assert!(!(is_stranger && (peer.admitted || peer.org.is_some())), "{peer:?}");
    }
    has_nothing(&x).await;
    let by_id = Reference::Package(published.package_id);
    let error = x.client().fetch(&by_id).await.expect_err("a stranger gets no bytes");
    assert!(matches!(error.code(), Some("not_fetched" | "unknown_reference")), "{error}");
    let error = x.client().show(&"lab-a/secret".parse().expect("a reference")).await;
    assert_eq!(error.expect_err("nor answers").code(), Some("unknown_reference"));

    let status = a.client().status().await.expect("a is alive");
    let members = status.federation.members.iter().map(ToString::to_string);
    let members: std::collections::BTreeSet<_> = members.collect();
    let members: Vec<_> = members.into_iter().collect();
    assert_eq!((members, status.peers), (vec!["lab-a".to_owned(), "lab-b".to_owned()], 1));
    b.client().fetch(&by_id).await.expect("a member gets them");
}

/// ```text
///   lab-a ◀──join── lab-x   (invite expired, garbled, cut)
/// ```
#[tokio::test]
async fn invites_that_do_not_hold_are_refused_with_words() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let x = lab.found("lab-x").await;

    let expired = invite(&a, Some(0)).await;
    let (code, said) = refused(&x, &expired).await;
    assert_eq!(code, "invite_expired");
    assert!(said.contains("expired"), "{said}");

    let good = invite(&a, None).await;
    let mut flipped = good.clone().into_bytes();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'a' { b'b' } else { b'a' };
    for bad in ["", "no invite", &good[..good.len() - 9], &String::from_utf8_lossy(&flipped)] {
        // Where a flip hits decides whether the text, the key or the address is wrong.
        let (code, said) = refused(&x, bad).await;
        assert!(!code.is_empty() && !said.is_empty(), "{bad}");
        has_nothing(&x).await;
    }
    let cli = lab.cli(x.home());
    cli.fails(4, ["join", "no invite"]).await;
    x.client().join(&good).await.expect("the good one still holds");
}

/// ```text
///   lab-a ◀── lab-b
///     ▲
///     └────── lab-b (another org of the same name)
/// ```
#[tokio::test]
async fn a_taken_name_is_refused_and_the_first_bearer_keeps_it() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let b = lab.found("lab-b").await;
    bring_in(&a, &b).await;
    let twin = {
        let options = guildhall_testkit::Options::new(crate::GUILD, lab.path("twin"));
        Node::create(&"lab-b".parse().expect("a name"), options).await.expect("it is founded")
    };
    let (_, said) = refused(&twin, &invite(&a, None).await).await;
    assert!(said.contains("lab-b"), "{said}");
    has_nothing(&twin).await;
    let same_as_host = {
        let options = guildhall_testkit::Options::new(crate::GUILD, lab.path("twin-a"));
        Node::create(&"lab-a".parse().expect("a name"), options).await.expect("it is founded")
    };
    let (_, said) = refused(&same_as_host, &invite(&a, None).await).await;
    assert!(said.contains("lab-a"), "{said}");
    acquainted(&[&a, &b]).await;
}

/// ```text
///   lab-a ◀── lab-b      lab-c ◀── lab-d
///               └──join──▶ (refused: it has a federation)
/// ```
#[tokio::test]
async fn a_node_with_a_federation_does_not_join_another_and_joining_twice_is_no_error() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let c = lab.found("lab-c").await;
    let (code, said) = refused(&b, &invite(&c, None).await).await;
    assert_eq!(code, "in_a_federation");
    assert!(said.contains("1 other orgs"), "{said}");
    b.client().join(&invite(&a, None).await).await.expect("it is in there already");
    publish_ok(&a, &lab.write(&Package::data("images").files(1, 10, 1))).await;
    holds_listings(&[&b], 1).await;
}

/// ```text
///   lab-a (gone) ◀──join── lab-x
/// ```
#[tokio::test]
async fn an_invite_of_a_node_that_is_gone_says_that_it_is_not_reached() {
    let lab = lab();
    let mut a = lab.found("lab-a").await;
    let x = lab.found("lab-x").await;
    let good = invite(&a, None).await;
    a.kill().await.expect("a is killed");
    let (code, said) = refused(&x, &good).await;
    assert_eq!(code, "not_reached");
    assert!(said.contains("lab-a"), "{said}");
    let cli = lab.cli(x.home());
    cli.fails(6, ["join", &good]).await;
    has_nothing(&x).await;
}
