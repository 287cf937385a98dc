//! Nodes of several orgs in one temporary folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guildhall_launch::{Error, Node, NotYet, Options, converge};
use guildhall_protocol::api::{InviteRequest, OfferChange};
use guildhall_protocol::body::HardwareOffer;
use guildhall_protocol::contract::{Hardware, NodeLimits};
use guildhall_protocol::name::{CategoryPrefix, OrgName};
use tempfile::TempDir;

use crate::cli::Cli;
use crate::package::Package;

/// How long anything may take that is waited for. Debug builds on two busy cores need a few seconds at most, so this
/// is only reached when something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A temporary folder with the homes of nodes and the packages of a test. The folder goes with it.
#[derive(Debug)]
pub struct Lab {
    program: PathBuf,
    folder: TempDir,
}

impl Lab {
    /// An empty lab whose nodes run `program`.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { program: program.into(), folder }
    }

    /// A path in the lab's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How the node of an org is started; its home is named like the org. It makes no copies by itself, so that what it
    /// holds is what the test had it fetch.
    #[must_use]
    pub fn options(&self, org: &str) -> Options {
        Options::new(&self.program, self.path(org)).env("GUILD_REPLICAS_MAX", "0")
    }

    /// The same for a node that makes copies.
    #[must_use]
    pub fn copying(&self, org: &str) -> Options {
        Options::new(&self.program, self.path(org))
    }

    /// Makes an org with one node that makes copies, in a federation of its own.
    pub async fn found_copying(&self, org: &str) -> Node {
        self.found_with(org, self.copying(org)).await
    }

    /// The command line, at the node of a home.
    #[must_use]
    pub fn cli(&self, home: &Path) -> Cli {
        Cli::new(&self.program, Some(home))
    }

    /// Writes a package into a folder of the lab.
    #[must_use]
    pub fn write(&self, package: &Package) -> PathBuf {
        let name = format!("package-{}-{}", package.name(), package.version());
        let folder = self.path(&name);
        package.write(&folder);
        folder
    }

    /// Makes an org with one node in a federation of its own.
    pub async fn found(&self, org: &str) -> Node {
        self.found_with(org, self.options(org)).await
    }

    /// The same, following these categories only.
    pub async fn found_following(&self, org: &str, categories: &[&str]) -> Node {
        let prefix = |text: &&str| text.parse::<CategoryPrefix>().expect("a category");
        let follows: Vec<_> = categories.iter().map(prefix).collect();
        self.found_with(org, self.options(org).follow(follows)).await
    }

    /// The same, started in another way.
    pub async fn found_with(&self, org: &str, options: Options) -> Node {
        let org: OrgName = org.parse().expect("an org's name");
        Node::create(&org, options).await.unwrap_or_else(|error| panic!("{org}: {error}"))
    }

    /// A federation that the first org founds and to which it invites the others; all are connected.
    pub async fn federation<const N: usize>(&self, orgs: [&str; N]) -> [Node; N] {
        let mut nodes = Vec::new();
        for org in orgs {
            nodes.push(self.found(org).await);
        }
        for node in nodes.iter().skip(1) {
            bring_in(&nodes[0], node).await;
        }
        let all: Vec<&Node> = nodes.iter().collect();
        acquainted(&all).await;
        nodes.try_into().unwrap_or_else(|_| unreachable!("one node for each org"))
    }
}

/// `member` invites, `newcomer` joins.
pub async fn bring_in(member: &Node, newcomer: &Node) {
    let invite = member.client().invite(&InviteRequest::default()).await;
    let invite = invite.unwrap_or_else(|error| panic!("no invite: {error}\n{}", member.log_tail()));
    let joined = newcomer.client().join(&invite).await;
    joined.unwrap_or_else(|error| panic!("not joined: {error}\n{}", newcomer.log_tail()));
}

/// Waits until each of these nodes has each other one as an admitted, connected peer whose org it knows.
pub async fn acquainted(nodes: &[&Node]) {
    let all: BTreeSet<&str> = nodes.iter().map(|node| node.ready().peer_id.as_str()).collect();
    for node in nodes {
        let what = format!("the node in {} knows the others", node.home().display());
        let met = converge(PATIENCE, &what, async || {
            let peers = node.client().peers().await?;
            let met = peers.iter().filter(|peer| {
                let known = peer.org.is_some() && !peer.engines.is_empty();
                peer.connected && peer.admitted && known && all.contains(peer.peer_id.as_str())
            });
            match met.count() + 1 {
                count if count == all.len() => Ok(()),
                count => Err(NotYet::saw(format!("{count} of {} nodes", all.len()))),
            }
        });
        met.await.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()));
    }
}

/// Waits until each of these nodes has `count` listings in its catalogue.
pub async fn holds_listings(nodes: &[&Node], count: u64) {
    for node in nodes {
        let what = format!("{count} listings in {}", node.home().display());
        let held =
            converge(PATIENCE, &what, async || match node.client().status().await?.listings {
                listings if listings == count => Ok(()),
                listings => Err(NotYet::saw(format!("{listings} listings"))),
            });
        held.await.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()));
    }
}

/// Starts a node that must refuse to start, and returns what it said.
pub async fn refused_start(options: Options) -> String {
    match Node::start(options).await {
        Err(Error::Ended { status, log, .. }) => {
            assert!(!status.success(), "it ended without an error: {log}");
            assert!(!log.contains("panicked"), "{log}");
            log
        }
        Err(error) => panic!("it did not end by itself: {error}"),
        Ok(node) => panic!("it started in {}", node.home().display()),
    }
}

/// `node` lends `slots` slots, and each of `others` knows it.
pub async fn lend(node: &Node, slots: u32, others: &[&Node]) {
    let offer = HardwareOffer {
        slots,
        hardware: Hardware::default(),
        limits: NodeLimits::default(),
        orgs: Vec::new(),
        ..HardwareOffer::default()
    };
    let lent = node.client().set_offer(&OfferChange { offer: Some(offer) }).await;
    lent.unwrap_or_else(|error| panic!("{error}"));
    for other in others {
        let what = format!("{} sees the offer", other.home().display());
        let seen = converge(PATIENCE, &what, async || {
            let peers = other.client().peers().await?;
            let peer = peers.iter().find(|peer| peer.peer_id == node.ready().peer_id);
            let ready = peer.is_some_and(|peer| peer.admitted && peer.offer.is_some());
            ready.then_some(()).ok_or_else(|| NotYet::saw(format!("{peer:?}")))
        });
        seen.await.unwrap_or_else(|error| panic!("{error}\n{}", other.log_tail()));
    }
}
