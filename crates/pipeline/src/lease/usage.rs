//! What other orgs used of the hardware within the last 24 hours.
//!
//! Counted in whole hours: what was used in one counts until 24 hours after it began, so the window is 23 to 24 hours
//! long. Bounds: 24 hours an org, [`ORGS_MAX`] orgs; beyond, the org that used least is forgotten.

use std::collections::BTreeMap;

use guildhall_protocol::name::OrgName;
use serde::{Deserialize, Serialize};

/// Orgs whose use is counted: a large federation. Whoever is forgotten beyond that had used next to nothing.
pub(super) const ORGS_MAX: usize = 1_024;

/// Hours that count: a day.
const HOURS: u64 = 24;

/// Milliseconds of an hour.
const HOUR_MS: u64 = 60 * 60 * 1000;

/// Microseconds of a second.
const SECOND_US: u64 = 1_000_000;

/// Core time that each org used, by hour. A node keeps it as a document, so that a restart forgets nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    orgs: BTreeMap<OrgName, Vec<Hour>>,
}

/// What was used within an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Hour {
    /// Hours since 1970.
    hour: u64,
    /// Microseconds of one core.
    core_us: u64,
}

impl Usage {
    /// Adds what a job of `org` used.
    pub(super) fn add(&mut self, now_ms: u64, org: &OrgName, core_us: u64) {
        let now = now_ms / HOUR_MS;
        let hours = self.orgs.entry(org.clone()).or_default();
        forget_old(hours, now);
        match hours.iter_mut().find(|hour| hour.hour == now) {
            Some(hour) => hour.core_us = hour.core_us.saturating_add(core_us),
            None => hours.push(Hour { hour: now, core_us }),
        }
        self.bound(now);
    }

    /// What `org` used, microseconds of one core.
    pub(super) fn used_us(&self, now_ms: u64, org: &OrgName) -> u64 {
        let now = now_ms / HOUR_MS;
        let hours = self.orgs.get(org).into_iter().flatten();
        hours.filter(|hour| counts(hour, now)).fold(0, |sum, hour| sum.saturating_add(hour.core_us))
    }

    /// When so much of what `org` used counts no more that less than `quota` core-seconds are left, milliseconds from
    /// now; `None` when that is so already.
    pub(super) fn over_quota_ms(&self, now_ms: u64, org: &OrgName, quota: u64) -> Option<u64> {
        let quota_us = quota.saturating_mul(SECOND_US);
        let mut used_us = self.used_us(now_ms, org);
        if used_us < quota_us {
            return None;
        }
        let now = now_ms / HOUR_MS;
        let hours = self.orgs.get(org).into_iter().flatten();
        let mut hours: Vec<Hour> = hours.filter(|hour| counts(hour, now)).copied().collect();
        hours.sort_unstable_by_key(|hour| hour.hour);
        for hour in hours {
            used_us = used_us.saturating_sub(hour.core_us);
            if used_us < quota_us {
                let ends_ms = hour.hour.saturating_add(HOURS).saturating_mul(HOUR_MS);
                return Some(ends_ms.saturating_sub(now_ms));
            }
        }
        // Only a quota of nothing is left, and that is none.
        Some(HOURS.saturating_mul(HOUR_MS))
    }

    /// Orgs that used something, in order of name, and how much, microseconds of one core.
    pub(super) fn all(&self, now_ms: u64) -> BTreeMap<&OrgName, u64> {
        let used = self.orgs.keys().map(|org| (org, self.used_us(now_ms, org)));
        used.filter(|(_, used_us)| *used_us > 0).collect()
    }

    /// The same without what no longer counts and what nobody can have written: it comes from a disk.
    pub(super) fn checked(mut self, now_ms: u64) -> Self {
        let now = now_ms / HOUR_MS;
        for hours in self.orgs.values_mut() {
            forget_old(hours, now);
        }
        self.bound(now);
        self
    }

    fn bound(&mut self, now: u64) {
        if self.orgs.len() <= ORGS_MAX {
            return;
        }
        self.orgs.retain(|_, hours| hours.iter().any(|hour| counts(hour, now)));
        while self.orgs.len() > ORGS_MAX {
            let used = |hours: &Vec<Hour>| {
                hours.iter().fold(0_u64, |sum, hour| sum.saturating_add(hour.core_us))
            };
            let least = self.orgs.iter().min_by_key(|(_, hours)| used(hours));
            let Some(least) = least.map(|(org, _)| org.clone()) else { return };
            self.orgs.remove(&least);
        }
    }
}

/// Whether what was used in an hour counts still.
const fn counts(hour: &Hour, now: u64) -> bool {
    hour.hour.saturating_add(HOURS) > now
}

/// Drops hours that count no more. Hours that are yet to come, of a clock that was put back, become the present one:
/// they would count for too long.
fn forget_old(hours: &mut Vec<Hour>, now: u64) {
    let is_ahead = |hour: &Hour| hour.hour > now;
    let ahead_us = hours
        .iter()
        .filter(|hour| is_ahead(hour))
        .fold(0_u64, |sum, hour| sum.saturating_add(hour.core_us));
    hours.retain(|hour| counts(hour, now) && !is_ahead(hour));
    if ahead_us > 0 {
        match hours.iter_mut().find(|hour| hour.hour == now) {
            Some(hour) => hour.core_us = hour.core_us.saturating_add(ahead_us),
            None => hours.push(Hour { hour: now, core_us: ahead_us }),
        }
    }
    // A document with one hour twice is damaged or forged; what is beyond a day's hours is dropped.
    hours.truncate(24);
}
