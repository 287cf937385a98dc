//! The queue for slots: whose turn it is when more want one than there are.
//!
//! Nobody is called: who was refused asks again, and a place is kept for whoever does so in time. Who stands among the
//! first [`HOLD_PLACES_MAX`] need not guess when: its question may be held by the node, which asks here for it whenever
//! something became free, for [`HOLD_MAX_MS`] at most. Turns go round the
//! orgs: the one that holds the fewest slots first, among those the one served longest ago; within an org first come,
//! first served. So an org that asks a thousand times waits for itself. A slot that is free is kept for whose turn it
//! is, for [`KEPT_MS`] from when somebody else asked for it; who does not come by then is passed over until it asks
//! again, and its org's turn is over: places that nobody comes for hold up one slot once a round. A job that is first in turn and too large for what is free is waited for in the same way.
//!
//! Bounds: [`WAITING_PER_ORG_MAX`] and [`WAITING_MAX`] places; beyond the first one is refused without a place. Beyond
//! the second the org with the most places loses its newest to one that has fewer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use guildhall_protocol::name::OrgName;
use guildhall_protocol::{PublicKey, RunId};

/// Runs of one org that have a place. More can hardly run on one node at once, and asking costs little.
pub const WAITING_PER_ORG_MAX: usize = 32;

/// Runs that have a place, of all orgs: some 200 KiB, and every answer looks at each of them once.
pub const WAITING_MAX: usize = 1_024;

/// When the first in turn should ask again, milliseconds, and how much later each one behind it; likewise for the first
/// whose question is not held because others are nearer their turn, and those behind that. Often enough that a
/// free slot is not idle for long, and few enough questions from those who will wait anyway.
pub const RETRY_MS: u64 = 250;

/// The longest that anybody is told to wait before asking again, milliseconds.
pub const RETRY_MAX_MS: u64 = 15_000;

/// Places whose questions are worth holding: as many as may get a slot within [`HOLD_MAX_MS`] where jobs are short, and
/// few enough that each of them can look whether it is its turn whenever a slot becomes free.
pub const HOLD_PLACES_MAX: usize = 8;

/// How long a question is held, milliseconds, whatever its asker allows: less than the four seconds after which a run
/// asks another node beside one that says nothing, and not much less, so that waiting takes few questions.
pub const HOLD_MAX_MS: u64 = 2_500;

/// What a place lasts beyond twice the time after which its holder was told to ask again, milliseconds: the question
/// travels, and machines that execute jobs are slow at times.
pub const PLACE_GRACE_MS: u64 = 2_000;

/// How long a free slot is kept for whose turn it is, milliseconds: the first six in turn ask within that time.
pub const KEPT_MS: u64 = 3_000;

/// Orgs of which it is remembered when they were served last; beyond, the one served longest ago counts as never
/// served, which gives it an earlier turn at most.
const SERVED_MAX: usize = 1_024;

/// Another member, or this node's own org.
pub(super) type Side = Option<OrgName>;

/// What waits: a node for a run.
pub(super) type Key = (PublicKey, RunId);

/// What a job takes of the hardware that is lent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) cores: u32,
    pub(super) memory_bytes: u64,
}

/// What is free of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) slots: usize,
    pub(super) cores: u64,
    pub(super) memory_bytes: u64,
}

impl Room {
    fn fits(&self, needs: Needs) -> bool {
        self.slots > 0
            && u64::from(needs.cores) <= self.cores
            && needs.memory_bytes <= self.memory_bytes
    }

    fn take(&mut self, needs: Needs) {
        self.slots = self.slots.saturating_sub(1);
        self.cores = self.cores.saturating_sub(needs.cores.into());
        self.memory_bytes = self.memory_bytes.saturating_sub(needs.memory_bytes);
    }
}

/// Who asks, and for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub(super) key: Key,
    pub(super) side: &'a Side,
    pub(super) needs: Needs,
    /// How long it may wait, milliseconds.
    pub(super) queue_ms: u64,
    /// How long the question may be held, milliseconds.
    pub(super) hold_ms: u64,
}

/// What is to become of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is its turn, and there is room.
    Now { waited_ms: u64 },
    /// It waited as long as it may.
    Over { waited_ms: u64 },
    /// It has a place, from 1, and should ask again after a while.
    Later { place: usize, retry_after_ms: u64 },
    /// Too many wait already.
    NoPlace { retry_after_ms: u64 },
}

