//! Requests to a node's API that no client of ours would send.

use guildhall_launch::Node;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Posts bytes as they are to a route below `/api/v1/`. Returns the status and the body of the answer; a status of 0 if
/// the node hung up.
pub async fn post(node: &Node, route: &str, media_type: &str, body: &[u8]) -> (u16, String) {
    let authority = node.ready().api.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(authority).await.expect("the port is open");
    let head = format!(
        "POST /api/v1/{route} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: {media_type}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("the node reads");
    // It may answer before it has read everything.
    let _refused = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    (status.unwrap_or_default(), body.unwrap_or_default())
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
