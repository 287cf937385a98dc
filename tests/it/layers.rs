//! The layers of the workspace, as docs/architecture.md draws them, held against what `cargo` knows.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Our crates that each of our crates may use, besides `protocol`, which all may. What is not here may use everything.
const MAY_USE: [(&str, &[&str]); 13] = [
    ("protocol", &[]),
    ("catalog", &[]),
    ("federation", &[]),
    ("pipeline", &[]),
    ("sync", &[]),
    ("core", &["catalog", "federation", "pipeline", "sync"]),
    ("store", &[]),
    ("text", &["catalog"]),
    ("overlay", &[]),
    ("sandbox", &[]),
    ("gateway", &[]),
    ("client", &[]),
    ("launch", &["client"]),
];

/// Crates that are for development only.
const DEVELOPMENT: [&str; 4] = ["testkit", "testnet", "sim", "samples"];

/// Foreign crates, by the start of their names, that only one of ours may name.
const NAMED_BY_ONE: [(&str, &str); 9] = [
    ("redb", "store"),
    ("libp2p", "overlay"),
    ("wasmtime", "sandbox"),
    ("wasmparser", "sandbox"),
    ("tract", "sandbox"),
    ("ort", "sandbox"),
    ("axum", "gateway"),
    ("hyper", "gateway"),
    ("tantivy", "text"),
];

/// Crates for development that may name a foreign crate all the same: the benchmark measures ours beside it.
const NAMED_TOO: [(&str, &str); 2] = [("libp2p", "testnet"), ("tantivy", "testnet")];

/// What decides knows no runtime, no clock of a runtime, no sockets, no randomness.
const PURE: [&str; 6] = ["protocol", "catalog", "federation", "pipeline", "sync", "core"];

/// Foreign crates that no pure crate may use, by the start of their names.
const IMPURE: [&str; 9] =
    ["tokio", "futures", "async", "mio", "rand", "getrandom", "reqwest", "tempfile", "rustix"];

/// Each of our crates and what it uses, dev-dependencies left out.
fn workspace() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let arguments = ["metadata", "--no-deps", "--format-version", "1", "--offline"];
    let output = Command::new(cargo).args(arguments).arg("--manifest-path").arg(manifest).output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let packages = metadata["packages"].as_array().expect("packages");
    let uses = |package: &Value| {
        let all = package["dependencies"].as_array().expect("dependencies").iter();
        let kept = all.filter(|dependency| dependency["kind"] != "dev");
        kept.map(|dependency| text(&dependency["name"])).collect()
    };
    packages.iter().map(|package| (text(&package["name"]), uses(package))).collect()
}

/// The short name of one of our crates.
fn ours(name: &str) -> Option<&str> {
    match name {
        "guildhall" => Some("node"),
        name => name.strip_prefix("guildhall-"),
    }
}

fn begins(name: &str, start: &str) -> bool {
    name == start
        || name.starts_with(&format!("{start}-"))
        || name.starts_with(&format!("{start}_"))
}

#[test]
fn our_crates_use_only_what_is_below_them() {
    let allowed = BTreeMap::from(MAY_USE);
    let mut wrong = Vec::new();
    for (name, uses) in workspace() {
        let name = ours(&name).expect("a crate of ours");
        for used in uses.iter().filter_map(|used| ours(used)) {
            let down = match allowed.get(name) {
                Some(allowed) => used == "protocol" || allowed.contains(&used),
                None => used != "node" || DEVELOPMENT.contains(&name),
            };
            let product_uses_development =
                DEVELOPMENT.contains(&used) && !DEVELOPMENT.contains(&name);
            if !down || product_uses_development {
                wrong.push(format!("{name} -> {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn every_crate_has_its_layer() {
    let workspace = workspace();
    let found: BTreeSet<&str> = workspace.keys().filter_map(|name| ours(name)).collect();
    let known: BTreeSet<&str> =
        MAY_USE.iter().map(|(name, _)| *name).chain(DEVELOPMENT).chain(["node"]).collect();
    let new: Vec<_> = found.difference(&known).collect();
    assert!(new.is_empty(), "say in this test what these may use: {new:?}");
    for (name, _) in MAY_USE {
        assert!(found.contains(name), "{name} is gone");
    }
}

#[test]
fn foreign_crates_with_an_owner_are_named_by_nobody_else() {
    let mut wrong = Vec::new();
    for (name, uses) in workspace() {
        let name = ours(&name).expect("a crate of ours");
        for (start, owner) in NAMED_BY_ONE {
            let may_name = name == owner || NAMED_TOO.contains(&(start, name));
            let named = uses.iter().filter(|used| begins(used, start));
            wrong.extend(named.filter(|_| !may_name).map(|used| format!("{name} -> {used}")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn what_decides_knows_no_runtime() {
    let mut wrong = Vec::new();
    for (name, uses) in workspace() {
        let name = ours(&name).expect("a crate of ours");
        if PURE.contains(&name) {
            let impure = uses.iter().filter(|used| IMPURE.iter().any(|start| begins(used, start)));
            wrong.extend(impure.map(|used| format!("{name} -> {used}")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_rules_catch_what_they_are_for() {
    assert!(begins("libp2p", "libp2p") && begins("libp2p-stream", "libp2p"));
    assert!(begins("tract_onnx", "tract") && begins("tokio-util", "tokio"));
    assert!(!begins("redbird", "redb") && !begins("randomise", "rand"));
    let workspace = workspace();
    let store = &workspace["guildhall-store"];
    assert!(store.iter().any(|used| begins(used, "redb")), "the reading of metadata is broken");
    let dev_only = &workspace["guildhall"];
    assert!(!dev_only.contains("guildhall-testkit"), "dev-dependencies are left out");
}
