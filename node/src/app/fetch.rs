//! Fetching packages: the manifest by its id, then each file by its hash, from whoever holds them, verified.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guildhall_core::{Event, package_key};
use guildhall_overlay::{Stream, StreamKind, peer_id_string};
use guildhall_protocol::limits::MANIFEST_MAX_BYTES;
use guildhall_protocol::manifest::{FileEntry, Manifest};
use guildhall_protocol::name::OrgName;
use guildhall_protocol::wire::{BlobReply, BlobRequest};
use guildhall_protocol::{Hash, PackageId, PublicKey};
use guildhall_store::{Batch, BlobError, StagedBlob};
use tokio::io::AsyncReadExt as _;
use tracing::{debug, warn};

use super::frames::{self, FrameError};
use super::{App, lock};

/// Holders that are tried for one package, best first.
const HOLDERS_MAX: usize = 8;

/// Blobs that are synced to disk before one commit names them all: a commit costs about a millisecond.
const BLOBS_PER_COMMIT: usize = 64;

/// Bytes of them: what a node that dies in the middle of a fetch has to fetch again, besides the blob it was at.
const BYTES_PER_COMMIT: u64 = 8 * 1024 * 1024;

/// How long a holder may send nothing before the next one is tried.
const STALL_MAX: Duration = Duration::from_secs(10);

/// Bytes that are read from a stream at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// What fetching a package took.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) manifest: Manifest,
    pub(super) bytes: u64,
    pub(super) files: u64,
    pub(super) from: BTreeSet<OrgName>,
    pub(super) took: Duration,
}

/// A holder with the stream to it, opened when first needed.
struct Holder {
    peer: PublicKey,
    org: OrgName,
    stream: Option<Stream>,
}

