//! Blobs in a real S3 server, a process of its own.
//!
//! ```text
//! this test ── store ── HTTP, signed ──> server ──> files in a folder that the test looks into
//!                                          └── killed and started again
//! ```
//!
//! The server is `s3s-fs` if it is on the path, or what `GUILDHALL_S3_SERVER` says: a command in which `{dir}`,
//! `{port}`, `{id}` and `{secret}` stand for the folder of buckets, the port on 127.0.0.1, and the keys. Without one,
//! the test says so and ends.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use guildhall_protocol::Hash;
use guildhall_protocol::tree::PIECE_BYTES;
use guildhall_store::{
    Backend, Batch, BlobDamage, BlobError, Credentials, OpenError, RemoteFault, S3, ScrubItem,
    StagedBlob, Store, WriteError,
};

const ID: &str = "GUILDHALLTEST";
const SECRET: &str = "not a secret";

/// Sent in eight parts.
const LARGE: usize = 64 << 20;

/// How long a server may take to listen: it does so within a second, on a machine that does nothing else.
const START_MAX: Duration = Duration::from_secs(30);

/// The command's words, if there is a server.
fn command() -> Option<Vec<String>> {
    if let Ok(command) = std::env::var("GUILDHALL_S3_SERVER") {
        return Some(command.split_whitespace().map(str::to_owned).collect());
    }
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|dir| dir.join("s3s-fs")).find(|file| file.is_file())
    })?;
    let flags = "--host 127.0.0.1 --port {port} --access-key {id} --secret-key {secret} {dir}";
    let words = flags.split(' ').map(str::to_owned);
    Some([found.to_str()?.to_owned()].into_iter().chain(words).collect())
}

