//! Routes around content: many small blobs at once, what is being moved, what the store keeps.

use axum::extract::State;
use guildhall_protocol::PackageId;
use guildhall_protocol::api::{AdoptRequest, BackupRequest, BlobQuery, GcRequest, ScrubRequest};

use super::{Reply, Shared};
use crate::body::{Id, Json, Octets};
use crate::node::Node;

pub(super) async fn store_batch<N: Node>(
    State(app): Shared<N>,
    Octets(mut upload): Octets,
) -> Reply<impl serde::Serialize> {
    let stored = app.node.store_batch(&mut upload).await;
    if stored.is_err() {
        upload.drain().await;
    }
    stored.map(axum::Json)
}

pub(super) async fn known_blobs<N: Node>(
    State(app): Shared<N>,
    Json(query): Json<BlobQuery>,
) -> Reply<impl serde::Serialize> {
    app.node.known_blobs(query).await.map(axum::Json)
}

pub(super) async fn adopt<N: Node>(
    State(app): Shared<N>,
    Json(request): Json<AdoptRequest>,
) -> Reply<impl serde::Serialize> {
    app.node.adopt(request).await.map(axum::Json)
}

pub(super) async fn facts<N: Node>(
    State(app): Shared<N>,
    Id(package): Id<PackageId>,
) -> Reply<impl serde::Serialize> {
    app.node.facts(package).await.map(axum::Json)
}

pub(super) async fn transfers<N: Node>(State(app): Shared<N>) -> Reply<impl serde::Serialize> {
    app.node.transfers().await.map(axum::Json)
}

pub(super) async fn tests<N: Node>(State(app): Shared<N>) -> Reply<impl serde::Serialize> {
    app.node.tests().await.map(axum::Json)
}

pub(super) async fn test<N: Node>(
    State(app): Shared<N>,
    Id(package): Id<PackageId>,
) -> Reply<impl serde::Serialize> {
    app.node.test(package).await.map(axum::Json)
}

pub(super) async fn store<N: Node>(State(app): Shared<N>) -> Reply<impl serde::Serialize> {
    app.node.store().await.map(axum::Json)
}

pub(super) async fn held<N: Node>(State(app): Shared<N>) -> Reply<impl serde::Serialize> {
    app.node.held().await.map(axum::Json)
}

pub(super) async fn pin<N: Node>(
    State(app): Shared<N>,
    Id(package): Id<PackageId>,
) -> Reply<impl serde::Serialize> {
    app.node.set_pin(package, true).await.map(axum::Json)
}

pub(super) async fn unpin<N: Node>(
    State(app): Shared<N>,
    Id(package): Id<PackageId>,
) -> Reply<impl serde::Serialize> {
    app.node.set_pin(package, false).await.map(axum::Json)
}

pub(super) async fn collect<N: Node>(
    State(app): Shared<N>,
    Json(request): Json<GcRequest>,
) -> Reply<impl serde::Serialize> {
    app.node.collect(request).await.map(axum::Json)
}

pub(super) async fn scrub<N: Node>(
    State(app): Shared<N>,
    Json(request): Json<ScrubRequest>,
) -> Reply<impl serde::Serialize> {
    app.node.scrub(request).await.map(axum::Json)
}

pub(super) async fn backup<N: Node>(
    State(app): Shared<N>,
    Json(request): Json<BackupRequest>,
) -> Reply<impl serde::Serialize> {
    app.node.backup(request).await.map(axum::Json)
}
