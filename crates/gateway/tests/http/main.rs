//! The gateway over real sockets, with a fake node behind it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fake;
mod find;
mod oip;
mod raw;

use std::time::Duration;

use fake::{Running, manifest, package_id, run_id};
use guildhall_client::{Client, Error};
use guildhall_protocol::api::{
    Follows, InviteRequest, OfferChange, RunInput, RunRequest, RunState, Stale,
};
use guildhall_protocol::query::Query;
use guildhall_protocol::{Hash, RecordId, RunId};

#[tokio::test]
async fn every_route_reaches_its_method_and_comes_back_typed() {
    let gateway = Running::start(None).await;
    let client = gateway.client();
    assert_eq!(client.status().await.unwrap().listings, 5);
    assert!(client.peers().await.unwrap().is_empty());
    let expires = InviteRequest { expires_in_s: Some(60) };
    assert_eq!(client.invite(&expires).await.unwrap(), "guild-invite:Some(60)");
    assert_eq!(client.join("guild-invite:good").await.unwrap().org.as_str(), "lab-a");
    client.set_offer(&OfferChange { offer: None }).await.unwrap();
    assert_eq!(client.lending().await.unwrap().own_jobs, 3);
    assert!(client.drain(true).await.unwrap().draining);
    let follows = Follows { follows: vec!["vision".parse().unwrap()] };
    assert_eq!(client.set_follows(&follows).await.unwrap().follows, follows.follows);
    let query = Query { text: Some("digits".into()), ..Query::default() };
    assert_eq!(client.search(&query).await.unwrap().notes, ["digits"]);
    let reference = "lab-a/digits@1.0.0+b".parse().unwrap();
    assert_eq!(client.fetch(&reference).await.unwrap().reference, reference);
    let Err(Error::Api { status: 404, body }) = client.show(&reference).await else {
        panic!("there is nothing to show")
    };
    assert_eq!(body.message, "there is no lab-a/digits@1.0.0+b", "the `+` survived the query");
    assert_eq!(client.packages().await.unwrap(), [package_id()]);
    assert_eq!(client.manifest(package_id()).await.unwrap(), manifest());
    let record = RecordId(Hash::of(b"record"));
    assert_eq!(client.record(record).await.unwrap(), record.0.as_bytes());
}

#[tokio::test]
async fn a_stale_node_says_so_with_every_answer_and_refusal() {
    let stale = Stale { heard_s: 700_000, refuses: true };
    let client = Running::start_stale(stale).await.client();
    assert_eq!(client.stale(), None, "nothing was asked yet");
    client.peers().await.unwrap();
    assert_eq!(client.stale(), Some(stale));
    let fresh = Running::start(None).await.client();
    fresh.peers().await.unwrap();
    assert_eq!(fresh.stale(), None);
    let clone = client.clone();
    client.show(&"lab-a/digits".parse().unwrap()).await.unwrap_err();
    assert_eq!(clone.stale(), Some(stale), "refusals too");
}

#[tokio::test]
async fn blobs_go_in_and_come_out_the_same() {
    let client = Running::start(None).await.client();
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let stored = client.upload_bytes(bytes.clone()).await.unwrap();
    assert_eq!((stored.hash, stored.len_bytes), (Hash::of(&bytes), 200_000));
    assert!(client.has_blob(stored.hash).await.unwrap());
    let mut out = Vec::new();
    assert_eq!(client.download_blob(stored.hash, &mut out).await.unwrap(), 200_000);
    assert_eq!(out, bytes);
    let unknown = Hash::of(b"unknown");
    assert!(!client.has_blob(unknown).await.unwrap());
    let error = client.download_blob(unknown, &mut out).await.unwrap_err();
    assert_eq!(error.code(), Some("unknown"));
    assert_eq!(error.help().unwrap(), "guild search");
    let empty = client.upload_bytes(Vec::new()).await.unwrap();
    assert_eq!(client.download_blob(empty.hash, &mut out).await.unwrap(), 0);
}

#[tokio::test]
async fn a_blob_that_the_node_refuses_is_refused_in_words() {
    let client = Running::start(None).await.client();
    let error = client.upload_bytes(vec![0; 8 * fake::BLOB_MAX_BYTES]).await.unwrap_err();
    assert_eq!(error.code(), Some("blob_too_large"), "{error:?}");
}

