//! Why publications were refused: kept, so that it can be read when the terminal is gone.

use guildhall_gateway::{Answer, ApiError};
use guildhall_protocol::PackageId;
use guildhall_protocol::api::TestLog;
use guildhall_store::{Batch, Collection};
use tracing::warn;

use super::App;

/// Logs that are kept, one for each package. Beyond, the oldest goes.
const LOGS_MAX: usize = 200;

/// Checks of one log that are kept, those that failed first: with a kilobyte each, all logs stay below 13 MB.
const CHECKS_MAX: usize = 64;

/// Logs that are read at once.
const PAGE_MAX: usize = 256;

fn internal(error: impl std::fmt::Display) -> ApiError {
    ApiError::internal(error.to_string())
}

impl App {
    /// Keeps the log of a refused publication, over an earlier one of the same package.
    pub(super) async fn keep_test_log(&self, mut log: TestLog) {
        let mut batch = Batch::new();
        log.checks.sort_by_key(|check| check.passed);
        log.checks.truncate(CHECKS_MAX);
        let json = match serde_json::to_vec(&log) {
            Ok(json) => json,
            Err(error) => return warn!(%error, "a test log is not kept"),
        };
        let logs = self.test_logs().unwrap_or_default();
        for old in logs.iter().skip(LOGS_MAX - 1).filter(|old| old.package_id != log.package_id) {
            batch.delete_document(Collection::ErrorLogs, old.package_id.0.as_bytes());
        }
        batch.put_document(Collection::ErrorLogs, log.package_id.0.as_bytes(), json);
        if let Err(error) = self.store.commit(batch).await {
            warn!(%error, package = %log.package_id, "a test log is not kept");
        }
    }

    /// All logs, newest first.
    pub(super) fn test_logs(&self) -> Answer<Vec<TestLog>> {
        let mut logs: Vec<TestLog> = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.store.documents(Collection::ErrorLogs, after.as_deref(), PAGE_MAX);
            let page = page.map_err(internal)?;
            let read = |(_, json): &(Vec<u8>, Vec<u8>)| serde_json::from_slice(json).ok();
            logs.extend(page.documents.iter().filter_map(read));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        logs.sort_by_key(|log| std::cmp::Reverse(log.time_ms));
        Ok(logs)
    }

    /// The log of one package.
    pub(super) fn test_log(&self, package: PackageId) -> Answer<TestLog> {
        let json = self.store.document(Collection::ErrorLogs, package.0.as_bytes());
        let log = json.map_err(internal)?.and_then(|json| serde_json::from_slice(&json).ok());
        log.ok_or_else(|| {
            ApiError::not_found("unknown_test", format!("no refused publication of {package}"))
                .with_help("guild runs")
        })
    }
}
