//! The files of a package being fetched: what every lane shares.
//!
//! What is whole and checked is committed in groups; what is part of a large file is saved now and then, so that a node
//! that dies goes on where it was. Dropping a download saves what is checked.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use guildhall_protocol::manifest::FileEntry;
use guildhall_protocol::tree::{self, Cv, Shape};
use guildhall_protocol::{Hash, PackageId, PublicKey};
use guildhall_store::{Batch, BlobError, Partial, StagedBlob, Store};
use guildhall_sync::download::{BlobIndex, Fault, Next, State, Task, Wanted};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::holders::{Holder, Holders};
use super::lane::{self, Sink};
use super::line::Trouble;
use super::progress::Progress;
use crate::app::fetch::FetchError;
use crate::app::{App, lock};

/// How long to wait for a fetch that was called off to save its parts: a sync of [`UNSAVED_MAX_BYTES`] on a slow disk.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
const BUSY_TRIES: u32 = 200;

/// Holders that are asked at once. More of them would hardly be faster and share out smaller parts.
const HOLDERS_AT_ONCE: usize = 8;

/// Streams to one holder when there are few: checking what comes on one goes on while the other one waits.
const LANES_PER_HOLDER: usize = 2;

/// Blobs that one commit names, and bytes of them: a commit costs about a millisecond, and what is not committed is
/// fetched again after a crash.
const BLOBS_PER_COMMIT: usize = 4_096;
const BYTES_PER_COMMIT: u64 = 4 * 1024 * 1024;

/// Full batches that wait for the one that is being committed; when there are more, lanes wait.
const COMMITS_WAITING_MAX: usize = 2;

/// Checked bytes of a large file that a crash may cost.
const UNSAVED_MAX_BYTES: u64 = 32 * 1024 * 1024;

/// A blob that is being fetched.
pub(super) struct Target {
    pub(super) hash: Hash,
    pub(super) len_bytes: u64,
    /// Another version of the file that is here.
    pub(super) base: Mutex<Option<Hash>>,
    parts: Mutex<Parts>,
}

/// The parts of a blob of several pieces.
enum Parts {
    /// Nothing was asked for yet.
    Closed,
    Open(Arc<Partial>),
    /// The blob is whole.
    Done,
}

impl Target {
    pub(super) const fn shape(&self) -> Shape {
        Shape::of(self.len_bytes)
    }

    pub(super) fn base(&self) -> Option<Hash> {
        *lock(&self.base)
    }
}

/// Whole blobs that wait for a commit.
#[derive(Default)]
struct Pending {
    blobs: Vec<StagedBlob>,
    bytes: u64,
}

impl Pending {
    /// A batch of them, in the order of their rows, which then lie side by side.
    fn take(&mut self) -> Batch {
        self.bytes = 0;
        let mut blobs = std::mem::take(&mut self.blobs);
        blobs.sort_by_key(StagedBlob::hash);
        let mut batch = Batch::new();
        blobs.into_iter().for_each(|blob| batch.add_blob(blob));
        batch
    }
}

/// Full batches on their way to the disk; `None` is the end.
type Commits = mpsc::Sender<Option<Batch>>;

/// Files of a package on their way here.
pub(in crate::app) struct Download {
    app: Arc<App>,
    package: PackageId,
    targets: Vec<Target>,
    state: Mutex<State>,
    changed: Notify,
    started: Instant,
    pub(super) progress: Arc<Progress>,
    pending: Mutex<Pending>,
    /// Where full batches go while this runs.
    commits: Mutex<Option<Commits>>,
    /// Blobs with parts that are being saved.
    saving: AtomicBool,
    failed: Mutex<Option<BlobError>>,
}

impl Download {
    /// Prepares to fetch files that are not here. `base_of` knows files of other versions that are.
    pub(in crate::app) fn new(
        app: &Arc<App>,
        package: PackageId,
        files: &[FileEntry],
        progress: Arc<Progress>,
        base_of: impl Fn(&FileEntry) -> Option<Hash>,
    ) -> Result<Self, BlobError> {
        let partials: BTreeSet<Hash> =
            app.store.partials()?.into_iter().map(|partial| partial.hash).collect();
        let mut wanted = Vec::with_capacity(files.len());
        let mut targets = Vec::with_capacity(files.len());
        for file in files {
            app.leases.mark(file.hash);
            let shape = Shape::of(file.len_bytes);
            let base = (!shape.is_one_group()).then(|| base_of(file)).flatten();
            let mut blob = Wanted {
                hash: file.hash,
                len_bytes: file.len_bytes,
                missing: Vec::new(),
                is_listed: false,
            };
            let mut open = Parts::Closed;
            if shape.pieces() > 1 && partials.contains(&file.hash) {
                let partial = open_partial(&app.store, file.hash, file.len_bytes)?;
                blob.missing = partial.missing();
                blob.is_listed = partial.piece_cvs().is_some();
                let here = shape.pieces().saturating_sub(blob.missing.len() as u64);
                progress.add_done(here.saturating_mul(tree::PIECE_BYTES).min(file.len_bytes));
                open = Parts::Open(Arc::new(partial));
            } else {
                blob.missing.extend(0..shape.pieces());
            }
            wanted.push(blob);
            targets.push(Target {
                hash: file.hash,
                len_bytes: file.len_bytes,
                base: Mutex::new(base),
                parts: Mutex::new(open),
            });
        }
        Ok(Self {
            app: Arc::clone(app),
            package,
            targets,
            state: Mutex::new(State::new(wanted)),
            changed: Notify::new(),
            started: Instant::now(),
            progress,
            pending: Mutex::default(),
            commits: Mutex::default(),
            saving: AtomicBool::new(false),
            failed: Mutex::default(),
        })
    }

