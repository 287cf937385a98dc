//! Queries: what each filter lets through, how results are ranked, and how they explain themselves.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up should panic")]

mod common;

use common::{entry, image, package, port, with};
use guildhall_catalog::{Asked, Catalog, Entry};
use guildhall_protocol::body::{AccuracyClaim, Claims, LatencyClaim};
use guildhall_protocol::interface::PortType;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::Reference;
use guildhall_protocol::query::{Query, Suggestion};
use proptest::prelude::*;

fn search(entries: impl IntoIterator<Item = Entry>, query: &Query) -> Vec<Suggestion> {
    let mut catalog = Catalog::default();
    for entry in entries {
        catalog.insert(entry, false);
    }
    catalog.search(query, Asked::default()).results
}

fn names(found: &[Suggestion]) -> Vec<String> {
    found.iter().map(|one| one.reference.to_string()).collect()
}

/// A small federation: two models, data, an adapter and a notebook.
fn federation() -> Vec<Entry> {
    vec![
        entry("lab/digits@1.0.0"),
        with("mercy/xrays@0.3.0", |listing| {
            listing.categories = vec!["vision/medical/x-ray".parse().unwrap()];
            listing.summary = "Finds fractures.".into();
            listing.keywords = vec!["radiology".into()];
            listing.interface.inputs = vec![port("scan", image(&[]))];
            listing.contract.as_mut().unwrap().memory_bytes = 2 << 30;
            listing.claims = Claims {
                accuracy: vec![AccuracyClaim {
                    metric: "auroc".into(),
                    dataset: "own wards".into(),
                    value: 0.9,
                }],
                latency: vec![LatencyClaim { p50_ms: 80.0, hardware: "one GPU".into() }],
            };
        }),
        with("lab/numerals@1.0.0", |listing| {
            listing.kind = Kind::Data;
            listing.summary = "Scanned digits.".into();
            listing.keywords = Vec::new();
            listing.interface.outputs = std::mem::take(&mut listing.interface.inputs);
            (listing.contract, listing.engines) = (None, Vec::new());
            listing.claims = Claims::default();
        }),
        with("lab/prepare@1.0.0", |listing| {
            listing.kind = Kind::Algorithm;
            listing.categories = vec!["tabular/conditioning".parse().unwrap()];
            listing.interface.inputs = vec![port("text", PortType::Text)];
            listing.claims = Claims::default();
            listing.contract = None;
        }),
        with("mercy/tour@1.0.0", |listing| {
            listing.kind = Kind::Notebook;
            listing.categories = vec!["text/teaching".parse().unwrap()];
            listing.interface = Default::default();
            (listing.contract, listing.engines) = (None, Vec::new());
            listing.claims = Claims::default();
        }),
    ]
}

