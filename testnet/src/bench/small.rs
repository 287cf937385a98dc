//! P3: many small files from node to node.

use super::content::{Movement, processor, seconds};
use super::figures::{Row, Samples};
use super::fixture::{Package, SMALL_BYTES};
use super::{Bench, peers};
use crate::network::NetworkError;

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>, NetworkError> {
    let (files, runs) = (bench.settings.files, bench.settings.runs);
    let len_bytes = files * SMALL_BYTES;
    let mut movement = Movement::start(bench).await?;
    let one = Package::one_file(movement.folder("one"), "one", "1.0.0", len_bytes, 0)?;
    movement.publish(&one, &[]).await?;
    let fetches = movement.fetch_anew(&one, runs).await?;
    let (as_one, used_as_one) = (seconds(&fetches), processor(&fetches));
    let mut published = Samples::default();
    let mut many = None;
    for run in 0..runs {
        // Other bytes each time: what a node has it does not take again.
        let (version, seed) = (format!("1.0.{run}"), run as u64 + 1);
        let dir = movement.folder(&format!("many-{run}"));
        let package = Package::small_files(dir, "many", version, files, seed)?;
        published.push(movement.publish(&package, &[]).await?);
        many = Some(package);
    }
    let many = many.ok_or_else(|| NetworkError::Unexpected("nothing to measure".to_owned()))?;
    let fetches = movement.fetch_anew(&many, runs).await?;
    let (ours, used) = (seconds(&fetches), processor(&fetches));
    let sendme = peers::sendme(&many.content(), len_bytes, &movement.folder("sendme"), runs).await;
    let rsync = peers::rsync(&many.content(), len_bytes, &movement.folder("rsync"), runs).await;
    movement.stop().await;

    let rate = |seconds: &Samples| seconds.megabytes_per_second(len_bytes);
    let row = |peer: &str| {
        let what = format!("fetch {files} files of 4 KiB node to node; peer: {peer}");
        Row::of("P3", what, &rate(&ours), "MB/s")
    };
    let per_second = |seconds: &Samples| seconds.map(|seconds| files as f64 / seconds);
    let used_text = format!(
        "processor time of both nodes for a fetch of {files} files; peer: as many bytes as one file"
    );
    let publish = format!("guild publish of {files} files of 4 KiB, whole process");
    Ok(vec![
        row("as many bytes as one file").with_goal(">= 0.5").beside(&Ok(rate(&as_one))),
        row("sendme receive").with_goal(">= 10").beside(&sendme.map(|seconds| rate(&seconds))),
        row("rsync -a, local, neither encrypted nor checked")
            .beside(&rsync.map(|seconds| rate(&seconds))),
        Row::of("P3", used_text, &used, "s").beside(&Ok(used_as_one)),
        Row::of("P3", publish, &per_second(&published), "files/s"),
    ])
}
