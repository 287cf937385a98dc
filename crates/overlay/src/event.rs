//! What the overlay reports to the node, and the tokens with which the node answers.

use std::time::Duration;

use guildhall_protocol::PublicKey;
use guildhall_protocol::limits::MESSAGE_MAX_BYTES;
use libp2p::PeerId;
use libp2p::gossipsub::MessageId;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::error::ReplyError;
use crate::stream::{Stream, StreamKind};

/// Something happened on the network.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// This node listens on one more address, which others may dial.
    Listening {
        /// A multiaddr ending in this node's peer id.
        address: String,
    },
    /// A peer connected that was not connected before. It is not admitted.
    Connected {
        /// Whose key the other side proved to hold.
        peer: PublicKey,
        /// The remote address of the first connection, a multiaddr without peer id.
        address: String,
        /// Whether the peer dialled us.
        inbound: bool,
    },
    /// The last connection to a peer is gone, and its admission with it.
    Disconnected {
        /// Who.
        peer: PublicKey,
    },
    /// An admitted peer passed on a message that this node has not seen within the last minute. It travels no further
    /// until [`verdict`](crate::Overlay::verdict) accepts it, which has to happen within some five seconds.
    Gossip {
        /// Who passed it on; not who wrote it.
        from: PublicKey,
        /// For the verdict.
        token: GossipToken,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A peer asks something.
    Request {
        /// Who asks.
        peer: PublicKey,
        /// Whether it was admitted when the request arrived. If not, only hello and join deserve an answer.
        admitted: bool,
        /// The request.
        bytes: Vec<u8>,
        /// For the answer.
        reply: Reply,
    },
    /// An admitted peer opened a stream.
    Stream {
        /// Who.
        peer: PublicKey,
        /// For what.
        kind: StreamKind,
        /// The stream.
        stream: Stream,
    },
}

/// The events of an overlay, in order. Ends when the driver has ended.
///
/// Whoever reads it must not wait for the overlay without reading on: when it is full, gossip, requests and streams
/// are refused.
#[derive(Debug)]
pub struct Events(pub(crate) mpsc::Receiver<Event>);

impl Events {
    /// The next event; none when the driver has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

/// Names a gossip message in a verdict.
#[derive(Debug)]
pub struct GossipToken {
    pub(crate) id: MessageId,
    pub(crate) from: PeerId,
}

/// What the node thinks of a gossip message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Valid: pass it on.
    Accept,
    /// Invalid, and whoever passed it on should have known: stop it and remember the peer's fault. After about eight
    /// of these within a minute the peer is not listened to for a while.
    Reject,
    /// Neither: stop it without blame.
    Ignore,
}

/// What became of a published message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It is on its way to every admitted peer that listens.
    Sent,
    /// No admitted peer listens. Anti-entropy will carry it later.
    NoPeers,
    /// It went through this node within the last minute already.
    Duplicate,
}

/// Answers one request. Dropping it leaves the request unanswered, which the requester learns at once. Whoever takes its
/// time should look whether it is still waited for ([`gone`](Self::gone)).
#[derive(Debug)]
pub struct Reply {
    pub(crate) sender: oneshot::Sender<Vec<u8>>,
    /// The request's share of the memory budget.
    pub(crate) _share: Option<OwnedSemaphorePermit>,
}

impl Reply {
    /// Sends the answer. That it arrives is not certain: the requester may be gone or its deadline over.
    ///
    /// # Errors
    /// [`ReplyError`] if the answer is too large or the overlay no longer waits for it.
    pub fn send(self, bytes: Vec<u8>) -> Result<(), ReplyError> {
        if bytes.len() > MESSAGE_MAX_BYTES {
            return Err(ReplyError::TooLarge {
                len_bytes: bytes.len(),
                max_bytes: MESSAGE_MAX_BYTES,
            });
        }
        self.sender.send(bytes).map_err(|_| ReplyError::Stopped)
    }

    /// Returns when nobody waits for the answer any more, as far as this node can see: the connection on which the
    /// request came is closed, the deadline is over, or the overlay has ended. That a requester lost interest does not
    /// show. Cancel safe.
    pub async fn gone(&mut self) {
        self.sender.closed().await;
    }
}

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Who.
    pub peer: PublicKey,
    /// The remote address of the oldest connection, a multiaddr without peer id.
    pub address: String,
    /// Whether the peer dialled us.
    pub inbound: bool,
    /// Whether it is admitted.
    pub admitted: bool,
    /// Whether it is known to listen to this node's federation. Before that, nothing is published to it; it says so about
    /// one round trip after it connected.
    pub listens: bool,
    /// Its last measured round trip.
    pub rtt: Option<Duration>,
}
