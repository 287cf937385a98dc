//! Counts by dimension: how many answers there are of each kind, category and so on.
//!
//! A dimension is counted as if the query did not ask for one of its values, so that a person sees what else there is.

use guildhall_protocol::api::{Facet, FacetValue};
use guildhall_protocol::query::Side;
use roaring::RoaringBitmap;

use crate::criteria::{Criterion, meet};
use crate::filter::alternatives;
use crate::search::Evaluation;
use crate::sets::ANY_MEDIA;

/// Values that are shown of one dimension: what fits on a screen.
pub const FACET_VALUES_MAX: usize = 20;

const DIMENSIONS: [&str; 7] = ["kind", "category", "org", "licence", "input", "output", "engine"];

impl Evaluation<'_> {
    /// All dimensions with their most frequent values.
    pub(crate) fn facets(&self) -> Vec<Facet> {
        let facets = DIMENSIONS.iter().map(|name| {
            let rows = self.rows_without(name);
            let mut values = self.values(name, &rows);
            values.retain(|value| value.count > 0);
            values.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
            values.truncate(FACET_VALUES_MAX);
            Facet { name: (*name).to_owned(), values }
        });
        facets.filter(|facet| !facet.values.is_empty()).collect()
    }

    /// The rows that answer when the query does not ask for a value of `dimension`.
    fn rows_without(&self, dimension: &str) -> RoaringBitmap {
        let others = self.criteria.iter().filter(|one| one.dimension() != Some(dimension));
        let rows = meet(self.catalog, others, &self.catalog.sets.shown);
        match self.hits(&rows) {
            Some(hits) => hits.into_iter().map(|(number, _)| number).collect(),
            None => rows,
        }
    }

    fn values(&self, dimension: &str, rows: &RoaringBitmap) -> Vec<FacetValue> {
        let catalog = self.catalog;
        let sets = &catalog.sets;
        let value = |value: &str, set: &RoaringBitmap| FacetValue {
            value: value.to_owned(),
            count: set.intersection_len(rows),
        };
        match dimension {
            "kind" => sets.kinds.iter().map(|(kind, set)| value(kind.as_str(), set)).collect(),
            "category" => sets.categories.iter().map(|(name, set)| value(name, set)).collect(),
            "org" => catalog
                .count_by_org(rows)
                .map(|(org, count)| FacetValue { value: org.to_string(), count })
                .collect(),
            "licence" => self.licences(rows),
            "engine" => self.engines(rows),
            "input" | "output" => {
                let types = if dimension == "input" { &sets.inputs } else { &sets.outputs };
                let families = types.families.iter().map(|(name, set)| value(name, set));
                let media = types.media.iter().filter(|((_, media), _)| media != ANY_MEDIA);
                families.chain(media.map(|((_, media), set)| value(media, set))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A listing whose licence leaves a choice counts for each.
    fn licences(&self, rows: &RoaringBitmap) -> Vec<FacetValue> {
        let mut counts = std::collections::BTreeMap::<&str, u64>::new();
        for (symbol, set) in &self.catalog.sets.licences {
            let licence = self.catalog.symbols.licences.value(u32::from(*symbol));
            for one in licence.into_iter().flat_map(|licence| alternatives(licence)) {
                *counts.entry(one).or_default() += set.intersection_len(rows);
            }
        }
        let values = counts.into_iter().filter(|(value, _)| !value.is_empty());
        values.map(|(value, count)| FacetValue { value: value.to_owned(), count }).collect()
    }

    /// A listing that needs two engines counts for both.
    fn engines(&self, rows: &RoaringBitmap) -> Vec<FacetValue> {
        let mut counts = std::collections::BTreeMap::<&str, u64>::new();
        for (symbol, set) in &self.catalog.sets.engines {
            let list = self.catalog.symbols.engines.value(u32::from(*symbol));
            for engine in list.into_iter().flatten() {
                *counts.entry(engine).or_default() += set.intersection_len(rows);
            }
        }
        let values = counts.into_iter();
        values.map(|(value, count)| FacetValue { value: value.to_owned(), count }).collect()
    }
}

impl Criterion<'_> {
    /// The dimension of which it asks for a value.
    const fn dimension(&self) -> Option<&'static str> {
        match self {
            Self::Kind(_) => Some("kind"),
            Self::Category(_) => Some("category"),
            Self::Org(_) => Some("org"),
            Self::Licence(_) => Some("licence"),
            Self::Engine(_) => Some("engine"),
            Self::Type(Side::Input, _) => Some("input"),
            Self::Type(Side::Output, _) => Some("output"),
            _ => None,
        }
    }
}
