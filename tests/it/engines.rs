//! Graphs that the engine built in cannot run, on nodes that have the library which can.

use std::fs;
use std::io::Write as _;

use data_encoding::BASE64;
use guildhall_testkit::protocol::api::{InferRequest, RunState};
use guildhall_testkit::{acquainted, bring_in, holds_listings, lend, records, request, run};
use serde_json::json;

use crate::lab;

/// A graph of one operator, `Det`: the determinant of each matrix of 2 x 2. Made with the Python package onnx:
/// `helper.make_model(make_graph([make_node("Det", ["x"], ["y"])], "g", [x: f32 n,2,2], [y: f32 n]), opset 17)`.
const DETERMINANT: &[u8] =
    b"CAkSADo8CgsKAXgSAXkiA0RldBIBZ1oYCgF4EhMKEQgBEg0KAxIBbgoCCAIKAggCYhAKAXkSCwoJCAESBQoD\
EgFuQgQKABAR";

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

    let folder = lab.path("determinant");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("model.onnx"), BASE64.decode(DETERMINANT).expect("base64"))
        .expect("a file");
    let folder = folder.to_str().expect("UTF-8");
    let given = ["--name", "determinant", "--category", "tabular/regression", "--licence", "MIT"];
    let summary = ["--summary", "The determinant of a matrix."];
    let publish_it = [&["publish", folder][..], &given, &summary].concat();
    let refused = lab.cli(b.home()).run(publish_it.clone()).await;
    assert!(refused.stderr.contains("it has no engine `onnxruntime`"), "{refused:?}");
    let said = lab.cli(a.home()).run(publish_it).await;
    assert!(said.code == 0 && said.stderr.contains("has no Det"), "{said:?}");
    holds_listings(&[&b], 1).await;
    let shown = lab.cli(b.home()).ok(["show", "lab-a/determinant"]).await;
    assert!(shown.contains("onnxruntime"), "{shown}");

    let numbers: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat();
    let wanted = request("lab-a/determinant", records([numbers.clone()]), "local");
    let local = b.client().start_run(&wanted).await.expect_err("it has no such engine");
    assert!(local.to_string().contains("onnxruntime"), "{local}");
    // The producer's own node has to be named.
    let report = run(&b, "lab-a/determinant", [numbers], "lab-a").await;
    assert_eq!(report.state, RunState::Completed, "{:?}", report.failure);
    let engine = &report.receipts[0].jobs[0].engine;
    assert!(engine.starts_with("onnxruntime/1."), "{engine}");
    let request = InferRequest {
        inputs: Some(json!([[2, 0], [0, 2]])),
        on: "lab-a".parse().expect("a place"),
        ..InferRequest::default()
    };
    let reference = "lab-a/determinant".parse().expect("a reference");
    let answer = b.client().infer(&reference, &request).await.expect("it is scored");
    assert_eq!(answer.outputs.expect("one")["y"], json!(4.0));
}
