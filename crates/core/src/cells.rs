//! Comparing logs in cells: the calls, refusals and ways out around [`guildhall_sync::reconcile`], which does the sums.
//!
//! Asked are as many peers at once as [`COMPARISONS_MAX`] says. A peer that is too busy is waited for; one that does not
//! know cells, or sends cells that are none, is asked for pages, at once and for as long as it stays connected. What a
//! peer names is believed as little as a page of heads: it leads to pulls.

use std::collections::BTreeMap;

use guildhall_protocol::wire::{
    Compare, CompareKey, FindElements, LogHead, Reason, Refusal, Request, Response,
};
use guildhall_protocol::{Hash, PublicKey};
use guildhall_sync::reconcile::{Difference, Failure, Heads, Initiator, Responder, Step};

use crate::agree::Lacks;
use crate::compare::{COMPARE_TICKS, len_in};
use crate::event::Effect;
use crate::node::{Call, Core};

/// Peers that are compared with in cells at once: half a megabyte each while it lasts, and with 100,000 logs 20 ms of
/// work each to begin. Others wait for the next tick; who waits longest is first.
const COMPARISONS_MAX: usize = 8;

/// How often in a row a peer may be too busy before it is asked for pages: a minute at most, after which a node whose
/// peers take all its comparisons is still heard.
const BUSY_MAX: u32 = 4;

/// What a tick takes, about, milliseconds.
const TICK_MS: u64 = 1_000;

/// Comparisons in cells, in both directions.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    /// Those that this node began, by the peer that it asks.
    asked: BTreeMap<PublicKey, Asked>,
    /// Those that peers began.
    answered: Responder,
    /// Comparisons that were begun since the start: no two have the same key.
    begun: u64,
}

/// A comparison that this node began.
#[derive(Debug)]
struct Asked {
    initiator: Initiator<LogHead>,
    /// Records that the node's own log had then.
    own_len: u64,
}

impl Cells {
    /// Whether a further peer has to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.asked.len() >= COMPARISONS_MAX
    }

    /// A peer is gone. What it was granted here stays counted until its time is over, so that coming back is no way to
    /// get more.
    pub(crate) fn forget(&mut self, peer: &PublicKey) {
        self.asked.remove(peer);
    }
}

impl Core {
    /// Begins a comparison in cells; the comparison counts as begun.
    pub(crate) fn ask_cells(&mut self, peer: PublicKey, out: &mut Vec<Effect>) {
        let key = self.next_compare_key(&peer);
        match Initiator::start(key, &Heads(&self.logs)) {
            Ok((initiator, first)) => {
                let own_len = self.logs.len_of(&self.me.node.public());
                self.cells.asked.insert(peer, Asked { initiator, own_len });
                self.call(peer, Call::Compare { peer }, Request::Compare(first), out);
            }
            // More logs than are compared so.
            Err(_) => self.ask_pages(peer, out),
        }
    }

    /// A peer answered a request of a comparison in cells, or did not.
    pub(crate) fn handle_compared(
        &mut self,
        peer: PublicKey,
        result: Result<Response, String>,
        out: &mut Vec<Effect>,
    ) {
        let asked = self.cells.asked.remove(&peer);
        let Some(mut asked) = asked.filter(|_| self.is_comparable(&peer)) else {
            self.end_comparison(peer);
            return;
        };
        let ours = Heads(&self.logs);
        let step = match result {
            Ok(Response::Cells(page)) => asked.initiator.handle_cells(&page, &ours),
            Ok(Response::Elements(bytes)) => asked.initiator.handle_elements(&bytes),
            Ok(Response::Refused(why)) => return self.handle_not_compared(peer, &why, out),
            Ok(_) => Step::Failed(Failure::Garbage),
            Err(_) => return self.handle_no_heads(peer),
        };
        let next = match step {
            Step::Compare(next) => Request::Compare(next),
            Step::Find(next) => Request::FindElements(next),
            Step::Done(difference) => return self.handle_difference(peer, &difference, &asked),
            Step::Failed(failure) => {
                if failure == Failure::Garbage {
                    out.push(Effect::Note(format!("{peer:?} is asked for pages: {failure}")));
                    self.ask_no_cells(peer);
                }
                return self.ask_pages(peer, out);
            }
        };
        self.cells.asked.insert(peer, asked);
        self.call(peer, Call::Compare { peer }, next, out);
    }

