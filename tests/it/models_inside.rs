//! A stage that brings a model along and asks it, from publication to a run on another org's node.

use std::io::Write as _;
use std::process::Command;

use guildhall_testkit::protocol::api::RunState;
use guildhall_testkit::{
    Package, acquainted, bring_in, bytes_of, holds_listings, lend, publish_ok, records, request,
    run,
};

use crate::lab;

/// The digits example: a model, and a value of its own tests, which is a nine.
const DIGITS: &[u8] = include_bytes!("../../examples/digits/model/model.onnx");
const NINE: &[u8] = include_bytes!("../../examples/digits/model/tests/1.in.f32");

/// Asks `digits` about 64 numbers from stdin and writes ten probabilities; ends with the number of what went wrong.
const ASKING: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read"
        (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_ephemeral_nn" "load_by_name" (func $find (param i32 i32 i32) (result i32)))
    (import "wasi_ephemeral_nn" "init_execution_context"
        (func $start (param i32 i32) (result i32)))
    (import "wasi_ephemeral_nn" "set_input" (func $set (param i32 i32 i32) (result i32)))
    (import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))
    (import "wasi_ephemeral_nn" "get_output"
        (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "digits")
    ;; Where the record goes, the tensor's dimensions, and the tensor.
    (data (i32.const 16) "\00\04\00\00\00\01\00\00")
    (data (i32.const 32) "\01\00\00\00\40\00\00\00")
    (data (i32.const 48) "\20\00\00\00\02\00\00\00\01\00\00\00\00\04\00\00\00\01\00\00")
    (data (i32.const 80) "\00\08\00\00\28\00\00\00")
    (func $must (param $errno i32)
        (if (local.get $errno) (then (call $exit (local.get $errno)))))
    (func (export "_start")
        (call $must (call $read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 96)))
        (call $must (call $find (i32.const 0) (i32.const 6) (i32.const 100)))
        (call $must (call $start (i32.load (i32.const 100)) (i32.const 104)))
        (call $must (call $set (i32.load (i32.const 104)) (i32.const 0) (i32.const 48)))
        (call $must (call $compute (i32.load (i32.const 104))))
        (call $must (call $get (i32.load (i32.const 104)) (i32.const 1) (i32.const 2048)
            (i32.const 40) (i32.const 108)))
        (call $must (call $write (i32.const 1) (i32.const 80) (i32.const 1) (i32.const 112)))))"#;

/// The stage, with this behind its contract and its code.
fn asking(imports: &str, models: &str) -> Package {
    let bytes = "{ bytes = {} }";
    Package::data("asking")
        .replacing("kind = \"data\"", "kind = \"algorithm\"")
        .table(&format!("[[interface.inputs]]\nname = \"in\"\ntype = {bytes}"))
        .table(&format!("[[interface.outputs]]\nname = \"out\"\ntype = {bytes}"))
        .table(&format!(
            "[contract]\nscoring_ms = 5000\nmeasured_on = \"a test\"\nmemory = \"16 MiB\"\n\
             determinism = \"numeric\"\n{imports}"
        ))
        .table(&format!("[code.command]\nmodule = \"stage.wasm\"\n{models}"))
        .file("stage.wasm", wat::parse_str(ASKING).expect("a module"))
        .file("models/digits.onnx", DIGITS)
}

/// ```text
///   lab-a (publishes) ──run──▶ lab-b (lends)
/// ```
#[tokio::test]
async fn a_stage_asks_the_model_that_it_brings_along_on_anothers_node() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let cli = lab.cli(a.home());
    let models = "models = [{ name = \"digits\", model = \"models/digits.onnx\" }]";

    // Without the import: named, with what would put it right, and nothing is listed.
    let silent = lab.write(&asking("", ""));
    let silent_folder = silent.to_str().expect("UTF-8");
    let said = cli.fails(4, ["publish", silent_folder]).await;
    assert!(said.contains("`wasi_ephemeral_nn`"), "{said}");
    let said = cli.run(["test", silent_folder]).await;
    assert!(said.code != 0 && said.stdout.contains("imports = [\"wasi_nn\"]"), "{}", said.stdout);
    std::fs::remove_dir_all(silent).expect("the folder is ours");

    let folder = lab.write(&asking("imports = [\"wasi_nn\"]", models));
    cli.ok(["test", folder.to_str().expect("UTF-8")]).await;
    publish_ok(&a, &folder).await;
    holds_listings(&[&b], 1).await;
    lend(&b, 1, &[&a]).await;
    let report = run(&a, "lab-a/asking", [NINE, NINE], "lab-b").await;
    assert_eq!(report.state, RunState::Completed, "{:?}\n{}", report.failure, b.log_tail());
    let outputs = a.client().run_outputs(report.run_id).await.expect("outputs");
    assert_eq!(outputs.len(), 2);
    for line in outputs {
        let bytes = bytes_of(&line.value);
        let (scores, _) = bytes.as_chunks::<4>();
        let scores: Vec<f32> = scores.iter().copied().map(f32::from_le_bytes).collect();
        assert_eq!(scores.len(), 10);
        assert!((scores[9] - 0.754_58).abs() < 1e-3, "{scores:?}");
    }
}

