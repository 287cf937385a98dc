//! What the orgs of a federation say was missed at their nodes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use guildhall_protocol::PublicKey;
use guildhall_protocol::body::{Demand, Unmet};

use super::Need;

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
                let slot =
                    slot.or_insert_with(|| Missed { unmet: need.unmet(0), orgs: 0, until_ms: 0 });
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
        let said = self.orgs.iter().flat_map(|(root, org)| {
            org.iter().map(move |((need, author), said)| (said.until_ms, *root, need, *author))
        });
        let mut oldest: Vec<_> = said.collect();
        oldest.sort_unstable();
        oldest.truncate(oldest.len() / 4);
        let oldest = oldest.into_iter();
        let oldest: Vec<_> =
            oldest.map(|(_, root, need, author)| (root, (need.clone(), author))).collect();
        for (root, key) in oldest {
            if let Some(org) = self.orgs.get_mut(&root) {
                org.remove(&key);
            }
        }
        self.orgs.retain(|_, org| !org.is_empty());
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
