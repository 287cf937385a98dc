//! The composed state of a node, and the way in: [`Core::handle`].

use std::collections::{BTreeMap, BTreeSet};

use guildhall_catalog::rank::Ranking;
use guildhall_catalog::{COUNTED_MAX, Catalog};
use guildhall_federation::{Authority, State};
use guildhall_pipeline::lease;
use guildhall_protocol::body::{HardwareOffer, NodeBody, RecordBody};
use guildhall_protocol::limits::ADDRESSES_MAX;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::record::{Body, Record, RecordError};
use guildhall_protocol::wire::{Reason, Refusal, Request, Response};
use guildhall_protocol::{Hash, PackageId, PublicKey, cbor};
use guildhall_sync::{Logs, Schedule};

use crate::agree::Agreement;
use crate::cells::Cells;
use crate::demand;
use crate::drops::Drops;
use crate::event::{CallId, Effect, Event, NodeView, ReplyId};
use crate::find::{LookedUp, Pages, Questions, Served};
use crate::forks::Forks;
use crate::fresh::Freshness;
use crate::identity::{DelegatedKey, Identity};
use crate::keys::holder_keys;
use crate::links::Links;
use crate::load::Restored;
use crate::membership::Confirming;
use crate::moment::Moment;

/// Most peers tracked; the overlay's connection limits are far below.
pub(crate) const PEERS_MAX: usize = 4_096;

/// Listings grow older by the day.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// What the node's keeper decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Categories whose listings are kept.
    pub follows: Vec<CategoryPrefix>,
    /// Hardware that is lent.
    pub offer: Option<HardwareOffer>,
    /// Engines this node can execute with.
    pub engines: Vec<String>,
    /// What its workers are kept in.
    pub isolation: Vec<String>,
    /// Whether it finishes what it has and takes no more jobs of others.
    pub draining: bool,
    /// Version of the software.
    pub software: String,
    /// Secret from which lease ids are derived, so that nobody can guess one.
    pub lease_seed: Hash,
    /// Secret from which the keys of comparisons are derived; another one at each start, from real randomness.
    pub compare_seed: Hash,
    /// Secret from which the order follows in which links are wanted; likewise.
    pub link_seed: Hash,
}

/// Everything that a node decides with.
#[derive(Debug)]
pub struct Core {
    pub(crate) me: Identity,
    pub(crate) settings: Settings,
    pub(crate) addresses: Vec<String>,
    pub(crate) federation: State,
    pub(crate) logs: Logs,
    pub(crate) schedule: Schedule,
    pub(crate) cells: Cells,
    pub(crate) catalog: Catalog,
    /// While the node starts.
    pub(crate) restored: Restored,
    pub(crate) demand: demand::State,
    pub(crate) pages: Pages,
    pub(crate) nodes: BTreeMap<PublicKey, NodeView>,
    /// Roots of the members at the last change, to see who is gone.
    pub(crate) members: BTreeSet<PublicKey>,
    pub(crate) peers: BTreeMap<PublicKey, PeerState>,
    pub(crate) links: Links,
    /// Keys in quarantine.
    pub(crate) forks: Forks,
    pub(crate) calls: BTreeMap<CallId, Call>,
    pub(crate) next_call: u64,
    pub(crate) questions: Questions,
    pub(crate) served: Served,
    pub(crate) outsiders: Outsiders,
    /// Orgs that are coming in just now; one for each of this node's own open invites at most, for some ticks.
    pub(crate) confirming: Vec<Confirming>,
    pub(crate) leases: lease::Book,
    pub(crate) leases_granted: u64,
    /// Packages for which a worker with loaded code waits.
    pub(crate) warm: BTreeSet<(PublicKey, PackageId)>,
    pub(crate) packages: BTreeSet<PackageId>,
    pub(crate) provided: BTreeSet<Hash>,
    /// Listings in the catalogue that are on no disk here.
    pub(crate) looked_up: LookedUp,
    /// The org of every log's author; as many as there are logs.
    pub(crate) roots: BTreeMap<PublicKey, PublicKey>,
    /// Authors of logs here whose org is not a member.
    pub(crate) strangers: BTreeSet<PublicKey>,
    /// The tick at which a stranger's log was last said to be refused.
    pub(crate) refusal_noted_at: Option<u64>,
    /// The tick at which a listing was last said not to be kept.
    pub(crate) full_noted_at: Option<u64>,
    pub(crate) ticks: u64,
    /// When the event came that is being handled.
    pub(crate) now: Moment,
    /// When logs were last compared with another node.
    pub(crate) heard: Option<Moment>,
    /// When another org was.
    pub(crate) fresh: Freshness,
    pub(crate) drops: Drops,
}

