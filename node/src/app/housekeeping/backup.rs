//! A copy of what a node keeps, made while it works.
//!
//! It holds no secret: whoever restores it makes new keys with the org's root key. Old keys with an old log would write
//! a second history beside the first, and everybody would see that they had.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use guildhall_gateway::Answer;
use guildhall_protocol::api::{BackupMade, BackupRequest};

use super::internal;
use crate::app::App;
use crate::clock;

impl App {
    /// Copies store, configuration and founding into a new folder below the home.
    pub(in crate::app) async fn backup(
        self: &Arc<Self>,
        request: BackupRequest,
    ) -> Answer<BackupMade> {
        let app = Arc::clone(self);
        self.chore("backup", async move {
            let made = tokio::task::spawn_blocking(move || app.backup_blocking(request)).await;
            made.map_err(internal)?
        })
        .await
    }

    fn backup_blocking(&self, request: BackupRequest) -> Answer<BackupMade> {
        let path = self.home.new_backup(clock::now_ms()).map_err(internal)?;
        let made = self
            .store
            .backup(&path.join("store"), !request.without_content)
            .map_err(internal)
            .and_then(|()| self.home.finish_backup(&path).map_err(internal));
        match made {
            Ok(path) => {
                let bytes = len_of(&path).map_err(internal)?;
                Ok(BackupMade { path: path.display().to_string(), bytes })
            }
            Err(error) => {
                // Half a backup is none, and its name says so; the disk may be full, so it goes.
                if let Err(error) = fs::remove_dir_all(&path) {
                    tracing::warn!(%error, path = %path.display(), "half a backup stays behind");
                }
                Err(error)
            }
        }
    }
}

/// Bytes of the files below a folder.
fn len_of(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0_u64;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        let len = if found.is_dir() { len_of(&entry.path())? } else { found.len() };
        bytes = bytes.saturating_add(len);
    }
    Ok(bytes)
}
