//! A listing as it comes into the catalogue and as it is handed out.

use std::sync::Arc;

use guildhall_protocol::body::Listing;
use guildhall_protocol::name::{OrgName, Reference, Version};
use guildhall_protocol::{PackageId, PublicKey, RecordId};

/// One listing, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The org's name in the federation. Names are unique there; `federation` sees to it.
    pub org: OrgName,
    /// The org's root key.
    pub root: PublicKey,
    /// What was listed.
    pub listing: Arc<Listing>,
    /// The listing's record.
    pub listing_id: RecordId,
    /// Position in the author's log.
    pub seq: u64,
    /// The producer's key that signed the record.
    pub author: PublicKey,
    /// The author's clock, milliseconds since 1970. Shown to people; never decides which listing holds.
    pub time_ms: u64,
}

impl Entry {
    /// `org/name@version`.
    #[must_use]
    pub fn reference(&self) -> Reference {
        Reference::Named {
            org: self.org.clone(),
            name: self.listing.release.name.clone(),
            version: Some(self.version().clone()),
        }
    }

    /// The listed version.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.listing.release.version
    }

    /// The listed package.
    #[must_use]
    pub fn package(&self) -> PackageId {
        self.listing.release.package
    }
}

/// What became of an inserted entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is the first of its version.
    New,
    /// It is shown in the place of another one.
    Replaced,
    /// It is not shown: another one of its version comes before it.
    Older,
    /// Its version stands for several packages now, and does not resolve by name.
    Contested,
    /// It was not kept: its version has more packages or authors, or its org more listings, than the catalogue keeps.
    Full,
}
