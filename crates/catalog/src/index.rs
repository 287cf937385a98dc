//! Posting lists: which names may answer a query, found without looking at every listing.
//!
//! Only entries that a search can show are posted: one for each version that is not contested. A name is posted with
//! the number of its versions that have the word or category, so that taking one away is exact.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use guildhall_protocol::PackageId;
use guildhall_protocol::name::{Category, CategoryPrefix, OrgName, PackageName, Version};

use crate::entry::{Entry, Slot};
use crate::old_words::{self, Wanted};

/// A name, shared by the catalogue's map and every posting list.
pub(crate) type Key = Arc<Name>;

/// `org/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) org: OrgName,
    pub(crate) name: PackageName,
}

/// Names, and how many versions of each.
type Postings = BTreeMap<Key, u32>;

/// All posting lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Index {
    words: BTreeMap<String, Postings>,
    categories: BTreeMap<Category, Postings>,
    packages: BTreeMap<PackageId, BTreeSet<(Key, Version)>>,
}

impl Index {
    /// Posts what `slot` shows. Call [`withdraw`](Self::withdraw) with the same slot before it changes.
    pub(crate) fn post(&mut self, key: &Key, version: &Version, slot: &Slot) {
        for package in slot.packages() {
            self.packages.entry(package).or_default().insert((key.clone(), version.clone()));
        }
        let Some(entry) = searchable(slot) else { return };
        for word in distinct_words(entry) {
            let count = self.words.entry(word).or_default().entry(key.clone()).or_default();
            *count = count.saturating_add(1);
        }
        for category in distinct_categories(entry) {
            let postings = self.categories.entry(category.clone()).or_default();
            let count = postings.entry(key.clone()).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Takes back what [`post`](Self::post) posted for `slot`.
    pub(crate) fn withdraw(&mut self, key: &Key, version: &Version, slot: &Slot) {
        for package in slot.packages() {
            if let Some(places) = self.packages.get_mut(&package) {
                places.remove(&(key.clone(), version.clone()));
                if places.is_empty() {
                    self.packages.remove(&package);
                }
            }
        }
        let Some(entry) = searchable(slot) else { return };
        for word in distinct_words(entry) {
            subtract(&mut self.words, &word, key);
        }
        for category in distinct_categories(entry) {
            subtract(&mut self.categories, category, key);
        }
    }

    /// Posting lists of the categories within `prefix`.
    fn category_lists(&self, prefix: &CategoryPrefix) -> impl Iterator<Item = &Postings> {
        // There are some hundred categories, so looking at each is cheap.
        let within = self.categories.iter().filter(|(category, _)| category.is_within(prefix));
        within.map(|(_, postings)| postings)
    }

    /// Posting lists of the words that answer any of `wanted`.
    fn word_lists(&self, wanted: &Wanted) -> impl Iterator<Item = &Postings> {
        wanted.iter().flat_map(|(word, may_start)| {
            let from = self.words.range::<str, _>((Bound::Included(word), Bound::Unbounded));
            from.take_while(move |(other, _)| {
                *other == word || (may_start && other.starts_with(word))
            })
            .map(|(_, postings)| postings)
        })
    }

    /// Names that may have any of the words and may be in the category, by the shorter of the two kinds of lists;
    /// `None` when the lists hold a quarter of `names_count` or more, because then looking at every name is faster
    /// than joining lists.
    pub(crate) fn candidates(
        &self,
        wanted: &Wanted,
        prefix: Option<&CategoryPrefix>,
        names_count: usize,
    ) -> Option<BTreeSet<Key>> {
        let by_words =
            (!wanted.is_empty()).then(|| self.word_lists(wanted).map(BTreeMap::len).sum());
        let by_category = prefix.map(|prefix| self.category_lists(prefix).map(BTreeMap::len).sum());
        let worth_it = |count: usize| count < names_count / 4;
        let join = |lists: &mut dyn Iterator<Item = &Postings>| {
            lists.flat_map(|postings| postings.keys().cloned()).collect()
        };
        match (by_words, by_category, prefix) {
            (Some(words), categories, _)
                if worth_it(words) && categories.is_none_or(|categories| words <= categories) =>
            {
                Some(join(&mut self.word_lists(wanted)))
            }
            (_, Some(categories), Some(prefix)) if worth_it(categories) => {
                Some(join(&mut self.category_lists(prefix)))
            }
            _ => None,
        }
    }

    /// Versions that stand for `package`, also contested ones.
    pub(crate) fn of_package(
        &self,
        package: PackageId,
    ) -> impl DoubleEndedIterator<Item = &(Key, Version)> {
        self.packages.get(&package).into_iter().flatten()
    }

    /// How many names are in each category.
    pub(crate) fn category_counts(&self) -> BTreeMap<Category, usize> {
        self.categories
            .iter()
            .map(|(category, postings)| (category.clone(), postings.len()))
            .collect()
    }
}

/// The entry of `slot` that a search may show.
pub(crate) fn searchable(slot: &Slot) -> Option<&Entry> {
    if slot.is_contested() { None } else { slot.shown() }
}

fn distinct_words(entry: &Entry) -> BTreeSet<String> {
    old_words::of_listing(&entry.listing).map(|(_, word)| word.to_lowercase()).collect()
}

fn distinct_categories(entry: &Entry) -> BTreeSet<&Category> {
    entry.listing.categories.iter().collect()
}

/// Counts one version of `key` less, and leaves nothing empty behind.
fn subtract<K: Ord>(lists: &mut BTreeMap<K, Postings>, list: &K, key: &Key) {
    let Some(postings) = lists.get_mut(list) else { return };
    if let Some(count) = postings.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            postings.remove(key);
        }
    }
    if postings.is_empty() {
        lists.remove(list);
    }
}
