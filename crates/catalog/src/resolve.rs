//! What a reference means, and what there is of a name or a package.

use std::cmp::Reverse;

use guildhall_protocol::name::{
    Category, CategoryPrefix, OrgName, PackageName, Reference, Version,
};
use guildhall_protocol::{PackageId, PublicKey, RecordId};

use crate::catalog::{Catalog, preference};
use crate::entry::Entry;
use crate::nearest::{NEAREST_MAX, nearest};
use crate::opinions::Yanked;
use crate::row::Row;
use crate::slot;

/// A version as it is shown to people: with its entry, and whether it resolves.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The entry that is shown.
    pub entry: Entry,
    /// Whether the version stands for several packages and therefore does not resolve by name.
    pub contested: bool,
    /// Whether its producer took it back.
    pub yanked: Option<Yanked>,
}

/// What is known of a listing without reading it.
#[derive(Clone, Copy, Debug)]
pub struct Brief<'c> {
    catalog: &'c Catalog,
    number: u32,
    row: &'c Row,
}

impl<'c> Brief<'c> {
    /// The producer's org.
    #[must_use]
    pub fn org(&self) -> Option<&'c OrgName> {
        self.catalog.names.get(self.row.name).map(|(org, _)| org)
    }

    /// The producer's root key.
    #[must_use]
    pub fn root(&self) -> Option<PublicKey> {
        self.catalog.roots.value(self.row.root).copied()
    }

    /// `org/name@version`.
    #[must_use]
    pub fn reference(&self) -> Option<Reference> {
        let (org, name) = self.catalog.names.get(self.row.name)?;
        let name = name.parse().ok()?;
        Some(Reference::Named { org: org.clone(), name, version: Some(self.row.version.clone()) })
    }

    /// The version.
    #[must_use]
    pub const fn version(&self) -> &'c Version {
        &self.row.version
    }

    /// The package.
    #[must_use]
    pub const fn package(&self) -> PackageId {
        self.row.package
    }

    /// The listing's record.
    #[must_use]
    pub const fn listing_id(&self) -> RecordId {
        self.row.listing_id
    }

    /// When it was listed, by the producer's clock.
    #[must_use]
    pub const fn time_ms(&self) -> u64 {
        self.row.time_ms
    }

    /// All files together.
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        self.row.len_bytes
    }

    /// Orgs that should hold a copy.
    #[must_use]
    pub const fn replicas(&self) -> u8 {
        self.row.replicas
    }

    /// Whether every member may see it, so that it is replicated.
    #[must_use]
    pub const fn is_for_all(&self) -> bool {
        self.row.for_all
    }

    /// Whether one of its categories lies within one of `follows`.
    #[must_use]
    pub fn is_within(&self, follows: &[CategoryPrefix]) -> bool {
        let mut categories = self
            .row
            .categories()
            .filter_map(|symbol| self.catalog.symbols.categories.value(u32::from(symbol)));
        categories.any(|category| follows.iter().any(|prefix| category.is_within(prefix)))
    }

    /// Whether its producer took it back.
    #[must_use]
    pub fn yanked(&self) -> Option<&'c Yanked> {
        self.catalog.yank_of(self.number)
    }

    /// The listing itself; `None` when it cannot be read.
    #[must_use]
    pub fn entry(&self) -> Option<Entry> {
        self.catalog.entry(self.number)
    }
}

