//! What nodes and their keepers do: write, join, ask, stop, start, and die.

use guildhall_core::{Core, Effect, Event, Found, Identity, Settings};
use guildhall_federation::State;
use guildhall_protocol::Hash;
use guildhall_protocol::body::{Listing, RecordBody};
use guildhall_protocol::query::Query;
use guildhall_protocol::record::Record;
use guildhall_protocol::statement::{Founding, Role, Signed};
use guildhall_protocol::wire::{Invite, Request, Response};
use serde_bytes::ByteBuf;

use crate::effects::Context;
use crate::world::{Caller, Node, Packet, World};

/// Records of others that a kill takes with it: what came in so long before, milliseconds. The node writes them in
/// groups, and people are told of none of them.
const UNWRITTEN_MS: u64 = 200;

impl Node {
    pub(crate) fn load(&mut self) -> Vec<Effect> {
        self.store.values().for_each(|record| self.core.load_member(record));
        let mut effects: Vec<Effect> =
            self.store.values().flat_map(|record| self.core.load(record)).collect();
        effects.extend(self.core.finish_load());
        effects
    }
}

impl World {
    /// Signs, keeps and spreads a record of a node's own.
    pub fn write(&mut self, me: usize, write: impl FnOnce(&Core, u64) -> Record) -> Record {
        let now_ms = self.now_ms.saturating_add_signed(self.nodes[me].skew_ms);
        let record = write(&self.nodes[me].core, now_ms);
        self.keep(me, vec![record.clone()]);
        self.drive(me, Event::Wrote(Box::new(record.clone())));
        let header = record.header();
        if self.nodes[me].core.logs().id_at(&header.author, header.seq) == Some(record.id()) {
            self.nodes[me].acked.insert(header.author, header.seq + 1);
        }
        record
    }

    /// The same with the node's key.
    pub fn write_as_node<T: RecordBody>(&mut self, me: usize, body: &T) -> Record {
        self.write(me, |core, now_ms| core.write_as_node(body, now_ms).unwrap())
    }

    /// The same with the producer's key.
    pub fn write_as_producer<T: RecordBody>(&mut self, me: usize, body: &T) -> Record {
        self.write(me, |core, now_ms| core.write_as_producer(body, now_ms).unwrap())
    }

    /// Lists something.
    pub fn publish(&mut self, me: usize, listing: &Listing) -> Record {
        self.write_as_producer(me, listing)
    }

    /// Writes a node record if the newest one is not true any more.
    pub fn describe(&mut self, me: usize) {
        if let Some(body) = self.nodes[me].core.new_node_body() {
            self.write_as_node(me, &body);
        }
    }

