//! A process that has nothing but a catalogue: its memory, and how long it takes to be there.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, ValueEnum};
use guildhall_catalog::text::TextIndex;
use guildhall_catalog::{Asked, Catalog, Entry};
use guildhall_protocol::body::Listing;
use guildhall_protocol::record::Record;
use guildhall_protocol::{FederationId, Hash};
use guildhall_text::DiskIndex;
use serde::{Deserialize, Serialize};

use super::corpus::{Records, open_store, read_orgs};
use super::plain::DAY;
use super::{Failed, failed, queries};
use crate::bench::programs::{Memory, memory};

/// How the catalogue comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum How {
    /// From the records; a snapshot of it is written.
    Anew,
    /// From that snapshot.
    Restored,
}

/// What such a process is told; the benchmark starts it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Alone {
    /// Folder of the store
    folder: PathBuf,
    /// Where the catalogue comes from
    how: How,
}

/// What it says.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) listings: usize,
    /// Until the catalogue was there and its words were on disk.
    pub(super) ready_seconds: f64,
    /// Until the snapshot was on disk, if one was written.
    pub(super) save_seconds: f64,
    pub(super) snapshot_bytes: u64,
    /// What was resident before the catalogue was there, with the store open.
    pub(super) before: Resident,
    pub(super) ready: Resident,
    /// After queries of both kinds.
    pub(super) asked: Resident,
}

/// Resident memory, bytes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Resident {
    /// All of it.
    pub(super) all: u64,
    /// Without pages of files, which the system takes back when it needs them.
    pub(super) own: u64,
}

impl Resident {
    fn now() -> Result<Self, Failed> {
        let Memory { now_bytes, own_bytes, .. } = memory(std::process::id())?;
        Ok(Self { all: now_bytes, own: own_bytes })
    }
}

/// Starts such a process and waits for what it says.
pub(super) fn ask(folder: &Path, how: How) -> Result<Said, Failed> {
    let how = how.to_possible_value().ok_or_else(|| failed("a way without a name"))?;
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.arg("alone").arg(folder).arg(how.get_name());
    let output = command.output().map_err(failed)?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(failed)
}

impl Alone {
    /// Does it, and prints what it says.
    pub(crate) fn run(&self, say: impl FnOnce(&str)) -> Result<(), Failed> {
        let store = open_store(&self.folder)?;
        let before = Resident::now()?;
        let shelf = Arc::new(Records(store.clone()));
        let words = self.folder.join("words-alone");
        let snapshot = self.folder.join("snapshot");
        let of = FederationId(Hash::from_bytes([7; 32]));
        let mut said = Said { before, ..Said::default() };
        let since = Instant::now();
        let catalog = match self.how {
            How::Anew => {
                let mut catalog = Catalog::with_text(open_words(&words, 0).map_err(failed)?);
                catalog.set_shelf(shelf);
                catalog.set_day(DAY);
                self.fill(&mut catalog, &store)?;
                catalog.text_mut().keep().map_err(failed)?;
                said.ready_seconds = since.elapsed().as_secs_f64();
                said.ready = Resident::now()?;
                let since = Instant::now();
                said.snapshot_bytes = save(&catalog, of, &snapshot).map_err(failed)?;
                said.save_seconds = since.elapsed().as_secs_f64();
                catalog
            }
            How::Restored => {
                let file = File::open(&snapshot).map_err(failed)?;
                let mut input = BufReader::with_capacity(1 << 20, file);
                let open = |keep_below| open_words(&words, keep_below);
                let catalog = Catalog::restore(of, &mut input, shelf, open).map_err(failed)?;
                said.ready_seconds = since.elapsed().as_secs_f64();
                said.ready = Resident::now()?;
                catalog
            }
        };
        let (filters, with_words) = queries();
        for query in filters.iter().chain(&with_words) {
            let _answer = catalog.search(query, Asked::default());
        }
        said.asked = Resident::now()?;
        said.listings = catalog.len();
        say(&serde_json::to_string(&said).map_err(failed)?);
        Ok(())
    }

    /// Inserts everything that the store has, log by log.
    fn fill(&self, catalog: &mut Catalog, store: &guildhall_store::Store) -> Result<(), Failed> {
        let orgs = read_orgs(&self.folder)?;
        let mut lost = 0_u64;
        let report = store.for_each_record(|stored| {
            let (author, seq) = (stored.author, stored.seq);
            let entry = Record::open_kept(&stored.bytes).ok().and_then(|record| {
                let listing = record.body_as::<Listing>()?.ok()?;
                let header = record.header();
                Some(Entry {
                    org: orgs.get(&header.root)?.clone(),
                    root: header.root,
                    listing: Arc::new(listing),
                    listing_id: record.id(),
                    seq,
                    author,
                    time_ms: header.time_ms,
                })
            });
            match entry {
                Some(entry) => {
                    catalog.insert(entry, true);
                }
                None => lost += 1,
            }
        });
        let report = report.map_err(failed)?;
        match lost == 0 && report.is_complete() {
            true => Ok(()),
            false => Err(failed(format!("{lost} records are of no use; {report:?}"))),
        }
    }
}

fn open_words(folder: &Path, keep_below: u32) -> io::Result<Box<dyn TextIndex>> {
    std::fs::create_dir_all(folder)?;
    Ok(Box::new(DiskIndex::open(folder, keep_below)?))
}

/// Writes and syncs a snapshot as a node does; says how long it is.
fn save(catalog: &Catalog, of: FederationId, path: &Path) -> io::Result<u64> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    catalog.save(of, &mut out)?;
    out.flush()?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}
