//! Who counts, from when on, and for how long.

use std::time::{Duration, Instant};

use guildhall_overlay::{DialError, Event, Limits, PublishOutcome, StreamError, StreamKind};
use guildhall_protocol::Hash;
use tokio::io::AsyncReadExt as _;

use crate::support::{Node, SOON, Setup, always, converge};

/// a -> b
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_connect_are_strangers_until_admitted() {
    let (a, b) = (Node::stranger().await, Node::stranger().await);
    a.connect(&b).await;
    assert!(!a.admits(&b).await && !b.admits(&a).await);
    assert_eq!(a.look(|seen| seen.connected.clone()), [(b.key, false)]);
    assert_eq!(b.look(|seen| seen.connected.clone()), [(a.key, true)]);

    assert_eq!(a.overlay.request(b.key, b"hello".to_vec()).await.unwrap(), b"hello");
    assert_eq!(b.look(|seen| seen.requests.clone()), [(a.key, false, b"hello".to_vec())]);

    b.overlay.admit(a.key, a.key).await;
    assert!(b.admits(&a).await && !a.admits(&b).await, "each side decides for itself");
    a.overlay.request(b.key, b"again".to_vec()).await.unwrap();
    assert_eq!(b.look(|seen| seen.requests[1].clone()), (a.key, true, b"again".to_vec()));
}

/// a -> b, b has not admitted a; then the other way round
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_flows_in_neither_direction_before_admission_and_in_both_after() {
    let (a, b) = (Node::start().await, Node::stranger().await);
    a.connect(&b).await;
    converge("a admits b", || a.admits(&b)).await;
    converge("a knows that b listens", || async {
        let outcome = a.overlay.publish(b"from one not admitted".to_vec()).await.unwrap();
        outcome != PublishOutcome::NoPeers
    })
    .await;
    let nobody = b.overlay.publish(b"to one not admitted".to_vec()).await.unwrap();
    assert_eq!(nobody, PublishOutcome::NoPeers);
    always("nobody heard anything", || {
        a.look(|seen| seen.gossip.is_empty()) && b.look(|seen| seen.gossip.is_empty())
    })
    .await;

    b.overlay.admit(a.key, a.key).await;
    a.overlay.publish(b"from a".to_vec()).await.unwrap();
    b.overlay.publish(b"from b".to_vec()).await.unwrap();
    converge("both heard", || async { a.heard(b"from b") == 1 && b.heard(b"from a") == 1 }).await;
}

/// a -> b
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_cut_off_at_the_deadline_and_an_admitted_peer_is_not() {
    let handshake_deadline = Duration::from_secs(1);
    let limits = Limits { handshake_deadline, ..Limits::default() };
    let b = Node::with(Setup { limits, admit_everyone: false, ..Setup::default() }).await;
    let (stranger, member) = (Node::start().await, Node::start().await);
    let start = Instant::now();
    stranger.connect(&b).await;
    member.connect(&b).await;
    b.overlay.admit(member.key, member.key).await;
    converge("the stranger is cut off", || async {
        stranger.look(|seen| seen.disconnected == [b.key])
    })
    .await;
    assert!(start.elapsed() >= handshake_deadline, "not before the deadline");
    assert_eq!(b.look(|seen| seen.disconnected.clone()), [stranger.key]);
    assert!(b.admits(&member).await);
}

/// a -> b
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expelled_peer_is_disconnected_and_comes_back_as_a_stranger() {
    let (a, b) = (Node::start().await, Node::stranger().await);
    a.connect(&b).await;
    b.overlay.admit(a.key, a.key).await;
    let key = Hash::of(b"what a has");
    a.overlay.provide(key).await.unwrap();
    converge("b can find a", || async { b.overlay.find_providers(key).await.unwrap() == [a.key] })
        .await;

    b.overlay.expel(a.key).await;
    converge("a notices", || async { a.look(|seen| seen.disconnected == [b.key]) }).await;
    assert_eq!(b.overlay.find_providers(key).await.unwrap(), [], "its records are gone");
    a.connect(&b).await;
    assert!(!b.admits(&a).await);
    b.overlay.admit(a.key, a.key).await;
    assert!(b.admits(&a).await, "and can be admitted again");
}

