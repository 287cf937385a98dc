//! T14: archives that unpack to a thousand or a hundred thousand times their length. Nothing here unpacks: in data they
//! are bytes like others, in models and algorithms they are refused.

use std::fs;
use std::path::Path;

use guildhall_testkit::{Package, at_rest, holds_listings, publish, publish_ok};

use crate::lab;

/// What the bombs would unpack to, bytes.
const UNPACKED: u64 = 4 << 30;

/// What rows, trees and pages of the catalogue may take beside the content, bytes.
const OVERHEAD_MAX: u64 = 8 << 20;

/// A deflate stream of zeros: fixed codes, a literal, then copies of 258 bytes from one byte before.
fn deflate(unpacked: u64) -> Vec<u8> {
    let mut bits = Bits::default();
    // Last block, fixed codes.
    bits.push(0b1, 1);
    bits.push(0b01, 2);
    // The literal 0 has the code 00110000.
    bits.push_code(0b0011_0000, 8);
    for _ in 0..unpacked.saturating_sub(1) / 258 {
        // Length 258 is symbol 285, of code 11000101; distance 1 is the code 00000.
        bits.push_code(0b1100_0101, 8);
        bits.push_code(0, 5);
    }
    // End of block.
    bits.push_code(0, 7);
    bits.finish()
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    now: u8,
    used: u32,
}

impl Bits {
    /// Bits of a number, the lowest first.
    fn push(&mut self, value: u32, count: u32) {
        for at in 0..count {
            self.now |= u8::from((value >> at) & 1 == 1) << self.used;
            self.used += 1;
            if self.used == 8 {
                self.bytes.push(std::mem::take(&mut self.now));
                self.used = 0;
            }
        }
    }

    /// A Huffman code, the highest bit first.
    fn push_code(&mut self, code: u32, len: u32) {
        (0..len).rev().for_each(|at| self.push((code >> at) & 1, 1));
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.push(self.now);
        self.bytes
    }
}

fn gzip(deflated: &[u8]) -> Vec<u8> {
    [b"\x1f\x8b\x08\0\0\0\0\0\0\x03", deflated, &[0; 4], &[0xff; 4]].concat()
}

