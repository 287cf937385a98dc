//! What a caller wants written, together.

use guildhall_protocol::{Hash, PackageId, PublicKey, RecordId};

use crate::blob::StagedBlob;
use crate::error::WriteError;
use crate::shelf::Prepared;
use crate::table::Collection;

/// Largest payload of one row, bytes: twice the largest manifest, the biggest thing kept in a row. A batch with a
/// longer one is refused with [`WriteError::TooLarge`]; larger things belong into blobs.
pub const ROW_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Largest batch, bytes, counting a fixed overhead per operation: about a thousand full records. Bounds what the queue
/// holds; a larger batch is refused with [`WriteError::TooLarge`].
pub const BATCH_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Longest document key, bytes: several ids and a name, and short enough for many keys to share a page. A longer one
/// is refused with [`WriteError::TooLarge`].
pub const DOCUMENT_KEY_MAX_BYTES: usize = 512;

/// What an operation is taken to cost beside its bytes, so that a batch of many tiny ones is bounded too.
const OPERATION_OVERHEAD_BYTES: usize = 128;

/// Changes that [`Store::commit`](crate::Store::commit) applies together, in the order they were added, or not at all.
#[derive(Debug, Default)]
#[must_use = "a batch has no effect until it is committed"]
pub struct Batch {
    pub(crate) operations: Vec<Operation>,
    /// What a shelf that is elsewhere has of this batch already.
    pub(crate) prepared: Vec<Prepared>,
    size_bytes: usize,
    refused: Option<WriteError>,
}

#[derive(Debug)]
pub(crate) enum Operation {
    PutRecord {
        author: PublicKey,
        seq: u64,
        id: RecordId,
        bytes: Vec<u8>,
    },
    PutPackage {
        id: PackageId,
        bytes: Vec<u8>,
    },
    DeletePackage(PackageId),
    PutDocument {
        collection: Collection,
        key: Vec<u8>,
        bytes: Vec<u8>,
    },
    DeleteDocument {
        collection: Collection,
        key: Vec<u8>,
    },
    AddBlob(StagedBlob),
    ForgetBlob(Hash),
    /// Writes the row of an unfinished blob, and rows of its tree.
    SavePartial {
        hash: Hash,
        row: Vec<u8>,
        tree: Vec<TreeRow>,
    },
    ForgetPartial(Hash),
    /// Writes rows of the tree of a blob that is here.
    SaveTree {
        hash: Hash,
        tree: Vec<TreeRow>,
    },
    /// Makes a damaged blob an unfinished one.
    Demote {
        hash: Hash,
        row: Vec<u8>,
    },
    /// Removes the tree of a blob that has no row.
    DropTree(Hash),
    /// Removes a file in `blobs/` that has no row.
    RemoveStray(Hash),
}

/// A row of `trees`: the piece, or [`PIECE_LIST`](crate::table::PIECE_LIST), and CVs side by side.
pub(crate) type TreeRow = (u32, Vec<u8>);

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Writes the record at (`author`, `seq`), over the one that is there. The replaced record's id leads nowhere
    /// afterwards.
    pub fn put_record(&mut self, author: PublicKey, seq: u64, id: RecordId, bytes: Vec<u8>) {
        self.check_row("a record", bytes.len());
        self.push(bytes.len(), Operation::PutRecord { author, seq, id, bytes });
    }

    /// Writes a package's manifest.
    pub fn put_package(&mut self, id: PackageId, bytes: Vec<u8>) {
        self.check_row("a manifest", bytes.len());
        self.push(bytes.len(), Operation::PutPackage { id, bytes });
    }

    /// Removes a package's manifest, if it is there. Its blobs stay.
    pub fn delete_package(&mut self, id: PackageId) {
        self.push(0, Operation::DeletePackage(id));
    }

    /// Writes a document, over the one that is there.
    pub fn put_document(&mut self, collection: Collection, key: &[u8], bytes: Vec<u8>) {
        self.check_row("a document", bytes.len());
        self.check("a document's key", key.len(), DOCUMENT_KEY_MAX_BYTES);
        let key = key.to_vec();
        self.push(
            key.len().saturating_add(bytes.len()),
            Operation::PutDocument { collection, key, bytes },
        );
    }

    /// Removes a document, if it is there.
    pub fn delete_document(&mut self, collection: Collection, key: &[u8]) {
        self.push(key.len(), Operation::DeleteDocument { collection, key: key.to_vec() });
    }

    /// Moves a staged blob into place and writes its rows. If the batch is dropped or refused, the staged file goes too;
    /// one from a [`Partial`](crate::Partial) stays and can be opened as such again.
    pub fn add_blob(&mut self, staged: StagedBlob) {
        self.push(staged.memory_bytes(), Operation::AddBlob(staged));
    }

    /// Removes a blob's row, then its file, so that it can be fetched again. Who has the file open keeps reading it.
    pub fn forget_blob(&mut self, hash: Hash) {
        self.push(0, Operation::ForgetBlob(hash));
    }

    /// Removes what has come of an unfinished blob. One that is open as a [`Partial`](crate::Partial) starts anew when
    /// it is opened the next time.
    pub fn forget_partial(&mut self, hash: Hash) {
        self.push(0, Operation::ForgetPartial(hash));
    }

    /// Whether it adds a blob that has a file.
    pub(crate) fn has_files(&self) -> bool {
        let has_file = |operation: &Operation| match operation {
            Operation::AddBlob(staged) => staged.path().is_some(),
            _ => false,
        };
        self.operations.iter().any(has_file)
    }

    pub(crate) fn save_partial(&mut self, hash: Hash, row: Vec<u8>, tree: Vec<TreeRow>) {
        let len_bytes = row.len().saturating_add(tree_bytes(&tree));
        self.push(len_bytes, Operation::SavePartial { hash, row, tree });
    }

    pub(crate) fn save_tree(&mut self, hash: Hash, tree: Vec<TreeRow>) {
        self.push(tree_bytes(&tree), Operation::SaveTree { hash, tree });
    }

    pub(crate) fn demote(&mut self, hash: Hash, row: Vec<u8>) {
        self.push(row.len(), Operation::Demote { hash, row });
    }

    pub(crate) fn drop_tree(&mut self, hash: Hash) {
        self.push(0, Operation::DropTree(hash));
    }

    pub(crate) fn remove_stray(&mut self, hash: Hash) {
        self.push(0, Operation::RemoveStray(hash));
    }

    /// What the batch counts for against [`BATCH_MAX_BYTES`].
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The first bound that was overstepped, if any.
    pub(crate) fn checked(mut self) -> Result<Self, WriteError> {
        self.check("a batch", self.size_bytes, BATCH_MAX_BYTES);
        match self.refused {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    fn push(&mut self, len_bytes: usize, operation: Operation) {
        let cost = len_bytes.saturating_add(OPERATION_OVERHEAD_BYTES);
        self.size_bytes = self.size_bytes.saturating_add(cost);
        self.operations.push(operation);
    }

    fn check_row(&mut self, what: &'static str, len_bytes: usize) {
        self.check(what, len_bytes, ROW_MAX_BYTES);
    }

    fn check(&mut self, what: &'static str, found_bytes: usize, max_bytes: usize) {
        if found_bytes > max_bytes && self.refused.is_none() {
            let (found_bytes, max_bytes) = (found_bytes as u64, max_bytes as u64);
            self.refused = Some(WriteError::TooLarge { what, found_bytes, max_bytes });
        }
    }
}

fn tree_bytes(tree: &[TreeRow]) -> usize {
    tree.iter().map(|(_, cvs)| cvs.len()).fold(0, usize::saturating_add)
}
