//! Writing records of ours. A log has one writer and never two records at one position, whatever happens in between:
//! a client that goes away, a process that is killed, a row that a disk damaged.
//!
//! One [`Writer`] exists at a time. Before it signs, it looks at what the store has at that position: a record that was
//! kept but did not enter its log is taken in first, and an unreadable one stops the writing, because its bytes may be
//! known to others. The work runs in the node's task group, to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use guildhall_core::Event;
use guildhall_gateway::ApiError;
use guildhall_protocol::PublicKey;
use guildhall_protocol::body::RecordBody;
use guildhall_protocol::record::{Header, Record, RecordError};
use guildhall_store::ReadError;
use tokio::sync::MutexGuard;

use super::App;
use super::effects::Context;
use crate::clock;

/// Which of this node's keys signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnLog {
    Node,
    Producer,
}

/// The one who may write records of ours now.
pub(super) struct Writer<'a> {
    app: &'a Arc<App>,
    _alone: MutexGuard<'a, ()>,
}

impl App {
    /// Waits until nobody else writes. What the holder does must run in the task group.
    pub(super) async fn writer(self: &Arc<Self>) -> Writer<'_> {
        Writer { app: self, _alone: self.writing.lock().await }
    }

    /// Writes a record of ours: signed, on disk, in its log, announced, in this order.
    pub(super) async fn write<T>(
        self: &Arc<Self>,
        log: OwnLog,
        body: T,
    ) -> Result<Record, WriteError>
    where
        T: RecordBody + Send + Sync + 'static,
    {
        let app = Arc::clone(self);
        let written =
            self.tasks.finish("write", async move { app.writer().await.write(log, &body).await });
        written.await.unwrap_or(Err(WriteError::Stopping))
    }

    /// Writes a new node record if the newest one is no longer true. What fails here is tried again by
    /// [`upkeep`](super::upkeep).
    pub(super) async fn describe(self: &Arc<Self>) -> Result<(), WriteError> {
        let app = Arc::clone(self);
        let described =
            self.tasks.finish("describe", async move { app.writer().await.describe().await });
        described.await.unwrap_or(Err(WriteError::Stopping))
    }

    /// What the store has in a log of ours at this position or beyond it.
    fn stored_from(&self, author: &PublicKey, seq: u64) -> Result<Stored, ReadError> {
        match self.store.records_of(author, seq, 1, usize::MAX) {
            Ok(found) => Ok(match found.first() {
                None => Stored::Nothing,
                Some(row) if row.seq == seq => Record::open(&row.bytes)
                    .map_or(Stored::Damaged, |record| Stored::Record(Box::new(record))),
                // The row itself is gone; that there are later ones says that it was there.
                Some(_) => Stored::Damaged,
            }),
            Err(ReadError::Corrupt { .. }) => Ok(Stored::Damaged),
            Err(error) => Err(error),
        }
    }
}

impl Writer<'_> {
    /// Writes the next record of one of our logs.
    pub(super) async fn write<T: RecordBody>(
        &self,
        log: OwnLog,
        body: &T,
    ) -> Result<Record, WriteError> {
        let record = loop {
            let record = self.sign(log, body)?;
            let Header { author, seq, prev, .. } = *record.header();
            match self.app.stored_from(&author, seq)? {
                Stored::Nothing => break record,
                Stored::Record(kept) if is_at(kept.header(), (author, seq), prev) => {
                    tracing::warn!(seq, "a record that was kept but not announced enters its log");
                    self.enter(*kept).await?;
                }
                Stored::Record(_) | Stored::Damaged => return Err(WriteError::LogDamaged { seq }),
            }
        };
        self.app.keep(std::slice::from_ref(&record)).await?;
        self.enter(record.clone()).await?;
        Ok(record)
    }

    /// Writes a new node record if the newest one is no longer true.
    pub(super) async fn describe(&self) -> Result<(), WriteError> {
        let body = self.app.core().new_node_body();
        let described = match body {
            Some(body) => self.write(OwnLog::Node, &body).await.map(drop),
            None => Ok(()),
        };
        self.app.undescribed.store(described.is_err(), Ordering::Relaxed);
        described
    }

    /// Signs what would be the next record.
    fn sign<T: RecordBody>(&self, log: OwnLog, body: &T) -> Result<Record, WriteError> {
        let core = self.app.core();
        let record = match log {
            OwnLog::Node => core.write_as_node(body, clock::now_ms())?,
            OwnLog::Producer => core.write_as_producer(body, clock::now_ms())?,
        };
        match core.logs().fork_of(&record.header().author) {
            Some(fork) => Err(WriteError::LogForked { seq: fork.seq }),
            None => Ok(record),
        }
    }

    /// A record that is on disk enters its log and spreads.
    async fn enter(&self, record: Record) -> Result<(), WriteError> {
        let Header { author, seq, .. } = *record.header();
        let id = record.id();
        self.app.drive(Event::Wrote(Box::new(record)), Context::default()).await;
        match self.app.core().logs().id_at(&author, seq) == Some(id) {
            true => Ok(()),
            false => Err(WriteError::LogForked { seq }),
        }
    }
}

/// What is on disk where the next record would go.
enum Stored {
    Nothing,
    Record(Box<Record>),
    /// Something that cannot be read.
    Damaged,
}

fn is_at(
    header: &Header,
    (author, seq): (PublicKey, u64),
    prev: Option<guildhall_protocol::RecordId>,
) -> bool {
    header.author == author && header.seq == seq && header.prev == prev
}

/// Why a record of ours was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("the record could not be kept: {0}")]
    Store(#[from] guildhall_store::WriteError),
    #[error("the log on disk could not be read: {0}")]
    Read(#[from] ReadError),
    #[error(
        "record {seq} of this node's own log is damaged on disk; nothing is written until a peer has sent it again"
    )]
    LogDamaged { seq: u64 },
    #[error(
        "this node's key was used by two writers (record {seq} exists twice), so nobody takes new records of it"
    )]
    LogForked { seq: u64 },
    #[error("the node is stopping")]
    Stopping,
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        let message = error.to_string();
        match error {
            WriteError::LogDamaged { .. } => {
                Self::unavailable("log_damaged", message).with_help("guild peers")
            }
            WriteError::LogForked { .. } => {
                Self::conflict("log_forked", message).with_help("guild node renew --new-keys")
            }
            WriteError::Stopping => Self::unavailable("stopping", message),
            WriteError::Record(_) | WriteError::Store(_) | WriteError::Read(_) => {
                Self::internal(message)
            }
        }
    }
}