    /// Fetches everything. Returns what is not committed yet.
    pub(in crate::app) async fn run(self, hints: &[PublicKey]) -> Result<Batch, FetchError> {
        let (commits, full) = mpsc::channel(COMMITS_WAITING_MAX);
        let fetching = async {
            let fetched = self.fetch_all(hints, &commits).await;
            // A closed channel means that a commit failed, which says so itself.
            let _ended = commits.send(None).await;
            fetched
        };
        let (fetched, ()) = futures::future::join(fetching, self.commit_all(full)).await;
        if let Some(error) = lock(&self.failed).take() {
            return Err(error.into());
        }
        fetched?;
        Ok(lock(&self.pending).take())
    }

    async fn fetch_all(&self, hints: &[PublicKey], commits: &Commits) -> Result<(), FetchError> {
        *lock(&self.commits) = Some(commits.clone());
        self.finish_those_with_all_parts().await?;
        if !lock(&self.state).is_complete() {
            let holders = self.app.holders(self.package, hints).await;
            self.work(&holders).await?;
        }
        Ok(())
    }

    /// Commits full batches beside the lanes, which go on meanwhile.
    async fn commit_all(&self, mut full: mpsc::Receiver<Option<Batch>>) {
        while let Some(Some(batch)) = full.recv().await {
            if let Err(error) = self.app.store.commit(batch).await {
                return self.fail(error.into());
            }
        }
    }

    /// A kill can come between the last part of a file and its commit.
    async fn finish_those_with_all_parts(&self) -> Result<(), FetchError> {
        for (index, target) in (0..).zip(&self.targets) {
            let is_all_there = match &*lock(&target.parts) {
                Parts::Open(partial) => partial.missing().is_empty(),
                Parts::Closed | Parts::Done => false,
            };
            if is_all_there {
                self.finish_partial(index).await?;
            }
        }
        Ok(())
    }

    async fn work(&self, holders: &Holders) -> Result<(), FetchError> {
        let few = holders.reachable.len() * LANES_PER_HOLDER <= HOLDERS_AT_ONCE;
        let lanes_each = if few { LANES_PER_HOLDER } else { 1 };
        let mut waiting = holders.reachable.iter();
        let mut lanes = FuturesUnordered::new();
        loop {
            while lanes.len() < HOLDERS_AT_ONCE * lanes_each
                && let Some(holder) = waiting.next()
            {
                lock(&self.state).handle_holder(holder.peer);
                for _ in 0..lanes_each {
                    lanes.push(lane::run(self, holder));
                }
            }
            let is_over = lock(&self.failed).is_some() || lock(&self.state).is_complete();
            if is_over || lanes.next().await.is_none() {
                break;
            }
        }
        drop(lanes);
        if let Some(error) = lock(&self.failed).take() {
            return Err(error.into());
        }
        let state = lock(&self.state);
        match state.stuck_at() {
            _ if state.is_complete() => Ok(()),
            Some(blob) => Err(self.nobody_has(blob, holders.away)),
            None => Err(self.nobody_has(0, holders.away)),
        }
    }

    fn nobody_has(&self, blob: BlobIndex, away: usize) -> FetchError {
        let hash = self.target(blob).map_or(self.package.0, |target| target.hash);
        FetchError::NoHolder { hash, tried: self.progress.troubles(), away }
    }

    pub(super) fn app(&self) -> &Arc<App> {
        &self.app
    }

    pub(super) fn target(&self, blob: BlobIndex) -> Option<&Target> {
        self.targets.get(usize::try_from(blob).ok()?)
    }

    pub(super) fn batch(&self, number: u32) -> Vec<BlobIndex> {
        lock(&self.state).batch(number).to_vec()
    }

    pub(super) fn next(&self, holder: PublicKey) -> Next {
        if lock(&self.failed).is_some() {
            return Next::Leave;
        }
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        lock(&self.state).next(holder, now_ms)
    }

