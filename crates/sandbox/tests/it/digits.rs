//! The example packages do what their README says.

use std::fs;
use std::path::Path;

use guildhall_protocol::Hash;
use guildhall_protocol::interface::{Prediction, PredictionValue};
use guildhall_sandbox::{Failure, run_tests};

use crate::package::{DIGITS, limits, model, patient, prepare, record, spawner, stuck};

#[test]
fn prepare_and_model_reproduce_all_360_reference_predictions() {
    let mut prepare = prepare().start(&patient()).unwrap();
    let mut model = model().start(&patient()).unwrap();
    let folder = Path::new(DIGITS).join("images");
    let reference = fs::read_to_string(folder.join("reference.csv")).unwrap();
    let mut right = 0;
    for line in reference.lines().skip(1) {
        let [file, class, confidence] = line.split(',').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let image = fs::read(folder.join(file)).unwrap();
        let prepared = prepare.score(record(&image)).unwrap();
        let scored = model.score(record(&prepared.outputs[0].bytes)).unwrap();
        let found: Vec<Prediction> = serde_json::from_slice(&scored.outputs[0].bytes).unwrap();
        let [Prediction { input: 0, value, location: None, confidence: Some(found) }] = &found[..]
        else {
            panic!("{file}: {found:?}");
        };
        assert_eq!(*value, PredictionValue::Class(class.into()), "{file}");
        assert!((found - confidence.parse::<f64>().unwrap()).abs() < 1e-4, "{file}: {found}");
        right += 1;
    }
    assert_eq!(right, 360);
}

/// Who changes a source builds what comes of it again, and writes both hashes down: `b3sum FILE...` in the folder.
#[test]
fn what_was_built_belongs_to_its_sources() {
    let sums = fs::read_to_string(Path::new(DIGITS).join("B3SUMS")).unwrap();
    for line in sums.lines() {
        let (hash, file) = line.split_once("  ").unwrap();
        let bytes = fs::read(Path::new(DIGITS).join(file)).unwrap();
        assert_eq!(Hash::of(&bytes).to_hex(), hash, "{file}");
    }
    assert_eq!(sums.lines().count(), 6);
}

#[test]
fn each_example_passes_its_own_unit_tests() {
    for package in [prepare(), stuck(), model()] {
        let outcomes = run_tests(&spawner(), &package.files(), &patient()).unwrap();
        assert_eq!(outcomes.len(), 3);
        for outcome in outcomes {
            assert!(outcome.passed, "{}: {}", outcome.name, outcome.why);
        }
    }
}

#[test]
fn the_stuck_stage_is_stopped_at_its_limit_and_another_worker_goes_on() {
    let stuck = stuck();
    let poison = fs::read(Path::new(DIGITS).join("stuck/poison.pgm")).unwrap();
    let harmless = fs::read(Path::new(DIGITS).join("stuck/tests/1.in.pgm")).unwrap();
    let mut worker = stuck.start(&limits(300, 16 << 20, 1 << 20)).unwrap();
    match worker.score(record(&poison)) {
        Err(Failure::Timeout { limit_ms: 300, stopped_after_ms }) => {
            assert!(stopped_after_ms >= 300);
        }
        other => panic!("{other:?}"),
    }
    assert!(!worker.is_alive(), "nothing of it runs any more");
    let mut worker = stuck.start(&limits(300, 16 << 20, 1 << 20)).unwrap();
    assert_eq!(worker.score(record(&harmless)).unwrap().outputs[0].bytes.len(), 256);
}

#[test]
fn a_failing_unit_test_says_what_differs() {
    let mut package = model();
    package.manifest.tests[1].outputs[0].file = "tests/1.out.json".parse().unwrap();
    package.manifest.tests[2].inputs[0].file = "model.onnx".parse().unwrap();
    let outcomes = run_tests(&spawner(), &package.files(), &patient()).unwrap();
    let passed: Vec<_> = outcomes.iter().map(|outcome| outcome.passed).collect();
    assert_eq!(passed, [true, false, false]);
    assert!(
        outcomes[1].why.starts_with("port `out`: prediction 0: class `"),
        "{}",
        outcomes[1].why
    );
    assert!(outcomes[2].why.starts_with("the input does not match"), "{}", outcomes[2].why);
}
