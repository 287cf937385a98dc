//! The nodes that may execute a run, best first, and what the run has seen of each: whom to ask next, and whether it may
//! hold the question.
//!
//! Nodes that were not asked yet come first and answer at once: one of them may have a slot that is free. Only when all
//! that are left were busy, one of them may hold the question: the one that said to come soonest, of those where the
//! run's turn is near. Beside it the others are asked at the times that they named, as if nobody held anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use guildhall_pipeline::Placed;
use guildhall_protocol::PublicKey;
use guildhall_protocol::name::OrgName;

/// Shares of one run on one node at once: its slots are others' too.
const SHARES_PER_NODE_MAX: usize = 8;

/// Orgs whose nodes may fail one after the other before any node becomes ready: if those of four cannot do it, a fifth
/// will hardly do better, and somebody is waiting. Orgs and not nodes, since one org may have many and want them to
/// fail.
const ORGS_FAILED_MAX: usize = 4;

/// The nodes of one run.
pub(super) struct Nodes {
    placed: Vec<Placed>,
    /// Those that could not do it: they are asked no more.
    failed: BTreeSet<PublicKey>,
    /// Their orgs: others of these are asked last.
    failed_orgs: BTreeSet<OrgName>,
    /// Those that were busy when they were asked last.
    busy: BTreeMap<PublicKey, Busy>,
    /// Orgs that failed since a node became ready.
    failed_in_a_row: BTreeSet<OrgName>,
}

/// A node that was busy.
#[derive(Clone, Copy, Debug)]
struct Busy {
    /// When to ask again.
    until: Instant,
    /// The run's turn there may be near: it may be asked before, if it holds the question.
    is_near: bool,
}

impl Nodes {
    pub(super) fn new(placed: Vec<Placed>) -> Self {
        Self {
            placed,
            failed: BTreeSet::new(),
            failed_orgs: BTreeSet::new(),
            busy: BTreeMap::new(),
            failed_in_a_row: BTreeSet::new(),
        }
    }

    /// The next one to ask when there is a share on each of `with`: of an org that has not failed, with the fewest
    /// shares, the better placed of equals.
    pub(super) fn next(&self, with: &[PublicKey], now: Instant) -> Option<&Placed> {
        let count = |node: &PublicKey| with.iter().filter(|other| *other == node).count();
        self.free(now)
            .filter(|placed| count(&placed.node) < SHARES_PER_NODE_MAX)
            .min_by_key(|placed| (self.failed_orgs.contains(&placed.org), count(&placed.node)))
    }

    /// The next one to ask because nothing comes of those of `with`: none of them, and rather of another org.
    pub(super) fn next_other(&self, with: &[PublicKey], now: Instant) -> Option<&Placed> {
        let is_with = |placed: &&Placed| with.contains(&placed.node);
        let silent: BTreeSet<&OrgName> =
            self.placed.iter().filter(is_with).map(|placed| &placed.org).collect();
        self.free(now).filter(|placed| !is_with(placed)).min_by_key(|placed| {
            (self.failed_orgs.contains(&placed.org), silent.contains(&placed.org))
        })
    }

    /// The next one to ask so that it holds the question, when none is asked now: `None` while one that is left was not
    /// busy, or all want to be asked later.
    pub(super) fn next_to_hold(&self, now: Instant) -> Option<&Placed> {
        let mut soonest: Option<(Instant, &Placed)> = None;
        for placed in self.left() {
            let busy = self.busy.get(&placed.node)?;
            let may_hold = busy.is_near || busy.until <= now;
            if may_hold && soonest.is_none_or(|(until, _)| busy.until < until) {
                soonest = Some((busy.until, placed));
            }
        }
        soonest.map(|(_, placed)| placed)
    }

    /// Those that may be asked, now or later.
    fn left(&self) -> impl Iterator<Item = &Placed> {
        let is_any_left = self.is_any_left();
        self.placed
            .iter()
            .filter(move |_| is_any_left)
            .filter(|placed| !self.failed.contains(&placed.node))
    }

    fn free(&self, now: Instant) -> impl Iterator<Item = &Placed> {
        self.left()
            .filter(move |placed| self.busy.get(&placed.node).is_none_or(|busy| busy.until <= now))
    }

    /// Whether some node could be asked, now or later.
    pub(super) fn is_any_left(&self) -> bool {
        self.failed_in_a_row.len() < ORGS_FAILED_MAX
            && self.placed.iter().any(|placed| !self.failed.contains(&placed.node))
    }

    /// When the first of the busy ones may be asked again, those of `with` left out.
    pub(super) fn next_free(&self, with: &[PublicKey]) -> Option<Instant> {
        let others = self.left().filter(|placed| !with.contains(&placed.node));
        others.filter_map(|placed| self.busy.get(&placed.node)).map(|busy| busy.until).min()
    }

    pub(super) fn note_ready(&mut self) {
        self.failed_in_a_row.clear();
    }

