//! Streams that members open to this node: blobs they fetch, jobs they have executed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use guildhall_overlay::{Stream, StreamKind, peer_id_string};
use guildhall_protocol::wire::{BlobReply, BlobRequest};
use guildhall_protocol::{Hash, PublicKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tracing::{debug, warn};

use super::frames::{self, FrameError};
use super::{App, lock};

/// How long a blob stream may stay without a request. A fetcher that needs longer opens another.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Blob streams that one peer has at once, so that no peer takes those of all others.
pub(super) const SERVED_PER_PEER_MAX: usize = 8;

/// How long a peer may take to read what was written for it: [`CHUNK_BYTES`] over a poor line.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// Bytes of a blob that are read and sent at once.
const CHUNK_BYTES: usize = 256 * 1024;

impl App {
    pub(super) fn serve_stream(
        self: &Arc<Self>,
        peer: PublicKey,
        kind: StreamKind,
        stream: Stream,
    ) {
        if self.core().authority(&peer).is_none() {
            warn!(peer = peer_id_string(&peer), "a stream of a stranger is closed");
            return;
        }
        match kind {
            StreamKind::Blob => {
                let turn = Arc::clone(&self.served).try_acquire_owned();
                let share = Share::take(self, peer);
                let (Ok(turn), Some(share)) = (turn, share) else {
                    warn!(
                        peer = peer_id_string(&peer),
                        "every stream is taken; one more is closed"
                    );
                    return;
                };
                let app = Arc::clone(self);
                self.tasks.spawn("serve-blobs", async move {
                    let _turn = (turn, share);
                    tokio::select! {
                        biased;
                        () = app.tasks.token().cancelled() => {}
                        served = app.serve_blobs(stream) => if let Err(error) = served {
                            debug!(%error, peer = peer_id_string(&peer), "a blob stream ended early");
                        },
                    }
                });
            }
            StreamKind::Job => self.serve_job(peer, stream),
        }
    }

    async fn serve_blobs(&self, mut stream: Stream) -> Result<(), FrameError> {
        loop {
            let request =
                frames::receive_capped::<BlobRequest>(&mut stream, frames::BLOB_HEAD_MAX_BYTES);
            let request = tokio::time::timeout(IDLE_MAX, request);
            match request.await {
                Ok(Ok(Some(BlobRequest { hash }))) => self.serve_blob(&mut stream, hash).await?,
                Ok(Ok(None)) | Err(_) => return Ok(()),
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    async fn serve_blob(&self, stream: &mut Stream, hash: Hash) -> Result<(), FrameError> {
        let shared = lock(&self.shared_blobs).contains(&hash);
        let opened = match shared {
            true => {
                self.store.open_blob(&hash).inspect_err(|error| warn!(%error, "not served")).ok()
            }
            false => None,
        };
        let Some((file, len_bytes)) = opened else {
            return in_time(frames::send(stream, &BlobReply::Missing)).await;
        };
        in_time(frames::write(stream, &BlobReply::Found { len_bytes })).await?;
        let mut file = tokio::fs::File::from_std(file);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = file.read(&mut chunk).await?;
            if read == 0 {
                break;
            }
            let bytes = chunk.get(..read).unwrap_or_default();
            in_time(async { Ok(stream.write_all(bytes).await?) }).await?;
        }
        in_time(async { Ok(stream.flush().await?) }).await
    }
}

/// A write that the peer has to let happen.
async fn in_time(write: impl Future<Output = Result<(), FrameError>>) -> Result<(), FrameError> {
    let slow = |_| FrameError::Io(std::io::ErrorKind::TimedOut.into());
    tokio::time::timeout(WRITE_MAX, write).await.map_err(slow)?
}

/// One of the streams that a peer may have.
struct Share {
    app: Arc<App>,
    peer: PublicKey,
}

impl Share {
    fn take(app: &Arc<App>, peer: PublicKey) -> Option<Self> {
        take_share(&mut lock(&app.served_by), peer).then(|| Self { app: Arc::clone(app), peer })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        free_share(&mut lock(&self.app.served_by), self.peer);
    }
}

fn take_share(taken: &mut BTreeMap<PublicKey, usize>, peer: PublicKey) -> bool {
    let count = taken.entry(peer).or_default();
    let free = *count < SERVED_PER_PEER_MAX;
    *count += usize::from(free);
    free
}

fn free_share(taken: &mut BTreeMap<PublicKey, usize>, peer: PublicKey) {
    if let Some(count) = taken.get_mut(&peer) {
        *count -= 1;
        if *count == 0 {
            taken.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::SecretKey;

    use super::*;

    #[test]
    fn one_peer_takes_its_share_of_the_streams_and_leaves_the_rest() {
        let [a, b] = [1, 2].map(|seed| SecretKey::from_seed(&[seed; 32]).public());
        let mut taken = BTreeMap::new();
        for _ in 0..SERVED_PER_PEER_MAX {
            assert!(take_share(&mut taken, a));
        }
        assert!(!take_share(&mut taken, a));
        assert!(take_share(&mut taken, b));
        free_share(&mut taken, a);
        assert!(take_share(&mut taken, a));
        for _ in 0..SERVED_PER_PEER_MAX {
            free_share(&mut taken, a);
        }
        free_share(&mut taken, b);
        assert!(taken.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_is_not_waited_for() {
        let (mut ours, _theirs) = tokio::io::duplex(1);
        let sent = in_time(frames::send(&mut ours, &BlobReply::Missing)).await;
        assert!(
            matches!(sent, Err(FrameError::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut)
        );
    }
}
