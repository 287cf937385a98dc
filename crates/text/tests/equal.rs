//! The index on disk finds what the one in memory finds, whatever lies where.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeSet;

use common::{found, terms};
use guildhall_catalog::text::{MemoryIndex, TextIndex};
use guildhall_catalog::words::{Terms, Wanted};
use guildhall_text::DiskIndex;
use proptest::prelude::*;
use roaring::RoaringBitmap;

/// Few words, many of which start others.
const WORDS: [&str; 16] = [
    "digit",
    "digits2",
    "digitalis",
    "dig",
    "di",
    "net",
    "network",
    "networked",
    "model",
    "modern",
    "größe",
    "größer",
    "v2",
    "classify",
    "classifier",
    "a",
];

#[derive(Clone, Debug)]
enum Step {
    /// Puts listings, with gaps of this size before each.
    Put(Vec<(Terms, u32)>),
    /// Forgets one of those that were put.
    Forget(prop::sample::Index),
    Keep,
    /// Closes and opens, up to this part of what was kept.
    Reopen(prop::sample::Index),
    /// Lets the thread do what it likes.
    Pause,
    Query(Vec<&'static str>, Within),
}

#[derive(Clone, Debug)]
enum Within {
    All,
    /// Those whose number divided by the first leaves less than the second.
    Some(u32, u32),
}

fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&WORDS[..])
}

fn listing() -> impl Strategy<Value = Terms> {
    let words = |most| prop::collection::vec(word(), 0..most);
    let ascii = prop::sample::select(&["digit", "net", "model", "dig", "v2"][..]);
    (ascii.clone(), words(3), ascii, words(6)).prop_map(|(name, keywords, category, summary)| {
        terms(name, &keywords, category, &summary.join(" "))
    })
}

fn step() -> impl Strategy<Value = Step> {
    let gap = prop_oneof![9 => Just(0_u32), 1 => 1..5000_u32];
    let query = (prop::collection::vec(word(), 1..4), within());
    prop_oneof![
        4 => prop::collection::vec((listing(), gap), 1..40).prop_map(Step::Put),
        1 => any::<prop::sample::Index>().prop_map(Step::Forget),
        2 => Just(Step::Keep),
        1 => any::<prop::sample::Index>().prop_map(Step::Reopen),
        1 => Just(Step::Pause),
        6 => query.prop_map(|(words, within)| Step::Query(words, within)),
    ]
}

fn within() -> impl Strategy<Value = Within> {
    prop_oneof![
        Just(Within::All),
        (1..8_u32, 0..8_u32).prop_map(|(by, less)| Within::Some(by, less)),
    ]
}

/// Both indexes, and what was done to them.
struct Both {
    dir: tempfile::TempDir,
    disk: Option<DiskIndex>,
    memory: MemoryIndex,
    all: Vec<(u32, Terms)>,
    forgotten: BTreeSet<u32>,
    /// Listings were deleted on disk and put again: until they are merged away, the deleted ones are counted too.
    put_again: bool,
}

