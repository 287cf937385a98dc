//! The port: what the gateway asks of a node, a method for each route.
//!
//! The gateway has checked form, size, host and token before it calls; the node decides everything else. A call is
//! dropped at any `await` when its client goes away, so a method must leave nothing half done behind.

use std::pin::Pin;

use futures::stream::BoxStream;
use guildhall_protocol::api::{
    AdoptRequest, BackupMade, BackupRequest, BlobQuery, BlobStored, BlobsKnown, CategoryCount,
    DemandReport, Detail, DrainChange, FetchRequest, Fetched, Follows, GcReport, GcRequest,
    HeldPackage, InferAnswer, InferRequest, InviteRequest, InviteText, Lending, ListRequest,
    Notice, OfferChange, OutputLine, Peer, PublishRequest, Published, Ranking, Reindexed,
    ReviewRequest, ReviewShown, RunReport, RunRequest, RunStarted, ScrubReport, ScrubRequest,
    SearchAnswer, Stale, Status, StoreReport, Subscriptions, TestLog, Transfer, Unlisted,
    YankRequest, Yanked,
};
use guildhall_protocol::facts::Facts;
use guildhall_protocol::manifest::Manifest;
use guildhall_protocol::name::{FileName, Reference};
use guildhall_protocol::query::Query;
use guildhall_protocol::{Hash, PackageId, RecordId, RunId};
use tokio::io::AsyncRead;

use crate::error::ApiError;
use crate::score::{Scorable, ScoreRequest, Scored};
use crate::upload::Upload;

/// What a method of [`Node`] returns.
pub type Answer<T> = Result<T, ApiError>;

