//! Publishing and testing folders that nobody described: the files say what they are.

use std::fs;
use std::path::{Path, PathBuf};

use guildhall_testkit::protocol::api::InferRequest;
use guildhall_testkit::{Cli, Lab, Package, stage};
use serde_json::{Value, json};

use crate::{GUILD, lab};

const CARD: &str = "---\nlicense: cc-by-4.0\npipeline_tag: image-classification\n\
                    tags: [digits, handwriting]\nmodel-index:\n- name: Digits MLP\n  results:\n  \
                    - dataset: {name: digits-images}\n    metrics:\n    \
                    - {type: accuracy, value: 98.06}\n---\n# Digits\n\n\
                    Says which digit an 8x8 picture shows. Made by a test.\n";

/// A folder as the Hugging Face Hub lays it out, with the graph of the example.
fn hub_folder(lab: &Lab, name: &str) -> PathBuf {
    let dir = lab.path(name);
    fs::create_dir_all(dir.join(".git")).expect("a folder");
    let write = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).expect("written");
    write("README.md", CARD.as_bytes());
    let labels: Vec<_> = (0..10).map(|at| format!("\"{at}\": \"digit-{at}\"")).collect();
    write("config.json", format!("{{\"id2label\": {{{}}}}}", labels.join(", ")).as_bytes());
    write("model.onnx", &fs::read(example("model").join("model.onnx")).expect("the example"));
    write("model.safetensors", &safetensors(&[2]));
    write(".gitattributes", b"*.onnx filter=lfs");
    write(".git/config", b"[core]");
    dir
}

/// Weights of one tensor of zeros.
fn safetensors(shape: &[usize]) -> Vec<u8> {
    let len = shape.iter().product::<usize>() * 4;
    let mut header =
        format!("{{\"w\":{{\"dtype\":\"F32\",\"shape\":{shape:?},\"data_offsets\":[0,{len}]}}}}");
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + len, 0);
    bytes
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// ```text
///   lab-a   (alone)
/// ```
#[tokio::test]
async fn a_folder_of_a_model_hub_is_published_as_its_files_say() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let cli = lab.cli(a.home());
    let dir = hub_folder(&lab, "hub");
    let said = cli.run(["publish", text(&dir), "--format", "human"]).await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    for words in [
        "is published as:",
        "digits-mlp",
        "from README.md",
        "from model.onnx",
        "tensor(f32, 64)",
        "limits are guessed",
        "seen by the members of lab-a",
    ] {
        assert!(said.stderr.contains(words), "`{words}` is not in: {}", said.stderr);
    }
    let shown = cli.json(["show", "lab-a/digits-mlp@0.1.0"]).await;
    let listing = &shown["listing"];
    assert_eq!(listing["kind"], "model");
    assert_eq!(listing["licence"], "CC-BY-4.0");
    assert_eq!(listing["categories"][0], "vision/image-classification");
    assert_eq!(listing["summary"], "Says which digit an 8x8 picture shows.");
    assert_eq!(listing["engines"][0], "onnx");
    assert_eq!(listing["claims"]["accuracy"][0]["value"], 0.9806);
    let outputs = listing["interface"]["outputs"].as_array().expect("ports");
    let labels = outputs.iter().find_map(|port| port["type"]["prediction"]["labels"].as_array());
    assert_eq!(labels.expect("a port of classes").len(), 10, "{outputs:?}");
    assert!(!shown["manifest"].to_string().contains(".git"), "hidden files stay out");

    // The same content keeps its version, other content gets the next one.
    let again = cli.json(["publish", text(&dir)]).await;
    assert_eq!(again["ref"], "lab-a/digits-mlp@0.1.0");
    fs::write(dir.join("model.safetensors"), safetensors(&[3])).expect("written");
    let next = cli.json(["publish", text(&dir)]).await;
    assert_eq!(next["ref"], "lab-a/digits-mlp@0.2.0");
}

