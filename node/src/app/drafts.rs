//! What was published without a listing: tested, stored, its release signed, found by nobody but fetched by whoever has
//! its id. A draft remembers how it would be listed, until it is.
//!
//! A draft is one document, written before the release is signed and removed after the listing is, so that a crash in
//! between leaves it there, and listing it again ends what was begun. Its package is kept as published ones are.

use std::collections::BTreeSet;
use std::sync::Arc;

use guildhall_gateway::{Answer, ApiError};
use guildhall_protocol::PackageId;
use guildhall_protocol::api::{Check, ListRequest, ListingDraft, Published, Unlisted};
use guildhall_protocol::body::Release;
use guildhall_protocol::manifest::Manifest;
use guildhall_protocol::name::{PackageName, Reference, Version};
use guildhall_store::{Batch, Collection};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::App;
use super::uploads::write_error;
use super::write::OwnLog;
use crate::clock;

/// Drafts that are kept. A further one is refused until some are listed.
const DRAFTS_MAX: usize = 1_000;

/// Drafts that are read at once.
const PAGE_MAX: usize = 256;

/// What the keys of drafts begin with, in the identity collection.
const PREFIX: &[u8] = b"draft/";

/// A package that waits for its listing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Draft {
    pub(super) package: PackageId,
    pub(super) listing: ListingDraft,
    /// When it was stored, milliseconds since 1970.
    time_ms: u64,
    /// Whether the release is signed.
    pub(super) released: bool,
}

fn internal(error: impl std::fmt::Display) -> ApiError {
    ApiError::internal(error.to_string())
}

fn key(name: &PackageName, version: &Version) -> Vec<u8> {
    [PREFIX, format!("{name}@{version}").as_bytes()].concat()
}

impl App {
    /// `GET /unlisted`, the newest first.
    pub(super) async fn unlisted(&self) -> Answer<Vec<Unlisted>> {
        let mut drafts = self.drafts()?;
        drafts.sort_by_key(|draft| std::cmp::Reverse(draft.time_ms));
        let shown = drafts.into_iter().map(|draft| Unlisted {
            reference: self.reference_of(&draft.listing),
            package_id: draft.package,
            draft: draft.listing,
            time_ms: draft.time_ms,
        });
        Ok(shown.collect())
    }

    /// `POST /list`. A client that goes away does not stop it half-way.
    pub(super) async fn list(self: &Arc<Self>, request: ListRequest) -> Answer<Published> {
        let app = Arc::clone(self);
        let listed = self.tasks.finish("list", async move { app.list_package(request).await });
        listed
            .await
            .unwrap_or_else(|| Err(ApiError::unavailable("stopping", "the node is stopping")))
    }

    async fn list_package(self: &Arc<Self>, request: ListRequest) -> Answer<Published> {
        let ListRequest { reference, categories, summary, keywords } = request;
        let _alone = self.publishing.lock().await;
        let Some(mut draft) = self.find_draft(&reference)? else {
            let is_same = categories.is_none() && summary.is_none() && keywords.is_none();
            return self.listed_already(&reference, is_same);
        };
        let listing = &mut draft.listing;
        listing.categories = categories.unwrap_or_else(|| listing.categories.clone());
        listing.summary = summary.unwrap_or_else(|| listing.summary.clone());
        listing.keywords = keywords.unwrap_or_else(|| listing.keywords.clone());
        let manifest = self.manifest_of_draft(&draft)?;
        let (interface, engines, mut checks) = self.check_stages(&manifest).await?;
        checks.push(Check::new("tested", true, "its checks held when it was stored".to_owned()));
        let listing = self.new_listing(
            &manifest,
            draft.package,
            draft.listing.clone(),
            (interface, engines),
        )?;
        self.release(&mut draft).await?;
        let record = self.write(OwnLog::Producer, listing).await?;
        self.forget_draft(&draft).await;
        let reference = self.reference_of(&draft.listing);
        info!(%reference, package = %draft.package, "listed");
        Ok(Published {
            reference,
            kind: manifest.kind,
            package_id: draft.package,
            listing_id: Some(record.id()),
            checks,
        })
    }

    /// Keeps a package that is here as a draft and signs its release.
    pub(super) async fn keep_draft(
        self: &Arc<Self>,
        package: PackageId,
        listing: ListingDraft,
    ) -> Answer<()> {
        let known = self.draft(&listing.name, &listing.version)?;
        if known.is_none() && self.drafts()?.len() >= DRAFTS_MAX {
            let why = format!("{DRAFTS_MAX} packages wait to be listed already");
            return Err(ApiError::conflict("too_many_drafts", why).with_help("guild list"));
        }
        let released = known.is_some_and(|known| known.released);
        let mut draft = Draft { package, listing, time_ms: clock::now_ms(), released };
        self.put_draft(&draft).await?;
        self.release(&mut draft).await
    }

    /// A version whose release is signed stands for its package, listed or not.
    pub(super) fn check_draft(
        &self,
        listing: &ListingDraft,
        package: PackageId,
    ) -> Answer<Option<Draft>> {
        match self.draft(&listing.name, &listing.version)? {
            Some(draft) if draft.package != package => Err(ApiError::conflict(
                "version_taken",
                format!(
                    "{} is stored as {} and not listed yet; a version never changes",
                    self.reference_of(listing),
                    draft.package
                ),
            )
            .with_help("guild publish DIR --version VERSION")),
            found => Ok(found),
        }
    }

