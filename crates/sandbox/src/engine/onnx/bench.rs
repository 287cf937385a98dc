//! How long records take. Not a test of anything: `tests/it/sklearn/bench.py` makes the graphs, runs this beside
//! onnxruntime, and prints both.

use std::fs;
use std::hint::black_box;
use std::time::Instant;

use guildhall_protocol::interface::{Interface, Port, PortType, PredictionKind, PredictionType};
use guildhall_protocol::manifest::{Binding, FileEntry, OnnxCode};
use guildhall_protocol::wire::PortValue;

use super::*;
use crate::engine::progress::Progress;
use crate::engine::{Call, Input};
use crate::message::CallLimits;
use crate::value::DimSizes;
use crate::worker::Alarm;

/// Where the graphs lie, with their inputs: rows of 64 numbers.
const FOLDER: &str = "GUILDHALL_BENCH_MODELS";

fn stage(labels: usize) -> StageSpec {
    let port = |name: &str, port_type| Port {
        name: name.to_owned(),
        port_type,
        optional: false,
        location: None,
    };
    let (value, labels) = match labels {
        0 => (PredictionKind::Number, Vec::new()),
        count => (PredictionKind::Class, (0..count).map(|at| at.to_string()).collect()),
    };
    let outputs: &[&str] = match labels.len() {
        0 => &["variable"],
        _ => &["output_label", "output_probability"],
    };
    let bound = |port: &str, tensor: &str| Binding { port: port.into(), tensor: tensor.into() };
    StageSpec {
        interface: Interface {
            inputs: vec![port("x", "tensor(f32, 64)".parse().unwrap())],
            outputs: vec![port(
                "out",
                PortType::Prediction(PredictionType { value, labels, location: None }),
            )],
        },
        engine: "onnx".into(),
        code: Code::Onnx(OnnxCode {
            engine: None,
            model: "m.onnx".parse().unwrap(),
            inputs: vec![bound("x", "X")],
            outputs: outputs.iter().map(|name| bound("out", name)).collect(),
        }),
        file: FileEntry {
            name: "m.onnx".parse().unwrap(),
            len_bytes: 0,
            hash: guildhall_protocol::Hash::of(b""),
            media_type: "application/octet-stream".into(),
        },
        determinism: Determinism::Numeric,
        imports: Vec::new(),
        memory_bytes: 1 << 30,
        config: Default::default(),
    }
}

/// The median of the times of one call, microseconds.
fn time(mut call: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..300)
        .map(|_| {
            let started = Instant::now();
            call();
            started.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[test]
#[ignore = "a measurement; tests/it/sklearn/bench.py runs it"]
fn measure() {
    let folder = std::env::var(FOLDER).unwrap();
    let rows = fs::read(format!("{folder}/rows.f32")).unwrap();
    let rows: Vec<&[u8]> = rows.chunks(64 * 4).collect();
    let alarm = Alarm::start().unwrap();
    for (name, labels) in [("forest", 10), ("boosting", 10), ("regression", 0)] {
        let code = fs::read(format!("{folder}/{name}.onnx")).unwrap();
        let started = Instant::now();
        let (mut graph, _) = prepare(&stage(labels), code).unwrap();
        let load_ms = started.elapsed().as_millis();
        let state = graph.plan.clone();
        for batch in [1, 128] {
            let records = || {
                let one = |row: &&[u8]| Input {
                    values: vec![PortValue::new("x", *row)],
                    sizes: DimSizes::new(),
                };
                rows.iter().take(batch).map(one).collect()
            };
            let limits = CallLimits { scoring_ms: 60_000, output_bytes: 1 << 20, seed: 0 };
            let call = time(|| {
                let call = Call { records: records(), limits, progress: Progress::patient() };
                black_box(graph.score(call, &alarm));
            });
            let floats: Vec<f32> = rows
                .iter()
                .take(batch)
                .flat_map(|row| row.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)))
                .collect();
            let tensor = tract_onnx::prelude::Tensor::from_shape(&[batch, 64], &floats).unwrap();
            let run = time(|| {
                let input = [tensor.clone().into()].into_iter().collect();
                black_box(state.run(input).unwrap());
            });
            println!("{name} batch {batch}: run {run:.1} us, call {call:.1} us, load {load_ms} ms");
        }
    }
}
