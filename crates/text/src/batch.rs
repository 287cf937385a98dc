//! Listings that are not on disk yet, in the order they were put.

use std::collections::BTreeMap;

use guildhall_catalog::text::{MemoryIndex, TextIndex};
use guildhall_catalog::words::{FieldSet, Terms};

/// Some listings, with neighbouring numbers. It can be searched, and turned round to be written.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    index: MemoryIndex,
    first: Option<u32>,
    below: u32,
}

impl Batch {
    /// Adds a listing.
    pub(crate) fn put(&mut self, number: u32, terms: &Terms) {
        self.index.put(number, terms);
        self.first.get_or_insert(number);
        self.below = number.saturating_add(1);
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
