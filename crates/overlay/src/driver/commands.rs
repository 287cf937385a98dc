//! What the handle asks of the driver.

use std::collections::HashSet;
use std::time::Instant;

use guildhall_protocol::api::Dropped;
use guildhall_protocol::{FederationId, Hash, PublicKey};
use libp2p::gossipsub::{IdentTopic, MessageAcceptance, PublishError as GossipError};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, Stream, swarm};
use tokio::sync::oneshot;

use super::{Dial, Driver, dht, peer};
use crate::address::{peer_id_string, split_peer, to_peer_id, to_public_key};
use crate::behaviour::{self, GOSSIP_MAX_BYTES, MUTED_SCORE};
use crate::codec;
use crate::error::{DialError, LookupError, ProvideError, PublishError, RequestError, StreamError};
use crate::event::{GossipToken, PeerInfo, PublishOutcome, Verdict};
use crate::gate::ADDRESSES_PER_PEER_MAX;
use crate::stream::StreamKind;
use crate::streams;

/// Dials the node may have asked for at the same time.
const DIALS_MAX: usize = 128;

/// Requests on their way at the same time. Their answers are at most 1 MiB each.
const REQUESTS_MAX: usize = 256;

/// Addresses of one peer in the routing table: they travel in every Kademlia answer that names it.
const ROUTED_ADDRESSES_MAX: usize = 4;

type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// One call of the handle. The methods of [`Overlay`](crate::Overlay) say what each does.
#[derive(Debug)]
pub(crate) enum Command {
    SetFederation(FederationId),
    Dial { addresses: Vec<String>, reply: Reply<PublicKey, DialError> },
    Admit { peer: PublicKey, org: PublicKey },
    Expel(PublicKey),
    ForgetOrg(PublicKey),
    SetKnown { peer: PublicKey, addresses: Vec<String> },
    Publish { bytes: Vec<u8>, reply: Reply<PublishOutcome, PublishError> },
    Verdict { token: GossipToken, verdict: Verdict },
    Provide { key: Hash, reply: Reply<(), ProvideError> },
    StopProviding(Hash),
    FindProviders { key: Hash, reply: Reply<Vec<PublicKey>, LookupError> },
    Request { peer: PublicKey, bytes: Vec<u8>, reply: Reply<Vec<u8>, RequestError> },
    OpenStream { peer: PublicKey, kind: StreamKind, reply: Reply<Stream, StreamError> },
    Addresses(oneshot::Sender<Vec<String>>),
    Peers(oneshot::Sender<Vec<PeerInfo>>),
    Dropped(oneshot::Sender<Vec<Dropped>>),
    Shutdown(oneshot::Sender<()>),
}

