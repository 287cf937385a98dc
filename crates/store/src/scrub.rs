//! Looking at everything that is kept, to find damage while there may still be good copies elsewhere. Nothing is
//! changed; mending is for the caller: damaged blobs through [`Store::repair`], rows by writing them again, strays
//! through [`Store::sweep`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{self, Shape};

use crate::batch::Batch;
use crate::blob::Check;
use crate::error::{BlobDamage, BlobError, ReadError, Row};
use crate::row::{BlobRow, PartialRow};
use crate::store::Store;
use crate::table::{
    BLOBS, COUNTERS_KEY, Collection, META, PACKAGES, PARTIALS, PIECE_LIST, RECORD_IDS, RECORDS,
    TREES, Table, all_tables, parse_hash, parse_record_key, parse_tree_key, unseal,
};

/// Rows that are looked at in one transaction, and their bytes.
const PAGE_MAX_ROWS: usize = 1024;
const PAGE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Longest pause between two looks at the stop flag while reading slowly.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScrubItem {
    /// A row is damaged, or a row of a blob's tree is gone or wrong.
    Row(Row),
    /// A blob's file is damaged or gone.
    Blob {
        /// The blob.
        hash: Hash,
        /// What is wrong with it.
        damage: BlobDamage,
    },
    /// A blob's file could not be read at all.
    Unreadable {
        /// The blob.
        hash: Hash,
        /// What the system said.
        why: String,
    },
    /// A file that no row names. Harmless.
    StrayFile {
        /// Where it is.
        path: PathBuf,
        /// Its length, bytes.
        len_bytes: u64,
    },
    /// A tree of no blob. Harmless.
    StrayTree {
        /// Whose it was.
        hash: Hash,
    },
    /// A partial blob of no use: its file is gone, or the whole blob is here. Harmless.
    StalePartial {
        /// The blob.
        hash: Hash,
    },
}

/// What a scrub looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub struct ScrubReport {
    /// Rows.
    pub rows: u64,
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Things that were reported.
    pub problems: u64,
    /// Whether it was told to stop before it was through.
    pub stopped: bool,
}

/// Keeps reading below a rate, and notices when to stop.
struct Pace<'a> {
    bytes_per_s: Option<u64>,
    stop: &'a AtomicBool,
    begun: Instant,
    read_bytes: AtomicU64,
}

impl Pace<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn after(&self, len: usize) -> Result<(), BlobError> {
        let read = self.read_bytes.fetch_add(len as u64, Ordering::Relaxed) as f64 + len as f64;
        if let Some(rate) = self.bytes_per_s {
            let due = Duration::try_from_secs_f64(read / rate.max(1) as f64);
            let due = due.unwrap_or(Duration::MAX);
            while !self.stopped()
                && let Some(left) = due.checked_sub(self.begun.elapsed())
                && !left.is_zero()
            {
                thread::sleep(left.min(PAUSE_MAX));
            }
        }
        if self.stopped() { Err(BlobError::Interrupted) } else { Ok(()) }
    }
}

/// One run.
struct Scrub<'a, V> {
    store: &'a Store,
    pace: Pace<'a>,
    visit: V,
    report: ScrubReport,
}

impl Store {
    /// Checks every row, every blob and its tree, and looks for files and trees without a row; shows what is wrong to
    /// `visit`. Blocking, for as long as reading everything takes: at most `bytes_per_s` of files, if given, as fast as
    /// the disk otherwise. Ends early when `stop` is set. Other work goes on; what it adds or removes meanwhile may or
    /// may not be looked at, and is never reported wrongly.
    ///
    /// # Errors
    /// [`ReadError`] if a table cannot be read at all.
    pub fn scrub(
        &self,
        bytes_per_s: Option<u64>,
        stop: &AtomicBool,
        visit: impl FnMut(ScrubItem),
    ) -> Result<ScrubReport, ReadError> {
        let pace = Pace { bytes_per_s, stop, begun: Instant::now(), read_bytes: AtomicU64::new(0) };
        let report = ScrubReport::default();
        let mut scrub = Scrub { store: self, pace, visit, report };
        for table in [META].into_iter().chain(all_tables()) {
            scrub.rows(table)?;
        }
        scrub.blobs()?;
        scrub.strays()?;
        scrub.partials()?;
        scrub.report.stopped = stop.load(Ordering::Relaxed);
        Ok(scrub.report)
    }
}

