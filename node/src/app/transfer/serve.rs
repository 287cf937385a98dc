//! Blobs for members: what they ask for on a blob stream is read and sent in order, in fair turns.
//!
//! Only blobs of complete packages are served. Their bytes are not checked on the way out: whoever gets them does that,
//! and turns to another holder.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use guildhall_overlay::{Stream, StreamKind, peer_id_string};
use guildhall_protocol::tree::{Cv, Shape, Span};
use guildhall_protocol::wire::{
    BATCH_MAX_BLOBS, BLOB_FRAME_MAX_BYTES, BlobReply, BlobRequest, PiecePart,
};
use guildhall_protocol::{Hash, PublicKey};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tracing::{debug, warn};

use super::uplink::Turn;
use crate::app::frames::{self, FrameError};
use crate::app::{App, lock};

/// How long a blob stream may stay without a request. A fetcher that needs longer opens another.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Blob streams that one peer has at once, so that no peer takes those of all others.
pub(super) const SERVED_PER_PEER_MAX: usize = 8;

/// Blob streams that the nodes of one org have at once, so that no org does either.
const SERVED_PER_ORG_MAX: usize = 24;

/// How long a write keeps its turn: one that takes longer waits for its reader, and others go on.
const TURN_KEPT: Duration = Duration::from_millis(500);

/// How long a stream waits for its turn when all are taken, before it is closed and the peer asks another holder.
const TURN_MAX: Duration = Duration::from_secs(30);

/// How long a peer may take to read what was written for it: [`CHUNK_BYTES`] over a poor line.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// Bytes of a blob that are read and sent at once.
const CHUNK_BYTES: u64 = 512 * 1024;

impl App {
    /// A member opened a stream.
    pub(in crate::app) fn take_stream(
        self: &Arc<Self>,
        peer: PublicKey,
        kind: StreamKind,
        stream: Stream,
    ) {
        let Some(org) = self.core().authority(&peer).map(|authority| authority.root) else {
            warn!(peer = peer_id_string(&peer), "a stream of a stranger is closed");
            return;
        };
        match kind {
            StreamKind::Blob => self.serve_blobs(peer, org, stream),
            StreamKind::Job => self.serve_job(peer, stream),
        }
    }

    /// Serves a blob stream until the peer ends it.
    fn serve_blobs(self: &Arc<Self>, peer: PublicKey, org: PublicKey, stream: Stream) {
        let of_peer = Share::take(self, peer, SERVED_PER_PEER_MAX);
        let of_org = Share::take(self, org, SERVED_PER_ORG_MAX);
        let (Some(of_peer), Some(of_org)) = (of_peer, of_org) else {
            warn!(peer = peer_id_string(&peer), "it has every stream it may; one more is closed");
            return;
        };
        let app = Arc::clone(self);
        self.tasks.spawn("serve-blobs", async move {
            let _shares = (of_peer, of_org);
            let serving = async {
                let turn = tokio::time::timeout(TURN_MAX, Arc::clone(&app.served).acquire_owned());
                let Ok(Ok(_turn)) = turn.await else {
                    warn!(
                        peer = peer_id_string(&peer),
                        "every stream is taken; one more is closed"
                    );
                    return;
                };
                let served = Served { app: &app, org, stream, opened: None }.run().await;
                if let Err(error) = served {
                    debug!(%error, peer = peer_id_string(&peer), "a blob stream ended early");
                }
            };
            tokio::select! {
                biased;
                () = app.tasks.token().cancelled() => {}
                () = serving => {}
            }
        });
    }
}

/// A blob that is open for reading.
struct Opened {
    hash: Hash,
    file: File,
    shape: Shape,
}

/// One stream that is served.
struct Served<'a> {
    app: &'a App,
    /// The peer's org, by its root.
    org: PublicKey,
    stream: Stream,
    /// The blob that the last request was about; the next one usually asks for more of it.
    opened: Option<Opened>,
}

