//! The full form: values of every type through a component, its limits, and what it may and may not do.

use std::collections::BTreeMap;

use guildhall_protocol::contract::Determinism;
use guildhall_protocol::interface::{
    Dim, ElementType, JsonType, PortType, PredictionKind, PredictionType, TableType, TensorType,
};
use guildhall_protocol::manifest::{Code, ComponentCode};
use guildhall_protocol::wire::PortValue;
use guildhall_sandbox::{CallLimits, Failure, InspectLimits, Inspection, TrapCode};

use crate::encode::{Parts, component, encode};
use crate::package::{
    PATIENT_MS, Package, any_bytes, floats, image, limits, patient, record, spawner,
};

const LIMITS: CallLimits = CallLimits { scoring_ms: PATIENT_MS, output_bytes: 2 << 20, seed: 7 };

/// A package of this component with the ports `in` and `out` of this type.
pub(crate) fn package(component: &[u8], port_type: PortType) -> Package {
    let mut package = Package::command(component, port_type.clone(), port_type);
    package.manifest.code = Some(Code::Component(ComponentCode {
        component: "stage.wasm".parse().unwrap(),
        models: vec![],
    }));
    package
}

fn of(parts: Parts<'_>, port_type: PortType) -> Package {
    package(&component(parts), port_type)
}

fn text(items: &str, body: &str) -> Package {
    of(Parts { items, body, ..Parts::default() }, PortType::Text)
}

fn inspect(package: &Package) -> Result<Inspection, Failure> {
    spawner().inspect(&package.files(), &InspectLimits::default())
}

fn records(texts: &[&str]) -> Vec<Vec<PortValue>> {
    texts.iter().map(|text| record(text.as_bytes())).collect()
}

fn out(end: &Result<Vec<PortValue>, Failure>) -> &str {
    std::str::from_utf8(&end.as_ref().unwrap()[0].bytes).unwrap()
}

