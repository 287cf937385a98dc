//! HTTP requests, one after the other, on connections that stay open: as little as a client can do, so that what is
//! measured is the server. The next request goes out when the answer to the last one is there.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bench::figures::Samples;

/// How long an answer may take: beyond all that is reasonable.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Longest line and most lines of an answer's head: some times what servers send.
const LINE_MAX_BYTES: u64 = 16 * 1024;
const LINES_MAX: usize = 100;

/// Longest answer, bytes: a thousand times what is asked for here.
const BODY_MAX_BYTES: usize = 1 << 20;

/// A request to be sent as often as wanted.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Host and port.
    address: String,
    bytes: Vec<u8>,
}

impl Request {
    /// A POST of JSON.
    pub(super) fn post(address: &str, path: &str, body: &str) -> Self {
        let length = body.len();
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Accept: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        Self { address: address.to_owned(), bytes: text.into_bytes() }
    }

    /// Asks once; the answer's body, if it is a success.
    pub(super) async fn once(&self) -> Result<Vec<u8>, String> {
        Connection::open(&self.address).await?.ask(&self.bytes).await
    }
}

/// What many requests came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    /// Requests a second, of each time that this was done.
    pub(super) per_second: Samples,
    /// Times of all requests, milliseconds.
    pub(super) took_ms: Samples,
}

impl Load {
    /// Asks over so many connections at once for as long.
    pub(super) async fn add(
        &mut self,
        request: &Request,
        connections: usize,
        lasting: Duration,
    ) -> Result<(), String> {
        let until = Instant::now() + lasting;
        let each = (0..connections).map(|_| async move {
            let mut connection = Connection::open(&request.address).await?;
            let mut took_ms = Vec::new();
            while Instant::now() < until {
                let since = Instant::now();
                connection.ask(&request.bytes).await?;
                took_ms.push(since.elapsed().as_secs_f64() * 1e3);
            }
            Ok::<_, String>(took_ms)
        });
        let since = Instant::now();
        let took_ms: Samples = try_join_all(each).await?.into_iter().flatten().collect();
        self.per_second.push(took_ms.len() as f64 / since.elapsed().as_secs_f64());
        self.took_ms.extend(took_ms);
        Ok(())
    }
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    async fn open(address: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        Ok(Self(BufReader::new(stream)))
    }

    async fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, String> {
        self.0.write_all(request).await.map_err(text)?;
        timeout(ANSWER_MAX, self.answer()).await.map_err(|_| "no answer in time".to_owned())?
    }

    async fn answer(&mut self) -> Result<Vec<u8>, String> {
        let status = self.line().await?;
        let mut length = None;
        for _ in 0..LINES_MAX {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse::<usize>().ok();
            }
        }
        let length = length
            .filter(|length| *length <= BODY_MAX_BYTES)
            .ok_or_else(|| "an answer does not say how long it is, or is too long".to_owned())?;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.map_err(text)?;
        match status.split(' ').nth(1) {
            Some("200") => Ok(body),
            _ => Err(format!("{status}: {}", String::from_utf8_lossy(&body))),
        }
    }

    async fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        (&mut self.0).take(LINE_MAX_BYTES).read_until(b'\n', &mut line).await.map_err(text)?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
            None => Err("an answer broke off".to_owned()),
        }
    }
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers the same to every request on one connection after the other.
    async fn serve(listener: TcpListener, answer: &'static str) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1024];
            while stream.read(&mut asked).await.unwrap_or(0) > 0 {
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    }

    async fn asked(answer: &'static str) -> Result<Load, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let request = Request::post(&address, "/path", "{}");
        let asking = async {
            let mut load = Load::default();
            load.add(&request, 1, Duration::from_millis(50)).await.map(|()| load)
        };
        tokio::select! {
            () = serve(listener, answer) => Err("the server ended".to_owned()),
            load = asking => load,
        }
    }

    #[tokio::test]
    async fn requests_follow_each_other_on_one_connection() {
        let load = asked("HTTP/1.1 200 OK\r\ncontent-LENGTH: 2\r\n\r\n{}").await.unwrap();
        assert!(load.took_ms.len() > 1);
        assert_eq!(load.per_second.len(), 1);
    }

    #[tokio::test]
    async fn an_answer_that_is_no_success_is_an_error_with_what_it_says() {
        let error = asked("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone").await;
        assert_eq!(error.unwrap_err(), "HTTP/1.1 404 Not Found: gone");
        let error = asked("HTTP/1.1 200 OK\r\n\r\n").await;
        assert!(error.unwrap_err().contains("how long"));
    }
}
