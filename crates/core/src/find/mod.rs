//! How a question is answered: from the catalogue here, or from holders that the DHT or the members' own words name.
//!
//! What is not kept here is asked of [`ENOUGH`](question::ENOUGH) nodes at once. One that is slow, away or refuses, or
//! whose answer had to be refused in part, has the next one asked besides; the answer is given when enough have
//! answered, nobody else can be asked, or the time is over. What they name is verified ([`take`]), and the answer comes
//! from the catalogue then ([`here`]), with what became of each node. Nodes answer each other in [`serve`].
//!
//! The result is the union of what the nodes know that answered in time, and of what is known here, as far as it
//! answers the question: no node can take away from it, and none can add what its author did not sign.

mod here;
mod order;
mod pages;
mod question;
mod questions;
mod serve;
mod take;
mod told;

use guildhall_protocol::api::AskOutcome;
use guildhall_protocol::body::{Listing, RecordBody as _, Yank};
use guildhall_protocol::limits::QUERY_MAX_RESULTS;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::query::{PageMark, Query};
use guildhall_protocol::record::Record;
use guildhall_protocol::wire::{Reason, Request, Response};
use guildhall_protocol::{Hash, PublicKey};
use serde_bytes::ByteBuf;

use crate::bodies::covers;
use crate::event::Effect;
use crate::keys::category_keys;
use crate::node::{Call, Core};

use self::question::{Asking, Waiting};

pub(crate) use self::pages::Pages;
pub(crate) use self::questions::Questions;
pub(crate) use self::serve::Served;
pub(crate) use self::take::LookedUp;

impl Core {
    pub(crate) fn handle_search(&mut self, ask: Hash, query: Query, out: &mut Vec<Effect>) {
        if let Some(mark) = query.page {
            self.turn_page(ask, mark, &query, out);
            return;
        }
        if query.local || self.is_covered(&query) {
            self.answer_from_here(ask, &query, Vec::new(), out);
            return;
        }
        let now = self.now;
        let waiting = Waiting { ask, query: query.clone() };
        let Some((id, question, is_idle)) = self.questions.try_open(now, waiting) else {
            let why = "too many questions are open; only this node was asked".to_owned();
            self.answer_from_here(ask, &query, vec![why], out);
            return;
        };
        if !is_idle {
            // The same is being asked already; that answer is for both.
            return;
        }
        if question.begin(now) {
            self.go_on(id, out);
            return;
        }
        let keys = match &query.category {
            Some(category) => category_keys(self.federation.id(), category),
            None => Vec::new(),
        };
        if keys.is_empty() {
            self.handle_holders(id, &[], out);
        } else {
            out.push(Effect::FindHolders { ask: id, keys });
        }
    }

    /// A further page asks nobody: it comes from what was known when the first one was asked for.
    fn turn_page(&mut self, ask: Hash, mark: PageMark, asked: &Query, out: &mut Vec<Effect>) {
        match self.pages.turn(mark, asked) {
            Err(why) => out.push(Effect::NoPage { ask, why }),
            Ok((query, page)) => {
                let limit = if asked.limit == 0 { query.limit } else { asked.limit };
                let (facets, with_data) = (asked.facets, asked.with_data || query.with_data);
                let query = Query { limit, facets, with_data, ..query };
                let found = self.found_here(mark.query, &query, Some(page), Asking::nobody());
                out.push(Effect::Answer { ask, found: Box::new(found) });
            }
        }
    }