#[tokio::test]
async fn runs_are_waited_for_and_their_outputs_stream() {
    let client = Running::start(None).await.client();
    let input = RunInput::Package("lab-b/digits-images".parse().unwrap());
    let request = RunRequest::new("lab-a/digits".parse().unwrap(), input);
    let run = client.start_run(&request).await.unwrap();
    let mut seen = 0;
    let report = client.wait_run(run, |_| seen += 1).await.unwrap();
    assert_eq!((report.state, seen), (RunState::Completed, 1));
    assert_eq!(client.runs().await.unwrap(), [report]);
    let outputs = client.run_outputs(run).await.unwrap();
    assert_eq!(u64::try_from(outputs.len()).unwrap(), fake::RECORDS);
    assert!(outputs.iter().zip(0..).all(|(line, index)| line.index == index));
    let error = client.run_receipt(run).await.unwrap_err();
    assert!(matches!(error, Error::Api { status: 503, .. }), "{error}");
}

#[tokio::test]
async fn outputs_that_break_off_are_not_mistaken_for_all() {
    let client = Running::start(None).await.client();
    assert_ne!(run_id(), RunId(Hash::of(b"damaged")));
    let error = client.run_outputs(RunId(Hash::of(b"damaged"))).await.unwrap_err();
    assert!(matches!(error, Error::Broken(_)), "{error}");
}

#[tokio::test]
async fn refusals_carry_code_details_and_help() {
    let client = Running::start(None).await.client();
    let Err(Error::Api { status: 409, body }) = client.join("guild-invite:used").await else {
        panic!("the invite was used")
    };
    assert_eq!(
        (body.code.as_str(), body.details.as_slice()),
        ("bad_invite", &["by lab-b".into()][..])
    );
}

#[tokio::test]
async fn what_is_not_there_is_said_in_json() {
    let address = Running::start(None).await.address;
    for (request, status, code) in [
        ("GET /api/v1/nothing", 404, "unknown_route"),
        ("GET /", 404, "unknown_route"),
        ("DELETE /api/v1/status", 405, "unknown_method"),
        ("GET /api/v1/runs/12", 400, "bad_id"),
        ("GET /api/v1/show", 400, "bad_reference"),
        ("GET /api/v1/show?ref=nothing", 400, "bad_reference"),
        ("GET /api/v1/blobs/..%2f..%2fetc", 400, "bad_id"),
    ] {
        let answer = raw::exchange(
            address,
            &format!("{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"),
        )
        .await;
        assert_eq!(raw::status(&answer), status, "{request}: {answer}");
        assert_eq!(raw::json(&answer)["code"], code, "{request}: {answer}");
        assert!(answer.contains("x-content-type-options: nosniff"), "{request}: {answer}");
    }
}

#[tokio::test]
async fn json_that_does_not_fit_is_refused_with_its_place() {
    let address = Running::start(None).await.address;
    for (body, place) in [
        ("{", "line 1 column 1"),
        ("", "line 1 column 0"),
        ("{\"kind\":\n\"modle\"}", "line 2 column 7"),
        ("{\"limit\": -1}", "line 1 column 12"),
        (&format!("{{\"text\": {}1", "[".repeat(10_000)), "line 1 column"),
        (&format!("{{\"none\": {}1", "[".repeat(10_000)), "line 1 column"),
        (&format!("{}1", "[".repeat(10_000)), "it is a list"),
        ("[]", "it is a list"),
        ("{\"text\": \"digits\", \"knd\": \"model\"}", "it has no field `knd`"),
        ("{\"fits\": {\"inptu\": null}} x", "line 1 column"),
        ("{\"fits\": {\"inptu\": null}}", "`fits.inptu`"),
    ] {
        let answer = raw::post_json(address, "/api/v1/search", body).await;
        assert_eq!(raw::status(&answer), 400, "{body}");
        let message = raw::json(&answer)["message"].to_string();
        assert!(message.contains(place), "{body}: {message}");
    }
}

