//! What listings are worth, from the posting lists of the wanted words.
//!
//! Within a word the best hit counts, over words the sum, so lists are walked word by word. Two ways, whichever looks
//! cheaper: either all lists are walked, in windows of [`WINDOW`] documents whose values lie in an array; or, when few
//! listings are let through, each of these is looked up in each list.

use std::io;

use roaring::RoaringBitmap;
use tantivy::TERMINATED;
use tantivy::fastfield::AliveBitSet;
use tantivy::postings::{BlockSegmentPostings, TermInfo};

use guildhall_catalog::words::FieldSet;

use crate::disk::Part;

/// Documents whose values are held at once: two arrays of 16 KiB, which fit the fastest cache.
const WINDOW: usize = 4096;

/// Bits of a window.
type Bits = [u64; WINDOW / 64];

/// What the steps cost, in nanoseconds, measured on one machine; only their ratio matters.
mod cost {
    /// One entry of a list, walked.
    pub(super) const WALK: u64 = 2;
    /// One listing looked up in one list.
    pub(super) const LOOK_UP: u64 = 30;
    /// One number of a set of numbers, turned into a document.
    pub(super) const MAP: u64 = 4;
    /// One number looked up in a set of numbers.
    pub(super) const CONTAINS: u64 = 15;
}

/// A list in a segment that answers a word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskHit<'a> {
    /// Which word, by its place.
    pub(crate) word: usize,
    /// What a hit is worth.
    pub(crate) worth: f32,
    /// The list.
    pub(crate) term: &'a TermInfo,
}

/// A list in a batch that answers a word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryHit<'a> {
    /// Which word, by its place.
    pub(crate) word: usize,
    /// What a hit is worth beside the field.
    pub(crate) worth: f32,
    /// The list.
    pub(crate) postings: &'a [(u32, FieldSet)],
}

