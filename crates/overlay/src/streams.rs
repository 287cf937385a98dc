//! The behaviour that opens and accepts byte streams.
//!
//! Done here instead of with libp2p-stream 0.5.0-alpha, which keeps a channel for every connection it ever saw and
//! drops inbound streams that arrive while one is waiting. Here inbound streams are events of the swarm: the driver sees
//! each one, together with its peer, and decides.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, ReadyUpgrade, UpgradeInfo};
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::error::StreamError;
use crate::stream::StreamKind;

const BLOB: StreamProtocol = StreamProtocol::new("/guildhall/blob/2");
const JOB: StreamProtocol = StreamProtocol::new("/guildhall/job/1");

const fn protocol(kind: StreamKind) -> StreamProtocol {
    match kind {
        StreamKind::Blob => BLOB,
        StreamKind::Job => JOB,
    }
}

/// Where the opened stream goes.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) reply: oneshot::Sender<Result<Stream, StreamError>>,
    /// Counts against what may be opened at the same time.
    pub(crate) _slot: OwnedSemaphorePermit,
}

impl Opened {
    /// Delivers the outcome; whoever asked may have stopped waiting.
    fn send(self, outcome: Result<Stream, StreamError>) {
        let _ = self.reply.send(outcome);
    }
}

/// A peer opened a stream.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) peer: PeerId,
    pub(crate) kind: StreamKind,
    pub(crate) stream: Stream,
}

/// Opens streams on request and reports inbound ones.
#[derive(Default)]
pub(crate) struct Behaviour {
    /// Drained by every poll.
    actions: VecDeque<ToSwarm<Inbound, Open>>,
    /// Open connections; bounded by the connection limits.
    connections: HashMap<PeerId, Vec<ConnectionId>>,
}

impl Behaviour {
    /// Opens a stream to a connected peer, on its oldest connection.
    pub(crate) fn open(&mut self, peer: PeerId, kind: StreamKind, opened: Opened) {
        let Some(&connection) = self.connections.get(&peer).and_then(|all| all.first()) else {
            let gone = io::Error::from(io::ErrorKind::NotConnected);
            opened.send(Err(gone.into()));
            return;
        };
        self.actions.push_back(ToSwarm::NotifyHandler {
            peer_id: peer,
            handler: NotifyHandler::One(connection),
            event: Open { kind, opened },
        });
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Inbound;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                ..
            }) => self.connections.entry(peer_id).or_default().push(connection_id),
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                if let Some(all) = self.connections.get_mut(&peer_id) {
                    all.retain(|c| *c != connection_id);
                    if all.is_empty() {
                        self.connections.remove(&peer_id);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        _: ConnectionId,
        (kind, stream): THandlerOutEvent<Self>,
    ) {
        self.actions.push_back(ToSwarm::GenerateEvent(Inbound { peer, kind, stream }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Inbound, THandlerInEvent<Self>>> {
        // No waker is kept: actions come only from calls that the swarm or the driver makes, and both poll afterwards.
        self.actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Tells a connection to open a stream.
#[derive(Debug)]
pub(crate) struct Open {
    kind: StreamKind,
    opened: Opened,
}

/// One connection's side of the behaviour.
#[derive(Default)]
pub(crate) struct Handler {
    actions: VecDeque<HandlerAction>,
}

type HandlerAction =
    ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, Opened, (StreamKind, Stream)>;

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = (StreamKind, Stream);
    type InboundProtocol = Accept;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Opened;

    fn listen_protocol(&self) -> SubstreamProtocol<Accept> {
        SubstreamProtocol::new(Accept, ())
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<HandlerAction> {
        self.actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    fn on_behaviour_event(&mut self, Open { kind, opened }: Open) {
        self.actions.push_back(ConnectionHandlerEvent::OutboundSubstreamRequest {
            protocol: SubstreamProtocol::new(ReadyUpgrade::new(protocol(kind)), opened),
        });
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Accept, ReadyUpgrade<StreamProtocol>, (), Opened>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol, ..
            }) => self.actions.push_back(ConnectionHandlerEvent::NotifyBehaviour(protocol)),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol,
                info,
            }) => info.send(Ok(protocol)),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info }) => {
                info.send(Err(match error {
                    StreamUpgradeError::Timeout => StreamError::Timeout,
                    StreamUpgradeError::Apply(never) => match never {},
                    StreamUpgradeError::NegotiationFailed => StreamError::Unsupported,
                    StreamUpgradeError::Io(error) => StreamError::Io(error),
                }))
            }
            _ => {}
        }
    }
}

/// Accepts a stream of either kind.
pub(crate) struct Accept;

impl UpgradeInfo for Accept {
    type Info = StreamProtocol;
    type InfoIter = [StreamProtocol; 2];

    fn protocol_info(&self) -> Self::InfoIter {
        [BLOB, JOB]
    }
}

impl InboundUpgrade<Stream> for Accept {
    type Output = (StreamKind, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, info: StreamProtocol) -> Self::Future {
        let kind = if info == JOB { StreamKind::Job } else { StreamKind::Blob };
        ready(Ok((kind, stream)))
    }
}
