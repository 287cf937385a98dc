//! Assembly and lifecycle: open the home, load the records, listen, serve; then stop in stages.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use guildhall_core::{Core, Event, Identity, Settings};
use guildhall_federation::State;
use guildhall_overlay::{self as overlay, Overlay, peer_id_string};
use guildhall_protocol::PublicKey;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::statement::Signed;
use guildhall_sandbox::{
    COMPILE_CACHE_BYTES, Compiler, CompilerSettings, LibraryProblem, Workers, WorkersSettings,
    cache_key,
};
use guildhall_store::{Batch, Collection, OpenError, Store};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::api::Api;
use super::keeper::Keeper;
use super::run::{ChainHead, Sessions, isolation_names};
use super::slots::Slots;
use super::upkeep::FORMER_KEY;
use super::{
    App, CALLS_MAX, EVENTS_MAX, HELLOS_MAX, INSPECTIONS_MAX, SERVED_MAX, answers, demand, drive,
    effects, freshness, housekeeping, index, leases, lend, load, lock, notices, replicas, transfer,
    upkeep,
};
use crate::clock;
use crate::config::{Config, NoS3};
use crate::engines::Engines;
use crate::home::{self, Home};
use crate::tasks::Tasks;

/// How long HTTP requests may take to end when the node stops.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// How long tasks may take to notice that they are cancelled.
const JOIN_MAX: Duration = Duration::from_secs(3);

/// Under this key of the identity collection stands the node key that a store belongs to.
const OWNER_KEY: &[u8] = b"node";

/// What a start overrides in the configuration.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) api: Option<SocketAddr>,
    pub(crate) listen: Vec<String>,
    pub(crate) token: Option<String>,
    /// Nodes to dial besides those of the configuration.
    pub(crate) peers: Vec<String>,
    pub(crate) follows: Option<Vec<guildhall_protocol::name::CategoryPrefix>>,
    pub(crate) replicas_max: Option<guildhall_client::package::ByteSize>,
    /// Library of onnxruntime, or `off`.
    pub(crate) onnxruntime: Option<String>,
}

/// A node that is up.
pub(crate) struct Running {
    pub(crate) app: Arc<App>,
    pub(crate) addresses: Vec<String>,
    http: tokio::sync::oneshot::Receiver<()>,
    http_token: CancellationToken,
}

/// Starts the node of a home. When this returns, its API answers and the overlay listens.
pub(crate) async fn start(home: Home, options: Options) -> Result<Running, StartError> {
    let mut config = home.update_config(|config| {
        if let Some(follows) = options.follows.clone() {
            config.follows = follows;
        }
    })?;
    config.content.replicas_max = options.replicas_max.unwrap_or(config.content.replicas_max);
    let identity = home.identity(&config.org)?;
    let founding = home.founding()?;
    let store = open_store(&home, &config).await?;
    check_owner(&store, &identity).await?;

    let api = options.api.unwrap_or(config.api);
    let token = options.token.or_else(|| config.token.clone());
    if !api.ip().is_loopback() && token.is_none() {
        return Err(StartError::TokenNeeded { api });
    }
    let listener =
        TcpListener::bind(api).await.map_err(|source| StartError::Api { api, source })?;
    let api = listener.local_addr().map_err(|source| StartError::Api { api, source })?;

    let library = options.onnxruntime.or_else(|| config.onnxruntime.clone());
    let executing = Executing::start(&home, library, identity.node.secret.seed()).await?;

    let listen = if options.listen.is_empty() { config.listen.clone() } else { options.listen };
    let settings = overlay::Config {
        seed: identity.node.secret.seed(),
        listen,
        limits: overlay::Limits::default(),
    };
    let (overlay, events, driver) = overlay::start(settings).await?;
    let tasks = Tasks::default();
    let overlay_tasks = tasks.clone();
    tasks.spawn("overlay", async move {
        driver.await;
        if !overlay_tasks.token().is_cancelled() {
            overlay_tasks.fail("the overlay ended".to_owned());
        }
    });
    let addresses = overlay.addresses().await;

    let can = (executing.engines.names(), executing.isolation.clone());
    let mut core = new_core(&home, &config, identity, founding, can)?;
    core.set_addresses(addresses.clone());
    demand::restore(&store, &mut core);
    lend::restore(&store, &mut core)?;
    let (catalog, index) = index::open(home.path(), &store, core.federation().id());
    core.set_catalog(catalog);
    let provided = load::load_records(&store, &mut core)?;
    freshness::restore(&store, &mut core)?;
    check_name(&core)?;
    let parts = (tasks.clone(), executing);
    let (app, inbox) =
        assemble((home, &config), store, overlay, (core, index), parts, format!("http://{api}"))?;
    app.tell_stale();
    let federation = app.core().federation().id();
    app.overlay.set_federation(federation).await;
    app.perform(provided, effects::Context::default()).await;
    for package in app.load_packages() {
        app.drive(Event::PackageHeld(package), effects::Context::default()).await;
    }
    app.load_runs();
    lock(&app.static_peers).extend(config.peers.into_iter().chain(options.peers));
    if let Err(error) = app.describe().await {
        // A log that waits for its repair must not keep the node from the peers that repair it.
        error!(%error, "this node's description is not up to date; it is tried again");
    }
    tasks.spawn("drive", drive::run(Arc::clone(&app), events, inbox));
    tasks.spawn("upkeep", upkeep::run(Arc::clone(&app)));
    tasks.spawn("demand", demand::run(Arc::clone(&app)));
    tasks.spawn("index", index::run(Arc::clone(&app)));
    tasks.spawn("replicas", replicas::run(Arc::clone(&app)));
    tasks.spawn("freshness", freshness::run(Arc::clone(&app)));
    tasks.spawn("lend", lend::run(Arc::clone(&app)));
    tasks.spawn("housekeeping", housekeeping::run(Arc::clone(&app)));

    let (http, http_token) = serve_http(&app, listener, token);
    app.home.save_api(&app.url)?;
    info!(api = app.url, peer_id = peer_id_string(&app.overlay.me()), "ready");
    Ok(Running { app, addresses, http, http_token })
}