    /// It is known where a peer's logs differ from those here.
    fn handle_difference(&mut self, peer: PublicKey, found: &Difference<LogHead>, asked: &Asked) {
        self.end_comparison(peer);
        if let Some(state) = self.peers.get_mut(&peer) {
            state.busy = 0;
            let mut lacks = Lacks { here: found.unnamed as u64, there: 0 };
            lacks.add(&found.ours, &found.theirs);
            state.agreement.so_far = lacks;
        }
        self.schedule.handle_heads(peer, None, &found.theirs, &self.logs);
        self.end_agreement(peer);
        let me = self.me.node.public();
        let their_len = if len_in(&found.ours, &me) > 0 {
            len_in(&found.theirs, &me)
        } else if self.logs.len_of(&me) == asked.own_len {
            // No difference: it has what is here.
            asked.own_len
        } else {
            // What was compared is not here any more as it was, so that nothing was said of it.
            0
        };
        self.seek_bodies(peer, their_len);
    }

    /// A peer refused a request of a comparison.
    fn handle_not_compared(&mut self, peer: PublicKey, why: &Refusal, out: &mut Vec<Effect>) {
        let ticks = self.ticks;
        let Some(state) = self.peers.get_mut(&peer) else { return };
        match why.reason {
            Reason::Busy if state.busy < BUSY_MAX => {
                state.busy += 1;
                // The first tick may come at once.
                let wait = why.retry_after_ms.map(|ms| ms.div_ceil(TICK_MS).saturating_add(1));
                state.busy_until = ticks + wait.map_or(COMPARE_TICKS, |it| it.min(COMPARE_TICKS));
                state.compare_at = state.busy_until;
                self.end_comparison(peer);
            }
            // The comparison took too long.
            Reason::Unknown => self.ask_pages(peer, out),
            Reason::Busy => {
                state.busy = 0;
                self.ask_pages(peer, out);
            }
            // It does not know the request, or has more logs than are compared so.
            Reason::Invalid | Reason::Unable => {
                self.ask_no_cells(peer);
                self.ask_pages(peer, out);
            }
            _ => self.handle_no_heads(peer),
        }
    }

    /// Until its connection ends, a peer is asked for pages only.
    fn ask_no_cells(&mut self, peer: PublicKey) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.pages_only = true;
        }
    }

    /// What an admitted peer gets that asks for cells.
    pub(crate) fn answer_compare(
        &mut self,
        now_ms: u64,
        peer: PublicKey,
        asked: &Compare,
    ) -> Response {
        let ours = Heads(&self.logs);
        match self.cells.answered.handle_compare(now_ms, peer, asked, &ours) {
            Ok(page) => Response::Cells(page),
            Err(why) => Response::Refused(why.into()),
        }
    }

    /// What an admitted peer gets that asks which logs some short ids are.
    pub(crate) fn answer_find(
        &mut self,
        now_ms: u64,
        peer: PublicKey,
        asked: &FindElements,
    ) -> Response {
        let ours = Heads(&self.logs);
        match self.cells.answered.handle_find(now_ms, peer, asked, &ours) {
            Ok(found) => Response::Elements(found),
            Err(why) => Response::Refused(why.into()),
        }
    }

    /// Follows from a secret, so that nobody knows it before the peer does; never repeats within a start.
    fn next_compare_key(&mut self, peer: &PublicKey) -> CompareKey {
        self.cells.begun += 1;
        let mut bytes = b"guildhall/compare\0".to_vec();
        bytes.extend_from_slice(self.settings.compare_seed.as_bytes());
        bytes.extend_from_slice(peer.as_bytes());
        bytes.extend_from_slice(&self.cells.begun.to_le_bytes());
        CompareKey::from_bytes(*Hash::of(&bytes).as_bytes())
    }
}
