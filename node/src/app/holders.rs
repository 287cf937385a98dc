//! Who may hold a package, and getting one blob from them: the first that has it, sends it in time and tells the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use guildhall_core::package_key;
use guildhall_overlay::{Stream, StreamKind, peer_id_string};
use guildhall_protocol::limits::MANIFEST_MAX_BYTES;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::wire::{BlobReply, BlobRequest};
use guildhall_protocol::{Hash, PackageId, PublicKey};
use guildhall_store::{BlobError, StagedBlob};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

use super::disk;
use super::fetch::FetchError;
use super::frames::{self, FrameError};
use super::serve::SERVED_PER_PEER_MAX;
use super::{App, lock};

/// Holders that are tried for one package, best first.
const HOLDERS_MAX: usize = 8;

/// Of them, those that somebody named: one who names bad ones must leave room for others.
const HINTS_MAX: usize = 4;

/// How long a holder may send nothing before the next one is tried.
const STALL_MAX: Duration = Duration::from_secs(10);

/// Slowest pace at which a blob may come, bytes per second: a poor line. Without it, a holder that sends a byte now and
/// then would keep a package from everybody who waits for it here.
const PACE_MIN_BYTES: u64 = 64 * 1024;

/// How long a fetch waits for its turn at a holder that this node has as many streams to as it may.
const TURN_MAX: Duration = Duration::from_secs(60);

/// Bytes that are read from a stream at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Who may hold a package.
#[derive(Default)]
pub(super) struct Holders {
    reachable: Vec<Holder>,
    /// How many more are known, but are not connected or not admitted.
    away: usize,
}

impl Holders {
    pub(super) const fn is_empty(&self) -> bool {
        self.reachable.is_empty()
    }
}

/// A holder with the stream to it, opened when first needed.
struct Holder {
    peer: PublicKey,
    org: OrgName,
    stream: Option<Line>,
}

/// A stream, and the turn at the holder that it takes.
struct Line {
    stream: Stream,
    _turn: OwnedSemaphorePermit,
}

/// Streams to one holder: more than it serves to one peer would be closed.
pub(super) type Turns = BTreeMap<PublicKey, Arc<Semaphore>>;

impl App {
    /// Members' nodes that may hold a package: those that were named, the producer's, and those in the DHT.
    pub(super) async fn holders(&self, package: PackageId, hints: &[PublicKey]) -> Holders {
        let key = package_key(self.core().federation().id(), package);
        let found = self.providers(&[key]).await;
        let core = self.core();
        let me = core.identity().node.public();
        let producers: Vec<PublicKey> = core
            .catalog()
            .of_package(package)
            .flat_map(|shown| {
                let root = shown.entry.root;
                core.nodes().filter(move |(_, view)| view.root == root).map(|(node, _)| *node)
            })
            .collect();
        let mut seen = BTreeSet::from([me]);
        let named = hints.iter().take(HINTS_MAX).chain(&producers).chain(&found).copied();
        let mut holders = Holders::default();
        for peer in named.filter(|peer| seen.insert(*peer)) {
            match core.authority(&peer).map(|authority| authority.org.clone()) {
                Some(org) if holders.reachable.len() < HOLDERS_MAX => {
                    holders.reachable.push(Holder { peer, org, stream: None });
                }
                Some(_) => {}
                None => holders.away += 1,
            }
        }
        holders
    }

    /// Gets one blob from the first holder that has it and tells the truth.
    pub(super) async fn fetch_blob(
        &self,
        holders: &mut Holders,
        hash: Hash,
        len_bytes: Option<u64>,
    ) -> Result<(StagedBlob, OrgName), FetchError> {
        disk::check_room(&self.home.store(), len_bytes.unwrap_or(MANIFEST_MAX_BYTES as u64))?;
        let mut tried = Vec::new();
        let mut at = 0;
        while let Some(holder) = holders.reachable.get_mut(at) {
            match self.fetch_from(holder, hash, len_bytes).await {
                Ok(Some(blob)) => return Ok((blob, holder.org.clone())),
                Ok(None) => {
                    tried.push(format!("{} does not have it", holder.org));
                    at += 1;
                }
                Err(SourceError::Here(error)) => return Err(error.into()),
                Err(SourceError::There(why)) => {
                    warn!(peer = peer_id_string(&holder.peer), why, "a holder is given up");
                    tried.push(format!("{}: {why}", holder.org));
                    holders.reachable.remove(at);
                }
            }
        }
        Err(FetchError::NoHolder { hash, tried, away: holders.away })
    }

