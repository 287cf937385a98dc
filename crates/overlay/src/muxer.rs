//! Yamux over one encrypted connection, with bounds of our own.
//!
//! libp2p-yamux lets one set the number of streams and nothing else. This upgrade is the same protocol on the wire and
//! adds the two settings that matter here: what a connection may hold in receive windows (its default is 1 GiB), and
//! how much of a write travels as one frame (its default is 16 KiB, and each frame is encrypted and sent by itself).
//!
//! # Windows
//! Every stream may be sent [`STREAM_WINDOW_BYTES`] before it is read. While a stream is read as fast as it arrives, the
//! `yamux` crate doubles its window, up to four times the bandwidth-delay product, out of a budget that all streams of
//! the connection share ([`GROWTH_MAX_BYTES`]). Windows do not shrink, but the budget comes back when a stream ends.
//!
//! # What a connection can hold
//! A peer that fills every window of every stream makes this node hold [`CONNECTION_MAX_BYTES`], never more. A peer that
//! does not read makes a writer here wait after one window; of that, at most some twelve frames of
//! [`FRAME_MAX_BYTES`] are in this node's memory, and only while the network is stuck.

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::iter;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use yamux::{Connection, ConnectionError, Mode};

/// What a stream may be sent before it is read and before its window has grown; fixed by the protocol.
const STREAM_WINDOW_BYTES: usize = yamux::DEFAULT_CREDIT as usize;

/// Most open streams of one connection, both directions: the requests in flight, the job and blob streams, and a few of
/// the small protocols.
pub(crate) const STREAMS_MAX: usize = 512;

/// How much the windows of a connection may grow, all streams together. A window is renewed when half of it is used up,
/// so that 1 Gbit/s over 63 ms (7.9 MB on the way) needs 15.8 MB: this is room for it twice.
const GROWTH_MAX_BYTES: usize = 32 * 1024 * 1024;

/// All receive windows of one connection together.
const CONNECTION_MAX_BYTES: usize = STREAMS_MAX * STREAM_WINDOW_BYTES + GROWTH_MAX_BYTES;

/// Largest frame sent, bytes without its header of 12. Header and frame fill one message of libp2p's Noise, which takes
/// 64,511 bytes.
const FRAME_MAX_BYTES: usize = 64_511 - 12;

/// Inbound streams that wait because the swarm negotiates others. `yamux` opens no more than this many streams that
/// nobody has acknowledged, so that none of an honest peer is ever dropped.
const WAITING_MAX: usize = 256;

/// Agrees on Yamux.
#[derive(Clone)]
pub(crate) struct Upgrade(yamux::Config);

impl Default for Upgrade {
    fn default() -> Self {
        let mut config = yamux::Config::default();
        config
            .set_max_num_streams(STREAMS_MAX)
            .set_max_connection_receive_window(Some(CONNECTION_MAX_BYTES))
            .set_split_send_size(FRAME_MAX_BYTES);
        Self(config)
    }
}

impl UpgradeInfo for Upgrade {
    type Info = &'static str;
    type InfoIter = iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for Upgrade {
    type Output = Muxer<C>;
    type Error = ConnectionError;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(Connection::new(socket, self.0, Mode::Server))))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Upgrade {
    type Output = Muxer<C>;
    type Error = ConnectionError;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(Connection::new(socket, self.0, Mode::Client))))
    }
}

/// A connection with many streams.
pub(crate) struct Muxer<C> {
    connection: Connection<C>,
    /// Streams that came while the swarm was not asking for any; at most [`WAITING_MAX`].
    waiting: VecDeque<yamux::Stream>,
    /// Who asked for a stream when there was none.
    asking: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(connection: Connection<C>) -> Self {
        Self { connection, waiting: VecDeque::new(), asking: None }
    }

    /// Moves bytes in both directions until a stream arrives.
    fn poll_arrival(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<yamux::Stream, ConnectionError>> {
        self.connection
            .poll_next_inbound(cx)
            .map(|next| next.unwrap_or(Err(ConnectionError::Closed)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = yamux::Stream;
    type Error = ConnectionError;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        if let Some(stream) = self.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let arrival = self.poll_arrival(cx);
        if arrival.is_pending() {
            self.asking = Some(cx.waker().clone());
        }
        arrival
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        self.connection.poll_new_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connection.poll_close(cx)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        match self.poll_arrival(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(stream)) if self.waiting.len() < WAITING_MAX => {
                self.waiting.push_back(stream);
                if let Some(asking) = self.asking.take() {
                    asking.wake();
                }
            }
            Poll::Ready(Ok(stream)) => {
                tracing::debug!(%stream, "too many streams wait to be accepted, resetting one");
            }
        }
        // There may be more, but others have a turn first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