    pub(super) fn is_wanted(&self, task: Task) -> bool {
        lock(&self.state).is_wanted(task)
    }

    /// Waits until something changes, but not longer than `max`.
    pub(super) async fn wait(&self, max: Duration) {
        // Whether it changed or the time was over makes no difference: both look again.
        let _ = tokio::time::timeout(max, self.changed.notified()).await;
    }
    /// Ends the download: nobody else can help with what is wrong here.
    pub(super) fn fail(&self, error: BlobError) {
        lock(&self.failed).get_or_insert(error);
        self.changed.notify_waiters();
    }

    /// A holder's stream ended without its fault.
    pub(super) fn handle_left(&self, holder: &Holder) {
        lock(&self.state).handle_left(holder.peer);
        self.changed.notify_waiters();
    }

    /// A holder did something wrong. Whether it is given up.
    pub(super) fn handle_fault(&self, holder: &Holder, fault: Fault, why: &str) -> bool {
        let is_given_up = {
            let mut state = lock(&self.state);
            state.handle_fault(holder.peer, fault);
            state.is_given_up(&holder.peer)
        };
        if is_given_up {
            warn!(org = %holder.org, why, "a holder is given up");
            self.progress.give_up(holder.peer, &holder.org, why);
        } else {
            debug!(org = %holder.org, why, "a holder is tried again");
        }
        self.changed.notify_waiters();
        is_given_up
    }

    /// A holder does not have a file.
    pub(super) fn handle_missing(&self, holder: &Holder, blob: BlobIndex) {
        lock(&self.state).handle_missing(holder.peer, blob);
        self.lacks(holder.peer, holder);
    }

    /// A batch came; the holder lacks some of it.
    pub(super) fn handle_batch(&self, holder: &Holder, number: u32, missing: &[BlobIndex]) {
        lock(&self.state).handle_batch(holder.peer, number, missing);
        if missing.is_empty() {
            self.changed.notify_waiters();
        } else {
            self.lacks(holder.peer, holder);
        }
    }

    fn lacks(&self, peer: PublicKey, holder: &Holder) {
        self.progress.give_up(peer, &holder.org, "it does not have all of it");
        self.changed.notify_waiters();
    }

    pub(super) fn add_received(&self, holder: &Holder, bytes: u64) {
        self.progress.add_received(holder.peer, &holder.org, bytes);
    }

    pub(super) fn add_reused(&self, bytes: u64) {
        self.progress.add_reused(bytes);
    }

    /// The parts of a large blob; `None` once it is whole.
    pub(super) fn partial(&self, blob: BlobIndex) -> Result<Option<Arc<Partial>>, BlobError> {
        let target = self.target(blob).ok_or(BlobError::Interrupted)?;
        let mut parts = lock(&target.parts);
        match &*parts {
            Parts::Open(partial) => return Ok(Some(Arc::clone(partial))),
            Parts::Done => return Ok(None),
            Parts::Closed => {}
        }
        let opened = Arc::new(open_partial(&self.app.store, target.hash, target.len_bytes)?);
        *parts = Parts::Open(Arc::clone(&opened));
        Ok(Some(opened))
    }

