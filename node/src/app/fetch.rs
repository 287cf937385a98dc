//! Fetching packages: the manifest by its id, then each file by its hash, from whoever holds them, verified.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use guildhall_core::Event;
use guildhall_protocol::api::KeptFor;
use guildhall_protocol::limits::MANIFEST_MAX_BYTES;
use guildhall_protocol::manifest::{FileEntry, Manifest};
use guildhall_protocol::name::{FileName, OrgName, Reference};
use guildhall_protocol::tree::Shape;
use guildhall_protocol::{Hash, PackageId, PublicKey};
use guildhall_store::{Batch, BlobError, ReadError};
use tracing::warn;

use super::patterns::Patterns;
use super::transfer::{Download, Progress, Watched};
use super::turns::{Turn, Work, awaited};
use super::{App, disk, lock};

/// Largest package that is fetched because a job needs it, bytes: many times what models have that fit a node. What the
/// keeper asks for may be larger.
const JOB_PACKAGE_MAX_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// What fetching a package took.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) manifest: Manifest,
    /// Names of the files that were asked for.
    pub(super) included: Vec<FileName>,
    pub(super) bytes: u64,
    pub(super) files: u64,
    pub(super) reused_bytes: u64,
    pub(super) from: BTreeSet<OrgName>,
    pub(super) took: Duration,
}