#[derive(Clone, Debug)]
struct Waiting {
    side: Side,
    /// Number of its arrival; those of one org are served in this order.
    arrived: u64,
    /// When it came.
    since_ms: u64,
    /// First moment at which the place is lost.
    until_ms: u64,
    needs: Needs,
    /// Where it stood when it asked last, from 1.
    place: Option<usize>,
    /// Since when a slot is kept for it.
    kept_since_ms: Option<u64>,
    /// A slot was kept for it long enough, and it did not come.
    is_passed: bool,
}

/// Who waits, and who was served when.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<Key, Waiting>,
    served: BTreeMap<Side, u64>,
    /// Numbers arrivals and turns.
    serial: u64,
}

impl Queue {
    /// Asks for a slot. `held` says how many each side holds, `share` how many it may hold. Who gets one leaves the
    /// queue and counts as served. Who has waited as long as it may leaves it as well.
    pub(super) fn ask(
        &mut self,
        now_ms: u64,
        Ask { key, side, needs, queue_ms, hold_ms }: Ask<'_>,
        room: Room,
        held: &BTreeMap<Side, usize>,
        share: impl Fn(&Side) -> usize,
    ) -> Turn {
        self.forget_gone(now_ms);
        let Some(since_ms) = self.enter(now_ms, key, side, needs) else {
            return Turn::NoPlace { retry_after_ms: RETRY_MAX_MS };
        };
        let waited_ms = now_ms.saturating_sub(since_ms);
        let left_ms = queue_ms.saturating_sub(waited_ms);
        let order = self.order(held);
        if waited_ms <= queue_ms && self.is_turn_of(now_ms, &key, room, held, share, &order) {
            self.waiting.remove(&key);
            self.serve(side);
            return Turn::Now { waited_ms };
        }
        if left_ms == 0 {
            self.waiting.remove(&key);
            return Turn::Over { waited_ms };
        }
        let before = order.iter().take_while(|one| **one != key).count();
        let place = before.saturating_add(1);
        // Who may be held need only be back by then.
        let ahead = match hold_ms > 0 && place > HOLD_PLACES_MAX {
            true => place.saturating_sub(HOLD_PLACES_MAX),
            false => place,
        };
        let steps = u64::try_from(ahead).unwrap_or(u64::MAX);
        let retry_after_ms = RETRY_MS.saturating_mul(steps).min(RETRY_MAX_MS).min(left_ms);
        if let Some(waiting) = self.waiting.get_mut(&key) {
            let asks_ms = retry_after_ms.saturating_mul(2).max(hold_ms.min(HOLD_MAX_MS));
            waiting.until_ms = now_ms.saturating_add(asks_ms).saturating_add(PLACE_GRACE_MS);
            waiting.place = Some(place);
        }
        Turn::Later { place, retry_after_ms }
    }

    /// Whether `key` was among the first when it asked last.
    pub(super) fn is_near(&self, key: &Key) -> bool {
        let place = self.waiting.get(key).and_then(|waiting| waiting.place);
        place.is_some_and(|place| place <= HOLD_PLACES_MAX)
    }

    /// Drops the place of somebody who will not come.
    pub(super) fn leave(&mut self, key: &Key) {
        self.waiting.remove(key);
    }

    /// Runs that wait, of each side.
    pub(super) fn counts(&self, now_ms: u64) -> BTreeMap<Side, usize> {
        let mut counts = BTreeMap::new();
        for waiting in self.waiting.values().filter(|waiting| now_ms < waiting.until_ms) {
            *counts.entry(waiting.side.clone()).or_default() += 1;
        }
        counts
    }

    /// Drops places whose time is over. Where a slot was kept for one meanwhile, its org had its turn.
    fn forget_gone(&mut self, now_ms: u64) {
        let gone = self.waiting.values().filter(|waiting| waiting.until_ms <= now_ms);
        let kept = gone.filter(|waiting| waiting.kept_since_ms.is_some() && !waiting.is_passed);
        let sides: BTreeSet<Side> = kept.map(|waiting| waiting.side.clone()).collect();
        sides.iter().for_each(|side| self.serve(side));
        self.waiting.retain(|_, waiting| now_ms < waiting.until_ms);
    }

