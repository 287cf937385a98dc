//! P16: how late a stage is stopped that does not end by itself.
//!
//! Three kinds: a loop, which the engine interrupts; a loop of long bulk instructions, which it can interrupt between
//! two of them only; a graph, which nothing interrupts, so that its worker is killed. The overrun is what the executing
//! node says, in whole milliseconds; the second row of each kind is the whole run at the requester less its deadline.

use std::time::Duration;

use guildhall_launch::Node;
use guildhall_protocol::api::{InputRecord, RunInput, RunReport, RunRequest, RunState};
use guildhall_protocol::contract::LimitSet;
use guildhall_protocol::name::Reference;

use super::lab::{self, Code, Stage};
use super::models::Graph;
use super::{Failed, failed};
use crate::bench::Bench;
use crate::bench::figures::{Row, Samples};

/// Runs of each kind.
const RUNS: usize = 120;

/// The deadline, milliseconds: well beyond what starting takes.
const DEADLINE_MS: u64 = 100;

/// Pause between two looks at a run: short against what is measured, and not so short that looking disturbs it.
const LOOK: Duration = Duration::from_millis(5);

/// Never ends.
const LOOP: &str =
    r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#;

/// Fills 256 MiB again and again.
const FILL: &str = r#"(module (memory (export "memory") 4096)
    (func (export "_start")
        (loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 268435456)) (br 0))))"#;

/// Rows and columns of the square matrix that the graph multiplies by itself, and how often: tens of seconds.
const SIDE: u64 = 900;
const PRODUCTS: usize = 1_000;

/// The same as a description writes it.
const SQUARE: &str = "{ tensor = { dtype = \"f32\", dims = [900, 900] } }";

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>, Failed> {
    let network = lab::network(bench, 2).await?;
    let [requester, executor] = network.nodes() else { return Ok(Vec::new()) };
    lab::lend(executor, 2, requester).await?;
    let runs = bench.count(RUNS, 2);
    let graph = network.folder().join("long.onnx");
    std::fs::write(&graph, long()).map_err(failed)?;
    let loops = Stage::command("loop", LOOP);
    let fills = Stage { memory_bytes: 300 << 20, ..Stage::command("fill", FILL) };
    let products = Stage {
        input: SQUARE,
        output: SQUARE,
        memory_bytes: 300 << 20,
        code: Code::Graph { file: &graph, output: "y", engine: None },
        ..Stage::command("products", LOOP)
    };
    let matrix = vec![0; usize::try_from(SIDE * SIDE * 4).map_err(failed)?];
    let kinds = [
        ("a loop", loops, &[][..]),
        ("a loop of memory.fill of 256 MiB", fills, &[]),
        ("a graph in the engine onnx", products, &matrix),
    ];
    let mut rows = Vec::new();
    for (what, stage, input) in &kinds {
        let reference = stage.publish(requester, network.folder()).await?;
        rows.extend(overruns(requester, executor, &reference, input, what, runs).await?);
    }
    network.stop().await;
    Ok(rows)
}

/// A graph that multiplies for long.
fn long() -> Vec<u8> {
    let mut graph = Graph::new(0);
    let mut last = "x".to_owned();
    for _ in 0..PRODUCTS {
        last = graph.node("MatMul", &[&last, "x"], &[]);
    }
    graph.finish_fixed(&[SIDE, SIDE], &last)
}

async fn overruns(
    requester: &Node,
    executor: &Node,
    reference: &Reference,
    input: &[u8],
    what: &str,
    runs: usize,
) -> Result<[Row; 2], Failed> {
    let (mut stated, mut outside) = (Samples::default(), Samples::default());
    // The first one also fetches and compiles.
    for at in 0..=runs {
        let report = run_to_its_end(requester, executor, reference, input).await?;
        let failure = report.failure.as_ref().filter(|failure| failure.cause == "timeout");
        let times = failure.and_then(|failure| failure.stopped_after_ms.zip(failure.limit_ms));
        let (stopped_ms, limit_ms) = times
            .ok_or_else(|| failed(format!("{what} did not end at its deadline: {report:?}")))?;
        if at > 0 {
            stated.push(stopped_ms.saturating_sub(limit_ms) as f64);
            outside.push(report.seconds * 1e3 - limit_ms as f64);
        }
    }
    let row = |what: String, samples: &Samples| Row::at(0.99, "P16", what, samples, "ms");
    Ok([
        row(format!("overrun of {what}, p99"), &stated).with_goal("<= 20 ms"),
        row(format!("the whole run of {what} less its deadline, p99"), &outside),
    ])
}

async fn run_to_its_end(
    requester: &Node,
    executor: &Node,
    reference: &Reference,
    input: &[u8],
) -> Result<RunReport, Failed> {
    let record = InputRecord::new("record", data_encoding::BASE64.encode(input));
    let request = RunRequest {
        on: lab::on(executor),
        limits: LimitSet { scoring_ms: Some(DEADLINE_MS), ..LimitSet::default() },
        ..RunRequest::new(reference.clone(), RunInput::Records(vec![record]))
    };
    let run = requester.client().start_run(&request).await?;
    loop {
        let report = requester.client().run(run).await?;
        if report.state != RunState::Running {
            return Ok(report);
        }
        tokio::time::sleep(LOOK).await;
    }
}
