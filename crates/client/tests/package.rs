//! Reading package folders: the example packages as they are, and every way in which a folder is no package.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use guildhall_client::package::{self, Folder, Overrides, PackageError, Reading};
use guildhall_protocol::Hash;
use guildhall_protocol::api::Detail;
use guildhall_protocol::body::Visibility;
use guildhall_protocol::interface::PortType;
use guildhall_protocol::manifest::{Code, Kind};
use guildhall_protocol::name::OrgName;
use tempfile::TempDir;

const MINIMAL: &str = r#"
kind = "data"
name = "things"
version = "1.0.0"
categories = ["vision/image-classification"]
summary = "Things."
"#;

fn digits(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits").join(folder)
}

fn folder(description: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("guild.toml"), description).unwrap();
    dir
}

fn error(description: &str) -> String {
    let dir = folder(description);
    let error = package::read_dir(dir.path()).unwrap_err();
    assert!(error.help().is_some(), "{error}");
    let text = error.to_string();
    text.strip_prefix(&format!("{}/", dir.path().display())).unwrap_or(&text).to_owned()
}

#[test]
fn the_model_of_the_example_is_read_whole() {
    let draft = package::read_dir(&digits("model")).unwrap();
    let manifest = draft.manifest();
    assert_eq!(manifest.kind, Kind::Model);
    let names: Vec<_> = manifest.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names[..2], ["README.md", "model.onnx"]);
    assert!(!names.contains(&"guild.toml"), "the description is not part of the package");
    assert!(names.is_sorted());
    let onnx = manifest.files.iter().find(|file| file.name.as_str() == "model.onnx").unwrap();
    assert_eq!(onnx.hash, Hash::of(&fs::read(digits("model/model.onnx")).unwrap()));
    assert_eq!(onnx.media_type, "application/onnx");
    assert!(matches!(&manifest.code, Some(Code::Onnx(code)) if code.inputs[0].tensor == "X"));
    let contract = manifest.contract.as_ref().unwrap();
    assert_eq!((contract.scoring_ms, contract.memory_bytes), (200, 64 << 20));
    assert_eq!(manifest.tests.len(), 3);
    assert!((manifest.tests[0].tolerance - 1e-4).abs() < 1e-12);
    assert_eq!(draft.listing().documentation.as_ref().unwrap().as_str(), "README.md");
    assert!((draft.listing().claims.accuracy[0].value - 0.9806).abs() < 1e-9);
    assert!(draft.warnings().is_empty());
    let request = draft.request(true).unwrap();
    assert!(request.dry_run);
}

#[test]
fn the_other_examples_are_read_and_hold_every_rule() {
    for (name, kind, scoring_ms) in [
        ("prepare", Kind::Algorithm, Some(200)),
        ("stuck", Kind::Algorithm, Some(500)),
        ("images", Kind::Data, None),
    ] {
        let draft = package::read_dir(&digits(name)).unwrap();
        draft.request(false).unwrap();
        assert_eq!(draft.manifest().kind, kind);
        assert_eq!(draft.manifest().contract.as_ref().map(|c| c.scoring_ms), scoring_ms);
    }
    let images = package::read_dir(&digits("images")).unwrap();
    assert_eq!(images.manifest().record_files().count(), 360);
}

#[test]
fn the_outputs_of_each_stage_fit_the_inputs_of_the_next() {
    let read = |name| package::read_dir(&digits(name)).unwrap().manifest().interface.clone();
    let (images, prepare, model) = (read("images"), read("prepare"), read("model"));
    let fits = guildhall_protocol::interface::fits;
    fits(&images.outputs[0].port_type, &prepare.inputs[0].port_type).unwrap();
    fits(&prepare.outputs[0].port_type, &model.inputs[0].port_type).unwrap();
    assert_eq!(prepare, read("stuck"));
}

#[test]
fn a_pipeline_names_its_stages_and_takes_the_interface_of_its_ends() {
    let mut draft = package::read_dir(&digits("pipeline")).unwrap();
    let org: OrgName = "lab-a".parse().unwrap();
    let wanted: Vec<_> = draft.unresolved(&org).iter().map(ToString::to_string).collect();
    assert_eq!(wanted, ["lab-a/digits-prepare@1.0.0", "lab-a/digits-mlp@1.0.0"]);
    assert!(draft.fill(&[]).is_err(), "nothing was looked up");
    draft.fill(&[detail("prepare"), detail("model")]).unwrap();
    let request = draft.request(false).unwrap();
    let manifest = request.manifest;
    assert_eq!(manifest.stages.len(), 2);
    assert_eq!(manifest.stages[1].package, detail("model").package_id);
    assert!(matches!(manifest.interface.inputs[0].port_type, PortType::Image(_)));
    assert!(matches!(manifest.interface.outputs[0].port_type, PortType::Prediction(_)));
    let refused = draft.fill(&[detail("images"), detail("model")]).unwrap_err();
    assert!(refused.to_string().contains("a stage is an algorithm or a model"), "{refused}");
}

