//! Publishing: what a producer brings is inspected and tested in workers, then signed, listed and announced.
//!
//! Nothing is signed before every check held. A publication that is cut off leaves blobs and perhaps a package behind,
//! never a listing without its content; doing it again goes on where it stopped.

use std::collections::BTreeMap;
use std::sync::Arc;

use guildhall_gateway::ApiError;
use guildhall_pipeline as pipeline;
use guildhall_protocol::PackageId;
use guildhall_protocol::api::{Check, KeptFor, ListingDraft, PublishRequest, Published, TestLog};
use guildhall_protocol::body::{Listing, Release, Visibility};
use guildhall_protocol::contract::{LimitSet, Limits, NodeLimits};
use guildhall_protocol::facts::Facts;
use guildhall_protocol::interface::Interface;
use guildhall_protocol::manifest::{FileEntry, Kind, Manifest};
use guildhall_protocol::name::{FileName, PackageName, Reference};
use guildhall_sandbox::{Failure, InspectLimits, PackageFiles, run_tests};
use guildhall_store::{Batch, BlobError, ReadError};
use tracing::{info, warn};

use super::App;
use super::uploads::{blob_error, write_error};
use super::write::OwnLog;
use crate::clock;

/// Orgs that should hold a copy when the producer says nothing: one may vanish while another is being repaired.
const REPLICAS_DEFAULT: u8 = 3;

/// Files of a package that are examined for a comparison; a package with more is compared by names and hashes.
const FACTS_MAX_FILES: usize = 1_024;

impl App {
    /// Tests a package whose blobs are here, and lists it unless `dry_run`.
    pub(super) async fn publish(
        self: &Arc<Self>,
        request: PublishRequest,
    ) -> Result<Published, ApiError> {
        let PublishRequest { manifest, listing: draft, dry_run, unlisted, although_alike } =
            request;
        let _alone = self.publishing.lock().await;
        manifest.check().map_err(|error| {
            ApiError::failed("bad_manifest", error.to_string())
                .with_help("guild publish DIR --dry-run")
        })?;
        check_visibility(manifest.sensitive, &draft.visibility)?;
        let (package, bytes) = manifest.seal();
        let files = manifest.files.iter().map(|file| file.hash);
        let _they_stay = self.leases.hold(files.chain([package.0]));
        self.check_blobs(&manifest)?;
        let org = self.core().identity().org.clone();
        let reference = Reference::Named {
            org,
            name: draft.name.clone(),
            version: Some(draft.version.clone()),
        };
        if let Some(published) = self.already_published(&reference, package, manifest.kind)? {
            return Ok(published);
        }
        if !although_alike {
            self.check_name(&draft.name)?;
        }
        let stored = self.check_draft(&draft, package)?;
        let (interface, engines, mut checks) = self.check_stages(&manifest).await?;
        checks.extend(self.test(package, &manifest).await?);
        if checks.iter().any(|check| !check.passed) {
            return Err(self.refuse(package, &reference, checks).await);
        }
        let mut published = Published {
            reference,
            kind: manifest.kind,
            package_id: package,
            listing_id: None,
            checks,
        };
        if dry_run {
            return Ok(published);
        }
        let name = (draft.name.clone(), draft.version.clone());
        let listing = self.new_listing(&manifest, package, draft.clone(), (interface, engines))?;
        self.store_package(package, &manifest, &bytes).await?;
        if unlisted {
            self.keep_draft(package, draft).await?;
            info!(reference = %published.reference, %package, "stored without a listing");
            return Ok(published);
        }
        if stored.as_ref().is_none_or(|stored| !stored.released) {
            let (name, version) = name;
            self.write(OwnLog::Producer, Release { name, version, package }).await?;
        }
        let record = self.write(OwnLog::Producer, listing).await?;
        if let Some(stored) = stored {
            self.forget_draft(&stored).await;
        }
        info!(reference = %published.reference, %package, "published");
        published.listing_id = Some(record.id());
        Ok(published)
    }