/// Calls `each` with the number and the value of every listing of a batch that has a word.
pub(crate) fn batch(
    hits: &[MemoryHit<'_>],
    shares: &[f32],
    within: Option<&RoaringBitmap>,
    window: &mut Window,
    each: &mut dyn FnMut(u32, f32),
) {
    let lists = hits.iter().map(|hit| MemoryList { postings: hit.postings, worth: hit.worth });
    let mut words = by_word(hits.iter().map(|hit| hit.word).zip(lists), shares);
    window.walk(&mut words, |window| {
        window.emit(None, |number, value| {
            if within.is_none_or(|within| within.contains(number)) {
                each(number, value);
            }
        });
    });
}

/// Calls `each` with the number and the value of every listing of a segment that has a word.
pub(crate) fn part(
    part: &Part,
    hits: &[DiskHit<'_>],
    shares: &[f32],
    within: Option<&RoaringBitmap>,
    window: &mut Window,
    each: &mut dyn FnMut(u32, f32),
) -> io::Result<()> {
    let Some((first, last)) = part.numbers().bounds().filter(|_| !hits.is_empty()) else {
        return Ok(());
    };
    let mut lists = Vec::with_capacity(hits.len());
    for hit in hits {
        let list = DiskList { block: part.postings(hit.term)?, at: 0, worth: hit.worth };
        lists.push((hit.word, list));
    }
    let entries: u64 = hits.iter().map(|hit| u64::from(hit.term.doc_freq)).sum();
    let mut words = by_word(lists.into_iter(), shares);
    let alive = part.alive();
    let mut each = |doc: u32, value| {
        if is_alive(alive, doc)
            && let Some(number) = part.numbers().of(doc)
        {
            each(number, value);
        }
    };
    let Some(within) = within else {
        window.walk(&mut words, |window| window.emit(None, &mut each));
        return Ok(());
    };
    let allowed = within.range_cardinality(first..=last);
    let found = entries.min(u64::from(part.documents()));
    let lookups: u64 = hits.iter().map(|hit| allowed.min(u64::from(hit.term.doc_freq))).sum();
    let by_lookup = allowed * cost::MAP + lookups * cost::LOOK_UP;
    let by_map = entries * cost::WALK + allowed * cost::MAP;
    let by_contains = entries * cost::WALK + found * cost::CONTAINS;
    if allowed == 0 {
        return Ok(());
    }
    if by_lookup <= by_map.min(by_contains) {
        look_up(part, &mut words, within.range(first..=last), each);
    } else if by_map <= by_contains {
        let mut bits = [0; WINDOW / 64];
        window.walk(&mut words, |window| {
            window.map(part, within, &mut bits);
            window.emit(Some(&bits), &mut each);
        });
    } else {
        window.walk(&mut words, |window| {
            window.emit(None, |doc, value| {
                if part.numbers().of(doc).is_some_and(|number| within.contains(number)) {
                    each(doc, value);
                }
            });
        });
    }
    Ok(())
}

fn is_alive(alive: Option<&AliveBitSet>, doc: u32) -> bool {
    alive.is_none_or(|alive| alive.is_alive(doc))
}

/// Looks each of `numbers` up in each list.
fn look_up(
    part: &Part,
    words: &mut [Word<DiskList>],
    numbers: impl Iterator<Item = u32>,
    mut each: impl FnMut(u32, f32),
) {
    let mut docs = Vec::new();
    part.numbers().documents(0, numbers, |doc| docs.push(doc));
    let mut values: Vec<Option<f32>> = vec![None; docs.len()];
    let mut best = vec![0.0_f32; docs.len()];
    for word in words {
        for list in &mut word.lists {
            let worth = list.worth;
            list.meet(&docs, |at| best[at] = best[at].max(worth));
        }
        for (best, value) in best.iter_mut().zip(&mut values) {
            if *best > 0.0 {
                *value = Some(value.unwrap_or_default() + word.share * *best);
                *best = 0.0;
            }
        }
    }
    for (doc, value) in docs.into_iter().zip(values) {
        if let Some(value) = value {
            each(doc, value);
        }
    }
}

/// The lists of one word.
#[derive(Debug)]
struct Word<L> {
    share: f32,
    lists: Vec<L>,
}

/// Groups lists, which are in order of their words.
fn by_word<L>(lists: impl Iterator<Item = (usize, L)>, shares: &[f32]) -> Vec<Word<L>> {
    let mut words: Vec<(usize, Word<L>)> = Vec::new();
    for (word, list) in lists {
        match words.last_mut() {
            Some((last, group)) if *last == word => group.lists.push(list),
            _ => {
                let share = shares.get(word).copied().unwrap_or_default();
                words.push((word, Word { share, lists: vec![list] }));
            }
        }
    }
    words.into_iter().map(|(_, group)| group).collect()
}

/// A list of growing ids: documents of a segment, or numbers of a batch.
trait List {
    /// The id it stands at; `None` at its end.
    fn head(&self) -> Option<u32>;

    /// Calls `hit` with the ids below `end` and what the hit is worth, and stands behind them.
    fn drain_below(&mut self, end: u64, hit: impl FnMut(u32, f32));
}

#[derive(Debug)]
struct MemoryList<'a> {
    postings: &'a [(u32, FieldSet)],
    worth: f32,
}

impl List for MemoryList<'_> {
    fn head(&self) -> Option<u32> {
        self.postings.first().map(|(number, _)| *number)
    }

    fn drain_below(&mut self, end: u64, mut hit: impl FnMut(u32, f32)) {
        while let Some(((number, fields), rest)) = self.postings.split_first()
            && u64::from(*number) < end
        {
            hit(*number, self.worth * fields.worth());
            self.postings = rest;
        }
    }
}

struct DiskList {
    block: BlockSegmentPostings,
    /// Place in the block.
    at: usize,
    worth: f32,
}

impl List for DiskList {
    fn head(&self) -> Option<u32> {
        self.block.docs().get(self.at).copied()
    }

    fn drain_below(&mut self, end: u64, mut hit: impl FnMut(u32, f32)) {
        loop {
            let docs = self.block.docs().get(self.at..).unwrap_or_default();
            let Some(last) = docs.last() else { return };
            if u64::from(*last) >= end {
                for doc in docs.iter().take_while(|doc| u64::from(**doc) < end) {
                    hit(*doc, self.worth);
                    self.at += 1;
                }
                return;
            }
            for doc in docs {
                hit(*doc, self.worth);
            }
            self.block.advance();
            self.at = 0;
        }
    }
}

