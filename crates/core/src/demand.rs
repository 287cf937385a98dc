//! What is looked for and not found, here and in the federation.
//!
//! Every answer that this node gives to a requester is watched, and so is what is used afterwards. Once a day what was
//! missed often enough becomes a record in the node's log, which travels as other small records do, with its body to
//! everybody. Records of the members are added up, and forgotten when their org goes. Nothing here knows who asked.

use std::collections::{BTreeMap, BTreeSet};

use guildhall_catalog::demand::{Aggregate, LEAST, Need, Saved, Source, Watch};
use guildhall_protocol::api::{DemandReport, DemandShown};
use guildhall_protocol::body::Demand;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::query::Query;
use guildhall_protocol::record::Record;
use guildhall_protocol::{Hash, PackageId, PublicKey, vocabulary};

use crate::event::Effect;
use crate::keys::with_ancestors;
use crate::node::Core;

/// Ticks that a record may take to the disk. Should it not get there, it is due again.
const TELL_TICKS: u64 = 60;

/// Ticks between two looks for reports that are too old to count: about an hour.
const TIDY_TICKS: u64 = 3_600;

/// What starts a part of a category that is in no vocabulary.
const OWN: &str = "x-";

/// What is missed here and elsewhere.
#[derive(Debug, Default)]
pub(crate) struct State {
    watch: Watch,
    others: Aggregate,
    /// Questions that are not answered yet; as many as are open.
    questions: BTreeMap<Hash, Query>,
    /// The tick at which a record was due that is not in the log yet.
    telling: Option<u64>,
}

impl State {
    /// An org is no longer a member.
    pub(crate) fn remove_org(&mut self, root: &PublicKey) {
        self.others.remove_org(root);
    }
}

impl Core {
    /// A question came; its answer will be watched.
    pub(crate) fn watch_question(&mut self, ask: Hash, query: &Query) {
        self.demand.questions.insert(ask, query.clone());
    }

    /// Takes note of the answers among what is to be done.
    pub(crate) fn watch_answers(&mut self, now_ms: u64, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Answer { ask, found } = effect
                && let Some(query) = self.demand.questions.remove(ask)
            {
                let shown: Vec<PackageId> =
                    found.results.iter().map(|suggestion| suggestion.package_id).collect();
                self.demand.watch.handle_answer(*ask, &query, &shown, now_ms);
            }
        }
    }

    /// Somebody at this node uses a package.
    pub(crate) fn handle_used(&mut self, query_id: Option<Hash>, package: PackageId, now_ms: u64) {
        self.demand.watch.handle_used(query_id, package, now_ms);
    }

    /// Says once a day what was missed, if there is something to say.
    pub(crate) fn tell_demand(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        if self.ticks.is_multiple_of(TIDY_TICKS) {
            self.demand.others.poll(now_ms);
        }
        match self.demand.telling {
            Some(since) if self.ticks.saturating_sub(since) < TELL_TICKS => {
                self.demand.watch.poll(now_ms);
                return;
            }
            Some(_) => {
                out.push(Effect::Note("what was missed is not in the log yet".to_owned()));
                self.demand.watch.give_up();
                self.demand.telling = None;
            }
            None => {}
        }
        if !self.demand.watch.is_over(now_ms) {
            return;
        }
        let listed = self.listed_prefixes();
        let said = |category: &CategoryPrefix| nearest_said(category, &listed);
        if let Some(period) = self.demand.watch.due(now_ms, said) {
            self.demand.telling = Some(self.ticks);
            out.push(Effect::Tell(Demand {
                federation: self.federation.id(),
                from_ms: period.from_ms,
                until_ms: period.until_ms,
                unmet: period.unmet,
            }));
        }
    }

    /// Every category in which something is listed, and what they lie in. Once a day, because all listings are looked at.
    fn listed_prefixes(&self) -> BTreeSet<CategoryPrefix> {
        let counts = self.catalog.category_counts().into_iter();
        counts.flat_map(|(category, _)| with_ancestors(&category)).collect()
    }

    /// Lets a record of a member count.
    pub(crate) fn evaluate_demand(
        &mut self,
        record: &Record,
        demand: &Demand,
        out: &mut Vec<Effect>,
    ) {
        let (root, header) = (record.delegation().root, record.header());
        if header.author == self.me.node.public() {
            // Also one for another federation: what it says was said.
            self.demand.watch.handle_published(demand);
            self.demand.telling = None;
        }
        let Some(member) = self.federation.member(&root) else { return };
        if demand.federation != self.federation.id() {
            return;
        }
        let org = member.org.clone();
        let source =
            Source { root, author: header.author, seq: header.seq, time_ms: header.time_ms };
        let news = self.demand.others.handle_record(source, demand);
        if root != self.me.root && !news.is_empty() {
            out.push(Effect::Demanded { org, news });
        }
    }

    /// What was missed here and what the other orgs say, with what lies in these categories marked.
    #[must_use]
    pub fn demand_report(&self, subscriptions: &[CategoryPrefix], now_ms: u64) -> DemandReport {
        let here = self.demand.watch.report();
        let missed = self.demand.others.report(&self.me.root, now_ms).into_iter();
        let federation = missed.map(|missed| {
            let need = Need::of_unmet(&missed.unmet);
            DemandShown {
                subscribed: subscriptions.iter().any(|prefix| need.is_within(prefix)),
                unmet: missed.unmet,
                orgs: missed.orgs,
                until_ms: missed.until_ms,
            }
        });
        DemandReport {
            here: here.unmet.into_iter().map(|(unmet, _)| unmet).collect(),
            here_since_ms: here.since_ms,
            federation: federation.collect(),
            subscriptions: subscriptions.to_vec(),
            open: here.open,
            dropped: here.dropped,
            least: LEAST,
        }
    }

    /// Goes up whenever what [`save_demand`](Self::save_demand) returns changes.
    #[must_use]
    pub const fn demand_revision(&self) -> u64 {
        self.demand.watch.revision()
    }

    /// What was counted here, to survive a restart.
    #[must_use]
    pub fn save_demand(&self) -> Saved {
        self.demand.watch.save()
    }

    /// Goes on counting from what was saved. Called before the records are loaded.
    pub fn restore_demand(&mut self, saved: Saved) {
        self.demand.watch = Watch::restore(saved);
    }

    /// Takes over what is being watched from the core before, when a node moves into another federation.
    pub(crate) fn succeed_demand(&mut self, before: &Self) {
        self.demand.watch = before.demand.watch.clone();
        self.demand.watch.give_up();
    }
}

/// As what a category is told: itself if it is in the vocabulary or somebody listed something in it, else the nearest of
/// what it lies in for which that holds. What only one who asks has said stays here.
fn nearest_said(category: &CategoryPrefix, listed: &BTreeSet<CategoryPrefix>) -> CategoryPrefix {
    let is_said = |prefix: &CategoryPrefix| {
        let is_own = prefix.as_str().split('/').any(|part| part.starts_with(OWN));
        listed.contains(prefix) || (!is_own && vocabulary::is_known_prefix(prefix))
    };
    let mut text = category.as_str();
    loop {
        match text.parse() {
            Ok(prefix) if is_said(&prefix) => return prefix,
            _ => match text.rsplit_once('/') {
                Some((above, _)) => text = above,
                None => return CategoryPrefix::everything(),
            },
        }
    }
}
