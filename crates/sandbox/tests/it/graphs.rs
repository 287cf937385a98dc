//! Graphs that misbehave. No interrupt reaches native inference, so these test what the process boundary is for.

use guildhall_protocol::contract::Limits;
use guildhall_protocol::interface::{Dim, ElementType, PortType, TensorType};
use guildhall_sandbox::{Failure, InspectLimits};

use crate::package::{PATIENT_MS, Package, limits, record, spawner};
use crate::sample::{field, number};

pub(crate) fn node(op: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|name| field(1, name.as_bytes())).collect();
    let rest = [field(2, output.as_bytes()), field(3, output.as_bytes()), field(4, op.as_bytes())];
    field(1, &[inputs, rest.concat()].concat())
}

/// An input or output: float32 of these dimensions.
pub(crate) fn value(place: u8, name: &str, dims: &[u16]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|dim| field(1, &number(1, *dim))).collect();
    let tensor = field(1, &[number(1, 1), field(2, &dims)].concat());
    field(place, &[field(1, name.as_bytes()), field(2, &tensor)].concat())
}

/// A graph of these parts, for operator set 14.
pub(crate) fn graph(parts: &[Vec<u8>]) -> Vec<u8> {
    [number(1, 7), field(7, &parts.concat()), field(8, &number(2, 14))].concat()
}

pub(crate) fn floats(dims: &[u64]) -> PortType {
    let dims = dims.iter().map(|size| Dim::Fixed(*size)).collect();
    PortType::Tensor(TensorType { dtype: ElementType::F32, dims })
}

pub(crate) fn package(graph: &[u8], dims: &[u64]) -> Package {
    Package::of_files(&[("model.onnx", graph)]).with_graph(
        "model.onnx",
        ("x", floats(dims)),
        ("y", floats(dims)),
    )
}

pub(crate) fn in_memory(memory_bytes: u64) -> Limits {
    limits(PATIENT_MS, memory_bytes, 4 << 20)
}

#[test]
fn a_graph_that_adds_adds() {
    let parts = [node("Add", &["x", "x"], "y"), value(11, "x", &[2]), value(12, "y", &[2])];
    let input: Vec<u8> = [1.5_f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let scored = package(&graph(&parts), &[2]).score(&in_memory(16 << 20), &input).unwrap();
    let output: Vec<u8> = [3.0_f32, -4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(scored.outputs[0].bytes, output);
}

/// Multiplies a 900 x 900 matrix by itself, over and over: seconds of native code in one call.
fn long() -> Package {
    let names: Vec<String> = (0..400).map(|at| format!("n{at}")).collect();
    let mut parts = vec![value(11, "x", &[900, 900]), value(12, "y", &[900, 900])];
    parts.push(node("MatMul", &["x", "x"], &names[0]));
    for pair in names.windows(2) {
        parts.push(node("MatMul", &[&pair[0], "x"], &pair[1]));
    }
    parts.push(node("MatMul", &[&names[399], "x"], "y"));
    package(&graph(&parts), &[900, 900])
}

#[test]
fn native_inference_is_killed_at_its_limit() {
    let package = long();
    let limits = limits(100, 256 << 20, 4 << 20);
    let mut worker = package.start(&limits).unwrap();
    match worker.score(record(&vec![0; 900 * 900 * 4])) {
        Err(Failure::Timeout { limit_ms: 100, stopped_after_ms }) => {
            assert!(stopped_after_ms >= 100);
        }
        other => panic!("{other:?}"),
    }
    assert!(!worker.is_alive());
}

/// The engine's own share is some hundred kilobytes; a limit below it is kept too, and nothing comes out.
#[test]
fn a_graph_that_took_more_memory_than_its_limit_gives_no_output() {
    let parts = [node("Relu", &["x"], "y"), value(11, "x", &[2]), value(12, "y", &[2])];
    let limit_bytes = 4 << 10;
    let failure =
        package(&graph(&parts), &[2]).score(&in_memory(limit_bytes), &[0; 8]).unwrap_err();
    assert_eq!(failure, Failure::MemoryLimit { limit_bytes });
}

#[test]
fn a_graph_that_wants_too_much_memory_is_stopped() {
    // The outer product of a column and a row: 10,000 numbers in, 400 MB between, 10,000 out.
    let parts = [
        value(11, "x", &[1, 10_000]),
        value(12, "y", &[1, 10_000]),
        node("Transpose", &["x"], "column"),
        node("MatMul", &["column", "x"], "square"),
        node("MatMul", &["x", "square"], "y"),
    ];
    let package = package(&graph(&parts), &[1, 10_000]);
    let input = vec![0; 40_000];
    assert!(package.score(&in_memory(2 << 30), &input).is_ok());
    let limit_bytes = 16 << 20;
    let failure = package.score(&in_memory(limit_bytes), &input).unwrap_err();
    assert_eq!(failure, Failure::MemoryLimit { limit_bytes });
}

#[test]
fn an_operator_that_does_not_exist_is_named_at_inspection() {
    let parts = [node("Frobnicate", &["x"], "y"), value(11, "x", &[2]), value(12, "y", &[2])];
    let package = package(&graph(&parts), &[2]);
    match spawner().inspect(&package.files(), &InspectLimits::default()).unwrap_err() {
        Failure::InvalidModel { why } => assert!(why.contains("Frobnicate"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_operator_that_is_missing_is_named_but_none_that_no_output_needs() {
    let parts = [
        node("Frobnicate", &["x"], "a"),
        node("Add", &["a", "x"], "b"),
        node("Twirl", &["b"], "y"),
        node("Unneeded", &["x"], "z"),
        value(11, "x", &[2]),
        value(12, "y", &[2]),
    ];
    let package = package(&graph(&parts), &[2]);
    match spawner().inspect(&package.files(), &InspectLimits::default()).unwrap_err() {
        Failure::InvalidModel { why } => {
            assert_eq!(why, "the engine `onnx` lacks its operators Frobnicate, Twirl");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_output_that_nothing_yields_is_named() {
    let parts = [node("Add", &["x", "x"], "z"), value(11, "x", &[2]), value(12, "y", &[2])];
    let package = package(&graph(&parts), &[2]);
    match spawner().inspect(&package.files(), &InspectLimits::default()).unwrap_err() {
        Failure::InvalidModel { why } => assert_eq!(why, "nothing in it yields `y`"),
        other => panic!("{other:?}"),
    }
}
