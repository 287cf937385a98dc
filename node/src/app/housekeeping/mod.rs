//! Looking after what is kept: how much it is, what may go, whether it is still what it was, and copies of it.

mod backup;
mod collect;
mod report;
mod scrub;

use std::sync::Arc;
use std::time::Duration;

use guildhall_gateway::ApiError;
use guildhall_protocol::api::GcRequest;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::warn;

use super::{App, disk};

/// How often it is looked whether there is too little room.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);

/// How often room is made although there is enough: a person should not have to think of it.
const COLLECT_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Free bytes below which room is made before its time.
const LITTLE_ROOM_BYTES: u64 = 4 * disk::RESERVE_BYTES;

/// Makes room once a day, and when there is little; until the node is told to stop.
pub(super) async fn run(app: Arc<App>) {
    let mut ticks = tokio::time::interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut collected = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = app.tasks.token().cancelled() => return,
            _ = ticks.tick() => {}
        }
        let room = disk::room(&app.home.store());
        let is_little = room.is_some_and(|room| room.free_bytes < LITTLE_ROOM_BYTES);
        if !is_little && collected.elapsed() < COLLECT_EVERY {
            continue;
        }
        collected = Instant::now();
        // What nobody used for as long as the keeper says goes, whether there is little room or not.
        if let Err(error) = app.collect(GcRequest::default()).await {
            warn!(%error, "no room was made");
        }
    }
}

impl App {
    /// Runs something that may take long to its end, also when the client goes away meanwhile, one such thing at a
    /// time: two would only make each other slow.
    async fn chore<T: Send + 'static>(
        self: &Arc<Self>,
        name: &'static str,
        work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let app = Arc::clone(self);
        let done = self.tasks.finish(name, async move {
            let _one = app.chores.lock().await;
            work.await
        });
        done.await.unwrap_or_else(|| Err(ApiError::unavailable("stopping", "the node is stopping")))
    }
}

/// What a person gets to see of an error that is nobody's fault but this machine's.
fn internal(error: impl std::fmt::Display) -> ApiError {
    ApiError::internal(error.to_string())
}
