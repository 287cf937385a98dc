//! The catalogue on disk, so that a start need not read every listing.
//!
//! A snapshot has the rows of listings whose records are on disk, and what belongs to them; sets are made again from the
//! rows, and records that came after the snapshot are evaluated as at every start. What it says is checked against the
//! logs by whoever restores it ([`Catalog::retain`]). It is never the only place of anything: one that is damaged, of
//! another version or does not go with the text index is given up, and the records are read instead.
//!
//! The file is a sequence of chunks: length, hash of the content, content. The first one is the [`Head`]; names and rows
//! follow, some thousand to a chunk.

use std::io::{self, Read, Write};
use std::sync::Arc;

use guildhall_protocol::name::{Category, CategoryPrefix, OrgName};
use guildhall_protocol::{FederationId, Hash, PackageId, PublicKey, RecordId, api};
use roaring::RoaringBitmap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::alike::Skeletons;
use crate::catalog::{Catalog, start_of};
use crate::listings::Shelf;
use crate::rank::{BadRanking, Ranking};
use crate::row::{Row, SavedSymbols};
use crate::text::TextIndex;
use crate::words::Terms;

/// Goes up with every change of the format.
const VERSION: u32 = 1;

/// Names or rows in one chunk: about a megabyte.
const CHUNK: usize = 4_096;

/// Longest chunk, bytes. The head is the longest: symbols, orgs and counts of a million listings have some ten MiB.
const CHUNK_MAX_BYTES: u32 = 256 * 1024 * 1024;

/// Numbers for each row that counts, above which the catalogue is better built anew: replaced rows leave theirs unused.
const NUMBERS_PER_ROW_MAX: u64 = 2;

/// Listings that are read again for their words, whatever share of all they are: less than a second's work.
const WORDS_AGAIN_MAX: u32 = 10_000;

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    of: FederationId,
    next: u32,
    day: u32,
    home: Option<PublicKey>,
    ranking: api::Ranking,
    roots: Vec<PublicKey>,
    authors: Vec<PublicKey>,
    /// Names of orgs and the roots that are called so.
    orgs: Vec<(OrgName, Vec<u32>)>,
    name_orgs: Vec<OrgName>,
    symbols: SavedSymbols,
    skeletons: Vec<(u32, u32)>,
    uses: Vec<(PackageId, u32)>,
    holders: Vec<(PackageId, u16)>,
    #[serde(with = "serde_bytes")]
    shown: Vec<u8>,
    #[serde(with = "serde_bytes")]
    latest: Vec<u8>,
    names: u32,
    rows: u32,
}

/// Why a snapshot is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not say what it should.
    #[error("the snapshot is damaged or of another version: {0}")]
    Damaged(&'static str),
    /// It is of another federation.
    #[error("the snapshot is of another federation")]
    OtherFederation,
    /// Most of its numbers are unused.
    #[error("most of what the snapshot counted was replaced since")]
    Worn,
    /// The text index lacks most of it.
    #[error("the index of words does not go with the snapshot")]
    OtherText,
}

impl Catalog {
    /// Whether the text index has everything on disk, so that a snapshot is worth keeping. It has after
    /// [`keep`](TextIndex::keep), if it is of the kind that has anything on disk.
    #[must_use]
    pub fn is_text_kept(&self) -> bool {
        self.text.kept_below() >= self.next_number()
    }

