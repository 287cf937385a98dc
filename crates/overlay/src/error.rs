//! What can go wrong, one type per family of operations. The enums are open: match with a wildcard.

use std::io;

use guildhall_protocol::PublicKey;

/// The overlay did not start. Always the local side's fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address could not be bound; [`io::Error::kind`] says why (`AddrInUse`, `PermissionDenied`, ...).
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address as configured.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The address is not of the form `/ip4|ip6/ADDRESS/tcp/PORT` or `/ip4|ip6/ADDRESS/udp/PORT/quic-v1`.
    #[error(
        "cannot listen on {address}: expected /ip4/ADDRESS/tcp/PORT or /ip4/ADDRESS/udp/PORT/quic-v1, or the same \
         with ip6"
    )]
    Address {
        /// The address as configured.
        address: String,
    },
    /// libp2p refused a setting. A defect of this crate.
    #[error("the overlay's settings do not hold: {0}")]
    Settings(String),
}

/// A peer could not be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Not a multiaddr, or it does not end in `/p2p/PEER`, or the peer's key is not Ed25519.
    #[error("not a node's address: {0}")]
    Address(String),
    /// No addresses, or addresses of different peers.
    #[error("expected at least one address, all of the same peer")]
    Peers,
    /// None of the addresses may be dialled from here.
    #[error("not allowed to dial {0}")]
    Forbidden(String),
    /// The address is this node's own.
    #[error("this is our own address")]
    Own,
    /// Someone else answers there.
    #[error("the peer at this address is {found}, not the expected one")]
    WrongPeer {
        /// Who answered, as a peer id.
        found: String,
    },
    /// Nobody answered, or the handshake failed, or a connection limit was reached.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The deadline passed.
    #[error("no connection within the deadline")]
    Timeout,
    /// Too many dials at once; transient.
    #[error("too many dials at once")]
    Busy,
    /// The driver has ended.
    #[error("the overlay has stopped")]
    Stopped,
}

/// A message was not published. That nobody listened is no error, see [`PublishOutcome`](crate::PublishOutcome).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// No federation has been set.
    #[error("no federation to publish in")]
    NoFederation,
    /// The message is larger than gossip carries.
    #[error("the message has {len_bytes} bytes, gossip carries at most {max_bytes}")]
    TooLarge {
        /// Its length.
        len_bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// The send queues of all peers are full; transient.
    #[error("the send queues of all peers are full")]
    Busy,
    /// The driver has ended.
    #[error("the overlay has stopped")]
    Stopped,
}

/// A key was not provided.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvideError {
    /// This node already provides as many keys as it may.
    #[error("this node already provides {max} keys")]
    Full {
        /// The bound.
        max: usize,
    },
    /// The driver has ended.
    #[error("the overlay has stopped")]
    Stopped,
}

/// A lookup gave no answer. "Nobody provides it" is an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The deadline passed before any provider was found and before everyone concerned had been asked.
    #[error("no answer within the deadline")]
    Timeout,
    /// Too many lookups at once; transient.
    #[error("too many lookups at once")]
    Busy,
    /// The driver has ended.
    #[error("the overlay has stopped")]
    Stopped,
}

/// A request got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request is larger than the protocol allows.
    #[error("the request has {len_bytes} bytes, at most {max_bytes} are allowed")]
    TooLarge {
        /// Its length.
        len_bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// Not connected, and no known address led to the peer.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// The deadline passed. The peer may or may not have acted on the request.
    #[error("no answer within the deadline")]
    Timeout,
    /// The peer gave no answer: it dropped the request, went away, or does not speak the protocol.
    #[error("the peer did not answer: {0}")]
    NoAnswer(String),
    /// The peer's answer is longer than the protocol allows or cut short. The peer's fault.
    #[error("the peer's answer breaks the protocol: {0}")]
    BadAnswer(String),
    /// Too many requests at once; transient.
    #[error("too many requests at once")]
    Busy,
    /// The driver has ended.
    #[error("the overlay has stopped")]
    Stopped,
}

/// A reply was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The reply is larger than the protocol allows. The requester sees no answer.
    #[error("the reply has {len_bytes} bytes, at most {max_bytes} are allowed")]
    TooLarge {
        /// Its length.
        len_bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// The driver has ended.
    #[error("the overlay has stopped")]
    Stopped,
}

/// A stream was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer is not connected or not admitted; dial it and admit it first.
    #[error("{0:?} is not an admitted peer")]
    NotAdmitted(PublicKey),
    /// The peer does not speak this protocol.
    #[error("the peer does not take such streams")]
    Unsupported,
    /// The connection failed meanwhile.
    #[error("the stream could not be opened: {0}")]
    Io(#[from] io::Error),
    /// The deadline passed.
    #[error("no stream within the deadline")]
    Timeout,
    /// Too many streams are being opened at once; transient.
    #[error("too many streams are being opened at once")]
    Busy,
    /// The driver has ended.
    #[error("the overlay has stopped")]
    Stopped,
}
