//! Measures how fast a blob goes to S3-compatible storage and comes back.
//!
//! ```text
//! AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
//!     cargo run --release -p guildhall-store --features s3 --example s3 -- ENDPOINT BUCKET [MIB]
//! ```
//!
//! The objects stand under a prefix of their own and are removed afterwards. Every figure is the best of three runs.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use guildhall_store::{Backend, Batch, Credentials, S3, Store};

/// Runs of each measurement.
const RUNS: u64 = 3;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().ok_or("which endpoint?")?;
    let bucket = arguments.next().ok_or("which bucket?")?;
    let mib: usize = arguments.next().map_or(Ok(256), |text| text.parse())?;
    let dir = tempfile::tempdir()?;
    let s3 = S3 {
        allow_http: endpoint.starts_with("http://"),
        endpoint,
        bucket,
        prefix: format!("measure-{}", std::process::id()),
        region: "us-east-1".to_owned(),
        credentials: Credentials::Environment,
        cache_max_bytes: 0,
    };
    let store = Store::open_with(dir.path(), &Backend::S3(s3))?;
    let [mut staged, mut up, mut verified, mut down] = [Duration::MAX; 4];
    for seed in 0..RUNS {
        let mut bytes = vec![0; mib << 20];
        blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
        let begun = Instant::now();
        let mut writer = store.blob_writer(None, u64::MAX)?;
        writer.write_all(&bytes)?;
        let blob = writer.finish()?;
        staged = staged.min(begun.elapsed());
        drop(bytes);
        let hash = blob.hash();
        let begun = Instant::now();
        let mut batch = Batch::new();
        batch.add_blob(blob);
        store.commit_blocking(batch)?;
        up = up.min(begun.elapsed());
        let begun = Instant::now();
        store.verify_blob(&hash)?;
        verified = verified.min(begun.elapsed());
        let begun = Instant::now();
        store.open_blob(&hash)?;
        down = down.min(begun.elapsed());
        let mut batch = Batch::new();
        batch.forget_blob(hash);
        store.commit_blocking(batch)?;
    }
    let mut out = io::stdout().lock();
    for (what, time) in [
        ("write and hash here", staged),
        ("up: send, ask, commit", up),
        ("verify: read by ranges, hash", verified),
        ("down: fetch, check, sync, open", down),
    ] {
        let rate = mib as f64 / time.as_secs_f64();
        writeln!(out, "{what:32} {:7.2} s {rate:8.0} MiB/s", time.as_secs_f64())?;
    }
    Ok(store.close_blocking()?)
}
