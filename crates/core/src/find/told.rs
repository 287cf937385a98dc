//! What one node was asked and said.

use std::collections::BTreeSet;

use guildhall_protocol::api::AskOutcome;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::{PublicKey, RecordId};

use super::take::Refused;
use crate::event::NodeAsked;
use crate::moment::Moment;

/// How long a node's answer is taken for what it would say now: somebody who refines a search, or turns its pages,
/// asks nobody again. A listing that is heard of meanwhile and would be an answer ends it at once.
pub(super) const REMEMBERED_MS: u64 = 30_000;

/// How long a node that failed is not asked the same again, so that one absent holder does not hold up every search.
/// Shorter than an answer is remembered, because nothing else says that the node is well again.
const FAILED_MS: u64 = 10_000;

/// What a node was asked and said.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) org: OrgName,
    pub(super) whole: bool,
    /// The round in which it was asked.
    pub(super) round: u64,
    pub(super) since: Moment,
    pub(super) step: Step,
    pub(super) got: Got,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To be asked as soon as it is admitted.
    Wanted,
    /// A call is under way. It may outlive its round; what it brings then is remembered.
    Awaited,
    Answered {
        at: Moment,
        /// Ticks for which it is remembered; less than usual when something new was heard of.
        for_ticks: u64,
    },
    Failed {
        at: Moment,
        outcome: AskOutcome,
    },
}

/// What came of a node's answer so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Got {
    /// Listings that hold.
    pub(super) listings: u64,
    /// Which they are, until the last page: one that is named twice counts once.
    pub(super) ids: BTreeSet<RecordId>,
    pub(super) refused: Refused,
    /// Listings that were looked at, whatever became of them.
    pub(super) looked_at: usize,
    pub(super) pages: u32,
    /// Listings for which there was no room here.
    pub(super) no_room: u64,
    /// Whether the node may have more to say than it was let.
    pub(super) is_cut: bool,
}

impl Told {
    /// Whether it is not to be asked in a further round: it answered or failed a moment ago, or is still being asked.
    pub(super) fn stands(&self, now: Moment) -> bool {
        match self.step {
            Step::Wanted | Step::Awaited => true,
            Step::Answered { at, for_ticks } => {
                at.age_ms(now) < REMEMBERED_MS && now.tick.saturating_sub(at.tick) < for_ticks
            }
            Step::Failed { at, .. } => at.age_ms(now) < FAILED_MS,
        }
    }

    /// Whether its answer is one of those that are [`ENOUGH`](super::question::ENOUGH): complete by its own words, and without anything made up.
    pub(super) fn is_good(&self) -> bool {
        self.whole && matches!(self.step, Step::Answered { .. }) && self.got.refused.total() == 0
    }

    pub(super) fn report(&self, node: PublicKey, round: u64, now: Moment) -> NodeAsked {
        let (outcome, ms) = match self.step {
            Step::Answered { at, .. } if self.round == round => {
                (AskOutcome::Answered, self.since.took_ms(at))
            }
            Step::Answered { at, .. } => (AskOutcome::Remembered, at.age_ms(now)),
            Step::Failed { at, outcome } => (outcome, self.since.took_ms(at)),
            Step::Wanted | Step::Awaited => (AskOutcome::Late, self.since.took_ms(now)),
        };
        let listings = self.got.listings;
        let (org, refused) = (self.org.clone(), self.got.refused.total());
        NodeAsked { node, org, outcome, listings, refused, ms }
    }

    /// Says what was left out of its answer.
    pub(super) fn explain(&self, notes: &mut Vec<String>) {
        let org = &self.org;
        if self.got.refused.total() > 0 {
            notes.push(format!("{} of a node of {org} were left out", self.got.refused));
        }
        if self.got.no_room > 0 {
            notes.push(format!(
                "{} listings of a node of {org} were left out: too many of other categories are held here",
                self.got.no_room
            ));
        }
        if self.got.is_cut {
            notes.push(format!(
                "a node of {org} may know more answers than it was asked for; ask for less at once"
            ));
        }
    }
}
