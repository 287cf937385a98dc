//! The index itself: it takes listings into memory, searches memory and disk, and leaves writing to its thread.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use guildhall_catalog::text::TextIndex;
use guildhall_catalog::words::{Terms, Wanted, WantedWord};
use roaring::RoaringBitmap;

use crate::evaluate::{self, DiskHit, MemoryHit, Window};
use crate::expand::{Answer, expand};
use crate::open::{self, OpenError};
use crate::shared::{Shared, State};
use crate::terms;
use crate::writer::{ASKS_MAX, Ask, Writer};

/// How long a `put` waits for the disk when memory is full. Filling an empty index comes here now and then; it goes on
/// as soon as a commit is done, some tenths of a second. A disk that takes longer than this is as good as none.
const PUT_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long dropping the index waits for its thread: a commit that has begun is done by then. A merge is not waited for.
const DROP_WAIT_MAX: Duration = Duration::from_secs(5);

/// Full-text index of listings in a directory.
///
/// What was put is found at once and is on disk some time later, or after [`keep`](TextIndex::keep). Dropping it loses
/// what is not on disk; [`kept_below`](TextIndex::kept_below) says after opening what has to be put again.
#[derive(Debug)]
pub struct DiskIndex {
    shared: Shared,
    asks: Option<SyncSender<Ask>>,
    /// Rings when a batch has left memory.
    room: Mutex<Receiver<()>>,
    /// Closes when the thread has ended.
    ended: Mutex<Receiver<()>>,
    stop: Arc<AtomicBool>,
    /// No number below is new.
    next: u32,
}

impl DiskIndex {
    /// Opens the index in `dir`, which belongs to it as a whole, or makes one. Numbers from `keep_below` on are deleted,
    /// as they are put again. If what is there is damaged, of another version or not wanted at all (`keep_below` 0), it
    /// is thrown away: [`kept_below`](TextIndex::kept_below) says 0 then.
    ///
    /// # Errors
    /// With an [`OpenError`] inside: the directory is in use or cannot be written, or a thread cannot be started.
    pub fn open(dir: &Path, keep_below: u32) -> io::Result<Self> {
        let mut opened = open::open(dir, keep_below)?;
        let kept_below = opened.kept_below;
        let shared = Shared::new(State::new(std::mem::take(&mut opened.disk), kept_below));
        let (asks, asked) = sync_channel(ASKS_MAX);
        let (rings, room) = sync_channel(1);
        let (ends, ended) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let writer = Writer::new(shared.clone(), asked, rings, Arc::clone(&stop), opened);
        let run = move || {
            let _ends: SyncSender<()> = ends;
            writer.run();
        };
        let thread = std::thread::Builder::new().name("text-index".to_owned());
        thread.spawn(run).map_err(OpenError::Thread)?;
        let (room, ended) = (Mutex::new(room), Mutex::new(ended));
        Ok(Self { shared, asks: Some(asks), room, ended, stop, next: kept_below })
    }

    /// Listings that are in memory only.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.shared.read().pending()
    }

    /// Segments on disk, for whoever watches.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.shared.read().disk.parts().len()
    }

    /// Asks the thread to look, if it is not about to anyway.
    fn look(&self) {
        if let Some(asks) = &self.asks
            && let Err(TrySendError::Disconnected(_)) = asks.try_send(Ask::Look)
            && self.shared.write().fail()
        {
            tracing::error!("the thread of the text index has ended");
        }
    }

    /// When memory is full, waits for the disk, and drops the oldest batch if that does not help.
    fn make_room(&mut self) {
        // The lock is there for the type only; nobody else can have it.
        let room = self.room.get_mut().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        loop {
            // A ring from before says nothing about now.
            let _ = room.try_recv();
            let state = self.shared.read();
            let (is_full, is_failing) = (state.is_full(), state.is_failing());
            drop(state);
            if !is_full {
                return;
            }
            let left = PUT_WAIT_MAX.saturating_sub(start.elapsed());
            if is_failing || left.is_zero() || room.recv_timeout(left).is_err() {
                break;
            }
        }
        let mut state = self.shared.write();
        if state.is_full() {
            if !state.has_lost() {
                tracing::warn!(
                    kept_below = state.kept_below(),
                    "too many listings wait for the disk; the oldest are not found by words until the next start"
                );
            }
            state.drop_oldest();
        }
    }

    /// Says once that a segment cannot be read. What is in the others is found all the same.
    fn unreadable(error: &io::Error) {
        static SAID: AtomicBool = AtomicBool::new(false);
        if !SAID.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "a segment of the text index cannot be read");
        }
    }
}

