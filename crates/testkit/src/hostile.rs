//! A member's node under a test's control: a real peer of the overlay, with keys that its org's root delegated, that
//! says a correct hello and then answers blob streams as [`Deed`] says and jobs as [`Work`] says, or asks for things that
//! nobody may ask for.
//!
//! It takes the identity of a home that `guild init` made and that joined a federation, while no process runs there
//! ([`Hostile::node_of`]), or that of one more node of the same org ([`Hostile::another_of`]). It has no catalogue, and
//! no log but what it [lists](Hostile::list) or [says](Hostile::say).

mod answer;
mod deed;
mod execute;
mod truth;
mod work;

use std::fs;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use guildhall_core::{DelegatedKey, package_key};
use guildhall_launch::{Node, NotYet, converge};
use guildhall_overlay::{
    Config, Event, Events, Limits, Overlay, Stream, StreamKind, Verdict, parse_peer_id,
    peer_id_string, start,
};
use guildhall_protocol::body::{HardwareOffer, Listing, NodeBody, RecordBody, Release};
use guildhall_protocol::contract::LimitSet;
use guildhall_protocol::limits::RECORD_MAX_BYTES;
use guildhall_protocol::record::{Body, Position, Record};
use guildhall_protocol::statement::{Delegation, Founding, Role, Signed};
use guildhall_protocol::wire::{
    Hello, Lease, LogHead, Reason, Refusal, Request, Response, decode_message,
};
use guildhall_protocol::{FederationId, Hash, PackageId, PublicKey, SecretKey, cbor};
use serde_bytes::ByteBuf;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::PATIENCE;

pub use deed::Deed;
pub use truth::Truth;
pub use work::Work;

/// How long the delegations of further nodes of an org hold, milliseconds: longer than a test.
const DELEGATED_MS: u64 = 60 * 60 * 1000;

/// A node that does as it is told. Its tasks end with it.
#[derive(Debug)]
pub struct Hostile {
    overlay: Overlay,
    federation: FederationId,
    secret: SecretKey,
    hello: Hello,
    counts: Arc<Counts>,
    log: Log,
    bench: Arc<Bench>,
    /// Aborted when this is dropped.
    _tasks: JoinSet<()>,
}

/// The records of its org's producer or its own, which others may pull.
type Log = Arc<Mutex<Vec<Record>>>;

/// What others asked of it.
#[derive(Debug, Default)]
struct Counts {
    streams: AtomicUsize,
    requests: AtomicUsize,
    offers: AtomicUsize,
    jobs: AtomicUsize,
    jobs_over: AtomicUsize,
}

/// How it executes, if it does.
#[derive(Debug, Default)]
struct Bench {
    work: Mutex<Option<(Work, LimitSet)>>,
    let_go: Notify,
    is_let_go: AtomicBool,
    is_signing: AtomicBool,
}

impl Bench {
    async fn wait(&self) {
        let mut waiting = pin!(self.let_go.notified());
        waiting.as_mut().enable();
        if !self.is_let_go.load(Ordering::Acquire) {
            waiting.await;
        }
    }

    /// Takes its time to sign, with its slot.
    async fn sign_late(&self) {
        self.is_signing.store(true, Ordering::Release);
        self.wait().await;
        self.is_signing.store(false, Ordering::Release);
    }
}

impl Hostile {
    /// The node of `home`, whose process must have ended.
    pub async fn node_of(home: &Path, truth: Truth, deed: Deed) -> Self {
        let secret = SecretKey::from_seed(&seed_in(&home.join("keys/node.key")));
        let delegation = signed_in(&home.join("keys/node.delegation"));
        Self::run(home, secret, delegation, truth, deed).await
    }

