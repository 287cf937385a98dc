//! What the swarm reports, and what becomes of it.

use std::io;
use std::time::Instant;

use futures::FutureExt as _;
use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{self, InboundRequestId, Message, OutboundFailure, ResponseChannel};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, gossipsub, identify, kad, ping, swarm};
use tokio::sync::oneshot;

use super::Driver;
use super::commands::dial_error;
use super::peer::{LISTEN_MAX, Link, MUTE, PARKED_MAX, PING_FAILURES_MAX, Peer};
use crate::address::to_public_key;
use crate::behaviour::{BehaviourEvent, MUTED_SCORE};
use crate::codec;
use crate::error::{DialError, RequestError};
use crate::event::{Event, GossipToken, Reply};
use crate::stream::Stream;
use crate::streams;

/// Requests that may wait for the node's reply, all peers together. At the bound, further ones go unanswered.
const REPLIES_MAX: usize = 1024;

impl Driver {
    pub(super) fn handle_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.handle_behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.handle_connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                self.handle_closed(peer_id, connection_id, num_established);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id: Some(peer), error } => {
                self.handle_dial_failed(peer, connection_id, error);
            }
            SwarmEvent::IncomingConnectionError { error, send_back_addr, .. } => {
                tracing::debug!(%error, from = %send_back_addr, "an inbound connection failed");
            }
            SwarmEvent::NewListenAddr { address, .. } if self.policy.allows(&address) => {
                // Kademlia tells others external addresses only.
                self.swarm.add_external_address(address.clone());
                let address = self.own_address(&address);
                tracing::info!(%address, "listening");
                self.outbox.push(Event::Listening { address });
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.swarm.remove_external_address(&address);
            }
            SwarmEvent::ListenerClosed { addresses, reason: Err(error), .. } => {
                tracing::error!(?addresses, %error, "a listener failed");
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener had a problem");
            }
            _ => {}
        }
    }

    fn handle_connected(&mut self, id: PeerId, connection: ConnectionId, end: &ConnectedPoint) {
        let Some(key) = to_public_key(&id) else {
            tracing::debug!(peer = %id, "the peer's key is not an Ed25519 key, disconnecting");
            self.disconnect(id);
            return;
        };
        let remote = without_peer(end.get_remote_address().clone());
        let link = Link { id: connection, address: remote.to_string(), inbound: end.is_listener() };
        let fresh = !self.peers.contains_key(&id);
        let limits = &self.limits;
        let peer = self.peers.entry(id).or_insert_with(|| Peer::new(Instant::now(), limits));
        if !link.inbound {
            peer.dialled = Some(remote);
        }
        let (address, inbound) = (link.address.clone(), link.inbound);
        peer.links.push(link);
        let admitted = peer.admitted;
        let behaviour = self.swarm.behaviour_mut();
        behaviour.gate.set_dialling(id, false);
        if fresh {
            behaviour.gossip.set_application_score(&id, MUTED_SCORE);
            self.outbox.push(Event::Connected { peer: key, address, inbound });
        } else if admitted {
            behaviour.gate.no_stranger(connection);
        }
        for waiting in self.dials.remove(&id).into_iter().flat_map(|dial| dial.waiting) {
            let _ = waiting.send(Ok(key));
        }
    }

    fn handle_dial_failed(
        &mut self,
        id: PeerId,
        connection: ConnectionId,
        error: swarm::DialError,
    ) {
        // Others dial too, Kademlia for one; only the node's own dials have somebody waiting.
        if self.dials.get(&id).is_none_or(|dial| dial.connection != connection) {
            return;
        }
        self.swarm.behaviour_mut().gate.set_dialling(id, false);
        let mut waiting = self.dials.remove(&id).into_iter().flat_map(|dial| dial.waiting);
        let reason = error.to_string();
        if let Some(first) = waiting.next() {
            let _ = first.send(Err(dial_error(error)));
        }
        for other in waiting {
            let _ = other.send(Err(DialError::Unreachable(reason.clone())));
        }
    }

    fn handle_closed(&mut self, id: PeerId, connection: ConnectionId, left: u32) {
        if left > 0 {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.links.retain(|link| link.id != connection);
            }
            return;
        }
        if self.peers.remove(&id).is_none() {
            return;
        }
        self.swarm.behaviour_mut().gate.set_admitted(id, false);
        if let Some(peer) = to_public_key(&id) {
            self.swarm.behaviour_mut().kad.store_mut().dismiss(&peer);
            self.outbox.push(Event::Disconnected { peer });
        }
    }

    fn handle_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.handle_identified(peer_id, info);
            }
            BehaviourEvent::Ping(event) => self.handle_ping(&event),
            BehaviourEvent::Gossip(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            }) => self.handle_gossip(propagation_source, message_id, message.data),
            BehaviourEvent::Gossip(gossipsub::Event::Subscribed { peer_id, topic }) => {
                self.handle_listens(peer_id, &topic, true);
            }
            BehaviourEvent::Gossip(gossipsub::Event::Unsubscribed { peer_id, topic }) => {
                self.handle_listens(peer_id, &topic, false);
            }
            BehaviourEvent::Kad(event) => self.handle_kad(event),
            BehaviourEvent::Requests(event) => self.handle_request_event(event),
            BehaviourEvent::Streams(inbound) => self.handle_stream(inbound),
            _ => {}
        }
    }

    fn handle_identified(&mut self, id: PeerId, info: identify::Info) {
        if info.public_key.to_peer_id() != id {
            tracing::warn!(peer = %id, "the peer names a key that is not its own, disconnecting");
            self.disconnect(id);
            return;
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.listen = self.policy.select(info.listen_addrs, LISTEN_MAX);
        self.route(id);
    }

    fn handle_ping(&mut self, event: &ping::Event) {
        let Some(peer) = self.peers.get_mut(&event.peer) else { return };
        match &event.result {
            Ok(rtt) => {
                peer.rtt = Some(*rtt);
                peer.ping_failures = 0;
            }
            Err(ping::Failure::Unsupported) => {}
            Err(error) => {
                peer.ping_failures += 1;
                if peer.ping_failures >= PING_FAILURES_MAX {
                    tracing::debug!(peer = %event.peer, %error, "the connection is dead, closing");
                    peer.ping_failures = 0;
                    self.swarm.close_connection(event.connection);
                }
            }
        }
    }

    fn handle_gossip(&mut self, from: PeerId, id: gossipsub::MessageId, bytes: Vec<u8>) {
        let now = Instant::now();
        let key = to_public_key(&from);
        let peer = self.peers.get_mut(&from).filter(|peer| peer.admitted);
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        let (Some(key), Some(peer)) = (key, peer) else {
            gossip.report_message_validation_result(
                &id,
                &from,
                gossipsub::MessageAcceptance::Ignore,
            );
            return;
        };
        let within_rate = peer.gossip.take(now);
        if !within_rate && peer.muted_until.is_none() {
            tracing::warn!(peer = %from, "the peer gossips too much, not listening for a while");
            peer.muted_until = Some(now + MUTE);
            gossip.set_application_score(&from, MUTED_SCORE);
        }
        let taken = within_rate && {
            let token = GossipToken { id: id.clone(), from };
            self.outbox.offer(Event::Gossip { from: key, token, bytes })
        };
        if !taken {
            gossip.report_message_validation_result(
                &id,
                &from,
                gossipsub::MessageAcceptance::Ignore,
            );
        }
    }

    fn handle_listens(&mut self, id: PeerId, topic: &gossipsub::TopicHash, listens: bool) {
        let ours = self.topic.as_ref().is_some_and(|ours| ours.hash() == *topic);
        if let Some(peer) = self.peers.get_mut(&id).filter(|_| ours) {
            peer.listens = listens;
        }
    }

    fn handle_kad(&mut self, event: kad::Event) {
        let kad = &mut self.swarm.behaviour_mut().kad;
        match event {
            kad::Event::InboundRequest {
                request: kad::InboundRequest::AddProvider { record: Some(mut record) },
            } => {
                let Some(peer) = self.peers.get_mut(&record.provider) else { return };
                // A node behind a listener it cannot name: we may know better.
                record.addresses.extend(peer.routed.iter().cloned());
                if peer.admitted {
                    // Refused records are counted.
                    let _ = kad.store_mut().insert(record, Instant::now());
                } else if peer.parked.len() < PARKED_MAX {
                    peer.parked.push(record);
                } else {
                    kad.store_mut().refuse_strangers();
                }
            }
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => {
                self.dht.handle_query(kad, id, result, &step, Instant::now());
            }
            _ => {}
        }
    }

    fn handle_request_event(&mut self, event: request_response::Event<codec::Request, Vec<u8>>) {
        match event {
            request_response::Event::Message {
                peer,
                message: Message::Request { request_id, request, channel },
                ..
            } => self.handle_request(peer, request_id, request, channel),
            request_response::Event::Message {
                message: Message::Response { request_id, response },
                ..
            } => {
                if let Some(reply) = self.requests.remove(&request_id) {
                    let _ = reply.send(Ok(response));
                }
            }
            request_response::Event::OutboundFailure { request_id, error, .. } => {
                if let Some(reply) = self.requests.remove(&request_id) {
                    let _ = reply.send(Err(request_error(error)));
                }
            }
            request_response::Event::InboundFailure { peer, request_id, error, .. } => {
                tracing::debug!(%peer, %error, "a peer's request failed");
                self.awaited.remove(&request_id);
            }
            request_response::Event::ResponseSent { .. } => {}
        }
    }

    fn handle_request(
        &mut self,
        id: PeerId,
        request_id: InboundRequestId,
        request: codec::Request,
        channel: ResponseChannel<Vec<u8>>,
    ) {
        let (Some(key), Some(peer)) = (to_public_key(&id), self.peers.get(&id)) else { return };
        if self.replies.len() >= REPLIES_MAX {
            tracing::debug!(peer = %id, "too many requests wait for a reply, dropping one");
            return;
        }
        let (sender, answer) = oneshot::channel();
        let taken = self.outbox.offer(Event::Request {
            peer: key,
            admitted: peer.admitted,
            bytes: request.bytes,
            reply: Reply { sender, _share: request.share },
        });
        if taken {
            let (awaited, gone) = oneshot::channel::<()>();
            self.awaited.insert(request_id, awaited);
            let answer = async move {
                tokio::select! {
                    biased;
                    answer = answer => (request_id, channel, answer.ok()),
                    _gone = gone => (request_id, channel, None),
                }
            };
            self.replies.push(answer.boxed());
        }
    }

    fn handle_stream(&mut self, inbound: streams::Inbound) {
        let streams::Inbound { peer: id, kind, stream } = inbound;
        let Some(peer) = self.peers.get(&id).filter(|peer| peer.admitted) else {
            tracing::debug!(peer = %id, ?kind, "dropping a stream of a peer that is not admitted");
            return;
        };
        let Ok(share) = std::sync::Arc::clone(&peer.streams).try_acquire_owned() else {
            tracing::debug!(peer = %id, ?kind, "the peer has too many streams, dropping one");
            return;
        };
        if let Some(peer) = to_public_key(&id) {
            let stream = Stream::new(stream, Some(share));
            self.outbox.offer(Event::Stream { peer, kind, stream });
        }
    }
}

fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}

/// Says why a request failed in our words.
fn request_error(error: OutboundFailure) -> RequestError {
    match error {
        OutboundFailure::DialFailure => RequestError::Unreachable,
        OutboundFailure::Timeout => RequestError::Timeout,
        OutboundFailure::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            RequestError::BadAnswer(error.to_string())
        }
        other => RequestError::NoAnswer(other.to_string()),
    }
}
