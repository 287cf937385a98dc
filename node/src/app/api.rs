//! The node as its HTTP API sees it: the gateway's port, implemented.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use guildhall_core::{Event, Found, PageFault, Settings};
use guildhall_gateway::{
    Answer, ApiError, Blob, Node, OutputLines, Scorable, ScoreRequest, Scored, Upload,
};
use guildhall_overlay::peer_id_string;
use guildhall_protocol::api::{
    AdoptRequest, BackupMade, BackupRequest, BlobQuery, BlobStored, BlobsKnown, CategoryCount,
    DemandReport, Detail, DrainChange, FederationStatus, FetchRequest, Fetched, Follows, GcReport,
    GcRequest, HeldPackage, InferAnswer, InferRequest, InviteRequest, InviteText, Lending,
    ListRequest, Notice, OfferChange, Peer, PublishRequest, Published, Ranking, Reachability,
    Reindexed, ReviewRequest, ReviewShown, RunReport, RunRequest, RunStarted, ScrubReport,
    ScrubRequest, SearchAnswer, Stale, Status, StoreReport, Subscriptions, TestLog, Transfer,
    Unlisted, YankRequest, Yanked,
};
use guildhall_protocol::body::HardwareOffer;
use guildhall_protocol::facts::Facts;
use guildhall_protocol::limits::{FOLLOWS_MAX, INVITE_MAX_LIFE_MS};
use guildhall_protocol::manifest::Manifest;
use guildhall_protocol::name::{CategoryPrefix, FileName, Reference};
use guildhall_protocol::query::Query;
use guildhall_protocol::wire::Invite;
use guildhall_protocol::{Hash, PackageId, PublicKey, RecordId, RunId};
use tokio::sync::oneshot;

use super::effects::Context;
use super::fetch::{FetchError, Purpose};
use super::patterns::Patterns;
use super::uploads::{blob_error, disk_full};
use super::write::OwnLog;
use super::{App, lock, state};
use crate::clock;
use crate::config::Config;

/// How long a search may take altogether: the core's own deadline and a DHT lookup before it.
const SEARCH_MAX: Duration = Duration::from_secs(10);

/// How long an invite holds when nobody says otherwise: a day.
const INVITE_LIFE_MS: u64 = 24 * 60 * 60 * 1000;

fn internal(error: impl std::fmt::Display) -> ApiError {
    ApiError::internal(error.to_string())
}

/// What the keeper decides while the node runs.
struct Decided<'a> {
    follows: &'a mut Vec<CategoryPrefix>,
    offer: &'a mut Option<HardwareOffer>,
    draining: &'a mut bool,
}

/// The node behind its HTTP API.
pub(crate) struct Api(pub(crate) Arc<App>);

impl Node for Api {
    async fn status(&self) -> Answer<Status> {
        Ok(self.0.status().await)
    }

    fn stale(&self) -> Option<Stale> {
        *lock(&self.0.stale)
    }

    async fn peers(&self) -> Answer<Vec<Peer>> {
        Ok(self.0.peers().await)
    }

    async fn invite(&self, request: InviteRequest) -> Answer<InviteText> {
        let life_ms = match request.expires_in_s {
            Some(seconds) => seconds.saturating_mul(1000).min(INVITE_MAX_LIFE_MS),
            None => INVITE_LIFE_MS,
        };
        let (admission, draft) = self.0.core().invite(clock::random(), life_ms, clock::now_ms());
        let written = self.0.write(OwnLog::Node, admission).await?;
        let invite = draft.finish(written.id());
        Ok(InviteText { invite: invite.to_text() })
    }

    async fn join(&self, invite: InviteText) -> Answer<Status> {
        let invite = Invite::from_text(&invite.invite).map_err(|error| {
            ApiError::invalid("bad_invite", error.to_string()).with_help("guild invite")
        })?;
        self.0.join(invite).await?;
        Ok(self.0.status().await)
    }