/// ```text
///   lab-a   (alone)
/// ```
#[tokio::test]
async fn what_follows_from_nothing_is_asked_for_with_the_lines_that_say_it() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let cli = lab.cli(a.home());
    let dir = lab.path("things");
    fs::create_dir(&dir).expect("a folder");
    fs::write(dir.join("a.bin"), [0, 1, 2]).expect("written");
    let said = cli.fails(4, ["publish", text(&dir)]).await;
    for words in ["has no guild.toml", "categories = [", "summary = \"One sentence.\""] {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
    let given = ["--category", "vision/ocr", "--summary", "Three bytes.", "--licence", "MIT"];
    let args = |more: &[&str]| [&["publish", text(&dir)], &given[..], more].concat().join("\0");
    let run =
        |more: &[&str]| -> Vec<String> { args(more).split('\0').map(str::to_owned).collect() };
    let dry = cli.json(run(&["--dry-run", "--write", "--replicas", "2"])).await;
    assert_eq!(dry["listing_id"], Value::Null);
    let written = fs::read_to_string(dir.join("guild.toml")).expect("it was written");
    for line in ["kind = \"data\"", "name = \"things\"", "licence = \"MIT\"", "replicas = 2"] {
        assert!(written.contains(line), "`{line}` is not in: {written}");
    }
    // From now on it needs no flags; a guild.toml that says less is not touched without --force.
    cli.ok(["publish", text(&dir)]).await;
    let less = written.replace("kind = \"data\"\n", "# mine\n");
    fs::write(dir.join("guild.toml"), &less).expect("written");
    let said = cli.fails(4, ["publish", text(&dir), "--write", "--dry-run"]).await;
    assert!(said.contains("is there already") && said.contains("--force"), "{said}");
    assert_eq!(fs::read_to_string(dir.join("guild.toml")).expect("there"), less);
    cli.ok(["publish", text(&dir), "--write", "--force", "--dry-run"]).await;
    let more = fs::read_to_string(dir.join("guild.toml")).expect("there");
    assert!(more.starts_with("kind = \"data\"\n") && more.contains("# mine"), "{more}");
}

/// ```text
///   lab-a ─── lab-b
/// ```
#[tokio::test]
async fn a_dry_run_shows_what_would_be_sent_to_whom_and_lists_nothing() {
    let lab = lab();
    let [a, _b] = lab.federation(["lab-a", "lab-b"]).await;
    let cli = lab.cli(a.home());
    let dir = lab.path("numbers");
    fs::create_dir(&dir).expect("a folder");
    fs::write(dir.join("t.csv"), "x,y\n1,2\n3,4\n").expect("written");
    fs::write(dir.join("big.bin"), vec![7; 1_000_000]).expect("written");
    fs::write(dir.join("README.md"), "Two columns of numbers.\n").expect("written");
    let args = ["publish", text(&dir), "--category", "tabular/regression", "--dry-run"];
    let plan = &cli.json(args).await["plan"];
    assert_eq!(plan["members"], serde_json::json!(["lab-a", "lab-b"]));
    assert_eq!(
        (plan["visibility"].as_str(), plan["replicas"].as_u64()),
        (Some("federation"), Some(3))
    );
    let files = plan["files"].as_array().expect("files");
    assert_eq!(files.len(), 3);
    let csv = files.iter().find(|file| file["name"] == "t.csv").expect("the table");
    assert_eq!(csv["known"], false);
    assert_eq!(csv["facts"]["columns"].as_array().map(Vec::len), Some(2), "{csv}");
    let said = cli.run([&args[..], &["--format", "human"]].concat()).await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    for words in ["t.csv", "CSV: 2 columns", "lab-a, lab-b", "copies wanted", "dry run"] {
        assert!(said.stderr.contains(words), "`{words}` is not in: {}", said.stderr);
    }
    let status = a.client().status().await.expect("it answers");
    assert_eq!(status.listings, 0, "nothing was listed");
}

/// A field of a protocol buffer: its number and its bytes, fewer than 128.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).expect("short")][..], bytes].concat()
}

/// A field that is a number below 128.
fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

