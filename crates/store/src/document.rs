//! Reading packages and documents. All calls block for a few page reads; listings for one page of rows at a time.

use guildhall_protocol::PackageId;

use crate::error::{ReadError, Row};
use crate::store::Store;
use crate::table::{Collection, PACKAGES, parse_hash, unseal};

/// Most bytes in one [`DocumentPage`], keys included, unless a single document is longer. The rest comes with the next
/// page.
pub const DOCUMENT_PAGE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// A stretch of a collection, in the order of the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DocumentPage {
    /// Keys and documents.
    pub documents: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys of damaged documents in this stretch.
    pub corrupt: Vec<Vec<u8>>,
    /// Where the next page starts, if there is more: give it as `after`.
    pub next: Option<Vec<u8>>,
}

impl Store {
    /// A package's manifest.
    ///
    /// # Errors
    /// [`ReadError`]; `Corrupt` names the package.
    pub fn package(&self, id: &PackageId) -> Result<Option<Vec<u8>>, ReadError> {
        self.inner.shared.payload(PACKAGES, id.0.as_bytes(), || Row::Package(*id))
    }

    /// The ids of all packages here, in order. Reads every manifest's pages, and checks none: [`Store::package`] does.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn packages(&self) -> Result<Vec<PackageId>, ReadError> {
        let mut ids = Vec::new();
        self.inner.shared.for_each_row(PACKAGES, |key, _| match parse_hash(key) {
            Some(hash) => ids.push(PackageId(hash)),
            None => tracing::warn!("a row of packages has a damaged key"),
        })?;
        Ok(ids)
    }

    /// One document.
    ///
    /// # Errors
    /// [`ReadError`]; `Corrupt` names the document.
    pub fn document(
        &self,
        collection: Collection,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let row = || Row::Document { collection, key: key.to_vec() };
        self.inner.shared.payload(collection.table(), key, row)
    }

    /// Up to `max_count` documents with keys behind `after`, in order, and at most [`DOCUMENT_PAGE_MAX_BYTES`]; at
    /// least one row if there is one. Damaged documents are skipped and named.
    ///
    /// # Errors
    /// [`ReadError`] if the table itself cannot be read.
    pub fn documents(
        &self,
        collection: Collection,
        after: Option<&[u8]>,
        max_count: usize,
    ) -> Result<DocumentPage, ReadError> {
        let table = collection.table();
        let shared = &self.inner.shared;
        let mut rows = shared.page(table, after, max_count, DOCUMENT_PAGE_MAX_BYTES)?;
        let mut page = DocumentPage::default();
        if rows.more {
            page.next = rows.rows.last().map(|(key, _)| key.clone());
        }
        for (key, value) in rows.rows.drain(..) {
            match unseal(table, &key, &value) {
                Some(payload) => page.documents.push((key, payload.to_vec())),
                None => page.corrupt.push(key),
            }
        }
        Ok(page)
    }
}
