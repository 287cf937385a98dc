//! The catalogue on disk: a snapshot, and the index of words beside it.
//!
//! Both stand in `index/GENERATION` of the home and belong together. A catalogue that is built anew gets a new
//! generation, and the older ones are removed when it has taken its place. Nothing here cannot be made again from the
//! records, so whatever does not fit is given up and said in the log.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use guildhall_catalog::text::{MemoryIndex, TextIndex};
use guildhall_catalog::{Catalog, Shelf};
use guildhall_protocol::body::Listing;
use guildhall_protocol::record::Record;
use guildhall_protocol::{FederationId, PublicKey};
use guildhall_store::Store;
use guildhall_text::DiskIndex;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::{App, lock};

/// How often a changed catalogue is written: what the next start has to read besides when the process is killed.
const SAVE_EVERY: Duration = Duration::from_secs(60 * 60);

const SNAPSHOT: &str = "catalog";
const WORDS: &str = "words";

/// A generation of the index.
#[derive(Clone, Debug)]
pub(super) struct Index {
    folder: PathBuf,
    generation: u64,
}

impl Index {
    /// The newest one, which may not exist yet.
    fn newest(home: &Path) -> Self {
        let folder = home.join("index");
        let generation = generations(&folder).into_iter().max().unwrap_or_default();
        Self { folder, generation }
    }

    fn next(&self) -> Self {
        Self { generation: self.generation + 1, ..self.clone() }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(self.generation.to_string())
    }

    /// Removes all other generations.
    fn remove_others(&self) {
        for other in generations(&self.folder).into_iter().filter(|one| *one != self.generation) {
            if let Err(error) = fs::remove_dir_all(self.folder.join(other.to_string())) {
                warn!(%error, "an old index is not removed");
            }
        }
    }

    /// Opens the index of words without what is numbered from `keep_below` on. Should the disk refuse, words stay in
    /// memory until the next start.
    fn open_words(&self, keep_below: u32) -> Box<dyn TextIndex> {
        let path = self.path().join(WORDS);
        let opened = fs::create_dir_all(&path).and_then(|()| DiskIndex::open(&path, keep_below));
        match opened {
            Ok(index) => Box::new(index),
            Err(error) => {
                warn!(%error, "the index of words is kept in memory until the next start");
                Box::new(MemoryIndex::default())
            }
        }
    }
}

fn generations(folder: &Path) -> Vec<u64> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Listings in the store's records.
#[derive(Debug)]
struct Records(Store);

impl Shelf for Records {
    fn listing(&self, author: &PublicKey, seq: u64) -> Option<Listing> {
        let stored = match self.0.record(author, seq) {
            Ok(stored) => stored?,
            Err(error) => {
                warn!(%error, ?author, seq, "a listing cannot be read");
                return None;
            }
        };
        Record::open_kept(&stored.bytes).ok()?.body_as::<Listing>()?.ok()
    }
}

/// The catalogue that was kept for this federation, or an empty one, and the generation it is of.
pub(super) fn open(home: &Path, store: &Store, federation: FederationId) -> (Catalog, Index) {
    let index = Index::newest(home);
    let shelf: Arc<dyn Shelf> = Arc::new(Records(store.clone()));
    match restore(&index, federation, &shelf) {
        Ok(Some(catalog)) => {
            info!(listings = catalog.len(), "the catalogue is restored");
            index.remove_others();
            return (catalog, index);
        }
        Ok(None) => {}
        Err(error) => warn!(%error, "the catalogue is built anew"),
    }
    let (catalog, index) = anew(&index, store);
    index.remove_others();
    (catalog, index)
}

/// An empty index of words of the generation after `before`.
pub(super) fn words_anew(before: &Index) -> (Box<dyn TextIndex>, Index) {
    let index = before.next();
    (index.open_words(0), index)
}

/// An empty catalogue of the generation after `before`.
pub(super) fn anew(before: &Index, store: &Store) -> (Catalog, Index) {
    let (words, index) = words_anew(before);
    let mut catalog = Catalog::with_text(words);
    catalog.set_shelf(Arc::new(Records(store.clone())));
    (catalog, index)
}

fn restore(
    index: &Index,
    federation: FederationId,
    shelf: &Arc<dyn Shelf>,
) -> Result<Option<Catalog>, guildhall_catalog::RestoreError> {
    let file = match File::open(index.path().join(SNAPSHOT)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut input = BufReader::with_capacity(1 << 20, file);
    let open_words = |keep_below| Ok(index.open_words(keep_below));
    Catalog::restore(federation, &mut input, Arc::clone(shelf), open_words).map(Some)
}

/// Writes the catalogue now and then and at the end, until the node is told to stop.
pub(super) async fn run(app: Arc<App>) {
    let mut ticks = tokio::time::interval(SAVE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    let mut saved = None;
    loop {
        let is_over = tokio::select! {
            biased;
            () = app.tasks.token().cancelled() => true,
            _ = ticks.tick() => false,
        };
        let next = app.core().catalog().next_number();
        if saved != Some(next) {
            let written = tokio::task::block_in_place(|| app.save_catalog());
            match written {
                Ok(()) => saved = Some(next),
                Err(error) => {
                    warn!(%error, "the catalogue is not kept; the next start reads all records")
                }
            }
        }
        if is_over {
            return;
        }
    }
}

impl App {
    /// Writes a snapshot of the catalogue, or leaves the one that is there as it is.
    fn save_catalog(&self) -> io::Result<()> {
        let index = lock(&self.index).clone();
        let path = index.path().join(SNAPSHOT);
        let new = path.with_extension("new");
        let file = {
            let mut core = self.core();
            core.catalog_mut().text_mut().keep()?;
            if !core.catalog().is_text_kept() {
                return Ok(());
            }
            let mut out = BufWriter::with_capacity(1 << 20, File::create(&new)?);
            core.catalog().save(core.federation().id(), &mut out)?;
            out.flush()?;
            out.into_inner().map_err(io::IntoInnerError::into_error)?
        };
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(index.path())?.sync_all()
    }

    /// The catalogue of this generation is in use: those before it are not needed any more.
    pub(super) fn use_index(&self, index: Index) {
        index.remove_others();
        *lock(&self.index) = index;
    }

    /// The generation in use.
    pub(super) fn index(&self) -> Index {
        lock(&self.index).clone()
    }
}
