//! Measures how fast bytes move between two overlays on this machine, with and without delay on the path.
//!
//! `cargo run --release -p guildhall-overlay --example throughput [MEBIBYTES [CARRIER [ROUND_TRIP_MS]]]`
//!
//! Two nodes with a runtime each talk over loopback; where a round trip is asked for, a relay with a runtime of its own
//! holds everything back by half of it in each direction. The relay has all the bandwidth this machine has, so what is
//! missing compared with no delay is due to windows, congestion control and the relay's own work.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring tool for developers")]
#![expect(
    clippy::disallowed_methods,
    reason = "the tool has no task group; its runtimes end tasks"
)]

mod relay;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use guildhall_overlay::{Config, Event, Events, Limits, Overlay, Stream, StreamKind, start};
use guildhall_protocol::PublicKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

/// Round trips measured: loopback, a continent, an ocean.
const ROUND_TRIPS_MS: [u64; 3] = [0, 20, 63];

/// Numbers of streams measured.
const STREAMS: [usize; 2] = [1, 4];

/// Written and read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Events of streams that wait to be measured; there are never more than four.
const ARRIVALS_MAX: usize = 16;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mebibytes: usize = arguments.next().map_or(256, |text| text.parse().unwrap());
    let carriers = arguments.next().map_or(vec!["tcp".into(), "quic".into()], |one| vec![one]);
    let round_trips =
        arguments.next().map_or(ROUND_TRIPS_MS.to_vec(), |one| vec![one.parse().unwrap()]);
    println!(
        "{mebibytes} MiB in all; the second half alone shows the rate once windows have grown"
    );
    println!("carrier  rtt ms  streams   MB/s  2nd half MB/s  CPU s/GB");
    for carrier in &carriers {
        for round_trip_ms in &round_trips {
            for streams in STREAMS {
                let measured = measure(carrier, *round_trip_ms, streams, mebibytes << 20);
                let Measured { all, half, cpu_seconds_per_gb } = measured;
                println!(
                    "{carrier:7}  {round_trip_ms:6}  {streams:7}  {all:5.0}  {half:13.0}  \
                     {cpu_seconds_per_gb:8.2}"
                );
            }
        }
    }
}

struct Measured {
    /// Megabytes a second, from the first write to the last read.
    all: f64,
    /// The same for the second half of the bytes.
    half: f64,
    /// Of this whole process: both nodes and, where there is one, the relay.
    cpu_seconds_per_gb: f64,
}