/// A server that runs until it is killed.
struct Server {
    command: Vec<String>,
    buckets: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Server {
    fn start(dir: &Path) -> Option<Self> {
        let Some(command) = command() else {
            let _unheard = writeln!(
                std::io::stderr(),
                "SKIPPED: no S3 server (s3s-fs on the path, or GUILDHALL_S3_SERVER)"
            );
            return None;
        };
        let buckets = dir.join("buckets");
        fs::create_dir_all(buckets.join("blobs")).expect("creates");
        let free = TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = free.local_addr().expect("address").port();
        drop(free);
        let mut server = Self { command, buckets, port, process: None };
        server.run();
        Some(server)
    }

    fn run(&mut self) {
        let fill = |word: &String| match word.as_str() {
            "{dir}" => self.buckets.to_str().expect("text").to_owned(),
            "{secret}" => SECRET.to_owned(),
            word => word.replace("{port}", &self.port.to_string()).replace("{id}", ID),
        };
        let words: Vec<String> = self.command.iter().map(fill).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("the server starts"));
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < START_MAX, "the server does not listen");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("kills");
            process.wait().expect("ends");
        }
    }

    fn s3(&self, credentials: &Path) -> S3 {
        S3 {
            endpoint: format!("http://127.0.0.1:{}", self.port),
            bucket: "blobs".into(),
            prefix: "node/1".into(),
            region: "us-east-1".into(),
            allow_http: true,
            credentials: Credentials::File(credentials.to_owned()),
            cache_max_bytes: 0,
        }
    }

    /// The file that the server keeps an object in, if it keeps objects in files of their name.
    fn file(&self, hash: &Hash) -> PathBuf {
        let hex = hash.to_hex();
        self.buckets.join("blobs/node/1").join(&hex[..2]).join(hex)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn credentials(dir: &Path, secret: &str) -> PathBuf {
    let path = dir.join(format!("keys of {}", secret.len()));
    let text = format!("[default]\naws_access_key_id = {ID}\naws_secret_access_key = {secret}\n");
    fs::write(&path, text).expect("writes");
    path
}

fn bytes_of(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn stage(store: &Store, bytes: &[u8]) -> StagedBlob {
    let mut writer = store.blob_writer(None, u64::MAX).expect("writer");
    writer.write_all(bytes).expect("writes");
    writer.finish().expect("finishes")
}

fn try_add(store: &Store, bytes: &[u8]) -> Result<Hash, WriteError> {
    let staged = stage(store, bytes);
    let hash = staged.hash();
    let mut batch = Batch::new();
    batch.add_blob(staged);
    store.commit_blocking(batch).map(|()| hash)
}

fn add(store: &Store, bytes: &[u8]) -> Hash {
    try_add(store, bytes).expect("commits")
}

fn open(dir: &Path, s3: &S3) -> Result<Store, OpenError> {
    Store::open_with(&dir.join("store"), &Backend::S3(s3.clone()))
}

#[test]
fn blobs_of_all_sizes_go_to_the_server_and_come_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(server) = Server::start(dir.path()) else { return };
    let s3 = server.s3(&credentials(dir.path(), SECRET));
    let store = open(dir.path(), &s3).expect("opens");
    // In a row; in one request; in one that is just not too large; in parts.
    let lens = [100, 20_000, 8 << 20, (8 << 20) + 1, LARGE];
    let blobs: Vec<_> = (0..).zip(lens).map(|(seed, len)| bytes_of(len, seed)).collect();
    let hashes: Vec<_> = blobs.iter().map(|blob| add(&store, blob)).collect();
    for (hash, blob) in hashes.iter().zip(&blobs) {
        assert_eq!(store.probe_blob(hash).expect("is there"), blob.len() as u64);
        assert!(store.read_blob(hash, u64::MAX).expect("reads") == *blob);
        store.verify_blob(hash).expect("is whole");
    }
    let mut part = vec![0; 100_000];
    let offset = PIECE_BYTES as usize * 3 - 50_000;
    let read = store.read_blob_at(&hashes[4], offset as u64, &mut part).expect("reads");
    assert!(part[..read] == blobs[4][offset..][..100_000]);
    let read = store.read_blob_at(&hashes[4], LARGE as u64 - 7, &mut part).expect("reads");
    assert_eq!(part[..read], blobs[4][LARGE - 7..]);
    assert_eq!(store.read_blob_at(&hashes[4], LARGE as u64 + 7, &mut part).expect("reads"), 0);
    let (mut file, _) = store.open_blob(&hashes[3]).expect("opens");

    let mut forget = Batch::new();
    hashes[3..].iter().for_each(|hash| forget.forget_blob(*hash));
    store.commit_blocking(forget).expect("commits");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("reads");
    assert!(bytes == blobs[3], "who has it open keeps reading");
    assert!(!server.file(&hashes[4]).exists());
    let swept = store.sweep(&|hash| *hash == hashes[1]).expect("sweeps");
    assert_eq!((swept.blobs, swept.files), (2, 0));

    store.backup(&dir.path().join("backup"), true).expect("copies");
    store.close_blocking().expect("closes");
    let store = open(dir.path(), &s3).expect("opens again");
    store.verify_blob(&hashes[1]).expect("is there");
    let backup = Store::open(&dir.path().join("backup")).expect("opens without a server");
    backup.verify_blob(&hashes[1]).expect("is there");
}

#[test]
fn a_server_that_dies_while_it_takes_a_blob_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(mut server) = Server::start(dir.path()) else { return };
    let store = open(dir.path(), &server.s3(&credentials(dir.path(), SECRET))).expect("opens");
    let acknowledged = Arc::new(Mutex::new(vec![add(&store, &bytes_of(3 << 20, 1))]));
    let failed = Arc::new(AtomicBool::new(false));
    let sender = {
        let (store, acknowledged, failed) = (store.clone(), acknowledged.clone(), failed.clone());
        thread::spawn(move || {
            for seed in 2.. {
                match try_add(&store, &bytes_of(32 << 20, seed)) {
                    Ok(hash) => acknowledged.lock().expect("lock").push(hash),
                    Err(error) => {
                        failed.store(true, Ordering::SeqCst);
                        return error;
                    }
                }
            }
            unreachable!("the server dies before")
        })
    };
    // One went through whole, so the next is under way.
    while acknowledged.lock().expect("lock").len() < 2 {
        assert!(!failed.load(Ordering::SeqCst), "the server takes a blob while it lives");
        thread::sleep(Duration::from_millis(1));
    }
    server.kill();
    let error = sender.join().expect("ends");
    assert_eq!(error.remote_fault(), Some(RemoteFault::Transient), "{error}");
    assert!(!error.is_no_space());

    let acknowledged = acknowledged.lock().expect("lock").clone();
    let error = store.open_blob(&acknowledged[0]).expect_err("there is no server");
    assert_eq!(error.remote_fault(), Some(RemoteFault::Transient), "not lost, but away: {error}");
    let mut rows = Batch::new();
    rows.put_document(guildhall_store::Collection::Runs, b"key", b"value".to_vec());
    store.commit_blocking(rows).expect("rows need no server");

    server.run();
    for hash in &acknowledged {
        store.verify_blob(hash).expect("was acknowledged");
    }
    let again = add(&store, &bytes_of(32 << 20, acknowledged.len() as u64 + 1));
    store.verify_blob(&again).expect("the store goes on");
    let mut found = Vec::new();
    let report = store.scrub(None, &AtomicBool::new(false), |item| found.push(item));
    assert_eq!(report.expect("scrubs").blobs, acknowledged.len() as u64 + 1);
    let harmless = |item: &ScrubItem| matches!(item, ScrubItem::StrayFile { .. });
    assert!(found.iter().all(harmless), "{found:?}");
}

