//! The lookups that are under way.
//!
//! What one node answers is only its word. So a lookup does not end with the first answer that names enough, but when
//! several nodes have answered, and unites what they name: nodes that answer fast and name only each other cannot keep
//! an honest answer out.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use guildhall_protocol::{Hash, PublicKey};
use libp2p::PeerId;
use libp2p::kad::QueryId;
use tokio::sync::oneshot;

use super::{Kad, record_key};
use crate::address::to_public_key;
use crate::error::LookupError;
use crate::providers::ANSWER_MAX;

/// Lookups at the same time; more are refused. A category takes sixteen.
const LOOKUPS_MAX: usize = 64;

/// Providers with which a lookup is content, once [`ANSWERS_ENOUGH`] nodes have answered.
const PROVIDERS_ENOUGH: usize = 20;

/// Answers that a lookup waits for though it has found enough. When 15 of the 20 nodes next to a key are hostile, eight
/// answers are all of them hostile once in twenty times; and a category is looked for under sixteen keys.
const ANSWERS_ENOUGH: usize = 8;

/// Most providers that a lookup names. Some twenty nodes answer, with twenty providers each.
const FOUND_MAX: usize = 1_024;

/// How long a lookup goes on after its first provider: enough for the other paths to answer, too short for one silent
/// peer to hold everything up.
const LOOKUP_LINGER: Duration = Duration::from_secs(1);

pub(super) type LookupReply = oneshot::Sender<Result<Vec<PublicKey>, LookupError>>;

/// See the [module](self).
pub(super) struct Lookups {
    local: PeerId,
    running: HashMap<QueryId, Lookup>,
}

struct Lookup {
    found: BTreeSet<PublicKey>,
    answers: usize,
    deadline: Instant,
    reply: LookupReply,
}

impl Lookups {
    pub(super) fn new(local: PeerId) -> Self {
        Self { local, running: HashMap::new() }
    }

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
        self.running.insert(id, Lookup::new(deadline, reply));
    }

    /// One node answered.
    pub(super) fn handle_answer(
        &mut self,
        kad: &mut Kad,
        id: QueryId,
        providers: impl IntoIterator<Item = PeerId>,
        now: Instant,
    ) {
        let Some(lookup) = self.running.get_mut(&id) else { return };
        let others = providers.into_iter().filter(|peer| *peer != self.local);
        if lookup.handle_answer(others.filter_map(|peer| to_public_key(&peer)), now) {
            self.finish(kad, id);
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
    fn new(deadline: Instant, reply: LookupReply) -> Self {
        Self { found: BTreeSet::new(), answers: 0, deadline, reply }
    }

    /// Unites one node's answer with the others; true when there is no need to wait for more.
    fn handle_answer(
        &mut self,
        providers: impl IntoIterator<Item = PublicKey>,
        now: Instant,
    ) -> bool {
        self.answers += 1;
        for provider in providers.into_iter().take(ANSWER_MAX) {
            if self.found.len() < FOUND_MAX {
                self.found.insert(provider);
            }
        }
        if !self.found.is_empty() {
            self.deadline = self.deadline.min(now + LOOKUP_LINGER);
        }
        self.answers >= ANSWERS_ENOUGH && self.found.len() >= PROVIDERS_ENOUGH
    }

    fn end(self, complete: bool) {
        let answer = if self.found.is_empty() && !complete {
            Err(LookupError::Timeout)
        } else {
            Ok(self.found.into_iter().collect())
        };
        let _ = self.reply.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(numbers: std::ops::Range<u32>) -> impl Iterator<Item = PublicKey> {
        numbers.map(|n| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            PublicKey::from_bytes(bytes)
        })
    }

    fn lookup(now: Instant) -> (Lookup, oneshot::Receiver<Result<Vec<PublicKey>, LookupError>>) {
        let (reply, answer) = oneshot::channel();
        (Lookup::new(now + Duration::from_secs(10), reply), answer)
    }

    #[test]
    fn seven_fast_liars_do_not_keep_the_eighth_answer_out() {
        let now = Instant::now();
        let (mut lookup, mut answer) = lookup(now);
        for liar in 0..7 {
            assert!(!lookup.handle_answer(keys(1_000 * liar..1_000 * liar + 5_000), now));
        }
        assert!(lookup.handle_answer(keys(1_000_000..1_000_001), now), "enough now");
        lookup.end(false);
        let found = answer.try_recv().unwrap().unwrap();
        assert!(found.contains(&keys(1_000_000..1_000_001).next().unwrap()));
        assert!(found.len() <= 7 * ANSWER_MAX + 1, "no answer counts for more than its share");
    }

    #[test]
    fn a_lookup_with_few_providers_waits_for_more_but_not_long() {
        let now = Instant::now();
        let (mut lookup, _answer) = lookup(now);
        for _ in 0..15 {
            assert!(!lookup.handle_answer(keys(0..0), now));
        }
        assert_eq!(lookup.deadline, now + Duration::from_secs(10), "nothing found yet");
        assert!(!lookup.handle_answer(keys(0..1), now));
        assert_eq!(lookup.deadline, now + LOOKUP_LINGER);
        let later = now + LOOKUP_LINGER / 2;
        assert!(!lookup.handle_answer(keys(1..2), later));
        assert_eq!(lookup.deadline, now + LOOKUP_LINGER, "no answer puts the end off");
    }
}
