//! What can go wrong with storage that is elsewhere, sorted by who can do something about it.

use std::fmt;
use std::io;

/// What kind of trouble there is with storage that is elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteFault {
    /// No answer, or one that says "later": the network's or the server's, and it may pass. It was tried several times.
    Transient,
    /// The credentials are wrong, or may not do this: for who runs this node.
    Forbidden,
    /// The bucket is not there: for who runs this node.
    NoBucket,
    /// The endpoint, the region or the credentials are not what such things look like: for who runs this node.
    Configuration,
    /// Its room or quota is used up.
    NoSpace,
    /// The object is not there.
    Missing,
    /// What is there is not what was sent, or the answer makes no sense.
    Protocol,
}

impl RemoteFault {
    /// The fault behind an I/O error, if it comes from elsewhere.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?.downcast_ref::<RemoteError>()?;
        Some(inner.fault)
    }

    /// Whether it may pass by itself.
    #[must_use]
    pub fn is_transient(self) -> bool {
        self == Self::Transient
    }

    /// Whether the configuration of this node has to change.
    #[must_use]
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Forbidden | Self::NoBucket | Self::Configuration)
    }

    /// Only an object that is missing is `NotFound`: a blob whose bucket is missing is not lost.
    #[cfg(feature = "s3")]
    fn io_kind(self) -> io::ErrorKind {
        match self {
            Self::Transient => io::ErrorKind::TimedOut,
            Self::Forbidden => io::ErrorKind::PermissionDenied,
            Self::NoBucket => io::ErrorKind::NotConnected,
            Self::Configuration => io::ErrorKind::InvalidInput,
            Self::NoSpace => io::ErrorKind::StorageFull,
            Self::Missing => io::ErrorKind::NotFound,
            Self::Protocol => io::ErrorKind::InvalidData,
        }
    }
}

/// A request to storage elsewhere that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteError {
    fault: RemoteFault,
    doing: &'static str,
    cause: String,
}

/// Longest cause that is kept, characters: servers send pages of XML.
#[cfg(feature = "s3")]
const CAUSE_MAX_CHARS: usize = 500;

impl RemoteError {
    #[cfg(feature = "s3")]
    pub(crate) fn new(fault: RemoteFault, doing: &'static str, cause: &str) -> Self {
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        Self { fault, doing, cause: cause.chars().take(CAUSE_MAX_CHARS).map(plain).collect() }
    }

    /// What kind of trouble it is.
    #[must_use]
    pub fn fault(&self) -> RemoteFault {
        self.fault
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.cause)
    }
}

impl std::error::Error for RemoteError {}

#[cfg(feature = "s3")]
impl From<RemoteError> for io::Error {
    fn from(error: RemoteError) -> Self {
        Self::new(error.fault.io_kind(), error)
    }
}
