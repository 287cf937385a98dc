//! Jobs on another node: how long a warm one takes, and how late a runaway one is stopped.

use std::path::Path;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use guildhall_launch::Node;
use guildhall_protocol::api::{
    InputRecord, OfferChange, Placement, RunInput, RunReport, RunRequest, RunState,
};
use guildhall_protocol::body::HardwareOffer;
use guildhall_protocol::contract::NodeLimits;
use guildhall_protocol::name::Reference;

use super::{Row, quantile_ms};
use crate::network::{Network, NetworkError, publish};

/// Warm jobs that are measured, after a few that are not.
const JOBS: usize = 100;

/// Jobs before the measured ones.
const WARM_UP: usize = 5;

/// Runaway jobs that are stopped.
const RUNAWAYS: usize = 20;

pub(super) async fn run(program: &Path) -> Result<Vec<Row>, NetworkError> {
    let network = Network::start(program, 2).await?;
    let [producer, executor] = network.nodes() else { return Ok(Vec::new()) };
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits");
    let prepare = publish(producer, &digits.join("prepare")).await?.reference;
    let stuck = publish(producer, &digits.join("stuck")).await?.reference;
    executor.client().set_offer(&OfferChange { offer: Some(offer()) }).await?;
    let image = std::fs::read(digits.join("stuck/poison.pgm")).map_err(NetworkError::Io)?;

    let mut jobs = Vec::new();
    let mut requests = Vec::new();
    for index in 0..WARM_UP + JOBS {
        let since = Instant::now();
        let report = run_on(producer, executor, &prepare, &image).await?;
        if report.state != RunState::Completed {
            return Err(NetworkError::Unexpected(format!("a job ended as {report:?}")));
        }
        if index >= WARM_UP {
            jobs.push(since.elapsed());
        }
        let since = Instant::now();
        executor.client().status().await?;
        requests.push(since.elapsed());
    }
    let mut overruns = Vec::new();
    for _ in 0..RUNAWAYS {
        let report = run_on(producer, executor, &stuck, &image).await?;
        let failure = report.failure.filter(|failure| failure.cause == "timeout");
        let times = failure.and_then(|failure| failure.stopped_after_ms.zip(failure.limit_ms));
        let (stopped_ms, limit_ms) = times
            .ok_or_else(|| NetworkError::Unexpected("a runaway was not stopped".to_owned()))?;
        overruns.push(Duration::from_millis(stopped_ms.saturating_sub(limit_ms)));
    }
    network.stop().await;
    let warm = Row {
        id: "P9",
        what: "remote job of one record from API to result, p50; peer: one API request".to_owned(),
        ours: quantile_ms(&mut jobs, 0.5),
        spread: None,
        peer: None,
        peer_spread: None,
        ratio: None,
        goal: "ping + 1 ms",
        unit: "ms",
        n: JOBS,
    };
    let overrun = Row {
        id: "P16",
        what: "deadline overrun of a runaway stage, p99".to_owned(),
        ours: quantile_ms(&mut overruns, 0.99),
        spread: None,
        peer: None,
        peer_spread: None,
        ratio: None,
        goal: "<= 20 ms",
        unit: "ms",
        n: RUNAWAYS,
    };
    Ok(vec![warm.with_peer(quantile_ms(&mut requests, 0.5)), overrun])
}

fn offer() -> HardwareOffer {
    HardwareOffer {
        slots: 2,
        hardware: guildhall_protocol::contract::Hardware::default(),
        limits: NodeLimits::default(),
        orgs: Vec::new(),
        ..HardwareOffer::default()
    }
}

async fn run_on(
    requester: &Node,
    executor: &Node,
    reference: &Reference,
    image: &[u8],
) -> Result<RunReport, NetworkError> {
    let record = InputRecord::new("image", BASE64.encode(image));
    let input = RunInput::Records(vec![record]);
    let on = Placement::Node(executor.ready().peer_id.clone());
    let request = RunRequest { on, ..RunRequest::new(reference.clone(), input) };
    let run = requester.client().start_run(&request).await?;
    loop {
        let report = requester.client().run(run).await?;
        if report.state != RunState::Running {
            return Ok(report);
        }
        // Looks as often as it can: a pause would be measured too.
        tokio::task::yield_now().await;
    }
}
