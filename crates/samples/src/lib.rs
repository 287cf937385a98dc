//! Listings and queries for benchmarks and tests, in any number: the same seed gives the same ones.
//!
//! What is drawn follows what is seen on public hubs: few orgs and few tasks have most of the content, most names have
//! one version, sizes and latencies spread over powers of ten. Words follow Zipf's law. A name is unique within its
//! org, so no version is contested.

mod queries;
mod random;
mod tasks;
mod words;

use std::sync::Arc;

use guildhall_protocol::body::{
    AccuracyClaim, Claims, LatencyClaim, Listing, Release, Suggested, Visibility,
};
use guildhall_protocol::contract::{Contract, Determinism, Hardware};
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::{FileName, OrgName, PackageName, Version};
use guildhall_protocol::{FederationId, Hash, PackageId, PublicKey, RecordId};
pub use queries::Queries;
use random::{Random, Zipf};
use tasks::Task;
use words::Words;

/// Orgs of a large federation.
const ORGS: usize = 2_000;

/// Most versions of one name.
const VERSIONS_MAX: usize = 30;

/// The moment from which ages count back, milliseconds since 1970.
const NOW_MS: u64 = 1_700_000_000_000;

const DAY_MS: f64 = 24.0 * 60.0 * 60.0 * 1000.0;

/// The most frequent first.
const LICENCES: [&str; 15] = [
    "Apache-2.0",
    "MIT",
    "unknown",
    "CC-BY-4.0",
    "CC-BY-NC-4.0",
    "BSD-3-Clause",
    "GPL-3.0-only",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "AGPL-3.0-only",
    "LGPL-3.0-only",
    "EUPL-1.2",
    "MPL-2.0",
    "ODbL-1.0",
    "BSL-1.0",
];

/// Kinds and how often each is drawn, in percent.
const KINDS: [(Kind, usize); 5] = [
    (Kind::Model, 70),
    (Kind::Data, 20),
    (Kind::Algorithm, 4),
    (Kind::Notebook, 3),
    (Kind::Pipeline, 3),
];

/// A listing, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The org's name.
    pub org: OrgName,
    /// The org's root key.
    pub root: PublicKey,
    /// The key that signed the listing.
    pub author: PublicKey,
    /// Position in the author's log.
    pub seq: u64,
    /// The author's clock, milliseconds since 1970.
    pub time_ms: u64,
    /// The listing's record.
    pub listing_id: RecordId,
    /// What was listed.
    pub listing: Listing,
}

/// Makes listings without end.
#[derive(Debug)]
pub struct Generator {
    random: Random,
    world: Arc<World>,
    logs: Vec<Log>,
    count: u64,
    /// The name whose further versions come next.
    current: Option<Named>,
}

/// What every listing is drawn from.
#[derive(Debug)]
struct World {
    words: Words,
    orgs: Vec<Org>,
    org_ranks: Zipf,
    tasks: Vec<Task>,
    task_ranks: Zipf,
    licence_ranks: Zipf,
    readme: FileName,
    example: FileName,
}

#[derive(Debug)]
struct Org {
    name: OrgName,
    root: PublicKey,
    author: PublicKey,
}

/// What an org has listed so far.
#[derive(Clone, Debug, Default)]
struct Log {
    seq: u64,
    names: usize,
}

/// A name, and what its versions have in common.
#[derive(Debug)]
struct Named {
    org: usize,
    age_days: f64,
    major: usize,
    version: usize,
    versions: usize,
    listing: Listing,
}

impl Generator {
    /// A generator whose listings follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let world = Arc::new(World::new());
        let logs = vec![Log::default(); world.orgs.len()];
        Self { random: Random::new(seed), world, logs, count: 0, current: None }
    }

    /// Queries that such listings answer. They follow from the seed and from how many were asked for before.
    pub fn queries(&mut self) -> Queries {
        Queries::new(Random::new(self.random.bits()), Arc::clone(&self.world))
    }

    fn new_name(&mut self) -> Named {
        let (random, world) = (&mut self.random, &*self.world);
        let org = world.org_ranks.draw(random);
        let listing = world.listing(random, self.logs[org].names, self.count);
        self.logs[org].names += 1;
        let age_days = random.exponential(400.0);
        let (major, versions) = (random.below(2), versions(random));
        Named { org, age_days, major, version: 0, versions, listing }
    }
}

impl Iterator for Generator {
    type Item = Generated;

