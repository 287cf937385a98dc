//! The handle to a running overlay, and how it is started.
//!
//! Every call goes to the driver over one bounded channel and, where it has a result, waits for it with a deadline.
//! Calls without a result do nothing once the driver has ended.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use guildhall_protocol::api::Dropped;
use guildhall_protocol::limits::MESSAGE_MAX_BYTES;
use guildhall_protocol::{FederationId, Hash, PublicKey};
use libp2p::Multiaddr;
use libp2p::identity::Keypair;
use tokio::sync::{mpsc, oneshot};

use crate::address::{Policy, endpoint, to_public_key};
use crate::config::{Config, Limits};
use crate::driver::{Command, Driver};
use crate::error::{
    DialError, LookupError, ProvideError, PublishError, RequestError, StartError, StreamError,
};
use crate::event::{Events, GossipToken, PeerInfo, PublishOutcome, Verdict};
use crate::stream::{Stream, StreamKind};
use crate::{memory, transport};

/// Commands waiting for the driver; when full, callers wait. Requests make them up to 1 MiB large, so few.
const COMMANDS_MAX: usize = 64;

/// How much longer than its own deadline a call waits for the driver to report the exact reason.
const GRACE: Duration = Duration::from_millis(500);

/// How long opening a stream may take: one round trip on an open connection, with room for slow links.
const STREAM_DEADLINE: Duration = Duration::from_secs(10);

/// Opens the listeners and returns the handle, the events and the driver.
///
/// The caller spawns the driver; nothing happens before. It ends after [`Overlay::shutdown`], or when all handles or
/// the events have been dropped. When this returns, the listeners are bound and [`Overlay::addresses`] is complete.
///
/// # Errors
/// [`StartError`], most often because an address is in use.
pub async fn start(
    config: Config,
) -> Result<(Overlay, Events, impl Future<Output = ()> + Send + 'static), StartError> {
    memory::keep_freed();
    let Config { seed, listen, limits } = config;
    let key = Keypair::ed25519_from_bytes(seed)
        .map_err(|error| StartError::Settings(error.to_string()))?;
    let me = to_public_key(&key.public().to_peer_id())
        .ok_or_else(|| StartError::Settings("the key is not an Ed25519 key".to_owned()))?;
    let mut listeners: Vec<(String, Multiaddr)> = Vec::new();
    let mut sockets: Vec<SocketAddr> = Vec::new();
    for text in listen {
        let address = text.parse::<Multiaddr>().ok();
        let place = address.as_ref().and_then(endpoint);
        let (Some(address), Some((carrier, socket))) = (address, place) else {
            return Err(StartError::Address { address: text });
        };
        transport::check_free(carrier, socket)
            .map_err(|source| StartError::Listen { address: text.clone(), source })?;
        listeners.push((text, address));
        sockets.push(socket);
    }
    let policy = Policy::of_listeners(&sockets);
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let (events, outbox) = mpsc::channel(limits.events_max.max(1));
    let limits = Arc::new(limits);
    let mut driver = Driver::new(&key, policy, Arc::clone(&limits), inbox, events)?;
    for (text, address) in listeners {
        driver
            .listen(address)
            .await
            .map_err(|source| StartError::Listen { address: text, source })?;
    }
    Ok((Overlay { me, commands, limits }, Events(outbox), driver.run()))
}

/// A handle to a running overlay; cheap to clone.
#[derive(Clone, Debug)]
pub struct Overlay {
    me: PublicKey,
    commands: mpsc::Sender<Command>,
    limits: Arc<Limits>,
}

impl Overlay {
    /// This node's key.
    #[must_use]
    pub fn me(&self) -> PublicKey {
        self.me
    }

    /// Listens to a federation's records, and to no other's.
    pub async fn set_federation(&self, federation: FederationId) {
        self.tell(Command::SetFederation(federation)).await;
    }

