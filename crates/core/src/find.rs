//! How a question is answered: from the catalogue here, or from holders that the DHT or the members' own words name.

use std::collections::BTreeSet;

use guildhall_protocol::api::Via;
use guildhall_protocol::body::Listing;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::query::Query;
use guildhall_protocol::record::Record;
use guildhall_protocol::wire::{Reason, Request};
use guildhall_protocol::{Hash, PublicKey};
use guildhall_sync::Offered;
use serde_bytes::ByteBuf;

use crate::bodies::covers;
use crate::event::{Effect, Found, ReplyId};
use crate::keys::category_keys;
use crate::node::{Call, Core, refused, respond};

/// Nodes asked for one question. Holders of a category hold the same listings, so more would add little.
const ASKED_MAX: usize = 8;

/// Questions open at once; a further one is answered from here alone, and says so.
const ASKS_MAX: usize = 256;

/// Ticks that a question waits for the DHT, one to two seconds. Then members are asked that say they follow the
/// category: a lookup may take far longer than a person waits.
const LOCATE_TICKS: u64 = 2;

/// Ticks that a question waits for other nodes, three to four seconds. Not wall time, which may be set back.
const ASK_TICKS: u64 = 4;

/// Listings outside the followed categories that are kept in memory after a question. Further ones are not taken in.
const LOOKED_UP_MAX: usize = 10_000;

/// A question that other nodes are being asked.
#[derive(Debug)]
pub(crate) struct Ask {
    query: Query,
    via: Via,
    /// The tick at which the DHT is given up.
    locate_until: u64,
    /// The tick at which it is answered with what there is.
    open_until: u64,
    holders: u64,
    /// Whether the DHT has answered.
    located: bool,
    /// Nodes to ask as soon as they are admitted.
    wanted: BTreeSet<PublicKey>,
    /// Nodes whose answer is awaited.
    awaited: BTreeSet<PublicKey>,
    asked: u64,
    answered: u64,
    notes: Vec<String>,
}

impl Core {
    pub(crate) fn handle_search(&mut self, ask: Hash, query: Query, out: &mut Vec<Effect>) {
        if self.is_covered(&query) || self.asks.len() >= ASKS_MAX {
            let notes = match self.is_covered(&query) {
                true => Vec::new(),
                false => vec!["too many questions are open; only this node was asked".to_owned()],
            };
            let found = Found {
                results: self.catalog.search(&query),
                via: Via::Local,
                asked: 0,
                answered: 0,
                holders: 0,
                notes,
            };
            out.push(Effect::Answer { ask, found: Box::new(found) });
            return;
        }
        let keys = match &query.category {
            Some(category) => category_keys(self.federation.id(), category),
            None => Vec::new(),
        };
        let open = Ask {
            query,
            via: Via::Dht,
            locate_until: self.ticks + LOCATE_TICKS,
            open_until: self.ticks + ASK_TICKS,
            holders: 0,
            located: false,
            wanted: BTreeSet::new(),
            awaited: BTreeSet::new(),
            asked: 0,
            answered: 0,
            notes: Vec::new(),
        };
        self.asks.insert(ask, open);
        if keys.is_empty() {
            self.handle_holders(ask, &[], out);
        } else {
            out.push(Effect::FindHolders { ask, keys });
        }
    }

    /// Whether everything that could match is kept here.
    fn is_covered(&self, query: &Query) -> bool {
        let follows = &self.settings.follows;
        if follows.contains(&CategoryPrefix::everything()) {
            return true;
        }
        if query.reference.as_ref().is_some_and(|reference| self.catalog.resolve(reference).is_ok())
        {
            return true;
        }
        let is_followed = |asked: &CategoryPrefix| follows.iter().any(|f| covers(f, asked));
        query.category.as_ref().is_some_and(is_followed)
    }