/// What a node would answer about an example once it is published by `lab-a`.
fn detail(name: &str) -> Detail {
    let draft = package::read_dir(&digits(name)).unwrap();
    let (package_id, _) = draft.manifest().seal();
    let (manifest, listing) = (draft.manifest(), draft.listing());
    serde_json::from_value(serde_json::json!({
        "ref": format!("lab-a/{}@{}", listing.name, listing.version),
        "org": "lab-a",
        "listing_id": Hash::of(b"listing"),
        "package_id": package_id,
        "held": true,
        "manifest": null,
        "versions": [],
        "holders": ["lab-a"],
        "listing": {
            "federation": Hash::of(b"federation"),
            "release":
                { "name": listing.name, "version": listing.version, "package": package_id },
            "kind": manifest.kind,
            "categories": listing.categories,
            "summary": listing.summary,
            "interface": manifest.interface,
            "len_bytes": manifest.len_bytes(),
            "licence": manifest.licence,
            "visibility": "federation",
            "replicas": 3,
        },
    }))
    .unwrap()
}

#[test]
fn hidden_files_stay_out_and_folders_are_walked() {
    let dir = folder(MINIMAL);
    for name in [".git/config", ".hidden", "b/.hidden", "b/c/2.txt", "b/1.txt", "b/guild.toml"] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    fs::create_dir(dir.path().join("empty")).unwrap();
    let draft = package::read_dir(dir.path()).unwrap();
    let names: Vec<_> = draft.files().iter().map(|file| file.entry.name.as_str()).collect();
    assert_eq!(names, ["b/1.txt", "b/c/2.txt", "b/guild.toml"]);
    assert_eq!(draft.warnings().len(), 2, "no licence is named, and no records");
    assert_eq!(draft.manifest().licence, "unknown");
}

#[test]
fn ignored_files_stay_out_even_if_they_are_secret() {
    let dir = folder(MINIMAL);
    for name in ["a.txt", "a.tmp", "cache/1.txt", "b/cache/2.txt", "b/lab-a.root.key", "odd:name"] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    fs::write(dir.path().join(".guildignore"), "*.tmp\ncache/\n*.root.key\nodd*\n").unwrap();
    let draft = package::read_dir(dir.path()).unwrap();
    let names: Vec<_> = draft.files().iter().map(|file| file.entry.name.as_str()).collect();
    assert_eq!(names, ["a.txt"]);
    fs::write(dir.path().join(".guildignore"), "\n[a].txt\n").unwrap();
    let shown = package::read_dir(dir.path()).unwrap_err().to_string();
    assert!(shown.contains(".guildignore:2:1: `[a].txt`"), "{shown}");
}

#[test]
fn many_files_are_hashed_at_once_and_told_in_bytes() {
    let dir = folder(MINIMAL);
    for at in 0..300 {
        fs::write(dir.path().join(format!("{at:03}")), vec![7; at]).unwrap();
    }
    let (found, hashed) = (AtomicU64::new(0), AtomicU64::new(0));
    let read = Folder::read(dir.path(), &|reading| match reading {
        Reading::Found { bytes, .. } => found.store(bytes, Ordering::Relaxed),
        Reading::Hashed { bytes } => {
            hashed.fetch_add(bytes, Ordering::Relaxed);
        }
    });
    let read = read.unwrap();
    let all = (0..300).sum::<u64>();
    assert_eq!((found.into_inner(), hashed.into_inner()), (all, all));
    for (file, at) in read.files().iter().zip(0..) {
        assert_eq!(file.entry.name.as_str(), format!("{at:03}"));
        assert_eq!(file.entry.hash, Hash::of(&vec![7; at]));
    }
}

#[test]
fn links_may_only_point_to_files_inside() {
    let dir = folder(MINIMAL);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    fs::write(dir.path().join("a"), "content").unwrap();
    symlink("a", dir.path().join("b")).unwrap();
    let draft = package::read_dir(dir.path()).unwrap();
    assert_eq!(draft.files()[1].entry.hash, Hash::of(b"content"));
    for target in [outside.path().join("secret"), outside.path().into(), ".".into(), "no".into()] {
        let link = dir.path().join("link");
        symlink(target, &link).unwrap();
        let refused = package::read_dir(dir.path()).unwrap_err();
        assert!(matches!(refused, PackageError::Link { .. }));
        let help = refused.help().unwrap();
        assert!(
            help.starts_with("rm ") && help.ends_with("/link"),
            "never what it points to: {help}"
        );
        fs::remove_file(link).unwrap();
    }
}

#[test]
fn names_that_other_nodes_would_refuse_are_refused_here() {
    let dir = folder(MINIMAL);
    fs::write(dir.path().join("a:b"), "").unwrap();
    assert!(matches!(package::read_dir(dir.path()), Err(PackageError::Name { .. })));
}

