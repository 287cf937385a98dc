//! Which part of whose log to ask for next.

use std::collections::{BTreeMap, BTreeSet};

use guildhall_protocol::PublicKey;
use guildhall_protocol::wire::LogHead;

use crate::logs::Logs;

/// Pulls under way at one peer. One page is at most a megabyte, so this bounds what a peer can make us hold.
pub const PULLS_PER_PEER_MAX: usize = 4;

/// Logs remembered of one peer. Further ones are ignored until these are caught up and asked for again.
const HEADS_PER_PEER_MAX: usize = 100_000;

/// A request for a part of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The peer to ask.
    pub peer: PublicKey,
    /// Whose log.
    pub author: PublicKey,
    /// From which position on.
    pub from_seq: u64,
}

/// What peers have, and what is being pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    peers: BTreeMap<PublicKey, PeerLogs>,
    /// Authors whose log is being pulled, so that two peers are not asked for the same.
    pulling: BTreeMap<PublicKey, PublicKey>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PeerLogs {
    heads: BTreeMap<PublicKey, u64>,
    /// Authors of whom this peer's last page brought nothing new; skipped until the peer says more.
    stalled: BTreeSet<PublicKey>,
    /// Authors of whom this peer is asked for missing bodies, and from which position on.
    bodies: BTreeMap<PublicKey, u64>,
}

impl Schedule {
    /// A peer says which logs it has.
    pub fn handle_heads(&mut self, peer: PublicKey, heads: &[LogHead]) {
        let logs = self.peers.entry(peer).or_default();
        logs.heads =
            heads.iter().take(HEADS_PER_PEER_MAX).map(|head| (head.author, head.len)).collect();
        logs.stalled.clear();
    }

    /// A peer is known to have a log of at least this length, because it sent a record of it.
    pub fn handle_glimpse(&mut self, peer: PublicKey, author: PublicKey, len: u64) {
        let logs = self.peers.entry(peer).or_default();
        if logs.heads.len() >= HEADS_PER_PEER_MAX && !logs.heads.contains_key(&author) {
            return;
        }
        let known = logs.heads.entry(author).or_default();
        *known = len.max(*known);
        logs.stalled.remove(&author);
    }

    /// A pull ended; `progressed` says whether it brought something new.
    pub fn handle_pulled(&mut self, peer: PublicKey, author: PublicKey, progressed: bool) {
        if self.pulling.get(&author) == Some(&peer) {
            self.pulling.remove(&author);
        }
        if !progressed && let Some(logs) = self.peers.get_mut(&peer) {
            logs.stalled.insert(author);
        }
    }

    /// A peer may have bodies of an author that are missing here.
    pub fn want_bodies(&mut self, peer: PublicKey, author: PublicKey) {
        self.peers.entry(peer).or_default().bodies.insert(author, 0);
    }

    /// A pull for missing bodies ended; `next_seq` says where to go on, if that makes sense.
    pub fn handle_bodies(&mut self, peer: PublicKey, author: PublicKey, next_seq: Option<u64>) {
        if self.pulling.get(&author) == Some(&peer) {
            self.pulling.remove(&author);
        }
        let Some(of_peer) = self.peers.get_mut(&peer) else { return };
        match (next_seq, of_peer.bodies.get_mut(&author)) {
            // A page that does not lead on would be asked for for ever.
            (Some(next_seq), Some(at)) if next_seq > *at => *at = next_seq,
            _ => drop(of_peer.bodies.remove(&author)),
        }
    }

    /// A peer is gone, with its pulls.
    pub fn handle_gone(&mut self, peer: &PublicKey) {
        self.peers.remove(peer);
        self.pulling.retain(|_, pulled_from| pulled_from != peer);
    }

    /// Whether everything that peers are known to have is here or known to be out of reach.
    #[must_use]
    pub fn is_idle(&self, logs: &Logs) -> bool {
        self.pulling.is_empty() && self.clone().poll_pulls(logs).is_empty()
    }

    /// The pulls to start now; they count as under way from here on.
    pub fn poll_pulls(&mut self, logs: &Logs) -> Vec<Pull> {
        let mut pulls = Vec::new();
        for (peer, of_peer) in &self.peers {
            let mut free = PULLS_PER_PEER_MAX
                .saturating_sub(self.pulling.values().filter(|from| *from == peer).count());
            for (author, len) in &of_peer.heads {
                let ours = logs.len_of(author);
                let wanted = *len > ours
                    && !self.pulling.contains_key(author)
                    && !of_peer.stalled.contains(author)
                    && logs.fork_of(author).is_none();
                if wanted && free > 0 {
                    free -= 1;
                    self.pulling.insert(*author, *peer);
                    pulls.push(Pull { peer: *peer, author: *author, from_seq: ours });
                }
            }
            for (author, from_seq) in &of_peer.bodies {
                let missing = logs.next_unsettled(author, *from_seq);
                if let Some(from_seq) = missing
                    && !self.pulling.contains_key(author)
                    && free > 0
                {
                    free -= 1;
                    self.pulling.insert(*author, *peer);
                    pulls.push(Pull { peer: *peer, author: *author, from_seq });
                }
            }
        }
        pulls
    }
}
