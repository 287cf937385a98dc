//! Who agrees with this node: what the last comparison of logs with each peer found to differ, and since when; and where
//! the clocks of the others stand.
//!
//! Nothing here is proven: a peer can name records that do not exist, and a time that it does not believe in. It is shown
//! to people, one org one voice where it is summed up, and decides nothing.

use std::collections::BTreeMap;

use guildhall_protocol::PublicKey;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::wire::LogHead;

use crate::node::Core;

/// Records that one side has and the other one has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lacks {
    /// Records that the peer says to have and that are not here.
    pub(crate) here: u64,
    /// Records that are here and that the peer does not say to have.
    pub(crate) there: u64,
}

impl Lacks {
    /// Adds what differs between these logs, each side by author.
    pub(crate) fn add(&mut self, ours: &[LogHead], theirs: &[LogHead]) {
        let mut lens: BTreeMap<PublicKey, (u64, u64)> = BTreeMap::new();
        ours.iter().for_each(|head| lens.entry(head.author).or_default().0 = head.len);
        theirs.iter().for_each(|head| lens.entry(head.author).or_default().1 = head.len);
        for (ours, theirs) in lens.into_values() {
            self.here = self.here.saturating_add(theirs.saturating_sub(ours));
            self.there = self.there.saturating_add(ours.saturating_sub(theirs));
        }
    }
}

/// What comparisons with a peer came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Agreement {
    /// Of the comparison that is under way, page by page.
    pub(crate) so_far: Lacks,
    /// Of the last one that ended, where it found something.
    lacks: Option<Lacks>,
    /// Since when every comparison found something.
    since_ms: u64,
}

impl Agreement {
    /// A comparison ended.
    pub(crate) fn end(&mut self, now_ms: u64) {
        let found = std::mem::take(&mut self.so_far);
        let differs = found != Lacks::default();
        if differs && self.lacks.is_none() {
            self.since_ms = now_ms;
        }
        self.lacks = differs.then_some(found);
    }
}

/// A connected peer whose logs differed from those here when they were last compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreeing {
    /// The peer.
    pub peer: PublicKey,
    /// Its org.
    pub org: OrgName,
    /// For how long every comparison has found a difference, milliseconds.
    pub since_ms: u64,
    /// Records that it says to have and that were not here.
    pub missing_here: u64,
    /// Records that were here and that it did not say to have.
    pub missing_there: u64,
}

/// Where the clocks of other orgs stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockView {
    /// Median of the others' clocks less this node's, milliseconds. To within the time that a message takes and a tick.
    pub off_ms: i64,
    /// Orgs that said what time it is.
    pub orgs: u64,
}

impl Core {
    /// Admitted peers that disagree, the longest first.
    #[must_use]
    pub fn disagreeing(&self) -> Vec<Disagreeing> {
        let now_ms = self.fresh.steady_ms();
        let mut disagreeing: Vec<Disagreeing> = self
            .peers
            .iter()
            .filter_map(|(peer, state)| {
                let lacks = state.agreement.lacks?;
                Some(Disagreeing {
                    peer: *peer,
                    org: state.admitted.as_ref()?.org.clone(),
                    since_ms: now_ms.saturating_sub(state.agreement.since_ms),
                    missing_here: lacks.here,
                    missing_there: lacks.there,
                })
            })
            .collect();
        disagreeing.sort_by_key(|one| (std::cmp::Reverse(one.since_ms), one.peer));
        disagreeing
    }

    /// Records that are here or that a connected peer says to have.
    #[must_use]
    pub fn records_known(&self) -> u64 {
        self.logs.records().saturating_add(self.schedule.missing(&self.logs))
    }

    /// A peer's hello said what time it is there.
    pub(crate) fn note_clock(&mut self, peer: &PublicKey, their_ms: Option<u64>) {
        let steady_ms = self.fresh.steady_ms();
        if let Some(state) = self.peers.get_mut(peer)
            && let Some(their_ms) = their_ms
        {
            state.clock = Some((their_ms, steady_ms));
        }
    }

    /// Where other orgs' clocks stand by now, if any said so. Their clocks are taken to have gone on as time did here,
    /// so that a clock that is set here shows at once.
    #[must_use]
    pub fn clock_view(&self, now_ms: u64) -> Option<ClockView> {
        let steady_ms = self.fresh.steady_ms();
        let mut by_org: BTreeMap<PublicKey, Vec<i64>> = BTreeMap::new();
        for state in self.peers.values() {
            let (Some(authority), Some((their_ms, at_ms))) = (&state.admitted, state.clock) else {
                continue;
            };
            if authority.root != self.me.root {
                let there_ms = their_ms.saturating_add(steady_ms.saturating_sub(at_ms));
                by_org.entry(authority.root).or_default().push(difference(there_ms, now_ms));
            }
        }
        let orgs = by_org.len() as u64;
        let voices = by_org.into_values().filter_map(median).collect();
        Some(ClockView { off_ms: median(voices)?, orgs })
    }
}

/// One time less another, within what a number holds.
fn difference(one_ms: u64, other_ms: u64) -> i64 {
    let off = i128::from(one_ms) - i128::from(other_ms);
    i64::try_from(off).unwrap_or(if off < 0 { i64::MIN } else { i64::MAX })
}

/// The middle one; of two, the one nearer to nothing, so that one liar of two accuses nobody.
fn median(mut values: Vec<i64>) -> Option<i64> {
    values.sort_unstable();
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *values.get(values.len() / 2 - 1)?;
    Some(if lower.unsigned_abs() < upper.unsigned_abs() { lower } else { upper })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_clock_is_believed_and_extremes_are_not() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![7]), Some(7));
        assert_eq!(median(vec![i64::MAX, 3, -2]), Some(3));
        assert_eq!(median(vec![i64::MIN, 40]), Some(40));
        assert_eq!(median(vec![-40, i64::MAX]), Some(-40));
        assert_eq!(difference(u64::MAX, 0), i64::MAX);
        assert_eq!(difference(0, u64::MAX), i64::MIN);
        assert_eq!(difference(5, 9), -4);
    }
}
