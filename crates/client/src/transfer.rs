//! Requests whose body or answer is streamed: blobs both ways, and the outputs of runs.

use std::path::Path;

use futures::StreamExt;
use guildhall_protocol::api::{AdoptRequest, BlobQuery, BlobStored, BlobsKnown, OutputLine};
use guildhall_protocol::{Hash, RunId};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Body, Method};
use tokio::fs::File;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use crate::client::{Client, json};
use crate::error::Error;

/// Bytes read from a file at once.
const FILE_CHUNK_BYTES: usize = 64 * 1024;

/// Longest line of a run's outputs, bytes: the longest value in base64, and room around it.
const LINE_MAX_BYTES: usize = guildhall_protocol::limits::FRAME_MAX_BYTES * 2;

impl Client {
    /// `POST /blobs`: sends a file, chunk by chunk.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn upload_file(&self, path: &Path) -> Result<BlobStored, Error> {
        self.upload_file_seen(path, |_| {}).await
    }

    /// `POST /blobs`: sends a file; `seen` gets the length of each chunk, bytes, when it is read to be sent.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn upload_file_seen(
        &self,
        path: &Path,
        seen: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<BlobStored, Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        let file = File::open(path).await.map_err(failed)?;
        let chunks = ReaderStream::with_capacity(file, FILE_CHUNK_BYTES)
            .inspect(move |chunk| seen(chunk.as_ref().map_or(0, |bytes| bytes.len() as u64)));
        self.upload(Body::wrap_stream(chunks)).await
    }

    /// `POST /blobs/batch`: sends blobs in one request, each with its length in front. The answers are in order.
    ///
    /// # Errors
    /// [`Error`]; an answer of another number of blobs is an [`Error::Decode`].
    pub async fn upload_batch(&self, blobs: &[Vec<u8>]) -> Result<Vec<BlobStored>, Error> {
        let request = self
            .request(Method::POST, "blobs/batch")
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(batch_body(blobs)?);
        let stored: Vec<BlobStored> = json(self.answer(request).await?).await?;
        if stored.len() == blobs.len() {
            return Ok(stored);
        }
        let why =
            format!("{} blobs were sent, {} are said to be stored", blobs.len(), stored.len());
        Err(Error::Decode { why })
    }

    /// `POST /blobs/known`: which of these blobs the node has. At most
    /// [`BLOB_QUERY_MAX`](guildhall_protocol::limits::BLOB_QUERY_MAX).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn blobs_known(&self, hashes: Vec<Hash>) -> Result<Vec<Hash>, Error> {
        let request = self.request(Method::POST, "blobs/known").json(&BlobQuery { hashes });
        let known: BlobsKnown = json(self.answer(request).await?).await?;
        Ok(known.known)
    }

    /// `POST /blobs/incoming`: has the node take over a file that lies in its folder for that.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn adopt(&self, request: &AdoptRequest) -> Result<BlobStored, Error> {
        let request = self.request(Method::POST, "blobs/incoming").json(request);
        json(self.answer(request).await?).await
    }

    /// `POST /blobs`: sends bytes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn upload_bytes(&self, bytes: Vec<u8>) -> Result<BlobStored, Error> {
        self.upload(bytes.into()).await
    }

    async fn upload(&self, body: Body) -> Result<BlobStored, Error> {
        let request = self
            .request(Method::POST, "blobs")
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(body);
        json(self.answer(request).await?).await
    }

    /// `HEAD /blobs/{hash}`: whether the node has it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn has_blob(&self, hash: Hash) -> Result<bool, Error> {
        match self.answer(self.request(Method::HEAD, &format!("blobs/{hash}"))).await {
            Ok(_) => Ok(true),
            Err(Error::Status { status: 404 }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// `GET /blobs/{hash}`: writes the bytes to `out` as they come and returns their number.
    ///
    /// # Errors
    /// [`Error::WrongHash`] when they are not what `hash` names; what was written is then worthless. Else [`Error`].
    pub async fn download_blob(
        &self,
        hash: Hash,
        out: &mut (impl AsyncWrite + Unpin),
    ) -> Result<u64, Error> {
        let response = self.answer(self.request(Method::GET, &format!("blobs/{hash}"))).await?;
        let mut chunks = response.bytes_stream();
        let mut hasher = blake3::Hasher::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(Error::Broken)?;
            hasher.update(&chunk);
            out.write_all(&chunk).await.map_err(Error::Write)?;
        }
        out.flush().await.map_err(Error::Write)?;
        if Hash::from(hasher.finalize()) == hash {
            Ok(hasher.count())
        } else {
            Err(Error::WrongHash)
        }
    }

    /// `GET /runs/{id}/outputs`: hands over what came out so far, line by line, holding one line at a time.
    ///
    /// # Errors
    /// [`Error`]; an answer that breaks off is an [`Error::Broken`] after the lines that came.
    pub async fn each_output(
        &self,
        run: RunId,
        mut seen: impl FnMut(OutputLine),
    ) -> Result<(), Error> {
        let response =
            self.answer(self.request(Method::GET, &format!("runs/{run}/outputs"))).await?;
        let mut chunks = response.bytes_stream();
        let mut rest = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(Error::Broken)?;
            for part in chunk.split_inclusive(|byte| *byte == b'\n') {
                rest.extend_from_slice(part);
                if part.ends_with(b"\n") {
                    seen(parse_line(&rest)?);
                    rest.clear();
                } else if rest.len() > LINE_MAX_BYTES {
                    return Err(Error::Decode { why: "an output line has no end".into() });
                }
            }
        }
        if rest.is_empty() { Ok(()) } else { parse_line(&rest).map(seen) }
    }
}

/// Each blob with its length in front, four bytes, the highest first.
fn batch_body(blobs: &[Vec<u8>]) -> Result<Vec<u8>, Error> {
    let len: usize = blobs.iter().map(|blob| blob.len().saturating_add(4)).sum();
    let mut body = Vec::with_capacity(len);
    for blob in blobs {
        let Ok(len) = u32::try_from(blob.len()) else {
            return Err(Error::Decode { why: "a blob of 4 GiB or more is sent alone".into() });
        };
        body.extend(len.to_be_bytes());
        body.extend(blob);
    }
    Ok(body)
}

fn parse_line(line: &[u8]) -> Result<OutputLine, Error> {
    serde_json::from_slice(line)
        .map_err(|error| Error::Decode { why: format!("an output line: {error}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_each_blob_behind_its_length() {
        let body = batch_body(&[b"ab".to_vec(), Vec::new(), b"c".to_vec()]).unwrap();
        assert_eq!(body, b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c");
        assert!(batch_body(&[]).unwrap().is_empty());
    }
}