impl<V: FnMut(ScrubItem)> Scrub<'_, V> {
    fn report(&mut self, item: ScrubItem) {
        self.report.problems = self.report.problems.saturating_add(1);
        (self.visit)(item);
    }

    /// Shows the rows of a table page by page, until told to stop.
    fn pages(
        &mut self,
        table: Table,
        mut each: impl FnMut(&mut Self, Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut after: Option<Vec<u8>> = None;
        while !self.pace.stopped() {
            let shared = &self.store.inner.shared;
            let page = shared.page(table, after.as_deref(), PAGE_MAX_ROWS, PAGE_MAX_BYTES)?;
            after = page.rows.last().map(|(key, _)| key.clone());
            each(self, page.rows)?;
            if !page.more {
                break;
            }
        }
        Ok(())
    }

    fn rows(&mut self, table: Table) -> Result<(), ReadError> {
        self.pages(table, |scrub, rows| {
            for (key, value) in rows {
                scrub.report.rows = scrub.report.rows.saturating_add(1);
                if unseal(table, &key, &value).is_none() {
                    scrub.report(ScrubItem::Row(row_name(table, &key)));
                }
            }
            Ok(())
        })
    }

    fn blobs(&mut self) -> Result<(), ReadError> {
        self.pages(BLOBS, |scrub, rows| {
            for (key, value) in rows {
                let Some(hash) = parse_hash(&key) else { continue };
                // Damaged rows were reported already.
                let row = unseal(BLOBS, &key, &value).and_then(BlobRow::parse);
                let Some(row) = row else { continue };
                scrub.report.blobs = scrub.report.blobs.saturating_add(1);
                match row {
                    BlobRow::Inline(bytes) => scrub.inline(hash, bytes),
                    BlobRow::File { len_bytes } => scrub.file(hash, len_bytes),
                }
                if scrub.pace.stopped() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn inline(&mut self, hash: Hash, bytes: &[u8]) {
        self.report.blob_bytes = self.report.blob_bytes.saturating_add(bytes.len() as u64);
        if Hash::of(bytes) != hash {
            let damage = BlobDamage::Content { pieces: 1, first_offset: 0 };
            self.report(ScrubItem::Blob { hash, damage });
        }
    }

    fn file(&mut self, hash: Hash, len_bytes: u64) {
        let shape = Shape::of(len_bytes);
        let file = self.store.source(&hash, len_bytes);
        let checked = file.and_then(|file| {
            let pace = |len| self.pace.after(len);
            Check::run(&self.store.inner.shared, &hash, &*file, shape, &pace)
        });
        let check = match checked {
            Ok(check) => check,
            Err(BlobError::Interrupted | BlobError::Missing { .. }) => return,
            Err(BlobError::Damaged { damage, .. }) => {
                // Forgotten or mended meanwhile is not damaged.
                if matches!(self.store.source(&hash, len_bytes), Err(BlobError::Damaged { .. })) {
                    self.report(ScrubItem::Blob { hash, damage });
                }
                return;
            }
            Err(error) => {
                let why = error.to_string();
                return self.report(ScrubItem::Unreadable { hash, why });
            }
        };
        self.report.blob_bytes = self.report.blob_bytes.saturating_add(len_bytes);
        match check.damage() {
            Some(damage) => self.report(ScrubItem::Blob { hash, damage }),
            None => self.tree(hash, shape, &check),
        }
    }

    /// Whether the tree of a good blob is there and right.
    fn tree(&mut self, hash: Hash, shape: Shape, check: &Check) {
        let shared = &self.store.inner.shared;
        let mut wrong = Vec::new();
        if shape.pieces() > 1
            && let Ok(list) = shared.tree_row(&hash, PIECE_LIST)
            && list.as_ref() != Some(&check.pieces)
        {
            wrong.push(None);
        }
        for (number, cv) in (0_u32..).zip(&check.pieces) {
            // Rows whose seal is broken were reported already.
            let Ok(groups) = shared.tree_row(&hash, number) else { continue };
            let count = shape.piece(u64::from(number)).groups();
            let right = groups
                .is_some_and(|cvs| cvs.len() as u64 == count && tree::merge(&cvs) == Some(*cv));
            if !right {
                wrong.push(Some(u64::from(number)));
            }
        }
        // Forgotten meanwhile, it has no tree any more.
        if !wrong.is_empty() && matches!(self.store.has_blob(&hash), Ok(true)) {
            for piece in wrong {
                self.report(ScrubItem::Row(Row::Tree { hash, piece }));
            }
        }
    }

    /// Files and trees that no row names. What looks like one may be on its way in or out, so the second look is taken
    /// while the writer stands still.
    fn strays(&mut self) -> Result<(), ReadError> {
        let mut trees = Vec::new();
        self.pages(TREES, |scrub, rows| {
            for (key, _) in rows {
                let Some((hash, _)) = parse_tree_key(&key) else { continue };
                if trees.last() != Some(&hash) && scrub.is_unnamed(&hash) {
                    trees.push(hash);
                }
            }
            Ok(())
        })?;
        for hash in self.still_unnamed(trees) {
            self.report(ScrubItem::StrayTree { hash });
        }
        for first in 0..=u8::MAX {
            if self.pace.stopped() {
                return Ok(());
            }
            let mut files = self.store.inner.shared.shelf.list(first).unwrap_or_default();
            files.retain(|(hash, _)| self.is_unnamed(hash));
            let unnamed = self.still_unnamed(files.iter().map(|(hash, _)| *hash).collect());
            files.retain(|(hash, _)| unnamed.contains(hash));
            for (hash, len_bytes) in files {
                let path = self.store.inner.shared.shelf.name(&hash);
                self.report(ScrubItem::StrayFile { path, len_bytes });
            }
        }
        Ok(())
    }

    fn is_unnamed(&self, hash: &Hash) -> bool {
        let key = hash.as_bytes().as_slice();
        let named = self.store.inner.shared.read(|transaction| {
            let blob = transaction.open_table(BLOBS)?.get(key)?.is_some();
            Ok(blob || transaction.open_table(PARTIALS)?.get(key)?.is_some())
        });
        matches!(named, Ok(false))
    }

    fn still_unnamed(&self, mut hashes: Vec<Hash>) -> Vec<Hash> {
        if hashes.is_empty() {
            return hashes;
        }
        let held = self.store.inner.writer.hold(|| {
            hashes.retain(|hash| self.is_unnamed(hash));
            Batch::new()
        });
        if held.is_ok() { hashes } else { Vec::new() }
    }

    fn partials(&mut self) -> Result<(), ReadError> {
        self.pages(PARTIALS, |scrub, rows| {
            for (key, value) in rows {
                let row = unseal(PARTIALS, &key, &value).and_then(PartialRow::parse);
                let (Some(hash), Some(row)) = (parse_hash(&key), row) else { continue };
                let layout = &scrub.store.inner.shared.layout;
                let found = layout.partial_file(&hash).metadata();
                let lost = found.map_or(true, |file| file.len() != row.shape.len_bytes());
                let whole = matches!(scrub.store.has_blob(&hash), Ok(true));
                // One with no piece saved has nothing to lose.
                if (lost && row.saved_bytes() > 0) || whole {
                    scrub.report(ScrubItem::StalePartial { hash });
                }
            }
            Ok(())
        })
    }
}

/// What a row is called, as far as its key can be read.
fn row_name(table: Table, key: &[u8]) -> Row {
    use redb::TableHandle as _;
    let name = table.name();
    let named = if name == RECORDS.name() {
        parse_record_key(key).map(|(author, seq)| Row::Record { author, seq })
    } else if name == RECORD_IDS.name() {
        parse_hash(key).map(|hash| Row::RecordId(guildhall_protocol::RecordId(hash)))
    } else if name == PACKAGES.name() {
        parse_hash(key).map(|hash| Row::Package(guildhall_protocol::PackageId(hash)))
    } else if name == BLOBS.name() {
        parse_hash(key).map(Row::Blob)
    } else if name == PARTIALS.name() {
        parse_hash(key).map(Row::Partial)
    } else if name == TREES.name() {
        let piece = |piece| (piece != PIECE_LIST).then_some(u64::from(piece));
        parse_tree_key(key).map(|(hash, number)| Row::Tree { hash, piece: piece(number) })
    } else if name == META.name() && key == COUNTERS_KEY {
        Some(Row::Counters)
    } else {
        let collection = Collection::ALL.into_iter().find(|found| found.table().name() == name);
        collection.map(|collection| Row::Document { collection, key: key.to_vec() })
    };
    named.unwrap_or_else(|| Row::Unknown { table: name.to_owned(), key: key.to_vec() })
}