    /// One more node of the org of `home`, delegated by the root key beside it. `number` tells them apart.
    pub async fn another_of(home: &Path, number: u8, truth: Truth, deed: Deed) -> Self {
        let mut root_file = home.as_os_str().to_owned();
        root_file.push(".root.key");
        let root = SecretKey::from_seed(&seed_in(Path::new(&root_file)));
        let own: Delegation =
            signed_in(&home.join("keys/node.delegation")).open().expect("a delegation");
        let mut seed = *root.public().as_bytes();
        seed[0] = number;
        let issued_ms = own.issued_ms;
        let expires_ms = issued_ms + DELEGATED_MS;
        let secret = SecretKey::from_seed(&seed);
        let key = DelegatedKey::issue(&root, secret, Role::Node, issued_ms, expires_ms);
        Self::run(home, key.secret, key.delegation, truth, deed).await
    }

    async fn run(
        home: &Path,
        secret: SecretKey,
        delegation: Signed,
        truth: Truth,
        deed: Deed,
    ) -> Self {
        let federation = Founding::id(&signed_in(&home.join("federation")));
        let config = Config {
            seed: secret.seed(),
            listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
            limits: Limits::default(),
        };
        let (overlay, events, driver) = start(config).await.expect("the overlay starts");
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        overlay.set_federation(federation).await;
        let addresses = overlay.addresses().await;
        let hello = Hello { federation, delegation, addresses, now_ms: None };
        let counts = Arc::new(Counts::default());
        let shell = Shell {
            overlay: overlay.clone(),
            hello: hello.clone(),
            truth: Arc::new(truth),
            deed,
            counts: Arc::clone(&counts),
            log: Log::default(),
            bench: Arc::default(),
            me: secret.clone(),
        };
        let (log, bench) = (Arc::clone(&shell.log), Arc::clone(&shell.bench));
        tasks.spawn(shell.run(events));
        Self { overlay, federation, secret, hello, counts, log, bench, _tasks: tasks }
    }

    /// One more node of the org of `home` that lends a slot and executes as [`Work`] says, within these limits of a
    /// stage's producer.
    pub async fn executor_of(home: &Path, number: u8, work: Work, producer: LimitSet) -> Self {
        let node = Self::another_of(home, number, Truth::default(), Deed::Honest).await;
        *node.bench.work.lock().expect("nobody panicked") = Some((work, producer));
        let offer = HardwareOffer { slots: 1, ..HardwareOffer::default() };
        node.say(&NodeBody {
            federation: node.federation,
            addresses: node.hello.addresses.clone(),
            follows: Vec::new(),
            engines: vec!["wasm".to_owned(), "onnx".to_owned()],
            offer: Some(offer),
            isolation: ["rlimits", "seccomp", "namespaces", "landlock"].map(str::to_owned).to_vec(),
            draining: false,
            software: "hostile".to_owned(),
        });
        node
    }

    /// Has it say what [`Work::Late`], [`Work::LateReady`] and [`Work::SignsLate`] keep back.
    pub fn let_go(&self) {
        self.bench.let_go.notify_waiters();
        self.bench.is_let_go.store(true, Ordering::Release);
    }

    /// Offers that it was asked for, jobs that were opened here, and those whose stream is over.
    #[must_use]
    pub fn jobs(&self) -> (usize, usize, usize) {
        let Counts { offers, jobs, jobs_over, .. } = &*self.counts;
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (count(offers), count(jobs), count(jobs_over))
    }

    /// Whether it was told that nothing follows, and keeps its signature back.
    #[must_use]
    pub fn is_signing(&self) -> bool {
        self.bench.is_signing.load(Ordering::Acquire)
    }

    /// Its peer id.
    #[must_use]
    pub fn peer_id(&self) -> String {
        peer_id_string(&self.overlay.me())
    }

