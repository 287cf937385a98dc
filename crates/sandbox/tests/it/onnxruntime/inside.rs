//! Stages in WebAssembly whose models name the library: it runs in their own worker, behind the same calls.

use guildhall_protocol::contract::Determinism;
use guildhall_protocol::manifest::{Code, ONNXRUNTIME};
use guildhall_sandbox::{Failure, InspectLimits, Level};

use super::{start, with_library};
use crate::caller::{DATA, numbers};
use crate::graphs;
use crate::nn::{
    COMPUTE, FIND, GET, INPUTS, OK, OUT, SAY, SCORE, SET, START, best, caller, component_asking,
    data, digits_caller, input, is_same, reference, words,
};
use crate::package::{Package, patient, record, spawner};

/// The same package with the library named for its models.
fn in_library(mut package: Package) -> Package {
    let models = match package.manifest.code.as_mut() {
        Some(Code::Command(command)) => &mut command.models,
        Some(Code::Component(component)) => &mut component.models,
        _ => panic!("a stage"),
    };
    for model in models {
        model.engine = Some(ONNXRUNTIME.into());
    }
    package.checked()
}

/// A graph of an operator that the engine built in does not have: the determinant of a matrix.
fn determinant() -> Vec<u8> {
    let node = graphs::node("Det", &["x"], "y");
    graphs::graph(&[node, graphs::value(11, "x", &[1, 2, 2]), graphs::value(12, "y", &[1])])
}

#[test]
fn both_forms_of_stages_ask_a_model_in_the_library() {
    let Some(spawner) = with_library() else { return };
    let plain = in_library(digits_caller());
    spawner.inspect(&plain.files(), &InspectLimits::default()).unwrap();
    let mut worker = start(&spawner, &plain, &patient()).unwrap();
    assert!(worker.isolation().level() > Level::None, "the library is shut in with the stage");
    for values in INPUTS {
        let scored = worker.score(record(&input(&SCORE, &data(values)))).unwrap();
        let (errors, probabilities) = scored.outputs[0].bytes.split_at(20);
        assert_eq!(numbers(errors), [OK; 5]);
        assert!(is_same(best(probabilities), reference(values)));
    }
    let full = in_library(component_asking([1, 64], "digits"));
    let mut worker = start(&spawner, &full, &patient()).unwrap();
    for values in INPUTS {
        let scored = worker.score(record(values)).unwrap();
        assert!(is_same(best(&scored.outputs[0].bytes), reference(values)));
    }
    let wrong = in_library(component_asking([1, 63], "digits"));
    match start(&spawner, &wrong, &patient()).unwrap().score(record(INPUTS[0])) {
        Err(Failure::Stage { why }) => assert!(why.contains("do not make 256 bytes"), "{why}"),
        other => panic!("{other:?}"),
    }
    let wrong = in_library(component_asking([64, 1], "digits"));
    match start(&spawner, &wrong, &patient()).unwrap().score(record(INPUTS[0])) {
        Err(Failure::Stage { why }) => assert!(why.contains("the graph takes F32 [?,64]"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_operator_that_the_engine_built_in_lacks_is_named_and_runs_in_the_library() {
    let graph = determinant();
    let package = caller(&[("det.onnx", &graph)], &[("digits", "det.onnx")]);
    let refused = spawner().inspect(&package.files(), &InspectLimits::default()).unwrap_err();
    let Failure::InvalidModel { why } = &refused else { panic!("{refused:?}") };
    assert!(why.contains("no `Det`") && why.contains("engine = \"onnxruntime\""), "{why}");
    let Some(spawner) = with_library() else { return };
    // The library is there, but the manifest names it for none of them: placement would not know.
    assert_eq!(spawner.inspect(&package.files(), &InspectLimits::default()).unwrap_err(), refused);
    let package = in_library(package);
    let matrix = [3_f32, 1.0, 2.0, 4.0].map(f32::to_le_bytes).concat();
    let values =
        [matrix, words(&[1, 2, 2]), words(&[DATA + 16, 3, 1, DATA, 16]), b"digits".to_vec()];
    let (tensor, name) = (DATA + 28, DATA + 48);
    let calls = [
        [FIND, name, 6, OUT, 0, 0],
        [START, 0, OUT, 0, 0, 0],
        [SET, 0, 0, tensor, 0, 0],
        [COMPUTE, 0, 0, 0, 0, 0],
        [GET, 0, 0, OUT, 4, OUT + 64],
        [SAY, OUT, 4, 0, 0, 0],
    ];
    let mut worker = start(&spawner, &package, &patient()).unwrap();
    let scored = worker.score(record(&input(&calls, &values.concat()))).unwrap();
    let (errors, found) = scored.outputs[0].bytes.split_at(20);
    assert_eq!(numbers(errors), [OK; 5]);
    assert_eq!(found, 10_f32.to_le_bytes());
}

#[test]
fn a_node_without_the_library_says_so_and_one_with_it_keeps_the_rest_built_in() {
    let package = in_library(digits_caller());
    let failed = package.start(&patient()).unwrap_err();
    assert!(matches!(&failed, Failure::Unsupported { what } if what.contains(ONNXRUNTIME)));
    assert!(!failed.is_fault_of_package());
    let Some(spawner) = with_library() else { return };
    // Bytes, not only figures: whoever names nothing gets the engine that every node has.
    let plain = digits_caller();
    let mut with = start(&spawner, &plain, &patient()).unwrap();
    let mut without = plain.start(&patient()).unwrap();
    for values in INPUTS {
        let asked = input(&SCORE, &data(values));
        let found = with.score(record(&asked)).unwrap().outputs;
        assert_eq!(found, without.score(record(&asked)).unwrap().outputs);
    }
    let mut exact = in_library(digits_caller());
    exact.manifest.contract.as_mut().unwrap().determinism = Determinism::Bitwise;
    let asked = input(&SCORE, &data(INPUTS[0]));
    let first = start(&spawner, &exact, &patient()).unwrap().score(record(&asked)).unwrap();
    let second = start(&spawner, &exact, &patient()).unwrap().score(record(&asked)).unwrap();
    assert_eq!(first.outputs, second.outputs);
}
