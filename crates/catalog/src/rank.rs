//! Ranking: how well each listing answers a query, and why, in words a person understands.
//!
//! A score is the sum of terms, each a value from 0 to 1 times a weight. Nine terms say what a listing is worth whatever
//! is asked for, its *standing*; four more apply when the query asks for words, a category, types or resources. The
//! weights of the terms that apply are scaled so that they sum to 1, and a [`Term`]'s weight is the scaled one. Every
//! org sets its own ([`Weights`]).
//!
//! `docs/ranking.md` has the formula of each term. Accuracy and latency are what the producer declares, and the terms
//! say so. Equal scores stand in order of time, the newest first, then of the listing's id.

use std::collections::BTreeMap;

use guildhall_protocol::name::OrgName;
use guildhall_protocol::query::Term;
use guildhall_protocol::{PublicKey, api};

use crate::catalog::Catalog;

/// What each term counts, before scaling.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights([f64; Rule::ALL.len()]);

/// A term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The words of the query.
    Text,
    /// The category that is asked for.
    Category,
    /// The types that are asked for, or the gap to be filled.
    Fit,
    /// What it needs of the resources that are there.
    Resources,
    /// Declared accuracy.
    Accuracy,
    /// Declared latency.
    Latency,
    /// How often it was used from this node.
    Usage,
    /// Orgs that hold a copy.
    Holders,
    /// How far this org trusts the producer.
    Trust,
    /// Other orgs' stars.
    Reviews,
    /// How long ago it was listed.
    Freshness,
    /// Summary, documentation, examples, licence.
    Documentation,
    /// Release or not yet.
    Stability,
}

impl Rule {
    /// Every term with its name and weight, in the order in which they are shown. The words that somebody typed mean
    /// most, what was measured comes next, and what tells care from a quick upload breaks near ties.
    pub const ALL: [(Self, &'static str, f64); 13] = [
        (Self::Text, "text", 0.45),
        (Self::Category, "category", 0.10),
        (Self::Fit, "fit", 0.14),
        (Self::Resources, "resources", 0.05),
        (Self::Accuracy, "accuracy", 0.15),
        (Self::Latency, "latency", 0.07),
        (Self::Usage, "usage", 0.04),
        (Self::Holders, "holders", 0.03),
        (Self::Trust, "trust", 0.05),
        (Self::Reviews, "reviews", 0.04),
        (Self::Freshness, "freshness", 0.03),
        (Self::Documentation, "documentation", 0.06),
        (Self::Stability, "stability", 0.03),
    ];

    /// Terms that apply to every query; their sum is a listing's standing.
    pub(crate) const STANDING: [Self; 9] = [
        Self::Accuracy,
        Self::Latency,
        Self::Usage,
        Self::Holders,
        Self::Trust,
        Self::Reviews,
        Self::Freshness,
        Self::Documentation,
        Self::Stability,
    ];

    pub(crate) const fn place(self) -> usize {
        self as usize
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.get(self.place()).map_or("", |(_, name, _)| name)
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self(Rule::ALL.map(|(_, _, weight)| weight))
    }
}

impl Weights {
    /// Largest weight: a hundred times what the largest is by default leaves nothing else to count.
    pub const MAX: f64 = 100.0;

    /// The weight of a term.
    #[must_use]
    pub fn of(&self, rule: Rule) -> f64 {
        self.0.get(rule.place()).copied().unwrap_or_default()
    }

    /// Changes the weight of the term called `name`.
    ///
    /// # Errors
    /// [`BadWeight`].
    pub fn set(&mut self, name: &str, weight: f64) -> Result<(), BadWeight> {
        if !(0.0..=Self::MAX).contains(&weight) {
            return Err(BadWeight::OutOfRange { weight });
        }
        let rule = Rule::ALL.iter().find(|(_, other, _)| *other == name);
        let (rule, ..) = rule.ok_or_else(|| BadWeight::Unknown { name: name.to_owned() })?;
        let slot = self.0.get_mut(rule.place());
        slot.map(|slot| *slot = weight).ok_or_else(|| BadWeight::Unknown { name: name.to_owned() })
    }

    /// All weights by name.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<String, f64> {
        Rule::ALL.iter().map(|(rule, name, _)| ((*name).to_owned(), self.of(*rule))).collect()
    }

    /// What the terms of a standing count together; never 0, so that it can be divided by.
    pub(crate) fn standing(&self) -> f64 {
        Rule::STANDING.iter().map(|rule| self.of(*rule)).sum::<f64>().max(f64::MIN_POSITIVE)
    }
}

/// The names of all terms.
fn names() -> String {
    Rule::ALL.map(|(_, name, _)| name).join(", ")
}

/// A weight that cannot be set.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadWeight {
    /// No term is called so.
    #[error("no term is called `{name}`; they are {}", names())]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// It is negative, too large or no number.
    #[error("a weight is a number from 0 to {max}, not {weight}", max = Weights::MAX)]
    OutOfRange {
        /// What was asked for.
        weight: f64,
    },
}

/// How an org ranks: weights, and how far it trusts whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    /// What each term counts.
    pub weights: Weights,
    /// Trust in orgs, 0 to 1; [`TRUST_DEFAULT`] in the others, 1 in one's own.
    pub trust: BTreeMap<OrgName, f64>,
}

