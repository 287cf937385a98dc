//! Answers as they are read aloud.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use guildhall_protocol::Hash;
use guildhall_protocol::interface::{Interface, Port};
use serde_json::{Value, json};

use super::gaps::{Known, merged, missing};
use super::nothing::Hint;
use super::*;

/// A result of a search.
pub(in crate::cli) fn suggestion(reference: &str, score: f64) -> Value {
    let id = Hash::of(reference.as_bytes()).to_hex();
    json!({
        "ref": reference, "kind": "model", "package_id": format!("b3:{id}"), "listing_id": id,
        "summary": "Says which digit a small picture shows",
        "categories": ["vision/image-classification"],
        "interface": {
            "inputs": [{ "name": "image", "type": { "image": { "media_types": ["image/png"] } } }],
            "outputs": [{ "name": "digit", "type": "text" }],
        },
        "claims": {
            "accuracy": [
                { "metric": "f1", "dataset": "digits", "value": 0.9625 },
                { "metric": "accuracy", "dataset": "digits", "value": 0.97 },
            ],
            "latency": [{ "p50_ms": 3.25, "hardware": "a laptop" }],
        },
        "licence": "MIT", "len_bytes": 1_258_291, "time_ms": 0,
        "reviews": { "orgs": 2, "stars": 4.5 }, "holders": 2, "score": score,
        "terms": [
            { "name": "text", "value": 0.5, "weight": 0.4, "why": "1 of 2 words in the name" },
            { "name": "accuracy", "value": score, "weight": 0.6, "why": "f1 0.9625 on digits" },
        ],
    })
}

fn answer(change: &Value) -> SearchAnswer {
    let mut answer = json!({
        "query_id": Hash::of(b"query").to_hex(), "results": [], "via": "members", "asked": 3,
        "answered": 2, "holders": 0, "age_s": 95,
        "nodes": [
            { "org": "lab-b", "peer_id": "12D3KooWaaaabbbbcccc", "outcome": "answered", "refused": 1 },
            { "org": "lab-c", "peer_id": "12D3KooWddddeeeeffff", "outcome": "late" },
        ],
    });
    for (key, value) in change.as_object().unwrap() {
        answer[key] = value.clone();
    }
    serde_json::from_value(answer).unwrap()
}

fn read(text: &str) -> Query {
    Query::read(text).unwrap()
}

#[test]
fn results_stand_in_a_table_that_fits_the_terminal() {
    let results = [suggestion("lab-a/digits@1.0.0", 0.8123), suggestion("lab-b/other@2.0.0", 0.5)];
    let found = answer(&json!({ "results": results, "total": 57 }));
    let query = read("digits");
    assert_eq!(
        results::table(&found, &query, false, Some(100)),
        [
            "#  REF                 KIND   SCORE  DECLARED                RATED    SUMMARY",
            "1  lab-a/digits@1.0.0  model  0.81   accuracy 0.97, 3.25 ms  4.5 (2)  Says which digit a small pi...",
            "2  lab-b/other@2.0.0   model  0.50   accuracy 0.97, 3.25 ms  4.5 (2)  Says which digit a small pi...",
        ]
    );
    assert_eq!(
        results::table(&found, &query, false, Some(80))[2..4],
        [
            "1  lab-a/digits@1.0.0  model  0.81   accuracy 0.97, 3.25 ms  4.5 (2)",
            "    Says which digit a small picture shows",
        ]
    );
    for columns in [60, 80, 100] {
        for line in results::table(&found, &query, false, Some(columns)) {
            assert!(line.chars().count() <= columns.max(71), "{columns}: {line}");
        }
    }
    let metric = results::table(&found, &read("metric:f1"), false, None);
    assert!(metric[1].contains("f1 0.963, 3.25 ms"), "{}", metric[1]);
}

