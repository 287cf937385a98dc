//! The catalogue itself: what is inserted and removed, and which listing of a version is shown.
//!
//! Every listing that is taken in becomes a [`Row`] with a number that is never used again. [`Sets`] and the text index
//! know rows by that number; a row that does not count any more is taken out of the set of shown ones and left where it
//! is until the catalogue is built anew at the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use guildhall_protocol::name::{CategoryPrefix, OrgName, Version};
use guildhall_protocol::{PackageId, PublicKey};
use roaring::RoaringBitmap;

use crate::alike::Skeletons;
use crate::entry::{Entry, Inserted};
use crate::listings::{Listings, Shelf};
use crate::names::Names;
use crate::opinions::Opinions;
use crate::rank::Ranking;
use crate::row::{Dictionary, Place, Row, Symbols};
use crate::sets::Sets;
use crate::slot::{self, Claimant};
use crate::text::{MemoryIndex, TextIndex};
use crate::words::Terms;

/// Listings of one org that are kept unless [`Catalog::set_per_org_max`] says otherwise: a fifth of the million that a
/// node is made for, so that no org alone takes the room of all.
pub const PER_ORG_MAX: u64 = 200_000;

/// Rows that an org may have had for each listing that it may have: what was replaced takes room until the catalogue is
/// built anew, so that who lists one version again and again is stopped as well.
const ROWS_PER_LISTING: u64 = 2;

/// Every listing a node knows, ready to be searched. The same listings in any order give the same answers, but for how
/// several words of one query are weighed, which is an estimate.
#[derive(Debug)]
pub struct Catalog {
    pub(crate) names: Names,
    pub(crate) skeletons: Skeletons,
    pub(crate) roots: Dictionary<PublicKey>,
    /// Roots by the name of their org.
    pub(crate) orgs: BTreeMap<OrgName, BTreeSet<u32>>,
    pub(crate) authors: Dictionary<PublicKey>,
    pub(crate) rows: Vec<Row>,
    pub(crate) live: RoaringBitmap,
    /// Live rows by the start of their package's id.
    pub(crate) packages: BTreeSet<(u64, u32)>,
    pub(crate) symbols: Symbols,
    pub(crate) sets: Sets,
    pub(crate) text: Box<dyn TextIndex>,
    pub(crate) listings: Listings,
    pub(crate) opinions: Opinions,
    pub(crate) ranking: Ranking,
    /// The org whose catalogue it is.
    pub(crate) home: Option<PublicKey>,
    /// Days since 1970.
    pub(crate) day: u32,
    pub(crate) versions_count: usize,
    per_org_max: u64,
}

impl Default for Catalog {
    fn default() -> Self {
        Self::with_text(Box::new(MemoryIndex::default()))
    }
}

impl Catalog {
    /// An empty catalogue whose words are found by `text`, which is empty too.
    #[must_use]
    pub fn with_text(text: Box<dyn TextIndex>) -> Self {
        Self {
            names: Names::default(),
            skeletons: Skeletons::default(),
            roots: Dictionary::default(),
            orgs: BTreeMap::new(),
            authors: Dictionary::default(),
            rows: Vec::new(),
            live: RoaringBitmap::new(),
            packages: BTreeSet::new(),
            symbols: Symbols::default(),
            sets: Sets::default(),
            text,
            listings: Listings::default(),
            opinions: Opinions::default(),
            ranking: Ranking::default(),
            home: None,
            day: 0,
            versions_count: 0,
            per_org_max: PER_ORG_MAX,
        }
    }

    /// An empty one of the same org, that ranks as this one does and remembers what was used and who holds what.
    #[must_use]
    pub fn anew(&self, text: Box<dyn TextIndex>) -> Self {
        Self {
            listings: self.listings.anew(),
            opinions: self.opinions.anew(),
            ranking: self.ranking.clone(),
            home: self.home,
            day: self.day,
            per_org_max: self.per_org_max,
            ..Self::with_text(text)
        }
    }

    /// Lets listings that [`insert`](Self::insert) is told are on disk be read from there. Without a shelf all stay in
    /// memory.
    pub fn set_shelf(&mut self, shelf: Arc<dyn Shelf>) {
        self.listings.set_shelf(shelf);
    }

