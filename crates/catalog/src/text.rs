//! The port to a full-text index, and the small index in memory that holds what is new.
//!
//! What a word is and what a hit is worth is decided in [`words`](crate::words); an index only finds. It is given the
//! [`Terms`] of each listing under the listing's number, and answers with the numbers that have any of the wanted words
//! and the value of each: the sum over the wanted words of `share` times the worth of the word's best hit.
//!
//! Numbers are never used twice and grow with every listing, so an index may be behind: it says up to which number it
//! is complete on disk ([`TextIndex::kept_below`]), and the catalogue puts the others again at the next start.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Bound;

use roaring::RoaringBitmap;

use crate::words::{FieldSet, PREFIX_WORTH, Terms, Wanted, WantedWord};

/// Terms that one word may be the start of. The most frequent ones count; a word that starts more is too short to say
/// what is meant.
pub const STARTED_TERMS_MAX: usize = 64;

/// Finds listings by their words.
pub trait TextIndex: Debug + Send + Sync {
    /// Adds a listing. Its number is greater than every number before. It can be found at once.
    fn put(&mut self, number: u32, terms: &Terms);

    /// A listing will not be asked for any more. It may still be found: the catalogue knows which numbers count.
    fn forget(&mut self, number: u32);

    /// How many listings have each of `words`, whole or as the start of a longer term. An estimate will do: it may count
    /// forgotten ones, and a listing twice that has two such terms.
    fn frequencies(&self, words: &[WantedWord]) -> Vec<u64>;

    /// Calls `each` once for every listing that has any of the wanted words and lies in `within`, with its value.
    fn find(&self, wanted: &Wanted, within: Option<&RoaringBitmap>, each: &mut dyn FnMut(u32, f32));

    /// Terms that some listing has, from `start` on, in their order, and how many listings have each. For corrections of
    /// misspelt words; calls `each` until it says no.
    fn terms_from(&self, start: &str, each: &mut dyn FnMut(&str, u64) -> bool);

    /// All numbers below this are on disk; the others are put again after a restart.
    fn kept_below(&self) -> u32;

    /// Puts on disk what is new, and waits for it. Called before the catalogue writes a snapshot.
    ///
    /// # Errors
    /// What the disk said; the index goes on in memory.
    fn keep(&mut self) -> std::io::Result<()>;
}

/// An index in memory: what tests and small nodes use, and what holds the newest listings of a larger one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryIndex {
    terms: BTreeMap<Box<str>, Postings>,
    count: usize,
}

/// Listings that have a term, by number, and where.
type Postings = Vec<(u32, FieldSet)>;

impl MemoryIndex {
    /// How many listings were put.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing was put.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many different terms the listings have.
    #[must_use]
    pub fn terms_len(&self) -> usize {
        self.terms.len()
    }

    /// Terms from `start` on, in their order, and the listings that have each: their numbers, growing, and where.
    pub fn postings_from(&self, start: &str) -> impl Iterator<Item = (&str, &[(u32, FieldSet)])> {
        let from = self.terms.range::<str, _>((Bound::Included(start), Bound::Unbounded));
        from.map(|(term, postings)| (&**term, postings.as_slice()))
    }

    /// Posting lists of the terms that answer `word`, and what a hit in them is worth beside the field.
    fn lists<'a>(&'a self, word: &'a WantedWord) -> Vec<(&'a Postings, f32)> {
        let whole = self.terms.get(word.stem.as_str()).map(|postings| (postings, 1.0));
        let mut started: Vec<_> = match word.start() {
            Some(start) => self
                .terms
                .range::<str, _>((Bound::Included(start), Bound::Unbounded))
                .take_while(|(term, _)| term.starts_with(start))
                .filter(|(term, _)| ***term != *word.stem)
                .map(|(_, postings)| (postings, PREFIX_WORTH))
                .collect(),
            None => Vec::new(),
        };
        started.sort_by_key(|(postings, _)| std::cmp::Reverse(postings.len()));
        started.truncate(STARTED_TERMS_MAX);
        whole.into_iter().chain(started).collect()
    }
}

impl TextIndex for MemoryIndex {
    fn put(&mut self, number: u32, terms: &Terms) {
        for (term, fields) in terms.iter() {
            if let Some(postings) = self.terms.get_mut(term) {
                postings.push((number, fields));
            } else {
                self.terms.insert(term.into(), vec![(number, fields)]);
            }
        }
        self.count += 1;
    }

    fn forget(&mut self, _number: u32) {}

    fn frequencies(&self, words: &[WantedWord]) -> Vec<u64> {
        let count = |word| self.lists(word).iter().map(|(postings, _)| postings.len() as u64).sum();
        words.iter().map(count).collect()
    }

    fn find(
        &self,
        wanted: &Wanted,
        within: Option<&RoaringBitmap>,
        each: &mut dyn FnMut(u32, f32),
    ) {
        let mut values: Vec<(u32, f32)> = Vec::new();
        let mut hits: Vec<(u32, f32)> = Vec::new();
        for word in wanted.words() {
            hits.clear();
            for (postings, worth) in self.lists(word) {
                let found = postings.iter().filter(|(n, _)| within.is_none_or(|w| w.contains(*n)));
                hits.extend(found.map(|(number, fields)| (*number, worth * fields.worth())));
            }
            // Lists are in order already, so that this merges them.
            hits.sort_by_key(|(number, _)| *number);
            let same = hits.chunk_by(|a, b| a.0 == b.0);
            let best = same.filter_map(|hits| {
                let best = hits.iter().map(|(_, worth)| *worth).fold(0.0, f32::max);
                hits.first().map(|(number, _)| (*number, word.share * best))
            });
            values.extend(best);
        }
        values.sort_by_key(|(number, _)| *number);
        for hits in values.chunk_by(|a, b| a.0 == b.0) {
            if let Some((number, _)) = hits.first() {
                each(*number, hits.iter().map(|(_, value)| value).sum());
            }
        }
    }

    fn terms_from(&self, start: &str, each: &mut dyn FnMut(&str, u64) -> bool) {
        let from = self.terms.range::<str, _>((Bound::Included(start), Bound::Unbounded));
        for (term, postings) in from {
            if !each(term, postings.len() as u64) {
                return;
            }
        }
    }

    fn kept_below(&self) -> u32 {
        0
    }

    fn keep(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
