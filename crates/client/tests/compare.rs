//! Comparing packages: ports and the verdict on them, limits, files, and what changed inside.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use guildhall_client::package::{self, Change, Compared, Comparison, compare};
use guildhall_protocol::Hash;
use guildhall_protocol::facts::{Facts, TableFacts, WeightFacts};
use guildhall_protocol::interface::{Column, Dim, ElementType, PortType};
use guildhall_protocol::manifest::{FileEntry, Manifest};
use guildhall_protocol::name::FileName;

fn digits(name: &str) -> Manifest {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits").join(name);
    package::read_dir(&dir).unwrap().manifest().clone()
}

fn plain(before: &Manifest, after: &Manifest) -> Comparison {
    let none = BTreeMap::new();
    compare(Compared { manifest: before, facts: &none }, Compared { manifest: after, facts: &none })
}

fn shown(changes: &[Change]) -> Vec<String> {
    let or = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
    changes.iter().map(|c| format!("{}: {} > {}", c.what, or(&c.before), or(&c.after))).collect()
}

#[test]
fn a_package_is_the_same_as_itself() {
    let model = digits("model");
    let same = plain(&model, &model);
    assert!(same.is_same());
    assert_eq!(same.misfits, Some(Vec::new()));
    assert_eq!(
        (same.files.unchanged, same.files.same_bytes),
        (model.files.len(), model.len_bytes())
    );
    let images = digits("pipeline");
    assert_eq!(plain(&images, &images).misfits, None, "what has no ports fits or misfits nothing");
}

#[test]
fn limits_tests_and_licence_are_compared_by_name() {
    let before = digits("model");
    let mut after = before.clone();
    after.licence = "MIT".into();
    after.contract.as_mut().unwrap().memory_bytes = 128 << 20;
    after.tests.remove(0);
    after.tests[0].tolerance = 0.5;
    assert_eq!(
        shown(&plain(&before, &after).manifest),
        [
            "licence: CC-BY-4.0 > MIT",
            "limit: memory: 64 MiB > 128 MiB",
            "test 1: tests/1.in.f32 -> tests/1.out.json, tolerance 0.0001 > -",
            "test 2: tests/2.in.f32 -> tests/2.out.json, tolerance 0.0001 > \
             tests/2.in.f32 -> tests/2.out.json, tolerance 0.5",
        ]
    );
}

#[test]
fn the_verdict_says_where_the_second_does_not_fit() {
    let before = digits("model");
    let mut after = before.clone();
    let PortType::Tensor(input) = &mut after.interface.inputs[0].port_type else { panic!() };
    input.dims = vec![Dim::Free];
    let wider = plain(&before, &after);
    assert_eq!(wider.misfits, Some(Vec::new()), "it takes what the first took, and more");
    assert_eq!(shown(&wider.ports), ["input pixels: tensor(f32, 64) > tensor(f32, ?)"]);
    let narrower = plain(&after, &before);
    assert_eq!(
        narrower.misfits.unwrap(),
        ["input `pixels`: tensor(f32, ?) is not tensor(f32, 64)"]
    );

    let mut after = before.clone();
    let PortType::Prediction(output) = &mut after.interface.outputs[0].port_type else { panic!() };
    output.labels.reverse();
    assert_eq!(plain(&before, &after).misfits.unwrap(), ["output `digit`: the label sets differ"]);
    after.interface.outputs[0].name = "class".into();
    let mut extra = after.interface.inputs[0].clone();
    extra.name = "mask".into();
    after.interface.inputs.push(extra.clone());
    assert_eq!(
        plain(&before, &after).misfits.unwrap(),
        ["input `mask` is new and must be given", "output `digit` is gone"]
    );
    after.interface.inputs[1].optional = true;
    assert_eq!(plain(&before, &after).misfits.unwrap(), ["output `digit` is gone"]);
}

fn entry(name: &str, content: &str) -> FileEntry {
    FileEntry {
        name: name.parse().unwrap(),
        len_bytes: content.len() as u64,
        hash: Hash::of(content.as_bytes()),
        media_type: "text/plain".into(),
    }
}

#[test]
fn files_are_added_removed_renamed_changed_or_the_same() {
    let mut before = digits("images");
    let mut after = before.clone();
    before.files = vec![entry("a", "aa"), entry("b", "bbb"), entry("c", "c"), entry("d", "dddd")];
    after.files = vec![entry("a", "aa"), entry("b", "BBBBB"), entry("e", "dddd"), entry("f", "ff")];
    let files = plain(&before, &after).files;
    let names = |list: &[FileEntry]| list.iter().map(|f| f.name.to_string()).collect::<Vec<_>>();
    assert_eq!((names(&files.added), names(&files.removed)), (vec!["f".into()], vec!["c".into()]));
    assert_eq!((files.renamed[0].from.as_str(), files.renamed[0].to.as_str()), ("d", "e"));
    assert_eq!((files.changed[0].before_bytes, files.changed[0].after_bytes), (3, 5));
    assert_eq!((files.unchanged, files.same_bytes, files.all_bytes), (1, 6, 13));
}

#[test]
fn tensors_and_columns_are_compared_inside_files() {
    let weights = |items: &[(&str, &[u64])]| {
        let item = |(name, shape): &(&str, &[u64])| ((*name).into(), "F32".into(), shape.to_vec());
        Facts::Safetensors(WeightFacts {
            tensors: items.len() as u64,
            parameters: 10,
            dtypes: vec![("F32".into(), items.len() as u64)],
            architecture: None,
            items: items.iter().map(item).collect(),
        })
    };
    let rows = |rows| {
        let columns = vec![Column { name: "x".into(), dtype: ElementType::F64 }];
        Facts::Csv(TableFacts { columns, rows: Some(rows) })
    };
    let (mut before, mut after) = (digits("images"), digits("images"));
    before.files = vec![entry("m-1.safetensors", "1"), entry("t.csv", "1"), entry("x.txt", "1")];
    after.files = vec![entry("m-2.safetensors", "2"), entry("t.csv", "2"), entry("x.txt", "2")];
    let facts = |list: Vec<(&str, Facts)>| -> BTreeMap<FileName, Facts> {
        list.into_iter().map(|(name, facts)| (name.parse().unwrap(), facts)).collect()
    };
    let old = facts(vec![
        ("m-1.safetensors", weights(&[("w", &[2, 3]), ("b", &[3])])),
        ("t.csv", rows(5)),
        ("x.txt", Facts::Text),
    ]);
    let new = facts(vec![
        ("m-2.safetensors", weights(&[("w", &[2, 4]), ("c", &[3])])),
        ("t.csv", rows(6)),
        ("x.txt", Facts::Text),
    ]);
    let found = compare(
        Compared { manifest: &before, facts: &old },
        Compared { manifest: &after, facts: &new },
    );
    let inside: Vec<_> =
        found.structure.iter().map(|s| (s.file.as_str(), shown(&s.changes))).collect();
    assert_eq!(
        inside,
        [
            ("t.csv", vec!["rows: 5 > 6".to_owned()]),
            (
                "m-2.safetensors",
                vec![
                    "tensor w: F32 [2, 3] > F32 [2, 4]".to_owned(),
                    "tensor b: F32 [3] > -".to_owned(),
                    "tensor c: - > F32 [3]".to_owned(),
                ]
            ),
        ]
    );
    assert!(serde_json::to_string(&found).unwrap().contains("\"misfits\":[]"));
}
