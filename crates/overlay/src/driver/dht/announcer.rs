//! Announces this node's keys: each at once, then each again before others forget it, and all of them when peers were
//! admitted that may not have heard of them.
//!
//! When a key's turn comes depends on the key and on the node, so that neither the keys of one node nor the nodes that
//! hold one key are announced in the same moment again, however they began.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use guildhall_protocol::Hash;
use libp2p::PeerId;
use libp2p::kad::QueryId;

use super::{Kad, record_key};
use crate::error::ProvideError;

/// Announcements at the same time. Each asks some twenty peers; the rest of the keys wait.
const ANNOUNCING_MAX: usize = 8;

/// How long at most a key waits to be announced again: a quarter of a record's life.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);

/// By how much sooner it may be, as each key and node have it.
const ANNOUNCE_JITTER: Duration = Duration::from_secs(2 * 60 * 60);

/// How long after an admission all keys are announced again, so that a group of arrivals counts as one.
const ANNOUNCE_DELAY: Duration = Duration::from_secs(1);

/// How long at least lies between two rounds that admissions cause.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(30);

/// Over how long the nodes spread their rounds when one peer's coming back causes all of them. A node's first round is
/// not put off: nobody has heard of its keys yet.
const ROUND_JITTER: Duration = Duration::from_secs(10);

/// How often expired records are swept out. They are never returned in any case.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// See the [module](self).
pub(super) struct Announcer {
    queue: VecDeque<Hash>,
    queued: HashSet<Hash>,
    running: HashSet<QueryId>,
    schedule: Schedule,
    /// When the next round over all keys is due, if one is, and when the last one was.
    round: Option<Instant>,
    last_round: Option<Instant>,
    purge: Instant,
}

