//! wasi-nn: stages of both forms ask models of their own package, within their limits and by their contract only.

use guildhall_protocol::contract::{Import, Limits};
use guildhall_protocol::interface::PortType;
use guildhall_protocol::manifest::{Code, CommandCode, ComponentCode, NamedModel};
use guildhall_sandbox::{CallLimits, Failure, InspectLimits};

use crate::caller::{Caller, DATA, listed, numbers};
use crate::encode::{Parts, component};
use crate::graphs;
use crate::package::{
    PATIENT_MS, Package, any_bytes, floats, limits, model, patient, record, spawner,
};
use crate::sample::Random;

/// The model of the example, and values of its tests.
const DIGITS: &[u8] = include_bytes!("../../../../examples/digits/model/model.onnx");
pub(crate) const INPUTS: [&[u8]; 3] = [
    include_bytes!("../../../../examples/digits/model/tests/1.in.f32"),
    include_bytes!("../../../../examples/digits/model/tests/2.in.f32"),
    include_bytes!("../../../../examples/digits/model/tests/3.in.f32"),
];

/// Asks models of its package.
const CALLER: Caller = Caller {
    imports: r#"(import "wasi_snapshot_preview1" "fd_read"
        (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_ephemeral_nn" "load" (func $load (param i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_ephemeral_nn" "load_by_name" (func $find (param i32 i32 i32) (result i32)))
    (import "wasi_ephemeral_nn" "init_execution_context"
        (func $start (param i32 i32) (result i32)))
    (import "wasi_ephemeral_nn" "set_input" (func $set (param i32 i32 i32) (result i32)))
    (import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))
    (import "wasi_ephemeral_nn" "get_output"
        (func $get (param i32 i32 i32 i32 i32) (result i32)))"#,
    call: r#"(if (i32.eq (local.get $op) (i32.const 0)) (then (return (call $load
            (local.get $a) (local.get $b) (local.get $c) (local.get $d) (local.get $e)))))
        (if (i32.eq (local.get $op) (i32.const 1)) (then (return (call $find
            (local.get $a) (local.get $b) (local.get $c)))))
        (if (i32.eq (local.get $op) (i32.const 2)) (then (return (call $start
            (local.get $a) (local.get $b)))))
        (if (i32.eq (local.get $op) (i32.const 3)) (then (return (call $set
            (local.get $a) (local.get $b) (local.get $c)))))
        (if (i32.eq (local.get $op) (i32.const 4)) (then (return (call $compute (local.get $a)))))
        (call $get (local.get $a) (local.get $b) (local.get $c) (local.get $d) (local.get $e))"#,
    width: 6,
    say: SAY,
    pages: 32,
};

/// One past the caller's memory.
const END: u32 = CALLER.pages * 65_536;

/// Free memory of the caller.
pub(crate) const OUT: u32 = 4_096;

const LOAD: u32 = 0;
pub(crate) const FIND: u32 = 1;
pub(crate) const START: u32 = 2;
pub(crate) const SET: u32 = 3;
pub(crate) const COMPUTE: u32 = 4;
pub(crate) const GET: u32 = 5;
pub(crate) const SAY: u32 = 6;

/// Error numbers of wasi-nn.
pub(crate) const OK: u32 = 0;
const ARGUMENT: u32 = 1;
const POINTER: u32 = 3;
const RUNTIME: u32 = 5;
const UNSUPPORTED: u32 = 6;
const TOO_LARGE: u32 = 7;
const NOT_FOUND: u32 = 8;

/// The caller's input: calls, and data that their pointers reach.
pub(crate) fn input(calls: &[[u32; 6]], data: &[u8]) -> Vec<u8> {
    let mut bytes = listed(calls);
    bytes.extend_from_slice(data);
    bytes
}

pub(crate) fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn named(models: &[(&str, &str)]) -> Vec<NamedModel> {
    let named = |(name, file): &(&str, &str)| NamedModel {
        name: (*name).into(),
        model: file.parse().unwrap(),
        engine: None,
    };
    models.iter().map(named).collect()
}

/// The caller with these files, of which it may ask these under these names.
pub(crate) fn caller(files: &[(&str, &[u8])], models: &[(&str, &str)]) -> Package {
    let module = CALLER.module();
    let mut all = vec![("stage.wasm", module.as_slice())];
    all.extend_from_slice(files);
    let mut package = Package::of_files(&all).with_command("stage.wasm", any_bytes(), any_bytes());
    let code = CommandCode { module: "stage.wasm".parse().unwrap(), models: named(models) };
    package.manifest.code = Some(Code::Command(code));
    package.manifest.contract.as_mut().unwrap().imports = vec![Import::WasiNn];
    package.checked()
}

