//! What the store did not take or did not keep, counted, so that nothing goes in silence.

use std::collections::BTreeMap;

use guildhall_protocol::api::Dropped;

/// Why a record of another node was not taken, or had to go before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loss {
    /// Whoever announced it is not admitted.
    Stranger,
    /// Its key, its age or its addresses are nothing that is kept.
    Unfit,
    /// It was the oldest of a node that holds as many as one may.
    ProviderFull,
    /// It was the oldest of an org that holds as many as one may.
    OrgFull,
    /// The store is full, and its org held most.
    GaveWay,
    /// The store is full of orgs that hold no more than its own.
    NoRoom,
    /// Its key has as many holders as are kept.
    Crowded,
}

impl Loss {
    const fn why(self) -> &'static str {
        match self {
            Self::Stranger => "who announced them was not admitted",
            Self::Unfit => "their key, age or address is nothing that is kept",
            Self::ProviderFull => "their node has as many as one may; its oldest went",
            Self::OrgFull => "their org has as many as one may; its oldest went",
            Self::GaveWay => "all room is taken, and their org had the most",
            Self::NoRoom => "all room is taken, and no org has more than its share",
            Self::Crowded => "their key has as many holders as are kept",
        }
    }
}

/// How often each happened.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses(BTreeMap<Loss, u64>);

impl Losses {
    pub(super) fn count(&mut self, loss: Loss) {
        let count = self.0.entry(loss).or_default();
        *count = count.saturating_add(1);
    }

    #[cfg(test)]
    pub(super) fn of(&self, loss: Loss) -> u64 {
        self.0.get(&loss).copied().unwrap_or_default()
    }

    /// What there is to report.
    pub(super) fn rows(&self) -> Vec<Dropped> {
        let row = |(loss, count): (&Loss, &u64)| Dropped {
            what: "DHT records".to_owned(),
            why: loss.why().to_owned(),
            count: *count,
        };
        self.0.iter().map(row).collect()
    }
}
