//! Why a file is not taken, with the place and the way out, for the person who has to change it.

use std::io;

use guildhall_protocol::name::FileName;

use crate::failure::Failure;

/// The result of a step of a check.
pub(crate) type Checked<T> = Result<T, Problem>;

/// What ended a check.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The bytes break a rule.
    Refused(Refusal),
    /// The bytes could not be read.
    Unreadable(io::Error),
}

/// A broken rule.
#[derive(Debug)]
pub(crate) struct Refusal {
    why: String,
    offset: Option<u64>,
    help: Option<&'static str>,
}

/// A rule is broken, at no place in particular.
pub(crate) fn refused(why: impl Into<String>) -> Problem {
    Problem::Refused(Refusal { why: why.into(), offset: None, help: None })
}

/// A rule is broken at this byte of the file.
pub(crate) fn refused_at(offset: u64, why: impl Into<String>) -> Problem {
    Problem::Refused(Refusal { why: why.into(), offset: Some(offset), help: None })
}

impl Problem {
    /// Adds what to do about it, unless something nearer to the cause said so already.
    pub(crate) fn help(mut self, text: &'static str) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.help = refusal.help.or(Some(text));
        }
        self
    }

    /// The failure that the node hears.
    pub(crate) fn into_failure(self, file: &FileName) -> Failure {
        let file = file.to_string();
        match self {
            Self::Refused(Refusal { why, offset, help }) => {
                Failure::RefusedFormat { file, why, offset, help: help.map(str::to_owned) }
            }
            Self::Unreadable(error) => Failure::MissingFile { file, why: error.to_string() },
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return refused("it ends in the middle");
        }
        Self::Unreadable(error)
    }
}
