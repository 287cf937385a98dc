//! One stream to a holder. A holder that falls silent, drips or breaks off is not waited for.

use std::time::Duration;

use futures::FutureExt as _;
use guildhall_overlay::Stream;
use guildhall_protocol::tree::Cv;
use guildhall_protocol::wire::{BLOB_FRAME_MAX_BYTES, BlobReply, BlobRequest};
use guildhall_store::BlobError;
use guildhall_sync::download::Fault;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::app::frames::{self, FrameError};

/// How long a holder may take for the next bytes, however few: with [`PACE_MIN_BYTES`] it bounds what a silent or
/// dripping holder can cost before an honest one is asked.
const STALL_MAX: Duration = Duration::from_secs(8);

/// Slowest pace at which content may come once it has begun, bytes per second: a poor line.
const PACE_MIN_BYTES: u64 = 64 * 1024;

/// CVs that are read at once. Memory grows with those that came, not with those that were announced.
const CVS_AT_ONCE: usize = 128;

/// What is wrong with a holder, or here.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The holder's fault.
    There(Fault, String),
    /// Ours: no other holder helps.
    Here(BlobError),
    /// Nobody's: another holder was first, and what is under way is not wanted any more.
    Late,
}

impl Trouble {
    pub(super) fn lost(why: impl Into<String>) -> Self {
        Self::There(Fault::Lost, why.into())
    }

    pub(super) fn lied(why: impl Into<String>) -> Self {
        Self::There(Fault::Lied, why.into())
    }
}

impl From<BlobError> for Trouble {
    fn from(error: BlobError) -> Self {
        Self::Here(error)
    }
}

/// A frame that cannot be read is no accident; one that did not arrive may be.
impl From<FrameError> for Trouble {
    fn from(error: FrameError) -> Self {
        let fault = match error {
            FrameError::Io(_) => Fault::Lost,
            _ => Fault::Lied,
        };
        Self::There(fault, error.to_string())
    }
}

/// A stream, and the turn at the holder that it takes.
pub(super) struct Line<S = Stream> {
    stream: S,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Line {
    pub(super) const fn new(stream: Stream, turn: OwnedSemaphorePermit) -> Self {
        Self { stream, _turn: Some(turn) }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    /// Asks for something; the reply comes behind those that were asked for before.
    pub(super) async fn ask(&mut self, request: &BlobRequest) -> Result<(), Trouble> {
        let sent = tokio::time::timeout(STALL_MAX, frames::send(&mut self.stream, request)).await;
        Ok(sent.map_err(|_| Trouble::lost("it takes no requests"))??)
    }

    /// The next reply's frame.
    pub(super) async fn reply(&mut self) -> Result<BlobReply, Trouble> {
        let reply = frames::receive_capped::<BlobReply>(&mut self.stream, BLOB_FRAME_MAX_BYTES);
        let reply = tokio::time::timeout(STALL_MAX, reply).await;
        let reply = reply.map_err(|_| Trouble::lost("it does not answer"))??;
        reply.ok_or_else(|| Trouble::lost("it closed the stream"))
    }

    /// The CVs behind a reply.
    pub(super) async fn cvs(&mut self, count: u64) -> Result<Vec<Cv>, Trouble> {
        let mut cvs = Vec::new();
        let mut pace = Pace::start();
        let mut left = usize::try_from(count).unwrap_or(usize::MAX);
        let mut bytes = [[0; 32]; CVS_AT_ONCE];
        while left > 0 {
            let some = bytes.get_mut(..left.min(CVS_AT_ONCE)).unwrap_or_default();
            self.read(some.as_flattened_mut(), &mut pace).await?;
            cvs.extend(some.iter().copied().map(Cv::from_bytes));
            left -= some.len();
        }
        Ok(cvs)
    }

    /// Fills `bytes` with what comes next.
    pub(super) async fn read(&mut self, bytes: &mut [u8], pace: &mut Pace) -> Result<(), Trouble> {
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..)
            && !rest.is_empty()
        {
            let read = {
                let read = self.stream.read(rest);
                tokio::pin!(read);
                // Mostly the bytes are there, and no alarm is needed.
                match (&mut read).now_or_never() {
                    Some(read) => read,
                    None => tokio::time::timeout_at(pace.next_by(), read)
                        .await
                        .map_err(|_| Trouble::lost("it is too slow"))?,
                }
            };
            match read.map_err(FrameError::from)? {
                0 => return Err(Trouble::lost("it broke off")),
                read => {
                    at = at.saturating_add(read);
                    pace.add(read);
                }
            }
        }
        Ok(())
    }
}

/// How fast content has to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    started: Instant,
    bytes: u64,
}

impl Pace {
    pub(super) fn start() -> Self {
        Self { started: Instant::now(), bytes: 0 }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// By when the next bytes must be here: soon after what came has earned at the slowest pace.
    fn next_by(&self) -> Instant {
        let earned = Duration::from_millis(self.bytes.saturating_mul(1_000) / PACE_MIN_BYTES);
        (self.started + STALL_MAX + earned).min(Instant::now() + STALL_MAX)
    }
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::Hash;
    use tokio::io::{AsyncWriteExt as _, DuplexStream};

    use super::*;

    fn line() -> (DuplexStream, Line<DuplexStream>) {
        let (theirs, ours) = tokio::io::duplex(1 << 16);
        (theirs, Line { stream: ours, _turn: None })
    }

    fn fault(trouble: Trouble) -> Fault {
        match trouble {
            Trouble::There(fault, _) => fault,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_sends_a_byte_a_second_is_left_within_ten_seconds() {
        let (mut theirs, mut ours) = line();
        let started = Instant::now();
        let dripping = async {
            while theirs.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let mut content = vec![0; 1 << 20];
        let mut pace = Pace::start();
        let read = tokio::select! {
            () = dripping => panic!("it was read to the end"),
            read = ours.read(&mut content, &mut pace) => read,
        };
        assert_eq!(fault(read.unwrap_err()), Fault::Lost);
        assert!(started.elapsed() <= Duration::from_secs(10), "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_steady_holder_is_read_to_the_end() {
        let (mut theirs, mut ours) = line();
        let steady = async {
            for _ in 0..60 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                theirs.write_all(&vec![7; 64 * 1024]).await.unwrap();
            }
        };
        let mut content = vec![0; 60 * 64 * 1024];
        let mut pace = Pace::start();
        let ((), read) = tokio::join!(steady, ours.read(&mut content, &mut pace));
        read.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_and_a_wrong_frame_is_a_lie() {
        let (mut theirs, mut ours) = line();
        assert_eq!(fault(ours.reply().await.unwrap_err()), Fault::Lost);
        theirs.write_all(&[0xff; 8]).await.unwrap();
        assert_eq!(fault(ours.reply().await.unwrap_err()), Fault::Lied);
        let (theirs, mut ours) = line();
        ours.ask(&BlobRequest::List { hash: Hash::of(b"x") }).await.unwrap();
        drop(theirs);
        assert_eq!(fault(ours.reply().await.unwrap_err()), Fault::Lost);
    }
}
