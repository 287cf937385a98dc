//! How fast the index takes and finds generated listings, and what memory it needs, at 10^4, 10^5 and so on listings:
//!
//! ```text
//! cargo run --release -p guildhall-text --example million -- [LISTINGS] [DIR]
//! ```

#![expect(clippy::print_stdout, reason = "a report for whoever runs it")]
#![expect(clippy::cast_precision_loss, reason = "a report needs no more than three digits")]
#![expect(clippy::cast_possible_truncation, reason = "counts below four billion")]

mod words;

use std::hint::black_box;
use std::io;
use std::path::Path;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use guildhall_catalog::text::TextIndex;
use guildhall_catalog::words::{Terms, Wanted};
use guildhall_text::DiskIndex;
use roaring::RoaringBitmap;
use words::{Random, Words};

/// Queries for each figure: the 99th percentile has ten above it.
const QUERIES: usize = 1000;

/// Listings that are generated before the clock starts for them.
const CHUNK: u32 = 4096;

/// How long listings arrive while others ask.
const TOGETHER: Duration = Duration::from_secs(5);

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let most: u32 = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let own = tempfile::tempdir()?;
    let dir = arguments.next().map_or_else(|| own.path().to_owned(), Into::into);
    let (words, mut random) = (Words::new(), Random(2));
    let mut index = DiskIndex::open(&dir, 0)?;
    println!("memory before: {}", memory());
    let mut count = 0;
    for power in 4..=9 {
        let wanted = 10_u32.pow(power).min(most);
        if wanted == count {
            break;
        }
        println!("\n{wanted} listings");
        fill(&mut index, &words, &mut random, count..wanted)?;
        count = wanted;
        settle(&index);
        ask_all(&index, &words, count);
        println!("  memory: {}", memory());
        drop(index);
        let start = Instant::now();
        index = DiskIndex::open(&dir, u32::MAX)?;
        println!(
            "  opened in {:.0} ms, kept below {}; {:.1} MB on disk; memory: {}",
            start.elapsed().as_secs_f64() * 1e3,
            index.kept_below(),
            disk(&dir)? as f64 / 1e6,
            memory()
        );
    }
    together(index, &words, count);
    Ok(())
}

/// Puts listings, and keeps them.
fn fill(
    index: &mut DiskIndex,
    words: &Words,
    random: &mut Random,
    numbers: std::ops::Range<u32>,
) -> io::Result<()> {
    let (mut from, mut putting, start) = (numbers.start, Duration::ZERO, Instant::now());
    while from < numbers.end {
        let below = (from + CHUNK).min(numbers.end);
        let listings: Vec<Terms> = (from..below).map(|_| words.listing(random)).collect();
        let start = Instant::now();
        for (number, terms) in (from..).zip(&listings) {
            index.put(number, terms);
        }
        putting += start.elapsed();
        from = below;
    }
    let before_keep = Instant::now();
    index.keep()?;
    let count = f64::from(numbers.end - numbers.start);
    println!(
        "  put {:.0} a second, {:.0} with making them up and keeping; the last keep took {:.0} ms; memory: {}",
        count / putting.as_secs_f64(),
        count / start.elapsed().as_secs_f64(),
        before_keep.elapsed().as_secs_f64() * 1e3,
        memory()
    );
    Ok(())
}

/// Waits until no segment has been merged for some seconds.
fn settle(index: &DiskIndex) {
    let (mut segments, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(100));
        if index.segments() != segments {
            (segments, since) = (index.segments(), Instant::now());
        }
    }
    println!("  {segments} segments");
}

/// One, two and three words, over everything and over some.
fn ask_all(index: &DiskIndex, words: &Words, count: u32) {
    let mut random = Random(3);
    for share in [100, 10, 1] {
        let within: RoaringBitmap = (0..count).filter(|_| random.below(100) < share).collect();
        let within = (share < 100).then_some(&within);
        for len in 1..=3 {
            let mut times = Vec::new();
            let mut found = 0;
            for _ in 0..QUERIES {
                let text = words.query(len, &mut random);
                let start = Instant::now();
                found += ask(index, &text, count, within);
                times.push(start.elapsed());
            }
            let found = found / QUERIES as u64;
            println!("  {len} words within {share} %: {}; {found} found", percentiles(times));
        }
    }
}

/// One query as the catalogue asks it; says how many are found.
fn ask(index: &DiskIndex, text: &str, count: u32, within: Option<&RoaringBitmap>) -> u64 {
    let mut wanted = Wanted::new(Some(text));
    let frequencies = index.frequencies(wanted.words());
    wanted.weigh(u64::from(count), &frequencies);
    let (mut found, mut best) = (0, (0.0, 0));
    index.find(&wanted, within, &mut |number, value| {
        found += 1;
        if value > best.0 {
            best = (value, number);
        }
    });
    black_box(best);
    found
}

/// 1,000 listings a second arrive while 1,000 queries a second are asked.
fn together(index: DiskIndex, words: &Words, count: u32) {
    let index = RwLock::new(index);
    let next = AtomicU32::new(count);
    let (mut asked, mut put) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(4);
            every_millisecond(|| {
                let terms = words.listing(&mut random);
                let start = Instant::now();
                let number = next.fetch_add(1, Ordering::Relaxed);
                index.write().expect("no panic").put(number, &terms);
                put.push(start.elapsed());
            });
        });
        let mut random = Random(5);
        every_millisecond(|| {
            let text = words.query(1 + random.below(3), &mut random);
            let start = Instant::now();
            ask(&index.read().expect("no panic"), &text, count, None);
            asked.push(start.elapsed());
        });
    });
    println!("\nboth at once, up to 1,000 a second of each, for {} s", TOGETHER.as_secs());
    println!("  {} puts: {}", put.len(), percentiles(put));
    println!("  {} queries: {}", asked.len(), percentiles(asked));
}

/// Does something a thousand times a second, or as often as it can.
fn every_millisecond(mut what: impl FnMut()) {
    let start = Instant::now();
    let mut due = start;
    while start.elapsed() < TOGETHER {
        what();
        due += Duration::from_millis(1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| {
        let time = times.get(times.len() * percent / 100).copied().unwrap_or_default();
        time.as_secs_f64() * 1e6
    };
    format!("p50 {:.0} us, p99 {:.0} us", at(50), at(99))
}

/// What the system says of our memory: all of it, and what is not a mapped file.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib: u64 = line
            .and_then(|line| line.trim().strip_suffix(" kB"))
            .and_then(|kib| kib.parse().ok())
            .unwrap_or_default();
        kib / 1024
    };
    let (all, own, most) = (of("VmRSS:"), of("RssAnon:"), of("VmHWM:"));
    format!("{all} MiB, {own} without files; at most {most}")
}

/// Bytes of all files.
fn disk(dir: &Path) -> io::Result<u64> {
    std::fs::read_dir(dir)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}
