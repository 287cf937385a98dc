//! Members that ask for what nobody may ask for, or take all that a holder has: it serves others all the same.
//! Threats T07, T50, T51.

use std::time::Duration;

use guildhall_overlay::Stream;
use guildhall_testkit::hostile::{Deed, Hostile, Truth};
use guildhall_testkit::protocol::wire::{BlobReply, BlobRequest, PiecePart, decode_frame};
use guildhall_testkit::protocol::{Hash, cbor};
use guildhall_testkit::{
    Node, Package, forget_peak, holds_listings, http, peak_bytes, publish_ok, rss_bytes,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::lab;

/// A piece, bytes.
const PIECE: usize = 4 << 20;

/// How long an answer may take on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Blob streams that a holder serves to one peer.
const STREAMS_PER_PEER: usize = 8;

/// Nodes of the org that reads nothing.
const STALLING_NODES: u8 = 9;

/// What all of it may cost the holder's memory, bytes: eight streams with a batch of at most a piece each.
const RISE_MAX_BYTES: u64 = 48 << 20;

fn frame(request: &BlobRequest) -> Vec<u8> {
    let bytes = cbor::encode(request);
    let len = u32::try_from(bytes.len()).expect("a request is short");
    [len.to_be_bytes().as_slice(), &bytes].concat()
}

/// What comes back.
#[derive(Debug, PartialEq)]
enum Back {
    Closed,
    Reply(BlobReply),
}

async fn back(stream: &mut Stream) -> Back {
    let read = async {
        let mut head = [0; 4];
        if stream.read_exact(&mut head).await.is_err() {
            return Back::Closed;
        }
        let mut bytes = vec![0; u32::from_be_bytes(head) as usize];
        match stream.read_exact(&mut bytes).await {
            Ok(_) => Back::Reply(decode_frame(&bytes).expect("a holder speaks the protocol")),
            Err(_) => Back::Closed,
        }
    };
    tokio::time::timeout(ANSWER_MAX, read).await.expect("an answer, or an end")
}

/// Sends bytes on a stream of their own and says what came back.
async fn say(hostile: &Hostile, node: &Node, bytes: &[u8]) -> Back {
    let mut stream = hostile.blob_stream(node).await.expect("it is a member");
    // The node may hang up in the middle, as it should.
    let _closed = stream.write_all(bytes).await;
    let _closed = stream.flush().await;
    back(&mut stream).await
}

/// ```text
///   lab-x (asks for the absurd) ──▶ lab-a ◀── lab-c fetches meanwhile
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t51_absurd_requests_end_their_stream_and_nothing_else() {
    let lab = lab();
    let [mut a, mut x, c] = lab.federation(["lab-a", "lab-x", "lab-c"]).await;
    let folder = lab.write(&Package::data("content").files(2, 3 * PIECE, 81));
    let published = publish_ok(&a, &folder).await;
    holds_listings(&[&c], 1).await;
    let manifest = a.client().manifest(published.package_id).await.expect("it is here");
    let large = manifest.files[0].hash;
    let private = a.client().upload_bytes(b"belongs to no package".to_vec()).await;
    let private = private.expect("it is stored").hash;
    x.kill().await.expect("it is killed");
    let hostile = Hostile::node_of(x.home(), Truth::default(), Deed::Honest).await;
    hostile.meet(&a).await;
    forget_peak(&a);
    let before = rss_bytes(&a);

    let piece = |piece, part| frame(&BlobRequest::Piece { hash: large, piece, part });
    let groups = |first, count| piece(0, PiecePart::Groups { first, count });
    let ends: Vec<Vec<u8>> = vec![
        vec![0xff; 4],
        [16_385_u32.to_be_bytes().as_slice(), &[0; 64]].concat(),
        b"\x00\x00\x00\x03\xff\xff\xff".to_vec(),
        [1_024_u32.to_be_bytes().as_slice(), &[0x81; 1_024]].concat(),
        frame(&BlobRequest::Batch { hashes: vec![large; 10_000] }),
        frame(&BlobRequest::Batch { hashes: vec![large; 257] }),
        piece(u64::MAX, PiecePart::Whole),
        piece(3, PiecePart::Hashes),
        groups(u32::MAX, u32::MAX),
        groups(0, 0),
        groups(0, 257),
        groups(256, 1),
        groups(1, u32::MAX),
    ];
    for bytes in &ends {
        let back = say(&hostile, &a, bytes).await;
        let start = bytes.get(..bytes.len().min(40));
        assert_eq!(back, Back::Closed, "{start:?}");
    }
    for hash in [Hash::of(b"nowhere"), private] {
        let missing = Back::Reply(BlobReply::Missing);
        assert_eq!(say(&hostile, &a, &frame(&BlobRequest::List { hash })).await, missing);
        let part = PiecePart::Whole;
        let request = BlobRequest::Piece { hash, piece: u64::MAX, part };
        assert_eq!(say(&hostile, &a, &frame(&request)).await, missing);
        let request = BlobRequest::Batch { hashes: vec![hash; 256] };
        let none = Back::Reply(BlobReply::Batch { lens: vec![None; 256] });
        assert_eq!(say(&hostile, &a, &frame(&request)).await, none);
    }

    // Streams without number, and all that it may have at once in the middle of a request.
    let mut held = Vec::new();
    for _ in 0..300 {
        if let Ok(mut stream) = hostile.blob_stream(&a).await {
            // Those beyond its share are closed.
            let _closed = stream.write_all(&[0, 0]).await;
            let _closed = stream.flush().await;
            held.push(stream);
        }
    }
    let fetched = c.client().fetch(&"lab-a/content".parse().expect("a reference")).await;
    assert_eq!(fetched.unwrap_or_else(|e| panic!("{e}\n{}", a.log_tail())).fetched_files, 2);
    let rise = peak_bytes(&a).saturating_sub(before);
    assert!(rise <= RISE_MAX_BYTES, "{rise} bytes more");
    assert!(a.is_running().expect("it can be asked"), "{}", a.log_tail());
    assert_eq!(a.client().status().await.expect("it answers").packages, 1);
    drop(held);
}

/// Takes all streams that a peer may have, asks for everything on them, and reads nothing.
async fn stall(hostile: &Hostile, node: &Node, hash: Hash, pieces: u64) -> Vec<Stream> {
    let mut held = Vec::new();
    for _ in 0..STREAMS_PER_PEER {
        let mut stream = hostile.blob_stream(node).await.expect("it is a member");
        for piece in 0..pieces {
            let request = frame(&BlobRequest::Piece { hash, piece, part: PiecePart::Whole });
            // Those beyond the org's share are closed.
            let _closed = stream.write_all(&request).await;
        }
        let _closed = stream.flush().await;
        held.push(stream);
    }
    held
}

/// ```text
///   lab-x (asks for everything, reads nothing) ──▶ lab-a ◀── lab-c fetches meanwhile
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t50_a_peer_that_reads_nothing_keeps_nobody_waiting() {
    let lab = lab();
    let [a, mut x, c] = lab.federation(["lab-a", "lab-x", "lab-c"]).await;
    let folder = lab.write(&Package::data("content").files(1, 12 * PIECE, 82));
    let published = publish_ok(&a, &folder).await;
    holds_listings(&[&c], 1).await;
    let manifest = a.client().manifest(published.package_id).await.expect("it is here");
    x.kill().await.expect("it is killed");
    let before = rss_bytes(&a);
    let (mut nodes, mut held) = (Vec::new(), Vec::new());
    for number in 1..=STALLING_NODES {
        let node = Hostile::another_of(x.home(), number, Truth::default(), Deed::Honest).await;
        node.meet(&a).await;
        held.push(stall(&node, &a, manifest.files[0].hash, 12).await);
        nodes.push(node);
    }
    let fetched = c.client().fetch(&"lab-a/content".parse().expect("a reference")).await;
    let fetched = fetched.unwrap_or_else(|error| panic!("{error}\n{}", a.log_tail()));
    assert!(fetched.seconds < 20.0, "it was kept waiting: {} s", fetched.seconds);
    let rise = peak_bytes(&a).saturating_sub(before);
    assert!(rise <= RISE_MAX_BYTES, "{rise} bytes more");
    drop((held, nodes));
}

/// Four bytes of a request are one empty file: a batch of millions of them would take gigabytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t51_a_batch_of_millions_of_empty_files_is_refused() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    forget_peak(&a);
    let before = rss_bytes(&a);
    let millions = vec![0; 16 << 20];
    let media_type = "application/octet-stream";
    let (status, said) = http::post(&a, "blobs/batch", media_type, &millions).await;
    assert_eq!(status, 413, "{}", said.get(..200).unwrap_or(&said));
    let rise = peak_bytes(&a).saturating_sub(before);
    assert!(rise <= RISE_MAX_BYTES, "{rise} bytes more");
    assert_eq!(
        a.client().upload_batch(&[b"one".to_vec(), Vec::new()]).await.map(|s| s.len()).ok(),
        Some(2)
    );
}