#[test]
fn every_filter_narrows() {
    let query = Query::default;
    let cases: Vec<(Query, &[&str])> = vec![
        (query(), &["digits", "numerals", "prepare", "tour", "xrays"]),
        (Query { kind: Some(Kind::Model), ..query() }, &["digits", "xrays"]),
        (Query { kind: Some(Kind::Notebook), ..query() }, &["tour"]),
        (
            Query { category: Some("vision".parse().unwrap()), ..query() },
            &["digits", "numerals", "xrays"],
        ),
        (Query { category: Some("vision/medical".parse().unwrap()), ..query() }, &["xrays"]),
        (Query { category: Some("vis".parse().unwrap()), ..query() }, &[]),
        (
            Query { category: Some("*".parse().unwrap()), kind: Some(Kind::Data), ..query() },
            &["numerals"],
        ),
        (Query { input: Some("image/png".parse().unwrap()), ..query() }, &["digits", "xrays"]),
        (Query { input: Some("image/gif".parse().unwrap()), ..query() }, &["xrays"]),
        (Query { input: Some("text".parse().unwrap()), ..query() }, &["prepare"]),
        (Query { output: Some("image".parse().unwrap()), ..query() }, &["numerals"]),
        (
            Query { output: Some("prediction".parse().unwrap()), ..query() },
            &["digits", "prepare", "xrays"],
        ),
        (Query { max_latency_ms: Some(80.0), ..query() }, &["digits", "xrays"]),
        (Query { max_latency_ms: Some(79.9), ..query() }, &["digits"]),
        (Query { min_accuracy: Some(0.9), ..query() }, &["digits", "xrays"]),
        (Query { min_accuracy: Some(0.95), ..query() }, &["digits"]),
        (Query { max_memory_bytes: Some(64 << 20), ..query() }, &["digits", "numerals", "tour"]),
        (Query { max_memory_bytes: Some(1), ..query() }, &["numerals", "tour"]),
        (Query { text: Some("digits".into()), ..query() }, &["digits", "numerals"]),
        (Query { text: Some("RADIO".into()), ..query() }, &["xrays"]),
        (Query { text: Some("ra".into()), ..query() }, &[]),
        (Query { text: Some("weather radiology".into()), ..query() }, &["xrays"]),
        (Query { text: Some("weather".into()), ..query() }, &[]),
        (Query { text: Some("  ".into()), kind: Some(Kind::Data), ..query() }, &["numerals"]),
        (Query { reference: Some("lab/digits".parse().unwrap()), ..query() }, &["digits"]),
        (Query { reference: Some("lab/digits@9.0.0".parse().unwrap()), ..query() }, &[]),
        (
            Query { reference: Some(Reference::Package(package("lab/digits@1.0.0"))), ..query() },
            &["digits"],
        ),
        (
            Query {
                kind: Some(Kind::Model),
                text: Some("digits".into()),
                max_latency_ms: Some(1.0),
                ..query()
            },
            &["digits"],
        ),
    ];
    for (query, expected) in cases {
        let found = search(federation(), &query);
        let mut found: Vec<_> = found
            .iter()
            .map(|one| match &one.reference {
                Reference::Named { name, .. } => name.to_string(),
                Reference::Package(id) => id.to_string(),
            })
            .collect();
        found.sort();
        assert_eq!(found, expected, "{query:?}");
    }
}

#[test]
fn of_each_name_the_best_version_that_answers_is_shown() {
    let entries = || {
        [
            entry("lab/digits@1.0.0"),
            with("lab/digits@2.0.0", |listing| {
                listing.contract.as_mut().unwrap().memory_bytes = 1 << 40;
            }),
            entry("lab/digits@3.0.0-rc.1"),
        ]
    };
    assert_eq!(names(&search(entries(), &Query::default())), ["lab/digits@2.0.0"]);
    let small = Query { max_memory_bytes: Some(1 << 30), ..Query::default() };
    assert_eq!(names(&search(entries(), &small)), ["lab/digits@1.0.0"]);
    let named =
        Query { reference: Some("lab/digits@3.0.0-rc.1".parse().unwrap()), ..Query::default() };
    assert_eq!(names(&search(entries(), &named)), ["lab/digits@3.0.0-rc.1"]);
}

#[test]
fn a_score_explains_itself_in_words() {
    let query = Query {
        text: Some("digit mnist weather".into()),
        category: Some("vision".parse().unwrap()),
        input: Some("image/png".parse().unwrap()),
        max_latency_ms: Some(20.0),
        ..Query::default()
    };
    let found = search([entry("lab/digits@1.0.0")], &query);
    let terms: Vec<_> = found[0].terms.iter().map(|t| (t.name.as_str(), t.why.as_str())).collect();
    assert_eq!(
        terms,
        [
            ("text", "2 of 3 words found; `digit` in the name; `mnist` in the keywords"),
            ("category", "its main category vision/image-classification lies within vision"),
            ("fit", "input `image` takes image(image/png)"),
            ("accuracy", "declared accuracy 0.981 on UCI digits held-out (by the producer)"),
            (
                "latency",
                "declared median 0.4 ms on 2 x86 cores (by the producer); at most 20 ms asked for"
            ),
            ("usage", "not used from this node yet"),
            ("holders", "0 orgs besides the producer known to hold a copy"),
            ("trust", "nothing is said about trust in its org"),
            ("reviews", "no other org reviewed it"),
            ("freshness", "listed today"),
            ("documentation", "has a summary, documentation, examples, a licence"),
            ("stability", "1.0.0 is a release"),
        ]
    );
}

