//! What the node answers to questions around finding and judging.

use std::sync::Arc;
use std::time::Instant;

use guildhall_catalog::rank;
use guildhall_catalog::words::Wanted;
use guildhall_core::{Core, NodeAsked};
use guildhall_gateway::{Answer, ApiError};
use guildhall_overlay::peer_id_string;
use guildhall_protocol::api::{
    AskedNode, CategoryCount, Detail, KeptFor, Notice, Ranking, Reindexed, ReviewRequest,
    ReviewShown, SearchAnswer, YankRequest, Yanked,
};
use guildhall_protocol::body::{Review, Yank};
use guildhall_protocol::name::Reference;
use guildhall_protocol::query::Query;
use guildhall_protocol::record::Record;
use guildhall_protocol::{PackageId, vocabulary};
use tracing::{error, warn};

use super::App;
use super::api::resolve_error;
use super::write::OwnLog;
use crate::clock;

/// The kind of notices that tell of yanks.
const YANKED: &str = "yanked";

impl App {
    /// `POST /search` and `GET /search?q=`.
    pub(super) async fn search(self: &Arc<Self>, query: Query) -> Answer<SearchAnswer> {
        query.check().map_err(|error| ApiError::invalid("bad_query", error.to_string()))?;
        if query.text.as_ref().is_some_and(|text| !text.trim().is_empty())
            && Wanted::new(query.text.as_deref()).is_empty()
        {
            let why = "the text has no word: letters or digits, at most 64 bytes together";
            return Err(ApiError::invalid("bad_query", why).with_help("guild search --help"));
        }
        let page = query.page;
        let (ask, found) = self.ask(query).await?;
        Ok(SearchAnswer {
            query_id: page.map_or(ask, |page| page.query),
            results: found.results,
            total: found.total,
            next: found.next,
            via: found.via,
            asked: found.asked,
            answered: found.answered,
            holders: found.holders,
            nodes: found.nodes.into_iter().map(asked_node).collect(),
            age_s: found.age_s,
            stale: self.core().stale(),
            facets: found.facets,
            did_you_mean: found.did_you_mean,
            nearest: found.nearest,
            excluded: found.excluded,
            notes: found.notes,
        })
    }

    /// `GET /categories`: the vocabulary, and what else is in use, with how much is in each.
    pub(super) fn categories(&self) -> Vec<CategoryCount> {
        let mut counts: std::collections::BTreeMap<_, u64> =
            self.core().catalog().category_counts().into_iter().collect();
        for category in vocabulary::entries().filter_map(vocabulary::Entry::category) {
            counts.entry(category).or_default();
        }
        let count = |(category, listings)| CategoryCount {
            known: vocabulary::is_known(&category),
            description: vocabulary::entry_of(&category)
                .map_or_else(String::new, |entry| entry.description.to_owned()),
            category,
            listings,
        };
        counts.into_iter().map(count).collect()
    }

    /// `GET /show`: also of versions that were yanked, which say so.
    pub(super) async fn detail(self: &Arc<Self>, reference: &Reference) -> Answer<Detail> {
        let mut detail = detail_here(&self.core(), reference)?;
        let manifest = self.manifest(detail.package_id);
        detail.manifest = manifest.map_err(|error| ApiError::internal(error.to_string()))?;
        detail.holders = self.holding_orgs(detail.package_id).await;
        Ok(detail)
    }

    /// `POST /reviews`.
    pub(super) async fn review(self: &Arc<Self>, request: ReviewRequest) -> Answer<ReviewShown> {
        let package = self.resolve(&request.reference).await?;
        let review = Review {
            federation: self.core().federation().id(),
            package,
            stars: request.stars,
            text: request.text,
        };
        check(&review)?;
        let own = {
            let core = self.core();
            let me = core.identity().root;
            core.catalog().of_package(package).any(|brief| brief.root() == Some(me))
        };
        let shown = ReviewShown {
            org: self.core().identity().org.clone(),
            stars: review.stars,
            text: review.text.clone(),
            time_ms: clock::now_ms(),
            own,
        };
        self.write(OwnLog::Producer, review).await?;
        Ok(shown)
    }