impl TextIndex for DiskIndex {
    fn put(&mut self, number: u32, terms: &Terms) {
        if number < self.next {
            // It is there already.
            return;
        }
        self.next = number.saturating_add(1);
        let look = self.shared.write().put(number, terms);
        if look {
            self.look();
            self.make_room();
        }
    }

    fn forget(&mut self, number: u32) {
        let look = self.shared.write().forget(number);
        if look {
            self.look();
        }
    }

    fn frequencies(&self, words: &[WantedWord]) -> Vec<u64> {
        let state = self.shared.read();
        let batches = state.batches();
        let count = |word| match expand(word, &state.disk, &batches) {
            Ok(answers) => answers.iter().map(|answer| answer.lists.count).sum(),
            Err(error) => {
                Self::unreadable(&error);
                0
            }
        };
        words.iter().map(count).collect()
    }

    fn find(
        &self,
        wanted: &Wanted,
        within: Option<&RoaringBitmap>,
        each: &mut dyn FnMut(u32, f32),
    ) {
        let state = self.shared.read();
        let batches = state.batches();
        let mut answers: Vec<Vec<Answer<'_>>> = Vec::with_capacity(wanted.len());
        for word in wanted.words() {
            let found = expand(word, &state.disk, &batches).inspect_err(Self::unreadable);
            answers.push(found.unwrap_or_default());
        }
        let shares: Vec<f32> = wanted.words().iter().map(|word| word.share).collect();
        let (on_disk, in_memory) = by_place(&answers);
        let mut window = Window::new();
        for (place, hits) in on_disk {
            let part = &state.disk.parts()[place];
            let found = evaluate::part(part, &hits, &shares, within, &mut window, each);
            if let Err(error) = found {
                Self::unreadable(&error);
            }
        }
        for hits in in_memory.into_values() {
            evaluate::batch(&hits, &shares, within, &mut window, each);
        }
    }

    fn terms_from(&self, start: &str, each: &mut dyn FnMut(&str, u64) -> bool) {
        let state = self.shared.read();
        if let Err(error) = terms::from(start, &state.disk, &state.batches(), each) {
            Self::unreadable(&error);
        }
    }

    fn kept_below(&self) -> u32 {
        self.shared.read().kept_below()
    }

    fn keep(&mut self) -> io::Result<()> {
        let ended = || io::Error::other("the thread of the text index has ended");
        let (answers, answer) = sync_channel(1);
        let asks = self.asks.as_ref().ok_or_else(ended)?;
        asks.send(Ask::Keep(answers)).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())??;
        let state = self.shared.read();
        if state.has_lost() {
            let from = state.kept_below();
            let lost = format!("listings from number {from} on have to be put again");
            return Err(io::Error::other(lost));
        }
        Ok(())
    }
}

impl Drop for DiskIndex {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.asks = None;
        // Nothing is ever sent: this returns when the thread has ended, or after the time.
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(DROP_WAIT_MAX);
    }
}

/// Hits by the place of their segment, and by the place of their batch; in each in order of the words.
type ByPlace<'a> = (BTreeMap<usize, Vec<DiskHit<'a>>>, BTreeMap<usize, Vec<MemoryHit<'a>>>);

fn by_place<'a>(answers: &'a [Vec<Answer<'a>>]) -> ByPlace<'a> {
    let mut places = ByPlace::default();
    for (word, answers) in answers.iter().enumerate() {
        for Answer { worth, lists } in answers {
            for (place, field, term) in &lists.disk {
                let hit = DiskHit { word, worth: worth * field.worth(), term };
                places.0.entry(*place).or_default().push(hit);
            }
            for (place, postings) in &lists.memory {
                let hit = MemoryHit { word, worth: *worth, postings };
                places.1.entry(*place).or_default().push(hit);
            }
        }
    }
    places
}
