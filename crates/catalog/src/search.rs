//! Answers to queries.
//!
//! The rows that meet all criteria are one set. With words, the text index says which of them have one, and each of
//! those is scored. Without, rows are looked at from the highest standing down, until nothing below can come before
//! what was found. Where nobody asks how many there are and enough answer, that set is not made: all rows are looked
//! at from the highest standing down, whether they meet the criteria. Of each name only the preferred version that
//! answers is shown.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use guildhall_protocol::api::{Correction, Excluded, Facet, Near, Standing};
use guildhall_protocol::query::{Query, Suggestion};
use guildhall_protocol::{PackageId, RecordId};
use roaring::RoaringBitmap;

use crate::catalog::{Catalog, preference};
use crate::criteria::{Criterion, Place, Test, meet};
use crate::judge::Ranker;
use crate::rank::as_f64;
use crate::sets::{LEVELS, level_of};
use crate::words::Wanted;

/// Rows for each one that answers from which on answers are few: their sets are lists then, and no bitmaps.
const SPARSE: u64 = 16;

/// Rows that a walk may look at in any case.
const WALK_MIN: u64 = 256;

/// What one step costs, in about nanoseconds; only their ratio matters.
mod cost {
    /// One row of all, looked at in order of standing.
    pub(super) const WALK: u64 = 20;
    /// One row of the smallest set, met with the others.
    pub(super) const MEET: u64 = 6;
    /// Rows looked at for each one that is shown: whatever the query adds to a standing mixes their order.
    pub(super) const LOOKED_AT_PER_SHOWN: u64 = 12;
    /// A walk that goes on for so many times what it should was a bad choice.
    pub(super) const PATIENCE: u64 = 2;
}

/// What a query is answered with beside the catalogue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Where things can be run, for queries that want only what can be.
    pub places: &'a [Place],
    /// What was shown on the pages before.
    pub page: Option<&'a Page>,
}

/// What was shown of an answer, so that its further pages repeat nothing and listings that arrive change nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Only rows below this were known.
    below: u32,
    /// Names that were shown, in order.
    shown: Vec<u32>,
    total: u64,
}

impl Page {
    /// Results on the pages before.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.shown.len()
    }

    /// As it was after the first `offset` results; `None` when fewer were shown.
    #[must_use]
    pub fn back_to(&self, offset: usize) -> Option<Self> {
        let shown = self.shown.get(..offset)?.to_vec();
        Some(Self { shown, ..*self })
    }
}

/// The answer to a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Ranked results.
    pub results: Vec<Suggestion>,
    /// Versions that answer, on all pages.
    pub total: u64,
    /// What the next page begins with; `None` on the last one.
    pub next: Option<Page>,
    /// Counts by dimension, if they were asked for.
    pub facets: Vec<Facet>,
    /// What may have been meant.
    pub did_you_mean: Vec<Correction>,
    /// When nothing was found: what was nearest.
    pub nearest: Vec<Near>,
    /// When nothing was found: how much each criterion excludes.
    pub excluded: Vec<Excluded>,
}

/// A query on its way: what is common to everything that is said about it.
pub(crate) struct Evaluation<'c> {
    pub(crate) catalog: &'c Catalog,
    pub(crate) query: &'c Query,
    pub(crate) criteria: Vec<Criterion<'c>>,
    pub(crate) wanted: Wanted,
}

impl Catalog {
    /// Answers `query`: the best results with their reasons, and what else is asked for.
    #[must_use]
    pub fn search(&self, query: &Query, asked: Asked<'_>) -> Answer {
        let evaluation = Evaluation {
            catalog: self,
            query,
            criteria: Criterion::all(query, asked.places),
            wanted: self.wanted(query),
        };
        let mut page =
            asked.page.cloned().unwrap_or(Page { below: self.next_number(), ..Page::default() });
        let ranker = Ranker::new(self, query, &evaluation.wanted);
        let matched = evaluation.meet_all(page.below);
        let hits = evaluation.hits(&matched);
        if asked.page.is_none() {
            page.total = hits.as_ref().map_or(matched.len(), |hits| as_u64(hits.len()));
        }
        let count = query.results();
        let shown: BTreeSet<u32> = page.shown.iter().copied().collect();
        // One more than is shown says whether there is a further page.
        let mut best = self.best(&ranker, &matched, hits.as_deref(), count + 1, &shown);
        let has_more = best.len() > count;
        best.truncate(count);
        page.shown.extend(best.iter().filter_map(|one| Some(self.row(one.number)?.name)));
        let results = self.suggestions(&ranker, &best);
        let mut answer = Answer { total: page.total, results, ..Answer::default() };
        if query.facets {
            answer.facets = evaluation.facets();
        }
        if asked.page.is_none() {
            answer.did_you_mean = evaluation.corrections();
        }
        if answer.total == 0 {
            (answer.nearest, answer.excluded) = evaluation.misses(&ranker);
        }
        answer.next = has_more.then_some(page);
        answer
    }

