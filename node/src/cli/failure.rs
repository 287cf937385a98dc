//! Why a command ended without doing what it was asked.

use std::error::Error;
use std::io;

use guildhall_client::package::{PackageError, PublishError};

use super::exit;

/// A failure on its way to the person: cause, causes of the cause, what can be done, exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// From [`exit`].
    pub(crate) code: u8,
    /// What went wrong, in one sentence; empty when there is nobody to tell.
    pub(crate) message: String,
    /// Why, outermost first, and other lines that belong to it.
    pub(crate) causes: Vec<String>,
    /// What can be done, as a line that can be run.
    pub(crate) help: Option<String>,
}

impl Failure {
    /// A failure in words.
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), causes: Vec::new(), help: None }
    }

    /// An error and the chain of its sources.
    #[must_use]
    pub(crate) fn from_error(code: u8, error: &dyn Error) -> Self {
        let mut failure = Self::new(code, error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some libraries repeat the source in their own message.
            if !failure.message.contains(&text) {
                failure.causes.push(text);
            }
            source = cause.source();
        }
        failure
    }

    /// Adds what can be done.
    #[must_use]
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what can be done, if anything can.
    #[must_use]
    pub(crate) fn with_help_if(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// Adds a line below the message.
    #[must_use]
    pub(crate) fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// The person pressed Ctrl-C.
    pub(crate) fn interrupted() -> Self {
        Self::new(exit::INTERRUPTED, "interrupted")
    }

    /// Nobody reads stdout any more; that is not worth a word.
    pub(crate) fn unheard() -> Self {
        Self::new(exit::OK, "")
    }
}

impl From<guildhall_client::Error> for Failure {
    fn from(error: guildhall_client::Error) -> Self {
        use guildhall_client::Error as E;
        let code = match &error {
            E::BadUrl { .. } | E::BadToken => exit::USAGE,
            E::Unreachable { .. } => exit::UNREACHABLE,
            E::Api { status, .. } | E::Status { status } => code_of_status(*status),
            _ => exit::FAILED,
        };
        // Below a refused connection lies a chain that says the same four times.
        if let E::Unreachable { source, .. } = &error {
            let failure = Self::new(code, error.to_string());
            return match root_cause(source) {
                (true, _) => failure,
                (false, why) => failure.with_cause(why),
            };
        }
        let mut failure = Self::from_error(code, &error).with_help_if(error.help());
        if let E::Api { body, .. } = error {
            failure.causes.extend(body.details);
        }
        failure
    }
}

/// The last source of an error, and whether it is that nobody listens.
fn root_cause(error: &(dyn Error + 'static)) -> (bool, String) {
    let mut last: &(dyn Error + 'static) = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let io = last.downcast_ref::<io::Error>();
    (io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused), last.to_string())
}

const fn code_of_status(status: u16) -> u8 {
    match status {
        404 => exit::NOT_FOUND,
        400..=499 => exit::REFUSED,
        502..=504 | 507 => exit::TRY_LATER,
        _ => exit::FAILED,
    }
}

impl From<PackageError> for Failure {
    fn from(error: PackageError) -> Self {
        let code = match &error {
            PackageError::Io { .. } => exit::FAILED,
            _ => exit::REFUSED,
        };
        Self::from_error(code, &error).with_help_if(error.help())
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let message = error.to_string();
        match error {
            PublishError::Package(error) => error.into(),
            PublishError::Lookup { source, .. } | PublishError::Send { source, .. } => {
                let mut failure = Self::from(source);
                failure.causes.insert(0, std::mem::replace(&mut failure.message, message));
                failure
            }
            error => Self::from_error(exit::FAILED, &error).with_help("guild publish DIR"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use guildhall_protocol::api::ErrorBody;

    use super::*;

    #[test]
    fn a_refusal_of_the_node_keeps_its_words() {
        let body = ErrorBody {
            code: "checks_failed".into(),
            message: "the package fails its checks".into(),
            help: Some("guild publish DIR".into()),
            details: vec!["test 1: expected 7, found 8".into()],
        };
        let error = guildhall_client::Error::Api { status: 422, body: Box::new(body) };
        let failure = Failure::from(PublishError::Send { path: "x".into(), source: error });
        assert_eq!(failure.code, exit::REFUSED);
        assert_eq!(failure.message, "cannot send x");
        assert_eq!(failure.causes.len(), 2);
        assert_eq!(failure.causes[0], "the package fails its checks");
        assert_eq!(failure.help.as_deref(), Some("guild publish DIR"));
    }

    #[tokio::test]
    async fn nobody_at_an_address_is_one_line() {
        let client = guildhall_client::Client::new("http://127.0.0.1:1").unwrap();
        let failure = Failure::from(client.status().await.unwrap_err());
        let expected = Failure::new(exit::UNREACHABLE, "no node answers at http://127.0.0.1:1");
        assert_eq!(failure, expected);
    }

    #[test]
    fn every_status_has_its_exit_code() {
        for (status, code) in [
            (404, exit::NOT_FOUND),
            (400, exit::REFUSED),
            (401, exit::REFUSED),
            (422, exit::REFUSED),
            (500, exit::FAILED),
            (502, exit::TRY_LATER),
            (507, exit::TRY_LATER),
            (503, exit::TRY_LATER),
        ] {
            assert_eq!(code_of_status(status), code, "{status}");
        }
    }
}
