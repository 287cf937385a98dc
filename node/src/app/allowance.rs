//! What answering costs, by who asks: a request of ten bytes may be a page of a thousand records, so requests are not
//! counted but the time that they take here.
//!
//! Each org has an allowance of time that fills slowly. What a request takes is known when it is answered and taken off
//! then; who has nothing left is told that this node is busy and when to come again. A hello costs nothing: it is how
//! one is admitted at all, and the overlay bounds how many there are. Strangers are known by their key instead of their
//! org's.
//!
//! Bounds: [`ORGS_MAX`] allowances that are not full. When there are as many, those who have none are told to come
//! again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use guildhall_protocol::PublicKey;
use guildhall_protocol::wire::{Reason, Refusal};

use super::lock;

/// What an org may use at once: a new node pulls a catalogue of a million records, a thousand to a page of some fifteen
/// milliseconds, and has three quarters left.
const MOST: Duration = Duration::from_secs(60);

/// Part of the time that passes that comes back: one org alone cannot keep more than a quarter of a core busy for long.
const COMES_BACK: u32 = 4;

/// Allowances that are kept, those of full ones not counted: more orgs than a federation has that ask at the same time.
const ORGS_MAX: usize = 4_096;

/// Least time after which a refused org is told to come again, so that it does not ask all the time.
const AGAIN_MIN: Duration = Duration::from_secs(1);

/// Who asks: an org's root key, or a stranger's own.
pub(super) type Asker = PublicKey;

/// The allowances of all orgs.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowances(Arc<Mutex<BTreeMap<Asker, Used>>>);

/// What was used and did not come back yet; over [`MOST`] when the last request took more than was left.
#[derive(Clone, Copy, Debug)]
struct Used {
    time: Duration,
    at: Instant,
}

impl Used {
    fn now(self, now: Instant) -> Duration {
        self.time.saturating_sub(now.saturating_duration_since(self.at) / COMES_BACK)
    }
}

impl Allowances {
    /// Whether a request is answered now.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn check(&self, asker: &Asker, now: Instant) -> Result<(), Refusal> {
        let mut orgs = lock(&self.0);
        let used = orgs.get(asker).map(|used| used.now(now));
        if used.is_none() && orgs.len() >= ORGS_MAX {
            orgs.retain(|_, used| !used.now(now).is_zero());
            if orgs.len() >= ORGS_MAX {
                return Err(refusal("too many orgs ask", AGAIN_MIN));
            }
        }
        match used.and_then(|used| used.checked_sub(MOST)) {
            None => Ok(()),
            Some(over) => {
                let again = over.saturating_mul(COMES_BACK).max(AGAIN_MIN);
                Err(refusal("its org has asked for so much that others would wait", again))
            }
        }
    }

    /// Takes off what a request took.
    pub(super) fn charge(&self, asker: Asker, took: Duration, now: Instant) {
        let mut orgs = lock(&self.0);
        let used = orgs.get(&asker).map_or(Duration::ZERO, |used| used.now(now));
        orgs.insert(asker, Used { time: used.saturating_add(took), at: now });
    }
}

fn refusal(why: &str, again: Duration) -> Refusal {
    let again_ms = u64::try_from(again.as_millis()).unwrap_or(u64::MAX);
    Refusal { retry_after_ms: Some(again_ms), ..Refusal::new(Reason::Busy, why) }
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::SecretKey;

    use super::*;

    fn org(number: u64) -> Asker {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        SecretKey::from_seed(&seed).public()
    }

    #[test]
    fn an_org_that_has_used_its_time_waits_until_some_came_back_and_others_do_not() {
        let (allowances, now) = (Allowances::default(), Instant::now());
        allowances.charge(org(1), MOST - Duration::from_secs(1), now);
        assert!(allowances.check(&org(1), now).is_ok(), "something is left");
        allowances.charge(org(1), Duration::from_secs(2), now);
        let refused = allowances.check(&org(1), now).expect_err("nothing is left");
        assert_eq!(refused.retry_after_ms, Some(4_000));
        assert!(allowances.check(&org(2), now).is_ok());
        let later = now + Duration::from_millis(4_001);
        assert!(allowances.check(&org(1), later).is_ok());
        let much_later = now + MOST * COMES_BACK * 2;
        allowances.charge(org(1), MOST, much_later);
        assert!(allowances.check(&org(1), much_later).is_err(), "never more than all of it");
    }

    #[test]
    fn no_more_allowances_are_kept_than_there_is_room_for_and_full_ones_make_room() {
        let (allowances, now) = (Allowances::default(), Instant::now());
        for number in 0..ORGS_MAX as u64 {
            allowances.charge(org(number), Duration::from_secs(1), now);
        }
        assert!(allowances.check(&org(1 << 40), now).is_err());
        assert!(allowances.check(&org(0), now).is_ok(), "who has one is answered");
        let later = now + Duration::from_secs(5);
        assert!(allowances.check(&org(1 << 40), later).is_ok());
        assert!(lock(&allowances.0).is_empty());
    }
}
