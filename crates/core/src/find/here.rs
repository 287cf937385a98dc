//! Where finding touches the catalogue: what is known here, and whether a listing is an answer. Nothing else in
//! [`find`](super) searches it.

use guildhall_catalog::{Asked, Entry, Page, Place};
use guildhall_protocol::api::AskOutcome;
use guildhall_protocol::limits::QUERY_MAX_RESULTS;
use guildhall_protocol::query::Query;
use guildhall_protocol::{Hash, RecordId};

use super::question::Asking;
use crate::event::{Found, NodeView};
use crate::node::Core;

/// Listings that one node tells for one question, on all pages: as many as the catalogue ranks.
pub(super) const TOLD_MAX: usize = QUERY_MAX_RESULTS;

impl Core {
    /// The answer, from what the catalogue knows now and what is known of those who were asked.
    /// `ask` names the answer, and `page` says what of it was shown before.
    pub(super) fn found_here(
        &mut self,
        ask: Hash,
        query: &Query,
        page: Option<Page>,
        asking: Asking,
    ) -> Found {
        let Asking { via, holders, nodes, notes } = asking;
        let said = |outcome| matches!(outcome, AskOutcome::Answered | AskOutcome::Remembered);
        let answers = || nodes.iter().filter(move |node| said(node.outcome));
        let remembered = answers().filter(|node| node.outcome == AskOutcome::Remembered);
        let age_s = match answers().count() {
            0 => self.heard_s(),
            _ => Some(remembered.map(|node| node.ms / 1_000).max().unwrap_or(0)),
        };
        let answered = answers().count() as u64;
        let places = if query.runnable { self.places() } else { Vec::new() };
        let page = page.as_ref();
        let answer = self.catalog.search(query, Asked { places: &places, page });
        let next = answer.next.map(|page| self.pages.remember(ask, query, page));
        Found {
            results: answer.results,
            total: answer.total,
            next,
            facets: answer.facets,
            did_you_mean: answer.did_you_mean,
            nearest: answer.nearest,
            excluded: answer.excluded,
            via,
            asked: nodes.len() as u64,
            answered,
            holders,
            age_s,
            nodes,
            notes,
        }
    }

    /// Hardware that something can be run on: this node's, and what others lend to its org.
    fn places(&self) -> Vec<Place> {
        let settings = &self.settings;
        let here = Place {
            engines: settings.engines.clone(),
            // What is run here under its own contract is only bounded by the machine, and so is what says nothing of it.
            memory_bytes: u64::MAX,
            cores: u32::MAX,
            gpu_memory_bytes: settings.offer.as_ref().map_or(0, |o| o.hardware.gpu_memory_bytes),
        };
        let lends = |view: &NodeView| {
            let offer = view.body.offer.as_ref()?;
            let is_for_us = offer.orgs.is_empty() || offer.orgs.contains(&self.me.org);
            (is_for_us && offer.slots > 0).then(|| Place {
                engines: view.body.engines.clone(),
                memory_bytes: offer.limits.memory_bytes,
                cores: offer.hardware.cores,
                gpu_memory_bytes: offer.hardware.gpu_memory_bytes,
            })
        };
        let mut places: Vec<Place> = self.nodes.values().filter_map(lends).collect();
        places.push(here);
        places.sort();
        places.dedup();
        places
    }

    /// What another node is told: the listings that are kept here and answer its question, best first, without the
    /// first `offset`. What was only looked up is on no disk here, and for others to tell.
    pub(super) fn listings_here(&self, query: &Query, offset: usize) -> Vec<RecordId> {
        let found = self.catalog.find(&query.to_ask(), Asked::default()).into_iter();
        found.filter(|id| !self.looked_up.contains(id)).skip(offset).collect()
    }

    /// Whether another listing here, further on in the author's log, took this one's place.
    pub(super) fn is_superseded(&self, entry: &Entry) -> bool {
        let newer = |known: &Entry| {
            let author = |entry: &Entry| (entry.root, entry.author, entry.package());
            author(known) == author(entry) && known.seq > entry.seq
        };
        self.catalog.show(&entry.reference()).is_ok_and(|shown| newer(&shown.entry))
    }
}

/// Whether a listing answers the question, as far as it travels. Words are not looked at: they only rank.
pub(super) fn is_answer(query: &Query, entry: &Entry) -> bool {
    guildhall_catalog::matches(query, entry)
}
