//! Who may send next: content goes out in turns that orgs share fairly, and no faster than the keeper allows.
//!
//! A turn is one chunk. When more streams want to send than there are turns, the org that has the fewest gets the next
//! one, so an org with many nodes and streams slows down itself and not the others. Limits are paced: a chunk that
//! would be too early waits for its time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use guildhall_protocol::PublicKey;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::app::lock;

/// Chunks that are being sent at once. Enough to fill any line with peers that read, few enough to be shared out.
const TURNS_MAX: usize = 16;

/// Of them, those that one org has at most: there is always one for others.
const TURNS_PER_ORG_MAX: usize = TURNS_MAX / 2;

/// An org that asked for nothing for this long no longer counts when a limit is divided.
const ACTIVE_FOR: Duration = Duration::from_secs(2);

/// What the keeper allows, bytes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::app) struct Limits {
    /// To all orgs together.
    pub(in crate::app) total: Option<u64>,
    /// To one org.
    pub(in crate::app) per_org: Option<u64>,
}

/// The way out, shared by all streams.
pub(in crate::app) struct Uplink {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Turns taken, by the org's root.
    running: BTreeMap<PublicKey, usize>,
    /// Streams that wait; at most as many as are served.
    waiting: BTreeMap<PublicKey, VecDeque<oneshot::Sender<Turn>>>,
    paces: BTreeMap<PublicKey, Pace>,
}

/// How far ahead of its limit an org is.
#[derive(Clone, Copy, Debug)]
struct Pace {
    seen: Instant,
    free_at: Instant,
}

/// The right to send one chunk. Dropping it lets the next one send.
pub(in crate::app) struct Turn {
    uplink: Arc<Uplink>,
    org: PublicKey,
}

