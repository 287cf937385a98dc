//! The queries of one node, until it is known what came of them.

use std::collections::{BTreeMap, BTreeSet};

use guildhall_protocol::body::Demand;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::query::Query;
use guildhall_protocol::{Hash, PackageId, cbor};

use super::Need;
use super::tally::{Period, Report, Saved, Tally};

/// How long something may come of a query, milliseconds; also how long the same query is a repetition.
pub const OPEN_MS: u64 = 60 * 60 * 1000;

/// Queries watched at once: some a second, for an hour. Further ones are dropped, and counted as that.
pub const OPEN_MAX: usize = 10_000;

/// Packages watched for one query, over all its pages. A person who saw more found more than is worth watching: the
/// query is dropped.
const SHOWN_MAX: usize = 256;

/// Ids of one query that are known: its pages and repetitions. Those of further ones are met by their packages alone.
const IDS_MAX: usize = 16;

/// The queries of one node, until it is known what came of them, and the counts of those of which nothing came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    tally: Tally,
    /// Queries of the last hour by their fingerprints.
    asked: BTreeMap<Hash, Asked>,
    by_age: BTreeSet<(u64, Hash)>,
    /// The fingerprints of queries by their ids; at most [`IDS_MAX`] for each.
    ids: BTreeMap<Hash, Hash>,
    /// Needs counted before a restart, whose queries are not known any more: until when the same need is taken for a
    /// repetition.
    hushed: BTreeMap<Need, u64>,
}

/// A query of the last hour.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    need: Need,
    ids: Vec<Hash>,
    /// The beginnings of the packages' ids that it showed; enough to know one again. Empty once it is known what came of
    /// it.
    shown: Vec<u64>,
    is_open: bool,
}

impl Watch {
    /// A query of this node was answered under this id with these packages.
    ///
    /// Not watched are queries for one release, queries that ask no other node, and those that ask for nothing in
    /// particular. A further page belongs to its query.
    pub fn handle_answer(
        &mut self,
        query_id: Hash,
        query: &Query,
        found: &[PackageId],
        now_ms: u64,
    ) {
        self.poll(now_ms);
        if query.reference.is_some() || query.local || query.is_everything() {
            return;
        }
        let print = fingerprint(query);
        if let Some(asked) = self.asked.get_mut(&print) {
            if asked.is_open
                && asked.ids.len() < IDS_MAX
                && self.ids.insert(query_id, print).is_none()
            {
                asked.ids.push(query_id);
            }
            if asked.show(found) {
                self.tally.drop_one();
                self.forget_ids(&print);
            }
            return;
        }
        let need = Need::of(query);
        if query.page.is_some() || self.hushed.contains_key(&need) {
            return;
        }
        if self.asked.len() >= OPEN_MAX {
            self.tally.drop_one();
            return;
        }
        let is_open = !found.is_empty();
        let mut asked = Asked { need: need.clone(), ids: Vec::new(), shown: Vec::new(), is_open };
        if asked.show(found) {
            self.tally.drop_one();
        } else if is_open && self.ids.insert(query_id, print).is_none() {
            asked.ids.push(query_id);
        }
        self.asked.insert(print, asked);
        self.by_age.insert((now_ms, print));
        if found.is_empty() {
            self.tally.count(need, now_ms);
        }
    }

    /// Somebody at this node fetches a package, runs it or puts it into a pipeline. That meets the query that is named,
    /// and every open one that showed the package: most people name none.
    pub fn handle_used(&mut self, query_id: Option<Hash>, package: PackageId, now_ms: u64) {
        self.poll(now_ms);
        let package = beginning(&package);
        let shown = self.asked.iter().filter(|(_, asked)| asked.shown.contains(&package));
        let mut met: Vec<Hash> = shown.map(|(print, _)| *print).collect();
        met.extend(query_id.and_then(|id| self.ids.get(&id)));
        for print in met {
            if let Some(asked) = self.asked.get_mut(&print) {
                asked.close();
            }
            self.forget_ids(&print);
        }
    }

    /// Lets time pass: of queries older than an hour it is known by now what came of them.
    pub fn poll(&mut self, now_ms: u64) {
        self.tally.poll(now_ms);
        while let Some((at_ms, print)) = self.by_age.first().copied()
            && now_ms.saturating_sub(at_ms) >= OPEN_MS
        {
            if let Some(asked) = self.remove((at_ms, print))
                && asked.is_open
            {
                self.tally.count(asked.need, now_ms);
            }
        }
        // The clock was set back: when these were asked is not known.
        while let Some((at_ms, print)) = self.by_age.last().copied()
            && at_ms.saturating_sub(now_ms) >= OPEN_MS
        {
            if self.remove((at_ms, print)).is_some_and(|asked| asked.is_open) {
                self.tally.drop_one();
            }
        }
        self.hushed
            .retain(|_, until_ms| *until_ms > now_ms && until_ms.saturating_sub(now_ms) <= OPEN_MS);
    }

