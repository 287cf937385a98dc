//! Relays that hold back what passes through them, so that a path on this machine looks like a long one.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// What a relay reads at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Pieces on their way in one direction: far above what any window lets through, so the relay never limits.
const UNDER_WAY_MAX: usize = 64 * 1024;

/// What the kernel may hold for a relay's UDP socket; it cuts this down to `net.core.rmem_max`.
const SOCKET_BYTES: usize = 8 * 1024 * 1024;

type Piece = (Instant, Vec<u8>);

/// A relay of TCP connections to `target`, and where it listens.
pub(crate) async fn tcp(target: SocketAddr, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(target).await.unwrap();
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            forward(near_read, far_write, delay);
            forward(far_read, near_write, delay);
        }
    });
    place
}

fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut pieces) = mpsc::channel::<Piece>(UNDER_WAY_MAX);
    tokio::spawn(async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(n) = from.read(&mut chunk).await {
            let piece = (Instant::now() + delay, chunk[..n].to_vec());
            if n == 0 || sender.send(piece).await.is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                break;
            }
        }
    });
}

/// A relay of datagrams between `target` and whoever wrote to the relay first, and where it listens.
///
/// Made of threads, since the runtime's timer has steps of a millisecond: what came evenly would leave in bursts, too
/// large for the receiver's socket.
pub(crate) fn udp(target: SocketAddr, delay: Duration) -> SocketAddr {
    let (near, far) = (socket(), socket());
    let place = near.local_addr().unwrap();
    far.connect(target).unwrap();
    thread::spawn(move || {
        let (_, client) = near.peek_from(&mut [0; 1]).unwrap();
        near.connect(client).unwrap();
        let (back_from, back_to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        thread::spawn(move || forward_datagrams(&back_from, back_to, delay));
        forward_datagrams(&near, far, delay);
    });
    place
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BYTES).unwrap();
    socket
}

fn forward_datagrams(from: &UdpSocket, to: UdpSocket, delay: Duration) {
    let (sender, datagrams) = sync_channel::<(std::time::Instant, Vec<u8>)>(UNDER_WAY_MAX);
    thread::spawn(move || {
        while let Ok((due, datagram)) = datagrams.recv() {
            thread::sleep(due.saturating_duration_since(std::time::Instant::now()));
            // A datagram that is lost is lost, as on a real path.
            drop(to.send(&datagram));
        }
    });
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(n) = from.recv(&mut buffer) {
        if sender.send((std::time::Instant::now() + delay, buffer[..n].to_vec())).is_err() {
            break;
        }
    }
}
