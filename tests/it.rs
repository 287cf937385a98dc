//! End to end: real `guild` processes on loopback, each test with a federation of its own in a temporary folder.
//!
//! Ports are picked by the system, nothing is shared between tests, and nothing sleeps: `converge` waits until
//! something holds and says what it saw when it does not.

#[path = "it/abuse.rs"]
mod abuse;
#[path = "it/admission.rs"]
mod admission;
#[path = "it/batches.rs"]
mod batches;
#[path = "it/by_hand.rs"]
mod by_hand;
#[path = "it/canaries.rs"]
mod canaries;
#[path = "it/crash_fetch.rs"]
mod crash_fetch;
#[path = "it/crash_publish.rs"]
mod crash_publish;
#[path = "it/crash_run.rs"]
mod crash_run;
#[path = "it/damaged_blob.rs"]
mod damaged_blob;
#[path = "it/damaged_store.rs"]
mod damaged_store;
#[path = "it/demand.rs"]
mod demand;
#[path = "it/diff.rs"]
mod diff;
#[path = "it/disk_full.rs"]
mod disk_full;
#[path = "it/engines.rs"]
mod engines;
#[path = "it/find.rs"]
mod find;
#[path = "it/garbage.rs"]
mod garbage;
#[path = "it/hostile_bombs.rs"]
mod hostile_bombs;
#[path = "it/hostile_claims.rs"]
mod hostile_claims;
#[path = "it/hostile_clients.rs"]
mod hostile_clients;
#[path = "it/hostile_executors.rs"]
mod hostile_executors;
#[path = "it/hostile_gc.rs"]
mod hostile_gc;
#[path = "it/hostile_holders.rs"]
mod hostile_holders;
#[path = "it/hostile_replicas.rs"]
mod hostile_replicas;
#[path = "it/hostile_sessions.rs"]
mod hostile_sessions;
#[path = "it/infer.rs"]
mod infer;
#[path = "it/join_again.rs"]
mod join_again;
#[path = "it/judging.rs"]
mod judging;
#[path = "it/kills.rs"]
mod kills;
#[path = "it/layers.rs"]
mod layers;
#[path = "it/lending.rs"]
mod lending;
#[path = "it/lifecycle.rs"]
mod lifecycle;
#[path = "it/models_inside.rs"]
mod models_inside;
#[path = "it/names.rs"]
mod names;
#[path = "it/oip.rs"]
mod oip;
#[path = "it/own_log.rs"]
mod own_log;
#[path = "it/propose.rs"]
mod propose;
#[path = "it/publish.rs"]
mod publish;
#[path = "it/references.rs"]
mod references;
#[path = "it/run_failures.rs"]
mod run_failures;
#[path = "it/run_refused.rs"]
mod run_refused;
#[path = "it/silent_holder.rs"]
mod silent_holder;
#[path = "it/slots.rs"]
mod slots;
#[path = "it/spread.rs"]
mod spread;
#[path = "it/stale.rs"]
mod stale;
#[path = "it/start_errors.rs"]
mod start_errors;
#[path = "it/store.rs"]
mod store;
#[path = "it/templates.rs"]
mod templates;
#[path = "it/transfer.rs"]
mod transfer;
#[path = "it/unlisted.rs"]
mod unlisted;

use guildhall_testkit::Lab;

/// The program under test.
const GUILD: &str = env!("CARGO_BIN_EXE_guild");

fn lab() -> Lab {
    Lab::new(GUILD)
}
