//! Ranking: how well each listing answers a query, and why, in words a person understands.
//!
//! A score is the sum of terms, each a value from 0 to 1 times a weight. Which terms apply follows from the query
//! alone, so the scores of one answer can be compared: text, category and types apply when the query asks for them;
//! accuracy and latency unless it asks for data or notebooks; documentation and stability always. The weights below are
//! the shares when all seven apply; otherwise those that apply are scaled up until they sum to 1, and a
//! [`Term`]'s weight is the scaled one.
//!
//! Accuracy and latency are what the producer declares, and the terms say so. Ties are broken by org, name, version
//! and listing, so the order is always the same.

use std::cmp::Reverse;
use std::fmt;

use guildhall_protocol::body::Listing;
use guildhall_protocol::interface::Port;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::query::{Query, Side, Suggestion, Term, TypeQuery};

use crate::entry::Entry;
use crate::filter::{best_accuracy, best_latency, matches};
use crate::old_words::Wanted;

/// Share of the words of the query: whoever types words means them first.
pub const TEXT_WEIGHT: f64 = 0.35;
/// Share of the category: a filter already, so it only sorts main categories before others.
pub const CATEGORY_WEIGHT: f64 = 0.12;
/// Share of input and output types: a filter already, so it only sorts exact media types before "any".
pub const TYPES_WEIGHT: f64 = 0.12;
/// Share of the declared accuracy: what most people compare first.
pub const ACCURACY_WEIGHT: f64 = 0.20;
/// Share of the declared latency: less than accuracy, because it was measured on other hardware.
pub const LATENCY_WEIGHT: f64 = 0.09;
/// Share of documentation: tells care from a quick upload.
pub const DOCUMENTATION_WEIGHT: f64 = 0.08;
/// Share of the version's stability: breaks near ties.
pub const STABILITY_WEIGHT: f64 = 0.04;

/// Latency that is worth half when the query names no bound, milliseconds: people call up to 100 ms instant.
pub const LATENCY_HALF_MS: f64 = 100.0;

/// Value of a term that a kind of content cannot be measured by: it neither helps nor hurts.
const NEUTRAL: f64 = 0.5;
/// Value of a category that is not the listing's first.
const SECOND_CATEGORY: f64 = 0.9;
/// Value of a category below the one asked for, when it is the listing's first; of another one, the product.
const BELOW_CATEGORY: f64 = 0.8;
/// Value of a version before 1.0.0.
const BEFORE_ONE: f64 = 0.5;
/// Value of a prerelease.
const PRERELEASE: f64 = 0.25;

/// Longest text of a producer that is repeated in a term, characters.
const QUOTE_MAX_CHARS: usize = 80;

/// The entries that answer `query`, best first, at most as many as it asks for. Every entry is looked at by itself:
/// of one name all versions may come, and contested ones too; [`Catalog::search`](crate::Catalog::search) is the way
/// to avoid both.
pub fn rank<'a>(query: &Query, entries: impl IntoIterator<Item = &'a Entry>) -> Vec<Suggestion> {
    let ranker = Ranker::new(query);
    ranker.best(entries.into_iter().filter(|entry| ranker.answers(entry)))
}

/// A query, prepared for being compared with many listings.
pub(crate) struct Ranker<'q> {
    query: &'q Query,
    wanted: Wanted,
    /// The terms that apply, with their scaled weights and names.
    rules: Vec<(Rule, f64, &'static str)>,
}

#[derive(Clone, Copy)]
enum Rule {
    Text,
    Category,
    Types,
    Accuracy,
    Latency,
    Documentation,
    Stability,
}

impl Rule {
    const ALL: [(Self, f64, &'static str); 7] = [
        (Self::Text, TEXT_WEIGHT, "text"),
        (Self::Category, CATEGORY_WEIGHT, "category"),
        (Self::Types, TYPES_WEIGHT, "types"),
        (Self::Accuracy, ACCURACY_WEIGHT, "accuracy"),
        (Self::Latency, LATENCY_WEIGHT, "latency"),
        (Self::Documentation, DOCUMENTATION_WEIGHT, "documentation"),
        (Self::Stability, STABILITY_WEIGHT, "stability"),
    ];
}

/// The words of a term. They are only written for results that are shown.
struct Why(Option<String>);

impl Why {
    fn say(&mut self, words: fmt::Arguments<'_>) {
        if let Some(text) = &mut self.0 {
            let separator = if text.is_empty() { "" } else { "; " };
            text.push_str(&format!("{separator}{words}"));
        }
    }
}

impl<'q> Ranker<'q> {
    pub(crate) fn new(query: &'q Query) -> Self {
        let wanted = Wanted::new(query.text.as_deref());
        let measured = !matches!(query.kind, Some(Kind::Data | Kind::Notebook));
        let everything = CategoryPrefix::everything();
        let applies = |rule: &Rule| match rule {
            Rule::Text => !wanted.is_empty(),
            Rule::Category => query.category.as_ref().is_some_and(|asked| *asked != everything),
            Rule::Types => query.input.is_some() || query.output.is_some(),
            Rule::Accuracy => measured || query.min_accuracy.is_some(),
            Rule::Latency => measured || query.max_latency_ms.is_some(),
            Rule::Documentation | Rule::Stability => true,
        };
        let mut rules: Vec<_> = Rule::ALL.into_iter().filter(|(rule, ..)| applies(rule)).collect();
        let sum: f64 = rules.iter().map(|(_, weight, _)| weight).sum();
        for (_, weight, _) in &mut rules {
            *weight /= sum;
        }
        Self { query, wanted, rules }
    }

