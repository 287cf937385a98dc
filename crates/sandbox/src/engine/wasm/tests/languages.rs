//! Stages of the full form in other languages, built by the tools that producers use. Each test runs where its tool is
//! found and says so where it is not. Outside `PATH`, `COMPONENTIZE_PY` names the one, and `NODE_MODULES` the folder in
//! which the other is; `GUILDHALL_REQUIRE_TOOLS=1` makes a missing tool fail.
//!
//! Python: `pip install componentize-py`. JavaScript: `npm install @bytecodealliance/jco @bytecodealliance/componentize-js`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use guildhall_protocol::contract::Import;
use guildhall_protocol::wire::PortValue;

use super::{component, load, load_with, score_all};
use crate::engine::Brought;
use crate::failure::Failure;
use crate::message::StageSpec;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/component");
const WIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");

/// The tool's program, or nothing and a word about it.
fn tool(name: &str, named: Option<PathBuf>) -> Option<PathBuf> {
    let found = named.filter(|path| path.is_file()).or_else(|| {
        env::split_paths(&env::var_os("PATH")?)
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
    });
    if found.is_none() {
        assert!(env::var_os("GUILDHALL_REQUIRE_TOOLS").is_none(), "there is no `{name}`");
        eprintln!("skipped: there is no `{name}`, neither in PATH nor named");
    }
    found
}

fn componentize_py() -> Option<PathBuf> {
    tool("componentize-py", env::var_os("COMPONENTIZE_PY").map(PathBuf::from))
}

fn jco() -> Option<PathBuf> {
    let modules = env::var_os("NODE_MODULES").map(PathBuf::from);
    tool("jco", modules.map(|modules| modules.join(".bin/jco")))
}

fn build(command: &mut Command) -> bool {
    match command.output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => panic!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("{command:?}: {error}"),
    }
}

/// A component of the fixture `module` for a world, or nothing where the tool is not there.
fn python(world: &str, module: &str, options: &[&str]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("stage.wasm");
    build(
        Command::new(componentize_py()?)
            .args(["-d", WIT, "-w", world, "componentize"])
            .args(options)
            .args([module, "-p", FIXTURES, "-o"])
            .arg(&component),
    );
    Some(fs::read(component).unwrap())
}

/// The same of the fixture `file` in JavaScript.
fn javascript(world: &str, file: &str) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("stage.wasm");
    build(
        Command::new(jco()?)
            .arg("componentize")
            .arg(Path::new(FIXTURES).join(file))
            .args(["--wit", WIT, "--world-name", world, "--disable", "all", "-o"])
            .arg(&component),
    );
    Some(fs::read(component).unwrap())
}

/// The digits example: a model, and values of its own tests with what they are.
const DIGITS: &[u8] = include_bytes!("../../../../../../examples/digits/model/model.onnx");
const ROWS: [(&[u8], &str); 1] =
    [(include_bytes!("../../../../../../examples/digits/model/tests/1.in.f32"), "9")];

/// Lets the stage ask the model `digits`, rightly and wrongly.
fn asks(code: &[u8]) {
    let stage = StageSpec { imports: vec![Import::WasiNn], ..component(512 << 20) };
    let models = vec![("digits".to_owned(), DIGITS.to_vec())];
    let loaded = load_with(&stage, code, Brought { models, ..Brought::default() });
    loaded.check_description(&stage.interface).unwrap();
    let line = |name: &str, row: &[u8]| {
        let (numbers, _) = row.as_chunks::<4>();
        let numbers = numbers.iter().map(|four| f32::from_le_bytes(*four).to_string());
        [vec![name.to_owned()], numbers.collect()].concat().join(" ")
    };
    let [(row, digit)] = ROWS;
    let texts = [line("digits", row), line("digit", row), line("digits", &row[4..])];
    let results = score_all(loaded, &texts.each_ref().map(String::as_str));
    let values = |at: usize| results[at].as_ref().map(|outputs| outputs.values.as_slice());
    assert_eq!(values(0), Ok(&[PortValue::new("out", digit)][..]));
    for (at, words) in [(1, "the manifest gives no model this name"), (2, "the graph takes")] {
        match values(at) {
            Err(Failure::BadInput { why }) => assert!(why.contains(words), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Puts the stage through inspection and a batch. In this process: a compiler that is built without optimisation takes
/// longer for a whole language than a worker is given.
fn scores(code: &[u8]) {
    let stage = component(512 << 20);
    let loaded = load(&stage, code);
    loaded.check_description(&stage.interface).unwrap();
    let results = score_all(loaded, &["grüezi", "bad", ""]);
    let values = |at: usize| results[at].as_ref().map(|outputs| outputs.values.as_slice());
    assert_eq!(values(0), Ok(&[PortValue::new("out", "GRÜEZI")][..]));
    assert_eq!(values(1), Err(&Failure::BadInput { why: "it is bad".into() }));
    assert_eq!(values(2), Ok(&[PortValue::new("out", "")][..]));
    let metrics = &results[0].as_ref().unwrap().metrics;
    assert_eq!(metrics.as_slice(), [("length".to_owned(), 6.0), ("length".to_owned(), 0.0)]);
}

#[test]
fn a_python_stage_scores_a_batch() {
    let Some(code) = python("stage", "app", &["--stub-wasi"]) else { return };
    scores(&code);
}

#[test]
fn a_javascript_stage_scores_a_batch() {
    let Some(code) = javascript("stage", "stage.js") else { return };
    scores(&code);
}

#[test]
fn a_python_stage_asks_a_model() {
    // Without --stub-wasi, which makes traps of wasi:nn too.
    let Some(code) = python("stage-nn", "asking", &[]) else { return };
    asks(&code);
}

#[test]
fn a_python_stage_reads_the_files_of_its_package() {
    // Without --stub-wasi, which makes traps of files too.
    let Some(code) = python("stage", "reading", &[]) else { return };
    let stage = StageSpec { imports: vec![Import::PackageFiles], ..component(512 << 20) };
    let file = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
    let files = vec![file("words/de.txt", "der die das"), file("words/en.txt", "the of")];
    let loaded = load_with(&stage, &code, Brought { files, ..Brought::default() });
    loaded.check_description(&stage.interface).unwrap();
    let asked = [
        ("/words/de.txt", Ok("der die das")),
        ("words/../words/en.txt", Ok("the of")),
        ("/words", Ok("de.txt en.txt")),
        ("/", Ok("words")),
        ("/words/fr.txt", Err("FileNotFoundError")),
        ("/../etc/passwd", Err("")),
        ("write /words/de.txt", Err("OSError")),
        ("write /words/new.txt", Err("OSError")),
    ];
    let results = score_all(loaded, &asked.map(|(path, _)| path));
    for ((path, expected), result) in asked.iter().zip(&results) {
        let found = result.as_ref().map(|outputs| outputs.values[0].bytes.as_slice());
        match (expected, found) {
            (Ok(text), Ok(found)) => assert_eq!(found, text.as_bytes(), "{path}"),
            (Err(wrong), Err(Failure::BadInput { why })) => assert!(why.contains(wrong), "{why}"),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn a_javascript_stage_asks_a_model() {
    let Some(code) = javascript("stage-nn", "asking.js") else { return };
    asks(&code);
}
