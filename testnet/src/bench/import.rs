//! P1: a large file into a store, in memory and on disk, through the store alone and through `guild publish`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use guildhall_store::{Batch, BlobError, Import, Store};

use super::content::Movement;
use super::figures::{Row, Samples};
use super::fixture::{Package, warm, write_file};
use super::{Bench, programs};
use crate::network::NetworkError;

/// Name of a file that is adopted.
const ADOPTED: &str = "adopted";

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>, NetworkError> {
    let mut rows = Vec::new();
    let hash = in_memory(bench, &mut rows).await?;
    on_disk(bench, &mut rows).await?;
    through_publish(bench, &hash, &mut rows).await?;
    Ok(rows)
}

/// Imports in memory, beside plain BLAKE3 with all processors, which is returned.
async fn in_memory(
    bench: &Bench,
    rows: &mut Vec<Row>,
) -> Result<Result<Samples, String>, NetworkError> {
    let (dir, file) = with_file(&bench.memory(), bench.large_bytes())?;
    let (text, len_bytes) = (bench.large_text(), bench.large_bytes());
    let hash = b3sum(&file, bench.settings.runs).await;
    let hash = hash.map(|seconds| seconds.megabytes_per_second(len_bytes));
    for (mode, how) in [(Import::Adopt { linked: true }, "adopted"), (Import::Copy, "copied")] {
        let seconds = import(bench, dir.path(), &file, mode, bench.settings.runs).await?;
        let what = format!("import {text} in memory, {how}; peer: b3sum");
        let rate = seconds.megabytes_per_second(len_bytes);
        rows.push(Row::of("P1", what, &rate, "MB/s").with_goal(">= 0.8").beside(&hash));
    }
    Ok(hash)
}

/// Imports from memory to disk, beside dd; and of a file that is on the disk already.
async fn on_disk(bench: &Bench, rows: &mut Vec<Row>) -> Result<(), NetworkError> {
    let (_memory, source) = with_file(&bench.memory(), bench.large_bytes())?;
    let (dir, there) = with_file(&bench.disk(), bench.large_bytes())?;
    let (text, len_bytes, runs) = (bench.large_text(), bench.large_bytes(), bench.settings.runs);
    let (mut copied, mut dd) = (Samples::default(), Ok(Samples::default()));
    // By turns: what a shared disk does changes by the minute.
    for _ in 0..runs {
        let seconds = import(bench, dir.path(), &source, Import::Copy, 1).await?;
        copied.push(seconds.megabytes_per_second(len_bytes).median());
        warm(&bench.memory(), len_bytes)?;
        dd = match (dd, dd_once(&source, &dir.path().join("dd")).await) {
            (Ok(mut samples), Ok(seconds)) => {
                samples.push(len_bytes as f64 / seconds / 1e6);
                Ok(samples)
            }
            (Err(why), _) | (_, Err(why)) => Err(why),
        };
    }
    let what = format!("import {text} to disk, copied; peer: dd conv=fsync");
    rows.push(Row::of("P1", what, &copied, "MB/s").with_goal(">= 0.9").beside(&dd));
    let hash = b3sum(&there, runs).await;
    let hash = hash.map(|seconds| seconds.megabytes_per_second(len_bytes));
    let adopted = import(bench, dir.path(), &there, Import::Adopt { linked: true }, runs).await?;
    let adopted = adopted.megabytes_per_second(len_bytes);
    let what = format!("import {text} on disk, adopted from the same disk; peer: b3sum");
    rows.push(Row::of("P1", what, &adopted, "MB/s").with_goal(">= 0.8").beside(&hash));
    Ok(())
}

