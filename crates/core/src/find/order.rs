//! Whom to ask, and whom first.
//!
//! Who says that it keeps everything that could be an answer comes before who keeps a part. Then nodes of different
//! orgs before several of one, so that no org alone gives the answer while there are others; then those that the DHT
//! names, because they have something; then those that are connected, because they answer soonest. Among equals the
//! question decides, so that not everybody asks the same nodes.

use std::collections::{BTreeMap, BTreeSet};

use guildhall_protocol::api::Via;
use guildhall_protocol::name::{CategoryPrefix, OrgName, Reference};
use guildhall_protocol::query::Query;
use guildhall_protocol::{Hash, PublicKey};

use super::question::{ASKED_MAX, Candidate, Located};
use crate::bodies::covers;
use crate::event::NodeView;
use crate::node::Core;

/// What a node says that it keeps, measured against a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Keeps {
    Whole,
    Part,
    Nothing,
}

impl Core {
    /// Who may be asked, now that the DHT named `peers`, strangers perhaps among them.
    pub(super) fn locate(&self, question: Hash, query: &Query, peers: &[PublicKey]) -> Located {
        let me = self.me.node.public();
        let named: BTreeSet<&PublicKey> =
            peers.iter().filter(|peer| **peer != me && self.nodes.contains_key(peer)).collect();
        let mut known: Vec<_> = self
            .nodes
            .iter()
            .filter(|(node, _)| **node != me)
            .filter_map(|(node, view)| {
                let org = &self.federation.member(&view.root)?.org;
                let keeps = keeps(query, org, view);
                (keeps != Keeps::Nothing || named.contains(node))
                    .then_some((node, view, org, keeps))
            })
            .collect();
        known.sort_by_cached_key(|(node, _, _, keeps)| {
            let is_admitted = self.authority(node).is_some();
            (*keeps, !named.contains(node), !is_admitted, place_of(question, node))
        });
        let mut of_org = BTreeMap::new();
        let mut ranked: Vec<_> = known
            .into_iter()
            .map(|(node, view, org, keeps)| {
                let nth: &mut usize = of_org.entry(view.root).or_default();
                *nth += 1;
                let whole = keeps == Keeps::Whole;
                ((!whole, *nth), Candidate { node: *node, org: org.clone(), whole })
            })
            .collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.truncate(ASKED_MAX);
        let via = if named.is_empty() { Via::Members } else { Via::Dht };
        let candidates = ranked.into_iter().map(|(_, candidate)| candidate).collect();
        Located { via, holders: named.len() as u64, candidates }
    }
}

fn keeps(query: &Query, org: &OrgName, view: &NodeView) -> Keeps {
    let follows = &view.body.follows;
    let asked_org = match (&query.org, &query.reference) {
        (Some(org), _) | (None, Some(Reference::Named { org, .. })) => Some(org),
        _ => None,
    };
    // An org keeps its own listings, whatever else it follows.
    if asked_org == Some(org) {
        return Keeps::Whole;
    }
    let everything = CategoryPrefix::everything();
    let asked = query.category.as_ref().unwrap_or(&everything);
    if follows.iter().any(|prefix| covers(prefix, asked)) {
        return Keeps::Whole;
    }
    match &query.category {
        Some(asked) if !follows.iter().any(|prefix| covers(asked, prefix)) => Keeps::Nothing,
        _ => Keeps::Part,
    }
}

fn place_of(question: Hash, node: &PublicKey) -> Hash {
    let mut bytes = question.as_bytes().to_vec();
    bytes.extend_from_slice(node.as_bytes());
    Hash::of(&bytes)
}
