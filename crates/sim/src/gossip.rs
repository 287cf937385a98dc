//! How gossip travels: as in gossipsub, a message that a node accepts goes on to a few neighbours, and what a neighbour
//! lacks it hears of at the next heartbeat.

use std::collections::{BTreeSet, HashMap, VecDeque};

use guildhall_core::{Event, GossipId};
use guildhall_protocol::Hash;

use crate::effects::Context;
use crate::world::{Packet, World};

/// Messages a node remembers to have heard: those of two minutes at a hundred a second.
const HEARD_MAX: usize = 12_000;

/// Ids that one announcement names at most, and their length, bytes.
const ANNOUNCED_MAX: usize = 500;
const ID_BYTES: u64 = 34;

/// The settings of the overlay's gossip.
#[derive(Clone, Copy, Debug)]
pub struct Mesh {
    /// Neighbours that a node wants.
    pub degree: usize,
    /// With fewer it looks for more.
    pub low: usize,
    /// With more it lets some go.
    pub high: usize,
    /// Others that it tells at a heartbeat what it heard lately.
    pub told: usize,
    /// Heartbeats for which it does.
    pub history: usize,
}

impl Default for Mesh {
    fn default() -> Self {
        Self { degree: 8, low: 6, high: 12, told: 6, history: 3 }
    }
}

/// What a node heard by gossip.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    messages: HashMap<Hash, ()>,
    order: VecDeque<Hash>,
    /// Neighbours in the mesh.
    pub(crate) mesh: BTreeSet<usize>,
    /// What is announced, by heartbeat, the latest last.
    lately: VecDeque<Vec<(Hash, Vec<u8>)>>,
}

impl Heard {
    /// Notes a message; says whether it is new.
    fn note(&mut self, id: Hash) -> bool {
        if self.messages.insert(id, ()).is_some() {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > HEARD_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.messages.remove(&oldest);
        }
        true
    }

    fn announce(&mut self, id: Hash, bytes: &[u8]) {
        if let Some(now) = self.lately.back_mut()
            && now.len() < ANNOUNCED_MAX
        {
            now.push((id, bytes.to_vec()));
        }
    }
}

impl World {
    pub(crate) fn deliver_gossip(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        let key = self.nodes[from].key();
        if !self.is_linked(from, to) || !self.nodes[to].admitted.contains(&key) {
            return;
        }
        self.traffic.gossip_bytes += bytes.len() as u64;
        if !self.nodes[to].heard.note(Hash::of(&bytes)) {
            self.traffic.gossip_again += 1;
            return;
        }
        self.traffic.gossip_new += 1;
        let context = Context::judging(bytes.clone());
        self.drive_in(to, Event::Gossip { from: key, message: GossipId(0), bytes }, context);
    }

    /// A node's own message goes to everybody that it is linked to.
    pub(crate) fn flood(&mut self, from: usize, bytes: &[u8]) {
        let everybody = self.linked[from].clone();
        self.send_gossip(from, everybody, bytes);
    }

    /// What it accepted goes to its mesh.
    pub(crate) fn pass_on(&mut self, from: usize, bytes: &[u8]) {
        let to = match self.mesh {
            Some(_) => self.nodes[from].heard.mesh.clone(),
            None => self.linked[from].clone(),
        };
        self.send_gossip(from, to, bytes);
    }

    fn send_gossip(&mut self, from: usize, to: BTreeSet<usize>, bytes: &[u8]) {
        let id = Hash::of(bytes);
        self.nodes[from].heard.note(id);
        self.nodes[from].heard.announce(id, bytes);
        for to in to {
            let listens = self.nodes[from].admitted.contains(&self.nodes[to].key());
            if listens {
                self.send_one(from, to, bytes);
            }
        }
    }

    fn send_one(&mut self, from: usize, to: usize, bytes: &[u8]) {
        if self.deaf.contains(&(from, to)) || self.happens(self.weather.gossip_loss_percent) {
            return;
        }
        self.send(Packet::Gossip { from, to, bytes: bytes.to_vec() });
        if self.happens(self.weather.twice_percent) {
            self.send(Packet::Gossip { from, to, bytes: bytes.to_vec() });
        }
    }

    /// The heartbeat: the mesh is mended, and some others hear what there was lately.
    pub(crate) fn tick_gossip(&mut self, me: usize) {
        let Some(mesh) = self.mesh else { return };
        let admitted = |world: &Self, other: &usize| {
            world.nodes[me].admitted.contains(&world.nodes[*other].key())
                && world.nodes[*other].admitted.contains(&world.nodes[me].key())
        };
        let linked: Vec<usize> =
            self.linked[me].iter().filter(|other| admitted(self, other)).copied().collect();
        let now: BTreeSet<usize> = linked.iter().copied().collect();
        self.nodes[me].heard.mesh.retain(|other| now.contains(other));
        if self.nodes[me].heard.mesh.len() < mesh.low {
            self.graft(me, &linked, mesh);
        }
        while self.nodes[me].heard.mesh.len() > mesh.high {
            let at = self.below(self.nodes[me].heard.mesh.len() as u64) as usize;
            let other = *self.nodes[me].heard.mesh.iter().nth(at).unwrap();
            self.nodes[me].heard.mesh.remove(&other);
            self.nodes[other].heard.mesh.remove(&me);
        }
        self.announce(me, &linked, mesh);
    }

    fn graft(&mut self, me: usize, linked: &[usize], mesh: Mesh) {
        let mut others: Vec<usize> = linked
            .iter()
            .filter(|other| !self.nodes[me].heard.mesh.contains(other))
            .filter(|other| self.nodes[**other].heard.mesh.len() < mesh.high)
            .copied()
            .collect();
        while self.nodes[me].heard.mesh.len() < mesh.degree && !others.is_empty() {
            let other = others.swap_remove(self.below(others.len() as u64) as usize);
            self.nodes[me].heard.mesh.insert(other);
            self.nodes[other].heard.mesh.insert(me);
        }
    }

    fn announce(&mut self, me: usize, linked: &[usize], mesh: Mesh) {
        let heard = &mut self.nodes[me].heard;
        let lately: Vec<(Hash, Vec<u8>)> = heard.lately.iter().flatten().cloned().collect();
        heard.lately.push_back(Vec::new());
        if heard.lately.len() > mesh.history {
            heard.lately.pop_front();
        }
        if lately.is_empty() {
            return;
        }
        let mut others: Vec<usize> = linked
            .iter()
            .filter(|other| !self.nodes[me].heard.mesh.contains(other))
            .copied()
            .collect();
        for _ in 0..mesh.told.min(others.len()) {
            let other = others.swap_remove(self.below(others.len() as u64) as usize);
            self.traffic.gossip_bytes += ID_BYTES * lately.len() as u64;
            for (id, bytes) in &lately {
                if !self.nodes[other].heard.messages.contains_key(id) {
                    self.send_one(me, other, bytes);
                }
            }
        }
    }
}