    pub(crate) const fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Whether `entry` passes the filters and has at least one of the words.
    pub(crate) fn answers(&self, entry: &Entry) -> bool {
        matches(self.query, entry) && self.wanted.any_hit(&entry.listing)
    }

    /// The best of `entries`, which all answer, as suggestions.
    pub(crate) fn best<'a>(&self, entries: impl Iterator<Item = &'a Entry>) -> Vec<Suggestion> {
        let mut scored: Vec<(f64, &'a Entry)> =
            entries.map(|entry| (self.score(entry), entry)).collect();
        let order = |(score_a, a): &(f64, &'a Entry), (score_b, b): &(f64, &'a Entry)| {
            let place = |entry: &'a Entry| {
                let release = &entry.listing.release;
                (&entry.org, &release.name, Reverse(&release.version), entry.listing_id)
            };
            score_b.total_cmp(score_a).then_with(|| place(a).cmp(&place(b)))
        };
        // Only the best are put in order: most queries match far more than is shown.
        let count = self.query.results();
        if scored.len() > count {
            scored.select_nth_unstable_by(count, order);
            scored.truncate(count);
        }
        scored.sort_by(order);
        scored.into_iter().map(|(_, entry)| self.suggestion(entry)).collect()
    }

    fn score(&self, entry: &Entry) -> f64 {
        let mut silent = Why(None);
        let terms = self
            .rules
            .iter()
            .map(|(rule, weight, _)| self.judge(*rule, entry, &mut silent) * weight);
        let sum: f64 = terms.sum();
        // The scaled weights may add up to a hair more than 1.
        sum.clamp(0.0, 1.0)
    }

    fn suggestion(&self, entry: &Entry) -> Suggestion {
        let terms = self.rules.iter().map(|&(rule, weight, name)| {
            let mut why = Why(Some(String::new()));
            let value = self.judge(rule, entry, &mut why);
            Term { name: name.to_owned(), value, weight, why: why.0.unwrap_or_default() }
        });
        let listing = &entry.listing;
        Suggestion {
            reference: entry.reference(),
            kind: listing.kind,
            package_id: entry.package(),
            listing_id: entry.listing_id,
            summary: listing.summary.clone(),
            categories: listing.categories.clone(),
            interface: listing.interface.clone(),
            claims: listing.claims.clone(),
            score: self.score(entry),
            terms: terms.collect(),
        }
    }

    fn judge(&self, rule: Rule, entry: &Entry, why: &mut Why) -> f64 {
        let listing = &entry.listing;
        match rule {
            Rule::Text => self.text(listing, why),
            Rule::Category => self.category(listing, why),
            Rule::Types => self.types(listing, why),
            Rule::Accuracy => accuracy(listing, why),
            Rule::Latency => self.latency(listing, why),
            Rule::Documentation => documentation(listing, why),
            Rule::Stability => stability(listing, why),
        }
    }

    fn text(&self, listing: &Listing, why: &mut Why) -> f64 {
        let hits = self.wanted.hits(listing);
        why.say(format_args!("{} of {} words found", hits.len(), self.wanted.len()));
        for hit in &hits {
            why.say(format_args!("`{}` in the {}", hit.wanted, hit.field.as_str()));
        }
        hits.iter().map(|hit| hit.worth).sum::<f64>() / as_f64(self.wanted.len().max(1))
    }

    fn category(&self, listing: &Listing, why: &mut Why) -> f64 {
        let Some(asked) = &self.query.category else { return 0.0 };
        let worths = listing.categories.iter().enumerate().filter(|(_, c)| c.is_within(asked)).map(
            |(place, category)| {
                let is_below = category.as_str() != asked.as_str();
                let first = if place == 0 { 1.0 } else { SECOND_CATEGORY };
                (category, place, is_below, first * if is_below { BELOW_CATEGORY } else { 1.0 })
            },
        );
        let Some((category, place, is_below, worth)) =
            worths.reduce(|best, next| if next.3 > best.3 { next } else { best })
        else {
            return 0.0;
        };
        let rank = if place == 0 { "main" } else { "further" };
        if is_below {
            why.say(format_args!("its {rank} category {category} lies within {asked}"));
        } else {
            why.say(format_args!("{category} is its {rank} category"));
        }
        worth
    }