/// a -> b
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_need_admission_on_both_sides() {
    let (a, b) = (Node::start().await, Node::stranger().await);
    a.connect(&b).await;
    let refused = b.overlay.open_stream(a.key, StreamKind::Blob).await.unwrap_err();
    assert!(matches!(refused, StreamError::NotAdmitted(peer) if peer == a.key), "{refused}");
    converge("a admits b", || a.admits(&b)).await;
    let mut stream = a.overlay.open_stream(b.key, StreamKind::Blob).await.unwrap();
    let read = tokio::time::timeout(SOON, stream.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "b dropped it: {read:?}");
    assert!(b.take_stream().is_none());
}

/// a -> nobody, itself, a false name, ...
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_dial_says_what_is_wrong() {
    let (a, b, c) = (Node::stranger().await, Node::stranger().await, Node::stranger().await);
    let dial = async |addresses: &[&str]| {
        a.overlay.dial(addresses.iter().map(|a| (*a).to_owned()).collect()).await.unwrap_err()
    };
    let id = |node: &Node| guildhall_overlay::peer_id_string(&node.key);
    let place = |node: &Node| node.addresses[0].split("/p2p/").next().unwrap().to_owned();

    assert!(matches!(dial(&[]).await, DialError::Peers));
    assert!(matches!(dial(&["nonsense"]).await, DialError::Address(_)));
    assert!(matches!(dial(&[&place(&b)]).await, DialError::Address(_)), "no peer id");
    assert!(matches!(dial(&[&b.addresses[0], &c.addresses[0]]).await, DialError::Peers));
    assert!(matches!(dial(&[&a.addresses[0]]).await, DialError::Own));
    let metadata = format!("/ip4/169.254.169.254/tcp/80/p2p/{}", id(&b));
    assert!(matches!(dial(&[&metadata]).await, DialError::Forbidden(_)));
    let named = format!("/dns4/localhost/tcp/80/p2p/{}", id(&b));
    assert!(matches!(dial(&[&named]).await, DialError::Forbidden(_)));
    let false_name = format!("{}/p2p/{}", place(&c), id(&b));
    match dial(&[&false_name]).await {
        DialError::WrongPeer { found } => assert_eq!(found, id(&c)),
        other => panic!("expected a wrong peer, got {other}"),
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("/ip4/127.0.0.1/tcp/{closed}/p2p/{}", id(&b));
    assert!(matches!(dial(&[&nobody]).await, DialError::Unreachable(_)));
    let one_of_two = vec![nobody, b.addresses[0].clone()];
    assert_eq!(a.overlay.dial(one_of_two).await.unwrap(), b.key, "one good address is enough");
}

/// a -x-> loopback
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_listens_beyond_loopback_does_not_dial_it() {
    let b = Node::stranger().await;
    let config = guildhall_overlay::Config {
        seed: [99; 32],
        listen: vec!["/ip4/0.0.0.0/tcp/0".to_owned()],
        limits: Limits::default(),
    };
    let (a, mut events, driver) = guildhall_overlay::start(config).await.unwrap();
    tokio::spawn(driver);
    let error = a.dial(b.addresses.clone()).await.unwrap_err();
    assert!(matches!(error, DialError::Forbidden(_)), "{error}");
    a.set_known(b.key, b.addresses.clone()).await;
    a.request(b.key, Vec::new()).await.unwrap_err();
    assert!(b.look(|seen| seen.connected.is_empty()));
    a.shutdown().await;
    while let Some(event) = events.next().await {
        match event {
            Event::Listening { address } => assert!(!address.contains("/127."), "{address}"),
            other => panic!("unexpected {other:?}"),
        }
    }
}
