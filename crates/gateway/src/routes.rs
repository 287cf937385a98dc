//! Every route, its method, and the call it becomes.

mod content;
mod find;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Path, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use futures::StreamExt;
use guildhall_protocol::api::{
    DrainChange, FetchRequest, Follows, InferRequest, InviteRequest, InviteText, OfferChange,
    PublishRequest, RunRequest, STALE_HEADER,
};
use guildhall_protocol::{Hash, PackageId, RecordId, RunId};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use crate::body::{Id, Json, OCTETS, Octets, PUBLISH_MAX_BYTES, RUN_MAX_BYTES};
use crate::error::{ApiError, ErrorKind};
use crate::guard::{Guard, HEALTH_PATH};
use crate::metrics::{self, Metrics};
use crate::node::{Node, OutputLines};
use crate::oip;
use crate::upload::Upload;

/// Bytes read from a blob at once: large enough that hashing and sending dominate, small enough for many at a time.
const BLOB_CHUNK_BYTES: usize = 64 * 1024;

/// Output lines that are written as one chunk when so many are ready: one record is some hundred bytes.
const LINES_PER_CHUNK: usize = 256;

/// The label of every path that is no route.
const NO_ROUTE: &str = "none";

/// What handlers share.
pub(crate) struct App<N> {
    pub(crate) node: Arc<N>,
    pub(crate) guard: Guard,
    pub(crate) metrics: Metrics,
}

pub(crate) type Shared<N> = State<Arc<App<N>>>;
type Reply<T> = Result<axum::Json<T>, ApiError>;

/// All routes behind the guard.
pub(crate) fn router<N: Node>(app: Arc<App<N>>) -> Router {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/peers", get(peers))
        .route("/api/v1/invites", post(invite))
        .route("/api/v1/join", post(join))
        .route("/api/v1/offer", get(lending).put(set_offer))
        .route("/api/v1/drain", put(drain))
        .route("/api/v1/follows", put(set_follows))
        .route("/api/v1/blobs", post(store_blob))
        .route("/api/v1/blobs/batch", post(content::store_batch))
        .route("/api/v1/blobs/known", post(content::known_blobs))
        .route("/api/v1/blobs/incoming", post(content::adopt))
        .route("/api/v1/blobs/{hash}", get(blob))
        .route("/api/v1/publish", post(publish))
        .route("/api/v1/search", get(find::search_typed).post(find::search))
        .route("/api/v1/show", get(find::show))
        .route("/api/v1/categories", get(find::categories))
        .route("/api/v1/reviews", get(find::reviews).post(find::review))
        .route("/api/v1/yanks", post(find::yank))
        .route("/api/v1/unlisted", get(find::unlisted))
        .route("/api/v1/list", post(find::list))
        .route("/api/v1/demand", get(find::demand))
        .route("/api/v1/demand/subscriptions", put(find::subscribe))
        .route("/api/v1/ranking", get(find::ranking).put(find::set_ranking))
        .route("/api/v1/notices", get(find::notices))
        .route("/api/v1/fetch", post(fetch))
        .route("/api/v1/packages", get(packages))
        .route("/api/v1/packages/{id}/manifest", get(manifest))
        .route("/api/v1/packages/{id}/facts", get(content::facts))
        .route("/api/v1/transfers", get(content::transfers))
        .route("/api/v1/tests", get(content::tests))
        .route("/api/v1/tests/{id}", get(content::test))
        .route("/api/v1/store", get(content::store))
        .route("/api/v1/store/packages", get(content::held))
        .route("/api/v1/store/pins/{id}", put(content::pin).delete(content::unpin))
        .route("/api/v1/store/gc", post(content::collect))
        .route("/api/v1/store/scrub", post(content::scrub))
        .route("/api/v1/store/backup", post(content::backup))
        .route("/api/v1/store/reindex", post(find::reindex))
        .route("/api/v1/listings/{*path}", post(infer))
        .route("/api/v1/runs", post(start_run).get(runs))
        .route("/api/v1/runs/{id}", get(run))
        .route("/api/v1/runs/{id}/cancel", post(cancel_run))
        .route("/api/v1/runs/{id}/resume", post(resume_run))
        .route("/api/v1/runs/{id}/outputs", get(run_outputs))
        .route("/api/v1/runs/{id}/receipt", get(run_receipt))
        .route("/api/v1/records/{id}", get(record))
        .merge(oip::routes())
        .route("/metrics", get(metrics))
        .route(HEALTH_PATH, get(|| async { "ok\n" }))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(Arc::clone(&app), around))
        .with_state(app)
}

