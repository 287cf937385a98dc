//! Building the catalogue anew from the records on disk.

use std::collections::BTreeSet;

use guildhall_catalog::text::MemoryIndex;
use guildhall_protocol::RecordId;
use guildhall_protocol::body::{Listing, Review, Yank};
use guildhall_protocol::record::Record;

use crate::node::Core;

impl Core {
    /// Forgets the catalogue and fills it again from the records that `read` calls its argument with. What is known here
    /// and on no disk, because it was looked up or is still on its way there, stays. When reading fails, nothing changes.
    ///
    /// # Errors
    /// What `read` returns.
    pub fn reindex<E>(
        &mut self,
        read: impl FnOnce(&mut dyn FnMut(&Record)) -> Result<(), E>,
    ) -> Result<(), E> {
        let anew = self.catalog.anew(Box::new(MemoryIndex::default()));
        let before = std::mem::replace(&mut self.catalog, anew);
        if let Err(error) = read(&mut |record| self.evaluate_content(record)) {
            self.catalog = before;
            return Err(error);
        }
        let known: BTreeSet<RecordId> =
            self.catalog.briefs().map(|brief| brief.listing_id()).collect();
        for brief in before.briefs().filter(|brief| !known.contains(&brief.listing_id())) {
            if let Some(entry) = brief.entry() {
                self.catalog.insert(entry, false);
            }
        }
        Ok(())
    }

    /// Lets a stored record of a member count for the catalogue alone.
    fn evaluate_content(&mut self, record: &Record) {
        if self.federation.member(&record.delegation().root).is_none() {
            return;
        }
        // What there is to provide and to tell was provided and told.
        let mut told = Vec::new();
        if let Some(Ok(listing)) = record.body_as::<Listing>() {
            self.evaluate_listing(record, listing, &mut told);
        } else if let Some(Ok(yank)) = record.body_as::<Yank>() {
            self.evaluate_yank(record, yank, &mut told);
        } else if let Some(Ok(review)) = record.body_as::<Review>() {
            self.evaluate_review(record, review, &mut told);
        }
    }
}
