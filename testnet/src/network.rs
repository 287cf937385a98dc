//! Nodes of one org each, joined into one federation.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guildhall_client::package::{self, PackageError, PublishError};
use guildhall_launch::{Node, NotConverged, NotYet, Options, converge};
use guildhall_protocol::api::{InviteRequest, Published};
use guildhall_protocol::name::OrgName;
use tempfile::TempDir;

/// How long a federation may take until every node sees every other one's org.
const JOINED_MAX: Duration = Duration::from_secs(60);

/// Running nodes; stopped and forgotten when dropped.
pub(crate) struct Network {
    program: PathBuf,
    nodes: Vec<Node>,
    /// How many nodes have joined; one that is gone stays a member.
    joined: usize,
    env: Vec<(&'static str, OsString)>,
    // After the nodes, so that it goes last.
    homes: TempDir,
}

impl Network {
    /// Starts nodes and lets each join by an invite of the first.
    pub(crate) async fn start(program: &Path, count: usize) -> Result<Self, NetworkError> {
        let homes = tempfile::tempdir().map_err(NetworkError::Io)?;
        let mut network = Self::empty(program, homes, Vec::new());
        for _ in 0..count.max(1) {
            network.add().await?;
        }
        network.wait_until_joined().await?;
        Ok(network)
    }

    /// The same with homes below a folder. These nodes copy nothing that nobody asked them for.
    pub(crate) async fn start_in(
        folder: &Path,
        program: &Path,
        count: usize,
    ) -> Result<Self, NetworkError> {
        Self::start_with(folder, program, count, None).await
    }

    /// The same with an environment variable of the nodes.
    pub(crate) async fn start_with(
        folder: &Path,
        program: &Path,
        count: usize,
        env: Option<(&'static str, OsString)>,
    ) -> Result<Self, NetworkError> {
        let homes = tempfile::Builder::new().prefix("guild-bench-").tempdir_in(folder);
        let homes = homes.map_err(NetworkError::Io)?;
        let mut network = Self::empty(program, homes, vec![("GUILD_REPLICAS_MAX", "0".into())]);
        network.env.extend(env);
        for _ in 0..count.max(1) {
            network.add().await?;
        }
        network.wait_until_joined().await?;
        Ok(network)
    }

    /// What runs as the nodes that are added from now on: `guild`, or what starts it.
    pub(crate) fn set_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    fn empty(program: &Path, homes: TempDir, env: Vec<(&'static str, OsString)>) -> Self {
        Self { program: program.to_owned(), nodes: Vec::new(), joined: 0, env, homes }
    }

    /// Starts one more node and lets it join. Whether every node sees it yet is for
    /// [`wait_until_joined`](Self::wait_until_joined).
    pub(crate) async fn add(&mut self) -> Result<(), NetworkError> {
        let org: OrgName =
            format!("org-{}", self.joined).parse().map_err(|_| NetworkError::Count)?;
        let mut options = Options::new(&self.program, self.homes.path().join(org.as_str()));
        for (name, value) in &self.env {
            options = options.env(name, value);
        }
        let node = Node::create(&org, options).await?;
        if let Some(first) = self.nodes.first() {
            let invite = first.client().invite(&InviteRequest::default()).await?;
            node.client().join(&invite).await?;
        }
        self.joined += 1;
        self.nodes.push(node);
        Ok(())
    }

    /// Stops the node that came last and removes what it stored.
    pub(crate) async fn remove_last(&mut self) -> Result<(), NetworkError> {
        if let Some(mut node) = self.nodes.pop() {
            // One that does not stop is killed when it is dropped.
            let _stopped = node.stop().await;
            std::fs::remove_dir_all(node.home()).map_err(NetworkError::Io)?;
        }
        Ok(())
    }

    /// A folder that goes when the network does.
    pub(crate) fn folder(&self) -> &Path {
        self.homes.path()
    }

    /// Waits until every node sees every org.
    pub(crate) async fn wait_until_joined(&self) -> Result<(), NetworkError> {
        for node in &self.nodes {
            converge(JOINED_MAX, "every node sees every org", async || {
                let status = node.client().status().await?;
                match status.federation.members.len() == self.joined {
                    true => Ok(()),
                    false => Err(NotYet::saw(format!("{} orgs", status.federation.members.len()))),
                }
            })
            .await?;
        }
        Ok(())
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Stops every node.
    pub(crate) async fn stop(mut self) {
        for node in &mut self.nodes {
            // A node that does not stop is killed when it is dropped.
            let _stopped = node.stop().await;
        }
    }
}

/// Publishes a folder the way `guild publish` does.
pub(crate) async fn publish(node: &Node, dir: &Path) -> Result<Published, NetworkError> {
    let mut draft = package::read_dir(dir)?;
    let org = node.client().status().await?.org;
    draft.resolve(node.client(), &org).await?;
    draft.upload(node.client(), |_| {}).await?;
    Ok(node.client().publish(&draft.request(false)?).await?)
}

/// `guild` in the folder of this program.
pub(crate) fn program_beside_this_one() -> Result<PathBuf, NetworkError> {
    let program = std::env::current_exe().map_err(NetworkError::Io)?.with_file_name("guild");
    if program.exists() { Ok(program) } else { Err(NetworkError::NoProgram { program }) }
}

/// Why a network does not stand or a measurement ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("there is no {}; build it with `cargo build --release`", program.display())]
    NoProgram { program: PathBuf },
    #[error("that many nodes cannot be named")]
    Count,
    #[error(transparent)]
    Io(std::io::Error),
    #[error(transparent)]
    Launch(#[from] guildhall_launch::Error),
    #[error(transparent)]
    Client(#[from] guildhall_client::Error),
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error(transparent)]
    Publish(Box<PublishError>),
    #[error(transparent)]
    NotConverged(#[from] NotConverged),
    #[error("{0}")]
    Unexpected(String),
}

impl From<PublishError> for NetworkError {
    fn from(error: PublishError) -> Self {
        Self::Publish(Box::new(error))
    }
}
