//! The limit of a fetch: the least that two processes have to do to bring a file over an encrypted connection and check
//! it, done by hand.
//!
//! One process reads the file, encrypts it and sends it; the other one receives, decrypts and hashes it. Each is one
//! thread with blocking calls, one TCP connection over loopback. Messages are those of Noise after its handshake, as
//! long as Noise allows: two bytes of length, at most 65,519 bytes under ChaCha20-Poly1305 with a counter for a nonce,
//! a tag of 16 bytes. The handshake is left out (both know the key), and so is everything else that a node does:
//! several streams, requests, proofs of parts, a file at the receiver unless asked for, syncing it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use clap::Subcommand;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use tokio::io::BufReader;

use super::figures::Samples;
use super::fixture::warm;
use super::programs;
use crate::network::NetworkError;

/// Longest message of Noise, bytes.
const MESSAGE_MAX_BYTES: usize = 65_535;

/// The tag behind each, bytes.
const TAG_BYTES: usize = 16;

/// Content of one message.
const PAYLOAD_MAX_BYTES: usize = MESSAGE_MAX_BYTES - TAG_BYTES;

/// What is hashed and written at a time: BLAKE3 is at its fastest from 128 KiB on, and this stays in the cache.
const BATCH_BYTES: usize = 512 * 1024;

/// What is hashed together stays a multiple of this: a piece of a tree that is cut elsewhere is hashed more slowly.
const ALIGN_BYTES: usize = 16 * 1024;

/// What the sender says in front of its processor time.
const SENT: &str = "sent";

fn processor_seconds() -> io::Result<f64> {
    programs::processor_seconds("self").map_err(io::Error::other)
}

/// One side of it: started by this program itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Side {
    /// Listens, says on which port, and sends a file to the first that connects
    Send {
        /// The file
        file: PathBuf,
    },
    /// Connects, receives, hashes, and prints seconds, processor seconds and hash
    Receive {
        /// Port on loopback
        port: u16,
        /// Write what arrives here
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

impl Side {
    /// Does one side's work. What it prints is for the process that started it.
    pub(crate) fn run(&self, mut say: impl FnMut(&str)) -> io::Result<()> {
        match self {
            Self::Send { file } => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                say(&listener.local_addr()?.port().to_string());
                let (stream, _) = listener.accept()?;
                send(file, stream)?;
                say(&format!("{SENT} {}", processor_seconds()?));
                Ok(())
            }
            Self::Receive { port, out } => {
                let out = out.as_deref().map(File::create).transpose()?;
                let since = Instant::now();
                let hash = receive(TcpStream::connect(("127.0.0.1", *port))?, out)?;
                let seconds = since.elapsed().as_secs_f64();
                say(&format!("{seconds} {} {hash}", processor_seconds()?));
                Ok(())
            }
        }
    }
}

/// A key and the next nonce.
struct Cipher {
    key: LessSafeKey,
    next: u64,
}

impl Cipher {
    fn new() -> io::Result<Self> {
        // Fixed: this hides nothing, it costs what hiding costs.
        let key = UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).map_err(io::Error::other)?;
        Ok(Self { key: LessSafeKey::new(key), next: 0 })
    }

    /// As Noise has it: four bytes of zeros, then the counter with its lowest byte first.
    fn nonce(&mut self) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        let (_, counter) = nonce.split_at_mut(4);
        counter.copy_from_slice(&self.next.to_le_bytes());
        self.next += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

fn send(path: &Path, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut file, mut cipher) = (File::open(path)?, Cipher::new()?);
    let mut message = vec![0; 2 + MESSAGE_MAX_BYTES];
    loop {
        let (head, rest) = message.split_at_mut(2);
        let (payload, tag_room) = rest.split_at_mut(PAYLOAD_MAX_BYTES);
        let len = fill(&mut file, payload)?;
        let content = payload.get_mut(..len).unwrap_or_default();
        let nonce = cipher.nonce();
        let tag = cipher.key.seal_in_place_separate_tag(nonce, Aad::empty(), content);
        let tag = tag.map_err(io::Error::other)?;
        tag_room.copy_from_slice(tag.as_ref());
        let len_bytes = u16::try_from(len + TAG_BYTES).map_err(io::Error::other)?;
        head.copy_from_slice(&len_bytes.to_be_bytes());
        message.copy_within(2 + PAYLOAD_MAX_BYTES.., 2 + len);
        stream.write_all(message.get(..2 + len + TAG_BYTES).unwrap_or_default())?;
        // A message that is not full is the last one.
        if len < PAYLOAD_MAX_BYTES {
            return Ok(());
        }
    }
}

/// Reads as much as there is, up to the buffer's length.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while let Some(rest) = buffer.get_mut(len..)
        && !rest.is_empty()
    {
        match file.read(rest)? {
            0 => break,
            read => len += read,
        }
    }
    Ok(len)
}