    /// Takes a verified listing in and says what became of it. `on_shelf` says whether its record is on disk.
    pub fn insert(&mut self, entry: Entry, on_shelf: bool) -> Inserted {
        let known = self.names.find(&entry.org, &entry.listing.release.name);
        let is_first = known.is_none_or(|name| self.claimants(name, entry.version()).is_empty());
        // Before it gets a name: those stay.
        if is_first && self.is_full_of(&entry.root) {
            return Inserted::Full;
        }
        let name = self.names.number(&entry.org, entry.listing.release.name.as_str());
        let number = match u32::try_from(self.rows.len()) {
            Ok(number) if number < u32::MAX => number,
            _ => return Inserted::Full,
        };
        let before = self.claimants(name, entry.version());
        let claimant = Claimant {
            number,
            package: entry.package(),
            root: entry.root,
            author: entry.author,
            seq: entry.seq,
            listing_id: entry.listing_id,
        };
        let mut all = before.clone();
        all.push(claimant);
        let kept = slot::kept(&all);
        if !kept.iter().any(|one| one.number == number) {
            return Self::outcome_of_unkept(&before, &claimant);
        }
        if self.rows_pushed_by(&entry.root) >= self.per_org_max.saturating_mul(ROWS_PER_LISTING) {
            return Inserted::Full;
        }
        let shown_before = slot::shown(&before).map(|one| one.number);
        let root = self.roots.number(&entry.root);
        self.orgs.entry(entry.org.clone()).or_default().insert(root);
        let place = Place {
            name,
            root,
            author: self.authors.number(&entry.author),
            seq: entry.seq,
            time_ms: entry.time_ms,
            listing_id: entry.listing_id,
        };
        let mut row = self.symbols.row(&entry.listing, place);
        row.standing = self.standing_of(&row);
        let terms = Terms::of(&entry.listing);
        let version = row.version.clone();
        self.push(number, row, &terms);
        self.listings.add(number, entry.listing, on_shelf);
        for gone in before.iter().filter(|one| !kept.iter().any(|k| k.number == one.number)) {
            self.drop_row(gone.number);
        }
        self.settle(name, &version);
        if before.is_empty() {
            self.versions_count += 1;
        }
        match slot::shown(&kept) {
            _ if slot::is_contested(&kept) => Inserted::Contested,
            Some(shown) if shown.number != number => Inserted::Older,
            _ if shown_before.is_some() => Inserted::Replaced,
            _ => Inserted::New,
        }
    }

    /// How many listings of one org are kept.
    pub const fn set_per_org_max(&mut self, max: u64) {
        self.per_org_max = max;
    }

    fn is_full_of(&self, root: &PublicKey) -> bool {
        // Only where replaced rows may matter are they counted out.
        self.rows_pushed_by(root) >= self.per_org_max && self.live_rows_of(root) >= self.per_org_max
    }

    /// Listings within a category, those that are contested or were taken back too.
    #[must_use]
    pub fn len_within(&self, prefix: &CategoryPrefix) -> u64 {
        match *prefix == CategoryPrefix::everything() {
            true => self.live.len(),
            false => {
                let rows = self.sets.categories.get(prefix.as_str());
                rows.map_or(0, |rows| rows.intersection_len(&self.live))
            }
        }
    }

    fn live_rows_of(&self, root: &PublicKey) -> u64 {
        let rows = self.roots.find(root).and_then(|root| self.sets.roots.get(&root));
        rows.map_or(0, |rows| rows.intersection_len(&self.live))
    }

    /// Rows that an org ever had, those that were replaced too.
    fn rows_pushed_by(&self, root: &PublicKey) -> u64 {
        let root = self.roots.find(root);
        root.and_then(|root| self.sets.roots.get(&root)).map_or(0, RoaringBitmap::len)
    }

    fn outcome_of_unkept(before: &[Claimant], claimant: &Claimant) -> Inserted {
        let same = |one: &&Claimant| {
            (one.package, one.root, one.author)
                == (claimant.package, claimant.root, claimant.author)
        };
        match before.iter().find(same) {
            Some(_) => Inserted::Older,
            None => Inserted::Full,
        }
    }