    pub(crate) fn handle_holders(&mut self, ask: Hash, peers: &[PublicKey], out: &mut Vec<Effect>) {
        let Some(open) = self.asks.get(&ask).filter(|open| !open.located) else { return };
        let me = self.me.node.public();
        let is_member = |peer: &&PublicKey| **peer != me && self.nodes.contains_key(peer);
        let mut chosen: BTreeSet<PublicKey> = peers.iter().filter(is_member).copied().collect();
        let holders = chosen.len() as u64;
        let mut via = Via::Dht;
        if chosen.is_empty() {
            via = Via::Members;
            let follows_it = |follows: &[CategoryPrefix]| match &open.query.category {
                // Who follows a part of it has that part.
                Some(category) => {
                    follows.iter().any(|f| covers(f, category) || covers(category, f))
                }
                None => true,
            };
            let members = self
                .nodes
                .iter()
                .filter(|(node, view)| **node != me && follows_it(&view.body.follows));
            chosen = members.map(|(node, _)| *node).collect();
        }
        // Those who are connected first: they answer soonest.
        let mut order: Vec<PublicKey> = chosen.into_iter().collect();
        order.sort_by_key(|peer| !self.peers.contains_key(peer));
        order.truncate(ASKED_MAX);
        let Some(open) = self.asks.get_mut(&ask) else { return };
        open.holders = holders;
        open.via = via;
        open.located = true;
        open.asked = order.len() as u64;
        open.wanted = order.iter().copied().collect();
        for peer in order {
            if self.peers.get(&peer).is_some_and(|state| state.admitted.is_some()) {
                self.ask_admitted(peer, out);
            } else {
                self.dial(peer, out);
            }
        }
        self.answer_if_done(ask, out);
    }

    /// Sends a peer that was just admitted every question that waits for it.
    pub(crate) fn ask_admitted(&mut self, peer: PublicKey, out: &mut Vec<Effect>) {
        let mut calls = Vec::new();
        for (ask, open) in &mut self.asks {
            if open.wanted.remove(&peer) {
                open.awaited.insert(peer);
                calls.push((*ask, Box::new(open.query.to_ask())));
            }
        }
        for (ask, query) in calls {
            self.call(peer, Call::Query { peer, ask }, Request::Query(query), out);
        }
    }

    pub(crate) fn handle_found(
        &mut self,
        now_ms: u64,
        peer: PublicKey,
        ask: Hash,
        listings: &[ByteBuf],
        out: &mut Vec<Effect>,
    ) {
        let mut refused = 0_u64;
        for bytes in listings {
            if self.take_looked_up(now_ms, bytes, out).is_err() {
                refused += 1;
            }
        }
        if let Some(open) = self.asks.get_mut(&ask) {
            open.answered += u64::from(open.awaited.remove(&peer));
            if refused > 0 {
                open.notes.push(format!(
                    "{refused} listings of {peer:?} did not verify and were left out"
                ));
            }
        }
        self.answer_if_done(ask, out);
    }

    /// The peer has not heard our hello yet: it is asked again at the next tick, until the question's deadline.
    pub(crate) fn ask_again(&mut self, peer: PublicKey, ask: Hash) {
        if let Some(open) = self.asks.get_mut(&ask)
            && open.awaited.remove(&peer)
        {
            open.wanted.insert(peer);
        }
    }

    /// Sends what waits for peers that are admitted.
    pub(crate) fn retry_asks(&mut self, out: &mut Vec<Effect>) {
        let wanted = self.asks.values().flat_map(|open| &open.wanted);
        let ready: BTreeSet<PublicKey> =
            wanted.filter(|peer| self.authority(peer).is_some()).copied().collect();
        ready.into_iter().for_each(|peer| self.ask_admitted(peer, out));
    }

    pub(crate) fn handle_no_answer(&mut self, peer: PublicKey, ask: Hash, out: &mut Vec<Effect>) {
        if let Some(open) = self.asks.get_mut(&ask) {
            open.wanted.remove(&peer);
            open.awaited.remove(&peer);
        }
        self.answer_if_done(ask, out);
    }

