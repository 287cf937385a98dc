//! The provider records other nodes leave with us, and the keys this node provides itself.
//!
//! Kademlia's own memory store refuses everything once 1,024 keys are in it, so one peer's junk locks out everybody
//! else. Here:
//!
//! - a key is 32 bytes, values are never stored, a record lives at most [`TTL`];
//! - **per provider** at most [`Caps::per_provider`] records: beyond that, a provider replaces its own oldest;
//! - **per key** at most [`Caps::per_key`] providers: the record that expires first makes room;
//! - **in all** at most [`Caps::total`] records: whoever holds the most loses its oldest to whoever holds fewer, and
//!   replaces its own; so a flood takes from others only what they hold above an equal share;
//! - this node's own keys are apart from all that and are never evicted.
//!
//! Who may store at all is decided before this: only admitted peers' records get here.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use libp2p::kad::store::{Error, RecordStore};
use libp2p::kad::{ProviderRecord, Record, RecordKey};
use libp2p::{Multiaddr, PeerId};

use crate::address::Policy;

/// Longest life of a record. Providers repeat themselves far more often, see the driver's announcer.
pub(crate) const TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Addresses kept with a record. An answer names twenty providers and has to fit a Kademlia packet.
const ADDRESSES_MAX: usize = 2;

/// Most providers returned for a key: what one Kademlia answer takes.
const ANSWER_MAX: usize = 20;

/// How much the store takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    /// Records of one provider: 256 followed categories in 16 shards each, or as many packages.
    pub(crate) per_provider: usize,
    /// Providers of one key: three times what an answer takes.
    pub(crate) per_key: usize,
    /// Records in all. At some 300 bytes each this is 40 MiB at worst.
    pub(crate) total: usize,
    /// Keys this node provides itself.
    pub(crate) own: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self { per_provider: 4096, per_key: 64, total: 131_072, own: 16_384 }
    }
}

type Key = [u8; 32];

/// A record without its key.
#[derive(Debug)]
struct Held {
    provider: PeerId,
    expires: Instant,
    addresses: Vec<Multiaddr>,
}

/// The provider records of one node.
pub(crate) struct Store {
    local: PeerId,
    policy: Policy,
    caps: Caps,
    own: BTreeSet<Key>,
    keys: HashMap<Key, Vec<Held>>,
    /// What each provider holds, soonest to expire first.
    shares: HashMap<PeerId, BTreeSet<(Instant, Key)>>,
    /// How much each provider holds, most last.
    sizes: BTreeSet<(usize, PeerId)>,
    total: usize,
}

impl Store {
    /// An empty store of the node `local`.
    pub(crate) fn new(local: PeerId, policy: Policy, caps: Caps) -> Self {
        Self {
            local,
            policy,
            caps,
            own: BTreeSet::new(),
            keys: HashMap::new(),
            shares: HashMap::new(),
            sizes: BTreeSet::new(),
            total: 0,
        }
    }

    /// The keys this node provides.
    pub(crate) fn own(&self) -> impl Iterator<Item = &Key> {
        self.own.iter()
    }

    /// Whether this node provides `key`.
    pub(crate) fn is_own(&self, key: &Key) -> bool {
        self.own.contains(key)
    }

    /// Adds a key that this node provides; false when there are too many already.
    pub(crate) fn provide(&mut self, key: Key) -> bool {
        let fits = self.own.len() < self.caps.own || self.own.contains(&key);
        if fits {
            self.own.insert(key);
        }
        fits
    }

    /// How many keys this node may provide.
    pub(crate) fn own_max(&self) -> usize {
        self.caps.own
    }

