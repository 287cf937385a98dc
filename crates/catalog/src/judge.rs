//! The values of the terms and their words. `docs/ranking.md` says the same to people.

use guildhall_protocol::body::{AccuracyClaim, Listing};
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::query::{Query, Side, TypeQuery};

use crate::catalog::Catalog;
use crate::criteria::{Memo, bytes};
use crate::entry::Entry;
use crate::filter::{best_accuracy, best_latency, gap_worth, hardware_of, memory_of, worth_of};
use crate::rank::{
    BEFORE_ONE, BELOW_CATEGORY, FRESH_HALF_DAYS, GAP_FACTOR, HOLDERS_FULL, LATENCY_HALF_MS,
    NEUTRAL, PRERELEASE, REVIEWS_PRIOR, Rule, SECOND_CATEGORY, TRUST_DEFAULT, USES_FULL, Why,
    as_f64, quote, short,
};
use crate::row::{NONE, Row, narrow};
use crate::words::{Terms, Wanted};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

impl Catalog {
    /// What a row is worth whatever is asked for, 0 to 1.
    pub(crate) fn standing_of(&self, row: &Row) -> f32 {
        let weights = &self.ranking.weights;
        let mut silent = Why::silent();
        let sum: f64 = Rule::STANDING
            .iter()
            .map(|rule| weights.of(*rule) * self.standing_value(*rule, row, None, &mut silent))
            .sum();
        narrow((sum / weights.standing()).clamp(0.0, 1.0))
    }

    /// The value of one of the terms that every query has. `listing` is what the words are taken from.
    pub(crate) fn standing_value(
        &self,
        rule: Rule,
        row: &Row,
        listing: Option<&Listing>,
        why: &mut Why,
    ) -> f64 {
        match rule {
            Rule::Accuracy => accuracy(row, listing, why),
            Rule::Latency => latency(row, listing, None, why),
            Rule::Usage => self.usage(row, why),
            Rule::Holders => self.holders(row, why),
            Rule::Trust => self.trust(row, why),
            Rule::Reviews => self.reviewed(row, why),
            Rule::Freshness => self.freshness(row, why),
            Rule::Documentation => documentation(row, why),
            Rule::Stability => stability(row, why),
            Rule::Text | Rule::Category | Rule::Fit | Rule::Resources => 0.0,
        }
    }

    fn usage(&self, row: &Row, why: &mut Why) -> f64 {
        let uses = self.opinions.uses(row.package);
        match uses {
            0 => why.say(format_args!("not used from this node yet")),
            1 => why.say(format_args!("used once from this node")),
            _ => why.say(format_args!("used {uses} times from this node")),
        }
        (f64::from(uses).ln_1p() / USES_FULL.ln_1p()).min(1.0)
    }

    fn holders(&self, row: &Row, why: &mut Why) -> f64 {
        let holders = self.opinions.holders(row.package);
        let s = if holders == 1 { "" } else { "s" };
        why.say(format_args!("{holders} org{s} besides the producer known to hold a copy"));
        (f64::from(holders) / HOLDERS_FULL).min(1.0)
    }

    fn trust(&self, row: &Row, why: &mut Why) -> f64 {
        if self.home.is_some() && self.roots.value(row.root) == self.home.as_ref() {
            why.say(format_args!("listed by this node's own org"));
            return 1.0;
        }
        let org = self.names.get(row.name).map(|(org, _)| org);
        match org.and_then(|org| Some((org, *self.ranking.trust.get(org)?))) {
            Some((org, trust)) => {
                why.say(format_args!("this node trusts {org} with {}", short(trust)));
                trust
            }
            None => {
                why.say(format_args!("nothing is said about trust in its org"));
                TRUST_DEFAULT
            }
        }
    }

    fn reviewed(&self, row: &Row, why: &mut Why) -> f64 {
        let Some(root) = self.roots.value(row.root) else { return 0.0 };
        let rating = self.rating(row.package, root);
        let orgs = f64::from(u32::try_from(rating.orgs).unwrap_or(u32::MAX));
        match rating.orgs {
            0 => why.say(format_args!("no other org reviewed it")),
            1 => why.say(format_args!("one org gives it {} of 5 stars", short(rating.stars))),
            n => why.say(format_args!("{n} orgs give it {} of 5 stars", short(rating.stars))),
        }
        let (stars, weight) = REVIEWS_PRIOR;
        let mean = rating.stars.mul_add(orgs, stars * weight) / (orgs + weight);
        (mean - 1.0) / 4.0
    }

