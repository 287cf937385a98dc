//! Single records in one request: scored in sessions that stay open, each request with its own answer.

use std::time::{Duration, Instant};

use guildhall_testkit::protocol::api::{InferAnswer, InferRecord, InferRequest};
use guildhall_testkit::protocol::name::Reference;
use guildhall_testkit::{
    Lab, Node, Package, at_rest, at_work, holds_listings, lend, publish_ok, stage, waits,
};
use serde_json::{Value, json};

use crate::lab;

const FOUR: &str = "{ tensor = { dtype = \"f32\", dims = [4] } }";

/// Requests at once, enough to need more than one session.
const CROWD: usize = 60;

async fn publish_same(lab: &Lab, producer: &Node) -> Reference {
    let package = Package::typed_stage("same", &stage::echo(), FOUR, FOUR);
    publish_ok(producer, &lab.write(&package.contract(5_000, 1 << 24, 1_000))).await;
    "lab-a/same".parse().expect("a reference")
}

fn one(inputs: Value) -> InferRequest {
    InferRequest { inputs: Some(inputs), ..InferRequest::default() }
}

fn four(first: usize) -> Value {
    json!([first, 0, 0, 0])
}

fn first_value(answer: &InferAnswer) -> f64 {
    let outputs = answer.outputs.as_ref().expect("one record");
    outputs.values().next().and_then(|value| value.pointer("/0")?.as_f64()).expect("a number")
}

