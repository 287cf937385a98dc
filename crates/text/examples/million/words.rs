//! Generated words, listings and queries: the same for the same seed.

use std::collections::BTreeSet;

use guildhall_catalog::words::Terms;
use guildhall_protocol::body::{Claims, Listing, Release, Suggested, Visibility};
use guildhall_protocol::interface::Interface;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::{FederationId, Hash, PackageId};

/// Different words, about as many as people use in titles of a large model hub.
const WORDS: usize = 20_000;

/// Parts of words. Few, so that words share their beginnings as real ones do.
const SYLLABLES: [&str; 32] = [
    "ba", "bren", "cor", "da", "del", "fi", "gan", "glo", "hu", "in", "jor", "ka", "lem", "lo",
    "mi", "mon", "na", "net", "or", "pa", "pre", "qui", "ra", "res", "sen", "sta", "ta", "trans",
    "um", "vi", "wex", "zo",
];

/// Categories, the first ones most often.
const TASKS: [&str; 12] = [
    "image-classification",
    "text-generation",
    "object-detection",
    "question-answering",
    "translation",
    "speech-recognition",
    "segmentation",
    "time-series-forecasting",
    "tabular-regression",
    "depth-estimation",
    "sound-event-detection",
    "table-reading",
];

/// Random numbers (splitmix64), not for secrets.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> usize {
        (self.bits() % end) as usize
    }

    /// At least 0 and below 1.
    fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// All words; rank r is drawn as often as Zipf's law says, 1/(r+1).
#[derive(Debug)]
pub(super) struct Words {
    list: Vec<String>,
    /// The sum of the shares up to each rank.
    sums: Vec<f64>,
}

impl Words {
    pub(super) fn new() -> Self {
        let (mut random, mut list, mut seen) = (Random(1), Vec::new(), BTreeSet::new());
        while list.len() < WORDS {
            let word: String =
                (0..2 + random.below(3)).map(|_| SYLLABLES[random.below(32)]).collect();
            if seen.insert(word.clone()) {
                list.push(word);
            }
        }
        let mut sum = 0.0;
        let sums = (1..=WORDS).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self { sums: sums.collect(), list }
    }

    fn draw(&self, random: &mut Random) -> &str {
        let at = random.share() * self.sums.last().copied().unwrap_or_default();
        &self.list[self.sums.partition_point(|sum| *sum <= at).min(WORDS - 1)]
    }

    /// What a listing says: two words and a code of its own as its name, up to eight keywords, a category, a sentence
    /// of 6 to 25 words.
    pub(super) fn listing(&self, random: &mut Random) -> Terms {
        let code = random.bits() & 0xf_ffff;
        let name = format!("{}-{}-{code:05x}", self.draw(random), self.draw(random));
        let keywords = (0..random.below(9)).map(|_| self.draw(random).to_owned()).collect();
        let task = TASKS[random.below(12).min(random.below(12))];
        let words = 6 + random.below(20);
        let summary: Vec<&str> = (0..words).map(|_| self.draw(random)).collect();
        Terms::of(&Listing {
            federation: FederationId(Hash::of(b"federation")),
            release: Release {
                name: name.parse().expect("a name"),
                version: "1.0.0".parse().expect("a version"),
                package: PackageId(Hash::of(b"package")),
            },
            kind: Kind::Model,
            categories: vec![format!("learning/{task}").parse().expect("a category")],
            summary: summary.join(" "),
            keywords,
            interface: Interface { inputs: Vec::new(), outputs: Vec::new() },
            engines: Vec::new(),
            contract: None,
            len_bytes: 1,
            claims: Claims { accuracy: Vec::new(), latency: Vec::new() },
            suggested: Suggested::default(),
            uses: Vec::new(),
            documentation: None,
            examples: Vec::new(),
            licence: "MIT".into(),
            visibility: Visibility::Federation,
            replicas: 1,
        })
    }

    /// A query of so many words.
    pub(super) fn query(&self, words: usize, random: &mut Random) -> String {
        let words: Vec<&str> = (0..words).map(|_| self.draw(random)).collect();
        words.join(" ")
    }
}
