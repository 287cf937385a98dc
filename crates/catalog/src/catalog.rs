//! The catalogue itself: insert listings, resolve references, search.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use guildhall_protocol::name::{Category, OrgName, PackageName, Reference, Version};
use guildhall_protocol::query::{Query, Suggestion};
use guildhall_protocol::{PackageId, PublicKey};

use crate::entry::{Entry, Inserted, Slot};
use crate::index::{Index, Key, Name, searchable};
use crate::nearest::{NEAREST_MAX, nearest};
use crate::rank::Ranker;

type Versions = BTreeMap<Version, Slot>;

/// Every listing a node knows, ready to be searched. The same listings in any order make an equal catalogue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    names: BTreeMap<Key, Versions>,
    index: Index,
    versions_count: usize,
}

/// A version as it is shown to people: with its entry, and whether it resolves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown<'a> {
    /// The entry that is shown.
    pub entry: &'a Entry,
    /// Whether the version stands for several packages and therefore does not resolve by name.
    pub contested: bool,
}

impl Catalog {
    /// Takes a verified listing in and says what became of it. An org that was renamed is removed with
    /// [`remove_org`](Self::remove_org) and its entries are inserted again under the new name.
    pub fn insert(&mut self, entry: Entry) -> Inserted {
        let name = Name { org: entry.org.clone(), name: entry.listing.release.name.clone() };
        let key = match self.names.get_key_value(&name) {
            Some((key, _)) => key.clone(),
            None => Arc::new(name),
        };
        let version = entry.version().clone();
        let versions = self.names.entry(key.clone()).or_default();
        let count_before = versions.len();
        let slot = versions.entry(version.clone()).or_default();
        self.index.withdraw(&key, &version, slot);
        let inserted = slot.insert(entry);
        self.index.post(&key, &version, slot);
        self.versions_count += versions.len() - count_before;
        inserted
    }

    /// Forgets everything the org of `root` listed, and says how many versions that were.
    pub fn remove_org(&mut self, root: &PublicKey) -> usize {
        let mut removed = 0;
        for (key, versions) in &mut self.names {
            for (version, slot) in versions.iter_mut() {
                if slot.iter().any(|entry| entry.root == *root) {
                    self.index.withdraw(key, version, slot);
                    slot.remove_root(root);
                    self.index.post(key, version, slot);
                    removed += 1;
                }
            }
            versions.retain(|_, slot| slot.iter().next().is_some());
        }
        self.names.retain(|_, versions| !versions.is_empty());
        self.versions_count = self.names.values().map(BTreeMap::len).sum();
        removed
    }

