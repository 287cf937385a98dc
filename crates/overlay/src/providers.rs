//! The provider records other nodes leave with us, and the keys this node provides itself.
//!
//! Kademlia's own memory store refuses everything once 1,024 keys are in it, so one peer's junk locks out everybody
//! else. Here:
//!
//! - a key is 32 bytes, values are never stored, a record lives at most [`TTL`];
//! - only peers that are admitted leave records, and each record counts for its provider and for its provider's org;
//! - **per provider** and **per org** there are at most so many records ([`Caps`]): beyond that, the provider, or the
//!   one that holds most in its org, loses its oldest;
//! - **in all** likewise: the org that holds most loses its oldest to whoever holds fewer, and replaces its own; so a
//!   flood takes from others only what they hold above an equal share, and a member's first records always find room;
//! - **per key** likewise, among the orgs that hold it, so nobody crowds the others out of a category;
//! - an answer names a bounded [`sample`] of a key's holders, in which orgs take turns;
//! - this node's own keys are apart from all that and are never evicted.
//!
//! Taking a record and making room for it cost the logarithm of what is held; only among the holders of one key, at
//! most [`Caps::per_key`], one is looked for by going through them. What is refused or has to go is counted.

mod losses;
mod sample;
mod shares;

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use guildhall_protocol::PublicKey;
use guildhall_protocol::api::Dropped;
use libp2p::PeerId;
use libp2p::kad::store::{Error, RecordStore};
use libp2p::kad::{ProviderRecord, Record, RecordKey};

use crate::address::{Policy, to_peer_id, to_public_key};

pub(crate) use self::losses::Loss;
use self::losses::Losses;
use self::sample::sample;
use self::shares::Shares;

/// Longest life of a record. Providers repeat themselves far more often, see the driver's announcer.
pub(crate) const TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Addresses kept of a provider. An answer names twenty of them and has to fit a Kademlia packet.
const ADDRESSES_MAX: usize = 2;

/// Most providers returned for a key: what one Kademlia answer takes.
pub(crate) const ANSWER_MAX: usize = 20;

/// How much the store takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    /// Records of one provider: some 4,000 packages, or 1,300 categories with three keys each.
    pub(crate) per_provider: usize,
    /// Records of one org: a quarter of the store, so that one org's flood does not even make others give way.
    pub(crate) per_org: usize,
    /// Providers of one key: 5,000 holders of a category have three of its 16 keys each, so nearly a thousand have one;
    /// half of them are enough for an answer, and few enough to go through.
    pub(crate) per_key: usize,
    /// Records in all. At some 300 bytes each this is 40 MiB at worst.
    pub(crate) total: usize,
    /// Keys this node provides itself.
    pub(crate) own: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self { per_provider: 4_096, per_org: 32_768, per_key: 512, total: 131_072, own: 16_384 }
    }
}

type Key = [u8; 32];

/// Who holds a key.
#[derive(Debug)]
struct Held {
    org: PublicKey,
    provider: PublicKey,
    expires: Instant,
}

/// The provider records of one node.
pub(crate) struct Store {
    local: PeerId,
    policy: Policy,
    caps: Caps,
    own: BTreeSet<Key>,
    /// The orgs of the peers whose records are taken; bounded by the connections.
    admitted: HashMap<PublicKey, PublicKey>,
    /// The holders of each key, by org and then by provider.
    keys: HashMap<Key, Vec<Held>>,
    shares: Shares,
    losses: Losses,
    /// Answers given so far.
    answers: Cell<u64>,
}