    /// Lets a node have records as if it had started with them: nobody hears of them.
    pub fn give<'a>(&mut self, me: usize, records: impl IntoIterator<Item = &'a Record>) {
        for record in records {
            self.keep(me, vec![record.clone()]);
            self.nodes[me].core.load_member(record);
            let _provided = self.nodes[me].core.load(record);
        }
    }

    /// Makes an invite at a node.
    pub fn invite(&mut self, me: usize, life_ms: u64) -> Invite {
        let seed = Hash::of(&self.below(u64::MAX).to_le_bytes());
        let (admission, draft) = self.nodes[me].core.invite(seed, life_ms, self.now_ms);
        draft.finish(self.write_as_node(me, &admission).id())
    }

    /// Uses an invite of `sponsor`, as `node/src/app/join.rs` does.
    ///
    /// # Errors
    /// The refusal's words.
    pub fn join(&mut self, me: usize, sponsor: usize, invite: &Invite) -> Result<(), String> {
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
    ///
    /// # Errors
    /// Why there is none.
    pub fn ask(&mut self, me: usize, to: usize, request: &Request) -> Result<Response, String> {
        self.queued += 1;
        let own = self.queued;
        let caller = Caller { node: me, life: self.nodes[me].life, call: Err(own) };
        let peer = self.nodes[to].key();
        self.request(caller, peer, request);
        assert!(self.converge(30_000, |world| world.nodes[me].answers.contains_key(&own)));
        self.nodes[me].answers.remove(&own).unwrap()
    }

    fn move_into(&mut self, me: usize, founding: Signed) {
        let (identity, settings) = self.who(me);
        self.nodes[me].founding = founding;
        self.boot(me, identity, settings);
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

    fn who(&self, me: usize) -> (Identity, Settings) {
        let core = &self.nodes[me].core;
        (core.identity().clone(), core.settings().clone())
    }

    /// Starts a node's core from its store.
    fn boot(&mut self, me: usize, identity: Identity, settings: Settings) {
        let node = &mut self.nodes[me];
        let addresses = node.core.addresses().to_vec();
        node.records.set(0);
        node.core = Core::new(identity, settings, State::found(node.founding.clone()).unwrap());
        node.core.set_addresses(addresses);
        let effects = node.load();
        self.perform(me, effects, &mut Context::default());
    }

    /// Stops a node and starts it from its store, perhaps with other settings.
    pub fn restart(&mut self, me: usize, change: impl FnOnce(&mut Settings)) {
        self.halt(me);
        let (identity, mut settings) = self.who(me);
        change(&mut settings);
        self.nodes[me].unwritten.clear();
        self.rise(me, identity, settings);
    }

    /// Restarts a node with another key for its producer.
    pub fn rekey_producer(&mut self, me: usize, words: &str) {
        self.halt(me);
        let (identity, settings) = self.who(me);
        let producer = crate::orgs::delegated(identity.org.as_str(), words, Role::Producer);
        self.rise(me, Identity { producer, ..identity }, settings);
    }

    /// Kills a node and starts it from what it had written.
    pub fn crash(&mut self, me: usize) {
        self.halt(me);
        let node = &mut self.nodes[me];
        let since = self.now_ms.saturating_sub(UNWRITTEN_MS);
        for (at_ms, place) in std::mem::take(&mut node.unwritten) {
            let is_own = node.acked.contains_key(&place.0);
            if at_ms >= since && !is_own {
                node.store.remove(&place);
            }
        }
        let (identity, settings) = self.who(me);
        self.rise(me, identity, settings);
    }

    /// Stops a node for a while.
    pub fn stop(&mut self, me: usize, for_ms: u64) {
        if self.nodes[me].is_down {
            return;
        }
        self.halt(me);
        self.nodes[me].is_down = true;
        self.send_at(self.now_ms + for_ms, Packet::Up { node: me });
    }

    pub(crate) fn start(&mut self, me: usize) {
        if std::mem::take(&mut self.nodes[me].is_down) {
            let (identity, settings) = self.who(me);
            self.rise(me, identity, settings);
        }
    }

    /// Whether a node is stopped.
    #[must_use]
    pub fn is_down(&self, me: usize) -> bool {
        self.nodes[me].is_down
    }

    fn halt(&mut self, me: usize) {
        for other in self.linked[me].clone() {
            self.disconnect(me, other);
        }
        let node = &mut self.nodes[me];
        node.life += 1;
        node.heard = crate::gossip::Heard::default();
    }

    fn rise(&mut self, me: usize, identity: Identity, settings: Settings) {
        self.nodes[me].up_since_ms = self.now_ms;
        self.boot(me, identity, settings);
        self.describe(me);
    }

    /// Asks a question at a node and waits for the answer.
    pub fn search(&mut self, me: usize, query: &Query) -> Found {
        let ask = Hash::of(&self.below(u64::MAX).to_le_bytes());
        self.drive(me, Event::Search { ask, query: Box::new(query.clone()) });
        assert!(self.converge(10_000, |world| world.nodes[me].found.contains_key(&ask)));
        self.nodes[me].found.remove(&ask).unwrap()
    }
}