fn receive(mut stream: TcpStream, out: Option<File>) -> io::Result<String> {
    stream.set_nodelay(true)?;
    let (mut cipher, mut hasher) = (Cipher::new()?, blake3::Hasher::new());
    let mut buffer = vec![0; BATCH_BYTES + MESSAGE_MAX_BYTES];
    let (mut filled, mut written) = (0, 0_u64);
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head)?;
        let len = usize::from(u16::from_be_bytes(head));
        // Decrypted where it is; the next message goes over its tag.
        let message = buffer.get_mut(filled..filled + len).unwrap_or_default();
        stream.read_exact(message)?;
        let nonce = cipher.nonce();
        let opened = cipher.key.open_in_place(nonce, Aad::empty(), message);
        let content = opened.map_err(io::Error::other)?.len();
        filled += content;
        let is_last = content < PAYLOAD_MAX_BYTES;
        if filled < BATCH_BYTES && !is_last {
            continue;
        }
        let whole = if is_last { filled } else { filled - filled % ALIGN_BYTES };
        let batch = buffer.get(..whole).unwrap_or_default();
        hasher.update(batch);
        if let Some(out) = &out {
            out.write_all_at(batch, written)?;
        }
        written += whole as u64;
        if is_last {
            return Ok(hasher.finalize().to_hex().to_string());
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
}

/// What the limit took.
#[derive(Clone, Debug, Default)]
pub(super) struct Limit {
    /// At the receiver, from connecting to the hash.
    pub(super) seconds: Samples,
    /// Processor time of both sides.
    pub(super) processor: Samples,
}

impl Limit {
    /// Measures it once more, with a file at the receiver or without.
    pub(super) async fn measure(
        &mut self,
        file: &Path,
        out: Option<&Path>,
    ) -> Result<(), NetworkError> {
        if let Some(folder) = out.and_then(Path::parent) {
            let len_bytes = file.metadata().map_err(NetworkError::Io)?.len();
            warm(folder, len_bytes)?;
        }
        let (seconds, processor) = once(file, out).await?;
        self.seconds.push(seconds);
        self.processor.push(processor);
        match out {
            Some(out) => std::fs::remove_file(out).map_err(NetworkError::Io),
            None => Ok(()),
        }
    }
}

/// Seconds, and processor seconds of both sides.
async fn once(file: &Path, out: Option<&Path>) -> Result<(f64, f64), NetworkError> {
    let program = std::env::current_exe().map_err(NetworkError::Io)?;
    let unexpected = |what: &str| NetworkError::Unexpected(format!("the limit: {what}"));
    let mut sender = programs::command(&program);
    sender.args(["raw", "send"]).arg(file).stdout(Stdio::piped());
    let mut sender = sender.spawn().map_err(NetworkError::Io)?;
    let said = sender.stdout.take().ok_or_else(|| unexpected("the sender has no output"))?;
    let mut said = BufReader::new(said);
    let port = programs::line_with(&mut said, |line| line.parse::<u16>().ok()).await;
    let port = port.ok_or_else(|| unexpected("the sender does not say its port"))?;
    let mut receiver = programs::command(&program);
    receiver.args(["raw", "receive"]).arg(port.to_string()).stdout(Stdio::piped());
    if let Some(out) = out {
        receiver.arg("--out").arg(out);
    }
    let output = receiver.output().await.map_err(NetworkError::Io)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().map_while(|word| word.parse::<f64>().ok());
    let (seconds, receiving) = (numbers.next(), numbers.next());
    let sending =
        programs::line_with(&mut said, |line| line.strip_prefix(SENT)?.trim().parse().ok());
    let sending: Option<f64> = sending.await;
    sender.wait().await.map_err(NetworkError::Io)?;
    let processor = receiving.zip(sending).map(|(one, other)| one + other);
    seconds.zip(processor).ok_or_else(|| unexpected("the receiver does not end well"))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::bench::fixture::write_file;

    fn sent_and_received(len_bytes: u64) {
        let dir = tempfile::tempdir().unwrap();
        let (file, copy) = (dir.path().join("file"), dir.path().join("copy"));
        write_file(&file, len_bytes, 1).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let source = file.clone();
        let sender = thread::spawn(move || send(&source, listener.accept().unwrap().0));
        let out = Some(File::create(&copy).unwrap());
        let hash = receive(TcpStream::connect(address).unwrap(), out).unwrap();
        sender.join().unwrap().unwrap();
        let expected = std::fs::read(&file).unwrap();
        assert_eq!(std::fs::read(&copy).unwrap(), expected);
        assert_eq!(hash, blake3::hash(&expected).to_hex().to_string());
    }

    #[test]
    fn what_arrives_is_what_was_sent_whatever_its_length() {
        for len_bytes in [0, 1, PAYLOAD_MAX_BYTES as u64, 3 * BATCH_BYTES as u64 + 7] {
            sent_and_received(len_bytes);
        }
    }
}
