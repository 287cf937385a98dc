//! Where the listings themselves are: in memory, or on the shelf that the catalogue was given.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use guildhall_protocol::PublicKey;
use guildhall_protocol::body::Listing;

/// Listings of the shelf that are kept in memory as well: the newest ones, which are asked for most. About 8 MiB.
pub const RESIDENT_MAX: usize = 4_096;

/// Reads listings from where their records are.
pub trait Shelf: Debug + Send + Sync {
    /// The listing in the record at position `seq` of the log of `author`; `None` when it is not there.
    fn listing(&self, author: &PublicKey, seq: u64) -> Option<Listing>;
}

/// The listings of all rows, by row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listings {
    shelf: Option<Arc<dyn Shelf>>,
    resident: BTreeMap<u32, Arc<Listing>>,
    /// Those of the resident ones that are on the shelf too.
    shelved: BTreeSet<u32>,
}

impl Listings {
    /// None yet, on the same shelf.
    pub(crate) fn anew(&self) -> Self {
        Self { shelf: self.shelf.clone(), ..Self::default() }
    }

    pub(crate) fn set_shelf(&mut self, shelf: Arc<dyn Shelf>) {
        self.shelf = Some(shelf);
    }

    pub(crate) fn add(&mut self, row: u32, listing: Arc<Listing>, on_shelf: bool) {
        self.resident.insert(row, listing);
        if on_shelf && self.shelf.is_some() {
            self.shelved.insert(row);
            if self.shelved.len() > RESIDENT_MAX
                && let Some(oldest) = self.shelved.pop_first()
            {
                self.resident.remove(&oldest);
            }
        }
    }

    pub(crate) fn remove(&mut self, row: u32) {
        self.resident.remove(&row);
        self.shelved.remove(&row);
    }

    pub(crate) fn get(&self, row: u32, author: &PublicKey, seq: u64) -> Option<Arc<Listing>> {
        match self.resident.get(&row) {
            Some(listing) => Some(Arc::clone(listing)),
            None => self.shelf.as_ref()?.listing(author, seq).map(Arc::new),
        }
    }
}
