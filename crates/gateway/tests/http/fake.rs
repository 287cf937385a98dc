//! A node that answers from constants and remembers blobs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use guildhall_gateway::{
    Answer, ApiError, Blob, Node, Options, OutputLines, Scorable, ScoreRequest, Scored, Upload,
    serve,
};
use guildhall_protocol::api::{
    AdoptRequest, BackupMade, BackupRequest, BlobQuery, BlobStored, BlobsKnown, CategoryCount,
    DemandReport, Detail, DrainChange, FetchRequest, Fetched, Follows, GcReport, GcRequest,
    HeldPackage, InferAnswer, InferRequest, InviteRequest, InviteText, KeptFor, Lending,
    ListRequest, Machine, Notice, OfferChange, OutputLine, OutputValue, Peer, PublishRequest,
    Published, Ranking, RecordFailure, Reindexed, ReviewRequest, ReviewShown, RunReport,
    RunRequest, RunStarted, ScrubReport, ScrubRequest, SearchAnswer, Stale, Status, StoreReport,
    Subscriptions, TestLog, Transfer, Unlisted, Via, YankRequest, Yanked,
};
use guildhall_protocol::facts::Facts;
use guildhall_protocol::manifest::{Kind, MANIFEST_FORMAT, Manifest};
use guildhall_protocol::name::{CategoryPrefix, FileName, Reference};
use guildhall_protocol::query::Query;
use guildhall_protocol::wire::PortValue;
use guildhall_protocol::{Hash, PackageId, RecordId, RunId};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest blob that the fake takes, bytes.
pub(crate) const BLOB_MAX_BYTES: usize = 1024 * 1024;

/// Records that come out of the run that exists.
pub(crate) const RECORDS: u64 = 1000;

#[derive(Default)]
pub(crate) struct Fake {
    blobs: Mutex<BTreeMap<Hash, Vec<u8>>>,
    follows: Mutex<Vec<CategoryPrefix>>,
    draining: AtomicBool,
    stale: Option<Stale>,
}

/// A gateway over a [`Fake`] on a port of its own.
pub(crate) struct Running {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) ended: JoinHandle<Result<(), guildhall_gateway::ServeError>>,
}

impl Running {
    pub(crate) async fn start(token: Option<&str>) -> Self {
        Self::start_with(token, Fake::default()).await
    }

    /// A node that says with every answer how stale it is.
    pub(crate) async fn start_stale(stale: Stale) -> Self {
        Self::start_with(None, Fake { stale: Some(stale), ..Fake::default() }).await
    }

    #[expect(clippy::disallowed_methods, reason = "a test watches its task itself")]
    async fn start_with(token: Option<&str>, node: Fake) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let options = Options::default().with_token(token.map(str::to_owned));
        let ended = tokio::spawn(serve(listener, Arc::new(node), options, shutdown.clone()));
        Self { address, shutdown, ended }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn client(&self) -> guildhall_client::Client {
        guildhall_client::Client::new(&self.url()).unwrap()
    }
}

/// The run that exists.
pub(crate) fn run_id() -> RunId {
    RunId(Hash::of(b"run"))
}

pub(crate) fn package_id() -> PackageId {
    PackageId(Hash::of(b"package"))
}

pub(crate) fn manifest() -> Manifest {
    serde_json::from_value(json!({
        "format": MANIFEST_FORMAT, "kind": Kind::Data, "files": [], "licence": "unknown",
    }))
    .unwrap()
}

fn unknown<T>(what: &str) -> Answer<T> {
    Err(ApiError::not_found("unknown", format!("there is no {what}")).with_help("guild search"))
}

fn report(run: RunId) -> RunReport {
    serde_json::from_value(json!({
        "run_id": run, "ref": "lab-a/digits@1.0.0", "state": "completed", "executed_on": null,
        "records": RECORDS, "seconds": 0.5, "accuracy": null, "failure": null, "receipts": [],
        "log": [],
    }))
    .unwrap()
}

impl Node for Fake {
    fn stale(&self) -> Option<Stale> {
        self.stale
    }

