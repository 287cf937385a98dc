//! The thread "text-index": writes batches to disk, and merges segments now and then.
//!
//! It owns tantivy's writer. It wakes up when it is asked to look, and every [`IDLE`] while there is something to wait
//! for. What goes wrong is logged once; the batches stay where they are, and a new writer tries again later.

use std::future::Future as _;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tantivy::{
    FutureResult, Index, IndexReader, IndexWriter, SegmentMeta, TantivyDocument, TantivyError,
};

use crate::batch::Batch;
use crate::disk::{Disk, LoadError};
use crate::doomed::Doomed;
use crate::format::{self, Format};
use crate::merges;
use crate::open::{self, Opened};
use crate::shared::{Round, Shared};

/// After so long without a new listing those that wait are written: an upload of many is written in one go, and a
/// single one soon.
pub const IDLE: Duration = Duration::from_millis(500);

/// The longest that listings wait while others keep coming.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// After a failure the next attempt is made so much later; a full disk is not emptied in a second.
pub const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Batches in one commit: 32,768 listings. Far behind, fewer and larger segments are faster than many small ones.
const COMMIT_BATCHES_MAX: usize = 8;

/// What the thread is asked.
#[derive(Debug)]
pub(crate) enum Ask {
    /// There may be something to write.
    Look,
    /// Write everything, and answer when that is done.
    Keep(SyncSender<io::Result<()>>),
}

/// Questions that may wait. When there are more, another `Look` would say nothing new and is left out.
pub(crate) const ASKS_MAX: usize = 4;