    pub(crate) fn expire_asks(&mut self, out: &mut Vec<Effect>) {
        let unlocated = |open: &Ask| !open.located && self.ticks >= open.locate_until;
        let silent: Vec<Hash> =
            self.asks.iter().filter(|(_, open)| unlocated(open)).map(|(ask, _)| *ask).collect();
        for ask in silent {
            if let Some(open) = self.asks.get_mut(&ask) {
                open.notes.push("the DHT did not answer in time".to_owned());
            }
            self.handle_holders(ask, &[], out);
        }
        let late: Vec<Hash> = self
            .asks
            .iter()
            .filter(|(_, open)| self.ticks >= open.open_until)
            .map(|(ask, _)| *ask)
            .collect();
        for ask in late {
            if let Some(open) = self.asks.get_mut(&ask) {
                let missing = open.wanted.len() + open.awaited.len();
                if missing > 0 {
                    open.notes.push(format!("{missing} nodes did not answer in time"));
                }
                open.located = true;
                open.wanted.clear();
                open.awaited.clear();
            }
            self.answer_if_done(ask, out);
        }
    }

    fn answer_if_done(&mut self, ask: Hash, out: &mut Vec<Effect>) {
        let done = |open: &Ask| open.located && open.wanted.is_empty() && open.awaited.is_empty();
        if !self.asks.get(&ask).is_some_and(done) {
            return;
        }
        let Some(open) = self.asks.remove(&ask) else { return };
        let found = Found {
            results: self.catalog.search(&open.query),
            via: open.via,
            asked: open.asked,
            answered: open.answered,
            holders: open.holders,
            notes: open.notes,
        };
        out.push(Effect::Answer { ask, found: Box::new(found) });
    }

    /// Verifies a listing that another node named and lets it count: kept on disk when its log is here, else in
    /// memory until the next start.
    fn take_looked_up(
        &mut self,
        now_ms: u64,
        bytes: &[u8],
        out: &mut Vec<Effect>,
    ) -> Result<(), String> {
        let record = Record::open(bytes).map_err(|error| error.to_string())?;
        self.check_unseen(&record, now_ms).map_err(|error| error.to_string())?;
        if self.federation.member(&record.delegation().root).is_none() {
            return Err("its producer is not a member".to_owned());
        }
        let listing: Listing = match record.body_as() {
            Some(Ok(listing)) => listing,
            _ => return Err("it is no listing".to_owned()),
        };
        if listing.federation != self.federation.id() {
            return Err("it is listed in another federation".to_owned());
        }
        let header = record.header();
        let at = self.logs.id_at(&header.author, header.seq);
        if at.is_some_and(|id| id != record.id()) || self.logs.fork_of(&header.author).is_some() {
            return Err("its log here says otherwise".to_owned());
        }
        if at.is_some() {
            if self.logs.offer(&record) == Offered::Filled {
                out.push(Effect::Store(vec![record.clone()]));
            }
        } else if self.looked_up.len() >= LOOKED_UP_MAX && !self.looked_up.contains(&record.id()) {
            return Err(format!("{LOOKED_UP_MAX} listings of other categories are held already"));
        } else {
            self.looked_up.insert(record.id());
        }
        self.evaluate_listing(&record, listing, out);
        Ok(())
    }

    /// Answers another node's question from the catalogue.
    pub(crate) fn handle_query(&self, reply: ReplyId, query: &Query, out: &mut Vec<Effect>) {
        if let Err(error) = query.check() {
            respond(out, reply, refused(Reason::Invalid, error.to_string()));
            return;
        }
        let results = self.catalog.search(&query.to_ask());
        let listings = results.into_iter().map(|suggestion| suggestion.listing_id).collect();
        out.push(Effect::RespondListings { reply, listings });
    }
}
