//! Pages as they are read aloud.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use guildhall_protocol::api::Detail;
use guildhall_protocol::{Hash, PackageId, RecordId};
use serde_json::{Value, json};

use super::{page, snippets};

/// A day in November 2026.
const TIME_MS: u64 = 1_795_392_000_000;

fn detail(kind: &str, change: &Value) -> Detail {
    let id = Hash::of(b"package").to_hex();
    let record = RecordId(Hash::of(b"record"));
    let mut detail = json!({
        "ref": "lab-a/digits@1.1.0", "org": "lab-a", "listing_id": record, "time_ms": TIME_MS,
        "package_id": format!("b3:{id}"), "held": false, "manifest": null,
        "versions": ["1.1.0", "1.0.0"], "holders": ["lab-a", "lab-b"],
        "listing": {
            "federation": Hash::of(b"federation").to_hex(), "kind": kind,
            "release": { "name": "digits", "version": "1.1.0", "package": format!("b3:{id}") },
            "categories": ["vision/image-classification"],
            "summary": "Says which digit a small picture shows",
            "keywords": ["digits", "mnist"], "licence": "MIT", "len_bytes": 1_258_291,
            "visibility": "public", "replicas": 3, "engines": ["onnx"],
            "interface": {
                "inputs": [
                    { "name": "image", "type": { "image": { "media_types": ["image/png"] } } },
                    { "name": "hint", "type": "text", "optional": true },
                ],
                "outputs": [{ "name": "digit", "type": "text" }],
            },
            "contract": {
                "scoring_ms": 200, "measured_on": "a laptop", "memory_bytes": 64 << 20,
                "output_bytes": 1024, "batch_max": 1, "determinism": "numeric",
            },
            "claims": {
                "accuracy": [{ "metric": "f1", "dataset": "digits-test", "value": 0.9625 }],
                "latency": [{ "p50_ms": 3.25, "hardware": "a laptop" }],
            },
            "documentation": "README.md", "examples": ["tour.ipynb", "a'; reboot.txt"],
        },
    });
    for (key, value) in change.as_object().unwrap() {
        detail[key] = value.clone();
    }
    serde_json::from_value(detail).unwrap()
}

