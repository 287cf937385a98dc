//! Scores records of one graph in a worker, as a node would, and says how long it took. `speed.py` beside this file makes
//! the graph, starts this program, and sets onnxruntime in Python beside it in the same run:
//!
//! ```text
//! cargo build --release -p guildhall-sandbox --example graph_speed
//! v/bin/pip install numpy onnx onnxruntime
//! v/bin/python crates/sandbox/examples/graph_speed/speed.py target/release/examples/graph_speed
//! ```
//!
//! Arguments: the graph, the library or `built-in`, threads, and what one record has in each dimension. Then, for each
//! line `RECORDS CALLS` on stdin, a line with the microseconds of each call; at the end, the most memory it took, bytes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for measuring")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use guildhall_protocol::contract::{Contract, Determinism, Hardware, Limit, Limits, Party};
use guildhall_protocol::hash::Hash;
use guildhall_protocol::interface::{
    Dim, ElementType, Interface, Port, PortType, PredictionKind, PredictionType, TensorType,
};
use guildhall_protocol::manifest::{
    Binding, Code, FileEntry, Kind, MANIFEST_FORMAT, Manifest, OnnxCode,
};
use guildhall_protocol::wire::PortValue;
use guildhall_sandbox::{CallLimits, OnnxRuntime, PackageFiles, Spawner, worker_main};

/// Far above what any call here takes.
const PATIENT_MS: u64 = 600_000;

/// More than the graph of `speed.py` needs for its largest call.
const MEMORY_BYTES: u64 = 4 << 30;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "worker") {
        return worker_main();
    }
    let [graph, library, threads, dims @ ..] = args.as_slice() else {
        println!("graph_speed GRAPH LIBRARY|built-in THREADS DIMENSION...");
        return ExitCode::FAILURE;
    };
    let dims: Vec<u64> = dims.iter().map(|dim| dim.parse().unwrap()).collect();
    let graph_path = Path::new(graph);
    let manifest = manifest(&fs::read(graph_path).unwrap(), &dims);
    let library = (library != "built-in").then(|| {
        OnnxRuntime::at(Path::new(library)).unwrap().with_threads(threads.parse().unwrap())
    });
    let spawner = Spawner::this_program(["worker".into()]).with_onnxruntime(library);
    let open = |_: &FileEntry| File::open(graph_path);
    let package = PackageFiles { manifest: &manifest, open: &open };
    let mut worker = spawner.start(&package, &limits(), &BTreeMap::new(), 0).unwrap();

    let len_bytes = 4 * dims.iter().product::<u64>();
    let bytes: Vec<u8> = (0..len_bytes / 4)
        .flat_map(|at| f32::from(u8::try_from(at % 251).unwrap_or_default()).to_le_bytes())
        .collect();
    let limits = CallLimits { scoring_ms: PATIENT_MS, output_bytes: 1 << 20, seed: 0 };
    let mut peak_bytes = 0;
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (records, calls) = line.split_once(' ').unwrap();
        let (records, calls): (usize, usize) = (records.parse().unwrap(), calls.parse().unwrap());
        let mut took = Vec::new();
        for _ in 0..calls {
            let values = vec![vec![PortValue::new("x", bytes.clone())]; records];
            let started = Instant::now();
            let batch = worker.score_all(values, &limits).unwrap();
            took.push(started.elapsed().as_micros().to_string());
            peak_bytes = batch.memory_peak_bytes;
            assert!(batch.records.len() == records && batch.records.iter().all(Result::is_ok));
        }
        println!("{}", took.join(" "));
    }
    println!("{peak_bytes}");
    ExitCode::SUCCESS
}

fn limits() -> Limits {
    let limit = |value| Limit { value, set_by: Party::Node };
    Limits {
        scoring_ms: limit(PATIENT_MS),
        total_ms: limit(10 * PATIENT_MS),
        memory_bytes: limit(MEMORY_BYTES),
        output_bytes: limit(1 << 20),
        batch_max: limit(1_024),
        queue_ms: limit(0),
    }
}

/// A package of the graph: `x` of these dimensions in, the vector `y` out.
fn manifest(graph: &[u8], dims: &[u64]) -> Manifest {
    let port = |name: &str, port_type| Port {
        name: name.into(),
        port_type,
        optional: false,
        location: None,
    };
    let dims = dims.iter().map(|size| Dim::Fixed(*size)).collect();
    let vector = PredictionType { value: PredictionKind::Vector, labels: vec![], location: None };
    let binding = |name: &str| vec![Binding { port: name.into(), tensor: name.into() }];
    let name = "model.onnx";
    Manifest {
        format: MANIFEST_FORMAT,
        kind: Kind::Model,
        files: vec![FileEntry {
            name: name.parse().unwrap(),
            len_bytes: graph.len() as u64,
            hash: Hash::of(graph),
            media_type: "application/octet-stream".into(),
        }],
        interface: Interface {
            inputs: vec![port("x", PortType::Tensor(TensorType { dtype: ElementType::F32, dims }))],
            outputs: vec![port("y", PortType::Prediction(vector))],
        },
        contract: Some(Contract {
            scoring_ms: PATIENT_MS,
            measured_on: "a measurement".into(),
            memory_bytes: MEMORY_BYTES,
            scratch_bytes: 0,
            output_bytes: 1 << 20,
            batch_max: 32,
            total_ms: None,
            queue_ms: None,
            imports: vec![],
            hardware: Hardware::default(),
            determinism: Determinism::Numeric,
        }),
        code: Some(Code::Onnx(OnnxCode {
            engine: None,
            model: name.parse().unwrap(),
            inputs: binding("x"),
            outputs: binding("y"),
        })),
        records: None,
        stages: vec![],
        tests: vec![],
        dependencies: vec![],
        licence: "unknown".into(),
        sensitive: false,
    }
}
