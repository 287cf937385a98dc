//! How fast a catalogue of generated listings is: `cargo run --release --example answers -- 1000000`.
#![allow(clippy::print_stdout, reason = "the table is what a person runs this for")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use guildhall_catalog::{Asked, Catalog, Entry};
use guildhall_protocol::query::Query;
use guildhall_samples::Generator;

fn main() {
    let count: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let mut generator = Generator::new(1);
    let mut catalog = Catalog::default();
    catalog.set_day(19_675);
    let mut spent = Duration::ZERO;
    for _ in 0..count {
        let Some(made) = generator.next() else { break };
        let entry = Entry {
            org: made.org,
            root: made.root,
            listing: Arc::new(made.listing),
            listing_id: made.listing_id,
            seq: made.seq,
            author: made.author,
            time_ms: made.time_ms,
        };
        let started = Instant::now();
        catalog.insert(entry, false);
        spent += started.elapsed();
    }
    println!("{count} listings inserted in {spent:?}; {} KiB resident", resident());
    let mut queries = generator.queries();
    let facets: Vec<Query> = (0..1_000).map(|_| Query { limit: 10, ..queries.facets() }).collect();
    let words: Vec<Query> = (0..1_000).map(|_| Query { limit: 10, ..queries.words() }).collect();
    measure(&catalog, "three filters", &facets);
    measure(&catalog, "three filters and words", &words);
    let plain: Vec<Query> = words
        .iter()
        .map(|q| Query { text: q.text.clone(), limit: 10, ..Query::default() })
        .collect();
    measure(&catalog, "words alone", &plain);
    measure(&catalog, "everything", &vec![Query { limit: 10, ..Query::default() }; 100]);
    let counted: Vec<Query> =
        facets.iter().take(100).map(|q| Query { facets: true, ..q.clone() }).collect();
    measure(&catalog, "three filters, with counts", &counted);
}

fn measure(catalog: &Catalog, what: &str, queries: &[Query]) {
    let mut total = 0;
    let mut empty = 0;
    let mut times = |run: &dyn Fn(&Query) -> u64| {
        let mut times: Vec<Duration> = queries
            .iter()
            .map(|query| {
                let started = Instant::now();
                let found = run(query);
                let time = started.elapsed();
                total += found;
                empty += u64::from(found == 0);
                time
            })
            .collect();
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
        (at(50), at(99))
    };
    let find = times(&|query| catalog.find(query, Asked::default()).len() as u64);
    let search = times(&|query| catalog.search(query, Asked::default()).total);
    println!(
        "{what}: find p50 {:?} p99 {:?}; search p50 {:?} p99 {:?}; {total} {empty}",
        find.0, find.1, search.0, search.1
    );
}

/// Resident memory, KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
