//! One operation, inside a write transaction.

use std::collections::BTreeSet;

use guildhall_protocol::{Hash, PublicKey, RecordId};
use redb::{ReadableTable as _, WriteTransaction};

use crate::batch::{Operation, TreeRow};
use crate::blob::{Content, StagedBlob};
use crate::counters::Counters;
use crate::error::Fault;
use crate::row::BlobRow;
use crate::table::{
    BLOBS, Collection, PACKAGES, PARTIALS, PIECE_LIST, RECORD_IDS, RECORDS, TREES, Table,
    parse_hash, record_key, seal, tree_key, unseal,
};

use super::files::Effects;
use super::trees;

pub(super) type OpenTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

/// The tables of a transaction, opened once for all its batches.
pub(super) struct Tables<'t> {
    records: OpenTable<'t>,
    record_ids: OpenTable<'t>,
    packages: OpenTable<'t>,
    blobs: OpenTable<'t>,
    trees: OpenTable<'t>,
    partials: OpenTable<'t>,
    documents: [OpenTable<'t>; Collection::ALL.len()],
    /// Blobs whose trees were written in transactions before this one.
    early: &'t BTreeSet<Hash>,
    /// Blobs whose trees were removed in this transaction.
    dropped: BTreeSet<Hash>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(
        transaction: &'t WriteTransaction,
        early: &'t BTreeSet<Hash>,
    ) -> Result<Self, Fault> {
        let open = |table: Table| transaction.open_table(table).map_err(Fault::from);
        let [receipts, runs, identity, error_logs, cache] = Collection::ALL;
        Ok(Self {
            records: open(RECORDS)?,
            record_ids: open(RECORD_IDS)?,
            packages: open(PACKAGES)?,
            blobs: open(BLOBS)?,
            trees: open(TREES)?,
            partials: open(PARTIALS)?,
            early,
            dropped: BTreeSet::new(),
            documents: [
                open(receipts.table())?,
                open(runs.table())?,
                open(identity.table())?,
                open(error_logs.table())?,
                open(cache.table())?,
            ],
        })
    }

    /// Carries out `operation`. `effects` ends with what is to happen to files after the commit.
    pub(super) fn apply(
        &mut self,
        operation: Operation,
        counters: &mut Counters,
        effects: &mut Effects,
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
                self.add_blob(&staged, counters, effects)?;
                if staged.path().is_some() {
                    effects.added(staged);
                }
            }
            Operation::ForgetBlob(hash) => {
                if let Some(old) = self.blobs.remove(hash.as_bytes().as_slice())? {
                    counters.remove_blob(old.value());
                }
                self.drop_tree(&hash)?;
                effects.forget_blob(hash);
            }
            Operation::SavePartial { hash, row, tree } => {
                self.put_partial(&hash, &row)?;
                self.put_tree(&hash, &tree)?;
                effects.keep_partial(hash);
            }
            Operation::ForgetPartial(hash) => {
                self.partials.remove(hash.as_bytes().as_slice())?;
                self.drop_tree(&hash)?;
                effects.forget_partial(hash);
            }
            Operation::SaveTree { hash, tree } => self.put_tree(&hash, &tree)?,
            Operation::Demote { hash, row } => {
                let was_here = match self.blobs.remove(hash.as_bytes().as_slice())? {
                    Some(old) => {
                        counters.remove_blob(old.value());
                        true
                    }
                    None => false,
                };
                if was_here {
                    self.put_partial(&hash, &row)?;
                    effects.demote(hash);
                }
            }
            Operation::DropTree(hash) => self.drop_tree(&hash)?,
            Operation::RemoveStray(hash) => {
                if self.blobs.get(hash.as_bytes().as_slice())?.is_none() {
                    effects.forget_blob(hash);
                }
            }
        }
        Ok(())
    }

    fn add_blob(
        &mut self,
        staged: &StagedBlob,
        counters: &mut Counters,
        effects: &mut Effects,
    ) -> Result<(), Fault> {
        let hash = staged.hash();
        let key = hash.as_bytes().as_slice();
        let row = match &staged.content {
            Content::Inline(bytes) => BlobRow::Inline(bytes),
            Content::File { tree, .. } => {
                if !self.early.contains(&hash) || self.dropped.contains(&hash) {
                    for piece in 0..tree.piece_count() {
                        trees::put_piece(&mut self.trees, &hash, tree, piece)?;
                    }
                }
                if let Some(list) = tree.piece_list() {
                    self.put_tree(&hash, &[(PIECE_LIST, list)])?;
                }
                BlobRow::File { len_bytes: staged.len_bytes() }
            }
            Content::Partial { .. } => {
                self.partials.remove(key)?;
                BlobRow::File { len_bytes: staged.len_bytes() }
            }
        };
        let value = row.seal(&hash);
        counters.add_blob(&value);
        if let Some(old) = self.blobs.insert(key, value.as_slice())? {
            counters.remove_blob(old.value());
        }
        effects.keep_blob(hash);
        Ok(())
    }

    fn put_partial(&mut self, hash: &Hash, row: &[u8]) -> Result<(), Fault> {
        let key = hash.as_bytes().as_slice();
        let value = seal(PARTIALS, key, &[row]);
        self.partials.insert(key, value.as_slice())?;
        Ok(())
    }

    fn put_tree(&mut self, hash: &Hash, rows: &[TreeRow]) -> Result<(), Fault> {
        for (piece, cvs) in rows {
            let key = tree_key(hash, *piece);
            let value = seal(TREES, &key, &[cvs]);
            self.trees.insert(key.as_slice(), value.as_slice())?;
        }
        Ok(())
    }

    /// Removes the tree, unless a row still needs it.
    fn drop_tree(&mut self, hash: &Hash) -> Result<(), Fault> {
        let key = hash.as_bytes().as_slice();
        if self.blobs.get(key)?.is_some() || self.partials.get(key)?.is_some() {
            return Ok(());
        }
        let (first, last) = (tree_key(hash, 0), tree_key(hash, PIECE_LIST));
        self.trees.retain_in::<&[u8], _>(first.as_slice()..=last.as_slice(), |_, _| false)?;
        self.dropped.insert(*hash);
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
