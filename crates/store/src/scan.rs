//! Going through a table without holding it all, and without holding one snapshot for long: an old snapshot keeps redb
//! from reusing pages.

use std::ops::Bound;

use redb::ReadTransaction;

use crate::error::{Fault, ReadError};
use crate::shared::Shared;
use crate::table::Table;

/// Rows and bytes of one page of a scan: enough that starting transactions costs nothing beside it, little enough to
/// hold. A page always has at least one row.
const PAGE_MAX_ROWS: usize = 1024;
const PAGE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// A stretch of a table: keys and stored values, not yet checked.
pub(crate) struct Page {
    pub(crate) rows: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether rows follow.
    pub(crate) more: bool,
}

impl Shared {
    /// The rows after `after`, up to either bound.
    pub(crate) fn page(
        &self,
        table: Table,
        after: Option<&[u8]>,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Page, ReadError> {
        self.read(|transaction| {
            let table = transaction.open_table(table)?;
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut page = Page { rows: Vec::new(), more: false };
            let mut size_bytes = 0_usize;
            for row in table.range::<&[u8]>((start, Bound::Unbounded))? {
                let (key, value) = row?;
                let (key, value) = (key.value(), value.value());
                let last = page.rows.last().map(|(key, _)| key.as_slice()).or(after);
                check_order(last, key)?;
                size_bytes = size_bytes.saturating_add(key.len()).saturating_add(value.len());
                let full = page.rows.len() >= max_rows || size_bytes > max_bytes;
                if full && !page.rows.is_empty() {
                    page.more = true;
                    break;
                }
                page.rows.push((key.to_vec(), value.to_vec()));
            }
            Ok(page)
        })
    }

    /// Shows every row to `visit`, page by page. Rows written meanwhile may or may not be among them.
    pub(crate) fn for_each_row(
        &self,
        table: Table,
        mut visit: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), ReadError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.page(table, after.as_deref(), PAGE_MAX_ROWS, PAGE_MAX_BYTES)?;
            for (key, value) in &page.rows {
                visit(key, value);
            }
            if !page.more {
                return Ok(());
            }
            after = page.rows.into_iter().next_back().map(|(key, _)| key);
        }
    }
}

/// Shows every row of one snapshot to `visit`; for use before the store is open.
pub(crate) fn each(
    transaction: &ReadTransaction,
    table: Table,
    mut visit: impl FnMut(&[u8], &[u8]),
) -> Result<(), Fault> {
    let table = transaction.open_table(table)?;
    for row in table.range::<&[u8]>(..)? {
        let (key, value) = row?;
        visit(key.value(), value.value());
    }
    Ok(())
}

/// On a damaged page keys can come in any order, and a scan that goes on from the last one would never end.
fn check_order(last: Option<&[u8]>, key: &[u8]) -> Result<(), Fault> {
    if last.is_some_and(|last| last >= key) {
        return Err(Fault::inconsistent("keys of a table are out of order"));
    }
    Ok(())
}