    async fn set_offer(&self, change: OfferChange) -> Answer<Status> {
        let OfferChange { offer } = change;
        if let Some(offer) = &offer {
            self.0.check_offer(offer)?;
        }
        self.0.decide(move |decided| *decided.offer = offer.clone()).await?;
        Ok(self.0.status().await)
    }

    async fn lending(&self) -> Answer<Lending> {
        Ok(self.0.lending())
    }

    async fn drain(&self, change: DrainChange) -> Answer<Lending> {
        self.0.decide(move |decided| *decided.draining = change.draining).await?;
        Ok(self.0.lending())
    }

    async fn set_follows(&self, follows: Follows) -> Answer<Status> {
        if follows.follows.is_empty() || follows.follows.len() > FOLLOWS_MAX {
            return Err(ApiError::invalid(
                "bad_follows",
                format!("a node follows 1 to {FOLLOWS_MAX} categories; `*` means all"),
            ));
        }
        let Follows { follows } = follows;
        self.0.decide(move |decided| *decided.follows = follows.clone()).await?;
        Ok(self.0.status().await)
    }

    async fn store_blob(&self, upload: &mut Upload) -> Answer<BlobStored> {
        self.0.store_upload(upload).await
    }

    async fn store_batch(&self, upload: &mut Upload) -> Answer<Vec<BlobStored>> {
        self.0.store_uploads(upload).await
    }

    async fn known_blobs(&self, query: BlobQuery) -> Answer<BlobsKnown> {
        self.0.known_blobs(query).await
    }

    async fn adopt(&self, request: AdoptRequest) -> Answer<BlobStored> {
        self.0.adopt_file(request).await
    }

    async fn blob(&self, hash: Hash) -> Answer<Blob> {
        let opened = tokio::task::block_in_place(|| self.0.store.open_blob(&hash));
        let (file, len_bytes) = opened.map_err(blob_error)?;
        Ok(Blob { len_bytes, content: Box::pin(tokio::fs::File::from_std(file)) })
    }

    async fn publish(&self, request: PublishRequest) -> Answer<Published> {
        // A client that goes away does not stop a publication half-way: it ends, and is found again.
        let app = Arc::clone(&self.0);
        let published = self.0.tasks.finish("publish", async move { app.publish(request).await });
        published
            .await
            .unwrap_or_else(|| Err(ApiError::unavailable("stopping", "the node is stopping")))
    }

    async fn search(&self, query: Query) -> Answer<SearchAnswer> {
        self.0.search(query).await
    }

    async fn show(&self, reference: Reference) -> Answer<Detail> {
        self.0.look_up(&reference).await?;
        self.0.detail(&reference).await
    }

    async fn categories(&self) -> Answer<Vec<CategoryCount>> {
        Ok(self.0.categories())
    }

    async fn reviews(&self, reference: Reference) -> Answer<Vec<ReviewShown>> {
        Ok(self.show(reference).await?.reviews)
    }

    async fn review(&self, request: ReviewRequest) -> Answer<ReviewShown> {
        self.0.review(request).await
    }

    async fn yank(&self, request: YankRequest) -> Answer<Yanked> {
        self.0.yank(request).await
    }

    async fn unlisted(&self) -> Answer<Vec<Unlisted>> {
        self.0.unlisted().await
    }

    async fn list(&self, request: ListRequest) -> Answer<Published> {
        self.0.list(request).await
    }

    async fn demand(&self) -> Answer<DemandReport> {
        self.0.demand().await
    }

    async fn subscribe(&self, subscriptions: Subscriptions) -> Answer<DemandReport> {
        self.0.subscribe(subscriptions).await
    }

    async fn ranking(&self) -> Answer<Ranking> {
        self.0.ranking().await
    }

    async fn set_ranking(&self, ranking: Ranking) -> Answer<Ranking> {
        self.0.set_ranking(ranking).await
    }

    async fn notices(&self) -> Answer<Vec<Notice>> {
        self.0.notices().await
    }

    async fn reindex(&self) -> Answer<Reindexed> {
        self.0.reindex().await
    }

