//! How often each need was missed, and what of that is to be published.
//!
//! What is published is signed and kept by others, so it takes two steps: [`Tally::due`] says what, and only when the
//! record is on disk does [`Tally::handle_published`] count it as told. A start between the two finds the record in the
//! node's log and counts it then, so that nothing is told twice or lost.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use guildhall_protocol::body::{Demand, Unmet};
use guildhall_protocol::cbor;
use guildhall_protocol::limits::DEMAND_MAX_ENTRIES;
use guildhall_protocol::name::CategoryPrefix;
use serde::{Deserialize, Serialize};

use super::{LEAST, Need};

/// How often is published, milliseconds: once a day. More often would tell when somebody asked.
pub const PERIOD_MS: u64 = 24 * 60 * 60 * 1000;

/// Needs that are counted. The rarest gives way to a new one, and what it counted is dropped.
pub const KINDS_MAX: usize = 4_096;

/// How long counts below [`LEAST`] wait for more, milliseconds: a week.
pub const WITHHELD_MS: u64 = 7 * PERIOD_MS;

/// Most bytes of all entries of a record, which has room for 60 KiB with its header and delegation. What does not fit
/// comes with the next.
const UNMET_MAX_BYTES: usize = 48 * 1024;

/// Counts of needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// When counting began, milliseconds since 1970; `None` before the first event.
    since_ms: Option<u64>,
    /// Where the period that is published next begins.
    from_ms: u64,
    kinds: BTreeMap<Need, Count>,
    dropped: u64,
    revision: u64,
}

/// How often one need was missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    total: u32,
    /// Of these, not published yet.
    pending: u32,
    /// Of those, in the record that is on its way.
    #[serde(skip)]
    told: u32,
    /// Since when something is pending.
    pending_since_ms: u64,
    last_ms: u64,
}

/// What survives a restart: counts. Queries that were open then are forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    since_ms: Option<u64>,
    from_ms: u64,
    dropped: u64,
    kinds: Vec<(Need, Count)>,
}

/// What was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Since when, milliseconds since 1970; 0 before the first event.
    pub since_ms: u64,
    /// What was missed, the most frequent first, and when last.
    pub unmet: Vec<(Unmet, u64)>,
    /// Queries that are open.
    pub open: u64,
    /// Queries of which is not known what came, or whose count gave way.
    pub dropped: u64,
}

/// What is to be published: a [`Demand`] without its federation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its beginning, milliseconds since 1970. Counts that waited for more may be up to a week older.
    pub from_ms: u64,
    /// Its end.
    pub until_ms: u64,
    /// What was missed, the most frequent first.
    pub unmet: Vec<Unmet>,
}

impl Tally {
    /// Lets time pass.
    pub(super) fn poll(&mut self, now_ms: u64) {
        if self.since_ms.is_none() {
            self.since_ms = Some(now_ms);
            self.from_ms = self.from_ms.max(now_ms);
        }
    }

    /// A need was missed once more.
    pub(super) fn count(&mut self, need: Need, now_ms: u64) {
        self.revision += 1;
        if !self.kinds.contains_key(&need) && self.kinds.len() >= KINDS_MAX {
            let rarest = self.kinds.iter().min_by_key(|(_, count)| (count.total, count.last_ms));
            if let Some(rarest) = rarest.map(|(need, _)| need.clone())
                && let Some(count) = self.kinds.remove(&rarest)
            {
                self.dropped = self.dropped.saturating_add(u64::from(count.total));
            }
        }
        let count = self.kinds.entry(need).or_default();
        if count.pending == 0 {
            count.pending_since_ms = now_ms;
        }
        count.total = count.total.saturating_add(1);
        count.pending = count.pending.saturating_add(1);
        count.last_ms = now_ms;
    }

    /// What came of a query is not known.
    pub(super) const fn drop_one(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
        self.revision += 1;
    }

    /// Whether a period is over.
    pub(super) const fn is_over(&mut self, now_ms: u64) -> bool {
        if now_ms < self.from_ms {
            // The clock was set back.
            self.from_ms = now_ms;
        }
        now_ms - self.from_ms >= PERIOD_MS
    }

