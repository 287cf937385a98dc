//! P5, P17, P18: finding among many listings, in this process, beside tantivy and SQLite with FTS5.
//!
//! All three hold the same generated listings on a disk and are asked the same queries by turns. Ours is what a node
//! has: a [`Catalog`] with the index of words on disk, the listings in the records of a store. *Ids* are the ten best in
//! order; a *page* is how many answer and the ten best as listings, ours with the reason of every term.
//!
//! ```text
//! corpus       listings in records
//! plain        the same, and queries, as peers see them
//! full_text    tantivy
//! sql          SQLite
//! timing       times of queries
//! load         listings that come while queries run
//! alone        memory and start of a process that has only a catalogue
//! ```

mod alone;
mod corpus;
mod full_text;
mod load;
mod plain;
mod sql;
mod timing;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use guildhall_catalog::{Asked, Catalog};
use guildhall_protocol::query::Query;
use guildhall_samples::Generator;
use guildhall_text::DiskIndex;

pub(crate) use self::alone::Alone;
use self::alone::How;
use self::corpus::{Corpus, Made, SEED};
use self::full_text::FullText;
use self::load::lock;
use self::plain::{DAY, PlainQuery};
use self::sql::{Order, Sql};
use self::timing::Times;
use super::figures::{Row, Samples, exponent};
use super::fixture::MIB;
use super::{Bench, programs};
use crate::network::NetworkError;

/// Why a measurement ends.
type Failed = NetworkError;

fn failed(error: impl Display) -> Failed {
    NetworkError::Unexpected(error.to_string())
}

/// Results of a query.
const RESULTS: usize = 10;

/// Queries of each kind.
const QUERIES: usize = 300;

/// Listings that are made at a time.
const CHUNK: u32 = 5_000;

/// Shares of the listings that are asked for at which everything is measured.
const SIZES_PERCENT: [u32; 3] = [1, 10, 100];

/// How long our index of words may take to merge what it wrote before the measuring begins all the same.
const QUIET_MAX: Duration = Duration::from_secs(60);

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>, NetworkError> {
    let (folder, listings) = (bench.disk(), bench.settings.listings);
    let runtime = tokio::runtime::Handle::current();
    // The store's blocking calls have no place in a task.
    let measuring = tokio::task::spawn_blocking(move || measure(&folder, listings, &runtime));
    measuring.await.map_err(failed)?
}

fn measure(
    folder: &Path,
    listings: u32,
    runtime: &tokio::runtime::Handle,
) -> Result<Vec<Row>, Failed> {
    let folder = tempfile::Builder::new().prefix("guild-finding-").tempdir_in(folder);
    let folder = folder.map_err(failed)?;
    let mut finding = Finding::new(folder.path().to_owned())?;
    let mut rows = Vec::new();
    let mut growth = Growth::default();
    for percent in SIZES_PERCENT {
        let size =
            u32::try_from(u64::from(listings) * u64::from(percent) / 100).unwrap_or(listings);
        finding.grow(size)?;
        rows.extend(finding.ask(size, &mut growth)?);
        rows.extend(finding.alone(size, runtime, &mut growth)?);
        if percent > 1 {
            rows.extend(finding.load(size)?);
        }
    }
    rows.extend(growth.rows());
    Ok(rows)
}

/// The queries: three filters, and three filters with words. Of another generator, so that they are the same at every
/// size.
fn queries() -> (Vec<Query>, Vec<Query>) {
    let mut queries = Generator::new(SEED).queries();
    let filters = (0..QUERIES).map(|_| Query { limit: RESULTS, ..queries.facets() }).collect();
    let words = (0..QUERIES).map(|_| Query { limit: RESULTS, ..queries.words() }).collect();
    (filters, words)
}

/// Everybody with the same listings.
struct Finding {
    folder: PathBuf,
    corpus: Corpus,
    catalog: Mutex<Catalog>,
    full_text: FullText,
    sql: Sql,
}

impl Finding {
    fn new(folder: PathBuf) -> Result<Self, Failed> {
        let corpus = Corpus::new(&folder)?;
        let words = folder.join("words");
        std::fs::create_dir_all(&words).map_err(failed)?;
        let words = DiskIndex::open(&words, 0).map_err(failed)?;
        let mut catalog = Catalog::with_text(Box::new(words));
        catalog.set_shelf(corpus.shelf());
        catalog.set_day(DAY);
        let full_text = FullText::new(&folder.join("tantivy"))?;
        let sql = Sql::new(&folder.join("sqlite"))?;
        Ok(Self { folder, corpus, catalog: Mutex::new(catalog), full_text, sql })
    }

