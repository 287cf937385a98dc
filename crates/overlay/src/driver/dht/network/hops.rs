//! How long a lookup takes, and whether it finds who is there.

use std::time::Duration;

use tokio::time::Instant;

use super::wire::ONE_WAY;
use super::{Network, Plan, category, holder_keys, honest_nodes};

#[tokio::test(start_paused = true)]
async fn the_holders_of_a_category_are_found_from_everywhere() {
    let count = honest_nodes();
    let network = Network::start((0..count).map(Plan::honest).collect()).await;
    // Every tenth node holds the one, and everybody the other.
    let (rare, common) = (category("rare"), category("common"));
    for holder in 0..count {
        let rarely = holder.is_multiple_of(10).then_some(&rare);
        for key in rarely.into_iter().chain([&common]).flat_map(|keys| holder_keys(keys, holder)) {
            network.provide(holder as usize, key);
        }
    }
    network.settle().await;
    let (mut took_rare, mut took_common) = (Vec::new(), Vec::new());
    for asker in (1..count as usize).step_by(10) {
        let begun = Instant::now();
        let found = network.find(asker, &rare).await;
        took_rare.push(begun.elapsed());
        assert!(found.len() * 10 >= count.div_ceil(10) as usize * 9, "{asker}: {}", found.len());
        let begun = Instant::now();
        let found = network.find(asker, &common).await;
        took_common.push(begun.elapsed());
        // With that many, a lookup is content before everybody was named.
        assert!(found.len() * 2 >= count as usize, "{asker}: {}", found.len());
    }
    println!("{count} nodes, one in ten holds: {}", round_trips(took_rare));
    println!("{count} nodes, all hold, asked again: {}", round_trips(took_common));
}

fn round_trips(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let trips = |took: Duration| took.as_secs_f64() / (2 * ONE_WAY).as_secs_f64();
    let p99 = took[(took.len() * 99).div_ceil(100) - 1];
    format!("round trips p50 {:.1}, p99 {:.1}", trips(took[took.len() / 2]), trips(p99))
}