/// A graph that says at which places of six numbers there is anything but zero: as many rows of one as there are.
fn places() -> Vec<u8> {
    let node = |op: &str, from: &str, to: &str| {
        let parts = [field(1, from.as_bytes()), field(2, to.as_bytes()), field(4, op.as_bytes())];
        field(1, &parts.concat())
    };
    let fixed = |size| field(1, &number(1, size));
    let named = |name: &str| field(1, &field(2, name.as_bytes()));
    let value = |place, name: &str, dtype, dims: &[Vec<u8>]| {
        let tensor = [number(1, dtype), field(2, &dims.concat())].concat();
        field(place, &[field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat())
    };
    let (float, whole) = (1, 7);
    let graph = [
        node("NonZero", "x", "columns"),
        node("Transpose", "columns", "places"),
        field(2, b"places"),
        value(11, "x", float, &[fixed(6)]),
        value(12, "places", whole, &[named("count"), fixed(1)]),
    ];
    [number(1, 7), field(7, &graph.concat()), field(8, &number(2, 14))].concat()
}

/// ```text
///   lab-a   (alone)
/// ```
#[tokio::test]
async fn a_graph_that_finds_a_number_of_things_is_published_as_it_is_and_runs() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let dir = lab.path("places");
    fs::create_dir(&dir).expect("a folder");
    fs::write(dir.join("model.onnx"), places()).expect("written");
    let given = ["--category", "tabular/regression", "--licence", "MIT"];
    let summary = ["--summary", "Places of what is not zero."];
    let args = [&["publish", text(&dir), "--format", "human"][..], &given, &summary].concat();
    let said = lab.cli(a.home()).run(args).await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    for port in ["tensor(f32, 6)", "tensor(i64, count, 1)"] {
        assert!(said.stderr.contains(port), "`{port}` is not in: {}", said.stderr);
    }
    let reference = "lab-a/places".parse().expect("a reference");
    for (numbers, places) in [
        (json!([0, 1, 0, 2.5, -3, 0]), json!([[1], [3], [4]])),
        (json!([7, 0, 0, 0, 0, 0]), json!([[0]])),
        (json!([0, 0, 0, 0, 0, 0]), json!([])),
    ] {
        let request = InferRequest { inputs: Some(numbers.clone()), ..InferRequest::default() };
        let answer = a.client().infer(&reference, &request).await;
        let answer = answer.unwrap_or_else(|error| panic!("{numbers}: {error}"));
        let outputs = answer.outputs.expect("one record");
        assert_eq!(outputs.into_values().collect::<Vec<_>>(), [places], "{numbers}");
    }
}

#[tokio::test]
async fn a_package_is_tested_without_a_node() {
    let lab = lab();
    let cli = Cli::new(GUILD, None);
    let passed = cli.json(["test", text(&example("model"))]).await;
    assert_eq!((passed["passed"].as_bool(), passed["kind"].as_str()), (Some(true), Some("model")));
    let names: Vec<_> =
        passed["checks"].as_array().expect("checks").iter().map(|c| c["name"].clone()).collect();
    assert_eq!(names, ["files and code", "test 1", "test 2", "test 3"]);
    let hub = hub_folder(&lab, "hub");
    cli.ok(["test", text(&hub)]).await;
    cli.ok(["test", text(&example("pipeline"))]).await;

    let wrong = Package::stage("odd", &stage::echo())
        .contract(2_000, 1 << 24, 1_000)
        .test("right", b"same", b"same")
        .test("wrong", b"this", b"that");
    let said = cli.run_json(["test", text(&lab.write(&wrong))]).await;
    assert_eq!(said.code, 4, "{}", said.stderr);
    let checks = said.json()["checks"].clone();
    assert_eq!(
        (checks[1]["passed"].as_bool(), checks[2]["passed"].as_bool()),
        (Some(true), Some(false))
    );
    assert!(checks[2]["file"].is_string() && checks[2]["fix"].is_string(), "{checks}");
    assert!(said.stderr.contains("1 of 3 checks failed"), "{}", said.stderr);
}

#[tokio::test]
async fn every_file_that_is_refused_is_named_with_place_and_fix() {
    let lab = lab();
    let cli = Cli::new(GUILD, None);
    let pickle = b"\x80\x04\x95\x10\0\0\0\0\0\0\0cos\nsystem\n.".to_vec();
    let mut weights = safetensors(&[2]);
    weights.truncate(weights.len() - 3);
    let bad = Package::data("bad")
        .file("a.pkl", pickle)
        .file("b.safetensors", weights)
        .file("c.txt", b"fine".to_vec());
    let dir = lab.write(&bad);
    let said = cli.run(["test", text(&dir), "--format", "human"]).await;
    assert_eq!(said.code, 4, "{}", said.stderr);
    for words in ["FAILED", "in a.pkl", "in b.safetensors", "fix: "] {
        assert!(said.stdout.contains(words), "`{words}` is not in: {}", said.stdout);
    }
    assert!(!said.stdout.contains("c.txt"), "{}", said.stdout);
    assert!(said.stderr.contains("2 of 2 checks failed"), "{}", said.stderr);
}