    /// Lets everybody have `size` listings, and waits until nobody is busy with them any more.
    fn grow(&mut self, size: u32) -> Result<(), Failed> {
        while self.corpus.len() < size {
            let made = self.corpus.more(CHUNK.min(size - self.corpus.len()))?;
            self.teach_peers(&made)?;
            let mut catalog = lock(&self.catalog);
            for one in made {
                catalog.insert(one.entry, true);
            }
        }
        self.full_text.settle()?;
        self.sql.settle()?;
        lock(&self.catalog).text_mut().keep().map_err(failed)?;
        wait_until_quiet()
    }

    fn teach_peers(&mut self, made: &[Made]) -> Result<(), Failed> {
        let plain: Vec<_> = made.iter().map(|one| &one.plain).collect();
        let Self { full_text, sql, .. } = self;
        std::thread::scope(|scope| {
            let adding = scope.spawn(|| sql.add(&plain));
            full_text.add(&plain)?;
            adding.join().map_err(|_| failed("the thread of SQLite panicked"))?
        })
    }

    /// Asks everybody the same, after checking that everybody counts the same.
    fn ask(&self, size: u32, growth: &mut Growth) -> Result<Vec<Row>, Failed> {
        let catalog = lock(&self.catalog);
        let (filters, words) = queries();
        let mut rows = Vec::new();
        for (what, queries) in [("3 filters", filters), ("3 filters and words", words)] {
            let has_words = what.contains("words");
            let plain: Vec<PlainQuery> = queries.iter().map(PlainQuery::new).collect();
            if !has_words {
                self.check_counts(&catalog, &queries, &plain)?;
            }
            let ids = Times::of(&queries, |query| {
                match catalog.find(query, Asked::default()).len() <= RESULTS {
                    true => Ok(()),
                    false => Err(failed("too many results")),
                }
            })?;
            let pages = Times::of(&queries, |query| {
                let _answer = catalog.search(query, Asked::default());
                Ok(())
            })?;
            growth.add(size, &format!("p50 of ids, {what}"), ids.samples().median());
            growth.add(size, &format!("p50 of a page, {what}"), pages.samples().median());
            let goals = if has_words { ["<= 1.2", "-"] } else { ["<= 0.333; <= 100 us", "<= 0.1"] };
            let row = |form: &str, peer: &str, goal, ours: &Times, theirs: &Times| {
                compared(
                    &format!("{form}, {what}, {size} listings; peer: {peer}"),
                    goal,
                    ours,
                    theirs,
                )
            };
            let tantivy = Times::of(&plain, |query| self.full_text.ids(query).map(drop))?;
            rows.push(row("ids", "tantivy", goals[0], &ids, &tantivy));
            if has_words {
                let by_starts = |query: &PlainQuery| self.full_text.ids_by_starts(query).map(drop);
                let by_starts = Times::of(&plain, by_starts)?;
                rows.push(row("ids", "tantivy, starts of words too", "<= 1.2", &ids, &by_starts));
            }
            let sqlite = |order| Times::of(&plain, |query| self.sql.ids(query, order).map(drop));
            rows.push(row("ids", "SQLite", goals[1], &ids, &sqlite(Order::Listing)?));
            if !has_words {
                let peer = "SQLite, each category in order of standing";
                rows.push(row("ids", peer, "-", &ids, &sqlite(Order::Category)?));
            }
            let tantivy = Times::of(&plain, |query| self.full_text.page(query).map(drop))?;
            rows.push(row("page", "tantivy", "-", &pages, &tantivy));
            let sqlite = Times::of(&plain, |query| self.sql.page(query).map(drop))?;
            rows.push(row("page", "SQLite", "-", &pages, &sqlite));
        }
        Ok(rows)
    }

    fn check_counts(
        &self,
        catalog: &Catalog,
        queries: &[Query],
        plain: &[PlainQuery],
    ) -> Result<(), Failed> {
        for (query, plain) in queries.iter().zip(plain) {
            let ours = catalog.search(query, Asked::default()).total;
            let (tantivy, _) = self.full_text.page(plain)?;
            let (sqlite, _) = self.sql.page(plain)?;
            if (ours, ours) != (tantivy, sqlite) {
                let counts = format!("{ours}, tantivy {tantivy}, SQLite {sqlite}");
                return Err(failed(format!("counts differ: {counts} for {plain:?}")));
            }
        }
        Ok(())
    }