pub(crate) fn digits_caller() -> Package {
    caller(&[("models/digits.onnx", DIGITS)], &[("digits", "models/digits.onnx")])
}

/// A value of 64 numbers at `DATA`, its dimensions, its description, and the model's name, in this order.
pub(crate) fn data(values: &[u8]) -> Vec<u8> {
    let dims = words(&[1, 64]);
    let tensor = words(&[DATA + 256, 2, 1, DATA, 256]);
    [values, &dims, &tensor, b"digits"].concat()
}

const TENSOR: u32 = DATA + 264;
const NAME: u32 = DATA + 284;

/// Asks for the model, hands over the tensor, asks, and writes the 40 bytes of the second output.
pub(crate) const SCORE: [[u32; 6]; 6] = [
    [FIND, NAME, 6, OUT, 0, 0],
    [START, 0, OUT, 0, 0, 0],
    [SET, 0, 0, TENSOR, 0, 0],
    [COMPUTE, 0, 0, 0, 0, 0],
    [GET, 0, 1, OUT, 40, OUT + 64],
    [SAY, OUT, 40, 0, 0, 0],
];

/// What the package of the example, which is the model alone, says of these values: the class and its probability.
pub(crate) fn reference(input: &[u8]) -> (usize, f64) {
    let scored = model().score(&patient(), input).unwrap();
    let found: serde_json::Value = serde_json::from_slice(&scored.outputs[0].bytes).unwrap();
    let class = found[0]["value"]["class"].as_str().unwrap().parse().unwrap();
    (class, found[0]["confidence"].as_f64().unwrap())
}

pub(crate) fn best(probabilities: &[u8]) -> (usize, f64) {
    let four = probabilities.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four));
    let (at, best) = four.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    (at, f64::from(best))
}

pub(crate) fn is_same(found: (usize, f64), expected: (usize, f64)) -> bool {
    found.0 == expected.0 && (found.1 - expected.1).abs() < 1e-4
}

#[test]
fn a_module_asks_a_model_of_its_package_by_name() {
    let package = digits_caller();
    let mut worker = package.start(&patient()).unwrap();
    let mut first = Vec::new();
    for values in INPUTS {
        let scored = worker.score(record(&input(&SCORE, &data(values)))).unwrap();
        let (errors, probabilities) = scored.outputs[0].bytes.split_at(20);
        assert_eq!(numbers(errors), [OK; 5]);
        assert!(is_same(best(probabilities), reference(values)));
        assert!(scored.memory_peak_bytes > 2_097_152 + DIGITS.len() as u64, "the model counts");
        first.push(scored.outputs);
    }
    // Another process, and the model has been asked before: the same bytes.
    let mut other = package.start(&patient()).unwrap();
    for (values, expected) in INPUTS.iter().zip(&first).rev() {
        let again = other.score(record(&input(&SCORE, &data(values)))).unwrap();
        assert_eq!(again.outputs, *expected);
    }
}