    /// The CVs of a blob's pieces came. Pieces that another version of the file has too are taken from there.
    pub(super) fn handle_list(&self, blob: BlobIndex, cvs: Vec<Cv>) -> Result<(), Trouble> {
        if !self.is_wanted(Task::List(blob)) {
            return Ok(());
        }
        let missing = tokio::task::block_in_place(|| {
            let partial = self.partial(blob)?.ok_or(Trouble::Late)?;
            partial.set_piece_cvs(cvs.clone()).map_err(|error| match error {
                BlobError::WrongTree { .. } => Trouble::lied("its list is not that of the file"),
                error => Trouble::Here(error),
            })?;
            self.take_from_base(blob, &partial, &cvs);
            Ok::<_, Trouble>(partial.missing())
        })?;
        lock(&self.state).handle_list(blob, &missing);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Whether CVs are those of a piece's groups.
    pub(super) fn check_groups(
        &self,
        blob: BlobIndex,
        piece: u64,
        cvs: &[Cv],
    ) -> Result<(), Trouble> {
        let target = self.target(blob).ok_or(Trouble::Here(BlobError::Interrupted))?;
        let piece_cv = match target.shape().pieces() {
            1 => None,
            _ => {
                let list = self.partial(blob)?.ok_or(Trouble::Late)?.piece_cvs();
                list.and_then(|list| list.get(usize::try_from(piece).ok()?).copied())
            }
        };
        match lane::is_tree_of(target.shape(), &target.hash, piece_cv, cvs) {
            true => Ok(()),
            false => Err(Trouble::lied("its hashes are not those of the file")),
        }
    }

    /// A blob of one group came; it is kept if it has the right hash.
    pub(super) async fn keep_small(&self, blob: BlobIndex, bytes: &[u8]) -> Result<(), BlobError> {
        let target = self.target(blob).ok_or(BlobError::Interrupted)?;
        let mut writer = self.app.store.blob_writer(Some(target.hash), target.len_bytes)?;
        writer.write_all(bytes)?;
        let staged = writer.finish()?;
        self.progress.add_done(target.len_bytes);
        self.keep(staged).await
    }

    /// A piece came whole.
    pub(super) async fn keep_piece(
        &self,
        blob: BlobIndex,
        piece: u64,
        sink: Sink,
    ) -> Result<(), Trouble> {
        let target = self.target(blob).ok_or(BlobError::Interrupted)?;
        let task = Task::Piece(blob, piece);
        match sink {
            Sink::Blob(writing) => {
                let staged = tokio::task::block_in_place(|| writing.writer.finish())?;
                if self.is_wanted(task) {
                    self.keep(staged).await?;
                }
            }
            Sink::Piece(writer) => {
                tokio::task::block_in_place(|| writer.finish())?;
                self.save_or_finish(blob).await?;
            }
        }
        // Last: when everything is done nobody waits for what is still being stored.
        if lock(&self.state).handle_done(task) {
            self.progress.add_done(target.shape().piece(piece).len_bytes);
        }
        self.changed.notify_waiters();
        Ok(())
    }

    /// After a piece: saves what is checked when it has become much, and makes the blob whole when nothing is missing.
    async fn save_or_finish(&self, blob: BlobIndex) -> Result<(), BlobError> {
        let Some(partial) = self.partial(blob)? else { return Ok(()) };
        if partial.missing().is_empty() {
            drop(partial);
            return self.finish_partial(blob).await;
        }
        if partial.unsaved_bytes() < UNSAVED_MAX_BYTES || self.saving.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let saved = tokio::task::spawn_blocking(move || partial.checkpoint()).await;
        self.saving.store(false, Ordering::Release);
        saved.map_err(|_| BlobError::Interrupted)?
    }

    async fn finish_partial(&self, blob: BlobIndex) -> Result<(), BlobError> {
        let target = self.target(blob).ok_or(BlobError::Interrupted)?;
        // Whoever finishes takes it out, so that this happens once.
        let taken = std::mem::replace(&mut *lock(&target.parts), Parts::Done);
        let Parts::Open(partial) = taken else { return Ok(()) };
        let staged = tokio::task::spawn_blocking(move || partial.stage()).await;
        self.keep(staged.map_err(|_| BlobError::Interrupted)??).await
    }

    /// Takes a whole blob into the next commit, and commits when there is much of them.
    async fn keep(&self, staged: StagedBlob) -> Result<(), BlobError> {
        lock(&self.app.checked).insert(staged.hash());
        self.app.leases.mark(staged.hash());
        self.progress.add_file();
        let full = {
            let mut pending = lock(&self.pending);
            pending.bytes = pending.bytes.saturating_add(staged.len_bytes());
            pending.blobs.push(staged);
            let count = pending.blobs.len();
            let is_full = count >= BLOBS_PER_COMMIT || pending.bytes >= BYTES_PER_COMMIT;
            is_full.then(|| pending.take())
        };
        if let Some(batch) = full {
            let commits = lock(&self.commits).clone().ok_or(BlobError::Interrupted)?;
            commits.send(Some(batch)).await.map_err(|_| BlobError::Interrupted)?;
        }
        Ok(())
    }
}

impl Drop for Download {
    /// What was checked and not saved is saved, also when the fetch was called off.
    fn drop(&mut self) {
        let partials = self.targets.iter().filter_map(|target| {
            match std::mem::replace(&mut *lock(&target.parts), Parts::Closed) {
                Parts::Open(partial) => Some(partial),
                Parts::Closed | Parts::Done => None,
            }
        });
        let unsaved: Vec<_> = partials.filter(|partial| partial.unsaved_bytes() > 0).collect();
        if unsaved.is_empty() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        // Nobody waits for it: a fetch that goes on at once waits until the parts are free again.
        tokio::task::spawn_blocking(move || {
            for partial in unsaved {
                if let Err(error) = partial.checkpoint() {
                    warn!(%error, "parts of a file are not saved");
                }
            }
        });
    }
}

/// Opens the parts of a blob. A fetch that was called off may still be saving them.
fn open_partial(store: &Store, hash: Hash, len_bytes: u64) -> Result<Partial, BlobError> {
    tokio::task::block_in_place(|| {
        let mut tries = 0_u32;
        loop {
            match store.partial(hash, len_bytes) {
                Err(BlobError::Busy { .. }) if tries < BUSY_TRIES => std::thread::sleep(BUSY_PAUSE),
                opened => return opened,
            }
            tries += 1;
        }
    })
}
