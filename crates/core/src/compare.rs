//! Comparing logs with peers: when, in which way, and page by page. A comparison is at most one call at a time for each
//! peer. In cells it costs what differs (`cells.rs`); pages cost what is there, and are for whom cells do not serve.

use guildhall_protocol::wire::{HEADS_PER_PAGE, LogHead, Request, Response};
use guildhall_protocol::{Hash, PublicKey};

use crate::agree::Lacks;
use crate::event::Effect;
use crate::node::{Call, Core, PeerState};

/// Ticks between two comparisons of logs with a peer, for a node with few: repairs what gossip lost.
pub(crate) const COMPARE_TICKS: u64 = 15;

/// Peers with which logs are compared in as many ticks. A node with more compares with each of them the less often, so
/// that what it costs to be at rest does not grow with its links, and what it lacks is still found in one round.
const COMPARED_IN_TURN: usize = 4;

/// Pages asked for in one comparison: a million logs. A peer that has more, or makes them up, is not asked further.
const PAGES_MAX: u32 = 128;

/// With fewer logs here than this pages are asked for: so many take half a kilobyte, no more than the first cells do, and
/// a node that is new lacks nearly everything anyway.
const LOGS_FOR_CELLS: usize = 10;

impl Core {
    /// Asks a peer which logs it has; at the next tick when it is being asked already, or too many others are;
    /// later when it is busy.
    pub(crate) fn compare(&mut self, peer: PublicKey, out: &mut Vec<Effect>) {
        let ticks = self.ticks;
        let pause_ticks = self.compare_pause(&peer);
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if state.comparing {
            state.compare_at = ticks + 1;
            return;
        }
        let is_small = self.logs.heads_after(None).take(LOGS_FOR_CELLS).count() < LOGS_FOR_CELLS;
        let in_cells = !state.pages_only && !is_small;
        if in_cells && ticks < state.busy_until {
            state.compare_at = state.busy_until;
            return;
        }
        if in_cells && self.cells.is_full() {
            state.compare_at = state.compare_at.min(ticks);
            return;
        }
        state.comparing = true;
        state.compare_at = ticks + pause_ticks;
        if in_cells {
            self.ask_cells(peer, out);
        } else {
            self.ask_pages(peer, out);
        }
    }

    /// Ticks until logs are compared with a peer again. With many peers chance spreads them, so that those that were
    /// met together are not asked together for ever.
    fn compare_pause(&self, peer: &PublicKey) -> u64 {
        let rounds = self.admitted_peers().count().div_ceil(COMPARED_IN_TURN) as u64;
        if rounds <= 1 {
            return COMPARE_TICKS;
        }
        let mut bytes = self.settings.compare_seed.as_bytes().to_vec();
        bytes.extend_from_slice(peer.as_bytes());
        bytes.extend_from_slice(&self.ticks.to_le_bytes());
        let pause = COMPARE_TICKS * rounds;
        let lot = Hash::of(&bytes).as_bytes().iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b));
        pause / 2 + lot % pause
    }

    /// Logs are compared at the next tick: a peer did not say what it has, perhaps because it has not heard our hello
    /// yet, or there is a reason to ask again.
    pub(crate) fn compare_soon(&mut self, peer: PublicKey) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.compare_at = state.compare_at.min(self.ticks + 1);
        }
    }

    /// Compares with every peer with which it is due, first with those with which it was due first.
    pub(crate) fn compare_due(&mut self, out: &mut Vec<Effect>) {
        let mut due: Vec<(u64, PublicKey)> = self
            .peers
            .iter()
            .filter(|(_, state)| is_comparable(state) && state.compare_at <= self.ticks)
            .map(|(peer, state)| (state.compare_at, *peer))
            .collect();
        due.sort_unstable();
        due.into_iter().for_each(|(_, peer)| self.compare(peer, out));
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
        if !self.is_comparable(&peer) {
            return;
        }
        let in_order = heads.is_sorted_by(|one, next| one.author < next.author);
        let is_behind = heads.first().is_none_or(|head| after.is_none_or(|it| it < head.author));
        if !in_order || !is_behind || heads.len() > HEADS_PER_PAGE {
            out.push(Effect::Note(format!("{peer:?} answered with something that is no page")));
            return;
        }
        self.count_page(peer, after, heads);
        self.schedule.handle_heads(peer, after, heads, &self.logs);
        self.seek_bodies(peer, len_in(heads, &self.me.node.public()));
        let Some(last) = heads.last().filter(|_| heads.len() == HEADS_PER_PAGE) else {
            self.end_agreement(peer);
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

    /// Counts what differs between a page of a peer's logs and those here.
    fn count_page(&mut self, peer: PublicKey, after: Option<PublicKey>, heads: &[LogHead]) {
        let until = heads.last().filter(|_| heads.len() == HEADS_PER_PAGE).map(|last| last.author);
        let is_in = |head: &LogHead| until.is_none_or(|until| head.author <= until);
        let ours: Vec<LogHead> = self.logs.heads_after(after).take_while(is_in).collect();
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if after.is_none() {
            state.agreement.so_far = Lacks::default();
        }
        state.agreement.so_far.add(&ours, heads);
    }

    /// A comparison with a peer ended, in whatever way it was made; what differs was counted.
    pub(crate) fn end_agreement(&mut self, peer: PublicKey) {
        let now_ms = self.fresh.steady_ms();
        if let Some(state) = self.peers.get_mut(&peer) {
            state.agreement.end(now_ms);
        }
        self.heard_from(&peer);
    }

    /// A peer did not say which logs it has.
    pub(crate) fn handle_no_heads(&mut self, peer: PublicKey) {
        self.end_comparison(peer);
        self.compare_soon(peer);
    }

    pub(crate) fn end_comparison(&mut self, peer: PublicKey) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.comparing = false;
        }
    }

    /// Whether logs are compared with a peer; it may have ceased to be a member since it was asked.
    pub(crate) fn is_comparable(&self, peer: &PublicKey) -> bool {
        self.peers.get(peer).is_some_and(is_comparable)
    }

    /// Asks for the first page; the comparison counts as begun.
    pub(crate) fn ask_pages(&mut self, peer: PublicKey, out: &mut Vec<Effect>) {
        self.ask_heads(peer, None, 1, out);
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

/// How long an author's log is among these; 0 when it is not there.
pub(crate) fn len_in(heads: &[LogHead], author: &PublicKey) -> u64 {
    heads.iter().find(|head| head.author == *author).map_or(0, |head| head.len)
}
