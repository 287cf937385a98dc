//! The client and its plain requests: one JSON value there, one back.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use guildhall_protocol::api::{
    DrainChange, ErrorBody, FetchRequest, Fetched, Follows, InferAnswer, InferRequest,
    InviteRequest, InviteText, Lending, OfferChange, OutputLine, Peer, PublishRequest, Published,
    RunReport, RunRequest, RunStarted, RunState, STALE_HEADER, Stale, Status,
};
use guildhall_protocol::facts::Facts;
use guildhall_protocol::manifest::Manifest;
use guildhall_protocol::name::{FileName, Reference};
use guildhall_protocol::receipt::Receipt;
use guildhall_protocol::{PackageId, RecordId, RunId, cbor};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// How long a connection may take to open: nodes are on this machine or a few hops away.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long an unused connection is kept. Shorter than a gateway keeps it, so that it is never closed under a request.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// First and longest wait between two looks at a run: short runs should feel immediate, long ones should not be asked
/// about needlessly.
const POLL_FIRST: Duration = Duration::from_millis(50);
const POLL_LONGEST: Duration = Duration::from_millis(250);

/// Longest receipt that is read, bytes: 64 signed jobs of some KiB each.
const RECEIPT_MAX_BYTES: usize = 1024 * 1024;

/// Talks to one node. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    /// What the last answer said.
    stale: Arc<Mutex<Option<Stale>>>,
}

impl Client {
    /// A client of the node whose API is at `base_url`, for example `http://127.0.0.1:7480`. Sends nothing yet.
    ///
    /// # Errors
    /// [`Error::BadUrl`] when it is no HTTP address.
    pub fn new(base_url: &str) -> Result<Self, Error> {
        Self::build(base_url, HeaderMap::new())
    }