#[test]
fn wrong_requests_of_a_module_have_their_error_numbers_and_the_right_ones_still_work() {
    let mut described = data(INPUTS[0]);
    // Behind the name: descriptions of tensors that are none.
    let at = |nth: u32| DATA + 292 + 20 * nth;
    described.resize(292, 0);
    for tensor in [
        [DATA + 256, 2, 9, DATA, 256],
        [DATA + 256, 2, 1, DATA, 255],
        [DATA + 256, 17, 1, DATA, 256],
        [DATA + 256, u32::MAX, 1, DATA, 256],
        [END - 4, 2, 1, DATA, 256],
        [DATA + 256, 2, 1, END - 8, 256],
        [DATA + 256, 2, 1, u32::MAX, u32::MAX],
        [DATA + 260, 1, 1, DATA, 256],
        [DATA + 256, 2, 4, DATA, 256],
    ] {
        described.extend(words(&tensor));
    }
    let calls = [
        ([LOAD, DATA, 1, 1, 0, OUT], UNSUPPORTED),
        ([FIND, NAME, 5, OUT, 0, 0], NOT_FOUND),
        ([FIND, NAME, 0, OUT, 0, 0], NOT_FOUND),
        ([FIND, NAME, u32::MAX, OUT, 0, 0], NOT_FOUND),
        ([FIND, END, 6, OUT, 0, 0], POINTER),
        ([FIND, NAME, 6, END - 3, 0, 0], POINTER),
        ([START, 0, OUT, 0, 0, 0], OK),
        ([START, 1, OUT, 0, 0, 0], ARGUMENT),
        ([START, u32::MAX, OUT, 0, 0, 0], ARGUMENT),
        ([START, 0, u32::MAX, 0, 0, 0], POINTER),
        ([COMPUTE, 0, 0, 0, 0, 0], ARGUMENT),
        ([COMPUTE, 1, 0, 0, 0, 0], ARGUMENT),
        ([GET, 0, 1, OUT, 40, OUT + 64], RUNTIME),
        ([SET, 0, 0, at(0), 0, 0], ARGUMENT),
        ([SET, 0, 0, at(1), 0, 0], ARGUMENT),
        ([SET, 0, 0, at(2), 0, 0], ARGUMENT),
        ([SET, 0, 0, at(3), 0, 0], ARGUMENT),
        ([SET, 0, 0, at(4), 0, 0], POINTER),
        ([SET, 0, 0, at(5), 0, 0], POINTER),
        ([SET, 0, 0, at(6), 0, 0], POINTER),
        ([SET, 0, 0, END - 19, 0, 0], POINTER),
        ([SET, 0, 1, TENSOR, 0, 0], ARGUMENT),
        ([SET, 9, 0, TENSOR, 0, 0], ARGUMENT),
        // These are tensors, but not the model's.
        ([SET, 0, 0, at(7), 0, 0], OK),
        ([COMPUTE, 0, 0, 0, 0, 0], ARGUMENT),
        ([SET, 0, 0, at(8), 0, 0], OK),
        ([COMPUTE, 0, 0, 0, 0, 0], ARGUMENT),
        ([SET, 0, 0, TENSOR, 0, 0], OK),
        ([COMPUTE, 0, 0, 0, 0, 0], OK),
        ([GET, 0, 1, OUT, 39, OUT + 64], TOO_LARGE),
        ([GET, 0, 2, OUT, 40, OUT + 64], ARGUMENT),
        ([GET, 7, 1, OUT, 40, OUT + 64], ARGUMENT),
        ([GET, 0, 1, END - 39, 40, OUT + 64], POINTER),
        ([GET, 0, 1, OUT, 40, END - 3], POINTER),
        ([GET, 0, 1, END - 40, u32::MAX, OUT + 64], OK),
        ([GET, 0, 0, OUT, 8, OUT + 64], OK),
    ];
    let asked: Vec<_> = calls.iter().map(|(call, _)| *call).collect();
    let scored = digits_caller().score(&patient(), &input(&asked, &described)).unwrap();
    let found = numbers(&scored.outputs[0].bytes);
    for (at, (call, expected)) in calls.iter().enumerate() {
        assert_eq!(found[at], *expected, "call {at}: {call:?}");
    }
}

#[test]
fn sessions_are_bounded_and_every_record_has_its_own() {
    let mut worker = digits_caller().start(&patient()).unwrap();
    let many = vec![[START, 0, OUT, 0, 0, 0]; 66];
    for _ in 0..2 {
        let scored = worker.score(record(&input(&many, b""))).unwrap();
        let found = numbers(&scored.outputs[0].bytes);
        assert_eq!(found[..64], [OK; 64]);
        assert_eq!(found[64..], [TOO_LARGE; 2]);
    }
    // No session of an earlier record is there.
    let scored = worker.score(record(&input(&[[COMPUTE, 0, 0, 0, 0, 0]], b""))).unwrap();
    assert_eq!(numbers(&scored.outputs[0].bytes), [ARGUMENT]);
}

