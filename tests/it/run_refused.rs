//! Runs that are refused before anything is executed.

use guildhall_testkit::protocol::api::{RunInput, RunRequest, RunState};
use guildhall_testkit::{
    Lab, Node, NotYet, PATIENCE, Package, at_work, converge, holds_listings, lend, publish_ok,
    records, request, run, run_request, stage, start, waits,
};

use crate::lab;

/// Starts a run that must be refused; returns the stable word and everything said.
async fn refused(node: &Node, reference: &str, input: RunInput, on: &str) -> (String, String) {
    match node.client().start_run(&request(reference, input, on)).await {
        Err(guildhall_testkit::client::Error::Api { body, .. }) => {
            (body.code.clone(), format!("{} {}", body.message, body.details.join(" ")))
        }
        other => panic!("it was not refused in words: {other:?}"),
    }
}

async fn publish_echo(lab: &Lab, node: &Node) {
    let echo = Package::stage("echo", &stage::echo()).contract(5_000, 1 << 24, 60_000);
    publish_ok(node, &lab.write(&echo)).await;
}

/// ```text
///   lab-a (publishes; lends nothing)   lab-b (lends nothing) ◀──run── lab-c
/// ```
#[tokio::test]
async fn a_run_that_nobody_can_take_is_refused_with_each_reason() {
    let lab = lab();
    let [a, b, c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    publish_echo(&lab, &a).await;
    holds_listings(&[&b, &c], 1).await;

    let (code, said) = refused(&c, "lab-a/echo", records(["x"]), "nobody-here").await;
    assert_eq!(code, "no_executor");
    assert!(said.contains("nobody-here"), "{said}");
    let (code, said) = refused(&c, "lab-a/echo", records(["x"]), "lab-b").await;
    assert_eq!(code, "no_executor");
    assert!(said.contains("lab-b") && said.contains("lends no hardware"), "{said}");
    let stranger = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    let (code, said) = refused(&c, "lab-a/echo", records(["x"]), stranger).await;
    assert_eq!(code, "no_executor");
    assert!(said.contains(stranger), "{said}");

    // The command line says the same, with its exit code.
    let input = lab.path("input");
    std::fs::write(&input, "x").expect("the input is written");
    let input = input.to_str().expect("UTF-8");
    let cli = lab.cli(c.home());
    let said = cli.fails(4, ["run", "lab-a/echo", "--input", input, "--on", "lab-b"]).await;
    assert!(said.contains("lends no hardware"));

    // Only to lab-a, so not to lab-c.
    lab.cli(b.home()).ok(["node", "offer", "--to", "lab-a"]).await;
    let known = converge(PATIENCE, "c hears of the offer", async || {
        let (_, said) = refused(&c, "lab-a/echo", records(["x"]), "lab-b").await;
        said.contains("does not lend to lab-c").then_some(()).ok_or_else(|| NotYet::saw(said))
    });
    known.await.unwrap_or_else(|error| panic!("{error}"));

    // Its own hardware is there for its own runs, lent or not.
    let own = run(&c, "lab-a/echo", ["x"], "auto").await;
    assert_eq!(own.state, RunState::Completed, "{:?}", own.failure);
    assert_eq!(own.executed_on.expect("somebody did it").peer_id, c.ready().peer_id);
}

/// ```text
///   lab-a (publishes, executes its own)
/// ```
#[tokio::test]
async fn input_of_another_type_is_refused_before_anything_runs() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let four = "{ tensor = { dtype = \"f32\", dims = [4] } }";
    let floats = Package::typed_stage("floats", &stage::echo(), four, four);
    publish_ok(&a, &lab.write(&floats.contract(5_000, 1 << 24, 60_000))).await;
    let texts = Package::data("texts")
        .table("[[interface.outputs]]\nname = \"line\"\ntype = \"text\"")
        .table("[records]\nport = \"line\"\nfolder = \"records\"")
        .file("records/1.txt", "one");
    publish_ok(&a, &lab.write(&texts)).await;
    let bare = Package::data("bare").files(1, 10, 1);
    publish_ok(&a, &lab.write(&bare)).await;

    let package =
        |name: &str| RunInput::Package(format!("lab-a/{name}").parse().expect("a reference"));
    let (code, said) = refused(&a, "lab-a/floats", package("texts"), "local").await;
    assert_eq!(code, "ports_do_not_fit");
    for word in ["lab-a/texts", "text", "`in`", "tensor"] {
        assert!(said.contains(word), "`{word}`: {said}");
    }
    let (_, said) = refused(&a, "lab-a/floats", package("bare"), "local").await;
    assert!(said.contains("declares no records"), "{said}");
    let (_, said) = refused(&a, "lab-a/floats", records(Vec::<Vec<u8>>::new()), "local").await;
    assert!(said.contains("1 to"), "{said}");
    let (_, said) = refused(&a, "lab-a/texts", records(["x"]), "local").await;
    assert!(said.contains("lab-a/texts"), "{said}");

    // A value's length shows only when it arrives; that is the input's fault, and the next run is none the worse.
    let short = run(&a, "lab-a/floats", [&[0_u8; 12][..]], "local").await;
    assert_eq!(short.failure.expect("it fails").cause, "bad_input");
    let good = run(&a, "lab-a/floats", [&[0_u8; 16][..]], "local").await;
    assert_eq!(good.state, RunState::Completed, "{:?}", good.failure);
    assert!(a.client().runs().await.expect("runs").len() == 2, "what was refused is no run");
}

/// ```text
///   lab-a (publishes)   lab-b (one slot) ◀──run── lab-c
///                                        ◀──run── lab-a
/// ```
#[tokio::test]
async fn when_every_slot_is_taken_the_run_fails_with_that_reason() {
    let lab = lab();
    let [a, b, c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    lend(&b, 1, &[&a, &c]).await;
    let endless = Package::stage("endless", &stage::endless()).contract(60_000, 1 << 24, 1_000);
    publish_ok(&a, &lab.write(&endless)).await;
    publish_echo(&lab, &a).await;
    holds_listings(&[&b, &c], 2).await;

    start(&c, &request("lab-a/endless", records(["x"]), "lab-b")).await;
    at_work(&b).await;
    let wanted = request("lab-a/echo", records(["x"]), "lab-b");
    let report = run_request(&a, &RunRequest { limits: waits(500), ..wanted }).await;
    let failure = report.failure.expect("there is no room");
    assert_eq!(failure.cause, "no_executor");
    assert!(failure.message.contains("all 1 slots are taken"), "{}", failure.message);
    assert_eq!(b.client().status().await.expect("it answers").jobs, 1);
}
