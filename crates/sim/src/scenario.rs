//! Partitions with names: a few nodes, everybody writing, and something that keeps them apart. Thirty seconds after it
//! ends, all must have the same, and everything that was acknowledged.

use std::collections::BTreeSet;

use guildhall_protocol::RecordId;
use guildhall_protocol::body::Yank;
use guildhall_protocol::wire::Invite;

use crate::World;
use crate::orgs::{DAY_MS, founding, identity, listing, membership, settings};

/// How long nodes may take to agree once nothing keeps them apart, milliseconds.
pub const AGREE_MS: u64 = 30_000;

/// A way of keeping nodes apart.
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What happens, in words.
    pub about: &'static str,
    trouble: fn(&mut World),
}

/// All of them.
pub const ALL: [Scenario; 12] = [
    Scenario { name: "halves", about: "two halves, and both write", trouble: halves },
    Scenario { name: "minority", about: "one node alone against all others", trouble: minority },
    Scenario { name: "bridge", about: "two halves that one node connects", trouble: bridge },
    Scenario { name: "ring", about: "everybody reaches two neighbours only", trouble: ring },
    Scenario {
        name: "one-way",
        about: "some hear nothing of those who hear them",
        trouble: one_way,
    },
    Scenario {
        name: "flapping",
        about: "halves that come and go every two seconds",
        trouble: flapping,
    },
    Scenario {
        name: "staggered",
        about: "all alone, and one after the other comes back",
        trouble: staggered,
    },
    Scenario {
        name: "crash",
        about: "halves, and nodes killed with unwritten records",
        trouble: crash,
    },
    Scenario { name: "churn", about: "halves, and nodes that stop and start", trouble: churn },
    Scenario {
        name: "clocks",
        about: "halves, and clocks that are wrong or jump back",
        trouble: clocks,
    },
    Scenario { name: "joiner", about: "an org comes in at one side", trouble: joiner },
    Scenario { name: "yank", about: "taken back on one side, listed on the other", trouble: yank },
];

/// The scenario of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

/// What a scenario came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How long after the end of the trouble all had the same, milliseconds.
    pub agreed_after_ms: u64,
    /// What happened, in one number.
    pub trace: u64,
}

impl Scenario {
    /// Runs it with five to nine nodes, as the seed says.
    ///
    /// # Errors
    /// What did not hold, in words.
    pub fn run(&self, seed: u64) -> Result<Outcome, String> {
        let mut world = small(seed);
        (self.trouble)(&mut world);
        let yanked: BTreeSet<RecordId> = (0..world.nodes.len())
            .flat_map(|me| world.listings(me))
            .filter_map(|(id, is_yanked)| is_yanked.then_some(id))
            .collect();
        world.heal();
        world.nodes.iter_mut().for_each(|node| node.skew_ms = 0);
        let from_ms = world.now_ms;
        while !(world.agrees() && (0..world.nodes.len()).all(|me| !world.is_down(me))) {
            if world.now_ms - from_ms >= AGREE_MS {
                let digests: Vec<u64> = (0..world.nodes.len()).map(|me| world.digest(me)).collect();
                return Err(format!("they do not agree after {AGREE_MS} ms: {digests:x?}"));
            }
            world.run_for(500);
        }
        let agreed_after_ms = world.now_ms - from_ms;
        let lost = world.lost();
        if !lost.is_empty() {
            return Err(lost.join("; "));
        }
        // The same logs must mean the same listings.
        let listings = world.listings(0);
        if let Some(other) = (1..world.nodes.len()).find(|me| world.listings(*me) != listings) {
            return Err(format!("node {other} lists something else than node 0"));
        }
        if yanked.iter().any(|id| !listings.contains(&(*id, true))) {
            return Err("what was taken back is listed again".to_owned());
        }
        if listings.is_empty() || world.nodes.iter().any(|node| node.core.forks().next().is_some())
        {
            return Err("nothing is listed, or somebody sees a fork".to_owned());
        }
        Ok(Outcome { agreed_after_ms, trace: world.trace() })
    }
}

/// Five to nine orgs in one federation, connected; a tenth of all gossip is lost.
fn small(seed: u64) -> World {
    let mut world = World::new(seed);
    let orgs: Vec<String> = (0..5 + world.below(5)).map(|number| format!("lab-{number}")).collect();
    let records = membership(&orgs, &["*"]);
    for org in &orgs {
        world.add((identity(org), settings(org, &["*"])), founding("lab-0"), records.clone());
    }
    world.weather.gossip_loss_percent = 10;
    world.weather.call_loss_percent = 1;
    world.weather.twice_percent = 5;
    world.run_for(12_000);
    world
}

fn any(world: &mut World) -> usize {
    let count = world.nodes.len() as u64;
    usize::try_from(world.below(count)).unwrap_or_default()
}