    /// What is to be published now, if a period is over and enough was missed in it, with each category as `said` has it.
    /// It is on its way until [`handle_published`](Self::handle_published) or [`give_up`](Self::give_up).
    pub(super) fn due(
        &mut self,
        now_ms: u64,
        said: impl Fn(&CategoryPrefix) -> CategoryPrefix,
    ) -> Option<Period> {
        if !self.is_over(now_ms) {
            return None;
        }
        for count in self.kinds.values_mut() {
            let is_old = now_ms.saturating_sub(count.pending_since_ms) >= WITHHELD_MS;
            if count.pending < LEAST && is_old {
                count.pending = 0;
            }
        }
        let (mut unmet, mut len_bytes) = (Vec::new(), 0);
        for (Reverse(sum), told, needs) in self.groups(said).into_iter().take(DEMAND_MAX_ENTRIES) {
            let entry = told.unmet(1 << sum.ilog2());
            len_bytes += cbor::encode(&entry).len();
            if len_bytes > UNMET_MAX_BYTES {
                break;
            }
            unmet.push(entry);
            for need in needs {
                if let Some(count) = self.kinds.get_mut(&need) {
                    count.told = count.pending;
                }
            }
        }
        if unmet.is_empty() {
            // Nothing to say of this period; the next one is another.
            self.from_ms = now_ms;
            self.revision += 1;
            return None;
        }
        Some(Period { from_ms: self.from_ms, until_ms: now_ms, unmet })
    }

    /// What was missed often enough: how often, how it is told, and which needs that are.
    fn groups(
        &self,
        said: impl Fn(&CategoryPrefix) -> CategoryPrefix,
    ) -> Vec<(Reverse<u32>, Need, Vec<Need>)> {
        let mut groups: BTreeMap<Need, (u32, Vec<Need>)> = BTreeMap::new();
        for (need, count) in self.kinds.iter().filter(|(_, count)| count.pending > 0) {
            let told = Need { category: said(&need.category), ..need.clone() };
            let (sum, needs) = groups.entry(told).or_default();
            *sum = sum.saturating_add(count.pending);
            needs.push(need.clone());
        }
        groups.retain(|told, (sum, _)| *sum >= LEAST && !told.is_anything());
        let groups = groups.into_iter().map(|(told, (sum, needs))| (Reverse(sum), told, needs));
        let mut groups: Vec<_> = groups.collect();
        groups.sort_unstable();
        groups
    }

    /// A record of this node is in its log. An older one than the newest that was seen says nothing new.
    pub(super) fn handle_published(&mut self, demand: &Demand) {
        if demand.until_ms <= self.from_ms {
            return;
        }
        let is_known = self.kinds.values().any(|count| count.told > 0);
        let told: Vec<Need> = demand.unmet.iter().map(Need::of_unmet).collect();
        for (need, count) in &mut self.kinds {
            if is_known {
                count.pending = count.pending.saturating_sub(count.told);
            } else if told.iter().any(|told| need.may_be_told_as(told)) {
                // After a start it is not known how many were told: all that were saved.
                count.pending = 0;
            }
        }
        self.from_ms = demand.until_ms;
        self.give_up();
    }

    /// What was due did not become a record; it is due again.
    pub(super) fn give_up(&mut self) {
        self.kinds.values_mut().for_each(|count| count.told = 0);
        self.revision += 1;
    }

    pub(super) fn report(&self, open: u64) -> Report {
        let unmet = self.kinds.iter().map(|(need, count)| (need.unmet(count.total), count.last_ms));
        let mut unmet: Vec<(Unmet, u64)> = unmet.collect();
        // Stable: needs that were missed as often stay in their order.
        unmet.sort_by_key(|(unmet, _)| Reverse(unmet.count));
        Report { since_ms: self.since_ms.unwrap_or_default(), unmet, open, dropped: self.dropped }
    }

    pub(super) const fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn save(&self) -> Saved {
        Saved {
            since_ms: self.since_ms,
            from_ms: self.from_ms,
            dropped: self.dropped,
            kinds: self.kinds.iter().map(|(need, count)| (need.clone(), *count)).collect(),
        }
    }

    pub(super) fn restore(saved: Saved) -> Self {
        Self {
            since_ms: saved.since_ms,
            from_ms: saved.from_ms,
            dropped: saved.dropped,
            kinds: saved.kinds.into_iter().take(KINDS_MAX).collect(),
            revision: 0,
        }
    }

    /// Every need with the time at which it was last missed.
    pub(super) fn last_missed(&self) -> impl Iterator<Item = (&Need, u64)> {
        self.kinds.iter().map(|(need, count)| (need, count.last_ms))
    }

    /// Queries that were counted, those that gave way among them.
    pub(super) fn counted(&self) -> u64 {
        self.kinds.values().map(|count| u64::from(count.total)).sum()
    }
}
