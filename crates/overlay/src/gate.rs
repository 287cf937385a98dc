//! The behaviour that decides which connections may exist, and the address book.
//!
//! Outbound: only peers the node has named (by dialling, [`set_known`](crate::Overlay::set_known) or admission) are
//! dialled, whoever asks for it. Inbound: peers that the node has not named share a small part of the connections, and
//! no single network gets more than its share.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, ListenFailure};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use crate::address::{Carrier, endpoint};

/// Most peers in the address book. At the bound, the entry that was set longest ago makes room.
const BOOK_MAX_PEERS: usize = 4096;

/// Most addresses kept per peer: as many as a node record may list.
pub(crate) const ADDRESSES_PER_PEER_MAX: usize = guildhall_protocol::limits::ADDRESSES_MAX;

/// Most inbound connections from one /24 (IPv4) or /48 (IPv6), over TCP the opening ones included. An org's nodes behind
/// one address translation fit; loopback is exempt.
const INBOUND_PER_NETWORK_MAX: usize = 64;

/// Most QUIC handshakes of peers that dial us. Half of what may be opening altogether: they need no proven address, so
/// whoever forges them must not keep TCP out.
const QUIC_OPENING_MAX: usize = 256;

/// Decides about connections.
pub(crate) struct Gate {
    strangers_max: usize,
    book: HashMap<PeerId, Entry>,
    /// Counts changes of the book, to know which entry is the oldest.
    changes: u64,
    /// Peers being dialled by the node right now; bounded by the driver.
    dialling: HashSet<PeerId>,
    /// Admitted peers; bounded by the connections.
    admitted: HashSet<PeerId>,
    /// Established inbound connections of strangers.
    strangers: HashSet<ConnectionId>,
    /// Inbound QUIC connections whose handshake is not done.
    quic_opening: HashSet<ConnectionId>,
    /// Where each inbound connection comes from, and how many there are from each network.
    origins: HashMap<ConnectionId, Network>,
    per_network: HashMap<Network, usize>,
}

struct Entry {
    addresses: Vec<Multiaddr>,
    changed: u64,
}

impl Gate {
    /// A gate that lets in at most `strangers_max` inbound connections of unknown peers.
    pub(crate) fn new(strangers_max: usize) -> Self {
        Self {
            strangers_max,
            book: HashMap::new(),
            changes: 0,
            dialling: HashSet::new(),
            admitted: HashSet::new(),
            strangers: HashSet::new(),
            quic_opening: HashSet::new(),
            origins: HashMap::new(),
            per_network: HashMap::new(),
        }
    }

    /// Sets where `peer` can be reached.
    pub(crate) fn set_known(&mut self, peer: PeerId, mut addresses: Vec<Multiaddr>) {
        addresses.truncate(ADDRESSES_PER_PEER_MAX);
        if self.book.len() >= BOOK_MAX_PEERS && !self.book.contains_key(&peer) {
            let oldest = self.book.iter().min_by_key(|(_, e)| e.changed).map(|(p, _)| *p);
            if let Some(oldest) = oldest {
                tracing::debug!(peer = %oldest, "address book is full, forgetting the oldest entry");
                self.book.remove(&oldest);
            }
        }
        self.changes += 1;
        self.book.insert(peer, Entry { addresses, changed: self.changes });
    }

    /// Where `peer` can be reached, as far as known.
    pub(crate) fn known(&self, peer: &PeerId) -> Option<&[Multiaddr]> {
        self.book.get(peer).map(|entry| entry.addresses.as_slice())
    }

    /// Takes `peer` out of the address book.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        self.book.remove(peer);
    }

    /// Allows (or no longer allows) dialling `peer` although it is not in the book.
    pub(crate) fn set_dialling(&mut self, peer: PeerId, dialling: bool) {
        if dialling {
            self.dialling.insert(peer);
        } else {
            self.dialling.remove(&peer);
        }
    }

    /// Notes whether `peer` is admitted.
    pub(crate) fn set_admitted(&mut self, peer: PeerId, admitted: bool) {
        if admitted {
            self.admitted.insert(peer);
        } else {
            self.admitted.remove(&peer);
        }
    }

    /// Stops counting a connection as a stranger's, once its peer has been admitted.
    pub(crate) fn no_stranger(&mut self, connection: ConnectionId) {
        self.strangers.remove(&connection);
    }

    fn is_named(&self, peer: &PeerId) -> bool {
        self.book.contains_key(peer) || self.dialling.contains(peer) || self.admitted.contains(peer)
    }

    fn count_origin(
        &mut self,
        connection: ConnectionId,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let Some(network) = Network::of(remote) else { return Ok(()) };
        let count = self.per_network.entry(network).or_default();
        if *count >= INBOUND_PER_NETWORK_MAX {
            return Err(ConnectionDenied::new(Refusal::Network));
        }
        *count += 1;
        self.origins.insert(connection, network);
        Ok(())
    }

    fn close(&mut self, connection: ConnectionId) {
        self.strangers.remove(&connection);
        self.quic_opening.remove(&connection);
        let Some(network) = self.origins.remove(&connection) else { return };
        if let Some(count) = self.per_network.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.per_network.remove(&network);
            }
        }
    }
}