    fn freshness(&self, row: &Row, why: &mut Why) -> f64 {
        let listed = u32::try_from(row.time_ms / DAY_MS).unwrap_or(u32::MAX);
        // A clock that runs ahead gains nothing: today is the freshest.
        let days = self.day.saturating_sub(listed);
        match days {
            0 => why.say(format_args!("listed today")),
            1 => why.say(format_args!("listed yesterday")),
            _ => why.say(format_args!("listed {days} days ago")),
        }
        FRESH_HALF_DAYS / (FRESH_HALF_DAYS + f64::from(days))
    }
}

fn accuracy(row: &Row, listing: Option<&Listing>, why: &mut Why) -> f64 {
    if row.accuracy.is_nan() {
        return undeclared(row.kind, "accuracy", why);
    }
    match listing.and_then(|listing| best_accuracy(&listing.claims, None)) {
        Some(claim) => declared(claim, why),
        None => f64::from(row.accuracy),
    }
}

/// An accuracy and whose word it is.
fn declared(claim: &AccuracyClaim, why: &mut Why) -> f64 {
    why.say(format_args!(
        "declared {} {} on {} (by the producer)",
        quote(&claim.metric),
        short(claim.value),
        quote(&claim.dataset)
    ));
    claim.value
}

fn latency(row: &Row, listing: Option<&Listing>, ask: Option<f64>, why: &mut Why) -> f64 {
    if row.latency_ms.is_nan() {
        return undeclared(row.kind, "latency", why);
    }
    let claim = listing.and_then(|listing| best_latency(&listing.claims));
    let ms = match claim {
        Some(claim) => {
            why.say(format_args!(
                "declared median {} ms on {} (by the producer)",
                short(claim.p50_ms),
                quote(&claim.hardware)
            ));
            claim.p50_ms
        }
        None => f64::from(row.latency_ms),
    };
    let half = match ask {
        Some(max) if max > 0.0 && max.is_finite() => {
            why.say(format_args!("at most {} ms asked for", short(max)));
            max
        }
        _ => LATENCY_HALF_MS,
    };
    half / (half + ms)
}

/// A model or pipeline should have declared it; of other kinds nobody expects it.
fn undeclared(kind: Kind, what: &str, why: &mut Why) -> f64 {
    if matches!(kind, Kind::Model | Kind::Pipeline) {
        why.say(format_args!("the producer declares no {what}"));
        0.0
    } else {
        why.say(format_args!("no {what} is declared or expected of this kind of content"));
        NEUTRAL
    }
}

fn documentation(row: &Row, why: &mut Why) -> f64 {
    let parts = ["a summary", "documentation", "examples", "a licence"];
    let named = |wanted: bool| {
        let has = |place: usize| row.documented & (1 << place) != 0;
        let names = parts.iter().enumerate().filter(|(place, _)| has(*place) == wanted);
        names.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    };
    let there = usize::try_from(row.documented.count_ones()).unwrap_or_default();
    if there > 0 && !why.is_silent() {
        why.say(format_args!("has {}", named(true)));
    }
    if there < parts.len() && !why.is_silent() {
        why.say(format_args!("lacks {}", named(false)));
    }
    as_f64(there) / as_f64(parts.len())
}

fn stability(row: &Row, why: &mut Why) -> f64 {
    let (value, what) = if !row.version.pre.is_empty() {
        (PRERELEASE, "a prerelease")
    } else if row.version.major == 0 {
        (BEFORE_ONE, "before 1.0.0")
    } else {
        (1.0, "a release")
    };
    if !why.is_silent() {
        why.say(format_args!("{} is {what}", quote(&row.version.to_string())));
    }
    value
}

/// A query, prepared for being compared with many rows.
#[derive(Debug)]
pub(crate) struct Ranker<'c> {
    catalog: &'c Catalog,
    query: &'c Query,
    wanted: &'c Wanted,
    /// What the weights of the terms that apply are divided by.
    sum: f64,
    /// The scaled weight of every term, 0 where it does not apply.
    scaled: [f64; Rule::ALL.len()],
    /// Symbols of categories that answer, and whether they lie below what was asked for.
    categories: Vec<(u16, bool)>,
    metric: Option<u16>,
    fits: Memo,
}

