//! The writer thread: takes batches from a bounded queue, moves their blobs into place, and writes as many batches as
//! are waiting in one transaction.
//!
//! All changes in `blobs/` happen here, in the order of the batches. Otherwise forgetting a blob could remove the file
//! that a second import has just put in its place.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use guildhall_protocol::Hash;
use tokio::sync::{mpsc, oneshot};

use crate::batch::{Batch, Operation};
use crate::error::{Fault, WriteError};
use crate::layout::{Layout, sync_dir};
use crate::store::{Shared, put_counters};
use crate::table::Counters;

mod apply;

/// Most requests that wait for the writer. A transaction takes milliseconds, so this is what arrives during a few of
/// them; when full, callers wait.
pub const QUEUE_CAPACITY: usize = 256;

/// When the batches gathered for one transaction reach this many bytes, it starts without waiting for more: bounds the
/// memory of a transaction and how long the first caller waits for the others' bytes. The rest stays queued.
pub const GROUP_MAX_BYTES: usize = 32 * 1024 * 1024;

type Reply = oneshot::Sender<Result<(), WriteError>>;

enum Request {
    Commit { batch: Batch, reply: Reply },
    Close { reply: Reply },
}

/// The handles' end of the queue. Dropping it has the thread write what is queued and waits for that.
pub(crate) struct Writer {
    /// `None` only while dropping.
    queue: Option<mpsc::Sender<Request>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(crate) fn start(shared: Arc<Shared>, counters: Counters) -> io::Result<Self> {
        let (queue, requests) = mpsc::channel(QUEUE_CAPACITY);
        let worker = Worker { shared, counters, failed: None, closing: Vec::new() };
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || worker.run(requests))?;
        Ok(Self { queue: Some(queue), thread: Mutex::new(Some(thread)) })
    }

    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), WriteError> {
        let batch = batch.checked()?;
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(WriteError::Closed)?;
        let sent = queue.send(Request::Commit { batch, reply }).await;
        sent.map_err(|_| WriteError::Closed)?;
        answer.await.unwrap_or(Err(WriteError::Closed))
    }

    pub(crate) fn commit_blocking(&self, batch: Batch) -> Result<(), WriteError> {
        let batch = batch.checked()?;
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(WriteError::Closed)?;
        let sent = queue.blocking_send(Request::Commit { batch, reply });
        sent.map_err(|_| WriteError::Closed)?;
        answer.blocking_recv().unwrap_or(Err(WriteError::Closed))
    }

    pub(crate) async fn close(&self) -> Result<(), WriteError> {
        let (reply, answer) = oneshot::channel();
        let Some(queue) = &self.queue else { return Ok(()) };
        if queue.send(Request::Close { reply }).await.is_err() {
            return Ok(());
        }
        let closed = answer.await.unwrap_or(Ok(()));
        // The answer is the thread's last act, so this does not wait.
        self.join();
        closed
    }

    pub(crate) fn close_blocking(&self) -> Result<(), WriteError> {
        let (reply, answer) = oneshot::channel();
        let Some(queue) = &self.queue else { return Ok(()) };
        if queue.blocking_send(Request::Close { reply }).is_err() {
            return Ok(());
        }
        let closed = answer.blocking_recv().unwrap_or(Ok(()));
        self.join();
        closed
    }

    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the store's writer thread panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        self.join();
    }
}

/// The thread's state.
struct Worker {
    shared: Arc<Shared>,
    counters: Counters,
    /// Set by the first transaction that fails; from then on every batch is refused with it.
    failed: Option<Fault>,
    closing: Vec<Reply>,
}

/// Batches for one transaction.
#[derive(Default)]
struct Group {
    batches: Vec<(Batch, Reply)>,
    size_bytes: usize,
}

impl Worker {
    fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let mut group = Group::default();
            self.take(first, &mut group, &mut requests);
            while group.size_bytes < GROUP_MAX_BYTES
                && let Ok(next) = requests.try_recv()
            {
                self.take(next, &mut group, &mut requests);
            }
            self.write(group);
        }
        let closed = self.shared.close();
        if let Err(error) = &closed {
            tracing::warn!(%error, "the store did not close cleanly");
        }
        let closed = match (self.failed, closed) {
            (None, Ok(())) => Ok(()),
            (Some(source), _) | (None, Err(source)) => Err(WriteError::Failed { source }),
        };
        for reply in self.closing {
            answer(reply, closed.clone());
        }
    }

    fn take(
        &mut self,
        request: Request,
        group: &mut Group,
        requests: &mut mpsc::Receiver<Request>,
    ) {
        match request {
            Request::Commit { batch, reply } => {
                group.size_bytes = group.size_bytes.saturating_add(batch.size_bytes());
                group.batches.push((batch, reply));
            }
            Request::Close { reply } => {
                // What is queued is still delivered; nothing new gets in.
                requests.close();
                self.closing.push(reply);
            }
        }
    }

    fn write(&mut self, group: Group) {
        let mut ready = Vec::with_capacity(group.batches.len());
        for (mut batch, reply) in group.batches {
            if let Some(source) = &self.failed {
                answer(reply, Err(WriteError::Failed { source: source.clone() }));
            } else if let Err(error) = place_blobs(&self.shared.layout, &mut batch) {
                answer(reply, Err(error));
            } else {
                ready.push((batch, reply));
            }
        }
        if ready.is_empty() {
            return;
        }
        let result = self.transact(&mut ready);
        if let Err(source) = &result {
            tracing::error!(error = %source, "the store failed and takes no more writes");
            self.failed = Some(source.clone());
        }
        let result = result.map_err(|source| WriteError::Failed { source });
        for (_, reply) in ready {
            answer(reply, result.clone());
        }
    }

    /// Writes all batches or none, then removes the files of blobs that were forgotten.
    fn transact(&mut self, batches: &mut [(Batch, Reply)]) -> Result<(), Fault> {
        let mut counters = self.counters;
        let mut forgotten = BTreeSet::new();
        self.shared.write(|transaction| {
            let mut tables = apply::Tables::open(transaction)?;
            for (batch, _) in batches {
                for operation in mem::take(&mut batch.operations) {
                    tables.apply(operation, &mut counters, &mut forgotten)?;
                }
            }
            drop(tables);
            put_counters(transaction, counters)
        })?;
        self.counters = counters;
        remove_files(&self.shared.layout, &forgotten);
        Ok(())
    }
}

/// Moves a batch's staged blobs into place and makes that durable, before any row names them.
fn place_blobs(layout: &Layout, batch: &mut Batch) -> Result<(), WriteError> {
    let failed = |path: PathBuf| {
        move |source| WriteError::Blob { path, source: Arc::<io::Error>::new(source) }
    };
    let mut dirs = BTreeSet::new();
    for operation in &mut batch.operations {
        if let Operation::AddBlob(staged) = operation {
            let hash = staged.hash();
            let target = layout.blob_file(&hash);
            staged.file.move_to(&target).map_err(failed(target))?;
            dirs.insert(layout.blob_dir(&hash));
        }
    }
    for dir in dirs {
        sync_dir(&dir).map_err(failed(dir))?;
    }
    Ok(())
}

/// After the commit: until then a row may still name the file. A file that stays behind is harmless.
fn remove_files(layout: &Layout, hashes: &BTreeSet<Hash>) {
    for hash in hashes {
        let path = layout.blob_file(hash);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a forgotten blob's file stays");
        }
    }
}

fn answer(reply: Reply, result: Result<(), WriteError>) {
    // Who asked may have gone; the batch is written all the same.
    let _ = reply.send(result);
}