/// The part of an address that one party usually controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    V4([u8; 3]),
    V6([u16; 3]),
}

impl Network {
    /// The network of a remote address; none for loopback and for what is no IP address.
    fn of(address: &Multiaddr) -> Option<Self> {
        let ip = endpoint(address)?.1.ip().to_canonical();
        if ip.is_loopback() {
            return None;
        }
        Some(match ip {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, ..] = ip.segments();
                Self::V6([a, b, c])
            }
        })
    }
}

/// Why a connection was refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("this peer is not known")]
    Unknown,
    #[error("too many connections of unknown peers")]
    Strangers,
    #[error("too many connections from one network")]
    Network,
    #[error("too many QUIC handshakes at once")]
    Handshakes,
}

fn is_quic(address: &Multiaddr) -> bool {
    matches!(endpoint(address), Some((Carrier::Quic, _)))
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if !is_quic(remote) {
            return self.count_origin(connection, remote);
        }
        // Where a QUIC handshake begins, the sender's address is not proven yet: if it counted, one forger could use up
        // the share of any network.
        if self.quic_opening.len() >= QUIC_OPENING_MAX {
            return Err(ConnectionDenied::new(Refusal::Handshakes));
        }
        self.quic_opening.insert(connection);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.quic_opening.remove(&connection);
        if is_quic(remote) {
            self.count_origin(connection, remote)?;
        }
        if !self.is_named(&peer) {
            if self.strangers.len() >= self.strangers_max {
                return Err(ConnectionDenied::new(Refusal::Strangers));
            }
            self.strangers.insert(connection);
        }
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        match peer {
            Some(peer) if self.is_named(&peer) => {
                Ok(self.known(&peer).map(<[_]>::to_vec).unwrap_or_default())
            }
            _ => Err(ConnectionDenied::new(Refusal::Unknown)),
        }
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.close(connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u64) -> PeerId {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        crate::address::to_peer_id(&guildhall_protocol::PublicKey::from_bytes(key))
    }

    fn connect(gate: &mut Gate, connection: usize, from: &str, peer: PeerId) -> bool {
        let connection = ConnectionId::new_unchecked(connection);
        let (here, from) = (Multiaddr::empty(), from.parse().unwrap());
        let admitted = gate.handle_pending_inbound_connection(connection, &here, &from).is_ok()
            && gate.handle_established_inbound_connection(connection, peer, &here, &from).is_ok();
        if !admitted {
            gate.close(connection);
        }
        admitted
    }

    #[test]
    fn only_named_peers_are_dialled() {
        let mut gate = Gate::new(1);
        let dial = |gate: &mut Gate, peer| {
            let id = ConnectionId::new_unchecked(0);
            gate.handle_pending_outbound_connection(id, peer, &[], Endpoint::Dialer)
        };
        assert!(dial(&mut gate, None).is_err());
        assert!(dial(&mut gate, Some(peer(1))).is_err());
        let address: Multiaddr = "/ip4/10.0.0.1/tcp/1".parse().unwrap();
        gate.set_known(peer(1), vec![address.clone()]);
        assert_eq!(dial(&mut gate, Some(peer(1))).unwrap(), [address]);
        gate.forget(&peer(1));
        assert!(dial(&mut gate, Some(peer(1))).is_err());
        gate.set_dialling(peer(1), true);
        assert!(dial(&mut gate, Some(peer(1))).is_ok());
    }

    #[test]
    fn strangers_do_not_keep_known_peers_out() {
        let mut gate = Gate::new(2);
        let from = "/ip4/127.0.0.1/tcp/1";
        assert!(connect(&mut gate, 1, from, peer(1)));
        assert!(connect(&mut gate, 2, from, peer(2)));
        assert!(!connect(&mut gate, 3, from, peer(3)), "a third stranger");
        gate.set_known(peer(4), Vec::new());
        assert!(connect(&mut gate, 4, from, peer(4)), "a known peer");
        gate.close(ConnectionId::new_unchecked(1));
        assert!(connect(&mut gate, 5, from, peer(3)), "room again");
    }

    #[test]
    fn one_network_gets_its_share_and_no_more() {
        let mut gate = Gate::new(usize::MAX);
        for n in 0..INBOUND_PER_NETWORK_MAX {
            assert!(connect(&mut gate, n, "/ip4/10.0.0.1/tcp/1", peer(n as u64)));
        }
        let n = INBOUND_PER_NETWORK_MAX;
        assert!(!connect(&mut gate, n, "/ip4/10.0.0.200/tcp/1", peer(0)), "the same /24");
        assert!(!connect(&mut gate, n, "/ip6/::ffff:10.0.0.9/tcp/1", peer(0)), "the same, mapped");
        assert!(connect(&mut gate, n, "/ip4/10.0.1.1/tcp/1", peer(0)), "another /24");
        gate.close(ConnectionId::new_unchecked(0));
        assert!(connect(&mut gate, 0, "/ip4/10.0.0.200/tcp/1", peer(0)), "room again");
    }

    #[test]
    fn forged_quic_handshakes_do_not_use_up_a_networks_share() {
        let mut gate = Gate::new(usize::MAX);
        let (here, victim) = (Multiaddr::empty(), "/ip4/10.0.0.1/udp/1/quic-v1".parse().unwrap());
        for n in 0..2 * INBOUND_PER_NETWORK_MAX {
            let id = ConnectionId::new_unchecked(1000 + n);
            assert!(gate.handle_pending_inbound_connection(id, &here, &victim).is_ok());
        }
        for n in 0..INBOUND_PER_NETWORK_MAX {
            let from =
                if n % 2 == 0 { "/ip4/10.0.0.1/tcp/1" } else { "/ip4/10.0.0.1/udp/1/quic-v1" };
            assert!(connect(&mut gate, n, from, peer(n as u64)));
        }
        let n = INBOUND_PER_NETWORK_MAX;
        for from in ["/ip4/10.0.0.2/udp/1/quic-v1", "/ip4/10.0.0.2/tcp/1"] {
            assert!(!connect(&mut gate, n, from, peer(0)), "proven addresses share one bound");
        }
        gate.close(ConnectionId::new_unchecked(1));
        assert!(connect(&mut gate, n, "/ip4/10.0.0.2/udp/1/quic-v1", peer(0)), "room again");
    }

    #[test]
    fn quic_handshakes_have_a_bound_that_leaves_tcp_alone() {
        let mut gate = Gate::new(usize::MAX);
        let here = Multiaddr::empty();
        let quic: Multiaddr = "/ip4/10.0.0.1/udp/1/quic-v1".parse().unwrap();
        let begin = |gate: &mut Gate, n| {
            let id = ConnectionId::new_unchecked(n);
            gate.handle_pending_inbound_connection(id, &here, &quic).is_ok()
        };
        for n in 0..QUIC_OPENING_MAX {
            assert!(begin(&mut gate, n));
        }
        assert!(!begin(&mut gate, QUIC_OPENING_MAX), "one too many");
        assert!(connect(&mut gate, 1000, "/ip4/10.0.0.1/tcp/1", peer(1)), "TCP has room");
        gate.close(ConnectionId::new_unchecked(0));
        assert!(begin(&mut gate, QUIC_OPENING_MAX), "one has failed");
        let id = ConnectionId::new_unchecked(1);
        assert!(gate.handle_established_inbound_connection(id, peer(2), &here, &quic).is_ok());
        assert!(begin(&mut gate, QUIC_OPENING_MAX + 1), "one has succeeded");
    }

    #[test]
    fn a_full_book_forgets_what_was_set_longest_ago() {
        let mut gate = Gate::new(1);
        for n in 0..BOOK_MAX_PEERS as u64 {
            gate.set_known(peer(n), Vec::new());
        }
        gate.set_known(peer(0), Vec::new());
        gate.set_known(peer(u64::MAX), Vec::new());
        assert_eq!(gate.book.len(), BOOK_MAX_PEERS);
        assert!(gate.known(&peer(0)).is_some() && gate.known(&peer(1)).is_none());
    }
}