/// Nodes list things for some seconds; `meanwhile` happens now and then.
fn write_for(world: &mut World, seconds: u64, mut meanwhile: impl FnMut(&mut World)) {
    for _ in 0..seconds {
        let me = any(world);
        if !world.is_down(me) {
            let number = world.below(1 << 40);
            let federation = world.nodes[me].core.federation().id();
            world.publish(me, &listing(federation, &format!("model-{number}"), "vision/ocr"));
        }
        meanwhile(world);
        world.run_for(1_000);
    }
}

fn in_halves(world: &mut World) {
    let sides: Vec<u8> = (0..world.nodes.len()).map(|_| u8::from(world.below(2) == 1)).collect();
    world.split(|me| sides[me]);
}

fn halves(world: &mut World) {
    in_halves(world);
    write_for(world, 20, |_| {});
}

fn minority(world: &mut World) {
    let alone = any(world);
    world.split(|me| u8::from(me == alone));
    write_for(world, 20, |_| {});
}

fn bridge(world: &mut World) {
    let count = world.nodes.len();
    for a in 1..count {
        (1..a).filter(|b| a % 2 != b % 2).for_each(|b| world.cut(a, b));
    }
    write_for(world, 20, |_| {});
}

fn ring(world: &mut World) {
    let count = world.nodes.len();
    for a in 0..count {
        let is_far = |b: &usize| a - b != 1 && a - b != count - 1;
        (0..a).filter(is_far).for_each(|b| world.cut(a, b));
    }
    write_for(world, 20, |_| {});
}

fn one_way(world: &mut World) {
    for from in 0..world.nodes.len() {
        for to in 0..from {
            match world.below(3) {
                0 => world.deafen(from, to),
                1 => world.deafen(to, from),
                _ => {}
            }
        }
    }
    write_for(world, 20, |_| {});
}

fn flapping(world: &mut World) {
    for _ in 0..8 {
        in_halves(world);
        write_for(world, 2, |_| {});
        world.heal();
        write_for(world, 1, |_| {});
    }
}

fn staggered(world: &mut World) {
    let alone = |me: usize| u8::try_from(me).unwrap_or(u8::MAX) + 1;
    world.split(alone);
    write_for(world, 10, |_| {});
    for back in 1..world.nodes.len() {
        world.split(|me| if me <= back { 0 } else { alone(me) });
        write_for(world, 2, |_| {});
    }
}

fn crash(world: &mut World) {
    in_halves(world);
    write_for(world, 20, |world| {
        if world.below(3) == 0 {
            let me = any(world);
            world.crash(me);
        }
    });
}

fn churn(world: &mut World) {
    in_halves(world);
    write_for(world, 20, |world| {
        if world.below(3) == 0 {
            let me = any(world);
            let for_ms = 500 + world.below(8_000);
            world.stop(me, for_ms);
        }
    });
    // Whoever is still down when it ends comes back into a healed network.
}

/// Clocks up to four minutes ahead, which is what others accept, and up to an hour behind.
fn clocks(world: &mut World) {
    in_halves(world);
    write_for(world, 20, |world| {
        let me = any(world);
        let skew_ms = i64::try_from(world.below(64 * 60_000)).unwrap_or_default() - 60 * 60_000;
        world.nodes[me].skew_ms = skew_ms;
    });
}

fn joiner(world: &mut World) {
    let me = world.add((identity("late"), settings("late", &["*"])), founding("late"), []);
    let federation = world.nodes[me].core.federation().id();
    world.publish(me, &listing(federation, "brought-along", "vision/ocr"));
    let sponsor = any(world) % me;
    let sides: Vec<u8> = (0..me).map(|_| u8::from(world.below(2) == 1)).collect();
    world.split(|node| if node == me { sides[sponsor] } else { sides[node] });
    write_for(world, 5, |_| {});
    let invite: Invite = world.invite(sponsor, DAY_MS);
    // A request may get lost; whoever is told nothing asks again.
    let joined = (0..5).any(|_| world.join(me, sponsor, &invite).is_ok());
    assert!(joined, "nobody got an answer");
    write_for(world, 10, |_| {});
}

fn yank(world: &mut World) {
    let me = any(world);
    let federation = world.nodes[me].core.federation().id();
    let listed = listing(federation, "taken-back", "vision/ocr");
    world.publish(me, &listed);
    world.run_for(3_000);
    world.split(|node| u8::from(node == me));
    write_for(world, 5, |_| {});
    let release = listed.release;
    world.write_as_producer(
        me,
        &Yank {
            name: release.name,
            version: release.version,
            package: release.package,
            why: "wrong labels".into(),
        },
    );
    write_for(world, 10, |_| {});
}