fn serve_http(
    app: &Arc<App>,
    listener: TcpListener,
    token: Option<String>,
) -> (tokio::sync::oneshot::Receiver<()>, CancellationToken) {
    let http_token = CancellationToken::new();
    let (ended, http) = tokio::sync::oneshot::channel();
    let options = guildhall_gateway::Options::default().with_token(token);
    let serving = guildhall_gateway::serve(
        listener,
        Arc::new(Api(Arc::clone(app))),
        options,
        http_token.clone(),
    );
    let tasks = app.tasks.clone();
    app.tasks.spawn("http", async move {
        if let Err(error) = serving.await {
            tasks.fail(format!("the API stopped: {error}"));
        }
        // Nobody waits for it when the node failed to start.
        let _gone = ended.send(());
    });
    (http, http_token)
}

/// Opens the store with its blobs where the configuration says. On a blocking thread: a server may be asked first.
async fn open_store(home: &Home, config: &Config) -> Result<Store, StartError> {
    let (dir, backend) = (home.store(), config.content.backend()?);
    let opened = tokio::task::spawn_blocking(move || Store::open_with(&dir, &backend)).await;
    let opened = opened.map_err(|_| StartError::Panicked { task: "opening the store" })?;
    opened.map_err(|error| match error {
        OpenError::Locked { .. } => StartError::InUse { home: home.path().to_owned() },
        error => StartError::Store(error),
    })
}

/// A store belongs to the node key that first opened it: a log has one writer.
async fn check_owner(store: &Store, identity: &Identity) -> Result<(), StartError> {
    let me = identity.node.public();
    match store.document(Collection::Identity, OWNER_KEY)? {
        Some(owner) if owner == me.as_bytes() => Ok(()),
        Some(_) => Err(StartError::OtherIdentity),
        None => {
            let mut batch = Batch::new();
            batch.put_document(Collection::Identity, OWNER_KEY, me.as_bytes().to_vec());
            Ok(store.commit(batch).await?)
        }
    }
}

/// Gives a store to the new keys of its home. `former` is the producer's key before: should it turn out to have two
/// writers, what it listed is listed again.
pub(crate) async fn adopt_store(
    home: &Home,
    identity: &Identity,
    former: Option<PublicKey>,
) -> Result<(), StartError> {
    let store = open_store(home, &home.config()?).await?;
    let mut batch = Batch::new();
    let owner = identity.node.public();
    batch.put_document(Collection::Identity, OWNER_KEY, owner.as_bytes().to_vec());
    if let Some(former) = former.filter(|former| *former != identity.producer.public()) {
        let mut all = store.document(Collection::Identity, FORMER_KEY)?.unwrap_or_default();
        if !all.chunks(former.as_bytes().len()).any(|key| key == former.as_bytes()) {
            all.extend_from_slice(former.as_bytes());
        }
        batch.put_document(Collection::Identity, FORMER_KEY, all);
    }
    let written = store.commit(batch).await;
    let closed = store.close().await;
    written?;
    Ok(closed?)
}

