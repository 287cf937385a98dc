//! P9: an empty job in a warm worker, from the request to the API to its answer, on connections that stay open.
//!
//! Jobs on another node, jobs on the own node and plain requests to the API are measured by turns, pings of the overlay
//! in between. Each job is a run with its receipt, and is forgotten but for that.

use std::time::Instant;

use guildhall_protocol::api::Placement;
use serde_json::json;

use super::lab::{self, Stage};
use super::starting::EMPTY;
use super::{Failed, failed, ping};
use crate::bench::Bench;
use crate::bench::figures::{Row, Samples};

/// Jobs of each kind.
const JOBS: usize = 900;

/// Jobs before the first that counts: workers start, code is compiled.
const WARM_UP: usize = 20;

/// Parts between which pings are measured.
const PARTS: usize = 3;

/// Times in milliseconds.
#[derive(Default)]
struct Times {
    remote: Samples,
    own: Samples,
    status: Samples,
    pings: Samples,
}

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>, Failed> {
    let network = lab::network(bench, 2).await?;
    let [requester, executor] = network.nodes() else { return Ok(Vec::new()) };
    lab::lend(executor, 2, requester).await?;
    let stage = Stage::command("empty", EMPTY);
    let reference = stage.publish(requester, network.folder()).await?;
    let nothing = || json!({ "base64": "" });
    let timed = async |on: Placement| -> Result<f64, Failed> {
        let since = Instant::now();
        let answer = lab::infer(requester, &reference, nothing(), on).await?;
        let took = since.elapsed().as_secs_f64() * 1e3;
        match answer.outputs {
            Some(_) => Ok(took),
            None => Err(failed("an empty job has no output")),
        }
    };
    let mut times = Times::default();
    let per_part = bench.count(JOBS, 9) / PARTS;
    for _ in 0..WARM_UP {
        timed(lab::on(executor)).await?;
        timed(Placement::Local).await?;
    }
    for _ in 0..PARTS {
        times.pings.extend(ping::round_trips(executor, per_part).await?);
        for _ in 0..per_part {
            times.remote.push(timed(lab::on(executor)).await?);
            times.own.push(timed(Placement::Local).await?);
            let since = Instant::now();
            requester.client().status().await?;
            times.status.push(since.elapsed().as_secs_f64() * 1e3);
        }
    }
    network.stop().await;
    Ok(rows(&times))
}

fn rows(times: &Times) -> Vec<Row> {
    let Times { remote, own, status, pings } = times;
    let ping = Ok(pings.clone());
    let row = |what: &str, ours: &Samples, share: f64, goal: &'static str| {
        Row::at(share, "P9", what, ours, "ms").beside_at(share, &ping).with_goal(goal)
    };
    vec![
        row(
            "empty job on another node, p50; peer: the overlay's ping",
            remote,
            0.5,
            "<= ping + 1 ms",
        ),
        row("empty job on another node, p99; peer: the overlay's ping, p99", remote, 0.99, "-"),
        row("empty job on the own node, p50; peer: the overlay's ping", own, 0.5, "-"),
        row("empty job on the own node, p99; peer: the overlay's ping, p99", own, 0.99, "-"),
        Row::of("P9", "for comparison: GET /status, p50", status, "ms"),
    ]
}
