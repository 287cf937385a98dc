//! The protocols a node speaks, with their settings.

use std::time::Duration;

use guildhall_protocol::Hash;
use libp2p::gossipsub::{
    AllowAllSubscriptionFilter, IdentityTransform, MaxCountSubscriptionFilter, MessageAuthenticity,
    MessageId, PeerScoreParams, PeerScoreThresholds, TopicScoreParams, ValidationMode,
};
use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::{StreamProtocol, gossipsub, identify, kad, ping, request_response};
use libp2p_connection_limits::ConnectionLimits;

use crate::address::Policy;
use crate::codec::{self, Codec};
use crate::config::Limits;
use crate::error::StartError;
use crate::gate::Gate;
use crate::{providers, streams};

/// Largest gossip message, bytes, as gossipsub counts it; a receiver drops larger ones without a word.
pub(crate) const GOSSIP_MAX_BYTES: usize = 64 * 1024;

/// The score of a peer that is not admitted, or that is muted: far below every threshold, so nothing of it is read and
/// nothing is sent to it.
pub(crate) const MUTED_SCORE: f64 = -10_000.0;

/// Connections being opened, per direction. An opening connection costs some 20 KiB and lasts ten seconds at most.
const PENDING_MAX: u32 = 512;

/// Connections per peer: both sides may dial at the same time, and a dead one may not have been noticed yet.
const PER_PEER_MAX: u32 = 3;

/// Requests in flight on one connection, both directions together. Their memory has a bound of its own, see the codec.
const REQUESTS_PER_CONNECTION_MAX: usize = 256;

/// Messages waiting for one slow peer; beyond, new ones are dropped for this peer. 1,024 of 60 KiB are 60 MiB.
const GOSSIP_QUEUE_MAX: usize = 1024;

/// Topics a peer may follow. There is one per federation, and a node is in one.
const TOPICS_MAX: usize = 8;

/// A Kademlia packet, bytes: twenty providers and twenty closer peers with a few short addresses each.
const KAD_PACKET_MAX_BYTES: usize = 32 * 1024;

/// Gossip without topic policies; they are set when the federation is known.
pub(crate) type Gossip =
    gossipsub::Behaviour<IdentityTransform, MaxCountSubscriptionFilter<AllowAllSubscriptionFilter>>;

/// Everything a node speaks. The gate comes first: what it refuses, nobody else sees.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) gate: Gate,
    pub(crate) limits: libp2p_connection_limits::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) gossip: Gossip,
    pub(crate) kad: kad::Behaviour<providers::Store>,
    pub(crate) requests: request_response::Behaviour<Codec>,
    pub(crate) streams: streams::Behaviour,
}

impl Behaviour {
    /// The protocols of the node with this key.
    pub(crate) fn new(key: &Keypair, policy: Policy, limits: &Limits) -> Result<Self, StartError> {
        let inbound_max = limits.connections_max - limits.connections_max / 4;
        let connections = ConnectionLimits::default()
            .with_max_pending_incoming(Some(PENDING_MAX))
            .with_max_pending_outgoing(Some(PENDING_MAX))
            .with_max_established_incoming(Some(inbound_max))
            .with_max_established_outgoing(Some(limits.connections_max))
            .with_max_established(Some(limits.connections_max))
            .with_max_established_per_peer(Some(PER_PEER_MAX));
        let identify = identify::Config::new("/guildhall/1".to_owned(), key.public())
            .with_agent_version(concat!("guildhall/", env!("CARGO_PKG_VERSION")).to_owned())
            .with_push_listen_addr_updates(true)
            // Identify would add what peers say about themselves to our dials; the gate's book is enough.
            .with_cache_size(0);
        let requests = request_response::Config::default()
            .with_request_timeout(limits.request_deadline)
            .with_max_concurrent_streams(REQUESTS_PER_CONNECTION_MAX);
        Ok(Self {
            gate: Gate::new(limits.strangers_max as usize),
            limits: libp2p_connection_limits::Behaviour::new(connections),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new()),
            gossip: gossip().map_err(StartError::Settings)?,
            kad: kademlia(key, policy, limits),
            requests: request_response::Behaviour::with_codec(
                Codec::default(),
                [(codec::PROTOCOL, request_response::ProtocolSupport::Full)],
                requests,
            ),
            streams: streams::Behaviour::default(),
        })
    }
}

