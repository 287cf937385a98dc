//! The writer thread: takes batches from a bounded queue, moves their blobs into place, and writes as many batches as
//! are waiting in one transaction.
//!
//! All changes in `blobs/` happen here, in the order of the batches. Otherwise forgetting a blob could remove the file
//! that a second import has just put in its place.

use std::io;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use crate::batch::Batch;
use crate::counters::Counters;
use crate::database::put_counters;
use crate::error::{Fault, WriteError};
use crate::shared::Shared;

mod apply;
mod files;
mod trees;

pub(crate) use files::prepare_blobs;

/// Most requests that wait for the writer. A transaction takes milliseconds, so this is what arrives during a few of
/// them; when full, callers wait.
pub const QUEUE_CAPACITY: usize = 256;

/// When the batches gathered for one transaction reach this many bytes, it starts without waiting for more: bounds the
/// memory of a transaction and how long the first caller waits for the others' bytes. The rest stays queued.
pub const GROUP_MAX_BYTES: usize = 32 * 1024 * 1024;

type Reply = oneshot::Sender<Result<(), WriteError>>;

enum Request {
    Commit {
        batch: Batch,
        reply: Reply,
    },
    /// Has the thread stand still until the batch comes, and write that before all others.
    Hold {
        reached: oneshot::Sender<()>,
        batch: oneshot::Receiver<Batch>,
        reply: Reply,
    },
    Close {
        reply: Reply,
    },
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

    /// Runs `decide` while the writer thread stands still, with everything that was committed before on disk and
    /// nothing else on its way, and writes the batch it returns. An empty one costs nothing.
    pub(crate) fn hold(&self, decide: impl FnOnce() -> Batch) -> Result<(), WriteError> {
        let (reached, standing) = oneshot::channel();
        let (send, batch) = oneshot::channel();
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(WriteError::Closed)?;
        let sent = queue.blocking_send(Request::Hold { reached, batch, reply });
        sent.map_err(|_| WriteError::Closed)?;
        standing.blocking_recv().map_err(|_| WriteError::Closed)?;
        let batch = decide().checked()?;
        send.send(batch).map_err(|_| WriteError::Closed)?;
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
    /// Set by a transaction that fails, until the database could be opened again.
    failed: Option<Fault>,
    closing: Vec<Reply>,
}

/// Batches for one transaction.
#[derive(Default)]
struct Group {
    batches: Vec<(Batch, Reply)>,
    size_bytes: usize,
    /// Who wants the thread to stand still after this transaction.
    hold: Option<(oneshot::Sender<()>, oneshot::Receiver<Batch>, Reply)>,
}

impl Worker {
    fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let mut group = Group::default();
            self.take(first, &mut group, &mut requests);
            while group.size_bytes < GROUP_MAX_BYTES
                && group.hold.is_none()
                && let Ok(next) = requests.try_recv()
            {
                self.take(next, &mut group, &mut requests);
            }
            let hold = group.hold.take();
            self.write(group.batches);
            if let Some((reached, batch, reply)) = hold {
                self.stand_still(reached, batch, reply);
            }
        }
        let closed = self.shared.close();
        if let Err(error) = &closed {
            tracing::warn!(%error, "the store did not close cleanly");
        }
        let closed = closed.map_err(WriteError::from_fault);
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
            Request::Hold { reached, batch, reply } => group.hold = Some((reached, batch, reply)),
            Request::Close { reply } => {
                // What is queued is still delivered; nothing new gets in.
                requests.close();
                self.closing.push(reply);
            }
        }
    }

    fn stand_still(
        &mut self,
        reached: oneshot::Sender<()>,
        batch: oneshot::Receiver<Batch>,
        reply: Reply,
    ) {
        // Without who asked there is nothing to wait for.
        if reached.send(()).is_err() {
            return;
        }
        match batch.blocking_recv() {
            Ok(batch) if batch.is_empty() => answer(reply, Ok(())),
            Ok(batch) => self.write(vec![(batch, reply)]),
            Err(_) => {}
        }
    }

    fn write(&mut self, batches: Vec<(Batch, Reply)>) {
        if batches.is_empty() {
            return;
        }
        if let Some(fault) = &self.failed {
            tracing::debug!(error = %fault, "trying to open the catalogue again");
            self.recover();
        }
        let mut ready = Vec::with_capacity(batches.len());
        for (mut batch, reply) in batches {
            if let Some(source) = &self.failed {
                answer(reply, Err(WriteError::from_fault(source.clone())));
            } else if let Err(error) = files::place_blobs(&*self.shared.shelf, &mut batch) {
                answer(reply, Err(error));
            } else {
                ready.push((batch, reply));
            }
        }
        if ready.is_empty() {
            return;
        }
        let mut begun = false;
        let mut result = self.transact(&mut ready, &mut begun);
        if let Err(fault) = &result
            && !begun
        {
            // The database failed earlier, in a read: nothing of these batches has happened.
            tracing::warn!(error = %fault, "opening the catalogue again before writing");
            self.recover();
            result = match &self.failed {
                None => self.transact(&mut ready, &mut begun),
                Some(fault) => Err(fault.clone()),
            };
        }
        if let Err(source) = &result {
            tracing::error!(error = %source, "a transaction failed; opening the catalogue again");
            self.failed = Some(source.clone());
            self.recover();
        }
        let result = result.map_err(WriteError::from_fault);
        for (_, reply) in ready {
            answer(reply, result.clone());
        }
    }

    /// One try to open the database again. There is one right after a failure, so that reads go on, and one with every
    /// transaction until it works.
    fn recover(&mut self) {
        match self.shared.reopen() {
            Ok(counters) => {
                self.counters = counters;
                self.failed = None;
            }
            Err(fault) => self.failed = Some(fault),
        }
    }

    /// Writes all batches or none, then does to files what follows from it. `begun` says whether anything was tried.
    fn transact(&mut self, batches: &mut [(Batch, Reply)], begun: &mut bool) -> Result<(), Fault> {
        let early = trees::write_early(&self.shared, batches.iter().map(|(batch, _)| batch))?;
        let mut counters = self.counters;
        let mut effects = files::Effects::default();
        self.shared.write(|transaction| {
            *begun = true;
            let mut tables = apply::Tables::open(transaction, &early)?;
            for (batch, _) in batches {
                for operation in mem::take(&mut batch.operations) {
                    tables.apply(operation, &mut counters, &mut effects)?;
                }
            }
            drop(tables);
            put_counters(transaction, counters)
        })?;
        self.counters = counters;
        effects.carry_out(&self.shared);
        Ok(())
    }
}

fn answer(reply: Reply, result: Result<(), WriteError>) {
    // Who asked may have gone; the batch is written all the same.
    let _ = reply.send(result);
}