    /// Forgets a draft that is listed. One that stays is found to be listed when somebody lists it.
    pub(super) async fn forget_draft(&self, draft: &Draft) {
        let mut batch = Batch::new();
        let key = key(&draft.listing.name, &draft.listing.version);
        batch.delete_document(Collection::Identity, &key);
        if let Err(error) = self.store.commit(batch).await {
            warn!(%error, "what is listed is still kept as a draft");
        }
    }

    /// Packages that wait for their listing.
    pub(super) fn drafted(&self) -> Answer<BTreeSet<PackageId>> {
        Ok(self.drafts()?.into_iter().map(|draft| draft.package).collect())
    }

    /// Signs the release of a draft, once.
    async fn release(self: &Arc<Self>, draft: &mut Draft) -> Answer<()> {
        if draft.released {
            return Ok(());
        }
        let ListingDraft { name, version, .. } = draft.listing.clone();
        self.write(OwnLog::Producer, Release { name, version, package: draft.package }).await?;
        draft.released = true;
        self.put_draft(draft).await
    }

    fn reference_of(&self, listing: &ListingDraft) -> Reference {
        Reference::Named {
            org: self.core().identity().org.clone(),
            name: listing.name.clone(),
            version: Some(listing.version.clone()),
        }
    }

    async fn put_draft(&self, draft: &Draft) -> Answer<()> {
        let json = serde_json::to_vec(draft).map_err(internal)?;
        let mut batch = Batch::new();
        let key = key(&draft.listing.name, &draft.listing.version);
        batch.put_document(Collection::Identity, &key, json);
        self.store.commit(batch).await.map_err(|error| write_error(&error))
    }

    fn draft(&self, name: &PackageName, version: &Version) -> Answer<Option<Draft>> {
        let json = self.store.document(Collection::Identity, &key(name, version));
        let json = json.map_err(internal)?;
        json.map(|json| serde_json::from_slice(&json).map_err(internal)).transpose()
    }

    fn drafts(&self) -> Answer<Vec<Draft>> {
        let mut drafts = Vec::new();
        let mut after = Some(PREFIX.to_vec());
        while let Some(from) = after {
            let page = self.store.documents(Collection::Identity, Some(&from), PAGE_MAX);
            let page = page.map_err(internal)?;
            after = page.next.filter(|next| next.starts_with(PREFIX));
            for (key, json) in page.documents.iter().filter(|(key, _)| key.starts_with(PREFIX)) {
                match serde_json::from_slice(json) {
                    Ok(draft) => drafts.push(draft),
                    Err(error) => {
                        let key = String::from_utf8_lossy(key);
                        warn!(%error, %key, "a draft cannot be read and is left out");
                    }
                }
            }
        }
        Ok(drafts)
    }

    /// The draft that is meant: without a version, the highest one.
    fn find_draft(&self, reference: &Reference) -> Answer<Option<Draft>> {
        let own = self.core().identity().org.clone();
        let is_meant = |draft: &Draft| match reference {
            Reference::Package(package) => draft.package == *package,
            Reference::Named { org, name, version } => {
                *org == own
                    && *name == draft.listing.name
                    && version.as_ref().is_none_or(|version| *version == draft.listing.version)
            }
        };
        let drafts = self.drafts()?.into_iter().filter(is_meant);
        Ok(drafts.max_by(|a, b| a.listing.version.cmp(&b.listing.version)))
    }

    fn manifest_of_draft(&self, draft: &Draft) -> Answer<Manifest> {
        self.manifest(draft.package).map_err(internal)?.ok_or_else(|| {
            let why = format!("the manifest of {} is damaged", draft.package);
            ApiError::conflict("damaged_manifest", why).with_help("guild store scrub --repair")
        })
    }

    /// What to say of a reference that is no draft.
    fn listed_already(&self, reference: &Reference, is_same: bool) -> Answer<Published> {
        let core = self.core();
        let entry = core.catalog().resolve(reference).ok();
        match entry.filter(|entry| entry.root == core.identity().root) {
            Some(entry) if is_same => Ok(Published {
                reference: entry.reference(),
                kind: entry.listing.kind,
                package_id: entry.listing.release.package,
                listing_id: Some(entry.listing_id),
                checks: vec![Check::new("already listed", true, "nothing was changed".to_owned())],
            }),
            Some(entry) => Err(ApiError::conflict(
                "already_listed",
                format!("{} is listed, and a listing does not change", entry.reference()),
            )
            .with_help("guild publish DIR --version VERSION")),
            None => Err(ApiError::not_found(
                "unknown_draft",
                format!("nothing that was published here without a listing is called {reference}"),
            )
            .with_help("guild publish DIR --unlisted")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_of_an_earlier_node_is_read_and_written_as_it_was() {
        let json = "{\"package\":\"b3:0000000000000000000000000000000000000000000000000000000000000000\",\
                    \"listing\":{\"name\":\"digits\",\"version\":\"1.0.0\",\
                    \"categories\":[\"vision/ocr\"],\"summary\":\"Digits\",\"keywords\":[\"mnist\"],\
                    \"claims\":{\"accuracy\":[],\"latency\":[]},\
                    \"suggested\":{\"memory_bytes\":0},\
                    \"documentation\":null,\"examples\":[],\"visibility\":\"federation\",\
                    \"replicas\":2},\"time_ms\":5,\"released\":true}";
        let draft: Draft = serde_json::from_str(json).unwrap();
        assert_eq!(key(&draft.listing.name, &draft.listing.version), b"draft/digits@1.0.0");
        assert!(draft.released && draft.listing.replicas == Some(2));
        assert_eq!(serde_json::to_string(&draft).unwrap(), json);
    }
}
