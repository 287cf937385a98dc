//! What the index and its thread share: who is findable where, behind one lock.
//!
//! Nothing slow happens under the lock. The thread reads what it writes from sealed batches, which nobody changes, and
//! takes the lock again to put the new segments in and the written batches out.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use guildhall_catalog::words::Terms;
use roaring::RoaringBitmap;

use crate::batch::Batch;
use crate::disk::Disk;

/// Listings of a sealed batch. Smaller batches make more segments, larger ones wait longer in memory.
pub const BATCH_MAX: usize = 4096;

/// Memory of a batch that is sealed sooner, because its listings say much: some times what usual ones need.
const BATCH_MAX_BYTES: usize = 16 << 20;

/// Listings that may wait in memory for the disk: some commits' worth. When there are more, or they take more than
/// [`PENDING_MAX_BYTES`], [`put`](guildhall_catalog::text::TextIndex::put) waits for the disk, once for each batch; if
/// that does not help, or the disk fails, the oldest batch is dropped.
pub const PENDING_MAX: usize = 65_536;

/// Memory that these listings may take: usual ones stay below.
const PENDING_MAX_BYTES: usize = 128 << 20;

/// Forgotten numbers that make the thread delete their documents without a listing to write: few are cheap to keep,
/// and every commit is a write to the disk.
pub(crate) const FORGOTTEN_MAX: u64 = 4096;

/// What can be found, and what waits to be written.
#[derive(Debug)]
pub(crate) struct State {
    /// What is on disk.
    pub(crate) disk: Arc<Disk>,
    /// Full batches, oldest first. They leave when they are in `disk`.
    sealed: VecDeque<Arc<Batch>>,
    /// The newest listings.
    open: Batch,
    /// Numbers that nobody asks for any more and that are still on disk or in a batch.
    forgotten: RoaringBitmap,
    /// Everything below is on disk.
    kept_below: u32,
    /// From here on listings were dropped without being written; `kept_below` stays for the rest of this life.
    lost: bool,
    /// The last attempt to write failed.
    failing: bool,
}

/// What the thread writes next.
#[derive(Debug)]
pub(crate) struct Round {
    /// These batches, oldest first.
    pub(crate) batches: Vec<Arc<Batch>>,
    /// Numbers to delete on disk and to leave out of the batches.
    pub(crate) forgotten: Arc<RoaringBitmap>,
    /// Everything below is on disk when the batches are.
    pub(crate) kept_below: u32,
}

impl State {
    pub(crate) fn new(disk: Disk, kept_below: u32) -> Self {
        Self {
            disk: Arc::new(disk),
            sealed: VecDeque::new(),
            open: Batch::default(),
            forgotten: RoaringBitmap::new(),
            kept_below,
            lost: false,
            failing: false,
        }
    }

    /// Adds a listing; says whether the thread should look: it is the first of a batch, or a batch is full.
    pub(crate) fn put(&mut self, number: u32, terms: &Terms) -> bool {
        let first = self.open.is_empty();
        self.open.put(number, terms);
        let full = self.open.len() >= BATCH_MAX || self.open.len_bytes() >= BATCH_MAX_BYTES;
        if full {
            self.seal();
        }
        first || full
    }

    /// Notes a forgotten number; says whether the thread should look.
    pub(crate) fn forget(&mut self, number: u32) -> bool {
        self.forgotten.insert(number) && self.forgotten.len() == FORGOTTEN_MAX
    }

    /// Closes the open batch.
    pub(crate) fn seal(&mut self) {
        if !self.open.is_empty() {
            self.sealed.push_back(Arc::new(std::mem::take(&mut self.open)));
        }
    }

    /// The open batch.
    pub(crate) const fn open(&self) -> &Batch {
        &self.open
    }

    /// Listings that are in memory only.
    pub(crate) fn pending(&self) -> usize {
        self.sealed.iter().map(|batch| batch.len()).sum::<usize>() + self.open.len()
    }

    /// Whether another full batch is more than memory may hold.
    pub(crate) fn is_full(&self) -> bool {
        let bytes: usize = self.batches().iter().map(|batch| batch.len_bytes()).sum();
        self.pending() + BATCH_MAX > PENDING_MAX || bytes + BATCH_MAX_BYTES > PENDING_MAX_BYTES
    }

    /// Whether a sealed batch waits.
    pub(crate) fn has_sealed(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// All batches, oldest first.
    pub(crate) fn batches(&self) -> Vec<&Batch> {
        self.sealed.iter().map(|batch| &**batch).chain([&self.open]).collect()
    }

    /// What to write next, of at most `most` batches. Forgotten numbers alone are written when they are many, or `all`
    /// is wanted. `None` when nothing is to be done.
    pub(crate) fn round(&self, most: usize, all: bool) -> Option<Round> {
        let batches: Vec<Arc<Batch>> = self.sealed.iter().take(most).cloned().collect();
        let few = if all { 0 } else { FORGOTTEN_MAX - 1 };
        if batches.is_empty() && self.forgotten.len() <= few {
            return None;
        }
        let below = batches.last().map_or(self.kept_below, |batch| batch.below());
        let kept_below = if self.lost { self.kept_below } else { below };
        Some(Round { batches, forgotten: Arc::new(self.forgotten.clone()), kept_below })
    }

    /// A round was written and is in `disk`: its batches leave memory.
    pub(crate) fn written(&mut self, round: &Round, disk: Disk) {
        self.disk = Arc::new(disk);
        self.sealed.retain(|batch| !round.batches.iter().any(|done| Arc::ptr_eq(batch, done)));
        // A forgotten number of a batch that waits still has to be left out of it.
        let waits = self.batches().iter().filter_map(|batch| batch.first()).min();
        let mut done = (*round.forgotten).clone();
        done.remove_range(waits.unwrap_or(u32::MAX)..);
        self.forgotten -= done;
        self.kept_below = round.kept_below;
        self.failing = false;
    }

    /// Drops the oldest batch without writing it.
    pub(crate) fn drop_oldest(&mut self) {
        if self.sealed.pop_front().is_some() {
            self.lost = true;
        }
    }

    /// Everything below is on disk.
    pub(crate) const fn kept_below(&self) -> u32 {
        self.kept_below
    }

    /// Whether listings were dropped that have to be put again.
    pub(crate) const fn has_lost(&self) -> bool {
        self.lost
    }

    /// Whether the last attempt to write failed.
    pub(crate) const fn is_failing(&self) -> bool {
        self.failing
    }

    /// Notes that writing failed; says whether that is new.
    pub(crate) fn fail(&mut self) -> bool {
        !std::mem::replace(&mut self.failing, true)
    }
}

/// The state behind its lock.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<RwLock<State>>);

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        Self(Arc::new(RwLock::new(state)))
    }

    /// To look. No step under the lock leaves the state half changed, so a panic elsewhere does no harm.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