impl Served<'_> {
    async fn run(mut self) -> Result<(), FrameError> {
        loop {
            let request =
                frames::receive_capped::<BlobRequest>(&mut self.stream, BLOB_FRAME_MAX_BYTES);
            match tokio::time::timeout(IDLE_MAX, request).await {
                Ok(Ok(Some(request))) => self.answer(request).await?,
                Ok(Ok(None)) | Err(_) => return Ok(()),
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    async fn answer(&mut self, request: BlobRequest) -> Result<(), FrameError> {
        match request {
            BlobRequest::List { hash } => self.answer_list(hash).await?,
            BlobRequest::Piece { hash, piece, part } => {
                self.answer_piece(hash, piece, part).await?
            }
            BlobRequest::Batch { hashes } => self.answer_batch(&hashes).await?,
            _ => return Err(FrameError::Order),
        }
        in_time(async { Ok(self.stream.flush().await?) }).await
    }

    async fn answer_list(&mut self, hash: Hash) -> Result<(), FrameError> {
        let Some(shape) = self.open(hash) else { return self.missing().await };
        let cvs = match shape.pieces() {
            1 => Some(Vec::new()),
            _ => self.look_up(hash, |app| app.store.piece_cvs(&hash)),
        };
        let Some(cvs) = cvs else { return self.missing().await };
        self.reply(&BlobReply::List { len_bytes: shape.len_bytes() }).await?;
        self.send_cvs(&cvs).await
    }

    async fn answer_piece(
        &mut self,
        hash: Hash,
        piece: u64,
        part: PiecePart,
    ) -> Result<(), FrameError> {
        let Some(shape) = self.open(hash) else { return self.missing().await };
        if piece >= shape.pieces() {
            return Err(FrameError::Order);
        }
        let span = shape.piece(piece);
        let cvs = match part {
            PiecePart::Groups { .. } => Some(Vec::new()),
            _ if shape.is_one_group() => Some(Vec::new()),
            _ => self.look_up(hash, |app| app.store.group_cvs(&hash, piece)),
        };
        let Some(cvs) = cvs else { return self.missing().await };
        let wanted = match part {
            PiecePart::Whole => Some(span),
            PiecePart::Hashes => None,
            PiecePart::Groups { first, count } => {
                Some(stretch(span, first, count).ok_or(FrameError::Order)?)
            }
        };
        self.reply(&BlobReply::Piece).await?;
        self.send_cvs(&cvs).await?;
        match wanted {
            Some(span) => self.send_content(span).await,
            None => Ok(()),
        }
    }

    async fn answer_batch(&mut self, hashes: &[Hash]) -> Result<(), FrameError> {
        if hashes.len() > BATCH_MAX_BLOBS {
            return Err(FrameError::Order);
        }
        let app = self.app;
        // Those that are not for members are asked for under no name.
        let shared: Vec<Hash> = {
            let shared = lock(&app.shared_blobs);
            hashes.iter().filter(|hash| shared.contains(*hash)).copied().collect()
        };
        let mut bytes = Vec::new();
        let read = tokio::task::block_in_place(|| app.store.read_small_blobs(&shared, &mut bytes));
        let found = read.unwrap_or_else(|error| {
            warn!(%error, "small files are not served");
            bytes.clear();
            vec![None; shared.len()]
        });
        let mut found = shared.iter().zip(found).peekable();
        let mut of =
            |hash: &Hash| found.next_if(|(next, _)| *next == hash).and_then(|(_, len)| len);
        let lens = hashes.iter().map(&mut of).collect();
        self.reply(&BlobReply::Batch { lens }).await?;
        self.send(&bytes).await
    }

    /// Makes a blob the one that is read from, if it is here and for members.
    fn open(&mut self, hash: Hash) -> Option<Shape> {
        if let Some(opened) = &self.opened
            && opened.hash == hash
        {
            return Some(opened.shape);
        }
        self.opened = None;
        if !self.app.is_shared(&hash) {
            return None;
        }
        let opened = tokio::task::block_in_place(|| self.app.store.open_blob(&hash));
        let (file, len_bytes) =
            opened.inspect_err(|error| warn!(%error, "a file is not served")).ok()?;
        let shape = Shape::of(len_bytes);
        self.opened = Some(Opened { hash, file, shape });
        Some(shape)
    }

    /// Reads a list of CVs; without it the blob counts as missing.
    fn look_up(
        &self,
        hash: Hash,
        read: impl FnOnce(&App) -> Result<Option<Vec<Cv>>, guildhall_store::ReadError>,
    ) -> Option<Vec<Cv>> {
        let read = tokio::task::block_in_place(|| read(self.app));
        read.inspect_err(|error| warn!(%error, %hash, "a file is not served")).ok().flatten()
    }

    async fn reply(&mut self, reply: &BlobReply) -> Result<(), FrameError> {
        in_time(frames::write(&mut self.stream, reply)).await
    }

    async fn missing(&mut self) -> Result<(), FrameError> {
        self.reply(&BlobReply::Missing).await
    }

    async fn send_cvs(&mut self, cvs: &[Cv]) -> Result<(), FrameError> {
        let bytes: Vec<u8> = cvs.iter().flat_map(|cv| *cv.as_bytes()).collect();
        self.send(&bytes).await
    }

    /// Sends bytes that are at hand, in turns.
    async fn send(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        for chunk in bytes.chunks(usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX)) {
            let turn = self.app.uplink.turn(self.org, chunk.len()).await;
            send_in_turn(&mut self.stream, chunk, turn).await?;
        }
        Ok(())
    }

    /// Sends a stretch of the open blob, in turns.
    async fn send_content(&mut self, span: Span) -> Result<(), FrameError> {
        let Some(opened) = &self.opened else { return Err(FrameError::Order) };
        let mut chunk = Vec::new();
        let mut at = span.offset;
        let end = span.offset.saturating_add(span.len_bytes);
        while at < end {
            let len = usize::try_from(CHUNK_BYTES.min(end - at)).unwrap_or(0);
            let turn = self.app.uplink.turn(self.org, len).await;
            chunk.resize(len, 0);
            tokio::task::block_in_place(|| opened.file.read_exact_at(&mut chunk, at))?;
            send_in_turn(&mut self.stream, &chunk, turn).await?;
            at += len as u64;
        }
        Ok(())
    }
}

/// Some groups of a piece.
fn stretch(piece: Span, first: u32, count: u32) -> Option<Span> {
    let last = u64::from(first).checked_add(u64::from(count).checked_sub(1)?)?;
    if last >= piece.groups() {
        return None;
    }
    let (first, last) = (piece.group(first.into()), piece.group(last));
    Some(Span { offset: first.offset, len_bytes: last.offset + last.len_bytes - first.offset })
}

/// Writes a chunk, and gives the turn back early if the reader does not read.
async fn send_in_turn(
    stream: &mut (impl AsyncWrite + Unpin),
    chunk: &[u8],
    turn: Turn,
) -> Result<(), FrameError> {
    let write = in_time(async { Ok(stream.write_all(chunk).await?) });
    tokio::pin!(write);
    match tokio::time::timeout(TURN_KEPT, &mut write).await {
        Ok(written) => written,
        Err(_) => {
            drop(turn);
            write.await
        }
    }
}

/// A write that the peer has to let happen.
async fn in_time(write: impl Future<Output = Result<(), FrameError>>) -> Result<(), FrameError> {
    let slow = |_| FrameError::Io(std::io::ErrorKind::TimedOut.into());
    tokio::time::timeout(WRITE_MAX, write).await.map_err(slow)?
}

/// One of the streams that a peer, or the nodes of an org, may have.
struct Share {
    app: Arc<App>,
    /// The peer's key, or the org's root key.
    whose: PublicKey,
}

impl Share {
    fn take(app: &Arc<App>, whose: PublicKey, max: usize) -> Option<Self> {
        let taken = take_share(&mut lock(&app.served_by), whose, max);
        taken.then(|| Self { app: Arc::clone(app), whose })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        free_share(&mut lock(&self.app.served_by), self.whose);
    }
}

fn take_share(taken: &mut BTreeMap<PublicKey, usize>, whose: PublicKey, max: usize) -> bool {
    let count = taken.entry(whose).or_default();
    let free = *count < max;
    *count += usize::from(free);
    free
}

fn free_share(taken: &mut BTreeMap<PublicKey, usize>, whose: PublicKey) {
    if let Some(count) = taken.get_mut(&whose) {
        *count -= 1;
        if *count == 0 {
            taken.remove(&whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::SecretKey;
    use guildhall_protocol::tree::{GROUP_BYTES, PIECE_BYTES};

    use super::*;

    #[test]
    fn one_peer_takes_its_share_of_the_streams_and_leaves_the_rest() {
        let [a, b] = [1, 2].map(|seed| SecretKey::from_seed(&[seed; 32]).public());
        let mut taken = BTreeMap::new();
        for _ in 0..SERVED_PER_PEER_MAX {
            assert!(take_share(&mut taken, a, SERVED_PER_PEER_MAX));
        }
        assert!(!take_share(&mut taken, a, SERVED_PER_PEER_MAX));
        assert!(take_share(&mut taken, b, SERVED_PER_PEER_MAX));
        free_share(&mut taken, a);
        assert!(take_share(&mut taken, a, SERVED_PER_PEER_MAX));
        for _ in 0..SERVED_PER_PEER_MAX {
            free_share(&mut taken, a);
        }
        free_share(&mut taken, b);
        assert!(taken.is_empty());
    }

    #[test]
    fn a_stretch_of_groups_ends_where_its_piece_ends() {
        let piece = Shape::of(PIECE_BYTES + GROUP_BYTES + 5).piece(1);
        assert_eq!(piece.groups(), 2);
        let span = |offset, len_bytes| Some(Span { offset, len_bytes });
        assert_eq!(stretch(piece, 0, 1), span(PIECE_BYTES, GROUP_BYTES));
        assert_eq!(stretch(piece, 0, 2), span(PIECE_BYTES, GROUP_BYTES + 5));
        assert_eq!(stretch(piece, 1, 1), span(PIECE_BYTES + GROUP_BYTES, 5));
        for (first, count) in [(0, 0), (0, 3), (1, 2), (2, 1), (u32::MAX, u32::MAX)] {
            assert_eq!(stretch(piece, first, count), None, "{first} {count}");
        }
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