    /// Gives `key` a place if it has none, and says since when it has one.
    fn enter(&mut self, now_ms: u64, key: Key, side: &Side, needs: Needs) -> Option<u64> {
        if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.needs = needs;
            waiting.is_passed = false;
            waiting.kept_since_ms = None;
            return Some(waiting.since_ms);
        }
        let mut counts: BTreeMap<&Side, usize> = BTreeMap::new();
        for waiting in self.waiting.values() {
            *counts.entry(&waiting.side).or_default() += 1;
        }
        let own = counts.get(side).copied().unwrap_or_default();
        if own >= WAITING_PER_ORG_MAX {
            return None;
        }
        if self.waiting.len() >= WAITING_MAX {
            let most = counts.into_iter().max_by_key(|(_, count)| *count);
            let (most, _) = most.filter(|(_, count)| *count > own.saturating_add(1))?;
            let of_most = self.waiting.iter().filter(|(_, waiting)| waiting.side == *most);
            let newest = of_most.max_by_key(|(_, waiting)| waiting.arrived).map(|(key, _)| *key);
            newest.map(|newest| self.waiting.remove(&newest));
        }
        let waiting = Waiting {
            side: side.clone(),
            arrived: self.next_serial(),
            since_ms: now_ms,
            until_ms: u64::MAX,
            needs,
            place: None,
            kept_since_ms: None,
            is_passed: false,
        };
        self.waiting.insert(key, waiting);
        Some(now_ms)
    }

    /// Everybody who waits and was not passed over, in the order of turns if there were room for all.
    fn order(&self, held: &BTreeMap<Side, usize>) -> Vec<Key> {
        let mut lines: BTreeMap<&Side, VecDeque<(u64, Key)>> = BTreeMap::new();
        let mut by_arrival: Vec<(u64, Key, &Side)> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| !waiting.is_passed)
            .map(|(key, waiting)| (waiting.arrived, *key, &waiting.side))
            .collect();
        by_arrival.sort_unstable();
        for (arrived, key, side) in by_arrival {
            lines.entry(side).or_default().push_back((arrived, key));
        }
        let mut heads: BTreeSet<(usize, u64, u64, &Side)> = lines
            .iter()
            .filter_map(|(side, line)| {
                let holds = held.get(*side).copied().unwrap_or_default();
                let served = self.served.get(*side).copied().unwrap_or_default();
                Some((holds, served, line.front()?.0, *side))
            })
            .collect();
        let (mut order, mut turns) = (Vec::new(), self.serial);
        while let Some((holds, _, _, side)) = heads.pop_first() {
            let Some(line) = lines.get_mut(side) else { continue };
            if let Some((_, key)) = line.pop_front() {
                order.push(key);
            }
            turns = turns.saturating_add(1);
            if let Some((arrived, _)) = line.front() {
                heads.insert((holds.saturating_add(1), turns, *arrived, side));
            }
        }
        order
    }

    /// Whether there is room for `key` besides what is kept for those whose turn is earlier.
    fn is_turn_of(
        &mut self,
        now_ms: u64,
        key: &Key,
        mut room: Room,
        held: &BTreeMap<Side, usize>,
        share: impl Fn(&Side) -> usize,
        order: &[Key],
    ) -> bool {
        let mut held = held.clone();
        for one in order {
            let Some(waiting) = self.waiting.get_mut(one) else { continue };
            let holds = held.entry(waiting.side.clone()).or_default();
            if *holds >= share(&waiting.side) {
                continue;
            }
            let fits = room.fits(waiting.needs);
            if one == key {
                return fits;
            }
            if room.slots == 0 {
                return false;
            }
            let since_ms = *waiting.kept_since_ms.get_or_insert(now_ms);
            if now_ms.saturating_sub(since_ms) >= KEPT_MS {
                waiting.is_passed = true;
                let side = waiting.side.clone();
                self.serve(&side);
                continue;
            }
            if !fits {
                return false;
            }
            room.take(waiting.needs);
            *holds = holds.saturating_add(1);
        }
        false
    }

    fn serve(&mut self, side: &Side) {
        let serial = self.next_serial();
        self.served.insert(side.clone(), serial);
        if self.served.len() > SERVED_MAX {
            let oldest = self.served.iter().min_by_key(|(_, serial)| **serial);
            if let Some(oldest) = oldest.map(|(side, _)| side.clone()) {
                self.served.remove(&oldest);
            }
        }
    }

    fn next_serial(&mut self) -> u64 {
        self.serial = self.serial.saturating_add(1);
        self.serial
    }
}
