//! P13: requests a second to a small classifier, beside MLServer with the same classifier.
//!
//! Both are asked by the same client on this machine, over connections that stay open, by turns, with the same body: the
//! Open Inference Protocol's JSON for one picture of 64 numbers. Ours is asked with its own API too. A request to ours
//! is a job: it is placed, scored by a worker in its jail, and leaves a receipt signed by two keys.

use std::path::Path;
use std::time::Duration;

use guildhall_launch::Node;
use guildhall_protocol::name::Reference;
use serde_json::json;
use tokio::process::Child;

use super::lab::{self, Code, Stage};
use super::load::{Load, Request};
use super::{Failed, failed, python};
use crate::bench::Bench;
use crate::bench::figures::{Row, Samples};
use crate::bench::programs;

/// Trains the classifier, writes it for both.
const PREPARE: &str = include_str!("peers/serving.py");

/// Connections that ask at once.
const CONNECTIONS: [usize; 2] = [1, 8];

/// How often each server is asked, and for how long.
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(5);

/// How long MLServer may take until it answers.
const STARTED_MAX: Duration = Duration::from_secs(60);

/// The classifier's ports, as a description writes them.
const PICTURE: &str = "{ tensor = { dtype = \"f32\", dims = [64] } }";
const DIGIT: &str = "{ prediction = { value = \"class\", labels = [\"0\", \"1\", \"2\", \"3\", \"4\", \"5\", \
                     \"6\", \"7\", \"8\", \"9\"] } }";

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>, Failed> {
    let network = lab::network(bench, 1).await?;
    let [node] = network.nodes() else { return Ok(Vec::new()) };
    lab::lend(node, 2, node).await?;
    let folder = network.folder().join("mlserver");
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let prepared = prepare(&bench.settings.python, &folder).await;
    let peer = match &prepared {
        Ok(port) => MlServer::start(&bench.settings.python, &folder, *port).await,
        Err(why) => Err(why.clone()),
    };
    let reference = publish(node, &folder, network.folder()).await?;
    let servers = servers(node, &reference, peer.as_ref()).await;
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        rows.extend(ask(bench, &servers, connections).await);
    }
    if let Ok(server) = peer {
        programs::end(server.child).await?;
    }
    network.stop().await;
    Ok(rows)
}

/// Writes the classifier and MLServer's settings; the port that it will have.
async fn prepare(python: &Path, folder: &Path) -> Result<u16, String> {
    let mut command = python::script(python, PREPARE);
    command.arg(folder);
    let mut first = None;
    for _ in 0..3 {
        let port = programs::free_port().map_err(|error| error.to_string())?;
        command.arg(port.to_string());
        first = first.or(Some(port));
    }
    let missing = |why| format!("no classifier from {}: {why}", python.display());
    programs::timed(command).await.map_err(missing)?;
    first.ok_or_else(|| "no port is free".to_owned())
}

/// Publishes the classifier; where it could not be made, that of the examples, which is about as large.
async fn publish(node: &Node, made: &Path, folder: &Path) -> Result<Reference, Failed> {
    let made = made.join("model.onnx");
    if !made.is_file() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/model");
        return Ok(crate::network::publish(node, &example).await?.reference);
    }
    let stage = Stage {
        name: "digits",
        input: PICTURE,
        output: DIGIT,
        scoring_ms: 10_000,
        memory_bytes: 64 << 20,
        batch_max: 64,
        code: Code::Graph { file: &made, output: "probabilities", engine: None },
    };
    stage.publish(node, folder).await
}

/// Who is asked what, or why not: our face for the protocol, our own API, MLServer.
struct Servers {
    face: Result<Request, String>,
    own: Request,
    peer: Result<Request, String>,
}

