//! Bytes that mean nothing, sent to both ports of a node. Damage inside frames and records is tested where they are
//! decoded (`protocol`'s mutation tests, the frames of the shell, the overlay's hostile peers).

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use guildhall_testkit::{Node, Package, acquainted, bring_in, holds_listings, publish_ok};

use crate::lab;

/// What is sent, each on a connection of its own.
fn garbage() -> Vec<Vec<u8>> {
    let noise: Vec<u8> =
        (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut negotiation = b"\x13/multistream/1.0.0\n\x07/noise\n".to_vec();
    negotiation.extend_from_slice(&noise);
    vec![
        Vec::new(),
        vec![0; 10_000],
        vec![0xff; 10_000],
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec(),
        b"\x13/multistream/1.0.0\n\x07/nonse\n".to_vec(),
        negotiation,
        noise,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ".to_vec(),
        b"POST /api/v1/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"mani".to_vec(),
        b"POST /api/v1/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{{{".to_vec(),
        b"POST /api/v1/blobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999\r\n\r\nhalf".to_vec(),
        b"POST /api/v1/blobs HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nx".to_vec(),
        b"GET /api/v1/show?ref=%ff%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec(),
        b"GET /api/v1/../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
    ]
}

/// Sends bytes and keeps the connection as it is; what comes back is read for a moment and is of no interest.
fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    // The node may hang up in the middle, as it should.
    let _refused = stream.write_all(bytes);
    let mut answer = [0; 512];
    match stream.read(&mut answer) {
        Ok(_) => {}
        Err(error) => assert!(
            matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionReset
            ),
            "{error}"
        ),
    }
    stream
}

fn api_port(node: &Node) -> SocketAddr {
    let authority = node.ready().api.strip_prefix("http://").expect("a URL");
    authority.parse().expect("an address")
}

fn overlay_port(node: &Node) -> SocketAddr {
    let address = node.ready().addresses.first().expect("it listens");
    let mut parts = address.split('/').skip(2);
    let (ip, port) = (parts.next(), parts.nth(1));
    format!("{}:{}", ip.expect("an ip"), port.expect("a port")).parse().expect("an address")
}

/// ```text
///   garbage ──tcp──▶ lab-a   ◀── lab-b joins afterwards
///           ──http─▶
/// ```
#[tokio::test]
async fn garbage_on_both_ports_leaves_a_node_that_serves() {
    let lab = lab();
    let mut a = lab.found("lab-a").await;
    let folder = lab.write(&Package::data("images").files(2, 1_000, 3));
    publish_ok(&a, &folder).await;

    let ports = [overlay_port(&a), api_port(&a)];
    let sent = tokio::task::spawn_blocking(move || {
        let mut open = Vec::new();
        for port in ports {
            for bytes in garbage() {
                open.push(send(port, &bytes));
            }
        }
        open
    });
    // Connections that hang half open stay open while the node goes on working.
    let half_open = sent.await.expect("everything was sent");

    assert!(a.is_running().expect("it can be asked"), "{}", a.log_tail());
    let status = a.client().status().await.expect("it answers");
    assert_eq!((status.listings, status.packages), (1, 1));
    let b = lab.found("lab-b").await;
    bring_in(&a, &b).await;
    acquainted(&[&a, &b]).await;
    holds_listings(&[&b], 1).await;
    let fetched = b.client().fetch(&"lab-a/images".parse().expect("a reference")).await;
    assert_eq!(fetched.expect("it is served").fetched_files, 2);
    drop(half_open);
    assert!(a.stop().await.expect("it is told to stop"), "it stops in good order");
}