    async fn status(&self) -> Answer<Status> {
        let follows = self.follows.lock().unwrap().clone();
        let key = guildhall_protocol::SecretKey::from_seed(&[7; 32]).public();
        Ok(serde_json::from_value(json!({
            "org": "lab-a", "root": key, "node": key, "peer_id": "12D3KooW", "api": "http://x",
            "home": "/home", "addresses": [], "follows": follows, "offer": null, "engines": [],
            "federation": { "id": Hash::of(b"f"), "name": "lab-a", "members": ["lab-a"] },
            "isolation": [], "peers": 2, "records": 31, "listings": 5, "packages": 4, "jobs": 1,
            "software": "0.1.0", "uptime_s": 9,
        }))
        .unwrap())
    }

    async fn peers(&self) -> Answer<Vec<Peer>> {
        Ok(Vec::new())
    }

    async fn invite(&self, request: InviteRequest) -> Answer<InviteText> {
        Ok(InviteText { invite: format!("guild-invite:{:?}", request.expires_in_s) })
    }

    async fn join(&self, invite: InviteText) -> Answer<Status> {
        if invite.invite == "guild-invite:good" {
            return self.status().await;
        }
        Err(ApiError::conflict("bad_invite", "this invite was used").with_detail("by lab-b"))
    }

    async fn set_offer(&self, _change: OfferChange) -> Answer<Status> {
        self.status().await
    }

    async fn lending(&self) -> Answer<Lending> {
        Ok(Lending {
            has: Machine::default(),
            offer: None,
            draining: self.draining.load(Ordering::Relaxed),
            jobs: Vec::new(),
            own_jobs: 3,
            orgs: Vec::new(),
            workers: guildhall_protocol::api::WorkersReport::default(),
        })
    }

    async fn drain(&self, change: DrainChange) -> Answer<Lending> {
        self.draining.store(change.draining, Ordering::Relaxed);
        self.lending().await
    }

    async fn set_follows(&self, follows: Follows) -> Answer<Status> {
        *self.follows.lock().unwrap() = follows.follows;
        self.status().await
    }