#[test]
fn what_a_producer_chose_very_long_leaves_the_table_readable() {
    let mut long = suggestion(&format!("lab-a/{}@1.0.0", "digits".repeat(15)), 0.5);
    long["claims"]["accuracy"][1]["metric"] = "accuracy \u{1b}[2J".repeat(200).into();
    let facet =
        json!([{ "name": "licence", "values": [{ "value": "MIT".repeat(99), "count": 1 }] }]);
    let found = answer(&json!({ "results": [long], "total": 1, "facets": facet }));
    let lines = results::table(&found, &read("digits"), false, Some(120));
    assert!(lines.iter().all(|line| line.chars().count() <= 120), "{lines:#?}");
    assert_eq!(lines.last().unwrap().trim(), found.results[0].reference.to_string());
    let facets = results::facets(&found.facets, Some(60));
    assert!(facets[0].chars().count() <= 60 && facets.len() == 1, "{facets:#?}");
}

#[test]
fn reasons_stand_below_their_result() {
    let found = answer(&json!({ "results": [suggestion("lab-a/digits@1.0.0", 0.75)], "total": 1 }));
    assert_eq!(
        results::table(&found, &read("digits"), true, None)[2..],
        [
            "    0.200 of 0.400  text      1 of 2 words in the name",
            "    0.450 of 0.600  accuracy  f1 0.9625 on digits",
        ]
    );
}

#[test]
fn the_line_below_says_how_many_whom_and_how_fresh() {
    let mark = format!("{}.20", Hash::of(b"query").to_hex());
    let results = [suggestion("lab-a/digits@1.0.0", 0.75)];
    let found = answer(&json!({
        "results": results, "total": 57, "next": mark,
        "did_you_mean": [{ "asked": "digtis", "meant": "digits" }],
    }));
    let query = Query { limit: 1, facets: true, ..read("digtis latency<5ms it's") };
    assert_eq!(
        results::talk(&found, &query, None),
        [
            "did you mean `digits` instead of `digtis`?".to_owned(),
            "1 name shown, 57 versions answer; asked 3 nodes, 2 answered; silent: lab-c ..eeeeffff \
             (late); what the silent know may be newer; left out: 1 listing that did not verify"
                .to_owned(),
            format!(
                "next page: guild search 'digtis it'\\''s latency<5ms' --limit 1 --facets --page {mark}"
            ),
        ]
    );
    let page = Query { page: Some(mark.parse().unwrap()), ..query };
    assert!(
        results::talk(&found, &page, None)[1].starts_with("names 21 to 21 shown, 57 versions ")
    );
    let heard = answer(&json!({ "nodes": [], "asked": 0, "answered": 0 }));
    assert!(results::whence(&heard).ends_with("nothing older than 1 min"), "{heard:?}");
    let silent = answer(&json!({ "answered": 0 }));
    assert!(results::whence(&silent).contains("what this node knows itself"));
    let alone = answer(&json!({ "via": "local", "answered": 0, "nodes": [], "age_s": null }));
    assert_eq!(results::whence(&alone), "this node's catalogue alone; no other node was heard yet");
}

#[test]
fn the_command_for_the_next_page_asks_the_same() {
    for text in ["digits kind:model", "-x \"kind:model\"", "", "a\u{202e}b größe", "'"] {
        let query = read(text);
        let command = results::again(&query, None);
        let said = std::process::Command::new("bash")
            .args(["-c", &format!("set -- {}; printf %s \"$3\"", command)])
            .output()
            .unwrap();
        let typed = String::from_utf8(said.stdout).unwrap();
        assert_eq!(read(&typed), query, "{command}");
        assert!(!typed.starts_with('-'), "{command}");
    }
}

#[test]
fn facets_are_counted_in_lines_that_fit() {
    let found = answer(&json!({ "facets": [
        { "name": "kind", "values": [{ "value": "model", "count": 40 }, { "value": "data", "count": 2 }] },
        { "name": "org", "values": [
            { "value": "lab-a", "count": 9 }, { "value": "lab-\u{1b}[2J", "count": 8 },
            { "value": "university-hospital", "count": 7 },
        ] },
        { "name": "licence", "values": [] },
    ] }));
    assert_eq!(
        results::facets(&found.facets, Some(40)),
        [
            "kind      model 40  data 2",
            "org       lab-a 9  lab-\\u{1b}[2J 8",
            "          university-hospital 7",
        ]
    );
}

