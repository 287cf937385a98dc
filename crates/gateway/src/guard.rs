//! Who may ask at all: the hosts this node answers for, the pages that may send, the token.
//!
//! A web page that a person has open can send requests to loopback, and with a DNS name it controls it can even read
//! the answers (DNS rebinding). So a node bound to loopback answers for loopback names only, a request that a page of
//! another origin sends is refused, and every body has a media type that a page cannot send without asking first
//! (`body`).

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue};
use guildhall_protocol::Hash;

use crate::error::{ApiError, ErrorKind};

/// The one route that needs no token: whoever watches over the process need not be trusted with its content.
pub(crate) const HEALTH_PATH: &str = "/healthz";

/// Decides whether a request is looked at.
pub(crate) struct Guard {
    loopback_only: bool,
    /// The token's hash: comparing hashes takes a time that says nothing about the token.
    token: Option<Hash>,
}

impl Guard {
    /// `loopback_only` when the listener is bound to loopback.
    pub(crate) fn new(loopback_only: bool, token: Option<&str>) -> Self {
        Self { loopback_only, token: token.map(|token| Hash::of(token.as_bytes())) }
    }

    /// Checks everything that the head of a request shows.
    pub(crate) fn check(&self, request: &Request) -> Result<(), ApiError> {
        let host = only_host(request)?;
        if self.loopback_only && !is_loopback(host.host()) {
            return Err(ApiError::forbidden(
                "wrong_host",
                "this node answers on loopback, and the request names another host",
            ));
        }
        check_origin(request.headers(), &host)?;
        if request.uri().path() == HEALTH_PATH {
            return Ok(());
        }
        self.check_token(request.headers())
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(expected) = self.token else { return Ok(()) };
        let sent = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        if sent.is_some_and(|token| Hash::of(token.as_bytes()) == expected) {
            return Ok(());
        }
        let message = if sent.is_some() {
            "the token is not the one this node expects"
        } else {
            "this node expects a token"
        };
        Err(ApiError::new(ErrorKind::Unauthorised, "token_required", message)
            .with_help("GUILD_TOKEN=... guild status"))
    }
}

/// The host that the request is for. Refused when two places name different ones.
fn only_host(request: &Request) -> Result<Authority, ApiError> {
    let refuse = |message: &str| ApiError::invalid("bad_host", message);
    let mut named = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (named.next(), named.next()) else {
        return Err(refuse("a request names exactly one host"));
    };
    let host: Authority = host
        .to_str()
        .ok()
        .filter(|host| !host.contains('@'))
        .and_then(|host| host.parse().ok())
        .ok_or_else(|| refuse("the host header is not a host"))?;
    match request.uri().authority() {
        Some(other) if *other != host => Err(refuse("the request names two hosts")),
        _ => Ok(host),
    }
}

/// Whether `host` always means this machine: `localhost` or a literal loopback address.
fn is_loopback(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || literal.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Browsers say which page sends a request; only pages of this very host may. Other clients say nothing.
fn check_origin(headers: &HeaderMap, host: &Authority) -> Result<(), ApiError> {
    let ours = |origin: &HeaderValue| {
        let origin = origin.to_str().ok()?;
        let authority = origin.strip_prefix("http://").or(origin.strip_prefix("https://"))?;
        Some(authority.parse::<Authority>().ok()? == *host)
    };
    if headers.get_all(ORIGIN).iter().all(|origin| ours(origin) == Some(true)) {
        Ok(())
    } else {
        Err(ApiError::forbidden("wrong_origin", "a page of another origin sent this request"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.0.0.2", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "0.0.0.0", "[::]", "192.168.0.1", "", "::"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