    /// Whether a period is over, so that something may be [due](Self::due).
    pub fn is_over(&mut self, now_ms: u64) -> bool {
        self.poll(now_ms);
        self.tally.is_over(now_ms)
    }

    /// What is to be published, if a period is over and enough was missed in it. It counts as published when
    /// [`handle_published`](Self::handle_published) hears of it; until then, or [`give_up`](Self::give_up), the caller
    /// asks no more.
    ///
    /// A category can be a word that somebody made up: `said` names what may be told of each, itself or one that it lies
    /// in. What is told alike is counted together.
    #[must_use]
    pub fn due(
        &mut self,
        now_ms: u64,
        said: impl Fn(&CategoryPrefix) -> CategoryPrefix,
    ) -> Option<Period> {
        self.poll(now_ms);
        self.tally.due(now_ms, said)
    }

    /// A record of this node is in its log.
    pub fn handle_published(&mut self, demand: &Demand) {
        self.tally.handle_published(demand);
    }

    /// What was due did not become a record; it is due again.
    pub fn give_up(&mut self) {
        self.tally.give_up();
    }

    /// What was counted so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.tally.report(self.asked.values().filter(|asked| asked.is_open).count() as u64)
    }

    /// Goes up whenever what [`save`](Self::save) returns changes.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.tally.revision()
    }

    /// What is to survive a restart.
    #[must_use]
    pub fn save(&self) -> Saved {
        self.tally.save()
    }

    /// Goes on from what was saved. Needs that were missed in the hour before are not counted again for its rest: it is
    /// not known which queries they were.
    #[must_use]
    pub fn restore(saved: Saved) -> Self {
        let tally = Tally::restore(saved);
        let until = |(need, last_ms): (&Need, u64)| (need.clone(), last_ms.saturating_add(OPEN_MS));
        let hushed = tally.last_missed().map(until).collect();
        Self { tally, hushed, ..Self::default() }
    }

    /// Checks what must always hold; for tests.
    ///
    /// # Errors
    /// What does not.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        let is = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
        is(self.asked.len() <= OPEN_MAX, "too many queries are watched")?;
        is(self.asked.len() == self.by_age.len(), "a query has no age, or two")?;
        let ids = self.asked.values().map(|asked| asked.ids.len()).sum::<usize>();
        is(ids == self.ids.len(), "an id leads to no query")?;
        let is_tidy = |asked: &Asked| {
            asked.shown.len() <= SHOWN_MAX && (asked.is_open || asked.shown.is_empty())
        };
        is(self.asked.values().all(is_tidy), "a closed query is still looked for")
    }

    /// Queries that were counted as unmet and are still in a total.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.tally.counted()
    }

    fn remove(&mut self, (at_ms, print): (u64, Hash)) -> Option<Asked> {
        self.forget_ids(&print);
        self.by_age.remove(&(at_ms, print));
        self.asked.remove(&print)
    }

    fn forget_ids(&mut self, print: &Hash) {
        if let Some(asked) = self.asked.get_mut(print) {
            for id in std::mem::take(&mut asked.ids) {
                self.ids.remove(&id);
            }
        }
    }
}

impl Asked {
    /// Remembers what the query showed. `true` when it is given up, because that is too much.
    fn show(&mut self, found: &[PackageId]) -> bool {
        if !self.is_open {
            return false;
        }
        for package in found.iter().map(beginning) {
            if !self.shown.contains(&package) {
                self.shown.push(package);
            }
        }
        let is_too_much = self.shown.len() > SHOWN_MAX;
        if is_too_much {
            self.close();
        }
        is_too_much
    }

    fn close(&mut self) {
        self.is_open = false;
        self.shown = Vec::new();
    }
}

/// What makes two queries the same: everything that narrows them, but for the case and the spaces of the text.
fn fingerprint(query: &Query) -> Hash {
    let words =
        |text: &String| text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    let query = Query {
        text: query.text.as_ref().map(words).filter(|text| !text.is_empty()),
        limit: 0,
        page: None,
        facets: false,
        share_text: false,
        ..query.clone()
    };
    Hash::of(&cbor::encode(&query))
}

fn beginning(package: &PackageId) -> u64 {
    let first = package.0.as_bytes().first_chunk::<8>();
    first.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