/// The whole way of a person: `guild publish` of a folder with one file, to a node on the same machine.
async fn through_publish(
    bench: &Bench,
    hash: &Result<Samples, String>,
    rows: &mut Vec<Row>,
) -> Result<(), NetworkError> {
    let text = bench.large_text();
    for (arguments, how) in
        [(["--link"].as_slice(), "guild publish --link"), (&[], "guild publish")]
    {
        let mut rate = Samples::default();
        for run in 0..bench.settings.runs {
            // A new node each time: what one has it does not take again.
            let node = Movement::start(bench).await?;
            let dir = node.folder("source");
            let package =
                Package::one_file(dir, "large", "1.0.0", bench.large_bytes(), run as u64)?;
            warm(&package.dir, bench.large_bytes())?;
            let seconds = node.publish(&package, arguments).await?;
            rate.push(bench.large_bytes() as f64 / seconds / 1e6);
            node.stop().await;
        }
        let what = format!("{how} of {text} in memory, whole process; peer: b3sum");
        rows.push(Row::of("P1", what, &rate, "MB/s").beside(hash));
    }
    Ok(())
}

fn with_file(folder: &Path, len_bytes: u64) -> Result<(tempfile::TempDir, PathBuf), NetworkError> {
    let dir = tempfile::Builder::new().prefix("guild-bench-").tempdir_in(folder);
    let dir = dir.map_err(NetworkError::Io)?;
    let file = dir.path().join("file");
    write_file(&file, len_bytes, 0)?;
    Ok((dir, file))
}

/// Seconds from a file to a durable blob. The store lies below `dir` and is removed afterwards.
async fn import(
    bench: &Bench,
    dir: &Path,
    file: &Path,
    mode: Import,
    runs: usize,
) -> Result<Samples, NetworkError> {
    let (dir, file) = (dir.join("store"), file.to_owned());
    let (memory, len_bytes) = (bench.memory(), bench.large_bytes());
    let importing = tokio::task::spawn_blocking(move || {
        let failed = |error: &dyn std::fmt::Display| NetworkError::Unexpected(error.to_string());
        let store = Store::open(&dir).map_err(|error| failed(&error))?;
        let mut seconds = Samples::default();
        for _ in 0..runs {
            warm(&memory, len_bytes)?;
            seconds.push(import_once(&store, &file, mode).map_err(|error| failed(&error))?);
        }
        store.close_blocking().map_err(|error| failed(&error))?;
        fs::remove_dir_all(&dir).map_err(NetworkError::Io)?;
        Ok(seconds)
    });
    importing.await.map_err(|error| NetworkError::Unexpected(error.to_string()))?
}

fn import_once(store: &Store, file: &Path, mode: Import) -> Result<f64, BlobError> {
    let path = match mode {
        Import::Copy => file,
        Import::Adopt { .. } => {
            let incoming = store.incoming_dir().join(ADOPTED);
            let linked = fs::hard_link(file, &incoming);
            linked.map_err(|source| BlobError::Io { path: incoming, source })?;
            Path::new(ADOPTED)
        }
    };
    let since = Instant::now();
    let staged = store.import_file(path, mode)?;
    let hash = staged.hash();
    let mut batch = Batch::new();
    batch.add_blob(staged);
    store.commit_blocking(batch)?;
    let seconds = since.elapsed().as_secs_f64();
    let mut batch = Batch::new();
    batch.forget_blob(hash);
    store.commit_blocking(batch)?;
    Ok(seconds)
}

/// Plain BLAKE3 with all processors: the whole process.
async fn b3sum(file: &Path, runs: usize) -> Result<Samples, String> {
    let program = programs::find("b3sum")?;
    let mut seconds = Samples::default();
    for _ in 0..runs {
        let mut command = programs::command(&program);
        command.arg(file);
        seconds.push(programs::timed(command).await?);
    }
    Ok(seconds)
}

async fn dd_once(source: &Path, target: &Path) -> Result<f64, String> {
    let mut command = programs::command(programs::find("dd")?);
    let argument = |name: &str, path: &Path| format!("{name}={}", path.display());
    command.args([argument("if", source), argument("of", target)]).args(["bs=1M", "conv=fsync"]);
    let seconds = programs::timed(command).await;
    fs::remove_file(target).map_err(|error| error.to_string())?;
    seconds
}