    /// Dials a node, says hello, and waits until that node has admitted it.
    pub async fn meet(&self, node: &Node) {
        let dialled = self.overlay.dial(node.ready().addresses.clone()).await;
        let peer = dialled.unwrap_or_else(|error| panic!("not connected: {error}"));
        let hello = cbor::encode(&Request::Hello(self.hello.clone()));
        let answer = self.overlay.request(peer, hello).await.expect("a hello is answered");
        let answer = decode_message::<Response>(&answer).expect("an answer");
        assert!(matches!(answer, Response::Hello(_)), "{answer:?}\n{}", node.log_tail());
        let me = self.peer_id();
        let met = converge(PATIENCE, "it is admitted", async || {
            let peers = node.client().peers().await?;
            let found = peers.into_iter().find(|peer| peer.peer_id == me);
            let is_in = found.as_ref().is_some_and(|peer| peer.connected && peer.admitted);
            is_in.then_some(()).ok_or_else(|| NotYet::saw(format!("{found:?}")))
        });
        met.await.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()));
    }

    /// Says in the DHT that it holds a package.
    pub async fn claim(&self, package: PackageId) {
        let key = package_key(self.federation, package);
        self.overlay.provide(key).await.unwrap_or_else(|error| panic!("not announced: {error}"));
    }

    /// Lists a release as the producer of `home`, who has listed nothing yet, whatever it says. Whoever it meets from
    /// now on pulls it.
    pub fn list(&self, home: &Path, listing: &Listing) {
        let key = SecretKey::from_seed(&seed_in(&home.join("keys/producer.key")));
        let delegation = signed_in(&home.join("keys/producer.delegation"));
        let release = (Release::TYPE, cbor::encode(&listing.release));
        self.write((&key, &delegation), &[release, (Listing::TYPE, cbor::encode(listing))]);
    }

    /// Says something in its own log, in which nothing is yet: that of [another node](Self::another_of). Whoever it
    /// meets from now on pulls it.
    pub fn say<T: RecordBody>(&self, body: &T) {
        let delegation = &self.hello.delegation;
        self.write((&self.secret, delegation), &[(T::TYPE, cbor::encode(body))]);
    }

    fn write(&self, (key, delegation): (&SecretKey, &Signed), bodies: &[(&str, Vec<u8>)]) {
        let issued = delegation.open::<Delegation>().expect("a delegation").issued_ms;
        let mut at = Position::default();
        let mut log = Vec::new();
        for (record_type, bytes) in bodies {
            let body = Body { record_type, version: 1, bytes };
            let record = Record::write(key, delegation, at, &body, issued).expect("a record");
            at = Position { seq: at.seq + 1, prev: Some(record.id()) };
            log.push(record);
        }
        *self.log.lock().expect("nobody panicked") = log;
    }

    /// Asks a node that it has met. Returns the bytes of the request and of the answer, and the answer.
    ///
    /// # Errors
    /// What the overlay says.
    pub async fn ask(
        &self,
        node: &Node,
        request: &Request,
    ) -> Result<(usize, usize, Response), String> {
        let bytes = cbor::encode(request);
        let asked = bytes.len();
        let answer = self.overlay.request(key_of(node), bytes).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let said = decode_message::<Response>(&answer).map_err(|error| error.to_string())?;
        Ok((asked, answer.len(), said))
    }

    /// Opens a blob stream to a node.
    ///
    /// # Errors
    /// What the overlay says: a node refuses more streams than a peer may have.
    pub async fn blob_stream(&self, node: &Node) -> Result<Stream, String> {
        let peer = key_of(node);
        let opened = self.overlay.open_stream(peer, StreamKind::Blob).await;
        opened.map_err(|error| error.to_string())
    }

    /// Blob streams that others opened here.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.counts.streams.load(Ordering::Relaxed)
    }

    /// Requests for content that others made here.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::Relaxed)
    }
}

/// Reads the events of the overlay and does what the deed says.
struct Shell {
    overlay: Overlay,
    hello: Hello,
    truth: Arc<Truth>,
    deed: Deed,
    counts: Arc<Counts>,
    log: Log,
    bench: Arc<Bench>,
    me: SecretKey,
}

