//! A byte stream to a peer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _};

/// What a stream is for. Each kind is a protocol of its own on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// Content of packages, `/guildhall/blob/2`.
    Blob,
    /// Inputs, outputs and control of a job, `/guildhall/job/1`.
    Job,
}

/// A bidirectional byte stream to a peer, ordered, encrypted, with flow control. Each direction ends by itself:
/// `shutdown` ends ours, a read of zero bytes shows that the peer has ended its own. Dropping it gives up what is open,
/// which the peer cannot tell from an end: what is said through a stream has to say how long it is.
#[derive(Debug)]
pub struct Stream {
    inner: Compat<libp2p::Stream>,
    /// An inbound stream counts against its peer's share until it is dropped.
    _share: Option<OwnedSemaphorePermit>,
}

impl Stream {
    pub(crate) fn new(stream: libp2p::Stream, share: Option<OwnedSemaphorePermit>) -> Self {
        Self { inner: stream.compat(), _share: share }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
