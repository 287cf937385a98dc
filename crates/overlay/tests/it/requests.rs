//! Questions and answers.

use std::sync::Mutex;
use std::time::Duration;

use guildhall_overlay::{Limits, ReplyError, RequestError};
use guildhall_protocol::limits::MESSAGE_MAX_BYTES;

use crate::support::{Node, Setup, converge};

/// a -> b
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_any_allowed_size_is_answered() {
    let (a, b) = (Node::start().await, Node::start().await);
    a.join(&b).await;
    for length in [0, 1, 70_000, MESSAGE_MAX_BYTES] {
        let bytes = vec![5; length];
        assert_eq!(a.overlay.request(b.key, bytes.clone()).await.unwrap(), bytes);
    }
    let many = (0..100_u8).map(|n| a.overlay.request(b.key, vec![n]));
    for (n, answer) in (0..100_u8).zip(futures::future::join_all(many).await) {
        match answer {
            Ok(answer) => assert_eq!(answer, [n]),
            Err(error) => panic!("request {n}: {error}"),
        }
    }
}

/// a -> b, at an address that a was told
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_connects_to_a_known_address_and_to_no_other() {
    let (a, b) = (Node::start().await, Node::start().await);
    let error = a.overlay.request(b.key, b"where are you".to_vec()).await.unwrap_err();
    assert!(matches!(error, RequestError::Unreachable), "{error}");
    a.overlay.set_known(b.key, b.addresses.clone()).await;
    assert_eq!(a.overlay.request(b.key, b"there".to_vec()).await.unwrap(), b"there");
}

/// a -> b
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_unanswered_fails_at_once_and_what_is_late_at_the_deadline() {
    let limits = Limits { request_deadline: Duration::from_secs(1), ..Limits::default() };
    let a = Node::with(Setup { limits, ..Setup::default() }).await;
    let reply = |bytes: Vec<u8>, reply: guildhall_overlay::Reply| match bytes.as_slice() {
        b"drop" => drop(reply),
        b"late" => std::mem::forget(reply),
        b"huge" => {
            let error = reply.send(vec![1; MESSAGE_MAX_BYTES + 1]).unwrap_err();
            assert!(matches!(error, ReplyError::TooLarge { .. }));
        }
        _ => reply.send(bytes).unwrap(),
    };
    let b = Node::with(Setup { reply, ..Setup::default() }).await;
    a.join(&b).await;
    let ask = async |bytes: &[u8]| a.overlay.request(b.key, bytes.to_vec()).await;
    assert!(matches!(ask(b"drop").await, Err(RequestError::NoAnswer(_))));
    assert!(matches!(ask(b"huge").await, Err(RequestError::NoAnswer(_))));
    assert!(matches!(ask(b"late").await, Err(RequestError::Timeout)));
    let too_large = ask(&vec![1; MESSAGE_MAX_BYTES + 1]).await;
    assert!(matches!(too_large, Err(RequestError::TooLarge { .. })));
    assert_eq!(ask(b"fine").await.unwrap(), b"fine");
    assert!(a.look(|seen| seen.disconnected.is_empty()), "none of that cost the connection");
}

/// a -> b, a goes away
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_answers_late_sees_that_nobody_waits_any_more() {
    static HELD: Mutex<Option<guildhall_overlay::Reply>> = Mutex::new(None);
    let reply = |_: Vec<u8>, reply: guildhall_overlay::Reply| {
        *HELD.lock().unwrap() = Some(reply);
    };
    let (a, b) = (Node::start().await, Node::with(Setup { reply, ..Setup::default() }).await);
    a.join(&b).await;
    let ask = a.overlay.request(b.key, b"a slot".to_vec());
    let look = async {
        converge("b got it", || async { HELD.lock().unwrap().is_some() }).await;
        let mut reply = HELD.lock().unwrap().take().unwrap();
        let early = tokio::time::timeout(Duration::from_millis(100), reply.gone()).await;
        assert!(early.is_err(), "it is waited for");
        a.overlay.shutdown().await;
        reply.gone().await;
        assert!(matches!(reply.send(b"here".to_vec()), Err(ReplyError::Stopped)));
    };
    let (answer, ()) = tokio::join!(ask, look);
    assert!(answer.is_err(), "{answer:?}");
}

/// a -> b, b goes away
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_goes_away_leaves_no_request_hanging() {
    let reply = |_: Vec<u8>, reply: guildhall_overlay::Reply| std::mem::forget(reply);
    let (a, b) = (Node::start().await, Node::with(Setup { reply, ..Setup::default() }).await);
    a.join(&b).await;
    let ask = a.overlay.request(b.key, b"anybody there".to_vec());
    let leave = async {
        converge("b got it", || async { b.look(|seen| seen.requests.len() == 1) }).await;
        b.overlay.shutdown().await;
    };
    let (answer, ()) = tokio::join!(ask, leave);
    assert!(matches!(answer, Err(RequestError::NoAnswer(_))), "{answer:?}");
}