#[test]
fn calls_with_any_numbers_end_in_an_error_number_and_never_in_the_worker() {
    let package = digits_caller();
    let mut worker = package.start(&patient()).unwrap();
    let mut random = Random(11);
    let mut seen = [0_usize; 9];
    for round in 0..60 {
        let interesting = [
            0,
            1,
            2,
            3,
            63,
            64,
            65,
            256,
            OUT,
            DATA,
            TENSOR,
            NAME,
            END - 1,
            END,
            i32::MAX as u32,
            1 << 31,
            u32::MAX - 3,
            u32::MAX,
        ];
        let number = |random: &mut Random| match random.below(3) {
            0 => random.next() as u32,
            1 => random.below(4) as u32,
            _ => interesting[random.below(interesting.len())],
        };
        let calls: Vec<[u32; 6]> = (0..200)
            .map(|_| {
                // Right calls in between, so that there are sessions and results to abuse.
                if random.below(3) == 0 {
                    return SCORE[random.below(5)];
                }
                let mut call = [0; 6];
                call[0] = random.below(6) as u32;
                call[1..].fill_with(|| number(&mut random));
                call
            })
            .collect();
        let mut data = data(INPUTS[round % 3]);
        for _ in 0..random.below(12) {
            let at = random.below(data.len());
            data[at] = random.next() as u8;
        }
        let scored = worker.score(record(&input(&calls, &data)));
        let scored = scored.unwrap_or_else(|failure| panic!("round {round}: {failure}"));
        let found = numbers(&scored.outputs[0].bytes);
        assert_eq!(found.len(), calls.len());
        for errno in found {
            seen[errno as usize] += 1;
        }
    }
    for errno in [OK, ARGUMENT, POINTER, RUNTIME, UNSUPPORTED, TOO_LARGE, NOT_FOUND] {
        assert!(seen[errno as usize] > 0, "{errno}: {seen:?}");
    }
    assert_eq!(seen[2] + seen[4], 0, "no such errors: {seen:?}");
    let scored = worker.score(record(&input(&SCORE, &data(INPUTS[0])))).unwrap();
    assert_eq!(numbers(&scored.outputs[0].bytes[..20]), [OK; 5]);
}

#[test]
fn a_stage_whose_contract_does_not_say_so_gets_no_wasi_nn() {
    let mut package = digits_caller();
    package.manifest.contract.as_mut().unwrap().imports.clear();
    package.manifest.code =
        Some(Code::Command(CommandCode { module: "stage.wasm".parse().unwrap(), models: vec![] }));
    let package = package.checked();
    let is_refused = |failure: &Failure| {
        matches!(failure, Failure::ForbiddenImport { module, .. } if module == "wasi_ephemeral_nn")
            && failure.help().is_some_and(|help| help.contains("wasi_nn"))
    };
    let inspected = spawner().inspect(&package.files(), &InspectLimits::default());
    assert!(is_refused(&inspected.unwrap_err()));
    assert!(is_refused(&package.start(&patient()).unwrap_err()));
    let asked = digits_caller();
    let report = spawner().inspect(&asked.files(), &InspectLimits::default()).unwrap();
    assert!(report.code.unwrap().imports.contains(&"wasi_ephemeral_nn compute".to_owned()));
}

#[test]
fn models_and_tensors_count_as_memory_of_the_stage() {
    let package = digits_caller();
    let with = |memory_bytes| limits(PATIENT_MS, memory_bytes, 1 << 20);
    // Less than the model's file.
    let small = package.start(&with(20_000)).unwrap_err();
    assert_eq!(small, Failure::MemoryLimit { limit_bytes: 20_000 });
    // The module's memory and the model, and no tensor beside them.
    let calls = &SCORE[..3];
    let tight = u64::from(END) + DIGITS.len() as u64;
    let scored = package.score(&with(tight + 255), &input(calls, &data(INPUTS[0]))).unwrap();
    assert_eq!(numbers(&scored.outputs[0].bytes), [OK, OK, TOO_LARGE]);
    let scored = package.score(&with(tight + 256), &input(calls, &data(INPUTS[0]))).unwrap();
    assert_eq!(numbers(&scored.outputs[0].bytes), [OK; 3]);
    assert_eq!(scored.memory_peak_bytes, tight + 256);
    // The tensor, and no room for what comes of it.
    let scored = package.score(&with(tight + 256), &input(&SCORE[..4], &data(INPUTS[0])));
    assert_eq!(numbers(&scored.unwrap().outputs[0].bytes), [OK, OK, OK, TOO_LARGE]);
    // One tensor after another in the same place takes the place once.
    let again = vec![SCORE[2]; 50];
    let calls = [&SCORE[..2], &again].concat();
    let scored = package.score(&with(tight + 256), &input(&calls, &data(INPUTS[0]))).unwrap();
    assert_eq!(numbers(&scored.outputs[0].bytes), [OK; 52]);
}

