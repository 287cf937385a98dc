//! P12: graphs through a node, beside onnxruntime in Python with the same graph and one thread.
//!
//! One record is a request to the API, in and out as base64 or JSON. Records by 32 are a run over a data package, since
//! so many pictures do not fit into one request: its time is that of the whole run for each record, and a second row
//! has what the executing node says that scoring took, without moving records in and out. How many records a call of the
//! engine had at last is up to the node; the row says how many calls there were.

use std::path::{Path, PathBuf};
use std::time::Instant;

use data_encoding::BASE64;
use guildhall_launch::Node;
use guildhall_protocol::api::{Placement, RunInput, RunReport, RunRequest, RunState};
use guildhall_protocol::name::Reference;
use serde_json::{Value, json};

use super::lab::{self, Code, Stage};
use super::models::{MODELS, Model};
use super::python::{self, OnnxRuntime};
use super::{Failed, failed};
use crate::bench::Bench;
use crate::bench::figures::{Row, Samples};

/// Requests of one record.
const REQUESTS: usize = 30;

/// Requests before the first that counts: the graph is loaded and optimised.
const WARM_UP: usize = 3;

/// Records of a call, and of a run.
const BATCH: usize = 32;
const RECORDS: usize = 256;

/// Runs.
const RUNS: usize = 3;

/// What the largest graph needs for its largest call, several times.
const MEMORY_BYTES: u64 = 4 << 30;

/// Engines: what they are called in rows, and in descriptions where they must be named.
const ENGINES: [(&str, Option<&str>, &str); 2] =
    [("onnx", None, "-"), ("onnxruntime", Some("onnxruntime"), "<= 1.05")];

/// Milliseconds of one engine with one graph.
#[derive(Clone, Debug, Default)]
struct Times {
    one: Samples,
    /// For each record of a run: as a whole, and as the executing node says.
    run: Samples,
    scoring: Samples,
    /// Records of a run for each call of the engine.
    call_records: f64,
    /// What came out for the first record.
    output: Vec<f32>,
}

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>, Failed> {
    let library = match &bench.settings.onnxruntime {
        Some(library) => Some(library.clone()),
        None => python::onnxruntime(&bench.settings.python).await,
    };
    // A node that has the library executes every graph with it, so each engine has a node of its own.
    let networks = [
        lab::network_with(bench, None).await?,
        lab::network_with(bench, library.as_deref()).await?,
    ];
    let nodes = networks.each_ref().map(|network| network.nodes().first());
    let [Some(built_in), Some(with_library)] = nodes else {
        return Err(failed("there is no node"));
    };
    let folder = built_in.home().with_file_name("graphs");
    std::fs::create_dir(&folder).map_err(failed)?;
    let mut rows = Vec::new();
    for model in &MODELS {
        let nodes = [built_in, with_library];
        rows.extend(Measuring::new(bench, nodes, model, &folder)?.rows().await?);
    }
    for network in networks {
        network.stop().await;
    }
    Ok(rows)
}

/// One model, written to files.
struct Measuring<'a> {
    bench: &'a Bench,
    /// One for each of [`ENGINES`].
    nodes: [&'a Node; 2],
    model: &'a Model,
    folder: PathBuf,
    graph: PathBuf,
    record: PathBuf,
}