    /// Writes a snapshot for the federation `of`. The text index must be [kept](TextIndex::keep) before.
    ///
    /// # Errors
    /// What `out` says.
    pub fn save(&self, of: FederationId, out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<u32> =
            self.live.iter().filter(|number| self.listings.is_on_shelf(*number)).collect();
        let kept: RoaringBitmap = rows.iter().copied().collect();
        let bytes = |set: &RoaringBitmap| {
            let mut bytes = Vec::new();
            (set & &kept).serialize_into(&mut bytes).map(|()| bytes)
        };
        let (name_orgs, names) = self.names.save();
        let head = Head {
            version: VERSION,
            of,
            next: self.next_number(),
            day: self.day,
            home: self.home,
            ranking: api::Ranking {
                weights: self.ranking.weights.by_name(),
                trust: self.ranking.trust.clone(),
            },
            roots: self.roots.values().to_vec(),
            authors: self.authors.values().to_vec(),
            orgs: self.orgs.iter().map(|(o, r)| (o.clone(), r.iter().copied().collect())).collect(),
            name_orgs,
            symbols: self.symbols.save(),
            skeletons: self.skeletons.save(),
            uses: self.opinions.save_uses(),
            holders: self.opinions.save_holders(),
            shown: bytes(&self.sets.shown)?,
            latest: bytes(&self.sets.latest)?,
            names: u32::try_from(names.len()).unwrap_or(u32::MAX),
            rows: u32::try_from(rows.len()).unwrap_or(u32::MAX),
        };
        write_chunk(out, &head)?;
        names.chunks(CHUNK).try_for_each(|chunk| write_chunk(out, &chunk))?;
        rows.chunks(CHUNK).try_for_each(|chunk| {
            let rows: Vec<(u32, &Row)> =
                chunk.iter().filter_map(|number| Some((*number, self.row(*number)?))).collect();
            write_chunk(out, &rows)
        })
    }

    /// Reads a snapshot for the federation `of`. `open_text` opens the text index without what was numbered from its argument on.
    ///
    /// # Errors
    /// [`RestoreError`]; then the records have to be read.
    pub fn restore(
        of: FederationId,
        input: &mut dyn Read,
        shelf: Arc<dyn Shelf>,
        open_text: impl FnOnce(u32) -> io::Result<Box<dyn TextIndex>>,
    ) -> Result<Self, RestoreError> {
        let head: Head = read_chunk(input)?;
        if head.version != VERSION {
            return Err(RestoreError::Damaged("version"));
        }
        if head.of != of {
            return Err(RestoreError::OtherFederation);
        }
        if u64::from(head.next) > NUMBERS_PER_ROW_MAX * u64::from(head.rows) + CHUNK as u64 {
            return Err(RestoreError::Worn);
        }
        let text = open_text(head.next)?;
        let kept_below = text.kept_below();
        if head.next.saturating_sub(kept_below) > WORDS_AGAIN_MAX.max(head.next / 2) {
            return Err(RestoreError::OtherText);
        }
        let mut catalog = Self::with_text(text);
        catalog.set_shelf(shelf);
        let names = read_chunks::<(u32, String)>(input, head.names)?;
        let (next, shown, latest) = (head.next, bitmap(&head.shown)?, bitmap(&head.latest)?);
        let rows = head.rows;
        catalog.take_head(head, names)?;
        let mut left = rows;
        while left > 0 {
            let chunk: Vec<(u32, Row)> = read_chunk(input)?;
            left = left
                .checked_sub(u32::try_from(chunk.len()).unwrap_or(u32::MAX))
                .filter(|_| !chunk.is_empty())
                .ok_or(RestoreError::Damaged("rows"))?;
            for (number, row) in chunk {
                catalog.take_row(number, row, next)?;
            }
        }
        while catalog.next_number() < next {
            catalog.rows.push(Row::gone());
        }
        catalog.sets.shown = shown & &catalog.live;
        catalog.sets.latest = latest & &catalog.live;
        catalog.versions_count = catalog.count_versions();
        catalog.put_words_from(kept_below);
        Ok(catalog)
    }

    fn take_head(&mut self, head: Head, names: Vec<(u32, String)>) -> Result<(), RestoreError> {
        let damaged = |_: BadRanking| RestoreError::Damaged("ranking");
        self.ranking = Ranking::default().changed(&head.ranking).map_err(damaged)?;
        self.day = head.day;
        self.home = head.home;
        self.roots.fill(head.roots);
        self.authors.fill(head.authors);
        self.orgs = head.orgs.into_iter().map(|(o, r)| (o, r.into_iter().collect())).collect();
        self.names.fill(head.name_orgs, names);
        self.symbols.fill(head.symbols);
        self.skeletons = Skeletons::restored(head.skeletons);
        self.opinions.fill(head.uses, head.holders);
        Ok(())
    }

    fn take_row(&mut self, number: u32, row: Row, next: u32) -> Result<(), RestoreError> {
        let is_next = number >= self.next_number() && number < next;
        let is_known = self.names.get(row.name).is_some()
            && self.roots.value(row.root).is_some()
            && self.authors.value(row.author).is_some();
        if !is_next || !is_known {
            return Err(RestoreError::Damaged("a row"));
        }
        while self.next_number() < number {
            self.rows.push(Row::gone());
        }
        self.sets.push(number, &row, &self.symbols);
        self.live.insert(number);
        self.packages.insert((start_of(row.package), number));
        let name = row.name;
        self.rows.push(row);
        self.add_to_name(name, number);
        Ok(())
    }