impl Shell {
    async fn run(self, mut events: Events) {
        let mut streams = JoinSet::new();
        // What is never answered must not be dropped either.
        let mut unanswered = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Event::Connected { peer, .. } => self.overlay.admit(peer, peer).await,
                Event::Gossip { token, .. } => self.overlay.verdict(token, Verdict::Accept).await,
                Event::Request { bytes, reply, .. } if self.leaves_unanswered(&bytes) => {
                    unanswered.push(reply);
                }
                Event::Request { bytes, reply, .. } => {
                    let answer = cbor::encode(&self.respond(&bytes));
                    // Whoever asked may be gone.
                    let _gone = reply.send(answer);
                }
                Event::Stream { kind: StreamKind::Blob, stream, .. } => {
                    self.counts.streams.fetch_add(1, Ordering::Relaxed);
                    let (truth, counts) = (Arc::clone(&self.truth), Arc::clone(&self.counts));
                    let deed = self.deed;
                    streams.spawn(async move {
                        // The other side hangs up when it has seen enough.
                        let _ended = answer::serve(stream, &truth, deed, &counts.requests).await;
                    });
                }
                Event::Stream { peer, kind: StreamKind::Job, stream, .. } => {
                    let work = *self.bench.work.lock().expect("nobody panicked");
                    let Some((work, producer)) = work else { continue };
                    let job = execute::Job {
                        me: self.me.clone(),
                        requester: peer,
                        work,
                        producer,
                        bench: Arc::clone(&self.bench),
                    };
                    let counts = Arc::clone(&self.counts);
                    counts.jobs.fetch_add(1, Ordering::Relaxed);
                    streams.spawn(async move {
                        // The other side hangs up when it has seen enough.
                        let _ended = job.serve(stream).await;
                        counts.jobs_over.fetch_add(1, Ordering::Relaxed);
                    });
                }
                _ => {}
            }
        }
    }

    fn leaves_unanswered(&self, bytes: &[u8]) -> bool {
        let work = *self.bench.work.lock().expect("nobody panicked");
        let is_silent = matches!(work, Some((Work::Unanswered, _)));
        let is_asked =
            is_silent && matches!(decode_message::<Request>(bytes), Ok(Request::Offer(_)));
        self.counts.offers.fetch_add(usize::from(is_asked), Ordering::Relaxed);
        is_asked
    }

    fn respond(&self, bytes: &[u8]) -> Response {
        match decode_message::<Request>(bytes) {
            Ok(Request::Hello(_)) => Response::Hello(self.hello.clone()),
            Ok(Request::Heads { .. }) => {
                let log = self.log.lock().expect("nobody panicked");
                let author = log.first().map(|record| record.header().author);
                let head = |author| LogHead { author, len: log.len() as u64 };
                Response::Heads(author.map(head).into_iter().collect())
            }
            Ok(Request::Pull { author, from_seq }) => {
                let log = self.log.lock().expect("nobody panicked");
                let wanted = log.iter().filter(|record| {
                    record.header().author == author && record.header().seq >= from_seq
                });
                let records = wanted.map(|record| ByteBuf::from(record.bytes().to_vec())).collect();
                Response::Records { records }
            }
            Ok(Request::Offer(offer)) => {
                self.counts.offers.fetch_add(1, Ordering::Relaxed);
                match *self.bench.work.lock().expect("nobody panicked") {
                    None => Response::Refused(Refusal::new(Reason::Unable, "no")),
                    Some((Work::BusyForEver, _)) => Response::Refused(Refusal {
                        retry_after_ms: Some(u64::MAX),
                        ..Refusal::new(Reason::Busy, "not in your life")
                    }),
                    Some((Work::SignsLate, _)) if self.bench.is_signing.load(Ordering::Acquire) => {
                        Response::Refused(Refusal::new(Reason::Busy, "its slot is taken"))
                    }
                    Some(_) => Response::Lease(Lease {
                        lease: Hash::of(&bytes[..bytes.len().min(64)]),
                        run: offer.run,
                        open_within_ms: 60_000,
                        warm: 1,
                        held: 1,
                        load_percent: 0,
                    }),
                }
            }
            Ok(Request::Query(_)) => Response::Found { listings: Vec::new() },
            _ => Response::Refused(Refusal::new(Reason::Unable, "no")),
        }
    }
}

/// The key of a node.
fn key_of(node: &Node) -> PublicKey {
    parse_peer_id(&node.ready().peer_id).expect("a peer id")
}

fn seed_in(path: &Path) -> [u8; 32] {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    *text.trim().parse::<Hash>().expect("64 hex digits").as_bytes()
}

fn signed_in(path: &Path) -> Signed {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    cbor::decode(&bytes, RECORD_MAX_BYTES).expect("a signed statement")
}
