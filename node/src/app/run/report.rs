//! What is told and kept about runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use guildhall_gateway::{Answer, ApiError, OutputLines};
use guildhall_protocol::RunId;
use guildhall_protocol::api::{OutputLine, RunReport, RunState};
use guildhall_store::{Batch, Collection};
use tokio::io::AsyncBufReadExt as _;
use tracing::{error, warn};

use super::super::{App, lock};
use super::request::failure;
use super::{Entry, Kept, RUNS_MAX};

impl App {
    /// Reads the runs of earlier starts; those that were under way when the node died have failed. Of more than
    /// [`RUNS_MAX`] the newest are kept, and the others are forgotten on disk too.
    pub(in crate::app) fn load_runs(self: &Arc<Self>) {
        let (mut newest, mut forgotten) = (BTreeMap::new(), Batch::new());
        let mut after = None;
        loop {
            let page = self.store.documents(Collection::Runs, after.as_deref(), RUNS_MAX);
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    warn!(%error, "earlier runs are not shown");
                    break;
                }
            };
            for (_, bytes) in page.documents {
                match serde_json::from_slice::<Kept>(&bytes) {
                    Ok(kept) => newest.insert((kept.started_ms, kept.report.run_id), kept),
                    Err(error) => {
                        warn!(%error, "an earlier run is not shown");
                        continue;
                    }
                };
                if newest.len() > RUNS_MAX
                    && let Some(((_, id), _)) = newest.pop_first()
                {
                    forget(&mut forgotten, id);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        newest.into_values().for_each(|kept| self.remember(kept));
        if !forgotten.is_empty() {
            let app = Arc::clone(self);
            self.tasks.spawn("forget-runs", async move { app.commit_forgotten(forgotten).await });
        }
    }

    fn remember(&self, mut kept: Kept) {
        if kept.report.state == RunState::Running {
            kept.report.state = RunState::Interrupted;
            kept.report.left_seconds = None;
            // What was shown and not on disk is computed again.
            (kept.report.records, kept.report.failed) = (kept.tally.records, kept.tally.failed);
            let message = match kept.resume.is_some() {
                true => "this node stopped while the run was under way; it can be resumed",
                false => "this node stopped while the run was under way",
            };
            kept.report.failure = Some(failure("interrupted", message.to_owned()));
        }
        let entry = Entry::of(kept);
        lock(&self.runs).insert(entry.id, Arc::new(entry));
    }

    /// Makes room for one more run by forgetting the oldest that ended, with its outputs. Its receipt stays. `false`
    /// when all are still running.
    pub(super) async fn make_room(&self) -> bool {
        let Some(oldest) = self.take_oldest() else { return false };
        let mut batch = Batch::new();
        for entry in oldest {
            forget(&mut batch, entry.id);
        }
        if !batch.is_empty() {
            self.commit_forgotten(batch).await;
        }
        true
    }

    async fn commit_forgotten(&self, batch: Batch) {
        if let Err(error) = self.store.commit(batch).await {
            warn!(%error, "a forgotten run stays on disk");
        }
    }

    /// Takes out the runs that are too many; `None` when there is no room because all are still running.
    fn take_oldest(&self) -> Option<Vec<Arc<Entry>>> {
        let mut runs = lock(&self.runs);
        let mut taken = Vec::new();
        while runs.len() >= RUNS_MAX {
            let ended = runs
                .iter()
                .filter(|(_, entry)| lock(&entry.state).report.state != RunState::Running);
            let oldest = ended.min_by_key(|(_, entry)| lock(&entry.state).started_ms);
            let oldest = oldest.map(|(id, _)| *id)?;
            taken.extend(runs.remove(&oldest));
        }
        Some(taken)
    }

    /// Puts a run's state on disk.
    pub(super) async fn save_run(&self, entry: &Entry) {
        let kept = lock(&entry.state).clone();
        match serde_json::to_vec(&kept) {
            Ok(bytes) => {
                let mut batch = Batch::new();
                batch.put_document(Collection::Runs, entry.id.0.as_bytes(), bytes);
                if let Err(error) = self.store.commit(batch).await {
                    error!(%error, run = %entry.id, "a run's state is not on disk");
                }
            }
            Err(error) => error!(%error, run = %entry.id, "a run's state cannot be written"),
        }
    }

    pub(super) fn entry(&self, run: RunId) -> Answer<Arc<Entry>> {
        lock(&self.runs).get(&run).cloned().ok_or_else(|| {
            ApiError::not_found("unknown_run", format!("there is no run {run}"))
                .with_help("guild runs")
        })
    }

    /// Waits until a run is over.
    pub(super) async fn run_ended(&self, run: RunId) -> Answer<()> {
        let entry = self.entry(run)?;
        entry.ended.cancelled().await;
        Ok(())
    }

    /// Drops a run that is over. Its receipt stays.
    pub(super) async fn forget_run(&self, run: RunId) {
        lock(&self.runs).remove(&run);
        let mut batch = Batch::new();
        forget(&mut batch, run);
        self.commit_forgotten(batch).await;
    }

    pub(in crate::app) fn run_reports(&self) -> Vec<RunReport> {
        let mut runs: Vec<_> = lock(&self.runs).values().cloned().collect();
        runs.sort_by_key(|entry| std::cmp::Reverse(lock(&entry.state).started_ms));
        runs.iter().map(|entry| entry.report()).collect()
    }

    pub(in crate::app) fn run_report(&self, run: RunId) -> Answer<RunReport> {
        Ok(self.entry(run)?.report())
    }

    /// The lines that came out, as far as they are on disk.
    pub(in crate::app) fn run_outputs(&self, run: RunId) -> Answer<OutputLines> {
        let entry = self.entry(run)?;
        let segments = lock(&entry.state).tally.segments.clone();
        let store = self.store.clone();
        let lines = futures::stream::iter(segments).flat_map(move |segment| {
            let opened = tokio::task::block_in_place(|| store.open_blob(&segment));
            match opened {
                Ok((file, _)) => lines_of(file).boxed(),
                Err(error) => {
                    let failed = Err(ApiError::internal(error.to_string()));
                    futures::stream::iter([failed]).boxed()
                }
            }
        });
        Ok(lines.boxed())
    }

    /// The first receipt of a run of this node's own, else one of a run that it executed for another node. The others
    /// are in the run's report.
    pub(in crate::app) fn run_receipt(&self, run: RunId) -> Answer<Vec<u8>> {
        let internal = |error: guildhall_store::ReadError| ApiError::internal(error.to_string());
        let own = [run.0.as_bytes().as_slice(), self.overlay.me().as_bytes().as_slice()].concat();
        for first in [own.as_slice(), run.0.as_bytes()] {
            // Keys begin with the run and the requester, so the next one behind them is theirs if there is any.
            let page =
                self.store.documents(Collection::Receipts, Some(first), 1).map_err(internal)?;
            let found = page.documents.into_iter().find(|(key, _)| key.starts_with(first));
            if let Some((_, receipt)) = found {
                return Ok(receipt);
            }
        }
        Err(ApiError::not_found("unknown_receipt", format!("there is no receipt of {run}")))
    }

    /// Ends a run that is under way; what came out is kept.
    pub(in crate::app) fn cancel_run(&self, run: RunId) -> Answer<RunReport> {
        let entry = self.entry(run)?;
        if entry.report().state != RunState::Running {
            return Err(ApiError::conflict("not_running", "the run has ended already")
                .with_help(format!("guild runs {run}")));
        }
        entry.cancel.cancel();
        Ok(entry.report())
    }
}

/// The lines of one segment.
fn lines_of(file: std::fs::File) -> impl futures::Stream<Item = Answer<OutputLine>> + Send {
    let lines = tokio::io::BufReader::new(tokio::fs::File::from_std(file)).lines();
    futures::stream::unfold(lines, |mut lines| async {
        let line = match lines.next_line().await {
            Ok(Some(line)) => serde_json::from_str::<OutputLine>(&line)
                .map_err(|error| ApiError::internal(error.to_string())),
            Ok(None) => return None,
            Err(error) => Err(ApiError::internal(error.to_string())),
        };
        Some((line, lines))
    })
}

/// Drops a run. Its receipt stays, and its outputs go with the next sweep: they may be what a package has too.
fn forget(batch: &mut Batch, id: RunId) {
    batch.delete_document(Collection::Runs, id.0.as_bytes());
}
