//! The node's one way to start tasks: named, cancelled together, and a panic stops the node with a reason.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error};

/// A group of tasks that end together. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
    panicked: Arc<OnceLock<&'static str>>,
    failed: Arc<OnceLock<String>>,
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

    /// Runs work to its end, also when whoever waits for it goes away: a client that hangs up drops its request's
    /// future, and must not stop a change half-way. `None` when the node stops before the work is done.
    pub(crate) async fn finish<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T>
    where
        T: Send + 'static,
    {
        let (done, result) = oneshot::channel();
        self.spawn(name, async move {
            // Nobody may wait for it any more.
            let _gone = done.send(work.await);
        });
        result.await.ok()
    }

    /// Stops the node because a part of it, without which it is of no use, has ended.
    pub(crate) fn fail(&self, why: String) {
        error!(why, "the node stops");
        let _first = self.failed.set(why);
        self.token.cancel();
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

    /// Why the group stopped itself, if it did.
    pub(crate) fn failed(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_ends_although_nobody_waits_for_it_any_more() {
        let tasks = Tasks::default();
        let (started, has_started) = oneshot::channel();
        let (go, may_go) = oneshot::channel::<()>();
        let (ended, has_ended) = oneshot::channel();
        let mut waiting = Box::pin(tasks.finish("work", async move {
            started.send(()).unwrap();
            may_go.await.unwrap();
            ended.send(()).unwrap();
        }));
        tokio::select! {
            _ = &mut waiting => panic!("it waits for leave to go on"),
            has_started = has_started => has_started.unwrap(),
        }
        drop(waiting);
        go.send(()).unwrap();
        has_ended.await.unwrap();
    }

    #[tokio::test]
    async fn a_part_that_fails_stops_the_group_with_its_reason() {
        let tasks = Tasks::default();
        tasks.fail("the first".to_owned());
        tasks.fail("the second".to_owned());
        assert!(tasks.token().is_cancelled());
        assert_eq!(tasks.failed(), Some("the first"));
    }
}
