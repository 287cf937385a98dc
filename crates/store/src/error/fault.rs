//! What the database said, and the fence around it.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::ReadError;

/// What the database said. Opaque, so that no other crate names redb.
#[derive(Debug, Clone)]
pub struct Fault(Arc<Cause>);

#[derive(Debug)]
pub(super) enum Cause {
    Redb(redb::Error),
    Io(io::Error),
    Panic(String),
    Inconsistent(&'static str),
}

impl Fault {
    /// The kind of the I/O error behind this fault, if there is one: tells a full disk from a broken one.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match &*self.0 {
            Cause::Redb(redb::Error::Io(error)) | Cause::Io(error) => Some(error.kind()),
            _ => None,
        }
    }

    pub(super) fn cause(&self) -> &Cause {
        &self.0
    }

    /// The file system's own word.
    pub(crate) fn io(error: io::Error) -> Self {
        Self(Arc::new(Cause::Io(error)))
    }

    /// Something that no program of ours writes.
    pub(crate) fn inconsistent(what: &'static str) -> Self {
        Self(Arc::new(Cause::Inconsistent(what)))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Cause::Redb(error) => error.fmt(f),
            Cause::Io(error) => error.fmt(f),
            Cause::Panic(message) => write!(f, "the database stopped on damaged data: {message}"),
            Cause::Inconsistent(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Fault {}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        Self(Arc::new(Cause::Redb(error)))
    }
}

impl From<Fault> for ReadError {
    fn from(source: Fault) -> Self {
        match &*source.0 {
            Cause::Redb(redb::Error::DatabaseClosed) => Self::Closed,
            _ => Self::Database { source },
        }
    }
}

/// `?` on redb's own error types, in code that returns `Fault` or `ReadError`.
macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                redb::Error::from(error).into()
            }
        }

        impl From<$error> for ReadError {
            fn from(error: $error) -> Self {
                Fault::from(error).into()
            }
        }
    )*};
}

from_redb!(
    redb::CommitError,
    redb::DatabaseError,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError
);

/// Runs `work` and turns a panic inside redb into an error: it may panic on a damaged file.
pub(crate) fn fenced<T, E: From<Fault>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    // Nothing that `work` borrows is used after a panic except redb's own handles, which poison themselves.
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(E::from(Fault(Arc::new(Cause::Panic(panic_message(&*panic)))))))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}
