//! One operation, inside a write transaction.

use std::collections::BTreeSet;

use guildhall_protocol::{Hash, PublicKey, RecordId};
use redb::WriteTransaction;

use crate::batch::Operation;
use crate::error::Fault;
use crate::table::{
    BLOBS, Collection, Counters, PACKAGES, RECORD_IDS, RECORDS, Table, parse_hash, record_key,
    seal, unseal,
};

type OpenTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

/// The tables of a transaction, opened once for all its batches.
pub(super) struct Tables<'t> {
    records: OpenTable<'t>,
    record_ids: OpenTable<'t>,
    packages: OpenTable<'t>,
    blobs: OpenTable<'t>,
    documents: [OpenTable<'t>; Collection::ALL.len()],
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, Fault> {
        let open = |table: Table| transaction.open_table(table).map_err(Fault::from);
        let [receipts, runs, identity, error_logs, cache] = Collection::ALL;
        Ok(Self {
            records: open(RECORDS)?,
            record_ids: open(RECORD_IDS)?,
            packages: open(PACKAGES)?,
            blobs: open(BLOBS)?,
            documents: [
                open(receipts.table())?,
                open(runs.table())?,
                open(identity.table())?,
                open(error_logs.table())?,
                open(cache.table())?,
            ],
        })
    }

    /// Carries out `operation`. `forgotten` ends with the blobs whose files go after the commit.
    pub(super) fn apply(
        &mut self,
        operation: Operation,
        counters: &mut Counters,
        forgotten: &mut BTreeSet<Hash>,
    ) -> Result<(), Fault> {
        match operation {
            Operation::PutRecord { author, seq, id, bytes } => {
                self.put_record(author, seq, id, &bytes, counters)?;
            }
            Operation::PutPackage { id, bytes } => {
                let key = id.0.as_bytes().as_slice();
                let value = seal(PACKAGES, key, &[&bytes]);
                counters.add_package(&value);
                if let Some(old) = self.packages.insert(key, value.as_slice())? {
                    counters.remove_package(old.value());
                }
            }
            Operation::DeletePackage(id) => {
                if let Some(old) = self.packages.remove(id.0.as_bytes().as_slice())? {
                    counters.remove_package(old.value());
                }
            }
            Operation::PutDocument { collection, key, bytes } => {
                let value = seal(collection.table(), &key, &[&bytes]);
                self.documents(collection).insert(key.as_slice(), value.as_slice())?;
            }
            Operation::DeleteDocument { collection, key } => {
                self.documents(collection).remove(key.as_slice())?;
            }
            Operation::AddBlob(staged) => {
                let hash = staged.hash();
                let key = hash.as_bytes().as_slice();
                let value = seal(BLOBS, key, &[&staged.len_bytes().to_be_bytes()]);
                counters.add_blob(&value);
                if let Some(old) = self.blobs.insert(key, value.as_slice())? {
                    counters.remove_blob(old.value());
                }
                forgotten.remove(&hash);
            }
            Operation::ForgetBlob(hash) => {
                if let Some(old) = self.blobs.remove(hash.as_bytes().as_slice())? {
                    counters.remove_blob(old.value());
                }
                forgotten.insert(hash);
            }
        }
        Ok(())
    }

    fn put_record(
        &mut self,
        author: PublicKey,
        seq: u64,
        id: RecordId,
        bytes: &[u8],
        counters: &mut Counters,
    ) -> Result<(), Fault> {
        let key = record_key(&author, seq);
        let id_key = id.0.as_bytes().as_slice();
        let value = seal(RECORDS, &key, &[id_key, bytes]);
        counters.add_record(&value);
        let replaced = match self.records.insert(key.as_slice(), value.as_slice())? {
            None => None,
            Some(old) => {
                counters.remove_record(old.value());
                let payload = unseal(RECORDS, &key, old.value());
                payload.and_then(|payload| payload.get(..32)).and_then(parse_hash)
            }
        };
        if let Some(old) = replaced
            && old != id.0
        {
            self.record_ids.remove(old.as_bytes().as_slice())?;
        }
        let value = seal(RECORD_IDS, id_key, &[&key]);
        self.record_ids.insert(id_key, value.as_slice())?;
        Ok(())
    }

    fn documents(&mut self, collection: Collection) -> &mut OpenTable<'t> {
        let [receipts, runs, identity, error_logs, cache] = &mut self.documents;
        match collection {
            Collection::Receipts => receipts,
            Collection::Runs => runs,
            Collection::Identity => identity,
            Collection::ErrorLogs => error_logs,
            Collection::Cache => cache,
        }
    }
}
