//! How far a download is, for people who watch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use guildhall_overlay::peer_id_string;
use guildhall_protocol::api::{Transfer, TransferSource};
use guildhall_protocol::name::OrgName;
use guildhall_protocol::{PackageId, PublicKey};

use crate::app::lock;

/// Downloads under way. Two may be of one package, one after the other for files of it.
pub(in crate::app) type Transfers = Mutex<BTreeMap<PackageId, Arc<Progress>>>;

/// Counts of one download.
#[derive(Debug)]
pub(in crate::app) struct Progress {
    package: PackageId,
    total_bytes: u64,
    total_files: u64,
    done_bytes: AtomicU64,
    done_files: AtomicU64,
    reused_bytes: AtomicU64,
    sources: Mutex<BTreeMap<PublicKey, Source>>,
}

#[derive(Clone, Debug)]
struct Source {
    org: OrgName,
    bytes: u64,
    gave_up: Option<String>,
}

impl Progress {
    /// Of the files that were asked for, some may be here: `done_bytes` and `done_files`.
    pub(in crate::app) fn new(
        package: PackageId,
        (total_files, total_bytes): (u64, u64),
        (done_files, done_bytes): (u64, u64),
    ) -> Self {
        Self {
            package,
            total_bytes,
            total_files,
            done_bytes: AtomicU64::new(done_bytes),
            done_files: AtomicU64::new(done_files),
            reused_bytes: AtomicU64::new(0),
            sources: Mutex::default(),
        }
    }

    /// Bytes that are whole and checked now.
    pub(super) fn add_done(&self, bytes: u64) {
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A file that is whole now.
    pub(super) fn add_file(&self) {
        self.done_files.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes that were taken from another version of a file.
    pub(super) fn add_reused(&self, bytes: u64) {
        self.reused_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of content that a holder sent.
    pub(super) fn add_received(&self, peer: PublicKey, org: &OrgName, bytes: u64) {
        self.source(peer, org, |source| source.bytes = source.bytes.saturating_add(bytes));
    }

    /// A holder is not asked any more.
    pub(super) fn give_up(&self, peer: PublicKey, org: &OrgName, why: &str) {
        self.source(peer, org, |source| source.gave_up = Some(why.to_owned()));
    }

    fn source(&self, peer: PublicKey, org: &OrgName, change: impl FnOnce(&mut Source)) {
        let mut sources = lock(&self.sources);
        let new = || Source { org: org.clone(), bytes: 0, gave_up: None };
        change(sources.entry(peer).or_insert_with(new));
    }

    /// Bytes that came over the network.
    pub(in crate::app) fn received_bytes(&self) -> u64 {
        lock(&self.sources).values().map(|source| source.bytes).sum()
    }

    /// Bytes that were taken from another version of a file.
    pub(in crate::app) fn reused_bytes(&self) -> u64 {
        self.reused_bytes.load(Ordering::Relaxed)
    }

    /// Orgs that sent something.
    pub(in crate::app) fn orgs(&self) -> impl Iterator<Item = OrgName> {
        let sources = lock(&self.sources).clone();
        sources.into_values().filter(|source| source.bytes > 0).map(|source| source.org)
    }

    /// Why holders were given up.
    pub(super) fn troubles(&self) -> Vec<String> {
        let sources = lock(&self.sources);
        let trouble =
            |source: &Source| Some(format!("{}: {}", source.org, source.gave_up.as_ref()?));
        sources.values().filter_map(trouble).collect()
    }

    /// What people get to see.
    pub(in crate::app) fn report(&self) -> Transfer {
        let sources = lock(&self.sources);
        Transfer {
            package_id: self.package,
            total_bytes: self.total_bytes,
            done_bytes: self.done_bytes.load(Ordering::Relaxed).min(self.total_bytes),
            total_files: self.total_files,
            done_files: self.done_files.load(Ordering::Relaxed).min(self.total_files),
            sources: sources
                .iter()
                .map(|(peer, source)| TransferSource {
                    org: source.org.clone(),
                    peer_id: peer_id_string(peer),
                    bytes: source.bytes,
                    gave_up: source.gave_up.clone(),
                })
                .collect(),
        }
    }
}

/// A download that people can watch while this lives.
pub(in crate::app) struct Watched<'a> {
    transfers: &'a Transfers,
    package: PackageId,
    progress: Arc<Progress>,
}

impl<'a> Watched<'a> {
    pub(in crate::app) fn add(
        transfers: &'a Transfers,
        package: PackageId,
        progress: &Arc<Progress>,
    ) -> Self {
        lock(transfers).insert(package, Arc::clone(progress));
        Self { transfers, package, progress: Arc::clone(progress) }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let mut transfers = lock(self.transfers);
        // A later one may have taken its place.
        if transfers.get(&self.package).is_some_and(|now| Arc::ptr_eq(now, &self.progress)) {
            transfers.remove(&self.package);
        }
    }
}