impl DiskList {
    /// Calls `hit` with the place of each of `docs` that is in the list. Both grow; whichever is behind leaps ahead.
    fn meet(&mut self, docs: &[u32], mut hit: impl FnMut(usize)) {
        let mut at = 0;
        while let Some(doc) = docs.get(at) {
            let place = self.block.seek(*doc);
            let found = self.block.doc(place);
            if found == TERMINATED {
                return;
            }
            if found == *doc {
                hit(at);
                at += 1;
            } else {
                at += crate::numbers::gallop(&docs[at..], found);
            }
        }
    }
}

/// Values of [`WINDOW`] neighbouring ids.
#[derive(Debug)]
pub(crate) struct Window {
    start: u32,
    /// The best hit of the word that is being looked at; 0 outside of that.
    best: Box<[f32; WINDOW]>,
    /// The sum over the words so far; 0 where there is none.
    sum: Box<[f32; WINDOW]>,
    /// Who has the word.
    word: Bits,
    /// Who has any word.
    any: Bits,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self {
            start: 0,
            best: Box::new([0.0; WINDOW]),
            sum: Box::new([0.0; WINDOW]),
            word: [0; WINDOW / 64],
            any: [0; WINDOW / 64],
        }
    }

    /// Moves over all ids of the lists, and calls `full` wherever values are complete. It must empty the window.
    fn walk<L: List>(&mut self, words: &mut [Word<L>], mut full: impl FnMut(&mut Self)) {
        loop {
            let heads = words.iter().flat_map(|word| &word.lists).filter_map(List::head);
            let Some(start) = heads.min() else { return };
            self.start = start;
            for word in &mut *words {
                self.add(word);
            }
            full(self);
            // Lists that have ended are not asked again.
            for word in &mut *words {
                word.lists.retain(|list| list.head().is_some());
            }
        }
    }

    /// Adds the hits of one word.
    fn add<L: List>(&mut self, word: &mut Word<L>) {
        let Self { start, best, sum, word: has, any } = self;
        let end = u64::from(*start) + WINDOW as u64;
        for list in &mut word.lists {
            list.drain_below(end, |id, worth| {
                let at = (id - *start) as usize % WINDOW;
                best[at] = best[at].max(worth);
                has[at / 64] |= 1 << (at % 64);
            });
        }
        for (row, (has, any)) in has.iter_mut().zip(any).enumerate() {
            *any |= *has;
            for at in places(row, std::mem::take(has)) {
                sum[at] += word.share * best[at];
                best[at] = 0.0;
            }
        }
    }

    /// Calls `each` with what is in the window and in `allowed`, and empties it.
    fn emit(&mut self, allowed: Option<&Bits>, mut each: impl FnMut(u32, f32)) {
        let Self { start, sum, any, .. } = self;
        for (row, any) in any.iter_mut().enumerate() {
            let allowed = allowed.map_or(u64::MAX, |allowed| allowed[row]);
            for at in places(row, std::mem::take(any)) {
                let value = std::mem::take(&mut sum[at]);
                if allowed & (1 << (at % 64)) != 0 {
                    #[expect(clippy::cast_possible_truncation, reason = "a place in the window")]
                    each(*start + at as u32, value);
                }
            }
        }
    }

    /// Sets the bits of the documents in the window whose numbers are in `within`.
    fn map(&self, part: &Part, within: &RoaringBitmap, bits: &mut Bits) {
        bits.fill(0);
        #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
        let end = self.start.saturating_add(WINDOW as u32 - 1).min(part.documents() - 1);
        let numbers = part.numbers();
        if let (Some(first), Some(last)) = (numbers.of(self.start), numbers.of(end)) {
            numbers.documents(self.start, within.range(first..=last), |doc| {
                let at = (doc - self.start) as usize % WINDOW;
                bits[at / 64] |= 1 << (at % 64);
            });
        }
    }
}

/// Places in a window of the set bits of one row.
fn places(row: usize, mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = bits.trailing_zeros() as usize;
        if bits == 0 {
            return None;
        }
        bits &= bits - 1;
        Some(row * 64 + bit)
    })
}