    /// Memory and start of a process that has only the catalogue.
    fn alone(
        &mut self,
        size: u32,
        runtime: &tokio::runtime::Handle,
        growth: &mut Growth,
    ) -> Result<Vec<Row>, Failed> {
        runtime.block_on(self.corpus.close(&self.folder))?;
        let anew = alone::ask(&self.folder, How::Anew)?;
        let restored = alone::ask(&self.folder, How::Restored)?;
        std::fs::remove_dir_all(self.folder.join("words-alone")).map_err(failed)?;
        self.corpus.open_again(&self.folder)?;
        lock(&self.catalog).set_shelf(self.corpus.shelf());
        let expected = usize::try_from(self.corpus.len()).unwrap_or(usize::MAX);
        if (anew.listings, restored.listings) != (expected, expected) {
            return Err(failed(format!("of {expected} listings there are {anew:?}, {restored:?}")));
        }
        let mebibytes = |bytes: u64| bytes as f64 / MIB as f64;
        let mut rows = Vec::new();
        let mut row = |what: &str, figure: f64, unit, goal| {
            let samples: Samples = [figure].into_iter().collect();
            growth.add(size, what, figure);
            rows.push(
                Row::of("P17", format!("{what}, {size} listings"), &samples, unit).with_goal(goal),
            );
        };
        let grown = |said: &alone::Said, resident: alone::Resident| {
            (
                mebibytes(resident.all.saturating_sub(said.before.all)),
                mebibytes(resident.own.saturating_sub(said.before.own)),
            )
        };
        let (_, own) = grown(&restored, restored.ready);
        row("memory of the catalogue, restored, without pages of files", own, "MiB", "-");
        let (all, own) = grown(&restored, restored.asked);
        row(
            "memory of the catalogue, restored, after 600 queries, without pages of files",
            own,
            "MiB",
            "-",
        );
        row("memory of the catalogue, restored, after 600 queries", all, "MiB", "<= 512 MiB");
        let (_, own) = grown(&anew, anew.asked);
        row(
            "memory of the catalogue, built anew, after 600 queries, without pages of files",
            own,
            "MiB",
            "-",
        );
        row(
            "process with store and restored catalogue after 600 queries, everything resident",
            mebibytes(restored.asked.all),
            "MiB",
            "<= 512 MiB",
        );
        row("catalogue from records until its words are on disk", anew.ready_seconds, "s", "-");
        row("snapshot written and synced", anew.save_seconds, "s", "-");
        row("snapshot, length", mebibytes(anew.snapshot_bytes), "MiB", "-");
        row("catalogue from the snapshot", restored.ready_seconds, "s", "-");
        Ok(rows)
    }

    /// New listings while queries of both kinds run.
    fn load(&mut self, size: u32) -> Result<Vec<Row>, Failed> {
        let count = u32::try_from(load::LISTINGS).unwrap_or(u32::MAX);
        let made = self.corpus.more(count)?;
        self.teach_peers(&made)?;
        let (filters, words) = queries();
        let mixed: Vec<Query> =
            filters.into_iter().zip(words).flat_map(|(one, other)| [one, other]).collect();
        let entries = made.into_iter().map(|one| one.entry).collect();
        let reached = load::run(&self.catalog, entries, &mixed);
        let row = |what: &str, side: &load::Side| {
            let what = format!(
                "{what} under load, {size} listings: {:.0} a second reached, p99 {:.0} us",
                side.per_second,
                side.times.p99()
            );
            Row::of("P5", what, &side.times.samples(), "us").with_goal("1000 a second of each")
        };
        Ok(vec![row("a page", &reached.queries), row("an insertion", &reached.inserts)])
    }
}

/// A row of two medians, with what one in a hundred takes longer than.
fn compared(what: &str, goal: &'static str, ours: &Times, theirs: &Times) -> Row {
    let ours = ours.beside(theirs);
    let what = format!("{what}; p99 {:.0} and {:.0} us", ours.p99(), theirs.p99());
    Row::of("P5", what, &ours.samples(), "us").beside(&Ok(theirs.samples())).with_goal(goal)
}

/// Waits until this process has nothing to do: our index of words merges on its own.
fn wait_until_quiet() -> Result<(), Failed> {
    const PAUSE: Duration = Duration::from_secs(1);
    let since = Instant::now();
    let mut used = programs::processor_seconds("self")?;
    while since.elapsed() < QUIET_MAX {
        std::thread::sleep(PAUSE);
        let now = programs::processor_seconds("self")?;
        if now - used < 0.05 {
            return Ok(());
        }
        used = now;
    }
    Ok(())
}

/// Figures by size.
#[derive(Default)]
struct Growth(Vec<(String, Vec<(f64, f64)>)>);

impl Growth {
    fn add(&mut self, size: u32, what: &str, figure: f64) {
        let point = (f64::from(size), figure);
        match self.0.iter_mut().find(|(known, _)| known == what) {
            Some((_, points)) => points.push(point),
            None => self.0.push((what.to_owned(), vec![point])),
        }
    }

    fn rows(&self) -> Vec<Row> {
        let row = |(what, points): &(String, Vec<(f64, f64)>)| {
            let slope = exponent(points).filter(|slope| slope.is_finite())?;
            let said: Vec<String> =
                points.iter().map(|(size, figure)| format!("{size} {figure:.3}")).collect();
            let what = format!("exponent of finding, {what}: {}", said.join(", "));
            let mut row =
                Row::of("P18", what, &[slope].into_iter().collect(), "-").with_goal("<= 1");
            row.n = points.len();
            Some(row)
        };
        self.0.iter().filter_map(row).collect()
    }
}
