//! What a node tells the overlay at start, and the bounds a deployment may want to change.

use std::time::Duration;

/// Everything [`start`](crate::start) needs.
#[derive(Clone)]
pub struct Config {
    /// Seed of the node's Ed25519 key, which is also its identity on the network.
    pub seed: [u8; 32],
    /// Multiaddrs to listen on: `/ip4/127.0.0.1/tcp/0` for TCP, `/ip4/127.0.0.1/udp/0/quic-v1` for QUIC, or the same
    /// with `ip6`. Both can be dialled whatever is listened on. A node whose addresses here are all loopback may dial
    /// loopback; any other node may not.
    pub listen: Vec<String>,
    /// Bounds.
    pub limits: Limits,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("seed", &"(secret)")
            .field("listen", &self.listen)
            .field("limits", &self.limits)
            .finish()
    }
}

/// Bounds of one node's overlay. The defaults suit a federation of a few thousand nodes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a peer may stay connected without being admitted. Ten seconds: a hello is one round trip, the rest is
    /// for slow links.
    pub handshake_deadline: Duration,
    /// How long [`dial`](crate::Overlay::dial) may take, all addresses together.
    pub dial_deadline: Duration,
    /// How long a request may take from the call to the answer, and how long the answerer has.
    pub request_deadline: Duration,
    /// How long a provider lookup may take. It usually ends far sooner: one second after the first provider.
    pub lookup_deadline: Duration,
    /// Most established connections. A quarter stays reserved for connections that this node opens itself, so that
    /// strangers cannot make up its whole neighbourhood.
    pub connections_max: u32,
    /// Most inbound connections of peers that this node has not heard of through [`set_known`](crate::Overlay::set_known)
    /// or admitted; so strangers cannot keep known members out.
    pub strangers_max: u32,
    /// Capacity of the event channel. At 60 KiB for the largest record, a full channel holds some 30 MiB.
    pub events_max: usize,
    /// Gossip messages a peer may send per second, averaged. Whoever sends more is not listened to for some seconds.
    pub gossip_per_second: u32,
    /// Gossip messages a peer may send at once before the average counts: what a node publishes after a long outage.
    pub gossip_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_deadline: Duration::from_secs(10),
            dial_deadline: Duration::from_secs(10),
            request_deadline: Duration::from_secs(10),
            lookup_deadline: Duration::from_secs(10),
            connections_max: 512,
            strangers_max: 128,
            events_max: 512,
            gossip_per_second: 500,
            gossip_burst: 5_000,
        }
    }
}
