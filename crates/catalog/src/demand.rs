//! What people look for and do not get: [`Watch`] counts it at one node, [`Aggregate`] adds up what the orgs report.
//!
//! A query is *unmet* when it found nothing, or when nothing that it showed was used (fetched, run, put into a pipeline)
//! within an hour. What is counted of it is its [`Need`]: category, kind, and the families of the types on its two sides.
//! Neither text nor who asked gets into a count, and what is saved or published is counts alone. The same query again
//! within the hour counts once, so that one impatient person is no demand.
//!
//! Once a period, kinds of queries that were missed [`LEAST`] times or more are published, rounded down to a power of two.
//! Fewer are withheld until there are enough of them; what is withheld for a week is left out for good, though it stays
//! in the node's own report.
//!
//! Invariants: every query that is taken in is open, met, in a total, or dropped, and never two of these. All that grows
//! has a bound, named below. There is no clock here: time is an argument, and one that was set back loses queries rather
//! than counting them twice. Whose record counts is decided by others (`federation`, `core`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use guildhall_protocol::body::{Demand, Unmet};
use guildhall_protocol::limits::DEMAND_MAX_ENTRIES;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::query::{Query, TypeQuery};
use guildhall_protocol::{Hash, PackageId, PublicKey, cbor};
use serde::{Deserialize, Serialize};

/// How long something may come of a query, milliseconds; also how long the same query is a repetition.
pub const OPEN_MS: u64 = 60 * 60 * 1000;

/// Queries watched at once: some a second, for an hour. Further ones are dropped, and counted as that.
pub const OPEN_MAX: usize = 10_000;

/// Packages watched for one query, over all its pages. A person who saw more found more than is worth watching: the
/// query is dropped.
const SHOWN_MAX: usize = 256;

/// Kinds of unmet queries that are counted. The rarest gives way to a new one, and what it counted is dropped.
pub const KINDS_MAX: usize = 4_096;

/// Fewest queries of one kind that are published: what fewer asked for could be one person's secret.
pub const LEAST: u32 = 3;

/// How long counts below [`LEAST`] wait for more, milliseconds: a week.
pub const WITHHELD_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// Most bytes of all entries of a record, which has room for 60 KiB with its header and delegation. What does not fit
/// comes with the next.
const UNMET_MAX_BYTES: usize = 48 * 1024;

/// How long others' reports count, milliseconds: 30 days behind the end of their period.
pub const REPORTED_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// The most that one org can say of one need: no busy org comes near, and one that lies is worth no more.
const COUNT_MAX: u32 = 1 << 20;

/// Needs that are kept of one org, all its nodes together: some full records. The oldest give way.
const NEEDS_PER_ORG_MAX: usize = 1_024;

/// Needs that are kept of all orgs, about 10 MB. When it is reached, the oldest quarter is forgotten.
const NEEDS_MAX: usize = 65_536;

/// Needs in a report, the most missed first.
const REPORT_MAX: usize = 1_000;

/// What is counted of a query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Need {
    /// The category that was asked for; everything when none was.
    pub category: CategoryPrefix,
    /// The kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The family of the type that was to go in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<TypeQuery>,
    /// The family of the type that was to come out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<TypeQuery>,
}

impl Need {
    /// What a query needs.
    #[must_use]
    pub fn of(query: &Query) -> Self {
        let family = |asked: &Option<TypeQuery>, gap: Option<&'static str>| match asked {
            Some(asked) => Some(asked.family_only()),
            None => gap.and_then(|family| family.parse().ok()),
        };
        let gap = &query.fits;
        Self {
            category: query.category.clone().unwrap_or_default(),
            kind: query.kind,
            input: family(&query.input, gap.input.as_ref().map(|port| port.family())),
            output: family(&query.output, gap.output.as_ref().map(|port| port.family())),
        }
    }

    /// What a record says was missed.
    #[must_use]
    pub fn of_unmet(unmet: &Unmet) -> Self {
        Self {
            category: unmet.category.clone(),
            kind: unmet.kind,
            input: unmet.input.as_ref().map(TypeQuery::family_only),
            output: unmet.output.as_ref().map(TypeQuery::family_only),
        }
    }

    /// The same with how often it was missed.
    #[must_use]
    pub fn unmet(&self, count: u32) -> Unmet {
        let Self { category, kind, input, output } = self.clone();
        Unmet { category, kind, input, output, count }
    }

    /// Whether everything that would meet it lies in `prefix`.
    #[must_use]
    pub fn is_within(&self, prefix: &CategoryPrefix) -> bool {
        *prefix == CategoryPrefix::everything()
            || match self.category.as_str().strip_prefix(prefix.as_str()) {
                Some(rest) => rest.is_empty() || rest.starts_with('/'),
                None => false,
            }
    }
}

