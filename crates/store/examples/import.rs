//! Measures how fast a file comes into the store, beside what its parts cost alone.
//!
//! ```text
//! cargo run --release -p guildhall-store --example import -- FILE [DIR]
//! ```
//!
//! The store is made in DIR (default: beside FILE) and removed afterwards. Every figure is the best of three runs.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use guildhall_protocol::Hash;
use guildhall_store::{Batch, Import, Store};

/// Runs of each measurement.
const RUNS: usize = 3;

/// What the plain readers and writers take at a time.
const CHUNK: usize = 1 << 20;

/// Small blobs in one batch, and the length of each: a package of many small files.
const SMALL_BLOBS: u64 = 10_000;
const SMALL_BYTES: usize = 4096;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args_os().skip(1);
    let file = PathBuf::from(arguments.next().ok_or("which file?")?);
    let beside = file.parent().map(Path::to_path_buf).unwrap_or_default();
    let dir = arguments.next().map_or(beside, PathBuf::from).join("import-example");
    let len = fs::metadata(&file)?.len();
    let threads = thread::available_parallelism()?.get();
    report(&format!("{len} bytes, {threads} processors"));
    measure("read", len, || read(&file, threads, |_, _| Ok(())))?;
    measure("read, hash (plain BLAKE3 of 4 MiB parts)", len, || {
        read(&file, threads, |_, bytes| {
            std::hint::black_box(Hash::of(bytes));
            Ok(())
        })
    })?;
    fs::create_dir_all(&dir)?;
    let copy = dir.join("copy");
    measure("read, write, sync (as dd does)", len, || {
        let target = File::create(&copy)?;
        read(&file, 1, |offset, bytes| target.write_all_at(bytes, offset))?;
        Ok(target.sync_all()?)
    })?;
    fs::remove_file(&copy)?;
    let store = Store::open(&dir.join("store"))?;
    for mode in [Import::Copy, Import::Adopt { linked: true }] {
        let mut best = Duration::MAX;
        for _ in 0..RUNS {
            best = best.min(import(&store, &file, mode)?);
        }
        print(&format!("import and commit, {mode:?}"), len, best);
    }
    let begun = Instant::now();
    let mut batch = Batch::new();
    for number in 0..SMALL_BLOBS {
        let mut writer = store.blob_writer(None, SMALL_BYTES as u64)?;
        writer.write_all(&number.to_be_bytes().repeat(SMALL_BYTES / 8))?;
        batch.add_blob(writer.finish()?);
    }
    store.commit_blocking(batch)?;
    report(&format!(
        "{:8.0} ms    {SMALL_BLOBS} blobs of 4 KiB",
        begun.elapsed().as_secs_f64() * 1e3
    ));
    store.close_blocking()?;
    Ok(fs::remove_dir_all(&dir)?)
}

/// One import, and its removal, which does not count.
fn import(store: &Store, file: &Path, mode: Import) -> Outcome<Duration> {
    let adopted = Path::new("file");
    let path = match mode {
        Import::Copy => file,
        Import::Adopt { .. } => {
            fs::hard_link(file, store.incoming_dir().join(adopted))?;
            adopted
        }
    };
    let begun = Instant::now();
    let staged = store.import_file(path, mode)?;
    let hash = staged.hash();
    let mut batch = Batch::new();
    batch.add_blob(staged);
    store.commit_blocking(batch)?;
    let took = begun.elapsed();
    let mut batch = Batch::new();
    batch.forget_blob(hash);
    store.commit_blocking(batch)?;
    Ok(took)
}

fn measure(what: &str, len: u64, mut work: impl FnMut() -> Outcome<()>) -> Outcome<()> {
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let begun = Instant::now();
        work()?;
        best = best.min(begun.elapsed());
    }
    print(what, len, best);
    Ok(())
}

fn print(what: &str, len: u64, took: Duration) {
    report(&format!("{:8.0} MB/s  {what}", len as f64 / took.as_secs_f64() / 1e6));
}

/// Reads the file with several threads.
fn read(
    path: &Path,
    threads: usize,
    visit: impl Fn(u64, &[u8]) -> io::Result<()> + Sync,
) -> Outcome<()> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let next = AtomicU64::new(0);
    let part = 4 * CHUNK as u64;
    let work = || -> io::Result<()> {
        let mut buffer = vec![0; 4 * CHUNK];
        loop {
            let offset = next.fetch_add(part, Ordering::Relaxed);
            if offset >= len {
                return Ok(());
            }
            let some = usize::try_from(part.min(len - offset)).map_err(io::Error::other)?;
            file.read_exact_at(&mut buffer[..some], offset)?;
            visit(offset, &buffer[..some])?;
        }
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        work()?;
        others
            .into_iter()
            .try_for_each(|other| other.join().map_err(|_| "panicked")?.map_err(Into::into))
    })
}

#[expect(clippy::print_stdout, reason = "printing is what this program is for")]
fn report(line: &str) {
    println!("{line}");
}
