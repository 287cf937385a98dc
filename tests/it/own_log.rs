//! A node's own log has one record at each position, whatever happens while one is written.

use std::io::Write as _;
use std::net::TcpStream;

use guildhall_testkit::client::Error;
use guildhall_testkit::protocol::api::InviteRequest;
use guildhall_testkit::protocol::wire::Invite;
use guildhall_testkit::{Node, NotYet, PATIENCE, converge, damage, pause, resume};

use crate::lab;

/// Clients that hang up: enough that most of them wait for their record when they do.
const CLIENTS: u64 = 60;

/// Records that are written at least. On a busy machine many hang up before their request is read; if none were
/// written to its end, two or three would get through.
const WRITTEN_MIN: u64 = CLIENTS / 6;

/// Waits until an invite can be made, and returns it.
async fn until_invited(node: &Node) -> String {
    let invited = converge(PATIENCE, "an invite is made", async || {
        node.client()
            .invite(&InviteRequest::default())
            .await
            .map_err(|error| NotYet::saw(error.to_string()))
    });
    invited.await.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()))
}

/// Waits until a node counts this many members, which it does when it takes the records that say so.
async fn until_members(node: &Node, count: usize) {
    let what = format!("{count} members in {}", node.home().display());
    let counted = converge(PATIENCE, &what, async || {
        match node.client().status().await?.federation.members {
            members if members.len() == count => Ok(()),
            members => Err(NotYet::saw(format!("{members:?}"))),
        }
    });
    counted.await.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()));
}

/// ```text
///   lab-a (its newest record is damaged) ◀──repairs it from── lab-b      then lab-c joins lab-a
/// ```
#[tokio::test]
async fn a_node_whose_newest_own_record_is_damaged_starts_and_writes_nothing_until_it_is_repaired()
{
    let lab = lab();
    let [mut a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let invite = a.client().invite(&InviteRequest::default()).await.expect("an invite");
    let newest = Invite::from_text(&invite).expect("it reads").admission;
    let spread = converge(PATIENCE, "b has the record", async || {
        b.client().record(newest).await.map_err(|error| NotYet::saw(error.to_string()))
    });
    let record = spread.await.unwrap_or_else(|error| panic!("{error}"));
    assert!(a.stop().await.expect("a stops"), "{}", a.log_tail());
    let file = damage::catalogue_file(a.home());
    let rows = std::fs::read(&file).expect("the rows");
    let places: Vec<usize> =
        (0..rows.len() - record.len()).filter(|at| rows[*at..].starts_with(&record)).collect();
    assert!(!places.is_empty(), "the record is stored as it was signed");
    places.iter().for_each(|at| damage::flip(&file, at + record.len() / 2));

    // With nobody to repair it: its port is another one now, so it has something to say, and must not.
    pause(&b);
    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    match a.client().invite(&InviteRequest::default()).await {
        Err(Error::Api { body, .. }) => assert_eq!(body.code, "log_damaged", "{}", body.message),
        other => panic!("it writes beside a damaged record: {other:?}"),
    }

    resume(&b);
    let invite = until_invited(&a).await;
    assert_eq!(b.client().record(newest).await.expect("b still has it"), record);
    let c = lab.found("lab-c").await;
    c.client().join(&invite).await.unwrap_or_else(|error| panic!("{error}\n{}", a.log_tail()));
    // b would take nothing of a log with two records at one position.
    until_members(&b, 3).await;
}

/// ```text
///   clients ──invite, and hang up──▶ lab-a ◀──▶ lab-b      then lab-c joins lab-a
/// ```
#[tokio::test]
async fn what_a_client_asked_for_is_written_although_it_hangs_up() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let before = a.client().status().await.expect("it answers").records;
    let address = a.ready().api.trim_start_matches("http://").to_owned();
    let clients = tokio::task::spawn_blocking(move || {
        let request = format!(
            "POST /api/v1/invites HTTP/1.1\r\nHost: {address}\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        let ask = |_| {
            let mut stream = TcpStream::connect(&address).expect("the API is there");
            stream.write_all(request.as_bytes()).expect("the request is sent");
            stream
        };
        (0..CLIENTS).map(ask).collect::<Vec<_>>()
    });
    let clients = clients.await.expect("everybody asked");
    // Who connects later is answered later: by then most requests have been read. The records take longer, because
    // each waits for the disk and for the one before.
    for _ in 0..5 {
        a.client().status().await.expect("it answers");
    }
    drop(clients);

    for node in [&a, &b] {
        let what = format!("{WRITTEN_MIN} more records in {}", node.home().display());
        let written =
            converge(PATIENCE, &what, async || match node.client().status().await?.records {
                records if records >= before + WRITTEN_MIN => Ok(()),
                records => Err(NotYet::saw(format!("{records} after {before}"))),
            });
        written.await.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()));
    }
    let invite = until_invited(&a).await;
    let c = lab.found("lab-c").await;
    c.client().join(&invite).await.unwrap_or_else(|error| panic!("{error}\n{}", a.log_tail()));
    until_members(&b, 3).await;
}