impl Driver {
    /// Carries out a command. Where somebody waits for the outcome, that they may have stopped waiting is fine.
    pub(super) fn handle_command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::SetFederation(federation) => self.set_federation(federation),
            Command::Dial { addresses, reply } => self.dial(&addresses, reply),
            Command::Admit { peer, org } => self.admit(peer, org, now),
            Command::Expel(peer) => self.expel(&peer),
            Command::ForgetOrg(org) => {
                self.swarm.behaviour_mut().kad.store_mut().forget_org(&org);
            }
            Command::SetKnown { peer, addresses } => self.set_known(to_peer_id(&peer), &addresses),
            Command::Publish { bytes, reply } => {
                let _ = reply.send(self.publish(bytes));
            }
            Command::Verdict { token, verdict } => self.report(&token, verdict, now),
            Command::Provide { key, reply } => {
                let kad = &mut self.swarm.behaviour_mut().kad;
                let _ = reply.send(self.dht.provide(kad, key, now));
            }
            Command::StopProviding(key) => {
                self.swarm.behaviour_mut().kad.stop_providing(&dht::record_key(key));
            }
            Command::FindProviders { key, reply } => {
                let deadline = now + self.limits.lookup_deadline;
                let kad = &mut self.swarm.behaviour_mut().kad;
                self.dht.find(kad, key, deadline, reply);
            }
            Command::Request { peer, bytes, reply } => self.request(&peer, bytes, reply),
            Command::OpenStream { peer, kind, reply } => self.open_stream(peer, kind, reply),
            Command::Addresses(reply) => {
                let _ = reply.send(self.addresses());
            }
            Command::Peers(reply) => {
                let _ = reply.send(self.peer_infos());
            }
            Command::Dropped(reply) => {
                let _ = reply.send(self.swarm.behaviour_mut().kad.store_mut().dropped());
            }
            // The loop takes this one itself.
            Command::Shutdown(done) => drop(done),
        }
    }

    fn set_federation(&mut self, federation: FederationId) {
        let topic = IdentTopic::new(format!("guildhall/1/{}/records", federation.0.to_hex()));
        if self.topic.as_ref().is_some_and(|old| old.hash() == topic.hash()) {
            return;
        }
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        if let Some(old) = self.topic.take() {
            gossip.unsubscribe(&old);
        }
        if let Err(error) = gossip.set_topic_params(topic.clone(), behaviour::topic_score()) {
            tracing::error!(error, "the topic's score settings were refused");
        }
        if let Err(error) = gossip.subscribe(&topic) {
            tracing::error!(%error, "cannot subscribe to the federation's topic");
        }
        let followers: HashSet<PeerId> = gossip
            .all_peers()
            .filter(|(_, topics)| topics.contains(&&topic.hash()))
            .map(|(peer, _)| *peer)
            .collect();
        for (id, peer) in &mut self.peers {
            peer.listens = followers.contains(id);
        }
        self.topic = Some(topic);
    }

    fn dial(&mut self, addresses: &[String], reply: Reply<PublicKey, DialError>) {
        let (peer, key, addresses) = match self.parse_dial(addresses) {
            Ok(parsed) => parsed,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        if self.peers.contains_key(&peer) {
            let _ = reply.send(Ok(key));
            return;
        }
        if let Some(dial) = self.dials.get_mut(&peer) {
            dial.waiting.retain(|waiting| !waiting.is_closed());
            dial.waiting.push(reply);
            return;
        }
        if self.dials.len() >= DIALS_MAX {
            let _ = reply.send(Err(DialError::Busy));
            return;
        }
        let options =
            DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses).build();
        let connection = options.connection_id();
        self.swarm.behaviour_mut().gate.set_dialling(peer, true);
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(peer, Dial { connection, waiting: vec![reply] });
            }
            Err(error) => {
                self.swarm.behaviour_mut().gate.set_dialling(peer, false);
                let _ = reply.send(Err(dial_error(error)));
            }
        }
    }

    fn parse_dial(
        &self,
        texts: &[String],
    ) -> Result<(PeerId, PublicKey, Vec<Multiaddr>), DialError> {
        let mut parsed = Vec::new();
        for text in texts.iter().take(ADDRESSES_PER_PEER_MAX) {
            parsed.push(split_peer(text).ok_or_else(|| DialError::Address(text.clone()))?);
        }
        let Some((_, peer)) = parsed.first() else { return Err(DialError::Peers) };
        let peer = *peer;
        if parsed.iter().any(|(_, other)| *other != peer) {
            return Err(DialError::Peers);
        }
        if peer == *self.swarm.local_peer_id() {
            return Err(DialError::Own);
        }
        let key = to_public_key(&peer).ok_or_else(|| DialError::Address(peer.to_base58()))?;
        let addresses = parsed.into_iter().map(|(address, _)| address);
        let addresses = self.policy.select(addresses, ADDRESSES_PER_PEER_MAX);
        if addresses.is_empty() {
            return Err(DialError::Forbidden(texts.join(", ")));
        }
        Ok((peer, key, addresses))
    }

    fn admit(&mut self, key: PublicKey, org: PublicKey, now: Instant) {
        let id = to_peer_id(&key);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        self.swarm.behaviour_mut().kad.store_mut().admit(key, org);
        if peer.admitted {
            return;
        }
        peer.admitted = true;
        peer.fresh_until = Some(now + peer::FRESH);
        let parked = std::mem::take(&mut peer.parked);
        let links: Vec<_> = peer.links.iter().map(|link| link.id).collect();
        let behaviour = self.swarm.behaviour_mut();
        behaviour.gossip.set_application_score(&id, 0.0);
        behaviour.gate.set_admitted(id, true);
        for link in links {
            behaviour.gate.no_stranger(link);
        }
        self.route(id);
        let routed = self.peers.get(&id).map(|peer| peer.routed.clone()).unwrap_or_default();
        for mut record in parked {
            record.addresses.extend(routed.iter().cloned());
            // Refused records are the provider's loss, see the store.
            let _ = self.swarm.behaviour_mut().kad.store_mut().insert(record, now);
        }
        self.dht.handle_admitted(now);
    }

    /// Puts an admitted peer, with its present addresses, into the routing table and, if it is not there, into the
    /// address book.
    pub(super) fn route(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.admitted) else { return };
        let behaviour = self.swarm.behaviour_mut();
        let known = behaviour.gate.known(&id).unwrap_or_default().iter().cloned();
        let addresses = known.chain(peer.dialled.clone()).chain(peer.listen.iter().cloned());
        let addresses = self.policy.select(addresses, ROUTED_ADDRESSES_MAX);
        if addresses.is_empty() || addresses == peer.routed {
            return;
        }
        if behaviour.gate.known(&id).is_none() {
            behaviour.gate.set_known(id, addresses.clone());
        }
        behaviour.kad.remove_peer(&id);
        for address in &addresses {
            behaviour.kad.add_address(&id, address.clone());
        }
        peer.routed = addresses;
    }

    fn expel(&mut self, key: &PublicKey) {
        let id = to_peer_id(key);
        let behaviour = self.swarm.behaviour_mut();
        behaviour.gossip.set_application_score(&id, MUTED_SCORE);
        behaviour.gate.set_admitted(id, false);
        behaviour.gate.forget(&id);
        behaviour.kad.remove_peer(&id);
        behaviour.kad.store_mut().forget(key);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.admitted = false;
            peer.fresh_until = None;
            peer.routed.clear();
        }
        self.disconnect(id);
    }

    fn set_known(&mut self, id: PeerId, texts: &[String]) {
        let addresses = texts.iter().take(ADDRESSES_PER_PEER_MAX).filter_map(|text| {
            let mut address: Multiaddr = text.parse().ok()?;
            match address.iter().last()? {
                Protocol::P2p(other) if other != id => None,
                Protocol::P2p(_) => {
                    address.pop();
                    Some(address)
                }
                _ => Some(address),
            }
        });
        let addresses = self.policy.select(addresses, ADDRESSES_PER_PEER_MAX);
        self.swarm.behaviour_mut().gate.set_known(id, addresses);
        self.route(id);
    }

    fn publish(&mut self, bytes: Vec<u8>) -> Result<PublishOutcome, PublishError> {
        let topic = self.topic.as_ref().ok_or(PublishError::NoFederation)?;
        let len_bytes = bytes.len();
        // What gossipsub itself counts is the encoded message: the topic and a few bytes more.
        let max_bytes = GOSSIP_MAX_BYTES - topic.hash().as_str().len() - 64;
        if len_bytes > max_bytes {
            return Err(PublishError::TooLarge { len_bytes, max_bytes });
        }
        match self.swarm.behaviour_mut().gossip.publish(topic.hash(), bytes) {
            Ok(_) => Ok(PublishOutcome::Sent),
            Err(GossipError::NoPeersSubscribedToTopic) => Ok(PublishOutcome::NoPeers),
            Err(GossipError::Duplicate) => Ok(PublishOutcome::Duplicate),
            Err(GossipError::MessageTooLarge) => {
                Err(PublishError::TooLarge { len_bytes, max_bytes })
            }
            Err(error) => {
                tracing::debug!(%error, "publish failed");
                Err(PublishError::Busy)
            }
        }
    }

    /// Passes a verdict on. That the message has left gossip's cache meanwhile is not worth more than its log line.
    fn report(&mut self, token: &GossipToken, verdict: Verdict, now: Instant) {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Reject => MessageAcceptance::Reject,
            Verdict::Ignore => MessageAcceptance::Ignore,
        };
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        let is_fresh = |peer: &peer::Peer| peer.fresh_until.is_some_and(|until| now < until);
        let fresh: Vec<PeerId> =
            self.peers.iter().filter(|(_, peer)| is_fresh(peer)).map(|(id, _)| *id).collect();
        // Explicit peers are sent every message. They must not stay so: then they would never be in the mesh.
        fresh.iter().for_each(|peer| gossip.add_explicit_peer(peer));
        gossip.report_message_validation_result(&token.id, &token.from, acceptance);
        fresh.iter().for_each(|peer| gossip.remove_explicit_peer(peer));
    }

    fn request(&mut self, peer: &PublicKey, bytes: Vec<u8>, reply: Reply<Vec<u8>, RequestError>) {
        if self.requests.len() >= REQUESTS_MAX {
            let _ = reply.send(Err(RequestError::Busy));
            return;
        }
        let request = codec::Request { bytes, share: None };
        let requests = &mut self.swarm.behaviour_mut().requests;
        let id = requests.send_request(&to_peer_id(peer), request);
        self.requests.insert(id, reply);
    }

    fn open_stream(&mut self, key: PublicKey, kind: StreamKind, reply: Reply<Stream, StreamError>) {
        let peer = to_peer_id(&key);
        if !self.peers.get(&peer).is_some_and(|peer| peer.admitted) {
            let _ = reply.send(Err(StreamError::NotAdmitted(key)));
            return;
        }
        match std::sync::Arc::clone(&self.opening).try_acquire_owned() {
            Ok(slot) => {
                let opened = streams::Opened { reply, _slot: slot };
                self.swarm.behaviour_mut().streams.open(peer, kind, opened);
            }
            Err(_) => {
                let _ = reply.send(Err(StreamError::Busy));
            }
        }
    }

    fn addresses(&self) -> Vec<String> {
        let listening = self.swarm.listeners().filter(|address| self.policy.allows(address));
        listening.map(|address| self.own_address(address)).collect()
    }

    pub(super) fn own_address(&self, address: &Multiaddr) -> String {
        address.clone().with(Protocol::P2p(*self.swarm.local_peer_id())).to_string()
    }

    fn peer_infos(&self) -> Vec<PeerInfo> {
        let info = |(id, peer): (&PeerId, &peer::Peer)| {
            let first = peer.links.first()?;
            Some(PeerInfo {
                peer: to_public_key(id)?,
                address: first.address.clone(),
                inbound: first.inbound,
                admitted: peer.admitted,
                listens: peer.listens,
                rtt: peer.rtt,
            })
        };
        let mut infos: Vec<PeerInfo> = self.peers.iter().filter_map(info).collect();
        infos.sort_unstable_by_key(|info| info.peer);
        infos
    }
}

/// Says why a dial failed in our words.
pub(super) fn dial_error(error: swarm::DialError) -> DialError {
    match error {
        swarm::DialError::LocalPeerId { .. } => DialError::Own,
        swarm::DialError::WrongPeerId { obtained, .. } => DialError::WrongPeer {
            found: to_public_key(&obtained)
                .map_or_else(|| obtained.to_base58(), |key| peer_id_string(&key)),
        },
        other => DialError::Unreachable(other.to_string()),
    }
}
