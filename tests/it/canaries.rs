//! T26: what goes into a run and comes out of it is nowhere but with the requester and in the executor's workers: not in
//! what others hear, log, list, sign or answer, and not on the executor's disk.

use guildhall_testkit::canary::{Search, canary};
use guildhall_testkit::protocol::api::{InferRequest, RunState};
use guildhall_testkit::{
    Lab, Node, Package, holds_listings, http, lend, publish_ok, records, request, run_request,
    stage,
};
use serde_json::json;

use crate::lab;

/// Runs, unless `GUILDHALL_CANARY_RUNS` says otherwise.
const RUNS: usize = 50;

/// What some routes are asked.
const QUERIES: [&str; 3] = ["search?q=leaky", "show?ref=lab-a/leaky", "reviews?ref=lab-a/leaky"];

fn runs() -> usize {
    let asked = std::env::var("GUILDHALL_CANARY_RUNS").ok();
    asked.map_or(RUNS, |count| count.parse().expect("a number of runs"))
}

/// Ends in the way that the first byte of its input names, having said all of it wherever it can.
fn leaky() -> String {
    let when = |letter: char, then: &str| {
        let letter = u32::from(letter);
        format!("(if (i32.eq (i32.load8_u (i32.const 1024)) (i32.const {letter})) (then {then}))")
    };
    let say = "(call $to (i32.const 2) (i32.const 1024) (local.get $len))";
    let ways = [
        when('x', &format!("{say} (call $exit (i32.const 7))")),
        when('t', &format!("{say} unreachable")),
        when('o', "(loop (call $to (i32.const 1) (i32.const 1024) (local.get $len)) (br 0))"),
        when('l', &format!("{say} (loop (br 0))")),
    ];
    stage::command(&format!(
        "{} (call $to (i32.const 1) (i32.const 1024) (local.get $len))",
        ways.join("\n")
    ))
}

/// Hits in the answers of a node: `also` are further routes.
async fn answers(search: &Search, node: &Node, also: &[String]) -> Vec<String> {
    let mut hits = Vec::new();
    let all = http::readable_routes().into_iter().chain(QUERIES);
    for route in all.chain(also.iter().map(String::as_str)) {
        let (_, answer) = http::fetch(node, route).await;
        if let Some(encoding) = search.bytes(&answer) {
            hits.push(format!("{route}: {encoding}"));
        }
    }
    hits
}

/// Hits wherever there must be none.
async fn leaks(
    lab: &Lab,
    search: &Search,
    others: [&Node; 2],
    requester: &Node,
    runs: &[String],
) -> Vec<String> {
    let mut hits = Vec::new();
    for node in others {
        let found = search.files(node.home());
        hits.extend(found.into_iter().map(|(path, how)| format!("{}: {how}", path.display())));
        let also = runs
            .iter()
            .flat_map(|run| ["", "/outputs", "/receipt"].map(|what| format!("runs/{run}{what}")));
        let also: Vec<_> = also.collect();
        hits.extend(answers(search, node, &also).await);
    }
    // What the requester's own node says to whoever may hear it.
    let log = std::fs::read(requester.log()).expect("it logs");
    assert!(log.len() > 10_000, "everything is logged: {} bytes", log.len());
    hits.extend(search.bytes(&log).map(|how| format!("the requester's log: {how}")));
    for run in runs {
        let (_, receipt) = http::fetch(requester, &format!("runs/{run}/receipt")).await;
        hits.extend(search.bytes(&receipt).map(|how| format!("receipt of {run}: {how}")));
    }
    let listing = lab.cli(requester.home()).ok(["show", "lab-a/leaky"]).await;
    hits.extend(search.bytes(listing.as_bytes()).map(|how| format!("the listing: {how}")));
    hits
}

/// ```text
///   lab-a (publishes, listens)   lab-b (lends) ◀──secrets── lab-c
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t26_no_input_is_found_with_anybody_who_was_not_to_have_it() {
    let lab = lab();
    let [a, b, c] = lab.federation_logging(["lab-a", "lab-b", "lab-c"], "debug").await;
    lend(&b, 1, &[&c]).await;
    publish_ok(&a, &lab.write(&Package::stage("leaky", &leaky()).contract(150, 1 << 24, 1_000)))
        .await;
    let four = "{ tensor = { dtype = \"f32\", dims = [4] } }";
    let typed = Package::typed_stage("typed", &stage::echo(), four, four);
    publish_ok(&a, &lab.write(&typed.contract(1_000, 1 << 24, 1_000))).await;
    holds_listings(&[&b, &c], 2).await;
    let search = Search::default();
    let (mut ids, mut came) = (Vec::new(), 0);
    for number in 0..runs() {
        let secret = canary(number);
        if number % 10 == 9 {
            // Refused with words about what was sent.
            let inputs = Some(json!({ "in": [1, 2, secret], secret.as_str(): 4 }));
            let asked = InferRequest { inputs, ..InferRequest::default() };
            let typed = "lab-a/typed".parse().expect("a reference");
            c.client().infer(&typed, &asked).await.expect_err("it is not what the port takes");
            continue;
        }
        let ways = ["echo", "x", "t", "o", "echo", "echo", "l", "x", "echo"];
        let way = ways[number % ways.len()];
        let input = records([format!("{way}{secret}"), secret.clone(), secret]);
        let report = run_request(&c, &request("lab-a/leaky", input, "lab-b")).await;
        assert_ne!(report.state, RunState::Interrupted);
        assert!(!report.receipts.is_empty(), "{report:?}\n{}", c.log_tail());
        came += report.records - report.failed;
        ids.push(report.run_id.to_string());
    }
    assert!(came as usize >= runs(), "most records are scored: {came}");
    let hits = leaks(&lab, &search, [&a, &b], &c, &ids).await;
    assert_eq!(hits, Vec::<String>::new());

    // The controls: the same search finds what is there, and what is put there.
    assert!(!search.files(c.home()).is_empty(), "the requester has its own input and outputs");
    let outputs = http::fetch(&c, &format!("runs/{}/outputs", ids[0])).await.1;
    assert!(search.bytes(&outputs).is_some(), "and is answered with them");
    let planted = data_encoding::BASE64.encode(format!("a{}", canary(1)).as_bytes());
    std::fs::write(b.home().join("store/leak"), &planted).expect("the home is ours");
    let hex = data_encoding::HEXUPPER.encode(canary(2).as_bytes());
    let logged = std::fs::read_to_string(c.log()).expect("it logs") + &hex;
    std::fs::write(c.log(), logged).expect("the home is ours");
    let hits = leaks(&lab, &search, [&a, &b], &c, &[]).await;
    assert!(
        hits.len() == 2 && hits[0].contains("store/leak") && hits[1].contains("log"),
        "{hits:?}"
    );
}
