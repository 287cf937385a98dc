//! Answering a blob stream in bad faith.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use guildhall_overlay::Stream;
use guildhall_protocol::tree::{self, Cv, GROUP_BYTES, Shape};
use guildhall_protocol::wire::{BlobReply, BlobRequest, PiecePart, decode_frame};
use guildhall_protocol::{Hash, cbor};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::deed::Deed;
use super::truth::{Truth, group_cvs, piece_cvs, stretch};

/// Between two bytes of [`Deed::Drip`].
const DRIP: Duration = Duration::from_secs(1);

/// What [`Deed::Slow`] sends in a second: a little more than a poor line has.
const SLOW_BYTES: usize = 80 * 1024;

/// A length that no disk has.
const ABSURD_BYTES: u64 = 1 << 60;

/// What is written at once without end.
const FLOOD_BYTES: usize = 256 * 1024;

/// Answers until the other side has enough.
pub(super) async fn serve(
    stream: Stream,
    truth: &Truth,
    deed: Deed,
    requests: &AtomicUsize,
) -> io::Result<()> {
    let mut line = Line { stream, truth, deed };
    loop {
        let mut head = [0; 4];
        line.stream.read_exact(&mut head).await?;
        let mut bytes = vec![0; u32::from_be_bytes(head) as usize];
        line.stream.read_exact(&mut bytes).await?;
        requests.fetch_add(1, Ordering::Relaxed);
        match decode_frame::<BlobRequest>(&bytes) {
            Ok(request) => line.answer(&request).await?,
            Err(error) => return Err(io::Error::other(error)),
        }
        line.stream.flush().await?;
    }
}

struct Line<'a> {
    stream: Stream,
    truth: &'a Truth,
    deed: Deed,
}