#[test]
fn a_word_of_two_letters_is_only_found_whole() {
    let query = Query { text: Some("di mnist".into()), ..Query::default() };
    let found = search([entry("lab/digits@1.0.0")], &query);
    assert_eq!(found[0].terms[0].why, "1 of 2 words found; `mnist` in the keywords");
    let found = search([entry("lab/di-gits@1.0.0")], &query);
    assert!(found[0].terms[0].why.starts_with("2 of 2 words found; `di` in the name"));
}

#[test]
fn what_is_not_declared_is_said_too() {
    let bare = |kind| {
        with("lab/digits@0.1.0", |listing| {
            listing.kind = kind;
            listing.claims = Claims::default();
            listing.licence = "unknown".into();
            (listing.documentation, listing.examples) = (None, Vec::new());
        })
    };
    let why = |kind, name: &str| {
        let found = search([bare(kind)], &Query::default());
        let term = found[0].terms.iter().find(|term| term.name == name).unwrap();
        (term.value, term.why.clone())
    };
    let declared = |what: &str| (0.0, format!("the producer declares no {what}"));
    assert_eq!(why(Kind::Model, "accuracy"), declared("accuracy"));
    assert_eq!(why(Kind::Model, "latency"), declared("latency"));
    let lacks = "has a summary; lacks documentation, examples, a licence";
    assert_eq!(why(Kind::Model, "documentation"), (0.25, lacks.into()));
    assert_eq!(why(Kind::Model, "stability"), (0.5, "0.1.0 is before 1.0.0".into()));
    let expected = "no accuracy is declared or expected of this kind of content";
    assert_eq!(why(Kind::Data, "accuracy"), (0.5, expected.into()));
}

#[test]
fn ranking_prefers_what_a_person_would() {
    let claims = |accuracy: f64, p50_ms: f64| Claims {
        accuracy: vec![AccuracyClaim { metric: "f1".into(), dataset: "d".into(), value: accuracy }],
        latency: vec![LatencyClaim { p50_ms, hardware: "h".into() }],
    };
    let text = |text: &str| Query { text: Some(text.into()), ..Query::default() };
    let png = Query { input: Some("image/png".parse().unwrap()), ..Query::default() };
    let vision = Query {
        category: Some("vision/image-classification".parse().unwrap()),
        ..Query::default()
    };
    let cases: Vec<(&str, Query, Entry, Entry)> = vec![
        (
            "higher declared accuracy",
            Query::default(),
            with("lab/bb@1.0.0", |l| l.claims = claims(0.9, 1.0)),
            with("lab/aa@1.0.0", |l| l.claims = claims(0.8, 1.0)),
        ),
        (
            "lower declared latency",
            Query::default(),
            with("lab/bb@1.0.0", |l| l.claims = claims(0.9, 1.0)),
            with("lab/aa@1.0.0", |l| l.claims = claims(0.9, 50.0)),
        ),
        (
            "a hit in the name before one in the keywords",
            text("digits"),
            entry("lab/digits@1.0.0"),
            with("lab/aa@1.0.0", |l| l.keywords = vec!["digits".into()]),
        ),
        (
            "a hit in the keywords before one in the summary",
            text("digits"),
            with("lab/bb@1.0.0", |l| l.keywords = vec!["digits".into()]),
            with("lab/aa@1.0.0", |l| l.summary = "digits".into()),
        ),
        (
            "a whole word before the start of one",
            text("radio"),
            entry("lab/radio@1.0.0"),
            entry("lab/aa-radiology@1.0.0"),
        ),
        (
            "an exact media type before any",
            png,
            entry("lab/bb@1.0.0"),
            with("lab/aa@1.0.0", |l| l.interface.inputs = vec![port("in", image(&[]))]),
        ),
        (
            "the main category before a further one",
            vision,
            entry("lab/bb@1.0.0"),
            with("lab/aa@1.0.0", |l| l.categories.insert(0, "audio/tagging".parse().unwrap())),
        ),
        (
            "the newer of equal ones",
            Query::default(),
            Entry { time_ms: 2, ..entry("lab/bb@1.0.0") },
            Entry { time_ms: 1, ..entry("lab/aa@1.0.0") },
        ),
    ];
    for (what, query, better, worse) in cases {
        let expected = [better.reference().to_string(), worse.reference().to_string()];
        assert_eq!(names(&search([worse, better], &query)), expected, "{what}");
    }
}

