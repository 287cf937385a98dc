//! The world: its nodes, its packets in the order of their arrival, and its time.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use guildhall_core::{CallId, Core, Event, Found, GossipId, Identity, ReplyId, Settings, Verdict};
use guildhall_federation::State;
use guildhall_protocol::record::Record;
use guildhall_protocol::statement::Signed;
use guildhall_protocol::wire::{Request, Response, decode_message};
use guildhall_protocol::{Hash, PublicKey};

use crate::effects::Context;
use crate::gossip::{Heard, Mesh};

/// As in the overlay: a request that is not answered by then has failed.
pub(crate) const REQUEST_DEADLINE_MS: u64 = 10_000;

const TICK_MS: u64 = 1_000;

/// Changes what a node answers.
pub type Tamper = Box<dyn Fn(&Request, Response) -> Response>;

/// A node: its core, its disk, and what its shell knows.
pub struct Node {
    key: PublicKey,
    /// What it decides with.
    pub core: Core,
    /// The federation it is in.
    pub founding: Signed,
    /// Its disk: records by author and position.
    pub store: BTreeMap<(PublicKey, u64), Record>,
    /// Answers to the questions that were asked here.
    pub found: BTreeMap<Hash, Found>,
    /// What it logged.
    pub notes: Vec<String>,
    /// Orgs whose nodes' words in the DHT were to be forgotten.
    pub forgotten: BTreeSet<PublicKey>,
    /// What it said of gossip messages.
    pub verdicts: Vec<Verdict>,
    /// What other orgs missed, as it was told.
    pub demanded: Vec<String>,
    /// Whether what it misses does not become a record, as on a full disk.
    pub is_silent: bool,
    /// Changes its answers.
    pub tamper: Option<Tamper>,
    /// How long it takes over a query; for ever, if that is longer than a request may take.
    pub ponders_ms: u64,
    /// How much its clock is ahead of the world's, milliseconds.
    pub skew_ms: i64,
    /// Since when it runs, milliseconds since 1970.
    pub(crate) up_since_ms: u64,
    pub(crate) is_down: bool,
    pub(crate) admitted: BTreeSet<PublicKey>,
    pub(crate) heard: Heard,
    /// Records of others that are on their way to the disk, and since when.
    pub(crate) unwritten: Vec<(u64, (PublicKey, u64))>,
    /// How long its own logs are on disk, so that people were told.
    pub(crate) acked: BTreeMap<PublicKey, u64>,
    /// Goes up with every restart; what was asked before is answered to nobody.
    pub(crate) life: u64,
    pub(crate) answers: BTreeMap<u64, Result<Response, String>>,
    /// Records that its logs had when it was last looked at, since it runs.
    pub(crate) records: Cell<u64>,
}

impl Node {
    /// The node's key.
    #[must_use]
    pub const fn key(&self) -> PublicKey {
        self.key
    }
}

/// How packets travel.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Least and most time that a packet takes, milliseconds; equally likely, so packets overtake each other.
    pub latency_ms: (u64, u64),
    /// Gossip messages that get lost, percent.
    pub gossip_loss_percent: u64,
    /// Requests and answers that get lost, percent: who asks waits until the deadline.
    pub call_loss_percent: u64,
    /// Gossip messages that arrive twice, percent.
    pub twice_percent: u64,
}

impl Default for Weather {
    fn default() -> Self {
        let (gossip_loss_percent, call_loss_percent, twice_percent) = (0, 0, 0);
        Self { latency_ms: (1, 150), gossip_loss_percent, call_loss_percent, twice_percent }
    }
}

/// What travelled so far.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Gossip messages that a node had not seen.
    pub gossip_new: u64,
    /// Gossip messages that it had seen.
    pub gossip_again: u64,
    /// Bytes of all gossip messages.
    pub gossip_bytes: u64,
}

/// Who sent a request, and what it is called there.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Caller {
    pub(crate) node: usize,
    pub(crate) life: u64,
    /// `Err` is the shell's own.
    pub(crate) call: Result<u64, u64>,
}

#[derive(Debug, Hash)]
pub(crate) enum Packet {
    Tick { node: usize },
    Request { caller: Caller, to: usize, bytes: Vec<u8> },
    Response { caller: Caller, result: Result<Vec<u8>, String> },
    Gossip { from: usize, to: usize, bytes: Vec<u8> },
    Holders { to: usize, life: u64, ask: Hash, peers: Vec<PublicKey> },
    Dial { from: usize, to: usize },
    Up { node: usize },
}