/// As in `vision/object-detection (model, image -> prediction)`.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.category.fmt(f)?;
        let any = |family: &Option<TypeQuery>| match family {
            Some(family) => family.family().to_owned(),
            None => "anything".to_owned(),
        };
        let kind = self.kind.map(|kind| kind.to_string());
        let types = (self.input.is_some() || self.output.is_some())
            .then(|| format!("{} -> {}", any(&self.input), any(&self.output)));
        let more: Vec<String> = kind.into_iter().chain(types).collect();
        if more.is_empty() { Ok(()) } else { write!(f, " ({})", more.join(", ")) }
    }
}

/// The queries of one node, until it is known what came of them, and the counts of those of which nothing came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// When counting began, milliseconds since 1970; `None` before the first event.
    since_ms: Option<u64>,
    /// Where the period that is published next begins.
    from_ms: u64,
    kinds: BTreeMap<Need, Count>,
    dropped: u64,
    /// Queries of the last hour by their fingerprints.
    asked: BTreeMap<Hash, Asked>,
    by_age: BTreeSet<(u64, Hash)>,
    /// Needs counted before a restart, whose queries are not known any more: until when the same need is taken for a
    /// repetition.
    hushed: BTreeMap<Need, u64>,
    revision: u64,
}

/// A query of the last hour.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    need: Need,
    /// The beginnings of the ids that it showed; enough to know one again. Empty once it is known what came of it.
    shown: Vec<u64>,
    is_open: bool,
}

/// How often one need was missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    total: u32,
    /// Of these, not published yet.
    pending: u32,
    /// Since when something is.
    pending_since_ms: u64,
    last_ms: u64,
}

/// What of a [`Watch`] survives a restart: counts. Queries that were open then are forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    since_ms: Option<u64>,
    from_ms: u64,
    dropped: u64,
    kinds: Vec<SavedKind>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedKind {
    need: Need,
    total: u32,
    pending: u32,
    pending_since_ms: u64,
    last_ms: u64,
}

/// What a [`Watch`] counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Since when, milliseconds since 1970.
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

impl Watch {
    /// A query of this node was answered with these packages.
    ///
    /// Not watched are queries for one release, queries that ask no other node, and those that ask for nothing in
    /// particular. A further page belongs to its query.
    pub fn handle_query(&mut self, query: &Query, found: &[PackageId], now_ms: u64) {
        self.poll(now_ms);
        if query.reference.is_some() || query.local || query.is_everything() {
            return;
        }
        let print = fingerprint(query);
        if let Some(asked) = self.asked.get_mut(&print) {
            self.dropped += u64::from(asked.show(found));
            return;
        }
        let need = Need::of(query);
        if query.page.is_some() || self.hushed.contains_key(&need) {
            return;
        }
        if self.asked.len() >= OPEN_MAX {
            self.dropped += 1;
            self.revision += 1;
            return;
        }
        let mut asked = Asked { need: need.clone(), shown: Vec::new(), is_open: !found.is_empty() };
        self.dropped += u64::from(asked.show(found));
        self.asked.insert(print, asked);
        self.by_age.insert((now_ms, print));
        if found.is_empty() {
            self.count(need, now_ms);
        }
    }

    /// Somebody at this node fetches a package, runs it or puts it into a pipeline: the queries that showed it are met.
    pub fn handle_used(&mut self, package: PackageId, now_ms: u64) {
        self.poll(now_ms);
        let package = beginning(&package);
        for asked in self.asked.values_mut().filter(|asked| asked.shown.contains(&package)) {
            asked.close();
        }
    }

    /// Lets time pass: of queries older than an hour it is known by now what came of them.
    pub fn poll(&mut self, now_ms: u64) {
        if self.since_ms.is_none() {
            (self.since_ms, self.from_ms) = (Some(now_ms), now_ms);
        }
        while let Some((at_ms, print)) = self.by_age.first().copied()
            && now_ms.saturating_sub(at_ms) >= OPEN_MS
        {
            self.by_age.remove(&(at_ms, print));
            if let Some(asked) = self.asked.remove(&print)
                && asked.is_open
            {
                self.count(asked.need, now_ms);
            }
        }
        // The clock was set back: when these were asked is not known.
        while let Some((at_ms, print)) = self.by_age.last().copied()
            && at_ms.saturating_sub(now_ms) >= OPEN_MS
        {
            self.by_age.remove(&(at_ms, print));
            if self.asked.remove(&print).is_some_and(|asked| asked.is_open) {
                self.dropped += 1;
            }
        }
        self.hushed.retain(|_, until_ms| {
            *until_ms > now_ms && until_ms.saturating_sub(now_ms) <= OPEN_MS
        });
    }

