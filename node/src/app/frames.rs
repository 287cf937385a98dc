//! Frames on a stream to a peer: a length as 4 big-endian bytes, then one CBOR item.

use std::io;

use guildhall_protocol::cbor::{self, DecodeError};
use guildhall_protocol::limits::FRAME_MAX_BYTES;
use guildhall_protocol::wire::decode_frame;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Writes one frame; the caller flushes.
pub(super) async fn write<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    item: &T,
) -> Result<(), FrameError> {
    let bytes = cbor::encode(item);
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    if bytes.len() > FRAME_MAX_BYTES {
        return Err(FrameError::TooLong { len_bytes: len });
    }
    stream.write_all(&len.to_be_bytes()).await?;
    stream.write_all(&bytes).await?;
    Ok(())
}

/// Writes one frame and flushes it.
pub(super) async fn send<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    item: &T,
) -> Result<(), FrameError> {
    write(stream, item).await?;
    stream.flush().await?;
    Ok(())
}

/// Reads one frame; `None` when the other side ended the stream between two frames.
pub(super) async fn receive<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, FrameError> {
    receive_capped(stream, FRAME_MAX_BYTES).await
}

/// The same, for frames that have at most `max_bytes`: nobody gets memory for more.
pub(super) async fn receive_capped<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    max_bytes: usize,
) -> Result<Option<T>, FrameError> {
    let mut head = [0; 4];
    match stream.read_exact(&mut head).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let len = u32::from_be_bytes(head);
    if len as usize > max_bytes.min(FRAME_MAX_BYTES) {
        return Err(FrameError::TooLong { len_bytes: len });
    }
    let mut bytes = vec![0; len as usize];
    stream.read_exact(&mut bytes).await?;
    Ok(Some(decode_frame(&bytes)?))
}

/// Why a frame was not sent or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
    #[error("a frame of {len_bytes} bytes is longer than it may be")]
    TooLong { len_bytes: u32 },
    #[error("a frame came out of its order")]
    Order,
    #[error("a frame is unreadable: {0}")]
    Decode(#[from] DecodeError),
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::Hash;
    use guildhall_protocol::wire::{BLOB_FRAME_MAX_BYTES, BlobRequest};

    use super::*;

    #[tokio::test]
    async fn a_frame_arrives_and_a_flipped_byte_is_an_error() {
        let request = BlobRequest::List { hash: Hash::of(b"x") };
        let mut bytes = Vec::new();
        write(&mut bytes, &request).await.unwrap();
        assert_eq!(receive(&mut bytes.as_slice()).await.unwrap(), Some(request));
        // The map's head, the key's length, the key itself, the value's head: each alone breaks the frame.
        for at in [0, 4, 5, 7, 10] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x80;
            let read: Result<Option<BlobRequest>, _> = receive(&mut flipped.as_slice()).await;
            assert!(read.is_err(), "byte {at}");
        }
        assert!(receive::<BlobRequest>(&mut [].as_slice()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_frame_longer_than_its_cap_is_refused_before_its_bytes_come() {
        let head = 16_385_u32.to_be_bytes();
        let read = receive_capped::<BlobRequest>(&mut head.as_slice(), BLOB_FRAME_MAX_BYTES).await;
        assert!(matches!(read, Err(FrameError::TooLong { len_bytes: 16_385 })), "{read:?}");
        let mut bytes = Vec::new();
        write(&mut bytes, &BlobRequest::List { hash: Hash::of(b"x") }).await.unwrap();
        let read = receive_capped::<BlobRequest>(&mut bytes.as_slice(), BLOB_FRAME_MAX_BYTES).await;
        assert!(read.unwrap().is_some(), "what is sent fits");
    }
}
