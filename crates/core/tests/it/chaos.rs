//! Partitions out of seeds: whatever was cut, lost and restarted, a healed federation agrees.

use std::collections::BTreeSet;

use guildhall_catalog::Asked;
use guildhall_protocol::query::Query;

use crate::fixture::{assert_restart_changes_nothing, federation, log_of, members, publish};
use guildhall_sim::World;

const FOLLOWS: [&[&str]; 5] = [&["*"], &["*"], &["vision"], &["nlp"], &["*"]];
const CATEGORIES: [&str; 3] = ["vision/ocr", "nlp/ner", "audio/speech"];

/// How long five nodes may take to agree once nothing keeps them apart, milliseconds: a few turns of dialling absent
/// nodes and of comparing logs.
const AGREE_MS: u64 = 90_000;

//  0 --- 1 --- 2 --- 3 --- 4, every pair, with random pairs cut, connections lost, gossip lost, nodes restarted,
//  and everybody listing
fn trouble(world: &mut World) {
    let count = FOLLOWS.len() as u64;
    world.weather.gossip_loss_percent = world.below(60);
    for number in 0..12 {
        let node = world.below(count) as usize;
        let other = world.below(count) as usize;
        match world.below(6) {
            0 | 1 => {
                let category = CATEGORIES[world.below(3) as usize];
                publish(world, node, &format!("model-{number}"), category);
            }
            2 if node != other => world.cut(node, other),
            3 => world.connect(node, other),
            4 => world.disconnect(node, other),
            5 => world.restart(node, |_| {}),
            _ => {}
        }
        let pause_ms = world.below(3_000);
        world.run_for(pause_ms);
    }
}

fn agree(world: &World) -> bool {
    let first = &world.nodes[0].core;
    let heads = first.logs().heads();
    let found = |node: usize, category: &str| {
        let query =
            Query { category: Some(category.parse().unwrap()), limit: 100, ..Query::default() };
        let answer = world.nodes[node].core.catalog().search(&query, Asked::default());
        // Every org ranks its own first, so only the set is the same.
        let ids: BTreeSet<_> = answer.results.iter().map(|one| one.listing_id).collect();
        ids
    };
    let is_equal = |node: usize| {
        world.nodes[node].core.logs().heads() == heads
            && members(world, node) == members(world, 0)
            && CATEGORIES.iter().all(|category| {
                let follows = &world.nodes[node].core.settings().follows;
                let parsed: guildhall_protocol::name::Category = category.parse().unwrap();
                !follows.iter().any(|prefix| parsed.is_within(prefix))
                    || found(node, category) == found(0, category)
            })
    };
    (1..world.nodes.len()).all(is_equal)
}

fn run(seed: u64) -> World {
    let mut world = federation(seed, &FOLLOWS);
    if seed % 2 == 1 {
        // Enough logs to be compared in cells, and each node lacks one of them at first.
        for node in 0..FOLLOWS.len() {
            let lacking = (0..12).filter(|number| *number != node as u32);
            let records: Vec<_> = lacking.flat_map(|number| log_of("alpha", number, 1)).collect();
            world.give(node, &records);
        }
    }
    for a in 0..5 {
        for b in 0..a {
            world.connect(a, b);
        }
    }
    world.run_for(1_000);
    trouble(&mut world);
    world.heal();
    // Looked at once a second: the look costs more than a message.
    let agreed = (0..AGREE_MS / 1_000).any(|_| {
        world.run_for(1_000);
        agree(&world)
    });
    assert!(agreed, "seed {seed}: the nodes do not agree");
    world
}

#[test]
fn five_nodes_agree_after_any_partition() {
    for seed in 0..220 {
        let world = run(seed);
        assert!(seed % 2 == 0 || world.asked.contains_key("compare"));
        if seed % 20 < 2 {
            (0..5).for_each(|node| assert_restart_changes_nothing(&world, node));
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let trace = |seed| run(seed).trace();
    for seed in [3, 1_000] {
        assert_eq!(trace(seed), trace(seed));
        assert_ne!(trace(seed), trace(seed + 1));
    }
}
