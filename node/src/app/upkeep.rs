//! The task that tries again, every few seconds, what a node owes itself: to have a peer, to have described itself, to
//! have listed in its federation what it had listed before it joined.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use guildhall_protocol::body::Listing;
use guildhall_protocol::name::{PackageName, Version};
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

/// Under this key of the identity collection stand the keys with which this node's producer signed before, one behind
/// the other.
pub(super) const FORMER_KEY: &[u8] = b"former-producers";

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
        self.relist_former(producer, federation).await?;
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

impl App {
    /// Lists under this node's key what it listed under former ones that are in quarantine.
    async fn relist_former(
        self: &Arc<Self>,
        producer: PublicKey,
        federation: FederationId,
    ) -> Result<(), WriteError> {
        let Some(all) = self.store.document(Collection::Identity, FORMER_KEY)? else {
            return Ok(());
        };
        let former = all.as_chunks::<32>().0.iter().map(|key| PublicKey::from_bytes(*key));
        let (gone, left): (Vec<PublicKey>, Vec<PublicKey>) = {
            let core = self.core();
            former.partition(|key| core.forks().any(|forked| forked.author == *key))
        };
        if gone.is_empty() {
            return Ok(());
        }
        let store = self.store.clone();
        let lost = move || -> Result<Vec<Listing>, ReadError> {
            let mut lost = BTreeMap::new();
            for key in gone {
                lost.extend(newest_listings(&store, key, federation)?);
            }
            let here = newest_listings(&store, producer, federation)?;
            Ok(lost
                .into_iter()
                .filter(|(release, _)| !here.contains_key(release))
                .map(|(_, it)| it)
                .collect())
        };
        let lost = tokio::task::spawn_blocking(lost).await.map_err(|_| WriteError::Stopping)??;
        let count = lost.len();
        for listing in lost {
            self.write(OwnLog::Producer, listing).await?;
        }
        info!(count, "listed again under this node's key, because the former one is in quarantine");
        let left = left.iter().flat_map(|key| *key.as_bytes()).collect();
        let mut batch = Batch::new();
        batch.put_document(Collection::Identity, FORMER_KEY, left);
        Ok(self.store.commit(batch).await?)
    }
}

type ReleaseName = (PackageName, Version);

/// The newest listing of every release in a log, in this federation.
fn newest_listings(
    store: &Store,
    producer: PublicKey,
    federation: FederationId,
) -> Result<BTreeMap<ReleaseName, Listing>, ReadError> {
    let mut all = listings(store, producer)?;
    all.retain(|listing| listing.federation == federation);
    Ok(all
        .into_iter()
        .map(|it| ((it.release.name.clone(), it.release.version.clone()), it))
        .collect())
}

/// The newest listing of every release in a log that has none in this federation, as it has to read there.
fn unlisted(
    store: &Store,
    producer: PublicKey,
    federation: FederationId,
) -> Result<Vec<Listing>, ReadError> {
    let (mut here, mut elsewhere) = (BTreeSet::new(), BTreeMap::new());
    for listing in listings(store, producer)? {
        let release = (listing.release.name.clone(), listing.release.version.clone());
        if listing.federation == federation {
            here.insert(release);
        } else {
            elsewhere.insert(release, Listing { federation, ..listing });
        }
    }
    elsewhere.retain(|release, _| !here.contains(release));
    Ok(elsewhere.into_values().collect())
}

/// Every listing in a log, the oldest first.
fn listings(store: &Store, producer: PublicKey) -> Result<Vec<Listing>, ReadError> {
    let (mut all, mut from_seq) = (Vec::new(), 0);
    loop {
        let page = store.records_of(&producer, from_seq, PAGE_MAX_RECORDS, PAGE_MAX_BYTES)?;
        let Some(last) = page.last() else { break };
        from_seq = last.seq + 1;
        for stored in page {
            let record = Record::open(&stored.bytes).ok();
            let listing = record.and_then(|record| record.body_as::<Listing>());
            all.extend(listing.and_then(Result::ok));
        }
    }
    Ok(all)
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