    /// The same, for a node that expects a token.
    ///
    /// # Errors
    /// [`Error::BadUrl`] and [`Error::BadToken`].
    pub fn with_token(base_url: &str, token: &str) -> Result<Self, Error> {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Error::BadToken)?;
        value.set_sensitive(true);
        Self::build(base_url, HeaderMap::from_iter([(AUTHORIZATION, value)]))
    }

    fn build(base_url: &str, headers: HeaderMap) -> Result<Self, Error> {
        let base: Url = base_url
            .trim_end_matches('/')
            .parse()
            .ok()
            .filter(|url: &Url| url.scheme() == "http" && url.has_host())
            .ok_or_else(|| Error::BadUrl { url: base_url.to_owned() })?;
        let http = reqwest::Client::builder()
            // A proxy from the environment would see tokens and content that are meant for this node alone.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_MAX)
            .pool_idle_timeout(IDLE_MAX)
            .default_headers(headers)
            .build()
            .map_err(Error::Setup)?;
        Ok(Self { http, base, stale: Arc::default() })
    }

    /// Whether the node said with its last answer that it has heard nothing from another org for a day or more. Clones
    /// share this too.
    #[must_use]
    pub fn stale(&self) -> Option<Stale> {
        *self.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Whether the node is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// `GET /status`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn status(&self) -> Result<Status, Error> {
        self.get("status").await
    }

    /// `GET /peers`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn peers(&self) -> Result<Vec<Peer>, Error> {
        self.get("peers").await
    }

    /// `POST /invites`: the text that brings one org into the federation.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn invite(&self, request: &InviteRequest) -> Result<String, Error> {
        let answer: InviteText = self.send(Method::POST, "invites", request).await?;
        Ok(answer.invite)
    }

    /// `POST /join`: the status afterwards.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn join(&self, invite: &str) -> Result<Status, Error> {
        self.send(Method::POST, "join", &InviteText { invite: invite.to_owned() }).await
    }

    /// `PUT /offer`: the status afterwards.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_offer(&self, change: &OfferChange) -> Result<Status, Error> {
        self.send(Method::PUT, "offer", change).await
    }

    /// `GET /offer`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn lending(&self) -> Result<Lending, Error> {
        self.get("offer").await
    }

    /// `PUT /drain`: what is lent, afterwards.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn drain(&self, draining: bool) -> Result<Lending, Error> {
        self.send(Method::PUT, "drain", &DrainChange { draining }).await
    }

    /// `PUT /follows`: the status afterwards.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_follows(&self, follows: &Follows) -> Result<Status, Error> {
        self.send(Method::PUT, "follows", follows).await
    }

    /// `POST /publish`. The blobs must be there already.
    ///
    /// # Errors
    /// [`Error`]; a package that fails its checks is an [`Error::Api`] with a detail for each check.
    pub async fn publish(&self, request: &PublishRequest) -> Result<Published, Error> {
        self.send(Method::POST, "publish", request).await
    }

    /// `POST /fetch`: returns when the package is complete at the node.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn fetch(&self, reference: &Reference) -> Result<Fetched, Error> {
        self.send(
            Method::POST,
            "fetch",
            &FetchRequest { reference: reference.clone(), include: Vec::new(), query_id: None },
        )
        .await
    }

    /// `GET /packages`: complete packages that the node holds.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn packages(&self) -> Result<Vec<PackageId>, Error> {
        self.get("packages").await
    }

    /// `GET /packages/{id}/manifest`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn manifest(&self, package: PackageId) -> Result<Manifest, Error> {
        self.get(&format!("packages/{package}/manifest")).await
    }

    /// `GET /packages/{id}/facts`: what workers found in its files, by name.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn facts(&self, package: PackageId) -> Result<Vec<(FileName, Facts)>, Error> {
        self.get(&format!("packages/{package}/facts")).await
    }

    /// `POST /runs`: returns when the run is under way.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn start_run(&self, request: &RunRequest) -> Result<RunId, Error> {
        let started: RunStarted = self.send(Method::POST, "runs", request).await?;
        Ok(started.run_id)
    }

    /// `POST /listings/{ref}/infer`: scores a few records and returns what came out.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn infer(
        &self,
        reference: &Reference,
        request: &InferRequest,
    ) -> Result<InferAnswer, Error> {
        self.send(Method::POST, &format!("listings/{reference}/infer"), request).await
    }

    /// `GET /runs`: newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn runs(&self) -> Result<Vec<RunReport>, Error> {
        self.get("runs").await
    }

    /// `GET /runs/{id}`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run(&self, run: RunId) -> Result<RunReport, Error> {
        self.get(&format!("runs/{run}")).await
    }

    /// `POST /runs/{id}/cancel`: ends a run; what came out is kept.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cancel_run(&self, run: RunId) -> Result<RunReport, Error> {
        self.send(Method::POST, &format!("runs/{run}/cancel"), &()).await
    }

    /// `POST /runs/{id}/resume`: goes on behind what came out, and returns when the run is under way.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn resume_run(&self, run: RunId) -> Result<RunReport, Error> {
        self.send(Method::POST, &format!("runs/{run}/resume"), &()).await
    }

    /// Waits until a run is over and returns its last report. `seen` gets every report, also the last one.
    ///
    /// # Errors
    /// [`Error`]; a failed run is a report, not an error.
    pub async fn wait_run(
        &self,
        run: RunId,
        mut seen: impl FnMut(&RunReport),
    ) -> Result<RunReport, Error> {
        let mut wait = POLL_FIRST;
        loop {
            let report = self.run(run).await?;
            seen(&report);
            if report.state != RunState::Running {
                return Ok(report);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(POLL_LONGEST);
        }
    }

    /// `GET /runs/{id}/receipt`, not yet verified: see [`Receipt::verify`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run_receipt(&self, run: RunId) -> Result<Receipt, Error> {
        let bytes = self.bytes(&format!("runs/{run}/receipt")).await?;
        cbor::decode(&bytes, RECEIPT_MAX_BYTES)
            .map_err(|error| Error::Decode { why: format!("the receipt: {error}") })
    }

    /// `GET /records/{id}`: the record's bytes, as they were signed and not yet verified.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn record(&self, record: RecordId) -> Result<Vec<u8>, Error> {
        self.bytes(&format!("records/{record}")).await
    }

    /// `GET /runs/{id}/outputs`: everything that came out so far.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run_outputs(&self, run: RunId) -> Result<Vec<OutputLine>, Error> {
        let mut lines = Vec::new();
        self.each_output(run, |line| lines.push(line)).await?;
        Ok(lines)
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        json(self.answer(self.request(Method::GET, path)).await?).await
    }

    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Error> {
        json(self.answer(self.request(method, path).json(body)).await?).await
    }

    async fn bytes(&self, path: &str) -> Result<Vec<u8>, Error> {
        let response = self.answer(self.request(Method::GET, path)).await?;
        Ok(response.bytes().await.map_err(Error::Broken)?.into())
    }

    /// A request for `path` below `/api/v1`.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/api/v1/{path}", self.url()))
    }

    /// Sends a request; whatever is not a success becomes an error.
    pub(crate) async fn answer(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|source| {
            let source = source.without_url();
            if source.is_connect() {
                Error::Unreachable { url: self.url().to_owned(), source }
            } else {
                Error::Broken(source)
            }
        })?;
        let stale = response.headers().get(STALE_HEADER);
        let stale = stale.and_then(|value| serde_json::from_slice(value.as_bytes()).ok());
        *self.stale.lock().unwrap_or_else(PoisonError::into_inner) = stale;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.bytes().await.map_err(Error::Broken)?;
        match serde_json::from_slice::<ErrorBody>(&text) {
            Ok(body) => Err(Error::Api { status: status.as_u16(), body: Box::new(body) }),
            Err(_) => Err(Error::Status { status: status.as_u16() }),
        }
    }
}

pub(crate) async fn json<T: DeserializeOwned>(response: Response) -> Result<T, Error> {
    let bytes = response.bytes().await.map_err(Error::Broken)?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Decode { why: error.to_string() })
}
