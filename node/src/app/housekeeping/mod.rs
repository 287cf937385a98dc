//! Looking after what is kept: how much it is, what may go, whether it is still what it was, and copies of it.

mod backup;
mod collect;
mod report;
mod scrub;

use std::sync::Arc;

use guildhall_gateway::ApiError;

use super::App;

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
