//! P17: what nodes have in memory, idle and while a large package is published and fetched.

use std::time::Duration;

use super::content::{Movement, forget_peak, memory};
use super::figures::{Row, Samples};
use super::fixture::{MIB, Package};
use super::{Bench, mib_text};
use crate::network::NetworkError;

/// How long a node is left alone before it counts as idle: several of its ticks.
const REST: Duration = Duration::from_secs(5);

/// Lengths of what is moved, as multiples of the large file's.
const FACTORS: [u64; 2] = [1, 4];

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>, NetworkError> {
    let mut rows = vec![idle(bench).await?];
    for factor in FACTORS {
        rows.extend(while_moving(bench, bench.settings.mib * factor).await?);
    }
    Ok(rows)
}

/// A node that nobody asks for anything.
pub(super) async fn idle(bench: &Bench) -> Result<Row, NetworkError> {
    let mut idle = Samples::default();
    for _ in 0..bench.settings.runs {
        let movement = Movement::start(bench).await?;
        tokio::time::sleep(REST).await;
        idle.push(mebibytes(memory(movement.sender()?)?.now_bytes));
        movement.stop().await;
    }
    Ok(Row::of("P17", "idle node, resident", &idle, "MiB").with_goal("<= 64 MiB"))
}

async fn while_moving(bench: &Bench, mib: u64) -> Result<Vec<Row>, NetworkError> {
    let mut movement = Movement::start(bench).await?;
    let dir = movement.folder("source");
    let package = Package::one_file(dir, "large", "1.0.0", mib * MIB, 0)?;
    forget_peak(movement.sender()?)?;
    movement.publish(&package, &[]).await?;
    let publishing = memory(movement.sender()?)?;
    let (version, name) = (package.version.clone(), package.name);
    package.remove()?;
    let package = Package::begin(movement.folder("source"), name, version)?;
    movement.add_receiver(&package).await?;
    let fetch = movement.fetch(&package).await?;
    movement.stop().await;
    let text = mib_text(mib);
    let row = |what: String, bytes: u64| {
        let samples = [mebibytes(bytes)].into_iter().collect();
        Row::of("P17", what, &samples, "MiB")
    };
    Ok(vec![
        row(format!("peak while {text} is published"), publishing.peak_bytes),
        row(format!("sender's peak while {text} is fetched"), fetch.sender.peak_bytes),
        row(format!("receiver's peak while {text} is fetched"), fetch.receiver.peak_bytes),
    ])
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}
