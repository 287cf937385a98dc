//! P18: fetches at several sizes, and how their time grows.

use super::content::{Movement, seconds};
use super::figures::{Row, Samples, exponent};
use super::fixture::{MIB, Package};
use super::{Bench, mib_text};
use crate::network::NetworkError;

/// Lengths of the large file, as shares of the one that is asked for: a tenth, once, four times.
const LARGE_PERCENT: [u64; 3] = [10, 100, 400];

/// Numbers of small files, likewise.
const SMALL_PERCENT: [u64; 4] = [1, 10, 100, 500];

/// Repetitions at each size: the large ones take long.
const RUNS_MAX: usize = 3;

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>, NetworkError> {
    Ok(vec![large(bench).await?, small(bench).await?])
}

async fn large(bench: &Bench) -> Result<Row, NetworkError> {
    let mut points = Vec::new();
    for percent in LARGE_PERCENT {
        let mib = (bench.settings.mib * percent / 100).max(1);
        let mut movement = Movement::start(bench).await?;
        let dir = movement.folder("source");
        let package = Package::one_file(dir, "large", "1.0.0", mib * MIB, 0)?;
        // Linked, so that there are two copies of it and not three.
        movement.publish(&package, &["--link"]).await?;
        let fetches = movement.fetch_anew(&package, bench.settings.runs.min(RUNS_MAX)).await?;
        movement.stop().await;
        points.push((mib_text(mib), mib, seconds(&fetches)));
    }
    row("fetch of one file", &points)
}

async fn small(bench: &Bench) -> Result<Row, NetworkError> {
    let mut points = Vec::new();
    for percent in SMALL_PERCENT {
        let files = (bench.settings.files * percent / 100).max(1);
        let mut movement = Movement::start(bench).await?;
        let dir = movement.folder("source");
        let package = Package::small_files(dir, "many", "1.0.0", files, 0)?;
        movement.publish(&package, &[]).await?;
        let fetches = movement.fetch_anew(&package, bench.settings.runs.min(RUNS_MAX)).await?;
        movement.stop().await;
        points.push((format!("{files} files"), files, seconds(&fetches)));
    }
    row("fetch of files of 4 KiB", &points)
}

fn row(what: &str, points: &[(String, u64, Samples)]) -> Result<Row, NetworkError> {
    let said = points.iter().map(|(size, _, seconds)| format!("{size} {:.3} s", seconds.median()));
    let what = format!("exponent of the time of a {what}: {}", said.collect::<Vec<_>>().join(", "));
    let logs: Vec<(f64, f64)> =
        points.iter().map(|(_, size, seconds)| (*size as f64, seconds.median())).collect();
    let slope = exponent(&logs)
        .ok_or_else(|| NetworkError::Unexpected("one size has no exponent".to_owned()))?;
    let mut row = Row::of("P18", what, &[slope].into_iter().collect(), "-").with_goal("<= 1");
    row.n = points.iter().map(|(_, _, seconds)| seconds.len()).sum();
    row.spread = None;
    Ok(row)
}