    async fn fetch_from(
        &self,
        holder: &mut Holder,
        hash: Hash,
        len_bytes: Option<u64>,
    ) -> Result<Option<StagedBlob>, SourceError> {
        let there = |why: String| SourceError::There(why);
        let mut line = match holder.stream.take() {
            Some(line) => line,
            None => self.open_line(holder.peer).await?,
        };
        let stream = &mut line.stream;
        let asked = tokio::time::timeout(STALL_MAX, async {
            frames::send(stream, &BlobRequest { hash }).await?;
            frames::receive_capped::<BlobReply>(stream, frames::BLOB_HEAD_MAX_BYTES).await
        });
        let found_bytes =
            match asked.await.map_err(|_| there("it does not answer".to_owned()))?? {
                Some(BlobReply::Found { len_bytes }) => len_bytes,
                Some(BlobReply::Missing) => {
                    holder.stream = Some(line);
                    return Ok(None);
                }
                None => return Err(there("it closed the stream".to_owned())),
            };
        let max_bytes = len_bytes.unwrap_or(MANIFEST_MAX_BYTES as u64);
        if len_bytes.is_some_and(|len| len != found_bytes) || found_bytes > max_bytes {
            return Err(there(format!("it announces {found_bytes} bytes, not {max_bytes}")));
        }
        let mut writer = self.store.blob_writer(Some(hash), found_bytes)?;
        receive_content(stream, found_bytes, |chunk| Ok(writer.write_all(chunk)?)).await?;
        let staged = tokio::task::block_in_place(|| writer.finish());
        match staged {
            Err(BlobError::HashMismatch { .. }) => {
                Err(there("what it sends is not what was asked for".to_owned()))
            }
            staged => {
                holder.stream = Some(line);
                debug!(%hash, found_bytes, "fetched");
                Ok(Some(staged?))
            }
        }
    }

    async fn open_line(&self, peer: PublicKey) -> Result<Line, SourceError> {
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
            return Err(SourceError::There(
                "as much as may is being fetched from it already".to_owned(),
            ));
        };
        let stream = self.overlay.open_stream(peer, StreamKind::Blob).await;
        let stream = stream.map_err(|error| SourceError::There(error.to_string()))?;
        Ok(Line { stream, _turn: turn })
    }
}

/// Reads a blob's bytes, without long pauses and at a pace.
async fn receive_content(
    stream: &mut (impl AsyncRead + Unpin),
    len_bytes: u64,
    mut take: impl FnMut(&[u8]) -> Result<(), SourceError>,
) -> Result<(), SourceError> {
    let there = |why: String| SourceError::There(why);
    let deadline = STALL_MAX + Duration::from_secs(len_bytes / PACE_MIN_BYTES);
    let received = tokio::time::timeout(deadline, async {
        let mut left = len_bytes;
        let mut chunk = vec![0; CHUNK_BYTES];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let Some(into) = chunk.get_mut(..most) else { break };
            let read = tokio::time::timeout(STALL_MAX, stream.read(into)).await;
            let read =
                read.map_err(|_| there("it stalls".to_owned()))?.map_err(FrameError::from)?;
            if read == 0 {
                return Err(there(format!("it stopped {left} bytes before the end")));
            }
            take(chunk.get(..read).unwrap_or_default())?;
            left -= read as u64;
        }
        Ok(())
    });
    received.await.unwrap_or_else(|_| Err(there("it is too slow".to_owned())))
}

#[derive(Debug)]
enum SourceError {
    /// The holder's fault: try the next.
    There(String),
    /// Ours: no other holder helps.
    Here(BlobError),
}

impl From<FrameError> for SourceError {
    fn from(error: FrameError) -> Self {
        Self::There(error.to_string())
    }
}

impl From<BlobError> for SourceError {
    fn from(error: BlobError) -> Self {
        Self::Here(error)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_drips_is_given_up_and_a_steady_one_is_not() {
        let (mut theirs, mut ours) = tokio::io::duplex(CHUNK_BYTES);
        let drip = async {
            loop {
                tokio::time::sleep(Duration::from_secs(9)).await;
                theirs.write_all(&[0]).await.unwrap();
            }
        };
        let started = tokio::time::Instant::now();
        let received = tokio::select! {
            () = drip => unreachable!("it drips for ever"),
            received = receive_content(&mut ours, 1024 * 1024, |_| Ok(())) => received,
        };
        assert!(matches!(received, Err(SourceError::There(why)) if why == "it is too slow"));
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());

        let (mut theirs, mut ours) = tokio::io::duplex(CHUNK_BYTES);
        let content = vec![7; 1024 * 1024];
        let mut came = Vec::new();
        let steady = async {
            for second in content.chunks(CHUNK_BYTES) {
                tokio::time::sleep(Duration::from_secs(1)).await;
                theirs.write_all(second).await.unwrap();
            }
        };
        let taking = receive_content(&mut ours, content.len() as u64, |chunk| {
            came.extend_from_slice(chunk);
            Ok(())
        });
        let ((), received) = tokio::join!(steady, taking);
        received.unwrap();
        assert_eq!(came, content);
    }
}
