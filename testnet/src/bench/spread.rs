//! How long a listing takes from its publication until every node finds it.

use std::path::Path;
use std::time::{Duration, Instant};

use guildhall_client::Client;
use guildhall_launch::{NotYet, converge};
use guildhall_protocol::name::Reference;
use guildhall_protocol::query::Query;

use super::{Row, quantile_ms};
use crate::network::{Network, NetworkError, publish};

/// Publications that are measured.
const PUBLICATIONS: usize = 20;

/// How long one may take before the measurement is given up.
const FOUND_MAX: Duration = Duration::from_secs(30);

pub(super) async fn run(program: &Path, nodes: usize) -> Result<Vec<Row>, NetworkError> {
    let network = Network::start(program, nodes).await?;
    let folder = tempfile::tempdir().map_err(NetworkError::Io)?;
    let mut found_after = Vec::new();
    let mut asked = Vec::new();
    let Some(producer) = network.nodes().first() else { return Ok(Vec::new()) };
    for index in 0..PUBLICATIONS {
        write_package(folder.path(), index)?;
        let published = publish(producer, folder.path()).await?;
        let since = Instant::now();
        let others = network.nodes().iter().skip(1);
        let looks = others.map(|node| wait_until_found(node.client(), &published.reference));
        for found in futures::future::join_all(looks).await {
            found?;
        }
        found_after.push(since.elapsed());
        let since = Instant::now();
        producer.client().status().await?;
        asked.push(since.elapsed());
    }
    network.stop().await;
    let row = |what: String, ours: f64| Row {
        id: "P6",
        what,
        ours,
        spread: None,
        peer: None,
        peer_spread: None,
        ratio: None,
        goal: "p99 <= 1000 ms",
        unit: "ms",
        n: PUBLICATIONS,
    };
    let what = format!("publish to findable on {nodes} nodes, p50; peer: one API request");
    let worst = format!("publish to findable on {nodes} nodes, slowest");
    let request_ms = quantile_ms(&mut asked, 0.5);
    Ok(vec![
        row(what, quantile_ms(&mut found_after, 0.5)).with_peer(request_ms),
        row(worst, quantile_ms(&mut found_after, 1.0)).with_peer(request_ms),
    ])
}

async fn wait_until_found(client: &Client, reference: &Reference) -> Result<(), NetworkError> {
    let query = Query { reference: Some(reference.clone()), ..Query::default() };
    converge(FOUND_MAX, "the listing is found", async || {
        match client.search(&query).await?.results.is_empty() {
            true => Err(NotYet::saw("nothing")),
            false => Ok(()),
        }
    })
    .await?;
    Ok(())
}

fn write_package(folder: &Path, index: usize) -> Result<(), NetworkError> {
    let description = format!(
        "kind = \"data\"\nname = \"spread\"\nversion = \"1.0.{index}\"\n\
         categories = [\"tabular/x-benchmark\"]\nsummary = \"A package that measures spreading.\"\n"
    );
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text);
    write("guild.toml", &description).map_err(NetworkError::Io)?;
    write("number.csv", &format!("number\n{index}\n")).map_err(NetworkError::Io)
}