    /// Takes a record in, or refuses it: a key that is not 32 bytes, a record already expired or without a usable
    /// address, or a first record when the store is full and nobody holds more than one.
    pub(crate) fn insert(&mut self, record: ProviderRecord, now: Instant) -> Result<(), Error> {
        let Ok(key) = Key::try_from(record.key.as_ref()) else { return Err(Error::ValueTooLarge) };
        let provider = record.provider;
        if provider == self.local {
            return if self.provide(key) { Ok(()) } else { Err(Error::MaxProvidedKeys) };
        }
        let expires = record.expires.map_or(now + TTL, |at| at.min(now + TTL));
        let addresses = self.policy.select(record.addresses, ADDRESSES_MAX);
        if expires <= now || addresses.is_empty() {
            return Err(Error::MaxRecords);
        }
        self.take(&key, &provider);
        self.make_room(&key, &provider)?;
        self.keys.entry(key).or_default().push(Held { provider, expires, addresses });
        self.shares.entry(provider).or_default().insert((expires, key));
        self.resized(provider, 1);
        Ok(())
    }

    /// Makes room for one more record of `provider` at `key`.
    fn make_room(&mut self, key: &Key, provider: &PeerId) -> Result<(), Error> {
        let held = self.shares.get(provider).map_or(0, BTreeSet::len);
        if held >= self.caps.per_provider {
            self.take_oldest(provider);
        } else if self.total >= self.caps.total {
            match self.sizes.last().copied() {
                Some((most, largest)) if most > held + 1 => self.take_oldest(&largest),
                _ if held > 0 => self.take_oldest(provider),
                _ => return Err(Error::MaxProvidedKeys),
            }
        }
        if let Some(here) = self.keys.get(key)
            && here.len() >= self.caps.per_key
            && let Some(stalest) = here.iter().min_by_key(|held| held.expires)
        {
            let stalest = stalest.provider;
            self.take(key, &stalest);
        }
        Ok(())
    }

    fn take_oldest(&mut self, provider: &PeerId) {
        if let Some((_, key)) = self.shares.get(provider).and_then(|s| s.first().copied()) {
            self.take(&key, provider);
        }
    }

    /// Removes one record, if it is there.
    fn take(&mut self, key: &Key, provider: &PeerId) {
        let Some(here) = self.keys.get_mut(key) else { return };
        let Some(place) = here.iter().position(|held| held.provider == *provider) else { return };
        let held = here.swap_remove(place);
        if here.is_empty() {
            self.keys.remove(key);
        }
        if let Some(share) = self.shares.get_mut(provider) {
            share.remove(&(held.expires, *key));
            if share.is_empty() {
                self.shares.remove(provider);
            }
        }
        self.resized(*provider, -1);
    }

    /// Keeps the totals after one record of `provider` came (`1`) or went (`-1`).
    fn resized(&mut self, provider: PeerId, by: isize) {
        let after = self.shares.get(&provider).map_or(0, BTreeSet::len);
        self.sizes.remove(&(after.saturating_add_signed(-by), provider));
        if after > 0 {
            self.sizes.insert((after, provider));
        }
        self.total = self.total.saturating_add_signed(by);
    }

    /// Forgets everything `provider` left here.
    pub(crate) fn forget(&mut self, provider: &PeerId) {
        while self.shares.contains_key(provider) {
            self.take_oldest(provider);
        }
    }

    /// Forgets what has expired.
    pub(crate) fn purge(&mut self, now: Instant) {
        let providers: Vec<PeerId> = self.shares.keys().copied().collect();
        for provider in providers {
            while self.shares.get(&provider).and_then(BTreeSet::first).is_some_and(|f| f.0 <= now) {
                self.take_oldest(&provider);
            }
        }
    }

    /// The providers of `key`: this node first, then the freshest.
    pub(crate) fn providers_at(&self, key: &[u8], now: Instant) -> Vec<ProviderRecord> {
        let Ok(bytes) = Key::try_from(key) else { return Vec::new() };
        let key = RecordKey::new(&bytes);
        let mut found = Vec::new();
        if self.own.contains(&bytes) {
            found.push(ProviderRecord::new(key.clone(), self.local, Vec::new()));
        }
        let mut held: Vec<&Held> =
            self.keys.get(&bytes).into_iter().flatten().filter(|h| h.expires > now).collect();
        held.sort_by_key(|held| std::cmp::Reverse(held.expires));
        found.extend(held.into_iter().map(|held| ProviderRecord {
            key: key.clone(),
            provider: held.provider,
            expires: Some(held.expires),
            addresses: held.addresses.clone(),
        }));
        found.truncate(ANSWER_MAX);
        found
    }
}