    /// The listings that answer `query`, best first, at most as many as it asks for: what another node is answered.
    #[must_use]
    pub fn find(&self, query: &Query, asked: Asked<'_>) -> Vec<RecordId> {
        let wanted = self.wanted(query);
        let criteria = Criterion::all(query, asked.places);
        let evaluation = Evaluation { catalog: self, query, criteria, wanted };
        let ranker = Ranker::new(self, query, &evaluation.wanted);
        if let Some(best) = evaluation.walk(&ranker, query.results()) {
            return self.listing_ids(&best);
        }
        let matched = evaluation.meet_all(self.next_number());
        let hits = evaluation.hits(&matched);
        let best = self.best(&ranker, &matched, hits.as_deref(), query.results(), &BTreeSet::new());
        self.listing_ids(&best)
    }

    fn listing_ids(&self, best: &[Scored]) -> Vec<RecordId> {
        best.iter().filter_map(|one| Some(self.row(one.number)?.listing_id)).collect()
    }

    /// The words of a query, weighed.
    fn wanted(&self, query: &Query) -> Wanted {
        let mut wanted = Wanted::new(query.text.as_deref());
        if wanted.len() > 1 {
            let frequencies = self.text.frequencies(wanted.words());
            wanted.weigh(self.sets.shown.len(), &frequencies);
        }
        wanted
    }

    /// The best of the rows that answer, in order, each name once.
    pub(crate) fn best(
        &self,
        ranker: &Ranker<'_>,
        matched: &RoaringBitmap,
        hits: Option<&[(u32, f32)]>,
        count: usize,
        shown: &BTreeSet<u32>,
    ) -> Vec<Scored> {
        let mut top = Top::new(self, shown, count);
        match hits {
            Some(hits) => {
                let bounds: Vec<f64> = (0..LEVELS).map(|level| bound_of(ranker, level)).collect();
                for (number, text) in hits {
                    // Most cannot come among the best, and looking at a row is what takes time.
                    let bound = bounds.get(self.sets.level(*number)).copied().unwrap_or_default();
                    if !top.is_beyond(bound + ranker.text_share(*text)) {
                        top.offer(ranker, *number, *text);
                    }
                }
            }
            None => self.offer_by_level(ranker, matched, &mut top),
        }
        top.settle_older(hits, |number| matched.contains(number));
        top.best.into_sorted_vec()
    }

    /// Offers rows in order of their levels, until nothing that is left can come among the best.
    fn offer_by_level(&self, ranker: &Ranker<'_>, matched: &RoaringBitmap, top: &mut Top<'_>) {
        if matched.len().saturating_mul(SPARSE) < u64::from(self.next_number()) {
            return self.offer_sorted(ranker, matched, top);
        }
        for (level, sets) in self.sets.levels.iter().enumerate().rev() {
            if top.is_beyond(bound_of(ranker, level)) {
                return;
            }
            for rows in sets.values() {
                (rows & matched).iter().for_each(|number| top.offer(ranker, number, 0.0));
            }
        }
    }

    /// The same where intersecting each level with few rows would go over all of these again and again.
    fn offer_sorted(&self, ranker: &Ranker<'_>, matched: &RoaringBitmap, top: &mut Top<'_>) {
        let mut levels: Vec<Vec<u32>> = vec![Vec::new(); LEVELS];
        for number in matched {
            if let Some(rows) = levels.get_mut(self.sets.level(number)) {
                rows.push(number);
            }
        }
        for (level, rows) in levels.iter().enumerate().rev().filter(|(_, rows)| !rows.is_empty()) {
            if top.is_beyond(bound_of(ranker, level)) {
                return;
            }
            rows.iter().for_each(|number| top.offer(ranker, *number, 0.0));
        }
    }