impl App {
    /// The manifest of a package that is here.
    pub(super) fn manifest(&self, package: PackageId) -> Result<Option<Manifest>, FetchError> {
        let read = || self.store.read_blob(&package.0, MANIFEST_MAX_BYTES as u64);
        let bytes = match tokio::task::block_in_place(read) {
            Ok(bytes) => bytes,
            Err(BlobError::Missing { .. }) => return Ok(None),
            Err(
                error @ (BlobError::Damaged { .. } | BlobError::Read(ReadError::Corrupt { .. })),
            ) => {
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
        disk::check_room(&self.home.store(), MANIFEST_MAX_BYTES as u64)?;
        let bytes = self.fetch_bytes(package, hints, MANIFEST_MAX_BYTES as u64).await?;
        // Only what is one is kept.
        let manifest = Manifest::open(package, &bytes)
            .map_err(|error| FetchError::Manifest { package, why: error.to_string() })?;
        self.store.put_blob(bytes).await?;
        Ok(manifest)
    }

    /// Gets a package, or the files of it whose names `include` matches. What is here already is not fetched again, so
    /// a fetch that was cut off goes on.
    pub(super) async fn fetch_package(
        self: &Arc<Self>,
        package: PackageId,
        hints: &[PublicKey],
        purpose: Purpose,
        include: &Patterns,
    ) -> Result<Fetched, FetchError> {
        let started = Instant::now();
        let turn = Turn::at(&self.fetching, Work::Package(package));
        let _alone = turn.alone.lock().await;
        let _manifest_stays = self.leases.hold([package.0]);
        let manifest = self.fetch_manifest(package, hints).await?;
        let _files_stay = self.leases.hold(manifest.files.iter().map(|file| file.hash));
        let files: Vec<FileEntry> =
            manifest.files.iter().filter(|file| include.matches(&file.name)).cloned().collect();
        if files.is_empty() && !manifest.files.is_empty() {
            let names = manifest.files.iter().map(|file| file.name.to_string());
            return Err(FetchError::NothingMatches { package, names: names.collect() });
        }
        check_size(package, &files, purpose)?;
        let is_whole = files.len() == manifest.files.len();
        let trusting = self.is_trusting(package, purpose);
        let missing = self.missing_files(&files, trusting)?;
        let included = files.iter().map(|file| file.name.clone()).collect();
        let mut fetched = Fetched {
            manifest,
            included,
            bytes: 0,
            files: missing.len() as u64,
            reused_bytes: 0,
            from: BTreeSet::new(),
            took: Duration::ZERO,
        };
        if missing.is_empty() && self.core().holds(&package) {
            self.touch(package, purpose).await?;
            return Ok(fetched);
        }
        let fetching = self.fetch_missing(package, hints, &files, missing, purpose);
        let (batch, progress) = match purpose {
            // Whoever needs it now goes on from what a copy has so far.
            Purpose::Replica => tokio::select! {
                fetched = fetching => fetched?,
                () = awaited(std::slice::from_ref(&turn)) => return Err(FetchError::GaveWay { package }),
            },
            Purpose::Keeper | Purpose::Job => fetching.await?,
        };
        if is_whole {
            let reason = purpose.kept_for();
            self.hold_package(batch, package, &fetched.manifest, reason).await?;
        } else {
            self.store.commit(batch).await?;
        }
        fetched.bytes = progress.received_bytes();
        fetched.reused_bytes = progress.reused_bytes();
        fetched.from = progress.orgs().collect();
        fetched.took = started.elapsed();
        Ok(fetched)
    }

    /// Gets some files of a package.
    pub(super) async fn fetch_files(
        self: &Arc<Self>,
        package: PackageId,
        files: &[FileEntry],
        hints: &[PublicKey],
        purpose: Purpose,
    ) -> Result<(), FetchError> {
        let turn = Turn::at(&self.fetching, Work::Package(package));
        let _alone = turn.alone.lock().await;
        let _files_stay = self.leases.hold(files.iter().map(|file| file.hash));
        check_size(package, files, purpose)?;
        let trusting = self.is_trusting(package, purpose);
        let missing = self.missing_files(files, trusting)?;
        let (batch, _) = self.fetch_missing(package, hints, files, missing, purpose).await?;
        Ok(self.store.commit(batch).await?)
    }

    /// Gets files and returns those that are not committed yet.
    async fn fetch_missing(
        self: &Arc<Self>,
        package: PackageId,
        hints: &[PublicKey],
        files: &[FileEntry],
        missing: Vec<FileEntry>,
        purpose: Purpose,
    ) -> Result<(Batch, Arc<Progress>), FetchError> {
        let partials = self.store.partials()?.into_iter();
        let saved: BTreeMap<Hash, u64> =
            partials.map(|partial| (partial.hash, partial.saved_bytes)).collect();
        let here_bytes = |file: &FileEntry| saved.get(&file.hash).copied().unwrap_or(0);
        let saved_bytes = missing.iter().map(here_bytes).fold(0, u64::saturating_add);
        disk::check_room(&self.home.store(), len_of(&missing).saturating_sub(saved_bytes))?;
        let total = (files.len() as u64, len_of(files));
        let here = (
            total.0.saturating_sub(missing.len() as u64),
            total.1.saturating_sub(len_of(&missing)),
        );
        let progress = Arc::new(Progress::new(package, total, here));
        if missing.is_empty() {
            return Ok((Batch::new(), progress));
        }
        // A large file may belong to another package that is being fetched.
        let large = missing.iter().filter(|file| Shape::of(file.len_bytes).pieces() > 1);
        let large: BTreeSet<Hash> = large.map(|file| file.hash).collect();
        let turns: Vec<Turn<'_>> =
            large.into_iter().map(|hash| Turn::at(&self.fetching, Work::File(hash))).collect();
        let mut alone = Vec::with_capacity(turns.len());
        let mut has_waited = false;
        for turn in &turns {
            match turn.alone.try_lock() {
                Ok(locked) => alone.push(locked),
                Err(_) if purpose == Purpose::Replica => {
                    return Err(FetchError::GaveWay { package });
                }
                Err(_) => {
                    alone.push(turn.alone.lock().await);
                    has_waited = true;
                }
            }
        }
        // Whoever was waited for may have fetched it.
        let missing = if has_waited { self.missing_files(&missing, true)? } else { missing };
        let _watched = Watched::add(&self.transfers, package, &progress);
        let bases = self.other_versions(package)?;
        let base_of = |file: &FileEntry| bases.get(&file.name).copied();
        let download = Download::new(self, package, &missing, Arc::clone(&progress), base_of)?;
        let batch = match purpose {
            Purpose::Replica => tokio::select! {
                fetched = download.run(hints) => fetched?,
                () = awaited(&turns) => {
                    return Err(FetchError::GaveWay { package });
                }
            },
            Purpose::Keeper | Purpose::Job => download.run(hints).await?,
        };
        Ok((batch, progress))
    }

    /// Files of another version of a package that is here, by their names: what a new version may share bytes with.
    fn other_versions(&self, package: PackageId) -> Result<BTreeMap<FileName, Hash>, FetchError> {
        let nearest = {
            let core = self.core();
            let named = core.catalog().of_package(package).next();
            let Some(Reference::Named { org, name, .. }) =
                named.and_then(|brief| brief.reference())
            else {
                return Ok(BTreeMap::new());
            };
            let others = core.catalog().versions(&org, &name);
            let mut others = others.map(|brief| brief.package());
            others.find(|other| *other != package && core.holds(other))
        };
        let Some(nearest) = nearest else { return Ok(BTreeMap::new()) };
        let files = self.manifest(nearest)?.map(|manifest| manifest.files).unwrap_or_default();
        Ok(files.into_iter().map(|file| (file.name, file.hash)).collect())
    }

    /// Whether what was hashed since the start counts as good. Asking ends the doubt, because the answer has everything
    /// hashed.
    fn is_trusting(&self, package: PackageId, purpose: Purpose) -> bool {
        let doubted = lock(&self.doubted).remove(&package);
        purpose == Purpose::Job && !doubted
    }

    /// Those of these files that are not here in full. One may stand under several names.
    fn missing_files(
        &self,
        files: &[FileEntry],
        trusting: bool,
    ) -> Result<Vec<FileEntry>, FetchError> {
        let mut seen = BTreeSet::new();
        let mut missing = Vec::new();
        let hashes: Vec<Hash> = files.iter().map(|file| file.hash).collect();
        let here = self.store.have_blobs(&hashes)?;
        for (file, is_here) in files.iter().zip(here) {
            if !seen.insert((file.hash, file.len_bytes)) {
                continue;
            }
            if !is_here {
                missing.push(file.clone());
                continue;
            }
            let known = trusting && lock(&self.checked).contains(&file.hash);
            let good = match known {
                // Its bytes were hashed since the start; whether the file is there in its length costs nothing.
                true => match tokio::task::block_in_place(|| self.store.probe_blob(&file.hash)) {
                    Ok(len_bytes) => len_bytes == file.len_bytes,
                    // Storage that does not answer has not lost it.
                    Err(error) if error.remote_fault().is_some() => return Err(error.into()),
                    Err(_) => false,
                },
                false => self.has_good_blob(&file.hash, file.len_bytes)?,
            };
            if !good {
                missing.push(file.clone());
            }
        }
        Ok(missing)
    }

    /// Whether a blob is here byte for byte. A damaged one is fetched again, and the good one takes its place.
    fn has_good_blob(&self, hash: &Hash, len_bytes: u64) -> Result<bool, FetchError> {
        match self.store.blob_len(hash) {
            Ok(Some(found_bytes)) if found_bytes == len_bytes => {}
            Ok(_) | Err(ReadError::Corrupt { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        match tokio::task::block_in_place(|| self.store.verify_blob(hash)) {
            Ok(()) => {
                lock(&self.checked).insert(*hash);
                Ok(true)
            }
            Err(
                error @ (BlobError::Damaged { .. }
                | BlobError::Missing { .. }
                | BlobError::Read(ReadError::Corrupt { .. })),
            ) => {
                warn!(%error, "a damaged file is fetched again");
                lock(&self.checked).remove(hash);
                self.keep_good_parts(hash, len_bytes);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A large file that is damaged becomes one of which the good parts are here.
    fn keep_good_parts(&self, hash: &Hash, len_bytes: u64) {
        if Shape::of(len_bytes).pieces() < 2 {
            return;
        }
        let repaired = tokio::task::block_in_place(|| self.store.repair(hash));
        if let Err(error) = repaired {
            warn!(%error, "all of a damaged file is fetched again");
        }
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

    /// Gets one file of a package.
    pub(super) async fn fetch_file(
        self: &Arc<Self>,
        package: PackageId,
        file: &FileEntry,
    ) -> Result<(), FetchError> {
        self.fetch_files(package, std::slice::from_ref(file), &[], Purpose::Job).await
    }

    /// Takes the complete packages of the store into what is shared; at the start.
    pub(super) fn load_packages(&self) -> Vec<PackageId> {
        let packages = self.store.packages().unwrap_or_else(|error| {
            warn!(%error, "the packages are not listed");
            Vec::new()
        });
        let mut held = Vec::new();
        // Each manifest is read in a blocking section of its own.
        for package in packages {
            match self.manifest(package) {
                Ok(Some(manifest)) => {
                    let mut shared = lock(&self.shared_blobs);
                    shared.insert(package.0);
                    shared.extend(manifest.files.iter().map(|file| file.hash));
                    held.push(package);
                }
                Ok(None) => {
                    warn!(%package, "its manifest is missing; it is fetched again when needed")
                }
                Err(error) => warn!(%error, %package, "its manifest is damaged"),
            }
        }
        held
    }

    /// Makes sure that a package is here in full and undamaged, fetching what is not. What an executor does before a
    /// job. Every file is hashed once after a start, and again only when its package is [doubted](Self::doubt).
    pub(super) async fn complete_package(
        self: &Arc<Self>,
        package: PackageId,
        hints: &[PublicKey],
    ) -> Result<Manifest, FetchError> {
        let fetched = self.fetch_package(package, hints, Purpose::Job, &Patterns::default()).await;
        fetched.map(|fetched| fetched.manifest)
    }

    /// Has the files of a package hashed again before its next job, because one was not what it should be.
    pub(super) fn doubt(&self, package: &PackageId) {
        lock(&self.doubted).insert(*package);
    }

    /// Whether a package is to be hashed again.
    pub(super) fn is_doubted(&self, package: &PackageId) -> bool {
        lock(&self.doubted).contains(package)
    }
}

/// What something is fetched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The keeper of this node asks for it: of any size, and every byte of it is hashed.
    Keeper,
    /// A job of a member, perhaps of this one.
    Job,
    /// A copy for the federation.
    Replica,
}

impl Purpose {
    /// Why a package that was fetched for this is kept.
    pub(super) const fn kept_for(self) -> KeptFor {
        match self {
            Self::Keeper | Self::Job => KeptFor::Cached,
            Self::Replica => KeptFor::Replica,
        }
    }
}

fn len_of(files: &[FileEntry]) -> u64 {
    files.iter().map(|file| file.len_bytes).fold(0, u64::saturating_add)
}

/// Refuses what a member may not make this node fetch.
fn check_size(package: PackageId, files: &[FileEntry], purpose: Purpose) -> Result<(), FetchError> {
    match len_of(files) {
        len_bytes if purpose == Purpose::Job && len_bytes > JOB_PACKAGE_MAX_BYTES => {
            Err(FetchError::TooLarge { package, len_bytes })
        }
        _ => Ok(()),
    }
}

/// Why a package could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no reachable node has {hash}{}", list(tried, *away))]
    NoHolder {
        hash: Hash,
        tried: Vec<String>,
        /// Nodes that may have it and are not connected.
        away: usize,
    },
    #[error(
        "{package} has {len_bytes} bytes; for a job at most {JOB_PACKAGE_MAX_BYTES} are fetched"
    )]
    TooLarge { package: PackageId, len_bytes: u64 },
    #[error(transparent)]
    Full(#[from] disk::Full),
    #[error("no file of {package} has such a name; it has {}", some(names))]
    NothingMatches { package: PackageId, names: Vec<String> },
    #[error("the copy of {package} gives way to a fetch that somebody waits for")]
    GaveWay { package: PackageId },
    #[error("the manifest of {package} is not usable: {why}")]
    Manifest { package: PackageId, why: String },
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Read(#[from] guildhall_store::ReadError),
    #[error(transparent)]
    Write(#[from] guildhall_store::WriteError),
}

/// Names that help, not all of 65,536.
const NAMES_SHOWN: usize = 8;

fn some(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl FetchError {
    /// Whether room on the disk is what is missing.
    pub(super) fn is_no_space(&self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::Blob(error) => error.is_no_space(),
            Self::Write(error) => error.is_no_space(),
            _ => false,
        }
    }
}

fn list(tried: &[String], away: usize) -> String {
    let away = (away > 0).then(|| format!("{away} known holders are not connected"));
    let why: Vec<&str> = tried.iter().map(String::as_str).chain(away.as_deref()).collect();
    if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_cannot_make_a_node_fetch_a_package_of_any_size_and_its_keeper_can() {
        let file = |len_bytes| FileEntry {
            name: "a".parse().unwrap(),
            hash: Hash::of(b"a"),
            len_bytes,
            media_type: String::new(),
        };
        let package = PackageId(Hash::of(b"package"));
        let most = [file(JOB_PACKAGE_MAX_BYTES - 1), file(1)];
        assert!(check_size(package, &most, Purpose::Job).is_ok());
        for more in [[file(JOB_PACKAGE_MAX_BYTES), file(1)], [file(u64::MAX), file(1)]] {
            assert!(matches!(
                check_size(package, &more, Purpose::Job),
                Err(FetchError::TooLarge { .. })
            ));
            assert!(check_size(package, &more, Purpose::Keeper).is_ok());
        }
    }

    #[test]
    fn an_error_says_who_was_asked_and_how_many_could_not_be() {
        let error = |tried: &[&str], away| {
            let tried = tried.iter().map(|text| (*text).to_owned()).collect();
            FetchError::NoHolder { hash: Hash::of(b"x"), tried, away }.to_string()
        };
        assert!(error(&[], 0).ends_with(&Hash::of(b"x").to_string()));
        let said = error(&["lab-a does not have it"], 2);
        assert!(
            said.ends_with(" (lab-a does not have it; 2 known holders are not connected)"),
            "{said}"
        );
    }
}
