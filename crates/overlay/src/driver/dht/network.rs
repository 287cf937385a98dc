//! Networks of real Kademlia nodes with our store, announcer and lookups, in one process and in virtual time.
//!
//! What is left out of a node is its other protocols, the gate and the hello: everybody who is connected is admitted.

#![expect(clippy::disallowed_methods, reason = "the nodes of a test end with its runtime")]

mod attacks;
mod hops;
mod packets;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use guildhall_protocol::{Hash, PublicKey};
use libp2p::core::transport::memory::MemoryTransport;
use libp2p::core::{Transport as _, upgrade};
use libp2p::identity::Keypair;
use libp2p::kad::{self, KBucketKey, ProviderRecord};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, swarm, yamux};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Dht, Kad, record_key};
use crate::address::{Policy, to_peer_id, to_public_key};
use crate::behaviour::kademlia;
use crate::config::Limits;
use crate::error::LookupError;

use self::wire::{Introduction, Wire};

/// Links a node opens, as in a federation too large for each to be linked to each: half of what it keeps, since others
/// open theirs to it.
const LINKS: usize = 12;

/// Orders that wait for one node; a test gives it no more at once.
const ORDERS_MAX: usize = 256;

/// A node of a network to be.
struct Plan {
    key: Keypair,
    org: PublicKey,
    /// Whom it names as holders of everything, if it is hostile. Such a node keeps nobody's records and knows only its
    /// accomplices.
    decoys: Option<Vec<PublicKey>>,
}

impl Plan {
    /// An honest node of its own org.
    fn honest(number: u32) -> Self {
        let key = keypair(number);
        let org = public(&key);
        Self { key, org, decoys: None }
    }

    fn is_hostile(&self) -> bool {
        self.decoys.is_some()
    }

    fn id(&self) -> PeerId {
        self.key.public().to_peer_id()
    }
}

fn keypair(number: u32) -> Keypair {
    let seed = *Hash::of(&number.to_be_bytes()).as_bytes();
    Keypair::ed25519_from_bytes(seed).unwrap()
}

fn public(key: &Keypair) -> PublicKey {
    to_public_key(&key.public().to_peer_id()).unwrap()
}

/// How far a peer stands from a key.
fn distance(peer: PeerId, key: Hash) -> kad::KBucketDistance {
    KBucketKey::from(peer).distance(&KBucketKey::new(record_key(key)))
}

/// Honest nodes in a network; `GUILDHALL_DHT_NODES` overrides it.
fn honest_nodes() -> u32 {
    std::env::var("GUILDHALL_DHT_NODES").map_or(30, |text| text.parse().unwrap())
}

/// The keys of a category's sixteen shards.
fn category(name: &str) -> Vec<Hash> {
    (0..16_u8).map(|shard| Hash::of(&[name.as_bytes(), &[shard]].concat())).collect()
}

/// Those of them under which a node is found as a holder: three, as nodes choose theirs.
fn holder_keys(category: &[Hash], node: u32) -> [Hash; 3] {
    [0, 5, 10].map(|step| category[(node as usize + step) % category.len()])
}

/// What is asked of a node.
enum Order {
    Link(PeerId),
    Provide(Hash),
    Find(Hash, oneshot::Sender<Result<Vec<PublicKey>, LookupError>>),
}

/// A network that runs.
struct Network {
    nodes: Vec<mpsc::Sender<Order>>,
}

impl Network {
    /// Starts the nodes and links them, the hostile ones to everybody they can get, and waits until they know each other.
    async fn start(plans: Vec<Plan>) -> Self {
        static BASE: AtomicU64 = AtomicU64::new(1);
        let base = BASE.fetch_add(1, Ordering::Relaxed) << 32;
        let all: Arc<HashMap<PeerId, About>> = Arc::new(
            (1_u32..)
                .zip(&plans)
                .map(|(number, plan)| {
                    let [_, a, b, c] = number.to_be_bytes();
                    let address = format!("/ip4/10.{a}.{b}.{c}/tcp/1").parse().unwrap();
                    let about = About { org: plan.org, is_hostile: plan.is_hostile(), address };
                    (plan.id(), about)
                })
                .collect(),
        );
        let ids: Vec<PeerId> = plans.iter().map(Plan::id).collect();
        let mut nodes = Vec::new();
        for plan in plans {
            let (orders, inbox) = mpsc::channel(ORDERS_MAX);
            tokio::spawn(Node::new(plan, base, Arc::clone(&all)).run(inbox));
            nodes.push(orders);
        }
        for (number, orders) in nodes.iter().enumerate() {
            let others = (0_u32..).map(|nth| {
                let hash =
                    Hash::of(&[number.to_be_bytes().as_slice(), &nth.to_be_bytes()].concat());
                let start: [u8; 8] = hash.as_bytes()[..8].try_into().unwrap();
                ids[usize::try_from(u64::from_be_bytes(start) % ids.len() as u64).unwrap()]
            });
            for other in others.filter(|other| *other != ids[number]).take(LINKS) {
                orders.try_send(Order::Link(other)).ok().unwrap();
            }
        }
        let network = Self { nodes };
        network.settle().await;
        network
    }

