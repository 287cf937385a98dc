//! The part of publishing that needs a node: looking up what the package names, and sending its files.

use std::path::PathBuf;

use futures::{StreamExt, TryStreamExt, stream};
use guildhall_protocol::name::{OrgName, Reference};

use super::draft::{Draft, DraftFile};
use super::error::PackageError;
use crate::client::Client;
use crate::error::Error;

/// Files sent at once: enough to hide a round trip each, few enough for a node with several clients.
const UPLOADS_AT_ONCE: usize = 8;

/// Files from this length on are only sent when the node lacks them, bytes: for shorter ones asking costs as much.
const ASK_FIRST_BYTES: u64 = 1024 * 1024;

/// Why a draft could not be completed or sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The package itself.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A package that it names cannot be found.
    #[error("{reference}, which this package needs, cannot be looked up")]
    Lookup {
        /// What was looked for.
        reference: Reference,
        /// Why not.
        source: Error,
    },
    /// A file cannot be sent.
    #[error("cannot send {}", path.display())]
    Send {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: Error,
    },
    /// A file was written to between hashing and sending.
    #[error("{} changed while it was being published", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
}

impl Draft {
    /// Looks up, at `client`'s node, every package that stages and dependencies name. `org` publishes.
    ///
    /// # Errors
    /// [`PublishError::Lookup`], [`PublishError::Package`].
    pub async fn resolve(&mut self, client: &Client, org: &OrgName) -> Result<(), PublishError> {
        let mut found = Vec::new();
        for reference in self.unresolved(org) {
            let detail = client
                .show(&reference)
                .await
                .map_err(|source| PublishError::Lookup { reference, source })?;
            found.push(detail);
        }
        Ok(self.fill(&found)?)
    }

    /// Sends the files to `client`'s node. `sent` gets each file when it is there.
    ///
    /// # Errors
    /// [`PublishError::Send`], [`PublishError::Changed`].
    pub async fn upload(
        &self,
        client: &Client,
        mut sent: impl FnMut(&DraftFile),
    ) -> Result<(), PublishError> {
        stream::iter(self.files())
            .map(|file| async move { send(client, file).await.map(|()| file) })
            .buffer_unordered(UPLOADS_AT_ONCE)
            .try_for_each(|file| {
                sent(file);
                std::future::ready(Ok(()))
            })
            .await
    }
}

async fn send(client: &Client, file: &DraftFile) -> Result<(), PublishError> {
    let failed = |source| PublishError::Send { path: file.path.clone(), source };
    let ask = file.entry.len_bytes >= ASK_FIRST_BYTES;
    if ask && client.has_blob(file.entry.hash).await.map_err(failed)? {
        return Ok(());
    }
    let stored = client.upload_file(&file.path).await.map_err(failed)?;
    if stored.hash == file.entry.hash {
        Ok(())
    } else {
        Err(PublishError::Changed { path: file.path.clone() })
    }
}
