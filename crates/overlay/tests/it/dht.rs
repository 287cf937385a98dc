//! Finding who has something.

use guildhall_protocol::Hash;

use crate::support::{Node, always, converge};

/// Waits until `from` finds exactly `providers` for `key`.
async fn finds(from: &Node, key: Hash, providers: &[&Node]) {
    let mut expected: Vec<_> = providers.iter().map(|node| node.key).collect();
    expected.sort_unstable();
    converge("found", || async {
        let mut found = from.overlay.find_providers(key).await.unwrap();
        found.sort_unstable();
        found == expected
    })
    .await;
}

/// a - b - c
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_is_found_by_way_of_a_third_node() {
    let (a, b, c) = (Node::start().await, Node::start().await, Node::start().await);
    a.join(&b).await;
    c.join(&b).await;
    let key = Hash::of(b"something");
    assert_eq!(c.overlay.find_providers(key).await.unwrap(), [], "nobody has it yet");
    a.overlay.provide(key).await.unwrap();
    finds(&c, key, &[&a]).await;
    finds(&b, key, &[&a]).await;
    finds(&a, key, &[]).await;
    b.overlay.provide(key).await.unwrap();
    finds(&c, key, &[&a, &b]).await;
}

/// a    b, then a - b
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_provided_before_the_first_peer_came_is_announced_afterwards() {
    let (a, b, c) = (Node::start().await, Node::start().await, Node::start().await);
    let (kept, withdrawn) = (Hash::of(b"kept"), Hash::of(b"withdrawn"));
    a.overlay.provide(kept).await.unwrap();
    a.overlay.provide(withdrawn).await.unwrap();
    a.overlay.stop_providing(withdrawn).await;
    a.join(&b).await;
    finds(&b, kept, &[&a]).await;
    // c asks only b, who must have heard it from a.
    c.join(&b).await;
    finds(&c, kept, &[&a]).await;
    assert_eq!(c.overlay.find_providers(withdrawn).await.unwrap(), []);
}

/// eight nodes, each connected to the first, all knowing each other's addresses
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_one_of_eight_nodes_finds_every_other_ones_key() {
    let mut nodes = Vec::new();
    for _ in 0..8 {
        nodes.push(Node::start().await);
    }
    for node in &nodes {
        for other in nodes.iter().filter(|other| other.key != node.key) {
            node.overlay.set_known(other.key, other.addresses.clone()).await;
        }
    }
    for node in &nodes[1..] {
        node.join(&nodes[0]).await;
    }
    let key = |node: &Node| Hash::of(node.key.as_bytes());
    for node in &nodes {
        node.overlay.provide(key(node)).await.unwrap();
    }
    for provider in &nodes {
        for node in nodes.iter().filter(|node| node.key != provider.key) {
            finds(node, key(provider), &[provider]).await;
        }
    }
}

/// junk - b - honest
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_peers_junk_does_not_lock_another_peers_key_out() {
    let (junk, b, honest) = (Node::start().await, Node::start().await, Node::start().await);
    junk.join(&b).await;
    // More than the 1,024 at which Kademlia's own store takes nothing any more.
    let mut last = Hash::of(b"");
    for n in 0..1500_u32 {
        last = Hash::of(&n.to_be_bytes());
        junk.overlay.provide(last).await.unwrap();
    }
    finds(&b, last, &[&junk]).await;
    honest.join(&b).await;
    let key = Hash::of(b"honest");
    honest.overlay.provide(key).await.unwrap();
    finds(&b, key, &[&honest]).await;
}

/// a - b, b has not admitted a yet
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_key_counts_only_from_its_admission_on() {
    let (a, b, c) = (Node::start().await, Node::stranger().await, Node::start().await);
    a.connect(&b).await;
    c.connect(&b).await;
    b.overlay.admit(c.key, c.key).await;
    let key = Hash::of(b"something");
    a.overlay.provide(key).await.unwrap();
    always("b has no record", || true).await;
    assert_eq!(c.overlay.find_providers(key).await.unwrap(), [], "b does not name a");
    b.overlay.admit(a.key, a.key).await;
    finds(&c, key, &[&a]).await;
}

/// junk - b - honest, b does not admit junk
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_junk_is_counted_and_leaves_everybody_elses_key_alone() {
    let (junk, b, honest) = (Node::start().await, Node::stranger().await, Node::start().await);
    junk.connect(&b).await;
    honest.connect(&b).await;
    b.overlay.admit(honest.key, honest.key).await;
    for n in 0..200_u32 {
        junk.overlay.provide(Hash::of(&n.to_be_bytes())).await.unwrap();
    }
    let key = Hash::of(b"honest");
    honest.overlay.provide(key).await.unwrap();
    finds(&b, key, &[&honest]).await;
    converge("what is beyond a stranger's few is counted", || async {
        let dropped = b.overlay.dropped().await;
        dropped.iter().any(|row| row.what == "DHT records" && row.count >= 150)
    })
    .await;
    assert_eq!(honest.overlay.find_providers(Hash::of(&1_u32.to_be_bytes())).await.unwrap(), []);
}

/// a - b - c, then a goes
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_away_is_still_named_until_its_org_is_no_longer_a_member() {
    let (a, b, c) = (Node::start().await, Node::start().await, Node::start().await);
    a.join(&b).await;
    c.join(&b).await;
    let key = Hash::of(b"something");
    a.overlay.provide(key).await.unwrap();
    finds(&c, key, &[&a]).await;
    a.overlay.shutdown().await;
    converge("a is gone", || async { !b.sees(&a).await }).await;
    finds(&c, key, &[&a]).await;
    b.overlay.forget_org(b.key).await;
    finds(&c, key, &[&a]).await;
    b.overlay.forget_org(a.key).await;
    finds(&c, key, &[]).await;
}
