//! For how long other orgs were silent, over restarts, and what the node therefore refuses.
//!
//! While the node is up the core counts. Across a restart counts what no setting of the clock changes, as long as the
//! machine was not started anew meanwhile; else the wall's clock, and a clock that went back adds nothing. One that was
//! set forward while the machine was down can make a node stale until it hears another org, never fresh.

use std::sync::Arc;
use std::time::Duration;

use guildhall_core::Core;
use guildhall_gateway::ApiError;
use guildhall_pipeline::Plan;
use guildhall_protocol::api::KeptFor;
use guildhall_protocol::{FederationId, PackageId, cbor};
use guildhall_store::{Batch, Collection, ReadError, Store};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{App, lock};
use crate::clock;

/// Where the silence is kept.
const SILENCE_KEY: &[u8] = b"silence";

/// Longest document, bytes; it has a hundred and fifty.
const SILENCE_MAX_BYTES: usize = 1_024;

/// How often it is written: a node that is killed may take itself for silent by so much longer than it was.
const KEEP_EVERY: Duration = Duration::from_secs(5 * 60);

/// A moment, by both clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct At {
    /// Milliseconds since 1970.
    time_ms: u64,
    /// Milliseconds since the machine was started.
    steady_ms: u64,
    /// Which start that was.
    boot: Option<String>,
}

impl At {
    fn now() -> Self {
        Self { time_ms: clock::now_ms(), steady_ms: clock::steady_ms(), boot: clock::boot() }
    }

    /// Time between two moments.
    fn until_ms(&self, later: &Self) -> u64 {
        match self.boot.is_some() && self.boot == later.boot {
            true => later.steady_ms.saturating_sub(self.steady_ms),
            false => later.time_ms.saturating_sub(self.time_ms),
        }
    }
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Silence {
    federation: FederationId,
    /// How long it was, milliseconds.
    silence_ms: u64,
    /// When it was so long.
    at: At,
}

/// Takes up a silence that began before the restart. One that cannot be read is forgotten with a warning.
pub(super) fn restore(store: &Store, core: &mut Core) -> Result<(), ReadError> {
    let Some(bytes) = store.document(Collection::Identity, SILENCE_KEY)? else { return Ok(()) };
    match cbor::decode::<Silence>(&bytes, SILENCE_MAX_BYTES) {
        Ok(kept) if kept.federation == core.federation().id() => {
            core.restore_silence(kept.silence_ms.saturating_add(kept.at.until_ms(&At::now())));
        }
        Ok(_) => {}
        Err(error) => warn!(%error, "for how long other orgs were silent is not known any more"),
    }
    Ok(())
}

/// Keeps the silence until the node is told to stop.
pub(super) async fn run(app: Arc<App>) {
    loop {
        tokio::select! {
            biased;
            () = app.tasks.token().cancelled() => break,
            () = tokio::time::sleep(KEEP_EVERY) => app.keep_silence().await,
        }
    }
    app.keep_silence().await;
}

impl App {
    /// Has every answer say from now on how stale the node is.
    pub(super) fn tell_stale(&self) {
        let stale = self.core().stale();
        *lock(&self.stale) = stale;
    }

    async fn keep_silence(&self) {
        let kept = {
            let core = self.core();
            let (federation, silence_ms) = (core.federation().id(), core.silence_ms());
            Silence { federation, silence_ms, at: At::now() }
        };
        let mut batch = Batch::new();
        batch.put_document(Collection::Identity, SILENCE_KEY, cbor::encode(&kept));
        if let Err(error) = self.store.commit(batch).await {
            warn!(%error, "for how long other orgs are silent is not on disk");
        }
    }

    /// Whether this node may run a plan: when it is too stale, only what its own org published.
    pub(super) fn check_fresh(&self, plan: &Plan) -> Result<(), ApiError> {
        let is_stale = self.core().stale().is_some_and(|stale| stale.refuses);
        if !is_stale {
            return Ok(());
        }
        // What was published here and not listed is in no catalogue.
        let is_own = |package: &PackageId| {
            self.held(*package).is_some_and(|held| held.unpinned == KeptFor::Published)
        };
        let stages = plan.stages.iter().map(|stage| stage.package);
        let others: Vec<PackageId> = stages.filter(|package| !is_own(package)).collect();
        self.core().check_fresh(&others).map_err(|stale| {
            ApiError::failed("stale", format!("this node runs no code of others: {stale}"))
                .with_help("guild doctor")
        })
    }
}

/// Finds the time that ticks did not count: the machine slept, or the node was too busy to tick.
#[derive(Debug)]
pub(super) struct Missed {
    /// What the steady clock shows when ticks counted everything.
    counted_ms: u64,
}

impl Missed {
    pub(super) const fn from(steady_ms: u64) -> Self {
        Self { counted_ms: steady_ms }
    }

    /// A tick came, which counts `tick_ms`. What was missed until now, if it is as much as a tick.
    pub(super) fn tick(&mut self, steady_ms: u64, tick_ms: u64) -> Option<u64> {
        self.counted_ms = self.counted_ms.saturating_add(tick_ms);
        let missed_ms = steady_ms.saturating_sub(self.counted_ms);
        (missed_ms >= tick_ms).then(|| {
            self.counted_ms = steady_ms;
            missed_ms
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time_ms: u64, steady_ms: u64, boot: Option<&str>) -> At {
        At { time_ms, steady_ms, boot: boot.map(str::to_owned) }
    }

    #[test]
    fn between_two_starts_of_the_node_only_a_new_start_of_the_machine_asks_the_wall_clock() {
        let stopped = at(1_000_000, 5_000, Some("a"));
        // Ten years ahead, or back to 1970, on the same machine.
        assert_eq!(stopped.until_ms(&at(316_000_000_000, 65_000, Some("a"))), 60_000);
        assert_eq!(stopped.until_ms(&at(0, 65_000, Some("a"))), 60_000);
        // It was started anew.
        assert_eq!(stopped.until_ms(&at(1_090_000, 1_000, Some("b"))), 90_000);
        assert_eq!(stopped.until_ms(&at(0, 1_000, Some("b"))), 0, "a clock that went back");
        // Nothing says whether it was.
        let untold = at(1_000_000, 5_000, None);
        assert_eq!(untold.until_ms(&at(1_070_000, 9_000, None)), 70_000);
    }

    #[test]
    fn time_that_no_tick_counted_is_found_once() {
        let mut missed = Missed::from(10_000);
        assert_eq!(missed.tick(10_000, 1_000), None, "the first one comes at once");
        assert_eq!(missed.tick(11_001, 1_000), None);
        assert_eq!(missed.tick(3_612_001, 1_000), Some(3_599_001), "an hour of sleep");
        assert_eq!(missed.tick(3_613_001, 1_000), None);
        // Ticks that come late add up.
        let late = (1..=8).filter_map(|at| missed.tick(3_613_001 + at * 1_400, 1_000));
        assert_eq!(late.collect::<Vec<_>>(), [1_200, 1_200]);
    }
}