    fn answer_from_here(
        &mut self,
        ask: Hash,
        query: &Query,
        notes: Vec<String>,
        out: &mut Vec<Effect>,
    ) {
        let found = self.found_here(ask, query, None, Asking { notes, ..Asking::nobody() });
        out.push(Effect::Answer { ask, found: Box::new(found) });
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

    /// The DHT named holders for a question, or was given up.
    pub(crate) fn handle_holders(&mut self, id: Hash, peers: &[PublicKey], out: &mut Vec<Effect>) {
        let now = self.now;
        let Some(question) = self.questions.get(&id).filter(|it| it.is_locating()) else { return };
        let located = self.locate(id, &question.query, peers);
        if let Some(question) = self.questions.get_mut(&id) {
            question.handle_located(now, located);
        }
        self.go_on(id, out);
    }

    /// Asks who is to be asked now, and answers if it is time.
    fn go_on(&mut self, id: Hash, out: &mut Vec<Effect>) {
        let now = self.now;
        while let Some(node) = self.questions.next_to_ask(&id, now) {
            if self.authority(&node).is_some() {
                self.send_question(node, id, out);
            } else {
                self.dial(node, out);
            }
        }
        if !self.questions.get(&id).is_some_and(|question| question.is_done(now)) {
            return;
        }
        let Some((waiting, asking)) = self.questions.end(&id, now) else { return };
        for Waiting { ask, query } in waiting {
            let found = self.found_here(ask, &query, None, asking.clone());
            out.push(Effect::Answer { ask, found: Box::new(found) });
        }
    }

    fn send_question(&mut self, node: PublicKey, id: Hash, out: &mut Vec<Effect>) {
        let Some(question) = self.questions.get_mut(&id) else { return };
        if question.try_send(&node) {
            let query = Box::new(question.query.clone());
            self.call(node, Call::Query { peer: node, question: id }, Request::Query(query), out);
        }
    }

    /// Sends a peer that is admitted every question that waits for it.
    pub(crate) fn ask_admitted(&mut self, peer: PublicKey, out: &mut Vec<Effect>) {
        self.questions.handle_alive(&peer);
        let mut wanted = Vec::new();
        for (id, question) in self.questions.iter_mut() {
            question.handle_back(&peer);
            if question.wanted().any(|node| node == peer) {
                wanted.push(*id);
            }
        }
        wanted.into_iter().for_each(|id| self.send_question(peer, id, out));
    }

    /// What came back from a node that was asked.
    pub(crate) fn handle_query_response(
        &mut self,
        peer: PublicKey,
        id: Hash,
        result: Result<Response, String>,
        out: &mut Vec<Effect>,
    ) {
        let outcome = match result {
            Ok(Response::Found { listings }) => {
                self.handle_page(peer, id, &listings, out);
                return;
            }
            // It has not heard our hello yet: it is asked again at the next tick.
            Ok(Response::Refused(refusal)) if refusal.reason == Reason::NotAdmitted => {
                if let Some(question) = self.questions.get_mut(&id) {
                    question.ask_again(&peer);
                }
                return;
            }
            Ok(Response::Refused(_)) => AskOutcome::Refused,
            _ => AskOutcome::Unreachable,
        };
        self.handle_no_answer(peer, id, outcome, out);
    }

    fn handle_page(&mut self, peer: PublicKey, id: Hash, page: &[ByteBuf], out: &mut Vec<Effect>) {
        let now = self.now;
        self.questions.handle_alive(&peer);
        // Nothing is awaited of it any more if the question was forgotten meanwhile, to make room.
        let Some(question) = self.questions.get(&id) else { return };
        let Some(mut got) = question.got(&peer) else { return };
        let query = question.query.clone();
        let goes_on = self.take_page(&query, page, &mut got, out);
        let looked_at = u32::try_from(got.looked_at).unwrap_or(u32::MAX);
        let Some(question) = self.questions.get_mut(&id) else { return };
        if goes_on {
            question.handle_page(&peer, got);
            let page = Some(PageMark { query: id, offset: looked_at });
            let query = Box::new(Query { page, limit: QUERY_MAX_RESULTS, ..query });
            self.call(peer, Call::Query { peer, question: id }, Request::Query(query), out);
            return;
        }
        if got.refused.total() > 0 {
            out.push(Effect::Note(format!("{peer:?} named {} that are refused", got.refused)));
        }
        question.handle_answer(&peer, got, now);
        self.go_on(id, out);
    }

    fn handle_no_answer(
        &mut self,
        peer: PublicKey,
        id: Hash,
        outcome: AskOutcome,
        out: &mut Vec<Effect>,
    ) {
        let now = self.now;
        if let Some(question) = self.questions.get_mut(&id) {
            question.handle_failure(&peer, outcome, now);
        }
        self.go_on(id, out);
    }

    /// A peer is gone, and what it was asked with it.
    pub(crate) fn handle_asked_gone(&mut self, peer: PublicKey, out: &mut Vec<Effect>) {
        let ids: Vec<Hash> = self.questions.iter().map(|(id, _)| *id).collect();
        for id in ids {
            self.handle_no_answer(peer, id, AskOutcome::Unreachable, out);
        }
    }

    /// Time passed: slow nodes get others beside them, and what took too long ends.
    pub(crate) fn tick_questions(&mut self, out: &mut Vec<Effect>) {
        let now = self.now;
        let ids: Vec<Hash> = self.questions.iter().map(|(id, _)| *id).collect();
        for id in ids {
            let Some(question) = self.questions.get_mut(&id) else { continue };
            if question.is_unlocated(now) {
                question.note("the DHT did not answer in time");
                self.handle_holders(id, &[], out);
                continue;
            }
            let wanted: Vec<PublicKey> = question.wanted().collect();
            for node in wanted {
                if self.authority(&node).is_some() {
                    self.send_question(node, id, out);
                }
            }
            self.go_on(id, out);
        }
        self.questions.forget_old(now);
    }

    /// A record was heard of: what nodes said before may lack the listing in it.
    pub(crate) fn handle_news(&mut self, record: &Record) {
        if self.questions.is_empty() {
            return;
        }
        let now = self.now;
        let kind = record.header().record_type.as_str();
        if kind != Listing::TYPE && kind != Yank::TYPE {
            return;
        }
        let entry = match record.body_as::<Listing>() {
            Some(Ok(listing)) => self.entry_of(record, listing),
            _ => None,
        };
        for (_, question) in self.questions.iter_mut() {
            // Of what came without its body, nobody here knows which question it answers.
            if entry.as_ref().is_none_or(|entry| here::is_answer(&question.query, entry)) {
                question.handle_news(now);
            }
        }
    }
}