/// Around every request: guard before, count and headers after.
async fn around<N: Node>(State(app): Shared<N>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let is_oip = oip::is_below(request.uri());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| NO_ROUTE.to_owned(), |path| path.as_str().to_owned());
    let mut response = match app.guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refuse(request, refusal).await,
    };
    if is_oip {
        response = oip::worded(response);
    }
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(stale) = stale_header(&*app.node) {
        headers.insert(STALE_HEADER, stale);
    }
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    app.metrics.answered(method.as_str(), &route, status.as_u16(), started.elapsed());
    if status.is_server_error() {
        tracing::warn!(%method, route, status = status.as_u16(), "request failed");
    } else {
        tracing::debug!(%method, route, status = status.as_u16(), "request answered");
    }
    response
}

/// What every answer of a stale node says.
fn stale_header<N: Node>(node: &N) -> Option<HeaderValue> {
    let stale = serde_json::to_string(&node.stale()?).ok()?;
    HeaderValue::from_str(&stale).ok()
}

/// Answers without looking at the body, but after reading some of it, so that the answer arrives.
async fn refuse(request: Request, refusal: ApiError) -> Response {
    Upload::new(request.into_body()).drain().await;
    refusal.into_response()
}

async fn no_route(request: Request) -> Response {
    let message = format!("there is no route {:?}", request.uri().path());
    refuse(request, ApiError::not_found("unknown_route", message)).await
}

async fn no_method(request: Request) -> Response {
    let message = format!("this route has no method {}", request.method());
    refuse(request, ApiError::new(ErrorKind::Method, "unknown_method", message)).await
}

async fn status<N: Node>(State(app): Shared<N>) -> Reply<impl serde::Serialize> {
    app.node.status().await.map(axum::Json)
}

async fn peers<N: Node>(State(app): Shared<N>) -> Reply<impl serde::Serialize> {
    app.node.peers().await.map(axum::Json)
}

async fn invite<N: Node>(
    State(app): Shared<N>,
    Json(request): Json<InviteRequest>,
) -> Reply<impl serde::Serialize> {
    app.node.invite(request).await.map(axum::Json)
}

async fn join<N: Node>(
    State(app): Shared<N>,
    Json(invite): Json<InviteText>,
) -> Reply<impl serde::Serialize> {
    app.node.join(invite).await.map(axum::Json)
}

async fn set_offer<N: Node>(
    State(app): Shared<N>,
    Json(change): Json<OfferChange>,
) -> Reply<impl serde::Serialize> {
    app.node.set_offer(change).await.map(axum::Json)
}

async fn lending<N: Node>(State(app): Shared<N>) -> Reply<impl serde::Serialize> {
    app.node.lending().await.map(axum::Json)
}

async fn drain<N: Node>(
    State(app): Shared<N>,
    Json(change): Json<DrainChange>,
) -> Reply<impl serde::Serialize> {
    app.node.drain(change).await.map(axum::Json)
}

async fn set_follows<N: Node>(
    State(app): Shared<N>,
    Json(follows): Json<Follows>,
) -> Reply<impl serde::Serialize> {
    app.node.set_follows(follows).await.map(axum::Json)
}

async fn store_blob<N: Node>(
    State(app): Shared<N>,
    Octets(mut upload): Octets,
) -> Reply<impl serde::Serialize> {
    let stored = app.node.store_blob(&mut upload).await;
    if stored.is_err() {
        upload.drain().await;
    }
    stored.map(axum::Json)
}

async fn blob<N: Node>(
    State(app): Shared<N>,
    Id(hash): Id<Hash>,
) -> Result<impl IntoResponse, ApiError> {
    let blob = app.node.blob(hash).await?;
    let content = blob.content.take(blob.len_bytes);
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(OCTETS)),
        (CONTENT_LENGTH, HeaderValue::from(blob.len_bytes)),
    ];
    let body = Body::from_stream(ReaderStream::with_capacity(content, BLOB_CHUNK_BYTES));
    Ok((headers, body))
}

