//! Where finding touches the catalogue: what is known here, and whether a listing is an answer. Nothing else in
//! [`find`](super) searches it.

use guildhall_catalog::Entry;
use guildhall_protocol::RecordId;
use guildhall_protocol::api::AskOutcome;
use guildhall_protocol::limits::QUERY_MAX_RESULTS;
use guildhall_protocol::query::Query;

use super::question::Asking;
use crate::event::Found;
use crate::node::Core;

/// Listings that one node tells for one question, on all pages: as many as the catalogue ranks.
pub(super) const TOLD_MAX: usize = QUERY_MAX_RESULTS;

impl Core {
    /// The answer, from what the catalogue knows now and what is known of those who were asked.
    pub(super) fn found_here(&self, query: &Query, asking: Asking) -> Found {
        let Asking { via, holders, nodes, notes } = asking;
        let said = |outcome| matches!(outcome, AskOutcome::Answered | AskOutcome::Remembered);
        let answers = || nodes.iter().filter(move |node| said(node.outcome));
        let remembered = answers().filter(|node| node.outcome == AskOutcome::Remembered);
        let age_s = match answers().count() {
            0 => self.heard_s(),
            _ => Some(remembered.map(|node| node.ms / 1_000).max().unwrap_or(0)),
        };
        Found {
            results: self.catalog.search(query),
            via,
            asked: nodes.len() as u64,
            answered: answers().count() as u64,
            holders,
            age_s,
            nodes,
            notes,
        }
    }

    /// What another node is told: the listings that are kept here and answer its question, best first, without the
    /// first `offset`. What was only looked up is on no disk here, and for others to tell.
    pub(super) fn listings_here(&self, query: &Query, offset: usize) -> Vec<RecordId> {
        let results = self.catalog.search(&query.to_ask()).into_iter();
        let kept = results.map(|it| it.listing_id).filter(|id| !self.looked_up.contains(id));
        kept.skip(offset).collect()
    }

    /// Whether another listing here, further on in the author's log, took this one's place.
    pub(super) fn is_superseded(&self, entry: &Entry) -> bool {
        let newer = |known: &Entry| {
            let author = |entry: &Entry| (entry.root, entry.author, entry.package());
            author(known) == author(entry) && known.seq > entry.seq
        };
        self.catalog.show(&entry.reference()).is_ok_and(|shown| newer(shown.entry))
    }
}

/// Whether a listing answers the question, as far as it travels. Words are not looked at: they only rank.
pub(super) fn is_answer(query: &Query, entry: &Entry) -> bool {
    guildhall_catalog::matches(query, entry)
        && query.org.as_ref().is_none_or(|org| *org == entry.org)
        && query
            .licence
            .as_ref()
            .is_none_or(|licence| licence.eq_ignore_ascii_case(&entry.listing.licence))
}