/// The org's name in the configuration is the one that it has in the federation; changing the file changes nobody's mind.
fn check_name(core: &Core) -> Result<(), StartError> {
    let me = core.identity();
    match core.federation().member(&me.root) {
        Some(member) if member.claimed != me.org => {
            Err(StartError::OtherName { configured: me.org.clone(), known: member.claimed.clone() })
        }
        _ => Ok(()),
    }
}

/// What code is executed with on this machine.
pub(super) struct Executing {
    engines: Engines,
    workers: Workers,
    /// What workers are kept in; found out by starting one.
    isolation: Vec<String>,
}

impl Executing {
    async fn start(
        home: &Home,
        library: Option<String>,
        node_secret: [u8; 32],
    ) -> Result<Self, StartError> {
        let folder = home.compiled();
        let started =
            tokio::task::spawn_blocking(move || Self::start_blocking(folder, library, node_secret));
        started.await.map_err(|_| StartError::Panicked { task: "starting workers" })?
    }

    fn start_blocking(
        folder: PathBuf,
        library: Option<String>,
        node_secret: [u8; 32],
    ) -> Result<Self, StartError> {
        let engines = Engines::find(library.as_deref())?;
        let spawner = engines.spawner();
        let isolation =
            spawner.isolation().map_err(|failure| StartError::Worker(failure.to_string()))?;
        let settings = CompilerSettings {
            folder,
            key: cache_key(&node_secret),
            max_bytes: COMPILE_CACHE_BYTES,
        };
        let broken = |error: std::io::Error| StartError::Worker(error.to_string());
        let compiler = Compiler::open(spawner.clone(), settings).map_err(broken)?;
        let settings = WorkersSettings { memory_bytes: lend::workers_bytes() };
        let workers = Workers::start(spawner.clone(), compiler, settings).map_err(broken)?;
        Ok(Self { engines, workers, isolation: isolation_names(isolation) })
    }
}

/// A core that has seen no record yet, of a node with these engines, whose workers are kept in this.
pub(super) fn new_core(
    home: &Home,
    config: &Config,
    identity: Identity,
    founding: Signed,
    (engines, isolation): (Vec<String>, Vec<String>),
) -> Result<Core, StartError> {
    let federation = State::found(founding).map_err(|_| StartError::Founding)?;
    let settings = Settings {
        follows: config.follows.clone(),
        offer: config.offer.clone(),
        engines,
        isolation,
        draining: config.draining,
        software: format!("guildhall/{}", env!("CARGO_PKG_VERSION")),
        lease_seed: home.lease_seed()?,
        compare_seed: clock::random(),
        link_seed: clock::random(),
    };
    let mut core = Core::new(identity, settings, federation);
    let ranking = core.catalog().ranking().changed(&config.ranking)?;
    core.set_ranking(ranking);
    Ok(core)
}

fn assemble(
    (home, config): (Home, &Config),
    store: Store,
    overlay: Overlay,
    (core, index): (Core, index::Index),
    (tasks, executing): (Tasks, Executing),
    url: String,
) -> Result<(Arc<App>, mpsc::Receiver<Event>), StartError> {
    let statements = ChainHead::load(&store)?;
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let keeper = Keeper::start(&tasks, &store);
    let notices = notices::Notices::load(&store);
    let uplink = transfer::Limits {
        total: config.upload.max_per_second.map(|size| size.0),
        per_org: config.upload.max_per_second_and_org.map(|size| size.0),
    };
    let app = App {
        core: Mutex::new(core),
        index: Mutex::new(index),
        store,
        overlay,
        engines: executing.engines,
        workers: executing.workers,
        home,
        tasks,
        url,
        started: Instant::now(),
        events,
        asks: Mutex::new(BTreeMap::new()),
        writing: tokio::sync::Mutex::new(()),
        publishing: tokio::sync::Mutex::new(()),
        joining: tokio::sync::Mutex::new(()),
        undescribed: AtomicBool::new(false),
        stale: Mutex::new(None),
        static_peers: Mutex::new(Vec::new()),
        calls: Arc::new(Semaphore::new(CALLS_MAX)),
        hellos: Arc::new(Semaphore::new(HELLOS_MAX)),
        reads: answers::turns(),
        allowances: super::allowance::Allowances::default(),
        keeper,
        served: Arc::new(Semaphore::new(SERVED_MAX)),
        served_by: Mutex::new(BTreeMap::new()),
        inspections: Arc::new(Semaphore::new(INSPECTIONS_MAX)),
        chores: tokio::sync::Mutex::new(()),
        holding: tokio::sync::Mutex::new(()),
        content: config.content.clone(),
        subscriptions: Mutex::new(config.subscriptions.clone()),
        notices,
        replicas: replicas::Schedule::default(),
        copies: Mutex::new(BTreeMap::new()),
        leases: leases::Leases::default(),
        shared_blobs: Mutex::new(BTreeSet::new()),
        fetching: Mutex::new(BTreeMap::new()),
        admitted: watch::Sender::new(()),
        turns: Mutex::new(BTreeMap::new()),
        transfers: Mutex::new(BTreeMap::new()),
        uplink: transfer::Uplink::new(uplink),
        checked: Mutex::new(BTreeSet::new()),
        doubted: Mutex::new(BTreeSet::new()),
        runs: Mutex::new(BTreeMap::new()),
        plans: Mutex::new(BTreeMap::new()),
        sessions: Sessions::default(),
        slots: Slots::default(),
        jobs: AtomicU64::new(0),
        statements: tokio::sync::Mutex::new(statements),
        used: AtomicBool::new(false),
    };
    Ok((Arc::new(app), inbox))
}

