//! What a node's keeper decided: `config.toml`, overridden by the environment and by flags.

use std::net::SocketAddr;

use guildhall_client::package::ByteSize;
use guildhall_protocol::body::HardwareOffer;
use guildhall_protocol::name::{CategoryPrefix, OrgName};
use serde::{Deserialize, Serialize, Serializer};

/// Static peers that joining keeps; enough for some invites of nodes with several addresses each.
const PEERS_MAX: usize = 64;

/// The configuration file. Every field but the org has a default, so that `guild up` needs nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The org's name.
    pub(crate) org: OrgName,
    /// Where the API listens.
    #[serde(default = "default_api")]
    pub(crate) api: SocketAddr,
    /// Where the overlay listens, multiaddresses.
    #[serde(default = "default_listen")]
    pub(crate) listen: Vec<String>,
    /// Nodes to dial while no peer is admitted: multiaddresses that end in `/p2p/PEER`. Joining adds those of the
    /// invite.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) peers: Vec<String>,
    /// Categories whose listings are kept.
    #[serde(default = "default_follows")]
    pub(crate) follows: Vec<CategoryPrefix>,
    /// Token that the API asks for; needed when it listens on more than loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// Hardware that is lent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) offer: Option<HardwareOffer>,
    /// How fast content is sent to others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) upload: Upload,
    /// What content may take on the disk.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) content: Content,
}

/// `[upload]`: bytes per second; without a limit as fast as it goes, shared fairly among orgs either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Upload {
    /// To all orgs together.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_bytes")]
    pub(crate) max_per_second: Option<ByteSize>,
    /// To each org.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_bytes")]
    pub(crate) max_per_second_and_org: Option<ByteSize>,
}

/// `[content]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Content {
    /// What copies of others' packages may take; 0 keeps none.
    #[serde(serialize_with = "bytes")]
    pub(crate) replicas_max: ByteSize,
    /// How long a package that was fetched for a person or a job stays without being used, days.
    pub(crate) unused_days: u64,
}

impl Default for Content {
    fn default() -> Self {
        Self { replicas_max: ByteSize(20 << 30), unused_days: 30 }
    }
}

fn bytes<S: Serializer>(size: &ByteSize, output: S) -> Result<S::Ok, S::Error> {
    output.serialize_u64(size.0)
}

fn some_bytes<S: Serializer>(size: &Option<ByteSize>, output: S) -> Result<S::Ok, S::Error> {
    size.map(|size| size.0).serialize(output)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Config {
    pub(crate) fn new(org: OrgName) -> Self {
        Self {
            org,
            api: default_api(),
            listen: default_listen(),
            peers: Vec::new(),
            follows: default_follows(),
            token: None,
            offer: None,
            upload: Upload::default(),
            content: Content::default(),
        }
    }

    /// Remembers addresses of nodes that can be dialled, the newest last. Beyond [`PEERS_MAX`] the oldest are dropped.
    pub(crate) fn add_peers(&mut self, addresses: &[String]) {
        add_peers(&mut self.peers, addresses);
    }
}

/// Adds addresses that are not in the list yet, and drops the oldest beyond [`PEERS_MAX`].
pub(crate) fn add_peers(peers: &mut Vec<String>, addresses: &[String]) {
    for address in addresses {
        if !peers.contains(address) {
            peers.push(address.clone());
        }
    }
    let surplus = peers.len().saturating_sub(PEERS_MAX);
    peers.drain(..surplus);
}

fn default_api() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7480))
}

fn default_listen() -> Vec<String> {
    vec!["/ip4/0.0.0.0/tcp/7481".to_owned(), "/ip4/0.0.0.0/udp/7481/quic-v1".to_owned()]
}

fn default_follows() -> Vec<CategoryPrefix> {
    vec![CategoryPrefix::everything()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_peers_have_no_duplicates_and_the_oldest_give_way() {
        let mut config = Config::new("lab-a".parse().unwrap());
        let addresses: Vec<String> =
            (0..PEERS_MAX).map(|port| format!("/ip4/127.0.0.1/tcp/{port}")).collect();
        config.add_peers(&addresses);
        config.add_peers(&addresses);
        assert_eq!(config.peers, addresses);
        config.add_peers(&["/ip4/127.0.0.1/tcp/9999".to_owned()]);
        assert_eq!(config.peers.len(), PEERS_MAX);
        assert_eq!(config.peers.first(), addresses.get(1));
        assert_eq!(config.peers.last().map(String::as_str), Some("/ip4/127.0.0.1/tcp/9999"));
    }
}
