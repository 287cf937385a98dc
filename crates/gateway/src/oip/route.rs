//! The protocol's routes: what is read from a request, which call it becomes, what is sent back.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use guildhall_protocol::contract::LimitSet;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::{Reference, Version};
use guildhall_protocol::query::Query;
use serde_json::{Value, json};

use super::path::{ModelPath, Verb};
use super::{answer, metadata, outputs, path, records, request};
use crate::body::{OCTETS, announced_bytes};
use crate::error::{ApiError, ErrorKind};
use crate::node::Node;
use crate::routes::{App, Shared};
use crate::score::{Scorable, ScoreRequest, Scored};
use crate::upload::Upload;

/// Says how long the JSON of a body is when binary data follows it.
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// The media type of JSON.
const JSON: &str = "application/json";

/// Models that the index names: what a person may still look through. More are found with `/api/v1/search`.
const INDEX_MAX: usize = 1_000;

/// Extensions of the protocol that are here.
const EXTENSIONS: [&str; 2] = ["binary_tensor_data", "classification"];

/// The routes below `/oip`.
pub(crate) fn routes<N: Node>() -> Router<std::sync::Arc<App<N>>> {
    Router::new()
        .route("/oip/v2", get(server))
        .route("/oip/v2/health/live", get(live))
        .route("/oip/v2/health/ready", get(ready))
        .route("/oip/v2/models", get(index))
        .route("/oip/v2/repository/index", post(index))
        .route("/oip/v2/models/{*path}", get(model::<N>).post(infer::<N>))
}

async fn server() -> axum::Json<Value> {
    axum::Json(json!({
        "name": "guildhall", "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS,
    }))
}

async fn live() -> axum::Json<Value> {
    axum::Json(json!({ "live": true }))
}

async fn ready<N: Node>(State(app): Shared<N>) -> Result<axum::Json<Value>, ApiError> {
    app.node.status().await?;
    Ok(axum::Json(json!({ "ready": true })))
}

/// The models that this node can run, or have run by one that lends it hardware, as far as its catalogue goes.
async fn index<N: Node>(State(app): Shared<N>) -> Result<axum::Json<Vec<Value>>, ApiError> {
    let mut models = Vec::new();
    let mut query = Query {
        runnable: true,
        local: true,
        limit: guildhall_protocol::limits::QUERY_MAX_RESULTS,
        ..Query::default()
    };
    loop {
        let answer = app.node.search(query.clone()).await?;
        for found in answer.results {
            if let Reference::Named { org, name, version } = &found.reference
                && found.kind != Kind::Data
                && models.len() < INDEX_MAX
            {
                let version = version.as_ref().map(ToString::to_string).unwrap_or_default();
                models.push(json!({
                    "name": format!("{org}/{name}"), "version": version, "state": "READY",
                    "reason": "",
                }));
            }
        }
        query.page = answer.next;
        if query.page.is_none() || models.len() >= INDEX_MAX {
            return Ok(axum::Json(models));
        }
    }
}

/// A path below `models/`, whose escapes may be no UTF-8.
type Asked = Result<Path<String>, PathRejection>;

fn text(asked: Asked) -> Result<String, ApiError> {
    let Path(text) = asked.map_err(|why| ApiError::invalid("bad_path", why.body_text()))?;
    Ok(text)
}

async fn model<N: Node>(
    State(app): Shared<N>,
    asked: Asked,
) -> Result<axum::Json<Value>, ApiError> {
    let path = path::read(&text(asked)?)?;
    if path.verb == Verb::Infer {
        return Err(ApiError::new(ErrorKind::Method, "unknown_method", "`infer` is a POST"));
    }
    let scorable = app.node.scorable(path.reference.clone()).await?;
    if path.verb == Verb::Ready {
        return Ok(axum::Json(json!({ "name": path.name, "ready": true })));
    }
    Ok(axum::Json(metadata::model(&path, &scorable, &versions(&app, &path).await?)))
}

/// All versions of a name; none of a package that is named by its id.
async fn versions<N: Node>(app: &App<N>, path: &ModelPath) -> Result<Vec<Version>, ApiError> {
    match &path.reference {
        Reference::Named { .. } => Ok(app.node.show(path.reference.clone()).await?.versions),
        Reference::Package(_) => Ok(Vec::new()),
    }
}