#[test]
fn a_release_is_a_page() {
    let detail = detail(
        "model",
        &json!({
            "yanked": [{ "ref": "lab-a/digits@0.9.0", "package_id": format!("b3:{}", "0".repeat(64)),
                         "why": "wrong labels", "time_ms": TIME_MS }],
            "rating": { "orgs": 1, "stars": 4.0 },
            "reviews": [
                { "org": "lab-b", "stars": 4, "text": "works\u{1b}[2J", "time_ms": TIME_MS },
                { "org": "lab-a", "stars": 5, "text": "", "time_ms": TIME_MS, "own": true },
            ],
            "standing": { "category": "vision/image-classification", "place": 2, "of": 14 },
        }),
    );
    let (package, record) = (detail.package_id, detail.listing_id);
    let lines = page::lines(&detail, &BTreeMap::new(), &[], Some(100));
    let expected = format!(
        "\
lab-a/digits@1.1.0  model
Says which digit a small picture shows

takes      image: image(image/png)
           hint: text (may be left out)
yields     digit: text
engines    onnx
limits     200 ms a record on a laptop, memory 64 MiB, output 1 KiB
run again  the same but for rounding
category   vision/image-classification; place 2 of 14 in vision/image-classification
keywords   digits, mnist
licence    MIT
size       1.1 MiB
declared   f1 0.963 on digits-test
declared   3.25 ms on a laptop

versions   1.1.0, 1.0.0
taken back lab-a/digits@0.9.0 on 2026-11-23: wrong labels
held by    lab-a, lab-b; 2 of 3 copies, not here
listed     2026-11-23 by lab-a
package    {package}
record     {record}
reviews    4.0 of 5 stars from 1 organisation
           4 of 5 by lab-b on 2026-11-23: works\\u{{1b}}[2J
           5 of 5 by lab-a (its producer; does not count) on 2026-11-23
readme     README.md: guild show lab-a/digits@1.1.0 --readme
example    tour.ipynb: guild show lab-a/digits@1.1.0 --notebook tour.ipynb
example    a'; reboot.txt: guild get lab-a/digits@1.1.0 --include 'a'\\''; reboot.txt'"
    );
    assert_eq!(lines.join("\n"), expected);
}

#[test]
fn a_page_fits_a_narrow_terminal() {
    let detail = detail("model", &json!({}));
    let snippets = snippets::of(&detail, "http://127.0.0.1:7480", false);
    for line in page::lines(&detail, &BTreeMap::new(), &snippets, Some(60)) {
        let is_whole = line.starts_with("    ") || line.contains("b3:") || line.len() <= 60;
        assert!(is_whole, "{line}");
    }
}

#[test]
fn what_was_taken_back_or_looks_like_another_is_said_first() {
    let yanked = json!({
        "yanked": [{ "ref": "lab-a/digits@1.1.0", "package_id": format!("b3:{}", "0".repeat(64)),
                     "why": "wrong labels", "time_ms": TIME_MS }],
        "looks_like": "lab-c/digit", "versions": ["1.1.0-rc.1", "1.0.0"],
    });
    let lines = page::lines(&detail("model", &yanked), &BTreeMap::new(), &[], None);
    assert_eq!(
        lines[2..5],
        [
            "warning: looks like lab-c/digit, which is older and of another producer",
            "warning: taken back by its producer: wrong labels",
            "use instead: guild show lab-a/digits@1.0.0",
        ]
    );
    for refused in ["guild review", "guild get", "guild run", "--readme"] {
        assert!(!lines.iter().any(|line| line.contains(refused)), "{refused}: {lines:#?}");
    }
}

#[test]
fn a_page_names_its_notebook_and_the_packages_it_uses_where_they_are_known() {
    let ids = ["one", "two"].map(|name| PackageId(Hash::of(name.as_bytes())));
    let mut detail = detail("notebook", &json!({}));
    detail.listing.uses = ids.to_vec();
    let names = BTreeMap::from([(ids[0], "lab-b/one@1.0.0".to_owned())]);
    let lines = page::lines(&detail, &names, &[], Some(100));
    let uses: String =
        lines.iter().skip_while(|line| !line.starts_with("uses")).take(2).cloned().collect();
    assert!(uses.contains("lab-b/one@1.0.0") && uses.contains(&ids[1].to_string()), "{uses}");
    let own = "notebook   guild show lab-a/digits@1.1.0 --notebook";
    assert!(lines.iter().any(|line| line == own), "{lines:#?}");
}

#[test]
fn lines_to_copy_do_what_the_kind_allows_and_nothing_else() {
    let api = "http://127.0.0.1:7480";
    let titles = |kind: &str| -> Vec<&str> {
        let snippets = snippets::of(&detail(kind, &json!({})), api, false);
        snippets.into_iter().map(|snippet| snippet.title).collect()
    };
    assert_eq!(titles("model"), ["run", "files", "curl", "python"]);
    assert_eq!(titles("data"), ["files", "run a model over it", "curl", "python"]);
    assert_eq!(titles("notebook"), ["files", "curl", "python"]);

    let mut hostile = detail("algorithm", &json!({}));
    for (port, name) in hostile.listing.interface.inputs.iter_mut().zip(["a;reboot", "$(id)"]) {
        name.clone_into(&mut port.name);
        port.optional = false;
    }
    let run = &snippets::of(&hostile, api, false)[0].lines[0];
    assert_eq!(run, "guild run lab-a/digits@1.1.0 --input 'a;reboot=FILE' --input '$(id)=FILE'");
}

#[test]
fn lines_to_copy_carry_the_token_by_its_name_only() {
    let detail = detail("model", &json!({ "ref": "lab-a/digits@1.1.0+b" }));
    let snippets = snippets::of(&detail, "http://10.0.0.1:7480", true);
    let curl = &snippets[2].lines[0];
    assert_eq!(
        curl,
        "curl -s -H \"authorization: Bearer $GUILD_TOKEN\" \
         'http://10.0.0.1:7480/api/v1/show?ref=lab-a/digits@1.1.0%2Bb'"
    );
    assert!(snippets[3].lines.iter().any(|line| line.contains("os.environ[\"GUILD_TOKEN\"]")));
}

#[test]
fn python_to_copy_is_python() {
    for kind in ["model", "data"] {
        for needs_token in [false, true] {
            let found = snippets::of(&detail(kind, &json!({})), "http://x", needs_token);
            let code = found.last().unwrap().lines.join("\n");
            let checked = std::process::Command::new("python3")
                .args(["-c", "import ast, sys; ast.parse(sys.argv[1])", &code])
                .output();
            // Where there is no Python there is nobody to ask.
            if let Ok(checked) = checked {
                assert!(checked.status.success(), "{code}");
            }
        }
    }
}
