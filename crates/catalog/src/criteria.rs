//! The criteria of a query, each as the set of rows that meet it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;

use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::{CategoryPrefix, OrgName, Reference};
use guildhall_protocol::query::{Gap, Query, Side, TypeQuery};
use roaring::RoaringBitmap;

use crate::catalog::Catalog;
use crate::filter::{gap_worth, permits, worth_of};
use crate::range::{Bounded, Bucket, Range, Rounded};
use crate::row::{Row, narrow};
use crate::sets::ANY_MEDIA;

/// Hardware that things can be run on: this node, or one that lends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Engines it has.
    pub engines: Vec<String>,
    /// Memory of one job, bytes.
    pub memory_bytes: u64,
    /// Processor cores of one job.
    pub cores: u32,
    /// GPU memory of one job, bytes.
    pub gpu_memory_bytes: u64,
}

/// One criterion, in the order in which they are cheap to apply.
#[derive(Clone, Debug)]
pub(crate) enum Criterion<'q> {
    Reference(&'q Reference),
    Org(&'q OrgName),
    Category(&'q CategoryPrefix),
    Kind(Kind),
    Licence(&'q str),
    Engine(&'q str),
    Type(Side, &'q TypeQuery),
    Latency(f64),
    Accuracy(f64, Option<&'q str>),
    Memory(u64),
    Cores(u32),
    Gpu(u64),
    Len(u64),
    Runnable(&'q [Place]),
    Fits(&'q Gap),
}

impl<'q> Criterion<'q> {
    /// All criteria of `query`, except its words.
    pub(crate) fn all(query: &'q Query, places: &'q [Place]) -> Vec<Self> {
        let everything = CategoryPrefix::everything();
        let category = query.category.as_ref().filter(|asked| **asked != everything);
        let metric = query.metric.as_deref();
        let gap = (!query.fits.is_empty()).then_some(&query.fits);
        [
            query.reference.as_ref().map(Self::Reference),
            query.org.as_ref().map(Self::Org),
            category.map(Self::Category),
            query.kind.map(Self::Kind),
            query.licence.as_deref().map(Self::Licence),
            query.engine.as_deref().map(Self::Engine),
            query.input.as_ref().map(|asked| Self::Type(Side::Input, asked)),
            query.output.as_ref().map(|asked| Self::Type(Side::Output, asked)),
            query.max_latency_ms.map(Self::Latency),
            query.min_accuracy.map(|min| Self::Accuracy(min, metric)),
            query.max_memory_bytes.map(Self::Memory),
            query.cores.map(Self::Cores),
            query.gpu_memory_bytes.map(Self::Gpu),
            query.max_len_bytes.map(Self::Len),
            query.runnable.then_some(Self::Runnable(places)),
            gap.map(Self::Fits),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The set that decides it alone, if there is one.
    fn set<'c>(&self, catalog: &'c Catalog) -> Option<Cow<'c, RoaringBitmap>> {
        let sets = &catalog.sets;
        let found = match self {
            Self::Reference(reference) => return Some(Cow::Owned(referred(catalog, reference))),
            Self::Org(org) => {
                return Some(Cow::Owned(catalog.rows_of_org(org)));
            }
            Self::Category(prefix) => sets.categories.get(prefix.as_str()),
            Self::Kind(kind) => sets.kinds.get(kind),
            Self::Licence(asked) => {
                let known = catalog.symbols.licences.values().iter().zip(0_u16..);
                let sets = known
                    .filter(|(licence, _)| permits(licence, asked))
                    .filter_map(|(_, symbol)| sets.licences.get(&symbol));
                return Some(Cow::Owned(sets.fold(RoaringBitmap::new(), |all, one| all | one)));
            }
            Self::Engine(engine) => return Some(Cow::Owned(with_engine(catalog, engine))),
            Self::Type(side, asked) => {
                let (family, media) = asked.parts()?;
                let types = match side {
                    Side::Input => &sets.inputs,
                    Side::Output => &sets.outputs,
                };
                match media {
                    None => types.families.get(family),
                    Some(media) => {
                        let rows = |media: &str| types.media.get(&(family, media.to_owned()));
                        let all = [rows(media), rows(ANY_MEDIA)].into_iter().flatten();
                        return Some(Cow::Owned(
                            all.fold(RoaringBitmap::new(), |all, one| all | one),
                        ));
                    }
                }
            }
            _ => return None,
        };
        Some(found.map_or_else(|| Cow::Owned(RoaringBitmap::new()), Cow::Borrowed))
    }

    /// Those of `within` that meet it.
    fn narrow(&self, catalog: &Catalog, within: &RoaringBitmap) -> RoaringBitmap {
        let sets = &catalog.sets;
        let at_most = |range: &Range, bucket, bound| {
            resolved(catalog, range.at_most(within, bucket, bound), &|row| {
                self.is_met(catalog, row)
            })
        };
        match self {
            Self::Latency(max) => {
                let max = narrow(*max);
                at_most(&sets.latency, Bucket::of_ms(max), Rounded::of(max))
            }
            Self::Accuracy(min, metric) => {
                let min = narrow(*min);
                let bucket = Bucket::of_share(min);
                let bounded = sets.accuracy.at_least(within, bucket, Rounded::of(min));
                let meets = |row: &Row| self.is_met(catalog, row);
                match metric {
                    None => resolved(catalog, bounded, &meets),
                    Some(_) => checked(catalog, &(bounded.certain | bounded.doubtful), &meets),
                }
            }
            Self::Memory(max) => {
                at_most(&sets.memory, Bucket::of_bytes(*max), Rounded::of_count(*max))
            }
            Self::Cores(max) => {
                let bound = Rounded::of_count(u64::from(*max));
                at_most(&sets.cores, Bucket::of_count(*max), bound)
            }
            Self::Gpu(max) => at_most(&sets.gpu, Bucket::of_bytes(*max), Rounded::of_count(*max)),
            Self::Len(max) => at_most(&sets.len, Bucket::of_bytes(*max), Rounded::of_count(*max)),
            Self::Runnable(places) => places
                .iter()
                .map(|place| on_place(catalog, place, within))
                .fold(RoaringBitmap::new(), |all, one| all | one),
            Self::Type(side, asked) => {
                let memo = Memo::default();
                checked(catalog, within, &|row| {
                    memo.worth(catalog, row, |interface| worth_of(asked, *side, interface)) > 0.0
                })
            }
            Self::Fits(gap) => {
                let memo = Memo::default();
                checked(catalog, within, &|row| {
                    memo.worth(catalog, row, |interface| gap_worth(gap, interface)) > 0.0
                })
            }
            _ => self.set(catalog).map(|set| &*set & within).unwrap_or_default(),
        }
    }

    /// Whether it asks for a number of each row.
    const fn is_bound(&self) -> bool {
        matches!(
            self,
            Self::Latency(_)
                | Self::Accuracy(..)
                | Self::Memory(_)
                | Self::Cores(_)
                | Self::Gpu(_)
                | Self::Len(_)
        )
    }

    /// Whether a row meets it, if it [is a bound](Self::is_bound). A number that is not there meets none.
    fn is_met(&self, catalog: &Catalog, row: &Row) -> bool {
        match self {
            Self::Latency(max) => row.latency_ms <= narrow(*max),
            Self::Accuracy(min, None) => row.accuracy >= narrow(*min),
            Self::Accuracy(min, Some(metric)) => {
                let metric = catalog.symbols.metrics.find(&metric.to_lowercase());
                let metric = metric.and_then(|number| u16::try_from(number).ok());
                let by = metric.and_then(|metric| catalog.symbols.accuracy_by(row, metric));
                by.is_some_and(|value| value >= narrow(*min))
            }
            Self::Memory(max) => row.memory_bytes <= *max,
            Self::Cores(max) => row.cores <= *max,
            Self::Gpu(max) => row.gpu_bytes <= *max,
            Self::Len(max) => row.len_bytes <= *max,
            _ => false,
        }
    }

    /// As a query writes it.
    pub(crate) fn written(&self) -> String {
        let query = Query::default();
        let alone = match self {
            Self::Reference(reference) => Query { reference: Some((*reference).clone()), ..query },
            Self::Org(org) => Query { org: Some((*org).clone()), ..query },
            Self::Category(category) => Query { category: Some((*category).clone()), ..query },
            Self::Kind(kind) => Query { kind: Some(*kind), ..query },
            Self::Licence(licence) => Query { licence: Some((*licence).to_owned()), ..query },
            Self::Engine(engine) => Query { engine: Some((*engine).to_owned()), ..query },
            Self::Type(Side::Input, asked) => Query { input: Some((*asked).clone()), ..query },
            Self::Type(Side::Output, asked) => Query { output: Some((*asked).clone()), ..query },
            Self::Latency(max) => Query { max_latency_ms: Some(*max), ..query },
            Self::Accuracy(min, metric) => {
                Query { min_accuracy: Some(*min), metric: metric.map(str::to_owned), ..query }
            }
            Self::Memory(max) => Query { max_memory_bytes: Some(*max), ..query },
            Self::Cores(max) => Query { cores: Some(*max), ..query },
            Self::Gpu(max) => Query { gpu_memory_bytes: Some(*max), ..query },
            Self::Len(max) => Query { max_len_bytes: Some(*max), ..query },
            Self::Runnable(_) => Query { runnable: true, ..query },
            Self::Fits(gap) => Query { fits: (*gap).clone(), ..query },
        };
        alone.shorthand()
    }
}

/// All criteria of a query, to look at rows one by one.
pub(crate) struct Test<'c> {
    catalog: &'c Catalog,
    /// The smallest first, as most rows fail there.
    sets: Vec<Cow<'c, RoaringBitmap>>,
    bounds: Vec<Criterion<'c>>,
    kind: Option<Kind>,
}

/// The share of rows that is taken to meet a bound, as its inverse: nothing is known of it.
const ROWS_PER_BOUNDED: u64 = 2;

impl<'c> Test<'c> {
    /// `None` when a criterion cannot be tested row by row.
    pub(crate) fn new(catalog: &'c Catalog, criteria: &[Criterion<'c>]) -> Option<Self> {
        let mut sets = vec![Cow::Borrowed(&catalog.sets.shown)];
        let mut bounds = Vec::new();
        let mut kind = None;
        for criterion in criteria {
            if let Criterion::Kind(asked) = criterion {
                kind = Some(*asked);
            }
            match criterion.set(catalog) {
                Some(set) => sets.push(set),
                None if criterion.is_bound() => bounds.push(criterion.clone()),
                None => return None,
            }
        }
        sets.sort_by_key(|set| set.len());
        Some(Self { catalog, sets, bounds, kind })
    }

    /// The kind that is asked for.
    pub(crate) const fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Rows of the smallest set, and about how many of all rows meet everything if criteria have nothing to do with
    /// each other.
    pub(crate) fn estimate(&self) -> (u64, u64) {
        let all = u64::from(self.catalog.next_number()).max(1);
        let smallest = self.sets.first().map_or(all, |set| set.len());
        let mut meet = all;
        for set in &self.sets {
            // Below 2^64: there are no more than 2^32 rows.
            meet = meet.saturating_mul(set.len()) / all;
        }
        (smallest, self.bounds.iter().fold(meet, |meet, _| meet / ROWS_PER_BOUNDED))
    }

    /// Whether a row meets everything.
    pub(crate) fn is_met(&self, number: u32) -> bool {
        self.sets.iter().all(|set| set.contains(number))
            && (self.bounds.is_empty()
                || self.catalog.row(number).is_some_and(|row| {
                    self.bounds.iter().all(|bound| bound.is_met(self.catalog, row))
                }))
    }
}

/// The rows of `start` that meet all of `criteria`.
pub(crate) fn meet<'q>(
    catalog: &Catalog,
    criteria: impl IntoIterator<Item = &'q Criterion<'q>>,
    start: &RoaringBitmap,
) -> RoaringBitmap {
    let mut sets = Vec::new();
    let mut others = Vec::new();
    for criterion in criteria {
        match criterion.set(catalog) {
            Some(set) => sets.push(set),
            None => others.push(criterion),
        }
    }
    // The smallest first: what follows has less to look at.
    sets.sort_by_key(|set| set.len());
    let mut sets = sets.into_iter();
    let mut rows = match sets.next() {
        Some(first) => &*first & start,
        None if others.is_empty() => return start.clone(),
        None => {
            let first = others.remove(0);
            first.narrow(catalog, start)
        }
    };
    for set in sets {
        rows &= &*set;
    }
    for criterion in others {
        rows = criterion.narrow(catalog, &rows);
    }
    rows
}

/// Rows of one reference.
fn referred(catalog: &Catalog, reference: &Reference) -> RoaringBitmap {
    match reference {
        Reference::Package(package) => catalog.rows_of_package(*package).collect(),
        Reference::Named { org, name, version } => {
            let named = catalog.names.find(org, name);
            let rows = named.map(|named| catalog.names.rows(named)).unwrap_or_default();
            let is_version = |number: &u32| {
                let row = catalog.row(*number);
                version.as_ref().is_none_or(|asked| row.is_some_and(|row| row.version == *asked))
            };
            rows.iter().copied().filter(is_version).collect()
        }
    }
}

/// Rows that need `engine`, among others.
fn with_engine(catalog: &Catalog, engine: &str) -> RoaringBitmap {
    engine_lists(catalog, |list| list.iter().any(|one| one == engine))
}

fn engine_lists(catalog: &Catalog, is_wanted: impl Fn(&[String]) -> bool) -> RoaringBitmap {
    let lists = catalog.symbols.engines.values().iter().zip(0_u16..);
    lists
        .filter(|(list, _)| is_wanted(list))
        .filter_map(|(_, number)| catalog.sets.engines.get(&number))
        .fold(RoaringBitmap::new(), |all, one| all | one)
}

/// Rows of `within` that can be run on `place`.
fn on_place(catalog: &Catalog, place: &Place, within: &RoaringBitmap) -> RoaringBitmap {
    let runs =
        |list: &[String]| !list.is_empty() && list.iter().all(|one| place.engines.contains(one));
    let mut rows = engine_lists(catalog, runs);
    rows &= within;
    for criterion in [
        Criterion::Memory(place.memory_bytes),
        Criterion::Cores(place.cores),
        Criterion::Gpu(place.gpu_memory_bytes),
    ] {
        rows = criterion.narrow(catalog, &rows);
    }
    rows
}

/// Those that are certain, and those of the others that meet the bound.
fn resolved(catalog: &Catalog, bounded: Bounded, meets: &dyn Fn(&Row) -> bool) -> RoaringBitmap {
    bounded.certain | checked(catalog, &bounded.doubtful, meets)
}

/// Those of `rows` that meet the bound.
fn checked(catalog: &Catalog, rows: &RoaringBitmap, meets: &dyn Fn(&Row) -> bool) -> RoaringBitmap {
    let meets = |number: &u32| catalog.row(*number).is_some_and(meets);
    RoaringBitmap::from_sorted_iter(rows.iter().filter(meets)).unwrap_or_default()
}

/// What interfaces are worth, each looked at once.
#[derive(Debug, Default)]
pub(crate) struct Memo(RefCell<BTreeMap<u32, f64>>);

impl Memo {
    pub(crate) fn worth(
        &self,
        catalog: &Catalog,
        row: &Row,
        judge: impl FnOnce(&guildhall_protocol::interface::Interface) -> f64,
    ) -> f64 {
        let mut known = self.0.borrow_mut();
        let judged = || catalog.symbols.interface(row.interface).map(judge).unwrap_or_default();
        *known.entry(row.interface).or_insert_with(judged)
    }
}

/// A number of bytes as people write it.
pub(crate) fn bytes(count: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.into_iter().find(|(_, shift)| count >= 1 << shift);
    match unit {
        Some((name, shift)) if count.trailing_zeros() >= shift => {
            format!("{}{name}", count >> shift)
        }
        Some((name, shift)) => {
            let tenths = (u128::from(count) * 10) >> shift;
            format!("{}.{}{name}", tenths / 10, tenths % 10)
        }
        None => format!("{count}B"),
    }
}
