//! How records spread.

use guildhall_overlay::{Limits, PublishError, PublishOutcome, Verdict};
use guildhall_protocol::{FederationId, Hash};

use crate::support::{Node, Setup, always, converge};

/// Publishes until somebody listens.
async fn publish(node: &Node, bytes: &[u8]) {
    converge("somebody listens", || async {
        node.overlay.publish(bytes.to_vec()).await.unwrap() != PublishOutcome::NoPeers
    })
    .await;
}

/// a - b - c
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accepted_message_travels_on_and_a_rejected_or_ignored_one_does_not() {
    let verdict = |bytes: &[u8]| match bytes {
        b"bad" => Verdict::Reject,
        b"odd" => Verdict::Ignore,
        _ => Verdict::Accept,
    };
    let (a, c) = (Node::start().await, Node::start().await);
    let b = Node::with(Setup { verdict, ..Setup::default() }).await;
    a.join(&b).await;
    c.join(&b).await;
    publish(&a, b"bad").await;
    publish(&a, b"odd").await;
    publish(&a, b"good").await;
    converge("c heard the good one", || async { c.heard(b"good") == 1 }).await;
    assert_eq!(c.look(|seen| seen.gossip[0].0), b.key, "from b, who passed it on");
    assert_eq!((b.heard(b"bad"), b.heard(b"odd"), b.heard(b"good")), (1, 1, 1));
    always("c hears nothing else", || c.look(|seen| seen.gossip.len()) == 1).await;
}

/// a - b - c, where b admits both only after they have said that they listen
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_admitted_a_moment_ago_misses_nothing() {
    let (a, b, c) = (Node::start().await, Node::stranger().await, Node::start().await);
    a.connect(&b).await;
    c.connect(&b).await;
    converge("b knows that both listen, they admit b", || async {
        let listen = b.overlay.peers().await.iter().filter(|info| info.listens).count() == 2;
        listen && a.gossips_with(&b).await && c.gossips_with(&b).await
    })
    .await;
    b.overlay.admit(a.key, a.key).await;
    b.overlay.admit(c.key, c.key).await;
    for n in 0..5_u8 {
        a.overlay.publish(vec![n]).await.unwrap();
    }
    converge("c heard all", || async { (0..5_u8).all(|n| c.heard(&[n]) == 1) }).await;
}

/// a - b, b - c, c - a
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_content_is_delivered_once_whoever_publishes_it_and_however_it_comes() {
    let (a, b, c) = (Node::start().await, Node::start().await, Node::start().await);
    a.join(&b).await;
    b.join(&c).await;
    c.join(&a).await;
    publish(&a, b"warm up").await;
    converge("a mesh", || async { b.heard(b"warm up") + c.heard(b"warm up") == 2 }).await;

    let message = b"the same".to_vec();
    let (one, two) = tokio::join!(a.overlay.publish(message.clone()), c.overlay.publish(message));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(one == PublishOutcome::Sent || two == PublishOutcome::Sent);
    converge("b heard it", || async { b.heard(b"the same") == 1 }).await;
    always("nobody hears it twice", || {
        [&a, &b, &c].iter().all(|node| node.heard(b"the same") <= 1)
    })
    .await;
    let again = b.overlay.publish(b"the same".to_vec()).await.unwrap();
    assert_eq!(again, PublishOutcome::Duplicate);
}

/// hub - leaf, six times
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leaf_of_a_star_reaches_all_others() {
    let hub = Node::start().await;
    let mut leaves = Vec::new();
    for _ in 0..6 {
        let leaf = Node::start().await;
        leaf.join(&hub).await;
        leaves.push(leaf);
    }
    publish(&leaves[0], b"to all").await;
    converge("all leaves heard", || async {
        leaves[1..].iter().all(|leaf| leaf.heard(b"to all") == 1)
    })
    .await;
}

/// a - b
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_record_passes_and_anything_too_large_is_an_error() {
    let (a, b) = (Node::start().await, Node::start().await);
    a.join(&b).await;
    let largest = vec![7; guildhall_protocol::limits::RECORD_MAX_BYTES];
    publish(&a, &largest).await;
    converge("b heard the largest record", || async { b.heard(&largest) == 1 }).await;
    let Err(PublishError::TooLarge { max_bytes, .. }) =
        a.overlay.publish(vec![8; 64 * 1024 + 1]).await
    else {
        panic!("64 KiB + 1 should be too large");
    };
    let limit = vec![9; max_bytes];
    assert_eq!(a.overlay.publish(limit.clone()).await.unwrap(), PublishOutcome::Sent);
    converge("the limit it names is true", || async { b.heard(&limit) == 1 }).await;
    assert!(a.overlay.publish(vec![9; max_bytes + 1]).await.is_err());
}

/// a    b    (a - b later, in two federations)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_to_nobody_is_no_error_and_federations_do_not_mix() {
    let (a, b) = (Node::start().await, Node::start().await);
    let alone = a.overlay.publish(b"alone".to_vec()).await.unwrap();
    assert_eq!(alone, PublishOutcome::NoPeers);
    b.overlay.set_federation(FederationId(Hash::of(b"another"))).await;
    a.connect(&b).await;
    converge("both admit", || async { a.admits(&b).await && b.admits(&a).await }).await;
    always("b hears nothing", || b.look(|seen| seen.gossip.is_empty())).await;
    let foreign = a.overlay.publish(b"foreign".to_vec()).await.unwrap();
    assert_eq!(foreign, PublishOutcome::NoPeers);
    b.overlay.set_federation(FederationId(Hash::of(b"federation"))).await;
    publish(&a, b"at home").await;
    converge("b has come back", || async { b.heard(b"at home") == 1 }).await;
    assert_eq!(b.look(|seen| seen.gossip.len()), 1);
}

/// a - b
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_invalid_messages_is_soon_not_listened_to() {
    let a = Node::start().await;
    let b = Node::with(Setup { verdict: |_| Verdict::Reject, ..Setup::default() }).await;
    a.join(&b).await;
    publish(&a, b"the first").await;
    for n in 0..30_u8 {
        a.overlay.publish(vec![n; 8]).await.unwrap();
        // One after the other, so that each verdict counts before the next message.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    always("b does not listen", || b.look(|seen| seen.gossip.len()) <= 10).await;
    assert!(b.look(|seen| seen.gossip.len()) >= 5, "but it did for a while");
}

/// a - b
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_too_much_is_not_listened_to_for_a_while() {
    let a = Node::start().await;
    let limits = Limits { gossip_burst: 10, gossip_per_second: 1, ..Limits::default() };
    let b = Node::with(Setup { limits, ..Setup::default() }).await;
    a.join(&b).await;
    publish(&a, b"the first").await;
    for n in 0..100_u8 {
        a.overlay.publish(vec![n; 8]).await.unwrap();
    }
    always("b hears no more than it wants", || b.look(|seen| seen.gossip.len()) <= 12).await;
    assert!(b.look(|seen| seen.gossip.len()) >= 10);
}
