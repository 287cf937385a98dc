//! Which part of whose log to ask for next.

use std::collections::{BTreeMap, BTreeSet};

use guildhall_protocol::PublicKey;
use guildhall_protocol::wire::LogHead;

use crate::logs::Logs;

/// Pulls under way at one peer. One page is at most a megabyte, so this bounds what a peer can make us hold.
pub const PULLS_PER_PEER_MAX: usize = 4;

/// Logs that are longer at a peer, remembered of one peer. Further ones are ignored; the next comparison names them
/// again, when some of these are caught up.
const WANTED_PER_PEER_MAX: usize = 16_384;

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

/// What peers have that is not here, and what is being pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    peers: BTreeMap<PublicKey, PeerLogs>,
    /// Authors whose log is being pulled, so that two peers are not asked for the same.
    pulling: BTreeMap<PublicKey, PublicKey>,
    /// Whether a pull may have become possible since the last poll. A log that grew here makes none possible.
    is_changed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PeerLogs {
    /// Logs that were longer at the peer when it said so, and how long. Those whose last page brought nothing new are
    /// forgotten until the peer says more.
    wanted: BTreeMap<PublicKey, u64>,
    /// Authors of whom this peer is asked for missing bodies, and from which position on.
    bodies: BTreeMap<PublicKey, u64>,
    /// Entries of `pulling` that name this peer.
    under_way: usize,
}

impl Schedule {
    /// A peer says which logs it has: a page, behind the author `after`. The first page is a new comparison and
    /// replaces what an earlier one said.
    pub fn handle_heads(
        &mut self,
        peer: PublicKey,
        after: Option<PublicKey>,
        heads: &[LogHead],
        logs: &Logs,
    ) {
        let of_peer = self.peers.entry(peer).or_default();
        if after.is_none() {
            of_peer.wanted.clear();
        }
        for head in heads.iter().filter(|head| is_wanted(logs, &head.author, head.len)) {
            if of_peer.wanted.len() >= WANTED_PER_PEER_MAX {
                break;
            }
            of_peer.wanted.insert(head.author, head.len);
            self.is_changed = true;
        }
    }

    /// A peer is known to have a log of at least this length, because it sent a record of it.
    pub fn handle_glimpse(&mut self, peer: PublicKey, author: PublicKey, len: u64) {
        let wanted = &mut self.peers.entry(peer).or_default().wanted;
        if wanted.len() >= WANTED_PER_PEER_MAX && !wanted.contains_key(&author) {
            return;
        }
        let known = wanted.entry(author).or_default();
        *known = len.max(*known);
        self.is_changed = true;
    }

    /// A pull ended; `progressed` says whether it brought something new.
    pub fn handle_pulled(&mut self, peer: PublicKey, author: PublicKey, progressed: bool) {
        self.end(peer, author);
        if !progressed && let Some(of_peer) = self.peers.get_mut(&peer) {
            of_peer.wanted.remove(&author);
        }
    }

    /// A peer may have bodies of an author that are missing here.
    pub fn want_bodies(&mut self, peer: PublicKey, author: PublicKey) {
        self.peers.entry(peer).or_default().bodies.insert(author, 0);
        self.is_changed = true;
    }

    /// A pull for missing bodies ended; `next_seq` says where to go on, if that makes sense.
    pub fn handle_bodies(&mut self, peer: PublicKey, author: PublicKey, next_seq: Option<u64>) {
        self.end(peer, author);
        let Some(of_peer) = self.peers.get_mut(&peer) else { return };
        match (next_seq, of_peer.bodies.get_mut(&author)) {
            // A page that does not lead on would be asked for for ever.
            (Some(next_seq), Some(at)) if next_seq > *at => *at = next_seq,
            _ => drop(of_peer.bodies.remove(&author)),
        }
    }

