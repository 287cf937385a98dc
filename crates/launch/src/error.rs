//! What can go wrong between a launcher and its nodes.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// A node could not be started or stopped. Where the node wrote a log, its last lines are part of the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program could not be run at all.
    #[error("cannot run {}", program.display())]
    Program {
        /// Which program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A home could not be made.
    #[error("`guild init` made no node in {}: {why}", home.display())]
    Init {
        /// Where.
        home: PathBuf,
        /// How it ended and what it said.
        why: String,
    },
    /// The log could not be opened.
    #[error("cannot write {}", path.display())]
    Log {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The node ended before it was ready.
    #[error("the node in {} ended before it was ready ({status}); its log ends with:\n{log}", home.display())]
    Ended {
        /// The node's home.
        home: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// The node did not become ready in time.
    #[error("the node in {} was not ready after {} s; its log ends with:\n{log}", home.display(), waited.as_secs())]
    NotReady {
        /// The node's home.
        home: PathBuf,
        /// How long it had.
        waited: Duration,
        /// The last lines of its log.
        log: String,
    },
    /// What the node said when it was ready cannot be understood.
    #[error("the node in {} said something else than that it is ready: {why}; its log ends with:\n{log}", home.display())]
    BadReady {
        /// The node's home.
        home: PathBuf,
        /// What came.
        why: String,
        /// The last lines of its log.
        log: String,
    },
    /// The node's API cannot be used.
    #[error("the node's API cannot be used: {0}")]
    Client(#[from] guildhall_client::Error),
    /// A running node could not be signalled or waited for.
    #[error("the node's process cannot be {what}: {source}")]
    Process {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}