    async fn fetch(&self, request: FetchRequest) -> Answer<Fetched> {
        let include = Patterns::parse(&request.include)
            .map_err(|error| ApiError::invalid("bad_pattern", error.to_string()))?;
        let package = self.0.resolve(&request.reference).await?;
        let fetched = self.0.fetch_package(package, &[], Purpose::Keeper, &include).await;
        let fetched = fetched.map_err(|error| match error {
            error if error.is_no_space() => disk_full(error.to_string()),
            FetchError::NothingMatches { .. } => {
                ApiError::not_found("no_such_file", error.to_string())
                    .with_help(format!("guild show {}", request.reference))
            }
            error => ApiError::upstream("not_fetched", error.to_string()).with_help("guild peers"),
        })?;
        self.0.used(request.query_id, package).await;
        Ok(Fetched {
            reference: request.reference,
            package_id: package,
            manifest: fetched.manifest,
            included: fetched.included,
            fetched_bytes: fetched.bytes,
            fetched_files: fetched.files,
            reused_bytes: fetched.reused_bytes,
            from: fetched.from.into_iter().collect(),
            seconds: fetched.took.as_secs_f64(),
        })
    }

    async fn packages(&self) -> Answer<Vec<PackageId>> {
        self.0.store.packages().map_err(internal)
    }

    async fn manifest(&self, package: PackageId) -> Answer<Manifest> {
        // Small enough to be fetched for a look.
        self.0.fetch_manifest(package, &[]).await.map_err(|error| {
            ApiError::not_found("unknown_package", error.to_string())
                .with_help(format!("guild get {package}"))
        })
    }

    async fn facts(&self, package: PackageId) -> Answer<Vec<(FileName, Facts)>> {
        self.0.facts(package).await
    }

    async fn transfers(&self) -> Answer<Vec<Transfer>> {
        Ok(lock(&self.0.transfers).values().map(|progress| progress.report()).collect())
    }

    async fn tests(&self) -> Answer<Vec<TestLog>> {
        self.0.test_logs()
    }

    async fn test(&self, package: PackageId) -> Answer<TestLog> {
        self.0.test_log(package)
    }

    async fn store(&self) -> Answer<StoreReport> {
        self.0.store_report().await
    }

    async fn held(&self) -> Answer<Vec<HeldPackage>> {
        tokio::task::block_in_place(|| self.0.held_packages())
    }

    async fn set_pin(&self, package: PackageId, pinned: bool) -> Answer<HeldPackage> {
        self.0.set_pin(package, pinned).await
    }

    async fn collect(&self, request: GcRequest) -> Answer<GcReport> {
        self.0.collect(request).await
    }

    async fn scrub(&self, request: ScrubRequest) -> Answer<ScrubReport> {
        self.0.scrub(request).await
    }

    async fn backup(&self, request: BackupRequest) -> Answer<BackupMade> {
        self.0.backup(request).await
    }

    async fn start_run(&self, request: RunRequest) -> Answer<RunStarted> {
        Ok(RunStarted { run_id: self.0.start_run(request).await? })
    }

    async fn infer(&self, reference: Reference, request: InferRequest) -> Answer<InferAnswer> {
        self.0.infer(reference, request).await
    }

    async fn scorable(&self, reference: Reference) -> Answer<Scorable> {
        self.0.scorable(reference).await
    }

    async fn score(&self, of: &Scorable, request: ScoreRequest) -> Answer<Scored> {
        self.0.score(of, request).await
    }

    async fn runs(&self) -> Answer<Vec<RunReport>> {
        Ok(self.0.run_reports())
    }

    async fn run(&self, run: RunId) -> Answer<RunReport> {
        self.0.run_report(run)
    }

    async fn cancel_run(&self, run: RunId) -> Answer<RunReport> {
        self.0.cancel_run(run)
    }

    async fn resume_run(&self, run: RunId) -> Answer<RunReport> {
        self.0.resume_run(run).await
    }

    async fn run_outputs(&self, run: RunId) -> Answer<OutputLines> {
        self.0.run_outputs(run)
    }

