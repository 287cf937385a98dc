//! What the handles and the writer thread share: the open database, the folders, and which blobs are being received.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use guildhall_protocol::Hash;
use redb::{Database, ReadTransaction, ReadableDatabase as _, WriteTransaction};

use crate::counters::Counters;
use crate::database;
use crate::error::{Fault, ReadError, Row, fenced};
use crate::layout::Layout;
use crate::shelf::Shelf;
use crate::table::{Table, unseal};

/// Opens the database, at the start and again after a failure.
pub(crate) type Medium = Box<dyn Fn() -> Result<Database, Fault> + Send + Sync>;

/// See the module.
pub(crate) struct Shared {
    pub(crate) layout: Arc<Layout>,
    pub(crate) shelf: Box<dyn Shelf>,
    medium: Medium,
    /// `None` once closed. Locked only to start a transaction, and by the writer thread while it writes.
    opened: RwLock<Option<Opened>>,
    /// Blobs that a [`Partial`](crate::Partial) is open for.
    pub(crate) begun: Mutex<BTreeSet<Hash>>,
}

struct Opened {
    /// The fault, after a failure that could not be mended yet.
    database: Result<Database, Fault>,
    _lock: File,
}

impl Shared {
    pub(crate) fn new(
        layout: Arc<Layout>,
        shelf: Box<dyn Shelf>,
        lock: File,
        database: Database,
        medium: Medium,
    ) -> Self {
        Self {
            shelf,
            layout,
            medium,
            opened: RwLock::new(Some(Opened { database: Ok(database), _lock: lock })),
            begun: Mutex::new(BTreeSet::new()),
        }
    }

    /// Runs `work` on a snapshot. Whatever was acknowledged before this call is in it.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let result = fenced(|| {
            let transaction = {
                let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
                let opened = opened.as_ref().ok_or(ReadError::Closed)?;
                match &opened.database {
                    Ok(database) => database.begin_read()?,
                    Err(source) => return Err(ReadError::Database { source: source.clone() }),
                }
            };
            work(&transaction)
        });
        match result {
            // The writer took the database away while this was reading, to open it again.
            Err(ReadError::Closed) if self.is_open() => {
                let source = Fault::inconsistent("it was opened again after a failure");
                Err(ReadError::Database { source })
            }
            result => result,
        }
    }

    fn is_open(&self) -> bool {
        self.opened.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The payload at `key`, checked. `what` names the row if it is damaged.
    pub(crate) fn payload(
        &self,
        table: Table,
        key: &[u8],
        what: impl FnOnce() -> Row,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|transaction| {
            let Some(row) = transaction.open_table(table)?.get(key)? else { return Ok(None) };
            match unseal(table, key, row.value()) {
                Some(payload) => Ok(Some(payload.to_vec())),
                None => Err(ReadError::Corrupt { what: what() }),
            }
        })
    }

    /// Runs `work` in a write transaction and commits it. Only for the writer thread.
    pub(crate) fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        let opened = opened.as_ref().ok_or(Fault::inconsistent("written after close"))?;
        match &opened.database {
            Ok(database) => fenced(|| database::write(database, work)),
            Err(fault) => Err(fault.clone()),
        }
    }

    /// After a failed transaction: drops the database, which redb refuses to go on with, and opens the file anew. What
    /// was acknowledged is in it; nothing is synced a second time that failed to sync. Only for the writer thread.
    ///
    /// Returns the totals as the database has them.
    pub(crate) fn reopen(&self) -> Result<Counters, Fault> {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        let opened = opened.as_mut().ok_or(Fault::inconsistent("opened after close"))?;
        let between = Fault::inconsistent("it is being opened again after a failure");
        if let Ok(database) = std::mem::replace(&mut opened.database, Err(between))
            && let Err(error) = fenced(|| database.close().map_err(Fault::from))
        {
            tracing::debug!(%error, "as expected, the failed database does not close cleanly");
        }
        opened.database = fenced(|| (self.medium)());
        let counters = match &opened.database {
            Ok(database) => fenced(|| database::load_counters(database)),
            Err(fault) => Err(fault.clone()),
        };
        if let Err(fault) = &counters {
            opened.database = Err(fault.clone());
        }
        counters
    }

    /// Closes the database and gives up the lock. Only for the writer thread, as its last act.
    pub(crate) fn close(&self) -> Result<(), Fault> {
        let opened = self.opened.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Opened { database, _lock }) = opened else { return Ok(()) };
        fenced(|| database?.close().map_err(Fault::from))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&self.layout.dir()).finish()
    }
}