    /// `POST /yanks`. Yanking again changes nothing and is no error.
    pub(super) async fn yank(self: &Arc<Self>, request: YankRequest) -> Answer<Yanked> {
        let Reference::Named { org, name, version: Some(version) } = request.reference.clone()
        else {
            return Err(ApiError::invalid(
                "bad_reference",
                "one version is yanked: ORG/NAME@VERSION",
            ));
        };
        let shown = {
            let core = self.core();
            if core.identity().org != org {
                let why = format!("only {org} can yank what it listed");
                return Err(ApiError::invalid("not_yours", why));
            }
            core.catalog().show(&request.reference).map_err(|error| resolve_error(&error))?
        };
        let reference = request.reference;
        let package_id = shown.entry.package();
        if let Some(known) = shown.yanked {
            let (why, time_ms) = (known.yank.why, known.time_ms);
            return Ok(Yanked { reference, package_id, why, time_ms });
        }
        let yank = Yank { name, version, package: package_id, why: request.why };
        check(&yank)?;
        let why = yank.why.clone();
        let record: Record = self.write(OwnLog::Producer, yank).await?;
        Ok(Yanked { reference, package_id, why, time_ms: record.header().time_ms })
    }

    /// A producer took a version back; a person here is told if it is kept or pinned here.
    pub(super) fn handle_yanked(self: &Arc<Self>, reference: Reference, yank: &Yank, time_ms: u64) {
        let Some(text) = self.yank_concerns(yank) else { return };
        let notice = Notice { kind: YANKED.to_owned(), reference: Some(reference), text, time_ms };
        self.notify(notice);
    }

    fn yank_concerns(&self, yank: &Yank) -> Option<String> {
        let held = self.held(yank.package)?;
        let kept = match held.reason {
            // Its producer said it.
            KeptFor::Published => return None,
            KeptFor::Pinned => "it is pinned here",
            _ => "a copy of it is here",
        };
        Some(format!("yanked by its producer: {}; {kept}", yank.why))
    }

    /// `GET /ranking`.
    pub(super) async fn ranking(&self) -> Answer<Ranking> {
        let core = self.core();
        let ranking = core.catalog().ranking();
        Ok(Ranking { weights: ranking.weights.by_name(), trust: ranking.trust.clone() })
    }

    /// `PUT /ranking`: changes what it names, now and in the configuration; a change that names nothing puts everything
    /// back to what it is without one.
    pub(super) async fn set_ranking(self: &Arc<Self>, change: Ranking) -> Answer<Ranking> {
        let is_back = change == Ranking::default();
        let changed = |ranking: &rank::Ranking| match is_back {
            true => Ok(rank::Ranking::default()),
            false => ranking.changed(&change),
        };
        // Before anything is written; the file has the same rules.
        changed(self.core().catalog().ranking())
            .map_err(|error| ApiError::invalid("bad_ranking", error.to_string()))?;
        let app = Arc::clone(self);
        let decided = self.tasks.finish("rank", async move {
            tokio::task::block_in_place(|| {
                // Both while the file is locked, so that the last one wins in both.
                app.home.update_config(|config| {
                    let kept = &mut config.ranking;
                    if is_back {
                        *kept = Ranking::default();
                    }
                    kept.weights.extend(change.weights);
                    kept.trust.extend(change.trust);
                    if let Ok(ranking) = rank::Ranking::default().changed(kept) {
                        app.core().set_ranking(ranking);
                    }
                })
            })
        });
        match decided.await {
            Some(Ok(_)) => self.ranking().await,
            Some(Err(error)) => Err(ApiError::internal(error.to_string())),
            None => Err(ApiError::unavailable("stopping", "the node is stopping")),
        }
    }

