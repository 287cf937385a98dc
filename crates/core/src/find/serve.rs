//! Answering other nodes' questions: from what is kept here, and so many of each org.

use std::collections::BTreeMap;

use guildhall_protocol::PublicKey;
use guildhall_protocol::query::Query;
use guildhall_protocol::wire::Reason;

use crate::event::{Effect, QueriesServed, ReplyId};
use crate::node::{Core, refused, respond};

/// Questions, or further pages of answers, that one org's nodes may ask in a second for long. Each costs a search and
/// up to a megabyte of reading, some ten milliseconds: so an org takes less than a fifth of a core.
const QUERIES_PER_TICK: u32 = 16;

/// Questions that one org's nodes may ask at once after a pause: a portal's morning, or a pipeline of 64 stages.
const QUERIES_AT_ONCE: u32 = 64;

/// Ticks between two notes that an org asks too much.
const BUSY_NOTE_TICKS: u64 = 60;

/// How many questions each org may still ask. There is one entry for each org that ever asked and is a member.
#[derive(Debug, Default)]
pub(crate) struct Served {
    orgs: BTreeMap<PublicKey, Allowance>,
}

#[derive(Debug)]
struct Allowance {
    left: u32,
    /// The tick at which `left` was last raised.
    raised_at: u64,
    noted_at: Option<u64>,
    served: QueriesServed,
}

impl Served {
    /// Uses one of the org's questions up, if there is one left.
    fn try_use(&mut self, root: PublicKey, tick: u64) -> bool {
        let org = self.orgs.entry(root).or_insert_with(|| Allowance {
            left: QUERIES_AT_ONCE,
            raised_at: tick,
            noted_at: None,
            served: QueriesServed::default(),
        });
        let ticks = u32::try_from(tick.saturating_sub(org.raised_at)).unwrap_or(u32::MAX);
        org.left =
            org.left.saturating_add(ticks.saturating_mul(QUERIES_PER_TICK)).min(QUERIES_AT_ONCE);
        org.raised_at = tick;
        match org.left.checked_sub(1) {
            Some(left) => {
                org.left = left;
                org.served.answered += 1;
                true
            }
            None => {
                org.served.refused += 1;
                false
            }
        }
    }

    /// Whether it is time to say that the org asks too much.
    fn is_note_due(&mut self, root: &PublicKey, tick: u64) -> bool {
        let Some(org) = self.orgs.get_mut(root) else { return false };
        let is_due = org.noted_at.is_none_or(|at| tick.saturating_sub(at) >= BUSY_NOTE_TICKS);
        if is_due {
            org.noted_at = Some(tick);
        }
        is_due
    }

    /// An org is no longer a member.
    pub(crate) fn forget_org(&mut self, root: &PublicKey) {
        self.orgs.remove(root);
    }
}

impl Core {
    /// Answers another node's question from the catalogue.
    pub(crate) fn handle_query(
        &mut self,
        root: PublicKey,
        reply: ReplyId,
        query: &Query,
        out: &mut Vec<Effect>,
    ) {
        if !self.served.try_use(root, self.now.tick) {
            if self.served.is_note_due(&root, self.now.tick) {
                out.push(Effect::Note(format!(
                    "the org {root:?} asks too much: some questions of its nodes are refused"
                )));
            }
            let why = format!(
                "your org asks more than {QUERIES_PER_TICK} questions a second of this node; \
                 ask again in a second, or follow the category"
            );
            respond(out, reply, refused(Reason::Busy, why));
            return;
        }
        if let Err(error) = query.check() {
            respond(out, reply, refused(Reason::Invalid, error.to_string()));
            return;
        }
        let offset = query.page.map_or(0, |page| page.offset);
        let listings = self.listings_here(query, usize::try_from(offset).unwrap_or(usize::MAX));
        out.push(Effect::RespondListings { reply, listings });
    }

    /// What became of the questions that each org's nodes asked this one, since the start.
    pub fn queries_served(&self) -> impl Iterator<Item = (&PublicKey, QueriesServed)> {
        self.served.orgs.iter().map(|(root, org)| (root, org.served))
    }
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::{PublicKey, SecretKey};

    use super::{QUERIES_AT_ONCE, QUERIES_PER_TICK, Served};

    fn org(number: u8) -> PublicKey {
        SecretKey::from_seed(&[number; 32]).public()
    }

    fn allowed(served: &mut Served, root: PublicKey, tick: u64, asked: u32) -> u32 {
        (0..asked).filter(|_| served.try_use(root, tick)).count() as u32
    }

    #[test]
    fn an_org_that_asks_without_end_is_answered_at_its_rate_and_others_at_theirs() {
        let mut served = Served::default();
        assert_eq!(allowed(&mut served, org(1), 5, 1_000), QUERIES_AT_ONCE);
        for tick in 6..20 {
            assert_eq!(allowed(&mut served, org(1), tick, 1_000), QUERIES_PER_TICK);
            assert_eq!(allowed(&mut served, org(2), tick, QUERIES_PER_TICK), QUERIES_PER_TICK);
        }
        let counts = served.orgs.get(&org(1)).map(|org| (org.served.answered, org.served.refused));
        let answered = u64::from(QUERIES_AT_ONCE + 14 * QUERIES_PER_TICK);
        assert_eq!(counts, Some((answered, 15_000 - answered)));
    }

    #[test]
    fn a_pause_however_long_gives_no_more_than_a_burst() {
        let mut served = Served::default();
        assert_eq!(allowed(&mut served, org(1), 0, 100), QUERIES_AT_ONCE);
        assert_eq!(allowed(&mut served, org(1), u64::MAX, 100), QUERIES_AT_ONCE);
    }
}
