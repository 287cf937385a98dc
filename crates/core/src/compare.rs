//! Comparing logs with peers: when, and page by page. A comparison is at most one call at a time for each peer.

use guildhall_protocol::PublicKey;
use guildhall_protocol::wire::{HEADS_PER_PAGE, LogHead, Request, Response};

use crate::event::Effect;
use crate::node::{Call, Core, PeerState};

/// Ticks between two comparisons of logs with a peer: repairs what gossip lost.
const COMPARE_TICKS: u64 = 15;

/// Pages asked for in one comparison: a million logs. A peer that has more, or makes them up, is not asked further.
const PAGES_MAX: u32 = 128;

impl Core {
    /// Asks a peer which logs it has; at the next tick when it is being asked already.
    pub(crate) fn compare(&mut self, peer: PublicKey, out: &mut Vec<Effect>) {
        let ticks = self.ticks;
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if state.comparing {
            state.compare_at = ticks + 1;
            return;
        }
        state.comparing = true;
        state.compare_at = ticks + COMPARE_TICKS;
        self.ask_heads(peer, None, 1, out);
    }

    /// Logs are compared at the next tick: a peer did not say what it has, perhaps because it has not heard our hello
    /// yet, or there is a reason to ask again.
    pub(crate) fn compare_soon(&mut self, peer: PublicKey) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.compare_at = state.compare_at.min(self.ticks + 1);
        }
    }

    /// Compares with every peer with which it is due.
    pub(crate) fn compare_due(&mut self, out: &mut Vec<Effect>) {
        let due: Vec<PublicKey> = self
            .peers
            .iter()
            .filter(|(_, state)| is_comparable(state) && state.compare_at <= self.ticks)
            .map(|(peer, _)| *peer)
            .collect();
        due.into_iter().for_each(|peer| self.compare(peer, out));
    }

    /// A page of the logs that are here.
    pub(crate) fn heads_page(&self, after: Option<PublicKey>) -> Response {
        Response::Heads(self.logs.heads_after(after).take(HEADS_PER_PAGE).collect())
    }

    /// A peer said which logs it has: page `page`, behind the author `after`.
    pub(crate) fn handle_heads(
        &mut self,
        peer: PublicKey,
        (after, page): (Option<PublicKey>, u32),
        heads: &[LogHead],
        out: &mut Vec<Effect>,
    ) {
        self.end_comparison(peer);
        if !self.peers.get(&peer).is_some_and(is_comparable) {
            return;
        }
        let in_order = heads.is_sorted_by(|one, next| one.author < next.author);
        let is_behind = heads.first().is_none_or(|head| after.is_none_or(|it| it < head.author));
        if !in_order || !is_behind || heads.len() > HEADS_PER_PAGE {
            out.push(Effect::Note(format!("{peer:?} answered with something that is no page")));
            return;
        }
        self.schedule.handle_heads(peer, after, heads, &self.logs);
        self.seek_bodies(peer, heads);
        let Some(last) = heads.last().filter(|_| heads.len() == HEADS_PER_PAGE) else {
            self.heard = Some(self.now);
            return;
        };
        if page == PAGES_MAX {
            out.push(Effect::Note(format!("{peer:?} has more logs than are asked for")));
            return;
        }
        if let Some(state) = self.peers.get_mut(&peer) {
            state.comparing = true;
        }
        self.ask_heads(peer, Some(last.author), page + 1, out);
    }

    /// A peer did not say which logs it has.
    pub(crate) fn handle_no_heads(&mut self, peer: PublicKey) {
        self.end_comparison(peer);
        self.compare_soon(peer);
    }

    fn end_comparison(&mut self, peer: PublicKey) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.comparing = false;
        }
    }

    fn ask_heads(
        &mut self,
        peer: PublicKey,
        after: Option<PublicKey>,
        page: u32,
        out: &mut Vec<Effect>,
    ) {
        self.call(peer, Call::Heads { peer, after, page }, Request::Heads { after }, out);
    }
}

const fn is_comparable(state: &PeerState) -> bool {
    state.admitted.is_some() || state.introduced
}
