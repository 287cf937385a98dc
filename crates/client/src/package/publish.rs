//! The part of publishing that needs a node: looking up what the package names, and bringing it its files.
//!
//! The node is asked first which files it has. Of the others, small ones travel many in one request, large ones each in
//! a stream of its own; or, where the node's store is on this machine, a large file is copied into the store's folder
//! for incoming files, which a file system that can share blocks does without reading it. Whatever way it took, the
//! node's answer must be the hash that the manifest has.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use guildhall_protocol::Hash;
use guildhall_protocol::limits::BLOB_QUERY_MAX;
use guildhall_protocol::name::{OrgName, Reference};

use super::draft::{Draft, DraftFile};
use super::error::PackageError;
use super::incoming::Incoming;
use crate::client::Client;
use crate::error::Error;

/// Requests under way at once: enough to hide a round trip each, few enough for a node with several clients.
const UPLOADS_AT_ONCE: usize = 8;

/// Files up to this length travel together, bytes: for longer ones a request of their own costs nothing that shows.
const SMALL_MAX_BYTES: u64 = 256 * 1024;

/// Longest body with many small files, bytes. What a node takes is 16 MiB; half of it keeps the bar moving.
const BATCH_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Most small files in one body.
const BATCH_MAX_FILES: usize = 1024;

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
    /// The node does not say what it has.
    #[error("the node does not say which files it has")]
    Known(#[source] Error),
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

/// Gets the number of further bytes that are at the node, from several tasks.
pub type OnSent = Arc<dyn Fn(u64) + Send + Sync>;

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

    /// The contents that `client`'s node has already.
    ///
    /// # Errors
    /// [`PublishError::Known`].
    pub async fn known(&self, client: &Client) -> Result<BTreeSet<Hash>, PublishError> {
        let wanted: BTreeSet<Hash> = self.files().iter().map(|file| file.entry.hash).collect();
        let wanted: Vec<Hash> = wanted.into_iter().collect();
        let mut known = BTreeSet::new();
        for hashes in wanted.chunks(BLOB_QUERY_MAX) {
            match client.blobs_known(hashes.to_vec()).await {
                Ok(some) => known.extend(some),
                // An older node cannot be asked; it is sent everything.
                Err(error) if is_unknown_route(&error) => break,
                Err(error) => return Err(PublishError::Known(error)),
            }
        }
        Ok(known)
    }

    /// Sends the files to `client`'s node that it does not have. `sent` gets each file when it is there.
    ///
    /// # Errors
    /// [`PublishError::Known`], [`PublishError::Send`], [`PublishError::Changed`].
    pub async fn upload(
        &self,
        client: &Client,
        mut sent: impl FnMut(&DraftFile),
    ) -> Result<(), PublishError> {
        let known = self.known(client).await?;
        for file in self.files().iter().filter(|file| known.contains(&file.entry.hash)) {
            sent(file);
        }
        self.send(client, &known, None, &(Arc::new(|_| {}) as OnSent), sent).await
    }

    /// Sends the files that are not `known`; large ones by way of `incoming`, if the node's store is at hand. `bytes`
    /// is told how far it is, and `sent` gets each file when it is there. The same content is sent once.
    ///
    /// # Errors
    /// [`PublishError::Send`], [`PublishError::Changed`].
    pub async fn send(
        &self,
        client: &Client,
        known: &BTreeSet<Hash>,
        incoming: Option<&Incoming>,
        bytes: &OnSent,
        mut sent: impl FnMut(&DraftFile),
    ) -> Result<(), PublishError> {
        let parcels = parcels(self.files(), known);
        let mut under_way = stream::iter(parcels)
            .map(|files| parcel(client, files, incoming, bytes))
            .buffer_unordered(UPLOADS_AT_ONCE);
        while let Some(parcel) = under_way.try_next().await? {
            parcel.into_iter().for_each(&mut sent);
        }
        Ok(())
    }
}

/// What is sent together: each content once, large files alone, small ones up to the bounds of a batch.
fn parcels<'a>(files: &'a [DraftFile], known: &BTreeSet<Hash>) -> Vec<Vec<&'a DraftFile>> {
    let mut seen = known.clone();
    let mut parcels = Vec::new();
    let mut open: Vec<&DraftFile> = Vec::new();
    let mut open_bytes = 0;
    for file in files.iter().filter(|file| seen.insert(file.entry.hash)) {
        let len_bytes = file.entry.len_bytes;
        if len_bytes > SMALL_MAX_BYTES {
            parcels.push(vec![file]);
            continue;
        }
        if open_bytes + len_bytes > BATCH_MAX_BYTES || open.len() == BATCH_MAX_FILES {
            parcels.push(std::mem::take(&mut open));
            open_bytes = 0;
        }
        open.push(file);
        open_bytes += len_bytes;
    }
    if !open.is_empty() {
        parcels.push(open);
    }
    parcels
}

