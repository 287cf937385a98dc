//! TCP with Noise and Yamux, and QUIC, behind a check of every dialled address.
//!
//! Addresses reach a dial from several sides: the node, the DHT, identify. The check sits below all of them, so nothing
//! that a peer says makes this node connect to an address outside [`Policy`].
//!
//! The swarm dials all addresses of a peer at once and takes the first connection. TCP is the faster carrier where both
//! work, so a QUIC dial waits while a TCP dial to the same host is under way; see [`TcpDials`].

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Either};
use futures::io::BufReader;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{
    Boxed, DialOpts, ListenerId, PortUse, Transport, TransportError, TransportEvent,
};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId, noise, quic, tcp};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::address::{Carrier, Policy, endpoint};
use crate::muxer;

/// How long a new TCP connection has for Noise and Yamux, both directions. Eight round trips of a slow link.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long QUIC waits for a TCP dial to the same host that neither succeeds nor fails. A TCP connection takes about four
/// round trips until it is usable, QUIC two: less than this would let QUIC win on far but healthy paths, and more would
/// be felt where a firewall swallows TCP.
const TCP_HEAD_START: Duration = Duration::from_secs(1);

/// The same for QUIC, which needs two round trips. Shorter, because whoever forges addresses can begin handshakes too.
const QUIC_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is read from a TCP socket at a time: one Noise message. Noise itself would ask for 8 KiB. 512 connections use
/// 32 MiB for it.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// What a QUIC stream may be sent before it is read: 1 Gbit/s over 63 ms (7.9 MB on the way), and an eighth more, since
/// windows are renewed in eighths. It does not adapt; quinn has no growing windows.
const QUIC_STREAM_BYTES: u32 = 10_000_000;

/// What a QUIC connection may be sent before it is read, all streams together, and so what a peer can make this node
/// hold per connection. Streams that nobody reads take their share of it for good: six of them still leave room for
/// gossip and requests, with libp2p's default of 15 MB one would.
const QUIC_CONNECTION_BYTES: u32 = 64_000_000;

/// After how long a silent QUIC connection counts as dead. As long as a failed ping over TCP takes to be noticed.
const QUIC_IDLE_MAX: Duration = Duration::from_secs(30);

/// How often a silent QUIC connection says something: three chances within [`QUIC_IDLE_MAX`], and often enough for
/// address translators, some of which forget a UDP flow after 30 seconds.
const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The transport of a node with this key and policy.
pub(crate) fn build(
    key: &Keypair,
    policy: Policy,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .map(|socket, _| BufReader::with_capacity(READ_BUFFER_BYTES, socket))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(muxer::Upgrade::default())
        .timeout(UPGRADE_TIMEOUT)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let quic = quic::tokio::Transport::new(quic_config(key))
        .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)));
    let inner = tcp
        .or_transport(quic)
        .map(|either, _| match either {
            Either::Left(connected) | Either::Right(connected) => connected,
        })
        .boxed();
    Ok(Checked { inner, policy, tcp_dials: TcpDials::default() }.boxed())
}

fn quic_config(key: &Keypair) -> quic::Config {
    let mut config = quic::Config::new(key);
    config.handshake_timeout = QUIC_HANDSHAKE_TIMEOUT;
    config.max_idle_timeout = QUIC_IDLE_MAX.as_millis() as u32;
    config.keep_alive_interval = QUIC_KEEP_ALIVE;
    config.max_concurrent_stream_limit = muxer::STREAMS_MAX as u32;
    config.max_stream_data = QUIC_STREAM_BYTES;
    config.max_connection_data = QUIC_CONNECTION_BYTES;
    config
}

/// Fails if someone already listens on `address`.
///
/// libp2p binds TCP with `SO_REUSEPORT`, so two nodes of one user could share a port without noticing and each would get
/// half of the connections. A bind without that option tells.
pub(crate) fn check_free(carrier: Carrier, address: SocketAddr) -> io::Result<()> {
    match carrier {
        Carrier::Tcp => TcpListener::bind(address).map(drop),
        Carrier::Quic => UdpSocket::bind(address).map(drop),
    }
}

type Inner = Boxed<(PeerId, StreamMuxerBox)>;

/// A transport that dials only what the policy allows, and TCP before QUIC.
struct Checked {
    inner: Inner,
    policy: Policy,
    tcp_dials: TcpDials,
}

