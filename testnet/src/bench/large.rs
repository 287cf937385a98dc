//! P2 and P4: one large file from node to node, whole, and after a change of one byte.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use guildhall_protocol::tree::{GROUP_BYTES, Shape};

use super::content::{Movement, processor, seconds};
use super::figures::{Row, Samples};
use super::fixture::Package;
use super::raw::Limit;
use super::{Bench, peers};
use crate::network::NetworkError;

/// Length of a hash in a list, bytes.
const CV_BYTES: u64 = 32;

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>, NetworkError> {
    let (text, len_bytes, runs) = (bench.large_text(), bench.large_bytes(), bench.settings.runs);
    let mut movement = Movement::start(bench).await?;
    let package = Package::one_file(movement.folder("source"), "large", "1.0.0", len_bytes, 0)?;
    movement.publish(&package, &["--link"]).await?;
    let (mut fetches, mut limit, mut written) = (Vec::new(), Limit::default(), Limit::default());
    let out = movement.folder("raw.out");
    // By turns: what else the machine does changes by the minute.
    for _ in 0..runs {
        fetches.extend(movement.fetch_anew(&package, 1).await?);
        limit.measure(&package.file(), None).await?;
        written.measure(&package.file(), Some(&out)).await?;
    }
    let (ours, used) = (seconds(&fetches), processor(&fetches));
    let sendme = peers::sendme(&package.file(), len_bytes, &movement.folder("sendme"), runs).await;
    let aria2 = peers::aria2(&package.file(), &movement.folder("aria2"), runs).await;
    movement.stop().await;

    let rate = |seconds: &Samples| seconds.megabytes_per_second(len_bytes);
    let row = |peer: &str| {
        let what = format!("fetch {text} node to node; peer: {peer}");
        Row::of("P2", what, &rate(&ours), "MB/s")
    };
    let used_text =
        |peer: &str| format!("processor time of both nodes for a fetch of {text}; peer: {peer}");
    Ok(vec![
        row("TCP, ChaCha20-Poly1305, BLAKE3")
            .with_goal(">= 0.65")
            .beside(&Ok(rate(&limit.seconds))),
        row("the same, written to a file").beside(&Ok(rate(&written.seconds))),
        row("sendme receive").with_goal(">= 2").beside(&sendme.map(|seconds| rate(&seconds))),
        row("aria2 from nginx, neither encrypted nor checked")
            .beside(&aria2.map(|seconds| rate(&seconds))),
        Row::of("P2", used_text("TCP, ChaCha20-Poly1305, BLAKE3"), &used, "s")
            .beside(&Ok(limit.processor)),
        Row::of("P2", used_text("the same, written to a file"), &used, "s")
            .beside(&Ok(written.processor)),
    ])
}

/// What moves when one byte in the middle of the file is another.
pub(super) async fn after_a_change(bench: &Bench) -> Result<Vec<Row>, NetworkError> {
    let (text, len_bytes) = (bench.large_text(), bench.large_bytes());
    let mut movement = Movement::start(bench).await?;
    let dir = movement.folder("source");
    let old = Package::one_file(dir.clone(), "large", "1.0.0", len_bytes, 0)?;
    movement.publish(&old, &[]).await?;
    movement.add_receiver(&old).await?;
    movement.fetch(&old).await?;
    let new = Package::begin(dir, "large", "1.0.1")?;
    change_one_byte(&new, len_bytes / 2)?;
    movement.publish(&new, &[]).await?;
    movement.wait_until_heard(&new).await?;
    let fetched = movement.fetch(&new).await?;
    movement.stop().await;
    if fetched.reused_bytes + fetched.fetched_bytes < len_bytes {
        return Err(NetworkError::Unexpected(format!("too little was fetched: {fetched:?}")));
    }

    let kib = |bytes: u64| [bytes as f64 / 1024.0].into_iter().collect();
    let shape = Shape::of(len_bytes);
    let lists = shape.pieces() + shape.piece(0).groups();
    let row = |peer: &str| {
        let what = format!("bytes fetched after one byte of {text} changed; peer: {peer}");
        Row::of("P4", what, &kib(fetched.fetched_bytes), "KiB")
    };
    let took = [fetched.seconds * 1000.0].into_iter().collect();
    Ok(vec![
        row("the changed group and two lists of hashes")
            .with_goal("<= 1")
            .beside(&Ok(kib(GROUP_BYTES + lists * CV_BYTES))),
        row("the changed file").beside(&Ok(kib(len_bytes))),
        Row::of("P4", format!("time of that fetch, {text} copied and checked here"), &took, "ms"),
    ])
}

fn change_one_byte(package: &Package, offset: u64) -> Result<(), NetworkError> {
    let file = OpenOptions::new().read(true).write(true).open(package.file());
    let file = file.map_err(NetworkError::Io)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).map_err(NetworkError::Io)?;
    file.write_all_at(&byte.map(|byte| !byte), offset).map_err(NetworkError::Io)
}
