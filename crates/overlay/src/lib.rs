//! The overlay: how nodes find each other, gossip records, ask each other and move bytes.
//!
//! This is the only crate that names libp2p, and no type of libp2p shows in its interface: peers are
//! [`PublicKey`](guildhall_protocol::PublicKey)s (a node's Ed25519 key *is* its peer id), addresses are multiaddr
//! strings, messages are opaque bytes.
//!
//! # Shape
//! [`start`] opens the listeners and returns three things: the [`Overlay`] handle, the [`Events`] stream and the driver,
//! a future which the caller spawns in its own task group. The driver owns the swarm and is the only task of this crate;
//! libp2p itself spawns one task per connection. Handle and driver talk over one bounded channel each way.
//!
//! # Admission
//! A connection proves which key the other side holds, and nothing else. Until the node calls [`Overlay::admit`]:
//!
//! - the peer's gossip is discarded unread and none is sent to it;
//! - it is not in the routing table, and what it wants to provide is parked (a few keys), not stored;
//! - its streams are dropped;
//! - its requests arrive with `admitted: false`, so that the node can let it say hello or join, and nothing more;
//! - it is disconnected when [`Limits::handshake_deadline`] has passed.
//!
//! Admission lasts as long as the peer is connected. [`Overlay::expel`] takes it back and forgets the peer.
//!
//! # What it leaves to others
//! Who may be admitted, whether a gossiped record is valid, when to reconnect: the node's core decides. What a peer
//! says through the DHT is a hint at best; the DHT carries provider records only.
//!
//! # Bounds
//! Connections run over TCP with Noise and Yamux, or over QUIC; a peer that offers both is dialled over TCP first.
//! Every queue and table has a named bound in [`Limits`] or beside its owner. When the event channel is full, gossip,
//! requests and streams are refused at once (ignored, unanswered, reset), counted and logged; connects and disconnects
//! are never lost, they wait in a backlog that cannot grow beyond two entries per connection.

mod address;
mod config;
mod error;
mod event;
mod handle;
mod stream;

mod behaviour;
mod codec;
mod driver;
mod gate;
mod memory;
mod muxer;
mod providers;
mod streams;
mod transport;

pub use address::{ParsePeerIdError, parse_peer_id, peer_id_string};
pub use config::{Config, Limits};
pub use error::{
    DialError, LookupError, ProvideError, PublishError, ReplyError, RequestError, StartError,
    StreamError,
};
pub use event::{Event, Events, GossipToken, PeerInfo, PublishOutcome, Reply, Verdict};
pub use handle::{Overlay, start};
pub use stream::{Stream, StreamKind};