async fn parcel<'a>(
    client: &Client,
    files: Vec<&'a DraftFile>,
    incoming: Option<&Incoming>,
    seen: &OnSent,
) -> Result<Vec<&'a DraftFile>, PublishError> {
    match files.as_slice() {
        [one] => one_file(client, one, incoming, seen).await?,
        many => batch(client, many, seen).await?,
    }
    Ok(files)
}

async fn batch(client: &Client, files: &[&DraftFile], seen: &OnSent) -> Result<(), PublishError> {
    let mut blobs = Vec::new();
    for file in files {
        let read = tokio::fs::read(&file.path).await;
        let blob = read.map_err(|source| {
            let source = Error::File { path: file.path.clone(), source };
            PublishError::Send { path: file.path.clone(), source }
        })?;
        // One that grew could be longer than what a node takes.
        if blob.len() as u64 != file.entry.len_bytes {
            return Err(PublishError::Changed { path: file.path.clone() });
        }
        blobs.push(blob);
    }
    let stored = match client.upload_batch(&blobs).await {
        Ok(stored) => stored,
        // An older node has no such route, another may take shorter blobs only.
        Err(error) if is_unknown_route(&error) || is_status(&error, &[400, 413]) => {
            drop(blobs);
            for file in files {
                one_file(client, file, None, seen).await?;
            }
            return Ok(());
        }
        Err(source) => {
            let path = files.first().map(|file| file.path.clone()).unwrap_or_default();
            return Err(PublishError::Send { path, source });
        }
    };
    for (file, stored) in files.iter().zip(stored) {
        if stored.hash != file.entry.hash {
            return Err(PublishError::Changed { path: file.path.clone() });
        }
        seen(file.entry.len_bytes);
    }
    Ok(())
}

async fn one_file(
    client: &Client,
    file: &DraftFile,
    incoming: Option<&Incoming>,
    seen: &OnSent,
) -> Result<(), PublishError> {
    if let Some(incoming) = incoming.filter(|_| file.entry.len_bytes > SMALL_MAX_BYTES)
        && incoming.give(client, file).await
    {
        seen(file.entry.len_bytes);
        return Ok(());
    }
    let failed = |source| PublishError::Send { path: file.path.clone(), source };
    let counted = Arc::clone(seen);
    let stored = client.upload_file_seen(&file.path, move |bytes| counted(bytes));
    if stored.await.map_err(failed)?.hash == file.entry.hash {
        Ok(())
    } else {
        Err(PublishError::Changed { path: file.path.clone() })
    }
}

/// Whether the node is one that does not have the route.
fn is_unknown_route(error: &Error) -> bool {
    is_status(error, &[404, 405])
}

fn is_status(error: &Error, any: &[u16]) -> bool {
    matches!(error, Error::Status { status } | Error::Api { status, .. } if any.contains(status))
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::manifest::FileEntry;

    use super::*;

    fn file(name: &str, len_bytes: u64, content: &str) -> DraftFile {
        let entry = FileEntry {
            name: name.parse().unwrap(),
            len_bytes,
            hash: Hash::of(content.as_bytes()),
            media_type: String::new(),
        };
        DraftFile { path: name.into(), entry }
    }

    #[test]
    fn small_files_travel_together_large_ones_alone_and_known_ones_not_at_all() {
        let mut files = vec![
            file("big", SMALL_MAX_BYTES + 1, "big"),
            file("known", 1, "known"),
            file("same-1", 1, "same"),
            file("same-2", 1, "same"),
        ];
        files.extend((0..2_000).map(|at| file(&format!("f{at}"), 10, &at.to_string())));
        let parcels = parcels(&files, &BTreeSet::from([Hash::of(b"known")]));
        let lens: Vec<_> = parcels.iter().map(Vec::len).collect();
        assert_eq!(lens, [1, BATCH_MAX_FILES, 2_001 - BATCH_MAX_FILES]);
    }

    #[test]
    fn no_batch_is_longer_than_a_node_takes() {
        let files: Vec<_> =
            (0..100).map(|at| file(&format!("f{at}"), SMALL_MAX_BYTES, &at.to_string())).collect();
        let parcels = parcels(&files, &BTreeSet::new());
        assert_eq!(parcels.iter().map(Vec::len).sum::<usize>(), 100);
        for parcel in parcels {
            let bytes: u64 = parcel.iter().map(|file| file.entry.len_bytes).sum();
            assert!(bytes <= BATCH_MAX_BYTES);
        }
    }
}
