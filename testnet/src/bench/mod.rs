//! Measurements of whole processes. Every row says how often it was measured; nothing here is a test.
//!
//! ```text
//! spread           listings that spread
//! import           P1: files into a store
//! large            P2, P4: one large file from node to node, and what a change of it costs
//! small            P3: many small files
//! usage            P17: memory
//! growth           P18: the same at other sizes
//! finding          P5, P17, P18: queries over many listings
//! executing        P9 to P13, P15, P16: jobs, sandbox, inference, serving, batches
//!
//! content          two nodes, something published, fetched by a new node each time
//! fixture          what is published
//! peers, raw       what it is compared with: other programs, and the limit
//! programs         running other programs
//! figures          samples and rows
//! ```

mod content;
mod executing;
mod figures;
mod finding;
mod fixture;
mod growth;
mod import;
mod large;
mod peers;
mod programs;
mod raw;
mod small;
mod spread;
mod usage;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

pub(crate) use self::figures::Row;
pub(crate) use self::finding::Alone;
pub(crate) use self::raw::Side;
use crate::network::NetworkError;

/// Head of the table.
pub(crate) const HEAD: [&str; 2] = [
    "| id | what | ours | spread | peer | its spread | ratio | goal | unit | n |",
    "|---|---|---|---|---|---|---|---|---|---|",
];

/// Where homes lie unless said otherwise: in memory where the system has such a place, so that no disk is measured.
const MEMORY_DIR: &str = "/dev/shm";

/// Name of the section about finding, which has rows of several ids.
const FINDING: &str = "finding";

/// Name of the section about executing, which has rows of several ids.
const EXECUTING: &str = "executing";

/// How much is measured, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Settings {
    /// Nodes of the spreading row
    #[arg(long, default_value_t = 10)]
    pub(crate) nodes: usize,
    /// How often each figure about content is measured
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: usize,
    /// Length of the large file, MiB
    #[arg(long, default_value_t = 1024)]
    pub(crate) mib: u64,
    /// How many small files
    #[arg(long, default_value_t = 10_000)]
    pub(crate) files: u64,
    /// How many listings to find among; a tenth and a hundredth of them are measured too
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) listings: u32,
    /// Folder for homes and files in memory [default: /dev/shm where it is there, else that for temporary files]
    #[arg(long)]
    pub(crate) memory: Option<PathBuf>,
    /// Folder on a disk [default: that for temporary files]
    #[arg(long)]
    pub(crate) disk: Option<PathBuf>,
    /// Python with onnxruntime and MLServer, peers of the rows about executing
    #[arg(long, env = "GUILD_BENCH_PYTHON", default_value = "python3")]
    pub(crate) python: PathBuf,
    /// Library of ONNX Runtime for the nodes [default: the one in that Python]
    #[arg(long, env = "GUILD_ONNXRUNTIME")]
    pub(crate) onnxruntime: Option<PathBuf>,
    /// So little of the rows about executing that their figures mean nothing: to see that they can be measured
    #[arg(long, hide = true)]
    pub(crate) quick: bool,
}

/// What every measurement is given.
#[derive(Clone, Debug)]
pub(crate) struct Bench {
    /// The guild program.
    pub(crate) program: PathBuf,
    /// How much, and where.
    pub(crate) settings: Settings,
}

impl Bench {
    /// Runs the measurements, or only those with these ids or of the sections [`FINDING`] and
    /// [`EXECUTING`]. `seen` gets each row when it is known.
    pub(crate) async fn run(
        &self,
        only: &[String],
        mut seen: impl FnMut(Row),
    ) -> Result<(), NetworkError> {
        let wanted =
            |id: &str| only.is_empty() || only.iter().any(|only| only.eq_ignore_ascii_case(id));
        let mut show = |rows: Vec<Row>, all: bool| {
            rows.into_iter().filter(|row| all || wanted(row.id)).for_each(&mut seen);
        };
        if wanted("P1") {
            show(import::run(self).await?, false);
        }
        if wanted("P2") {
            show(large::run(self).await?, false);
        }
        if wanted("P3") {
            show(small::run(self).await?, false);
        }
        if wanted("P4") {
            show(large::after_a_change(self).await?, false);
        }
        let finding = only.iter().any(|only| only.eq_ignore_ascii_case(FINDING));
        if finding || wanted("P5") || wanted("P17") || wanted("P18") {
            let rows = finding::run(self).await?;
            show(rows, finding);
        }
        if finding {
            show(vec![usage::idle(self).await?], true);
        }
        if wanted("P6") {
            show(spread::run(&self.program, self.settings.nodes).await?, false);
        }
        let executing = only.iter().any(|only| only.eq_ignore_ascii_case(EXECUTING));
        for id in executing::IDS {
            if executing || wanted(id) {
                show(executing::run(self, id).await?, executing);
            }
        }
        if wanted("P17") {
            show(usage::run(self).await?, false);
        }
        if wanted("P18") {
            show(growth::run(self).await?, false);
        }
        Ok(())
    }

    /// Where nodes and files lie that no disk should slow down.
    fn memory(&self) -> PathBuf {
        let given = self.settings.memory.clone();
        let there = || PathBuf::from(MEMORY_DIR);
        given
            .or_else(|| Some(there()).filter(|dir| dir.is_dir()))
            .unwrap_or_else(std::env::temp_dir)
    }

    /// Where nodes and files lie on a disk.
    fn disk(&self) -> PathBuf {
        self.settings.disk.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// How often something about executing is done, and how often where its figures may mean nothing.
    const fn count(&self, often: usize, quick: usize) -> usize {
        if self.settings.quick { quick } else { often }
    }

    /// Length of the large file, bytes.
    fn large_bytes(&self) -> u64 {
        self.settings.mib.saturating_mul(fixture::MIB)
    }

    /// How its length is called in a row.
    fn large_text(&self) -> String {
        mib_text(self.settings.mib)
    }
}

/// A length as people say it.
fn mib_text(mib: u64) -> String {
    match mib.is_multiple_of(1024) {
        true => format!("{} GiB", mib / 1024),
        false => format!("{mib} MiB"),
    }
}

/// One line about the programs that ours is compared with.
pub(crate) async fn peers(bench: &Bench) -> String {
    let mut versions = peers::versions().await;
    versions.extend(executing::peers(bench).await);
    format!("peers: {}", versions.join("; "))
}

/// One line about the machine and what else it does.
pub(crate) fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    // Other systems have no such file; then nothing is said about the load.
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    let version = env!("CARGO_PKG_VERSION");
    format!("guild {version}, {processors} processors, load {}", load.join(" "))
}

/// The value below which `share` of the samples lie, milliseconds.
fn quantile_ms(samples: &mut [Duration], share: f64) -> f64 {
    samples.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index among some hundred samples"
    )]
    let at = ((samples.len() as f64 - 1.0) * share).ceil() as usize;
    samples.get(at).map_or(0.0, |sample| sample.as_secs_f64() * 1000.0)
}
