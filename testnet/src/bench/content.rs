//! Content between nodes: one that publishes, and a new one for each fetch, so that nothing of it is there before.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use guildhall_launch::{Node, NotYet, converge};
use guildhall_protocol::name::Reference;

use super::Bench;
use super::figures::Samples;
use super::fixture::{Package, warm};
use super::programs::{self, Memory};
use crate::network::{Network, NetworkError};

/// How long a node may take to hear of a listing.
const HEARD_MAX: Duration = Duration::from_secs(30);

/// What a new value of `clear_refs` makes of the peak of a process: its present size.
const FORGET_PEAK: &str = "5";

/// One fetch, seen from outside.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fetch {
    /// From the request to the API to its answer: everything is durable at the receiver.
    pub(super) seconds: f64,
    /// Processor time of both nodes meanwhile.
    pub(super) processor: f64,
    pub(super) fetched_bytes: u64,
    pub(super) reused_bytes: u64,
    pub(super) receiver: Memory,
    pub(super) sender: Memory,
}

/// A node that publishes, and at most one that fetches.
pub(super) struct Movement {
    network: Network,
    program: PathBuf,
}

impl Movement {
    /// Starts the publishing node, its home in memory.
    pub(super) async fn start(bench: &Bench) -> Result<Self, NetworkError> {
        let network = Network::start_in(&bench.memory(), &bench.program, 1).await?;
        Ok(Self { network, program: bench.program.clone() })
    }

    /// A folder beside the homes that goes with them.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.network.folder().join(name)
    }

    pub(super) fn sender(&self) -> Result<&Node, NetworkError> {
        let none = || NetworkError::Unexpected("the publishing node is gone".to_owned());
        self.network.nodes().first().ok_or_else(none)
    }

    fn receiver(&self) -> Result<&Node, NetworkError> {
        let none = || NetworkError::Unexpected("the fetching node is gone".to_owned());
        self.network.nodes().get(1).ok_or_else(none)
    }

    /// Publishes with `guild publish`. Seconds from the start of that process to its end.
    pub(super) async fn publish(
        &self,
        package: &Package,
        arguments: &[&str],
    ) -> Result<f64, NetworkError> {
        let mut command = programs::command(&self.program);
        command.arg("--home").arg(self.sender()?.home()).arg("publish").arg(&package.dir);
        command.arg("--yes").args(arguments);
        programs::timed(command).await.map_err(NetworkError::Unexpected)
    }

    /// Starts a node that has nothing, and waits until it has heard of a package.
    pub(super) async fn add_receiver(&mut self, package: &Package) -> Result<(), NetworkError> {
        self.network.add().await?;
        self.network.wait_until_joined().await?;
        self.wait_until_heard(package).await
    }

    /// Stops the receiver and removes what it fetched.
    pub(super) async fn remove_receiver(&mut self) -> Result<(), NetworkError> {
        self.network.remove_last().await
    }

    /// Waits until the receiver has heard of a package.
    pub(super) async fn wait_until_heard(&self, package: &Package) -> Result<(), NetworkError> {
        let (reference, receiver) = (reference(package)?, self.receiver()?);
        converge(HEARD_MAX, "the listing is known", async || {
            receiver.client().show(&reference).await.map(drop).map_err(NotYet::from)
        })
        .await?;
        Ok(())
    }

    /// Lets the receiver fetch.
    pub(super) async fn fetch(&self, package: &Package) -> Result<Fetch, NetworkError> {
        let (receiver, sender) = (self.receiver()?, self.sender()?);
        forget_peak(receiver)?;
        forget_peak(sender)?;
        let reference = reference(package)?;
        let used =
            || Ok::<_, NetworkError>(processor_seconds(receiver)? + processor_seconds(sender)?);
        let used_before = used()?;
        let since = Instant::now();
        let fetched = receiver.client().fetch(&reference).await?;
        let seconds = since.elapsed().as_secs_f64();
        Ok(Fetch {
            seconds,
            processor: used()? - used_before,
            fetched_bytes: fetched.fetched_bytes,
            reused_bytes: fetched.reused_bytes,
            receiver: memory(receiver)?,
            sender: memory(sender)?,
        })
    }

    /// Fetches several times, each time with a new node.
    pub(super) async fn fetch_anew(
        &mut self,
        package: &Package,
        runs: usize,
    ) -> Result<Vec<Fetch>, NetworkError> {
        let mut fetches = Vec::new();
        for _ in 0..runs {
            self.add_receiver(package).await?;
            warm(self.network.folder(), package.len_bytes)?;
            fetches.push(self.fetch(package).await?);
            self.remove_receiver().await?;
        }
        Ok(fetches)
    }

    /// Stops everything.
    pub(super) async fn stop(self) {
        self.network.stop().await;
    }
}

/// The processor time of fetches, seconds.
pub(super) fn processor(fetches: &[Fetch]) -> Samples {
    fetches.iter().map(|fetch| fetch.processor).collect()
}

/// The seconds of fetches.
pub(super) fn seconds(fetches: &[Fetch]) -> Samples {
    fetches.iter().map(|fetch| fetch.seconds).collect()
}

/// Memory of a node's process.
pub(super) fn memory(node: &Node) -> Result<Memory, NetworkError> {
    programs::memory(pid(node)?)
}

fn processor_seconds(node: &Node) -> Result<f64, NetworkError> {
    programs::processor_seconds(&pid(node)?.to_string())
}

/// Begins a new peak of a node's memory.
pub(super) fn forget_peak(node: &Node) -> Result<(), NetworkError> {
    let path = format!("/proc/{}/clear_refs", pid(node)?);
    std::fs::write(path, FORGET_PEAK).map_err(NetworkError::Io)
}

fn pid(node: &Node) -> Result<u32, NetworkError> {
    node.pid().ok_or_else(|| NetworkError::Unexpected("a node has ended".to_owned()))
}

/// Packages are all published by the first org.
fn reference(package: &Package) -> Result<Reference, NetworkError> {
    let text = format!("org-0/{}@{}", package.name, package.version);
    text.parse().map_err(|error| NetworkError::Unexpected(format!("{text}: {error}")))
}
