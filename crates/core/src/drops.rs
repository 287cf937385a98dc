//! What the core gave up since the start, counted, so that nothing is dropped in silence; and what waits in it.

use std::collections::BTreeMap;

use guildhall_protocol::api::{Dropped, Queued};

use crate::node::Core;

/// Something that is given up, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Drop {
    /// What came is no record, is of another log, or may not be taken now.
    BadRecord,
    /// As many logs of orgs that are not members are kept as may be.
    StrangersLog,
    /// A record of an org that is not a member is evaluated only after the next start.
    StrangersRecord,
    /// As many listings of the org, or of the version, are kept as may be.
    Listing,
    /// As many yanks of the org are.
    Yank,
    /// As many packages have reviews as may.
    Review,
    /// As many peers are tracked as may be.
    Peer,
}

impl Drop {
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::BadRecord => ("records", "they are malformed, out of time or out of place"),
            Self::StrangersLog => {
                ("records of strangers", "as many of their logs are kept as may be")
            }
            Self::StrangersRecord => {
                ("records of strangers", "there is no room to look at them before the next start")
            }
            Self::Listing => ("listings", "their org or version has as many as there may be"),
            Self::Yank => ("yanks", "their org has as many as there may be"),
            Self::Review => ("reviews", "as many packages have some as may"),
            Self::Peer => ("peers", "as many are tracked as may be"),
        }
    }
}

/// How often each happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drops(BTreeMap<Drop, u64>);

impl Drops {
    pub(crate) fn count(&mut self, drop: Drop) {
        let count = self.0.entry(drop).or_default();
        *count = count.saturating_add(1);
    }
}

impl Core {
    /// What was given up since the start.
    #[must_use]
    pub fn dropped(&self) -> Vec<Dropped> {
        let told = self.drops.0.iter().map(|(drop, count)| {
            let (what, why) = drop.words();
            Dropped { what: what.to_owned(), why: why.to_owned(), count: *count }
        });
        told.collect()
    }

    /// What waits to be decided, and how much of it may.
    #[must_use]
    pub fn queued(&self) -> Vec<Queued> {
        let of = |what: &str, count: usize, bound: usize| Queued {
            what: what.to_owned(),
            count: count as u64,
            bound: bound as u64,
        };
        let waiting = self.logs.waiting().records;
        let (outsiders, outsiders_max) = self.outsiders.fill();
        vec![
            of("records that wait for the one before them", waiting, guildhall_sync::WAITING_MAX),
            of("records of orgs that are not members yet", outsiders, outsiders_max),
        ]
    }
}
