//! The three nodes.

use std::path::Path;

use guildhall_launch::{Node, Options};
use guildhall_protocol::api::Status;
use guildhall_protocol::name::{CategoryPrefix, OrgName};

use super::broken::{Broken, Expect as _};

/// Publishes; lends nothing.
pub(super) const PRODUCER: &str = "aalto-lab";
/// Lends its hardware, and follows what the producer publishes.
pub(super) const LENDER: &str = "birch-hospital";
/// Searches and runs, and follows something else.
pub(super) const REQUESTER: &str = "cedar-agency";

/// Every org.
pub(super) const ORGS: [&str; 3] = [PRODUCER, LENDER, REQUESTER];

/// What producer and lender follow: everything that the producer publishes lies within it.
pub(super) const FOLLOWED: &str = "vision";
/// What the requester follows: nothing of it.
pub(super) const FOLLOWED_ELSEWHERE: &str = "audio";

/// The nodes of the three orgs.
#[derive(Debug)]
pub(super) struct Lab {
    pub(super) producer: Node,
    pub(super) lender: Node,
    pub(super) requester: Node,
}

impl Lab {
    /// Makes three homes in `dir` and starts a node in each, all at once.
    pub(super) async fn start(dir: &Path) -> Result<Self, Broken> {
        let program = std::env::current_exe().expected("this program knows its own path")?;
        let node = async |org: &str, follows: &str| {
            let org: OrgName = org.parse().expected("the demo's orgs have good names")?;
            let follows: CategoryPrefix = follows.parse().expected("a category has a good name")?;
            let options = Options::new(&program, dir.join(org.as_str())).follow([follows]);
            let started = Node::create(&org, options).await;
            started.expected(format!("the node of {org} starts"))
        };
        let (producer, lender, requester) = tokio::try_join!(
            node(PRODUCER, FOLLOWED),
            node(LENDER, FOLLOWED),
            node(REQUESTER, FOLLOWED_ELSEWHERE),
        )?;
        Ok(Self { producer, lender, requester })
    }

    /// What each node says about itself.
    pub(super) async fn statuses(&self) -> Result<[Status; 3], Broken> {
        let (producer, lender, requester) = tokio::try_join!(
            status(&self.producer),
            status(&self.lender),
            status(&self.requester),
        )?;
        Ok([producer, lender, requester])
    }

    /// Stops every node, all at once, and returns what did not go in good order: also a node that had ended before.
    pub(super) async fn stop(mut self) -> Vec<String> {
        let (producer, lender, requester) =
            tokio::join!(self.producer.stop(), self.lender.stop(), self.requester.stop());
        let complaint =
            |(org, stopped): (&str, Result<bool, guildhall_launch::Error>)| match stopped {
                Ok(true) => None,
                Ok(false) => Some(format!("the node of {org} did not end in good order")),
                Err(error) => Some(format!("the node of {org}: {error}")),
            };
        ORGS.into_iter().zip([producer, lender, requester]).filter_map(complaint).collect()
    }
}

/// What a node says about itself.
pub(super) async fn status(node: &Node) -> Result<Status, Broken> {
    let status = node.client().status().await;
    status.expected(format!("the node in {} answers", node.home().display()))
}