/// A connected peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerState {
    pub(crate) connected: bool,
    /// The org it speaks for, once its hello held.
    pub(crate) admitted: Option<Authority>,
    /// Whether it was admitted on an invite's word, so that its hello is still to be heard.
    pub(crate) sponsor: bool,
    /// Whether logs are pulled from it although it is not admitted: see [`Core::introduce`].
    pub(crate) introduced: bool,
    /// Whether a hello to it is under way.
    pub(crate) greeting: bool,
    /// Whether it is being asked which logs it has.
    pub(crate) comparing: bool,
    /// The tick at which it was last greeted.
    pub(crate) tried_at: Option<u64>,
    /// The tick from which on logs are to be compared with it.
    pub(crate) compare_at: u64,
    /// Whether it does not answer with cells that can be used, so that it is asked for pages on this connection.
    pub(crate) pages_only: bool,
    /// How often in a row it was too busy to compare in cells.
    pub(crate) busy: u32,
    /// The tick before which it is not asked to compare in cells, because it is busy.
    pub(crate) busy_until: u64,
    /// The tick at which it was last asked for missing bodies.
    pub(crate) bodies_at: Option<u64>,
    /// What comparisons of logs with it came to.
    pub(crate) agreement: Agreement,
    /// What time it said it was, and the node's steady time then.
    pub(crate) clock: Option<(u64, u64)>,
}

/// What a request that was sent is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    Hello { peer: PublicKey },
    Heads { peer: PublicKey, after: Option<PublicKey>, page: u32 },
    Compare { peer: PublicKey },
    Pull { peer: PublicKey, author: PublicKey, for_bodies: bool },
    Query { peer: PublicKey, question: Hash },
}

impl Call {
    pub(crate) const fn peer(&self) -> PublicKey {
        match self {
            Self::Hello { peer }
            | Self::Heads { peer, .. }
            | Self::Compare { peer }
            | Self::Pull { peer, .. }
            | Self::Query { peer, .. } => *peer,
        }
    }
}

/// Records of orgs that are not members, as far as is known: kept in case a membership record is still on its way.
#[derive(Debug, Default)]
pub(crate) struct Outsiders {
    pub(crate) records: Vec<Record>,
    pub(crate) len_bytes: usize,
}

impl Outsiders {
    /// Further records are stored and relayed, but evaluated only after the next start.
    const RECORDS_MAX: usize = 4_096;
    /// Likewise.
    const BYTES_MAX: usize = 16 * 1024 * 1024;

    /// Keeps a record; `false` when there is no room.
    pub(crate) fn keep(&mut self, record: &Record) -> bool {
        let len_bytes = self.len_bytes + record.bytes().len();
        if self.records.len() >= Self::RECORDS_MAX || len_bytes > Self::BYTES_MAX {
            return false;
        }
        self.len_bytes = len_bytes;
        self.records.push(record.clone());
        true
    }

    /// How many are kept, and may be.
    pub(crate) const fn fill(&self) -> (usize, usize) {
        (self.records.len(), Self::RECORDS_MAX)
    }