#[test]
fn values_of_every_type_come_back_as_they_went_in() {
    let tensor = |dtype, dims: &[Dim]| PortType::Tensor(TensorType { dtype, dims: dims.to_vec() });
    let column =
        guildhall_protocol::interface::Column { name: "a".into(), dtype: ElementType::I64 };
    let prediction = PredictionType {
        value: PredictionKind::Class,
        labels: vec!["cat".into(), "dog".into()],
        location: None,
    };
    let said = br#"[{"input":0,"value":{"class":"dog"},"confidence":0.5}]"#;
    let long = vec![b'x'; 3 << 20];
    let echo = component(Parts::default());
    for (port_type, bytes) in [
        (PortType::Text, "grüezi".as_bytes()),
        (PortType::Text, b""),
        (PortType::Text, &long),
        (floats(3), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        (tensor(ElementType::Bool, &[Dim::Fixed(2), Dim::Free]), &[1, 0, 0, 1]),
        (tensor(ElementType::U8, &[Dim::Free]), &long),
        (any_bytes(), &[0, 159, 146, 150]),
        (any_bytes(), &long),
        (image(), b"P5 1 1 255 x"),
        (PortType::Json(JsonType::default()), br#"{"a": [1, null]}"#),
        (PortType::Table(TableType { columns: vec![column] }), b"a,b\n1,2\n"),
        (PortType::Prediction(prediction), said),
    ] {
        let scored = package(&echo, port_type.clone())
            .score(&limits(PATIENT_MS, 64 << 20, 3 << 20), bytes)
            .unwrap_or_else(|failure| panic!("{port_type}: {failure}"));
        assert_eq!(scored.outputs, [PortValue::new("out", bytes)], "{port_type}");
    }
}

#[test]
fn a_tensor_brings_its_shape_along_in_both_directions() {
    let dims = vec![Dim::Free, Dim::Named("w".into())];
    let port = PortType::Tensor(TensorType { dtype: ElementType::U8, dims });
    let mut worker = of(Parts::default(), port).start(&patient()).unwrap();
    let value = PortValue { dims: Some(vec![2, 3]), ..PortValue::new("in", [1, 2, 3, 4, 5, 6]) };
    let scored = worker.score(vec![value.clone()]).unwrap();
    assert_eq!(scored.outputs[0].dims, Some(vec![2, 3]));
}

#[test]
fn what_does_not_fit_the_port_is_named() {
    // The value's case is at 8: 2 is a text, and JSON looks the same behind it.
    let wrong_case = Parts {
        each: "(i32.store8 offset=8 (local.get $value) (i32.const 2))",
        ..Parts::default()
    };
    let wrong_name =
        Parts { each: "(i32.store offset=4 (local.get $value) (i32.const 2))", ..Parts::default() };
    let wrong_dtype = Parts {
        each: "(i32.store8 offset=12 (local.get $value) (i32.const 11))",
        ..Parts::default()
    };
    let wrong_shape = Parts {
        each: "(i64.store (i32.load offset=16 (local.get $value)) (i64.const 4))",
        ..Parts::default()
    };
    let located = Parts {
        each: "(i32.store8 offset=40 (local.get $value) (i32.const 1))",
        ..Parts::default()
    };
    let nothing = Parts {
        each: "(i32.store offset=8 (local.get $result) (i32.const 0))",
        ..Parts::default()
    };
    let json = PortType::Json(JsonType::default());
    for (parts, port_type, input, part) in [
        (wrong_case, json, &b"[1]"[..], "a text"),
        (wrong_name, PortType::Text, b"x", "no port `ou`"),
        (wrong_dtype, floats(3), &[0; 12], "f32"),
        (wrong_shape, floats(3), &[0; 12], "4"),
        (located, PortType::Text, b"x", "location"),
        (nothing, PortType::Text, b"x", "no value"),
    ] {
        match of(parts, port_type).score(&patient(), input) {
            Err(Failure::BadOutput { why }) => assert!(why.contains(part), "{part}: {why}"),
            other => panic!("{part}: {other:?}"),
        }
    }
}

#[test]
fn a_stages_own_words_are_the_records_failure_and_the_others_complete() {
    // Texts that begin with `b` are bad input, with `f` a failure; the text itself is the message.
    let each = r"
        (local.set $a (i32.load8_u (i32.load offset=16 (local.get $value))))
        (local.set $b (i32.or (i32.eq (local.get $a) (i32.const 98))
            (i32.eq (local.get $a) (i32.const 102))))
        (if (local.get $b) (then
            (i32.store8 (local.get $result) (i32.const 1))
            (i32.store offset=4 (local.get $result) (i32.eq (local.get $a) (i32.const 102)))
            (i32.store offset=8 (local.get $result) (i32.load offset=16 (local.get $value)))
            (i32.store offset=12 (local.get $result) (i32.load offset=20 (local.get $value)))))";
    let mut worker =
        of(Parts { each, ..Parts::default() }, PortType::Text).start(&patient()).unwrap();
    let found = worker.score_all(records(&["a", "bad", "c", "fail\x1b"]), &LIMITS).unwrap();
    assert_eq!((out(&found.records[0]), out(&found.records[2])), ("a", "c"));
    assert_eq!(found.records[1], Err(Failure::BadInput { why: "bad".into() }));
    assert_eq!(found.records[3], Err(Failure::Stage { why: "fail\u{fffd}".into() }));
}

#[test]
fn a_record_that_ends_the_instance_does_not_take_the_others_with_it() {
    let each = "(if (i32.eq (i32.load8_u (i32.load offset=16 (local.get $value))) (i32.const 88)) (then unreachable))";
    let mut worker =
        of(Parts { each, ..Parts::default() }, PortType::Text).start(&patient()).unwrap();
    let found = worker.score_all(records(&["a", "X", "c"]), &LIMITS).unwrap();
    assert_eq!(found.records[1], Err(Failure::Trap { code: TrapCode::Unreachable }));
    assert_eq!((out(&found.records[0]), out(&found.records[2])), ("a", "c"));
}

#[test]
fn there_is_one_result_for_each_record() {
    for body in ["(local.set $count (i32.const 1))", "(local.set $count (i32.const 0))"] {
        let package = text("", body);
        let mut worker = package.start(&patient()).unwrap();
        let found = worker.score_all(records(&["a", "b"]), &LIMITS).unwrap();
        for end in &found.records {
            match end {
                // Alone, one result for one record is right.
                Ok(_) => assert!(body.contains("const 1")),
                Err(failure) => assert!(matches!(failure, Failure::BadOutput { .. }), "{failure}"),
            }
        }
    }
}

#[test]
fn endless_work_of_several_kinds_is_stopped_and_the_worker_goes_on() {
    let imports = r#"
        (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
        (import "guildhall:stage/host@0.1.0" "progress" (func $progress (param i64 i64)))
        (import "guildhall:stage/types@0.1.0" "[constructor]blob" (func $blob (result i32)))
        (import "guildhall:stage/types@0.1.0" "[resource-drop]blob" (func $drop (param i32)))"#;
    for body in [
        "(loop (br 0))",
        "(loop (drop (call $now)) (br 0))",
        "(loop (call $progress (i64.const 1) (i64.const 2)) (br 0))",
        "(loop (call $drop (call $blob)) (br 0))",
        "(loop (memory.fill (i32.const 16384) (i32.const 1) (i32.const 40000)) (br 0))",
    ] {
        let body = format!(
            "(if (i32.eq (i32.load8_u (i32.load offset=16 (i32.load (local.get $batch)))) (i32.const 76)) (then {body}))"
        );
        let package = text(imports, &body);
        let mut worker = package.start(&limits(150, 64 << 20, 1000)).unwrap();
        match worker.score(record(b"L")) {
            Err(Failure::Timeout { limit_ms: 150, stopped_after_ms }) => {
                assert!(stopped_after_ms >= 150);
            }
            other => panic!("{body}: {other:?}"),
        }
        if worker.is_alive() {
            assert_eq!(worker.score(record(b"fine")).unwrap().outputs[0].bytes, b"fine");
        }
    }
}

#[test]
fn memory_over_all_of_a_component_is_one_limit() {
    let limit_bytes = 16 << 20;
    let limits = limits(PATIENT_MS, limit_bytes, 1000);
    let grow = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))";
    let hog = text("", &format!("{grow} unreachable"));
    assert_eq!(hog.score(&limits, b"").unwrap_err(), Failure::MemoryLimit { limit_bytes });
    let frugal = text("", grow).score(&limits, b"").unwrap();
    assert!(frugal.memory_peak_bytes <= limit_bytes);
}

#[test]
fn blobs_are_read_in_ranges_and_appended_to_within_bounds() {
    let imports = r#"
        (import "guildhall:stage/types@0.1.0" "[constructor]blob" (func $blob (result i32)))
        (import "guildhall:stage/types@0.1.0" "[method]blob.len" (func $len (param i32) (result i64)))
        (import "guildhall:stage/types@0.1.0" "[method]blob.read"
            (func $read (param i32 i64 i32 i32)))
        (import "guildhall:stage/types@0.1.0" "[method]blob.append"
            (func $append (param i32 i32 i32 i32)))"#;
    // The input is a blob (its handle is at 24). The output is a new one, and holds what the calls said:
    // length of the input, the byte at its end, how much a read past the end gave, how much a read of everything gave,
    // whether appending to the input worked, whether appending more than 1 MiB did.
    let each = r"
        (local.set $a (i32.load offset=24 (local.get $value)))
        (i32.store (i32.const 4096) (i32.wrap_i64 (call $len (local.get $a))))
        (call $read (local.get $a) (i64.const 2097151) (i32.const 9) (i32.const 4160))
        (i32.store (i32.const 4100) (i32.load8_u (i32.load (i32.const 4160))))
        (call $read (local.get $a) (i64.const -1) (i32.const -1) (i32.const 4160))
        (i32.store (i32.const 4104) (i32.load offset=4 (i32.const 4160)))
        (call $read (local.get $a) (i64.const 0) (i32.const -1) (i32.const 4160))
        (i32.store (i32.const 4108) (i32.load offset=4 (i32.const 4160)))
        (call $append (local.get $a) (i32.const 0) (i32.const 1) (i32.const 4176))
        (i32.store16 (i32.const 4112) (i32.load16_u (i32.const 4176)))
        (local.set $b (call $blob))
        (drop (call $alloc (i32.const 2097152)))
        (call $append (local.get $b) (i32.const 0) (i32.const 1048577) (i32.const 4176))
        (i32.store16 (i32.const 4116) (i32.load16_u (i32.const 4176)))
        (call $append (local.get $b) (i32.const 4096) (i32.const 24) (i32.const 4176))
        (if (i32.load8_u (i32.const 4176)) (then unreachable))
        (i32.store offset=24 (local.get $value) (local.get $b))";
    let package = of(Parts { items: imports, each, ..Parts::default() }, any_bytes());
    let mut input = vec![0; 2 << 20];
    input[(2 << 20) - 1] = 42;
    let scored = package.score(&limits(PATIENT_MS, 64 << 20, 1000), &input).unwrap();
    let said: Vec<u32> = scored.outputs[0]
        .bytes
        .chunks(4)
        .map(|four| u32::from_le_bytes(four.try_into().unwrap()))
        .collect();
    // `result` is an error (1), its case behind it: read-only is 0, too-long 1.
    assert_eq!(said, [2 << 20, 42, 0, 1 << 20, 0x0001, 0x0101]);
}

#[test]
fn outputs_are_bounded_however_they_are_given() {
    let limits = limits(PATIENT_MS, 64 << 20, 1000);
    // A list of 64 MiB that nobody wrote: its length is all the guest has to say.
    let huge = Parts {
        body: "(drop (memory.grow (i32.const 900)))",
        each: "(i32.store offset=24 (local.get $value) (i32.const 0))
               (i32.store offset=28 (local.get $value) (i32.const 58000000))",
        ..Parts::default()
    };
    let failure = of(huge, any_bytes()).score(&limits, b"x").unwrap_err();
    assert_eq!(failure, Failure::OutputLimit { limit_bytes: 1000 });
    let long = Parts {
        body: "(drop (memory.grow (i32.const 900)))",
        each: "(i32.store offset=28 (local.get $value) (i32.const 1048577))",
        ..Parts::default()
    };
    let failure = of(long, any_bytes()).score(&limits, b"x").unwrap_err();
    assert!(matches!(&failure, Failure::BadOutput { why } if why.contains("blob")), "{failure}");
    let over = Parts {
        each: "(i32.store offset=28 (local.get $value) (i32.const 1001))",
        ..Parts::default()
    };
    let failure = of(over, any_bytes()).score(&limits, b"x").unwrap_err();
    assert_eq!(failure, Failure::OutputLimit { limit_bytes: 1000 });
    let outside = Parts {
        each: "(i32.store offset=24 (local.get $value) (i32.const -8))",
        ..Parts::default()
    };
    let failure = of(outside, any_bytes()).score(&limits, b"x").unwrap_err();
    assert!(matches!(failure, Failure::Trap { .. }), "{failure}");
    let many = Parts { body: "(local.set $count (i32.const 500000000))", ..Parts::default() };
    let failure = of(many, any_bytes()).score(&limits, b"x").unwrap_err();
    assert!(!matches!(failure, Failure::WorkerDied { .. } | Failure::Internal { .. }), "{failure}");
}

#[test]
fn config_comes_sorted_and_bounded() {
    // Answers with the value of the first setting.
    let each = "(i32.store offset=16 (local.get $value) (i32.load offset=8 (global.get $config)))
                (i32.store offset=20 (local.get $value) (i32.load offset=12 (global.get $config)))";
    let parts = Parts {
        items: "(global $config (mut i32) (i32.const 0))",
        body: "(global.set $config (local.get $config))",
        each,
        ..Parts::default()
    };
    let package = of(parts, PortType::Text);
    let config = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let two = config(&[("z", "last"), ("a", "first")]);
    let mut worker = spawner().start(&package.files(), &patient(), &two, 0).unwrap();
    assert_eq!(worker.score(record(b"x")).unwrap().outputs[0].bytes, b"first");
    let long = config(&[("a", &"x".repeat(70_000))]);
    let failure = spawner().start(&package.files(), &patient(), &long, 0).unwrap_err();
    assert!(matches!(failure, Failure::BadInput { .. }), "{failure}");
}

#[test]
fn the_clock_is_virtual_and_waiting_moves_it() {
    let imports = r#"
        (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
        (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration"
            (func $in (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.ready" (func $ready (param i32) (result i32)))"#;
    // An hour and two hours: `poll` gives the first one only. Then a day by `block`. Then looks until a microsecond
    // is over.
    let body = r"
        (i64.store (i32.const 4096) (call $now))
        (i32.store (i32.const 4160) (call $in (i64.const 7200000000000)))
        (i32.store (i32.const 4164) (call $in (i64.const 3600000000000)))
        (call $poll (i32.const 4160) (i32.const 2) (i32.const 4176))
        (i32.store (i32.const 4104) (i32.load offset=4 (i32.const 4176)))
        (i32.store (i32.const 4108) (i32.load (i32.load (i32.const 4176))))
        (i64.store (i32.const 4112) (call $now))
        (call $block (call $in (i64.const 86400000000000)))
        (i64.store (i32.const 4120) (call $now))
        (local.set $a (call $in (i64.const 50000)))
        (loop (br_if 0 (i32.eqz (call $ready (local.get $a)))))";
    let each = "(i32.store offset=24 (local.get $value) (i32.const 4096))
                (i32.store offset=28 (local.get $value) (i32.const 32))";
    let package = of(Parts { items: imports, body, each, ..Parts::default() }, any_bytes());
    let bytes = package.score(&patient(), b"x").unwrap().outputs[0].bytes.clone();
    let at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let hour = 3_600_000_000_000;
    assert!(at(0) < 1_000_000, "it starts at zero: {}", at(0));
    assert_eq!(at(8), 1 | (1 << 32), "one is ready, and it is the second in the list");
    assert!((hour..hour + 1_000_000_000).contains(&at(16)), "{}", at(16));
    assert!((25 * hour..25 * hour + 1_000_000_000).contains(&at(24)), "{}", at(24));
}

#[test]
fn randomness_follows_from_the_seed_and_nothing_is_there_to_see() {
    let imports = r#"
        (import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))
        (import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
        (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
        (import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $folders (param i32)))"#;
    let body = "(i64.store (i32.const 4096) (call $random))
        (call $environment (i32.const 4104))
        (call $arguments (i32.const 4112))
        (call $folders (i32.const 4120))";
    let each = "(i32.store offset=24 (local.get $value) (i32.const 4096))
                (i32.store offset=28 (local.get $value) (i32.const 32))";
    let package = of(Parts { items: imports, body, each, ..Parts::default() }, any_bytes());
    let mut worker = package.start(&patient()).unwrap();
    let mut with = |seed| {
        let limits = CallLimits { seed, ..LIMITS };
        let found = worker.score_all(records(&["x"]), &limits).unwrap();
        found.records[0].as_ref().unwrap()[0].bytes.clone()
    };
    let first = with(1);
    assert_eq!(first, with(1));
    assert_ne!(first[..8], with(2)[..8]);
    for list in [12, 20, 28] {
        assert_eq!(first[list..list + 4], [0; 4], "an empty list");
    }
}

#[test]
fn what_a_stage_says_before_it_gives_up_is_shown() {
    let imports = r#"
        (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
        (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
            (func $write (param i32 i32 i32 i32)))
        (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
        (data (i32.const 4096) "no width")"#;
    let body = "(call $write (call $stderr) (i32.const 4096) (i32.const 8) (i32.const 4160))
                (call $exit (i32.const 1))";
    let failure = text(imports, body).score(&patient(), b"x").unwrap_err();
    assert_eq!(failure, Failure::Exited { code: 1, stderr_excerpt: "no width".into() });
}

#[test]
fn inspection_compares_what_the_code_describes_with_the_manifest() {
    let said = |input, output| of(Parts { input, output, ..Parts::default() }, PortType::Text);
    let report = inspect(&said("text", "text")).unwrap().code.unwrap();
    assert!(report.imports.contains(&"guildhall:stage/types@0.1.0".to_owned()), "{report:?}");
    assert!(inspect(&said("", "")).is_ok(), "the manifest alone says the types");
    for (input, output, part) in [
        ("text", "json", "output `out` is json in `describe`, but text in the manifest"),
        ("tensor(f32, 3)", "text", "input `in` is tensor"),
        ("nonsense", "text", "no type"),
    ] {
        let why = inspect(&said(input, output)).unwrap_err().to_string();
        assert!(why.contains(part), "{why}");
    }
    let mut renamed = said("text", "text");
    renamed.manifest.interface.outputs[0].name = "label".into();
    let why = inspect(&renamed).unwrap_err().to_string();
    assert!(why.contains("output `out`"), "{why}");
    let stuck = encode(
        r#"(module (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
            (func (export "guildhall:stage/scoring@0.1.0#describe") (result i32) unreachable)
            (func (export "guildhall:stage/scoring@0.1.0#run") (param i32 i32 i32 i32) (result i32)
                (i32.const 0)))"#,
    );
    let failure = inspect(&package(&stuck, PortType::Text)).unwrap_err();
    assert_eq!(failure, Failure::Trap { code: TrapCode::Unreachable });
}

#[test]
fn what_is_no_stage_is_refused_at_publish_and_at_the_start_with_a_way_out() {
    for (component, module, name, has_help) in [
        ("wasi:sockets/tcp@0.2.0", "wasi:sockets", "tcp@0.2.0", true),
        ("wasi:http/outgoing-handler@0.2.0", "wasi:http", "outgoing-handler@0.2.0", true),
        ("wasi:keyvalue/store@0.2.0", "wasi:keyvalue", "store@0.2.0", false),
    ] {
        let code = wat::parse_str(format!(r#"(component (import "{component}" (instance)))"#));
        let package = package(&code.unwrap(), PortType::Text);
        let expected = Failure::ForbiddenImport { module: module.into(), name: name.into() };
        let found = inspect(&package).unwrap_err();
        assert_eq!(found, expected);
        assert_eq!(found.help().is_some_and(|help| help.contains("--stub-wasi")), has_help);
        assert_eq!(package.start(&patient()).unwrap_err(), expected);
    }
    let wrong_form = Package::command(&component(Parts::default()), any_bytes(), any_bytes());
    let why = wrong_form.start(&patient()).unwrap_err().to_string();
    assert!(why.contains("component"), "{why}");
    let plain = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    let why = package(&plain.unwrap(), PortType::Text).start(&patient()).unwrap_err().to_string();
    assert!(why.contains("plain module"), "{why}");
}

#[test]
fn nothing_of_one_call_is_left_for_the_next() {
    // Looks for anything in the upper half of its memory, then fills it.
    let body = r"
        (drop (memory.grow (i32.const 15)))
        (local.set $a (i32.const 65536))
        (loop
            (if (i64.ne (i64.load (local.get $a)) (i64.const 0)) (then unreachable))
            (local.set $a (i32.add (local.get $a) (i32.const 8)))
            (br_if 0 (i32.lt_u (local.get $a) (i32.const 1048576))))
        (if (global.get $used) (then unreachable))
        (global.set $used (i32.const 1))
        (memory.fill (i32.const 65536) (i32.const 171) (i32.const 983040))";
    let package = text("(global $used (mut i32) (i32.const 0))", body);
    let mut worker = package.start(&patient()).unwrap();
    for _ in 0..50 {
        assert_eq!(worker.score(record(b"x")).unwrap().outputs[0].bytes, b"x");
    }
}

#[test]
fn time_is_nearly_over_for_fast_stages_only() {
    let imports =
        r#"(import "guildhall:stage/host@0.1.0" "cancelled" (func $cancelled (result i32)))"#;
    // Works until it is told to stop.
    let package = |determinism| {
        let mut package = text(imports, "(loop (br_if 0 (i32.eqz (call $cancelled))))");
        package.manifest.contract.as_mut().unwrap().determinism = determinism;
        package
    };
    let limits = limits(1_000, 16 << 20, 1000);
    let fast = package(Determinism::Numeric).score(&limits, b"in time").unwrap();
    assert_eq!(fast.outputs[0].bytes, b"in time");
    let exact = package(Determinism::Bitwise).score(&limits, b"late").unwrap_err();
    assert!(matches!(exact, Failure::Timeout { .. }), "{exact}");
}
