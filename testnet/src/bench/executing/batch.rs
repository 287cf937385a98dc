//! P15: one run over one, two and four nodes, each with its workers on a quarter of a processor; the requester has what
//! is left. The peer of each row is as many times what one node alone reached.
//!
//! A requester executes too where it can. Here it cannot: the stage says that it needs more memory than a node has that
//! lends nothing.

use guildhall_launch::Node;
use guildhall_protocol::api::{InputRecord, RunInput, RunReport, RunRequest, RunState};
use guildhall_protocol::name::Reference;

use super::capped::Cap;
use super::lab::{self, Stage};
use super::{Failed, failed};
use crate::bench::Bench;
use crate::bench::figures::{Row, Samples};

/// How many nodes execute.
const NODES: [usize; 3] = [1, 2, 4];

/// Records of a run, and how often each counts: some 6 ms of a processor, 10 to 15 s of a quarter of one in all.
const RECORDS: usize = 480;
const COUNTS: u32 = 20_000_000;

/// What the stage says it needs, bytes: more than the default of a node, which is 1 GiB, less than what [`lab::lend`]
/// lends.
const MEMORY_BYTES: u64 = 2 << 30;

/// Runs for each number of nodes.
const RUNS: usize = 3;

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>, Failed> {
    let mut cap = match Cap::find().await {
        Ok(cap) => cap,
        Err(why) => {
            let row = Row::of_measured("P15", "a run over nodes", &Err(why), "records/s");
            return Ok(vec![row]);
        }
    };
    let mut network = lab::network(bench, 1).await?;
    let most = NODES.into_iter().max().unwrap_or(1);
    for number in 0..most {
        let folder = network.folder().to_owned();
        let program = cap.program(&bench.program, &folder, &number.to_string()).map_err(failed)?;
        network.set_program(program);
        network.add().await?;
    }
    network.wait_until_joined().await?;
    let [requester, executors @ ..] = network.nodes() else { return Ok(Vec::new()) };
    let counting = counting();
    let stage = Stage { memory_bytes: MEMORY_BYTES, ..Stage::command("counting", &counting) };
    let reference = stage.publish(requester, network.folder()).await?;
    let mut reached = Vec::new();
    for nodes in NODES {
        for (at, executor) in executors.iter().enumerate() {
            lab::lend(executor, u32::from(at < nodes), requester).await?;
        }
        reached.push((nodes, records_per_second(bench, requester, &reference).await?));
    }
    network.stop().await;
    let one = reached.first().map_or(0.0, |(_, (one, _))| one.median());
    let row = |(nodes, (samples, executors)): &(usize, (Samples, usize))| {
        // Nodes that lend and get nothing to do are no gain, and have to be seen.
        let idle = match nodes.saturating_sub(*executors) {
            0 => String::new(),
            idle => format!(" ({idle} of them had nothing to do)"),
        };
        let plural = if *nodes == 1 { "" } else { "s" };
        let what = format!(
            "a run over {nodes} node{plural} with a quarter of a processor each, by {}{idle}; peer: {nodes} x one node",
            cap.means()
        );
        let goal = if *nodes > 1 { ">= 0.9" } else { "-" };
        Row::of("P15", what, samples, "records/s").with_peer(one * *nodes as f64).with_goal(goal)
    };
    Ok(reached.iter().map(row).collect())
}

/// A command that counts and yields nothing.
fn counting() -> String {
    format!(
        r#"(module (memory (export "memory") 1) (func (export "_start") (local $i i32)
            (loop $again
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $i) (i32.const {COUNTS}))))))"#
    )
}

/// Also the fewest nodes that executed in any of the runs.
async fn records_per_second(
    bench: &Bench,
    requester: &Node,
    reference: &Reference,
) -> Result<(Samples, usize), Failed> {
    let (mut reached, mut executors) = (Samples::default(), usize::MAX);
    let records = bench.count(RECORDS, 40);
    // The first run fetches and compiles, and counts not.
    for at in 0..=bench.count(RUNS, 1) {
        let report = once(requester, reference, records).await?;
        if report.state != RunState::Completed || report.failed > 0 {
            return Err(failed(format!("a run ended as {:?}", report.failure)));
        }
        if at == 0 {
            continue;
        }
        executors = executors.min(report.executors.len());
        reached.push(records as f64 / report.seconds);
    }
    Ok((reached, executors))
}

async fn once(
    requester: &Node,
    reference: &Reference,
    records: usize,
) -> Result<RunReport, Failed> {
    let records = (0..records).map(|at| InputRecord::new(format!("{at:05}"), "")).collect();
    let request = RunRequest::new(reference.clone(), RunInput::Records(records));
    let run = requester.client().start_run(&request).await?;
    Ok(requester.client().wait_run(run, |_| {}).await?)
}
