//! Listings that are not on disk yet, in the order they were put.

use std::collections::BTreeMap;

use guildhall_catalog::text::{MemoryIndex, TextIndex};
use guildhall_catalog::words::{FieldSet, Terms};

/// What a term takes besides its letters, about: its place in the tree, and the start of its list. Strangers may send
/// listings whose terms nobody else has.
const TERM_BYTES: usize = 128;

/// What a term of one more listing takes: a number and a set of fields, in a list that grows by doubling.
const POSTING_BYTES: usize = 16;

/// Some listings, with neighbouring numbers. It can be searched, and turned round to be written.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    index: MemoryIndex,
    first: Option<u32>,
    below: u32,
    /// All postings, each with the letters of its term, which are there once only.
    postings_bytes: usize,
}

impl Batch {
    /// Adds a listing.
    pub(crate) fn put(&mut self, number: u32, terms: &Terms) {
        self.index.put(number, terms);
        self.first.get_or_insert(number);
        self.below = number.saturating_add(1);
        self.postings_bytes +=
            terms.iter().map(|(term, _)| term.len() + POSTING_BYTES).sum::<usize>();
    }

    /// What it takes in memory, about, and not much more.
    pub(crate) fn len_bytes(&self) -> usize {
        self.postings_bytes + self.index.terms_len() * TERM_BYTES
    }

    /// How many listings are in it.
    pub(crate) const fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The smallest number in it.
    pub(crate) const fn first(&self) -> Option<u32> {
        self.first
    }

    /// All numbers in it are below.
    pub(crate) const fn below(&self) -> u32 {
        self.below
    }

    /// Terms from `start` on, in their order, and the listings that have each.
    pub(crate) fn postings_from(
        &self,
        start: &str,
    ) -> impl Iterator<Item = (&str, &[(u32, FieldSet)])> {
        self.index.postings_from(start)
    }

    /// Its listings in order of their numbers, those without terms left out.
    pub(crate) fn listings(&self) -> BTreeMap<u32, Vec<(&str, FieldSet)>> {
        let mut listings: BTreeMap<u32, Vec<(&str, FieldSet)>> = BTreeMap::new();
        for (term, postings) in self.index.postings_from("") {
            for (number, fields) in postings {
                listings.entry(*number).or_default().push((term, *fields));
            }
        }
        listings
    }
}