async fn servers(node: &Node, reference: &Reference, peer: Result<&MlServer, &String>) -> Servers {
    let picture: Vec<f32> = (0..64_u8).map(|at| f32::from(at % 17) / 16.0).collect();
    // The example's port has another name than that of the classifier made here.
    let port = if reference.to_string().contains("digits-mlp") { "pixels" } else { "x" };
    let body = |name: &str| {
        let input = json!({ "name": name, "shape": [1, 64], "datatype": "FP32", "data": picture });
        json!({ "inputs": [input] }).to_string()
    };
    let api = node.ready().api.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let own = json!({ "inputs": picture, "on": "local" }).to_string();
    let path = format!("/oip/v2/models/{reference}/infer");
    let face = Request::post(&api, &path, &body(port));
    let peer = peer
        .map_err(Clone::clone)
        .map(|server| Request::post(&server.address, "/v2/models/digits/infer", &body("predict")));
    Servers {
        face: face.once().await.map(|_| face).map_err(|why| first_line(&why)),
        own: Request::post(&api, &format!("/api/v1/listings/{reference}/infer"), &own),
        peer,
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(120).collect()
}

async fn ask(bench: &Bench, servers: &Servers, connections: usize) -> Vec<Row> {
    let lasting = if bench.settings.quick { Duration::from_millis(200) } else { ROUND };
    let requests = [servers.face.as_ref(), Ok(&servers.own), servers.peer.as_ref()];
    let mut loads = requests.map(|request| request.map(|_| Load::default()).map_err(Clone::clone));
    // The first round does not count: code is loaded, pools are filled.
    for round in 0..=bench.count(ROUNDS, 1) {
        for (request, load) in requests.iter().zip(&mut loads) {
            let (Ok(request), Ok(sum)) = (request, &mut *load) else { continue };
            let mut one = Load::default();
            match one.add(request, connections, lasting).await {
                Ok(()) if round > 0 => {
                    sum.per_second.extend(one.per_second);
                    sum.took_ms.extend(one.took_ms);
                }
                Ok(()) => {}
                Err(why) => *load = Err(first_line(&why)),
            }
        }
    }
    let [face, own, peer] = loads;
    let plural = if connections == 1 { "" } else { "s" };
    let asked = format!("{connections} connection{plural}");
    let mut rows = Vec::new();
    for (what, ours) in [("Open Inference Protocol", &face), ("the node's own API", &own)] {
        let of = |load: &Result<Load, String>, part: fn(&Load) -> &Samples| {
            load.as_ref().map(|load| part(load).clone()).map_err(Clone::clone)
        };
        let rate = |load: &_| of(load, |load| &load.per_second);
        let time = |load: &_| of(load, |load| &load.took_ms);
        let text = format!("{what}, {asked}; peer: MLServer");
        let row = Row::of_measured("P13", text, &rate(ours), "requests/s");
        rows.push(row.beside(&rate(&peer)).with_goal(">= 5"));
        let text = format!("{what}, {asked}, p99; peer: MLServer");
        let row = match time(ours) {
            Ok(times) => Row::at(0.99, "P13", text, &times, "ms"),
            missing => Row::of_measured("P13", text, &missing, "ms"),
        };
        rows.push(row.beside_at(0.99, &time(&peer)).with_goal("< 1"));
    }
    rows
}

/// A running MLServer.
struct MlServer {
    child: Child,
    address: String,
}

impl MlServer {
    async fn start(python: &Path, folder: &Path, port: u16) -> Result<Self, String> {
        let program = python.with_file_name("mlserver");
        let program = if program.is_file() { program } else { programs::find("mlserver")? };
        let mut command = programs::command(program);
        command.arg("start").arg(folder).current_dir(folder);
        let child = command.spawn().map_err(|error| format!("no MLServer: {error}"))?;
        let server = Self { child, address: format!("127.0.0.1:{port}") };
        let body = json!({ "inputs": [{
            "name": "predict", "shape": [1, 64], "datatype": "FP32", "data": vec![0.5; 64],
        }] });
        let request = Request::post(&server.address, "/v2/models/digits/infer", &body.to_string());
        let trying = async {
            while request.once().await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(STARTED_MAX, trying)
            .await
            .map_err(|_| "MLServer does not answer".to_owned())?;
        Ok(server)
    }
}
