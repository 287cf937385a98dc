//! A stage that brings a model along and asks it, from publication to a run on another org's node.

use guildhall_testkit::protocol::api::RunState;
use guildhall_testkit::{Package, bytes_of, holds_listings, lend, publish_ok, run};

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