impl Ranking {
    /// This one with what `change` names changed.
    ///
    /// # Errors
    /// [`BadRanking`].
    pub fn changed(&self, change: &api::Ranking) -> Result<Self, BadRanking> {
        let mut changed = self.clone();
        for (name, weight) in &change.weights {
            changed.weights.set(name, *weight)?;
        }
        for (org, trust) in &change.trust {
            if !(0.0..=1.0).contains(trust) {
                return Err(BadRanking::Trust { org: org.clone(), trust: *trust });
            }
            changed.trust.insert(org.clone(), *trust);
        }
        Ok(changed)
    }
}

/// A way to rank that there is not.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRanking {
    /// A weight cannot be set.
    #[error(transparent)]
    Weight(#[from] BadWeight),
    /// Trust is no share.
    #[error("trust in {org} is a number from 0 to 1, not {trust}")]
    Trust {
        /// The org.
        org: OrgName,
        /// What was asked for.
        trust: f64,
    },
}

/// Trust in an org that nothing is said about.
pub const TRUST_DEFAULT: f64 = 0.5;

/// Latency that is worth half when the query names no bound, milliseconds: people call up to 100 ms instant.
pub const LATENCY_HALF_MS: f64 = 100.0;
/// How much more the fit counts when a gap is to be filled: enough that, with the weights by default, what fits as it is
/// (0.9 or 1) stands before what needs an adapter (0.5 at most), whatever else there is to say.
pub(crate) const GAP_FACTOR: f64 = 20.0;
/// Value of a term that a kind of content cannot be measured by: it neither helps nor hurts.
pub(crate) const NEUTRAL: f64 = 0.5;
/// Value of a category that is not the listing's first.
pub(crate) const SECOND_CATEGORY: f64 = 0.9;
/// Value of a category below the one asked for, when it is the listing's first; of another one, the product.
pub(crate) const BELOW_CATEGORY: f64 = 0.8;
/// Value of a version before 1.0.0.
pub(crate) const BEFORE_ONE: f64 = 0.5;
/// Value of a prerelease.
pub(crate) const PRERELEASE: f64 = 0.25;
/// Uses that are worth everything; fewer count by their logarithm.
pub(crate) const USES_FULL: f64 = 1_000.0;
/// Copies that are worth everything: the default target of replication.
pub(crate) const HOLDERS_FULL: f64 = 3.0;
/// Days after which the freshness of a listing is worth half: a year.
pub(crate) const FRESH_HALF_DAYS: f64 = 365.0;
/// Stars that stand for having no review: the middle. They weigh as much as this many orgs' reviews, so that one
/// enthusiast does not make a package the best.
pub(crate) const REVIEWS_PRIOR: (f64, f64) = (3.0, 2.0);

impl Catalog {
    /// How this org ranks from now on.
    pub fn set_ranking(&mut self, ranking: Ranking) {
        if self.ranking != ranking {
            self.ranking = ranking;
            self.restand_all();
        }
    }

    /// How this org ranks.
    #[must_use]
    pub const fn ranking(&self) -> &Ranking {
        &self.ranking
    }

    /// Whose catalogue it is: its own listings are trusted fully.
    pub fn set_home(&mut self, root: PublicKey) {
        if self.home != Some(root) {
            self.home = Some(root);
            self.restand_all();
        }
    }

    /// What day it is, in days since 1970; listings grow older by it.
    pub fn set_day(&mut self, day: u32) {
        if self.day != day {
            self.day = day;
            self.restand_all();
        }
    }

    fn restand_all(&mut self) {
        (0..self.next_number()).for_each(|number| self.restand(number));
    }

    /// What a row is worth has changed.
    pub(crate) fn restand(&mut self, number: u32) {
        let Some(row) = self.row(number) else { return };
        let (kind, from, to) = (row.kind, row.standing, self.standing_of(row));
        self.sets.move_level(number, kind, from, to);
        if let Some(row) = self.row_mut(number) {
            row.standing = to;
        }
    }
}

/// The words of a term. They are only written for results that are shown.
pub(crate) struct Why(Option<String>);

impl Why {
    pub(crate) const fn silent() -> Self {
        Self(None)
    }

    pub(crate) const fn spoken() -> Self {
        Self(Some(String::new()))
    }

    /// Whether nobody reads them.
    pub(crate) const fn is_silent(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn say(&mut self, words: std::fmt::Arguments<'_>) {
        if let Some(text) = &mut self.0 {
            let separator = if text.is_empty() { "" } else { "; " };
            text.push_str(&format!("{separator}{words}"));
        }
    }

    pub(crate) fn term(self, rule: Rule, value: f64, weight: f64) -> Term {
        Term { name: rule.name().to_owned(), value, weight, why: self.0.unwrap_or_default() }
    }
}

/// Longest text of a producer that is repeated in a term, characters.
const QUOTE_MAX_CHARS: usize = 80;

/// A producer's text on one line, cut to a readable length.
pub(crate) fn quote(text: &str) -> String {
    let mut line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTE_MAX_CHARS).collect();
    if text.chars().nth(QUOTE_MAX_CHARS).is_some() {
        line.push('…');
    }
    line
}

/// A number with at most four digits behind the point.
pub(crate) fn short(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// A count as a number to divide by; counts here are far below 2^32.
pub(crate) fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
