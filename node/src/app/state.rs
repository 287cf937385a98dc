//! What `GET /status` says besides who the node is: how complete it is, who disagrees, what waits.

use guildhall_core::Core;
use guildhall_overlay::peer_id_string;
use guildhall_protocol::api::{ClockDifference, Completeness, Disagreement, Followed, Queued};

use super::{App, EVENTS_MAX, keeper};
use crate::clock;

/// How much of what there is is here.
pub(super) fn completeness(core: &Core) -> Completeness {
    let records_held = core.logs().records();
    let (bodiless, bodies_missing) = core.logs().bodiless();
    let followed = |category: &guildhall_protocol::name::CategoryPrefix| Followed {
        category: category.clone(),
        listings: core.catalog().len_within(category),
    };
    Completeness {
        records_held,
        records_known: core.records_known(),
        bodies_held: records_held.saturating_sub(bodiless),
        bodies_missing,
        follows: core.settings().follows.iter().map(followed).collect(),
    }
}

/// Who disagrees.
pub(super) fn disagreeing(core: &Core) -> Vec<Disagreement> {
    let told = core.disagreeing().into_iter().map(|one| Disagreement {
        peer_id: peer_id_string(&one.peer),
        org: one.org,
        since_s: one.since_ms / 1_000,
        missing_here: one.missing_here,
        missing_there: one.missing_there,
    });
    told.collect()
}

/// Where the clocks of others stand.
pub(super) fn clock_difference(core: &Core) -> Option<ClockDifference> {
    let view = core.clock_view(clock::now_ms())?;
    Some(ClockDifference { off_ms: view.off_ms, orgs: view.orgs })
}

impl App {
    /// What waits, where something does.
    pub(super) fn queued(&self, core: &Core) -> Vec<Queued> {
        let of = |what: &str, count: usize, bound: usize| Queued {
            what: what.to_owned(),
            count: count as u64,
            bound: bound as u64,
        };
        let mut queued = core.queued();
        queued.push(of("groups of records for the disk", self.keeper.waiting(), keeper::QUEUE_MAX));
        let events = EVENTS_MAX.saturating_sub(self.events.capacity());
        queued.push(of("answers to be looked at", events, EVENTS_MAX));
        queued.retain(|one| one.count > 0);
        queued
    }
}
