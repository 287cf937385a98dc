//! A request's body while it arrives: chunk by chunk, at a pace that a slow or malicious client cannot stretch.
//!
//! Only the time spent waiting for the client counts; a node that writes slowly costs the client nothing.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use futures::StreamExt;
use tokio::time::Instant;

use crate::error::{ApiError, ErrorKind};

/// What a client may take before its pace counts: a connection over a bad link needs some seconds to open up.
const GRACE: Duration = Duration::from_secs(10);

/// Slowest average pace after [`GRACE`], bytes in a second: far below any modem, far above a client that drips.
const PACE_MIN_BYTES_PER_S: u64 = 1024;

/// Longest wait for the next chunk, however fast the client was before.
const STALL_MAX: Duration = Duration::from_secs(30);

/// How long a body that was refused is read on and dropped, so that the client gets to read the refusal: a socket
/// closed with unread bytes is reset, and the answer is lost with it.
const LINGER: Duration = Duration::from_secs(2);

/// The bytes that a client sends, as they come.
pub struct Upload {
    body: BodyDataStream,
    taken_bytes: u64,
    waited: Duration,
}

impl Upload {
    pub(crate) fn new(body: Body) -> Self {
        Self { body: body.into_data_stream(), taken_bytes: 0, waited: Duration::ZERO }
    }

    /// The next bytes, never empty; `None` after the last.
    ///
    /// # Errors
    /// [`ApiError`] when the client goes away in the middle or is too slow. What came so far is then worthless.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            let earned = Duration::from_secs(self.taken_bytes / PACE_MIN_BYTES_PER_S);
            let patience = (GRACE + earned).saturating_sub(self.waited).min(STALL_MAX);
            let started = Instant::now();
            let next = tokio::time::timeout(patience, self.body.next()).await;
            self.waited += started.elapsed();
            match next {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(bytes))) if bytes.is_empty() => {}
                Ok(Some(Ok(bytes))) => {
                    self.taken_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    return Ok(Some(bytes));
                }
                Ok(Some(Err(error))) => {
                    return Err(ApiError::invalid(
                        "body_cut_off",
                        format!("the body ended after {} bytes: {error}", self.taken_bytes),
                    ));
                }
                Err(_) => {
                    return Err(ApiError::new(
                        ErrorKind::TooSlow,
                        "body_too_slow",
                        format!("the body came too slowly; {} bytes arrived", self.taken_bytes),
                    ));
                }
            }
        }
    }

    /// How many bytes came so far.
    #[must_use]
    pub const fn taken_bytes(&self) -> u64 {
        self.taken_bytes
    }

    /// The whole body, if it is no longer than `max_bytes`. `announced_bytes` is what the client said beforehand.
    pub(crate) async fn whole(
        mut self,
        max_bytes: usize,
        announced_bytes: Option<u64>,
    ) -> Result<Vec<u8>, ApiError> {
        let fits = |len: u64| usize::try_from(len).is_ok_and(|len| len <= max_bytes);
        let mut whole = Vec::new();
        let mut refused = announced_bytes.is_some_and(|len| !fits(len));
        while !refused && let Some(chunk) = self.chunk().await? {
            refused = whole.len() + chunk.len() > max_bytes;
            if !refused {
                whole.extend_from_slice(&chunk);
            }
        }
        if !refused {
            return Ok(whole);
        }
        drop(whole);
        self.drain().await;
        Err(ApiError::too_large(
            "body_too_large",
            format!("the body is longer than the {max_bytes} bytes this route takes"),
        ))
    }

    /// Reads on for a while and drops what comes, after a refusal.
    pub(crate) async fn drain(&mut self) {
        let rest = async { while let Some(Ok(_)) = self.body.next().await {} };
        // Whether the end came or the time was over makes no difference to the answer.
        let _ = tokio::time::timeout(LINGER, rest).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    /// A client that sends `len` bytes every `pause`.
    fn dripping(len: usize, pause: Duration) -> Upload {
        let chunks = stream::repeat(()).then(move |()| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, std::io::Error>(Bytes::from(vec![0; len]))
        });
        Upload::new(Body::from_stream(chunks))
    }

    async fn until_refused(mut upload: Upload, max: Duration) -> Option<Duration> {
        let started = Instant::now();
        let refused = async {
            loop {
                if let Err(error) = upload.chunk().await {
                    assert_eq!(error.kind(), ErrorKind::TooSlow);
                    return started.elapsed();
                }
            }
        };
        tokio::time::timeout(max, refused).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_drips_is_refused_after_the_grace() {
        let hour = Duration::from_secs(3600);
        let dripping_bytes = dripping(1, Duration::from_secs(1));
        assert_eq!(until_refused(dripping_bytes, hour).await, Some(GRACE));
        let silent = dripping(1, hour);
        assert_eq!(until_refused(silent, hour).await, Some(GRACE));
        let slow_modem = dripping(3000, Duration::from_secs(1));
        assert_eq!(until_refused(slow_modem, hour).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_the_node_takes_costs_the_client_nothing() {
        let mut upload = dripping(4096, Duration::from_millis(1));
        for _ in 0..100 {
            assert!(upload.chunk().await.is_ok());
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }

    #[tokio::test]
    async fn a_whole_body_may_be_exactly_as_long_as_its_bound() {
        let body = |len: usize| Upload::new(Body::from(vec![7; len]));
        assert_eq!(body(10).whole(10, None).await.unwrap(), [7; 10]);
        for announced in [None, Some(11), Some(u64::MAX)] {
            let error = body(11).whole(10, announced).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
        }
    }
}