impl<'a> Line<'a> {
    fn blob(&self, hash: &Hash) -> Option<&'a [u8]> {
        self.truth.blob(hash).filter(|_| self.deed != Deed::Missing)
    }

    async fn answer(&mut self, request: &BlobRequest) -> io::Result<()> {
        let about: &[Hash] = match request {
            BlobRequest::List { hash } | BlobRequest::Piece { hash, .. } => {
                std::slice::from_ref(hash)
            }
            BlobRequest::Batch { hashes } => hashes,
            _ => &[],
        };
        if self.deed == Deed::SilentAboutAll {
            return std::future::pending().await;
        }
        if self.deed != Deed::Missing && about.iter().any(|hash| self.truth.is_manifest(hash)) {
            let deed = std::mem::replace(&mut self.deed, Deed::Honest);
            let answered = self.content(request).await;
            self.deed = deed;
            return answered;
        }
        match self.deed {
            Deed::Silent => std::future::pending().await,
            Deed::Gibberish => self.stream.write_all(b"\x00\x00\x00\x03\xff\xff\xff").await,
            Deed::HugeFrame => self.stream.write_all(&[0xff; 4096]).await,
            Deed::OtherReply => {
                let other = match request {
                    BlobRequest::Batch { .. } => BlobReply::Piece,
                    _ => BlobReply::Batch { lens: vec![None; 3] },
                };
                self.reply(&other).await
            }
            Deed::Unasked => loop {
                self.reply(&BlobReply::Piece).await?;
            },
            _ => self.content(request).await,
        }
    }

    async fn content(&mut self, request: &BlobRequest) -> io::Result<()> {
        match request {
            BlobRequest::List { hash } => self.list(hash).await,
            BlobRequest::Piece { hash, piece, part } => self.piece(hash, *piece, *part).await,
            BlobRequest::Batch { hashes } => self.batch(hashes).await,
            _ => Ok(()),
        }
    }

    async fn list(&mut self, hash: &Hash) -> io::Result<()> {
        let Some(blob) = self.blob(hash) else { return self.reply(&BlobReply::Missing).await };
        let len_bytes = blob.len() as u64;
        let cvs = match self.deed {
            Deed::WrongList => wrong_cvs(Shape::of(len_bytes).pieces()),
            _ if Shape::of(len_bytes).pieces() == 1 => Vec::new(),
            _ => piece_cvs(blob),
        };
        match self.deed {
            Deed::Longer(more) => {
                self.reply(&BlobReply::List { len_bytes: len_bytes + more }).await?
            }
            Deed::EndlessList => {
                self.reply(&BlobReply::List { len_bytes: ABSURD_BYTES }).await?;
                return self.flood().await;
            }
            _ => self.reply(&BlobReply::List { len_bytes }).await?,
        }
        self.bytes(&flat(&cvs)).await
    }

    async fn piece(&mut self, hash: &Hash, piece: u64, part: PiecePart) -> io::Result<()> {
        let Some(blob) = self.blob(hash) else { return self.reply(&BlobReply::Missing).await };
        let shape = Shape::of(blob.len() as u64);
        let span = shape.piece(piece);
        let mut bytes = stretch(blob, span).to_vec();
        let mut cvs = if shape.is_one_group() { Vec::new() } else { group_cvs(blob, piece) };
        match self.deed {
            Deed::WrongGroup(group) => flip(&mut bytes, group),
            Deed::OtherTree => {
                bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
                cvs = tree::group_cvs(span.offset, &bytes);
            }
            _ => {}
        }
        self.reply(&BlobReply::Piece).await?;
        if !matches!(part, PiecePart::Groups { .. }) {
            self.bytes(&flat(&cvs)).await?;
        }
        let wanted = match part {
            PiecePart::Hashes => return Ok(()),
            PiecePart::Whole => bytes,
            PiecePart::Groups { first, count } => {
                let skipped = bytes.into_iter().skip(first as usize * GROUP_BYTES as usize);
                skipped.take(count as usize * GROUP_BYTES as usize).collect()
            }
        };
        self.bytes(&wanted).await
    }

    async fn batch(&mut self, hashes: &[Hash]) -> io::Result<()> {
        let mut lens = Vec::new();
        let mut content = Vec::new();
        for hash in hashes {
            let blob = self.blob(hash).filter(|blob| blob.len() as u64 <= GROUP_BYTES);
            let more = match self.deed {
                Deed::Longer(more) => more,
                _ => 0,
            };
            let told = blob.map(|blob| blob.len() as u64 + more);
            lens.push(told.map(|len| u32::try_from(len).unwrap_or(u32::MAX)));
            let mut bytes = blob.unwrap_or_default().to_vec();
            if self.deed == Deed::WrongGroup(0) || self.deed == Deed::OtherTree {
                flip(&mut bytes, 0);
            }
            content.extend(bytes);
        }
        self.reply(&BlobReply::Batch { lens }).await?;
        self.bytes(&content).await
    }

    async fn reply(&mut self, reply: &BlobReply) -> io::Result<()> {
        let bytes = cbor::encode(reply);
        let len = u32::try_from(bytes.len()).expect("a reply is short");
        self.stream.write_all(&len.to_be_bytes()).await?;
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }

    /// Content, as the deed has it come.
    async fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.deed {
            Deed::Endless => self.flood().await,
            Deed::Drip => {
                for byte in bytes {
                    self.stream.write_all(&[*byte]).await?;
                    self.stream.flush().await?;
                    tokio::time::sleep(DRIP).await;
                }
                Ok(())
            }
            Deed::Slow => {
                for some in bytes.chunks(SLOW_BYTES) {
                    self.stream.write_all(some).await?;
                    self.stream.flush().await?;
                    tokio::time::sleep(DRIP).await;
                }
                Ok(())
            }
            Deed::BreaksOff if !bytes.is_empty() => {
                let (half, _) = bytes.split_at(bytes.len() / 2);
                self.stream.write_all(half).await?;
                self.stream.flush().await?;
                Err(io::Error::other("that is all"))
            }
            _ => self.stream.write_all(bytes).await,
        }
    }

    async fn flood(&mut self) -> io::Result<()> {
        let noise = vec![0xa5; FLOOD_BYTES];
        loop {
            self.stream.write_all(&noise).await?;
        }
    }
}

fn wrong_cvs(count: u64) -> Vec<Cv> {
    (0..count).map(|index| Cv::from_bytes(*Hash::of(&index.to_be_bytes()).as_bytes())).collect()
}

fn flat(cvs: &[Cv]) -> Vec<u8> {
    cvs.iter().flat_map(|cv| *cv.as_bytes()).collect()
}

/// Flips a bit of a group, if there is such a group.
fn flip(bytes: &mut [u8], group: u64) {
    let at = usize::try_from(group * GROUP_BYTES).unwrap_or(usize::MAX);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
}
