//! Routes around finding and judging: queries, categories, reviews, yanks, what is unlisted, demand, ranking, notices.

use axum::extract::State;
use guildhall_protocol::api::{ListRequest, Ranking, ReviewRequest, Subscriptions, YankRequest};
use guildhall_protocol::query::Query;

use super::{Reply, Shared};
use crate::body::{Json, RefQuery, Shorthand};
use crate::node::Node;

/// A query in full.
pub(super) async fn search<N: Node>(
    State(app): Shared<N>,
    Json(query): Json<Query>,
) -> Reply<impl serde::Serialize> {
    app.node.search(query).await.map(axum::Json)
}

/// A query as people type it.
pub(super) async fn search_typed<N: Node>(
    State(app): Shared<N>,
    Shorthand(query): Shorthand,
) -> Reply<impl serde::Serialize> {
    app.node.search(query).await.map(axum::Json)
}

pub(super) async fn show<N: Node>(
    State(app): Shared<N>,
    RefQuery(reference): RefQuery,
) -> Reply<impl serde::Serialize> {
    app.node.show(reference).await.map(axum::Json)
}

pub(super) async fn categories<N: Node>(State(app): Shared<N>) -> Reply<impl serde::Serialize> {
    app.node.categories().await.map(axum::Json)
}

pub(super) async fn reviews<N: Node>(
    State(app): Shared<N>,
    RefQuery(reference): RefQuery,
) -> Reply<impl serde::Serialize> {
    app.node.reviews(reference).await.map(axum::Json)
}

pub(super) async fn review<N: Node>(
    State(app): Shared<N>,
    Json(request): Json<ReviewRequest>,
) -> Reply<impl serde::Serialize> {
    app.node.review(request).await.map(axum::Json)
}

pub(super) async fn yank<N: Node>(
    State(app): Shared<N>,
    Json(request): Json<YankRequest>,
) -> Reply<impl serde::Serialize> {
    app.node.yank(request).await.map(axum::Json)
}

pub(super) async fn unlisted<N: Node>(State(app): Shared<N>) -> Reply<impl serde::Serialize> {
    app.node.unlisted().await.map(axum::Json)
}

pub(super) async fn list<N: Node>(
    State(app): Shared<N>,
    Json(request): Json<ListRequest>,
) -> Reply<impl serde::Serialize> {
    app.node.list(request).await.map(axum::Json)
}

pub(super) async fn demand<N: Node>(State(app): Shared<N>) -> Reply<impl serde::Serialize> {
    app.node.demand().await.map(axum::Json)
}

pub(super) async fn subscribe<N: Node>(
    State(app): Shared<N>,
    Json(subscriptions): Json<Subscriptions>,
) -> Reply<impl serde::Serialize> {
    app.node.subscribe(subscriptions).await.map(axum::Json)
}

pub(super) async fn ranking<N: Node>(State(app): Shared<N>) -> Reply<impl serde::Serialize> {
    app.node.ranking().await.map(axum::Json)
}

pub(super) async fn set_ranking<N: Node>(
    State(app): Shared<N>,
    Json(ranking): Json<Ranking>,
) -> Reply<impl serde::Serialize> {
    app.node.set_ranking(ranking).await.map(axum::Json)
}

pub(super) async fn notices<N: Node>(State(app): Shared<N>) -> Reply<impl serde::Serialize> {
    app.node.notices().await.map(axum::Json)
}

pub(super) async fn reindex<N: Node>(State(app): Shared<N>) -> Reply<impl serde::Serialize> {
    app.node.reindex().await.map(axum::Json)
}