    fn types(&self, listing: &Listing, why: &mut Why) -> f64 {
        let interface = &listing.interface;
        let sides = [
            (&self.query.input, &interface.inputs, Side::Input, "input", "takes"),
            (&self.query.output, &interface.outputs, Side::Output, "output", "yields"),
        ];
        let asked = sides.into_iter().filter_map(|(asked, ports, side, place, verb)| {
            let asked = asked.as_ref()?;
            let (port, worth) = best_port(asked, ports, side)?;
            let port_type = quote(&port.port_type.to_string());
            why.say(format_args!("{place} `{}` {verb} {port_type}", port.name));
            if worth < 1.0 {
                let asked_text = quote(&asked.to_string());
                if asked.is_whole_type() {
                    why.say(format_args!("it fits {asked_text}, but is not the same type"));
                } else {
                    why.say(format_args!("any media type, not only {asked_text}"));
                }
            }
            Some(worth)
        });
        let worths: Vec<f64> = asked.collect();
        worths.iter().sum::<f64>() / as_f64(worths.len().max(1))
    }

    fn latency(&self, listing: &Listing, why: &mut Why) -> f64 {
        let Some(claim) = best_latency(&listing.claims) else {
            return undeclared(listing, "latency", why);
        };
        why.say(format_args!(
            "declared median {} ms on {} (by the producer)",
            short(claim.p50_ms),
            quote(&claim.hardware)
        ));
        let half = match self.query.max_latency_ms {
            Some(max) if max > 0.0 && max.is_finite() => {
                why.say(format_args!("at most {} ms asked for", short(max)));
                max
            }
            _ => LATENCY_HALF_MS,
        };
        half / (half + claim.p50_ms)
    }
}

fn accuracy(listing: &Listing, why: &mut Why) -> f64 {
    match best_accuracy(&listing.claims) {
        Some(claim) => {
            why.say(format_args!(
                "declared {} {} on {} (by the producer)",
                quote(&claim.metric),
                short(claim.value),
                quote(&claim.dataset)
            ));
            claim.value
        }
        None => undeclared(listing, "accuracy", why),
    }
}

/// A model or pipeline should have declared it; of other kinds nobody expects it.
fn undeclared(listing: &Listing, what: &str, why: &mut Why) -> f64 {
    if matches!(listing.kind, Kind::Model | Kind::Pipeline) {
        why.say(format_args!("the producer declares no {what}"));
        0.0
    } else {
        why.say(format_args!("no {what} is declared or expected of this kind of content"));
        NEUTRAL
    }
}

fn documentation(listing: &Listing, why: &mut Why) -> f64 {
    let licence = listing.licence.trim();
    let parts = [
        ("a summary", !listing.summary.trim().is_empty()),
        ("documentation", listing.documentation.is_some()),
        ("examples", !listing.examples.is_empty()),
        ("a licence", !licence.is_empty() && licence != "unknown"),
    ];
    let named = |wanted: bool| {
        let names: Vec<&str> =
            parts.iter().filter(|(_, there)| *there == wanted).map(|(name, _)| *name).collect();
        names.join(", ")
    };
    let there = parts.iter().filter(|(_, there)| *there).count();
    if there > 0 {
        why.say(format_args!("has {}", named(true)));
    }
    if there < parts.len() {
        why.say(format_args!("lacks {}", named(false)));
    }
    as_f64(there) / as_f64(parts.len())
}

fn stability(listing: &Listing, why: &mut Why) -> f64 {
    let version = &listing.release.version;
    let (value, what) = if !version.pre.is_empty() {
        (PRERELEASE, "a prerelease")
    } else if version.major == 0 {
        (BEFORE_ONE, "before 1.0.0")
    } else {
        (1.0, "a release")
    };
    why.say(format_args!("{} is {what}", quote(&version.to_string())));
    value
}

/// The port that meets `asked` best, and how well.
fn best_port<'a>(asked: &TypeQuery, ports: &'a [Port], side: Side) -> Option<(&'a Port, f64)> {
    ports
        .iter()
        .map(|port| (port, asked.worth(&port.port_type, side)))
        .filter(|(_, worth)| *worth > 0.0)
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
}

/// A producer's text on one line, cut to a readable length.
fn quote(text: &str) -> String {
    let mut line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTE_MAX_CHARS).collect();
    if text.chars().nth(QUOTE_MAX_CHARS).is_some() {
        line.push('…');
    }
    line
}

/// A number with at most four digits behind the point.
fn short(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// A count as a number to divide by; counts here are far below 2^32.
fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
