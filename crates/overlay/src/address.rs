//! Peer ids and addresses: conversion to and from libp2p's, and which addresses this node may dial.
//!
//! A node's peer id is the "identity" multihash of its protobuf-encoded Ed25519 key, so key and id convert both ways
//! without loss: <https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md>.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use guildhall_protocol::PublicKey;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// What stands before the 32 key bytes in an Ed25519 peer id: multihash code 0 (identity), its length 36, then the
/// protobuf fields "type = 1 (Ed25519)" and "32 bytes of data".
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// Longest address kept, bytes: what IPv6, UDP, QUIC and a peer id take.
const ADDRESS_MAX_BYTES: usize = 64;

/// The peer id of a node's key as users see it, `12D3KooW...`.
#[must_use]
pub fn peer_id_string(key: &PublicKey) -> String {
    to_peer_id(key).to_base58()
}

/// The key inside a peer id.
///
/// # Errors
/// [`ParsePeerIdError`] when the text is no peer id, or one that holds no Ed25519 key.
pub fn parse_peer_id(text: &str) -> Result<PublicKey, ParsePeerIdError> {
    let peer = PeerId::from_str(text).map_err(|_| ParsePeerIdError)?;
    to_public_key(&peer).ok_or(ParsePeerIdError)
}

/// The text is not the peer id of an Ed25519 key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the peer id of an Ed25519 key")]
pub struct ParsePeerIdError;

/// The peer id of a key.
pub(crate) fn to_peer_id(key: &PublicKey) -> PeerId {
    let mut bytes = [0; 38];
    let (prefix, rest) = bytes.split_at_mut(PEER_ID_PREFIX.len());
    prefix.copy_from_slice(&PEER_ID_PREFIX);
    rest.copy_from_slice(key.as_bytes());
    PeerId::from_bytes(&bytes).expect("an identity multihash of 36 bytes is a peer id")
}

/// The key in a peer id, if it is an Ed25519 one.
pub(crate) fn to_public_key(peer: &PeerId) -> Option<PublicKey> {
    let bytes = peer.to_bytes();
    let key: [u8; 32] = bytes.strip_prefix(&PEER_ID_PREFIX)?.try_into().ok()?;
    Some(PublicKey::from_bytes(key))
}

/// Splits `/.../p2p/PEER` into the transport address and the peer.
pub(crate) fn split_peer(text: &str) -> Option<(Multiaddr, PeerId)> {
    let mut address = Multiaddr::from_str(text).ok()?;
    match address.pop()? {
        Protocol::P2p(peer) => Some((address, peer)),
        _ => None,
    }
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// `/tcp/PORT`, with Noise and Yamux on top.
    Tcp,
    /// `/udp/PORT/quic-v1`, which brings its own encryption and streams.
    Quic,
}

/// Where a multiaddr leads, if it has one of the two forms we use: IP and TCP, or IP, UDP and QUIC; perhaps a peer id.
pub(crate) fn endpoint(address: &Multiaddr) -> Option<(Carrier, SocketAddr)> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    let (carrier, port) = match parts.next()? {
        Protocol::Tcp(port) => (Carrier::Tcp, port),
        Protocol::Udp(port) if parts.next()? == Protocol::QuicV1 => (Carrier::Quic, port),
        _ => return None,
    };
    match (parts.next(), parts.next()) {
        (None, _) | (Some(Protocol::P2p(_)), None) => Some((carrier, SocketAddr::new(ip, port))),
        _ => None,
    }
}

/// Which addresses this node dials, believes and passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Whether loopback counts: only where the node itself listens on nothing else.
    loopback: bool,
}

impl Policy {
    /// The policy of a node that listens on `listen`.
    pub(crate) fn of_listeners(listen: &[SocketAddr]) -> Self {
        Self { loopback: !listen.is_empty() && listen.iter().all(|a| a.ip().is_loopback()) }
    }

    /// Whether `address` may be dialled. Everything but IP with TCP or QUIC is refused (no names: DNS is not ours to
    /// trust), and so is what reaches no other machine or a cloud's metadata service.
    pub(crate) fn allows(self, address: &Multiaddr) -> bool {
        address.len() <= ADDRESS_MAX_BYTES
            && endpoint(address).is_some_and(|(_, a)| a.port() != 0 && self.allows_ip(a.ip()))
    }

    /// Whether this node listens on loopback and nowhere else.
    pub(crate) fn is_loopback(self) -> bool {
        self.loopback
    }

