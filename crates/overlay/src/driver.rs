//! The one task of this crate: it owns the swarm, carries out commands and turns what happens into events.
//!
//! It never waits for anybody: commands are answered at once or when the swarm has news, events that find no room are
//! refused or wait in a backlog ([`outbox`]). Local work comes before work from the network.

mod commands;
mod dht;
mod outbox;
mod peer;
mod swarm_events;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use libp2p::core::transport::ListenerId;
use libp2p::core::upgrade;
use libp2p::gossipsub::IdentTopic;
use libp2p::identity::Keypair;
use libp2p::request_response::{InboundRequestId, OutboundRequestId, ResponseChannel};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, swarm};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use crate::address::Policy;
use crate::behaviour::Behaviour;
use crate::config::Limits;
use crate::error::{DialError, RequestError, StartError};
use crate::event::Event;
use crate::transport;

pub(crate) use commands::Command;
use dht::Dht;
use outbox::Outbox;
use peer::Peer;

/// How often deadlines are looked at. All of them are seconds long.
const TICK: Duration = Duration::from_millis(250);

/// How long a connection without streams stays open: in effect for ever, since peers are kept on purpose and cut on
/// purpose. (A larger value would overflow in places.)
const IDLE_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Inbound streams of one connection that negotiate their protocol at the same time.
const NEGOTIATING_MAX: usize = 64;

/// Outbound streams being opened at the same time, all peers together.
const OPENING_MAX: usize = 256;

/// How long closing all connections may take at shutdown.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// How long a listener may take to name its addresses.
const LISTEN_DEADLINE: Duration = Duration::from_secs(5);

/// Owner of the swarm.
pub(crate) struct Driver {
    swarm: Swarm<Behaviour>,
    policy: Policy,
    limits: Arc<Limits>,
    commands: mpsc::Receiver<Command>,
    outbox: Outbox,
    topic: Option<IdentTopic>,
    /// Connected peers; bounded by the connection limits.
    peers: HashMap<PeerId, Peer>,
    /// Dials the node asked for.
    dials: HashMap<PeerId, Dial>,
    /// Requests the node has sent.
    requests: HashMap<OutboundRequestId, oneshot::Sender<Result<Vec<u8>, RequestError>>>,
    /// Requests the node has received and not answered.
    replies: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// For each of them, what is dropped when nobody waits for the answer any more.
    awaited: HashMap<InboundRequestId, oneshot::Sender<()>>,
    opening: Arc<Semaphore>,
    dht: Dht,
}

/// A dial and who waits for it.
struct Dial {
    connection: ConnectionId,
    waiting: Vec<oneshot::Sender<Result<guildhall_protocol::PublicKey, DialError>>>,
}

/// The node's answer to a request; none if it dropped the request, or nobody waits for the answer.
type Answer = (InboundRequestId, ResponseChannel<Vec<u8>>, Option<Vec<u8>>);