/// Nodes, links, a DHT and a clock in memory.
pub struct World {
    /// The time, milliseconds since 1970.
    pub now_ms: u64,
    /// Every node, by its number.
    pub nodes: Vec<Node>,
    /// Who said of which key that it has it.
    pub dht: BTreeMap<Hash, BTreeSet<PublicKey>>,
    /// Whether the DHT answers nobody.
    pub dht_is_silent: bool,
    /// How packets travel.
    pub weather: Weather,
    /// How gossip travels: to everybody who is linked, if there is no mesh.
    pub mesh: Option<Mesh>,
    /// Requests sent, by their name.
    pub asked: BTreeMap<&'static str, u64>,
    /// Bytes of requests and their answers, by the request's name.
    pub bytes: BTreeMap<&'static str, u64>,
    /// Gossip so far.
    pub traffic: Traffic,
    /// When each record was written that is being watched, and how long it took to reach others, milliseconds.
    pub watched: BTreeMap<(PublicKey, u64), u64>,
    /// How long watched records took to reach each node, milliseconds.
    pub delays_ms: Vec<u32>,
    pub(crate) by_key: HashMap<PublicKey, usize>,
    rng: u64,
    queue: BTreeMap<(u64, u64), Packet>,
    pub(crate) queued: u64,
    /// Open connections, lower index first, and since when.
    pub(crate) links: BTreeMap<(usize, usize), u64>,
    /// The same by node.
    pub(crate) linked: Vec<BTreeSet<usize>>,
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// On which side of a partition each node is.
    pub(crate) sides: Vec<u8>,
    /// From whom nothing reaches whom, though the connection stands.
    pub(crate) deaf: BTreeSet<(usize, usize)>,
    trace: DefaultHasher,
}

