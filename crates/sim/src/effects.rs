//! Carrying out what a core decided, as `node/src/app/effects.rs` does.

use std::collections::BTreeSet;

use guildhall_core::{Effect, Verdict, withhold_body};
use guildhall_protocol::limits::MESSAGE_MAX_BYTES;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::record::Record;
use guildhall_protocol::wire::{Request, Response};
use guildhall_protocol::{PublicKey, RecordId, cbor};
use guildhall_sync::Contradiction;
use serde_bytes::ByteBuf;

use crate::world::{Caller, Packet, REQUEST_DEADLINE_MS, World};

/// Small, so that most logs take several pages.
const PAGE_MAX_RECORDS: usize = 4;

/// As in the node: bytes of listings in one answer to a query.
const PAGE_MAX_BYTES: usize = MESSAGE_MAX_BYTES - 64 * 1024;

/// What the effects of one event answer to.
#[derive(Default)]
pub(crate) struct Context {
    reply: Option<(Caller, usize, Request)>,
    gossip: Option<Vec<u8>>,
}

impl Context {
    pub(crate) fn answering(caller: Caller, by: usize, request: Request) -> Self {
        Self { reply: Some((caller, by, request)), gossip: None }
    }

    pub(crate) fn judging(bytes: Vec<u8>) -> Self {
        Self { reply: None, gossip: Some(bytes) }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.reply.is_none() && self.gossip.is_none()
    }
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

impl World {
    pub(crate) fn perform(&mut self, me: usize, effects: Vec<Effect>, context: &mut Context) {
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
                    self.pass_on(me, &bytes);
                }
            }
            Effect::Store(records) => self.take_in(me, records),
            Effect::Publish(record) => self.flood(me, record.bytes()),
            Effect::Tell(demand) if self.nodes[me].is_silent => drop(demand),
            Effect::Tell(demand) => drop(self.write_as_node(me, &demand)),
            Effect::Demanded { org, news } => {
                let news =
                    news.iter().map(|unmet| format!("{org}: {} {}", unmet.count, unmet.category));
                self.nodes[me].demanded.extend(news);
            }
            Effect::ProveFork(found) => self.prove_fork(me, found),
            Effect::Confirm(confirmation) => drop(self.write_as_node(me, &confirmation)),
            Effect::Admit { peer, .. } => drop(self.nodes[me].admitted.insert(peer)),
            Effect::Expel { peer } => {
                self.nodes[me].admitted.remove(&peer);
                if let Some(to) = self.index_of(&peer) {
                    self.disconnect(me, to);
                }
            }
            Effect::ForgetOrg { org } => drop(self.nodes[me].forgotten.insert(org)),
            Effect::SetKnown { .. }
            | Effect::Yanked { .. }
            | Effect::NoPage { .. }
            | Effect::Quarantined(_) => {}
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

    pub(crate) fn request(&mut self, caller: Caller, peer: PublicKey, request: &Request) {
        let bytes = cbor::encode(request);
        *self.asked.entry(name_of(request)).or_default() += 1;
        *self.bytes.entry(name_of(request)).or_default() += bytes.len() as u64;
        match self.index_of(&peer) {
            Some(to) => self.send(Packet::Request { caller, to, bytes }),
            None => self.send(Packet::Response { caller, result: Err("unknown".into()) }),
        }
    }

    fn answer(&mut self, me: usize, response: Response, context: &mut Context) {
        let (caller, by, request) = context.reply.take().expect("answered once");
        let response = match &self.nodes[me].tamper {
            Some(tamper) => tamper(&request, response),
            None => response,
        };
        let bytes = cbor::encode(&response);
        *self.bytes.entry(name_of(&request)).or_default() += bytes.len() as u64;
        let result = Ok(bytes);
        if self.deaf.contains(&(by, caller.node)) || self.happens(self.weather.call_loss_percent) {
            return self.send_late(caller);
        }
        match (request, self.nodes[me].ponders_ms) {
            (Request::Query(_), ms) if ms >= REQUEST_DEADLINE_MS => self.send_late(caller),
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

    /// Records of others: they are on disk a little later.
    fn take_in(&mut self, me: usize, records: Vec<Record>) {
        for record in &records {
            let place = (record.header().author, record.header().seq);
            self.nodes[me].unwritten.push((self.now_ms, place));
            if let Some(written_ms) = self.watched.get(&place)
                && !self.nodes[me].store.contains_key(&place)
                && self.nodes[me].up_since_ms <= *written_ms
            {
                let delay_ms = self.now_ms.saturating_sub(*written_ms);
                self.delays_ms.push(u32::try_from(delay_ms).unwrap_or(u32::MAX));
            }
        }
        self.keep(me, records);
    }

    pub(crate) fn keep(&mut self, me: usize, records: Vec<Record>) {
        for record in records {
            let header = record.header();
            self.nodes[me].store.insert((header.author, header.seq), record);
        }
    }
}
