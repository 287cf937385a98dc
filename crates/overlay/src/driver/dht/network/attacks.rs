//! Members whose nodes stand close to a key, keep nobody's record and name only themselves.
//!
//! Their ids are chosen: a key pair costs nothing, and an org may sign for as many nodes as it likes.

use guildhall_protocol::{Hash, PublicKey};

use super::{Network, Plan, category, distance, holder_keys, honest_nodes, keypair, public};

/// Key pairs the attacker makes to choose from.
const GRINDED: u32 = 6_000;

/// The honest node that holds what is looked for.
const HOLDER: usize = 7;

/// Hostile nodes.
const HOSTILE: usize = 45;

/// The honest nodes, and as many hostile ones of one org as close to the keys as they get, shared out evenly.
fn surrounded(keys: &[Hash]) -> Vec<Plan> {
    let mut plans: Vec<Plan> = (0..honest_nodes()).map(Plan::honest).collect();
    let mut made: Vec<_> = (0..GRINDED).map(|number| keypair(1_000_000 + number)).collect();
    let decoys: Vec<PublicKey> = (0..20).map(|n| public(&keypair(2_000_000 + n))).collect();
    let org = public(&keypair(3_000_000));
    for key in keys {
        made.sort_by_cached_key(|made| distance(made.public().to_peer_id(), *key));
        let near = made.drain(..HOSTILE / keys.len());
        plans.extend(near.map(|key| Plan { key, org, decoys: Some(decoys.clone()) }));
    }
    plans
}

/// Hostile nodes among the twenty next to a key.
fn next_to(key: Hash, plans: &[Plan]) -> usize {
    let mut near: Vec<&Plan> = plans.iter().collect();
    near.sort_by_cached_key(|plan| distance(plan.id(), key));
    near.iter().take(20).filter(|plan| plan.is_hostile()).count()
}

/// Honest nodes that look; `GUILDHALL_DHT_ASKERS` overrides it.
fn askers() -> usize {
    std::env::var("GUILDHALL_DHT_ASKERS").map_or(10, |text| text.parse().unwrap())
}

/// How many of a hundred honest nodes find the only holder under one of the keys.
async fn found(plans: Vec<Plan>, provided: &[Hash], asked: &[Hash]) -> f64 {
    let holder = public(&plans[HOLDER].key);
    let network = Network::start(plans).await;
    provided.iter().for_each(|key| network.provide(HOLDER, *key));
    network.settle().await;
    let (mut count, askers) = (0, askers());
    for asker in (HOLDER + 1..honest_nodes() as usize).take(askers) {
        count += u32::from(network.find(asker, asked).await.contains(&holder));
    }
    100.0 * f64::from(count) / askers as f64
}

#[tokio::test(start_paused = true)]
async fn the_only_holder_of_a_category_is_found_though_one_of_its_keys_is_surrounded() {
    let keys = category("vision");
    let provided = holder_keys(&keys, HOLDER as u32);
    let plans = surrounded(&provided[..1]);
    assert_eq!(next_to(provided[0], &plans), 20, "nobody honest is left there");
    let found = found(plans, &provided, &keys).await;
    println!("{HOSTILE} hostile nodes around one of three keys: {found} % find the only holder");
    assert!(found >= 99.0);
}

#[tokio::test(start_paused = true)]
async fn the_only_holder_of_a_category_is_found_though_all_its_keys_are_besieged() {
    let keys = category("vision");
    let provided = holder_keys(&keys, HOLDER as u32);
    let plans = surrounded(&provided);
    for key in provided {
        assert!(next_to(key, &plans) >= 10, "few honest ones are left there");
    }
    let found = found(plans, &provided, &keys).await;
    println!("{HOSTILE} hostile nodes around all three keys: {found} % find the only holder");
    assert!(found >= 90.0);
}

/// What one key alone is worth: this is why a category has several, and why a package is also looked for at its
/// producer's nodes.
#[tokio::test(start_paused = true)]
#[ignore = "a figure for the documentation, see the justfile"]
async fn one_key_alone() {
    let key = Hash::of(b"package");
    let found = found(surrounded(&[key]), &[key], &[key]).await;
    println!("{HOSTILE} hostile nodes around the only key: {found} % find the only holder");
}
