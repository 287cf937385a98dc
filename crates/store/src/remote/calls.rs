//! Asynchronous requests for blocking callers: the runtime, the longest a request may take, and what its failure means.

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use object_store::client::HttpError;
use tokio::runtime::{Builder, Runtime};

use crate::error::{RemoteError, RemoteFault};

/// Threads that drive the sockets: enough to encrypt on one while another waits for the kernel.
const THREADS: usize = 2;

/// Longest a request for a part of a blob may take with all its retries and pauses; the client gives up earlier unless
/// something hangs that it does not watch.
pub(super) const CALL_MAX: Duration = Duration::from_secs(660);

/// The same for requests that carry next to nothing: the writer thread waits for some.
pub(super) const ASK_MAX: Duration = Duration::from_secs(60);

/// Longest one try of a request may take, from connecting to the last byte: all parts of all transfers that run at a time
/// over a line of half a megabyte per second. Over a slower one, large blobs do not get through.
pub(super) const TRY_MAX: Duration = Duration::from_secs(300);

/// Longest a connection may take to come about: the other side of the earth answers within a second.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Tries after the first, and for how long new ones begin: a server that is started again is back within that, and a
/// caller does not wait longer than a person would.
pub(super) const RETRIES_MAX: usize = 4;
pub(super) const RETRY_MAX: Duration = Duration::from_secs(30);

/// The runtime.
pub(super) struct Calls {
    /// `None` only while dropping.
    runtime: Option<Runtime>,
}

impl Calls {
    pub(super) fn start() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(THREADS).thread_name("store-remote").enable_all();
        Ok(Self { runtime: Some(runtime.build()?) })
    }

    /// Carries out a request and waits for it.
    pub(super) fn run<T: Send + 'static>(
        &self,
        doing: &'static str,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, RemoteError> {
        self.run_for((doing, CALL_MAX), request)
    }

    /// The same for one that carries next to nothing.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        doing: &'static str,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, RemoteError> {
        self.run_for((doing, ASK_MAX), request)
    }

    fn run_for<T: Send + 'static>(
        &self,
        what: (&'static str, Duration),
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, RemoteError> {
        let batch = self.batch(1);
        batch.start(self, what, (), request);
        batch.next(what.0)?.1
    }

    /// For requests that run beside each other, at most so many.
    pub(super) fn batch<K, T>(&self, at_once: usize) -> Requests<K, T> {
        let (send, answers) = sync_channel(at_once);
        Requests { send, answers }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        // Waiting for it would panic on a thread of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calls")
    }
}

/// Requests that run beside each other; each answer comes with its request's name.
pub(super) struct Requests<K, T> {
    send: SyncSender<(K, Result<T, RemoteError>)>,
    answers: Receiver<(K, Result<T, RemoteError>)>,
}

