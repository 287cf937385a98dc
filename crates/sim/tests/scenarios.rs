//! The partitions with names, with a few seeds each; `GUILDHALL_SIM_SEEDS` says how many.

use guildhall_sim::run::{Plan, run};
use guildhall_sim::scenario::ALL;

fn seeds() -> u64 {
    let seeds = std::env::var("GUILDHALL_SIM_SEEDS").ok();
    seeds.and_then(|text| text.parse().ok()).unwrap_or(2)
}

#[test]
fn whatever_kept_them_apart_all_agree_thirty_seconds_later_and_nothing_is_lost() {
    let mut failed = Vec::new();
    for one in &ALL {
        for seed in 0..seeds() {
            if let Err(why) = one.run(seed) {
                failed.push(format!("{} with seed {seed}: {why}", one.name));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_same_seed_replays_exactly() {
    for one in ALL.iter().take(3) {
        let trace = |seed| one.run(seed).map(|outcome| outcome.trace);
        assert_eq!(trace(7), trace(7), "{}", one.name);
        assert_ne!(trace(7), trace(8), "{}", one.name);
    }
}

fn plan() -> Plan {
    Plan {
        nodes: 40,
        orgs: 8,
        records: 20,
        churn_percent: 5.0,
        loss_percent: 1,
        latency_ms: (10, 100),
        seed: 7,
    }
}

#[test]
fn a_small_federation_finds_and_delivers_everything() {
    let report = run(&plan());
    assert!(report.delivered > 0.999, "{report:?}");
    assert!(report.recall > 0.99, "{report:?}");
    assert!(report.recovered_after_ms.is_some(), "{report:?}");
    assert!(report.delivery_p50_ms > 0 && report.duplicates_per_message > 0.0, "{report:?}");
    assert_eq!(report.trace, run(&plan()).trace, "and the same again");
}
