//! Who may hold a package.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use guildhall_core::package_key;
use guildhall_overlay::StreamKind;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::{PackageId, PublicKey};
use tokio::sync::Semaphore;

use super::line::{Line, Trouble};
use super::serve::SERVED_PER_PEER_MAX;
use crate::app::{App, lock};

/// Holders that are tried for one package, best first.
const HOLDERS_MAX: usize = 32;

/// Of them, those that somebody named: one who names bad ones must leave room for others.
const HINTS_MAX: usize = 8;

/// How long a fetch waits for its turn at a holder that this node has as many streams to as it may.
const TURN_MAX: Duration = Duration::from_secs(60);

/// Who may hold a package.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Connected and admitted ones, best first.
    pub(super) reachable: Vec<Holder>,
    /// How many more are known, but are not connected or not admitted.
    pub(super) away: usize,
}

/// A node that may hold a package.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) peer: PublicKey,
    pub(super) org: OrgName,
}

/// Streams to one holder: more than it serves to one peer would be closed.
pub(in crate::app) type Turns = BTreeMap<PublicKey, Arc<Semaphore>>;

impl App {
    /// Members' nodes that may hold a package: those that were named, the producer's, and those in the DHT.
    pub(super) async fn holders(&self, package: PackageId, hints: &[PublicKey]) -> Holders {
        let key = package_key(self.core().federation().id(), package);
        let found = self.providers(&[key]).await;
        let producers: Vec<PublicKey> = {
            let core = self.core();
            let roots: BTreeSet<PublicKey> =
                core.catalog().of_package(package).filter_map(|brief| brief.root()).collect();
            let nodes = core.nodes().filter(|(_, view)| roots.contains(&view.root));
            nodes.map(|(node, _)| *node).collect()
        };
        let named = hints.iter().take(HINTS_MAX).chain(&producers).chain(&found);
        self.reach_some(named.copied()).await;
        let core = self.core();
        let me = core.identity().node.public();
        let mut seen = BTreeSet::from([me]);
        let named = hints.iter().take(HINTS_MAX).chain(&producers).chain(&found).copied();
        let mut holders = Holders::default();
        for peer in named.filter(|peer| seen.insert(*peer)) {
            match core.authority(&peer).map(|authority| authority.org.clone()) {
                Some(org) if holders.reachable.len() < HOLDERS_MAX => {
                    holders.reachable.push(Holder { peer, org });
                }
                Some(_) => {}
                None => holders.away += 1,
            }
        }
        holders
    }

    /// Opens a stream to a holder.
    pub(super) async fn open_line(&self, peer: PublicKey) -> Result<Line, Trouble> {
        let turns = {
            let mut all = lock(&self.turns);
            // Nobody waits for a holder whose semaphore is in this map only.
            all.retain(|_, turns| Arc::strong_count(turns) > 1);
            Arc::clone(
                all.entry(peer).or_insert_with(|| Arc::new(Semaphore::new(SERVED_PER_PEER_MAX))),
            )
        };
        let turn = tokio::time::timeout(TURN_MAX, turns.acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Trouble::lost("as much as may is being fetched from it already"));
        };
        let stream = self.overlay.open_stream(peer, StreamKind::Blob).await;
        let stream = stream.map_err(|error| Trouble::lost(error.to_string()))?;
        Ok(Line::new(stream, turn))
    }
}