    /// The listing of a package, checked: what the producer wrote of it, and what follows from the manifest.
    pub(super) fn new_listing(
        &self,
        manifest: &Manifest,
        package: PackageId,
        draft: ListingDraft,
        (interface, engines): (Interface, Vec<String>),
    ) -> Result<Listing, ApiError> {
        let listing = Listing {
            federation: self.core().federation().id(),
            release: Release { name: draft.name, version: draft.version, package },
            kind: manifest.kind,
            categories: draft.categories,
            summary: draft.summary,
            keywords: draft.keywords,
            interface,
            engines,
            contract: manifest.contract.clone(),
            len_bytes: manifest.len_bytes(),
            claims: draft.claims,
            suggested: draft.suggested,
            uses: manifest.needs().collect(),
            documentation: draft.documentation,
            examples: draft.examples,
            licence: manifest.licence.clone(),
            visibility: draft.visibility,
            replicas: draft.replicas.unwrap_or(REPLICAS_DEFAULT),
        };
        guildhall_protocol::body::RecordBody::check(&listing)
            .map_err(|error| ApiError::failed("bad_listing", error.to_string()))?;
        // Whether it fits a record shows when it is written; the release must not be there by then.
        self.core().write_as_producer(&listing, clock::now_ms()).map_err(|error| {
            ApiError::failed("bad_listing", format!("the listing makes no record: {error}"))
        })?;
        Ok(listing)
    }

    /// Every file that the manifest names must have been uploaded.
    fn check_blobs(&self, manifest: &Manifest) -> Result<(), ApiError> {
        for file in &manifest.files {
            let found = match self.store.blob_len(&file.hash) {
                Ok(found) => found,
                Err(ReadError::Corrupt { .. }) => None,
                Err(error) => return Err(ApiError::internal(error.to_string())),
            };
            if found != Some(file.len_bytes) {
                let why = match found {
                    None => {
                        format!("file `{}` is missing: its bytes were never uploaded", file.name)
                    }
                    Some(len) => {
                        format!("file `{}` has {len} bytes, not {}", file.name, file.len_bytes)
                    }
                };
                return Err(ApiError::failed("missing_file", why).with_help("guild publish DIR"));
            }
        }
        Ok(())
    }

    /// A name that a person could take for another producer's is refused, unless it is in use here already.
    pub(super) fn check_name(&self, name: &PackageName) -> Result<(), ApiError> {
        let core = self.core();
        let (catalog, me) = (core.catalog(), core.identity());
        if catalog.versions(&me.org, name).next().is_some() {
            return Ok(());
        }
        match catalog.alike(&me.root, &me.org, name, clock::now_ms()) {
            None => Ok(()),
            Some(other) => Err(ApiError::conflict(
                "looks_alike",
                format!(
                    "{}/{name} could be taken for {other}, which is another producer's",
                    me.org
                ),
            )
            .with_help("guild publish DIR --name NAME, or --although-alike")),
        }
    }

    /// The same publication again is no error; another package under a used version is.
    fn already_published(
        &self,
        reference: &Reference,
        package: PackageId,
        kind: Kind,
    ) -> Result<Option<Published>, ApiError> {
        let core = self.core();
        let known = core.catalog().show(reference);
        if let Ok(guildhall_catalog::Shown { yanked: Some(yanked), .. }) = &known {
            let why =
                format!("{reference} was yanked ({}); a version never comes back", yanked.yank.why);
            return Err(
                ApiError::conflict("yanked", why).with_help("guild publish DIR --version VERSION")
            );
        }
        match known.map(|shown| shown.entry) {
            Ok(entry) if entry.package() == package => Ok(Some(Published {
                reference: reference.clone(),
                kind,
                package_id: package,
                listing_id: Some(entry.listing_id),
                checks: vec![Check::new(
                    "already published",
                    true,
                    "this package is listed under this version".to_owned(),
                )],
            })),
            Ok(entry) => Err(ApiError::conflict(
                "version_taken",
                format!(
                    "{reference} is released as {}; a version never changes",
                    entry.listing.release.package
                ),
            )
            .with_help("guild publish DIR --version VERSION")),
            Err(_) => Ok(None),
        }
    }

    /// A pipeline's stages must be there and fit; everything else speaks for itself.
    pub(super) async fn check_stages(
        self: &Arc<Self>,
        manifest: &Manifest,
    ) -> Result<(Interface, Vec<String>, Vec<Check>), ApiError> {
        if manifest.kind != Kind::Pipeline {
            let engines = manifest.code.iter().flat_map(|code| code.engines());
            let engines = engines.map(str::to_owned).collect();
            return Ok((manifest.interface.clone(), engines, Vec::new()));
        }
        let stages =
            self.stages_of("", PackageId(guildhall_protocol::Hash::of(&[])), manifest).await?;
        let plan = pipeline::plan(&stages)
            .map_err(|error| ApiError::failed("ports_do_not_fit", error.to_string()))?;
        let detail = format!("{} stages, every output fits the next input", stages.len());
        let check = Check::new("stages fit", true, detail);
        Ok((plan.interface, plan.engines, vec![check]))
    }

