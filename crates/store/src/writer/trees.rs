//! Rows of trees. The trees of many or large blobs are too much for one transaction; what is over goes in transactions
//! before it. If the process dies in between, these rows belong to no blob; a sweep removes them.

use std::collections::BTreeSet;

use guildhall_protocol::Hash;

use crate::batch::{Batch, Operation};
use crate::blob::{Content, Tree};
use crate::error::Fault;
use crate::shared::Shared;
use crate::table::{TREES, seal, tree_key};

use super::apply::OpenTable;

/// Rows of trees that go into one transaction, bytes: the tree of an 8 GB blob. Bounds what redb holds in memory. In
/// tests, the tree of a 36 MB blob.
const TREES_MAX_BYTES: u64 = if cfg!(test) { 72 * 1024 } else { 16 * 1024 * 1024 };

/// Writes the trees that do not fit the batches' own transaction; returns whose they are.
pub(super) fn write_early<'b>(
    shared: &Shared,
    batches: impl Iterator<Item = &'b Batch>,
) -> Result<BTreeSet<Hash>, Fault> {
    let mut early = BTreeSet::new();
    let mut together_bytes = 0_u64;
    for operation in batches.flat_map(|batch| &batch.operations) {
        let Operation::AddBlob(staged) = operation else { continue };
        let Content::File { tree, .. } = &staged.content else { continue };
        let all_bytes = together_bytes.saturating_add(tree.rows_bytes());
        if all_bytes <= TREES_MAX_BYTES {
            together_bytes = all_bytes;
            continue;
        }
        let hash = staged.hash();
        let rows_each = (TREES_MAX_BYTES / tree.rows_bytes().div_ceil(tree.piece_count())).max(1);
        let mut next = 0;
        while next < tree.piece_count() {
            let end = next.saturating_add(rows_each).min(tree.piece_count());
            shared.write(|transaction| {
                let mut table = transaction.open_table(TREES)?;
                (next..end).try_for_each(|piece| put_piece(&mut table, &hash, tree, piece))
            })?;
            next = end;
        }
        early.insert(hash);
    }
    Ok(early)
}

/// Writes the row of one piece.
pub(super) fn put_piece(
    table: &mut OpenTable<'_>,
    hash: &Hash,
    tree: &Tree,
    piece: u64,
) -> Result<(), Fault> {
    let number = u32::try_from(piece).map_err(|_| Fault::inconsistent("a blob is too long"))?;
    let key = tree_key(hash, number);
    let value = seal(TREES, &key, &[&tree.groups(piece)?]);
    table.insert(key.as_slice(), value.as_slice())?;
    Ok(())
}