    /// `POST /store/reindex`: the catalogue is built anew from the records; nothing is answered meanwhile.
    pub(super) async fn reindex(self: &Arc<Self>) -> Answer<Reindexed> {
        // What is on its way to the disk first.
        self.keep(&[]).await.map_err(|error| ApiError::internal(error.to_string()))?;
        let started = Instant::now();
        let reindexed = tokio::task::block_in_place(|| {
            let (text, index) = super::index::words_anew(&self.index());
            let mut core = self.core();
            core.reindex(text, |each| {
                let report = self.store.for_each_record(|stored| {
                    let (author, seq) = (stored.author, stored.seq);
                    match Record::open_kept(&stored.bytes) {
                        Ok(record) => each(&record),
                        Err(error) => warn!(%error, ?author, seq, "a stored record is left out"),
                    }
                })?;
                if !report.is_complete() {
                    error!(damaged = report.corrupt_total, "records are damaged");
                }
                Ok::<(), guildhall_store::ReadError>(())
            })?;
            let listings = core.catalog().len() as u64;
            drop(core);
            self.use_index(index);
            Ok::<u64, guildhall_store::ReadError>(listings)
        });
        let listings = reindexed.map_err(|error| ApiError::internal(error.to_string()))?;
        Ok(Reindexed { listings, seconds: started.elapsed().as_secs_f64() })
    }
}

fn check<T: guildhall_protocol::body::RecordBody>(body: &T) -> Answer<()> {
    body.check().map_err(|error| ApiError::invalid("bad_request", error.to_string()))
}

/// Everything about a release but what has to be asked of others.
fn detail_here(core: &Core, reference: &Reference) -> Answer<Detail> {
    let catalog = core.catalog();
    let shown = catalog.show(reference).map_err(|error| resolve_error(&error))?;
    if shown.contested && shown.yanked.is_none() {
        // Says why, and is no error when asked for by id.
        catalog.resolve(reference).map_err(|error| resolve_error(&error))?;
    }
    let entry = shown.entry;
    let (name, package) = (&entry.listing.release.name, entry.package());
    let versions: Vec<_> = catalog.versions(&entry.org, name).collect();
    let good = versions.iter().filter(|brief| brief.yanked().is_none());
    let taken_back = versions.iter().filter_map(|brief| {
        let known = brief.yanked()?;
        Some(Yanked {
            reference: brief.reference()?,
            package_id: brief.package(),
            why: known.yank.why.clone(),
            time_ms: known.time_ms,
        })
    });
    Ok(Detail {
        reference: entry.reference(),
        org: entry.org.clone(),
        listing_id: entry.listing_id,
        time_ms: entry.time_ms,
        package_id: package,
        held: core.holds(&package),
        manifest: None,
        versions: good.map(|brief| brief.version().clone()).collect(),
        yanked: taken_back.collect(),
        holders: Vec::new(),
        rating: catalog.rating(package, &entry.root),
        reviews: reviews(core, package, &entry.root),
        looks_like: catalog.alike(&entry.root, &entry.org, name, entry.time_ms),
        standing: catalog.standing(&entry.listing_id, package),
        listing: Arc::unwrap_or_clone(entry.listing),
    })
}

fn reviews(
    core: &Core,
    package: PackageId,
    producer: &guildhall_protocol::PublicKey,
) -> Vec<ReviewShown> {
    let all = core.catalog().reviews(package).into_iter();
    let shown = all.filter_map(|reviewed| {
        Some(ReviewShown {
            org: core.federation().member(&reviewed.root)?.org.clone(),
            stars: reviewed.review.stars,
            text: reviewed.review.text.clone(),
            time_ms: reviewed.time_ms,
            own: reviewed.root == *producer,
        })
    });
    shown.collect()
}

fn asked_node(asked: NodeAsked) -> AskedNode {
    AskedNode {
        org: asked.org,
        peer_id: peer_id_string(&asked.node),
        outcome: asked.outcome,
        listings: asked.listings,
        refused: asked.refused,
        ms: asked.ms,
    }
}
