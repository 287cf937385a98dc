//! What must hold after every step, and what must hold of the whole in the end.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use guildhall_protocol::RecordId;
use guildhall_sync::{WAITING_MAX, WAITING_MAX_BYTES};

use crate::world::World;

impl World {
    /// What must hold of a node after whatever happened to it.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn check(&self, me: usize) {
        let node = &self.nodes[me];
        let logs = node.core.logs();
        for (author, len) in &node.acked {
            let is_forked = logs.fork_of(author).is_some();
            assert!(is_forked || logs.len_of(author) >= *len, "node {me} lost records of its own");
        }
        // Only a proven fork takes records back.
        let (before, now) = (node.records.replace(logs.records()), logs.records());
        let is_forked = node.core.forks().next().is_some();
        assert!(is_forked || now >= before, "node {me} had {before} records and has {now}");
        let waiting = logs.waiting();
        let is_bounded = waiting.records <= WAITING_MAX && waiting.len_bytes <= WAITING_MAX_BYTES;
        assert!(is_bounded, "node {me} lets {waiting:?} wait");
    }

    /// Which logs a node has, in one number: each author's, how long it is and its last record.
    #[must_use]
    pub fn digest(&self, me: usize) -> u64 {
        let mut hasher = DefaultHasher::new();
        let logs = self.nodes[me].core.logs();
        for head in logs.heads_after(None) {
            let last = logs.id_at(&head.author, head.len - 1);
            (head.author.as_bytes(), head.len, last).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Whether all nodes that run have the same logs.
    #[must_use]
    pub fn agrees(&self) -> bool {
        let mut up = (0..self.nodes.len()).filter(|me| !self.nodes[*me].is_down);
        let Some(first) = up.next() else { return true };
        let digest = self.digest(first);
        up.all(|me| self.digest(me) == digest)
    }

    /// The listings that a node's catalogue has, and whether each was taken back.
    #[must_use]
    pub fn listings(&self, me: usize) -> BTreeSet<(RecordId, bool)> {
        let briefs = self.nodes[me].core.catalog().briefs();
        briefs.map(|brief| (brief.listing_id(), brief.yanked().is_some())).collect()
    }

    /// Whatever was acknowledged anywhere and is not at every node, in words.
    #[must_use]
    pub fn lost(&self) -> Vec<String> {
        let mut lost = Vec::new();
        for (owner, node) in self.nodes.iter().enumerate() {
            for (author, len) in &node.acked {
                let last = |me: usize| self.nodes[me].core.logs().id_at(author, *len - 1);
                let lacks = |me: &usize| last(*me).is_none() || last(*me) != last(owner);
                let who: Vec<usize> = (0..self.nodes.len()).filter(lacks).collect();
                if !who.is_empty() {
                    lost.push(format!("records that node {owner} wrote are not at {who:?}"));
                }
            }
        }
        lost
    }
}