#[test]
fn claims_that_are_no_numbers_count_as_not_declared() {
    let absurd = with("lab/digits@1.0.0", |listing| {
        listing.claims.latency = [f64::NAN, f64::INFINITY, -1.0]
            .map(|p50_ms| LatencyClaim { p50_ms, hardware: "h".into() })
            .to_vec();
        listing.claims.accuracy[0].value = f64::NAN;
    });
    let found = search([absurd.clone()], &Query::default());
    assert!(found[0].score.is_finite());
    let bounded = Query { max_latency_ms: Some(1e9), ..Query::default() };
    assert!(search([absurd], &bounded).is_empty());
}

#[test]
fn a_producers_text_is_cut_and_kept_on_one_line() {
    let long = with("lab/digits@1.0.0", |listing| {
        listing.claims.accuracy[0].dataset = format!("a\nb\u{1b}[31m{}", "x".repeat(5000));
    });
    let found = search([long], &Query::default());
    let why = &found[0].terms[0].why;
    assert!(why.chars().count() < 200 && !why.contains(char::is_control), "{why}");
}

#[test]
fn as_many_results_as_asked_for() {
    let many = || {
        (0..100_u32).map(|n| {
            with(&format!("lab/digits-{n}@1.0.0"), |listing| {
                listing.claims.accuracy[0].value = f64::from(n * 37 % 100) / 100.0;
            })
        })
    };
    let all = search(many(), &Query { limit: 100, ..Query::default() });
    let values: Vec<_> = all.iter().map(|one| one.claims.accuracy[0].value).collect();
    let expected: Vec<_> = (0..100).rev().map(|n| f64::from(n) / 100.0).collect();
    assert_eq!(values, expected);
    for (limit, expected) in [(0, 20), (1, 1), (7, 7), (1000, 100)] {
        let found = search(many(), &Query { limit, ..Query::default() });
        assert_eq!(found, all[..expected], "the best {expected}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn scores_are_sums_of_their_terms_between_0_and_1_and_best_first(
        text in prop::option::of("(digits|radiology|scanned|zzz| ){0,4}"),
        category in prop::option::of(prop::sample::select(vec!["*", "vision", "tabular"])),
        kind in prop::option::of(prop::sample::select(Kind::ALL.to_vec())),
        input in prop::option::of(prop::sample::select(vec!["image", "image/png", "text"])),
        max_latency_ms in prop::option::of(prop_oneof![Just(0.0), Just(f64::NAN), 0.0..1e3_f64]),
        min_accuracy in prop::option::of(0.0..1.0_f64),
    ) {
        let query = Query {
            text, kind, max_latency_ms, min_accuracy,
            category: category.map(|one| one.parse().unwrap()),
            input: input.map(|one| one.parse().unwrap()),
            ..Query::default()
        };
        let found = search(federation(), &query);
        for one in &found {
            prop_assert!((0.0..=1.0).contains(&one.score));
            let sum: f64 = one.terms.iter().map(|term| term.contribution()).sum();
            prop_assert!((sum - one.score).abs() < 1e-9);
            let weights: f64 = one.terms.iter().map(|term| term.weight).sum();
            prop_assert!((weights - 1.0).abs() < 1e-9);
            for term in &one.terms {
                prop_assert!((0.0..=1.0).contains(&term.value) && !term.why.is_empty(), "{term:?}");
            }
        }
        prop_assert!(found.is_sorted_by(|a, b| a.score >= b.score));
    }
}