impl Both {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Some(DiskIndex::open(dir.path(), 0).unwrap());
        let (memory, all) = (MemoryIndex::default(), Vec::new());
        Self { dir, disk, memory, all, forgotten: BTreeSet::new(), put_again: false }
    }

    fn disk(&mut self) -> &mut DiskIndex {
        self.disk.as_mut().unwrap()
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Put(listings) => {
                for (terms, gap) in listings {
                    let number = self.all.last().map_or(0, |(last, _)| last + 1) + gap;
                    self.disk().put(number, &terms);
                    self.memory.put(number, &terms);
                    self.all.push((number, terms));
                }
            }
            Step::Forget(which) => {
                if !self.all.is_empty() {
                    let number = self.all[which.index(self.all.len())].0;
                    self.disk().forget(number);
                    self.forgotten.insert(number);
                }
            }
            Step::Keep => {
                self.disk().keep().unwrap();
                let next = self.all.last().map_or(0, |(last, _)| last + 1);
                assert_eq!(self.disk().kept_below().max(next), self.disk().kept_below());
                assert_eq!(self.disk().pending(), 0);
            }
            Step::Reopen(part) => self.reopen(part),
            Step::Pause => std::thread::sleep(std::time::Duration::from_millis(30)),
            Step::Query(words, within) => self.compare(&words, &within),
        }
    }

    fn reopen(&mut self, part: prop::sample::Index) {
        let kept_below = self.disk().kept_below();
        self.disk = None;
        let keep_below = u32::try_from(part.index(kept_below as usize + 2)).unwrap();
        let mut disk = DiskIndex::open(self.dir.path(), keep_below).unwrap();
        assert_eq!(disk.kept_below(), keep_below.min(kept_below));
        let kept_below = disk.kept_below();
        for (number, terms) in &self.all {
            if *number >= kept_below {
                self.put_again = true;
                disk.put(*number, terms);
            }
        }
        self.disk = Some(disk);
    }

    fn compare(&self, words: &[&str], within: &Within) {
        let disk = self.disk.as_ref().unwrap();
        let mut wanted = Wanted::new(Some(&words.join(" ")));
        let frequencies = self.memory.frequencies(wanted.words());
        wanted.weigh(self.all.len() as u64, &frequencies);
        let within = match within {
            Within::All => None,
            Within::Some(by, less) => {
                let numbers = self.all.iter().map(|(number, _)| *number);
                let below = self.all.last().map_or(0, |(last, _)| last + 100);
                // Also numbers that nobody has.
                let numbers = numbers.chain((0..below).step_by(7));
                Some(numbers.filter(|number| number % by < *less).collect::<RoaringBitmap>())
            }
        };
        let mut on_disk = found(disk, &wanted, within.as_ref());
        let mut in_memory = found(&self.memory, &wanted, within.as_ref());
        if self.put_again && self.forgotten.is_empty() {
            let at_least = disk.frequencies(wanted.words()).into_iter().zip(frequencies);
            at_least.for_each(|(disk, memory)| assert!(disk >= memory, "{disk}, {memory}"));
        } else if self.forgotten.is_empty() {
            assert_eq!(disk.frequencies(wanted.words()), frequencies);
            for start in ["", "d", "dih", "network", "ö", "zzz"] {
                assert_eq!(terms_from(disk, start), terms_from(&self.memory, start));
            }
        }
        on_disk.retain(|number, _| !self.forgotten.contains(number));
        in_memory.retain(|number, _| !self.forgotten.contains(number));
        assert_eq!(on_disk, in_memory, "{words:?}");
    }
}

fn terms_from(index: &dyn TextIndex, start: &str) -> Vec<(String, u64)> {
    let mut terms = Vec::new();
    index.terms_from(start, &mut |term, count| {
        terms.push((term.to_owned(), count));
        terms.len() < 12
    });
    terms
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_index_on_disk_finds_what_the_one_in_memory_finds(
        steps in prop::collection::vec(step(), 1..40),
        last in prop::collection::vec((prop::collection::vec(word(), 1..4), within()), 4),
    ) {
        let mut both = Both::new();
        for step in steps {
            both.apply(step);
        }
        for (words, within) in last {
            both.compare(&words, &within);
        }
    }
}

/// Enough listings for several blocks of postings, windows and segments, and merges of them.
#[test]
fn many_listings_in_many_segments_are_found_as_in_memory() {
    let mut both = Both::new();
    let mut random = 7_u64;
    let mut pick = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut wide = Vec::new();
    for n in 0..200 {
        wide.push(format!("digit{n}"));
    }
    for round in 0..40 {
        let mut listings = Vec::new();
        for _ in 0..300 {
            let at = |n: u64| usize::try_from(n).unwrap();
            // Zipf-like: small places are picked more often.
            let (a, b) = (pick(16), pick(16));
            let word = WORDS[at(a.min(b))];
            let started = &wide[at(pick(200).min(pick(200)))];
            let terms = terms("net", &[started], "model", &format!("{word} {started}"));
            listings.push((terms, if pick(50) == 0 { 3 } else { 0 }));
        }
        both.apply(Step::Put(listings));
        both.apply(Step::Keep);
        if round % 8 == 3 {
            both.apply(Step::Pause);
        }
    }
    let disk = both.disk.as_ref().unwrap();
    common::converge("segments are merged", || disk.segments() < 16);
    for words in [&["net"][..], &["dig"], &["digit", "model"], &["größe", "v2", "classify"]] {
        for within in [
            Within::All,
            Within::Some(1000, 1),
            Within::Some(100, 1),
            Within::Some(10, 1),
            Within::Some(2, 1),
            Within::Some(1, 1),
        ] {
            both.compare(words, &within);
        }
    }
}
