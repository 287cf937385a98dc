//! Links for an errand: in a large federation a node is linked to a few nodes, and reaches others when it needs them.

use std::collections::BTreeSet;
use std::time::Duration;

use guildhall_overlay::peer_id_string;
use guildhall_pipeline::{self as pipeline, Candidate, PlaceError, Placed, Plan};
use guildhall_protocol::PublicKey;
use guildhall_protocol::api::Placement;
use tracing::debug;

use super::App;

/// Nodes that are reached for one errand: the handshakes of as many are done within a round trip or two.
const REACHED_MAX: usize = 16;

/// How long they may take altogether. Whoever takes longer is not waited for; the dial goes on.
const PATIENCE: Duration = Duration::from_secs(3);

/// Nodes of others to choose from, so that the best one being busy is not the end of a run.
const CHOICE: usize = 4;

impl App {
    /// Connects to nodes that are known and not connected.
    pub(super) async fn reach(&self, node: PublicKey) {
        let addresses = {
            let core = self.core();
            if core.is_connected(&node) {
                return;
            }
            core.node(&node).map(|view| view.body.addresses.clone()).unwrap_or_default()
        };
        if addresses.is_empty() {
            return;
        }
        if let Err(error) = self.overlay.dial(addresses).await {
            debug!(%error, peer = peer_id_string(&node), "not reached");
        }
    }

    /// Connects to the first few of these nodes and waits until they are admitted. Does nothing where whoever is not
    /// connected is away; a node that was just started does not know that yet.
    pub(super) async fn reach_some(&self, nodes: impl IntoIterator<Item = PublicKey>) {
        let away: BTreeSet<PublicKey> = {
            let core = self.core();
            if core.knows_who_is_away() {
                return;
            }
            let is_away =
                |node: &PublicKey| core.authority(node).is_none() && core.node(node).is_some();
            let me = core.identity().node.public();
            let others = nodes.into_iter().filter(|node| *node != me);
            others.filter(is_away).take(REACHED_MAX).collect()
        };
        let reached = away.iter().map(|node| async move {
            // Asked before the dial, so that an admission in between is not missed.
            let mut admitted = self.admitted.subscribe();
            self.reach(*node).await;
            while self.core().is_connected(node) && self.core().authority(node).is_none() {
                if admitted.changed().await.is_err() {
                    break;
                }
            }
        });
        let _in_time = tokio::time::timeout(PATIENCE, futures::future::join_all(reached)).await;
    }

    /// The nodes that can execute a plan, best first. When few of those that are linked can, others that could are
    /// reached.
    pub(super) async fn place(
        &self,
        plan: &Plan,
        on: &Placement,
        isolation: u8,
    ) -> Result<Vec<Placed>, PlaceError> {
        let (own_org, me, knows_who_is_away) = {
            let core = self.core();
            let me = core.identity();
            (me.org.clone(), me.node.public(), core.knows_who_is_away())
        };
        let candidates = self.candidates(plan).await;
        let placed = pipeline::place(plan, &own_org, on, isolation, &candidates);
        let others = placed.as_ref().map_or(0, |all| all.iter().filter(|it| it.node != me).count());
        if knows_who_is_away || others >= CHOICE {
            return placed;
        }
        let as_if = candidates.into_iter().map(|one| Candidate { connected: true, ..one });
        let as_if: Vec<Candidate> = as_if.collect();
        let Ok(could) = pipeline::place(plan, &own_org, on, isolation, &as_if) else {
            return placed;
        };
        self.reach_some(could.into_iter().map(|it| it.node)).await;
        pipeline::place(plan, &own_org, on, isolation, &self.candidates(plan).await)
    }
}
