//! Which of several listings for one version is kept, and which is shown.
//!
//! Several listings may speak of one version of one name. They are kept by package and author:
//! - of one author and package, the listing further on in the author's log holds; at the same position (a fork) the
//!   lower listing id;
//! - of several authors with one package, the lower listing id is shown. Time orders nothing;
//! - two packages for one version make it *contested*: it is shown when asked for, and never resolves by name.
//!
//! Bounds: a version keeps the [`PACKAGES_MAX`] lowest package ids, and of each the [`AUTHORS_MAX`] lowest authors.
//! What lies beyond is not kept ([`Inserted::Full`](crate::Inserted::Full)); a version stays contested all the same.

use guildhall_protocol::{PackageId, PublicKey, RecordId};

/// Packages that are kept for one version. Two make it contested; the others are there to be shown.
pub const PACKAGES_MAX: usize = 4;

/// Authors that are kept for one package of a version: an org's producer keys, some of them renewed.
pub const AUTHORS_MAX: usize = 8;

/// One listing of a version, as far as the choice goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claimant {
    pub(crate) number: u32,
    pub(crate) package: PackageId,
    pub(crate) root: PublicKey,
    pub(crate) author: PublicKey,
    pub(crate) seq: u64,
    pub(crate) listing_id: RecordId,
}

impl Claimant {
    fn key(&self) -> (PackageId, PublicKey, PublicKey) {
        (self.package, self.root, self.author)
    }

    /// Whether `self` takes the place of `other`, which has the same author.
    fn supersedes(&self, other: &Self) -> bool {
        self.seq > other.seq || (self.seq == other.seq && self.listing_id < other.listing_id)
    }
}

/// Those of `all` that are kept. The result does not depend on their order.
pub(crate) fn kept(all: &[Claimant]) -> Vec<Claimant> {
    let mut sorted = all.to_vec();
    sorted.sort_by(|a, b| {
        a.key().cmp(&b.key()).then(b.seq.cmp(&a.seq)).then(a.listing_id.cmp(&b.listing_id))
    });
    sorted.dedup_by_key(|claimant| claimant.key());
    let packages = sorted.chunk_by(|a, b| a.package == b.package).take(PACKAGES_MAX);
    packages.flat_map(|same| same.iter().take(AUTHORS_MAX)).copied().collect()
}

/// Whether the version stands for more than one package.
pub(crate) fn is_contested(kept: &[Claimant]) -> bool {
    kept.windows(2).any(|pair| matches!(pair, [a, b] if a.package != b.package))
}

/// The one that is shown: the newest of each author, and of those the one with the lowest id.
pub(crate) fn shown(kept: &[Claimant]) -> Option<&Claimant> {
    let newest = |one: &&Claimant| {
        !kept.iter().any(|other| {
            (other.root, other.author) == (one.root, one.author) && other.supersedes(one)
        })
    };
    kept.iter().filter(newest).min_by_key(|one| one.listing_id)
}