impl World {
    /// An empty world, whose chances follow from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            now_ms: crate::orgs::START_MS,
            nodes: Vec::new(),
            dht: BTreeMap::new(),
            dht_is_silent: false,
            weather: Weather::default(),
            mesh: None,
            asked: BTreeMap::new(),
            bytes: BTreeMap::new(),
            traffic: Traffic::default(),
            watched: BTreeMap::new(),
            delays_ms: Vec::new(),
            by_key: HashMap::new(),
            rng: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            queue: BTreeMap::new(),
            queued: 0,
            links: BTreeMap::new(),
            linked: Vec::new(),
            cut: BTreeSet::new(),
            sides: Vec::new(),
            deaf: BTreeSet::new(),
            trace: DefaultHasher::new(),
        }
    }

    /// Adds a node under `founding`, with what is in its store.
    pub fn add(
        &mut self,
        (identity, settings): (Identity, Settings),
        founding: Signed,
        records: impl IntoIterator<Item = Record>,
    ) -> usize {
        let index = self.nodes.len();
        let state = State::found(founding.clone()).unwrap();
        let place = |record: Record| ((record.header().author, record.header().seq), record);
        let mut node = Node {
            key: identity.node.public(),
            core: Core::new(identity, settings, state),
            founding,
            store: records.into_iter().map(place).collect(),
            found: BTreeMap::new(),
            notes: Vec::new(),
            forgotten: BTreeSet::new(),
            verdicts: Vec::new(),
            demanded: Vec::new(),
            is_silent: false,
            tamper: None,
            ponders_ms: 0,
            skew_ms: 0,
            up_since_ms: self.now_ms,
            is_down: false,
            admitted: BTreeSet::new(),
            heard: Heard::default(),
            unwritten: Vec::new(),
            acked: BTreeMap::new(),
            life: 0,
            answers: BTreeMap::new(),
            records: Cell::new(0),
        };
        node.core.set_addresses(vec![format!("sim/{index}")]);
        let effects = node.load();
        self.by_key.insert(node.key(), index);
        self.nodes.push(node);
        self.linked.push(BTreeSet::new());
        self.sides.push(0);
        self.perform(index, effects, &mut Context::default());
        self.describe(index);
        let first = self.below(TICK_MS);
        self.send_at(self.now_ms + first, Packet::Tick { node: index });
        index
    }

    /// A number below `bound`. xorshift64*: the world needs order out of a seed, not quality.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.rng ^= self.rng >> 12;
        self.rng ^= self.rng << 25;
        self.rng ^= self.rng >> 27;
        (self.rng.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    /// Whether something of this chance happens.
    pub(crate) fn happens(&mut self, percent: u64) -> bool {
        percent > 0 && self.below(100) < percent
    }

    pub(crate) fn send(&mut self, packet: Packet) {
        let (least, most) = self.weather.latency_ms;
        let after_ms = least + self.below(most.saturating_sub(least).max(1));
        self.send_at(self.now_ms + after_ms, packet);
    }

    pub(crate) fn send_at(&mut self, at_ms: u64, packet: Packet) {
        self.queued += 1;
        self.queue.insert((at_ms, self.queued), packet);
    }

    /// Lets time pass.
    pub fn run_for(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while self.queue.keys().next().is_some_and(|(at, _)| *at <= until) {
            self.step();
        }
        self.now_ms = until;
    }

    /// Lets time pass in which nothing happens, not even a tick: nodes that slept.
    pub fn skip(&mut self, ms: u64) {
        self.now_ms += ms;
        let queue = std::mem::take(&mut self.queue);
        self.queue = queue.into_iter().map(|((at, number), it)| ((at + ms, number), it)).collect();
        self.links.values_mut().for_each(|since| *since += ms);
    }

    /// Lets time pass until `done`, at most a while; says whether it is.
    pub fn converge(&mut self, deadline_ms: u64, done: impl Fn(&Self) -> bool) -> bool {
        let until = self.now_ms + deadline_ms;
        while !done(self) {
            if self.now_ms >= until {
                return false;
            }
            self.step();
        }
        true
    }

    fn step(&mut self) {
        let Some(((at, _), packet)) = self.queue.pop_first() else { return };
        self.now_ms = at;
        (at, &packet).hash(&mut self.trace);
        match packet {
            Packet::Tick { node } => {
                self.send_at(at + TICK_MS, Packet::Tick { node });
                if !self.nodes[node].is_down {
                    self.cut_strangers(node);
                    self.tick_gossip(node);
                    self.drive(node, Event::Tick);
                }
            }
            Packet::Request { caller, to, bytes } => self.deliver_request(caller, to, &bytes),
            Packet::Response { caller, result } => self.deliver_response(caller, result),
            Packet::Gossip { from, to, bytes } => self.deliver_gossip(from, to, bytes),
            Packet::Holders { to, life, ask, peers } => {
                if self.nodes[to].life == life && !self.nodes[to].is_down {
                    self.drive(to, Event::Holders { ask, peers });
                }
            }
            Packet::Dial { from, to } => self.connect(from, to),
            Packet::Up { node } => self.start(node),
        }
    }

    fn deliver_request(&mut self, caller: Caller, to: usize, bytes: &[u8]) {
        if !self.is_linked(caller.node, to) {
            self.send(Packet::Response { caller, result: Err("not connected".into()) });
        } else if self.deaf.contains(&(caller.node, to))
            || self.happens(self.weather.call_loss_percent)
        {
            self.send_late(caller);
        } else {
            let request: Request = decode_message(bytes).unwrap();
            let context = Context::answering(caller, to, request.clone());
            let peer = self.nodes[caller.node].key();
            let event = Event::Request { peer, reply: ReplyId(0), request };
            self.drive_in(to, event, context);
        }
    }

    /// A request or its answer is lost: who asked hears so at the deadline.
    pub(crate) fn send_late(&mut self, caller: Caller) {
        let at_ms = self.now_ms + REQUEST_DEADLINE_MS;
        self.send_at(at_ms, Packet::Response { caller, result: Err("no answer".into()) });
    }

    fn deliver_response(&mut self, caller: Caller, result: Result<Vec<u8>, String>) {
        if self.nodes[caller.node].life != caller.life || self.nodes[caller.node].is_down {
            return;
        }
        let decoded =
            |bytes: Vec<u8>| decode_message::<Response>(&bytes).map_err(|e| e.to_string());
        let result = result.and_then(decoded);
        match caller.call {
            Ok(call) => self.drive(caller.node, Event::Response { call: CallId(call), result }),
            Err(own) => drop(self.nodes[caller.node].answers.insert(own, result)),
        }
    }

    /// Lets something happen to a node, and carries out what follows.
    pub fn drive(&mut self, node: usize, event: Event) {
        self.drive_in(node, event, Context::default());
    }

    pub(crate) fn drive_in(&mut self, node: usize, event: Event, mut context: Context) {
        let now_ms = self.now_ms.saturating_add_signed(self.nodes[node].skew_ms);
        let effects = self.nodes[node].core.handle(now_ms, event);
        self.perform(node, effects, &mut context);
        assert!(context.is_done(), "a request was not answered, or a message got no verdict");
        self.check(node);
    }

    /// Lets a node hear a record by gossip, whoever is connected.
    pub fn hear(&mut self, me: usize, from: PublicKey, bytes: Vec<u8>) {
        let context = Context::judging(bytes.clone());
        self.drive_in(me, Event::Gossip { from, message: GossipId(0), bytes }, context);
    }

    /// The number of the node with this key.
    #[must_use]
    pub fn index_of(&self, key: &PublicKey) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    /// What happened so far, in one number.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }
}
