//! TCP with Noise and Yamux, behind a check of every dialled address.
//!
//! Addresses reach a dial from several sides: the node, the DHT, identify. The check sits below all of them, so nothing
//! that a peer says makes this node connect to an address outside [`Policy`].

use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{
    Boxed, DialOpts, ListenerId, PortUse, Transport, TransportError, TransportEvent,
};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId, noise, tcp, yamux};

use crate::address::Policy;

/// How long a new connection has for Noise and Yamux, both directions. Eight round trips of a slow link.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Most open streams of one connection, both directions: the requests in flight, the job and blob streams, and a few of
/// the small protocols.
const STREAMS_PER_CONNECTION_MAX: usize = 512;

/// The transport of a node with this key and policy.
pub(crate) fn build(
    key: &Keypair,
    policy: Policy,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(STREAMS_PER_CONNECTION_MAX);
    Ok(Checked { inner: tcp, policy }
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(yamux)
        .timeout(UPGRADE_TIMEOUT)
        .boxed())
}

/// Fails if someone already listens on `address`.
///
/// libp2p binds with `SO_REUSEPORT`, so two nodes of one user could share a port without noticing and each would get
/// half of the connections. A bind without that option tells.
pub(crate) fn check_free(address: std::net::SocketAddr) -> io::Result<()> {
    TcpListener::bind(address).map(drop)
}

/// A transport that dials only what the policy allows.
struct Checked<T> {
    inner: T,
    policy: Policy,
}

impl<T: Transport + Unpin> Transport for Checked<T> {
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = T::Dial;

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
        if !self.policy.allows(&address) {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        // Dialling from the listening port only serves hole punching, which we do not do, and makes a quick reconnect
        // between two nodes collide with its predecessor.
        options.port_use = PortUse::New;
        self.inner.dial(address, options)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.inner).poll(cx)
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
        for forbidden in ["/ip4/127.0.0.1/tcp/9", "/ip4/169.254.169.254/tcp/80", "/ip6/::1/tcp/9"] {
            let result = dial(forbidden);
            assert!(matches!(result, Err(TransportError::MultiaddrNotSupported(_))), "{forbidden}");
        }
        assert!(dial("/ip4/10.0.0.2/tcp/9").is_ok());
    }

    #[test]
    fn a_port_that_someone_listens_on_is_not_free() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(check_free(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(taken);
        assert!(check_free(address).is_ok());
    }
}
