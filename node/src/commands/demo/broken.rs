//! What did not hold.

use std::error::Error;
use std::path::Path;

use guildhall_client::package::{PackageError, PublishError};
use guildhall_launch::{LOG_FILE, NotConverged};

use super::lab::ORGS;
use crate::cli::{Failure, exit};

/// An expectation that did not hold: what was expected, and what was found instead.
#[derive(Debug)]
pub(super) struct Broken {
    step: &'static str,
    expected: String,
    found: Vec<String>,
}

impl Broken {
    pub(super) fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { step: "preparation", expected: expected.into(), found: vec![found.into()] }
    }

    /// Names the step in which it happened.
    pub(super) fn during(mut self, step: &'static str) -> Self {
        self.step = step;
        self
    }

    /// Adds something that was found.
    pub(super) fn and_found(mut self, what: String) -> Self {
        self.found.push(what);
        self
    }

    /// For the person, with the places to look at: `dir` holds the homes.
    pub(super) fn into_failure(self, dir: &Path) -> Failure {
        let message = format!("the demo broke off in the step `{}`", self.step);
        let mut failure =
            Failure::new(exit::FAILED, message).with_cause(format!("expected: {}", self.expected));
        for line in self.found.iter().flat_map(|text| text.lines()) {
            failure = failure.with_cause(format!("found: {line}"));
        }
        for log in ORGS.map(|org| dir.join(org).join(LOG_FILE)) {
            if log.exists() {
                failure = failure.with_cause(format!("log: {}", log.display()));
            }
        }
        failure.with_help(format!("tail -n 50 {}/*/{LOG_FILE}", dir.display()))
    }
}

/// Checks one expectation.
pub(super) fn ensure(
    holds: bool,
    expected: impl Into<String>,
    found: impl FnOnce() -> String,
) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken::new(expected, found())) }
}

/// Turns an error into an expectation that did not hold.
pub(super) trait Expect<T> {
    /// Says what was expected.
    fn expected(self, what: impl Into<String>) -> Result<T, Broken>;
}

impl<T, E: Found> Expect<T> for Result<T, E> {
    fn expected(self, what: impl Into<String>) -> Result<T, Broken> {
        self.map_err(|error| Broken {
            step: "preparation",
            expected: what.into(),
            found: error.found(),
        })
    }
}

impl<T> Expect<T> for Option<T> {
    fn expected(self, what: impl Into<String>) -> Result<T, Broken> {
        self.ok_or_else(|| Broken::new(what, "nothing"))
    }
}

/// An error as what was found.
pub(super) trait Found {
    /// One line for each cause.
    fn found(self) -> Vec<String>;
}

/// What the command line would say: a node's refusal has more to tell than its chain of sources.
fn as_shown(failure: Failure) -> Vec<String> {
    std::iter::once(failure.message).chain(failure.causes).collect()
}

impl Found for guildhall_client::Error {
    fn found(self) -> Vec<String> {
        as_shown(self.into())
    }
}

impl Found for PublishError {
    fn found(self) -> Vec<String> {
        as_shown(self.into())
    }
}

impl Found for PackageError {
    fn found(self) -> Vec<String> {
        as_shown(self.into())
    }
}

impl Found for NotConverged {
    fn found(self) -> Vec<String> {
        vec![format!("{}; after {} s of waiting", self.seen, self.waited.as_secs())]
    }
}

/// Errors that have nothing to tell besides their chain of sources.
trait Plain: Error + 'static {}

impl Plain for guildhall_launch::Error {}
impl Plain for std::io::Error {}
impl Plain for tokio::task::JoinError {}
impl Plain for guildhall_protocol::receipt::ReceiptError {}
impl Plain for guildhall_protocol::name::NameError {}

impl<E: Plain> Found for E {
    fn found(self) -> Vec<String> {
        as_shown(Failure::from_error(exit::FAILED, &self))
    }
}
