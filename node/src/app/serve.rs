//! Streams that members open to this node: blobs they fetch, jobs they have executed.

use std::sync::Arc;
use std::time::Duration;

use guildhall_overlay::{Stream, StreamKind, peer_id_string};
use guildhall_protocol::wire::{BlobReply, BlobRequest};
use guildhall_protocol::{Hash, PublicKey};
use tokio::io::AsyncWriteExt as _;
use tracing::{debug, warn};

use super::frames::{self, FrameError};
use super::{App, lock};

/// How long a blob stream may stay without a request. A fetcher that needs longer opens another.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Bytes of a blob that are read and sent at once.
const CHUNK_BYTES: usize = 256 * 1024;

impl App {
    pub(super) fn serve_stream(self: &Arc<Self>, peer: PublicKey, kind: StreamKind, stream: Stream) {
        if self.core().authority(&peer).is_none() {
            warn!(peer = peer_id_string(&peer), "a stream of a stranger is closed");
            return;
        }
        match kind {
            StreamKind::Blob => {
                let Ok(turn) = Arc::clone(&self.served).try_acquire_owned() else {
                    warn!(peer = peer_id_string(&peer), "every stream is taken; one more is closed");
                    return;
                };
                let app = Arc::clone(self);
                self.tasks.spawn("serve-blobs", async move {
                    let _turn = turn;
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
            let request = tokio::time::timeout(IDLE_MAX, frames::receive::<BlobRequest>(&mut stream));
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
            true => self.store.open_blob(&hash).inspect_err(|error| warn!(%error, "not served")).ok(),
            false => None,
        };
        let Some((file, len_bytes)) = opened else {
            return frames::send(stream, &BlobReply::Missing).await;
        };
        frames::write(stream, &BlobReply::Found { len_bytes }).await?;
        let file = tokio::fs::File::from_std(file);
        let mut content = tokio::io::BufReader::with_capacity(CHUNK_BYTES, file);
        tokio::io::copy_buf(&mut content, stream).await?;
        stream.flush().await?;
        Ok(())
    }
}
