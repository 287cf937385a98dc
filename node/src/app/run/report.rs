//! What is told and kept about runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures::StreamExt as _;
use guildhall_gateway::{Answer, ApiError, OutputLines};
use guildhall_protocol::api::{OutputLine, RunFailure, RunReport, RunState};
use guildhall_protocol::{Hash, RunId};
use guildhall_store::{Batch, Collection};
use tokio::io::AsyncBufReadExt as _;
use tracing::{error, warn};

use super::super::{App, lock};
use super::{Entry, Kept, RUNS_MAX, receipt_key};

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
            kept.report.state = RunState::Failed;
            kept.report.failure = Some(RunFailure {
                cause: "interrupted".to_owned(),
                message: "this node stopped while the run was under way".to_owned(),
                stage: None,
                record: None,
                limit_ms: None,
                stopped_after_ms: None,
            });
        }
        let id = kept.report.run_id;
        let entry = Entry { id, started: Instant::now(), state: Mutex::new(kept) };
        lock(&self.runs).insert(id, Arc::new(entry));
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

    fn entry(&self, run: RunId) -> Answer<Arc<Entry>> {
        lock(&self.runs).get(&run).cloned().ok_or_else(|| {
            ApiError::not_found("unknown_run", format!("there is no run {run}"))
                .with_help("guild runs")
        })
    }

    pub(in crate::app) fn run_reports(&self) -> Vec<RunReport> {
        let mut runs: Vec<_> = lock(&self.runs).values().cloned().collect();
        runs.sort_by_key(|entry| std::cmp::Reverse(lock(&entry.state).started_ms));
        runs.iter().map(|entry| entry.report()).collect()
    }

    pub(in crate::app) fn run_report(&self, run: RunId) -> Answer<RunReport> {
        Ok(self.entry(run)?.report())
    }

    /// The lines that came out, from the blob they were written to.
    pub(in crate::app) fn run_outputs(&self, run: RunId) -> Answer<OutputLines> {
        let entry = self.entry(run)?;
        let outputs: Option<Hash> = lock(&entry.state).outputs;
        let Some(outputs) = outputs else {
            return match entry.report().state {
                RunState::Running => {
                    Err(ApiError::conflict("still_running", "the run has not ended yet")
                        .with_help(format!("guild runs {run}")))
                }
                _ => Ok(futures::stream::empty().boxed()),
            };
        };
        let opened = tokio::task::block_in_place(|| self.store.open_blob(&outputs));
        let (file, _) = opened.map_err(|error| ApiError::internal(error.to_string()))?;
        let lines = tokio::io::BufReader::new(tokio::fs::File::from_std(file)).lines();
        let lines = futures::stream::unfold(lines, |mut lines| async {
            let line = match lines.next_line().await {
                Ok(Some(line)) => serde_json::from_str::<OutputLine>(&line)
                    .map_err(|error| ApiError::internal(error.to_string())),
                Ok(None) => return None,
                Err(error) => Err(ApiError::internal(error.to_string())),
            };
            Some((line, lines))
        });
        Ok(lines.boxed())
    }

    /// The receipt of a run of this node's own, else one of a run that it executed for another node.
    pub(in crate::app) fn run_receipt(&self, run: RunId) -> Answer<Vec<u8>> {
        let internal = |error: guildhall_store::ReadError| ApiError::internal(error.to_string());
        let own = receipt_key(run, &self.overlay.me());
        if let Some(receipt) = self.store.document(Collection::Receipts, &own).map_err(internal)? {
            return Ok(receipt);
        }
        // Keys begin with the run, so the first one behind it is of that run if there is any.
        let page = self
            .store
            .documents(Collection::Receipts, Some(run.0.as_bytes()), 1)
            .map_err(internal)?;
        let executed =
            page.documents.into_iter().find(|(key, _)| key.starts_with(run.0.as_bytes()));
        executed.map(|(_, receipt)| receipt).ok_or_else(|| {
            ApiError::not_found("unknown_receipt", format!("there is no receipt of {run}"))
        })
    }
}

/// Drops a run. Its receipt stays, and its outputs go with the next sweep: they may be what a package has too.
fn forget(batch: &mut Batch, id: RunId) {
    batch.delete_document(Collection::Runs, id.0.as_bytes());
}
