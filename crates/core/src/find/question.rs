//! A question that other nodes are or were asked: who was asked in which order, what each said, who waits for the
//! answer.
//!
//! Nothing here sends or verifies. A *round* is the time from somebody's asking to the answer; after it the nodes'
//! answers are remembered for some time. Invariants: somebody waits if and only if there is a round, and a round asks at
//! most [`ASKED_MAX`] nodes, each once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use guildhall_protocol::api::{AskOutcome, Via};
use guildhall_protocol::name::OrgName;
use guildhall_protocol::query::Query;
use guildhall_protocol::{Hash, PublicKey};

use super::told::{Got, REMEMBERED_MS, Step, Told};
use crate::event::NodeAsked;
use crate::moment::Moment;

/// Good answers that are enough, and nodes asked at once. Holders of a category should hold the same listings; three
/// of them make up for one that lags and one that keeps something back.
pub(super) const ENOUGH: usize = 3;

/// Nodes asked in one round, with those that stand in for slow, absent and lying ones.
pub(super) const ASKED_MAX: usize = 8;

/// Ticks that a round waits for the DHT, one to two seconds. Then members are asked that say they follow the category:
/// a lookup may take far longer than a person waits.
const LOCATE_TICKS: u64 = 2;

/// Ticks that a round waits for other nodes, three to four seconds. Not wall time, which may be set back.
const ROUND_TICKS: u64 = 4;

/// Ticks after which another node is asked besides a slow one: at the first one after it was asked.
const HEDGE_TICKS: u64 = 1;

/// Ticks for which an answer is not remembered beyond them after a listing was heard of that it may lack: the node
/// that was asked may have heard of it later.
const SETTLE_TICKS: u64 = 3;

/// Who may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) node: PublicKey,
    pub(super) org: OrgName,
    /// Whether it says that it keeps all that could be an answer. Others are asked too, but not instead.
    pub(super) whole: bool,
}

/// Where candidates come from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Located {
    pub(super) via: Via,
    /// Holders that the DHT named.
    pub(super) holders: u64,
    /// The best to ask first.
    pub(super) candidates: Vec<Candidate>,
}

/// Someone who waits for the answer.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ask: Hash,
    pub(super) query: Query,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Question {
    /// What travels.
    pub(super) query: Query,
    waiting: Vec<Waiting>,
    round: Option<Round>,
    /// How many rounds there were.
    rounds: u64,
    nodes: BTreeMap<PublicKey, Told>,
    /// What the DHT said, and when.
    located: Option<(Moment, Located)>,
    used: Moment,
    /// The tick until which nodes may not have heard of a listing that would be an answer.
    unsettled_until: u64,
}

#[derive(Debug)]
struct Round {
    begun: Moment,
    /// `None` while the DHT is looked at.
    found: Option<(Via, u64)>,
    /// Not asked yet.
    candidates: VecDeque<Candidate>,
    asked: Vec<PublicKey>,
    notes: Vec<String>,
}

impl Question {
    pub(super) fn new(query: Query, now: Moment) -> Self {
        Self {
            query,
            waiting: Vec::new(),
            round: None,
            rounds: 0,
            nodes: BTreeMap::new(),
            located: None,
            used: now,
            unsettled_until: 0,
        }
    }

    /// Lets somebody wait for the answer.
    pub(super) fn join(&mut self, waiting: Waiting) {
        self.waiting.push(waiting);
    }

    /// Whether it is being asked.
    pub(super) const fn is_open(&self) -> bool {
        self.round.is_some()
    }

    /// When it was last answered.
    pub(super) const fn used(&self) -> Moment {
        self.used
    }

    /// Begins a round. What the DHT said a moment ago holds; `false` when it has to be asked.
    pub(super) fn begin(&mut self, now: Moment) -> bool {
        self.rounds += 1;
        self.round = Some(Round {
            begun: now,
            found: None,
            candidates: VecDeque::new(),
            asked: Vec::new(),
            notes: Vec::new(),
        });
        match self.located.take() {
            Some((at, located)) if at.age_ms(now) < REMEMBERED_MS => {
                self.begin_asking(at, located);
                true
            }
            _ => false,
        }
    }