    /// What is to be published, if a period of this length is over and enough was missed in it. What is returned counts
    /// as published.
    pub fn publish(&mut self, now_ms: u64, period_ms: u64) -> Option<Period> {
        self.poll(now_ms);
        if now_ms < self.from_ms {
            // The clock was set back.
            self.from_ms = now_ms;
        }
        if now_ms - self.from_ms < period_ms.max(1) {
            return None;
        }
        for count in self.kinds.values_mut() {
            let is_old = now_ms.saturating_sub(count.pending_since_ms) >= WITHHELD_MS;
            if count.pending < LEAST && is_old {
                count.pending = 0;
            }
        }
        let mut enough: Vec<(Reverse<u32>, Need)> = self
            .kinds
            .iter()
            .filter(|(_, count)| count.pending >= LEAST)
            .map(|(need, count)| (Reverse(count.pending), need.clone()))
            .collect();
        enough.sort_unstable();
        let (mut unmet, mut len_bytes) = (Vec::new(), 0);
        for (Reverse(pending), need) in enough.into_iter().take(DEMAND_MAX_ENTRIES) {
            let entry = need.unmet(1 << pending.ilog2());
            len_bytes += cbor::encode(&entry).len();
            if len_bytes > UNMET_MAX_BYTES {
                break;
            }
            unmet.push(entry);
            if let Some(count) = self.kinds.get_mut(&need) {
                count.pending = 0;
            }
        }
        let from_ms = std::mem::replace(&mut self.from_ms, now_ms);
        self.revision += 1;
        (!unmet.is_empty()).then_some(Period { from_ms, until_ms: now_ms, unmet })
    }

    /// What was counted so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let unmet = self.kinds.iter().map(|(need, count)| (need.unmet(count.total), count.last_ms));
        let mut unmet: Vec<(Unmet, u64)> = unmet.collect();
        // Stable: needs that were missed as often stay in their order.
        unmet.sort_by_key(|(unmet, _)| Reverse(unmet.count));
        Report {
            since_ms: self.since_ms.unwrap_or_default(),
            unmet,
            open: self.asked.values().filter(|asked| asked.is_open).count() as u64,
            dropped: self.dropped,
        }
    }

    /// Goes up whenever what [`save`](Self::save) returns changes.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// What is to survive a restart.
    #[must_use]
    pub fn save(&self) -> Saved {
        let kind = |(need, count): (&Need, &Count)| {
            let (need, Count { total, pending, pending_since_ms, last_ms }) = (need.clone(), *count);
            SavedKind { need, total, pending, pending_since_ms, last_ms }
        };
        Saved {
            since_ms: self.since_ms,
            from_ms: self.from_ms,
            dropped: self.dropped,
            kinds: self.kinds.iter().map(kind).collect(),
        }
    }

    /// Goes on from what was saved. Needs that were missed in the hour before are not counted again for its rest: it is
    /// not known which queries they were.
    #[must_use]
    pub fn restore(saved: Saved) -> Self {
        let mut watch = Self {
            since_ms: saved.since_ms,
            from_ms: saved.from_ms,
            dropped: saved.dropped,
            ..Self::default()
        };
        for kind in saved.kinds.into_iter().take(KINDS_MAX) {
            let SavedKind { need, total, pending, pending_since_ms, last_ms } = kind;
            watch.hushed.insert(need.clone(), last_ms.saturating_add(OPEN_MS));
            watch.kinds.insert(need, Count { total, pending, pending_since_ms, last_ms });
        }
        watch
    }

    fn count(&mut self, need: Need, now_ms: u64) {
        if !self.kinds.contains_key(&need) && self.kinds.len() >= KINDS_MAX {
            let rarest = self.kinds.iter().min_by_key(|(_, count)| (count.total, count.last_ms));
            if let Some(rarest) = rarest.map(|(need, _)| need.clone())
                && let Some(count) = self.kinds.remove(&rarest)
            {
                self.dropped += u64::from(count.total);
            }
        }
        let count = self.kinds.entry(need).or_default();
        if count.pending == 0 {
            count.pending_since_ms = now_ms;
        }
        count.total = count.total.saturating_add(1);
        count.pending = count.pending.saturating_add(1);
        count.last_ms = now_ms;
        self.revision += 1;
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
    let words = |text: &String| {
        text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
    };
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

/// What the orgs say was missed. Of every node the newest period counts in which it missed a need; what the nodes of one
/// org missed is added up, and is one org's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aggregate {
    orgs: BTreeMap<PublicKey, BTreeMap<(Need, PublicKey), Said>>,
}

/// What one node says of one need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    /// Position of the record in the node's log: order comes from there, never from a clock.
    seq: u64,
    count: u32,
    until_ms: u64,
}

