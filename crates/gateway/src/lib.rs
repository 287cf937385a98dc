//! A node's HTTP face: the native API under `/api/v1`, the Open Inference Protocol under `/oip`, `/healthz` and
//! `/metrics`.
//!
//! This crate owns routes, form and size of requests, tokens, the hosts it answers for, and connections. It decides
//! nothing about content: every route calls one method of the [`Node`] port, and every refusal is an [`ApiError`] that
//! reaches the client as JSON. The only crate that names axum.
//!
//! | bound | where | at the bound |
//! |---|---|---|
//! | connections | `server` | further ones wait in the kernel's queue |
//! | time and size of a request's head | `server` | the connection ends |
//! | size of a JSON body | `body` | 413 |
//! | pace of a body | `upload` | 408 |
//! | size of a blob | the node | what the node says |
//! | time of a shutdown | `server` | answers under way are cut off |
//!
//! [`serve`] runs in the task that calls it and keeps one task for each connection.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod body;
mod error;
mod guard;
mod metrics;
mod node;
mod oip;
mod routes;
mod score;
mod server;
mod upload;

pub use axum::body::Bytes;
pub use error::{ApiError, ErrorKind};
pub use node::{Answer, Blob, Node, OutputLines};
pub use score::{Scorable, ScoreRequest, Scored};
pub use server::{Options, ServeError, serve};
pub use upload::Upload;
