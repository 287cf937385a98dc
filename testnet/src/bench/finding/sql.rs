//! SQLite with FTS5, as one would set it up for these listings.
//!
//! One narrow table of numbers, with an index on each; categories and port types in tables of their own, clustered by
//! what is asked for, categories then by standing, so that the best come first; the listing apart, so that it is only
//! read when it is shown; stems in a contentless FTS5 table. `ANALYZE` and FTS5's `optimize` run before it is measured;
//! the cache and the mapping are large enough for everything.

use std::fmt::Write as _;
use std::path::Path;

use guildhall_protocol::body::Listing;
use guildhall_protocol::cbor;
use guildhall_protocol::limits::RECORD_MAX_BYTES;
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::plain::{Filter, Plain, PlainQuery};
use super::{Failed, RESULTS, failed};

const SETTINGS: &str = "
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA cache_size = -524288;
    PRAGMA mmap_size = 8589934592;
    PRAGMA temp_store = MEMORY;";

const TABLES: &str = "
    CREATE TABLE listing(
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL, latency_ms REAL, accuracy REAL,
        memory_bytes INTEGER NOT NULL, standing REAL NOT NULL);
    CREATE INDEX by_kind ON listing(kind, standing);
    CREATE INDEX by_latency ON listing(latency_ms);
    CREATE INDEX by_accuracy ON listing(accuracy);
    CREATE INDEX by_memory ON listing(memory_bytes);
    CREATE INDEX by_standing ON listing(standing);
    CREATE TABLE category(
        name TEXT NOT NULL, standing REAL NOT NULL, id INTEGER NOT NULL,
        PRIMARY KEY(name, standing DESC, id)) WITHOUT ROWID;
    CREATE INDEX category_of ON category(id, name);
    CREATE TABLE port(
        id INTEGER NOT NULL, type TEXT NOT NULL, PRIMARY KEY(id, type)) WITHOUT ROWID;
    CREATE INDEX port_by_type ON port(type, id);
    CREATE TABLE body(id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
    CREATE VIRTUAL TABLE words USING fts5(
        name, keywords, categories, summary,
        content = '', detail = column, tokenize = 'unicode61 remove_diacritics 0');";

/// The database.
pub(super) struct Sql {
    connection: Connection,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Best(Order),
    Count,
}

/// What answers without words are ordered by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The column of the listing.
    Listing,
    /// The same number in the table of categories, whose rows are in that order already: answers to queries with a
    /// category, which all have here, can be read off until there are enough.
    Category,
}

impl Sql {
    pub(super) fn new(file: &Path) -> Result<Self, Failed> {
        let connection = Connection::open(file).map_err(failed)?;
        connection.execute_batch(SETTINGS).map_err(failed)?;
        connection.execute_batch(TABLES).map_err(failed)?;
        // Each form of a query is prepared once.
        connection.set_prepared_statement_cache_capacity(128);
        Ok(Self { connection })
    }

    pub(super) fn add(&mut self, listings: &[&Plain]) -> Result<(), Failed> {
        self.add_all(listings).map_err(failed)
    }

