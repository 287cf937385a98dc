//! Peers that break the rules.

use std::io;
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _};
use guildhall_overlay::RequestError;
use guildhall_protocol::limits::MESSAGE_MAX_BYTES;
use libp2p::request_response::{self as rr, Message, ProtocolSupport};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::{Node, SOON, converge};

/// Our request protocol without its bounds: what is sent is the raw frame.
#[derive(Clone, Default)]
struct Lawless;

impl rr::Codec for Lawless {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        let mut frame = Vec::new();
        io.read_to_end(&mut frame).await?;
        Ok(frame)
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        let mut frame = Vec::new();
        io.read_to_end(&mut frame).await?;
        if frame.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(frame) }
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        frame: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&frame).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        frame: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&frame).await
    }
}

type Rogue = Swarm<rr::Behaviour<Lawless>>;

fn rogue() -> Rogue {
    let protocol = StreamProtocol::new("/guildhall/request/1");
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| {
            let config = rr::Config::default();
            rr::Behaviour::with_codec(Lawless, [(protocol, ProtocolSupport::Full)], config)
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build()
}

fn frame(length: usize, bytes: usize) -> Vec<u8> {
    let mut frame = (length as u32).to_be_bytes().to_vec();
    frame.resize(4 + bytes, 7);
    frame
}

/// rogue -> b
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_over_the_cap_fails_and_the_connection_lives_on() {
    let b = Node::start().await;
    let mut rogue = rogue();
    let address: Multiaddr = b.addresses[0].parse().unwrap();
    let peer: PeerId = guildhall_overlay::peer_id_string(&b.key).parse().unwrap();
    rogue.dial(address).unwrap();
    let frames = [
        frame(MESSAGE_MAX_BYTES + 1, MESSAGE_MAX_BYTES + 1),
        frame(usize::try_from(u32::MAX).unwrap(), 10),
        frame(100, 50),
        vec![0, 0],
        frame(5, 5),
    ];
    let mut sent = Vec::new();
    let mut outcomes = Vec::new();
    let run = async {
        while outcomes.len() < frames.len() {
            match rogue.select_next_some().await {
                SwarmEvent::ConnectionEstablished { .. } => {
                    for frame in &frames {
                        let id = rogue.behaviour_mut().send_request(&peer, frame.clone());
                        sent.push(id);
                    }
                }
                SwarmEvent::Behaviour(rr::Event::Message {
                    message: Message::Response { request_id, .. },
                    ..
                }) => outcomes.push((request_id, true)),
                SwarmEvent::Behaviour(rr::Event::OutboundFailure { request_id, .. }) => {
                    outcomes.push((request_id, false));
                }
                SwarmEvent::ConnectionClosed { .. } => panic!("the connection should live on"),
                _ => {}
            }
        }
    };
    tokio::time::timeout(SOON, run).await.unwrap();
    let answered: Vec<bool> =
        sent.iter().map(|id| outcomes.iter().any(|o| o == &(*id, true))).collect();
    assert_eq!(answered, [false, false, false, false, true]);
    let seen = b.look(|seen| seen.requests.iter().map(|r| r.2.clone()).collect::<Vec<_>>());
    assert_eq!(seen, [vec![7; 5]], "only what is well-formed reached the node");
}

/// b -> rogue
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_over_the_cap_is_an_error_and_the_connection_lives_on() {
    let b = Node::start().await;
    let mut rogue = rogue();
    rogue.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = rogue.select_next_some().await {
            break format!("{address}/p2p/{}", rogue.local_peer_id());
        }
    };
    tokio::spawn(async move {
        loop {
            if let SwarmEvent::Behaviour(rr::Event::Message {
                message: Message::Request { request, channel, .. },
                ..
            }) = rogue.select_next_some().await
            {
                let answer = match request.get(4) {
                    Some(b'o') => frame(MESSAGE_MAX_BYTES + 1, MESSAGE_MAX_BYTES + 1),
                    Some(b's') => frame(100, 50),
                    _ => request,
                };
                let _ = rogue.behaviour_mut().send_response(channel, answer);
            }
        }
    });
    let peer = b.overlay.dial(vec![address]).await.unwrap();
    let ask = async |bytes: &[u8]| b.overlay.request(peer, bytes.to_vec()).await;
    assert!(matches!(ask(b"over").await, Err(RequestError::BadAnswer(_))));
    assert!(ask(b"short").await.is_err());
    assert_eq!(ask(b"fine").await.unwrap(), b"fine");
    assert!(b.look(|seen| seen.disconnected.is_empty()));
}

/// garbage -> b <- a
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_port_does_not_disturb_the_node() {
    let b = Node::start().await;
    let port = b.addresses[0].split('/').nth(4).unwrap();
    let place = format!("127.0.0.1:{port}");
    let noise: Vec<u8> =
        (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let select = b"\x13/multistream/1.0.0\n\x07/noise\n";
    let mut held = Vec::new();
    for n in 0..60 {
        let mut socket = TcpStream::connect(&place).await.unwrap();
        // The node may close at any moment; whether a write still succeeds does not matter.
        match n % 6 {
            0 => drop(socket.write_all(&noise).await),
            1 => drop(socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await),
            2 => drop(socket.write_all(&[&select[..], &noise].concat()).await),
            3 => drop(socket.write_all(&[&select[..], b"\xff\xff"].concat()).await),
            4 => drop(socket.write_all(&vec![0xff; 70_000]).await),
            _ => {}
        }
        held.push(socket);
    }
    let a = Node::start().await;
    a.join(&b).await;
    assert_eq!(a.overlay.request(b.key, b"still there".to_vec()).await.unwrap(), b"still there");
    drop(held);
    converge("only a is a peer", || async { b.overlay.peers().await.len() == 1 }).await;
    assert_eq!(b.look(|seen| seen.connected.len()), 1);
}
