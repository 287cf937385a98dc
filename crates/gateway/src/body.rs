//! Reading what a request carries: JSON bodies within their bound, ids in paths, references in queries.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use guildhall_protocol::name::Reference;
use guildhall_protocol::query::{PageMark, Query as Asked};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{ApiError, ErrorKind};
use crate::upload::Upload;

/// Longest JSON body where a route sets no other bound, bytes. The longest real one is a query or an offer, a few KiB;
/// this is what costs a node nothing to hold for a moment.
pub(crate) const JSON_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Longest body of `POST /publish`, bytes: a manifest of 8 MiB in CBOR is at most four times as long in JSON.
pub(crate) const PUBLISH_MAX_BYTES: usize = 32 * 1024 * 1024;

/// Longest body of `POST /runs`, bytes: a screenful of records of some MiB each, in base64. More than that is a data
/// package.
pub(crate) const RUN_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Unknown fields that an error names.
const UNKNOWN_NAMED_MAX: usize = 4;

/// The media type of blobs. A page of another origin cannot send it without asking, and it is never allowed.
pub(crate) const OCTETS: &str = "application/octet-stream";

/// A JSON body of at most `MAX_BYTES`.
pub(crate) struct Json<T, const MAX_BYTES: usize = JSON_MAX_BYTES>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned, const MAX_BYTES: usize> FromRequest<S> for Json<T, MAX_BYTES> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let mut upload = Upload::new(body);
        if let Err(refusal) = expect_media_type(&parts.headers, "application/json") {
            upload.drain().await;
            return Err(refusal);
        }
        let bytes = upload.whole(MAX_BYTES, announced_bytes(&parts.headers)).await?;
        read_json(&bytes).map(Self)
    }
}

/// A body's value. What the type does not know is refused: a misspelt criterion must not make a query wider.
fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let bad = |why: &dyn Display| {
        ApiError::invalid("bad_json", format!("the body is not what this route takes: {why}"))
    };
    // A list would be read as the fields in their order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(bad(&"it is a list and no object"));
    }
    let mut unknown = Vec::new();
    let mut input = serde_json::Deserializer::from_slice(bytes);
    let value = serde_ignored::deserialize(&mut input, |path| {
        if unknown.len() < UNKNOWN_NAMED_MAX {
            unknown.push(path.to_string());
        }
    });
    // The error names line and column, and for a wrong value the field.
    let value = value.map_err(|error: serde_json::Error| bad(&error))?;
    input.end().map_err(|error| bad(&error))?;
    match unknown.first() {
        None => Ok(value),
        Some(_) => Err(bad(&format!("it has no field `{}`", unknown.join("`, `")))),
    }
}

/// The bytes of a blob, as they come.
pub(crate) struct Octets(pub(crate) Upload);

impl<S: Sync> FromRequest<S> for Octets {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let mut upload = Upload::new(body);
        match expect_media_type(&parts.headers, OCTETS) {
            Ok(()) => Ok(Self(upload)),
            Err(refusal) => {
                upload.drain().await;
                Err(refusal)
            }
        }
    }
}

fn expect_media_type(headers: &HeaderMap, expected: &'static str) -> Result<(), ApiError> {
    let essence = |value: &HeaderValue| -> Option<String> {
        let value = value.to_str().ok()?;
        Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    };
    match headers.get(CONTENT_TYPE).and_then(essence) {
        Some(sent) if sent == expected => Ok(()),
        _ => Err(ApiError::new(
            ErrorKind::MediaType,
            "wrong_media_type",
            format!("this route takes a body of type `{expected}`"),
        )
        .with_help(format!("curl -H 'content-type: {expected}' ..."))),
    }
}

/// How long the client says its body is, bytes.
pub(crate) fn announced_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The id in a path.
pub(crate) struct Id<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for Id<T>
where
    S: Send + Sync,
    T: FromStr<Err: Display>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let refuse = |why: &dyn Display| ApiError::invalid("bad_id", format!("in the path: {why}"));
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection: PathRejection| refuse(&rejection.body_text()))?;
        text.parse().map(Self).map_err(|error| refuse(&error))
    }
}

/// The reference in `?ref=`.
pub(crate) struct RefQuery(pub(crate) Reference);

#[derive(Deserialize)]
struct RefParameter {
    #[serde(rename = "ref")]
    reference: Reference,
}

impl<S: Send + Sync> FromRequestParts<S> for RefQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(parameter) = Query::<RefParameter>::from_request_parts(parts, state)
            .await
            .map_err(|rejection: QueryRejection| {
                ApiError::invalid("bad_reference", rejection.body_text())
            })?;
        Ok(Self(parameter.reference))
    }
}

/// The query in `?q=`, as people type it, and which part of its answer is wanted.
pub(crate) struct Shorthand(pub(crate) Asked);

// A parameter that is not known would be one that silently narrows nothing.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ShorthandParameters {
    q: String,
    limit: Option<usize>,
    page: Option<PageMark>,
    facets: bool,
    local: bool,
    share_text: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Shorthand {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let refuse = |why: String| {
            let example = "curl -G .../api/v1/search --data-urlencode 'q=digits kind:model'";
            ApiError::invalid("bad_query", why).with_help(example)
        };
        let Query(given) = Query::<ShorthandParameters>::from_request_parts(parts, state)
            .await
            .map_err(|rejection: QueryRejection| refuse(rejection.body_text()))?;
        let query = Asked::read(&given.q).map_err(|error| refuse(error.to_string()))?;
        Ok(Self(Asked {
            limit: given.limit.unwrap_or(query.limit),
            page: given.page,
            facets: given.facets,
            local: given.local,
            share_text: given.share_text,
            ..query
        }))
    }
}
