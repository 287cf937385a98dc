//! Data that goes with an algorithm or a model: what its producer suggests, then what fits its inputs.

use guildhall_protocol::fit::interface_fit;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::Reference;
use guildhall_protocol::query::Companion;

use crate::catalog::Catalog;
use crate::criteria::Memo;
use crate::entry::Entry;
use crate::resolve::Brief;

/// Companions of one result: a person chooses among a few.
const COMPANIONS_MAX: usize = 3;

/// Data that is looked at for one result, that of the highest standing first.
const LOOKED_AT_MAX: usize = 2_000;

impl Catalog {
    /// Data to train or try `entry` with; nothing for other kinds of content.
    pub(crate) fn companions(&self, entry: &Entry) -> Vec<Companion> {
        if !matches!(entry.listing.kind, Kind::Algorithm | Kind::Model) {
            return Vec::new();
        }
        let suggested = entry.listing.suggested.data.iter().take(COMPANIONS_MAX);
        let mut found: Vec<Companion> =
            suggested.filter_map(|reference| self.suggested(reference)).collect();
        for (number, worth) in self.fitting(entry) {
            let Some(other) = self.brief(number) else { continue };
            let is_there = |one: &Companion| Some(&one.reference) == other.reference().as_ref();
            if found.len() < COMPANIONS_MAX && !found.iter().any(is_there) {
                let how = if worth < 0.9 { "with an adapter" } else { "as it is" };
                found.extend(companion(&other, format!("it fits the inputs {how}")));
            }
        }
        found
    }

    fn suggested(&self, reference: &Reference) -> Option<Companion> {
        let entry = self.resolve(reference).ok()?;
        Some(Companion {
            reference: entry.reference(),
            summary: entry.listing.summary.clone(),
            why: "suggested by its producer".to_owned(),
        })
    }

    /// Data in the domain of `entry` whose outputs feed its inputs, best first: that in its own category, then what fits
    /// better, then what stands higher.
    fn fitting(&self, entry: &Entry) -> Vec<(u32, f64)> {
        let Some(category) = entry.listing.categories.first() else { return Vec::new() };
        let domain = category.as_str().split('/').next().unwrap_or_default();
        let (Some(data), Some(domain)) =
            (self.sets.kinds.get(&Kind::Data), self.sets.categories.get(domain))
        else {
            return Vec::new();
        };
        let rows = (data & domain) & &self.sets.latest;
        let own = self.sets.categories.get(category.as_str());
        let memo = Memo::default();
        let levels = self.sets.levels.iter().rev().filter_map(|level| level.get(&Kind::Data));
        let by_level = levels.flat_map(|level| level & &rows);
        let mut fitting: Vec<(bool, f64, u32)> = by_level
            .take(LOOKED_AT_MAX)
            .filter_map(|number| {
                let worth = memo.worth(self, self.row(number)?, |data| {
                    let fit = interface_fit(&data.outputs, &entry.listing.interface.inputs);
                    let feeds = fit.feeds.iter().any(|feed| feed.output.is_some());
                    if feeds && fit.is_possible() { fit.worth() } else { 0.0 }
                });
                let is_own = own.is_some_and(|own| own.contains(number));
                (worth > 0.0).then_some((is_own, worth, number))
            })
            .collect();
        // Rows come by standing, which stays among equal ones.
        fitting.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)));
        fitting.into_iter().map(|(_, worth, number)| (number, worth)).collect()
    }
}

fn companion(brief: &Brief<'_>, why: String) -> Option<Companion> {
    let summary = brief.entry()?.listing.summary.clone();
    Some(Companion { reference: brief.reference()?, summary, why })
}