    fn push(&mut self, number: u32, row: Row, terms: &Terms) {
        self.sets.push(number, &row, &self.symbols);
        self.text.put(number, terms);
        self.live.insert(number);
        self.packages.insert((start_of(row.package), number));
        if self.names.rows(row.name).is_empty()
            && let Some((_, name)) = self.names.get(row.name)
        {
            self.skeletons.add(name, row.name);
        }
        let name = row.name;
        self.rows.push(row);
        self.add_to_name(name, number);
    }

    /// Lets a name have a row, at its place in the order of versions.
    pub(crate) fn add_to_name(&mut self, name: u32, number: u32) {
        let Some(row) = self.row(number) else { return };
        let rows = self.names.rows(name);
        let is_before = |other: &u32| {
            self.row(*other).is_some_and(|it| (&it.version, *other) < (&row.version, number))
        };
        let place = rows.partition_point(is_before);
        self.names.add_row(name, place, number);
    }

    /// A row does not count any more.
    fn drop_row(&mut self, number: u32) {
        let Some(row) = self.row(number) else { return };
        let (name, package) = (row.name, row.package);
        self.live.remove(number);
        self.sets.shown.remove(number);
        self.sets.latest.remove(number);
        self.packages.remove(&(start_of(package), number));
        self.names.remove_row(name, number);
        self.listings.remove(number);
        self.text.forget(number);
    }

    /// Decides anew which row of a version is shown, and which version of the name is preferred.
    pub(crate) fn settle(&mut self, name: u32, version: &Version) {
        let claimants = self.claimants(name, version);
        let shown = match slot::is_contested(&claimants) {
            true => None,
            false => slot::shown(&claimants).filter(|one| !self.is_yanked(one.number)),
        };
        for one in &claimants {
            if shown.is_some_and(|shown| shown.number == one.number) {
                self.sets.shown.insert(one.number);
            } else {
                self.sets.shown.remove(one.number);
            }
        }
        let rows = self.names.rows(name);
        let mut shown = rows.iter().rev().filter(|row| self.sets.shown.contains(**row));
        let is_release = |row: &&u32| self.row(**row).is_some_and(|row| preference(&row.version).0);
        let best = shown.clone().find(is_release).or_else(|| shown.next()).copied();
        let before = rows.iter().rev().find(|row| self.sets.latest.contains(**row)).copied();
        if let Some(before) = before {
            self.sets.latest.remove(before);
        }
        if let Some(best) = best {
            self.sets.latest.insert(best);
        }
    }

    /// The live rows of one version.
    pub(crate) fn claimants(&self, name: u32, version: &Version) -> Vec<Claimant> {
        let rows = self.names.rows(name);
        let version_of = |number: &u32| self.row(*number).map(|row| &row.version);
        let from = rows.partition_point(|number| version_of(number) < Some(version));
        let to = rows.partition_point(|number| version_of(number) <= Some(version));
        let of_version = rows.get(from..to).unwrap_or_default().iter();
        of_version
            .filter_map(|number| Some((*number, self.row(*number)?)))
            .filter_map(|(number, row)| {
                Some(Claimant {
                    number,
                    package: row.package,
                    root: *self.roots.value(row.root)?,
                    author: *self.authors.value(row.author)?,
                    seq: row.seq,
                    listing_id: row.listing_id,
                })
            })
            .collect()
    }

    /// Forgets everything the org of `root` listed, and says how many listings that were.
    pub fn remove_org(&mut self, root: &PublicKey) -> usize {
        let rows = self.rows_of(root);
        self.forget_name_of(root);
        rows.iter().for_each(|number| self.drop_and_settle(*number));
        rows.len()
    }

    pub(crate) fn drop_and_settle(&mut self, number: u32) {
        let Some((name, version)) = self.name_and_version(number) else { return };
        self.drop_row(number);
        self.settle(name, &version);
        if self.claimants(name, &version).is_empty() {
            self.versions_count = self.versions_count.saturating_sub(1);
        }
    }

