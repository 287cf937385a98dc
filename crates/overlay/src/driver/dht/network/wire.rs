//! Connections within this process on which everything takes as long as on a long line, in the runtime's time, which a
//! test can let pass at once.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, FutureExt as _, TryFutureExt as _,
};
use libp2p::core::transport::memory::{Channel, MemoryTransport, MemoryTransportError};
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::core::{Transport, multiaddr::Protocol};
use libp2p::{Multiaddr, PeerId};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long everything is on its way.
pub(super) const ONE_WAY: Duration = Duration::from_millis(25);

/// A transport in memory that is dialled at IP addresses: the last three bytes, after `base`, are the port in memory.
pub(super) struct Wire {
    pub(super) base: u64,
    pub(super) inner: MemoryTransport,
}

type Opening = BoxFuture<'static, Result<Line, MemoryTransportError>>;

impl Transport for Wire {
    type Output = Line;
    type Error = MemoryTransportError;
    type ListenerUpgrade = Opening;
    type Dial = Opening;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        self.inner.listen_on(id, self.in_memory(&address))
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        let dial = self.inner.dial(self.in_memory(&address), options)?;
        // A packet there and one back, as with TCP.
        let opened = async move {
            tokio::time::sleep(2 * ONE_WAY).await;
            dial.map_ok(Line::new).await
        };
        Ok(opened.boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let event = ready!(Pin::new(&mut self.inner).poll(cx));
        Poll::Ready(event.map_upgrade(|opening| opening.map_ok(Line::new).boxed()))
    }
}

impl Wire {
    fn in_memory(&self, address: &Multiaddr) -> Multiaddr {
        match address.iter().next() {
            Some(Protocol::Ip4(ip)) => {
                let [_, a, b, c] = ip.octets();
                let number = u64::from(u32::from_be_bytes([0, a, b, c]));
                Protocol::Memory(self.base + number).into()
            }
            _ => address.clone(),
        }
    }
}

/// One end of a connection.
pub(super) struct Line {
    inner: Channel<Vec<u8>>,
    /// What is on its way to this end, and when it arrives. Nothing after an empty one.
    coming: VecDeque<(Instant, Vec<u8>)>,
    arrival: Option<Pin<Box<Sleep>>>,
}

impl Line {
    fn new(inner: Channel<Vec<u8>>) -> Self {
        Self { inner, coming: VecDeque::new(), arrival: None }
    }

    /// Takes over what the other end has sent by now.
    fn take_sent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        while self.coming.back().is_none_or(|(_, bytes)| !bytes.is_empty()) {
            let Poll::Ready(count) = Pin::new(&mut self.inner).poll_read(cx, &mut buffer) else {
                break;
            };
            self.coming.push_back((Instant::now() + ONE_WAY, buffer[..count?].to_vec()));
        }
        Ok(())
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.take_sent(cx)?;
        let Some((at, _)) = self.coming.front() else { return Poll::Pending };
        if *at > Instant::now() {
            let mut arrival = Box::pin(sleep_until(*at));
            let waits = arrival.poll_unpin(cx).is_pending();
            self.arrival = Some(arrival);
            if waits {
                return Poll::Pending;
            }
        }
        let Some((_, bytes)) = self.coming.front_mut() else { return Poll::Pending };
        let count = bytes.len().min(out.len());
        out[..count].copy_from_slice(&bytes[..count]);
        bytes.drain(..count);
        // The end stays the end.
        if bytes.is_empty() && count > 0 {
            self.coming.pop_front();
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Line {
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

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// Who is at the other end, by its own word: one round trip, as with Noise, and none of the arithmetic.
#[derive(Clone, Copy)]
pub(super) struct Introduction(pub(super) PeerId);

impl UpgradeInfo for Introduction {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/introduction")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> InboundConnectionUpgrade<C>
    for Introduction
{
    type Output = (PeerId, C);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<(PeerId, C)>>;

    fn upgrade_inbound(self, socket: C, _: &'static str) -> Self::Future {
        introduce(self.0, socket).boxed()
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> OutboundConnectionUpgrade<C>
    for Introduction
{
    type Output = (PeerId, C);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<(PeerId, C)>>;

    fn upgrade_outbound(self, socket: C, _: &'static str) -> Self::Future {
        introduce(self.0, socket).boxed()
    }
}

async fn introduce<C>(me: PeerId, mut socket: C) -> io::Result<(PeerId, C)>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let me = me.to_bytes();
    socket.write_all(&me).await?;
    socket.flush().await?;
    // The ids of Ed25519 keys are of one length.
    let mut other = vec![0; me.len()];
    socket.read_exact(&mut other).await?;
    Ok((PeerId::from_bytes(&other).map_err(io::Error::other)?, socket))
}