#[test]
fn the_best_one_says_why_and_what_the_second_lacks() {
    let results = [suggestion("lab-a/digits@1.0.0", 0.9), suggestion("lab-b/other@2.0.0", 0.5)];
    let found = answer(&json!({ "results": results, "total": 3 }));
    assert_eq!(
        best::lines(&found, &read("digits"), Some(100)),
        [
            "lab-a/digits@1.0.0  model  score 0.90",
            "  Says which digit a small picture shows",
            "  image(image/png) -> text",
            "  declares f1 0.963 on digits",
            "  declares accuracy 0.97 on digits",
            "  declares 3.25 ms on a laptop",
            "  MIT, 1.1 MiB; 4.5 of 5 stars from 2 organisations; held by its producer and 2 others",
            "why it is the best of 3 versions that answer:",
            "    0.200 of 0.400  text      1 of 2 words in the name",
            "    0.540 of 0.600  accuracy  f1 0.9625 on digits",
            "second: lab-b/other@2.0.0 with 0.50; it loses most by accuracy (-0.240: f1 0.9625 on digits)",
            "all of them: guild search digits",
            "next: guild show lab-a/digits@1.0.0, or guild run lab-a/digits@1.0.0 --input FILE",
        ]
    );
}

#[test]
fn nothing_found_says_what_excludes_and_what_is_near() {
    let found = answer(&json!({
        "excluded": [
            { "criterion": "kind:model", "without": 0 },
            { "criterion": "org:lab-a", "without": 1 },
            { "criterion": "latency<1ms", "without": 12 },
        ],
        "nearest": [{
            "suggestion": suggestion("lab-a/digits@1.0.0", 0.5),
            "misses": ["latency<1ms: it declares 3.25 ms\u{1b}[31m"],
        }],
    }));
    let query = read("digits latency<1ms kind:model org:lab-a");
    assert_eq!(
        nothing::lines(&found, &query, &Hint::default(), Some(80)),
        [
            "nothing found for digits kind:model org:lab-a latency<1ms",
            "found if one part is left out:",
            "  without latency<1ms  12",
            "  without org:lab-a    1",
            "nearest:",
            "  lab-a/digits@1.0.0  model  Says which digit a small picture shows",
            "    latency<1ms: it declares 3.25 ms\\u{1b}[31m",
        ]
    );
    assert_eq!(nothing::help(&found, &query, &Hint::default()), "guild show lab-a/digits@1.0.0");
    let empty = answer(&json!({}));
    assert_eq!(
        nothing::lines(&empty, &Query::default(), &Hint::default(), None),
        ["nothing is listed here"]
    );
    assert_eq!(
        nothing::help(&empty, &read("task:vision digits"), &Hint::default()),
        "guild demand --subscribe vision"
    );
    let local = Query { local: true, ..read("digits") };
    assert_eq!(nothing::help(&empty, &local, &Hint::default()), "guild search digits");
    let failure = nothing_fits(&empty, &local, &Hint::default());
    assert_eq!(failure.code, exit::NOT_FOUND);
}

