//! What a refused or failed request says: an [`ErrorBody`] and the HTTP status that fits it.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use guildhall_protocol::api::ErrorBody;

/// A failed request. Build it with the constructor that fits, then add what helps the person.
///
/// ```
/// use guildhall_gateway::ApiError;
/// let error = ApiError::not_found("unknown_reference", "there is no `lab/digits`")
///     .with_help("guild search digits");
/// assert_eq!(error.status(), 404);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", body.message)]
pub struct ApiError {
    kind: ErrorKind,
    body: ErrorBody,
}

/// Whose fault a failure is, and so which HTTP status it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request cannot be understood. 400
    Invalid,
    /// A token is needed. 401
    Unauthorised,
    /// Understood, and not for this client. 403
    Forbidden,
    /// Nothing of that name is here or known. 404
    NotFound,
    /// The route has no such method. 405
    Method,
    /// The body came too slowly. 408
    TooSlow,
    /// It contradicts what is already there. 409
    Conflict,
    /// The body is longer than the route takes. 413
    TooLarge,
    /// The body has another media type than the route takes. 415
    MediaType,
    /// Understood, tested, and found wanting: a package fails its checks, a pipeline does not fit. 422
    Failed,
    /// A fault of this node. 500
    Internal,
    /// A fault of another node, or none answered. 502
    Upstream,
    /// Not now: every slot is taken, or the node is shutting down. 503
    Unavailable,
    /// The disk has no room for it. 507
    Full,
}

impl ErrorKind {
    const fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Unauthorised => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Failed => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Upstream => StatusCode::BAD_GATEWAY,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Full => StatusCode::INSUFFICIENT_STORAGE,
        }
    }
}

/// Declares a constructor for a kind of failure.
macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        $($(#[$doc])*
        pub fn $name(code: impl Into<String>, message: impl Into<String>) -> Self {
            Self::new(ErrorKind::$kind, code, message)
        })*
    };
}

impl ApiError {
    /// A failure of any kind. `code` is a stable word for programs, `message` one sentence for people.
    pub fn new(kind: ErrorKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        let body = ErrorBody {
            code: code.into(),
            message: message.into(),
            help: None,
            details: Vec::new(),
        };
        Self { kind, body }
    }

    constructors! {
        /// 400: the request cannot be understood.
        invalid => Invalid;
        /// 403: understood, and not for this client.
        forbidden => Forbidden;
        /// 404: nothing of that name is here or known.
        not_found => NotFound;
        /// 409: it contradicts what is already there.
        conflict => Conflict;
        /// 413: more bytes than are taken.
        too_large => TooLarge;
        /// 422: understood, tested, and found wanting.
        failed => Failed;
        /// 502: a fault of another node, or none answered.
        upstream => Upstream;
        /// 503: not now.
        unavailable => Unavailable;
        /// 507: the disk has no room for it.
        full => Full;
    }

    /// 500: a fault of this node. The cause belongs into the log; `message` says what could not be done.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, "internal", message)
    }

    /// Adds what the person can do, as a command where there is one.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.body.help = Some(help.into());
        self
    }

    /// Adds a line: which file, which check, which node.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.body.details.push(detail.into());
        self
    }

    /// Adds several lines.
    #[must_use]
    pub fn with_details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.body.details.extend(details);
        self
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.kind.status().as_u16()
    }

    /// What the client gets.
    #[must_use]
    pub const fn body(&self) -> &ErrorBody {
        &self.body
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.kind.status(), Json(&self.body)).into_response();
        // For faces whose clients read another form.
        response.extensions_mut().insert(self.body);
        response
    }
}