    /// The entry that `reference` means. Without a version: the highest release that is not contested, or the highest
    /// prerelease when there is no release. By id: the entry of that package, also of a contested version, because an
    /// id means one package only.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub fn resolve(&self, reference: &Reference) -> Result<&Entry, ResolveError> {
        match self.show(reference)? {
            Shown { contested: true, entry } if matches!(reference, Reference::Named { .. }) => {
                Err(ResolveError::Contested { reference: entry.reference() })
            }
            Shown { entry, .. } => Ok(entry),
        }
    }

    /// Like [`resolve`](Self::resolve), but a contested version is shown when nothing else answers.
    ///
    /// # Errors
    /// [`ResolveError::Unknown`] and [`ResolveError::Unlisted`].
    pub fn show(&self, reference: &Reference) -> Result<Shown<'_>, ResolveError> {
        match reference {
            Reference::Named { org, name, version } => {
                let versions = self.versions_of(org, name).ok_or_else(|| {
                    let names = self.names.keys().map(|key| (key.org.as_str(), key.name.as_str()));
                    let nearest = nearest((org.as_str(), name.as_str()), names);
                    ResolveError::Unknown { reference: reference.clone(), nearest }
                })?;
                let slot = match version {
                    Some(version) => versions.get(version),
                    None => by_preference(versions)
                        .find(|slot| !slot.is_contested())
                        .or_else(|| by_preference(versions).next()),
                };
                slot.and_then(shown).ok_or_else(|| ResolveError::Unknown {
                    reference: reference.clone(),
                    nearest: by_preference(versions)
                        .filter_map(|slot| slot.shown())
                        .map(|entry| entry.reference().to_string())
                        .take(NEAREST_MAX)
                        .collect(),
                })
            }
            Reference::Package(package) => {
                self.of_package(*package).next().ok_or(ResolveError::Unlisted { package: *package })
            }
        }
    }

    /// The best answers to `query`, each with its reasons; of each name only the best version that answers.
    #[must_use]
    pub fn search(&self, query: &Query) -> Vec<Suggestion> {
        self.search_where(query, |_| true)
    }

    /// Like [`search`](Self::search), among the entries that `visible` lets the requester see.
    pub fn search_where(&self, query: &Query, visible: impl Fn(&Entry) -> bool) -> Vec<Suggestion> {
        let ranker = Ranker::new(query);
        let answers = |versions| {
            by_preference(versions)
                .filter_map(searchable)
                .find(|entry| ranker.answers(entry) && visible(entry))
        };
        match self.candidates(query, &ranker) {
            Some(keys) => ranker.best(keys.iter().filter_map(|key| answers(self.names.get(key)?))),
            None => ranker.best(self.names.values().filter_map(answers)),
        }
    }

    /// Names that may answer, by the narrowest list at hand; `None` when every name has to be looked at.
    fn candidates(&self, query: &Query, ranker: &Ranker<'_>) -> Option<BTreeSet<Key>> {
        match &query.reference {
            Some(Reference::Named { org, name, .. }) => {
                let name = Name { org: org.clone(), name: name.clone() };
                let key = self.names.get_key_value(&name).map(|(key, _)| key.clone());
                return Some(key.into_iter().collect());
            }
            Some(Reference::Package(package)) => {
                return Some(self.index.of_package(*package).map(|(key, _)| key.clone()).collect());
            }
            None => {}
        }
        self.index.candidates(ranker.wanted(), query.category.as_ref(), self.names.len())
    }

    /// Every version of a name, highest first, contested ones too.
    pub fn versions(&self, org: &OrgName, name: &PackageName) -> impl Iterator<Item = Shown<'_>> {
        self.versions_of(org, name)
            .into_iter()
            .flat_map(|versions| versions.values().rev().filter_map(shown))
    }

    /// Every entry of one package, in order of name, highest version first.
    pub fn of_package(&self, package: PackageId) -> impl Iterator<Item = Shown<'_>> {
        self.index.of_package(package).rev().filter_map(move |(key, version)| {
            let slot = self.names.get(key)?.get(version)?;
            Some(Shown { entry: slot.of_package(package)?, contested: slot.is_contested() })
        })
    }

    /// What is shown of every version, in order of org, name and version.
    pub fn entries(&self) -> impl Iterator<Item = Shown<'_>> {
        self.names.values().flat_map(BTreeMap::values).filter_map(shown)
    }

    /// How many names each category has. Contested versions do not count, and a name counts in all its categories.
    #[must_use]
    pub fn category_counts(&self) -> BTreeMap<Category, usize> {
        self.index.category_counts()
    }

    /// How many versions are listed.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.versions_count
    }

    /// Whether nothing is listed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.versions_count == 0
    }

    fn versions_of(&self, org: &OrgName, name: &PackageName) -> Option<&Versions> {
        self.names.get(&Name { org: org.clone(), name: name.clone() })
    }
}

/// Versions in the order in which they are preferred: releases, highest first, then prereleases, highest first.
fn by_preference(versions: &Versions) -> impl Iterator<Item = &Slot> {
    let with = move |prerelease: bool| {
        versions.iter().rev().filter(move |(version, _)| version.pre.is_empty() != prerelease)
    };
    with(false).chain(with(true)).map(|(_, slot)| slot)
}

fn shown(slot: &Slot) -> Option<Shown<'_>> {
    Some(Shown { entry: slot.shown()?, contested: slot.is_contested() })
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
    /// No listing names the package.
    #[error("no listing here names the package {package}")]
    Unlisted {
        /// What was asked for.
        package: PackageId,
    },
}