    /// It is known who may be asked.
    pub(super) fn handle_located(&mut self, now: Moment, located: Located) {
        self.begin_asking(now, located);
    }

    fn begin_asking(&mut self, at: Moment, located: Located) {
        let Some(round) = &mut self.round else { return };
        round.found = Some((located.via, located.holders));
        round.candidates = located.candidates.iter().cloned().collect();
        // Members' own words are at hand anyway, and the DHT may know more soon.
        self.located = (located.via == Via::Dht).then_some((at, located));
    }

    /// The next node that is to be asked now; it counts as asked.
    pub(super) fn next_to_ask(&mut self, now: Moment) -> Option<PublicKey> {
        loop {
            let credit = self.credit(now);
            let round = self.round.as_mut().filter(|round| round.found.is_some())?;
            if credit >= ENOUGH || round.asked.len() >= ASKED_MAX {
                return None;
            }
            let Candidate { node, org, whole } = round.candidates.pop_front()?;
            round.asked.push(node);
            if !self.nodes.get(&node).is_some_and(|told| told.stands(now)) {
                let (step, got) = (Step::Wanted, Got::default());
                let told = Told { org, whole, round: self.rounds, since: now, step, got };
                self.nodes.insert(node, told);
                return Some(node);
            }
        }
    }

    /// Good answers, and nodes that may soon give one.
    fn credit(&self, now: Moment) -> usize {
        let soon = |told: &Told| {
            self.is_waited_for(told) && now.tick.saturating_sub(told.since.tick) < HEDGE_TICKS
        };
        self.asked().filter(|told| told.is_good() || (told.whole && soon(told))).count()
    }

    fn asked(&self) -> impl Iterator<Item = &Told> {
        let asked = self.round.iter().flat_map(|round| &round.asked);
        asked.filter_map(|node| self.nodes.get(node))
    }

    fn is_waited_for(&self, told: &Told) -> bool {
        told.round == self.rounds && matches!(told.step, Step::Wanted | Step::Awaited)
    }

    /// Whether the DHT takes too long.
    pub(super) fn is_unlocated(&self, now: Moment) -> bool {
        let is_late = |round: &Round| {
            round.found.is_none() && now.tick.saturating_sub(round.begun.tick) >= LOCATE_TICKS
        };
        self.round.as_ref().is_some_and(is_late)
    }

    pub(super) fn is_locating(&self) -> bool {
        self.round.as_ref().is_some_and(|round| round.found.is_none())
    }

    /// Whether the answer is to be given: nothing is gained by waiting, or there is no more time.
    pub(super) fn is_done(&self, now: Moment) -> bool {
        let Some(round) = &self.round else { return false };
        if now.tick.saturating_sub(round.begun.tick) >= ROUND_TICKS {
            return true;
        }
        round.found.is_some()
            && (self.asked().filter(|told| told.is_good()).count() >= ENOUGH
                || !self.asked().any(|told| self.is_waited_for(told)))
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        if let Some(round) = &mut self.round {
            round.notes.push(note.into());
        }
    }

    /// Ends the round.
    pub(super) fn end(&mut self, now: Moment) -> (Vec<Waiting>, Asking) {
        self.used = now;
        let waiting = std::mem::take(&mut self.waiting);
        let Some(round) = self.round.take() else { return (waiting, Asking::nobody()) };
        for told in self.nodes.values_mut().filter(|told| told.step == Step::Wanted) {
            told.step = Step::Failed { at: now, outcome: AskOutcome::Unreachable };
        }
        let (via, holders) = round.found.unwrap_or((Via::Members, 0));
        let mut asking = Asking { via, holders, nodes: Vec::new(), notes: round.notes };
        for (node, told) in
            round.asked.iter().filter_map(|node| Some((node, self.nodes.get(node)?)))
        {
            asking.nodes.push(told.report(*node, self.rounds, now));
            told.explain(&mut asking.notes);
        }
        asking.name_missing();
        (waiting, asking)
    }
}