    fn count_versions(&self) -> usize {
        let names = self.names.in_order();
        names.map(|name| self.versions_by(name, |_| true).len()).sum()
    }

    /// Gives the text index the words of rows that it does not have on disk.
    fn put_words_from(&mut self, kept_below: u32) {
        let numbers: Vec<u32> = self.live.range(kept_below..).collect();
        for number in numbers {
            match self.entry(number) {
                Some(entry) => self.text.put(number, &Terms::of(&entry.listing)),
                None => self.drop_and_settle(number),
            }
        }
    }

    /// Forgets every listing for which `is_there` does not hold, given its author, its position in the author's log and
    /// its record; says how many those were.
    pub fn retain(&mut self, is_there: impl Fn(&PublicKey, u64, &RecordId) -> bool) -> usize {
        let gone: Vec<u32> = self
            .live
            .iter()
            .filter(|number| {
                let place = self.row(*number).and_then(|row| {
                    Some((self.authors.value(row.author)?, row.seq, row.listing_id))
                });
                !place.is_some_and(|(author, seq, id)| is_there(author, seq, &id))
            })
            .collect();
        gone.iter().for_each(|number| self.drop_and_settle(*number));
        gone.len()
    }

    /// Positions of all listings in their authors' logs, and their records.
    pub fn places(&self) -> impl Iterator<Item = (&PublicKey, u64, RecordId)> {
        let rows = self.live.iter().filter_map(|number| self.row(number));
        rows.filter_map(|row| Some((self.authors.value(row.author)?, row.seq, row.listing_id)))
    }

    /// Categories that have a listing which lies in one of `follows` or is of the org of `root`, each once.
    #[must_use]
    pub fn categories_within(&self, follows: &[CategoryPrefix], root: &PublicKey) -> Vec<Category> {
        let own = self.roots.find(root);
        let mut symbols = RoaringBitmap::new();
        for number in &self.live {
            let Some(row) = self.row(number) else { continue };
            let all_known = row.categories().all(|symbol| symbols.contains(u32::from(symbol)));
            if all_known {
                continue;
            }
            let is_within = self.brief(number).is_some_and(|brief| brief.is_within(follows));
            if is_within || Some(row.root) == own {
                symbols.extend(row.categories().map(u32::from));
            }
        }
        symbols.iter().filter_map(|symbol| self.symbols.categories.value(symbol).cloned()).collect()
    }
}

fn write_chunk<T: Serialize + ?Sized>(out: &mut dyn Write, content: &T) -> io::Result<()> {
    let bytes = postcard::to_stdvec(content).map_err(io::Error::other)?;
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(Hash::of(&bytes).as_bytes())?;
    out.write_all(&bytes)
}

fn read_chunk<T: DeserializeOwned>(input: &mut dyn Read) -> Result<T, RestoreError> {
    let mut len = [0; 4];
    input.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len);
    if len > CHUNK_MAX_BYTES {
        return Err(RestoreError::Damaged("a length"));
    }
    let mut hash = [0; 32];
    input.read_exact(&mut hash)?;
    let mut bytes = Vec::new();
    input.take(u64::from(len)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != u64::from(len) || *Hash::of(&bytes).as_bytes() != hash {
        return Err(RestoreError::Damaged("a hash"));
    }
    postcard::from_bytes(&bytes).map_err(|_| RestoreError::Damaged("content"))
}

/// `count` values from as many chunks as they take.
fn read_chunks<T: DeserializeOwned>(
    input: &mut dyn Read,
    count: u32,
) -> Result<Vec<T>, RestoreError> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut values = Vec::new();
    while values.len() < count {
        let chunk: Vec<T> = read_chunk(input)?;
        if chunk.is_empty() {
            return Err(RestoreError::Damaged("names"));
        }
        values.extend(chunk);
    }
    Ok(values)
}

fn bitmap(bytes: &[u8]) -> Result<RoaringBitmap, RestoreError> {
    Ok(RoaringBitmap::deserialize_from(bytes)?)
}
