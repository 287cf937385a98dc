//! Who holds how much: the books by which the store decides who gives way.
//!
//! Invariants: every record is in its provider's share once, the counts of providers and orgs are what their shares
//! hold, and nobody without records is in them. Every step costs the logarithm of what is held.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use guildhall_protocol::PublicKey;
use libp2p::Multiaddr;

use super::Key;

/// What every provider and every org holds.
#[derive(Debug, Default)]
pub(super) struct Shares {
    providers: HashMap<PublicKey, Share>,
    orgs: HashMap<PublicKey, OrgShare>,
    /// How much each org holds, most last.
    by_size: BTreeSet<(usize, PublicKey)>,
    total: usize,
}

/// What one provider holds.
#[derive(Debug)]
struct Share {
    org: PublicKey,
    /// Where it listens, as it said last.
    addresses: Vec<Multiaddr>,
    /// Soonest to expire first.
    records: BTreeSet<(Instant, Key)>,
}

/// What the providers of one org hold.
#[derive(Debug, Default)]
struct OrgShare {
    held: usize,
    /// How much each provider holds, most last.
    by_size: BTreeSet<(usize, PublicKey)>,
}

impl Shares {
    /// Records in all.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Records of a provider.
    pub(super) fn of_provider(&self, provider: &PublicKey) -> usize {
        self.providers.get(provider).map_or(0, |share| share.records.len())
    }

    /// Records of all providers of an org.
    pub(super) fn of_org(&self, org: &PublicKey) -> usize {
        self.orgs.get(org).map_or(0, |share| share.held)
    }

    /// The org that holds most, and how much.
    pub(super) fn largest_org(&self) -> Option<(usize, PublicKey)> {
        self.by_size.last().copied()
    }

    /// The provider of an org that holds most.
    pub(super) fn largest_provider(&self, org: &PublicKey) -> Option<PublicKey> {
        Some(self.orgs.get(org)?.by_size.last()?.1)
    }

    /// The key of a provider's record that expires first, and when.
    pub(super) fn oldest(&self, provider: &PublicKey) -> Option<(Instant, Key)> {
        self.providers.get(provider)?.records.first().copied()
    }

    /// The org of a provider that holds something.
    pub(super) fn org(&self, provider: &PublicKey) -> Option<PublicKey> {
        Some(self.providers.get(provider)?.org)
    }

    /// Where a provider that holds something listens.
    pub(super) fn addresses(&self, provider: &PublicKey) -> &[Multiaddr] {
        self.providers.get(provider).map_or(&[], |share| &share.addresses)
    }

    /// Everybody who holds something.
    pub(super) fn providers(&self) -> impl Iterator<Item = &PublicKey> {
        self.providers.keys()
    }

    /// Everybody in an org who holds something.
    pub(super) fn providers_of(&self, org: &PublicKey) -> Vec<PublicKey> {
        let sizes = self.orgs.get(org).into_iter().flat_map(|share| &share.by_size);
        sizes.map(|(_, provider)| *provider).collect()
    }

    /// Enters a record that is in no share yet. What its provider says of its addresses holds for all its records.
    pub(super) fn add(
        &mut self,
        provider: PublicKey,
        org: PublicKey,
        addresses: Vec<Multiaddr>,
        record: (Instant, Key),
    ) {
        let new = || Share { org, addresses: Vec::new(), records: BTreeSet::new() };
        let share = self.providers.entry(provider).or_insert_with(new);
        share.addresses = addresses;
        if share.records.insert(record) {
            let held = share.records.len();
            self.resized(provider, org, held - 1, held);
        }
    }

    /// Strikes a record out.
    pub(super) fn remove(&mut self, provider: &PublicKey, record: &(Instant, Key)) {
        let Some(share) = self.providers.get_mut(provider) else { return };
        if !share.records.remove(record) {
            return;
        }
        let (org, held) = (share.org, share.records.len());
        if held == 0 {
            self.providers.remove(provider);
        }
        self.resized(*provider, org, held + 1, held);
    }

    /// Keeps the counts after a provider's share changed its size by one.
    fn resized(&mut self, provider: PublicKey, org: PublicKey, before: usize, after: usize) {
        let share = self.orgs.entry(org).or_default();
        share.by_size.remove(&(before, provider));
        if after > 0 {
            share.by_size.insert((after, provider));
        }
        self.by_size.remove(&(share.held, org));
        share.held = share.held + after - before;
        self.total = self.total + after - before;
        if share.held > 0 {
            self.by_size.insert((share.held, org));
        } else {
            self.orgs.remove(&org);
        }
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let mut orgs: HashMap<PublicKey, BTreeSet<(usize, PublicKey)>> = HashMap::new();
        for (provider, share) in &self.providers {
            assert!(!share.records.is_empty(), "nobody without records");
            orgs.entry(share.org).or_default().insert((share.records.len(), *provider));
        }
        let held = |sizes: &BTreeSet<(usize, PublicKey)>| sizes.iter().map(|(n, _)| n).sum();
        assert_eq!(orgs.len(), self.orgs.len());
        for (org, share) in &self.orgs {
            assert_eq!((held(&orgs[org]), &orgs[org]), (share.held, &share.by_size));
        }
        let by_size: BTreeSet<_> = orgs.iter().map(|(org, sizes)| (held(sizes), *org)).collect();
        assert_eq!(by_size, self.by_size);
        assert_eq!(self.total, held(&by_size));
    }
}