async fn infer<N: Node>(
    State(app): Shared<N>,
    asked: Asked,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let mut upload = Upload::new(body);
    let checked = text(asked).and_then(|asked| check_head(&asked, &parts.headers));
    let (path, json_bytes) = match checked {
        Ok(checked) => checked,
        Err(refusal) => {
            upload.drain().await;
            return Err(refusal);
        }
    };
    let announced = announced_bytes(&parts.headers);
    let body = upload.whole(request::BODY_MAX_BYTES, announced).await?;
    let scorable = app.node.scorable(path.reference.clone()).await?;
    answered(&app, &path, &scorable, &body, json_bytes).await
}

async fn answered<N: Node>(
    app: &App<N>,
    path: &ModelPath,
    scorable: &Scorable,
    body: &[u8],
    json_bytes: Option<u64>,
) -> Result<Response, ApiError> {
    let Scorable { reference, interface, .. } = scorable;
    let mut request = request::read(body, json_bytes)?;
    outputs::check_wanted(interface, &request.outputs)?;
    let records = records::bind(interface, std::mem::take(&mut request.inputs))?;
    let timeout_ms = request.timeout_ms.map(std::num::NonZeroU64::get);
    let score = ScoreRequest {
        records: records.values,
        on: request.on.clone(),
        limits: LimitSet { total_ms: timeout_ms, queue_ms: timeout_ms, ..LimitSet::default() },
    };
    let version = match reference {
        Reference::Named { version, .. } => version.as_ref().map(ToString::to_string),
        Reference::Package(_) => None,
    };
    let Scored { run_id, executed_on, records: ends } = app.node.score(scorable, score).await?;
    let mut values = Vec::new();
    for (at, end) in ends.into_iter().enumerate() {
        // The protocol has no way to say that some records failed.
        values.push(end.map_err(|failure| {
            ApiError::failed(failure.cause, format!("record {at}: {}", failure.message))
        })?);
    }
    let made = outputs::collect(interface, &values, records.is_batch, &request.outputs)?;
    drop(values);
    let mut parameters = BTreeMap::from([("run_id", run_id.to_string())]);
    if let Some(node) = executed_on {
        parameters.insert("executed_on", format!("{} {}", node.org, node.peer_id));
    }
    let head = answer::Head {
        model_name: &path.name,
        model_version: version,
        id: request.id.as_deref(),
        parameters,
    };
    let made: Vec<_> = made
        .into_iter()
        .map(|output| {
            let is_binary = request.is_binary(&output.name);
            (output, is_binary)
        })
        .collect();
    Ok(sent(answer::write(&head, &made)?))
}

fn sent(body: answer::Body) -> Response {
    let media_type = if body.json_bytes.is_some() { OCTETS } else { JSON };
    let mut response = ([(CONTENT_TYPE, media_type)], body.bytes).into_response();
    if let Some(len) = body.json_bytes {
        response.headers_mut().insert(JSON_LENGTH, HeaderValue::from(len));
    }
    response
}

/// Everything that can be said before a body is read.
fn check_head(asked: &str, headers: &HeaderMap) -> Result<(ModelPath, Option<u64>), ApiError> {
    let path = path::read(asked)?;
    if path.verb != Verb::Infer {
        return Err(ApiError::new(
            ErrorKind::Method,
            "unknown_method",
            "what is posted to is models/ORG/NAME/infer",
        ));
    }
    check_media_type(headers)?;
    let json_bytes = match headers.get(&JSON_LENGTH) {
        None => None,
        Some(value) => {
            let length = value.to_str().ok().and_then(|text| text.parse().ok());
            Some(length.ok_or(super::error::Fault::HeaderLength)?)
        }
    };
    Ok((path, json_bytes))
}

/// Triton's clients say no media type at all. What forms of web pages send is refused; a page that says none either is
/// known by its origin.
fn check_media_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let wrong = |why: &str| ApiError::new(ErrorKind::MediaType, "wrong_media_type", why);
    let is_plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().any(|value| !is_plain(value)) {
        return Err(wrong("bodies are not taken compressed"));
    }
    let Some(sent) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = sent.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match [JSON, OCTETS].iter().any(|known| essence.eq_ignore_ascii_case(known)) {
        true => Ok(()),
        false => Err(wrong(
            "this route takes a body of type `application/json` or `application/octet-stream`",
        )),
    }
}