#[test]
fn a_model_that_is_none_is_named_when_the_package_is_looked_at() {
    let node = graphs::node("Conjure", &["x"], "y");
    let parts = [node, graphs::value(11, "x", &[2]), graphs::value(12, "y", &[2])];
    let package = caller(&[("m.onnx", &graphs::graph(&parts))], &[("magic", "m.onnx")]);
    let found = spawner().inspect(&package.files(), &InspectLimits::default()).unwrap_err();
    let Failure::InvalidModel { why } = &found else { panic!("{found:?}") };
    assert!(why.contains("model `magic`") && why.contains("Conjure"), "{why}");
    assert!(package.start(&patient()).is_err());
    // A file that is another one by now.
    let package = digits_caller();
    package.spoil("models/digits.onnx", |bytes| bytes[100] ^= 1);
    let found = package.start(&patient()).unwrap_err();
    assert!(matches!(found, Failure::FileMismatch { file, .. } if file == "models/digits.onnx"));
}

#[test]
fn a_model_that_takes_too_long_is_stopped_with_its_worker() {
    let names: Vec<String> = (0..400).map(|at| format!("n{at}")).collect();
    let mut parts = vec![graphs::value(11, "x", &[400, 400]), graphs::value(12, "y", &[400, 400])];
    parts.push(graphs::node("MatMul", &["x", "x"], &names[0]));
    for pair in names.windows(2) {
        parts.push(graphs::node("MatMul", &[&pair[0], "x"], &pair[1]));
    }
    parts.push(graphs::node("MatMul", &[&names[399], "x"], "y"));
    let package = caller(&[("long.onnx", &graphs::graph(&parts))], &[("digits", "long.onnx")]);
    let calls = &SCORE[..4];
    let data = [
        words(&[400, 400]),
        words(&[DATA, 2, 1, DATA + 1_000, 640_000]),
        vec![0; 256],
        b"digits".to_vec(),
    ];
    let mut bytes = data.concat();
    bytes.resize(642_000, 0);
    let mut calls = calls.to_vec();
    calls[2][3] = DATA + 8;
    let limits: Limits = limits(200, 64 << 20, 1 << 20);
    let mut worker = package.start(&limits).unwrap();
    match worker.score(record(&input(&calls, &bytes))) {
        Err(Failure::Timeout { limit_ms: 200, stopped_after_ms }) => {
            assert!(stopped_after_ms >= 200)
        }
        other => panic!("{other:?}"),
    }
}

/// A component that hands 64 numbers to the model `digits` as a tensor of these dimensions under this name and gives its
/// second output, or says what the model says.
fn asking(dims: [u32; 2], name: &str) -> Vec<u8> {
    let version = "0.2.0-rc-2024-10-28";
    let items = format!(
        r#"(import "wasi:nn/graph@{version}" "load-by-name" (func $find (param i32 i32 i32)))
        (import "wasi:nn/graph@{version}" "[method]graph.init-execution-context"
            (func $start (param i32 i32)))
        (import "wasi:nn/tensor@{version}" "[constructor]tensor"
            (func $tensor (param i32 i32 i32 i32 i32) (result i32)))
        (import "wasi:nn/tensor@{version}" "[method]tensor.data" (func $data (param i32 i32)))
        (import "wasi:nn/inference@{version}" "[method]graph-execution-context.compute"
            (func $compute (param i32 i32 i32 i32)))
        (import "wasi:nn/errors@{version}" "[method]error.data" (func $why (param i32 i32)))
        (data (i32.const 2600) "{name}")
        (data (i32.const 2620) "X")
        (data (i32.const 2640) "\0a\00\00\00\00\00\00\00")
        (func $failed (param $result i32)
            (call $why (i32.load (i32.const 2704)) (i32.const 2740))
            (i32.store8 (local.get $result) (i32.const 1))
            (i32.store offset=4 (local.get $result) (i32.const 1))
            (i32.store offset=8 (local.get $result) (i32.load (i32.const 2740)))
            (i32.store offset=12 (local.get $result) (i32.load (i32.const 2744))))"#
    );
    let [rows, columns] = dims;
    let len = name.len();
    let each = format!(
        "(call $find (i32.const 2600) (i32.const {len}) (i32.const 2700))
        (if (i32.load8_u (i32.const 2700)) (then (call $failed (local.get $result)) (return)))
        (call $start (i32.load (i32.const 2704)) (i32.const 2700))
        (if (i32.load8_u (i32.const 2700)) (then unreachable))
        (local.set $a (i32.load (i32.const 2704)))
        (i32.store (i32.const 2660) (i32.const {rows}))
        (i32.store (i32.const 2664) (i32.const {columns}))
        (local.set $b (call $tensor (i32.const 2660) (i32.const 2) (i32.const 1)
            (i32.load offset=28 (local.get $value)) (i32.load offset=32 (local.get $value))))
        (i32.store (i32.const 2720) (i32.const 2620))
        (i32.store (i32.const 2724) (i32.const 1))
        (i32.store (i32.const 2728) (local.get $b))
        (call $compute (local.get $a) (i32.const 2720) (i32.const 1) (i32.const 2700))
        (if (i32.load8_u (i32.const 2700)) (then (call $failed (local.get $result)) (return)))
        (call $data (i32.load offset=20 (i32.load (i32.const 2704))) (i32.const 2740))
        (i32.store offset=16 (local.get $value) (i32.const 2640))
        (i32.store offset=20 (local.get $value) (i32.const 1))
        (i32.store offset=28 (local.get $value) (i32.load (i32.const 2740)))
        (i32.store offset=32 (local.get $value) (i32.load (i32.const 2744)))"
    );
    component(Parts { items: &items, each: &each, ..Parts::default() })
}