impl Uplink {
    pub(in crate::app) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Waits until `len_bytes` may go to an org.
    pub(in crate::app) async fn turn(self: &Arc<Self>, org: PublicKey, len_bytes: usize) -> Turn {
        let wait = lock(&self.state).pace(&self.limits, org, len_bytes, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        loop {
            let Some(granted) = lock(&self.state).ask(org) else {
                return Turn { uplink: Arc::clone(self), org };
            };
            // A queued sender is always used; asking again would be right all the same.
            if let Ok(turn) = granted.await {
                return turn;
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = lock(&self.uplink.state).end(self.org);
        if let Some((org, grant)) = next {
            // Whoever stopped waiting leaves the turn here, and dropping it passes it on.
            drop(grant.send(Self { uplink: Arc::clone(&self.uplink), org }));
        }
    }
}

impl State {
    /// Takes a turn (`None`), or queues for one.
    fn ask(&mut self, org: PublicKey) -> Option<oneshot::Receiver<Turn>> {
        let taken = self.running.values().sum::<usize>();
        let of_org = self.running.get(&org).copied().unwrap_or_default();
        // Those that wait although there are turns have as many as they may.
        if taken < TURNS_MAX && of_org < TURNS_PER_ORG_MAX {
            *self.running.entry(org).or_default() += 1;
            return None;
        }
        let (grant, granted) = oneshot::channel();
        self.waiting.entry(org).or_default().push_back(grant);
        Some(granted)
    }

    /// Takes a turn back and books it for the waiting org that has the fewest.
    fn end(&mut self, org: PublicKey) -> Option<(PublicKey, oneshot::Sender<Turn>)> {
        if let Some(count) = self.running.get_mut(&org) {
            *count -= 1;
            if *count == 0 {
                self.running.remove(&org);
            }
        }
        let turns = |org: &PublicKey| self.running.get(org).copied().unwrap_or_default();
        let next = self.waiting.keys().min_by_key(|org| turns(org)).copied()?;
        if turns(&next) >= TURNS_PER_ORG_MAX {
            return None;
        }
        let queue = self.waiting.get_mut(&next)?;
        let grant = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&next);
        }
        *self.running.entry(next).or_default() += 1;
        Some((next, grant))
    }

    /// Books `len_bytes` for an org and says how long they have to wait.
    fn pace(
        &mut self,
        limits: &Limits,
        org: PublicKey,
        len_bytes: usize,
        now: Instant,
    ) -> Duration {
        if *limits == Limits::default() {
            return Duration::ZERO;
        }
        self.paces.retain(|_, pace| pace.free_at.max(pace.seen) + ACTIVE_FOR >= now);
        let active = self.paces.len() + usize::from(!self.paces.contains_key(&org));
        let share = limits.total.map(|total| total / (active as u64).max(1));
        let rate = share.into_iter().chain(limits.per_org).min().unwrap_or(u64::MAX).max(1);
        let pace = self.paces.entry(org).or_insert(Pace { seen: now, free_at: now });
        let begins = pace.free_at.max(now);
        pace.seen = now;
        pace.free_at = begins + Duration::from_secs_f64(len_bytes as f64 / rate as f64);
        begins - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(n: u8) -> PublicKey {
        PublicKey::from_bytes([n; 32])
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a test watches its tasks itself")]
    async fn an_org_with_one_stream_gets_its_turn_before_the_tenth_stream_of_another() {
        let uplink = Uplink::new(Limits::default());
        let mut held = Vec::new();
        for n in 0..TURNS_MAX {
            held.push(uplink.turn(org(if n % 2 == 0 { 1 } else { 3 }), 1).await);
        }
        let queued = |n: u8| {
            let uplink = Arc::clone(&uplink);
            tokio::spawn(async move { uplink.turn(org(n), 1).await })
        };
        let greedy: Vec<_> = (0..10).map(|_| queued(1)).collect();
        tokio::task::yield_now().await;
        let modest = queued(2);
        tokio::task::yield_now().await;
        held.pop();
        let _turn = modest.await.unwrap();
        assert!(greedy.iter().all(|task| !task.is_finished()), "the modest one came first");
        held.clear();
        for task in greedy {
            drop(task.await.unwrap());
        }
        drop(_turn);
        let state = lock(&uplink.state);
        assert!(state.running.is_empty() && state.waiting.is_empty());
    }

    #[tokio::test]
    async fn one_org_leaves_turns_for_others_although_nobody_wants_them() {
        let uplink = Uplink::new(Limits::default());
        let mut held = Vec::new();
        for _ in 0..TURNS_PER_ORG_MAX {
            held.push(uplink.turn(org(1), 1).await);
        }
        let more = uplink.turn(org(1), 1);
        tokio::pin!(more);
        let soon = Duration::from_millis(1);
        assert!(tokio::time::timeout(soon, &mut more).await.is_err());
        let _other = uplink.turn(org(2), 1).await;
        held.pop();
        let _more = more.await;
    }

    #[tokio::test]
    async fn a_turn_that_nobody_waits_for_any_more_is_not_lost() {
        let uplink = Uplink::new(Limits::default());
        let mut held = Vec::new();
        for n in 0..TURNS_MAX {
            held.push(uplink.turn(org(if n % 2 == 0 { 1 } else { 4 }), 1).await);
        }
        let waiting = uplink.turn(org(2), 1);
        assert!(tokio::time::timeout(Duration::from_millis(1), waiting).await.is_err());
        held.pop();
        let _free = uplink.turn(org(3), 1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_kept_and_divided_among_those_who_ask() {
        let uplink = Uplink::new(Limits { total: Some(1_000), per_org: None });
        let started = Instant::now();
        for _ in 0..11 {
            drop(uplink.turn(org(1), 100).await);
        }
        assert_eq!(started.elapsed().as_millis(), 1_000, "ten chunks after the first");
        let started = Instant::now();
        for _ in 0..6 {
            drop(uplink.turn(org(1), 100).await);
            drop(uplink.turn(org(2), 100).await);
        }
        let took = started.elapsed().as_millis();
        assert!((1_000..=1_300).contains(&took), "each had half: {took} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_for_one_org_does_not_slow_down_another() {
        let uplink = Uplink::new(Limits { total: None, per_org: Some(1_000) });
        drop(uplink.turn(org(1), 5_000).await);
        let started = Instant::now();
        drop(uplink.turn(org(2), 500).await);
        assert!(started.elapsed().is_zero());
        drop(uplink.turn(org(1), 1).await);
        assert_eq!(started.elapsed().as_secs(), 5);
    }
}
