//! Looking at every byte that is kept, and fetching what is damaged from those who have it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use guildhall_gateway::Answer;
use guildhall_protocol::api::{ScrubReport, ScrubRequest};
use guildhall_protocol::limits::SCRUB_MAX_PROBLEMS;
use guildhall_protocol::{Hash, PackageId};
use guildhall_store::ScrubItem;
use tracing::{info, warn};

use super::internal;
use crate::app::App;
use crate::app::fetch::Purpose;

impl App {
    /// Looks at everything, and repairs what it can if asked to.
    pub(in crate::app) async fn scrub(
        self: &Arc<Self>,
        request: ScrubRequest,
    ) -> Answer<ScrubReport> {
        let app = Arc::clone(self);
        self.chore("scrub", async move { app.scrub_now(request).await }).await
    }

    async fn scrub_now(self: &Arc<Self>, request: ScrubRequest) -> Answer<ScrubReport> {
        let started = Instant::now();
        let mut report = ScrubReport::default();
        let found = self.look_at_everything(request.bytes_per_s, &mut report).await?;
        if request.repair {
            report.repaired = self.repair_manifests().await? + self.repair(&found).await?;
        }
        report.seconds = started.elapsed().as_secs();
        info!(
            blobs = report.blobs,
            bytes = report.bytes,
            found = report.found,
            repaired = report.repaired,
            "the store was looked through"
        );
        Ok(report)
    }

    /// Blobs that are damaged.
    async fn look_at_everything(
        self: &Arc<Self>,
        bytes_per_s: Option<u64>,
        report: &mut ScrubReport,
    ) -> Answer<BTreeSet<Hash>> {
        let stop = Arc::new(AtomicBool::new(false));
        let (app, stopped) = (Arc::clone(self), Arc::clone(&stop));
        let looking = tokio::task::spawn_blocking(move || {
            let (mut problems, mut damaged) = (Vec::new(), BTreeSet::new());
            let mut harmless = 0_u64;
            let looked = app.store.scrub(bytes_per_s, &stopped, |item| {
                if let ScrubItem::Blob { hash, .. } | ScrubItem::Unreadable { hash, .. } = &item {
                    damaged.insert(*hash);
                }
                harmless += u64::from(is_harmless(&item));
                let text = describe(&item);
                warn!(what = text, "found by looking through the store");
                if problems.len() < SCRUB_MAX_PROBLEMS {
                    problems.push(text);
                }
            });
            looked.map(|looked| (looked, problems, damaged, harmless))
        });
        tokio::pin!(looking);
        let looked = tokio::select! {
            looked = &mut looking => looked,
            () = self.tasks.token().cancelled() => {
                stop.store(true, Ordering::Relaxed);
                looking.await
            }
        };
        let (looked, problems, damaged, harmless) = looked.map_err(internal)?.map_err(internal)?;
        report.rows = looked.rows;
        report.blobs = looked.blobs;
        report.bytes = looked.blob_bytes;
        report.found = looked.problems.saturating_sub(harmless);
        report.harmless = harmless;
        report.problems = problems;
        Ok(damaged)
    }

    /// Fetches damaged manifests from other holders. How many are good again.
    async fn repair_manifests(self: &Arc<Self>) -> Answer<u64> {
        let mut repaired = 0;
        for package in self.store.packages().map_err(internal)? {
            if matches!(self.manifest(package), Ok(Some(_))) {
                continue;
            }
            match self.fetch_manifest(package, &[]).await {
                Ok(_) => repaired += 1,
                Err(error) => warn!(%error, %package, "a damaged manifest is not repaired"),
            }
        }
        Ok(repaired)
    }

    /// Fetches damaged files from other holders. How many are good again.
    async fn repair(self: &Arc<Self>, damaged: &BTreeSet<Hash>) -> Answer<u64> {
        let mut repaired = 0;
        for (package, files) in self.packages_with(damaged)? {
            let Ok(manifest) = self.fetch_manifest(package, &[]).await else { continue };
            let files: Vec<_> =
                manifest.files.iter().filter(|file| files.contains(&file.hash)).cloned().collect();
            self.doubt(&package);
            match self.fetch_files(package, &files, &[], Purpose::Keeper).await {
                Ok(()) => repaired += files.len() as u64,
                Err(error) => warn!(%error, %package, "damaged files are not repaired"),
            }
        }
        Ok(repaired)
    }

    /// Packages that have damaged files, each file with one of them.
    fn packages_with(
        &self,
        damaged: &BTreeSet<Hash>,
    ) -> Answer<BTreeMap<PackageId, BTreeSet<Hash>>> {
        let mut left = damaged.clone();
        let mut found: BTreeMap<PackageId, BTreeSet<Hash>> = BTreeMap::new();
        for package in self.store.packages().map_err(internal)? {
            if left.remove(&package.0) {
                found.entry(package).or_default();
            }
            let Ok(Some(manifest)) = self.manifest(package) else { continue };
            for file in &manifest.files {
                if left.remove(&file.hash) {
                    found.entry(package).or_default().insert(file.hash);
                }
            }
        }
        Ok(found)
    }
}

/// Whether something is only left over: a sweep takes it away.
const fn is_harmless(item: &ScrubItem) -> bool {
    matches!(
        item,
        ScrubItem::StrayFile { .. } | ScrubItem::StrayTree { .. } | ScrubItem::StalePartial { .. }
    )
}

/// A problem in words.
fn describe(item: &ScrubItem) -> String {
    match item {
        ScrubItem::Row(row) => format!("{row} is damaged"),
        ScrubItem::Blob { hash, damage } => format!("file {hash}: {damage}"),
        ScrubItem::Unreadable { hash, why } => format!("file {hash} cannot be read: {why}"),
        ScrubItem::StrayFile { path, len_bytes } => {
            format!(
                "{}: {len_bytes} bytes that belong to nothing; `guild store gc` removes them",
                path.display()
            )
        }
        ScrubItem::StrayTree { hash } => {
            format!("hashes of {hash}, which is not here; `guild store gc` removes them")
        }
        ScrubItem::StalePartial { hash } => {
            format!("parts of {hash} of no use; `guild store gc` removes them")
        }
        _ => "something that this version does not know".to_owned(),
    }
}