    fn next(&mut self) -> Option<Generated> {
        let mut named = self.current.take().unwrap_or_else(|| self.new_name());
        let hash = |what: u8| {
            let mut bytes = [what; 9];
            bytes[..8].copy_from_slice(&self.count.to_le_bytes());
            Hash::of(&bytes)
        };
        let listing_id = RecordId(hash(1));
        named.listing.release.package = PackageId(hash(0));
        named.listing.release.version = version(&mut self.random, named.major, named.version);
        let log = &mut self.logs[named.org];
        log.seq += 1;
        self.count += 1;
        named.version += 1;
        let (org, done) = (&self.world.orgs[named.org], named.version == named.versions);
        let newer = 1.0 - (named.version as f64 - 1.0) / named.versions as f64;
        let age_ms = (named.age_days * newer * DAY_MS) as u64;
        let listing = if done {
            named.listing
        } else {
            let listing = named.listing.clone();
            self.current = Some(named);
            listing
        };
        Some(Generated {
            org: org.name.clone(),
            root: org.root,
            author: org.author,
            seq: log.seq,
            time_ms: NOW_MS.saturating_sub(age_ms),
            listing_id,
            listing,
        })
    }
}

/// Four in five names have one version; the others have two and more, each further one with three in four.
fn versions(random: &mut Random) -> usize {
    if random.chance(0.8) {
        return 1;
    }
    (2..VERSIONS_MAX).find(|_| random.chance(0.25)).unwrap_or(VERSIONS_MAX)
}

/// The version at this place in the row that starts at `major`, one in fifty a prerelease.
fn version(random: &mut Random, major: usize, place: usize) -> Version {
    let major = (major + place / 6) as u64;
    let minor = (place % 6 / 2) as u64 + u64::from(major == 0);
    let version = Version::new(major, minor, (place % 2) as u64);
    if random.chance(0.02) {
        return Version::parse(&format!("{version}-rc.1")).unwrap_or(version);
    }
    version
}

/// A kind, as often as [`KINDS`] says.
fn kind(random: &mut Random) -> Kind {
    let mut left = random.below(100);
    for (kind, percent) in KINDS {
        if left < percent {
            return kind;
        }
        left -= percent;
    }
    Kind::Model
}

impl World {
    fn new() -> Self {
        const ENDS: [&str; 8] =
            ["lab", "hospital", "institute", "university", "agency", "data", "works", "ai"];
        let words = Words::new();
        let key = |what: &str, org: &str| {
            PublicKey::from_bytes(*Hash::of(format!("{what} of {org}").as_bytes()).as_bytes())
        };
        let org = |number: usize| {
            let name = format!("{}-{}", words.made(number), ENDS[number % ENDS.len()]);
            Org {
                root: key("root", &name),
                author: key("author", &name),
                name: name.parse().expect("a made-up word and an end are a name"),
            }
        };
        let orgs: Vec<Org> = (0..ORGS).map(org).collect();
        let tasks = tasks::all();
        Self {
            org_ranks: Zipf::new(orgs.len(), 1.0),
            task_ranks: Zipf::new(tasks.len(), 1.0),
            licence_ranks: Zipf::new(LICENCES.len(), 1.0),
            readme: "README.md".parse().expect("a plain file name"),
            example: "examples/first.ipynb".parse().expect("a plain file name"),
            orgs,
            tasks,
            words,
        }
    }

    /// A listing under the org's name of this number. Package and version are still to come.
    fn listing(&self, random: &mut Random, name_number: usize, count: u64) -> Listing {
        let kind = kind(random);
        let task = &self.tasks[self.task_ranks.draw(random)];
        let mut categories = vec![task.category.clone()];
        let second = &self.tasks[self.task_ranks.draw(random)].category;
        if random.chance(0.15) && *second != categories[0] {
            categories.push(second.clone());
        }
        let runs = matches!(kind, Kind::Model | Kind::Pipeline | Kind::Algorithm);
        let len_bytes = len_bytes(random, kind);
        let contract = runs.then(|| contract(random, len_bytes));
        let hardware = contract.as_ref().map(|one| one.hardware.clone()).unwrap_or_default();
        let memory_bytes = contract.as_ref().map_or(0, |one| one.memory_bytes);
        let keywords =
            (0..random.between(0, 8)).map(|_| self.words.draw(random).to_owned()).collect();
        Listing {
            federation: FederationId(Hash::from_bytes([7; 32])),
            release: Release {
                name: self.name(random, name_number),
                version: Version::new(0, 1, 0),
                package: PackageId(Hash::from_bytes([0; 32])),
            },
            kind,
            categories,
            summary: self.summary(random, task),
            keywords,
            interface: task.interface(kind, random),
            engines: engines(kind),
            contract,
            len_bytes,
            claims: claims(random, kind),
            suggested: Suggested { hardware, memory_bytes, data: Vec::new() },
            uses: uses(random, kind, count),
            documentation: random.chance(0.55).then(|| self.readme.clone()),
            examples: if random.chance(0.25) { vec![self.example.clone()] } else { Vec::new() },
            licence: LICENCES[self.licence_ranks.draw(random)].to_owned(),
            visibility: if random.chance(0.1) {
                Visibility::Public
            } else {
                Visibility::Federation
            },
            replicas: 3,
        }
    }

