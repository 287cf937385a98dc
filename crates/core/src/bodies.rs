//! Bodies that are missing although this node follows their category: left out by a peer that does not follow it, or
//! from before this node followed it.
//!
//! A header does not say which category its body is in, so the node asks who should have it: a node of the author's
//! org, or one that follows at least what this node follows. Only peers that have this node's newest description are
//! asked, because they leave out what by it this node does not follow. What the author's org leaves out is settled; of
//! others several are asked. After a start everything that was left out is asked for once more.

use guildhall_protocol::PublicKey;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::record::Record;

use crate::node::Core;
use crate::spread::is_erased;

/// Ticks until a peer is asked again for bodies that it left out: it may have got them meanwhile.
const BODIES_RETRY_TICKS: u64 = 60;

impl Core {
    /// A peer said what it has, and that this node's own log has `own_len` records there; it may have bodies that are
    /// missing here.
    pub(crate) fn seek_bodies(&mut self, peer: PublicKey, own_len: u64) {
        let me = self.me.node.public();
        let Some(described) = self.nodes.get(&me).map(|view| view.seq) else { return };
        let ticks = self.ticks;
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if own_len <= described {
            return;
        }
        if state.bodies_at.is_some_and(|at| ticks.saturating_sub(at) < BODIES_RETRY_TICKS) {
            return;
        }
        state.bodies_at = Some(ticks);
        let authors: Vec<PublicKey> = self.logs.unsettled_authors().copied().collect();
        for author in authors {
            if self.is_of_author(&peer, &author) || self.follows_as_much(&peer) {
                self.schedule.want_bodies(peer, author);
            }
        }
    }

    /// A peer that was asked for bodies sent a record that is here.
    pub(crate) fn handle_body_answer(&mut self, peer: PublicKey, record: &Record) {
        let header = record.header();
        if !is_erased(record) || self.is_of_author(&peer, &header.author) {
            self.logs.settle(&header.author, header.seq);
        } else {
            self.logs.asked_in_vain(&header.author, header.seq);
        }
    }

    /// Whether a peer is a node of the org whose key `author` is.
    fn is_of_author(&self, peer: &PublicKey, author: &PublicKey) -> bool {
        let state = self.peers.get(peer).filter(|state| !state.sponsor);
        let root = state.and_then(|state| state.admitted.as_ref()).map(|authority| authority.root);
        root.is_some() && self.roots.get(author).copied() == root
    }

    fn follows_as_much(&self, peer: &PublicKey) -> bool {
        let Some(view) = self.nodes.get(peer) else { return false };
        let covered = |ours: &CategoryPrefix| view.body.follows.iter().any(|f| covers(f, ours));
        self.settings.follows.iter().all(covered)
    }
}

/// Whether everything within `narrow` is within `wide`.
pub(crate) fn covers(wide: &CategoryPrefix, narrow: &CategoryPrefix) -> bool {
    *wide == CategoryPrefix::everything()
        || narrow
            .as_str()
            .strip_prefix(wide.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