    pub(super) fn note_failed(&mut self, node: PublicKey, org: OrgName) {
        self.failed.insert(node);
        self.failed_orgs.insert(org.clone());
        self.failed_in_a_row.insert(org);
    }

    pub(super) fn note_busy(&mut self, node: PublicKey, until: Instant, is_near: bool) {
        self.busy.insert(node, Busy { until, is_near });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::time::Duration;

    use guildhall_protocol::SecretKey;

    use super::*;

    fn key(seed: u8) -> PublicKey {
        SecretKey::from_seed(&[seed; 32]).public()
    }

    /// Nodes 0 and up, each of the org that is named in its place.
    fn nodes(orgs: &[&str]) -> Nodes {
        let placed = (0..).zip(orgs).map(|(seed, org)| Placed {
            node: key(seed),
            org: org.parse().unwrap(),
            rtt_us: None,
            why: String::new(),
        });
        Nodes::new(placed.collect())
    }

    fn asked(next: Option<&Placed>) -> Option<PublicKey> {
        next.map(|placed| placed.node)
    }

    #[test]
    fn beside_a_silent_node_one_of_another_org_is_asked_and_never_itself() {
        let now = Instant::now();
        let nodes = nodes(&["lab-x", "lab-x", "lab-b"]);
        assert_eq!(asked(nodes.next(&[], now)), Some(key(0)));
        assert_eq!(asked(nodes.next_other(&[key(0)], now)), Some(key(2)));
        assert_eq!(asked(nodes.next_other(&[key(0), key(2)], now)), Some(key(1)));
        assert_eq!(asked(nodes.next_other(&[key(0), key(1), key(2)], now)), None);
    }

    #[test]
    fn nodes_of_an_org_that_failed_are_asked_last_and_do_not_end_a_run_by_their_number() {
        let now = Instant::now();
        let mut nodes = nodes(&["lab-x", "lab-x", "lab-x", "lab-x", "lab-x", "lab-b"]);
        nodes.note_failed(key(0), "lab-x".parse().unwrap());
        assert_eq!(asked(nodes.next(&[], now)), Some(key(5)));
        for seed in 1..5 {
            nodes.note_failed(key(seed), "lab-x".parse().unwrap());
        }
        assert_eq!(asked(nodes.next(&[], now)), Some(key(5)));
        nodes.note_failed(key(5), "lab-b".parse().unwrap());
        assert!(!nodes.is_any_left());
    }

    #[test]
    fn after_four_orgs_in_a_row_nobody_is_asked_unless_one_became_ready() {
        let orgs = ["lab-a", "lab-b", "lab-c", "lab-d", "lab-e"];
        for became_ready in [false, true] {
            let mut nodes = nodes(&orgs);
            for (seed, org) in (0..4).zip(orgs) {
                nodes.note_failed(key(seed), org.parse().unwrap());
                if became_ready && seed == 2 {
                    nodes.note_ready();
                }
            }
            assert_eq!(nodes.is_any_left(), became_ready);
            assert_eq!(asked(nodes.next(&[], Instant::now())).is_some(), became_ready);
        }
    }

    #[test]
    fn a_busy_node_is_asked_again_when_its_time_has_come() {
        let now = Instant::now();
        let later = now + Duration::from_secs(9);
        let mut nodes = nodes(&["lab-b"]);
        nodes.note_busy(key(0), later, false);
        assert_eq!(asked(nodes.next(&[], now)), None);
        assert_eq!(nodes.next_free(&[]), Some(later));
        assert_eq!(nodes.next_free(&[key(0)]), None);
        assert_eq!(asked(nodes.next(&[], later)), Some(key(0)));
    }

    #[test]
    fn a_node_holds_the_question_only_when_all_were_busy_and_the_one_whose_turn_is_soonest() {
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let mut nodes = nodes(&["lab-a", "lab-b", "lab-c"]);
        nodes.note_busy(key(0), later(2), true);
        assert_eq!(asked(nodes.next_to_hold(now)), None, "two others may be free");
        nodes.note_busy(key(1), later(1), true);
        assert_eq!(asked(nodes.next_to_hold(now)), None);
        assert_eq!(asked(nodes.next(&[], now)), Some(key(2)));
        nodes.note_failed(key(2), "lab-c".parse().unwrap());
        assert_eq!(asked(nodes.next_to_hold(now)), Some(key(1)));
        // It did not hold it although it might have.
        nodes.note_busy(key(1), later(1), false);
        assert_eq!(asked(nodes.next_to_hold(now)), Some(key(0)));
        nodes.note_busy(key(0), later(3), false);
        assert_eq!(asked(nodes.next_to_hold(now)), None, "both want to be asked later");
        assert_eq!(asked(nodes.next_to_hold(later(1))), Some(key(1)));
        // Beside one that holds it, the others are asked when they said.
        assert_eq!(asked(nodes.next_other(&[key(1)], later(1))), None);
        assert_eq!(nodes.next_free(&[key(1)]), Some(later(3)));
        assert_eq!(asked(nodes.next_other(&[key(1)], later(3))), Some(key(0)));
    }
}