    /// One to three words by Zipf's law, then a made-up one that no other name of the org ends with.
    fn name(&self, random: &mut Random, number: usize) -> PackageName {
        let mut name = String::with_capacity(48);
        for _ in 0..random.between(1, 3) {
            name.push_str(self.words.draw(random));
            name.push('-');
        }
        name.push_str(self.words.made(number.wrapping_mul(7_919)));
        let round = number / Words::made_len();
        if round > 0 {
            name.push_str(&format!("-{round}"));
        }
        name.parse().expect("words and hyphens are a name")
    }

    /// The task in words among 6 to 25 words.
    fn summary(&self, random: &mut Random, task: &Task) -> String {
        let mut summary = String::with_capacity(200);
        let count = random.between(6, 25);
        let mut len = task.words.split(' ').count();
        summary.push_str(&task.words);
        while len < count {
            summary.push(' ');
            summary.push_str(self.words.draw(random));
            len += 1;
        }
        summary[..1].make_ascii_uppercase();
        summary.push('.');
        summary
    }
}

fn engines(kind: Kind) -> Vec<String> {
    let names: &[&str] = match kind {
        Kind::Model => &["onnx"],
        Kind::Algorithm => &["wasm"],
        Kind::Pipeline => &["onnx", "wasm"],
        Kind::Data | Kind::Notebook => &[],
    };
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn len_bytes(random: &mut Random, kind: Kind) -> u64 {
    let (median, spread) = match kind {
        Kind::Model => (2e8, 1.8),
        Kind::Data => (1e9, 2.2),
        Kind::Pipeline => (4e8, 1.6),
        Kind::Algorithm => (5e5, 1.2),
        Kind::Notebook => (1e6, 1.2),
    };
    random.log_normal(median, spread).min(1e15) as u64
}

/// Memory follows from the size; one in four needs a GPU that holds the whole.
fn contract(random: &mut Random, len_bytes: u64) -> Contract {
    let memory_bytes = (len_bytes as f64 * random.log_normal(3.0, 0.4)) as u64 + (16 << 20);
    let gpu_memory_bytes = if random.chance(0.25) { memory_bytes } else { 0 };
    Contract {
        scoring_ms: random.log_normal(2_000.0, 1.0) as u64 + 1,
        measured_on: "4 x86 cores".to_owned(),
        memory_bytes,
        scratch_bytes: 0,
        output_bytes: 1 << 20,
        batch_max: 16,
        total_ms: None,
        queue_ms: None,
        imports: Vec::new(),
        hardware: Hardware { cores: random.between(0, 8) as u32, gpu_memory_bytes },
        determinism: Determinism::Numeric,
    }
}

/// Three in five models and pipelines declare an accuracy, seven in ten a latency.
fn claims(random: &mut Random, kind: Kind) -> Claims {
    const METRICS: [&str; 5] = ["accuracy", "f1", "auroc", "map", "r2"];
    const DATASETS: [&str; 5] =
        ["held-out split", "public benchmark", "own test set", "field data 2023", "validation"];
    if !matches!(kind, Kind::Model | Kind::Pipeline) {
        return Claims::default();
    }
    let mut claims = Claims::default();
    if random.chance(0.6) {
        claims.accuracy.push(AccuracyClaim {
            metric: random.one(&METRICS).to_owned(),
            dataset: random.one(&DATASETS).to_owned(),
            value: 1.0 - 0.6 * random.share().powf(1.5),
        });
    }
    if random.chance(0.7) {
        let p50_ms = random.log_normal(40.0, 1.4);
        claims.latency.push(LatencyClaim { p50_ms, hardware: "4 x86 cores".to_owned() });
    }
    claims
}

/// Two packages of earlier listings.
fn uses(random: &mut Random, kind: Kind, count: u64) -> Vec<PackageId> {
    if count == 0 || !matches!(kind, Kind::Notebook | Kind::Pipeline) {
        return Vec::new();
    }
    let mut earlier = || {
        let mut bytes = [0; 9];
        bytes[..8].copy_from_slice(&(random.bits() % count).to_le_bytes());
        PackageId(Hash::of(&bytes))
    };
    let first = earlier();
    vec![first, earlier()]
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use guildhall_protocol::body::RecordBody as _;

    use super::*;

    const COUNT: usize = 20_000;

    /// Whether `count` of [`COUNT`] is `percent`, give or take a tenth and half a percent.
    fn is_about(count: usize, percent: f64) -> bool {
        let found = 100.0 * count as f64 / COUNT as f64;
        (found - percent).abs() <= percent / 10.0 + 0.5
    }

    #[test]
    fn the_same_seed_gives_the_same_listings_and_queries() {
        let (mut one, mut other) = (Generator::new(5), Generator::new(5));
        assert!(one.by_ref().take(500).eq(other.by_ref().take(500)));
        assert!(one.queries().take(100).eq(other.queries().take(100)));
        assert!(one.take(10).ne(Generator::new(6).take(10)));
    }

    #[test]
    fn listings_are_valid_and_no_version_stands_twice() {
        let mut seen = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for one in Generator::new(1).take(COUNT) {
            assert_eq!(one.listing.check(), Ok(()));
            assert!(one.listing.keywords.len() <= 8);
            let words = one.listing.summary.split(' ').count();
            assert!((6..=25).contains(&words), "{}", one.listing.summary);
            assert!(
                ids.insert(one.listing_id) && ids.insert(RecordId(one.listing.release.package.0))
            );
            let release = one.listing.release;
            assert!(seen.insert((one.org, release.name, release.version)));
        }
    }

    #[test]
    fn shares_are_about_as_stated() {
        let all: Vec<Generated> = Generator::new(2).take(COUNT).collect();
        let count = |is: &dyn Fn(&Generated) -> bool| all.iter().filter(|one| is(one)).count();
        for (kind, percent) in KINDS {
            // The versions of a name are of one kind, so these shares vary more.
            let found = 100.0 * count(&|one| one.listing.kind == kind) as f64 / COUNT as f64;
            assert!((found - percent as f64).abs() < 3.0, "{kind:?}: {found} %");
        }
        let models = count(&|one| one.listing.kind == Kind::Model);
        let claiming = count(&|one| {
            one.listing.kind == Kind::Model && !one.listing.claims.accuracy.is_empty()
        });
        assert!(
            (0.57..0.63).contains(&(claiming as f64 / models as f64)),
            "{claiming} of {models}"
        );
        assert!(is_about(count(&|one| one.listing.documentation.is_some()), 55.0));
        // The sum of 1/r for r up to 60 is 4.680, for r up to 2,000 it is 8.178.
        let first =
            all.iter().filter(|one| one.listing.categories[0].as_str() == "text/generation");
        assert!(is_about(first.count(), 100.0 / 4.680));
        let mut orgs: BTreeMap<&str, usize> = BTreeMap::new();
        for one in &all {
            *orgs.entry(one.org.as_str()).or_default() += 1;
        }
        assert!(is_about(orgs.values().copied().max().unwrap_or_default(), 100.0 / 8.178));
        assert!(orgs.len() > 1_300, "{} orgs", orgs.len());
        let mut versions: BTreeMap<_, usize> = BTreeMap::new();
        for one in &all {
            *versions.entry((&one.org, &one.listing.release.name)).or_default() += 1;
        }
        let single = versions.values().filter(|count| **count == 1).count();
        assert!((0.78..0.82).contains(&(single as f64 / versions.len() as f64)));
        assert!(
            (10..=VERSIONS_MAX).contains(&versions.values().copied().max().unwrap_or_default())
        );
    }

    #[test]
    fn queries_have_three_filters_and_at_most_three_words() {
        let mut queries = Generator::new(3).queries();
        for _ in 0..1_000 {
            let facets = queries.facets();
            let filters = [
                facets.kind.is_some(),
                facets.category.is_some(),
                facets.input.is_some(),
                facets.output.is_some(),
                facets.max_latency_ms.is_some(),
                facets.min_accuracy.is_some(),
                facets.max_memory_bytes.is_some(),
            ];
            assert_eq!(filters.iter().filter(|there| **there).count(), 3, "{facets:?}");
            assert_eq!(facets.text, None);
            let text = queries.words().text.unwrap_or_default();
            assert!((1..=3).contains(&text.split(' ').count()), "{text}");
        }
    }
}