/// Where a demand record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The org's root key.
    pub root: PublicKey,
    /// Whose log.
    pub author: PublicKey,
    /// Position in it.
    pub seq: u64,
    /// When it was written, by its author's clock, milliseconds since 1970.
    pub time_ms: u64,
}

/// One need that several orgs may have missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// What, and how often altogether.
    pub unmet: Unmet,
    /// How many orgs.
    pub orgs: u64,
    /// End of the latest period in which it was missed, milliseconds since 1970.
    pub until_ms: u64,
}

impl Aggregate {
    /// Takes in a record of a member. Returns what its org had not missed so far.
    pub fn handle_record(&mut self, source: Source, demand: &Demand) -> Vec<Unmet> {
        let Source { root, author, seq, time_ms } = source;
        // No period ends behind the record that tells of it.
        let until_ms = demand.until_ms.min(time_ms);
        let org = self.orgs.entry(root).or_default();
        let known: BTreeSet<Need> = org.keys().map(|(need, _)| need.clone()).collect();
        let mut news = Vec::new();
        for unmet in demand.unmet.iter().filter(|unmet| unmet.count > 0) {
            let need = Need::of_unmet(unmet);
            let count = unmet.count.min(COUNT_MAX);
            if !known.contains(&need) {
                news.push(need.unmet(count));
            }
            let said = Said { seq, count, until_ms };
            let slot = org.entry((need, author)).or_insert(said);
            // A need that stands twice in a record counts once.
            if slot.seq < seq || (slot.seq == seq && slot.count < count) {
                *slot = said;
            }
        }
        while org.len() > NEEDS_PER_ORG_MAX {
            let oldest = org.iter().min_by_key(|(_, said)| said.until_ms);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
            org.remove(&oldest);
        }
        if org.is_empty() {
            self.orgs.remove(&root);
        }
        self.make_room();
        news
    }

    /// Forgets what an org said, because it is no longer a member.
    pub fn remove_org(&mut self, root: &PublicKey) {
        self.orgs.remove(root);
    }

    /// Forgets what is too old to count.
    pub fn poll(&mut self, now_ms: u64) {
        self.retain(|said| is_fresh(said, now_ms));
    }

    /// What orgs other than `own` missed: first what most orgs did, then what was missed most often.
    #[must_use]
    pub fn report(&self, own: &PublicKey, now_ms: u64) -> Vec<Missed> {
        let mut missed: BTreeMap<&Need, Missed> = BTreeMap::new();
        for (_, org) in self.orgs.iter().filter(|(root, _)| *root != own) {
            let mut of_org: BTreeMap<&Need, (u32, u64)> = BTreeMap::new();
            for ((need, _), said) in org.iter().filter(|(_, said)| is_fresh(said, now_ms)) {
                let (count, until_ms) = of_org.entry(need).or_default();
                *count = count.saturating_add(said.count).min(COUNT_MAX);
                *until_ms = said.until_ms.max(*until_ms);
            }
            for (need, (count, until_ms)) in of_org {
                let slot = missed.entry(need);
                let slot = slot
                    .or_insert_with(|| Missed { unmet: need.unmet(0), orgs: 0, until_ms: 0 });
                slot.unmet.count = slot.unmet.count.saturating_add(count);
                slot.orgs += 1;
                slot.until_ms = slot.until_ms.max(until_ms);
            }
        }
        let mut missed: Vec<Missed> = missed.into_values().collect();
        missed.sort_by_key(|missed| (Reverse(missed.orgs), Reverse(missed.unmet.count)));
        missed.truncate(REPORT_MAX);
        missed
    }

    /// Needs that are kept, each as often as there are nodes that missed it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.orgs.values().map(BTreeMap::len).sum()
    }

    /// Whether nobody missed anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.orgs.is_empty()
    }

    fn make_room(&mut self) {
        if self.len() <= NEEDS_MAX {
            return;
        }
        let said = self.orgs.values().flat_map(BTreeMap::values);
        let mut ends: Vec<u64> = said.map(|said| said.until_ms).collect();
        ends.sort_unstable();
        let oldest_kept_ms = ends.get(ends.len() / 4).copied().unwrap_or_default();
        self.retain(|said| said.until_ms > oldest_kept_ms);
    }

    fn retain(&mut self, keep: impl Fn(&Said) -> bool) {
        for org in self.orgs.values_mut() {
            org.retain(|_, said| keep(said));
        }
        self.orgs.retain(|_, org| !org.is_empty());
    }
}

fn is_fresh(said: &Said, now_ms: u64) -> bool {
    now_ms.saturating_sub(said.until_ms) < REPORTED_MS
}