    /// Lets everything that the org of `root` listed stand under its new name.
    pub fn rename_org(&mut self, root: &PublicKey, org: &OrgName) {
        self.forget_name_of(root);
        if let Some(root) = self.roots.find(root) {
            self.orgs.entry(org.clone()).or_default().insert(root);
        }
        for number in self.rows_of(root) {
            let Some((before, version)) = self.name_and_version(number) else { continue };
            let Some(name) = self.names.get(before).map(|(_, name)| name.to_owned()) else {
                continue;
            };
            let after = self.names.number(org, &name);
            if before == after {
                continue;
            }
            if self.claimants(after, &version).is_empty() {
                self.versions_count += 1;
            }
            self.names.remove_row(before, number);
            self.skeletons.add(&name, after);
            self.add_to_name(after, number);
            if let Some(row) = self.row_mut(number) {
                row.name = after;
            }
            if self.claimants(before, &version).is_empty() {
                self.versions_count -= 1;
            }
            self.settle(before, &version);
            self.settle(after, &version);
        }
    }

    fn forget_name_of(&mut self, root: &PublicKey) {
        if let Some(root) = self.roots.find(root) {
            self.orgs.retain(|_, roots| {
                roots.remove(&root);
                !roots.is_empty()
            });
        }
    }

    /// Everything that the org of that name listed.
    pub(crate) fn rows_of_org(&self, org: &OrgName) -> RoaringBitmap {
        let roots = self.orgs.get(org).into_iter().flatten();
        roots
            .filter_map(|root| self.sets.roots.get(root))
            .fold(RoaringBitmap::new(), |all, one| all | one)
    }

    /// Orgs that listed something, by root key, and how they are called here.
    pub fn orgs(&self) -> impl Iterator<Item = (&PublicKey, &OrgName)> {
        let roots = self.orgs.iter().flat_map(|(org, roots)| roots.iter().map(move |r| (r, org)));
        roots.filter_map(|(root, org)| Some((self.roots.value(*root)?, org)))
    }

    /// How many of `rows` each org listed.
    pub(crate) fn count_by_org(
        &self,
        rows: &RoaringBitmap,
    ) -> impl Iterator<Item = (&OrgName, u64)> {
        self.orgs.iter().map(move |(org, roots)| {
            let sets = roots.iter().filter_map(|root| self.sets.roots.get(root));
            (org, sets.map(|set| set.intersection_len(rows)).sum())
        })
    }

    fn rows_of(&self, root: &PublicKey) -> Vec<u32> {
        let rows = self.roots.find(root).and_then(|root| self.sets.roots.get(&root));
        rows.map(|rows| (rows & &self.live).iter().collect()).unwrap_or_default()
    }

    fn name_and_version(&self, number: u32) -> Option<(u32, Version)> {
        self.row(number).map(|row| (row.name, row.version.clone()))
    }

    pub(crate) fn row(&self, number: u32) -> Option<&Row> {
        self.rows.get(usize::try_from(number).ok()?)
    }

    pub(crate) fn row_mut(&mut self, number: u32) -> Option<&mut Row> {
        self.rows.get_mut(usize::try_from(number).ok()?)
    }

    /// Live rows of one package, in order of their numbers.
    pub(crate) fn rows_of_package(&self, package: PackageId) -> impl Iterator<Item = u32> + '_ {
        let start = start_of(package);
        let from = self.packages.range((start, 0)..=(start, u32::MAX));
        from.map(|(_, number)| *number)
            .filter(move |number| self.row(*number).is_some_and(|row| row.package == package))
    }

    /// The whole entry of a row; `None` when its listing cannot be read.
    pub(crate) fn entry(&self, number: u32) -> Option<Entry> {
        let row = self.row(number)?;
        let author = *self.authors.value(row.author)?;
        let (org, _) = self.names.get(row.name)?;
        Some(Entry {
            org: org.clone(),
            root: *self.roots.value(row.root)?,
            listing: self.listings.get(number, &author, row.seq)?,
            listing_id: row.listing_id,
            seq: row.seq,
            author,
            time_ms: row.time_ms,
        })
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

    /// The number that the next listing will have. Rows below it are those that are known now.
    #[must_use]
    pub fn next_number(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
    }

    /// The index of words, to have it written to disk.
    pub fn text_mut(&mut self) -> &mut dyn TextIndex {
        self.text.as_mut()
    }
}

/// What sorts preferred versions to the end: releases after prereleases, then the higher one.
pub(crate) fn preference(version: &Version) -> (bool, &Version) {
    (version.pre.is_empty(), version)
}

pub(crate) fn start_of(package: PackageId) -> u64 {
    let mut start = [0; 8];
    start.iter_mut().zip(package.0.as_bytes()).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(start)
}
