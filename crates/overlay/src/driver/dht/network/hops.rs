//! How long a lookup takes, and whether it finds who is there.

use std::time::Duration;

use tokio::time::Instant;

use super::wire::ONE_WAY;
use super::{Network, Plan, category, holder_keys, honest_nodes};

#[tokio::test(start_paused = true)]
async fn the_holders_of_a_category_are_found_from_everywhere() {
    let count = honest_nodes();
    let network = Network::start((0..count).map(Plan::honest).collect()).await;
    let askers = || (1..count as usize).step_by(10);
    let rare = category("rare");
    for holder in (0..count).step_by(10) {
        holder_keys(&rare, holder)
            .into_iter()
            .for_each(|key| network.provide(holder as usize, key));
    }
    network.settle().await;
    let mut took = Vec::new();
    for asker in askers() {
        let begun = Instant::now();
        let found = network.find(asker, &rare).await;
        took.push(begun.elapsed());
        assert!(found.len() * 10 >= count.div_ceil(10) as usize * 9, "{asker}: {}", found.len());
    }
    println!("{count} nodes, one in ten holds: {}", round_trips(took));

    let common = category("common");
    for holder in 0..count {
        holder_keys(&common, holder)
            .into_iter()
            .for_each(|key| network.provide(holder as usize, key));
        // Kademlia gives up in real time, and all at once would take this machine too long.
        if holder % 20 == 0 {
            network.settle().await;
        }
    }
    network.settle().await;
    let mut took = Vec::new();
    for asker in askers() {
        let begun = Instant::now();
        let found = network.find(asker, &common).await;
        took.push(begun.elapsed());
        // With that many, a lookup is content before everybody was named.
        assert!(found.len() * 2 >= count as usize, "{asker}: {}", found.len());
    }
    println!("{count} nodes, all hold, connected already: {}", round_trips(took));
}

fn round_trips(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let trips = |took: Duration| took.as_secs_f64() / (2 * ONE_WAY).as_secs_f64();
    let p99 = took[(took.len() * 99).div_ceil(100) - 1];
    format!("round trips p50 {:.1}, p99 {:.1}", trips(took[took.len() / 2]), trips(p99))
}