/// What becomes of the nodes that are asked.
impl Question {
    /// A wanted node is being asked; `false` when it is not wanted.
    pub(super) fn try_send(&mut self, node: &PublicKey) -> bool {
        match self.nodes.get_mut(node) {
            Some(told) if told.step == Step::Wanted => {
                told.step = Step::Awaited;
                true
            }
            _ => false,
        }
    }

    pub(super) fn wanted(&self) -> impl Iterator<Item = PublicKey> {
        let wanted = self.nodes.iter().filter(|(_, told)| told.step == Step::Wanted);
        wanted.map(|(node, _)| *node)
    }

    /// What an awaited node has said so far; `None` when nothing is awaited of it.
    pub(super) fn got(&self, node: &PublicKey) -> Option<Got> {
        let told = self.nodes.get(node).filter(|told| told.step == Step::Awaited)?;
        Some(told.got.clone())
    }

    /// A page came, and a further one is asked for.
    pub(super) fn handle_page(&mut self, node: &PublicKey, got: Got) {
        if let Some(told) = self.nodes.get_mut(node) {
            told.got = got;
        }
    }

    /// A node's last page came.
    pub(super) fn handle_answer(&mut self, node: &PublicKey, got: Got, now: Moment) {
        let for_ticks = match self.unsettled_until.saturating_sub(now.tick) {
            0 => u64::MAX,
            ticks => ticks,
        };
        if let Some(told) = self.nodes.get_mut(node) {
            told.got = Got { ids: BTreeSet::new(), ..got };
            told.step = Step::Answered { at: now, for_ticks };
        }
    }

    /// Nothing more comes of a node.
    pub(super) fn handle_failure(&mut self, node: &PublicKey, outcome: AskOutcome, now: Moment) {
        if let Some(told) = self.nodes.get_mut(node)
            && matches!(told.step, Step::Wanted | Step::Awaited)
        {
            told.step = Step::Failed { at: now, outcome };
        }
    }

    /// A node has not heard our hello yet: it is to be asked again.
    pub(super) fn ask_again(&mut self, node: &PublicKey) {
        let is_open = self.round.is_some();
        if let Some(told) = self.nodes.get_mut(node)
            && told.step == Step::Awaited
        {
            match is_open {
                true => told.step = Step::Wanted,
                false => drop(self.nodes.remove(node)),
            }
        }
    }

    /// A node is back: that it failed says nothing any more. In a round that goes on it has had its turn.
    pub(super) fn handle_back(&mut self, node: &PublicKey) {
        let has_failed = |told: &Told| matches!(told.step, Step::Failed { .. });
        if self.round.is_none() && self.nodes.get(node).is_some_and(has_failed) {
            self.nodes.remove(node);
        }
    }

    /// A listing was heard of that the answers may lack.
    pub(super) fn handle_news(&mut self, now: Moment) {
        self.unsettled_until = now.tick + SETTLE_TICKS;
        for told in self.nodes.values_mut() {
            if let Step::Answered { at, for_ticks } = &mut told.step {
                *for_ticks = now.tick.saturating_sub(at.tick);
            }
        }
    }
}

/// Whom a round asked, and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) via: Via,
    pub(super) holders: u64,
    pub(super) nodes: Vec<NodeAsked>,
    pub(super) notes: Vec<String>,
}

impl Asking {
    /// The answer comes from here alone.
    pub(super) const fn nobody() -> Self {
        Self { via: Via::Local, holders: 0, nodes: Vec::new(), notes: Vec::new() }
    }

    fn name_missing(&mut self) {
        let is_missing = |node: &&NodeAsked| {
            matches!(node.outcome, AskOutcome::Late | AskOutcome::Unreachable | AskOutcome::Refused)
        };
        let orgs: Vec<&str> =
            self.nodes.iter().filter(is_missing).map(|node| node.org.as_str()).collect();
        if !orgs.is_empty() {
            let (count, orgs) = (orgs.len(), orgs.join(", "));
            self.notes.push(format!("{count} nodes did not answer: {orgs}"));
        }
    }
}

#[cfg(test)]
mod tests;
