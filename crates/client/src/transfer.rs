//! Requests whose body or answer is streamed: blobs both ways, and the outputs of runs.

use std::path::Path;

use futures::StreamExt;
use guildhall_protocol::api::{BlobStored, OutputLine};
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
        let failed = |source| Error::File { path: path.to_owned(), source };
        let file = File::open(path).await.map_err(failed)?;
        let chunks = ReaderStream::with_capacity(file, FILE_CHUNK_BYTES);
        self.upload(Body::wrap_stream(chunks)).await
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

fn parse_line(line: &[u8]) -> Result<OutputLine, Error> {
    serde_json::from_slice(line)
        .map_err(|error| Error::Decode { why: format!("an output line: {error}") })
}
