//! Requests to a node's HTTP faces that no client of ours would send.

use guildhall_launch::Node;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Where the gateway's routes are written down. They are read from there, so that none is forgotten that is added.
const ROUTED: [&str; 2] =
    [include_str!("../../gateway/src/routes.rs"), include_str!("../../gateway/src/oip/route.rs")];

/// What begins a route there, up to its path.
const ROUTE: &str = ".route(\"";

/// Every route that is read with GET and does not need to know what to ask for, as [`fetch`] takes it. Some want a query
/// and say so.
#[must_use]
pub fn readable_routes() -> Vec<&'static str> {
    let of = |source: &'static str| source.split(ROUTE).skip(1);
    let readable = ROUTED.into_iter().flat_map(of).filter_map(|route| {
        let (path, handlers) = route.split_once('"')?;
        let own = handlers.lines().next().unwrap_or_default();
        let is_read = own.contains("get(") && !path.contains('{');
        is_read.then(|| path.strip_prefix("/api/v1/").unwrap_or(path))
    });
    readable.collect()
}

/// What a node answers, byte by byte.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status; 0 if the node hung up.
    pub status: u16,
    /// The lines before the body.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value, if it is there.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let is_named = |line: &&str| {
            line.split_once(':').is_some_and(|(other, _)| other.eq_ignore_ascii_case(name))
        };
        let line = self.head.lines().find(is_named)?;
        line.split_once(':').map(|(_, value)| value.trim())
    }
}

/// Sends a request as it is, with these lines in its head, each ended by `\r\n`.
pub async fn send(node: &Node, method: &str, path: &str, lines: &str, body: &[u8]) -> Answer {
    let authority = node.ready().api.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(authority).await.expect("the port is open");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {authority}\r\n{lines}content-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("the node reads");
    // It may answer before it has read everything.
    let _refused = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let body = end.and_then(|end| answer.get(end + 4..)).unwrap_or_default().to_vec();
    let head = String::from_utf8_lossy(&answer[..end.unwrap_or_default()]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer { status: status.unwrap_or_default(), head, body }
}

/// Posts bytes as they are to a route below `/api/v1/`. Returns the status and the body of the answer; a status of 0 if
/// the node hung up.
pub async fn post(node: &Node, route: &str, media_type: &str, body: &[u8]) -> (u16, String) {
    let lines = format!("content-type: {media_type}\r\n");
    let answer = send(node, "POST", &format!("/api/v1/{route}"), &lines, body).await;
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}

/// Gets a route below `/api/v1/`, or one that begins with a slash, to the end of the answer. Returns the status and everything that came, head and body.
pub async fn fetch(node: &Node, route: &str) -> (u16, Vec<u8>) {
    let authority = node.ready().api.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(authority).await.expect("the port is open");
    let path = if route.starts_with('/') { route.to_owned() } else { format!("/api/v1/{route}") };
    let head = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the node reads");
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    (status.and_then(|digits| digits.parse().ok()).unwrap_or_default(), answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_that_is_read_is_found_where_it_is_written() {
        let routes = readable_routes();
        for route in ["status", "offer", "search", "runs", "store/packages", "/metrics", "/oip/v2"]
        {
            assert!(routes.contains(&route), "{route} is not in {routes:?}");
        }
        for other in ["join", "store/gc", "runs/{id}"] {
            assert!(!routes.contains(&other), "{other} is in {routes:?}");
        }
        // One has its path in a constant: it says nothing but that the node is there.
        let written: usize = ROUTED.iter().map(|source| source.matches(".route(").count()).sum();
        let read: usize = ROUTED.iter().map(|source| source.matches(ROUTE).count()).sum();
        assert_eq!(written, read + 1, "a route is written in another way");
    }
}
