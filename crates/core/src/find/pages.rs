//! Answers whose next page may still be asked for.

use std::collections::{BTreeMap, VecDeque};

use guildhall_catalog::Page;
use guildhall_protocol::Hash;
use guildhall_protocol::query::{PageMark, Query};

use crate::event::PageFault;

/// Answers whose pages are remembered; the oldest one makes room. Somebody who turns a page does it within minutes.
const ANSWERS_MAX: usize = 256;

/// Results of one answer up to which pages can be turned: nobody reads further, and a program narrows its query.
const SHOWN_MAX: usize = 10_000;

/// The answers.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    answers: BTreeMap<Hash, (Query, Page)>,
    order: VecDeque<Hash>,
}

impl Pages {
    /// Remembers what was shown of the answer `ask`, and names its next page.
    pub(super) fn remember(&mut self, ask: Hash, query: &Query, page: Page) -> PageMark {
        let offset = u32::try_from(page.offset()).unwrap_or(u32::MAX);
        if self.answers.insert(ask, (query.clone(), page)).is_none() {
            self.order.push_back(ask);
        }
        while self.order.len() > ANSWERS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.answers.remove(&oldest);
            }
        }
        PageMark { query: ask, offset }
    }

    /// The query that a page belongs to, and what was shown before. `asked` is what came with the mark: nothing else, or
    /// the same again.
    pub(super) fn turn(&self, mark: PageMark, asked: &Query) -> Result<(Query, Page), PageFault> {
        let (query, page) = self.answers.get(&mark.query).ok_or(PageFault::Forgotten)?;
        if !asked.is_everything() && criteria(asked) != criteria(query) {
            return Err(PageFault::OtherQuery);
        }
        let offset = usize::try_from(mark.offset).ok().filter(|offset| *offset <= SHOWN_MAX);
        let page = offset.and_then(|offset| page.back_to(offset)).ok_or(PageFault::NotShown)?;
        Ok((query.clone(), page))
    }
}

/// What is asked, without how it is shown.
fn criteria(query: &Query) -> Query {
    Query {
        limit: 0,
        page: None,
        facets: false,
        local: false,
        share_text: false,
        with_data: false,
        ..query.clone()
    }
}