impl<'c> Ranker<'c> {
    pub(crate) fn new(catalog: &'c Catalog, query: &'c Query, wanted: &'c Wanted) -> Self {
        let everything = CategoryPrefix::everything();
        let asked = query.category.as_ref().filter(|asked| **asked != everything);
        let symbols = catalog.symbols.categories.values().iter().zip(0_u16..);
        let categories = asked.map(|asked| {
            symbols
                .filter(|(category, _)| category.is_within(asked))
                .map(|(category, symbol)| (symbol, category.as_str() != asked.as_str()))
                .collect()
        });
        let metric = query.metric.as_ref().map(|metric| {
            let number = catalog.symbols.metrics.find(&metric.to_lowercase());
            number.and_then(|number| u16::try_from(number).ok()).unwrap_or(NONE)
        });
        let mut ranker = Self {
            catalog,
            query,
            wanted,
            sum: 1.0,
            scaled: [0.0; Rule::ALL.len()],
            categories: categories.unwrap_or_default(),
            metric,
            fits: Memo::default(),
        };
        let all = Rule::ALL.iter().filter(|(rule, ..)| ranker.applies(*rule));
        let sum: f64 = all.map(|(rule, ..)| ranker.unscaled(*rule)).sum();
        ranker.sum = sum.max(f64::MIN_POSITIVE);
        ranker.scaled = Rule::ALL.map(|(rule, ..)| match ranker.applies(rule) {
            true => ranker.unscaled(rule) / ranker.sum,
            false => 0.0,
        });
        ranker
    }

    /// A term's weight before scaling.
    fn unscaled(&self, rule: Rule) -> f64 {
        let weight = self.catalog.ranking.weights.of(rule);
        match rule {
            Rule::Fit if !self.query.fits.is_empty() => weight * GAP_FACTOR,
            _ => weight,
        }
    }