    fn end(&mut self, peer: PublicKey, author: PublicKey) {
        if self.pulling.get(&author) != Some(&peer) {
            return;
        }
        self.pulling.remove(&author);
        self.is_changed = true;
        if let Some(of_peer) = self.peers.get_mut(&peer) {
            of_peer.under_way = of_peer.under_way.saturating_sub(1);
        }
    }

    /// A peer is gone, with its pulls.
    pub fn handle_gone(&mut self, peer: &PublicKey) {
        self.peers.remove(peer);
        self.pulling.retain(|_, pulled_from| pulled_from != peer);
        self.is_changed = true;
    }

    /// Whether everything that peers are known to have is here or known to be out of reach.
    #[must_use]
    pub fn is_idle(&self, logs: &Logs) -> bool {
        self.pulling.is_empty() && self.clone().poll_pulls(logs).is_empty()
    }

    /// How many logs are remembered as longer at a peer.
    #[must_use]
    pub fn wanted_from(&self, peer: &PublicKey) -> usize {
        self.peers.get(peer).map_or(0, |of_peer| of_peer.wanted.len())
    }

    /// Records that peers say to have and that are not here, each log as the peer with most of it says.
    #[must_use]
    pub fn missing(&self, logs: &Logs) -> u64 {
        let mut lens: BTreeMap<&PublicKey, u64> = BTreeMap::new();
        for (author, len) in self.peers.values().flat_map(|of_peer| &of_peer.wanted) {
            let longest = lens.entry(author).or_default();
            *longest = (*longest).max(*len);
        }
        let missing = lens.into_iter().filter(|(author, len)| is_wanted(logs, author, *len));
        missing.fold(0, |sum, (author, len)| sum.saturating_add(len - logs.len_of(author)))
    }

    /// The pulls to start now; they count as under way from here on. Costs nothing when nothing changed, and of a
    /// peer that has its pulls already nothing is looked at.
    pub fn poll_pulls(&mut self, logs: &Logs) -> Vec<Pull> {
        let mut pulls = Vec::new();
        if !std::mem::take(&mut self.is_changed) {
            return pulls;
        }
        for (peer, of_peer) in &mut self.peers {
            let from = pulls.len();
            of_peer.choose(*peer, logs, &self.pulling, &mut pulls);
            let chosen = pulls.get(from..).unwrap_or_default();
            self.pulling.extend(chosen.iter().map(|pull| (pull.author, *peer)));
            of_peer.under_way += chosen.len();
        }
        pulls
    }
}

impl PeerLogs {
    /// Adds the pulls that may start at this peer, and forgets what it turns out not to need any more.
    fn choose(
        &mut self,
        peer: PublicKey,
        logs: &Logs,
        pulling: &BTreeMap<PublicKey, PublicKey>,
        pulls: &mut Vec<Pull>,
    ) {
        let mut free = PULLS_PER_PEER_MAX.saturating_sub(self.under_way);
        let mut taken = BTreeSet::new();
        let mut met = Vec::new();
        for (author, len) in &self.wanted {
            if free == 0 {
                break;
            }
            if !is_wanted(logs, author, *len) {
                met.push(*author);
            } else if !pulling.contains_key(author) {
                free -= 1;
                taken.insert(*author);
                pulls.push(Pull { peer, author: *author, from_seq: logs.len_of(author) });
            }
        }
        for author in met.drain(..) {
            self.wanted.remove(&author);
        }
        for (author, from_seq) in &self.bodies {
            if free == 0 {
                break;
            }
            match logs.next_unsettled(author, *from_seq) {
                None => met.push(*author),
                Some(_) if pulling.contains_key(author) || taken.contains(author) => {}
                Some(from_seq) => {
                    free -= 1;
                    pulls.push(Pull { peer, author: *author, from_seq });
                }
            }
        }
        for author in met {
            self.bodies.remove(&author);
        }
    }
}

/// Whether a log of this length has records that are not here and fit the log that is here.
fn is_wanted(logs: &Logs, author: &PublicKey, len: u64) -> bool {
    let ours = logs.len_of(author);
    len > ours && logs.is_open_at(author, ours)
}
