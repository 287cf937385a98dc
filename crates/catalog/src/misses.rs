//! When nothing answers: what was nearest, and which criterion excluded it.

use std::collections::BTreeSet;

use guildhall_protocol::api::{Excluded, Near};
use guildhall_protocol::query::Side;
use roaring::RoaringBitmap;

use crate::criteria::{Criterion, bytes, meet};
use crate::entry::Entry;
use crate::filter::{best_accuracy, best_latency, hardware_of, memory_of};
use crate::judge::Ranker;
use crate::rank::{quote, short};
use crate::search::Evaluation;

/// Nearest listings that are shown: a person looks at a few and then asks for something else.
const NEAREST_MAX: usize = 3;

impl Evaluation<'_> {
    /// What misses the query by one criterion, or by two where nothing misses it by one; and for each criterion how
    /// many answers there would be without it.
    pub(crate) fn misses(&self, ranker: &Ranker<'_>) -> (Vec<Near>, Vec<Excluded>) {
        let mut excluded = Vec::new();
        let mut near = RoaringBitmap::new();
        for (place, criterion) in self.criteria.iter().enumerate() {
            let rows = self.rows_but(&[place]);
            excluded.push(Excluded { criterion: criterion.written(), without: rows.len() });
            near |= rows;
        }
        if !self.wanted.is_empty() && !self.criteria.is_empty() {
            let rows = meet(self.catalog, &self.criteria, &self.catalog.sets.shown);
            let words: Vec<&str> =
                self.wanted.words().iter().map(|word| word.word.as_str()).collect();
            excluded.push(Excluded { criterion: words.join(" "), without: rows.len() });
            near |= rows;
        }
        if near.is_empty() {
            for first in 0..self.criteria.len() {
                for second in first + 1..self.criteria.len() {
                    near |= self.rows_but(&[first, second]);
                }
            }
        }
        (self.nearest(ranker, &near), excluded)
    }

    /// Rows that meet all criteria but these, and have one of the words.
    fn rows_but(&self, left_out: &[usize]) -> RoaringBitmap {
        let others =
            self.criteria.iter().enumerate().filter(|(place, _)| !left_out.contains(place));
        let rows = meet(self.catalog, others.map(|(_, one)| one), &self.catalog.sets.shown);
        match self.hits(&rows) {
            Some(hits) => hits.into_iter().map(|(number, _)| number).collect(),
            None => rows,
        }
    }

    fn nearest(&self, ranker: &Ranker<'_>, rows: &RoaringBitmap) -> Vec<Near> {
        let hits = self.hits(rows).filter(|hits| !hits.is_empty());
        let best = self.catalog.best(ranker, rows, hits.as_deref(), NEAREST_MAX, &BTreeSet::new());
        let near = best.iter().filter_map(|one| {
            let entry = self.catalog.entry(one.number)?;
            let alone = RoaringBitmap::from([one.number]);
            let missed = self.criteria.iter().filter(|criterion| {
                meet(self.catalog, std::iter::once(*criterion), &alone).is_empty()
            });
            let mut misses: Vec<String> = missed.map(|criterion| criterion.miss(&entry)).collect();
            if self.hits(&alone).is_some_and(|hits| hits.is_empty()) {
                misses.push("has none of the words".to_owned());
            }
            Some(Near { suggestion: self.catalog.suggestion(ranker, one.number)?, misses })
        });
        near.collect()
    }
}

impl Criterion<'_> {
    /// What was asked for, and what `entry` has instead.
    fn miss(&self, entry: &Entry) -> String {
        let listing = &*entry.listing;
        let asked = self.written();
        let has = match self {
            Self::Reference(_) => entry.reference().to_string(),
            Self::Org(_) => entry.org.to_string(),
            Self::Category(_) => {
                let names: Vec<&str> = listing.categories.iter().map(|one| one.as_str()).collect();
                names.join(", ")
            }
            Self::Kind(_) => listing.kind.as_str().to_owned(),
            Self::Licence(_) => quote(&listing.licence),
            Self::Engine(_) => match listing.engines.is_empty() {
                true => "needs no engine".to_owned(),
                false => quote(&listing.engines.join(", ")),
            },
            Self::Type(side, _) => types(*side, entry),
            Self::Fits(_) => {
                format!("{} .. {}", types(Side::Input, entry), types(Side::Output, entry))
            }
            Self::Latency(_) => match best_latency(&listing.claims) {
                Some(claim) => format!("declares {} ms", short(claim.p50_ms)),
                None => "declares no latency".to_owned(),
            },
            Self::Accuracy(_, metric) => match best_accuracy(&listing.claims, *metric) {
                Some(claim) => format!("declares {} {}", quote(&claim.metric), short(claim.value)),
                None => "declares none".to_owned(),
            },
            Self::Memory(_) => match memory_of(listing) {
                u64::MAX => "does not say".to_owned(),
                need => format!("needs {}", bytes(need)),
            },
            Self::Cores(_) => format!("needs {}", hardware_of(listing).cores),
            Self::Gpu(_) => format!("needs {}", bytes(hardware_of(listing).gpu_memory_bytes)),
            Self::Len(_) => bytes(listing.len_bytes),
            Self::Runnable(_) => match listing.engines.is_empty() {
                true => "nothing of it is executed".to_owned(),
                false => format!("needs {}", quote(&listing.engines.join(", "))),
            },
        };
        format!("{asked}: {has}")
    }
}

fn types(side: Side, entry: &Entry) -> String {
    let ports = crate::sets::ports(side, &entry.listing.interface);
    let names: Vec<String> = ports.iter().map(|port| port.port_type.to_string()).collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => quote(&names.join(", ")),
    }
}