/// One deflated entry that says it has just under 4 GiB, named eleven times in the directory.
fn zip(deflated: &[u8], name: &str) -> Vec<u8> {
    let len = u32::try_from(deflated.len()).expect("it is short").to_le_bytes();
    let name_len = u16::try_from(name.len()).expect("it is short").to_le_bytes();
    let sizes = [&[0; 4], len.as_slice(), &[0xfe, 0xff, 0xff, 0xff], &name_len].concat();
    let entry = [b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0", sizes.as_slice(), &[0; 2]].concat();
    let local = [entry.as_slice(), name.as_bytes(), deflated].concat();
    let central =
        [b"PK\x01\x02\x14\0\x14\0\0\0\x08\0\0\0\0\0", sizes.as_slice(), &[0; 16]].concat();
    let central = [central.as_slice(), name.as_bytes()].concat().repeat(11);
    let start = u32::try_from(local.len()).expect("it is short").to_le_bytes();
    let central_len = u32::try_from(central.len()).expect("it is short").to_le_bytes();
    let end = [b"PK\x05\x06\0\0\0\0\x0b\0\x0b\0", central_len.as_slice(), &start, &[0; 2]].concat();
    [local, central, end].concat()
}

/// Blocks of 128 KiB of one byte each, which take four bytes: 32,768 to 1.
fn zstd(unpacked: u64) -> Vec<u8> {
    // The frame says its length; the block's header is its length, its type (1: repeated byte), and whether it is last.
    let mut frame = [b"\x28\xb5\x2f\xfd\xe0".as_slice(), &unpacked.to_le_bytes()].concat();
    let blocks = unpacked / (128 * 1024);
    for block in 0..blocks {
        let head = ((128 * 1024_u32) << 3) | (1 << 1) | u32::from(block + 1 == blocks);
        frame.extend_from_slice(&head.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

/// A tar whose header promises eight gigabytes for a file outside.
fn tar() -> Vec<u8> {
    let mut header = vec![0; 1024];
    header[..16].copy_from_slice(b"../../escaped.sh");
    header[124..135].copy_from_slice(b"77777777777");
    header[257..263].copy_from_slice(b"ustar\0");
    header
}

fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let deflated = deflate(UNPACKED / 16);
    let gzipped = gzip(&deflated);
    vec![
        ("flat.zip", zip(&deflated, "zeros")),
        ("escaping.zip", zip(&deflated, "../../../../tmp/guildhall-t14")),
        ("nested.zip", zip(&zip(&deflated, "inner.zip"), "outer.zip")),
        ("nested.tar.gz", gzip(&gzipped)),
        ("zeros.zst", zstd(UNPACKED)),
        ("escaping.tar", tar()),
        ("zeros.gz", gzipped),
    ]
}

/// Bytes of the files below a folder.
fn disk_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => disk_bytes(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

/// ```text
///   lab-a (publishes bombs as data) ◀──get── lab-b
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t14_bombs_in_data_are_bytes_and_are_never_unpacked() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let bombs = bombs();
    let declared: u64 = bombs.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert!(declared < UNPACKED / 400, "they are bombs: {declared} bytes");
    let mut package = Package::data("bombs");
    for (name, bytes) in &bombs {
        package = package.file(name, bytes.clone());
    }
    let folder = lab.write(&package);
    let before = [&a, &b].map(|node| disk_bytes(node.home()));
    publish_ok(&a, &folder).await;
    holds_listings(&[&b], 1).await;
    let out = lab.path("out");
    lab.cli(b.home()).ok(["get", "lab-a/bombs", "-o", out.to_str().expect("UTF-8")]).await;
    for (node, before) in [&a, &b].into_iter().zip(before) {
        let grown = disk_bytes(node.home()).saturating_sub(before);
        assert!(grown <= declared + OVERHEAD_MAX, "{grown} bytes for {declared}");
        let stored = node.client().store().await.expect("it answers");
        assert!(stored.blob_bytes <= declared + OVERHEAD_MAX, "{stored:?}");
    }
    assert_eq!(fs::read_dir(&out).expect("it was written").count(), bombs.len());
    for (name, bytes) in &bombs {
        assert!(fs::read(out.join(name)).expect("it was written") == *bytes, "{name}");
    }
    assert!(!Path::new("/tmp/guildhall-t14").exists());
    // No worker goes on with what it was given.
    at_rest(&a).await;
}

/// Under their own names and under those of models.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t14_bombs_in_algorithms_and_models_are_refused() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let before = disk_bytes(a.home());
    let mut declared = 0;
    for (number, (name, bytes)) in bombs().into_iter().enumerate() {
        for (disguise, name) in [name, "weights.safetensors"].into_iter().enumerate() {
            let package = Package::data(&format!("bomb-{number}-{disguise}"))
                .replacing("kind = \"data\"", "kind = \"model\"")
                .file(name, bytes.clone());
            declared += bytes.len() as u64;
            let refused = publish(a.client(), &lab.write(&package)).await;
            refused.expect_err(name);
        }
    }
    let logs = a.client().tests().await.expect("it answers");
    assert_eq!(logs.len(), 2 * bombs().len());
    for log in logs {
        let why = log.checks.iter().find(|check| !check.passed).expect("one failed");
        assert!(why.detail.contains("archive"), "{}", why.detail);
    }
    assert_eq!(a.client().status().await.expect("it answers").listings, 0);
    let grown = disk_bytes(a.home()).saturating_sub(before);
    assert!(grown <= declared + OVERHEAD_MAX, "{grown} bytes for {declared}");
}
