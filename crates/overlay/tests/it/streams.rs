//! Moving bytes.

use guildhall_overlay::StreamKind;
use guildhall_protocol::Hash;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Node, converge};

const MEBIBYTE: usize = 1024 * 1024;

/// `length` bytes that repeat nowhere near a frame's or window's size.
fn bytes(length: usize, salt: u8) -> Vec<u8> {
    let mut state = u32::from(salt) | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// a <-> b
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_mebibytes_arrive_unchanged_in_both_directions_at_once() {
    let (a, b) = (Node::start().await, Node::start().await);
    a.join(&b).await;
    let (there, back) = (bytes(50 * MEBIBYTE, 1), bytes(50 * MEBIBYTE, 2));
    let (there_hash, back_hash) = (Hash::of(&there), Hash::of(&back));
    let ours = a.overlay.open_stream(b.key, StreamKind::Blob).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(ours);
    let sent = tokio::spawn(async move {
        writer.write_all(&there).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    converge("b has the stream", || async { b.look(|seen| seen.streams.len() == 1) }).await;
    let (peer, kind, theirs) = b.take_stream().unwrap();
    assert_eq!((peer, kind), (a.key, StreamKind::Blob));
    let (mut their_reader, mut their_writer) = tokio::io::split(theirs);
    let sent_back = tokio::spawn(async move {
        their_writer.write_all(&back).await.unwrap();
        their_writer.shutdown().await.unwrap();
    });
    let read = tokio::spawn(async move {
        let mut received = Vec::new();
        their_reader.read_to_end(&mut received).await.unwrap();
        Hash::of(&received)
    });
    let mut received = Vec::new();
    reader.read_to_end(&mut received).await.unwrap();
    assert_eq!(Hash::of(&received), back_hash);
    assert_eq!(read.await.unwrap(), there_hash);
    sent.await.unwrap();
    sent_back.await.unwrap();
}

/// a -> b, many at once
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_opened_at_the_same_moment_all_arrive_with_their_kind() {
    let (a, b) = (Node::start().await, Node::start().await);
    a.join(&b).await;
    let (from, to) = (&a.overlay, b.key);
    let open = (0..40).map(|n| async move {
        let kind = if n % 2 == 0 { StreamKind::Job } else { StreamKind::Blob };
        let mut stream = from.open_stream(to, kind).await.unwrap();
        stream.write_all(&[if n % 2 == 0 { b'j' } else { b'b' }]).await.unwrap();
        stream.flush().await.unwrap();
        stream
    });
    let open = futures::future::join_all(open).await;
    converge("all are there", || async { b.look(|seen| seen.streams.len() == 40) }).await;
    while let Some((_, kind, mut stream)) = b.take_stream() {
        let expected = if kind == StreamKind::Job { b'j' } else { b'b' };
        assert_eq!(stream.read_u8().await.unwrap(), expected);
    }
    drop(open);
}

/// a -> b, more than b takes
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_has_a_share_of_streams_and_gets_it_back_when_they_end() {
    let (a, b) = (Node::start().await, Node::start().await);
    a.join(&b).await;
    let mut open = Vec::new();
    let refused = loop {
        assert!(open.len() < 200, "there is no bound");
        let before = b.look(|seen| seen.streams.len());
        let mut stream = a.overlay.open_stream(b.key, StreamKind::Job).await.unwrap();
        // Refused streams may be gone before this.
        let _ = stream.write_all(b"x").await;
        let _ = stream.flush().await;
        let ended = async {
            let read = stream.read(&mut [0; 1]).await;
            assert!(matches!(read, Ok(0) | Err(_)));
        };
        let arrived = converge("arrived", || async { b.look(|seen| seen.streams.len()) > before });
        tokio::select! {
            () = ended => break open.len(),
            () = arrived => open.push(stream),
        }
    };
    assert_eq!(refused, 64);
    while b.take_stream().is_some() {}
    let mut stream = a.overlay.open_stream(b.key, StreamKind::Job).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    stream.flush().await.unwrap();
    converge("room again", || async { b.look(|seen| seen.streams.len() == 1) }).await;
}