/// The thread's own things.
pub(crate) struct Writer {
    shared: Shared,
    asks: Receiver<Ask>,
    /// Rings when a batch was written; one ring is enough for whoever waits.
    room: SyncSender<()>,
    stop: Arc<AtomicBool>,
    index: Index,
    format: Format,
    reader: IndexReader,
    /// `None` after a failure.
    writer: Option<IndexWriter>,
    merging: Option<FutureResult<Option<SegmentMeta>>>,
    /// Not before then is a merge started.
    merge_from: Instant,
    /// Not before then is written, after a failure.
    retry_from: Instant,
    /// The open batch when it was last looked at: where it ended, and since when it has been open.
    seen: Option<(u32, Instant)>,
}

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("tantivy: {0}")]
    Index(#[from] TantivyError),
    #[error("{0}")]
    Load(#[from] LoadError),
    #[error("tantivy panicked")]
    Panic,
    #[error("the index is closed")]
    Stopped,
}

impl Writer {
    pub(crate) fn new(
        shared: Shared,
        asks: Receiver<Ask>,
        room: SyncSender<()>,
        stop: Arc<AtomicBool>,
        opened: Opened,
    ) -> Self {
        let Opened { index, format, writer, reader, .. } = opened;
        let now = Instant::now();
        Self {
            shared,
            asks,
            room,
            stop,
            index,
            format,
            reader,
            writer: Some(writer),
            merging: None,
            merge_from: now,
            retry_from: now,
            seen: None,
        }
    }

    /// Runs until it is told to stop or nobody can ask any more.
    pub(crate) fn run(mut self) {
        while !self.is_stopped() {
            let keep = match self.wait() {
                Ok(Ask::Look) | Err(RecvTimeoutError::Timeout) => None,
                Ok(Ask::Keep(answer)) => Some(answer),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.seal(keep.is_some());
            let written = self.write(keep.is_some());
            if let Some(answer) = keep {
                // Whoever asked may have gone.
                let _ = answer.try_send(written.map_err(io::Error::other));
            }
            self.merge();
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn wait(&self) -> Result<Ask, RecvTimeoutError> {
        let waits = self.merging.is_some() || self.shared.read().pending() > 0;
        if waits {
            self.asks.recv_timeout(IDLE)
        } else {
            self.asks.recv().map_err(|_| RecvTimeoutError::Disconnected)
        }
    }

    /// Closes the open batch if nothing came to it for a while, or it is wanted now. While writing fails one batch waits
    /// for the next attempt, and others are not closed before they are full: many small ones would slow down every
    /// search.
    fn seal(&mut self, now: bool) {
        let (below, waits) = {
            let state = self.shared.read();
            let below = (!state.open().is_empty()).then(|| state.open().below());
            (below, state.is_failing() && state.has_sealed())
        };
        let due = match (below, self.seen) {
            (None, _) => false,
            (Some(below), Some((seen, since))) => seen == below || since.elapsed() > WAIT_MAX,
            (Some(_), None) => false,
        };
        if now || (due && !waits) {
            self.shared.write().seal();
            self.seen = None;
        } else {
            let since = self.seen.map_or_else(Instant::now, |(_, since)| since);
            self.seen = below.map(|below| (below, since));
        }
    }

    /// Writes all sealed batches; with `all`, what is forgotten too, and whatever the last attempt said.
    fn write(&mut self, all: bool) -> Result<(), Failed> {
        if !all && Instant::now() < self.retry_from {
            return Ok(());
        }
        loop {
            let Some(round) = self.shared.read().round(COMMIT_BATCHES_MAX, all) else {
                return Ok(());
            };
            if self.is_stopped() {
                return Err(Failed::Stopped);
            }
            let written = catch_unwind(AssertUnwindSafe(|| self.write_round(&round)));
            match written.unwrap_or(Err(Failed::Panic)) {
                Ok(disk) => self.written(&round, disk),
                Err(Failed::Stopped) => return Err(Failed::Stopped),
                Err(error) => {
                    self.failed(&error);
                    return Err(error);
                }
            }
            self.merge();
        }
    }

    fn write_round(&mut self, round: &Round) -> Result<Disk, Failed> {
        let first = round.batches.iter().find_map(|batch| batch.first());
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let writer = none.insert(open::writer(&self.index)?);
                // The commit that failed may be on disk all the same. What is in memory is not, so far.
                if let Some(first) = first {
                    let listed = Arc::default();
                    writer.delete_query(Box::new(Doomed { listed, from: Some(first) }))?;
                }
                writer
            }
        };
        if !round.forgotten.is_empty() {
            let listed = Arc::clone(&round.forgotten);
            writer.delete_query(Box::new(Doomed { listed, from: None }))?;
        }
        for batch in &round.batches {
            for document in documents(batch, round, &self.format) {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(Failed::Stopped);
                }
                writer.add_document(document)?;
            }
        }
        open::commit(writer, round.kept_below)?;
        let before = Arc::clone(&self.shared.read().disk);
        Ok(Disk::load(&self.reader, &self.format, &before)?)
    }

    fn written(&self, round: &Round, disk: Disk) {
        let mut state = self.shared.write();
        let failed_before = state.is_failing();
        let before = Arc::clone(&state.disk);
        state.written(round, disk);
        drop(state);
        // Only here the old segments are closed, outside the lock.
        drop(before);
        let _ = self.room.try_send(());
        if failed_before {
            tracing::info!("the text index is written again");
        }
    }

    fn failed(&mut self, error: &Failed) {
        self.merging = None;
        self.retry_from = Instant::now() + RETRY_AFTER;
        // It may hold half a round. Dropping it joins its thread, which may have panicked.
        let writer = self.writer.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(writer)));
        if self.shared.write().fail() {
            tracing::error!(
                %error,
                "the text index cannot be written; new listings stay in memory and are put again at the next start"
            );
        }
    }

    /// Looks after the merge that runs, or starts the next.
    fn merge(&mut self) {
        if let Some(merging) = &mut self.merging {
            let mut context = Context::from_waker(Waker::noop());
            let Poll::Ready(merged) = Pin::new(merging).poll(&mut context) else { return };
            self.merging = None;
            let before = Arc::clone(&self.shared.read().disk);
            let loaded = merged
                .map_err(Failed::from)
                .and_then(|_| Ok(Disk::load(&self.reader, &self.format, &before)?));
            match loaded {
                Ok(disk) => self.shared.write().disk = Arc::new(disk),
                Err(error) => {
                    self.merge_from = Instant::now() + RETRY_AFTER;
                    tracing::warn!(%error, "segments of the text index cannot be merged");
                }
            }
        }
        if Instant::now() < self.merge_from {
            return;
        }
        let disk = Arc::clone(&self.shared.read().disk);
        let sizes: Vec<_> = disk.parts().iter().map(crate::disk::Part::size).collect();
        if let (Some(range), Some(writer)) = (merges::next(&sizes), &mut self.writer) {
            let ids: Vec<_> = disk.parts()[range].iter().map(crate::disk::Part::id).collect();
            self.merging = Some(writer.merge(&ids));
        }
    }
}

/// The documents of a batch, in order of their numbers.
fn documents<'a>(
    batch: &'a Batch,
    round: &'a Round,
    format: &'a Format,
) -> impl Iterator<Item = TantivyDocument> + 'a {
    let listings = batch.listings().into_iter();
    listings.filter(|(number, _)| !round.forgotten.contains(*number)).map(|(number, terms)| {
        let mut document = format.document(number);
        for (term, fields) in terms {
            if let Some(bytes) = format::term_bytes(term, fields) {
                document.add_bytes(format.terms, &bytes);
            }
        }
        document
    })
}