impl Driver {
    /// A driver with a swarm that listens nowhere yet.
    pub(crate) fn new(
        key: &Keypair,
        policy: Policy,
        limits: Arc<Limits>,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, StartError> {
        let transport = transport::build(key, policy)
            .map_err(|error| StartError::Settings(error.to_string()))?;
        let behaviour = Behaviour::new(key, policy, &limits)?;
        let config = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(IDLE_TIMEOUT)
            // What is first said on a stream travels with the protocol's name, one round trip sooner: every node speaks
            // every protocol, and where there is a choice of versions the answer is waited for anyway.
            .with_substream_upgrade_protocol_override(upgrade::Version::V1Lazy)
            .with_max_negotiating_inbound_streams(NEGOTIATING_MAX);
        let (local, now) = (key.public().to_peer_id(), Instant::now());
        Ok(Self {
            swarm: Swarm::new(transport, behaviour, local, config),
            policy,
            limits,
            commands,
            outbox: Outbox::new(events),
            topic: None,
            peers: HashMap::new(),
            dials: HashMap::new(),
            requests: HashMap::new(),
            replies: FuturesUnordered::new(),
            awaited: HashMap::new(),
            opening: Arc::new(Semaphore::new(OPENING_MAX)),
            dht: Dht::new(local, now),
        })
    }

    /// Opens a listener and waits until its first address is known.
    pub(crate) async fn listen(&mut self, address: Multiaddr) -> io::Result<()> {
        let listener = self.swarm.listen_on(address).map_err(|error| match error {
            libp2p::TransportError::Other(error) => innermost(error),
            other => io::Error::new(io::ErrorKind::InvalidInput, other.to_string()),
        })?;
        tokio::time::timeout(LISTEN_DEADLINE, self.wait_listening(listener))
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
    }

    async fn wait_listening(&mut self, listener: ListenerId) -> io::Result<()> {
        loop {
            let event = self.swarm.select_next_some().await;
            let ready = match &event {
                SwarmEvent::NewListenAddr { listener_id, .. } => *listener_id == listener,
                SwarmEvent::ListenerClosed { listener_id, .. } if *listener_id == listener => {
                    return Err(io::Error::from(io::ErrorKind::NotConnected));
                }
                _ => false,
            };
            self.handle_swarm_event(event);
            if ready {
                return Ok(());
            }
        }
    }

    /// Runs until it is told to shut down or nobody holds the other ends any more.
    pub(crate) async fn run(mut self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let done = loop {
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    None => break None,
                    Some(Command::Shutdown(done)) => break Some(done),
                    Some(command) => self.handle_command(command),
                },
                open = self.outbox.advance() => if !open {
                    break None;
                },
                Some((request, channel, answer)) = self.replies.next() => {
                    self.awaited.remove(&request);
                    if let Some(answer) = answer {
                        // Refused only if the requester is gone or its deadline is over.
                        let _ = self.swarm.behaviour_mut().requests.send_response(channel, answer);
                    }
                },
                _ = ticks.tick() => self.handle_tick(Instant::now()),
                event = self.swarm.select_next_some() => self.handle_swarm_event(event),
            }
        };
        self.close().await;
        drop(self);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// Closes every connection, so that peers notice at once.
    async fn close(&mut self) {
        let peers: Vec<PeerId> = self.peers.keys().copied().collect();
        for peer in peers {
            self.disconnect(peer);
        }
        let deadline = tokio::time::sleep(CLOSE_DEADLINE);
        tokio::pin!(deadline);
        while !self.peers.is_empty() {
            tokio::select! {
                biased;
                () = &mut deadline => break,
                event = self.swarm.select_next_some() => self.handle_swarm_event(event),
            }
        }
    }

    fn disconnect(&mut self, peer: PeerId) {
        // Fails only if there is no connection.
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    /// Acts on deadlines that have passed.
    fn handle_tick(&mut self, now: Instant) {
        let mut late = Vec::new();
        for (id, peer) in &mut self.peers {
            if !peer.admitted && now >= peer.since + self.limits.handshake_deadline {
                late.push(*id);
            }
            if peer.muted_until.is_some_and(|until| now >= until) {
                peer.muted_until = None;
                if peer.admitted {
                    self.swarm.behaviour_mut().gossip.set_application_score(id, 0.0);
                }
            }
        }
        for peer in late {
            tracing::debug!(%peer, "not admitted in time, disconnecting");
            self.disconnect(peer);
        }
        self.dht.handle_tick(&mut self.swarm.behaviour_mut().kad, now);
    }
}

/// The operating system's error inside the layers that the transport wraps around it.
fn innermost(error: io::Error) -> io::Error {
    let mut kind = error.kind();
    let mut source: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|e| e as _);
    while let Some(inner) = source {
        if let Some(inner) = inner.downcast_ref::<io::Error>() {
            kind = inner.kind();
        }
        source = inner.source();
    }
    if kind == error.kind() { error } else { io::Error::new(kind, error) }
}