impl Store {
    /// An empty store of the node `local`.
    pub(crate) fn new(local: PeerId, policy: Policy, caps: Caps) -> Self {
        Self {
            local,
            policy,
            caps,
            own: BTreeSet::new(),
            admitted: HashMap::new(),
            keys: HashMap::new(),
            shares: Shares::default(),
            losses: Losses::default(),
            answers: Cell::new(0),
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

    /// Takes records of `provider`, a node of `org`, from now on. What it left as a node of another org goes.
    pub(crate) fn admit(&mut self, provider: PublicKey, org: PublicKey) {
        if self.shares.org(&provider).is_some_and(|before| before != org) {
            self.forget(&provider);
        }
        self.admitted.insert(provider, org);
    }

    /// Takes no more records of `provider`. Those it left stay until they expire.
    pub(crate) fn dismiss(&mut self, provider: &PublicKey) {
        self.admitted.remove(provider);
    }

    /// Takes a record in, or refuses it and says why.
    pub(crate) fn insert(&mut self, record: ProviderRecord, now: Instant) -> Result<(), Loss> {
        let taken = self.try_insert(record, now);
        if let Err(loss) = taken {
            self.losses.count(loss);
        }
        taken
    }

    /// Counts a record that somebody who is not admitted announced, and that was not kept for that time.
    pub(crate) fn refuse_strangers(&mut self) {
        self.losses.count(Loss::Stranger);
    }

    /// What was not taken or not kept since the start.
    pub(crate) fn dropped(&self) -> Vec<Dropped> {
        self.losses.rows()
    }

    fn try_insert(&mut self, record: ProviderRecord, now: Instant) -> Result<(), Loss> {
        let provider = to_public_key(&record.provider).ok_or(Loss::Unfit)?;
        let org = *self.admitted.get(&provider).ok_or(Loss::Stranger)?;
        let key = Key::try_from(record.key.as_ref()).map_err(|_| Loss::Unfit)?;
        let expires = record.expires.map_or(now + TTL, |at| at.min(now + TTL));
        let addresses = self.policy.select(record.addresses, ADDRESSES_MAX);
        if expires <= now || addresses.is_empty() {
            return Err(Loss::Unfit);
        }
        self.take(&key, &provider);
        self.make_room(&provider, &org)?;
        self.make_room_at(&key, &org);
        let held = Held { org, provider, expires };
        match self.keys.get_mut(&key) {
            Some(here) => {
                let place =
                    here.partition_point(|held| (held.org, held.provider) < (org, provider));
                here.insert(place, held);
            }
            // Most keys have one holder: no room for more before there are more.
            None => drop(self.keys.insert(key, vec![held])),
        }
        self.shares.add(provider, org, addresses, (expires, key));
        Ok(())
    }

    /// Makes room in the store for one more record of `provider`.
    fn make_room(&mut self, provider: &PublicKey, org: &PublicKey) -> Result<(), Loss> {
        let of_org = self.shares.of_org(org);
        if self.shares.of_provider(provider) >= self.caps.per_provider {
            self.evict(provider, Loss::ProviderFull);
        } else if of_org >= self.caps.per_org {
            self.evict_largest(org, Loss::OrgFull);
        } else if self.shares.total() >= self.caps.total {
            match self.shares.largest_org() {
                Some((most, largest)) if most > of_org + 1 => {
                    self.evict_largest(&largest, Loss::GaveWay);
                }
                _ if of_org > 0 => self.evict_largest(org, Loss::GaveWay),
                _ => return Err(Loss::NoRoom),
            }
        }
        Ok(())
    }

    /// Makes room at a key for one more holder of `org`: the org with most holders gives way, or its own, or whoever
    /// expires first.
    fn make_room_at(&mut self, key: &Key, org: &PublicKey) {
        let Some(here) = self.keys.get(key).filter(|here| here.len() >= self.caps.per_key) else {
            return;
        };
        let orgs = || here.chunk_by(|a, b| a.org == b.org);
        let own = orgs().find(|held| held.first().is_some_and(|held| held.org == *org));
        let largest = orgs().max_by_key(|held| held.len()).unwrap_or_default();
        let from = match own {
            _ if largest.len() > own.map_or(0, <[Held]>::len) + 1 => largest,
            Some(own) => own,
            None => here,
        };
        let stalest = from.iter().min_by_key(|held| held.expires).map(|held| held.provider);
        if let Some(stalest) = stalest {
            self.take(key, &stalest);
            self.losses.count(Loss::Crowded);
        }
    }

    fn evict_largest(&mut self, org: &PublicKey, loss: Loss) {
        if let Some(provider) = self.shares.largest_provider(org) {
            self.evict(&provider, loss);
        }
    }

    fn evict(&mut self, provider: &PublicKey, loss: Loss) {
        self.take_oldest(provider);
        self.losses.count(loss);
    }

    fn take_oldest(&mut self, provider: &PublicKey) {
        if let Some((_, key)) = self.shares.oldest(provider) {
            self.take(&key, provider);
        }
    }

    /// Removes one record, if it is there.
    fn take(&mut self, key: &Key, provider: &PublicKey) {
        let Some(org) = self.shares.org(provider) else { return };
        let Some(here) = self.keys.get_mut(key) else { return };
        let place = here.binary_search_by_key(&(org, *provider), |held| (held.org, held.provider));
        let Ok(place) = place else { return };
        let held = here.remove(place);
        if here.is_empty() {
            self.keys.remove(key);
        }
        self.shares.remove(provider, &(held.expires, *key));
    }

    /// Forgets everything `provider` left here, and takes nothing more of it.
    pub(crate) fn forget(&mut self, provider: &PublicKey) {
        self.admitted.remove(provider);
        while self.shares.of_provider(provider) > 0 {
            self.take_oldest(provider);
        }
    }

    /// Forgets everything that nodes of `org` left here, and takes nothing more of them.
    pub(crate) fn forget_org(&mut self, org: &PublicKey) {
        self.admitted.retain(|_, of| of != org);
        for provider in self.shares.providers_of(org) {
            self.forget(&provider);
        }
    }

    /// Forgets what has expired.
    pub(crate) fn purge(&mut self, now: Instant) {
        let providers: Vec<PublicKey> = self.shares.providers().copied().collect();
        for provider in providers {
            while self.shares.oldest(&provider).is_some_and(|(expires, _)| expires <= now) {
                self.take_oldest(&provider);
            }
        }
    }

    /// Providers of `key`: this node first, then a sample of the others.
    pub(crate) fn providers_at(&self, key: &[u8], now: Instant) -> Vec<ProviderRecord> {
        let Ok(bytes) = Key::try_from(key) else { return Vec::new() };
        let key = RecordKey::new(&bytes);
        let mut found = Vec::new();
        if self.own.contains(&bytes) {
            found.push(ProviderRecord::new(key.clone(), self.local, Vec::new()));
        }
        let here = self.keys.get(&bytes).into_iter().flatten();
        let held: Vec<&Held> = here.filter(|held| held.expires > now).collect();
        let turn = self.answers.replace(self.answers.get().wrapping_add(1));
        let named = sample(&held, ANSWER_MAX - found.len(), turn);
        found.extend(named.into_iter().map(|held| ProviderRecord {
            key: key.clone(),
            provider: to_peer_id(&held.provider),
            expires: Some(held.expires),
            addresses: self.shares.addresses(&held.provider).to_vec(),
        }));
        found
    }
}

/// What Kademlia itself calls: for this node's own keys, and to answer. Other nodes' records come in by
/// [`Store::insert`] only, when the driver has seen who they are.
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
        if record.provider != self.local {
            return self.insert(record, Instant::now()).map_err(|_| Error::MaxRecords);
        }
        let key = Key::try_from(record.key.as_ref()).map_err(|_| Error::ValueTooLarge)?;
        if self.provide(key) { Ok(()) } else { Err(Error::MaxProvidedKeys) }
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
        } else if let Some(provider) = to_public_key(provider) {
            self.take(&key, &provider);
        }
    }
}

#[cfg(test)]
mod tests;