/// The package of [`asking`].
pub(crate) fn component_asking(dims: [u32; 2], name: &str) -> Package {
    component_package(&asking(dims, name), vec![Import::WasiNn])
}

fn component_package(component: &[u8], imports: Vec<Import>) -> Package {
    let files = [("digits.onnx", DIGITS), ("stage.wasm", component)];
    let port = |count| -> PortType { floats(count) };
    let mut package = Package::of_files(&files).with_command("stage.wasm", port(64), port(10));
    let models = if imports.is_empty() { vec![] } else { named(&[("digits", "digits.onnx")]) };
    let component = "stage.wasm".parse().unwrap();
    package.manifest.code = Some(Code::Component(ComponentCode { component, models }));
    package.manifest.contract.as_mut().unwrap().imports = imports;
    package.checked()
}

#[test]
fn a_component_asks_a_model_of_its_package_by_name() {
    let package = component_package(&asking([1, 64], "digits"), vec![Import::WasiNn]);
    let report = spawner().inspect(&package.files(), &InspectLimits::default()).unwrap();
    let imports = report.code.unwrap().imports;
    assert!(imports.contains(&"wasi:nn/graph@0.2.0-rc-2024-10-28".to_owned()), "{imports:?}");
    let mut worker = package.start(&patient()).unwrap();
    let limits = CallLimits { scoring_ms: PATIENT_MS, output_bytes: 1 << 20, seed: 1 };
    for _ in 0..3 {
        let records = INPUTS.iter().map(|input| record(input)).collect();
        let batch = worker.score_all(records, &limits).unwrap();
        for (end, input) in batch.records.iter().zip(INPUTS) {
            let outputs = end.as_ref().unwrap();
            assert!(is_same(best(&outputs[0].bytes), reference(input)));
        }
    }
}

#[test]
fn wrong_requests_of_a_component_fail_in_words_and_without_the_import_there_is_nothing() {
    for (component, said) in [
        (asking([1, 64], "digit"), "the manifest gives no model this name"),
        (asking([1, 63], "digits"), "input `X`: its dimensions [1, 63] do not make 256 bytes"),
        (asking([64, 1], "digits"), "the graph takes [?, 64]"),
        (asking([0, 64], "digits"), "a dimension is 0"),
        (asking([u32::MAX, u32::MAX], "digits"), "do not make 256 bytes"),
    ] {
        let package = component_package(&component, vec![Import::WasiNn]);
        match package.score(&patient(), INPUTS[0]) {
            Err(Failure::Stage { why }) => assert!(why.contains(said), "{said}: {why}"),
            other => panic!("{said}: {other:?}"),
        }
    }
    let package = component_package(&asking([1, 64], "digits"), vec![]);
    let found = package.start(&patient()).unwrap_err();
    assert!(matches!(&found, Failure::ForbiddenImport { module, .. } if module == "wasi:nn"));
    assert!(found.help().is_some_and(|help| help.contains("wasi_nn")));
}