impl<'a> Measuring<'a> {
    fn new(
        bench: &'a Bench,
        nodes: [&'a Node; 2],
        model: &'a Model,
        folder: &Path,
    ) -> Result<Self, Failed> {
        let graph = folder.join(format!("{}.onnx", model.name));
        let record = folder.join(format!("{}.record", model.name));
        std::fs::write(&graph, (model.write)()).map_err(failed)?;
        std::fs::write(&record, model.record(0)).map_err(failed)?;
        Ok(Self { bench, nodes, model, folder: folder.to_owned(), graph, record })
    }

    async fn rows(&self) -> Result<Vec<Row>, Failed> {
        let (dtype, dims) = self.model.dims();
        let python = &self.bench.settings.python;
        let mut peer = OnnxRuntime::start(python, &self.graph, &self.record, (dtype, &dims)).await;
        let theirs = match &mut peer {
            Ok(peer) => self.of_peer(peer).await,
            Err(why) => Err(why.clone()),
        };
        drop(peer);
        let name = format!("{}-records", self.model.name);
        let count = self.bench.count(RECORDS, 4);
        let mut rows = Vec::new();
        for (node, (engine, needed, goal)) in self.nodes.into_iter().zip(ENGINES) {
            let records = (0..count).map(|at| self.model.record(at as u64));
            let input = self.model.input_type();
            let records = lab::publish_records(node, &self.folder, &name, &input, records).await?;
            // An engine that this node has not, or a graph that the engine lacks an operator for, is no failure.
            let ours = self.of_engine(node, (engine, needed), &records, count).await;
            let ours = ours.map_err(|error| why(&error));
            rows.extend(rows_of(self.model.name, engine, goal, &ours, &theirs));
        }
        std::fs::remove_file(&self.graph).map_err(failed)?;
        Ok(rows)
    }

    /// onnxruntime in Python, with nothing else running.
    async fn of_peer(&self, peer: &mut OnnxRuntime) -> Result<Times, String> {
        let mut times = Times::default();
        for at in 0..WARM_UP + self.bench.count(REQUESTS, 2) {
            let took = peer.score(1).await? * 1e3;
            if at >= WARM_UP {
                times.one.push(took);
            }
        }
        let batch = self.bench.count(BATCH, 2);
        for at in 0..=self.bench.count(RUNS * RECORDS / BATCH, 1) {
            let took = peer.score(batch).await? * 1e3 / batch as f64;
            if at > 0 {
                times.run.push(took);
            }
        }
        times.call_records = batch as f64;
        times.output = peer.output(&self.folder.join("output.f32")).await?;
        Ok(times)
    }

    async fn of_engine(
        &self,
        node: &Node,
        (engine, needed): (&str, Option<&str>),
        records: &Reference,
        count: usize,
    ) -> Result<Times, Failed> {
        let name = format!("{}-{engine}", self.model.name);
        let (input, output) = (self.model.input_type(), self.model.output_type());
        let stage = Stage {
            name: &name,
            input: &input,
            output: &output,
            scoring_ms: lab::SCORING_MAX_MS,
            memory_bytes: MEMORY_BYTES,
            batch_max: u32::try_from(BATCH).map_err(failed)?,
            code: Code::Graph { file: &self.graph, output: "y", engine: needed },
        };
        let reference = stage.publish(node, &self.folder).await?;
        let mut times = Times::default();
        let (_, dims) = self.model.dims();
        let input = json!({ "shape": dims, "base64": BASE64.encode(&self.model.record(0)) });
        for at in 0..WARM_UP + self.bench.count(REQUESTS, 2) {
            let since = Instant::now();
            let answer = lab::infer(node, &reference, input.clone(), Placement::Local).await?;
            if at >= WARM_UP {
                times.one.push(since.elapsed().as_secs_f64() * 1e3);
            }
            let outputs = answer.outputs.unwrap_or_default();
            times.output = outputs.values().next().map(numbers).unwrap_or_default();
        }
        for _ in 0..self.bench.count(RUNS, 1) {
            let run = RunRequest {
                on: Placement::Local,
                ..RunRequest::new(reference.clone(), RunInput::Package(records.clone()))
            };
            let run = node.client().start_run(&run).await?;
            let report = node.client().wait_run(run, |_| {}).await?;
            times.add(&report, count)?;
        }
        Ok(times)
    }
}

impl Times {
    fn add(&mut self, report: &RunReport, count: usize) -> Result<(), Failed> {
        if report.state != RunState::Completed || report.failed > 0 {
            return Err(failed(format!("a run ended as {:?}", report.failure)));
        }
        let jobs = report.receipts.iter().flat_map(|receipt| &receipt.jobs);
        let (calls, wall_us) = jobs.fold((0, 0), |(calls, wall_us), job| {
            (calls + job.used.calls, wall_us + job.used.wall_us)
        });
        self.run.push(report.seconds * 1e3 / count as f64);
        self.scoring.push(wall_us as f64 / 1e3 / count as f64);
        self.call_records = count as f64 / calls.max(1) as f64;
        Ok(())
    }
}

fn rows_of(
    model: &str,
    engine: &str,
    goal: &'static str,
    ours: &Result<Times, String>,
    theirs: &Result<Times, String>,
) -> [Row; 3] {
    let of = |times: &Result<Times, String>, part: fn(&Times) -> &Samples| {
        times.as_ref().map(|times| part(times).clone()).map_err(Clone::clone)
    };
    let row = |what: String, samples: Result<Samples, String>, peer| {
        let what = format!("{model} in {engine}, {what}; peer: onnxruntime in Python");
        Row::of_measured("P12", what, &samples, "ms a record").beside(&peer).with_goal(goal)
    };
    let one = |times: &Times| differ(times, theirs);
    let agreement = ours.as_ref().map(one).unwrap_or_default();
    let by = |times: &Times| format!(" with {:.1} records a call", times.call_records);
    let by = ours.as_ref().map(by).unwrap_or_default();
    let batch = theirs.as_ref().map_or(BATCH as f64, |times| times.call_records);
    let peer_run = || of(theirs, |times| &times.run);
    [
        row(
            format!("one record, a request to the node{agreement}"),
            of(ours, |times| &times.one),
            of(theirs, |times| &times.one),
        ),
        row(
            format!("batches of {batch}, a run of the node{by}"),
            of(ours, |times| &times.run),
            peer_run(),
        ),
        row(
            format!("batches of {batch}, the same run, scoring alone"),
            of(ours, |times| &times.scoring),
            peer_run(),
        ),
    ]
}

/// Why an engine has no figures, with what a node says about the checks that a package failed.
fn why(error: &Failed) -> String {
    let source: Option<&guildhall_client::Error> = match error {
        Failed::Client(error) => Some(error),
        _ => None,
    };
    match source {
        Some(guildhall_client::Error::Api { body, .. }) if !body.details.is_empty() => {
            format!("{}: {}", body.message, body.details.join(", "))
        }
        _ => error.to_string(),
    }
}

/// By how much outputs differ at most, as a share of the largest of theirs, in words.
fn differ(ours: &Times, theirs: &Result<Times, String>) -> String {
    let Ok(theirs) = theirs else { return String::new() };
    if ours.output.len() != theirs.output.len() {
        return ", OUTPUTS OF ANOTHER LENGTH".to_owned();
    }
    let largest = theirs.output.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
    let pairs = ours.output.iter().zip(&theirs.output);
    let off = pairs.fold(0.0_f32, |most, (ours, theirs)| most.max((ours - theirs).abs()));
    format!(", outputs within {:.0e}", f64::from(off / largest.max(f32::MIN_POSITIVE)))
}

/// A tensor's numbers, however they are nested.
fn numbers(value: &Value) -> Vec<f32> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        Value::Object(fields) => fields.get("data").map(numbers).unwrap_or_default(),
        #[expect(clippy::cast_possible_truncation, reason = "it was written from such a number")]
        value => value.as_f64().map(|number| number as f32).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(output: &[f32]) -> Times {
        Times { output: output.to_vec(), ..Times::default() }
    }

    #[test]
    fn outputs_that_differ_are_told() {
        let same = differ(&of(&[1.0, -2.0]), &Ok(of(&[1.0, -2.0])));
        assert_eq!(same, ", outputs within 0e0");
        let off = differ(&of(&[1.0, -2.0]), &Ok(of(&[1.5, -2.0])));
        assert_eq!(off, ", outputs within 2e-1");
        assert!(differ(&of(&[1.0]), &Ok(of(&[1.0, 2.0]))).contains("LENGTH"));
        assert_eq!(differ(&of(&[1.0]), &Err("no Python".to_owned())), "");
    }

    #[test]
    fn numbers_are_found_in_every_form_of_a_tensor() {
        assert_eq!(numbers(&json!([[1, 2], [3.5, 4]])), [1.0, 2.0, 3.5, 4.0]);
        assert_eq!(numbers(&json!({ "shape": [2], "data": [1, 2] })), [1.0, 2.0]);
        assert!(numbers(&json!("x")).is_empty());
    }
}