    /// Lets time pass until what was begun has had its effect.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(20)).await;
    }

    fn provide(&self, node: usize, key: Hash) {
        self.nodes[node].try_send(Order::Provide(key)).ok().unwrap();
    }

    /// Who a node finds under any of the keys.
    async fn find(&self, node: usize, keys: &[Hash]) -> Vec<PublicKey> {
        let lookups = keys.iter().map(|key| {
            let (reply, answer) = oneshot::channel();
            self.nodes[node].try_send(Order::Find(*key, reply)).ok().unwrap();
            async { answer.await.unwrap().unwrap_or_default() }
        });
        let mut found = futures::future::join_all(lookups).await.concat();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// What everybody knows of a node, from its signed record.
struct About {
    org: PublicKey,
    is_hostile: bool,
    address: Multiaddr,
}

/// A node that runs.
struct Node {
    swarm: Swarm<Kad>,
    dht: Dht,
    plan: Plan,
    all: Arc<HashMap<PeerId, About>>,
    started: (Instant, std::time::Instant),
}

impl Node {
    fn new(plan: Plan, base: u64, all: Arc<HashMap<PeerId, About>>) -> Self {
        let policy = Policy::of_listeners(&["10.0.0.1:1".parse().unwrap()]);
        let limits = Limits::default();
        let transport = Wire { base, inner: MemoryTransport::default() }
            .upgrade(upgrade::Version::V1Lazy)
            .authenticate(Introduction(plan.id()))
            .multiplex(yamux::Config::default())
            .boxed();
        let config = swarm::Config::with_tokio_executor()
            .with_substream_upgrade_protocol_override(upgrade::Version::V1Lazy)
            .with_idle_connection_timeout(Duration::from_secs(1_000_000));
        let id = plan.id();
        let kad = kademlia(&plan.key, policy, &limits);
        let mut swarm = Swarm::new(transport, kad, id, config);
        swarm.listen_on(all[&id].address.clone()).unwrap();
        swarm.add_external_address(all[&id].address.clone());
        let started = (Instant::now(), std::time::Instant::now());
        Self { swarm, dht: Dht::new(id, started.1), plan, all, started }
    }

    /// Virtual time, as the node's own.
    fn now(&self) -> std::time::Instant {
        self.started.1 + self.started.0.elapsed()
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut ticks = tokio::time::interval(Duration::from_millis(250));
        loop {
            self.end_bootstraps();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.handle_order(order),
                    None => return,
                },
                _ = ticks.tick() => {
                    let now = self.now();
                    self.dht.handle_tick(self.swarm.behaviour_mut(), now);
                }
                event = self.swarm.select_next_some() => match event {
                    SwarmEvent::Behaviour(event) => self.handle_kad(event),
                    SwarmEvent::ConnectionEstablished { peer_id, .. } => self.handle_connected(peer_id),
                    _ => {}
                },
            }
        }
    }

    /// Ends what Kademlia does by itself to get to know more nodes: it does so in real time, and would be most of what a
    /// network computes.
    fn end_bootstraps(&mut self) {
        for mut query in self.swarm.behaviour_mut().iter_queries_mut() {
            if matches!(query.info(), kad::QueryInfo::Bootstrap { .. }) {
                query.finish();
            }
        }
    }

    fn handle_order(&mut self, order: Order) {
        let now = self.now();
        let kad = self.swarm.behaviour_mut();
        match order {
            Order::Link(peer) => {
                let address = self.all[&peer].address.clone();
                // It may be linked already.
                let _ = self.swarm.dial(
                    swarm::dial_opts::DialOpts::peer_id(peer).addresses(vec![address]).build(),
                );
            }
            Order::Provide(key) => self.dht.provide(kad, key, now).unwrap(),
            Order::Find(key, reply) => {
                self.prepare_lies(key);
                let kad = self.swarm.behaviour_mut();
                self.dht.find(kad, key, now + Limits::default().lookup_deadline, reply);
            }
        }
    }

    fn handle_connected(&mut self, peer: PeerId) {
        let now = self.now();
        let about = &self.all[&peer];
        if self.plan.is_hostile() && !about.is_hostile {
            return;
        }
        let kad = self.swarm.behaviour_mut();
        kad.add_address(&peer, about.address.clone());
        kad.store_mut().admit(to_public_key(&peer).unwrap(), about.org);
        self.dht.handle_admitted(now);
    }

    fn handle_kad(&mut self, event: kad::Event) {
        let now = self.now();
        match event {
            kad::Event::InboundRequest {
                request: kad::InboundRequest::AddProvider { record: Some(record) },
            } => {
                if self.plan.is_hostile() {
                    let key: [u8; 32] = record.key.as_ref().try_into().unwrap();
                    self.prepare_lies(Hash::from_bytes(key));
                } else {
                    // Some attacks are about refusals, which others count.
                    let _ = self.swarm.behaviour_mut().store_mut().insert(record, now);
                }
            }
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => {
                self.dht.handle_query(self.swarm.behaviour_mut(), id, result, &step, now);
            }
            _ => {}
        }
    }

    /// A hostile node will name its decoys when it is asked who has the key.
    fn prepare_lies(&mut self, key: Hash) {
        let now = self.now();
        let store = self.swarm.behaviour_mut().store_mut();
        for decoy in self.plan.decoys.iter().flatten() {
            store.admit(*decoy, self.plan.org);
            let record = ProviderRecord {
                key: record_key(key),
                provider: to_peer_id(decoy),
                expires: None,
                addresses: vec!["/ip4/10.9.9.9/tcp/1".parse().unwrap()],
            };
            store.insert(record, now).unwrap();
        }
    }
}