/// What names the library to nodes, and to this test.
const LIBRARY: &str = "GUILD_ONNXRUNTIME";

/// ```text
///   lab-a (has the library, lends) ◀──run── lab-b (has none)
/// ```
#[tokio::test]
async fn a_stage_whose_model_names_the_library_runs_only_where_that_is() {
    let Some(library) = std::env::var_os(LIBRARY) else {
        skipped(&format!("{LIBRARY} names no libonnxruntime.so to test with"));
        return;
    };
    let lab = lab();
    let a = lab.found_with("lab-a", lab.options("lab-a").env(LIBRARY, library)).await;
    let b = lab.found_with("lab-b", lab.options("lab-b").env(LIBRARY, "off")).await;
    bring_in(&a, &b).await;
    acquainted(&[&a, &b]).await;
    lend(&a, 1, &[&b]).await;
    let models = "models = [{ name = \"digits\", model = \"models/digits.onnx\", \
                  engine = \"onnxruntime\" }]";
    let folder = lab.write(&asking("imports = [\"wasi_nn\"]", models));
    let path = folder.to_str().expect("UTF-8");
    let refused = lab.cli(b.home()).run(["publish", path]).await;
    assert!(refused.stderr.contains("needs the engine `onnxruntime`"), "{refused:?}");
    publish_ok(&a, &folder).await;
    holds_listings(&[&b], 1).await;
    let wanted = request("lab-a/asking", records([NINE]), "local");
    let local = b.client().start_run(&wanted).await.expect_err("it has no such engine");
    assert!(local.to_string().contains("onnxruntime"), "{local}");
    let report = run(&b, "lab-a/asking", [NINE], "lab-a").await;
    assert_eq!(report.state, RunState::Completed, "{:?}\n{}", report.failure, a.log_tail());
    let engine = &report.receipts[0].jobs[0].engine;
    assert!(engine.starts_with("wasm/") && engine.contains(" onnxruntime/1."), "{engine}");
    let outputs = b.client().run_outputs(report.run_id).await.expect("outputs");
    let bytes = bytes_of(&outputs[0].value);
    let (scores, _) = bytes.as_chunks::<4>();
    assert!((f32::from_le_bytes(scores[9]) - 0.754_58).abs() < 1e-3);
}

/// A stage in Python that asks `digits` about the numbers behind its name, and the folder of what it is built against.
const FIXTURES: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/sandbox/tests/fixtures/component");
const WIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit");

/// ```text
///   componentize-py ─▶ guild publish ─▶ guild run, on lab-a   (alone)
/// ```
#[tokio::test]
async fn a_stage_in_python_asks_the_model_that_it_brings_along() {
    let tool = std::env::var("COMPONENTIZE_PY").unwrap_or_else(|_| "componentize-py".to_owned());
    let lab = lab();
    let built = lab.path("asking.wasm");
    let made = Command::new(tool)
        .args(["-d", WIT, "-w", "stage-nn", "componentize", "asking", "-p", FIXTURES, "-o"])
        .arg(&built)
        .output();
    let Ok(made) = made else {
        assert!(std::env::var_os("GUILDHALL_REQUIRE_TOOLS").is_none(), "no componentize-py");
        skipped("no componentize-py (pip install componentize-py); COMPONENTIZE_PY names it");
        return;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let package = Package::data("asking")
        .replacing("kind = \"data\"", "kind = \"algorithm\"")
        .table("[[interface.inputs]]\nname = \"in\"\ntype = \"text\"")
        .table("[[interface.outputs]]\nname = \"out\"\ntype = \"text\"")
        .table(
            "[contract]\nscoring_ms = 20000\nmeasured_on = \"a test\"\nmemory = \"128 MiB\"\n\
             determinism = \"numeric\"\nimports = [\"wasi_nn\"]",
        )
        .table(
            "[code.component]\ncomponent = \"stage.wasm\"\n\
             models = [{ name = \"digits\", model = \"digits.onnx\" }]",
        )
        .file("stage.wasm", std::fs::read(built).expect("built"))
        .file("digits.onnx", DIGITS);
    let a = lab.found("lab-a").await;
    publish_ok(&a, &lab.write(&package)).await;
    let (numbers, _) = NINE.as_chunks::<4>();
    let numbers = numbers.iter().map(|four| f32::from_le_bytes(*four).to_string());
    let line = [vec!["digits".to_owned()], numbers.collect()].concat().join(" ");
    let report = run(&a, "lab-a/asking", [line], "local").await;
    assert_eq!(report.state, RunState::Completed, "{:?}\n{}", report.failure, a.log_tail());
    let outputs = a.client().run_outputs(report.run_id).await.expect("outputs");
    assert_eq!(bytes_of(&outputs[0].value), b"9");
}

/// Tells whoever reads the log that nothing was tested.
fn skipped(why: &str) {
    let _unheard = writeln!(std::io::stderr(), "SKIPPED: {why}");
}