impl Announcer {
    pub(super) fn new(me: PeerId, now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            queued: HashSet::new(),
            running: HashSet::new(),
            schedule: Schedule::new(me),
            round: None,
            last_round: None,
            purge: now + PURGE_INTERVAL,
        }
    }

    /// Adds a key of this node.
    pub(super) fn provide(
        &mut self,
        kad: &mut Kad,
        key: Hash,
        now: Instant,
    ) -> Result<(), ProvideError> {
        let store = kad.store_mut();
        if !store.provide(*key.as_bytes()) {
            return Err(ProvideError::Full { max: store.own_max() });
        }
        self.enqueue(key, now);
        self.advance(kad);
        Ok(())
    }

    /// A peer was admitted that may not have heard of our keys.
    pub(super) fn handle_admitted(&mut self, now: Instant) {
        if self.round.is_none() {
            self.round = Some(self.schedule.round_after(self.last_round, now));
        }
    }

    /// An announcement is over; whether it reached anybody does not matter, there will be another.
    pub(super) fn handle_end(&mut self, kad: &mut Kad, id: QueryId) {
        if self.running.remove(&id) {
            self.advance(kad);
        }
    }

    pub(super) fn handle_tick(&mut self, kad: &mut Kad, now: Instant) {
        if self.round.is_some_and(|due| now >= due) {
            let own: Vec<Hash> = kad.store_mut().own().map(|key| Hash::from_bytes(*key)).collect();
            own.into_iter().for_each(|key| self.enqueue(key, now));
            (self.round, self.last_round) = (None, Some(now));
        }
        while let Some(key) = self.schedule.pop_due(now) {
            if kad.store_mut().is_own(key.as_bytes()) {
                self.enqueue(key, now);
            }
        }
        if now >= self.purge {
            kad.store_mut().purge(now);
            self.purge = now + PURGE_INTERVAL;
        }
        self.advance(kad);
    }

    fn enqueue(&mut self, key: Hash, now: Instant) {
        self.schedule.set(key, now);
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

/// When each key of a node is to be announced again; bounded by the node's own keys, and those it gave up a moment ago.
struct Schedule {
    me: PeerId,
    due: BTreeSet<(Instant, Hash)>,
    keys: HashMap<Hash, Instant>,
}

impl Schedule {
    fn new(me: PeerId) -> Self {
        Self { me, due: BTreeSet::new(), keys: HashMap::new() }
    }

    /// A key is being announced.
    fn set(&mut self, key: Hash, now: Instant) {
        let due = now + ANNOUNCE_INTERVAL - ANNOUNCE_JITTER.mul_f64(self.place(key.as_bytes()));
        if let Some(before) = self.keys.insert(key, due) {
            self.due.remove(&(before, key));
        }
        self.due.insert((due, key));
    }

    /// A key that is due; it has to be [`set`](Self::set) again if it is still provided.
    fn pop_due(&mut self, now: Instant) -> Option<Hash> {
        let (_, key) = *self.due.first().filter(|(due, _)| *due <= now)?;
        self.due.pop_first();
        self.keys.remove(&key);
        Some(key)
    }

    /// When all keys are to be announced after an admission.
    fn round_after(&self, last: Option<Instant>, now: Instant) -> Instant {
        let soon = now + ANNOUNCE_DELAY;
        last.map_or(soon, |last| {
            soon.max(last + ANNOUNCE_PAUSE) + ROUND_JITTER.mul_f64(self.place(b"round"))
        })
    }

    /// A number from 0 to 1 that this node always has for `what`, and other nodes have otherwise.
    fn place(&self, what: &[u8]) -> f64 {
        let hash = Hash::of(&[self.me.to_bytes().as_slice(), what].concat());
        let number =
            hash.as_bytes().iter().take(4).fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        f64::from(number) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> PeerId {
        crate::address::to_peer_id(&guildhall_protocol::PublicKey::from_bytes([n; 32]))
    }

    fn key(n: u32) -> Hash {
        Hash::of(&n.to_be_bytes())
    }

    /// The most of these moments that lie within one minute.
    fn crowd(mut moments: Vec<Instant>) -> usize {
        moments.sort_unstable();
        let within = |at: &Instant| {
            moments.iter().filter(|m| *m >= at && **m < *at + Duration::from_secs(60)).count()
        };
        moments.iter().map(within).max().unwrap_or_default()
    }

    #[test]
    fn keys_that_were_announced_together_are_not_announced_together_again() {
        let now = Instant::now();
        let mut schedule = Schedule::new(node(1));
        (0..1_000).for_each(|n| schedule.set(key(n), now));
        let due: Vec<Instant> = schedule.due.iter().map(|(due, _)| *due).collect();
        assert!(crowd(due) <= 25, "120 minutes for 1000 keys");
    }

    #[test]
    fn nodes_that_announced_a_key_together_do_not_announce_it_together_again() {
        let now = Instant::now();
        let (mut again, mut rounds) = (Vec::new(), Vec::new());
        for n in 0..200 {
            let mut schedule = Schedule::new(node(n));
            schedule.set(key(1), now);
            again.push(schedule.due.first().unwrap().0);
            // All of them lost and found the same peer, long after their last rounds.
            rounds.push(schedule.round_after(Some(now), now + Duration::from_secs(3_600)));
        }
        assert!(crowd(again) <= 12, "120 minutes for 200 nodes");
        rounds.sort_unstable();
        assert!(rounds[199] - rounds[0] > ROUND_JITTER * 9 / 10);
        assert!(rounds.windows(2).all(|pair| pair[1] - pair[0] < ROUND_JITTER / 10));
    }

    #[test]
    fn every_key_comes_round_well_before_it_expires_and_no_sooner_than_four_hours() {
        let start = Instant::now();
        let mut schedule = Schedule::new(node(1));
        let mut last: HashMap<Hash, Instant> = (0..100).map(|n| (key(n), start)).collect();
        last.keys().for_each(|key| schedule.set(*key, start));
        for minute in 0..3 * 24 * 60 {
            let now = start + Duration::from_secs(60 * minute);
            while let Some(key) = schedule.pop_due(now) {
                schedule.set(key, now);
                let waited = now - last.insert(key, now).unwrap();
                let bounds = ANNOUNCE_INTERVAL - ANNOUNCE_JITTER
                    ..ANNOUNCE_INTERVAL + Duration::from_secs(60);
                assert!(bounds.contains(&waited), "{waited:?}");
            }
        }
        let end = start + Duration::from_secs(3 * 24 * 60 * 60);
        assert!(last.values().all(|at| end - *at <= ANNOUNCE_INTERVAL + Duration::from_secs(60)));
        assert_eq!(schedule.keys.len(), 100);
    }

    #[test]
    fn the_same_node_and_key_have_the_same_turn_and_announcing_again_moves_it() {
        let now = Instant::now();
        let due = |at: &[Instant]| {
            let mut schedule = Schedule::new(node(1));
            at.iter().for_each(|at| schedule.set(key(7), *at));
            schedule.due.into_iter().map(|(due, _)| due).collect::<Vec<_>>()
        };
        assert_eq!(due(&[now]), due(&[now]));
        let later = now + Duration::from_secs(100);
        assert_eq!(due(&[now, later]), [due(&[now])[0] + Duration::from_secs(100)]);
    }

    #[test]
    fn the_first_round_is_soon_and_the_next_one_not_before_a_pause() {
        let (now, schedule) = (Instant::now(), Schedule::new(node(1)));
        assert_eq!(schedule.round_after(None, now), now + ANNOUNCE_DELAY);
        assert!(schedule.round_after(Some(now), now) >= now + ANNOUNCE_PAUSE);
        assert!(schedule.round_after(Some(now), now) <= now + ANNOUNCE_PAUSE + ROUND_JITTER);
    }
}