    /// How the preferred version of a name stands in its main category: its place by what it is worth without a query,
    /// from 1, and of how many names.
    #[must_use]
    pub fn standing(&self, listing: &RecordId, package: PackageId) -> Option<Standing> {
        let is_it = |number: &u32| self.row(*number).is_some_and(|row| row.listing_id == *listing);
        let number = self.rows_of_package(package).find(is_it)?;
        let row = self.row(number).filter(|_| self.sets.latest.contains(number))?;
        let category = self.symbols.categories.value(u32::from(row.categories().next()?))?;
        let rows = self.sets.categories.get(category.as_str())? & &self.sets.latest;
        let level = level_of(row.standing);
        let above = self.sets.levels.iter().skip(level + 1).flat_map(BTreeMap::values);
        let mut place = above.map(|set| set.intersection_len(&rows)).sum::<u64>() + 1;
        let own = self.sets.levels.get(level).into_iter().flat_map(BTreeMap::values);
        let better = |one: &u32| self.row(*one).is_some_and(|one| one.standing > row.standing);
        place += own.map(|set| (set & &rows).iter().filter(better).count() as u64).sum::<u64>();
        Some(Standing { category: category.clone(), place, of: rows.len() })
    }

    pub(crate) fn suggestions(&self, ranker: &Ranker<'_>, best: &[Scored]) -> Vec<Suggestion> {
        best.iter().filter_map(|one| self.suggestion(ranker, one.number)).collect()
    }

    /// A result with its reasons; `None` when its listing cannot be read.
    pub(crate) fn suggestion(&self, ranker: &Ranker<'_>, number: u32) -> Option<Suggestion> {
        let row = self.row(number)?;
        let entry = self.entry(number)?;
        let terms = ranker.explain(row, &entry);
        let score: f64 = terms.iter().map(guildhall_protocol::query::Term::contribution).sum();
        let listing = &entry.listing;
        Some(Suggestion {
            reference: entry.reference(),
            kind: listing.kind,
            package_id: entry.package(),
            listing_id: entry.listing_id,
            summary: listing.summary.clone(),
            categories: listing.categories.clone(),
            interface: listing.interface.clone(),
            claims: listing.claims.clone(),
            licence: listing.licence.clone(),
            len_bytes: listing.len_bytes,
            time_ms: entry.time_ms,
            reviews: self.rating(entry.package(), &entry.root),
            holders: u64::from(self.opinions.holders(entry.package())),
            looks_like: self.alike(&entry.root, &entry.org, &listing.release.name, entry.time_ms),
            data: if ranker.query().with_data { self.companions(&entry) } else { Vec::new() },
            score: score.clamp(0.0, 1.0),
            terms,
        })
    }
}

/// The most that a row of a level can score.
fn bound_of(ranker: &Ranker<'_>, level: usize) -> f64 {
    ranker.bound(as_f64(level + 1) / as_f64(LEVELS))
}

impl Evaluation<'_> {
    /// The best rows, found by looking at all rows in order of their standing. `None` where that is not possible or not
    /// the shorter way.
    fn walk(&self, ranker: &Ranker<'_>, count: usize) -> Option<Vec<Scored>> {
        let catalog = self.catalog;
        let test = Test::new(catalog, &self.criteria).filter(|_| self.wanted.is_empty())?;
        let (smallest, meet) = test.estimate();
        let wanted = as_u64(count).saturating_mul(cost::LOOKED_AT_PER_SHOWN);
        let of_kind =
            test.kind().map(|kind| catalog.sets.kinds.get(&kind).map_or(0, |set| set.len()));
        let all = of_kind.unwrap_or_else(|| u64::from(catalog.next_number()));
        let steps = wanted.saturating_mul(all) / meet.max(1);
        if steps.saturating_mul(cost::WALK) > smallest.saturating_mul(cost::MEET) {
            return None;
        }
        let mut left = steps.saturating_mul(cost::PATIENCE).saturating_add(WALK_MIN);
        let none = BTreeSet::new();
        let mut top = Top::new(catalog, &none, count);
        for (level, sets) in catalog.sets.levels.iter().enumerate().rev() {
            if top.is_beyond(bound_of(ranker, level)) {
                break;
            }
            let of_kind =
                sets.iter().filter(|(kind, _)| test.kind().is_none_or(|one| one == **kind));
            for number in of_kind.flat_map(|(_, rows)| rows) {
                left = left.checked_sub(1)?;
                if test.is_met(number) {
                    top.offer(ranker, number, 0.0);
                }
            }
        }
        top.settle_older(None, |number| test.is_met(number));
        Some(top.best.into_sorted_vec())
    }

    /// Rows below `below` that meet every criterion.
    fn meet_all(&self, below: u32) -> RoaringBitmap {
        let mut rows = meet(self.catalog, &self.criteria, &self.catalog.sets.shown);
        rows.remove_range(below..);
        rows
    }

    /// Those of `within` that have one of the words, and what they are worth; `None` when there are no words.
    pub(crate) fn hits(&self, within: &RoaringBitmap) -> Option<Vec<(u32, f32)>> {
        (!self.wanted.is_empty()).then(|| {
            let mut hits = Vec::new();
            self.catalog.text.find(&self.wanted, Some(within), &mut |number, value| {
                hits.push((number, value));
            });
            hits
        })
    }
}