impl App {
    /// The manifest of a package that is here.
    pub(super) fn manifest(&self, package: PackageId) -> Result<Option<Manifest>, FetchError> {
        if !self.store.has_blob(&package.0)? {
            return Ok(None);
        }
        let bytes = match self.store.read_blob(&package.0, MANIFEST_MAX_BYTES as u64) {
            Ok(bytes) => bytes,
            Err(error @ (BlobError::Damaged { .. } | BlobError::Missing { .. })) => {
                warn!(%error, %package, "a damaged manifest counts as not here");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        Manifest::open(package, &bytes)
            .map(Some)
            .map_err(|error| FetchError::Manifest { package, why: error.to_string() })
    }

    /// Gets a package's manifest, from here or from a holder.
    pub(super) async fn fetch_manifest(
        self: &Arc<Self>,
        package: PackageId,
        hints: &[PublicKey],
    ) -> Result<Manifest, FetchError> {
        if let Some(manifest) = self.manifest(package)? {
            return Ok(manifest);
        }
        let mut holders = self.holders(package, hints).await;
        let (staged, _) = self.fetch_blob(&mut holders, package.0, None).await?;
        let mut batch = Batch::new();
        batch.add_blob(staged);
        self.store.commit(batch).await?;
        self.manifest(package)?.ok_or(FetchError::NoHolder { hash: package.0, tried: Vec::new() })
    }

    /// Gets a whole package. What is here already is not fetched again, so a fetch that was cut off goes on.
    pub(super) async fn fetch_package(
        self: &Arc<Self>,
        package: PackageId,
        hints: &[PublicKey],
    ) -> Result<Fetched, FetchError> {
        let started = Instant::now();
        let alone = Arc::clone(lock(&self.fetching).entry(package).or_default());
        let _alone = alone.lock().await;
        let fetched = self.fetch_missing(package, hints, started).await;
        lock(&self.fetching).remove(&package);
        fetched
    }

    async fn fetch_missing(
        self: &Arc<Self>,
        package: PackageId,
        hints: &[PublicKey],
        started: Instant,
    ) -> Result<Fetched, FetchError> {
        let manifest = self.fetch_manifest(package, hints).await?;
        let mut fetched =
            Fetched { manifest, bytes: 0, files: 0, from: BTreeSet::new(), took: Duration::ZERO };
        let mut holders = Vec::new();
        let mut batch = Batch::new();
        let (mut staged, mut staged_bytes) = (0, 0);
        // One file may stand under several names.
        let mut wanted = BTreeSet::new();
        for file in &fetched.manifest.files {
            if !wanted.insert(file.hash) || self.has_good_blob(&file.hash, file.len_bytes)? {
                continue;
            }
            if holders.is_empty() {
                holders = self.holders(package, hints).await;
            }
            let (blob, org) = self.fetch_blob(&mut holders, file.hash, Some(file.len_bytes)).await?;
            fetched.bytes += blob.len_bytes();
            staged_bytes += blob.len_bytes();
            fetched.files += 1;
            fetched.from.insert(org);
            batch.add_blob(blob);
            staged += 1;
            if staged == BLOBS_PER_COMMIT || staged_bytes >= BYTES_PER_COMMIT {
                self.store.commit(std::mem::take(&mut batch)).await?;
                (staged, staged_bytes) = (0, 0);
            }
        }
        batch.put_package(package, Vec::new());
        self.store.commit(batch).await?;
        self.share(package, &fetched.manifest).await;
        fetched.took = started.elapsed();
        Ok(fetched)
    }

    /// Whether a blob is here byte for byte. A damaged one is fetched again, and the good one takes its place.
    fn has_good_blob(&self, hash: &Hash, len_bytes: u64) -> Result<bool, FetchError> {
        if self.store.blob_len(hash)? != Some(len_bytes) {
            return Ok(false);
        }
        match tokio::task::block_in_place(|| self.store.verify_blob(hash)) {
            Ok(()) => Ok(true),
            Err(error @ (BlobError::Damaged { .. } | BlobError::Missing { .. })) => {
                warn!(%error, "a damaged file is fetched again");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Drops the damaged files of a package, so that they are fetched again; returns how many there were.
    async fn forget_damaged(self: &Arc<Self>, manifest: &Manifest) -> Result<usize, FetchError> {
        let (app, files) = (Arc::clone(self), manifest.files.clone());
        // Hashing a large package takes seconds, which is too long for a thread that serves others.
        let checked = tokio::task::spawn_blocking(move || {
            let damaged = |file: &FileEntry| {
                matches!(
                    app.store.verify_blob(&file.hash),
                    Err(BlobError::Damaged { .. } | BlobError::Missing { .. })
                )
            };
            files.into_iter().filter(damaged).collect::<Vec<_>>()
        });
        let damaged = checked.await.map_err(|error| FetchError::Check(error.to_string()))?;
        if damaged.is_empty() {
            return Ok(0);
        }
        let mut batch = Batch::new();
        for file in &damaged {
            warn!(file = file.name.as_str(), "a damaged file is dropped, to be fetched again");
            batch.forget_blob(file.hash);
        }
        self.store.commit(batch).await?;
        Ok(damaged.len())
    }

    /// A complete package counts from here on: members may fetch it, and the DHT hears of it.
    pub(super) async fn share(self: &Arc<Self>, package: PackageId, manifest: &Manifest) {
        {
            let mut shared = lock(&self.shared_blobs);
            shared.insert(package.0);
            shared.extend(manifest.files.iter().map(|file| file.hash));
        }
        self.post(Event::PackageHeld(package)).await;
    }

    /// Members' nodes that may hold a package: those that were named, the producer's, and those in the DHT.
    async fn holders(&self, package: PackageId, hints: &[PublicKey]) -> Vec<Holder> {
        let key = package_key(self.core().federation().id(), package);
        let found = self.providers(&[key]).await;
        let core = self.core();
        let me = core.identity().node.public();
        let producers: Vec<PublicKey> = core
            .catalog()
            .of_package(package)
            .flat_map(|shown| {
                let root = shown.entry.root;
                core.nodes().filter(move |(_, view)| view.root == root).map(|(node, _)| *node)
            })
            .collect();
        let mut seen = BTreeSet::from([me]);
        let named = found.iter().chain(hints).chain(&producers).copied();
        let holders = named.filter(|peer| seen.insert(*peer)).filter_map(|peer| {
            let org = core.authority(&peer).map(|authority| authority.org.clone())?;
            Some(Holder { peer, org, stream: None })
        });
        holders.take(HOLDERS_MAX).collect()
    }

    /// Gets one blob from the first holder that has it and tells the truth.
    async fn fetch_blob(
        &self,
        holders: &mut Vec<Holder>,
        hash: Hash,
        len_bytes: Option<u64>,
    ) -> Result<(StagedBlob, OrgName), FetchError> {
        let mut tried = Vec::new();
        let mut at = 0;
        while let Some(holder) = holders.get_mut(at) {
            match self.fetch_from(holder, hash, len_bytes).await {
                Ok(Some(blob)) => return Ok((blob, holder.org.clone())),
                Ok(None) => {
                    tried.push(format!("{} does not have it", holder.org));
                    at += 1;
                }
                Err(SourceError::Here(error)) => return Err(error.into()),
                Err(SourceError::There(why)) => {
                    warn!(peer = peer_id_string(&holder.peer), why, "a holder is given up");
                    tried.push(format!("{}: {why}", holder.org));
                    holders.remove(at);
                }
            }
        }
        Err(FetchError::NoHolder { hash, tried })
    }

    async fn fetch_from(
        &self,
        holder: &mut Holder,
        hash: Hash,
        len_bytes: Option<u64>,
    ) -> Result<Option<StagedBlob>, SourceError> {
        let there = |why: String| SourceError::There(why);
        let mut stream = match holder.stream.take() {
            Some(stream) => stream,
            None => self
                .overlay
                .open_stream(holder.peer, StreamKind::Blob)
                .await
                .map_err(|error| there(error.to_string()))?,
        };
        frames::send(&mut stream, &BlobRequest { hash }).await?;
        let reply = tokio::time::timeout(STALL_MAX, frames::receive::<BlobReply>(&mut stream));
        let found_bytes = match reply.await.map_err(|_| there("it does not answer".to_owned()))?? {
            Some(BlobReply::Found { len_bytes }) => len_bytes,
            Some(BlobReply::Missing) => {
                holder.stream = Some(stream);
                return Ok(None);
            }
            None => return Err(there("it closed the stream".to_owned())),
        };
        let max_bytes = len_bytes.unwrap_or(MANIFEST_MAX_BYTES as u64);
        if len_bytes.is_some_and(|len| len != found_bytes) || found_bytes > max_bytes {
            return Err(there(format!("it announces {found_bytes} bytes, not {max_bytes}")));
        }
        let mut writer = self.store.blob_writer(Some(hash), found_bytes)?;
        let mut left = found_bytes;
        let mut chunk = vec![0; CHUNK_BYTES];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let Some(into) = chunk.get_mut(..most) else { break };
            let read = tokio::time::timeout(STALL_MAX, stream.read(into)).await;
            let read = read.map_err(|_| there("it stalls".to_owned()))?.map_err(FrameError::from)?;
            if read == 0 {
                return Err(there(format!("it stopped {left} bytes before the end")));
            }
            writer.write_all(chunk.get(..read).unwrap_or_default())?;
            left -= read as u64;
        }
        let staged = tokio::task::block_in_place(|| writer.finish());
        match staged {
            Err(BlobError::HashMismatch { .. }) => {
                Err(there("what it sends is not what was asked for".to_owned()))
            }
            staged => {
                holder.stream = Some(stream);
                debug!(%hash, found_bytes, "fetched");
                Ok(Some(staged?))
            }
        }
    }

    /// Gets one file of a package.
    pub(super) async fn fetch_file(
        &self,
        package: PackageId,
        file: &FileEntry,
    ) -> Result<(), FetchError> {
        if !self.has_good_blob(&file.hash, file.len_bytes)? {
            let mut holders = self.holders(package, &[]).await;
            let (blob, _) = self.fetch_blob(&mut holders, file.hash, Some(file.len_bytes)).await?;
            let mut batch = Batch::new();
            batch.add_blob(blob);
            self.store.commit(batch).await?;
        }
        Ok(())
    }

    /// Takes the complete packages of the store into what is shared; at the start.
    pub(super) fn load_packages(&self) -> Vec<PackageId> {
        let packages = self.store.packages().unwrap_or_else(|error| {
            warn!(%error, "the packages are not listed");
            Vec::new()
        });
        let mut held = Vec::new();
        for package in packages {
            match self.manifest(package) {
                Ok(Some(manifest)) => {
                    let mut shared = lock(&self.shared_blobs);
                    shared.insert(package.0);
                    shared.extend(manifest.files.iter().map(|file| file.hash));
                    held.push(package);
                }
                Ok(None) => warn!(%package, "its manifest is missing; it is fetched again when needed"),
                Err(error) => warn!(%error, %package, "its manifest is damaged"),
            }
        }
        held
    }

    /// Makes sure that a package is here in full and undamaged, fetching what is not. What an executor does before a
    /// job.
    pub(super) async fn complete_package(
        self: &Arc<Self>,
        package: PackageId,
        hints: &[PublicKey],
    ) -> Result<Manifest, FetchError> {
        let held = self.core().holds(&package);
        if held
            && let Some(manifest) = self.manifest(package)?
            && self.forget_damaged(&manifest).await? == 0
        {
            return Ok(manifest);
        }
        self.fetch_package(package, hints).await.map(|fetched| fetched.manifest)
    }
}

enum SourceError {
    /// The holder's fault: try the next.
    There(String),
    /// Ours: no other holder helps.
    Here(BlobError),
}

impl From<FrameError> for SourceError {
    fn from(error: FrameError) -> Self {
        Self::There(error.to_string())
    }
}

impl From<BlobError> for SourceError {
    fn from(error: BlobError) -> Self {
        Self::Here(error)
    }
}

/// Why a package could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no reachable node has {hash}{}", list(tried))]
    NoHolder { hash: Hash, tried: Vec<String> },
    #[error("the manifest of {package} is not usable: {why}")]
    Manifest { package: PackageId, why: String },
    #[error("the package's files were not checked: {0}")]
    Check(String),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Read(#[from] guildhall_store::ReadError),
    #[error(transparent)]
    Write(#[from] guildhall_store::WriteError),
}

fn list(tried: &[String]) -> String {
    if tried.is_empty() { String::new() } else { format!(" ({})", tried.join("; ")) }
}