    /// The stages that a package is executed as, with their manifests fetched.
    pub(super) async fn stages_of(
        self: &Arc<Self>,
        name: &str,
        package: PackageId,
        manifest: &Manifest,
    ) -> Result<Vec<pipeline::StageInfo>, ApiError> {
        let mut manifests = BTreeMap::new();
        for stage in &manifest.stages {
            let found = self.fetch_manifest(stage.package, &[]).await.map_err(|error| {
                ApiError::failed("missing_stage", format!("stage `{}`: {error}", stage.name))
            })?;
            manifests.insert(stage.package, found);
        }
        let stages = pipeline::expand(name, package, manifest, |id| manifests.get(&id))
            .map_err(|error| ApiError::failed("ports_do_not_fit", error.to_string()))?;
        let core = self.core();
        for stage in &stages {
            let shown = core.catalog().show(&Reference::Package(stage.package));
            if let Some(yanked) = shown.ok().and_then(|shown| shown.yanked) {
                let why = format!(
                    "stage `{}` ({}@{}) was yanked by its producer: {}",
                    stage.name, yanked.yank.name, yanked.yank.version, yanked.yank.why
                );
                return Err(ApiError::failed("yanked", why).with_help("guild search"));
            }
        }
        let listed = |stage: pipeline::StageInfo| {
            let entry = core.catalog().of_package(stage.package).find_map(|brief| brief.entry());
            let contract = entry.and_then(|entry| entry.listing.contract.clone());
            stage.with_listing(contract.as_ref())
        };
        Ok(stages.into_iter().map(listed).collect())
    }

    /// Inspects files and code, then runs the unit tests, each in a worker of its own.
    async fn test(
        self: &Arc<Self>,
        package: PackageId,
        manifest: &Manifest,
    ) -> Result<Vec<Check>, ApiError> {
        let turn = Arc::clone(&self.inspections).acquire_owned().await;
        let Ok(_turn) = turn else {
            return Err(ApiError::unavailable("stopping", "the node is stopping"));
        };
        let app = Arc::clone(self);
        let manifest = manifest.clone();
        let tested = tokio::task::spawn_blocking(move || app.test_blocking(&manifest)).await;
        tested.map_err(|error| {
            warn!(%error, %package, "testing a package ended early");
            ApiError::internal("testing the package ended early")
        })
    }

    fn test_blocking(&self, manifest: &Manifest) -> Vec<Check> {
        let open = |file: &FileEntry| self.open_file(file);
        let files = PackageFiles { manifest, open: &open };
        let spawner = self.engines.trying(manifest);
        let inspected = spawner.inspect(&files, &InspectLimits::default());
        let mut checks = vec![as_check(
            "files and code",
            inspected.as_ref().map(|inspection| {
                let engine = inspection
                    .engine
                    .as_deref()
                    .map_or(String::new(), |e| format!(", runs on `{e}`"));
                format!("{} files, {} bytes intact{engine}", inspection.files, inspection.len_bytes)
            }),
        )];
        if inspected.is_err() || manifest.tests.is_empty() {
            return checks;
        }
        let contract = manifest.contract.as_ref().map(LimitSet::from).unwrap_or_default();
        let limits = Limits::smallest(contract, NodeLimits::default(), LimitSet::default());
        match run_tests(&spawner, &files, &limits) {
            Err(failure) => checks.push(as_check("unit tests", Err(&failure))),
            Ok(outcomes) => checks.extend(outcomes.into_iter().map(|outcome| {
                let detail = if outcome.passed { "as expected".to_owned() } else { outcome.why };
                Check::new(&format!("test {}", outcome.name), outcome.passed, detail)
            })),
        }
        checks
    }