impl Transport for Checked {
    type Output = <Inner as Transport>::Output;
    type Error = <Inner as Transport>::Error;
    type ListenerUpgrade = <Inner as Transport>::ListenerUpgrade;
    type Dial = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        mut options: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        let place = endpoint(&address).filter(|_| self.policy.allows(&address));
        let Some((carrier, socket)) = place else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let ip = socket.ip();
        options.port_use = match carrier {
            // Dialling from the listening port only serves hole punching, which we do not do, and makes a quick
            // reconnect between two nodes collide with its predecessor.
            Carrier::Tcp => PortUse::New,
            // One socket serves all connections, but a socket bound to loopback reaches nothing else.
            Carrier::Quic if self.policy.is_loopback() && !ip.is_loopback() => PortUse::New,
            Carrier::Quic => PortUse::Reuse,
        };
        let dial = self.inner.dial(address, options)?;
        let tcp_dials = self.tcp_dials.clone();
        Ok(match carrier {
            Carrier::Tcp => {
                let under_way = tcp_dials.begin(ip);
                dial.map(move |outcome| {
                    drop(under_way);
                    outcome
                })
                .boxed()
            }
            Carrier::Quic => async move {
                tcp_dials.settled(ip).await;
                dial.await
            }
            .boxed(),
        })
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

/// The TCP dials under way, by host.
///
/// The swarm starts the dials to all addresses of a peer in one go and polls them afterwards, so a QUIC dial that asks at
/// its first poll sees every TCP dial it competes with: without any, it does not wait; when the last one fails, it
/// starts at once; when one succeeds, the swarm drops it. Dials to other peers on the same host (different ports) delay
/// it too, by [`TCP_HEAD_START`] at most.
#[derive(Clone, Default)]
struct TcpDials(Arc<Mutex<HashMap<IpAddr, UnderWay>>>);

struct UnderWay {
    /// Held by every dial to this host; cancels the token when the last one drops it.
    last: Weak<DropGuard>,
    over: CancellationToken,
}

impl TcpDials {
    /// Notes a dial to `ip` until the returned guard is dropped.
    fn begin(&self, ip: IpAddr) -> Arc<DropGuard> {
        let mut dials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // So there are never more entries than dials under way, which the connection limits bound.
        dials.retain(|_, under_way| under_way.last.strong_count() > 0);
        if let Some(guard) = dials.get(&ip).and_then(|under_way| under_way.last.upgrade()) {
            return guard;
        }
        let over = CancellationToken::new();
        let guard = Arc::new(over.clone().drop_guard());
        dials.insert(ip, UnderWay { last: Arc::downgrade(&guard), over });
        guard
    }

    /// Waits until no TCP dial to `ip` is under way, but no longer than the head start.
    async fn settled(&self, ip: IpAddr) {
        let over = {
            let dials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            dials.get(&ip).map(|under_way| under_way.over.clone())
        };
        if let Some(over) = over {
            // That the head start has passed is as good an end of the wait as the other.
            let _ = tokio::time::timeout(TCP_HEAD_START, over.cancelled()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::Endpoint;

    use super::*;

    #[tokio::test]
    async fn what_the_policy_forbids_is_not_dialled_whoever_asks() {
        let key = Keypair::ed25519_from_bytes([1; 32]).unwrap();
        let beyond_loopback = ["10.0.0.1:4001".parse().unwrap()];
        let mut transport = build(&key, Policy::of_listeners(&beyond_loopback)).unwrap();
        let mut dial = |address: &str| {
            let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::Reuse };
            transport.dial(address.parse().unwrap(), options).map(drop)
        };
        for forbidden in [
            "/ip4/127.0.0.1/tcp/9",
            "/ip4/169.254.169.254/tcp/80",
            "/ip6/::1/tcp/9",
            "/ip4/127.0.0.1/udp/9/quic-v1",
            "/ip4/169.254.169.254/udp/80/quic-v1",
            "/ip6/::1/udp/9/quic-v1",
        ] {
            let result = dial(forbidden);
            assert!(matches!(result, Err(TransportError::MultiaddrNotSupported(_))), "{forbidden}");
        }
        assert!(dial("/ip4/10.0.0.2/tcp/9").is_ok());
        assert!(dial("/ip4/10.0.0.2/udp/9/quic-v1").is_ok());
    }

    #[test]
    fn a_port_that_someone_listens_on_is_not_free() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let kind = |carrier, address| check_free(carrier, address).map_err(|error| error.kind());
        assert_eq!(kind(Carrier::Tcp, address), Err(io::ErrorKind::AddrInUse));
        drop(taken);
        assert_eq!(kind(Carrier::Tcp, address), Ok(()));
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(kind(Carrier::Quic, address), Err(io::ErrorKind::AddrInUse));
        drop(taken);
        assert_eq!(kind(Carrier::Quic, address), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn quic_waits_for_tcp_to_the_same_host_and_no_longer_than_the_head_start() {
        let ip = |last| IpAddr::from([10, 0, 0, last]);
        let dials = TcpDials::default();
        assert!(dials.settled(ip(1)).now_or_never().is_some(), "nothing to wait for");
        let (one, two) = (dials.begin(ip(1)), dials.begin(ip(1)));
        assert!(dials.settled(ip(2)).now_or_never().is_some(), "another host");
        let mut waiting = Box::pin(dials.settled(ip(1)));
        assert!((&mut waiting).now_or_never().is_none());
        drop(one);
        assert!((&mut waiting).now_or_never().is_none(), "one of two is under way");
        drop(two);
        assert!((&mut waiting).now_or_never().is_some(), "all have failed");
        let swallowed = dials.begin(ip(1));
        dials.settled(ip(1)).await;
        drop(swallowed);
        drop(dials.begin(ip(3)));
        assert_eq!(dials.0.lock().unwrap().len(), 1, "what is over is forgotten");
    }
}
