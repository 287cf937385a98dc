//! Sets and rules agree: whatever is asked for, the catalogue finds what looking at every listing finds.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up should panic")]

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use common::{entry, image, key, port, with};
use guildhall_catalog::words::{Terms, Wanted};
use guildhall_catalog::{Asked, Catalog, Entry, Place, matches};
use guildhall_protocol::interface::PortType;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::query::{Gap, Query};
use guildhall_samples::Generator;
use proptest::prelude::*;

fn generated(seed: u64, count: usize) -> Vec<Entry> {
    let made = Generator::new(seed).take(count);
    let entry = |made: guildhall_samples::Generated| Entry {
        org: made.org,
        root: made.root,
        listing: Arc::new(made.listing),
        listing_id: made.listing_id,
        seq: made.seq,
        author: made.author,
        time_ms: made.time_ms,
    };
    made.map(entry).collect()
}

fn catalog(entries: impl IntoIterator<Item = Entry>) -> Catalog {
    let mut catalog = Catalog::default();
    for entry in entries {
        catalog.insert(entry, false);
    }
    catalog
}

/// A catalogue of generated listings, made once for each seed.
fn sample(seed: usize) -> &'static Catalog {
    static SAMPLES: [OnceLock<Catalog>; SEEDS] = [const { OnceLock::new() }; SEEDS];
    SAMPLES[seed].get_or_init(|| catalog(generated(seed as u64, 300)))
}

const SEEDS: usize = 4;

/// The versions that answer, by the rules.
fn looked(catalog: &Catalog, query: &Query) -> BTreeSet<String> {
    let wanted = Wanted::new(query.text.as_deref());
    let answers = |entry: &Entry| {
        let words = wanted.is_empty() || wanted.value(&Terms::of(&entry.listing)) > 0.0;
        matches(query, entry) && words && catalog.resolve(&entry.reference()).is_ok()
    };
    let entries = catalog.briefs().filter_map(|brief| brief.entry());
    entries.filter(answers).map(|entry| entry.reference().to_string()).collect()
}

fn any_of<T: Clone + std::fmt::Debug + 'static>(
    values: impl IntoIterator<Item = T>,
) -> impl Strategy<Value = Option<T>> {
    let values: Vec<T> = values.into_iter().collect();
    prop_oneof![2 => Just(None), 1 => prop::sample::select(values).prop_map(Some)]
}