#[test]
fn a_bit_that_flipped_at_the_server_is_found_and_never_given_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(server) = Server::start(dir.path()) else { return };
    let store = open(dir.path(), &server.s3(&credentials(dir.path(), SECRET))).expect("opens");
    let blob = bytes_of(3 * PIECE_BYTES as usize + 5, 1);
    let hash = add(&store, &blob);
    let file = server.file(&hash);
    let Ok(mut bytes) = fs::read(&file) else {
        let _unheard = writeln!(std::io::stderr(), "SKIPPED: this server keeps no such files");
        return;
    };
    assert!(bytes == blob);
    bytes[PIECE_BYTES as usize + 9] ^= 4;
    fs::write(&file, bytes).expect("writes");
    let damage = BlobDamage::Content { pieces: 1, first_offset: PIECE_BYTES };
    let mut found = Vec::new();
    let report = store.scrub(Some(1 << 30), &AtomicBool::new(false), |item| found.push(item));
    assert_eq!(report.expect("scrubs").blobs, 1);
    assert_eq!(found, [ScrubItem::Blob { hash, damage }]);
    let verified = store.verify_blob(&hash).expect_err("is damaged");
    assert!(matches!(verified, BlobError::Damaged { damage: found, .. } if found == damage));
    assert!(matches!(store.read_blob(&hash, u64::MAX), Err(BlobError::Damaged { .. })));
    assert!(matches!(store.open_blob(&hash), Err(BlobError::Damaged { .. })));
    assert_eq!(store.repair(&hash).expect("repairs").missing(), [1], "the rest is kept");
    assert!(!file.exists());
}

#[test]
fn what_is_configured_wrongly_is_named_at_the_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(mut server) = Server::start(dir.path()) else { return };
    let s3 = server.s3(&credentials(dir.path(), SECRET));
    let refused = |s3: &S3| match open(dir.path(), s3).expect_err("is refused") {
        error @ OpenError::Remote { .. } => {
            let text = error.to_string();
            assert!(text.contains(&s3.endpoint) && text.contains(&s3.bucket), "{text}");
            assert!(!text.contains(SECRET), "{text}");
            let OpenError::Remote { source, .. } = error else { unreachable!("just seen") };
            (source.fault(), text)
        }
        error => panic!("{error}"),
    };
    let wrong = credentials(dir.path(), "a wrong secret");
    let (fault, text) = refused(&S3 { credentials: Credentials::File(wrong), ..s3.clone() });
    assert_eq!(fault, RemoteFault::Forbidden, "{text}");
    let (fault, text) = refused(&S3 { bucket: "absent".into(), ..s3.clone() });
    assert_eq!(fault, RemoteFault::NoBucket, "{text}");
    let (fault, text) = refused(&S3 { allow_http: false, ..s3.clone() });
    assert_eq!(fault, RemoteFault::Configuration, "{text}");
    let nowhere = Credentials::File(dir.path().join("nowhere"));
    let (fault, text) = refused(&S3 { credentials: nowhere, ..s3.clone() });
    assert!(fault == RemoteFault::Configuration && text.contains("nowhere"), "{text}");
    assert!(!dir.path().join("store/catalogue.redb").exists(), "nothing was begun");

    let store = open(dir.path(), &s3).expect("opens");
    store.close_blocking().expect("closes");
    let other = S3 { prefix: "node/2".into(), ..s3.clone() };
    assert!(matches!(open(dir.path(), &other), Err(OpenError::OtherBackend { .. })));
    let here = Store::open(&dir.path().join("store"));
    assert!(matches!(here, Err(OpenError::OtherBackend { .. })));
    let second = Store::open_with(&dir.path().join("second"), &Backend::S3(s3.clone()));
    assert!(matches!(second, Err(OpenError::NotOurs { .. })));
    open(dir.path(), &s3).expect("opens").close_blocking().expect("closes");

    server.kill();
    let (fault, text) = refused(&s3);
    assert_eq!(fault, RemoteFault::Transient, "{text}");
}
