//! Making room: packages that nobody used for long go, then every blob that belongs to no package.
//!
//! What is live is derived from the packages' manifests at that moment, never counted along. Blobs that came lately and
//! belong to nothing yet are left alone, and so is whatever a running job may be reading.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use guildhall_core::Event;
use guildhall_gateway::Answer;
use guildhall_protocol::PackageId;
use guildhall_protocol::api::{GcReport, GcRequest, KeptFor};
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
        for package in &unused {
            self.drop_package(*package).await?;
        }
        let app = Arc::clone(self);
        let swept = tokio::task::spawn_blocking(move || {
            let live = |hash: &_| app.is_shared(hash) || app.leases.has(hash);
            app.store.sweep(&live)
        });
        let swept = swept.await.map_err(internal)?.map_err(|error| write_error(&error))?;
        let freed_bytes = [swept.blob_bytes, swept.partial_bytes, swept.file_bytes];
        let report = GcReport {
            packages: unused,
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
        let is_unused = |package: &PackageId| {
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
        let live = self.live_blobs(&kept);
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

    /// A package is not kept any more: members are told so, and its blobs go with the next sweep.
    pub(in crate::app) async fn drop_package(self: &Arc<Self>, package: PackageId) -> Answer<()> {
        let mut batch = Batch::new();
        batch.delete_package(package);
        self.store.commit(batch).await.map_err(|error| write_error(&error))?;
        let rest = self.store.packages().map_err(internal)?.into_iter().collect();
        *lock(&self.shared_blobs) = self.live_blobs(&rest);
        self.post(Event::PackageDropped(package)).await;
        Ok(())
    }
}
