//! A federation at size: what its users would wait for, and what it costs.
//!
//! The run: every node starts with who is a member, and links itself as the core decides. Then records are written at
//! random nodes, one about every hundred milliseconds, while nodes stop and start as the plan says. Then questions are
//! asked at random nodes. Then the federation is split in halves, both write, and it is healed. In between there is a
//! quiet minute, in which what a federation costs at rest is counted.

use std::collections::BTreeSet;

use guildhall_protocol::RecordId;
use guildhall_protocol::query::Query;
use serde::Serialize;

use crate::orgs::{another_site, founding, identity, listing, membership, settings};
use crate::{Mesh, Weather, World};

/// For how long a node that stops stays away, milliseconds.
const AWAY_MS: u64 = 30_000;

/// How long the halves are apart, milliseconds.
const APART_MS: u64 = 30_000;

/// How long is waited for all to agree after that, milliseconds.
const HEAL_MAX_MS: u64 = 300_000;

/// How often it is looked whether they do, milliseconds: the precision of what is said.
const LOOK_MS: u64 = 250;

/// Questions that are asked.
const QUESTIONS: usize = 40;

const CATEGORIES: [&str; 3] = ["vision/ocr", "nlp/ner", "audio/speech"];

const MINUTE_MS: u64 = 60_000;
const MINUTES_A_DAY: f64 = 1_440.0;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes.
    pub nodes: usize,
    /// Orgs that they belong to, as equal as possible.
    pub orgs: usize,
    /// Records that are written while everything is connected.
    pub records: usize,
    /// Nodes that stop every minute while records are written, percent.
    pub churn_percent: f64,
    /// Gossip messages that get lost, percent.
    pub loss_percent: u64,
    /// Least and most latency, milliseconds.
    pub latency_ms: (u64, u64),
    /// What chances follow from.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Nodes.
    pub nodes: usize,
    /// Orgs.
    pub orgs: usize,
    /// Records that were written and watched.
    pub records: usize,
    /// The seed.
    pub seed: u64,
    /// Links of a node, the median.
    pub links_p50: usize,
    /// Links of the node with most.
    pub links_max: usize,
    /// From a record being written to its being at a node, milliseconds; over all records and all nodes that ran then.
    pub delivery_p50_ms: u32,
    /// The same.
    pub delivery_p99_ms: u32,
    /// The same, the slowest.
    pub delivery_max_ms: u32,
    /// Of those deliveries, the share that happened.
    pub delivered: f64,
    /// Gossip messages that a node had seen, for each that it had not.
    pub duplicates_per_message: f64,
    /// Of what all nodes together list, the share that the answers to questions named.
    pub recall: f64,
    /// From the end of a partition to all nodes having the same logs, milliseconds; `null` if they had not in time.
    pub recovered_after_ms: Option<u64>,
    /// Bytes that a node sends a day when nothing happens.
    pub rest_bytes_per_node_day: f64,
    /// Requests that a node sends a day when nothing happens.
    pub rest_requests_per_node_day: f64,
    /// Bytes that a node sends because of one record that anybody writes.
    pub bytes_per_node_record: f64,
    /// Everything that happened, in one number: the same for the same plan.
    pub trace: String,
}