impl RecordStore for Store {
    type RecordsIter<'a> = std::iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::vec::IntoIter<Cow<'a, ProviderRecord>>;

    fn get(&self, _: &RecordKey) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> Result<(), Error> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        std::iter::empty()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<(), Error> {
        self.insert(record, Instant::now())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        self.providers_at(key.as_ref(), Instant::now())
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        let own: Vec<_> = self
            .own
            .iter()
            .map(|key| ProviderRecord::new(RecordKey::new(key), self.local, Vec::new()))
            .map(Cow::Owned)
            .collect();
        own.into_iter()
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        let Ok(key) = Key::try_from(key.as_ref()) else { return };
        if *provider == self.local {
            self.own.remove(&key);
        } else {
            self.take(&key, provider);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: Caps = Caps { per_provider: 6, per_key: 3, total: 12, own: 2 };

    fn peer(n: u8) -> PeerId {
        crate::address::to_peer_id(&guildhall_protocol::PublicKey::from_bytes([n; 32]))
    }

    fn store(caps: Caps) -> Store {
        let policy = Policy::of_listeners(&["127.0.0.1:1".parse().unwrap()]);
        Store::new(peer(0), policy, caps)
    }

    fn key(n: u32) -> Key {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        key
    }

    fn record(k: u32, provider: u8, expires: Option<Instant>) -> ProviderRecord {
        ProviderRecord {
            key: RecordKey::new(&key(k)),
            provider: peer(provider),
            expires,
            addresses: vec!["/ip4/127.0.0.1/tcp/9".parse().unwrap()],
        }
    }

    fn found(store: &Store, k: u32, now: Instant) -> Vec<PeerId> {
        store.providers_at(&key(k), now).into_iter().map(|r| r.provider).collect()
    }

    impl Store {
        fn check_invariants(&self) {
            let mut total = 0;
            for (key, here) in &self.keys {
                assert!(!here.is_empty() && here.len() <= self.caps.per_key);
                for held in here {
                    assert!(self.shares[&held.provider].contains(&(held.expires, *key)));
                    assert_eq!(here.iter().filter(|h| h.provider == held.provider).count(), 1);
                    assert!(held.addresses.len() <= ADDRESSES_MAX);
                    total += 1;
                }
            }
            assert_eq!(total, self.total);
            assert!(total <= self.caps.total && self.own.len() <= self.caps.own);
            assert_eq!(self.shares.values().map(BTreeSet::len).sum::<usize>(), total);
            assert!(self.shares.values().all(|s| (1..=self.caps.per_provider).contains(&s.len())));
            let sizes: BTreeSet<_> = self.shares.iter().map(|(p, s)| (s.len(), *p)).collect();
            assert_eq!(sizes, self.sizes);
        }
    }

    #[test]
    fn a_flood_of_junk_keys_locks_nobody_out() {
        let mut store = store(Caps { total: 1000, ..Caps::default() });
        let now = Instant::now();
        for k in 0..100_000 {
            let _ = store.insert(record(k, 1, None), now + Duration::from_millis(k.into()));
        }
        let now = now + Duration::from_secs(200);
        for honest in 2..=20 {
            for k in 0..40 {
                let k = 1_000_000 + k;
                assert!(store.insert(record(k, honest, None), now).is_ok(), "{honest} at {k}");
                assert!(found(&store, k, now).contains(&peer(honest)));
            }
        }
        store.check_invariants();
    }

    #[test]
    fn beyond_its_share_a_provider_replaces_its_own_oldest() {
        let mut store = store(SMALL);
        let now = Instant::now();
        store.insert(record(0, 2, None), now).unwrap();
        for k in 1..=7 {
            store.insert(record(k, 1, None), now + Duration::from_secs(k.into())).unwrap();
        }
        assert_eq!(found(&store, 1, now), []);
        assert_eq!(found(&store, 7, now), [peer(1)]);
        assert_eq!(found(&store, 0, now), [peer(2)]);
    }

    #[test]
    fn a_crowded_key_keeps_the_freshest_providers_and_names_them_first() {
        let mut store = store(SMALL);
        let now = Instant::now();
        for provider in [3, 1, 2, 4] {
            let at = now + Duration::from_secs(provider.into());
            store.insert(record(9, provider, None), at).unwrap();
        }
        assert_eq!(found(&store, 9, now), [peer(4), peer(3), peer(2)]);
    }

    #[test]
    fn own_keys_stay_whatever_others_do_and_are_named_first() {
        let mut store = store(SMALL);
        let now = Instant::now();
        store.insert(record(9, 0, None), now).unwrap();
        for provider in 1..=30 {
            for k in 0..30 {
                let _ = store.insert(record(k, provider, None), now);
            }
        }
        store.purge(now + 2 * TTL);
        assert_eq!(found(&store, 9, now), [peer(0)]);
        store.insert(record(8, 0, None), now).unwrap();
        assert!(store.insert(record(7, 0, None), now).is_err(), "own keys have a bound too");
        assert!(store.insert(record(8, 0, None), now).is_ok(), "again is no more");
        store.remove_provider(&RecordKey::new(&key(9)), &peer(0));
        assert_eq!(found(&store, 9, now), []);
    }

    #[test]
    fn no_record_outlives_the_ttl_whatever_it_claims() {
        let mut store = store(SMALL);
        let now = Instant::now();
        store.insert(record(1, 1, Some(now + 10 * TTL)), now).unwrap();
        assert_eq!(found(&store, 1, now + TTL - Duration::from_secs(1)), [peer(1)]);
        assert_eq!(found(&store, 1, now + TTL), []);
        store.purge(now + TTL);
        assert_eq!(store.total, 0);
        assert!(store.insert(record(1, 1, Some(now)), now).is_err(), "already expired");
    }

    #[test]
    fn what_is_no_provider_record_of_ours_is_refused() {
        let mut store = store(SMALL);
        let now = Instant::now();
        let mut odd = record(1, 1, None);
        odd.key = RecordKey::new(b"a key of another length");
        assert!(store.insert(odd, now).is_err());
        let mut nowhere = record(1, 1, None);
        nowhere.addresses = vec!["/ip4/0.0.0.0/tcp/9".parse().unwrap()];
        assert!(store.insert(nowhere, now).is_err());
        assert!(store.put(Record::new(key(1).to_vec(), vec![1])).is_err());
        assert_eq!(store.total, 0);
    }

    proptest! {
        #[test]
        fn bounds_and_books_hold_after_any_sequence(
            steps in prop::collection::vec((0_u8..5, 0_u32..8, 0_u8..6, 0_u64..100), 1..200)
        ) {
            let mut store = store(SMALL);
            let start = Instant::now();
            for (what, k, provider, seconds) in steps {
                let now = start + Duration::from_secs(seconds);
                match what {
                    0 => store.remove_provider(&RecordKey::new(&key(k)), &peer(provider)),
                    1 if provider != 0 => store.forget(&peer(provider)),
                    2 => store.purge(now),
                    _ => {
                        let short = Some(now + Duration::from_secs(10));
                        let expires = if what == 3 { short } else { None };
                        let before = store.shares.get(&peer(provider)).map_or(0, BTreeSet::len);
                        let taken = store.insert(record(k, provider, expires), now).is_ok();
                        // Whoever holds less than an equal share always gets in.
                        if provider != 0 && before < SMALL.total / 6 {
                            prop_assert!(taken);
                            prop_assert!(found(&store, k, now).contains(&peer(provider)));
                        }
                    }
                }
                store.check_invariants();
            }
        }
    }
}