    pub(crate) fn take(&mut self) -> Vec<Record> {
        self.len_bytes = 0;
        std::mem::take(&mut self.records)
    }
}

impl Core {
    /// A node that knows its federation's founding and nothing else yet.
    #[must_use]
    pub fn new(me: Identity, settings: Settings, federation: State) -> Self {
        let members = federation.members().map(|(root, _)| *root).collect();
        let mut catalog = Catalog::default();
        catalog.set_home(me.root);
        let mut leases = lease::Book::default();
        leases.drain(settings.draining);
        let links = Links::new(settings.link_seed);
        Self {
            me,
            settings,
            addresses: Vec::new(),
            federation,
            logs: Logs::default(),
            schedule: Schedule::default(),
            cells: Cells::default(),
            catalog,
            restored: Restored::new(),
            demand: demand::State::default(),
            pages: Pages::default(),
            nodes: BTreeMap::new(),
            members,
            peers: BTreeMap::new(),
            links,
            forks: Forks::new(),
            calls: BTreeMap::new(),
            next_call: 0,
            questions: Questions::default(),
            served: Served::default(),
            outsiders: Outsiders::default(),
            confirming: Vec::new(),
            leases,
            leases_granted: 0,
            warm: BTreeSet::new(),
            packages: BTreeSet::new(),
            provided: BTreeSet::new(),
            looked_up: LookedUp::default(),
            roots: BTreeMap::new(),
            strangers: BTreeSet::new(),
            refusal_noted_at: None,
            full_noted_at: None,
            ticks: 0,
            now: Moment::default(),
            heard: None,
            fresh: Freshness::default(),
            drops: Drops::default(),
        }
    }

