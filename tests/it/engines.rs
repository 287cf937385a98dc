//! Graphs that the engine built in cannot run, on nodes that have the library which can.

use std::fs;
use std::io::Write as _;

use data_encoding::BASE64;
use guildhall_testkit::protocol::api::{InferRequest, RunState};
use guildhall_testkit::{acquainted, bring_in, holds_listings, lend, records, request, run};
use serde_json::json;

use crate::lab;

/// A graph of one operator, `Unique`: the sorted distinct numbers of six. Made with the Python package onnx:
/// `helper.make_model(make_graph([make_node("Unique", ["x"], ["y"], sorted=1)], "g", [x: f32 6], [y: f32 n]), opset 17)`.
const UNIQUE: &[u8] =
    b"CAk6RQodCgF4EgF5IgZVbmlxdWUqDQoGc29ydGVkGAGgAQISAWdaDwoBeBIKCggIARIECgIIBmIQCgF5EgsK\
CQgBEgUKAxIBbkIECgAQEQ==";

/// What names the library to nodes, and to this test.
const LIBRARY: &str = "GUILD_ONNXRUNTIME";

/// ```text
///   lab-a (has the library, lends) ◀──run── lab-b (has none)
/// ```
#[tokio::test]
async fn a_graph_that_needs_the_library_says_so_and_runs_where_it_is() {
    let Some(library) = std::env::var_os(LIBRARY) else {
        let _unheard = writeln!(
            std::io::stderr(),
            "SKIPPED: {LIBRARY} names no libonnxruntime.so to test with"
        );
        return;
    };
    let lab = lab();
    let a = lab.found_with("lab-a", lab.options("lab-a").env(LIBRARY, library)).await;
    let b = lab.found_with("lab-b", lab.options("lab-b").env(LIBRARY, "off")).await;
    bring_in(&a, &b).await;
    acquainted(&[&a, &b]).await;
    lend(&a, 1, &[&b]).await;
    let engines = |status: guildhall_testkit::protocol::api::Lending| status.has.engines;
    assert_eq!(
        engines(a.client().lending().await.expect("a answers")),
        ["wasm", "onnx", "onnxruntime"]
    );
    assert_eq!(engines(b.client().lending().await.expect("b answers")), ["wasm", "onnx"]);

    let folder = lab.path("unique");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("model.onnx"), BASE64.decode(UNIQUE).expect("base64")).expect("a file");
    let folder = folder.to_str().expect("UTF-8");
    let given = ["--name", "unique", "--category", "tabular/regression", "--licence", "MIT"];
    let summary = ["--summary", "Sorted distinct values."];
    let publish_it = [&["publish", folder][..], &given, &summary].concat();
    let refused = lab.cli(b.home()).run(publish_it.clone()).await;
    assert!(refused.stderr.contains("it has no engine `onnxruntime`"), "{refused:?}");
    let said = lab.cli(a.home()).run(publish_it).await;
    assert!(said.code == 0 && said.stderr.contains("has no Unique"), "{said:?}");
    holds_listings(&[&b], 1).await;
    let shown = lab.cli(b.home()).ok(["show", "lab-a/unique"]).await;
    assert!(shown.contains("onnxruntime"), "{shown}");

    let numbers: Vec<u8> = [3.0_f32, 1.0, 2.0, 3.0, 1.0, 2.0].map(f32::to_le_bytes).concat();
    let wanted = request("lab-a/unique", records([numbers.clone()]), "local");
    let local = b.client().start_run(&wanted).await.expect_err("it has no such engine");
    assert!(local.to_string().contains("onnxruntime"), "{local}");
    let report = run(&b, "lab-a/unique", [numbers], "auto").await;
    assert_eq!(report.state, RunState::Completed, "{:?}", report.failure);
    let engine = &report.receipts[0].jobs[0].engine;
    assert!(engine.starts_with("onnxruntime/1."), "{engine}");
    let request =
        InferRequest { inputs: Some(json!([2, 2, 1, 1, 3, 3])), ..InferRequest::default() };
    let reference = "lab-a/unique".parse().expect("a reference");
    let answer = b.client().infer(&reference, &request).await.expect("it is scored");
    assert_eq!(answer.outputs.expect("one")["y"], json!([1.0, 2.0, 3.0]));
}
