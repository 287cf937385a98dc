//! Making room: packages that nobody used for long go, then every blob that belongs to no package.
//!
//! What is live is derived from the packages' manifests at that moment, never counted along. Blobs that came lately and
//! belong to nothing yet are left alone, and so is whatever a running job may be reading.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use guildhall_core::Event;
use guildhall_gateway::{Answer, ApiError};
use guildhall_protocol::api::{GcReport, GcRequest, KeptFor};
use guildhall_protocol::{Hash, PackageId};
use guildhall_store::Batch;
use tracing::info;

use super::internal;
use crate::app::uploads::write_error;
use crate::app::{App, lock};
use crate::clock;

/// While jobs run here, packages used within this time stay whatever was asked: one of them may be in use.
const IN_USE_MS: u64 = 24 * 60 * 60 * 1000;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl App {
    /// Makes room as a person asks for it.
    pub(in crate::app) async fn collect(self: &Arc<Self>, request: GcRequest) -> Answer<GcReport> {
        let app = Arc::clone(self);
        self.chore("gc", async move { app.collect_now(request).await }).await
    }

    async fn collect_now(self: &Arc<Self>, request: GcRequest) -> Answer<GcReport> {
        let unused_ms = match request.unused_s {
            Some(seconds) => seconds.saturating_mul(1_000),
            None => self.content.unused_days.saturating_mul(DAY_MS),
        };
        let unused = self.unused_packages(unused_ms)?;
        if request.dry_run {
            return self.would_collect(unused);
        }
        let mut dropped = Vec::new();
        for package in unused {
            if self.drop_package(package, KeptFor::Cached).await? {
                dropped.push(package);
            }
        }
        let app = Arc::clone(self);
        let swept = tokio::task::spawn_blocking(move || {
            // What comes from here on has its lease before it is written.
            let packages = app.store.packages().map_err(internal)?.into_iter().collect();
            let live = app.live_blobs(&packages);
            if let Some(package) = live.unknown.first() {
                return Err(damaged_manifest(*package));
            }
            let live = live.blobs;
            let is_live = |hash: &Hash| live.contains(hash) || app.leases.has(hash);
            app.store.sweep(&is_live).map_err(|error| write_error(&error))
        });
        let swept = swept.await.map_err(internal)??;
        let freed_bytes = [swept.blob_bytes, swept.partial_bytes, swept.file_bytes];
        let report = GcReport {
            packages: dropped,
            blobs: swept.blobs,
            partials: swept.partials,
            freed_bytes: freed_bytes.into_iter().fold(0, u64::saturating_add),
        };
        info!(
            packages = report.packages.len(),
            blobs = report.blobs,
            freed_bytes = report.freed_bytes,
            "room was made"
        );
        Ok(report)
    }

    /// Cached packages that nobody used for this long.
    fn unused_packages(&self, unused_ms: u64) -> Answer<Vec<PackageId>> {
        let is_busy = self.jobs.load(Ordering::Relaxed) > 0;
        let unused_ms = if is_busy { unused_ms.max(IN_USE_MS) } else { unused_ms };
        let now_ms = clock::now_ms();
        let packages = self.store.packages().map_err(internal)?;
        let drafted = self.drafted()?;
        let is_unused = |package: &PackageId| {
            // One that waits for its listing stays, also when the reason cannot be read any more.
            if drafted.contains(package) {
                return false;
            }
            self.held(*package).is_some_and(|held| {
                held.reason == KeptFor::Cached && now_ms.saturating_sub(held.used_ms) >= unused_ms
            })
        };
        Ok(packages.into_iter().filter(is_unused).collect())
    }

    /// What a sweep would free.
    fn would_collect(&self, unused: Vec<PackageId>) -> Answer<GcReport> {
        let packages = self.store.packages().map_err(internal)?;
        let kept: BTreeSet<PackageId> =
            packages.into_iter().filter(|package| !unused.contains(package)).collect();
        let live = self.live_blobs(&kept).blobs;
        let goes = |hash: &_| !live.contains(hash) && !self.leases.has(hash);
        let (mut blobs, mut freed_bytes) = (0_u64, 0_u64);
        self.store
            .for_each_blob(|hash, len_bytes| {
                if goes(&hash) {
                    blobs += 1;
                    freed_bytes = freed_bytes.saturating_add(len_bytes);
                }
            })
            .map_err(internal)?;
        let partials = self.store.partials().map_err(internal)?;
        let partials: Vec<_> = partials.into_iter().filter(|partial| goes(&partial.hash)).collect();
        let partial_bytes: u64 = partials.iter().map(|partial| partial.saved_bytes).sum();
        Ok(GcReport {
            packages: unused,
            blobs,
            partials: partials.len() as u64,
            freed_bytes: freed_bytes.saturating_add(partial_bytes),
        })
    }

    /// A package that is kept for this reason is not kept any more: members are told so, and its blobs go with the next
    /// sweep. While jobs run, which may be reading them, they stay for some time. `false` when it is kept for another
    /// reason by now.
    pub(in crate::app) async fn drop_package(
        self: &Arc<Self>,
        package: PackageId,
        reason: KeptFor,
    ) -> Answer<bool> {
        let _alone = self.holding.lock().await;
        if self.held(package).is_none_or(|held| held.reason != reason) {
            return Ok(false);
        }
        let app = Arc::clone(self);
        let blobs = tokio::task::spawn_blocking(move || app.blobs_of(package)).await;
        let blobs = blobs.map_err(internal)?;
        if self.jobs.load(Ordering::Relaxed) > 0 {
            blobs.iter().for_each(|hash| self.leases.mark(*hash));
        }
        let mut batch = Batch::new();
        batch.delete_package(package);
        self.store.commit(batch).await.map_err(|error| write_error(&error))?;
        self.post(Event::PackageDropped(package)).await;
        // No package can come or go meanwhile.
        let app = Arc::clone(self);
        let rest = tokio::task::spawn_blocking(move || {
            let packages = app.store.packages().map_err(internal)?.into_iter().collect();
            Ok::<_, ApiError>(app.live_blobs(&packages).blobs)
        });
        let rest = rest.await.map_err(internal)??;
        lock(&self.shared_blobs).retain(|hash| !blobs.contains(hash) || rest.contains(hash));
        Ok(true)
    }
}

impl App {
    /// A package's manifest and files, as far as they are known.
    fn blobs_of(&self, package: PackageId) -> BTreeSet<Hash> {
        let manifest = self.manifest(package).ok().flatten();
        let files = manifest.into_iter().flat_map(|manifest| manifest.files);
        files.map(|file| file.hash).chain([package.0]).collect()
    }
}

/// Which files belong to the package is not known, so none can be said to belong to nothing.
fn damaged_manifest(package: PackageId) -> ApiError {
    ApiError::conflict("damaged_manifest", format!("the manifest of {package} is damaged"))
        .with_help("guild store scrub --repair")
}