/// Runs a plan.
#[must_use]
pub fn run(plan: &Plan) -> Report {
    let mut world = together(plan);
    let (links_p50, links_max) = links(&world);
    let (rest_bytes, rest_requests) = rest(&mut world);
    let mut listed: Vec<(RecordId, &'static str)> = Vec::new();
    let (bytes_before, before_ms) = (sent(&world), world.now_ms);
    write(&mut world, plan, &mut listed);
    world.run_for(20_000);
    let delivered = delivered(&world);
    // What it would have cost to rest as long is not the records' cost.
    let per_ms = rest_bytes / MINUTE_MS as f64;
    let active = (sent(&world) - bytes_before) as f64 - per_ms * (world.now_ms - before_ms) as f64;
    let recall = ask(&mut world, &listed);
    let recovered_after_ms = part(&mut world, plan);
    let mut delays = std::mem::take(&mut world.delays_ms);
    delays.sort_unstable();
    let at = |percent: usize| delays.get((delays.len().max(1) - 1) * percent / 100).copied();
    let nodes = plan.nodes as f64;
    Report {
        nodes: plan.nodes,
        orgs: plan.orgs,
        records: plan.records,
        seed: plan.seed,
        links_p50,
        links_max,
        delivery_p50_ms: at(50).unwrap_or_default(),
        delivery_p99_ms: at(99).unwrap_or_default(),
        delivery_max_ms: at(100).unwrap_or_default(),
        delivered,
        duplicates_per_message: world.traffic.gossip_again as f64
            / world.traffic.gossip_new.max(1) as f64,
        recall,
        recovered_after_ms,
        rest_bytes_per_node_day: rest_bytes * MINUTES_A_DAY / nodes,
        rest_requests_per_node_day: rest_requests * MINUTES_A_DAY / nodes,
        bytes_per_node_record: active.max(0.0) / nodes / plan.records.max(1) as f64,
        trace: format!("{:016x}", world.trace()),
    }
}

/// The federation, linked as its nodes decide.
fn together(plan: &Plan) -> World {
    let orgs: Vec<String> = (0..plan.orgs).map(|number| format!("lab-{number}")).collect();
    let records = membership(&orgs, &["*"]);
    let mut world = World::new(plan.seed);
    world.mesh = Some(Mesh::default());
    world.weather = Weather {
        latency_ms: plan.latency_ms,
        gossip_loss_percent: plan.loss_percent,
        ..Weather::default()
    };
    for number in 0..plan.nodes {
        let (org, site) = (&orgs[number % orgs.len()], number / orgs.len());
        let identity = match site {
            0 => identity(org),
            site => another_site(org, site),
        };
        // Half of all keep everything; the others ask them.
        let follows: &[&str] = if number % 2 == 0 { &["*"] } else { &["vision"] };
        let settings = guildhall_core::Settings {
            link_seed: guildhall_protocol::Hash::of(
                format!("links {number} {}", plan.seed).as_bytes(),
            ),
            ..settings(org, follows)
        };
        world.add((identity, settings), founding("lab-0"), records.clone());
    }
    // Further nodes of an org are described by records that nobody has yet: a few links bring them everywhere.
    for number in 0..plan.nodes {
        let other = world.below(plan.nodes as u64) as usize;
        world.connect(number, other);
    }
    while !world.agrees() && world.now_ms < crate::orgs::START_MS + HEAL_MAX_MS {
        world.run_for(2_000);
    }
    world.run_for(60_000);
    world
}

fn links(world: &World) -> (usize, usize) {
    let mut links: Vec<usize> = world.linked.iter().map(BTreeSet::len).collect();
    links.sort_unstable();
    (links[links.len() / 2], links.last().copied().unwrap_or_default())
}

fn sent(world: &World) -> u64 {
    world.bytes.values().sum::<u64>() + world.traffic.gossip_bytes
}

/// Bytes and requests of all nodes in a minute in which nothing happens.
fn rest(world: &mut World) -> (f64, f64) {
    let asked = |world: &World| world.asked.values().sum::<u64>();
    let (bytes, requests) = (sent(world), asked(world));
    world.run_for(MINUTE_MS);
    ((sent(world) - bytes) as f64, (asked(world) - requests) as f64)
}

fn publish(world: &mut World, me: usize, number: usize) -> (RecordId, &'static str) {
    let category = CATEGORIES[number % CATEGORIES.len()];
    let federation = world.nodes[me].core.federation().id();
    let record = world.publish(me, &listing(federation, &format!("model-{number}"), category));
    (record.id(), category)
}

fn up(world: &mut World) -> usize {
    loop {
        let me = world.below(world.nodes.len() as u64) as usize;
        if !world.is_down(me) {
            return me;
        }
    }
}

/// Of the records that were watched, the share that is at the nodes that have run since they were written.
fn delivered(world: &World) -> f64 {
    let (mut there, mut all) = (0_u64, 0_u64);
    for (place, written_ms) in &world.watched {
        let ran =
            world.nodes.iter().filter(|node| !node.is_down && node.up_since_ms <= *written_ms);
        for node in ran {
            all += 1;
            there += u64::from(node.store.contains_key(place));
        }
    }
    there as f64 / all.max(1) as f64
}

/// Writes the plan's records under churn.
fn write(world: &mut World, plan: &Plan, listed: &mut Vec<(RecordId, &'static str)>) {
    // Stops are spread evenly: so many hundred milliseconds from one to the next.
    let stops_a_step = plan.nodes as f64 * plan.churn_percent / 100.0 / 600.0;
    let mut stops = 0.0;
    for number in 0..plan.records {
        let me = up(world);
        let author = world.nodes[me].core.identity().producer.public();
        let place = (author, world.nodes[me].core.logs().len_of(&author));
        world.watched.insert(place, world.now_ms);
        listed.push(publish(world, me, number));
        stops += stops_a_step;
        while stops >= 1.0 {
            stops -= 1.0;
            let me = up(world);
            world.stop(me, AWAY_MS);
        }
        world.run_for(100);
    }
    world.run_for(AWAY_MS + 5_000);
}

/// The share of what is listed that answers name.
fn ask(world: &mut World, listed: &[(RecordId, &'static str)]) -> f64 {
    let (mut named, mut there) = (0, 0);
    for number in 0..QUESTIONS {
        let category = CATEGORIES[number % CATEGORIES.len()];
        let limit = 100;
        let query = Query { category: Some(category.parse().unwrap()), limit, ..Query::default() };
        let me = up(world);
        let found = world.search(me, &query);
        let union: BTreeSet<RecordId> =
            listed.iter().filter(|(_, it)| *it == category).map(|(id, _)| *id).collect();
        named += found.results.iter().filter(|one| union.contains(&one.listing_id)).count();
        there += union.len().min(limit);
    }
    named as f64 / there.max(1) as f64
}

/// Splits the federation, lets both halves write, heals it, and waits for all to have the same.
fn part(world: &mut World, plan: &Plan) -> Option<u64> {
    world.watched.clear();
    world.split(|me| u8::from(me % 2 == 1));
    let writes = (plan.records / 10).max(2);
    for number in 0..writes {
        publish(world, number % plan.nodes, plan.records + number);
        world.run_for(APART_MS / writes as u64);
    }
    world.heal();
    let from_ms = world.now_ms;
    while !world.agrees() {
        if world.now_ms - from_ms >= HEAL_MAX_MS {
            return None;
        }
        world.run_for(LOOK_MS);
    }
    Some(world.now_ms - from_ms)
}