/// ```text
///   lab-a (publishes)   lab-b (lends) ◀──infer── lab-c
/// ```
#[tokio::test]
async fn a_model_answers_single_requests_and_says_which_port_is_wrong() {
    let lab = lab();
    let [a, b, c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    lend(&b, 1, &[&c]).await;
    let four = "{ tensor = { dtype = \"f32\", dims = [4] } }";
    let package = Package::typed_stage("same", &stage::echo(), four, four);
    publish_ok(&a, &lab.write(&package.contract(5_000, 1 << 24, 1_000))).await;
    holds_listings(&[&b, &c], 1).await;
    let reference = "lab-a/same".parse().expect("a reference");
    let infer = async |request: InferRequest| c.client().infer(&reference, &request).await;

    let one = InferRequest { inputs: Some(json!([1, 2.5, -3, 0.1])), ..InferRequest::default() };
    let answer = infer(one).await.expect("it is scored");
    let outputs = answer.outputs.expect("one record");
    let values: Vec<_> = outputs.into_values().collect();
    assert_eq!(values, [json!([1.0, 2.5, -3.0, 0.1])]);
    assert_eq!(answer.executed_on.expect("by b").org.as_str(), "lab-b");
    assert!(c.client().run_receipt(answer.run_id).await.is_ok(), "its receipt stays");
    assert!(c.client().runs().await.expect("c answers").is_empty(), "and nothing else");

    let several = vec![json!([1, 2, 3, 4]), json!([5, 6, 7, 8])];
    let several = InferRequest { records: Some(several), ..InferRequest::default() };
    assert_eq!(infer(several).await.expect("it is scored").records.len(), 2);

    for (inputs, says) in [
        (json!([1, 2, 3]), "4"),
        (json!([1, 2, 3, "x"]), "/3"),
        (json!({ "out": [1, 2, 3, 4] }), "out"),
    ] {
        let request = InferRequest { inputs: Some(inputs.clone()), ..InferRequest::default() };
        let error = infer(request).await.expect_err("it is not what the port takes");
        assert_eq!(error.code(), Some("bad_input"), "{inputs}: {error}");
        assert!(error.to_string().contains(says), "{inputs}: {error}");
    }
    let nothing = infer(InferRequest::default()).await.expect_err("nothing is given");
    assert_eq!(nothing.code(), Some("bad_input"));
}

/// ```text
///   lab-a (publishes)   lab-b (lends) ◀──infer── lab-c
/// ```
#[tokio::test]
async fn requests_share_a_session_whose_receipt_stands_for_all_of_them() {
    let lab = lab();
    let [a, b, c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    lend(&b, 2, &[&c]).await;
    let reference = publish_same(&lab, &a).await;
    holds_listings(&[&b, &c], 1).await;
    let client = c.client();
    let first = client.infer(&reference, &one(four(0))).await.expect("it is scored");
    let before = Instant::now();
    for number in 1..10 {
        let answer = client.infer(&reference, &one(four(number))).await.expect("it is scored");
        assert_eq!(first_value(&answer), number as f64);
        // On a machine that was stopped in the middle, a session may be over.
        if before.elapsed() < Duration::from_secs(4) {
            assert_eq!(answer.run_id, first.run_id);
        }
    }
    at_work(&b).await;
    let last = client.infer(&reference, &one(four(10))).await.expect("it is scored");
    // Who asks for the receipt ends the session, and does not wait until nobody asks any more.
    let receipt = client.run_receipt(last.run_id).await.expect("it is there");
    let (_, jobs) = receipt.verify().expect("both have signed");
    let records: Vec<_> = jobs.iter().map(|job| job.records).collect();
    if last.run_id == first.run_id {
        assert_eq!(records, [11]);
    }
    at_rest(&b).await;

    let again = client.infer(&reference, &one(four(3))).await.expect("it is scored");
    assert_ne!(again.run_id, last.run_id, "another session");
    let workers = b.client().lending().await.expect("it answers").workers;
    assert!(workers.from_warm >= 1, "the worker was kept: {workers:?}");
    assert!(client.runs().await.expect("c answers").is_empty());
}

/// ```text
///   lab-a (publishes, lends to itself only) ◀──60 requests at once
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_requests_gets_an_answer_each() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let reference = publish_same(&lab, &a).await;
    let requests = (0..CROWD).map(|number| {
        let (client, reference) = (a.client(), reference.clone());
        async move {
            let request = match number % 3 {
                0 => InferRequest {
                    records: Some(vec![four(number), four(number + 1)]),
                    ..InferRequest::default()
                },
                _ => one(four(number)),
            };
            (number, client.infer(&reference, &request).await.expect("it is scored"))
        }
    });
    for (number, answer) in futures::future::join_all(requests).await {
        if number % 3 != 0 {
            assert_eq!(first_value(&answer), number as f64);
            continue;
        }
        let firsts = answer.records.iter().map(|end| match end {
            InferRecord::Outputs(outputs) => {
                outputs.values().next().and_then(|value| value.pointer("/0")?.as_f64())
            }
            InferRecord::Failed(failed) => panic!("{failed:?}"),
        });
        assert_eq!(firsts.collect::<Vec<_>>(), [Some(number as f64), Some(number as f64 + 1.0)]);
    }
}

/// ```text
///   lab-a (publishes)   lab-b (lends, killed) ◀──infer── lab-c
/// ```
#[tokio::test]
async fn a_session_that_is_cut_off_costs_no_answer() {
    let lab = lab();
    let [a, mut b, c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    lend(&a, 1, &[&c]).await;
    lend(&b, 1, &[&c]).await;
    let reference = publish_same(&lab, &a).await;
    holds_listings(&[&b, &c], 1).await;
    let client = c.client();
    let on_b = InferRequest { on: "lab-b".parse().expect("a place"), ..one(four(1)) };
    let answer = client.infer(&reference, &on_b).await.expect("it is scored");
    assert_eq!(answer.executed_on.expect("by b").org.as_str(), "lab-b");
    b.kill().await.expect("it is killed");
    let lost = client.infer(&reference, &InferRequest { limits: waits(500), ..on_b.clone() }).await;
    assert!(lost.is_err(), "only b was asked for");
    let answer = client.infer(&reference, &one(four(2))).await.expect("another does it");
    assert_eq!(first_value(&answer), 2.0);

    b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    lend(&b, 1, &[&c]).await;
    let found =
        guildhall_testkit::converge(
            guildhall_testkit::PATIENCE,
            "b is back",
            async || match client.infer(&reference, &on_b).await {
                Ok(answer) => Ok(answer),
                Err(error) => Err(guildhall_testkit::NotYet::saw(error.to_string())),
            },
        );
    found.await.unwrap_or_else(|error| panic!("{error}"));
}

/// ```text
///   lab-a (publishes and runs a stage that does what its input says)
/// ```
#[tokio::test]
async fn a_record_that_fails_fails_alone_and_is_called_by_its_place_in_the_request() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let moody = Package::typed_stage("moody", &stage::moody(), "\"text\"", FOUR);
    publish_ok(&a, &lab.write(&moody.contract(500, 1 << 24, 1_000))).await;
    let reference = "lab-a/moody".parse().expect("a reference");
    let client = a.client();
    for _ in 0..2 {
        let request = InferRequest {
            records: Some(vec![json!("good"), json!("trap"), json!("again")]),
            ..InferRequest::default()
        };
        let answer = client.infer(&reference, &request).await.expect("it is answered");
        let ends = answer.records.iter().map(|end| match end {
            InferRecord::Outputs(_) => "out",
            InferRecord::Failed(failed) => failed.cause.as_str(),
        });
        assert_eq!(ends.collect::<Vec<_>>(), ["out", "trap", "out"]);
    }
    for (said, cause) in [("trap", "trap"), ("loop", "timeout"), ("wrong", "bad_output")] {
        let error = client.infer(&reference, &one(json!(said))).await.expect_err("it fails");
        assert_eq!(error.code(), Some(cause), "{error}");
        assert!(error.to_string().contains("record 0"), "{error}");
    }
    let good = client.infer(&reference, &one(json!("good"))).await;
    assert!(good.is_ok(), "a worker that was killed was replaced: {good:?}");
}

/// ```text
///   lab-a (publishes three stages and runs them in two slots)
/// ```
#[tokio::test]
async fn a_session_that_nobody_asks_makes_room_for_another() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let client = a.client();
    let mut last = None;
    for name in ["one", "two", "three"] {
        let package = Package::typed_stage(name, &stage::echo(), FOUR, FOUR);
        publish_ok(&a, &lab.write(&package.contract(5_000, 1 << 24, 1_000))).await;
        let reference: Reference = format!("lab-a/{name}").parse().expect("a reference");
        let answer = client.infer(&reference, &one(four(1))).await.expect("it is scored");
        last = Some((reference, answer.run_id));
    }
    assert!(client.lending().await.expect("it answers").own_jobs <= 2);
    let (reference, run) = last.expect("three were asked");
    let began = Instant::now();
    let again = client.infer(&reference, &one(four(2))).await.expect("it is scored");
    if began.elapsed() < Duration::from_secs(4) {
        assert_eq!(again.run_id, run, "the third has a session, as the first two had");
    }
}
