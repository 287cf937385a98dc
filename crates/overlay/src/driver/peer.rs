//! What the driver keeps about a connected peer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::kad::ProviderRecord;
use libp2p::swarm::ConnectionId;
use tokio::sync::Semaphore;

use crate::config::Limits;

/// Inbound streams a peer may have open: the blob streams of a few downloads and as many jobs.
pub(super) const STREAMS_MAX: usize = 64;

/// Listen addresses kept of what a peer says about itself.
pub(super) const LISTEN_MAX: usize = 8;

/// Provider records kept of a peer that is not admitted yet. Two nodes that meet for the sake of a record exchange it
/// in the same moment as their hellos.
pub(super) const PARKED_MAX: usize = 32;

/// Pings in a row that may fail before a connection counts as dead.
pub(super) const PING_FAILURES_MAX: u32 = 2;

/// How long a peer that sent too much is not listened to.
pub(super) const MUTE: Duration = Duration::from_secs(10);

/// How long an admitted peer is sent every accepted message directly: three gossip heartbeats. Its place in the mesh
/// comes with the next one, and what is forwarded in between would reach it neither through the mesh nor through the
/// announcements of message ids, which go to peers outside the mesh.
pub(super) const FRESH: Duration = Duration::from_secs(3);

/// A connected peer.
pub(super) struct Peer {
    /// Its connections, oldest first.
    pub(super) links: Vec<Link>,
    pub(super) admitted: bool,
    /// Until when accepted messages go to it whether it is in the mesh or not.
    pub(super) fresh_until: Option<Instant>,
    /// Whether it listens to our federation.
    pub(super) listens: bool,
    /// When it connected.
    pub(super) since: Instant,
    pub(super) rtt: Option<Duration>,
    pub(super) ping_failures: u32,
    /// The address at which we reached it.
    pub(super) dialled: Option<Multiaddr>,
    /// Where it says it listens; believed once it is admitted.
    pub(super) listen: Vec<Multiaddr>,
    /// The addresses it has in the routing table.
    pub(super) routed: Vec<Multiaddr>,
    /// What it wants to provide, until it is admitted.
    pub(super) parked: Vec<ProviderRecord>,
    pub(super) streams: Arc<Semaphore>,
    pub(super) gossip: Bucket,
    pub(super) muted_until: Option<Instant>,
}

/// One connection.
pub(super) struct Link {
    pub(super) id: ConnectionId,
    pub(super) address: String,
    pub(super) inbound: bool,
}

impl Peer {
    pub(super) fn new(now: Instant, limits: &Limits) -> Self {
        Self {
            links: Vec::new(),
            admitted: false,
            fresh_until: None,
            listens: false,
            since: now,
            rtt: None,
            ping_failures: 0,
            dialled: None,
            listen: Vec::new(),
            routed: Vec::new(),
            parked: Vec::new(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            gossip: Bucket::new(limits.gossip_burst, limits.gossip_per_second, now),
            muted_until: None,
        }
    }
}

/// A token bucket.
pub(super) struct Bucket {
    capacity: f64,
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn new(capacity: u32, per_second: u32, now: Instant) -> Self {
        let capacity = f64::from(capacity);
        Self { capacity, per_second: f64::from(per_second), tokens: capacity, filled: now }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + passed * self.per_second).min(self.capacity);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(5, 2, start);
        assert_eq!((0..10).filter(|_| bucket.take(start)).count(), 5);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..10).filter(|_| bucket.take(later)).count(), 2);
        let much_later = start + Duration::from_secs(1000);
        assert_eq!((0..10).filter(|_| bucket.take(much_later)).count(), 5);
    }
}
