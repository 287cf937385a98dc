//! Which nodes this one keeps links to.
//!
//! A small federation is linked node to node. In a larger one every node keeps a few links that it chose itself, in an
//! order that nobody else knows: first by walks down the tree of invitations, then org by org. However many nodes an
//! org has, it gets one place in a round; however many orgs one member brings in, they share that member's branch. So
//! who wants to surround a node must have been invited by most of those whom it may choose. Links that others open come
//! on top and replace none of its own.

use std::collections::{BTreeMap, BTreeSet};

use guildhall_federation::State;
use guildhall_protocol::{Hash, PublicKey};

use crate::event::{Effect, NodeView};
use crate::node::Core;

/// Up to as many other nodes, links are kept to all of them.
const LINK_ALL_MAX: usize = 32;

/// Ticks after which a node that was started has tried every link of a small federation: four dials every three ticks,
/// and ten until the last one is given up.
const LINKED_TICKS: u64 = 40;

/// Links that a node of a larger federation chooses: three times the neighbours that gossip wants, so that most of them
/// may be gone.
const WANTED: usize = 24;

/// Orgs among them that are found on the tree of invitations: a quarter, so that whoever invited most is not linked to by all.
const WALKED_ORGS: usize = 6;

/// Walks to find them.
const WALKS_MAX: u32 = 64;

/// Links to nodes of one other org, whoever opened them: an eighth of the connections that a node has by default.
pub(crate) const PER_ORG_MAX: usize = 64;

/// Dials started in one tick, so that a thousand absent nodes do not become a storm.
const DIALS_PER_TICK: usize = 4;

/// The order in which links are wanted, and what was dialled.
#[derive(Debug)]
pub(crate) struct Links {
    secret: Hash,
    /// Every other node that is known, the most wanted first; `None` once it may be another one.
    order: Option<Vec<PublicKey>>,
    /// The tick at which an absent node was dialled last.
    dialled: BTreeMap<PublicKey, u64>,
}

impl Links {
    pub(crate) fn new(secret: Hash) -> Self {
        Self { secret, order: None, dialled: BTreeMap::new() }
    }

    /// Members or their nodes are others now.
    pub(crate) fn handle_nodes(&mut self) {
        self.order = None;
    }

    fn order(
        &mut self,
        me: &PublicKey,
        nodes: &BTreeMap<PublicKey, NodeView>,
        federation: &State,
    ) -> &[PublicKey] {
        let secret = self.secret;
        self.order.get_or_insert_with(|| {
            self.dialled.retain(|node, _| nodes.contains_key(node));
            let others = nodes.iter().filter(|(node, _)| *node != me);
            wanted(secret, others.map(|(node, view)| (*node, view.root)), federation)
        })
    }
}

impl Core {
    /// Dials nodes to which links are wanted and that are away, a few at a time and in turn.
    pub(crate) fn dial_absent(&mut self, out: &mut Vec<Effect>) {
        let (me, links_to_all) = (self.me.node.public(), self.links_to_all());
        let order = self.links.order(&me, &self.nodes, &self.federation);
        let enough = if links_to_all { usize::MAX } else { WANTED };
        let mut linked = 0;
        let mut absent = Vec::new();
        for node in order {
            if linked == enough {
                break;
            }
            if self.peers.contains_key(node) {
                linked += 1;
            } else {
                absent.push(*node);
            }
        }
        absent.sort_by_key(|node| self.links.dialled.get(node).copied());
        for node in absent.into_iter().take(DIALS_PER_TICK) {
            self.links.dialled.insert(node, self.ticks);
            self.dial(node, out);
        }
    }

    /// Whether whoever is not connected is away: links are kept to all other nodes, and there was time to make them.
    #[must_use]
    pub fn knows_who_is_away(&self) -> bool {
        self.links_to_all() && self.ticks >= LINKED_TICKS
    }

    fn links_to_all(&self) -> bool {
        self.nodes.len() <= LINK_ALL_MAX + 1
    }

    /// Tries to connect to a node where its record says it listens.
    pub(crate) fn dial(&self, peer: PublicKey, out: &mut Vec<Effect>) {
        if let Some(view) = self.nodes.get(&peer) {
            out.push(Effect::Dial { peer, addresses: view.body.addresses.clone() });
        }
    }

    /// Whether one more node of an org may be admitted. This node's own org is not bounded here.
    pub(crate) fn has_room_for(&self, peer: &PublicKey, root: &PublicKey) -> bool {
        let is_of_org = |(other, state): &(&PublicKey, &crate::node::PeerState)| {
            *other != peer
                && state.admitted.as_ref().is_some_and(|authority| authority.root == *root)
        };
        *root == self.me.root || self.peers.iter().filter(is_of_org).count() < PER_ORG_MAX
    }
}

/// All `nodes` with their orgs' roots, the most wanted first.
fn wanted(
    secret: Hash,
    nodes: impl Iterator<Item = (PublicKey, PublicKey)>,
    federation: &State,
) -> Vec<PublicKey> {
    let mut by_org: BTreeMap<PublicKey, Vec<PublicKey>> = BTreeMap::new();
    nodes.for_each(|(node, root)| by_org.entry(root).or_default().push(node));
    for nodes in by_org.values_mut() {
        // The most wanted last, to be taken from there.
        nodes.sort_by_cached_key(|node| std::cmp::Reverse(lot(secret, "node", node, 0)));
    }
    let mut order = Vec::new();
    let mut take = |by_org: &mut BTreeMap<PublicKey, Vec<PublicKey>>, root: &PublicKey| {
        let taken = by_org.get_mut(root).and_then(Vec::pop);
        order.extend(taken);
        taken.is_some()
    };
    for root in walked(secret, &by_org, federation) {
        take(&mut by_org, &root);
    }
    let mut rest: Vec<PublicKey> = by_org.keys().copied().collect();
    rest.sort_by_cached_key(|root| lot(secret, "org", root, 0));
    while !rest.is_empty() {
        rest.retain(|root| take(&mut by_org, root));
    }
    order
}

/// A few orgs that have nodes, by walks from the founder: each step goes to one of those whom an org brought in, or
/// stays, all with the same chance.
fn walked<T>(secret: Hash, by_org: &BTreeMap<PublicKey, T>, federation: &State) -> Vec<PublicKey> {
    let mut invited: BTreeMap<PublicKey, Vec<PublicKey>> = BTreeMap::new();
    let mut founder = None;
    for (root, _) in federation.members() {
        match federation.admitted_by(root) {
            Some(sponsor) => invited.entry(sponsor).or_default().push(*root),
            None => founder = Some(*root),
        }
    }
    let Some(founder) = founder else { return Vec::new() };
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for walk in 0..WALKS_MAX {
        let mut at = founder;
        // Every org has one sponsor and the founder has none, so no walk comes back to where it was.
        while let Some(next) = invited.get(&at) {
            let ways = next.iter().chain([&at]);
            let way = ways.min_by_key(|way| lot(secret, "walk", way, walk)).copied();
            match way {
                Some(way) if way != at => at = way,
                _ => break,
            }
        }
        if by_org.contains_key(&at) && seen.insert(at) {
            found.push(at);
        }
        if found.len() == WALKED_ORGS {
            break;
        }
    }
    found
}

/// Where a key comes when lots are drawn; nobody can tell without the secret.
fn lot(secret: Hash, what: &str, key: &PublicKey, round: u32) -> Hash {
    let parts = [secret.as_bytes(), what.as_bytes(), key.as_bytes(), &round.to_le_bytes()];
    Hash::of(&parts.concat())
}
