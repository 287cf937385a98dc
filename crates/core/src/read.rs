//! What a node knows, for those who ask it.

use guildhall_catalog::Catalog;
use guildhall_federation::{Authority, State};
use guildhall_protocol::{PackageId, PublicKey};
use guildhall_sync::Logs;

use crate::event::NodeView;
use crate::identity::Identity;
use crate::node::{Core, Settings};

impl Core {
    /// The node's keys.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.me
    }

    /// What the keeper decided.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where the overlay listens.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Who is in the federation.
    #[must_use]
    pub const fn federation(&self) -> &State {
        &self.federation
    }

    /// What is listed.
    #[must_use]
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// What is listed, to have it written to disk.
    pub const fn catalog_mut(&mut self) -> &mut Catalog {
        &mut self.catalog
    }

    /// Whose records are here.
    #[must_use]
    pub const fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Every node that described itself, this one included.
    pub fn nodes(&self) -> impl Iterator<Item = (&PublicKey, &NodeView)> {
        self.nodes.iter()
    }

    /// What a node says about itself.
    #[must_use]
    pub fn node(&self, node: &PublicKey) -> Option<&NodeView> {
        self.nodes.get(node)
    }

    /// The org for which an admitted peer speaks.
    #[must_use]
    pub fn authority(&self, peer: &PublicKey) -> Option<&Authority> {
        self.peers.get(peer)?.admitted.as_ref()
    }

    /// Whether a connection to the peer is open.
    #[must_use]
    pub fn is_connected(&self, peer: &PublicKey) -> bool {
        self.peers.get(peer).is_some_and(|state| state.connected)
    }

    /// Peers that take part in everything.
    #[must_use]
    pub fn peers_admitted(&self) -> usize {
        self.admitted_peers().count()
    }

    /// Since logs were last compared with another node, seconds; `None` when they never were.
    #[must_use]
    pub fn heard_s(&self) -> Option<u64> {
        self.heard.map(|heard| heard.age_ms(self.now) / 1_000)
    }

    /// Complete packages on disk.
    #[must_use]
    pub fn packages(&self) -> usize {
        self.packages.len()
    }

    /// Whether the complete package is on disk.
    #[must_use]
    pub fn holds(&self, package: &PackageId) -> bool {
        self.packages.contains(package)
    }
}
