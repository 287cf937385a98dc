//! A node for tests: an overlay whose driver runs, and a task that reads its events, keeps what it sees and reacts in
//! the way the test asked for.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use guildhall_overlay::{
    Config, Event, Events, Limits, Overlay, Reply, Stream, StreamKind, Verdict, start,
};
use guildhall_protocol::{FederationId, Hash, PublicKey};

/// How long anything may take that should happen. Generous: it only costs time when a test fails.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// How long to watch that something does not happen: several gossip heartbeats.
pub(crate) const A_WHILE: Duration = Duration::from_millis(2500);

/// What a node saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) connected: Vec<(PublicKey, bool)>,
    pub(crate) disconnected: Vec<PublicKey>,
    pub(crate) gossip: Vec<(PublicKey, Vec<u8>)>,
    pub(crate) requests: Vec<(PublicKey, bool, Vec<u8>)>,
    pub(crate) streams: Vec<(PublicKey, StreamKind, Stream)>,
    pub(crate) ended: bool,
}

/// How a node reacts.
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    pub(crate) listen: Vec<String>,
    pub(crate) admit_everyone: bool,
    pub(crate) verdict: fn(&[u8]) -> Verdict,
    pub(crate) reply: fn(Vec<u8>, Reply),
    /// Whether events are read at all.
    pub(crate) reads: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
            admit_everyone: true,
            verdict: |_| Verdict::Accept,
            reply: |bytes, reply| reply.send(bytes).unwrap(),
            reads: true,
        }
    }
}

pub(crate) struct Node {
    pub(crate) overlay: Overlay,
    pub(crate) key: PublicKey,
    pub(crate) addresses: Vec<String>,
    seen: Arc<Mutex<Seen>>,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn stranger() -> Self {
        Self::with(Setup { admit_everyone: false, ..Setup::default() }).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        static SEEDS: AtomicU8 = AtomicU8::new(1);
        let seed = [SEEDS.fetch_add(1, Ordering::Relaxed); 32];
        let Setup { limits, listen, .. } = &setup;
        let config = Config { seed, listen: listen.clone(), limits: limits.clone() };
        let (overlay, events, driver) = start(config).await.unwrap();
        tokio::spawn(driver);
        let seen = Arc::new(Mutex::new(Seen::default()));
        tokio::spawn(read(overlay.clone(), events, Arc::clone(&seen), setup));
        let addresses = overlay.addresses().await;
        assert!(!addresses.is_empty(), "the addresses are known when start returns");
        overlay.set_federation(FederationId(Hash::of(b"federation"))).await;
        Self { key: overlay.me(), overlay, addresses, seen }
    }

    pub(crate) fn look<T>(&self, f: impl FnOnce(&Seen) -> T) -> T {
        f(&self.seen.lock().unwrap())
    }

    pub(crate) fn take_stream(&self) -> Option<(PublicKey, StreamKind, Stream)> {
        self.seen.lock().unwrap().streams.pop()
    }

    /// How often this node saw a gossip message.
    pub(crate) fn heard(&self, message: &[u8]) -> usize {
        self.look(|seen| seen.gossip.iter().filter(|(_, bytes)| bytes == message).count())
    }

    /// Dials `other` and waits until both know it.
    pub(crate) async fn connect(&self, other: &Node) {
        assert_eq!(self.overlay.dial(other.addresses.clone()).await.unwrap(), other.key);
        converge("both see the connection", || async {
            self.sees(other).await && other.sees(self).await
        })
        .await;
    }

    pub(crate) async fn sees(&self, other: &Node) -> bool {
        self.overlay.peers().await.iter().any(|info| info.peer == other.key)
    }

    /// Whether `other` is connected and admitted.
    pub(crate) async fn admits(&self, other: &Node) -> bool {
        self.overlay.peers().await.iter().any(|info| info.peer == other.key && info.admitted)
    }

    /// Whether `other` is admitted and listens.
    pub(crate) async fn gossips_with(&self, other: &Node) -> bool {
        let peers = self.overlay.peers().await;
        peers.iter().any(|info| info.peer == other.key && info.admitted && info.listens)
    }

    /// Connects to `other`, where both admit everyone, and waits until they do and listen.
    pub(crate) async fn join(&self, other: &Node) {
        self.connect(other).await;
        converge("both admit each other and listen", || async {
            self.gossips_with(other).await && other.gossips_with(self).await
        })
        .await;
    }
}

async fn read(overlay: Overlay, mut events: Events, seen: Arc<Mutex<Seen>>, setup: Setup) {
    if !setup.reads {
        std::future::pending::<()>().await;
    }
    let lock = || seen.lock().unwrap();
    while let Some(event) = events.next().await {
        match event {
            Event::Connected { peer, inbound, .. } => {
                lock().connected.push((peer, inbound));
                if setup.admit_everyone {
                    overlay.admit(peer, peer).await;
                }
            }
            Event::Disconnected { peer } => lock().disconnected.push(peer),
            Event::Gossip { from, token, bytes } => {
                let verdict = (setup.verdict)(&bytes);
                lock().gossip.push((from, bytes));
                overlay.verdict(token, verdict).await;
            }
            Event::Request { peer, admitted, bytes, reply } => {
                lock().requests.push((peer, admitted, bytes.clone()));
                (setup.reply)(bytes, reply);
            }
            Event::Stream { peer, kind, stream } => lock().streams.push((peer, kind, stream)),
            _ => {}
        }
    }
    lock().ended = true;
}

/// Waits until `predicate` holds.
pub(crate) async fn converge<F: Future<Output = bool>>(
    what: impl Debug,
    mut predicate: impl FnMut() -> F,
) {
    let deadline = Instant::now() + SOON;
    while !predicate().await {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Watches that `predicate` holds all the time for a while.
pub(crate) async fn always(what: impl Debug, mut predicate: impl FnMut() -> bool) {
    let end = Instant::now() + A_WHILE;
    while Instant::now() < end {
        assert!(predicate(), "no longer: {what:?}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