/// Any mix of criteria, most of which somebody meets.
fn arbitrary_query() -> impl Strategy<Value = Query> {
    let types = ["image", "image/png", "image/jpeg", "text", "prediction", "tensor", "audio"];
    let words = ["model", "image", "text base", "classif", "zzz", "small fast"];
    let what = (
        any_of(words.map(str::to_owned)),
        any_of(Kind::ALL),
        any_of(["*", "vision", "text", "audio", "tabular", "vision/image-classification"]),
        any_of(types),
        any_of(types),
        any_of(["MIT", "apache-2.0", "unknown", "none-such"]),
    );
    let bounds = (
        any_of([0.0, 0.5, 10.0, 99.9, 1e4]),
        any_of([0.0, 0.5, 0.81, 0.95, 1.0]),
        any_of(["accuracy", "F1", "none-such"]),
        any_of([0, 1 << 20, 1 << 30, (1 << 33) + 7, u64::MAX]),
        any_of([0, 1, 8]),
        any_of([0, 1 << 30, 1 << 34]),
        any_of([0, 1 << 20, 1 << 30]),
        any_of(["onnx", "wasm", "none-such"]),
    );
    (what, bounds).prop_map(|(what, bounds)| Query {
        text: what.0,
        kind: what.1,
        category: what.2.map(|one| one.parse().unwrap()),
        input: what.3.map(|one| one.parse().unwrap()),
        output: what.4.map(|one| one.parse().unwrap()),
        licence: what.5.map(str::to_owned),
        max_latency_ms: bounds.0,
        min_accuracy: bounds.1,
        metric: bounds.2.map(str::to_owned),
        max_memory_bytes: bounds.3,
        cores: bounds.4,
        gpu_memory_bytes: bounds.5,
        max_len_bytes: bounds.6,
        engine: bounds.7.map(str::to_owned),
        ..Query::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_mix_of_criteria_finds_what_looking_at_every_listing_finds(
        seed in 0..SEEDS, query in arbitrary_query(),
    ) {
        let catalog = sample(seed);
        let looked = looked(catalog, &query);
        let mut pages = Vec::new();
        let mut page = None;
        loop {
            let answer = catalog.search(
                &Query { limit: 7, facets: true, ..query.clone() },
                Asked { page: page.as_ref(), ..Asked::default() },
            );
            prop_assert_eq!(answer.total, looked.len() as u64);
            prop_assert_eq!(answer.total == 0, answer.results.is_empty());
            pages.extend(answer.results.iter().map(|one| (one.reference.to_string(), one.score)));
            match answer.next {
                Some(next) => page = Some(next),
                None => break,
            }
        }
        let name = |one: &str| one.split('@').next().unwrap().to_owned();
        let found: Vec<String> = pages.iter().map(|(one, _)| name(one)).collect();
        let distinct: BTreeSet<String> = found.iter().cloned().collect();
        prop_assert_eq!(found.len(), distinct.len(), "a name comes twice");
        prop_assert_eq!(distinct, looked.iter().map(|one| name(one)).collect());
        prop_assert!(pages.iter().all(|(one, _)| looked.contains(one)));
        // Half the bits are enough to order by; what is shown has all of them.
        prop_assert!(pages.is_sorted_by(|a, b| a.1 >= b.1 - 1e-6), "{pages:?}");
    }

    #[test]
    fn counts_by_dimension_are_what_asking_for_each_value_finds(
        seed in 0..SEEDS, query in arbitrary_query(),
    ) {
        let catalog = sample(seed);
        let answer = catalog.search(&Query { facets: true, ..query.clone() }, Asked::default());
        for facet in &answer.facets {
            for value in facet.values.iter().take(3) {
                let asked = match facet.name.as_str() {
                    "kind" => {
                        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == value.value);
                        Query { kind, ..query.clone() }
                    }
                    "category" => {
                        Query { category: Some(value.value.parse().unwrap()), ..query.clone() }
                    }
                    "org" => Query { org: Some(value.value.parse().unwrap()), ..query.clone() },
                    "licence" => Query { licence: Some(value.value.clone()), ..query.clone() },
                    "engine" => Query { engine: Some(value.value.clone()), ..query.clone() },
                    // A media type is also asked for by those who take any.
                    "input" | "output" if value.value.contains('/') => continue,
                    "input" => Query { input: Some(value.value.parse().unwrap()), ..query.clone() },
                    _ => Query { output: Some(value.value.parse().unwrap()), ..query.clone() },
                };
                let found = catalog.search(&asked, Asked::default()).total;
                prop_assert_eq!(found, value.count, "{} {}", &facet.name, &value.value);
            }
        }
    }
}

/// Few results are found without looking at everything that answers; many are not.
#[test]
fn the_best_are_the_same_however_many_are_asked_for() {
    let catalog = catalog(generated(9, 6_000));
    let mut queries = Generator::new(9).queries();
    let kinds = Kind::ALL.into_iter().map(|kind| Query { kind: Some(kind), ..Query::default() });
    let latencies = [1.0, 20.0, 1e4, f64::INFINITY].map(|max| Query {
        kind: Some(Kind::Model),
        max_latency_ms: Some(max),
        ..Query::default()
    });
    let broad: Vec<Query> = kinds.chain(latencies).collect();
    let made: Vec<Query> = (0..200).flat_map(|_| [queries.facets(), queries.words()]).collect();
    for query in broad.iter().chain(&made) {
        let all = catalog.search(&Query { limit: 100, ..query.clone() }, Asked::default());
        let all: Vec<_> = all.results.iter().map(|one| one.listing_id).collect();
        for limit in [1, 3, 10] {
            let query = Query { limit, ..query.clone() };
            let expected: Vec<_> = all.iter().take(limit).copied().collect();
            assert_eq!(catalog.find(&query, Asked::default()), expected, "{query:?}");
            let shown = catalog.search(&query, Asked::default()).results;
            let shown: Vec<_> = shown.iter().map(|one| one.listing_id).collect();
            assert_eq!(shown, expected, "{query:?}");
        }
    }
}

#[test]
fn a_gap_is_filled_by_what_fits_and_worse_by_what_needs_an_adapter() {
    let exact = entry("lab/exact@1.0.0");
    let wide = with("lab/wide@1.0.0", |l| l.interface.inputs = vec![port("in", image(&[]))]);
    let two = with("lab/two@1.0.0", |l| {
        l.interface.inputs = vec![port("a", image(&["image/png"])), port("b", PortType::Text)];
    });
    let other = with("lab/other@1.0.0", |l| l.interface.inputs = vec![port("in", PortType::Text)]);
    let catalog = catalog([exact, wide, two, other]);
    let query = Query {
        fits: Gap { input: Some(image(&["image/png"])), output: None },
        ..Query::default()
    };
    let answer = catalog.search(&query, Asked::default());
    let names: Vec<String> = answer.results.iter().map(|one| one.reference.to_string()).collect();
    assert_eq!(names, ["lab/exact@1.0.0", "lab/wide@1.0.0"]);
    let fit = answer.results[1].terms.iter().find(|term| term.name == "fit").unwrap();
    assert!(fit.value < 1.0 && fit.why.contains("fits as it is"), "{fit:?}");
    let whole = Query { input: Some("image(image/png)".parse().unwrap()), ..Query::default() };
    assert_eq!(catalog.search(&whole, Asked::default()).total, 3);
}

#[test]
fn what_can_be_run_depends_on_the_places_there_are() {
    let gpu = with("lab/gpu@1.0.0", |l| {
        l.contract.as_mut().unwrap().hardware.gpu_memory_bytes = 8 << 30;
    });
    let data = with("lab/data@1.0.0", |l| (l.contract, l.engines) = (None, Vec::new()));
    let catalog = catalog([entry("lab/small@1.0.0"), gpu, data]);
    let query = Query { runnable: true, ..Query::default() };
    let place = |gpu_memory_bytes, memory_bytes| Place {
        engines: vec!["onnx".into(), "wasm".into()],
        memory_bytes,
        cores: 4,
        gpu_memory_bytes,
    };
    let total =
        |places: &[Place]| catalog.search(&query, Asked { places, ..Asked::default() }).total;
    assert_eq!(total(&[]), 0);
    assert_eq!(total(&[place(0, 1 << 30)]), 1);
    assert_eq!(total(&[place(16 << 30, 1 << 30)]), 2);
    assert_eq!(total(&[place(16 << 30, 1 << 20), place(0, 1 << 30)]), 1, "not the sum of places");
    let own = catalog.search(&query, Asked { places: &[place(0, 1)], ..Asked::default() });
    assert!(own.nearest[0].misses[0].starts_with("is:runnable: needs onnx"), "{:?}", own.nearest);
}

#[test]
fn pages_stay_as_they_were_while_listings_arrive() {
    let named = |n: u32, accuracy: f64| {
        with(&format!("lab/digits-{n}@1.0.0"), |l| l.claims.accuracy[0].value = accuracy)
    };
    let mut catalog = catalog((0..30_u32).map(|n| named(n, f64::from(n) / 100.0)));
    let query = Query { limit: 10, ..Query::default() };
    let all: Vec<String> = catalog
        .search(&Query { limit: 30, ..Query::default() }, Asked::default())
        .results
        .iter()
        .map(|one| one.reference.to_string())
        .collect();
    let mut seen = Vec::new();
    let mut page = None;
    for round in 0..3_u32 {
        let asked = Asked { page: page.as_ref(), ..Asked::default() };
        let answer = catalog.search(&query, asked);
        assert_eq!(answer.total, 30);
        seen.extend(answer.results.iter().map(|one| one.reference.to_string()));
        assert_eq!(answer.next.is_none(), round == 2);
        page = answer.next;
        // Better than everything, and a new version of something that comes later.
        catalog.insert(named(100 + round, 0.99), false);
        catalog.insert(entry(&format!("lab/digits-{}@2.0.0-rc.1", 3 - round)), false);
    }
    assert_eq!(seen, all);
}

#[test]
fn when_nothing_answers_the_nearest_and_what_excludes_it_are_named() {
    let slow = with("lab/slow@1.0.0", |l| l.claims.latency[0].p50_ms = 80.0);
    let catalog = catalog([slow, entry("mercy/other@1.0.0")]);
    let query = Query {
        org: Some("lab".parse().unwrap()),
        licence: Some("mit".into()),
        max_latency_ms: Some(50.0),
        ..Query::default()
    };
    let answer = catalog.search(&query, Asked::default());
    assert_eq!(answer.total, 0);
    let excluded: Vec<_> =
        answer.excluded.iter().map(|one| (one.criterion.as_str(), one.without)).collect();
    assert_eq!(excluded, [("org:lab", 1), ("licence:mit", 0), ("latency<50ms", 1)]);
    let near: Vec<_> = answer
        .nearest
        .iter()
        .map(|near| (near.suggestion.reference.to_string(), near.misses.join("; ")))
        .collect();
    assert_eq!(near.len(), 2);
    assert!(near.contains(&("lab/slow@1.0.0".into(), "latency<50ms: declares 80 ms".into())));
    assert!(near.contains(&("mercy/other@1.0.0".into(), "org:lab: mercy".into())));
}

#[test]
fn misspelt_words_and_categories_are_corrected() {
    let catalog = catalog([
        with("lab/lungs@1.0.0", |l| l.summary = "Recognises pneumonia in pictures.".into()),
        entry("lab/digits@1.0.0"),
    ]);
    let meant = |query: Query| {
        let answer = catalog.search(&query, Asked::default());
        answer.did_you_mean.iter().map(|one| one.meant.clone()).collect::<Vec<_>>()
    };
    let text = |text: &str| Query { text: Some(text.into()), ..Query::default() };
    assert_eq!(meant(text("pnuemonia")), ["pneumonia"]);
    assert_eq!(meant(text("numbrals")), ["numerals"]);
    assert_eq!(meant(text("pneumonia")), [""; 0]);
    assert_eq!(meant(text("weather")), [""; 0]);
    let category = |one: &str| Query { category: Some(one.parse().unwrap()), ..Query::default() };
    assert_eq!(meant(category("vision/image-clasification")), ["vision/image-classification"]);
    assert_eq!(meant(category("image-classification")), ["vision/image-classification"]);
    assert_eq!(meant(category("vision")), [""; 0]);
}

#[test]
fn an_org_ranks_as_it_wants() {
    let mut catalog = catalog([
        with("lab/exact@1.0.0", |l| l.claims.accuracy[0].value = 0.95),
        with("mercy/trusted@1.0.0", |l| l.claims.accuracy[0].value = 0.90),
    ]);
    let first = |catalog: &Catalog| {
        let answer = catalog.search(&Query::default(), Asked::default());
        answer.results[0].reference.to_string()
    };
    assert_eq!(first(&catalog), "lab/exact@1.0.0");
    let mut ranking = catalog.ranking().clone();
    ranking.trust.insert("mercy".parse().unwrap(), 1.0);
    catalog.set_ranking(ranking.clone());
    assert_eq!(first(&catalog), "mercy/trusted@1.0.0");
    ranking.weights.set("trust", 0.0).unwrap();
    catalog.set_ranking(ranking.clone());
    assert_eq!(first(&catalog), "lab/exact@1.0.0");
    catalog.set_ranking(Default::default());
    catalog.set_home(key("mercy"));
    assert_eq!(first(&catalog), "mercy/trusted@1.0.0", "one's own are trusted");
    assert!(ranking.weights.set("luck", 1.0).is_err());
    assert!(ranking.weights.set("trust", f64::NAN).is_err());
    assert!(ranking.weights.set("trust", -1.0).is_err());
}

#[test]
fn algorithms_come_with_the_data_that_goes_with_them() {
    let data = |reference: &str, port_type: PortType| {
        with(reference, |l| {
            l.kind = Kind::Data;
            l.interface.inputs = Vec::new();
            l.interface.outputs = vec![port("out", port_type)];
        })
    };
    let algorithm = with("lab/train@1.0.0", |l| {
        l.kind = Kind::Algorithm;
        l.suggested.data = vec!["mercy/chosen".parse().unwrap(), "gone/away".parse().unwrap()];
    });
    let catalog = catalog([
        algorithm,
        data("mercy/chosen@1.0.0", PortType::Text),
        data("mercy/pictures@1.0.0", image(&["image/png"])),
        data("mercy/texts@1.0.0", PortType::Text),
    ]);
    let query = Query { kind: Some(Kind::Algorithm), with_data: true, ..Query::default() };
    let found = catalog.search(&query, Asked::default());
    let data: Vec<_> = found.results[0]
        .data
        .iter()
        .map(|one| (one.reference.to_string(), one.why.as_str()))
        .collect();
    assert_eq!(
        data,
        [
            ("mercy/chosen@1.0.0".to_owned(), "suggested by its producer"),
            ("mercy/pictures@1.0.0".to_owned(), "it fits the inputs as it is"),
        ]
    );
    let plain = Query { with_data: false, ..query };
    assert!(catalog.search(&plain, Asked::default()).results[0].data.is_empty());
}

#[test]
fn a_licence_that_leaves_a_choice_is_found_by_each_and_counted_for_each() {
    let licensed = |reference: &str, licence: &str| with(reference, |l| l.licence = licence.into());
    let catalog = catalog([
        licensed("lab/aa@1.0.0", "MIT OR Apache-2.0"),
        licensed("lab/bb@1.0.0", "apache-2.0 or MIT"),
        licensed("lab/cc@1.0.0", "MIT"),
        licensed("lab/dd@1.0.0", "MIT AND BSD-3-Clause"),
    ]);
    let found = |licence: &str| {
        let query = Query { licence: Some(licence.into()), facets: true, ..Query::default() };
        catalog.search(&query, Asked::default())
    };
    for (asked, count) in [("mit", 3), ("Apache-2.0", 2), ("Apache-2.0 or mit", 2), ("bsd", 0)] {
        assert_eq!(found(asked).total, count, "{asked}");
    }
    let facets = found("mit").facets;
    let licences = facets.iter().find(|facet| facet.name == "licence").unwrap();
    let counts: Vec<_> = licences.values.iter().map(|v| (v.value.as_str(), v.count)).collect();
    assert_eq!(counts, [("mit", 3), ("apache-2.0", 2), ("mit and bsd-3-clause", 1)]);
    assert_eq!(found("mti").did_you_mean[0].meant, "mit");
}

#[test]
fn what_fits_as_it_is_stands_before_what_needs_an_adapter() {
    let grey = |reference: &str, change: fn(&mut guildhall_protocol::body::Listing)| {
        with(reference, |l| {
            l.interface.inputs = vec![port("in", image(&["image/png"]))];
            change(l);
        })
    };
    let poor = grey("lab/poor@0.1.0", |l| {
        (l.claims, l.documentation) = (Default::default(), None);
        l.examples = Vec::new();
        l.summary = String::new();
    });
    let rich = with("lab/rich@1.0.0", |l| {
        l.interface.inputs = vec![port("in", image(&["image/jpeg"]))];
        l.claims.accuracy[0].value = 1.0;
    });
    let catalog = catalog([poor, rich]);
    let query = Query {
        fits: Gap { input: Some(image(&["image/png"])), output: None },
        text: Some("rich mnist".into()),
        ..Query::default()
    };
    let answer = catalog.search(&query, Asked::default());
    let names: Vec<String> = answer.results.iter().map(|one| one.reference.to_string()).collect();
    assert_eq!(names.first().map(String::as_str), Some("lab/poor@0.1.0"), "{names:?}");
}
