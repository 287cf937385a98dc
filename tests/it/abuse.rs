//! What abuse costs a node, measured: not run with the others, since times are no matter of right and wrong. Each prints
//! a table:
//!
//! ```text
//! cargo test --workspace --no-run    # then, in node/, the binary of tests/it.rs:
//! it abuse:: --ignored --nocapture --test-threads 1
//! ```
#![allow(clippy::print_stdout, reason = "what is measured is read by a person")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use guildhall_testkit::hostile::{Deed, Hostile, Truth};
use guildhall_testkit::protocol::contract::Hardware;
use guildhall_testkit::protocol::wire::{OfferRequest, Request, Response};
use guildhall_testkit::protocol::{Hash, RunId};
use guildhall_testkit::{
    Node, Package, cpu_ms, holds_listings, http, lend, publish, publish_ok, stage,
};

use crate::lab;

/// Bombs that are published at once.
const BOMBS: usize = 50;

/// Requests whose latency is taken, before and meanwhile.
const LOOKS: usize = 400;

/// How long an endpoint is asked, at least: processor time is counted in hundredths of a second.
const ASKED: Duration = Duration::from_millis(1_500);

/// One loop around a ladder of if-blocks, each setting four of as many locals: it takes a compiler far longer than its
/// length says. `seed` makes it another module.
fn bomb(rungs: usize, seed: usize) -> String {
    let mut body = format!("(local.set 0 (i32.const {seed}))");
    for rung in 0..rungs {
        let set = |n: usize| {
            let (to, from) = ((rung * 4 + n) % rungs, (rung * 7 + n * 13) % rungs);
            format!("(local.set {to} (local.get {from}))")
        };
        let sets: String = (0..4).map(set).collect();
        let _infallible = write!(body, "(if (local.get {rung}) (then {sets}))");
    }
    let locals = "i32 ".repeat(rungs);
    format!(
        r#"(module (memory (export "memory") 1)
            (func (export "_start") (local {locals}) (loop {body} (br 0))))"#
    )
}

fn a_bomb(seed: usize) -> Package {
    let package = Package::stage(&format!("bomb-{seed}"), &bomb(4_000, seed));
    package.contract(5_000, 1 << 24, 60_000)
}

