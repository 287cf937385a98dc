//! Which terms answer a word, over everything there is: all segments and all batches in memory.
//!
//! A word is answered by its stem, and by the [`STARTED_TERMS_MAX`] most frequent of the terms that begin with it. Which
//! those are is decided over all listings at once, so that it makes no difference where a listing lies.

use std::collections::BTreeMap;
use std::io;

use guildhall_catalog::text::STARTED_TERMS_MAX;
use guildhall_catalog::words::{Field, FieldSet, PREFIX_WORTH, WantedWord};
use tantivy::postings::TermInfo;

use crate::batch::Batch;
use crate::disk::{Disk, Part};
use crate::format;

/// Terms with a given start that are looked at in all segments together, to find the most frequent ones. Looking at one
/// takes about 0.1 us, so this bounds what a word of three letters costs to half a millisecond. Where more begin with
/// it, those that come first in the alphabet are the ones that count.
const LOOKED_AT_MAX: u64 = 4096;

/// Terms that are looked at in every segment and batch, however small.
const LOOKED_AT_MIN: u64 = 64;

/// The posting lists of one term.
#[derive(Debug, Default)]
pub(crate) struct Lists<'a> {
    /// Listings that have it.
    pub(crate) count: u64,
    /// In segments: the place of the segment, the best field, the list.
    pub(crate) disk: Vec<(usize, Field, TermInfo)>,
    /// In batches: the place of the batch, the list.
    pub(crate) memory: Vec<(usize, &'a [(u32, FieldSet)])>,
}

/// A term that answers a word.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// What a hit is worth beside the field.
    pub(crate) worth: f32,
    /// Where it is.
    pub(crate) lists: Lists<'a>,
}

/// The terms that answer `word`: itself first.
pub(crate) fn expand<'a>(
    word: &WantedWord,
    disk: &Disk,
    batches: &[&'a Batch],
) -> io::Result<Vec<Answer<'a>>> {
    let mut terms: BTreeMap<Box<str>, Lists<'a>> = BTreeMap::new();
    let documents: u64 = disk.parts().iter().map(|part| u64::from(part.documents())).sum();
    for (place, part) in disk.parts().iter().enumerate() {
        let most = LOOKED_AT_MAX * u64::from(part.documents()) / documents.max(1) + LOOKED_AT_MIN;
        in_part(word, part, most, |term, field, info| {
            let lists = entry(&mut terms, term);
            lists.count += u64::from(info.doc_freq);
            lists.disk.push((place, field, info.clone()));
        })?;
    }
    for (place, batch) in batches.iter().enumerate() {
        for (term, postings) in in_batch(word, batch) {
            let lists = entry(&mut terms, term);
            lists.count += postings.len() as u64;
            lists.memory.push((place, postings));
        }
    }
    Ok(most_frequent(word, terms))
}

/// The stem and the most frequent of the others.
fn most_frequent<'a>(
    word: &WantedWord,
    mut terms: BTreeMap<Box<str>, Lists<'a>>,
) -> Vec<Answer<'a>> {
    let whole = terms.remove(word.stem.as_str()).map(|lists| Answer { worth: 1.0, lists });
    let mut started: Vec<Lists<'a>> = terms.into_values().collect();
    started.sort_by_key(|lists| std::cmp::Reverse(lists.count));
    started.truncate(STARTED_TERMS_MAX);
    let started = started.into_iter().map(|lists| Answer { worth: PREFIX_WORTH, lists });
    whole.into_iter().chain(started).collect()
}

/// Calls `each` with every term of a segment that answers, and each of its fields; looks at `most`.
fn in_part(
    word: &WantedWord,
    part: &Part,
    most: u64,
    mut each: impl FnMut(&str, Field, &TermInfo),
) -> io::Result<()> {
    let (from, below) = match word.start() {
        Some(start) => format::started_range(start),
        None => format::whole_range(&word.stem),
    };
    let mut terms = part.terms().terms().range().ge(from).lt(below).into_stream()?;
    let mut looked_at = 0;
    while looked_at < most && terms.advance() {
        looked_at += 1;
        if let Some((term, field)) = format::read_term(terms.key()) {
            each(term, field, terms.value());
        }
    }
    Ok(())
}

/// The terms of a batch that answer, and who has them.
fn in_batch<'a>(
    word: &WantedWord,
    batch: &'a Batch,
) -> impl Iterator<Item = (&'a str, &'a [(u32, FieldSet)])> {
    let from = batch.postings_from(&word.stem);
    from.take_while(|(term, _)| match word.start() {
        Some(start) => term.starts_with(start),
        None => *term == word.stem,
    })
}

fn entry<'a, 'b>(terms: &'b mut BTreeMap<Box<str>, Lists<'a>>, term: &str) -> &'b mut Lists<'a> {
    if !terms.contains_key(term) {
        terms.insert(term.into(), Lists::default());
    }
    terms.entry(term.into()).or_default()
}
