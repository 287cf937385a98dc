//! Listings as the catalogue keeps them, and which of several for one version is shown.
//!
//! Several listings may speak of one version of one name. They are kept by package and author:
//! - of one author and package, the listing further on in the author's log holds; at the same position (a fork) the
//!   lower listing id;
//! - of several authors with one package, the lower listing id is shown. Time orders nothing;
//! - two packages for one version make it *contested*: it is shown when asked for, and never resolves by name.
//!
//! Bounds: a version keeps the [`PACKAGES_MAX`] lowest package ids, and of each the [`AUTHORS_MAX`] lowest authors.
//! What lies beyond is not kept ([`Inserted::Full`]); a version stays contested all the same.

use guildhall_protocol::body::Listing;
use guildhall_protocol::name::{OrgName, Reference, Version};
use guildhall_protocol::{PackageId, PublicKey, RecordId};

/// Packages that are kept for one version. Two make it contested; the others are there to be shown.
pub const PACKAGES_MAX: usize = 4;

/// Authors that are kept for one package of a version: an org's producer keys, some of them renewed.
pub const AUTHORS_MAX: usize = 8;

/// One listing, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The org's name in the federation. Names are unique there; `federation` sees to it.
    pub org: OrgName,
    /// The org's root key.
    pub root: PublicKey,
    /// What was listed.
    pub listing: Listing,
    /// The listing's record.
    pub listing_id: RecordId,
    /// Position in the author's log.
    pub seq: u64,
    /// The producer's key that signed the record.
    pub author: PublicKey,
    /// The author's clock, milliseconds since 1970. Shown to people; never orders anything.
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
    pub const fn version(&self) -> &Version {
        &self.listing.release.version
    }

    /// The listed package.
    #[must_use]
    pub const fn package(&self) -> PackageId {
        self.listing.release.package
    }

    fn key(&self) -> (PackageId, PublicKey, PublicKey) {
        (self.package(), self.root, self.author)
    }

    /// Whether `self` takes the place of `other`, which has the same key.
    fn supersedes(&self, other: &Self) -> bool {
        self.seq > other.seq || (self.seq == other.seq && self.listing_id < other.listing_id)
    }
}

/// What became of an inserted listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is the first of its version and is shown.
    New,
    /// It is now shown for its version instead of another.
    Replaced,
    /// Another listing is shown for its version, or this one was there already.
    Older,
    /// Its version has several packages and does not resolve.
    Contested,
    /// It was not kept: its version has more packages or authors than the catalogue keeps.
    Full,
}

/// All that is known of one version: entries sorted by package, root and author.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Slot {
    entries: Vec<Entry>,
}

impl Slot {
    /// Takes `entry` in and says what became of it.
    pub(crate) fn insert(&mut self, entry: Entry) -> Inserted {
        let (id, key, was_empty) = (entry.listing_id, entry.key(), self.entries.is_empty());
        match self.entries.binary_search_by(|kept| kept.key().cmp(&key)) {
            Ok(at) => match self.entries.get_mut(at) {
                Some(kept) if entry.supersedes(kept) => *kept = entry,
                _ => return Inserted::Older,
            },
            Err(at) => {
                // Nearly every slot has exactly one entry, and an entry is large.
                self.entries.reserve_exact(1);
                self.entries.insert(at, entry);
                self.trim(key.0);
            }
        }
        let kept = self.entries.iter().any(|kept| kept.listing_id == id);
        let shown = self.shown().is_some_and(|shown| shown.listing_id == id);
        match (kept, self.is_contested(), shown) {
            (false, _, _) => Inserted::Full,
            (true, true, _) => Inserted::Contested,
            (true, false, false) => Inserted::Older,
            (true, false, true) if was_empty => Inserted::New,
            (true, false, true) => Inserted::Replaced,
        }
    }

    /// Keeps the bounds after an entry of `package` was added. Always the highest go, so that what stays does not
    /// depend on the order of insertion.
    fn trim(&mut self, package: PackageId) {
        if self.entries.iter().filter(|entry| entry.package() == package).count() > AUTHORS_MAX
            && let Some(last) = self.entries.iter().rposition(|entry| entry.package() == package)
        {
            self.entries.remove(last);
        }
        if self.packages().count() > PACKAGES_MAX
            && let Some(highest) = self.entries.last().map(Entry::package)
        {
            self.entries.retain(|entry| entry.package() != highest);
        }
    }

    /// The packages, each once.
    pub(crate) fn packages(&self) -> impl Iterator<Item = PackageId> + '_ {
        self.entries
            .chunk_by(|a, b| a.package() == b.package())
            .filter_map(|same| same.first().map(|entry| entry.package()))
    }

    /// Whether the version stands for more than one package.
    pub(crate) fn is_contested(&self) -> bool {
        match (self.entries.first(), self.entries.last()) {
            (Some(first), Some(last)) => first.package() != last.package(),
            _ => false,
        }
    }

    /// The entry that is shown: the newest of each author, and of those the one with the lowest id.
    pub(crate) fn shown(&self) -> Option<&Entry> {
        let newest = |entry: &&Entry| {
            !self.entries.iter().any(|other| {
                (other.root, other.author) == (entry.root, entry.author) && other.supersedes(entry)
            })
        };
        self.iter().filter(newest).min_by_key(|entry| entry.listing_id)
    }

    /// The entry by which `package` is found, whether or not the version is contested.
    pub(crate) fn of_package(&self, package: PackageId) -> Option<&Entry> {
        self.iter().filter(|entry| entry.package() == package).min_by_key(|entry| entry.listing_id)
    }

    /// Every entry.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Forgets what the org of `root` listed.
    pub(crate) fn remove_root(&mut self, root: &PublicKey) {
        self.entries.retain(|entry| entry.root != *root);
    }
}
