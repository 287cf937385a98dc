//! Lookups in the DHT, and keeping it told what this node provides.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use guildhall_protocol::{Hash, PublicKey};
use libp2p::PeerId;
use libp2p::kad::{self, QueryId, RecordKey};
use tokio::sync::oneshot;

use crate::address::to_public_key;
use crate::error::{LookupError, ProvideError};
use crate::providers;

pub(super) type Kad = kad::Behaviour<providers::Store>;

/// Lookups at the same time; more are refused.
const LOOKUPS_MAX: usize = 64;

/// Providers after which a lookup is content.
const PROVIDERS_MAX: usize = 20;

/// How long a lookup goes on after its first provider: enough for the other paths to answer, too short for one silent
/// peer to hold everything up.
const LOOKUP_LINGER: Duration = Duration::from_secs(1);

/// Announcements at the same time. Each asks some twenty peers; the rest of the keys wait.
const ANNOUNCING_MAX: usize = 8;

/// How often every key is announced again, a quarter of a record's life.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);

/// How long after an admission all keys are announced again, so that a group of arrivals counts as one.
const ANNOUNCE_DELAY: Duration = Duration::from_secs(1);

/// How long at least lies between two rounds that admissions cause.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(30);

/// How often expired records are swept out. They are never returned in any case.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

type LookupReply = oneshot::Sender<Result<Vec<PublicKey>, LookupError>>;

/// The running lookups.
#[derive(Default)]
pub(super) struct Lookups {
    running: HashMap<QueryId, Lookup>,
}

struct Lookup {
    found: BTreeSet<PublicKey>,
    deadline: Instant,
    reply: LookupReply,
}

impl Lookups {
    pub(super) fn start(
        &mut self,
        kad: &mut Kad,
        key: Hash,
        deadline: Instant,
        reply: LookupReply,
    ) {
        if self.running.len() >= LOOKUPS_MAX {
            let _ = reply.send(Err(LookupError::Busy));
            return;
        }
        let id = kad.get_providers(record_key(key));
        self.running.insert(id, Lookup { found: BTreeSet::new(), deadline, reply });
    }

    /// Some providers were found.
    pub(super) fn handle_found(
        &mut self,
        kad: &mut Kad,
        id: QueryId,
        local: PeerId,
        providers: impl IntoIterator<Item = PeerId>,
        now: Instant,
    ) {
        let Some(lookup) = self.running.get_mut(&id) else { return };
        let others = providers.into_iter().filter(|peer| *peer != local);
        lookup.found.extend(others.filter_map(|peer| to_public_key(&peer)));
        if lookup.found.len() >= PROVIDERS_MAX {
            self.finish(kad, id);
        } else if !lookup.found.is_empty() {
            lookup.deadline = lookup.deadline.min(now + LOOKUP_LINGER);
        }
    }

    /// Everyone concerned has been asked (`complete`), or Kademlia gave up.
    pub(super) fn handle_end(&mut self, id: QueryId, complete: bool) {
        if let Some(lookup) = self.running.remove(&id) {
            lookup.end(complete);
        }
    }

    pub(super) fn handle_tick(&mut self, kad: &mut Kad, now: Instant) {
        let over: Vec<QueryId> = self
            .running
            .iter()
            .filter(|(_, lookup)| now >= lookup.deadline || lookup.reply.is_closed())
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.finish(kad, id);
        }
    }

    fn finish(&mut self, kad: &mut Kad, id: QueryId) {
        if let Some(mut query) = kad.query_mut(&id) {
            query.finish();
        }
        self.handle_end(id, false);
    }
}

impl Lookup {
    fn end(self, complete: bool) {
        let answer = if self.found.is_empty() && !complete {
            Err(LookupError::Timeout)
        } else {
            Ok(self.found.into_iter().take(PROVIDERS_MAX).collect())
        };
        let _ = self.reply.send(answer);
    }
}

/// Announces this node's keys: each at once, then all of them again from time to time and when peers were admitted.
pub(super) struct Announcer {
    queue: VecDeque<Hash>,
    queued: HashSet<Hash>,
    running: HashSet<QueryId>,
    /// When the next round over all keys is due, and when the last one was.
    due: Instant,
    last: Option<Instant>,
    purge: Instant,
}

impl Announcer {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            queued: HashSet::new(),
            running: HashSet::new(),
            due: now + ANNOUNCE_INTERVAL,
            last: None,
            purge: now + PURGE_INTERVAL,
        }
    }

    /// Adds a key of this node.
    pub(super) fn provide(&mut self, kad: &mut Kad, key: Hash) -> Result<(), ProvideError> {
        let store = kad.store_mut();
        if !store.provide(*key.as_bytes()) {
            return Err(ProvideError::Full { max: store.own_max() });
        }
        self.enqueue(key);
        self.advance(kad);
        Ok(())
    }

    /// A peer was admitted that may not have heard of our keys.
    pub(super) fn handle_admitted(&mut self, now: Instant) {
        let earliest = self.last.map_or(now, |last| last + ANNOUNCE_PAUSE);
        self.due = self.due.min(earliest.max(now + ANNOUNCE_DELAY));
    }

    /// An announcement is over; whether it reached anybody does not matter, there will be another.
    pub(super) fn handle_end(&mut self, kad: &mut Kad, id: QueryId) {
        if self.running.remove(&id) {
            self.advance(kad);
        }
    }

    pub(super) fn handle_tick(&mut self, kad: &mut Kad, now: Instant) {
        if now >= self.due {
            let own: Vec<Hash> = kad.store_mut().own().map(|key| Hash::from_bytes(*key)).collect();
            own.into_iter().for_each(|key| self.enqueue(key));
            self.due = now + ANNOUNCE_INTERVAL;
            self.last = Some(now);
        }
        if now >= self.purge {
            kad.store_mut().purge(now);
            self.purge = now + PURGE_INTERVAL;
        }
        self.advance(kad);
    }

    fn enqueue(&mut self, key: Hash) {
        if self.queued.insert(key) {
            self.queue.push_back(key);
        }
    }

    fn advance(&mut self, kad: &mut Kad) {
        while self.running.len() < ANNOUNCING_MAX {
            let Some(key) = self.queue.pop_front() else { return };
            self.queued.remove(&key);
            if !kad.store_mut().is_own(key.as_bytes()) {
                continue;
            }
            if let Ok(id) = kad.start_providing(record_key(key)) {
                self.running.insert(id);
            }
        }
    }
}

pub(super) fn record_key(key: Hash) -> RecordKey {
    RecordKey::new(key.as_bytes())
}
