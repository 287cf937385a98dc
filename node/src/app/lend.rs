//! Lending, as a keeper sees and changes it: what the machine has, what others use of it, draining; and what they used
//! within a day, which is kept over restarts.
//!
//! Use is counted in the core as parts of jobs end and written when a job ends, else every [`KEEP_EVERY`]: a node that
//! is killed forgets what was used since then at most.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use guildhall_core::Core;
use guildhall_overlay::peer_id_string;
use guildhall_pipeline::lease::{Usage, User};
use guildhall_protocol::api::{Lending, LentJob, Machine, WorkersReport};
use guildhall_protocol::cbor;
use guildhall_protocol::isolation::Level;
use guildhall_store::{Batch, Collection, ReadError, Store};
use tracing::warn;

use super::App;
use crate::clock;

/// Where it is kept what others used.
const USAGE: &[u8] = b"lent";

/// How often use is written while jobs go on: seldom against the other writes of a job, and little to forget.
const KEEP_EVERY: Duration = Duration::from_secs(10);

/// GPUs that are named; more than a machine has slots for.
const GPUS_MAX: usize = 16;

/// Longest name of a GPU that is shown, characters.
const GPU_NAME_MAX: usize = 80;

/// What workers may take of the machine's memory, in hundredths; the rest is for the node, the files that the system
/// keeps in memory, and everything else that runs there.
const WORKERS_PERCENT: u64 = 75;

/// What workers may take where the system does not say how much there is, bytes.
const WORKERS_UNKNOWN_BYTES: u64 = 4 << 30;

/// What all workers together may take, those that wait included, bytes.
pub(super) fn workers_bytes() -> u64 {
    memory_bytes().map_or(WORKERS_UNKNOWN_BYTES, |bytes| bytes / 100 * WORKERS_PERCENT)
}

/// Takes up what others used before the restart. What cannot be read is forgotten with a warning: it costs a day's
/// quotas, and a node that does not start costs more.
pub(super) fn restore(store: &Store, core: &mut Core) -> Result<(), ReadError> {
    let Some(bytes) = store.document(Collection::Identity, USAGE)? else { return Ok(()) };
    match cbor::decode::<Usage>(&bytes, bytes.len()) {
        Ok(usage) => core.restore_usage(clock::now_ms(), usage),
        Err(error) => warn!(%error, "what others used of this node within a day is forgotten"),
    }
    Ok(())
}

/// Keeps what others used until the node is told to stop.
pub(super) async fn run(app: Arc<App>) {
    loop {
        tokio::select! {
            biased;
            () = app.tasks.token().cancelled() => break,
            () = tokio::time::sleep(KEEP_EVERY) => {
                app.tell_warm();
                app.keep_usage().await;
            }
        }
    }
    app.keep_usage().await;
}

impl App {
    /// Counts what a job used since it was last asked: wall time of its parts. To be called when a part is over, in
    /// whatever way.
    pub(super) fn count_use(&self, user: &User, wall: Duration) {
        let wall_us = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        if self.core().count_use(clock::now_ms(), user, wall_us) {
            self.used.store(true, Ordering::Release);
        }
    }

    /// Writes what others used if that changed. To be called when a job is over.
    pub(super) async fn keep_usage(&self) {
        if !self.used.swap(false, Ordering::AcqRel) {
            return;
        }
        let usage = self.core().usage();
        let mut batch = Batch::new();
        batch.put_document(Collection::Identity, USAGE, cbor::encode(&usage));
        if let Err(error) = self.store.commit(batch).await {
            self.used.store(true, Ordering::Release);
            warn!(%error, "what others used of this node is not on disk");
        }
    }

    /// Lets those who ask for this node know what is warm for them.
    pub(super) fn tell_warm(&self) {
        let warm = self.workers.stats().warm;
        let warm = warm.into_iter().filter_map(|one| Some((one.org.parse().ok()?, one.package)));
        let warm = warm.collect();
        self.core().set_warm(warm);
    }

    /// The workers of this node, for its keeper.
    fn workers_report(&self) -> WorkersReport {
        let stats = self.workers.stats();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        WorkersReport {
            busy: count(stats.busy),
            warm: count(stats.warm.len()),
            blank: count(stats.blank),
            memory_bytes: stats.memory_bytes,
            busy_bytes: stats.busy_bytes,
            warm_bytes: stats.idle_bytes,
            from_warm: stats.reused,
            from_blank: stats.from_blank,
            started: stats.cold,
        }
    }

    /// What this node has and lends, and who uses it.
    pub(super) fn lending(&self) -> Lending {
        let workers = self.workers_report();
        let core = self.core();
        let settings = core.settings();
        let mut has = machine();
        has.engines.clone_from(&settings.engines);
        has.isolation.clone_from(&settings.isolation);
        has.isolation_level = Level::of_names(&settings.isolation).number();
        let job = |job: guildhall_pipeline::lease::Job| LentJob {
            org: job.org.unwrap_or_else(|| core.identity().org.clone()),
            peer_id: peer_id_string(&job.node),
            run: job.run,
            is_open: job.is_open,
            cores: job.cores,
            memory_bytes: job.memory_bytes,
        };
        Lending {
            has,
            offer: settings.offer.clone(),
            draining: settings.draining,
            jobs: core.lent_jobs().into_iter().map(job).collect(),
            own_jobs: core.own_jobs() as u64,
            orgs: core.lent_to(clock::now_ms()),
            workers,
        }
    }
}

/// What the operating system lets this process use.
fn machine() -> Machine {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    Machine {
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        memory_bytes: memory_bytes(),
        gpus: gpus(Path::new("/proc/driver/nvidia/gpus")),
        ..Machine::default()
    }
}

/// The machine's memory, or what the process's group may use of it if that is less.
fn memory_bytes() -> Option<u64> {
    let of_machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let of_group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let of_group = of_group.and_then(|text| text.trim().parse::<u64>().ok());
    of_machine.into_iter().chain(of_group).min()
}

/// `MemTotal` of proc(5), which is in KiB.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Names of NVIDIA's GPUs as their driver tells them; of others nothing is known without their libraries.
fn gpus(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let name = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path().join("information")).ok()?;
        let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
        Some(model.trim().chars().take(GPU_NAME_MAX).collect())
    };
    let mut names: Vec<String> = entries.flatten().filter_map(name).take(GPUS_MAX).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn memory_and_gpus_are_read_as_the_system_writes_them() {
        assert_eq!(total("MemTotal:        8029032 kB\nMemFree: 1 kB\n"), Some(8_221_728_768));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert_eq!(total("MemTotal: lots\n"), None);
        let folder = tempfile::tempdir().unwrap();
        let gpu = folder.path().join("0000:01:00.0");
        std::fs::create_dir(&gpu).unwrap();
        std::fs::write(gpu.join("information"), "Model: \t\t Some GPU 80GB\nIRQ: 7\n").unwrap();
        assert_eq!(gpus(folder.path()), ["Some GPU 80GB"]);
        assert!(gpus(&folder.path().join("absent")).is_empty());
        assert!(machine().cores > 0);
    }
}
