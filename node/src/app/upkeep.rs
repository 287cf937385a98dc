//! The task that tries again, every few seconds, what a node owes itself: to have a peer, to have described itself, to
//! have listed in its federation what it had listed before it joined.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use guildhall_protocol::body::Listing;
use guildhall_protocol::record::Record;
use guildhall_protocol::{FederationId, PublicKey};
use guildhall_store::{Batch, Collection, ReadError, Store};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use super::write::{OwnLog, WriteError};
use super::{App, lock};

/// Time between two tries: soon enough that nobody waits long for a node that was out of reach.
const RETRY: Duration = Duration::from_secs(3);

/// Nodes dialled at once, out of the static peers.
const DIALS_MAX: usize = 8;

/// Records of our own log, and bytes of them, that are read at once.
const PAGE_MAX_RECORDS: usize = 1_024;
const PAGE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Under this key of the identity collection stands the federation in which everything is listed.
const RELISTED_KEY: &[u8] = b"relisted";

/// Runs until the node is told to stop.
pub(super) async fn run(app: Arc<App>) {
    let mut ticks = tokio::time::interval(RETRY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complained = false;
    loop {
        tokio::select! {
            biased;
            () = app.tasks.token().cancelled() => return,
            _ = ticks.tick() => {}
        }
        let tried = tokio::select! {
            biased;
            () = app.tasks.token().cancelled() => return,
            tried = app.try_again() => tried,
        };
        match tried {
            Err(error) if !complained => {
                warn!(%error, "this node's own records are not complete; they are tried again");
                complained = true;
            }
            Err(error) => debug!(%error, "still not complete"),
            Ok(()) => complained = false,
        }
    }
}

impl App {
    async fn try_again(self: &Arc<Self>) -> Result<(), WriteError> {
        let alone = self.core().peers_admitted() == 0;
        if alone {
            self.dial_static().await;
        }
        if self.undescribed.load(Ordering::Relaxed) {
            self.describe().await?;
        }
        self.relist().await
    }

    /// Dials the nodes that the keeper named and those of used invites.
    async fn dial_static(&self) {
        let peers = lock(&self.static_peers).clone();
        let nodes: Vec<Vec<String>> = by_node(peers).into_values().collect();
        for some in nodes.chunks(DIALS_MAX) {
            let dials = some.iter().map(|addresses| self.overlay.dial(addresses.clone()));
            for (addresses, dialled) in some.iter().zip(futures::future::join_all(dials).await) {
                if let Err(error) = dialled {
                    debug!(%error, ?addresses, "a static peer is not reached");
                }
            }
        }
    }

    /// Lists in the federation of now what this org has listed elsewhere and not here. Once done, it is remembered.
    pub(super) async fn relist(self: &Arc<Self>) -> Result<(), WriteError> {
        let _alone = self.publishing.lock().await;
        let (producer, federation) = {
            let core = self.core();
            (core.identity().producer.public(), core.federation().id())
        };
        let done = self.store.document(Collection::Identity, RELISTED_KEY)?;
        if done.as_deref() == Some(federation.0.as_bytes()) {
            return Ok(());
        }
        let store = self.store.clone();
        let unlisted =
            tokio::task::spawn_blocking(move || unlisted(&store, producer, federation)).await;
        let unlisted = unlisted.map_err(|_| WriteError::Stopping)??;
        let count = unlisted.len();
        for listing in unlisted {
            self.write(OwnLog::Producer, listing).await?;
        }
        if count > 0 {
            info!(count, %federation, "listed again");
        }
        let mut batch = Batch::new();
        batch.put_document(Collection::Identity, RELISTED_KEY, federation.0.as_bytes().to_vec());
        Ok(self.store.commit(batch).await?)
    }
}

/// The newest listing of every release in a log that has none in this federation, as it has to read there.
fn unlisted(
    store: &Store,
    producer: PublicKey,
    federation: FederationId,
) -> Result<Vec<Listing>, ReadError> {
    let (mut here, mut elsewhere) = (BTreeSet::new(), BTreeMap::new());
    let mut from_seq = 0;
    loop {
        let page = store.records_of(&producer, from_seq, PAGE_MAX_RECORDS, PAGE_MAX_BYTES)?;
        let Some(last) = page.last() else { break };
        from_seq = last.seq + 1;
        for stored in page {
            let record = Record::open(&stored.bytes).ok();
            let Some(Ok(listing)) = record.and_then(|record| record.body_as::<Listing>()) else {
                continue;
            };
            let release = (listing.release.name.clone(), listing.release.version.clone());
            if listing.federation == federation {
                here.insert(release);
            } else {
                elsewhere.insert(release, Listing { federation, ..listing });
            }
        }
    }
    elsewhere.retain(|release, _| !here.contains(release));
    Ok(elsewhere.into_values().collect())
}

/// Addresses by the peer id that they end in; a dial takes those of one peer.
fn by_node(addresses: Vec<String>) -> BTreeMap<String, Vec<String>> {
    let mut nodes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for address in addresses {
        let peer = address.rsplit("/p2p/").next().unwrap_or_default().to_owned();
        nodes.entry(peer).or_default().push(address);
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_node_are_dialled_together() {
        let of = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let nodes = by_node(of(&[
            "/ip4/1.1.1.1/tcp/1/p2p/A",
            "/ip4/2.2.2.2/tcp/1/p2p/B",
            "/ip6/::1/tcp/1/p2p/A",
        ]));
        let nodes: Vec<_> = nodes.into_values().collect();
        assert_eq!(
            nodes,
            [
                of(&["/ip4/1.1.1.1/tcp/1/p2p/A", "/ip6/::1/tcp/1/p2p/A"]),
                of(&["/ip4/2.2.2.2/tcp/1/p2p/B"]),
            ]
        );
    }
}
