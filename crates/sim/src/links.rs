//! Who is connected to whom, and who cannot be.

use guildhall_core::Event;

use crate::world::World;

/// As in the overlay: who is not admitted by then is cut off.
const HANDSHAKE_DEADLINE_MS: u64 = 10_000;

impl World {
    /// Whether a connection is open between the two.
    #[must_use]
    pub fn is_linked(&self, a: usize, b: usize) -> bool {
        self.linked[a].contains(&b)
    }

    /// Connects two nodes unless they are cut off from each other.
    pub fn connect(&mut self, a: usize, b: usize) {
        let link = (a.min(b), a.max(b));
        let is_down = self.nodes[a].is_down || self.nodes[b].is_down;
        let is_apart = self.sides[a] != self.sides[b];
        if a == b
            || is_down
            || is_apart
            || self.cut.contains(&link)
            || self.links.contains_key(&link)
        {
            return;
        }
        self.links.insert(link, self.now_ms);
        self.linked[a].insert(b);
        self.linked[b].insert(a);
        let (key_a, key_b) = (self.nodes[a].key(), self.nodes[b].key());
        self.drive(a, Event::Connected { peer: key_b });
        self.drive(b, Event::Connected { peer: key_a });
    }

    /// Ends the connection between two nodes.
    pub fn disconnect(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))).is_none() {
            return;
        }
        self.linked[a].remove(&b);
        self.linked[b].remove(&a);
        for (me, other) in [(a, b), (b, a)] {
            let peer = self.nodes[other].key();
            self.nodes[me].admitted.remove(&peer);
            self.nodes[me].heard.mesh.remove(&other);
            if !self.nodes[me].is_down {
                self.drive(me, Event::Disconnected { peer });
            }
        }
    }

    /// Nothing passes between the two from now on.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.cut.insert((a.min(b), a.max(b)));
        self.disconnect(a, b);
    }

    /// Nothing passes between nodes of different sides from now on, nor between nodes that `cut` separates otherwise.
    pub fn split(&mut self, side: impl Fn(usize) -> u8) {
        self.sides = (0..self.nodes.len()).map(side).collect();
        let sides = &self.sides;
        let apart: Vec<(usize, usize)> =
            self.links.keys().filter(|(a, b)| sides[*a] != sides[*b]).copied().collect();
        apart.into_iter().for_each(|(a, b)| self.disconnect(a, b));
    }

    /// Nothing that `from` sends reaches `to` from now on, though the connection stands.
    pub fn deafen(&mut self, from: usize, to: usize) {
        self.deaf.insert((from, to));
    }

    /// The two reach each other again, and do.
    pub fn mend(&mut self, a: usize, b: usize) {
        self.cut.remove(&(a.min(b), a.max(b)));
        self.connect(a, b);
    }

    /// Every cut is mended; the nodes find each other by themselves.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.deaf.clear();
        self.sides.fill(0);
    }

    pub(crate) fn cut_strangers(&mut self, me: usize) {
        for other in self.linked[me].clone() {
            let since = self.links.get(&(me.min(other), me.max(other)));
            let is_late = since.is_some_and(|at| self.now_ms >= at + HANDSHAKE_DEADLINE_MS);
            if is_late && !self.nodes[me].admitted.contains(&self.nodes[other].key()) {
                self.disconnect(me, other);
            }
        }
    }
}