/// The latency of so many cheap requests, sorted.
async fn latencies(node: &Node) -> Vec<Duration> {
    let mut all = Vec::new();
    for _ in 0..LOOKS {
        let begun = Instant::now();
        node.client().status().await.expect("it answers");
        all.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    all.sort_unstable();
    all
}

fn told(what: &str, all: &[Duration]) -> f64 {
    let at = |percent: usize| all[(all.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!("{what}: p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms", at(50), at(99), at(100));
    at(99)
}

/// ```text
///   fifty clients ──publish bombs──▶ lab-a ◀──status── one client
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for a minute"]
async fn t17_latency_of_the_api_while_fifty_compile_bombs_are_published() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let folders: Vec<_> = (0..BOMBS).map(|seed| lab.write(&a_bomb(seed))).collect();
    latencies(&a).await;
    let idle = told("idle", &latencies(&a).await);
    let local = tokio::task::LocalSet::new();
    let attack = async {
        let mut publishing = tokio::task::JoinSet::new();
        for folder in folders {
            let client = guildhall_testkit::client::Client::new(&a.ready().api).expect("a client");
            publishing.spawn_local(async move {
                let published = publish(&client, &folder).await;
                published.map(drop).map_err(|error| error.to_string())
            });
        }
        let busy = told("with bombs", &latencies(&a).await);
        println!("p99 {:.1} times as long", busy / idle);
        let (mut over, mut why) = (0, String::new());
        while let Some(published) = publishing.try_join_next() {
            over += 1;
            why = published.expect("it does not panic").expect_err("a bomb is not published");
        }
        println!("{over} of {BOMBS} bombs were over by then, the last: {why}");
    };
    local.run_until(attack).await;
}

/// A row of the table: what a request costs the node that answers.
fn row(what: &str, count: u32, cpu_ms: u64, client_bytes: usize, answer_bytes: usize) {
    let each = cpu_ms as f64 / f64::from(count);
    let per_kib = each * 1024.0 / client_bytes.max(1) as f64;
    println!("| {what} | {client_bytes} | {answer_bytes} | {each:.3} | {per_kib:.2} |");
}

/// Asks for as long as it takes to tell, and prints the row.
async fn measure<F: Future<Output = (usize, usize)>>(
    what: &str,
    node: &Node,
    ask: impl Fn(u32) -> F,
) {
    let (mut count, mut sizes) = (0, (0, 0));
    let (begun, before) = (Instant::now(), cpu_ms(node));
    while begun.elapsed() < ASKED {
        sizes = ask(count).await;
        count += 1;
    }
    row(what, count, cpu_ms(node).saturating_sub(before), sizes.0, sizes.1);
}

/// ```text
///   lab-a (asked) ◀──HTTP── a client
///                 ◀──requests── lab-x (a member that plays)
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for two minutes"]
async fn t51_what_each_request_costs_for_a_byte_of_it() {
    let lab = lab();
    let [a, mut x] = lab.federation(["lab-a", "lab-x"]).await;
    for number in 0..200 {
        let category = ["vision/image-classification", "text/classification"][number % 2];
        let package = Package::data_in(&format!("data-{number:03}"), category);
        publish_ok(&a, &lab.write(&package.file("one.txt", format!("{number}")))).await;
    }
    let echo = Package::stage("echo", &stage::echo()).contract(5_000, 1 << 24, 60_000);
    let echo = publish_ok(&a, &lab.write(&echo)).await;
    lend(&a, 4, &[]).await;
    holds_listings(&[&a], 201).await;
    x.kill().await.expect("it is killed");
    println!("| request | its bytes | bytes of the answer | CPU ms | CPU ms a KiB of request |");
    println!("|---|---|---|---|---|");
    // The head of a request without options.
    let head = |route: &str| 60 + route.len();
    let queries =
        ["search?q=data%20classification", "show?ref=lab-a/data-001", "reviews?ref=lab-a/data-001"];
    for route in http::readable_routes().into_iter().chain(queries) {
        let a = &a;
        measure(&format!("GET {route}"), a, |_| async move {
            (head(route), http::fetch(a, route).await.1.len())
        })
        .await;
    }
    let posts: [(&str, &str, String); 6] = [
        ("search", "application/json", "{}".to_owned()),
        ("store/gc", "application/json", "{}".to_owned()),
        ("store/scrub", "application/json", "{}".to_owned()),
        ("store/reindex", "application/json", "{}".to_owned()),
        ("blobs/known", "application/json", "[]".to_owned()),
        (
            "listings/lab-a/echo/infer",
            "application/json",
            r#"{"inputs":{"in":{"base64":"eA=="}},"on":"local"}"#.to_owned(),
        ),
    ];
    for (route, media_type, body) in posts {
        let (a, body) = (&a, body.as_bytes());
        measure(&format!("POST {route}"), a, |_| async move {
            let (status, answer) = http::post(a, route, media_type, body).await;
            assert!(status < 500, "{route}: {status} {answer}");
            (head(route) + body.len(), answer.len())
        })
        .await;
    }
    let peer = Hostile::another_of(x.home(), 1, Truth::default(), Deed::Honest).await;
    peer.meet(&a).await;
    let heads = peer.ask(&a, &Request::Heads { after: None }).await.expect("heads");
    let Response::Heads(heads) = heads.2 else { panic!("{heads:?}") };
    let longest = heads.iter().max_by_key(|head| head.len).expect("a log").author;
    let offer = |number: u32| OfferRequest {
        run: RunId(Hash::of(&number.to_le_bytes())),
        stages: vec![echo.package_id],
        engines: vec!["wasm".to_owned()],
        memory_bytes: 1 << 24,
        hardware: Hardware::default(),
        isolation: 0,
        queue_ms: None,
        hold_ms: 0,
    };
    let asks: [(&str, &dyn Fn(u32) -> Request); 4] = [
        ("Heads", &|_| Request::Heads { after: None }),
        ("Pull", &|_| Request::Pull { author: longest, from_seq: 0 }),
        ("Query", &|_| Request::Query(Box::default())),
        ("Offer", &|number| Request::Offer(Box::new(offer(number)))),
    ];
    for (what, make) in asks {
        let (a, peer) = (&a, &peer);
        measure(&format!("peer: {what}"), a, |number| {
            let request = make(number);
            async move {
                let (asked, said, _) = peer.ask(a, &request).await.expect("it answers");
                (asked, said)
            }
        })
        .await;
    }
}
