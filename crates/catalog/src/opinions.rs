//! What is known about listings besides themselves: yanks, reviews, how often they are used and who holds them.
//!
//! These come in any order, before or after the listing they speak of, and count as soon as both are there.

use std::collections::BTreeMap;

use guildhall_protocol::body::{Review, Yank};
use guildhall_protocol::query::ReviewSummary;
use guildhall_protocol::{PackageId, PublicKey};

use crate::catalog::Catalog;
use crate::row::Row;

/// Yanks of one org that are kept: more than it can list in years. Further ones are not taken.
pub const YANKS_MAX: usize = 100_000;

/// Packages whose reviews are kept. Further ones are not taken.
pub const REVIEWED_MAX: usize = 1_000_000;

/// Packages whose uses are counted, and whose copies. Of further ones nothing is counted.
pub const COUNTED_MAX: usize = 1_000_000;

/// A yank, and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Yanked {
    /// What it says.
    pub yank: Yank,
    /// The producer's clock, milliseconds since 1970.
    pub time_ms: u64,
}

/// A review, and who wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reviewed {
    /// The reviewing org's root key.
    pub root: PublicKey,
    /// The key that signed it.
    pub author: PublicKey,
    /// Its position in the author's log.
    pub seq: u64,
    /// The reviewer's clock, milliseconds since 1970.
    pub time_ms: u64,
    /// What it says.
    pub review: Review,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Opinions {
    /// By the producer's root and the package.
    yanks: BTreeMap<PublicKey, BTreeMap<PackageId, Vec<Yanked>>>,
    /// By package and the reviewer's root.
    reviews: BTreeMap<PackageId, BTreeMap<PublicKey, Reviewed>>,
    uses: BTreeMap<PackageId, u32>,
    holders: BTreeMap<PackageId, u16>,
}

impl Opinions {
    /// What does not come from records.
    pub(crate) fn anew(&self) -> Self {
        Self { uses: self.uses.clone(), holders: self.holders.clone(), ..Self::default() }
    }

    pub(crate) fn save_uses(&self) -> Vec<(PackageId, u32)> {
        self.uses.iter().map(|(package, count)| (*package, *count)).collect()
    }

    pub(crate) fn save_holders(&self) -> Vec<(PackageId, u16)> {
        self.holders.iter().map(|(package, count)| (*package, *count)).collect()
    }

    pub(crate) fn fill(&mut self, uses: Vec<(PackageId, u32)>, holders: Vec<(PackageId, u16)>) {
        self.uses = uses.into_iter().collect();
        self.holders = holders.into_iter().collect();
    }

    pub(crate) fn uses(&self, package: PackageId) -> u32 {
        self.uses.get(&package).copied().unwrap_or_default()
    }

    pub(crate) fn holders(&self, package: PackageId) -> u16 {
        self.holders.get(&package).copied().unwrap_or_default()
    }

    /// Orgs other than the producer that reviewed the package, and the sum of their stars.
    pub(crate) fn stars(&self, package: PackageId, producer: &PublicKey) -> (u64, u64) {
        let reviews = self.reviews.get(&package).into_iter().flatten();
        reviews
            .filter(|(root, _)| *root != producer)
            .fold((0, 0), |(count, sum), (_, one)| (count + 1, sum + u64::from(one.review.stars)))
    }

    fn yank(&self, root: &PublicKey, row: &Row, name: &str) -> Option<&Yanked> {
        let of_package = self.yanks.get(root)?.get(&row.package)?;
        of_package
            .iter()
            .find(|one| one.yank.name.as_str() == name && one.yank.version == row.version)
    }
}

impl Catalog {
    /// Takes in what the org of `root` says of a version of its own. Says whether it was taken.
    pub fn yank(&mut self, root: PublicKey, yank: Yank, time_ms: u64) -> bool {
        let package = yank.package;
        let of_org = self.opinions.yanks.entry(root).or_default();
        if of_org.len() >= YANKS_MAX && !of_org.contains_key(&package) {
            return false;
        }
        let of_package = of_org.entry(package).or_default();
        let same =
            |one: &&mut Yanked| (&one.yank.name, &one.yank.version) == (&yank.name, &yank.version);
        if let Some(known) = of_package.iter_mut().find(same) {
            // The earlier one holds, so that the order in which they come does not matter.
            if (time_ms, &yank.why) < (known.time_ms, &known.yank.why) {
                *known = Yanked { yank, time_ms };
            }
            return true;
        }
        if of_package.len() >= crate::slot::PACKAGES_MAX {
            return false;
        }
        of_package.push(Yanked { yank, time_ms });
        self.settle_package(package);
        true
    }