    /// What the files of a package that is here turn out to be.
    pub(super) async fn facts(
        self: &Arc<Self>,
        package: PackageId,
    ) -> Result<Vec<(FileName, Facts)>, ApiError> {
        let not_held = || {
            ApiError::not_found("not_held", format!("{package} is not here in full"))
                .with_help(format!("guild get {package}"))
        };
        if self.held(package).is_none() {
            return Err(not_held());
        }
        let manifest = self.manifest(package).map_err(|e| ApiError::internal(e.to_string()))?;
        let manifest = manifest.ok_or_else(not_held)?;
        let turn = Arc::clone(&self.inspections).acquire_owned().await;
        let Ok(_turn) = turn else {
            return Err(ApiError::unavailable("stopping", "the node is stopping"));
        };
        let app = Arc::clone(self);
        let examined = tokio::task::spawn_blocking(move || app.examine_blocking(&manifest)).await;
        examined.map_err(|error| ApiError::internal(error.to_string()))?
    }

    fn examine_blocking(&self, manifest: &Manifest) -> Result<Vec<(FileName, Facts)>, ApiError> {
        let mut examiner = self.engines.spawner().examiner();
        let mut facts = Vec::new();
        for file in manifest.files.iter().take(FACTS_MAX_FILES) {
            let opened = self.open_file(file).map_err(|e| ApiError::internal(e.to_string()))?;
            match examiner.examine(&file.name, &file.media_type, None, opened) {
                Ok(found) => facts.push((file.name.clone(), found)),
                // What cannot be examined is not compared; the package passed its checks once.
                Err(failure) => warn!(%failure, "a file is not examined"),
            }
        }
        Ok(facts)
    }

    /// Opens a package's file read-only.
    pub(super) fn open_file(&self, file: &FileEntry) -> std::io::Result<std::fs::File> {
        match self.store.open_blob(&file.hash) {
            Ok((opened, _)) => Ok(opened),
            Err(BlobError::Io { source, .. }) => Err(source),
            Err(error) => Err(std::io::Error::other(error.to_string())),
        }
    }

    /// Keeps the error log and tells the producer what failed where.
    async fn refuse(
        &self,
        package: PackageId,
        reference: &Reference,
        checks: Vec<Check>,
    ) -> ApiError {
        let failed: Vec<String> = checks
            .iter()
            .filter(|check| !check.passed)
            .map(|check| format!("{}: {}", check.name, check.detail))
            .collect();
        let log = TestLog {
            package_id: package,
            reference: reference.clone(),
            time_ms: clock::now_ms(),
            checks,
        };
        self.keep_test_log(log).await;
        let count = failed.len();
        ApiError::failed(
            "checks_failed",
            format!("{reference} is not listed: {count} of its checks failed"),
        )
        .with_details(failed)
        .with_help(format!("guild runs {}", short(package)))
    }

    /// Keeps the manifest and the row that says that everything is here, together.
    async fn store_package(
        self: &Arc<Self>,
        package: PackageId,
        manifest: &Manifest,
        bytes: &[u8],
    ) -> Result<(), ApiError> {
        let staged = tokio::task::block_in_place(|| {
            let mut writer = self.store.blob_writer(Some(package.0), bytes.len() as u64)?;
            writer.write_all(bytes)?;
            writer.finish()
        });
        let mut batch = Batch::new();
        batch.add_blob(staged.map_err(blob_error)?);
        let held = self.hold_package(batch, package, manifest, KeptFor::Published).await;
        held.map_err(|error| write_error(&error))
    }
}

/// What must stay in the org is refused, because nothing keeps it from the other members yet.
fn check_visibility(sensitive: bool, visibility: &Visibility) -> Result<(), ApiError> {
    let why = match visibility {
        Visibility::Public | Visibility::Federation if !sensitive => return Ok(()),
        _ if sensitive => "data declared sensitive",
        _ => "content that only the org may see",
    };
    let message =
        format!("{why} must not reach other members, and this version cannot keep it from them");
    Err(ApiError::failed("not_kept_back", message))
}

/// The beginning of a package's id, as `guild runs` shows it.
fn short(package: PackageId) -> String {
    let hex = package.0.to_hex();
    hex.get(..12).unwrap_or(&hex).to_owned()
}

fn as_check(name: &str, result: Result<String, &Failure>) -> Check {
    match result {
        Ok(detail) => Check::new(name, true, detail),
        Err(failure) => Check {
            file: failure.file().and_then(|file| file.parse().ok()),
            offset: failure.offset(),
            fix: failure.help().map(str::to_owned),
            ..Check::new(name, false, failure.to_string())
        },
    }
}
