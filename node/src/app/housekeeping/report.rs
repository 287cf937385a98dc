//! How much is kept, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use guildhall_gateway::{Answer, ApiError};
use guildhall_protocol::api::{HeldPackage, KeptFor, StoreReport, StoreShare};
use guildhall_protocol::{Hash, PackageId};

use super::internal;
use crate::app::{App, disk};

impl App {
    /// What takes how much room.
    pub(in crate::app) async fn store_report(self: &Arc<Self>) -> Answer<StoreReport> {
        let app = Arc::clone(self);
        let report = tokio::task::spawn_blocking(move || app.store_report_blocking()).await;
        report.map_err(internal)?
    }

    fn store_report_blocking(&self) -> Answer<StoreReport> {
        let usage = self.store.usage().map_err(internal)?;
        let partials = self.store.partials().map_err(internal)?;
        let held = self.held_packages()?;
        let mut shares: BTreeMap<KeptFor, StoreShare> = BTreeMap::new();
        for package in &held {
            let new = StoreShare { reason: package.reason, packages: 0, bytes: 0 };
            let share = shares.entry(package.reason).or_insert(new);
            share.packages += 1;
            share.bytes = share.bytes.saturating_add(package.bytes);
        }
        let room = disk::room(&self.home.store());
        let live = self.live_blobs(&held.iter().map(|held| held.package_id).collect()).blobs;
        let mut reclaimable_bytes = 0_u64;
        self.store
            .for_each_blob(|hash, len_bytes| {
                if !live.contains(&hash) && !self.leases.has(&hash) {
                    reclaimable_bytes = reclaimable_bytes.saturating_add(len_bytes);
                }
            })
            .map_err(internal)?;
        Ok(StoreReport {
            path: self.home.store().display().to_string(),
            free_bytes: room.map_or(0, |room| room.free_bytes),
            disk_bytes: room.map_or(0, |room| room.all_bytes),
            reserve_bytes: disk::RESERVE_BYTES,
            catalogue_bytes: usage.catalogue_file_bytes,
            records: usage.records,
            record_bytes: usage.record_bytes,
            blobs: usage.blobs,
            blob_bytes: usage.blob_bytes,
            partials: partials.len() as u64,
            partial_bytes: partials.iter().map(|partial| partial.saved_bytes).sum(),
            packages: shares.into_values().collect(),
            reclaimable_bytes,
            replica_max_bytes: self.content.replicas_max.0,
        })
    }

    /// Packages that are here in full, the largest first.
    pub(in crate::app) fn held_packages(&self) -> Answer<Vec<HeldPackage>> {
        let ids = self.store.packages().map_err(internal)?;
        let mut packages: Vec<HeldPackage> =
            ids.into_iter().filter_map(|id| self.held_package(id)).collect();
        packages.sort_by_key(|package| std::cmp::Reverse(package.bytes));
        Ok(packages)
    }

    /// One package that is here in full.
    pub(in crate::app) fn held_package(&self, package: PackageId) -> Option<HeldPackage> {
        let held = self.held(package)?;
        let manifest = self.manifest(package).ok().flatten();
        let core = self.core();
        let refs = core.catalog().of_package(package).filter_map(|brief| brief.reference());
        Some(HeldPackage {
            package_id: package,
            refs: refs.collect(),
            reason: held.reason,
            bytes: manifest.map_or(0, |manifest| manifest.len_bytes()),
            used_ms: held.used_ms,
        })
    }

    /// What `PUT` and `DELETE` of a pin answer.
    pub(in crate::app) async fn set_pin(
        &self,
        package: PackageId,
        pinned: bool,
    ) -> Answer<HeldPackage> {
        let changed = self.pin(package, pinned).await;
        let is_held = changed.map_err(|error| crate::app::uploads::write_error(&error))?;
        let held = if is_held { self.held_package(package) } else { None };
        held.ok_or_else(|| {
            ApiError::not_found("not_held", format!("{package} is not here in full"))
                .with_help(format!("guild get {package}"))
        })
    }

    /// Blobs that belong to packages which are here, their files and their manifests; and the outputs of runs.
    pub(super) fn live_blobs(&self, packages: &BTreeSet<PackageId>) -> Live {
        let mut live = Live::default();
        live.blobs.extend(self.run_blobs_kept());
        for package in packages {
            live.blobs.insert(package.0);
            match self.manifest(*package) {
                Ok(Some(manifest)) => {
                    live.blobs.extend(manifest.files.iter().map(|file| file.hash));
                }
                Ok(None) | Err(_) => live.unknown.push(*package),
            }
        }
        live
    }
}

/// What belongs to packages.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) blobs: BTreeSet<Hash>,
    /// Packages whose manifest is damaged, so that nobody knows which files are theirs.
    pub(super) unknown: Vec<PackageId>,
}