/// A row and its place: higher scores come first, then newer listings, then lower ids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scored {
    score: f64,
    time_ms: u64,
    listing_id: RecordId,
    pub(crate) number: u32,
}

impl Ord for Scored {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = other.score.total_cmp(&self.score);
        by_score.then(other.time_ms.cmp(&self.time_ms)).then(self.listing_id.cmp(&other.listing_id))
    }
}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scored {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scored {}

/// The best rows so far. The last of them is on top of the heap.
struct Top<'c> {
    catalog: &'c Catalog,
    /// Names that are not to come again.
    shown: &'c BTreeSet<u32>,
    count: usize,
    best: BinaryHeap<Scored>,
    /// Rows that are not their name's preferred version; whether that one answers too is only looked at if need be.
    older: Vec<Scored>,
}

impl<'c> Top<'c> {
    const fn new(catalog: &'c Catalog, shown: &'c BTreeSet<u32>, count: usize) -> Self {
        Self { catalog, shown, count, best: BinaryHeap::new(), older: Vec::new() }
    }

    /// Whether nothing that scores at most `bound` can come among the best any more.
    fn is_beyond(&self, bound: f64) -> bool {
        self.best.len() >= self.count && self.best.peek().is_some_and(|last| last.score > bound)
    }

    fn offer(&mut self, ranker: &Ranker<'_>, number: u32, text: f32) {
        let Some(row) = self.catalog.row(number) else { return };
        let scored = Scored {
            score: ranker.score(row, text),
            time_ms: row.time_ms,
            listing_id: row.listing_id,
            number,
        };
        if self.shown.contains(&row.name) || !self.is_among_best(&scored) {
            return;
        }
        if self.catalog.sets.latest.contains(number) {
            self.take(scored);
        } else {
            self.older.push(scored);
        }
    }

    fn is_among_best(&self, scored: &Scored) -> bool {
        self.best.len() < self.count || self.best.peek().is_some_and(|last| scored < last)
    }

    fn take(&mut self, scored: Scored) {
        self.best.push(scored);
        if self.best.len() > self.count {
            self.best.pop();
        }
    }

    /// Takes older versions whose newer ones do not answer.
    fn settle_older(&mut self, hits: Option<&[(u32, f32)]>, is_met: impl Fn(u32) -> bool) {
        let with_words: Option<RoaringBitmap> = match self.older.is_empty() {
            true => return,
            false => hits.map(|hits| hits.iter().map(|(number, _)| *number).collect()),
        };
        let answers = |number: u32| {
            is_met(number) && with_words.as_ref().is_none_or(|words| words.contains(number))
        };
        let mut preferred: BTreeMap<u32, Option<u32>> = BTreeMap::new();
        for scored in std::mem::take(&mut self.older) {
            if !self.is_among_best(&scored) {
                continue;
            }
            let Some(row) = self.catalog.row(scored.number) else { continue };
            let best = preferred.entry(row.name).or_insert_with(|| {
                let rows = self.catalog.names.rows(row.name).iter().copied();
                let versions = rows.filter(|number| answers(*number));
                versions.max_by(|a, b| {
                    let key = |number: &u32| {
                        self.catalog.row(*number).map(|row| preference(&row.version))
                    };
                    key(a).cmp(&key(b))
                })
            });
            if *best == Some(scored.number) {
                self.take(scored);
            }
        }
    }
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