#[tokio::test]
async fn a_body_over_its_bound_is_refused_and_the_refusal_arrives() {
    let gateway = Running::start(None).await;
    let query = Query { text: Some("x".repeat(17 * 1024 * 1024)), ..Query::default() };
    let error = gateway.client().search(&query).await.unwrap_err();
    assert_eq!(error.code(), Some("body_too_large"), "{error:?}");
    // Chunked: the length is not announced.
    let body = format!("1100000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x110_0000));
    let head = "POST /api/v1/search HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = raw::exchange(gateway.address, &format!("{head}{body}")).await;
    assert_eq!(raw::status(&answer), 413);
}

#[tokio::test]
async fn media_types_that_pages_can_send_are_refused() {
    let address = Running::start(None).await.address;
    for (path, sent) in [
        ("/api/v1/search", "text/plain"),
        ("/api/v1/search", "application/x-www-form-urlencoded"),
        ("/api/v1/blobs", "multipart/form-data; boundary=x"),
        ("/api/v1/blobs", "application/json"),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: {sent}\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        assert_eq!(raw::status(&raw::exchange(address, &head).await), 415, "{path} {sent}");
    }
    let body = "POST /api/v1/search HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                content-type: Application/JSON; charset=utf-8\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(raw::status(&raw::exchange(address, body).await), 200);
}

#[tokio::test]
async fn forged_hosts_and_origins_are_refused() {
    let address = Running::start(None).await.address;
    for (headers, expected) in [
        ("host: localhost\r\n", 200),
        ("host: LOCALHOST:7480\r\n", 200),
        ("host: 127.0.0.1\r\n", 200),
        ("host: [::1]:80\r\n", 200),
        ("host: localhost\r\norigin: http://localhost\r\n", 200),
        ("", 400),
        ("host: \r\n", 400),
        ("host: localhost\r\nhost: evil.example\r\n", 400),
        ("host: localhost\r\nhost: localhost\r\n", 400),
        ("host: evil@localhost\r\n", 400),
        ("host: evil.example\r\n", 403),
        ("host: evil.example:7480\r\n", 403),
        ("host: localhost.evil.example\r\n", 403),
        ("host: 127.0.0.1.evil.example\r\n", 403),
        ("host: 192.168.0.1\r\n", 403),
        ("host: 0.0.0.0\r\n", 403),
        ("host: localhost\r\norigin: http://evil.example\r\n", 403),
        ("host: localhost\r\norigin: null\r\n", 403),
        ("host: localhost\r\norigin: http://localhost:1\r\n", 403),
        ("host: localhost\r\norigin: http://localhost.evil.example\r\n", 403),
    ] {
        let answer = raw::get(address, "/api/v1/status", headers).await;
        assert_eq!(raw::status(&answer), expected, "{headers:?}: {answer}");
    }
    let absolute = "GET http://evil.example/healthz HTTP/1.1\r\nhost: localhost\r\n\
                    connection: close\r\n\r\n";
    assert_eq!(raw::status(&raw::exchange(address, absolute).await), 400);
}

#[tokio::test]
async fn with_a_token_only_its_bearers_and_health_checks_are_answered() {
    let gateway = Running::start(Some("secret")).await;
    let error = gateway.client().status().await.unwrap_err();
    assert!(matches!(error, Error::Api { status: 401, .. }), "{error}");
    let error = gateway.client().upload_bytes(vec![0; 4 << 20]).await.unwrap_err();
    assert_eq!(error.code(), Some("token_required"), "{error:?}");
    let wrong = Client::with_token(&gateway.url(), "secreT").unwrap();
    assert!(matches!(wrong.status().await, Err(Error::Api { status: 401, .. })));
    let right = Client::with_token(&gateway.url(), "secret").unwrap();
    right.status().await.unwrap();
    for (path, expected) in [("/healthz", 200), ("/metrics", 401), ("/api/v1/nothing", 401)] {
        let answer = raw::get(gateway.address, path, "host: localhost\r\n").await;
        assert_eq!(raw::status(&answer), expected, "{path}");
        assert_eq!(answer.contains("www-authenticate: Bearer"), expected == 401);
    }
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_show_the_node() {
    let gateway = Running::start(None).await;
    let client = gateway.client();
    client.status().await.unwrap();
    client.status().await.unwrap();
    client.run(RunId(Hash::of(b"no"))).await.unwrap_err();
    raw::get(gateway.address, "/made/up/path", "host: localhost\r\n").await;
    let text = raw::get(gateway.address, "/metrics", "host: localhost\r\n").await;
    for line in [
        "guild_http_requests_total{method=\"GET\",route=\"/api/v1/status\",status=\"200\"} 2",
        "guild_http_requests_total{method=\"GET\",route=\"/api/v1/runs/{id}\",status=\"404\"} 1",
        "guild_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 1",
        "guild_listings 5",
        "guild_jobs 1",
        "guild_stale_seconds 0",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("made/up"), "clients cannot make labels");
}

#[tokio::test]
async fn shutdown_lets_an_answer_end_and_then_the_port_is_free() {
    let gateway = Running::start(None).await;
    let client = gateway.client();
    client.status().await.unwrap();
    gateway.shutdown.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), gateway.ended).await;
    ended.expect("idle connections do not hold it up").unwrap().unwrap();
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert_eq!(error.help().unwrap(), "guild up");
}

#[tokio::test]
async fn a_panic_in_the_node_ends_the_gateway_with_a_reason() {
    let gateway = Running::start(None).await;
    let query = Query { text: Some("panic".into()), ..Query::default() };
    gateway.client().search(&query).await.unwrap_err();
    let ended = tokio::time::timeout(Duration::from_secs(5), gateway.ended).await;
    let error = ended.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, guildhall_gateway::ServeError::Panicked(_)), "{error}");
}
