//! The node's one way to start tasks: named, cancelled together, and a panic stops the node with a reason.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error};

/// A group of tasks that end together. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
    panicked: Arc<OnceLock<&'static str>>,
}

impl Tasks {
    /// Starts a task. When it panics, the whole group is cancelled, because what it owned is in an unknown state.
    pub(crate) fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let span = tracing::debug_span!("task", name);
        let token = self.token.clone();
        let panicked = Arc::clone(&self.panicked);
        #[expect(clippy::disallowed_methods, reason = "this is the group that tasks start through")]
        let running = tokio::spawn(task.instrument(span));
        self.tracker.spawn(async move {
            if let Err(gone) = running.await
                && gone.is_panic()
            {
                error!(name, "a task panicked; the node stops");
                let _first = panicked.set(name);
                token.cancel();
            }
        });
    }

    /// Cancelled when the node is to stop.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Asks every task to stop.
    pub(crate) fn cancel(&self) {
        self.token.cancel();
    }

    /// Waits until every task has ended; `false` when some were still running after `patience`.
    pub(crate) async fn join(&self, patience: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(patience, self.tracker.wait()).await.is_ok()
    }

    /// The task whose panic stopped the group.
    pub(crate) fn panicked(&self) -> Option<&'static str> {
        self.panicked.get().copied()
    }
}