#[test]
fn mistakes_in_the_description_are_shown_with_their_line() {
    assert_eq!(
        error(&format!("{MINIMAL}\nscorin_ms = 5\n")).split(", expected").next(),
        Some("guild.toml:8:1: unknown field `scorin_ms`")
    );
    let port = "[[interface.inputs]]\nname = \"x\"\ntype = { image = { media = [] } }\n";
    let shown = error(&format!("{MINIMAL}{port}"));
    assert!(shown.starts_with("guild.toml:9:"), "{shown}");
    assert!(shown.contains("unexpected keys in table: media,"), "{shown}");
    let shown = error("kind = \"data\"\nname = \"Bad Name\"\nsummary = \"x\"\n");
    assert!(shown.starts_with("guild.toml:2:8: `Bad Name` is not accepted"), "{shown}");
    let shown = error("kind = \"modle\"\n");
    assert!(shown.starts_with("guild.toml:1:8: unknown variant `modle`"), "{shown}");
    assert!(error("kind = ").starts_with("guild.toml:1:"));
}

#[test]
fn what_contradicts_itself_is_refused_before_anything_is_sent() {
    let shown = error(&format!("{MINIMAL}documentation = \"no.md\"\n"));
    assert!(shown.contains("`no.md` is not in the package"), "{shown}");
    let code = "[contract]\nscoring_ms = 0\nmeasured_on = \"x\"\nmemory = \"1 MiB\"\n\
                determinism = \"none\"\n[code.command]\nmodule = \"x.wasm\"\n";
    let shown = error(&format!("{}{code}", MINIMAL.replace("data", "algorithm")));
    assert!(shown.contains("scoring_ms is 0"), "{shown}");
    let shown = error(&MINIMAL.replace("version = \"1.0.0\"\n", ""));
    assert!(shown.contains("does not say `version`"), "{shown}");
}

#[test]
fn overrides_win_and_sensitive_data_stays_in_the_org() {
    let dir = folder(&format!("{MINIMAL}sensitive = true\n"));
    let overrides = Overrides {
        name: Some("others".parse().unwrap()),
        version: Some("2.0.0-rc.1".parse().unwrap()),
        categories: vec!["audio/x-noise".parse().unwrap()],
        ..Overrides::default()
    };
    let draft = package::read_dir_with(dir.path(), &overrides).unwrap();
    let listing = draft.listing();
    assert_eq!(listing.name.as_str(), "others");
    assert_eq!(listing.version.to_string(), "2.0.0-rc.1");
    assert_eq!(listing.categories[0].as_str(), "audio/x-noise");
    assert_eq!(listing.visibility, Visibility::Org);
}

#[test]
fn a_folder_without_a_description_says_so() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(package::read_dir(dir.path()), Err(PackageError::NoDescription { .. })));
}

#[test]
fn a_path_that_is_no_folder_says_what_it_is() {
    let dir = folder(MINIMAL);
    let missing = package::read_dir(&dir.path().join("no")).unwrap_err();
    assert!(missing.to_string().starts_with("there is no folder "), "{missing}");
    let file = package::read_dir(&dir.path().join("guild.toml")).unwrap_err();
    assert!(file.to_string().ends_with("guild.toml is a file; give its folder"), "{file}");
    assert_eq!(file.help().unwrap(), format!("guild publish {}", dir.path().display()));
}

#[test]
fn secret_keys_are_never_packaged() {
    for name in ["lab-a.root.key", "b/lab-a.root.key", "keys/node.key", "home/keys/node.key"] {
        let dir = folder(MINIMAL);
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "00").unwrap();
        let refused = package::read_dir(dir.path()).unwrap_err();
        assert!(
            matches!(&refused, PackageError::Secret { path: found } if *found == path),
            "{name}"
        );
    }
    let dir = folder(MINIMAL);
    for name in ["node.key", "root.key", "monkeys/node.key"] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "music").unwrap();
    }
    assert_eq!(package::read_dir(dir.path()).unwrap().files().len(), 3);
}

#[test]
fn a_package_without_content_is_warned_about() {
    let dir = folder(&format!("{MINIMAL}licence = \"MIT\"\n"));
    let warnings = |dir: &TempDir| package::read_dir(dir.path()).unwrap().warnings().join(" ");
    assert!(warnings(&dir).contains("no files"));
    fs::write(dir.path().join("a"), "content").unwrap();
    assert!(warnings(&dir).contains("no [records]"));
}

#[test]
fn help_lines_survive_names_that_a_shell_would_act_on() {
    let dir = folder(MINIMAL);
    fs::write(dir.path().join("$(id):"), "").unwrap();
    let help = package::read_dir(dir.path()).unwrap_err().help().unwrap();
    assert_eq!(help, format!("mv '{}/$(id):' NEW-NAME", dir.path().display()));
}