impl Catalog {
    /// The entry that `reference` means. Without a version: the highest release that is neither contested nor yanked,
    /// or the highest prerelease when there is no release. By id: the entry of that package, also of a contested
    /// version, because an id means one package only.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub fn resolve(&self, reference: &Reference) -> Result<Entry, ResolveError> {
        let shown = self.show(reference)?;
        if let Some(yanked) = shown.yanked {
            let reference = shown.entry.reference();
            return Err(ResolveError::Yanked { reference, why: yanked.yank.why });
        }
        if shown.contested && matches!(reference, Reference::Named { .. }) {
            return Err(ResolveError::Contested { reference: shown.entry.reference() });
        }
        Ok(shown.entry)
    }

    /// Like [`resolve`](Self::resolve), but a contested or yanked version is shown when nothing else answers.
    ///
    /// # Errors
    /// [`ResolveError::Unknown`], [`ResolveError::Unlisted`] and [`ResolveError::Unreadable`].
    pub fn show(&self, reference: &Reference) -> Result<Shown, ResolveError> {
        let number = match reference {
            Reference::Named { org, name, version } => {
                let found = self.names.find(org, name).filter(|n| !self.names.rows(*n).is_empty());
                let named = found.ok_or_else(|| ResolveError::Unknown {
                    reference: reference.clone(),
                    nearest: nearest((org.as_str(), name.as_str()), self.names.pairs()),
                })?;
                let asked = match version {
                    Some(version) => self.shown_of(named, version),
                    None => self.preferred_of(named),
                };
                asked.ok_or_else(|| ResolveError::Unknown {
                    reference: reference.clone(),
                    nearest: self.some_versions(named),
                })?
            }
            Reference::Package(package) => {
                // One that was not yanked, if there is any.
                let rows = self.in_order_of_package(*package);
                let good = rows.iter().find(|row| !self.is_yanked(**row)).or(rows.first());
                *good.ok_or(ResolveError::Unlisted { package: *package })?
            }
        };
        let unreadable = || ResolveError::Unreadable { reference: reference.clone() };
        self.shown(number).ok_or_else(unreadable)
    }

    fn shown(&self, number: u32) -> Option<Shown> {
        let row = self.row(number)?;
        Some(Shown {
            entry: self.entry(number)?,
            contested: slot::is_contested(&self.claimants(row.name, &row.version)),
            yanked: self.yank_of(number).cloned(),
        })
    }

    fn shown_of(&self, name: u32, version: &Version) -> Option<u32> {
        slot::shown(&self.claimants(name, version)).map(|one| one.number)
    }

    /// The row that a name without a version means.
    fn preferred_of(&self, name: u32) -> Option<u32> {
        let rows = self.names.rows(name);
        let latest = rows.iter().find(|row| self.sets.latest.contains(**row));
        latest.copied().or_else(|| {
            let versions = self.versions_by(name, |version| preference(version).0);
            versions.first().and_then(|version| self.shown_of(name, version))
        })
    }

    /// The versions of a name: those for which `first` holds before the others, each the highest first.
    fn versions_by(&self, name: u32, first: impl Fn(&Version) -> bool) -> Vec<&Version> {
        let rows = self.names.rows(name).iter().filter_map(|number| self.row(*number));
        let mut versions: Vec<&Version> = rows.map(|row| &row.version).collect();
        versions.sort_by(|a, b| (first(b), b).cmp(&(first(a), a)));
        versions.dedup();
        versions
    }

    fn some_versions(&self, name: u32) -> Vec<String> {
        let Some((org, package)) = self.names.get(name) else { return Vec::new() };
        let versions = self.versions_by(name, |version| preference(version).0);
        versions.iter().take(NEAREST_MAX).map(|v| format!("{org}/{package}@{v}")).collect()
    }

    /// Every version of a name, highest first, contested and yanked ones too.
    pub fn versions(&self, org: &OrgName, name: &PackageName) -> impl Iterator<Item = Brief<'_>> {
        let named = self.names.find(org, name);
        let versions = named.map(|named| (named, self.versions_by(named, |_| true)));
        versions.into_iter().flat_map(move |(named, versions)| {
            versions
                .into_iter()
                .filter_map(move |version| self.brief(self.shown_of(named, version)?))
        })
    }

    /// Every listing of one package that is not yanked, first the one that resolves by name. A package id means one
    /// package only, so all of them speak of the same files.
    pub fn of_package(&self, package: PackageId) -> impl Iterator<Item = Brief<'_>> {
        let rows = self.in_order_of_package(package).into_iter();
        rows.filter(|row| !self.is_yanked(*row)).filter_map(|row| self.brief(row))
    }

    /// Rows of one package: those that resolve by name first, then in order of org and name, the highest version first.
    fn in_order_of_package(&self, package: PackageId) -> Vec<u32> {
        let mut rows: Vec<u32> = self.rows_of_package(package).collect();
        let place = |number: &u32| {
            let row = self.row(*number)?;
            let hidden = !self.sets.shown.contains(*number);
            Some((hidden, self.names.get(row.name)?, Reverse(&row.version), row.listing_id))
        };
        rows.sort_by(|a, b| place(a).cmp(&place(b)));
        rows
    }

    /// What is shown of every version, in order of org and name, the highest version first. Contested and yanked ones
    /// are among them.
    pub fn briefs(&self) -> impl Iterator<Item = Brief<'_>> {
        self.names.in_order().flat_map(move |name| {
            let versions = self.versions_by(name, |_| true);
            versions
                .into_iter()
                .filter_map(move |version| self.brief(self.shown_of(name, version)?))
        })
    }

    pub(crate) fn brief(&self, number: u32) -> Option<Brief<'_>> {
        Some(Brief { catalog: self, number, row: self.row(number)? })
    }

    /// How many names each category has, by their preferred version; a name counts in all its categories.
    #[must_use]
    pub fn category_counts(&self) -> Vec<(Category, u64)> {
        let mut counts = vec![0_u64; self.symbols.categories.values().len()];
        let rows = self.sets.latest.iter().filter_map(|number| self.row(number));
        for symbol in rows.flat_map(crate::row::Row::categories) {
            if let Some(count) = counts.get_mut(usize::from(symbol)) {
                *count += 1;
            }
        }
        let counted = self.symbols.categories.values().iter().cloned().zip(counts);
        let mut counted: Vec<_> = counted.filter(|(_, count)| *count > 0).collect();
        counted.sort_unstable();
        counted
    }
}

/// Why a reference means nothing here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Nothing of that name, or not that version, is in the catalogue.
    #[error("nothing here is called {reference}")]
    Unknown {
        /// What was asked for.
        reference: Reference,
        /// What may have been meant, best first: names, or versions of the name.
        nearest: Vec<String>,
    },
    /// The version stands for several packages.
    #[error("{reference} is contested: it was released as several packages; use a package id")]
    Contested {
        /// `org/name@version`.
        reference: Reference,
    },
    /// The producer took the version back.
    #[error("{reference} was yanked by its producer: {why}")]
    Yanked {
        /// `org/name@version`.
        reference: Reference,
        /// The producer's reason.
        why: String,
    },
    /// No listing names the package.
    #[error("no listing here names the package {package}")]
    Unlisted {
        /// What was asked for.
        package: PackageId,
    },
    /// The listing is known, and its record cannot be read.
    #[error("the listing of {reference} cannot be read from the store")]
    Unreadable {
        /// What was asked for.
        reference: Reference,
    },
}