impl<K: Send + 'static, T: Send + 'static> Requests<K, T> {
    /// Starts one. The caller sees to it that not more run than agreed; else threads of the runtime wait for it.
    pub(super) fn start(
        &self,
        calls: &Calls,
        (doing, limit): (&'static str, Duration),
        name: K,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) {
        let send = self.send.clone();
        let Some(runtime) = &calls.runtime else { return };
        // On this runtime, whose threads nothing else uses. A panic is caught, because whoever waits would take it for a
        // request that does not end.
        runtime.spawn(async move {
            let failed = |fault, cause| Err(RemoteError::new(fault, doing, cause));
            let answer = AssertUnwindSafe(tokio::time::timeout(limit, request)).catch_unwind();
            let answer = match answer.await {
                Ok(Ok(answer)) => answer.map_err(|error| sort(doing, &error)),
                Ok(Err(_)) => failed(RemoteFault::Transient, "no answer in time"),
                Err(_) => failed(RemoteFault::Protocol, "the client panicked"),
            };
            // Who asked may have given up after another's failure.
            if send.send((name, answer)).is_err() {
                tracing::debug!(doing, "an answer came that nobody waits for");
            }
        });
    }

    /// Waits for one of them.
    pub(super) fn next(
        &self,
        doing: &'static str,
    ) -> Result<(K, Result<T, RemoteError>), RemoteError> {
        // Each request ends before that by itself.
        let late = |_| RemoteError::new(RemoteFault::Transient, doing, "nothing answers any more");
        self.answers.recv_timeout(CALL_MAX.saturating_mul(2)).map_err(late)
    }
}

/// What a failure means.
pub(super) fn sort(doing: &'static str, error: &object_store::Error) -> RemoteError {
    use object_store::Error as E;
    let text = error.to_string();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let fault = match error {
        // By their words: for these no status is used that all servers agree on.
        _ if says(&["NoSuchBucket"]) => RemoteFault::NoBucket,
        _ if says(&["QuotaExceeded", "InsufficientCapacity", "StorageFull", ": 507 "]) => {
            RemoteFault::NoSpace
        }
        E::NotFound { .. } => RemoteFault::Missing,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => RemoteFault::Forbidden,
        E::InvalidPath { .. } | E::UnknownConfigurationKey { .. } => RemoteFault::Configuration,
        E::Generic { .. }
            if says(&["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"]) =>
        {
            RemoteFault::Forbidden
        }
        E::Generic { .. }
            if is_passing(error) || says(&["status code: 5", "SlowDown", ": 429 "]) =>
        {
            RemoteFault::Transient
        }
        _ => RemoteFault::Protocol,
    };
    RemoteError::new(fault, doing, &text)
}

/// Whether the network failed rather than the server.
fn is_passing(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<HttpError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// At most so many at a time; the rest waits.
#[derive(Debug)]
pub(super) struct Turns {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Turns {
    pub(super) fn new(most: usize) -> Self {
        Self { free: Mutex::new(most), freed: Condvar::new() }
    }

    /// Waits until there is room. Every transfer ends by itself, so this does.
    pub(super) fn take(&self) -> Turn<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free =
            self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free = free.saturating_sub(1);
        Turn(self)
    }
}

/// Ends when dropped.
pub(super) struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = free.saturating_add(1);
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use object_store::Error;
    use object_store::client::{HttpError, HttpErrorKind};

    use super::{Calls, sort};
    use crate::error::RemoteFault;

    fn generic(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Generic { store: "S3", source: source.into() }
    }

    #[test]
    fn a_failure_is_sorted_by_who_can_do_something_about_it() {
        let missing = |text: &str| Error::NotFound { path: "p".into(), source: text.into() };
        let denied = Error::PermissionDenied { path: "p".into(), source: "no".into() };
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let broken = HttpError::new(HttpErrorKind::Connect, refused);
        for (error, fault) in [
            (missing("<Code>NoSuchKey</Code>"), RemoteFault::Missing),
            (missing("<Code>NoSuchBucket</Code>"), RemoteFault::NoBucket),
            (denied, RemoteFault::Forbidden),
            (generic("<Code>InvalidAccessKeyId</Code>"), RemoteFault::Forbidden),
            (generic("status code: 503 Service Unavailable"), RemoteFault::Transient),
            (generic("<Code>SlowDown</Code>"), RemoteFault::Transient),
            (generic("status code: 507 Insufficient Storage"), RemoteFault::NoSpace),
            (generic("<Code>QuotaExceeded</Code>"), RemoteFault::NoSpace),
            (generic(broken), RemoteFault::Transient),
            (generic("something else"), RemoteFault::Protocol),
        ] {
            assert_eq!(sort("doing", &error).fault(), fault, "{error}");
        }
    }

    #[test]
    fn a_request_that_panics_is_an_error() {
        let calls = Calls::start().expect("starts");
        let failed = calls.run::<()>("doing", async { panic!("on purpose") });
        assert_eq!(failed.expect_err("panicked").fault(), RemoteFault::Protocol);
        assert_eq!(calls.ask("doing", async { Ok(7) }), Ok(7));
    }
}