    fn allows_ip(self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.allows_v4(ip),
            IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
                Some(ip) => self.allows_v4(ip),
                None => self.allows_v6(ip),
            },
        }
    }

    fn allows_v4(self, ip: Ipv4Addr) -> bool {
        let [first, ..] = ip.octets();
        if ip.is_loopback() {
            return self.loopback;
        }
        !(first == 0 || first >= 224 || ip.is_link_local())
    }

    fn allows_v6(self, ip: Ipv6Addr) -> bool {
        // fd00:ec2::254 is a cloud's metadata service on a unique-local address; ::a.b.c.d and 64:ff9b::/96 embed IPv4
        // addresses that this check would not see.
        let metadata = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
        let [a, b, c, d, e, f, ..] = ip.segments();
        let embeds_v4 = [a, b, c, d, e, f] == [0; 6] || (a, b) == (0x64, 0xff9b) || a == 0x2002;
        if ip.is_loopback() {
            return self.loopback;
        }
        !(ip.is_multicast() || ip.is_unicast_link_local() || embeds_v4 || ip == metadata)
    }

    /// The first `max` distinct addresses of `addresses` that may be dialled, without peer ids.
    pub(crate) fn select(
        self,
        addresses: impl IntoIterator<Item = Multiaddr>,
        max: usize,
    ) -> Vec<Multiaddr> {
        let mut selected = Vec::new();
        for mut address in addresses {
            if selected.len() >= max {
                break;
            }
            if !self.allows(&address) {
                continue;
            }
            if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
                address.pop();
            }
            if !selected.contains(&address) {
                selected.push(address);
            }
        }
        selected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_its_peer_id_convert_both_ways() {
        let key = *guildhall_protocol::SecretKey::from_seed(&[3; 32]).public().as_bytes();
        let ours = peer_id_string(&PublicKey::from_bytes(key));
        let theirs = libp2p::identity::Keypair::ed25519_from_bytes([3; 32]).unwrap();
        assert_eq!(ours, theirs.public().to_peer_id().to_base58());
        assert_eq!(parse_peer_id(&ours), Ok(PublicKey::from_bytes(key)));
        assert_eq!(
            parse_peer_id("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"),
            Err(ParsePeerIdError)
        );
        assert_eq!(parse_peer_id(""), Err(ParsePeerIdError));
    }

    #[test]
    fn loopback_is_dialled_only_by_nodes_that_listen_on_nothing_else() {
        let local: Multiaddr = "/ip4/127.0.0.1/tcp/4001".parse().unwrap();
        let policy = |listen: &[&str]| {
            let listen: Vec<SocketAddr> = listen.iter().map(|a| a.parse().unwrap()).collect();
            Policy::of_listeners(&listen)
        };
        assert!(policy(&["127.0.0.1:0", "[::1]:0"]).allows(&local));
        assert!(!policy(&["127.0.0.1:0", "10.0.0.1:0"]).allows(&local));
        assert!(!policy(&["0.0.0.0:4001"]).allows(&local));
        assert!(!policy(&[]).allows(&local));
    }

    #[test]
    fn addresses_that_reach_no_peer_are_refused() {
        let policy = Policy { loopback: false };
        for refused in [
            "/ip4/127.8.9.1/tcp/1",
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/0.1.2.3/tcp/1",
            "/ip4/169.254.169.254/tcp/80",
            "/ip4/224.0.0.1/tcp/1",
            "/ip4/255.255.255.255/tcp/1",
            "/ip4/10.0.0.1/tcp/0",
            "/ip4/10.0.0.1/udp/1",
            "/ip4/10.0.0.1/udp/1/quic",
            "/ip4/10.0.0.1/udp/0/quic-v1",
            "/ip4/10.0.0.1/tcp/1/quic-v1",
            "/ip4/10.0.0.1/udp/1/quic-v1/webtransport",
            "/ip4/127.0.0.1/udp/1/quic-v1",
            "/ip4/169.254.169.254/udp/53/quic-v1",
            "/ip6/::ffff:127.0.0.1/udp/1/quic-v1",
            "/ip6/fe80::1/udp/1/quic-v1",
            "/dns4/localhost/udp/1/quic-v1",
            "/ip4/10.0.0.1/tcp/1/ws",
            "/ip4/10.0.0.1",
            "/ip6/::1/tcp/1",
            "/ip6/::/tcp/1",
            "/ip6/::ffff:127.0.0.1/tcp/1",
            "/ip6/::ffff:169.254.169.254/tcp/1",
            "/ip6/::7f00:1/tcp/1",
            "/ip6/64:ff9b::7f00:1/tcp/1",
            "/ip6/2002:7f00:1::/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip6/ff02::1/tcp/1",
            "/ip6/fd00:ec2::254/tcp/80",
            "/dns4/localhost/tcp/1",
            "/unix/run%2Fdocker.sock",
        ] {
            let address: Multiaddr = refused.parse().unwrap();
            assert!(!policy.allows(&address), "{refused} should be refused");
        }
        for allowed in [
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/203.0.113.9/tcp/1",
            "/ip6/2001:db8::1/tcp/1",
            "/ip4/10.0.0.1/udp/1/quic-v1",
            "/ip6/2001:db8::1/udp/1/quic-v1",
        ] {
            assert!(policy.allows(&allowed.parse().unwrap()), "{allowed} should be allowed");
        }
    }

    #[test]
    fn the_longest_address_of_either_form_is_kept_with_its_peer_id() {
        let policy = Policy { loopback: false };
        let peer = to_peer_id(&PublicKey::from_bytes([9; 32]));
        for (form, carrier) in [("tcp/65535", Carrier::Tcp), ("udp/65535/quic-v1", Carrier::Quic)] {
            let text = format!("/ip6/2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/{form}/p2p/{peer}");
            let address: Multiaddr = text.parse().unwrap();
            assert!(policy.allows(&address), "{text} should be allowed");
            let found = endpoint(&address).map(|(carrier, socket)| (carrier, socket.port()));
            assert_eq!(found, Some((carrier, 65_535)));
        }
    }

    #[test]
    fn a_selection_is_bounded_and_free_of_peer_ids_and_repetitions() {
        let policy = Policy { loopback: false };
        let peer = to_peer_id(&PublicKey::from_bytes([9; 32]));
        let given: Vec<Multiaddr> = [
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.0.0.2/tcp/1",
            "/ip4/10.0.0.3/tcp/1",
        ]
        .iter()
        .map(|a| a.parse().unwrap())
        .collect();
        let with_peer = given.iter().map(|a| a.clone().with(Protocol::P2p(peer)));
        let selected = policy.select(given.iter().cloned().chain(with_peer), 2);
        assert_eq!(selected, [given[0].clone(), given[2].clone()]);
    }
}