    /// Takes an event in and returns what is to be done, in order.
    #[must_use]
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        self.now = Moment { tick: self.ticks, ms: now_ms };
        self.catalog.set_day(u32::try_from(now_ms / DAY_MS).unwrap_or(u32::MAX));
        match event {
            Event::Connected { peer } => self.handle_connected(peer, &mut out),
            Event::Disconnected { peer } => self.handle_disconnected(peer, &mut out),
            Event::Request { peer, reply, request } => {
                self.handle_request(now_ms, peer, reply, request, &mut out);
            }
            Event::Response { call, result } => {
                self.handle_response(now_ms, call, result, &mut out);
            }
            Event::Gossip { from, message, bytes } => {
                self.handle_gossip(now_ms, from, message, &bytes, &mut out);
            }
            Event::Wrote(record) => self.handle_wrote(*record, &mut out),
            Event::Search { ask, query } => {
                // Turning a page is no question of its own.
                if query.page.is_none() {
                    self.watch_question(ask, &query);
                }
                self.handle_search(ask, *query, &mut out);
            }
            Event::Used { query_id, package } => {
                self.handle_used(query_id, package, now_ms);
                if !self.catalog.used(package) {
                    out.push(Effect::Note(format!(
                        "the use of {package} is not counted: {COUNTED_MAX} packages are"
                    )));
                }
            }
            Event::Holders { ask, peers } => self.handle_holders(ask, &peers, &mut out),
            Event::PackageHeld(package) => {
                self.packages.insert(package);
                self.provide(crate::keys::package_key(self.federation.id(), package), &mut out);
            }
            Event::PackageDropped(package) => {
                self.packages.remove(&package);
                let key = crate::keys::package_key(self.federation.id(), package);
                if self.provided.remove(&key) {
                    out.push(Effect::Withdraw(key));
                }
            }
            Event::Missed { ms } => self.fresh.handle_missed(ms),
            Event::Tick => {
                self.tick_fresh();
                self.handle_tick(now_ms, &mut out);
                self.tell_demand(now_ms, &mut out);
            }
        }
        self.watch_answers(now_ms, &out);
        self.start_pulls(&mut out);
        out
    }

    /// Writes and signs the next record of the node's log. Nothing changes here until the record, safely on disk,
    /// comes back as [`Event::Wrote`]; until then nothing else may be written.
    ///
    /// # Errors
    /// [`RecordError::Form`] when it would be too long.
    pub fn write_as_node<T: RecordBody>(
        &self,
        body: &T,
        now_ms: u64,
    ) -> Result<Record, RecordError> {
        self.write(&self.me.node, body, now_ms)
    }

    /// Like [`write_as_node`](Self::write_as_node), for the producer's log.
    ///
    /// # Errors
    /// [`RecordError::Form`] when it would be too long.
    pub fn write_as_producer<T: RecordBody>(
        &self,
        body: &T,
        now_ms: u64,
    ) -> Result<Record, RecordError> {
        self.write(&self.me.producer, body, now_ms)
    }

    fn write<T: RecordBody>(
        &self,
        key: &DelegatedKey,
        body: &T,
        now_ms: u64,
    ) -> Result<Record, RecordError> {
        let bytes = cbor::encode(body);
        let body = Body { record_type: T::TYPE, version: T::VERSION, bytes: &bytes };
        let position = self.logs.next_position(&key.public());
        Record::write(&key.secret, &key.delegation, position, &body, now_ms)
    }

    /// The node record that would be true now; `None` when the newest one in the log already says so.
    #[must_use]
    pub fn new_node_body(&self) -> Option<NodeBody> {
        let body = NodeBody {
            federation: self.federation.id(),
            addresses: self.addresses.iter().take(ADDRESSES_MAX).cloned().collect(),
            follows: self.settings.follows.clone(),
            engines: self.settings.engines.clone(),
            offer: self.settings.offer.clone(),
            isolation: self.settings.isolation.clone(),
            draining: self.settings.draining,
            software: self.settings.software.clone(),
        };
        let written = self.nodes.get(&self.me.node.public());
        (written.map(|view| &view.body) != Some(&body)).then_some(body)
    }

    /// Takes the place of a core whose answers may still be on their way: calls are numbered on from its own, so that
    /// no late answer is taken for one to this core's calls.
    ///
    /// Jobs that run go on, so the leases are still held, and what others used stays counted.
    pub fn succeed(&mut self, before: &Self) {
        self.next_call = before.next_call;
        self.leases = before.leases.clone();
        self.leases.drain(self.settings.draining);
        self.leases_granted = before.leases_granted;
        self.warm = before.warm.clone();
        self.drops = before.drops.clone();
        self.succeed_demand(before);
    }

    /// What the keeper decided now.
    pub fn set_settings(&mut self, settings: Settings) {
        self.leases.drain(settings.draining);
        self.settings = settings;
    }

    /// How the org ranks now.
    pub fn set_ranking(&mut self, ranking: Ranking) {
        self.catalog.set_ranking(ranking);
    }

    /// Orgs besides the producer that were found to hold a package.
    pub fn set_holders(&mut self, package: PackageId, orgs: u16) {
        self.catalog.set_holders(package, orgs);
    }

    /// Where the overlay listens now.
    pub fn set_addresses(&mut self, addresses: Vec<String>) {
        self.addresses = addresses;
    }

    fn handle_request(
        &mut self,
        now_ms: u64,
        peer: PublicKey,
        reply: ReplyId,
        request: Request,
        out: &mut Vec<Effect>,
    ) {
        let authority = self.peers.get(&peer).and_then(|state| state.admitted.clone());
        match (request, authority) {
            (Request::Hello(hello), _) => self.handle_hello(now_ms, peer, reply, hello, out),
            (Request::Join { records }, _) => self.handle_join(now_ms, peer, reply, &records, out),
            (_, None) => respond(
                out,
                reply,
                refused(Reason::NotAdmitted, "say hello first, as a member's node"),
            ),
            (Request::Heads { after }, _) => respond(out, reply, self.heads_page(after)),
            (Request::Compare(asked), _) => {
                let response = self.answer_compare(now_ms, peer, &asked);
                respond(out, reply, response);
            }
            (Request::FindElements(asked), _) => {
                let response = self.answer_find(now_ms, peer, &asked);
                respond(out, reply, response);
            }
            (Request::Pull { author, from_seq }, Some(_)) => {
                let follows = self.nodes.get(&peer).map(|view| view.body.follows.clone());
                let follows = follows.unwrap_or_else(|| vec![CategoryPrefix::everything()]);
                out.push(Effect::RespondRecords { reply, author, from_seq, follows });
            }
            (Request::Query(query), Some(authority)) => {
                self.handle_query(authority.root, reply, &query, out);
            }
            (Request::Offer(offer), Some(authority)) => {
                self.handle_offer(now_ms, peer, &authority, (reply, offer), out);
            }
            _ => respond(out, reply, refused(Reason::Invalid, "this request is not known here")),
        }
    }

    fn handle_response(
        &mut self,
        now_ms: u64,
        call: CallId,
        result: Result<Response, String>,
        out: &mut Vec<Effect>,
    ) {
        let call = self.calls.remove(&call);
        if let Some(Call::Hello { peer }) = &call
            && let Some(state) = self.peers.get_mut(peer)
        {
            state.greeting = false;
        }
        match (call, result) {
            (Some(Call::Hello { peer }), Ok(Response::Hello(hello))) => {
                self.handle_hello_back(now_ms, peer, &hello, out);
            }
            (Some(Call::Heads { peer, after, page }), Ok(Response::Heads(heads))) => {
                self.handle_heads(peer, (after, page), &heads, out);
            }
            (Some(Call::Heads { peer, .. }), _) => self.handle_no_heads(peer),
            (Some(Call::Compare { peer }), result) => self.handle_compared(peer, result, out),
            (Some(Call::Pull { peer, author, for_bodies }), Ok(Response::Records { records })) => {
                self.handle_pulled(now_ms, peer, (author, for_bodies), &records, out);
            }
            (Some(Call::Pull { peer, author, for_bodies: true }), _) => {
                self.schedule.handle_bodies(peer, author, None);
            }
            (Some(Call::Pull { peer, author, .. }), result) => {
                self.schedule.handle_pulled(peer, author, false);
                if matches!(&result, Ok(Response::Refused(why)) if why.reason == Reason::Busy) {
                    // The comparison names the log again.
                    self.compare_soon(peer);
                }
            }
            (Some(Call::Query { peer, question }), result) => {
                self.handle_query_response(peer, question, result, out);
            }
            // A refused hello is said again at a later tick; the overlay cuts who is never admitted.
            (Some(Call::Hello { .. }) | None, _) => {}
        }
    }

    /// Sends a request and remembers what it is for.
    pub(crate) fn call(
        &mut self,
        peer: PublicKey,
        call: Call,
        request: Request,
        out: &mut Vec<Effect>,
    ) {
        let id = CallId(self.next_call);
        self.next_call += 1;
        self.calls.insert(id, call);
        out.push(Effect::Call { call: id, peer, request });
    }

    /// Provides a category, once.
    pub(crate) fn provide_category(&mut self, category: &CategoryPrefix, out: &mut Vec<Effect>) {
        for key in holder_keys(self.federation.id(), self.me.node.public(), category) {
            self.provide(key, out);
        }
    }

    /// Provides a key once.
    pub(crate) fn provide(&mut self, key: Hash, out: &mut Vec<Effect>) {
        if self.provided.insert(key) {
            out.push(Effect::Provide(key));
        }
    }
}

pub(crate) fn respond(out: &mut Vec<Effect>, reply: ReplyId, response: Response) {
    out.push(Effect::Respond { reply, response });
}

pub(crate) fn refused(reason: Reason, detail: impl Into<String>) -> Response {
    Response::Refused(Refusal::new(reason, detail))
}