    async fn store_blob(&self, upload: &mut Upload) -> Answer<BlobStored> {
        let mut bytes = Vec::new();
        while let Some(chunk) = upload.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > BLOB_MAX_BYTES {
                return Err(ApiError::too_large("blob_too_large", "no blob is that long here"));
            }
        }
        let (hash, len_bytes) = (Hash::of(&bytes), upload.taken_bytes());
        self.blobs.lock().unwrap().insert(hash, bytes);
        Ok(BlobStored { hash, len_bytes })
    }

    async fn blob(&self, hash: Hash) -> Answer<Blob> {
        let Some(bytes) = self.blobs.lock().unwrap().get(&hash).cloned() else {
            return unknown("blob");
        };
        Ok(Blob {
            len_bytes: bytes.len().try_into().unwrap(),
            content: Box::pin(std::io::Cursor::new(bytes)),
        })
    }

    async fn publish(&self, request: PublishRequest) -> Answer<Published> {
        let (package_id, _) = request.manifest.seal();
        Ok(Published {
            reference: "lab-a/digits@1.0.0".parse().unwrap(),
            kind: request.manifest.kind,
            package_id,
            listing_id: (!request.dry_run).then_some(RecordId(package_id.0)),
            checks: Vec::new(),
        })
    }

    async fn search(&self, query: Query) -> Answer<SearchAnswer> {
        if query.text.as_deref() == Some("panic") {
            panic!("asked to");
        }
        Ok(SearchAnswer {
            query_id: Hash::of(b"query"),
            results: Vec::new(),
            via: Via::Local,
            asked: 0,
            answered: 0,
            holders: 0,
            notes: vec![query.shorthand()],
            total: 0,
            next: None,
            nodes: Vec::new(),
            age_s: None,
            stale: None,
            facets: Vec::new(),
            did_you_mean: Vec::new(),
            nearest: Vec::new(),
            excluded: Vec::new(),
        })
    }

    async fn show(&self, reference: Reference) -> Answer<Detail> {
        unknown(&reference.to_string())
    }

    async fn categories(&self) -> Answer<Vec<CategoryCount>> {
        Ok(vec![CategoryCount {
            category: "vision/image-classification".parse().unwrap(),
            listings: 5,
            known: true,
            description: String::new(),
        }])
    }

    async fn reviews(&self, reference: Reference) -> Answer<Vec<ReviewShown>> {
        let request = ReviewRequest { reference, stars: 4, text: "works".into() };
        Ok(vec![self.review(request).await?])
    }

    async fn review(&self, request: ReviewRequest) -> Answer<ReviewShown> {
        let ReviewRequest { stars, text, .. } = request;
        Ok(ReviewShown { org: "lab-a".parse().unwrap(), stars, text, time_ms: 1, own: false })
    }

    async fn yank(&self, request: YankRequest) -> Answer<Yanked> {
        let YankRequest { reference, why } = request;
        Ok(Yanked { reference, package_id: package_id(), why, time_ms: 1 })
    }

    async fn unlisted(&self) -> Answer<Vec<Unlisted>> {
        Ok(Vec::new())
    }

    async fn list(&self, request: ListRequest) -> Answer<Published> {
        Ok(Published {
            reference: request.reference,
            kind: Kind::Model,
            package_id: package_id(),
            listing_id: Some(RecordId(package_id().0)),
            checks: Vec::new(),
        })
    }

    async fn demand(&self) -> Answer<DemandReport> {
        let subscriptions = self.follows.lock().unwrap().clone();
        Ok(DemandReport {
            here: Vec::new(),
            here_since_ms: 0,
            federation: Vec::new(),
            subscriptions,
            open: 0,
            dropped: 0,
            least: 8,
        })
    }

    async fn subscribe(&self, subscriptions: Subscriptions) -> Answer<DemandReport> {
        *self.follows.lock().unwrap() = subscriptions.categories;
        self.demand().await
    }

    async fn ranking(&self) -> Answer<Ranking> {
        Ok(Ranking::default())
    }

    async fn set_ranking(&self, ranking: Ranking) -> Answer<Ranking> {
        Ok(ranking)
    }

    async fn notices(&self) -> Answer<Vec<Notice>> {
        Ok(Vec::new())
    }

    async fn reindex(&self) -> Answer<Reindexed> {
        Ok(Reindexed { listings: 5, seconds: 0.25 })
    }

    async fn fetch(&self, request: FetchRequest) -> Answer<Fetched> {
        Ok(Fetched {
            reference: request.reference,
            package_id: package_id(),
            manifest: manifest(),
            included: Vec::new(),
            fetched_bytes: 0,
            fetched_files: 0,
            reused_bytes: 0,
            from: Vec::new(),
            seconds: 0.0,
        })
    }

    async fn packages(&self) -> Answer<Vec<PackageId>> {
        Ok(vec![package_id()])
    }

    async fn manifest(&self, package: PackageId) -> Answer<Manifest> {
        if package == package_id() { Ok(manifest()) } else { unknown("package") }
    }

    async fn store_batch(&self, upload: &mut Upload) -> Answer<Vec<BlobStored>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = upload.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(vec![BlobStored { hash: Hash::of(&bytes), len_bytes: bytes.len() as u64 }])
    }

    async fn known_blobs(&self, query: BlobQuery) -> Answer<BlobsKnown> {
        let blobs = self.blobs.lock().unwrap();
        let known = query.hashes.into_iter().filter(|hash| blobs.contains_key(hash)).collect();
        Ok(BlobsKnown { known })
    }

    async fn adopt(&self, request: AdoptRequest) -> Answer<BlobStored> {
        unknown(&request.name)
    }

    async fn facts(&self, _package: PackageId) -> Answer<Vec<(FileName, Facts)>> {
        Ok(vec![("data.csv".parse().unwrap(), Facts::Json)])
    }

    async fn transfers(&self) -> Answer<Vec<Transfer>> {
        Ok(Vec::new())
    }

    async fn tests(&self) -> Answer<Vec<TestLog>> {
        Ok(Vec::new())
    }

    async fn test(&self, _package: PackageId) -> Answer<TestLog> {
        unknown("test")
    }

    async fn store(&self) -> Answer<StoreReport> {
        unknown("store")
    }

    async fn held(&self) -> Answer<Vec<HeldPackage>> {
        Ok(Vec::new())
    }

    async fn set_pin(&self, package: PackageId, pinned: bool) -> Answer<HeldPackage> {
        if package != package_id() {
            return unknown("package");
        }
        let reason = if pinned { KeptFor::Pinned } else { KeptFor::Cached };
        Ok(HeldPackage { package_id: package, refs: Vec::new(), reason, bytes: 0, used_ms: 0 })
    }

    async fn collect(&self, request: GcRequest) -> Answer<GcReport> {
        let freed_bytes = u64::from(!request.dry_run);
        Ok(GcReport { packages: Vec::new(), blobs: 0, partials: 0, freed_bytes })
    }

    async fn scrub(&self, _request: ScrubRequest) -> Answer<ScrubReport> {
        Ok(ScrubReport::default())
    }

    async fn backup(&self, _request: BackupRequest) -> Answer<BackupMade> {
        unknown("backup")
    }

    async fn start_run(&self, _request: RunRequest) -> Answer<RunStarted> {
        Ok(RunStarted { run_id: run_id() })
    }

    async fn runs(&self) -> Answer<Vec<RunReport>> {
        Ok(vec![report(run_id())])
    }

    async fn run(&self, run: RunId) -> Answer<RunReport> {
        if run == run_id() { Ok(report(run)) } else { unknown("run") }
    }

    async fn infer(&self, reference: Reference, request: InferRequest) -> Answer<InferAnswer> {
        let outputs = json!({ "run_id": run_id(), "executed_on": null, "seconds": 0.1,
            "outputs": { "ref": reference, "inputs": request.inputs } });
        Ok(serde_json::from_value(outputs).unwrap())
    }

    async fn scorable(&self, reference: Reference) -> Answer<Scorable> {
        if reference.to_string() != "lab-a/double" {
            return unknown("model");
        }
        let interface = serde_json::from_value(json!({
            "inputs": [{ "name": "x", "type": { "tensor": { "dtype": "f32", "dims": [2] } } }],
            "outputs": [{ "name": "y", "type": { "tensor": { "dtype": "f32", "dims": [2] } } }],
        }));
        Ok(Scorable {
            reference: "lab-a/double@1.0.0".parse().unwrap(),
            interface: interface.unwrap(),
            engines: vec!["onnx".into()],
        })
    }

    /// Twice what comes in; a record that has no number fails.
    async fn score(&self, _of: &Scorable, request: ScoreRequest) -> Answer<Scored> {
        let double = |record: Vec<PortValue>| {
            let numbers = record[0].bytes.as_chunks::<4>().0.iter().map(|n| f32::from_le_bytes(*n));
            if numbers.clone().any(f32::is_nan) {
                let (cause, message) = ("failed".to_owned(), "that is no number".to_owned());
                return Err(RecordFailure { stage: 0, cause, message });
            }
            let doubled: Vec<u8> = numbers.flat_map(|n| (2.0 * n).to_le_bytes()).collect();
            Ok(vec![PortValue::new("y", doubled)])
        };
        let records = request.records.into_iter().map(double).collect();
        Ok(Scored { run_id: run_id(), executed_on: None, records })
    }

    async fn cancel_run(&self, run: RunId) -> Answer<RunReport> {
        if run == run_id() { Ok(report(run)) } else { unknown("run") }
    }

    async fn resume_run(&self, run: RunId) -> Answer<RunReport> {
        if run == run_id() { Ok(report(run)) } else { unknown("run") }
    }

    async fn run_outputs(&self, run: RunId) -> Answer<OutputLines> {
        let cut_off = run != run_id();
        let lines = futures::stream::iter(0..RECORDS).map(move |index| {
            if cut_off && index == 10 {
                return Err(ApiError::internal("the run's records are damaged"));
            }
            let value = OutputValue::Text("a\nb".into());
            Ok(OutputLine { index, name: format!("{index}.pgm"), value })
        });
        Ok(lines.boxed())
    }

    async fn run_receipt(&self, _run: RunId) -> Answer<Vec<u8>> {
        Err(ApiError::unavailable("no_receipt", "the run is not over"))
    }

    async fn record(&self, record: RecordId) -> Answer<Vec<u8>> {
        Ok(record.0.as_bytes().to_vec())
    }
}