/// One transfer of `bytes` over fresh nodes, in as many streams.
fn measure(carrier: &str, round_trip_ms: u64, streams: usize, bytes: usize) -> Measured {
    let (sender, receiver, relay) = (runtime(), runtime(), runtime());
    let (from, to) =
        (sender.block_on(Node::start(1, carrier)), receiver.block_on(Node::start(2, carrier)));
    let address = match round_trip_ms {
        0 => to.address.clone(),
        ms => relay.block_on(through_relay(&to.address, carrier, Duration::from_millis(ms) / 2)),
    };
    sender.block_on(from.overlay.dial(vec![address])).unwrap();
    let (mut arrivals, peer) = (to.arrivals, to.overlay.me());
    let (overlay, per_stream) = (from.overlay.clone(), bytes / streams);
    let mut writers = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..streams {
        writers.push(sender.block_on(open(&overlay, peer)));
        readers.push(receiver.block_on(arrivals.recv()).unwrap());
    }
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    let mut tasks = Vec::new();
    for stream in writers {
        tasks.push(sender.spawn(write(stream, per_stream)));
    }
    let half_way = Arc::new(HalfWay { left: AtomicUsize::new(bytes / 2), at: OnceLock::new() });
    for stream in readers {
        tasks.push(receiver.spawn(read(stream, per_stream, Arc::clone(&half_way))));
    }
    for task in tasks {
        receiver.block_on(task).unwrap();
    }
    let (half, end) = (*half_way.at.get().unwrap(), Instant::now());
    let cpu = cpu_seconds() - cpu;
    sender.block_on(from.overlay.shutdown());
    receiver.block_on(to.overlay.shutdown());
    let rate = |bytes: usize, time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
    Measured {
        all: rate(bytes, end - begin),
        half: rate(bytes / 2, end - half),
        cpu_seconds_per_gb: cpu / (bytes as f64 / 1e9),
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

struct Node {
    overlay: Overlay,
    address: String,
    arrivals: mpsc::Receiver<Stream>,
}

impl Node {
    async fn start(seed: u8, carrier: &str) -> Self {
        let listen = match carrier {
            "quic" => "/ip4/127.0.0.1/udp/0/quic-v1",
            _ => "/ip4/127.0.0.1/tcp/0",
        };
        let (seed, listen, limits) = ([seed; 32], vec![listen.to_owned()], Limits::default());
        let (overlay, events, driver) = start(Config { seed, listen, limits }).await.unwrap();
        tokio::spawn(driver);
        let (arrived, arrivals) = mpsc::channel(ARRIVALS_MAX);
        tokio::spawn(admit_all(overlay.clone(), events, arrived));
        let address = overlay.addresses().await.remove(0);
        Self { overlay, address, arrivals }
    }
}

async fn admit_all(overlay: Overlay, mut events: Events, arrived: mpsc::Sender<Stream>) {
    while let Some(event) = events.next().await {
        match event {
            Event::Connected { peer, .. } => overlay.admit(peer, peer).await,
            Event::Stream { mut stream, .. } => {
                stream.read_u8().await.unwrap();
                stream.write_u8(0).await.unwrap();
                stream.flush().await.unwrap();
                arrived.send(stream).await.unwrap();
            }
            _ => {}
        }
    }
}

/// The node's address with the port of a relay before it.
async fn through_relay(address: &str, carrier: &str, delay: Duration) -> String {
    let mut parts: Vec<&str> = address.split('/').collect();
    let target: SocketAddr = format!("{}:{}", parts[2], parts[4]).parse().unwrap();
    let place = match carrier {
        "quic" => relay::udp(target, delay),
        _ => relay::tcp(target, delay).await,
    };
    let port = place.port().to_string();
    parts[4] = &port;
    parts.join("/")
}

/// A stream that the peer has taken; a byte has gone each way. Until the peer has admitted us, it drops what we open.
async fn open(overlay: &Overlay, peer: PublicKey) -> Stream {
    let try_open = async || -> std::io::Result<Stream> {
        let opened = overlay.open_stream(peer, StreamKind::Blob).await;
        let mut stream = opened.map_err(std::io::Error::other)?;
        stream.write_u8(0).await?;
        stream.flush().await?;
        stream.read_u8().await?;
        Ok(stream)
    };
    loop {
        if let Ok(stream) = try_open().await {
            return stream;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn write(mut stream: Stream, bytes: usize) {
    let chunk = vec![7; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let step = left.min(chunk.len());
        stream.write_all(&chunk[..step]).await.unwrap();
        left -= step;
    }
    stream.flush().await.unwrap();
    // Until the reader is done: dropping a stream gives it up.
    stream.read_u8().await.unwrap();
}

/// When half of all bytes had arrived.
struct HalfWay {
    left: AtomicUsize,
    at: OnceLock<Instant>,
}

async fn read(mut stream: Stream, bytes: usize, half_way: Arc<HalfWay>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let n = stream.read(&mut chunk).await.unwrap();
        assert_ne!(n, 0, "the stream broke off");
        left -= n;
        let before = half_way.left.fetch_sub(n, Ordering::Relaxed);
        // It wraps afterwards, and once is enough.
        if before <= n {
            half_way.at.get_or_init(Instant::now);
        }
    }
    stream.write_u8(0).await.unwrap();
    stream.flush().await.unwrap();
}

/// What this process has used so far, from the kernel's account, or nothing where there is none.
fn cpu_seconds() -> f64 {
    /// The unit of the account: all Linux systems have 100 ticks a second.
    const TICKS_PER_SECOND: f64 = 100.0;
    let account = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold blanks. After it, user and system time are the 12th and the 13th field.
    let fields = account.rsplit(')').next().unwrap_or_default();
    let ticks = |n| fields.split_whitespace().nth(n).and_then(|f| f.parse::<f64>().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / TICKS_PER_SECOND
}