    fn settle_package(&mut self, package: PackageId) {
        let rows: Vec<u32> = self.rows_of_package(package).collect();
        for number in rows {
            if let Some((name, version)) =
                self.row(number).map(|row| (row.name, row.version.clone()))
            {
                self.settle(name, &version);
            }
        }
    }

    pub(crate) fn is_yanked(&self, number: u32) -> bool {
        self.yank_of(number).is_some()
    }

    /// The yank of a row.
    pub(crate) fn yank_of(&self, number: u32) -> Option<&Yanked> {
        let row = self.row(number)?;
        let (_, name) = self.names.get(row.name)?;
        self.opinions.yank(self.roots.value(row.root)?, row, name)
    }

    /// Takes in what an org thinks of a package: the newest of each org holds, which is the one further on in its log,
    /// and of several logs the one with the later time. Says whether it was taken.
    pub fn review(&mut self, reviewed: Reviewed) -> bool {
        let package = reviewed.review.package;
        let reviews = &mut self.opinions.reviews;
        if reviews.len() >= REVIEWED_MAX && !reviews.contains_key(&package) {
            return false;
        }
        let of_package = reviews.entry(package).or_default();
        let is_newer = |known: &Reviewed| {
            if known.author == reviewed.author {
                known.seq < reviewed.seq
            } else {
                (known.time_ms, known.author) < (reviewed.time_ms, reviewed.author)
            }
        };
        if of_package.get(&reviewed.root).is_none_or(is_newer) {
            of_package.insert(reviewed.root, reviewed);
            self.restand_package(package);
        }
        true
    }

    /// What orgs say of a package, the newest first.
    #[must_use]
    pub fn reviews(&self, package: PackageId) -> Vec<&Reviewed> {
        let of_package = self.opinions.reviews.get(&package).into_iter().flatten();
        let mut reviews: Vec<&Reviewed> = of_package.map(|(_, one)| one).collect();
        reviews.sort_by_key(|one| (std::cmp::Reverse(one.time_ms), one.root));
        reviews
    }

    /// Reviews of a package in one line; its producer's own does not count.
    #[must_use]
    pub fn rating(&self, package: PackageId, producer: &PublicKey) -> ReviewSummary {
        let (orgs, sum) = self.opinions.stars(package, producer);
        let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let stars = if orgs == 0 { 0.0 } else { number(sum) / number(orgs) };
        ReviewSummary { orgs, stars }
    }

    /// The org of `root` is not a member any more: what it thinks does not count.
    pub fn forget_opinions(&mut self, root: &PublicKey) {
        let mut touched = Vec::new();
        self.opinions.reviews.retain(|package, of_package| {
            if of_package.remove(root).is_some() {
                touched.push(*package);
            }
            !of_package.is_empty()
        });
        self.opinions.yanks.remove(root);
        touched.into_iter().for_each(|package| self.restand_package(package));
    }

    /// A package was fetched, run or built upon from this node once more. Says whether it is counted.
    pub fn used(&mut self, package: PackageId) -> bool {
        let uses = &mut self.opinions.uses;
        if uses.len() >= COUNTED_MAX && !uses.contains_key(&package) {
            return false;
        }
        let uses = uses.entry(package).or_default();
        *uses = uses.saturating_add(1);
        self.restand_package(package);
        true
    }

    /// So many orgs besides the producer are known to hold a package.
    pub fn set_holders(&mut self, package: PackageId, holders: u16) {
        let known = &mut self.opinions.holders;
        let before = match holders {
            0 => known.remove(&package),
            _ if known.len() >= COUNTED_MAX && !known.contains_key(&package) => return,
            _ => known.insert(package, holders),
        };
        if before.unwrap_or_default() != holders {
            self.restand_package(package);
        }
    }

    fn restand_package(&mut self, package: PackageId) {
        let rows: Vec<u32> = self.rows_of_package(package).collect();
        rows.into_iter().for_each(|number| self.restand(number));
    }
}