#[test]
fn what_may_have_been_meant_is_what_to_do_next() {
    let help = |query: &str, said: &[[&str; 2]]| {
        let said: Vec<Value> =
            said.iter().map(|[asked, meant]| json!({ "asked": asked, "meant": meant })).collect();
        let near = [json!({ "suggestion": suggestion("lab-a/digits@1.0.0", 0.5), "misses": [] })];
        let found = answer(&json!({ "did_you_mean": said, "nearest": near }));
        nothing::help(&found, &read(query), &Hint::default())
    };
    for (query, said, expected) in [
        ("task:vison", vec![["vison", "vision"], ["vison", "vision/x"]], "task:vision"),
        ("handwritng kind:model", vec![["handwritng", "handwriting"]], "'handwriting kind:model'"),
        ("org:labb digits", vec![["labb", "lab-b"]], "'digits org:lab-b'"),
        ("engine:onx", vec![["onx", "onnx"]], "engine:onnx"),
        ("licence:mti", vec![["mti", "mit"]], "licence:mit"),
    ] {
        assert_eq!(help(query, &said), format!("guild search {expected}"), "{query}");
    }
    assert_eq!(help("task:vison", &[]), "guild show lab-a/digits@1.0.0");
    let hint =
        Hint { lines: vec!["taken back".to_owned()], help: Some("guild show x/yy".to_owned()) };
    let found = answer(&json!({}));
    assert_eq!(nothing::help(&found, &read("lab-a/x1@1.0.0"), &hint), "guild show x/yy");
    let lines = nothing::lines(&found, &read("lab-a/x1@1.0.0"), &hint, None);
    assert_eq!(lines, ["nothing found for ref:lab-a/x1@1.0.0", "taken back"]);
}

#[test]
fn a_word_for_a_category_is_asked_for_as_the_category_when_nothing_has_the_word() {
    let empty = answer(&json!({}));
    let read_as = |text: &str| meant(&read(text), &empty).map(|category| category.to_string());
    assert_eq!(read_as("task:ocr").as_deref(), Some("vision/image-to-text/ocr"));
    assert_eq!(read_as("task:vision/ocr").as_deref(), Some("vision/image-to-text/ocr"));
    for text in ["ocr", "task:vision", "task:vision/ocrr", "task:vision/x-ocr"] {
        assert_eq!(read_as(text), None, "{text}");
    }
    let found = answer(&json!({ "results": [suggestion("lab-a/digits@1.0.0", 0.5)], "total": 1 }));
    assert_eq!(meant(&read("task:ocr"), &found), None, "somebody uses it");
}

#[test]
fn a_page_that_is_no_page_of_the_query_says_how_it_goes_on() {
    let mark = format!("{}.20", Hash::of(b"query").to_hex());
    let help = |code: &str, text: &str| {
        let body = json!({ "code": code, "message": "no" });
        let body = Box::new(serde_json::from_value(body).unwrap());
        let query = Query { page: Some(mark.parse().unwrap()), limit: 5, ..read(text) };
        let error = guildhall_client::Error::Api { status: 404, body };
        broken_off(error, &query).help.unwrap()
    };
    assert_eq!(help("page_gone", "wine"), "guild search wine --limit 5");
    assert!(help("page_gone", "").starts_with("guild search WORDS"));
    assert_eq!(help("other_query", "wine"), format!("guild search --limit 5 --page {mark}"));
}

#[test]
fn a_name_that_was_read_as_words_is_told() {
    let results = [suggestion("lab-a/digits@1.0.0", 0.8), suggestion("lab-b/other@2.0.0", 0.5)];
    let found = answer(&json!({ "results": results, "total": 2 }));
    let said = |text: &str| results::talk(&found, &read(text), None).join("\n");
    assert!(said("lab-a/digits").contains("`ref:lab-a/digits` finds that one alone"));
    assert!(said("lab-b").contains("`org:lab-b` finds what lab-b lists"));
    assert!(!said("digits lab-b").contains("org:lab-b") && !said("lab-a/x1").contains("ref:"));
}

#[test]
fn what_needs_an_adapter_is_marked_where_a_gap_is_asked_for() {
    let results = [suggestion("lab-a/digits@1.0.0", 0.8)];
    let found = answer(&json!({ "results": results, "total": 1 }));
    for (text, cell, is_told) in [
        ("fits:image/png..text", "  0.80   as it is  ", false),
        ("fits:image/gif..text", "  0.80   adapter  ", true),
        ("fits:image/png..json", "  0.80   adapter  ", true),
    ] {
        let query = read(text);
        let table = results::table(&found, &query, false, None);
        assert!(table[0].contains("SCORE  FIT") && table[1].contains(cell), "{text}: {table:#?}");
        let told =
            results::talk(&found, &query, None).iter().any(|line| line.contains("`adapter`"));
        assert_eq!(told, is_told, "{text}");
    }
}

