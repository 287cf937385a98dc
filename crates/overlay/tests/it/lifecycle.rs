//! Starting, stopping, and a node that does not keep up.

use std::io::ErrorKind;

use guildhall_overlay::{
    Config, DialError, Limits, LookupError, PublishError, RequestError, StartError, start,
};
use guildhall_protocol::Hash;

use crate::support::{Node, Setup, converge};

/// a    (another on a's port)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_an_error_that_names_the_address() {
    let a = Node::start().await;
    let place = a.addresses[0].split("/p2p/").next().unwrap().to_owned();
    let config = |listen: &str| Config {
        seed: [77; 32],
        listen: vec![listen.to_owned()],
        limits: Limits::default(),
    };
    match start(config(&place)).await.map(drop) {
        Err(StartError::Listen { address, source }) => {
            assert_eq!((address, source.kind()), (place.clone(), ErrorKind::AddrInUse));
        }
        other => panic!("expected an address in use, got {other:?}"),
    }
    for form in
        ["nonsense", "/dns4/localhost/tcp/0", "/ip4/127.0.0.1/udp/0", "/ip4/127.0.0.1/udp/0/quic"]
    {
        let result = start(config(form)).await.map(drop);
        assert!(matches!(result, Err(StartError::Address { .. })), "{form}: {result:?}");
    }
    a.overlay.shutdown().await;
    let again = start(config(&place)).await;
    assert!(again.is_ok(), "a port is free again after the shutdown: {:?}", again.err());
}

/// a - b over QUIC, a stops and starts again
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quic_port_in_use_is_an_error_and_free_again_soon_after_a_shutdown() {
    let quic = || {
        let listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_owned()];
        Node::with(Setup { listen, ..Setup::default() })
    };
    let (a, b) = (quic().await, quic().await);
    a.join(&b).await;
    let place = a.addresses[0].split("/p2p/").next().unwrap().to_owned();
    let again = || {
        let (listen, limits) = (vec![place.clone()], Limits::default());
        start(Config { seed: [78; 32], listen, limits })
    };
    match again().await.map(drop) {
        Err(StartError::Listen { source, .. }) => assert_eq!(source.kind(), ErrorKind::AddrInUse),
        other => panic!("expected an address in use, got {other:?}"),
    }
    a.overlay.shutdown().await;
    // Not at once: the socket says goodbye first.
    converge("the port is free", || async { again().await.is_ok() }).await;
}

/// a - b, a stops
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_shutdown_peers_know_and_calls_say_so() {
    let (a, b) = (Node::start().await, Node::start().await);
    a.join(&b).await;
    a.overlay.shutdown().await;
    converge("b knows", || async { b.look(|seen| seen.disconnected == [a.key]) }).await;
    converge("a's events end", || async { a.look(|seen| seen.ended) }).await;
    let dial = a.overlay.dial(b.addresses.clone()).await;
    assert!(matches!(dial, Err(DialError::Stopped)));
    let request = a.overlay.request(b.key, Vec::new()).await;
    assert!(matches!(request, Err(RequestError::Stopped)));
    assert!(matches!(a.overlay.publish(Vec::new()).await, Err(PublishError::Stopped)));
    let lookup = a.overlay.find_providers(Hash::of(b"")).await;
    assert!(matches!(lookup, Err(LookupError::Stopped)));
    assert!(a.overlay.peers().await.is_empty() && a.overlay.addresses().await.is_empty());
    a.overlay.admit(b.key, b.key).await;
    a.overlay.shutdown().await;
}

/// a - b, b reads no events
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_reads_no_events_still_answers_calls_and_refuses_requests_at_once() {
    let limits = Limits { events_max: 2, ..Limits::default() };
    let b = Node::with(Setup { limits, reads: false, ..Setup::default() }).await;
    let mut peers = Vec::new();
    for _ in 0..5 {
        let peer = Node::start().await;
        peer.overlay.dial(b.addresses.clone()).await.unwrap();
        peers.push(peer);
    }
    converge("b sees all", || async { b.overlay.peers().await.len() == 5 }).await;
    let answer = peers[0].overlay.request(b.key, b"anybody there".to_vec()).await;
    assert!(matches!(answer, Err(RequestError::NoAnswer(_))), "{answer:?}");
    for peer in &peers {
        b.overlay.admit(peer.key, peer.key).await;
    }
    for n in 0..200_u8 {
        let _ = peers[0].overlay.publish(vec![n]).await;
    }
    assert_eq!(b.overlay.peers().await.len(), 5);
}