/// A node, as its HTTP API sees it.
pub trait Node: Send + Sync + 'static {
    /// `GET /status`; also feeds `/metrics`, so it should be cheap.
    fn status(&self) -> impl Future<Output = Answer<Status>> + Send;

    /// Told with every answer, in the header [`STALE_HEADER`](guildhall_protocol::api::STALE_HEADER); so it must be cheap.
    fn stale(&self) -> Option<Stale> {
        None
    }

    /// `GET /peers`.
    fn peers(&self) -> impl Future<Output = Answer<Vec<Peer>>> + Send;

    /// `POST /invites`.
    fn invite(&self, request: InviteRequest) -> impl Future<Output = Answer<InviteText>> + Send;

    /// `POST /join`: the status afterwards, with the federation that was joined.
    fn join(&self, invite: InviteText) -> impl Future<Output = Answer<Status>> + Send;

    /// `PUT /offer`: the status afterwards.
    fn set_offer(&self, change: OfferChange) -> impl Future<Output = Answer<Status>> + Send;

    /// `GET /offer`: what the node has and lends, and who uses it.
    fn lending(&self) -> impl Future<Output = Answer<Lending>> + Send;

    /// `PUT /drain`: what is lent, afterwards.
    fn drain(&self, change: DrainChange) -> impl Future<Output = Answer<Lending>> + Send;

    /// `PUT /follows`: the status afterwards.
    fn set_follows(&self, follows: Follows) -> impl Future<Output = Answer<Status>> + Send;

    /// `POST /blobs`. The node caps the length and drops what it wrote when [`Upload::chunk`] fails.
    fn store_blob(&self, upload: &mut Upload) -> impl Future<Output = Answer<BlobStored>> + Send;

    /// `POST /blobs/batch`: several small blobs, each behind its length as 4 big-endian bytes. Answered in their order.
    fn store_batch(
        &self,
        upload: &mut Upload,
    ) -> impl Future<Output = Answer<Vec<BlobStored>>> + Send;

    /// `POST /blobs/known`: which of them need not be sent.
    fn known_blobs(&self, query: BlobQuery) -> impl Future<Output = Answer<BlobsKnown>> + Send;

    /// `POST /blobs/incoming`: takes over a file that the client put into the store's folder for that.
    fn adopt(&self, request: AdoptRequest) -> impl Future<Output = Answer<BlobStored>> + Send;

    /// `GET /blobs/{hash}`.
    fn blob(&self, hash: Hash) -> impl Future<Output = Answer<Blob>> + Send;

    /// `POST /publish`. A package that fails its checks is an [`ApiError::failed`] with a detail for each check.
    fn publish(&self, request: PublishRequest) -> impl Future<Output = Answer<Published>> + Send;

    /// `POST /search`, and `GET /search?q=` with what [`Query::read`] makes of it.
    fn search(&self, query: Query) -> impl Future<Output = Answer<SearchAnswer>> + Send;

    /// `GET /show?ref=`.
    fn show(&self, reference: Reference) -> impl Future<Output = Answer<Detail>> + Send;

    /// `GET /categories`: the vocabulary and every other category that is in use, in their order.
    fn categories(&self) -> impl Future<Output = Answer<Vec<CategoryCount>>> + Send;

    /// `GET /reviews?ref=`: what orgs say of a package, the newest first.
    fn reviews(
        &self,
        reference: Reference,
    ) -> impl Future<Output = Answer<Vec<ReviewShown>>> + Send;

    /// `POST /reviews`: the review as it is shown from now on.
    fn review(&self, request: ReviewRequest) -> impl Future<Output = Answer<ReviewShown>> + Send;

    /// `POST /yanks`.
    fn yank(&self, request: YankRequest) -> impl Future<Output = Answer<Yanked>> + Send;

    /// `GET /unlisted`: what was published here without a listing.
    fn unlisted(&self) -> impl Future<Output = Answer<Vec<Unlisted>>> + Send;

    /// `POST /list`: lists one of them.
    fn list(&self, request: ListRequest) -> impl Future<Output = Answer<Published>> + Send;

    /// `GET /demand`.
    fn demand(&self) -> impl Future<Output = Answer<DemandReport>> + Send;

    /// `PUT /demand/subscriptions`: the report afterwards.
    fn subscribe(
        &self,
        subscriptions: Subscriptions,
    ) -> impl Future<Output = Answer<DemandReport>> + Send;

    /// `GET /ranking`: every weight, and the orgs whose trust was set.
    fn ranking(&self) -> impl Future<Output = Answer<Ranking>> + Send;

    /// `PUT /ranking`: the whole of it afterwards. One that names nothing puts everything back to what it was at first.
    fn set_ranking(&self, ranking: Ranking) -> impl Future<Output = Answer<Ranking>> + Send;

    /// `GET /notices`: the newest first.
    fn notices(&self) -> impl Future<Output = Answer<Vec<Notice>>> + Send;

    /// `POST /store/reindex`: builds the catalogue from the records. Returns when it is in use.
    fn reindex(&self) -> impl Future<Output = Answer<Reindexed>> + Send;

    /// `POST /fetch`. Returns when the package is complete.
    fn fetch(&self, request: FetchRequest) -> impl Future<Output = Answer<Fetched>> + Send;

    /// `GET /packages`: complete packages that are here.
    fn packages(&self) -> impl Future<Output = Answer<Vec<PackageId>>> + Send;

    /// `GET /packages/{id}/manifest`.
    fn manifest(&self, package: PackageId) -> impl Future<Output = Answer<Manifest>> + Send;

    /// `GET /packages/{id}/facts`: what the files of a package that is here turn out to be.
    fn facts(
        &self,
        package: PackageId,
    ) -> impl Future<Output = Answer<Vec<(FileName, Facts)>>> + Send;

    /// `GET /transfers`: packages that are being fetched.
    fn transfers(&self) -> impl Future<Output = Answer<Vec<Transfer>>> + Send;

    /// `GET /tests`: publications that were refused, newest first.
    fn tests(&self) -> impl Future<Output = Answer<Vec<TestLog>>> + Send;

    /// `GET /tests/{id}`: why the package of this id was refused last.
    fn test(&self, package: PackageId) -> impl Future<Output = Answer<TestLog>> + Send;

    /// `GET /store`.
    fn store(&self) -> impl Future<Output = Answer<StoreReport>> + Send;

    /// `GET /store/packages`: packages that are here in full.
    fn held(&self) -> impl Future<Output = Answer<Vec<HeldPackage>>> + Send;

    /// `PUT` and `DELETE /store/pins/{id}`.
    fn set_pin(
        &self,
        package: PackageId,
        pinned: bool,
    ) -> impl Future<Output = Answer<HeldPackage>> + Send;

    /// `POST /store/gc`.
    fn collect(&self, request: GcRequest) -> impl Future<Output = Answer<GcReport>> + Send;

    /// `POST /store/scrub`. Returns when everything was looked at.
    fn scrub(&self, request: ScrubRequest) -> impl Future<Output = Answer<ScrubReport>> + Send;

    /// `POST /store/backup`. Returns when the copy is complete.
    fn backup(&self, request: BackupRequest) -> impl Future<Output = Answer<BackupMade>> + Send;

    /// `POST /runs`. Returns when the run is under way, not when it ends.
    fn start_run(&self, request: RunRequest) -> impl Future<Output = Answer<RunStarted>> + Send;

    /// `POST /listings/{ref}/infer`: scores a few records and returns what came out.
    fn infer(
        &self,
        reference: Reference,
        request: InferRequest,
    ) -> impl Future<Output = Answer<InferAnswer>> + Send;

    /// What can be scored with under this reference, and what it takes; `GET /oip/v2/models/{ref}` and the start of each
    /// `infer` there.
    fn scorable(&self, reference: Reference) -> impl Future<Output = Answer<Scorable>> + Send;

    /// `POST /oip/v2/models/{ref}/infer`: like [`infer`](Self::infer), with values in their plain form, of what
    /// [`scorable`](Self::scorable) has found.
    fn score(
        &self,
        of: &Scorable,
        request: ScoreRequest,
    ) -> impl Future<Output = Answer<Scored>> + Send;

    /// `GET /runs`: newest first, as many as the node remembers.
    fn runs(&self) -> impl Future<Output = Answer<Vec<RunReport>>> + Send;

    /// `GET /runs/{id}`.
    fn run(&self, run: RunId) -> impl Future<Output = Answer<RunReport>> + Send;

    /// `POST /runs/{id}/cancel`: ends a run; what came out is kept.
    fn cancel_run(&self, run: RunId) -> impl Future<Output = Answer<RunReport>> + Send;

    /// `POST /runs/{id}/resume`: goes on behind what came out. Returns when the run is under way.
    fn resume_run(&self, run: RunId) -> impl Future<Output = Answer<RunReport>> + Send;

    /// `GET /runs/{id}/outputs`: what came out so far, in order.
    fn run_outputs(&self, run: RunId) -> impl Future<Output = Answer<OutputLines>> + Send;

    /// `GET /runs/{id}/receipt`: the encoded [`Receipt`](guildhall_protocol::receipt::Receipt).
    fn run_receipt(&self, run: RunId) -> impl Future<Output = Answer<Vec<u8>>> + Send;

    /// `GET /records/{id}`: the record's bytes as they were signed.
    fn record(&self, record: RecordId) -> impl Future<Output = Answer<Vec<u8>>> + Send;
}

/// The outputs of a run, one by one. An error ends the response early, so that the client sees it cut off.
pub type OutputLines = BoxStream<'static, Answer<OutputLine>>;

/// A blob on its way to a client.
pub struct Blob {
    /// Length, bytes; `content` yields exactly as many.
    pub len_bytes: u64,
    /// The bytes.
    pub content: Pin<Box<dyn AsyncRead + Send>>,
}