impl Running {
    /// Waits until the node is told to stop, then stops it in stages: refuse new work, let requests end, say goodbye
    /// to peers, cancel what still runs, flush.
    pub(crate) async fn until_stopped(
        self,
        signal: impl Future<Output = ()>,
    ) -> Result<(), StartError> {
        let token = self.app.tasks.token().clone();
        tokio::select! {
            () = token.cancelled() => {}
            () = signal => info!("stopping"),
        }
        self.app.home.remove_api();
        self.http_token.cancel();
        if tokio::time::timeout(DRAIN_MAX, self.http).await.is_err() {
            warn!("some HTTP requests were cut off");
        }
        self.app.tasks.cancel();
        self.app.overlay.shutdown().await;
        if !self.app.tasks.join(JOIN_MAX).await {
            warn!("some tasks did not end in time");
        }
        self.app.store.close().await?;
        match (self.app.tasks.panicked(), self.app.tasks.failed()) {
            (Some(task), _) => Err(StartError::Panicked { task }),
            (None, Some(why)) => Err(StartError::Ended { why: why.to_owned() }),
            (None, None) => Ok(()),
        }
    }
}

/// Why a node did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Home(#[from] home::Error),
    #[error("a node is running in {} already", home.display())]
    InUse { home: PathBuf },
    #[error(
        "the store in this home was made by another node's key; put back the keys that belong to it"
    )]
    OtherIdentity,
    #[error(
        "config.toml calls this org `{configured}`, but the federation knows it as `{known}`; put that back"
    )]
    OtherName { configured: OrgName, known: OrgName },
    #[error("[ranking] in config.toml: {0}")]
    Ranking(#[from] guildhall_catalog::rank::BadRanking),
    #[error("the founding in this home does not hold")]
    Founding,
    #[error("the API cannot listen on {api}: {source}")]
    Api { api: SocketAddr, source: std::io::Error },
    #[error("an API on {api} can be reached by others, so it needs a token")]
    TokenNeeded { api: SocketAddr },
    #[error("the overlay did not start: {0}")]
    Overlay(#[from] overlay::StartError),
    #[error("the store does not open: {0}")]
    Store(OpenError),
    #[error(transparent)]
    NoS3(#[from] NoS3),
    #[error("the store is not readable: {0}")]
    Read(#[from] guildhall_store::ReadError),
    #[error("the store is not writable: {0}")]
    Write(#[from] guildhall_store::WriteError),
    #[error(transparent)]
    Library(#[from] LibraryProblem),
    #[error("workers do not start on this machine: {0}")]
    Worker(String),
    #[error("the task `{task}` panicked")]
    Panicked { task: &'static str },
    #[error("the node ended by itself: {why}")]
    Ended { why: String },
}

impl StartError {
    /// What the person can do.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Home(error) => error.help(),
            Self::InUse { .. } => Some("guild status".to_owned()),
            Self::OtherIdentity => Some("guild init --org NAME --home DIR".to_owned()),
            Self::Library(_) => Some("guild up --onnxruntime off".to_owned()),
            Self::Api { .. } => Some("guild up --api 127.0.0.1:0".to_owned()),
            Self::TokenNeeded { .. } => Some("guild up --api 127.0.0.1:7480".to_owned()),
            Self::Overlay(_) => Some("guild up --listen /ip4/127.0.0.1/tcp/0".to_owned()),
            _ => None,
        }
    }
}
