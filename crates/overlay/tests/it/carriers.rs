//! TCP, QUIC, and both.

use guildhall_overlay::{DialError, Overlay, StreamKind};
use guildhall_protocol::{Hash, PublicKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use crate::support::{Node, Setup, converge};

const MEBIBYTE: usize = 1024 * 1024;

/// Larger than any window here: yamux lets a stream grow to 32 MiB, QUIC takes 10 MB.
const BLOB_BYTES: usize = 64 * MEBIBYTE;

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

async fn listening_on(addresses: &[&str]) -> Node {
    let listen = addresses.iter().map(|address| (*address).to_owned()).collect();
    Node::with(Setup { listen, ..Setup::default() }).await
}

/// The address at which `peer` was reached.
async fn reached_at(overlay: &Overlay, peer: PublicKey) -> String {
    let peers = overlay.peers().await;
    peers.into_iter().find(|info| info.peer == peer).map(|info| info.address).unwrap_or_default()
}

async fn send_a_blob_and_check_it(from: &Node, to: &Node) {
    let blob: Vec<u8> = (0..BLOB_BYTES as u32).map(|n| (n.wrapping_mul(n) >> 13) as u8).collect();
    let hash = Hash::of(&blob);
    let mut stream = from.overlay.open_stream(to.key, StreamKind::Blob).await.unwrap();
    let sent = tokio::spawn(async move {
        stream.write_all(&blob).await.unwrap();
        stream.shutdown().await.unwrap();
        // The other side ends its direction when it has everything.
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    });
    converge("the stream is there", || async { to.look(|seen| seen.streams.len() == 1) }).await;
    let (peer, kind, mut stream) = to.take_stream().unwrap();
    assert_eq!((peer, kind), (from.key, StreamKind::Blob));
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    stream.shutdown().await.unwrap();
    sent.await.unwrap();
    assert_eq!(received.len(), BLOB_BYTES);
    assert_eq!(Hash::of(&received), hash);
}

/// a -tcp-> b
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_larger_than_any_window_arrives_unchanged_over_tcp() {
    let (a, b) = (listening_on(&[TCP]).await, listening_on(&[TCP]).await);
    a.join(&b).await;
    assert!(reached_at(&a.overlay, b.key).await.contains("/tcp/"));
    send_a_blob_and_check_it(&a, &b).await;
}

/// a -quic-> b
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_quic_alone_do_everything_that_nodes_with_tcp_do() {
    let (a, b) = (listening_on(&[QUIC]).await, listening_on(&[QUIC]).await);
    assert!(b.addresses.iter().all(|address| address.contains("/quic-v1/p2p/")));
    a.join(&b).await;
    assert!(reached_at(&a.overlay, b.key).await.ends_with("/quic-v1"));
    assert_eq!(a.overlay.request(b.key, b"over quic".to_vec()).await.unwrap(), b"over quic");
    a.overlay.publish(b"gossip over quic".to_vec()).await.unwrap();
    converge("b heard", || async { b.heard(b"gossip over quic") == 1 }).await;
    let key = Hash::of(b"what a has");
    a.overlay.provide(key).await.unwrap();
    converge("b finds a", || async { b.overlay.find_providers(key).await.unwrap() == [a.key] })
        .await;
    send_a_blob_and_check_it(&a, &b).await;
    a.overlay.shutdown().await;
    converge("b notices", || async { b.look(|seen| seen.disconnected == [a.key]) }).await;
}

/// a -tcp-> b, b also on QUIC; then a -quic-> b at the other address
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_both_is_reached_over_tcp_and_where_tcp_is_refused_over_quic() {
    let b = listening_on(&[QUIC, TCP]).await;
    assert_eq!(b.addresses.len(), 2);
    let quic = b.addresses.iter().find(|address| address.contains("/quic-v1")).unwrap().clone();
    // The order of addresses does not decide.
    for addresses in [b.addresses.clone(), b.addresses.iter().rev().cloned().collect()] {
        let a = listening_on(&[TCP, QUIC]).await;
        assert_eq!(a.overlay.dial(addresses).await.unwrap(), b.key);
        assert!(reached_at(&a.overlay, b.key).await.contains("/tcp/"));
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let refused = format!("{}/tcp/{closed}/p2p/{}", "/ip4/127.0.0.1", peer_id(&b));
    let a = listening_on(&[TCP]).await;
    assert_eq!(a.overlay.dial(vec![refused, quic]).await.unwrap(), b.key);
    assert!(reached_at(&a.overlay, b.key).await.ends_with("/quic-v1"));
}

/// a -> a listener that never answers, or b over QUIC
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tcp_port_that_stays_silent_does_not_keep_quic_from_connecting() {
    let (a, b) = (listening_on(&[TCP]).await, listening_on(&[QUIC]).await);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let swallowed = format!("/ip4/127.0.0.1/tcp/{port}/p2p/{}", peer_id(&b));
    let addresses = [&[swallowed], &b.addresses[..]].concat();
    assert_eq!(a.overlay.dial(addresses).await.unwrap(), b.key);
    drop(silent);
}

/// a -quic-> nobody, a false name
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quic_dial_that_fails_says_why() {
    let (a, b, c) = (Node::start().await, listening_on(&[QUIC]).await, Node::start().await);
    let place = b.addresses[0].split("/p2p/").next().unwrap().to_owned();
    let false_name = format!("{place}/p2p/{}", peer_id(&c));
    match a.overlay.dial(vec![false_name]).await.unwrap_err() {
        DialError::WrongPeer { found } => assert_eq!(found, peer_id(&b)),
        other => panic!("expected a wrong peer, got {other}"),
    }
    let metadata = format!("/ip4/169.254.169.254/udp/53/quic-v1/p2p/{}", peer_id(&b));
    let refused = a.overlay.dial(vec![metadata]).await.unwrap_err();
    assert!(matches!(refused, DialError::Forbidden(_)), "{refused}");
    // A port where somebody else's datagrams arrive, and nobody answers.
    let deaf = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = deaf.local_addr().unwrap().port();
    let nobody = format!("/ip4/127.0.0.1/udp/{port}/quic-v1/p2p/{}", peer_id(&b));
    let unreachable = a.overlay.dial(vec![nobody]).await.unwrap_err();
    assert!(matches!(unreachable, DialError::Unreachable(_) | DialError::Timeout), "{unreachable}");
}

/// a -> b, where nobody reads: how much does a take from its writer?
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_whose_peer_does_not_read_stops_within_the_stated_window() {
    /// A window of Yamux that has had no reason to grow.
    const YAMUX_WINDOW_BYTES: usize = 256 * 1024;
    /// What a QUIC stream may be sent before it is read.
    const QUIC_WINDOW_BYTES: usize = 10_000_000;
    for (listen, bound) in [(TCP, YAMUX_WINDOW_BYTES), (QUIC, QUIC_WINDOW_BYTES)] {
        let (a, b) = (listening_on(&[listen]).await, listening_on(&[listen]).await);
        a.join(&b).await;
        let mut stream = a.overlay.open_stream(b.key, StreamKind::Job).await.unwrap();
        let chunk = vec![7; 64 * 1024];
        let mut accepted = 0;
        while let Ok(written) =
            tokio::time::timeout(crate::support::A_WHILE, stream.write(&chunk)).await
        {
            accepted += written.unwrap();
            assert!(accepted <= bound, "{listen}: {accepted} bytes and still writing");
        }
        assert!(accepted > 0);
        // Other traffic of the same connection is not held up.
        assert_eq!(
            a.overlay.request(b.key, b"still there".to_vec()).await.unwrap(),
            b"still there"
        );
        // And the stream is not broken: what was accepted arrives.
        let (_, _, mut theirs) = b.take_stream().unwrap();
        let mut received = vec![0; accepted];
        theirs.read_exact(&mut received).await.unwrap();
        assert!(received.iter().all(|byte| *byte == 7));
    }
}

/// a -quic-> b, six streams that nobody reads
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_quic_streams_that_nobody_reads_do_not_stop_requests() {
    let (a, b) = (listening_on(&[QUIC]).await, listening_on(&[QUIC]).await);
    a.join(&b).await;
    let mut stuck = Vec::new();
    for _ in 0..6 {
        let mut stream = a.overlay.open_stream(b.key, StreamKind::Job).await.unwrap();
        let chunk = vec![7; MEBIBYTE];
        while tokio::time::timeout(crate::support::A_WHILE / 4, stream.write(&chunk)).await.is_ok()
        {
        }
        stuck.push(stream);
    }
    assert_eq!(a.overlay.request(b.key, b"still there".to_vec()).await.unwrap(), b"still there");
}

fn peer_id(node: &Node) -> String {
    guildhall_overlay::peer_id_string(&node.key)
}