    pub(crate) const fn query(&self) -> &'c Query {
        self.query
    }

    fn applies(&self, rule: Rule) -> bool {
        let query = self.query;
        match rule {
            Rule::Text => !self.wanted.is_empty(),
            Rule::Category => {
                query.category.as_ref().is_some_and(|c| *c != CategoryPrefix::everything())
            }
            Rule::Fit => query.input.is_some() || query.output.is_some() || !query.fits.is_empty(),
            Rule::Resources => {
                query.max_memory_bytes.is_some()
                    || query.cores.is_some_and(|cores| cores > 0)
                    || query.gpu_memory_bytes.is_some_and(|bytes| bytes > 0)
                    || query.max_len_bytes.is_some()
            }
            _ => true,
        }
    }

    fn weight(&self, rule: Rule) -> f64 {
        self.scaled.get(rule.place()).copied().unwrap_or_default()
    }

    /// The most that words of this value add to a score.
    pub(crate) fn text_share(&self, text: f32) -> f64 {
        self.weight(Rule::Text) * f64::from(text)
    }

    /// What a standing of 1 adds to a score.
    pub(crate) fn standing_share(&self) -> f64 {
        self.catalog.ranking.weights.standing() / self.sum
    }

    /// The score of a row, whose words are worth `text`; like the sum of the terms but for rounding.
    pub(crate) fn score(&self, row: &Row, text: f32) -> f64 {
        let mut score = self.standing_share() * f64::from(row.standing);
        score += self.text_share(text);
        for rule in [Rule::Category, Rule::Fit, Rule::Resources] {
            let weight = self.weight(rule);
            if weight > 0.0 {
                score += weight * self.asked_value(rule, row);
            }
        }
        score + self.by_ask(row)
    }

    /// The most that a row with this standing can score.
    pub(crate) fn bound(&self, standing: f64) -> f64 {
        let asked = [Rule::Category, Rule::Fit, Rule::Resources].map(|rule| self.weight(rule));
        let late = match self.query.max_latency_ms {
            // Where the usual half and the one that is asked for differ most: between them, at their geometric mean.
            Some(max) if max.is_finite() && max > LATENCY_HALF_MS => {
                let (asked, usual) = (max.sqrt(), LATENCY_HALF_MS.sqrt());
                self.weight(Rule::Latency) * (asked - usual) / (asked + usual)
            }
            Some(max) if max > LATENCY_HALF_MS => self.weight(Rule::Latency),
            _ => 0.0,
        };
        self.standing_share().mul_add(standing, asked.iter().sum::<f64>() + late)
    }

    /// How accuracy and latency against what was asked for differ from what they are worth otherwise.
    fn by_ask(&self, row: &Row) -> f64 {
        let mut silent = Why::silent();
        let mut change = 0.0;
        if self.query.max_latency_ms.is_some() {
            let asked = latency(row, None, self.query.max_latency_ms, &mut silent);
            let usual = latency(row, None, None, &mut silent);
            change += self.weight(Rule::Latency) * (asked - usual);
        }
        if self.metric.is_some() {
            let asked = self.accuracy_by(row, None, &mut silent);
            let usual = accuracy(row, None, &mut silent);
            change += self.weight(Rule::Accuracy) * (asked - usual);
        }
        change
    }

    fn accuracy_by(&self, row: &Row, listing: Option<&Listing>, why: &mut Why) -> f64 {
        let Some(metric) = self.metric else { return accuracy(row, listing, why) };
        let name = self.query.metric.as_deref();
        let by = self.catalog.symbols.accuracy_by(row, metric);
        match (by, listing.and_then(|listing| best_accuracy(&listing.claims, name))) {
            (_, Some(claim)) => declared(claim, why),
            (Some(value), None) => f64::from(value),
            (None, None) => undeclared(row.kind, &quote(name.unwrap_or("accuracy")), why)
                .min(if row.accuracy.is_nan() { 1.0 } else { 0.0 }),
        }
    }

    /// The value of a term that applies because of the query; its words are another matter.
    fn asked_value(&self, rule: Rule, row: &Row) -> f64 {
        match rule {
            Rule::Category => {
                let worth = |(place, symbol): (usize, u16)| {
                    let below = self.categories.iter().find(|(one, _)| *one == symbol)?.1;
                    let first = if place == 0 { 1.0 } else { SECOND_CATEGORY };
                    Some(first * if below { BELOW_CATEGORY } else { 1.0 })
                };
                row.categories().enumerate().filter_map(worth).fold(0.0, f64::max)
            }
            Rule::Fit => self.fits.worth(self.catalog, row, |interface| {
                let mut worths = Vec::new();
                let sides = [(Side::Input, &self.query.input), (Side::Output, &self.query.output)];
                for (side, asked) in sides {
                    worths.extend(asked.as_ref().map(|asked| worth_of(asked, side, interface)));
                }
                if !self.query.fits.is_empty() {
                    // It says more than the types beside it.
                    return gap_worth(&self.query.fits, interface);
                }
                worths.iter().sum::<f64>() / as_f64(worths.len().max(1))
            }),
            Rule::Resources => self.resources(
                (row.memory_bytes, row.cores, row.gpu_bytes, row.len_bytes),
                &mut Why::silent(),
            ),
            _ => 0.0,
        }
    }

    /// The mean of what is left over of each resource that was named.
    fn resources(&self, needs: (u64, u32, u64, u64), why: &mut Why) -> f64 {
        let (memory, cores, gpu, len) = needs;
        let query = self.query;
        let (mut sum, mut count) = (0.0, 0_usize);
        let mut compare = |what: &str,
                           need: u64,
                           have: Option<u64>,
                           written: &dyn Fn(u64) -> String| {
            let Some(have) = have.filter(|have| *have > 0) else { return };
            if !why.is_silent() {
                why.say(format_args!("{what}: {} of {}", written(need), written(have)));
            }
            #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
            let spare = 1.0 - (need as f64 / have as f64).min(1.0);
            sum += spare;
            count += 1;
        };
        compare("memory", memory, query.max_memory_bytes, &bytes);
        compare("cores", u64::from(cores), query.cores.map(u64::from), &|n| n.to_string());
        compare("GPU memory", gpu, query.gpu_memory_bytes, &bytes);
        compare("size", len, query.max_len_bytes, &bytes);
        if count == 0 { 1.0 } else { sum / as_f64(count) }
    }

    /// All terms that apply, with their words.
    pub(crate) fn explain(&self, row: &Row, entry: &Entry) -> Vec<guildhall_protocol::query::Term> {
        let terms = self.wanted.words().iter().next().map(|_| Terms::of(&entry.listing));
        let rules = Rule::ALL.into_iter().filter(|(rule, ..)| self.applies(*rule));
        rules
            .map(|(rule, ..)| {
                let mut why = Why::spoken();
                let listing = &*entry.listing;
                let value = match rule {
                    Rule::Text => {
                        let terms = terms.as_ref();
                        terms.map(|terms| self.text(terms, &mut why)).unwrap_or_default()
                    }
                    Rule::Category => {
                        self.say_category(listing, &mut why);
                        self.asked_value(rule, row)
                    }
                    Rule::Fit => {
                        self.say_fit(listing, &mut why);
                        self.asked_value(rule, row)
                    }
                    Rule::Resources => {
                        let hardware = hardware_of(listing);
                        let (cores, gpu) = (hardware.cores, hardware.gpu_memory_bytes);
                        let needs = (memory_of(listing), cores, gpu, listing.len_bytes);
                        self.resources(needs, &mut why)
                    }
                    Rule::Accuracy => self.accuracy_by(row, Some(listing), &mut why),
                    Rule::Latency => {
                        latency(row, Some(listing), self.query.max_latency_ms, &mut why)
                    }
                    _ => self.catalog.standing_value(rule, row, Some(listing), &mut why),
                };
                why.term(rule, value, self.weight(rule))
            })
            .collect()
    }

    fn text(&self, terms: &Terms, why: &mut Why) -> f64 {
        let words = self.wanted.words();
        let hits: Vec<_> = words.iter().filter_map(|word| Some((word, terms.hit(word)?))).collect();
        why.say(format_args!("{} of {} words found", hits.len(), words.len()));
        for (word, hit) in &hits {
            why.say(format_args!("`{}` in the {}", quote(&word.word), hit.field.as_str()));
        }
        f64::from(self.wanted.value(terms)).min(1.0)
    }

    fn say_category(&self, listing: &Listing, why: &mut Why) {
        let Some(asked) = &self.query.category else { return };
        let Some((place, category)) =
            listing.categories.iter().enumerate().find(|(_, category)| category.is_within(asked))
        else {
            return;
        };
        let rank = if place == 0 { "main" } else { "further" };
        if category.as_str() == asked.as_str() {
            why.say(format_args!("{category} is its {rank} category"));
        } else {
            why.say(format_args!("its {rank} category {category} lies within {asked}"));
        }
    }

    fn say_fit(&self, listing: &Listing, why: &mut Why) {
        let interface = &listing.interface;
        for (side, asked) in [(Side::Input, &self.query.input), (Side::Output, &self.query.output)]
        {
            if let Some(asked) = asked {
                say_port(asked, side, crate::sets::ports(side, interface), why);
            }
        }
        let gap = &self.query.fits;
        if let Some(given) = &gap.input {
            let fits = interface
                .inputs
                .iter()
                .map(|port| (port, guildhall_protocol::fit::fit(given, &port.port_type)));
            let best =
                fits.reduce(|best, next| if next.1.worth() > best.1.worth() { next } else { best });
            if let Some((port, fit)) = best {
                why.say(format_args!(
                    "what comes in: input `{}` {}",
                    port.name,
                    quote(&fit.to_string())
                ));
            }
        }
        if let Some(wanted) = &gap.output {
            let fits = interface
                .outputs
                .iter()
                .map(|port| (port, guildhall_protocol::fit::fit(&port.port_type, wanted)));
            let best =
                fits.reduce(|best, next| if next.1.worth() > best.1.worth() { next } else { best });
            if let Some((port, fit)) = best {
                why.say(format_args!(
                    "what goes on: output `{}` {}",
                    port.name,
                    quote(&fit.to_string())
                ));
            }
        }
    }
}

/// The port that meets `asked` best.
fn say_port(
    asked: &TypeQuery,
    side: Side,
    ports: &[guildhall_protocol::interface::Port],
    why: &mut Why,
) {
    let worths = ports.iter().map(|port| (port, asked.worth(&port.port_type, side)));
    let Some((port, worth)) = worths.reduce(|best, next| if next.1 > best.1 { next } else { best })
    else {
        return;
    };
    let (side, verb) = match side {
        Side::Input => ("input", "takes"),
        Side::Output => ("output", "yields"),
    };
    why.say(format_args!("{side} `{}` {verb} {}", port.name, quote(&port.port_type.to_string())));
    if worth < 1.0 && !asked.is_whole_type() {
        why.say(format_args!("any media type, not only {}", quote(&asked.to_string())));
    }
}