async fn publish<N: Node>(
    State(app): Shared<N>,
    Json(request): Json<PublishRequest, PUBLISH_MAX_BYTES>,
) -> Reply<impl serde::Serialize> {
    app.node.publish(request).await.map(axum::Json)
}

async fn fetch<N: Node>(
    State(app): Shared<N>,
    Json(request): Json<FetchRequest>,
) -> Reply<impl serde::Serialize> {
    app.node.fetch(request).await.map(axum::Json)
}

async fn packages<N: Node>(State(app): Shared<N>) -> Reply<impl serde::Serialize> {
    app.node.packages().await.map(axum::Json)
}

async fn manifest<N: Node>(
    State(app): Shared<N>,
    Id(package): Id<PackageId>,
) -> Reply<impl serde::Serialize> {
    app.node.manifest(package).await.map(axum::Json)
}

async fn start_run<N: Node>(
    State(app): Shared<N>,
    Json(request): Json<RunRequest, RUN_MAX_BYTES>,
) -> Reply<impl serde::Serialize> {
    app.node.start_run(request).await.map(axum::Json)
}

/// References have a slash in them, so the verb is cut off here.
async fn infer<N: Node>(
    State(app): Shared<N>,
    Path(path): Path<String>,
    Json(request): Json<InferRequest, RUN_MAX_BYTES>,
) -> Reply<impl serde::Serialize> {
    let Some(reference) = path.strip_suffix("/infer") else {
        let why = format!("listings are asked by POST .../infer, not `{path}`");
        return Err(ApiError::not_found("no_route", why));
    };
    let reference = reference
        .parse()
        .map_err(|error| ApiError::invalid("bad_reference", format!("{reference}: {error}")))?;
    app.node.infer(reference, request).await.map(axum::Json)
}

async fn runs<N: Node>(State(app): Shared<N>) -> Reply<impl serde::Serialize> {
    app.node.runs().await.map(axum::Json)
}

async fn run<N: Node>(State(app): Shared<N>, Id(run): Id<RunId>) -> Reply<impl serde::Serialize> {
    app.node.run(run).await.map(axum::Json)
}

async fn cancel_run<N: Node>(
    State(app): Shared<N>,
    Id(run): Id<RunId>,
) -> Reply<impl serde::Serialize> {
    app.node.cancel_run(run).await.map(axum::Json)
}

async fn resume_run<N: Node>(
    State(app): Shared<N>,
    Id(run): Id<RunId>,
) -> Reply<impl serde::Serialize> {
    app.node.resume_run(run).await.map(axum::Json)
}

async fn run_outputs<N: Node>(
    State(app): Shared<N>,
    Id(run): Id<RunId>,
) -> Result<impl IntoResponse, ApiError> {
    let lines = app.node.run_outputs(run).await?;
    let body = Body::from_stream(as_ndjson(lines));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body))
}

fn as_ndjson(lines: OutputLines) -> impl futures::Stream<Item = Result<Vec<u8>, ApiError>> {
    lines.ready_chunks(LINES_PER_CHUNK).map(|lines| {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, &line?)
                .map_err(|error| ApiError::internal(format!("cannot write an output: {error}")))?;
            text.push(b'\n');
        }
        Ok(text)
    })
}

async fn run_receipt<N: Node>(
    State(app): Shared<N>,
    Id(run): Id<RunId>,
) -> Result<impl IntoResponse, ApiError> {
    app.node.run_receipt(run).await.map(as_cbor)
}

async fn record<N: Node>(
    State(app): Shared<N>,
    Id(record): Id<RecordId>,
) -> Result<impl IntoResponse, ApiError> {
    app.node.record(record).await.map(as_cbor)
}

fn as_cbor(bytes: Vec<u8>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/cbor")], bytes)
}

async fn metrics<N: Node>(State(app): Shared<N>) -> Result<impl IntoResponse, ApiError> {
    let status = app.node.status().await?;
    let text = app
        .metrics
        .encode(&status)
        .map_err(|error| ApiError::internal(format!("cannot write the metrics: {error}")))?;
    Ok(([(CONTENT_TYPE, metrics::MEDIA_TYPE)], text))
}