    async fn run_receipt(&self, run: RunId) -> Answer<Vec<u8>> {
        // Who wants to see it now need not wait until nobody asks the same any more.
        self.0.close_session(run).await;
        self.0.run_receipt(run)
    }

    async fn record(&self, record: RecordId) -> Answer<Vec<u8>> {
        let stored = self.0.store.record_by_id(&record).map_err(internal)?;
        stored.map(|stored| stored.bytes).ok_or_else(|| {
            ApiError::not_found("unknown_record", format!("the record {record} is not here"))
        })
    }
}

impl App {
    /// Changes what the keeper decides while the node runs: on disk, in the core, and in what the node says about
    /// itself, one change after the other and each to its end.
    async fn decide(
        self: &Arc<Self>,
        change: impl Fn(Decided<'_>) + Send + Sync + 'static,
    ) -> Answer<()> {
        let app = Arc::clone(self);
        let decided = self.tasks.finish("decide", async move {
            let writer = app.writer().await;
            let saved = tokio::task::block_in_place(|| {
                app.home.update_config(|Config { follows, offer, draining, .. }| {
                    change(Decided { follows, offer, draining });
                })
            });
            saved.map_err(internal)?;
            {
                let mut core = app.core();
                let mut settings = core.settings().clone();
                let Settings { follows, offer, draining, .. } = &mut settings;
                change(Decided { follows, offer, draining });
                core.set_settings(settings);
            }
            // Who waits for a slot learns at once that the node drains, or that there are more.
            app.slots.wake();
            Ok(writer.describe().await?)
        });
        decided
            .await
            .unwrap_or_else(|| Err(ApiError::unavailable("stopping", "the node is stopping")))
    }

    /// Refuses an offer that could not be fulfilled, or of an engine that is not here.
    fn check_offer(&self, offer: &HardwareOffer) -> Answer<()> {
        let bad =
            |why: String| Err(ApiError::invalid("bad_offer", why).with_help("guild node offer"));
        if let Err(error) = offer.check() {
            return bad(error.to_string());
        }
        let core = self.core();
        let engines = &core.settings().engines;
        match offer.engines.iter().find(|engine| !engines.contains(engine)) {
            Some(missing) => {
                bad(format!("this node has no engine `{missing}`; it has {}", engines.join(", ")))
            }
            None => Ok(()),
        }
    }

    async fn status(&self) -> Status {
        let dropped = self.overlay.dropped().await;
        let core = self.core();
        let me = core.identity();
        let settings = core.settings();
        let federation = core.federation();
        Status {
            org: me.org.clone(),
            root: me.root,
            node: me.node.public(),
            peer_id: peer_id_string(&me.node.public()),
            api: self.url.clone(),
            home: self.home.path().display().to_string(),
            addresses: core.addresses().to_vec(),
            federation: FederationStatus {
                id: federation.id(),
                name: federation.name().to_owned(),
                members: federation.members().map(|(_, member)| member.org.clone()).collect(),
            },
            follows: settings.follows.clone(),
            offer: settings.offer.clone(),
            engines: settings.engines.clone(),
            isolation: settings.isolation.clone(),
            draining: settings.draining,
            peers: core.peers_admitted() as u64,
            records: core.logs().records(),
            listings: core.catalog().len() as u64,
            packages: core.packages() as u64,
            jobs: self.jobs.load(Ordering::Relaxed),
            software: settings.software.clone(),
            uptime_s: self.started.elapsed().as_secs(),
            notices: self.notices.len() as u64,
            heard_s: core.heard_s(),
            stale: core.stale(),
            completeness: state::completeness(&core),
            disagreeing: state::disagreeing(&core),
            queued: self.queued(&core),
            dropped: [core.dropped(), dropped].concat(),
            clock: state::clock_difference(&core),
            reachability: Reachability::default(),
        }
    }

    async fn peers(&self) -> Vec<Peer> {
        let connected = self.overlay.peers().await;
        let core = self.core();
        let me = core.identity().node.public();
        let mut peers: std::collections::BTreeMap<PublicKey, Peer> = core
            .nodes()
            .filter(|(node, _)| **node != me)
            .map(|(node, view)| {
                let peer = Peer {
                    peer_id: peer_id_string(node),
                    org: core.federation().member(&view.root).map(|member| member.org.clone()),
                    connected: false,
                    admitted: false,
                    address: view.body.addresses.first().cloned(),
                    follows: view.body.follows.clone(),
                    offer: view.body.offer.clone(),
                    engines: view.body.engines.clone(),
                    draining: view.body.draining,
                };
                (*node, peer)
            })
            .collect();
        for info in connected {
            let peer = peers.entry(info.peer).or_insert_with(|| Peer {
                peer_id: peer_id_string(&info.peer),
                org: core.authority(&info.peer).map(|authority| authority.org.clone()),
                connected: true,
                admitted: false,
                address: None,
                follows: Vec::new(),
                offer: None,
                engines: Vec::new(),
                draining: false,
            });
            peer.connected = true;
            peer.admitted = info.admitted;
            peer.address = Some(info.address);
        }
        peers.into_values().collect()
    }

    /// Asks this node, and through it the federation.
    pub(super) async fn ask(self: &Arc<Self>, query: Query) -> Answer<(Hash, Found)> {
        let ask = clock::random();
        let (sender, found) = oneshot::channel();
        lock(&self.asks).insert(ask, sender);
        self.drive(Event::Search { ask, query: Box::new(query) }, Context::default()).await;
        let found = tokio::time::timeout(SEARCH_MAX, found).await;
        lock(&self.asks).remove(&ask);
        match found {
            Ok(Ok(Ok(found))) => Ok((ask, found)),
            Ok(Ok(Err(why))) => Err(no_page(why)),
            _ => {
                Err(ApiError::unavailable("no_answer", "the search did not end in time; try again"))
            }
        }
    }

    /// Makes sure that a reference is in the catalogue, if anybody in reach knows it.
    async fn look_up(self: &Arc<Self>, reference: &Reference) -> Answer<()> {
        let known = self.core().catalog().resolve(reference).is_ok();
        if !known {
            let query = Query { reference: Some(reference.clone()), ..Query::default() };
            self.ask(query).await?;
        }
        Ok(())
    }

    /// The package that a reference stands for.
    pub(super) async fn resolve(self: &Arc<Self>, reference: &Reference) -> Answer<PackageId> {
        self.look_up(reference).await?;
        let core = self.core();
        match (core.catalog().resolve(reference), reference) {
            (Ok(entry), _) => Ok(entry.listing.release.package),
            // Not listed, but perhaps somebody holds it.
            (
                Err(guildhall_catalog::ResolveError::Unlisted { .. }),
                Reference::Package(package),
            ) => Ok(*package),
            (Err(error), _) => Err(resolve_error(&error)),
        }
    }
}

fn no_page(why: PageFault) -> ApiError {
    match why {
        PageFault::OtherQuery => ApiError::invalid(
            "other_query",
            "the page is of another query; repeat that one, or leave the query out",
        ),
        PageFault::NotShown => {
            ApiError::not_found("page_gone", "no page of that answer begins there; ask again")
        }
        PageFault::Forgotten => ApiError::not_found(
            "page_gone",
            "the pages of that answer are not remembered any more; ask again",
        ),
    }
}

pub(super) fn resolve_error(error: &guildhall_catalog::ResolveError) -> ApiError {
    let api = ApiError::not_found("unknown_reference", error.to_string());
    match error {
        guildhall_catalog::ResolveError::Yanked { reference, .. } => {
            ApiError::failed("yanked", error.to_string())
                .with_help(format!("guild show {reference}"))
        }
        guildhall_catalog::ResolveError::Unknown { nearest, .. } if !nearest.is_empty() => api
            .with_help(format!("guild show {}", nearest.first().map_or("", String::as_str)))
            .with_detail(format!("did you mean {}?", nearest.join(", "))),
        _ => api.with_help("guild search"),
    }
}
