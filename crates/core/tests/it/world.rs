//! A second shell around the core: nodes, links, a DHT and a clock in memory, in an order that follows from a seed.
//!
//! It carries out effects as `node/src/app/effects.rs` does. Requests and responses are encoded on the way, arrive after
//! a random time and therefore in any order; gossip may get lost besides; a response may still arrive after its
//! connection ended, because the node queues it behind the overlay's events.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use guildhall_core::{
    CallId, Core, Effect, Event, Found, GossipId, Identity, ReplyId, Settings, Verdict,
    withhold_body,
};
use guildhall_federation::State;
use guildhall_protocol::body::{Listing, RecordBody};
use guildhall_protocol::limits::MESSAGE_MAX_BYTES;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::query::Query;
use guildhall_protocol::record::Record;
use guildhall_protocol::statement::{Founding, Role, Signed};
use guildhall_protocol::wire::{Invite, Request, Response, decode_message};
use guildhall_protocol::{Hash, PublicKey, RecordId, cbor};
use guildhall_sync::Contradiction;
use serde_bytes::ByteBuf;

/// Small, so that most logs take several pages.
const PAGE_MAX_RECORDS: usize = 4;

/// As in the node: bytes of listings in one answer to a query.
const PAGE_MAX_BYTES: usize = MESSAGE_MAX_BYTES - 64 * 1024;

/// As in the overlay: a request that is not answered by then has failed.
const REQUEST_DEADLINE_MS: u64 = 10_000;

/// As in the overlay: who is not admitted by then is cut off.
const HANDSHAKE_DEADLINE_MS: u64 = 10_000;

const TICK_MS: u64 = 1_000;

/// Changes what a node answers.
pub(crate) type Tamper = Box<dyn Fn(&Request, Response) -> Response>;

pub(crate) struct Node {
    pub(crate) core: Core,
    pub(crate) founding: Signed,
    pub(crate) store: BTreeMap<(PublicKey, u64), Record>,
    pub(crate) found: BTreeMap<Hash, Found>,
    pub(crate) notes: Vec<String>,
    pub(crate) verdicts: Vec<Verdict>,
    /// What other orgs missed, as it was told.
    pub(crate) demanded: Vec<String>,
    /// Whether what it misses does not become a record, as on a full disk.
    pub(crate) is_silent: bool,
    pub(crate) tamper: Option<Tamper>,
    /// How long it takes over a query; for ever, if that is longer than a request may take.
    pub(crate) ponders_ms: u64,
    admitted: BTreeSet<PublicKey>,
    seen: BTreeSet<Hash>,
    /// Goes up with every restart; what was asked before is answered to nobody.
    life: u64,
    answers: BTreeMap<u64, Result<Response, String>>,
}

impl Node {
    pub(crate) fn key(&self) -> PublicKey {
        self.core.identity().node.public()
    }

    fn load(&mut self) -> Vec<Effect> {
        self.store.values().for_each(|record| self.core.load_member(record));
        self.store.values().flat_map(|record| self.core.load(record)).collect()
    }
}

/// Who sent a request, and what it is called there.
#[derive(Clone, Copy, Debug, Hash)]
struct Caller {
    node: usize,
    life: u64,
    /// `Err` is the shell's own.
    call: Result<u64, u64>,
}

#[derive(Debug, Hash)]
enum Packet {
    Tick { node: usize },
    Request { caller: Caller, to: usize, bytes: Vec<u8> },
    Response { caller: Caller, result: Result<Vec<u8>, String> },
    Gossip { from: usize, to: usize, bytes: Vec<u8> },
    Holders { to: usize, life: u64, ask: Hash, peers: Vec<PublicKey> },
    Dial { from: usize, to: usize },
}

fn name_of(request: &Request) -> &'static str {
    match request {
        Request::Hello(_) => "hello",
        Request::Join { .. } => "join",
        Request::Heads { .. } => "heads",
        Request::Compare(_) => "compare",
        Request::FindElements(_) => "find",
        Request::Pull { .. } => "pull",
        Request::Query(_) => "query",
        _ => "offer",
    }
}

/// What the effects of one event answer to.
#[derive(Default)]
struct Context {
    reply: Option<(Caller, Request)>,
    gossip: Option<Vec<u8>>,
}

pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) dht: BTreeMap<Hash, BTreeSet<PublicKey>>,
    pub(crate) dht_is_silent: bool,
    pub(crate) gossip_loss_percent: u64,
    /// Requests sent, by their name.
    pub(crate) asked: BTreeMap<&'static str, u64>,
    /// Bytes of requests and their answers, by the request's name.
    pub(crate) bytes: BTreeMap<&'static str, u64>,
    rng: u64,
    queue: BTreeMap<(u64, u64), Packet>,
    queued: u64,
    /// Open connections, lower index first, and since when.
    links: BTreeMap<(usize, usize), u64>,
    cut: BTreeSet<(usize, usize)>,
    trace: DefaultHasher,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now_ms: crate::fixture::START_MS,
            nodes: Vec::new(),
            dht: BTreeMap::new(),
            dht_is_silent: false,
            gossip_loss_percent: 0,
            asked: BTreeMap::new(),
            bytes: BTreeMap::new(),
            rng: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            queue: BTreeMap::new(),
            queued: 0,
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            trace: DefaultHasher::new(),
        }
    }

    /// Adds a node under `founding`, with what is in its store.
    pub(crate) fn add(
        &mut self,
        (identity, settings): (Identity, Settings),
        founding: Signed,
        records: impl IntoIterator<Item = Record>,
    ) -> usize {
        let index = self.nodes.len();
        let state = State::found(founding.clone()).unwrap();
        let place = |record: Record| ((record.header().author, record.header().seq), record);
        let mut node = Node {
            core: Core::new(identity, settings, state),
            founding,
            store: records.into_iter().map(place).collect(),
            found: BTreeMap::new(),
            notes: Vec::new(),
            verdicts: Vec::new(),
            demanded: Vec::new(),
            is_silent: false,
            tamper: None,
            ponders_ms: 0,
            admitted: BTreeSet::new(),
            seen: BTreeSet::new(),
            life: 0,
            answers: BTreeMap::new(),
        };
        node.core.set_addresses(vec![format!("sim/{index}")]);
        let effects = node.load();
        self.nodes.push(node);
        self.perform(index, effects, &mut Context::default());
        self.describe(index);
        let first = self.below(TICK_MS);
        self.send_at(self.now_ms + first, Packet::Tick { node: index });
        index
    }

    /// xorshift64*: the world needs order out of a seed, not quality.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.rng ^= self.rng >> 12;
        self.rng ^= self.rng << 25;
        self.rng ^= self.rng >> 27;
        (self.rng.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn send(&mut self, packet: Packet) {
        let after_ms = 1 + self.below(150);
        self.send_at(self.now_ms + after_ms, packet);
    }

    fn send_at(&mut self, at_ms: u64, packet: Packet) {
        self.queued += 1;
        self.queue.insert((at_ms, self.queued), packet);
    }

    /// Lets time pass.
    pub(crate) fn run_for(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while self.queue.keys().next().is_some_and(|(at, _)| *at <= until) {
            self.step();
        }
        self.now_ms = until;
    }

    /// Lets time pass in which nothing happens, not even a tick: nodes that slept.
    pub(crate) fn skip(&mut self, ms: u64) {
        self.now_ms += ms;
        let queue = std::mem::take(&mut self.queue);
        self.queue = queue.into_iter().map(|((at, number), it)| ((at + ms, number), it)).collect();
        self.links.values_mut().for_each(|since| *since += ms);
    }

    /// Lets time pass until `done`, at most a while.
    pub(crate) fn converge(&mut self, deadline_ms: u64, done: impl Fn(&Self) -> bool) -> bool {
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
                self.cut_strangers(node);
                self.drive(node, Event::Tick);
            }
            Packet::Request { caller, to, bytes } => {
                if self.is_linked(caller.node, to) {
                    let request: Request = decode_message(&bytes).unwrap();
                    let context = Context { reply: Some((caller, request.clone())), gossip: None };
                    let peer = self.nodes[caller.node].key();
                    let event = Event::Request { peer, reply: ReplyId(0), request };
                    self.drive_in(to, event, context);
                } else {
                    self.send(Packet::Response { caller, result: Err("not connected".into()) });
                }
            }
            Packet::Response { caller, result } => self.deliver_response(caller, result),
            Packet::Gossip { from, to, bytes } => self.deliver_gossip(from, to, bytes),
            Packet::Holders { to, life, ask, peers } => {
                if self.nodes[to].life == life {
                    self.drive(to, Event::Holders { ask, peers });
                }
            }
            Packet::Dial { from, to } => self.connect(from, to),
        }
    }

    fn deliver_response(&mut self, caller: Caller, result: Result<Vec<u8>, String>) {
        if self.nodes[caller.node].life != caller.life {
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

    fn deliver_gossip(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        let key = self.nodes[from].key();
        if !self.is_linked(from, to)
            || !self.nodes[to].admitted.contains(&key)
            || !self.nodes[to].seen.insert(Hash::of(&bytes))
        {
            return;
        }
        let context = Context { reply: None, gossip: Some(bytes.clone()) };
        self.drive_in(to, Event::Gossip { from: key, message: GossipId(0), bytes }, context);
    }

    pub(crate) fn drive(&mut self, node: usize, event: Event) {
        self.drive_in(node, event, Context::default());
    }

    fn drive_in(&mut self, node: usize, event: Event, mut context: Context) {
        let effects = self.nodes[node].core.handle(self.now_ms, event);
        self.perform(node, effects, &mut context);
        assert!(context.reply.is_none(), "a request was not answered");
        assert!(context.gossip.is_none(), "a gossip message got no verdict");
    }

    fn perform(&mut self, me: usize, effects: Vec<Effect>, context: &mut Context) {
        for effect in effects {
            self.perform_one(me, effect, context);
        }
    }

    fn perform_one(&mut self, me: usize, effect: Effect, context: &mut Context) {
        match effect {
            Effect::Call { call, peer, request } => {
                let caller = Caller { node: me, life: self.nodes[me].life, call: Ok(call.0) };
                self.request(caller, peer, &request);
            }
            Effect::Respond { response, .. } => self.answer(me, response, context),
            // No time passes within a request here, so nothing becomes free.
            Effect::HoldOffer { not_now, .. } => {
                self.answer(me, Response::Refused(not_now.refusal), context);
            }
            Effect::RespondRecords { author, from_seq, follows, .. } => {
                let page = self.page_of(me, author, from_seq, &follows);
                self.answer(me, page, context);
            }
            Effect::RespondListings { listings, .. } => {
                let found = self.listing_records(me, &listings);
                self.answer(me, found, context);
            }
            Effect::Verdict { verdict, .. } => {
                self.nodes[me].verdicts.push(verdict);
                if let Some(bytes) = context.gossip.take()
                    && verdict == Verdict::Accept
                {
                    self.flood(me, &bytes);
                }
            }
            Effect::Store(records) => self.keep(me, records),
            Effect::Publish(record) => self.flood(me, record.bytes()),
            Effect::Tell(demand) if self.nodes[me].is_silent => drop(demand),
            Effect::Tell(demand) => drop(self.write_as_node(me, &demand)),
            Effect::Demanded { org, news } => {
                let news =
                    news.iter().map(|unmet| format!("{org}: {} {}", unmet.count, unmet.category));
                self.nodes[me].demanded.extend(news);
            }
            Effect::ProveFork(found) => self.prove_fork(me, found),
            Effect::Quarantined(_) => {}
            Effect::Confirm(confirmation) => drop(self.write_as_node(me, &confirmation)),
            Effect::Admit { peer } => drop(self.nodes[me].admitted.insert(peer)),
            Effect::Expel { peer } => {
                self.nodes[me].admitted.remove(&peer);
                if let Some(to) = self.index_of(&peer) {
                    self.disconnect(me, to);
                }
            }
            Effect::SetKnown { .. } | Effect::Yanked { .. } | Effect::NoPage { .. } => {}
            Effect::Dial { addresses, .. } => {
                let index = |address: &String| address.strip_prefix("sim/")?.parse().ok();
                if let Some(to) = addresses.iter().find_map(index) {
                    self.send(Packet::Dial { from: me, to });
                }
            }
            Effect::Provide(key) => {
                let provider = self.nodes[me].key();
                self.dht.entry(key).or_default().insert(provider);
            }
            Effect::Withdraw(key) => {
                let provider = self.nodes[me].key();
                self.dht.entry(key).or_default().remove(&provider);
            }
            Effect::FindHolders { ask, keys } => {
                let found = keys.iter().filter_map(|key| self.dht.get(key)).flatten();
                let peers: BTreeSet<PublicKey> = found.copied().collect();
                let (life, peers) = (self.nodes[me].life, peers.into_iter().collect());
                if !self.dht_is_silent {
                    self.send(Packet::Holders { to: me, life, ask, peers });
                }
            }
            Effect::Answer { ask, found } => drop(self.nodes[me].found.insert(ask, *found)),
            Effect::Note(text) => self.nodes[me].notes.push(text),
        }
    }

    fn prove_fork(&mut self, me: usize, found: Contradiction) {
        let author = found.theirs.header().author;
        let stored = || self.nodes[me].store.get(&(author, found.seq)).cloned();
        let Some(ours) = found.ours.map(|ours| *ours).or_else(stored) else { return };
        if let Some(proof) = self.nodes[me].core.fork_proof(&ours, &found.theirs) {
            self.write_as_node(me, &proof);
        }
    }

    fn request(&mut self, caller: Caller, peer: PublicKey, request: &Request) {
        let bytes = cbor::encode(request);
        *self.asked.entry(name_of(request)).or_default() += 1;
        *self.bytes.entry(name_of(request)).or_default() += bytes.len() as u64;
        match self.index_of(&peer) {
            Some(to) => self.send(Packet::Request { caller, to, bytes }),
            None => self.send(Packet::Response { caller, result: Err("unknown".into()) }),
        }
    }

    fn answer(&mut self, me: usize, response: Response, context: &mut Context) {
        let (caller, request) = context.reply.take().expect("answered once");
        let response = match &self.nodes[me].tamper {
            Some(tamper) => tamper(&request, response),
            None => response,
        };
        let bytes = cbor::encode(&response);
        *self.bytes.entry(name_of(&request)).or_default() += bytes.len() as u64;
        let result = Ok(bytes);
        match (request, self.nodes[me].ponders_ms) {
            (Request::Query(_), ms) if ms >= REQUEST_DEADLINE_MS => {
                let result = Err("no answer".into());
                let at_ms = self.now_ms + REQUEST_DEADLINE_MS;
                self.send_at(at_ms, Packet::Response { caller, result });
            }
            (Request::Query(_), ms) if ms > 0 => {
                self.send_at(self.now_ms + ms, Packet::Response { caller, result });
            }
            _ => self.send(Packet::Response { caller, result }),
        }
    }

    fn page_of(
        &self,
        me: usize,
        author: PublicKey,
        from_seq: u64,
        follows: &[CategoryPrefix],
    ) -> Response {
        let stored = self.nodes[me].store.range((author, from_seq)..=(author, u64::MAX));
        let records = stored.take(PAGE_MAX_RECORDS).map(|(_, record)| match record {
            record if withhold_body(record, follows) => record.without_body().bytes().to_vec(),
            record => record.bytes().to_vec(),
        });
        Response::Records { records: records.map(ByteBuf::from).collect() }
    }

    fn listing_records(&self, me: usize, ids: &[RecordId]) -> Response {
        let stored = |id: &RecordId| self.nodes[me].store.values().find(|r| r.id() == *id);
        let mut len_bytes = 0;
        let mut has_room = |record: &&Record| {
            len_bytes += record.bytes().len();
            len_bytes <= PAGE_MAX_BYTES
        };
        let listings = ids.iter().filter_map(stored).take_while(&mut has_room);
        Response::Found { listings: listings.map(|r| ByteBuf::from(r.bytes())).collect() }
    }

    fn keep(&mut self, me: usize, records: Vec<Record>) {
        for record in records {
            let header = record.header();
            self.nodes[me].store.insert((header.author, header.seq), record);
        }
    }

    fn flood(&mut self, from: usize, bytes: &[u8]) {
        self.nodes[from].seen.insert(Hash::of(bytes));
        for to in 0..self.nodes.len() {
            let listens = self.is_linked(from, to)
                && self.nodes[from].admitted.contains(&self.nodes[to].key());
            if listens && self.below(100) >= self.gossip_loss_percent {
                self.send(Packet::Gossip { from, to, bytes: bytes.to_vec() });
            }
        }
    }

    pub(crate) fn index_of(&self, key: &PublicKey) -> Option<usize> {
        self.nodes.iter().position(|node| node.key() == *key)
    }

    pub(crate) fn is_linked(&self, a: usize, b: usize) -> bool {
        self.links.contains_key(&(a.min(b), a.max(b)))
    }

    /// Connects two nodes unless they are cut off from each other.
    pub(crate) fn connect(&mut self, a: usize, b: usize) {
        let link = (a.min(b), a.max(b));
        if a == b || self.cut.contains(&link) || self.links.contains_key(&link) {
            return;
        }
        self.links.insert(link, self.now_ms);
        let (key_a, key_b) = (self.nodes[a].key(), self.nodes[b].key());
        self.drive(a, Event::Connected { peer: key_b });
        self.drive(b, Event::Connected { peer: key_a });
    }

    pub(crate) fn disconnect(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))).is_none() {
            return;
        }
        for (me, other) in [(a, b), (b, a)] {
            let peer = self.nodes[other].key();
            self.nodes[me].admitted.remove(&peer);
            self.drive(me, Event::Disconnected { peer });
        }
    }

    /// Nothing passes between the two from now on.
    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        self.cut.insert((a.min(b), a.max(b)));
        self.disconnect(a, b);
    }

    /// The two reach each other again, and do.
    pub(crate) fn mend(&mut self, a: usize, b: usize) {
        self.cut.remove(&(a.min(b), a.max(b)));
        self.connect(a, b);
    }

    /// Every cut is mended; the nodes find each other by themselves.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    fn cut_strangers(&mut self, me: usize) {
        for other in 0..self.nodes.len() {
            let since = self.links.get(&(me.min(other), me.max(other)));
            let is_late = since.is_some_and(|at| self.now_ms >= at + HANDSHAKE_DEADLINE_MS);
            if is_late && !self.nodes[me].admitted.contains(&self.nodes[other].key()) {
                self.disconnect(me, other);
            }
        }
    }

    /// Signs, keeps and spreads a record of a node's own.
    pub(crate) fn write(&mut self, me: usize, write: impl FnOnce(&Core, u64) -> Record) -> Record {
        let record = write(&self.nodes[me].core, self.now_ms);
        self.keep(me, vec![record.clone()]);
        self.drive(me, Event::Wrote(Box::new(record.clone())));
        record
    }

    pub(crate) fn write_as_node<T: RecordBody>(&mut self, me: usize, body: &T) -> Record {
        self.write(me, |core, now_ms| core.write_as_node(body, now_ms).unwrap())
    }

    pub(crate) fn publish(&mut self, me: usize, listing: &Listing) -> Record {
        self.write(me, |core, now_ms| core.write_as_producer(listing, now_ms).unwrap())
    }

    pub(crate) fn describe(&mut self, me: usize) {
        if let Some(body) = self.nodes[me].core.new_node_body() {
            self.write_as_node(me, &body);
        }
    }

    /// Lets a node have records as if it had started with them: nobody hears of them.
    pub(crate) fn give<'a>(&mut self, me: usize, records: impl IntoIterator<Item = &'a Record>) {
        for record in records {
            self.keep(me, vec![record.clone()]);
            self.nodes[me].core.load_member(record);
            let _provided = self.nodes[me].core.load(record);
        }
    }

    /// Makes an invite at a node.
    pub(crate) fn invite(&mut self, me: usize, life_ms: u64) -> Invite {
        let seed = Hash::of(&self.below(u64::MAX).to_le_bytes());
        let (admission, draft) = self.nodes[me].core.invite(seed, life_ms, self.now_ms);
        draft.finish(self.write_as_node(me, &admission).id())
    }

    /// Uses an invite of `sponsor`, as `node/src/app/join.rs` does. `Err` is the refusal's words.
    pub(crate) fn join(
        &mut self,
        me: usize,
        sponsor: usize,
        invite: &Invite,
    ) -> Result<(), String> {
        self.connect(me, sponsor);
        let acceptance = self.nodes[me].core.acceptance(invite);
        self.write_as_node(me, &acceptance);
        let own = self.nodes[me].key();
        let log = self.nodes[me].store.range((own, 0)..=(own, u64::MAX));
        let records = log.map(|(_, record)| ByteBuf::from(record.bytes())).collect();
        match self.ask(me, sponsor, &Request::Join { records })? {
            Response::Joined { founding } => {
                assert_eq!(Founding::id(&founding), invite.federation);
                self.move_into(me, founding.clone());
                self.meet(me, sponsor, &founding, invite);
                Ok(())
            }
            Response::Refused(refusal) => Err(refusal.detail),
            other => Err(format!("{other:?}")),
        }
    }

    /// Sends a request as the shell itself and waits for the answer.
    pub(crate) fn ask(
        &mut self,
        me: usize,
        to: usize,
        request: &Request,
    ) -> Result<Response, String> {
        self.queued += 1;
        let own = self.queued;
        let caller = Caller { node: me, life: self.nodes[me].life, call: Err(own) };
        let peer = self.nodes[to].key();
        self.request(caller, peer, request);
        assert!(self.converge(10_000, |world| world.nodes[me].answers.contains_key(&own)));
        self.nodes[me].answers.remove(&own).unwrap()
    }

    fn move_into(&mut self, me: usize, founding: Signed) {
        let node = &mut self.nodes[me];
        let state = State::found(founding.clone()).unwrap();
        let old = &node.core;
        let mut core = Core::new(old.identity().clone(), old.settings().clone(), state);
        core.set_addresses(old.addresses().to_vec());
        (node.core, node.founding) = (core, founding);
        let effects = node.load();
        self.perform(me, effects, &mut Context::default());
    }

    fn meet(&mut self, me: usize, sponsor: usize, founding: &Signed, invite: &Invite) {
        let founding: Founding = founding.open().unwrap();
        let peer = self.nodes[sponsor].key();
        let effects = self.nodes[me].core.sponsor(peer, founding.root, invite.org.clone());
        self.perform(me, effects, &mut Context::default());
        self.describe(me);
        let producer = self.nodes[me].core.identity().producer.public();
        let log = self.nodes[me].store.range((producer, 0)..=(producer, u64::MAX));
        let listings: Vec<Listing> = log.filter_map(|(_, record)| record.body_as()?.ok()).collect();
        for listing in listings {
            self.publish(me, &Listing { federation: invite.federation, ..listing });
        }
    }

    /// Stops a node and starts it from its store, perhaps with other settings.
    pub(crate) fn restart(&mut self, me: usize, change: impl FnOnce(&mut Settings)) {
        for other in 0..self.nodes.len() {
            self.disconnect(me, other);
        }
        let node = &mut self.nodes[me];
        let (identity, mut settings) = (node.core.identity().clone(), node.core.settings().clone());
        change(&mut settings);
        node.core = Core::new(identity, settings, State::found(node.founding.clone()).unwrap());
        node.core.set_addresses(vec![format!("sim/{me}")]);
        node.life += 1;
        node.seen.clear();
        let effects = node.load();
        self.perform(me, effects, &mut Context::default());
        self.describe(me);
    }

    /// Restarts a node with another key for its producer.
    pub(crate) fn rekey_producer(&mut self, me: usize, words: &str) {
        self.restart(me, |_| {});
        let node = &mut self.nodes[me];
        let (org, settings) = (node.core.identity().org.clone(), node.core.settings().clone());
        let producer = crate::fixture::delegated(org.as_str(), words, Role::Producer);
        let identity = Identity { producer, ..node.core.identity().clone() };
        node.core = Core::new(identity, settings, State::found(node.founding.clone()).unwrap());
        node.core.set_addresses(vec![format!("sim/{me}")]);
        let effects = node.load();
        self.perform(me, effects, &mut Context::default());
    }

    /// Lets a node hear a record by gossip, whoever is connected.
    pub(crate) fn hear(&mut self, me: usize, from: PublicKey, bytes: Vec<u8>) {
        let context = Context { reply: None, gossip: Some(bytes.clone()) };
        self.drive_in(me, Event::Gossip { from, message: GossipId(0), bytes }, context);
    }

    /// Asks a question at a node and waits for the answer.
    pub(crate) fn search(&mut self, me: usize, query: &Query) -> Found {
        let ask = Hash::of(&self.below(u64::MAX).to_le_bytes());
        self.drive(me, Event::Search { ask, query: Box::new(query.clone()) });
        assert!(self.converge(10_000, |world| world.nodes[me].found.contains_key(&ask)));
        self.nodes[me].found.remove(&ask).unwrap()
    }

    /// What happened so far, in one number.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }
}