/// Kademlia as this node speaks it.
pub(crate) fn kademlia(
    key: &Keypair,
    policy: Policy,
    limits: &Limits,
) -> kad::Behaviour<providers::Store> {
    let local = key.public().to_peer_id();
    let mut config = kad::Config::new(StreamProtocol::new("/guildhall/kad/1"));
    config
        .set_query_timeout(limits.lookup_deadline)
        .disjoint_query_paths(true)
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_provider_record_ttl(Some(providers::TTL))
        // The driver announces our keys itself: Kademlia would do it only every so many hours, also when the first time
        // was before the first peer.
        .set_provider_publication_interval(None)
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_max_packet_size(KAD_PACKET_MAX_BYTES);
    let store = providers::Store::new(local, policy, providers::Caps::default());
    let mut kad = kad::Behaviour::with_config(local, store, config);
    // Else it would wait for a confirmed external address, which never comes on loopback and private networks.
    kad.set_mode(Some(kad::Mode::Server));
    kad
}

/// Gossip: messages are anonymous at this level, since records carry their authors' signatures; their id is the hash of
/// their content, so nobody can make one message look like many.
fn gossip() -> Result<Gossip, String> {
    let config = gossipsub::ConfigBuilder::default()
        .validate_messages()
        .validation_mode(ValidationMode::Anonymous)
        .message_id_fn(|message| MessageId::from(Hash::of(&message.data).as_bytes().to_vec()))
        .max_transmit_size(GOSSIP_MAX_BYTES)
        .flood_publish(true)
        // The default would leave a new node without a mesh for five seconds.
        .heartbeat_initial_delay(Duration::from_millis(200))
        .heartbeat_interval(Duration::from_secs(1))
        .connection_handler_queue_len(GOSSIP_QUEUE_MAX)
        .build()
        .map_err(|error| error.to_string())?;
    let filter = MaxCountSubscriptionFilter {
        filter: AllowAllSubscriptionFilter {},
        max_subscribed_topics: TOPICS_MAX,
        max_subscriptions_per_request: 2 * TOPICS_MAX,
    };
    let mut gossip =
        Gossip::new_with_subscription_filter(MessageAuthenticity::Anonymous, config, filter)?;
    gossip.with_peer_score(peer_score(), thresholds())?;
    Ok(gossip)
}

/// Scores have one purpose here: to stop listening to peers that send invalid messages, or that nobody admitted. What
/// rewards steady traffic is off or small, because a federation can be silent for hours.
fn peer_score() -> PeerScoreParams {
    PeerScoreParams {
        app_specific_weight: 1.0,
        topic_score_cap: 30.0,
        // Loopback and test networks put all peers on one address; strangers are bounded by the gate.
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: 0.9,
        slow_peer_threshold: 50.0,
        // Longer would let passing strangers pile up in memory.
        retain_score: Duration::from_secs(60),
        ..PeerScoreParams::default()
    }
}

/// The score of messages. Eight invalid ones within a minute lead below the graylist threshold.
pub(crate) fn topic_score() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.01,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 300.0,
        first_message_deliveries_weight: 0.5,
        first_message_deliveries_decay: 0.9,
        first_message_deliveries_cap: 40.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: 0.998,
        ..TopicScoreParams::default()
    }
}

fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: -100.0,
        publish_threshold: -200.0,
        graylist_threshold: -500.0,
        accept_px_threshold: 0.0,
        opportunistic_graft_threshold: 1.0,
    }
}