    /// Connects to a peer at one of `addresses`, each ending in `/p2p/PEER`. If the peer is connected, that is enough.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial(&self, addresses: Vec<String>) -> Result<PublicKey, DialError> {
        self.ask(self.limits.dial_deadline, |reply| Command::Dial { addresses, reply })
            .await
            .unwrap_or_else(|lost| match lost {
                Lost::Late => Err(DialError::Timeout),
                Lost::Stopped => Err(DialError::Stopped),
            })
    }

    /// Admits a connected peer for as long as it stays connected: its gossip, streams and provider records count from
    /// now on. Does nothing if it is not connected. `org` is whose node it is, by the key that stays the same: bounds
    /// that hold for one org are shared by all its nodes. Called again, it sets another org.
    pub async fn admit(&self, peer: PublicKey, org: PublicKey) {
        self.tell(Command::Admit { peer, org }).await;
    }

    /// Disconnects a peer and forgets its addresses and provider records. If it comes back, it is a stranger.
    pub async fn expel(&self, peer: PublicKey) {
        self.tell(Command::Expel(peer)).await;
    }

    /// Forgets the provider records of all nodes of an org, also of those that are not connected. Those that are stay
    /// so, until they are expelled, but leave no more records.
    pub async fn forget_org(&self, org: PublicKey) {
        self.tell(Command::ForgetOrg(org)).await;
    }

    /// Sets where a peer can be reached, for requests and lookups that need a connection later on. Addresses that may
    /// not be dialled from here are left out. A peer that is known this way does not count as a stranger. The book
    /// holds 4,096 peers; when it is full, the one set longest ago makes room.
    pub async fn set_known(&self, peer: PublicKey, addresses: Vec<String>) {
        self.tell(Command::SetKnown { peer, addresses }).await;
    }

    /// Sends a message to all admitted peers that listen to the federation.
    ///
    /// # Errors
    /// [`PublishError`]; that nobody listens is a [`PublishOutcome`].
    pub async fn publish(&self, bytes: Vec<u8>) -> Result<PublishOutcome, PublishError> {
        self.ask_driver(|reply| Command::Publish { bytes, reply })
            .await
            .unwrap_or(Err(PublishError::Stopped))
    }

    /// Says whether a gossip message may travel on.
    pub async fn verdict(&self, token: GossipToken, verdict: Verdict) {
        self.tell(Command::Verdict { token, verdict }).await;
    }

    /// Tells the DHT, now and from time to time, that this node has `key`.
    ///
    /// # Errors
    /// [`ProvideError`] when there are too many keys already.
    pub async fn provide(&self, key: Hash) -> Result<(), ProvideError> {
        self.ask_driver(|reply| Command::Provide { key, reply })
            .await
            .unwrap_or(Err(ProvideError::Stopped))
    }

    /// Stops telling. What other nodes have heard expires within a day.
    pub async fn stop_providing(&self, key: Hash) {
        self.tell(Command::StopProviding(key)).await;
    }

    /// Asks the DHT who has `key`: the union of what the nodes next to the key name, at most 1,024 peers, this node not
    /// among them, in no order. Hints, not facts.
    ///
    /// # Errors
    /// [`LookupError`]; that nobody has it is an empty answer.
    pub async fn find_providers(&self, key: Hash) -> Result<Vec<PublicKey>, LookupError> {
        self.ask(self.limits.lookup_deadline, |reply| Command::FindProviders { key, reply })
            .await
            .unwrap_or_else(|lost| match lost {
                Lost::Late => Err(LookupError::Timeout),
                Lost::Stopped => Err(LookupError::Stopped),
            })
    }

    /// Asks a peer, connecting to it at a known address if need be.
    ///
    /// # Errors
    /// [`RequestError`]. After some of them (see there) the peer may have acted on the request.
    pub async fn request(&self, peer: PublicKey, bytes: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        if bytes.len() > MESSAGE_MAX_BYTES {
            return Err(RequestError::TooLarge {
                len_bytes: bytes.len(),
                max_bytes: MESSAGE_MAX_BYTES,
            });
        }
        self.ask(self.limits.request_deadline, |reply| Command::Request { peer, bytes, reply })
            .await
            .unwrap_or_else(|lost| match lost {
                Lost::Late => Err(RequestError::Timeout),
                Lost::Stopped => Err(RequestError::Stopped),
            })
    }

    /// Opens a stream to an admitted peer, without waiting for its consent: if the peer does not take such streams, or has
    /// not admitted this node in turn, that shows as an end or an error at the first read.
    ///
    /// # Errors
    /// [`StreamError`].
    pub async fn open_stream(
        &self,
        peer: PublicKey,
        kind: StreamKind,
    ) -> Result<Stream, StreamError> {
        self.ask(STREAM_DEADLINE, |reply| Command::OpenStream { peer, kind, reply })
            .await
            .unwrap_or_else(|lost| match lost {
                Lost::Late => Err(StreamError::Timeout),
                Lost::Stopped => Err(StreamError::Stopped),
            })
            .map(|stream| Stream::new(stream, None))
    }

    /// The addresses others can dial, each a multiaddr ending in this node's peer id. Empty once the driver has ended.
    pub async fn addresses(&self) -> Vec<String> {
        self.ask_driver(Command::Addresses).await.unwrap_or_default()
    }

    /// What of other nodes was not taken or not kept since the start, and why. Empty once the driver has ended.
    pub async fn dropped(&self) -> Vec<Dropped> {
        self.ask_driver(Command::Dropped).await.unwrap_or_default()
    }

    /// The connected peers, ordered by key. Empty once the driver has ended.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        self.ask_driver(Command::Peers).await.unwrap_or_default()
    }

    /// Closes all connections and listeners and waits until the driver is about to end.
    pub async fn shutdown(&self) {
        self.ask_driver(Command::Shutdown).await;
    }

    async fn tell(&self, command: Command) {
        // The only failure is that the driver has ended, see the module's description.
        let _ = self.commands.send(command).await;
    }

    /// A call the driver answers at once.
    async fn ask_driver<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }

    /// A call that depends on peers.
    async fn ask<T>(
        &self,
        deadline: Duration,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Lost> {
        match tokio::time::timeout(deadline + GRACE, self.ask_driver(command)).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Lost::Stopped),
            Err(_) => Err(Lost::Late),
        }
    }
}

/// Why a call got no answer from the driver.
enum Lost {
    Late,
    Stopped,
}