#[test]
fn answers_for_each_kind_become_one_in_order_of_score() {
    let results = |all: &[(&str, f64)]| -> Vec<Value> {
        all.iter().map(|(reference, score)| suggestion(reference, *score)).collect()
    };
    let facet =
        |count| json!([{ "name": "org", "values": [{ "value": "lab-a", "count": count }] }]);
    let one = answer(&json!({
        "results": results(&[("lab-a/a1@1.0.0", 0.9), ("lab-a/a2@1.0.0", 0.2)]), "total": 3,
        "facets": facet(3), "excluded": [{ "criterion": "kind:model", "without": 1 }],
    }));
    let other = answer(&json!({
        "results": results(&[("lab-a/m1@1.0.0", 0.5)]), "total": 1, "facets": facet(1),
    }));
    let both = merged(one.clone(), other.clone(), 20);
    let names: Vec<String> = both.results.iter().map(|one| one.reference.to_string()).collect();
    assert_eq!(names, ["lab-a/a1@1.0.0", "lab-a/m1@1.0.0", "lab-a/a2@1.0.0"]);
    assert_eq!((both.total, both.asked, both.answered, both.nodes.len()), (4, 3, 2, 2));
    assert_eq!(both.facets[0].values[0].count, 4);
    assert!(both.excluded.is_empty() && both.notes.is_empty());
    let cut = merged(one, other, 2);
    assert!(cut.results.len() == 2 && cut.notes[0].contains("--limit"), "{:?}", cut.notes);
}

fn side(types: &[&str]) -> Vec<Port> {
    let port = |text: &&str| Port {
        name: text.split('(').next().unwrap().to_owned(),
        port_type: text.parse().unwrap(),
        optional: false,
        location: None,
    };
    types.iter().map(port).collect()
}

fn ports(input: &str, output: &str) -> Interface {
    Interface { inputs: side(&[input]), outputs: side(&[output]) }
}

#[test]
fn a_gap_is_where_a_stage_is_missing_or_does_not_fit() {
    let stage = |name: &str, ports: Option<Interface>| (name.to_owned(), ports);
    let fit = ports("image(image/png)", "tensor(f32, 64)");
    let stages =
        vec![stage("cut", Some(fit)), stage("score", Some(ports("tensor(f32, 64)", "text")))];
    let whole = Known { interface: ports("image(image/png)", "text"), stages };
    assert_eq!(missing(&whole), []);

    let stages = vec![
        stage("cut", Some(ports("image(image/png)", "tensor(f32, 64)"))),
        stage("read", None),
        stage("say", Some(ports("text", "audio(audio/wav)"))),
        stage("sing", None),
    ];
    let lacking = Known { interface: ports("audio(audio/wav)", "json"), stages };
    let shown: Vec<String> = missing(&lacking)
        .iter()
        .map(|gap| format!("{}: {}: {}", gap.place, gap.why.split(" not").next().unwrap(), gap.gap))
        .collect();
    assert_eq!(
        shown,
        [
            "between what goes in and `cut`: `image` does: audio(audio/wav)..image(image/png)",
            "between `cut` and `say`: `read` is looked for: tensor(f32, 64)..text",
            "between `say` and what comes out: `sing` is looked for: audio(audio/wav)..json",
        ]
    );

    let two =
        Known { interface: Interface::default(), stages: vec![stage("a", None), stage("b", None)] };
    let untyped = missing(&two);
    assert_eq!(untyped.len(), 1);
    assert!(untyped[0].gap.is_empty() && untyped[0].why.contains("nothing says"), "{untyped:?}");
}