    fn add_all(&mut self, listings: &[&Plain]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut listing =
                transaction.prepare_cached("INSERT INTO listing VALUES(?, ?, ?, ?, ?, ?)")?;
            let mut category =
                transaction.prepare_cached("INSERT INTO category VALUES(?, ?, ?)")?;
            let mut port = transaction.prepare_cached("INSERT INTO port VALUES(?, ?)")?;
            let mut body = transaction.prepare_cached("INSERT INTO body VALUES(?, ?)")?;
            let mut words = transaction.prepare_cached(
                "INSERT INTO words(rowid, name, keywords, categories, summary) VALUES(?, ?, ?, ?, ?)",
            )?;
            for one in listings {
                let id = one.number;
                listing.execute(params![
                    id,
                    one.kind,
                    one.latency_ms,
                    one.accuracy,
                    signed(one.memory_bytes),
                    one.standing
                ])?;
                for name in &one.categories {
                    category.execute(params![name, one.standing, id])?;
                }
                for (side, types) in [("takes", &one.takes), ("yields", &one.yields)] {
                    for port_type in types {
                        port.execute(params![id, format!("{side} {port_type}")])?;
                    }
                }
                body.execute(params![id, one.body])?;
                let [name, keywords, categories, summary] = &one.words;
                words.execute(params![id, name, keywords, categories, summary])?;
            }
        }
        transaction.commit()
    }

    /// Lets it look at what it has, so that it plans well.
    pub(super) fn settle(&self) -> Result<(), Failed> {
        let optimise = "INSERT INTO words(words) VALUES('optimize'); ANALYZE;";
        self.connection.execute_batch(optimise).map_err(failed)
    }

    /// Numbers of the best, in order: by standing without words, else by BM25.
    pub(super) fn ids(&self, query: &PlainQuery, order: Order) -> Result<Vec<u32>, Failed> {
        let (text, values) = statement(query, Wanted::Best(order));
        let mut statement = self.connection.prepare_cached(&text).map_err(failed)?;
        let rows = statement.query_map(params_from_iter(values), |row| row.get(0));
        rows.map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
    }

    /// How many answer, and the best of them as listings.
    pub(super) fn page(&self, query: &PlainQuery) -> Result<(u64, Vec<Listing>), Failed> {
        let (text, values) = statement(query, Wanted::Count);
        let mut statement = self.connection.prepare_cached(&text).map_err(failed)?;
        let count: i64 =
            statement.query_row(params_from_iter(values), |row| row.get(0)).map_err(failed)?;
        let read = "SELECT bytes FROM body WHERE id = ?";
        let mut read = self.connection.prepare_cached(read).map_err(failed)?;
        let mut listings = Vec::new();
        for id in self.ids(query, Order::Category)? {
            let bytes: Vec<u8> = read.query_row([id], |row| row.get(0)).map_err(failed)?;
            listings.push(cbor::decode(&bytes, RECORD_MAX_BYTES).map_err(failed)?);
        }
        Ok((u64::try_from(count).unwrap_or_default(), listings))
    }
}

/// SQLite's integers have a sign; everything beyond is as good as infinite.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn statement(query: &PlainQuery, wanted: Wanted) -> (String, Vec<Value>) {
    let mut from = String::from("listing l");
    let mut conditions = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    let mut order = "l.standing DESC";
    if !query.words.is_empty() {
        from.push_str(" JOIN words w ON w.rowid = l.id");
        conditions.push("words MATCH ?".to_owned());
        let words: Vec<String> = query.words.iter().map(|word| format!("\"{word}\"")).collect();
        values.push(Value::Text(words.join(" OR ")));
        order = "bm25(words, 1.0, 0.8, 0.8, 0.6)";
    }
    for filter in &query.filters {
        match filter {
            Filter::Kind(kind) => {
                conditions.push("l.kind = ?".to_owned());
                values.push(Value::Text((*kind).to_owned()));
            }
            Filter::Category(prefix) => {
                from.push_str(" JOIN category c ON c.id = l.id");
                conditions.push("c.name = ?".to_owned());
                values.push(Value::Text(prefix.clone()));
                if query.words.is_empty() && wanted == Wanted::Best(Order::Category) {
                    order = "c.standing DESC";
                }
            }
            Filter::Takes(types) => ports("takes", types, &mut conditions, &mut values),
            Filter::Yields(types) => ports("yields", types, &mut conditions, &mut values),
            Filter::LatencyAtMost(max) => {
                conditions.push("l.latency_ms <= ?".to_owned());
                values.push(Value::Real(*max));
            }
            Filter::AccuracyAtLeast(min) => {
                conditions.push("l.accuracy >= ?".to_owned());
                values.push(Value::Real(*min));
            }
            Filter::MemoryAtMost(max) => {
                conditions.push("l.memory_bytes <= ?".to_owned());
                values.push(Value::Integer(signed(*max)));
            }
        }
    }
    let what = if wanted == Wanted::Count { "count(*)" } else { "l.id" };
    let mut text = format!("SELECT {what} FROM {from} WHERE {}", conditions.join(" AND "));
    if wanted != Wanted::Count {
        // Writing to a text does not fail.
        let _ = write!(text, " ORDER BY {order} LIMIT {RESULTS}");
    }
    (text, values)
}

fn ports(side: &str, types: &[String], conditions: &mut Vec<String>, values: &mut Vec<Value>) {
    let marks = vec!["?"; types.len()].join(", ");
    conditions
        .push(format!("EXISTS(SELECT 1 FROM port p WHERE p.id = l.id AND p.type IN ({marks}))"));
    values.extend(types.iter().map(|one| Value::Text(format!("{side} {one}"))));
}
