//! What can go wrong between a client and its node.

use std::io;
use std::path::PathBuf;

use guildhall_protocol::api::ErrorBody;

/// A request that brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no base URL of a node.
    #[error("`{url}` is not the address of a node, such as http://127.0.0.1:7480")]
    BadUrl {
        /// What was given.
        url: String,
    },
    /// The token cannot stand in a header.
    #[error("the token holds characters that cannot be sent")]
    BadToken,
    /// The HTTP machinery did not start.
    #[error("cannot set up HTTP")]
    Setup(#[source] reqwest::Error),
    /// No node answers.
    #[error("no node answers at {url}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// The connection broke in the middle.
    #[error("the connection to the node broke off")]
    Broken(#[source] reqwest::Error),
    /// The node refused.
    #[error("{}", body.message)]
    Api {
        /// The HTTP status.
        status: u16,
        /// What the node said.
        body: Box<ErrorBody>,
    },
    /// The node refused without words, as it must when only the head of an answer was asked for; or it is no node.
    #[error("HTTP status {status} without the words of a node; is it one?")]
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// The node's answer is not what this client understands: another version, or not a node at all.
    #[error("the node's answer cannot be understood: {why}")]
    Decode {
        /// What was expected and what came.
        why: String,
    },
    /// A blob is not what its hash says.
    #[error("the node sent other bytes than the hash names")]
    WrongHash,
    /// A local file.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Writing what was downloaded.
    #[error("cannot write what the node sent")]
    Write(#[source] io::Error),
}

impl Error {
    /// What the person can do, as a command where there is one.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::BadUrl { .. } => Some("guild status --node http://127.0.0.1:7480".into()),
            Self::Unreachable { .. } => Some("guild up".into()),
            Self::Api { body, .. } => body.help.clone(),
            _ => None,
        }
    }

    /// The stable word of a refusal, if it is one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Api { body, .. } => Some(&body.code),
            _ => None,
        }
    }
}
