//! Keys with two writers: what is seen of it here is proven to everybody, and what such a key lists counts no more.
//!
//! A node that holds two records which cannot both be in one log writes a *fork* record with both. It spreads like any
//! record, so every node hears of it, also those that saw one side only, and after a restart it is known again. Whoever
//! reads it ends the log before the fork, so that all have the same of it, and puts the key into quarantine: its
//! listings are found no more and its node is not talked to. Its org goes on under another key.

use std::collections::BTreeMap;

use guildhall_protocol::PublicKey;
use guildhall_protocol::body::{ForkProof, Forked};
use guildhall_protocol::record::Record;
use guildhall_sync::Fork;

use crate::event::Effect;
use crate::node::Core;

/// Keys in quarantine: sixty-four for each of the thousand orgs that a federation is made for. Further proofs are kept
/// and passed on, and change nothing.
const FORKS_MAX: usize = 65_536;

/// Keys that are proven to have two writers.
pub(crate) type Forks = BTreeMap<PublicKey, Forked>;

impl Core {
    /// Keys that are proven to have two writers, and where their logs end.
    pub fn forks(&self) -> impl Iterator<Item = &Forked> {
        self.forks.values()
    }

    pub(crate) fn is_quarantined(&self, author: &PublicKey) -> bool {
        self.forks.contains_key(author)
    }

    /// Asks for proof of what stopped logs just now.
    pub(crate) fn prove_forks(&mut self, out: &mut Vec<Effect>) {
        for found in self.logs.take_contradictions() {
            let author = found.theirs.header().author;
            if self.forks.get(&author).is_none_or(|known| found.seq < known.seq) {
                out.push(Effect::ProveFork(found));
            }
        }
    }

    /// The proof to write for two records, unless it was heard of meanwhile or this node may not write it.
    #[must_use]
    pub fn fork_proof(&self, ours: &Record, theirs: &Record) -> Option<ForkProof> {
        let proof = ForkProof::of(self.federation.id(), ours, theirs)?;
        let author = &ours.header().author;
        let is_known = self.forks.get(author).is_some_and(|known| known.seq <= ours.header().seq);
        (!is_known && *author != self.me.node.public()).then_some(proof)
    }

    pub(crate) fn evaluate_fork(
        &mut self,
        record: &Record,
        proof: &ForkProof,
        out: &mut Vec<Effect>,
    ) {
        if proof.federation != self.federation.id() {
            return;
        }
        let shown = match proof.open() {
            Ok(shown) => shown,
            Err(why) => {
                out.push(Effect::Note(format!("{:?} proves no fork: {why}", record.id())));
                return;
            }
        };
        let known = self.forks.get(&shown.author);
        if known.is_some_and(|known| known.seq <= shown.seq) {
            return;
        }
        if known.is_none() && self.forks.len() >= FORKS_MAX {
            out.push(Effect::Note(format!("{FORKS_MAX} keys are in quarantine; no more are put")));
            return;
        }
        self.forks.insert(shown.author, shown);
        self.quarantine(shown, out);
    }

    fn quarantine(&mut self, shown: Forked, out: &mut Vec<Effect>) {
        let Forked { author, seq, .. } = shown;
        self.logs.cut(author, Fork { seq, ours: shown.first, theirs: shown.second });
        let gone = self.catalog.retain(|listed_by, _, _| *listed_by != author);
        if self.nodes.remove(&author).is_some() {
            self.links.handle_nodes();
        }
        out.push(Effect::Note(format!(
            "{author:?} has two writers: its log ends at record {seq}, and {gone} listings of it are not shown"
        )));
        out.push(Effect::Quarantined(shown));
        // Also when it is away: what it said in the DHT goes too.
        out.push(Effect::Expel { peer: author });
        if self.peers.contains_key(&author) {
            self.handle_disconnected(author, out);
        }
        if self.federation.cut(&author, seq) == guildhall_federation::Change::Members {
            self.members_changed(out);
        }
    }
}
