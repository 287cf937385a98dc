//! Connections: accepting them, bounding them, ending them.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::guard::Guard;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::routes::{App, router};

/// Connections served at once; more wait in the kernel's queue. Each holds at most [`HEAD_MAX_BYTES`] and the body of
/// one request.
const CONNECTIONS_MAX: usize = 256;

/// How long a client may take for the head of a request, and how long a connection may idle between two.
const HEAD_MAX_WAIT: Duration = Duration::from_secs(30);

/// Longest head of a request, bytes: hyper's least for its buffer is 8 KiB; browsers with cookies need more.
const HEAD_MAX_BYTES: usize = 64 * 1024;

/// How long answers under way may still take after shutdown began.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Wait after a failed accept: it fails when descriptors run out, and trying at once would only spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How a gateway behaves.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// What clients must send as `Authorization: Bearer`; needed everywhere but on loopback.
    pub token: Option<String>,
}

impl Options {
    /// Asks clients for `token`, if there is one.
    #[must_use]
    pub fn with_token(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }
}

/// Why a gateway could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The listener's address cannot be read.
    #[error("the listener has no address")]
    Listener(#[source] io::Error),
    /// Anybody in reach could use the node.
    #[error("{0} is not loopback, and no token is set")]
    TokenMissing(SocketAddr),
    /// A handler panicked. The node's state may be half changed, so it must not go on.
    #[error("a request's handler panicked")]
    Panicked(#[source] JoinError),
}

/// Serves `node` on `listener` until `shutdown` is cancelled, then lets answers under way end, for a while.
///
/// # Errors
/// [`ServeError`]. A failure of one connection ends that connection only; a panic in a handler ends the gateway.
pub async fn serve<N: Node>(
    listener: TcpListener,
    node: Arc<N>,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(ServeError::Listener)?;
    let loopback = address.ip().is_loopback();
    if !loopback && options.token.is_none() {
        return Err(ServeError::TokenMissing(address));
    }
    let guard = Guard::new(loopback, options.token.as_deref());
    let router = router(Arc::new(App { node, guard, metrics: Metrics::new() }));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => ended.map_err(ServeError::Panicked)?,
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), shutdown.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    drop(listener);
    let drain = async {
        while let Some(ended) = connections.join_next().await {
            ended.map_err(ServeError::Panicked)?;
        }
        Ok(())
    };
    match tokio::time::timeout(DRAIN_MAX, drain).await {
        Ok(drained) => drained,
        Err(_) => {
            tracing::warn!("answers under way were cut off by the shutdown");
            Ok(())
        }
    }
}

async fn connection(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    // Answers are small and awaited; waiting to fill a packet would only delay them. Failing costs speed alone.
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX_WAIT).max_buf_size(HEAD_MAX_BYTES);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        biased;
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = connection.as_mut() => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
