//! The request protocol on the wire: one length as four big-endian bytes, then that many bytes, each way.
//!
//! The length is checked before anything is read, memory grows only with bytes that have arrived, and all requests that
//! are being read or wait for their reply share one budget, so that many peers together cannot exhaust memory either.

use std::io;
use std::sync::Arc;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use guildhall_protocol::limits::MESSAGE_MAX_BYTES;
use libp2p::{StreamProtocol, request_response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The protocol's name on the wire.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/guildhall/request/1");

/// Bytes of requests that may be in memory between their arrival and their reply, all peers together. At the bound,
/// further requests fail at once at their sender.
const REQUESTS_MAX_BYTES: usize = 64 * 1024 * 1024;

/// How much is read, and taken from the budget, at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Reads and writes requests and responses.
#[derive(Clone)]
pub(crate) struct Codec {
    budget: Arc<Semaphore>,
}

impl Default for Codec {
    fn default() -> Self {
        Self { budget: Arc::new(Semaphore::new(REQUESTS_MAX_BYTES)) }
    }
}

/// A request with its share of the budget.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    /// Given back when the request has been answered or dropped. Requests of our own take no share.
    pub(crate) share: Option<OwnedSemaphorePermit>,
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        let (bytes, share) = read_frame(io, Some(&self.budget)).await?;
        Ok(Request { bytes, share })
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        Ok(read_frame(io, None).await?.0)
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Request,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(io, &request.bytes).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(io, &response).await
    }
}

async fn read_frame<T>(
    io: &mut T,
    budget: Option<&Arc<Semaphore>>,
) -> io::Result<(Vec<u8>, Option<OwnedSemaphorePermit>)>
where
    T: AsyncRead + Unpin + Send,
{
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MESSAGE_MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of {length} bytes, at most {MESSAGE_MAX_BYTES} are allowed"),
        ));
    }
    let mut bytes = Vec::new();
    let mut share: Option<OwnedSemaphorePermit> = None;
    while bytes.len() < length {
        let start = bytes.len();
        let step = CHUNK_BYTES.min(length - start);
        if let Some(budget) = budget {
            let more = Arc::clone(budget)
                .try_acquire_many_owned(step as u32)
                .map_err(|_| io::Error::other("too many requests in memory"))?;
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
        }
        bytes.resize(start + step, 0);
        io.read_exact(&mut bytes[start..]).await?;
    }
    Ok((bytes, share))
}

async fn write_frame<T>(io: &mut T, bytes: &[u8]) -> io::Result<()>
where
    T: AsyncWrite + Unpin + Send,
{
    let length = u32::try_from(bytes.len())
        .ok()
        .filter(|_| bytes.len() <= MESSAGE_MAX_BYTES)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"))?;
    io.write_all(&length.to_be_bytes()).await?;
    io.write_all(bytes).await
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    async fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        Ok(read_frame(&mut Cursor::new(bytes), None).await?.0)
    }

    #[tokio::test]
    async fn a_frame_reads_back_as_written() {
        for length in [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, MESSAGE_MAX_BYTES] {
            let message = vec![7; length];
            let mut wire = Vec::new();
            write_frame(&mut wire, &message).await.unwrap();
            assert_eq!(wire[..4], (length as u32).to_be_bytes());
            assert_eq!(read(&wire).await.unwrap(), message);
        }
    }

    #[tokio::test]
    async fn a_frame_over_the_cap_is_neither_written_nor_read() {
        let message = vec![7; MESSAGE_MAX_BYTES + 1];
        let error = write_frame(&mut Vec::new(), &message).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        for length in [MESSAGE_MAX_BYTES as u32 + 1, u32::MAX] {
            let error = read(&length.to_be_bytes()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[tokio::test]
    async fn a_frame_that_is_cut_short_is_an_error() {
        let mut wire = Vec::new();
        write_frame(&mut wire, b"hello").await.unwrap();
        for end in 0..wire.len() {
            assert!(read(&wire[..end]).await.is_err(), "{end} bytes of {}", wire.len());
        }
    }

    #[tokio::test]
    async fn the_budget_is_taken_while_a_request_lives_and_refuses_at_the_bound() {
        let budget = Arc::new(Semaphore::new(100));
        let mut wire = Vec::new();
        write_frame(&mut wire, &[7; 60]).await.unwrap();
        let first = read_frame(&mut Cursor::new(&wire), Some(&budget)).await.unwrap();
        assert_eq!(budget.available_permits(), 40);
        assert!(read_frame(&mut Cursor::new(&wire), Some(&budget)).await.is_err());
        drop(first);
        assert_eq!(budget.available_permits(), 100);
        assert!(read_frame(&mut Cursor::new(&wire), Some(&budget)).await.is_ok());
    }
}
